"""A plain `pip install lotlens`, without torch, answers, judges and submits with an export.

`make` puts such an installation into .venv-bare. Elsewhere these tests are skipped; with CI=true
they fail.
"""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

import lotlens
from lotlens.verbs.export import export

ROOT = Path(__file__).parent.parent
BARE = ROOT / ".venv-bare"
MOST_BLOCKS = 450 * 1024 * 1024 // 512
"""Of 512 bytes, as du counts them: 450 MB."""


@pytest.fixture(scope="module")
def bare():
    """Runs a program of the bare installation."""
    if not (BARE / ".done").is_file():
        if os.environ.get("CI") == "true":
            pytest.fail("there is no .venv-bare: make test installs it")
        pytest.skip("there is no .venv-bare: make test installs it")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "COV_"))}

    def run(*arguments, status=0):
        program, *rest = map(str, arguments)
        done = subprocess.run(
            [BARE / "bin" / program, *rest],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, done.stderr
        return done

    return run


@pytest.fixture(scope="module")
def bundle(tiny_run, tmp_path_factory):
    return export(tiny_run.path, out=tmp_path_factory.mktemp("bare") / "bundle").path


def test_there_is_no_torch(bare):
    code = "import importlib.util as u, json; print(json.dumps([n for n in {} if u.find_spec(n)]))"
    names = ["torch", "torchvision", "timm", "lightning", "onnx", "safetensors"]
    names += ["matplotlib", "pandas", "sklearn"]
    assert json.loads(bare("python", "-c", code.replace("{}", str(names))).stdout) == []


def test_it_takes_less_than_450_megabytes_by_du_bytecode_included(bare):
    site = next(BARE.glob("lib/python3*/site-packages"))
    # A test that finds none would say nothing: pip makes bytecode of what it installs.
    assert any(site.glob("numpy/__pycache__/*.pyc"))
    blocks = sum(path.lstat().st_blocks for path in BARE.rglob("*"))
    package = sum(path.stat().st_size for path in (ROOT / "lotlens").rglob("*")) // 512
    assert blocks + package < MOST_BLOCKS


def test_it_predicts_as_the_whole_installation_does(bare, bundle, small_lot, tmp_path):
    bare("lotlens", "predict", bundle, small_lot / "test.zip", "--out", tmp_path / "one.csv")
    lotlens.predict(bundle, small_lot / "test.zip", out=tmp_path / "other.csv")
    lines = (tmp_path / "one.csv").read_text("utf-8").splitlines()
    assert len(lines) > 2
    assert lines == (tmp_path / "other.csv").read_text("utf-8").splitlines()


def test_it_judges_and_writes_a_report(bare, bundle, small_lot, tmp_path):
    report = tmp_path / "report.html"
    done = bare("lotlens", "evaluate", bundle, small_lot, "--report", report, "--json")
    judged = lotlens.evaluate(bundle, small_lot, report=tmp_path / "other.html")
    found = json.loads(done.stdout)["metrics"]["accuracy"]
    assert found["value"] == judged.accuracy.value
    page = report.read_text("utf-8")
    assert len(page) > 10_000
    # What only drawing needs is not installed, and the page says how to get it.
    assert "This plot needs matplotlib:" in page
    assert "[notebook]" in page
    assert "This plot needs" not in (tmp_path / "other.html").read_text("utf-8")


def test_it_audits_and_writes_pages(bare, bundle, small_lot, tmp_path):
    bare("lotlens", "audit", small_lot, "--out", tmp_path / "audit", "--lang", "ru")
    assert "Проверка данных" in (tmp_path / "audit" / "findings.html").read_text("utf-8")
    page = ("--page", tmp_path / "answers.html")
    bare("lotlens", "predict", bundle, small_lot / "test.zip", "--out", tmp_path / "a.csv", *page)
    assert (tmp_path / "answers.html").stat().st_size > 10_000
    bare("lotlens", "split", small_lot, "--out", tmp_path / "split.csv")


def test_frames_and_drawn_lots_say_what_to_install_before_any_work(
    bare, bundle, small_lot, tmp_path
):
    done = bare("lotlens", "sample", tmp_path / "lot", status=2)
    assert re.search(r"run  pip install .*\[notebook\]'", done.stderr), done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []
    code = f"""
import lotlens
model = lotlens.load({str(bundle)!r})
for ask in (model.predict, lambda photos: lotlens.predict(model.run.path, photos, out="x.csv")):
    try:
        ask({str(small_lot / "test.zip")!r})
    except lotlens.LotlensError as error:
        print(type(error).__name__, "[notebook]" in str(error))
"""
    assert bare("python", "-c", code).stdout.split() == ["MissingExtra", "True"] * 2


def test_it_serves_features_without_torch(bare, bundle, small_lot):
    code = f"""
import sys, lotlens
from pathlib import Path
from lotlens.answering.predict import predict
model = lotlens.load({str(bundle)!r})
catalog = lotlens.open_photos([Path({str(small_lot / "test.zip")!r})])
found = predict(model.build_predictor(len(catalog)), catalog, keep_features=True)
print(found.features.shape[1] > 10, found.answered.all(), "torch" in sys.modules)
"""
    assert bare("python", "-c", code).stdout.split() == ["True", "True", "False"]


@pytest.mark.parametrize("command", [["train", "{lot}"], ["export", "{run}"]])
def test_what_needs_torch_says_what_to_install(bare, tiny_run, small_lot, tmp_path, command):
    filled = [word.format(lot=small_lot, run=tiny_run.path) for word in command]
    done = bare("lotlens", *filled, "--out", tmp_path / "out", status=2)
    assert re.search(r"run  pip install .*\[train\]'", done.stderr), done.stderr
    assert not (tmp_path / "out").exists()


def test_a_run_with_torch_weights_says_so_too(bare, tiny_run, small_lot, tmp_path):
    asked = ("predict", tiny_run.path, small_lot / "test.zip", "--out", tmp_path / "out.csv")
    done = bare("lotlens", *asked, status=2)
    assert re.search(r"run  pip install .*\[train\]'", done.stderr), done.stderr
