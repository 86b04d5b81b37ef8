"""The commands: one line and exit code 2 for bad input, help that is true, one built alone."""

import os
import re
import shutil
import subprocess
import sys

import pytest
from typer.testing import CliRunner

import lotlens
from lotlens.cli import app as app_module
from lotlens.cli import commands
from lotlens.cli.app import build_app, main
from lotlens.cli.commands import COMMANDS
from lotlens.cli.screen import VOICE
from lotlens.errors import InputError
from tests.cli.conftest import run


def test_version_in_a_process_of_its_own():
    command = [sys.executable, "-m", "lotlens.cli", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, lotlens.__version__)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_every_command(command):
    result = CliRunner().invoke(build_app(), [command, "--help"])
    assert result.exit_code == 0
    assert "Usage" in result.output


def test_the_help_lists_every_command_whole_and_by_group():
    output = CliRunner().invoke(build_app(), ["-h"], env={"COLUMNS": "80"}).output
    for name, command in COMMANDS.items():
        assert len(command.summary) <= 55, name
        assert re.search(rf"^  {name} +{re.escape(command.summary)}$", output, re.MULTILINE), name
    groups = [command.group for command in COMMANDS.values()]
    heads = re.findall(r"^(\w+):$", output, re.MULTILINE)
    assert heads == [*dict.fromkeys(groups), "Options"]


@pytest.mark.parametrize("arguments", [["--help"], ["help"], ["audti"]])
def test_help_loads_no_command(arguments):
    script = (
        "import sys; from lotlens.cli.app import build_app\n"
        f"try: build_app()({arguments!r})\n"
        "except SystemExit: pass\n"
        "loaded = [n for n in sys.modules if n.startswith('lotlens.')]\n"
        "print(*loaded, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(lotlens.__file__))},
    )
    loaded = done.stderr.splitlines()[-1].split()
    assert "lotlens.cli.commands" in loaded
    assert not {"lotlens.cli.training", "lotlens.cli.options", "lotlens.records"} & {*loaded}


def test_help_of_a_command_is_had_in_three_ways():
    texts = {
        CliRunner().invoke(build_app(), arguments).output
        for arguments in (["audit", "--help"], ["audit", "-h"], ["help", "audit"])
    }
    assert len(texts) == 1
    assert "-o" in texts.pop()
    wrong = CliRunner().invoke(build_app(), ["help", "audti"])
    assert (wrong.exit_code, "'audit'" in wrong.output) == (2, True)


@pytest.mark.parametrize(("words", "expected"), [("tr", "train"), ("train --rec", "--recipe")])
def test_a_shell_completes_commands_and_options(words, expected):
    env = {
        "_LOTLENS_COMPLETE": "complete_bash",
        "COMP_WORDS": f"lotlens {words}",
        "COMP_CWORD": str(len(words.split())),
    }
    done = CliRunner().invoke(build_app(), [], env=env, prog_name="lotlens")
    assert done.output.split() == [expected]


def test_every_command_is_quiet_or_verbose_only_as_long_as_it_runs(run_path):
    for options, expected in ((["-q"], (True, False)), (["-v"], (False, True)), ([], (False,) * 2)):
        assert run("rounds", run_path, *options).returncode == 0
        assert (VOICE.is_quiet, VOICE.is_verbose) == expected


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


def missing_class(lot):
    text = (lot / "train.csv").read_text().splitlines()
    (lot / "train.csv").write_text("\n".join(row for row in text if not row.startswith("3")))


def foreign_photos(lot):
    shutil.copy(lot / "test.zip", lot / "train.zip")


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


def test_library_errors_become_a_line(monkeypatch, capsys):
    def fail():
        raise InputError("[bold]no[/bold] such thing")

    monkeypatch.setattr(app_module, "build_app", fail)
    with pytest.raises(SystemExit) as caught:
        main()
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


@pytest.mark.parametrize(("arguments", "code"), [(["--version"], 0), (["evaluate", "nowhere"], 2)])
def test_torchruns_processes_leave_with_all_that_was_to_happen_at_exit(arguments, code, tmp_path):
    script = (
        "import atexit, sys; from lotlens.cli import main\n"
        "atexit.register(print, 'at exit')\n"
        f"sys.argv = ['lotlens', *{arguments!r}]\n"
        "main()"
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
            "PYTHONPATH": os.path.dirname(os.path.dirname(lotlens.__file__)),
        },
        timeout=120,
    )
    assert done.returncode == code, done.stderr
    assert done.stdout.split("\n")[-2] == "at exit"
    assert lotlens.__version__ in done.stdout or "error: " in done.stderr


def test_only_the_command_that_is_asked_for_is_built(monkeypatch):
    built = []
    real = commands.get_command_from_info

    def note(*given, **options):
        built.append(given)
        return real(*given, **options)

    monkeypatch.setattr(commands, "get_command_from_info", note)
    for arguments, count in (
        (["rounds", "--help"], 1),
        (["lr-find", "--help"], 1),
        (["--help"], 0),
        (["nothing"], 0),
    ):
        built.clear()
        monkeypatch.setattr(sys, "argv", ["lotlens", *arguments])
        with pytest.raises(SystemExit):
            main()
        assert len(built) == count, arguments
