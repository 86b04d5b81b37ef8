"""Judging in Python: never on photos that were learnt, by stored answers where it must be."""

import csv
import shutil
from datetime import date

import numpy as np
import pytest
import yaml
from scipy.special import log_softmax

import lotlens
from lotlens.answering.answers import load_predictions
from lotlens.answering.predict import predict as predict_catalog
from lotlens.audit.findings import restore_findings
from lotlens.errors import BundleError, InputError
from lotlens.photos.sources import open_lot
from lotlens.run import RunFolder
from lotlens.vision.bundle import load_bundle
from lotlens.vision.predictor import ClassifierPredictor


def read_rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_the_recorded_metrics_are_those_of_the_saved_model(trained):
    evaluation = lotlens.evaluate(trained.run.path, report=trained.run.path.parent / "again.html")
    assert evaluation.accuracy == trained.card.metrics[0]
    saved = load_predictions(trained.run.validation_path)
    assert evaluation.predictions.ids == saved.ids
    np.testing.assert_allclose(
        evaluation.predictions.logits, saved.logits, rtol=1e-3, atol=1e-3, equal_nan=True
    )


def test_a_folded_run_is_judged_out_of_fold_and_answers_as_an_ensemble(
    folded, spoilt_lot, tmp_path
):
    own = lotlens.evaluate(folded.run.path, report=tmp_path / "own.html")
    assert own.accuracy == folded.card.metrics[0]
    assert "had not seen it" in own.about
    test = lotlens.evaluate(
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


def test_judging_on_the_training_data_judges_the_validation_part(trained, spoilt_lot):
    validation = {row[0] for row in read_rows(trained.run.split_path)[1:] if row[1] == "validation"}
    evaluation = lotlens.evaluate(trained.run.path, spoilt_lot)
    assert set(evaluation.predictions.ids) == validation


def test_a_run_without_locked_part_says_so(trained):
    with pytest.raises(InputError, match="has no locked part"):
        lotlens.evaluate(trained.run.path, locked=True)


def test_judging_on_answers_counts_the_broken_photo(trained, spoilt_lot):
    evaluation = lotlens.evaluate(
        trained.run.path, labels=spoilt_lot / "answers.csv", photos=spoilt_lot / "test.zip"
    )
    assert len(evaluation.predictions.ids) == 12
    assert evaluation.accuracy.count == 11
    by_name = {metric.name: metric for metric in evaluation.metrics}
    assert by_name["unanswered"].value == pytest.approx(1 / 12)
    frame = evaluation.to_frame()
    assert list(frame["name"]) == ["Волна", "Heron 4", "Clover"]
    assert frame["photos"].sum() == 11
    # Beside what training wrote of the run's own photos, not over it.
    run = trained.run
    assert evaluation.report_path == run.path / "report-answers.html"
    assert "answers.csv" in evaluation.report_path.read_text("utf-8")
    assert run.metrics_of("answers").is_file()
    assert "answers.csv" not in run.report_path.read_text("utf-8")


def test_judging_again_keeps_what_training_told(trained, tmp_path):
    run = RunFolder(shutil.copytree(trained.run.path, tmp_path / "run"))
    findings = restore_findings(run.read_findings())
    assert {"unreadable", "near-duplicate"} & {finding.check for finding in findings}
    rows = read_rows(run.findings_path)[1:]
    assert [(f.photo_id, f.check, f.sentence, f.related_ids) for f in findings] == [
        (row[0], row[2], row[7], tuple(filter(None, row[6].split("\n")))) for row in rows
    ]
    before = run.report_path.read_text("utf-8")
    lotlens.evaluate(run.path)
    after = run.report_path.read_text("utf-8")
    for page in (before, after):
        for word in ('id="odd"', "Sizes in pixels", "trained on", f"{date.today().year}"):
            assert word in page
    assert after.count('<ul class="odd">') == before.count('<ul class="odd">') > 0
    assert run.metrics_path.is_file()
    # A run of before knows less, and is judged all the same.
    run.findings_path.unlink()
    run.timing_path.write_text('{"wall_s": 5.0}')
    source = {key: value for key, value in run.read_source().items() if key != "sizes"}
    run.write_source(source)
    lotlens.evaluate(run.path)
    assert "Sizes in pixels" not in run.report_path.read_text("utf-8")


def test_data_that_changed_since_training_are_not_judged_silently(trained, small_lot, tmp_path):
    run_path = tmp_path / "run"
    shutil.copytree(trained.run.path, run_path)
    lotlens.load(run_path).run.write_source({"data": str(small_lot)})
    with pytest.raises(BundleError, match="have changed"):
        lotlens.evaluate(run_path)


def test_labels_of_unknown_classes_are_named(trained, spoilt_lot, tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("Id,Category\n10000.jpg,0\n20001.jpg,17\n")
    with pytest.raises(InputError, match="label 17"):
        lotlens.evaluate(trained.run.path, labels=labels, photos=spoilt_lot / "test.zip")


def test_wrong_combinations_of_options(trained, spoilt_lot):
    with pytest.raises(InputError, match="not both"):
        lotlens.evaluate(trained.run.path, spoilt_lot, labels=spoilt_lot / "answers.csv")
    with pytest.raises(InputError, match="needs --labels"):
        lotlens.evaluate(trained.run.path, photos=spoilt_lot / "test.zip")


def test_an_unknown_language_is_refused(trained):
    with pytest.raises(InputError, match="'de'"):
        lotlens.evaluate(trained.run.path, lang="de")


@pytest.fixture(scope="session")
def other_locked_run(small_lot, locked_run, train_once):
    """As `locked_run`, with another seed."""
    values = yaml.safe_load(locked_run.recipe_path.read_text("utf-8"))
    return train_once("locked-run", small_lot, {**values, "seed": 1})


def test_locked_photos_are_the_same_for_every_seed_and_each_opening_is_counted(
    small_lot, locked_run, other_locked_run, tmp_path
):
    runs = [
        RunFolder(shutil.copytree(run.path, tmp_path / f"{seed}"))
        for seed, run in enumerate((locked_run, other_locked_run))
    ]
    parts = [read_rows(run.split_path)[1:] for run in runs]
    locked = [{row[0] for row in rows if row[1] == "locked"} for rows in parts]
    assert locked[0] == locked[1]
    assert len(locked[0]) == 9
    kept = [{row[0] for row in rows if row[1] == "validation"} for rows in parts]
    assert kept[0] != kept[1]
    assert not kept[0] & locked[0]
    for times in (1, 2):
        evaluation = lotlens.evaluate(runs[0].path, locked=True)
        assert set(evaluation.predictions.ids) == locked[0]
        assert evaluation.times_opened == times
        assert evaluation.report_path == runs[0].path / "report-locked.html"
    assert len(read_rows(runs[0].openings_path)) == 3
    assert lotlens.evaluate(runs[0].path).times_opened == 0
    compared = lotlens.compare(runs[0].path, runs[1].path, locked=True)
    assert compared.result.pair.num_photos == 9
    assert [len(read_rows(run.openings_path)) for run in runs] == [4, 2]
    shared = lotlens.compare(runs[0].path, runs[1].path).result.pair.num_photos
    assert shared == len(kept[0] & kept[1])
    with pytest.raises(InputError, match="give no other photos"):
        lotlens.evaluate(runs[0].path, small_lot, locked=True)
