"""Made pictures are of every kind, the same for one seed, and readable."""

import itertools

import numpy as np
import pytest
from PIL import Image

from lotlens.drawn import negatives
from lotlens.drawn.negatives import DRAWN, KINDS, MADE_OF_PHOTOS, make_negatives
from lotlens.errors import OutputError
from lotlens.photos.archives import PhotoReader
from lotlens.photos.decode import decode
from lotlens.records import Locator, Photo


@pytest.fixture
def photos(tmp_path, photo_drawer):
    made = []
    for number in range(3):
        path = tmp_path / f"{number}.jpg"
        photo_drawer(number, 0, (160, 120)).save(path)
        made.append(Photo(path.name, Locator(path)))
    (tmp_path / "torn.jpg").write_bytes(b"torn")
    return [*made, Photo("torn", Locator(tmp_path / "torn.jpg")), Photo("gone", None)]


def make(path, photos, **options):
    values = {"num_per_kind": 2, "size": (64, 48), "seed": 0}
    return make_negatives(path, photos, **values | options)


def read(catalog):
    with PhotoReader() as reader:
        return [decode(reader.read(photo.locator)) for photo in catalog.photos]


def test_every_kind_is_made_and_can_be_read(tmp_path, photos):
    catalog = make(tmp_path / "made.zip", photos)
    kinds = [photo.extra["kind"] for photo in catalog.photos]
    assert kinds == [kind for kind in KINDS for _ in range(2)]
    assert len(set(catalog.ids)) == len(catalog) == 2 * len(KINDS)
    for kind, pixels in zip(kinds, read(catalog), strict=True):
        assert pixels.shape == ((120, 160, 3) if kind in MADE_OF_PHOTOS else (48, 64, 3))


def test_one_seed_gives_the_same_bytes_and_another_does_not(tmp_path, photos):
    made = []
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        negatives._draw.cache_clear()  # what is kept is the same in any case
        made.append(make(tmp_path / f"{name}.zip", photos, seed=seed))
    first, again, other = made
    for one, same, different in zip(read(first), read(again), read(other), strict=True):
        assert np.array_equal(one, same)
        assert not np.array_equal(one, different)


def test_what_is_kept_is_what_would_be_drawn(tmp_path):
    seeds_and_sizes = [(0, (64, 48)), (1, (64, 48)), (0, (48, 64))]
    negatives._draw.cache_clear()
    drawn, kept = (
        [
            read(make(tmp_path / "made.zip", [], seed=seed, size=size))
            for seed, size in seeds_and_sizes
        ]
        for _ in range(2)
    )
    assert negatives._draw.cache_info().hits > 0
    for one, other in zip(drawn, kept, strict=True):
        assert all(np.array_equal(*pair) for pair in zip(one, other, strict=True))
    for one, other in itertools.combinations(drawn, 2):
        assert not any(np.array_equal(*pair) for pair in zip(one, other, strict=True))


def test_without_photos_only_what_is_drawn_is_made(tmp_path):
    catalog = make(tmp_path / "made.zip", [])
    assert {photo.extra["kind"] for photo in catalog.photos} == set(DRAWN)
    torn = [Photo("gone", None)]
    assert len(make(tmp_path / "again.zip", torn)) == len(catalog)


def test_a_shuffled_photo_has_the_photos_colours_but_not_its_shape(tmp_path):
    squares = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    Image.fromarray(squares.repeat(10, 0).repeat(10, 1)).save(tmp_path / "a.png")
    catalog = make(tmp_path / "made.zip", [Photo("a", Locator(tmp_path / "a.png"))])
    shuffled = read(catalog)[-4]
    original = np.asarray(Image.open(tmp_path / "a.png"))
    assert shuffled.mean() == pytest.approx(original.mean(), abs=2)
    assert np.abs(shuffled.astype(float) - original).mean() > 20


@pytest.mark.parametrize("size", [(1, 1), (3, 200), (5, 7)])
def test_photos_of_any_size_can_be_torn_up(tmp_path, size):
    Image.new("RGB", size, "red").save(tmp_path / "a.png")
    catalog = make(tmp_path / "made.zip", [Photo("a", Locator(tmp_path / "a.png"))])
    assert len(read(catalog)) == 2 * len(KINDS)


def test_a_zip_that_cannot_be_written_is_an_output_error(tmp_path):
    with pytest.raises(OutputError):
        make(tmp_path, [])
