"""Answers in Python, and the table or the submission that they become."""

import csv
import json
import shutil

import pandas as pd
import pytest

import lotlens
from lotlens.deliver.model import ANSWER_COLUMNS
from lotlens.deliver.table import DETAILS, FOR_PEOPLE, TABLE_COLUMNS
from lotlens.errors import InputError
from lotlens.refusal.verdicts import KINDS
from lotlens.verbs.predict import write_answers
from tests.conftest import draw_photo


def read_rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


@pytest.fixture
def photos(tmp_path):
    """A folder of six photos, 00001.jpg and so on."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(6):
        draw_photo(number % 3, 700 + number).save(folder / f"{number + 1:05}.jpg")
    return folder


def write_sample(path, ids, *more):
    header = ["Id", "Category", *(["Usage"] if more else [])]
    rows = [header, *([id_, "0", *more] for id_ in ids)]
    path.write_text("\n".join(",".join(row) for row in rows), "utf-8")
    return path


def fail(*told):
    raise AssertionError(f"a photo was answered: {told}")


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


@pytest.mark.parametrize("form", ["{:05}", "{}", "test/{:05}.jpg", "{:05}.JPG", "{}.0"])
def test_a_sample_may_name_photos_in_other_ways(trained, photos, tmp_path, form):
    ids = [form.format(number) for number in (3, 1, 2, 6, 5, 4)]
    sample = write_sample(tmp_path / "sample.csv", ids, "Public")
    frame = lotlens.predict(trained.run.path, photos, out=tmp_path / "s.csv", sample=sample)
    labels = dict(zip(frame["id"], frame["label"], strict=True))
    header, *rows = read_rows(tmp_path / "s.csv")
    assert header == ["Id", "Category", "Usage"]
    numbers = (3, 1, 2, 6, 5, 4)
    expected = [labels[f"{number:05}.jpg"] for number in numbers]
    assert rows == [[i, label, "Public"] for i, label in zip(ids, expected, strict=True)]


@pytest.mark.parametrize("fill", [False, True])
def test_a_sample_of_other_photos_is_refused_before_any_is_answered(
    trained, photos, tmp_path, fill
):
    sample = write_sample(tmp_path / "sample.csv", [f"x{number}" for number in range(6)])
    options = {"out": tmp_path / "s.csv", "sample": sample, "fill": fill, "watch": fail}
    with pytest.raises(InputError) as caught:
        lotlens.predict(trained.run.path, photos, **options)
    for words in ("x0, x1, x2 and 3 more", "00001.jpg, 00002.jpg, 00003.jpg and 3 more"):
        assert words in str(caught.value)
    assert "fill" not in str(caught.value)


def test_ids_without_a_photo_are_told_before_any_is_answered_and_counted_when_filled(
    trained, photos, tmp_path
):
    sample = write_sample(tmp_path / "sample.csv", ["1", "z1", "2", "z2"])
    options = {"out": tmp_path / "s.csv", "sample": sample}
    with pytest.raises(InputError, match=r"2 ids that no photo fits: z1, z2; .*--fill"):
        lotlens.predict(trained.run.path, photos, **options, watch=fail)
    written = write_answers(trained.run.path, photos, **options, fill=True)
    assert (written.num_rows, written.num_filled, written.num_photos) == (4, 2, 6)
    label = trained.card.commonest_label
    assert written.filler.label == label
    assert [row[1] for row in read_rows(tmp_path / "s.csv")[1:]][1::2] == [label, label]


def test_a_photo_missing_from_the_runs_own_data_is_told_before_any_is_answered(
    trained, spoilt_lot, tmp_path
):
    lot, run_path = tmp_path / "lot", tmp_path / "run"
    shutil.copytree(spoilt_lot, lot)
    with (lot / "sample-submission.csv").open("a") as file:
        file.write("nowhere.jpg,0\n")
    shutil.copytree(trained.run.path, run_path)
    lotlens.load(run_path).run.write_source({"data": str(lot)})
    with pytest.raises(InputError, match=r"no photo fits: nowhere\.jpg"):
        lotlens.predict(run_path, out=tmp_path / "s.csv", watch=fail)
    written = write_answers(run_path, out=tmp_path / "s.csv", fill=True)
    assert (written.num_rows, written.num_filled) == (13, 2)


def test_a_broken_photo_withholds_the_submission_and_not_the_details(trained, photos, tmp_path):
    (photos / "00002.jpg").write_bytes(b"<html>404</html>")
    sample = write_sample(tmp_path / "sample.csv", [str(number + 1) for number in range(6)])
    out, details = tmp_path / "s.csv", tmp_path / "d.csv"
    with pytest.raises(InputError, match=r"1 id that has no answer: 2 \(an HTML page") as caught:
        lotlens.predict(trained.run.path, photos, out=out, sample=sample, details=details)
    assert str(details) in str(caught.value)
    assert not out.exists()
    header, *rows = read_rows(details)
    assert len(rows) == 6
    broken = dict(zip(header, rows[1], strict=True))
    assert broken.pop("status").startswith("an HTML page")
    assert broken.pop("verdict") == "no answer"
    assert broken.pop("reason")
    assert broken.pop("id") == "00002.jpg"
    assert set(broken.values()) == {""}


def test_without_a_sample_there_is_a_table_for_people(trained, photos, tmp_path, monkeypatch):
    (photos / "00002.jpg").write_bytes(b"<html>404</html>")
    monkeypatch.chdir(tmp_path)
    frame = lotlens.predict(trained.run.path, photos, details="d.csv")
    header, *rows = read_rows(tmp_path / "answers.csv")
    assert header == [*TABLE_COLUMNS]
    assert [row[0] for row in rows] == list(frame["id"]) == [f"{n + 1:05}.jpg" for n in range(6)]
    is_named = frame["verdict"].isin(["model", "unsure"])
    assert [row[1] for row in rows] == list(frame["label"].where(is_named, ""))
    assert rows[1][1:4] == ["", "", ""]
    assert rows[1][4] == "no answer"
    names, *details = read_rows(tmp_path / "d.csv")
    for column, name in TABLE_COLUMNS.items():
        for row, detail in zip(rows, details, strict=True):
            cell, whole = row[header.index(column)], detail[names.index(name)]
            is_number = column == "probability" and whole
            if column not in ("class", "name"):
                assert cell == (str(round(float(whole), 4)) if is_number else whole)


def test_answers_can_also_be_looked_through_on_a_page(trained, photos, tmp_path):
    page = tmp_path / "answers.html"
    frame = lotlens.predict(trained.run.path, photos, out=tmp_path / "a.csv", page=page, lang="ru")
    source = page.read_text("utf-8")
    assert '<html lang="ru">' in source
    data = source.split('id="data">')[1].split("</script>")[0]
    rows = json.loads(data)["rows"]
    assert {row[0] for row in rows} == set(frame["id"])
    assert sum(bool(row[9]) for row in rows) == (frame["status"] == "ok").sum()
    assert [row[8] for row in rows] == sorted((row[8] for row in rows), reverse=True)


def test_a_page_has_a_file_of_its_own_and_a_language_that_is_known(trained, photos, tmp_path):
    out = tmp_path / "a.csv"
    with pytest.raises(InputError, match="cannot both be"):
        lotlens.predict(trained.run.path, photos, out=out, page=out)
    other = tmp_path / "b"
    with pytest.raises(InputError, match="cannot both be"):
        lotlens.predict(trained.run.path, photos, out=out, page=other, details=other)
    with pytest.raises(InputError, match="'de'"):
        lotlens.predict(trained.run.path, photos, out=out, page=tmp_path / "p.html", lang="de")
    assert not out.exists()


def test_a_table_for_people_names_no_car_where_the_verdict_names_none():
    row = dict.fromkeys(ANSWER_COLUMNS) | {"id": "1.jpg", "label": "4", "name": "Niva"}
    for kind in KINDS:
        cells = FOR_PEOPLE.list_cells({**row, "verdict": kind})
        assert cells[1:3] == (["4", "Niva"] if kind in ("model", "unsure") else [None, None])
        assert DETAILS.list_cells({**row, "verdict": kind})[2:4] == ["4", "Niva"]


def test_a_submission_can_be_asked_for_without_a_sample(trained, photos, tmp_path):
    out = tmp_path / "s.csv"
    frame = lotlens.predict(trained.run.path, photos, out=out, form="submission")
    assert read_rows(out) == [["Id", "Category"], *frame[["id", "label"]].values.tolist()]


def test_the_runs_own_photos_can_be_asked_for_as_a_table(trained, tmp_path):
    written = write_answers(trained.run.path, out=tmp_path / "t.csv", form="table")
    assert (written.form, written.num_rows, len(written.silent)) == ("table", 12, 1)
    assert read_rows(tmp_path / "t.csv")[0] == [*TABLE_COLUMNS]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"fill": True}, "only a submission is filled"),
        ({"form": "excel"}, "unknown form 'excel'"),
        ({"form": "table", "sample": "sample.csv"}, "a sample is for a submission"),
        ({"details": "a/../answers.csv"}, "cannot both be"),
        ({"sample": "photos"}, "cannot be read"),
        ({"sample": "sample.csv", "out": "a/../sample.csv"}, "would replace the sample"),
    ],
)
def test_what_does_not_go_together_is_refused_before_work(
    trained, photos, tmp_path, monkeypatch, options, words
):
    monkeypatch.chdir(tmp_path)
    write_sample(tmp_path / "sample.csv", [str(number + 1) for number in range(6)])
    before = sorted(tmp_path.iterdir())
    with pytest.raises(InputError, match=words):
        lotlens.predict(trained.run.path, photos, **options, watch=fail)
    assert sorted(tmp_path.iterdir()) == before


def test_how_photos_were_understood_is_told_before_the_first_answer(trained, photos, tmp_path):
    told = []
    lotlens.predict(
        *(trained.run.path, photos),
        out=tmp_path / "t.csv",
        tell=told.append,
        watch=lambda *about: told.append(about),
    )
    assert told[0].source == str(photos)
    assert told[1][0] == "predicting"


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
