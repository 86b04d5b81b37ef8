"""The models of a run, one or one per fold: trained, judged, and written as one bundle."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lotlens.answering.answers import save_predictions
from lotlens.answering.views import WHOLE
from lotlens.audit.findings import Audit
from lotlens.audit.parts import hash_split, list_held_out, list_learnt, pair_sides
from lotlens.audit.split import cluster_photos
from lotlens.deliver.model import Model
from lotlens.deliver.own_data import Sides
from lotlens.errors import OutputError
from lotlens.extras import import_vision
from lotlens.files import write_text_atomically
from lotlens.photos.synthetic import is_synthetic
from lotlens.recipes.schema import Finetune, Recipe
from lotlens.records import CarLocator, Catalog, Locate, Lot, ModelCard, Photo, Split, Watcher
from lotlens.run import FORMAT_VERSION, NOTE_SUFFIX, RunFolder
from lotlens.training.data import find_commonest_label
from lotlens.training.jobs import Helpers
from lotlens.training.locating import (
    Boxes,
    choose_located,
    hash_network,
    keep_network,
    open_kept,
)
from lotlens.training.others import Others
from lotlens.training.settle import answer_views, settle, teach_refusal
from lotlens.training.started import name_backbone
from lotlens.version import __version__

if TYPE_CHECKING:
    from lotlens.vision.stages import Trained

_NOTE_S = 2.0
"""How often a fold that is trained elsewhere says how far it is."""


@dataclass(frozen=True)
class Extras:
    """What a training begins with beside its data, in a round of improvement.

    Attributes:
        additions: outside photos to learn, with labels of the data's classes and ids of their own.
        photo_weights: photo id -> how much it counts, 1 if it is not named.
        starts: weights to begin with, of each model; none for the pretrained ones.
    """

    additions: tuple[Photo, ...] = ()
    photo_weights: Mapping[str, float] | None = None
    starts: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Training:
    """All that one training begins with.

    Attributes:
        run: a folder that holds recipe, source and split; a training in it that was stopped goes
            on.
        recipe: the stages.
        located: how the car is found where the recipe leaves that to a trial (`choose_located`).
        lot: the data.
        split: of its photos.
        found: the audit of them.
        is_new: whether it begins now, and does not go on with what was there.
        extras: what is learnt beside them.
        others: photos of other cars, learnt as none of the classes.
        schedules: learning-rate schedules of one's own (see `verbs.train.train`).
        num_workers: processes that augment photos while fine-tuning.
        boxes: of the cars that were found in photos; a process looks at each once.
    """

    run: RunFolder
    recipe: Recipe
    lot: Lot
    split: Split
    found: Audit
    is_new: bool = True
    extras: Extras = Extras()
    others: Others = field(default_factory=Others)
    schedules: Mapping[str, Callable[[float], float]] | None = None
    num_workers: int = 0
    located: Locate = "none"
    boxes: Boxes = field(default_factory=dict, repr=False, compare=False)

    @property
    def applied(self) -> Recipe:
        """The recipe with what validation chose in it."""
        return self.recipe.located(self.located)

    @cached_property
    def usable(self) -> Catalog:
        """The labelled photos that have files."""
        return self.lot.train.with_files()

    @cached_property
    def clusters(self) -> dict[str, int]:
        """Photo id -> number, the same for photos that belong together."""
        return cluster_photos(self.usable, self.found.groups)

    @cached_property
    def sides(self) -> Sides:
        """Of each model the ids that it learns, and those held out of it."""
        return pair_sides(self.split)

    def choose_located(self, watch: Watcher | None) -> Training:
        """The same, with the choice whether the car is found first made or read from the run."""
        photos = self.usable.select([id_ for side in self.sides[0] for id_ in side])
        # The network of another run may have learnt those to learn, but none that is held out.
        asked = () if self.recipe.source_run is None else self.sides[:1]
        located = choose_located(
            *(self.run, self.recipe, photos),
            clusters=self.clusters,
            sides=asked,
            boxes=self.boxes,
            watch=watch,
        )
        return replace(self, located=located)

    @cached_property
    def network(self) -> bytes | None:
        """What finds the car, as it lies in the run; None where the recipe takes whole photos.

        Raises:
            InputError, MissingExtra, OutputError: as `keep_network`.
        """
        return keep_network(self.run, self.applied)

    @cached_property
    def locate(self) -> CarLocator | None:
        """The same, opened."""
        if self.network is None:
            return None
        way = self.applied.image.spec().locate
        return open_kept(self.network, way, len(self.usable), self.boxes)


def train_models(
    training: Training, watch: Watcher | None, helpers: Helpers | None = None
) -> list[Trained]:
    """Run the recipe's stages once, or once per fold; additions are learnt by every model.

    Args:
        training: what it begins with.
        watch: told of the work as it goes on.
        helpers: who train folds side by side. What they end in lies in the run folder, as that of a
            training which was stopped then, and is taken up from there.
    """
    num_models = len(training.sides)
    if helpers is not None and num_models > 1:
        _train_side_by_side(training, helpers, watch)
    return [train_model(training, number, watch) for number in range(1, num_models + 1)]


def train_model(training: Training, number: int, watch: Watcher | None) -> Trained:
    """One model of a run, or go on with it; the number is from 1."""
    stages = import_vision("stages")
    run, extras, sides = training.run, training.extras, training.sides
    kept, held_out = sides[number - 1]
    place, log_path, told = run.checkpoint_path, run.tensorboard_path, watch
    if len(sides) > 1:
        place, log_path = place / f"fold-{number}", log_path / f"fold-{number}"
        told = watch_fold(watch, number, len(sides))
    learnt = training.usable.select(kept)
    trained: Trained = stages.run_stages(
        training.applied,
        replace(learnt, photos=(*learnt.photos, *extras.additions)),
        training.usable.select(held_out),
        clusters=training.clusters,
        functions=training.schedules,
        start=extras.starts[number - 1] if extras.starts else None,
        photo_weights=extras.photo_weights,
        others=training.others.learnt,
        style=training.others.style,
        locate=training.locate,
        checkpoint_path=place,
        scratch_path=run.path,
        log_path=log_path,
        sheet_path=run.batch_path if number == 1 else None,
        num_workers=training.num_workers,
        watch=told,
    )
    return trained


def _train_side_by_side(training: Training, helpers: Helpers, watch: Watcher | None) -> None:
    """Have all folds trained, each by one of the helpers; they lie in the run folder then."""
    num_folds = len(training.sides)
    _ = training.network  # written once, before all of them look for it
    # Others have a folder of their own to begin in.
    placed = replace(training, run=RunFolder(training.run.path.absolute()))
    tasks = [partial(_train_apart, placed, number) for number in range(1, num_folds + 1)]
    done = 0
    _tell(watch, done, num_folds)
    notes = [_place_note(placed, number) for number in range(1, num_folds + 1)]
    for note in notes:  # of a training that was stopped
        note.unlink(missing_ok=True)
    look = None if watch is None else _Look(notes, watch)
    with closing(helpers.share_out(tasks, look)) as results:
        for _ in results:
            done += 1
            _tell(watch, done, num_folds)


def _tell(watch: Watcher | None, done: int, num_folds: int) -> None:
    if watch is not None:
        watch("folds side by side", done, num_folds)


def _train_apart(training: Training, number: int) -> None:
    """Train a fold in another process; its state stays where `train_model` takes it up."""
    train_model(training, number, _note_progress(_place_note(training, number)))


def _place_note(training: Training, number: int) -> Path:
    """Where a fold that is trained in another process, or elsewhere, says how far it is."""
    return training.run.checkpoint_path / f"fold-{number}{NOTE_SUFFIX}"


def _note_progress(path: Path) -> Watcher:
    """A watcher that writes down what it was told last."""
    noted_s = -math.inf

    def watch(what: str, done: int, total: int) -> None:
        nonlocal noted_s
        now_s = time.monotonic()
        if done < total and now_s - noted_s < _NOTE_S:
            return
        noted_s = now_s
        with suppress(OSError, OutputError):  # a fold does not end for that
            path.parent.mkdir(parents=True, exist_ok=True)
            write_text_atomically(path, json.dumps([what, done, total]))

    return watch


class _Look:
    """Passes on what folds elsewhere have written down, where it is something new."""

    def __init__(self, notes: Sequence[Path], watch: Watcher) -> None:
        self._notes, self._watch = notes, watch
        self._passed_on: dict[Path, tuple[str, int, int]] = {}
        self._looked_s = -math.inf

    def __call__(self) -> None:
        now_s = time.monotonic()
        if now_s - self._looked_s < _NOTE_S:
            return
        self._looked_s = now_s
        for path in self._notes:
            note = None
            # There may be none yet, or a spoilt one.
            with suppress(OSError, ValueError, TypeError, OverflowError):
                what, done, total = json.loads(path.read_text("utf-8"))
                note = str(what), int(done), int(total)
            if note is not None and note != self._passed_on.get(path):
                self._passed_on[path] = note
                self._watch(*note)


def watch_fold(watch: Watcher | None, number: int, num_folds: int) -> Watcher | None:
    """Told of the work on one of several models, it passes that on with the model's number."""
    if watch is None:
        return None
    return lambda what, done, total: watch(f"fold {number} of {num_folds}: {what}", done, total)


def finish(training: Training, trained: Sequence[Trained], watch: Watcher | None) -> Model:
    """Write the history, let validation choose views and temperature, judge, save the bundle.

    With folds, each model answers for the fold that it has not seen.
    """
    bundle, classifier = import_vision("bundle"), import_vision("classifier")
    run, sides, catalog = training.run, training.sides, training.lot.train
    run.write_history(_join_histories(trained))
    validation = training.usable.select(list_held_out(training.split))
    card = _begin_card(training, trained)
    members = [one.classifier for one in trained]
    names = (WHOLE, *training.recipe.views)
    by_view = answer_views(members, card, sides, validation, names, training.locate, watch)
    card, predictions, _ = settle(card, by_view, validation)
    network = classifier.Ensemble(members) if len(members) > 1 else members[0]
    card, predictions = teach_refusal(
        *(run, card, network, members, sides, predictions, catalog),
        *(training.others, training.locate, watch),
    )
    sha256 = save_predictions(run.validation_path, predictions)
    bundle.save_bundle(run, network, replace(card, answers_sha256=sha256))
    return Model(run)


def _begin_card(training: Training, trained: Sequence[Trained]) -> ModelCard:
    """The model card, but for what validation's answers say."""
    recipe, lot = training.recipe, training.lot
    many = len(trained)
    return ModelCard(
        format_version=FORMAT_VERSION,
        lotlens_version=__version__,
        classes=lot.train.classes,
        image=trained[0].spec,
        backbone=name_backbone(recipe),
        feature_levels=recipe.feature_levels,
        pooling=recipe.pooling,
        num_others=len(training.others.learnt),
        recipe=recipe.to_dict(),
        fingerprint=training.split.fingerprint,
        split_sha256=hash_split(training.split),
        chosen="; ".join(_describe_choice(one, n, many) for n, one in enumerate(trained, 1)),
        num_candidates=max(_count_candidates(one, recipe) for one in trained),
        commonest_label=find_commonest_label(lot.train.select(list_learnt(training.split))),
        synthetic=is_synthetic(lot.source),
        locator_sha256=hash_network(training.network),
    )


def _count_candidates(trained: Trained, recipe: Recipe) -> int:
    """The sets of weights that validation chose among, looks of which a stage kept the best too."""
    count = len(trained.candidates)
    for number, stage in enumerate(recipe.stages):
        if isinstance(stage, Finetune) and (stage.early_stop or stage.checkpoint != "last"):
            count += max(sum(row["stage"] == number for row in trained.history) - 1, 0)
    return count


def _join_histories(trained: Sequence[Trained]) -> list[dict[str, Any]]:
    """The rows of all models, with the number of the fold where there are several."""
    return [
        {**({"fold": number} if len(trained) > 1 else {}), **row}
        for number, one in enumerate(trained, start=1)
        for row in one.history
    ]


def _describe_choice(trained: Trained, number: int, num_models: int) -> str:
    reasons = ", ".join(
        f"{c.name} {c.accuracy:.3f} ({c.log_loss:.3f} nats)" for c in trained.candidates
    )
    fold = f"fold {number}: " if num_models > 1 else ""
    return f"{fold}{trained.chosen}; validation accuracy (log loss) of each candidate: {reasons}"
