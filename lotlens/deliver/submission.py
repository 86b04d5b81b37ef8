"""Predictions become a submission file; it does not know which competition asked for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lotlens.errors import InputError
from lotlens.files import write_rows_atomically
from lotlens.photos.tables import list_some
from lotlens.records import OK, Predictions

_NUM_NAMED = 10


def build_submission(
    predictions: Predictions,
    sample: Sequence[tuple[str, str]] | None = None,
    *,
    fill: str | None = None,
) -> list[tuple[str, str]]:
    """Give every id its predicted label.

    With a sample, the rows are exactly the sample's, in its order; predictions for other photos
    are left out. Without one, the rows are the predictions' ids in their order.

    Args:
        predictions: in any order.
        sample: (id, placeholder label) rows of the sample submission.
        fill: label for ids that have no answer; None to refuse them.

    Returns:
        (id, label) rows.

    Raises:
        InputError: an id occurs twice in the sample; an id has no answer and there is no `fill`;
            `fill` is not one of the model's labels.
    """
    labels = [car.label for car in predictions.classes]
    if fill is not None and fill not in labels:
        raise InputError(
            f"cannot fill with {fill!r}: the model's labels are {list_some(labels, _NUM_NAMED)}"
        )
    ids = predictions.ids if sample is None else tuple(id_ for id_, _ in sample)
    if sample is not None and len(set(ids)) < len(ids):
        repeated = [id_ for id_, count in Counter(ids).items() if count > 1]
        raise InputError(
            f"the sample submission names {_count(repeated, 'id')} more than once:"
            f" {list_some(repeated, _NUM_NAMED)}; every id may stand there once"
        )
    best = predictions.logits.argmax(axis=1) if labels else np.zeros(len(ids), np.int64)
    answered = predictions.answered.tolist()
    if sample is None and all(answered):  # the usual case: no table of ids is needed
        return [(id_, labels[k]) for id_, k in zip(ids, best.tolist(), strict=True)]
    answers = {
        id_: labels[k]
        for id_, k, has_answer in zip(predictions.ids, best.tolist(), answered, strict=True)
        if has_answer
    }
    missing = [id_ for id_ in ids if id_ not in answers]
    if missing and fill is None:
        raise InputError(_describe_missing(missing, predictions))
    return [(id_, answers[id_] if id_ in answers else str(fill)) for id_ in ids]


def write_submission(
    path: Path,
    rows: Sequence[tuple[str, str]],
    columns: tuple[str, str] = ("Id", "Category"),
) -> None:
    """Write a submission as CSV: UTF-8, commas, bare line feeds, whole or not at all.

    Args:
        path: the file to write.
        rows: (id, label), as `build_submission` gives them.
        columns: the two column names, the sample's own.

    Raises:
        OutputError: the file cannot be written.
    """
    write_rows_atomically(path, columns, rows)


def _describe_missing(missing: Sequence[str], predictions: Predictions) -> str:
    """Name the ids without an answer and why, the unreadable apart from those without a photo."""
    status = dict(zip(predictions.ids, predictions.status, strict=True))
    named = [
        f"{id_} ({status[id_] if status.get(id_, OK) != OK else 'no photo'})"
        for id_ in missing[:_NUM_NAMED]
    ]
    rest = f" and {len(missing) - _NUM_NAMED} more" if len(missing) > _NUM_NAMED else ""
    hint = ""
    if predictions.ids and not any(id_ in status for id_ in missing):
        hint = f" (the photos given have ids such as {predictions.ids[0]!r})"
    return (
        f"the submission needs {_count(missing, 'id')} that {_have(missing)} no answer:"
        f" {', '.join(named)}{rest}{hint}; give the photos, or fill with the commonest class"
        " (--fill)"
    )


def _count(items: Sequence[object], noun: str) -> str:
    return f"{len(items)} {noun}{'' if len(items) == 1 else 's'}"


def _have(items: Sequence[object]) -> str:
    return "has" if len(items) == 1 else "have"
