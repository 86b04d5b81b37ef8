"""Logits to log-probabilities and probabilities; it knows arrays alone.

As scipy.special has them (the tests compare), whose import takes longer than an answer to a photo.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def log_sum_exp(logits: NDArray[Any]) -> NDArray[np.float64]:
    """log(sum(exp(logits))) over the last axis, which may be any but empty; NaN where one is."""
    wide = np.asarray(logits, np.float64)
    highest = wide.max(axis=-1, keepdims=True)
    shift = np.where(np.isfinite(highest), highest, 0.0)
    with np.errstate(divide="ignore"):
        sums = np.log(np.exp(wide - shift).sum(axis=-1, keepdims=True))
    return np.asarray((sums + shift)[..., 0])


def log_softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Log-probabilities over the last axis."""
    return np.asarray(np.asarray(logits, np.float64) - log_sum_exp(logits)[..., None])


def softmax(logits: NDArray[Any]) -> NDArray[np.float64]:
    """Probabilities over the last axis; their sum is 1."""
    return np.asarray(np.exp(log_softmax(logits)))
