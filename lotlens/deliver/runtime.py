"""The Predictor of an exported model, without torch; it knows its card and arrays, not photos."""

from __future__ import annotations

from lotlens.engines import Engine, open_onnx, open_openvino
from lotlens.records import FloatArray, ModelCard
from lotlens.run import RunFolder

_WORTH_STREAMS = 16
"""From so many photos several threads answer, each on a core; below, one call has all cores."""


class ExportedPredictor:
    """Answers of an exported network, as the `Predictor` protocol asks.

    Args:
        engine: the network.
        card: what belongs to it.
    """

    def __init__(self, engine: Engine, card: ModelCard) -> None:
        self._engine, self._card = engine, card

    @property
    def card(self) -> ModelCard:
        return self._card

    @property
    def num_streams(self) -> int:
        return self._engine.num_streams

    def __call__(self, batch: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Prepared photos [N, 3, H, W] in; logits [N, K] and features [N, F] out."""
        return self._engine(batch)


def open_exported(run: RunFolder, *, num_photos: int = 1) -> ExportedPredictor:
    """The predictor of an exported bundle.

    Args:
        run: its folder.
        num_photos: about how many photos it will be asked for.

    Raises:
        BundleError: a file is missing, damaged, or not the one that the card vouches for.
        MissingExtra: it was exported for OpenVINO, which is not installed.
    """
    card = run.read_card()
    files = run.read_exported(card)
    num_streams = 1
    if num_photos >= _WORTH_STREAMS:
        from joblib import cpu_count  # slow to import, and a single photo does without

        num_streams = cpu_count()
    open_engine = open_openvino if card.engine == "openvino" else open_onnx
    return ExportedPredictor(open_engine(*files, num_streams=num_streams), card)
