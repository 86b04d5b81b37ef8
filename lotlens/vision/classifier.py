"""The network of lotlens: a backbone and a head; knows nothing of how it is trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from lotlens.errors import InputError
from lotlens.recipes.schema import Head
from lotlens.records import FloatArray, Pooling
from lotlens.vision.backbones import build_backbone, has_final, layer_groups, take_off_final
from lotlens.vision.pooling import CovariancePool, fit_directions


class CosineHead(nn.Module):
    """Features [N, F] to scaled cosines between them and a vector of each class, [N, K]."""

    def __init__(self, num_features: int, num_classes: int, scale: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_classes, num_features))
        self.scale = scale
        nn.init.xavier_uniform_(self.weight)

    def forward(self, features: Tensor) -> Tensor:
        # Sixteen bits tell small angles apart only in steps of five degrees.
        with torch.autocast(features.device.type, enabled=False):
            directions = functional.normalize(features.float())
            return self.scale * functional.linear(directions, functional.normalize(self.weight))


Weights = dict[str, Tensor]
"""A state_dict: tensors by name."""


class Classifier(nn.Module):
    """A backbone and a head.

    The head sees the backbone's final features; with more than one level also the maps of its
    last stages, averaged over the picture. Final features serve ImageNet's thousand classes; what
    tells two saloons apart lies below them, which helps while the backbone is frozen. Where
    covariances are pooled (`vision.pooling`), it sees those of the last stages, and what the
    backbone has above these is taken off it.

    A linear head starts at zero and answers nothing; the others draw their weights from torch's
    global generator, which `build_classifier` seeds.

    Attributes:
        backbone: photos [N, 3, H, W] to features.
        num_classes: K.
        has_others: whether the head has one more output, after those of the classes, for photos
            that show none of them.
        num_levels: 1 for the final features alone, 1 + n for the last n stages besides.
        pooling: how maps become features: "mean" or "covariance".
        head_shape: the head as the recipe describes it.
        dropout: before a linear head; the others do without.
        head: features [N, F] to logits [N, K], or [N, K + 1] where it has others.

    Raises:
        InputError: the backbone does not give the maps of its stages; it has no final features and
            means are pooled; or covariances are to be pooled of no stage.
    """

    def __init__(
        self,
        backbone: nn.Module,
        num_classes: int,
        num_levels: int = 1,
        head: Head = Head(),
        *,
        pooling: Pooling = "mean",
        has_others: bool = False,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.pooling = pooling
        self.num_classes = num_classes
        self.has_others = has_others
        self.num_levels = num_levels
        self.head_shape = head
        stages: Any = getattr(backbone, "feature_info", ())
        can_give = hasattr(backbone, "forward_intermediates") and len(stages) >= num_levels - 1
        if num_levels > 1 and not can_give:
            raise InputError(
                f"feature_levels = {num_levels}, but the backbone"
                f" {type(backbone).__name__} does not give the maps of so many stages: use 1"
            )
        if pooling == "covariance" and num_levels == 1:
            raise InputError("pooling = covariance needs feature_levels of 2 or more")
        if pooling == "covariance" and not hasattr(backbone, "prune_intermediate_layers"):
            raise InputError(
                f"pooling = covariance, but the backbone {type(backbone).__name__} cannot be cut"
                " above its stages: set pooling to mean"
            )
        channels = [stage["num_chs"] for stage in stages[1 - num_levels :]]
        if pooling == "covariance":
            take_off_final(backbone, num_levels - 1)
            pools = [CovariancePool(number) for number in channels]
            num_features = sum(pool.num_features for pool in pools)
            self.pools = nn.ModuleList(pools)
        else:
            if not has_final(backbone):
                raise InputError(
                    "the run that training starts from pools covariances and has no final"
                    " features: set pooling to covariance and feature_levels to 2 or more"
                )
            num_features = getattr(backbone, "head_hidden_size", None) or backbone.num_features  # type: ignore[assignment]
            num_features += sum(channels) if num_levels > 1 else 0
        self.dropout = nn.Dropout(0.0)
        self.head = _build_head(head, num_features, self.num_outputs)

    @property
    def num_outputs(self) -> int:
        """Of the head."""
        return self.num_classes + self.has_others

    def forward(self, photos: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised photos [N, 3, H, W] to (logits [N, outputs], features [N, F])."""
        if self.num_levels == 1:
            features = self.backbone(photos)
        else:
            features = self.pool(self.find_maps(photos))
        is_linear = isinstance(self.head, nn.Linear)
        return self.head(self.dropout(features) if is_linear else features), features

    def find_maps(self, photos: Tensor) -> list[Tensor]:
        """What is pooled: [N, C, H, W] of each stage that the head sees, the last one last.

        Means are pooled of the final map too, which is the very last.
        """
        backbone: Any = self.backbone
        if self.num_levels == 1:
            return [backbone.forward_features(photos)]
        num_stages = self.num_levels - 1
        if self.pooling == "covariance":
            found: list[Tensor] = backbone.forward_intermediates(
                photos, indices=num_stages, intermediates_only=True
            )
            return found
        last, lower = backbone.forward_intermediates(photos, indices=num_stages)
        return [*lower, last]

    def pool(self, maps: Sequence[Tensor]) -> Tensor:
        """What `find_maps` gives, to features [N, F]."""
        if self.pooling == "covariance":
            levels = [pool(own) for pool, own in zip(self.pools, maps, strict=True)]
        else:
            backbone: Any = self.backbone
            *lower, last = maps
            levels = [
                backbone.forward_head(last, pre_logits=True),
                *(own.mean((2, 3)) for own in lower),
            ]
        return torch.cat(levels, dim=1)

    def fit_pooling(self, photos: Iterator[FloatArray]) -> None:
        """Find the directions of covariances in prepared batches [N, 3, H, W]; means have none.

        Raises:
            InputError: there is no photo to show them.
        """
        if self.pooling != "covariance":
            return
        self.eval()
        device = next(self.parameters()).device
        with torch.inference_mode():
            by_batch = [self.find_maps(torch.from_numpy(batch).to(device)) for batch in photos]
            if not by_batch:
                raise InputError("none of the photos looked at can be read")
            pool: Any
            for pool, maps in zip(self.pools, zip(*by_batch, strict=True), strict=True):
                places = torch.cat([own.movedim(1, 3).flatten(0, 2) for own in maps])
                pool.directions.copy_(fit_directions(places, len(pool.directions)))

    def set_head(self, weight: NDArray[np.float64], bias: NDArray[np.float64]) -> None:
        """Put in a linear classifier found elsewhere: weight [outputs, F], bias [outputs].

        Raises:
            ValueError: the head is not linear.
        """
        if not isinstance(self.head, nn.Linear):
            raise ValueError(f"a {self.head_shape.kind} head cannot hold a linear classifier")
        with torch.no_grad():
            self.head.weight.copy_(torch.from_numpy(weight))
            self.head.bias.copy_(torch.from_numpy(bias))

    def layer_groups(self) -> list[list[str]]:
        """Names of parameters by group, from the input upwards; the last group is the head."""
        groups = [[f"backbone.{n}" for n in group] for group in layer_groups(self.backbone)]
        return [*groups, [f"head.{n}" for n, _ in self.head.named_parameters()]]

    def group_names(self) -> list[str]:
        """A name for each of `layer_groups`: "stem", "blocks.0" and so on, "head" last.

        A name is the shortest beginning that all parameters of the group have and no others, such
        as "blocks.0". Where there is none, it is made of the first and the last parameter's
        ("blocks.6+bn2"), and that of the lowest group is "stem", as timm calls it.
        """
        *groups, _ = [[n.removeprefix("backbone.") for n in g] for g in self.layer_groups()]
        names = [_name_group(groups, number) for number in range(len(groups))]
        if "+" in names[0] and "stem" not in names:
            names[0] = "stem"
        return [*names, "head"]


class Ensemble(nn.Module):
    """Classifiers of one kind that answer together.

    The logits are the mean of the members' log-probabilities, as views of a photo are averaged
    (`answering.views.average_views`); the features stand side by side.
    """

    def __init__(self, members: Sequence[Classifier]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.head_shape = members[0].head_shape

    def forward(self, photos: Tensor) -> tuple[Tensor, Tensor]:
        """Normalised photos [N, 3, H, W] to (logits [N, K], features [N, members * F])."""
        answers = [member(photos) for member in self.members]
        logits = torch.stack([functional.log_softmax(own, dim=1) for own, _ in answers]).mean(0)
        return logits, torch.cat([features for _, features in answers], dim=1)


Network = Classifier | Ensemble
"""What answers: photos [N, 3, H, W] to (logits [N, K], features [N, F])."""


def build_classifier(
    backbone: str,
    num_classes: int,
    *,
    num_levels: int = 1,
    pooling: Pooling = "mean",
    head: Head = Head(),
    has_others: bool = False,
    pretrained: bool = True,
    seed: int = 0,
) -> Classifier:
    """A Classifier in channels-last layout (on CPUs more than twice as fast for convolutions).

    Args:
        backbone: see `build_backbone`.
        num_classes: K.
        num_levels: see `Classifier`.
        pooling: likewise.
        head: its shape.
        has_others: see `Classifier`.
        pretrained: see `build_backbone`.
        seed: of all weights that are drawn; torch's global generator is left as it was.

    Raises:
        InputError, MissingExtra: see `build_backbone` and `Classifier`.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        network = build_backbone(backbone, pretrained=pretrained)
        classifier = Classifier(
            network, num_classes, num_levels, head, pooling=pooling, has_others=has_others
        )
    return classifier.to(memory_format=torch.channels_last)  # type: ignore[call-overload,no-any-return]


def frozen_batch_norms(classifier: Classifier, names: Sequence[str]) -> list[nn.Module]:
    """The backbone's BatchNorm layers that own any of these parameters, to stay in inference mode.

    A BatchNorm in the head is new: it has no statistics worth keeping, and is never among them.
    """
    wanted = set(names)
    return [
        module
        for path, module in classifier.backbone.named_modules(prefix="backbone")
        if isinstance(module, nn.modules.batchnorm._BatchNorm)
        and any(f"{path}.{n}" in wanted for n, _ in module.named_parameters(recurse=False))
    ]


def _build_head(
    head: Head, num_features: int, num_classes: int
) -> nn.Linear | nn.Sequential | CosineHead:
    if head.kind == "cosine":
        return CosineHead(num_features, num_classes, head.scale)
    if head.kind == "dense":
        return nn.Sequential(
            nn.Linear(num_features, head.units),
            nn.BatchNorm1d(head.units),
            nn.ReLU(),
            nn.Dropout(head.dropout),
            nn.Linear(head.units, num_classes),
        )
    linear = nn.Linear(num_features, num_classes)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


def _name_group(groups: list[list[str]], number: int) -> str:
    """The name of one of the backbone's groups; "head" is taken (see `Classifier.group_names`)."""
    others = {"head"}
    for other in groups[:number] + groups[number + 1 :]:
        others.update(start for name in other for start in _starts(name))
    # A dict keeps the order of the parameters, a set would not.
    own = {next(s for s in _starts(name) if s not in others): None for name in groups[number]}
    short = list(own)
    return short[0] if len(short) == 1 else f"{short[0]}+{short[-1]}"


def _starts(name: str) -> Iterator[str]:
    """Of "a.b.c": "a", "a.b" and "a.b.c"."""
    return accumulate(name.split("."), "{}.{}".format)
