"""How fast the audit is: looking at photos, and searching their hashes for near-duplicates.

    python benchmarks/audit_speed.py photos [--photos 15561] [--rounds 3]
    python benchmarks/audit_speed.py search [--plot benchmarks/audit-search.svg]

`photos` makes a zip of 640 x 480 JPEGs (mixtures of random pictures with the 1/frequency
amplitudes of natural ones, about 80 kB each) and times, in turns, each in a process of its own:
the plain loop (zipfile, Pillow full decode, imagehash.phash; pip install imagehash), lotlens's
look at every photo, and the whole audit with search and closer looks. `search` times random hashes
with 1 % planted crops at four sizes, each in a process of its own, and tells how the time grows
and how many crops it found.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

WIDTH, HEIGHT, QUALITY = 640, 480, 80
SIZES = (25_000, 50_000, 100_000, 200_000)


def draw_bases(count: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(WIDTH) * 640, np.fft.fftfreq(HEIGHT) * 480))
    frequency[0, 0] = 1
    bases = np.empty((count, HEIGHT, WIDTH, 3), np.float32)
    for base in bases:
        noise = np.fft.fft2(rng.standard_normal((HEIGHT, WIDTH, 3)), axes=(0, 1))
        picture = np.fft.ifft2(noise / frequency[..., None] ** 1.3, axes=(0, 1)).real
        base[:] = (picture - picture.mean()) / picture.std()
    return bases


_BASES: list[np.ndarray] = []


def draw_photo(number: int) -> bytes:
    from PIL import Image

    if not _BASES:
        _BASES.append(draw_bases(40))
    rng = np.random.default_rng([1, number])
    picture = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    for base in rng.choice(40, 3, replace=False):
        shift = (int(rng.integers(HEIGHT)), int(rng.integers(WIDTH)))
        picture += rng.uniform(0.3, 1) * np.roll(_BASES[0][base], shift, axis=(0, 1))
    stream = io.BytesIO()
    pixels = np.clip(128 + 45 * picture / picture.std(), 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(stream, "JPEG", quality=QUALITY)
    return stream.getvalue()


def write_zip(path: Path, num_photos: int) -> float:
    """Returns the mean size of a photo's file in bytes."""
    total = 0
    with zipfile.ZipFile(path, "w") as archive, ProcessPoolExecutor() as pool:
        for number, data in enumerate(pool.map(draw_photo, range(num_photos), chunksize=64)):
            archive.writestr(f"{number}.jpg", data)
            total += len(data)
    return total / num_photos


def loop_plainly(path: Path) -> int:
    import imagehash
    from PIL import Image

    hashes = []
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            with Image.open(io.BytesIO(archive.read(name))) as photo:
                photo.load()
                hashes.append(imagehash.phash(photo))
    return len(hashes)


def look(path: Path) -> int:
    from lotlens.audit.signs import scan_photos
    from lotlens.photos.sources import open_photos

    return len(scan_photos(open_photos([path]).photos))


def audit(path: Path) -> int:
    from lotlens.audit.findings import audit_lot
    from lotlens.photos.sources import open_lot

    return sum(audit_lot(open_lot(path)).num_photos.values())


def search(num_hashes: int) -> dict[str, float]:
    from lotlens.audit.hashes import HASH_SIDE, _cut, find_lookalikes

    rng = np.random.default_rng(0)
    frequency = np.hypot(*np.meshgrid(np.arange(HASH_SIDE), np.arange(HASH_SIDE)))
    frequency[0, 0] = 1
    hashes = np.empty((num_hashes, HASH_SIDE, HASH_SIDE), np.float16)
    for start in range(0, num_hashes, 5000):
        noise = rng.standard_normal((min(5000, num_hashes - start), HASH_SIDE, HASH_SIDE))
        hashes[start : start + 5000] = 20 * noise / frequency**1.2
    planted = num_hashes // 100
    crop = _cut((0.05, 0.95), HASH_SIDE)
    noise = 0.3 * rng.standard_normal((planted, HASH_SIDE, HASH_SIDE))
    hashes[:planted] = crop @ hashes[planted : 2 * planted].astype(np.float32) @ crop.T + noise
    hashes[:, 0, 0] = 0
    before_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    start_s = time.perf_counter()
    found = find_lookalikes(hashes)
    seconds = time.perf_counter() - start_s
    pairs = {tuple(sorted(pair)) for pair in found.pairs.tolist()}
    hits = sum((number, number + planted) in pairs for number in range(planted))
    return {
        "hashes": num_hashes,
        "seconds": seconds,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "before_mb": before_mb,
        "recall": hits / planted,
        "other_pairs": len(pairs) - hits,
    }


def run_apart(*arguments: str) -> str:
    command = [sys.executable, __file__, *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def measure_photos(num_photos: int, num_rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "photos.zip"
        size = write_zip(path, num_photos)
        print(f"{num_photos} photos of {WIDTH} x {HEIGHT}, {size / 1024:.0f} kB each")
        seconds: dict[str, list[float]] = {"plain": [], "look": [], "audit": []}
        for _ in range(num_rounds):
            for name, times in seconds.items():
                start_s = time.perf_counter()
                run_apart("one", name, str(path))
                times.append(time.perf_counter() - start_s)
                print(f"{name}: {times[-1]:.1f} s", flush=True)
        for name in ("look", "audit"):
            ratios = [a / b for a, b in zip(seconds["plain"], seconds[name], strict=True)]
            print(
                f"{name}: {statistics.median(ratios):.2f} times as fast as the plain loop"
                f" ({min(ratios):.2f} to {max(ratios):.2f})"
            )


def measure_search(plot: Path | None, num_rounds: int) -> None:
    rows = []
    for _ in range(num_rounds):
        for size in SIZES:
            rows.append(json.loads(run_apart("hashes", str(size))))
            print(rows[-1], flush=True)
    times = [[row["seconds"] for row in rows if row["hashes"] == size] for size in SIZES]
    medians = [statistics.median(some) for some in times]
    exponent = math.log(medians[-1] / medians[0]) / math.log(SIZES[-1] / SIZES[0])
    print(f"time grows as N ** {exponent:.2f} from {SIZES[0]:,} to {SIZES[-1]:,}")
    if plot is None:
        return
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    spread = [[m - min(t) for m, t in zip(medians, times, strict=True)]]
    spread.append([max(t) - m for m, t in zip(medians, times, strict=True)])
    axes.errorbar(SIZES, medians, spread, marker="o", label=f"measured: N ** {exponent:.2f}")
    for power, style in ((1, ":"), (2, "--")):
        ideal = [medians[0] * (size / SIZES[0]) ** power for size in SIZES]
        axes.plot(SIZES, ideal, style, color="grey", label=f"N ** {power}")
    axes.set(xscale="log", yscale="log", xlabel="hashes", ylabel="seconds")
    axes.set_xticks(SIZES, [f"{size // 1000}k" for size in SIZES])
    axes.minorticks_off()
    axes.legend()
    figure.savefig(plot, metadata={"Date": None})
    # Matplotlib leaves blanks at line ends.
    plot.write_text("\n".join(line.rstrip() for line in plot.read_text().splitlines()) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    photos = commands.add_parser("photos")
    photos.add_argument("--photos", type=int, default=15_561)
    photos.add_argument("--rounds", type=int, default=3)
    searching = commands.add_parser("search")
    searching.add_argument("--plot", type=Path)
    searching.add_argument("--rounds", type=int, default=3)
    one = commands.add_parser("one")
    one.add_argument("name")
    one.add_argument("path", type=Path)
    hashes = commands.add_parser("hashes")
    hashes.add_argument("count", type=int)
    options = parser.parse_args()
    if options.command == "photos":
        measure_photos(options.photos, options.rounds)
    elif options.command == "search":
        measure_search(options.plot, options.rounds)
    elif options.command == "one":
        {"plain": loop_plainly, "look": look, "audit": audit}[options.name](options.path)
    else:
        print(json.dumps(search(options.count)))


if __name__ == "__main__":
    main()
