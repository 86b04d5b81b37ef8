"""Shares, and differences of paired ones, with their 95 % intervals."""

from __future__ import annotations

from math import copysign, inf, sqrt

from scipy.optimize import brentq
from scipy.special import ndtri

from lotlens.records import Metric

CONFIDENCE = 0.95
_REACH = float(ndtri((1 + CONFIDENCE) / 2))
_NEAR = 1 - 1e-12


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
