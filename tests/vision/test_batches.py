"""Photos are decoded once, named by id, and drawn in an order that only seed and epoch decide."""

import errno
import os
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lotlens.photos.archives import PhotoReader
from lotlens.photos.prepare import prepare_bytes
from lotlens.photos.sources import open_lot
from lotlens.photos.style import Style, restyle_bytes
from lotlens.recipes.loading import parse_recipe
from lotlens.recipes.schema import Augmentation
from lotlens.records import OK, Box, ImageSpec, Locator
from lotlens.vision import batches
from lotlens.vision.augment import PhotoAugmenter
from lotlens.vision.batches import (
    EpochBatches,
    TrainingPhotos,
    choose_border,
    decode_photos,
    derive_seed,
)

SPEC = ImageSpec(48, 64)


def test_an_unreadable_photo_is_left_out_and_shifts_nobody(spoilt_lot):
    catalog = open_lot(spoilt_lot).train
    photos = decode_photos(catalog, SPEC)
    broken = [id_ for id_, status in photos.status.items() if status != OK]
    assert broken == ["1003.jpg"]
    assert photos.ids == tuple(id_ for id_ in catalog.ids if id_ not in broken)
    labels = {photo.id: photo.label for photo in catalog.photos}
    assert [catalog.labels[t] for t in photos.targets] == [labels[id_] for id_ in photos.ids]


def test_batches_are_the_one_inference_preprocessing(small_lot):
    catalog = open_lot(small_lot).train
    photos = decode_photos(catalog, SPEC)
    together = np.concatenate(list(photos.batches(5)))
    with PhotoReader() as reader:
        for row, photo in enumerate(catalog.photos):
            expected = prepare_bytes(reader.read(photo.locator), SPEC)
            np.testing.assert_array_equal(together[row], expected)


def test_photos_may_be_decoded_in_a_style(small_lot):
    catalog, style = open_lot(small_lot).train, Style(40, 50)
    together = np.concatenate(list(decode_photos(catalog, SPEC, style=style).batches(5)))
    with PhotoReader() as reader:
        for row, photo in enumerate(catalog.photos):
            stored = restyle_bytes(reader.read(photo.locator), style)
            np.testing.assert_array_equal(together[row], prepare_bytes(stored, SPEC))


def test_large_lots_go_to_a_file_that_leaves_nothing(small_lot, tmp_path, monkeypatch):
    catalog = open_lot(small_lot).train
    in_memory = decode_photos(catalog, SPEC)
    monkeypatch.setattr(batches, "_MOST_BYTES_IN_MEMORY", 1000)
    on_disk = decode_photos(catalog, SPEC, scratch_path=tmp_path)
    assert isinstance(on_disk.pixels, batches.PixelFile)
    np.testing.assert_array_equal(on_disk.read_frames(), in_memory.read_frames())
    np.testing.assert_array_equal(on_disk.read_frames(3, 5), in_memory.pixels[3:5])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(on_disk)).pixels, in_memory.pixels)
    for one, other in zip(on_disk.batches(5), in_memory.batches(5), strict=True):
        np.testing.assert_array_equal(one, other)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_without_room_leaves_photos_in_memory(small_lot, tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(batches, "_MOST_BYTES_IN_MEMORY", 1000)
    monkeypatch.setattr(os, "posix_fallocate", refuse)
    photos = decode_photos(open_lot(small_lot).train, SPEC, scratch_path=tmp_path)
    assert isinstance(photos.pixels, np.ndarray)
    assert len(photos.read_frames()) == len(photos.ids)


def test_a_broken_photo_leaves_no_gap_in_the_file(small_lot, tmp_path, monkeypatch):
    catalog = open_lot(small_lot).train
    broken = replace(catalog.photos[2], locator=Locator(tmp_path / "none.jpg"))
    some = replace(catalog, photos=(*catalog.photos[:2], broken, *catalog.photos[3:7]))
    in_memory = decode_photos(some, SPEC)
    monkeypatch.setattr(batches, "_MOST_BYTES_IN_MEMORY", 1000)
    on_disk = decode_photos(some, SPEC, scratch_path=tmp_path)
    assert len(on_disk.ids) == 6
    np.testing.assert_array_equal(on_disk.read_frames(), in_memory.read_frames())
    np.testing.assert_array_equal(on_disk.read_frames(4, 99), in_memory.read_frames(4, 99))
    assert len(on_disk.read_frames(5, 3)) == 0
    one, other = (list(photos.batches(4)) for photos in (on_disk, in_memory))
    assert [len(batch) for batch in one] == [len(batch) for batch in other] == [4, 2]
    assert pickle.loads(pickle.dumps(on_disk)).pixels.shape == in_memory.pixels.shape


def test_a_view_depends_on_seed_epoch_and_id_alone(small_lot):
    catalog = open_lot(small_lot).train
    augmenters = [PhotoAugmenter(Augmentation(), 48, 64, (128, 128, 128))] * 2
    photos = decode_photos(catalog, SPEC)
    turned = decode_photos(catalog.select(catalog.ids[::-1]), SPEC)
    one, other = (TrainingPhotos(p, augmenters, seed=5) for p in (photos, turned))
    last = len(photos.ids) - 1
    for row in (0, 7, last):
        view, target = one[[(0, row, 0)]]
        again, same_target = other[[(0, last - row, 0)]]
        assert torch.equal(view, again)
        assert target == same_target == photos.targets[row]
        assert not torch.equal(view, one[[(1, row, 0)]][0])
        # A photo that an epoch shows again looks different.
        assert not torch.equal(view, one[[(0, row, 1)]][0])
        # Nor does it depend on its neighbours in the batch.
        assert torch.equal(one[[(0, 3, 0), (0, row, 0)]][0][1], view[0])
    third = TrainingPhotos(photos, augmenters, seed=6)
    assert not torch.equal(third[[(0, 0, 0)]][0], one[[(0, 0, 0)]][0])
    assert len(one) == len(photos.ids)


@settings(max_examples=60, deadline=None)
@given(
    num_photos=st.integers(1, 60),
    batch_size=st.integers(2, 20),
    epoch=st.integers(0, 5),
    seed=st.integers(0, 99),
)
def test_every_photo_at_most_once_an_epoch_in_full_batches(num_photos, batch_size, epoch, seed):
    sampler = EpochBatches(num_photos, batch_size, seed=seed)
    sampler.set_epoch(epoch)
    drawn = list(sampler)
    assert len(drawn) == len(sampler) >= 1
    size = min(batch_size, num_photos)
    assert all(len(batch) == size for batch in drawn)
    rows = [row for batch in drawn for _, row, _ in batch]
    assert len(set(rows)) == len(rows) > num_photos - batch_size
    assert {e for batch in drawn for e, _, _ in batch} == {epoch}
    again = EpochBatches(num_photos, batch_size, seed=seed)
    again.set_epoch(epoch)
    assert list(again) == drawn


@settings(max_examples=60, deadline=None)
@given(
    weights=st.lists(st.floats(0, 4), min_size=4, max_size=40).filter(lambda w: sum(w) > 0.6),
    epoch=st.integers(0, 5),
    seed=st.integers(0, 99),
)
def test_weights_say_how_often_a_photo_is_shown(weights, epoch, seed):
    size = round(sum(weights))  # one batch, so that the whole epoch is seen
    sampler = EpochBatches(len(weights), size, seed=seed, weights=np.array(weights))
    sampler.set_epoch(epoch)
    (drawn,) = sampler
    assert len(drawn) == size
    for row, weight in enumerate(weights):
        turns = sorted(copy for _, own, copy in drawn if own == row)
        assert turns == list(range(len(turns)))
        assert abs(len(turns) - size * weight / sum(weights)) < 1 + 1e-9


def test_weights_of_one_show_every_photo_once():
    sampler = EpochBatches(9, 9, seed=1, weights=np.ones(9))
    (drawn,) = sampler
    assert sorted(row for _, row, _ in drawn) == list(range(9))
    assert {copy for _, _, copy in drawn} == {0}


def test_an_epoch_shows_as_many_photos_as_the_weights_sum_to():
    """Ten known ones once each, and of a hundred others as many as those, others in each epoch."""
    weights = np.array([1.0] * 10 + [0.1] * 100)
    sampler = EpochBatches(110, 20, seed=1, weights=weights)
    assert len(sampler) == 1
    seen = []
    for epoch in range(8):
        sampler.set_epoch(epoch)
        (drawn,) = sampler
        rows = sorted(row for _, row, _ in drawn)
        assert rows[:10] == list(range(10))
        assert len(set(rows)) == 20
        seen += rows[10:]
    assert len(set(seen)) > 40


@pytest.mark.parametrize("other", [(1, 2, "b"), (1, 3, "a"), (2, 2, "a"), (1, "2a")])
def test_seeds_differ_with_every_part(other):
    assert derive_seed(1, 2, "a") != derive_seed(*other)
    assert 0 <= derive_seed(*other) < 2**63


@pytest.fixture
def located(small_lot):
    """Photos with a border, in half of which a car is found: the left half of the photo."""
    spec = ImageSpec(48, 64, locate="map")

    def locate(photo):
        return Box(0.1, 0.2, 0.7, 0.8) if photo[0, 0, 0] % 2 else None

    catalog = open_lot(small_lot).train
    plain = decode_photos(catalog, spec, locate=locate)
    bordered = decode_photos(catalog, spec, locate=locate, border=(5, 6))
    assert 0 < bordered.is_located.sum() < len(catalog)
    return plain, bordered


def test_a_border_leaves_what_the_network_is_asked_as_it_is(located):
    plain, bordered = located
    assert bordered.pixels.shape[1:] == (58, 76, 3)
    assert np.abs(bordered.read_frames().astype(int) - plain.read_frames()).max() <= 2
    for one, other in zip(plain.batches(7), bordered.batches(7), strict=True):
        assert one.shape == other.shape
    rows = ~plain.is_located
    np.testing.assert_array_equal(plain.read_frames()[rows], bordered.read_frames()[rows])


def test_boxes_are_jittered_in_training_by_seed_and_photo(located):
    _, bordered = located
    for row, is_located in enumerate(bordered.is_located):
        drawn = [bordered.draw_frame(row, 0.1, seed) for seed in range(20)]
        shapes = {one.shape for one in drawn}
        if not is_located:
            assert shapes == {(48, 64, 3)}
            assert all(np.array_equal(one, bordered.read_frames()[row]) for one in drawn)
            continue
        assert len(shapes) > 10
        heights, widths = ([shape[axis] for shape in shapes] for axis in (0, 1))
        assert 38 <= min(heights) < 48 < max(heights) <= 58
        assert 52 <= min(widths) < 64 < max(widths) <= 76
        again = [bordered.draw_frame(row, 0.1, seed) for seed in range(20)]
        assert all(np.array_equal(one, two) for one, two in zip(drawn, again, strict=True))
        assert np.array_equal(bordered.draw_frame(row, 0.0, 3), bordered.read_frames()[row])


def test_augmented_views_of_a_jittered_crop_have_the_size_of_the_epoch(located):
    _, bordered = located
    augmenters = [
        PhotoAugmenter(Augmentation(crop_scale=scale), 32, 48, (0, 0, 0)) for scale in (1, 0.6)
    ]
    photos = TrainingPhotos(bordered, augmenters, seed=5)
    for epoch in (0, 1):
        views, _ = photos[[(epoch, row, 0) for row in range(6)]]
        assert views.shape == (6, 3, 32, 48)


@pytest.mark.parametrize(
    ("changes", "border"),
    [
        ({}, (0, 0)),
        ({"image": {"height": 48, "width": 64, "locate": "map"}}, (5, 6)),
        ({"image": {"height": 48, "width": 64, "locate": "map"}, "stages": 1}, (0, 0)),
    ],
)
def test_what_lies_around_a_crop_is_kept_where_it_is_moved(tiny_recipe, changes, border):
    values = tiny_recipe | changes
    if values["stages"] == 1:  # the probe alone, which sees every crop as it is
        values["stages"] = tiny_recipe["stages"][:1]
    assert choose_border(parse_recipe(values)) == border
