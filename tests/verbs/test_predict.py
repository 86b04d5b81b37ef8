"""Answers in Python, and the submission that they become."""

import csv
import shutil

import pandas as pd
import pytest

import lotlens
from lotlens.errors import InputError


def read_rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_a_submission_has_the_samples_rows_in_its_order(trained, spoilt_lot, tmp_path):
    out = tmp_path / "submission.csv"
    frame = lotlens.predict(trained.run.path, out=out, fill=True, details=tmp_path / "details.csv")
    rows = read_rows(out)
    sample = read_rows(spoilt_lot / "sample-submission.csv")
    assert rows[0] == ["Id", "Category"]
    assert [row[0] for row in rows] == [row[0] for row in sample]
    assert {row[1] for row in rows[1:]} <= {"0", "1", "2"}
    answers = dict(zip(frame["id"], frame["label"], strict=True))
    for id_, label in rows[1:]:
        if id_ != "20000.jpg":
            assert label == answers[id_]
    details = pd.read_csv(tmp_path / "details.csv")
    assert list(details["id"]) == list(frame["id"])
    assert details.loc[details["id"] == "20000.jpg", "status"].item() != "ok"


def test_unanswered_ids_are_refused_by_name_and_nothing_is_written(trained, tmp_path):
    out = tmp_path / "submission.csv"
    with pytest.raises(InputError, match=r"20000\.jpg"):
        lotlens.predict(trained.run.path, out=out)
    assert list(tmp_path.iterdir()) == []


def test_another_order_of_photos_and_sample_changes_no_answer(trained, spoilt_lot, tmp_path):
    sample = read_rows(spoilt_lot / "sample-submission.csv")
    turned = tmp_path / "sample.csv"
    turned.write_text("\n".join(",".join(row) for row in [sample[0], *sample[:0:-1]]))
    one, other = tmp_path / "one.csv", tmp_path / "other.csv"
    lotlens.predict(trained.run.path, out=one, fill=True)
    lotlens.predict(trained.run.path, spoilt_lot / "test.zip", out=other, sample=turned, fill=True)
    assert read_rows(other)[1:] == read_rows(one)[:0:-1]


def test_single_photos_are_answered_with_names(trained, photo_drawer, tmp_path):
    paths = []
    for label in range(3):
        paths.append(tmp_path / f"photo {label}.png")
        photo_drawer(label, 900).save(paths[-1])
    frame = lotlens.load(trained.run.path).predict(paths)
    assert list(frame["id"]) == [path.name for path in paths]
    assert set(frame["name"]) <= {"Волна", "Heron 4", "Clover"}
    # A photo that is refused is given no probability.
    is_refused = frame["verdict"].isin(["unknown", "not a car"])
    assert (frame["probability"].between(0, 1) ^ is_refused).all()
    assert len(lotlens.load(trained.run.path).predict(str(paths[0]))) == 1


def test_a_run_without_test_photos_asks_for_photos(trained, spoilt_lot, tmp_path):
    only_train = tmp_path / "lot"
    only_train.mkdir()
    for name in ("train.csv", "train.zip", "classes.csv"):
        shutil.copy(spoilt_lot / name, only_train / name)
    run_path = tmp_path / "run"
    shutil.copytree(trained.run.path, run_path)
    lotlens.load(run_path).run.write_source({"data": str(only_train)})
    with pytest.raises(InputError, match="no test photos"):
        lotlens.predict(run_path, out=tmp_path / "submission.csv")
