"""The commands evaluate, compare, views and ensemble: words, JSON, exit codes."""

import json
import re
import shutil

import numpy as np
import pytest

import lotlens
from lotlens.judge.blend import try_blend
from lotlens.verbs.ensemble import EnsembleTrial
from tests.cli.conftest import run


def test_evaluate_in_words_and_json(run_path, small_lot, tmp_path):
    done = run("evaluate", run_path, "--json", "--report", tmp_path / "report.html")
    assert done.returncode == 0, done.stderr
    values = json.loads(done.stdout)
    assert values["metrics"]["accuracy"]["count"] == 9
    assert (tmp_path / "report.html").is_file()

    options = ("--labels", small_lot / "answers.csv", "--photos", small_lot / "test.zip")
    done = run("evaluate", run_path, *options, "--lang", "ru")
    assert done.returncode == 0, done.stderr
    assert '<html lang="ru">' in (run_path / "report-answers.html").read_text("utf-8")
    for words in ("точность", "95-процентные", "Волна", "распознано", "report-answers.html"):
        assert words in done.stdout


def test_the_locked_part_is_said_to_be_opened_more_than_once(locked_run, tmp_path):
    own = shutil.copytree(locked_run.path, tmp_path / "run")
    for said in (False, True):
        done = run("evaluate", own, "--locked")
        assert done.returncode == 0, done.stderr
        assert "its own locked part" in done.stdout
        assert ("was opened 2 times" in done.stdout) == said


def test_compare_in_words_and_json(run_path, small_lot):
    done = run("compare", run_path, run_path)
    assert done.returncode == 0, done.stderr
    (verdict,) = done.stdout.splitlines()
    assert re.fullmatch(
        r"Cannot tell which is better: both are right on \d+\.\d % of 9 photos\.", verdict
    )
    done = run("compare", run_path, run_path, "-v")
    for words in ("both held out", "A less B      +0.0 points", "Волна", "cannot tell: both are"):
        assert words in done.stdout
    options = ("--labels", small_lot / "answers.csv", "--photos", small_lot / "test.zip")
    done = run("compare", run_path, run_path, *options, "--json")
    values = json.loads(done.stdout)
    assert (values["num_photos"], values["verdict"], values["p"]) == (12, "cannot tell", 1)
    assert [one["photos"] for one in values["classes"]] == [4, 4, 4]
    assert run("compare", run_path, small_lot).returncode == 2


def test_views_in_words_and_json(run_path, tmp_path):
    own = tmp_path / "run"
    shutil.copytree(run_path, own)
    done = run("views", own, "--try", "mirror, closer")
    assert done.returncode == 0, done.stderr
    assert re.match(r"(Not adopted: no view helps on|Adopted: .* of) 9 valid", done.stdout)
    assert "+ mirror" not in done.stdout
    done = run("views", own, "--try", "mirror, closer", "-v")
    for words in ("+ mirror", "+ closer", "9 validation photos", "each photo is answered"):
        assert words in done.stdout
    done = run("views", own, "--json", "--try", "whole")
    values = json.loads(done.stdout)
    assert (values["views"], values["trials"], values["photos"]) == (["whole"], [], 9)
    done = run("views", own, "--try", "sideways")
    assert done.returncode == 2
    assert "whole, mirror, closer" in done.stderr


@pytest.mark.parametrize("helps", [True, False])
def test_an_ensemble_says_whether_it_is_adopted(helps, run_path, tmp_path, monkeypatch):
    rng = np.random.default_rng(0)
    targets = rng.integers(3, size=400)
    good = 2 * np.eye(3)[targets] + rng.normal(size=(400, 3))
    # The same answers once more help as little as none; others that know as much do.
    other = 2 * np.eye(3)[targets] + rng.normal(size=(400, 3)) if helps else good.copy()
    ids = [f"{number}.jpg" for number in range(400)]
    blend = try_blend([good.astype(np.float32), other.astype(np.float32)], targets, ids)
    assert blend.is_adopted == helps
    paths = (tmp_path / "a", tmp_path / "b")
    model = lotlens.load(run_path) if helps else None
    asked = []

    def build(runs, out, lang):
        asked.append((runs, out))
        return EnsembleTrial(paths, blend, 400, model)

    monkeypatch.setattr("lotlens.verbs.ensemble.build_ensemble", build)
    done = run("ensemble", *paths, "--out", tmp_path / "joined", "--json")
    assert done.returncode == (0 if helps else 1), done.stderr
    assert asked == [([*paths], tmp_path / "joined")]
    values = json.loads(done.stdout)
    assert (values["adopted"], values["photos"]) == (helps, 400)
    done = run("ensemble", *paths)
    assert done.stdout.startswith("Adopted: together" if helps else "Not adopted: no run helps")
    assert "The best run comes first" not in done.stdout
    done = run("ensemble", *paths, "-v")
    assert "400 validation photos. The best run comes first" in done.stdout
    assert ("nothing was written" in done.stdout) == (not helps)
    assert (f"lotlens predict {run_path}" in done.stdout.replace("\n", " ")) == helps


def test_an_ensemble_of_one_run_is_refused(run_path, tmp_path):
    done = run("ensemble", run_path, "--out", tmp_path / "joined")
    assert done.returncode == 2
    assert "2 to 50 runs, not 1" in done.stderr
