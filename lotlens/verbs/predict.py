"""Answer for photos and write a submission file."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lotlens.answering.answers import join_predictions, take_rows
from lotlens.deliver.journal import Journal
from lotlens.deliver.model import ANSWER_COLUMNS, Model, build_frame, list_paths, load
from lotlens.deliver.submission import build_submission, write_submission
from lotlens.errors import InputError
from lotlens.files import write_rows_atomically
from lotlens.photos.fingerprint import fingerprint
from lotlens.photos.sources import open_lot, open_photos
from lotlens.photos.tables import read_sample, read_table
from lotlens.records import OK, Catalog, Predictions, Watcher

if TYPE_CHECKING:
    import pandas as pd


_PIECE = 512
"""Photos whose answers are written together: what a kill can cost, a few seconds of work."""


def predict(
    run: Path | str,
    photos: Path | str | Sequence[Path | str] | None = None,
    *,
    out: Path | str,
    sample: Path | str | None = None,
    fill: bool = False,
    details: Path | str | None = None,
    watch: Watcher | None = None,
) -> pd.DataFrame:
    """Answer for photos and write a submission file.

    Answers to many photos are kept piece by piece beside `out` until it is written: the same call
    after a kill goes on from there.

    Args:
        run: the run folder, or that of an exported model.
        photos: folders, zips or files; None for the test part of the run's own data, together
            with its sample submission.
        out: the submission file to write.
        sample: a sample submission; the file then has exactly its rows in its order.
        fill: give the commonest class of training to ids without an answer instead of refusing.
        details: a CSV with probabilities and reasons, if wanted.
        watch: told of the work as it goes on.

    Returns:
        the answers, one row per photo (see `Model.predict`).

    Raises:
        InputError: paths that do not exist; ids without an answer, unless `fill`.
        BundleError: the run is missing or damaged.
        OutputError: a file cannot be written.
    """
    rows: list[dict[str, Any]] = []
    write_answers(
        run,
        photos,
        out=out,
        sample=sample,
        fill=fill,
        details=details,
        keep=rows.extend,
        watch=watch,
    )
    return build_frame(rows)


@dataclass(frozen=True)
class Written:
    """What became of photos whose answers were written.

    Attributes:
        num_photos: all of them.
        verdicts: how many of each kind, the commonest first.
        silent: (id, reason) of those that have no answer.
    """

    num_photos: int
    verdicts: Mapping[str, int]
    silent: tuple[tuple[str, str], ...]


def write_answers(
    run: Path | str,
    photos: Path | str | Sequence[Path | str] | None = None,
    *,
    out: Path | str,
    sample: Path | str | None = None,
    fill: bool = False,
    details: Path | str | None = None,
    keep: Callable[[list[dict[str, Any]]], object] | None = None,
    watch: Watcher | None = None,
) -> Written:
    """As `predict`, without a table of all answers in memory.

    The other arguments and errors are those of `predict`; `keep` is given the rows of all photos,
    some at a time and in order.
    """
    model = load(run)
    rows, columns = None, ("Id", "Category")
    if photos is None:
        lot = open_lot(model.data_path)
        catalog, rows, columns = lot.test, lot.sample, lot.sample_columns
        if not len(catalog):
            raise InputError(f"{lot.source} has no test photos: name the photos to predict")
    else:
        catalog = open_photos(list_paths(photos))
    if sample is not None:
        rows, columns = read_sample(read_table(Path(sample)))
    journal = None
    if len(catalog) > _PIECE:
        journal = Journal(Path(out), _describe_task(model, catalog))
    predictions = _answer_all(model, catalog, journal, watch)
    filler = model.card.commonest_label if fill else None
    write_submission(Path(out), build_submission(predictions, rows, fill=filler), columns)
    verdicts: Counter[str] = Counter()
    silent: list[tuple[str, str]] = []

    def list_rows() -> Generator[list[object], None, None]:
        for start in range(0, len(catalog), _PIECE):
            rows_here = range(start, min(start + _PIECE, len(catalog)))
            told = model.list_answers(take_rows(predictions, rows_here))
            verdicts.update(row["verdict"] for row in told)
            silent.extend((row["id"], row["status"]) for row in told if row["status"] != OK)
            if keep is not None:
                keep(told)
            yield from ([row[column] for column in ANSWER_COLUMNS] for row in told)

    if details is not None:
        write_rows_atomically(Path(details), ANSWER_COLUMNS, list_rows())
    else:
        for _ in list_rows():
            pass
    if journal is not None:
        journal.remove()
    return Written(len(catalog), dict(verdicts.most_common()), tuple(silent))


def _describe_task(model: Model, catalog: Catalog) -> str:
    """All that the answers depend on: the model with its views, and the photos in their order."""
    card = hashlib.sha256(model.run.card_path.read_bytes()).hexdigest()
    ids = hashlib.sha256("\0".join(catalog.ids).encode()).hexdigest()
    return f"{card} {fingerprint(catalog)} {ids}"


def _answer_all(
    model: Model, catalog: Catalog, journal: Journal | None, watch: Watcher | None
) -> Predictions:
    """Answers to all photos: those in the journal, and then new ones, which are added to it."""
    parts = list(journal.read()) if journal else []
    total_done = sum(len(part.ids) for part in parts)
    rest = replace(catalog, photos=catalog.photos[total_done:])

    def report(what: str, done: int, total: int) -> None:
        if watch is not None:
            watch(what, total_done + done, total_done + total)

    for part in model.answer_in_turn(rest, _PIECE, watch=report) if len(rest) or not parts else ():
        if journal is not None:
            journal.add(len(parts), part)
        parts.append(part)
    return join_predictions(parts)
