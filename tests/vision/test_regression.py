"""Logistic regression on frozen features, one and several at a time."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from lotlens.answering.logits import log_sum_exp
from lotlens.intervals import measure_auroc
from lotlens.vision import regression
from lotlens.vision.regression import (
    add_others,
    choose_penalty,
    fit_regression,
    fit_regressions,
)


@pytest.fixture
def noisy():
    rng = np.random.default_rng(0)
    targets = np.repeat(np.arange(3), 40)
    features = rng.standard_normal((120, 60))
    features[:, 0] += targets
    return features, targets


def test_the_penalty_is_chosen_by_cross_validation(noisy):
    features, targets = noisy
    # On mostly noise, a nearly free fit is worse than a tame one.
    assert choose_penalty(features, targets, (0.01, 1000.0), np.arange(120), seed=0) == 0.01


def test_penalty_without_enough_photos_to_fold(noisy):
    features, targets = noisy
    rows = [0, 40, 80]
    candidates = (1.0, 0.1, 10.0)
    assert choose_penalty(features[rows], targets[rows], candidates, np.arange(3), seed=0) == 1.0
    # Many photos, but of few cars: each class is one or two of them.
    groups = np.arange(120) // 20
    assert choose_penalty(features, targets, candidates, groups, seed=0) == 1.0


def test_a_fold_without_a_photo_of_a_class_does_not_make_the_first_penalty_win(noisy):
    features, targets = noisy
    # Class 2 has three groups, of which two are in one fold.
    groups = np.tile(np.repeat(np.arange(4), 10), 3)
    groups[80:] = np.repeat([4, 0, 0, 1], [30, 5, 3, 2])
    folds = regression.StratifiedGroupKFold(3, shuffle=True, random_state=0)
    held = [set(targets[left].tolist()) for _, left in folds.split(targets, targets, groups)]
    assert {0, 1} in held
    assert choose_penalty(features, targets, (1000.0, 0.01), groups, seed=0) == 0.01
    assert choose_penalty(features, targets, (0.01, 1000.0), groups, seed=0) == 0.01


def test_a_photo_its_mirror_and_its_group_never_stand_on_both_sides(noisy, monkeypatch):
    features, targets = noisy
    seen = []
    real = regression.GridSearchCV

    def watch(*args, cv, **options):
        seen.extend(cv)
        return real(*args, cv=cv, **options)

    monkeypatch.setattr(regression, "GridSearchCV", watch)
    both = np.concatenate([features, features])
    choose_penalty(both, np.tile(targets, 2), (0.1, 1.0), np.arange(120), seed=0)
    assert len(seen) == 3
    for kept, left in seen:
        assert not {row % 120 for row in kept.tolist()} & {row % 120 for row in left.tolist()}
        assert len(kept) == 160
    seen.clear()
    choose_penalty(both, np.tile(targets, 2), (0.1, 1.0), np.arange(120) // 4, seed=0)
    for kept, left in seen:
        sides = [{row % 120 // 4 for row in rows.tolist()} for rows in (kept, left)]
        assert not sides[0] & sides[1]


def softmax(logits):
    chances = np.exp(logits - logits.max(axis=1, keepdims=True))
    return chances / chances.sum(axis=1, keepdims=True)


def test_the_scaling_is_folded_back(noisy):
    features, targets = noisy
    features = features * np.linspace(0.1, 30, 60) + 5
    found = fit_regression(features, targets, 3, 0.1)
    deviation = features.std(axis=0)
    scale = np.sqrt(deviation**2 + (0.5 * deviation.mean()) ** 2)
    scaled = (features - features.mean(axis=0)) / scale
    model = LogisticRegression(C=0.1, max_iter=2000).fit(scaled, targets)
    own = softmax(features @ found.weight.T + found.bias)
    assert own == pytest.approx(model.predict_proba(scaled), abs=1e-6)


def test_a_class_without_a_photo_gets_no_probability(noisy):
    features, targets = noisy
    for gone, kept in ((1, 2), (2, 2), (0, 2)):
        rows = targets != gone
        found = fit_regression(features[rows], targets[rows], 3, 0.1)
        chances = softmax(features @ found.weight.T + found.bias)
        assert chances[:, gone].max() < 1e-12
        assert len(np.unique(chances.argmax(axis=1))) == kept


def test_several_are_fitted_as_each_would_be_alone(noisy):
    features, targets = noisy
    sides = [np.arange(0, 120, 2), np.arange(1, 120, 2), np.arange(100)]
    together = fit_regressions(features.astype(np.float32), targets, 3, 0.1, sides)
    for rows, found in zip(sides, together, strict=True):
        alone = fit_regression(features[rows].astype(np.float32), targets[rows], 3, 0.1)
        assert np.array_equal(found.weight, alone.weight)
        assert np.array_equal(found.bias, alone.bias)


def test_others_are_known_by_what_they_share_not_by_each_photo():
    """With more features than photos: other cars that nobody has shown are known too."""
    rng = np.random.default_rng(0)

    def draw(models):
        """Ten photos of each."""
        return np.repeat(models, 10, axis=0) + 3 * rng.standard_normal((10 * len(models), 300))

    own, given, never = (rng.standard_normal((number, 300)) for number in (10, 20, 40))
    given[:, 0] += 3  # what other cars share
    never[:, 0] += 3
    known, others = draw(own), draw(given)
    found = fit_regression(known, np.repeat(np.arange(10), 10), 10, 0.3)
    is_known = np.arange(300) < 100
    weights = np.where(is_known, 1.0, 0.5)
    grown = add_others(found, np.concatenate([known, others]), is_known, weights)
    assert np.array_equal(grown.weight[:10], found.weight)

    def score(features):
        logits = features @ grown.weight.T + grown.bias
        return log_sum_exp(logits[:, :10]) - logits[:, 10]

    # Held down no more than the classes are, it comes to 0.83.
    assert measure_auroc(score(draw(own)), score(draw(never))).value > 0.9
