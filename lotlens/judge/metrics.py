"""How often answers are right, each figure with its interval; it knows logits and truth alone.

Truth is an array of class indices in the order of the predictions' classes, -1 where it is not
known; `align_targets` makes one. All intervals are for 95 % confidence and treat photos as
independent: several photos of one car make them too narrow.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import log_softmax

from lotlens.answering.answers import probabilities
from lotlens.errors import InputError
from lotlens.intervals import CONFIDENCE, compute_wilson_interval, measure_share
from lotlens.judge.losses import measure_mean_loss
from lotlens.records import CarClass, Catalog, Metric, Predictions, Targets
from lotlens.texts import describe

ACCURACY = "accuracy"
STRICT_ACCURACY = "accuracy, unanswered as wrong"
UNANSWERED = "unanswered"
TOP_2 = "top-2 accuracy"
MACRO_F1 = "macro F1"
BALANCED = "balanced accuracy"
LOG_LOSS = "log loss"
BRIER = "Brier score"
CALIBRATION_ERROR = "calibration error"
_NUM_RESAMPLES = 1000
_NUM_BINS = 15
_BLOCK = 2**17


@dataclass(frozen=True)
class ClassScore:
    """How one class fares.

    Attributes:
        car: the class.
        num_photos: answered photos that truly show it.
        num_predicted: photos that were taken for it.
        recall: share of its photos that were recognised; None without photos.
        precision: share of the answers naming it that are right; None without such answers.
        f1: harmonic mean of the two, 0 where nothing is right; None without photos and answers.
    """

    car: CarClass
    num_photos: int
    num_predicted: int
    recall: Metric | None
    precision: Metric | None
    f1: float | None


@dataclass(frozen=True)
class ConfusionPair:
    """A class that is taken for another.

    Attributes:
        true, predicted: the two classes, in this order.
        count: how many photos.
        share: of the true class's answered photos.
        example_ids: some of these photos, the surest errors first.
    """

    true: CarClass
    predicted: CarClass
    count: int
    share: float
    example_ids: tuple[str, ...]

    def __repr__(self) -> str:
        return describe(
            "ConfusionPair", f"{self.true.name} taken for {self.predicted.name}, {self.count:,}"
        )


@dataclass(frozen=True)
class Answer:
    """What the model said of one photo whose class is known.

    Attributes:
        photo_id: the photo.
        true, predicted: what it shows and what the model said.
        probability: what the model gave its answer.
        true_probability: what it gave the truth.
    """

    photo_id: str
    true: CarClass
    predicted: CarClass
    probability: float
    true_probability: float

    @property
    def is_right(self) -> bool:
        return self.true == self.predicted


def align_targets(predictions: Predictions, catalog: Catalog) -> Targets:
    """The truth from a catalog, for the photos and in the class order of the predictions.

    Returns:
        [N] class indices; -1 where the catalog has no such photo or no label for it.

    Raises:
        InputError: a photo's label is none of the model's.
    """
    labels = {photo.id: photo.label for photo in catalog.photos}
    position = {car.label: k for k, car in enumerate(predictions.classes)}
    wanted = [labels.get(id_) for id_ in predictions.ids]
    unknown = sorted({label for label in wanted if label is not None and label not in position})
    if unknown:
        raise InputError(
            f"the model does not know the label {', '.join(unknown[:10])}: its labels are"
            f" {', '.join(position)}; leave those photos out, or train with them"
        )
    return np.array([-1 if label is None else position[label] for label in wanted], np.int64)


def evaluate(
    predictions: Predictions, targets: Targets, *, temperature: float = 1.0, seed: int = 0
) -> tuple[Metric, ...]:
    """The figures for a whole set of photos.

    Accuracy is over answered photos, with Wilson's interval (Wilson 1927). Where photos have no
    answer, their share follows, and the accuracy that counts them as wrong. Top-2 accuracy counts
    a photo as right whose truth is among the two likeliest classes; it is left out where there are
    no more than two. Macro F1 and balanced accuracy (the mean recall; both over classes with
    photos) and calibration error have the basic bootstrap interval (Efron 1979), 2 v - q:
    resampling shifts them, the more so the fewer photos a class has, and this takes the shift off
    again. With 60 classes of ten photos it held the true macro F1 in 95 % of simulated sets, the
    percentile interval in 76 %. Resamples know of no error that did not happen, so that the
    intervals are widened to what Wilson's says of the accuracy: those of means over classes
    (`_widen`; macro F1 is also biased where classes have few photos: `_estimate_bias`) and of the
    calibration error, which begins at 0 if the error is no larger than chance makes it
    (`_widen_error`). Log loss and the Brier score (1950: the squared distance between the
    probabilities and the truth, 0 to 2) have intervals that know of it by themselves
    (`losses.measure_mean_loss`). How often they all hold the truth: docs/guide/judging.md.

    Args:
        predictions: answers.
        targets: [N] truth; photos with -1 are left out.
        temperature: logits are divided by it.
        seed: of the resampling.

    Returns:
        accuracy, what concerns unanswered photos if there are any, top-2 accuracy, macro F1,
        balanced accuracy, log loss, Brier score and calibration error.

    Raises:
        InputError: no photo has both a label and an answer.
    """
    known = targets >= 0
    keep = known & predictions.answered
    num_known, num_kept = int(known.sum()), int(keep.sum())
    if not num_kept:
        raise InputError(
            f"nothing to judge: of {len(targets)} photos, {num_known} have a label and"
            f" {int(predictions.answered.sum())} an answer, but none has both"
        )
    truth = targets[keep]
    chances = probabilities(predictions, temperature)[keep]
    answers = predictions.logits[keep].argmax(axis=1)
    num_right = int((answers == truth).sum())
    metrics = [measure_share(ACCURACY, num_right, num_kept)]
    if num_kept < num_known:
        metrics.append(measure_share(STRICT_ACCURACY, num_right, num_known))
        metrics.append(measure_share(UNANSWERED, num_known - num_kept, num_known))
    num_classes = len(predictions.classes)
    if num_classes > 2:
        # Of equal chances the first class goes first, as for the answer.
        likeliest = np.argsort(-chances, axis=1, kind="stable")[:, :2]
        num_near = int((likeliest == truth[:, None]).any(axis=1).sum())
        metrics.append(measure_share(TOP_2, num_near, num_kept))
    confidence = chances.max(axis=1)
    is_right = answers == truth
    photos = _Photos(truth, answers, confidence, num_classes)
    macro_f1, balanced, error = map(_turn, photos.resample(seed))
    metrics += [
        _raise(_widen(macro_f1, truth), _estimate_bias(answers, truth)),
        _widen(balanced, truth),
    ]
    surprise = -log_softmax(predictions.logits[keep].astype(np.float64) / temperature, axis=1)
    distance = np.square(chances).sum(axis=1, keepdims=True) - 2 * chances + 1
    for name, losses, most in ((LOG_LOSS, surprise, math.inf), (BRIER, distance, 2.0)):
        metrics.append(measure_mean_loss(name, losses, chances, truth, is_right, most=most))
    metrics.append(_widen_error(error, confidence, metrics[0], seed))
    return tuple(metrics)


def measure_classes(predictions: Predictions, targets: Targets) -> tuple[ClassScore, ...]:
    """Recall, precision (with Wilson's intervals) and F1 of every class, in class order."""
    matrix = count_confusions(predictions, targets)
    scores = []
    for k, car in enumerate(predictions.classes):
        right, num_photos = int(matrix[k, k]), int(matrix[k].sum())
        num_predicted = int(matrix[:, k].sum())
        scores.append(
            ClassScore(
                car,
                num_photos,
                num_predicted,
                measure_share("recall", right, num_photos) if num_photos else None,
                measure_share("precision", right, num_predicted) if num_predicted else None,
                2 * right / (num_photos + num_predicted) if num_photos + num_predicted else None,
            )
        )
    return tuple(scores)


def count_confusions(predictions: Predictions, targets: Targets) -> NDArray[np.int64]:
    """Photos per true class (rows) and predicted class (columns), [K, K]; answered ones only."""
    keep = (targets >= 0) & predictions.answered
    num_classes = len(predictions.classes)
    cells = targets[keep] * num_classes + _answer(predictions, keep)
    counts = np.bincount(cells, minlength=num_classes**2)
    return counts.astype(np.int64).reshape(num_classes, num_classes)


def find_confusion_pairs(
    predictions: Predictions, targets: Targets, *, limit: int = 10, num_examples: int = 5
) -> tuple[ConfusionPair, ...]:
    """The classes most often taken for another, the commonest confusion first.

    Args:
        predictions: answers.
        targets: [N] truth; photos with -1 are left out.
        limit: how many pairs at most.
        num_examples: how many photo ids per pair at most.
    """
    totals = count_confusions(predictions, targets).sum(axis=1)
    ids: dict[tuple[int, int], list[str]] = defaultdict(list)
    for row, true, predicted in _rank_errors(predictions, targets):
        ids[true, predicted].append(predictions.ids[row])
    ranked = sorted(
        ids, key=lambda pair: (-len(ids[pair]), -len(ids[pair]) / totals[pair[0]], pair)
    )
    return tuple(
        ConfusionPair(
            predictions.classes[true],
            predictions.classes[predicted],
            len(ids[true, predicted]),
            float(len(ids[true, predicted]) / totals[true]),
            tuple(ids[true, predicted][:num_examples]),
        )
        for true, predicted in ranked[:limit]
    )


def list_answers(
    predictions: Predictions, targets: Targets, *, temperature: float = 1.0
) -> tuple[Answer, ...]:
    """What was said of every photo that has a label and an answer, in the photos' order."""
    chances = probabilities(predictions, temperature)
    rows = np.flatnonzero((targets >= 0) & predictions.answered)
    return tuple(
        _build_answer(predictions, chances, row, int(targets[row]), predicted)
        for row, predicted in zip(
            rows.tolist(), predictions.logits[rows].argmax(axis=1).tolist(), strict=True
        )
    )


def find_worst_errors(
    predictions: Predictions, targets: Targets, *, temperature: float = 1.0, limit: int = 12
) -> tuple[Answer, ...]:
    """The wrong answers that gave the truth the least chance, the worst first."""
    chances = probabilities(predictions, temperature)
    return tuple(
        _build_answer(predictions, chances, row, true, predicted)
        for row, true, predicted in _rank_errors(predictions, targets, temperature)[:limit]
    )


def compute_macro_f1(answers: Targets, truth: Targets, num_classes: int) -> float:
    """Mean F1 over the classes that occur in `truth`; both [N] class indices."""
    right = np.bincount(truth[answers == truth], minlength=num_classes)
    num_photos = np.bincount(truth, minlength=num_classes)
    num_predicted = np.bincount(answers, minlength=num_classes)
    present = num_photos > 0
    return float((2 * right[present] / (num_photos + num_predicted)[present]).mean())


def compute_balanced_accuracy(answers: Targets, truth: Targets, num_classes: int) -> float:
    """Mean recall over the classes that occur in `truth`; both [N] class indices."""
    right = np.bincount(truth[answers == truth], minlength=num_classes)
    num_photos = np.bincount(truth, minlength=num_classes)
    present = num_photos > 0
    return float((right[present] / num_photos[present]).mean())


def compute_calibration_error(
    confidence: NDArray[np.float64], is_right: NDArray[np.bool_], num_bins: int = _NUM_BINS
) -> float:
    """Expected calibration error (Guo et al. 2017), bins of equal width.

    Args:
        confidence: [N] probability of the answer given.
        is_right: [N] whether it is right.
        num_bins: bins over 0..1, open below and closed above.
    """
    position = bin_confidence(confidence, num_bins)
    gaps = np.bincount(position, weights=confidence - is_right, minlength=num_bins)
    return float(np.abs(gaps).sum() / len(confidence))


def find_chance_error(
    confidence: NDArray[np.float64], *, share: float = CONFIDENCE, seed: int = 0
) -> float:
    """The calibration error that a model whose probabilities are all true stays below.

    A few hundred photos in fifteen bins never show exactly the stated shares, so that the measured
    error is above 0 even then. Right and wrong are drawn anew by the stated probabilities
    (consistency resampling: Bröcker and Smith 2007, "Increasing the reliability of reliability
    diagrams").

    Args:
        confidence: [N] probability of the answer given.
        share: of the draws that stay below; 0.5 for what is usual.
        seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    position = bin_confidence(confidence)
    errors = [
        _measure_errors(position[None], confidence - (rng.random(shape) < confidence))
        for shape in _list_shapes(len(confidence))
    ]
    return float(np.quantile(np.concatenate(errors), share))


def bin_confidence(confidence: NDArray[np.float64], num_bins: int = _NUM_BINS) -> Targets:
    """The number of its bin, from 0, for each probability; bins are open below, closed above."""
    return np.clip(np.ceil(confidence * num_bins).astype(np.int64) - 1, 0, num_bins - 1)


@dataclass(frozen=True)
class _Photos:
    """What is known of photos with label and answer, whose figures are measured.

    Attributes:
        truth, answers: [N] class indices.
        confidence: [N] probabilities of the answers.
        num_classes: K.
    """

    truth: Targets
    answers: Targets
    confidence: NDArray[np.float64]
    num_classes: int

    def resample(self, seed: int) -> list[Metric]:
        """Figures of all photos, and the middle 95 % of each over resamples of as many."""
        num_photos = len(self.truth)
        rng = np.random.default_rng(seed)
        # Many resamples at once: one after the other took two to eight times as long (measured).
        drawn = np.concatenate(
            [
                self.measure(rng.integers(num_photos, size=shape))
                for shape in _list_shapes(num_photos)
            ],
            axis=1,
        )
        lows, highs = np.quantile(drawn, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=1)
        values = self.measure(np.arange(num_photos)[None])[:, 0]
        names = (MACRO_F1, BALANCED, CALIBRATION_ERROR)
        return [
            Metric(name, value, low, high, num_photos)
            for name, value, low, high in zip(
                names, values.tolist(), lows.tolist(), highs.tolist(), strict=True
            )
        ]

    def measure(self, rows: Targets) -> NDArray[np.float64]:
        """Macro F1, balanced accuracy and calibration error, [3, R].

        Args:
            rows: [R, N] photos, for each of R times that they are measured.
        """
        is_right = self.answers == self.truth
        num_photos = _count(self.truth[rows], self.num_classes)
        num_predicted = _count(self.answers[rows], self.num_classes)
        right = _count(self.truth[rows], self.num_classes, is_right[rows])
        shares = [
            (2 * hits[present] / (seen + named)[present], hits[present] / seen[present])
            for hits, seen, named in zip(right, num_photos, num_predicted, strict=True)
            for present in [seen > 0]
        ]
        gaps = self.confidence - is_right
        return np.array(
            [
                [f1.mean() for f1, _ in shares],
                [recall.mean() for _, recall in shares],
                _measure_errors(bin_confidence(self.confidence)[rows], gaps[rows]),
            ]
        )


def _list_shapes(num_photos: int) -> list[tuple[int, int]]:
    """(resamples, photos) of the blocks that all resamples are drawn in, each of a few MB."""
    most = max(1, _BLOCK // num_photos)
    starts = range(0, _NUM_RESAMPLES, most)
    return [(min(most, _NUM_RESAMPLES - start), num_photos) for start in starts]


def _count(
    numbers: Targets, num_kinds: int, weights: NDArray[np.float64] | NDArray[np.bool_] | None = None
) -> NDArray[Any]:
    """How often each number occurs in each row of [R, N], or what its weights add up to, [R, K]."""
    places = numbers + num_kinds * np.arange(len(numbers))[:, None]
    counts = np.bincount(
        places.ravel(),
        None if weights is None else weights.ravel(),
        minlength=num_kinds * len(numbers),
    )
    return counts.reshape(len(numbers), num_kinds)


def _measure_errors(position: Targets, gaps: NDArray[np.float64]) -> NDArray[np.float64]:
    """`compute_calibration_error` of each row, of bins and gaps that make [R, N]."""
    sums = _count(np.broadcast_to(position, gaps.shape), _NUM_BINS, gaps)
    return np.asarray(np.abs(sums).sum(axis=1) / gaps.shape[1])


def _turn(metric: Metric) -> Metric:
    """The basic bootstrap interval from the percentile one, of a figure within 0..1."""
    low, high = 2 * metric.value - metric.high, 2 * metric.value - metric.low
    return Metric(
        metric.name,
        metric.value,
        max(0.0, min(low, metric.value)),
        min(1.0, max(high, metric.value)),
        metric.count,
    )


def _widen(metric: Metric, truth: Targets) -> Metric:
    """A mean over classes whose interval holds Wilson's of as many photos as it is worth.

    If every photo of K classes is answered as surely, a mean of the classes' shares varies as a
    share of K ** 2 / sum(1 / photos of each) photos does, their effective number (Kish 1965): all
    of them where classes are of one size, fewer where not. Resamples of answers without an error
    do not vary at all, and Wilson's interval then says how many errors there may be.
    """
    counts = np.unique(truth, return_counts=True)[1]
    num_photos = len(counts) ** 2 / float((1 / counts).sum())
    low, high = compute_wilson_interval(metric.value * num_photos, num_photos)
    return replace(metric, low=min(low, metric.low), high=max(high, metric.high))


def _estimate_bias(answers: Targets, truth: Targets) -> float:
    """By how much macro F1 of so few photos is too low on average.

    F1 is a ratio, 2 R / S with S its photos and its answers together. With R, misses and false
    alarms drawn as Poisson numbers, the delta method gives F1 (1 - F1) / S for a class: 3 points
    where each of sixty classes has two photos. Resampling those does not show it.
    """
    size = int(max(answers.max(), truth.max())) + 1
    num_photos = np.bincount(truth, minlength=size)
    present = num_photos > 0
    both = (num_photos + np.bincount(answers, minlength=size))[present]
    f1 = 2 * np.bincount(truth[answers == truth], minlength=size)[present] / both
    return float((f1 * (1 - f1) / both).mean())


def _raise(metric: Metric, bias: float) -> Metric:
    """With an interval that ends so much higher."""
    return replace(metric, high=min(1.0, metric.high + bias))


def _widen_error(
    error: Metric, confidence: NDArray[np.float64], accuracy: Metric, seed: int
) -> Metric:
    """A calibration error whose interval knows of chance and of errors not seen.

    Chance alone makes gaps, and the bootstrap takes them for real ones. And it is never less than
    the gap between mean probability and accuracy, which may be as wide as Wilson's interval says.
    """
    stated = float(confidence.mean())
    widest = max(abs(stated - accuracy.low), abs(stated - accuracy.high))
    is_kept = error.value <= find_chance_error(confidence, seed=seed)
    return replace(error, low=0.0 if is_kept else error.low, high=max(error.high, widest))


def _answer(predictions: Predictions, keep: NDArray[np.bool_]) -> Targets:
    return np.asarray(predictions.logits[keep].argmax(axis=1), dtype=np.int64)


def _build_answer(
    predictions: Predictions, chances: NDArray[np.float64], row: int, true: int, predicted: int
) -> Answer:
    return Answer(
        predictions.ids[row],
        predictions.classes[true],
        predictions.classes[predicted],
        float(chances[row, predicted]),
        float(chances[row, true]),
    )


def _rank_errors(
    predictions: Predictions, targets: Targets, temperature: float = 1.0
) -> list[tuple[int, int, int]]:
    """(row, true class, predicted class) of wrong answers, the least chance for the truth first."""
    rows = np.flatnonzero((targets >= 0) & predictions.answered)
    if not len(rows):
        return []
    chances = log_softmax(predictions.logits[rows].astype(np.float64) / temperature, axis=1)
    answers = predictions.logits[rows].argmax(axis=1)
    truth = targets[rows]
    wrong = np.flatnonzero(answers != truth)
    order = wrong[np.argsort(chances[wrong, truth[wrong]], kind="stable")]
    return [(int(rows[i]), int(truth[i]), int(answers[i])) for i in order]
