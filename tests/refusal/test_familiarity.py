"""Scores are higher for what is like the training photos; what is remembered survives a file."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lotlens.answering.logits import log_sum_exp, softmax
from lotlens.errors import BundleError
from lotlens.records import FAMILIARITIES, METHODS, OK, CarClass, Predictions
from lotlens.refusal.familiarity import (
    FamiliarPredictor,
    decode_references,
    encode_references,
    learn_reference,
    list_scores,
    measure_familiarity,
    measure_mahalanobis,
    measure_neighbours,
    sample_references,
)

NUM_CLASSES, NUM_FEATURES = 4, 24
CENTRES = np.random.default_rng(99).normal(size=(NUM_CLASSES, NUM_FEATURES)) * 2


def draw(num_photos, seed=0):
    """Features of four classes that vary far more in some directions than in others."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(NUM_CLASSES, size=num_photos)
    spread = np.linspace(0.1, 1.0, NUM_FEATURES)
    features = CENTRES[targets] + rng.normal(size=(num_photos, NUM_FEATURES)) * spread
    return features.astype(np.float32), targets


def draw_strange(num_photos, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(num_photos, NUM_FEATURES)).astype(np.float32) * 2


@pytest.mark.parametrize("measure", [measure_neighbours, measure_mahalanobis])
@pytest.mark.parametrize("num_photos", [40, 80, 400])
def test_strange_features_score_lower(measure, num_photos):
    reference = learn_reference(*draw(num_photos))
    known, strange = measure(draw(100, seed=1)[0], reference), measure(draw_strange(100), reference)
    assert (known[:, None] > strange).mean() > 0.95


@given(st.integers(0, 50), st.floats(0.01, 100))
def test_length_of_features_does_not_matter(seed, scale):
    reference = learn_reference(*draw(60))
    features = draw_strange(5, seed)
    for measure in (measure_neighbours, measure_mahalanobis):
        plain = measure(features, reference)
        scaled = measure((features * np.float32(scale)).astype(np.float32), reference)
        np.testing.assert_allclose(scaled, plain, rtol=1e-3, atol=1e-3)


def test_mahalanobis_is_the_textbooks_with_all_directions():
    features, targets = draw(3000)
    reference = learn_reference(features, targets)
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    means = np.stack([unit[targets == k].mean(axis=0) for k in range(NUM_CLASSES)])
    covariance = np.cov((unit - means[targets]).T, bias=True)
    new = draw(50, seed=3)[0]
    new = new / np.linalg.norm(new, axis=1, keepdims=True)
    inverse = np.linalg.inv(covariance)
    apart = new[:, None] - means
    expected = -np.einsum("ncf,fg,ncg->nc", apart, inverse, apart).min(axis=1)
    # Next to no shrinkage with 3000 photos of 24 features.
    np.testing.assert_allclose(measure_mahalanobis(new, reference), expected, rtol=0.1)


@pytest.mark.parametrize("num_photos", [2, 3, 5, 30])
def test_fewer_photos_than_features_give_finite_scores(num_photos):
    reference = learn_reference(*draw(num_photos))
    scores = measure_familiarity(np.zeros((7, 3), np.float32), draw_strange(7), (reference,), 3)
    assert scores.shape == (7, len(FAMILIARITIES))
    assert scores.dtype == np.float32
    *measured, others = scores.T
    assert np.isfinite(measured).all()
    assert np.isnan(others).all()


def test_photos_that_are_all_alike_are_no_error():
    features = np.tile(np.arange(1, 9, dtype=np.float32), (6, 1))
    reference = learn_reference(features, np.array([0, 0, 1, 1, 2, 2]))
    assert np.isfinite(measure_mahalanobis(features, reference)).all()
    assert np.isfinite(measure_mahalanobis(features[:, ::-1], reference)).all()


def test_nothing_to_remember():
    assert learn_reference(np.zeros((1, 3), np.float32), np.array([0])) is None
    assert learn_reference(np.full((4, 3), np.nan, np.float32), np.array([0, 0, 1, 1])) is None
    assert learn_reference(np.zeros((4, 0), np.float32), np.array([0, 0, 1, 1])) is None


def test_an_ensembles_score_is_the_mean_of_its_members():
    references = [learn_reference(*draw(50, seed)) for seed in (1, 2)]
    parts = [draw_strange(9, seed) for seed in (3, 4)]
    logits = np.zeros((9, 3), np.float32)
    both = measure_familiarity(logits, np.concatenate(parts, axis=1), references, 3)
    each = [
        measure_familiarity(logits, part, (one,), 3)
        for part, one in zip(parts, references, strict=True)
    ]
    np.testing.assert_allclose(both[:, 1:], np.mean(each, axis=0)[:, 1:], rtol=1e-5)
    assert np.isnan(both[:, 0]).all()
    np.testing.assert_allclose(each[0][:, 0], np.log(3), rtol=1e-6)


def test_the_odds_against_other_cars_are_those_of_the_softmax():
    reference = learn_reference(*draw(50))
    logits = np.random.default_rng(0).normal(size=(9, 4)).astype(np.float32)
    scores = measure_familiarity(logits, draw_strange(9), (reference,), 3)
    chances = softmax(logits)
    expected = np.log((1 - chances[:, 3]) / chances[:, 3])
    np.testing.assert_allclose(scores[:, FAMILIARITIES.index("others")], expected, rtol=1e-4)
    # And the energy is that of the classes alone.
    np.testing.assert_allclose(scores[:, 0], log_sum_exp(logits[:, :3]), rtol=1e-5)


def test_references_of_another_model_are_refused():
    class Model:
        card = SimpleNamespace(classes=("a", "b", "c"))

        def __call__(self, batch):
            return np.zeros((len(batch), 3), np.float32), np.zeros((len(batch), 7), np.float32)

    familiar = FamiliarPredictor(Model(), (learn_reference(*draw(50)),))
    with pytest.raises(BundleError, match=r"7 features.* has 24"):
        familiar(np.zeros((2, 3, 4, 4), np.float32))


def test_the_sample_takes_as_many_of_each_class():
    targets = np.repeat([0, 1, 2], [100, 10, 3])
    rows = sample_references(targets, most=25)
    assert rows == sorted(set(rows))
    assert np.bincount(targets[rows]).tolist() in ([12, 10, 3], [12, 10, 3])
    assert rows == sample_references(targets, most=25)
    assert sample_references(targets) == list(range(113))
    assert len(sample_references(np.zeros(3000, np.int64))) == 500
    assert len(sample_references(np.arange(30_000) % 80)) == 800
    assert len(sample_references(np.arange(30_000) % 900)) == 2000


def test_references_come_back_from_bytes():
    references = [learn_reference(*draw(50, seed)) for seed in (1, 2)]
    again = decode_references(encode_references(references), 2, "here")
    features = draw_strange(6)
    for one, other in zip(references, again, strict=True):
        for measure in (measure_neighbours, measure_mahalanobis):
            np.testing.assert_array_equal(measure(features, one), measure(features, other))


def spoil(**changes):
    arrays = dict(np.load(io.BytesIO(encode_references([learn_reference(*draw(30))]))))
    for name, value in changes.items():
        arrays[f"{name}-0"] = value
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no archive",
        encode_references([]),
        encode_references([learn_reference(*draw(30))])[:200],
        spoil(means=np.zeros(3)),
        spoil(means=np.array([{"a": 1}], dtype=object)),
        spoil(directions=np.zeros((2, 5))),
        spoil(variances=np.full(24, -1.0)),
        spoil(rest=np.array(0.0)),
        spoil(rest=np.array([1.0, 2.0])),
        spoil(neighbours=np.full((3, 24), np.nan)),
        spoil(neighbours=np.zeros((0, 24))),
        spoil(means=np.array([["a"] * 24])),
    ],
)
def test_damaged_references_are_bundle_errors(data):
    with pytest.raises(BundleError, match="here cannot be read"):
        decode_references(data, 1, "here")


def test_scores_by_method_are_nan_where_there_is_no_answer():
    logits = np.array([[0, np.log(3)], [np.nan, np.nan]], np.float32)
    classes = (CarClass("0", "a"), CarClass("1", "b"))
    found = Predictions(("x", "y"), logits, None, (OK, "torn"), classes)
    assert list_scores(found, "max probability", 1.0)[0] == pytest.approx(0.75)
    for method in METHODS:
        scores = list_scores(found, method, 1.0)
        assert scores.shape == (2,)
        assert np.isnan(scores[1])
        assert np.isnan(scores[0]) == (method != "max probability")
