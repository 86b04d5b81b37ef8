"""Photos offered beside one's own: classes matched, ids, and copies by way of others."""

import unicodedata
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from lotlens.audit.likeness import SAME
from lotlens.audit.offered import Copies, find_copies, join_offer, match_classes, name_offered
from lotlens.audit.signs import scan_photos
from lotlens.records import CarClass, Catalog, Locator, Lot, Photo
from tests.audit.conftest import draw_texture


@pytest.mark.parametrize(
    ("offered", "expected"),
    [
        (CarClass("4", "4"), "4"),  # a bare number is the target's
        (CarClass("4", "Volga"), "5"),  # a name counts, whatever its number
        (CarClass("4", "Pobeda"), None),
        (CarClass("niva", "niva"), "4"),  # a folder
        (CarClass(" NIVA ", " NIVA "), "4"),
        (CarClass("9", "9"), None),
        (CarClass("9", unicodedata.normalize("NFD", "Йота")), "6"),
    ],
)
def test_classes_are_matched_by_name_where_there_are_names(offered, expected):
    target = (CarClass("4", "Niva"), CarClass("5", "Volga"), CarClass("6", "Йота"))
    found = match_classes([offered], target)[offered.label]
    assert (found.label if found else None) == expected


def test_a_target_without_names_is_matched_by_label():
    target = (CarClass("4", "4"), CarClass("Niva", "Niva"))
    offered = [CarClass("4", "Volga"), CarClass("7", "niva")]
    assert match_classes(offered, target) == {"4": target[0], "7": target[1]}


def test_one_name_of_two_classes_is_no_match_but_by_its_label():
    target = (CarClass("4", "Niva"), CarClass("5", "Niva"))
    offered = [CarClass("5", "Niva"), CarClass("6", "Niva"), CarClass("Niva", "Niva")]
    assert match_classes(offered, target) == {"5": target[1], "6": None, "Niva": None}


def test_ids_of_additions_do_not_collide():
    assert name_offered(["1.jpg"], "web", {"1.jpg"}) == ("web/1.jpg",)
    taken = {"web/1.jpg", "web-2/2.jpg"}
    assert name_offered(["1.jpg", "2.jpg"], "web", taken) == ("web-3/1.jpg", "web-3/2.jpg")


def test_a_copy_by_way_of_others_counts_and_test_is_named_first(tmp_path):
    """A cut copy of a test photo, which is in training too, offered again after more cutting."""
    picture = Image.fromarray(draw_texture([0, 600], 128, 96))
    ImageDraw.Draw(picture).ellipse((20, 20, 90, 70), fill="red")
    for name in ("a.png", "b.png"):
        picture.save(tmp_path / name)
    picture.crop((6, 5, 128, 96)).save(tmp_path / "c.png")
    a, b, c = (Photo("same.png", Locator(tmp_path / name)) for name in ("a.png", "b.png", "c.png"))
    found = find_copies([c], [("training", a), ("test", b)])
    (likeness,) = (copies.likeness for copies in found)
    assert found == (Copies(part="test", own=("same.png",), likeness=likeness),)
    assert SAME <= likeness < 1
    found = find_copies([a], [("training", c), ("test", b)])
    assert found == (Copies(part="test", own=("same.png",), likeness=None),)
    # Of several photos it is only said that they are the same file if all of them are.
    found = find_copies([a], [("test", c), ("test", b)])
    assert found == (Copies(part="test", own=("same.png",) * 2, likeness=likeness),)


def test_photos_that_were_looked_at_are_not_looked_at_again(tmp_path, monkeypatch):
    Image.fromarray(draw_texture([1, 2], 128, 96)).save(tmp_path / "a.png")
    own, offered = Photo("a", Locator(tmp_path / "a.png")), Photo("b", Locator(tmp_path / "a.png"))
    looked_at = []

    def scan(photos, **options):
        looked_at.extend(photo.id for photo in photos)
        return scan_photos(photos, **options)

    seen = {"a": scan_photos([own])[0]}
    monkeypatch.setattr("lotlens.audit.offered.scan_photos", scan)
    (found,) = find_copies([offered], [("training", own)], seen=seen)
    assert (found.part, found.own, looked_at) == ("training", ("a",), ["b"])
    # What is in the test part may be another photo of the same id.
    (found,) = find_copies([offered], [("test", own)], seen=seen)
    assert (found.part, looked_at) == ("test", ["b", "a", "b"])


def test_a_photo_of_either_part_of_an_offer_has_an_id_of_its_own():
    names, classes = ("1.jpg", "2.jpg"), (CarClass("4", "Niva"),)
    train = Catalog(tuple(Photo(name, None, "4") for name in names), classes)
    for others in (("1.jpg", "3.jpg"), ("3.jpg",)):
        test = Catalog(tuple(Photo(name, None) for name in others), classes)
        joined = join_offer(Lot(Path("web"), train, test))
        assert joined.ids[:2] == names
        assert len(set(joined.ids)) == len(joined) == 2 + len(others)
        assert [photo.label for photo in joined.photos] == ["4", "4"] + [None] * len(others)


def test_names_that_differ_in_signs_alone_are_told_apart_where_both_are_classes():
    golf, plus = CarClass("0", "VW Golf"), CarClass("1", "VW Golf+")
    offered = (CarClass("a", "VW Golf+"), CarClass("b", "vw-golf"), CarClass("c", "?"))
    assert match_classes(offered, (golf, plus)) == {"a": plus, "b": None, "c": None}
    assert match_classes(offered, (golf,)) == {"a": golf, "b": golf, "c": None}
