"""The sheet of photos as training sees them."""

import io

import numpy as np
import pytest
from PIL import Image

import lotlens
from lotlens.errors import InputError
from lotlens.photos.sources import open_lot
from lotlens.recipes.loading import parse_recipe
from lotlens.records import ImageSpec
from lotlens.vision import sheet
from lotlens.vision.batches import EpochBatches, TrainingPhotos, build_augmenters, decode_photos


@pytest.fixture
def photos(spoilt_lot):
    return decode_photos(open_lot(spoilt_lot).train, ImageSpec(48, 64))


def list_views(recipe, photos):
    stage = recipe.stages[1]
    return list(sheet._list_tuned(stage, photos, 3, recipe.seed, None))


def test_the_photos_are_those_of_the_first_batches(tiny_recipe, photos):
    recipe = parse_recipe(tiny_recipe)
    stage = recipe.stages[1]
    data = TrainingPhotos(photos, build_augmenters(stage, photos.spec), seed=recipe.seed)
    keys = next(iter(EpochBatches(len(photos.ids), stage.batch_size, seed=recipe.seed)))
    pixels, labels = data[keys]
    views = list_views(recipe, photos)
    assert len(views) == len(photos.ids) // stage.batch_size * stage.batch_size
    for number in range(stage.batch_size):
        assert np.array_equal(views[number][0], pixels[number].permute(1, 2, 0).numpy())
        assert views[number][1].tolist() == np.eye(3)[labels[number]].tolist()


def test_photos_are_mixed_where_training_mixes_them(tiny_recipe, photos):
    plain = list_views(parse_recipe(tiny_recipe), photos)
    tiny_recipe["stages"][1]["augmentation"] = {"mixup": 1.0, "mix_share": 1.0}
    mixed = list_views(parse_recipe(tiny_recipe), photos)
    assert not np.array_equal(plain[0][0], mixed[0][0])
    assert any(((shares > 0) & (shares < 1)).any() for _, shares in mixed)
    classes = open_classes()
    names = {sheet._name(shares, classes) for _, shares in mixed}
    assert any("% Волна + " in name or "% Волна" in name for name in names)


def open_classes():
    from lotlens.records import CarClass

    return tuple(CarClass(str(n), name) for n, name in enumerate(("Волна", "Heron 4", "Clover")))


def test_a_sheet_is_the_same_bytes_each_time(tiny_recipe, photos):
    recipe = parse_recipe(tiny_recipe)
    first = sheet.draw_sheet(recipe, photos, open_classes())
    assert sheet.draw_sheet(recipe, photos, open_classes()) == first
    picture = Image.open(io.BytesIO(first))
    assert picture.format == "JPEG"
    assert picture.width == 1000
    other = parse_recipe({**tiny_recipe, "seed": 1})
    assert sheet.draw_sheet(other, photos, open_classes()) != first


def test_a_probe_shows_photos_as_they_are_and_mirrored(tiny_recipe, photos):
    views = list(sheet._list_probed(photos, 3, mirror=True))
    assert np.array_equal(views[0][0], photos.pixels[0])
    assert np.array_equal(views[1][0], photos.pixels[0][:, ::-1])
    only = parse_recipe({**tiny_recipe, "stages": tiny_recipe["stages"][:1]})
    assert sheet.draw_sheet(only, photos, open_classes()).startswith(b"\xff\xd8")


def test_names_of_any_length_fit_under_their_photo(tiny_recipe, photos):
    from lotlens.records import CarClass

    classes = [CarClass(str(n), f"{n}\x1b[2J" + "Ы" * 5000) for n in range(3)]
    picture = sheet.draw_sheet(parse_recipe(tiny_recipe), photos, classes)
    assert Image.open(io.BytesIO(picture)).width == 1000


def test_a_batch_is_shown_without_training(spoilt_lot, tiny_recipe, tmp_path):
    recipe = parse_recipe(tiny_recipe)
    shown = lotlens.show_batch(str(spoilt_lot), recipe, out=tmp_path / "sheets" / "batch.jpg")
    assert (tmp_path / "sheets" / "batch.jpg").read_bytes() == shown.jpeg == shown._repr_jpeg_()
    assert len(repr(shown)) < 200
    assert lotlens.show_batch(spoilt_lot, recipe) == shown
    with pytest.raises(InputError, match="nowhere"):
        lotlens.show_batch("nowhere", recipe)


def test_a_run_keeps_its_first_batch(tiny_run):
    with Image.open(tiny_run.batch_path) as picture:
        assert (picture.format, picture.width) == ("JPEG", 1000)
