"""A style is measured from files; photos brought to it are no larger, the same on every call."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lotlens.errors import UnreadablePhoto
from lotlens.photos.decode import decode
from lotlens.photos.style import (
    StoredAs,
    Style,
    estimate_quality,
    look_at,
    measure_style,
    restyle,
    restyle_bytes,
    summarise,
)
from lotlens.records import Locator, Photo
from tests.conftest import draw_photo, encode

styles = st.builds(
    Style,
    st.integers(1, 200),
    st.none() | st.integers(1, 100),
    st.integers(0, 2),
)


@st.composite
def photos(draw):
    """Smooth and grainy pixels of any shape."""
    height, width = draw(st.integers(1, 90)), draw(st.integers(1, 90))
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    rows, columns = np.mgrid[:height, :width]
    grain = rng.normal(0, draw(st.sampled_from([0, 3, 40])), (height, width, 3))
    slope = (2 * rows + columns)[..., None] + np.array([0, 60, 90])
    return np.clip(slope + grain, 0, 255).astype(np.uint8)


@given(photos(), styles)
def test_it_never_enlarges_and_keeps_the_aspect(photo, style):
    before = photo.copy()
    found = restyle(photo, style)
    assert np.array_equal(photo, before)
    assert found.dtype == np.uint8
    (height, width), (rows, columns) = photo.shape[:2], found.shape[:2]
    longest = max(height, width)
    assert max(rows, columns) == min(longest, style.side)
    scale = min(style.side / longest, 1)
    assert abs(rows - height * scale) <= 1
    assert abs(columns - width * scale) <= 1
    if style.quality is None and scale == 1:
        assert np.array_equal(found, photo)


@given(photos(), styles)
def test_it_is_the_same_on_every_call_and_from_a_file(photo, style):
    data = encode(Image.fromarray(photo), "PNG")
    stored = restyle_bytes(data, style)
    assert stored == restyle_bytes(data, style)
    assert np.array_equal(decode(stored), restyle(photo, style))


@given(photos(), styles.filter(lambda style: style.quality is None or style.quality >= 30))
def test_twice_changes_little(photo, style):
    once = restyle(photo, style)
    twice = restyle(once, style)
    assert twice.shape == once.shape
    first = np.abs(_bring_down(photo, style).astype(float) - once).mean()
    second = np.abs(once.astype(float) - twice).mean()
    # Where the first time lost nothing much, the second has little more to lose.
    assert second <= first + 1.5


def _bring_down(photo, style):
    return restyle(photo, Style(style.side, None))


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("quality", [5, 30, 60, 75, 90, 95, 100])
def test_what_it_stores_is_what_it_finds(quality, subsampling):
    photo = np.asarray(draw_photo(1, 1, (120, 80)))
    stored = restyle_bytes(encode(Image.fromarray(photo), "PNG"), Style(96, quality, subsampling))
    assert look_at(stored) == StoredAs("JPEG", 96, quality, subsampling)


def test_an_upright_photo_is_stored():
    exif = Image.Exif()
    exif[0x0112] = 6  # on its side
    data = encode(draw_photo(1, 1, (120, 80)), exif=exif)
    assert look_at(data).side == 120
    assert decode(restyle_bytes(data, Style(60, 80))).shape == (60, 40, 3)


def test_quality_is_told_of_any_table():
    assert estimate_quality([1] * 64) == 100
    assert estimate_quality([255] * 64) == 1
    assert estimate_quality([16] * 64) > estimate_quality([40] * 64)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "GIF"])
def test_without_loss_nothing_is_lost(kind):
    data = encode(draw_photo(1, 1, (40, 30)), kind)
    assert look_at(data) == StoredAs(kind, 40, 101)
    style = summarise([look_at(data)])
    assert style.quality is None
    assert np.array_equal(decode(restyle_bytes(data, style)), decode(data))


def test_webp_has_no_say_in_quality():
    stored = [look_at(encode(draw_photo(1, n, (40, 30)), "WEBP")) for n in range(3)]
    assert {one.quality for one in stored} == {None}
    jpeg = look_at(encode(draw_photo(1, 1, (50, 30)), quality=70, subsampling=0))
    assert summarise([*stored, jpeg]) == Style(40, 70, 0, {"WebP": 0.75, "JPEG": 0.25}, 4)


def test_grey_and_cmyk_have_no_subsampling():
    for mode in ("L", "CMYK"):
        stored = look_at(encode(draw_photo(1, 1).convert(mode), quality=80))
        assert (stored.quality, stored.subsampling) == (80, None)


def test_a_set_is_measured_by_its_most(tmp_path):
    kept = []
    for number in range(30):
        data = encode(draw_photo(1, number, (96, 64)), quality=85, subsampling=2)
        if number % 10 == 0:
            data = encode(draw_photo(1, number, (300, 200)), "PNG")
        if number % 10 == 5:
            data = data[: len(data) // 20]
        path = tmp_path / f"{number}"
        path.write_bytes(data)
        kept.append(Photo(str(number), Locator(path)))
    kept += [Photo("gone", None), Photo("lost", Locator(tmp_path / "lost"))]
    style = measure_style(kept)
    assert (style.side, style.quality, style.subsampling) == (96, 85, 2)
    assert style.num_photos == 27
    assert style.formats == {"JPEG": pytest.approx(24 / 27), "PNG": pytest.approx(3 / 27)}
    assert str(style) == "96 px, JPEG quality 85, 4:2:0"
    assert measure_style(kept[-2:]) is None
    assert measure_style([]) is None


def test_many_photos_are_looked_at_from_first_to_last(tmp_path):
    for side in (40, 60):
        (tmp_path / f"{side}.png").write_bytes(encode(draw_photo(1, 1, (side, 30)), "PNG"))
    small, large = (Locator(tmp_path / f"{side}.png") for side in (40, 60))
    # Two thirds are large, and the first third is not.
    kept = [Photo(str(n), small if n < 400 else large) for n in range(1200)]
    style = measure_style(kept)
    assert (style.side, style.num_photos) == (60, 300)


def test_broken_files_are_refused():
    for data in (b"", b"\xff\xd8\xff torn", encode(draw_photo(1, 1))[:200]):
        with pytest.raises(UnreadablePhoto):
            look_at(data)
        with pytest.raises(UnreadablePhoto):
            restyle_bytes(data, Style(50, 80))


@pytest.mark.parametrize("values", [(0, 80), (50, 0), (50, 101), (50, 80, 3), (50, 80, -1)])
def test_what_is_no_style_is_refused(values):
    with pytest.raises(ValueError, match="no style"):
        Style(*values)
