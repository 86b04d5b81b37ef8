"""Shares with their 95 % intervals."""

from __future__ import annotations

from math import sqrt

from scipy.special import ndtri

from lotlens.records import Metric

CONFIDENCE = 0.95
_REACH = float(ndtri((1 + CONFIDENCE) / 2))


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


def measure_share(name: str, num_hits: int, num_trials: int) -> Metric:
    """A share of photos with Wilson's 95 % interval; there must be at least one."""
    low, high = compute_wilson_interval(num_hits, num_trials)
    return Metric(name, num_hits / num_trials, low, high, num_trials)
