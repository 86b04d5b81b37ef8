"""The decisions that reviewers take on a page, each saved as it is taken."""

from __future__ import annotations

import threading
from pathlib import Path

from lotlens.locks import hold
from lotlens.photos.decisions import Decision, read_decisions, write_decisions

_PATIENCE_S = 5.0


class Decided:
    """The decisions on the disk, changed one at a time; for many threads.

    What others (a spreadsheet, a second server) wrote to the file meanwhile is read before each
    change, never overwritten: servers keep each other out by a lock on the file.

    Raises:
        InputError: the file is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        read_decisions(path)

    def list_all(self) -> tuple[Decision, ...]:
        """All of them, the last one taken last.

        Raises:
            InputError: the file was damaged meanwhile.
        """
        return read_decisions(self.path)

    def put(self, decision: Decision) -> int:
        """Keep a decision in place of an earlier one of its photo; returns how many there are.

        Raises:
            InputError: the file was damaged meanwhile.
            OutputError: it cannot be written. Nothing has changed then.
        """
        return self._change(decision.photo_id, decision)

    def take_back(self, photo_id: str) -> int:
        """Remove the decision of a photo, if there is one; returns how many are left.

        Raises:
            InputError, OutputError: as for `put`.
        """
        return self._change(photo_id, None)

    def _change(self, photo_id: str, decision: Decision | None) -> int:
        # Threads wait for each other without asking the disk; a page waits no longer than 10 s.
        with self._lock, hold(self.path, "review", wait_s=_PATIENCE_S):
            before = read_decisions(self.path)
            decisions = [one for one in before if one.photo_id != photo_id]
            if decision is not None:
                decisions.append(decision)
            if (*decisions,) != before:
                write_decisions(self.path, decisions)
            return len(decisions)
