"""Which classes are recognised less often than the others, beyond chance; it knows counts alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lotlens.judge.compare import adjust_holm, count_ways
from lotlens.judge.metrics import ClassScore

_SIGNIFICANCE = 0.05


def find_weak_classes(scores: Sequence[ClassScore]) -> tuple[bool, ...]:
    """Whether each class is clearly recognised less often than the photos of all others.

    By Fisher's exact test, one-sided (Fisher 1935, section 21.02), of each class with photos, with
    p adjusted for their number (Holm 1979): where all classes are recognised alike, any of them is
    named in one of twenty cases at most, however many there are. With few photos a class must be
    very bad to be named.

    Args:
        scores: on photos that the model has not learnt.

    Returns:
        one for each score; False without photos.
    """
    counts = [
        (0, 0) if one.recall is None else (round(one.recall.value * one.num_photos), one.num_photos)
        for one in scores
    ]
    all_right, num_all = map(sum, zip(*counts, strict=True)) if counts else (0, 0)
    values = [
        _test_fewer(right, num_photos, all_right, num_all)
        for right, num_photos in counts
        if num_photos
    ]
    adjusted = iter(adjust_holm(values))
    return tuple(bool(num_photos) and next(adjusted) < _SIGNIFICANCE for _, num_photos in counts)


def _test_fewer(right: int, num_photos: int, all_right: int, num_all: int) -> float:
    """The chance that so many of all photos, drawn at random, hold no more right answers."""
    held = np.arange(max(0, num_photos - (num_all - all_right)), right + 1)
    ways = count_ways(all_right, held) + count_ways(num_all - all_right, num_photos - held)
    return float(np.exp(ways - count_ways(num_all, np.array(num_photos))).sum())
