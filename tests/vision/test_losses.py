"""Losses equal torch's where torch has them, and values worked out by hand where it has not."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from lotlens.recipes.schema import Head, Loss
from lotlens.vision.losses import add_margin, build_loss

COUNTS = np.array([10, 30, 5, 15])
COSINE = Head(kind="cosine", scale=8.0)


def draw_logits(seed, num_photos=6):
    return torch.randn(num_photos, 4, generator=torch.Generator().manual_seed(seed)) * 3


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 1000),
    smoothing=st.sampled_from([0.0, 0.1, 0.7]),
    class_weights=st.sampled_from(["none", "balanced"]),
)
def test_hard_targets_give_torchs_cross_entropy(seed, smoothing, class_weights):
    logits = draw_logits(seed)
    labels = torch.tensor([0, 1, 2, 3, 1, 1])
    loss = build_loss(Loss(label_smoothing=smoothing, class_weights=class_weights), COUNTS)
    weights = torch.tensor([60 / 40, 60 / 120, 60 / 20, 60 / 60])
    expected = functional.cross_entropy(
        logits,
        labels,
        weight=weights if class_weights == "balanced" else None,
        label_smoothing=smoothing,
    )
    torch.testing.assert_close(loss(logits, functional.one_hot(labels, 4).float()), expected)


def test_mixed_targets_give_torchs_cross_entropy_too():
    logits, targets = draw_logits(1), draw_logits(2).softmax(1)
    loss = build_loss(Loss(label_smoothing=0.2), COUNTS)
    expected = functional.cross_entropy(logits, targets, label_smoothing=0.2)
    torch.testing.assert_close(loss(logits, targets), expected)


def test_a_mixed_photo_counts_with_the_weights_of_both_classes():
    # Balanced weights: 12 / (2 * 3) = 2 and 12 / (2 * 9) = 2/3; logits of even chances: ln 2 each.
    loss = build_loss(Loss(label_smoothing=0, class_weights="balanced"), np.array([3, 9]))
    logits = torch.tensor([[0.0, 0.0], [math.log(3), 0.0]])
    targets = torch.tensor([[0.25, 0.75], [1.0, 0.0]])
    weight = 0.25 * 2 + 0.75 * 2 / 3
    expected = (weight * math.log(2) + 2 * math.log(4 / 3)) / (weight + 2)
    assert float(loss(logits, targets)) == pytest.approx(expected, rel=1e-6)


def test_a_class_without_photos_weighs_nothing():
    loss = build_loss(Loss(class_weights="balanced"), np.array([4, 0, 4]))
    logits = torch.tensor([[1.0, 0.0, 2.0]])
    value = loss(logits, torch.tensor([[1.0, 0.0, 0.0]]))
    expected = functional.cross_entropy(
        logits,
        torch.tensor([0]),
        weight=torch.tensor([2 / 3, 0, 2 / 3]),
        label_smoothing=0.1,
    )
    torch.testing.assert_close(value, expected)


def test_arcface_by_hand():
    loss = build_loss(Loss(kind="arcface", label_smoothing=0, margin=0.3), COUNTS, COSINE)
    angles = torch.tensor([[0.5, 1.2, 2.0, 1.0]])
    value = loss(8 * angles.cos(), torch.tensor([[0.0, 1.0, 0.0, 0.0]]))
    scores = [8 * math.cos(angle) for angle in (0.5, 1.2 + 0.3, 2.0, 1.0)]
    expected = math.log(sum(math.exp(score) for score in scores)) - scores[1]
    assert float(value) == pytest.approx(expected, rel=1e-5)


def test_arcface_without_a_margin_is_cross_entropy():
    logits = 8 * draw_logits(3).tanh()
    targets = torch.eye(4)[[0, 3, 2, 1, 1, 0]]
    options = {"label_smoothing": 0.1, "class_weights": "balanced"}
    plain = build_loss(Loss(**options), COUNTS)(logits, targets)
    margin = build_loss(Loss(kind="arcface", margin=0, **options), COUNTS, COSINE)
    torch.testing.assert_close(margin(logits, targets), plain)


@given(cosine=st.floats(-1, 1, width=32), other=st.floats(-1, 1, width=32))
def test_the_margin_costs_something_and_keeps_the_order(cosine, other):
    low, high = sorted((cosine, other))
    moved_low, moved_high = add_margin(torch.tensor([low, high]), 0.3).tolist()
    assert moved_low <= moved_high + 1e-3
    assert moved_low < low
    assert moved_high < high


def test_past_half_a_turn_the_margin_is_subtracted():
    cosine = math.cos(3.0)
    (moved,) = add_margin(torch.tensor([cosine]), 0.3).tolist()
    assert moved == pytest.approx(cosine - 0.3 * math.sin(0.3), rel=1e-5)


@pytest.mark.parametrize("cosine", [1.0, -1.0, 1.0000001, -1.0000001])
def test_the_gradient_is_finite_at_the_ends(cosine):
    logits = torch.tensor([[8 * cosine, 0.0, 0.0, 0.0]], requires_grad=True)
    loss = build_loss(Loss(kind="arcface", label_smoothing=0), COUNTS, COSINE)
    value = loss(logits, torch.tensor([[1.0, 0.0, 0.0, 0.0]]))
    (gradient,) = torch.autograd.grad(value, logits)
    assert torch.isfinite(value)
    assert torch.isfinite(gradient).all()
    assert gradient[0, 0] < 0


def test_arcface_has_no_margin_for_mixed_targets():
    loss = build_loss(Loss(kind="arcface"), COUNTS, COSINE)
    with pytest.raises(ValueError, match="targets of one class"):
        loss(torch.zeros(1, 4), torch.tensor([[0.5, 0.5, 0.0, 0.0]]))


@pytest.mark.parametrize("head", [None, Head(), Head(kind="dense")])
def test_arcface_needs_cosines(head):
    with pytest.raises(ValueError, match="cosine head"):
        build_loss(Loss(kind="arcface"), COUNTS, head)
