"""The command in this process, and a run for the commands that read one."""

import io
import shutil
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass

import pytest

from lotlens.cli.app import main
from lotlens.cli.screen import VOICE


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


def run(*arguments):
    """What `main` prints, and the exit code it ends with."""
    out, err = io.StringIO(), io.StringIO()
    argv = sys.argv
    sys.argv = ["lotlens", *map(str, arguments)]
    try:
        with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as caught:
            main()
    finally:
        sys.argv = argv
    return Done(caught.value.code, out.getvalue(), err.getvalue())


@pytest.fixture
def run_path(tiny_run, tmp_path):
    """A copy of a finished run, to be changed."""
    return shutil.copytree(tiny_run.path, tmp_path / "own" / "run")


@pytest.fixture
def recipe_path(tiny_backbone, tmp_path):
    """A recipe of a probe alone, in a folder of its own."""
    path = tmp_path / "recipes" / "tiny.yaml"
    path.parent.mkdir()
    path.write_text(
        f"name: tiny\nbackbone: {tiny_backbone!r}\nimage: {{height: 48, width: 64}}\n"
        "validation: 0.25\nstages:\n  - {kind: probe, penalties: [0.3]}\n"
    )
    return path


@pytest.fixture(autouse=True)
def _speak_english():
    """A command that spoke another language leaves nothing of it to the next test."""
    yield
    VOICE.lang = None
