"""What the peers share: options, the folders of `prepare.py`, and the files that are measured.

It runs in each peer's own environment, so it knows the standard library alone.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import sys
import time
import types
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeVar

NETWORK = "tf_efficientnet_lite0"
T = TypeVar("T")


def read_options(about: str, **own: float | str) -> argparse.Namespace:
    """LAID, OUT, --seed and --epochs (fewer, to try a script), and a peer's own with defaults."""
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("laid", type=Path, help="a folder that prepare.py has laid out")
    parser.add_argument("out", type=Path, help="for predictions.csv and timing.json")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--epochs", type=int, help="so many at most in each phase, to try it")
    for name, default in own.items():
        parser.add_argument("--" + name.replace("_", "-"), type=type(default), default=default)
    options = parser.parse_args()
    options.laid = options.laid.resolve()
    options.out.mkdir(parents=True, exist_ok=True)
    return options


def use_laid_weights(laid: Path) -> None:
    """Have timm find lite0's weights where it looks for those of the hub, and nothing else.

    To be called before timm is imported.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["HF_HUB_CACHE"] = str(laid / "hub")


def mend_torchvision() -> None:
    """Put an empty module where torchvision, beside a CPU build of torch, fails to import.

    Its compiled operators, which no peer uses, are built for CUDA. To be called before torchvision
    or timm is imported.
    """
    import torch

    if torch.version.cuda is None:
        name = "torchvision._meta_registrations"
        sys.modules.setdefault(name, types.ModuleType(name))


def check_weights(state: dict, laid: Path) -> None:
    """Stop unless these are lite0's weights, all but the classifier's.

    Args:
        state: a state dict in timm's layout.
    """
    from safetensors.torch import load_file

    expected = load_file(laid / "weights.safetensors")
    names = {name for name in expected if not name.startswith("classifier.")}
    assert names == {name for name in state if not name.startswith("classifier.")}
    assert all(state[name].equal(expected[name]) for name in names)


def list_photos(folder: Path) -> list[Path]:
    """Files at any depth, by name."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def time_call(call: Callable[[], T]) -> tuple[T, float]:
    """What it returns, and the seconds it took."""
    begin = time.perf_counter()
    found = call()
    return found, time.perf_counter() - begin


def write_outputs(
    out: Path,
    photos: Sequence[Path],
    classes: Sequence[str],
    probabilities: Iterable[Sequence[float]],
    **told: float,
) -> None:
    """Write predictions.csv, and timing.json with what is told."""
    with (out / "predictions.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("Id", "Category", "Probability"))
        for photo, row in zip(photos, probabilities, strict=True):
            best = max(range(len(classes)), key=lambda at: row[at])
            writer.writerow((photo.name, classes[best], f"{float(row[best]):.4f}"))
    timing = {**told, "num_predicted": len(photos)}
    (out / "timing.json").write_text(json.dumps(timing, indent=2), encoding="utf-8")
