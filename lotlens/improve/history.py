"""The rounds of improvement that a run knows of: rounds.csv."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from lotlens.errors import InputError
from lotlens.files import write_rows_atomically
from lotlens.improve.gate import Judgement
from lotlens.improve.plan import RoundPlan
from lotlens.photos.tables import read_own_table, require_columns
from lotlens.run import RunFolder
from lotlens.values import read_count, read_named, read_number

_COLUMNS = (
    *("Round", "Run", "Parent", "What", "Added", "Hard", "Relabelled", "LeftOut", "Judged"),
    *("Photos", "Before", "After", "Difference", "Low", "High", "Accepted", "Sentence"),
)


def read_rounds(run: RunFolder) -> tuple[Mapping[str, str], ...]:
    """One row for each round that led to a run or began with it; none without the file.

    Raises:
        InputError: the file is damaged.
    """
    if not run.rounds_path.is_file():
        return ()
    table = read_own_table(run.rounds_path)
    places = require_columns(table, **{column: (column.lower(),) for column in _COLUMNS})
    rows = tuple(
        dict(zip(_COLUMNS, (row[place] for place in places), strict=True)) for row in table.rows
    )
    for number, row in enumerate(rows, start=2):
        try:
            for column, read in _NUMBERS.items():
                read_named(column, read, _parse(row[column]))
        except ValueError as error:
            raise InputError(f"{run.rounds_path} is damaged at row {number}: {error}") from error
    return rows


def _parse(text: str) -> object:
    """The number that a cell holds, or else its text."""
    with suppress(ValueError):
        return int(text)
    with suppress(ValueError):
        return float(text)
    return text


_NUMBERS: Mapping[str, Callable[[object], object]] = {
    **dict.fromkeys(("Round", "Added", "Hard", "Relabelled", "LeftOut", "Photos"), read_count),
    **dict.fromkeys(("Before", "After", "Difference", "Low", "High"), read_number),
}


def list_others(run: RunFolder, candidate: RunFolder, number: int) -> tuple[Mapping[str, str], ...]:
    """The rounds that a run knows of, but for that of a number that made a candidate."""
    own = (candidate.path.name, run.path.name, str(number))
    known = read_rounds(run)
    return tuple(row for row in known if (row["Run"], row["Parent"], row["Round"]) != own)


def write_rounds(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Write rows as `read_rounds` and `describe_round` give them.

    Raises:
        OutputError: the file cannot be written.
    """
    write_rows_atomically(path, _COLUMNS, [[row[column] for column in _COLUMNS] for row in rows])


def count_round(run: RunFolder) -> int:
    """The number of the latest round that a run knows of."""
    numbers = [int(row["Round"]) for row in read_rounds(run)]
    return max(numbers, default=0)


def count_judged(rows: Sequence[Mapping[str, str]], judged_on: str) -> int:
    """How many candidates the gate has judged on a part ("locked", "folds" or "validation")."""
    return sum(row["Judged"] == judged_on for row in rows)


def describe_round(
    folder: RunFolder, parent: RunFolder, plan: RoundPlan, judgement: Judgement
) -> dict[str, str]:
    """The row of a round that is done."""
    comparison, pair = judgement.comparison, judgement.comparison.pair
    cells = (
        str(plan.number),
        folder.path.name,
        parent.path.name,
        plan.what,
        str(len(plan.additions)),
        str(plan.num_hard),
        str(len(plan.relabelled)),
        str(len(plan.left_out)),
        plan.judged_on,
        str(pair.num_photos),
        f"{comparison.second:.4f}",
        f"{comparison.first:.4f}",
        f"{pair.difference:.4f}",
        f"{pair.low:.4f}",
        f"{pair.high:.4f}",
        "yes" if judgement.accepted else "no",
        judgement.sentence,
    )
    return dict(zip(_COLUMNS, cells, strict=True))
