"""Several runs as one: joined if that helps; what does not fit together is refused by name."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import lotlens
from lotlens.answering.answers import load_predictions, save_predictions, select_predictions
from lotlens.audit.parts import list_held_out, read_split
from lotlens.cli.app import build_app
from lotlens.errors import BundleError, InputError
from lotlens.judge.blend import blend_logits
from lotlens.photos.sources import open_lot
from lotlens.recipes.loading import parse_recipe
from lotlens.records import OK
from lotlens.run import RunFolder
from lotlens.verbs.ensemble import build_ensemble
from tests.conftest import without_charts, without_lookalikes, write_lot

pytestmark = pytest.mark.usefixtures("plain_training")


@pytest.fixture(scope="module")
def lot(tmp_path_factory):
    """30 training and 4 test photos of each class, one broken photo in each part."""
    return write_lot(tmp_path_factory.mktemp("lots") / "lot", 30, spoil=True)


def make_recipe(backbone, height, width, **changes):
    """A probe at one size: other sizes give other models at once."""
    values = {
        "name": f"probe-{height}",
        "backbone": backbone,
        "image": {"height": height, "width": width},
        "validation": 0.3,
        "views": [],
        "stages": [{"kind": "probe", "penalties": [0.3]}],
    }
    return parse_recipe(values | changes)


def plant_answers(model, seed, knows=1.0):
    """Overwrite a run's answers on validation: it knows every other photo, by the seed which."""
    stored = load_predictions(model.run.validation_path)
    catalog = open_lot(Path(model.run.read_source()["data"])).train
    truth = catalog.select(stored.ids).targets()
    rng = np.random.default_rng(seed)
    place = {id_: number for number, id_ in enumerate(sorted(catalog.ids))}
    is_known = np.array([(place[id_] + seed) % 2 == 0 for id_ in stored.ids])
    logits = 4 * knows * is_known[:, None] * np.eye(3)[truth] + rng.normal(size=(len(truth), 3))
    logits[[status != OK for status in stored.status]] = np.nan
    replace_answers(model.run, replace(stored, logits=logits.astype(np.float32)))


def replace_answers(run, predictions):
    """Others in place of a run's answers, as if it had given them."""
    sha256 = save_predictions(run.validation_path, predictions)
    run.write_card(replace(run.read_card(), answers_sha256=sha256))


@pytest.fixture(scope="module")
def parents(lot, tiny_backbone, tmp_path_factory):
    """Three runs on one split that differ in size and views, the third of which knows nothing,
    and one with folds."""
    folder = tmp_path_factory.mktemp("parents")
    split_path = folder / "split.csv"
    runs = {}
    for name, height, width in (("a", 48, 64), ("b", 32, 48), ("c", 40, 40)):
        recipe = make_recipe(tiny_backbone, height, width)
        with without_charts(), without_lookalikes():
            runs[name] = lotlens.train(lot, recipe, out=folder / name, split_path=split_path)
    runs["b"].run.write_card(replace(runs["b"].card, views=("whole", "mirror", "closer")))
    folds = make_recipe(tiny_backbone, 48, 48, folds=3)
    with without_charts(), without_lookalikes():
        runs["folds"] = lotlens.train(lot, folds, out=folder / "folds")
    for seed, (name, model) in enumerate(runs.items()):
        plant_answers(model, seed, knows=0.0 if name == "c" else 1.0)
    return folder


@pytest.fixture
def copied(parents, tmp_path):
    """The runs' folders, to be spoilt."""
    shutil.copytree(parents, tmp_path / "runs")
    return tmp_path / "runs"


@pytest.fixture(scope="module")
def trial(parents, tmp_path_factory):
    paths = [parents / name for name in "abc"]
    return build_ensemble(paths, tmp_path_factory.mktemp("ensembles") / "joined")


def test_what_helps_is_adopted_and_what_knows_nothing_left_out(trial, parents):
    assert trial.model is not None
    assert trial.blend.gain.is_enough()
    assert trial.blend.shares[2] == 0
    model = lotlens.load(trial.model.run.path)
    assert [member.card.image.height for member in model.members] == [48, 32]
    assert model.card.shares == trial.blend.shares[:2]
    assert model.card.members == 2
    assert model.num_answers == 1 + 3
    assert "a 0." in model.card.chosen
    assert "log loss falls" in model.card.chosen
    held_out = list_held_out(read_split(parents / "split.csv"))
    assert trial.num_photos == len(held_out) == model.card.metrics[0].count
    assert model.card.metrics[0].value == trial.blend.gain.accuracy
    assert json.dumps(trial.to_dict())


def test_it_answers_as_its_members_do_with_their_shares(trial, parents, lot):
    catalog = open_lot(lot).test
    members = [lotlens.load(parents / name).answer(catalog) for name in "ab"]
    found = trial.model.answer(catalog)
    assert found.ids == catalog.ids
    # How familiar a photo looks is said by the member that counts most.
    most = members[int(np.argmax(trial.model.card.shares))]
    np.testing.assert_allclose(found.familiarity, most.familiarity, rtol=1e-4)
    assert {gate.method for gate in trial.model.card.refusal.gates} == {
        "neighbours",
        "max probability",
    }
    with pytest.raises(InputError, match="set this for its runs"):
        lotlens.set_refusal(trial.model.run.path)
    assert found.status == members[0].status
    assert found.status.count(OK) == 11
    expected = blend_logits([member.logits for member in members], trial.model.card.shares)
    np.testing.assert_allclose(found.logits, expected, rtol=1e-3, atol=1e-3, equal_nan=True)
    turned = replace(catalog, photos=catalog.photos[::-1])
    told = []
    again = trial.model.answer(turned, watch=lambda what, *_: told.append(what))
    assert dict.fromkeys(told) == dict.fromkeys(f"run {n} of 2: predicting" for n in (1, 2))
    assert again.ids == turned.ids
    np.testing.assert_allclose(again.logits[::-1], found.logits, rtol=1e-4, atol=1e-4)


def test_other_verbs_take_it_for_a_run(trial, lot, tmp_path):
    own = lotlens.evaluate(trial.model.run.path, report=tmp_path / "own.html")
    assert own.accuracy == trial.model.card.metrics[0]
    assert set(own.predictions.ids) == set(
        read_split(trial.model.run.split_path).parts["validation"]
    )
    assert trial.model.run.report_path.is_file()
    test = lotlens.evaluate(
        trial.model.run.path,
        labels=lot / "answers.csv",
        photos=lot / "test.zip",
        report=tmp_path / "test.html",
    )
    assert (test.accuracy.count, len(test.predictions.ids)) == (11, 12)
    lotlens.predict(trial.model.run.path, out=tmp_path / "submission.csv", fill=True)
    with (tmp_path / "submission.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    with (lot / "sample-submission.csv").open(newline="") as file:
        assert [row[0] for row in rows] == [row[0] for row in csv.reader(file)]
    frame = trial.model.predict(lot / "test.zip")
    assert frame["probability"].between(0, 1).sum() == 11


def test_its_members_need_the_runs_no_more(trial, parents, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(trial.model.run.path, moved)
    names = {path.relative_to(moved).as_posix() for path in moved.rglob("*") if path.is_file()}
    assert names >= {
        "card.json",
        "members/0/card.json",
        "members/0/model.safetensors",
        "members/1/card.json",
        "members/1/model.safetensors",
        "recipe.yaml",
        "report.html",
        "source.json",
        "split.csv",
        "validation.npz",
    }
    assert lotlens.load(moved).card == trial.model.card


def test_what_does_not_help_is_not_adopted_and_nothing_is_written(parents, tmp_path):
    found = build_ensemble([parents / "a", parents / "c"], tmp_path / "joined")
    assert found.model is None
    assert found.blend.best == 0
    assert list(tmp_path.iterdir()) == []
    assert found.to_dict()["adopted"] is False


def test_the_command_says_what_was_adopted_and_what_was_left_out(parents, tmp_path):
    paths = [str(parents / name) for name in "abc"]
    arguments = ["ensemble", *paths, "-v", "--out", str(tmp_path / "joined")]
    done = CliRunner().invoke(build_app(), arguments)
    assert done.exit_code == 0
    words = " ".join(done.output.split())
    for said in ("left out", "each photo is answered 4 times", "lotlens predict", "log loss falls"):
        assert said in words
    done = CliRunner().invoke(build_app(), ["ensemble", paths[0], paths[2]])
    assert done.exit_code == 1
    assert done.output.startswith("Not adopted: no run helps the best one (")
    assert "beyond chance; nothing was written." in done.output


def test_folds_are_refused_since_validation_does_not_know_them(parents, tmp_path):
    with pytest.raises(InputError, match="folds has folds: each of its validation answers"):
        build_ensemble([parents / "folds", parents / "a"], tmp_path / "joined")


def test_a_damaged_bundle_is_refused_before_anything_is_written(copied, tmp_path):
    weights = copied / "b" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    with pytest.raises(BundleError, match="SHA-256"):
        build_ensemble([copied / "a", copied / "b"], tmp_path / "joined")
    assert not (tmp_path / "joined").exists()


def test_one_run_the_same_run_twice_and_ensembles_are_refused(trial, parents, tmp_path):
    with pytest.raises(InputError, match="2 to 50 runs, not 1"):
        build_ensemble([parents / "a"], tmp_path / "joined")
    with pytest.raises(InputError, match=r"a and .*a hold the same model: name it once"):
        build_ensemble([parents / "a", parents / "b", parents / "a"], tmp_path / "joined")
    with pytest.raises(InputError, match="is an ensemble itself: name its runs"):
        build_ensemble([parents / "a", trial.model.run.path], tmp_path / "joined")
    with pytest.raises(InputError, match="is an ensemble of runs: choose the views of each run"):
        lotlens.adopt_views(trial.model.run.path)
    with pytest.raises(InputError, match="which has no network and preprocessing of its own"):
        trial.model.build_predictor()


def test_runs_on_other_splits_are_refused_since_one_has_seen_what_the_other_is_judged_on(
    lot, parents, tiny_backbone, tmp_path
):
    other = lotlens.train(lot, make_recipe(tiny_backbone, 40, 56, seed=5), out=tmp_path / "other")
    plant_answers(other, 9)
    with pytest.raises(InputError, match=r"trained on \d+ of the validation photos of .*--split"):
        build_ensemble([parents / "a", other.run.path], tmp_path / "joined")
    assert not (tmp_path / "joined").exists()


def test_runs_of_other_data_are_refused_by_what_differs(
    parents, small_lot, tiny_backbone, tmp_path
):
    other = lotlens.train(small_lot, make_recipe(tiny_backbone, 32, 32), out=tmp_path / "other")
    with pytest.raises(InputError, match=r"other photos or labels \(fingerprints"):
        build_ensemble([parents / "a", other.run.path], tmp_path / "joined")
    classes = (*other.card.classes[:2], replace(other.card.classes[2], label="7", name="Rover"))
    other.run.write_card(replace(other.card, classes=classes))
    with pytest.raises(InputError, match=r"other classes apart \(2 Clover, 7 Rover in one alone"):
        build_ensemble([parents / "a", other.run.path], tmp_path / "joined")
    other.run.write_card(replace(other.card, classes=other.card.classes[::-1]))
    with pytest.raises(InputError, match="the same ones in another order"):
        build_ensemble([parents / "a", other.run.path], tmp_path / "joined")


def test_data_that_changed_or_are_gone_are_refused(copied, lot, tmp_path):
    moved = tmp_path / "lot"
    shutil.copytree(lot, moved)
    for name in "ab":
        lotlens.load(copied / name).run.write_source({"data": str(moved)})
    rows = (moved / "train.csv").read_text("utf-8").splitlines()
    (moved / "train.csv").write_text("\n".join(rows[:-1]), "utf-8")
    with pytest.raises(BundleError, match="have changed since it was trained"):
        build_ensemble([copied / "a", copied / "b"], tmp_path / "joined")
    shutil.rmtree(moved)
    with pytest.raises(InputError, match="lot"):
        build_ensemble([copied / "a", copied / "b"], tmp_path / "joined")


def test_answers_of_another_run_are_refused(copied, tmp_path):
    stored = load_predictions(copied / "b" / "validation.npz")
    few = select_predictions(stored, stored.ids[:-1])
    shutil.copy(copied / "a" / "validation.npz", copied / "b" / "validation.npz")
    with pytest.raises(BundleError, match="not those that the model card describes"):
        build_ensemble([copied / "a", copied / "b"], tmp_path / "joined")
    replace_answers(RunFolder(copied / "b"), few)
    with pytest.raises(BundleError, match="is not of this run's split"):
        build_ensemble([copied / "a", copied / "b"], tmp_path / "joined")


@pytest.mark.parametrize(
    "shares",
    [
        [0.5],
        [0.5, 0.6],
        [1.5, -0.5],
        [float("nan"), 0.5],
        ["0.5", 0.5],
        [True, 0.0],
        [1, 1],
        [0.01] * 100,
        [[0.5], 0.5],
        0.5,
        "ab",
    ],
)
def test_a_strangers_shares_are_refused(trial, tmp_path, shares):
    moved = tmp_path / "moved"
    shutil.copytree(trial.model.run.path, moved)
    card_path = moved / "card.json"
    values = json.loads(card_path.read_text("utf-8"))
    card_path.write_text(json.dumps(values | {"shares": shares}), "utf-8")
    with pytest.raises(BundleError, match=r"card\.json is damaged"):
        lotlens.load(moved)


def test_members_that_are_not_what_they_were_are_refused(trial, parents, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(trial.model.run.path, moved)
    card_path = moved / "members" / "1" / "card.json"
    card = lotlens.load(moved).members[1].card
    lotlens.load(moved).members[1].run.write_card(replace(card, views=("whole",)))
    with pytest.raises(BundleError, match="make the ensemble anew"):
        lotlens.load(moved)
    card_path.unlink()
    with pytest.raises(BundleError, match=r"cannot read .*card\.json"):
        lotlens.load(moved)


def test_an_ensemble_within_an_ensemble_is_refused(trial, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(trial.model.run.path, moved)
    model = lotlens.load(moved)
    inner = model.members[0]
    inner.run.write_card(replace(inner.card, shares=(0.5, 0.5)))
    model.run.write_card(replace(model.card, weights_sha256=model.run.hash_members(2)))
    with pytest.raises(BundleError, match="is no card of a single run"):
        lotlens.load(moved)
