"""How familiar a photo looks to a model, by four methods; it knows arrays and Predictors.

All scores are higher for photos that look like those of training:

- "max probability": of the answer, after the temperature (Hendrycks & Gimpel 2017);
- "energy": log-sum-exp of the logits (Liu et al. 2020), of a single model and a single view;
- "neighbours": cosine to the k-th nearest training photo's features (Sun et al. 2022);
- "others": the log of the odds that it is one of the classes rather than another car, of a model
  that has learnt other cars as a class of their own (Dhamija et al. 2018);
- "mahalanobis": less the squared Mahalanobis distance to the nearest class mean, of features of
  unit length, with one covariance for all classes (Mahalanobis++: Mueller & Hein 2025).

There are fewer photos than features, as a rule. The covariance is shrunk towards a multiple of the
unit matrix (Ledoit & Wolf 2004) and kept as its strongest directions and one variance for all the
rest.
"""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lotlens.answering.answers import probabilities
from lotlens.answering.logits import log_sum_exp
from lotlens.answering.predict import predict
from lotlens.errors import BundleError
from lotlens.records import (
    FAMILIARITIES,
    CarLocator,
    Catalog,
    FloatArray,
    ModelCard,
    Predictions,
    Predictor,
    Word,
)
from lotlens.refusal.words import measure_words, normalise
from lotlens.values import load_arrays

NUM_NEIGHBOURS = 5
_ENOUGH, _PER_CLASS, _MOST = 500, 10, 2000
_MOST_DIRECTIONS = 128
_SMALLEST = 1e-12

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Reference:
    """What one model remembers of its training photos' features, all of unit length.

    Attributes:
        means: [C, F] of the classes that had photos.
        directions: [D, F] orthonormal, in which the photos of a class differ most.
        variances: [D] along them.
        rest: variance along every other direction.
        neighbours: [R, F] features of training photos, as sixteen bits hold them.
    """

    means: FloatArray
    directions: FloatArray
    variances: FloatArray
    rest: float
    neighbours: FloatArray

    @property
    def num_features(self) -> int:
        return int(self.means.shape[1])


class FamiliarPredictor:
    """A Predictor whose features are `familiarity` [N, M + W] instead; logits are as they were.

    So that the answers for many photos need not keep the features of all.

    Args:
        predictor: whose logits and features are looked at.
        references: one per member of an ensemble, in order.

    Raises:
        BundleError: on answering, if the references are of other features than the model's.
    """

    def __init__(self, predictor: Predictor, references: Sequence[Reference]) -> None:
        self._predictor = predictor
        self._references = references

    @property
    def card(self) -> ModelCard:
        return self._predictor.card

    @property
    def num_streams(self) -> int:
        return self._predictor.num_streams

    @property
    def batch_size(self) -> int:
        return self._predictor.batch_size

    @property
    def locate(self) -> CarLocator | None:
        return self._predictor.locate

    def __call__(self, batch: FloatArray) -> tuple[FloatArray, FloatArray]:
        logits, features = self._predictor(batch)
        num_classes = len(self.card.classes)
        scores = measure_familiarity(logits, features, self._references, num_classes)
        if words := list_words(self.card):
            means = [reference.means for reference in self._references]
            scores = np.hstack([scores, measure_words(features, means, words)])
        return logits, scores


def predict_familiar(
    predictor: Predictor,
    references: Sequence[Reference],
    catalog: Catalog,
    *,
    views: Sequence[str] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Predictions:
    """As `predict`, with `familiarity` in place of features.

    Raises:
        BundleError: the references do not fit the model.
    """
    familiar = FamiliarPredictor(predictor, references)
    found = predict(familiar, catalog, views=views, keep_features=True, progress=progress)
    return take_familiarity(found, predictor.card)


def list_words(card: ModelCard) -> tuple[Word, ...]:
    """What photos of no car may show, as far as a model knows."""
    return () if card.refusal is None else card.refusal.words


def take_familiarity(found: Predictions, card: ModelCard) -> Predictions:
    """Answers of a FamiliarPredictor that keeps its features, these put where they belong."""
    scores = found.features
    if scores is not None and not scores.size:  # no photo was read at all
        width = len(FAMILIARITIES) + len(list_words(card))
        scores = np.full((len(found.ids), width), np.nan, np.float32)
    return replace(found, features=None, familiarity=scores)


def sample_references(targets: NDArray[np.int64], *, most: int | None = None) -> list[int]:
    """Rows of training photos to remember, about as many of each class; the same for each call.

    Args:
        targets: [N] class indices.
        most: rows at most; None for 500, or 10 of each class if that is more, but 2000 at most.

    Returns:
        rows in ascending order.
    """
    if most is None:
        most = min(max(_ENOUGH, _PER_CLASS * len(np.unique(targets))), _MOST)
    order = np.random.default_rng(0).permutation(len(targets))
    turns = np.empty(len(targets), np.int64)  # how many of its class come before a photo
    seen: dict[int, int] = {}
    for row in order.tolist():
        label = int(targets[row])
        turns[row] = seen.get(label, 0)
        seen[label] = turns[row] + 1
    ranked = order[np.argsort(turns[order], kind="stable")]
    return sorted(ranked[:most].tolist())


def learn_reference(features: FloatArray, targets: NDArray[np.int64]) -> Reference | None:
    """What is to be remembered of training photos.

    Args:
        features: [N, F]; rows with values that are no numbers are left out.
        targets: [N] class indices.

    Returns:
        None if there are fewer than two usable photos.
    """
    usable = np.isfinite(features).all(axis=1)
    if usable.sum() < 2 or not features.shape[1]:
        return None
    unit = normalise(features[usable])
    known = targets[usable]
    present = np.unique(known)
    means = np.stack([unit[known == label].mean(axis=0) for label in present])
    centred = unit - means[np.searchsorted(present, known)]
    num_photos, num_features = centred.shape
    num_directions = min(_MOST_DIRECTIONS, num_photos - 1, num_features - 1)
    values, directions = _find_directions(centred, max(num_directions, 0))
    total = float(np.square(centred).sum()) / num_photos
    shrinkage = _find_shrinkage(centred) if total > _SMALLEST else 1.0
    left = max(total - float(values.sum()), 0.0) / max(num_features - len(values), 1)
    floor = shrinkage * total / num_features
    return Reference(
        means.astype(np.float32),
        directions.astype(np.float32),
        ((1 - shrinkage) * values + floor + _SMALLEST).astype(np.float32),
        (1 - shrinkage) * left + floor + _SMALLEST,
        unit.astype(np.float16).astype(np.float32),
    )


def measure_familiarity(
    logits: FloatArray, features: FloatArray, references: Sequence[Reference], num_classes: int
) -> FloatArray:
    """FAMILIARITIES of photos, the mean over an ensemble's members.

    Args:
        logits: [N, K] of one view, as the network gives them; [N, K + 1] if it knows others.
        features: [N, F], those of members side by side.
        references: one per member.
        num_classes: K.

    Returns:
        [N, M] float32. An ensemble has no energy: its logits are mean log-probabilities.

    Raises:
        BundleError: the references are of other features.
    """
    widths = [reference.num_features for reference in references]
    if features.shape[1] != sum(widths):
        raise BundleError(
            f"the model has {features.shape[1]} features, but what it remembers of its training"
            f" photos has {sum(widths)}: the files of the run do not belong together"
        )
    parts = np.split(features, np.cumsum(widths)[:-1], axis=1)
    scores = np.empty((len(features), len(FAMILIARITIES)))
    known = log_sum_exp(logits[:, :num_classes])
    scores[:, 0] = known if len(references) == 1 else np.nan
    scores[:, 3] = known - logits[:, num_classes] if logits.shape[1] > num_classes else np.nan
    both = [
        (measure_neighbours(part, one), measure_mahalanobis(part, one))
        for part, one in zip(parts, references, strict=True)
    ]
    scores[:, 1:3] = np.mean(both, axis=0).T
    return scores.astype(np.float32)


def measure_neighbours(features: FloatArray, reference: Reference) -> Scores:
    """Cosine between features [N, F] and those of the k-th nearest training photo, [N]."""
    cosines = normalise(features) @ reference.neighbours.T
    nth = min(NUM_NEIGHBOURS, cosines.shape[1])
    return np.asarray(-np.partition(-cosines, nth - 1, axis=1)[:, nth - 1], np.float64)


def measure_mahalanobis(features: FloatArray, reference: Reference) -> Scores:
    """Less the squared distance of features [N, F] to the nearest class mean, [N]."""
    unit = normalise(features).astype(np.float64)
    means = reference.means.astype(np.float64)
    directions = reference.directions.astype(np.float64)
    along, along_means = unit @ directions.T, means @ directions.T
    scale = np.sqrt(reference.variances.astype(np.float64))
    inside = _square_distances(along / scale, along_means / scale)
    outside = _square_distances(unit, means) - _square_distances(along, along_means)
    distances = inside + np.maximum(outside, 0) / reference.rest
    return np.asarray(-distances.min(axis=1), np.float64)


def list_scores(predictions: Predictions, method: str, temperature: float) -> Scores:
    """Scores [N] of one of METHODS; NaN where there is no answer, or no such score."""
    if method in FAMILIARITIES:
        if predictions.familiarity is None:
            return np.full(len(predictions.ids), np.nan)
        scores = predictions.familiarity[:, FAMILIARITIES.index(method)].astype(np.float64)
        return np.where(predictions.answered, scores, np.nan)
    chances = probabilities(predictions, temperature)
    return chances.max(axis=1) if chances.size else np.full(len(predictions.ids), np.nan)


def encode_references(references: Sequence[Reference]) -> bytes:
    """References as an .npz archive without pickles."""
    arrays: dict[str, NDArray[np.generic]] = {}
    for number, one in enumerate(references):
        for name in _ARRAYS:
            kind = np.float16 if name == "neighbours" else None
            arrays[f"{name}-{number}"] = np.asarray(getattr(one, name), kind)
    stream = io.BytesIO()
    np.savez(stream, **arrays)  # type: ignore[arg-type]  # names with a hyphen are fine
    return stream.getvalue()


def decode_references(data: bytes, num_members: int, source: str) -> tuple[Reference, ...]:
    """The inverse of `encode_references`; nothing in the data is ever executed.

    Args:
        data: the file's bytes.
        num_members: how many references there must be.
        source: where the bytes come from, for the error.

    Raises:
        BundleError: they are damaged, or not what they should be.
    """
    try:
        arrays = load_arrays(io.BytesIO(data))
        found = tuple(
            _check_reference(*(arrays[f"{name}-{number}"] for name in _ARRAYS))
            for number in range(num_members)
        )
    except (
        OSError,
        EOFError,
        KeyError,
        ValueError,
        TypeError,
        NotImplementedError,
        RuntimeError,
        struct.error,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        raise BundleError(f"{source} cannot be read: {error}; train again or restore it") from error
    return found


_ARRAYS = ("means", "directions", "variances", "rest", "neighbours")


def _check_reference(
    means: FloatArray,
    directions: FloatArray,
    variances: FloatArray,
    rest: NDArray[np.float64],
    neighbours: NDArray[np.float16],
) -> Reference:
    num_features = means.shape[1] if means.ndim == 2 else -1
    with np.errstate(over="ignore"):
        wide = neighbours.astype(np.float32)
    fits = (
        all(a.dtype.kind == "f" for a in (means, directions, variances, rest, neighbours))
        and means.size > 0
        and directions.ndim == neighbours.ndim == 2
        and directions.shape == (len(variances), num_features)
        and neighbours.shape[1] == num_features
        and len(neighbours) > 0
        and variances.ndim == 1
        and rest.shape == ()
        and all(np.isfinite(a).all() for a in (means, directions, variances, rest, wide))
        and float(rest) > 0
        and bool((variances > 0).all())
    )
    if not fits:
        raise ValueError("its arrays have other shapes or values than they should")
    return Reference(means, directions, variances, float(rest), wide)


def _find_shrinkage(centred: FloatArray) -> float:
    # Slow to import, and only training needs it.
    from sklearn.covariance import ledoit_wolf_shrinkage

    return float(ledoit_wolf_shrinkage(centred.astype(np.float64), assume_centered=True))


def _find_directions(
    centred: FloatArray, num_directions: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The largest eigenvalues [D] of the covariance and their directions [D, F]."""
    # Slow to import, and only training needs it.
    from scipy.linalg import eigh

    num_photos, num_features = centred.shape
    if not num_directions:
        return np.zeros(0), np.zeros((0, num_features))
    wide = centred.astype(np.float64)
    is_wide = num_photos < num_features
    # Of the two products of a matrix with itself the smaller one has the same eigenvalues.
    product = (wide @ wide.T if is_wide else wide.T @ wide) / num_photos
    size = len(product)
    values, vectors = eigh(product, subset_by_index=[size - num_directions, size - 1])
    kept = values > _SMALLEST * max(float(values[-1]), _SMALLEST)
    values, vectors = values[kept][::-1], vectors[:, kept][:, ::-1]
    if is_wide:
        directions = (wide.T @ vectors).T
        return values, directions / np.linalg.norm(directions, axis=1, keepdims=True)
    return values, vectors.T


def _square_distances(points: NDArray[np.float64], others: NDArray[np.float64]) -> Scores:
    """[N, M] squared distances between points [N, D] and others [M, D]."""
    squares = np.square(points).sum(axis=1)[:, None] + np.square(others).sum(axis=1)
    return np.asarray(squares - 2 * points @ others.T)
