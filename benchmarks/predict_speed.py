"""Photos answered per second, whole-way, against the plain ways; profile; memory.

    python benchmarks/predict_speed.py RUN PHOTOS --rounds 5
    python benchmarks/predict_speed.py RUN PHOTOS --memory 10000 100000

RUN is a run with lite0 as its backbone; exports that it lacks are made. PHOTOS is a folder or a zip
of real photos. They are brought to 640x480, and to 4000x3000 with a camera's noise (4 of 255), and
each is given several names. Every contender reads the same files and gives a row for each:

    plain             timm eager in float32, Pillow, a DataLoader with two workers, batches of 32
    onnxruntime       a script: Pillow and ONNX Runtime in float32, one photo after another
    NAME              `lotlens predict` with an export, in this process, without its start

Contenders take turns in each round, so that what else the machine does falls on all of them;
figures are ratios to one contender within a round, their mean and their least and largest.
"""

from __future__ import annotations

import argparse
import csv
import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from joblib import cpu_count
from PIL import Image
from torch.utils.data import DataLoader, Dataset

import lotlens
import lotlens.vision  # before timm: it sets torchvision right
from lotlens.deliver.model import Model
from lotlens.photos.archives import PhotoReader
from lotlens.photos.decode import decode_sized
from lotlens.photos.prepare import decode_size, fit_photo, normalise
from lotlens.photos.quality import find_flaw, frame_photo, measure_quality
from lotlens.records import ImageSpec
from lotlens.verbs.export import export
from lotlens.vision.backbones import timm

SIZES = {"640x480": (640, 480, 600), "4000x3000": (4000, 3000, 60)}
# The peak of this program alone; what a parent is told of its children includes its own.
PREDICT = """
import sys
from lotlens.cli.app import main as run_lotlens
sys.argv = ["lotlens", "predict", sys.argv[1], sys.argv[2], "--out", sys.argv[3]]
try:
    run_lotlens()
except SystemExit as stop:
    assert not stop.code
with open("/proc/self/status") as file:
    print(next(line for line in file if line.startswith("VmHWM")))
"""
EXPORTS = (("onnx", "fp32"), ("onnx", "int8"), ("openvino", "fp32"), ("openvino", "int8"))


def read_photos(path: Path) -> list[Image.Image]:
    images = []
    with PhotoReader() as reader:
        for photo in lotlens.open_photos([path]).photos[:40]:
            if photo.locator is not None:
                pixels, _ = decode_sized(reader.read(photo.locator))
                images.append(Image.fromarray(pixels))
    return images


def lay_photos(images: Sequence[Image.Image], size: tuple[int, int], count: int, out: Path) -> Path:
    """`count` names for the photos at that size; equal pictures share their bytes on the disk."""
    out.mkdir(parents=True)
    rng = np.random.default_rng(0)
    files = []
    for number, image in enumerate(images[: min(len(images), count)]):
        large = image.resize(size, Image.Resampling.BICUBIC)
        if size[0] > 2 * image.width:
            noise = rng.normal(0, 4, (size[1], size[0], 1))
            large = Image.fromarray(np.clip(np.asarray(large) + noise, 0, 255).astype(np.uint8))
        path = out / f"{number:06}.jpg"
        large.save(path, "JPEG", quality=90)
        files.append(path)
    for number in range(len(files), count):
        os.link(files[number % len(files)], out / f"{number:06}.jpg")
    return out


class Plain(Dataset):
    def __init__(self, files: Sequence[Path], spec: ImageSpec) -> None:
        self.files, self.spec = files, spec

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, row: int) -> torch.Tensor:
        return torch.from_numpy(prepare_plainly(self.files[row], self.spec))


def prepare_plainly(path: Path, spec: ImageSpec) -> np.ndarray:
    with Image.open(path) as image:
        small = image.convert("RGB").resize((spec.width, spec.height), Image.Resampling.BICUBIC)
    pixels = np.asarray(small, np.float32) / 255
    scaled = (pixels - np.float32(spec.mean)) / np.float32(spec.std)
    return np.ascontiguousarray(scaled.transpose(2, 0, 1))


def answer_plainly(num_classes: int, spec: ImageSpec) -> Callable[[Path], int]:
    network = timm.create_model("tf_efficientnet_lite0", num_classes=num_classes).eval()

    def answer(folder: Path) -> int:
        loader = DataLoader(Plain(sorted(folder.iterdir()), spec), batch_size=32, num_workers=2)
        rows = []
        with torch.inference_mode():
            for batch in loader:
                rows.extend(network(batch).argmax(dim=1).tolist())
        return len(rows)

    return answer


def answer_by_script(bundle: Path, spec: ImageSpec) -> Callable[[Path], int]:
    session = onnxruntime.InferenceSession(
        bundle / "model.onnx", providers=["CPUExecutionProvider"]
    )

    def answer(folder: Path) -> int:
        rows = []
        for path in sorted(folder.iterdir()):
            logits, _ = session.run(None, {"photos": prepare_plainly(path, spec)[None]})
            rows.append(int(logits.argmax()))
        return len(rows)

    return answer


def answer_with(model: Model) -> Callable[[Path], int]:
    # Opened once, as the other contenders' networks are.
    opened = model.open(10_000)

    def answer(folder: Path) -> int:
        catalog = lotlens.open_photos([folder])
        return len(model.list_answers(opened.answer(catalog)))

    return answer


def measure_size(folder: Path) -> float:
    sizes = [path.stat().st_size for path in folder.iterdir()]
    return sum(sizes) / len(sizes) / 1e6


def race(
    contenders: dict[str, Callable[[Path], int]], folder: Path, rounds: int
) -> dict[str, list[float]]:
    """Photos per second, for each round."""
    count = len(list(folder.iterdir()))
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, answer in contenders.items():
            begun = time.perf_counter()
            assert answer(folder) == count
            if number:  # the first round warms up
                rates[name].append(count / (time.perf_counter() - begun))
    return rates


def print_rates(title: str, rates: dict[str, list[float]]) -> None:
    print(f"\n{title}")
    print("| contender | photos/s | times plain | times onnxruntime |")
    print("|---|---|---|---|")
    for name, own in rates.items():
        told = []
        for base in ("plain", "onnxruntime"):
            ratios = [a / b for a, b in zip(own, rates[base], strict=True)]
            told.append(f"{np.mean(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
        print(f"| {name} | {np.mean(own):.0f} | {told[0]} | {told[1]} |", flush=True)


def profile(model: Model, folder: Path) -> None:
    """Milliseconds of one core for each step of a photo, and what bounds the whole."""
    files = sorted(folder.iterdir())[:40]
    spec = model.card.image
    enough = decode_size(spec)
    predictor = model.build_predictor(10_000)
    spent = dict.fromkeys(("read", "decode", "quality", "fit", "normalise", "network"), 0.0)

    def clock(step: str, work: Callable[[], object]) -> object:
        begun = time.perf_counter()
        result = work()
        spent[step] += time.perf_counter() - begun
        return result

    for start in range(0, len(files), 8):
        fitted = []
        for path in files[start : start + 8]:
            data = clock("read", path.read_bytes)
            pixels, size = clock(
                "decode", lambda d=data: decode_sized(d, min_size=decode_size(spec))
            )
            clock("quality", lambda p=pixels, s=size: find_flaw(measure_quality(frame_photo(p), s)))
            fitted.append(clock("fit", lambda p=pixels: fit_photo(p, spec)))
        batch = clock("normalise", lambda f=fitted: normalise(np.stack(f), spec))
        clock("network", lambda b=batch: predictor(b))
    for step, seconds in spent.items():
        print(f"  {step:<10} {1000 * seconds / len(files):6.2f} ms")
    total = sum(spent.values()) / len(files)
    decode_s, network_s = (spent[step] / len(files) for step in ("decode", "network"))
    bound = "decode-bound" if decode_s > network_s else "compute-bound"
    cores = cpu_count()
    print(
        f"  in all     {1000 * total:6.2f} ms of one core: {bound}; decoding alone"
        f" {cores / decode_s:.0f} photos/s on {cores} cores, the network alone"
        f" {cores / network_s:.0f}, all steps {cores / total:.0f}"
    )
    begun = time.perf_counter()
    for path in files:
        with Image.open(io.BytesIO(path.read_bytes())) as image:
            image.draft("RGB", enough)
            image.load()
    pure_s = (time.perf_counter() - begun) / len(files)
    print(f"  libjpeg-turbo's scaled decoding and nothing else: {1000 * pure_s:.2f} ms")


def measure_memory(bundle: Path, images: Sequence[Image.Image], counts: Sequence[int]) -> None:
    """Peak memory of `lotlens predict` for so many photos."""
    print("| photos | peak memory | seconds |\n|---|---|---|")
    for count in counts:
        with tempfile.TemporaryDirectory(prefix="lotlens-") as name:
            folder = lay_photos(images, (640, 480), count, Path(name) / "photos")
            command = [sys.executable, "-c", PREDICT, bundle, folder, Path(name) / "out.csv"]
            begun = time.perf_counter()
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            seconds = time.perf_counter() - begun
            with (Path(name) / "out.csv").open(encoding="utf-8", newline="") as file:
                assert len({row[0] for row in csv.reader(file)}) == count + 1
        peak_mib = int(done.stdout.split()[-2]) / 1024
        print(f"| {count:,} | {peak_mib:.0f} MiB | {seconds:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory", nargs="+", type=int)
    options = parser.parse_args()
    models = {}
    for engine, precision in EXPORTS:
        path = options.run / "exports" / f"{engine}-{precision}"
        if not path.is_dir():
            export(options.run, engine=engine, precision=precision)
        models[f"{engine} {precision}"] = lotlens.load(path)
    images = read_photos(options.photos)
    if options.memory:
        measure_memory(models["onnx int8"].run.path, images, options.memory)
        return
    torch.set_num_threads(cpu_count())
    card = models["onnx fp32"].card
    contenders = {
        "plain": answer_plainly(len(card.classes), card.image),
        "onnxruntime": answer_by_script(models["onnx fp32"].run.path, card.image),
        **{name: answer_with(model) for name, model in models.items()},
    }
    for title, (width, height, count) in SIZES.items():
        with tempfile.TemporaryDirectory(prefix="lotlens-") as name:
            folder = lay_photos(images, (width, height), count, Path(name) / "photos")
            print_rates(
                f"{title}, {count} photos of {measure_size(folder):.2f} MB, {options.rounds}"
                f" rounds, network at {card.image.height}x{card.image.width}",
                race(contenders, folder, options.rounds),
            )
            for shown in ("onnx fp32", "onnx int8", "openvino int8"):
                print(f"one core, {title}, {shown}:")
                profile(models[shown], folder)


if __name__ == "__main__":
    main()
