"""prepare: one preprocessing, exact where it must be, and nothing scaled twice."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lotlens.errors import UnreadablePhoto
from lotlens.photos.decode import decode
from lotlens.photos.prepare import (
    decode_size,
    fit_photo,
    normalise,
    prepare,
    prepare_bytes,
    unfit_map,
)
from lotlens.records import ImageSpec

IMAGENET = ImageSpec(height=48, width=64, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def paint(height: int, width: int) -> np.ndarray:
    """A smooth photo: red rises to the right, green downwards."""
    red, green = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return np.stack([red, green, np.full_like(red, 77)], axis=-1).astype(np.uint8)


@pytest.mark.parametrize("fit", ["pad", "stretch", "crop"])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_every_fit_gives_the_frame(fit: str, interpolation: str) -> None:
    spec = replace(IMAGENET, fit=fit, interpolation=interpolation)
    for size in [(300, 200), (200, 300), (1, 999), (999, 1), (3, 3), (48, 64)]:
        photo = paint(*size)
        before = photo.copy()
        fitted = fit_photo(photo, spec)
        assert fitted.shape == (48, 64, 3)
        assert fitted.dtype == np.uint8
        assert np.array_equal(photo, before)
        assert not np.shares_memory(fitted, photo)


def test_pad_never_cuts_and_pads_both_sides() -> None:
    photo = np.full((100, 400, 3), 200, dtype=np.uint8)  # 4:1 into 4:3: 16 of 48 rows
    fitted = fit_photo(photo, IMAGENET)
    assert (fitted[16:32] == 200).all()
    assert (fitted[:16] == [124, 116, 104]).all()
    assert (fitted[32:] == [124, 116, 104]).all()


def test_padding_is_about_zero_after_normalising() -> None:
    ready = prepare(np.zeros((10, 400, 3), dtype=np.uint8), IMAGENET)
    assert np.abs(ready[:, :20]).max() < 0.5 / 255 / 0.22
    assert ready[:, 24].max() < -1


def test_stretch_fills_and_crop_cuts_the_sides() -> None:
    photo = np.zeros((60, 160, 3), dtype=np.uint8)
    photo[:, :40] = 255  # crop keeps columns 40 to 120
    assert (fit_photo(photo, replace(IMAGENET, fit="crop", interpolation="nearest")) == 0).all()
    stretched = fit_photo(photo, replace(IMAGENET, fit="stretch", interpolation="nearest"))
    assert (stretched[:, :16] == 255).all()
    assert (stretched[:, 16:] == 0).all()


def test_shrinking_does_not_alias() -> None:
    checkers = (np.indices((480, 640)).sum(axis=0) % 2 * 255).astype(np.uint8)
    fitted = fit_photo(np.repeat(checkers[..., None], 3, axis=-1), IMAGENET)
    assert np.abs(fitted.astype(int) - 127).max() <= 2


@given(
    height=st.integers(1, 200),
    width=st.integers(1, 200),
    fit=st.sampled_from(["pad", "crop"]),
)
@settings(max_examples=60, deadline=None)
def test_aspect_is_kept(height: int, width: int, fit: str) -> None:
    # A white photo on the mean colour shows where it lies: centred, and filling one direction.
    white = np.full((height, width, 3), 255, dtype=np.uint8)
    inside = (fit_photo(white, replace(IMAGENET, fit=fit)) == 255).all(axis=-1)
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    assert inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].all()
    assert len(rows) == 48 or len(columns) == 64
    assert abs(rows[0] - (47 - rows[-1])) <= 1
    assert abs(columns[0] - (63 - columns[-1])) <= 1
    if fit == "crop":
        assert inside.all()
    else:
        scale = min(64 / width, 48 / height)
        assert abs(len(columns) - max(width * scale, 1)) <= 0.5
        assert abs(len(rows) - max(height * scale, 1)) <= 0.5


def test_normalise_is_the_formula() -> None:
    photos = np.random.default_rng(0).integers(0, 256, (3, 5, 7, 3), dtype=np.uint8)
    batch = normalise(photos, IMAGENET)
    wanted = (photos / 255 - np.array(IMAGENET.mean)) / np.array(IMAGENET.std)
    assert batch.shape == (3, 3, 5, 7)
    assert batch.dtype == np.float32
    assert batch.flags.c_contiguous
    np.testing.assert_allclose(batch, wanted.transpose(0, 3, 1, 2), atol=2e-6)


def test_normalise_takes_views_and_empty_batches() -> None:
    photos = np.random.default_rng(0).integers(0, 256, (2, 6, 8, 3), dtype=np.uint8)
    flipped = photos[:, :, ::-1]
    wanted = normalise(np.ascontiguousarray(flipped), IMAGENET)
    assert np.array_equal(normalise(flipped, IMAGENET), wanted)
    assert normalise(photos[:0], IMAGENET).shape == (0, 3, 6, 8)


def test_prepare_is_fit_then_normalise() -> None:
    photo = paint(90, 130)
    wanted = normalise(fit_photo(photo, IMAGENET)[None], IMAGENET)[0]
    assert np.array_equal(prepare(photo, IMAGENET), wanted)


def test_prepare_bytes_decodes_large_jpegs_scaled_without_a_visible_change() -> None:
    stream = io.BytesIO()
    Image.fromarray(paint(960, 1280)).save(stream, "JPEG", quality=95)
    data = stream.getvalue()
    assert decode(data, min_size=decode_size(IMAGENET)).shape == (120, 160, 3)
    ready = prepare_bytes(data, IMAGENET)
    assert ready.shape == (3, 48, 64)
    assert np.abs(ready - prepare(decode(data), IMAGENET)).max() < 0.06  # 3 of 255


def test_prepare_bytes_passes_unreadable_on() -> None:
    with pytest.raises(UnreadablePhoto, match="empty"):
        prepare_bytes(b"", IMAGENET)


@pytest.mark.parametrize(
    ("photo", "words"),
    [
        (np.zeros((4, 4, 3), dtype=np.float32), r"float32 of shape \[4, 4, 3\]"),
        (np.zeros((4, 4, 3), dtype=np.int64), "int64"),
        (np.zeros((4, 4), dtype=np.uint8), r"\[4, 4\]"),
        (np.zeros((4, 4, 4), dtype=np.uint8), r"\[4, 4, 4\]"),
        (np.zeros((3, 4, 4), dtype=np.uint8), r"\[3, 4, 4\]"),
        (np.zeros((0, 4, 3), dtype=np.uint8), r"\[0, 4, 3\]"),
        (np.zeros((1, 4, 4, 3), dtype=np.uint8), r"\[1, 4, 4, 3\]"),
        ([[[1, 2, 3]]], "list"),
    ],
)
def test_wrong_arrays_are_named(photo: np.ndarray, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        prepare(photo, IMAGENET)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
def test_scaled_floats_cannot_be_scaled_twice(dtype: type) -> None:
    with pytest.raises(ValueError, match=r"photos must be a uint8 array \[N, H, W, 3\]"):
        normalise(np.zeros((1, 4, 4, 3), dtype=dtype), IMAGENET)


def test_unknown_fit_and_filter_are_named() -> None:
    with pytest.raises(ValueError, match="unknown fit 'zoom'"):
        fit_photo(paint(9, 9), replace(IMAGENET, fit="zoom"))
    with pytest.raises(ValueError, match="unknown interpolation 'cubic'"):
        fit_photo(paint(9, 9), replace(IMAGENET, interpolation="cubic"))


@pytest.mark.parametrize("fit", ["pad", "stretch", "crop"])
@pytest.mark.parametrize("size", [(200, 100), (90, 150), (64, 48)])
def test_a_map_is_laid_back_over_the_photo(fit: str, size: tuple[int, int]) -> None:
    """What the network saw of a smooth photo, laid back, is that photo where it was seen."""
    width, height = size
    spec = replace(IMAGENET, fit=fit)
    across, down = np.meshgrid(np.linspace(20, 200, width), np.linspace(0, 40, height))
    photo = np.repeat(np.rint(across + down).astype(np.uint8)[..., None], 3, axis=2)
    seen = fit_photo(photo, spec)[..., 0].astype(np.float32)
    back = unfit_map(seen, spec, width, height)
    assert back.shape == (height, width)
    assert back.dtype == np.float32
    was_seen = back > 0
    assert was_seen.mean() > (0.4 if fit == "crop" else 0.99)
    assert np.abs(back - photo[..., 0])[was_seen].max() < 12
