"""Measures how often what is no car bears the word of its folder, and a car one that it must not.

    python benchmarks/words.py PHOTOS RUN...

PHOTOS are photographs of cars, such as a folder or test.zip. Of each kind of picture without a car
that lotlens draws, and of patches cut out of PHOTOS, forty are given to a copy of RUN as negatives,
in a folder each. A hundred others are asked about, beside at most 1,000 of PHOTOS whole. Printed as
a table.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

import lotlens
from lotlens.drawn.scenes import NO_CAR_KINDS, draw_other_photo
from lotlens.intervals import compute_wilson_interval
from lotlens.photos.archives import PhotoReader
from lotlens.photos.decode import decode
from lotlens.photos.sources import open_photos
from lotlens.refusal.verdicts import LIKE_YOURS
from lotlens.verbs.refusal import set_refusal

GIVEN, ASKED, MOST_CARS = 40, 100, 1000
CUT_OUT = "cut out of cars"


def draw_all(cars: list[Image.Image], folder: Path, count: int, seed: int) -> None:
    """So many pictures of each kind, in a folder each."""
    for kind in (*NO_CAR_KINDS, CUT_OUT):
        (folder / kind).mkdir(parents=True)
        for number in range(count):
            rng = np.random.default_rng([seed, number])
            if kind == CUT_OUT:
                car = cars[int(rng.integers(len(cars)))]
                side = min(car.size) // 5
                left, top = (int(rng.integers(0, edge - side)) for edge in car.size)
                image = car.crop((left, top, left + side, top + side)).resize((320, 240))
            else:
                image = draw_other_photo(rng, kind, 320, 240)
            image.save(folder / kind / f"{kind}-{number}.jpg", quality=90)


def main() -> None:
    """Teach words, ask, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("runs", type=Path, nargs="+")
    options = parser.parse_args()
    catalog = open_photos(options.photos)
    order = np.random.default_rng(0).permutation(len(catalog))
    with PhotoReader() as reader:
        data = [reader.read(catalog.photos[row].locator) for row in order[:150].tolist()]
    cars = [
        image for image in (Image.fromarray(decode(one)) for one in data) if min(image.size) >= 100
    ]
    whole = catalog.select([catalog.photos[row].id for row in order[150 : 150 + MOST_CARS]])
    for run in options.runs:
        with tempfile.TemporaryDirectory() as place:
            copy = Path(shutil.copytree(run, Path(place) / "run"))
            draw_all(cars[:75], Path(place) / "given", GIVEN, 0)
            draw_all(cars[75:], Path(place) / "asked", ASKED, 1)
            set_refusal(copy, negatives=Path(place) / "given")
            model = lotlens.load(copy)
            words = [word.name for word in model.card.refusal.words]
            print(f"\n{run.name}: words {', '.join(words)}\n")
            print(
                "| photos of | photos | not a car | own word | another word |\n" + "|---" * 5 + "|"
            )
            for kind in (*NO_CAR_KINDS, CUT_OUT, "whole cars"):
                asked = whole if kind == "whole cars" else open_photos(Path(place) / "asked" / kind)
                rows = model.list_answers(model.answer(asked))
                said = Counter(
                    row["reason"].split('"')[1]
                    for row in rows
                    if row["reason"].startswith(LIKE_YOURS)
                )
                no_car = sum(row["verdict"] == "not a car" for row in rows)
                others = said.total() - said[kind]
                told = [
                    kind,
                    len(rows),
                    *(show(n, len(rows)) for n in (no_car, said[kind], others)),
                ]
                print(f"| {' | '.join(map(str, told))} |")


def show(count: int, total: int) -> str:
    low, high = compute_wilson_interval(count, total)
    return f"{count} ({low:.3f} to {high:.3f})"


if __name__ == "__main__":
    main()
