"""The classifier: shapes, groups, a head put in from outside."""

import numpy as np
import pytest
import torch

from lotlens.errors import InputError
from lotlens.vision.classifier import build_classifier, frozen_batch_norms


def test_outputs_and_layout(tiny_backbone):
    model = build_classifier(tiny_backbone, 4).eval()
    logits, features = model(torch.zeros(2, 3, 48, 64))
    assert logits.shape == (2, 4)
    assert features.shape == (2, model.head.in_features)
    convolution = next(m for m in model.modules() if isinstance(m, torch.nn.Conv2d))
    assert convolution.weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("num_levels", [2, 3])
def test_further_levels_come_after_the_final_features(tiny_backbone, num_levels):
    one = build_classifier(tiny_backbone, 4).eval()
    more = build_classifier(tiny_backbone, 4, num_levels=num_levels).eval()
    photos = torch.rand(2, 3, 48, 64)
    with torch.inference_mode():
        final, features = one(photos)[1], more(photos)[1]
        _, maps = more.backbone.forward_intermediates(photos)
    width = one.head.in_features
    torch.testing.assert_close(features[:, :width], final)
    pooled = [m.mean((2, 3)) for m in maps[1 - num_levels :]]
    torch.testing.assert_close(features[:, width:], torch.cat(pooled, 1))
    assert more.head.in_features == features.shape[1]


def test_more_levels_than_stages_are_refused(tiny_backbone):
    with pytest.raises(InputError, match="feature_levels = 9"):
        build_classifier(tiny_backbone, 4, num_levels=9)


def test_a_fresh_head_answers_nothing(tiny_backbone):
    logits, _ = build_classifier(tiny_backbone, 3).eval()(torch.rand(2, 3, 48, 64))
    assert torch.equal(logits, torch.zeros(2, 3))


def test_head_put_in_is_the_linear_map_it_was(tiny_backbone):
    model = build_classifier(tiny_backbone, 3).eval()
    rng = np.random.default_rng(0)
    weight, bias = rng.standard_normal((3, model.head.in_features)), rng.standard_normal(3)
    model.set_head(weight, bias)
    with torch.inference_mode():
        logits, features = model(torch.rand(5, 3, 48, 64))
    np.testing.assert_allclose(logits, features.numpy() @ weight.T + bias, rtol=1e-4, atol=1e-4)


def test_groups_cover_everything_and_end_in_the_head(tiny_backbone):
    model = build_classifier(tiny_backbone, 3)
    groups = model.layer_groups()
    flat = [name for group in groups for name in group]
    assert sorted(flat) == sorted(name for name, _ in model.named_parameters())
    assert groups[-1] == ["head.weight", "head.bias"]


def test_batch_norms_of_a_group_are_found(tiny_backbone):
    model = build_classifier(tiny_backbone, 3)
    groups = model.layer_groups()
    assert frozen_batch_norms(model, []) == []
    lowest = frozen_batch_norms(model, groups[0])
    everything = frozen_batch_norms(model, [name for group in groups for name in group])
    assert 0 < len(lowest) < len(everything)
    assert all(isinstance(norm, torch.nn.BatchNorm2d) for norm in everything)
