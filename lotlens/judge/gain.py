"""Whether other answers to the same photos are better beyond noise; it knows losses alone.

The one rule by which views of a photo and ensembles are adopted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student
from scipy.stats import ttest_1samp

DOUBT = 0.1
"""What is of no use may be adopted in this share of cases."""
SMALLEST_GAIN = 1e-3
"""A gain in log loss (nats per photo) below this is not worth another run of a model."""
_CONFIDENCE = 0.95

Name = TypeVar("Name", str, int)


@dataclass(frozen=True)
class Gain:
    """What other answers to the same photos are worth; the log losses are calibrated ones.

    Attributes:
        accuracy_before, accuracy: shares of right answers.
        loss_before, loss: mean log losses in nats per photo.
        value: by how much the log loss falls.
        low, high: its 95 % interval (Student's t over photos).
        p: of the paired one-sided t-test: how often chance alone would show such a fall.
        num_photos: N.
    """

    accuracy_before: float
    accuracy: float
    loss_before: float
    loss: float
    value: float
    low: float
    high: float
    p: float
    num_photos: int

    def is_enough(self, limit: float = DOUBT) -> bool:
        """Whether accuracy does not fall and the log loss does: by 0.001 nats or more, p < limit.

        Args:
            limit: `DOUBT`, shared among all that is tried at once.
        """
        is_fall = self.value >= SMALLEST_GAIN and self.p < limit
        return self.accuracy >= self.accuracy_before and is_fall


def measure_gain(
    losses_before: NDArray[np.float64],
    losses: NDArray[np.float64],
    is_right_before: NDArray[np.bool_],
    is_right: NDArray[np.bool_],
) -> Gain:
    """What other answers to the same photos are worth.

    Args:
        losses_before: [N] log loss of each photo's answer, N of 2 or more.
        losses: [N] of the other answers.
        is_right_before: [N] whether each answer is right.
        is_right: [N] likewise.
    """
    falls = losses_before - losses
    value, num_photos = float(falls.mean()), len(falls)
    if np.ptp(falls) < SMALLEST_GAIN:  # so equal on every photo that a test is not able
        low = high = value
        p = 0.0 if value >= SMALLEST_GAIN else 1.0
    else:
        p = float(ttest_1samp(falls, 0, alternative="greater").pvalue)
        error = float(falls.std(ddof=1)) / num_photos**0.5
        reach = float(student.ppf((1 + _CONFIDENCE) / 2, num_photos - 1)) * error
        low, high = value - reach, value + reach
    return Gain(
        float(is_right_before.mean()),
        float(is_right.mean()),
        float(losses_before.mean()),
        float(losses.mean()),
        value,
        low,
        high,
        p,
        num_photos,
    )


def adopt_in_turn(
    names: Sequence[Name], measure: Callable[[Sequence[Name], Sequence[Name]], Sequence[Gain]]
) -> list[tuple[Name, Gain, float, bool]]:
    """Adopt what helps beyond noise, the most helpful first, until nothing left does.

    What is left is tried anew beside all that was adopted before. The limit for p is `DOUBT` over
    the number that are still tried (Holm 1979).

    Args:
        names: of what may be adopted.
        measure: given those adopted so far and those left, what each of the latter adds.

    Returns:
        (name, gain, limit, whether it was adopted) for each: the adopted ones in their order, then
        the others, the most helpful first.
    """
    adopted: list[tuple[Name, Gain, float, bool]] = []
    left = list(names)
    while left:
        limit = DOUBT / len(left)
        gains = measure([name for name, *_ in adopted], left)
        tried: list[tuple[Name, Gain, float, bool]] = [
            (name, gain, limit, gain.is_enough(limit))
            for name, gain in zip(left, gains, strict=True)
        ]
        tried.sort(key=lambda one: (-one[1].value, one[0]))
        best = next((one for one in tried if one[3]), None)
        if best is None:
            return adopted + tried
        adopted.append(best)
        left.remove(best[0])
    return adopted


def describe_gain(gain: Gain) -> str:
    """A gain in words."""
    change = "falls" if gain.value >= 0 else "rises"
    return (
        f"log loss {change} by {abs(gain.value):.3f} nats a photo (fall {gain.low:.3f} to"
        f" {gain.high:.3f}, p = {gain.p:.2g}) from {gain.loss_before:.3f}, accuracy goes from"
        f" {gain.accuracy_before:.3f} to {gain.accuracy:.3f}, {gain.num_photos} photos"
    )
