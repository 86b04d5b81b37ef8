"""Labelled photos worth a second look, and why: pure functions of probabilities and labels.

It decodes no photo and knows no network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from lotlens.errors import InputError
from lotlens.files import write_rows_atomically
from lotlens.photos.tables import read_table, require_columns
from lotlens.records import CarClass, Doubt

REASONS: Mapping[str, str] = {
    "label probably wrong": "by confident learning: surer of another model than photos with this"
    " label usually are of theirs",
    "wrong and sure": "another model is far more probable than the label",
    "unsure between two": "two models are nearly as probable as each other",
    "odd one out": "the training photos that look most like it have other labels",
    "folds disagree": "models trained on different photos answer differently",
    "views disagree": "the answer changes when the photo is mirrored, cropped or lit otherwise",
    "listing disagrees": "the other photos of its advert are answered or labelled otherwise",
}
"""Why a photo may be doubted -> what that means, for people."""

_COLUMNS = (
    "Rank",
    "Id",
    "Score",
    "Label",
    "Name",
    "Suggested",
    "SuggestedName",
    "Probability",
    "OwnProbability",
    "Reasons",
)


def write_doubts(path: Path, doubts: Sequence[Doubt], classes: Sequence[CarClass]) -> None:
    """Write doubts as CSV, one row each, the most doubtful first; reasons parted by semicolons.

    Raises:
        OutputError: the file cannot be written.
    """
    names = {car.label: car.name for car in classes}
    write_rows_atomically(
        path,
        _COLUMNS,
        (
            (
                rank,
                doubt.photo_id,
                f"{doubt.score:.4f}",
                doubt.label,
                names[doubt.label],
                doubt.suggested,
                names[doubt.suggested],
                f"{doubt.probability:.4f}",
                f"{doubt.own_probability:.4f}",
                "; ".join(f"{reason} {score:.2f}" for reason, score in doubt.reasons.items()),
            )
            for rank, doubt in enumerate(doubts, start=1)
        ),
    )


def read_doubts(path: Path) -> tuple[Doubt, ...]:
    """The inverse of `write_doubts`, in the file's order.

    Raises:
        InputError: there is no such file, or it is not one of doubts.
    """
    table = read_table(path)
    places = require_columns(table, **{column: (column.lower(),) for column in _COLUMNS})
    doubts = []
    for number, row in enumerate(table.rows, start=2):
        cells = dict(zip(_COLUMNS, (row[place] for place in places), strict=True))
        try:
            reasons = {}
            for part in filter(None, cells["Reasons"].split("; ")):
                reason, _, score = part.rpartition(" ")
                reasons[reason] = float(score)
            doubts.append(
                Doubt(
                    cells["Id"],
                    cells["Label"],
                    cells["Suggested"],
                    float(cells["Probability"]),
                    float(cells["OwnProbability"]),
                    float(cells["Score"]),
                    reasons,
                )
            )
        except ValueError as error:
            raise InputError(f"{path}, row {number} is no doubt: {error}") from error
    return tuple(doubts)
