"""Measures refusal: models left out of training, drawn non-cars, noise and ordinary photographs.

    pip install -c constraints.txt '.[dev]'   # scikit-image, for its photographs
    python benchmarks/refusal.py DATA --recipe quick --out RUNS
    python benchmarks/refusal.py DATA --run RUN --cars 'NAME=PHOTOS' --cars 'NAME=PHOTOS'
    python benchmarks/refusal.py DATA --run RUN --turns 4

DATA is a folder with train.csv, train.zip, test.zip, test-labels.csv and classes.csv. Its classes
are dealt into pairs by the seed; for each pair a model is trained on the other classes. The photos
of the pair, from train and test, are models that it does not know; the test photos of the others
are known ones, which no choice has seen. Drawn scenes and noise are drawn with a seed that no
training uses. Photographs come from scikit-learn, matplotlib and scikit-image.

With --run a finished run is asked instead: about DATA's test photos, which are known, about cars of
other sources, named with --cars, and about the same pictures of no car. Of labelled photos those of
the run's own models are left out, and of more than 600 that many are taken from all over. A third
row of verdicts is for a gate that lets no photo pass: whatever the model, no more cars than those
are "not a car". --turns answers DATA's test photos and those of --cars with and without ImageNet in
turns, and prints CPU seconds.

Scores go into refusal.csv beside this file, a row for each model, kind of photo and method, and two
for the verdicts: without ImageNet as well, which tells unknown cars from other things; rows that
are there already are not measured again. Without DATA it prints the tables of that file. Nothing is
to be chosen by these figures.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from results import read_rows

import lotlens
from lotlens.answering.answers import probabilities
from lotlens.answering.shown import ask_shown
from lotlens.drawn.negatives import make_negatives
from lotlens.files import write_rows_atomically
from lotlens.intervals import compute_wilson_interval
from lotlens.photos.sources import open_lot, open_photos
from lotlens.records import (
    METHODS,
    OK,
    Catalog,
    Gate,
    Locator,
    Lot,
    Metric,
    Photo,
    Predictions,
)
from lotlens.refusal.conformal import list_candidates
from lotlens.refusal.familiarity import list_scores
from lotlens.refusal.gates import measure_separation
from lotlens.refusal.verdicts import KINDS, decide

RESULTS = Path(__file__).with_suffix(".csv")
COLUMNS = (
    *("recipe", "left_out", "photos_of", "method", "num_known", "num_strangers"),
    *("auroc", "low", "high", "accepted", *KINDS, "named_rightly", "covered", "candidates"),
)
VERDICTS, WITHOUT_IMAGENET, ALL_STOPPED = (
    *("verdicts", "verdicts without ImageNet", "verdicts, all stopped by a gate"),
)
HOW_ASKED = {VERDICTS: "yes", WITHOUT_IMAGENET: "no", ALL_STOPPED: "yes, of all"}
MOST_CARS = 600
DRAWN_SEED = 20_261_124
NUM_DRAWN = 40
PHOTOGRAPHS = {
    "sklearn": ("datasets/images/china.jpg", "datasets/images/flower.jpg"),
    "matplotlib": ("mpl-data/sample_data/grace_hopper.jpg",),
    "skimage": tuple(
        f"data/{name}"
        for name in (
            *("astronaut.png", "brick.png", "camera.png", "cell.png", "chelsea.png"),
            *("clock_motion.png", "coffee.png", "coins.png", "grass.png", "gravel.png"),
            *("hubble_deep_field.jpg", "ihc.png", "microaneurysms.png", "moon.png"),
            *("motorcycle_left.png", "page.png", "retina.jpg", "rocket.jpg", "text.png"),
        )
    ),
}
"""Photographs of people, animals, places and things that packages carry for their examples."""


def find_photographs() -> Catalog:
    """Those of them that are installed."""
    import importlib.util

    found = []
    for package, names in PHOTOGRAPHS.items():
        spec = importlib.util.find_spec(package)
        if spec is None or spec.origin is None:
            print(f"{package} is not installed: its photographs are left out")
            continue
        paths = [Path(spec.origin).parent / name for name in names]
        found += [Photo(path.name, Locator(path)) for path in paths if path.is_file()]
    return Catalog(tuple(found), ())


def lay_lot(data: Path, lot: Lot, left_out: Sequence[str], folder: Path) -> Path:
    """A lot of the classes that are not left out, beside links to the photos."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [(p.id, p.label) for p in lot.train.photos if p.label not in left_out]
    write_rows_atomically(folder / "train.csv", ("Id", "Category"), rows)
    names = [(car.label, car.name) for car in lot.train.classes if car.label not in left_out]
    write_rows_atomically(folder / "classes.csv", ("Category", "Name"), names)
    link = folder / "train.zip"
    if not link.exists():
        link.symlink_to((data / "train.zip").resolve())
    return folder


def gather_photos(
    data: Path, lot: Lot, left_out: Sequence[str], folder: Path
) -> dict[str, Catalog]:
    """Kind -> photos; "known" first."""
    test = open_test(data)
    unseen = [p for p in (*test.photos, *lot.train.with_files().photos) if p.label in left_out]
    known = [photo for photo in test.photos if photo.label not in left_out]
    strangers = {"models left out": unseen, **gather_no_cars(folder)}
    return {
        kind: Catalog(tuple(photos), lot.train.classes)
        for kind, photos in {"known": known, **strangers}.items()
    }


def open_test(data: Path) -> Catalog:
    return open_lot(data / "test-labels.csv", photos=data / "test.zip").train.with_files()


def gather_no_cars(folder: Path) -> dict[str, Sequence[Photo]]:
    """Kind -> pictures of no car."""
    folder.mkdir(parents=True, exist_ok=True)
    made = make_negatives(
        folder / "drawn.zip", (), num_per_kind=NUM_DRAWN, size=(256, 192), seed=DRAWN_SEED
    )
    kinds = defaultdict(list)
    for photo in made.photos:
        is_noise = photo.extra["kind"] in ("noise", "plain")
        kinds["noise and plain colours" if is_noise else "drawn scenes without a car"].append(photo)
    return {**kinds, "photographs": find_photographs().photos}


def open_cars(path: Path, known: Sequence[str]) -> Catalog:
    """Photos of cars, those left out whose class begins with the name of a known one.

    Args:
        path: a folder in the competition's layout, of which the test part is taken, or photos.
        known: names of the run's classes.
    """
    if not (path / "test-labels.csv").is_file():
        return open_photos([path])
    test = open_test(path)
    names = {car.label: car.name for car in test.classes}
    if (path / "classes.csv").is_file():
        named = read_rows(path / "classes.csv")
        names |= {row["Category"]: row["Name"] for row in named}
    ours = tuple(name.casefold() for name in known)
    own = [p for p in test.photos if not names[p.label or ""].casefold().startswith(ours)]
    return Catalog(tuple(own), test.classes).spread(MOST_CARS)


def measure_run(data: Path, path: Path, cars: Sequence[tuple[str, Path]], out: Path) -> None:
    """Add the rows of a finished run to the results."""
    model = lotlens.load(path)
    known = [car.name for car in model.card.classes]
    photos = {"known": open_test(data)}
    photos |= {name: open_cars(own, known) for name, own in cars}
    photos |= {kind: Catalog(tuple(own), ()) for kind, own in gather_no_cars(out).items()}
    name = path.name
    rows = [row for row in read_rows(RESULTS) if row["recipe"] != name]
    for row in (*measure_model(model, photos), *count_all_stopped(model, photos)):
        rows.append({"recipe": name, "left_out": "", **row})
    write_rows_atomically(RESULTS, COLUMNS, [[r.get(c, "") for c in COLUMNS] for r in rows])


def count_all_stopped(
    model: lotlens.Model, photos: dict[str, Catalog]
) -> Iterator[dict[str, object]]:
    """A row for each kind with what would be said if the gate against no cars let nothing pass."""
    refusal = model.card.refusal
    open_shown = model.find_shown()
    if refusal is None or open_shown is None:
        return
    shut = Gate("not a car", "max probability", 2.0, Metric("none pass", 0.0, 0.0, 1.0, 0))
    rule = replace(refusal, gates=(shut,))
    for kind, own in photos.items():
        shows = ask_shown(open_shown, own)
        status = tuple(OK if np.isfinite(row).all() else "unreadable" for row in shows)
        logits = np.zeros((len(own), len(model.card.classes)), np.float32)
        found = Predictions(own.ids, logits, None, status, model.card.classes, shows=shows)
        counts = Counter(verdict.kind for verdict in decide(found, rule, 1.0))
        numbers = {name: counts[name] for name in KINDS}
        yield {"photos_of": kind, "method": ALL_STOPPED, "num_strangers": len(own), **numbers}


def time_run(data: Path, path: Path, cars: Sequence[tuple[str, Path]], num_turns: int) -> None:
    """Print how long answers take with ImageNet and without."""
    model = lotlens.load(path)
    known = [car.name for car in model.card.classes]
    photos = {"known": open_test(data)}
    photos |= {name: open_cars(own, known) for name, own in cars}
    for kind, own in photos.items():
        opened = model.open(len(own))
        both = {"with": opened, "without": replace(opened, open_shown=None)}
        for one in both.values():
            one.answer(own.spread(64))  # whatever is loaded once
        ratios = []
        for _ in range(num_turns):
            took = {}
            for name, one in both.items():
                began = time.process_time()
                one.answer(own)
                took[name] = time.process_time() - began
            ratios.append(took["with"] / took["without"])
            print(f"{kind:<40} {took['with']:7.2f} s {took['without']:7.2f} s", flush=True)
        print(f"{kind:<40} {np.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}) times")


def measure_model(model: lotlens.Model, photos: dict[str, Catalog]) -> list[dict[str, object]]:
    """A row for each kind and method, and two for the verdicts of each kind."""
    temperature, refusal = model.card.temperature, model.card.refusal
    answers: dict[str, Predictions] = {kind: model.answer(own) for kind, own in photos.items()}
    rows: list[dict[str, object]] = []
    for kind, found in answers.items():
        verdicts = decide(found, refusal, temperature)
        counts = Counter(verdict.kind for verdict in verdicts)
        plain = Counter(v.kind for v in decide(replace(found, shows=None), refusal, temperature))
        truth = [photo.label for photo in photos[kind].photos]
        # Of all photos, those that are refused too: the promise of the sets knows of no gates.
        chances = probabilities(found, temperature)
        held = list_candidates(chances, 0.0 if refusal is None else refusal.candidate)
        labels = [car.label for car in found.classes]
        columns = [labels.index(t) if t in labels else -1 for t in truth]
        rows.append(
            {
                "photos_of": kind,
                "method": VERDICTS,
                "num_known": len(answers["known"].ids),
                "num_strangers": len(found.ids),
                **{name: counts[name] for name in KINDS},
                "named_rightly": sum(
                    v.kind == "model" and v.named[0].label == t
                    for v, t in zip(verdicts, truth, strict=True)
                ),
                "covered": sum(c >= 0 and bool(held[row, c]) for row, c in enumerate(columns)),
                "candidates": int(held.sum()),
            }
        )
        rows.append(
            {
                "photos_of": kind,
                "method": WITHOUT_IMAGENET,
                "num_known": len(answers["known"].ids),
                "num_strangers": len(found.ids),
                **{name: plain[name] for name in KINDS},
            }
        )
        for method in METHODS if kind != "known" else ():
            ours = list_scores(answers["known"], method, temperature)
            theirs = list_scores(found, method, temperature)
            if not np.isfinite(theirs).any():
                continue
            one = measure_separation(kind, method, ours, theirs)
            rows.append(
                {
                    "photos_of": kind,
                    "method": method,
                    "num_known": one.num_known,
                    "num_strangers": one.auroc.count,
                    "auroc": f"{one.auroc.value:.4f}",
                    "low": f"{one.auroc.low:.4f}",
                    "high": f"{one.auroc.high:.4f}",
                    "accepted": round(one.accepted.value * one.accepted.count),
                }
            )
        if kind == "photographs":
            for id_, verdict in zip(found.ids, verdicts, strict=True):
                print(f"  {id_:<24} {verdict.sentence}")
    return rows


def measure(data: Path, recipe: str, out: Path, seed: int) -> None:
    """Train a model without each pair of classes and add its rows to the results."""
    lot = open_lot(data)
    labels = np.random.default_rng(seed).permutation(list(lot.train.labels)).tolist()
    pairs = [sorted(labels[start : start + 2]) for start in range(0, len(labels) - 1, 2)]
    rows = read_rows(RESULTS)
    for pair in pairs:
        name = "+".join(pair)
        if any(row["recipe"] == recipe and row["left_out"] == name for row in rows):
            continue
        print(f"without {name}", flush=True)
        folder = lay_lot(data, lot, pair, out / f"lot-{name}")
        run = out / f"{recipe}-{name}"
        model = lotlens.load(run) if run.exists() else lotlens.train(folder, recipe, out=run)
        for row in measure_model(model, gather_photos(data, lot, pair, out)):
            rows.append({"recipe": recipe, "left_out": name, **row})
        write_rows_atomically(RESULTS, COLUMNS, [[r.get(c, "") for c in COLUMNS] for r in rows])


def print_tables() -> None:
    """Methods, then verdicts, for each recipe and kind of photo."""
    groups: dict[tuple[str, str, str], list[dict[str, object]]] = defaultdict(list)
    for row in read_rows(RESULTS):
        groups[str(row["recipe"]), str(row["photos_of"]), str(row["method"])].append(row)
    print(
        "| recipe | photos of | method | models | photos | AUROC, mean (lowest to highest)"
        " | accepted at 95 % answered (95 % interval) |\n|---|---|---|---|---|---|---|"
    )
    for (recipe, kind, method), rows in groups.items():
        if method in HOW_ASKED:
            continue
        areas = [float(str(row["auroc"])) for row in rows]
        total = sum(int(str(row["num_strangers"])) for row in rows)
        print(
            f"| `{recipe}` | {kind} | {method} | {len(rows)} | {total}"
            f" | {np.mean(areas):.3f} ({min(areas):.3f} to {max(areas):.3f})"
            f" | {show_share(sum(int(str(row['accepted'])) for row in rows), total)} |"
        )
    print(f"\n| recipe | photos of | ImageNet | photos | {' | '.join(KINDS)} |")
    print("|---|---|---|---|" + "---|" * len(KINDS))
    for (recipe, kind, method), rows in groups.items():
        if method in HOW_ASKED:
            total = sum(int(str(row["num_strangers"])) for row in rows)
            counts = [sum(int(str(row[name])) for row in rows) for name in KINDS]
            cells = " | ".join(f"{count} ({count / total:.3f})" for count in counts)
            print(f"| `{recipe}` | {kind} | {HOW_ASKED[method]} | {total} | {cells} |")

    print(
        "\n| recipe | known photos | one model named, of these right | truth among the candidates"
        " | candidates a photo |\n|---|---|---|---|---|"
    )
    for (recipe, kind, _), rows in groups.items():
        if kind == "known" and rows[0]["named_rightly"]:
            total, *sums = (
                sum(int(str(row[name])) for row in rows)
                for name in ("num_strangers", "model", "named_rightly", "covered", "candidates")
            )
            num_named, num_right, num_covered, num_candidates = sums
            print(
                f"| `{recipe}` | {total} | {num_named}, {show_share(num_right, num_named)}"
                f" | {show_share(num_covered, total)} | {num_candidates / total:.2f} |"
            )


def show_share(count: int, total: int) -> str:
    low, high = compute_wilson_interval(count, total)
    return f"{count / total:.3f} ({low:.3f} to {high:.3f})"


def main() -> None:
    """Measure, if there is something to measure, then print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--recipe", default="quick")
    parser.add_argument("--out", type=Path, default=Path("refusal-runs"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--cars", action="append", default=[], metavar="NAME=PHOTOS")
    parser.add_argument("--turns", type=int, default=0)
    options = parser.parse_args()
    cars = [(name, Path(path)) for name, _, path in (own.partition("=") for own in options.cars)]
    if options.run is not None and options.turns:
        time_run(options.data, options.run, cars, options.turns)
        return
    if options.run is not None:
        measure_run(options.data, options.run, cars, options.out)
    elif options.data is not None:
        measure(options.data, options.recipe, options.out, options.seed)
    print_tables()


if __name__ == "__main__":
    main()
