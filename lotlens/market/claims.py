"""What an advert's photos say of its claim, in an advert's terms; it opens no photo.

How photos of one car become one answer, and when that confirms a claim, is `refusal.cars`'.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from lotlens.market.copies import Shared
from lotlens.market.listings import Listing
from lotlens.naming import find_class, may_be_class
from lotlens.records import CarClass
from lotlens.refusal.cars import CarVerdict, Claimed, judge_claim
from lotlens.refusal.verdicts import Kind as VerdictKind

Why = Literal["", "no photos", "no usable photo", "not learnt", "not sure"]

_SET_ASIDE: Mapping[VerdictKind, str] = {
    "no answer": "cannot be read",
    "poor photo": "too poor",
    "not a car": "shows no car",
    "unknown": "shows none of the models that were learnt",
}
_ANOTHER = "shows another car"


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
        is_named: whether the photos name `seen` alone, as the desk would.
        set_aside: number of a photo among the advert's, from 0 -> why it was not counted.
    """

    verdict: Claimed
    why: Why = ""
    claimed: CarClass | None = None
    seen: CarClass | None = None
    probability: float = 0.0
    chance: float | None = None
    is_named: bool = False
    set_aside: Mapping[int, str] = field(default_factory=dict)


def name_car(row: Listing) -> tuple[str, ...]:
    """What an advert calls its car, for `naming.find_class`: the fullest name first."""
    title = row.title.partition(",")[0].partition("(")[0]
    return row.car, row.model, title


def judge_listing(
    row: Listing,
    classes: Sequence[CarClass],
    car: CarVerdict | None,
    numbers: Sequence[int] = (),
) -> Claim:
    """What an advert's photos say of the car that it claims.

    Args:
        row: the advert.
        classes: in the order of the verdict's chances.
        car: what is said by its photos; None without any.
        numbers: of each of these photos its number among the advert's.
    """
    claimed = find_class(name_car(row), classes)
    if car is None:
        return Claim("open", "no photos", claimed)
    aside: dict[int, str] = {}
    for at, (number, photo) in enumerate(zip(numbers, car.photos, strict=True)):
        if photo.kind in _SET_ASIDE:
            aside[number] = _SET_ASIDE[photo.kind]
        elif at in car.odd and at not in car.used:
            aside[number] = _ANOTHER
    if not car.chances:
        return Claim("open", "no usable photo", claimed, set_aside=aside)
    best = max(range(len(classes)), key=car.chances.__getitem__)
    verdict = judge_claim(claimed, car, classes)
    chance = None
    if claimed is not None:
        chance = car.chances[[one.label for one in classes].index(claimed.label)]
    why: Why = "" if verdict != "open" else "not learnt" if claimed is None else "not sure"
    return Claim(
        verdict,
        why,
        claimed,
        classes[best],
        car.chances[best],
        chance,
        car.verdict.kind == "model",
        aside,
    )


def find_others(
    row: Listing,
    classes: Sequence[CarClass],
    car: CarVerdict | None,
    claim: Claim,
    shared: Shared | None,
    numbers: Sequence[int],
) -> list[int]:
    """Numbers of an advert's photos that may be learnt as cars that are none of the classes.

    The advert names a model that is surely no class (no word of a class's name is in it), and its
    photos do not name a class: else the advert may be wrong, or its name in other letters. Pictures
    that stand in other sellers' adverts are nobody's.

    Args:
        row: the advert.
        classes: that were learnt.
        car: what is said by its photos; None without any.
        claim: likewise, of its claim.
        shared: what its pictures in other adverts mean.
        numbers: of each of these photos its number among the advert's.
    """
    is_stolen = shared is not None and shared.kind != "repost"
    if car is None or claim.is_named or is_stolen or not row.car:
        return []
    if claim.claimed is not None or may_be_class((row.car, row.title), classes):
        return []
    return [
        number
        for at, (number, photo) in enumerate(zip(numbers, car.photos, strict=True))
        if photo.kind in ("model", "unsure", "unknown") and at not in car.odd
    ]
