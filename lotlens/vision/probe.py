"""The probe: features of a frozen backbone, and the head fitted to them."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lotlens.recipes.schema import Probe
from lotlens.records import FloatArray, Watcher
from lotlens.vision.batches import DecodedPhotos
from lotlens.vision.classifier import Classifier
from lotlens.vision.engine import build_engine, choose_batch_size
from lotlens.vision.pooling import NUM_FOR_DIRECTIONS
from lotlens.vision.regression import (
    add_others,
    choose_penalty,
    fit_regression,
    fit_sides,
)


def fit_probe(
    classifier: Classifier,
    stage: Probe,
    photos: DecodedPhotos,
    *,
    clusters: Mapping[str, int] | None = None,
    photo_weights: NDArray[np.float64] | None = None,
    seed: int,
    watch: Watcher | None = None,
) -> None:
    """Put a logistic regression on frozen features into the classifier's head.

    Photos of other cars change nothing of what tells the classes apart: that is fitted without
    them, and then one more output against all of it.

    `photo_weights` [N] weigh the photos' losses, if they are given.
    """
    own = photos.targets < classifier.num_classes
    fit_pooling(classifier, photos)
    features, targets = compute_features(classifier, photos, mirror=stage.mirror, watch=watch)
    groups = _list_clusters(photos, clusters)
    weights = None
    if photo_weights is not None:
        weights = np.tile(photo_weights / photo_weights.mean(), len(targets) // len(photos.ids))
    report_progress(watch, "fitting the probe", 0, 1)
    rows = np.tile(own, len(targets) // len(own))
    # Without others no copy is made.
    known, truth = (features, targets) if rows.all() else (features[rows], targets[rows])
    of_known = None if weights is None else weights[rows] / weights[rows].mean()
    if of_known is not None and (of_known == 1).all():
        of_known = None  # as if there were no others
    penalty = choose_penalty(known, truth, stage.penalties, groups[own], seed=seed)
    found = fit_regression(known, truth, classifier.num_classes, penalty, of_known)
    if classifier.has_others:
        found = add_others(found, features, rows, weights)
    classifier.set_head(found.weight, found.bias)
    report_progress(watch, "fitting the probe", 1, 1)


def cross_probe(
    classifier: Classifier,
    stage: Probe,
    photos: DecodedPhotos,
    sides: Sequence[tuple[Collection[str], Collection[str]]],
    *,
    clusters: Mapping[str, int] | None = None,
    seed: int,
) -> tuple[list[str], FloatArray, NDArray[np.int64]]:
    """Answers of probes to photos that they have not learnt, as `stages.try_probe` gives them.

    The directions of covariances are those of what any of them learns.
    """
    row_of = {id_: row for row, id_ in enumerate(photos.ids)}
    learnt, asked = [], []
    for own, left in sides:
        rows = np.array(sorted(row_of[id_] for id_ in own if id_ in row_of), np.int64)
        known = np.unique(photos.targets[rows])
        held = np.array(sorted(row_of[id_] for id_ in left if id_ in row_of), np.int64)
        held = held[np.isin(photos.targets[held], known)]
        if len(known) > 1 and len(held):
            learnt.append(rows)
            asked.append(held)
    if not learnt:
        return [], np.zeros((0, classifier.num_classes), np.float32), np.zeros(0, np.int64)
    fit_pooling(classifier, photos, np.unique(np.concatenate(learnt)))
    features, targets = compute_features(classifier, photos, mirror=stage.mirror)
    groups = _list_clusters(photos, clusters)
    fits = fit_sides(
        *(features, targets, classifier.num_classes, stage.penalties, groups, learnt), seed=seed
    )
    answers = [
        features[rows] @ fit.weight.T + fit.bias for rows, fit in zip(asked, fits, strict=True)
    ]
    rows = np.concatenate(asked)
    ids = [photos.ids[row] for row in rows]
    return ids, np.concatenate(answers, dtype=np.float32), targets[rows]


def _list_clusters(photos: DecodedPhotos, clusters: Mapping[str, int] | None) -> NDArray[np.int64]:
    """[N] the number of each photo's cluster, a negative one of its own where it has none."""
    numbers = clusters or {}
    return np.array([numbers.get(id_, -place) for place, id_ in enumerate(photos.ids, start=1)])


def fit_pooling(
    classifier: Classifier, photos: DecodedPhotos, rows: NDArray[np.int64] | None = None
) -> None:
    """Let some photos of the classes, from all over them, show the directions of covariances.

    `rows` says which may be shown; None all of them.
    """
    known = np.arange(len(photos.ids)) if rows is None else rows
    known = known[photos.targets[known] < classifier.num_classes]
    num_shown = min(len(known), NUM_FOR_DIRECTIONS)
    shown = known[np.arange(num_shown) * len(known) // num_shown]
    size = choose_batch_size(classifier)
    classifier.fit_pooling(photos.batches(size, rows=shown.tolist()))


def compute_features(
    classifier: Classifier,
    photos: DecodedPhotos,
    *,
    mirror: bool,
    watch: Watcher | None = None,
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Frozen features of all photos, then of their mirror images: [N or 2N, F], and targets."""
    num_views = 2 if mirror else 1
    total = num_views * len(photos.ids)
    engine = build_engine(classifier, photos.spec.height, photos.spec.width, num_photos=total)
    found: list[FloatArray] = []
    done = 0
    size = choose_batch_size(classifier)
    for _, values in engine.map(_list_views(photos, size, mirror=mirror)):
        found.append(values)
        done += len(values)
        report_progress(watch, "computing features", done, total)
    in_order = [*found[::num_views], *(found[1::num_views] if mirror else ())]
    return np.concatenate(in_order, dtype=np.float64), np.tile(photos.targets, num_views)


def _list_views(photos: DecodedPhotos, size: int, *, mirror: bool) -> Iterator[FloatArray]:
    """Batches, each followed by its mirror image if that is wanted."""
    for batch in photos.batches(size):
        yield batch
        if mirror:
            yield np.ascontiguousarray(batch[..., ::-1])


def report_progress(watch: Watcher | None, what: str, done: int, total: int) -> None:
    """Tell a watcher, if there is one."""
    if watch is not None:
        watch(what, done, total)
