"""Where a network looked: heat maps of what speaks for a class; it knows arrays alone."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lotlens.errors import InputError
from lotlens.photos.prepare import normalise
from lotlens.photos.reading import read_ahead
from lotlens.records import CarLocator, Catalog, FloatArray, HeatMaps, ModelCard
from lotlens.vision.classifier import Classifier, Ensemble, Network


def explain_errors(
    network: Network,
    card: ModelCard,
    catalog: Catalog,
    errors: Sequence[tuple[str, str, str]],
    member_of: Mapping[str, int],
    locate: CarLocator | None = None,
) -> dict[str, HeatMaps]:
    """Where a network looked in photos that it answered wrongly, for what it said and the truth.

    Args:
        network: of the model.
        card: its card.
        catalog: holds the photos; those that cannot be read have no maps.
        errors: photo id, label that was said, true label.
        member_of: photo id -> number of the one member of an ensemble that answered; for photos
            that are not in it the whole network is asked.
        locate: finds the car in photos, where the card says that it is found first.

    Returns:
        photo id -> its maps; nothing for a network that `explain` refuses.
    """
    groups: dict[int | None, list[tuple[str, str, str]]] = defaultdict(list)
    for error in errors:
        groups[member_of.get(error[0])].append(error)
    ensemble: Any = network
    position = {car.label: number for number, car in enumerate(card.classes)}
    maps = {}
    for member, group in groups.items():
        photos = catalog.select([id_ for id_, _, _ in group]).photos
        read = zip(group, read_ahead(photos, card.image, locate=locate), strict=True)
        seen = [(error, one.pixels, one.box) for error, one in read if one.pixels is not None]
        if not seen:
            continue
        batch = normalise(np.stack([pixels for _, pixels, _ in seen]), card.image)
        asked: Any = network if member is None else ensemble.members[member]
        mirrored = "mirror" in card.views
        try:
            both = [
                explain(
                    asked,
                    batch,
                    np.array([position[error[of]] for error, _, _ in seen]),
                    mirrored=mirrored,
                )
                for of in (1, 2)
            ]
        except InputError:
            return {}
        for ((id_, _, _), _, box), said, truth in zip(seen, *both, strict=True):
            maps[id_] = HeatMaps(said, truth, box)
    return maps


def explain(
    network: Network,
    photos: FloatArray,
    classes: NDArray[np.int64],
    *,
    mirrored: bool = False,
) -> FloatArray:
    """Which parts of each photo speak for a class (Grad-CAM, Selvaraju et al. 2017).

    The last convolutional map before pooling is weighted, channel by channel, with the mean slope
    of the class's logit over that channel; what is positive in the sum speaks for the class. Where
    the head sees several levels of the backbone, this is the last one alone: lower levels reach
    the head without passing it, and their share in the answer does not show. An ensemble's map is
    the mean of its members' maps, each scaled to 1 first.

    Where covariances are pooled, each place of each map that is pooled is weighted with its own
    slope (HiResCAM, Draelos & Carin 2020), what stands out of the channel's mean counting, and the
    maps are added up: all that reaches the head is shown.

    Every map is scaled by its own maximum. Maps of two classes say where the network looked for
    each, not which of the two is the likelier.

    Args:
        network: it is left as it was: weights, gradients and mode.
        photos: a prepared batch [N, 3, H, W].
        classes: [N] class indices.
        mirrored: look at the mirrored photos too, as a model does that averages both views; the
            map is then the mean of both, the second mirrored back.

    Returns:
        [N, H, W] in 0..1, the largest value of each 1; all zero where nothing speaks for it.

    Raises:
        InputError: the backbone has no convolutional map before pooling (a vision transformer).
    """
    members: list[Any] = list(network.members) if isinstance(network, Ensemble) else [network]
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        # Tensors made in inference_mode, which the caller may be in, know no slopes.
        with torch.inference_mode(False):
            device = next(network.parameters()).device
            batch = torch.from_numpy(photos).to(device, memory_format=torch.channels_last)
            wanted = torch.from_numpy(classes).to(device)
            looks = [_scale(_look(member, batch, wanted)) for member in members]
            if mirrored:
                turned = batch.flip(-1)
                looks += [_scale(_look(m, turned, wanted)).flip(-1) for m in members]
            maps = torch.stack(looks).mean(0)
    finally:
        for module, mode in modes.items():
            module.training = mode
    large = functional.interpolate(
        maps[:, None], size=photos.shape[2:], mode="bilinear", align_corners=False
    )[:, 0]
    result: FloatArray = _scale(large).cpu().numpy()
    return result


def _look(classifier: Classifier, photos: Tensor, classes: Tensor) -> Tensor:
    """Unscaled maps [N, h, w] of one classifier in inference mode."""
    pools_means = classifier.pooling == "mean"
    with torch.no_grad():
        maps = classifier.find_maps(photos)
    last = maps[-1]
    if last.ndim != 4 or (pools_means and last.shape[1] != classifier.backbone.num_features):
        raise InputError(
            f"no heat maps: the backbone {type(classifier.backbone).__name__} gives features of"
            f" shape {list(last.shape[1:])} before pooling, and they need a convolutional map"
        )
    # Leaves of their own: weights that need no gradient need none now, and none is left in them.
    leaves = [own.detach().requires_grad_() for own in (maps[-1:] if pools_means else maps)]
    with torch.enable_grad():
        logits = classifier.head(classifier.pool([*maps[: -len(leaves)], *leaves]))
        slopes = torch.autograd.grad(logits.gather(1, classes[:, None]).sum(), leaves)
    if pools_means:
        return functional.relu((slopes[0].mean((2, 3), keepdim=True) * last).sum(1)).float()
    # A covariance does not change with a channel's mean, so the mean of its slopes is zero.
    spoken = [
        (slope * (own - own.mean((2, 3), keepdim=True))).sum(1, keepdim=True)
        for slope, own in zip(slopes, maps, strict=True)
    ]
    size = max((own.shape[2:] for own in spoken), key=math.prod)
    large = [
        functional.interpolate(own, size=size, mode="bilinear", align_corners=False)
        * (math.prod(own.shape[2:]) / math.prod(size))
        for own in spoken
    ]
    return functional.relu(torch.cat(large, 1).sum(1)).float()


def _scale(maps: Tensor) -> Tensor:
    """Maps [N, h, w] of numbers from 0 up, each divided by its maximum."""
    most = maps.amax((1, 2), keepdim=True)
    return torch.where(most > 0, maps / most.clamp_min(torch.finfo(maps.dtype).tiny), maps)
