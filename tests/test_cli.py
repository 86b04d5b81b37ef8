"""The commands: one line and exit code 2 for bad input, JSON that parses, help that is true."""

import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
import typer
from typer.testing import CliRunner

import lotlens
from lotlens import cli
from lotlens.errors import InputError, Stopped

COMMANDS = (
    *("demo", "sample", "audit", "split", "lr-find", "train", "sweep", "evaluate", "compare"),
    *("predict", "views", "ensemble", "refusal", "review"),
)


def run(*arguments):
    """The command in this process; what `main` prints and the exit code it ends with."""
    out, err = io.StringIO(), io.StringIO()
    argv = sys.argv
    sys.argv = ["lotlens", *map(str, arguments)]
    try:
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as caught:
            cli.main()
    finally:
        sys.argv = argv
    return Done(caught.value.code, out.getvalue(), err.getvalue())


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture(scope="module")
def recipe_path(tmp_path_factory, tiny_backbone):
    path = tmp_path_factory.mktemp("recipes") / "tiny.yaml"
    path.write_text(
        f"name: tiny\nbackbone: {tiny_backbone!r}\nimage: {{height: 48, width: 64}}\n"
        "validation: 0.25\nstages:\n  - {kind: probe, penalties: [0.3]}\n"
    )
    return path


@pytest.fixture(scope="module")
def run_path(tmp_path_factory, small_lot, recipe_path):
    path = tmp_path_factory.mktemp("cli") / "run"
    done = run("train", small_lot, "--recipe", recipe_path, "--out", path)
    assert done.returncode == 0, done.stderr
    assert "95 % interval" in done.stdout
    assert f"lotlens predict {path}" in done.stdout.replace("\n", " ")
    assert re.search(r"test views +whole.*: each photo is answered (once|2 times)", done.stdout)
    return path


def test_version_in_a_process_of_its_own():
    command = [sys.executable, "-m", "lotlens.cli", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, lotlens.__version__)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command(command):
    result = CliRunner().invoke(cli.app, [command, "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output


def test_the_help_lists_every_command():
    output = CliRunner().invoke(cli.app, ["--help"]).output
    for command in COMMANDS:
        assert re.search(rf"\b{command}\b", output)


def test_train_evaluate_predict(run_path, small_lot, tmp_path):
    done = run("evaluate", run_path, "--json", "--report", tmp_path / "report.html")
    assert done.returncode == 0, done.stderr
    values = json.loads(done.stdout)
    assert values["metrics"]["accuracy"]["count"] == 9
    assert (tmp_path / "report.html").is_file()

    options = ("--labels", small_lot / "answers.csv", "--photos", small_lot / "test.zip")
    done = run("evaluate", run_path, *options, "--lang", "ru")
    assert done.returncode == 0, done.stderr
    assert '<html lang="ru">' in (run_path / "report.html").read_text("utf-8")
    for words in ("accuracy", "95 % interval", "Волна", "recall", "report.html"):
        assert words in done.stdout

    out = tmp_path / "submission.csv"
    sample = small_lot / "sample-submission.csv"
    done = run("predict", run_path, small_lot / "test.zip", "--sample", sample, "--out", out)
    assert done.returncode == 0, done.stderr
    rows, expected = out.read_text().splitlines(), sample.read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == [row.split(",")[0] for row in expected]

    done = run("predict", run_path, "--out", out, "--json")
    assert len(json.loads(done.stdout)["photos"]) == 12


def test_compare_in_words_and_json(run_path, small_lot):
    done = run("compare", run_path, run_path)
    assert done.returncode == 0, done.stderr
    for words in ("both held out", "A less B      +0.0 points", "Волна", "cannot tell: both are"):
        assert words in done.stdout
    options = ("--labels", small_lot / "answers.csv", "--photos", small_lot / "test.zip")
    done = run("compare", run_path, run_path, *options, "--json")
    values = json.loads(done.stdout)
    assert (values["num_photos"], values["verdict"], values["p"]) == (12, "cannot tell", 1)
    assert [one["photos"] for one in values["classes"]] == [4, 4, 4]
    assert run("compare", run_path, small_lot).returncode == 2


def test_views_in_words_and_json(run_path, tmp_path):
    own = tmp_path / "run"
    shutil.copytree(run_path, own)
    done = run("views", own, "--try", "mirror, closer")
    assert done.returncode == 0, done.stderr
    for words in ("+ mirror", "+ closer", "9 validation photos", "each photo is answered"):
        assert words in done.stdout
    done = run("views", own, "--json", "--try", "whole")
    values = json.loads(done.stdout)
    assert (values["views"], values["trials"], values["photos"]) == (["whole"], [], 9)
    done = run("views", own, "--try", "sideways")
    assert done.returncode == 2
    assert "whole, mirror, closer" in done.stderr


def test_an_ensemble_that_is_not_adopted_is_exit_code_1(
    small_lot, tiny_backbone, run_path, tmp_path
):
    options = ("--set", "validation=0.6", "--set", f"backbone={tiny_backbone}")
    paths = [tmp_path / name for name in ("a", "b")]
    for path, width in zip(paths, (64, 48), strict=True):
        size = (
            "--set",
            "image.height=48",
            "--set",
            f"image.width={width}",
            "--recipe",
            "quick",
            "--out",
            path,
        )
        done = run("train", small_lot, *options, *size)
        assert done.returncode == 0, done.stderr
    out = tmp_path / "joined"
    done = run("ensemble", *paths, "--out", out, "--json")
    assert done.returncode in {0, 1}, done.stderr
    assert json.loads(done.stdout)["adopted"] == (done.returncode == 0) == out.exists()
    assert json.loads(done.stdout)["photos"] == 21
    done = run("ensemble", *paths, "--out", tmp_path / "again")
    assert "21 validation photos. The best run comes first" in done.stdout
    assert ("nothing was written" in done.stdout) == (done.returncode == 1)
    done = run("ensemble", paths[0], "--out", out)
    assert done.returncode == 2
    assert "2 to 50 runs, not 1" in done.stderr


def test_train_prints_json_and_lock_is_the_recipes_key(small_lot, recipe_path, tmp_path):
    out = tmp_path / "run"
    options = ("--recipe", recipe_path, "--lock", "0.2", "--out", out, "--json")
    done = run("train", small_lot, *options)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["card"]["recipe"]["name"] == "tiny"
    assert "lock: 0.2" in (out / "recipe.yaml").read_text("utf-8")


def break_zip(lot):
    (lot / "train.zip").write_bytes(b"PK\x03\x04 broken")


def empty_table(lot):
    (lot / "train.csv").write_text("")


def no_rows(lot):
    (lot / "train.csv").write_text("Id,Category\n")


def rename_columns(lot):
    (lot / "train.csv").write_text("Photo number,Colour\n1000.jpg,0\n")


def forget_a_name(lot):
    (lot / "classes.csv").write_text("Category,Name\n0,A\n1,B\n")


def remove_table(lot):
    (lot / "train.csv").unlink()
    (lot / "classes.csv").unlink()


def missing_class(lot):
    text = (lot / "train.csv").read_text().splitlines()
    (lot / "train.csv").write_text("\n".join(row for row in text if not row.startswith("3")))


def foreign_photos(lot):
    shutil.copy(lot / "test.zip", lot / "train.zip")


def test_audit_in_words_and_json(spoilt_lot, tmp_path):
    done = run("audit", spoilt_lot, "--out", tmp_path / "audit")
    assert done.returncode == 0
    assert "looked at 36 training and 12 test photos" in done.stdout
    assert "unreadable" in done.stdout
    assert (tmp_path / "audit" / "findings.csv").is_file()
    done = run("audit", spoilt_lot, "--out", tmp_path / "audit", "--json")
    values = json.loads(done.stdout)
    assert values["counts"]["unreadable"] == 2
    assert values["dropped"] == ["1003.jpg"]
    assert {finding["photo_id"] for finding in values["findings"]} >= {"1003.jpg", "20000.jpg"}


def test_a_strict_audit_fails_on_errors_alone(small_lot, spoilt_lot, tmp_path):
    for lot, code in ((small_lot, 0), (spoilt_lot, 1)):
        assert run("audit", lot, "--out", tmp_path, "--strict").returncode == code
    assert run("audit", tmp_path / "nowhere", "--out", tmp_path).returncode == 2


def test_split_then_train_then_judge_the_locked_part(small_lot, recipe_path, tmp_path):
    path = tmp_path / "split.csv"
    done = run("split", small_lot, "--out", path, "--lock", "0.2", "--seed", "5")
    assert done.returncode == 0, done.stderr
    assert re.search(r"locked +\d+ photos", done.stdout)
    out = tmp_path / "run"
    done = run("train", small_lot, "--recipe", recipe_path, "--split", path, "--out", out)
    assert done.returncode == 0, done.stderr
    for said in (False, True):
        done = run("evaluate", out, "--locked")
        assert done.returncode == 0, done.stderr
        assert "its own locked part" in done.stdout
        assert ("was opened 2 times" in done.stdout) == said
    done = run("split", small_lot, "--out", path, "--folds", "3", "--json")
    assert list(json.loads(done.stdout)["photos"]) == ["fold-1", "fold-2", "fold-3"]


@pytest.mark.parametrize(
    "spoil",
    [
        break_zip,
        empty_table,
        no_rows,
        rename_columns,
        forget_a_name,
        missing_class,
        foreign_photos,
    ],
)
def test_bad_data_is_one_line_and_exit_code_2(small_lot, tmp_path, spoil, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lot = tmp_path / "lot"
    shutil.copytree(small_lot, lot)
    spoil(lot)
    done = run("train", lot, "--recipe", "quick", "--out", tmp_path / "run")
    assert done.returncode == 2, done.stdout
    assert done.stderr.startswith("error: ")
    assert len(done.stderr.strip().splitlines()) == 1
    assert "Traceback" not in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lot"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("train", "nowhere"),
        ("train", "LOT", "--recipe", "standart"),
        ("train", "LOT", "--set", "stages.1.lrr=1"),
        ("train", "LOT", "--colour", "red"),
        ("train", "LOT", "--lang", "de"),
        ("sweep", "LOT", "--vary", "optimizer=adam,nadam"),
        ("sweep", "LOT", "--vary", "lr=1e-3", "--seeds", "0"),
        ("train",),
        ("paint",),
        ("evaluate", "nowhere"),
        ("predict", "nowhere", "LOT"),
        ("sample", "LOT"),
        ("sample", "new", "--train", "1"),
    ],
)
def test_bad_commands_are_exit_code_2(small_lot, tmp_path, arguments, monkeypatch):
    monkeypatch.chdir(tmp_path)
    filled = [small_lot if a == "LOT" else a for a in arguments]
    done = run(*filled)
    assert done.returncode == 2, done.stdout
    assert done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_one_line(run_path, small_lot):
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    done = run("predict", run_path, small_lot / "test.zip", "--out", "/dev/full")
    assert done.returncode == 2
    said = [line for line in done.stderr.splitlines() if not line.startswith("predicting:")]
    assert len(said) == 1
    assert said[0].startswith("error: cannot write /dev/full")


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


def test_library_errors_become_a_line(monkeypatch, capsys):
    def fail():
        raise InputError("[bold]no[/bold] such thing")

    fail.registered_commands = []
    monkeypatch.setattr(cli, "app", fail)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    assert capsys.readouterr().err == "error: [bold]no[/bold] such thing\n"


def test_a_reader_that_left_is_no_error(small_lot, tmp_path):
    command = [sys.executable, "-m", "lotlens.cli", "audit", small_lot, "--out", tmp_path, "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        process.stdout.close()  # before anything is written, so that the writing must fail
        with process.stderr as stream:
            said = stream.read()
        process.wait(timeout=120)
    finally:
        process.kill()
    assert said == ""


def test_a_dry_run_shows_the_plan_and_leaves_nothing(small_lot, tiny_recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "tiny.yaml"
    path.write_text(json.dumps(tiny_recipe))
    done = run("train", small_lot, "--recipe", path, "--dry-run", "--set", "stages.1.lr=0.5")
    assert done.returncode == 0, done.stderr
    assert "lr: 0.5" in done.stdout
    assert "minutes in all" in done.stdout
    done = run("train", small_lot, "--recipe", path, "--dry-run", "--json")
    stages = json.loads(done.stdout)["stages"]
    assert [stage["kind"] for stage in stages] == ["probe", "finetune"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_dry_run_draws_the_rates(small_lot, tiny_recipe, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "tiny.yaml"
    path.write_text(json.dumps({**tiny_recipe, "folds": 3}))
    arguments = ("train", small_lot, "--recipe", path, "--plot", "rates.svg")
    done = run(*arguments, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "3 folds, in the first 24 photos to train on, 12 to validate" in done.stdout
    assert b"<svg" in (tmp_path / "rates.svg").read_bytes()
    assert "give both" in run(*arguments).stderr
    probe = run("train", small_lot, "--recipe", "quick", "--dry-run", "--plot", "r.svg")
    assert (probe.returncode, "no stage of fine-tuning to plot" in probe.stderr) == (2, True)


def test_a_sweep_prints_tables_and_json_and_goes_on(small_lot, recipe_path, tmp_path, monkeypatch):
    monkeypatch.setattr("lotlens.tracking.is_tracking_installed", lambda: False)
    out = tmp_path / "sweep"
    vary = ("--vary", "stages.0.penalties=[0.1],[1.0]", "--seeds", 1, "--out", out)
    done = run("sweep", small_lot, "--recipe", recipe_path, *vary)
    assert done.returncode == 0, done.stderr
    for words in ("95 % interval", "verdict", "seed each", "flatter", "MLflow    not installed"):
        assert words in done.stdout
    done = run("sweep", small_lot, "--recipe", recipe_path, *vary, "--json")
    assert done.returncode == 0, done.stderr
    values = json.loads(done.stdout)
    assert len(values["runs"]) == 2
    assert values["comparisons"][0]["verdict"] in ("better", "worse", "cannot tell")
    assert not done.stderr

    def fail(*args, **options):
        raise InputError("out of luck")

    monkeypatch.setattr("lotlens.api.train", fail)
    done = run("sweep", small_lot, "--recipe", recipe_path, "--seeds", 1, "--out", tmp_path / "b")
    assert done.returncode == 1
    assert "out of luck" in done.stdout


def test_a_stopped_sweep_says_how_to_go_on(small_lot, recipe_path, tmp_path, monkeypatch):
    def stop(*args, **options):
        raise Stopped(tmp_path / "run")

    monkeypatch.setattr("lotlens.tracking.is_tracking_installed", lambda: False)
    monkeypatch.setattr("lotlens.api.train", stop)
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


def test_resume_on_the_command_line(small_lot, recipe_path, tmp_path):
    out = tmp_path / "run"
    done = run("train", small_lot, "--recipe", recipe_path, "--out", out, "--resume")
    assert done.returncode == 0, done.stderr
    done = run("train", small_lot, "--recipe", recipe_path, "--resume")
    assert done.returncode == 2
    assert "--out" in done.stderr


def test_a_stopped_training_says_how_to_go_on(tmp_path, monkeypatch):
    def stop(*args, **options):
        raise Stopped(tmp_path / "my run")

    monkeypatch.setattr("lotlens.api.train", stop)
    done = run("train", tmp_path)
    assert done.returncode == 130
    assert "--resume" in done.stderr
    assert "my run" in done.stderr


@pytest.mark.parametrize(("arguments", "code"), [(["--version"], 0), (["evaluate", "nowhere"], 2)])
def test_torchruns_processes_leave_with_all_that_was_to_happen_at_exit(arguments, code, tmp_path):
    script = (
        "import atexit, sys; from lotlens import cli\n"
        "atexit.register(print, 'at exit')\n"
        f"sys.argv = ['lotlens', *{arguments!r}]\n"
        "cli.main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={
            **os.environ,
            "TORCHELASTIC_RUN_ID": "1",
            "PYTHONPATH": os.path.dirname(os.path.dirname(cli.__file__)),
        },
        timeout=120,
    )
    assert done.returncode == code, done.stderr
    assert done.stdout.split("\n")[-2] == "at exit"
    assert lotlens.__version__ in done.stdout or "error: " in done.stderr


def test_only_the_command_that_is_asked_for_is_built(monkeypatch):
    built = []
    real = typer.main.get_command_from_info

    def note(*given, **options):
        built.append(given)
        return real(*given, **options)

    monkeypatch.setattr(typer.main, "get_command_from_info", note)
    every = len(cli.app.registered_commands)
    for arguments, count in (
        (["rounds", "--help"], 1),
        (["lr-find", "--help"], 1),
        (["--help"], every),
        (["nothing"], every),
    ):
        built.clear()
        monkeypatch.setattr(sys, "argv", ["lotlens", *arguments])
        with pytest.raises(SystemExit):
            cli.main()
        assert len(built) == count, arguments
        assert len(cli.app.registered_commands) == every


def test_the_time_left_is_that_of_the_stage_at_hand(capsys, monkeypatch):
    now_s = 0.0
    monkeypatch.setattr(cli, "time", SimpleNamespace(monotonic=lambda: now_s))
    with cli._progress() as watch:
        for seconds_a_step in (20, 60):
            for done in range(1, 12):
                watch("fine-tuning", done, 11)
                now_s += seconds_a_step
    told = capsys.readouterr().err.splitlines()
    assert told.count("fine-tuning: 1 of 11") == 2
    assert "fine-tuning: 6 of 11, 1.7 min left" in told
    assert "fine-tuning: 6 of 11, 5.0 min left" in told
