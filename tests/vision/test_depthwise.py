"""Gradients of depthwise convolutions: fp32's under bf16, and everything else untouched."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from lotlens.vision import depthwise
from lotlens.vision.classifier import build_classifier
from lotlens.vision.depthwise import WideDepthwiseGradients

SHAPES = [  # kernel, stride, padding, dilation
    (5, 1, 2, 1),
    (5, 2, (2, 1), 1),
    (3, (2, 1), 0, 1),
    (3, 1, 2, (2, 1)),
    (1, 1, 0, 1),
]


@pytest.fixture
def taken(monkeypatch):
    """Shapes of the kernels that were convolved the other way."""
    shapes = []
    real = depthwise._Depthwise.apply

    def watch(photos, weight, *rest):
        shapes.append(tuple(weight.shape))
        return real(photos, weight, *rest)

    monkeypatch.setattr(depthwise._Depthwise, "apply", watch)
    return shapes


def draw(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def differentiate(convolve, photos, *parameters):
    """The answer in bf16 and the gradients of its squares to the photos and the parameters."""
    leaves = [one.clone().requires_grad_() for one in (photos, *parameters)]
    with torch.autocast("cpu", torch.bfloat16):
        answer = convolve(*leaves)
    gradients = torch.autograd.grad(answer.float().square().sum(), leaves)
    return answer, gradients


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("shape", SHAPES)
def test_answers_are_the_same_bits_and_gradients_those_of_fp32(shape, has_bias, taken):
    size, stride, padding, dilation = shape
    photos, weight = draw(3, 6, 11, 14), draw(6, 1, size, size)
    parameters = (weight, draw(6)) if has_bias else (weight,)

    def convolve(photos, weight, bias=None):
        return functional.conv2d(photos, weight, bias, stride, padding, dilation, groups=6)

    plain, narrow = differentiate(convolve, photos, *parameters)
    with WideDepthwiseGradients():
        answer, gradients = differentiate(convolve, photos, *parameters)
    assert taken == [(6, 1, size, size)]
    assert answer.dtype == torch.bfloat16
    assert torch.equal(answer, plain)

    # The same sums over the same rounded numbers in double precision.
    exact = [
        one.bfloat16().double().requires_grad_() if one is photos else one.double().requires_grad_()
        for one in (photos, *parameters)
    ]
    seed = (2 * answer.float()).bfloat16().double()
    expected = torch.autograd.grad(convolve(*exact), exact, seed)
    for found, other, wanted in zip(gradients, narrow, expected, strict=True):
        assert found.dtype == torch.float32
        scale = wanted.abs().max()
        error, usual = (found - wanted).abs().max(), (other - wanted).abs().max()
        assert error / scale < 0.01
        assert error <= 1.05 * usual + 1e-6 * scale, "less exact than bf16's own"


def test_only_what_needs_a_gradient_gets_one():
    weight = draw(6, 1, 5, 5).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16), WideDepthwiseGradients():
        answer = functional.conv2d(draw(2, 6, 9, 9), weight, groups=6)
    answer.sum().backward()
    assert weight.grad.isfinite().all()
    frozen = draw(6, 1, 5, 5)
    photos = draw(2, 6, 9, 9).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16), WideDepthwiseGradients():
        functional.conv2d(photos, frozen, groups=6).sum().backward()
    assert photos.grad.isfinite().all()


@pytest.mark.parametrize(
    ("in_channels", "out_channels", "groups", "padding"),
    [(6, 8, 1, 0), (6, 6, 3, 0), (6, 12, 6, 0), (1, 1, 1, 0), (6, 6, 6, "same")],
)
def test_other_convolutions_are_left_as_they_are(in_channels, out_channels, groups, padding, taken):
    layer = nn.Conv2d(in_channels, out_channels, 3, groups=groups, padding=padding)
    photos = draw(2, in_channels, 9, 9)
    with torch.autocast("cpu", torch.bfloat16):
        plain = layer(photos)
        with WideDepthwiseGradients():
            assert torch.equal(layer(photos), plain)
    assert not taken


def test_without_autocast_or_gradients_everything_is_left_as_it_is(taken):
    layer, photos = nn.Conv2d(6, 6, 5, groups=6), draw(2, 6, 9, 9)
    with WideDepthwiseGradients():
        assert torch.equal(layer(photos), layer(photos))
        with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
            layer(photos)
    assert not taken


def test_a_backbone_trains_by_it(tiny_backbone, taken):
    model = build_classifier(tiny_backbone, 3)
    num_depthwise = sum(
        isinstance(one, nn.Conv2d) and one.groups == one.in_channels > 1 for one in model.modules()
    )
    nn.init.normal_(model.head.weight)
    model.train()
    with torch.autocast("cpu", torch.bfloat16), WideDepthwiseGradients():
        logits, _ = model(draw(4, 3, 48, 64))
    logits.float().square().sum().backward()
    assert len(taken) == num_depthwise > 0
    assert all(one.grad is not None for one in model.parameters())
