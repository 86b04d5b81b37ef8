"""What the desk says of a car: a sentence first, then a number, then what to do; plain values."""

from __future__ import annotations

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
_SURE_OF_PAIR = 0.9
"""From here on a pair is an answer of its own."""
_ONE_FROM_ANOTHER = mark("A photo shows another car than the others. Are all of one car?")
_TWO_DIFFER = mark("The two photos show different cars. Are both of one car?")


def tell_verdict(verdict: Verdict, language: Language, *, pair_chance: float = 0.0) -> str:
    """One sentence without numbers.

    Args:
        verdict: what was decided.
        language: of the sentence.
        pair_chance: of two cars that are named, the probability that it is one of them.
    """
    if verdict.kind == "model":
        return language.say("This is %(car)s.", car=verdict.named[0].name)
    if verdict.kind == "unsure" and len(verdict.named) == 2:
        first, second = (car.name for car in verdict.named)
        if pair_chance >= _SURE_OF_PAIR:
            return language.say(
                "%(first)s or %(second)s: which of the two cannot be told here.",
                first=first,
                second=second,
            )
        return language.say(
            "Not sure: perhaps %(first)s or %(second)s.", first=first, second=second
        )
    return language.reword(verdict.sentence) or verdict.sentence


def tell_advice(car: CarVerdict, language: Language) -> str:
    """What to do next; "" if nothing is to be done."""
    if car.odd:
        are_two = car.used == car.odd and len(car.odd) == 2
        return language.translate(_TWO_DIFFER if are_two else _ONE_FROM_ANOTHER)
    advice = _ADVICE[car.verdict.kind]
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
