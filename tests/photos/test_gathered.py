"""Folders that gather labelled photos: what is there stays, and `open_lot` reads all of it."""

import pytest

from lotlens.errors import InputError
from lotlens.photos.labelled import add_labelled
from lotlens.photos.sources import open_lot
from tests.conftest import draw_photo, encode

PHOTOS = [encode(draw_photo(0, number, (64, 48))) for number in range(4)]


def test_what_is_there_stays_and_spellings_become_one(tmp_path):
    folder = tmp_path / "others"
    first = [(PHOTOS[0], "Kia Rio", "1"), (PHOTOS[1], "Kia Ceed", "2")]
    assert add_labelled(folder, first) == 2
    kept = {path.name: path.stat().st_mtime_ns for path in (folder / "photos").iterdir()}
    again = [(PHOTOS[0], "Other", "9"), (PHOTOS[2], "KIA  rio", "3"), (PHOTOS[2], "x", "4")]
    assert add_labelled(folder, again) == 3
    assert (
        kept.items()
        <= {p.name: p.stat().st_mtime_ns for p in (folder / "photos").iterdir()}.items()
    )
    lot = open_lot(folder)
    assert sorted((photo.label, photo.listing) for photo in lot.train.photos) == [
        ("Kia Ceed", "2"), ("Kia Rio", "1"), ("Kia Rio", "3"),
    ]  # fmt: skip
    assert all(photo.locator is not None for photo in lot.train.photos)


def test_a_table_of_others_is_not_written_over(tmp_path):
    (tmp_path / "labels.csv").write_text("Id,Category\n1.jpg,Rio\n", "utf-8")
    with pytest.raises(InputError, match="not written by lotlens"):
        add_labelled(tmp_path, [(PHOTOS[0], "Kia Rio", "1")])
    assert not (tmp_path / "photos").exists()
