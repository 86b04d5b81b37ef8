"""Measures what finding the car first is worth, what it costs, and where it finds none.

    python benchmarks/locating.py --probe NAME=DATA [NAME=DATA ...]
    python benchmarks/locating.py NAME=DATA [NAME=DATA ...] --out RUNS --seeds 3
    python benchmarks/locating.py --boxes NAME=DATA [NAME=DATA ...]
    python benchmarks/locating.py --times NAME=DATA
    python benchmarks/locating.py

DATA is a folder with train.csv, train.zip, test.zip, test-labels.csv and classes.csv. The recipe
(`quick` without --recipe) is trained on whole photos, on photos cropped to the car in their own
aspect, on photos in which the car's box fills the frame, and as validation chooses ("auto"), or in
those of these ways that --ways names, with the same split of each seed; the test photos are then
answered. Scores go into locating.csv beside this file, a row a run, with its
right and wrong answers as a hexadecimal number of one bit a photo (photos sorted by id); runs that
are there already are not trained again. Without arguments it prints the tables of that file.
Nothing is to be chosen by these figures.

--probe fits the recipe's probe alone to all training photos, without a run: minutes where trainings
take an hour. Its rows have "(probe)" behind the recipe.

--boxes counts the photos in which a car is found: of DATA's training photos, of drawn pictures
without a car, and of photographs that packages carry for their examples. --times measures what the
search costs a photo, in one thread: reading and fitting whole photos and located ones in turns.

The detector's rows are measured where `lotlens locator add` has added one.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from refusal import DRAWN_SEED, NUM_DRAWN, find_photographs
from results import add_row, read_answers, read_rows

import lotlens
from lotlens.answering.locating import open_locator
from lotlens.deliver.detector import has_added
from lotlens.drawn.negatives import make_negatives
from lotlens.errors import UnreadablePhoto
from lotlens.intervals import measure_share
from lotlens.judge.compare import Answers, compare_all, measure_spread
from lotlens.judge.metrics import align_targets
from lotlens.photos.archives import PhotoReader
from lotlens.photos.reading import read_photo
from lotlens.photos.sources import open_lot
from lotlens.recipes.loading import load_recipe
from lotlens.records import Catalog, ImageSpec, Locate
from lotlens.run import RunFolder
from lotlens.training.locating import make_network, open_for
from lotlens.vision.stages import try_probe

RESULTS = Path(__file__).with_suffix(".csv")
COLUMNS = ("data", "recipe", "way", "seed", "validation", "test", "photos", "train_s", "right")
WAYS = {
    "whole": ("image.locate=none",),
    "auto": ("image.locate=auto",),
    "map": ("image.locate=map", "image.box_fit=keep"),
    "map, stretched": ("image.locate=map", "image.box_fit=stretch"),
    "detector": ("image.locate=detector", "image.box_fit=keep"),
    "detector, stretched": ("image.locate=detector", "image.box_fit=stretch"),
}
"""Way of showing photos -> what it sets in a recipe."""
if not has_added():
    WAYS = {way: changes for way, changes in WAYS.items() if "detector" not in way}
FINDERS: tuple[Locate, ...] = ("map", "detector") if has_added() else ("map",)
MOST_TIMED = 60


def open_test(data: Path) -> Catalog:
    """All test photos: a copy of a training photo among them counts for every way alike."""
    return open_lot(data / "test-labels.csv", photos=data / "test.zip").train


def describe(ids: Sequence[str], is_right: NDArray[np.bool_]) -> tuple[str, str]:
    """The share of right answers, and the answers as a hexadecimal number, photos sorted by id."""
    by_id = dict(zip(ids, is_right.tolist(), strict=True))
    bits = "".join("01"[by_id[id_]] for id_ in sorted(by_id))
    return f"{is_right.mean():.4f}", f"{int(bits, 2):x}"


def score_ways(
    name: str,
    data: Path,
    recipe: str,
    out: Path,
    num_seeds: int,
    ways: Sequence[str],
    results: Path,
) -> None:
    """Train and score what is not there yet; each seed's ways on one split."""
    done = {(row["data"], row["recipe"], row["way"], row["seed"]) for row in read_rows(results)}
    test = open_test(data)
    for seed in range(num_seeds):
        for way in ways:
            if (name, recipe, way, str(seed)) in done:
                continue
            run = RunFolder(out / f"{name}-{recipe}-{way.replace(', ', '-')}-{seed}")
            begun_s = time.perf_counter()
            lotlens.train(
                data,
                recipe,
                overrides=[*WAYS[way], f"seed={seed}"],
                out=run.path,
                split_path=out / f"{name}-{seed}.csv",
            )
            took_s = time.perf_counter() - begun_s
            model = lotlens.load(run.path)
            found = model.answer(test)
            targets = align_targets(found, test)
            share, right = describe(test.ids, found.answered & (found.logits.argmax(1) == targets))
            validation = run.read_card().metrics[0].value
            values = (f"{validation:.4f}", share, len(test), f"{took_s:.0f}", right)
            add_row(results, COLUMNS, (name, recipe, way, seed, *values))
            print(f"{name}, {recipe}, {way}, seed {seed}: {share} in {took_s:.0f} s", flush=True)


def score_probes(name: str, data: Path, recipe: str, results: Path) -> None:
    """Fit and score the probes that are not there yet, on all training photos."""
    told = f"{recipe} (probe)"
    done = {(row["data"], row["recipe"], row["way"]) for row in read_rows(results)}
    train = open_lot(data).train
    test = open_test(data)
    for way, changes in WAYS.items():
        if way == "auto" or (name, told, way) in done:
            continue
        begun_s = time.perf_counter()
        asked = tuple(replace(one, id=f"test/{one.id}") for one in test.photos)
        both = replace(train, photos=(*train.photos, *asked))
        sides = [(train.ids, [one.id for one in asked])]
        own = load_recipe(recipe, changes)
        locate = open_for(own, len(both))
        _, logits, targets = try_probe(own, both, sides, locate=locate)
        took_s = time.perf_counter() - begun_s
        if len(targets) < len(test):
            raise SystemExit(f"{name}: {len(test) - len(targets)} test photos cannot be read")
        share, right = describe(test.ids, logits.argmax(axis=1) == targets)
        values = ("", share, len(test), f"{took_s:.0f}", right)
        add_row(results, COLUMNS, (name, told, way, 0, *values))
        print(f"{name}, {told}, {way}: {share} in {took_s:.0f} s", flush=True)


def print_ways(results: Path) -> None:
    """For each data and recipe: the ways, then each pair of them on the same photos and seeds."""
    by_task: dict[tuple[str, str], dict[str, list[dict[str, str]]]] = defaultdict(dict)
    for row in read_rows(results):
        by_task[row["data"], row["recipe"]].setdefault(row["way"], []).append(row)
    for (name, recipe), by_way in by_task.items():
        print(f"\n{name}, `{recipe}`\n")
        print(
            "| photos | test, mean (95 % interval) | each seed | training, s |\n|---|---|---|---|"
        )
        answers: dict[str, Answers] = {}
        for way, rows in by_way.items():
            answers[way] = own = read_answers(rows)
            spread = measure_spread(own)
            each = ", ".join(f"{float(row['test']):.3f}" for row in rows)
            took_s = ", ".join(row["train_s"] for row in rows)
            print(
                f"| {way} | {spread.mean:.3f} ({spread.low:.3f} to {spread.high:.3f}) | {each}"
                f" | {took_s} |"
            )
        print("\n| pair | gained, lost | points (95 % interval) | p (Holm) |\n|---|---|---|---|")
        for pair in compare_all(answers):
            both = {*answers[pair.first].seeds} & {*answers[pair.second].seeds}
            one, other = (
                answers[name].is_right[[seed in both for seed in answers[name].seeds]]
                for name in (pair.first, pair.second)
            )
            gained, lost = int((one & ~other).sum()), int((~one & other).sum())
            print(
                f"| {pair.first} less {pair.second} | {gained}, {lost} of {one.size}"
                f" | {100 * pair.difference:+.1f} ({100 * pair.low:+.1f} to {100 * pair.high:+.1f})"
                f" | {pair.p_holm:.2g} |"
            )


def print_boxes(named: Sequence[tuple[str, Path]]) -> None:
    """In how many photos a car is found, of cars and of what is none."""
    groups: dict[str, Catalog] = {}
    for name, data in named:
        groups[name] = open_lot(data).train
    with tempfile.TemporaryDirectory() as folder, PhotoReader() as reader:
        photos = next(iter(groups.values())).photos
        made = make_negatives(
            Path(folder) / "made.zip",
            photos,
            num_per_kind=NUM_DRAWN,
            size=(320, 240),
            seed=DRAWN_SEED,
        )
        for kind in dict.fromkeys(photo.extra["kind"] for photo in made.photos):
            own = tuple(photo for photo in made.photos if photo.extra["kind"] == kind)
            groups[f"made: {kind}"] = Catalog(own, ())
        groups["photographs"] = find_photographs()
        print("| photos | by | a car is found in | share (95 % interval) |\n|---|---|---|---|")
        for finder in FINDERS:
            locate = open_locator(make_network(finder), finder)
            spec = ImageSpec(192, 288, locate=finder)
            for name, catalog in groups.items():
                read = [read_photo(reader, one, spec, locate=locate) for one in catalog.photos]
                num_read = sum(one.pixels is not None for one in read)
                num_found = sum(one.box is not None for one in read)
                share = measure_share(name, num_found, num_read)
                print(
                    f"| {name} | {finder} | {num_found} of {num_read}"
                    f" | {share.value:.3f} ({share.low:.3f} to {share.high:.3f}) |"
                )


def print_times(data: Path) -> None:
    """Milliseconds a photo takes to be read and fitted, whole and located, in turns."""
    # One thread for each call.
    locators = {one: open_locator(make_network(one), one, num_streams=2) for one in FINDERS}
    spent: dict[str, list[float]] = defaultdict(list)
    with PhotoReader() as reader:
        for photo in open_lot(data).train.spread(MOST_TIMED).photos:
            for way in ("none", *FINDERS):
                spec = ImageSpec(192, 288, "stretch", locate=way)
                begun_s = time.thread_time()
                try:
                    read_photo(reader, photo, spec, locate=locators.get(way))
                except UnreadablePhoto:
                    continue
                spent[way].append(1000 * (time.thread_time() - begun_s))
    for way, ms in spent.items():
        extra = np.array(ms) - np.array(spent["none"])
        error = 1.96 * extra.std(ddof=1) / len(extra) ** 0.5
        print(
            f"{way}: {np.mean(ms):.1f} ms of CPU a photo (median {np.median(ms):.1f}), to find the"
            f" car {extra.mean():.1f} ms more (± {error:.1f}, 95 %), {len(extra)} photos"
        )


def main() -> None:
    """Measure what is asked for, then print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", nargs="*", metavar="NAME=DATA")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--recipe", default="quick")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=[*WAYS])
    parser.add_argument("--probe", action="store_true")
    parser.add_argument("--boxes", action="store_true")
    parser.add_argument("--times", action="store_true")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    named = [(name, Path(path)) for name, _, path in (one.partition("=") for one in options.data)]
    if options.boxes:
        print_boxes(named)
        return
    if options.times:
        print_times(named[0][1])
        return
    if options.probe:
        for name, data in named:
            score_probes(name, data, options.recipe, options.results)
        print_ways(options.results)
        return
    if named and options.out is None:
        parser.error("trainings need --out, a folder for their runs")
    for name, data in named:
        options.out.mkdir(parents=True, exist_ok=True)
        how = (options.recipe, options.out, options.seeds, options.ways, options.results)
        score_ways(name, data, *how)
    print_ways(options.results)


if __name__ == "__main__":
    main()
