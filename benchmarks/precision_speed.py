"""CPU time of a step of fine-tuning in fp32 and in bf16, with torch's gradients and with lotlens'.

    python benchmarks/precision_speed.py --rounds 8

The three take turns; the network, its frozen groups and the sizes are those of the recipe
`standard`, the photos are random. Times are CPU milliseconds of a batch of 8, medians over the
rounds after two of warming up; ratios are taken round by round. Photos are not read or augmented.
"""

from __future__ import annotations

import argparse
import statistics
import time
from contextlib import nullcontext

import torch
from torch.nn import functional

from lotlens.recipes.loading import load_recipe
from lotlens.vision.classifier import build_classifier
from lotlens.vision.depthwise import WideDepthwiseGradients
from lotlens.vision.engine import tune_process
from lotlens.vision.layers import count_frozen

KINDS = ("fp32", "bf16 by torch", "bf16 by lotlens")
NUM_CLASSES, NUM_WARM_UP = 10, 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=8)
    options = parser.parse_args()
    tune_process()
    recipe = load_recipe("standard")
    stage = recipe.stages[-1]
    model = build_classifier(
        "lite0", NUM_CLASSES, num_levels=recipe.feature_levels, pooling=recipe.pooling
    ).train()
    groups = model.layer_groups()[: count_frozen(model, stage.unfreeze)]
    frozen = {name for group in groups for name in group}
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in frozen)
    trained = [one for one in model.parameters() if one.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=1e-6, fused=True)
    targets = torch.randint(NUM_CLASSES, (stage.batch_size,))
    print("| size |", " | ".join(f"{kind}, ms" for kind in KINDS), "| fp32 / bf16 by lotlens |")
    print("|---|---|---|---|---|")
    for size in stage.sizes:
        photos = torch.randn(stage.batch_size, 3, size.height, size.width)
        photos = photos.contiguous(memory_format=torch.channels_last)
        spent: dict[str, list[float]] = {kind: [] for kind in KINDS}
        for _ in range(NUM_WARM_UP + options.rounds):
            for kind in KINDS:
                start_s = time.process_time()
                wide = WideDepthwiseGradients() if kind == KINDS[-1] else nullcontext()
                with torch.autocast("cpu", torch.bfloat16, enabled=kind != KINDS[0]), wide:
                    logits, _ = model(photos)
                functional.cross_entropy(logits.float(), targets).backward()
                optimiser.step()
                optimiser.zero_grad()
                spent[kind].append(1000 * (time.process_time() - start_s))
        kept = [spent[kind][NUM_WARM_UP:] for kind in KINDS]
        ratios = [first / last for first, *_, last in zip(*kept, strict=True)]
        print(
            f"| {size.height}x{size.width} |",
            " | ".join(f"{statistics.median(each):.0f}" for each in kept),
            f"| {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) |",
        )


if __name__ == "__main__":
    main()
