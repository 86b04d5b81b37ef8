"""Each lever of fine-tuning acts, and the same seed gives the same weights."""

import copy

import numpy as np
import pytest
import torch

from lotlens.photos.sources import open_lot
from lotlens.recipe import Finetune
from lotlens.records import ImageSpec
from lotlens.vision import finetune
from lotlens.vision.batches import decode_photos
from lotlens.vision.classifier import build_classifier
from lotlens.vision.finetune import (
    choose_precision,
    cosine_with_warmup,
    fine_tune,
    layer_decay_groups,
)

SPEC = ImageSpec(48, 64)


def make_stage(**changes):
    values = {
        "kind": "finetune",
        "lr": 0.01,
        "batch_size": 6,
        "ema": 0.0,
        "sizes": [{"height": 48, "width": 64, "epochs": 2}],
    }
    return Finetune.model_validate(values | changes)


@pytest.fixture(scope="module")
def photos(small_lot):
    catalog = open_lot(small_lot).train
    train = decode_photos(catalog.select(catalog.ids[::2]), SPEC)
    validation = decode_photos(catalog.select(catalog.ids[1::2]), SPEC)
    return train, validation


@pytest.fixture
def classifier(tiny_backbone):
    return build_classifier(tiny_backbone, 3)


def run(classifier, photos, seed=0, **changes):
    history = fine_tune(classifier, make_stage(**changes), *photos, seed=seed)
    return classifier.state_dict(), history


def same(one, other, prefix=""):
    return all(torch.equal(one[key], other[key]) for key in one if key.startswith(prefix))


def test_history_tells_every_epoch(classifier, photos):
    _, history = run(classifier, photos)
    assert [row["epoch"] for row in history] == [1, 2]
    for row in history:
        assert 0 <= row["validation_accuracy"] <= 1
        assert row["train_loss"] > 0
        assert row["validation_log_loss"] > 0
        assert row["seconds"] > 0
    assert history[1]["lr"] < history[0]["lr"]


def test_history_tells_every_other_epoch_when_asked(classifier, photos):
    sizes = [{"height": 48, "width": 64, "epochs": 4}]
    _, history = run(classifier, photos, sizes=sizes, validate_every=2)
    assert [row["epoch"] for row in history] == [2, 4]


def test_same_seed_same_weights_and_torchs_generator_untouched(tiny_backbone, photos):
    before = torch.random.get_rng_state()
    one, _ = run(build_classifier(tiny_backbone, 3), photos, seed=4)
    torch.rand(3)
    other, _ = run(build_classifier(tiny_backbone, 3), photos, seed=4)
    third, _ = run(build_classifier(tiny_backbone, 3), photos, seed=5)
    assert same(one, other)
    assert not same(one, third)
    model = build_classifier(tiny_backbone, 3)
    torch.random.set_rng_state(before)
    run(model, photos)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_it_learns(tiny_backbone, photos):
    _, history = run(
        build_classifier(tiny_backbone, 3),
        photos,
        lr=0.02,
        sizes=[{"height": 48, "width": 64, "epochs": 12}],
        augmentation={"policy": "none", "erase": 0},
        label_smoothing=0,
        dropout=0,
    )
    assert history[-1]["train_loss"] < 0.6 * history[0]["train_loss"]


def test_frozen_groups_stay_with_their_statistics(classifier, photos):
    before = copy.deepcopy(classifier.state_dict())
    groups = classifier.layer_groups()
    after, _ = run(classifier, photos, freeze=2)
    owners = {name.rpartition(".")[0] for group in groups[:2] for name in group}
    for key, value in before.items():
        still = torch.equal(after[key], value)
        if key.rpartition(".")[0] in owners:
            assert still, key
    assert not same(before, after, "head")
    moved = [name for name in groups[3] if not torch.equal(after[name], before[name])]
    assert moved


@pytest.mark.parametrize("mode", ["train", "frozen"])
def test_batch_norm_statistics_move_only_when_asked(classifier, photos, mode):
    classifier.eval()  # as a probe leaves it
    before = copy.deepcopy(classifier.state_dict())
    after, _ = run(classifier, photos, batch_norm=mode)
    moved = [
        k for k in before if k.endswith("running_mean") and not torch.equal(before[k], after[k])
    ]
    assert bool(moved) == (mode == "train")


def test_every_layer_that_is_not_frozen_is_in_training_mode(classifier, photos, monkeypatch):
    modes = []
    real = finetune.FineTuning.training_step

    def watch(self, batch):
        modes.append({name: m.training for name, m in self.classifier.named_modules()})
        return real(self, batch)

    monkeypatch.setattr(finetune.FineTuning, "training_step", watch)
    classifier.eval()
    run(classifier, photos, freeze=1)
    norms = finetune.frozen_batch_norms(classifier, classifier.layer_groups()[0])
    frozen = {id(part) for norm in norms for part in norm.modules()}
    expected = {name: id(m) not in frozen for name, m in classifier.named_modules()}
    assert modes
    assert all(mode == expected for mode in modes)


def test_the_averaged_weights_are_the_result(tiny_backbone, photos):
    plain, _ = run(build_classifier(tiny_backbone, 3), photos)
    averaged, _ = run(build_classifier(tiny_backbone, 3), photos, ema=0.9)
    start = build_classifier(tiny_backbone, 3).state_dict()
    key = "head.weight"
    assert not torch.equal(plain[key], averaged[key])
    # An average of the way lies nearer to its start than the end does.
    assert (averaged[key] - start[key]).norm() < (plain[key] - start[key]).norm()


def test_sizes_follow_each_other(classifier, photos, monkeypatch):
    seen = []
    real = finetune.FineTuning.training_step

    def watch(self, batch):
        seen.append(tuple(batch[0].shape[-2:]))
        return real(self, batch)

    monkeypatch.setattr(finetune.FineTuning, "training_step", watch)
    sizes = [
        {"height": 32, "width": 40, "epochs": 1},
        {"height": 48, "width": 64, "epochs": 1},
    ]
    _, history = run(classifier, photos, sizes=sizes)
    assert set(seen[: len(seen) // 2]) == {(32, 40)}
    assert set(seen[len(seen) // 2 :]) == {(48, 64)}
    assert [row["size"] for row in history] == ["32x40", "48x64"]


def test_validation_photos_are_never_augmented(classifier, photos, monkeypatch):
    seen = []
    real = finetune.FineTuning.validation_step

    def watch(self, batch):
        seen.append(batch[0].clone())
        return real(self, batch)

    monkeypatch.setattr(finetune.FineTuning, "validation_step", watch)
    run(classifier, photos)
    expected = torch.from_numpy(photos[1].pixels).permute(0, 3, 1, 2)
    assert torch.equal(torch.cat(seen), torch.cat([expected, expected]))


def test_the_module_normalises_as_inference_does(classifier, photos):
    module = finetune.FineTuning(classifier, make_stage(), SPEC, num_steps=1, seed=0)
    pixels = torch.from_numpy(photos[1].pixels).permute(0, 3, 1, 2)
    expected = np.concatenate(list(photos[1].batches(100)))
    np.testing.assert_allclose(module.normalise(pixels).numpy(), expected, atol=1e-6)


def test_mixup_and_gradient_clipping_run(classifier, photos):
    before = copy.deepcopy(classifier.state_dict())
    after, _ = run(classifier, photos, gradient_clip=0.5, augmentation={"mixup": 0.4})
    assert not same(before, after)


def test_ctrl_c_is_not_swallowed(classifier, photos):
    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fine_tune(classifier, make_stage(), *photos, seed=0, progress=interrupt)


def test_progress_counts_every_step(classifier, photos):
    seen = []
    fine_tune(classifier, make_stage(), *photos, seed=0, progress=lambda *step: seen.append(step))
    total = 2 * (len(photos[0].ids) // 6)
    assert seen == [(step, total) for step in range(1, total + 1)]


def test_layer_decay_and_weight_decay_by_group(classifier):
    stage = make_stage(lr=0.1, optimiser={"layer_decay": 0.5, "weight_decay": 0.3})
    groups = layer_decay_groups(classifier, stage)
    owner = {id(p): name for name, p in classifier.named_parameters()}
    layers = classifier.layer_groups()
    seen = []
    for group in groups:
        for parameter in group["params"]:
            name = owner[id(parameter)]
            seen.append(name)
            depth = next(i for i, names in enumerate(layers) if name in names)
            assert group["lr"] == pytest.approx(0.1 * 0.5 ** (len(layers) - 1 - depth))
            assert group["weight_decay"] == (0.3 if parameter.ndim > 1 else 0.0)
    assert sorted(seen) == sorted(owner.values())


def test_no_weight_decay_still_trains_every_parameter(classifier):
    groups = layer_decay_groups(classifier, make_stage(optimiser={"weight_decay": 0}))
    assert sum(len(g["params"]) for g in groups) == len(list(classifier.parameters()))
    assert all(g["weight_decay"] == 0 for g in groups)


def test_the_schedule_warms_up_then_falls_to_nothing():
    rates = [cosine_with_warmup(step, 100, 0.1) for step in range(101)]
    assert rates[:10] == sorted(rates[:10])
    assert rates[0] < 0.2
    assert max(rates) == pytest.approx(1.0)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[100] == pytest.approx(0.0, abs=1e-9)
    assert cosine_with_warmup(0, 10, 0.0) == 1.0


@pytest.mark.parametrize("native", [True, False])
def test_bf16_only_where_the_cpu_computes_in_it(classifier, monkeypatch, native):
    monkeypatch.setattr(finetune, "_has_native_bf16", lambda: native)
    times = iter([0.0, 2.0, 2.0, 3.0, 3.0, 5.0, 5.0, 6.0])  # bf16 twice as fast
    monkeypatch.setattr(finetune.time, "perf_counter", lambda: next(times))
    chosen = choose_precision("auto", classifier, 48, 64)
    can = native and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    assert chosen == ("bf16" if can else "32")
    assert all(p.grad is None for p in classifier.parameters())


def test_a_stated_precision_is_taken_at_its_word(classifier):
    assert choose_precision("bf16", classifier, 48, 64) == "bf16"
    assert choose_precision("32", classifier, 48, 64) == "32"
