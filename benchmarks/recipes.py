"""Scores the runs of a sweep on photos that none of them has seen, and prints the docs' table.

    lotlens sweep DATA --vary recipe=quick,standard,reference --seeds 3 --out SWEEP
    python benchmarks/recipes.py SWEEP --labels DATA/test-labels.csv --photos DATA/test.zip

Answers are kept in SWEEP/test, so that a sweep with more runs answers only for those. Nothing is
to be chosen by these figures. Minutes are of the whole training, as it went ("wall"), and CPU
minutes of all threads by two: what an idle machine of two cores would need at least.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from pathlib import Path

import numpy as np

import lotlens
from lotlens.judge.compare import Answers, compare_all, gather_answers, measure_spread
from lotlens.judge.metrics import align_targets
from lotlens.judge.predict import load_predictions, save_predictions
from lotlens.photos.sources import open_lot
from lotlens.run import RunFolder


def main() -> None:
    """Answer for the photos with every finished run, then print tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sweep", type=Path)
    parser.add_argument("--labels", type=Path, required=True)
    parser.add_argument("--photos", type=Path, required=True)
    options = parser.parse_args()
    with (options.sweep / "runs.csv").open(encoding="utf-8", newline="") as file:
        runs = [row for row in csv.DictReader(file) if row["status"] == "finished"]
    catalog = open_lot(options.labels, photos=options.photos).train
    by_variant: dict[str, dict[int, tuple]] = defaultdict(dict)
    minutes: dict[str, list[tuple[float, float]]] = defaultdict(list)
    validation: dict[str, list[float]] = defaultdict(list)
    (options.sweep / "test").mkdir(exist_ok=True)
    for row in runs:
        run = RunFolder(options.sweep / row["run"])
        path = options.sweep / "test" / f"{row['run']}.npz"
        if not path.is_file():
            evaluation = lotlens.evaluate(
                run.path,
                labels=options.labels,
                photos=options.photos,
                report=run.path / "test-report.html",
            )
            save_predictions(path, evaluation.predictions)
        predictions = load_predictions(path)
        targets = align_targets(predictions, catalog)
        # A photo without an answer counts as wrong.
        is_right = predictions.answered & (predictions.logits.argmax(axis=1) == targets)
        by_variant[row["variant"]][int(row["seed"])] = (predictions.ids, is_right)
        spent = run.read_timing()
        minutes[row["variant"]].append((spent["wall_s"] / 60, spent["cpu_s"] / 120))
        validation[row["variant"]].append(float(row["accuracy"]))
    answers: dict[str, Answers] = {
        variant: gather_answers(seeds) for variant, seeds in by_variant.items()
    }
    print(
        "| variant | seeds | validation | test, mean (95 % interval) | test, each seed"
        " | minutes wall | CPU minutes / 2 |\n|---|---|---|---|---|---|---|"
    )
    for variant, found in answers.items():
        spread = measure_spread(found)
        each = ", ".join(f"{value:.3f}" for value in found.is_right.mean(axis=1))
        wall, cpu = np.mean(minutes[variant], axis=0)
        print(
            f"| {variant} | {len(found.seeds)} | {np.mean(validation[variant]):.3f}"
            f" | {spread.mean:.3f} ({spread.low:.3f} to {spread.high:.3f}) | {each}"
            f" | {wall:.1f} | {cpu:.1f} |"
        )
    print("\n| pair | points on test (95 % interval) | p (Holm) | verdict |\n|---|---|---|---|")
    for pair in compare_all(answers):
        print(
            f"| {pair.first} less {pair.second} | {100 * pair.difference:+.1f}"
            f" ({100 * pair.low:+.1f} to {100 * pair.high:+.1f}) | {pair.p_holm:.2g}"
            f" | {pair.verdict} |"
        )


if __name__ == "__main__":
    main()
