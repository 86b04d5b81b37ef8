"""The one inference preprocessing: a photo becomes network input; it knows no network and no file.

Validation, evaluation, the runtime and the server all come through here, so that a model never
meets photos prepared otherwise than those it was measured on.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lotlens.photos.decode import decoding
from lotlens.records import Box, CarLocator, FloatArray, ImageSpec

MARGIN = 0.06
"""Of a box's width and height, left on each side of it: the crop is not to cut the car."""
_LOCATING_SIDE = 320
"""Photos are decoded to so many pixels at least where the car is to be found in them."""
_HAIR = 1e-6
"""Of a pixel: what rounding may take from an edge that lies on one."""

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def prepare_bytes(data: bytes, spec: ImageSpec, *, locate: CarLocator | None = None) -> FloatArray:
    """Decodes and prepares one photo: the file's bytes in, [3, height, width] float32 out.

    Raises:
        UnreadablePhoto: the bytes are no readable photo.
        ValueError: the car is to be found, and nothing is given that finds it.
    """
    with decoding(data, min_size=decode_size(spec)) as (photo, _):
        return prepare(photo, spec, find_box(photo, spec, locate))


def find_box(photo: NDArray[np.uint8], spec: ImageSpec, locate: CarLocator | None) -> Box | None:
    """Where a photo shows its car; None if it shows none, or none is to be found.

    Args:
        photo: [H, W, 3] uint8, upright.
        spec: says whether it is to be found.
        locate: finds it.

    Raises:
        ValueError: the car is to be found, and nothing is given that finds it: a model would meet
            photos prepared otherwise than those it was measured on.
    """
    if spec.locate == "none":
        return None
    if locate is None:
        raise ValueError(f"the car is to be found first ({spec.locate!r}), by nothing")
    return locate(photo)


def decode_size(spec: ImageSpec) -> tuple[int, int]:
    """The (width, height) to ask of `decode` as its `min_size`: what the network sees.

    A JPEG is then decoded at the smallest of 1, 1/2, 1/4 and 1/8 of its size that is no smaller, by
    a transform of its low frequencies, which is a good filter in itself: models that are trained
    and asked so are no worse than with twice the size (measured, docs/LOG.md), and answer faster.
    Whoever decodes for a model asks for this size, so that all photos are decoded alike.

    Where the car is found first, it is twice the size: of a car that covers a quarter of the photo
    the network then still sees all that it can.
    """
    if spec.locate == "none":
        return spec.width, spec.height
    return max(2 * spec.width, _LOCATING_SIDE), max(2 * spec.height, _LOCATING_SIDE)


def prepare(photo: NDArray[np.uint8], spec: ImageSpec, box: Box | None = None) -> FloatArray:
    """One decoded photo, [H, W, 3] uint8 of any size, as network input [3, height, width] float32.

    Arguments and errors are those of `fit_photo`.
    """
    ready: FloatArray = normalise(fit_photo(photo, spec, box)[None], spec)[0]
    return ready


def fit_photo(
    photo: NDArray[np.uint8],
    spec: ImageSpec,
    box: Box | None = None,
    *,
    border: tuple[int, int] = (0, 0),
) -> NDArray[np.uint8]:
    """Brings a photo [H, W, 3] uint8 to the network's frame [height, width, 3] uint8.

    Resampling is Pillow's, which widens the filter when it shrinks, so there is no aliasing.
    "pad" keeps the aspect and puts the photo in the middle of a frame of the mean colour, which
    normalises to about zero; "stretch" gives up the aspect; "crop" keeps it and cuts equally on
    both sides.

    Where the car was found, the frame shows it with MARGIN on each side, whatever the fit: if the
    box fit is "keep", in the photo's own aspect, with so much more of the photo above and below, or
    beside it, as fills the frame, and the mean colour only where the photo ends; if it is
    "stretch", that alone, which gives up the aspect. Neither cuts the box.

    Args:
        photo: [H, W, 3] uint8, upright.
        spec: the frame.
        box: where the car is; None for the whole photo.
        border: rows and columns more on each side of the frame, at the same scale: what lies
            beyond it in the photo, and the mean colour beyond the photo.

    Returns:
        [height + 2 * rows, width + 2 * columns, 3]; the frame is the middle of it.

    Raises:
        ValueError: not such an array, or a spec with an unknown fit or filter.
    """
    _check("a photo", photo, "[H, W, 3]", num_axes=3)
    if spec.interpolation not in _FILTERS:
        raise ValueError(f"unknown interpolation {spec.interpolation!r}; known: {list(_FILTERS)}")
    resample = _FILTERS[spec.interpolation]
    if box is not None:
        return _fit_window(photo, _choose_window(photo.shape, spec, box), spec, border)
    if any(border):
        fitted = _paint(spec, border)
        rows, columns = (slice(edge, -edge or None) for edge in border)
        fitted[rows, columns] = fit_photo(photo, spec)
        return fitted
    frame = (spec.width, spec.height)
    height, width = photo.shape[:2]
    if (width, height) == frame:
        return photo.copy()
    image = Image.fromarray(photo)
    if spec.fit == "stretch":
        return np.array(image.resize(frame, resample))
    if spec.fit == "crop":
        scale = max(spec.width / width, spec.height / height)
        left = (width - spec.width / scale) / 2
        top = (height - spec.height / scale) / 2
        seen = (max(left, 0.0), max(top, 0.0), min(width - left, width), min(height - top, height))
        return np.array(image.resize(frame, resample, box=seen))
    if spec.fit == "pad":
        left, top, inner_width, inner_height = _place_inside(width, height, spec.width, spec.height)
        canvas = _paint(spec)
        canvas[top : top + inner_height, left : left + inner_width] = np.asarray(
            image.resize((inner_width, inner_height), resample)
        )
        return canvas
    raise ValueError(f"unknown fit {spec.fit!r}; known: pad, stretch, crop")


def unfit_map(
    values: FloatArray, spec: ImageSpec, width: int, height: int, box: Box | None = None
) -> FloatArray:
    """A map over the network's frame, laid back over the photo that was fitted to it.

    What "pad" added is cut off; what "crop", or a crop to the car, cut away is zero.

    Args:
        values: [spec.height, spec.width], such as a heat map.
        spec: how the photo was fitted.
        width: of the photo in pixels, at any scale.
        height: likewise.
        box: of the car, where the photo was cropped to it.

    Returns:
        [height, width] float32.
    """
    image = Image.fromarray(np.asarray(values, np.float32))
    resample = Image.Resampling.BILINEAR
    if box is not None:
        return _lay_back(image, _choose_window((height, width), spec, box), width, height)
    if spec.fit == "stretch":
        return np.array(image.resize((width, height), resample))
    if spec.fit == "pad":
        left, top, *inner = _place_inside(width, height, spec.width, spec.height)
        # Cut off before: a box given to `resize` lets in what lies beyond its edge.
        image = image.crop((left, top, left + inner[0], top + inner[1]))
        return np.array(image.resize((width, height), resample))
    left, top, inner_width, inner_height = _place_inside(spec.width, spec.height, width, height)
    whole = np.zeros((height, width), np.float32)
    whole[top : top + inner_height, left : left + inner_width] = np.asarray(
        image.resize((inner_width, inner_height), resample)
    )
    return whole


def normalise(photos: NDArray[np.uint8], spec: ImageSpec) -> FloatArray:
    """Fitted photos [N, H, W, 3] uint8 as a batch [N, 3, H, W] float32: (x / 255 - mean) / std.

    The result is C-contiguous. N may be 0. Only uint8 is taken: an array of floats may be scaled
    already, and scaling twice is the commonest silent fault of preprocessing.

    Raises:
        ValueError: not such an array.
    """
    _check("photos", photos, "[N, H, W, 3]", num_axes=4)
    std = np.array(spec.std, dtype=np.float64)
    scale = (1 / (255 * std)).astype(np.float32)
    shift = (-np.array(spec.mean, dtype=np.float64) / std).astype(np.float32)
    num_photos, height, width, _ = photos.shape
    batch: FloatArray = np.empty((num_photos, 3, height, width), dtype=np.float32)
    # Plane by plane: each fits the cache, which halves the time of the one-line expression.
    for photo, ready in zip(photos, batch, strict=True):
        for channel in range(3):
            np.multiply(photo[:, :, channel], scale[channel], out=ready[channel])
            ready[channel] += shift[channel]
    return batch


@dataclass(frozen=True, slots=True)
class _Window:
    """What of a photo the frame shows.

    Attributes:
        left, top: where it begins, in the photo's pixels; it may lie outside the photo.
        across, down: the frame's pixels for one of the photo's, either way.
    """

    left: float
    top: float
    across: float
    down: float


@dataclass(frozen=True, slots=True)
class _Stretch:
    """Pixels of a canvas from `start` to `stop`, and from where to where they lie in a photo."""

    start: int
    stop: int
    begin: float
    end: float


def _choose_window(shape: tuple[int, ...], spec: ImageSpec, box: Box) -> _Window:
    """The smallest window with all of a box and its margin, inside the photo if it fits.

    It has the frame's aspect, unless the box is stretched.
    """
    sizes = (shape[1], shape[0])
    frame = (spec.width, spec.height)
    sides = []
    for low, high, size in zip((box.left, box.top), (box.right, box.bottom), sizes, strict=True):
        margin = MARGIN * (high - low)
        sides.append((max(low - margin, 0.0) * size, min(high + margin, 1.0) * size))
    scales = [own / (high - low) for own, (low, high) in zip(frame, sides, strict=True)]
    if spec.box_fit == "keep":
        scales = [min(scales)] * 2
    starts = []
    for (low, high), size, own, scale in zip(sides, sizes, frame, scales, strict=True):
        span = own / scale
        # A photo that is smaller than the window stays in its middle.
        middle = (low + high - span) / 2
        starts.append((size - span) / 2 if span > size else min(max(middle, 0.0), size - span))
    return _Window(*starts, *scales)


def _fit_window(
    photo: NDArray[np.uint8], window: _Window, spec: ImageSpec, border: tuple[int, int]
) -> NDArray[np.uint8]:
    height, width = photo.shape[:2]
    canvas = _paint(spec, border)
    across = _cover(window.left, window.across, width, border[1], canvas.shape[1])
    down = _cover(window.top, window.down, height, border[0], canvas.shape[0])
    size = (across.stop - across.start, down.stop - down.start)
    seen = (across.begin, down.begin, across.end, down.end)
    pixels = Image.fromarray(photo).resize(size, _FILTERS[spec.interpolation], box=seen)
    canvas[down.start : down.stop, across.start : across.stop] = np.asarray(pixels)
    return canvas


def _cover(low: float, scale: float, size: int, border: int, num_pixels: int) -> _Stretch:
    """What of a canvas, along one axis, shows the photo; one pixel at least."""
    # Whole pixels of the canvas: those that the photo covers in part keep the colour.
    start = max(math.ceil(-low * scale - _HAIR) + border, 0)
    stop = min(math.floor((size - low) * scale + _HAIR) + border, num_pixels)
    if stop <= start:
        start = min(max(math.floor((size / 2 - low) * scale) + border, 0), num_pixels - 1)
        return _Stretch(start, start + 1, 0.0, float(size))
    begin, end = (low + (edge - border) / scale for edge in (start, stop))
    return _Stretch(start, stop, max(begin, 0.0), min(end, float(size)))


def _lay_back(image: Image.Image, window: _Window, width: int, height: int) -> FloatArray:
    """A map over the frame, over a photo of which the frame shows a window."""
    whole = np.zeros((height, width), np.float32)
    # From the photo's side: its pixels are the canvas, and the map is what is seen.
    across = _cover(-window.left * window.across, 1 / window.across, image.width, 0, width)
    down = _cover(-window.top * window.down, 1 / window.down, image.height, 0, height)
    size = (across.stop - across.start, down.stop - down.start)
    seen = (across.begin, down.begin, across.end, down.end)
    whole[down.start : down.stop, across.start : across.stop] = np.asarray(
        image.resize(size, Image.Resampling.BILINEAR, box=seen)
    )
    return whole


def _paint(spec: ImageSpec, border: tuple[int, int] = (0, 0)) -> NDArray[np.uint8]:
    """A frame of the mean colour, with a border."""
    shape = (spec.height + 2 * border[0], spec.width + 2 * border[1], 3)
    canvas: NDArray[np.uint8] = np.empty(shape, dtype=np.uint8)
    canvas[:] = np.clip(np.rint(np.array(spec.mean) * 255), 0, 255).astype(np.uint8)
    return canvas


def _place_inside(
    width: int, height: int, frame_width: int, frame_height: int
) -> tuple[int, int, int, int]:
    """Left, top, width and height, in a frame, of what fits whole in its middle."""
    scale = min(frame_width / width, frame_height / height)
    inner_width = min(max(round(width * scale), 1), frame_width)
    inner_height = min(max(round(height * scale), 1), frame_height)
    left, top = (frame_width - inner_width) // 2, (frame_height - inner_height) // 2
    return left, top, inner_width, inner_height


def _check(what: str, array: Any, axes: str, num_axes: int) -> None:
    """A photo's pixels must be there, and be uint8 RGB."""
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{what} must be a uint8 array {axes}, got {type(array).__name__}")
    shape = array.shape
    if array.dtype != np.uint8 or len(shape) != num_axes or shape[-1] != 3 or 0 in shape[-3:]:
        raise ValueError(
            f"{what} must be a uint8 array {axes} with pixels in it,"
            f" got {array.dtype} of shape {list(shape)}"
        )
