"""Trainings side by side end in the bits of trainings one after another, and say how they ended."""

import csv
import json
import math
import os
import signal
import time
from functools import partial

import pytest

import lotlens
from lotlens.errors import InputError, LotlensError, MissingExtra
from lotlens.recipes.loading import parse_recipe
from lotlens.run import NOTE_SUFFIX, RunFolder
from lotlens.training import folds
from lotlens.training.jobs import Ended, Processes, call
from tests.conftest import make_tiny_recipe

pytestmark = pytest.mark.usefixtures("plain_training")


@pytest.fixture(scope="module")
def recipe(tiny_backbone):
    recipe = make_tiny_recipe(tiny_backbone)
    del recipe["validation"]
    probe = recipe["stages"][0]
    tuning = {
        "kind": "finetune",
        "batch_size": 8,
        "sizes": [{"height": 48, "width": 64, "epochs": 1}],
    }
    return parse_recipe({**recipe, "folds": 2, "deterministic": True, "stages": [probe, tuning]})


def fail(kind):
    raise kind


def end(way):
    if way == "sys.exit":
        os._exit(3)
    os.kill(os.getpid(), signal.SIGKILL)


def wait_a_while(number):
    time.sleep(0.3 * (number == 0))
    return number


def wait_for(path, number):
    deadline = time.monotonic() + 60
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    return number


def test_results_come_as_they_are_finished_each_once(tmp_path):
    mark = tmp_path / "others are done"
    tasks = [partial(wait_for, mark, 0), *(partial(wait_a_while, n) for n in range(1, 4))]
    found = []
    for one in Processes(2).share_out(tasks):
        found.append(one)
        if len(found) == 3:
            mark.touch()
    assert sorted(found[:3]) == [(1, 1), (2, 2), (3, 3)]
    assert found[3] == (0, 0)


def test_a_mistake_in_another_process_is_the_same_mistake_here():
    with pytest.raises(InputError, match="no such photo"):
        list(Processes(2).share_out([partial(fail, InputError("no such photo"))]))
    # Its arguments are not its line: it would not come through as it is.
    ended = call(partial(fail, MissingExtra("train", "torch")))
    with pytest.raises(LotlensError, match="'torch', which is not installed"):
        ended.take()
    with pytest.raises(KeyboardInterrupt):
        call(partial(fail, KeyboardInterrupt())).take()
    assert Ended(7).take() == 7


@pytest.mark.parametrize("way", ["sys.exit", "SIGKILL"])
def test_a_process_that_ends_is_told_and_how_to_go_on(way):
    with pytest.raises(LotlensError, match=r"has ended, perhaps because memory.*--resume"):
        list(Processes(2).share_out([partial(end, way), partial(wait_a_while, 1)]))


def test_folds_side_by_side_are_bit_for_bit_those_one_after_another(
    small_lot, recipe, tmp_path, monkeypatch
):
    alone = lotlens.train(small_lot, recipe, out=tmp_path / "alone")
    told = []
    monkeypatch.chdir(tmp_path)  # processes must not depend on where they begin
    monkeypatch.setattr(folds, "_NOTE_S", 0.0)
    both = lotlens.train(
        small_lot, recipe, out="both", num_jobs=2, watch=lambda *one: told.append(one)
    )
    for path in ("weights_path", "validation_path", "references_path"):
        assert getattr(both.run, path).read_bytes() == getattr(alone.run, path).read_bytes(), path
    assert read_history(both) == read_history(alone)
    assert both.card.metrics == alone.card.metrics
    counts = [done for what, done, _ in told if what == "folds side by side"]
    assert counts == [0, 1, 2]
    ended = told.index(("folds side by side", 2, 2))
    assert not any(what.endswith("fine-tuning") for what, *_ in told[ended:])  # nothing twice
    # What each process was at is told under the name that it has where folds come in turn.
    passed_on = [one for one in told[:ended] if one[0].startswith("fold ")]
    assert {what.partition(":")[0] for what, *_ in passed_on} == {"fold 1 of 2", "fold 2 of 2"}
    assert all(0 <= done <= total for _, done, total in passed_on)


def test_a_note_of_progress_is_nothing_to_go_on_with(tmp_path):
    run, told = RunFolder(tmp_path / "run"), []
    note = run.checkpoint_path / f"fold-1{NOTE_SUFFIX}"
    watch = folds._note_progress(note)
    watch("fold 1 of 2: fine-tuning", 3, 9)
    watch("fold 1 of 2: fine-tuning", 4, 9)  # too soon to be written
    watch("fold 1 of 2: fine-tuning", 9, 9)
    assert json.loads(note.read_text()) == ["fold 1 of 2: fine-tuning", 9, 9]
    assert not run.has_checkpoint
    look = folds._Look([note, note.with_name("none")], lambda *one: told.append(one))
    look()
    assert told == [("fold 1 of 2: fine-tuning", 9, 9)]
    look._looked_s = -math.inf
    look()
    assert len(told) == 1  # nothing new
    for spoilt in (
        "",
        "[]",
        "{",
        '["x", "y", 3]',
        "5",
        "null",
        '["x", null, 3]',
        '["x", 1e999, 3]',
    ):
        look._looked_s = -math.inf
        note.write_text(spoilt)
        look()
    assert len(told) == 1


def test_a_disk_that_is_full_costs_a_note_and_no_fold(tmp_path):
    (tmp_path / "run").touch()  # no folder can be made there
    folds._note_progress(tmp_path / "run" / "checkpoint" / "fold-1")("fine-tuning", 1, 1)


def read_history(model):
    """But for the time that each epoch took."""
    with model.run.history_path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def test_helpers_are_refused_where_nothing_can_be_shared_out(small_lot, tmp_path):
    with pytest.raises(InputError, match=r"folds are trained side by side: add --set folds=5"):
        lotlens.train(small_lot, "quick", out=tmp_path / "run", num_jobs=2)
    with pytest.raises(InputError, match="give one of them"):
        lotlens.train(
            small_lot, "quick", overrides="folds=2", out=tmp_path / "run", num_jobs=2, on="ray"
        )
    assert not (tmp_path / "run").exists()
