"""Shares with their 95 % intervals."""

from __future__ import annotations

from scipy.stats import binomtest

from lotlens.records import Metric

CONFIDENCE = 0.95


def compute_wilson_interval(num_hits: int, num_trials: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share (Wilson 1927); (0, 1) without trials."""
    if num_trials == 0:
        return 0.0, 1.0
    interval = binomtest(num_hits, num_trials).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


def measure_share(name: str, num_hits: int, num_trials: int) -> Metric:
    """A share of photos with Wilson's 95 % interval; there must be at least one."""
    low, high = compute_wilson_interval(num_hits, num_trials)
    return Metric(name, num_hits / num_trials, low, high, num_trials)
