"""Tables for people hold no formulas, whatever photos and classes are called, and are read back."""

import csv
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import lotlens
from lotlens.audit.parts import read_split, write_split
from lotlens.deliver.submission import Submission, write_submission
from lotlens.improve.additions import Addition, read_additions, write_additions
from lotlens.improve.doubts import REASONS, read_doubts, write_doubts
from lotlens.improve.history import _COLUMNS, read_rounds, write_rounds
from lotlens.photos.decisions import Decision, read_decisions, write_decisions
from lotlens.records import CarClass, Doubt, Locator, Photo, Split
from lotlens.run import RunFolder

SIGNS = tuple("=+-@\t\r＝＋－＠")
# Ids and labels have no blanks around them; names may have anything inside.
names = st.text(
    st.sampled_from("=+-@'\\udcf0.1e;,\"\n\r\t\udcff") | st.characters(exclude_characters="\0"),
    min_size=1,
    max_size=12,
).filter(lambda name: name == name.strip())


def find_formulas(path):
    with path.open(encoding="utf-8", newline="") as file:
        cells = [cell for row in csv.reader(file) for cell in row]
    return [cell for cell in cells if cell.startswith(SIGNS) and not is_number(cell)]


def is_number(cell):
    try:
        float(cell)
    except ValueError:
        return False
    return True


@given(one=names, other=names)
@example("=cmd|'/c calc'!A1", "-2+3")
@example("'=1", "''=1")
@example("+7 912", "-1.5")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_every_table_that_is_read_again_comes_back(tmp_path, one, other):
    if one == other:
        other += "x"
    path = tmp_path / "a.csv"
    classes = (CarClass(one, other), CarClass(other, one))

    split = Split({"train": (one,), "validation": (other,)}, 3, "abc")
    write_split(path, split)
    assert read_split(path) == split
    assert not find_formulas(path)

    doubts = (Doubt(one, other, one, 0.5, 0.25, 0.75, {next(iter(REASONS)): 0.5}),)
    write_doubts(path, doubts, classes)
    assert read_doubts(path) == doubts
    assert not find_formulas(path)

    additions = (Addition(Photo(one, Locator(Path("/x") / "a\udcff", (other,)), other), 0.5),)
    write_additions(path, additions)
    assert read_additions(path, classes) == additions
    assert not find_formulas(path)

    run = RunFolder(tmp_path)
    rows = (dict.fromkeys(_COLUMNS, "1") | {"Run": one, "Parent": other},)
    write_rounds(run.rounds_path, rows)
    assert read_rounds(run) == rows
    assert not find_formulas(run.rounds_path)

    run.write_history([{one: other, other: "-0.5"}])
    assert run.read_history() == [{one: other, other: "-0.5"}]
    assert not find_formulas(run.history_path)


@given(id_=names)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_decisions_come_back(tmp_path, id_):
    path = tmp_path / "a.csv"
    decisions = (Decision(id_, "relabel", "=1", "+x", "t"),)
    write_decisions(path, decisions)
    assert read_decisions(path) == decisions
    assert not find_formulas(path)


def test_a_submission_is_exact(tmp_path):
    write_submission(tmp_path / "a.csv", Submission(("Id", "=C"), [("-a.jpg", "=1")], 0))
    assert (tmp_path / "a.csv").read_text() == "Id,=C\n-a.jpg,=1\n"


@pytest.mark.parametrize("verb", ["audit", "split"])
def test_verbs_write_none(tmp_path, photo_drawer, verb):
    for number, label in enumerate(("=cmd", "-x", "@y")):
        (tmp_path / "lot" / label).mkdir(parents=True)
        for k in range(4):
            photo_drawer(number, k, (96, 64)).save(tmp_path / "lot" / label / f"+{label}{k}.jpg")
        (tmp_path / "lot" / label / f"={number}.jpg").write_bytes(b"broken")
    if verb == "audit":
        lotlens.run_audit(tmp_path / "lot", out=tmp_path)
        path = tmp_path / "findings.csv"
        assert "'=0.jpg" in path.read_text()
    else:
        path = tmp_path / "split.csv"
        drawn = lotlens.split(tmp_path / "lot", path, validation=0.25)
        assert read_split(path) == drawn
        assert "'+=cmd0.jpg" in path.read_text()
    assert not find_formulas(path)
