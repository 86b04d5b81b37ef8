"""The network that tells cars from other things is the package's own, and knows photographs."""

import numpy as np
import pytest
import torch

from lotlens.answering.shown import REST, ask_shown, describe_shown, open_exported_shown
from lotlens.deliver.quantise import halve
from lotlens.drawn.cars import draw_car_photo
from lotlens.photos.sources import open_photos
from lotlens.records import SHOWN, Catalog
from lotlens.refusal.strangers import find_no_cars
from lotlens.vision import imagenet
from lotlens.vision.backbones import input_mean_std, timm
from lotlens.vision.imagenet import IMAGENET, build_shown, export_shown, find_shown, open_shown

NAMES = {
    "vehicle": "ambulance|amphibian|beach wagon|cab|convertible|fire engine|garbage truck|golfcart"
    "|grille|half track|jeep|limousine|minibus|minivan|Model T|moving van|pickup|police van|racer"
    "|recreational vehicle|school bus|snowplow|sports car|tow truck|trailer truck|trolleybus",
    "wheel": "car wheel|disk brake",
    "inside": "odometer|seat belt",
    "document": "binder|envelope|web site|comic book|crossword puzzle|book jacket|menu",
}


def test_numbers_are_those_of_the_classes_that_they_stand_for():
    info = timm.data.ImageNetInfo("imagenet-1k")
    found = {
        group: {info.index_to_description(number).split(",")[0] for number in numbers}
        for group, numbers in IMAGENET.items()
    }
    assert found == {group: set(names.split("|")) for group, names in NAMES.items()}
    assert tuple(IMAGENET) == SHOWN


def test_probabilities_are_sums_over_the_classes_of_imagenet():
    network, card = build_shown(), describe_shown()
    assert [car.label for car in card.classes] == [*SHOWN, REST]
    assert (card.image.mean, card.image.std) == input_mean_std(network.network)
    photos = torch.randn(3, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        logits, _ = network(photos)
        whole = network.network(photos).softmax(dim=1)
    got = logits.softmax(dim=1)
    for column, group in enumerate(SHOWN):
        expected = whole[:, list(IMAGENET[group])].sum(dim=1)
        torch.testing.assert_close(got[:, column], expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(got.sum(dim=1), torch.ones(3))


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    """A cat, a person and a page of a book, as packages ship them for their examples."""
    import skimage.data
    from PIL import Image

    folder = tmp_path_factory.mktemp("photographs")
    for name in ("astronaut", "cat", "page"):
        pixels = getattr(skimage.data, name)()
        Image.fromarray(pixels).convert("RGB").save(folder / f"{name}.png")
    return open_photos([folder])


def test_the_network_is_opened_once_and_exported_for_many():
    few = open_shown(1)
    assert open_shown(2) is few  # not for every batch
    many = open_shown(imagenet._MANY)
    assert open_shown(2000) is many is not few
    assert open_shown(1) is few  # whatever was asked before


def test_a_cat_and_a_person_are_no_vehicles_and_an_export_says_the_same(photographs):
    here = ask_shown(open_shown, photographs)
    assert here.shape == (3, len(SHOWN))
    assert (here[:, SHOWN.index("vehicle")] < 0.05).all()
    page = photographs.ids.index("page.png")
    assert here[page, SHOWN.index("document")] == here[:, SHOWN.index("document")].max()
    small = halve(export_shown())
    assert len(small) < 10e6
    there = ask_shown(open_exported_shown(small), photographs)
    np.testing.assert_allclose(there, here, atol=5e-3)


def test_what_shows_no_car_is_found_by_photos_of_cars(photographs, tmp_path):
    for number in range(30):
        image = draw_car_photo(np.random.default_rng([3, number]), number % 8, 160, 120, easy=True)
        (tmp_path / "cars").mkdir(exist_ok=True)
        image.save(tmp_path / "cars" / f"{number}.png")
    cars = open_photos(tmp_path / "cars")
    half = Catalog(cars.photos[::2], ()), Catalog(cars.photos[1::2], ())
    found = find_no_cars(photographs, half[0], open_shown)
    assert found == [True, True, True]
    assert np.mean(find_no_cars(half[1], half[0], open_shown)) < 0.1
    (tmp_path / "broken.jpg").write_bytes(b"no photo")
    assert find_no_cars(open_photos(tmp_path / "broken.jpg"), half[0], open_shown) == [False]


def test_without_the_package_nobody_looks(monkeypatch):
    assert find_shown() is open_shown
    monkeypatch.setattr(imagenet, "find_spec", lambda _: None)
    assert find_shown() is None
