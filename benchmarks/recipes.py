"""Scores the runs of a sweep on photos that none of them has seen, and prints the docs' tables.

    lotlens sweep DATA --vary recipe=quick,standard,best,reference --seeds 3 --out SWEEP
    python benchmarks/recipes.py SWEEP --labels DATA/test-labels.csv --photos DATA/test.zip

Scores go into recipes.csv beside this file (or into --results), one row a run, with its right and
wrong answers as a hexadecimal number of one bit a photo (photos sorted by id); runs that are there
already are not scored again, so that the table can grow over several sessions. Without SWEEP it
prints the tables of that file. Nothing is to be chosen by these figures.

Minutes are of the whole training: as it went ("wall"), and CPU time by two, which is what two cores
without other work would need at least.
"""

from __future__ import annotations

import argparse
import csv
from collections import defaultdict
from pathlib import Path

import numpy as np
from results import read_answers, read_rows

import lotlens
from lotlens.files import write_rows_atomically
from lotlens.judge.compare import Answers, compare_all, measure_spread
from lotlens.judge.metrics import align_targets
from lotlens.photos.sources import open_lot
from lotlens.run import RunFolder

RESULTS = Path(__file__).with_suffix(".csv")
COLUMNS = ("recipe", "seed", "validation", "test", "photos", "wall_s", "cpu_s", "right")


def score_run(run: RunFolder, labels: Path, photos: Path) -> tuple[float, int, str]:
    """Share of right answers, number of photos, and the answers as a hexadecimal number."""
    evaluation = lotlens.evaluate(
        run.path, labels=labels, photos=photos, report=run.path / "test-report.html"
    )
    predictions = evaluation.predictions
    targets = align_targets(predictions, open_lot(labels, photos=photos).train)
    # A photo without an answer counts as wrong.
    is_right = predictions.answered & (predictions.logits.argmax(axis=1) == targets)
    by_id = dict(zip(predictions.ids, is_right.tolist(), strict=True))
    bits = "".join("01"[by_id[id_]] for id_ in sorted(by_id))
    return float(is_right.mean()), len(bits), f"{int(bits, 2):x}"


def score_sweep(sweep: Path, labels: Path, photos: Path, results: Path) -> None:
    """Add the sweep's finished runs that are not there yet to the results."""
    rows = read_rows(results)
    done = {(row["recipe"], row["seed"]) for row in rows}
    with (sweep / "runs.csv").open(encoding="utf-8", newline="") as file:
        runs = [row for row in csv.DictReader(file) if row["status"] == "finished"]
    for row in runs:
        if (row["recipe"], row["seed"]) in done:
            continue
        run = RunFolder(sweep / row["run"])
        spent = run.read_timing()
        share, num_photos, right = score_run(run, labels, photos)
        values = (row["recipe"], row["seed"], row["accuracy"], f"{share:.4f}", num_photos)
        times = (f"{spent['wall_s']:.0f}", f"{spent['cpu_s']:.0f}")
        rows.append(dict(zip(COLUMNS, (*values, *times, right), strict=True)))
        write_rows_atomically(results, COLUMNS, [[each[c] for c in COLUMNS] for each in rows])


def print_tables(results: Path) -> None:
    """The recipes, then every pair of them on the seeds that both have."""
    by_recipe: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in read_rows(results):
        by_recipe[row["recipe"]].append(row)
    answers: dict[str, Answers] = {}
    print(
        "| recipe | seeds | validation | test, mean (95 % interval) | test, each seed"
        " | minutes | CPU minutes / 2 |\n|---|---|---|---|---|---|---|"
    )
    for recipe, rows in by_recipe.items():
        answers[recipe] = read_answers(rows)
        spread = measure_spread(answers[recipe])
        each = ", ".join(f"{float(row['test']):.3f}" for row in rows)
        validation = np.mean([float(row["validation"]) for row in rows])
        wall = np.mean([float(row["wall_s"]) for row in rows]) / 60
        cpu = np.mean([float(row["cpu_s"]) for row in rows]) / 120
        print(
            f"| `{recipe}` | {len(rows)} | {validation:.3f}"
            f" | {spread.mean:.3f} ({spread.low:.3f} to {spread.high:.3f}) | {each}"
            f" | {wall:.1f} | {cpu:.1f} |"
        )
    print(
        "\n| pair | seeds | points on test (95 % interval) | p (Holm) | verdict |"
        "\n|---|---|---|---|---|"
    )
    for pair in compare_all(answers):
        print(
            f"| `{pair.first}` less `{pair.second}` | {pair.num_seeds}"
            f" | {100 * pair.difference:+.1f} ({100 * pair.low:+.1f} to {100 * pair.high:+.1f})"
            f" | {pair.p_holm:.2g} | {pair.verdict} |"
        )


def main() -> None:
    """Score, if there is something to score, then print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sweep", type=Path, nargs="?")
    parser.add_argument("--labels", type=Path)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    if options.sweep is not None:
        if options.labels is None or options.photos is None:
            parser.error("a sweep needs --labels and --photos")
        score_sweep(options.sweep, options.labels, options.photos, options.results)
    print_tables(options.results)


if __name__ == "__main__":
    main()
