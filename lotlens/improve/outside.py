"""Outside photos vetted one by one: which may join the training photos, and why the others may not.

It knows photos, labels and answers; no network, and nothing of training. What must never happen is
that a photo of the test part, or one that a model is judged by, is learnt: copies are looked for
first, and nothing else that is said of a photo outweighs one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lotlens.answering.answers import probabilities
from lotlens.audit.checks import describe_likeness
from lotlens.audit.offered import Copies, Part, find_copies, match_classes, name_offered
from lotlens.files import write_rows_atomically
from lotlens.records import (
    OK,
    CarClass,
    Catalog,
    Photo,
    Predictions,
    Refusal,
    Watcher,
)
from lotlens.refusal.verdicts import Verdict, decide
from lotlens.texts import describe

ADMITTED = "admitted"
REASONS: Mapping[str, str] = {
    "copy of test": "it looks like the same picture as a photo of the test part",
    "copy of locked": "it looks like the same picture as a photo of the locked part",
    "copy of validation": "it looks like the same picture as a photo that is held out of training",
    "copy of training": "it looks like a picture that is among the training photos already",
    "copy of additions": "it looks like a picture that was added in an earlier round",
    "unreadable": "it cannot be decoded, or the model gives no number for it",
    "no label": "nothing says which model it shows",
    "unknown class": "it is labelled with a class that the model does not have",
    "label conflict": "what looks like the same picture was offered under another label",
    "poor photo": "too small, too dark, one colour or blurred",
    "not a car": "it does not look like the cars that were learnt, or shows only a part of one",
    "too different": "it looks like none of the models that were learnt",
    "label contradicted": "the model finds the label too improbable",
    "repeated": "what looks like the same picture was offered twice; the other one is admitted",
    ADMITTED: "it may join the training photos",
}
"""Why a photo is turned away -> what that means; the first that holds is given."""

NO_LABEL, UNKNOWN_CLASS = -1, -2
"""In place of a class index, where there is none."""

MOST_CHANCE = 0.2
"""Share of the labels that may pass with one and the same photo."""
_MOST_SHOWN = 20

_PART_NAMES: Mapping[Part, str] = {
    "test": "in the test part",
    "locked": "in the locked part",
    "validation": "held out of training",
    "training": "among the training photos",
    "additions": "among the photos added before",
}
_VERDICTS = {"poor photo": "poor photo", "not a car": "not a car", "unknown": "too different"}
_COLUMNS = (
    *("Id", "Source", "Claimed", "Admitted", "Reason", "Sentence"),
    *("Answer", "Probability", "Weight", "Related"),
)


@dataclass(frozen=True)
class Vetted:
    """What became of one outside photo.

    Attributes:
        photo: with an id that no own photo has, and the label that the target has for its class;
            without a label where the target has none.
        offered_id: its id in the source that was offered.
        source: that source.
        claimed: the class it was offered as, as it is called there; "" without one.
        admitted: whether it may join the training photos.
        reason: one of REASONS.
        sentence: one plain sentence for people, with the figures.
        related_ids: photos that look like the same picture: of the part that is named, or of the
            offer.
        answer: the model's likeliest class; None where it could not answer.
        probability: of that, calibrated; None likewise.
        weight: what it counts in training; 0 if it is not added.
    """

    photo: Photo
    offered_id: str
    source: str
    claimed: str
    admitted: bool
    reason: str
    sentence: str
    related_ids: tuple[str, ...]
    answer: CarClass | None
    probability: float | None
    weight: float = 0.0

    def __repr__(self) -> str:
        return describe(f"Vetted {self.photo.id}", self.sentence)


def choose_least(num_classes: int, candidate: float = 0.0, most: float = MOST_CHANCE) -> float:
    """The probability that a label must have to be believed.

    It must be one of the photo's candidates (see `refusal.conformal`). And of all labels the share
    `most` at most, but one at least, may pass with any one photo, whatever it shows: probabilities
    sum to 1, so that no more than N labels can have more than 1 / (N + 1) each. That holds for
    photos that validation knows nothing of, and for bad models too: of photos under a label drawn
    at random, `most` come in at most, on average.

    Args:
        num_classes: of the model.
        candidate: the least probability of a candidate.
        most: share of the labels.
    """
    num_passing = max(int(most * num_classes + 1e-9), 1)
    return max(candidate, float(np.nextafter(1 / (num_passing + 1), 1)))


def find_reasons(
    ids: Sequence[str],
    claimed: Sequence[int],
    copies: Sequence[Copies],
    verdicts: Sequence[Verdict],
    chances: NDArray[np.float64],
    least: float,
) -> tuple[str, ...]:
    """One of REASONS for each of N photos, the first that holds.

    A copy comes before all else, even before a missing label: it is what must be told. Then what
    keeps the photo from being judged, what is wrong with the picture, and at last whether the
    model believes the label. Of several copies in an offer that could all be admitted the first by
    id stays; if their labels differ, none does.

    Args:
        ids: of the photos.
        claimed: class indices, or NO_LABEL or UNKNOWN_CLASS.
        copies: of each photo.
        verdicts: of `refusal.verdicts.decide`.
        chances: [N, K] calibrated probabilities; NaN where there is no answer.
        least: see `choose_least`.
    """
    reasons = [
        _find_reason(claimed, own, copy, verdict, row, least)
        for own, copy, verdict, row in zip(claimed, copies, verdicts, chances, strict=True)
    ]
    kept: set[int] = set()
    for at in sorted(range(len(ids)), key=lambda at: ids[at]):
        if reasons[at] == ADMITTED:
            if kept.intersection(copies[at].offered):
                reasons[at] = "repeated"
            else:
                kept.add(at)
    return tuple(reasons)


def vet_photos(
    offered: Catalog,
    predictions: Predictions,
    *,
    source: str,
    target: Sequence[CarClass],
    own: Sequence[tuple[Part, Photo]],
    temperature: float,
    refusal: Refusal | None = None,
    trust_labels: bool = False,
    num_workers: int | None = None,
    watch: Watcher | None = None,
) -> tuple[Vetted, ...]:
    """A verdict on every offered photo, in the catalog's order.

    Args:
        offered: the photos, with the classes of their source.
        predictions: answers to them, in the same order; with familiarity, if the gates are to see
            strangers.
        source: where they come from.
        target: the model's classes.
        own: all photos of the run (see `list_own`).
        temperature: of the model's card.
        refusal: of the model's card; without it there are no gates, and strangers are only turned
            away by the probability of their label.
        trust_labels: believe every label, however improbable.
        num_workers: processes that look at photos.
        watch: told of the work as it goes on.

    Raises:
        ValueError: the predictions are of other photos or classes.
    """
    if predictions.ids != offered.ids or predictions.classes != tuple(target):
        raise ValueError("the predictions must be of the offered photos and the target's classes")
    copies = find_copies(offered.photos, own, num_workers=num_workers, watch=watch)
    matches = match_classes(offered.classes, target)
    position = {car.label: k for k, car in enumerate(target)}
    claims = [None if p.label is None else matches[p.label] for p in offered.photos]
    claimed = [
        NO_LABEL if photo.label is None else UNKNOWN_CLASS if car is None else position[car.label]
        for photo, car in zip(offered.photos, claims, strict=True)
    ]
    verdicts = decide(predictions, refusal, temperature)
    chances = probabilities(predictions, temperature)
    least = choose_least(len(target), 0.0 if refusal is None else refusal.candidate)
    least = 0.0 if trust_labels else least
    reasons = find_reasons(offered.ids, claimed, copies, verdicts, chances, least)
    stem = Path(source).absolute().stem or "outside"
    new_ids = name_offered(offered.ids, stem, {photo.id for _, photo in own})
    names = {car.label: car.shown for car in offered.classes}
    vetted = []
    for at, (photo, car, reason) in enumerate(zip(offered.photos, claims, reasons, strict=True)):
        answered = verdicts[at].kind != "no answer"
        best = int(chances[at].argmax()) if answered else -1
        called = "" if photo.label is None else names[photo.label]
        is_repeat = reason in ("label conflict", "repeated")
        twins = tuple(new_ids[twin] for twin in copies[at].offered) if is_repeat else ()
        told = _Told(
            called,
            car,
            0.0 if car is None or not answered else float(chances[at, position[car.label]]),
            target[best] if answered else None,
            float(chances[at, best]) if answered else 0.0,
            least,
        )
        related = copies[at].own if copies[at].part else twins
        vetted.append(
            Vetted(
                replace(photo, id=new_ids[at], label=None if car is None else car.label),
                photo.id,
                source,
                called,
                reason == ADMITTED,
                reason,
                _phrase(reason, told, copies[at], related, verdicts[at]),
                related[:_MOST_SHOWN],
                target[best] if answered else None,
                float(chances[at, best]) if answered else None,
                1.0 if reason == ADMITTED else 0.0,
            )
        )
    return tuple(vetted)


def write_vetted(path: Path, vetted: Sequence[Vetted]) -> None:
    """Write what became of every offered photo as CSV; related ids are parted by line breaks.

    Raises:
        OutputError: the file cannot be written.
    """
    write_rows_atomically(
        path,
        _COLUMNS,
        (
            (
                one.photo.id,
                one.source,
                one.claimed,
                "yes" if one.admitted else "no",
                one.reason,
                one.sentence,
                "" if one.answer is None else one.answer.shown,
                "" if one.probability is None else f"{one.probability:.4f}",
                f"{one.weight:g}",
                "\n".join(one.related_ids),
            )
            for one in vetted
        ),
    )


@dataclass(frozen=True)
class _Told:
    """What a sentence may need: the class claimed and its probability, the answer and its."""

    called: str
    car: CarClass | None
    chance: float
    answer: CarClass | None
    best: float
    least: float


def _phrase(
    reason: str, told: _Told, copies: Copies, related: Sequence[str], verdict: Verdict
) -> str:
    alike = describe_likeness(related, copies.likeness)
    if copies.part is not None:
        return f"It {alike}, {_PART_NAMES[copies.part]}."
    if reason == "unreadable":
        is_read = copies.status == OK
        return verdict.sentence if is_read else f"It cannot be read: {copies.status}."
    if reason == "no label":
        return "Nothing says which model it shows: put it into a folder of its class."
    if reason == "unknown class":
        return f"It is labelled {told.called}, which is none of the model's classes."
    if reason == "label conflict":
        return f"It is labelled {told.called}, but {alike}, labelled otherwise."
    if reason == "repeated":
        return f"It {alike}, which was offered too."
    if reason in _VERDICTS.values():
        return verdict.sentence
    name = told.car.name if told.car is not None else told.called
    if reason == ADMITTED:
        return f"It is labelled {name}, which the model gives {told.chance:.2f}."
    answer = told.answer.name if told.answer is not None else ""
    return (
        f"It is labelled {name}, which the model gives {told.chance:.2f}, less than the"
        f" {told.least:.2f} that a label needs; its answer is {answer} ({told.best:.2f})."
    )


def _find_reason(
    claimed: Sequence[int],
    own: int,
    copies: Copies,
    verdict: Verdict,
    chances: NDArray[np.float64],
    least: float,
) -> str:
    if copies.part is not None:
        return f"copy of {copies.part}"
    if copies.status != OK or verdict.kind == "no answer":
        return "unreadable"
    if own < 0:
        return "no label" if own == NO_LABEL else "unknown class"
    if any(claimed[twin] not in (own, NO_LABEL) for twin in copies.offered):
        return "label conflict"
    if verdict.kind in _VERDICTS:
        return _VERDICTS[verdict.kind]
    return ADMITTED if chances[own] >= least else "label contradicted"
