"""Logistic regression on frozen features; it knows arrays, no network and no photos."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from joblib import Parallel, cpu_count, delayed, parallel_config
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, make_scorer
from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold
from threadpoolctl import threadpool_limits

from lotlens.answering.logits import log_sum_exp

MOST_PHOTOS_FOR_PENALTY = 3000
NUM_PENALTY_FOLDS = 3
_OTHERS_PENALTY = 0.01
_UNKNOWN_BIAS = -1e3  # of a class that a regression has not seen: its probability is zero

Matrix = NDArray[np.floating]


@dataclass(frozen=True)
class Regression:
    """A fitted logistic regression.

    Attributes:
        weight: [K, F].
        bias: [K].
    """

    weight: NDArray[np.float64]
    bias: NDArray[np.float64]


def fit_regression(
    features: Matrix,
    targets: NDArray[np.int64],
    num_classes: int,
    penalty: float,
    weights: Matrix | None = None,
) -> Regression:
    """Fit one regression.

    Features are brought to comparable scales first (a feature that hardly ever varies is not
    blown up: half the mean deviation is added in squares to each deviation) and the scaling is
    folded back into the result. A class without a photo gets no probability.

    Args:
        features: [N, F], raw.
        targets: [N] class indices, of two classes or more.
        num_classes: K.
        penalty: scikit-learn's inverse penalty C.
        weights: [N] of the photos' losses.
    """
    features = np.asarray(features, np.float64)
    centre, scale = _measure_scale(features)
    with _one_thread_a_fit():
        model = LogisticRegression(C=penalty, max_iter=2000)
        model.fit(_bring_to_scale(features, centre, scale), targets, weights)
    own_weight, own_bias = model.coef_, model.intercept_
    if len(own_weight) == 1:  # two classes: scikit-learn keeps one row, the logit's difference
        own_weight = np.concatenate([-own_weight, own_weight]) / 2
        own_bias = np.concatenate([-own_bias, own_bias]) / 2
    weight, bias = np.zeros((num_classes, features.shape[1])), np.full(num_classes, _UNKNOWN_BIAS)
    weight[model.classes_] = own_weight / scale
    bias[model.classes_] = own_bias - weight[model.classes_] @ centre
    return Regression(weight, bias)


def add_others(
    found: Regression,
    features: Matrix,
    is_known: NDArray[np.bool_],
    weights: Matrix | None = None,
) -> Regression:
    """A regression with one more row, for photos that show none of its classes.

    The rows that there are stay as they are, so that the classes are told apart as before; the new
    one is fitted against the sum of them (log loss of "one of the classes" against "none"). It is
    to know cars of models that are not among the others either, so that it is held down far more
    than rows that tell the classes apart: scikit-learn's C is 0.01 (measured: docs/LOG.md).

    Args:
        found: of the classes.
        features: [N, F], raw.
        is_known: [N] whether each photo shows one of the classes.
        weights: [N] of the photos' losses.
    """
    features = np.asarray(features, np.float64)
    centre, scale = _measure_scale(features)
    scaled = _bring_to_scale(features, centre, scale)
    told = log_sum_exp(features @ found.weight.T + found.bias)
    shares = np.ones(len(features)) if weights is None else np.asarray(weights, np.float64)
    sign = np.where(is_known, 1.0, -1.0)

    def lose(values: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weight, bias = values[:-1], values[-1]
        margin = sign * (told - scaled @ weight - bias)
        slope = shares * sign * expit(-margin)  # of the loss, by the new row's logit
        loss = shares @ np.logaddexp(0.0, -margin) + weight @ weight / (2 * _OTHERS_PENALTY)
        return float(loss), np.append(scaled.T @ slope + weight / _OTHERS_PENALTY, slope.sum())

    start = np.append(np.zeros(features.shape[1]), told.mean())
    with threadpool_limits(1, user_api="blas"):
        values = minimize(lose, start, jac=True, method="L-BFGS-B", options={"maxiter": 2000}).x
    weight = values[:-1] / scale
    return Regression(
        np.concatenate([found.weight, weight[None]]),
        np.append(found.bias, values[-1] - weight @ centre),
    )


def fit_regressions(
    features: Matrix,
    targets: NDArray[np.int64],
    num_classes: int,
    penalty: float,
    sides: Sequence[NDArray[np.int64]],
) -> list[Regression]:
    """`fit_regression` for several choices of rows, as many at once as there are cores."""
    with _one_thread_a_fit():
        fits = Parallel()(
            delayed(fit_regression)(features[rows], targets[rows], num_classes, penalty)
            for rows in sides
        )
    return list(fits)


def fit_sides(
    features: Matrix,
    targets: NDArray[np.int64],
    num_classes: int,
    penalties: tuple[float, ...],
    groups: NDArray[np.int64],
    sides: Sequence[NDArray[np.int64]],
    *,
    seed: int,
) -> list[Regression]:
    """A regression for each choice of photos; one penalty serves all of them.

    It is one number, by which no photo is known again, and is chosen by what any of them learns.

    Args:
        features: raw, [M * num_photos, F], as for `choose_penalty`.
        targets: [M * num_photos].
        num_classes: K.
        penalties: candidates for C.
        groups: [num_photos], as for `choose_penalty`.
        sides: of each regression the photos, from 0; it learns all views of them.
        seed: of the folds by which the penalty is chosen.
    """
    num_photos = len(groups)
    used = np.unique(np.concatenate(sides))
    every, *own = (
        np.concatenate([rows + start for start in range(0, len(targets), num_photos)])
        for rows in (used, *sides)
    )
    penalty = choose_penalty(features[every], targets[every], penalties, groups[used], seed=seed)
    return fit_regressions(features, targets, num_classes, penalty, own)


def choose_penalty(
    features: Matrix,
    targets: NDArray[np.int64],
    penalties: tuple[float, ...],
    groups: NDArray[np.int64],
    *,
    seed: int,
) -> float:
    """The C with the lowest cross-validated log loss, on at most 3,000 of the photos.

    Classes with fewer than three groups are left out; where that leaves too little, it is the
    middle candidate.

    Args:
        features: raw, [M * num_photos, F]: all photos, then their mirror images if M is 2.
        targets: [M * num_photos].
        penalties: candidates for C.
        groups: [num_photos] of each photo; photos of one group, and a photo and its mirror image,
            are never on both sides.
        seed: of the folds.
    """
    num_photos = len(groups)
    truth = targets[:num_photos]
    middle = sorted(penalties)[len(penalties) // 2]
    rng = np.random.default_rng([seed, num_photos])
    taken = np.sort(rng.permutation(num_photos)[:MOST_PHOTOS_FOR_PENALTY])
    # A class of fewer groups than folds would be missing from a training side.
    spread = Counter(label for label, _ in set(zip(truth[taken], groups[taken], strict=True)))
    common = [label for label, num_groups in spread.items() if num_groups >= NUM_PENALTY_FOLDS]
    taken = taken[np.isin(truth[taken], common)]
    if len(penalties) == 1 or len(common) < 2:
        return middle
    num_views = len(targets) // num_photos
    rows = np.concatenate([taken + view * num_photos for view in range(num_views)])
    features = np.asarray(features, np.float64)
    centre, scale = _measure_scale(features)
    folds = StratifiedGroupKFold(NUM_PENALTY_FOLDS, shuffle=True, random_state=seed)
    sides = []
    for kept, left in folds.split(taken, truth[taken], groups[taken]):
        if len(np.unique(truth[taken[kept]])) < len(common):
            return middle
        kept_rows = np.concatenate([kept + view * len(taken) for view in range(num_views)])
        sides.append((kept_rows, left))
    # A fold may hold no photo of a class, which the plain log loss takes for a mistake.
    scoring = make_scorer(
        log_loss, greater_is_better=False, response_method="predict_proba", labels=sorted(common)
    )
    search = GridSearchCV(
        LogisticRegression(max_iter=2000),
        {"C": list(penalties)},
        scoring=scoring,
        cv=sides,
        refit=False,
    )
    with _one_thread_a_fit():
        search.fit(_bring_to_scale(features[rows], centre, scale), targets[rows])
    return float(search.best_params_["C"])


def _measure_scale(features: Matrix) -> tuple[Matrix, Matrix]:
    """Of each feature what is taken away, and what it is then divided by."""
    deviation = features.std(axis=0)
    scale = np.sqrt(deviation**2 + (0.5 * deviation.mean()) ** 2) + 1e-12
    return features.mean(axis=0), scale


def _bring_to_scale(features: Matrix, centre: Matrix, scale: Matrix) -> Matrix:
    """With one copy of the features, which are the most of what a large lot takes."""
    scaled = features - centre
    scaled /= scale
    return scaled


@contextmanager
def _one_thread_a_fit() -> Iterator[None]:
    """One BLAS thread for each fit, and the fits side by side.

    BLAS threads that wait for each other by spinning made this 6 to 15 times slower on a busy
    two-core machine (measured).
    """
    with threadpool_limits(1, user_api="blas"), parallel_config("threading", n_jobs=cpu_count()):
        yield
