"""What fine-tuning minimises: logits and targets to one number; it knows no network or photos."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lotlens.recipes.schema import Head, Loss
from lotlens.vision.distributed import mean_over_processes

_LEAST_SQUARED_SINE = 1e-6
"""Where feature and class weight coincide the sine's slope is infinite; it is held at 1000."""


def build_loss(
    loss: Loss, class_counts: NDArray[np.int64], head: Head | None = None
) -> Callable[[Tensor, Tensor], Tensor]:
    """A function of logits [N, K] and targets [N, K] (rows summing to one) to the mean loss.

    With targets t, smoothed targets s = (1 - e) t + e / K (Szegedy et al. 2016) and class weights
    w the loss is sum(w s (-log p)) / sum(w t), both over photos and classes. For targets of one
    class that is `torch.nn.functional.cross_entropy`; a photo mixed of two classes counts with the
    weights of both, in their shares. Balanced weights are n / (K * count) (King & Zeng 2001); a
    class without photos has weight 0, and may not be all that a batch consists of. Where several
    processes share a batch, sum(w t) is the mean of theirs, so that the mean over processes of the
    losses, and of their gradients, is that of the whole batch.

    ArcFace (Deng et al. 2019) replaces the cosine of the target's class by cos(angle + margin);
    where that would pass 180 degrees, by cosine - margin * sin(margin), as its authors do, so that
    a larger angle always costs more.

    Args:
        loss: which.
        class_counts: [K] training photos per class.
        head: whose logits come; ArcFace needs to know the scale of its cosines.

    Raises:
        ValueError: ArcFace without a cosine head; from the function, ArcFace with mixed targets,
            for which a margin is not defined.
    """
    weights = torch.ones(len(class_counts))
    if loss.class_weights == "balanced":
        present = class_counts > 0
        balanced = class_counts.sum() / (len(class_counts) * np.where(present, class_counts, 1))
        weights = torch.from_numpy(np.where(present, balanced, 0.0)).float()

    def cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
        of_class = weights.to(logits)
        smoothed = (1 - loss.label_smoothing) * targets + loss.label_smoothing / targets.shape[1]
        losses = -of_class * smoothed * functional.log_softmax(logits, dim=1)
        # The mean over processes of what each returns is the loss of the whole batch.
        return losses.sum() / mean_over_processes((of_class * targets).sum())

    if loss.kind == "cross-entropy":
        return cross_entropy
    if head is None or head.kind != "cosine":
        raise ValueError(f"arcface needs a cosine head, not {head and head.kind}")
    scale = head.scale

    def arcface(logits: Tensor, targets: Tensor) -> Tensor:
        if (targets.amax(dim=1) < 1).any():
            raise ValueError("arcface takes targets of one class: it has no margin for mixed ones")
        moved = scale * add_margin(logits / scale, loss.margin)
        return cross_entropy(torch.where(targets > 0, moved, logits), targets)

    return arcface


def add_margin(cosines: Tensor, margin: float) -> Tensor:
    """Cosines of angles to those of the angles plus `margin` radians (see `build_loss`)."""
    sines = (1 - cosines**2).clamp_min(_LEAST_SQUARED_SINE).sqrt()
    moved = cosines * math.cos(margin) - sines * math.sin(margin)
    beyond = cosines - margin * math.sin(margin)
    return torch.where(cosines > -math.cos(margin), moved, beyond)
