"""The Predictor of trained classifiers; it knows its card and arrays, not photos."""

from __future__ import annotations

from lotlens.answering.engines import EnginePredictor
from lotlens.records import CarLocator, ModelCard
from lotlens.vision.classifier import Network
from lotlens.vision.engine import build_engine


class ClassifierPredictor(EnginePredictor):
    """Answers of a network.

    Args:
        network: a classifier, or an ensemble of them.
        card: what belongs to them.
        num_photos: about how many photos it will be asked for, views counted apart; for many,
            a faster engine is made first.
        locate: finds the car in photos, where the card says that it is found first.
    """

    def __init__(
        self,
        network: Network,
        card: ModelCard,
        *,
        num_photos: int = 1,
        locate: CarLocator | None = None,
    ) -> None:
        height, width = card.image.height, card.image.width
        super().__init__(build_engine(network, height, width, num_photos=num_photos), card, locate)
