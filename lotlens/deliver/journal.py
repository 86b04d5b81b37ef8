"""Answers kept piece by piece until all are there; it knows neither models nor photos.

Answering for a hundred thousand photos takes an hour. Each finished piece is written to a hidden
folder beside the file that is to come, whole or not at all, and the same command takes up what lies
there. A piece is named by the rows that it answers, so pieces may come in any order: from several
machines, and before or after a kill.
"""

from __future__ import annotations

import glob
import hashlib
import re
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from lotlens.answering.answers import load_predictions, save_predictions
from lotlens.errors import BundleError
from lotlens.files import name_hidden
from lotlens.records import Predictions

_NAME = re.compile(r"(\d{9})-(\d{9})\.npz")


class Journal:
    """Pieces of the answers that a file is made of.

    The folder is named by the file and by what is asked, so that pieces of one question never lie
    among those of another; each piece has the ids of its photos besides. Whoever writes the file
    holds it (see `locks.hold`), so that there is one journal at a time.

    Args:
        out_path: the file to come; the journal is a hidden folder beside it.
        about: all that the answers depend on.
        ids: of the photos, in the order in which they are answered.
    """

    def __init__(self, out_path: Path, about: str, ids: Sequence[str]) -> None:
        mark = hashlib.sha256(about.encode("utf-8", "surrogateescape")).hexdigest()[:24]
        self._stem = name_hidden(out_path)
        self.path = out_path.with_name(f"{self._stem}.{mark}.pieces")
        self._ids = tuple(ids)

    def find_gaps(self) -> list[range]:
        """Rows that have no answer yet, as ranges in order; none if all have one.

        A piece that does not fit is thrown away, and so is what was written about anything else.
        """
        for path in self.path.parent.glob(f"{glob.escape(self._stem)}.*.pieces"):
            if path != self.path:
                shutil.rmtree(path, ignore_errors=True)
        gaps, done = [], 0
        for path, rows in self._list_pieces():
            if rows.start < done or self._load(path, rows) is None:
                path.unlink()
                continue
            if rows.start > done:
                gaps.append(range(done, rows.start))
            done = rows.stop
        if done < len(self._ids):
            gaps.append(range(done, len(self._ids)))
        return gaps

    def read(self) -> Iterator[Predictions]:
        """What is there, in order, up to the first row without an answer.

        What lies behind that stays, but is not given.
        """
        done = 0
        for path, rows in self._list_pieces():
            piece = self._load(path, rows) if rows.start == done else None
            if piece is None:
                return
            yield piece
            done = rows.stop

    def add(self, start: int, piece: Predictions) -> None:
        """Keep the answers to the photos from a row on, counted from 0.

        Raises:
            OutputError: it cannot be written.
        """
        save_predictions(self._piece_path(range(start, start + len(piece.ids))), piece)

    def remove(self) -> None:
        """Delete the folder: the file is written."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _list_pieces(self) -> Iterator[tuple[Path, range]]:
        """Pieces by their names, in the order of their rows."""
        for path in sorted(self.path.glob("*.npz")):
            named = _NAME.fullmatch(path.name)
            if named is not None:
                yield path, range(int(named[1]), int(named[2]))

    def _load(self, path: Path, rows: range) -> Predictions | None:
        """A piece; None if it is damaged, or of other photos."""
        try:
            piece = load_predictions(path)
        except BundleError:
            return None
        own = self._ids[rows.start : rows.stop]
        return piece if own and piece.ids == own else None

    def _piece_path(self, rows: range) -> Path:
        return self.path / f"{rows.start:09}-{rows.stop:09}.npz"
