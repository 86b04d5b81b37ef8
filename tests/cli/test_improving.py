"""The commands doubts and rounds: what they say where there is nothing."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from lotlens.cli.improving import _PROBES_WERE_RIGHT, _RIGHT_ALL_THE_SAME, _tell_gate
from lotlens.records import Doubt
from lotlens.verbs.doubts import Doubted
from tests.cli.conftest import run

RESULTS = Path(__file__).parent.parent.parent / "benchmarks" / "RESULTS.md"
WRONG = "label probably wrong"


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
    monkeypatch.setattr("lotlens.verbs.doubts.doubt", lambda *_, **__: found)
    done = run("doubts", run_path, "--top", 0)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("No label looks wrong")
    assert "Expect some" not in done.stdout
    assert (f"lotlens review {run_path}" in done.stdout) == is_doubtful


def build_found(run_path, *, accuracy=0.75, is_by_own_models=False):
    """Three doubts, of which the first and the last one are labels that look wrong."""
    reasons = ({WRONG: 0.9, "folds disagree": 0.6}, {"unsure between two": 0.9}, {WRONG: 0.8})
    doubts = tuple(
        Doubt(f"{number}.jpg", "a", "b", 0.82, 0.02, 0.98, why)
        for number, why in enumerate(reasons)
    )
    evidence = SimpleNamespace(ids=("a",) * 20)
    names = {"a": "Нива", "b": "Golf"}
    where = run_path / "doubts.csv"
    return Doubted(
        doubts, where, evidence, accuracy, "probes", 0, names, is_by_own_models=is_by_own_models
    )


def test_labels_that_look_wrong_come_first_and_how_many_to_expect(run_path, monkeypatch):
    found = build_found(run_path)
    monkeypatch.setattr("lotlens.verbs.doubts.doubt", lambda *_, **__: found)
    said = run("doubts", run_path).stdout
    lines = said.splitlines()
    assert lines[0] == "2 labels look wrong; look at these first. 1 other photo is less doubtful."
    assert "a third of the first doubts were right labels" in " ".join(lines)
    assert "Here still more" not in said
    listed = [line for line in lines if line.startswith("  ")]
    assert listed == [f"  {n}.jpg: labelled Нива, looks like Golf (82 %)" for n in (0, 2)]
    assert "out of fold" not in said
    said = run("doubts", run_path, "-v").stdout
    assert "; label probably wrong, folds disagree" in said
    assert "out of fold   0.750 of 20 photos" in said


@pytest.mark.parametrize(
    ("options", "share", "is_weaker"),
    [
        ({"is_by_own_models": True, "accuracy": 0.5}, "a sixth", False),
        ({"accuracy": 0.5}, "a third", True),
    ],
)
def test_what_is_expected_of_doubts_was_measured_for_models_like_these(
    options, share, is_weaker, run_path, monkeypatch
):
    found = build_found(run_path, **options)
    monkeypatch.setattr("lotlens.verbs.doubts.doubt", lambda *_, **__: found)
    said = " ".join(run("doubts", run_path).stdout.split())
    assert f"{share} of the first doubts" in said
    assert ("are right on 50 % of the photos, in that test on 72 %" in said) == is_weaker


def test_what_is_expected_of_doubts_is_what_was_measured():
    results = RESULTS.read_text("utf-8")
    rows = re.findall(r"^\| (`.*?) \| \d \| (0\.\d+) \| 0\.\d+ \| \d\.\d+ \|$", results, re.M)
    for is_own, name, right in ((False, "`quick`", 1 / 3), (True, "`standard`, 5 folds", 1 / 6)):
        shares = [float(share) for kind, share in rows if kind == name]
        assert len(shares) == 3
        assert abs(1 - sum(shares) / 3 - right) < 0.03
        assert _RIGHT_ALL_THE_SAME[is_own] == {1 / 3: "a third", 1 / 6: "a sixth"}[right]
    assert f"right in about {_PROBES_WERE_RIGHT} of the photos as labelled" in results


def judge(*, accepted=False, rule="better", verdict="cannot tell", shares=(0.85, 0.815)):
    pair = SimpleNamespace(verdict=verdict, num_photos=130)
    comparison = SimpleNamespace(first=shares[0], second=shares[1], pair=pair)
    judgement = SimpleNamespace(accepted=accepted, rule=rule, comparison=comparison)
    return SimpleNamespace(judgement=judgement, parent="runs/a")


@pytest.mark.parametrize(
    ("judged", "said"),
    [
        (judge(accepted=True, verdict="better"), "Adopted: better (right on 85.0 %"),
        (judge(accepted=True), "Adopted: as often right, and surer of it"),
        (judge(accepted=True, rule="failing"), "Adopted: the failing classes"),
        (judge(), "Not adopted: no better, as far as can be told (right on 85.0 % of 130 photos,"),
        (judge(verdict="worse", shares=(0.6, 0.8)), "Not adopted: worse (right on 60.0 %"),
        (judge(rule="failing"), "Not adopted: no better on the failing classes"),
    ],
)
def test_the_gate_is_told_in_a_line(judged, said):
    line = _tell_gate(judged)
    assert line.startswith(said)
    assert line.endswith(
        ("runs/a on 81.5 %).", "runs/a stays.", "runs/a on 80.0 %); runs/a stays.")
    )
