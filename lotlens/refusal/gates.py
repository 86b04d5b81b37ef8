"""When a model should not name one of its classes, and what to say instead.

It knows predictions and scores alone. A photo passes the gates or is refused; what passes is named,
or left open between two models. Thresholds come from validation photos, which the model has not
learnt, and from photos that show none of its classes ("strangers").
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from lotlens.answering.answers import probabilities, select_predictions
from lotlens.errors import InputError
from lotlens.intervals import measure_auroc, measure_share
from lotlens.records import METHODS, Gate, KnownOdds, Metric, Predictions, Refusal, Targets
from lotlens.refusal.conformal import calibrate_sets, check_share, count_allowed
from lotlens.refusal.familiarity import Scores, list_scores

Group = Literal["unknown", "not a car"]
DEFAULT_METHODS: Mapping[Group, str] = {"not a car": "neighbours", "unknown": "max probability"}
"""Features know what is no car, and next to nothing of which car it is (measured: docs/LOG.md)."""

ANSWERED = 0.95
COVERAGE = 0.95
COST, CAREFUL_COST = 2.0, 12.0
"""Of a wrong name beside a right one: with other cars known, and without.

The latter is a probability of 0.92. Where every second photo shows a car that was not learnt and a
wrong name costs two right ones, hardly any level pays better (six lots of other cars: docs/LOG.md).
"""
_STRANGERS_SHARE = 0.5  # of the known photos given up, how many go to the gate against non-cars
_FEWEST_STRANGERS = 30  # from which they may choose the method
_LOOKED = 0.25  # share of known photos, the least familiar, of which it is asked what they show
_ONE_CHOOSES_OF = 3  # strangers, where they also set the threshold
_COMMON_FLAW = 0.05  # share of known photos from which a flaw is the model's everyday bread
_CHANCE = 0.5  # the AUROC of what tells nothing
_ROUNDING = 1e-4  # of the scores' range; float32 keeps a score of the same photo ten times better
ACCEPTED = "wrongly accepted"
PASSED = "known photos that pass"


@dataclass(frozen=True)
class Strangers:
    """Photos that show none of a model's classes, with its answers to them.

    Attributes:
        name: for people, such as "noise (made)".
        group: which gate should stop them.
        is_given: whether the user gave them; else lotlens made them.
        predictions: with `familiarity`.
    """

    name: str
    group: Group
    is_given: bool
    predictions: Predictions


@dataclass(frozen=True)
class Separation:
    """How well one method tells strangers from known photos.

    Attributes:
        strangers: their name.
        method: one of METHODS.
        auroc: the chance that a stranger has a lower score than a known photo, equal ones counting
            half; its count is that of the strangers.
        accepted: share of the strangers that pass where the stated share of known photos does.
        answered: that share.
        num_known: known photos.
    """

    strangers: str
    method: str
    auroc: Metric
    accepted: Metric
    answered: float
    num_known: int


def measure_separation(
    name: str, method: str, known: Scores, strangers: Scores, answered: float = ANSWERED
) -> Separation:
    """AUROC, and the strangers accepted where `answered` of the known photos are.

    Wilson's interval of the latter takes the threshold as given. Scores that are no numbers are
    left out.

    Args:
        name: of the strangers.
        method: one of METHODS.
        known: [N] scores.
        strangers: [M] scores.
        answered: share of known photos that are to pass.

    Raises:
        InputError: there is nothing to compare.
    """
    ours, theirs = known[np.isfinite(known)], strangers[np.isfinite(strangers)]
    if not len(ours) or not len(theirs):
        raise InputError(
            f"cannot compare {len(ours)} known photos with {len(theirs)} of {name}: each needs one"
            " that can be read at least"
        )
    threshold = choose_threshold(ours, 1 - answered)
    num_passed = int((theirs >= threshold).sum())
    return Separation(
        name,
        method,
        measure_auroc(ours, theirs),
        measure_share(ACCEPTED, num_passed, len(theirs)),
        answered,
        len(ours),
    )


def choose_threshold(known: Scores, refused: float) -> float:
    """The threshold below which a new known photo falls with probability `refused` at most.

    With fewer than 1 / refused - 1 photos that cannot be promised; then none of them is refused,
    and a new one is with probability 1 / (N + 1) at most.

    It lies a ten-thousandth of the scores' range below the photo that sets it: the score of that
    very photo comes out a few bits higher or lower with the batch that it is in, with threads and
    with CPUs, and must not be refused by one and passed by another.

    Args:
        known: [N] scores of known photos, N > 0; photos with that score or more pass.
        refused: between 0 and 1.
    """
    rank = max(count_allowed(refused, len(known)), 1)
    ranked = np.sort(known)
    limit = ranked[rank - 1]
    return float(limit - _ROUNDING * max(ranked[-1] - ranked[0], abs(limit) * _ROUNDING))


def choose_strict_threshold(strangers: Scores, wrong: float) -> float:
    """The threshold that a new stranger reaches with probability `wrong` at most.

    Args:
        strangers: [M] scores; photos with the threshold or more pass.
        wrong: between 0 and 1.

    Raises:
        InputError: there are too few strangers to promise it.
    """
    check_share("the rate of wrong acceptances", wrong)
    rank = count_allowed(wrong, len(strangers))
    if not rank:
        raise InputError(
            f"{len(strangers)} photos cannot show that at most {wrong:g} of them are accepted:"
            f" {math.ceil(1 / wrong - 1 - 1e-9)} are needed at least; give more, or a higher rate"
        )
    # Just above the k-th highest: that one is refused, those above it pass.
    return float(np.nextafter(np.sort(strangers)[-rank], np.inf))


def compare_methods(
    known: Predictions,
    strangers: Sequence[Strangers],
    temperature: float,
    *,
    answered: float = ANSWERED,
) -> tuple[Separation, ...]:
    """Every method on every set of strangers; methods and sets without scores are left out.

    Args:
        known: answers to photos of the model's classes that it has not learnt.
        strangers: sets of photos of none of them.
        temperature: of the model's card.
        answered: share of known photos that are to pass.
    """
    found = []
    for theirs in strangers:
        for method in METHODS:
            ours = _score(known, method, temperature)
            scores = _score(theirs.predictions, method, temperature)
            if len(ours) and len(scores):
                found.append(measure_separation(theirs.name, method, ours, scores, answered))
    return tuple(found)


def learn_refusal(
    known: Predictions,
    targets: Targets,
    temperature: float,
    strangers: Sequence[Strangers] = (),
    *,
    answered: float = ANSWERED,
    wrong: float | None = None,
    cost: float | None = None,
    gain: float = 1.0,
    coverage: float = COVERAGE,
    references_sha256: str = "",
) -> Refusal:
    """Choose the gates' methods and thresholds.

    By default so that the share `answered` of known photos passes both gates, each of which gives
    up half of the others. With `wrong`, a gate lets at most that share of its strangers pass
    instead, if there are any. The method is DEFAULT_METHODS', or, where the user gave 30 strangers
    or more, the one of the highest AUROC on them; with `wrong` a third of them choose it, and the
    others set the threshold.

    One model is named if it is the only candidate and its probability p is worth it:
    p * gain > (1 - p) * cost, which means p > cost / (cost + gain). Where 30 other cars or more are
    given, p is that of the model among the classes times that of the photo showing one of them.

    Args:
        known: answers, with `familiarity`, to photos that the model has not learnt.
        targets: [N] class indices, -1 where not known.
        temperature: of the model's card.
        strangers: sets of photos of none of its classes.
        answered: share of known photos that are to pass.
        wrong: rate of wrong acceptances, if that is to decide.
        cost: of a wrong answer (a wrong buy), in any unit; None for COST, or CAREFUL_COST where
            other cars are not known, and p is too high for those.
        gain: of a right one, in the same unit.
        coverage: of the sets of candidates.
        references_sha256: goes into the record.

    Raises:
        InputError: a number is out of its range, or there are too few strangers for `wrong`.
    """
    check_numbers(answered, wrong, cost, gain, coverage)
    chances = probabilities(known, temperature)
    shares: tuple[tuple[Group, float], ...] = (
        ("not a car", _STRANGERS_SHARE * (1 - answered)),
        ("unknown", (1 - _STRANGERS_SHARE) * (1 - answered)),
    )
    gates = [
        _build_gate(known, temperature, group, strangers, refused, wrong)
        for group, refused in shares
    ]
    usable = (targets >= 0) & known.answered
    built = tuple(gate for gate in gates if gate is not None)
    odds = _fit_odds(known, temperature, strangers, built)
    if cost is None:
        cost = CAREFUL_COST if odds is None else COST
    return Refusal(
        gates=built,
        coverage=coverage,
        candidate=calibrate_sets(chances, targets, coverage),
        sure=cost / (cost + gain),
        looked=_choose_looked(known, temperature, built),
        tolerated=_find_common_flaws(known),
        num_photos=int(usable.sum()),
        references_sha256=references_sha256,
        odds=odds,
    )


def check_numbers(
    answered: float, wrong: float | None, cost: float | None, gain: float, coverage: float
) -> None:
    """Refuse what `learn_refusal` could not use, before slow work would be vain.

    Raises:
        InputError: a number is out of its range.
    """
    check_share("the share of known photos answered", answered)
    check_share("coverage", coverage)
    if wrong is not None:
        check_share("the rate of wrong acceptances", wrong)
    if not (math.isfinite(cost or 0) and math.isfinite(gain) and (cost or 0) >= 0 and gain > 0):
        raise InputError(
            f"the cost of a wrong answer must be 0 or more and the gain of a right one more than 0,"
            f" not {cost!r} and {gain!r}"
        )


def _choose_looked(known: Predictions, temperature: float, gates: Sequence[Gate]) -> float | None:
    """The score by the gate against no cars that all but the least familiar quarter reach.

    Fine-tuned features may find a person or a landscape as familiar as an odd photo of a car, and
    the network that knows vehicles does not; to ask it about each photo would take twice the time.
    """
    method = next((gate.method for gate in gates if gate.refuses == "not a car"), None)
    scores = None if method is None else _score(known, method, temperature)
    return choose_threshold(scores, _LOOKED) if scores is not None and len(scores) else None


def _fit_odds(
    known: Predictions, temperature: float, strangers: Sequence[Strangers], gates: Sequence[Gate]
) -> KnownOdds | None:
    """Platt's scaling (1999) of the score by which other cars are refused, on given ones.

    Both kinds weigh the same, however many photos there are of each.

    Returns:
        None where fewer than 30 other cars were given, or their scores are not surely lower.
    """
    method = next((gate.method for gate in gates if gate.refuses == "unknown"), None)
    given = [s.predictions for s in strangers if s.group == "unknown" and s.is_given]
    if method is None:
        return None
    ours, theirs = _score(known, method, temperature), _join_scores(given, method, temperature)
    if len(theirs) < _FEWEST_STRANGERS or len(ours) < _FEWEST_STRANGERS:
        return None
    if measure_auroc(ours, theirs).low <= _CHANCE:
        return None
    from sklearn.linear_model import LogisticRegression  # slow to import

    scores = np.concatenate([ours, theirs])
    centre, scale = float(scores.mean()), float(scores.std()) or 1.0
    model = LogisticRegression(class_weight="balanced")
    model.fit((scores[:, None] - centre) / scale, np.arange(len(scores)) < len(ours))
    slope = float(model.coef_[0, 0]) / scale
    return KnownOdds(method, slope, float(model.intercept_[0]) - slope * centre)


def _score(predictions: Predictions, method: str, temperature: float) -> Scores:
    scores = list_scores(predictions, method, temperature)
    return scores[np.isfinite(scores)]


def _build_gate(
    known: Predictions,
    temperature: float,
    group: Group,
    strangers: Sequence[Strangers],
    refused: float,
    wrong: float | None,
) -> Gate | None:
    """A gate against one group; None if there are no scores to build it on."""
    ours_by_method = {
        method: scores for method in METHODS if len(scores := _score(known, method, temperature))
    }
    if not ours_by_method:
        return None
    mine = [one for one in strangers if one.group == group]
    given = [one for one in mine if one.is_given]
    choosing = [one.predictions for one in given]
    setting = [one.predictions for one in given or mine]
    if wrong is not None:
        choosing, setting = _part(choosing, setting, wrong)
    method = _choose_method(group, temperature, ours_by_method, choosing, wrong)
    ours = ours_by_method[method]
    if wrong is not None and setting:
        threshold = choose_strict_threshold(_join_scores(setting, method, temperature), wrong)
    else:
        threshold = choose_threshold(ours, refused)
    theirs = _join_scores(setting, method, temperature)
    return Gate(
        group,
        method,
        threshold,
        measure_share(PASSED, int((ours >= threshold).sum()), len(ours)),
        measure_share(ACCEPTED, int((theirs >= threshold).sum()), len(theirs))
        if len(theirs)
        else None,
    )


def _part(
    choosing: list[Predictions], setting: list[Predictions], wrong: float
) -> tuple[list[Predictions], list[Predictions]]:
    """One in three strangers to choose the method, and the others, who set the threshold.

    A threshold that is set by those who chose the method is passed by more than it promises.
    Which are which depends on their ids. None chooses where the others are too few for the rate.
    """
    ids = sorted({id_ for own in choosing for id_ in own.ids}, key=_rank)
    chosen = set(ids[::_ONE_CHOOSES_OF])
    rest = [select_predictions(own, [i for i in own.ids if i not in chosen]) for own in choosing]
    if not count_allowed(wrong, sum(int(own.answered.sum()) for own in rest)):
        return [], setting
    return [select_predictions(own, [i for i in own.ids if i in chosen]) for own in choosing], rest


def _rank(photo_id: str) -> bytes:
    return hashlib.blake2b(photo_id.encode("utf-8", "surrogateescape"), digest_size=16).digest()


def _join_scores(parts: Sequence[Predictions], method: str, temperature: float) -> Scores:
    return np.concatenate([np.zeros(0), *(_score(own, method, temperature) for own in parts)])


def _choose_method(
    group: Group,
    temperature: float,
    known: Mapping[str, Scores],
    choosing: Sequence[Predictions],
    wrong: float | None,
) -> str:
    """The method of the highest AUROC on strangers that are enough to choose; else the default."""
    default = DEFAULT_METHODS[group]
    if default not in known:
        default = next(iter(known))
    fewest = _FEWEST_STRANGERS if wrong is None else _FEWEST_STRANGERS // _ONE_CHOOSES_OF
    strangers = {method: _join_scores(choosing, method, temperature) for method in known}
    areas = {
        method: measure_auroc(known[method], theirs).value
        for method, theirs in strangers.items()
        if len(theirs) >= fewest
    }
    if not areas:
        return default
    best = max(areas, key=lambda method: areas[method])
    return default if areas.get(default) == areas[best] else best


def _find_common_flaws(known: Predictions) -> tuple[str, ...]:
    if known.flaws is None or not known.flaws:
        return ()
    kinds = [flaw.partition(":")[0] for flaw in known.flaws if flaw]
    return tuple(sorted({k for k in kinds if kinds.count(k) >= _COMMON_FLAW * len(known.flaws)}))
