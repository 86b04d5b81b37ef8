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
MOST_BYTES = 500_000_000


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
    assert json.loads(bare("python", "-c", code.replace("{}", str(names))).stdout) == []


def test_it_takes_less_than_500_megabytes(bare):
    # Without the bytecode that pip makes of what it installs, unless told not to.
    num_bytes = sum(
        path.stat().st_size
        for path in BARE.rglob("*")
        if path.is_file() and not path.is_symlink() and "__pycache__" not in path.parts
    )
    package = sum(path.stat().st_size for path in (ROOT / "lotlens").rglob("*.py"))
    assert num_bytes + package < MOST_BYTES


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
    assert report.stat().st_size > 10_000


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
