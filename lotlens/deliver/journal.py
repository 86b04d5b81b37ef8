"""Answers kept piece by piece until all are there; it knows neither models nor photos.

Answering for a hundred thousand photos takes an hour. Each finished piece is written to a hidden
folder beside the file that is to come, whole or not at all, and the same command takes up what lies
there.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from lotlens.answering.answers import load_predictions, save_predictions
from lotlens.errors import BundleError
from lotlens.files import write_text_atomically
from lotlens.records import Predictions

_ABOUT = "about.json"


class Journal:
    """Pieces of the answers that a file is made of.

    Args:
        out_path: the file to come; the journal is the folder ".NAME.pieces" beside it.
        about: all that the answers depend on. What was written about anything else is removed.
    """

    def __init__(self, out_path: Path, about: str) -> None:
        self.path = out_path.with_name(f".{out_path.name}.pieces")
        self._about = {"about": about}

    def read(self) -> Iterator[Predictions]:
        """What is there, in order; a damaged piece and all behind it are left out."""
        if self._read_about() != self._about:
            self.remove()
        number = 0
        while (path := self._piece_path(number)).is_file():
            try:
                piece = load_predictions(path)
            except BundleError:
                return
            yield piece
            number += 1

    def add(self, number: int, piece: Predictions) -> None:
        """Keep the piece of that number, counted from 0.

        Raises:
            OutputError: it cannot be written.
        """
        if number == 0:
            write_text_atomically(self.path / _ABOUT, json.dumps(self._about))
        save_predictions(self._piece_path(number), piece)

    def remove(self) -> None:
        """Delete the folder: the file is written, or its pieces are of no use."""
        shutil.rmtree(self.path, ignore_errors=True)

    def _piece_path(self, number: int) -> Path:
        return self.path / f"{number:06}.npz"

    def _read_about(self) -> object:
        try:
            return json.loads((self.path / _ABOUT).read_text("utf-8"))
        except (OSError, ValueError, RecursionError):
            return None
