"""How often 95 % intervals hold the truth, and how often verdicts come of chance: simulations.

    python benchmarks/coverage.py metrics

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

from lotlens.answering.answers import probabilities
from lotlens.judge.metrics import (
    ACCURACY,
    BALANCED,
    BRIER,
    CALIBRATION_ERROR,
    LOG_LOSS,
    MACRO_F1,
    compute_balanced_accuracy,
    compute_calibration_error,
    compute_macro_f1,
    evaluate,
)
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
    """A row for each number of photos, of classes and accuracy."""
    print("| photos | classes | accuracy | " + " | ".join(FIGURES) + " |")
    print("|" + "---|" * (3 + len(FIGURES)))
    for sharpness in (1.0, 2.0):
        for num_photos in PHOTOS:
            for num_classes in CLASSES:
                for accuracy in ACCURACIES:
                    if accuracy <= 1 / num_classes:
                        continue
                    found = cover_metrics(num_photos, num_classes, accuracy, sharpness=sharpness)
                    shares = " | ".join(f"{found[name]:.2f}" for name in FIGURES)
                    told = f"| {num_photos:,} | {num_classes} | {accuracy:g} | {shares} |"
                    print(told, flush=True)


TABLES: dict[str, Callable[[], None]] = {"metrics": tell_metrics}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", choices=TABLES)
    TABLES[parser.parse_args().table]()


if __name__ == "__main__":
    main()
