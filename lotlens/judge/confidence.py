"""What stated probabilities are worth: are they kept, and what is gained by answering less often.

It knows confidence and right or wrong alone; `judge_confidence` takes them from predictions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lotlens.answering.answers import probabilities
from lotlens.intervals import measure_share
from lotlens.judge.metrics import bin_confidence, compute_calibration_error
from lotlens.records import Metric, Predictions, Targets

_NUM_BINS = 10
_SHARES = (1.0, 0.95, 0.9, 0.8, 0.7, 0.5)


@dataclass(frozen=True)
class ReliabilityBin:
    """Photos whose answers were given with about the same probability.

    Attributes:
        low, high: of the bin; it is open below and closed above.
        confidence: mean probability stated.
        accuracy: share that is right, with its interval and how many photos it rests on.
    """

    low: float
    high: float
    confidence: float
    accuracy: Metric


@dataclass(frozen=True)
class Reliability:
    """How far stated probabilities are kept at one temperature.

    Attributes:
        temperature: that logits were divided by.
        error: the expected calibration error (see `metrics.compute_calibration_error`).
        bins: that hold photos, in order.
    """

    temperature: float
    error: float
    bins: tuple[ReliabilityBin, ...]

    def __repr__(self) -> str:
        return f"Reliability in {len(self.bins)} bins"


@dataclass(frozen=True)
class AnsweredShare:
    """What is left if the least sure answers are not given.

    Attributes:
        threshold: answers of at least this probability are given.
        share: of the photos that have an answer then.
        accuracy: of those answers.
    """

    threshold: float
    share: float
    accuracy: Metric


def judge_confidence(
    predictions: Predictions, targets: Targets, temperature: float = 1.0
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Probability of the answer given, and whether it is right, of photos with label and answer.

    Returns:
        both [M], in the photos' order.
    """
    keep = (targets >= 0) & predictions.answered
    chances = probabilities(predictions, temperature)[keep]
    answers = predictions.logits[keep].argmax(axis=1) if keep.any() else targets[keep]
    return chances.max(axis=1, initial=0.0), answers == targets[keep]


def measure_reliability(
    confidence: NDArray[np.float64], is_right: NDArray[np.bool_], num_bins: int = _NUM_BINS
) -> tuple[ReliabilityBin, ...]:
    """How often answers of about one probability are right (a reliability diagram's bars).

    Args:
        confidence: [N] probability of the answer given.
        is_right: [N] whether it is right.
        num_bins: bins of equal width over 0..1.

    Returns:
        the bins that hold photos, in order, with Wilson's intervals.
    """
    position = bin_confidence(confidence, num_bins)
    return tuple(
        ReliabilityBin(
            number / num_bins,
            (number + 1) / num_bins,
            float(confidence[position == number].mean()),
            measure_share(
                "accuracy",
                int(is_right[position == number].sum()),
                int((position == number).sum()),
            ),
        )
        for number in np.unique(position).tolist()
    )


def judge_reliability(
    predictions: Predictions, targets: Targets, temperature: float = 1.0
) -> Reliability:
    """How far the probabilities of predictions are kept; some photo must have label and answer.

    Args:
        predictions: answers.
        targets: [N] truth; photos with -1 are left out.
        temperature: logits are divided by it.
    """
    confidence, is_right = judge_confidence(predictions, targets, temperature)
    error = compute_calibration_error(confidence, is_right)
    return Reliability(temperature, error, measure_reliability(confidence, is_right))


def trace_refusals(
    confidence: NDArray[np.float64], is_right: NDArray[np.bool_]
) -> tuple[AnsweredShare, ...]:
    """Accuracy against the share answered, from all photos down to the surest (El-Yaniv 2010).

    Args:
        confidence: [N] probability of the answer given.
        is_right: [N] whether it is right.

    Returns:
        a point for every probability that occurs, the lowest first; photos of equal probability
        are answered or refused together.
    """
    order = np.argsort(-confidence, kind="stable")
    ranked, rights = confidence[order], is_right[order].cumsum()
    # The last of equal ones speaks for all of them.
    is_last = np.append(ranked[1:] != ranked[:-1], True)[: len(ranked)]
    points = [
        AnsweredShare(
            float(ranked[end]),
            (end + 1) / len(ranked),
            measure_share("accuracy", int(rights[end]), end + 1),
        )
        for end in np.flatnonzero(is_last).tolist()
    ]
    return tuple(reversed(points))


def pick_refusals(
    curve: Sequence[AnsweredShare], shares: Sequence[float] = _SHARES
) -> tuple[AnsweredShare, ...]:
    """Of a curve, the point nearest below each share answered; each point once.

    Args:
        curve: as `trace_refusals` gives it.
        shares: of the photos, in 0..1, the largest first.
    """
    picked = {}
    for share in shares:
        # Sums of shares are not exact: 0.7 may stand there as 0.7000000000000001.
        below = [point for point in curve if point.share <= share + 1e-9]
        if below:
            best = max(below, key=lambda point: point.share)
            picked[best.share] = best
    return tuple(picked.values())
