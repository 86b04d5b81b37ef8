"""Photos of rows, of folders and of samples: joins what tables say with files; it opens no archive.

Whatever does not match becomes a finding.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal, NamedTuple

from lotlens.errors import InputError, UnreadablePhoto
from lotlens.photos.classes import ClassNames, make_classes
from lotlens.photos.layout import ClassFolders, PartName, find_plain_part
from lotlens.photos.matching import Wanted, match_files, tidy_path
from lotlens.photos.places import File, Survey
from lotlens.photos.rows import NO_EXTRA, Row, Rows
from lotlens.photos.tables import list_some
from lotlens.records import CarClass, Catalog, Finding, Locator, Photo, Sample

AMBIGUOUS = "ambiguous-file"
"""The check that finds rows which several different files fit."""

_SAMPLE_NAME = "the sample submission"
_NUM_SHOWN = 3  # ids of each side, where they do not fit


def fold_rows(collected: Rows, canonical: Mapping[str, str]) -> Rows:
    """Rows with the labels that theirs count as."""
    if not canonical:
        return collected
    rows = [
        row._replace(labels=tuple(dict.fromkeys(canonical.get(one, one) for one in row.labels)))
        for row in collected.rows
    ]
    return replace(collected, rows=tuple(rows))


@dataclass(frozen=True)
class Joined:
    """Photos of a table.

    Attributes:
        train, test: the photos of each part, in the table's order.
        classes: of train.
        findings: what did not match.
        num_from_others: rows whose photos lie in the test part.
        explained: files that are photos or that a finding tells of.
    """

    train: tuple[Photo, ...]
    test: tuple[Photo, ...]
    classes: tuple[CarClass, ...]
    findings: tuple[Finding, ...]
    num_from_others: int
    explained: frozenset[Locator]


def join_rows(
    collected: Rows,
    files: Sequence[File],
    others: Sequence[File],
    names: ClassNames | None,
    survey: Survey,
    *,
    table: str,
    shown: str,
) -> Joined:
    """Joins a table's rows with files. The label of the table counts, wherever the file lies.

    Args:
        collected: of the table.
        files: among which the photos are.
        others: files of the test part, among which rows are sought that are not among `files`.
        names: of the classes.
        survey: by which files are read, where several fit.
        table: how messages call it.
        shown: where `files` lie.

    Raises:
        InputError: most rows have no file, or a class has no name.
    """
    parts = _choose_parts(collected.rows)
    labels = [
        (row.labels[0], part)
        for row, part in zip(collected.rows, parts, strict=True)
        if len(row.labels) == 1
    ]
    learnt = {label for label, part in labels if part != "test"}
    # A table of a test part alone has labels to judge by, and nothing to train on.
    classes = make_classes(learnt or {label for label, _ in labels}, names, table)
    name_of = {car.label: car.name for car in classes}
    wanted = [
        Wanted(row.id, row.path, (*row.labels, *(name_of.get(label, "") for label in row.labels)))
        for row in collected.rows
    ]
    told = sorted({one.photo_id for one in collected.findings if one.check == "no-label"})
    matched = match_files([*wanted, *map(Wanted, told)], files)
    elsewhere = match_files(wanted, others) if others else [[] for _ in wanted]
    found = []
    num_from_others = 0
    for row, part, fitting, away in zip(collected.rows, parts, matched, elsewhere, strict=False):
        is_away = bool(away) and (not fitting or _names_test(row))
        num_from_others += is_away
        found.append(_Found(row, "test" if is_away else part, tuple(away if is_away else fitting)))
    rivals = _find_rivals(found, table)
    photos: dict[str, list[Photo]] = {"train": [], "test": []}
    findings = list(collected.findings)
    missing = []
    for one in found:
        row, label = one.row, one.row.labels[0] if one.row.labels else None
        fault = _find_fault(one, rivals, table, survey)
        if fault is not None:
            findings.append(fault)
            continue
        if one.part == "test" and label is not None and label not in name_of:
            findings.append(_tell_unknown(row.id, label))
            label = None
        if not one.files:
            missing.append(row.id)
        locator = one.files[0].locator if one.files else None
        part = "test" if one.part == "test" else "train"
        photos[part].append(Photo(row.id, locator, label, row.listing, row.extra))
    if 2 * len(missing) > len(wanted):
        _refuse_mismatch(missing, len(wanted), table, [file.name for file in files], shown)
    sentence = f"{table} names it, but there is no such file in {shown}."
    findings += [Finding(id_, "no-file", 1.0, (), sentence) for id_ in missing]
    # Rows without a label are rows, so no "no-row" is said of their files.
    used = {file.locator for matches in matched for file in matches}
    rowless = [file for file in files if file.locator not in used and file.is_photo]
    sentence = f"{table} has no row for it; left out."
    findings += [Finding(file.name, "no-row", 1.0, (), sentence) for file in rowless]
    return Joined(
        tuple(photos["train"]),
        tuple(photos["test"]),
        classes,
        tuple(findings),
        num_from_others,
        frozenset(used | {file.locator for file in rowless}),
    )


def _choose_parts(rows: Sequence[Row]) -> list[PartName]:
    """Validation rows are the test part where there is no other, and else are trained on."""
    has_test = any(row.part == "test" for row in rows)
    return ["test" if row.part == "validation" and not has_test else row.part for row in rows]


def _names_test(row: Row) -> bool:
    """Whether a row's path leads into a test part."""
    folders = tidy_path(row.path or row.id).split("/")[:-1]
    return any(find_plain_part(folder) == "test" for folder in folders)


class _Found(NamedTuple):
    """A row with the files that fit it."""

    row: Row
    part: PartName
    files: tuple[File, ...]


def _find_rivals(found: Sequence[_Found], table: str) -> dict[Locator, list[_Found]]:
    """Rows that mean one file.

    Raises:
        InputError: they are of two parts.
    """
    claims: dict[Locator, list[_Found]] = {}
    for one in found:
        if one.files:
            claims.setdefault(one.files[0].locator, []).append(one)
    rivals = {locator: rows for locator, rows in claims.items() if len(rows) > 1}
    for rows in rivals.values():
        if len({one.part == "test" for one in rows}) > 1:
            ids = " and ".join(one.row.id for one in rows[:2])
            raise InputError(
                f"{table}: {ids} mean one file, {rows[0].files[0].name}, and are in two parts"
            )
    return rivals


def _find_fault(
    one: _Found, rivals: Mapping[Locator, Sequence[_Found]], table: str, survey: Survey
) -> Finding | None:
    """Why a row's photo must be left out, if it must."""
    row, files = one.row, one.files
    part: Literal["train", "test"] = "test" if one.part == "test" else "train"
    if len(row.labels) > 1:
        sentence = f"{table} gives it different labels ({', '.join(row.labels)}); left out."
        return Finding(row.id, "label-conflict", 1.0, (), sentence, part)
    if len(files) > 1 and not _are_equal(files, survey):
        listed = tuple(file.name for file in files)
        sentence = f"Several files fit, and they differ ({list_some(listed)}); left out."
        return Finding(row.id, AMBIGUOUS, 1.0, listed, sentence, part)
    rows = rivals.get(files[0].locator, ()) if files else ()
    others = tuple(rival.row.id for rival in rows if rival is not one)
    labels = sorted({label for rival in rows for label in rival.row.labels})
    if len(labels) > 1:
        sentence = (
            f"{table} has the same file as {list_some(others)}, under different labels"
            f" ({', '.join(labels)}); left out."
        )
        return Finding(row.id, "label-conflict", 1.0, others, sentence, part)
    if rows and rows[0] is not one:
        sentence = f"{table} has the same file as {rows[0].row.id}; kept once."
        return Finding(row.id, "duplicate-row", 1.0, (rows[0].row.id,), sentence, part)
    return None


def _are_equal(files: Sequence[File], survey: Survey) -> bool:
    """Whether files hold the same bytes, as where an archive was unpacked twice."""
    try:
        first = survey.reader.read(files[0].locator)
        return all(survey.reader.read(file.locator) == first for file in files[1:])
    except UnreadablePhoto:
        return False


def merge_tests(found: Catalog, told: Catalog) -> Catalog:
    """Photos of the test part with what the table says of them, and those that it has besides."""
    if not len(told):
        return found
    by_locator = {photo.locator: photo for photo in told.photos if photo.locator is not None}
    photos = []
    for photo in found.photos:
        row = by_locator.pop(photo.locator, None) if photo.locator is not None else None
        photos.append(
            photo
            if row is None
            else replace(photo, label=row.label, listing=row.listing, extra=row.extra)
        )
    taken = {photo.id for photo in photos}
    rest = [photo for photo in told.photos if photo.locator in by_locator and photo.id not in taken]
    return Catalog((*photos, *rest), found.classes)


def label_tests(
    tests: Sequence[tuple[str, File]],
    folders: ClassFolders,
    known: Collection[str],
    canonical: Mapping[str, str],
    paths: Mapping[Locator, str],
) -> tuple[tuple[Photo, ...], list[Finding]]:
    """Test photos with the labels of their folders, where training knows them.

    Args:
        tests: path below the part, and the file.
        folders: those of training.
        known: labels of training.
        canonical: label -> the one it counts as.
        paths: file -> its path in the whole source.
    """
    ids = make_ids([file for _, file in tests], paths=paths)
    photos: list[Photo] = []
    findings: list[Finding] = []
    for id_, (name, file) in zip(ids, tests, strict=True):
        label = folders.find_test_label(name)
        label = None if label is None else canonical.get(label, label)
        if label is not None and label not in known:
            findings.append(_tell_unknown(id_, label))
            label = None
        photos.append(Photo(id_, file.locator, label, None, NO_EXTRA))
    return tuple(photos), findings


def _tell_unknown(id_: str, label: str) -> Finding:
    sentence = f"It is labelled {label}, a class that training lacks; its label is not used."
    return Finding(id_, "unknown-class", 1.0, (), sentence, "test")


def match_sample(
    files: Sequence[File],
    sample: Sample | None,
    classes: tuple[CarClass, ...],
    shown: str,
    *,
    strict: bool,
) -> tuple[Catalog, tuple[Finding, ...]]:
    """Photos to predict: the sample's in its order, then the others.

    If `strict`, an id of the sample without a file is kept (without a locator) and told of.

    Raises:
        InputError: an id may mean several files, or most mean none.
    """
    ids = () if sample is None else sample.ids
    photos: list[Photo] = []
    missing: list[str] = []
    used: set[Locator] = set()
    for id_, matches in zip(ids, match_files([Wanted(id_) for id_ in ids], files), strict=True):
        if len(matches) > 1:
            raise InputError(
                f"{_SAMPLE_NAME} names {id_}, and several photos of {shown} fit"
                f" ({list_some([file.name for file in matches])}): write the path into the sample"
            )
        if matches:
            used.add(matches[0].locator)
            photos.append(Photo(id_, matches[0].locator, None, None, NO_EXTRA))
        elif strict:
            missing.append(id_)
            photos.append(Photo(id_, None, None, None, NO_EXTRA))
    if 2 * len(missing) > len(ids):
        _refuse_mismatch(missing, len(ids), _SAMPLE_NAME, [file.name for file in files], shown)
    others = [file for file in files if file.locator not in used]
    photos += make_unlabelled(others, taken={photo.id for photo in photos})
    sentence = f"The sample submission names it, but there is no such file in {shown}."
    findings = tuple(Finding(id_, "no-file", 1.0, (), sentence, "test") for id_ in missing)
    return Catalog(tuple(photos), classes), findings


def _refuse_mismatch(
    missing: Sequence[str], count: int, table: str, names: Sequence[str], shown: str
) -> None:
    there = list_some(names, _NUM_SHOWN) if names else "no files"
    raise InputError(
        f"{len(missing):,} of {count:,} photos in {table} have no file in {shown}: it names"
        f" {list_some(missing, _NUM_SHOWN)}, and there are {there}: is it the wrong zip or folder?"
    )


def make_ids(
    files: Sequence[File],
    taken: Collection[str] = (),
    paths: Mapping[Locator, str] = MappingProxyType({}),
) -> list[str]:
    """The file's name where it is unique, else its path in the place, else in the whole source.

    Args:
        files: to name.
        taken: ids that others have.
        paths: file -> its path in the whole source; where even that is not unique, its locator.

    Returns:
        one for each, none of them twice or taken.
    """
    bases = Counter(file.base for file in files)
    names = Counter(file.name for file in files)
    bases.update(taken)
    names.update(taken)
    wholes = Counter(paths.get(file.locator, "") for file in files)
    ids = []
    for file in files:
        whole = paths.get(file.locator, "")
        if bases[file.base] == 1:
            ids.append(file.base)
        elif names[file.name] == 1:
            ids.append(file.name)
        elif whole and wholes[whole] == 1 and whole not in names:
            ids.append(whole)
        else:
            ids.append(str(file.locator))
    return _number_twins(ids, taken)


def _number_twins(ids: Sequence[str], taken: Collection[str]) -> list[str]:
    """Ids with a number where one is there twice: two names may look alike however they are made.

    As a file called a.zip!b.jpg does, and the photo b.jpg in a zip called a.zip.
    """
    used = set(taken)
    numbered = []
    for id_ in ids:
        own, number = id_, 2
        while own in used:
            own, number = f"{id_} ({number})", number + 1
        used.add(own)
        numbered.append(own)
    return numbered


def make_unlabelled(files: Sequence[File], taken: Collection[str] = ()) -> tuple[Photo, ...]:
    """Photos without labels; their ids are none of those that are taken."""
    ids = make_ids(files, taken)
    return tuple(
        Photo(id_, file.locator, None, None, NO_EXTRA) for id_, file in zip(ids, files, strict=True)
    )
