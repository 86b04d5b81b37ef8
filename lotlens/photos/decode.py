"""Turns the bytes of one photo into an upright RGB array; it knows nothing of files and sizes.

The content decides what a file is, never its name. Only raster formats that cameras and web pages
use are opened; everything Pillow could run beyond them (EPS, WMF, ...) stays shut.
"""

from __future__ import annotations

import io
import warnings
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from lotlens.errors import UnreadablePhoto

MAX_PIXELS = 100_000_000
"""Photos whose header claims more pixels are refused unread: a bomb, or a poster scan."""

Format = Literal["JPEG", "PNG", "WebP", "GIF", "BMP", "TIFF", "HEIC", "AVIF"]

_SIGNATURES: tuple[tuple[bytes, Format], ...] = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
)
_HEIF_BRANDS = (b"hei", b"hev", b"mif1", b"msf1")

# What to tell of a file that is no photo; the first pattern found near the start wins.
_STRANGERS: tuple[tuple[bytes, str], ...] = (
    (b"<svg", "an SVG drawing, not a photo"),
    (b"<!doctype html", "an HTML page, not a photo (a failed download?)"),
    (b"<html", "an HTML page, not a photo (a failed download?)"),
    (b"%pdf", "a PDF document, not a photo"),
    (b"%!ps", "a PostScript document, not a photo"),
    (b"pk\x03\x04", "a zip archive, not a photo"),
    (b"jxl ", "a JPEG XL photo, which cannot be read: save it as JPEG"),
)

# EXIF orientation -> what makes it upright (EXIF 2.32, tag 0x0112). 5 to 8 swap the sides.
_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = {_UPRIGHT[orientation] for orientation in (5, 6, 7, 8)}


def decode(
    data: bytes,
    *,
    max_pixels: int = MAX_PIXELS,
    min_size: tuple[int, int] | None = None,
) -> NDArray[np.uint8]:
    """The photo as an upright RGB array, shape [H, W, 3], uint8, writable.

    EXIF rotation is applied. Grey, palette and CMYK become RGB; 16-bit grey is scaled to 8 bits;
    what is transparent becomes white, as on the web pages adverts come from; of an animation the
    first frame is taken. Colour profiles are not applied.

    Args:
        data: the file's bytes: JPEG, PNG, WebP, GIF, BMP, TIFF, HEIC or AVIF.
        max_pixels: a photo whose header claims more pixels is refused before it is decoded.
        min_size: (width, height) of the upright photo that is needed at least. A larger JPEG is
            then decoded at 1/2, 1/4 or 1/8 of its size (libjpeg's scaled DCT), which is several
            times faster; other formats come in full.

    Raises:
        UnreadablePhoto: whatever is wrong with the bytes; no other error comes out.
    """
    return decode_sized(data, max_pixels=max_pixels, min_size=min_size)[0]


def decode_sized(
    data: bytes,
    *,
    max_pixels: int = MAX_PIXELS,
    min_size: tuple[int, int] | None = None,
) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """As `decode`, and the (width, height) of the upright photo in full, whatever was decoded."""
    name = _recognise(data)
    try:
        _hush_pillow()
        with _open(name, io.BytesIO(data)) as image:
            width, height = image.size
            if width * height > max_pixels:
                raise UnreadablePhoto(
                    f"too large: {width} x {height} pixels, the limit is {max_pixels:,} pixels"
                )
            if min_size is not None and name == "JPEG":
                swapped = _read_orientation(image) >= 5
                image.draft(None, min_size[::-1] if swapped else min_size)
            image.load()
            rgb = _to_rgb(image, name)
            # PNG may carry its EXIF behind the pixels, so it is read after loading.
            turn = _UPRIGHT.get(_read_orientation(image))
    except UnreadablePhoto:
        raise
    except MemoryError:
        raise UnreadablePhoto(f"not enough memory to decode this {name}") from None
    except Exception as error:
        # Decoders meet hostile bytes with every kind of exception; all mean the same to a caller.
        raise UnreadablePhoto(_explain(error, name)) from error
    if turn is None:
        return np.array(rgb), (width, height)
    is_swapped = turn in _SIDEWAYS
    return np.array(rgb.transpose(turn)), (height, width) if is_swapped else (width, height)


def _recognise(data: bytes) -> Format:
    if not data:
        raise UnreadablePhoto("empty file (0 bytes)")
    for signature, name in _SIGNATURES:
        if data.startswith(signature):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if data[4:8] == b"ftyp":
        # A generic brand (mif1) leaves it to the list of compatible brands which of the two it is.
        brands = data[8 : min(int.from_bytes(data[:4], "big"), 256)]
        if b"avif" in brands or b"avis" in brands:
            return "AVIF"
        if brands.startswith(_HEIF_BRANDS):
            return "HEIC"
    start = data[:1024].lower()
    for pattern, reason in _STRANGERS:
        if pattern in start:
            raise UnreadablePhoto(reason)
    if not any(data[:4096]):
        raise UnreadablePhoto("nothing but zero bytes (an interrupted copy?)")
    raise UnreadablePhoto("not a known photo format")


def _open(name: Format, stream: io.BytesIO) -> ImageFile.ImageFile:
    """The format's own opener: `Image.open` would warn of sizes that `decode` itself checks."""
    if name == "JPEG":
        from PIL.JpegImagePlugin import JpegImageFile

        return JpegImageFile(stream)
    if name == "PNG":
        from PIL.PngImagePlugin import PngImageFile

        return PngImageFile(stream)
    if name == "WebP":
        from PIL.WebPImagePlugin import WebPImageFile

        return WebPImageFile(stream)
    if name == "GIF":
        from PIL.GifImagePlugin import GifImageFile

        return GifImageFile(stream)
    if name == "BMP":
        from PIL.BmpImagePlugin import BmpImageFile

        return BmpImageFile(stream)
    if name == "TIFF":
        from PIL.TiffImagePlugin import TiffImageFile

        return TiffImageFile(stream)
    if name == "AVIF":
        from PIL.AvifImagePlugin import AvifImageFile

        return AvifImageFile(stream)
    # Loaded late: it is slow to import and most lots have no HEIC.
    from pillow_heif import HeifImageFile

    heif: ImageFile.ImageFile = HeifImageFile(stream)
    return heif


def _read_orientation(image: Image.Image) -> int:
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:
        return 1  # damaged EXIF beside sound pixels: the photo is worth more than its notes
    return orientation if isinstance(orientation, int) else 1


def _to_rgb(image: Image.Image, name: Format) -> Image.Image:
    if image.mode.startswith("I"):
        grey = np.asarray(image)
        if grey.min() < 0 or grey.max() > 65_535:
            raise UnreadablePhoto(f"{name} with 32-bit pixels: save it with 8 or 16 bits")
        return Image.fromarray(((grey.astype(np.uint32) + 128) // 257).astype(np.uint8)).convert(
            "RGB"
        )
    if image.mode == "F":
        raise UnreadablePhoto(f"{name} with floating-point pixels: save it with 8 or 16 bits")
    if image.has_transparency_data:
        seen = image.convert("RGBA")
        white = Image.new("RGBA", seen.size, "white")
        return Image.alpha_composite(white, seen).convert("RGB")
    return image.convert("RGB")


def _explain(error: Exception, name: Format) -> str:
    """One short sentence for a table cell, without the object addresses Pillow puts in."""
    text = " ".join(str(error).split())
    if isinstance(error, EOFError) or "truncated" in text.lower():
        return f"truncated {name}"
    if isinstance(error, ImportError):
        return f"this installation cannot read {name}: {text}"
    return f"damaged {name}" + (f" ({text[:80]})" if text and " at 0x" not in text else "")


def _hush_pillow() -> None:
    """Keeps Pillow's remarks on odd metadata ("Corrupt EXIF data") off the user's screen.

    `warnings.catch_warnings` swaps the filters of the whole process and is not safe in threads. One
    lasting filter is. It covers only Pillow's readers of metadata, so that an application's own
    setting for decompression bombs (raised in PIL.Image) stays in force. It is put back if somebody
    has cleared the filters, as test runners do.
    """
    for module in ("PIL.TiffImagePlugin", "PIL.PngImagePlugin"):
        if not any(
            action == "ignore" and getattr(where, "pattern", None) == module
            for action, _, _, where, _ in warnings.filters
        ):
            warnings.filterwarnings("ignore", category=UserWarning, module=module)
