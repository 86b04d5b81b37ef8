"""Lays out a lot as plain folders, with lite0's weights, so that other tools can be measured on it.

    python benchmarks/peers/prepare.py RUN LAID

RUN is a finished run of lotlens: its split is what every tool is given. LAID gets train/CLASS/ID,
valid/CLASS/ID and test/ID; weights.safetensors in timm's layout, which hub/ holds as timm's hub
would; an input with the network's output, for tools that build the network themselves; and the
split itself with where the lot is, for lotlens. The answers of the test part are not among it.

With --spoil, LAID is spoilt as lots come: five files among the photos of train/ cannot be read
(cut off, empty, text, a PNG cut off, a page of HTML), and twenty photos of train/ are in test/ too,
compressed anew. `spoilt.csv` lists them.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from lotlens.files import write_rows_atomically
from lotlens.photos.archives import read_bytes
from lotlens.photos.sources import open_lot
from lotlens.vision.compat import mend_torchvision

FOLDERS = {"train": "train", "validation": "valid"}
NUM_COPIES = 20
REVISION = "0" * 40


def lay_photos(run: Path, laid: Path) -> None:
    """Write the photos of each part, the split, and where the lot is."""
    data = Path(json.loads((run / "source.json").read_text(encoding="utf-8"))["data"])
    with (run / "split.csv").open(encoding="utf-8", newline="") as file:
        parts = {row["Id"]: row["Part"] for row in csv.DictReader(file)}
    lot = open_lot(data)
    for photo in lot.train.with_files().photos:
        folder = laid / FOLDERS[parts[photo.id]] / str(photo.label)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / photo.id).write_bytes(read_bytes(photo.locator))
    (laid / "test").mkdir(parents=True, exist_ok=True)
    for photo in lot.test.with_files().photos:
        (laid / "test" / photo.id).write_bytes(read_bytes(photo.locator))
    shutil.copy(run / "split.csv", laid / "split.csv")
    (laid / "source.json").write_text(json.dumps({"data": str(data)}), encoding="utf-8")


def lay_weights(laid: Path) -> None:
    """Write lite0's weights with ImageNet's head, and the logits of some input, from torch."""
    mend_torchvision()
    import torch
    from safetensors.torch import save_file

    from lotlens.vision.backbones import build_embedded

    network = build_embedded("lite0").eval()
    save_file(network.state_dict(), laid / "weights.safetensors")
    pixels = torch.rand(2, 3, 192, 288, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        logits = network(pixels)
    save_file({"pixels": pixels, "logits": logits.clone()}, laid / "check.safetensors")
    hub = laid / "hub" / "models--timm--tf_efficientnet_lite0.in1k"
    snapshot = hub / "snapshots" / REVISION
    snapshot.mkdir(parents=True, exist_ok=True)
    (hub / "refs").mkdir(exist_ok=True)
    (hub / "refs" / "main").write_text(REVISION, encoding="utf-8")
    shutil.copy(laid / "weights.safetensors", snapshot / "model.safetensors")


def spoil(laid: Path) -> None:
    """Put five files that are no photos into train/, and copies of its photos into test/."""
    photos = sorted((laid / "train").glob("*/*"))
    chosen = np.random.default_rng(0).permutation(len(photos))[: NUM_COPIES + 1].tolist()
    whole = photos[chosen[-1]].read_bytes()
    png = io.BytesIO()
    with Image.open(photos[chosen[-1]]) as picture:
        picture.save(png, "PNG")
    broken = {
        "broken-cut.jpg": whole[: len(whole) // 2],
        "broken-empty.jpg": b"",
        "broken-text.jpg": b"photo is on the other disk\n" * 20,
        "broken-cut.png": png.getvalue()[: len(png.getvalue()) // 2],
        "broken-page.jpg": b"<!DOCTYPE html><html><body>404 Not Found</body></html>\n",
    }
    folders = sorted((laid / "train").iterdir())
    rows = []
    for folder, (name, data) in zip(folders, broken.items(), strict=False):
        (folder / name).write_bytes(data)
        rows.append((f"train/{folder.name}/{name}", "cannot be read"))
    for at in chosen[:NUM_COPIES]:
        with Image.open(photos[at]) as picture:
            picture.convert("RGB").save(laid / "test" / f"copy-{photos[at].name}", quality=70)
        rows.append((f"test/copy-{photos[at].name}", f"train/{photos[at].parent.name}"))
    write_rows_atomically(laid / "spoilt.csv", ("File", "What"), rows)


def main() -> None:
    """Lay out photos and weights."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("laid", type=Path)
    parser.add_argument("--spoil", action="store_true")
    options = parser.parse_args()
    if options.laid.exists():
        parser.error(f"{options.laid} is there already")
    lay_photos(options.run, options.laid)
    lay_weights(options.laid)
    if options.spoil:
        spoil(options.laid)


if __name__ == "__main__":
    main()
