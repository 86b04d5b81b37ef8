"""Lays one photo over another and measures how far they show one picture; reads no file.

Two pictures of one scene differ in thousands of small ways; two copies of one picture agree almost
everywhere once they are aligned, whatever was done to them. The alignment moves the four edges of
the inner photo within the outer one by Gauss-Newton steps (Lucas & Kanade 1981; Baker & Matthews
2004), brightness and contrast free, outliers such as a watermark weighted down. Then small squares
are compared by their normalised cross-correlation, which knows nothing of brightness.
"""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_Pixel = TypeVar("_Pixel", np.float32, np.bool_)

SAME = 0.93
"""Likeness from which two photos count as one picture (measured: docs/LOG.md, issue 3)."""

_WHOLE = (0.0, 1.0, 0.0, 1.0)
_SHRINKS = (4, 2, 1)  # coarse to fine: squares of 32, 64 and 128 pixels
_NUM_STEPS = 6
_LONGEST_STEP = 0.06  # of the side, for an edge
_SQUARES = 8  # per side
_KEPT = 0.8  # the worst fifth of the squares may show a watermark, a phone number, a logo
_FEWEST_SQUARES = 8  # with structure; fewer tell nothing
_STRUCTURE = 6.0  # standard deviation in grey levels from which a square has something to compare
_NOISE = 4.0  # variance that compression alone leaves in an even square
_HOPELESS = 0.8  # likeness at the coarsest level below which finer ones are not tried


def measure_likeness(
    outer: NDArray[np.uint8],
    inner: NDArray[np.uint8],
    box: tuple[float, float, float, float] = _WHOLE,
    *,
    shrink: int = 1,
) -> float:
    """How far the inner picture is a copy of a part of the outer one.

    Args:
        outer: of `quality.frame_photo`.
        inner: likewise; flip one of the two to compare mirror images.
        box: where to start: left, right, top and bottom of the inner photo within the outer one,
            as shares of its sides.
        shrink: 1, 2 or 4: compare at so many times fewer pixels, for photos that have no more.

    Returns:
        the mean normalised cross-correlation of the better four fifths of the squares that have
        structure, 0 to 1; 0 if there are too few of them or the photos cannot be aligned.
    """
    starts = [np.array(start, np.float64) for start in dict.fromkeys((box, _WHOLE))]
    likeness = 0.0
    for level in _SHRINKS:
        if level < shrink:
            break
        large = shrink_frame(outer.astype(np.float32), level)
        small = shrink_frame(inner.astype(np.float32), level)
        aligned = [
            edges
            for edges in (_align(large, small, start) for start in starts)
            if edges is not None
        ]
        if not aligned:
            return 0.0
        compared = [(_compare(large, small, edges), edges) for edges in aligned]
        likeness, edges = max(compared, key=lambda pair: pair[0])
        if likeness < _HOPELESS:
            break
        starts = [edges]
    return likeness


def _align(
    outer: NDArray[np.float32], inner: NDArray[np.float32], edges: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """Better edges of the inner photo within the outer one; None if they run away."""
    side = len(inner)
    share = ((np.arange(side) + 0.5) / side).astype(np.float32)
    trust = np.ones((side, side), np.float32)
    for _ in range(_NUM_STEPS):
        laid, inside = _lay(outer, edges, side)
        # How each pixel changes as an edge moves, per share of the outer photo's side.
        right = np.gradient(laid, axis=1) * side / (edges[1] - edges[0])
        down = np.gradient(laid, axis=0) * side / (edges[3] - edges[2])
        ones = np.ones_like(laid)
        columns = [right * (1 - share), right * share, down * (1 - share[:, None])]
        columns += [down * share[:, None], laid, ones]
        design = np.stack(columns, axis=-1).reshape(-1, 6)
        target = inner.ravel()
        weights = (trust * inside).ravel()[:, None]
        tone = design[:, 4:]
        contrast = np.linalg.solve(
            (tone * weights).T @ tone + 1e-3 * np.eye(2), (tone * weights).T @ target
        )
        residual = target - tone @ contrast
        scale = 1.5 * float(np.median(np.abs(residual[inside.ravel()]))) + 2
        trust = (1 / (1 + (residual / (2 * scale)) ** 2)).reshape(side, side)  # Cauchy weights
        weights = (trust * inside).ravel()[:, None]
        design[:, :4] *= contrast[0]
        normal = (design * weights).T @ design
        normal[np.diag_indices(6)] *= 1 + 1e-3
        normal[np.diag_indices(6)] += 1e-3
        step = np.linalg.solve(normal, (design * weights).T @ residual)[:4]
        edges = edges + np.clip(step, -_LONGEST_STEP, _LONGEST_STEP)
        extent = edges[[1, 3]] - edges[[0, 2]]
        overlap = np.minimum(edges[[1, 3]], 1) - np.maximum(edges[[0, 2]], 0)
        if (extent < 0.5).any() or (extent > 2).any() or (overlap < 0.5 * extent).any():
            return None
        if np.abs(step).max() < 0.2 / side:
            break
    return edges


def _compare(
    outer: NDArray[np.float32], inner: NDArray[np.float32], edges: NDArray[np.float64]
) -> float:
    return measure_agreement(*_lay(outer, edges, len(inner)), inner)


def measure_agreement(
    laid: NDArray[np.float32], inside: NDArray[np.bool_], inner: NDArray[np.float32]
) -> float:
    """The correlation of the better four fifths of the squares that have structure; 0 if too few.

    Args:
        laid: [side, side], what the outer photo shows where the inner one lies.
        inside: which of these pixels it has.
        inner: the inner photo.
    """
    whole = _cut_squares(inside).all(axis=1)
    one, other = _cut_squares(laid)[whole], _cut_squares(inner)[whole]
    one -= one.mean(axis=1, keepdims=True)
    other -= other.mean(axis=1, keepdims=True)
    spread_one, spread_other = one.std(axis=1), other.std(axis=1)
    has_structure = np.maximum(spread_one, spread_other) > _STRUCTURE
    if has_structure.sum() < _FEWEST_SQUARES:
        return 0.0
    agreement = (one * other).mean(axis=1) / (spread_one * spread_other + _NOISE)
    ranked = np.sort(agreement[has_structure])[::-1]
    return max(0.0, float(ranked[: int(np.ceil(_KEPT * len(ranked)))].mean()))


def _lay(
    outer: NDArray[np.float32], edges: NDArray[np.float64], side: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """What the outer photo shows between the edges, [side, side], and which pixels lie in it."""
    across, inside_x = _interpolate(edges[0], edges[1], side, outer.shape[1])
    down, inside_y = _interpolate(edges[2], edges[3], side, outer.shape[0])
    laid: NDArray[np.float32] = np.matmul(np.matmul(down, outer), across.T)
    return laid, inside_y[:, None] & inside_x


def _interpolate(
    low: float, high: float, count: int, size: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The matrix [count, size] of linear interpolation between two shares of a side."""
    places = (low + (high - low) * (np.arange(count) + 0.5) / count) * size - 0.5
    inside = (places >= -0.5) & (places <= size - 0.5)
    places = np.clip(places, 0, size - 1)
    left = np.minimum(places.astype(int), size - 2)
    matrix = np.zeros((count, size), np.float32)
    rows = np.arange(count)
    matrix[rows, left] = 1 - (places - left)
    matrix[rows, left + 1] += places - left
    return matrix, inside


def shrink_frame(frame: NDArray[np.float32], times: int) -> NDArray[np.float32]:
    """A frame [side, side] at so many times fewer pixels a side, each the mean of those."""
    side = len(frame) // times
    small: NDArray[np.float32] = frame.reshape(side, times, side, times).mean(axis=(1, 3))
    return small


def _cut_squares(frame: NDArray[_Pixel]) -> NDArray[_Pixel]:
    """A frame [side, side] as its 64 squares, each a row of pixels."""
    side = len(frame) // _SQUARES
    squares = frame.reshape(_SQUARES, side, _SQUARES, side).swapaxes(1, 2)
    return squares.reshape(_SQUARES * _SQUARES, -1)
