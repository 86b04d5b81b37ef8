"""Pictures are small, show what they should, and stop when the budget is spent."""

import io

import numpy as np
import pytest
from PIL import Image

from lotlens.records import Catalog, ImageSpec, Locator, Photo
from lotlens.report.pictures import Album, draw_heat, draw_thumbnail


def open_picture(data):
    image = Image.open(io.BytesIO(data))
    assert image.format == "JPEG"
    return image


@pytest.mark.parametrize("size", [(640, 480), (200, 900), (1000, 50), (40, 30)])
def test_thumbnails_are_small_and_keep_their_aspect(size):
    width, height = size
    thumbnail = open_picture(draw_thumbnail(np.zeros((height, width, 3), np.uint8)))
    assert thumbnail.width <= min(320, width)
    assert thumbnail.height <= min(240, height)
    assert thumbnail.width == pytest.approx(thumbnail.height * width / height, rel=0.1)


@pytest.mark.parametrize("fit", ["stretch", "pad", "crop"])
def test_heat_lies_over_the_part_of_the_photo_it_is_about(fit):
    """A photo twice as wide as high, hot in its right half or in the middle of it."""
    photo = np.full((100, 200, 3), 128, np.uint8)
    heat = np.zeros((60, 60), np.float32)
    heat[:, 30:] = 1
    picture = np.asarray(draw_and_open(photo, heat, ImageSpec(60, 60, fit)), float)
    red = picture[..., 0] - picture[..., 2]
    assert picture.shape == (100, 200, 3)
    left, right = red[:, 10:40].mean(), red[:, 120:140].mean()
    assert right > left + 60
    far = red[:, 170:195].mean()
    # A crop shows the network the middle square alone: beyond it there is no heat.
    assert (far < left + 20) if fit == "crop" else (far > left + 60)


def draw_and_open(photo, heat, spec):
    return open_picture(draw_heat(photo, heat, spec))


@pytest.fixture
def catalog(tmp_path):
    for name, colour in (("red", (255, 0, 0)), ("blue", (0, 0, 255))):
        Image.new("RGB", (400, 300), colour).save(tmp_path / f"{name}.png")
    (tmp_path / "bad.png").write_bytes(b"no photo")
    return Catalog(
        (
            Photo("r", Locator(tmp_path / "red.png")),
            Photo("b", Locator(tmp_path / "blue.png")),
            Photo("bad", Locator(tmp_path / "bad.png")),
            Photo("none", None),
        ),
        (),
    )


def test_photos_are_found_by_id_and_the_unreadable_have_none(catalog):
    with Album(catalog, most_bytes=10**6) as album:
        shown = [album.show(id_) for id_ in ("bad", "b", "none", "r", "elsewhere")]
        heat = np.zeros((8, 8), np.float32)
        spec = ImageSpec(8, 8)
        heats = [album.show_heat(id_, heat, spec, (64, 48)) for id_ in ("r", "bad", "none")]
    assert [picture is None for picture in shown] == [True, False, True, False, True]
    colours = [np.asarray(open_picture(p)).mean(axis=(0, 1)).argmax() for p in shown if p]
    assert colours == [2, 0]
    assert [picture is None for picture in heats] == [False, True, True]
    assert not album.is_full


def test_an_album_stops_when_its_bytes_are_spent(catalog):
    with Album(catalog, most_bytes=10**6) as album:
        size = len(album.show("r"))
    with Album(catalog, most_bytes=2 * size + 1) as album:
        # The same photo shown twice is twice in the page.
        shown = [album.show(id_) for id_ in ("r", "r", "b", "b", "r")]
        late = album.show_heat("r", np.zeros((8, 8), np.float32), ImageSpec(8, 8), (64, 48))
    assert [picture is not None for picture in shown] in (
        [True, True, False, False, False],
        [True, True, True, False, False],
    )
    assert album.is_full
    assert late is None
