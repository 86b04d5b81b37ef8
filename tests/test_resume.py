"""A training that was killed or stopped goes on and ends as one that was not, bit for bit."""

import csv
import json
import random
import signal

import numpy as np
import pytest
import torch

import lotlens
from lotlens.answering.answers import load_predictions
from lotlens.errors import BundleError, InputError, Stopped
from lotlens.photos.sources import open_lot
from lotlens.recipes.loading import parse_recipe
from lotlens.recipes.schema import Finetune
from lotlens.records import ImageSpec
from lotlens.run import RunFolder
from lotlens.vision import finetune, stages
from lotlens.vision import precision as precisions
from lotlens.vision.batches import decode_photos
from lotlens.vision.callbacks import Checkpointing
from lotlens.vision.classifier import build_classifier
from lotlens.vision.finetune import fine_tune
from tests.conftest import make_tiny_recipe, without_charts
from tests.forks import fork

pytestmark = pytest.mark.usefixtures("plain_charts")

SIZES = [{"height": 32, "width": 48, "epochs": 1}, {"height": 48, "width": 64, "epochs": 2}]
STEPS_PER_EPOCH = 4
LEVERS = {
    "plain": {},
    "threads": {},
    "bf16": {},
    "no-ema": {"ema": 0.0},
    "accumulate": {"accumulate": 2},
    "plateau": {"schedule": {"name": "plateau", "patience": 0, "warmup": 0.3}},
    "one-cycle": {"schedule": {"name": "one-cycle"}},
    "early-stop": {"early_stop": {"patience": 2}},
    "best": {"checkpoint": "validation_accuracy"},
    "soup": {"average_last": 3},
    "mixed-photos": {"augmentation": {"mixup": 0.4, "cutmix": 1.0}},
    "frozen": {"unfreeze": "head", "optimiser": {"name": "sgd"}},
    "adamax": {"optimiser": {"name": "adamax"}, "gradient_clip": 1.0},
}


class Killed(Exception):
    """Stands for a kill: nothing but the files is left."""


@pytest.fixture(scope="module")
def photos(small_lot):
    catalog = open_lot(small_lot).train
    ids, spec = sorted(catalog.ids), ImageSpec(48, 64)
    return [decode_photos(catalog.select(ids[start::2]), spec) for start in (0, 1)]


def tune(backbone, photos, stage, folder=None, every_steps=1, kill_at=None, precision="32"):
    """Weights, history without times, and the soup; None if it was killed."""
    classifier = build_classifier(backbone, 3)

    def progress(done, total):
        if done == kill_at:
            raise Killed

    checkpointing = folder and Checkpointing(folder, every_steps, every_s=1e9)
    try:
        tuned = fine_tune(
            classifier,
            stage,
            *photos,
            seed=3,
            precision=precision,
            checkpointing=checkpointing,
            progress=progress,
        )
    except Killed:
        return None
    history = [{k: v for k, v in row.items() if k != "seconds"} for row in tuned.history]
    return classifier.state_dict(), history, tuned.soup or {}


@pytest.mark.usefixtures("own_threads")
@pytest.mark.parametrize("lever", LEVERS)
def test_a_stage_goes_on_where_it_stopped_whatever_its_levers(
    tiny_backbone, photos, tmp_path, lever
):
    stage = Finetune.model_validate(
        {"kind": "finetune", "batch_size": 4, "sizes": SIZES, "ema": 0.9, **LEVERS[lever]}
    )
    precision = "bf16" if lever == "bf16" else "32"
    torch.set_num_threads(2 if lever == "threads" else 1)
    whole = tune(tiny_backbone, photos, stage, precision=precision)
    steps = whole[1][-1]["epoch"] * STEPS_PER_EPOCH // stage.accumulate
    # Killed twice on its way: what was taken up wrongly the first time would show at its end too.
    rng = random.Random(lever)
    for kill_at in sorted(rng.sample(range(1, steps), 2)):
        every = rng.choice((1, 2, 3))
        assert tune(tiny_backbone, photos, stage, tmp_path, every, kill_at, precision) is None
    weights, history, soup = tune(tiny_backbone, photos, stage, tmp_path, precision=precision)
    assert history == whole[1]
    for now, before in ((weights, whole[0]), (soup, whole[2])):
        assert now.keys() == before.keys()
        assert all(torch.equal(now[key], before[key]) for key in now)


def test_a_damaged_checkpoint_is_one_clear_error(tiny_backbone, photos, tmp_path):
    stage = Finetune.model_validate({"kind": "finetune", "batch_size": 4, "sizes": SIZES})
    (tmp_path / "step.ckpt").write_bytes(b"no checkpoint")
    with pytest.raises(BundleError, match="remove it to start the stage anew"):
        tune(tiny_backbone, photos, stage, tmp_path)


@pytest.fixture
def recipe(tiny_backbone):
    return make_recipe(tiny_backbone)


@pytest.fixture(scope="module")
def whole(small_lot, tiny_backbone, tmp_path_factory):
    """A run of the recipe that nothing stopped."""
    out = tmp_path_factory.mktemp("whole") / "run"
    with without_charts():
        return lotlens.train(small_lot, parse_recipe(make_recipe(tiny_backbone)), out=out).run


def make_recipe(backbone):
    """Three stages, the last two of 4 and 6 epochs."""
    tiny_recipe = make_tiny_recipe(backbone)
    tune_head = {
        "kind": "finetune",
        "batch_size": 6,
        "unfreeze": "head",
        "sizes": [{"height": 32, "width": 48, "epochs": 4}],
    }
    tune_all = {
        **tune_head,
        "unfreeze": "all",
        "ema": 0.5,
        "average_last": 2,
        "sizes": [{"height": 48, "width": 64, "epochs": 6}],
    }
    chain = [tiny_recipe["stages"][0], tune_head, tune_all]
    return {**tiny_recipe, "deterministic": True, "stages": chain}


def read_results(run):
    """What must be equal: hash of the weights, history without times, validation answers."""
    with run.history_path.open(encoding="utf-8", newline="") as file:
        rows = [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]
    card = run.read_card()
    return card.weights_sha256, rows, card.metrics, card.chosen


KILLED = """
import json, os, signal, sys
import lotlens
from lotlens.recipes.loading import parse_recipe
from lotlens.vision import stages
stages._CHECKPOINT_STEPS = 1
lot, out, recipe, kill_at = sys.argv[1:]
steps = 0
def watch(what, done, total):
    global steps
    steps += what == "fine-tuning"
    if steps == int(kill_at):
        os.kill(os.getpid(), signal.SIGKILL)
lotlens.train(lot, parse_recipe(json.loads(recipe)), out=out, resume=True, watch=watch)
"""


def test_five_kills_at_any_step_leave_no_trace(small_lot, recipe, whole, tmp_path):
    rng = random.Random(0)
    out = tmp_path / "killed"
    # Fewer steps are left after each: early kills first, and one in the last stage's last epochs.
    kills = (rng.randint(1, 6), rng.randint(2, 6), rng.randint(2, 9), 12, 8)
    for kill_at in kills:
        arguments = (small_lot, out, json.dumps(recipe), kill_at)
        process = fork(KILLED, *arguments, said_path=tmp_path / "said")
        assert process.wait() == -signal.SIGKILL, process.said
        assert not (out / "card.json").exists()
    run = lotlens.train(small_lot, out=out, resume=True).run
    assert read_results(run) == read_results(whole)
    now, before = (load_predictions(one.validation_path) for one in (run, whole))
    np.testing.assert_array_equal(now.logits, before.logits)
    assert not run.checkpoint_path.exists()


def test_a_measured_precision_is_kept_when_going_on(small_lot, recipe, tmp_path, monkeypatch):
    measured = iter(["32", "bf16"])
    monkeypatch.setattr(precisions, "choose_precision", lambda *_: next(measured))
    monkeypatch.setattr(stages, "_CHECKPOINT_STEPS", 1)
    used = []
    trains = finetune.fine_tune
    monkeypatch.setattr(
        finetune, "fine_tune", lambda *a, **kw: used.append(kw["precision"]) or trains(*a, **kw)
    )
    recipe = {**recipe, "deterministic": False, "stages": [recipe["stages"][2]]}

    def kill(what, done, total):
        if what == "fine-tuning" and done == 4:
            raise Killed

    with pytest.raises(Killed):
        lotlens.train(small_lot, parse_recipe(recipe), out=tmp_path / "run", watch=kill)
    run = lotlens.train(small_lot, out=tmp_path / "run", resume=True).run
    assert used == ["32", "32"]
    assert {row["precision"] for row in run.read_history()} == {"32-true"}


def test_folds_go_on_in_the_fold_that_was_killed(small_lot, recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(stages, "_CHECKPOINT_STEPS", 1)
    tune = {**recipe["stages"][2], "sizes": [{"height": 48, "width": 64, "epochs": 2}]}
    folded = {**recipe, "folds": 2, "stages": [recipe["stages"][0], tune]}
    whole = lotlens.train(small_lot, parse_recipe(folded), out=tmp_path / "whole").run
    out = tmp_path / "killed"

    def kill(what, done, total):
        if what == "fold 2 of 2: fine-tuning" and done == 5:
            raise Killed

    with pytest.raises(Killed):
        lotlens.train(small_lot, parse_recipe(folded), out=out, watch=kill)
    spent = RunFolder(out).read_timing()
    told = []
    run = lotlens.train(
        small_lot, out=out, resume=True, watch=lambda what, *_: told.append(what)
    ).run
    assert "fold 2 of 2: fine-tuning" in told
    assert "fold 1 of 2: fine-tuning" not in told
    assert read_results(run) == read_results(whole)
    assert run.read_timing()["wall_s"] > spent["wall_s"] > 0  # what was done before counts too


@pytest.mark.parametrize("stop_at", [2, 13])
def test_ctrl_c_keeps_the_work_and_says_how_to_go_on(small_lot, recipe, whole, tmp_path, stop_at):
    steps = 0

    def watch(what, done, total):
        nonlocal steps
        steps += what == "fine-tuning"
        if steps == stop_at and what == "fine-tuning":
            signal.raise_signal(signal.SIGINT)

    out = tmp_path / "stopped"
    with pytest.raises(Stopped) as caught:
        lotlens.train(small_lot, parse_recipe(recipe), out=out, watch=watch)
    assert caught.value.run_path == out
    assert steps <= stop_at + 2
    with pytest.raises(InputError, match="go on with --resume"):
        lotlens.train(small_lot, parse_recipe(recipe), out=out)
    with pytest.raises(InputError, match="began with another recipe"):
        lotlens.train(small_lot, "quick", out=out, resume=True)
    run = lotlens.train(small_lot, out=out, resume=True).run
    assert read_results(run) == read_results(whole)


def test_a_training_that_is_finished_is_given_back_as_it_is(small_lot, recipe, whole, tmp_path):
    def fail(*told):
        raise AssertionError("nothing is to be done")

    before = {path: path.stat().st_mtime_ns for path in whole.path.rglob("*")}
    model = lotlens.train(small_lot, parse_recipe(recipe), out=whole.path, resume=True, watch=fail)
    assert model.card == whole.read_card()
    assert {path: path.stat().st_mtime_ns for path in whole.path.rglob("*")} == before
    with pytest.raises(InputError, match="began with another recipe"):
        lotlens.train(small_lot, "quick", out=whole.path, resume=True)
    with pytest.raises(InputError, match="is finished, and was trained on"):
        lotlens.train(tmp_path, parse_recipe(recipe), out=whole.path, resume=True)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="already holds files"):
        lotlens.train(small_lot, parse_recipe(recipe), out=tmp_path, resume=True, watch=fail)


def test_resume_without_anything_to_resume_begins(small_lot, recipe, tmp_path):
    del recipe["stages"][1:]
    model = lotlens.train(small_lot, parse_recipe(recipe), out=tmp_path / "run", resume=True)
    assert model.run.card_path.is_file()
    with pytest.raises(InputError, match="name its run folder"):
        lotlens.train(small_lot, parse_recipe(recipe), resume=True)


def test_other_data_are_refused_when_going_on(small_lot, spoilt_lot, recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(stages, "_CHECKPOINT_STEPS", 1)

    def watch(what, done, total):
        if what == "fine-tuning":
            raise KeyboardInterrupt

    with pytest.raises(Stopped):
        lotlens.train(small_lot, parse_recipe(recipe), out=tmp_path / "run", watch=watch)
    with pytest.raises(InputError, match="does not fit"):
        lotlens.train(spoilt_lot, out=tmp_path / "run", resume=True)
    assert RunFolder(tmp_path / "run").is_unfinished
