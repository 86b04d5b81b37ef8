"""Measures what decides accuracy: a recipe as it is, and with one lever moved at a time.

    python benchmarks/ablation.py DATA --without TEN --recipe standard --lots 2 --out RUNS
    python benchmarks/ablation.py

DATA is a folder with train.csv, train.zip, test.zip, test-labels.csv and classes.csv of many
classes with names such as "Audi S6 Sedan 2011", as Stanford Cars has. A lot is twenty classes of
one body, for cars of all bodies are easy to tell apart: sedans, then SUVs, convertibles and coupes;
none is a model that the lot at TEN has. They are learnt from the training half and judged on the
test half. Each lot is one training a lever, with one split; levers are compared on the photos of
all lots together.

Rows go into ablation.csv beside this file, with the answers as a hexadecimal number of one bit a
photo; what is there already is not trained again. Without DATA it prints the tables. What a lever
does here may be taken into a recipe: none of these photos is a test photo of TEN.
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
from locating import describe
from others import open_test
from results import add_row, read_right, read_rows

import lotlens
from lotlens.answering.views import average_views
from lotlens.files import write_rows_atomically
from lotlens.judge.compare import Answers, compare_pair, measure_spread
from lotlens.photos.sources import open_lot
from lotlens.recipes.loading import load_recipe, parse_recipe
from lotlens.records import Catalog, FloatArray

RESULTS = Path(__file__).with_suffix(".csv")
COLUMNS = ("recipe", "lever", "lot", "test", "photos", "train_s", "right")
NUM_CLASSES = 20
BODIES = ("Sedan", "SUV", "Convertible", "Coupe")
"""Of each lot, in turn."""
PLAIN = "as it is"

SHAPES: dict[str, dict[str, Any]] = {
    "square frame, as many pixels (240x240)": {"image.height": 240, "image.width": 240},
    "padded, not stretched": {"image.fit": "pad"},
    "means, not covariances": {"pooling": "mean"},
    "means of the last features alone": {"pooling": "mean", "feature_levels": 1},
    "covariances of the last stage alone": {"feature_levels": 2},
    "covariances of three stages": {"feature_levels": 4},
    "backbone lite1": {"backbone": "lite1"},
    "backbone lite2": {"backbone": "lite2"},
    "located by the map": {"image.locate": "map"},
    "located by the detector": {"image.locate": "detector"},
}
LONG = {
    "stages.1.sizes.0.epochs": 14,
    "stages.1.sizes.1.epochs": 6,
    "stages.1.validate_every": 5,
}
LEVERS: dict[str, dict[str, dict[str, Any]]] = {
    "quick": {
        PLAIN: {},
        **SHAPES,
        "larger frame (224x336)": {"image.height": 224, "image.width": 336},
        "larger frame (256x384)": {"image.height": 256, "image.width": 384},
        "smaller frame (160x240)": {"image.height": 160, "image.width": 240},
        "mirrored photos too": {"stages.0.mirror": True},
    },
    "standard": {
        PLAIN: {},
        **{name: changes for name, changes in SHAPES.items() if "240x240" not in name},
        "no probe first": {"stages.0": None},
        "flips alone": {"stages.1.augmentation": {"crop_scale": 1, "policy": "none", "erase": 0}},
        "crops and flips alone": {"stages.1.augmentation.policy": "none"},
        "no layer decay": {"stages.1.optimiser.layer_decay": 1.0},
        "batches of 16": {"stages.1.batch_size": 16},
        "batches of 32": {"stages.1.batch_size": 32},
        "no EMA": {"stages.1.ema": 0},
        "all groups trained": {"stages.1.unfreeze": "all"},
        "mixup 0.2": {"stages.1.augmentation.mixup": 0.2},
        "no label smoothing": {"stages.1.loss": {"label_smoothing": 0}},
        "14 and 6 epochs": LONG,
        "five folds": {"folds": 5},
        "half the rate": {"stages.1.lr": 2e-3},
        "five folds, 14 and 6 epochs": {"folds": 5, **LONG},
    },
}
"""Recipe -> lever -> key of the recipe -> its value; a stage of None is left out."""
JOINED = {"lite0 and lite2 joined": (PLAIN, "backbone lite2")}
"""Levers that need no training: the answers of others, averaged."""


def draw_labels(data: Path, without: Path, number: int) -> dict[str, str]:
    """Label in DATA -> name, of the classes of a lot."""
    names = tuple(car.name.casefold() for car in open_lot(without).train.classes)
    found = [
        car
        for car in open_lot(data).train.classes
        if not car.name.casefold().startswith(names) and car.name.split()[-2] == BODIES[number]
    ]
    chosen = np.random.default_rng(number).permutation(len(found))[:NUM_CLASSES]
    return {found[k].label: found[k].name for k in sorted(chosen.tolist())}


def lay_lot(data: Path, name_of: dict[str, str], folder: Path) -> tuple[Path, Catalog]:
    """A lot of these classes with a link to the photos, and their test photos."""
    folder.mkdir(parents=True, exist_ok=True)
    train = open_lot(data).train.with_files().photos
    rows = [(one.id, one.label or "") for one in train if one.label in name_of]
    write_rows_atomically(folder / "train.csv", ("Id", "Category"), rows)
    write_rows_atomically(folder / "classes.csv", ("Category", "Name"), name_of.items())
    if not (folder / "train.zip").exists():
        (folder / "train.zip").symlink_to((data / "train.zip").resolve())
    test = tuple(one for one in open_test(data).photos if one.label in name_of)
    return folder, Catalog(test, open_lot(folder).train.classes)


def build_recipe(recipe: str, changes: dict[str, Any]) -> Any:
    """The recipe with a lever moved."""
    left_out = [int(key.split(".")[1]) for key, value in changes.items() if value is None]
    # Levers are compared on whole photos, where a recipe would see for itself.
    changes = {"image.locate": "none", **changes}
    found = load_recipe(recipe, {key: v for key, v in changes.items() if v is not None})
    if not left_out:
        return found
    values = found.to_dict()
    values["stages"] = [one for k, one in enumerate(values["stages"]) if k not in left_out]
    return parse_recipe(values)


def answer(run: Path, test: Catalog) -> FloatArray:
    """Logits [N, K] of all test photos, in their order."""
    found = lotlens.load(run).answer(test)
    if tuple(found.ids) != tuple(test.ids):
        raise SystemExit(f"{run}: not all test photos were answered in their order")
    return found.logits


def measure(data: Path, without: Path, recipe: str, levers: list[str], num: int, out: Path) -> None:
    """Train and judge what is not there yet."""
    place, test = lay_lot(data, draw_labels(data, without, num), out / f"lot-{num}")
    targets = test.targets()
    runs = {lever: out / f"{recipe}-{num}-{at}" for at, lever in enumerate(LEVERS[recipe])}
    done = {(row["recipe"], row["lever"], row["lot"]) for row in read_rows(RESULTS)}
    for lever in levers:
        if (recipe, lever, str(num)) in done:
            continue
        begun_s = time.perf_counter()
        if lever in JOINED:
            logits = average_views([answer(runs[one], test) for one in JOINED[lever]])
        else:
            own = build_recipe(recipe, LEVERS[recipe][lever])
            run = runs[lever]
            if not (run / "card.json").exists():
                split = out / f"split-{recipe}-{num}{'-folds' if own.folds else ''}.csv"
                lotlens.train(place, own, out=run, split_path=split, resume=run.exists())
            logits = answer(run, test)
        took_s = time.perf_counter() - begun_s
        share, right = describe(test.ids, logits.argmax(axis=1) == targets)
        add_row(RESULTS, COLUMNS, (recipe, lever, num, share, len(test), f"{took_s:.0f}", right))
        print(f"{recipe}, {lever}, lot {num}: {share} in {took_s:.0f} s", flush=True)


def print_tables() -> None:
    """For each recipe: every lever, and what it does to the recipe as it is."""
    by_recipe: dict[str, dict[str, dict[str, dict[str, str]]]] = defaultdict(
        lambda: defaultdict(dict)
    )
    for row in read_rows(RESULTS):
        by_recipe[row["recipe"]][row["lever"]][row["lot"]] = row
    for recipe, by_lever in by_recipe.items():
        plain_rows = dict(by_lever.get(PLAIN, {}))
        print(f"\n`{recipe}`\n\n| lever | lots | accuracy | points more | p | seconds |")
        print("|---" * 6 + "|")
        for lever, rows in by_lever.items():
            shared = sorted(rows.keys() & plain_rows.keys())
            if not shared:
                continue
            own, plain = (join_lots([one[lot] for lot in shared]) for one in (rows, plain_rows))
            spread = measure_spread(own)
            took = ", ".join(rows[lot]["train_s"] for lot in shared)
            told = "||"
            if lever != PLAIN:
                pair = compare_pair(own, plain)
                more, low, high = (100 * v for v in (pair.difference, pair.low, pair.high))
                told = f"{more:+.1f} ({low:+.1f} to {high:+.1f}) | {pair.p:.2g} |"
            print(
                f"| {lever} | {', '.join(shared)} | {spread.mean:.3f} ({spread.low:.3f} to"
                f" {spread.high:.3f}) | {told} {took} |"
            )


def join_lots(rows: list[dict[str, str]]) -> Answers:
    """Those of all lots as of one model: the photos of each lot are others."""
    ids, right = [], []
    for row in rows:
        own = read_right(row)
        ids += [f"{row['lot']}-{at}" for at in range(len(own))]
        right += own
    return Answers((0,), tuple(ids), np.array([right]))


def main() -> None:
    """Measure, if there is something to measure, then print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--without", type=Path, help="a lot whose models are left out")
    parser.add_argument("--recipe", choices=[*LEVERS], default="quick")
    parser.add_argument("--levers", nargs="+", help="by their names; default all")
    parser.add_argument("--lots", type=int, default=2, choices=range(1, len(BODIES) + 1))
    parser.add_argument("--out", type=Path, default=Path("ablation-runs"))
    options = parser.parse_args()
    if options.data is not None:
        if options.without is None:
            parser.error("--without names a lot whose models are left out")
        levers = options.levers or [*LEVERS[options.recipe], *JOINED]
        out = options.out.resolve()
        for number in range(options.lots):
            measure(options.data, options.without, options.recipe, levers, number, out)
    print_tables()


if __name__ == "__main__":
    main()
