"""Classes that are alike are seldom called weak, however many; one that is weak is found."""

import numpy as np
import pytest
from scipy.stats import fisher_exact

from lotlens.intervals import measure_share
from lotlens.judge.metrics import ClassScore
from lotlens.judge.weak import find_weak_classes
from lotlens.records import CarClass


def score(figures):
    """Class scores of (right, photos)."""
    return [
        ClassScore(
            CarClass(str(k), str(k)),
            num,
            num,
            measure_share("recall", right, num) if num else None,
            None,
            None,
        )
        for k, (right, num) in enumerate(figures)
    ]


def test_it_is_fishers_test_with_holms_adjustment():
    counts = [(4, 10), (18, 20), (9, 10), (28, 30)]
    values = []
    for right, num in counts:
        others = 59 - right, 70 - num - (59 - right)
        values.append(fisher_exact([[right, num - right], others], alternative="less").pvalue)
    # Four classes: the least p counts four times.
    assert 4 * values[0] < 0.05 < 3 * sorted(values)[1]
    assert find_weak_classes(score(counts)) == (True, False, False, False)
    counts[0] = (6, 10)
    assert not any(find_weak_classes(score(counts)))


@pytest.mark.parametrize(("num_classes", "num_photos"), [(2, 130), (10, 130), (60, 374)])
@pytest.mark.parametrize("accuracy", [0.8, 0.97])
def test_of_classes_that_are_alike_any_is_named_in_one_of_twenty_cases(
    num_classes, num_photos, accuracy
):
    """By each class's own interval, in 0.36 of ten classes and 0.98 of sixty."""
    rng = np.random.default_rng(0)
    named = 0
    for _ in range(200):
        truth = rng.integers(num_classes, size=num_photos)
        num = np.bincount(truth, minlength=num_classes)
        right = np.bincount(truth[rng.random(num_photos) < accuracy], minlength=num_classes)
        named += any(find_weak_classes(score(zip(right.tolist(), num.tolist(), strict=True))))
    assert named <= 10 + 3 * np.sqrt(9.5)


def test_a_class_that_is_weak_is_found_and_one_without_photos_is_not():
    found = find_weak_classes(score([(20, 40), (38, 40), (0, 0), (76, 80)]))
    assert found == (True, False, False, False)
    assert find_weak_classes([]) == ()
    assert find_weak_classes(score([(0, 0), (0, 0)])) == (False, False)
