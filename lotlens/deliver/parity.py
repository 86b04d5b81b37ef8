"""Whether an exported model answers as the one it was made from; it knows answers alone.

Both answer the same files, whole-way: whatever goes wrong between the file and the logits, in
decoding, preparing, or the network, shows in the logits. That is nearly always preprocessing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lotlens.errors import InputError
from lotlens.judge.compare import compare_models
from lotlens.judge.metrics import Targets, measure_share
from lotlens.judge.predict import probabilities
from lotlens.judge.verdicts import decide
from lotlens.records import OK, Metric, ModelCard, Predictions

COLUMNS = ("Id", "Made", "Status", "Answer", "Exported", "Difference", "Fault")
_NUM_NAMED = 5


@dataclass(frozen=True)
class Limits:
    """What an export may differ by.

    Attributes:
        difference: the largest difference of a photo's logits, as a share of the largest of them
            (of 1, if they are smaller); infinite if it does not matter.
        same: the least share of real photos with the same answer.
        lost: the most accuracy that may be lost on real photos with labels.
    """

    difference: float
    same: float
    lost: float


EXACT = Limits(difference=1e-3, same=0.99, lost=0.01)
"""For the same arithmetic in another order: rounding differs, answers only at a tie."""
ROUGH = Limits(difference=float("inf"), same=0.9, lost=0.01)
"""For eight bits: photos between two models change sides, about as many in each direction. Among
ten models few do (0.98 the same, measured), among 196 more."""


@dataclass(frozen=True)
class Parity:
    """How an export's answers differ.

    Attributes:
        num_photos: real ones.
        num_made: those made to be hard to read.
        largest: difference between two logits anywhere.
        relative: the same as `Limits.difference` counts it.
        same: share of real photos with the same answer.
        verdicts: share of real photos of which the same is said, refusals included.
        before, after: accuracy on the real photos with labels; None without any.
        low, high: 95 % interval of `after` less `before`, paired by photo.
        rows: one per photo with COLUMNS, those that differ most first.
        faults: why the export must not be used, in sentences; none if it may.
    """

    num_photos: int
    num_made: int
    largest: float
    relative: float
    same: Metric
    verdicts: Metric
    before: float | None
    after: float | None
    low: float | None
    high: float | None
    rows: tuple[tuple[Any, ...], ...]
    faults: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON, without the rows."""
        return {
            "photos": self.num_photos,
            "made": self.num_made,
            "largest_logit_difference": self.largest,
            "relative_difference": self.relative,
            "same_answers": _plain(self.same),
            "same_verdicts": _plain(self.verdicts),
            "accuracy_before": self.before,
            "accuracy_after": self.after,
            "accuracy_difference_low": self.low,
            "accuracy_difference_high": self.high,
        }


def check_parity(
    card: ModelCard,
    real: tuple[Predictions, Predictions],
    made: tuple[Predictions, Predictions],
    targets: Targets,
    limits: Limits,
) -> Parity:
    """Compare answers before and after an export.

    Args:
        card: of the model before.
        real: answers to real photos, before and after, to the same photos in the same order.
        made: likewise, to photos of the kinds that programs get wrong.
        targets: [N] class indices of the real photos, -1 where not known.
        limits: what may differ.

    Raises:
        InputError: no real photo can be read.
        ValueError: the photos of before and after are not the same.
    """
    for one, other in (real, made):
        if one.ids != other.ids or one.classes != other.classes:
            raise ValueError("an export is compared on the same photos and classes")
    rows = [*_list_rows(card, *real, is_made=False), *_list_rows(card, *made, is_made=True)]
    rows.sort(key=lambda row: (row[3] == row[4] and not row[6], -row[5]))
    answered = real[0].answered & real[1].answered
    if not answered.any():
        raise InputError("no photo of the run's data can be read, so the export cannot be checked")
    best = [own.logits[answered].argmax(axis=1) for own in real]
    count, num_answered = int((best[0] == best[1]).sum()), int(answered.sum())
    said = [decide(own, card.refusal, card.temperature) for own in real]
    num_alike = sum(a.kind == b.kind and a.named == b.named for a, b in zip(*said, strict=True))
    before = after = low = high = None
    if (targets >= 0).any():
        found = compare_models(real[1], real[0], targets, names=("after", "before"))
        before, after, low, high = found.second, found.first, found.pair.low, found.pair.high
    relative = max(row[5] for row in rows)
    parity = Parity(
        len(real[0].ids),
        len(made[0].ids),
        max(_measure(*real)[0].max(), _measure(*made)[0].max()).item(),
        relative,
        measure_share("same answers", count, num_answered),
        measure_share("same verdicts", num_alike, len(real[0].ids)),
        before,
        after,
        low,
        high,
        tuple(rows),
        (),
    )
    return Parity(**{**vars(parity), "faults": tuple(_find_faults(parity, limits))})


def _measure(
    before: Predictions, after: Predictions
) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """The largest difference of each photo's logits [N], and as a share of the largest logit."""
    if not len(before.ids):
        return np.zeros(1), np.zeros(1)
    both = (before.answered & after.answered)[:, None]
    old, new = (np.where(both, own.logits, 0).astype(np.float64) for own in (before, after))
    largest = np.abs(new - old).max(axis=1)
    return largest, largest / np.maximum(np.abs(old).max(axis=1), 1)


def _list_rows(
    card: ModelCard, before: Predictions, after: Predictions, *, is_made: bool
) -> list[tuple[Any, ...]]:
    _, relative = _measure(before, after)
    chances = [probabilities(own, card.temperature) for own in (before, after)]
    rows = []
    for row, id_ in enumerate(before.ids):
        told = [
            _tell(own, chance[row], row)
            for own, chance in zip((before, after), chances, strict=True)
        ]
        fault = ""
        if before.status[row] != after.status[row]:
            fault = f"{before.status[row]}, exported: {after.status[row]}"
        made = "yes" if is_made else ""
        rows.append((id_, made, after.status[row], *told, round(float(relative[row]), 7), fault))
    return rows


def _tell(predictions: Predictions, chances: np.ndarray[Any, Any], row: int) -> str:
    if predictions.status[row] != OK:
        return ""
    return predictions.classes[int(chances.argmax())].shown


def _find_faults(parity: Parity, limits: Limits) -> list[str]:
    faults = []
    unlike = [row for row in parity.rows if row[6]]
    if unlike:
        told = [f"{row[0]} ({row[6]})" for row in unlike]
        faults.append(f"photos that are read otherwise: {_enumerate(told)}")
    far = [row for row in parity.rows if row[5] > limits.difference]
    if far:
        told = [
            f"{row[0]} ({row[3]}" + (f", exported: {row[4]})" if row[3] != row[4] else ")")
            for row in sorted(far, key=lambda row: -row[5])
        ]
        faults.append(
            f"the logits of {len(far)} of {len(parity.rows)} photos differ by more than"
            f" {limits.difference:g} of the largest, by up to {parity.relative:.2g}:"
            f" {_enumerate(told)}"
        )
    if parity.same.value < limits.same:
        told = [f"{row[0]} ({row[3]}, exported: {row[4]})" for row in parity.rows if not row[1]]
        faults.append(
            f"only {parity.same.value:.3f} of {parity.same.count} photos have the same answer, at"
            f" least {limits.same:g} should: {_enumerate(told)}"
        )
    if parity.before is not None and parity.after is not None:
        lost = parity.before - parity.after
        if lost > limits.lost:
            faults.append(
                f"accuracy falls by {100 * lost:.1f} points, from {parity.before:.3f} to"
                f" {parity.after:.3f}; at most {100 * limits.lost:g} may be lost"
            )
    return faults


def _enumerate(told: Sequence[str]) -> str:
    rest = f" and {len(told) - _NUM_NAMED} more" if len(told) > _NUM_NAMED else ""
    return ", ".join(told[:_NUM_NAMED]) + rest


def _plain(metric: Metric) -> Mapping[str, float]:
    return {"value": metric.value, "low": metric.low, "high": metric.high, "count": metric.count}
