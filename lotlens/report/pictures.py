"""Photos as small JPEGs for a page: thumbnails, heat maps over photos, within a budget of bytes.

It knows catalogs and arrays, not pages or figures.
"""

from __future__ import annotations

import io
from collections.abc import Iterable
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from lotlens.errors import UnreadablePhoto
from lotlens.photos.archives import PhotoReader
from lotlens.photos.decode import decoding
from lotlens.photos.prepare import unfit_map
from lotlens.records import Box, Catalog, FloatArray, ImageSpec, Locator, Watcher
from lotlens.threads import map_ahead

Pixels = NDArray[np.uint8]

THUMBNAIL_SIZE = (320, 240)
_QUALITY = 82
_NUM_THREADS, _NUM_AHEAD = 4, 32
# From cold to hot; dark blue to light yellow is told apart by the colour-blind and in grey print.
_HEAT = np.array([(22, 24, 66), (120, 28, 109), (222, 73, 55), (249, 160, 40), (252, 245, 150)])
_FRAME, _FRAME_EDGE = (255, 255, 255), (20, 24, 32)
_HEAT_SHARE = 0.62
_HOTTEST = 0.98


def read_thumbnail(
    locator: Locator | None,
    reader: PhotoReader,
    size: tuple[int, int] = THUMBNAIL_SIZE,
    quality: int = _QUALITY,
    box: Box | None = None,
) -> bytes | None:
    """A photo where it lies, as `draw_thumbnail` draws it; None if it cannot be read."""
    photo = _read(locator, reader, size)
    return None if photo is None else draw_thumbnail(photo, size, quality, box)


def read_thumbnails(
    locators: Iterable[Locator | None],
    size: tuple[int, int],
    quality: int,
    *,
    most_bytes: int,
    boxes: Iterable[Box | None] | None = None,
    watch: Watcher | None = None,
) -> list[bytes | None]:
    """Photos where they lie as small JPEGs, in their order, while a budget of bytes lasts.

    Args:
        locators: of photos; None where there is none.
        size: at most, width and height in pixels.
        quality: of the JPEGs.
        most_bytes: of all of them.
        boxes: of cars, one for each of them, which are framed.
        watch: told of the work as it goes on.

    Returns:
        one each; None for what there is not, cannot be read, or was too much.
    """
    asked = list(locators)
    framed = [None] * len(asked) if boxes is None else list(boxes)
    pictures: list[bytes | None] = []
    bytes_left = most_bytes

    def list_wanted() -> Iterable[tuple[Locator | None, Box | None]]:
        for locator, box in zip(asked, framed, strict=True):
            yield (locator if bytes_left > 0 else None), box

    with PhotoReader() as reader:

        def read(one: tuple[Locator | None, Box | None]) -> bytes | None:
            return read_thumbnail(one[0], reader, size, quality, one[1])

        drawn = map_ahead(
            read, list_wanted(), num_threads=_NUM_THREADS, num_ahead=_NUM_AHEAD, name="thumbnails"
        )
        for picture in drawn:
            pictures.append(picture if picture is not None and len(picture) <= bytes_left else None)
            bytes_left -= len(picture or b"")
            if watch is not None and (len(pictures) % 64 == 0 or len(pictures) == len(asked)):
                watch("drawing thumbnails", len(pictures), len(asked))
    return pictures


def draw_thumbnail(
    photo: Pixels,
    size: tuple[int, int] = THUMBNAIL_SIZE,
    quality: int = _QUALITY,
    box: Box | None = None,
) -> bytes:
    """A photo [H, W, 3] as a JPEG of at most `size` (width, height) pixels, its aspect kept.

    Where the car was found, a frame is around it.
    """
    small = _shrink(photo, size)
    if box is not None:
        _frame(small, box)
    return _encode(small, quality)


def _frame(picture: Image.Image, box: Box) -> None:
    """Draw a light frame with a dark edge, which is seen on any photo."""
    width, height = picture.size
    left, right = (round(edge * (width - 1)) for edge in (box.left, box.right))
    top, bottom = (round(edge * (height - 1)) for edge in (box.top, box.bottom))
    pen = ImageDraw.Draw(picture)
    for inset, colour in ((0, _FRAME_EDGE), (1, _FRAME), (2, _FRAME), (3, _FRAME_EDGE)):
        if left + inset <= right - inset and top + inset <= bottom - inset:
            pen.rectangle(
                (left + inset, top + inset, right - inset, bottom - inset), outline=colour
            )


def draw_heat(
    photo: Pixels,
    heat: FloatArray,
    spec: ImageSpec,
    size: tuple[int, int] = THUMBNAIL_SIZE,
    box: Box | None = None,
) -> bytes:
    """A photo with a heat map over it, as a JPEG of at most `size` pixels.

    The photo is seen in grey, and the heat in colours from dark blue (0) to light yellow (the
    hottest two per cent of the photo, so that one bright corner does not hide all the rest).

    Args:
        photo: [H, W, 3].
        heat: [spec.height, spec.width] in 0..1, over the frame that the photo was fitted to.
        spec: how it was fitted.
        size: (width, height) in pixels.
        box: of the car, where the photo was cropped to it.
    """
    small = _shrink(photo, size)
    laid = unfit_map(heat, spec, small.width, small.height, box)
    top = np.quantile(laid, _HOTTEST)
    laid = laid / top if top > 0 else laid
    places = np.linspace(0, 1, len(_HEAT))
    colours = np.stack([np.interp(laid, places, _HEAT[:, c]) for c in range(3)], axis=-1)
    grey = np.asarray(small.convert("L"), np.float64)[..., None]
    mixed = (1 - _HEAT_SHARE) * grey + _HEAT_SHARE * colours
    return _encode(Image.fromarray(np.clip(np.rint(mixed), 0, 255).astype(np.uint8)))


class Album:
    """Photos of a catalog drawn small, one after another, until a budget of bytes is spent.

    Whoever asks first is served first: ask in the order of importance. Use it in a `with` block,
    which closes the archives it opens.
    """

    def __init__(self, catalog: Catalog, *, most_bytes: int) -> None:
        self._locators = {photo.id: photo.locator for photo in catalog.photos}
        self._reader = PhotoReader()
        self._bytes_left = most_bytes
        self._drawn: dict[tuple[str, tuple[int, int]], bytes | None] = {}

    def __enter__(self) -> Album:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._reader.close()

    @property
    def is_full(self) -> bool:
        """Whether the budget is spent."""
        return self._bytes_left <= 0

    def show(self, photo_id: str, size: tuple[int, int] = THUMBNAIL_SIZE) -> bytes | None:
        """The photo as a JPEG; None if it cannot be read, or nothing more may be shown."""
        if self.is_full:
            return None
        key = (photo_id, size)
        if key not in self._drawn:
            locator = self._locators.get(photo_id)
            self._drawn[key] = read_thumbnail(locator, self._reader, size)
        return self._count(self._drawn[key])

    def show_heat(
        self,
        photo_id: str,
        heat: FloatArray,
        spec: ImageSpec,
        size: tuple[int, int],
        box: Box | None = None,
    ) -> bytes | None:
        """The photo under a heat map (see `draw_heat`); None as for `show`."""
        photo = None if self.is_full else self._read(photo_id, size)
        return None if photo is None else self._count(draw_heat(photo, heat, spec, size, box))

    def _read(self, photo_id: str, size: tuple[int, int]) -> Pixels | None:
        return _read(self._locators.get(photo_id), self._reader, size)

    def _count(self, picture: bytes | None) -> bytes | None:
        # Counted each time it is shown: a page holds it as often.
        self._bytes_left -= len(picture or b"")
        return picture


def _read(locator: Locator | None, reader: PhotoReader, size: tuple[int, int]) -> Pixels | None:
    """A photo at about this size; None if it cannot be read."""
    if locator is None:
        return None
    try:
        with decoding(reader.read(locator), min_size=size) as (pixels, _):
            return np.array(_shrink(pixels, size))
    except UnreadablePhoto:
        return None


def _shrink(photo: Pixels, size: tuple[int, int]) -> Image.Image:
    image = Image.fromarray(photo)
    image.thumbnail(size)
    return image


def _encode(image: Image.Image, quality: int = _QUALITY) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()
