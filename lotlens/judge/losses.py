"""Mean losses with intervals that hold where hardly an answer is wrong; it knows arrays alone."""

from __future__ import annotations

from math import inf, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri, stdtrit

from lotlens.intervals import CONFIDENCE, compute_wilson_interval
from lotlens.records import Metric, Targets

_NUM_SUPPOSED = 2.0
"""Wrong answers that are supposed beside those seen."""
_TAIL = (1 + CONFIDENCE) / 2
_REACH = float(ndtri(_TAIL))

_Numbers = NDArray[np.float64]


def measure_mean_loss(
    name: str,
    losses: _Numbers,
    chances: _Numbers,
    truth: Targets,
    is_right: NDArray[np.bool_],
    *,
    most: float = inf,
) -> Metric:
    """The mean loss of answers, with a 95 % interval that knows of errors not seen.

    A mean loss hangs on the few answers that are wrong, and a bootstrap of photos without an error
    knows of none. So it is taken apart: the share of wrong answers, the mean loss of right ones
    and that of wrong ones. Each has an interval of its own, Wilson's, the normal and Student's, and
    the distances of their ends are joined in squares, as variance estimates are recovered from
    limits (MOVER: Zou & Donner 2008; so Zou, Taleban & Huo 2009 for means with a share of zeros).
    What a wrong answer costs is also told by the probabilities themselves: two answers that are
    wrong as those say join the ones seen, which matters while these are few. If probabilities are
    much too sure and no answer is wrong, the interval ends too low.

    Args:
        name: of the metric.
        losses: [N, K] what each photo would cost if it showed each class.
        chances: [N, K] probabilities.
        truth: [N] class indices.
        is_right: [N] whether the likeliest class is the true one.
        most: the largest loss there is.
    """
    num_photos = len(truth)
    rows = np.arange(num_photos)
    own = losses[rows, truth]
    right, wrong = own[is_right], own[~is_right]
    supposed, supposed_square = _suppose_wrong(losses, chances)
    num_wrong = len(wrong) + _NUM_SUPPOSED
    wrong_mean = (wrong.sum() + _NUM_SUPPOSED * supposed) / num_wrong
    wrong_square = (np.square(wrong).sum() + _NUM_SUPPOSED * supposed_square) / num_wrong
    wrong_error = sqrt(max(wrong_square - wrong_mean**2, 0.0) / num_wrong)
    wrong_error *= float(stdtrit(num_wrong - 1, _TAIL))
    right_mean = right_error = 0.0
    if len(right):
        right_mean = float(right.mean())
        right_error = _REACH * float(right.std()) * sqrt(len(right)) / num_photos
    dearer = max(wrong_mean - right_mean, 0.0)
    share = len(wrong) / num_photos
    low, high = compute_wilson_interval(len(wrong), num_photos)
    value = float(own.mean())
    below = sqrt(((share - low) * dearer) ** 2 + right_error**2 + (share * wrong_error) ** 2)
    above = sqrt(((high - share) * dearer) ** 2 + right_error**2 + (high * wrong_error) ** 2)
    return Metric(name, value, max(value - below, 0.0), min(value + above, most), num_photos)


def _suppose_wrong(losses: _Numbers, chances: _Numbers) -> tuple[float, float]:
    """Mean loss, and mean of its square, of answers that are wrong as often as they say."""
    others = chances.copy()
    others[np.arange(len(chances)), chances.argmax(axis=1)] = 0.0
    total = float(others.sum())
    if not total:  # so sure that nothing is left for any other class
        others, total = np.ones_like(chances), float(chances.size)
    mean = float((others * losses).sum()) / total
    return mean, float((others * np.square(losses)).sum()) / total
