"""How long a scan of many adverts takes, and how much memory, on synthetic ones.

    lotlens sample cars
    lotlens train cars --recipe quick --out RUN && lotlens export RUN --out BUNDLE
    python benchmarks/scan_scale.py BUNDLE cars FOLDER --adverts 10000 100000 [--photos]

Adverts are of 100 invented models (`lotlens.drawn.market`). With --photos each has one of its own:
four drawn photos of the lot side by side, so that no two are one picture. Each scan is a process of
its own, whose peak memory is told; "in words" is what follows prices and photos: the order, the
page and the tables.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from lotlens.drawn.market import draw_adverts, write_adverts

_CARS = tuple(f"Make{number // 5} {number % 5}" for number in range(100))
_SIDE = (96, 72)  # of each of the four
_SCAN = """
import json, resource, sys, time
from lotlens.verbs import scan as scanning
marks = {}
def note(name, function):
    def timed(*args, **given):
        start = time.perf_counter()
        result = function(*args, **given)
        marks[name] = marks.get(name, 0) + time.perf_counter() - start
        return result
    return timed
for name, part in (("read_listings", "reading"), ("_look", "photos"), ("learn_prices", "prices")):
    setattr(scanning, name, note(part, getattr(scanning, name)))
start, begun = time.perf_counter(), time.process_time()
run, adverts, photos, out = sys.argv[1:5]
found = scanning.scan(run, adverts, photos or None, out=out)
wall, cpu = time.perf_counter() - start, time.process_time() - begun
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({**marks, "wall": wall, "cpu": cpu, "peak": peak, "adverts": len(found.offers)}))
"""


def draw_photos(path: Path, lot: Path, ids: list[str], seed: int) -> None:
    """A zip with a picture of its own for each advert."""
    rng = np.random.default_rng(seed)
    tiles = []
    with zipfile.ZipFile(lot / "train.zip") as archive:
        for name in archive.namelist():
            try:
                with Image.open(io.BytesIO(archive.read(name))) as photo:
                    tiles.append(photo.convert("RGB").resize(_SIDE))
            except OSError:  # planted: it cannot be read
                continue
    with zipfile.ZipFile(path, "w") as archive:
        for id_ in ids:
            picture = Image.new("RGB", (2 * _SIDE[0], 2 * _SIDE[1]))
            for place, tile in enumerate(rng.integers(len(tiles), size=4)):
                picture.paste(tiles[tile], (place % 2 * _SIDE[0], place // 2 * _SIDE[1]))
            written = io.BytesIO()
            picture.save(written, format="JPEG", quality=80)
            archive.writestr(f"{id_}.jpg", written.getvalue())


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    for name in ("run", "lot", "folder"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--adverts", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--photos", action="store_true")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    print("| adverts | photos | wall, s | CPU, s | adverts a second | reading | photos, s "
          "| prices, s | in words, s | peak, MiB | page, MB |")  # fmt: skip
    print("|---" * 11 + "|")
    for num in given.adverts:
        adverts = draw_adverts(num, _CARS, seed=num)
        table, photos, out = (given.folder / f"{num}{end}" for end in (".csv", ".zip", "-deals"))
        if given.photos:
            adverts = [replace(one, photos=(one.id,)) for one in adverts]
            draw_photos(photos, given.lot, [f"{one.id}-1" for one in adverts], seed=num)
        write_adverts(table, adverts)
        del adverts
        words = [sys.executable, "-c", _SCAN, given.run, table, photos if given.photos else "", out]
        done = subprocess.run(list(map(str, words)), check=True, capture_output=True, text=True)
        told = json.loads(done.stdout.splitlines()[-1])
        assert told["adverts"] == num
        parts = [told.get(name, 0.0) for name in ("reading", "photos", "prices")]
        rest = told["wall"] - sum(parts)
        page = (out / "deals.html").stat().st_size / 1e6
        cells = [
            f"{num:,}", "one each" if given.photos else "none", f"{told['wall']:.0f}",
            f"{told['cpu']:.0f}", f"{num / told['wall']:.0f}", *(f"{part:.0f}" for part in parts),
            f"{rest:.0f}", f"{told['peak']:.0f}", f"{page:.1f}",
        ]  # fmt: skip
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
