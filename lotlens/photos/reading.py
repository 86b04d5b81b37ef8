"""Photos of a catalog read, decoded and fitted ahead of whoever uses them; it knows no model."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from lotlens.errors import UnreadablePhoto
from lotlens.photos.archives import PhotoReader
from lotlens.photos.decode import decoding
from lotlens.photos.prepare import decode_size, find_box, fit_photo
from lotlens.photos.quality import find_flaw, frame_photo, measure_quality
from lotlens.photos.style import Style, restyle_bytes
from lotlens.records import OK, Box, CarLocator, ImageSpec, Photo
from lotlens.threads import map_ahead

NO_FILE = "no file"
"""The reason given for a photo that the CSV names and no file matches."""
_MOST_WORKERS = 8


@dataclass(frozen=True, slots=True)
class LoadedPhoto:
    """A photo ready for a network, or why not.

    Attributes:
        status: "ok", or the reason why there are no pixels.
        pixels: fitted, [height, width, 3] uint8; None unless the status is "ok".
        flaw: what makes it too poor to tell models apart by (see `quality.find_flaw`), or "".
        box: where its car was found; None if it was not, or not looked for.
    """

    status: str
    pixels: NDArray[np.uint8] | None = None
    flaw: str = ""
    box: Box | None = None


def read_ahead(
    photos: Sequence[Photo],
    spec: ImageSpec,
    *,
    num_workers: int | None = None,
    num_ahead: int = 64,
    find_flaws: bool = False,
    style: Style | None = None,
    locate: CarLocator | None = None,
    border: tuple[int, int] = (0, 0),
) -> Generator[LoadedPhoto, None, None]:
    """Fitted photos, or the reason why not, in order.

    Threads read, decode and resize (Pillow does so outside the interpreter's lock) while the
    caller works on earlier photos; memory is bounded by `num_ahead`. Close the generator to end
    the threads early.

    Args:
        photos: which, in which order.
        spec: the frame to fit them to.
        num_workers: threads; 0 to read in the caller's, which then waits for a decoder whatever
            comes (Ctrl-C too); None for one per core.
        num_ahead: the most photos that wait to be taken.
        find_flaws: also judge their quality, for about a millisecond each.
        style: read them as if they were stored so; None as they are.
        locate: finds the car, where the spec says that it is found first.
        border: as for `prepare.fit_photo`.
    """
    if num_workers is None and len(photos) < 2:
        num_workers = len(photos)
    if num_workers is None:
        from joblib import cpu_count  # slow to import

        num_workers = min(_MOST_WORKERS, cpu_count())
    with PhotoReader() as reader:
        read = partial(
            read_photo,
            reader,
            spec=spec,
            find_flaws=find_flaws,
            style=style,
            locate=locate,
            border=border,
        )
        if num_workers == 0:
            yield from map(read, photos)
            return
        yield from map_ahead(
            read, photos, num_threads=num_workers, num_ahead=num_ahead, name="photos"
        )


def read_photo(
    reader: PhotoReader,
    photo: Photo,
    spec: ImageSpec,
    *,
    find_flaws: bool = False,
    style: Style | None = None,
    locate: CarLocator | None = None,
    border: tuple[int, int] = (0, 0),
) -> LoadedPhoto:
    """One photo, read, decoded and fitted, or the reason why not; safe in threads.

    Arguments are those of `read_ahead`.
    """
    if photo.locator is None:
        return LoadedPhoto(NO_FILE)
    try:
        data = reader.read(photo.locator)
        if style is not None:
            data = restyle_bytes(data, style)
    except UnreadablePhoto as error:
        return LoadedPhoto(error.reason)
    return load_photo(data, spec, find_flaws=find_flaws, locate=locate, border=border)


def load_photo(
    data: bytes,
    spec: ImageSpec,
    *,
    find_flaws: bool = False,
    locate: CarLocator | None = None,
    border: tuple[int, int] = (0, 0),
) -> LoadedPhoto:
    """The bytes of one photo, decoded and fitted, or the reason why not; safe in threads.

    Arguments are those of `read_ahead`.

    Raises:
        ValueError: the car is to be found first, and nothing is given that finds it.
    """
    try:
        with decoding(data, min_size=decode_size(spec)) as (pixels, size):
            flaw = find_flaw(measure_quality(frame_photo(pixels), size)) if find_flaws else ""
            box = find_box(pixels, spec, locate)
            return LoadedPhoto(OK, fit_photo(pixels, spec, box, border=border), flaw, box)
    except UnreadablePhoto as error:
        return LoadedPhoto(error.reason)
