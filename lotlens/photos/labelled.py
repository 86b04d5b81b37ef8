"""Photos with the labels that people decided on, and photos put beside each other with labels."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from lotlens.errors import InputError, OutputError
from lotlens.files import write_bytes_atomically, write_rows_atomically
from lotlens.naming import fold_name
from lotlens.photos.decisions import Decision, apply_decisions, decisions_path, read_decisions
from lotlens.photos.labels import PLAIN_RULES, LabelRules
from lotlens.photos.sources import open_lot
from lotlens.photos.tables import read_own_table
from lotlens.records import Lot


def open_data(
    data: Path,
    decisions: Sequence[Decision] | None = None,
    rules: LabelRules = PLAIN_RULES,
) -> Lot:
    """Photos with the labels that people decided on.

    Args:
        data: in any form that `open_lot` knows.
        decisions: None for those in the file beside the data, if there is one.
        rules: what a person says of labels that are not plain.

    Raises:
        InputError: the data or the decisions cannot be read.
    """
    decided = read_decisions(decisions_path(data)) if decisions is None else decisions
    lot = open_lot(data, rules=rules)
    return apply_decisions(lot, decided) if decided else lot


_COLUMNS = ("path", "category", "listing")


def add_labelled(folder: Path, photos: Iterable[tuple[bytes, str, str]]) -> int:
    """Add photos to a folder that `open_lot` reads, which is made if it is missing.

    A photo's name is made of its bytes: what is there already stays as it is, and so does what runs
    have learnt from there. Labels that differ in spelling alone become the first of them.

    Args:
        folder: with photos/ and labels.csv.
        photos: bytes, label and advert of each.

    Returns:
        how many photos lie there then.

    Raises:
        InputError: labels.csv was written by others.
        OutputError: it cannot be written.
    """
    table = folder / "labels.csv"
    rows: dict[str, tuple[str, str]] = {}
    if table.exists():
        before = read_own_table(table, may_lack_rows=True)
        if before.columns != _COLUMNS:
            raise InputError(f"{table} was not written by lotlens: move it away")
        rows = {path: (label, listing) for path, label, listing in before.rows}
    spelt = {fold_name(label): label for label, _ in rows.values()}
    try:
        (folder / "photos").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder} cannot be written: {error.strerror}") from error
    for data, label, listing in photos:
        place = f"photos/{hashlib.sha256(data).hexdigest()[:24]}.jpg"
        if place in rows:
            continue
        rows[place] = (spelt.setdefault(fold_name(label), label), listing)
        if not (folder / place).exists():
            write_bytes_atomically(folder / place, data)
    write_rows_atomically(table, _COLUMNS, [(path, *told) for path, told in rows.items()])
    return len(rows)
