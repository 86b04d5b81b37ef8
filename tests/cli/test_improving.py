"""The commands doubts and rounds: what they say where there is nothing."""

import json
from types import SimpleNamespace

import pytest

from lotlens.verbs.doubts import Doubted
from tests.cli.conftest import run


def test_a_run_without_rounds_is_a_fact_and_no_error(run_path):
    done = run("rounds", run_path)
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    assert line.startswith("no round of improvement yet")
    assert f"lotlens improve {run_path} --hard" in line
    assert json.loads(run("rounds", run_path, "--json").stdout) == []


@pytest.mark.parametrize("is_doubtful", [False, True])
def test_doubts_are_to_be_reviewed_only_if_there_are_any(run_path, monkeypatch, is_doubtful):
    doubts = (SimpleNamespace(reasons=("label",)),) if is_doubtful else ()
    found = Doubted(doubts, run_path / "doubts.csv", SimpleNamespace(ids=("a",)), 1.0, "", 0, {})
    monkeypatch.setattr(Doubted, "count", lambda self: {})
    monkeypatch.setattr("lotlens.verbs.doubts.doubt", lambda *_, **__: found)
    done = run("doubts", run_path, "--top", 0)
    assert done.returncode == 0, done.stderr
    assert (f"lotlens review {run_path}" in done.stdout) == is_doubtful
