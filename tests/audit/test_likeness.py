"""likeness: copies come near 1 whatever was done to them; other pictures stay far below."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from lotlens.audit.likeness import SAME, measure_likeness
from lotlens.drawn.scenes import add_watermark
from lotlens.photos.quality import FRAME, frame_photo


@pytest.fixture(scope="module")
def picture(texture_drawer):
    """[240, 320, 3], with more detail than the frame holds."""
    return texture_drawer(0, 320, 240)


def crop(pixels, box):
    """The part of a picture between left, right, top and bottom, as shares of its sides."""
    height, width = pixels.shape[:2]
    left, right, top, bottom = np.round(np.multiply(box, (width, width, height, height))).astype(
        int
    )
    return pixels[top:bottom, left:right]


def compare(outer, inner, *start, **options):
    return measure_likeness(frame_photo(outer), frame_photo(inner), *start, **options)


def test_a_frame_is_a_grey_square(picture):
    frame = frame_photo(picture)
    assert frame.shape == (FRAME, FRAME)
    assert frame.dtype == np.uint8
    white = np.full((7, 500, 3), 255, np.uint8)
    assert np.array_equal(frame_photo(white), np.full((FRAME, FRAME), 255))


def test_a_picture_is_like_itself(picture):
    assert compare(picture, picture) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(
    "start",
    [(0.06, 0.94, 0.0, 0.88), (0.0, 1.0, 0.0, 1.0), (0.12, 1.0, 0.1, 1.0)],
    ids=["near", "whole", "far off"],
)
def test_a_crop_is_found_from_any_start(picture, start):
    assert compare(picture, crop(picture, (0.05, 0.93, 0.02, 0.9)), start) > 0.97


@given(
    edges=st.tuples(*[st.floats(0, 0.12)] * 4),
    contrast=st.floats(0.5, 1.0),
    brightness=st.integers(-20, 60),
)
@settings(max_examples=25, deadline=None)
def test_crop_brightness_and_contrast_do_not_hide_a_copy(picture, edges, contrast, brightness):
    left, right, top, bottom = edges
    copy = crop(picture, (left, 1 - right, top, 1 - bottom))
    copy = np.clip(copy * contrast + brightness, 0, 255).astype(np.uint8)
    assert compare(picture, copy) >= SAME


def test_a_watermark_and_compression_do_not_hide_a_copy(picture):
    image = Image.fromarray(picture)
    for seed in range(8):
        marked = add_watermark(np.random.default_rng(seed), image)
        assert compare(picture, np.asarray(marked)) >= SAME
    ImageDraw.Draw(image).rectangle((20, 180, 300, 215), fill="white")
    assert compare(picture, np.asarray(image)) >= SAME
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=15)
    assert compare(picture, np.asarray(Image.open(stream).convert("RGB"))) >= SAME


def test_one_who_compares_mirror_images_flips_one(picture):
    mirrored = picture[:, ::-1]
    assert compare(picture, mirrored) < 0.5
    assert compare(picture[:, ::-1], mirrored) == pytest.approx(1, abs=0.01)


def test_a_negative_is_no_copy(picture):
    assert compare(picture, 255 - picture) == 0


@given(seeds=st.tuples(st.integers(1, 500), st.integers(501, 1000)))
@settings(max_examples=25, deadline=None)
def test_strangers_are_not_alike(texture_drawer, seeds):
    one, other = (texture_drawer(seed) for seed in seeds)
    assert compare(one, other) < 0.6


def draw_scene(seed, texture_drawer):
    """Sky, road and a car in one place; what the sky and the road are made of is chance."""
    image = Image.fromarray((texture_drawer(seed) * 0.35 + 80).astype(np.uint8))
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, 0, 160, 12), fill=(190, 210, 240))
    draw.rounded_rectangle((40, 50, 120, 90), radius=8, fill=(180, 30, 30))
    draw.ellipse((48, 80, 64, 96), fill=(20, 20, 20))
    draw.ellipse((96, 80, 112, 96), fill=(20, 20, 20))
    return np.asarray(image)


def test_one_layout_is_not_one_picture(texture_drawer):
    """Two adverts of one seller: the same place and pose, another day."""
    for seed in range(10):
        one, other = draw_scene(seed, texture_drawer), draw_scene(seed + 100, texture_drawer)
        assert compare(one, one) > 0.96
        assert compare(one, other) < 0.9 * SAME


def test_flat_pictures_are_like_nothing_not_even_themselves(picture):
    grey = np.full((90, 120, 3), 128, np.uint8)
    noisy = (grey + np.random.default_rng(0).integers(0, 4, grey.shape)).astype(np.uint8)
    assert compare(grey, grey) == 0
    assert compare(grey, noisy) == 0
    assert compare(picture, grey) == 0
    assert compare(grey, picture) == 0


def test_a_picture_with_little_in_it_tells_too_little():
    image = Image.new("RGB", (128, 128), "white")
    ImageDraw.Draw(image).rectangle((20, 20, 60, 40), fill="black")
    assert compare(np.asarray(image), np.asarray(image)) == 0


def test_made_up_pixels_are_not_compared(picture):
    """A thumbnail lacks the finest detail: only at its own size it is a copy beyond doubt."""
    thumbnail = np.asarray(Image.fromarray(picture).resize((40, 30), Image.Resampling.LANCZOS))
    whole, by_2, by_4 = (compare(picture, thumbnail, shrink=shrink) for shrink in (1, 2, 4))
    assert whole < by_2 < by_4
    assert by_4 >= SAME
    assert compare(picture, picture, shrink=4) == pytest.approx(1, abs=0.01)


def test_parts_that_hardly_overlap_are_not_aligned(picture):
    left, right = crop(picture, (0, 0.55, 0, 1)), crop(picture, (0.45, 1, 0, 1))
    assert compare(left, right) < SAME
