"""Measures what an outside set of cars is worth: training from a run of it, and from ImageNet.

    python benchmarks/transfer.py DATA --seed 0 1 2 --out RUNS

DATA is a folder with train.csv, train.zip, test.zip, test-labels.csv and classes.csv of many
classes, such as Stanford Cars. Twenty of them, drawn once, are left out of the outside set: a run
of the recipe `standard` learns the others' training half. Then the twenty are learnt from so many
photos a class, frozen (`quick`) and fine-tuned (`standard`), each from ImageNet and from that run,
and judged on their test half. Seeds draw the photos, the split and the training; the run that is
started from is the same for all.

--others OTHER names lots of the same form from another source, of models that DATA does not have:
they are learnt from both starts too, and judged on their own test photos.

Rows go into transfer.csv beside this file; what is there already is not measured again. Without
DATA it prints the table of that file. Nothing is to be chosen by these figures.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from others import lay_lot, open_test
from results import read_rows

import lotlens
from lotlens.files import write_rows_atomically
from lotlens.judge.compare import Spread, compare_pair, gather_answers, measure_spread
from lotlens.photos.sources import open_lot
from lotlens.records import Catalog

RESULTS = Path(__file__).with_suffix(".csv")
NUM_LEFT_OUT = 20
EACH = ("10", "30", "all")
STARTS = ("ImageNet", "outside set")
RECIPES = ("quick", "standard")
COLUMNS = (
    "recipe",
    "lot",
    "seed",
    "start",
    "photos",
    "right",
)  # right: 1 or 0 for each test photo


def train_source(data: Path, classes: dict[str, str], labels: list[str], out: Path) -> Path:
    """The run of the outside set; it goes on where it was."""
    run = out / "outside"
    if not (run / "card.json").exists():
        lot = lay_lot(data, labels, classes, out / "outside-lot")
        lotlens.train(lot, "standard", out=run, resume=run.exists(), watch=say)
    return run


def say(what: str, done: int, total: int) -> None:
    if done == total:
        print(f"    {what}", flush=True)


def answer(
    own: Path, recipe: str, seed: int, start: Path | None, run: Path, test: Catalog
) -> NDArray[np.bool_]:
    """Train, and say of each test photo whether it is named rightly."""
    overrides = [f"seed={seed}"] + ([] if start is None else [f"backbone=run:{start}"])
    if not (run / "card.json").exists():
        lotlens.train(own, recipe, overrides=overrides, out=run, resume=run.exists())
    found = lotlens.load(run).answer(test)
    best = [found.classes[k].label for k in found.logits.argmax(axis=1)]
    return np.array([b == one.label for b, one in zip(best, test.photos, strict=True)])


def measure(data: Path, recipes: list[str], each: list[str], seeds: list[int], out: Path) -> Path:
    """Add what is not there yet to the rows; the run of the outside set."""
    lot = open_lot(data)
    classes = {car.label: car.name for car in lot.train.classes}
    labels = np.random.default_rng(0).permutation(list(lot.train.labels)).tolist()
    ours, theirs = labels[:NUM_LEFT_OUT], labels[NUM_LEFT_OUT:]
    source = train_source(data, classes, theirs, out)
    photos = tuple(photo for photo in open_test(data).photos if photo.label in set(ours))
    test = Catalog(photos, lot.train.classes)
    for seed in seeds:
        for number in each:
            limit = None if number == "all" else int(number)
            place = out / f"lot-{number}-{seed}"
            own = lay_lot(data, ours, classes, place, num_a_class=limit, seed=seed)
            name = "all" if limit is None else f"{number} a class"
            measure_lot(own, name, test, source, recipes, seed, out)
    return source


def measure_lot(
    own: Path, name: str, test: Catalog, source: Path, recipes: list[str], seed: int, out: Path
) -> None:
    """Learn a lot from both starts and add the rows, but for those that are there."""
    for recipe in recipes:
        rows = read_rows(RESULTS)
        about = {"recipe": recipe, "lot": name, "seed": seed}
        if any(all(row[k] == str(v) for k, v in about.items()) for row in rows):
            continue
        right = {
            start: answer(
                own,
                recipe,
                seed,
                source if start == STARTS[1] else None,
                out / f"{recipe}-{name.split(maxsplit=1)[0]}-{seed}-{start.split()[0]}",
                test,
            )
            for start in STARTS
        }
        for start, one in right.items():
            told = (start, len(open_lot(own).train), "".join(map(str, one.astype(int))))
            rows.append({**about, **dict(zip(COLUMNS[3:], told, strict=True))})
        cells = [[row[column] for column in COLUMNS] for row in rows]
        write_rows_atomically(RESULTS, COLUMNS, cells)
        print(about, {start: float(one.mean()) for start, one in right.items()}, flush=True)


def print_table() -> None:
    """From ImageNet and from the outside set, by recipe and lot."""
    groups: dict[tuple[str, str], dict[str, list[dict[str, str]]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for row in read_rows(RESULTS):
        groups[row["recipe"], row["lot"]][row["start"]].append(row)
    print("| recipe | photos | seeds | from ImageNet | from the outside set | points more |")
    print("|---" * 6 + "|")
    for (recipe, lot), starts in sorted(groups.items()):
        plain, other = (
            gather_answers(
                {
                    int(row["seed"]): (
                        [str(at) for at in range(len(row["right"]))],
                        np.array([*row["right"]]) == "1",
                    )
                    for row in starts[start]
                }
            )
            for start in STARTS
        )
        shown = [show_spread(measure_spread(one)) for one in (plain, other)]
        pair = compare_pair(other, plain)
        low, high, more = (100 * value for value in (pair.low, pair.high, pair.difference))
        print(
            f"| `{recipe}` | {lot} | {len(other.seeds)} | {shown[0]} | {shown[1]} |"
            f" {more:+.1f} ({low:+.1f} to {high:+.1f}), {pair.verdict} |"
        )


def show_spread(spread: Spread) -> str:
    return f"{spread.mean:.3f} ({spread.low:.3f} to {spread.high:.3f})"


def main() -> None:
    """Measure, if there is something to measure, then print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--recipe", nargs="+", default=[*RECIPES], choices=RECIPES)
    parser.add_argument("--each", nargs="+", default=[*EACH], choices=EACH)
    parser.add_argument("--seed", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--others", type=Path, nargs="+", default=[])
    parser.add_argument("--out", type=Path, default=Path("transfer-runs"))
    options = parser.parse_args()
    if options.data is not None:
        out = options.out.resolve()
        out.mkdir(parents=True, exist_ok=True)
        source = measure(options.data, options.recipe, options.each, options.seed, out)
        for other in options.others:
            for seed in options.seed:
                test = open_test(other)
                measure_lot(other, other.name, test, source, options.recipe, seed, out)
    print_table()


if __name__ == "__main__":
    main()
