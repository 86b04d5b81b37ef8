"""Rows of measurements in CSV files beside the scripts, so that tables can grow over sessions."""

from __future__ import annotations

import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lotlens.files import write_rows_atomically
from lotlens.judge.compare import Answers


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


def read_right(row: dict[str, str]) -> list[bool]:
    """Whether each photo was answered rightly: a hexadecimal number of one bit a photo, by id."""
    return [bit == "1" for bit in f"{int(row['right'], 16):0{int(row['photos'])}b}"]


def read_answers(rows: Sequence[dict[str, str]]) -> Answers:
    """The answers of runs that differ in the seed alone."""
    right = np.array([read_right(row) for row in rows])
    return Answers(
        tuple(int(row["seed"]) for row in rows), tuple(map(str, range(right.shape[1]))), right
    )


def tell(what: str, done: int, total: int) -> None:
    """Say which step of lotlens' work has ended: its `watch`."""
    if done == total:
        print(f"    {what}", file=sys.stderr)
