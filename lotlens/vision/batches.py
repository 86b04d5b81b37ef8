"""Photos as the trainer takes them: decoded once, kept at training size, batched by epoch.

It knows catalogs and tensors, not networks.
"""

from __future__ import annotations

import errno
import hashlib
import math
import os
import tempfile
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from lotlens.photos.prepare import normalise
from lotlens.photos.reading import read_ahead
from lotlens.photos.style import Style
from lotlens.recipes.schema import Finetune, Recipe
from lotlens.records import CarLocator, Catalog, FloatArray, ImageSpec
from lotlens.vision.augment import PhotoAugmenter

_MOST_BYTES_IN_MEMORY = 2**28

Key = tuple[int, int, int]
"""Epoch, row of the photo, and which of its turns in the epoch this is, all from 0."""


class PixelFile:
    """Photos in a nameless file, read from it as they are asked for.

    Not mapped into memory: pages of a mapped file count as the process's own until there is a want
    of them, so nobody could tell what it needs. Processes that are forked may read it too.

    Args:
        folder: for the file.
        shape: [N, height, width, 3].

    Raises:
        OSError: the file cannot be made, or the disk has no room for it.
    """

    def __init__(self, folder: Path, shape: tuple[int, int, int, int]) -> None:
        self.shape = shape
        self._size = math.prod(shape[1:])
        self._file = tempfile.TemporaryFile(dir=folder, buffering=0)  # noqa: SIM115  # kept open
        weakref.finalize(self, self._file.close)
        if hasattr(os, "posix_fallocate"):  # so that a full disk is met now, and not in the middle
            os.posix_fallocate(self._file.fileno(), 0, math.prod(shape))

    def keep(self, num_photos: int) -> None:
        """Forget what lies behind the first photos."""
        self.shape = (num_photos, *self.shape[1:])

    def __setitem__(self, row: int, photo: NDArray[np.uint8]) -> None:
        """Write a photo [height, width, 3]."""
        written = os.pwrite(self._file.fileno(), photo.tobytes(), row * self._size)
        if written != self._size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def __getitem__(self, rows: slice) -> NDArray[np.uint8]:
        """Photos [n, height, width, 3] that follow one another."""
        start, stop, step = rows.indices(self.shape[0])
        if step != 1:
            raise ValueError("photos of a file are read one after another")
        found = np.empty((max(stop - start, 0), *self.shape[1:]), np.uint8)
        left, place = found.reshape(-1).data, start * self._size
        while left:  # the system gives 2 GiB at a time
            count = os.preadv(self._file.fileno(), [left], place)
            if not count:
                raise OSError(errno.EIO, "the file of decoded photos is shorter than it was")
            left, place = left[count:], place + count
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        """To a process that is not forked it goes as what is in it."""
        return np.asarray, (self[:],)


@dataclass(frozen=True)
class DecodedPhotos:
    """The readable photos of a catalog, fitted to one frame.

    Attributes:
        ids: of the readable photos, in catalog order.
        pixels: [N, height, width, 3] uint8, in memory or in a file; with a border, so much more on
            each side.
        targets: [N] class indices.
        spec: the frame.
        status: id -> "ok" or the reason it was left out, for every photo of the catalog.
        border: rows and columns on each side of the frame, of what lies around a crop to the car.
        is_located: [N] whether the car was found, and the photo cropped to it.
    """

    ids: tuple[str, ...]
    pixels: NDArray[np.uint8] | PixelFile
    targets: NDArray[np.int64]
    spec: ImageSpec
    status: dict[str, str]
    border: tuple[int, int] = (0, 0)
    is_located: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, np.bool_))

    def read_frames(self, start: int = 0, stop: int | None = None) -> NDArray[np.uint8]:
        """[stop - start, height, width, 3] photos as they are when the network is asked."""
        rows, columns = (slice(edge, -edge or None) for edge in self.border)
        whole: NDArray[np.uint8] = self.pixels[start:stop]
        return whole[:, rows, columns]

    def draw_frame(self, row: int, box_shift: float, seed: int) -> NDArray[np.uint8]:
        """A photo [H, W, 3] with each side of the crop to its car moved by chance.

        Args:
            row: which photo; one in which no car was found is as it is.
            box_shift: how far each side moves at most, as a share of the frame, in or out.
            seed: the same gives the same crop.
        """
        if not (any(self.border) and self.is_located[row]):
            frame: NDArray[np.uint8] = self.read_frames(row, row + 1)[0]
            return frame
        rng = np.random.default_rng(seed)
        edges = []
        for border, side in zip(self.border, (self.spec.height, self.spec.width), strict=True):
            most = min(round(box_shift * side), border)
            moved = rng.integers(-most, most + 1, 2)
            edges.append(slice(border + int(moved[0]), border + side + int(moved[1])))
        whole: NDArray[np.uint8] = self.pixels[row : row + 1]
        moved_frame: NDArray[np.uint8] = whole[0, edges[0], edges[1]]
        return moved_frame

    def batches(self, size: int, *, rows: Sequence[int] | None = None) -> Iterator[FloatArray]:
        """Prepared photos [<=size, 3, H, W] float32, never augmented, in order.

        Args:
            size: photos of a batch at most.
            rows: which photos; None for all.
        """
        if rows is not None:
            for start in range(0, len(rows), size):
                some = [self.read_frames(row, row + 1) for row in rows[start : start + size]]
                yield normalise(np.concatenate(some), self.spec)
            return
        for start in range(0, len(self.ids), size):
            yield normalise(self.read_frames(start, start + size), self.spec)


def decode_photos(
    catalog: Catalog,
    spec: ImageSpec,
    *,
    scratch_path: Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    style: Style | None = None,
    styled_from: int = 0,
    locate: CarLocator | None = None,
    border: tuple[int, int] = (0, 0),
) -> DecodedPhotos:
    """Decode every photo of a catalog once, so that epochs need not.

    Args:
        catalog: labelled photos.
        spec: the frame to fit them to.
        scratch_path: a folder for a nameless file that holds the pixels when they are more than
            256 MiB, so that memory does not grow with photos; it vanishes with the process. Where
            the disk has no room for it they are in memory.
        progress: called with (photos done, photos in all).
        style: read some as if they were stored so; None as they are.
        styled_from: the row from which on that is done.
        locate: finds the car, where the spec says that it is found first: once for each photo.
        border: rows and columns to keep of what lies around the frame, on each side.

    Returns:
        the readable ones; a photo that is not readable is left out and its reason kept.
    """
    num_photos = len(catalog)
    shape = (num_photos, spec.height + 2 * border[0], spec.width + 2 * border[1], 3)
    pixels: NDArray[np.uint8] | PixelFile | None = None
    if math.prod(shape) > _MOST_BYTES_IN_MEMORY and scratch_path is not None:
        with suppress(OSError):
            pixels = PixelFile(scratch_path, shape)
    if pixels is None:
        pixels = np.empty(shape, np.uint8)
    status: dict[str, str] = {}
    ids: list[str] = []
    kept: list[int] = []
    is_located: list[bool] = []
    plain, styled = catalog.photos[:styled_from], catalog.photos[styled_from:]
    read = partial(read_ahead, spec=spec, locate=locate, border=border)
    loads = chain(read(plain), read(styled, style=style))
    for row, loaded in enumerate(loads):
        id_ = catalog.photos[row].id
        status[id_] = loaded.status
        if loaded.pixels is not None:
            pixels[len(kept)] = loaded.pixels
            kept.append(row)
            is_located.append(loaded.box is not None)
            ids.append(id_)
        if progress is not None:
            progress(row + 1, num_photos)
    targets = catalog.targets()[kept]
    found = np.array(is_located, np.bool_)
    if isinstance(pixels, PixelFile):
        pixels.keep(len(kept))
    else:
        pixels = pixels[: len(kept)]
    return DecodedPhotos(tuple(ids), pixels, targets, spec, status, border, found)


class TrainingPhotos(Dataset[tuple[Tensor, Tensor]]):
    """Batches of augmented photos, each view drawn from (seed, epoch, photo id) and nothing else.

    A key is a list of (epoch, row, copy), as `EpochBatches` gives them; an item is a batch of
    photos [N, 3, h, w] uint8 and their class indices [N].
    """

    def __init__(
        self, photos: DecodedPhotos, augmenters: list[PhotoAugmenter], *, seed: int
    ) -> None:
        """Make the data set.

        Args:
            photos: the readable training photos.
            augmenters: one per epoch.
            seed: of the run.
        """
        self._photos = photos
        self._augmenters = augmenters
        self._seed = seed

    def __len__(self) -> int:
        return len(self._photos.ids)

    def __getitem__(self, keys: list[Key]) -> tuple[Tensor, Tensor]:
        photos = torch.stack([self._draw(*key) for key in keys])
        return photos, torch.from_numpy(self._photos.targets[[row for _, row, _ in keys]])

    def _draw(self, epoch: int, row: int, copy: int) -> Tensor:
        # A photo that an epoch shows again is to look different.
        again = (copy,) if copy else ()
        seed = derive_seed(self._seed, epoch, self._photos.ids[row], *again)
        augment = self._augmenters[epoch]
        pixels = self._photos.draw_frame(row, augment.box_shift, seed)
        return augment(torch.from_numpy(pixels).permute(2, 0, 1), seed)


class EpochBatches(Sampler[list[Key]]):
    """Every photo once per epoch in an order drawn from (seed, epoch); keys are (epoch, row, copy).

    With weights each is shown as often as its weight says, rounded up or down (systematic
    resampling, Kitagawa 1996), and `copy` counts its turns.

    The last batch is left out when it is not full: BatchNorm would learn from too few photos, and
    another order leaves out others. A lot smaller than one batch is one batch.

    Attributes:
        batch_size: photos in a batch, of all processes together.
    """

    def __init__(
        self,
        num_photos: int,
        batch_size: int,
        *,
        seed: int,
        rank: int = 0,
        num_ranks: int = 1,
        weights: NDArray[np.float64] | None = None,
    ) -> None:
        """Draw orders.

        Args:
            num_photos: in the lot.
            batch_size: of all processes together.
            seed: of the run.
            rank: of `num_ranks` processes that share every batch evenly, which one this is.
            num_ranks: how many they are.
            weights: [num_photos] not negative, how often each is shown in an epoch on average; None
                shows each once.
        """
        self._weights = weights
        self._num_shown = num_photos if weights is None else max(round(float(weights.sum())), 1)
        self.batch_size = min(batch_size, self._num_shown)
        self._num_photos = num_photos
        self._share = (rank, num_ranks)
        self._seed = seed
        self._epoch = 0
        self._skipped = (0, 0)

    def skip(self, epoch: int, num_batches: int) -> None:
        """Begin with this epoch (from 0), and leave out its first batches: they are done."""
        self._epoch = epoch
        self._skipped = (epoch, num_batches)

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls this before every epoch on a loader's `sampler` (no batch sampler)."""
        self._epoch = epoch

    def __len__(self) -> int:
        return self._num_shown // self.batch_size

    def __iter__(self) -> Iterator[list[Key]]:
        rng = np.random.default_rng([self._seed, self._epoch])
        order = rng.permutation(self._draw_rows(rng)).tolist()
        epoch, num_done = self._skipped
        rank, num_ranks = self._share
        num_rows = self.batch_size // num_ranks
        for batch in range(num_done if epoch == self._epoch else 0, len(self)):
            start = batch * self.batch_size + rank * num_rows
            yield [(self._epoch, *turn) for turn in order[start : start + num_rows]]

    def _draw_rows(self, rng: np.random.Generator) -> NDArray[np.int64]:
        """[num_shown, 2] rows, and which turn of the row it is in this epoch."""
        rows = np.arange(self._num_shown)
        if self._weights is None:
            return np.stack([rows, np.zeros_like(rows)], axis=1)
        ends = np.cumsum(self._weights)
        places = (rows + rng.random()) * (ends[-1] / self._num_shown)
        drawn = np.minimum(np.searchsorted(ends, places, side="right"), self._num_photos - 1)
        first = np.searchsorted(drawn, drawn, side="left")  # `drawn` ascends
        return np.stack([drawn, rows - first], axis=1)


def build_augmenters(stage: Finetune, spec: ImageSpec) -> list[PhotoAugmenter]:
    """One per epoch: the input size may change on the way."""
    fill = (round(spec.mean[0] * 255), round(spec.mean[1] * 255), round(spec.mean[2] * 255))
    by_size: dict[tuple[int, int], PhotoAugmenter] = {}
    result = []
    for epoch in range(stage.num_epochs):
        size = size_at(stage, epoch)
        if size not in by_size:
            by_size[size] = PhotoAugmenter(stage.augmentation, *size, fill)
        result.append(by_size[size])
    return result


def choose_border(recipe: Recipe) -> tuple[int, int]:
    """Rows and columns around a crop to the car that training with a recipe moves its sides in."""
    if recipe.image.spec().locate == "none":
        return 0, 0
    shifts = [one.augmentation.box_shift for one in recipe.stages if isinstance(one, Finetune)]
    most = max(shifts, default=0.0)
    return round(most * recipe.image.height), round(most * recipe.image.width)


def size_at(stage: Finetune, epoch: int) -> tuple[int, int]:
    """(height, width) of photos in an epoch, from 0."""
    sizes = [(size.height, size.width) for size in stage.sizes for _ in range(size.epochs)]
    return sizes[min(epoch, len(sizes) - 1)]


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed from any numbers and texts, the same on every machine."""
    text = "\x1f".join(str(part) for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1
