"""Recognises what people have (competition zip, CSV with photos, folders) and makes catalogs of it.

It knows names, labels and where bytes lie; it never decodes a photo and never unpacks an archive.
"""

from __future__ import annotations

import hashlib
import json
import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path
from typing import NamedTuple

from lotlens.errors import InputError, UnreadablePhoto
from lotlens.photos.archives import PhotoReader, is_hidden
from lotlens.photos.places import (
    File,
    Place,
    descend,
    find_holder,
    find_part,
    gather_photos,
    is_archive,
    is_photo_name,
    open_place,
    require_path,
    restore_name,
)
from lotlens.photos.tables import (
    CLASS_COLUMNS,
    ID_COLUMNS,
    LABEL_COLUMNS,
    LISTING_COLUMNS,
    NAME_COLUMNS,
    PATH_COLUMNS,
    Table,
    list_some,
    read_sample,
    read_table,
    require_columns,
    tidy_label,
)
from lotlens.records import CarClass, Catalog, Finding, Locator, Lot, Photo

_TABLE_SUFFIXES = (".csv", ".tsv", ".txt")
_TRAIN_TABLE = ("train.csv",)
_CLASS_TABLE = ("classes.csv",)
_SAMPLE_TABLE = ("sample-submission.csv", "sample_submission.csv", "samplesubmission.csv")
_TRAIN_PART = ("train", "training")
_TEST_PART = ("test", "test_upload", "test-upload")
_VALIDATION_PART = ("val", "valid", "validation")
_SAMPLE_NAME = "the sample submission"

_EMPTY = Catalog((), ())
_NO_EXTRA: Mapping[str, str] = {}

_Sample = tuple[tuple[tuple[str, str], ...] | None, tuple[str, str]]


def open_lot(data: Path, *, test: Path | None = None, photos: Path | None = None) -> Lot:
    """Reads whatever people have as a lot of labelled photos and photos to predict.

    Recognised, in this order:

    1. the competition's layout in a zip or a folder, at any depth: train.csv with train.zip or
       train/, and optionally test.zip, test/ or test_upload/, sample-submission.csv, classes.csv;
    2. a CSV (given itself, or the only one in the folder) with photos in a zip or folder of the
       same name, in the only zip or folder beside it, in `photos`, or at paths relative to it;
    3. train and test (or val) parts, each a folder or zip with a folder per class; if there are
       both test and val, val joins train, since lotlens draws its own validation part;
    4. a folder per class: two or more folders of photos and no photos beside them;
    5. a plain folder or zip of photos, or one photo: all of them are test.

    Labels come from the CSV; folders inside a photo archive only help to find a photo. Rows and
    files that do not match become findings: "no-file" (kept, without a locator), "no-row" (left
    out), "duplicate-row" (kept once), "label-conflict" (same id, different labels: left out of
    train), "no-label" (left out) and "ambiguous-file" (several files fit; the first by name is
    taken).

    Classes are in numeric order if all labels are whole numbers, else in the order of classes.csv,
    else sorted. If there is a classes.csv, all of its classes are there.

    Args:
        data: a folder, a zip, a CSV or a photo.
        test: photos to predict instead of those in `data`.
        photos: the folder or zip with the photos of a CSV.

    Raises:
        InputError: nothing usable is there, or a table or archive cannot be trusted.
    """
    require_path(data)
    with PhotoReader() as reader:
        if _is_table(data):
            lot = _read_table_lot(data, photos, reader)
        elif photos is not None:
            raise InputError(f"photos are given apart only with a CSV, and {data} is none")
        elif data.is_file() and not is_archive(data):
            if not is_photo_name(data.name):
                raise InputError(f"{data} is no folder, zip, CSV or photo")
            lot = Lot(data, _EMPTY, open_photos([data]))
        else:
            place = descend(open_place(data, reader), reader)
            lot = _read_place_lot(data, place, test is None, reader)
        if test is None:
            return lot
        files = _list_unlabelled(test, reader)
        catalog, _ = _match_sample(files, lot.sample, lot.train.classes, str(test), strict=False)
        return replace(lot, test=catalog)


def open_photos(paths: Sequence[Path]) -> Catalog:
    """Photos to predict, from folders, zips and single files in any mixture.

    Of a source in the competition's layout the test part is taken. An id is the file's name where
    that is unique, else its path within the source. A file given twice counts once.

    Raises:
        InputError: a path does not exist, or there is no photo in it.
    """
    if not paths:
        raise InputError("no photos given: name a folder, a zip or photo files")
    files: dict[Locator, File] = {}
    with PhotoReader() as reader:
        for path in paths:
            for file in _list_unlabelled(path, reader):
                # With several sources a photo's path within its own does not tell it apart.
                name = f"{path.name}/{file.name}" if len(paths) > 1 else file.name
                files.setdefault(file.locator, File(name, file.locator))
    found = list(files.values())
    return Catalog(_make_unlabelled(found), ())


def check_trainable(lot: Lot) -> None:
    """Refuses a lot that no classifier can be trained on.

    Raises:
        InputError: no labelled photos, fewer than two classes, or classes of which no photo was
            found, naming them.
    """
    found = [photo for photo in lot.train.photos if photo.locator is not None]
    if not found:
        raise InputError(
            f"{lot.source} holds no labelled photos to train on: it needs a CSV with labels or"
            " a folder per class"
        )
    if len(lot.train.classes) < 2:
        raise InputError(
            f"{lot.source} has one class ({lot.train.names[0]}); training needs at least two"
        )
    present = {photo.label for photo in found}
    empty = [car.shown for car in lot.train.classes if car.label not in present]
    if empty:
        raise InputError(
            f"{lot.source} has classes without a photo ({list_some(empty, 10)}):"
            " add photos of them, or remove them from the labels and from classes.csv"
        )


def fingerprint(catalog: Catalog) -> str:
    """The sha256 (hex) of what the catalog holds, whatever the order of its files and rows.

    Covers ids, labels, listings and each file's size; of photos in zips also the CRC from the
    directory. Pixels are not read.

    Raises:
        InputError: an archive is gone or damaged.
    """
    contents: dict[Locator, dict[str, tuple[int, int]]] = {}
    lines = []
    with PhotoReader() as reader:
        for photo in catalog.photos:
            content: tuple[int, int] | None = None
            locator = photo.locator
            if locator is not None and locator.members:
                archive = Locator(locator.path, locator.members[:-1])
                if archive not in contents:
                    contents[archive] = {
                        member.raw: (member.size, member.crc)
                        for member in reader.list_members(archive)
                    }
                content = contents[archive].get(locator.members[-1])
            elif locator is not None and locator.path.is_file():
                content = (locator.path.stat().st_size, 0)
            lines.append(json.dumps([photo.id, photo.label, photo.listing, content]))
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


# --- the kinds of lot ----------------------------------------------------------------------------


@dataclass(frozen=True)
class _ClassNames:
    shown: str
    names: Mapping[str, str]  # label -> name, in the file's order


def _read_place_lot(source: Path, place: Place, own_test: bool, reader: PhotoReader) -> Lot:
    if not place.files:
        raise InputError(f"{place.shown} is empty")
    base = find_holder(place, _TRAIN_TABLE)
    if base is not None:
        return _read_competition(source, base, own_test, reader)
    names = _load_class_names(place, reader)
    tables = [_load_table(file, reader) for file in place.tables() if _may_list_photos(file)]
    lists = [table for table in tables if _lists_photos(table)]
    if len(lists) > 1:
        listed = list_some([table.name for table in lists])
        raise InputError(f"{place.shown} has several tables of photos ({listed}): name one of them")
    if lists:
        return _make_table_lot(source, lists[0], _list_for_table(place, reader), place.shown, names)
    train = find_part(place, _TRAIN_PART, reader)
    if train is not None:
        train = descend(train, reader)
        if _is_class_tree(train):
            return _read_class_parts(source, place, train, names, reader)
    if _is_class_tree(place):
        return _make_class_lot(source, _label_by_folder(place), names)
    if tables:
        require_columns(tables[0], id=ID_COLUMNS, label=LABEL_COLUMNS)  # says what it lacks
    sample, columns = _load_sample(place, reader)
    if not own_test:
        return Lot(source, _EMPTY, _EMPTY, sample, columns)
    part = find_part(place, _TEST_PART, reader) if sample or train else None
    part = part or place
    catalog, findings = _match_sample(
        gather_photos(part, reader), sample, (), part.shown, strict=True
    )
    return Lot(source, _EMPTY, catalog, sample, columns, findings)


def _read_competition(source: Path, base: Place, own_test: bool, reader: PhotoReader) -> Lot:
    table_file = base.find(_TRAIN_TABLE)
    assert table_file is not None  # noqa: S101  (the base is where it was found)
    table = _load_table(table_file, reader)
    part = find_part(base, _TRAIN_PART, reader)
    if part is None:
        tests = tuple(f"{name}/" for name in _TEST_PART)
        files = tuple(file for file in base.files if not file.name.lower().startswith(tests))
        part = Place(base.shown, files)
        if not part.photos():
            raise InputError(
                f"{table.name} names {len(table.rows):,} photos, but {base.shown} has neither"
                f" train.zip nor train/; it has: {base.describe()}"
            )
    lot = _make_table_lot(source, table, part.files, part.shown, _load_class_names(base, reader))
    sample, columns = _load_sample(base, reader)
    lot = replace(lot, sample=sample, sample_columns=columns)
    part = find_part(base, _TEST_PART, reader) if own_test else None
    if part is None:
        return lot
    catalog, findings = _match_sample(
        gather_photos(part, reader), sample, lot.train.classes, part.shown, strict=True
    )
    return replace(lot, test=catalog, findings=lot.findings + findings)


def _read_table_lot(path: Path, photos: Path | None, reader: PhotoReader) -> Lot:
    table = read_table(path)
    require_columns(table, id=ID_COLUMNS, label=LABEL_COLUMNS)
    names_path = path.with_name(_CLASS_TABLE[0])
    names = _read_class_names(read_table(names_path)) if names_path.is_file() else None
    if photos is None:
        photos = _find_twin(path)
    if photos is None:
        files = _follow_rows(table, path.parent)
        if files:
            return _make_table_lot(path, table, files, str(path.parent), names)
        photos = _find_neighbour(path)
    require_path(photos)
    place = open_place(photos, reader)
    return _make_table_lot(path, table, _list_for_table(place, reader), place.shown, names)


def _list_for_table(place: Place, reader: PhotoReader) -> Sequence[File]:
    """All files, since a table may name photos without an ending; or the photos in the zips."""
    packed = place.zips() and not place.photos()
    return gather_photos(place, reader) if packed else place.files


def _find_twin(path: Path) -> Path | None:
    """The zip or folder of the table's own name."""
    twins = (path.with_suffix(".zip"), path.with_suffix(""))
    return next((twin for twin in twins if twin.exists()), None)


def _follow_rows(table: Table, folder: Path) -> list[File]:
    """Files that a table names by their path from its own folder, and never outside of it."""
    columns = (table.find_column(PATH_COLUMNS), table.find_column(ID_COLUMNS))
    for column in dict.fromkeys(position for position in columns if position is not None):
        names = [_tidy_path(row[column]) for row in table.rows]
        # A look at the first rows spares a million questions to the disk.
        if any(_find_below(folder, name) for name in names[:1000]):
            found = ((name, _find_below(folder, name)) for name in dict.fromkeys(names))
            return [File(name, Locator(path)) for name, path in found if path is not None]
    return []


def _find_below(folder: Path, name: str) -> Path | None:
    if not name or name.startswith("/") or ".." in name.split("/"):
        return None
    path = folder / name
    return path if os.path.isfile(path) else None


def _find_neighbour(path: Path) -> Path:
    """The only zip or folder beside a table."""
    beside = [
        entry
        for entry in sorted(path.parent.iterdir())
        if not is_hidden(entry.name) and (entry.is_dir() or entry.suffix.lower() == ".zip")
    ]
    if len(beside) == 1:
        return beside[0]
    others = list_some([entry.name for entry in beside]) if beside else "nothing of that kind"
    raise InputError(
        f"no photos for {path}: beside it there is neither {path.stem}.zip nor {path.stem}/, nor"
        f" are its rows paths to files, nor is there just one zip or folder (but {others}):"
        " say where the photos are"
    )


def _make_table_lot(
    source: Path, table: Table, files: Sequence[File], shown: str, names: _ClassNames | None
) -> Lot:
    """Joins a table's rows with files. The label of the table counts, wherever the file lies."""
    rows, findings = _collect_rows(table)
    unlabelled = {finding.photo_id for finding in findings if finding.check == "no-label"}
    classes = _make_classes(
        {row.labels[0] for row in rows if len(row.labels) == 1}, names, table.name
    )
    name_of = {car.label: car.name for car in classes}
    index = _Index(files)
    photos: list[Photo] = []
    missing: list[str] = []
    used: set[Locator] = set()
    for row in rows:
        folders = (*row.labels, name_of.get(row.labels[0], ""))
        matches = index.find(row.path, folders) if row.path else []
        matches = matches or index.find(row.id, folders)
        if len(row.labels) > 1:
            used.update(file.locator for file in matches)
            sentence = (
                f"{table.name} gives it different labels ({', '.join(row.labels)}); left out."
            )
            findings.append(Finding(row.id, "label-conflict", 1.0, (), sentence))
            continue
        if matches:
            used.add(matches[0].locator)
        else:
            missing.append(row.id)
        if len(matches) > 1:
            listed = list_some([file.name for file in matches])
            sentence = f"Several files fit ({listed}); the first one is taken."
            findings.append(Finding(row.id, "ambiguous-file", 0.5, (), sentence))
        locator = matches[0].locator if matches else None
        photos.append(Photo(row.id, locator, row.labels[0], row.listing, row.extra))
    _refuse_mismatch(missing, len(photos), table.name, shown)
    # They have a row, if one without a label, so no "no-row" is said of them.
    used.update(file.locator for id_ in unlabelled for file in index.find(id_))
    sentence = f"{table.name} names it, but there is no such file in {shown}."
    findings += [Finding(id_, "no-file", 1.0, (), sentence) for id_ in missing]
    sentence = f"{table.name} has no row for it; left out."
    findings += [
        Finding(file.name, "no-row", 1.0, (), sentence)
        for file in files
        if file.locator not in used and is_photo_name(file.name)
    ]
    catalog = Catalog(tuple(photos), classes)
    return Lot(source, catalog, Catalog((), classes), findings=tuple(findings))


class _Row(NamedTuple):
    id: str
    labels: tuple[str, ...]  # more than one where rows of this id contradict each other
    path: str  # empty if the id is all there is to go by
    listing: str | None
    extra: Mapping[str, str]


def _collect_rows(table: Table) -> tuple[list[_Row], list[Finding]]:
    """One row for each id, in the table's order, and what was wrong with the rows.

    Raises:
        InputError: no column for the id or the label, or a row without an id.
    """
    id_column, label_column = require_columns(table, id=ID_COLUMNS, label=LABEL_COLUMNS)
    path_column = table.find_column(PATH_COLUMNS)
    listing_column = table.find_column(LISTING_COLUMNS)
    extra_columns = [
        (position, name)
        for position, name in enumerate(table.columns)
        if position not in (id_column, label_column, listing_column)
    ]
    tidy = cache(tidy_label)  # a million rows, but few labels
    rows: dict[str, _Row] = {}
    findings = []
    for number, cells in enumerate(table.rows, start=2):
        id_, label = cells[id_column].strip(), tidy(cells[label_column])
        if not id_:
            raise InputError(f"{table.name}, row {number}: {table.columns[id_column]} is empty")
        if not label:
            sentence = f"Row {number} of {table.name} has no label; left out."
            findings.append(Finding(id_, "no-label", 1.0, (), sentence))
        elif id_ not in rows:
            path = "" if path_column in (None, id_column) else cells[path_column]
            listing = "" if listing_column is None else cells[listing_column].strip()
            extra = {name: cells[position] for position, name in extra_columns} or _NO_EXTRA
            rows[id_] = _Row(id_, (label,), path, listing or None, extra)
        elif label in rows[id_].labels:
            sentence = f"{table.name} has it more than once with one label; kept once."
            findings.append(Finding(id_, "duplicate-row", 1.0, (), sentence))
        else:
            rows[id_] = rows[id_]._replace(labels=(*rows[id_].labels, label))
    return list(rows.values()), findings


def _read_class_parts(
    source: Path, place: Place, train: Place, names: _ClassNames | None, reader: PhotoReader
) -> Lot:
    labelled = _label_by_folder(train)
    test = find_part(place, _TEST_PART, reader)
    validation = find_part(place, _VALIDATION_PART, reader)
    if test is None:
        test = validation
    elif validation is not None:
        labelled += _label_by_folder(descend(validation, reader))
    lot = _make_class_lot(source, labelled, names)
    if test is None:
        return lot
    known = set(lot.train.labels)
    files = gather_photos(descend(test, reader), reader)
    photos = []
    for id_, file in zip(_make_ids(files), files, strict=True):
        label = tidy_label(file.name.split("/")[0])
        photos.append(Photo(id_, file.locator, label if label in known else None, None, _NO_EXTRA))
    return replace(lot, test=Catalog(tuple(photos), lot.train.classes))


def _may_list_photos(file: File) -> bool:
    name = file.name.lower()
    return name not in _SAMPLE_TABLE + _CLASS_TABLE and not name.startswith(_TEST_PART[0])


def _lists_photos(table: Table) -> bool:
    roles = (ID_COLUMNS, LABEL_COLUMNS)
    return all(table.find_column(names) is not None for names in roles)


def _list_unlabelled(path: Path, reader: PhotoReader) -> list[File]:
    """The photos to predict at a path; never none."""
    require_path(path)
    if path.is_file() and not is_archive(path):
        if _is_table(path):
            raise InputError(f"{path} is a table, not photos: name a folder, a zip or photo files")
        return [File(restore_name(path.name), Locator(path))]
    place = descend(open_place(path, reader), reader)
    base = find_holder(place, _TRAIN_TABLE) or find_holder(place, _SAMPLE_TABLE)
    part = find_part(base or place, _TEST_PART, reader)
    if base is None and (part is None or find_part(place, _TRAIN_PART, reader) is None):
        return gather_photos(place, reader)
    base = base or place
    if part is None:
        raise InputError(
            f"{base.shown} has no test photos (test.zip, test/ or test_upload/);"
            f" it has: {base.describe()}. Name the photos to predict themselves"
        )
    return gather_photos(part, reader)


def _is_class_tree(place: Place) -> bool:
    tops = {file.name.split("/")[0] if "/" in file.name else "" for file in place.photos()}
    parts = {*_TRAIN_PART, *_TEST_PART, *_VALIDATION_PART}
    return len(tops) > 1 and "" not in tops and not {top.lower() for top in tops} <= parts


def _label_by_folder(place: Place) -> list[tuple[File, str]]:
    return [(file, tidy_label(file.name.split("/")[0])) for file in place.photos()]


def _make_class_lot(
    source: Path, labelled: Sequence[tuple[File, str]], names: _ClassNames | None
) -> Lot:
    classes = _make_classes((label for _, label in labelled), names, f"the folders of {source}")
    ids = _make_ids([file for file, _ in labelled])
    photos = tuple(
        Photo(id_, file.locator, label, None, _NO_EXTRA)
        for id_, (file, label) in zip(ids, labelled, strict=True)
    )
    catalog = Catalog(photos, classes)
    return Lot(source, catalog, Catalog((), classes))


def _match_sample(
    files: Sequence[File],
    sample: tuple[tuple[str, str], ...] | None,
    classes: tuple[CarClass, ...],
    shown: str,
    *,
    strict: bool,
) -> tuple[Catalog, tuple[Finding, ...]]:
    """Photos to predict: the sample's in its order, then the others.

    If `strict`, an id of the sample without a file is kept (without a locator) and told of.
    """
    index = _Index(files)
    photos: list[Photo] = []
    missing: list[str] = []
    used: set[Locator] = set()
    for id_, _ in sample or ():
        matches = index.find(id_)
        if matches:
            used.add(matches[0].locator)
            photos.append(Photo(id_, matches[0].locator, None, None, _NO_EXTRA))
        elif strict:
            missing.append(id_)
            photos.append(Photo(id_, None, None, None, _NO_EXTRA))
    _refuse_mismatch(missing, len(sample or ()), _SAMPLE_NAME, shown)
    others = [file for file in files if file.locator not in used]
    photos += _make_unlabelled(others, taken={photo.id for photo in photos})
    sentence = f"The sample submission names it, but there is no such file in {shown}."
    findings = tuple(Finding(id_, "no-file", 1.0, (), sentence, "test") for id_ in missing)
    return Catalog(tuple(photos), classes), findings


def _refuse_mismatch(missing: Sequence[str], count: int, table: str, shown: str) -> None:
    if 2 * len(missing) > count:
        raise InputError(
            f"{len(missing):,} of {count:,} photos in {table} have no file in {shown}"
            f" ({list_some(missing)}): is it the wrong zip or folder?"
        )


# --- rows, files and ids -------------------------------------------------------------------------


class _Index:
    """Finds the files that an id or a path in a table may mean."""

    def __init__(self, files: Sequence[File]) -> None:
        self._files = files
        self._exact: dict[str, list[File]] = defaultdict(list)
        for file in files:
            self._exact[file.base].append(file)

    @cached_property
    def _loose(self) -> dict[str, list[File]]:
        """By name in any case; and without the ending, under a key that no file name can have."""
        loose: dict[str, list[File]] = defaultdict(list)
        for file in self._files:
            base = file.base.casefold()
            loose[base].append(file)
            if is_photo_name(base):
                loose["/" + base.rpartition(".")[0]].append(file)
        return loose

    def find(self, text: str, folders: Collection[str] = ()) -> list[File]:
        """Matching files, best first; several only if nothing tells them apart.

        By name, then by name in any case, then without the ending. The folders of a path must fit
        as far as both sides go. Of several files the one in a folder of the given names is meant.
        """
        path = text if text in self._exact else _tidy_path(text)
        base = path.rpartition("/")[2]
        files = self._exact.get(base) or self._loose.get(base.casefold())
        if not files and not is_photo_name(base):
            files = self._loose.get("/" + base.casefold())
        fitting = files or []
        if "/" in path:
            fitting = [file for file in fitting if _fit_paths(file.name, path)]
            fitting = [file for file in fitting if file.name == path] or fitting
        if len(fitting) > 1:
            fitting = [file for file in fitting if file.parent in folders] or fitting
        return fitting


def _tidy_path(text: str) -> str:
    return unicodedata.normalize("NFC", text.strip().replace("\\", "/")).removeprefix("./")


def _fit_paths(name: str, path: str) -> bool:
    """Whether two paths have the same folders, from the file upwards, as far as both go."""
    ours, theirs = name.casefold().split("/")[-2::-1], path.casefold().split("/")[-2::-1]
    return all(a == b for a, b in zip(ours, theirs, strict=False))


def _make_ids(files: Sequence[File], taken: Collection[str] = ()) -> list[str]:
    """The file's name where it is unique, else its path in the place, else its whole locator."""
    bases = Counter(file.base for file in files)
    names = Counter(file.name for file in files)
    bases.update(taken)
    names.update(taken)
    return [
        file.base
        if bases[file.base] == 1
        else file.name
        if names[file.name] == 1
        else str(file.locator)
        for file in files
    ]


def _make_unlabelled(files: Sequence[File], taken: Collection[str] = ()) -> tuple[Photo, ...]:
    ids = _make_ids(files, taken)
    return tuple(
        Photo(id_, file.locator, None, None, _NO_EXTRA)
        for id_, file in zip(ids, files, strict=True)
    )


# --- tables and classes --------------------------------------------------------------------------


def _is_table(path: Path) -> bool:
    return path.suffix.lower() in _TABLE_SUFFIXES and path.is_file()


def _load_table(file: File, reader: PhotoReader) -> Table:
    try:
        data = reader.read(file.locator)
    except UnreadablePhoto as error:
        raise InputError(f"{file.locator} cannot be read: {error.reason}") from error
    return read_table(data, str(file.locator))


def _load_sample(place: Place, reader: PhotoReader) -> _Sample:
    file = place.find(_SAMPLE_TABLE)
    if file is None:
        return None, ("Id", "Category")
    return read_sample(_load_table(file, reader))


def _load_class_names(place: Place, reader: PhotoReader) -> _ClassNames | None:
    file = place.find(_CLASS_TABLE)
    return None if file is None else _read_class_names(_load_table(file, reader))


def _read_class_names(table: Table) -> _ClassNames:
    label_column, name_column = require_columns(table, label=CLASS_COLUMNS, name=NAME_COLUMNS)
    names: dict[str, str] = {}
    for number, row in enumerate(table.rows, start=2):
        label = tidy_label(row[label_column])
        name = unicodedata.normalize("NFC", row[name_column].strip())
        if not label or not name:
            raise InputError(f"{table.name}, row {number}: a class needs a label and a name")
        if names.setdefault(label, name) != name:
            raise InputError(f"{table.name} gives {label!r} two names: {names[label]} and {name}")
    return _ClassNames(table.name, names)


def _make_classes(
    labels: Iterable[str], names: _ClassNames | None, source: str
) -> tuple[CarClass, ...]:
    """The classes in their fixed order (see `open_lot`).

    Raises:
        InputError: there are names, but not for every label.
    """
    known = dict(names.names) if names else {}
    present = set(labels)
    nameless = sorted(present - known.keys())
    if names and nameless:
        raise InputError(
            f"{names.shown} has no name for {list_some([repr(label) for label in nameless])},"
            f" which {source} uses: add a row for each"
        )
    order = list(known) if names else sorted(present)
    if all(_is_whole(label) for label in order):
        order.sort(key=lambda label: (int(label), label))
    return tuple(CarClass(label, known.get(label, label)) for label in order)


def _is_whole(label: str) -> bool:
    return label.removeprefix("-").isdecimal()
