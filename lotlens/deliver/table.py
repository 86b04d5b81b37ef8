"""What stands in a table of answers, for people and for programs; it knows no file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lotlens.deliver.model import ANSWER_COLUMNS
from lotlens.refusal.verdicts import NAMING

TABLE_COLUMNS = {
    "id": "id",
    "class": "label",
    "name": "name",
    "probability": "probability",
    "verdict": "verdict",
    "reason": "reason",
    "candidates": "candidates",
    "status": "status",
}
"""Column of a table for people -> that of ANSWER_COLUMNS."""


@dataclass(frozen=True)
class Table:
    """What stands in a table of answers.

    Attributes:
        columns: each of its columns -> that of ANSWER_COLUMNS.
        is_for_people: numbers are short, and no car is named where the verdict names none.
    """

    columns: Mapping[str, str]
    is_for_people: bool = False

    def list_cells(self, row: Mapping[str, Any]) -> list[object]:
        if not self.is_for_people:
            return [row[column] for column in self.columns.values()]
        if row["verdict"] not in NAMING:  # the network's guess is none
            row = {**row, "label": None, "name": None}
        # Further digits differ with how many photos are answered at a time, and say nothing.
        cells = (row[column] for column in self.columns.values())
        return [round(cell, 4) if isinstance(cell, float) else cell for cell in cells]


DETAILS = Table({column: column for column in ANSWER_COLUMNS})
FOR_PEOPLE = Table(TABLE_COLUMNS, is_for_people=True)
