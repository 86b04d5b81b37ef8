"""Each verb that writes, killed at any of its operations on files, and run again: nothing half,
nothing mixed, nothing twice.

LOTLENS_KILLS=N kills each verb N times instead of a few, at places drawn anew by LOTLENS_SEED.
"""

import csv
import json
import os
import random
import re
import shutil
import signal
import time
import urllib.error
import urllib.request
from itertools import pairwise

import numpy as np
import pytest

import lotlens
from lotlens.answering.answers import load_predictions
from lotlens.improve.doubts import write_doubts
from lotlens.improve.history import read_rounds
from lotlens.photos.decisions import decisions_path
from lotlens.photos.sources import open_lot
from lotlens.recipes.loading import parse_recipe
from lotlens.records import Doubt
from lotlens.run import RunFolder
from lotlens.verbs.doubts import doubt
from tests.conftest import make_tiny_recipe, without_charts, write_lot
from tests.forks import fork
from tests.test_kill import check_whole

KILLS = int(os.environ.get("LOTLENS_KILLS", "3"))
SEED = int(os.environ.get("LOTLENS_SEED", "0"))

# What a process does to files below a folder is counted, and at one of these it is killed.
COMMAND = """
import os, signal, sys
below, count_path, kill_at = sys.argv.pop(1), sys.argv.pop(1), int(sys.argv.pop(1))
count = 0

def watch(event, args):
    global count
    if event == "open":
        is_change = bool(args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)) if args[2] else False
    else:
        is_change = event in ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree")
    if not is_change or not args or not isinstance(args[0], (str, bytes, os.PathLike)):
        return
    if not os.path.abspath(os.fsdecode(args[0])).startswith(below) or ".lock" in str(args[0]):
        return
    count += 1
    if count == kill_at:
        os.kill(os.getpid(), signal.SIGKILL)

from tests.conftest import without_charts, without_lookalikes
from lotlens.cli.app import main
from lotlens.verbs import predict as predicting
from lotlens.answering.engines import EnginePredictor

predicting._PIECE = EnginePredictor.batch_size = 4
sys.addaudithook(watch)
try:
    with without_charts(), without_lookalikes():
        main()
finally:
    with open(count_path, "w") as file:
        file.write(str(count))
"""


class Killer:
    """Runs one command again and again, each time killed somewhere else or not at all."""

    def __init__(self, folder):
        self.folder = folder
        self.folder.mkdir(exist_ok=True)
        self._said = folder.with_name("said")
        self._count = folder.with_name("count")

    def start(self, arguments, kill_at=0):
        below = str(self.folder.resolve())
        self._said.unlink(missing_ok=True)
        given = [below, self._count, kill_at, *arguments]
        return fork(COMMAND, *given, said_path=self._said)

    def run(self, arguments, kill_at=0):
        """Its exit code."""
        return self.start(arguments, kill_at).wait(300)

    def kill(self, arguments, kill_at):
        """Run it until it is killed, or to its end, where that takes fewer operations now."""
        code = self.run(arguments, kill_at)
        assert code in (0, -signal.SIGKILL), self._said.read_text("utf-8")
        assert code or int(self._count.read_text()) < kill_at

    def finish(self, arguments):
        """Run it to its end; how many operations on files it took."""
        code = self.run(arguments)
        assert code == 0, self._said.read_text("utf-8")
        return int(self._count.read_text())

    def check_left(self):
        """Whatever has its final name is whole."""
        for path in self.folder.rglob("*"):
            inside = path.relative_to(self.folder).parts
            is_open = {"tensorboard", "checkpoint"} & set(inside)
            if path.is_file() and not is_open and not any(p.startswith(".") for p in inside):
                check_whole(path)

    def check_nothing_left(self):
        hidden = [str(p.relative_to(self.folder)) for p in self.folder.rglob(".*")]
        assert not [name for name in hidden if not name.endswith(".lock")]

    def choose(self, num_operations, name):
        """Where to kill: somewhere in each of as many equal parts of the work."""
        rng = random.Random(f"{name} {SEED}")
        edges = np.linspace(1, num_operations + 1, KILLS + 1).astype(int)
        return [rng.randrange(low, max(low + 1, high)) for low, high in pairwise(edges)]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return write_lot(tmp_path_factory.mktemp("killed") / "lot", 10, 3)


@pytest.fixture(scope="module")
def recipe_path(tiny_backbone, tmp_path_factory):
    values = {**make_tiny_recipe(tiny_backbone), "deterministic": True, "views": []}
    path = tmp_path_factory.mktemp("recipes") / "tiny.yaml"
    path.write_text(json.dumps(values))  # JSON is YAML too
    return path


@pytest.fixture(scope="module")
def finished(small, recipe_path, tmp_path_factory):
    folder = tmp_path_factory.mktemp("finished") / "run"
    with without_charts():
        lotlens.train(small, parse_recipe(json.loads(recipe_path.read_text())), out=folder)
        doubt(folder)
    return folder


def describe_run(path):
    """All that a run says of itself, but for times."""
    model = lotlens.load(path)
    answers = load_predictions(model.run.validation_path, model.card.answers_sha256)
    report = model.run.report_path.read_text("utf-8")
    return (
        model.card.to_dict(),
        answers.logits.tolist(),
        [model.run.path.joinpath(name).read_bytes() for name in ("split.csv", "findings.csv")],
        {**model.run.read_source(), "lotlens_version": ""},
        report.rstrip().endswith("</html>"),
        sorted(file.name for file in model.run.path.iterdir()),
    )


def test_train(small, recipe_path, tmp_path):
    killer = Killer(tmp_path / "out")
    out = killer.folder / "run"
    arguments = ["train", small, "--recipe", recipe_path, "--out", out, "--resume"]
    total = killer.finish(arguments)
    whole = describe_run(out)
    for kill_at in killer.choose(total, "train"):
        shutil.rmtree(out)
        killer.kill(arguments, kill_at)
        killer.check_left()
        if not RunFolder(out).is_finished:
            # Killed once more on its way, and then not.
            killer.run(arguments, max(1, (total - kill_at) // 2))
            killer.check_left()
        killer.finish(arguments)
        assert describe_run(out) == whole, kill_at
        killer.check_nothing_left()


def test_improve(finished, tmp_path):
    killer = Killer(tmp_path / "out")
    parent, out = killer.folder / "run", killer.folder / "candidate"
    arguments = ["improve", parent, "--hard", "--out", out, "--resume"]
    results = []
    places = [0]
    while len(results) < len(places):
        for folder in (parent, out):
            shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(finished, parent)
        kill_at = places[len(results)]
        if kill_at:
            killer.kill(arguments, kill_at)
            killer.check_left()
            if not RunFolder(out).rounds_path.is_file():
                killer.finish(arguments)
        else:
            places += killer.choose(killer.finish(arguments), "improve")
        killer.check_nothing_left()
        rounds = read_rounds(RunFolder(out))
        assert len(rounds) == 1
        assert rounds == read_rounds(RunFolder(parent)), kill_at
        gate = json.loads(RunFolder(out).round_path.read_text("utf-8"))["gate"]
        results.append((describe_run(out), rounds, gate))
        assert results[-1] == results[0], kill_at


def test_export(finished, tmp_path):
    killer = Killer(tmp_path / "out")
    run = killer.folder / "run"
    shutil.copytree(finished, run)
    target = RunFolder(run).exports_path / "onnx-fp32"
    total = killer.finish(["export", run])
    whole = {path.name: path.read_bytes() for path in target.iterdir()}
    for kill_at in killer.choose(total, "export"):
        shutil.rmtree(target)
        killer.kill(["export", run], kill_at)
        if not target.exists():
            killer.finish(["export", run])
        # How far answers differ hangs on how many threads gave them, and on nothing else.
        assert {path.name for path in target.iterdir()} == whole.keys()
        for name in ("model.onnx", "split.csv", "familiarity.npz", "source.json"):
            assert (target / name).read_bytes() == whole[name]
        lotlens.load(target).open()
        killer.check_nothing_left()


def test_predict(finished, small, tmp_path):
    killer = Killer(tmp_path / "out")
    out, details = killer.folder / "answers.csv", killer.folder / "details.csv"
    arguments = ["predict", finished, small / "train.zip", "--out", out, "--details", details]
    total = killer.finish(arguments)
    whole = [path.read_bytes() for path in (out, details)]
    assert len(whole[0].splitlines()) == 31
    for kill_at in killer.choose(total, "predict"):
        for path in (out, details):
            path.unlink()
        killer.kill(arguments, kill_at)
        killer.check_left()
        # Another task under the same name, killed as well, leaves nothing that could be mixed in.
        other = ["predict", finished, small / "test.zip", *arguments[3:]]
        killer.run(other, max(2, kill_at // 2))
        killer.finish(arguments)
        assert [path.read_bytes() for path in (out, details)] == whole, kill_at
        killer.check_nothing_left()


def test_doubts(finished, tmp_path):
    killer = Killer(tmp_path / "out")
    run = killer.folder / "run"
    shutil.copytree(finished, run)
    total = killer.finish(["doubts", run])
    whole = RunFolder(run).doubts_path.read_bytes()
    for kill_at in killer.choose(total, "doubts"):
        killer.kill(["doubts", run], kill_at)
        killer.check_left()
        killer.finish(["doubts", run])
        assert RunFolder(run).doubts_path.read_bytes() == whole
        killer.check_nothing_left()


def post(address, entry):
    """Whether the server said that it is saved."""
    request = urllib.request.Request(
        f"{address}decisions",
        json.dumps(entry).encode(),
        {"Content-Type": "application/json", "Origin": address.rstrip("/")},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status == 200
    except urllib.error.HTTPError as error:
        raise AssertionError(error.read()) from error
    except OSError:  # killed
        return False


def test_review(finished, tmp_path):
    """What a server said is saved is in the file, once, whenever it is killed."""
    killer = Killer(tmp_path / "out")
    run = killer.folder / "run"
    shutil.copytree(finished, run)
    data = killer.folder / "lot"
    shutil.copytree(lotlens.load(finished).data_path, data)
    source = RunFolder(run).read_source()
    RunFolder(run).write_source({**source, "data": str(data)})
    photos = open_lot(data).train.photos[:12]
    doubts = [Doubt(p.id, p.label, "2", 0.9, 0.1, 0.8, {"wrong and sure": 0.8}) for p in photos]
    write_doubts(RunFolder(run).doubts_path, doubts, open_lot(data).train.classes)
    ids = [photo.id for photo in photos]
    arguments = ["review", run, "--port", 0, "--no-browser"]
    path = decisions_path(data)
    confirmed = set()
    rng = random.Random(SEED)
    for kill_at in [*(rng.randrange(1, 4 * len(ids)) for _ in range(KILLS)), 0]:
        process = killer.start(arguments, kill_at)
        address = None
        while address is None and process.poll() is None:
            found = re.search(r"http://127\.0\.0\.1:\d+/", process.said)
            address = found and found.group()
            time.sleep(0.02)
        for number, id_ in enumerate(ids):
            verdict = "keep" if (number + kill_at) % 2 else "drop"
            if address and post(address, {"id": id_, "verdict": verdict}):
                confirmed.add(id_)
        process.kill()
        with path.open(encoding="utf-8", newline="") as file:
            decided = [row["Id"] for row in csv.DictReader(file)]
        assert len(decided) == len(set(decided))
        assert confirmed <= set(decided) <= set(ids)
    assert set(ids) == confirmed
