"""Outside photos vetted one by one: which may join the training photos, and why the others may not.

It knows photos, labels and answers; no network, and nothing of training. What must never happen is
that a photo of the test part, or one that a model is judged by, is learnt: copies are looked for
first, and nothing else that is said of a photo outweighs one.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from lotlens.answering.answers import probabilities
from lotlens.audit.checks import describe_likeness, join_links, tell_files
from lotlens.audit.findings import find_links
from lotlens.audit.parts import LOCKED, list_held_out
from lotlens.audit.signs import scan_photos
from lotlens.files import write_rows_atomically
from lotlens.records import (
    OK,
    CarClass,
    Catalog,
    Lot,
    Photo,
    Predictions,
    Refusal,
    Split,
    Watcher,
    watch_part,
)
from lotlens.refusal.verdicts import Verdict, decide
from lotlens.texts import describe

Part = Literal["test", "locked", "validation", "training", "additions"]
PARTS: tuple[Part, ...] = get_args(Part)
"""The parts of a run's own photos, those that matter most first."""

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


@dataclass(frozen=True)
class Copies:
    """Photos that look like the same picture as an offered one, also by way of others.

    Attributes:
        status: "ok", or why the offered one cannot be read.
        part: the first of PARTS that has such photos; None if there are none.
        own: ids of that part.
        offered: positions of other offered photos.
        likeness: of the one that it is most like (see `likeness.measure_likeness`); None if all of
            `own` (of `offered`, if there is no part) are the same file, byte for byte.
    """

    status: str = OK
    part: Part | None = None
    own: tuple[str, ...] = ()
    offered: tuple[int, ...] = ()
    likeness: float | None = 0.0


def match_classes(
    offered: Sequence[CarClass], target: Sequence[CarClass]
) -> dict[str, CarClass | None]:
    """Which class of the target each offered label means.

    A label such as "4" means one car here and another there, so names decide where both sides have
    them: a class of the offer that has a name is the target's class of that name, whatever its
    label, and none if there is no such name. Without a name, or where the target has none, an equal
    label counts; then a label that is the target's name (a folder "Niva" for the class 4 Niva).
    Case, spaces and the composition of letters make no difference to names.

    Args:
        offered: classes of the source; `name` equals `label` where it gives none.
        target: the model's classes.

    Returns:
        offered label -> class of the target, or None.
    """
    by_label = {car.label: car for car in target}
    by_name: dict[str, list[CarClass]] = defaultdict(list)
    for car in target:
        by_name[_tidy_name(car.name)].append(car)
    has_names = any(car.name != car.label for car in target)

    def match(car: CarClass) -> CarClass | None:
        same_label = by_label.get(car.label)
        same_name = by_name.get(_tidy_name(car.name), [])
        if car.name == car.label or not has_names:
            return same_label or (same_name[0] if len(same_name) == 1 else None)
        if same_label in same_name:  # of several classes of one name
            return same_label
        return same_name[0] if len(same_name) == 1 else None

    return {car.label: match(car) for car in offered}


def list_own(
    lot: Lot, split: Split, additions: Sequence[Photo] = ()
) -> tuple[tuple[Part, Photo], ...]:
    """Every photo that an offered one may be a copy of, with its part.

    With folds all photos are held out once. What training left out counts as training.

    Args:
        lot: the run's own data.
        split: of its training photos.
        additions: photos added before.
    """
    part_of: dict[str, Part] = dict.fromkeys(list_held_out(split), "validation")
    part_of.update(dict.fromkeys(split.parts.get(LOCKED, ()), "locked"))
    return (
        *(("test", photo) for photo in lot.test.photos),
        *((part_of.get(photo.id, "training"), photo) for photo in lot.train.photos),
        *(("additions", photo) for photo in additions),
    )


def name_additions(ids: Sequence[str], source: str, taken: Collection[str]) -> tuple[str, ...]:
    """Ids "SOURCE/ID" that none of the taken ones equals; "SOURCE-2/ID" where one would.

    Args:
        ids: of the offered photos, unique among themselves.
        source: the source's name.
        taken: ids of all own photos.
    """
    taken, number, prefix = set(taken), 1, source
    while any(f"{prefix}/{id_}" in taken for id_ in ids):
        number += 1
        prefix = f"{source}-{number}"
    return tuple(f"{prefix}/{id_}" for id_ in ids)


def find_copies(
    offered: Sequence[Photo],
    own: Sequence[tuple[Part, Photo]],
    *,
    num_workers: int | None = None,
    watch: Watcher | None = None,
) -> tuple[Copies, ...]:
    """What each offered photo is a copy of, as the audit finds copies.

    Args:
        offered: photos.
        own: of `list_own`; ids may be in two parts, and equal those of offered photos.
        num_workers: processes that look at photos; None for what the machine suggests.
        watch: told of the work as it goes on.
    """
    photos = [*(photo for _, photo in own), *offered]
    with threadpool_limits(1, user_api="blas"):
        signs = scan_photos(
            photos, num_workers=num_workers, progress=watch_part(watch, "looking at photos")
        )
        links = find_links(photos, signs, num_workers=num_workers, watch=watch)
    file_of, best = tell_files(len(photos), links)
    first = len(own)
    found = [Copies(sign.status) for sign in signs[first:]]
    for cluster in join_links(len(photos), links):
        theirs = [at - first for at in cluster if at >= first]
        ours = [at for at in cluster if at < first]
        part = min((own[at][0] for at in ours), key=PARTS.index, default=None)
        ours = [at for at in ours if own[at][0] == part]
        for at in theirs:
            file = file_of[first + at]
            others = ours or [first + other for other in theirs if other != at]
            same = all(file_of[other] == file for other in others)
            found[at] = replace(
                found[at],
                part=part,
                own=tuple(own[other][1].id for other in ours),
                offered=tuple(other for other in theirs if other != at),
                likeness=None if same else best[file],
            )
    return tuple(found)


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
    new_ids = name_additions(offered.ids, stem, {photo.id for _, photo in own})
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


def _tidy_name(name: str) -> str:
    return " ".join(unicodedata.normalize("NFC", name).casefold().split())


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
