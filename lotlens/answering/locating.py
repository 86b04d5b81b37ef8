"""Where a photo shows its car: by a network taught a thousand kinds of things, or a detector.

It knows how such a network is asked, and what is made of its answer; where it comes from,
`vision.imagenet` and `deliver.detector` know, and what is done with a box, `photos.prepare`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lotlens.answering.engines import Engine, count_streams, open_onnx
from lotlens.errors import BundleError
from lotlens.photos.prepare import prepare
from lotlens.records import Box, CarLocator, FloatArray, ImageSpec, Locate, ModelCard
from lotlens.run import RunFolder

LOCATED_IMAGE = ImageSpec(320, 320, "stretch")
"""How that network sees photos in which a car is to be found."""
CELL = 32
"""Pixels of the network's input to a cell of its map, either way."""
DETECTED = ("boxes", "scores")
"""What a detector's outputs are called: [N, 4] left, top, right and bottom, and [N]."""
LEAST_PEAK = 0.6
"""A photo whose map is nowhere above it shows no car (benchmarks/locating.py)."""
LEAST_SCORE = 0.3
"""A detector's box with less is no car's (benchmarks/locating.py)."""
_SHARE_OF_SCORE = 0.5  # of the surest box's score, that a larger one must have
_SAME = 0.5  # boxes that cover each other so much (intersection over union) are one car's
_MOST_BOXES = 300  # of one photo that are compared with one another, the surest
_DETECTED_SIDES = (32, 2048)  # the least and the most that a detector's photos may have
_SHARE_OF_PEAK = 0.35
_FINER = 4
"""The map is made so many times finer, for a box ends between two cells more often than at one."""


class MapLocator:
    """Finds a car by a map of how much each part of a photo looks like a vehicle.

    A class-activation map (Zhou et al. 2016): the head of a network that knows ImageNet is asked at
    every cell of its last map, and the probabilities of vehicles are added up.

    Args:
        engine: the network of `vision.imagenet`.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def __call__(self, photo: NDArray[np.uint8]) -> Box | None:
        """Where an upright photo [H, W, 3] uint8 shows its car; None if it shows none.

        Raises:
            BundleError: the network gives no map.
        """
        _, cells = self._engine(prepare(photo, LOCATED_IMAGE)[None])
        shape = (LOCATED_IMAGE.height // CELL, LOCATED_IMAGE.width // CELL)
        if cells.shape != (1, shape[0] * shape[1]) or not np.isfinite(cells).all():
            raise BundleError(
                f"the network that finds cars gives no map of {shape[0]} by {shape[1]} cells, but"
                f" numbers of shape {list(cells.shape)}: make the bundle anew"
            )
        return find_largest(cells.reshape(shape))


class DetectorLocator:
    """Finds a car by a network that gives boxes and scores, such as `deliver.detector` makes.

    Args:
        engine: the network, opened with DETECTED.

    Raises:
        BundleError: it takes photos of a size that no detector takes.
    """

    def __init__(self, engine: Engine) -> None:
        height, width = engine.frame or (LOCATED_IMAGE.height, LOCATED_IMAGE.width)
        least, most = _DETECTED_SIDES
        if not (least <= height <= most and least <= width <= most):
            raise BundleError(
                f"the network that finds cars takes photos of {width} by {height} pixels: each side"
                f" must be {least} to {most}"
            )
        self._engine, self._image = engine, ImageSpec(height, width, "stretch")

    def __call__(self, photo: NDArray[np.uint8]) -> Box | None:
        """Where an upright photo [H, W, 3] uint8 shows its car; None if it shows none.

        Raises:
            BundleError: the network gives no boxes.
        """
        return choose_box(*self.detect(photo))

    def detect(self, photo: NDArray[np.uint8]) -> tuple[FloatArray, FloatArray]:
        """All boxes [N, 4] and scores [N] of an upright photo [H, W, 3] uint8.

        Raises:
            BundleError: the network gives no boxes.
        """
        boxes, scores = self._engine(prepare(photo, self._image)[None])
        if boxes.ndim != 2 or boxes.shape[1:] != (4,) or scores.shape != boxes.shape[:1]:
            raise BundleError(
                "the network that finds cars gives no boxes [N, 4] with scores [N], but numbers of"
                f" shape {[*boxes.shape]} and {[*scores.shape]}"
            )
        return boxes, scores


def choose_box(boxes: FloatArray, scores: FloatArray) -> Box | None:
    """The car that a photo is of: the largest of those that are nearly as sure as the surest.

    Of boxes that cover one another the surest stands for all (greedy non-maximum suppression).

    Args:
        boxes: [N, 4] left, top, right, bottom, as shares of the photo.
        scores: [N] how surely each is a car.

    Returns:
        None where no score reaches LEAST_SCORE.
    """
    usable = np.isfinite(boxes).all(axis=1) & (scores >= LEAST_SCORE) & (scores <= 1)
    boxes, scores = np.clip(boxes[usable], 0, 1).astype(np.float64), scores[usable]
    sides = boxes[:, 2:] - boxes[:, :2]
    is_box = (sides > 0).all(axis=1)
    boxes, scores, areas = boxes[is_box], scores[is_box], sides[is_box].prod(axis=1)
    if not len(boxes):
        return None
    waiting = np.argsort(-scores, kind="stable")[:_MOST_BOXES]
    enough = _SHARE_OF_SCORE * scores[waiting[0]]
    cars = []
    while len(waiting) and scores[waiting[0]] >= enough:
        surest, rest = waiting[0], waiting[1:]
        cars.append(surest)
        near = np.maximum(boxes[surest, :2], boxes[rest, :2])
        far = np.minimum(boxes[surest, 2:], boxes[rest, 2:])
        shared = np.clip(far - near, 0, None).prod(axis=1)
        waiting = rest[shared / (areas[surest] + areas[rest] - shared) < _SAME]
    chosen = max(cars, key=lambda car: areas[car])
    left, top, right, bottom = boxes[chosen].tolist()
    return Box(left, top, right, bottom, float(scores[chosen]))


def find_largest(shares: FloatArray) -> Box | None:
    """The box around the largest part of a map that looks like a vehicle.

    What is above 0.35 of the map's peak counts, and what of it hangs together by its sides is a
    part; of equally large ones it is that with the higher values.

    Args:
        shares: [h, w] in 0..1, how much each cell looks like a vehicle.

    Returns:
        None where the peak is below LEAST_PEAK.
    """
    peak = float(shares.max())
    if peak < LEAST_PEAK:
        return None
    height, width = (_FINER * size for size in shares.shape)
    cells = Image.fromarray(np.asarray(shares, np.float32))
    fine = np.asarray(cells.resize((width, height), Image.Resampling.BILINEAR), np.float64)
    parts = _number_parts(fine >= _SHARE_OF_PEAK * fine.max())
    kinds = np.unique(parts[parts > 0])
    largest = max(kinds, key=lambda kind: ((parts == kind).sum(), fine[parts == kind].sum()))
    rows, columns = (np.flatnonzero((parts == largest).any(axis=axis)) for axis in (1, 0))
    left, right = int(columns[0]), int(columns[-1]) + 1
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    return Box(left / width, top / height, right / width, bottom / height, min(peak, 1.0))


def _number_parts(is_part: NDArray[np.bool_]) -> NDArray[np.int64]:
    """A number for each place [h, w], the same for all that hang together; 0 for what is none.

    Without scipy, whose import takes longer than the answer to a photo.
    """
    parts = np.where(is_part, np.arange(1, is_part.size + 1).reshape(is_part.shape), 0)
    while True:
        padded = np.pad(parts, 1)
        around = (padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:])
        spread = np.where(is_part, np.maximum.reduce([parts, *around]), 0)
        if (spread == parts).all():
            return parts
        parts = spread


def open_locator(model: bytes, locate: Locate = "map", *, num_streams: int = 1) -> CarLocator:
    """What finds cars, of an ONNX file's bytes.

    Args:
        model: the bytes.
        locate: how it does so, "map" or "detector".
        num_streams: threads that will call it; with 1 each call takes all cores.

    Raises:
        BundleError: it is no such network.
    """
    if locate == "detector":
        return open_detector(model, num_streams=num_streams)
    return MapLocator(open_onnx(model, num_streams=num_streams))


def open_detector(model: bytes, *, num_streams: int = 1) -> DetectorLocator:
    """A detector, as `open_locator` opens it."""
    return DetectorLocator(open_onnx(model, num_streams=num_streams, outputs=DETECTED))


def open_own_locator(run: RunFolder, card: ModelCard, num_photos: int = 1) -> CarLocator | None:
    """What finds cars for a model; None where it looks at whole photos.

    Args:
        run: its folder.
        card: its card.
        num_photos: about how many photos it will be asked for.

    Raises:
        BundleError: the network is missing, damaged, or not the one that the card vouches for.
    """
    if card.image.locate == "none":
        return None
    network = run.read_locator(card)
    return open_locator(network, card.image.locate, num_streams=count_streams(num_photos))
