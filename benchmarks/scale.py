"""The competition's own size: what its 22,236 photos take, step by step.

    python benchmarks/scale.py DATA FOLDER --draw
    python benchmarks/scale.py DATA FOLDER --steps plan audit quick evaluate predict [standard]

DATA is a folder with train.csv, train.zip, test-labels.csv and test.zip of any set of cars, such as
Stanford Cars. --draw writes FOLDER/lot.zip as the competition hands it out: train.csv,
sample-submission.csv, train.zip and test.zip in one zip; 15,561 and 6,675 JPEGs of 640x480, DATA's
photos enlarged, in ten groups by label. DATA has fewer photos than that: each is used again turned
by a few degrees, cut, mirrored and in other colours, which the audit may take for another photo or
not; nothing is to be concluded from any accuracy here.

Steps run as users run them, each a process whose wall time, CPU time and peak memory (of the
largest process) are printed, with the size of what was written. "plan" is `train --dry-run` of both
recipes, to compare with what follows.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import resource
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance

from lotlens.photos.archives import PhotoReader
from lotlens.photos.sources import open_lot
from lotlens.records import Photo

NUM_TRAIN, NUM_TEST, NUM_GROUPS = 15_561, 6_675, 10
SIZE = (640, 480)


def change(photo: Image.Image, rng: np.random.Generator) -> Image.Image:
    """The photo as another one might show the same."""
    width, height = photo.size
    cut = rng.uniform(0.05, 0.2, 4)
    box = (cut[0] * width, cut[1] * height, (1 - cut[2]) * width, (1 - cut[3]) * height)
    turned = photo.rotate(rng.uniform(-12, 12), Image.Resampling.BILINEAR)
    changed = ImageEnhance.Color(turned.crop(tuple(map(round, box)))).enhance(rng.uniform(0, 1.8))
    return changed.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


def draw(data: Path, path: Path) -> None:
    """Write the lot, as one zip with zips inside."""
    train, test = (
        open_lot(data).train,
        open_lot(data / "test-labels.csv", photos=data / "test.zip").train,
    )
    photos = [photo for photo in (*train.photos, *test.photos) if photo.locator is not None]
    labels = sorted({photo.label or "" for photo in photos})
    rng = np.random.default_rng(0)
    order = rng.permutation(len(photos)).tolist()
    order = (order * (1 + (NUM_TRAIN + NUM_TEST) // len(photos)))[: NUM_TRAIN + NUM_TEST]
    parts = {"train": order[:NUM_TRAIN], "test": order[NUM_TRAIN:]}
    seen: set[int] = set()
    tables: dict[str, list[tuple[str, str]]] = {}
    with zipfile.ZipFile(path, "w") as whole, PhotoReader() as reader:
        for part, rows in parts.items():
            inner = path.with_name(f"{part}.zip")
            table = tables.setdefault(part, [])
            with zipfile.ZipFile(inner, "w") as archive:
                for number, row in enumerate(rows):
                    photo: Photo = photos[row]
                    assert photo.locator is not None
                    with Image.open(io.BytesIO(reader.read(photo.locator))) as opened:
                        image = opened.convert("RGB")
                    image = change(image, rng) if row in seen else image
                    seen.add(row)
                    written = io.BytesIO()
                    image.resize(SIZE, Image.Resampling.BICUBIC).save(written, "JPEG", quality=85)
                    group = labels.index(photo.label or "") * NUM_GROUPS // len(labels)
                    table.append((f"{number}.jpg", str(group)))
                    folder = f"train/{group}" if part == "train" else "test_upload"
                    archive.writestr(f"{folder}/{number}.jpg", written.getvalue())
            whole.write(inner, inner.name)
            inner.unlink()
        whole.writestr("train.csv", write_table(tables["train"]))
        nothing = [(name, "0") for name, _ in tables["test"]]
        whole.writestr("sample-submission.csv", write_table(nothing))
    path.with_name("test-labels.csv").write_text(write_table(tables["test"]))


def write_table(rows: list[tuple[str, str]]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerows([("Id", "Category"), *rows])
    return file.getvalue()


def measure(name: str, command: list[str], made: Path | None, log: Path) -> None:
    """Run a step; its times and peak memory as a row."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun_s = time.perf_counter()
    with log.open("a") as file:
        file.write(f"$ {' '.join(command)}\n")
        file.flush()
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        _, status, used = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - begun_s
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    size = ""
    if made is not None and made.exists():
        files = [made] if made.is_file() else [one for one in made.rglob("*") if one.is_file()]
        size = f"{sum(one.stat().st_size for one in files) / 1e6:.1f} MB"
    outcome = "" if status == 0 else f" (ended with {os.waitstatus_to_exitcode(status)})"
    peak = used.ru_maxrss / 2**20
    print(
        f"| {name}{outcome} | {wall_s / 60:.1f} | {cpu_s / 60:.1f} | {peak:.2f} GiB | {size} |",
        flush=True,
    )


def main() -> None:
    """Draw, or measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--draw", action="store_true")
    parser.add_argument(
        "--steps", nargs="*", default=["plan", "audit", "quick", "evaluate", "predict"]
    )
    options = parser.parse_args()
    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    lot, log = folder / "lot.zip", folder / "steps.log"
    if options.draw:
        draw(options.data, lot)
        print(f"{lot}: {lot.stat().st_size / 1e9:.2f} GB")
        return
    quick, standard, audit = folder / "quick", folder / "standard", folder / "audit"
    submission = folder / "submission.csv"
    # Step -> what it is called with, and what it writes.
    steps: dict[str, tuple[list[object], Path | None]] = {
        "plan": (["train", lot, "--recipe", "quick", "--dry-run"], None),
        "plan standard": (["train", lot, "--recipe", "standard", "--dry-run"], None),
        "audit": (["audit", lot, "--out", audit], audit),
        "quick": (["train", lot, "--recipe", "quick", "--out", quick], quick),
        "evaluate": (["evaluate", quick], None),
        "predict": (["predict", quick, "--out", submission], submission),
        "standard": (["train", lot, "--recipe", "standard", "--out", standard], standard),
    }
    print("| step | minutes | CPU minutes | peak memory | written |\n|---|---|---|---|---|")
    for name in options.steps:
        words, made = steps[name]
        measure(name, [sys.executable, "-m", "lotlens.cli", *map(str, words)], made, log)


if __name__ == "__main__":
    main()
