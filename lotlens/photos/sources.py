"""Recognises what people have (competition zip, CSV with photos, folders) and makes lots of it.

It knows names, labels and where bytes lie; it never decodes a photo and never unpacks an archive.
Whatever it decides is told in the lot's `Reading`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lotlens.errors import InputError
from lotlens.photos.addresses import to_source
from lotlens.photos.archives import PhotoReader
from lotlens.photos.classes import (
    SIMILAR,
)
from lotlens.photos.joining import AMBIGUOUS, make_unlabelled, match_sample
from lotlens.photos.labels import (
    PLAIN_RULES,
    LabelRules,
)
from lotlens.photos.opener import Opener, is_table, list_unlabelled
from lotlens.photos.places import (
    File,
    Survey,
    descend,
    is_archive,
    open_place,
    require_path,
)
from lotlens.photos.tables import (
    list_some,
)
from lotlens.records import (
    MOST_CLASSES,
    Catalog,
    Locator,
    Lot,
)

_EMPTY = Catalog((), ())
_NUM_SHOWN = 3


def open_lot(
    data: Path | str,
    *,
    test: Path | str | None = None,
    photos: Path | str | None = None,
    rules: LabelRules = PLAIN_RULES,
) -> Lot:
    """Reads whatever people have as a lot of labelled photos and photos to predict.

    Recognised, in this order:

    1. the competition's layout in a zip or a folder, at any depth: train.csv with train.zip or
       train/, and optionally test.zip, test/ or test_upload/, sample-submission.csv, classes.csv;
    2. a CSV (given itself, or the only one in the folder) with photos in a zip or folder of the
       same name, in the only zip or folder beside it, in `photos`, or at paths relative to it;
    3. train, validation and test parts, each a folder or zip with a folder per class; if there are
       both test and validation, validation joins train, since lotlens draws its own;
    4. a folder per class, at any depth: two or more folders of photos and no photos beside them;
    5. a plain folder or zip of photos, or one photo: all of them are test.

    Parts are told by whole words of their names ("seg_train", "TestImages"); folders that hold
    folders of the same names are parts too, and asked about. Labels come from the CSV; folders
    inside a photo archive only help to find a photo. Rows and files that do not match become
    findings: "no-file" (kept, without a locator), "no-row" (left out), "duplicate-row" (kept once),
    "label-conflict" (same id, different labels: left out of train), "no-label" (left out),
    "ambiguous-file" (several different files fit: left out), "unknown-class" (a test photo of a
    class that train lacks) and "similar-labels" (two classes that look like one spelt twice).

    Classes are in numeric order if all labels are whole numbers, else in the order of classes.csv,
    else sorted. If there is a classes.csv, all of its classes are there.

    Args:
        data: a folder, a zip, a CSV or a photo.
        test: photos to predict instead of those in `data`.
        photos: the folder or zip with the photos of a CSV.
        rules: what a person says of labels that are not plain.

    Returns:
        the lot; what was understood of the files is its `reading`.

    Raises:
        InputError: nothing usable is there, a table or archive cannot be trusted, or folders are
            parts of which nobody can tell which is which.
    """
    data = Path(data)
    test, photos = (None if path is None else Path(path) for path in (test, photos))
    require_path(data)
    with PhotoReader() as reader:
        opener = Opener(data, Survey(reader), rules, own_test=test is None)
        if is_table(data):
            lot = opener.open_table(photos)
        elif photos is not None:
            raise InputError(f"photos are given apart only with a CSV, and {data} is none")
        elif data.is_file() and not is_archive(data):
            lot = opener.open_photo()
        else:
            lot = opener.open_place(descend(open_place(data, opener.survey), opener.survey))
        if test is not None:
            files = list_unlabelled(test, opener.survey)
            catalog, _ = match_sample(files, lot.sample, lot.train.classes, str(test), strict=False)
            lot = replace(lot, test=catalog)
            opener.tell_part("test", str(test))
        return replace(lot, reading=opener.conclude(lot))


def open_photos(paths: Path | str | Sequence[Path | str]) -> Catalog:
    """Photos to predict, from folders, zips and single files in any mixture.

    A path may be the text of an address that fsspec can read, such as s3://bucket/photos.

    Of a source in the competition's layout the test part is taken. An id is the file's name where
    that is unique, else its path within the source. A file given twice counts once.

    Raises:
        InputError: a path does not exist, or there is no photo in it.
        MissingExtra: an address is given and lotlens[cluster] is not installed.
    """
    return open_unlabelled([paths] if isinstance(paths, (Path, str)) else paths).test


def open_unlabelled(paths: Sequence[Path | str]) -> Lot:
    """As `open_photos`: a lot of photos to predict, with a reading of what was understood.

    Raises:
        InputError, MissingExtra: as `open_photos`.
    """
    if not paths:
        raise InputError("no photos given: name a folder, a zip or photo files")
    files: dict[Locator, File] = {}
    sources = [to_source(path) for path in paths]
    for source in sources:
        if isinstance(source, Path):
            require_path(source, is_address_read=True)
    with PhotoReader() as reader:
        survey = Survey(reader)
        for path in sources:
            for file in list_unlabelled(path, survey):
                # With several sources a photo's path within its own does not tell it apart.
                name = f"{Path(path).name}/{file.name}" if len(sources) > 1 else file.name
                files.setdefault(file.locator, File(name, file.locator, file.is_photo))
        catalog = Catalog(make_unlabelled(list(files.values())), ())
        lot = Lot(Path(sources[0]), _EMPTY, catalog)
        source = list_some(map(str, sources), 3)
        opener = Opener(lot.source, survey, PLAIN_RULES, own_test=True)
        opener.form = "photos to answer"
        opener.tell_part("test", source)
        return replace(lot, reading=replace(opener.conclude(lot), source=source))


def check_trainable(lot: Lot) -> None:
    """Refuses a lot that no classifier can be trained on.

    Raises:
        InputError: no labelled photos, fewer than two classes, or classes of which no photo was
            found, naming them; photos that several files could be; classes that look like one
            spelt twice.
    """
    found = [photo for photo in lot.train.photos if photo.locator is not None]
    ambiguous = [finding for finding in lot.findings if finding.check == AMBIGUOUS]
    if ambiguous:
        raise InputError(
            f"{lot.source}: {len(ambiguous):,} photos could be several files each, which differ"
            f" ({ambiguous[0].photo_id}: {list_some(ambiguous[0].related_ids)}): write their paths"
            " into the table, or take away the files that are not meant"
        )
    if not found:
        raise InputError(
            f"{lot.source} holds no labelled photos to train on: it needs a CSV with labels or"
            f" a folder per class{'; ' + lot.reading.obstacle if lot.reading.obstacle else ''}"
        )
    if len(lot.train.classes) < 2:
        raise InputError(
            f"{lot.source} has one class ({lot.train.names[0]}); training needs at least two"
        )
    if len(lot.train.classes) > MOST_CLASSES:
        raise InputError(
            f"{lot.source} has {len(lot.train.classes):,} classes, and {MOST_CLASSES:,} at most are"
            " learnt: is the label a photo's own number?"
        )
    similar = [finding.sentence for finding in lot.findings if finding.check == SIMILAR]
    if similar:
        more = f" And {len(similar) - 3} more pairs." if len(similar) > 3 else ""
        raise InputError(
            f"{lot.source}: {' '.join(similar[:3])}{more} If they are one, add --set"
            " labels.fold=true; if they are different cars, --set labels.fold=false"
        )
    present = {photo.label for photo in found}
    empty = [car.shown for car in lot.train.classes if car.label not in present]
    if empty:
        raise InputError(
            f"{lot.source} has classes without a photo ({list_some(empty, 10)}):"
            " add photos of them, or remove them from the labels and from classes.csv"
        )
