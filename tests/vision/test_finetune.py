"""Each lever of fine-tuning acts, and the same seed gives the same weights."""

import copy
import os
import signal
import struct

import numpy as np
import pytest
import torch
from tensorboardX.proto.event_pb2 import Event

from lotlens.errors import InputError
from lotlens.photos.sources import open_lot
from lotlens.recipes.schema import Finetune
from lotlens.records import ImageSpec
from lotlens.vision import callbacks, finetune
from lotlens.vision import precision as precisions
from lotlens.vision.batches import decode_photos
from lotlens.vision.callbacks import Checkpointing
from lotlens.vision.classifier import build_classifier, frozen_batch_norms
from lotlens.vision.finetune import fine_tune
from lotlens.vision.layers import count_frozen, layer_decay_groups
from lotlens.vision.precision import choose_precision

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
    tuned = fine_tune(classifier, make_stage(**changes), *photos, seed=seed)
    return classifier.state_dict(), tuned.history


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
        assert row["precision"] == "32-true"
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
        lr=0.002,
        sizes=[{"height": 48, "width": 64, "epochs": 12}],
        augmentation={"policy": "none", "erase": 0, "crop_scale": 1, "flip": 0},
        loss={"label_smoothing": 0},
        dropout=0,
    )
    assert history[-1]["train_loss"] < 0.6 * history[0]["train_loss"]


def test_frozen_groups_stay_with_their_statistics(classifier, photos):
    before = copy.deepcopy(classifier.state_dict())
    groups = classifier.layer_groups()
    after, _ = run(classifier, photos, unfreeze=classifier.group_names()[2])
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

    def watch(self, batch, *place):
        modes.append({name: m.training for name, m in self.classifier.named_modules()})
        return real(self, batch, *place)

    monkeypatch.setattr(finetune.FineTuning, "training_step", watch)
    classifier.eval()
    run(classifier, photos, unfreeze=classifier.group_names()[1])
    norms = frozen_batch_norms(classifier, classifier.layer_groups()[0])
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

    def watch(self, batch, *place):
        seen.append(tuple(batch[0].shape[-2:]))
        return real(self, batch, *place)

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


@pytest.mark.parametrize(
    ("unfreeze", "frozen"), [("all", 0), ("head", -1), (1.0, 0), (0.5, None), (0.01, -1)]
)
def test_what_is_unfrozen_is_a_group_a_share_or_all(classifier, unfreeze, frozen):
    num_groups = len(classifier.layer_groups())
    expected = num_groups // 2 if frozen is None else frozen % num_groups
    assert count_frozen(classifier, unfreeze) == expected
    for number, name in enumerate(classifier.group_names()):
        assert count_frozen(classifier, name) == number


def test_an_unknown_layer_group_is_named_with_the_known_ones(classifier):
    name = classifier.group_names()[1]
    with pytest.raises(InputError, match=f"did you mean '{name}'"):
        count_frozen(classifier, f"{name}s")


def test_a_later_stage_unfreezes_what_an_earlier_one_froze(classifier, photos):
    run(classifier, photos, unfreeze="head")
    before = copy.deepcopy(classifier.state_dict())
    after, _ = run(classifier, photos)
    for group in classifier.layer_groups():
        assert any(not torch.equal(before[name], after[name]) for name in group)


def test_gradients_of_accumulated_batches_make_one_step(tiny_backbone, photos):
    seen = []
    stage = make_stage(batch_size=3, accumulate=2, sizes=[{"height": 48, "width": 64, "epochs": 1}])
    fine_tune(
        build_classifier(tiny_backbone, 3),
        stage,
        *photos,
        seed=0,
        progress=lambda done, total: seen.append((done, total)),
    )
    batches = len(photos[0].ids) // 3
    assert len(seen) == batches
    assert seen[-1] == (-(-batches // 2),) * 2


def end_with_workers(backbone, photos, num_workers, kill_at=None, **options):
    """Weights, history without times, and the soup; None if it was killed."""
    classifier = build_classifier(backbone, 3)
    sizes = [
        {"height": 32, "width": 48, "epochs": 2},
        {"height": 48, "width": 64, "epochs": 2},
    ]
    stage = make_stage(sizes=sizes, average_last=2, ema=0.9)

    def progress(done, total):
        if done == kill_at:
            raise ZeroDivisionError

    try:
        tuned = fine_tune(
            classifier,
            stage,
            *photos,
            seed=2,
            num_workers=num_workers,
            progress=progress,
            **options,
        )
    except ZeroDivisionError:
        return None
    history = [{k: v for k, v in row.items() if k != "seconds"} for row in tuned.history]
    return classifier.state_dict(), history, tuned.soup


def test_workers_leave_every_bit_as_it_is_and_a_killed_stage_goes_on_without(
    tiny_backbone, photos, tmp_path
):
    alone = end_with_workers(tiny_backbone, photos, 0)
    checkpointing = Checkpointing(tmp_path, 1, 1e9)
    options = {"checkpointing": checkpointing}
    assert end_with_workers(tiny_backbone, photos, 2, kill_at=8, **options) is None
    others = [
        end_with_workers(tiny_backbone, photos, 1),
        end_with_workers(tiny_backbone, photos, 2),
        end_with_workers(tiny_backbone, photos, 0, **options),
    ]
    for weights, history, soup in others:
        assert history == alone[1]
        assert same(alone[0], weights)
        assert same(alone[2], soup)


def test_workers_have_one_thread_and_leave_signals_alone(classifier, photos, monkeypatch, tmp_path):
    real = finetune.TrainingPhotos.__getitem__

    def watch(self, keys):
        handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
        is_quiet = handlers == (signal.SIG_IGN, signal.SIG_DFL)
        (tmp_path / f"{os.getpid()} {torch.get_num_threads()} {is_quiet}").touch()
        return real(self, keys)

    monkeypatch.setattr(finetune.TrainingPhotos, "__getitem__", watch)
    fine_tune(classifier, make_stage(), *photos, seed=0, num_workers=2)
    seen = [path.name.split() for path in tmp_path.iterdir()]
    # The same two processes in every epoch.
    assert len(seen) == 2
    assert all(rest == ["1", "True"] for _, *rest in seen)
    assert str(os.getpid()) not in {number for number, *_ in seen}


def test_a_ctrl_c_while_processes_agree_is_not_lost(classifier, photos, monkeypatch, tmp_path):
    asked = []

    def agree(*flags):
        asked.append(flags[-1])
        if len(asked) == 2:
            signal.raise_signal(signal.SIGINT)
        return flags

    monkeypatch.setattr(callbacks, "any_process", agree)
    checkpointing = Checkpointing(tmp_path, 1, 1e9)
    with pytest.raises(KeyboardInterrupt):
        fine_tune(classifier, make_stage(), *photos, seed=0, checkpointing=checkpointing)
    assert asked == [False, False, True]


def read_events(folder):
    """Of every file in order: (step, name, value), or (step, "start", None) where a log goes on."""
    result = []
    for path in sorted(folder.iterdir()):
        data, place = path.read_bytes(), 0
        while place < len(data):
            (length,) = struct.unpack_from("<Q", data, place)
            event = Event.FromString(data[place + 12 : place + 12 + length])
            place += 16 + length
            if event.HasField("session_log"):
                result.append((event.step, "start", None))
            result += [(event.step, v.tag, v.simple_value) for v in event.summary.value]
    return result


def test_the_event_log_tells_the_history_and_goes_on(tiny_backbone, photos, tmp_path):
    log = tmp_path / "log"
    (log / "old").mkdir(parents=True)
    options = {"log_path": log, "checkpointing": Checkpointing(tmp_path / "state", 1, 1e9)}
    assert end_with_workers(tiny_backbone, photos, 0, kill_at=8, **options) is None
    assert [path.name.partition(".")[0] for path in log.iterdir()] == ["events"]
    weights, history, _ = end_with_workers(tiny_backbone, photos, 0, **options)
    assert same(end_with_workers(tiny_backbone, photos, 0)[0], weights)
    events = read_events(log)
    assert [event for event in events if event[1] == "start"] == [(8, "start", None)]
    names = {"train_loss", "validation_accuracy", "validation_log_loss", "lr"}
    told = {
        (step, name.replace("learning_rate", "lr")): value
        for step, name, value in events
        if name != "start"
    }
    steps_per_epoch = len(photos[0].ids) // 6
    assert told.keys() == {(row["epoch"] * steps_per_epoch, n) for row in history for n in names}
    for row in history:
        for name in names:
            value = told[row["epoch"] * steps_per_epoch, name]
            assert value == pytest.approx(row[name], rel=1e-6)


EPOCHS = {
    "optimiser": {"name": "sgd", "layer_decay": 1.0},
    "sizes": [{"height": 48, "width": 64, "epochs": 9}],
    "augmentation": {"policy": "none", "erase": 0, "crop_scale": 1},
}
LOSSES = (1.0, 0.5, 0.2, 0.4, 0.3, 0.6)


@pytest.fixture
def planned(monkeypatch):
    """The weights at each look at validation, whose log losses are LOSSES whatever they answer.

    Which look of a real training is the best hangs on a CPU's rounding.
    """
    weights = []
    real = finetune.FineTuning.validation_step

    def answer(self, batch):
        real(self, batch)
        _, labels = self._answers.pop()
        right = torch.nn.functional.one_hot(labels, 3).bool()
        chance = np.exp(-LOSSES[len(weights)])
        self._answers.append((torch.where(right, chance, (1 - chance) / 2).log(), labels))
        weights.append(copy.deepcopy(self.classifier.state_dict()))

    monkeypatch.setattr(finetune.FineTuning, "validation_step", answer)
    return weights


@pytest.mark.parametrize(
    ("lever", "num_looks"),
    [({"early_stop": {"patience": 2}}, 5), ({"checkpoint": "validation_log_loss"}, 6)],
    ids=["stopping", "not stopping"],
)
def test_the_weights_of_the_best_look_are_kept(classifier, photos, planned, lever, num_looks):
    sizes = [{"height": 48, "width": 64, "epochs": len(LOSSES)}]
    weights, history = run(classifier, photos, sizes=sizes, **lever)
    losses = [row["validation_log_loss"] for row in history]
    assert losses == pytest.approx(LOSSES[:num_looks])
    assert len(planned) == num_looks
    assert same(weights, planned[2])
    assert not same(weights, planned[-1])


def test_a_plateau_cuts_the_rate_after_its_patience(classifier, photos):
    plateau = {"name": "plateau", "patience": 1, "factor": 0.1, "min_delta": 10.0}
    changes = {**EPOCHS, "schedule": plateau, "lr": 0.01}
    _, history = run(classifier, photos, **changes)
    rates = [row["lr"] for row in history]
    # No look is better by 10 nats: the first sets the mark, every second one after it cuts.
    expected = [1e-2, 1e-2, 1e-2, 1e-3, 1e-3, 1e-4, 1e-4, 1e-5, 1e-5]
    assert rates == pytest.approx(expected)


def test_the_rate_of_every_epoch_is_the_schedules(classifier, photos):
    schedule = {"name": "exponential", "factor": 0.5}
    _, history = run(classifier, photos, **{**EPOCHS, "lr": 0.01, "schedule": schedule})
    rates = [row["lr"] for row in history]
    assert rates == pytest.approx([0.01 * 0.5**n for n in range(9)])


def test_a_schedule_of_ones_own(classifier, photos):
    stage = make_stage(schedule={"name": "function", "function": "mine"}, lr=0.01)
    tuned = fine_tune(
        classifier, stage, *photos, seed=0, functions={"mine": lambda epoch: 1 / (1 + epoch)}
    )
    # The last of three steps an epoch begins after five thirds of an epoch.
    assert tuned.history[-1]["lr"] == pytest.approx(0.01 / (1 + 5 / 3))


def test_the_soup_is_the_average_of_the_last_looks(classifier, photos, monkeypatch):
    looks = []
    real = finetune.FineTuning.validation_step

    def watch(self, batch):
        looks.append(copy.deepcopy(self.classifier.state_dict()))
        return real(self, batch)

    monkeypatch.setattr(finetune.FineTuning, "validation_step", watch)
    sizes = [{"height": 48, "width": 64, "epochs": 4}]
    for ema in (0.0, 0.8):
        looks.clear()
        tuned = fine_tune(
            classifier, make_stage(sizes=sizes, average_last=2, ema=ema), *photos, seed=0
        )
        for key, value in tuned.soup.items():
            expected = (looks[2][key].double() + looks[3][key].double()) / 2
            torch.testing.assert_close(value.double(), expected, rtol=0, atol=1e-6)


def test_deterministic_algorithms_are_asked_for_and_left_as_they_were(classifier, photos):
    seen = []
    fine_tune(
        classifier,
        make_stage(),
        *photos,
        seed=0,
        deterministic=True,
        progress=lambda *_: seen.append(torch.are_deterministic_algorithms_enabled()),
    )
    assert all(seen)
    assert not torch.are_deterministic_algorithms_enabled()


@pytest.mark.parametrize("native", [True, False])
def test_bf16_only_where_the_cpu_computes_in_it(classifier, monkeypatch, native):
    monkeypatch.setattr(precisions, "_has_native_bf16", lambda: native)
    times = iter([0.0, 2.0, 2.0, 3.0, 3.0, 5.0, 5.0, 6.0])  # bf16 twice as fast
    monkeypatch.setattr(precisions.time, "perf_counter", lambda: next(times))
    classifier.train()
    before = copy.deepcopy(classifier.state_dict())
    chosen = choose_precision("auto", classifier, 48, 64)
    # Its photos teach BatchNorm nothing, which would stay so in layers that are frozen.
    assert all(torch.equal(v, before[k]) for k, v in classifier.state_dict().items())
    can = native and torch.ops.mkldnn._is_mkldnn_bf16_supported()
    assert chosen == ("bf16" if can else "32")
    assert all(p.grad is None for p in classifier.parameters())


def test_a_stated_precision_is_taken_at_its_word(classifier):
    assert choose_precision("bf16", classifier, 48, 64) == "bf16"
    assert choose_precision("32", classifier, 48, 64) == "32"
