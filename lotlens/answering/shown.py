"""What a photo shows, by a network that was taught a thousand kinds of things, not models of cars.

The kinds are ImageNet's (Deng et al. 2009), summed up to SHOWN and the rest. It knows how that
network is asked, and opens an exported one; where it comes from, `vision.imagenet` knows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np

from lotlens.answering.answers import probabilities
from lotlens.answering.engines import EnginePredictor, count_streams, open_onnx
from lotlens.answering.predict import answer_bytes, predict
from lotlens.answering.views import WHOLE
from lotlens.records import SHOWN, CarClass, Catalog, FloatArray, ImageSpec, ModelCard, Predictor

SHOWN_IMAGE = ImageSpec(192, 288, "stretch")
"""How that network sees photos."""
REST = "something else"

OpenShown = Callable[[int], Predictor]
"""Opens that network, for about so many photos."""


def describe_shown() -> ModelCard:
    """The card of that network, which is never written: its classes are SHOWN and the rest."""
    classes = tuple(CarClass(name, name) for name in (*SHOWN, REST))
    return ModelCard(1, "", classes, SHOWN_IMAGE, "lite0", {}, "")


def ask_shown(
    open_shown: OpenShown,
    photos: Catalog | Sequence[bytes],
    *,
    progress: Callable[[int, int], None] | None = None,
) -> FloatArray:
    """What photos show.

    Args:
        open_shown: opens the network.
        photos: in a catalog, or the bytes of each.
        progress: told (photos done, photos in all) of those in a catalog.

    Returns:
        [N, S] the share of each of SHOWN; NaN rows where a photo cannot be read.
    """
    predictor = open_shown(len(photos))
    if isinstance(photos, Catalog):
        found = predict(predictor, photos, views=(WHOLE,), progress=progress)
    else:
        found = answer_bytes(predictor, photos, [str(number) for number in range(len(photos))])
    return probabilities(found)[:, : len(SHOWN)].astype(np.float32)


def open_exported_shown(model: bytes) -> OpenShown:
    """That network, as it was exported.

    Args:
        model: an ONNX file's bytes; BundleError is raised on opening if they are no such network.
    """

    @cache
    def build(num_streams: int) -> Predictor:
        return EnginePredictor(open_onnx(model, num_streams=num_streams), describe_shown())

    return lambda num_photos: build(count_streams(num_photos))
