"""The demo, on a lot drawn for it, and how it counts what was found."""

import csv
from dataclasses import replace

import pytest

import lotlens
from lotlens.audit.findings import Audit
from lotlens.drawn.lot import Fault, read_faults
from lotlens.recipes.loading import parse_recipe
from lotlens.records import Doubt, Finding
from lotlens.verbs.demo import count_caught

pytestmark = pytest.mark.usefixtures("plain_charts")

FAULTS = (
    Fault("train", "1.jpg", "unreadable", "", "empty"),
    Fault("test", "2.jpg", "unreadable", "", "text"),
    Fault("test", "3.jpg", "near-duplicate", "4.jpg", "mirrored, source in train"),
    Fault("train", "5.jpg", "near-duplicate", "6.jpg", "mirrored, source in train"),
    Fault("test", "7.jpg", "near-duplicate", "8.jpg", "cropped 0.05, source in test"),
    Fault("train", "5.jpg", "wrong-label", "", "2"),
    Fault("train", "9.jpg", "wrong-label", "", "3"),
    Fault("train", "10.jpg", "grey", "", ""),
    Fault("test", "11.jpg", "no-car", "", "document"),
    Fault("train", "12.jpg", "no-car", "", "person"),
)
FINDINGS = (
    Finding("1.jpg", "unreadable", 1.0, (), "", "train"),
    Finding("2.jpg", "unreadable", 1.0, (), "", "test"),
    Finding("4.jpg", "leak", 0.9, ("3.jpg",), "", "train"),
    Finding("6.jpg", "near-duplicate", 0.9, ("5.jpg",), "", "train"),
    Finding("5.jpg", "label-conflict", 0.9, ("6.jpg",), "", "train"),
    Finding("6.jpg", "label-conflict", 0.9, ("5.jpg",), "", "train"),
    Finding("8.jpg", "near-duplicate", 0.9, ("7.jpg",), "", "test"),
    Finding("10.jpg", "grey", 1.0, (), "", "train"),
)
DOUBTS = ("9.jpg", "12.jpg", "13.jpg", "5.jpg", "14.jpg")


def count(faults=FAULTS, findings=FINDINGS, doubts=DOUBTS, no_cars=("11.jpg",)):
    """kind -> (planted, found, false, looked at)."""
    audit = Audit(findings, {}, {}, frozenset(), {}, {}, {})
    doubted = [Doubt(id_, "0", "1", 0.9, 0.1, 0.9, {}) for id_ in doubts]
    caught = count_caught(faults, audit, doubted, no_cars)
    return {
        one.kind: (one.num_planted, one.num_found, one.num_false, one.num_looked_at)
        for one in caught
    }


ALL = {
    "broken files": (2, 2, 0, None),
    "copies across training and test": (1, 1, 0, None),
    "other copies": (2, 2, 0, None),
    "test photos without a car": (1, 1, 0, None),
    "wrong labels": (2, 2, 2, 4),
}


def test_all_that_was_planted_is_found_here():
    assert count() == ALL


@pytest.mark.parametrize(
    ("kind", "changed", "counts"),
    [
        ("broken files", {"findings": FINDINGS[1:]}, (2, 1, 0, None)),
        # A broken file is one of its part: the same name in the other is another photo.
        (
            "broken files",
            {"findings": (replace(FINDINGS[0], part="test"), *FINDINGS[1:])},
            (2, 1, 1, None),
        ),
        (
            "copies across training and test",
            {"findings": (*FINDINGS[:2], *FINDINGS[3:])},
            (1, 0, 0, None),
        ),
        # Named, but with another photo than it was made of.
        (
            "copies across training and test",
            {"findings": (*FINDINGS[:2], replace(FINDINGS[2], related_ids=("7.jpg",)))},
            (1, 0, 1, None),
        ),
        ("other copies", {"findings": FINDINGS[:6]}, (2, 1, 0, None)),
        ("other copies", {"findings": ()}, (2, 0, 0, None)),
        ("test photos without a car", {"no_cars": ("8.jpg",)}, (1, 0, 1, None)),
        ("test photos without a car", {"no_cars": ()}, (1, 0, 0, None)),
        # One too far down the list is not found.
        (
            "wrong labels",
            {"doubts": ("9.jpg", "12.jpg", "13.jpg", "14.jpg", "5.jpg")},
            (2, 1, 3, 4),
        ),
        ("wrong labels", {"doubts": ()}, (2, 0, 0, 0)),
        ("wrong labels", {"faults": FAULTS[:6]}, (1, 0, 2, 2)),
    ],
)
def test_what_is_not_found_is_counted_so(kind, changed, counts):
    assert count(**changed)[kind] == counts


def read_rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_demo_goes_the_whole_way(tmp_path, tiny_recipe):
    # The drawing is another test's subject: a small lot, drawn in this process.
    tiny_recipe["stages"] = tiny_recipe["stages"][:1]
    out = tmp_path / "demo"
    sizes = {"num_train": 40, "num_test": 20}
    done = lotlens.demonstrate(out, **sizes, recipe=parse_recipe(tiny_recipe), lang="ru")
    assert done.model.card.synthetic
    assert done.evaluation.synthetic
    sample = read_rows(out / "lot" / "sample-submission.csv")
    submission = read_rows(done.submission_path)
    assert [row["Id"] for row in submission] == [row["Id"] for row in sample]
    for page in (done.report_path, done.audit_path, done.answers_path):
        assert 'lang="ru"' in page.read_text("utf-8")
    assert "нарисован" in done.report_path.read_text("utf-8")
    # What is said to be planted and found is what the lot's and the verbs' own files say.
    caught = {one.kind: one for one in done.caught}
    planted = [(row["Fault"], row["Part"], row["Id"]) for row in read_rows(out / "lot/faults.csv")]
    findings = read_rows(done.audit_path.with_name("findings.csv"))
    broken = {(kind, *where) for kind, *where in planted if kind == "unreadable"}
    named = {(row["Check"], row["Part"], row["Id"]) for row in findings}
    assert caught["broken files"].num_planted == len(broken) >= 4
    assert caught["broken files"].num_found == len(broken & named)
    wrong = {id_ for kind, _, id_ in planted if kind == "wrong-label"}
    doubted = [row["Id"] for row in read_rows(done.model.run.doubts_path)][: 2 * len(wrong)]
    assert caught["wrong labels"].num_planted == len(wrong) >= 2
    assert caught["wrong labels"].num_found == len(wrong & set(doubted))
    copies = [caught["copies across training and test"], caught["other copies"]]
    num_copies = sum(kind == "near-duplicate" for kind, _, _ in planted)
    assert sum(one.num_planted for one in copies) == num_copies
    assert {fault.kind for fault in read_faults(done.lot_path)} == {kind for kind, *_ in planted}
    # A second demo replaces the first.
    lotlens.demonstrate(out, **sizes, recipe=parse_recipe(tiny_recipe))
    assert 'lang="en"' in done.answers_path.read_text("utf-8")
