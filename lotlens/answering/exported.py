"""The Predictor of an exported model, without torch; it knows its card and arrays, not photos."""

from __future__ import annotations

from lotlens.answering.engines import EnginePredictor, open_onnx, open_openvino
from lotlens.records import ModelCard
from lotlens.run import RunFolder

_WORTH_STREAMS = 16
"""From so many photos several threads answer, each on a core; below, one call has all cores."""


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
    return EnginePredictor(open_engine(*files, num_streams=count_streams(num_photos)), card)


def count_streams(num_photos: int) -> int:
    """How many threads had best answer for so many photos."""
    if num_photos < _WORTH_STREAMS:
        return 1
    from joblib import cpu_count  # slow to import, and a single photo does without

    return int(cpu_count())
