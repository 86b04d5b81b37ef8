"""What models that have not learnt a photo's label say of it: what doubts rest on."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import softmax

from lotlens.answering.answers import join_predictions, probabilities
from lotlens.answering.predict import predict_views
from lotlens.answering.temperature import fit_temperature
from lotlens.answering.views import WHOLE, average_views
from lotlens.audit.checks import LABEL_CONFLICT
from lotlens.audit.findings import Audit, audit_lot
from lotlens.audit.parts import LOCKED, count_folds, pair_sides
from lotlens.audit.split import cluster_photos, draw_folds
from lotlens.deliver.model import Model
from lotlens.deliver.own_data import OwnData, Sides
from lotlens.errors import BundleError, InputError
from lotlens.extras import import_vision
from lotlens.improve.doubts import Evidence, vote_neighbours
from lotlens.recipes.loading import parse_recipe
from lotlens.recipes.schema import Recipe
from lotlens.records import (
    CarLocator,
    Catalog,
    FloatArray,
    ModelCard,
    Predictions,
    Watcher,
    watch_part,
)

if TYPE_CHECKING:
    from lotlens.vision.classifier import Classifier
    from lotlens.vision.regression import Regression


NUM_FOLDS, NUM_DRAWS = 5, 3
"""Folds of the probes that are fitted to doubt, and how often they are drawn (docs/LOG.md)."""
_VIEWS = (WHOLE, "mirror", "closer", "further")
_ALONE = "no model has learnt another photo of its class"


def gather_evidence(
    own: OwnData,
    *,
    found: Audit | None = None,
    watch: Watcher | None = None,
) -> tuple[Evidence, str]:
    """What models that have not learnt each photo say of it, and which models those are.

    Args:
        own: a single run and its data.
        found: the audit of its training photos; those under contradicting labels are asked about
            too, though they belong to no part of the split. None for the split's photos alone.
        watch: told of the work as it goes on.

    Raises:
        InputError, BundleError, MissingExtra: as `doubt`.
    """
    if own.model.members:
        raise InputError(
            f"{own.model.run.path} is an ensemble of runs: look for doubts in each run"
        )
    asked, how = (_ask_folds if count_folds(own.split) else _ask_probes)(own, found, watch)
    catalog = own.lot.train.select(asked.plain.ids)
    contradicted = _list_contradicted(found)
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
        tuple(id_ in contradicted for id_ in catalog.ids),
    )
    return evidence, how


def audit_own(own: OwnData, watch: Watcher | None) -> Audit:
    """The audit of a run's training photos, those of the locked part left aside."""
    catalog, locked = own.lot.train, set(own.split.parts.get(LOCKED, ()))
    asked = catalog.select([id_ for id_ in catalog.ids if id_ not in locked])
    alone = replace(own.lot, train=asked, test=Catalog((), asked.classes), findings=())
    return audit_lot(alone, _read_recipe(own.model).audit, watch=watch)


def _list_contradicted(found: Audit | None) -> frozenset[str]:
    """Photos of which a copy has another label."""
    findings = () if found is None else found.findings
    return frozenset(one.photo_id for one in findings if one.check == LABEL_CONFLICT)


def _hold_out(contradicted: Collection[str], sides: Sides, cluster_of: Mapping[str, int]) -> Sides:
    """The sides, with contradicted photos that are on none held out of a model.

    Of the one that has learnt no photo of their cluster; where none of it was learnt at all, they
    are dealt out.
    """
    side_of = {
        cluster_of[id_]: number for number, (_, held_out) in enumerate(sides) for id_ in held_out
    }
    known = {id_ for _, held_out in sides for id_ in held_out}
    added: list[list[str]] = [[] for _ in sides]
    for place, id_ in enumerate(sorted(set(contradicted) - known)):
        added[side_of.setdefault(cluster_of[id_], place % len(sides))].append(id_)
    return [(kept, (*held_out, *more)) for (kept, held_out), more in zip(sides, added, strict=True)]


def _read_recipe(model: Model) -> Recipe:
    return parse_recipe(dict(model.card.recipe), source=str(model.run.card_path))


@dataclass(frozen=True)
class _Asked:
    """Answers to N photos.

    Attributes:
        plain: over the card's views, each photo by the members that have not learnt it.
        views: [V, N, K] logits of several views, likewise.
        members: [M, N, K] logits of every member, plain view; NaN for photos that are on neither of
            its sides.
        votes: [N, K] labels of the photos that look most like each to the member of `plain`,
            among those which that member has learnt.
    """

    plain: Predictions
    views: FloatArray
    members: FloatArray
    votes: NDArray[np.float64]


def _ask_folds(own: OwnData, found: Audit | None, watch: Watcher | None) -> tuple[_Asked, str]:
    """Let every member of a run with folds answer, and say which models those are."""
    model, lot, sides = own.model, own.lot, own.sides
    network, card = import_vision("bundle").load_bundle(model.run, model.card)
    members: list[Classifier] = list(network.members)
    if len(members) != len(sides):
        raise BundleError(
            f"{model.run.split_path} has {len(sides)} folds and the model {len(members)}"
            " members: one of the two is not this run's"
        )
    if found is not None:
        clusters = cluster_photos(lot.train, found.groups)
        sides = _hold_out(_list_contradicted(found), sides, clusters)
    catalog = lot.train.select([id_ for _, held_out in sides for id_ in held_out])
    locate = model.open_locator(len(catalog))
    build = partial(import_vision("predictor").ClassifierPredictor, locate=locate)
    asked = _list_views(card)
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
        answers = predict_views(predictor, strange, views=asked, keep_features=True, progress=told)
        rows = [row_of[id_] for id_ in held_out]
        every[number, [row_of[id_] for id_ in kept]] = known.logits
        every[number, rows] = answers[WHOLE].logits
        for view, name in enumerate(asked):
            by_view[view, rows] = answers[name].logits
        parts.append(
            replace(
                answers[WHOLE],
                logits=average_views([answers[name].logits for name in card.views]),
                features=None,
            )
        )
        theirs, others = _get_features(answers[WHOLE]), _get_features(known)
        votes[rows] = _vote(theirs, others, learnt.targets(), shape[1])
    how = f"the run's own {len(members)} models, each for the photos that it has not learnt"
    return _Asked(join_predictions(parts), by_view, every, votes), how


def _ask_probes(own: OwnData, found: Audit | None, watch: Watcher | None) -> tuple[_Asked, str]:
    """Fit probes on the run's backbone as it was before training, let them answer, and name them.

    The photos are parted into folds several times over; each photo is answered by the probes that
    have not learnt it, one of each parting, together. The backbone looks at every photo once a
    view, whatever the number of probes.
    """
    model, lot, parts = own.model, own.lot, own.split.parts
    recipe = _read_recipe(model)
    asked = {id_ for ids in parts.values() for id_ in ids} - set(parts.get(LOCKED, ()))
    learnt = lot.train.select([id_ for id_ in lot.train.ids if id_ in asked])
    audit = found or audit_own(own, watch)
    draw = partial(draw_folds, num_folds=NUM_FOLDS, groups=audit.groups, dropped=audit.dropped)
    contradicted, clusters = _list_contradicted(found), cluster_photos(lot.train, audit.groups)
    partings = [
        _hold_out(contradicted, pair_sides(draw(learnt, seed=recipe.seed + number)), clusters)
        for number in range(NUM_DRAWS)
    ]
    catalog = lot.train.select([id_ for _, held_out in partings[0] for id_ in held_out])
    card = replace(model.card, head={"kind": "linear"}, members=1, num_others=0)
    locate = model.open_locator(len(catalog))
    features, plain = _compute_features(recipe, card, catalog, locate, watch)

    row_of = {id_: row for row, id_ in enumerate(catalog.ids)}
    targets, usable, num_classes = catalog.targets(), plain.answered, len(card.classes)
    sides = [
        tuple(np.array([row_of[id_] for id_ in ids if usable[row_of[id_]]], int) for ids in side)
        for parting in partings
        for side in parting
    ]
    cluster_of = cluster_photos(catalog, audit.groups)
    groups = np.array([cluster_of[id_] for id_ in catalog.ids])
    trainings = [kept for kept, _ in sides]
    probes = _fit_probes(recipe, features, targets, num_classes, trainings, groups, watch)

    answers = {}
    for view, values in features.items():
        by_draw = np.full((NUM_DRAWS, len(catalog), num_classes), np.nan, np.float32)
        for number, (probe, (kept, left)) in enumerate(zip(probes, sides, strict=True)):
            # Of a class that it has never seen, a probe cannot say that a photo is none of it.
            rows = left[np.isin(targets[left], targets[kept])]
            by_draw[number // NUM_FOLDS, rows] = values[rows] @ probe.weight.T + probe.bias
        answers[view] = average_views(list(by_draw))
    votes = np.full((len(catalog), num_classes), np.nan)
    whole = features[WHOLE]
    for kept, left in sides[:NUM_FOLDS]:
        votes[left] = _vote(whole[left], whole[kept], targets[kept], num_classes)
    logits = average_views([answers[view] for view in card.views])
    is_unknown = ~np.isfinite(logits).all(axis=1) & usable
    status = np.where(is_unknown, _ALONE, np.array(plain.status, object))
    plain = replace(plain, logits=logits, features=None, status=tuple(status.tolist()))
    every = [np.asarray(whole @ one.weight.T + one.bias, np.float32) for one in probes]
    how = f"{NUM_DRAWS} times {NUM_FOLDS} probes on {model.card.backbone}, fitted for this"
    return _Asked(plain, np.stack(list(answers.values())), np.stack(every), votes), how


def _fit_probes(
    recipe: Recipe,
    features: Mapping[str, FloatArray],
    targets: NDArray[np.int64],
    num_classes: int,
    sides: Sequence[NDArray[np.int64]],
    groups: NDArray[np.int64],
    watch: Watcher | None,
) -> Sequence[Regression]:
    """A probe as the recipe has it on each of these choices of rows; the penalty is one for all."""
    if any(len(np.unique(targets[rows])) < 2 for rows in sides):
        raise InputError(
            f"there are too few photos for {NUM_FOLDS} folds: without photos of two classes on each"
            " side no model can doubt a label; add photos of other cars"
        )
    stage = recipe.probe
    regression, told = import_vision("regression"), watch_part(watch, "fitting probes")
    if told is not None:
        told(0, 1)
    views = (WHOLE, "mirror") if stage.mirror else (WHOLE,)
    shown, labels = (np.concatenate([features[v] for v in views]), np.tile(targets, len(views)))
    probes: list[Regression] = regression.fit_sides(
        *(shown, labels, num_classes, stage.penalties, groups, sides), seed=recipe.seed
    )
    if told is not None:
        told(1, 1)
    return probes


def _compute_features(
    recipe: Recipe,
    card: ModelCard,
    catalog: Catalog,
    locate: CarLocator | None,
    watch: Watcher | None,
) -> tuple[dict[str, FloatArray], Predictions]:
    """Features of an untrained classifier by view, [N, F] each, and which photos can be read."""
    classifier = import_vision("classifier").build_classifier(
        recipe.backbone,
        len(card.classes),
        num_levels=recipe.feature_levels,
        pooling=recipe.pooling,
        seed=recipe.seed,
    )
    if recipe.pooling == "covariance":
        few = catalog.spread(import_vision("pooling").NUM_FOR_DIRECTIONS)
        photos = import_vision("batches").decode_photos(few, card.image, locate=locate)
        classifier.fit_pooling(photos.batches(32))
    views = _list_views(card)
    predictor = import_vision("predictor").ClassifierPredictor(
        classifier.eval(), card, num_photos=len(views) * len(catalog), locate=locate
    )
    features = {}
    for number, view in enumerate(views, start=1):
        told = watch_part(watch, f"looking at photos, view {number} of {len(views)}")
        found = predict_views(predictor, catalog, views=(view,), keep_features=True, progress=told)
        features[view] = _get_features(found[view])
    return features, found[view]


def _get_features(predictions: Predictions) -> FloatArray:
    if predictions.features is None:
        raise ValueError("these answers were given without features")
    return predictions.features


def _list_views(card: ModelCard) -> tuple[str, ...]:
    """The plain view first, then those of the card and those that doubts are told by."""
    return tuple(dict.fromkeys((WHOLE, *card.views, *_VIEWS)))


def _vote(
    features: FloatArray, learnt: FloatArray, targets: NDArray[np.int64], num_classes: int
) -> NDArray[np.float64]:
    """The labels of the learnt photos that look most like each photo, [N, K]; NaN if none can."""
    usable = np.isfinite(learnt).all(axis=1)
    if not usable.any():
        return np.full((len(features), num_classes), np.nan)
    cosines = _unit(features) @ _unit(learnt[usable]).T
    return vote_neighbours(cosines, targets[usable], num_classes)


def _unit(features: FloatArray) -> FloatArray:
    """Rows of unit length; those of photos without an answer are zero."""
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return np.asarray(np.nan_to_num(features / np.maximum(length, 1e-12)), np.float32)
