"""A finished model answers for photos, and its answers become a submission; it prints nothing.

What is imported here and above decides how long a user waits for the answer to a single photo:
modules that are slow to import (pandas, scipy, torch) are imported where they are used.
"""

from __future__ import annotations

import hashlib
import math
import reprlib
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lotlens.deliver.journal import Journal
from lotlens.deliver.submission import build_submission, write_submission
from lotlens.errors import BundleError, InputError
from lotlens.extras import import_vision
from lotlens.files import write_rows_atomically
from lotlens.judge.familiarity import (
    FamiliarPredictor,
    Reference,
    decode_references,
    take_familiarity,
)
from lotlens.judge.predict import (
    COLUMNS,
    Piece,
    answer_pieces,
    join_pieces,
    join_predictions,
    read_views,
    take_rows,
    to_rows,
)
from lotlens.judge.verdicts import VERDICT_COLUMNS, add_verdicts, decide
from lotlens.judge.views import average_views
from lotlens.photos.sources import fingerprint, open_lot, open_photos
from lotlens.photos.tables import read_sample, read_table
from lotlens.records import (
    MOST_FOLDS,
    OK,
    Catalog,
    ModelCard,
    Predictions,
    Predictor,
    Watcher,
    watch_part,
)
from lotlens.run import RunFolder

if TYPE_CHECKING:
    import pandas as pd

_PIECE = 512
"""Photos whose answers are written together: what a kill can cost, a few seconds of work."""
ANSWER_COLUMNS = (*COLUMNS, *VERDICT_COLUMNS)
"""Of the table that `predict` gives."""


class Model:
    """A finished run, ready to answer.

    Attributes:
        run: its folder.
        card: its model card.
        members: of an ensemble of runs, these runs; else none.

    Raises:
        BundleError: the card is damaged, or that of a member is not what it was.
    """

    def __init__(self, run: RunFolder) -> None:
        self.run = run
        self.card: ModelCard = run.read_card()
        self.members: tuple[Model, ...] = _open_members(run, self.card)

    @property
    def num_answers(self) -> int:
        """How many times a network is run for each photo: views times members, of every run."""
        if self.members:
            return sum(member.num_answers for member in self.members)
        return len(self.card.views) * self.card.members

    def build_predictor(self, num_photos: int = 1) -> Predictor:
        """The Predictor, made fast if it is to answer for many photos.

        Raises:
            BundleError: the bundle is damaged.
            InputError: it is an ensemble of runs, which prepare photos each in its own way.
            MissingExtra: torch is not installed, or what the model was exported for.
        """
        if self.members:
            raise InputError(
                f"{self.run.path} is an ensemble of runs, which has no network and preprocessing of"
                " its own: name one of its runs, or ask Model.answer in Python"
            )
        if self.card.engine != "torch":
            from lotlens.deliver.runtime import open_exported

            return open_exported(self.run, num_photos=num_photos)
        bundle, predictor = import_vision("bundle"), import_vision("predictor")
        classifier, card = bundle.load_bundle(self.run)
        total = num_photos * len(card.views)
        result: Predictor = predictor.ClassifierPredictor(classifier, card, num_photos=total)
        return result

    def answer(self, catalog: Catalog, *, watch: Watcher | None = None) -> Predictions:
        """Predictions for every photo of a catalog, in its order.

        With their familiarity, where the model was taught to refuse.
        """
        (whole,) = self.answer_in_turn(catalog, len(catalog), watch=watch)
        return whole

    def answer_in_turn(
        self, catalog: Catalog, size: int, *, watch: Watcher | None = None
    ) -> Generator[Predictions, None, None]:
        """As `answer`, but so many photos at a time; nothing is kept of those given back."""
        if not self.members:
            yield from self._answer_alone(catalog, size, watch_part(watch, "predicting"))
            return
        streams = []
        for number, member in enumerate(self.members, start=1):
            part = f"run {number} of {len(self.members)}: predicting"
            streams.append(member._answer_alone(catalog, size, watch_part(watch, part)))
        from lotlens.judge.ensemble import blend_predictions

        for parts in zip(*streams, strict=True):
            yield blend_predictions(parts, self.card.shares)

    def read_references(self) -> tuple[Reference, ...]:
        """What the model remembers of its training photos; nothing if it was never taught that.

        Raises:
            BundleError: the file is missing, damaged or replaced.
        """
        sha256 = self.card.refusal.references_sha256 if self.card.refusal else ""
        if not sha256:
            return ()
        data = self.run.read_references(sha256)
        return decode_references(data, self.card.members, str(self.run.references_path))

    def list_answers(self, predictions: Predictions) -> list[dict[str, Any]]:
        """A row with ANSWER_COLUMNS for the answer to each photo."""
        card = self.card
        verdicts = decide(predictions, card.refusal, card.temperature)
        return add_verdicts(to_rows(predictions, card.temperature), verdicts)

    def describe(self, predictions: Predictions) -> pd.DataFrame:
        """A table for people (see `predict`) of the answers to photos."""
        return _build_frame(self.list_answers(predictions))

    def predict(
        self, photos: Path | str | Sequence[Path | str], *, watch: Watcher | None = None
    ) -> pd.DataFrame:
        """Answers for photos in folders, zips or single files.

        Returns:
            one row per photo: id, status, label, name, probability, second_name,
            second_probability, and what is to be made of it: verdict ("model", "unsure",
            "unknown", "not a car", "poor photo" or "no answer"), reason (a sentence) and
            candidates (names of models, one of which it is with the card's coverage, if it is one
            of the known). A photo that is "unknown" or "not a car" has no probability.

        Raises:
            InputError: a path does not exist or holds no photo.
            BundleError: the model is damaged.
        """
        return self.describe(self.answer(open_photos(list_paths(photos)), watch=watch))

    def _answer_alone(
        self, catalog: Catalog, size: int, progress: Callable[[int, int], None] | None
    ) -> Generator[Predictions, None, None]:
        """`answer_in_turn` of a single run."""
        predictor, references = self.build_predictor(len(catalog)), self.read_references()
        yield from _answer(predictor, references, catalog, size, progress)


def answer_by(
    predictor: Predictor,
    references: Sequence[Reference],
    catalog: Catalog,
    progress: Callable[[int, int], None] | None = None,
) -> Predictions:
    """As `Model.answer`, by a predictor that somebody built and what its model remembers."""
    (whole,) = _answer(predictor, references, catalog, len(catalog), progress)
    return whole


def _answer(
    predictor: Predictor,
    references: Sequence[Reference],
    catalog: Catalog,
    size: int,
    progress: Callable[[int, int], None] | None,
) -> Generator[Predictions, None, None]:
    """Answers to `size` photos at a time, or a few more, for batches are not cut."""
    keep = bool(references)
    if keep:
        predictor = FamiliarPredictor(predictor, references)
    views = read_views(predictor.card)

    def close(pieces: Sequence[Piece], start: int, stop: int) -> Predictions:
        ids = [photo.id for photo in catalog.photos[start:stop]]
        by_view = join_pieces(pieces, ids, predictor.card, views, keep_features=keep)
        logits = average_views([by_view[view].logits for view in views])
        whole = replace(by_view[views[0]], logits=logits)
        return take_familiarity(whole) if keep else whole

    batches = answer_pieces(predictor, catalog.photos, views=views, keep_features=keep)
    waiting: list[Piece] = []
    start = done = 0
    with closing(batches):
        for batch in batches:
            waiting.append(batch)
            done = batch.start + len(batch.status)
            if progress is not None:
                progress(done, len(catalog))
            if done - start >= size:
                yield close(waiting, start, done)
                waiting, start = [], done
    if waiting or not len(catalog):
        yield close(waiting, start, done)


def load(run: Path | str) -> Model:
    """A finished run, or an exported one.

    Raises:
        BundleError: the folder is missing, or holds no finished model.
    """
    return Model(RunFolder.open(Path(run)))


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
    return _build_frame(rows)


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
        lot = open_lot(Path(model.run.read_source()["data"]))
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

    def tell() -> Generator[list[object], None, None]:
        for start in range(0, len(catalog), _PIECE):
            rows_here = range(start, min(start + _PIECE, len(catalog)))
            told = model.list_answers(take_rows(predictions, rows_here))
            verdicts.update(row["verdict"] for row in told)
            silent.extend((row["id"], row["status"]) for row in told if row["status"] != OK)
            if keep is not None:
                keep(told)
            yield from ([row[column] for column in ANSWER_COLUMNS] for row in told)

    if details is not None:
        write_rows_atomically(Path(details), ANSWER_COLUMNS, tell())
    else:
        for _ in tell():
            pass
    if journal is not None:
        journal.remove()
    return Written(len(catalog), dict(verdicts.most_common()), tuple(silent))


def list_paths(photos: Path | str | Sequence[Path | str]) -> list[Path]:
    """One path or several, as a list."""
    if isinstance(photos, (Path, str)):
        return [Path(photos)]
    return [Path(path) for path in photos]


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

    def tell(what: str, done: int, total: int) -> None:
        if watch is not None:
            watch(what, total_done + done, total_done + total)

    for part in model.answer_in_turn(rest, _PIECE, watch=tell) if len(rest) or not parts else ():
        if journal is not None:
            journal.add(len(parts), part)
        parts.append(part)
    return join_predictions(parts)


def _build_frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(rows, columns=[*ANSWER_COLUMNS])


def _open_members(run: RunFolder, card: ModelCard) -> tuple[Model, ...]:
    """The runs that answer together; none where the run has weights of its own."""
    if not card.shares:
        return ()
    is_whole = all(isinstance(s, float) and math.isfinite(s) and s > 0 for s in card.shares)
    if (
        not is_whole
        or not 2 <= len(card.shares) <= MOST_FOLDS
        or not math.isclose(math.fsum(card.shares), 1, abs_tol=1e-6)
    ):
        raise BundleError(
            f"{run.card_path} is damaged: the shares of an ensemble are 2 to {MOST_FOLDS} numbers"
            f" above 0 whose sum is 1, not {reprlib.repr(card.shares)}"
        )
    if run.hash_members(len(card.shares)) != card.weights_sha256:
        raise BundleError(
            f"the cards in {run.path / 'members'} are not those that {run.card_path} describes"
            " (their SHA-256 differs): make the ensemble anew from its runs"
        )
    members = [run.member(number) for number in range(len(card.shares))]
    for member in members:
        own = member.read_card()
        if own.shares or own.classes != card.classes:
            raise BundleError(f"{member.card_path} is no card of a single run with these classes")
    return tuple(Model(member) for member in members)
