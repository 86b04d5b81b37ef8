"""sources: whatever people have becomes the same lot, and what does not fit is told."""

from __future__ import annotations

import io
import pickle
import random
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lotlens.errors import InputError
from lotlens.photos.archives import PhotoReader
from lotlens.photos.fingerprint import fingerprint
from lotlens.photos.joining import make_ids
from lotlens.photos.places import File
from lotlens.photos.sources import check_trainable, open_lot, open_photos
from lotlens.records import CarClass, Catalog, Locator, Lot, Photo, Sample
from lotlens.report.language import load_language

Files = dict[str, bytes]


def pack(files: Files, method: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return stream.getvalue()


def lay(folder: Path, files: Files) -> Path:
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def table(rows: str, header: str = "Id,Category") -> bytes:
    """`table("1.jpg,0 2.jpg,1")`: one row for each word."""
    return "\n".join([header, *rows.split(" ")]).encode()


ROWS = "11.jpg,10 12.jpg,10 21.jpg,9 22.jpg,9 23.jpg,9"
TRAIN = {f"train/{row.split(',')[1]}/{row.split(',')[0]}": row.encode() for row in ROWS.split()}
TEST = {f"test_upload/{number}.jpg": b"%d" % number for number in (3, 1, 2)}
TABLES = {
    "train.csv": table(ROWS),
    "sample-submission.csv": table("2.jpg,0 3.jpg,0 1.jpg,0"),
    "classes.csv": table("9,Самара 10,Нива", "Category,Name"),
}


def competition(**changes: bytes) -> Files:
    """The competition's layout; keywords replace a file, or with b"-" remove it."""
    files = {**TABLES, "train.zip": pack(TRAIN), "test.zip": pack(TEST)}
    files.update({name.replace("_", "."): data for name, data in changes.items()})
    return {name: data for name, data in files.items() if data != b"-"}


def checks(lot: Lot) -> list[tuple[str, str]]:
    return [(finding.check, finding.photo_id) for finding in lot.findings]


def refuse(action: Callable[[], object]) -> str:
    with pytest.raises(InputError) as caught:
        action()
    words = str(caught.value)
    assert "\n" not in words
    return words


def contents(catalog: Catalog) -> list[bytes]:
    with PhotoReader() as reader:
        return [reader.read(photo.locator) for photo in catalog.photos if photo.locator]


def is_whole(lot: Lot) -> bool:
    """The competition's lot, as every layout must give it."""
    assert lot.train.ids == ("11.jpg", "12.jpg", "21.jpg", "22.jpg", "23.jpg")
    assert lot.train.classes == (CarClass("9", "Самара"), CarClass("10", "Нива"))
    assert lot.train.targets().tolist() == [1, 1, 0, 0, 0]
    assert contents(lot.train) == [row.encode() for row in ROWS.split()]
    assert lot.test.ids == ("2.jpg", "3.jpg", "1.jpg")
    assert lot.test.classes == lot.train.classes
    assert {photo.label for photo in lot.test.photos} == {None}
    assert contents(lot.test) == [b"2", b"3", b"1"]
    assert lot.sample == Sample(
        ("Id", "Category"), (("2.jpg", "0"), ("3.jpg", "0"), ("1.jpg", "0"))
    )
    assert lot.findings == ()
    check_trainable(lot)
    return True


# --- the competition's layout --------------------------------------------------------------------


def test_competition_folder(tmp_path: Path) -> None:
    lot = open_lot(lay(tmp_path, competition()))
    assert is_whole(lot)
    assert lot.source == tmp_path


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("inside", ["", "sf-dl-car-classification/", "a/b/"])
def test_the_one_big_zip(tmp_path: Path, inside: str, method: int) -> None:
    files = {inside + name: data for name, data in competition().items()}
    lay(tmp_path, {"all.zip": pack(files, method)})
    assert is_whole(open_lot(tmp_path / "all.zip"))
    assert is_whole(open_lot(tmp_path))


def test_unpacked_parts_and_other_spellings(tmp_path: Path) -> None:
    files = {
        "Train.CSV": TABLES["train.csv"],
        "Classes.csv": TABLES["classes.csv"],
        "sample_submission.csv": TABLES["sample-submission.csv"],
        **TRAIN,
        **TEST,
    }
    assert is_whole(open_lot(lay(tmp_path / "folder", files)))
    lay(tmp_path, {"all.zip": pack(files)})
    assert is_whole(open_lot(tmp_path / "all.zip"))


def test_photos_loose_beside_the_table(tmp_path: Path) -> None:
    files = {f"images/{name.rpartition('/')[2]}": data for name, data in TRAIN.items()}
    lot = open_lot(lay(tmp_path, {**TABLES, **files, **TEST}))
    assert is_whole(lot)


def test_without_test_photos_sample_and_names(tmp_path: Path) -> None:
    lay(tmp_path, {"train.csv": table(ROWS), "train.zip": pack(TRAIN)})
    lot = open_lot(tmp_path)
    assert lot.train.names == ("9", "10")
    assert (len(lot.test), lot.sample) == (0, None)
    assert lot.test.classes == lot.train.classes


def test_no_train_photos_is_one_clear_error(tmp_path: Path) -> None:
    lay(tmp_path, competition(train_zip=b"-", test_zip=b"-") | {"test-sample.zip": pack(TEST)})
    words = refuse(lambda: open_lot(tmp_path))
    assert "names 5 photos" in words
    assert "neither train.zip nor train/" in words
    assert "test-sample.zip" in words
    assert open_photos([tmp_path]).ids == ("1.jpg", "2.jpg", "3.jpg")
    (tmp_path / "test-sample.zip").rename(tmp_path / "more.zip")
    words = refuse(lambda: open_photos([tmp_path]))
    assert "no test photos" in words
    assert "more.zip" in words


def test_two_train_tables_are_not_chosen_between(tmp_path: Path) -> None:
    lay(tmp_path, {"a/train.csv": table(ROWS), "b/train.csv": table(ROWS)})
    assert "several train.csv" in refuse(lambda: open_lot(tmp_path))


def test_sample_ids_without_a_file_stay_and_are_told(tmp_path: Path) -> None:
    sample = table("2.jpg,0 9.jpg,0 1.jpg,0")
    lot = open_lot(lay(tmp_path, competition() | {"sample-submission.csv": sample}))
    assert lot.test.ids == ("2.jpg", "9.jpg", "1.jpg", "3.jpg")
    assert lot.test.photos[1].locator is None
    assert checks(lot) == [("no-file", "9.jpg")]
    assert lot.findings[0].part == "test"


def test_sample_of_other_photos_is_refused(tmp_path: Path) -> None:
    sample = table("7.jpg,0 8.jpg,0 1.jpg,0")
    lay(tmp_path, competition() | {"sample-submission.csv": sample})
    assert "2 of 3 photos in the sample submission" in refuse(lambda: open_lot(tmp_path))


def test_other_test_photos_can_be_given(tmp_path: Path) -> None:
    lay(tmp_path / "data", competition(test_zip=b"broken"))
    lay(tmp_path / "new", {"x.jpg": b"x", "2.jpg": b"y"})
    lot = open_lot(tmp_path / "data", test=tmp_path / "new")
    assert lot.test.ids == ("2.jpg", "x.jpg")
    assert lot.sample is not None
    assert lot.test.classes == lot.train.classes
    assert lot.findings == ()


# --- a CSV and photos ----------------------------------------------------------------------------

CARS = {name.rpartition("/")[2]: data for name, data in TRAIN.items()}


@pytest.mark.parametrize(
    "photos",
    [
        {"cars.zip": pack(CARS), "other.zip": b"broken"},
        {f"cars/{name}": data for name, data in CARS.items()} | {"other/1.jpg": b""},
        {f"photos/{name}": data for name, data in CARS.items()},
        {"photos.zip": pack(CARS)},
        {"photos.zip": pack({"deep.zip": pack(CARS)})},
        CARS,
    ],
    ids=["twin zip", "twin folder", "only folder", "only zip", "zip in zip", "beside"],
)
def test_csv_finds_its_photos(tmp_path: Path, photos: Files) -> None:
    lay(tmp_path, {"cars.csv": table(ROWS), **photos})
    lot = open_lot(tmp_path / "cars.csv")
    assert contents(lot.train) == [row.encode() for row in ROWS.split()]
    assert lot.train.labels == ("9", "10")
    assert (len(lot.test), lot.sample) == (0, None)


def test_csv_in_a_folder_or_zip(tmp_path: Path) -> None:
    files = {"cars.csv": table(ROWS), **{f"photos/{name}": data for name, data in CARS.items()}}
    lay(tmp_path, {"all.zip": pack(files)})
    lay(tmp_path / "folder", {"cars.csv": table(ROWS), "photos.zip": pack(CARS)})
    for path in (tmp_path / "all.zip", tmp_path / "folder"):
        assert contents(open_lot(path).train) == [row.encode() for row in ROWS.split()]


def test_photos_of_a_csv_can_be_given(tmp_path: Path) -> None:
    lay(tmp_path, {"cars.csv": table(ROWS), "x/a.zip": pack(CARS), "x/b.zip": b"", "y/z": b""})
    lot = open_lot(tmp_path / "cars.csv", photos=tmp_path / "x" / "a.zip")
    assert len(contents(lot.train)) == 5
    assert "say where the photos are" in refuse(lambda: open_lot(tmp_path / "cars.csv"))
    assert "only with a CSV" in refuse(lambda: open_lot(tmp_path / "x", photos=tmp_path / "x"))


def test_several_tables_are_not_chosen_between(tmp_path: Path) -> None:
    lay(tmp_path, {"a.csv": table(ROWS), "b.csv": table(ROWS), **CARS})
    assert "several tables" in refuse(lambda: open_lot(tmp_path))


def test_unknown_columns_are_named(tmp_path: Path) -> None:
    lay(tmp_path, {"cars.csv": b"name,price\nx,1\n", **CARS})
    for path in (tmp_path, tmp_path / "cars.csv"):
        words = refuse(lambda path=path: open_lot(path))
        assert "no column for the id" in words
        assert "it has: name, price" in words


def test_paths_listings_and_further_columns(tmp_path: Path) -> None:
    header = "id;Class;Path;AD_ID;Цена"
    rows = (
        r"a;0;photos\1.jpg;L1;100 b;0;./photos/2.jpg;;9 c;0;../secret.jpg;L2; d;0;photos/4.jpg;L2;"
    )
    lay(tmp_path / "x", {"cars.csv": table(rows, header)})
    lay(tmp_path, {"secret.jpg": b"s"})
    lay(tmp_path / "x", {f"photos/{number}.jpg": b"%d" % number for number in (1, 2, 4)})
    lot = open_lot(tmp_path / "x" / "cars.csv")
    assert lot.train.ids == ("a", "b", "c", "d")
    assert contents(lot.train) == [b"1", b"2", b"4"]
    assert checks(lot) == [("no-file", "c")]
    assert [photo.listing for photo in lot.train.photos] == ["L1", None, "L2", "L2"]
    assert lot.train.photos[0].extra == {"Path": r"photos\1.jpg", "Цена": "100"}


@pytest.mark.parametrize("column", ["id", "filename"])
def test_an_id_of_several_files_is_not_chosen_for(tmp_path: Path, column: str) -> None:
    rows = "1.jpg,a/1.jpg,0 1.jpg,b/1.jpg,0 2.jpg,a/2.jpg,1"
    lay(tmp_path, {"cars.csv": table(rows, f"{column},path,label")})
    lay(tmp_path, {"a/1.jpg": b"a1", "b/1.jpg": b"b1", "a/2.jpg": b"a2"})
    words = refuse(lambda: open_lot(tmp_path / "cars.csv"))
    assert f"has {column} 1.jpg for several files (a/1.jpg, b/1.jpg)" in words
    assert words.endswith("remove or rename that column, and path names them")
    assert load_language("ru").reword(words) is not None
    # As it says: without that column the path is the id.
    lay(tmp_path, {"cars.csv": table(rows, "mark,path,label")})
    lot = open_lot(tmp_path / "cars.csv")
    assert lot.train.ids == ("a/1.jpg", "b/1.jpg", "a/2.jpg")
    assert lot.findings == ()


@pytest.mark.parametrize(
    "path", ["a/1.jpg", r"a\1.jpg", "./a/1.jpg", "/data/a/1.jpg", "A/1.JPG", ""]
)
def test_one_file_written_in_two_ways_is_one(tmp_path: Path, path: str) -> None:
    lay(tmp_path, {"cars.csv": table(f"x;a/1.jpg;0 x;{path};0 y;a/2.jpg;1", "id;path;label")})
    lay(tmp_path, {"a/1.jpg": b"a1", "a/2.jpg": b"a2"})
    lot = open_lot(tmp_path / "cars.csv")
    assert lot.train.ids == ("x", "y")
    assert checks(lot) == [("duplicate-row", "x")]


def test_folders_of_a_path_must_fit(tmp_path: Path) -> None:
    rows = "/data/cars/a/1.jpg,0 b/1.jpg,1 a/2.jpg,0 c/2.jpg,1"
    photos = {"a/1.jpg": b"a1", "b/1.jpg": b"b1", "a/2.jpg": b"a2", "d/2.jpg": b"d2"}
    lay(tmp_path, {"cars.csv": table(rows), "cars.zip": pack(photos)})
    lot = open_lot(tmp_path / "cars.csv")
    assert contents(lot.train) == [b"a1", b"b1", b"a2"]
    assert checks(lot) == [("no-file", "c/2.jpg"), ("no-row", "d/2.jpg")]


# --- rows, files and labels ----------------------------------------------------------------------


def read_cars(folder: Path, rows: str, files: Files | None = None, names: str = "") -> Lot:
    lay(folder, {"cars.csv": table(rows), "cars.zip": pack(CARS if files is None else files)})
    if names:
        lay(folder, {"classes.csv": table(names, "Category,Name")})
    return open_lot(folder / "cars.csv")


def test_the_table_decides_and_folders_only_locate(tmp_path: Path) -> None:
    files = {"train/0/1.jpg": b"at 0", "train/1/1.jpg": b"at 1", "train/0/2.jpg": b"moved"}
    lot = read_cars(tmp_path, "1.jpg,1 2.jpg,1", files)
    assert contents(lot.train) == [b"at 1", b"moved"]
    assert [photo.label for photo in lot.train.photos] == ["1", "1"]
    assert checks(lot) == [("no-row", "train/0/1.jpg")]


def test_folders_may_have_the_names_of_classes(tmp_path: Path) -> None:
    files = {"Нива/1.jpg": b"n", "Самара/1.jpg": b"s"}
    assert contents(read_cars(tmp_path, "1.jpg,1", files, "0,Нива 1,Самара").train) == [b"s"]


def test_a_photo_that_several_files_could_be_is_not_learnt(tmp_path: Path) -> None:
    files = {"a/1.jpg": b"a", "b/1.jpg": b"b", "2.jpg": b"", "3.jpg": b""}
    lot = read_cars(tmp_path, "1.jpg,0 2.jpg,0 3.jpg,1", files)
    assert lot.train.ids == ("2.jpg", "3.jpg")
    assert checks(lot) == [("ambiguous-file", "1.jpg")]
    assert "1.jpg: a/1.jpg, b/1.jpg" in refuse(lambda: check_trainable(lot))


def test_equal_files_that_fit_are_one_photo(tmp_path: Path) -> None:
    files = {"train/1.jpg": b"a", "train/train/1.jpg": b"a", "2.jpg": b""}
    lot = read_cars(tmp_path, "1.jpg,0 2.jpg,1", files)
    assert contents(lot.train) == [b"a", b""]
    assert checks(lot) == []
    check_trainable(lot)


def test_rows_and_files_that_do_not_match(tmp_path: Path) -> None:
    rows = "11.jpg,0 12.jpg,0 gone.jpg,0 21.jpg,1 21.jpg,1.0 22.jpg,1 22.jpg,0 23.jpg,1 99.jpg,"
    lot = read_cars(tmp_path, rows, {**CARS, "more.jpg": b"", "read.me": b""})
    assert lot.train.ids == ("11.jpg", "12.jpg", "gone.jpg", "21.jpg", "23.jpg")
    assert lot.train.photos[2].locator is None
    assert sorted(checks(lot)) == [
        ("duplicate-row", "21.jpg"),
        ("label-conflict", "22.jpg"),
        ("no-file", "gone.jpg"),
        ("no-label", "99.jpg"),
        ("no-row", "more.jpg"),
    ]
    conflict = next(f for f in lot.findings if f.check == "label-conflict")
    assert "(1, 0)" in conflict.sentence
    assert all(f.sentence.endswith(".") and 0 < f.score <= 1 for f in lot.findings)


def test_a_file_whose_row_lacks_a_label_is_not_said_to_lack_the_row(tmp_path: Path) -> None:
    lot = read_cars(tmp_path, "11.jpg,0 12.jpg,0 21.jpg,1 22.jpg,1 23.jpg,")
    assert checks(lot) == [("no-label", "23.jpg")]


def test_a_row_that_names_a_whole_path_means_that_file(tmp_path: Path) -> None:
    lot = read_cars(tmp_path, "a/1.jpg,0 2.jpg,1", {"1.jpg": b"", "a/1.jpg": b"a", "2.jpg": b""})
    assert contents(lot.train)[0] == b"a"
    assert checks(lot) == [("no-row", "1.jpg")]


def test_a_label_that_only_conflicting_rows_have(tmp_path: Path) -> None:
    lot = read_cars(tmp_path, "11.jpg,0 12.jpg,0 21.jpg,7 21.jpg,8 22.jpg,1 23.jpg,1")
    assert lot.train.labels == ("0", "1")


def test_mostly_missing_files_mean_the_wrong_archive(tmp_path: Path) -> None:
    words = refuse(lambda: read_cars(tmp_path, "11.jpg,0 a.jpg,0 b.jpg,1"))
    assert "2 of 3 photos in" in words
    assert "it names a.jpg, b.jpg, and there are 11.jpg, 12.jpg, 21.jpg and 2 more" in words
    assert "wrong zip or folder" in words


def test_a_row_without_an_id_is_named(tmp_path: Path) -> None:
    assert "row 3: Id is empty" in refuse(lambda: read_cars(tmp_path, "11.jpg,0 ,0"))


@pytest.mark.parametrize(
    ("id_", "name"),
    [
        ("5", "train/5.jpg"),
        ("5.jpg", "5.JPG"),
        ("Фото5.JPG", "фото5.jpg"),
        ("IMG_5", "img_5.HEIC"),
        ("2024.05.jpg", "2024.05.jpg"),
        ("2024.05", "2024.05.jpg"),
        ("5", "5"),
        ("Цветной.jpg", "Цветной.jpg"),
        ("🚗.jpg", "🚗.jpg"),
        (r"photos\5.jpg", "photos/5.jpg"),
    ],
)
def test_ids_find_their_files(tmp_path: Path, id_: str, name: str) -> None:
    lot = read_cars(tmp_path, f"{id_},0", {name: b"5"})
    assert lot.train.ids == (id_,)
    assert contents(lot.train) == [b"5"]


def test_cp866_member_names_match_a_cp1251_table(tmp_path: Path) -> None:
    packed = pack({"n" * 8: b"x"}).replace(b"n" * 8, "нива.jpg".encode("cp866"))
    lay(tmp_path, {"cars.csv": "Id;Category\nнива.jpg;Нива".encode("cp1251"), "cars.zip": packed})
    lot = open_lot(tmp_path / "cars.csv")
    assert lot.train.ids == ("нива.jpg",)
    assert contents(lot.train) == [b"x"]


def test_a_file_that_is_a_folder_is_no_file(tmp_path: Path) -> None:
    lay(tmp_path, {"cars.csv": table("1.jpg,0 3.jpg,0 2.jpg,0"), "cars/1.jpg": b"x"})
    lay(tmp_path, {"cars/2.jpg/y": b"", "cars/3.jpg": b""})
    assert checks(open_lot(tmp_path / "cars.csv")) == [("no-file", "2.jpg")]


@pytest.mark.parametrize(
    ("labels", "names", "expected"),
    [
        ("10 9 10.0 0", "", ["0", "9", "10"]),
        ("b 10 a", "", ["10", "a", "b"]),
        ("b a", "b,Вторая a,Первая", ["b", "a"]),
        ("10 9", "10,x 9,y 3,z", ["3", "9", "10"]),
        ("Нива Калина", "", ["Калина", "Нива"]),
    ],
)
def test_class_order(tmp_path: Path, labels: str, names: str, expected: list[str]) -> None:
    rows = " ".join(f"{number}.jpg,{label}" for number, label in enumerate(labels.split()))
    files = {f"{number}.jpg": b"" for number in range(9)}
    assert list(read_cars(tmp_path, rows, files, names).train.labels) == expected


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ("0,Нива", "no name for '1', which"),
        ("0,Нива 1,", "row 3: a class needs a label and a name"),
        ("0,Нива 0.0,Самара 1,x", "gives '0' two names: Нива and Самара"),
    ],
)
def test_class_names_that_do_not_serve(tmp_path: Path, names: str, words: str) -> None:
    assert words in refuse(lambda: read_cars(tmp_path, "11.jpg,0 12.jpg,1", names=names))


def test_class_table_without_known_columns(tmp_path: Path) -> None:
    lay(tmp_path, {"cars.csv": table(ROWS), "cars.zip": pack(CARS), "classes.csv": b"a,b\n1,2\n"})
    assert "no column for the label" in refuse(lambda: open_lot(tmp_path / "cars.csv"))


# --- folders -------------------------------------------------------------------------------------


def test_folder_per_class(tmp_path: Path) -> None:
    files = {f"{name}/{part}.jpg": b"" for name in ("Нива", "Калина") for part in ("1", "x/2")}
    lay(tmp_path / "cars", files)
    lay(tmp_path, {"cars.zip": pack({f"top/{name}": b"" for name in files})})
    for path in (tmp_path / "cars", tmp_path / "cars.zip"):
        lot = open_lot(path)
        assert lot.train.names == ("Калина", "Нива")
        assert [photo.label for photo in lot.train.photos] == ["Калина"] * 2 + ["Нива"] * 2
        assert lot.train.ids == ("Калина/1.jpg", "Калина/x/2.jpg", "Нива/1.jpg", "Нива/x/2.jpg")
        check_trainable(lot)


def test_folder_per_class_takes_names(tmp_path: Path) -> None:
    lay(
        tmp_path,
        {"1/a.jpg": b"", "0/b.jpg": b"", "classes.csv": table("0,Нива 1,ВАЗ", "label,name")},
    )
    lot = open_lot(tmp_path)
    assert lot.train.classes == (CarClass("0", "Нива"), CarClass("1", "ВАЗ"))
    assert lot.train.ids == ("b.jpg", "a.jpg")


TREE = {"train/a/1.jpg": b"", "train/b/2.jpg": b""}


def test_parts_with_a_folder_per_class(tmp_path: Path) -> None:
    lot = open_lot(lay(tmp_path / "1", {**TREE, "val/a/3.jpg": b"", "val/b/4.jpg": b""}))
    assert lot.train.ids == ("1.jpg", "2.jpg")
    assert [(photo.id, photo.label) for photo in lot.test.photos] == [
        ("3.jpg", "a"),
        ("4.jpg", "b"),
    ]
    assert lot.test.classes == lot.train.classes
    files = {
        **TREE,
        "valid/b/3.jpg": b"",
        "valid/a/1.jpg": b"",
        "test/8.jpg": b"",
        "test/9.jpg": b"",
    }
    lot = open_lot(lay(tmp_path / "2", files))
    assert sorted(photo.label or "" for photo in lot.train.photos) == ["a", "a", "b", "b"]
    assert len(set(lot.train.ids)) == 4
    assert [(photo.id, photo.label) for photo in lot.test.photos] == [
        ("8.jpg", None),
        ("9.jpg", None),
    ]
    zips = {"train.zip": pack(TREE), "test.zip": pack({"test/a/3.jpg": b"", "test/c/4.jpg": b""})}
    lot = open_lot(lay(tmp_path / "3", zips))
    assert [photo.label for photo in lot.test.photos] == ["a", None]


def test_plain_photos_are_to_predict(tmp_path: Path) -> None:
    lay(tmp_path, {"x/b.jpg": b"b", "x/a.png": b"a", "x/deep/c.jpg": b"c", "x/read.me": b""})
    lay(tmp_path, {"x.zip": pack({"in/b.jpg": b"b", "in/a.png": b"a", "in/c.jpg": b"c"})})
    for path in (tmp_path / "x", tmp_path / "x.zip"):
        lot = open_lot(path)
        assert lot.test.ids == ("a.png", "b.jpg", "c.jpg")
        assert contents(lot.test) == [b"a", b"b", b"c"]
        assert len(lot.train) == 0
        assert "no labelled photos" in refuse(lambda lot=lot: check_trainable(lot))
    assert open_lot(tmp_path / "x" / "b.jpg").test.ids == ("b.jpg",)


def test_unlabelled_parts_are_no_classes(tmp_path: Path) -> None:
    lot = open_lot(lay(tmp_path, {"train/1.jpg": b"", "test/2.jpg": b""}))
    assert (len(lot.train), lot.test.ids) == (0, ("2.jpg",))


def test_plain_photos_with_a_sample(tmp_path: Path) -> None:
    lay(tmp_path, {name: competition()[name] for name in ("test.zip", "sample-submission.csv")})
    assert open_lot(tmp_path).test.ids == ("2.jpg", "3.jpg", "1.jpg")
    assert open_photos([tmp_path]).ids == ("1.jpg", "2.jpg", "3.jpg")
    lay(tmp_path / "new", {"2.jpg": b"new"})
    lot = open_lot(tmp_path, test=tmp_path / "new")
    assert contents(lot.test) == [b"new"]
    assert lot.sample is not None


# --- photos to predict ---------------------------------------------------------------------------


def test_open_photos_takes_any_mixture(tmp_path: Path) -> None:
    lay(tmp_path / "data", competition())
    lay(tmp_path, {"a/1.jpg": b"a1", "a/x.jpg": b"ax", "b/1.jpg": b"b1", "odd.bin": b"o"})
    lay(tmp_path, {"in.zip": pack({"in.zip": pack({"y.jpg": b"y"}), "z.zip": pack({})})})
    paths = [tmp_path / name for name in ("data", "a", "b", "odd.bin", "in.zip", "a/x.jpg")]
    catalog = open_photos(paths)
    assert contents(catalog) == [b"1", b"2", b"3", b"a1", b"ax", b"b1", b"o", b"y"]
    assert len(set(catalog.ids)) == 8
    assert catalog.ids[3:6] == ("a/1.jpg", "x.jpg", "b/1.jpg")
    assert {photo.label for photo in catalog.photos} == {None}


def test_open_photos_of_files_of_one_name(tmp_path: Path) -> None:
    lay(tmp_path, {"a/1.jpg": b"a", "b/1.jpg": b"b"})
    catalog = open_photos([tmp_path / "a" / "1.jpg", tmp_path / "b" / "1.jpg"])
    assert contents(catalog) == [b"a", b"b"]
    assert len(set(catalog.ids)) == 2


def test_open_photos_takes_the_test_part_without_tables(tmp_path: Path) -> None:
    lay(tmp_path, {"train.zip": pack(TRAIN), "test.zip": pack(TEST)})
    assert open_photos([tmp_path]).ids == ("1.jpg", "2.jpg", "3.jpg")


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from("ab"), st.sampled_from("12")),
        min_size=1,
        unique=True,
    )
)
@settings(max_examples=40, deadline=None)
def test_ids_are_always_unique(
    tmp_path_factory: pytest.TempPathFactory, names: list[tuple[str, str, str]]
) -> None:
    folder = tmp_path_factory.mktemp("ids")
    files = {f"{'/'.join(name)}.jpg": b"" for name in names}
    sources = lay(folder, {**files, "a.zip": pack(files), "c.jpg": b""})
    catalog = open_photos([sources / "a.zip", sources / "c.jpg", sources])
    assert len(set(catalog.ids)) == len(catalog) == 2 * len(files) + 1


def test_open_photos_refuses_what_is_none(tmp_path: Path) -> None:
    lay(tmp_path, {"cars.csv": table(ROWS), "none/read.me": b""})
    assert "name a folder" in refuse(lambda: open_photos([]))
    assert "is a table" in refuse(lambda: open_photos([tmp_path / "cars.csv"]))
    assert "no photos in" in refuse(lambda: open_photos([tmp_path / "none"]))
    assert "did you mean" in refuse(lambda: open_photos([tmp_path / "nona"]))


# --- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"train.csv": b""}, "train.csv is empty"),
        ({"train.csv": b"Id,Category\n"}, "no rows"),
        ({"train.csv": b"Id,Category\n1.jpg,\0"}, "NUL"),
        ({"train.csv": b"a,b\n1,2\n"}, "no column for the id"),
        ({"train.zip": b"PK\x03\x04"}, "damaged or not a zip"),
        ({"train.zip": pack({"../1.jpg": b""})}, "leads out of the archive"),
        ({"train.zip": pack({"/1.jpg": b""})}, "leads out of the archive"),
        ({"train.zip": pack({"1.jpg": bytes(101_000_000)}, zipfile.ZIP_DEFLATED)}, "zip bomb"),
        ({"train.zip": pack({})}, "5 of 5 photos in"),
        ({"test.zip": pack({"read.me": b""})}, "no photos in"),
        ({"sample-submission.csv": table("1.jpg,0 1.jpg,0")}, "more than once: 1.jpg"),
        ({"classes.csv": table("9,x", "Category,Name")}, "no name for '10'"),
    ],
)
def test_bad_parts_are_one_clear_line(tmp_path: Path, files: Files, words: str) -> None:
    folder = lay(tmp_path / "folder", competition() | files)
    assert words in refuse(lambda: open_lot(folder))
    lay(tmp_path, {"all.zip": pack(competition() | files)})
    assert words in refuse(lambda: open_lot(tmp_path / "all.zip"))


def test_bad_paths_are_one_clear_line(tmp_path: Path) -> None:
    lay(tmp_path, {"cars.docx": b"x", "cars.rar": b"x", "cars.zip": b"", "deep.zip": b""})
    (tmp_path / "void").mkdir()
    deep = pack({"b.zip": pack({"c.zip": pack({"d.zip": pack({"1.jpg": b""})})})})
    lay(tmp_path, {"deep.zip": deep, "void.zip": pack({})})
    for name, words in [
        ("car.zip", "did you mean"),
        ("cars.docx", "no folder, zip, CSV or photo"),
        ("cars.rar", "unpack it"),
        ("cars.zip", "damaged or not a zip"),
        ("void", "is empty"),
        ("void.zip", "is empty"),
        ("deep.zip", "zip within a zip within a zip"),
    ]:
        assert words in refuse(lambda name=name: open_lot(tmp_path / name))


def test_a_table_in_a_damaged_member(tmp_path: Path) -> None:
    data = pack(competition()).replace(table(ROWS), table(ROWS).replace(b"11", b"77"))
    lay(tmp_path, {"all.zip": data})
    assert "train.csv cannot be read: damaged" in refuse(lambda: open_lot(tmp_path / "all.zip"))


@pytest.mark.parametrize(
    ("rows", "names", "words"),
    [
        ("11.jpg,0 12.jpg,0", "", "one class (0)"),
        ("11.jpg,0 12.jpg,0 gone.jpg,1", "", "without a photo (1)"),
        ("11.jpg,0 12.jpg,0", "0,Нива 1,Самара", "without a photo (1 Самара)"),
    ],
)
def test_untrainable_lots_name_the_classes(
    tmp_path: Path, rows: str, names: str, words: str
) -> None:
    lot = read_cars(tmp_path, rows, names=names)
    assert words in refuse(lambda: check_trainable(lot))


def test_one_photo_of_a_class_is_enough_to_train_on(tmp_path: Path) -> None:
    lot = read_cars(tmp_path, "11.jpg,0 12.jpg,0 21.jpg,1")
    check_trainable(lot)
    assert checks(lot) == [("no-row", "22.jpg"), ("no-row", "23.jpg")]


# --- fingerprint ---------------------------------------------------------------------------------


def test_fingerprint_is_of_content_and_not_of_order(tmp_path: Path) -> None:
    lot = open_lot(lay(tmp_path / "a", competition()))
    mark = fingerprint(lot.train)
    assert len(mark) == 64
    rows = ROWS.split()
    random.Random(3).shuffle(rows)
    shuffled = dict(sorted(TRAIN.items(), reverse=True))
    other = competition(train_csv=table(" ".join(rows)), train_zip=pack(shuffled))
    assert fingerprint(open_lot(lay(tmp_path / "b", other)).train) == mark
    lay(tmp_path, {"all.zip": pack(competition(), zipfile.ZIP_DEFLATED)})
    assert fingerprint(open_lot(tmp_path / "all.zip").train) == mark


@pytest.mark.parametrize("change", ["pixels", "label", "id", "listing", "missing"])
@pytest.mark.parametrize("packed", [True, False])
def test_fingerprint_sees_every_change(tmp_path: Path, change: str, packed: bool) -> None:
    data = b"seen" if change != "pixels" else b"other, and longer"
    lay(tmp_path / "old", {"a.jpg": b"seen", "a.zip": pack({"a.jpg": b"seen"})})
    lay(tmp_path / "new", {"a.jpg": data, "a.zip": pack({"a.jpg": data})})
    members = ("a.jpg",) if packed else ()
    name = "a.zip" if packed else "a.jpg"
    old = Photo("a.jpg", Locator(tmp_path / "old" / name, members), "4", None)
    new = replace(old, locator=Locator(tmp_path / "new" / name, members))
    if change == "label":
        new = replace(new, label="5")
    elif change == "id":
        new = replace(new, id="b.jpg")
    elif change == "listing":
        new = replace(new, listing="L1")
    elif change == "missing":
        new = replace(new, locator=None)
    assert fingerprint(Catalog((new,), ())) != fingerprint(Catalog((old,), ()))
    assert fingerprint(Catalog((old,), ())) == fingerprint(Catalog((old,), ()))


def test_lots_travel_to_worker_processes(tmp_path: Path) -> None:
    lot = open_lot(lay(tmp_path, competition()))
    assert pickle.loads(pickle.dumps(lot)) == lot


def test_a_hundred_thousand_rows(tmp_path: Path) -> None:
    rows = " ".join(f"{number}.jpg,{number % 10}" for number in range(100_000))
    words = refuse(lambda: read_cars(tmp_path, rows))
    assert "99,995 of 100,000 photos in" in words


def pack_twice(first: str, second: str, data: bytes) -> bytes:
    """Two classes of three photos in a zip, and a member more of a name that is there already."""
    stream = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(stream, "w") as archive:
        warnings.simplefilter("ignore")
        for label in ("niva", "oka"):
            for number in range(3):
                archive.writestr(f"{label}/{label}{number}.jpg", f"{label}{number}")
        archive.writestr(first, b"first")
        archive.writestr(second, data)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("niva/x.jpg", "niva/x.jpg"),
        ("niva/x.jpg", "niva//x.jpg"),
        ("niva/x.jpg", "./niva/./x.jpg"),
        ("niva/й.jpg", "niva/и\u0306.jpg"),
    ],
)
@pytest.mark.parametrize("data", [b"first", b"other"])
@pytest.mark.parametrize("depth", [0, 1])
def test_a_member_twice_is_one_photo_and_told(
    tmp_path: Path, first: str, second: str, data: bytes, depth: int
) -> None:
    packed = pack_twice(first, second, data)
    path = tmp_path / "cars.zip"
    path.write_bytes(pack({"inner.zip": packed}) if depth else packed)
    lot = open_lot(path)
    assert len(set(lot.train.ids)) == len(lot.train) == 7
    assert len({photo.locator for photo in lot.train.photos}) == 7
    # A split keeps ids alone: what they choose must be the very same photos.
    assert lot.train.select(lot.train.ids) == lot.train
    assert fingerprint(lot.train.select(lot.train.ids)) == fingerprint(lot.train)
    assert data in contents(lot.train)
    told = str(lot.reading)
    assert "twice in a zip" in told
    assert ("with different contents: the last one is read" in told) == (data == b"other")


def test_names_that_differ_in_case_alone_are_two_photos_with_two_ids(tmp_path: Path) -> None:
    path = lay(tmp_path, {"cars.zip": pack({"a/1.jpg": b"1", "a/1.JPG": b"2", "b/1.Jpg": b"3"})})
    lot = open_lot(path / "cars.zip")
    assert sorted(contents(lot.train)) == [b"1", b"2", b"3"]
    assert len(set(lot.train.ids)) == 3


@given(
    st.lists(st.tuples(st.text("a!/.( )2", min_size=1, max_size=6), st.sampled_from("xyz"))),
    st.lists(st.text("a!/.( )2", max_size=4), max_size=3),
)
def test_ids_are_unique_whatever_files_are_called(
    named: list[tuple[str, str]], taken: list[str]
) -> None:
    files = [
        File(name, Locator(Path(top), (name,)), is_photo=True) for name, top in dict.fromkeys(named)
    ]
    paths = {file.locator: f"{file.locator.file}/{file.name}" for file in files}
    for given_paths in ({}, paths):
        ids = make_ids(files, taken, given_paths)
        assert len(ids) == len(files)
        assert len({*ids, *taken}) == len(ids) + len(set(taken))
