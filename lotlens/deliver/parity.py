"""Whether an exported model answers as the one it was made from; it knows answers alone.

Both answer the same files, whole-way: whatever goes wrong between the file and the logits, in
decoding, preparing, or the network, shows in the logits. That is nearly always preprocessing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lotlens.errors import InputError
from lotlens.intervals import measure_share
from lotlens.judge.compare import compare_models
from lotlens.photos.tables import list_some
from lotlens.records import OK, FloatArray, Metric, ModelCard, Predictions, Targets
from lotlens.refusal.verdicts import decide
from lotlens.texts import describe

COLUMNS = ("Id", "Made", "Status", "Answer", "Exported", "Difference", "Fault")


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


BOXES = 0.05
"""The most that an edge of a car's box may differ by, as a share of the photo: one network finds
the car before and after, so only another way of decoding could move it."""


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
        boxes: the most that an edge of a box differs by; None where no car is looked for.
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
    boxes: float | None
    rows: tuple[tuple[Any, ...], ...]
    faults: tuple[str, ...]

    def __repr__(self) -> str:
        return describe("Parity", f"same answers: {self.same!r}; {len(self.faults)} faults")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON, without the rows."""
        return {
            "photos": self.num_photos,
            "made": self.num_made,
            "largest_logit_difference": self.largest,
            "relative_difference": self.relative,
            "same_answers": self.same.to_dict(),
            "same_verdicts": self.verdicts.to_dict(),
            "accuracy_before": self.before,
            "accuracy_after": self.after,
            "accuracy_difference_low": self.low,
            "accuracy_difference_high": self.high,
            "largest_box_difference": self.boxes,
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
    rows = [*_list_rows(*real, is_made=False), *_list_rows(*made, is_made=True)]
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
    parity = Parity(
        num_photos=len(real[0].ids),
        num_made=len(made[0].ids),
        largest=max(float(_measure(*pair).max(initial=0)) for pair in (real, made)),
        relative=max(row[5] for row in rows),
        same=measure_share("same answers", count, num_answered),
        verdicts=measure_share("same verdicts", num_alike, len(real[0].ids)),
        before=before,
        after=after,
        low=low,
        high=high,
        boxes=max(moved) if (moved := _list_moves(real, made)) else None,
        rows=tuple(rows),
        faults=(),
    )
    return replace(parity, faults=tuple(_find_faults(parity, limits)))


def _measure(before: Predictions, after: Predictions) -> FloatArray:
    """The largest difference of each photo's logits, [N]; 0 without two answers."""
    both = (before.answered & after.answered)[:, None]
    largest: FloatArray = np.where(both, np.abs(after.logits - before.logits), 0).max(axis=1)
    return largest


def _list_moves(*pairs: tuple[Predictions, Predictions]) -> list[float]:
    """By how much the edges of each photo's box differ; nothing where no car is looked for.

    Of a photo in which one finds a car and the other none it is 1.
    """
    moves = []
    for before, after in pairs:
        if before.boxes is None and after.boxes is None:
            continue
        for row in range(len(before.ids)):
            boxes = before.get_box(row), after.get_box(row)
            edges = [None if box is None else np.array(box.values[:4]) for box in boxes]
            if edges[0] is None or edges[1] is None:
                moves.append(0.0 if edges[0] is edges[1] else 1.0)
            else:
                moves.append(float(np.abs(edges[0] - edges[1]).max()))
    return moves


def _list_rows(before: Predictions, after: Predictions, *, is_made: bool) -> list[tuple[Any, ...]]:
    scale = np.maximum(np.nan_to_num(np.abs(before.logits)).max(axis=1), 1)
    relative = (_measure(before, after) / scale).tolist()
    moves = _list_moves((before, after)) or [0.0] * len(before.ids)
    rows = []
    for row, id_ in enumerate(before.ids):
        statuses = before.status[row], after.status[row]
        fault = "" if statuses[0] == statuses[1] else f"{statuses[0]}, exported: {statuses[1]}"
        if not fault and moves[row] > BOXES:
            boxes = [str(own.get_box(row) or "no car") for own in (before, after)]
            fault = f"its car at {boxes[0]}, exported: {boxes[1]}"
        told = [_name_answer(own, row) for own in (before, after)]
        made = "yes" if is_made else ""
        rows.append((id_, made, statuses[1], *told, round(relative[row], 7), fault))
    return rows


def _name_answer(predictions: Predictions, row: int) -> str:
    if predictions.status[row] != OK:
        return ""
    return predictions.classes[int(predictions.logits[row].argmax())].shown


def _find_faults(parity: Parity, limits: Limits) -> list[str]:
    faults = []
    unlike = [row for row in parity.rows if row[6]]
    if unlike:
        told = [f"{row[0]} ({row[6]})" for row in unlike]
        faults.append(f"photos that are read otherwise: {list_some(told)}")
    far = [row for row in parity.rows if row[5] > limits.difference]
    if far:
        told = [
            f"{row[0]} ({row[3]}" + (f", exported: {row[4]})" if row[3] != row[4] else ")")
            for row in sorted(far, key=lambda row: -row[5])
        ]
        faults.append(
            f"the logits of {len(far)} of {len(parity.rows)} photos differ by more than"
            f" {limits.difference:g} of the largest, by up to {parity.relative:.2g}:"
            f" {list_some(told)}"
        )
    if parity.same.value < limits.same:
        told = [
            f"{row[0]} ({row[3]}, exported: {row[4]})"
            for row in parity.rows
            if not row[1] and row[3] != row[4]
        ]
        faults.append(
            f"only {parity.same.value:.3f} of {parity.same.count} photos have the same answer, at"
            f" least {limits.same:g} should: {list_some(told)}"
        )
    if parity.before is not None and parity.after is not None:
        lost = parity.before - parity.after
        if lost > limits.lost:
            faults.append(
                f"accuracy falls by {100 * lost:.1f} points, from {parity.before:.3f} to"
                f" {parity.after:.3f}; at most {100 * limits.lost:g} may be lost"
            )
    return faults
