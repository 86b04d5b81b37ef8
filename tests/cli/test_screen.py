"""What reaches the screen: no command to it, whatever names are called, and never a failure."""

import errno
import io
import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

import lotlens
from lotlens.cli import app as app_module
from lotlens.cli.app import main
from lotlens.cli.screen import ERR, OUT, SafeStream, build_table, escape, print_json, safe_streams
from lotlens.errors import InputError, RecipeError
from lotlens.records import Reading
from tests.cli.conftest import run

HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202egpj\u2066\x08\r\x7f\udcff"
OBEYED = set("\x1b\x07\x9b\u202e\u2066\x08\r\x7f\udcff")
ROOT = str(Path(lotlens.__file__).parents[1])


@pytest.fixture
def broken(monkeypatch):
    """A function that lets each command fail with an error."""

    def break_(error):
        def fail():
            raise error

        monkeypatch.setattr(app_module, "build_app", fail)
        return run("train", "x")

    return break_


def test_everything_that_is_printed_is_filtered(capsys):
    with safe_streams():
        OUT.say(HOSTILE)
        OUT.print(HOSTILE, escape(HOSTILE))
        table = build_table(HOSTILE, "b")
        table.add_row(HOSTILE, "1\n2")
        OUT.print(table, width=400)
        print(HOSTILE)
        print(HOSTILE, file=sys.stderr)
        sys.stdout.writelines([HOSTILE, "\n"])
        ERR.print(f"[bold]{escape(HOSTILE)}[/bold]")
        print_json({HOSTILE: [HOSTILE]})
    said = capsys.readouterr()
    for text in (said.out, said.err):
        assert "\\x1b]0;owned\\x07" in text
        assert not set(text) & OBEYED
    assert "1\\n2" in said.out
    assert json.loads(said.out[said.out.index("{\n") :]) == {HOSTILE: [HOSTILE]}


def test_names_in_a_lot_reach_no_screen_as_they_are(tmp_path, photo_drawer):
    for label in ("\x1b[2Jniva", "kalina\u202e"):
        (tmp_path / "lot" / label).mkdir(parents=True)
        for number in range(3):
            name = f"{label[-1]}{number}\x1b[31m.jpg"
            photo_drawer(number, number, (96, 64)).save(tmp_path / "lot" / label / name, "JPEG")
    (tmp_path / "lot" / "\x1b]0;x\x07.zip").write_bytes(b"no zip")
    for options in ((), ("--json",)):
        done = run("audit", tmp_path / "lot", "--out", tmp_path / "out", *options)
        assert not set(done.stdout + done.stderr) & OBEYED, done
    done = run("predict", "\x1b[2J", "--\x1b[2J")
    assert done.returncode == 2
    assert not set(done.stdout + done.stderr) & OBEYED


def test_an_error_is_one_line_whatever_it_names(broken):
    done = broken(InputError("no x\n\x1b[2Jerror: y"))
    assert done.stderr == "error: no x\\n\\x1b[2Jerror: y\n"
    done = broken(RecipeError("a\x1b", ["one", "two"]))
    assert done.stderr == "error: recipe a\\x1b: 2 mistakes\n  - one\n  - two\n"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            PermissionError(errno.EACCES, "Permission denied", "lot/train.csv"),
            "error: lot/train.csv: Permission denied; you may not read or write it: change its"
            " permissions, or name another path\n",
        ),
        (OSError(errno.EMFILE, "Too many open files"), "error: Too many open files; allow"),
        (
            FileNotFoundError(errno.ENOENT, "No such file", b"x\xff"),
            "error: x\\udcff: No such file\n",
        ),
        (OSError("odd"), "error: odd\n"),
        (RecursionError(), "error: what was given is nested too deeply"),
    ],
)
def test_failures_of_the_system_are_one_line_too(broken, error, line):
    done = broken(error)
    assert done.returncode == 2
    assert done.stderr.startswith(line)
    assert len(done.stderr.splitlines()) == 1


def test_an_error_of_ours_is_shown_whole_and_filtered(broken):
    done = broken(KeyError("\x1b[2J"))
    assert done.returncode == 1
    assert "Traceback" in done.stderr
    assert not set(done.stderr) & OBEYED


def print_to(stream, monkeypatch):
    def build():
        def command():
            OUT.say("Лада é 🚗")
            OUT.print("[bold]Лада[/bold] é 🚗")
            table = build_table("класс", "é")
            table.add_row("Нива", "🚗")
            OUT.print(table)
            print_json({"класс": "Лада é 🚗 \x9b"})
            sys.exit(0)

        return command

    monkeypatch.setattr(app_module, "build_app", build)
    monkeypatch.setattr(sys, "stdout", stream)
    monkeypatch.setattr(sys, "argv", ["lotlens"])
    with pytest.raises(SystemExit) as caught:
        main()
    return caught.value.code


@pytest.mark.parametrize("encoding", ["ascii", "cp1251", "latin-1", "utf-8"])
def test_no_terminal_is_too_old(encoding, monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    assert print_to(stream, monkeypatch) == 0
    text = stream.buffer.getvalue().decode(encoding)
    assert json.loads(text[text.index("{\n") :]) == {"класс": "Лада é 🚗 \x9b"}
    first = text.splitlines()[0]
    assert first == "Лада é 🚗".encode(encoding, "backslashreplace").decode(encoding)


def test_no_output_at_all_is_no_error(monkeypatch):
    assert print_to(None, monkeypatch) == 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is full")
def test_output_that_cannot_be_written_is_told():
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "lotlens.cli", "--version"],
            stdout=full,
            stderr=subprocess.PIPE,
            check=False,
            env={**os.environ, "PYTHONPATH": ROOT},
            timeout=120,
        )
    assert done.returncode == 2
    assert (
        done.stderr == b"error: No space left on device; free some space, or name another folder\n"
    )


@pytest.mark.parametrize(
    "options",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "cp1251"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
)
def test_a_whole_command_on_an_old_terminal(tmp_path, photo_drawer, options):
    for label in ("Нива é", "Калина"):
        (tmp_path / "lot" / label).mkdir(parents=True)
        for number in range(3):
            photo = photo_drawer(number, number, (96, 64))
            photo.save(tmp_path / "lot" / label / f"{label}{number}.jpg")
    command = [sys.executable, "-m", "lotlens.cli", "audit", "lot", "--out", "out"]
    for more in ((), ("--json",)):
        done = subprocess.run(
            [*command, *more],
            capture_output=True,
            check=False,
            cwd=tmp_path,
            env={**os.environ, **options, "PYTHONPATH": ROOT},
            timeout=120,
        )
        assert done.returncode == 0, done.stderr
        assert b"Traceback" not in done.stderr
    values = json.loads(done.stdout.decode(options.get("PYTHONIOENCODING", "ascii")))
    assert {"Нива é", "Калина"} <= set(json.dumps(values, ensure_ascii=False).split('"'))


@pytest.mark.parametrize("what", ["['--help']", "['audit', 'nowhere']"])
def test_readers_that_leave_are_no_error(what, tmp_path):
    script = f"import sys; from lotlens.cli import main; sys.argv = ['lotlens', *{what}]; main()"
    reader, writer = os.pipe()
    os.close(reader)
    try:
        process = subprocess.run(
            [sys.executable, "-c", script],
            stdout=writer,
            stderr=writer,
            check=False,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": ROOT},
            timeout=120,
        )
    finally:
        os.close(writer)
    assert process.returncode in (0, 1, 2)  # 120 would be an error at exit


def test_bars_and_colours_pass_and_names_do_not():
    """On a terminal, while a bar is drawn and rich has taken the streams over."""
    script = (
        "import time; from lotlens.cli.screen import OUT, ERR, escape, safe_streams\n"
        "from lotlens.cli.progress import show_progress\n"
        "hostile = '\\x1b]0;owned\\x07'\n"
        "with safe_streams(), show_progress() as watch:\n"
        "    what = 'reading ' + hostile\n"
        "    watch(what, 0, 3); time.sleep(0.6); watch(what, 1, 3)\n"
        "    OUT.say('said ' + hostile); ERR.print('[red]printed[/red] ' + escape(hostile))\n"
        "    time.sleep(0.3); watch(what, 3, 3)\n"
    )
    master, terminal = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": ROOT, "TERM": "xterm", "COLUMNS": "120"}
    environment.pop("NO_COLOR", None)
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=terminal, stderr=terminal, env=environment
    ) as process:
        os.close(terminal)
        seen = b""
        try:
            while piece := os.read(master, 65536):
                seen += piece
        except OSError:  # how a terminal ends
            pass
    os.close(master)
    assert process.returncode == 0, seen
    assert b"\x1b]0;owned" not in seen
    assert b"said \\x1b]0;owned\\x07" in seen
    assert b"\x1b[31mprinted\x1b[0m" in seen
    assert b"3 of 3" in seen
    assert b"\\x1b[" not in seen, "rich's own signs pass as they are"


def test_a_stream_is_what_it_hides(tmp_path):
    with open(tmp_path / "a.txt", "w", encoding="ascii") as file:
        stream = SafeStream(file)
        assert stream.fileno() == file.fileno()
        assert not stream.isatty()
        assert stream.write("é\x1b") == 2
        stream.flush()
    assert (tmp_path / "a.txt").read_text() == "\\xe9\\x1b"


def test_a_reading_is_a_line_for_each_thing(tmp_path):
    reading = Reading("lot\nerror: x", notes=("a\x1b[2J\nb",))
    assert str(reading) == "read as       lot\\nerror: x\nnote          a\\x1b[2J\\nb"
    assert reading.to_dict()["source"] == "lot\nerror: x"
