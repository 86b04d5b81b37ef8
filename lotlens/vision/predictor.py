"""The Predictor of trained classifiers; it knows its card and arrays, not photos."""

from __future__ import annotations

from lotlens.records import FloatArray, ModelCard
from lotlens.vision.classifier import Network
from lotlens.vision.engine import build_engine


class ClassifierPredictor:
    """Answers of a network, as the `Predictor` protocol asks.

    Args:
        network: a classifier, or an ensemble of them.
        card: what belongs to them.
        num_photos: about how many photos it will be asked for, views counted apart; for many,
            a faster engine is made first.
    """

    def __init__(self, network: Network, card: ModelCard, *, num_photos: int = 1) -> None:
        self._card = card
        image = card.image
        self._engine = build_engine(network, image.height, image.width, num_photos=num_photos)

    @property
    def card(self) -> ModelCard:
        return self._card

    @property
    def num_streams(self) -> int:
        return self._engine.num_streams

    def __call__(self, batch: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Prepared photos [N, 3, H, W] in; logits [N, K] and features [N, F] out."""
        return self._engine(batch)
