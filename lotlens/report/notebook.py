"""Records as HTML for a notebook: a few figures, and the photos they are about.

What is drawn needs neither network nor scripts, holds at most `MOST_BYTES`, and escapes all text:
ids, labels and class names are strangers'. Styles stand in each element, since notebooks that
somebody else has executed lose style sheets.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lotlens.audit.checks import CHECKS
from lotlens.audit.findings import Audit
from lotlens.deliver.answered import Answers
from lotlens.errors import InputError
from lotlens.files import write_text_atomically
from lotlens.judge.judged import Evaluation
from lotlens.judge.metrics import BRIER, LOG_LOSS, count_confusions
from lotlens.records import OK, Catalog, Finding, Lot, Photo
from lotlens.report.findings_page import ACTIONS
from lotlens.report.language import ENGLISH
from lotlens.report.pictures import Album
from lotlens.report.templates import build_environment, render_page
from lotlens.texts import show

if TYPE_CHECKING:
    from lotlens.verbs.doubts import Doubted

MOST_BYTES = 1_500_000
"""Of one record in a notebook, which keeps it and is sent on with it."""

_MOST_PICTURE_BYTES = 700_000  # base64 makes four thirds of it, and ids and names come on top
_SMALL, _MIDDLE = (96, 72), (180, 135)
_MOST_CLASSES = 12
_MOST_IN_CLASS = 6
_MOST_CARDS = 24
_MOST_PHOTOS = 200  # that are asked for by number
_MOST_EXAMPLES = 3  # per check
_MOST_RELATED = 2
_MOST_ANSWERS = 15
_MOST_IN_MATRIX = 25


@dataclass(frozen=True)
class Shown:
    """Photos that a notebook shows by itself, where this is the last line of a cell.

    Attributes:
        html: a fragment of a page.
        about: what it shows, in words.
    """

    html: str
    about: str

    def __repr__(self) -> str:
        return f"{self.about}: a notebook shows them; .save(path) writes a page"

    def _repr_html_(self) -> str:
        return self.html

    def save(self, path: Path | str) -> Path:
        """Write it as a page of its own.

        Raises:
            OutputError: it cannot be written.
        """
        head = '<!DOCTYPE html>\n<meta charset="utf-8">\n<title>lotlens</title>\n'
        write_text_atomically(Path(path), head + self.html)
        return Path(path)


@dataclass(frozen=True)
class _Card:
    """A photo with what is said of it."""

    picture: bytes | None
    title: str
    lines: Sequence[str] = ()
    is_odd: bool = False


@dataclass(frozen=True)
class _Group:
    """Photos under one heading, with the number of all that there are."""

    name: str
    count: int
    cards: Sequence[_Card]
    more: str = ""


def draw_record(record: Lot | Catalog | Audit | Evaluation | Doubted | Answers) -> str:
    """A record as a fragment of a page.

    Raises:
        InputError: its photos lie in zips within too many zips.
    """
    if isinstance(record, Lot):
        return _draw_lot(record)
    if isinstance(record, Catalog):
        return _draw_catalog(record)
    if isinstance(record, Audit):
        return _draw_audit(record)
    if isinstance(record, Evaluation):
        return _draw_evaluation(record)
    if isinstance(record, Answers):
        return _draw_answers(record)
    return _draw_doubts(record)


def show_photos(
    catalog: Catalog,
    num_photos: int,
    *,
    label: str | None = None,
    answers: Sequence[Mapping[str, Any]] | None = None,
) -> Shown:
    """Photos of a catalog side by side, with their classes or what a model answers.

    Args:
        catalog: the photos.
        num_photos: at most; 200 are, and fewer where they are heavy.
        label: of one class alone.
        answers: one row of `Model.list_answers` for each photo, in their order.

    Raises:
        InputError: there is no such label.
    """
    photos: Sequence[Photo] = catalog.photos
    if label is not None:
        if label not in catalog.labels:
            raise InputError(f"no class has the label {label!r}: {', '.join(catalog.labels[:12])}")
        photos = [photo for photo in photos if photo.label == label]
    elif answers is None:
        photos = _mix(catalog)
    photos = photos[: min(num_photos, _MOST_PHOTOS)]
    names = {car.label: car.name for car in catalog.classes}
    told = {row["id"]: row for row in answers or ()}
    with Album(catalog, most_bytes=_MOST_PICTURE_BYTES) as album:
        cards = [
            _tell_answer(told[photo.id], album.show(photo.id, _MIDDLE))
            if photo.id in told
            else _name_photo(photo, names, album)
            for photo in photos
        ]
    about = f"{len(cards):,} of {len(catalog):,} photos"
    return Shown(_render("grid", heading=about, notes=[], cards_shown=cards), about)


def _name_photo(photo: Photo, names: Mapping[str, str], album: Album) -> _Card:
    name = names.get(photo.label or "")
    return _Card(album.show(photo.id, _MIDDLE), name or photo.id, [photo.id] if name else [])


def _render(kind: str, **values: Any) -> str:
    # Names in it could turn the direction of what follows.
    return show(render_page("notebook.html.jinja", kind=kind, **values))


def _mix(catalog: Catalog) -> list[Photo]:
    """All photos, the first of each class, then the second of each, and so on."""
    turn: dict[str | None, int] = defaultdict(int)
    turns = []
    for photo in catalog.photos:
        turns.append(turn[photo.label])
        turn[photo.label] += 1
    order = sorted(range(len(turns)), key=lambda row: (turns[row], row))
    return [catalog.photos[row] for row in order]


def _draw_lot(lot: Lot) -> str:
    groups = _list_classes(lot.train, _MOST_PICTURE_BYTES * 4 // 5)
    if len(lot.test):
        groups.append(_show_some("to predict", lot.test, _MOST_PICTURE_BYTES // 5))
    notes = [*map(str, lot.reading.notes[:5])]
    if lot.findings:
        notes.append(f"{len(lot.findings):,} rows or files did not match: see .findings")
    return _render(
        "classes",
        heading=f"{len(lot.train):,} photos of {len(lot.train.classes):,} classes to train on,"
        f" {len(lot.test):,} to predict",
        notes=notes,
        groups=groups,
        num_more=max(len(lot.train.classes) - _MOST_CLASSES, 0),
    )


def _draw_catalog(catalog: Catalog) -> str:
    if any(photo.label is not None for photo in catalog.photos):
        groups = _list_classes(catalog, _MOST_PICTURE_BYTES)
        num_more = max(len(catalog.classes) - _MOST_CLASSES, 0)
    else:
        groups, num_more = [_show_some("without a label", catalog, _MOST_PICTURE_BYTES)], 0
    heading = f"{len(catalog):,} photos of {len(catalog.classes):,} classes"
    return _render("classes", heading=heading, notes=[], groups=groups, num_more=num_more)


def _list_classes(catalog: Catalog, most_bytes: int) -> list[_Group]:
    """The first classes with their first photos."""
    photos: dict[str | None, list[Photo]] = defaultdict(list)
    for photo in catalog.photos:
        photos[photo.label].append(photo)
    cars = catalog.classes[:_MOST_CLASSES]
    with Album(catalog, most_bytes=most_bytes) as album:
        return [
            _Group(
                car.shown,
                len(photos[car.label]),
                [
                    _Card(album.show(photo.id, _SMALL), photo.id)
                    for photo in photos[car.label][:_MOST_IN_CLASS]
                ],
            )
            for car in cars
        ]


def _show_some(name: str, catalog: Catalog, most_bytes: int) -> _Group:
    with Album(catalog, most_bytes=most_bytes) as album:
        some = catalog.photos[:_MOST_IN_CLASS]
        cards = [_Card(album.show(photo.id, _SMALL), photo.id) for photo in some]
    return _Group(name, len(catalog), cards)


def _draw_audit(audit: Audit) -> str:
    groups: dict[str, list[Finding]] = defaultdict(list)
    for finding in audit.findings:
        groups[finding.check].append(finding)
    lot = audit.lot or Lot(Path(), Catalog((), ()), Catalog((), ()))
    names = {car.label: car.name for car in lot.train.classes}
    labels = {photo.id: photo.label for photo in lot.train.photos}
    half = _MOST_PICTURE_BYTES // 2
    sections = []
    with Album(lot.train, most_bytes=half) as train, Album(lot.test, most_bytes=half) as test:

        def draw(id_: str, part: str) -> _Card:
            album = train if part == "train" else test
            label = labels.get(id_) if part == "train" else None
            lines = [part, *([] if label is None else [names.get(label, label)])]
            return _Card(album.show(id_, _MIDDLE), id_, lines)

        for check, findings in groups.items():
            examples = []
            for finding in _list_new(findings)[:_MOST_EXAMPLES]:
                related_part = "test" if check == "leak" else finding.part
                cards = [draw(finding.photo_id, finding.part)] if finding.photo_id else []
                cards += [draw(id_, related_part) for id_ in finding.related_ids[:_MOST_RELATED]]
                examples.append((finding.sentence, cards))
            sections.append((CHECKS[check], ACTIONS[audit.actions[check]], len(findings), examples))
    num_errors = audit.num_errors
    return _render(
        "audit",
        heading=f"{num_errors:,} {'error' if num_errors == 1 else 'errors'} among"
        f" {sum(audit.num_photos.values()):,} photos"
        if num_errors
        else "Nothing here makes figures wrong.",
        notes=[] if audit.lot is not None else ["The photos are not kept with this audit."],
        sections=sections,
        most_examples=_MOST_EXAMPLES,
    )


def _list_new(findings: Sequence[Finding]) -> list[Finding]:
    """Findings without those of a pair that was seen from its other side."""
    seen: set[frozenset[str]] = set()
    kept = []
    for finding in findings:
        photos = frozenset((finding.photo_id, *finding.related_ids))
        if len(photos) == 1 or photos not in seen:
            kept.append(finding)
        seen.add(photos)
    return kept


def _draw_evaluation(evaluation: Evaluation) -> str:
    classes = evaluation.predictions.classes
    matrix: NDArray[np.int64] | None = None
    if evaluation.truth is not None and len(classes) <= _MOST_IN_MATRIX:
        matrix = count_confusions(evaluation.predictions, evaluation.truth)
    recalls = {score.car.label: score for score in evaluation.class_scores}
    return _render(
        "evaluation",
        heading=evaluation.about,
        synthetic=evaluation.synthetic,
        metrics=evaluation.metrics,
        plain=(LOG_LOSS, BRIER),
        names=[car.name for car in classes],
        scores=[recalls.get(car.label) for car in classes],
        matrix=None if matrix is None else matrix.tolist(),
        most=0 if matrix is None else int((matrix - np.diag(np.diag(matrix))).max(initial=0)),
        pairs=evaluation.pairs[:8],
        report_path=str(evaluation.report_path or ""),
    )


def _draw_doubts(doubted: Doubted) -> str:
    catalog = doubted.photos or Catalog((), ())

    def name(label: str) -> str:
        return doubted.names.get(label, label)

    with Album(catalog, most_bytes=_MOST_PICTURE_BYTES) as album:
        cards = [
            _Card(
                album.show(doubt.photo_id, _MIDDLE),
                f"labelled {name(doubt.label)}",
                [
                    f"rather {name(doubt.suggested)}, {_tell_chance(doubt.probability)}"
                    f" against {_tell_chance(doubt.own_probability)}"
                    if doubt.suggested != doubt.label
                    else f"{_tell_chance(doubt.own_probability)} sure of it",
                    ", ".join(doubt.reasons),
                    doubt.photo_id,
                ],
                doubt.suggested != doubt.label,
            )
            for doubt in doubted.doubts[:_MOST_CARDS]
        ]
    counts = ", ".join(f"{count:,} {reason}" for reason, count in doubted.count().items())
    notes = [counts] if counts else []
    notes.append("A doubt is a question: some labels are wrong, other photos are only hard.")
    if len(doubted.doubts) > len(cards):
        notes.append(f"The {len(cards)} most doubtful are shown; all are in {doubted.path}.")
    heading = f"{len(doubted.doubts):,} of {len(doubted.evidence.ids):,} photos are doubted"
    return _render("grid", heading=heading, notes=notes, cards_shown=cards)


def _draw_answers(answers: Answers) -> str:
    some = answers.catalog.photos[:_MOST_ANSWERS]
    rows = answers.head(_MOST_ANSWERS).to_dict("records")
    with Album(answers.catalog, most_bytes=_MOST_PICTURE_BYTES) as album:
        told = [
            (album.show(photo.id, _SMALL), {str(key): value for key, value in row.items()})
            for photo, row in zip(some, rows, strict=True)
        ]
    verdicts = ", ".join(
        f"{count:,} {verdict}" for verdict, count in answers["verdict"].value_counts().items()
    )
    return _render(
        "answers",
        heading=f"Answers for {len(answers):,} photos",
        notes=[verdicts, "A pandas frame with further columns: .head(), .columns"],
        rows=[(picture, row, _tell_answer(row, None)) for picture, row in told],
        num_more=len(answers) - len(told),
    )


def _tell_answer(row: Mapping[str, Any], picture: bytes | None) -> _Card:
    """An answer as people read it: a name where the verdict gives one, else why not."""
    if row["verdict"] not in ("model", "unsure"):
        return _Card(picture, str(row["verdict"]), [_tell_reason(row), row["id"]], True)
    title = f"{row['name']}, {_tell_chance(row['probability'])}"
    lines = [row["id"]] if row["verdict"] == "model" else [_tell_reason(row), row["id"]]
    return _Card(picture, title, lines, row["verdict"] == "unsure")


def _tell_chance(share: float) -> str:
    told: str = build_environment(ENGLISH).filters["chance"](share)
    return told


def _tell_reason(row: Mapping[str, Any]) -> str:
    return str(row["reason"] if row["status"] == OK else row["status"])
