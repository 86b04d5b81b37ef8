"""One picture in several adverts: a repost, a stolen photo or a stock picture; it opens no photo.

A picture alone does not decide. What the adverts claim, where they stand, who sells and for how
much does: the same car offered twice has the same claim, city and about the price. Where neither
city nor seller is told, it has the same mileage.
"""

from __future__ import annotations

import datetime
import re
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from lotlens.market.listings import Listing, group_reposts
from lotlens.naming import fold_name

Kind = Literal["repost", "stolen", "stock"]
"""What it means that a picture stands in other adverts too."""

FEWEST_FOR_STOCK = 4
"""Cars (reposts counted once) with one picture that make it a stock picture."""
NEAR_PRICE = 0.15
"""By so much a repost's price may differ, as a share of the higher one."""
_DAYS = (
    (re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})(?!\d)"), (1, 2, 3)),
    (re.compile(r"(\d{1,2})\.(\d{1,2})\.(\d{4})(?!\d)"), (3, 2, 1)),
)
"""How a day may be written, and where year, month and day stand; 3/4/2026 may be two days."""
_KINDS_OF_SELLER = frozenset(
    ("private", "private person", "owner", "individual", "dealer", "trustmark dealer", "company",
     "частник", "частное лицо", "собственник", "дилер", "автодилер", "официальный дилер",
     "компания", "автосалон", "салон")
)  # fmt: skip
"""What a column of sellers says that names nobody."""


@dataclass(frozen=True, slots=True)
class Shared:
    """What an advert's pictures in other adverts mean.

    Attributes:
        kind: the worst of what was found: a stolen photo, a stock picture, a repost.
        others: positions of the other adverts, in order.
    """

    kind: Kind
    others: tuple[int, ...]


def judge_copies(
    rows: Sequence[Listing],
    pictures: Sequence[Sequence[int]],
    confirmed: Sequence[bool] | None = None,
) -> list[Shared | None]:
    """What it means for each advert that its pictures stand in others.

    Args:
        rows: the adverts.
        pictures: of each the numbers of its pictures; two photos of one number show one picture
            (see `audit.findings.find_links`).
        confirmed: whether an advert's photos show the car that it claims. Of two that share a
            picture and claim different things, the one is not suspected that alone is confirmed;
            where the photos do not tell the two apart, the one that was there first.

    Returns:
        one each; None where no picture stands elsewhere.
    """
    holders: dict[int, list[int]] = defaultdict(list)
    for at, numbers in enumerate(pictures):
        for number in dict.fromkeys(numbers):
            holders[number].append(at)
    groups = group_reposts(rows)
    found: dict[int, dict[Kind, set[int]]] = defaultdict(lambda: defaultdict(set))
    for those in holders.values():
        cars = {groups[at] for at in those}
        for at in those:
            others = [one for one in those if one != at]
            if not others:
                continue
            if len(cars) >= FEWEST_FOR_STOCK:
                found[at]["stock"].update(others)
                continue
            for one in others:
                if _is_repost(rows[at], rows[one], is_same=groups[at] == groups[one]):
                    found[at]["repost"].add(one)
                elif not _is_owner(rows, at, one, confirmed):
                    found[at]["stolen"].add(one)
    order: tuple[Kind, ...] = ("stolen", "stock", "repost")
    result: list[Shared | None] = []
    for at in range(len(rows)):
        kinds = found.get(at, {})
        worst = next((kind for kind in order if kinds.get(kind)), None)
        result.append(None if worst is None else Shared(worst, tuple(sorted(kinds[worst]))))
    return result


def _is_owner(
    rows: Sequence[Listing], at: int, other: int, confirmed: Sequence[bool] | None
) -> bool:
    """Whether a picture of two adverts is rather the first one's."""
    if confirmed is not None and confirmed[at] != confirmed[other]:
        return confirmed[at]
    mine, theirs = rows[at], rows[other]
    for one, another in ((mine.first_seen, theirs.first_seen), (mine.date, theirs.date)):
        days = read_day(one), read_day(another)
        if days[0] is not None and days[1] is not None:
            return days[0] < days[1]
    return False


def read_day(text: str) -> datetime.date | None:
    """The day that an advert tells, as 2026-11-29 or 29.11.2026, whatever follows; else None."""
    for pattern, order in _DAYS:
        found = pattern.match(text.strip())
        if found is not None:
            with suppress(ValueError):
                return datetime.date(*(int(found[part]) for part in order))
    return None


def _is_repost(one: Listing, other: Listing, *, is_same: bool) -> bool:
    """Whether two adverts with one picture offer one car."""
    if is_same:
        return True
    claims = (fold_name(one.car), one.year), (fold_name(other.car), other.year)
    if claims[0] != claims[1]:
        return False
    is_near = True
    if one.price and other.price:
        is_near = abs(one.price - other.price) <= NEAR_PRICE * max(one.price, other.price)
    # What neither or only one of them tells says nothing for them, and nothing against.
    pairs = [
        tuple(fold_name(row.facts.get(role, "")) for row in (one, other))
        for role in ("city", "seller")
    ]
    told = [
        first == second
        for first, second in pairs
        if first and second and not _KINDS_OF_SELLER.issuperset((first, second))
    ]
    is_like = any(told) if told else one.mileage is not None and one.mileage == other.mileage
    return is_near and is_like
