"""Whether a newly trained model takes the place of the present one; it knows answers alone.

Both have answered the same photos, which neither has learnt.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from lotlens.answering.temperature import calibrated_losses
from lotlens.intervals import compute_tango_interval, measure_share
from lotlens.judge.compare import Comparison, ModelComparison, compare_models, conclude
from lotlens.judge.gain import Gain, describe_gain, measure_gain
from lotlens.records import Metric, Predictions
from lotlens.texts import describe

Rule = Literal["better", "failing", "others"]
RULES: tuple[Rule, ...] = get_args(Rule)

LIMIT = 0.025
"""One-sided p below which either test shows a candidate to be better; of no use, 5 % pass."""
MARGIN = 0.02
"""By how much a candidate may be worse on all photos, for the rules "failing" and "others"."""


@dataclass(frozen=True)
class OtherCars:
    """How often two models give one name to the same photos of cars that neither was taught.

    Attributes:
        before: share of the photos that the present model names.
        after: that the candidate names.
        low, high: 95 % interval of the share less (Tango 1998).
    """

    before: Metric
    after: Metric
    low: float
    high: float

    def __repr__(self) -> str:
        return describe("OtherCars", f"named before {self.before!r}, after {self.after!r}")

    @property
    def is_better(self) -> bool:
        return self.low > 0


def compare_other_cars(candidate: NDArray[np.bool_], present: NDArray[np.bool_]) -> OtherCars:
    """Compare which photos of other cars get one name, [N] each, N > 0."""
    num_photos = len(candidate)
    low, high = compute_tango_interval(
        int((present & ~candidate).sum()), int((candidate & ~present).sum()), num_photos
    )
    before, after = (
        measure_share("other cars given one name", int(named.sum()), num_photos)
        for named in (present, candidate)
    )
    return OtherCars(before, after, low, high)


@dataclass(frozen=True)
class Judgement:
    """What came of comparing a candidate with the present model.

    Attributes:
        accepted: whether the candidate takes its place.
        rule: by which it was judged.
        comparison: right answers of the candidate ("first") and of the present model.
        gain: calibrated log loss of the same answers.
        failing: labels of the failing classes that were looked at.
        failing_gain: the same on their photos; None if there are fewer than two.
        num_judged: candidates that were judged on these photos so far, this one included.
        sentence: why, for people.
        other_cars: how often each names cars that it was not taught; None where none were asked.
    """

    accepted: bool
    rule: Rule
    comparison: ModelComparison
    gain: Gain
    failing: tuple[str, ...]
    failing_gain: Gain | None
    num_judged: int
    sentence: str
    other_cars: OtherCars | None = None

    def __repr__(self) -> str:
        return describe("accepted" if self.accepted else "rejected", self.sentence)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        found = self.comparison
        return {
            "accepted": self.accepted,
            "rule": self.rule,
            "sentence": self.sentence,
            "photos": found.pair.num_photos,
            "accuracy": found.first,
            "accuracy_before": found.second,
            "difference": found.pair.difference,
            "low": found.pair.low,
            "high": found.pair.high,
            "p": found.pair.p,
            "only_candidate": found.only_first,
            "only_present": found.only_second,
            "log_loss_gain": asdict(self.gain),
            "other_cars": self.other_cars and asdict(self.other_cars),
            "failing": list(self.failing),
            "failing_log_loss_gain": self.failing_gain and asdict(self.failing_gain),
            "candidates_judged": self.num_judged,
            "classes": [
                {"label": one.car.label, "recall": one.first, "recall_before": one.second}
                for one in found.classes
                if one.pair is not None
            ],
        }


def judge_candidate(
    candidate: Predictions,
    present: Predictions,
    targets: NDArray[np.int64],
    *,
    failing: Collection[str] | None = None,
    rule: Rule = "better",
    num_judged: int = 1,
    other_cars: OtherCars | None = None,
) -> Judgement:
    """Whether a candidate is accepted.

    By the rule "better" it must be right more often (exact McNemar test, two-sided p below 0.05),
    or at least as often and surer of the truth (its calibrated log loss is lower, paired t-test
    over photos, one-sided p below 0.025). Each way lets through one in forty candidates that are
    no better, so both together one in twenty at most.

    By the rule "failing" it must not be worse on all photos (Tango's 95 % interval of the
    difference in accuracy ends above -2 points, which takes 189 photos at least) and must be
    better, in either way, on the photos of the failing classes. Where these were chosen by what
    the present model got wrong on these very photos, chance would help any candidate that errs
    elsewhere: simulated, 4 to 7 % of useless ones pass with ten classes, 15 to 30 % with fifty
    (docs/guide/judging.md). So they are chosen on other photos, or by the errors of both models
    together, which favour neither.

    By the rule "others" it must give fewer other cars one name (Tango's interval), and be no worse
    on the photos of its classes as far as they show: not significantly, and by 2 points at most.

    Args:
        candidate: its answers.
        present: the present model's, to the same photos in the same order, classes likewise.
        targets: [N] truth; photos with -1 are left out.
        failing: labels of the classes that are to become better, chosen on other photos; None for
            those that `pick_failing` finds here.
        rule: see above.
        num_judged: candidates that were judged on these photos so far, this one included.
        other_cars: which of the two names cars that neither was taught.

    Raises:
        InputError: no photo has a label.
    """
    comparison = compare_models(candidate, present, targets, names=("the candidate", "the present"))
    usable = (targets >= 0) & candidate.answered & present.answered
    gain = _measure(candidate, present, targets, usable)
    labels = [car.label for car in candidate.classes]
    if failing is None:
        wrong = count_wrong(present, targets) + count_wrong(candidate, targets)
        failing = pick_failing(wrong)
    wanted = np.array([label in failing for label in labels])
    is_failing = (targets >= 0) & wanted[np.maximum(targets, 0)]
    own, helped = None, False
    if (is_failing & usable).sum() >= 2:
        own = _measure(candidate, present, targets, is_failing & usable)
        pair = compare_models(candidate, present, np.where(is_failing, targets, -1)).pair
        helped = _is_better(pair, own)
    is_better = _is_better(comparison.pair, gain)
    if rule == "better":
        accepted = is_better
        said = conclude(comparison)
        sentence = f"{'accepted' if accepted else 'rejected'}: {said}; {describe_gain(gain)}"
    elif rule == "others":
        is_no_worse = comparison.pair.verdict != "worse" and comparison.pair.difference >= -MARGIN
        accepted = is_no_worse and other_cars is not None and other_cars.is_better
        sentence = (
            f"{'accepted' if accepted else 'rejected'}: on known cars"
            f" {'not worse' if is_no_worse else 'worse'}, {conclude(comparison)};"
            f" {_describe_other_cars(other_cars)}"
        )
    else:
        is_no_worse = comparison.pair.low > -MARGIN
        accepted = is_no_worse and helped
        sentence = (
            f"{'accepted' if accepted else 'rejected'}: over all photos"
            f" {'not worse' if is_no_worse else 'it may be worse'} (difference"
            f" {100 * comparison.pair.low:.1f} to {100 * comparison.pair.high:.1f} points,"
            f" {-100 * MARGIN:.0f} allowed); on failing classes"
            f" {describe_gain(own) if own is not None else 'there are too few photos to tell'}"
        )
    if num_judged > 1:
        sentence += f"; {_count_on(num_judged)}"
    looked_at = tuple(sorted(failing))
    return Judgement(
        accepted, rule, comparison, gain, looked_at, own, num_judged, sentence, other_cars
    )


def _describe_other_cars(found: OtherCars | None) -> str:
    if found is None:
        return "no other car was asked about"
    return (
        f"of {found.after.count:,} other cars {100 * found.after.value:.1f} % get one name, before"
        f" {100 * found.before.value:.1f} % (fewer by {100 * found.low:.1f} to"
        f" {100 * found.high:.1f} points)"
    )


def count_wrong(predictions: Predictions, targets: NDArray[np.int64]) -> Counter[str]:
    """Label -> answered photos of the class that were taken for another."""
    is_wrong = (
        predictions.answered & (targets >= 0) & (predictions.logits.argmax(axis=1) != targets)
    )
    return Counter(predictions.classes[target].label for target in targets[is_wrong].tolist())


def pick_failing(wrong: Mapping[str, int]) -> tuple[str, ...]:
    """The labels of the classes with the most errors that hold half of all.

    Args:
        wrong: label -> errors.
    """
    failing: list[str] = []
    held, total = 0, sum(wrong.values())
    for label in sorted(wrong, key=lambda label: (-wrong[label], label)):
        if 2 * held >= total:
            break
        failing.append(label)
        held += wrong[label]
    return tuple(sorted(failing))


def count_chance(num_judged: int) -> float:
    """How often one of so many useless candidates passes at most."""
    return float(1 - (1 - 2 * LIMIT) ** num_judged)


def _count_on(num_judged: int) -> str:
    return (
        f"candidate number {num_judged} on these photos: of so many that are no better one passes"
        f" with a chance of up to {100 * count_chance(num_judged):.0f} %"
    )


def _is_better(pair: Comparison, gain: Gain) -> bool:
    """Whether a candidate is right more often, or as often and surer.

    The pair counts photos without an answer as wrong, which the gain leaves out.
    """
    return pair.verdict == "better" or (pair.difference >= 0 and gain.is_enough(LIMIT))


def _measure(
    candidate: Predictions,
    present: Predictions,
    targets: NDArray[np.int64],
    rows: NDArray[np.bool_],
) -> Gain:
    truth = targets[rows]
    before, after = (own.logits[rows] for own in (present, candidate))
    return measure_gain(
        calibrated_losses(before, truth),
        calibrated_losses(after, truth),
        before.argmax(axis=1) == truth,
        after.argmax(axis=1) == truth,
    )
