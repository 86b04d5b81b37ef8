"""What lies on the disk is opened once by each verb, and handed on."""

import shutil
import sys

import pytest

import lotlens
from lotlens.audit.signs import scan_photos
from lotlens.photos.decisions import Decision, decisions_path, write_decisions
from lotlens.photos.fingerprint import fingerprint
from lotlens.photos.sources import open_lot
from lotlens.recipes.loading import parse_recipe
from lotlens.run import RunFolder
from lotlens.sweep import tracking
from lotlens.verbs.doubts import doubt
from lotlens.verbs.improve import improve
from lotlens.verbs.sweep import run_sweep
from tests.conftest import draw_photo

pytestmark = pytest.mark.usefixtures("plain_charts")


@pytest.fixture
def count(monkeypatch):
    """A function that counts the calls of another one, wherever lotlens has it under its name."""

    def count(function):
        calls = []

        def counted(*args, **options):
            calls.append(args)
            return function(*args, **options)

        name = function.__name__
        found = [
            module
            for key, module in [*sys.modules.items()]
            if key.startswith("lotlens") and vars(module).get(name) is function
        ]
        assert found
        for module in found:
            monkeypatch.setattr(module, name, counted)
        return calls

    return count


@pytest.fixture
def reads(monkeypatch):
    """Name of a run folder's file -> paths from which it was read."""
    read = {"card": [], "source": []}

    def watch(name, real):
        def reading(run):
            read[name].append(run.path)
            return real(run)

        return reading

    for name in read:
        method = f"read_{name}"
        monkeypatch.setattr(RunFolder, method, watch(name, getattr(RunFolder, method)))
    return read


@pytest.fixture
def probe(tiny_backbone):
    """A recipe of a probe alone, which takes a second."""
    return {
        "name": "probe",
        "backbone": tiny_backbone,
        "image": {"height": 48, "width": 64},
        "validation": 0.3,
        "views": [],
        "stages": [{"kind": "probe", "penalties": [0.3], "mirror": False}],
    }


@pytest.fixture
def folds(small_lot, probe, tmp_path):
    return lotlens.train(small_lot, parse_recipe(probe | {"folds": 3}), out=tmp_path / "folds").run


def test_evaluate_and_doubts_read_card_and_source_once(folds, count, reads):
    opened = count(open_lot)
    for verb in (lotlens.evaluate, doubt):
        for calls in (opened, *reads.values()):
            calls.clear()
        verb(folds.path)
        assert reads == {"card": [folds.path], "source": [folds.path]}, verb
        assert len(opened) == 1, verb


def test_a_round_opens_its_lot_and_the_offer(folds, count, tmp_path):
    for label in range(3):
        (tmp_path / "offer" / str(label)).mkdir(parents=True)
        for number in range(200, 204):
            path = tmp_path / "offer" / str(label) / f"{label}-{number}.png"
            draw_photo(label, number).save(path)
    opened, hashed = count(open_lot), count(fingerprint)
    done = improve(folds.path, outside=tmp_path / "offer", hard=True, trust_labels=True)
    assert done.model.run.additions_path.is_file()
    assert len(opened) == 2
    # As the run was trained; the planned split; the one that is trained on, and its check.
    assert len(hashed) <= 4


def test_a_sweep_looks_at_its_photos_once(small_lot, probe, count, tmp_path, monkeypatch):
    monkeypatch.setattr(tracking, "is_tracking_installed", lambda: False)
    opened, looked = count(open_lot), count(scan_photos)
    vary = ["stages.0.penalties=[0.1],[1.0]"]
    done = run_sweep(small_lot, vary, parse_recipe(probe), num_seeds=2, out=tmp_path / "sweep")
    assert len(done.runs) == 4
    assert not done.failed
    assert len(opened) == 1
    assert len(looked) == 1


def test_decisions_taken_during_a_sweep_are_for_the_next_one(
    small_lot, probe, tmp_path, monkeypatch
):
    monkeypatch.setattr(tracking, "is_tracking_installed", lambda: False)
    lot = shutil.copytree(small_lot, tmp_path / "lot")
    photo = open_lot(lot).train.photos[0]

    def decide(what, done, total):
        if what == "runs of the sweep" and done == 1:
            other = "1" if photo.label == "0" else "0"
            decided = [Decision(photo.id, "relabel", other, photo.label)]
            write_decisions(decisions_path(lot), decided)

    recipe = parse_recipe(probe)
    done = run_sweep(lot, [], recipe, num_seeds=2, out=tmp_path / "sweep", watch=decide)
    assert decisions_path(lot).is_file()
    assert not done.failed
    for run in done.runs:
        assert lotlens.evaluate(run.path).accuracy == run.metrics[0]
