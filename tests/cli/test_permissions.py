"""Files and folders that may not be read or written: one clear line, whichever it is."""

import ctypes
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import lotlens

_ASK = """
import contextlib, io, json, os, sys
from lotlens.cli.app import main
answers = []
for spoilt, arguments in json.loads(sys.argv[1]):
    mode = os.stat(spoilt).st_mode
    os.chmod(spoilt, 0)
    assert not os.access(spoilt, os.R_OK)
    said = io.StringIO()
    sys.argv = ["lotlens", *arguments]
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            main()
    except SystemExit as stop:
        answers.append((stop.code, said.getvalue()))
    os.chmod(spoilt, mode)
print(json.dumps(answers))
"""

CASES = [
    ("lot", "audit lot"),
    ("lot/train.csv", "audit lot"),
    ("lot/train.zip", "audit lot"),
    ("lot/classes.csv", "split lot"),
    ("lot/sample-submission.csv", "audit lot"),
    ("class/a", "audit class"),
    ("class", "audit lot --out class/out"),
    ("class", "split lot --out class/s.csv"),
    ("class", "sample class/new"),
    ("class", "demo class/new"),
    ("class", "train lot --recipe class/r.yaml"),
    ("class", "train lot --recipe quick --out class/run"),
    ("class", "train lot --split class/s.csv"),
    ("class", "train lot --dry-run --plot class/p.svg"),
    ("class", "lr-find lot --out class/p.svg"),
    ("class", "sweep lot --vary optimiser=adam,nadam --out class/s"),
    ("class", "predict class/run"),
    ("class", "evaluate class/run"),
    ("class", "export class/run"),
    ("run/card.json", "predict run lot/test.zip"),
    ("run/model.safetensors", "predict run lot/test.zip"),
    ("run/source.json", "evaluate run"),
    ("run/split.csv", "evaluate run"),
    ("run", "predict run"),
    ("run", "evaluate run"),
    ("run", "doubts run"),
    ("run", "review run"),
    ("run", "rounds run"),
    ("run", "export run"),
    ("run", "views run"),
    ("run", "refusal run"),
    ("run", "compare run run"),
    ("run", "ensemble run run"),
    ("run", "improve run --hard"),
    ("class", "predict run class/a/a0.jpg"),
    ("class", "predict run lot/test.zip --out class/a.csv"),
    ("class", "predict run lot/test.zip --details class/a.csv"),
    ("lot/test.zip", "predict run lot/test.zip"),
    ("lot/train.csv", "evaluate run --labels lot/train.csv --photos lot/train.zip"),
]


def bind_to_permissions():
    """Let the permissions of files bind this process, even root's: no capability to pass them."""
    if os.geteuid() == 0:
        libc = ctypes.CDLL(None)
        for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
            libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="root is bound on Linux alone")
def test_what_may_not_be_read_or_written_is_one_line(tmp_path, small_lot, tiny_run, photo_drawer):
    shutil.copytree(small_lot, tmp_path / "lot")
    shutil.copytree(tiny_run.path, tmp_path / "run")
    for label in "ab":
        (tmp_path / "class" / label).mkdir(parents=True)
        photo_drawer(0, 0, (96, 64)).save(tmp_path / "class" / label / f"{label}0.jpg")
    before = sorted(tmp_path.rglob("*"))
    cases = [(spoilt, command.split()) for spoilt, command in CASES]
    done = subprocess.run(
        [sys.executable, "-c", _ASK, json.dumps(cases)],
        capture_output=True,
        check=False,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(lotlens.__file__).parents[1])},
        preexec_fn=bind_to_permissions,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    for (spoilt, command), (code, said) in zip(CASES, json.loads(done.stdout), strict=True):
        last = said.strip().splitlines()[-1]
        assert code == 2, (command, said)
        assert "Traceback" not in said, (command, said)
        assert last.lower().startswith("error: "), (command, said)
        assert Path(spoilt).name in last or command.split()[-1] in last, (command, said)
        assert "ermission denied" in last or "not readable" in last, (command, said)
    assert sorted(tmp_path.rglob("*")) == before
