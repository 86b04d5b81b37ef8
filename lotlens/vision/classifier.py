"""The network of lotlens: a backbone and a head; knows nothing of how it is trained."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lotlens.vision.backbones import build_backbone, layer_groups


class Classifier(nn.Module):
    """A backbone and a linear head.

    Attributes:
        backbone: photos [N, 3, H, W] to features [N, F].
        head: dropout, then a linear layer: features to logits [N, K].
    """

    def __init__(self, backbone: nn.Module, num_classes: int) -> None:
        super().__init__()
        self.backbone = backbone
        num_features = int(backbone.num_features)  # type: ignore[arg-type]
        hidden: int | None = getattr(backbone, "head_hidden_size", None)
        self.dropout = nn.Dropout(0.0)
        self.head = nn.Linear(hidden or num_features, num_classes)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, photos: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised photos [N, 3, H, W] to (logits [N, K], features [N, F])."""
        features = self.backbone(photos)
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


def build_classifier(backbone: str, num_classes: int, *, pretrained: bool = True) -> Classifier:
    """A Classifier in channels-last layout (on CPUs more than twice as fast for convolutions).

    Raises:
        InputError, MissingExtra: see `build_backbone`.
    """
    classifier = Classifier(build_backbone(backbone, pretrained=pretrained), num_classes)
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
