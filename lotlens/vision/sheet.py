"""The first photos of a training as it sees them, augmented and mixed, on one sheet.

It knows recipes, pixels and class names, not run folders.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from torch.nn import functional

from lotlens.drawn.scenes import load_font
from lotlens.files import write_bytes_atomically
from lotlens.recipes.schema import Finetune, Recipe
from lotlens.records import CarClass, FloatArray
from lotlens.texts import show
from lotlens.vision.augment import mix_batch
from lotlens.vision.batches import DecodedPhotos, EpochBatches, TrainingPhotos, build_augmenters

NUM_PHOTOS = 16
_NUM_COLUMNS = 4
_CELL_WIDTH = 240
_CAPTION, _MARGIN, _HEADER = 22, 8, 34
_LEAST_SHARE = 0.05
"""Of a photo that is mixed in, below which its class is not named."""

View = tuple[NDArray[np.uint8], FloatArray]
"""Pixels [H, W, 3], and the share of each class [K]."""


def write_sheet(
    path: Path,
    recipe: Recipe,
    photos: DecodedPhotos,
    classes: Sequence[CarClass],
    weights: NDArray[np.float64] | None = None,
) -> None:
    """Write that sheet as a JPEG; arguments and errors otherwise as `draw_sheet`.

    Raises:
        OutputError: it cannot be written.
    """
    write_bytes_atomically(path, draw_sheet(recipe, photos, classes, weights))


def draw_sheet(
    recipe: Recipe,
    photos: DecodedPhotos,
    classes: Sequence[CarClass],
    weights: NDArray[np.float64] | None = None,
) -> bytes:
    """The first photos that the recipe's first stage of fine-tuning trains on, as a JPEG.

    They are those of its first batches, each view drawn as in training from (seed, epoch, photo
    id), and mixed where the recipe mixes. A recipe without fine-tuning shows photos as its probe
    sees them. The same recipe and photos give the same bytes.

    Args:
        recipe: whose stages.
        photos: decoded for training.
        classes: in the order of their targets.
        weights: [N] by which some photos are shown more often (see `EpochBatches`).
    """
    number = next((n for n, one in enumerate(recipe.stages) if isinstance(one, Finetune)), 0)
    stage = recipe.stages[number]
    if isinstance(stage, Finetune):
        views = _list_tuned(stage, photos, len(classes), recipe.seed, weights)
        title = f"as stage {number} (fine-tuning) sees them in its first epoch"
    else:
        views = _list_probed(photos, len(classes), mirror=stage.mirror)
        title = "as the probe sees them: no augmentation"
    shown = list(islice(views, NUM_PHOTOS))
    height, width = shown[0][0].shape[:2]
    return _draw(f"{recipe.name}: photos {title}, {height}x{width}", shown, classes)


def _list_tuned(
    stage: Finetune,
    photos: DecodedPhotos,
    num_classes: int,
    seed: int,
    weights: NDArray[np.float64] | None,
) -> Iterator[View]:
    data = TrainingPhotos(photos, build_augmenters(stage, photos.spec)[:1], seed=seed)
    batches = EpochBatches(len(photos.ids), stage.batch_size, seed=seed, weights=weights)
    for number, keys in enumerate(batches):
        pixels, labels = data[keys]
        targets = functional.one_hot(labels, num_classes).float()
        if stage.augmentation.is_mixing:
            rng = np.random.default_rng([seed, 0, number])
            mixed, targets = mix_batch(pixels.float(), targets, stage.augmentation, rng)
            pixels = mixed.round().clamp(0, 255).to(torch.uint8)
        yield from zip(pixels.permute(0, 2, 3, 1).numpy(), targets.numpy(), strict=True)


def _list_probed(photos: DecodedPhotos, num_classes: int, *, mirror: bool) -> Iterator[View]:
    shares = np.eye(num_classes, dtype=np.float32)
    # From all over the lot: its order is often that of the classes.
    rows = np.linspace(0, len(photos.ids) - 1, min(NUM_PHOTOS, len(photos.ids))).round()
    for row in rows.astype(int):
        frame = photos.read_frames(row, row + 1)[0]
        yield frame, shares[photos.targets[row]]
        if mirror:
            yield frame[:, ::-1], shares[photos.targets[row]]


def _draw(title: str, views: Sequence[View], classes: Sequence[CarClass]) -> bytes:
    height, width = views[0][0].shape[:2]
    cell = (_CELL_WIDTH, round(_CELL_WIDTH * height / width))
    step = (cell[0] + _MARGIN, cell[1] + _CAPTION + _MARGIN)
    num_rows = -(-len(views) // _NUM_COLUMNS)
    size = (_MARGIN + _NUM_COLUMNS * step[0], _HEADER + num_rows * step[1])
    sheet = Image.new("RGB", size, (250, 250, 250))
    draw = ImageDraw.Draw(sheet)
    draw.text((_MARGIN, 9), _cut(title, draw, size[0]), fill=(90, 90, 90), font=load_font(13))
    for number, (pixels, shares) in enumerate(views):
        row, column = divmod(number, _NUM_COLUMNS)
        left, top = _MARGIN + column * step[0], _HEADER + row * step[1]
        photo = Image.fromarray(np.ascontiguousarray(pixels))
        sheet.paste(photo.resize(cell, Image.Resampling.BICUBIC), (left, top))
        caption = _cut(_name(shares, classes), draw, cell[0])
        draw.text((left, top + cell[1] + 3), caption, fill=(20, 20, 20), font=load_font(13))
    stream = io.BytesIO()
    sheet.save(stream, "JPEG", quality=85)
    return stream.getvalue()


def _name(shares: FloatArray, classes: Sequence[CarClass]) -> str:
    """The class, or those that are mixed with their shares, the largest first."""
    named = [int(k) for k in np.argsort(-shares, kind="stable")[:2] if shares[k] >= _LEAST_SHARE]
    if len(named) == 1:
        return classes[named[0]].name
    return " + ".join(f"{shares[k]:.0%} {classes[k].name}" for k in named)


def _cut(text: str, draw: ImageDraw.ImageDraw, width: int) -> str:
    """Text in one line of so many pixels, cut where it is longer."""
    text = show(text, in_one_line=True)[:200]
    font = load_font(13)
    if draw.textlength(text, font=font) <= width:
        return text
    while text and draw.textlength(f"{text}…", font=font) > width:
        text = text[:-1]
    return f"{text}…"
