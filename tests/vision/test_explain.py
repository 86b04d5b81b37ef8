"""Heat maps point at what speaks for a class, whatever the head, and leave the network alone."""

import numpy as np
import pytest
import torch
from torch import nn

from lotlens.errors import InputError
from lotlens.recipes.schema import Head
from lotlens.vision.classifier import Ensemble, build_classifier
from lotlens.vision.explain import explain

HEADS = [Head(), Head(kind="dense", units=24), Head(kind="cosine", scale=12)]


def build(tiny_backbone, num_levels=1, head=Head(), seed=0, pooling="mean"):
    """A classifier whose head is drawn, so that it has something to say."""
    model = build_classifier(
        tiny_backbone, 3, num_levels=num_levels, head=head, seed=seed, pooling=pooling
    ).eval()
    if head.kind == "linear":
        rng = np.random.default_rng(seed)
        model.set_head(rng.standard_normal((3, model.head.in_features)), np.zeros(3))
    return model


def draw(num_photos, seed=0):
    return np.random.default_rng(seed).standard_normal((num_photos, 3, 64, 96), dtype=np.float32)


def assert_hot_in_the_corner(model, moved, photos):
    """With a head that looks for what the pattern moved, low on the right of the first photo."""
    model.set_head(np.stack([moved, np.zeros_like(moved), -moved]), np.zeros(3))
    heat = explain(model, photos[:1], np.array([0]))[0]
    row, column = np.unravel_index(heat.argmax(), heat.shape)
    assert row > 32
    assert column > 48
    assert heat[:16, :24].mean() < heat[48:, 72:].mean()


@pytest.mark.parametrize("head", HEADS, ids=lambda head: head.kind)
@pytest.mark.parametrize("num_levels", [1, 3])
def test_maps_fit_the_photos_and_are_what_the_paper_says(tiny_backbone, num_levels, head):
    model = build(tiny_backbone, num_levels, head)
    photos, classes = draw(4), np.array([0, 1, 2, 2])
    maps = explain(model, photos, classes)
    assert maps.shape == (4, 64, 96)
    assert maps.dtype == np.float32
    assert maps.min() >= 0
    tops = maps.max(axis=(1, 2))
    np.testing.assert_allclose(tops[tops > 0], 1, rtol=1e-6)
    assert (tops > 0).any()
    # By hand: the whole network with a hook on its last map, one photo at a time.
    caught = []
    backbone = model.backbone
    handle = backbone.global_pool.register_forward_pre_hook(lambda _, args: caught.append(args[0]))
    for photo, wanted, found in zip(photos, classes, maps, strict=True):
        caught.clear()
        logits, _ = model(torch.from_numpy(photo)[None])
        last = caught[-1]
        (slopes,) = torch.autograd.grad(logits[0, wanted], last, retain_graph=True)
        rough = (slopes.mean((2, 3), keepdim=True) * last).sum(1).clamp_min(0)[:, None]
        fine = nn.functional.interpolate(rough, size=(64, 96), mode="bilinear")[0, 0].detach()
        expected = fine / fine.max() if fine.max() > 0 else fine
        np.testing.assert_allclose(found, expected, atol=1e-4)
    handle.remove()


def test_a_map_is_hot_where_the_difference_is(tiny_backbone):
    """A pattern in one corner, and a head that looks for the channels it moves."""
    model = build(tiny_backbone)
    photos = np.zeros((2, 3, 64, 96), np.float32)
    photos[0, :, 40:64, 64:96] = draw(1)[0, :, 40:64, 64:96] * 3
    with torch.inference_mode():
        maps = model.backbone.forward_features(torch.from_numpy(photos))
    moved = (maps[0, :, -1, -1] - maps[0, :, 0, 0]).numpy()
    assert_hot_in_the_corner(model, moved, photos)


def test_covariances_are_hot_where_the_difference_is(tiny_backbone):
    """A pattern in one corner, and a head that looks for what it moves."""
    model = build(tiny_backbone, 3, pooling="covariance")
    photos = 0.1 * draw(2, seed=3)
    photos[0, :, 40:64, 64:96] = draw(1)[0, :, 40:64, 64:96] * 3
    with torch.inference_mode():
        features = model(torch.from_numpy(photos))[1].numpy()
    moved = features[0] - features[1]
    assert_hot_in_the_corner(model, moved, photos)


def test_a_map_of_covariances_adds_up_all_that_is_pooled(tiny_backbone):
    model, photos = build(tiny_backbone, 3, pooling="covariance"), draw(1)
    maps = [own.detach().requires_grad_() for own in model.find_maps(torch.from_numpy(photos))]
    slopes = torch.autograd.grad(model.head(model.pool(maps))[0, 2], maps)
    own = [
        (s * (m - m.mean((2, 3), keepdim=True))).sum(1) for s, m in zip(slopes, maps, strict=True)
    ]
    low = nn.functional.interpolate(own[1][:, None], size=own[0].shape[1:], mode="bilinear")[:, 0]
    both = (own[0] + low * own[1][0].numel() / own[0][0].numel()).clamp_min(0)
    fine = nn.functional.interpolate(both[:, None], size=(64, 96), mode="bilinear")[0, 0].detach()
    np.testing.assert_allclose(
        explain(model, photos, np.array([2]))[0], fine / fine.max(), atol=1e-4
    )


def test_nothing_speaks_for_a_class_that_a_fresh_head_never_names(tiny_backbone):
    fresh = build_classifier(tiny_backbone, 3).eval()
    assert not explain(fresh, draw(2), np.array([0, 1])).any()


def test_an_ensembles_map_is_the_mean_of_its_members(tiny_backbone):
    members = [build(tiny_backbone, seed=seed) for seed in (0, 1)]
    photos, classes = draw(3), np.array([0, 1, 2])
    found = explain(Ensemble(members), photos, classes)
    own = np.mean([explain(member, photos, classes) for member in members], axis=0)
    own /= own.max(axis=(1, 2), keepdims=True)
    np.testing.assert_allclose(found, own, atol=0.05)  # members are scaled before they grow large
    assert found.max(axis=(1, 2)) == pytest.approx(1)


def test_a_mirrored_look_is_mirrored_back(tiny_backbone):
    model = build(tiny_backbone)
    photos, classes = draw(3), np.array([0, 1, 2])
    both = explain(model, photos, classes, mirrored=True)
    turned = np.ascontiguousarray(photos[..., ::-1])
    np.testing.assert_allclose(
        explain(model, turned, classes, mirrored=True)[..., ::-1], both, atol=1e-5
    )
    assert not np.allclose(explain(model, photos, classes), both)


def test_the_network_is_left_as_it_was(tiny_backbone):
    model = build(tiny_backbone, head=Head(kind="dense", units=24))
    model.train()
    model.backbone.eval()
    model.requires_grad_(False)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    modes = [module.training for module in model.modules()]
    first = explain(model, draw(2), np.array([0, 1]))
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(p.grad is None and not p.requires_grad for p in model.parameters())
    model.requires_grad_(True)
    np.testing.assert_array_equal(explain(model, draw(2), np.array([0, 1])), first)
    assert all(p.grad is None for p in model.parameters())


def test_it_works_where_gradients_are_off(tiny_backbone):
    model = build(tiny_backbone)
    expected = explain(model, draw(1), np.array([1]))
    with torch.no_grad():
        np.testing.assert_array_equal(explain(model, draw(1), np.array([1])), expected)
    with torch.inference_mode():
        np.testing.assert_array_equal(explain(model, draw(1), np.array([1])), expected)


def test_a_network_without_maps_is_refused(tiny_backbone):
    model = build(tiny_backbone)
    model.backbone.forward_features = lambda photos: torch.zeros(len(photos), 7, 256)
    with pytest.raises(InputError, match="convolutional map"):
        explain(model, draw(1), np.array([0]))
