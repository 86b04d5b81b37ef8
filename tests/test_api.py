"""The whole way in Python: train, judge, predict, on a lot drawn in the test."""

import csv
import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy.special import log_softmax

import lotlens
from lotlens import api
from lotlens.audit.split import read_split
from lotlens.errors import BundleError, InputError, MissingExtra, RecipeError
from lotlens.judge.metrics import align_targets, find_worst_errors
from lotlens.judge.predict import load_predictions, predict_views
from lotlens.judge.predict import predict as predict_catalog
from lotlens.judge.views import VIEWS
from lotlens.photos.prepare import normalise
from lotlens.photos.reading import read_ahead
from lotlens.photos.sources import open_lot
from lotlens.recipe import parse_recipe
from lotlens.records import Catalog, Locator
from lotlens.report.html import Subject
from lotlens.vision.bundle import load_bundle
from lotlens.vision.explain import explain
from lotlens.vision.predictor import ClassifierPredictor
from tests.conftest import draw_photo, encode


def read_rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


@pytest.fixture(scope="module")
def trained(spoilt_lot, tiny_backbone, tmp_path_factory):
    """A run of both stages on the lot with one broken photo in each part."""
    recipe = {
        "name": "tiny",
        "precision": "32",
        "backbone": tiny_backbone,
        "image": {"height": 48, "width": 64},
        "validation": 0.25,
        "stages": [
            {"kind": "probe", "penalties": [0.3, 1.0]},
            {
                "kind": "finetune",
                "batch_size": 8,
                "sizes": [{"height": 48, "width": 64, "epochs": 1}],
            },
        ],
    }
    return api.train(spoilt_lot, parse_recipe(recipe), out=tmp_path_factory.mktemp("runs") / "tiny")


def test_a_run_holds_all_that_the_docs_promise(trained):
    names = {path.name for path in trained.run.path.iterdir()}
    assert names == {
        "card.json",
        "familiarity.npz",
        "findings.csv",
        "history.csv",
        "model.safetensors",
        "recipe.yaml",
        "report.html",
        "source.json",
        "split.csv",
        "tensorboard",
        "timing.json",
        "validation.npz",
    }
    spent = trained.run.read_timing()
    assert 0 < spent["wall_s"] < 3600
    assert spent["cpu_s"] > 0
    card = trained.card
    assert [car.name for car in card.classes] == ["Волна", "Heron 4", "Clover"]
    assert card.metrics[0].name == "accuracy"
    assert card.metrics[0].low < card.metrics[0].value <= card.metrics[0].high
    assert "probe" in card.chosen
    assert not card.synthetic
    # A word on every photo that was left out, and none about others.
    findings = read_rows(trained.run.findings_path)
    assert findings[0][:5] == ["Id", "Part", "Check", "Severity", "Training"]
    assert [row[:3] for row in findings[1:] if row[4] == "drop"] == [
        ["1003.jpg", "train", "unreadable"]
    ]
    assert "1003.jpg" not in {row[0] for row in read_rows(trained.run.split_path)}


def test_the_recorded_metrics_are_those_of_the_saved_model(trained):
    evaluation = api.evaluate(trained.run.path, report=trained.run.path.parent / "again.html")
    assert evaluation.accuracy == trained.card.metrics[0]
    saved = load_predictions(trained.run.validation_path)
    assert evaluation.predictions.ids == saved.ids
    np.testing.assert_allclose(
        evaluation.predictions.logits, saved.logits, rtol=1e-3, atol=1e-3, equal_nan=True
    )


def test_the_recipe_in_the_run_trains_the_same_model_again(trained, spoilt_lot, tmp_path):
    values = yaml.safe_load(trained.run.recipe_path.read_text("utf-8"))
    again = api.train(spoilt_lot, parse_recipe(values), out=tmp_path / "again")
    assert again.card.weights_sha256 == trained.card.weights_sha256
    assert again.card.metrics == trained.card.metrics


@pytest.fixture(scope="module")
def folded(spoilt_lot, tiny_backbone, tmp_path_factory):
    """Three folds of a probe and a short fine-tuning."""
    recipe = {
        "name": "folded",
        "precision": "32",
        "backbone": tiny_backbone,
        "image": {"height": 48, "width": 64},
        "folds": 3,
        "stages": [
            {"kind": "probe", "penalties": [0.3]},
            {
                "kind": "finetune",
                "batch_size": 8,
                "lr": 1e-4,
                "sizes": [{"height": 48, "width": 64, "epochs": 1}],
                "keep_best": False,
            },
        ],
    }
    return api.train(spoilt_lot, parse_recipe(recipe), out=tmp_path_factory.mktemp("runs") / "f")


def test_out_of_fold_answers_are_those_of_the_member_that_has_not_seen_the_photo(
    folded, spoilt_lot
):
    network, card = load_bundle(folded.run)
    assert card.members == 3
    split = read_split(folded.run.split_path)
    stored = load_predictions(folded.run.validation_path)
    ids = [id_ for number in (1, 2, 3) for id_ in split.parts[f"fold-{number}"]]
    assert list(stored.ids) == ids
    assert len(set(ids)) == 35  # all but the broken one
    catalog = open_lot(spoilt_lot).train
    for number, member in enumerate(network.members, start=1):
        held_out = split.parts[f"fold-{number}"]
        found = predict_catalog(ClassifierPredictor(member, card), catalog.select(held_out))
        rows = [stored.ids.index(id_) for id_ in held_out]
        np.testing.assert_allclose(stored.logits[rows], found.logits, rtol=1e-4, atol=1e-4)
    assert card.metrics[0].count == 35
    assert all(f"fold {number}: fine-tuned" in card.chosen for number in (1, 2, 3))
    with folded.run.history_path.open(encoding="utf-8", newline="") as file:
        assert [row["fold"] for row in csv.DictReader(file)] == ["1", "2", "3"]


def test_a_folded_run_is_judged_out_of_fold_and_answers_as_an_ensemble(
    folded, spoilt_lot, tmp_path
):
    own = api.evaluate(folded.run.path, report=tmp_path / "own.html")
    assert own.accuracy == folded.card.metrics[0]
    assert "had not seen it" in own.about
    test = api.evaluate(
        folded.run.path,
        labels=spoilt_lot / "answers.csv",
        photos=spoilt_lot / "test.zip",
        report=tmp_path / "test.html",
    )
    assert test.accuracy.count == 11
    network, card = load_bundle(folded.run)
    catalog = open_lot(spoilt_lot).test
    members = [
        predict_catalog(ClassifierPredictor(member, card), catalog, views=["whole"]).logits
        for member in network.members
    ]
    mean = np.mean([log_softmax(logits, axis=1) for logits in members], axis=0)
    whole = predict_catalog(ClassifierPredictor(network, card), catalog, views=["whole"])
    np.testing.assert_allclose(whole.logits, mean, rtol=1e-4, atol=1e-4)


@pytest.fixture
def planted(monkeypatch, trained, folded):
    """Answers in views by plan: "mirror" knows the truth, "darker" nothing, "closer" the same.

    It asks for the runs so that they are trained before, with answers of their own.
    """

    def plant(predictor, catalog, **options):
        found = predict_views(predictor, catalog, **options)
        truth = np.eye(3)[catalog.targets()]
        rng = np.random.default_rng(0)
        whole = (0.1 * truth + 0.3 * rng.normal(size=truth.shape)).astype(np.float32)
        by_plan = {
            "mirror": (4 * truth + 0.3 * rng.normal(size=truth.shape)).astype(np.float32),
            "darker": rng.normal(size=truth.shape).astype(np.float32),
        }
        return {view: replace(one, logits=by_plan.get(view, whole)) for view, one in found.items()}

    monkeypatch.setattr(api, "predict_views", plant)


@pytest.mark.parametrize("kind", ["trained", "folded"])
def test_a_finished_run_takes_a_useful_view_and_leaves_useless_ones(
    kind, planted, request, tmp_path
):
    run_path = tmp_path / "run"
    shutil.copytree(request.getfixturevalue(kind).run.path, run_path)
    choice = api.adopt_views(run_path, ["darker", "mirror", "closer"])
    card = lotlens.load(run_path).card
    assert choice.model.card == card
    assert card.views == ("whole", "mirror")
    assert [trial.is_adopted for trial in choice.trials] == [True, False, False]
    assert choice.num_photos == card.metrics[0].count
    assert choice.model.num_answers == 2 * card.members
    assert json.dumps(choice.to_dict())
    # What the card says is what the stored answers give, and what the report shows.
    report_path = tmp_path / "again.html"
    if kind == "folded":
        assert api.evaluate(run_path, report=report_path).metrics == card.metrics
    assert (run_path / "report.html").read_text("utf-8").count("whole photo, mirrored photo")
    assert api.adopt_views(run_path, ["whole"]).model.card.views == ("whole",)


@pytest.mark.parametrize("kind", ["trained", "folded"])
def test_views_of_a_finished_run_are_those_that_training_would_choose(
    kind, request, spoilt_lot, tmp_path
):
    model = request.getfixturevalue(kind)
    run_path = tmp_path / "run"
    shutil.copytree(model.run.path, run_path)
    choice = api.adopt_views(run_path, ["mirror"])
    assert choice.before == model.card.views
    assert choice.model.card.views == model.card.views
    assert choice.model.card.weights_sha256 == model.card.weights_sha256
    assert choice.model.card.temperature == pytest.approx(model.card.temperature, rel=1e-2)
    before, after = (load_predictions(m.run.validation_path) for m in (model, choice.model))
    assert (after.ids, after.status) == (before.ids, before.status)
    np.testing.assert_allclose(after.logits, before.logits, rtol=1e-3, atol=1e-3)
    # All views: one table row each, and the figures of `evaluate` are those of the card.
    choice = api.adopt_views(run_path)
    assert sorted(trial.view for trial in choice.trials) == sorted(set(VIEWS) - {"whole"})
    evaluation = api.evaluate(run_path, report=tmp_path / "report.html")
    assert evaluation.accuracy == choice.model.card.metrics[0]


def test_views_are_refused_where_the_data_changed_or_the_name_is_unknown(
    trained, spoilt_lot, tmp_path
):
    run_path = tmp_path / "run"
    shutil.copytree(trained.run.path, run_path)
    card = trained.run.card_path.read_bytes()
    with pytest.raises(InputError, match="one or more of whole, mirror, closer"):
        api.adopt_views(run_path, ["sideways"])
    lot = tmp_path / "lot"
    shutil.copytree(spoilt_lot, lot)
    lotlens.load(run_path).run.write_source({"data": str(lot)})
    rows = (lot / "train.csv").read_text("utf-8").splitlines()
    (lot / "train.csv").write_text("\n".join(rows[:-1]), "utf-8")
    with pytest.raises(BundleError, match="have changed since it was trained"):
        api.adopt_views(run_path)
    shutil.rmtree(lot)
    with pytest.raises(InputError, match="lot"):
        api.adopt_views(run_path)
    assert (run_path / "card.json").read_bytes() == card
    shutil.copytree(spoilt_lot, lot)
    shutil.copy(run_path / "split.csv", tmp_path / "hold-out.csv")
    api.split(lot, run_path / "split.csv", num_folds=2)
    with pytest.raises(BundleError, match="has 2 folds and the model 1 members"):
        api.adopt_views(run_path)


@pytest.mark.parametrize("views", [["sideways"], [3], [{}], "mirror", []])
def test_a_strangers_views_are_a_damaged_card(trained, spoilt_lot, tmp_path, views):
    run_path = tmp_path / "run"
    shutil.copytree(trained.run.path, run_path)
    values = json.loads((run_path / "card.json").read_text("utf-8"))
    (run_path / "card.json").write_text(json.dumps(values | {"views": views}), "utf-8")
    with pytest.raises(BundleError, match="the model's card is damaged"):
        lotlens.load(run_path).predict(spoilt_lot / "test.zip")


def test_heat_maps_are_those_of_the_member_that_answered(folded, spoilt_lot):
    split = read_split(folded.run.split_path)
    stored = load_predictions(folded.run.validation_path)
    catalog = open_lot(spoilt_lot).train
    errors = find_worst_errors(stored, align_targets(stored, catalog), limit=8)
    assert errors
    maps = api._explain(folded, catalog, errors, Subject("folds", "f", num_models=3))
    assert set(maps) == {error.photo_id for error in errors}
    network, card = load_bundle(folded.run)
    error = errors[0]
    fold = next(n for n in (1, 2, 3) if error.photo_id in split.parts[f"fold-{n}"])
    batch = normalise(
        np.stack([next(read_ahead(catalog.select([error.photo_id]).photos, card.image)).pixels]),
        card.image,
    )
    for car, found in (
        (error.predicted, maps[error.photo_id].said),
        (error.true, maps[error.photo_id].truth),
    ):
        expected = explain(network.members[fold - 1], batch, np.array([card.classes.index(car)]))
        np.testing.assert_allclose(found, expected[0], atol=1e-4)
    # Of photos from outside all members are asked.
    outside = api._explain(folded, catalog, errors, Subject("other", "f", "x"))
    assert not np.allclose(outside[error.photo_id].said, maps[error.photo_id].said)


def test_without_torch_or_photos_the_report_has_no_heat_maps(
    folded, spoilt_lot, tmp_path, monkeypatch
):
    stored = load_predictions(folded.run.validation_path)
    catalog = open_lot(spoilt_lot).train
    errors = find_worst_errors(stored, align_targets(stored, catalog))
    gone = Catalog(
        tuple(replace(photo, locator=Locator(tmp_path / "gone.jpg")) for photo in catalog.photos),
        catalog.classes,
    )
    assert api._explain(folded, gone, errors, Subject("other", "f", "x")) == {}

    def fail(module):
        raise MissingExtra("train", "torch")

    monkeypatch.setattr(api, "import_vision", fail)
    api.evaluate(folded.run.path, report=tmp_path / "own.html", lang="ru")
    page = (tmp_path / "own.html").read_text("utf-8")
    assert '<html lang="ru">' in page
    assert 'class="error"' in page
    assert "Grad-CAM" not in page


def test_a_run_remembers_how_many_photos_of_each_class_it_was_trained_on(trained, folded):
    kept = read_split(trained.run.split_path).parts["train"]
    counts = trained.run.read_source()["photos"]
    assert sum(counts.values()) == len(kept)
    assert counts == {str(k): sum(id_[0] == str(k + 1) for id_ in kept) for k in range(3)}
    # With folds every photo is learnt by some model.
    assert sum(folded.run.read_source()["photos"].values()) == 35


def test_an_unknown_language_is_refused_before_anything_is_done(trained, spoilt_lot, tmp_path):
    with pytest.raises(InputError, match="'de': use one of en, ru"):
        api.train(spoilt_lot, "quick", out=tmp_path / "run", lang="de")
    assert not (tmp_path / "run").exists()
    with pytest.raises(InputError, match="'de'"):
        api.evaluate(trained.run.path, lang="de")


def test_a_split_without_the_folds_of_the_recipe_is_refused(
    folded, trained, spoilt_lot, tiny_recipe, tmp_path
):
    folds, hold_out = folded.run.split_path, trained.run.split_path
    with pytest.raises(InputError, match=r"needs parts train and validation: draw it with"):
        api.train(spoilt_lot, parse_recipe(tiny_recipe), split_path=folds, out=tmp_path / "run")
    four = parse_recipe({**tiny_recipe, "folds": 4})
    for path in (folds, hold_out):
        with pytest.raises(InputError, match=r"needs 4 folds: draw it with .* --folds 4 "):
            api.train(spoilt_lot, four, split_path=path, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_plan_of_folds_counts_one_and_names_their_number(spoilt_lot, tiny_recipe):
    planned = api.plan(spoilt_lot, parse_recipe({**tiny_recipe, "folds": 5}))
    assert planned.num_models == 5
    assert planned.num_train + planned.num_validation == 35  # all but the broken one


def test_judging_on_the_training_data_judges_the_validation_part(trained, spoilt_lot):
    validation = {row[0] for row in read_rows(trained.run.split_path)[1:] if row[1] == "validation"}
    evaluation = api.evaluate(trained.run.path, spoilt_lot)
    assert set(evaluation.predictions.ids) == validation


@pytest.fixture
def copied_lot(tmp_path):
    """A folder per class: photo 0 of each class is there three times, rescaled and recompressed;
    a copy of class 0's is in class 1 too."""
    lot = tmp_path / "copied"
    for label in range(3):
        (lot / str(label)).mkdir(parents=True)
        for number in range(12):
            # Enlarged, for details of several pixels as in a photo: single ones survive no copying.
            photo = draw_photo(label, number).resize((320, 240))
            (lot / str(label) / f"{label}-{number}.jpg").write_bytes(encode(photo))
        original = draw_photo(label, 0).resize((320, 240))
        small = original.resize((240, 180))
        (lot / str(label) / f"{label}-0-small.jpg").write_bytes(encode(small))
        (lot / str(label) / f"{label}-0-poor.jpg").write_bytes(encode(original, quality=40))
    shutil.copy(lot / "0" / "0-1.jpg", lot / "1" / "stray.jpg")
    return lot


def test_copies_never_straddle_the_split_of_a_run(copied_lot, tiny_recipe, tmp_path):
    for seed in range(3):
        recipe = parse_recipe({**tiny_recipe, "stages": tiny_recipe["stages"][:1], "seed": seed})
        model = api.train(copied_lot, recipe, out=tmp_path / f"run-{seed}")
        part_of = dict(row[:2] for row in read_rows(model.run.split_path)[1:])
        for label in range(3):
            copies = (f"{label}-0.jpg", f"{label}-0-small.jpg", f"{label}-0-poor.jpg")
            assert len({part_of[id_] for id_ in copies}) == 1
        # One picture under two labels: neither is learnt.
        assert not {"0-1.jpg", "stray.jpg"} & part_of.keys()
        assert len(part_of) == 42 - 1


def test_what_training_does_with_findings_can_be_set(copied_lot, tmp_path):
    overrides = ["audit.near_duplicate=drop", "audit.label_conflict=group"]
    parts = api.split(copied_lot, tmp_path / "split.csv", overrides=overrides).parts
    ids = {id_ for part in parts.values() for id_ in part}
    assert ids == {f"{label}-{number}.jpg" for label in range(3) for number in range(12)} - {
        f"{label}-0.jpg" for label in range(3)
    } | {f"{label}-0-poor.jpg" for label in range(3)} | {"stray.jpg"}
    side = {id_: part for part, members in parts.items() for id_ in members}
    assert side["0-1.jpg"] == side["stray.jpg"]


def test_audit_writes_both_files_and_tells_what_training_would_do(copied_lot, tmp_path):
    found = api.run_audit(copied_lot, overrides=["audit.grey=drop"], out=tmp_path / "audit")
    assert found.count()["label-conflict"] == 2
    assert found.actions["grey"] == "drop"
    rows = read_rows(tmp_path / "audit" / "findings.csv")[1:]
    assert len(rows) == len(found.findings)
    assert "stray.jpg" in (tmp_path / "audit" / "findings.html").read_text("utf-8")


def test_folds_are_written(copied_lot, tmp_path):
    drawn = api.split(copied_lot, tmp_path / "folds.csv", num_folds=3, lock=0.2)
    assert list(drawn.parts) == ["fold-1", "fold-2", "fold-3", "locked"]
    rows = read_rows(tmp_path / "folds.csv")[1:]
    assert {row[1] for row in rows} == set(drawn.parts)


def test_a_stored_split_is_used_as_it_is(small_lot, tiny_recipe, tmp_path):
    values = {**tiny_recipe, "stages": tiny_recipe["stages"][:1]}
    split_path = tmp_path / "split.csv"
    first = api.train(small_lot, parse_recipe(values), out=tmp_path / "a", split_path=split_path)
    written = split_path.read_bytes()
    assert written == first.run.split_path.read_bytes()
    other_seed = parse_recipe({**values, "seed": 7})
    second = api.train(small_lot, other_seed, out=tmp_path / "b", split_path=split_path)
    assert second.run.split_path.read_bytes() == written == split_path.read_bytes()
    without = api.train(small_lot, other_seed, out=tmp_path / "c")
    assert without.run.split_path.read_bytes() != written


def test_a_stored_split_that_does_not_fit_or_leaks_is_refused(
    small_lot, spoilt_lot, copied_lot, tiny_recipe, tmp_path
):
    recipe = parse_recipe({**tiny_recipe, "stages": tiny_recipe["stages"][:1]})
    split_path = tmp_path / "split.csv"
    api.split(small_lot, split_path)
    with pytest.raises(InputError, match="does not fit"):
        api.train(spoilt_lot, recipe, out=tmp_path / "a", split_path=split_path)
    api.split(small_lot, split_path, num_folds=2)
    with pytest.raises(InputError, match="the parts fold-1, fold-2, but recipe tiny needs parts t"):
        api.train(small_lot, recipe, out=tmp_path / "a", split_path=split_path)
    api.split(copied_lot, split_path)
    rows = split_path.read_text("utf-8").splitlines()
    small = next(at for at, row in enumerate(rows) if row.startswith("2-0-small.jpg"))
    here, there = ("train", "validation") if ",train," in rows[small] else ("validation", "train")
    rows[small] = rows[small].replace(here, there)
    split_path.write_text("\n".join(rows), "utf-8")
    with pytest.raises(InputError, match="have a copy, or a photo of their listing, in another"):
        api.train(copied_lot, recipe, out=tmp_path / "a", split_path=split_path)
    assert not (tmp_path / "a").exists()


def test_locked_photos_are_the_same_for_every_seed_and_each_opening_is_counted(
    small_lot, tiny_recipe, tmp_path
):
    values = {**tiny_recipe, "stages": tiny_recipe["stages"][:1], "lock": 0.25}
    runs = [
        api.train(small_lot, parse_recipe({**values, "seed": seed}), out=tmp_path / f"{seed}").run
        for seed in (0, 1)
    ]
    parts = [read_rows(run.split_path)[1:] for run in runs]
    locked = [{row[0] for row in rows if row[1] == "locked"} for rows in parts]
    assert locked[0] == locked[1]
    assert len(locked[0]) == 9
    kept = [{row[0] for row in rows if row[1] == "validation"} for rows in parts]
    assert kept[0] != kept[1]
    assert not kept[0] & locked[0]
    for times in (1, 2):
        evaluation = api.evaluate(runs[0].path, locked=True)
        assert set(evaluation.predictions.ids) == locked[0]
        assert evaluation.times_opened == times
    assert len(read_rows(runs[0].openings_path)) == 3
    assert api.evaluate(runs[0].path).times_opened == 0
    compared = api.compare(runs[0].path, runs[1].path, locked=True)
    assert compared.result.pair.num_photos == 9
    assert [len(read_rows(run.openings_path)) for run in runs] == [4, 2]
    shared = api.compare(runs[0].path, runs[1].path).result.pair.num_photos
    assert shared == len(kept[0] & kept[1])
    with pytest.raises(InputError, match="give no other photos"):
        api.evaluate(runs[0].path, small_lot, locked=True)


def test_two_runs_are_compared_on_what_both_held_out_or_on_other_photos(
    trained, folded, small_lot, spoilt_lot, tmp_path
):
    first, second = trained.run.path, folded.run.path
    own = api.compare(first, second)
    held_out = load_predictions(trained.run.validation_path)
    catalog = open_lot(spoilt_lot).train
    labels = dict(zip(catalog.ids, (photo.label for photo in catalog.photos), strict=True))
    truth = [held_out.classes[k].label for k in held_out.logits.argmax(axis=1)]
    right = [said == labels[id_] for id_, said in zip(held_out.ids, truth, strict=True)]
    assert own.result.pair.num_photos == len(held_out.ids)
    assert own.result.first == pytest.approx(np.mean(right))
    assert "both held out" in own.about
    turned = api.compare(second, first).result
    assert turned.pair.difference == pytest.approx(-own.result.pair.difference)

    answers = {"labels": spoilt_lot / "answers.csv", "photos": spoilt_lot / "test.zip"}
    other = api.compare(first, second, **answers)
    single = [api.evaluate(path, **answers, report=tmp_path / "r.html") for path in (first, second)]
    # The broken photo counts as wrong.
    assert other.result.pair.num_photos == 12
    assert other.result.first == pytest.approx(single[0].accuracy.value * 11 / 12)
    assert other.result.second == pytest.approx(single[1].accuracy.value * 11 / 12)

    with pytest.raises(InputError, match="leave it out to compare"):
        api.compare(first, second, spoilt_lot)
    with pytest.raises(InputError, match="no locked part"):
        api.compare(first, second, locked=True)
    moved = tmp_path / "moved"
    shutil.copytree(second, moved)
    card = json.loads((moved / "card.json").read_text("utf-8"))
    for change, message in (
        ({"fingerprint": "other"}, "trained on different data"),
        ({"classes": card["classes"][:2]}, "different classes"),
    ):
        (moved / "card.json").write_text(json.dumps({**card, **change}), "utf-8")
        with pytest.raises(InputError, match=message):
            api.compare(first, moved)


def test_runs_without_a_photo_that_both_held_out_cannot_be_compared(
    small_lot, tiny_recipe, tmp_path
):
    recipe = parse_recipe({**tiny_recipe, "stages": tiny_recipe["stages"][:1]})
    split_path = tmp_path / "split.csv"
    api.split(small_lot, split_path, validation=0.25)
    first = api.train(small_lot, recipe, out=tmp_path / "a", split_path=split_path).run.path
    rows = split_path.read_text("utf-8").splitlines()
    # A class's photos of the other side take the place of those held out.
    swapped = []
    for label in "123":
        held_out = [row for row in rows if row.startswith(label) and ",validation," in row]
        taken = [row for row in rows if row.startswith(label) and ",train," in row]
        swapped += [row.replace(",validation,", ",train,") for row in held_out]
        swapped += [row.replace(",train,", ",validation,") for row in taken[: len(held_out)]]
        swapped += taken[len(held_out) :]
    split_path.write_text("\n".join([rows[0], *swapped]) + "\n", "utf-8")
    second = api.train(small_lot, recipe, out=tmp_path / "b", split_path=split_path).run.path
    with pytest.raises(InputError, match="held out no photo in common"):
        api.compare(first, second)


def test_a_run_without_locked_part_says_so(trained):
    with pytest.raises(InputError, match="has no locked part"):
        api.evaluate(trained.run.path, locked=True)


def test_a_class_of_one_photo_is_trained_on_and_named(small_lot, tiny_recipe, tmp_path):
    lot = tmp_path / "lot"
    shutil.copytree(small_lot, lot)
    rows = (lot / "train.csv").read_text("utf-8").splitlines()
    rows = [row for row in rows if not row.startswith("3") or row.startswith("3000")]
    (lot / "train.csv").write_text("\n".join(rows), "utf-8")
    model = api.train(lot, parse_recipe(tiny_recipe), out=tmp_path / "run")
    part_of = dict(row[:2] for row in read_rows(model.run.split_path)[1:])
    assert part_of["3000.jpg"] == "train"
    rare = [row for row in read_rows(model.run.findings_path) if row[2] == "rare-class"]
    assert [row[0] for row in rare] == ["3000.jpg"]
    assert "cannot be validated" in rare[0][-1]


def test_judging_on_answers_counts_the_broken_photo(trained, spoilt_lot):
    evaluation = api.evaluate(
        trained.run.path, labels=spoilt_lot / "answers.csv", photos=spoilt_lot / "test.zip"
    )
    assert len(evaluation.predictions.ids) == 12
    assert evaluation.accuracy.count == 11
    by_name = {metric.name: metric for metric in evaluation.metrics}
    assert by_name["unanswered"].value == pytest.approx(1 / 12)
    frame = evaluation.to_frame()
    assert list(frame["name"]) == ["Волна", "Heron 4", "Clover"]
    assert frame["photos"].sum() == 11
    assert trained.run.metrics_path.is_file()


def test_data_that_changed_since_training_are_not_judged_silently(trained, small_lot, tmp_path):
    run_path = tmp_path / "run"
    shutil.copytree(trained.run.path, run_path)
    lotlens.load(run_path).run.write_source({"data": str(small_lot)})
    with pytest.raises(BundleError, match="have changed"):
        api.evaluate(run_path)


def test_labels_of_unknown_classes_are_named(trained, spoilt_lot, tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("Id,Category\n10000.jpg,0\n20001.jpg,17\n")
    with pytest.raises(InputError, match="label 17"):
        api.evaluate(trained.run.path, labels=labels, photos=spoilt_lot / "test.zip")


def test_a_submission_has_the_samples_rows_in_its_order(trained, spoilt_lot, tmp_path):
    out = tmp_path / "submission.csv"
    frame = api.predict(trained.run.path, out=out, fill=True, details=tmp_path / "details.csv")
    rows = read_rows(out)
    sample = read_rows(spoilt_lot / "sample-submission.csv")
    assert rows[0] == ["Id", "Category"]
    assert [row[0] for row in rows] == [row[0] for row in sample]
    assert {row[1] for row in rows[1:]} <= {"0", "1", "2"}
    answers = dict(zip(frame["id"], frame["label"], strict=True))
    for id_, label in rows[1:]:
        if id_ != "20000.jpg":
            assert label == answers[id_]
    details = pd.read_csv(tmp_path / "details.csv")
    assert list(details["id"]) == list(frame["id"])
    assert details.loc[details["id"] == "20000.jpg", "status"].item() != "ok"


def test_unanswered_ids_are_refused_by_name_and_nothing_is_written(trained, tmp_path):
    out = tmp_path / "submission.csv"
    with pytest.raises(InputError, match=r"20000\.jpg"):
        api.predict(trained.run.path, out=out)
    assert list(tmp_path.iterdir()) == []


def test_another_order_of_photos_and_sample_changes_no_answer(trained, spoilt_lot, tmp_path):
    sample = read_rows(spoilt_lot / "sample-submission.csv")
    turned = tmp_path / "sample.csv"
    turned.write_text("\n".join(",".join(row) for row in [sample[0], *sample[:0:-1]]))
    one, other = tmp_path / "one.csv", tmp_path / "other.csv"
    api.predict(trained.run.path, out=one, fill=True)
    api.predict(trained.run.path, spoilt_lot / "test.zip", out=other, sample=turned, fill=True)
    assert read_rows(other)[1:] == read_rows(one)[:0:-1]


def test_single_photos_are_answered_with_names(trained, photo_drawer, tmp_path):
    paths = []
    for label in range(3):
        paths.append(tmp_path / f"photo {label}.png")
        photo_drawer(label, 900).save(paths[-1])
    frame = lotlens.load(trained.run.path).predict(paths)
    assert list(frame["id"]) == [path.name for path in paths]
    assert set(frame["name"]) <= {"Волна", "Heron 4", "Clover"}
    # A photo that is refused is given no probability.
    is_refused = frame["verdict"].isin(["unknown", "not a car"])
    assert (frame["probability"].between(0, 1) ^ is_refused).all()
    assert len(lotlens.load(trained.run.path).predict(str(paths[0]))) == 1


@pytest.mark.parametrize(
    ("recipe", "overrides", "error"),
    [
        ("standart", (), InputError),
        ("quick", ("sed=1",), RecipeError),
        ("quick", ("backbone=lite9",), InputError),
    ],
)
def test_mistakes_leave_nothing_behind(small_lot, tmp_path, recipe, overrides, error):
    with pytest.raises(error):
        api.train(small_lot, recipe, overrides=overrides, out=tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_bad_data_leaves_nothing_behind(tmp_path):
    with pytest.raises(InputError):
        api.train(tmp_path / "absent", "quick", out=tmp_path / "run")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError):
        api.train(tmp_path / "empty", "quick", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_overrides_need_a_name_or_file(small_lot, tmp_path, tiny_recipe):
    with pytest.raises(InputError, match="overrides"):
        api.train(small_lot, parse_recipe(tiny_recipe), overrides=["seed=1"], out=tmp_path / "r")


def test_wrong_combinations_of_options(trained, spoilt_lot):
    with pytest.raises(InputError, match="not both"):
        api.evaluate(trained.run.path, spoilt_lot, labels=spoilt_lot / "answers.csv")
    with pytest.raises(InputError, match="needs --labels"):
        api.evaluate(trained.run.path, photos=spoilt_lot / "test.zip")


def test_a_run_without_test_photos_asks_for_photos(trained, spoilt_lot, tmp_path):
    only_train = tmp_path / "lot"
    only_train.mkdir()
    for name in ("train.csv", "train.zip", "classes.csv"):
        shutil.copy(spoilt_lot / name, only_train / name)
    run_path = tmp_path / "run"
    shutil.copytree(trained.run.path, run_path)
    lotlens.load(run_path).run.write_source({"data": str(only_train)})
    with pytest.raises(InputError, match="no test photos"):
        api.predict(run_path, out=tmp_path / "submission.csv")


def test_a_missing_part_is_told_apart_from_a_bug(monkeypatch):
    import importlib

    def fail(name):
        raise ModuleNotFoundError("No module named 'timm'", name="timm")

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(MissingExtra, match="timm"):
        api.import_vision("stages")


def test_the_demo_goes_the_whole_way(tmp_path, tiny_recipe):
    # The drawing is another test's subject: a small lot, drawn in this process.
    tiny_recipe["stages"] = tiny_recipe["stages"][:1]
    out = tmp_path / "demo"
    sizes = {"num_train": 40, "num_test": 20}
    done = api.demonstrate(out, **sizes, recipe=parse_recipe(tiny_recipe))
    assert done.model.card.synthetic
    assert done.evaluation.synthetic
    sample = read_rows(out / "lot" / "sample-submission.csv")
    assert [row[0] for row in read_rows(done.submission_path)] == [row[0] for row in sample]
    assert "drawn" in done.model.run.report_path.read_text("utf-8")
    # A second demo replaces the first.
    api.demonstrate(out, **sizes, recipe=parse_recipe(tiny_recipe))


def test_the_package_offers_its_verbs():
    for name in lotlens.__all__:
        assert getattr(lotlens, name) is not None
    with pytest.raises(AttributeError, match="nonsense"):
        _ = lotlens.nonsense
