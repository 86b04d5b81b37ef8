"""The commands train, sweep and lr-find: what they ask for, print and end with."""

import json
import re
import signal
import subprocess
import sys
import time

import pytest

import lotlens
from lotlens.answering.answers import load_predictions
from lotlens.audit.parts import read_split
from lotlens.errors import InputError, Stopped
from lotlens.extras import import_vision
from lotlens.run import RunFolder
from tests.cli.conftest import run
from tests.conftest import write_detector

pytestmark = pytest.mark.usefixtures("plain_charts")


@pytest.fixture
def asked(monkeypatch, run_path):
    """What training was asked for; nothing is trained, a finished run comes back."""
    asked = []

    def train(*given, **options):
        asked.append((given, options))
        return lotlens.load(run_path)

    monkeypatch.setattr("lotlens.verbs.train.train", train)
    return asked


def test_a_training_says_what_came_of_it_and_what_is_next(asked, run_path, small_lot, tmp_path):
    arguments = ("--recipe", "quick", "--set", "lr=1e-3", "--out", tmp_path / "run", "--workers", 2)
    done = run("train", small_lot, *arguments, "--split", tmp_path / "split.csv", "--lang", "ru")
    assert done.returncode == 0, done.stderr
    assert "95-процентные интервалы" in done.stdout
    assert f"сдать         lotlens predict {run_path}\n" in done.stdout
    assert re.search(r"\n  точность +\d+,\d %  \(\d+,\d\u2013\d+,\d\)\n", done.stdout)
    for words in ("chosen ", "выбрано ", "кадры "):
        assert words not in done.stdout
    (((data, recipe), options),) = asked
    assert (data, recipe, options["overrides"]) == (small_lot, "quick", ["lr=1e-3"])
    assert (options["out"], options["split_path"]) == (tmp_path / "run", tmp_path / "split.csv")
    assert (options["resume"], options["num_workers"], options["lang"]) == (False, 2, "ru")


def test_a_training_tells_more_or_less_when_asked_to(asked, run_path, small_lot):
    said = run("train", small_lot, "-v").stdout
    assert re.search(r"test views +whole.*: each photo is answered (once|2 times)", said)
    assert "chosen        probe; validation accuracy" in said
    said = run("train", small_lot, "-q")
    assert "lotlens predict" not in said.stdout
    assert "accuracy" in said.stdout
    assert not said.stderr


def test_a_built_in_recipe_says_which_one_is_better_and_how_long_it_takes(
    asked, run_path, small_lot, monkeypatch
):
    card = json.loads((run_path / "card.json").read_text())
    card["recipe"]["name"] = "quick"
    (run_path / "card.json").write_text(json.dumps(card))
    planning = import_vision("planning")
    stage = planning.StagePlan("finetune", (), (), 1, 1, 500.0)
    planned = planning.Timetable(70.0, (stage,), 30.0)
    monkeypatch.setattr(planning, "plan_training", lambda *given, **named: planned)
    monkeypatch.setattr(planning, "has_gpu", lambda: False)
    done = run("train", small_lot)
    line = f"better        lotlens train {small_lot} --recipe standard"
    assert done.stdout.splitlines()[-1] == f"{line}   (about 10 min here)"
    monkeypatch.setattr(planning, "has_gpu", lambda: True)
    assert run("train", small_lot).stdout.splitlines()[-1] == line


def test_the_report_is_opened_if_asked_for(asked, run_path, small_lot, monkeypatch):
    opened = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setenv("DISPLAY", ":0")
    assert run("train", small_lot, "--open").returncode == 0
    assert opened == [(run_path / "report.html").as_uri()]
    monkeypatch.delenv("DISPLAY")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    if sys.platform == "linux":
        assert "no browser can open here" in run("train", small_lot, "--open").stderr
        assert len(opened) == 1


def test_the_run_folder_is_named_when_a_training_begins(
    small_lot, recipe_path, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)

    def stop(training, **options):
        raise Stopped(training.run.path)

    monkeypatch.setattr("lotlens.verbs.train.complete_training", stop)
    done = run("train", small_lot, "--recipe", recipe_path)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (
        130,
        "run           runs/small-lot-tiny-1",
    )


def test_a_training_prints_json_and_lock_is_the_recipes_key(asked, run_path, small_lot):
    done = run("train", small_lot, "--lock", "0.2", "--set", "seed=3", "--json")
    assert done.returncode == 0, done.stderr
    values = json.loads(done.stdout)
    assert values["run"] == str(run_path)
    assert values["card"]["recipe"]["name"] == "tiny"
    ((_, options),) = asked
    assert options["overrides"] == ["seed=3", "lock=0.2"]
    assert lotlens.load_recipe("quick", options["overrides"]).lock == 0.2


def test_what_split_locks_is_not_learnt_and_is_judged_when_asked_for(
    small_lot, recipe_path, tmp_path
):
    path, out = tmp_path / "split.csv", tmp_path / "run"
    shares = ("--lock", 0.25, "--validation", 0.25)
    done = run("split", small_lot, "--out", path, *shares, "--json")
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)["photos"]
    assert counts["locked"] == 9
    arguments = ("--recipe", recipe_path, "--split", path, "--lock", 0.25, "--out", out)
    done = run("train", small_lot, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    values = json.loads(done.stdout)
    assert values["run"] == str(out)
    assert values["card"]["recipe"]["lock"] == 0.25
    trained = RunFolder.open(out)
    assert trained.split_path.read_bytes() == path.read_bytes()
    assert sum(trained.read_source()["photos"].values()) == counts["train"]
    parts = read_split(path).parts
    assert load_predictions(trained.validation_path).ids == parts["validation"]
    for options, part, times in (((), "validation", 0), (("--locked",), "locked", 1)):
        done = run("evaluate", out, *options, "--json")
        assert done.returncode == 0, done.stderr
        values = json.loads(done.stdout)
        assert values["metrics"]["accuracy"]["count"] == counts[part]
        assert values["times_opened"] == times


def test_ctrl_c_ends_with_130_and_leaves_no_model(small_lot, recipe_path, tmp_path):
    text = recipe_path.read_text() + (
        "  - {kind: finetune, batch_size: 8, sizes: [{height: 48, width: 64, epochs: 900}]}\n"
    )
    (tmp_path / "long.yaml").write_text(text)
    out = tmp_path / "run"
    arguments = [
        "train",
        str(small_lot),
        "--recipe",
        str(tmp_path / "long.yaml"),
        "--out",
        str(out),
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", "lotlens.cli", *arguments],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    try:
        for line in process.stderr:
            if "fine-tuning" in line:
                break
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert "stopped" in said
    assert "Traceback" not in said
    assert f"--out {out} --resume" in said
    assert not (out / "card.json").exists()
    # Work is not thrown away by another try in the same folder.
    done = run("train", small_lot, "--recipe", recipe_path, "--out", out)
    assert done.returncode == 2
    assert "--resume" in done.stderr


def test_a_dry_run_shows_the_plan_and_leaves_nothing(small_lot, tiny_recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "tiny.yaml"
    path.write_text(json.dumps(tiny_recipe))
    done = run("train", small_lot, "--recipe", path, "--dry-run", "--set", "stages.1.lr=0.5")
    assert done.returncode == 0, done.stderr
    told = [line[:14].strip() for line in done.stdout.splitlines() if line[:14].strip()]
    parts = ["recipe", "device", "before", "stage 0", "stage 1", "after", "in all", "more"]
    assert told[-8:] == parts
    assert "lr: 0.5" not in done.stdout
    for word in ("--full", "-v"):
        done = run(
            *("train", small_lot, "--recipe", path, "--dry-run", "--set", "stages.1.lr=0.5", word)
        )
        assert "lr: 0.5" in done.stdout
        assert "\ntrained in 1  " in done.stdout
    assert "--dry-run: give both" in run("train", small_lot, "--full").stderr
    done = run("train", small_lot, "--recipe", path, "--dry-run", "--json")
    planned = json.loads(done.stdout)
    assert [stage["kind"] for stage in planned["stages"]] == ["probe", "finetune"]
    seconds = planned["seconds"]
    parts = [seconds["before"], *(stage["seconds"] for stage in planned["stages"])]
    assert sum(parts) + seconds["after"] == pytest.approx(seconds["all"], abs=0.5)
    assert list(tmp_path.iterdir()) == [path]


def test_a_dry_run_audits_nothing(small_lot, recipe_path, monkeypatch):
    def fail(*given, **options):
        raise AssertionError("photos were looked at")

    monkeypatch.setattr("lotlens.training.data.TrainingData.audit", fail)
    done = run("train", small_lot, "--recipe", recipe_path, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "about 27 photos to train on, 9 to validate" in done.stdout


def test_a_dry_run_draws_the_rates(small_lot, tiny_recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "tiny.yaml"
    path.write_text(json.dumps({**tiny_recipe, "folds": 3}))
    arguments = ("train", small_lot, "--recipe", path, "--plot", "rates.svg")
    done = run(*arguments, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "3 folds, in the first about 24 photos to train on, 12 to validate" in done.stdout
    assert b"<svg" in (tmp_path / "rates.svg").read_bytes()
    assert "give both" in run(*arguments).stderr
    probe = run("train", small_lot, "--recipe", "quick", "--dry-run", "--plot", "r.svg")
    assert (probe.returncode, "no stage of fine-tuning to plot" in probe.stderr) == (2, True)


def test_a_sweep_prints_tables_and_json_and_goes_on(small_lot, recipe_path, tmp_path, monkeypatch):
    monkeypatch.setattr("lotlens.sweep.tracking.is_tracking_installed", lambda: False)
    out = tmp_path / "sweep"
    vary = ("--vary", "stages.0.penalties=[0.1],[1.0]", "--seeds", 1, "--out", out)
    done = run("sweep", small_lot, "--recipe", recipe_path, *vary)
    assert done.returncode == 0, done.stderr
    for words in ("95 % interval", "verdict", "seed each", "flatter", f"lotlens evaluate {out}/"):
        assert words in done.stdout
    assert "MLflow" not in done.stdout
    done = run("sweep", small_lot, "--recipe", recipe_path, *vary, "--json")
    assert done.returncode == 0, done.stderr
    values = json.loads(done.stdout)
    assert len(values["runs"]) == 2
    assert values["comparisons"][0]["verdict"] in ("better", "worse", "cannot tell")
    assert not done.stderr

    def fail(*args, **options):
        raise InputError("out of luck")

    monkeypatch.setattr("lotlens.verbs.sweep.begin_training", fail)
    done = run("sweep", small_lot, "--recipe", recipe_path, "--seeds", 1, "--out", tmp_path / "b")
    assert done.returncode == 1
    assert "out of luck" in done.stdout


def test_a_stopped_sweep_says_how_to_go_on(small_lot, recipe_path, tmp_path, monkeypatch):
    def stop(*args, **options):
        raise Stopped(tmp_path / "run")

    monkeypatch.setattr("lotlens.sweep.tracking.is_tracking_installed", lambda: False)
    monkeypatch.setattr("lotlens.verbs.sweep.begin_training", stop)
    done = run("sweep", small_lot, "--recipe", recipe_path, "--out", tmp_path / "s")
    assert done.returncode == 130
    assert "go on with  the same command" in done.stderr
    assert "--resume" not in done.stderr


def test_lr_find_writes_a_plot(small_lot, tiny_recipe, tmp_path):
    path = tmp_path / "tiny.yaml"
    path.write_text(json.dumps(tiny_recipe))
    plot = tmp_path / "rates.svg"
    done = run("lr-find", small_lot, "--recipe", path, "--steps", 12, "--out", plot, "--json")
    assert done.returncode == 0, done.stderr
    values = json.loads(done.stdout)
    assert len(values["rates"]) == len(values["losses"]) > 5
    assert plot.read_text("utf-8").lstrip().startswith("<?xml")
    done = run("lr-find", small_lot, "--recipe", path, "--stage", 0, "--out", plot)
    assert done.returncode == 2
    assert "those are: 1" in done.stderr


def test_resume_on_the_command_line(asked, small_lot, recipe_path, tmp_path):
    out = tmp_path / "run"
    done = run("train", small_lot, "--recipe", recipe_path, "--out", out, "--resume")
    assert done.returncode == 0, done.stderr
    assert asked[0][1]["resume"]


def test_a_finished_training_says_so(small_lot, run_path, tmp_path):
    done = run("train", small_lot, "--out", run_path, "--resume")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[0] == f"finished already: {run_path}"
    assert f"report        {run_path / 'report.html'}" in done.stdout
    (run_path / "report.html").unlink()
    done = run("train", small_lot, "--out", run_path, "--resume")
    assert f"lotlens evaluate {run_path}" in done.stdout


def test_a_folder_with_files_is_refused_before_photos_are_looked_at(
    small_lot, run_path, monkeypatch
):
    def fail(*given):
        raise AssertionError("the photos were opened")

    monkeypatch.setattr("lotlens.verbs.train.TrainingData", fail)
    done = run("train", small_lot, "--out", run_path)
    assert (done.returncode, "already holds files" in done.stderr) == (2, True)


def test_what_is_next_depends_on_whether_there_are_photos_to_predict(asked, run_path, small_lot):
    def read_hint():
        return run("train", small_lot).stdout.splitlines()[-2]

    assert read_hint() == f"submit        lotlens predict {run_path}"
    source = json.loads((run_path / "source.json").read_text())
    assert source["test"] == 12
    (run_path / "source.json").write_text(json.dumps(source | {"test": 0}))
    assert read_hint() == f"answer        lotlens predict {run_path} PHOTOS"


def test_resume_wants_its_folder_named(small_lot, recipe_path):
    done = run("train", small_lot, "--recipe", recipe_path, "--resume")
    assert done.returncode == 2
    assert "--out" in done.stderr


def test_a_stopped_training_says_how_to_go_on(tmp_path, monkeypatch):
    def stop(*args, **options):
        raise Stopped(tmp_path / "my run")

    monkeypatch.setattr("lotlens.verbs.train.train", stop)
    done = run("train", tmp_path, "--workers", 2)
    assert done.returncode == 130
    line = f"lotlens train {tmp_path} --out '{tmp_path / 'my run'}' --resume --workers 2\n"
    assert done.stderr == f"stopped; go on with  {line}"


def test_a_detector_is_added_and_told_of(tmp_path):
    done = run("locator")
    assert done.returncode == 0, done.stderr
    assert "No detector was added" in done.stdout
    assert json.loads(run("locator", "--json").stdout) == {"detector": None}
    done = run("locator", "add")
    assert (done.returncode, done.stdout) == (2, "")
    assert "npm pack @mediapipe/objectron" in done.stderr
    (tmp_path / "text.onnx").write_text("no network")
    done = run("locator", "add", tmp_path / "text.onnx")
    assert done.returncode == 2
    assert "text.onnx is no detector" in done.stderr
    own = write_detector(tmp_path / "own.onnx")
    done = run("locator", "show", own)
    assert done.returncode == 2
    assert "say  lotlens locator add" in done.stderr
    assert json.loads(run("locator", "--json").stdout) == {"detector": None}
    done = run("locator", "add", own)
    assert done.returncode == 0, done.stderr
    assert "next          lotlens train DATA --set image.locate=detector" in done.stdout
    told = json.loads(run("locator", "--json").stdout)["detector"]
    assert told["num_bytes"] == own.stat().st_size
