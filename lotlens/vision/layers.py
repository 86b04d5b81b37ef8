"""Groups of layers: which are trained, and at which rate."""

from __future__ import annotations

import difflib
import math
from typing import Any

import torch

from lotlens.errors import InputError
from lotlens.recipes.schema import Finetune
from lotlens.vision.classifier import Classifier, frozen_batch_norms


def layer_decay_groups(classifier: Classifier, stage: Finetune) -> list[dict[str, Any]]:
    """Optimiser parameter groups with layer-wise LR decay, from the input upwards.

    The head has the stage's rate, each group below it `layer_decay` times that of the one above
    (Howard & Ruder 2018, section 3.2). Vectors (BatchNorm, biases) have no weight decay.
    """
    parameters = dict(classifier.named_parameters())
    layers = classifier.layer_groups()
    result = []
    for number, names in enumerate(layers):
        rate = stage.lr * stage.optimiser.layer_decay ** (len(layers) - 1 - number)
        trained = [parameters[n] for n in names if parameters[n].requires_grad]
        for is_matrix in (True, False):
            members = [p for p in trained if (p.ndim > 1) == is_matrix]
            decay = stage.optimiser.decay if is_matrix else 0.0
            if members:
                result.append({"params": members, "lr": rate, "weight_decay": decay})
    return result


def count_frozen(classifier: Classifier, unfreeze: str | float) -> int:
    """How many of the lowest layer groups a stage leaves as they are.

    Args:
        classifier: its layer groups count, the head being the last.
        unfreeze: "all", "head", a group's name, or the share of the groups that is trained.

    Raises:
        InputError: no group has that name.
    """
    names = classifier.group_names()
    if isinstance(unfreeze, float):
        return len(names) - math.ceil(unfreeze * len(names))
    if unfreeze == "all":
        return 0
    if unfreeze not in names:
        near = difflib.get_close_matches(unfreeze, names, n=1)
        hint = f", did you mean {near[0]!r}?" if near else ""
        raise InputError(
            f"unfreeze: the backbone has no layer group {unfreeze!r}{hint}; it has all,"
            f" {', '.join(names)}"
        )
    return names.index(unfreeze)


def freeze(classifier: Classifier, stage: Finetune) -> list[torch.nn.Module]:
    """Freeze the lowest groups; the BatchNorm layers that must stay in inference mode."""
    groups = classifier.layer_groups()
    frozen = [n for group in groups[: count_frozen(classifier, stage.unfreeze)] for n in group]
    classifier.requires_grad_(True)
    parameters = dict(classifier.named_parameters())
    for name in frozen:
        parameters[name].requires_grad_(False)
    backbone = [n for group in groups[:-1] for n in group]
    return frozen_batch_norms(classifier, backbone if stage.batch_norm == "frozen" else frozen)
