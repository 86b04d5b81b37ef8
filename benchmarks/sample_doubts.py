"""Measures where the sample lot's planted wrong labels stand among the doubts.

    python benchmarks/sample_doubts.py --recipe quick --seed 0 1 2 --work FOLDER

Every seed draws a sample lot of 600 training photos, trains on its labels as they are and finds the
doubts. faults.csv, which names the wrong labels, is read after that; a wrong label that is no doubt
has the rank -1. `--set` changes the recipe as `lotlens train` does. With --outside the models learn
besides it, as rounds of improvement do, the photos that sample lots of other seeds have of the four
models that come in pairs, under the labels they have there, wrong ones among them: another lot has
other photos of the same models. Rows go into sample_doubts.csv beside this file; without --recipe
it prints them as a table.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from results import add_row, read_rows, tell

from lotlens.drawn.lot import draw_lot
from lotlens.photos.sources import open_lot
from lotlens.records import Photo
from lotlens.run import RunFolder
from lotlens.training.folds import Extras
from lotlens.verbs.doubts import doubt
from lotlens.verbs.train import begin_training, complete_training

RESULTS = Path(__file__).with_suffix(".csv")
COLUMNS = ("recipe", "seed", "accuracy", "photos", "ranks")
LOOKED_AT = 0.1
SISTERS = ("0", "1", "2", "3")  # two pairs that differ in the tail alone; most errors are theirs


def measure(
    recipe: str, overrides: Sequence[str], outside: Sequence[int], seed: int, work: Path
) -> None:
    lot = draw(seed, work)
    shown = describe(recipe, overrides, outside)
    digest = hashlib.sha256(shown.encode()).hexdigest()
    run = work / f"{recipe}-{digest:.8}-{seed}"  # overrides may be longer than a name can be
    own = [*overrides, f"seed={seed}"]
    if not (run / "card.json").is_file():
        extras = Extras(tuple(photo for other in outside for photo in offer(other, work)))
        begun = begin_training(
            lot, recipe, own, RunFolder(run), None, resume=run.is_dir(), watch=tell
        )
        complete_training(replace(begun, extras=extras), watch=tell)
    found = doubt(run, watch=tell)
    place = {doubt.photo_id: rank for rank, doubt in enumerate(found.doubts)}
    with (lot / "faults.csv").open(encoding="utf-8", newline="") as file:
        faults = [row for row in csv.DictReader(file) if row["Part"] == "train"]
    wrong = [row["Id"] for row in faults if row["Fault"] == "wrong-label"]
    ranks = [place.get(id_, -1) for id_ in wrong]
    row = (shown, seed, f"{found.accuracy:.4f}", len(found.evidence.ids))
    add_row(RESULTS, COLUMNS, (*row, " ".join(map(str, sorted(ranks)))))


def draw(seed: int, work: Path) -> Path:
    """The sample lot of this seed."""
    lot = work / f"lot-{seed}"
    if not lot.is_dir():
        draw_lot(lot, seed=seed)
    return lot


def describe(recipe: str, overrides: Sequence[str], outside: Sequence[int]) -> str:
    return " ".join([recipe, *overrides, *(f"--outside {other}" for other in outside)])


def offer(seed: int, work: Path) -> tuple[Photo, ...]:
    """The sisters' photos of another sample lot, under ids of their own."""
    photos = open_lot(draw(seed, work)).train.with_files().photos
    return tuple(
        replace(photo, id=f"lot-{seed}/{photo.id}") for photo in photos if photo.label in SISTERS
    )


def print_results(rows: Sequence[dict[str, str]]) -> None:
    print("| recipe | seed | right out of fold | in the first tenth | place of the last one |")
    print("|---|---|---|---|---|")
    for row in rows:
        ranks = [int(rank) for rank in row["ranks"].split()]
        num_photos = int(row["photos"])
        first = sum(0 <= rank < LOOKED_AT * num_photos for rank in ranks)
        last = "no doubt" if -1 in ranks else f"{max(ranks) + 1} of {num_photos}"
        print(
            f"| {row['recipe']} | {row['seed']} | {float(row['accuracy']):.3f} |"
            f" {first} of {len(ranks)} | {last} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--recipe")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE")
    parser.add_argument("--seed", nargs="+", type=int, default=[0])
    parser.add_argument("--outside", nargs="+", type=int, default=[], metavar="SEED")
    parser.add_argument("--work", type=Path, default=Path("sample-doubts-work"))
    options = parser.parse_args()
    if set(options.seed) & set(options.outside):
        parser.error("photos of the lot itself are not outside photos: give other seeds")
    if options.recipe:
        shown = describe(options.recipe, options.set, options.outside)
        done = {(row["recipe"], row["seed"]) for row in read_rows(RESULTS)}
        for seed in options.seed:
            if (shown, str(seed)) not in done:
                measure(options.recipe, options.set, options.outside, seed, options.work)
    print_results(read_rows(RESULTS))


if __name__ == "__main__":
    main()
