"""Doubts of real runs: every photo is answered by a model that has not learnt it."""

import csv
from dataclasses import replace

import numpy as np
import pytest

import lotlens
from lotlens.answering.answers import load_predictions
from lotlens.audit.parts import LOCKED, read_split
from lotlens.improve.doubts import read_doubts
from lotlens.improve.evidence import NUM_DRAWS, NUM_FOLDS, _compute_features, _hold_out
from lotlens.photos.sources import open_lot
from lotlens.recipes.loading import parse_recipe
from lotlens.verbs.doubts import doubt
from tests.conftest import write_lot
from tests.verbs.conftest import NUM_CLASSES, TWINS, make_recipe

pytestmark = pytest.mark.usefixtures("plain_charts")


@pytest.mark.parametrize("name", ["plain", "locked", "folds"])
def test_every_photo_is_answered_by_a_model_that_has_not_learnt_it(runs, own_lot, name):
    found = doubt(runs / name)
    split = read_split(runs / name / "split.csv")
    expected = {id_ for part, ids in split.parts.items() for id_ in ids if part != LOCKED}
    assert not expected & set(TWINS)
    expected |= set(TWINS)
    assert set(found.evidence.ids) == expected
    assert len(found.evidence.ids) == len(expected)
    assert np.isfinite(found.evidence.probabilities).all()
    assert np.allclose(found.evidence.probabilities.sum(axis=1), 1)
    assert np.allclose(found.evidence.neighbours.sum(axis=1), 1)
    num_members = 3 if name == "folds" else NUM_FOLDS * NUM_DRAWS
    assert found.evidence.members.shape == (num_members, len(expected), NUM_CLASSES)
    asked = np.isfinite(found.evidence.members).all(axis=2)
    learnt = [id_ not in TWINS or name != "folds" for id_ in found.evidence.ids]
    assert (asked.sum(axis=0) == np.where(learnt, num_members, 1)).all()
    assert len(found.evidence.views) == 4
    assert read_doubts(runs / name / "doubts.csv") == tuple(
        replace(
            doubt,
            score=round(doubt.score, 4),
            probability=round(doubt.probability, 4),
            own_probability=round(doubt.own_probability, 4),
            reasons={reason: round(score, 2) for reason, score in doubt.reasons.items()},
        )
        for doubt in found.doubts
    )
    if name == "folds":  # the stored answers are of the same models, plain view
        stored = load_predictions(runs / name / "validation.npz")
        row_of = {id_: row for row, id_ in enumerate(stored.ids)}
        own = [row for row, id_ in enumerate(found.evidence.ids) if id_ not in TWINS]
        rows = [row_of[found.evidence.ids[row]] for row in own]
        answers = stored.logits[rows].argmax(axis=1)
        assert (answers == found.evidence.probabilities[own].argmax(axis=1)).all()


@pytest.mark.parametrize("name", ["plain", "folds"])
def test_photos_under_contradicting_labels_are_doubted(runs, name):
    found = doubt(runs / name)
    doubted = {doubt.photo_id for doubt in found.doubts if "copies disagree" in doubt.reasons}
    assert doubted == set(TWINS)
    one, other = (found.evidence.probabilities[found.evidence.ids.index(id_)] for id_ in TWINS)
    assert np.allclose(one, other)  # it is one picture, of which one model is asked
    assert found.count()["copies disagree"] == 2


def test_the_only_photo_of_a_class_is_not_doubted(tiny_backbone, tmp_path):
    lot = write_lot(tmp_path / "lot")
    with (lot / "train.csv").open(newline="") as file:
        header, *rows = csv.reader(file)
    alone = min(id_ for id_, label in rows if label == "2")
    rows = [row for row in rows if row[1] != "2" or row[0] == alone]
    with (lot / "train.csv").open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    lotlens.train(lot, parse_recipe(make_recipe(tiny_backbone)), out=tmp_path / "run")
    found = doubt(tmp_path / "run")
    unknown = ~np.isfinite(found.evidence.probabilities).all(axis=1)
    assert [id_ for id_, own in zip(found.evidence.ids, unknown, strict=True) if own] == [alone]
    assert alone not in {doubt.photo_id for doubt in found.doubts}
    assert np.nanmax(found.evidence.probabilities[:, 2]) < 0.5


def test_covariances_are_doubted_in_directions_that_photos_show(small_lot, tiny_backbone, tmp_path):
    recipe = parse_recipe(make_recipe(tiny_backbone, pooling="covariance", feature_levels=2))
    model = lotlens.train(small_lot, recipe, out=tmp_path / "run")
    catalog = open_lot(small_lot).train
    one, other = (
        _compute_features(recipe.model_copy(update={"seed": seed}), model.card, catalog, None, None)
        for seed in (0, 1)  # which drawn directions would go by
    )
    assert all(np.array_equal(one[0][view], other[0][view]) for view in one[0])


def test_contradicted_photos_are_held_out_of_the_model_that_knows_no_copy():
    sides = [(("c", "d"), ("a", "b")), (("a", "b"), ("c", "d"))]
    clusters = {"a": 0, "b": 1, "c": 2, "d": 3, "x": 2, "y": 4, "z": 4}
    assert _hold_out({"x", "y", "z", "a"}, sides, clusters) == [
        (("c", "d"), ("a", "b")),
        (("a", "b"), ("c", "d", "x", "y", "z")),
    ]


def test_planted_wrong_labels_come_first(runs, own_lot):
    _, wrong = own_lot
    found = doubt(runs / "folds")
    # The backbone is an untrained one, whose features tell little: others are doubted too.
    first = [doubt.photo_id for doubt in found.doubts[: len(found.evidence.ids) // 5]]
    learnt = [id_ for id_ in wrong if id_ in found.evidence.ids]
    assert learnt
    assert set(learnt) <= set(first)
