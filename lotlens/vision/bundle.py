"""Save and load a model bundle: model.safetensors and card.json; no file is ever unpickled."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from lotlens.errors import BundleError, InputError, shorten
from lotlens.files import write_bytes_atomically
from lotlens.recipes.schema import Head
from lotlens.records import ModelCard
from lotlens.run import RunFolder
from lotlens.values import quote
from lotlens.vision.backbones import name_architecture, read_vouched
from lotlens.vision.classifier import Classifier, Ensemble, Network, build_classifier


def save_bundle(run: RunFolder, network: Network, card: ModelCard) -> ModelCard:
    """Write the weights, then the card that vouches for them.

    The card is written last: a run folder with a card is a finished one.

    Returns:
        the card with the shape of the head, the number of members and the weights' hash in it.

    Raises:
        OutputError: a file cannot be written.
    """
    tensors = {key: value.contiguous().cpu() for key, value in network.state_dict().items()}
    data = save(tensors)
    write_bytes_atomically(run.weights_path, data)
    card = replace(
        card,
        head=network.head_shape.model_dump(mode="json"),
        members=len(network.members) if isinstance(network, Ensemble) else 1,
        weights_sha256=hashlib.sha256(data).hexdigest(),
    )
    run.write_card(card)
    return card


def load_bundle(run: RunFolder, card: ModelCard | None = None) -> tuple[Network, ModelCard]:
    """The classifier of a finished run, or the ensemble of its folds, in inference mode.

    Args:
        run: the run folder.
        card: its model card, where that has been read.

    Raises:
        BundleError: a file is missing, damaged, of a newer format, or the weights are not those
            that the card vouches for.
    """
    card = card or run.read_card()
    data = read_vouched(run, card)
    try:
        head = Head.model_validate(card.head)
    except ValidationError as error:
        raise BundleError(
            f"{run.card_path} describes a head that this lotlens does not know"
            f" ({quote(card.head)}): it is damaged, or of a newer lotlens; install a newer one"
        ) from error
    try:
        tensors = load(data)
        _check_sizes(tensors, card, head)
        members = [_build_empty(card, head) for _ in range(card.members)]
        network: Network = Ensemble(members) if len(members) > 1 else members[0]
        network.load_state_dict(tensors)
    except (SafetensorError, RuntimeError, ValueError, InputError) as error:
        raise BundleError(
            f"{run.weights_path} does not fit backbone {card.backbone} with a {head.kind} head:"
            f" {shorten(str(error))}"
        ) from error
    return network.eval(), card


def _check_sizes(tensors: Mapping[str, Tensor], card: ModelCard, head: Head) -> None:
    """Make sure that there are weights for what the card speaks of, before memory is taken for it.

    Raises:
        ValueError: there are not.
    """
    members = {name.split(".")[1] for name in tensors if name.startswith("members.")}
    if len(members or {""}) != card.members:
        raise ValueError(f"weights of {len(members or {''})} members, not {card.members}")
    sizes = {len(tensor) for name, tensor in tensors.items() if "head." in name and tensor.ndim}
    for size in (
        len(card.classes) + card.has_others,
        *([head.units] if head.kind == "dense" else []),
    ):
        if size not in sizes:
            raise ValueError(f"no layer of the head has the size {size}")


def _build_empty(card: ModelCard, head: Head) -> Classifier:
    # The weights it started with, "timm:NAME@FILE" or "lite0@run:NAME", are not needed again.
    return build_classifier(
        name_architecture(card.backbone),
        len(card.classes),
        num_levels=card.feature_levels,
        pooling=card.pooling,
        head=head,
        has_others=card.has_others,
        pretrained=False,
    )
