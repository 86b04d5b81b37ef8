"""Which photos a model is to be judged on; never photos that it has learnt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from lotlens.audit.parts import LOCKED
from lotlens.deliver.learnt import find_learnt, leave_out, tell_left_out
from lotlens.deliver.model import Model
from lotlens.deliver.own_data import OwnData, decide_labels, read_own_split
from lotlens.errors import BundleError, InputError
from lotlens.judge.judged import Subject
from lotlens.photos.decisions import decisions_path, read_decisions
from lotlens.photos.fingerprint import fingerprint, trust_stamps
from lotlens.photos.sources import open_lot
from lotlens.records import Catalog, Lot, Predictions, Watcher


@dataclass(frozen=True)
class Asked:
    """Photos that a run is to be judged on.

    Attributes:
        lot: that they are from.
        catalog: the photos.
        about: what they are, in words.
        subject: the same for the report, which words it in its language.
        is_own: whether the run held them out of its own training.
        stored: answers that are there already and must be taken, since each photo was learnt by
            all members but one.
        left_out: why photos are not judged (see `learnt.find_learnt`) -> how many.
    """

    lot: Lot
    catalog: Catalog
    about: str
    subject: Subject
    is_own: bool = False
    stored: Predictions | None = None
    left_out: Mapping[str, int] = field(default_factory=dict)


def find_asked(
    model: Model,
    data: Path | str | None,
    labels: Path | str | None,
    photos: Path | str | None,
    *,
    locked: bool,
    changed: bool = False,
    watch: Watcher | None = None,
) -> Asked:
    """What a model is asked to be judged on; never photos that it has learnt, nor copies of them.

    Args:
        model: the run.
        data: labelled photos; None for those that the run held out.
        labels: a CSV of ids and labels.
        photos: where the photos of `labels` lie.
        locked: the locked part of the run's own data.
        changed: the run's own data, though they have changed: what was not learnt of them.
        watch: told of the work as it goes on.

    Raises:
        InputError: the photos or labels cannot be used; nothing was locked; all photos were learnt.
        BundleError: the run's own data have changed, and `changed` was not asked for.
    """
    is_own = False
    if locked and (data is not None or labels is not None or photos is not None):
        raise InputError("the locked part is one of the run's own data: give no other photos")
    if labels is not None:
        if data is not None:
            raise InputError("give either DATA or --labels with --photos, not both")
        undecided = lot = open_lot(
            Path(labels),
            photos=None if photos is None else Path(photos),
            rules=model.label_rules,
        )
        labelled = (*lot.train.photos, *(p for p in lot.test.photos if p.label is not None))
        about, catalog = f"{labels}", replace(lot.train, photos=labelled).with_files()
    elif photos is not None:
        raise InputError("--photos needs --labels, the CSV with their labels")
    else:
        source = model.data_path if data is None else Path(data)
        is_own = data is None or _is_own(model, source)
        decided = model.run.decisions_path if is_own else decisions_path(source)
        decisions = read_decisions(decided)
        if is_own:
            trust_stamps(model.known_photos.stamps)
        undecided = open_lot(source, rules=model.label_rules)
        lot = decide_labels(undecided, decisions)
        about, catalog = f"{source}", lot.train
    if not len(catalog):
        raise InputError(f"{lot.source} holds no labelled photos to judge on")
    if labels is None and fingerprint(catalog) == model.card.fingerprint:
        # Judging on photos that the model has learnt by heart would be a lie.
        own = OwnData(model, lot, read_own_split(model, lot), undecided)
        return _ask_locked(own) if locked else _ask_held_out(own)
    if is_own and (locked or not changed):
        advice = "" if locked else ", or judge what it has not learnt of them with --changed"
        raise BundleError(
            f"the data of this run, {lot.source}, have changed since it was trained: put them back,"
            f" name other labelled photos to judge on{advice}"
        )
    found = find_learnt(model, catalog.photos, is_own=is_own, watch=watch)
    catalog, left_out = leave_out(catalog, found)
    if not len(catalog):
        raise InputError(
            f"nothing is left to judge {model.run.path} on in {lot.source}:"
            f" {tell_left_out(left_out)}"
        )
    subject = Subject(
        "other",
        model.run.path.absolute().name,
        Path(about).absolute().name,
        num_left_out=len(found),
    )
    if found:
        about = f"{about}, {len(catalog):,} photos; {tell_left_out(left_out)}"
    return Asked(lot, catalog, about, subject, left_out=left_out)


def _ask_held_out(own: OwnData) -> Asked:
    model = own.model
    is_joint = model.card.members > 1
    if is_joint and model.card.engine != "torch":
        raise InputError(
            f"{model.run.path} has learnt all of its photos, each by all members but one:"
            " judge the run that it was exported from, or name other photos"
        )
    stored = own.answers if is_joint else None
    return Asked(own.lot, own.validation, own.about, own.subject, is_own=True, stored=stored)


def _ask_locked(own: OwnData) -> Asked:
    run = own.model.run
    if LOCKED not in own.split.parts:
        raise InputError(
            f"{run.path} has no locked part: train with  --set lock=0.15  to put one aside"
        )
    catalog = own.lot.train.select(own.split.parts[LOCKED])
    about = f"{run.path.name}: its own locked part, {len(catalog)} photos"
    data = Path(own.lot.source).absolute().name
    subject = replace(own.subject, kind="locked", data=data, num_models=1)
    return Asked(own.lot, catalog, about, subject, is_own=True)


def _is_own(model: Model, data: Path) -> bool:
    """Whether a model was trained on what lies at this path."""
    return model.run.source_path.is_file() and data.resolve() == model.data_path
