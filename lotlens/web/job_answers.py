"""One list of photos answered by one model, a few at a time, each time on the disk."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

import numpy as np

from lotlens.answering.answers import join_predictions, to_rows
from lotlens.deliver.journal import Journal
from lotlens.deliver.submission import build_submission, write_submission
from lotlens.deliver.table import FOR_PEOPLE
from lotlens.errors import InputError, UnreadablePhoto
from lotlens.files import write_json_atomically, write_rows_atomically
from lotlens.photos.archives import PhotoReader
from lotlens.records import FAMILIARITIES, OK, ModelCard, Photo, Predictions
from lotlens.refusal.familiarity import list_words
from lotlens.refusal.verdicts import add_verdicts, decide
from lotlens.web.batching import Answered, Batching, Ending
from lotlens.web.job_files import ANSWERS, ROWS, SUBMISSION, UPLOADS, End, Job, end_tries, tell_now
from lotlens.web.uploads import weigh

PIECE = 16
"""Photos that are read, answered and written at a time: what a kill costs."""
FAILED = "the model failed at this photo"


class Answering:
    """A job that is being answered by one model."""

    def __init__(self, job: Job, photos: Sequence[Photo], batching: Batching) -> None:
        self.job, self.photos = job, photos
        self._batching = batching
        self._served = batching.served
        self._begin()

    def _begin(self) -> None:
        job = self.job
        ids = [str(number) for number in range(job.num_photos)]
        self.journal = Journal(job.path / ANSWERS, self._served.id, ids)
        self.journal.find_gaps()  # what does not fit is thrown away
        self.pieces = list(self.journal.read())
        rows = [row for piece in self.pieces for row in self._describe(piece)]
        job.model_id, job.rows = self._served.id, rows

    def _describe(self, piece: Predictions) -> list[dict[str, Any]]:
        named = tuple(self.photos[int(number)].id for number in piece.ids)
        return describe_rows(self.card, replace(piece, ids=named))

    @property
    def model_id(self) -> str:
        return self._served.id

    @property
    def card(self) -> ModelCard:
        return self._served.model.card

    def follow_model(self) -> None:
        """Begin anew if another model answers now."""
        if self._batching.served is not self._served:
            self._served = self._batching.served
            self._begin()

    def add(self, reader: PhotoReader) -> bool:
        """Answer the next photos and write that down; not if the model has changed meanwhile.

        Raises:
            Ending: nothing is answered any more.
            OutputError: the disk does not take the answers.
        """
        first = len(self.job.rows)
        batch = self.photos[first : first + PIECE]
        data, reasons = [], {}
        for row, photo in enumerate(batch):
            try:
                data.append(b"" if photo.locator is None else reader.read(photo.locator))
            except (UnreadablePhoto, InputError) as error:
                data.append(b"")
                reasons[row] = str(error).replace(str(self.job.path / UPLOADS) + os.sep, "")
        found = self._ask(data)
        if found is None:
            return False
        piece = replace(
            found,
            ids=tuple(str(first + row) for row in range(len(batch))),
            status=tuple(reasons.get(row, status) for row, status in enumerate(found.status)),
        )
        rows = self._describe(piece)
        with self.job.lock:
            if self.job.is_deleted:
                return False
            self.journal.add(first, piece)
        end_tries(self.job.path)
        self.pieces.append(piece)
        self.job.rows = [*self.job.rows, *rows]
        return True

    def finish(self) -> End | None:
        """Write the files of a job that is answered wholly; None if it is deleted.

        Raises:
            OutputError: the disk does not take them.
        """
        job, card = self.job, self.card
        ids = tuple(photo.id for photo in self.photos)
        predictions = replace(join_predictions(self.pieces), ids=ids)
        rows = describe_rows(card, predictions)
        try:
            submission = build_submission(predictions, fill=card.commonest_label or None)
        except InputError:  # photos without an answer, and no class to fill with
            submission = None
        num_silent = sum(status != OK for status in predictions.status)
        verdicts = Counter(row["verdict"] for row in rows)
        num_filled = None if submission is None else submission.num_filled
        end = End(tell_now(), self.model_id, num_silent, num_filled, dict(verdicts))
        with job.lock:
            if job.is_deleted:
                return None
            write_json_atomically(job.path / ROWS, rows)
            cells = (FOR_PEOPLE.list_cells(row) for row in rows)
            write_rows_atomically(job.path / ANSWERS, [*FOR_PEOPLE.columns], cells)
            if submission is not None:
                write_submission(job.path / SUBMISSION, submission)
        return end

    def _ask(self, data: Sequence[bytes]) -> Predictions | None:
        """The model's answers; None if another one has answered.

        Raises:
            Ending: nothing is answered any more.
        """
        try:
            answered = self._read(self._batching.submit_behind(weigh(list(data))))
        except Ending:
            raise
        except Exception:  # whatever a model raises: it may be one photo's fault
            parts = [self._ask_alone(one, number) for number, one in enumerate(data)]
            whole = [part for part in parts if part is not None]
            return join_predictions(whole) if len(whole) == len(parts) else None
        return answered.predictions if answered.served is self._served else None

    def _ask_alone(self, data: bytes, number: int) -> Predictions | None:
        try:
            answered = self._read(self._batching.submit_behind(weigh([data])))
        except Ending:
            raise
        except Exception:
            classes = self.card.classes
            return Predictions(
                (str(number),),
                np.full((1, len(classes)), np.nan, np.float32),
                None,
                (FAILED,),
                classes,
                ("",),
                np.full((1, len(FAMILIARITIES) + len(list_words(self.card))), np.nan, np.float32),
            )
        if answered.served is not self._served:
            return None
        return replace(answered.predictions, ids=(str(number),))

    def _read(self, future: Future[Answered]) -> Answered:
        while True:
            try:
                return future.result(1.0)
            except TimeoutError:
                if future.done():  # the model's own, or an answer that has just come
                    return future.result()
                if self._batching.is_ending:
                    raise Ending from None


def describe_rows(card: ModelCard, predictions: Predictions) -> list[dict[str, Any]]:
    """As `Jobs.list_rows` gives them."""
    verdicts = decide(predictions, card.refusal, card.temperature)
    rows = add_verdicts(to_rows(predictions, card.temperature), verdicts)
    return [
        {name: _drop_nan(value) for name, value in row.items()}
        | {"named": [[car.label, car.name] for car in verdict.named]}
        for row, verdict in zip(rows, verdicts, strict=True)
    ]


def _drop_nan(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value
