"""The whole way in Python: train, judge, predict, on a lot drawn in the test."""

import csv
import shutil

import numpy as np
import pandas as pd
import pytest
import yaml

import lotlens
from lotlens import api
from lotlens.errors import BundleError, InputError, MissingExtra, RecipeError
from lotlens.judge.predict import load_predictions
from lotlens.recipe import parse_recipe


def read_rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


@pytest.fixture(scope="module")
def trained(spoilt_lot, tiny_backbone, tmp_path_factory):
    """A run of both stages on the lot with one broken photo in each part."""
    recipe = {
        "name": "tiny",
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
        "findings.csv",
        "history.csv",
        "model.safetensors",
        "recipe.yaml",
        "report.html",
        "source.json",
        "split.csv",
        "validation.npz",
    }
    card = trained.card
    assert [car.name for car in card.classes] == ["Волна", "Heron 4", "Clover"]
    assert card.metrics[0].name == "accuracy"
    assert card.metrics[0].low < card.metrics[0].value <= card.metrics[0].high
    assert "probe" in card.chosen
    assert not card.synthetic
    # A word on every photo that was left out, and none about others.
    findings = read_rows(trained.run.findings_path)
    assert [row[:2] for row in findings[1:]] == [["1003.jpg", "unreadable"]]


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


def test_judging_on_the_training_data_judges_the_validation_part(trained, spoilt_lot):
    validation = {row[0] for row in read_rows(trained.run.split_path)[1:] if row[1] == "validation"}
    evaluation = api.evaluate(trained.run.path, spoilt_lot)
    assert set(evaluation.predictions.ids) == validation


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
    assert ((frame["probability"] > 0) & (frame["probability"] <= 1)).all()
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
        api._import_vision("stages")


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
