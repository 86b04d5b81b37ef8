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

from lotlens.recipes.schema import Augmentation

_LUMA = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in brightness (ITU-R BT.601)."""
_R3 = 3**-0.5
_QUARTER_TURN = ((0.0, -_R3, _R3), (_R3, 0.0, -_R3), (-_R3, _R3, 0.0))
"""The cross product with the grey axis: a quarter turn of hue."""


class PhotoAugmenter:
    """Random views of one photo.

    Args:
        augmentation: what to do.
        height, width: of the result, in pixels.
        fill: RGB of the padding, used where a rotation or shift uncovers it.

    Attributes:
        box_shift: how far each side of a crop to the car moves before, as a share of the frame; see
            `vision.batches`, which has what lies around the crop.
    """

    def __init__(
        self, augmentation: Augmentation, height: int, width: int, fill: tuple[int, int, int]
    ) -> None:
        self.box_shift = augmentation.box_shift
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
        bilinear = InterpolationMode.BILINEAR
        if augmentation.rotation or augmentation.shift:
            shift = (augmentation.shift, augmentation.shift)
            steps.append(
                v2.RandomAffine(augmentation.rotation, shift, None, None, bilinear, colour)
            )
        if augmentation.brightness != (1, 1):
            steps.append(v2.ColorJitter(brightness=augmentation.brightness))
        if augmentation.policy == "trivial":
            steps.append(v2.TrivialAugmentWide(interpolation=bilinear, fill=colour))
        elif augmentation.policy == "rand":
            steps.append(
                v2.RandAugment(
                    augmentation.operations,
                    augmentation.magnitude,
                    interpolation=bilinear,
                    fill=colour,
                )
            )
        elif augmentation.policy == "mild":
            steps.append(v2.RandomRotation(8, bilinear, fill=colour))
            steps.append(_jitter_colour)
        if augmentation.erase:
            steps.append(v2.RandomErasing(augmentation.erase))
        self._apply = v2.Compose(steps)

    def __call__(self, photo: Tensor, seed: int) -> Tensor:
        """uint8 [3, H, W] in and out; the same seed gives the same view."""
        # torchvision draws from torch's global generator: lend it one state and give it back.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            result: Tensor = self._apply(photo)
        return result


def mix_batch(
    photos: Tensor, targets: Tensor, augmentation: Augmentation, rng: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """Mix pairs of photos by mixup or CutMix, in a share of the batches.

    Sources: Zhang et al. 2018 (mixup), Yun et al. 2019 (CutMix; here the rectangle always lies
    inside the photo).

    Args:
        photos: [N, 3, H, W] float.
        targets: [N, K] float, rows summing to one.
        augmentation: its `mixup`, `cutmix` and `mix_share`.
        rng: the only source of randomness.

    Returns:
        Photos and targets of the same shapes, mixed or as they were; rows of targets sum to one.
    """
    alphas = {"mixup": augmentation.mixup, "cutmix": augmentation.cutmix}
    kinds = [kind for kind, alpha in alphas.items() if alpha]
    if not kinds or rng.random() >= augmentation.mix_share:
        return photos, targets
    kind = kinds[rng.integers(len(kinds))]
    share = float(rng.beta(alphas[kind], alphas[kind]))
    partner = torch.from_numpy(rng.permutation(len(photos)))
    if kind == "mixup":
        mixed = share * photos + (1 - share) * photos[partner]
    else:
        height, width = photos.shape[-2:]
        side = math.sqrt(1 - share)
        cut_height, cut_width = round(height * side), round(width * side)
        top = int(rng.integers(0, height - cut_height + 1))
        left = int(rng.integers(0, width - cut_width + 1))
        rows, columns = slice(top, top + cut_height), slice(left, left + cut_width)
        mixed = photos.clone()
        mixed[:, :, rows, columns] = photos[partner, :, rows, columns]
        # The rectangle has whole pixels: what it covers is what counts.
        share = 1 - cut_height * cut_width / (height * width)
    return mixed, share * targets + (1 - share) * targets[partner]


def _jitter_colour(photo: Tensor) -> Tensor:
    """Brightness, contrast and saturation times 0.6 to 1.4, hue turned by up to 18 degrees.

    All four are linear, so that one matrix does them at once: ten times faster than one after
    another. Hue turns about the grey axis, which leaves a photo's brightness alone, where
    torchvision's turns in HSV.
    """
    brightness, contrast, saturation = torch.empty(3).uniform_(0.6, 1.4).tolist()
    angle = float(torch.empty(()).uniform_(-0.1 * math.pi, 0.1 * math.pi))
    grey = torch.tensor(_LUMA).expand(3, 3)
    colour = torch.eye(3) - grey
    turned = math.cos(angle) * colour + math.sin(angle) * colour @ torch.tensor(_QUARTER_TURN)
    pixels = photo.flatten(1).float()
    mean_grey = grey @ pixels.mean(1, keepdim=True)
    matrix = brightness * contrast * (grey + saturation * turned)
    jittered = torch.addmm(brightness * (1 - contrast) * mean_grey, matrix, pixels)
    return jittered.round_().clamp_(0, 255).to(torch.uint8).view(photo.shape)
