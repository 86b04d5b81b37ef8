"""Measures refusal: models left out of training, drawn non-cars, noise and ordinary photographs.

    pip install -c constraints.txt '.[dev]'   # scikit-image, for its photographs
    python benchmarks/refusal.py DATA --recipe quick --out RUNS

DATA is a folder with train.csv, train.zip, test.zip, test-labels.csv and classes.csv. Its classes
are dealt into pairs by the seed; for each pair a model is trained on the other classes. The photos
of the pair, from train and test, are models that it does not know; the test photos of the others
are known ones, which no choice has seen. Drawn scenes and noise are drawn with a seed that no
training uses. Photographs come from scikit-learn, matplotlib and scikit-image.

Scores go into refusal.csv beside this file, a row for each model, kind of photo and method, and a
row for the verdicts; rows that are there already are not measured again. Without DATA it prints the
tables of that file. Nothing is to be chosen by these figures.
"""

from __future__ import annotations

import argparse
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from results import read_rows

import lotlens
from lotlens.answering.answers import probabilities
from lotlens.drawn.negatives import make_negatives
from lotlens.files import write_rows_atomically
from lotlens.intervals import compute_wilson_interval
from lotlens.photos.sources import open_lot
from lotlens.records import METHODS, Catalog, Locator, Lot, Photo, Predictions
from lotlens.refusal.conformal import list_candidates
from lotlens.refusal.familiarity import list_scores
from lotlens.refusal.gates import measure_separation
from lotlens.refusal.verdicts import KINDS, decide

RESULTS = Path(__file__).with_suffix(".csv")
COLUMNS = (
    *("recipe", "left_out", "photos_of", "method", "num_known", "num_strangers"),
    *("auroc", "low", "high", "accepted", *KINDS, "named_rightly", "covered", "candidates"),
)
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
    test = open_lot(data / "test-labels.csv", photos=data / "test.zip").train
    unseen = [p for p in (*test.photos, *lot.train.with_files().photos) if p.label in left_out]
    known = [photo for photo in test.photos if photo.label not in left_out]
    made = make_negatives(
        folder / "drawn.zip", (), num_per_kind=NUM_DRAWN, size=(256, 192), seed=DRAWN_SEED
    )
    kinds = defaultdict(list)
    for photo in made.photos:
        is_noise = photo.extra["kind"] in ("noise", "plain")
        kinds["noise and plain colours" if is_noise else "drawn scenes without a car"].append(photo)
    strangers = {"models left out": unseen, **kinds, "photographs": find_photographs().photos}
    return {
        kind: Catalog(tuple(photos), lot.train.classes)
        for kind, photos in {"known": known, **strangers}.items()
    }


def measure_model(model: lotlens.Model, photos: dict[str, Catalog]) -> list[dict[str, object]]:
    """A row for each kind and method, and one for the verdicts of each kind."""
    temperature, refusal = model.card.temperature, model.card.refusal
    answers: dict[str, Predictions] = {kind: model.answer(own) for kind, own in photos.items()}
    rows: list[dict[str, object]] = []
    for kind, found in answers.items():
        verdicts = decide(found, refusal, temperature)
        counts = Counter(verdict.kind for verdict in verdicts)
        truth = [photo.label for photo in photos[kind].photos]
        # Of all photos, those that are refused too: the promise of the sets knows of no gates.
        chances = probabilities(found, temperature)
        held = list_candidates(chances, 0.0 if refusal is None else refusal.candidate)
        labels = [car.label for car in found.classes]
        columns = [labels.index(t) if t in labels else -1 for t in truth]
        rows.append(
            {
                "photos_of": kind,
                "method": "verdicts",
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
        if method == "verdicts":
            continue
        areas = [float(str(row["auroc"])) for row in rows]
        total = sum(int(str(row["num_strangers"])) for row in rows)
        print(
            f"| `{recipe}` | {kind} | {method} | {len(rows)} | {total}"
            f" | {np.mean(areas):.3f} ({min(areas):.3f} to {max(areas):.3f})"
            f" | {show_share(sum(int(str(row['accepted'])) for row in rows), total)} |"
        )
    print(f"\n| recipe | photos of | photos | {' | '.join(KINDS)} |")
    print("|---|---|---|" + "---|" * len(KINDS))
    for (recipe, kind, method), rows in groups.items():
        if method == "verdicts":
            total = sum(int(str(row["num_strangers"])) for row in rows)
            counts = [sum(int(str(row[name])) for row in rows) for name in KINDS]
            cells = " | ".join(f"{count} ({count / total:.3f})" for count in counts)
            print(f"| `{recipe}` | {kind} | {total} | {cells} |")

    print(
        "\n| recipe | known photos | one model named, of these right | truth among the candidates"
        " | candidates a photo |\n|---|---|---|---|---|"
    )
    for (recipe, kind, method), rows in groups.items():
        if kind == "known" and method == "verdicts":
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
    options = parser.parse_args()
    if options.data is not None:
        measure(options.data, options.recipe, options.out, options.seed)
    print_tables()


if __name__ == "__main__":
    main()
