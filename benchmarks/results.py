"""Rows of measurements in CSV files beside the scripts, so that tables can grow over sessions."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from pathlib import Path

from lotlens.files import write_rows_atomically


def read_rows(path: Path) -> list[dict[str, str]]:
    """All rows of the file, none if there is no file yet."""
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def add_row(path: Path, columns: Sequence[str], values: Sequence[object]) -> None:
    """Put a row at the end of the file."""
    rows = [[row[column] for column in columns] for row in read_rows(path)]
    write_rows_atomically(path, columns, [*rows, values])


def tell(what: str, done: int, total: int) -> None:
    """Say which step of lotlens' work has ended: its `watch`."""
    if done == total:
        print(f"    {what}", file=sys.stderr)
