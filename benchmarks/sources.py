"""Measures whether two sets of photos are told apart without looking at the cars.

    python benchmarks/sources.py DATA

DATA holds the folders stanford10, stanford196 and adverts10, each with train.csv, train.zip and
classes.csv. Sets of two sources: stanford10 against classes of stanford196 that it has not (another
size, another compression), and against adverts10 (other photos altogether); and dealt classes of
stanford196 against a tenth of the others, stored anew as another site might. Sets of one source:
classes of stanford196, dealt by a seed into 20 and the others. Each is compared as it is, with the
others brought to the style of the known, and with both brought to what they have in common; in
full, and in the frame that a network gets.

It prints tables and keeps nothing.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lotlens.audit.traces import Difference, compare_sources
from lotlens.photos.archives import PhotoReader
from lotlens.photos.sources import open_lot
from lotlens.photos.style import Style, measure_style, restyle_bytes
from lotlens.records import Catalog, ImageSpec, Locator, Photo

NUM_KNOWN = 20
FRAME = ImageSpec(192, 288, fit="stretch")
ANOTHER_SITE = Style(160, 60)

Photos = Sequence[Photo]


def find_common(one: Style, other: Style) -> Style:
    """What photos of both styles can be brought to: smaller than either, compressed as the poorer.

    What is lost in one set cannot be put back, only taken from the other too. And a photo that
    keeps its size keeps the blocks of its last compression, by which it is told from one that was
    made smaller (measured: docs/LOG.md): so both are made smaller, by an eighth at least.
    """
    qualities = [style.quality for style in (one, other) if style.quality is not None]
    return Style(
        max(int(min(one.side, other.side) * 7 / 8), 1),
        min(qualities, default=None),
        max(one.subsampling, other.subsampling),
    )


def deal(catalog: Catalog, seed: int) -> tuple[Photos, Photos]:
    """Photos of some classes, and of all the others."""
    labels = np.random.default_rng(seed).permutation(list(catalog.labels))
    known = set(labels[:NUM_KNOWN].tolist())
    photos = catalog.photos
    return [p for p in photos if p.label in known], [p for p in photos if p.label not in known]


def find_others(catalog: Catalog, known: Catalog) -> Photos:
    """Photos of classes whose names begin with none of the known."""
    names = tuple(car.name for car in known.classes)
    others = {car.label for car in catalog.classes if not car.name.startswith(names)}
    return [photo for photo in catalog.photos if photo.label in others]


def store_anew(photos: Photos, style: Style, folder: Path) -> Photos:
    """Every tenth photo, as a file of another style."""
    found = []
    with PhotoReader() as reader:
        for photo in photos[::10]:
            assert photo.locator is not None
            path = folder / photo.id
            path.write_bytes(restyle_bytes(reader.read(photo.locator), style))
            found.append(Photo(photo.id, Locator(path), photo.label))
    return found


def show(name: str, way: str, found: Difference) -> None:
    assert found.auroc is not None
    kinds = ", ".join(f"{kind} {one.value:.2f}" for kind, one in found.by_kind[:3])
    print(
        f"| {name} | {way} | {found.num_known}, {found.num_others} | {found.auroc.value:.3f}"
        f" ({found.auroc.low:.3f} to {found.auroc.high:.3f})"
        f" | {'told' if found.is_told else 'not told'} | {kinds} |",
        flush=True,
    )


def compare(name: str, known: Photos, others: Photos) -> None:
    """A row for each way."""
    ours, theirs = measure_style(known), measure_style(others)
    assert ours is not None
    assert theirs is not None
    both = find_common(ours, theirs)
    ways = {
        "as they are": (None, None),
        f"others at {ours}": (None, ours),
        f"both at {both}": (both, both),
    }
    for way, (one, other) in ways.items():
        for spec in (None, FRAME):
            place = "in full" if spec is None else "in the frame"
            found = compare_sources(known, others, known_style=one, other_style=other, spec=spec)
            show(name, f"{way}, {place}", found)


def main() -> None:
    """Compare sets of two sources, then of one."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--draws", type=int, default=5, help="of classes of one source")
    options = parser.parse_args()
    few, many, adverts = (
        open_lot(options.data / name).train for name in ("stanford10", "stanford196", "adverts10")
    )
    print("| sets | ways | photos | AUROC (95 % interval) | verdict | by kind |")
    print("|---|---|---|---|---|---|")
    compare("stanford10, stanford196's others", few.photos, find_others(many, few))
    known, others = deal(many, 0)
    with tempfile.TemporaryDirectory() as folder:
        anew = store_anew(others, ANOTHER_SITE, Path(folder))
        compare(f"stanford196, others stored at {ANOTHER_SITE}", known, anew)
    compare("stanford10, adverts10", few.photos, adverts.photos)
    for seed in range(options.draws):
        for spec in (None, FRAME):
            found = compare_sources(*deal(many, seed), spec=spec)
            show(f"one source, draw {seed}", "in full" if spec is None else "in the frame", found)
    compare("stanford196, stanford10", find_others(many, few), few.photos)


if __name__ == "__main__":
    main()
