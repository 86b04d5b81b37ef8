"""names: what is added to a photo's name is known, and nothing else is taken for it."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lotlens.audit.checks import CHECKS
from lotlens.audit.likeness import SAME
from lotlens.audit.names import MOST_OF_ONE_NAME, group_by_source, name_source
from lotlens.audit.rotations import ALIKE
from lotlens.records import Photo

OF_CAR = """
car_jpg.rf.1a2b3c4d5e6f.jpg
car_JPG.rf.AbC_d-123.png
car_png_jpg.rf.1a2b3c4d.jpg
car_jpg.rf.1a2b3c4d_jpg.rf.99999999.jpg
car (1).jpg
car(12).jpeg
CAR (1) (2).JPG
car - Copy.jpg
car - Copy (2).jpg
car copy 2.png
car_copy.jpg
car (copy).jpg
car (another copy).jpg
car (3rd copy).jpg
Copy of car.jpg
Copy (2) of car.jpg
car копия.jpg
car — копия (3).png
car (копия).jpg
Копия car.jpg
car - Kopie.jpg
car-rotated.jpg
car_rot90.jpg
car_rot-90.jpg
car_rotated_15_deg.jpg
car_flip.jpg
car_hflip.jpg
car_flip_lr.jpg
car_aug_3.jpg
car_augmented.jpg
car-edited.jpg
car_crop_001.jpg
car_scaled_0.5.jpg
car~2.jpg
car_rot90_flip (2).jpg
rotated_car.png
lot_original_car.jpg_12345678-1234-1234-1234-123456789abc.jpg
folder (1)/car_shear10.webp
"""
PLAIN = """
00001.jpg
IMG_1234.JPG
20200101_120000.jpg
photocopy.jpg
parrot.jpg
copyright.jpg
car-15.jpg
car_2.jpg
copy.jpg
rotated.jpg
(1).jpg
folder (1)/car.jpg
car
x.y.z
-rf.png
%s{0}.png
"""


@pytest.mark.parametrize("name", OF_CAR.strip().splitlines())
def test_what_tools_and_people_add_is_taken_away(name):
    assert name_source(name) == ("car", True)


@pytest.mark.parametrize("name", PLAIN.strip().splitlines())
def test_other_names_stay_as_they_are(name):
    stem, is_marked = name_source(name)
    assert not is_marked
    assert name.rsplit("/", 1)[-1].casefold().startswith(stem)


def test_names_of_one_source_are_equal_in_any_spelling():
    names = ["Машина.jpg", "машина (1).png", "МАШИНА — копия.jpg"]
    assert {name_source(name)[0] for name in names} == {"машина"}
    # On a Mac letters such as й come in two parts.
    assert name_source("Чайка (1).jpg")[0] == name_source("Чайка.jpg")[0]


@given(st.text(max_size=300))
def test_any_name_has_a_stem_that_is_its_own(name):
    stem, _ = name_source(name)
    again, is_marked = name_source(stem + ".jpg")
    assert len(again) <= len(stem)
    assert is_marked or again == stem or "/" in stem


@pytest.mark.parametrize("part", ["-", "-copy", "_rot_1", " (1)", "~1", ".rf.", "_jpg"])
def test_hostile_names_take_no_time(part):
    for length in (255, 10_000):
        name_source(part * (length // len(part)) + "!")


def group(*named):
    photos = [Photo(id_, None, label) for id_, label in named]
    return {key: [named[at][0] for at in some] for key, some in group_by_source(photos).items()}


def test_photos_are_grouped_where_a_name_says_that_it_is_a_copy():
    assert group(("a.jpg", "0"), ("b.jpg", "0"), ("A (1).png", "0"), ("c (1).jpg", "0")) == {
        ("a", "0"): ["a.jpg", "A (1).png"]
    }
    # Equal names with other endings say nothing, nor do names of other classes.
    assert group(("a.jpg", "0"), ("a.png", "0"), ("b.jpg", "0"), ("b (1).jpg", "1")) == {}
    assert group(("a (1).jpg", None), ("a (2).jpg", None)) == {
        ("a", None): ["a (1).jpg", "a (2).jpg"]
    }


def test_a_name_of_very_many_photos_is_none():
    many = [(f"car ({n}).jpg", "0") for n in range(MOST_OF_ONE_NAME)]
    assert len(group(*many)["car", "0"]) == MOST_OF_ONE_NAME
    assert group(*many, ("car.jpg", "0")) == {}


def test_the_guide_says_what_is_so():
    guide = (Path(__file__).parents[2] / "docs" / "guide" / "copies.md").read_text("utf-8")
    table = guide.partition("| name | added by |")[2].partition("\n\n")[0]
    names = re.findall(r"`([^`]+)`", table)
    assert len(names) > 10
    assert {name_source(name) for name in names} == {("car", True)}
    assert f"from {SAME} they count as copies, and from {ALIKE} where names say so" in guide
    assert f"more than {MOST_OF_ONE_NAME} of them" in guide
    assert set(re.findall(r"^\| `([a-z-]+)` \|", guide, re.MULTILINE)) <= CHECKS.keys()
