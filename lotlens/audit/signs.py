"""Looks at every photo of a catalog once and writes down what can be said of it in a few numbers.

It knows no labels and judges nothing: `checks` does. Worker processes share the photos out, since
decoding is most of the work; JPEGs are decoded at a fraction of their size.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, TypeVar

import numpy as np
from joblib import Parallel, cpu_count, delayed
from numpy.typing import NDArray

from lotlens.audit.hashes import HASH_SIDE, hash_frame
from lotlens.audit.likeness import SAME, measure_likeness
from lotlens.audit.rotations import WARPS, measure_rotated, measure_slanted
from lotlens.audit.turns import turn_frame
from lotlens.errors import UnreadablePhoto
from lotlens.photos.archives import PhotoReader
from lotlens.photos.decode import decoding
from lotlens.photos.quality import FRAME, find_levels, frame_photo, measure_quality
from lotlens.photos.reading import NO_FILE
from lotlens.records import OK, Photo
from lotlens.threads import map_ahead

_SCAN_SIZE = (96, 96)  # pixels that a JPEG is decoded to at least, for its signs
_CHUNK = 48  # photos or pairs a worker takes at a time
_FEW = 1500  # of them, for which starting worker processes takes longer than it saves
_NEARLY = 0.7  # likeness from which two pictures may be one aslant
_MOST_KEPT = 50_000  # likenesses, at about 300 bytes each

Progress = Callable[[int, int], None]
_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


NO_HASH = np.zeros((HASH_SIDE, HASH_SIDE), np.float16)
"""The hash of a photo that cannot be read."""


@dataclass(frozen=True, slots=True)
class Signs:
    """What was seen of one photo.

    Attributes:
        status: "ok", or why it cannot be read; all but the digest is empty then.
        digest: sha256 of the file's bytes; empty where there are none.
        size: width and height of the upright photo in pixels.
        hash: [16, 16] perceptual hash (see `hashes.hash_frame`).
        tones: 1st, 50th and 99th percentile of the grey levels, 0 to 255.
        sharpness: see `quality.measure_sharpness`.
        colour: 99th percentile of the span between a pixel's channels, 0 to 255.
    """

    status: str
    digest: bytes = b""
    size: tuple[int, int] = (0, 0)
    hash: NDArray[np.float16] = field(default_factory=lambda: NO_HASH)
    tones: tuple[int, ...] = (0, 0, 0)
    sharpness: float = 0.0
    colour: int = 0


@dataclass(frozen=True, slots=True)
class Pair:
    """Two photos to look at more closely.

    Attributes:
        outer: the one that shows as much or more.
        inner: the other.
        turn: how the outer one is turned before it is compared (see `turns`).
        box: left, right, top, bottom of the inner within the turned outer one, as shares.
        shortest_side: of both photos, in pixels.
        warp: instead of the box, number of the warp to start from (see `rotations.WARPS`) where
            one may be rotated; None where not.
    """

    outer: Photo
    inner: Photo
    turn: int
    box: tuple[float, float, float, float]
    shortest_side: int
    warp: int | None = None


def scan_photos(
    photos: Sequence[Photo], *, num_workers: int | None = None, progress: Progress | None = None
) -> tuple[Signs, ...]:
    """Look at every photo once; one without a locator has the status "no file".

    Args:
        photos: which; the result is in their order.
        num_workers: processes; None for one per core, or none beside the caller's for few photos.
        progress: told (photos done, photos in all).
    """
    return tuple(_share_out(_look, photos, num_workers, progress))


def compare_photos(
    pairs: Sequence[Pair], *, num_workers: int | None = None, progress: Progress | None = None
) -> tuple[float, ...]:
    """The likeness of each pair; 0 if one cannot be read now.

    It is that of `likeness.measure_likeness`, or of `rotations.measure_slanted` if that is more;
    with a warp that of `rotations.measure_rotated`.
    """
    return tuple(_share_out(_compare, pairs, num_workers, progress))


def choose_workers(num_items: int) -> int:
    """Processes for so many photos: one per core, or none beside the caller's for a few."""
    return 1 if num_items <= _FEW else int(cpu_count())


def _look(reader: PhotoReader, photo: Photo) -> Signs:
    if photo.locator is None:
        return Signs(NO_FILE)
    digest = b""
    try:
        data = reader.read(photo.locator)
        digest = hashlib.sha256(data).digest()
        with decoding(data, min_size=_SCAN_SIZE) as (pixels, size):
            frame = frame_photo(pixels)
            # Every fourth pixel in rows and columns is enough for the colours, and 16 times faster.
            red, green, blue = np.moveaxis(pixels[::4, ::4], 2, 0)
            span = np.maximum(np.maximum(red, green), blue)
            span -= np.minimum(np.minimum(red, green), blue)
    except UnreadablePhoto as error:
        return Signs(error.reason, digest)
    quality = measure_quality(frame, size)
    return Signs(
        OK,
        digest,
        size,
        hash_frame(frame),
        quality.tones,
        quality.sharpness,
        *find_levels(span, 0.99),
    )


def _compare(reader: PhotoReader, pair: Pair) -> float:
    try:
        outer, inner = (_read_frame(reader, photo) for photo in (pair.outer, pair.inner))
    except UnreadablePhoto:
        return 0.0
    outer = turn_frame(outer, pair.turn)
    # Where a photo has fewer pixels than the frame, the finest level would compare made-up ones.
    shrink = 1 if pair.shortest_side >= FRAME else 2 if pair.shortest_side >= FRAME // 2 else 4
    return _measure_once(outer, inner, pair.box if pair.warp is None else pair.warp, shrink)


_Start = tuple[float, float, float, float] | int
_likenesses: dict[tuple[bytes, bytes, _Start, int], float] = {}


def _measure_once(
    outer: NDArray[np.uint8], inner: NDArray[np.uint8], start: _Start, shrink: int
) -> float:
    """The likeness, once for equal pixels: a sweep audits the same photos run after run."""
    first, second = (hashlib.sha256(frame.tobytes()).digest() for frame in (outer, inner))
    key = (first, second, start, shrink)
    likeness = _likenesses.get(key)
    if likeness is None:
        if isinstance(start, int):
            likeness = measure_rotated(outer, inner, WARPS[start], shrink=shrink)
        else:
            likeness = measure_likeness(outer, inner, start, shrink=shrink)
            if _NEARLY <= likeness < SAME:
                slanted = measure_slanted(outer, inner, start, shrink=shrink)
                likeness = max(likeness, slanted)
        if len(_likenesses) >= _MOST_KEPT:
            _likenesses.clear()
        _likenesses[key] = likeness
    return likeness


def _read_frame(reader: PhotoReader, photo: Photo) -> NDArray[np.uint8]:
    if photo.locator is None:
        raise UnreadablePhoto(NO_FILE)
    with decoding(reader.read(photo.locator), min_size=(FRAME, FRAME)) as (pixels, _):
        return frame_photo(pixels)


def _share_out(
    work: Callable[[PhotoReader, _Item], _Result],
    items: Sequence[_Item],
    num_workers: int | None,
    progress: Progress | None,
) -> Iterator[_Result]:
    """The results of `work` for every item, in order."""
    if num_workers is None:
        num_workers = choose_workers(len(items))
    chunks = [items[start : start + _CHUNK] for start in range(0, len(items), _CHUNK)]
    token = secrets.token_hex(8)
    results: Any
    if num_workers == 1:
        # Not in the caller's thread: Ctrl-C would wait there for a decoder that is deep in C.
        do = partial(_do_chunk, token, work)
        results = map_ahead(do, chunks, num_threads=1, num_ahead=2, name="audit")
    else:
        jobs = (delayed(_do_chunk)(token, work, chunk) for chunk in chunks)
        results = Parallel(num_workers, return_as="generator", pre_dispatch="3*n_jobs")(jobs)
    done = 0
    try:
        for part in results:
            yield from part
            done += len(part)
            if progress is not None:
                progress(done, len(items))
    finally:
        results.close()
        _open_reader(token).close()  # this process's own, if it took part


def _do_chunk(
    token: str, work: Callable[[PhotoReader, _Item], _Result], items: Sequence[_Item]
) -> list[_Result]:
    reader = _open_reader(token)
    return [work(reader, item) for item in items]


@lru_cache(maxsize=1)
def _open_reader(token: str) -> PhotoReader:
    """One reader per worker process and scan: opening a large zip takes longer than a chunk.

    The token changes with each scan, since joblib keeps its workers: a zip that was replaced in
    between must not be read by the old table of contents.
    """
    del token
    return PhotoReader()
