"""The decisions that reviewers take on a page, each saved as it is taken."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from lotlens.errors import InputError
from lotlens.photos.decisions import Decision, read_decisions, write_decisions


class Decided:
    """The decisions on the disk, changed one at a time; for many threads.

    What others (a spreadsheet, a second server) wrote to the file meanwhile is read before each
    change, never overwritten.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._stamp: tuple[int, ...] | None = None
        self._decisions: dict[str, Decision] = {}
        with self._lock:
            self._catch_up()

    def list_all(self) -> tuple[Decision, ...]:
        """All of them, the last one taken last.

        Raises:
            InputError: the file was damaged meanwhile.
        """
        with self._lock:
            self._catch_up()
            return tuple(self._decisions.values())

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
        with self._lock:
            self._catch_up()
            decisions = {id_: one for id_, one in self._decisions.items() if id_ != photo_id}
            if decision is not None:
                decisions[photo_id] = decision
            if decisions != self._decisions:
                write_decisions(self.path, decisions.values())
                self._decisions, self._stamp = decisions, self._read_stamp()
            return len(decisions)

    def _catch_up(self) -> None:
        stamp = self._read_stamp()
        if stamp != self._stamp:
            self._decisions = {one.photo_id: one for one in read_decisions(self.path)}
            self._stamp = stamp

    def _read_stamp(self) -> tuple[int, ...]:
        try:
            status = os.stat(self.path)
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise InputError(f"{self.path} cannot be read: {error.strerror}") from error
        return status.st_ino, status.st_size, status.st_mtime_ns
