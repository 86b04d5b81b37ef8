"""How long `lotlens predict` takes for one photo, against a bare script that does the same.

    python benchmarks/cold_start.py BUNDLE PHOTO --rounds 20 --python .venv-bare/bin/python

BUNDLE is an ONNX export. The script imports numpy, Pillow and onnxruntime, opens the network,
decodes and resizes the photo, answers and prints the class. Both start in a new process, in turn.
Bytecode must be there for both: unset PYTHONDONTWRITEBYTECODE.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

BARE = """
import sys
import numpy as np
import onnxruntime
from PIL import Image
path, photo, height, width = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
image = Image.open(photo).convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
pixels = (np.asarray(image, np.float32) / 255 - 0.5) / 0.5
batch = np.ascontiguousarray(pixels.transpose(2, 0, 1)[None])
logits, _ = session.run(None, {"photos": batch})
print(int(logits.argmax()))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path)
    parser.add_argument("photo", type=Path)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--python", type=Path, default=Path(sys.executable))
    options = parser.parse_args()
    from lotlens.run import RunFolder

    image = RunFolder(options.bundle).read_card().image
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    spent: dict[str, list[float]] = {"bare": [], "lotlens": []}
    with tempfile.TemporaryDirectory(prefix="lotlens-") as name:
        bare = ["-c", BARE, options.bundle / "model.onnx", options.photo, image.height, image.width]
        ours = ["-m", "lotlens.cli", "predict", options.bundle, options.photo]
        commands = {"bare": bare, "lotlens": [*ours, "--out", Path(name) / "out.csv"]}
        for number in range(options.rounds + 1):
            for which, command in commands.items():
                begun = time.perf_counter()
                subprocess.run(
                    [options.python, *map(str, command)],
                    check=True,
                    env=environment,
                    capture_output=True,
                )
                if number:
                    spent[which].append(time.perf_counter() - begun)
    ratios = np.array(spent["lotlens"]) / np.array(spent["bare"])
    low, high = np.percentile(ratios, [25, 75])
    print(
        f"bare {np.median(spent['bare']):.3f} s, lotlens {np.median(spent['lotlens']):.3f} s;"
        f" ratio {np.median(ratios):.2f} (middle half of {options.rounds} rounds {low:.2f} to"
        f" {high:.2f})"
    )


if __name__ == "__main__":
    main()
