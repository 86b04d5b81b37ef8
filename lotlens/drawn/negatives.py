"""Pictures that show no car model, made here: drawn scenes, noise, plain colours, torn-up photos.

They stand for what reaches a model and is none of its classes, where nobody gives better examples.
It knows no model. What is made of car photos shows parts of cars, or nothing that has a shape.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from PIL import Image

from lotlens.drawn.scenes import draw_other_photo
from lotlens.errors import UnreadablePhoto
from lotlens.files import write_bytes_atomically
from lotlens.photos.archives import PhotoReader
from lotlens.photos.decode import decoding
from lotlens.records import Catalog, Locator, Photo

_QUALITY = 90  # of the JPEG files
_TILES = 4  # a shuffled photo's patches a side
_CLOSE = (0.12, 0.25)  # share of each side that a close-up shows

Size = tuple[int, int]


def _draw_noise(rng: np.random.Generator, size: Size) -> Image.Image:
    """Random pixels, fine or coarse, with or without colours."""
    width, height = size
    grain = int(rng.choice([1, 2, 4, 8, 16]))
    shape = (max(2, height // grain), max(2, width // grain), int(rng.choice([1, 3])))
    spread = float(rng.uniform(25, 80))
    pixels = np.clip(rng.normal(rng.uniform(80, 175), spread, shape), 0, 255).astype(np.uint8)
    image = Image.fromarray(np.broadcast_to(pixels, (*shape[:2], 3)).copy())
    return image.resize(size, Image.Resampling.BICUBIC)


def _draw_plain(rng: np.random.Generator, size: Size) -> Image.Image:
    """One colour, or one running into another, with a little of the sensor's noise."""
    width, height = size
    start, end = rng.uniform(0, 255, (2, 3))
    if rng.random() < 0.5:
        end = start
    angle = rng.uniform(0, 2 * np.pi)
    across, down = np.meshgrid(np.linspace(-1, 1, width), np.linspace(-1, 1, height))
    share = ((across * np.cos(angle) + down * np.sin(angle)) / 2**0.5 + 1)[..., None] / 2
    pixels = start + (end - start) * share + rng.normal(0, 2, (height, width, 1))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def _draw_scene(kind: str) -> Callable[[np.random.Generator, Size], Image.Image]:
    return lambda rng, size: draw_other_photo(rng, kind, *size)


def _shuffle(rng: np.random.Generator, photo: Image.Image) -> Image.Image:
    """A photo cut into 4 x 4 patches that are laid out anew, some mirrored."""
    width, height = (max(side // _TILES, 1) * _TILES for side in photo.size)
    pixels = np.asarray(photo.resize((width, height)))
    rows = pixels.reshape(_TILES, height // _TILES, _TILES, width // _TILES, 3)
    patches = rows.swapaxes(1, 2).reshape(_TILES**2, height // _TILES, width // _TILES, 3)
    mixed = patches[rng.permutation(_TILES**2)]
    mirrored = rng.random(_TILES**2) < 0.5
    mixed[mirrored] = mixed[mirrored, :, ::-1]
    rows = mixed.reshape(_TILES, _TILES, *mixed.shape[1:]).swapaxes(1, 2)
    return Image.fromarray(rows.reshape(height, width, 3))


def _come_close(rng: np.random.Generator, photo: Image.Image) -> Image.Image:
    """A small part of a photo, as of a door panel, a lamp or a seat."""
    share = float(rng.uniform(*_CLOSE))
    width, height = max(1.0, photo.width * share), max(1.0, photo.height * share)
    left = float(rng.uniform(0, photo.width - width))
    top = float(rng.uniform(0, photo.height - height))
    box = (left, top, left + width, top + height)
    return photo.resize(photo.size, Image.Resampling.BICUBIC, box=box)


DRAWN: Mapping[str, Callable[[np.random.Generator, Size], Image.Image]] = {
    "empty place": _draw_scene("empty place"),
    "person": _draw_scene("person"),
    "cabin": _draw_scene("cabin"),
    "document": _draw_scene("document"),
    "noise": _draw_noise,
    "plain": _draw_plain,
}
"""What is drawn from nothing, by kind: a function of randomness and (width, height)."""

MADE_OF_PHOTOS: Mapping[str, Callable[[np.random.Generator, Image.Image], Image.Image]] = {
    "shuffled": _shuffle,
    "close-up": _come_close,
}
"""What is made of a photo, by kind."""

KINDS = (*DRAWN, *MADE_OF_PHOTOS)


def make_negatives(
    path: Path,
    photos: Sequence[Photo],
    *,
    num_per_kind: int,
    size: Size,
    seed: int,
) -> Catalog:
    """Make pictures without a car model and write them as JPEG files into a zip.

    Args:
        path: of the zip.
        photos: car photos, of which "shuffled" and "close-up" are made; those that cannot be read
            are passed over, and without any these kinds are left out.
        num_per_kind: pictures of each of KINDS.
        size: width and height of what is drawn; what is made of a photo keeps the photo's.
        seed: the same gives the same pictures.

    Returns:
        a catalog without classes; each photo's `extra["kind"]` says what it is.

    Raises:
        OutputError: the zip cannot be written.
    """
    made: list[Photo] = []
    packed = io.BytesIO()
    with PhotoReader() as reader, zipfile.ZipFile(packed, "w") as archive:
        for place, kind in enumerate(KINDS):
            for number in range(num_per_kind):
                if kind in DRAWN:
                    data: bytes | None = _draw(kind, (seed, place, number), size)
                else:
                    rng = np.random.default_rng([seed, place, number])
                    source = _pick_photo(rng, photos, reader)
                    data = None if source is None else _encode(MADE_OF_PHOTOS[kind](rng, source))
                if data is not None:
                    name = f"{kind.replace(' ', '-')}-{number:03}.jpg"
                    archive.writestr(name, data)
                    made.append(Photo(name, Locator(path, (name,)), extra={"kind": kind}))
    write_bytes_atomically(path, packed.getvalue())
    return Catalog(tuple(made), ())


# What is drawn from nothing is the same for every run of a sweep; two sizes of it are kept.
@lru_cache(maxsize=2 * 6 * 16)
def _draw(kind: str, seed: tuple[int, ...], size: Size) -> bytes:
    """The JPEG file of a drawn kind."""
    return _encode(DRAWN[kind](np.random.default_rng(seed), size))


def _pick_photo(
    rng: np.random.Generator, photos: Sequence[Photo], reader: PhotoReader
) -> Image.Image | None:
    """One of a few photos drawn at random that can be read, or None."""
    order = rng.permutation(len(photos))[:5].tolist()
    for locator in (photos[at].locator for at in order):
        try:
            if locator is not None:
                with decoding(reader.read(locator), min_size=(512, 512)) as (pixels, _):
                    return Image.fromarray(pixels)
        except UnreadablePhoto:
            continue
    return None


def _encode(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=_QUALITY)
    return stream.getvalue()
