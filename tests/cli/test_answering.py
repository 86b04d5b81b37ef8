"""The command predict: tables and submission files, words, JSON, exit codes."""

import json
import os
from types import SimpleNamespace

import pytest

from lotlens.cli.answering import _print_written
from lotlens.report.language import load_language
from tests.cli.conftest import run
from tests.conftest import draw_photo


@pytest.fixture
def photos(tmp_path):
    """Three photos and a file that is none."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        draw_photo(number, 800).save(folder / f"{number + 1}.jpg")
    (folder / "broken.jpg").write_bytes(b"<html>404</html>")
    return folder


def write_sample(path, *ids):
    path.write_text("Id,Category\n" + "".join(f"{id_},0\n" for id_ in ids))
    return path


def test_predict_writes_the_samples_rows_and_prints_json(run_path, small_lot, tmp_path):
    out = tmp_path / "submission.csv"
    sample = small_lot / "sample-submission.csv"
    done = run("predict", run_path, small_lot / "test.zip", "--sample", sample, "--out", out)
    assert done.returncode == 0, done.stderr
    rows, expected = out.read_text().splitlines(), sample.read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == [row.split(",")[0] for row in expected]

    done = run("predict", run_path, "--out", out, "--json")
    told = json.loads(done.stdout)
    assert len(told["photos"]) == told["rows"] == 12
    assert (told["format"], told["filled"], told["filled_with"]) == ("submission", 0, None)
    assert told["reading"]["source"] == str(small_lot)


def test_a_table_is_written_where_no_sample_asks_for_a_submission(run_path, photos, tmp_path):
    out = tmp_path / "answers.csv"
    done = run("predict", run_path, photos, "--out", out)
    assert done.returncode == 0, done.stderr
    form, where, *said = done.stdout.splitlines()
    assert form == f"read as       photos to answer ({photos})"
    assert where == f"test          4 photos in {photos}"
    assert said[0] == f"3 of 4 photos answered, written to {out}"
    assert "  no answer for broken.jpg: an HTML page" in "\n".join(said)
    assert "--details" not in done.stdout
    header, *rows = out.read_text("utf-8").splitlines()
    assert header == "id,class,name,probability,verdict,reason,candidates,status"
    assert [row.partition(",")[0] for row in rows] == ["1.jpg", "2.jpg", "3.jpg", "broken.jpg"]


def test_a_page_to_look_through_the_answers_in(run_path, photos, tmp_path, monkeypatch):
    monkeypatch.setenv("LOTLENS_LANG", "ru")
    page = tmp_path / "answers.html"
    done = run("predict", run_path, photos, "--out", tmp_path / "a.csv", "--page", page)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"страница      {page}"
    assert '<html lang="ru">' in page.read_text("utf-8")


def test_the_last_line_says_how_many_rows_are_no_answers(run_path, photos, tmp_path):
    sample = write_sample(tmp_path / "sample.csv", 1, 2, "broken", "z")
    command = ("predict", run_path, photos, "--sample", sample, "--out", tmp_path / "s.csv")
    done = run(*command, "--fill")
    assert done.returncode == 0, done.stderr
    *_, last, hint = done.stdout.splitlines()
    assert hint.startswith("next ")
    assert last == "2 of 4 rows filled with 0 Волна, where the model has no answer"
    told = json.loads(run(*command, "--fill", "--json").stdout)
    assert (told["rows"], told["filled"], told["filled_with"]) == (4, 2, "0")


def test_one_photo_is_told_of_as_one(run_path, photos, tmp_path):
    done = run("predict", run_path, photos / "1.jpg", "--out", tmp_path / "t.csv")
    assert f"1 photo answered, written to {tmp_path / 't.csv'}" in done.stdout


def test_each_form_has_its_own_name(run_path, photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("predict", run_path, photos).returncode == 0
    (photos / "broken.jpg").unlink()
    assert run("predict", run_path, photos, "--format", "submission").returncode == 0
    assert len((tmp_path / "answers.csv").read_text().splitlines()) == 5
    assert (tmp_path / "submission.csv").read_text().startswith("Id,Category\n1.jpg,")


def test_a_full_disk_is_one_line(run_path, small_lot):
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    done = run("predict", run_path, small_lot / "test.zip", "--out", "/dev/full")
    assert done.returncode == 2
    said = [line for line in done.stderr.splitlines() if not line.startswith("predicting")]
    assert len(said) == 1
    assert said[0].startswith("error: cannot write /dev/full")


@pytest.mark.parametrize("is_json", [False, True])
def test_not_a_single_answer_is_a_failure(run_path, tmp_path, is_json):
    """A script goes on when a command ends with 0."""
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/a.jpg").write_bytes(b"no photo")
    how = ["--out", tmp_path / "a.csv", *(["--json"] if is_json else [])]
    done = run("predict", run_path, tmp_path / "photos", *how)
    assert done.returncode == 1
    assert "a.jpg" in (tmp_path / "a.csv").read_text()
    if not is_json:
        assert "no photo has an answer" in done.stdout
    draw_photo(0, 800).save(tmp_path / "photos/b.jpg")
    assert run("predict", run_path, tmp_path / "photos", *how).returncode == 0


@pytest.mark.parametrize(
    ("num_open", "num_filled", "num_rows", "last"),
    [
        (1, 0, 0, "next          look by hand at the one photo that has no single name"),
        (2, 0, 0, "next          look by hand at the 2 that have no single name"),
        (3, 1, 9, "1 of 9 rows filled with 7 Нива, where the model has no answer"),
        (3, 2, 9, "2 of 9 rows filled with 7 Нива, where the model has no answer"),
    ],
)
def test_one_is_told_as_one(capsys, num_open, num_filled, num_rows, last):
    form = "submission" if num_rows else "table"
    written = SimpleNamespace(
        silent=(),
        num_photos=9,
        path="a.csv",
        verdicts={"model": 9 - num_open, "unsure": num_open},
        form=form,
        num_filled=num_filled,
        num_rows=num_rows,
        filler=SimpleNamespace(shown="7 Нива"),
    )
    _print_written(written, has_details=False)
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith(f"verdicts: named {9 - num_open}, not sure {num_open}")
    assert last in lines
    russian = load_language("ru")
    told = last.removeprefix("next").strip()
    assert russian.reword(told) is not None
