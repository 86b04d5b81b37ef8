"""Hard photos count more; those whose label is probably wrong do not, until somebody kept it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lotlens.improve.doubts import Evidence
from lotlens.improve.hard import MOST_CLASS, MOST_PHOTO, weigh_classes, weigh_hard


def make(rows, targets):
    ids = tuple(f"{number}" for number in range(len(rows)))
    return Evidence(ids, np.array(targets), np.array(rows, float))


def test_the_less_probable_the_label_the_more_a_photo_counts():
    weights = weigh_hard(make([[0.9, 0.1], [0.6, 0.4], [0.1, 0.9], [0.3, 0.7]], [0, 0, 1, 1]), 2)
    assert weights == pytest.approx([1.2, 1.8, 1.2, 1.6])


def test_a_doubted_label_is_not_learnt_harder_unless_it_was_kept():
    rows = [[0.9, 0.1]] * 6 + [[0.1, 0.9]] * 6 + [[0.05, 0.95]]
    evidence = make(rows, [0] * 6 + [1] * 6 + [0])
    doubted, kept = (weigh_hard(evidence, 2, kept=own)[-1] for own in ((), {"12"}))
    of_class = weigh_classes(evidence, 2)[0]
    assert doubted == pytest.approx(of_class)
    assert kept == pytest.approx(of_class * (1 + 2 * 0.95))


def test_classes_with_many_errors_count_more():
    rows = [[0.9, 0.1]] * 20 + [[0.9, 0.1]] * 10 + [[0.1, 0.9]] * 10
    weights = weigh_classes(make(rows, [0] * 20 + [1] * 20), 3)
    assert weights[0] == 1
    assert weights[1] == pytest.approx((10 + 0.25) / 21 / 0.25)
    assert weights[2] == 1  # no photos, and so the share of all
    assert weigh_classes(make([[0.9, 0.1]], [0]), 2).tolist() == [1, 1]


@settings(max_examples=60, deadline=None)
@given(
    logits=arrays.arrays(np.float64, (10, 3), elements=st.floats(-5, 5)),
    targets=st.lists(st.integers(0, 2), min_size=10, max_size=10),
    missing=st.sets(st.integers(0, 9), max_size=3),
)
def test_weights_are_bounded(logits, targets, missing):
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    chances[sorted(missing)] = np.nan
    weights = weigh_hard(make(chances, targets), 3)
    assert (weights >= 1).all()
    assert (weights <= MOST_PHOTO * MOST_CLASS).all()
