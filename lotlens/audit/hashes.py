"""Perceptual hashes of photos, and the search for pairs that may show one picture; reads no file.

A hash is the low-frequency corner of a photo's cosine transform, as in pHash (Zauner 2010,
"Implementation and benchmarking of perceptual image hash functions"), but kept as numbers instead
of signs: from them the hash of a crop, of the mirror image or of a quarter turn follows by linear
algebra alone, so that a cropped or turned copy is found without looking at the photo again.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
from joblib import cpu_count
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from lotlens.audit.turns import INVERSES, MIRROR, NUM_TURNS, turn_boxes, turn_hashes

HASH_SIDE = 16
"""A hash is HASH_SIDE x HASH_SIDE numbers."""

_FRAME = 64  # pixels a side, of which the transform is taken
_POINTS = (np.arange(_FRAME) + 0.5) / _FRAME  # their centres, as shares of the side
_SEARCH_SIDE = 8  # frequencies a side that the search compares
_CELL_SIDE = 6  # the fewer and lower ones by which it sorts into cells: copies differ there least
_MATCH_SIDE = 10  # frequencies that the second look compares
# Natural pictures have amplitudes of about 1/frequency; without weights the lowest few would
# decide alone. The exponents and the thresholds below were measured (docs/LOG.md, issue 3).
_SEARCH_EXPONENT = 0.8
_MATCH_EXPONENT = 1.0
_SEARCH_THRESHOLD = 0.76
MATCH_THRESHOLD = 0.79
_MOST_PER_PHOTO = 64  # pairs kept of one photo, cell and crop: endless series of blank pictures
_NUM_CELLS_PHOTO, _NUM_CELLS_CROP = 4, 2
_MOST_FOR_CENTRES = 30_000
_NUM_MEANS = 8  # rounds of k-means
_MOST_THREADS = 4  # each holds the crops of all photos in memory
_FEW = 3000  # photos that are compared each with each, without cells
_FLAT = 3.0  # amplitude below which a picture has nothing to tell it by, in grey levels

Stretch = tuple[float, float]
"""From where to where along a side, as shares of it."""

_WHOLE: Stretch = (0.0, 1.0)
# What the search compares with whole photos: all round, one side, or one corner cut off.
_CROPS: tuple[tuple[Stretch, ...], ...] = (
    ((0.06, 0.94), (0.06, 0.94)),
    ((0.12, 0.88), (0.12, 0.88)),
    *product((_WHOLE, (0.1, 1.0), (0.0, 0.9)), repeat=2),
)
# Besides, it compares them with whole photos that are turned: that the search meets each pair in
# both orders makes one quarter turn find the other.
_VIEWS: tuple[tuple[tuple[Stretch, ...], int], ...] = (
    *product(_CROPS, (0, MIRROR)),
    *product(((_WHOLE, _WHOLE),), (2, 3, 4, 5, 7)),
)
_CUTS = (0.0, 0.06, 0.12)
_STRETCHES: tuple[Stretch, ...] = tuple((low, 1 - high) for low, high in product(_CUTS, repeat=2))


@dataclass(frozen=True)
class Lookalikes:
    """Pairs of photos that may show one picture, the likeliest first.

    Attributes:
        pairs: [M, 2] positions; the second photo may be a crop of the first.
        turns: [M] how the first must be turned (see `turns`) to be like the second.
        boxes: [M, 4] left, right, top, bottom of the second within the turned first, as shares of
            its sides; only roughly.
        scores: [M] cosine similarity of the weighted hashes, at most 1.
    """

    pairs: NDArray[np.int32]
    turns: NDArray[np.int8]
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.pairs)


def hash_frame(frame: NDArray[np.uint8]) -> NDArray[np.float16]:
    """The hash [16, 16] of a square grey frame; without its mean, so brightness is out.

    Args:
        frame: [side, side] of `quality.frame_photo`, a multiple of 64 pixels a side.
    """
    waves = _frame_waves(len(frame))
    amplitudes: NDArray[np.float32] = np.matmul(np.matmul(waves.T, frame, dtype=np.float32), waves)
    amplitudes[0, 0] = 0
    return amplitudes.astype(np.float16)


def find_lookalikes(hashes: NDArray[np.float16], *, seed: int = 0) -> Lookalikes:
    """Search hashes [N, 16, 16] for pairs that may show one picture.

    Every photo is compared, whole, with crops and mirror images of every other one, and with its
    quarter turns, whole, mirrored or not. To spare most
    of the N * N comparisons, photos are sorted into about 2 sqrt(N) cells around centres found by
    k-means (an inverted file, Sivic & Zisserman 2003; Jégou et al. 2011), each into several, and
    only those that meet in a cell are compared; time grows as N ** 1.5. A second look at each pair
    tries finer crops. Pictures without any structure are left out.

    Args:
        hashes: of `hash_frame`.
        seed: of the centres.
    """
    amplitudes = hashes.astype(np.float32)
    kept = np.flatnonzero(np.linalg.norm(amplitudes, axis=(1, 2)) > _FLAT)
    if len(kept) < len(amplitudes):
        amplitudes = amplitudes[kept]
    with threadpool_limits(1, user_api="blas"):
        # One BLAS thread and crops side by side: BLAS threads wait for each other by spinning,
        # which on a busy machine made this 40 times slower (measured).
        pairs, turns = _search(amplitudes, seed)
        scores, boxes, swapped = _match(amplitudes, pairs, turns)
    pairs = np.where(swapped[:, None], pairs[:, ::-1], pairs)
    turns = np.where(swapped, np.array(INVERSES, np.int8)[turns], turns)
    order = np.argsort(-scores, kind="stable")
    order = order[scores[order] > MATCH_THRESHOLD]
    return Lookalikes(
        kept[pairs[order]].astype(np.int32), turns[order], boxes[order], scores[order]
    )


def _search(hashes: NDArray[np.float32], seed: int) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
    """Pairs [M, 2] (first before second), each once for a turn at most, and the turns [M]."""
    whole, coarse = _describe(hashes)
    centres = _find_centres(coarse, seed)
    cells = _sort_into_cells(coarse, centres, _NUM_CELLS_PHOTO)

    def search(view: tuple[tuple[Stretch, ...], int]) -> NDArray[np.int64]:
        (along_x, along_y), turn = view
        crops, coarse = _describe(hashes, along_x, along_y, turn)
        visits = _sort_into_cells(coarse, centres, _NUM_CELLS_CROP)
        keys = [
            _compare(crops, rows, whole, columns, turn)
            for rows, columns in zip(visits, cells, strict=True)
        ]
        return np.unique(np.concatenate(keys))

    with ThreadPoolExecutor(min(_MOST_THREADS, cpu_count())) as pool:
        keys = np.unique(np.concatenate(list(pool.map(search, _VIEWS))))
    keys, turns = np.divmod(keys, NUM_TURNS)
    return np.stack(np.divmod(keys, len(hashes)), axis=1), turns.astype(np.int8)


def _compare(
    crops: NDArray[np.float32],
    rows: NDArray[np.int64],
    whole: NDArray[np.float32],
    columns: NDArray[np.int64],
    turn: int = 0,
) -> NDArray[np.int64]:
    """Keys ((first * N + second) * 8 + turn) of the pairs in one cell that are similar enough.

    The rows' photos are turned; where such a photo is the second of its pair, the first is turned
    the other way.
    """
    keys = [np.empty(0, np.int64)]
    for start in range(0, len(rows), 4096):
        some = rows[start : start + 4096]
        near = crops[some] @ whole[columns].T
        hits = near > _SEARCH_THRESHOLD
        for row in np.flatnonzero(np.count_nonzero(hits, axis=1) > _MOST_PER_PHOTO):
            hits[row] = False
            hits[row, np.argpartition(near[row], -_MOST_PER_PHOTO)[-_MOST_PER_PHOTO:]] = True
        at_row, at_column = np.nonzero(hits)
        one, other = some[at_row], columns[at_column]
        apart = one != other
        one, other = one[apart], other[apart]
        found = np.minimum(one, other) * len(whole) + np.maximum(one, other)
        keys.append(found * NUM_TURNS + np.where(one < other, turn, INVERSES[turn]))
    return np.concatenate(keys)


def _find_centres(vectors: NDArray[np.float32], seed: int) -> NDArray[np.float32]:
    """Centres [C, D] of the cells, of length 1; a single one for a few photos.

    Spherical k-means (Dhillon & Modha 2001) on a sample.
    """
    if len(vectors) <= _FEW:
        return vectors[:1]
    rng = np.random.default_rng(seed)
    sample = vectors[np.sort(rng.permutation(len(vectors))[:_MOST_FOR_CENTRES])]
    centres = sample[rng.permutation(len(sample))[: round(2 * len(vectors) ** 0.5)]]
    for _ in range(_NUM_MEANS):
        cells = _sort_into_cells(sample, centres, 1)
        sums = [sample[cell].sum(axis=0) for cell in cells]
        filled = np.array([len(cell) > 0 for cell in cells])
        centres = np.where(filled[:, None], _flatten(np.stack(sums)), centres)
    return centres


def _sort_into_cells(
    vectors: NDArray[np.float32], centres: NDArray[np.float32], num_cells: int
) -> list[NDArray[np.int64]]:
    """For each centre the positions of the vectors that have it among their nearest ones."""
    num_cells = min(num_cells, len(centres))
    nearest = np.empty((len(vectors), num_cells), np.int32)
    for start in range(0, len(vectors), 2048):
        near = vectors[start : start + 2048] @ centres.T
        rows = np.arange(len(near))
        for rank in range(num_cells):
            best = near.argmax(axis=1)
            nearest[start + rows, rank] = best
            near[rows, best] = -np.inf
    cells = nearest.ravel()
    order = np.argsort(cells, kind="stable")
    bounds = np.searchsorted(cells[order], np.arange(1, len(centres)))
    return np.split(order // num_cells, bounds)


def _match(
    hashes: NDArray[np.float32], pairs: NDArray[np.int64], turns: NDArray[np.int8]
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.bool_]]:
    """The best of 81 crops of either photo against the other, turned one.

    Returns:
        scores, boxes, and whether the second photo of the pair is the larger one.
    """
    scores = np.empty((len(pairs), 2), np.float32)
    boxes = np.empty((len(pairs), 2, 4), np.float32)
    for turn in range(NUM_TURNS):
        turned = np.flatnonzero(turns == turn)
        for start in range(0, len(turned), 1024):
            some = turned[start : start + 1024]
            for way in (0, 1):
                outer, inner = hashes[pairs[some, way]], hashes[pairs[some, 1 - way]]
                matched = _match_crops(outer, inner, INVERSES[turn] if way else turn)
                scores[some, way], boxes[some, way] = matched
    best = scores.argmax(axis=1)
    rows = np.arange(len(pairs))
    return scores[rows, best], boxes[rows, best], best == 1


def _match_crops(
    outer: NDArray[np.float32], inner: NDArray[np.float32], turn: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """For M pairs: the best similarity of crops of the turned `outer` to the whole `inner`.

    Returns:
        scores, and the boxes of the crops in the turned `outer`.
    """
    num, side, num_stretches = len(outer), _MATCH_SIDE, len(_STRETCHES)
    cut = np.concatenate([_cut(stretch, side) for stretch in _STRETCHES])
    weights = _weigh(side, _MATCH_EXPONENT)
    # Two large products instead of many small ones: rows, then columns.
    rows = outer.transpose(0, 2, 1).reshape(-1, HASH_SIDE) @ cut.T
    rows = rows.reshape(num, HASH_SIDE, -1).transpose(0, 2, 1).reshape(-1, HASH_SIDE)
    crops = (rows @ cut.T).reshape(num, num_stretches, side, num_stretches, side)
    crops *= weights[None, None, :, None, :]
    target = turn_hashes(inner[:, :side, :side] * weights, INVERSES[turn])
    target /= np.maximum(np.linalg.norm(target, axis=(1, 2), keepdims=True), 1e-6)
    alike = np.einsum("mykxl,mkl->myx", crops, target, optimize=True)
    lengths = np.sqrt(np.einsum("mykxl,mykxl->myx", crops, crops))
    alike = (alike / np.maximum(lengths, 1e-6)).reshape(num, -1)
    best = alike.argmax(axis=1)
    down, across = np.divmod(best, num_stretches)
    stretches = np.array(_STRETCHES, np.float32)
    boxes = np.concatenate([stretches[across], stretches[down]], axis=1)
    # The crop was found in the outer photo as it is.
    return alike[np.arange(num), best], turn_boxes(boxes, turn)


def _describe(
    hashes: NDArray[np.float32],
    along_x: Stretch = _WHOLE,
    along_y: Stretch = _WHOLE,
    turn: int = 0,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weighted hashes of a crop, turned, as vectors of length 1.

    Returns:
        [N, 64] to compare them by and [N, 36] to sort them into cells by.
    """
    weights = _weigh(_SEARCH_SIDE, _SEARCH_EXPONENT)
    down, across = _cut(along_y, _SEARCH_SIDE), _cut(along_x, _SEARCH_SIDE)
    crops = np.empty((len(hashes), _SEARCH_SIDE, _SEARCH_SIDE), np.float32)
    for start in range(0, len(hashes), 8192):
        some = slice(start, start + 8192)
        cut = np.matmul(np.matmul(down, hashes[some]), across.T)
        crops[some] = turn_hashes(cut, turn) * weights
    coarse = crops[:, :_CELL_SIDE, :_CELL_SIDE].copy()
    return _flatten(crops), _flatten(coarse)


def _flatten(crops: NDArray[np.float32]) -> NDArray[np.float32]:
    vectors = crops.reshape(len(crops), int(np.prod(crops.shape[1:])))
    vectors /= np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-6)
    return vectors


def _weigh(side: int, exponent: float) -> NDArray[np.float32]:
    frequency = np.hypot(*np.meshgrid(np.arange(side), np.arange(side)))
    weights = frequency**exponent
    weights[0, 0] = 0
    return weights.astype(np.float32)


def _cut(stretch: Stretch, side: int) -> NDArray[np.float32]:
    """The matrix [side, 16] that makes a stretch's amplitudes of those of the whole side."""
    low, high = stretch
    matrix = _waves(_POINTS, side).T @ _waves(low + (high - low) * _POINTS, HASH_SIDE)
    return matrix.astype(np.float32)


@cache
def _frame_waves(side: int) -> NDArray[np.float32]:
    """[side, 16]: averages squares of pixels to a frame of 64 and takes its amplitudes."""
    times = side // _FRAME
    waves = _waves(_POINTS, HASH_SIDE) / _FRAME**0.5 / times
    return np.repeat(waves, times, axis=0).astype(np.float32)


def _waves(points: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """The orthonormal cosines (DCT-II) at points of the unit length: [points, count]."""
    frequencies = np.arange(count)
    heights = np.sqrt(np.where(frequencies == 0, 1, 2) / _FRAME)
    waves: NDArray[np.float64] = heights * np.cos(np.pi * frequencies * points[:, None])
    return waves
