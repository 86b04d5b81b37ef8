"""Names of cars as people write them: compared without what differs from writer to writer."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache

from lotlens.records import CarClass

_ROMAN = re.compile(r"(?=.)x{0,2}(ix|iv|v?i{0,3})")
_YEAR = re.compile(r"(19|20)\d\d")
_WORDS = """
sedan saloon hatchback hatch liftback wagon estate touring tourer variant combi kombi coupe
convertible cabrio cabriolet roadster suv crossover minivan pickup van truck
седан хэтчбек хетчбек лифтбек универсал купе кабриолет внедорожник кроссовер минивэн пикап
фургон sw door doors дв дверный door дверей
generation gen mk restyling facelift поколение поколения рестайлинг рест дорестайлинг new
series серия серии
mt at amt cvt dsg gdi tdi tsi tfsi crdi cdi hybrid diesel petrol turbo manual automatic auto
awd fwd rwd xdrive quattro мт ат амт кпп мкпп акпп мех механика автомат робот вариатор гибрид
дизель бензин турбо газ полный передний задний привод л лс hp г год года
base standard comfort comfortline trend trendline highline titanium ghia zetec elegance
prestige premium luxury luxe lux executive style classic ambiente ambition
limited unlimited edition gl gls gle glx le se sel xle xse lt ltz ls ex lx rs gti st
стандарт комфорт люкс престиж премиум классик норма элеганс samara самара
"""
_VARIANTS = frozenset(_WORDS.split())
"""Words behind a model's name that leave it the same model; numbers do so too."""


LONG_MAKES = (
    "alfa romeo", "aston martin", "force motors", "great wall", "hindustan motors", "land rover",
    "maruti suzuki", "range rover", "rolls royce",
)  # fmt: skip
"""Makes of two words, folded."""


@lru_cache(maxsize=50_000)
def fold_name(text: str) -> str:
    """A name without what differs from writer to writer: case, signs, ё, how it is composed."""
    plain = unicodedata.normalize("NFC", text).casefold().replace("ё", "е")
    # Marks are parts of letters in many scripts.
    kept = (sign if unicodedata.category(sign)[0] in "LMN" else " " for sign in plain)
    return " ".join("".join(kept).split())


def is_variant(words: Sequence[str]) -> bool:
    """Whether folded words behind a model's name leave it that model: a year, a body, a trim.

    "Prado" behind Land Cruiser or "Plus" behind Golf does not; what is not known does not either.
    """
    return all(
        word in _VARIANTS or any(sign.isdigit() for sign in word) or _ROMAN.fullmatch(word)
        for word in words
    )


def find_class(
    names: Sequence[str], classes: Sequence[CarClass], *, by_label: bool = False
) -> CarClass | None:
    """The class that a car is said to be; None if it is none of them, or could be several.

    A name means a class if it is the class's, or goes on after that as `is_variant` allows; of
    classes that fit the longest name counts. The first of the names that means any class decides.

    Args:
        names: what the car is called, such as make and model, the model alone, a title.
        classes: that it may be.
        by_label: whether a class's label means it too.
    """
    for name in names:
        words = fold_name(name).split()
        fits: dict[int, list[CarClass]] = {}
        for car in classes:
            own = fold_name(car.name).split()
            if own and words[: len(own)] == own and is_variant(words[len(own) :]):
                fits.setdefault(len(own), []).append(car)
            elif by_label and words and words == fold_name(car.label).split():
                fits.setdefault(len(words), []).append(car)
        if fits:
            best = fits[max(fits)]
            return best[0] if len(best) == 1 else None
    return None


def may_be_class(names: Sequence[str], classes: Sequence[CarClass]) -> bool:
    """Whether a car's names have a word of a class's own, apart from its make: for being careful.

    Whoever calls a Land Cruiser Prado another car than the class Land Cruiser must know cars.
    """
    words = {word for name in names for word in fold_name(name).split()}
    return any(words & _list_own_words(car.name) for car in classes)


@lru_cache(maxsize=50_000)
def _list_own_words(name: str) -> frozenset[str]:
    words = fold_name(name).split()
    first_two = " ".join(words[:2])
    size = 2 if first_two in LONG_MAKES or first_two == "mercedes benz" else 1
    rest = words[size:] or words
    own = {word for word in rest if word not in _VARIANTS and not _YEAR.fullmatch(word)}
    return frozenset(own or words)
