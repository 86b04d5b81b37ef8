"""What models that have not learnt a photo's label say of it, and the doubts that come of that.

It joins a finished run with the improve room, as the command `doubts` does; it prints nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from lotlens import api
from lotlens.audit.findings import audit_lot
from lotlens.audit.split import LOCKED, cluster_photos, count_folds, draw_folds, pair_sides
from lotlens.errors import BundleError, InputError
from lotlens.extras import import_vision
from lotlens.improve.doubts import (
    REASONS,
    Evidence,
    find_doubts,
    vote_neighbours,
    write_doubts,
)
from lotlens.judge.predict import join_predictions, predict_views, probabilities
from lotlens.judge.views import WHOLE, average_views
from lotlens.model import Model, load
from lotlens.recipe import Head, Probe, parse_recipe
from lotlens.records import (
    Catalog,
    Doubt,
    FloatArray,
    Lot,
    ModelCard,
    Predictions,
    Split,
    Watcher,
    watch_part,
)
from lotlens.temperature import fit_temperature

if TYPE_CHECKING:
    from lotlens.vision.classifier import Classifier

NUM_FOLDS = 5
Sides = Sequence[tuple[Sequence[str], Sequence[str]]]
"""Of each model the ids that it learnt, and those held out of it."""
_VIEWS = (WHOLE, "mirror", "closer", "further")


@dataclass(frozen=True)
class Doubted:
    """The doubts of a run.

    Attributes:
        doubts: the most doubtful first.
        path: the CSV they were written to.
        evidence: that they rest on, photo by photo.
        accuracy: out of fold, by the labels as they are.
        how: which models answered, in words.
        num_settled: photos left out because a person has decided on them.
        names: class label -> name.
    """

    doubts: tuple[Doubt, ...]
    path: Path
    evidence: Evidence
    accuracy: float
    how: str
    num_settled: int
    names: Mapping[str, str]

    def count(self) -> dict[str, int]:
        """Doubts per reason; a photo may be doubted for several."""
        counts = Counter(reason for doubt in self.doubts for reason in doubt.reasons)
        return {reason: counts[reason] for reason in REASONS if counts[reason]}

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "photos": len(self.evidence.ids),
            "accuracy": self.accuracy,
            "how": self.how,
            "settled": self.num_settled,
            "counts": self.count(),
            "path": str(self.path),
            "doubts": [asdict(doubt) for doubt in self.doubts],
        }


def doubt(run: Path | str, *, watch: Watcher | None = None) -> Doubted:
    """Find the labelled photos of a run that are worth a second look; write them as doubts.csv.

    Every photo is answered by a model that has not learnt it, so that labels learnt by heart show
    too: the run's own members where it has folds, else five probes on the run's backbone that are
    fitted for this. Photos of the locked part are not looked at.

    Args:
        run: the run folder.
        watch: told of the work as it goes on.

    Raises:
        InputError: an ensemble of runs; too few photos for folds.
        BundleError: the run is damaged, or its data have changed.
        OutputError: doubts.csv cannot be written.
        MissingExtra: lotlens[train] is not installed.
    """
    model = load(run)
    lot, split = api.open_own_data(model)
    evidence, how = gather_evidence(model, lot, split, watch=watch)
    settled = api.list_settled(model)
    doubts = find_doubts(evidence, model.card.classes, settled=settled)
    write_doubts(model.run.doubts_path, doubts, model.card.classes)
    answered = np.isfinite(evidence.probabilities).all(axis=1)
    right = np.nan_to_num(evidence.probabilities).argmax(axis=1) == evidence.targets
    accuracy = float(right[answered].mean()) if answered.any() else float("nan")
    num_settled = len(set(settled) & set(evidence.ids))
    names = {car.label: car.name for car in model.card.classes}
    return Doubted(doubts, model.run.doubts_path, evidence, accuracy, how, num_settled, names)


def gather_evidence(
    model: Model, lot: Lot, split: Split, *, watch: Watcher | None = None
) -> tuple[Evidence, str]:
    """What models that have not learnt each photo say of it, and which models those are.

    Args:
        model: a single run.
        lot: its own data.
        split: its own.
        watch: told of the work as it goes on.

    Raises:
        InputError, BundleError, MissingExtra: as `doubt`.
    """
    if model.members:
        raise InputError(f"{model.run.path} is an ensemble of runs: look for doubts in each run")
    if count_folds(split):
        network, card = import_vision("bundle").load_bundle(model.run)
        members = list(network.members)
        sides: Sides = pair_sides(split)
        if len(members) != len(sides):
            raise BundleError(
                f"{model.run.split_path} has {len(sides)} folds and the model {len(members)}"
                " members: one of the two is not this run's"
            )
        how = f"the run's own {len(members)} models, each for the photos that it has not learnt"
    else:
        members, sides, card = _fit_probes(model, lot, split, watch)
        how = f"{len(members)} probes on {model.card.backbone}, fitted for this"
    catalog = lot.train.select([id_ for _, held_out in sides for id_ in held_out])
    asked = _ask_members(members, card, sides, catalog, watch)
    targets, usable = catalog.targets(), asked.plain.answered
    temperature = fit_temperature(asked.plain.logits[usable], targets[usable])
    evidence = Evidence(
        catalog.ids,
        targets,
        probabilities(asked.plain, temperature),
        asked.votes,
        softmax(asked.members.astype(np.float64) / temperature, axis=-1),
        softmax(asked.views.astype(np.float64) / temperature, axis=-1),
        tuple(photo.listing for photo in catalog.photos),
    )
    return evidence, how


def _fit_probes(
    model: Model, lot: Lot, split: Split, watch: Watcher | None
) -> tuple[list[Classifier], Sides, ModelCard]:
    """Probes on the run's backbone as it was before training, each with its side of new folds."""
    card, stages = model.card, import_vision("stages")
    recipe = parse_recipe(dict(card.recipe), source=str(model.run.card_path))
    probe = next((stage for stage in recipe.stages if isinstance(stage, Probe)), None)
    recipe = recipe.model_copy(
        update={
            "stages": (probe or Probe(kind="probe"),),
            "folds": NUM_FOLDS,
            "head": Head(),
            "lock": 0.0,
        }
    )
    locked = set(split.parts.get(LOCKED, ()))
    own = {id_ for ids in split.parts.values() for id_ in ids} - locked
    catalog = lot.train.select([id_ for id_ in lot.train.ids if id_ in own])
    empty = Catalog((), lot.train.classes)
    found = audit_lot(replace(lot, train=catalog, test=empty, findings=()), recipe.audit)
    folds = draw_folds(
        catalog, num_folds=NUM_FOLDS, seed=recipe.seed, groups=found.groups, dropped=found.dropped
    )
    sides = pair_sides(folds)
    clusters = cluster_photos(catalog, found.groups)
    members = []
    for number, (kept, held_out) in enumerate(sides, start=1):
        trained = stages.run_stages(
            recipe,
            catalog.select(kept),
            catalog.select(held_out),
            clusters=clusters,
            watch=api.watch_fold(watch, number, NUM_FOLDS),
        )
        members.append(trained.classifier)
    return members, sides, replace(card, head={"kind": "linear"}, members=1)


@dataclass(frozen=True)
class _Asked:
    """Answers to N photos.

    Attributes:
        plain: over the card's views, each photo by the one member that has not learnt it.
        views: [V, N, K] logits of several views, likewise.
        members: [M, N, K] logits of every member, plain view.
        votes: [N, K] labels of the photos that look most like each to the member of `plain`,
            among those which that member has learnt.
    """

    plain: Predictions
    views: FloatArray
    members: FloatArray
    votes: NDArray[np.float64]


def _ask_members(
    members: Sequence[Classifier],
    card: ModelCard,
    sides: Sides,
    catalog: Catalog,
    watch: Watcher | None,
) -> _Asked:
    """Let every member answer for all photos: those held out of it first in the catalog's order."""
    build = import_vision("predictor").ClassifierPredictor
    # The features of the first view are kept, and those are to be the plain one's.
    asked = tuple(dict.fromkeys((WHOLE, *card.views, *_VIEWS)))
    row_of = {id_: row for row, id_ in enumerate(catalog.ids)}
    shape = (len(catalog), len(card.classes))
    every = np.full((len(members), *shape), np.nan, np.float32)
    by_view = np.full((len(asked), *shape), np.nan, np.float32)
    votes = np.full(shape, np.nan)
    parts: list[Predictions] = []
    for number, (member, (kept, held_out)) in enumerate(zip(members, sides, strict=True)):
        told = watch_part(watch, f"asking model {number + 1} of {len(members)}")
        learnt, strange = catalog.select(kept), catalog.select(held_out)
        predictor = build(member, card, num_photos=len(kept) + len(asked) * len(held_out))
        known = predict_views(predictor, learnt, views=(WHOLE,), keep_features=True, progress=told)[
            WHOLE
        ]
        found = predict_views(predictor, strange, views=asked, keep_features=True, progress=told)
        rows = [row_of[id_] for id_ in held_out]
        every[number, [row_of[id_] for id_ in kept]] = known.logits
        every[number, rows] = found[WHOLE].logits
        for view, name in enumerate(asked):
            by_view[view, rows] = found[name].logits
        parts.append(
            replace(
                found[WHOLE],
                logits=average_views([found[name].logits for name in card.views]),
                features=None,
            )
        )
        usable = known.answered
        features = found[WHOLE].features
        if usable.any() and known.features is not None and features is not None:
            cosines = _unit(features) @ _unit(known.features[usable]).T
            votes[rows] = vote_neighbours(cosines, learnt.targets()[usable], shape[1])
    return _Asked(join_predictions(parts), by_view, every, votes)


def _unit(features: FloatArray) -> FloatArray:
    """Rows of unit length; those of photos without an answer are zero."""
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(np.nan_to_num(features / np.maximum(length, 1e-12)), np.float32)
