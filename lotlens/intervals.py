"""Shares, differences of paired ones, and areas under ROC curves, with their 95 % intervals."""

from __future__ import annotations

from math import copysign, inf, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import ndtri

from lotlens.records import Metric

AUROC = "AUROC"
CONFIDENCE = 0.95
_REACH = float(ndtri((1 + CONFIDENCE) / 2))
_NEAR = 1 - 1e-12
_SMALLEST = 1e-9


def compute_wilson_interval(num_hits: float, num_trials: float) -> tuple[float, float]:
    """Wilson's 95 % interval of a share (Wilson 1927); (0, 1) without trials.

    By the formula of Newcombe (1998), as scipy's `binomtest` has it; that tests a hypothesis too,
    which takes several hundred times as long.
    """
    if num_trials == 0:
        return 0.0, 1.0
    share = num_hits / num_trials
    scale = 2 * (num_trials + _REACH**2)
    center = (2 * num_trials * share + _REACH**2) / scale
    away = _REACH / scale * sqrt(4 * num_trials * share * (1 - share) + _REACH**2)
    low = 0.0 if num_hits == 0 else center - away
    high = 1.0 if num_hits == num_trials else center + away
    return low, high


def compute_tango_interval(
    only_first: float, only_second: float, num_pairs: int
) -> tuple[float, float]:
    """The 95 % score interval of a difference of paired shares (Tango 1998).

    "Equivalence test and confidence interval for the difference in proportions for the
    paired-sample design", Statistics in Medicine 17, 891-908. It has a width where nothing differs:
    from -2.9 to 2.9 points of 130 pairs.

    Args:
        only_first: pairs of which the first alone is a hit.
        only_second: likewise.
        num_pairs: all, 1 or more.

    Returns:
        ends in -1..1, for the first's share less the second's.
    """
    apart, excess = only_first + only_second, only_first - only_second

    def score(difference: float) -> float:
        """How many deviations the difference seen lies above this one."""
        # The likeliest share of pairs that the second alone hits, where this is the difference.
        linear = (2 * num_pairs - excess) * difference - apart
        rest = 8 * num_pairs * only_second * difference * (1 - difference)
        share = (sqrt(max(linear**2 + rest, 0.0)) - linear) / (4 * num_pairs)
        variance = num_pairs * (2 * share + difference * (1 - difference))
        gap = excess - num_pairs * difference
        if variance > 0:
            return gap / sqrt(variance)
        return copysign(inf, gap) if gap else 0.0

    value = excess / num_pairs
    low, high = -1.0, 1.0
    if value > low and score(-_NEAR) > _REACH:
        low = brentq(lambda difference: score(difference) - _REACH, -_NEAR, value)
    if value < high and score(_NEAR) < -_REACH:
        high = brentq(lambda difference: score(difference) + _REACH, value, _NEAR)
    return float(low), float(high)


def measure_share(name: str, num_hits: int, num_trials: int) -> Metric:
    """A share of photos with Wilson's 95 % interval; there must be at least one."""
    low, high = compute_wilson_interval(num_hits, num_trials)
    return Metric(name, num_hits / num_trials, low, high, num_trials)


def measure_auroc(known: NDArray[np.float64], strangers: NDArray[np.float64]) -> Metric:
    """Area under the ROC curve, with Newcombe's interval (2006, method 5).

    It does not shrink to nothing where the two do not overlap at all.

    Args:
        known: [N] scores, N > 0; higher should mean known.
        strangers: [M] scores, M > 0.
    """
    from scipy.stats import rankdata  # slow to import

    num_known, num_strangers = len(known), len(strangers)
    ranks = rankdata(np.concatenate([known, strangers]))[:num_known]
    above = float(ranks.sum()) - num_known * (num_known + 1) / 2
    area = above / (num_known * num_strangers)
    pairs, middle = num_known * num_strangers, (num_known + num_strangers) / 2 - 1

    def deviation(true: float) -> float:
        spread = 1 + middle * ((1 - true) / (2 - true) + true / (1 + true))
        return sqrt(true * (1 - true) * spread / pairs)

    def excess(true: float) -> float:
        return abs(area - true) - _REACH * deviation(true)

    # At 0 and 1 the deviation is 0, which is no end of the interval.
    low = brentq(excess, 0.0, min(area, 1 - _SMALLEST)) if area > 0 else 0.0
    high = brentq(excess, max(area, _SMALLEST), 1.0) if area < 1 else 1.0
    return Metric(AUROC, area, float(low), float(high), num_strangers)
