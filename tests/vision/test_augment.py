"""Augmentation is a function of photo and seed, and leaves torch's generator alone."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lotlens.recipe import Augmentation
from lotlens.vision.augment import PhotoAugmenter, mix_batch

PHOTO = torch.randint(0, 255, (3, 24, 32), dtype=torch.uint8, generator=torch.Generator())
NOTHING = Augmentation(crop_scale=1, flip=0, policy="none", erase=0)


@pytest.mark.parametrize("policy", ["trivial", "mild", "none"])
def test_same_seed_same_view_other_seed_other_view(policy):
    augment = PhotoAugmenter(Augmentation(policy=policy), 24, 32, (128, 128, 128))
    views = [augment(PHOTO, seed) for seed in range(8)]
    assert torch.equal(augment(PHOTO, 3), views[3])
    assert len({view.numpy().tobytes() for view in views}) > 4
    assert all(view.shape == (3, 24, 32) and view.dtype == torch.uint8 for view in views)


def test_the_global_generator_is_left_as_it_was():
    before = torch.random.get_rng_state()
    PhotoAugmenter(Augmentation(), 24, 32, (0, 0, 0))(PHOTO, 1)
    assert torch.equal(torch.random.get_rng_state(), before)


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


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), alpha=st.floats(0.1, 5))
def test_mixed_targets_sum_to_one_and_tell_the_pixels_share(seed, alpha):
    # Photo k is all of value k, so that a mixed photo's mean tells what was mixed.
    photos = torch.arange(4.0)[:, None, None, None].expand(4, 3, 20, 20).clone()
    targets = torch.eye(4)
    mixed, shares = mix_batch(photos, targets, alpha, np.random.default_rng(seed))
    torch.testing.assert_close(shares.sum(1), torch.ones(4))
    assert (shares >= 0).all()
    expected = shares @ torch.arange(4.0)
    torch.testing.assert_close(mixed.mean((1, 2, 3)), expected, atol=1e-4, rtol=1e-4)


def test_half_of_the_batches_are_left_unmixed():
    photos, targets = torch.rand(6, 3, 8, 8), torch.eye(6)
    same = [
        torch.equal(mix_batch(photos, targets, 1.0, np.random.default_rng(seed))[1], targets)
        for seed in range(200)
    ]
    assert 60 < sum(same) < 140
