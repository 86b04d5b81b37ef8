"""Photos of the kinds that programs get wrong, made of sound ones; it knows no model.

Grey and rotated, tiny and huge, with other formats and colours than the rest: whoever reads them in
another way answers otherwise.
"""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_ORIENTATION_TAG = 0x0112
_HUGE = (6000, 4500)
_QUALITY = 90


def draw_nasty(photo: NDArray[np.uint8]) -> Iterator[tuple[str, bytes]]:
    """Files with the picture of a photo [H, W, 3], each with a name that says what is odd in it.

    The last one is damaged: no program should read it.
    """
    image = Image.fromarray(photo)
    grey = image.convert("L")
    yield "grey.jpg", _save(grey, "JPEG")
    for orientation in (2, 3, 6, 8):
        exif = Image.Exif()
        exif[_ORIENTATION_TAG] = orientation
        yield f"exif-orientation-{orientation}.jpg", _save(image, "JPEG", exif=exif)
    yield "tiny.jpg", _save(image.resize((24, 18)), "JPEG")
    yield "huge.jpg", _save(image.resize(_HUGE), "JPEG")
    yield "narrow.png", _save(image.resize((900, 60)), "PNG")
    yield "progressive.jpg", _save(image, "JPEG", progressive=True)
    yield "cmyk.jpg", _save(image.convert("CMYK"), "JPEG")
    seen = image.copy()
    seen.putalpha(grey)
    yield "transparent.png", _save(seen, "PNG")
    yield "palette.gif", _save(image.convert("P"), "GIF")
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    yield "sixteen-bit-grey.png", _save(deep, "PNG")
    yield "photo.webp", _save(image, "WEBP")
    yield "photo.heic", _encode_heic(image)
    yield "cut-off.jpg", (whole := _save(image, "JPEG"))[: len(whole) // 3]


def _save(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    if kind in ("JPEG", "WEBP"):
        options["quality"] = _QUALITY
    image.save(stream, kind, **options)
    return stream.getvalue()


def _encode_heic(image: Image.Image) -> bytes:
    import pillow_heif  # slow to import

    stream = io.BytesIO()
    pillow_heif.from_pillow(image).save(stream, quality=_QUALITY)
    return stream.getvalue()
