"""Whether one model is better than another, from right and wrong answers to the same photos.

It knows ids, seeds and answers alone. A variant is one way of training, done with several seeds;
two variants are compared on the photos and the seeds that both have, photos matched by id.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaln, ndtri, stdtrit  # scipy.stats is slow to import

from lotlens.errors import InputError
from lotlens.intervals import CONFIDENCE, compute_tango_interval, compute_wilson_interval
from lotlens.records import CarClass, Predictions, Targets
from lotlens.texts import describe

_SIGNIFICANCE = 0.05
_NEGLIGIBLE = 1e-40
_POWER = 0.8

Verdict = Literal["better", "worse", "cannot tell"]
Rights = NDArray[np.bool_]
_Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Answers:
    """Right and wrong answers of one variant.

    Attributes:
        seeds: of its runs, none twice.
        ids: photos that every run answered, none twice.
        is_right: [S seeds, N photos].
    """

    seeds: tuple[int, ...]
    ids: tuple[str, ...]
    is_right: Rights

    def __post_init__(self) -> None:
        if self.is_right.shape != (len(self.seeds), len(self.ids)):
            raise ValueError(
                f"{len(self.seeds)} seeds and {len(self.ids)} photos need answers of that shape,"
                f" not {self.is_right.shape}"
            )
        for name, given in (("seed", self.seeds), ("photo", self.ids)):
            if len(set(given)) < len(given):
                raise ValueError(f"a {name} is there twice")


@dataclass(frozen=True)
class Spread:
    """Mean accuracy of a variant.

    Attributes:
        mean: over its runs.
        low, high: 95 % interval for other photos and, with several seeds, other seeds.
    """

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """Two variants on the same photos with the same seeds.

    Attributes:
        first, second: their names.
        difference: mean accuracy of the first less that of the second.
        low, high: its 95 % interval, for other photos and, with several seeds, other seeds.
        p: of the sign-flip test, two-sided.
        p_holm: the same, adjusted for all pairs that were compared with it.
        verdict: on the first: "better" or "worse" if `p_holm` is below 0.05 and the interval
            leaves out 0, else "cannot tell".
        num_photos, num_seeds: what both have.
    """

    first: str
    second: str
    difference: float
    low: float
    high: float
    p: float
    p_holm: float
    verdict: Verdict
    num_photos: int
    num_seeds: int


@dataclass(frozen=True)
class ClassComparison:
    """Two models on the photos of one class.

    Attributes:
        car: the class.
        first, second: share of its photos that each recognises (recall); NaN without photos.
        pair: the comparison, p-values adjusted for all classes; None without photos.
    """

    car: CarClass
    first: float
    second: float
    pair: Comparison | None


@dataclass(frozen=True)
class ModelComparison:
    """Two models on the same photos.

    Attributes:
        first, second: accuracy of each, a photo without an answer counted as wrong.
        pair: which is better and how surely.
        only_first, only_second: photos that only one of them answers rightly.
        num_more: about how many more photos would tell them apart, if the difference is what it
            seems; None if they are told apart, or seem alike.
        classes: the same for each class, in class order.
    """

    first: float
    second: float
    pair: Comparison
    only_first: int
    only_second: int
    num_more: int | None
    classes: tuple[ClassComparison, ...]

    def __repr__(self) -> str:
        return describe(
            "ModelComparison", f"{self.first:.3f} and {self.second:.3f}: {self.pair.verdict}"
        )


def compare_models(
    first: Predictions,
    second: Predictions,
    targets: Targets,
    *,
    names: tuple[str, str] = ("first", "second"),
) -> ModelComparison:
    """Which of two models is right more often, over all photos and for each class.

    Args:
        first: answers.
        second: of the other model, to the same photos in the same order, classes likewise.
        targets: [N] truth; photos with -1 are left out.
        names: for the result.

    Raises:
        ValueError: other photos or classes in one than in the other.
        InputError: no photo has a label.
    """
    if first.ids != second.ids or first.classes != second.classes:
        raise ValueError("two models are compared on the same photos and classes")
    known = np.flatnonzero(targets >= 0)
    ids = tuple(first.ids[row] for row in known.tolist())
    truth = targets[known]
    right_first, right_second = (
        (own.answered & (own.logits.argmax(axis=1) == targets))[known] for own in (first, second)
    )

    def compare_rows(rows: NDArray[np.int64]) -> Comparison:
        chosen = tuple(ids[row] for row in rows.tolist())
        one, other = (Answers((0,), chosen, own[None, rows]) for own in (right_first, right_second))
        return compare_pair(one, other, names=names)

    pair = compare_rows(np.arange(len(ids)))
    by_class = [np.flatnonzero(truth == number) for number in range(len(first.classes))]
    pairs = [compare_rows(rows) if len(rows) else None for rows in by_class]
    adjusted = iter(adjust_holm([one.p for one in pairs if one is not None]))
    only_first = int((right_first & ~right_second).sum())
    only_second = int((right_second & ~right_first).sum())
    is_open = pair.verdict == "cannot tell"
    return ModelComparison(
        float(right_first.mean()),
        float(right_second.mean()),
        pair,
        only_first,
        only_second,
        estimate_more_photos(only_first, only_second, len(ids)) if is_open else None,
        tuple(
            ClassComparison(car, float("nan"), float("nan"), None)
            if one is None
            else ClassComparison(
                car,
                float(right_first[rows].mean()),
                float(right_second[rows].mean()),
                _adjust(one, next(adjusted)),
            )
            for car, rows, one in zip(first.classes, by_class, pairs, strict=True)
        ),
    )


def conclude(found: ModelComparison) -> str:
    """The answer in one sentence."""
    pair = found.pair
    points = f"{100 * abs(pair.difference):.1f} points"
    interval = f"{100 * pair.low:.1f} to {100 * pair.high:.1f}"
    if pair.verdict != "cannot tell":
        return (
            f"{pair.first} is {pair.verdict} than {pair.second} by {points} (95 % interval of the"
            f" difference {interval} points, p = {pair.p:.2g})"
        )
    if found.num_more is None:
        return (
            f"cannot tell: both are right equally often on these {pair.num_photos} photos (95 %"
            f" interval of the difference {interval} points)"
        )
    more = (
        f"about {found.num_more} more photos would be needed"
        if found.num_more
        else "the test and the interval do not agree"
    )
    return f"cannot tell: {points} apart on {pair.num_photos} photos (p = {pair.p:.2g}); {more}"


def estimate_more_photos(only_first: int, only_second: int, num_photos: int) -> int | None:
    """How many more photos McNemar's test would need to see a difference as large as this one.

    With as many it is found in 8 of 10 samples (power 0.8 at 0.05, two-sided), by the formula for
    paired shares of Connor (1987, "Sample size for testing differences in proportions for the
    paired-sample design"). The difference so far is itself uncertain, so this is rough.

    Args:
        only_first: photos that the first model alone answers rightly.
        only_second: likewise.
        num_photos: all photos so far.

    Returns:
        None if no difference is seen; 0 if there should be enough.
    """
    difference = abs(only_first - only_second) / num_photos
    if not difference:
        return None
    apart = (only_first + only_second) / num_photos
    reach = float(ndtri(1 - _SIGNIFICANCE / 2)) * math.sqrt(apart)
    reach += float(ndtri(_POWER)) * math.sqrt(apart - difference**2)
    return max(0, math.ceil((reach / difference) ** 2) - num_photos)


def gather_answers(runs: Mapping[int, tuple[Sequence[str], Rights]]) -> Answers:
    """The answers of runs that differ in the seed alone, photos matched by id.

    Args:
        runs: seed -> ids and [N] whether each is right, in any order of photos.

    Returns:
        seeds as given; the photos that all runs have, sorted by id.
    """
    shared = sorted(set.intersection(*(set(ids) for ids, _ in runs.values()))) if runs else []
    rows = []
    for ids, is_right in runs.values():
        position = {id_: row for row, id_ in enumerate(ids)}
        rows.append(np.asarray(is_right, bool)[[position[id_] for id_ in shared]])
    table = np.array(rows, bool).reshape(len(runs), len(shared))
    return Answers(tuple(runs), tuple(shared), table)


def measure_spread(answers: Answers) -> Spread:
    """Mean accuracy, with Wilson's interval over photos, joined with Student's over seeds.

    Raises:
        InputError: no run or no photo.
    """
    if not answers.is_right.size:
        raise InputError("no answers to measure: every run failed, or they share no photo")
    means = answers.is_right.mean(axis=1)
    mean, num_photos = float(means.mean()), len(answers.ids)
    ends = compute_wilson_interval(mean * num_photos, num_photos)
    low, high = _join_seeds(mean, ends, means)
    return Spread(mean, max(low, 0.0), min(high, 1.0))


def compare_pair(
    first: Answers, second: Answers, *, names: tuple[str, str] = ("first", "second")
) -> Comparison:
    """Which of two variants is right more often.

    The interval for other photos is Tango's (1998; see `intervals.compute_tango_interval`), of the
    photos' differences averaged over seeds. With several seeds it is joined, distances in squares,
    with that of Student's paired t over the seeds' differences, which asks how another seed would
    have come out: the verdict can only be had where the t-test has it too. Two seeds hardly know,
    and three must agree well. With one seed it knows of photos alone.

    The test flips the sign of each photo's difference, averaged over seeds (Fisher 1935, section
    21): if the variants were alike, either sign would be as likely. It asks about these trained
    models on other photos and does not know how another seed would have come out; hence the
    verdict needs the interval too. With one seed it is McNemar's exact test. Where a seed moves
    the accuracy by 2 points and there is no difference between the variants, p alone is below 0.05
    in up to half of simulated pairs, the more photos the more often, and the verdict is wrong in
    one of twenty at most (docs/guide/judging.md; the tests repeat it).

    Args:
        first: photos and seeds in any order.
        second: likewise.
        names: for the result.

    Returns:
        with `p_holm` as for a single pair; see `compare_all`.

    Raises:
        InputError: they share no photo or no seed.
    """
    ids = sorted(set(first.ids) & set(second.ids))
    seeds = sorted(set(first.seeds) & set(second.seeds))
    if not ids or not seeds:
        raise InputError(
            f"{names[0]} and {names[1]} share no {'seed' if ids else 'photo'}: nothing to compare"
        )
    differences = _select(first, seeds, ids) - _select(second, seeds, ids)
    ends, means = _measure_difference(differences), differences.mean(axis=1)
    low, high = _join_seeds(float(means.mean()), ends, means)
    p = sign_flip_p(differences.sum(axis=0).astype(np.int64))
    difference = float(differences.mean())
    found = Comparison(
        *names,
        difference,
        max(low, -1.0),
        min(high, 1.0),
        p,
        p,
        "cannot tell",
        num_photos=len(ids),
        num_seeds=len(seeds),
    )
    return _adjust(found, p)


def compare_all(variants: Mapping[str, Answers]) -> tuple[Comparison, ...]:
    """Every pair of variants that share photos and seeds, p-values adjusted by Holm (1979)."""
    found = [
        compare_pair(variants[one], variants[other], names=(one, other))
        for one, other in itertools.combinations(variants, 2)
        if set(variants[one].ids) & set(variants[other].ids)
        and set(variants[one].seeds) & set(variants[other].seeds)
    ]
    adjusted = adjust_holm([pair.p for pair in found])
    return tuple(_adjust(pair, p) for pair, p in zip(found, adjusted, strict=True))


def sign_flip_p(differences: NDArray[np.int64]) -> float:
    """Two-sided p-value of the sum of differences under flips of their signs.

    All flips are counted, however many photos there are: differences are small whole numbers, so
    the sum of those of one size is binomial, and sizes are put together by convolution.

    Args:
        differences: [N] per photo, how many more seeds the first variant answers right.

    Returns:
        the share of flips whose sum is as far from 0 or farther.
    """
    sizes, counts = np.unique(np.abs(differences[differences != 0]), return_counts=True)
    chances = np.ones(1)
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        wider = np.zeros(len(chances) + 2 * size * count)
        shares = np.exp(count_ways(count, np.arange(count + 1)) - count * math.log(2))
        for place in np.flatnonzero(shares > _NEGLIGIBLE).tolist():
            begin = 2 * size * place
            wider[begin : begin + len(chances)] += shares[place] * chances
        chances = wider
    reach = len(chances) // 2
    is_far = np.abs(np.arange(-reach, reach + 1)) >= abs(int(differences.sum()))
    return min(1.0, float(chances[is_far].sum()))


def count_ways(num_all: int, num_chosen: NDArray[np.int64]) -> _Numbers:
    """The logarithms of how many ways there are to choose so many of all."""
    ways = betaln(num_all - num_chosen + 1, num_chosen + 1) + math.log1p(num_all)
    return np.asarray(-ways, np.float64)


def adjust_holm(values: Sequence[float]) -> tuple[float, ...]:
    """p-values adjusted by Holm's step-down method (1979), in the order given."""
    order = sorted(range(len(values)), key=lambda at: values[at])
    adjusted = [0.0] * len(values)
    highest = 0.0
    for rank, at in enumerate(order):
        highest = max(highest, min(1.0, (len(values) - rank) * values[at]))
        adjusted[at] = highest
    return tuple(adjusted)


def _adjust(pair: Comparison, p: float) -> Comparison:
    verdict: Verdict = "cannot tell"
    if p < _SIGNIFICANCE and pair.low > 0:
        verdict = "better"
    elif p < _SIGNIFICANCE and pair.high < 0:
        verdict = "worse"
    return replace(pair, p_holm=p, verdict=verdict)


def _select(answers: Answers, seeds: Sequence[int], ids: Sequence[str]) -> _Numbers:
    """[S, N] 0 or 1, rows and columns as asked for."""
    row = {seed: at for at, seed in enumerate(answers.seeds)}
    column = {id_: at for at, id_ in enumerate(answers.ids)}
    rows, columns = [row[seed] for seed in seeds], [column[id_] for id_ in ids]
    return answers.is_right[np.ix_(rows, columns)].astype(np.float64)


def _join_seeds(value: float, ends: tuple[float, float], means: _Numbers) -> tuple[float, float]:
    """An interval for other photos, widened for other seeds, [S] means of which gave its value."""
    num_seeds = len(means)
    if num_seeds == 1:
        return ends
    tail = float(stdtrit(num_seeds - 1, (1 + CONFIDENCE) / 2))
    reach = tail * float(means.std(ddof=1)) / math.sqrt(num_seeds)
    low, high = (math.hypot(end - value, reach) for end in ends)
    return value - low, value + high


def _measure_difference(differences: _Numbers) -> tuple[float, float]:
    """The 95 % interval of the mean of [S, N] differences of right answers, for other photos."""
    by_photo = differences.mean(axis=0)
    first, second = by_photo.clip(0).sum(), -by_photo.clip(max=0).sum()
    # With several seeds most photos differ by less than one: in so many of what step do they?
    step = (np.square(by_photo).sum() + 1) / (first + second + 1)
    ends = compute_tango_interval(first / step, second / step, len(by_photo))
    return float(step * ends[0]), float(step * ends[1])
