"""rotations: copies are guessed and confirmed whatever the angle; strangers are not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageFilter

from lotlens.audit import rotations
from lotlens.audit.hashes import hash_frame
from lotlens.audit.likeness import SAME, measure_likeness, shrink_frame
from lotlens.audit.rotations import (
    ALIKE,
    WARPS,
    guess_rotated,
    make_warp,
    measure_rotated,
    measure_slanted,
)
from lotlens.audit.turns import turn_frame
from lotlens.photos.quality import frame_photo

WHOLE = (0.0, 1.0, 0.0, 1.0)
BILINEAR = Image.Resampling.BILINEAR


def shear(image, across):
    matrix = (1, across, -across * image.height / 2, 0, 1, 0)
    return image.transform(image.size, Image.Transform.AFFINE, matrix, BILINEAR)


def add_noise(image):
    noise = np.random.default_rng(0).normal(0, 25, (*image.size[::-1], 3))
    return Image.fromarray(np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8))


def cut_out(image):
    image = image.copy()
    ImageDraw.Draw(image).rectangle((20, 20, 50, 50), fill="black")
    return image


CHANGES = {
    "as it is": lambda image: image,
    "rotated by 5": lambda image: image.rotate(5, BILINEAR),
    "rotated by -10": lambda image: image.rotate(-10, BILINEAR),
    "rotated by 15": lambda image: image.rotate(15, BILINEAR),
    "rotated by 10, enlarged": lambda image: image.rotate(10, BILINEAR, expand=True),
    "sheared": lambda image: shear(image, 0.17),
    "cropped": lambda image: image.crop((16, 0, 160, 108)),
    "rotated by 97": lambda image: image.transpose(Image.Transpose.ROTATE_90).rotate(7, BILINEAR),
    "mirrored, rotated": lambda image: image.transpose(0).rotate(-8, BILINEAR),
    "darker": lambda image: image.point(lambda level: level // 2),
    "noisy": add_noise,
    "blurred": lambda image: image.filter(ImageFilter.GaussianBlur(1.5)),
    "cut out": cut_out,
}


def frame(image):
    return frame_photo(np.asarray(image))


def measure(frames, guess):
    outer = turn_frame(frames[guess.outer], guess.turn)
    return measure_rotated(outer, frames[guess.inner], WARPS[guess.warp])


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_guessed_and_confirmed(texture_drawer, change):
    images = [Image.fromarray(texture_drawer(seed)) for seed in range(4)]
    frames = [frame(image) for image in (*images, *map(CHANGES[change], images))]
    hashes = np.stack([hash_frame(one) for one in frames])
    groups = [(number, number + 4) for number in range(4)]
    guesses = guess_rotated(hashes, groups)
    assert {tuple(sorted((guess.outer, guess.inner))) for guess in guesses} == set(groups)
    for guess in guesses:
        assert measure(frames, guess) > ALIKE
    assert guesses == tuple(sorted(guesses, key=lambda guess: -guess.score))


def test_strangers_are_not_confirmed(texture_drawer):
    frames = [frame(texture_drawer(seed)) for seed in range(30)]
    guesses = guess_rotated(np.stack([hash_frame(one) for one in frames]), [range(30)])
    assert len(guesses) < 30 * rotations._MOST_MATES
    assert all(measure(frames, guess) < 0.9 * ALIKE for guess in guesses)


def test_nothing_is_guessed_across_groups(texture_drawer):
    """Blocks hold many groups; a group may be larger than a block."""
    pictures = [hash_frame(frame(texture_drawer(seed))) for seed in range(100)]
    hashes = np.stack([*pictures, *pictures])
    order = np.random.default_rng(0).permutation(200)
    strangers = [[n, (n + 1) % 100 + 100] for n in range(0, 100, 2)]
    found = [sorted((guess.outer, guess.inner)) for guess in guess_rotated(hashes, strangers)]
    assert all(pair in strangers for pair in found)
    assert len(found) < 25
    large = [n for n in order if n % 100 < 80]
    pairs = [[n, n + 100] for n in range(80, 100)]
    guesses = guess_rotated(hashes, [*pairs[:7], large, *pairs[7:]])
    found = {tuple(sorted((guess.outer, guess.inner))) for guess in guesses if guess.score > 0.99}
    assert found == {(n, n + 100) for n in range(100)}


def test_a_photo_has_few_guesses_in_a_group_of_equal_ones(texture_drawer):
    hashes = np.stack([hash_frame(frame(texture_drawer(0)))] * 60)
    guesses = guess_rotated(hashes, [range(60)])
    assert 30 <= len(guesses) <= 60 * rotations._MOST_MATES


def test_flat_pictures_are_like_nothing(texture_drawer):
    flat = np.full((128, 128), 90, np.uint8)
    noisy = flat + np.random.default_rng(0).integers(0, 3, flat.shape).astype(np.uint8)
    for one, other in ((flat, flat), (noisy, flat), (frame(texture_drawer(0)), flat)):
        hashes = np.stack([hash_frame(one), hash_frame(other)])
        for guess in guess_rotated(hashes, [(0, 1)]):
            assert measure((one, other), guess) < 0.01
        for warp in WARPS:
            assert measure_rotated(one, other, warp) < 0.01
            assert measure_rotated(other, one, warp) < 0.01


@given(
    degrees=st.floats(-12, 12),
    scale=st.floats(0.85, 1.15),
    start=st.sampled_from([0.0, 5.0, -5.0]),
    seed=st.integers(0, 50),
)
@settings(max_examples=20, deadline=None)
def test_an_alignment_finds_the_way_a_picture_was_changed(
    texture_drawer, degrees, scale, start, seed
):
    """Started some degrees beside it."""
    outer = frame(texture_drawer(seed)).astype(np.float32)
    warp = make_warp(degrees, (scale, scale))
    laid, inside = rotations._lay(outer, warp)
    inner, found = np.where(inside, laid, 0), make_warp(degrees + start, (scale, scale))
    for shrink in (4, 2):
        found = rotations._align(shrink_frame(outer, shrink), shrink_frame(inner, shrink), found)
    assert found == pytest.approx(warp, abs=0.02)


def test_a_warp_that_does_nothing_lays_a_photo_as_it_is(texture_drawer):
    outer = frame(texture_drawer(0)).astype(np.float32)
    laid, inside = rotations._lay(outer, make_warp())
    assert inside.all()
    assert laid == pytest.approx(outer, abs=1e-3)
    assert np.array_equal(WARPS[0], make_warp())


@pytest.mark.parametrize("degrees", [-9, 9])
def test_degrees_are_counter_clockwise(texture_drawer, degrees):
    image = Image.fromarray(texture_drawer(0))
    outer, inner = (
        shrink_frame(frame(one).astype(np.float32), 4)
        for one in (image, image.rotate(degrees, BILINEAR))
    )
    found = rotations._align(outer, inner, make_warp())
    assert found == pytest.approx(make_warp(degrees), abs=0.03)


ASLANT = {
    "rotated by 2": lambda image: image.rotate(2, BILINEAR),
    "rotated by -4": lambda image: image.rotate(-4, BILINEAR),
    "sheared": lambda image: shear(image, 0.1),
}


@pytest.mark.parametrize("change", ASLANT)
def test_a_picture_aslant_is_a_copy_to_the_finest_detail(texture_drawer, change):
    for seed in range(4):
        image = Image.fromarray(texture_drawer(seed, 320, 240))
        outer, inner = frame(image), frame(ASLANT[change](image))
        assert measure_likeness(outer, inner) < SAME < measure_slanted(outer, inner, WHOLE)
        # Started beside it, as the search does.
        assert measure_slanted(outer, inner, (0.06, 1.0, 0.0, 0.94)) > SAME
        stranger = frame(texture_drawer(seed + 10, 320, 240))
        assert measure_slanted(stranger, inner, WHOLE) < 0.8 * SAME


def test_small_photos_are_compared_at_their_own_size(texture_drawer):
    image = Image.fromarray(texture_drawer(0))
    small = frame(image.rotate(7, BILINEAR).resize((40, 30), BILINEAR))
    likeness = [measure_rotated(frame(image), small, make_warp(7), shrink=s) for s in (1, 2, 4)]
    assert likeness[0] == likeness[1]
    assert min(likeness) > ALIKE
