"""In how many bits fine-tuning computes."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from lotlens.vision.classifier import Classifier
from lotlens.vision.depthwise import WideDepthwiseGradients

PRECISIONS: dict[str, Any] = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}


def choose_precision(wanted: str, classifier: Classifier, height: int, width: int) -> str:
    """Which of "bf16", "16" and "32" to train in; "auto" measures, where the CPU computes in bf16.

    CPUs without bf16 instructions emulate it, 15 times slower than fp32 (measured).
    """
    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        return "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "16"
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported() or not _has_native_bf16():
        return "32"
    photos = torch.zeros(8, 3, height, width).contiguous(memory_format=torch.channels_last)
    # A copy: BatchNorm would learn from these photos, and keep it where its layer is frozen.
    trained = copy.deepcopy(classifier).requires_grad_(True).train()
    seconds = {}
    with torch.random.fork_rng(devices=[]):
        for precision in ("32", "bf16", "32", "bf16"):
            start_s = time.perf_counter()
            is_bf16 = precision == "bf16"
            with torch.autocast("cpu", torch.bfloat16, enabled=is_bf16), WideDepthwiseGradients():
                logits, _ = trained(photos)
            logits.float().sum().backward()
            trained.zero_grad(set_to_none=True)
            # The first round of each warms up; the second overwrites it.
            seconds[precision] = time.perf_counter() - start_s
    return min(seconds, key=lambda precision: seconds[precision])


def _has_native_bf16() -> bool:
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


@contextmanager
def be_deterministic(wanted: bool) -> Iterator[None]:
    """Inside, torch uses only algorithms that give the same bits every time, if that is wanted."""
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(wanted or before)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
