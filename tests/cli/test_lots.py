"""The commands demo, sample, audit and split: words, JSON, exit codes."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from lotlens.cli.lots import _print_demonstration
from lotlens.cli.screen import VOICE
from lotlens.records import Metric
from lotlens.verbs.demo import Caught
from tests.cli.conftest import run

DEMONSTRATED = SimpleNamespace(
    caught=(
        Caught("broken files", 5, 4, 0),
        Caught("copies across training and test", 5, 5, 1),
        Caught("other copies", 12, 12, 0),
        Caught("test photos without a car", 2, 1, 11),
        Caught("wrong labels", 14, 13, 15, 28),
    ),
    evaluation=SimpleNamespace(accuracy=Metric("accuracy", 0.9, 0.85, 0.945, 154)),
    audit_path=Path("d/audit/findings.html"),
    report_path=Path("d/run/report-answers.html"),
    answers_path=Path("d/answers.html"),
    submission_path=Path("d/submission.csv"),
)


def read_parts(path):
    """(part, seed) of every photo of a split."""
    return [tuple(row.split(",")[1:3]) for row in path.read_text("utf-8").splitlines()[1:]]


def test_the_demo_ends_in_a_verdict_places_and_commands(capsys):
    _print_demonstration(DEMONSTRATED)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "35 of 38 planted faults were found."
    assert "correctly on 90.0 % of 154 test photos (95 % interval: 85.0 % to 94.5 %)" in lines[1]
    assert "drawn, not real" in lines[2]
    told = {line[2:35].rstrip(): line[35:] for line in lines[3:13] if line}
    assert told["broken files"] == "4 of 5 found, 0 false alarms"
    assert told["copies across training and test"] == "5 of 5 found, 1 false alarm"
    assert told["wrong labels"] == "13 of 14 found among the first 28 doubts"
    assert told["submission"] == "d/submission.csv"
    assert [line.split()[1] for line in lines[-3:]] == ["audit", "train", "predict"]


def test_the_demo_speaks_russian(capsys, monkeypatch):
    monkeypatch.setattr(VOICE, "lang", "ru")
    _print_demonstration(DEMONSTRATED)
    said = capsys.readouterr().out
    assert said.startswith("Найдено подложенных ошибок: 35 из 38.\n")
    assert "от 85,0" in said
    named = r"d/\S+|lotlens .*"
    assert not re.search("[A-Za-z]", re.sub(named, "", said)), said


def test_audit_in_words_and_json(spoilt_lot, tmp_path):
    done = run("audit", spoilt_lot, "--out", tmp_path / "audit")
    assert done.returncode == 0
    assert "looked at 36 training and 12 test photos" in done.stdout
    assert "unreadable" in done.stdout
    assert (tmp_path / "audit" / "findings.csv").is_file()
    done = run("audit", spoilt_lot, "--out", tmp_path / "audit", "--json")
    values = json.loads(done.stdout)
    assert values["counts"]["unreadable"] == 2
    assert values["dropped"] == ["1003.jpg"]
    assert {finding["photo_id"] for finding in values["findings"]} >= {"1003.jpg", "20000.jpg"}


@pytest.mark.parametrize(
    ("lang", "words", "meaning"),
    [
        (
            "en",
            "1 error; training leaves out 1 photo and keeps 0 copies together",
            "one photo or lookalikes, labels differ",
        ),
        (
            "ru",
            "Одна ошибка. В обучение не идёт одно фото; копий, которые держим вместе: 0",
            "одно фото или похожие снимки, а модели указаны разные",
        ),
    ],
)
def test_a_photo_named_twice_is_counted_among_those_left_out(tmp_path, lang, words, meaning):
    rows = "filename,label\n0.png,niva\n0.png,oka\n1.png,niva\n2.png,oka\n"
    (tmp_path / "cars.csv").write_text(rows)
    (tmp_path / "cars").mkdir()
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 255, (64, 96, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "cars" / f"{number}.png")
    done = run("audit", tmp_path / "cars.csv", "--out", tmp_path / "audit", "--lang", lang)
    assert words in done.stdout
    assert meaning in " ".join(done.stdout.split())
    page = (tmp_path / "audit" / "findings.html").read_text("utf-8")
    told = "left out of training" if lang == "en" else "не используется"
    assert f"<dt>{told}</dt><dd>1</dd>" in page


def test_the_language_of_pages_may_be_set_once_for_all(spoilt_lot, tmp_path, monkeypatch):
    for name, options, code in (("a", (), "ru"), ("b", ("--lang", "en"), "en")):
        monkeypatch.setenv("LOTLENS_LANG", "ru")
        done = run("audit", spoilt_lot, "--out", tmp_path / name, *options)
        assert done.returncode == 0, done.stderr
        page = (tmp_path / name / "findings.html").read_text("utf-8")
        assert f'<html lang="{code}">' in page
    monkeypatch.setenv("LOTLENS_LANG", "de")
    done = run("audit", spoilt_lot, "--out", tmp_path / "c")
    assert done.returncode == 2
    assert "'de': use one of en, ru" in done.stderr


def test_a_strict_audit_fails_on_errors_alone(small_lot, spoilt_lot, tmp_path):
    for lot, code in ((small_lot, 0), (spoilt_lot, 1)):
        assert run("audit", lot, "--out", tmp_path, "--strict").returncode == code
    assert run("audit", tmp_path / "nowhere", "--out", tmp_path).returncode == 2


def test_split_in_words_and_json(small_lot, tmp_path):
    path = tmp_path / "split.csv"
    done = run("split", small_lot, "--out", path, "--lock", "0.2", "--seed", "5")
    assert done.returncode == 0, done.stderr
    assert re.search(r"locked +\d+ photos", done.stdout)
    assert f"written to   {path}" in done.stdout.replace("\n", " ")
    assert {part for part, _ in read_parts(path)} == {"train", "validation", "locked"}
    assert {seed for _, seed in read_parts(path)} == {"5"}
    done = run("split", small_lot, "--out", path, "--folds", "3", "--json")
    assert list(json.loads(done.stdout)["photos"]) == ["fold-1", "fold-2", "fold-3"]


def test_sample_draws_a_market_with_heads_in_the_language_that_is_spoken(tmp_path):
    out = tmp_path / "cars"
    done = run(*("sample", out, "--train", 40, "--test", 20, "--listings", "--lang", "ru"))
    assert done.returncode == 0, done.stderr
    assert f"Объявления с ценами лежат в {out / 'market'}" in done.stdout
    head = (out / "market" / "listings.csv").read_text("utf-8").splitlines()[0]
    assert head.startswith("Номер,Заголовок,Модель,Цена")
