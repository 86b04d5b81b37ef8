"""The Predictor of an exported model, without torch; it knows its card and arrays, not photos."""

from __future__ import annotations

from lotlens.answering.engines import EnginePredictor, count_streams, open_onnx, open_openvino
from lotlens.answering.locating import open_own_locator
from lotlens.records import ModelCard
from lotlens.run import RunFolder


def open_exported(run: RunFolder, card: ModelCard, *, num_photos: int = 1) -> EnginePredictor:
    """The predictor of an exported bundle.

    Args:
        run: its folder.
        card: its model card.
        num_photos: about how many photos it will be asked for.

    Raises:
        BundleError: a file is missing, damaged, or not the one that the card vouches for.
        MissingExtra: it was exported for OpenVINO, which is not installed.
    """
    files = run.read_exported(card)
    open_engine = open_openvino if card.engine == "openvino" else open_onnx
    engine = open_engine(*files, num_streams=count_streams(num_photos))
    return EnginePredictor(engine, card, open_own_locator(run, card, num_photos))
