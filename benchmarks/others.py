"""Measures what photos of other cars are worth for cars that were never taught.

    python benchmarks/others.py DATA --recipe standard --num-others 2000 --seed 0 --out RUNS

DATA is a folder with train.csv, train.zip, test.zip, test-labels.csv and classes.csv, of a hundred
and thirty classes or more, such as Stanford Cars. By the seed twenty classes are learnt, a hundred
are other cars that may be given (photos of their training half), and of the rest no photo is ever
seen in training. Judged are test photos of the twenty and of the rest, at the gates that 95 % and
at those that 90 % of known photos pass, and pictures of no car (see `refusal.py`).

With --ten TEN, a lot of a few models such as stanford10, a run on that lot is trained instead, with
others from the training half of DATA whose classes' names begin with none of the lot's; its folder
is printed, for `refusal.py TEN --run RUN --cars NAME=PHOTOS`. With --num-classes so many of those
classes are given, and photos of the rest are judged: of the source of the others, never seen.

Rows go into others.csv beside this file; what is there already is not measured again. Without DATA
it prints the tables of that file. Nothing is to be chosen by these figures.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from pathlib import Path
from statistics import mean

import numpy as np
from refusal import gather_no_cars
from results import read_rows

import lotlens
from lotlens.files import write_rows_atomically
from lotlens.intervals import compute_wilson_interval
from lotlens.photos.sources import open_lot
from lotlens.records import Catalog, Photo
from lotlens.refusal.familiarity import list_scores
from lotlens.refusal.gates import measure_separation
from lotlens.refusal.verdicts import KINDS, decide
from lotlens.verbs.refusal import set_refusal

RESULTS = Path(__file__).with_suffix(".csv")
NUM_KNOWN, NUM_OTHERS = 20, 100
ANSWERED = (0.95, 0.9)
COLUMNS = (
    *("recipe", "seed", "num_others", "answered", "photos_of", "photos", *KINDS),
    *("named_rightly", "right", "auroc", "accepted"),
)


def lay_lot(
    data: Path,
    labels: list[str],
    classes: dict[str, str],
    folder: Path,
    *,
    num_photos: int | None = None,
    num_a_class: int | None = None,
    seed: int = 0,
) -> Path:
    """A lot of these classes, with a link to the photos.

    All photos, or so many, in all or a class, that are drawn by the seed; fewer are some of the
    more.
    """
    folder.mkdir(parents=True, exist_ok=True)
    train = open_lot(data).train.with_files().photos
    rows = [(photo.id, photo.label) for photo in train if photo.label in labels]
    if num_photos is not None:
        order = np.random.default_rng(seed).permutation(len(rows))[:num_photos]
        rows = [rows[row] for row in sorted(order.tolist())]
    if num_a_class is not None:
        taken: Counter[str | None] = Counter()
        kept = []
        for row in np.random.default_rng(seed).permutation(len(rows)).tolist():
            taken[rows[row][1]] += 1
            if taken[rows[row][1]] <= num_a_class:
                kept.append(row)
        rows = [rows[row] for row in sorted(kept)]
    write_rows_atomically(folder / "train.csv", ("Id", "Category"), rows)
    names = [(label, classes[label]) for label in labels]
    write_rows_atomically(folder / "classes.csv", ("Category", "Name"), names)
    link = folder / "train.zip"
    if not link.exists():
        link.symlink_to((data / "train.zip").resolve())
    return folder


def train_beside(own: Path, others: Path | None, recipe: str, seed: int, run: Path) -> None:
    """Train a run, or go on with it, unless it is there already."""
    if not (run / "card.json").exists():
        lotlens.train(
            own, recipe, overrides=[f"seed={seed}"], others=others, out=run, resume=run.exists()
        )


def judge(run: Path, photos: dict[str, Catalog], answered: float) -> list[dict[str, object]]:
    """A row for each kind of photo, at the gates that this share of known photos passes."""
    set_refusal(run, answered=answered)
    model = lotlens.load(run)
    refusal, temperature = model.card.refusal, model.card.temperature
    answers = {kind: model.answer(own) for kind, own in photos.items()}
    rows: list[dict[str, object]] = []
    for kind, found in answers.items():
        verdicts = decide(found, refusal, temperature)
        truth = [photo.label for photo in photos[kind].photos]
        best = [found.classes[k].label for k in found.logits.argmax(axis=1)]
        row: dict[str, object] = {
            "answered": answered,
            "photos_of": kind,
            "photos": len(found.ids),
            **dict.fromkeys(KINDS, 0),
            **Counter(verdict.kind for verdict in verdicts),
            "named_rightly": sum(
                v.kind == "model" and v.named[0].label == t
                for v, t in zip(verdicts, truth, strict=True)
            ),
            "right": sum(b == t for b, t in zip(best, truth, strict=True)),
        }
        gate = next(g for g in refusal.gates if g.refuses == "unknown")  # type: ignore[union-attr]
        if kind == "never seen":
            ours, theirs = (
                list_scores(one, gate.method, temperature) for one in (answers["known"], found)
            )
            one = measure_separation(kind, gate.method, ours, theirs, answered)
            row |= {
                "auroc": f"{one.auroc.value:.4f}",
                "accepted": round(one.accepted.value * one.accepted.count),
            }
        rows.append(row)
    return rows


def measure(data: Path, recipe: str, num_others: int, seed: int, out: Path) -> None:
    """Train with so many others, and add rows to the results."""
    rows = read_rows(RESULTS)
    about = {"recipe": recipe, "seed": seed, "num_others": num_others}
    if any(all(str(row[k]) == str(v) for k, v in about.items()) for row in rows):
        return
    lot = open_lot(data)
    labels = np.random.default_rng(seed).permutation(list(lot.train.labels)).tolist()
    known, given = labels[:NUM_KNOWN], labels[NUM_KNOWN : NUM_KNOWN + NUM_OTHERS]
    never = set(labels[NUM_KNOWN + NUM_OTHERS :])
    classes = {car.label: car.name for car in lot.train.classes}
    test = open_test(data).photos

    def choose(some: set[str]) -> Catalog:
        chosen: tuple[Photo, ...] = tuple(photo for photo in test if photo.label in some)
        return Catalog(chosen, lot.train.classes)

    own = lay_lot(data, known, classes, out / f"known-{seed}")
    others = None
    if num_others:
        place = out / f"others-{seed}-{num_others}"
        others = lay_lot(data, given, classes, place, num_photos=num_others, seed=seed)
    run = out / f"{recipe}-{seed}-{num_others}"
    train_beside(own, others, recipe, seed, run)
    photos = {"known": choose(set(known)), "never seen": choose(never)}
    no_cars = gather_no_cars(out / "no-cars")
    photos |= {kind: Catalog(tuple(own), ()) for kind, own in no_cars.items()}
    for answered in ANSWERED:
        for row in judge(run, photos, answered):
            rows.append({**about, **row})
    write_rows_atomically(RESULTS, COLUMNS, [[r.get(c, "") for c in COLUMNS] for r in rows])


def train_ten(
    data: Path, ten: Path, recipe: str, num_others: int, seed: int, out: Path, num_classes: int
) -> None:
    """Train on a lot of a few models, with others from elsewhere in DATA."""
    lot = open_lot(data)
    known = tuple(car.name.casefold() for car in open_lot(ten).train.classes)
    classes = {car.label: car.name for car in lot.train.classes}
    labels = [one for one, name in classes.items() if not name.casefold().startswith(known)]
    given = labels
    if num_classes:
        given = np.random.default_rng(seed).permutation(labels).tolist()[:num_classes]
    others, name = None, f"{num_others}-of-{len(given)}" if num_classes else str(num_others)
    if num_others:
        place = out / f"others-ten-{seed}-{name}"
        others = lay_lot(data, given, classes, place, num_photos=num_others, seed=seed)
    run = out / f"ten-{recipe}-{seed}-{name}"
    train_beside(ten, others, recipe, seed, run)
    print(run, lotlens.load(run).card.metrics[0])
    if not num_classes:
        return
    never = tuple(
        photo
        for photo in (*lot.train.with_files().photos, *open_test(data).photos)
        if photo.label in set(labels) - set(given)
    )
    photos = {"known": open_test(ten), "never seen": Catalog(never, lot.train.classes)}
    for row in judge(run, photos, ANSWERED[0]):
        print({key: row[key] for key in ("photos_of", "photos", *KINDS, "named_rightly")})


def open_test(data: Path) -> Catalog:
    """Photos of the test half, with their labels."""
    return open_lot(data / "test-labels.csv", photos=data / "test.zip").train


def print_tables() -> None:
    """Known and never seen cars, by recipe, others given and gate: the mean of the seeds."""
    groups: dict[tuple[str, int, str, str], list[dict[str, str]]] = defaultdict(list)
    for row in read_rows(RESULTS):
        key = (row["recipe"], int(row["num_others"]), row["answered"], row["photos_of"])
        groups[key].append(row)
    print(
        "| recipe | others | gate | photos | seeds | one name (lowest to highest) | two | unknown"
        " | no car | of one name right | network right |\n" + "|---" * 11 + "|"
    )
    for (recipe, num, answered, kind), rows in sorted(groups.items()):
        total = sum(int(row["photos"]) for row in rows)
        shares = {name: [int(row[name]) / int(row["photos"]) for row in rows] for name in KINDS}
        one = shares["model"]
        named, rightly, right = (
            sum(int(row[name]) for row in rows) for name in ("model", "named_rightly", "right")
        )
        told = [
            f"`{recipe}`",
            str(num),
            answered,
            f"{kind}, {total:,}",
            str(len(rows)),
            f"{mean(one):.3f} ({min(one):.3f} to {max(one):.3f})",
            *(f"{mean(shares[name]):.3f}" for name in ("unsure", "unknown", "not a car")),
            show_share(rightly, named) if kind == "known" else "",
            show_share(right, total) if kind == "known" else "",
        ]
        print(f"| {' | '.join(told)} |")


def show_share(count: int, total: int) -> str:
    low, high = compute_wilson_interval(count, total)
    return f"{count / max(total, 1):.3f} ({low:.3f} to {high:.3f})"


def main() -> None:
    """Measure, if there is something to measure, then print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="?")
    parser.add_argument("--recipe", default="quick")
    parser.add_argument("--num-others", type=int, nargs="+", default=[0, 2000])
    parser.add_argument("--seed", type=int, nargs="+", default=[0])
    parser.add_argument("--ten", type=Path)
    parser.add_argument("--num-classes", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("others-runs"))
    options = parser.parse_args()
    if options.data is not None:
        for seed in options.seed:
            for num_others in options.num_others:
                how = (options.recipe, num_others, seed, options.out)
                if options.ten is None:
                    measure(options.data, *how)
                else:
                    train_ten(options.data, options.ten, *how, options.num_classes)
    if options.ten is None:
        print_tables()


if __name__ == "__main__":
    main()
