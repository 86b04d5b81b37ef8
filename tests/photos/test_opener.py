"""opener: each layout that people have gives the same lot as folder and as zip, and is told."""

from __future__ import annotations

import io
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from lotlens.errors import InputError
from lotlens.photos.labels import LabelRules
from lotlens.photos.sources import check_trainable, open_lot, open_unlabelled
from lotlens.records import Lot
from lotlens.report.language import load_language

Files = dict[str, bytes]


def draw(kind: str = "JPEG", seed: int = 0) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (8, 12, 3), np.uint8)
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def photos(*folders: str, count: int = 2) -> Files:
    """So many photos in each folder, no two alike."""
    return {
        f"{folder}/{number}.jpg": f"{folder}/{number}".encode()
        for folder in folders
        for number in range(count)
    }


def table(header: str, *rows: str) -> bytes:
    return "\n".join([header, *rows]).encode()


def make(folder: Path, files: Files) -> Path:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


@pytest.fixture
def open_both(tmp_path: Path) -> Callable[..., Lot]:
    """The lot of some files, which must be the same whether they lie in a folder or in a zip."""

    def open_both(files: Files, rules: LabelRules | None = None) -> Lot:
        folder, packed = tmp_path / "lot", tmp_path / "lot.zip"
        shutil.rmtree(folder, ignore_errors=True)
        make(folder, files)
        with zipfile.ZipFile(packed, "w") as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        lots = [open_lot(path, rules=rules or LabelRules()) for path in (folder, packed)]
        one, other = (
            [(p.id, p.label, part) for part in ("train", "test") for p in getattr(lot, part).photos]
            for lot in lots
        )
        assert one == other
        told = [
            str(lot.reading).replace(str(packed), "LOT").replace("LOT!", "LOT/") for lot in lots
        ]
        assert told[0].replace(str(folder), "LOT") == told[1]
        assert [f.check for f in lots[0].findings] == [f.check for f in lots[1].findings]
        return lots[0]

    return open_both


def count(lot: Lot) -> dict[str, tuple[int, int]]:
    """Class label -> photos in train and in test."""
    return {
        label: (
            sum(photo.label == label for photo in lot.train.photos),
            sum(photo.label == label for photo in lot.test.photos),
        )
        for label in lot.train.labels
    }


def checks(lot: Lot) -> list[str]:
    return sorted({finding.check for finding in lot.findings})


def refuse(lot: Lot) -> str:
    with pytest.raises(InputError) as caught:
        check_trainable(lot)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- parts ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("train", "test"),
        ("Training", "Testing"),
        ("seg_train", "seg_test"),
        ("training_set", "test_set"),
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("cars/train", "cars/test"),
        ("TrainImages", "TestImages"),
        ("train", "val"),
    ],
)
def test_parts_with_a_folder_per_class(
    open_both: Callable[..., Lot], train: str, test: str
) -> None:
    files = {**photos(f"{train}/A", f"{train}/B", count=3), **photos(f"{test}/A", f"{test}/B")}
    lot = open_both(files)
    assert count(lot) == {"A": (3, 2), "B": (3, 2)}
    assert lot.reading.form == "a folder per class, in parts"
    parts = {
        part: (where.endswith(name), num)
        for (part, where, num), name in zip(lot.reading.parts, (train, test), strict=True)
    }
    assert parts == {"train": (True, 6), "test": (True, 4)}
    assert lot.reading.classes == {"A": 3, "B": 3}
    check_trainable(lot)


def test_validation_joins_training_where_there_is_a_test_part(
    open_both: Callable[..., Lot],
) -> None:
    lot = open_both(photos("train/A", "train/B", "valid/A", "valid/B", "test/A", "test/B"))
    assert count(lot) == {"A": (4, 2), "B": (4, 2)}
    (note,) = lot.reading.notes
    assert note.endswith("valid joins training: lotlens draws its own validation")


def test_a_test_photo_of_an_unknown_class_is_told(open_both: Callable[..., Lot]) -> None:
    lot = open_both(photos("train/A", "train/B", "test/A", "test/C"))
    assert count(lot) == {"A": (2, 2), "B": (2, 0)}
    assert [photo.label for photo in lot.test.photos] == ["A", "A", None, None]
    assert checks(lot) == ["unknown-class"]
    assert lot.findings[0].part == "test"


def test_parts_within_each_class(open_both: Callable[..., Lot]) -> None:
    files = photos(*(f"{car}/{part}" for car in "AB" for part in ("train", "val", "test")))
    lot = open_both(files)
    assert count(lot) == {"A": (4, 2), "B": (4, 2)}


def test_folds_are_joined_and_that_is_said(open_both: Callable[..., Lot]) -> None:
    lot = open_both(photos(*(f"fold{n}/{car}" for n in range(3) for car in "AB")))
    assert count(lot) == {"A": (6, 0), "B": (6, 0)}
    assert "folds" in lot.reading.form
    assert "--set folds=3" in lot.reading.notes[0]


def test_folders_of_the_same_folders_are_asked_about(tmp_path: Path) -> None:
    for name, data in photos(
        *(f"{part}/{car}" for part in ("day1", "day2") for car in "AB")
    ).items():
        path = tmp_path / "lot" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    with pytest.raises(InputError, match=r"the folders day1, day2 hold .* rename them to train"):
        open_lot(tmp_path / "lot")
    assert count(open_lot(tmp_path / "lot" / "day1")) == {"A": (2, 0), "B": (2, 0)}


def test_a_class_may_be_called_train(open_both: Callable[..., Lot]) -> None:
    assert list(count(open_both(photos("train", "bus", "car")))) == ["bus", "car", "train"]


def test_parts_without_classes_are_no_classes(open_both: Callable[..., Lot]) -> None:
    lot = open_both({**photos("images/train", "images/val"), "labels/train/0.txt": b"0 1 1 1"})
    assert (len(lot.train), len(lot.test)) == (0, 4)
    assert "its folders are parts by their names, and no classes lie in them" in refuse(lot)


def test_several_folders_that_could_be_one_part(tmp_path: Path) -> None:
    make(tmp_path, photos("train_a/A", "train_a/B", "train_b/A", "train_b/B"))
    with pytest.raises(InputError, match=r"several could be the train part \(train_a, train_b\)"):
        open_lot(tmp_path)


# --- tables --------------------------------------------------------------------------------------


def test_parts_with_the_same_file_names(open_both: Callable[..., Lot]) -> None:
    rows = [f"{number}.jpg,{number % 2}" for number in range(4)]
    files = {
        **photos("train_images", count=4),
        **photos("test_images", count=3),
        "train.csv": table("Id,Category", *rows),
        "sample_submission.csv": table("Id,Category", "0.jpg,0", "2.jpg,0", "1.jpg,0"),
    }
    lot = open_both(files)
    assert {photo.locator for photo in lot.train.photos} & {
        p.locator for p in lot.test.photos
    } == set()
    assert lot.test.ids == ("0.jpg", "2.jpg", "1.jpg")
    assert (len(lot.train), lot.findings) == (4, ())
    lot = open_both(
        {name: data for name, data in files.items() if "train_" not in name}
        | {f"pictures/{number}.jpg": b"%d" % number for number in range(4)}
    )
    assert [str(photo.locator).rpartition("pictures")[1] for photo in lot.train.photos] == [
        "pictures"
    ] * 4


def test_rows_of_photos_in_the_test_part_are_not_learnt(open_both: Callable[..., Lot]) -> None:
    files = {
        **photos("train", count=4),
        "test/8.jpg": b"8",
        "test/9.jpg": b"9",
        "labels.csv": table("file,label", *(f"{n}.jpg,{n % 2}" for n in (0, 1, 2, 3, 8))),
    }
    lot = open_both(files)
    assert lot.train.ids == ("0.jpg", "1.jpg", "2.jpg", "3.jpg")
    assert [(photo.id, photo.label) for photo in lot.test.photos] == [
        ("8.jpg", "0"),
        ("9.jpg", None),
    ]
    assert "1 rows of the table are of photos in the test part: not learnt" in lot.reading.notes


@pytest.mark.parametrize(
    ("header", "values"),
    [
        ("split", ["train", "train", "valid", "test"]),
        ("Subset", ["TRAIN", "Training", "val", "Testing"]),
        ("is_test", ["0", "0", "0", "1"]),
        ("is_train", ["True", "True", "True", "False"]),
        ("is_valid", ["False", "False", "False", "True"]),
    ],
)
def test_a_column_of_parts_is_followed_and_said(
    open_both: Callable[..., Lot], header: str, values: list[str]
) -> None:
    rows = [f"{n}.jpg,{n % 2},{values[n // 2]}" for n in range(8)]
    lot = open_both({**photos("images", count=8), "cars.csv": table(f"id,label,{header}", *rows)})
    assert count(lot) == {"0": (3, 1), "1": (3, 1)}
    assert f"column {header} of cars.csv says which part a row is of" in str(lot.reading)


def test_is_valid_and_is_test_are_followed_together(open_both: Callable[..., Lot]) -> None:
    rows = [f"{n}.jpg,{n % 2},{int(n in (2, 3))},{int(n > 5)}" for n in range(8)]
    data = table("id,label,is_valid,is_test", *rows)
    lot = open_both({**photos("images", count=8), "cars.csv": data})
    assert count(lot) == {"0": (3, 1), "1": (3, 1)}


def test_a_test_row_needs_no_label(open_both: Callable[..., Lot]) -> None:
    data = table("id,label,split", "0.jpg,0,train", "1.jpg,1,train", "2.jpg,,test", "3.jpg,?,test")
    lot = open_both({**photos("images", count=4), "cars.csv": data})
    assert [photo.label for photo in lot.test.photos] == [None, None]
    assert lot.findings == ()


def test_a_column_that_names_no_parts_is_no_split(open_both: Callable[..., Lot]) -> None:
    for header, values in (("part", ["bumper", "door"]), ("fold", ["0", "1"])):
        rows = [f"{n}.jpg,{n % 2},{values[n // 2]}" for n in range(4)]
        data = table(f"id,label,{header}", *rows)
        lot = open_both({**photos("images", count=4), "cars.csv": data})
        assert len(lot.train) == 4
        assert f"column {header} of cars.csv names no parts" in lot.reading.notes[0]


def test_a_column_of_parts_with_gaps_is_refused(tmp_path: Path) -> None:
    data = table("id,label,split", "0.jpg,0,train", "1.jpg,1,", "2.jpg,1,later")
    make(tmp_path, {"cars.csv": data, **photos("images", count=3)})
    with pytest.raises(InputError, match=r"column split .* others '', 'later': write train"):
        open_lot(tmp_path)


@pytest.mark.parametrize(
    ("header", "rows", "names", "first", "second"),
    [
        (
            *("filename,class,model", ["new,Niva", "new,Oka", "sold,Niva"], "class, model"),
            *("row 2 has class 'new' and model 'Niva'", "row 3 has class 'new' and model 'Oka'"),
        ),
        (
            *("filename,label,model", ["Niva,1", "Oka,1", "Oka,2"], "label, model"),
            *("row 3 has label 'Oka' and model '1'", "row 4 has label 'Oka' and model '2'"),
        ),
        (
            *("filename,class,label", ["a,Niva", "b,Niva", "c,Oka"], "label, class"),
            *("row 2 has label 'Niva' and class 'a'", "row 3 has label 'Niva' and class 'b'"),
        ),
        (
            *("filename,Label,label", ["Niva,a", "Oka,a", "Oka,b"], "Label, label"),
            *("row 3 has Label 'Oka' and label 'a'", "row 4 has Label 'Oka' and label 'b'"),
        ),
        # The first column is empty where the other has names.
        (
            *("filename,label,model", ["?,Niva", "-,Oka", ",Oka"], "label, model"),
            *("row 2 has label '?' and model 'Niva'", "row 3 has label '-' and model 'Oka'"),
        ),
        (
            *(
                "filename,category,label,model",
                ["0,Niva,x", "1,Oka,x", "1,Oka,y"],
            ),
            "category, label, model",
            *("row 3 has category '1' and model 'x'", "row 4 has category '1' and model 'y'"),
        ),
    ],
)
@pytest.mark.parametrize("name", ["cars.csv", "train.csv"])
def test_two_labels_that_differ_are_not_chosen_between(
    tmp_path: Path, name: str, header: str, rows: list[str], names: str, first: str, second: str
) -> None:
    data = table(header, *(f"{number}.jpg,{row}" for number, row in enumerate(rows)))
    make(tmp_path, {name: data, **photos("train", count=3)})
    for source in (tmp_path, tmp_path / name):
        with pytest.raises(InputError) as caught:
            open_lot(source)
        words = str(caught.value)
        assert f"several columns that may be the label ({names})" in words
        assert f": {first}, {second}. Keep the one to learn" in words
        own = load_language("ru").reword(words)
        assert own is not None
        assert f"({names})" in own


@pytest.mark.parametrize(
    ("header", "rows", "label", "other"),
    [
        ("filename,category,model", ["0,Niva", "1,Oka", "0, Niva "], "category", "model"),
        ("filename,category,model", ["0,Niva", "1,Oka", "0,niva"], "category", "model"),
        ("filename,Label,Class", ["Niva,a", "Oka,b", "Niva,a"], "Label", "Class"),
        ("filename,label,label", ["Niva,Niva", "Oka,Oka", "Niva,Niva"], "label", "label"),
        ("filename,label,model", ["Niva,4", "Oka,5", "Niva,4.0"], "label", "model"),
        # What says that there is no label says the same in any word.
        ("filename,category,model", ["0,Niva", "1,Oka", "?,nan"], "category", "model"),
    ],
)
def test_two_columns_for_the_same_classes_are_one_label_and_that_is_said(
    open_both: Callable[..., Lot], header: str, rows: list[str], label: str, other: str
) -> None:
    data = table(header, *(f"{number}.jpg,{row}" for number, row in enumerate(rows)))
    lot = open_both({"cars.csv": data, **photos("images", count=3)})
    assert lot.train.labels == tuple(dict.fromkeys(row.split(",")[0] for row in rows[:2]))
    note = f"column {label} of cars.csv is the label; {other} tells the same classes apart"
    assert lot.reading.notes == (note,)
    assert load_language("ru").reword(note) is not None


def test_an_empty_column_is_no_second_label(open_both: Callable[..., Lot]) -> None:
    data = table("filename,label,model", "0.jpg,Niva,", "1.jpg,Oka,nan", "2.jpg,Niva,?")
    lot = open_both({"cars.csv": data, **photos("images", count=3)})
    assert count(lot) == {"Niva": (2, 0), "Oka": (1, 0)}
    assert lot.reading.notes == ()


def test_words_for_no_label_are_counted(open_both: Callable[..., Lot]) -> None:
    words = ["nan", "NaN", "?", "", "-1"]
    rows = [f"{n}.jpg,{'AB'[n % 2]}" for n in range(4)]
    rows += [f"{n}.jpg,{word}" for n, word in enumerate(words, start=4)]
    files = {**photos("images", count=9), "cars.csv": table("id,label", *rows)}
    lot = open_both(files)
    assert count(lot) == {"A": (2, 0), "B": (2, 0)}
    assert lot.reading.num_unlabelled == dict.fromkeys(words, 1)
    assert "5 left out (nan 1, NaN 1, ? 1, empty 1, -1 1)" in str(lot.reading)
    assert checks(lot) == ["no-label"]
    lot = open_both(files, LabelRules.of({"keep": ["nan"]}))
    assert list(count(lot)) == ["A", "B", "NaN", "nan"]


def test_a_class_that_classes_csv_names_is_one(open_both: Callable[..., Lot]) -> None:
    files = {
        **photos("images", count=4),
        "cars.csv": table("id,label", "0.jpg,unknown", "1.jpg,A", "2.jpg,A", "3.jpg,a"),
        "classes.csv": table("label,name", "unknown,Other", "A,Audi", "a,Alfa"),
    }
    lot = open_both(files)
    assert lot.train.labels == ("unknown", "A", "a")
    assert lot.findings == ()


def test_a_folder_called_unknown_is_no_class(open_both: Callable[..., Lot]) -> None:
    files = photos("A", "B", "unknown")
    lot = open_both(files)
    assert list(count(lot)) == ["A", "B"]
    assert lot.reading.num_unlabelled == {"unknown": 2}
    assert len(lot.findings) == 2
    assert list(count(open_both(files, LabelRules.of({"keep": ["unknown"]})))) == [
        "A",
        "B",
        "unknown",
    ]


@pytest.mark.parametrize("by_folder", [False, True])
def test_two_spellings_are_asked_about_and_folded_on_request(
    open_both: Callable[..., Lot], by_folder: bool
) -> None:
    names = ["Niva", "Niva", "niva", "Kalina", "Kalina\u00a02", "Kalina  2"]
    if by_folder:
        files = {f"{name}/{n}.jpg": b"%d" % n for n, name in enumerate(names)}
    else:
        rows = [f"{n}.jpg,{name}" for n, name in enumerate(names)]
        files = {**photos("images", count=6), "cars.csv": table("id,label", *rows)}
    lot = open_both(files)
    assert count(lot) == {"Kalina": (1, 0), "Kalina 2": (2, 0), "Niva": (2, 0), "niva": (1, 0)}
    assert any("'Kalina 2'" in note and "one class" in note for note in lot.reading.notes)
    words = refuse(lot)
    assert "'Niva' (2 photos), 'niva' (1 photo) look like one class spelt in 2 ways" in words
    assert "labels.fold=true" in words
    folded = open_both(files, LabelRules(fold=True))
    assert count(folded) == {"Kalina": (1, 0), "Kalina 2": (2, 0), "Niva": (3, 0)}
    assert "'niva' counts as 'Niva', as labels.fold says" in folded.reading.notes
    check_trainable(folded)
    check_trainable(open_both(files, LabelRules(fold=False)))


def test_a_table_without_a_header_beside_class_folders(open_both: Callable[..., Lot]) -> None:
    files = {**photos("train/A", "train/B"), "anno.csv": table("0.jpg,3,9,A", "1.jpg,2,8,B")}
    lot = open_both(files)
    assert count(lot) == {"A": (2, 0), "B": (2, 0)}
    assert lot.reading.notes[0].startswith("anno.csv is not used: its first line (0.jpg, 3, 9, A)")
    files = {**photos("images"), "anno.csv": table("0.jpg,3,9,A", "1.jpg,2,8,B")}
    with pytest.raises(InputError, match=r"looks like a row: add a line above it"):
        open_both(files)


@pytest.mark.parametrize("line", ["sep=", "sep=,", '"sep=,"', "sep=;"])
def test_excels_line_is_no_header(open_both: Callable[..., Lot], line: str) -> None:
    between = ";" if ";" in line else ","
    rows = [f"{n}.jpg{between}{n % 2}" for n in range(4)]
    data = table(line, f"Id{between}Category", *rows)
    assert len(open_both({**photos("images", count=4), "cars.csv": data}).train) == 4


@pytest.mark.parametrize(
    "write", ["{:05d}.jpg", "{:05d}", "{}", "{}.0", "{:05d}.JPG", "{:05d}.jpeg", "test/{:05d}.jpg"]
)
def test_ids_in_any_form_find_their_files(open_both: Callable[..., Lot], write: str) -> None:
    rows = [f"{write.format(n)},{n % 2}" for n in range(1, 13)]
    files = {f"train/{n:05d}.jpg": b"%d" % n for n in range(1, 13)}
    lot = open_both({**files, "train.csv": table("Id,Category", *rows)})
    if "/" in write:
        return
    assert [str(p.locator)[-9:] for p in lot.train.photos] == [f"{n:05d}.jpg" for n in range(1, 13)]
    assert lot.findings == ()


def test_a_number_that_two_files_could_be_is_not_learnt(open_both: Callable[..., Lot]) -> None:
    files = {"train/007.jpg": b"a", "train/07.jpg": b"b", "train/8.jpg": b"c"}
    lot = open_both({**files, "train.csv": table("Id,Category", "7,0", "8,1")})
    assert checks(lot) == ["ambiguous-file"]
    assert "007.jpg" in refuse(lot)


# --- class folders -------------------------------------------------------------------------------


def test_make_and_model(open_both: Callable[..., Lot]) -> None:
    lot = open_both(photos("Hyundai/Sonata", "Hyundai/Azera", "Ford/Focus"))
    assert list(count(lot)) == ["Azera", "Focus", "Sonata"]
    assert "Ford/Focus is 'Focus'" in str(lot.reading)


def test_a_stray_photo_beside_class_folders(open_both: Callable[..., Lot]) -> None:
    lot = open_both({"cover.jpg": b"c", **photos("A", "B")})
    assert len(lot.train) == 0
    assert "a photo lies beside the folders of photos (cover.jpg)" in refuse(lot)


def test_a_single_class(open_both: Callable[..., Lot]) -> None:
    assert "all its photos lie in one folder (A)" in refuse(open_both(photos("A")))


# --- files ---------------------------------------------------------------------------------------


def test_a_photo_is_what_its_bytes_say(open_both: Callable[..., Lot]) -> None:
    names = {"A/1": "JPEG", "A/2.jpg_large": "JPEG", "A/3.svg": "PNG", "B/4.dat": "WEBP"}
    names |= {"B/5.ppm": "PPM", "B/6": "JPEG2000", "B/7.2012": "TIFF", "B/8.tga": "TGA"}
    files = {name: draw(kind, seed) for seed, (name, kind) in enumerate(names.items())}
    files |= {"A/notes.txt": b"P5 is a racing car", "B/real.svg": b"<svg></svg>", "B/none": b""}
    lot = open_both(files)
    assert count(lot) == {"A": (3, 0), "B": (5, 0)}
    assert [(one.kind, one.count) for one in lot.reading.passed_over] == [
        (".svg", 1),
        (".txt", 1),
        ("without an ending", 1),
    ]


def test_system_files_are_passed_over_and_counted(open_both: Callable[..., Lot]) -> None:
    files = {
        **photos("A", "B"),
        "A/@eaDir/0.jpg/THUMB.jpg": draw(),
        "A/@eaDir/1.jpg/THUMB.jpg": draw(),
        "A/.thumbnails/0.jpg": draw(),
        "B/Thumbs.db": b"x",
        "B/._0.jpg": b"x",
        "__MACOSX/A/._0.jpg": b"x",
        "#recycle/0.jpg": draw(),
    }
    lot = open_both(files)
    assert count(lot) == {"A": (2, 0), "B": (2, 0)}
    hidden = {one.kind: one.count for one in lot.reading.passed_over}
    assert hidden == {"@eaDir/": 2, ".thumbnails/": 1, "Thumbs.db": 1, "._*": 1, "__MACOSX/": 1} | {
        "#recycle/": 1
    }


def test_photos_in_no_part_are_told(open_both: Callable[..., Lot]) -> None:
    lot = open_both(photos("train/A", "train/B", "extra/A", "extra/C"))
    assert count(lot) == {"A": (2, 0), "B": (2, 0)}
    (passed,) = lot.reading.passed_over
    assert (passed.reason, passed.kind, passed.count) == ("photos that are in no part", "extra/", 4)


def test_linked_class_folders_are_followed_and_rings_are_not(tmp_path: Path) -> None:
    lot_path = make(tmp_path / "lot", photos("A", "B"))
    make(tmp_path / "elsewhere", photos("C"))
    (lot_path / "C").symlink_to("../elsewhere/C")
    (lot_path / "A" / "ring").symlink_to("..")
    (lot_path / "A" / "above").symlink_to("/")
    (lot_path / "D").symlink_to("B")
    (lot_path / "gone").symlink_to("nowhere")
    (tmp_path / "elsewhere" / "C" / "back").symlink_to(lot_path)
    lot = open_lot(lot_path)
    assert count(lot) == {"A": (2, 0), "B": (2, 0), "C": (2, 0)}
    followed = [link.rpartition(": ")[2] == "followed" for link in lot.reading.links]
    assert sum(followed) == 1
    assert lot.reading.links[followed.index(True)] == "C leads to ../elsewhere/C: followed"
    assert len(followed) == 5
    assert [(one.kind, one.count) for one in lot.reading.passed_over] == [("links to nowhere", 1)]


def test_a_lot_that_is_a_link_itself(tmp_path: Path) -> None:
    make(tmp_path / "lot", photos("A", "B"))
    (tmp_path / "link").symlink_to("lot")
    assert count(open_lot(tmp_path / "link")) == {"A": (2, 0), "B": (2, 0)}


NAMES = st.lists(
    st.sampled_from(
        ["A", "B", "train", "test", "x", "@eaDir", ".git", "1.jpg", "2.png", "3", "t.csv"]
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=150, deadline=None)
@given(st.lists(NAMES, min_size=1, max_size=8), st.booleans())
def test_no_file_is_without_a_row_or_a_count(
    tmp_path_factory: pytest.TempPathFactory, names: list[list[str]], by_prediction: bool
) -> None:
    folder = tmp_path_factory.mktemp("lot")
    num_files = 0
    for parts in names:
        path = folder.joinpath(*parts)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as file:
                file.write(
                    draw(seed=num_files) if parts[-1] == "3" else b"id,label\n%d,A" % num_files
                )
        except OSError:
            continue
        num_files += 1
    try:
        lot = open_unlabelled([folder]) if by_prediction else open_lot(folder)
    except InputError:
        return
    rows = {p.locator for part in (lot.train, lot.test) for p in part.photos if p.locator}
    told = [finding for finding in lot.findings if finding.check in ("no-row", "no-label")]
    passed = sum(one.count for one in lot.reading.passed_over)
    listed = sum(len(files) for _, _, files in os.walk(folder))
    # A table that was read is neither a row nor passed over.
    num_tables = sum(path.name == "t.csv" and path.is_file() for path in folder.rglob("*"))
    assert listed - num_tables <= len(rows) + len(told) + passed <= listed


def test_a_wrapper_with_papers_beside_it_is_entered(open_both: Callable[..., Lot]) -> None:
    lot = open_both({**photos("cars/A", "cars/B"), "README.txt": b"x", "doc/licence.pdf": b"x"})
    assert count(lot) == {"A": (2, 0), "B": (2, 0)}
    assert lot.reading.notes == ()


def test_a_table_in_a_folder_is_named(open_both: Callable[..., Lot]) -> None:
    data = table("id,label", "0.jpg,a", "1.jpg,b")
    lot = open_both({**photos("data/images"), "data/labels/cars.csv": data})
    assert "tables in its folders are not looked for (labels/cars.csv): name it" in refuse(lot)


def test_tables_beside_the_one_that_is_read_are_told(open_both: Callable[..., Lot]) -> None:
    data = table("id,label", "0.jpg,a", "1.jpg,b")
    lot = open_both({**photos("images"), "train.csv": data, "val.csv": data})
    assert [(one.reason, one.count) for one in lot.reading.passed_over] == [("tables not used", 1)]


def test_a_table_of_a_test_part_alone_keeps_its_labels(open_both: Callable[..., Lot]) -> None:
    data = table("id,label,split", "0.jpg,A,test", "1.jpg,B,test")
    lot = open_both({**photos("images"), "answers.csv": data})
    assert (len(lot.train), [photo.label for photo in lot.test.photos]) == (0, ["A", "B"])
    assert lot.findings == ()


def test_a_photo_that_lies_elsewhere_is_counted_though_its_row_is_told(
    open_both: Callable[..., Lot],
) -> None:
    rows = [f"{n}.jpg,{'AB'[n % 2]}" for n in range(5)]
    files = {**photos("train", count=4), "extra/4.jpg": b"4", "extra/7.jpg": b"7"}
    lot = open_both({**files, "train.csv": table("Id,Category", *rows, "9,")})
    assert checks(lot) == ["no-file", "no-label"]
    (passed,) = lot.reading.passed_over
    assert (passed.kind, passed.count) == ("extra/", 2)


# --- what newcomers tried ------------------------------------------------------------------------

PARTS = {**photos("train", count=6), **photos("test", count=3)}


def test_a_path_that_names_the_part_decides(open_both: Callable[..., Lot], tmp_path: Path) -> None:
    rows = [f"train/{n}.jpg,{'ab'[n % 2]}" for n in range(6)]
    rows += [f"test/{n}.jpg,{'ab'[n % 2]}" for n in range(3)]
    lot = open_both({**PARTS, "labels.csv": table("path,label", *rows)})
    for one in (lot, open_lot(tmp_path / "lot" / "labels.csv")):
        assert (len(one.train), len(one.test), one.findings) == (6, 3, ())
        learnt = {str(photo.locator).split("/")[-2] for photo in one.train.photos}
        assert learnt == {"train"}
        assert [photo.label for photo in one.test.photos] == ["a", "b", "a"]


@pytest.mark.parametrize("folder", ["", "images/"])
def test_parts_are_known_wherever_they_lie(
    open_both: Callable[..., Lot], tmp_path: Path, folder: str
) -> None:
    files = {f"{folder}train/{n}.jpg": b"%d" % n for n in range(6)}
    files |= {f"{folder}test/{n}.jpg": b"%d" % n for n in range(6, 9)}
    rows = [f"{n}.jpg,{'ab'[n % 2]}" for n in range(9)]
    lot = open_both({**files, "labels.csv": table("id,label", *rows)})
    for one in (lot, open_lot(tmp_path / "lot" / "labels.csv", photos=None)):
        assert (len(one.train), len(one.test)) == (6, 3)
        assert "3 rows of the table are of photos in the test part: not learnt" in one.reading.notes


def test_a_table_may_call_the_folder_otherwise(open_both: Callable[..., Lot]) -> None:
    rows = [f"images/{n}.jpg,{'ab'[n % 2]}" for n in range(6)]
    lot = open_both({**photos("train", count=6), "train.csv": table("path,label", *rows)})
    assert (len(lot.train.with_files()), lot.findings) == (6, ())


@pytest.mark.parametrize("name", ["test", "Testing", "тест"])
def test_a_test_folder_beside_class_folders(open_both: Callable[..., Lot], name: str) -> None:
    lot = open_both(photos("niva", "kalina", name))
    assert count(lot) == {"kalina": (2, 0), "niva": (2, 0)}
    assert len(lot.test) == 2
    lot = open_both(photos("niva", "kalina", f"{name}/niva", f"{name}/oka"))
    assert count(lot) == {"kalina": (2, 0), "niva": (2, 2)}
    assert checks(lot) == ["unknown-class"]


def test_parts_within_some_classes(open_both: Callable[..., Lot]) -> None:
    lot = open_both(photos("niva/train", "niva/test", "kalina"))
    assert count(lot) == {"kalina": (2, 0), "niva": (2, 2)}
    lot = open_both(photos("niva", "niva/test", "kalina", "kalina/test"))
    assert count(lot) == {"kalina": (2, 2), "niva": (2, 2)}
    lot = open_both(photos("A/train", "A/val", "B/train", "B/val"))
    assert count(lot) == {"A": (2, 2), "B": (2, 2)}
    assert "validation is taken for the test part: lotlens draws its own" in lot.reading.notes


def test_photos_of_a_part_in_no_folder_hide_no_class(open_both: Callable[..., Lot]) -> None:
    lot = open_both(photos("train/A", "train/B", "val", "test/A"))
    assert count(lot) == {"A": (2, 2), "B": (2, 0)}
    assert checks(lot) == ["no-label"]
    assert len(lot.findings) == 2
    assert lot.reading.passed_over == ()


def test_test_photos_are_named_as_training_names_them(open_both: Callable[..., Lot]) -> None:
    files = photos("train/Ford/other", "train/Ford/Focus", "train/Kia/Rio")
    lot = open_both({**files, **photos("test/Ford/other/front", "test/Kia/other", "test/Rio")})
    assert count(lot) == {"Focus": (2, 0), "Rio": (2, 2), "other": (2, 2)}
    assert [one.sentence.split(",")[0] for one in lot.findings] == ["It is labelled Kia/other"] * 2


def test_two_rows_of_one_file(open_both: Callable[..., Lot]) -> None:
    files = photos("images", count=4)
    data = table("id,label", "0,a", "0.jpg,b", "1,a", "1.jpg,a", "2,b", "3,b")
    lot = open_both({**files, "cars.csv": data})
    assert lot.train.ids == ("1", "2", "3")
    assert sorted((one.check, one.photo_id) for one in lot.findings) == [
        ("duplicate-row", "1.jpg"),
        ("label-conflict", "0"),
        ("label-conflict", "0.jpg"),
    ]
    data = table("id,label,split", "0,a,train", "0.jpg,a,test", "1,b,train", "2,a,train")
    with pytest.raises(InputError, match=r"0 and 0\.jpg mean one file, .*0\.jpg, and are in two"):
        open_both({**files, "cars.csv": data})


def test_notes_of_a_photo_do_not_compete_with_it(open_both: Callable[..., Lot]) -> None:
    files = {f"images/{n:04d}{end}": b"%d" % n for n in range(4) for end in (".jpg", ".txt")}
    rows = [f"{n},{'ab'[n % 2]}" for n in range(4)]
    lot = open_both({**files, "cars.csv": table("id,label", *rows)})
    assert (len(lot.train), lot.findings) == (4, ())


def test_a_zip_beside_the_folder_of_its_name_is_told(open_both: Callable[..., Lot]) -> None:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in photos("A", "B").items():
            archive.writestr(name, data)
    lot = open_both({"train.zip": stream.getvalue(), **photos("train/A", "train/B")})
    assert count(lot) == {"A": (2, 0), "B": (2, 0)}
    assert "train.zip is read, and not train beside it" in lot.reading.notes


def test_why_there_is_nothing_to_train_on(open_both: Callable[..., Lot]) -> None:
    data = table("id,label", "0.jpg,nan", "1.jpg,")
    lot = open_both({**photos("images"), "cars.csv": data})
    assert "no row of cars.csv has a label ('nan', empty)" in refuse(lot)


def test_a_path_may_be_text(tmp_path: Path) -> None:
    make(tmp_path / "lot", photos("A", "B"))
    assert len(open_lot(str(tmp_path / "lot")).train) == 4  # type: ignore[arg-type]
    assert len(open_unlabelled([str(tmp_path / "lot")]).test) == 4  # type: ignore[list-item]
