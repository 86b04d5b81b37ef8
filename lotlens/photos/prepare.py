"""The one inference preprocessing: a photo becomes network input; it knows no network and no file.

Validation, evaluation, the runtime and the server all come through here, so that a model never
meets photos prepared otherwise than those it was measured on.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lotlens.photos.decode import decoding
from lotlens.records import FloatArray, ImageSpec

_FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}


def prepare_bytes(data: bytes, spec: ImageSpec) -> FloatArray:
    """Decodes and prepares one photo: the file's bytes in, [3, height, width] float32 out.

    Raises:
        UnreadablePhoto: the bytes are no readable photo.
    """
    with decoding(data, min_size=decode_size(spec)) as (photo, _):
        return prepare(photo, spec)


def decode_size(spec: ImageSpec) -> tuple[int, int]:
    """The (width, height) to ask of `decode` as its `min_size`: what the network sees.

    A JPEG is then decoded at the smallest of 1, 1/2, 1/4 and 1/8 of its size that is no smaller, by
    a transform of its low frequencies, which is a good filter in itself: models that are trained
    and asked so are no worse than with twice the size (measured, docs/LOG.md), and answer faster.
    Whoever decodes for a model asks for this size, so that all photos are decoded alike.
    """
    return spec.width, spec.height


def prepare(photo: NDArray[np.uint8], spec: ImageSpec) -> FloatArray:
    """One decoded photo, [H, W, 3] uint8 of any size, as network input [3, height, width] float32.

    Raises:
        ValueError: not such an array.
    """
    ready: FloatArray = normalise(fit_photo(photo, spec)[None], spec)[0]
    return ready


def fit_photo(photo: NDArray[np.uint8], spec: ImageSpec) -> NDArray[np.uint8]:
    """Brings a photo [H, W, 3] uint8 to the network's frame [height, width, 3] uint8.

    Resampling is Pillow's, which widens the filter when it shrinks, so there is no aliasing.
    "pad" keeps the aspect and puts the photo in the middle of a frame of the mean colour, which
    normalises to about zero; "stretch" gives up the aspect; "crop" keeps it and cuts equally on
    both sides.

    Raises:
        ValueError: not such an array, or a spec with an unknown fit or filter.
    """
    _check("a photo", photo, "[H, W, 3]", num_axes=3)
    if spec.interpolation not in _FILTERS:
        raise ValueError(f"unknown interpolation {spec.interpolation!r}; known: {list(_FILTERS)}")
    resample = _FILTERS[spec.interpolation]
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
        box = (max(left, 0.0), max(top, 0.0), min(width - left, width), min(height - top, height))
        return np.array(image.resize(frame, resample, box=box))
    if spec.fit == "pad":
        left, top, inner_width, inner_height = _place_inside(width, height, spec.width, spec.height)
        canvas = np.empty((spec.height, spec.width, 3), dtype=np.uint8)
        canvas[:] = np.clip(np.rint(np.array(spec.mean) * 255), 0, 255).astype(np.uint8)
        canvas[top : top + inner_height, left : left + inner_width] = np.asarray(
            image.resize((inner_width, inner_height), resample)
        )
        return canvas
    raise ValueError(f"unknown fit {spec.fit!r}; known: pad, stretch, crop")


def unfit_map(values: FloatArray, spec: ImageSpec, width: int, height: int) -> FloatArray:
    """A map over the network's frame, laid back over the photo that was fitted to it.

    What "pad" added is cut off; what "crop" cut away is zero.

    Args:
        values: [spec.height, spec.width], such as a heat map.
        spec: how the photo was fitted.
        width: of the photo in pixels, at any scale.
        height: likewise.

    Returns:
        [height, width] float32.
    """
    image = Image.fromarray(np.asarray(values, np.float32))
    resample = Image.Resampling.BILINEAR
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
