"""The network of lotlens: a backbone and a head; knows nothing of how it is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lotlens.errors import InputError
from lotlens.vision.backbones import build_backbone, layer_groups


class Classifier(nn.Module):
    """A backbone and a linear head.

    The head sees the backbone's final features; with more than one level also the maps of its
    last stages, averaged over the picture. Final features serve ImageNet's thousand classes; what
    tells two saloons apart lies below them, which helps while the backbone is frozen.

    Attributes:
        backbone: photos [N, 3, H, W] to features.
        head: dropout, then a linear layer: features [N, F] to logits [N, K].
        num_levels: 1 for the final features alone, 1 + n for the last n stages besides.

    Raises:
        InputError: the backbone does not give the maps of its stages.
    """

    def __init__(self, backbone: nn.Module, num_classes: int, num_levels: int = 1) -> None:
        super().__init__()
        self.backbone = backbone
        self.num_levels = num_levels
        num_features: int = getattr(backbone, "head_hidden_size", None) or backbone.num_features  # type: ignore[assignment]
        if num_levels > 1:
            stages: Any = getattr(backbone, "feature_info", ())
            if not hasattr(backbone, "forward_intermediates") or len(stages) < num_levels - 1:
                raise InputError(
                    f"feature_levels = {num_levels}, but the backbone"
                    f" {type(backbone).__name__} does not give the maps of so many stages: use 1"
                )
            num_features += sum(stage["num_chs"] for stage in stages[1 - num_levels :])
        self.dropout = nn.Dropout(0.0)
        self.head = nn.Linear(num_features, num_classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, photos: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised photos [N, 3, H, W] to (logits [N, K], features [N, F])."""
        if self.num_levels == 1:
            features = self.backbone(photos)
        else:
            backbone: Any = self.backbone
            last, maps = backbone.forward_intermediates(photos, indices=self.num_levels - 1)
            levels = [backbone.forward_head(last, pre_logits=True), *(m.mean((2, 3)) for m in maps)]
            features = torch.cat(levels, dim=1)
        return self.head(self.dropout(features)), features

    def set_head(self, weight: NDArray[np.float64], bias: NDArray[np.float64]) -> None:
        """Put in a linear classifier found elsewhere: weight [K, F], bias [K]."""
        with torch.no_grad():
            self.head.weight.copy_(torch.from_numpy(weight))
            self.head.bias.copy_(torch.from_numpy(bias))

    def layer_groups(self) -> list[list[str]]:
        """Names of parameters by group, from the input upwards; the last group is the head."""
        groups = [[f"backbone.{n}" for n in group] for group in layer_groups(self.backbone)]
        return [*groups, [f"head.{n}" for n, _ in self.head.named_parameters()]]


def build_classifier(
    backbone: str, num_classes: int, *, num_levels: int = 1, pretrained: bool = True
) -> Classifier:
    """A Classifier in channels-last layout (on CPUs more than twice as fast for convolutions).

    Raises:
        InputError, MissingExtra: see `build_backbone` and `Classifier`.
    """
    network = build_backbone(backbone, pretrained=pretrained)
    classifier = Classifier(network, num_classes, num_levels)
    return classifier.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def frozen_batch_norms(classifier: Classifier, names: Sequence[str]) -> list[nn.Module]:
    """The BatchNorm layers that own any of these parameters, to be kept in inference mode."""
    wanted = set(names)
    return [
        module
        for path, module in classifier.named_modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
        and any(f"{path}.{n}" in wanted for n, _ in module.named_parameters(recurse=False))
    ]
