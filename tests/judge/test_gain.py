"""What other answers are worth: measured against scipy, and enough only beyond noise."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import ttest_rel

from lotlens.judge.gain import DOUBT, SMALLEST_GAIN, describe_gain, measure_gain


def draw_losses(seed, num_photos=100, fall=0.0, spread=0.3):
    rng = np.random.default_rng(seed)
    before = rng.exponential(1, num_photos)
    return before, before - fall + spread * rng.normal(size=num_photos)


def measure(before, after, rights_before=90, rights=90):
    rows = np.arange(len(before))
    return measure_gain(before, after, rows < rights_before, rows < rights)


@given(seed=st.integers(0, 999), fall=st.floats(-0.5, 0.5))
def test_the_test_and_the_interval_are_students(seed, fall):
    before, after = draw_losses(seed, fall=fall)
    gain = measure(before, after)
    expected = ttest_rel(before, after, alternative="greater")
    assert gain.p == pytest.approx(expected.pvalue)
    both = ttest_rel(before, after).confidence_interval(0.95)
    assert (gain.low, gain.high) == pytest.approx((both.low, both.high))
    assert gain.value == pytest.approx(gain.loss_before - gain.loss)
    assert (gain.accuracy_before, gain.accuracy, gain.num_photos) == (0.9, 0.9, 100)


def test_it_is_enough_only_if_accuracy_does_not_fall_too():
    before, after = draw_losses(0, fall=0.5)
    assert measure(before, after).is_enough()
    assert measure(before, after, 90, 91).is_enough()
    assert not measure(before, after, 90, 89).is_enough()
    assert not measure(after, before).is_enough()


def test_a_lower_limit_asks_for_more():
    gain = measure(*draw_losses(1, fall=0.5))
    assert gain.is_enough(1.01 * gain.p)
    assert not gain.is_enough(gain.p)
    assert gain.is_enough() == (gain.p < DOUBT)


def test_chance_is_enough_about_as_often_as_it_may_be():
    adopted = sum(measure(*draw_losses(seed)).is_enough() for seed in range(400))
    assert 20 <= adopted <= 60  # 40 expected, standard deviation 6


@pytest.mark.parametrize(
    ("fall", "is_enough"), [(0.0, False), (SMALLEST_GAIN / 2, False), (0.01, True), (-0.01, False)]
)
def test_a_change_equal_on_every_photo_is_judged_by_its_size(fall, is_enough):
    before = np.linspace(0.1, 2, 50)
    gain = measure(before, before - fall)
    assert gain.is_enough() == is_enough
    assert gain.low == gain.high == gain.value


def test_in_words():
    before, after = draw_losses(0, fall=0.5)
    assert "log loss falls by 0.5" in describe_gain(measure(before, after))
    assert "log loss rises by 0.5" in describe_gain(measure(after, before))
    assert "accuracy goes from 0.900 to 0.950, 100 photos" in describe_gain(
        measure(before, after, 90, 95)
    )
