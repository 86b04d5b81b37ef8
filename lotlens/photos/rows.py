"""Rows of a table of photos: ids, labels, listings and parts; it knows no files."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

from lotlens.errors import InputError
from lotlens.photos.labels import LabelRules, count_spellings, find_no_labels, tidy_label
from lotlens.photos.layout import PartName, find_part
from lotlens.photos.matching import tidy_path
from lotlens.photos.tables import (
    ID_COLUMNS,
    LABEL_COLUMNS,
    LISTING_COLUMNS,
    PATH_COLUMNS,
    SPLIT_COLUMNS,
    Table,
    list_some,
    require_columns,
)
from lotlens.records import Finding

NO_EXTRA: Mapping[str, str] = {}
_YES = frozenset(["1", "1.0", "true", "yes", "y", "t", "да"])
_NO = frozenset(["0", "0.0", "false", "no", "n", "f", "нет", ""])


class Row(NamedTuple):
    """What a table says of one photo.

    Attributes:
        id: of the photo.
        labels: more than one where rows of this id contradict each other; none for a row of the
            test part that has no label.
        path: where a column of its own says that it lies, else empty.
        listing: its advert, if known.
        extra: further columns, as text.
        part: "train" unless a column says otherwise.
    """

    id: str
    labels: tuple[str, ...]
    path: str
    listing: str | None
    extra: Mapping[str, str]
    part: PartName = "train"


@dataclass(frozen=True)
class Rows:
    """The rows of a table, one for each id, in its order.

    Attributes:
        rows: those with a label, or of the test part.
        findings: what was wrong with others.
        no_labels: word for "no label" -> rows that have it.
        notes: what was decided, one sentence each.
    """

    rows: tuple[Row, ...]
    findings: tuple[Finding, ...] = ()
    no_labels: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def collect_rows(table: Table, rules: LabelRules) -> Rows:
    """One row for each id, in the table's order, and what was wrong with the rows.

    Raises:
        InputError: no column for the id or the label, several for the label that say different
            things, a row without an id, one id for several paths, or a column of parts that cannot
            be followed.
    """
    id_at, label_at = require_columns(table, id=ID_COLUMNS, label=LABEL_COLUMNS)
    tidy = cache(tidy_label)  # a million rows, but few labels
    parts, notes = _read_parts(table)
    notes += _settle_label(table, rules)
    none = find_no_labels({tidy(cells[label_at]) for cells in table.rows}, rules)
    path_at = table.find_column(PATH_COLUMNS)
    path_at = None if path_at == id_at else path_at
    make = _choose_cells(table, id_at, label_at, path_at)
    rows: dict[str, Row] = {}
    findings: list[Finding] = []
    no_labels: dict[str, int] = {}
    for number, cells in enumerate(table.rows, start=2):
        id_, label = cells[id_at].strip(), tidy(cells[label_at])
        part = parts[number - 2] if parts else "train"
        if not id_:
            raise InputError(f"{table.name}, row {number}: {table.columns[id_at]} is empty")
        if label in none and part != "test":
            no_labels[label] = no_labels.get(label, 0) + 1
            said = f": {label!r} is none" if label else ""
            sentence = f"Row {number} of {table.name} has no label{said}; left out."
            findings.append(Finding(id_, "no-label", 1.0, (), sentence))
        elif id_ not in rows:
            rows[id_] = make(id_, () if label in none else (label,), cells, part)
        elif part != rows[id_].part:
            raise InputError(f"{table.name} has {id_} in two parts: {rows[id_].part} and {part}")
        elif path_at is not None and not _may_be_one(rows[id_].path, cells[path_at]):
            listed = list_some([rows[id_].path, cells[path_at]])
            raise InputError(
                f"{table.name} has {table.columns[id_at]} {list_some([id_])} for several files"
                f" ({listed}), so it names no photo: remove or rename that column, and"
                f" {table.columns[path_at]} names them"
            )
        elif label in rows[id_].labels or label in none:
            sentence = f"{table.name} has it more than once with one label; kept once."
            findings.append(Finding(id_, "duplicate-row", 1.0, (), sentence))
        else:
            rows[id_] = rows[id_]._replace(labels=(*rows[id_].labels, label))
    spellings = count_spellings(cells[label_at].strip() for cells in table.rows)
    notes += [
        f"{label!r} is written in {count} ways that differ in blanks: one class"
        for label, count in sorted(spellings.items())
    ]
    return Rows(tuple(rows.values()), tuple(findings), no_labels, tuple(notes))


def _settle_label(table: Table, rules: LabelRules) -> list[str]:
    """What is to be said where several columns are named as the label.

    They may hold the numbers of the classes and their names: then any of them tells the same photos
    apart, and the first is taken.

    Raises:
        InputError: they tell different photos apart, so nobody knows which of them is meant.
    """
    first, *others = table.find_columns(LABEL_COLUMNS)
    if not others:
        return []
    own = _read_labels(table, first, rules)
    alike = []
    for other in others:
        values = _read_labels(table, other, rules)
        if not any(values):
            continue  # a column left empty names nothing
        clash = _find_clash(own, values) or _find_clash(values, own)
        if clash is not None:
            names = list_some([table.columns[position] for position in (first, *others)])
            one, again = (_quote_row(table, row, (first, other)) for row in clash)
            raise InputError(
                f"{table.name} has several columns that may be the label ({names}), and they part"
                f" the photos differently: {one}, {again}. Keep the one to learn, and remove or"
                " rename the others"
            )
        alike.append(table.columns[other])
    if not alike:
        return []
    return [
        f"column {table.columns[first]} of {table.base} is the label; {list_some(alike)} tells the"
        " same classes apart"
    ]


def _read_labels(table: Table, position: int, rules: LabelRules) -> list[str]:
    """The tidy labels of a column, in one case, empty where there is none."""
    tidy = cache(tidy_label)
    labels = [tidy(cells[position]) for cells in table.rows]
    none = find_no_labels(set(labels), rules)
    return ["" if label in none else label.casefold() for label in labels]


def _quote_row(table: Table, row: int, positions: Sequence[int]) -> str:
    told = [f"{table.columns[at]} {list_some([table.rows[row][at].strip()])!r}" for at in positions]
    return f"row {row + 2} has {' and '.join(told)}"


def _find_clash(labels: Sequence[str], others: Sequence[str]) -> tuple[int, int] | None:
    """Two rows of one label that another column gives different ones."""
    seen: dict[str, int] = {}
    for row, label in enumerate(labels):
        earlier = seen.setdefault(label, row)
        if others[earlier] != others[row]:
            return earlier, row
    return None


def _may_be_one(path: str, other: str) -> bool:
    """Whether two paths of one id may mean one file: one may be empty, or begin further up."""
    one, another = tidy_path(path).casefold(), tidy_path(other).casefold()
    if not one or not another:
        return True
    return f"/{one}".endswith(f"/{another}") or f"/{another}".endswith(f"/{one}")


def _choose_cells(
    table: Table, id_at: int, label_at: int, path_at: int | None
) -> Callable[[str, tuple[str, ...], Sequence[str], PartName], Row]:
    """What makes a row of cells."""
    listing_at = table.find_column(LISTING_COLUMNS)
    extra_at = [
        (position, name)
        for position, name in enumerate(table.columns)
        if position not in (id_at, label_at, listing_at)
    ]

    def make(id_: str, labels: tuple[str, ...], cells: Sequence[str], part: PartName) -> Row:
        path = "" if path_at is None else cells[path_at]
        listing = "" if listing_at is None else cells[listing_at].strip()
        extra = {name: cells[position] for position, name in extra_at} or NO_EXTRA
        return Row(id_, labels, path, listing or None, extra, part)

    return make


def _read_parts(table: Table) -> tuple[list[PartName], list[str]]:
    """The part of each row, or none at all where no column tells; and what was decided.

    Raises:
        InputError: a column tells for some rows only, or two columns contradict each other.
    """
    parts: list[PartName] = []
    followed: list[str] = []
    notes: list[str] = []
    for position, column in enumerate(table.columns):
        name = column.lower().replace(" ", "_")
        if name not in SPLIT_COLUMNS:
            continue
        values = [cells[position].strip() for cells in table.rows]
        told = list(_follow(name, values))
        known = [part for part in told if part is not None]
        if not known:
            notes.append(
                f"column {column} of {table.base} names no parts"
                f" ({list_some(sorted(set(values)), 4)}): not used; lotlens draws its own"
            )
            continue
        if len(known) < len(told):
            strange = sorted({v for v, part in zip(values, told, strict=True) if part is None})
            raise InputError(
                f"{table.name}: column {column} says for some rows which part they are of, and for"
                f" others {list_some([repr(value) for value in strange])}: write train, valid or"
                " test in each row, or remove the column"
            )
        parts = _join_parts(parts, known, table, column)
        followed.append(column)
    if followed:
        notes.append(_tell_parts(" and ".join(followed), table, parts))
    return parts, notes


def _follow(name: str, values: Sequence[str]) -> Iterator[PartName | None]:
    """The part that each value names; None for those that name none."""
    meant: PartName | None = {"is_valid": "validation", "is_test": "test"}.get(name)  # type: ignore[assignment]
    for value in values:
        text = value.casefold()
        if name == "is_train":
            yield "train" if text in _YES else "test" if text in _NO else None
        elif meant is None:
            yield find_part(value)
        else:
            yield meant if text in _YES else "train" if text in _NO else None


def _join_parts(
    earlier: Sequence[PartName], later: list[PartName], table: Table, column: str
) -> list[PartName]:
    """Of two columns, is_valid and is_test, a row is in the part that either names."""
    if not earlier:
        return later
    joined: list[PartName] = []
    for number, (one, other) in enumerate(zip(earlier, later, strict=True), start=2):
        if "train" not in (one, other) and one != other:
            raise InputError(
                f"{table.name}, row {number}: column {column} says {other}, another one {one}"
            )
        joined.append(other if one == "train" else one)
    return joined


def _tell_parts(column: str, table: Table, parts: Sequence[PartName]) -> str:
    counts = {part: parts.count(part) for part in ("train", "validation", "test")}
    told = ", ".join(f"{part} {count:,}" for part, count in counts.items() if count)
    return (
        f"column {column} of {table.base} says which part a row is of ({told}){_tell_fate(counts)}"
    )


def _tell_fate(counts: Mapping[str, int]) -> str:
    """What becomes of a validation part."""
    if not counts["validation"]:
        return ""
    if counts["test"]:
        return "; validation joins training, since lotlens draws its own"
    return "; validation is taken for the test part, since there is no other"
