"""Prices, mileages and years as people write them; it knows no table.

All functions raise ValueError with the reason where text is none of these, in words fit for a cell.
Nothing is guessed: text that could be two numbers is refused.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass

KM_PER_MILE = 1.609344
MOST_KM = 990_000
"""From here on a mileage is what the form's longest number was, not what a car has driven."""
OLDEST_YEAR = 1900
_LEAST_KM_A_YEAR = 300
_MOST_LETTERS = 200
_SHOWN = 40
_LARGEST = 1e15

_CURRENCIES: Mapping[str, str] = {
    "₽": "RUB", "руб": "RUB", "рублей": "RUB", "рубля": "RUB", "рубль": "RUB", "р": "RUB",
    "rub": "RUB", "rur": "RUB",
    "$": "USD", "usd": "USD", "долл": "USD", "долларов": "USD", "us$": "USD",
    "€": "EUR", "eur": "EUR", "евро": "EUR", "euro": "EUR",
    "£": "GBP", "gbp": "GBP", "¥": "JPY", "jpy": "JPY", "иен": "JPY", "cny": "CNY", "юаней": "CNY",
    "₹": "INR", "inr": "INR", "rs": "INR",
    "₸": "KZT", "kzt": "KZT", "тенге": "KZT", "тг": "KZT",
    "₴": "UAH", "uah": "UAH", "грн": "UAH",
    "byn": "BYN", "aed": "AED", "gel": "GEL", "₾": "GEL", "zł": "PLN", "pln": "PLN",
}  # fmt: skip
_THOUSANDS = ("тыс", "тысяч", "тысячи", "тысяча", "т", "к", "k", "thousand")
_MILLIONS = ("млн", "миллион", "миллиона", "миллионов", "million", "mln", "m")
_TIMES: Mapping[str, float] = {
    **dict.fromkeys(_THOUSANDS, 1e3),
    **dict.fromkeys(_MILLIONS, 1e6),
    **dict.fromkeys(("lakh", "lakhs", "lac", "lacs"), 1e5),
    **dict.fromkeys(("crore", "crores", "cr"), 1e7),
}
_PRICE_CHATTER = (
    *("торг", "цена", "price", "negotiable", "obo", "only", "asking", "firm"),
    *(".", ",", "/", ":", "-"),
)
_KM = ("км", "km", "kms", "kilometers", "kilometres", "километров", "километра")
_MILES = ("mi", "mile", "miles", "миль", "мили")
_DRIVEN = ("пробег", "mileage", "driven", "odometer")

_NUMBER = r"\d+(?:[ .,'’]\d+)*(?:e\+?\d{1,2})?"
_TOKEN = re.compile(rf"{_NUMBER}|us\$|[^\W\d_]+|\S")
_YEAR = re.compile(
    r"(?:\d{1,2}[./-]){0,2}(\d{4})(?:[./-]\d{1,2}){0,2}(?:\.0+)?(?:[ t]\d\d:\d\d.*)?"
    r" ?(?:г\.?|год|года|г\.в\.?|year|y\.?)?"
)


@dataclass(frozen=True, slots=True)
class Price:
    """What is asked.

    Attributes:
        amount: above 0.
        currency: ISO 4217, "" where none is written.
    """

    amount: float
    currency: str = ""


def parse_price(text: str) -> Price:
    """A price as people write it.

    Blanks, commas, dots and apostrophes between groups of three (or of two, as in India) separate
    thousands; the last comma or dot before one or two digits begins a fraction.

    Raises:
        ValueError: there is none, it is not above 1, or it could be two numbers.
    """
    words = _read_words(text)
    amount, rest = _read_amount(words)
    if amount is None:
        raise ValueError(f"no price: {_quote(text)}" if text.strip() else "no price")
    currencies = {_CURRENCIES[word] for word in rest if word in _CURRENCIES}
    strange = [word for word in rest if word not in _CURRENCIES and word not in _PRICE_CHATTER]
    if strange or "-" in words[:-1] or len(currencies) > 1:  # "12.500,-" is a price, "-5" is none
        raise ValueError(f"cannot read the price {_quote(text)}")
    if amount <= 1:
        raise ValueError(f"no price: {_quote(text)}")
    return Price(amount, next(iter(currencies), ""))


def names_miles(head: str) -> bool:
    """Whether the head of a column says that its numbers are miles."""
    return any(word in _MILES for word in _read_words(head))


def parse_mileage(text: str, *, in_miles: bool = False) -> float:
    """A mileage in km; miles are converted where they are written.

    Whether it is to be believed is `doubt_mileage`'s affair.

    Args:
        text: of the cell.
        in_miles: whether a number without a unit is in miles.

    Raises:
        ValueError: there is none, or it could be two numbers.
    """
    words = _read_words(text)
    amount, rest = _read_amount(words)
    if amount is None:
        raise ValueError(f"no mileage: {_quote(text)}" if text.strip() else "no mileage")
    if any(word not in (*_KM, *_MILES, *_DRIVEN, ".", ",", ":") for word in rest):
        raise ValueError(f"cannot read the mileage {_quote(text)}")
    is_said = any(word in (*_KM, *_MILES) for word in rest)
    is_miles = any(word in _MILES for word in rest) if is_said else in_miles
    return amount * (KM_PER_MILE if is_miles else 1.0)


def doubt_mileage(km: float, age: float | None) -> str:
    """Why nobody should believe a mileage, or "".

    Args:
        km: as written.
        age: of the car in years, if known.
    """
    digits = f"{km:.0f}"
    is_one_key = len(digits) > 2 and len(set(digits)) == 1
    is_run = len(digits) > 4 and digits in "1234567890"
    if km >= MOST_KM or (km >= 100_000 and is_one_key) or is_run:
        return f"mileage {digits} km is not believed"
    if age is not None and age >= 3 and (km < _LEAST_KM_A_YEAR * age or is_one_key):
        return f"mileage {digits} km at {age:.0f} years is not believed"
    return ""


def parse_year(text: str, newest: int) -> int:
    """A year of manufacture, alone or in a date.

    Args:
        text: as written.
        newest: the last year that a car can be of.

    Raises:
        ValueError: there is none, or no car is of that year.
    """
    plain = _normalise(text)
    if not plain:
        raise ValueError("no year")
    found = _YEAR.fullmatch(plain)
    if found is None or not OLDEST_YEAR <= int(found.group(1)) <= newest:
        raise ValueError(f"no year: {_quote(text)}")
    return int(found.group(1))


def parse_measure(text: str, least: float, most: float) -> float:
    """The first number of a cell such as "163 л.с." or "2,0 л".

    Raises:
        ValueError: there is none between these bounds.
    """
    found = re.search(r"\d+(?:[.,]\d+)?", _normalise(text))
    value = float(found.group().replace(",", ".")) if found else -1.0
    if not least <= value <= most:
        raise ValueError(f"no number from {least:g} to {most:g}: {_quote(text)}")
    return value


def find_currency(text: str) -> str:
    """The currency that a cell or a header names, as ISO 4217; "" if it names none or several."""
    words = _read_words(text)
    found = {_CURRENCIES[word] for word in words if word in _CURRENCIES}
    return found.pop() if len(found) == 1 else ""


def _read_amount(words: list[str]) -> tuple[float | None, list[str]]:
    """The number among words, with what multiplies it, and the other words.

    Raises:
        ValueError: there are several that are not "1 млн 250 тыс.".
    """
    amount: float | None = None
    last_times = float("inf")
    rest: list[str] = []
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        if not word[0].isdigit():
            rest.append(word)
            continue
        times = 1.0
        while at < len(words) and words[at] in _TIMES:
            times *= _TIMES[words[at]]
            at += 1
            if at < len(words) and words[at] == ".":
                at += 1
        if amount is not None and times >= last_times:
            raise ValueError(f"two numbers: {_quote(' '.join(words))}")
        if amount is not None and last_times == 1:
            raise ValueError(f"two numbers: {_quote(' '.join(words))}")
        amount = (amount or 0.0) + _read_number(word, times) * times
        last_times = times
        if amount > _LARGEST:
            raise ValueError(f"too large: {_quote(' '.join(words))}")
    return amount, rest


def _read_number(text: str, times: float) -> float:
    """Digits with separators, of which it is decided what they separate."""
    if "e" in text:
        if re.fullmatch(r"\d+(?:\.\d+)?e\+?\d+", text) is None:
            raise ValueError(f"cannot read the number {_quote(text)}")
        return float(text)
    groups = re.split(r"[ .,'’]", text)
    signs = re.findall(r"[ .,'’]", text)
    if not signs:
        return float(text)
    last = signs[-1]
    if last in ".," and signs.count(last) == 1 and (len(groups[-1]) != 3 or times >= 1e5):
        whole = groups[:-1]
        if len(signs) > 1 and not _are_thousands(whole, signs[:-1]):
            raise ValueError(f"cannot read the number {_quote(text)}")
        return float(f"{''.join(whole)}.{groups[-1]}")
    if not _are_thousands(groups, signs):
        raise ValueError(f"cannot read the number {_quote(text)}")
    if times == 1e3 and len(signs) == 1 and last in ".,":
        raise ValueError(f"could be two numbers: {_quote(text)}")
    return float("".join(groups))


def _are_thousands(groups: list[str], signs: list[str]) -> bool:
    """Whether groups are those of a whole number: threes, or twos before a three as in India."""
    first, *others = groups
    if len(set(signs)) > 1 or not 1 <= len(first) <= 3 or (others and first[0] == "0"):
        return False
    if all(len(group) == 3 for group in others):
        return True
    is_indian = signs[0] == "," and len(first) <= 2 and len(others[-1]) == 3
    return is_indian and all(len(group) == 2 for group in others[:-1])


def _read_words(text: str) -> list[str]:
    return _TOKEN.findall(_normalise(text))


def _normalise(text: str) -> str:
    """In small letters, with every kind of blank as one plain blank."""
    plain = unicodedata.normalize("NFKC", text[:_MOST_LETTERS]).lower()
    plain = plain.replace("ё", "е").replace("\u2212", "-").replace("–", "-").replace("—", "-")
    return " ".join(plain.split())


def _quote(text: str) -> str:
    plain = " ".join(text.split())
    return repr(plain if len(plain) <= _SHOWN else f"{plain[: _SHOWN - 1]}…")
