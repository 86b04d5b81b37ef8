"""What to add to the training photos and how much each photo counts; it knows records alone.

Whether a model gets better by it is not known here: training and comparing tell.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from lotlens.errors import InputError, shorten
from lotlens.files import write_rows_atomically
from lotlens.improve.outside import Vetted
from lotlens.intervals import measure_share
from lotlens.judge.metrics import ClassScore
from lotlens.judge.weak import find_weak_classes
from lotlens.photos.tables import (
    list_some,
    read_own_table,
    read_place,
    require_columns,
    write_place,
)
from lotlens.records import CarClass, Metric, Photo

MOST_WEIGHT = 2.0
"""What a photo of a failing class counts at most, where a training photo counts 1."""

_COLUMNS = ("Id", "Path", "Members", "Label", "Weight")


@dataclass(frozen=True)
class Addition:
    """A photo to be learnt beside the training photos: with its label, and what it counts."""

    photo: Photo
    weight: float


@dataclass(frozen=True)
class ClassPlan:
    """What is added to one class.

    Attributes:
        car: the class.
        num_offered: photos offered under its label.
        num_admitted: of them, those that passed the vetting.
        num_added: of them, those that are added.
        reasons: why the others were turned away, each with how many, the commonest first.
        num_train: training photos it has now.
        recall: of the model as it is; None if no validation photo shows the class.
        others_recall: of the photos of all other classes; None if there are none.
        is_failing: whether its recall is lower than that beyond chance.
        weight: what each added photo counts.
        sentence: why, for people.
    """

    car: CarClass
    num_offered: int
    num_admitted: int
    num_added: int
    reasons: Mapping[str, int]
    num_train: int
    recall: Metric | None
    others_recall: Metric | None
    is_failing: bool
    weight: float
    sentence: str


@dataclass(frozen=True)
class AdditionPlan:
    """What is added, to be shown before it is learnt.

    Attributes:
        classes: failing ones first, the worst of them first; then the others in class order.
        unmatched: photos under none of the classes: reason -> how many.
        additions: the photos, in the classes' order.
        most: how many were to be added at most; None for no limit.
    """

    classes: tuple[ClassPlan, ...]
    unmatched: Mapping[str, int]
    additions: tuple[Addition, ...]
    most: int | None = None

    def __repr__(self) -> str:
        return f"AdditionPlan: {len(self.additions):,} photos to add"

    @property
    def num_offered(self) -> int:
        return sum(one.num_offered for one in self.classes) + sum(self.unmatched.values())

    @property
    def num_admitted(self) -> int:
        return sum(one.num_admitted for one in self.classes)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON; of the photos only ids and weights."""
        return {
            "offered": self.num_offered,
            "admitted": self.num_admitted,
            "added": len(self.additions),
            "most": self.most,
            "unmatched": dict(self.unmatched),
            "classes": [asdict(one) for one in self.classes],
            "additions": [{"id": one.photo.id, "weight": one.weight} for one in self.additions],
        }

    def to_rows(self) -> list[dict[str, Any]]:
        """One row per class, for a table: class, recall, train, offered, admitted, added, why."""
        return [
            {
                "class": one.car.shown,
                "recall": None if one.recall is None else round(one.recall.value, 3),
                "train": one.num_train,
                "offered": one.num_offered,
                "admitted": one.num_admitted,
                "added": one.num_added,
                "weight": one.weight,
                "why": one.sentence,
            }
            for one in self.classes
        ]


def plan_additions(
    vetted: Sequence[Vetted],
    scores: Sequence[ClassScore],
    training_counts: Mapping[str, int],
    *,
    most: int | None = None,
) -> AdditionPlan:
    """Which of the admitted photos are added, the failing classes first, and what they count.

    A class is failing if its recall is lower than that of all other classes together, beyond what
    chance makes of so many classes (`weak.find_weak_classes`): with few validation photos a class
    must be very bad to be called so, which keeps chance from steering what is learnt. Its photos
    count as many times as the others' recall is higher than its own, but no more than MOST_WEIGHT;
    those of other classes count 1, as training photos do.

    Where `most` is less than what is admitted, photos are dealt out one to each class in turn, to
    the failing classes until nothing of theirs is left and then to the others. Within a class they
    go in the order in which they were offered.

    Args:
        vetted: of `vet_photos`.
        scores: of the model as it is, on photos that it has not learnt, in class order.
        training_counts: label -> training photos now.
        most: photos at most.

    Raises:
        InputError: `most` is negative.
    """
    if most is not None and most < 0:
        raise InputError(f"the number of photos to add must be 0 or more, not {most}")
    others = [_pool_others(scores, k) for k in range(len(scores))]
    failing = find_weak_classes(scores)
    admitted: dict[str, list[Vetted]] = defaultdict(list)
    refused: dict[str, Counter[str]] = defaultdict(Counter)
    unmatched: Counter[str] = Counter()
    labels = {score.car.label for score in scores}
    for one in vetted:
        label = one.photo.label
        if label is None or label not in labels:
            unmatched[one.reason] += 1
        elif one.admitted:
            admitted[label].append(one)
        else:
            refused[label][one.reason] += 1

    def rank(k: int) -> tuple[bool, float, int]:
        recall = scores[k].recall
        return not failing[k], recall.value if failing[k] and recall is not None else 0.0, k

    order = sorted(range(len(scores)), key=rank)
    available = {k: len(admitted[scores[k].car.label]) for k in order}
    groups = [[k for k in order if failing[k] is wanted] for wanted in (True, False)]
    shares = _share_out(available, groups, most)
    plans, additions = [], []
    for k in order:
        score, own = scores[k], admitted[scores[k].car.label]
        reasons = dict(refused[score.car.label].most_common())
        weight = _choose_weight(score.recall, others[k]) if failing[k] else 1.0
        plan = ClassPlan(
            score.car,
            len(own) + sum(reasons.values()),
            len(own),
            shares[k],
            reasons,
            training_counts.get(score.car.label, 0),
            score.recall,
            others[k],
            failing[k],
            weight,
            "",
        )
        plans.append(replace(plan, sentence=_explain(plan)))
        additions += [Addition(one.photo, weight) for one in own[: shares[k]]]
    return AdditionPlan(tuple(plans), dict(unmatched.most_common()), tuple(additions), most)


def weigh_vetted(vetted: Sequence[Vetted], plan: AdditionPlan) -> tuple[Vetted, ...]:
    """The same with the weights of the plan: 0 for what is not added."""
    weights = {one.photo.id: one.weight for one in plan.additions}
    return tuple(replace(one, weight=weights.get(one.photo.id, 0.0)) for one in vetted)


def write_additions(path: Path, additions: Sequence[Addition]) -> None:
    """Write what is added as CSV; Members is a JSON list of names inside zips, outermost first.

    Raises:
        OutputError: the file cannot be written.
        ValueError: a photo has no label or no file.
    """
    rows = []
    for one in additions:
        photo = one.photo
        if photo.label is None or photo.locator is None:
            raise ValueError(f"{photo.id} cannot be added: it has no label or no file")
        rows.append((photo.id, *write_place(photo), photo.label, one.weight))
    write_rows_atomically(path, _COLUMNS, rows)


def read_additions(path: Path, classes: Sequence[CarClass]) -> tuple[Addition, ...]:
    """The inverse of `write_additions`, without listings and further columns of the photos.

    Whether the files are still there is not looked at.

    Args:
        path: the file.
        classes: of the model; labels must be theirs.

    Raises:
        InputError: there is no such file, or it is not one of additions.
    """
    table = read_own_table(path) if _has_rows(path) else None
    if table is None:
        return ()
    places = require_columns(table, **{column: (column.lower(),) for column in _COLUMNS})
    labels = {car.label for car in classes}
    additions: dict[str, Addition] = {}
    for number, row in enumerate(table.rows, start=2):
        id_, file, members, label, weight = (row[place] for place in places)
        try:
            if not id_ or id_ in additions:
                raise ValueError(f"the id {id_!r} is empty or there twice")
            if label not in labels:
                raise ValueError(f"{label!r} is none of the labels {list_some(sorted(labels), 10)}")
            photo = Photo(id_, read_place(file, members), label)
            additions[id_] = Addition(photo, _read_weight(weight))
        except ValueError as error:
            raise InputError(
                f"{path}, row {number} is no addition: {shorten(str(error))}"
            ) from error
    return tuple(additions.values())


def _has_rows(path: Path) -> bool:
    """False for what `write_additions` makes of nothing: a header alone."""
    try:
        return path.read_bytes().strip() != ",".join(_COLUMNS).encode()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error


def _read_weight(text: str) -> float:
    weight = float(text)
    if not (math.isfinite(weight) and 0 < weight <= MOST_WEIGHT):
        raise ValueError(f"a weight is above 0 and at most {MOST_WEIGHT:g}, not {text!r}")
    return weight


def _pool_others(scores: Sequence[ClassScore], own: int) -> Metric | None:
    """The recall of the photos of all classes but one."""
    rest = [s.recall for k, s in enumerate(scores) if k != own and s.recall is not None]
    total = sum(recall.count for recall in rest)
    num_right = sum(round(recall.value * recall.count) for recall in rest)
    return measure_share("recall", num_right, total) if total else None


def _choose_weight(recall: Metric | None, others: Metric | None) -> float:
    if recall is None or others is None:
        return 1.0
    if recall.value * MOST_WEIGHT <= others.value:
        return MOST_WEIGHT
    return round(max(others.value / recall.value, 1.0), 2)


def _share_out(
    available: Mapping[int, int], groups: Sequence[Sequence[int]], most: int | None
) -> dict[int, int]:
    """How many each class gets, dealt one at a time within a group, the first group first."""
    shares = dict.fromkeys(available, 0)
    left = sum(available.values()) if most is None else most
    for group in groups:
        while left and (hungry := [k for k in group if shares[k] < available[k]]):
            for k in hungry[:left]:
                shares[k] += 1
            left -= len(hungry[:left])
    return shares


def _explain(plan: ClassPlan) -> str:
    if plan.recall is None:
        standing = "No validation photo shows it, so nothing is known of its recall"
    else:
        recall = plan.recall
        photos = "1 photo" if recall.count == 1 else f"{recall.count} photos"
        shown = f"{recall.value:.2f} ({recall.low:.2f} to {recall.high:.2f}, {photos})"
        if plan.others_recall is None:
            standing = f"Its recall is {shown}"
        else:
            how = "clearly below" if plan.is_failing else "not clearly below"
            standing = (
                f"Its recall, {shown}, is {how} that of the others, {plan.others_recall.value:.2f}"
            )
    if not plan.num_offered:
        return f"{standing}; none was offered."
    if not plan.num_admitted:
        return f"{standing}; none of the {plan.num_offered} offered can be used."
    if plan.num_added < plan.num_admitted:
        added = f"{plan.num_added} of its {plan.num_admitted} admitted photos are added"
    else:
        added = "all of its admitted photos are added"
    if plan.is_failing:
        times = "once" if plan.weight == 1 else f"{plan.weight:g} times"
        return f"{standing}: {added}, before those of other classes, and count {times} each."
    return f"{standing}: {added} and count once."
