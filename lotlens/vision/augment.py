"""Training-time augmentation: of one photo, and of a batch (mixup, CutMix); never of validation.

It knows tensors and the recipe's `Augmentation`, not where photos come from. All randomness comes
from a seed given with each call.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from lotlens.recipe import Augmentation


class PhotoAugmenter:
    """Random views of one photo.

    Args:
        augmentation: what to do.
        height, width: of the result, in pixels.
        fill: RGB of the padding, used where a rotation or shift uncovers it.
    """

    def __init__(
        self, augmentation: Augmentation, height: int, width: int, fill: tuple[int, int, int]
    ) -> None:
        colour = [float(channel) for channel in fill]
        steps: list[Callable[[Tensor], Tensor]] = []
        if augmentation.crop_scale < 1:
            aspect = width / height
            steps.append(
                v2.RandomResizedCrop(
                    (height, width),
                    scale=(augmentation.crop_scale, 1.0),
                    ratio=(aspect * 0.85, aspect / 0.85),
                    antialias=True,
                )
            )
        else:
            steps.append(v2.Resize((height, width), antialias=True))
        if augmentation.flip:
            steps.append(v2.RandomHorizontalFlip(augmentation.flip))
        if augmentation.policy == "trivial":
            steps.append(
                v2.TrivialAugmentWide(interpolation=InterpolationMode.BILINEAR, fill=colour)
            )
        elif augmentation.policy == "mild":
            steps.append(v2.RandomRotation(8, InterpolationMode.BILINEAR, fill=colour))
            steps.append(v2.ColorJitter(0.4, 0.4, 0.4, 0.05))
        if augmentation.erase:
            steps.append(v2.RandomErasing(augmentation.erase))
        self._apply = v2.Compose(steps)

    def __call__(self, photo: Tensor, seed: int) -> Tensor:
        """uint8 [3, H, W] in and out; the same seed gives the same view."""
        # torchvision draws from torch's global generator: lend it one state and give it back.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            result: Tensor = self._apply(photo)
        return result


def mix_batch(
    photos: Tensor, targets: Tensor, alpha: float, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Mix pairs of photos: half of the batches by mixup, half by CutMix, every other batch.

    Sources: Zhang et al. 2017 (mixup), Yun et al. 2019 (CutMix).

    Args:
        photos: [N, 3, H, W] float.
        targets: [N, K] float, rows summing to one.
        alpha: parameter of the Beta distribution of the mixing share.
        rng: the only source of randomness.

    Returns:
        Mixed photos and targets of the same shapes; rows of targets still sum to one.
    """
    if rng.random() < 0.5:
        return photos, targets
    share = float(rng.beta(alpha, alpha))
    partner = torch.from_numpy(rng.permutation(len(photos)))
    if rng.random() < 0.5:
        mixed = share * photos + (1 - share) * photos[partner]
    else:
        height, width = photos.shape[-2:]
        side = math.sqrt(1 - share)
        cut_height, cut_width = int(height * side), int(width * side)
        top = int(rng.integers(0, height - cut_height + 1))
        left = int(rng.integers(0, width - cut_width + 1))
        rows, columns = slice(top, top + cut_height), slice(left, left + cut_width)
        mixed = photos.clone()
        mixed[:, :, rows, columns] = photos[partner][:, :, rows, columns]
        share = 1 - cut_height * cut_width / (height * width)
    return mixed, share * targets + (1 - share) * targets[partner]
