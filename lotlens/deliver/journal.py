"""Answers kept piece by piece until all are there; it knows neither models nor photos.

Answering for a hundred thousand photos takes an hour. Each finished piece is written to a hidden
folder beside the file that is to come, whole or not at all, and the same command takes up what lies
there.
"""

from __future__ import annotations

import glob
import hashlib
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from lotlens.answering.answers import load_predictions, save_predictions
from lotlens.errors import BundleError
from lotlens.files import name_hidden
from lotlens.records import Predictions


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

    def read(self) -> Iterator[Predictions]:
        """What is there, in order; a piece that does not fit and all behind it are thrown away.

        So is what was written about anything else.
        """
        for path in self.path.parent.glob(f"{glob.escape(self._stem)}.*.pieces"):
            if path != self.path:
                shutil.rmtree(path, ignore_errors=True)
        number = start = 0
        while (path := self._piece_path(number)).is_file():
            try:
                piece = load_predictions(path)
            except BundleError:
                break
            if not piece.ids or piece.ids != self._ids[start : start + len(piece.ids)]:
                break
            yield piece
            number, start = number + 1, start + len(piece.ids)
        for path in self.path.glob("*.npz"):
            if path.name >= self._piece_path(number).name:
                path.unlink()

    def add(self, number: int, piece: Predictions) -> None:
        """Keep the piece of that number, counted from 0.

        Raises:
            OutputError: it cannot be written.
        """
        save_predictions(self._piece_path(number), piece)

    def remove(self) -> None:
        """Delete the folder: the file is written."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _piece_path(self, number: int) -> Path:
        return self.path / f"{number:06}.npz"
