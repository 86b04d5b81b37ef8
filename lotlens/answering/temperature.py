"""Temperature scaling: a number that logits are divided by before softmax; it knows arrays alone.

Both the training, which compares weights, and the judging, which compares views and states
probabilities, need it; hence it stands above both rooms.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from lotlens.records import FloatArray

_LOG_TEMPERATURES = (-5.0, 5.0)

Logits = FloatArray | NDArray[np.float64]


def fit_temperature(logits: Logits, targets: NDArray[np.int64]) -> float:
    """The temperature that makes probabilities fit the truth best (Guo et al. 2017).

    The truth is softened (see `soften_truth`). Where a model is right on every one of a few photos
    the best fit would else be certainty, which those photos do not show.

    Args:
        logits: [N, K], all finite.
        targets: [N] class indices.

    Returns:
        between e**-5 and e**5; 1 where there are no photos or only one class.
    """
    num_photos, num_classes = logits.shape
    if not num_photos or num_classes < 2:
        return 1.0
    truth = soften_truth(targets, num_classes)
    wide = np.asarray(logits, np.float64)
    return _find_least(lambda t: float(-(truth * _take_logarithms(wide / t)).sum(axis=1).mean()))


def soften_truth(targets: NDArray[np.int64], num_classes: int) -> NDArray[np.float64]:
    """What a fit should aim at, [N, K], of class indices [N]; rows sum to 1.

    As Platt (1999) does it for his scaling, the true class counts 1 - 1 / (N + 2), and the rest is
    shared among the others.
    """
    num_photos = len(targets)
    other = 1 / (num_photos + 2) / max(1, num_classes - 1)
    truth = np.full((num_photos, num_classes), other)
    truth[np.arange(num_photos), targets] = 1 - (num_classes - 1) * other
    return truth


def measure_losses(
    logits: Logits, targets: NDArray[np.int64], temperature: float = 1.0
) -> NDArray[np.float64]:
    """Negative log-likelihood of each photo's truth in nats, [N], of logits [N, K]."""
    chances = _take_logarithms(np.asarray(logits, np.float64) / temperature)
    return np.asarray(-chances[np.arange(len(targets)), targets])


def calibrated_losses(logits: Logits, targets: NDArray[np.int64]) -> NDArray[np.float64]:
    """`measure_losses` at the temperature that makes their mean least; there must be photos.

    A plain log loss would prefer whichever of two models happens to be better calibrated;
    temperature scaling mends that at no cost, so it is not counted.
    """
    best = _find_least(lambda t: float(measure_losses(logits, targets, t).mean()))
    return measure_losses(logits, targets, best)


def _take_logarithms(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Log-probabilities [N, K] of logits, the bits of scipy's `log_softmax`.

    A fit takes it dozens of times of a hundred photos or so, where scipy spends most of its time
    on finding out what kind of array it was given.
    """
    with np.errstate(invalid="ignore"):
        lower = logits - logits.max(axis=1, keepdims=True)
    chances: NDArray[np.float64] = lower - np.log(np.exp(lower).sum(axis=1, keepdims=True))
    return chances


def _find_least(loss: Callable[[float], float]) -> float:
    # Log loss is convex in the inverse of the temperature, so a local minimum is the only one.
    best = minimize_scalar(
        lambda log_temperature: loss(float(np.exp(log_temperature))),
        bounds=_LOG_TEMPERATURES,
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(best.x))
