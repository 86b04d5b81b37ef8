"""Sweeps: one split for all runs, nothing trained twice, and tables that agree with the runs."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import lotlens
from lotlens.audit.parts import count_folds, read_split
from lotlens.errors import InputError, MissingExtra, OutputError, RecipeError, Stopped
from lotlens.judge.compare import Comparison
from lotlens.recipes.loading import parse_recipe
from lotlens.run import RunFolder
from lotlens.sweep import tracking
from lotlens.sweep.tables import SweepRun, conclude, note_candidates
from lotlens.verbs import sweep as sweeping
from lotlens.verbs.sweep import run_sweep, split_path_for
from tests.conftest import without_charts, without_lookalikes

pytestmark = pytest.mark.usefixtures("plain_training")

VARY = ["stages.0.penalties=[0.0001],[1.0]"]


def read_table(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def recipe(tiny_backbone):
    """A probe alone, which takes a second."""
    return parse_recipe(
        {
            "name": "tiny",
            "backbone": tiny_backbone,
            "image": {"height": 48, "width": 64},
            "validation": 0.25,
            "views": [],
            "stages": [{"kind": "probe", "penalties": [0.1], "mirror": False}],
        }
    )


@pytest.fixture(scope="module")
def swept(small_lot, recipe, tmp_path_factory):
    """Two variants, two seeds; nothing in it is to be changed."""
    patch = pytest.MonkeyPatch()
    # MLflow takes seconds, and has tests of its own.
    patch.setattr(tracking, "is_tracking_installed", lambda: False)
    out = tmp_path_factory.mktemp("sweeps") / "one"
    with without_charts(), without_lookalikes():
        done = run_sweep(small_lot, VARY, recipe, overrides=["seed=5"], num_seeds=2, out=out)
    patch.undo()
    return done


@pytest.fixture
def copied(swept, tmp_path, monkeypatch):
    """A sweep of one's own to spoil, without MLflow."""
    monkeypatch.setattr(tracking, "is_tracking_installed", lambda: False)
    out = tmp_path / "one"
    shutil.copytree(swept.path, out)
    return out


def refuse_to_train(*args, **options):
    raise AssertionError("nothing is to be trained here")


def test_all_runs_share_a_split_and_differ_in_seed_and_what_is_varied(swept):
    folders = {path.name for path in swept.path.iterdir() if path.is_dir()}
    assert {run.path.name for run in swept.runs} == folders
    assert len(folders) == 4
    assert {path.name for path in swept.path.iterdir()} - folders == {
        *("runs.csv", "summary.csv", "comparisons.csv", "split.csv", "sweep.svg")
    }
    shared = split_path_for(0, swept.path)
    for run in swept.runs:
        folder = lotlens.load(run.path).run
        assert folder.split_path.read_bytes() == shared.read_bytes()
        values = folder.read_recipe()
        assert values["seed"] == run.seed
        assert f"[{values['stages'][0]['penalties'][0]}]" == run.values["stages.0.penalties"]
    assert [run.seed for run in swept.runs] == [5, 6, 5, 6]


def test_the_tables_are_those_of_the_runs(swept):
    rows = read_table(swept.path / "runs.csv")
    for run, row in zip(swept.runs, rows, strict=True):
        card = lotlens.load(run.path).card
        assert run.metrics == card.metrics
        assert row["accuracy"] == f"{card.metrics[0].value:.4f}"
        assert (row["status"], row["run"]) == ("finished", run.path.name)
        assert row["chosen"] == card.chosen.partition(";")[0]
        assert card.num_candidates == 1
        assert row["stages.0.penalties"] == run.values["stages.0.penalties"]
        assert float(row["wall_s"]) > 0
    summary = read_table(swept.path / "summary.csv")
    for number, (found, row) in enumerate(zip(swept.summary, summary, strict=True)):
        single = [run.metrics[0].value for run in swept.runs[2 * number : 2 * number + 2]]
        assert found.accuracies == pytest.approx(single)
        assert found.accuracy == pytest.approx(np.mean(single))
        assert found.deviation == pytest.approx(np.std(single, ddof=1))
        assert found.low <= found.accuracy <= found.high
        assert row["accuracy"] == f"{np.mean(single):.4f}"
        assert row["seeds"] == "2"
    (pair,) = swept.comparisons
    (row,) = read_table(swept.path / "comparisons.csv")
    assert row["photos"] == str(pair.num_photos) == str(swept.runs[0].metrics[0].count)
    assert pair.difference == pytest.approx(swept.summary[0].accuracy - swept.summary[1].accuracy)
    assert row["verdict"] == pair.verdict
    assert "<svg" in (swept.path / "sweep.svg").read_text("utf-8")
    assert json.loads(json.dumps(swept.to_dict()))["runs"][0]["path"] == str(swept.runs[0].path)
    assert swept.tracking == ""
    assert not any("kept the probe's weights" in sentence for sentence in swept.conclusion)


def test_the_same_call_again_trains_nothing_and_finds_the_same(
    swept, copied, small_lot, recipe, monkeypatch
):
    monkeypatch.setattr(sweeping, "begin_training", refuse_to_train)
    options = {"overrides": ["seed=5"], "out": copied}
    again = run_sweep(small_lot, VARY, recipe, num_seeds=2, **options)
    assert (again.summary, again.comparisons) == (swept.summary, swept.comparisons)
    for name in ("runs.csv", "summary.csv", "comparisons.csv", "sweep.svg"):
        assert (copied / name).read_bytes() == (swept.path / name).read_bytes()
    # Fewer seeds and fewer values find the folders of more.
    alone = run_sweep(small_lot, ["stages.0.penalties=[1.0]"], recipe, num_seeds=1, **options)
    assert alone.runs[0].metrics == swept.runs[2].metrics
    assert alone.conclusion[0] == "There is no pair of variants to compare."


def test_what_does_not_fit_the_folder_is_refused_before_anything_trains(
    copied, small_lot, spoilt_lot, recipe, tmp_path, monkeypatch
):
    monkeypatch.setattr(sweeping, "begin_training", refuse_to_train)

    def call(data=small_lot, overrides=("seed=5",), **options):
        run_sweep(data, VARY, recipe, overrides=overrides, num_seeds=2, out=copied, **options)

    with pytest.raises(InputError, match=r"holds a finished run with another recipe; .*--out"):
        call(overrides=["seed=5", "image.fit=stretch"])
    with pytest.raises(InputError, match="drawn with the seed 5, the recipe's is 0"):
        call(overrides=[])
    with pytest.raises(InputError, match="does not fit"):
        call(data=spoilt_lot)
    with pytest.raises(InputError, match="no split at"):
        call(split_path=tmp_path / "absent.csv")
    other = tmp_path / "other.csv"
    lotlens.split(small_lot, other, seed=9)
    with pytest.raises(InputError, match="began with another split"):
        call(split_path=other)
    shutil.copy(other, copied / "split.csv")
    with pytest.raises(InputError, match="holds a run on another split"):
        call(split_path=other)
    lotlens.split(small_lot, other, num_folds=3)
    with pytest.raises(InputError, match="fold-3, on which no recipe of this sweep trains"):
        run_sweep(small_lot, [], recipe, out=tmp_path / "new", split_path=other)
    blocked = tmp_path / "blocked" / "tiny-seed-0"
    blocked.mkdir(parents=True)
    (blocked / "notes.txt").write_text("mine")
    with pytest.raises(InputError, match="is no run folder"):
        run_sweep(small_lot, [], recipe, num_seeds=1, out=blocked.parent)


def test_mistakes_leave_nothing_behind(small_lot, recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RecipeError, match="2 mistakes"):
        run_sweep(small_lot, ["optimizer=adam", "seed=1"], recipe)
    with pytest.raises(InputError):
        run_sweep(tmp_path / "absent", VARY, recipe)
    assert list(tmp_path.iterdir()) == []


def test_a_failed_run_is_noted_and_tried_again(copied, small_lot, recipe, monkeypatch):
    (gone,) = [path for path in copied.iterdir() if "0.0001" in path.name and "-6" in path.name]
    shutil.rmtree(gone)
    begin = sweeping.begin_training

    def fail(*args, **options):
        raise InputError("no such\nluck")

    monkeypatch.setattr(sweeping, "begin_training", fail)
    options = {"overrides": ["seed=5"], "num_seeds": 2, "out": copied}
    done = run_sweep(small_lot, VARY, recipe, **options)
    (failed,) = done.failed
    assert (failed.seed, failed.reason, failed.metrics) == (6, "no such luck", ())
    assert [row["status"] for row in read_table(copied / "runs.csv")].count("failed") == 1
    assert [row.num_seeds for row in done.summary] == [1, 2]
    assert done.comparisons[0].num_seeds == 1
    monkeypatch.setattr(sweeping, "begin_training", begin)
    assert not run_sweep(small_lot, VARY, recipe, **options).failed


def test_all_runs_may_fail(small_lot, recipe, tmp_path, monkeypatch):
    def fail(*args, **options):
        raise OutputError("no space")

    monkeypatch.setattr(sweeping, "begin_training", fail)
    monkeypatch.setattr(tracking, "is_tracking_installed", lambda: False)
    done = run_sweep(small_lot, VARY, recipe, num_seeds=1, out=tmp_path / "s")
    assert len(done.failed) == 2
    assert (done.summary, done.comparisons) == ((), ())
    assert not (tmp_path / "s" / "sweep.svg").exists()


def test_a_missing_part_is_no_failed_run(copied, small_lot, recipe, monkeypatch):
    def fail(*args, **options):
        raise MissingExtra("train", "torch")

    monkeypatch.setattr(sweeping, "begin_training", fail)
    with pytest.raises(MissingExtra):
        run_sweep(small_lot, ["views=[mirror]"], recipe, overrides=["seed=5"], out=copied)


def test_a_stopped_run_goes_on(small_lot, tiny_recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(tracking, "is_tracking_installed", lambda: False)
    # The second stage alone, at one small size and with little to train.
    stage = {
        "kind": "finetune",
        "batch_size": 8,
        "unfreeze": "head",
        "keep_best": False,
        "sizes": [{"height": 32, "width": 48, "epochs": 2}],
    }
    values = {**tiny_recipe, "image": {"height": 32, "width": 48}, "stages": [stage], "views": []}
    recipe = parse_recipe(values)
    options = {"num_seeds": 1, "out": tmp_path / "s"}

    def stop(what, done, total):
        if what == "fine-tuning" and done == 4:
            raise KeyboardInterrupt

    with pytest.raises(Stopped):
        run_sweep(small_lot, ["lr=1e-3"], recipe, **options, watch=stop)
    (first,) = (path for path in (tmp_path / "s").iterdir() if path.is_dir())
    assert RunFolder(first).is_unfinished
    assert RunFolder(first).checkpoint_path.is_dir()
    resumed = []
    begin = sweeping.begin_training

    def watch_begin(photos, recipe, overrides, run, split_path, **given):
        resumed.append(given["resume"] and run.has_checkpoint)
        return begin(photos, recipe, overrides, run, split_path, **given)

    monkeypatch.setattr(sweeping, "begin_training", watch_begin)
    with pytest.raises(InputError, match="holds a stopped run with another recipe"):
        run_sweep(small_lot, ["lr=1e-3"], recipe, overrides=["stages.0.ema=0"], **options)
    done = run_sweep(small_lot, ["lr=1e-3"], recipe, **options)
    assert resumed == [True]
    assert not done.failed


def test_where_the_probe_was_kept_the_sweep_says_so(small_lot, tiny_recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(tracking, "is_tracking_installed", lambda: False)
    begin = sweeping.begin_training

    def begin_probe(photos, recipe, *given, **options):
        """The first stage alone, under the recipe of both."""
        probe = recipe.model_copy(update={"stages": recipe.stages[:1]})
        begun = begin(photos, probe, *given, **options)
        begun.run.write_recipe(recipe.to_dict())
        return begun

    monkeypatch.setattr(sweeping, "begin_training", begin_probe)
    recipe = parse_recipe(tiny_recipe)
    done = run_sweep(small_lot, ["lr=1e-3"], recipe, num_seeds=1, out=tmp_path / "s")
    assert "--set stages.1.keep_best=false" in done.conclusion[-1]


def test_a_given_split_is_used(small_lot, recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(tracking, "is_tracking_installed", lambda: False)
    path = tmp_path / "split.csv"
    lotlens.split(small_lot, path, seed=11, validation=0.4)
    for _ in range(2):
        done = run_sweep(small_lot, [], recipe, num_seeds=1, out=tmp_path / "s", split_path=path)
        assert (tmp_path / "s" / "split.csv").read_bytes() == path.read_bytes()
    assert done.runs[0].path.name == "tiny-seed-0"


def pair(verdict="cannot tell", difference=0.0, seeds=3, first="a", second="b"):
    ends = sorted((0.5 * difference, 1.5 * difference))
    return Comparison(first, second, difference, *ends, 0.01, 0.02, verdict, 100, seeds)


def test_the_conclusion_says_it_plainly():
    assert conclude([pair()]) == ("No pair can be told apart on 100 photos and 3 seeds.",)
    found = conclude([pair("worse", -0.04), pair(), pair()])
    assert found == (
        "b is better than a by 4.0 points (2.0 to 6.0), p = 0.02.",
        "2 other pairs cannot be told apart on 100 photos and 3 seeds.",
    )
    assert "another seed may turn it round" in conclude([pair(seeds=1)])[-1]
    assert "take three or more" in conclude([pair(seeds=2), pair()])[-1]
    assert "2 more pairs" in conclude([pair("better", 0.1)] * 12)[-1]


def test_unequal_numbers_of_candidates_are_said():
    def run(num, status="finished"):
        return SweepRun("a", {}, 0, Path("a"), status, num_candidates=num)

    assert note_candidates([run(6), run(6), run(0)]) == []
    assert note_candidates([run(6), run(1, "failed")]) == []
    (said,) = note_candidates([run(1), run(6), run(3)])
    assert "chose among 1 to 6 sets of weights" in said
    assert "--set lock=" in said


def test_a_store_that_fails_ends_no_sweep(copied, small_lot, recipe, monkeypatch):
    calls = []

    def fail(*args):
        calls.append(args)
        raise OutputError("the store is broken")

    monkeypatch.setattr(tracking, "is_tracking_installed", lambda: True)
    monkeypatch.setattr(tracking, "log_run", fail)
    done = run_sweep(small_lot, VARY, recipe, overrides=["seed=5"], num_seeds=2, out=copied)
    assert len(calls) == 1
    assert done.tracking == "given up: the store is broken"


def test_folds_and_a_hold_out_are_compared_on_the_photos_that_both_answer(
    small_lot, recipe, tmp_path, monkeypatch
):
    monkeypatch.setattr(tracking, "is_tracking_installed", lambda: False)
    done = run_sweep(small_lot, ["folds=0,3"], recipe, num_seeds=1, out=tmp_path / "s")
    assert done.failed == ()
    hold_out, folded = (read_split(split_path_for(n, done.path)) for n in (0, 3))
    assert count_folds(folded) == 3
    for run, split in zip(done.runs, (hold_out, folded), strict=True):
        assert read_split(RunFolder(run.path).split_path) == split
    assert [run.metrics[0].count for run in done.runs] == [len(hold_out.parts["validation"]), 36]
    (pair,) = done.comparisons
    assert pair.num_photos == len(hold_out.parts["validation"])
    monkeypatch.setattr(sweeping, "begin_training", refuse_to_train)
    again = run_sweep(small_lot, ["folds=0,3"], recipe, num_seeds=1, out=done.path)
    assert again.runs == done.runs


def test_runs_side_by_side_are_those_one_after_another(recipe, tmp_path, monkeypatch):
    monkeypatch.setattr(tracking, "is_tracking_installed", lambda: False)
    monkeypatch.chdir(tmp_path)  # processes must not depend on where they begin
    rng = np.random.default_rng(0)
    for label in "AB":  # nothing like each other: other processes look for copies in earnest
        (tmp_path / "lot" / label).mkdir(parents=True)
        for number in range(8):
            tiles = Image.fromarray(rng.integers(0, 256, (4, 5, 3), dtype=np.uint8))
            tiles.resize((80, 64), Image.Resampling.BICUBIC).save(f"lot/{label}/{number}.png")
    told = []
    options = {"overrides": ["seed=5"], "num_seeds": 1}
    alone = run_sweep("lot", VARY, recipe, out="alone", **options)
    both = run_sweep(
        "lot", VARY, recipe, out="both", num_jobs=2, watch=lambda *one: told.append(one), **options
    )
    assert [run.variant for run in both.runs] == [run.variant for run in alone.runs]
    for one, other in zip(both.runs, alone.runs, strict=True):
        assert one.path == Path("both") / other.path.name
        cards = [lotlens.load(run.path).card for run in (one, other)]
        assert len({card.weights_sha256 for card in cards}) == 1
        assert len({card.answers_sha256 for card in cards}) == 1
    assert [done for what, done, _ in told if what == "runs of the sweep"] == [0, 1, 2]
    assert both.conclusion == alone.conclusion
    with pytest.raises(InputError, match="give one of them"):
        run_sweep("lot", VARY, recipe, out="both", num_jobs=2, on="ray")
