"""Photos that are one picture rotated, sheared or cut: guessed by their hashes, then laid over.

`hashes` and `likeness` know quarter turns and upright crops alone, and to search all photos for
rotations too would take too long. Here are the means for fewer photos: those that are nearly
upright crops, and those whose names say that they are made of one picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

from lotlens.audit.likeness import measure_agreement, shrink_frame
from lotlens.audit.turns import NUM_TURNS, turn_hashes

ALIKE = 0.75
"""Likeness from which photos of one name count as made of one picture (docs/guide/copies.md)."""

Warp = NDArray[np.float64]
"""[2, 3]: where a place (x, y, 1) of the inner photo lies in the outer one; both reach from -1 to
1 along each side."""

_ASPECT = 4 / 3  # of a photo, assumed: frames are stretched to squares, which shears rotations
_ANGLES = (-20, -10, 0, 10, 20)  # degrees
_SCALES = (0.8, 1.0, 1.25)
_CROP = 0.75
_PIXELS = 12  # a side, of the small pictures that hashes are made to
_FREQUENCIES = 8
_EXPONENT = 0.5  # see hashes._SEARCH_EXPONENT
_LEAST_ENERGY = 0.1  # of a picture, that must lie within the part that is compared
_LEAST, _LEAST_PER_DOUBLING, _LEAST_OF_MANY = 0.3, 0.09, 0.7
_MOST_MATES = 8  # guesses kept of one photo
_BLOCK = 64  # photos compared at once

_NUM_STEPS, _NUM_STEPS_OF_SLANTED = 6, 3  # pictures that are a little aslant are near already
_LONGEST_STEP = 0.15  # of half a side
_LEAST_INSIDE = 0.35  # of the inner photo
_LEAST_CONTRAST = 0.02  # of the inner photo, in that of the outer one
_STRETCH = (0.4, 2.2)  # an alignment beyond is none
# Coarse to fine, and the likeness below which finer ones are not tried.
_SHRINKS, _HOPELESS = (4, 2), 0.5
_SHRINKS_OF_SLANTED, _HOPELESS_OF_SLANTED = (4, 2, 1), 0.88


@dataclass(frozen=True, slots=True)
class Guess:
    """Two photos that may be one picture, and how to lay one over the other.

    Attributes:
        outer: position of a photo.
        inner: position of another one.
        turn: how the outer one is turned first (see `turns`).
        warp: number of the warp in `WARPS` to start from.
        score: correlation of the small pictures.
    """

    outer: int
    inner: int
    turn: int
    warp: int
    score: float


def make_warp(
    degrees: float = 0.0,
    scale: tuple[float, float] = (1.0, 1.0),
    shift: tuple[float, float] = (0.0, 0.0),
) -> Warp:
    """The warp of a photo that is the other one, rotated counter-clockwise about its middle.

    Args:
        degrees: of the rotation.
        scale: of what the other one shows across and down, so many times as much is seen.
        shift: where the middle lies in the other one, from -1 to 1 across and down.
    """
    angle = np.radians(degrees)
    cosine, sine = np.cos(angle), np.sin(angle)
    (wide, high), (right, low) = scale, shift
    return np.array(
        [
            [wide * cosine, -high * sine / _ASPECT, right],
            [wide * sine * _ASPECT, high * cosine, low],
        ]
    )


_SIDES = (-1 + _CROP, 1 - _CROP)
WARPS: tuple[Warp, ...] = (
    make_warp(),
    *(make_warp(angle, (s, s)) for angle, s in product(_ANGLES, _SCALES) if (angle, s) != (0, 1)),
    *(make_warp(0, (_CROP, _CROP), corner) for corner in product(_SIDES, _SIDES)),
    *(make_warp(0, (_CROP, 1), (side, 0)) for side in _SIDES),
    *(make_warp(0, (1, _CROP), (0, side)) for side in _SIDES),
)
"""Those that are tried: none, rotations, and crops to a corner or to one side."""


def guess_rotated(
    hashes: NDArray[np.float16], groups: Sequence[Sequence[int]]
) -> tuple[Guess, ...]:
    """Pairs within groups that may be one picture, the likeliest first.

    A hash gives back a small picture; each is turned, rotated and scaled in some ways and compared
    with every other one of its group where the two overlap. In a large group more strangers look
    alike by chance, so they must be more alike.

    Args:
        hashes: [N, 16, 16] of `hashes.hash_frame`.
        groups: positions among them that are to be compared with each other; none in two groups.

    Returns:
        guesses: of each photo those with the at most 8 others that it is most like.
    """
    found: dict[tuple[int, int], Guess] = {}
    for block in _pack(groups):
        places = np.concatenate([np.array(group) for group in block])
        names = np.repeat(np.arange(len(block)), [len(group) for group in block])
        least = np.repeat([_choose_least(len(group)) for group in block], [len(g) for g in block])
        scores, ways = _compare_warped(hashes[places].astype(np.float32))
        strangers = (names[:, None] != names) | np.eye(len(names), dtype=bool)
        scores[strangers] = -1
        swapped = scores < scores.T
        best = np.maximum(scores, scores.T)
        for one in range(len(places)):
            for other in np.argsort(-best[one], kind="stable")[:_MOST_MATES].tolist():
                if best[one, other] < least[one]:
                    break
                outer, inner = (other, one) if swapped[one, other] else (one, other)
                turn, warp = divmod(int(ways[outer, inner]), len(WARPS))
                guess = Guess(
                    int(places[outer]), int(places[inner]), turn, warp, float(best[one, other])
                )
                pair = (min(guess.outer, guess.inner), max(guess.outer, guess.inner))
                found.setdefault(pair, guess)
    return tuple(sorted(found.values(), key=lambda guess: -guess.score))


def measure_rotated(
    outer: NDArray[np.uint8], inner: NDArray[np.uint8], warp: Warp, *, shrink: int = 1
) -> float:
    """How far the inner picture is one with the outer one, rotated, sheared, scaled or cut.

    As `likeness.measure_likeness`, but for more than upright crops, and coarser: noise and blur do
    not matter here.

    Args:
        outer: of `quality.frame_photo`, turned.
        inner: likewise.
        warp: to start from.
        shrink: 1, 2 or 4: compare at so many times fewer pixels, for photos that have no more.

    Returns:
        0 to 1; 0 if they cannot be laid over each other.
    """
    shrinks = [s for s in _SHRINKS if s >= shrink]
    likeness = _measure(outer, inner, warp, shrinks, _HOPELESS)
    if likeness < ALIKE:  # the guess may be wrong
        likeness = max(likeness, _measure(outer, inner, WARPS[0], shrinks, _HOPELESS))
    return likeness


def measure_slanted(
    outer: NDArray[np.uint8],
    inner: NDArray[np.uint8],
    box: tuple[float, float, float, float],
    *,
    shrink: int = 1,
) -> float:
    """As `likeness.measure_likeness`, but the inner picture may be aslant by a few degrees."""
    left, right, top, bottom = box
    warp = np.array([[right - left, 0, left + right - 1], [0, bottom - top, top + bottom - 1]])
    shrinks = [s for s in _SHRINKS_OF_SLANTED if s >= shrink]
    return _measure(outer, inner, warp, shrinks, _HOPELESS_OF_SLANTED, _NUM_STEPS_OF_SLANTED)


def _measure(
    outer: NDArray[np.uint8],
    inner: NDArray[np.uint8],
    warp: Warp,
    shrinks: Sequence[int],
    hopeless: float,
    num_steps: int = _NUM_STEPS,
) -> float:
    likeness = 0.0
    for level in shrinks:
        large = shrink_frame(outer.astype(np.float32), level)
        small = shrink_frame(inner.astype(np.float32), level)
        aligned = _align(large, small, warp, num_steps)
        if aligned is None:
            return 0.0
        warp = aligned
        laid, inside = _lay(large, warp)
        likeness = measure_agreement(laid, inside, small)
        if likeness < hopeless:
            break
    return likeness


def _choose_least(num_photos: int) -> float:
    """The score from which a pair of a group is worth a closer look."""
    return min(_LEAST + _LEAST_PER_DOUBLING * float(np.log2(num_photos)), _LEAST_OF_MANY)


def _pack(groups: Sequence[Sequence[int]]) -> list[list[Sequence[int]]]:
    """Groups in blocks of about 64 photos: many small products would take longer."""
    blocks: list[list[Sequence[int]]] = []
    size = _BLOCK
    for group in groups:
        if size + len(group) > _BLOCK:
            blocks.append([])
            size = 0
        blocks[-1].append(group)
        size += len(group)
    return blocks


def _compare_warped(
    hashes: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Scores [N, N] of each photo, warped, with each as it is; and the ways, turn * warps + warp.

    The score is the correlation over the part of the second photo that the first one covers.
    """
    num, num_warps = len(hashes), len(WARPS)
    matrices, masks = _warp_waves()
    sizes = masks.sum(axis=1)
    plain = matrices[0]
    low = hashes[:, :_FREQUENCIES, :_FREQUENCIES]
    pictures = low.reshape(num, -1) @ plain.T
    pictures /= np.maximum(np.linalg.norm(pictures, axis=1, keepdims=True), 1e-3)
    energy = pictures**2 @ masks.T - (pictures @ masks.T) ** 2 / sizes
    lengths = np.sqrt(np.maximum(energy, _LEAST_ENERGY))
    scores = np.full((num, num), -1, np.float32)
    ways = np.zeros((num, num), np.int64)
    for turn in range(NUM_TURNS):
        turned = turn_hashes(low, turn).reshape(num, -1)
        warped = (turned @ matrices.reshape(-1, matrices.shape[2]).T).reshape(num, num_warps, -1)
        warped -= warped.sum(axis=2, keepdims=True) / sizes[:, None] * masks
        warped /= np.maximum(np.linalg.norm(warped, axis=2, keepdims=True), 1e-3)
        alike = (warped.reshape(num * num_warps, -1) @ pictures.T).reshape(num, num_warps, num)
        alike /= lengths.T
        best = alike.argmax(axis=1)
        value = np.take_along_axis(alike, best[:, None], axis=1)[:, 0]
        better = value > scores
        scores = np.where(better, value, scores)
        ways = np.where(better, turn * num_warps + best, ways)
    return scores, ways


@lru_cache(maxsize=1)
def _warp_waves() -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What makes small pictures of hashes' low frequencies, for each warp.

    Returns:
        [warps, 144, 64]: weighted waves at the places that a warp takes the pixels from; and
        [warps, 144]: 1 where that is within the photo.
    """
    frequency = np.hypot(*np.meshgrid(np.arange(_FREQUENCIES), np.arange(_FREQUENCIES)))
    weights = frequency**_EXPONENT
    weights[0, 0] = 0
    across, down = _grid(_PIXELS)
    matrices, masks = [], []
    for warp in WARPS:
        x, y = ((row[0] * across + row[1] * down + row[2] + 1) / 2 for row in warp)
        mask = (x >= 0) & (x <= 1) & (y >= 0) & (y <= 1)
        waves = _waves(y)[:, :, None] * _waves(x)[:, None, :] * weights
        matrices.append(waves.reshape(len(x), -1) * mask[:, None])
        masks.append(mask)
    return np.stack(matrices).astype(np.float32), np.stack(masks).astype(np.float32)


def _waves(places: NDArray[np.float64]) -> NDArray[np.float64]:
    """The cosines at places of the unit length: [places, frequencies]."""
    frequencies = np.arange(_FREQUENCIES)
    heights = np.where(frequencies == 0, np.sqrt(0.5), 1)
    waves: NDArray[np.float64] = heights * np.cos(np.pi * frequencies * places[:, None])
    return waves


@lru_cache(maxsize=4)
def _grid(side: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where the centres of the pixels lie across and down, from -1 to 1; each [side * side]."""
    centres = (np.arange(side) + 0.5) / side * 2 - 1
    across, down = np.meshgrid(centres, centres)
    return across.ravel(), down.ravel()


def _align(
    outer: NDArray[np.float32], inner: NDArray[np.float32], warp: Warp, num_steps: int = _NUM_STEPS
) -> Warp | None:
    """A better warp, by Gauss-Newton steps as in `likeness`; None if it runs away."""
    side = len(inner)
    across, down = (places.astype(np.float32) for places in _grid(side))
    target = inner.ravel()
    trust: NDArray[np.float32] = np.ones_like(target)
    design = np.ones((8, len(target)), np.float32)
    for _ in range(num_steps):
        laid, is_inside = _lay(outer, warp)
        inside = is_inside.ravel()
        if inside.mean() < _LEAST_INSIDE:
            return None
        # How each pixel changes per step of the warp, which is taken before the warp so far.
        down_slope, across_slope = (slope.ravel() * (side / 2) for slope in np.gradient(laid))
        for row, slope in ((0, across_slope), (3, down_slope)):
            design[row : row + 3] = slope * across, slope * down, slope
        design[6] = laid.ravel()
        weights = trust * inside
        tone = design[6:]
        contrast = np.linalg.solve(
            (tone * weights) @ tone.T + 1e-3 * np.eye(2), (tone * weights) @ target
        ).astype(np.float32)
        if contrast[0] <= _LEAST_CONTRAST:
            return None
        residual = target - contrast @ tone
        scale = 1.5 * float(np.median(np.abs(residual[inside]))) + 2
        # Cauchy weights.
        trust = (1 / (1 + (residual / (2 * scale)) ** 2)).astype(np.float32, copy=False)
        design[:6] *= contrast[0]
        weighted = design * (trust * inside)
        normal = (weighted @ design.T).astype(np.float64)
        normal[np.diag_indices(8)] *= 1 + 1e-3
        normal[np.diag_indices(8)] += 1e-3
        step = np.linalg.solve(normal, weighted @ residual)[:6].reshape(2, 3)
        step = np.clip(step, -_LONGEST_STEP, _LONGEST_STEP)
        warp = warp @ np.vstack([step + np.eye(2, 3), [0, 0, 1]])
        widths = np.linalg.svd(warp[:, :2], compute_uv=False)
        if widths[1] < _STRETCH[0] or widths[0] > _STRETCH[1]:
            return None
        if np.abs(step).max() < 0.2 / side:
            break
    return warp


def _lay(outer: NDArray[np.float32], warp: Warp) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """What the outer photo shows where the inner one lies, [side, side], and which of it it has."""
    side = len(outer)
    across, down = _grid(side)
    x, y = (((row[0] * across + row[1] * down + row[2] + 1) * side - 1) / 2 for row in warp)
    inside = (x >= -0.5) & (x <= side - 0.5) & (y >= -0.5) & (y <= side - 0.5)
    x, y = (np.clip(places, 0, side - 1) for places in (x, y))
    left, top = (np.minimum(places.astype(np.int64), side - 2) for places in (x, y))
    right, low = ((places - first).astype(np.float32) for places, first in ((x, left), (y, top)))
    at, pixels = top * side + left, outer.ravel()
    upper = pixels[at] * (1 - right) + pixels[at + 1] * right
    lower = pixels[at + side] * (1 - right) + pixels[at + side + 1] * right
    laid: NDArray[np.float32] = upper * (1 - low) + lower * low
    return laid.reshape(side, side), inside.reshape(side, side)
