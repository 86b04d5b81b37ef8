"""Any command killed at any moment leaves no half-written file under its final name."""

import csv
import json
import time
import zipfile

import numpy as np
import pytest
from safetensors.torch import load_file

from lotlens.recipes.loading import parse_recipe
from lotlens.run import RunFolder
from lotlens.verbs.train import begin_training
from tests.forks import COMMAND, fork


def check_whole(path):
    """Fail unless the file is complete, judged by what it is."""
    if path.suffix == ".json":
        json.loads(path.read_text("utf-8"))
    elif path.suffix == ".csv":
        text = path.read_text("utf-8")
        assert text.endswith("\n")
        rows = list(csv.reader(text.splitlines()))
        assert len({len(row) for row in rows}) == 1
    elif path.suffix == ".html":
        assert path.read_text("utf-8").rstrip().endswith("</html>")
    elif path.suffix == ".svg":
        assert path.read_text("utf-8").rstrip().endswith("</svg>")
    elif path.suffix == ".safetensors":
        assert load_file(path)
    elif path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            assert all(arrays[name].nbytes >= 0 for name in arrays.files)
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
    elif path.suffix == ".jpg":
        assert path.read_bytes().endswith(b"\xff\xd9")
    else:
        assert path.suffix in {".yaml", ".txt"}
        assert path.read_text("utf-8").endswith("\n")


def kill_after(arguments, wait_s, folder):
    """Run a command until `wait_s` after it wrote its first file, kill it, check what is left."""
    process = fork(COMMAND, *arguments, said_path=folder.with_name("said"))
    deadline_s = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline_s:
        if any(folder.rglob("*")):
            time.sleep(wait_s)
            break
        time.sleep(0.01)
    process.kill()
    left = [path for path in folder.rglob("*") if path.is_file()]
    for path in left:
        if not any(part.startswith(".") for part in path.relative_to(folder).parts):
            check_whole(path)
    return left


@pytest.mark.parametrize("wait_s", [0.0, 0.4, 1.1])
def test_train(small_lot, tiny_recipe, tmp_path, wait_s):
    del tiny_recipe["stages"][1]
    recipe_path = tmp_path / "tiny.yaml"
    recipe_path.write_text(json.dumps(tiny_recipe))  # JSON is YAML too
    out = tmp_path / "out"
    out.mkdir()
    kill_after(
        ["train", small_lot, "--recipe", recipe_path, "--out", out / "run"], wait_s, folder=out
    )
    # Another try in the same folder is not refused, unless the killed one had finished; it goes on
    # where there is something to go on with.
    if not (out / "run" / "card.json").exists():
        recipe = parse_recipe(tiny_recipe)
        run = RunFolder(out / "run")
        resume = run.has_checkpoint
        begin_training(small_lot, recipe, (), run, None, resume=resume, watch=None)


@pytest.mark.parametrize("wait_s", [0.0, 0.3])
def test_sample(tmp_path, wait_s):
    out = tmp_path / "out"
    out.mkdir()
    arguments = ["sample", out / "lot", "--train", 60, "--test", 30]
    kill_after(arguments, wait_s, folder=out)
    assert not (out / "lot").exists() or (out / "lot" / "answers.csv").is_file()


def test_predict(tiny_run, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    arguments = ["predict", tiny_run.path, "--out", out / "s.csv", "--details", out / "d.csv"]
    kill_after(arguments, 0.0, folder=out)
