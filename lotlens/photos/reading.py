"""Photos of a catalog read, decoded and fitted ahead of whoever uses them; it knows no model."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
from joblib import cpu_count
from numpy.typing import NDArray

from lotlens.errors import UnreadablePhoto
from lotlens.photos.archives import PhotoReader
from lotlens.photos.decode import decode
from lotlens.photos.prepare import decode_size, fit_photo
from lotlens.records import ImageSpec, Photo

NO_FILE = "no file"
"""The reason given for a photo that the CSV names and no file matches."""
_MOST_WORKERS = 8


def read_ahead(
    photos: Sequence[Photo], spec: ImageSpec, *, num_workers: int | None = None, num_ahead: int = 64
) -> Generator[NDArray[np.uint8] | str, None, None]:
    """Fitted photos [height, width, 3] uint8, or the reason why not (text), in order.

    Threads read, decode and resize (Pillow does so outside the interpreter's lock) while the
    caller works on earlier photos; memory is bounded by `num_ahead`. Close the generator to end
    the threads early.

    Args:
        photos: which, in which order.
        spec: the frame to fit them to.
        num_workers: threads; 0 to read in the caller's, None for one per core.
        num_ahead: the most photos that wait to be taken.
    """
    if num_workers is None:
        num_workers = min(_MOST_WORKERS, cpu_count())
    with PhotoReader() as reader:
        if num_workers == 0:
            yield from (_read(reader, photo, spec) for photo in photos)
            return
        queue: deque[Future[NDArray[np.uint8] | str]] = deque()
        pool = ThreadPoolExecutor(num_workers, thread_name_prefix="photos")
        try:
            for photo in photos:
                if len(queue) == num_ahead:
                    yield queue.popleft().result()
                queue.append(pool.submit(_read, reader, photo, spec))
            while queue:
                yield queue.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _read(reader: PhotoReader, photo: Photo, spec: ImageSpec) -> NDArray[np.uint8] | str:
    if photo.locator is None:
        return NO_FILE
    try:
        data = reader.read(photo.locator)
        return fit_photo(decode(data, min_size=decode_size(spec)), spec)
    except UnreadablePhoto as error:
        return error.reason
