"""Answers to several photos of one car become one answer; it knows predictions alone.

Photos of one car are not independent: what misleads a network in one of them (the paint, the light,
a badge) is often in the others too. The mean of their log-probabilities would be right if they all
said the same, and is too unsure else; their sum would be right if they were independent, and is too
sure. The truth lies between: n photos count as the

    n / (1 + (n - 1) * dependence)

independent ones that a cluster sample is worth whose members have that correlation (Kish 1965, the
design effect). A photo alone keeps its calibrated answer, whatever the dependence, which is fitted
by advert, as a temperature is by photo.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from lotlens.answering.answers import probabilities
from lotlens.answering.logits import log_softmax
from lotlens.records import Predictions

DEPENDENCE = 1.0
"""Where it was not measured: many photos are then no surer than their mean, which is the side on
which a dealer loses nothing."""
SURE = 0.9
"""The least probability by which a photo, or several, contradict what is said of a car."""
EXCLUDED = 0.02
"""The most probability of a class by which they exclude it."""
ALMOST_NOTHING = 0.1
"""A photo that gives a car less than this share of what it gives its own likeliest one gives it
almost nothing; docs/LOG.md has how often that is so of a right photo, and of one of another car."""
FEWEST_ADVERTS = 30
"""With several photos each; from fewer no dependence is fitted."""
_STEPS = 101


def count_independent(num_photos: NDArray[np.int64], dependence: float) -> NDArray[np.float64]:
    """How many independent photos so many of one car are worth, [N]."""
    counts = num_photos.astype(np.float64)
    return np.asarray(counts / (1 + (counts - 1) * dependence))


def fuse(
    predictions: Predictions,
    groups: Sequence[str],
    temperature: float,
    *,
    dependence: float = DEPENDENCE,
) -> Predictions:
    """One answer per group of photos.

    Photos without an answer do not count; a group in which none has one has the first one's reason.
    Familiarity is the mean of theirs.

    Args:
        predictions: answers to photos, N of them.
        groups: N names, of the car (the advert) that each photo shows.
        temperature: by which single answers are calibrated.
        dependence: of photos of one car, from 0 (independent) to 1.

    Returns:
        a row per group, in the order in which groups first appear, with their names as ids. The
        logits are such that dividing them by the same temperature gives the fused probabilities.

    Raises:
        ValueError: not one group per photo, or a dependence out of its range.
    """
    if len(groups) != len(predictions.ids) or not 0 <= dependence <= 1:
        raise ValueError(
            f"{len(groups)} groups of {len(predictions.ids)} photos, dependence {dependence}"
        )
    rows_of = _list_rows(groups)
    num_classes = len(predictions.classes)
    logits = np.full((len(rows_of), num_classes), np.nan, np.float32)
    scores = predictions.familiarity
    familiar = None if scores is None else np.full((len(rows_of), scores.shape[1]), np.nan)
    status, answered = [], predictions.answered
    chances = log_softmax(predictions.logits.astype(np.float64) / temperature)
    for number, rows in enumerate(rows_of.values()):
        counted = [row for row in rows if answered[row]]
        status.append(predictions.status[(counted or rows)[0]])
        if counted:
            worth = count_independent(np.array([len(counted)]), dependence)[0]
            logits[number] = temperature * worth * chances[counted].mean(axis=0)
            if familiar is not None and scores is not None:
                familiar[number] = scores[counted].mean(axis=0)
    return replace(
        predictions,
        ids=tuple(rows_of),
        logits=logits,
        features=None,
        status=tuple(status),
        flaws=None,
        familiarity=None if familiar is None else familiar.astype(np.float32),
        shows=None,
        boxes=None,  # each photo has its own
    )


def part_photos(
    predictions: Predictions, temperature: float
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Which photos of a car say what it is, and which seem to show another one.

    A photo contradicts another if it is sure of a class which the other one excludes, and the
    other way round (`SURE`, `EXCLUDED`). Where two thirds of three photos or more are likeliest to
    be of one class, those that are sure of another one and exclude that are odd, and do not count.
    Without such a majority nothing says which is wrong: all that contradict each other are odd, and
    all count.

    Args:
        predictions: answers to photos of one car.
        temperature: by which single answers are calibrated.

    Returns:
        rows of those that count, and of the odd ones.
    """
    rows = np.flatnonzero(predictions.answered).tolist()
    chances = probabilities(predictions, temperature)
    named = {row: int(chances[row].argmax()) for row in rows}
    sure = [row for row in rows if chances[row, named[row]] >= SURE]
    most = max(named.values(), key=list(named.values()).count, default=0)
    if len(rows) > 2 and 3 * list(named.values()).count(most) >= 2 * len(rows):
        odd = tuple(row for row in sure if named[row] != most and chances[row, most] <= EXCLUDED)
        return tuple(row for row in rows if row not in odd), odd
    odd = tuple(
        row
        for row in sure
        if any(
            named[row] != named[other]
            and chances[row, named[other]] <= EXCLUDED
            and chances[other, named[row]] <= EXCLUDED
            for other in sure
        )
    )
    return tuple(rows), odd


def list_strays(
    predictions: Predictions, classes: Sequence[int], temperature: float
) -> tuple[int, ...]:
    """Photos that give almost nothing to what all photos together say (`ALMOST_NOTHING`).

    They need not be sure of anything, so that nothing says that they are wrong: they count, and
    somebody should look at them.

    Args:
        predictions: answers to photos of one car.
        classes: one or more, of which all photos together say that it is one.
        temperature: by which single answers are calibrated.

    Returns:
        rows; none of a photo alone.
    """
    rows = np.flatnonzero(predictions.answered)
    if len(rows) < 2:
        return ()
    chances = probabilities(predictions, temperature)[rows]
    own = chances[:, list(classes)].max(axis=1)
    return tuple(rows[own < ALMOST_NOTHING * chances.max(axis=1)].tolist())


def fit_dependence(
    predictions: Predictions,
    groups: Sequence[str],
    targets: NDArray[np.int64],
    temperature: float,
) -> float | None:
    """The dependence that makes fused answers fit the truth best, each advert counting once.

    The truth is softened, as it is for a temperature (`temperature.soften_truth`).

    Args:
        predictions: answers to photos that the model has not learnt.
        groups: the advert of each.
        targets: [N] class indices; all photos of an advert have the same.
        temperature: by which single answers are calibrated.

    Returns:
        in 0..1; None where fewer than `FEWEST_ADVERTS` adverts have several answered photos.
    """
    from lotlens.answering.temperature import soften_truth  # imports scipy, slowly

    answered = predictions.answered
    rows_of = {
        name: counted
        for name, rows in _list_rows(groups).items()
        if len(counted := [row for row in rows if answered[row]]) > 1
    }
    if len(rows_of) < FEWEST_ADVERTS:
        return None
    chances = log_softmax(predictions.logits.astype(np.float64) / temperature)
    means = np.stack([chances[rows].mean(axis=0) for rows in rows_of.values()])
    counts = np.array([len(rows) for rows in rows_of.values()])
    truth = soften_truth(targets[[rows[0] for rows in rows_of.values()]], means.shape[1])

    def lose(dependence: float) -> float:
        worth = count_independent(counts, dependence)
        return float(-(truth * log_softmax(worth[:, None] * means)).sum(axis=1).mean())

    # A grid: the loss is convex in what photos are worth, but not in the dependence.
    return float(min(np.linspace(1, 0, _STEPS), key=lose))


def _list_rows(groups: Sequence[str]) -> dict[str, list[int]]:
    rows_of: dict[str, list[int]] = {}
    for row, name in enumerate(groups):
        rows_of.setdefault(name, []).append(row)
    return rows_of
