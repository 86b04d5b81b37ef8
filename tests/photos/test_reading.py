"""Photos are read in order by any number of threads, each with its status and its flaw."""

from threading import get_ident

import numpy as np
import pytest
from PIL import Image

from lotlens.photos import reading
from lotlens.photos.archives import PhotoReader
from lotlens.photos.reading import NO_FILE, read_ahead
from lotlens.photos.style import Style, restyle_bytes
from lotlens.records import OK, ImageSpec, Locator, Photo

SPEC = ImageSpec(48, 64)


@pytest.fixture
def photos(tmp_path):
    rng = np.random.default_rng(0)
    sound = rng.integers(0, 256, (120, 160, 3), dtype=np.uint8)
    for name, pixels in {
        "sound": sound,
        "small": sound[:30],
        "dark": sound // 16,
        "turned": sound[:, :40],
    }.items():
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
    (tmp_path / "torn.jpg").write_bytes(b"\xff\xd8\xff torn")
    found = [Photo(path.stem, Locator(path)) for path in sorted(tmp_path.iterdir())]
    return [*found, Photo("gone", None)]


@pytest.mark.parametrize("num_workers", [0, 1, 3])
def test_each_photo_has_a_status_and_a_flaw(photos, num_workers):
    loaded = list(read_ahead(photos, SPEC, num_workers=num_workers, num_ahead=2, find_flaws=True))
    by_id = {photo.id: one for photo, one in zip(photos, loaded, strict=True)}
    assert by_id["sound"].status == OK
    assert by_id["sound"].flaw == ""
    assert by_id["small"].flaw == "too small: 160 x 30 pixels"
    assert by_id["turned"].flaw == "too small: 40 x 120 pixels"
    assert by_id["dark"].flaw.startswith("too dark")
    for id_ in ("sound", "small", "dark"):
        assert by_id[id_].pixels.shape == (48, 64, 3)
    assert by_id["gone"].status == NO_FILE
    assert by_id["torn"].status not in (OK, NO_FILE)
    assert by_id["torn"].pixels is None
    assert by_id["gone"].flaw == by_id["torn"].flaw == ""


def test_flaws_are_looked_for_only_where_wanted(photos):
    plain = list(read_ahead(photos, SPEC))
    judged = list(read_ahead(photos, SPEC, find_flaws=True))
    assert {one.flaw for one in plain} == {""}
    for one, other in zip(plain, judged, strict=True):
        assert one.status == other.status
        if one.pixels is not None:
            assert np.array_equal(one.pixels, other.pixels)


def test_the_size_told_is_that_of_the_file_not_of_what_was_decoded(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (600, 800, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.jpg")
    photo = Photo("a", Locator(tmp_path / "a.jpg"))
    (loaded,) = read_ahead([photo], ImageSpec(16, 16), find_flaws=True)
    assert loaded.flaw == ""


@pytest.mark.parametrize("num_workers", [0, 2])
def test_too_little_memory_is_a_status_wherever_it_shows(photos, num_workers, monkeypatch):
    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr(reading, "fit_photo", fail)
    loaded = list(read_ahead(photos, SPEC, num_workers=num_workers))
    by_id = {photo.id: one.status for photo, one in zip(photos, loaded, strict=True)}
    assert by_id["sound"] == "not enough memory for this photo"
    monkeypatch.undo()
    monkeypatch.setattr(PhotoReader, "_read_file", fail)
    loaded = list(read_ahead(photos, SPEC, num_workers=num_workers))
    assert loaded[0].status == "not enough memory to read this file"


def test_one_photo_is_not_read_in_the_callers_thread(photos, monkeypatch):
    # Ctrl-C would wait there for its decoder.
    threads = []
    monkeypatch.setattr(reading, "read_photo", lambda *_, **__: threads.append(get_ident()))
    list(read_ahead(photos[:1], SPEC))
    assert threads != [get_ident()]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_photos_are_read_as_if_they_were_stored_in_a_style(photos, tmp_path, num_workers):
    style = Style(80, 40)
    (tmp_path / "stored").mkdir()
    stored = []
    for photo in photos:
        path = tmp_path / "stored" / photo.id
        if photo.id not in ("torn", "gone"):
            path.write_bytes(restyle_bytes(photo.locator.path.read_bytes(), style))
            stored.append(Photo(photo.id, Locator(path)))
    expected = dict(
        zip([one.id for one in stored], read_ahead(stored, SPEC, find_flaws=True), strict=True)
    )
    loaded = read_ahead(photos, SPEC, num_workers=num_workers, find_flaws=True, style=style)
    plain = read_ahead(photos, SPEC)
    for photo, one, other in zip(photos, loaded, plain, strict=True):
        if photo.id not in expected:
            assert one.status == other.status != OK
            continue
        assert one.flaw == expected[photo.id].flaw
        assert np.array_equal(one.pixels, expected[photo.id].pixels)
        assert not np.array_equal(one.pixels, other.pixels)
