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
    MARGIN,
    decode_size,
    fit_photo,
    normalise,
    prepare,
    prepare_bytes,
    unfit_map,
)
from lotlens.records import Box, ImageSpec

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


LOCATED = replace(IMAGENET, fit="stretch", locate="map")
EDGE = st.floats(0, 1)


@st.composite
def draw_located(draw: st.DrawFn) -> tuple[np.ndarray, Box]:
    """A photo whose red tells the column and whose green tells the row, and a box in it."""
    width, height = draw(st.integers(40, 250)), draw(st.integers(40, 250))
    across, down = np.meshgrid(np.arange(width), np.arange(height))
    photo = np.stack([across, down, np.full_like(across, 200)], axis=-1).astype(np.uint8)
    edges = []
    for _ in range(2):
        low, high = sorted((draw(EDGE), draw(EDGE)))
        low = min(low, 0.85)
        edges.append((low, max(high, low + 0.15)))
    return photo, Box(edges[0][0], edges[1][0], edges[0][1], edges[1][1])


@settings(max_examples=80, deadline=None)
@given(draw_located())
def test_a_crop_to_the_car_never_cuts_it_and_is_never_stretched(located: tuple) -> None:
    photo, box = located
    height, width = photo.shape[:2]
    fitted = fit_photo(photo, LOCATED, box).astype(int)
    assert fitted.shape == (48, 64, 3)
    seen = fitted[..., 2] > 150  # the mean colour has less blue
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    inner = fitted[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    assert (inner[..., 2] > 150).all()  # the photo is in one piece
    # How many of the photo's columns a column of the frame has, and likewise of rows.
    steps = [
        (inner[..., axis].max() - inner[..., axis].min()) / max(inner.shape[1 - axis] - 1, 1)
        for axis in (0, 1)
    ]
    if min(inner.shape[:2]) > 12:
        assert steps[0] == pytest.approx(steps[1], rel=0.15, abs=0.1)
    step = max(steps) + 1.5  # a pixel of the frame, and rounding
    for axis, (low, high, size) in enumerate(
        ((box.left, box.right, width), (box.top, box.bottom, height))
    ):
        margin = MARGIN * (high - low)
        assert inner[..., axis].min() <= max(low - margin, 0) * size + step
        assert inner[..., axis].max() >= min(high + margin, 1) * size - 1 - step


@settings(max_examples=40, deadline=None)
@given(draw_located())
def test_a_stretched_box_fills_the_frame_alone_and_is_not_cut(located: tuple) -> None:
    photo, box = located
    height, width = photo.shape[:2]
    fitted = fit_photo(photo, replace(LOCATED, box_fit="stretch"), box).astype(int)
    for axis, (low, high, size, side) in enumerate(
        ((box.left, box.right, width, 64), (box.top, box.bottom, height, 48))
    ):
        margin = MARGIN * (high - low)
        first, last = max(low - margin, 0) * size, min(high + margin, 1) * size - 1
        step = (last - first) / side + 2  # a pixel of the frame, and rounding
        assert fitted[..., axis].min() == pytest.approx(first, abs=step)
        assert fitted[..., axis].max() == pytest.approx(last, abs=step)
    assert (fitted[..., 2] > 150).mean() > 0.9  # no mean colour, but at an edge


@settings(max_examples=40, deadline=None)
@given(draw_located())
def test_a_mirrored_photo_with_its_box_gives_the_mirrored_crop(located: tuple) -> None:
    photo, box = located
    mirrored = fit_photo(np.ascontiguousarray(photo[:, ::-1]), LOCATED, box.mirrored)
    differs = np.abs(fit_photo(photo, LOCATED, box)[:, ::-1].astype(int) - mirrored)
    # A column at the photo's end may be the photo's or the mean colour's, by a hair.
    assert (differs.max(axis=(0, 2)) > 3).sum() <= 2


@settings(max_examples=40, deadline=None)
@given(draw_located(), st.sampled_from([(5, 6), (0, 6), (5, 0)]))
def test_what_lies_around_a_crop_leaves_its_middle_alone(located: tuple, border: tuple) -> None:
    photo, box = located
    plain, whole = fit_photo(photo, LOCATED, box), fit_photo(photo, LOCATED)
    rows, columns = (slice(edge, -edge or None) for edge in border)
    around = fit_photo(photo, LOCATED, box, border=border)
    assert around.shape == (48 + 2 * border[0], 64 + 2 * border[1], 3)
    assert np.abs(around[rows, columns].astype(int) - plain).max() <= 3
    around = fit_photo(photo, LOCATED, border=border)
    assert np.array_equal(around[rows, columns], whole)


def test_a_small_car_fills_the_frame_with_what_lies_around_it() -> None:
    photo = np.full((300, 400, 3), 10, dtype=np.uint8)
    photo[200:240, 300:360] = 250
    fitted = fit_photo(photo, LOCATED, Box(300 / 400, 200 / 300, 360 / 400, 240 / 300))
    assert (fitted == 250).mean() > 0.6
    # The photo has enough around it: no mean colour anywhere.
    assert ((fitted < 60) | (fitted > 180)).mean() > 0.9


@pytest.mark.parametrize("size", [(1, 400), (400, 1), (2, 3)])
def test_photos_of_any_shape_are_cropped(size: tuple[int, int]) -> None:
    for box in (Box(0, 0, 1, 1), Box(0.49, 0.2, 0.5, 0.21), Box(0.97, 0.97, 1, 1)):
        assert fit_photo(paint(*size), LOCATED, box).shape == (48, 64, 3)


def test_photos_are_decoded_larger_where_a_part_of_them_is_seen() -> None:
    assert decode_size(IMAGENET) == (64, 48)
    assert decode_size(LOCATED) == (320, 320)
    assert decode_size(replace(LOCATED, height=192, width=288)) == (576, 384)


@settings(max_examples=40, deadline=None)
@given(draw_located())
def test_a_map_over_a_crop_is_laid_back_over_the_photo(located: tuple) -> None:
    photo, box = located
    height, width = photo.shape[:2]
    fitted = fit_photo(photo, LOCATED, box)
    for axis in (0, 1):
        back = unfit_map(fitted[..., axis].astype(np.float32), LOCATED, width, height, box)
        assert back.shape == (height, width)
        left, right = (int(edge * width) for edge in (box.left, box.right))
        top, bottom = (int(edge * height) for edge in (box.top, box.bottom))
        inner = (slice(top + 3, bottom - 3), slice(left + 3, right - 3))
        wrong = np.abs(back[inner] - photo[inner][..., axis])
        # But for the mean colour, where the photo ends.
        assert (wrong > 4).mean() < 0.1 if wrong.size else True
