"""Answer for photos, and write a table for people or a submission file."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from lotlens.answering.answers import join_predictions, take_rows
from lotlens.cluster.address import check_place
from lotlens.deliver.journal import Journal
from lotlens.deliver.model import Model, build_frame, list_paths, load
from lotlens.deliver.submission import (
    Submission,
    build_submission,
    match_own_sample,
    match_sample,
    require_photos,
    write_submission,
)
from lotlens.deliver.table import DETAILS, FOR_PEOPLE, Table
from lotlens.errors import InputError
from lotlens.extras import import_extra
from lotlens.files import check_writable, remove_unfinished_of, write_rows_atomically
from lotlens.locks import hold
from lotlens.photos.fingerprint import fingerprint
from lotlens.photos.sources import open_lot, open_unlabelled
from lotlens.photos.tables import read_sample, read_table
from lotlens.records import OK, CarClass, Catalog, Predictions, Reading, Sample, Watcher
from lotlens.texts import describe

if TYPE_CHECKING:
    import pandas as pd

Form = Literal["table", "submission"]

_OUT: Mapping[Form, str] = {"table": "answers.csv", "submission": "submission.csv"}
_PIECE = 512
"""Photos whose answers are written together: what a kill can cost, a few seconds of work."""


def predict(
    run: Path | str,
    photos: Path | str | Sequence[Path | str] | None = None,
    *,
    out: Path | str | None = None,
    sample: Path | str | None = None,
    form: Form | None = None,
    fill: bool = False,
    details: Path | str | None = None,
    page: Path | str | None = None,
    lang: str = "en",
    on: str = "",
    tell: Callable[[Reading], None] | None = None,
    watch: Watcher | None = None,
) -> pd.DataFrame:
    """Answer for photos, and write a table for people or a submission file.

    A table has every photo once, those that cannot be read with the reason; class and name stand
    there only where the verdict is a model, or unsure of it. A submission has the
    rows of a sample submission: its ids are compared with the photos before the first answer.

    Answers to many photos are kept piece by piece beside `out` until it is written: the same call
    after a kill goes on from there, and so does one with `fill` after a refusal.

    Args:
        run: the run folder, or that of an exported model.
        photos: folders, zips or files; None for the test part of the run's own data, together
            with its sample submission.
        out: the file to write; None for answers.csv or submission.csv.
        sample: a sample submission; the file then has exactly its rows in its order, with its
            further columns.
        form: "table" or "submission"; None for a submission where there is a sample.
        fill: give the commonest class of training to ids of a submission without an answer instead
            of refusing.
        details: a CSV with all of ANSWER_COLUMNS, if wanted; it is written even if the submission
            is refused.
        page: an HTML file to look through the answers in, if wanted; likewise.
        lang: the language of the page, "en" or "ru".
        on: where photos are answered: "" in this process, "ray" by worker processes on this
            machine, "ray://HOST:PORT" by those of a Ray cluster that this machine is part of. The
            answers are the same.
        tell: told how the photos were understood, before the first answer.
        watch: told of the work as it goes on.

    Returns:
        the answers, one row per photo (see `Model.predict`).

    Raises:
        InputError: paths that do not exist; a sample whose ids do not fit the photos; ids without
            an answer, unless `fill`.
        BundleError: the run is missing or damaged.
        OutputError: a file cannot be written.
        MissingExtra: lotlens[notebook] is not installed; `write_answers` does without. Or
            lotlens[cluster] is not, for `on`.
    """
    import_extra("pandas", "notebook")
    rows: list[dict[str, Any]] = []
    write_answers(
        run,
        photos,
        out=out,
        sample=sample,
        form=form,
        fill=fill,
        details=details,
        page=page,
        lang=lang,
        on=on,
        keep=rows.extend,
        tell=tell,
        watch=watch,
    )
    return build_frame(rows)


@dataclass(frozen=True)
class Written:
    """What became of photos whose answers were written.

    Attributes:
        path: the file.
        form: what it is.
        num_photos: all of them.
        verdicts: how many of each kind, the commonest first.
        silent: (id, reason) of those that have no answer.
        num_rows: of the file.
        num_filled: how many of these are not answers of the model.
        filler: the class that they have instead; None if there are none.
    """

    path: Path
    form: Form
    num_photos: int
    verdicts: Mapping[str, int]
    silent: tuple[tuple[str, str], ...]
    num_rows: int
    num_filled: int = 0
    filler: CarClass | None = None

    def __repr__(self) -> str:
        return describe("Written", f"{self.num_rows:,} rows in {self.path}")


def write_answers(
    run: Path | str,
    photos: Path | str | Sequence[Path | str] | None = None,
    *,
    out: Path | str | None = None,
    sample: Path | str | None = None,
    form: Form | None = None,
    fill: bool = False,
    details: Path | str | None = None,
    page: Path | str | None = None,
    lang: str = "en",
    on: str = "",
    keep: Callable[[list[dict[str, Any]]], object] | None = None,
    tell: Callable[[Reading], None] | None = None,
    watch: Watcher | None = None,
) -> Written:
    """As `predict`, without a table of all answers in memory.

    The other arguments and errors are those of `predict`; `keep` is given the rows of all photos,
    some at a time and in order.
    """
    drawing = None if page is None else _Page(Path(page), lang)
    check_place(on)
    for one in (out, details, page):
        if one is not None:
            check_writable(Path(one))
    model = load(run)
    asked = _open(model, photos, sample)
    form = _choose_form(form, asked, is_sample_given=sample is not None, fill=fill)
    path = Path(_OUT[form] if out is None else out)
    check_writable(path)
    for what, other in (("details", details), ("page", page)):
        if other is not None and Path(other).resolve() == path.resolve():
            raise InputError(f"the answers and their {what} cannot both be {path}: name two files")
    if None not in (page, details) and Path(page or "").resolve() == Path(details or "").resolve():
        raise InputError(f"the page and the details cannot both be {page}: name two files")
    inputs = {os.path.abspath(one.locator.path) for one in asked.catalog.photos if one.locator}
    for output in (path, details, page):
        if output is None:
            continue
        if sample is not None and Path(sample).resolve() == Path(output).resolve():
            raise InputError(f"the answers would replace the sample {output}: name another file")
        if {os.path.abspath(output), os.path.realpath(output)} & inputs:
            raise InputError(f"{output} is read, and would be replaced: name another file")
    if asked.sample is not None and form == "submission" and not fill:
        require_photos(asked.sample, asked.photo_ids or ())
    if tell is not None:
        tell(asked.reading)
    with ExitStack() as held:
        for one in (path, details, page):
            if one is not None:
                held.enter_context(hold(Path(one), "predict"))
                remove_unfinished_of(Path(one))
        return _write(model, asked, path, form, fill, details, drawing, keep, watch, on)


class _Page:
    """The page that answers are also written to.

    Raises:
        InputError: no such language.
    """

    def __init__(self, path: Path, lang: str) -> None:
        # Templates take a while to load, which answers without a page need not wait for.
        from lotlens.report.language import load_language

        self._path, self._language = path, load_language(lang)

    def write(
        self, model: Model, answers: _Answers, catalog: Catalog, watch: Watcher | None
    ) -> None:
        from lotlens.report.answers_page import write_answers_page

        pieces = _list_answers(model, answers)
        write_answers_page(
            self._path,
            model.run.path.absolute().name,
            (row for told in pieces for row in told),
            catalog,
            synthetic=model.card.synthetic,
            language=self._language,
            watch=watch,
        )


def _write(
    model: Model,
    asked: _Asked,
    path: Path,
    form: Form,
    fill: bool,
    details: Path | str | None,
    page: _Page | None,
    keep: Callable[[list[dict[str, Any]]], object] | None,
    watch: Watcher | None,
    on: str,
) -> Written:
    """Answer, and write the files, which nobody else writes meanwhile."""
    catalog = asked.catalog
    journal = None
    if len(catalog) > _PIECE or on:
        journal = Journal(path, describe_task(model, catalog), catalog.ids)
        fill_journal(model, catalog, journal, watch, on)
        answers: _Answers = journal.read
    else:
        found = model.answer(catalog, watch=watch)
        answers = partial(iter, (found,))
    tables: dict[Path, Table] = {}
    if details is not None:
        tables[Path(details)] = DETAILS
    if form == "table":
        tables[path] = FOR_PEOPLE
    verdicts, silent = _write_tables(model, answers, tables, keep)
    if page is not None:
        page.write(model, answers, catalog, watch)
    written = Written(path, form, len(catalog), verdicts, silent, len(catalog))
    if form == "submission":
        submission = _build(model, join_predictions(list(answers())), asked, fill, details)
        write_submission(path, submission)
        num_filled = submission.num_filled
        filler = _find_filler(model) if num_filled else None
        written = replace(
            written, num_rows=len(submission.rows), num_filled=num_filled, filler=filler
        )
    if journal is not None:
        journal.remove()
    return written


@dataclass(frozen=True)
class _Asked:
    """What is to be answered.

    Attributes:
        catalog: the photos.
        reading: how they were understood.
        sample: which rows a submission must have.
        photo_ids: which photo each of these rows means, if any.
    """

    catalog: Catalog
    reading: Reading
    sample: Sample | None = None
    photo_ids: tuple[str | None, ...] | None = None


def _open(
    model: Model,
    photos: Path | str | Sequence[Path | str] | None,
    sample_path: Path | str | None,
) -> _Asked:
    """The photos and the sample, compared with each other."""
    own = photos is None
    lot = (
        open_lot(model.data_path, rules=model.label_rules)
        if photos is None
        else open_unlabelled(list_paths(photos))
    )
    if own and not len(lot.test):
        raise InputError(f"{lot.source} has no test photos: name the photos to predict")
    if sample_path is not None:
        sample = read_sample(read_table(Path(sample_path)))
        return _Asked(lot.test, lot.reading, sample, match_sample(sample, lot.test))
    if own and lot.sample is not None:
        photo_ids = match_own_sample(lot.sample, lot.test)
        return _Asked(lot.test, lot.reading, lot.sample, photo_ids)
    return _Asked(lot.test, lot.reading)


def _choose_form(form: Form | None, asked: _Asked, *, is_sample_given: bool, fill: bool) -> Form:
    """What to write, if not asked for then by whether there is a sample.

    Raises:
        InputError: no such form, or an option that it has no use for.
    """
    known = get_args(Form)
    if form is None:
        form = "table" if asked.sample is None else "submission"
    elif form not in known:
        raise InputError(f"unknown form {form!r} of answers: use {' or '.join(known)}")
    if form == "table" and is_sample_given:
        raise InputError("a sample is for a submission: leave out --sample, or --format table")
    if form == "table" and fill:
        raise InputError(
            "only a submission is filled, and a table of answers would be written: give the sample"
            " (--sample), or ask for --format submission"
        )
    return form


def _build(
    model: Model,
    predictions: Predictions,
    asked: _Asked,
    fill: bool,
    details: Path | str | None,
) -> Submission:
    filler = model.card.commonest_label if fill else None
    try:
        return build_submission(predictions, asked.sample, asked.photo_ids, fill=filler)
    except InputError as error:
        if details is None:
            raise
        raise InputError(f"{error}. What is said of each photo lies in {details}") from error


def _find_filler(model: Model) -> CarClass | None:
    card = model.card
    return next((car for car in card.classes if car.label == card.commonest_label), None)


_Answers = Callable[[], Iterable[Predictions]]
"""Gives the answers to all photos, some at a time, as often as it is called: from the disk, where
there are so many that they had better not lie in memory."""


def _write_tables(
    model: Model,
    answers: _Answers,
    tables: Mapping[Path, Table],
    keep: Callable[[list[dict[str, Any]]], object] | None,
) -> tuple[dict[str, int], tuple[tuple[str, str], ...]]:
    """Write tables with a row for each photo, and count.

    Args:
        model: that answered.
        answers: what it answered.
        tables: the files to write.
        keep: see `write_answers`.

    Returns:
        how many there are of each verdict, and the (id, reason) of those without an answer.
    """
    verdicts: Counter[str] = Counter()
    silent: list[tuple[str, str]] = []
    for told in _list_answers(model, answers):
        verdicts.update(row["verdict"] for row in told)
        silent.extend((row["id"], row["status"]) for row in told if row["status"] != OK)
        if keep is not None:
            keep(told)
    for path, table in tables.items():
        # Answers are worded anew for each file, so that never those of all photos are in memory.
        pieces = _list_answers(model, answers)
        rows = (table.list_cells(row) for told in pieces for row in told)
        write_rows_atomically(path, [*table.columns], rows)
    return dict(verdicts.most_common()), tuple(silent)


def _list_answers(model: Model, answers: _Answers) -> Generator[list[dict[str, Any]], None, None]:
    """A row for the answer to each photo, some at a time."""
    for part in answers():
        for start in range(0, len(part.ids), _PIECE):
            rows = range(start, min(start + _PIECE, len(part.ids)))
            yield model.list_answers(take_rows(part, rows))


def describe_task(model: Model, catalog: Catalog) -> str:
    """All that the answers depend on: the model with its views, and the photos in their order."""
    card = hashlib.sha256(model.run.card_path.read_bytes()).hexdigest()
    ids = hashlib.sha256("\0".join(catalog.ids).encode()).hexdigest()
    return f"{card} {fingerprint(catalog, by_time=True)} {ids}"


def answer_all(
    model: Model, catalog: Catalog, journal: Journal, watch: Watcher | None, on: str = ""
) -> Predictions:
    """Answers to all photos: those in the journal, and new ones, which are added to it."""
    fill_journal(model, catalog, journal, watch, on)
    return join_predictions(list(journal.read()))


def fill_journal(
    model: Model, catalog: Catalog, journal: Journal, watch: Watcher | None, on: str = ""
) -> None:
    """Have all photos answered that the journal has no answer to.

    Pieces begin where those of an undisturbed run begin, so that the same photos are asked about
    together, whoever asks.
    """
    missing = [
        range(start, min(start + _PIECE, gap.stop))
        for gap in journal.find_gaps()
        for start in range(gap.start, gap.stop, _PIECE)
    ]
    before = len(catalog) - sum(map(len, missing))
    if not missing:
        return
    if on:
        from lotlens.cluster.photos import answer_ranges  # a plain install has no Ray

        for rows, part in answer_ranges(on, model, catalog, missing, before, watch):
            journal.add(rows.start, part)
        return

    def report(what: str, done: int, total: int) -> None:
        if watch is not None:
            watch(what, before + done, before + total)

    for start, part in _answer_here(model, catalog, missing, report):
        journal.add(start, part)


def _answer_here(
    model: Model, catalog: Catalog, missing: Sequence[range], watch: Watcher
) -> Generator[tuple[int, Predictions], None, None]:
    """Answers to the photos in these rows by this process: (first row, answers in a row)."""
    left = [row for rows in missing for row in rows]
    rest = replace(catalog, photos=tuple(catalog.photos[row] for row in left))
    done = 0
    # Opened as for all of them: another engine might answer otherwise in the last bits.
    for part in model.open(len(catalog)).answer_in_turn(rest, _PIECE, watch=watch):
        rows = left[done : done + len(part.ids)]
        done += len(rows)
        cuts = [at for at in range(1, len(rows)) if rows[at] != rows[at - 1] + 1]
        for start, stop in pairwise([0, *cuts, len(rows)]):
            yield rows[start], take_rows(part, range(start, stop))
