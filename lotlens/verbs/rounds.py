"""List the rounds of improvement that led to a run, and those that began with it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lotlens.improve.history import read_rounds
from lotlens.run import RunFolder


def list_rounds(run: Path | str) -> tuple[Mapping[str, str], ...]:
    """The rounds that led to a run and those that began with it, as in its rounds.csv.

    Raises:
        BundleError: no such run.
        InputError: the file is damaged.
    """
    return read_rounds(RunFolder.open(Path(run)))
