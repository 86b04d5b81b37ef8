"""Labelled photos that trainings share: opened once, and looked at once; it trains nothing."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np

from lotlens.audit.checks import CHECKS
from lotlens.audit.findings import Audit, Looks, audit_lot, look_at
from lotlens.errors import InputError
from lotlens.photos.decisions import decisions_path as find_decisions
from lotlens.photos.decisions import read_decisions
from lotlens.photos.labelled import open_data
from lotlens.photos.labels import LabelRules
from lotlens.photos.sources import check_trainable
from lotlens.recipes.schema import Audit as AuditSettings
from lotlens.recipes.schema import Recipe
from lotlens.records import Catalog, Checked, Lot, Tell, Watcher

_POOR = ("tiny", "dark", "flat", "blurred")
_MANY = 0.1
"""Share of photos that are poor from which on people are told before a training."""


class TrainingData:
    """A lot that can be trained on, for one training or many.

    Args:
        path: in any form that `open_lot` knows.
        recipe: says what is made of labels that are not plain.
        decisions_path: a file of people's decisions on labels; None for the one beside the data,
            if there is one.
        tell: told what was understood of the files, before they are refused or looked at.

    Attributes:
        path: where it lies.
        rules: by which its labels were read.
        decisions: what people had decided when it was opened.
        lot: with the labels that they decided on.

    Raises:
        InputError: it cannot be read, or cannot be trained on.
    """

    def __init__(
        self,
        path: Path,
        recipe: Recipe,
        decisions_path: Path | None = None,
        *,
        tell: Tell | None = None,
    ) -> None:
        self.path = path
        self.rules = read_rules(recipe)
        self.decisions = read_decisions(decisions_path or find_decisions(path))
        self.lot = open_data(path, self.decisions, self.rules)
        if tell is not None:
            tell(self.lot.reading)
        check_trainable(self.lot)
        self._looks: dict[bool, Looks] = {}

    @cached_property
    def usable(self) -> Catalog:
        """The labelled photos that have files."""
        return self.lot.train.with_files()

    def audit(
        self, settings: AuditSettings, lock: float = 0.0, watch: Watcher | None = None
    ) -> Audit:
        """The audit of what is trained on; the test part is looked at only if leaks matter.

        Photos are looked at once, whatever the settings.

        Raises:
            InputError: as `audit_lot`.
        """
        part = _choose_photos(self.lot, settings)
        with_test = bool(len(part.test))
        if with_test not in self._looks:
            self._looks[with_test] = look_at(part, watch=watch)
        return audit_lot(part, settings, lock=lock, looks=self._looks[with_test], watch=watch)

    def check(self, found: Audit) -> Checked:
        """What the audit found amiss, and what became of people's decisions."""
        counts = Counter(finding.check for finding in self.lot.findings)
        errors = {
            check: count
            for check, count in found.count().items()
            if CHECKS[check].severity == "error"
        }
        learnt = {photo.id for photo in self.usable.photos} - found.dropped
        poor = _find_poor(found, learnt)
        meanings = {check: CHECKS[check].meaning for check in (*errors, *poor)}
        num_stale = counts["stale-decision"]
        num_applied = len(self.decisions) - num_stale
        return Checked(errors, meanings, len(self.decisions), num_applied, poor)


def _find_poor(found: Audit, ids: set[str]) -> dict[str, float]:
    """Check -> share of these photos that it finds poor; none where few are, by all checks."""
    by_check = {
        check: {
            one.photo_id for one in found.findings if one.part == "train" and one.check == check
        }
        & ids
        for check in _POOR
    }
    if len(set.union(*by_check.values())) < _MANY * max(len(ids), 1):
        return {}
    return {check: len(own) / len(ids) for check, own in by_check.items() if own}


def read_rules(recipe: Recipe) -> LabelRules:
    """What a recipe says of labels that are not plain."""
    return LabelRules.of(recipe.labels.model_dump())


def audit_training(lot: Lot, settings: AuditSettings, *, watch: Watcher | None = None) -> Audit:
    """As `TrainingData.audit`, of a lot that was opened elsewhere, with nothing locked."""
    return audit_lot(_choose_photos(lot, settings), settings, watch=watch)


def find_commonest_label(catalog: Catalog) -> str:
    """The label that most photos of the catalog bear; of equals, the first in class order.

    Raises:
        InputError: no photo has a label.
    """
    targets = catalog.targets()
    known = targets[targets >= 0]
    if not len(known):
        raise InputError("no photo has a label, so there is no commonest class to fill with")
    return catalog.labels[int(np.bincount(known).argmax())]


def _choose_photos(lot: Lot, settings: AuditSettings) -> Lot:
    """What is looked at: photos to train on, and those of the test part only if leaks matter."""
    test = lot.test if settings.leak == "drop" else Catalog((), lot.test.classes)
    return replace(lot, train=lot.train.with_files(), test=test)
