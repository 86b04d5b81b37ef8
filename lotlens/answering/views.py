"""Several views of one photo; it knows neither photos nor models.

A view is a function of a prepared batch; each photo's view depends on that photo alone.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType

import numpy as np

from lotlens.answering.logits import log_softmax
from lotlens.errors import InputError
from lotlens.records import FloatArray, ImageSpec

WHOLE = "whole"
_ZOOM = 0.85
_PART = 0.75
_LIGHT = 1.25

View = Callable[[FloatArray, ImageSpec], FloatArray]
"""A prepared batch [N, 3, H, W] and how it was prepared to a batch of the same shape."""


def _keep(batch: FloatArray, _: ImageSpec) -> FloatArray:
    return batch


def _mirror(batch: FloatArray, _: ImageSpec) -> FloatArray:
    return np.ascontiguousarray(batch[..., ::-1])


def _enlarge(
    batch: FloatArray, spec: ImageSpec, *, share: float, across: float = 0.5
) -> FloatArray:
    """A part of the picture that fills the frame.

    Args:
        batch: [N, 3, H, W].
        spec: of the batch.
        share: of height and width that is seen.
        across: where the part stands: 0 at the left edge, 1 at the right; upright in the middle.
    """
    height, width = batch.shape[2:]
    top, left = (1 - share) / 2 * height, across * (1 - share) * width
    rows = _build_resampler(height, height, top, top + share * height)
    columns = _build_resampler(width, width, left, left + share * width)
    return _resample(batch, spec, rows, columns)


def _shrink(batch: FloatArray, spec: ImageSpec) -> FloatArray:
    """The whole picture smaller, in a frame of the mean colour, as the fit "pad" has it."""
    rows, columns = (
        _build_resampler(size, max(1, round(_ZOOM * size)), 0, size) for size in batch.shape[2:]
    )
    return _resample(batch, spec, rows, columns)


def _resample(
    batch: FloatArray, spec: ImageSpec, rows: FloatArray, columns: FloatArray
) -> FloatArray:
    # One product per plane: a photo's pixels do not depend on how many there are.
    pixels: FloatArray = np.matmul(np.matmul(rows, batch), columns.T)
    np.clip(pixels, *_limits(spec), out=pixels)
    return pixels


def _light(batch: FloatArray, spec: ImageSpec, *, factor: float) -> FloatArray:
    """Pixels times a factor, before mean and std; what would be brighter than white is white."""
    black, white = _limits(spec)
    pixels: FloatArray = (batch - black) * np.float32(factor) + black
    np.clip(pixels, black, white, out=pixels)
    return pixels


def _limits(spec: ImageSpec) -> tuple[FloatArray, FloatArray]:
    """What black and white are in a prepared batch, [3, 1, 1] each."""
    mean, std = (np.array(v, np.float64).reshape(3, 1, 1) for v in (spec.mean, spec.std))
    return (-mean / std).astype(np.float32), ((1 - mean) / std).astype(np.float32)


@functools.lru_cache(maxsize=32)
def _build_resampler(size: int, num_drawn: int, begin: float, end: float) -> FloatArray:
    """Weights of a line's pixels for the pixels of its picture, [size, size].

    The line from `begin` to `end` is drawn over `num_drawn` pixels in the middle, the others get
    nothing. The filter is the cubic one (Keys 1981, a = -0.5), widened where it shrinks, as
    Pillow's is.
    """
    scale = (end - begin) / num_drawn
    centres = begin + scale * (np.arange(num_drawn) + 0.5)
    away = np.abs(np.arange(size) + 0.5 - centres[:, None]) / max(scale, 1.0)
    near, far = away < 1, (away >= 1) & (away < 2)
    weights = np.zeros((num_drawn, size))
    weights[near] = (1.5 * away[near] - 2.5) * away[near] ** 2 + 1
    weights[far] = ((2.5 - 0.5 * away[far]) * away[far] - 4) * away[far] + 2
    weights /= weights.sum(axis=1, keepdims=True)
    placed = np.zeros((size, size), np.float32)
    first = (size - num_drawn) // 2
    placed[first : first + num_drawn] = weights
    placed.flags.writeable = False
    return placed


VIEWS: Mapping[str, View] = MappingProxyType(
    {
        WHOLE: _keep,
        "mirror": _mirror,
        "closer": functools.partial(_enlarge, share=_ZOOM),
        "further": _shrink,
        "left": functools.partial(_enlarge, share=_PART, across=0.0),
        "right": functools.partial(_enlarge, share=_PART, across=1.0),
        "brighter": functools.partial(_light, factor=_LIGHT),
        "darker": functools.partial(_light, factor=1 / _LIGHT),
    }
)
"""View name -> the view; results are C-contiguous float32.

"closer" is the middle 85 % of height and width, "further" the picture at 85 % of its size, "left"
and "right" 75 % of height and width at that edge, "brighter" and "darker" 1.25 and 0.8 times the
light.
"""


def check_views(views: Sequence[str]) -> tuple[str, ...]:
    """The views as a tuple, if each is known and named once.

    Raises:
        InputError: there is no view, an unknown one or one named twice.
    """
    unknown = [view for view in views if not isinstance(view, str) or view not in VIEWS]
    if unknown or not views or len(set(views)) < len(views):
        raise InputError(
            f"the views must be one or more of {', '.join(VIEWS)}, each once, not"
            f" {', '.join(map(repr, views)) or 'none'}"
        )
    return tuple(views)


def average_views(logits: Sequence[FloatArray]) -> FloatArray:
    """Average views in log space: the mean of their log-softmax.

    A single view's logits are given back as they are. Rows of NaN stay so.

    Args:
        logits: one array [N, K] per view.

    Returns:
        [N, K] float32, logits like any others (their softmax is the geometric mean's).
    """
    if len(logits) == 1:
        return logits[0]
    mean = np.mean([log_softmax(v) for v in logits], axis=0)
    return np.asarray(mean, dtype=np.float32)
