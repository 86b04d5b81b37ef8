"""A mean loss knows of errors that have not been seen, and its parts add up."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lotlens.judge.losses import measure_mean_loss


def draw(seed, num_photos, num_classes=3):
    rng = np.random.default_rng(seed)
    chances = rng.dirichlet(np.ones(num_classes), size=num_photos)
    truth = rng.integers(num_classes, size=num_photos)
    return chances, truth, chances.argmax(axis=1) == truth


def measure(chances, truth, is_right):
    return measure_mean_loss("log loss", -np.log(chances), chances, truth, is_right)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 40), st.integers(2, 6))
def test_the_value_is_the_mean_and_lies_within(seed, num_photos, num_classes):
    chances, truth, is_right = draw(seed, num_photos, num_classes)
    found = measure(chances, truth, is_right)
    own = chances[np.arange(num_photos), truth]
    assert found.value == pytest.approx(-np.log(own).mean())
    assert 0 <= found.low <= found.value <= found.high
    assert np.isfinite(found.high)
    assert found.count == num_photos


def test_of_many_photos_the_interval_is_that_of_a_mean():
    chances, truth, is_right = draw(0, 20_000)
    found = measure(chances, truth, is_right)
    own = -np.log(chances[np.arange(len(truth)), truth])
    reach = 1.96 * own.std() / len(truth) ** 0.5
    assert found.value - found.low == pytest.approx(reach, rel=0.02)
    assert found.high - found.value == pytest.approx(reach, rel=0.02)


def test_without_an_error_it_ends_where_errors_may_still_be():
    chances = np.tile([0.99, 0.01], (100, 1))
    found = measure(chances, np.zeros(100, np.int64), np.ones(100, bool))
    assert found.value == pytest.approx(-np.log(0.99))
    # Wilson: 0 of 100 may be 0.037, and a wrong answer costs -log 0.01.
    costs = -np.log(0.01) + np.log(0.99)
    assert found.high == pytest.approx(found.value + 0.037 * costs, rel=0.01)
    more = measure(np.tile(chances, (10, 1)), np.zeros(1000, np.int64), np.ones(1000, bool))
    assert more.high < found.high


def test_probabilities_of_one_and_nothing_are_no_trouble():
    chances = np.tile([1.0, 0.0, 0.0], (9, 1))
    squares = np.square(chances).sum(axis=1, keepdims=True) - 2 * chances + 1
    truth = np.zeros(9, np.int64)
    found = measure_mean_loss("Brier score", squares, chances, truth, truth == 0, most=2.0)
    assert (found.value, found.low) == (0, 0)
    assert 0 < found.high <= 2
