"""Which file an id means: found in each form that people write, and several where it is unclear."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lotlens.photos.matching import Wanted, match_files
from lotlens.photos.places import File
from lotlens.records import Locator

FORMS = {
    "as it is": lambda name: name,
    "with blanks": lambda name: f" {name} ",
    "in capitals": str.upper,
    "without ending": lambda name: name.rpartition(".")[0],
    "with another ending": lambda name: name.rpartition(".")[0] + ".jpeg",
    "with its folder": lambda name: f"test/{name}",
    "in a folder of another machine": lambda name: f"C:\\cars\\test\\{name}",
}
NUMBERS = {
    "number": lambda name: name.rpartition(".")[0].lstrip("0"),
    "number of a spreadsheet": lambda name: name.rpartition(".")[0].lstrip("0") + ".0",
    "with more zeros": lambda name: "00" + name,
}


def make_files(*names):
    return [File(name, Locator(Path("/photos", name))) for name in names]


def find(ids, *names):
    """For each id the names of the files that it may mean."""
    found = match_files([Wanted(id_) for id_ in ids], make_files(*names))
    return [sorted(file.name for file in matches) for matches in found]


@given(data=st.data(), numbers=st.sets(st.integers(1, 99_999), min_size=1, max_size=20))
def test_a_number_finds_its_photo_in_each_form(data, numbers):
    names = [f"{number:05}.jpg" for number in sorted(numbers)]
    forms = st.sampled_from([*FORMS.values(), *NUMBERS.values()])
    ids = [data.draw(forms)(name) for name in names]
    assert find(ids, *(f"test/{name}" for name in names)) == [[f"test/{name}"] for name in names]


@given(
    data=st.data(),
    stems=st.lists(
        st.from_regex(r"[a-zа-я]{2,6}([ _-]?[0-9]{1,3})?", fullmatch=True),
        unique=True,
        min_size=1,
        max_size=20,
    ),
)
def test_a_name_finds_its_photo_in_each_form(data, stems):
    names = [f"{stem}.jpg" for stem in stems]
    ids = [data.draw(st.sampled_from([*FORMS.values()]))(name) for name in names]
    assert find(ids, *(f"test/{name}" for name in names)) == [[f"test/{name}"] for name in names]


@pytest.mark.parametrize(
    ("asked", "names", "clear"),
    [
        ("1.jpg", ("a/1.jpg", "b/1.jpg"), "b/1.jpg"),
        ("1", ("1.jpg", "1.png"), "1.png"),
        ("1.JPG", ("1.jpg", "1.Jpg"), "1.jpg"),
        ("7", ("007.jpg", "0007.jpg"), "007"),
        ("7.0", ("7.jpg", "7.png"), "7.jpg"),
    ],
)
def test_what_several_photos_fit_gives_all_and_a_clearer_id_gives_one(asked, names, clear):
    others = ("other.jpg", "17.jpg")
    assert find([asked], *others, *names) == [sorted(names)]
    assert len(find([clear], *others, *names)[0]) == 1


def test_what_fits_nothing_finds_nothing():
    names = ("1.jpg", "a.jpg", "x/2.jpg")
    assert find(["3", "1a", "b.jpg", "y/2.jpg", "1.5", ""], *names) == [[]] * 6


def test_a_photo_that_is_named_outright_is_not_taken_for_another_ones_number():
    assert find(["7.jpg", "07"], "7.jpg", "007.jpg") == [["7.jpg"], ["007.jpg"]]
    assert find(["07"], "7.jpg", "007.jpg") == [["007.jpg", "7.jpg"]]
