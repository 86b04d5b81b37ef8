"""Where a photo shows its car, by a network that was taught a thousand kinds of things.

It knows how that network is asked, and what is made of its answer; where it comes from,
`vision.imagenet` knows, and what is done with a box, `photos.prepare`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lotlens.answering.engines import Engine, count_streams, open_onnx
from lotlens.errors import BundleError
from lotlens.photos.prepare import prepare
from lotlens.records import Box, CarLocator, FloatArray, ImageSpec, ModelCard
from lotlens.run import RunFolder

LOCATED_IMAGE = ImageSpec(320, 320, "stretch")
"""How that network sees photos in which a car is to be found."""
CELL = 32
"""Pixels of the network's input to a cell of its map, either way."""
LEAST_PEAK = 0.6
"""A photo whose map is nowhere above it shows no car (benchmarks/locating.py)."""
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


def open_locator(model: bytes, *, num_streams: int = 1) -> CarLocator:
    """What finds cars, of an ONNX file's bytes.

    Args:
        model: the bytes.
        num_streams: threads that will call it; with 1 each call takes all cores.

    Raises:
        BundleError: it is no such network.
    """
    return MapLocator(open_onnx(model, num_streams=num_streams))


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
    network = run.read_shown(card.locator_sha256)
    return open_locator(network, num_streams=count_streams(num_photos))
