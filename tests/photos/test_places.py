"""places: folders and zips list alike; missing paths are explained."""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

import pytest

from lotlens.errors import InputError
from lotlens.photos.archives import PhotoReader
from lotlens.photos.places import (
    PHOTO_SUFFIXES,
    Place,
    Survey,
    descend,
    find_holder,
    gather_photos,
    is_archive,
    is_photo_name,
    open_place,
    require_path,
)

TREE = ["train.csv", "a/1.jpg", "a/b/2.PNG", "Test_Upload/3.jpg", "a/notes.txt"]


def build(folder: Path, names: list[str]) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return folder


def pack(path: Path, names: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            archive.writestr(name, name)
    return path


def look(path: Path, survey: Survey | None = None) -> Place:
    with PhotoReader() as reader:
        return open_place(path, survey or Survey(reader))


def test_folders_and_zips_list_alike(tmp_path: Path) -> None:
    folder = look(build(tmp_path / "x", TREE))
    packed = look(pack(tmp_path / "x.zip", TREE))
    assert [file.name for file in folder.files] == sorted(TREE)
    assert [file.name for file in folder.files] == [file.name for file in packed.files]
    with PhotoReader() as reader:
        for place in (folder, packed):
            assert all(reader.read(file.locator) == file.name.encode() for file in place.files)
            assert [file.base for file in place.photos()] == ["3.jpg", "1.jpg", "2.PNG"]
            assert place.folders() == ["Test_Upload", "a"]
            assert place.describe() == "Test_Upload/, a/, train.csv"
            assert place.find(["none.csv", "train.csv"]) is not None


def test_system_files_and_odd_entries_are_left_out(tmp_path: Path) -> None:
    build(tmp_path, ["1.jpg", ".hidden.jpg", "__MACOSX/._1.jpg", ".git/2.jpg", "Thumbs.db"])
    (tmp_path / "x.jpg").mkdir()
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere")
    (tmp_path / "linked.jpg").symlink_to(tmp_path / "1.jpg")
    (tmp_path / "ring").symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe.jpg")
    assert [file.name for file in look(tmp_path).files] == ["1.jpg", "linked.jpg"]


def test_names_on_disk_that_are_no_utf8(tmp_path: Path) -> None:
    (tmp_path / os.fsdecode("Нива.jpg".encode("cp866"))).write_bytes(b"x")
    (tmp_path / "Цветной.jpg").write_bytes(b"y")
    place = look(tmp_path)
    assert sorted(file.name for file in place.files) == ["Нива.jpg", "Цветной.jpg"]
    with PhotoReader() as reader:
        assert {reader.read(file.locator) for file in place.files} == {b"x", b"y"}


def test_descend_enters_wrappers(tmp_path: Path) -> None:
    pack(tmp_path / "deep" / "er" / "all.zip", ["cars/train.csv", "cars/a/1.jpg"])
    with PhotoReader() as reader:
        place = descend(look(tmp_path), Survey(reader))
    assert [file.name for file in place.files] == ["a/1.jpg", "train.csv"]


def test_holder_is_the_shallowest(tmp_path: Path) -> None:
    place = look(build(tmp_path, ["a/b/train.csv", "c/TRAIN.csv", "c/d/1.jpg"]))
    holder = find_holder(place, ["train.csv"])
    assert holder is not None
    assert [file.name for file in holder.files] == ["TRAIN.csv", "d/1.jpg"]
    assert find_holder(place, ["other.csv"]) is None
    build(tmp_path, ["e/train.csv"])
    with pytest.raises(InputError, match=r"several train\.csv \(c/TRAIN\.csv, e/train\.csv\)"):
        find_holder(look(tmp_path), ["train.csv"])


def test_zips_are_opened_only_without_photos_beside_them(tmp_path: Path) -> None:
    pack(tmp_path / "a.zip", ["1.jpg"])
    pack(tmp_path / "b.zip", ["1.jpg", "readme.txt"])
    pack(tmp_path / "empty.zip", [])
    with PhotoReader() as reader:
        found = [file.name for file in gather_photos(look(tmp_path), Survey(reader))]
        assert found == ["a.zip/1.jpg", "b.zip/1.jpg"]
        build(tmp_path, ["2.jpg"])
        assert [file.name for file in gather_photos(look(tmp_path), Survey(reader))] == ["2.jpg"]
        build(tmp_path / "none", ["readme.txt"])
        with pytest.raises(InputError, match=r"no photos in .*none.*; it has: readme\.txt"):
            gather_photos(look(tmp_path / "none"), Survey(reader))


def test_photo_names() -> None:
    assert all(is_photo_name(f"a/x{suffix.upper()}") for suffix in PHOTO_SUFFIXES)
    assert not any(is_photo_name(name) for name in ["jpg", "a.jpg/b", "x.svg", "x.jpg.txt", ""])


def test_archives_are_told_by_ending_and_content(tmp_path: Path) -> None:
    pack(tmp_path / "a.zip", ["1.jpg"])
    (tmp_path / "noending").write_bytes((tmp_path / "a.zip").read_bytes())
    (tmp_path / "both.jpg").write_bytes((tmp_path / "a.zip").read_bytes())
    (tmp_path / "broken.ZIP").write_bytes(b"x")
    (tmp_path / "cars.rar").write_bytes(b"Rar!")
    assert is_archive(tmp_path / "a.zip")
    assert is_archive(tmp_path / "noending")
    assert is_archive(tmp_path / "broken.ZIP")
    assert not is_archive(tmp_path / "both.jpg")
    with pytest.raises(InputError, match=r"\.rar archive, which is not read"):
        is_archive(tmp_path / "cars.rar")


def test_missing_paths_are_explained(tmp_path: Path) -> None:
    build(tmp_path, ["stanford/train.csv", "other/1.jpg"])
    require_path(tmp_path / "stanford")
    with pytest.raises(
        InputError, match=r"stanfrod/train\.csv does not exist; did you mean '.*stan"
    ):
        require_path(tmp_path / "stanfrod" / "train.csv")
    with pytest.raises(InputError, match="has: other, stanford"):
        require_path(tmp_path / "zzz")
    (tmp_path / "void").mkdir()
    with pytest.raises(InputError, match="has: nothing"):
        require_path(tmp_path / "void" / "zzz")
    with pytest.raises(InputError, match="cannot be read"):
        require_path(tmp_path / ("n" * 300))


def test_a_folder_that_cannot_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(path: object) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", deny)
    with pytest.raises(InputError, match="cannot be read: Permission denied"):
        look(tmp_path)
