"""How often 95 % intervals hold the truth, and how often verdicts come of chance: simulations.

    python benchmarks/coverage.py metrics | pairs | sweeps | gate | weak | choice | folds

Answers are drawn whose truth is known: normal logits, those of the true class raised until the
accuracy is what the row says, then multiplied, so that probabilities are about true (calibrated)
or too sure. Every drawn lot is judged as `lotlens evaluate` does it. Seeded, so that each table
comes out the same. Prints the tables of docs/guide/judging.md.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq
from scipy.special import log_softmax
from scipy.stats import binom

from lotlens.answering.answers import probabilities
from lotlens.answering.temperature import fit_temperature
from lotlens.improve.gate import count_wrong, judge_candidate, pick_failing
from lotlens.intervals import compute_tango_interval, measure_share
from lotlens.judge.compare import Answers, Comparison, compare_pair
from lotlens.judge.metrics import (
    ACCURACY,
    BALANCED,
    BRIER,
    CALIBRATION_ERROR,
    LOG_LOSS,
    MACRO_F1,
    ClassScore,
    compute_balanced_accuracy,
    compute_calibration_error,
    compute_macro_f1,
    evaluate,
)
from lotlens.judge.weak import find_weak_classes
from lotlens.records import OK, CarClass, Predictions

PHOTOS = (20, 130, 374, 2000)
CLASSES = (2, 10, 60)
ACCURACIES = (0.5, 0.8, 0.9, 0.97, 0.99, 1.0)
FIGURES = (ACCURACY, MACRO_F1, BALANCED, LOG_LOSS, BRIER, CALIBRATION_ERROR)
_MANY = 200_000


def find_skill(num_classes: int, accuracy: float) -> float:
    """By how much the true class's logit is raised for this accuracy, others being normal."""
    logits = np.random.default_rng(0).normal(size=(40_000, num_classes))
    lead = logits[:, 1:].max(axis=1) - logits[:, 0]

    def miss(skill: float) -> float:
        return float((lead < skill).mean()) - accuracy

    return 12.0 if accuracy == 1 else float(brentq(miss, -1, 12))


def draw_answers(
    rng: np.random.Generator, num_photos: int, num_classes: int, skill: float, sharpness: float
) -> tuple[Predictions, NDArray[np.int64]]:
    """Answers and the truth; with a sharpness of 1 probabilities are true."""
    truth = rng.integers(num_classes, size=num_photos)
    logits = rng.normal(size=(num_photos, num_classes))
    logits[np.arange(num_photos), truth] += skill
    # For normal logits of variance 1 the log odds of two classes are skill times their difference.
    logits *= skill * sharpness
    classes = tuple(CarClass(str(k), str(k)) for k in range(num_classes))
    ids = tuple(map(str, range(num_photos)))
    status = (OK,) * num_photos
    return Predictions(ids, logits.astype(np.float32), None, status, classes), truth


def measure_truth(predictions: Predictions, truth: NDArray[np.int64]) -> dict[str, float]:
    """What the figures of very many photos are."""
    chances = probabilities(predictions, 1.0).astype(np.float64)
    answers, num_classes = chances.argmax(axis=1), chances.shape[1]
    own = chances[np.arange(len(truth)), truth]
    is_right = answers == truth
    return {
        ACCURACY: float(is_right.mean()),
        MACRO_F1: compute_macro_f1(answers, truth, num_classes),
        BALANCED: compute_balanced_accuracy(answers, truth, num_classes),
        LOG_LOSS: float(-np.log(np.maximum(own, 1e-300)).mean()),
        BRIER: float((np.square(chances).sum(axis=1) - 2 * own + 1).mean()),
        CALIBRATION_ERROR: compute_calibration_error(chances.max(axis=1), is_right),
    }


def cover_metrics(
    num_photos: int,
    num_classes: int,
    accuracy: float,
    *,
    sharpness: float = 1.0,
    num_rounds: int = 200,
    seed: int = 0,
) -> dict[str, float]:
    """The share of drawn lots whose interval holds the truth, by figure."""
    skill = find_skill(num_classes, accuracy)
    rng = np.random.default_rng([seed, num_photos, num_classes, round(1000 * accuracy)])
    true = measure_truth(*draw_answers(rng, _MANY, num_classes, skill, sharpness))
    held: Counter[str] = Counter()
    for number in range(num_rounds):
        drawn = draw_answers(rng, num_photos, num_classes, skill, sharpness)
        for metric in evaluate(*drawn, seed=number):
            if metric.name in true:
                held[metric.name] += metric.low <= true[metric.name] <= metric.high
    return {name: held[name] / num_rounds for name in true}


def tell_metrics() -> None:
    """A row for each number of photos and accuracy; in each cell 2, 10 and 60 classes."""
    for sharpness, words in ((1.0, "true"), (2.0, "twice too sure")):
        print(f"\nProbabilities {words}; meant is 0.95 everywhere:\n")
        print("| photos | accuracy | " + " | ".join(FIGURES) + " |")
        print("|" + "---|" * (2 + len(FIGURES)))
        for num_photos in PHOTOS:
            for accuracy in ACCURACIES:
                found = [
                    cover_metrics(
                        num_photos,
                        num_classes,
                        accuracy,
                        sharpness=sharpness,
                        num_rounds=100 if num_photos == max(PHOTOS) else 200,
                    )
                    for num_classes in CLASSES
                    if accuracy > 1 / num_classes
                ]
                cells = (" ".join(f"{one[name]:.2f}" for one in found) for name in FIGURES)
                print(f"| {num_photos:,} | {accuracy:g} | {' | '.join(cells)} |", flush=True)


def pair_answers(
    rng: np.random.Generator, shift: float, num_photos: int, num_seeds: int, luck: float
) -> Comparison:
    """Two variants on photos of unequal difficulty; the second is worse by `shift`.

    `luck` is by how much a seed moves the accuracy of all photos (standard deviation).
    """
    ease = rng.beta(0.6, 0.06, num_photos)
    found = []
    for less in (0.0, shift):
        chances = ease - less + rng.normal(0, luck, (num_seeds, 1))
        is_right = rng.random((num_seeds, num_photos)) < np.clip(chances, 0, 1)
        found.append(Answers(tuple(range(num_seeds)), tuple(map(str, range(num_photos))), is_right))
    return compare_pair(*found)


def tell_sweeps() -> None:
    """How often variants that do not differ are told apart, and such as differ by five points."""
    print(
        "| seeds | photos | a seed moves accuracy by | interval holds 0 | p below 0.05 alone",
        end="",
    )
    print(" | verdict, no difference | verdict, 5 points |\n|" + "---|" * 7)
    for num_seeds in (1, 2, 3, 5):
        for num_photos in (130, 374, 957, 2000):
            for luck in (0.0, 0.02) if num_seeds > 1 else (0.0,):
                rng = np.random.default_rng([num_seeds, num_photos])
                alike = [pair_answers(rng, 0.0, num_photos, num_seeds, luck) for _ in range(400)]
                unlike = [pair_answers(rng, 0.05, num_photos, num_seeds, luck) for _ in range(200)]
                shares = (
                    np.mean([one.low <= 0 <= one.high for one in alike]),
                    np.mean([one.p < 0.05 for one in alike]),
                    np.mean([one.verdict != "cannot tell" for one in alike]),
                    np.mean([one.verdict == "better" for one in unlike]),
                )
                cells = " | ".join(f"{share:.2f}" for share in shares)
                points = f"{100 * luck:g} points"
                print(f"| {num_seeds} | {num_photos:,} | {points} | {cells} |", flush=True)


def tell_pairs() -> None:
    """What Tango's interval covers, and how often 2 points worse pass for no worse: exact."""
    print("| photos | only first right | only second right | covers | ends above -2 points |")
    print("|" + "---|" * 5)
    for num_photos in (20, 60, 130, 374):
        for only_first, only_second in ((0.01, 0.01), (0.005, 0.025), (0.1, 0.1), (0.04, 0.06)):
            covered = passed = 0.0
            apart = only_first + only_second
            for count in range(num_photos + 1):
                chance = binom.pmf(count, num_photos, apart)
                if chance < 1e-7:
                    continue
                shares = chance * binom.pmf(np.arange(count + 1), count, only_first / apart)
                for first in np.flatnonzero(shares > 1e-7).tolist():
                    low, high = compute_tango_interval(first, count - first, num_photos)
                    covered += shares[first] * (low <= only_first - only_second <= high)
                    passed += shares[first] * (low > -0.02)
            told = f"{passed:.3f}" if only_second - only_first > 0.0199 else ""
            print(f"| {num_photos} | {only_first:g} | {only_second:g} | {covered:.2f} | {told} |")


def tell_gate() -> None:
    """How often useless candidates pass; they and the present model are exchangeable."""
    print("| rule | classes | photos | failing classes chosen by | useless candidates that pass |")
    print("|" + "---|" * 5)
    for num_classes, num_photos in ((10, 374), (10, 957), (50, 957), (50, 2000)):
        rng = np.random.default_rng([num_classes, num_photos])
        passed: Counter[str] = Counter()
        num_rounds = 300
        for _ in range(num_rounds):
            candidate, present, truth = draw_useless(rng, num_classes, num_photos)
            passed["better"] += judge_candidate(candidate, present, truth).accepted
            chosen = pick_failing(count_wrong(present, truth))
            for name, failing in (("both models' errors", None), ("the present's errors", chosen)):
                judged = judge_candidate(candidate, present, truth, failing=failing, rule="failing")
                passed[name] += judged.accepted
        for name, count in passed.items():
            rule, by = ("better", "") if name == "better" else ("failing", name)
            share = count / num_rounds
            told = f"| {rule} | {num_classes} | {num_photos:,} | {by} | {share:.3f} |"
            print(told, flush=True)


def draw_useless(
    rng: np.random.Generator, num_classes: int, num_photos: int
) -> tuple[Predictions, Predictions, NDArray[np.int64]]:
    """Two models that are exchangeable, with much in common, and the truth."""
    truth = rng.integers(num_classes, size=num_photos)
    shared = rng.normal(size=(num_photos, num_classes))
    shared[np.arange(num_photos), truth] += find_skill(num_classes, 0.85)
    classes = tuple(CarClass(str(k), str(k)) for k in range(num_classes))
    ids, status = tuple(map(str, range(num_photos))), (OK,) * num_photos
    models = []
    for _ in range(2):
        logits = 2 * (shared + 0.6 * rng.normal(size=shared.shape))
        models.append(Predictions(ids, logits.astype(np.float32), None, status, classes))
    return models[0], models[1], truth


def tell_weak() -> None:
    """How often some class of equal ones is called weak, and a weak one is found."""
    print("| classes | photos | some class named, all at 0.9 | one at 0.6 is named |")
    print("|" + "---|" * 4)
    for num_classes in CLASSES:
        for num_photos in PHOTOS:
            rng = np.random.default_rng([num_classes, num_photos])
            named, found, num_rounds = 0, 0, 400
            for _ in range(num_rounds):
                truth = rng.integers(num_classes, size=num_photos)
                draws = rng.random(num_photos)
                named += any(_find_weak(truth, draws < 0.9, num_classes))
                found += _find_weak(truth, draws < np.where(truth, 0.9, 0.6), num_classes)[0]
            shares = f"{named / num_rounds:.3f} | {found / num_rounds:.2f}"
            print(f"| {num_classes} | {num_photos:,} | {shares} |", flush=True)


def _find_weak(
    truth: NDArray[np.int64], is_right: NDArray[np.bool_], num_classes: int
) -> tuple[bool, ...]:
    num = np.bincount(truth, minlength=num_classes).tolist()
    right = np.bincount(truth[is_right], minlength=num_classes).tolist()
    return find_weak_classes(
        [
            ClassScore(
                CarClass(str(k), str(k)),
                num[k],
                num[k],
                measure_share("recall", right[k], num[k]) if num[k] else None,
                None,
                None,
            )
            for k in range(num_classes)
        ]
    )


def flatter(
    num_candidates: int,
    num_photos: int,
    accuracy: float,
    *,
    own: float = 0.3,
    num_rounds: int = 200,
    seed: int = 0,
) -> tuple[float, float]:
    """By how much the accuracy of the best of equally good candidates flatters, in points.

    The best is that of the lowest log loss. `own` is how much of the noise is a candidate's own.

    Returns:
        it, and the share of photos that only one of two candidates answers rightly.
    """
    num_classes = 10
    skill = find_skill(num_classes, accuracy)
    rng = np.random.default_rng([seed, num_candidates, num_photos])
    gains, apart = [], []
    for _ in range(num_rounds):
        truth = rng.integers(num_classes, size=num_photos)
        shared = rng.normal(size=(num_photos, num_classes))
        noise = rng.normal(size=(num_candidates, *shared.shape))
        logits = (1 - own**2) ** 0.5 * shared + own * noise
        logits[:, np.arange(num_photos), truth] += skill
        is_right = logits.argmax(axis=2) == truth
        chances = log_softmax(skill * logits, axis=2)[:, np.arange(num_photos), truth]
        gains.append(is_right[chances.mean(axis=1).argmax()].mean() - is_right.mean())
        apart.append((is_right[0] != is_right[-1]).mean())
    return 100 * float(np.mean(gains)), float(np.mean(apart))


def tell_choice() -> None:
    """By how much the best of many candidates flatters."""
    print("| candidates | photos | accuracy 0.8 | 0.93 |\n|" + "---|" * 4)
    for num_candidates in (2, 6, 20):
        for num_photos in (130, 374, 2000):
            found = [flatter(num_candidates, num_photos, accuracy) for accuracy in (0.8, 0.93)]
            cells = " | ".join(f"{points:.1f} points ({apart:.2f})" for points, apart in found)
            print(f"| {num_candidates} | {num_photos:,} | {cells} |", flush=True)


def state_together(
    num_photos: int, accuracy: float, *, own: float = 0.6, num_members: int = 5, seed: int = 0
) -> tuple[float, float]:
    """What folds state of new photos less what is right, of a single member and of all together.

    The temperature is fitted to answers out of fold: each photo is answered by one member. `own`
    is how much of the noise is a member's own.
    """
    num_classes, many = 10, 20_000
    skill = find_skill(num_classes, accuracy)
    rng = np.random.default_rng([seed, num_photos])

    def draw(num: int, num_answers: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        truth = rng.integers(num_classes, size=num)
        shared = rng.normal(size=(num, num_classes))
        logits = own * rng.normal(size=(num_answers, *shared.shape))
        logits += (1 - own**2) ** 0.5 * shared
        logits[:, np.arange(num), truth] += skill
        return log_softmax(2 * skill * logits, axis=2), truth

    held_out, known = draw(num_photos, 1)
    temperature = fit_temperature(held_out[0], known)
    answers, truth = draw(many, num_members)
    gaps = []
    for logits in (answers[0], answers.mean(axis=0)):
        chances = np.exp(log_softmax(logits / temperature, axis=1))
        gaps.append(float(chances.max(axis=1).mean() - (logits.argmax(axis=1) == truth).mean()))
    return gaps[0], gaps[1]


def tell_folds() -> None:
    """Stated less actual, of members and of all five together."""
    print("| photos | accuracy of a member | one member | all five |\n|" + "---|" * 4)
    for num_photos in (130, 500, 2000):
        for accuracy in (0.8, 0.93):
            found = [state_together(num_photos, accuracy, seed=seed) for seed in range(10)]
            cells = " | ".join(f"{value:+.3f}" for value in np.mean(found, axis=0))
            print(f"| {num_photos:,} | {accuracy:g} | {cells} |", flush=True)


TABLES: dict[str, Callable[[], None]] = {
    "metrics": tell_metrics,
    "pairs": tell_pairs,
    "sweeps": tell_sweeps,
    "gate": tell_gate,
    "weak": tell_weak,
    "choice": tell_choice,
    "folds": tell_folds,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", choices=TABLES)
    TABLES[parser.parse_args().table]()


if __name__ == "__main__":
    main()
