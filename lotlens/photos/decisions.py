"""What people decided of labelled photos, kept beside the data; it knows no page and no model.

Photos and tables of labels are never changed: a decision is a row in a CSV file of its own, which
anyone can read, edit or remove.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from lotlens.errors import InputError
from lotlens.files import write_rows_atomically
from lotlens.photos.labels import tidy_label
from lotlens.photos.tables import list_some, read_own_table, require_columns
from lotlens.records import Finding, Lot, Photo

Verdict = Literal["keep", "relabel", "drop", "not a car"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
LEAVING: tuple[Verdict, ...] = ("drop", "not a car")
"""Verdicts by which a photo leaves the training photos."""

DECISIONS_SUFFIX = ".decisions.csv"
"""How names of files of decisions end; the sources never take one for a table of photos."""

_COLUMNS = ("Id", "Decision", "Label", "Was", "Time")


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to become of one labelled photo.

    Attributes:
        photo_id: the photo.
        verdict: "keep" its label, "relabel" it, "drop" it, or "not a car".
        label: the label that it has from now on: the new one, or for "keep" the old one; empty for
            a photo that leaves.
        was: the label that the data gave it when this was decided.
        time: when, ISO 8601 in UTC. For people alone: nothing depends on it, so that a spreadsheet
            may write it its own way.
    """

    photo_id: str
    verdict: Verdict
    label: str
    was: str
    time: str = ""


def decisions_path(data: Path) -> Path:
    """Where decisions of a source lie: beside it, under its whole name and ".decisions.csv".

    Args:
        data: the folder, zip or CSV as it was named; links are not followed.

    Raises:
        InputError: nothing can lie beside it, since it is the root of a disk.
    """
    path = Path(os.path.abspath(data))  # so that "." and "lot/.." have a name too
    if not path.name:
        raise InputError(f"no decisions can lie beside {data}: move the photos into a folder")
    return path.with_name(path.name + DECISIONS_SUFFIX)


def read_decisions(path: Path) -> tuple[Decision, ...]:
    """Decisions in the order in which they were taken, one for each photo.

    The file may have passed through a spreadsheet (see `tables.read_table`). Of several rows of one
    photo the last one counts. Without the file there are none.

    Raises:
        InputError: it cannot be read, or a row is damaged.
    """
    if not os.path.lexists(path):
        return ()
    table = read_own_table(path, may_lack_rows=True)
    places = require_columns(table, **{column: (column.lower(),) for column in _COLUMNS})
    decisions: dict[str, Decision] = {}
    for number, row in enumerate(table.rows, start=2):
        id_, verdict, label, was, time = (row[place].strip() for place in places)
        decision = _make_decision(f"{path}, row {number}", id_, verdict, label, was, time)
        decisions.pop(id_, None)
        decisions[id_] = decision
    return tuple(decisions.values())


def write_decisions(path: Path, decisions: Iterable[Decision]) -> None:
    """Write decisions as CSV, one row each, whole or not at all; on the disk when it returns.

    Raises:
        OutputError: the file cannot be written.
    """
    write_rows_atomically(
        path,
        _COLUMNS,
        ((one.photo_id, one.verdict, one.label, one.was, one.time) for one in decisions),
    )


def apply_decisions(lot: Lot, decisions: Iterable[Decision]) -> Lot:
    """The lot as people decided: photos with their new labels, without those that left.

    Order, ids and classes stay as they are. What was done is told in findings ("relabelled",
    "left-out"), and so is what was not done, since the data are no longer what was decided on
    ("stale-decision"): the photo is gone, its label is another one by now, or the new label is no
    class.

    Args:
        lot: only its training photos are touched.
        decisions: of several of one photo the last one counts.
    """
    by_id = {decision.photo_id: decision for decision in decisions}
    shown = {car.label: car.shown for car in lot.train.classes}
    photos: list[Photo] = []
    findings: list[Finding] = []
    for photo in lot.train.photos:
        decision = by_id.pop(photo.id, None)
        if decision is None:
            photos.append(photo)
            continue
        reason = find_staleness(photo, decision, shown)
        if reason:
            findings.append(_tell_stale(decision, reason))
            photos.append(photo)
        elif decision.verdict in LEAVING:
            sentence = (
                "It was reviewed and is not a car; left out."
                if decision.verdict == "not a car"
                else "It was reviewed and dropped; left out."
            )
            findings.append(Finding(photo.id, "left-out", 1.0, (), sentence))
        elif decision.verdict == "relabel" and decision.label != photo.label:
            sentence = (
                f"It was reviewed: the data label it {_show(photo.label, shown)}, and it now"
                f" counts as {_show(decision.label, shown)}."
            )
            findings.append(Finding(photo.id, "relabelled", 1.0, (), sentence))
            photos.append(replace(photo, label=decision.label))
        else:
            photos.append(photo)
    findings += [
        _tell_stale(decision, "the photo is no longer in the data") for decision in by_id.values()
    ]
    train = replace(lot.train, photos=tuple(photos))
    return replace(lot, train=train, findings=(*lot.findings, *findings))


def find_staleness(photo: Photo, decision: Decision, shown: Mapping[str, str]) -> str:
    """Why a decision does not fit a photo of the data any more, or "".

    Args:
        photo: with the label that the data give it.
        decision: on this photo.
        shown: class label -> what people see of it.
    """
    if decision.verdict == "relabel" and decision.label == photo.label:
        return ""  # the data say so themselves by now
    if decision.was != photo.label:
        return (
            f"the label was {_show(decision.was, shown)} then and is"
            f" {_show(photo.label, shown)} now"
        )
    if decision.verdict == "relabel" and decision.label not in shown:
        return f"{_show(decision.label, shown)} is no class of these data"
    return ""


def _make_decision(where: str, id_: str, verdict: str, label: str, was: str, time: str) -> Decision:
    """A decision of a row's cells.

    Raises:
        InputError: they are none.
    """
    label, was = tidy_label(label), tidy_label(was)
    known = next((one for one in VERDICTS if one == " ".join(verdict.casefold().split())), None)
    if not id_:
        raise InputError(f"{where}: Id is empty: name the photo, or remove the row")
    if known is None:
        raise InputError(
            f"{where}: Decision is {verdict!r}, which is none of {', '.join(VERDICTS)}: correct it,"
            " or remove the row"
        )
    if not was:
        raise InputError(
            f"{where}: Was is empty: it must be the label that {list_some([id_])} had, or remove"
            " the row"
        )
    if known == "relabel" and not label:
        raise InputError(f"{where}: Label is empty: a relabelled photo needs its new label")
    if known == "keep" and label not in ("", was):
        raise InputError(
            f"{where}: Decision is 'keep', but Label is {label!r} and Was {was!r}: write 'relabel'"
            " if the label is a new one"
        )
    if known in LEAVING:
        label = ""
    return Decision(id_, known, label or (was if known == "keep" else ""), was, time)


def _tell_stale(decision: Decision, reason: str) -> Finding:
    sentence = f"The decision to {_DEEDS[decision.verdict]} was not applied: {reason}."
    return Finding(decision.photo_id, "stale-decision", 1.0, (), sentence)


_DEEDS: Mapping[Verdict, str] = {
    "keep": "keep its label",
    "relabel": "relabel it",
    "drop": "drop it",
    "not a car": "leave it out as not a car",
}


def _show(label: str | None, shown: Mapping[str, str]) -> str:
    return "none" if label is None else list_some([shown.get(label, label)])
