"""Which offers are worth a call, and why; it knows no file.

The gain of an offer is what its car is usually offered for, less what is haggled off, its price and
costs. Offers are ordered by that gain at the lower end of the fair price's interval, times the
probability that the car is the one claimed: so noise does not look like a bargain. What cannot be
ordered honestly is for people to look at, with the reasons.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from lotlens.market.claims import Claim
from lotlens.market.copies import Shared
from lotlens.market.listings import Listing
from lotlens.market.prices import FEWEST_OF_CAR, Fair
from lotlens.texts import fit

Reason = Literal[
    "no price", "no fair price", "too cheap", "few like it", "wide", "no mileage", "damaged",
    "contradicted", "stolen", "stock", "no usable photo",
]  # fmt: skip
Code = Literal["en", "ru"]


@dataclass(frozen=True)
class Terms:
    """What a dealer reckons with.

    Attributes:
        haggle: share of the fair price that a buyer of ours will haggle off.
        costs: of each car, in the adverts' currency.
        too_cheap: below this share of the fair price nobody believes an offer.
        fewest_like: adverts of the same car without which its price is a guess.
        widest: upper end of the interval as a multiple of its lower end.
    """

    haggle: float = 0.05
    costs: float = 0.0
    too_cheap: float = 0.6
    fewest_like: int = 5
    widest: float = 2.5

    def __post_init__(self) -> None:
        for name in ("haggle", "too_cheap"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(
                    f"{name} is a share from 0 to below 1, not {getattr(self, name):g}"
                )
        if not 0 <= self.costs < math.inf:
            raise ValueError(f"costs are 0 or more, not {self.costs:g}")


@dataclass(frozen=True)
class Offer:
    """An advert judged.

    Attributes:
        row: the advert.
        fair: what its car is usually offered for.
        claim: what its photos say; None where none were looked at.
        shared: what its pictures in other adverts mean, if there are any.
        reasons: why it is not ordered among the others; none if it is.
        gain: expected, at the middle of the fair price; NaN without one.
        sure_gain: likewise at the lower end of its interval, times the probability of the car.
        rank: 1 for the best of those that are ordered; None for the others.
    """

    row: Listing
    fair: Fair
    claim: Claim | None = None
    shared: Shared | None = None
    reasons: tuple[Reason, ...] = ()
    gain: float = math.nan
    sure_gain: float = math.nan
    rank: int | None = None

    @property
    def is_worth_a_call(self) -> bool:
        """Whether it gains something even at the lower end."""
        return self.rank is not None and self.sure_gain > 0


def rank_offers(
    rows: Sequence[Listing],
    fair: Sequence[Fair],
    claims: Sequence[Claim | None],
    shared: Sequence[Shared | None],
    terms: Terms | None = None,
) -> list[Offer]:
    """Judge adverts: those in order first, the best first, then those to look at by hand.

    Args:
        rows: the adverts.
        fair: of each what its car is usually offered for.
        claims: of each what its photos say; None where none were looked at.
        shared: of each what its pictures in other adverts mean; None where there are none.
        terms: what a dealer reckons with.
    """
    terms = terms or Terms()
    offers = [judge_offer(*each, terms) for each in zip(rows, fair, claims, shared, strict=True)]
    ordered = sorted(
        (offer for offer in offers if not offer.reasons),
        key=lambda offer: (-offer.sure_gain, -offer.gain, offer.row.row),
    )
    others = sorted(
        (offer for offer in offers if offer.reasons),
        key=lambda offer: (math.isnan(offer.gain), -offer.gain, offer.row.row),
    )
    return [replace(offer, rank=at) for at, offer in enumerate(ordered, start=1)] + others


def judge_offer(
    row: Listing, fair: Fair, claim: Claim | None, shared: Shared | None, terms: Terms
) -> Offer:
    """An advert's gain, and whether it can be ordered."""
    reasons: list[Reason] = []
    gain = sure_gain = math.nan
    if row.price is None:
        reasons.append("no price")
    if math.isnan(fair.price):
        reasons.append("no fair price")
    elif row.price is not None:
        chance = 1.0 if claim is None or claim.chance is None else claim.chance
        gain = fair.price * (1 - terms.haggle) - row.price - terms.costs
        low_gain = fair.low * (1 - terms.haggle) - row.price - terms.costs
        # A gain is only had if the car is the claimed one; a loss is no smaller if it is not.
        sure_gain = low_gain * chance if low_gain > 0 else low_gain
        if row.price < terms.too_cheap * fair.price:
            reasons.append("too cheap")
        if fair.num_like < max(terms.fewest_like, FEWEST_OF_CAR):
            reasons.append("few like it")
        if fair.high > terms.widest * fair.low:
            reasons.append("wide")
    if row.mileage is None:
        reasons.append("no mileage")
    if row.is_damaged:
        reasons.append("damaged")
    if claim is not None and claim.verdict == "contradicted":
        reasons.append("contradicted")
    if claim is not None and claim.why == "no usable photo":
        reasons.append("no usable photo")
    if shared is not None and shared.kind in ("stolen", "stock"):
        reasons.append("stolen" if shared.kind == "stolen" else "stock")
    return Offer(row, fair, claim, shared, tuple(reasons), gain, sure_gain)


# --- in words ------------------------------------------------------------------------------------

_SIGNS: Mapping[str, str] = {"RUB": "₽", "USD": "$", "EUR": "€", "KZT": "₸", "INR": "₹", "UAH": "₴"}
_THIN = "\u202f"
_MOST_LETTERS = 60  # of a stranger's words in a sentence

_METHODS: Mapping[str, tuple[str, str]] = {
    "model": ("by {n} adverts of the model and all the others",
              "по {n} объявлениям этой модели и всему рынку"),
    "make": ("by the make alone: {n} other adverts of the model",
             "только по марке: других объявлений этой модели — {n}"),
    "analogues": ("by the nearest of {n} adverts of the model",
                  "по ближайшим из {n} объявлений этой модели"),
    "line": ("by year and mileage, from {n} adverts of the model",
             "по году и пробегу, по {n} объявлениям этой модели"),
    "median": ("by the middle of {n} adverts of the model",
               "по середине {n} объявлений этой модели"),
    "none": ("no price: {n} other adverts of the model",
             "цены нет: других объявлений этой модели — {n}"),
}  # fmt: skip


def say_money(amount: float, currency: str, code: Code, *, exact: bool = False) -> str:
    """An amount of money: "1,240,000 ₽"; estimates have no figures that say nothing.

    Args:
        amount: any.
        currency: ISO 4217, or "".
        code: the language.
        exact: it is no estimate.
    """
    places = 0 if exact or abs(amount) < 10_000 else -3
    digits = f"{round(amount, places):,.0f}"
    digits = digits.replace("-", "\u2212")
    if code == "ru":
        digits = digits.replace(",", "\u00a0")
    sign = _SIGNS.get(currency, currency)
    return f"{digits}\u00a0{sign}" if sign else digits


def say_method(fair: Fair, code: Code) -> str:
    """By what a fair price was estimated."""
    return _METHODS[fair.method][code == "ru"].format(n=fair.num_like)


def say_offer(offer: Offer, currency: str, code: Code, names: Sequence[str] = ()) -> str:
    """Why an offer is where it is, in a sentence or several.

    Args:
        offer: judged.
        currency: of prices.
        code: the language.
        names: of all adverts by position, for those that a picture stands in.
    """
    if offer.reasons:
        return " ".join(_REASONS[reason](offer, currency, code, names) for reason in offer.reasons)
    fair, row = offer.fair, offer.row
    price = row.price or math.nan
    below = 1 - price / fair.price
    share = f"{abs(100 * below):.0f}{_THIN}%"
    gain, sure = say_money(offer.gain, currency, code), say_money(offer.sure_gain, currency, code)
    usual = say_money(fair.price, currency, code)
    if code == "ru":
        where = f"{'Дешевле' if below >= 0 else 'Дороже'} обычной цены ({usual}) на {share}."
        if offer.sure_gain > 0:
            return f"{where} Стоит позвонить: выгода около {gain}, с запасом — {sure}."
        if offer.gain > 0:
            return f"{where} Выгода возможна ({gain}), но такой разброс цен здесь обычен."
        return f"{where} Выгоды нет."
    where = f"{share} {'below' if below >= 0 else 'above'} the usual price ({usual})."
    if offer.sure_gain > 0:
        return f"{where} Worth a call: about {gain} to gain, {sure} to be on the safe side."
    if offer.gain > 0:
        return f"{where} Perhaps {gain} to gain, but prices differ as much as that here."
    return f"{where} Nothing to gain."


def say_claim(claim: Claim | None, code: Code) -> str:
    """What the photos say of the advert's car."""
    is_russian = code == "ru"
    if claim is not None and claim.why == "no photos":
        return "Ни одного фото не нашлось." if is_russian else "None of its photos was found."
    if claim is None:
        return "Фото не проверялись." if is_russian else "No photos were checked."
    seen = "" if claim.seen is None else f"{claim.seen.name}, {_share(claim.probability)}"
    if claim.verdict == "confirmed":
        return f"На фото {seen}." if is_russian else f"The photos show it: {seen}."
    if claim.verdict == "contradicted" and claim.claimed is not None:
        name = claim.claimed.name
        return (
            f"Указано {name}, а на фото {seen}."
            if is_russian
            else f"The advert says {name}, the photos say {seen}."
        )
    if claim.why == "no usable photo":
        return (
            "По фото ничего не сказать." if is_russian else "The photos say nothing of the model."
        )
    if claim.why == "not learnt":
        return (
            "Эту модель программа не знает, фото не проверены."
            if is_russian
            else "The program has not learnt this model: the photos are not checked."
        )
    return f"По фото неясно: скорее {seen}." if is_russian else f"The photos leave it open: {seen}."


def _share(chance: float) -> str:
    if chance > 0.995:
        return f">{_THIN}99{_THIN}%"
    return f"{100 * chance:.0f}{_THIN}%"


def _say(english: str, russian: str) -> Callable[[Offer, str, Code, Sequence[str]], str]:
    def tell(offer: Offer, currency: str, code: Code, names: Sequence[str]) -> str:
        fair, price = offer.fair, offer.row.price or math.nan
        others = ", ".join(names[at] for at in offer.shared.others[:3]) if offer.shared else ""
        values = {
            "share": "" if math.isnan(fair.price) else f"{100 * price / fair.price:.0f}{_THIN}%",
            "usual": "" if math.isnan(fair.price) else say_money(fair.price, currency, code),
            "low": "" if math.isnan(fair.low) else say_money(fair.low, currency, code),
            "high": "" if math.isnan(fair.high) else say_money(fair.high, currency, code),
            "n": fair.num_like,
            "others": others,
            "num_others": len(offer.shared.others) if offer.shared else 0,
            "condition": fit(offer.row.condition, _MOST_LETTERS),
        }
        return (russian if code == "ru" else english).format(**values)

    return tell


def _tell_claim(offer: Offer, currency: str, code: Code, names: Sequence[str]) -> str:
    del currency, names
    return say_claim(offer.claim, code)


_REASONS: Mapping[Reason, Callable[[Offer, str, Code, Sequence[str]], str]] = {
    "no price": _say("The advert has no price that can be read.", "Цены в объявлении нет."),
    "no fair price": _say("There is nothing to compare its price with.", "Цену не с чем сравнить."),
    "too cheap": _say(
        "The price is {share} of the usual {usual}: too good to be true.",
        "Цена — {share} от обычной ({usual}): слишком дёшево, чтобы быть правдой.",
    ),
    "few like it": _say(
        "Few adverts like it ({n}): the usual price is a guess.",
        "Похожих объявлений мало ({n}): обычная цена — догадка.",
    ),
    "wide": _say(
        "Prices of such cars differ too much: from {low} to {high}.",
        "Цены на такие машины слишком разные: от {low} до {high}.",
    ),
    "no mileage": _say(
        "The mileage is missing or not to be believed.", "Пробега нет, или ему нельзя верить."
    ),
    "damaged": _say("The car is damaged ({condition}).", "Машина битая ({condition})."),
    "contradicted": _tell_claim,
    "no usable photo": _tell_claim,
    "stolen": _say(
        "A photo also stands in another advert: {others}.",
        "То же фото — в другом объявлении: {others}.",
    ),
    "stock": _say(
        "A stock picture: it stands in {num_others} other adverts.",
        "Фото не этой машины: оно ещё в {num_others} объявлениях.",
    ),
}
