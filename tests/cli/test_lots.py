"""The commands demo, sample, audit and split: words, JSON, exit codes."""

import json
import re

from tests.cli.conftest import run


def read_parts(path):
    """(part, seed) of every photo of a split."""
    return [tuple(row.split(",")[1:3]) for row in path.read_text("utf-8").splitlines()[1:]]


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
