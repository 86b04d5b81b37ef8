"""What is said of a car by several photos of it, and of a claim; it knows predictions alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from lotlens.answering.answers import probabilities, take_rows
from lotlens.answering.fusing import DEPENDENCE, find_odd, fuse
from lotlens.records import OK, CarClass, Predictions, Refusal
from lotlens.refusal.verdicts import Verdict, decide, doubt

Claimed = Literal["confirmed", "contradicted", "open"]

CLAIMED: tuple[Claimed, ...] = ("confirmed", "contradicted", "open")
"""What photos can say of a claim."""
_NAMING = ("model", "unsure")


@dataclass(frozen=True)
class CarVerdict:
    """What is said of one car.

    Attributes:
        verdict: of all its photos together.
        photos: of each photo alone, in their order.
        used: positions of the photos on which the verdict rests.
        odd: positions of those among them that speak for another car than the others do.
        chances: probability of each class and of no other car, in their order; empty where no car
            is named.
    """

    verdict: Verdict
    photos: tuple[Verdict, ...]
    used: tuple[int, ...]
    odd: tuple[int, ...]
    chances: tuple[float, ...]


def decide_car(
    predictions: Predictions,
    refusal: Refusal | None,
    temperature: float,
    *,
    dependence: float = DEPENDENCE,
) -> CarVerdict:
    """One verdict on the car that all photos show.

    Gates and quality are asked of each photo alone, and the photos that pass are fused. A photo
    that is poor, or shows no car, says nothing against the others: a dealer photographs seats and
    dials too. Photos of an unknown car do: if there are more of them than of those that pass, the
    car is unknown, and if there are as many, a name is one that it may have. Where none passes, the
    car is what most photos are; of as many, the first.

    Args:
        predictions: answers to the photos, one or more, with flaws and familiarity.
        refusal: as for `verdicts.decide`.
        temperature: likewise.
        dependence: see `answering.fusing`.
    """
    photos = decide(predictions, refusal, temperature)
    named = [row for row, verdict in enumerate(photos) if verdict.kind in _NAMING]
    unknown = [row for row, verdict in enumerate(photos) if verdict.kind == "unknown"]
    if len(unknown) > len(named):
        return CarVerdict(photos[unknown[0]], photos, tuple(unknown), (), ())
    if not named:
        kinds = Counter(verdict.kind for verdict in photos)
        commonest = kinds.most_common(1)[0][0]
        rows = tuple(row for row, verdict in enumerate(photos) if verdict.kind == commonest)
        return CarVerdict(photos[rows[0]], photos, rows, (), ())
    counted = take_rows(predictions, named)
    fused = fuse(counted, [""] * len(named), temperature, dependence=dependence)
    if len(named) == 1:
        verdict = photos[named[0]]
    else:
        ungated = None if refusal is None else replace(refusal, gates=())
        (verdict,) = decide(fused, ungated, temperature)
    if len(unknown) == len(named) and verdict.kind == "model":
        verdict = doubt(verdict)
    odd = tuple(named[row] for row in find_odd(counted, temperature, dependence=dependence))
    chances = _list_chances(fused, temperature, verdict.known)
    return CarVerdict(verdict, photos, tuple(named), odd, chances)


def find_class(claim: str, classes: Sequence[CarClass]) -> CarClass | None:
    """The class that a claim means, by its name or label; case and blanks do not count.

    None where it means none, or could mean two.
    """
    wanted = _fold(claim)
    found = [car for car in classes if wanted in (_fold(car.name), _fold(car.label))]
    return found[0] if len(found) == 1 else None


def judge_claim(car: CarClass | None, verdict: Verdict) -> Claimed:
    """Whether photos confirm that a car is what it is said to be.

    Contradicted is a claim only where another model is named surely: a pair, a refusal or a claim
    outside the classes (None) leaves it open.
    """
    if car is None or verdict.kind != "model" or len(verdict.named) != 1:
        return "open"
    return "confirmed" if verdict.named[0].label == car.label else "contradicted"


def _fold(text: str) -> str:
    return " ".join(text.casefold().split())


def _list_chances(fused: Predictions, temperature: float, known: float) -> tuple[float, ...]:
    """Of each class and of no other car; `known` is how likely it is any of them."""
    if fused.status[0] != OK:
        return ()
    return tuple((known * probabilities(fused, temperature)[0]).tolist())
