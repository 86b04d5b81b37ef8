"""Reads CSV files as people write them, and knows which columns mean what; it knows no photos."""

from __future__ import annotations

import codecs
import csv
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lotlens.errors import InputError
from lotlens.photos.addresses import make_absolute
from lotlens.records import Locator, Photo, Sample
from lotlens.texts import restore_cell

ID_COLUMNS = ("id", "file", "filename", "file_name", "image", "photo", "path")
LABEL_COLUMNS = ("category", "label", "class", "model")
LISTING_COLUMNS = ("listing", "listing_id", "advert", "advert_id", "ad_id", "group")
PATH_COLUMNS = ("path", "file", "filename", "file_name", "image", "photo")
CLASS_COLUMNS = ("category", "label", "class", "id")
NAME_COLUMNS = ("name", "title", "model")
SPLIT_COLUMNS = ("split", "part", "subset", "set", "is_valid", "is_test", "is_train", "fold")

_SEPARATORS = ",;\t"
_MOST_SHOWN = 20  # columns
_MOST_LETTERS = 100


@dataclass(frozen=True)
class Table:
    """A CSV file.

    Attributes:
        name: how messages call it.
        columns: the header's cells, stripped.
        rows: cells as written; every row has as many as there are columns.
    """

    name: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    @property
    def base(self) -> str:
        """The name without its folders."""
        return re.split(r"[/!\\\\]", self.name)[-1]

    def find_column(self, names: Sequence[str]) -> int | None:
        """The position of the first of these lower-case names that is a column."""
        return next(iter(self.find_columns(names)), None)

    def find_columns(self, names: Sequence[str]) -> list[int]:
        """The positions of all columns that have one of these lower-case names, in the order of the
        names.
        """
        known = [column.lower() for column in self.columns]
        found = [position for position, column in enumerate(known) if column in names]
        return sorted(found, key=lambda position: names.index(known[position]))


def read_table(
    source: Path | bytes,
    name: str | None = None,
    *,
    may_lack_rows: bool = False,
    too_long: list[int] | None = None,
) -> Table:
    """Reads a CSV: UTF-8 with or without BOM, else cp1251; comma, semicolon or tab.

    The separator is the one that Excel's line "sep=;" names, else the one by which the header
    falls into the most known columns; then the one that gives the most columns. Blank lines are
    skipped, cells missing at a row's end are empty.

    Args:
        source: the file, or its bytes.
        name: how messages call it; the path's by default.
        may_lack_rows: a header alone will do.
        too_long: filled with the numbers, from 1, of rows with more cells than the header, which
            are cut then instead of refused.

    Raises:
        InputError: missing, empty, no text, no rows, or a row with more cells than the header.
    """
    if isinstance(source, Path):
        try:
            data = source.read_bytes()
        except OSError as error:
            raise InputError(f"{source} cannot be read: {error.strerror}") from error
    else:
        data = source
    name = name or (str(source) if isinstance(source, Path) else "the table")
    text = _decode_text(data, name)
    separator, text = _take_excel_line(text)
    header = next((line for line in text.splitlines() if line.strip()), None)
    if header is None:
        raise InputError(f"{name} is empty: it needs a header such as Id,Category and rows")
    separator = separator or _find_separator(header)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    columns: tuple[str, ...] = ()
    rows: list[tuple[str, ...]] = []
    try:
        for cells in reader:
            if not "".join(cells).strip():
                continue
            if len(cells) == len(columns):
                rows.append(tuple(cells))
            elif not columns:
                columns = tuple(cell.strip() for cell in cells)
            elif any(cell.strip() for cell in cells[len(columns) :]):
                if too_long is not None:
                    rows.append(tuple(cells[: len(columns)]))
                    too_long.append(len(rows))
                    continue
                raise InputError(
                    f"{name}, line {reader.line_num}: {len(cells)} cells, but the header has"
                    f" {len(columns)} ({list_some(columns, _MOST_SHOWN)}): quote cells that hold"
                    " the separator"
                )
            else:
                padded = cells[: len(columns)] + [""] * (len(columns) - len(cells))
                rows.append(tuple(padded))
    except csv.Error as error:
        reason = str(error)
        if "field larger" in reason:
            reason = (
                f"a cell of more than {csv.field_size_limit():,} letters: is it a table at all?"
            )
        raise InputError(f"{name}, line {reader.line_num}: {reason}") from error
    if not rows and not may_lack_rows:
        raise InputError(f"{name} has a header ({list_some(columns, _MOST_SHOWN)}) but no rows")
    return Table(name, columns, tuple(rows))


def read_own_table(path: Path, *, may_lack_rows: bool = False) -> Table:
    """Reads a CSV of lotlens (see `files.write_rows_atomically`): cells as they were before.

    It may have passed through a spreadsheet.

    Raises:
        InputError: see `read_table`.
    """
    table = read_table(path, may_lack_rows=may_lack_rows)
    columns = tuple(restore_cell(cell) for cell in table.columns)
    rows = tuple(tuple(restore_cell(cell) for cell in row) for row in table.rows)
    return replace(table, columns=columns, rows=rows)


def read_sample(table: Table) -> Sample:
    """A sample submission; its further columns are kept.

    Raises:
        InputError: no columns for the id and the label, or an id twice.
    """
    id_at, label_at = require_columns(table, id=ID_COLUMNS, label=LABEL_COLUMNS)
    sample = Sample(table.columns, table.rows, id_at, label_at)
    if "" in sample.ids:
        row = sample.ids.index("") + 2
        raise InputError(f"{table.name}, row {row}: {table.columns[id_at]} is empty")
    twice = [id_ for id_, count in Counter(sample.ids).items() if count > 1]
    if twice:
        raise InputError(f"{table.name} has ids more than once: {list_some(twice)}")
    return sample


def require_columns(table: Table, **roles: Sequence[str]) -> tuple[int, ...]:
    """The positions of the columns for these roles, by the names each may have.

    Raises:
        InputError: any of them is missing; names all that are missing, and the columns there are.
    """
    found = {role: table.find_column(names) for role, names in roles.items()}
    missing = [
        f"no column for the {role} (one of {', '.join(roles[role])})"
        for role, position in found.items()
        if position is None
    ]
    if missing:
        raise InputError(f"{table.name}: {' and '.join(missing)}; {_describe_columns(table)}")
    return tuple(position for position in found.values() if position is not None)


def lacks_header(table: Table) -> bool:
    """Whether the first line looks like a row: it has a number, or the name of a file."""
    return any(
        re.fullmatch(r"-?\d+([.,]\d+)?|.*\.[A-Za-z]{3,4}", cell) is not None
        for cell in table.columns
    )


def _describe_columns(table: Table) -> str:
    if lacks_header(table):
        return (
            f"its first line ({list_some(table.columns)}) looks like a row: add a line above it"
            " that names the columns, such as Id,Category"
        )
    return f"it has: {list_some(table.columns, _MOST_SHOWN)}"


def list_some(items: Iterable[str], limit: int = 5) -> str:
    """The first few items for a message, long ones cut, and how many more there are."""
    items = list(items)
    first = (
        cut if len(cut := one[:_MOST_LETTERS]) == len(one) else f"{cut}…" for one in items[:limit]
    )
    shown = ", ".join(item if item.isprintable() else repr(item) for item in first)
    return shown if len(items) <= limit else f"{shown} and {len(items) - limit:,} more"


def _decode_text(data: bytes, name: str) -> str:
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise InputError(f"{name} is UTF-16 text: save it as CSV in UTF-8")
    if b"\0" in data:
        raise InputError(f"{name} has NUL bytes: it is damaged, or no CSV file")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        pass
    try:
        return data.decode("cp1251")
    except UnicodeDecodeError:
        raise InputError(f"{name} is neither UTF-8 nor cp1251 text: save it as UTF-8") from None


def _take_excel_line(text: str) -> tuple[str, str]:
    """The separator that Excel's first line "sep=;" names, or "", and the text without the line."""
    found = re.match(r'\s*"?sep=([,;\t|]?)"?[,;\t ]*(?:\r\n|\n|\r|\Z)', text, re.IGNORECASE)
    return (found.group(1), text[found.end() :]) if found else ("", text)


def _find_separator(header: str) -> str:
    known = {
        *ID_COLUMNS,
        *LABEL_COLUMNS,
        *LISTING_COLUMNS,
        *PATH_COLUMNS,
        *SPLIT_COLUMNS,
        *CLASS_COLUMNS,
        *NAME_COLUMNS,
    }

    def judge(separator: str) -> tuple[int, int]:
        try:
            cells = next(csv.reader([header], delimiter=separator), [])
        except csv.Error:  # a cell that is too long; where all are, the reader says so
            return 0, 0
        return sum(cell.strip().lower() in known for cell in cells), len(cells)

    return max(_SEPARATORS, key=judge)


def write_place(photo: Photo) -> tuple[str, str]:
    """Where a photo lies, as two cells: its file, and the names inside zips as a JSON list.

    It is found again whatever folder the next command is started in.

    Raises:
        ValueError: it has no file.
    """
    if photo.locator is None:
        raise ValueError(f"{photo.id} has no file")
    members = json.dumps(photo.locator.members, ensure_ascii=False)
    return make_absolute(photo.locator.file), members


def read_place(file: str, members: str) -> Locator:
    """The inverse of `write_place`.

    Raises:
        ValueError: the cells are no place.
    """
    if not file or "\0" in file:
        raise ValueError(f"{file!r} is no path of a file")
    try:
        names = json.loads(members)
    except RecursionError as error:
        raise ValueError("Members is no list of names") from error
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"Members must be a JSON list of names, not {members[:80]!r}")
    return Locator(Path(file), tuple(names))
