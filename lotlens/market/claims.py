"""Whether an advert's photos show the car that it claims; it opens no photo and runs no network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from lotlens.answering.answers import probabilities, take_rows
from lotlens.market.listings import Listing, fold_name
from lotlens.records import CarClass, Predictions
from lotlens.refusal.verdicts import Kind as VerdictKind

Verdict = Literal["confirmed", "contradicted", "open"]
Why = Literal["", "no photos", "no usable photo", "not learnt", "not sure"]

SURE = 0.9
"""The least probability by which photos contradict a claim with another car."""
CONFIRMED = 0.8
"""The least probability of the claimed car by which they confirm it."""
EXCLUDED = 0.02
"""The most probability of the claimed car by which they contradict it."""

FloatArray = NDArray[np.float64]

_SET_ASIDE: Mapping[VerdictKind, str] = {
    "no answer": "cannot be read",
    "poor photo": "too poor",
    "not a car": "shows no car",
    "unknown": "shows none of the models that were learnt",
}
_ANOTHER = "shows another car"
_SMALLEST = 1e-6


@dataclass(frozen=True, slots=True)
class Claim:
    """What an advert's photos say of its claim.

    Attributes:
        verdict: confirmed, contradicted or open.
        why: of an open one; "" for others.
        claimed: the class that the advert claims; None if it is none of those learnt.
        seen: the likeliest class by the photos together; None without a usable photo.
        probability: of `seen`.
        chance: of the claimed class; None where that or a usable photo is lacking.
        set_aside: position of a photo among the advert's -> why it was not counted.
    """

    verdict: Verdict
    why: Why = ""
    claimed: CarClass | None = None
    seen: CarClass | None = None
    probability: float = 0.0
    chance: float | None = None
    set_aside: Mapping[int, str] | None = None


def fuse_listing(
    predictions: Predictions, rows: Sequence[int], *, temperature: float = 1.0
) -> FloatArray:
    """Log-probabilities [K] of one car by several photos of it.

    The sum of the photos' log-probabilities divided by the square root of their number, so that
    photos that were taken in one place by one person do not count as independent.

    Args:
        predictions: answers to photos.
        rows: which of them show the car; one at least, all answered.
        temperature: of the model's card.
    """
    chances = probabilities(take_rows(predictions, rows), temperature)
    logs = np.log(np.maximum(chances, 1e-12)).sum(axis=0) / np.sqrt(len(rows))
    logs -= logs.max()
    fused: FloatArray = logs - np.log(np.exp(logs).sum())
    return fused


def judge_claim(
    row: Listing,
    predictions: Predictions,
    photos: Sequence[int],
    kinds: Sequence[VerdictKind],
    *,
    known: Sequence[float] | None = None,
    temperature: float = 1.0,
) -> Claim:
    """What an advert's photos say.

    Photos of a car that was not learnt speak against those that are named: if there are more of
    them, none is counted.

    Args:
        row: the advert.
        predictions: answers to photos.
        photos: which of them are the advert's.
        kinds: what `refusal.verdicts` says of each photo of `predictions`.
        known: how likely each of them shows any of the classes (`Verdict.known`); None where
            nothing is known of other cars. Probabilities are of a class and of no other car.
        temperature: of the model's card.
    """
    classes = predictions.classes
    at = find_class(row, classes)
    claimed = None if at is None else classes[at]
    if not photos:
        return Claim("open", "no photos", claimed)
    aside = {
        place: _SET_ASIDE[kinds[photo]]
        for place, photo in enumerate(photos)
        if kinds[photo] in _SET_ASIDE
    }
    usable = [place for place in range(len(photos)) if place not in aside]
    if sum(kinds[photo] == "unknown" for photo in photos) > len(usable):
        return Claim("open", "no usable photo", claimed, set_aside=aside)
    chances = probabilities(take_rows(predictions, photos), temperature)
    usable, others = _leave_out_others(usable, chances)
    aside.update(dict.fromkeys(others, _ANOTHER))
    if not usable:
        return Claim("open", "no usable photo", claimed, set_aside=aside)
    own = [photos[place] for place in usable]
    fused = np.exp(fuse_listing(predictions, own, temperature=temperature))
    if known is not None:
        fused *= _fuse_known([known[photo] for photo in own])
    best = int(fused.argmax())
    seen, probability = classes[best], float(fused[best])
    if at is None:
        return Claim("open", "not learnt", None, seen, probability, None, aside)
    chance = float(fused[at])
    verdict: Verdict = "open"
    if best == at and chance >= CONFIRMED:
        verdict = "confirmed"
    elif best != at and probability >= SURE and chance <= EXCLUDED:
        verdict = "contradicted"
    why: Why = "not sure" if verdict == "open" else ""
    return Claim(verdict, why, claimed, seen, probability, chance, aside)


def _fuse_known(shares: Sequence[float]) -> float:
    """How likely one car is any of the classes, by the mean log-odds of its photos."""
    odds = logit(np.clip(shares, _SMALLEST, 1 - _SMALLEST)).mean()
    return 1.0 if min(shares) == 1 else float(expit(odds))


def _leave_out_others(
    usable: Sequence[int], chances: NDArray[np.floating]
) -> tuple[list[int], list[int]]:
    """Of three photos or more, those apart that are sure of a car which two thirds deny."""
    if len(usable) < 3:
        return list(usable), []
    named = [int(chances[place].argmax()) for place in usable]
    most = max(set(named), key=named.count)
    if named.count(most) < 2 * len(named) / 3:
        return list(usable), []
    others = [
        place
        for place, name in zip(usable, named, strict=True)
        if name != most and chances[place, name] >= SURE and chances[place, most] <= EXCLUDED
    ]
    return [place for place in usable if place not in others], others


def find_class(row: Listing, classes: Sequence[CarClass]) -> int | None:
    """The class that an advert claims; None if it is none of them, or could be several.

    The class's name is the car's, or begins it, or is the model without its make, or begins the
    title; the longest name counts.
    """
    car, model, title = (f"{fold_name(text)} " for text in (row.car, row.model, row.title))
    for text in (car, model, title):
        if not text.strip():
            continue
        names = [f"{fold_name(one.name)} " for one in classes]
        found = [at for at, name in enumerate(names) if name.strip() and text.startswith(name)]
        if text is car and not found:
            # The class may have no make, where the advert has one.
            found = [
                at
                for at, name in enumerate(names)
                if name.strip()
                and text.endswith(f" {name}")
                and len(name.split()) < len(car.split())
            ]
        if found:
            longest = max(len(names[at]) for at in found)
            best = [at for at in found if len(names[at]) == longest]
            return best[0] if len(best) == 1 else None
    return None
