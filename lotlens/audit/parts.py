"""The parts of a split: what is trained on, held out and locked, and the file that says so."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from pathlib import Path

from lotlens.errors import BundleError, shorten
from lotlens.files import write_rows_atomically
from lotlens.records import Split
from lotlens.texts import restore_cell

TRAIN = "train"
VALIDATION = "validation"
LOCKED = "locked"
FOLD = "fold-"
_LONGEST_SEED = 20  # signs; Python refuses to read whole numbers of thousands
_COLUMNS = ("Id", "Part", "Seed", "Fingerprint")


def count_folds(split: Split) -> int:
    """How many folds a split has; 0 for a single hold-out."""
    return sum(part.startswith(FOLD) for part in split.parts)


def pair_sides(split: Split) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
    """What is trained on and what is held out: ids of one pair, or of a pair per fold.

    Photos of a locked part are in neither. In a fold's pair the training side holds all other
    folds, in order.
    """
    folds = [ids for part, ids in split.parts.items() if part.startswith(FOLD)]
    if not folds:
        return ((split.parts[TRAIN], split.parts[VALIDATION]),)
    return tuple(
        (tuple(id_ for other in folds if other is not held_out for id_ in other), held_out)
        for held_out in folds
    )


def list_held_out(split: Split) -> list[str]:
    """Ids of the photos that are validated once, fold after fold where there are folds."""
    return [id_ for _, held_out in pair_sides(split) for id_ in held_out]


def list_learnt(split: Split) -> list[str]:
    """Ids of the photos that a model, or any of its members, was trained on."""
    return list(dict.fromkeys(id_ for kept, _ in pair_sides(split) for id_ in kept))


def hash_split(split: Split) -> str:
    """SHA-256 (hex) of who is in which part, of the seed and of the photos' fingerprint."""
    parts = {part: list(ids) for part, ids in split.parts.items() if ids}
    text = json.dumps([parts, split.seed, split.fingerprint])
    return hashlib.sha256(text.encode()).hexdigest()


def write_split(path: Path, split: Split) -> None:
    """Write a split as CSV with the columns Id, Part, Seed and Fingerprint.

    Raises:
        OutputError: the file cannot be written.
    """
    write_rows_atomically(
        path,
        _COLUMNS,
        (
            (id_, part, split.seed, split.fingerprint)
            for part, ids in split.parts.items()
            for id_ in ids
        ),
    )


def read_split(path: Path) -> Split:
    """Read what `write_split` wrote.

    Raises:
        BundleError: the file is missing or damaged, or names a photo twice.
    """
    try:
        if path.exists() and not path.is_file():
            raise BundleError(f"the split {path} cannot be read: it is not a plain file")
        text = path.read_bytes().decode("utf-8-sig", "surrogateescape")
        reader = csv.reader(io.StringIO(text, newline=""), strict=True)
        rows = [[restore_cell(cell) for cell in row] for row in reader]
    except OSError as error:
        raise BundleError(f"the split {path} cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise BundleError(f"the split {path} cannot be read: {error}; draw it anew") from error
    if len(rows) < 2 or tuple(rows[0]) != _COLUMNS:
        raise BundleError(
            f"the split {path} is damaged: it needs the header {','.join(_COLUMNS)} and a row or"
            " more; draw it anew"
        )
    parts: dict[str, list[str]] = {}
    seen: set[str] = set()
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(_COLUMNS) or row[2:] != rows[1][2:] or not _is_whole(row[2]):
            told = shorten(",".join(row), 200)
            raise BundleError(f"the split {path} is damaged at row {number}: {told}")
        id_, part = row[:2]
        if id_ in seen:
            told = shorten(id_, 200)
            raise BundleError(f"the split {path} names the photo {told} twice; draw it anew")
        seen.add(id_)
        parts.setdefault(part, []).append(id_)
    return Split(
        {part: tuple(ids) for part, ids in parts.items()}, int(rows[1][2]), fingerprint=rows[1][3]
    )


def _is_whole(text: str) -> bool:
    return len(text) <= _LONGEST_SEED and text.removeprefix("-").isdecimal()
