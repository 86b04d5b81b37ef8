"""Predictions become a submission file; it does not know which competition asked for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lotlens.errors import InputError
from lotlens.files import write_rows_atomically
from lotlens.photos.matching import FileIndex, Wanted, match_files
from lotlens.photos.places import File
from lotlens.photos.tables import list_some
from lotlens.records import OK, Catalog, Predictions, Sample

_NUM_NAMED = 10
_ADVICE = "give the photos, or fill with the commonest class (--fill)"


@dataclass(frozen=True)
class Submission:
    """What a submission file holds.

    Attributes:
        columns: the header.
        rows: all cells of each row, in the file's order.
        num_filled: how many rows have the label to fill with, for want of an answer.
    """

    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    num_filled: int


def match_sample(sample: Sample, catalog: Catalog) -> tuple[str | None, ...]:
    """The id of the photo that each row of a sample means; None where no photo fits.

    Ids are compared as those of a lot's own tables are (see `photos.matching`).

    Raises:
        InputError: most ids fit no photo, an id fits several photos, or two ids fit one.
    """
    files = [File(one.id, one.locator) for one in catalog.photos if one.locator is not None]
    ids = sample.ids
    found = match_files([Wanted(id_) for id_ in ids], files)
    missing = [id_ for id_, matches in zip(ids, found, strict=True) if not matches]
    if 2 * len(missing) > len(ids):
        raise InputError(
            f"{len(missing):,} of the sample's {_count(ids, 'id')} fit no photo: the sample names"
            f" {list_some(missing, 3)}; the photos given are"
            f" {list_some([file.name for file in files], 3)}. Give the photos that it names"
        )
    row_of: dict[str, str] = {}
    for id_, matches in zip(ids, found, strict=True):
        names = [file.name for file in matches]
        if len(names) > 1:
            raise InputError(
                f"the sample's {id_} may be any of {len(names)} photos: {list_some(names)}; give"
                " only the one that it means, or name it in the sample as it is named here"
            )
        if names and row_of.setdefault(names[0], id_) != id_:
            raise InputError(
                f"the sample's {row_of[names[0]]} and {id_} both mean the photo {names[0]}: name"
                " each photo once"
            )
    index = FileIndex(files)
    for id_ in missing:
        for file in index.find_loosely(Wanted(id_), ()):
            if file.name in row_of:
                raise InputError(
                    f"the sample's {row_of[file.name]} and {id_} both mean the photo {file.name}:"
                    " name each photo once"
                )
    return tuple(matches[0].name if matches else None for matches in found)


def match_own_sample(sample: Sample, catalog: Catalog) -> tuple[str | None, ...]:
    """As `match_sample`, where the photos bear the sample's ids already."""
    if not set(sample.ids) <= set(catalog.ids):
        return match_sample(sample, catalog)
    present = set(catalog.with_files().ids)
    return tuple(id_ if id_ in present else None for id_ in sample.ids)


def require_photos(sample: Sample, photo_ids: Sequence[str | None]) -> None:
    """Refuse ids that no photo fits.

    Raises:
        InputError: there are such ids.
    """
    missing = [id_ for id_, photo in zip(sample.ids, photo_ids, strict=True) if photo is None]
    if missing:
        raise InputError(
            f"the submission needs {_count(missing, 'id')} that no photo fits:"
            f" {list_some(missing, _NUM_NAMED)}; {_ADVICE}"
        )


def build_submission(
    predictions: Predictions,
    sample: Sample | None = None,
    photo_ids: Sequence[str | None] | None = None,
    *,
    fill: str | None = None,
) -> Submission:
    """Give every id its predicted label.

    With a sample, the rows are exactly the sample's, in its order and with its further columns;
    predictions for other photos are left out. Without one, they are the predictions' ids.

    Args:
        predictions: in any order.
        sample: the sample submission.
        photo_ids: for each of its rows the id of the prediction, or None where there is no photo;
            the sample's own ids if there are none.
        fill: label for ids that have no answer; None to refuse them.

    Raises:
        InputError: an id has no answer and there is no `fill`; `fill` is not one of the model's
            labels.
    """
    labels = [car.label for car in predictions.classes]
    if fill is not None and fill not in labels:
        raise InputError(
            f"cannot fill with {fill!r}: the model's labels are {list_some(labels, _NUM_NAMED)}"
        )
    if sample is None:
        sample = Sample(("Id", "Category"), tuple((id_, "") for id_ in predictions.ids))
    wanted = sample.ids if photo_ids is None else photo_ids
    best = predictions.logits.argmax(axis=1) if labels else np.zeros(len(predictions.ids), np.int64)
    answers: dict[str | None, str] = {
        id_: labels[k]
        for id_, k, status in zip(predictions.ids, best.tolist(), predictions.status, strict=True)
        if status == OK
    }
    gaps = [row for row, id_ in enumerate(wanted) if id_ not in answers]
    if gaps and fill is None:
        reason_of: dict[str | None, str] = dict(
            zip(predictions.ids, predictions.status, strict=True)
        )
        ids = sample.ids
        told = [f"{ids[row]} ({reason_of.get(wanted[row], 'no photo')})" for row in gaps]
        raise InputError(
            f"the submission needs {_count(gaps, 'id')} that {'has' if len(gaps) == 1 else 'have'}"
            f" no answer: {list_some(told, _NUM_NAMED)}; {_ADVICE}"
        )
    return Submission(
        sample.columns, sample.fill([answers.get(id_, str(fill)) for id_ in wanted]), len(gaps)
    )


def write_submission(path: Path, submission: Submission) -> None:
    """Write a submission as CSV: UTF-8, commas, bare line feeds, whole or not at all.

    Cells are exactly as they are, since a program compares them.

    Raises:
        OutputError: the file cannot be written.
    """
    write_rows_atomically(path, submission.columns, submission.rows, is_exact=True)


def _count(items: Sequence[object], noun: str) -> str:
    return f"{len(items):,} {noun}{'' if len(items) == 1 else 's'}"
