"""The classifier: heads and their shapes, groups and their names, a head put in from outside."""

import logging

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from lotlens.errors import InputError
from lotlens.recipes.schema import Head
from lotlens.vision.classifier import build_classifier, frozen_batch_norms
from lotlens.vision.engine import build_engine

HEADS = [Head(), Head(kind="dense", units=24), Head(kind="cosine", scale=12)]
DRAWN = HEADS[1:]


def name_kind(head):
    return head.kind


def assert_alike(engine, model, atol):
    photos = np.random.default_rng(1).standard_normal((5, 3, 48, 64), dtype=np.float32)
    with torch.inference_mode():
        expected = model(torch.from_numpy(photos))
    for got, wanted in zip(engine(photos), expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=atol)


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


def pools(tiny_backbone, num_levels=3, **options):
    model = build_classifier(
        tiny_backbone, 4, num_levels=num_levels, pooling="covariance", **options
    )
    rng = np.random.default_rng(0)
    model.set_head(rng.standard_normal(model.head.weight.shape), rng.standard_normal(4))
    return model.eval()


@pytest.mark.parametrize("num_levels", [2, 3])
def test_covariances_are_of_the_last_stages_alone(tiny_backbone, num_levels):
    model, plain = pools(tiny_backbone, num_levels), build_classifier(tiny_backbone, 4).eval()
    photos = torch.rand(2, 3, 48, 64)
    with torch.inference_mode():
        features = model(photos)[1]
        _, maps = plain.backbone.forward_intermediates(photos)
        own = [pool(m) for pool, m in zip(model.pools, maps[1 - num_levels :], strict=True)]
    torch.testing.assert_close(features, torch.cat(own, 1))
    assert model.head.in_features == features.shape[1]


def test_what_covariances_do_not_need_is_taken_off(tiny_backbone):
    plain, model = build_classifier(tiny_backbone, 4, num_levels=3), pools(tiny_backbone)
    gone = plain.backbone.state_dict().keys() - model.backbone.state_dict().keys()
    assert {name.split(".")[0] for name in gone} == {"conv_head", "bn2"}
    model(torch.rand(2, 3, 48, 64))[0].sum().backward()
    # DistributedDataParallel stops at a weight that nothing reaches.
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)
    groups = [name for group in model.layer_groups() for name in group]
    assert sorted(groups) == sorted(name for name, _ in model.named_parameters())


def test_directions_cannot_come_of_no_photo(tiny_backbone):
    model = build_classifier(tiny_backbone, 4, num_levels=2, pooling="covariance")
    with pytest.raises(InputError, match="can be read"):
        model.fit_pooling(iter(()))


def test_covariances_of_no_stage_are_refused(tiny_backbone):
    with pytest.raises(InputError, match="feature_levels of 2 or more"):
        build_classifier(tiny_backbone, 4, pooling="covariance")


def test_directions_are_found_in_the_photos_and_go_into_the_answer(tiny_backbone):
    model = pools(tiny_backbone)
    rng = np.random.default_rng(0)
    photos = rng.standard_normal((8, 3, 48, 64), dtype=np.float32)
    before = model(torch.from_numpy(photos))[1]
    model.fit_pooling(iter([photos[:3], photos[3:]]))
    found = [pool.directions.clone() for pool in model.pools]
    model.fit_pooling(iter([photos]))
    for one, pool in zip(found, model.pools, strict=True):
        torch.testing.assert_close(one, pool.directions, atol=1e-3, rtol=1e-3)
    assert not torch.allclose(model(torch.from_numpy(photos))[1], before, atol=0.1)
    plain = build_classifier(tiny_backbone, 4, num_levels=3)
    plain.fit_pooling(iter([photos]))


def test_the_export_pools_covariances_alike(tiny_backbone, caplog):
    model = pools(tiny_backbone)
    with caplog.at_level(logging.INFO, logger="lotlens.vision.engine"):
        engine = build_engine(model, 48, 64, num_photos=500)
    assert "answering with torch" not in caplog.text
    assert_alike(engine, model, atol=1e-3)


@pytest.mark.parametrize("backbone", ["timm:resnet18", "timm:vit_tiny_patch16_224"])
def test_other_networks_give_covariances_too(backbone):
    model = build_classifier(backbone, 2, num_levels=2, pooling="covariance", pretrained=False)
    logits, features = model(torch.rand(2, 3, 224, 224))
    assert logits.shape == (2, 2)
    assert features.shape == (2, 48 * 49 // 2)
    logits.sum().backward()
    assert all(p.grad is not None for p in model.parameters())


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


@pytest.mark.parametrize("head", DRAWN, ids=name_kind)
def test_only_a_linear_head_holds_a_linear_classifier(tiny_backbone, head):
    model = build_classifier(tiny_backbone, 3, head=head)
    with pytest.raises(ValueError, match=f"a {head.kind} head"):
        model.set_head(np.zeros((3, 256)), np.zeros(3))


@pytest.mark.parametrize("head", HEADS, ids=name_kind)
@pytest.mark.parametrize("num_levels", [1, 3])
def test_every_head_gives_logits_and_the_backbones_features(tiny_backbone, head, num_levels):
    model = build_classifier(tiny_backbone, 4, num_levels=num_levels, head=head).eval()
    plain = build_classifier(tiny_backbone, 4, num_levels=num_levels).eval()
    photos = torch.rand(2, 3, 48, 64)
    with torch.inference_mode():
        logits, features = model(photos)
        torch.testing.assert_close(features, plain(photos)[1])
    assert logits.shape == (2, 4)
    assert model.num_classes == 4
    assert model.head_shape == head


@pytest.mark.parametrize("head", DRAWN, ids=name_kind)
def test_drawn_weights_follow_the_seed_and_leave_the_global_generator(tiny_backbone, head):
    before = torch.random.get_rng_state()
    torch.manual_seed(1)
    first = build_classifier(tiny_backbone, 3, head=head, seed=5).head.state_dict()
    torch.manual_seed(2)
    start = torch.random.get_rng_state()
    again = build_classifier(tiny_backbone, 3, head=head, seed=5).head.state_dict()
    assert torch.equal(torch.random.get_rng_state(), start)
    other = build_classifier(tiny_backbone, 3, head=head, seed=6).head.state_dict()
    torch.random.set_rng_state(before)
    assert all(torch.equal(value, again[key]) for key, value in first.items())
    assert any(not torch.equal(value, other[key]) for key, value in first.items())


def test_the_dense_head_is_that_of_the_reference_solution(tiny_backbone):
    model = build_classifier(tiny_backbone, 3, head=Head(kind="dense", units=24, dropout=0.4))
    kinds = [type(layer) for layer in model.head]
    assert kinds == [nn.Linear, nn.BatchNorm1d, nn.ReLU, nn.Dropout, nn.Linear]
    assert model.head[0].weight.shape == (24, 256)
    assert model.head[3].p == 0.4
    assert model.head[4].weight.shape == (3, 24)


def test_cosine_logits_are_scaled_cosines(tiny_backbone):
    model = build_classifier(tiny_backbone, 3, head=Head(kind="cosine", scale=12)).eval()
    with torch.inference_mode():
        logits, features = model(torch.rand(5, 3, 48, 64))
        longer = model.head(7 * features)
    cosines = functional.cosine_similarity(features[:, None], model.head.weight[None], dim=2)
    torch.testing.assert_close(logits, 12 * cosines)
    torch.testing.assert_close(longer, logits)
    assert [name for name, _ in model.head.named_parameters()] == ["weight"]


def test_cosines_are_not_rounded_to_sixteen_bits(tiny_backbone):
    model = build_classifier(tiny_backbone, 3, head=Head(kind="cosine"))
    features = torch.rand(5, 256)
    with torch.inference_mode():
        expected = model.head(features)
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(model.head(features), expected)


@pytest.mark.parametrize("head", HEADS, ids=name_kind)
def test_the_stages_dropout_is_before_a_linear_head_alone(tiny_backbone, head):
    model = build_classifier(tiny_backbone, 3, head=head).eval()
    if head.kind == "linear":
        model.set_head(np.ones((3, 256)), np.ones(3))
    model.dropout.p = 0.9
    model.dropout.train()
    photos = torch.rand(2, 3, 48, 64)
    with torch.inference_mode():
        same = torch.equal(model(photos)[0], model(photos)[0])
    assert same == (head.kind != "linear")


@pytest.mark.parametrize("head", HEADS, ids=name_kind)
def test_the_export_answers_for_every_head(tiny_backbone, head, caplog):
    model = build_classifier(tiny_backbone, 3, num_levels=2, head=head)
    model(torch.rand(8, 3, 48, 64))  # moves the BatchNorms' statistics
    if head.kind == "linear":
        rng = np.random.default_rng(0)
        model.set_head(rng.standard_normal(model.head.weight.shape), rng.standard_normal(3))
    with caplog.at_level(logging.INFO, logger="lotlens.vision.engine"):
        engine = build_engine(model, 48, 64, num_photos=500)
    assert "answering with torch" not in caplog.text
    assert_alike(engine, model, atol=1e-4)


@pytest.mark.parametrize("head", HEADS, ids=name_kind)
def test_groups_cover_everything_and_end_in_the_head(tiny_backbone, head):
    model = build_classifier(tiny_backbone, 3, head=head)
    groups = model.layer_groups()
    flat = [name for group in groups for name in group]
    assert sorted(flat) == sorted(name for name, _ in model.named_parameters())
    assert groups[-1] == [f"head.{name}" for name, _ in model.head.named_parameters()]


NAMES = {
    "lite0": ["stem", *(f"blocks.{n}" for n in range(6)), "blocks.6+bn2"],
    "timm:resnet18": ["stem", "layer1", "layer2", "layer3", "layer4"],
    "timm:mobilenetv3_small_050": ["stem", *(f"blocks.{n}" for n in range(6)), "conv_head"],
    # "head" alone is the classifier's.
    "timm:convnext_atto": ["stem", *(f"stages.{n}" for n in range(4)), "head.norm"],
    "timm:vit_tiny_patch16_224": ["stem", *(f"blocks.{n}" for n in range(11)), "blocks.11+norm"],
}


@pytest.mark.parametrize("backbone", NAMES)
def test_groups_have_readable_names(backbone):
    assert build_classifier(backbone, 2, pretrained=False).group_names() == [
        *NAMES[backbone],
        "head",
    ]


@pytest.mark.parametrize("backbone", NAMES)
def test_names_are_unique_and_tell_what_is_in_the_group(backbone):
    model = build_classifier(backbone, 2, pretrained=False)
    names, groups = model.group_names(), model.layer_groups()
    assert len(set(names)) == len(names) == len(groups)
    for name, group in zip(names[1:-1], groups[1:-1], strict=True):
        first, _, last = name.partition("+")
        assert group[0].startswith(f"backbone.{first}.")
        assert group[-1].startswith(f"backbone.{last or first}.")
        if not last:
            assert all(parameter.startswith(f"backbone.{first}.") for parameter in group)


def test_batch_norms_of_a_group_are_found(tiny_backbone):
    model = build_classifier(tiny_backbone, 3)
    groups = model.layer_groups()
    assert frozen_batch_norms(model, []) == []
    lowest = frozen_batch_norms(model, groups[0])
    everything = frozen_batch_norms(model, [name for group in groups for name in group])
    assert 0 < len(lowest) < len(everything)
    assert all(isinstance(norm, torch.nn.BatchNorm2d) for norm in everything)


def test_a_batch_norm_in_the_head_is_always_trained(tiny_backbone):
    plain = build_classifier(tiny_backbone, 3)
    dense = build_classifier(tiny_backbone, 3, head=Head(kind="dense"))
    everything = [name for group in dense.layer_groups() for name in group]
    frozen = frozen_batch_norms(dense, everything)
    assert len(frozen) == len(frozen_batch_norms(plain, everything)) > 0
    assert dense.head[1] not in frozen
