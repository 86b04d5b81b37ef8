"""Measures the vetting of outside photos: what is turned away of an offer with planted faults.

    python benchmarks/outside.py DATA --others DATA196 --recipe quick --seed 0 1 2
    python benchmarks/outside.py DATA --proxy --others DATA196 --recipe quick --seed 0 1 2

DATA and DATA196 are folders with train.csv, train.zip, test.zip, test-labels.csv and classes.csv.
A model is trained on half of DATA's training photos, with a split of that half. It is offered the
other half, a fifth of it with a wrong label, 20 photos of the test part under their true label (of
every two, one is cut or mirrored or saved anew), 50 photos of models that it does not know and 20
drawings of cars, both under one of the ten labels at random. The unknown models are those of
DATA196 with an odd number and of none of DATA's names.

With --proxy the ten classes are saloons of DATA196 with an even number, drawn anew with each seed,
and so are the unknown models: the rule was chosen by these. DATA gives its names alone then, which
are left out.

Rows go into outside.csv beside this file; those that are there already are not measured again.
Without DATA it prints the table of that file. Photos are copied to a temporary folder.
"""

from __future__ import annotations

import argparse
import io
import tempfile
import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from results import read_rows

import lotlens
from lotlens.drawn.cars import draw_car_photo
from lotlens.drawn.designs import DESIGNS
from lotlens.files import write_rows_atomically
from lotlens.improve.outside import ADMITTED
from lotlens.intervals import compute_wilson_interval
from lotlens.photos.archives import PhotoReader
from lotlens.photos.sources import open_lot
from lotlens.records import CarClass, Catalog, Photo

RESULTS = Path(__file__).with_suffix(".csv")
COLUMNS = ("data", "recipe", "seed", "kind", "offered", "admitted", "reasons")
KINDS = ("right label", "wrong label", "test photo", "other model", "drawing")
NUM_TEST, NUM_OTHERS, NUM_DRAWN = 20, 50, 20
WRONG_SHARE = 0.2
NUM_CLASSES = 10
SIZE = (256, 192)


@dataclass(frozen=True)
class Pools:
    """Where the photos of an experiment come from.

    Attributes:
        train: labelled photos, of which one half is trained on and the other offered.
        test: labelled photos that must never be admitted.
        others: photos of models that are none of the classes.
    """

    train: Catalog
    test: Catalog
    others: tuple[Photo, ...]


@dataclass(frozen=True)
class Offered:
    """A photo of the offer: its file, the label it is offered under and what is wrong with it."""

    data: bytes
    label: str
    kind: str


def open_labelled(data: Path) -> tuple[Catalog, Catalog]:
    """The training photos, and those of the test part with their answers."""
    test = open_lot(data / "test-labels.csv", photos=data / "test.zip").train
    return open_lot(data).train.with_files(), test


def list_others(data: Path, names: Sequence[str], parity: int) -> tuple[Photo, ...]:
    """Photos of models with none of these names, of every second class."""
    train, test = open_labelled(data)
    labels = {
        car.label
        for car in train.classes
        if int(car.label) % 2 == parity and not any(car.name.startswith(name) for name in names)
    }
    return tuple(photo for photo in (*train.photos, *test.photos) if photo.label in labels)


def choose_pools(data: Path, others: Path) -> Pools:
    """Of the data to be measured on."""
    train, test = open_labelled(data)
    return Pools(train, test, list_others(others, train.names, parity=1))


def choose_proxy_pools(others: Path, names: Sequence[str], seed: int) -> Pools:
    """Of ten saloons with an even number, seven tenths of whose photos are for training."""
    rng = np.random.default_rng([seed, 1])
    train, test = open_labelled(others)
    saloons = [
        car
        for car in train.classes
        if int(car.label) % 2 == 0
        and " Sedan " in car.name
        and not any(car.name.startswith(name) for name in names)
    ]
    chosen = [saloons[k] for k in sorted(rng.permutation(len(saloons))[:NUM_CLASSES].tolist())]
    classes = tuple(CarClass(str(k), car.name) for k, car in enumerate(chosen))
    new_label = {car.label: str(k) for k, car in enumerate(chosen)}
    photos = [
        Photo(f"{part}-{photo.id}", photo.locator, new_label[photo.label or ""])
        for part, catalog in (("a", train), ("b", test))
        for photo in catalog.photos
        if photo.label in new_label
    ]
    kept, rest = halve(photos, rng, share=0.7)
    strangers = list_others(others, [*names, *(car.name for car in chosen)], parity=0)
    return Pools(Catalog(tuple(kept), classes), Catalog(tuple(rest), classes), strangers)


def halve(
    photos: Iterable[Photo], rng: np.random.Generator, share: float = 0.5
) -> tuple[list[Photo], list[Photo]]:
    """A share of each class's photos, and the rest."""
    by_label: dict[str, list[Photo]] = defaultdict(list)
    for photo in photos:
        by_label[photo.label or ""].append(photo)
    first: list[Photo] = []
    second: list[Photo] = []
    for _, own in sorted(by_label.items()):
        order = rng.permutation(len(own)).tolist()
        cut = round(share * len(own))
        first += [own[k] for k in order[:cut]]
        second += [own[k] for k in order[cut:]]
    return first, second


def mix_offer(
    pools: Pools, right: Sequence[Photo], rng: np.random.Generator, wrong_share: float = WRONG_SHARE
) -> list[Offered]:
    """The offer: photos with right and wrong labels, of test, of other models, and drawings.

    Args:
        pools: where the others come from.
        right: photos with their true label.
        rng: decides what is drawn.
        wrong_share: of `right`, how many are given one of the other labels.
    """
    labels = list(pools.train.labels)
    offered = []
    with PhotoReader() as reader:

        def read(photo: Photo) -> bytes:
            assert photo.locator is not None
            return reader.read(photo.locator)

        spoilt = set(rng.permutation(len(right))[: round(wrong_share * len(right))].tolist())
        for number, photo in enumerate(right):
            if number in spoilt:
                label = str(rng.choice([one for one in labels if one != photo.label]))
                offered.append(Offered(read(photo), label, "wrong label"))
            else:
                offered.append(Offered(read(photo), photo.label or "", "right label"))
        for number, k in enumerate(rng.permutation(len(pools.test))[:NUM_TEST].tolist()):
            photo = pools.test.photos[k]
            data = change(read(photo), number) if number % 2 else read(photo)
            offered.append(Offered(data, photo.label or "", "test photo"))
        for k in rng.permutation(len(pools.others))[:NUM_OTHERS].tolist():
            offered.append(Offered(read(pools.others[k]), str(rng.choice(labels)), "other model"))
    for _ in range(NUM_DRAWN):
        image = draw_car_photo(rng, int(rng.integers(len(DESIGNS))), *SIZE)
        offered.append(Offered(encode(image, 85), str(rng.choice(labels)), "drawing"))
    return [offered[k] for k in rng.permutation(len(offered)).tolist()]


def change(data: bytes, number: int) -> bytes:
    """The same picture with other bytes: saved anew, cut by 5 % a side, or mirrored."""
    with Image.open(io.BytesIO(data)) as photo:
        image = photo.convert("RGB")
    kind = number // 2 % 3
    if kind == 1:
        across, down = round(0.05 * image.width), round(0.05 * image.height)
        image = image.crop((across, down, image.width - across, image.height - down))
    elif kind == 2:
        image = ImageOps.mirror(image)
    return encode(image, 60)


def encode(image: Image.Image, quality: int) -> bytes:
    stream = io.BytesIO()
    image.convert("RGB").save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def write_zip(path: Path, files: Iterable[tuple[str, bytes]]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files:
            archive.writestr(name, data)


def lay_lot(pools: Pools, photos: Sequence[Photo], folder: Path) -> Path:
    """A lot in the competition's layout with these training photos and all of the test part."""
    folder.mkdir(parents=True)
    with PhotoReader() as reader:
        for part, name, own in (
            ("train", "train.zip", photos),
            ("test_upload", "test.zip", pools.test.photos),
        ):
            files = ((f"{part}/{p.id}", reader.read(p.locator)) for p in own if p.locator)
            write_zip(folder / name, files)
    columns = ("Id", "Category")
    write_rows_atomically(folder / "train.csv", columns, [(p.id, p.label) for p in photos])
    ids = [(photo.id, "0") for photo in pools.test.photos]
    write_rows_atomically(folder / "sample-submission.csv", columns, ids)
    _write_classes(folder, pools.train.classes)
    return folder


def lay_offer(offered: Sequence[Offered], classes: Sequence[CarClass], folder: Path) -> Path:
    """A CSV with a zip of its name beside it; photo number N of the offer has the id "N.jpg"."""
    folder.mkdir(parents=True)
    write_zip(folder / "offer.zip", ((f"{n}.jpg", one.data) for n, one in enumerate(offered)))
    rows = [(f"{number}.jpg", one.label) for number, one in enumerate(offered)]
    write_rows_atomically(folder / "offer.csv", ("Id", "Category"), rows)
    _write_classes(folder, classes)
    return folder / "offer.csv"


def _write_classes(folder: Path, classes: Sequence[CarClass]) -> None:
    rows = [(car.label, car.name) for car in classes]
    write_rows_atomically(folder / "classes.csv", ("Category", "Name"), rows)


def measure(pools: Pools, name: str, recipe: str, seed: int, folder: Path) -> list[dict[str, str]]:
    """Train on one half, vet the offer, and give a row for each kind of photo."""
    rng = np.random.default_rng([seed, 2])
    half, rest = halve(pools.train.photos, rng)
    lot = lay_lot(pools, half, folder / "lot")
    offered = mix_offer(pools, rest, rng)
    offer = lay_offer(offered, pools.train.classes, folder / "offer")
    model = lotlens.train(lot, recipe, out=folder / "run", overrides=[f"seed={seed}"])
    print(f"{name}, seed {seed}: {model.card.metrics[0]}", flush=True)
    vetting = lotlens.vet_outside(model.run.path, offer)
    reasons: dict[str, Counter[str]] = defaultdict(Counter)
    for one in vetting.vetted:
        reasons[offered[int(one.offered_id.removesuffix(".jpg"))].kind][one.reason] += 1
    rows = []
    for kind in KINDS:
        counts = reasons[kind]
        told = "; ".join(f"{reason} {count}" for reason, count in counts.most_common())
        figures = (str(seed), kind, str(counts.total()), str(counts[ADMITTED]), told)
        rows.append(dict(zip(COLUMNS, (name, recipe, *figures), strict=True)))
    return rows


def print_table() -> None:
    """A row for each data, recipe and kind, over the seeds."""
    groups: dict[tuple[str, str, str], list[dict[str, str]]] = defaultdict(list)
    for row in read_rows(RESULTS):
        groups[row["data"], row["recipe"], row["kind"]].append(row)
    print(
        "| data | recipe | offered | photos | turned away (95 % interval) | least of a seed |\n"
        "|---|---|---|---|---|---|"
    )
    for (data, recipe, kind), rows in groups.items():
        offered = [int(row["offered"]) for row in rows]
        away = [int(row["offered"]) - int(row["admitted"]) for row in rows]
        low, high = compute_wilson_interval(sum(away), sum(offered))
        least = min(a / n for a, n in zip(away, offered, strict=True))
        print(
            f"| {data} | `{recipe}` | {kind} | {sum(offered)}"
            f" | {sum(away) / sum(offered):.3f} ({low:.3f} to {high:.3f}) | {least:.3f} |"
        )


def main() -> None:
    """Measure, if there is something to measure, then print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path, nargs="?", help="needed with --others, for its names")
    parser.add_argument("--others", type=Path)
    parser.add_argument("--proxy", action="store_true")
    parser.add_argument("--recipe", default="quick")
    parser.add_argument("--seed", type=int, nargs="+", default=[0])
    options = parser.parse_args()
    if options.data is not None and options.others is not None:
        names = open_lot(options.data).train.names
        name = f"proxy of {options.others.name}" if options.proxy else options.data.name
        for seed in options.seed:
            rows = read_rows(RESULTS)
            done = {(row["data"], row["recipe"], row["seed"]) for row in rows}
            if (name, options.recipe, str(seed)) in done:
                continue
            pools = (
                choose_proxy_pools(options.others, names, seed)
                if options.proxy
                else choose_pools(options.data, options.others)
            )
            with tempfile.TemporaryDirectory() as folder:
                rows += measure(pools, name, options.recipe, seed, Path(folder))
            write_rows_atomically(RESULTS, COLUMNS, [[row[c] for c in COLUMNS] for row in rows])
    print_table()


if __name__ == "__main__":
    main()
