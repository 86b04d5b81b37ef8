"""The network that says what photos show, as a file beside an exported model; it knows no folders.

It is the same for every model, and goes into a bundle only if it says there what it says here.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

import numpy as np

from lotlens.answering.shown import OpenShown, ask_shown, open_exported_shown
from lotlens.deliver.quantise import halve
from lotlens.errors import BundleError
from lotlens.extras import import_vision
from lotlens.records import Catalog, ModelCard
from lotlens.refusal.strangers import ask_drawn

LIMIT = 0.01
"""The most that a share may differ by: weights of 16 bits change it by 0.003 (measured)."""
_MOST_CHECKED = 24


@dataclass(frozen=True)
class ShownFile:
    """The network as it goes into a bundle.

    Attributes:
        data: the file's bytes.
        difference: the largest of the shares that were compared.
    """

    data: bytes
    difference: float


def export_shown(open_shown: OpenShown, catalog: Catalog, data: bytes | None = None) -> ShownFile:
    """Write the network, and compare what both say of photos and of drawn pictures.

    Args:
        open_shown: opens the network as it is here.
        catalog: photos of the run.
        data: the file that a run has already, by which it finds the car; None to make one.

    Raises:
        BundleError: they say otherwise.
        MissingExtra: onnx is not installed.
    """
    if data is None:
        data = halve(import_vision("imagenet").export_shown())
    exported, photos = open_exported_shown(data), catalog.spread(_MOST_CHECKED)
    here, there = (
        np.concatenate([ask_shown(own, photos), ask_drawn(own)]) for own in (open_shown, exported)
    )
    difference = float(np.abs(here - there)[np.isfinite(here).all(axis=1)].max())
    if not difference <= LIMIT:
        raise BundleError(
            "the network that tells cars from other things says otherwise once it is exported: a"
            f" share differs by {difference:.2g}, more than {LIMIT:g}; nothing was written"
        )
    return ShownFile(data, difference)


def with_shown(card: ModelCard, found: ShownFile | None) -> ModelCard:
    """The card of a bundle that has that file, or has none."""
    if card.refusal is None:
        return card
    sha256 = "" if found is None else hashlib.sha256(found.data).hexdigest()
    return replace(card, refusal=replace(card.refusal, shown_sha256=sha256))
