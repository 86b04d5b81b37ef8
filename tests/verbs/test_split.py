"""Splits in Python: what training does with findings, and folds."""

import csv

import lotlens


def read_rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_what_training_does_with_findings_can_be_set(copied_lot, tmp_path):
    overrides = ["audit.near_duplicate=drop", "audit.label_conflict=group"]
    parts = lotlens.split(copied_lot, tmp_path / "split.csv", overrides=overrides).parts
    ids = {id_ for part in parts.values() for id_ in part}
    assert ids == {f"{label}-{number}.jpg" for label in range(3) for number in range(12)} - {
        f"{label}-0.jpg" for label in range(3)
    } | {f"{label}-0-poor.jpg" for label in range(3)} | {"stray.jpg"}
    side = {id_: part for part, members in parts.items() for id_ in members}
    assert side["0-1.jpg"] == side["stray.jpg"]


def test_folds_are_written(copied_lot, tmp_path):
    drawn = lotlens.split(copied_lot, tmp_path / "folds.csv", num_folds=3, lock=0.2)
    assert list(drawn.parts) == ["fold-1", "fold-2", "fold-3", "locked"]
    rows = read_rows(tmp_path / "folds.csv")[1:]
    assert {row[1] for row in rows} == set(drawn.parts)
