"""A finished model, and how it answers for photos; it prints nothing.

What is imported here and above decides how long a user waits for the answer to a single photo:
modules that are slow to import (pandas, scipy, torch) are imported where they are used.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lotlens.answering.answers import BOX, COLUMNS, to_rows
from lotlens.answering.locating import open_own_locator
from lotlens.answering.predict import Piece, answer_bytes, answer_pieces, join_pieces, read_views
from lotlens.answering.shown import OpenShown, open_exported_shown
from lotlens.answering.views import average_views
from lotlens.doors import call_verb, show_photos
from lotlens.errors import BundleError, InputError
from lotlens.extras import import_extra, import_vision
from lotlens.photos.addresses import to_source
from lotlens.photos.labels import LabelRules
from lotlens.photos.sources import open_photos
from lotlens.records import (
    MOST_FOLDS,
    CarLocator,
    Catalog,
    ModelCard,
    Predictions,
    Predictor,
    Tell,
    Watcher,
    watch_part,
)
from lotlens.refusal.familiarity import (
    FamiliarPredictor,
    Reference,
    decode_references,
    take_familiarity,
)
from lotlens.refusal.vehicles import add_shown
from lotlens.refusal.verdicts import VERDICT_COLUMNS, add_verdicts, decide, list_unfamiliar
from lotlens.run import RunFolder
from lotlens.texts import show
from lotlens.watching import with_progress

if TYPE_CHECKING:
    import pandas as pd

    from lotlens.audit.known import KnownPhotos
    from lotlens.deliver.parity import Limits
    from lotlens.judge.judged import Evaluation
    from lotlens.verbs.doubts import Doubted
    from lotlens.verbs.export import Exported

_MANY = 1000  # photos for which it is worth to have as many threads answer as there are cores
ANSWER_COLUMNS = (*COLUMNS, *VERDICT_COLUMNS, BOX)
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
        read_views(self.card)
        self.members: tuple[Model, ...] = _open_members(run, self.card)

    def __repr__(self) -> str:
        told = [f"{len(self.card.classes)} classes", *map(repr, self.card.metrics[:1])]
        return f"Model {show(str(self.run.path), in_one_line=True)}: {', '.join(told)}"

    @property
    def num_answers(self) -> int:
        """How many times a network is run for each photo: views times members, of every run."""
        if self.members:
            return sum(member.num_answers for member in self.members)
        return len(self.card.views) * self.card.members

    @cached_property
    def source(self) -> Mapping[str, Any]:
        """What the run says of its data (see `RunFolder.read_source`), read once.

        Raises:
            BundleError: it is missing or damaged.
        """
        return self.run.read_source()

    @cached_property
    def known_photos(self) -> KnownPhotos:
        """By what the run knows its photos again, read once.

        Raises:
            BundleError: it is damaged.
        """
        from lotlens.audit.known import read_known  # answering does without

        return read_known(self.run.photos_path)

    @property
    def data_path(self) -> Path:
        """Where the data lie that it was trained on.

        Raises:
            BundleError: as `source`.
        """
        return Path(self.source["data"])

    @property
    def label_rules(self) -> LabelRules:
        """How labels were read that it was trained on."""
        return LabelRules.of(self.card.recipe.get("labels"))

    @property
    def has_test_photos(self) -> bool:
        """Whether its data had photos to answer for when it was trained; no, if not known."""
        return self.run.source_path.is_file() and bool(self.source.get("test"))

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
            from lotlens.answering.exported import open_exported

            return open_exported(self.run, self.card, num_photos=num_photos)
        bundle, predictor = import_vision("bundle"), import_vision("predictor")
        classifier, card = bundle.load_bundle(self.run, self.card)
        total = num_photos * len(card.views)
        locate = self.open_locator(num_photos)
        result: Predictor = predictor.ClassifierPredictor(
            classifier, card, num_photos=total, locate=locate
        )
        return result

    def open_locator(self, num_photos: int = 1) -> CarLocator | None:
        """What finds the car in photos; None where the model looks at whole ones.

        Args:
            num_photos: about how many photos it will be asked for.

        Raises:
            BundleError: its network is missing, damaged or replaced.
        """
        return open_own_locator(self.run, self.card, num_photos)

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

    def find_shown(self) -> OpenShown | None:
        """Opens the network that says what unfamiliar photos show; None where nobody looks.

        Raises:
            BundleError: a bundle's own is missing, damaged or replaced.
            MissingExtra: torch is not installed.
        """
        refusal = self.card.refusal
        if refusal is None or refusal.vehicle is None:
            return None
        if self.card.engine == "torch":
            found: OpenShown | None = import_vision("imagenet").find_shown()
            return found
        if not refusal.shown_sha256:
            return None
        return open_exported_shown(self.run.read_shown(refusal.shown_sha256))

    def open(self, num_photos: int = 1) -> OpenModel:
        """The model with all that it answers by loaded, for any number of questions.

        Args:
            num_photos: about how many photos it will be asked for; see `build_predictor`.

        Raises:
            BundleError, MissingExtra: as `build_predictor`, of any member.
        """
        if self.members:
            members = tuple(member.open(num_photos) for member in self.members)
            return OpenModel(self.card, None, (), members, self.find_shown())
        predictor = self.build_predictor(num_photos)
        references = self.read_references()
        return OpenModel(self.card, predictor, references, open_shown=self.find_shown())

    def answer(self, catalog: Catalog, *, watch: Watcher | None = None) -> Predictions:
        """Predictions for every photo of a catalog, in its order.

        With their familiarity, where the model was taught to refuse.
        """
        return self.open(len(catalog)).answer(catalog, watch=watch)

    def answer_in_turn(
        self, catalog: Catalog, size: int, *, watch: Watcher | None = None
    ) -> Generator[Predictions, None, None]:
        """As `answer`, but so many photos at a time; nothing is kept of those given back."""
        return self.open(len(catalog)).answer_in_turn(catalog, size, watch=watch)

    def list_answers(self, predictions: Predictions) -> list[dict[str, Any]]:
        """A row with ANSWER_COLUMNS for the answer to each photo."""
        card = self.card
        verdicts = decide(predictions, card.refusal, card.temperature)
        rows = add_verdicts(to_rows(predictions, card.temperature), verdicts)
        return [{column: row[column] for column in ANSWER_COLUMNS} for row in rows]

    def describe(self, predictions: Predictions) -> pd.DataFrame:
        """A table for people (see `predict`) of the answers to photos."""
        return build_frame(self.list_answers(predictions))

    @with_progress
    def predict(
        self, photos: Path | str | Sequence[Path | str], *, watch: Watcher | None = None
    ) -> pd.DataFrame:
        """Answers for photos in folders, zips or single files.

        Returns:
            one row per photo: id, status, label, name, probability, second_name,
            second_probability, box (where the car was found, if it is looked for), and what is to
            be made of it: verdict ("model", "unsure", "unknown", "not a car", "poor photo" or "no
            answer"), reason (a sentence) and candidates (names of models, one of which it is with
            the card's coverage at least, if it is one of the known; of an "unsure" photo those
            that its reason names are always among them). Only "model" and "unsure" have a
            probability.

        Raises:
            InputError: a path does not exist or holds no photo.
            BundleError: the model is damaged.
            MissingExtra: lotlens[notebook] is not installed.
        """
        frames = import_extra("lotlens.deliver.answered", "notebook")  # missing: said before work
        catalog = open_photos(list_paths(photos))
        described = self.describe(self.answer(catalog, watch=watch))
        answers: pd.DataFrame = frames.with_photos(described, catalog)
        return answers

    def show(
        self,
        photos: Path | str | Sequence[Path | str],
        num_photos: int = 24,
        *,
        watch: Watcher | None = None,
    ) -> Any:
        """Photos side by side with the answers to them, for a notebook.

        Args:
            photos: folders, zips or single files.
            num_photos: so many at most are answered, from all over them.
            watch: told of the work as it goes on.

        Returns:
            what a notebook shows by itself; `.save(path)` writes it as a page.

        Raises:
            InputError, BundleError: as `predict`.
        """
        catalog = open_photos(list_paths(photos)).spread(num_photos)
        answers = with_progress(Model.answer)(self, catalog, watch=watch)
        return show_photos(catalog, num_photos, answers=self.list_answers(answers))

    def evaluate(
        self,
        data: Path | str | None = None,
        *,
        labels: Path | str | None = None,
        photos: Path | str | None = None,
        report: Path | str | None = None,
        locked: bool = False,
        changed: bool = False,
        lang: str = "en",
        watch: Watcher | None = None,
    ) -> Evaluation:
        """Judge it on labelled photos, and write a report: see `lotlens.evaluate`."""
        result: Evaluation = call_verb(
            "evaluate",
            self.run.path,
            data,
            labels=labels,
            photos=photos,
            report=report,
            locked=locked,
            changed=changed,
            lang=lang,
            watch=watch,
        )
        return result

    def doubts(self, *, tell: Tell | None = None, watch: Watcher | None = None) -> Doubted:
        """Find labelled photos of its data worth a second look: see `lotlens.doubts`."""
        result: Doubted = call_verb("doubts", self.run.path, tell=tell, watch=watch)
        return result

    def export(
        self,
        *,
        engine: str = "onnx",
        precision: str = "fp32",
        out: Path | str | None = None,
        limits: Limits | None = None,
        watch: Watcher | None = None,
    ) -> Exported:
        """Write a bundle that answers without torch: see `lotlens.export`."""
        result: Exported = call_verb(
            "export",
            self.run.path,
            engine=engine,
            precision=precision,
            out=out,
            limits=limits,
            watch=watch,
        )
        return result


@dataclass(frozen=True)
class OpenModel:
    """A model with its network and what it remembers loaded, for one question after another.

    Attributes:
        card: its model card.
        predictor: its network; None for an ensemble of runs.
        references: what it remembers of its training photos; none if it was not taught to refuse.
        members: of an ensemble of runs, these runs; else none.
        open_shown: opens the network that says what unfamiliar photos show, if there is one.
    """

    card: ModelCard
    predictor: Predictor | None
    references: tuple[Reference, ...]
    members: tuple[OpenModel, ...] = ()
    open_shown: OpenShown | None = None

    def answer(
        self, catalog: Catalog, *, what: str = "predicting", watch: Watcher | None = None
    ) -> Predictions:
        """As `Model.answer`; `what` names the work for `watch`."""
        (whole,) = self.answer_in_turn(catalog, len(catalog), what=what, watch=watch)
        return whole

    @property
    def num_streams(self) -> int:
        """How many threads may call `answer_bytes` at the same time."""
        if self.predictor is not None:
            return self.predictor.num_streams
        return min(member.num_streams for member in self.members)

    def answer_bytes(self, photos: Sequence[bytes], ids: Sequence[str]) -> Predictions:
        """As `answer`, of photos whose bytes are at hand, in the caller's thread, as one batch.

        Args:
            photos: the files' bytes.
            ids: one for each of them.

        Raises:
            BundleError: the model's outputs do not match its card.
        """
        found, refusal = self._answer_bytes(photos, ids), self.card.refusal
        if self.open_shown is None or refusal is None:
            return found
        rows = list_unfamiliar(found, refusal, self.card.temperature)
        open_shown = self.open_shown
        return add_shown(found, photos, rows, lambda _: open_shown(self._num_asked))

    def warm_up(self) -> None:
        """Open what would be opened for the first unfamiliar photo.

        Raises:
            BundleError: it is damaged.
        """
        if self.open_shown is not None:
            self.open_shown(self._num_asked)

    @property
    def _num_asked(self) -> int:
        """For how many photos to open the network of what is shown.

        As many threads may ask it as may ask the model.
        """
        return 1 if self.num_streams == 1 else _MANY

    def _answer_bytes(self, photos: Sequence[bytes], ids: Sequence[str]) -> Predictions:
        """As `answer_bytes`, whatever the photos show."""
        if self.predictor is None:
            from lotlens.judge.blend import blend_predictions

            parts = [member._answer_bytes(photos, ids) for member in self.members]
            return blend_predictions(parts, self.card.shares)
        if not self.references:
            return answer_bytes(self.predictor, photos, ids)
        familiar = FamiliarPredictor(self.predictor, self.references)
        return take_familiarity(answer_bytes(familiar, photos, ids, keep_features=True), self.card)

    def answer_in_turn(
        self,
        catalog: Catalog,
        size: int,
        *,
        what: str = "predicting",
        watch: Watcher | None = None,
    ) -> Generator[Predictions, None, None]:
        """As `Model.answer_in_turn`; a few photos more at a time, for batches are not cut."""
        done = 0
        with closing(self._answer_by_models(catalog, size, what, watch)) as parts:
            for part in parts:
                yield self._look_again(part, catalog, done)
                done += len(part.ids)

    def _look_again(self, found: Predictions, catalog: Catalog, start: int) -> Predictions:
        """Answers that say what unfamiliar photos show, to photos from one of the catalog's on."""
        refusal = self.card.refusal
        if self.open_shown is None or refusal is None:
            return found
        rows = list_unfamiliar(found, refusal, self.card.temperature)
        own = replace(catalog, photos=catalog.photos[start : start + len(found.ids)])
        return add_shown(found, own, rows, self.open_shown)

    def _answer_by_models(
        self, catalog: Catalog, size: int, what: str, watch: Watcher | None
    ) -> Generator[Predictions, None, None]:
        """As `answer_in_turn`, whatever the photos show."""
        if self.predictor is not None:
            progress = watch_part(watch, what)
            yield from self._answer_alone(self.predictor, catalog, size, progress)
            return
        streams = []
        for number, member in enumerate(self.members, start=1):
            part = f"run {number} of {len(self.members)}: {what}"
            streams.append(member._answer_by_models(catalog, size, part, watch))
        from lotlens.judge.blend import blend_predictions

        for parts in zip(*streams, strict=True):
            yield blend_predictions(parts, self.card.shares)

    def _answer_alone(
        self,
        predictor: Predictor,
        catalog: Catalog,
        size: int,
        progress: Callable[[int, int], None] | None,
    ) -> Generator[Predictions, None, None]:
        keep = bool(self.references)
        if keep:
            predictor = FamiliarPredictor(predictor, self.references)
        views = read_views(predictor.card)

        def close(pieces: Sequence[Piece], start: int, stop: int) -> Predictions:
            ids = [photo.id for photo in catalog.photos[start:stop]]
            by_view = join_pieces(pieces, ids, predictor.card, views, keep_features=keep)
            logits = average_views([by_view[view].logits for view in views])
            whole = replace(by_view[views[0]], logits=logits)
            return take_familiarity(whole, self.card) if keep else whole

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


def list_paths(photos: Path | str | Sequence[Path | str]) -> list[Path | str]:
    """One path or address, or several, as a list; a text in it is an address."""
    given = [photos] if isinstance(photos, (Path, str)) else photos
    return [to_source(place) for place in given]


def build_frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """A table with ANSWER_COLUMNS of rows as `Model.list_answers` gives them.

    Raises:
        MissingExtra: lotlens[notebook] is not installed.
    """
    frame: pd.DataFrame = import_extra("pandas", "notebook").DataFrame(
        rows, columns=[*ANSWER_COLUMNS]
    )
    return frame


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
