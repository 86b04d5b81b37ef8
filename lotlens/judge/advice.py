"""What to do next, from how a model fared: records with values, which others put into words.

It knows figures, not photos, and no language.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from lotlens.intervals import measure_share
from lotlens.judge.metrics import ACCURACY, Answer, ClassScore
from lotlens.judge.weak import find_weak_classes
from lotlens.records import CarClass, Metric

SURE = 0.9
"""A wrong answer given with at least this probability is worth a look at the label."""
_MOST_CLASSES = 3
_WIDE = 0.03
_AIM = 0.02
_Z = 1.96


@dataclass(frozen=True)
class NeedsPhotos:
    """A class that is recognised less often than photos are on the whole.

    Attributes:
        car: the class.
        recall: the share of its photos that was recognised.
        is_sure: whether it is so beyond chance, the number of classes taken into account (see
            `weak.find_weak_classes`).
        taken_for: the class it is most often taken for.
        num_taken: how many of its photos are.
        num_training: photos of it that were trained on, if that is known.
        usual_training: training photos of a class on average, if that is known.
    """

    kind: ClassVar = "photos"
    car: CarClass
    recall: Metric
    is_sure: bool
    taken_for: CarClass
    num_taken: int
    num_training: int | None
    usual_training: float | None

    @property
    def has_few(self) -> bool:
        """Whether it was trained on fewer photos than other classes."""
        if self.num_training is None or self.usual_training is None:
            return False
        return self.num_training < self.usual_training


@dataclass(frozen=True)
class CheckLabels:
    """Answers that contradict the label and are very sure: the model may be right.

    Attributes:
        answers: the surest first.
    """

    kind: ClassVar = "labels"
    answers: tuple[Answer, ...]


@dataclass(frozen=True)
class MendFiles:
    """Photos that could not be read.

    Attributes:
        count: how many.
    """

    kind: ClassVar = "files"
    count: int


@dataclass(frozen=True)
class JudgeOnMore:
    """Too few photos were judged to say how good the model is.

    Attributes:
        accuracy: with its wide interval.
        margin: half the interval's width, in 0..1.
        aim: a margin that is narrow enough.
        num_needed: about how many photos give that (normal approximation).
    """

    kind: ClassVar = "judge-more"
    accuracy: Metric
    margin: float
    aim: float
    num_needed: int


@dataclass(frozen=True)
class Calibration:
    """Whether stated probabilities are kept on the whole.

    Attributes:
        verdict: "kept" if the mean probability of the answers lies within the interval of the
            share that is right; else they are "too-sure" or "too-unsure".
        stated: that mean.
        accuracy: the share that is right.
    """

    kind: ClassVar = "calibration"
    verdict: Literal["kept", "too-sure", "too-unsure"]
    stated: float
    accuracy: Metric


Advice = NeedsPhotos | CheckLabels | MendFiles | JudgeOnMore | Calibration
"""One thing to do, or to know before doing anything; `kind` tells them apart."""


def advise(
    *,
    metrics: Sequence[Metric],
    class_scores: Sequence[ClassScore],
    confusions: NDArray[np.int64],
    answers: Sequence[Answer],
    num_unreadable: int = 0,
    training_counts: Mapping[str, int] | None = None,
) -> tuple[Advice, ...]:
    """What the figures of a model ask for, the most useful first.

    Args:
        metrics: as `judge.metrics.evaluate` gives them.
        class_scores: one per class, in class order.
        confusions: [K, K] photos per true (rows) and predicted (columns) class.
        answers: all that were judged, at the temperature in use.
        num_unreadable: photos without an answer.
        training_counts: class label -> photos it was trained on, if that is known.

    Returns:
        labels to check, up to three classes that need photos (those that cost the most answers
        first), files to mend, whether probabilities are kept, and whether too few photos were
        judged; what does not apply is left out. Empty if nothing was judged.
    """
    accuracy = next((metric for metric in metrics if metric.name == ACCURACY), None)
    if accuracy is None or not answers:
        return ()
    advice: list[Advice] = []
    doubtful = [a for a in answers if not a.is_right and a.probability >= SURE]
    if doubtful:
        advice.append(CheckLabels(tuple(sorted(doubtful, key=lambda a: -a.probability))))
    advice += _find_weak_classes(accuracy, class_scores, confusions, training_counts)
    if num_unreadable:
        advice.append(MendFiles(num_unreadable))
    advice.append(_check_calibration(answers))
    margin = (accuracy.high - accuracy.low) / 2
    if margin > _WIDE:
        # Of accuracies near 1 the formula would promise too much; those of few photos are unsure.
        spread = max(accuracy.value * (1 - accuracy.value), 0.05)
        needed = round(spread * (_Z / _AIM) ** 2, -1)
        advice.append(JudgeOnMore(accuracy, margin, _AIM, int(needed)))
    return tuple(advice)


def _find_weak_classes(
    accuracy: Metric,
    scores: Sequence[ClassScore],
    confusions: NDArray[np.int64],
    training_counts: Mapping[str, int] | None,
) -> list[NeedsPhotos]:
    counts = None if training_counts is None else [training_counts.get(s.car.label) for s in scores]
    known = [count for count in counts or () if count is not None]
    clearly = find_weak_classes(scores)
    weak = []
    for k, score in enumerate(scores):
        if score.recall is None or score.recall.value >= accuracy.value:
            continue
        wrong = confusions[k].copy()
        wrong[k] = 0
        other = int(wrong.argmax())
        found = NeedsPhotos(
            score.car,
            score.recall,
            clearly[k],
            scores[other].car,
            int(wrong[other]),
            None if counts is None else counts[k],
            float(np.mean(known)) if known else None,
        )
        # How many answers fewer are right than if it fared as photos do on the whole.
        lost = (accuracy.value - score.recall.value) * score.num_photos
        weak.append((not found.is_sure, -lost, k, found))
    return [found for *_, found in sorted(weak, key=lambda row: row[:3])[:_MOST_CLASSES]]


def _check_calibration(answers: Sequence[Answer]) -> Calibration:
    stated = float(np.mean([answer.probability for answer in answers]))
    accuracy = measure_share(ACCURACY, sum(answer.is_right for answer in answers), len(answers))
    if accuracy.low <= stated <= accuracy.high:
        return Calibration("kept", stated, accuracy)
    return Calibration("too-sure" if stated > accuracy.high else "too-unsure", stated, accuracy)
