"""Nasty photos show what their names say, and all but the damaged one can be read."""

import numpy as np
import pytest

from lotlens.drawn.nasty import draw_nasty
from lotlens.errors import UnreadablePhoto
from lotlens.photos.decode import decode


@pytest.fixture(scope="module")
def photo(photo_drawer):
    return np.asarray(photo_drawer(0, 0, (160, 120)))


@pytest.fixture(scope="module")
def files(photo):
    return dict(draw_nasty(photo))


def test_all_but_the_last_can_be_read(files):
    *sound, damaged = files
    for name in sound:
        assert decode(files[name]).ndim == 3, name
    with pytest.raises(UnreadablePhoto):
        decode(files[damaged])


def test_rotated_ones_are_upright_only_for_who_reads_their_orientation(files, photo):
    turns = {2: photo[:, ::-1], 3: photo[::-1, ::-1], 6: np.rot90(photo, -1), 8: np.rot90(photo)}
    for orientation, turned in turns.items():
        shown = decode(files[f"exif-orientation-{orientation}.jpg"]).astype(float)
        assert shown.shape == turned.shape
        assert np.abs(shown - turned).mean() < 20  # the photo is noisy


def test_they_are_as_odd_as_their_names(files):
    assert decode(files["huge.jpg"]).shape == (4500, 6000, 3)
    assert decode(files["tiny.jpg"]).shape == (18, 24, 3)
    grey = decode(files["grey.jpg"])
    assert (grey[..., 0] == grey[..., 2]).all()
    assert files["photo.heic"][4:8] == b"ftyp"
    assert {name.rsplit(".", 1)[1] for name in files} == {"jpg", "png", "gif", "webp", "heic"}


def test_a_single_photo_gives_the_same_files_again(photo):
    assert dict(draw_nasty(photo)) == dict(draw_nasty(photo.copy()))
