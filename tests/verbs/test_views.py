"""A finished run's views, chosen anew."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest

import lotlens
from lotlens.answering.answers import load_predictions
from lotlens.answering.predict import predict_views
from lotlens.answering.views import VIEWS
from lotlens.errors import BundleError, InputError
from lotlens.training import settle


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

    monkeypatch.setattr(settle, "predict_views", plant)


@pytest.mark.parametrize("kind", ["trained", "folded"])
def test_a_finished_run_takes_a_useful_view_and_leaves_useless_ones(
    kind, planted, request, tmp_path
):
    run_path = tmp_path / "run"
    shutil.copytree(request.getfixturevalue(kind).run.path, run_path)
    choice = lotlens.adopt_views(run_path, ["darker", "mirror", "closer"])
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
        assert lotlens.evaluate(run_path, report=report_path).metrics == card.metrics
    assert (run_path / "report.html").read_text("utf-8").count("whole photo, mirrored photo")
    assert lotlens.adopt_views(run_path, ["whole"]).model.card.views == ("whole",)


@pytest.mark.parametrize("kind", ["trained", "folded"])
def test_views_of_a_finished_run_are_those_that_training_would_choose(
    kind, request, spoilt_lot, tmp_path
):
    model = request.getfixturevalue(kind)
    run_path = tmp_path / "run"
    shutil.copytree(model.run.path, run_path)
    choice = lotlens.adopt_views(run_path, ["mirror"])
    assert choice.before == model.card.views
    assert choice.model.card.views == model.card.views
    assert choice.model.card.weights_sha256 == model.card.weights_sha256
    assert choice.model.card.temperature == pytest.approx(model.card.temperature, rel=1e-2)
    before, after = (load_predictions(m.run.validation_path) for m in (model, choice.model))
    assert (after.ids, after.status) == (before.ids, before.status)
    np.testing.assert_allclose(after.logits, before.logits, rtol=1e-3, atol=1e-3)
    # All views: one table row each, and the figures of `evaluate` are those of the card.
    choice = lotlens.adopt_views(run_path)
    assert sorted(trial.view for trial in choice.trials) == sorted(set(VIEWS) - {"whole"})
    evaluation = lotlens.evaluate(run_path, report=tmp_path / "report.html")
    assert evaluation.accuracy == choice.model.card.metrics[0]


def test_views_are_refused_where_the_data_changed_or_the_name_is_unknown(
    trained, spoilt_lot, tmp_path
):
    run_path = tmp_path / "run"
    shutil.copytree(trained.run.path, run_path)
    card = trained.run.card_path.read_bytes()
    with pytest.raises(InputError, match="one or more of whole, mirror, closer"):
        lotlens.adopt_views(run_path, ["sideways"])
    lot = tmp_path / "lot"
    shutil.copytree(spoilt_lot, lot)
    lotlens.load(run_path).run.write_source({"data": str(lot)})
    rows = (lot / "train.csv").read_text("utf-8").splitlines()
    (lot / "train.csv").write_text("\n".join(rows[:-1]), "utf-8")
    with pytest.raises(BundleError, match="have changed since it was trained"):
        lotlens.adopt_views(run_path)
    shutil.rmtree(lot)
    with pytest.raises(InputError, match="lot"):
        lotlens.adopt_views(run_path)
    assert (run_path / "card.json").read_bytes() == card
    shutil.copytree(spoilt_lot, lot)
    shutil.copy(run_path / "split.csv", tmp_path / "hold-out.csv")
    lotlens.split(lot, run_path / "split.csv", num_folds=2)
    with pytest.raises(BundleError, match="has 2 folds and the model 1 members"):
        lotlens.adopt_views(run_path)


@pytest.mark.parametrize("views", [["sideways"], [3], [{}], "mirror", []])
def test_a_strangers_views_are_a_damaged_card(trained, spoilt_lot, tmp_path, views):
    run_path = tmp_path / "run"
    shutil.copytree(trained.run.path, run_path)
    values = json.loads((run_path / "card.json").read_text("utf-8"))
    (run_path / "card.json").write_text(json.dumps(values | {"views": views}), "utf-8")
    with pytest.raises(BundleError, match=r"card.* damaged"):
        lotlens.load(run_path).predict(spoilt_lot / "test.zip")
