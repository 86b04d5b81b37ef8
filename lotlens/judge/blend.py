"""Several models answer together, and whether that helps; it knows their answers alone.

The answers are averaged in log space with a share for each model, as views of a photo are with
equal ones.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax
from threadpoolctl import threadpool_limits

from lotlens.answering.answers import select_predictions
from lotlens.answering.temperature import fit_temperature, measure_losses, soften_truth
from lotlens.errors import InputError
from lotlens.judge.gain import Gain, adopt_in_turn, measure_gain
from lotlens.records import OK, FloatArray, Predictions
from lotlens.texts import describe

SMALLEST_SHARE = 0.05
"""A model with a smaller share of the answer is not worth being asked."""
_NUM_PARTS = 5
_FEWEST_PHOTOS = 20
_MOST_TRUST = 100.0
_PULL = 3.0
"""How strongly fits pull models towards equal trust; see `fit_shares`."""

Shares = NDArray[np.float64]
"""[M] what each model counts, 0 or more; their sum is 1."""
_Chances = NDArray[np.float64]
"""[M, N, K] log-probabilities of M models for N photos."""


@dataclass(frozen=True)
class Trial:
    """A model that was tried beside those adopted before it.

    Attributes:
        number: which of the models.
        gain: what it adds to them.
        limit: what `gain.p` had to be below.
        is_adopted: whether it was.
    """

    number: int
    gain: Gain
    limit: float
    is_adopted: bool


@dataclass(frozen=True)
class Blend:
    """Models that answer together, and what that is worth.

    Attributes:
        shares: [M] fitted on all photos; 0 for a model that is left out.
        best: the number of the model with the least calibrated log loss.
        accuracies: [M] of each model alone.
        log_losses: [M] of each model alone, each photo at a temperature fitted on others.
        gain: of all that were adopted over the best model alone.
        trials: one for each model but the best, the adopted ones first.
        logits: [N, K] answers, before the temperature, each with shares fitted on other photos;
            NaN rows where a model gives none.
    """

    shares: tuple[float, ...]
    best: int
    accuracies: tuple[float, ...]
    log_losses: tuple[float, ...]
    gain: Gain
    trials: tuple[Trial, ...]
    logits: FloatArray

    def __repr__(self) -> str:
        shares = ", ".join(f"{share:.2f}" for share in self.shares)
        return describe(
            "Blend", f"shares {shares}; {'adopted' if self.is_adopted else 'not adopted'}"
        )

    @property
    def is_adopted(self) -> bool:
        """Whether several models answer."""
        return sum(share > 0 for share in self.shares) > 1


def blend_logits(logits: Sequence[FloatArray], shares: Sequence[float]) -> FloatArray:
    """The mean of the models' log-probabilities, each with its share.

    Args:
        logits: one array [N, K] per model.
        shares: one per model.

    Returns:
        [N, K] float32; a row that is NaN in any model with a share stays so.
    """
    mean = np.zeros(logits[0].shape)
    for own, share in zip(logits, shares, strict=True):
        if share:
            mean += share * log_softmax(np.asarray(own, np.float64), axis=1)
    return mean.astype(np.float32)


def blend_predictions(parts: Sequence[Predictions], shares: Sequence[float]) -> Predictions:
    """The answers of several models to the same photos as one, photos matched by id.

    A photo to which any of the models has no answer has none, with that model's reason: the
    shares were fitted for all of them.

    Args:
        parts: one per model, photos in any order.
        shares: one per model.

    Returns:
        in the first part's order, without features; how familiar a photo looks is what the model
        with the largest share says, since several models' scores have no common scale. Boxes are
        those of the first that looks for cars, with the largest share before all others.

    Raises:
        ValueError: the models differ in their photos or classes.
    """
    first = parts[0]
    aligned = [select_predictions(part, first.ids) for part in parts]
    for part in parts:
        if len(part.ids) != len(first.ids) or part.classes != first.classes:
            raise ValueError("answers to be blended must be to the same photos and classes")
    status = [
        next((reason for reason in reasons if reason != OK), OK)
        for reasons in zip(*(part.status for part in aligned), strict=True)
    ]
    logits = blend_logits([part.logits for part in aligned], shares)
    logits[np.array([reason != OK for reason in status], bool)] = np.nan
    largest = aligned[int(np.argmax(shares))]
    boxes = next((own.boxes for own in (largest, *aligned) if own.boxes is not None), None)
    return replace(largest, logits=logits, features=None, status=tuple(status), boxes=boxes)


def fit_shares(logits: Sequence[FloatArray], targets: NDArray[np.int64]) -> Shares:
    """The shares that make the log loss least, at the temperature that is best for them.

    A pool of log-probabilities with weights of 0 or more (a logarithmic opinion pool; Genest &
    Zidek 1986) is a multinomial logistic regression, so the least is the only one. The weights'
    sum is the inverse of the temperature. The truth is softened as `fit_temperature` does it.

    Each model is calibrated first, and then weights are pulled towards their mean, by 3 over the
    number of photos times the squared distance: a hundred photos cannot tell models that are about
    as good apart, and then equal trust in calibrated answers is best. Models with less than a
    twentieth of the trust are left out, the least first.

    Args:
        logits: one array [N, K] per model, all finite.
        targets: [N] class indices.

    Returns:
        equal ones where there is nothing to learn from.
    """
    chances = _take_logarithms(logits)
    return _fit(chances, targets, _fit_temperatures(chances, targets))


def try_blend(
    logits: Sequence[FloatArray], targets: NDArray[np.int64], ids: Sequence[str]
) -> Blend:
    """Choose the models that answer together: the best one, and what helps it.

    It goes as with views (see `tta.choose_views`): each other model is tried beside those adopted;
    of those that help beyond noise the most helpful is adopted, until none does. The limit for p
    is 0.1 over the number of models that are still tried (Holm 1979).

    Shares and temperature are fitted on four fifths of the photos and judged on the fifth that
    they have not seen, five times over; the best model's temperature likewise. That model is the
    best on all photos, which favours it. Which photos make a fifth depends on their ids alone.

    Args:
        logits: one array [N, K] per model, in the same order of photos. Photos that are NaN for
            any model are left out.
        targets: [N] class indices; photos with -1 are left out.
        ids: [N] of the photos.

    Raises:
        InputError: fewer than 20 photos are left.
    """
    usable = (targets >= 0) & np.all([np.isfinite(own).all(axis=1) for own in logits], axis=0)
    known, num_photos = targets[usable], int(usable.sum())
    if num_photos < _FEWEST_PHOTOS:
        raise InputError(
            f"only {num_photos} validation photos have a label and an answer of every run: too few"
            f" to find shares with, which takes {_FEWEST_PHOTOS} or more"
        )
    chances = _take_logarithms([own[usable] for own in logits])
    part_of = _part(np.array(ids, dtype=object)[usable].tolist())
    # These fits are small: BLAS threads that wait for each other by spinning made a trial of many
    # models 6 times slower on a busy machine (measured).
    with threadpool_limits(1, user_api="blas"):
        # Each model's, without each part in turn: every fit of several models begins with them.
        temperatures = np.stack(
            [
                _fit_temperatures(chances[:, part_of != number], known[part_of != number])
                for number in range(_NUM_PARTS)
            ]
        )

        def cross(chosen: Sequence[int]) -> _Crossed:
            return _cross(chances[chosen], known, part_of, temperatures[:, chosen])

        alone = [cross([number]) for number in range(len(chances))]
        best = int(np.argmin([own.losses.mean() for own in alone]))

        def measure(adopted: Sequence[int], left: Sequence[int]) -> list[Gain]:
            before = cross([best, *adopted])
            return [before.compare(cross([best, *adopted, number]), known) for number in left]

        others = [number for number in range(len(chances)) if number != best]
        trials = tuple(Trial(*one) for one in adopt_in_turn(others, measure))
        chosen = [best, *(trial.number for trial in trials if trial.is_adopted)]
        joined = cross(chosen)
        shares = np.zeros(len(chances))
        shares[chosen] = _fit(chances[chosen], known, _fit_temperatures(chances[chosen], known))
    answers = np.full(logits[0].shape, np.nan, np.float32)
    answers[usable] = joined.pooled
    return Blend(
        tuple(shares.tolist()),
        best,
        tuple(float((own.argmax(axis=1) == known).mean()) for own in chances),
        tuple(float(own.losses.mean()) for own in alone),
        alone[best].compare(joined, known),
        trials,
        answers,
    )


@dataclass(frozen=True)
class _Crossed:
    """Answers to each photo with shares and temperature that were fitted on others.

    Attributes:
        pooled: [N, K] before the temperature.
        losses: [N] after it.
    """

    pooled: NDArray[np.float64]
    losses: NDArray[np.float64]

    def compare(self, other: _Crossed, targets: NDArray[np.int64]) -> Gain:
        rights = (own.pooled.argmax(axis=1) == targets for own in (self, other))
        return measure_gain(self.losses, other.losses, *rights)


def _cross(
    chances: _Chances,
    targets: NDArray[np.int64],
    part_of: NDArray[np.int64],
    temperatures: NDArray[np.float64],
) -> _Crossed:
    """Answers of all models together; `temperatures` [P, M] are of each without each part."""
    pooled, losses = np.empty(chances.shape[1:]), np.empty(len(targets))
    for number in range(_NUM_PARTS):
        held = part_of == number
        shares = _fit(chances[:, ~held], targets[~held], temperatures[number])
        answers = np.tensordot(shares, chances, axes=1)
        temperature = fit_temperature(answers[~held], targets[~held])
        pooled[held] = answers[held]
        losses[held] = measure_losses(answers[held], targets[held], temperature)
    return _Crossed(pooled, losses)


def _fit_temperatures(chances: _Chances, targets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Of each model alone, [M]."""
    return np.array([fit_temperature(own, targets) for own in chances])


def _fit(
    chances: _Chances, targets: NDArray[np.int64], temperatures: NDArray[np.float64]
) -> Shares:
    """See `fit_shares`; `temperatures` [M] are the models' own."""
    num_models = len(chances)
    if num_models == 1 or not len(targets):
        return np.full(num_models, 1 / num_models)
    calibrated = chances / temperatures[:, None, None]
    kept = list(range(num_models))
    while True:
        trust = _fit_trust(calibrated[kept], targets)
        least = int(trust.argmin())
        if len(kept) == 1 or trust[least] >= SMALLEST_SHARE * trust.sum():
            break
        del kept[least]
    shares = np.zeros(num_models)
    shares[kept] = trust / temperatures[kept] if trust.any() else 1.0  # none knows anything
    return np.asarray(shares / shares.sum())


def _fit_trust(chances: _Chances, targets: NDArray[np.int64]) -> NDArray[np.float64]:
    """Weights of 0 or more, [M], of log-probabilities [M, N, K]; M and N are 1 or more."""
    num_models, num_photos, num_classes = chances.shape
    truth = soften_truth(targets, num_classes)

    def measure(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        pooled = np.tensordot(weights, chances, axes=1)
        away = weights - weights.mean()
        # Softmax and its logarithm at once, without scipy's look at what kind of array it is given.
        lower = pooled - pooled.max(axis=1, keepdims=True)
        raised = np.exp(lower)
        total = raised.sum(axis=1, keepdims=True)
        loss = -(truth * (lower - np.log(total))).sum() + _PULL * np.square(away).sum()
        slope = np.tensordot(chances, raised / total - truth, axes=2) + 2 * _PULL * away
        return float(loss) / num_photos, slope / num_photos

    found = minimize(
        measure,
        np.full(num_models, 1 / num_models),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0.0, _MOST_TRUST)] * num_models,
        options={"ftol": 1e-11, "gtol": 1e-8},
    )
    return np.asarray(found.x, np.float64)


def _take_logarithms(logits: Sequence[FloatArray]) -> _Chances:
    return np.array([log_softmax(np.asarray(own, np.float64), axis=1) for own in logits])


def _part(ids: Sequence[str]) -> NDArray[np.int64]:
    """Which part each photo is in, [N]: equal parts, drawn by id."""
    order = sorted(
        range(len(ids)),
        key=lambda row: hashlib.blake2b(ids[row].encode("utf-8", "surrogateescape")).digest(),
    )
    part_of = np.empty(len(ids), np.int64)
    part_of[order] = np.arange(len(ids)) % _NUM_PARTS
    return part_of
