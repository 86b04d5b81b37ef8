"""The command predict: submission files, words, JSON, exit codes."""

import json
import os

import pytest

from tests.cli.conftest import run


def test_predict_writes_the_samples_rows_and_prints_json(run_path, small_lot, tmp_path):
    out = tmp_path / "submission.csv"
    sample = small_lot / "sample-submission.csv"
    done = run("predict", run_path, small_lot / "test.zip", "--sample", sample, "--out", out)
    assert done.returncode == 0, done.stderr
    rows, expected = out.read_text().splitlines(), sample.read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == [row.split(",")[0] for row in expected]

    done = run("predict", run_path, "--out", out, "--json")
    assert len(json.loads(done.stdout)["photos"]) == 12


def test_a_full_disk_is_one_line(run_path, small_lot):
    if not os.path.exists("/dev/full"):
        pytest.skip("this system has no /dev/full")
    done = run("predict", run_path, small_lot / "test.zip", "--out", "/dev/full")
    assert done.returncode == 2
    said = [line for line in done.stderr.splitlines() if not line.startswith("predicting:")]
    assert len(said) == 1
    assert said[0].startswith("error: cannot write /dev/full")
