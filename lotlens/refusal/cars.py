"""What is said of a car by several photos of it, and of a claim; it knows predictions alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from lotlens.answering.answers import probabilities, take_rows
from lotlens.answering.fusing import (
    DEPENDENCE,
    EXCLUDED,
    SURE,
    fuse,
    list_strays,
    part_photos,
)
from lotlens.records import OK, CarClass, Predictions, Refusal
from lotlens.refusal.verdicts import NAMING, Verdict, decide, doubt

Claimed = Literal["confirmed", "contradicted", "open"]

CONFIRMED = 0.8
"""The least probability of the claimed class by which photos confirm it: with the claim there are
two witnesses, so it may be less than a name needs alone."""


@dataclass(frozen=True)
class CarVerdict:
    """What is said of one car.

    Attributes:
        verdict: of all its photos together.
        photos: of each photo alone, in their order.
        used: positions of the photos on which the verdict rests.
        odd: positions of those that speak for another car than the others do; where most agree
            the verdict does not rest on them (see `answering.fusing.part_photos`).
        chances: probability of each class and of no other car, in their order; empty where no car
            is named.
        strays: positions of the photos that count, but give almost nothing to any car that the
            verdict names (see `answering.fusing.list_strays`).
    """

    verdict: Verdict
    photos: tuple[Verdict, ...]
    used: tuple[int, ...]
    odd: tuple[int, ...]
    chances: tuple[float, ...]
    strays: tuple[int, ...] = ()

    @property
    def doubtful(self) -> tuple[int, ...]:
        """Positions of the photos that may show another car, so that somebody should look."""
        return tuple(sorted({*self.odd, *self.strays}))

    @property
    def num_named(self) -> int:
        """Photos that are named, surely or not."""
        return sum(photo.kind in NAMING for photo in self.photos)

    @property
    def num_unknown(self) -> int:
        """Photos that show a car which was not learnt."""
        return sum(photo.kind == "unknown" for photo in self.photos)


def decide_car(
    predictions: Predictions,
    refusal: Refusal | None,
    temperature: float,
    *,
    dependence: float = DEPENDENCE,
) -> CarVerdict:
    """One verdict on the car that all photos show.

    Gates and quality are asked of each photo alone, and the photos that pass are fused, but for
    those that show another car than most. A photo that is poor, or shows no car, says nothing
    against the others: a dealer photographs seats and dials too. Photos of an unknown car do: if
    there are more of them than of those that pass, the car is unknown, and if there are as many, a
    name is one that it may have. Where none passes, the car is what most photos are; of as many,
    the first.

    Args:
        predictions: answers to the photos, one or more, with flaws and familiarity.
        refusal: as for `verdicts.decide`.
        temperature: likewise.
        dependence: see `answering.fusing`.
    """
    photos = decide(predictions, refusal, temperature)
    named = [row for row, verdict in enumerate(photos) if verdict.kind in NAMING]
    unknown = [row for row, verdict in enumerate(photos) if verdict.kind == "unknown"]
    if len(unknown) > len(named):
        return CarVerdict(photos[unknown[0]], photos, tuple(unknown), (), ())
    if not named:
        kinds = Counter(verdict.kind for verdict in photos)
        commonest = kinds.most_common(1)[0][0]
        rows = tuple(row for row, verdict in enumerate(photos) if verdict.kind == commonest)
        return CarVerdict(photos[rows[0]], photos, rows, (), ())
    agreeing, odd = part_photos(take_rows(predictions, named), temperature)
    used = tuple(named[row] for row in agreeing)
    fused = fuse(take_rows(predictions, used), [""] * len(used), temperature, dependence=dependence)
    if len(used) == 1:
        verdict = photos[used[0]]
    else:
        ungated = None if refusal is None else replace(refusal, gates=())
        (verdict,) = decide(fused, ungated, temperature)
    if len(unknown) == len(named) and verdict.kind == "model":
        verdict = doubt(verdict)
    chances = _list_chances(fused, temperature, verdict.known)
    classes = [predictions.classes.index(one) for one in verdict.named]
    strays = list_strays(take_rows(predictions, used), classes, temperature)
    return CarVerdict(
        verdict,
        photos,
        used,
        tuple(named[row] for row in odd),
        chances,
        tuple(used[row] for row in strays),
    )


def judge_claim(car: CarClass | None, verdict: CarVerdict, classes: Sequence[CarClass]) -> Claimed:
    """Whether photos confirm that a car is what it is said to be.

    A claim outside the classes (None) stays open, and so does one of which as many photos show a
    car that was not learnt as show one that was.

    Args:
        car: what it is said to be.
        verdict: by its photos.
        classes: in the order of its chances.
    """
    if car is None or not verdict.chances or verdict.num_unknown >= verdict.num_named:
        return "open"
    chance = verdict.chances[[one.label for one in classes].index(car.label)]
    most = max(verdict.chances)
    if chance == most:
        return "confirmed" if chance >= CONFIRMED else "open"
    return "contradicted" if most >= SURE and chance <= EXCLUDED else "open"


def _list_chances(fused: Predictions, temperature: float, known: float) -> tuple[float, ...]:
    """Of each class and of no other car; `known` is how likely it is any of them."""
    if fused.status[0] != OK:
        return ()
    return tuple((known * probabilities(fused, temperature)[0]).tolist())
