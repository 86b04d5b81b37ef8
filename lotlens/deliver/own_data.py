"""The data that a run was trained on, opened once for all that a verb does with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from lotlens.answering.answers import load_predictions
from lotlens.audit.parts import (
    FOLD,
    LOCKED,
    TRAIN,
    VALIDATION,
    count_folds,
    hash_split,
    list_held_out,
    list_learnt,
    pair_sides,
    read_split,
)
from lotlens.deliver.model import Model
from lotlens.errors import BundleError, shorten
from lotlens.judge.judged import Subject
from lotlens.photos.decisions import Decision, apply_decisions, decisions_path, read_decisions
from lotlens.photos.fingerprint import fingerprint, trust_stamps
from lotlens.photos.sources import open_lot
from lotlens.records import Catalog, Lot, Predictions, Split

Sides = Sequence[tuple[Sequence[str], Sequence[str]]]
"""Of each model the ids that it learnt, and those held out of it."""


@dataclass(frozen=True)
class OwnData:
    """A run with its data as they were when it was trained.

    Attributes:
        model: the run.
        lot: with the labels that it was trained with; its training photos are those that have
            files.
        split: of these photos.
        undecided: the lot as it was found, before anybody's decisions on labels.
    """

    model: Model
    lot: Lot
    split: Split
    undecided: Lot

    @cached_property
    def sides(self) -> Sides:
        """One pair, or one per fold."""
        return pair_sides(self.split)

    @cached_property
    def validation(self) -> Catalog:
        """The photos held out of training, fold after fold."""
        return self.lot.train.select(list_held_out(self.split))

    @cached_property
    def learnt(self) -> list[str]:
        """Ids of the photos that the model, or any of its members, was trained on."""
        return list_learnt(self.split)

    @cached_property
    def answers(self) -> Predictions:
        """The run's stored answers to the photos held out of it.

        Raises:
            BundleError: they are missing or damaged, or are of other photos or classes.
        """
        found = read_own_answers(self.model)
        if found.classes != self.model.card.classes or set(found.ids) != set(self.validation.ids):
            raise BundleError(
                f"the predictions {self.model.run.validation_path} are not of the photos held out"
                " of this run, or of other classes: the files of the run do not belong together"
            )
        return found

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        """What people have decided on labels by now.

        Raises:
            InputError: the file cannot be read.
        """
        return tuple(read_decisions(decisions_path(self.model.data_path)))

    @property
    def about(self) -> str:
        """The photos held out, in words."""
        name, num_photos = self.model.run.path.name, len(self.validation)
        num_folds = count_folds(self.split)
        if num_folds:
            return (
                f"{name}: out of fold, {num_photos} photos, each answered by the one of"
                f" {num_folds} models that had not seen it (all of them together are right more"
                " often, and more often than they state)"
            )
        return f"{name}: its own validation part, {num_photos} photos"

    @property
    def subject(self) -> Subject:
        """The photos held out, for a report."""
        name, num_folds = self.model.run.path.absolute().name, count_folds(self.split)
        return Subject("folds" if num_folds else "held-out", name, num_models=num_folds or 1)


def open_own_data(model: Model) -> OwnData:
    """Open the data that a run was trained on.

    Raises:
        InputError: the data cannot be read.
        BundleError: they have changed.
    """
    trust_stamps(model.known_photos.stamps)
    undecided = open_lot(model.data_path, rules=model.label_rules)
    lot = decide_labels(undecided, read_decisions(model.run.decisions_path))
    if fingerprint(lot.train) != model.card.fingerprint:
        raise BundleError(
            f"the data of {model.run.path}, {lot.source}, have changed since it was trained: its"
            " validation photos are no longer known; put them back, or train anew"
        )
    return OwnData(model, lot, read_own_split(model, lot), undecided)


def read_own_split(model: Model, lot: Lot | None = None) -> Split:
    """The split that a run was trained with.

    Args:
        model: the run.
        lot: its data, as they were, to compare with.

    Raises:
        BundleError: it is missing or damaged, or another one than the card names.
    """
    path = model.run.split_path
    split = read_split(path)
    folds = [f"{FOLD}{number}" for number in range(1, count_folds(split) + 1)]
    needed = set(folds) if len(folds) > 1 else {TRAIN, VALIDATION}
    if set(split.parts) - {LOCKED} != needed:
        told = shorten(", ".join(split.parts), 200)
        raise BundleError(f"the split {path} is damaged: no run is trained on the parts {told}")
    if model.card.split_sha256 not in ("", hash_split(split)):
        raise BundleError(
            f"{path} is not the split that the model of {model.run.card_path} was trained with:"
            " photos that it has learnt could be judged; put the file back, or train anew"
        )
    judged = {*list_held_out(split), *split.parts.get(LOCKED, ())}
    if split.fingerprint != model.card.fingerprint or (
        lot is not None and not judged <= set(lot.train.ids)
    ):
        raise BundleError(
            f"the split {path} is of other photos than the run was trained on: the files of the run"
            " do not belong together"
        )
    return split


def read_own_answers(model: Model) -> Predictions:
    """A run's stored answers to the photos held out of it.

    Raises:
        BundleError: they are missing, damaged, or others than the card names.
    """
    run = model.run
    try:
        return load_predictions(run.validation_path, model.card.answers_sha256)
    except BundleError as error:
        raise BundleError(f"{error}: answer them anew with  lotlens views {run.path}") from error


def decide_labels(lot: Lot, decisions: Sequence[Decision]) -> Lot:
    """A lot with the labels that people decided on, its training photos those that have files."""
    decided = apply_decisions(lot, decisions) if decisions else lot
    return replace(decided, train=decided.train.with_files())
