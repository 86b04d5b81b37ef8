"""Bins hold every photo once, and the curve says what answering less often would gain."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

from lotlens.judge.confidence import (
    judge_confidence,
    judge_reliability,
    measure_reliability,
    pick_refusals,
    trace_refusals,
)
from lotlens.judge.metrics import compute_calibration_error
from lotlens.records import OK, CarClass, Predictions


def draw_confidence(seed, num_photos=200):
    rng = np.random.default_rng(seed)
    # Rounded, so that some are equal.
    confidence = np.round(rng.uniform(0.2, 1.0, num_photos), 2)
    return confidence, rng.random(num_photos) < confidence


def test_bins_agree_with_scikit_learn():
    confidence, is_right = draw_confidence(0)
    # Away from the edges, which scikit-learn puts into the other bin.
    confidence = np.clip(confidence + 0.001, 0, 0.999)
    bins = measure_reliability(confidence, is_right)
    accuracy, stated = calibration_curve(is_right, confidence, n_bins=10)
    np.testing.assert_allclose([b.accuracy.value for b in bins], accuracy)
    np.testing.assert_allclose([b.confidence for b in bins], stated)


@given(seed=st.integers(0, 99), num_photos=st.integers(1, 60))
def test_the_bins_gaps_make_the_calibration_error(seed, num_photos):
    confidence, is_right = draw_confidence(seed, num_photos)
    bins = measure_reliability(confidence, is_right, 15)
    assert sum(b.accuracy.count for b in bins) == num_photos
    gaps = sum(b.accuracy.count * abs(b.confidence - b.accuracy.value) for b in bins)
    assert gaps / num_photos == pytest.approx(compute_calibration_error(confidence, is_right))


@given(seed=st.integers(0, 99), num_photos=st.integers(1, 60))
def test_every_point_of_the_curve_is_what_its_threshold_gives(seed, num_photos):
    confidence, is_right = draw_confidence(seed, num_photos)
    curve = trace_refusals(confidence, is_right)
    assert curve[0].share == 1
    assert curve[0].accuracy.value == pytest.approx(is_right.mean())
    for point in curve:
        given_ = confidence >= point.threshold
        assert point.share == pytest.approx(given_.mean())
        assert point.accuracy.value == pytest.approx(is_right[given_].mean())
    assert [p.threshold for p in curve] == sorted(set(confidence.tolist()))


def test_photos_without_label_or_answer_are_left_out():
    logits = np.array([[3, 0], [np.nan, np.nan], [0, 1], [2, 0]], np.float32)
    classes = (CarClass("0", "Niva"), CarClass("1", "Kalina"))
    predictions = Predictions(
        ("a", "b", "c", "d"), logits, None, (OK, "truncated", OK, OK), classes
    )
    confidence, is_right = judge_confidence(predictions, np.array([0, 0, -1, 1]), temperature=2)
    np.testing.assert_allclose(confidence, 1 / (1 + np.exp([-1.5, -1.0])), rtol=1e-6)
    assert is_right.tolist() == [True, False]


def test_nothing_judged_gives_nothing():
    logits = np.zeros((0, 2), np.float32)
    predictions = Predictions((), logits, None, (), (CarClass("0", "a"), CarClass("1", "b")))
    confidence, is_right = judge_confidence(predictions, np.zeros(0, np.int64))
    assert measure_reliability(confidence, is_right) == trace_refusals(confidence, is_right) == ()


def test_a_few_points_of_the_curve_are_picked():
    confidence = np.arange(1, 11) / 10
    curve = trace_refusals(confidence, confidence > 0.3)
    picked = pick_refusals(curve, (1.0, 0.95, 0.7, 0.35, 0.05))
    assert [point.share for point in picked] == pytest.approx([1.0, 0.9, 0.7, 0.3])
    assert pick_refusals(curve, (0.95, 0.94)) == pick_refusals(curve, (0.95,))
    assert pick_refusals((), (1.0,)) == ()


def test_reliability_is_that_of_the_temperature():
    rng = np.random.default_rng(0)
    targets = rng.integers(2, size=300)
    logits = rng.normal(size=(300, 2)) + 2 * np.eye(2)[targets]
    classes = (CarClass("0", "a"), CarClass("1", "b"))
    ids = tuple(map(str, range(300)))
    predictions = Predictions(ids, logits.astype(np.float32), None, (OK,) * 300, classes)
    for temperature in (1.0, 0.2):
        found = judge_reliability(predictions, targets, temperature)
        confidence, is_right = judge_confidence(predictions, targets, temperature)
        assert found.temperature == temperature
        assert found.error == compute_calibration_error(confidence, is_right)
        assert found.bins == measure_reliability(confidence, is_right)
