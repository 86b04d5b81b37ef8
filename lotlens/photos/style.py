"""How a set of photos is stored, and other photos brought to the same; it knows no label, no model.

Photos of one site have one size and one compression. A network that is shown cars of another site
as "none of these" learns that size and that compression, and nothing of cars.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from statistics import median_low

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile, get_sampling

from lotlens.errors import UnreadablePhoto
from lotlens.photos.archives import PhotoReader
from lotlens.photos.decode import decode, decode_sized, decoding
from lotlens.photos.formats import Format, recognise
from lotlens.records import Photo
from lotlens.threads import map_ahead

MOST_LOOKED_AT = 300
"""Photos of a set whose files are looked at."""

SUBSAMPLINGS = ("4:4:4", "4:2:2", "4:2:0")
"""How a JPEG may store colours, by the number that Pillow gives it; the last has the fewest."""

_LOSSLESS: tuple[Format, ...] = ("PNG", "GIF", "BMP", "TIFF", "PNM", "TGA")
_UNCOMPRESSED = 101  # above every quality
_NUM_THREADS = 4


@dataclass(frozen=True, slots=True)
class StoredAs:
    """How one photo is stored.

    Attributes:
        format: of the file.
        side: the longer side in pixels.
        quality: of a JPEG, 1 to 100, as libjpeg counts; 101 where nothing is lost; None where the
            file does not tell (WebP, HEIC, AVIF).
        subsampling: of a JPEG's colours, a place in SUBSAMPLINGS; None where it has none of these.
    """

    format: Format | None
    side: int
    quality: int | None = None
    subsampling: int | None = None


@dataclass(frozen=True, slots=True)
class Style:
    """How photos are to be stored, or how most of a set are.

    Attributes:
        side: the longer side in pixels; smaller photos stay as small as they are.
        quality: of the JPEG, 1 to 100, as libjpeg counts; None for no JPEG at all.
        subsampling: of its colours, a place in SUBSAMPLINGS.
        formats: format -> share of the photos looked at.
        num_photos: that were looked at and could be read.
    """

    side: int
    quality: int | None
    subsampling: int = 2
    formats: Mapping[str, float] | None = None
    num_photos: int = 0

    def __post_init__(self) -> None:
        if self.side < 1 or not (self.quality is None or 1 <= self.quality <= 100):
            raise ValueError(f"no style: {self.side} pixels, quality {self.quality}")
        if self.subsampling not in range(len(SUBSAMPLINGS)):
            raise ValueError(f"no style: subsampling {self.subsampling}")

    def __str__(self) -> str:
        if self.quality is None:
            return f"{self.side} px, uncompressed"
        return f"{self.side} px, JPEG quality {self.quality}, {SUBSAMPLINGS[self.subsampling]}"


def measure_style(photos: Sequence[Photo]) -> Style | None:
    """How most of a set are stored: medians over up to MOST_LOOKED_AT photos.

    They are taken evenly from the whole set. What cannot be read is passed over.

    Returns:
        None where none can be read.
    """
    with_files = [photo for photo in photos if photo.locator is not None]
    found: list[StoredAs] = []
    with PhotoReader() as reader:
        chosen = take_evenly(with_files, MOST_LOOKED_AT)
        look = partial(_look, reader)
        for stored in map_ahead(
            look, chosen, num_threads=_NUM_THREADS, num_ahead=2 * _NUM_THREADS, name="style"
        ):
            if stored is not None:
                found.append(stored)
    return summarise(found)


def summarise(stored: Sequence[StoredAs]) -> Style | None:
    """What most photos of a set have in common; None without a photo.

    Medians are values that occur. Files that do not tell their quality have no say in it.
    """
    if not stored:
        return None
    qualities = [one.quality for one in stored if one.quality is not None]
    quality = median_low(qualities) if qualities else _UNCOMPRESSED
    samplings = Counter(one.subsampling for one in stored if one.subsampling is not None)
    formats = Counter(one.format or "unknown" for one in stored)
    return Style(
        median_low([one.side for one in stored]),
        None if quality == _UNCOMPRESSED else quality,
        max(samplings, key=lambda kind: (samplings[kind], kind)) if samplings else 2,
        {name: count / len(stored) for name, count in formats.most_common()},
        len(stored),
    )


def look_at(data: bytes) -> StoredAs:
    """How a photo's file stores it.

    Raises:
        UnreadablePhoto: it cannot be decoded.
    """
    size = decode_sized(data, min_size=(1, 1))[1]
    name = recognise(data)
    if name != "JPEG":
        lossless = name is None or name in _LOSSLESS  # a TGA has no mark of its own
        return StoredAs(name, max(size), _UNCOMPRESSED if lossless else None)
    with JpegImageFile(io.BytesIO(data)) as image:  # known to be harmless: it was decoded
        tables = image.quantization
        sampling = get_sampling(image) if image.layers == 3 else -1
        quality = estimate_quality(tables[0]) if 0 in tables else None
    return StoredAs(name, max(size), quality, sampling if sampling >= 0 else None)


def estimate_quality(table: Sequence[int]) -> int:
    """The quality at which libjpeg's table for brightness comes nearest to this one, 1 to 100.

    By the sum of the table, which falls as the quality rises: it needs no order of the values, and
    also tells something of tables that cameras and programs have made themselves.

    Args:
        table: 64 values of the first quantisation table, in any order.
    """
    return int(np.abs(_list_sums() - sum(table)).argmin()) + 1


def restyle(photo: NDArray[np.uint8], style: Style) -> NDArray[np.uint8]:
    """A photo as it would look if it were stored in a style.

    Args:
        photo: [H, W, 3] uint8, upright.
        style: how.

    Returns:
        [h, w, 3] uint8, of the same aspect to a pixel, no larger; the same on every call.
    """
    return decode(_store(photo, style))


def restyle_bytes(data: bytes, style: Style) -> bytes:
    """A photo's file, stored anew in a style: upright, without its notes.

    Args:
        data: the file's bytes, in one of the formats of `formats.Format`.
        style: how.

    Returns:
        a JPEG; a BMP where the style knows no JPEG.

    Raises:
        UnreadablePhoto: it cannot be decoded.
    """
    # At twice the side at least: libjpeg's own reduction would show in sharpness.
    side = 2 * style.side
    with decoding(data, min_size=(side, side)) as (photo, _):
        return _store(photo, style)


def take_evenly(photos: Sequence[Photo], most: int) -> list[Photo]:
    """At most so many photos, evenly from the first to the last."""
    if len(photos) <= most:
        return list(photos)
    return [photos[place] for place in np.linspace(0, len(photos) - 1, most).astype(int)]


def _store(photo: NDArray[np.uint8], style: Style) -> bytes:
    height, width = photo.shape[:2]
    image = Image.fromarray(photo)
    scale = style.side / max(height, width)
    if scale < 1:
        size = (max(round(width * scale), 1), max(round(height * scale), 1))
        image = image.resize(size, Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    if style.quality is None:
        image.save(stream, "BMP")
    else:
        image.save(stream, "JPEG", quality=style.quality, subsampling=style.subsampling)
    return stream.getvalue()


def _look(reader: PhotoReader, photo: Photo) -> StoredAs | None:
    assert photo.locator is not None  # noqa: S101  (those without are left out)
    try:
        return look_at(reader.read(photo.locator))
    except UnreadablePhoto:
        return None


@cache
def _list_sums() -> NDArray[np.int64]:
    """Sum of libjpeg's table for brightness at each quality, from 1; by Pillow's own encoder."""
    sums = []
    for quality in range(1, 101):
        stream = io.BytesIO()
        Image.new("RGB", (8, 8)).save(stream, "JPEG", quality=quality)
        stream.seek(0)
        with JpegImageFile(stream) as image:
            sums.append(sum(image.quantization[0]))
    return np.array(sums)
