"""Data, recipes and results whose names are no UTF-8: every verb works, and prints them somehow."""

import json
import os
import shutil
import sys

import pytest
import yaml

import lotlens
from lotlens.run import RunFolder
from tests.cli.conftest import run

ODD = "lot\udcff\udc80 [/b] \x1b[2J"

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux alone")


@pytest.fixture
def odd(tmp_path, small_lot, monkeypatch):
    """A lot under such a name, with an outside photo, in the current folder."""
    folder = tmp_path / ODD
    shutil.copytree(small_lot, folder / ODD)
    monkeypatch.chdir(folder)
    return folder


def ask(*arguments):
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    assert "\udcff" not in done.stdout + done.stderr
    assert "\x1b" not in done.stdout + done.stderr
    return done.stdout


def test_a_whole_way(odd, tiny_recipe, plain_training):
    recipe, out = f"{ODD}.yaml", f"{ODD}-run"
    network, _, weights = tiny_recipe["backbone"].partition("@")
    tiny_recipe["backbone"] = f"{network}@{shutil.copy(weights, f'{ODD}.safetensors')}"
    with open(recipe, "w") as file:
        yaml.safe_dump(tiny_recipe, file, allow_unicode=True)
    ask("audit", ODD, "--out", f"{ODD}-audit")
    ask("split", ODD, "--out", f"{ODD}.csv", "--validation", "0.25")
    ask("train", ODD, "--recipe", recipe, "--split", f"{ODD}.csv", "--out", out)
    assert RunFolder(odd / out).read_source()["data"] == str(odd / ODD)
    assert lotlens.load(out).data_path == odd / ODD
    assert "finished already" in ask("train", ODD, "--recipe", recipe, "--out", out, "--resume")
    ask("evaluate", out)
    json.loads(ask("evaluate", out, "--report", f"{ODD}.html", "--json"))
    said = json.loads(ask("predict", out, "--out", f"{ODD}.answers", "--json"))
    assert said["out"] == f"{ODD}.answers"
    ask("predict", out, f"{ODD}/test.zip", "--out", "a.csv", "--format", "table")
    ask("doubts", out)
    ask("compare", out, out)
    ask("views", out, "--try", "mirror")
    ask("refusal", out)
    ask("rounds", out)
    ask("export", out)
    assert os.path.exists(f"{ODD}.html")
