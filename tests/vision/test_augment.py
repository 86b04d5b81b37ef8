"""Augmentation is a function of photo and seed, and leaves torch's generator alone."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lotlens.recipes.schema import Augmentation
from lotlens.vision import augment as augment_module
from lotlens.vision.augment import PhotoAugmenter, mix_batch

PHOTO = torch.randint(0, 255, (3, 24, 32), dtype=torch.uint8, generator=torch.Generator())
NOTHING = Augmentation(crop_scale=1, flip=0, policy="none", erase=0)
BLACK, GREY = (0, 0, 0), (128, 128, 128)


def only(**levers):
    """Nothing but these."""
    return Augmentation(**NOTHING.model_dump() | levers)


@pytest.mark.parametrize("policy", ["trivial", "rand", "mild", "none"])
def test_same_seed_same_view_other_seed_other_view(policy):
    augment = PhotoAugmenter(Augmentation(policy=policy), 24, 32, (128, 128, 128))
    views = [augment(PHOTO, seed) for seed in range(8)]
    assert torch.equal(augment(PHOTO, 3), views[3])
    assert len({view.numpy().tobytes() for view in views}) > 4
    assert all(view.shape == (3, 24, 32) and view.dtype == torch.uint8 for view in views)


LEVERS = [
    {"crop_scale": 0.5},
    {"flip": 0.5},
    {"rotation": 10},
    {"shift": 0.2},
    {"brightness": (0.5, 1.5)},
    {"policy": "trivial"},
    {"policy": "rand"},
    {"policy": "mild"},
    {"erase": 0.5},
]


@pytest.mark.parametrize("lever", LEVERS, ids=str)
def test_each_lever_acts_by_its_seed_alone(lever):
    augment = PhotoAugmenter(only(**lever), 24, 32, GREY)
    before = torch.random.get_rng_state()
    views = [augment(PHOTO, seed) for seed in range(12)]
    assert torch.equal(torch.random.get_rng_state(), before)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(77)
        again = [augment(PHOTO, seed) for seed in range(12)]
    assert all(torch.equal(view, other) for view, other in zip(views, again, strict=True))
    assert any(not torch.equal(view, PHOTO) for view in views)


def draw_dot(row, column):
    photo = torch.zeros(3, 40, 60, dtype=torch.uint8)
    photo[:, row - 1 : row + 2, column - 1 : column + 2] = 255
    return photo


def find_dot(photo):
    """Centre of mass: (row, column)."""
    mass = photo[0].double()
    rows, columns = torch.arange(40.0).double(), torch.arange(60.0).double()
    return float(mass.sum(1) @ rows / mass.sum()), float(mass.sum(0) @ columns / mass.sum())


def test_a_shift_moves_by_at_most_its_share_of_each_side():
    augment = PhotoAugmenter(only(shift=0.2), 40, 60, BLACK)
    dots = np.array([find_dot(augment(draw_dot(20, 30), seed)) for seed in range(60)])
    moves = np.abs(dots - [20, 30])
    assert (moves <= [8 + 1e-6, 12 + 1e-6]).all()
    assert (moves.max(axis=0) > [6, 9]).all()


def test_a_rotation_turns_by_at_most_its_angle():
    augment = PhotoAugmenter(only(rotation=15), 40, 60, BLACK)
    dots = [find_dot(augment(draw_dot(20, 50), seed)) for seed in range(60)]
    # The frame's centre lies between pixels.
    angles = [math.degrees(math.atan2(row - 19.5, column - 29.5)) for row, column in dots]
    start = math.degrees(math.atan2(0.5, 20.5))
    turns = np.abs(np.array(angles) - start)
    assert turns.max() < 15.5
    assert turns.max() > 11
    radii = [math.hypot(row - 19.5, column - 29.5) for row, column in dots]
    np.testing.assert_allclose(radii, math.hypot(0.5, 20.5), atol=0.5)


@pytest.mark.parametrize("lever", [{"rotation": 40}, {"shift": 0.3}], ids=str)
def test_what_is_uncovered_has_the_fill(lever):
    augment = PhotoAugmenter(only(**lever), 40, 60, (10, 120, 230))
    white = torch.full((3, 40, 60), 255, dtype=torch.uint8)
    corners = [augment(white, seed)[:, 0, 0].tolist() for seed in range(20)]
    assert [10, 120, 230] in corners


def test_a_rotation_and_a_shift_are_one_resampling(monkeypatch):
    made = []
    affine = augment_module.v2.RandomAffine
    real = affine.transform
    monkeypatch.setattr(affine, "transform", lambda *a: made.append(1) or real(*a))
    PhotoAugmenter(only(rotation=10, shift=0.1), 24, 32, BLACK)(PHOTO, 3)
    assert len(made) == 1


@pytest.mark.parametrize(("low", "high"), [(0.5, 1.5), (0.2, 0.4), (1.3, 1.3)])
def test_brightness_is_a_factor_between_its_ends(low, high):
    augment = PhotoAugmenter(only(brightness=(low, high)), 24, 32, BLACK)
    flat = torch.full((3, 24, 32), 100, dtype=torch.uint8)
    views = [augment(flat, seed) for seed in range(60)]
    assert all(len(view.unique()) == 1 for view in views)
    factors = np.array([int(view[0, 0, 0]) / 100 for view in views])
    assert factors.min() >= low - 0.01
    assert factors.max() <= high + 0.01
    assert np.ptp(factors) >= 0.8 * (high - low)


def test_the_reference_solutions_augmentation_can_be_said():
    reference = only(flip=0.5, rotation=10, brightness=(0.5, 1.5), shift=0.1)
    augment = PhotoAugmenter(reference, 24, 32, GREY)
    assert augment(PHOTO, 1).shape == PHOTO.shape


@pytest.mark.parametrize("levers", [{"magnitude": 25}, {"operations": 6}], ids=str)
def test_rand_augment_follows_its_settings(levers):
    def change(augmentation):
        augment = PhotoAugmenter(augmentation, 24, 32, GREY)
        views = torch.stack([augment(PHOTO, seed) for seed in range(60)])
        return float((views.float() - PHOTO).abs().mean())

    assert change(only(policy="rand", **levers)) > change(only(policy="rand", magnitude=5))


def test_mild_colours_stay_within_their_bounds():
    # In a photo of one colour contrast acts as saturation does; and this one cannot clip.
    colour = torch.tensor([130, 100, 80], dtype=torch.uint8)
    augment = PhotoAugmenter(only(policy="mild"), 24, 32, GREY)
    photo = colour[:, None, None].expand(3, 24, 32)
    middles = torch.stack([colour, *(augment(photo, seed)[:, 12, 16] for seed in range(300))])
    red, green, blue = middles.double().unbind(1)
    brightness = 0.299 * red + 0.587 * green + 0.114 * blue
    # The chroma plane, seen along the grey axis.
    plane = torch.complex(2 * red - green - blue, 3**0.5 * (green - blue))
    factors = (brightness / brightness[0])[1:]
    saturations = (plane.abs() / brightness * brightness[0] / plane[0].abs())[1:]
    turns = (plane / plane[0]).angle()[1:].rad2deg()
    assert 0.59 < factors.min() < 0.65
    assert 1.35 < factors.max() < 1.41
    assert 0.6**2 - 0.04 < saturations.min() < 0.5
    assert 1.6 < saturations.max() < 1.4**2 + 0.04
    assert 15 < turns.abs().max() < 18 + 3  # whole levels


def test_mild_contrast_spreads_about_the_mean():
    photo = torch.full((3, 24, 32), 80, dtype=torch.uint8)
    photo[:, :, 16:] = 120
    augment = PhotoAugmenter(only(policy="mild"), 24, 32, GREY)
    # Two spots the rotation cannot bring to the other side.
    spots = torch.stack([augment(photo, seed)[0, 12, [8, 24]] for seed in range(300)]).double()
    ratios = (spots[:, 1] - spots[:, 0]) / spots.mean(1) / 0.4
    assert 0.55 < ratios.min() < 0.65
    assert 1.35 < ratios.max() < 1.45


def test_mild_leaves_grey_photos_grey():
    ramp = torch.arange(24 * 32, dtype=torch.float64).view(24, 32).div(4).add(30).to(torch.uint8)
    augment = PhotoAugmenter(only(policy="mild"), 24, 32, GREY)
    for seed in range(10):
        red, green, blue = augment(ramp.expand(3, 24, 32), seed).int()
        assert int((red - green).abs().max()) <= 1
        assert int((red - blue).abs().max()) <= 1


def test_nothing_asked_nothing_done():
    assert torch.equal(PhotoAugmenter(NOTHING, 24, 32, (0, 0, 0))(PHOTO, 1), PHOTO)


def test_crop_brings_a_photo_to_another_training_size():
    augment = PhotoAugmenter(Augmentation(), 16, 20, (0, 0, 0))
    assert augment(PHOTO, 1).shape == (3, 16, 20)


def test_another_training_size_without_crops_still_resizes():
    assert PhotoAugmenter(NOTHING, 12, 16, (0, 0, 0))(PHOTO, 1).shape == (3, 12, 16)


def test_flip_alone_mirrors():
    flip = Augmentation(crop_scale=1, flip=1, policy="none", erase=0)
    assert torch.equal(PhotoAugmenter(flip, 24, 32, (0, 0, 0))(PHOTO, 1), PHOTO.flip(2))


def test_erase_alone_blanks_a_rectangle():
    erase = Augmentation(crop_scale=1, flip=0, policy="none", erase=1)
    erased = PhotoAugmenter(erase, 24, 32, (0, 0, 0))(PHOTO, 1)
    changed = (erased != PHOTO).any(0)
    assert 0.01 < float(changed.float().mean()) < 0.5


MIXES = st.builds(
    only,
    mixup=st.sampled_from([0, 0.1, 1, 5]),
    cutmix=st.sampled_from([0, 0.1, 1, 5]),
    mix_share=st.sampled_from([0, 0.5, 1]),
)


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 10_000), augmentation=MIXES)
def test_mixed_targets_sum_to_one_and_tell_the_pixels_share(seed, augmentation):
    # Photo k is all of value k, so that a mixed photo's mean tells what was mixed.
    photos = torch.arange(4.0)[:, None, None, None].expand(4, 3, 20, 30).clone()
    targets = torch.eye(4)
    mixed, shares = mix_batch(photos, targets, augmentation, np.random.default_rng(seed))
    torch.testing.assert_close(shares.sum(1), torch.ones(4))
    assert (shares >= 0).all()
    expected = shares @ torch.arange(4.0)
    torch.testing.assert_close(mixed.mean((1, 2, 3)), expected, atol=1e-4, rtol=1e-4)


def mix_many(augmentation, num_batches=300):
    """Which kind of mixing befell each of many batches."""
    photos = torch.arange(6.0)[:, None, None, None].expand(6, 3, 16, 16).clone()
    kinds = []
    for seed in range(num_batches):
        mixed, shares = mix_batch(photos, torch.eye(6), augmentation, np.random.default_rng(seed))
        if torch.equal(shares, torch.eye(6)):
            kinds.append("none")
        else:
            kinds.append("cutmix" if torch.equal(mixed, mixed.round()) else "mixup")
    return {kind: kinds.count(kind) / num_batches for kind in kinds}


def test_nothing_is_mixed_unless_asked():
    assert mix_many(only(mix_share=1)) == {"none": 1}
    assert mix_many(only(mixup=1, cutmix=1, mix_share=0)) == {"none": 1}


def test_one_kind_alone_is_that_kind():
    assert set(mix_many(only(mixup=1, mix_share=1))) <= {"mixup", "none"}
    assert set(mix_many(only(cutmix=1, mix_share=1))) <= {"cutmix", "none"}


def test_both_kinds_share_the_mixed_batches_evenly():
    shares = mix_many(only(mixup=1, cutmix=1, mix_share=0.7))
    assert shares["none"] == pytest.approx(0.3, abs=0.08)
    assert shares["mixup"] == pytest.approx(0.35, abs=0.08)
    assert shares["cutmix"] == pytest.approx(0.35, abs=0.08)
