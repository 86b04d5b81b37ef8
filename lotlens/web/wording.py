"""What the desk says of a car: a sentence first, then a number, then what to do; plain values."""

from __future__ import annotations

from collections.abc import Sequence

from lotlens.records import CarClass
from lotlens.refusal.cars import CarVerdict, Claimed
from lotlens.refusal.verdicts import Verdict
from lotlens.report.language import Language, mark

_ADVICE = {
    "model": "",
    "unsure": mark("Photograph the car from another side, best the tail with its badge."),
    "unknown": mark("Look at the badge: it may be a car that the program was not taught."),
    "not a car": mark("Photograph the whole car from outside."),
    "poor photo": mark("Take the photo again: sharp, in daylight, with the car filling it."),
    "no answer": mark("Send another photo, in a format that phones make."),
}
"""Kind of verdict -> what the person with the phone can do."""
_ONE_CAR = mark("Are all photos of one car? Take away what is not.")


def tell_verdict(verdict: Verdict, language: Language) -> str:
    """One sentence; where it is not sure of a car, that of tables and pages of answers."""
    if verdict.kind == "model":
        return language.say("This is %(car)s.", car=verdict.named[0].name)
    return language.reword(verdict.sentence) or verdict.sentence


def tell_car(verdict: Verdict, doubtful: Sequence[int], language: Language) -> str:
    """What is said of a car by all its photos, and which of these somebody should look at.

    Args:
        verdict: of all photos.
        doubtful: positions of those that may show another car.
        language: of the words.
    """
    sentence = tell_verdict(verdict, language)
    if not doubtful:
        return sentence
    told = language.translate_many(
        "Look at photo %(numbers)s: it may show another car.",
        "Look at photos %(numbers)s: they may show another car.",
        len(doubtful),
    )
    return f"{sentence} {told % {'numbers': ', '.join(str(at + 1) for at in doubtful)}}"


def tell_advice(car: CarVerdict, language: Language) -> str:
    """What to do next; "" if nothing is to be done."""
    advice = _ONE_CAR if car.doubtful else _ADVICE[car.verdict.kind]
    return language.translate(advice) if advice else ""


def tell_claim(
    text: str, claimed: CarClass | None, result: Claimed, verdict: Verdict, language: Language
) -> str:
    """What photos say of the model that the car is said to be."""
    if claimed is None:
        return language.say("Claimed: %(claim)s. The program does not know it.", claim=text)
    if result == "confirmed" and verdict.kind == "model":
        return language.say("It is what is claimed: %(claim)s.", claim=claimed.name)
    if result == "confirmed":
        return language.say("The photos fit what is claimed: %(claim)s.", claim=claimed.name)
    if result == "contradicted":
        return language.say(
            "Claimed: %(claim)s. The photos show another car, %(car)s.",
            claim=claimed.name,
            car=verdict.named[0].name,
        )
    return language.say(
        "Claimed: %(claim)s. These photos neither confirm nor refute it.", claim=claimed.name
    )
