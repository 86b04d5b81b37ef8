"""The probe: features of a frozen backbone, and the head fitted to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

from lotlens.recipes.schema import Probe
from lotlens.records import FloatArray, Watcher
from lotlens.vision.batches import DecodedPhotos
from lotlens.vision.classifier import Classifier
from lotlens.vision.engine import build_engine
from lotlens.vision.pooling import NUM_FOR_DIRECTIONS
from lotlens.vision.regression import add_others, choose_penalty, fit_regression


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
    numbers = clusters or {}
    groups = np.array([numbers.get(id_, -place) for place, id_ in enumerate(photos.ids, start=1)])
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


def fit_pooling(classifier: Classifier, photos: DecodedPhotos) -> None:
    """Let some photos of the classes, from all over them, show the directions of covariances."""
    known = np.flatnonzero(photos.targets < classifier.num_classes)
    num_shown = min(len(known), NUM_FOR_DIRECTIONS)
    shown = known[np.arange(num_shown) * len(known) // num_shown]
    classifier.fit_pooling(photos.batches(32, rows=shown.tolist()))


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
    for _, values in engine.map(_list_views(photos, mirror=mirror)):
        found.append(values)
        done += len(values)
        report_progress(watch, "computing features", done, total)
    in_order = [*found[::num_views], *(found[1::num_views] if mirror else ())]
    return np.concatenate(in_order, dtype=np.float64), np.tile(photos.targets, num_views)


def _list_views(photos: DecodedPhotos, *, mirror: bool) -> Iterator[FloatArray]:
    """Batches, each followed by its mirror image if that is wanted."""
    for batch in photos.batches(32):
        yield batch
        if mirror:
            yield np.ascontiguousarray(batch[..., ::-1])


def report_progress(watch: Watcher | None, what: str, done: int, total: int) -> None:
    """Tell a watcher, if there is one."""
    if watch is not None:
        watch(what, done, total)
