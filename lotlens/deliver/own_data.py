"""The data that a run was trained on, opened once for all that a verb does with them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from lotlens.answering.answers import load_predictions
from lotlens.audit.parts import count_folds, list_held_out, list_learnt, pair_sides, read_split
from lotlens.deliver.model import Model
from lotlens.errors import BundleError
from lotlens.judge.judged import Subject
from lotlens.photos.decisions import Decision, apply_decisions, decisions_path, read_decisions
from lotlens.photos.fingerprint import fingerprint
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
            BundleError: they are missing or damaged.
        """
        return load_predictions(self.model.run.validation_path)

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
    undecided = open_lot(model.data_path, rules=model.label_rules)
    lot = decide_labels(undecided, read_decisions(model.run.decisions_path))
    if fingerprint(lot.train) != model.card.fingerprint:
        raise BundleError(
            f"the data of {model.run.path}, {lot.source}, have changed since it was trained: its"
            " validation photos are no longer known; put them back, or train anew"
        )
    return OwnData(model, lot, read_split(model.run.split_path), undecided)


def decide_labels(lot: Lot, decisions: Sequence[Decision]) -> Lot:
    """A lot with the labels that people decided on, its training photos those that have files."""
    decided = apply_decisions(lot, decisions) if decisions else lot
    return replace(decided, train=decided.train.with_files())
