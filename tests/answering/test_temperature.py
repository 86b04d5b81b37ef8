"""The temperature that fits is found, and a model that never erred is not believed blindly."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

from lotlens.answering.temperature import calibrated_losses, fit_temperature, measure_losses


def draw_calibrated(seed, num_photos, num_classes=5):
    """Logits whose softmax is the truth's distribution."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.normal(size=(num_photos, num_classes))
    chances = softmax(logits, axis=1)
    targets = (chances.cumsum(axis=1) < rng.random((num_photos, 1))).sum(axis=1)
    return logits, targets


@pytest.mark.parametrize("scale", [0.2, 1.0, 6.0])
def test_the_scale_of_the_logits_is_found(scale):
    logits, targets = draw_calibrated(0, 20_000)
    assert fit_temperature(scale * logits, targets) == pytest.approx(scale, rel=0.04)


@given(scale=st.floats(0.1, 10), seed=st.integers(0, 50))
def test_scaled_logits_give_the_scaled_temperature(scale, seed):
    logits, targets = draw_calibrated(seed, 300)
    once = fit_temperature(logits, targets)
    assert fit_temperature(scale * logits, targets) == pytest.approx(scale * once, rel=1e-3)


def test_a_model_that_never_erred_is_not_certain():
    targets = np.arange(30) % 3
    logits = (4.0 * np.eye(3)[targets]).astype(np.float32)
    chances = softmax(logits / fit_temperature(logits, targets), axis=1).max(axis=1)
    np.testing.assert_allclose(chances, 1 - 1 / 32, rtol=1e-3)


def test_nothing_to_fit_changes_nothing():
    assert fit_temperature(np.zeros((0, 3)), np.zeros(0, np.int64)) == 1
    assert fit_temperature(np.ones((4, 1)), np.zeros(4, np.int64)) == 1


def test_losses_are_those_of_the_softmax():
    logits, targets = draw_calibrated(1, 50)
    expected = -np.log(softmax(logits / 2, axis=1)[np.arange(50), targets])
    np.testing.assert_allclose(measure_losses(logits, targets, 2.0), expected)


def test_calibrated_losses_do_not_reward_calibration():
    rng = np.random.default_rng(0)
    targets = rng.integers(0, 3, 200)
    logits = (np.eye(3)[targets] + rng.standard_normal((200, 3))).astype(np.float32)
    once = calibrated_losses(logits, targets).mean()
    assert calibrated_losses(7 * logits, targets).mean() == pytest.approx(once, abs=1e-4)
    assert once < np.log(3)
