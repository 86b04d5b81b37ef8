"""What is said of each photo: a model, two, or why there is none; it knows predictions alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lotlens.answering.answers import probabilities
from lotlens.records import (
    FAMILIARITIES,
    OK,
    SHOWN,
    CarClass,
    FloatArray,
    Gate,
    Predictions,
    Refusal,
    Word,
)
from lotlens.refusal.conformal import list_candidates
from lotlens.refusal.familiarity import list_scores
from lotlens.refusal.vehicles import name_part
from lotlens.refusal.words import find_word

Kind = Literal["model", "unsure", "unknown", "not a car", "poor photo", "no answer"]

KINDS: tuple[Kind, ...] = ("model", "unsure", "unknown", "not a car", "poor photo", "no answer")
"""What can be said of a photo."""
NAMING: tuple[Kind, ...] = ("model", "unsure")
"""Those that name a class, and alone have a probability."""
VERDICT_COLUMNS = ("verdict", "reason", "candidates")
"""What `add_verdicts` adds."""

OTHER_CAR = "It shows a car, but not one like those that were learnt."
PARTS: Mapping[str, str] = {
    "wheel": "It shows a wheel, not a whole car.",
    "inside": "It shows the inside of a car, not the whole car.",
    "document": "It shows a document or a screen, not a car.",
}
"""What is said where one of SHOWN fills a photo that no gate lets pass."""

LIKE_YOURS = "It looks like your photos in"
NOT_LEARNT = "a car that was not learnt"
"""What a photo may show beside the classes, in a sentence."""

FAR_LIKELIER = 3.0
"""So many times as likely as the other of two is "probably", if it is likelier than not."""
MOST = 0.9
"""From here on two hold so much between them that it is one or the other."""

_NO_CHANCES = {"probability": float("nan"), "second_probability": float("nan")}


@dataclass(frozen=True)
class Verdict:
    """What is said of one photo.

    Attributes:
        kind: one of KINDS.
        named: the model, or the likeliest two where it is unsure; else nothing. Where it is unsure
            and names one, the other is a car that was never taught.
        probability: of the likeliest class, if classes are named; else None.
        candidates: the classes of its set (see `conformal`), the likeliest first; of an unsure one
            those that are named in any case.
        sentence: one plain sentence for people.
        known: how likely it shows any of the classes; 1 where nothing is known of other cars.
    """

    kind: Kind
    named: tuple[CarClass, ...]
    probability: float | None
    candidates: tuple[CarClass, ...]
    sentence: str
    known: float = 1.0


def decide(
    predictions: Predictions, refusal: Refusal | None, temperature: float
) -> tuple[Verdict, ...]:
    """One verdict per photo: a model, two, or why there is none.

    Looked at in this order: whether there is an answer at all, the photo's quality, the gates, and
    then how sure the answer is. With a gate whose method was not measured on these predictions, no
    photo passes. What the gate against no cars stops is a car that is not known, if it shows one;
    what it hardly lets pass is not a car, if it shows none.

    Args:
        predictions: answers; with `flaws`, `familiarity` and `shows`, if the refusal is to use
            them.
        refusal: of the model's card; None for a model that knows of none: every answer is named.
        temperature: of the model's card.
    """
    chances = probabilities(predictions, temperature)
    rule = refusal or Refusal(sure=0.0)
    known = find_known(predictions, rule, temperature)
    refused_by = _apply_gates(predictions, rule, temperature)
    looked_at = set(list_unfamiliar(predictions, rule, temperature))
    order = np.argsort(-chances, axis=1, kind="stable")
    is_candidate = list_candidates(chances, rule.candidate)
    flaws = predictions.flaws or ("",) * len(predictions.ids)
    verdicts = []
    for row, status in enumerate(predictions.status):
        if status != OK:
            verdicts.append(Verdict("no answer", (), None, (), f"There is no answer: {status}."))
            continue
        share = float(known[row])
        ranked = [
            (predictions.classes[k], share * float(chances[row, k])) for k in order[row].tolist()
        ]
        candidates = (
            tuple(predictions.classes[k] for k in order[row].tolist() if bool(is_candidate[row, k]))
            if refusal is not None
            else ()
        )
        flaw = flaws[row]
        if _is_poor(flaw, rule):
            sentence = f"The photo is too poor to tell: {flaw}."
            verdicts.append(Verdict("poor photo", (), None, (), sentence))
            continue
        shows = predictions.shows if row in looked_at else None
        shown = _find_shown(None if shows is None else shows[row], rule.vehicle)
        gate = refused_by[row]
        if gate is not None or shown not in (None, "vehicle"):
            word = _find_word(predictions, row, rule.words)
            verdicts.append(_refuse(gate, ranked[0][0], shown, word))
        else:
            is_only = refusal is None or candidates == (ranked[0][0],)
            is_sure = is_only and ranked[0][1] > rule.sure
            is_sure = is_sure or (len(ranked) == 1 and share == 1)
            named = _name(ranked, candidates, is_sure, 1 - share)
            verdicts.append(replace(named, known=share))
    return tuple(verdicts)


def find_known(
    predictions: Predictions, refusal: Refusal, temperature: float
) -> NDArray[np.float64]:
    """[N] how likely each photo shows any of the classes; 1 where nothing tells."""
    odds = refusal.odds
    if odds is None:
        return np.ones(len(predictions.ids))
    scores = list_scores(predictions, odds.method, temperature)
    with np.errstate(over="ignore"):
        share = 1 / (1 + np.exp(-(odds.slope * scores + odds.offset)))
    return np.where(np.isfinite(share), share, 1.0)


def list_unfamiliar(predictions: Predictions, refusal: Refusal, temperature: float) -> list[int]:
    """Rows of photos of which it is worth asking what they show.

    Those that the gate against no cars stops, and those that it hardly lets pass.
    """
    own = next((gate for gate in refusal.gates if gate.refuses == "not a car"), None)
    if own is None:
        return []
    least = own.threshold if refusal.looked is None else max(own.threshold, refusal.looked)
    scores = list_scores(predictions, own.method, temperature)
    flaws = predictions.flaws or ("",) * len(predictions.ids)
    return [
        row
        for row, (score, flaw, status) in enumerate(
            zip(scores.tolist(), flaws, predictions.status, strict=True)
        )
        if not score >= least and status == OK and not _is_poor(flaw, refusal)
    ]


def add_verdicts(
    rows: Sequence[Mapping[str, Any]], verdicts: Sequence[Verdict]
) -> list[dict[str, Any]]:
    """Rows of `answering.answers.to_rows` with what is said of each photo.

    A photo that gets no name keeps the likeliest class, for a submission must name one, but no
    probability: that is one among the classes, and says nothing where it may be none of them, or
    where the photo is too poor. Where other cars are known of, probabilities are those of the class
    and of no other car.

    Returns:
        the rows with verdict, reason, and candidates: names, with semicolons between.
    """
    return [
        {
            **row,
            **_list_chances(row, verdict),
            "verdict": verdict.kind,
            "reason": verdict.sentence,
            "candidates": "; ".join(car.name for car in verdict.candidates),
        }
        for row, verdict in zip(rows, verdicts, strict=True)
    ]


def _list_chances(row: Mapping[str, Any], verdict: Verdict) -> Mapping[str, float]:
    if verdict.kind not in NAMING:
        return _NO_CHANCES
    return {name: verdict.known * row[name] for name in _NO_CHANCES}


def _apply_gates(
    predictions: Predictions, refusal: Refusal, temperature: float
) -> list[Gate | None]:
    """The first gate that each photo does not pass."""
    refused_by: list[Gate | None] = [None] * len(predictions.ids)
    for gate in reversed(refusal.gates):
        scores = list_scores(predictions, gate.method, temperature)
        for row in np.flatnonzero(~(scores >= gate.threshold)).tolist():
            refused_by[row] = gate
    return refused_by


def _is_poor(flaw: str, refusal: Refusal) -> bool:
    return bool(flaw) and flaw.partition(":")[0] not in refusal.tolerated


def _find_word(predictions: Predictions, row: int, words: Sequence[Word]) -> str:
    scores = predictions.familiarity
    if not words or scores is None or scores.shape[1] != len(FAMILIARITIES) + len(words):
        return ""
    word = find_word(scores[row, len(FAMILIARITIES) :], words)
    return "" if word is None else word.name


def _find_shown(shares: FloatArray | None, vehicle: float | None) -> str | None:
    """One of SHOWN, or "other" for neither a vehicle nor a part of one; None where nobody knows.

    Args:
        shares: [S] of a photo, if it was looked at.
        vehicle: see `Refusal`.
    """
    if vehicle is None or shares is None or not np.isfinite(shares).all():
        return None
    part = name_part(shares)
    return part or ("vehicle" if shares[SHOWN.index("vehicle")] >= vehicle else "other")


def _refuse(gate: Gate | None, likeliest: CarClass, shown: str | None, word: str) -> Verdict:
    """Why a photo is given no name: it does not pass the gate, or shows no car."""
    if gate is not None and gate.refuses == "unknown" and shown in (None, "vehicle"):
        sentence = (
            "It looks like none of the models that were learnt; the least unlike is"
            f" {likeliest.name}."
        )
        return Verdict("unknown", (), None, (), sentence)
    if word:
        return Verdict("not a car", (), None, (), f'{LIKE_YOURS} "{word}", not like a whole car.')
    if shown == "vehicle":
        return Verdict("unknown", (), None, (), OTHER_CAR)
    sentence = "It does not look like the cars that were learnt: no car, or only a part of one."
    return Verdict("not a car", (), None, (), PARTS.get(shown or "", sentence))


def doubt(verdict: Verdict) -> Verdict:
    """A verdict that names a model, halved: as much speaks for a car that was never taught."""
    chance = (verdict.probability or 0.0) / 2
    named = _name([(verdict.named[0], chance)], verdict.candidates, False, 1 - chance)
    return replace(named, known=verdict.known / 2)


def _name(
    ranked: Sequence[tuple[CarClass, float]],
    candidates: tuple[CarClass, ...],
    is_sure: bool,
    other_chance: float,
) -> Verdict:
    """A verdict that names classes; `other_chance` is that of a car that was never taught."""
    (first, chance), *others = ranked
    if is_sure:
        sentence = f"It is {first.name}, with a probability of {_show(chance)}."
        return Verdict("model", (first,), chance, candidates, sentence)
    if not others or other_chance > others[0][1]:
        named: tuple[CarClass, ...] = (first,)
        sentence = _tell_two(first.name, chance, NOT_LEARNT, other_chance)
    else:
        second, next_chance = others[0]
        named = (first, second)
        sentence = _tell_two(first.name, chance, second.name, next_chance)
    # Candidates are the likeliest classes, and so are those named: the longer list has both.
    return Verdict("unsure", named, chance, max(candidates, named, key=len), sentence)


def _tell_two(one: str, chance: float, other: str, other_chance: float) -> str:
    """What is said of two where neither is sure: "probably", one or the other, or "not sure".

    It is the one rule of tables, pages and REST: all of them show this sentence or its translation.
    """
    first, last = _show_share(chance), _show_share(other_chance)
    if chance > 0.5 and chance >= FAR_LIKELIER * other_chance:
        sentence = f"Probably {one} ({first} %), perhaps {other} ({last} %)."
    elif other_chance > 0.5 and other_chance >= FAR_LIKELIER * chance:
        sentence = f"Probably {other} ({last} %), perhaps {one} ({first} %)."
    elif chance + other_chance >= MOST:
        sentence = f"{one} ({first} %) or {other} ({last} %): it is hard to tell which."
    else:
        sentence = f"Not sure: perhaps {one} ({first} %) or {other} ({last} %)."
    return sentence


def _show(chance: float) -> str:
    """Two digits, and never a certainty that nobody has."""
    return "more than 0.99" if chance > 0.99 else f"{chance:.2f}"


def _show_share(chance: float) -> str:
    """Whole per cent, likewise."""
    if chance > 0.995:
        return ">99"
    return "<1" if chance < 0.005 else f"{100 * chance:.0f}"
