"""layout: folders are parts, folds or classes by their names, and nothing is guessed."""

from __future__ import annotations

import pytest

from lotlens.errors import InputError
from lotlens.photos.layout import (
    find_classes,
    find_part,
    find_strays,
    find_twins,
    is_fold,
    place_in_part,
    refuse_twins,
)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        *((name, "train") for name in ("train", "Training", "seg_train", "training_set", "TRAIN")),
        *((name, "train") for name in ("train_images", "TrainImages", "cars-train", "trainset")),
        *((name, "validation") for name in ("val", "Valid", "validation", "val_images", "dev")),
        *((name, "test") for name in ("test", "Testing", "test_upload", "test-upload", "TestSet")),
        *((name, None) for name in ("trainers", "contest", "latest", "Valencia", "Vals", "", "0")),
        ("train_test", None),
        ("обучающая_выборка", "train"),
        ("Тест", "test"),
        ("test2", "test"),
    ],
)
def test_parts_are_whole_words(name: str, part: str | None) -> None:
    assert find_part(name) == part


def test_folds() -> None:
    assert all(is_fold(name) for name in ("fold0", "Fold_3", "fold-12", "folds 1", "cv_fold1"))
    assert not any(is_fold(name) for name in ("fold", "scaffold1", "Manifold 2", "unfolded"))


def tree(*folders: str, count: int = 2) -> list[str]:
    return [f"{folder}/{number}.jpg" for folder in folders for number in range(count)]


def labels(names: list[str]) -> dict[str, str]:
    return {"/".join(path): label for path, label in find_classes(names).labels.items()}


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (["Niva", "Kalina "], {"Kalina ": "Kalina", "Niva": "Niva"}),
        (
            ["Hyundai/Sonata", "Hyundai/Azera", "Ford/Focus"],
            {"Hyundai/Sonata": "Sonata", "Hyundai/Azera": "Azera", "Ford/Focus": "Focus"},
        ),
        (
            ["Ford/Focus", "Ford/other", "Kia/other"],
            {"Ford/Focus": "Focus", "Ford/other": "Ford/other", "Kia/other": "Kia/other"},
        ),
        (
            ["Kia/Rio/2012", "Kia/Rio/2013", "Ford/Focus/2013"],
            {name: name for name in ("Ford/Focus/2013", "Kia/Rio/2012", "Kia/Rio/2013")},
        ),
        (["Niva", "Ford/Focus"], {"Niva": "Niva", "Ford/Focus": "Focus"}),
        (["Niva", "Niva/inside", "Kalina"], {"Niva": "Niva", "Kalina": "Kalina"}),
        (["0", "1", "10"], {"0": "0", "1": "1", "10": "10"}),
        (["Niva"], {}),
    ],
)
def test_a_class_is_the_folder_that_holds_photos(
    folders: list[str], expected: dict[str, str]
) -> None:
    assert labels(tree(*folders)) == expected


def test_what_was_decided_of_class_folders_is_said() -> None:
    assert find_classes(tree("A", "B")).notes == ()
    (note,) = find_classes(tree("Ford/Focus", "Kia/Rio")).notes
    assert note == "a class is the folder that holds the photos: Ford/Focus is 'Focus'"
    (note,) = find_classes(tree("A", "A/inside", "B")).notes
    assert "A/inside" in note
    found = find_classes(tree("A", "A/inside", "B"))
    assert found.find_label("A/inside/7.jpg") == "A"
    assert found.find_label("7.jpg") is None


def test_photos_in_one_place_are_of_no_class() -> None:
    assert labels(["1.jpg", *tree("A", "B")]) == {}


def test_strays_are_few_photos_beside_several_folders() -> None:
    assert find_strays(["cover.jpg", *tree("A", "B")]) == ["cover.jpg"]
    assert find_strays(["Ford/cover.jpg", *tree("Ford/Focus", "Ford/Ka", "B")]) == [
        "Ford/cover.jpg"
    ]
    assert find_strays(["cover.jpg", *tree("A")]) == []
    assert find_strays(tree("A", "B")) == []
    several = [f"{number}.jpg" for number in range(6)]
    assert find_strays([*several, *tree("A", "B", count=10)]) == []
    assert find_strays([*several[:2], *tree("A", "B", count=20)]) == several[:2]


def test_folders_of_folders_of_the_same_names_are_parts() -> None:
    assert find_twins(tree("x/A", "x/B", "y/A", "y/b ")) == ["x", "y"]
    assert find_twins(tree("x/A", "x/B", "y/A", "y/B", "z/C", "z/D")) == ["x", "y"]
    assert find_twins(tree("Kia/Rio", "Kia/Ceed", "Ford/Focus", "Ford/Ka")) == []
    assert find_twins(tree("Kia/other", "Kia/Rio", "Ford/Focus", "Ford/other")) == []
    assert find_twins(tree("Rio/2012", "Rio/2013", "Ka/2012", "Ka/2013")) == []
    assert find_twins(tree("A", "B")) == []
    with pytest.raises(InputError, match=r"lot: the folders x, y hold .* \(A, B\).*\(lot/x\)"):
        refuse_twins(["x", "y"], tree("x/A", "x/B", "y/A", "y/B"), "lot")


@pytest.mark.parametrize(
    ("name", "part", "rest"),
    [
        ("A/train/1.jpg", "train", "A/1.jpg"),
        ("A/x/test_images/1.jpg", "test", "A/x/1.jpg"),
        ("test/A/1.jpg", "test", "A/1.jpg"),
        ("тест/1.jpg", "test", "1.jpg"),
        ("train/1.jpg", None, "train/1.jpg"),
        ("A/1.jpg", None, "A/1.jpg"),
        ("Test drive/1.jpg", None, "Test drive/1.jpg"),
        ("test.jpg", None, "test.jpg"),
    ],
)
def test_parts_beside_and_within_classes(name: str, part: str | None, rest: str) -> None:
    assert place_in_part(name) == (part, rest)


def test_test_folders_are_named_as_those_of_training() -> None:
    folders = find_classes(tree("Ford/other", "Ford/Focus", "Kia/Rio", "Niva "))
    for path, label in {
        "Ford/other/1.jpg": "other",
        "Kia/other/1.jpg": "Kia/other",
        "Ford/other/front/1.jpg": "other",
        "Rio/1.jpg": "Rio",
        "Niva/1.jpg": "Niva",
        "Oka/1.jpg": "Oka",
        "1.jpg": None,
    }.items():
        assert folders.find_test_label(path) == label
