"""Lists of many photos: kept on the disk, and answered behind requests until all are; no HTTP.

A job is a folder. What was uploaded lies in it as it came, under names of our own; zips are read
where they lie, and nothing is unpacked. It is a job once it has its own name, which is when all of
it is on the disk; answers are added by a few photos (`deliver.journal`), so a kill costs the answer
to those. All answers of a job are those of one model: if that changes, the job begins anew.
"""

from __future__ import annotations

import json
import logging
import math
import os
import secrets
import shutil
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from lotlens.answering.answers import join_predictions, to_rows
from lotlens.deliver.journal import Journal
from lotlens.deliver.submission import build_submission, write_submission
from lotlens.deliver.table import FOR_PEOPLE
from lotlens.errors import InputError, LotlensError, UnreadablePhoto, shorten
from lotlens.files import (
    explain,
    flush_folder,
    name_unfinished,
    remove_unfinished,
    write_json_atomically,
    write_rows_atomically,
)
from lotlens.photos.archives import PhotoReader
from lotlens.photos.joining import make_unlabelled
from lotlens.photos.places import File, Survey, descend, gather_photos, open_zip
from lotlens.records import FAMILIARITIES, OK, Locator, ModelCard, Photo, Predictions
from lotlens.refusal.verdicts import add_verdicts, decide
from lotlens.web.batching import Answered, Batching, Ending
from lotlens.web.problems import Problem
from lotlens.web.uploads import FormBounds, weigh

PIECE = 16
"""Photos that are read, answered and written at a time: what a kill costs."""
MOST_TRIES = 3
"""Ends of the process at the same photos, after which it is they that end it."""
FAILED = "the model failed at this photo"
_UPLOADS, _ABOUT, _ROWS, _END, _TRIES = "uploads", "about.json", "rows.json", "end.json", "tries"
ANSWERS, SUBMISSION = "answers.csv", "submission.csv"
_ZIP_MARKS = (b"PK\x03\x04", b"PK\x05\x06")
_MOST_DIRECTORY_BYTES = 4_000_000
_MOST_NAME_LETTERS = 200
_REST_S = 30.0
"""After a failure of the disk."""
_SMOOTHING = 0.2
log = logging.getLogger("lotlens.desk")


@dataclass(frozen=True)
class JobBounds:
    """Of jobs.

    Attributes:
        form: of what is sent for one: photos, in zips too, bytes, and the time for it.
        most_photo_bytes: of a photo; a larger one is a row without an answer.
        most_waiting: jobs that are received or not yet answered, all together.
        most_kept_bytes: of the uploads of all jobs.
        spare_bytes: that must stay free on the disk.
        photos_stay_s: after a job has ended; its photos are deleted then.
        rows_stay_s: likewise, of the job.
    """

    form: FormBounds = field(
        default_factory=lambda: FormBounds(
            most_photos=5_000,
            most_photo_bytes=2_000_000_000,
            most_body_bytes=2_000_000_000,
            patience_s=3600.0,
            idle_s=30.0,
        )
    )
    most_photo_bytes: int = 25_000_000
    most_waiting: int = 20
    most_kept_bytes: int = 20_000_000_000
    spare_bytes: int = 1_000_000_000
    photos_stay_s: float = 24 * 3600.0
    rows_stay_s: float = 30 * 24 * 3600.0


@dataclass(frozen=True)
class End:
    """How a job ended.

    Attributes:
        at: when, in UTC (ISO 8601).
        model_id: which model answered; "" where none could.
        num_silent: photos that have no answer.
        num_filled: rows of the submission that have the commonest class for want of an answer;
            None where there is no submission.
        verdicts: how many of each kind.
    """

    at: str
    model_id: str
    num_silent: int
    num_filled: int | None
    verdicts: Mapping[str, int]

    @property
    def is_failure(self) -> bool:
        return not self.model_id


@dataclass(eq=False)
class Job:
    """A list of photos to be answered.

    Attributes:
        path: its folder.
        at: when it was sent, in UTC (ISO 8601).
        num_photos: that are answered or will be.
        num_left_out: files in zips that are no photos.
        num_bytes: of what was sent, as long as it lies there.
        end: how it ended, if it did.
        model_id: which model answers; None until one does.
        rows: of its photos from the first on, while it is answered; see `Jobs.list_rows`.
    """

    path: Path
    at: str
    num_photos: int
    num_left_out: int
    num_bytes: int
    end: End | None = None
    model_id: str | None = None
    rows: list[dict[str, Any]] = field(default_factory=list)
    is_deleted: bool = False
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def id(self) -> str:
        """Nobody guesses it."""
        return self.path.name

    @property
    def num_done(self) -> int:
        num_rows = len(self.rows)  # read first: rows go once it has ended
        return num_rows if self.end is None else self.num_photos

    @property
    def has_photos(self) -> bool:
        return self.num_bytes > 0


class Receiving:
    """A job that is being sent: a `Keeper` of its photos, in a hidden folder until it is whole.

    Args:
        path: of the folder.
        num_bytes: that it may take.
    """

    def __init__(self, path: Path, num_bytes: int) -> None:
        self.path, self.num_bytes = path, num_bytes
        self.names: list[str] = []
        self._file: BinaryIO | None = None

    def begin(self, name: str) -> None:
        try:
            self.uploads_path.mkdir(parents=True, exist_ok=True)
            self._file = (self.uploads_path / _name_upload(len(self.names))).open("xb")
        except OSError as error:
            raise _tell_unwritable(error) from error
        self.names.append(name)

    def add(self, data: memoryview) -> None:
        if self._file is None:
            raise ValueError("no photo was begun")
        try:
            self._file.write(data)
        except OSError as error:
            raise _tell_unwritable(error) from error

    def end(self) -> None:
        if self._file is None:
            raise ValueError("no photo was begun")
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
        except OSError as error:
            raise _tell_unwritable(error) from error

    @property
    def uploads_path(self) -> Path:
        return self.path / _UPLOADS

    def discard(self) -> None:
        """Remove what came of it, unless it has become a job."""
        if self._file is not None:
            self._file.close()
        shutil.rmtree(self.path, ignore_errors=True)


class Jobs:
    """All jobs of a desk, and the thread that has them answered in turn. For many threads.

    Nobody else may use the folder (see `locks.hold`).

    Args:
        path: the folder that jobs lie in.
        batching: answers.
        bounds: of jobs.
    """

    def __init__(self, path: Path, batching: Batching, bounds: JobBounds | None = None) -> None:
        self.path, self.bounds = path, bounds or JobBounds()
        self._batching = batching
        self._changed = threading.Condition()
        self._jobs: dict[str, Job] = {}
        self._receiving: list[Receiving] = []
        self._rate: float | None = None  # photos per second
        self._is_closed = False
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Take up what lies in the folder, and go on with what is not answered."""
        if self.path.is_dir():
            remove_unfinished(self.path)
            found = [_open_job(path) for path in sorted(self.path.iterdir()) if path.is_dir()]
            jobs = sorted((job for job in found if job is not None), key=lambda job: job.at)
            self._jobs = {job.id: job for job in jobs}
        self._is_closed = False
        self._thread = threading.Thread(target=self._work, name="jobs", daemon=True)
        self._thread.start()

    def close(self, *, wait_s: float = 10.0) -> None:
        """Stop between photos; what is not answered goes on at the next start."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(wait_s)

    def list_all(self) -> list[Job]:
        """The latest first."""
        with self._changed:
            return list(self._jobs.values())[::-1]

    def find(self, id_: str) -> Job | None:
        with self._changed:
            return self._jobs.get(id_)

    def tell_seconds_left(self, job: Job) -> int | None:
        """Until a job is answered, with those before it; None while that is not known."""
        with self._changed:
            if job.end is not None or self._rate is None:
                return None if job.end is None else 0
            left = 0
            for one in self._jobs.values():
                if one.end is None:
                    left += one.num_photos - one.num_done
                if one is job:
                    break
            return math.ceil(left / self._rate)

    def tell_ageing(self, job: Job) -> tuple[float, float] | None:
        """When photos and rows of a job go, in seconds since 1970; None until it has ended."""
        if job.end is None:
            return None
        at_s = datetime.fromisoformat(job.end.at).timestamp()
        return at_s + self.bounds.photos_stay_s, at_s + self.bounds.rows_stay_s

    # --- receiving --------------------------------------------------------------------------------

    def admit(self, num_bytes: int) -> Receiving:
        """Room for a job whose photos are still to be read; `give_back` it at the end.

        Args:
            num_bytes: the most that they have.

        Raises:
            Problem: there is none.
        """
        with self._changed:
            num_waiting = sum(job.end is None for job in self._jobs.values())
            if num_waiting + len(self._receiving) >= self.bounds.most_waiting:
                raise Problem("too_many_jobs", retry_after_s=60, seconds="60")
            coming = num_bytes + sum(one.num_bytes for one in self._receiving)
            kept = sum(job.num_bytes for job in self._jobs.values())
            try:
                self.path.mkdir(parents=True, exist_ok=True)
                free = shutil.disk_usage(self.path).free
            except OSError as error:
                raise _tell_unwritable(error) from error
            if kept + coming > self.bounds.most_kept_bytes:
                raise Problem("no_space")
            if coming + self.bounds.spare_bytes > free:
                raise Problem("no_space")
            receiving = Receiving(name_unfinished(self.path / secrets.token_hex(16)), num_bytes)
            self._receiving.append(receiving)
            return receiving

    def give_back(self, receiving: Receiving) -> None:
        """The room of a job that was received, or will not be."""
        receiving.discard()
        with self._changed:
            self._receiving.remove(receiving)

    def accept(self, receiving: Receiving) -> Job:
        """Make a job of what was received: once this returns, it is on the disk.

        Raises:
            Problem: there is no photo, too many, a zip that cannot be read, or no room on the disk.
        """
        names = _name_apart(receiving.names)
        photos, num_left_out = _list_photos(receiving.uploads_path, names, self.bounds)
        if not photos:
            raise Problem("no_photo")
        listed = [
            {"id": photo.id, "file": photo.locator.path.name, "members": photo.locator.members}
            for photo in photos
            if photo.locator is not None
        ]
        at = _now()
        path = self.path / secrets.token_hex(16)
        num_bytes = sum(one.stat().st_size for one in receiving.uploads_path.iterdir())
        about = {"at": at, "left_out": num_left_out, "bytes": num_bytes, "photos": listed}
        try:
            write_json_atomically(receiving.path / _ABOUT, about)
            flush_folder(receiving.uploads_path)
            flush_folder(receiving.path)
            receiving.path.rename(path)
            flush_folder(self.path)
        except (OSError, LotlensError) as error:
            raise Problem("no_space") from error
        job = Job(path, at, len(photos), num_left_out, max(1, num_bytes))
        with self._changed:
            self._jobs[job.id] = job
            self._changed.notify_all()
        return job

    # --- what is known of a job -------------------------------------------------------------------

    def list_rows(self, job: Job, start: int = 0, most: int | None = None) -> list[dict[str, Any]]:
        """What is said of its photos, in their order, as far as they are answered.

        Returns:
            for each the values of `ANSWER_COLUMNS`, None where there is none, and `named`: label
            and name of each car that the verdict names.
        """
        stop = None if most is None else start + most
        rows = job.rows  # read first: they go once it has ended
        if job.end is None:
            return rows[start:stop]
        return _read_rows(job.path / _ROWS)[start:stop]

    def find_photo(self, job: Job, number: int) -> Locator | None:
        """Where a photo lies, by its number from 0; None if there is none, or none any more."""
        if not job.has_photos or not 0 <= number < job.num_photos:
            return None
        return _read_photos(job.path)[number].locator

    def delete(self, job: Job) -> None:
        """Remove a job with all that belongs to it, answered or not."""
        with self._changed:
            self._jobs.pop(job.id, None)
            self._changed.notify_all()
        with job.lock:  # what writes an answer into its folder would make that anew
            if job.is_deleted:
                return
            job.is_deleted = True
            gone = name_unfinished(job.path)
            try:
                job.path.rename(gone)
            except OSError as error:
                raise Problem("failed") from error
        shutil.rmtree(gone, ignore_errors=True)

    # --- answering --------------------------------------------------------------------------------

    def _work(self) -> None:
        """Until it is closed: the next job, or what is too old. Costs nothing while idle."""
        while True:
            with self._changed:
                self._changed.wait_for(
                    lambda: self._is_closed or self._find_next() is not None or self._is_any_old(),
                    timeout=self._tell_next_ageing(),
                )
                if self._is_closed:
                    return
                job = self._find_next()
            self._remove_old()
            if job is None:
                continue
            try:
                self._answer(job)
            except Ending:
                return
            except Exception as error:
                if job.is_deleted:
                    continue
                # The disk's, such as no space left: later it may be well.
                told = explain(error) if isinstance(error, OSError) else type(error).__name__
                log.error(json.dumps({"what": "job", "end": "failed", "why": told}))
                with self._changed:
                    self._changed.wait_for(lambda: self._is_closed, timeout=_REST_S)

    def _find_next(self) -> Job | None:
        return next((job for job in self._jobs.values() if job.end is None), None)

    def _answer(self, job: Job) -> None:
        """Answer a job until it is done, deleted, or the desk ends.

        Raises:
            Ending: nothing is answered any more.
            OSError, LotlensError: the disk does not take the answers.
        """
        if not _begin_try(job.path):
            self._end(job, End(_now(), "", job.num_photos, None, {}))
            return
        try:
            answering = _Answering(job, _read_photos(job.path), self._batching)
            with PhotoReader(max_bytes=self.bounds.most_photo_bytes) as reader:
                while not self._is_closed and not job.is_deleted:
                    answering.follow_model()
                    if len(job.rows) == job.num_photos:
                        self._finish(answering)
                        return
                    began_s, num_before = time.monotonic(), len(job.rows)
                    if answering.add(reader):
                        self._note_rate(len(job.rows) - num_before, time.monotonic() - began_s)
        finally:
            _end_tries(job.path)

    def _note_rate(self, num_photos: int, took_s: float) -> None:
        rate = num_photos / max(took_s, 1e-6)
        before = self._rate or rate
        self._rate = before + _SMOOTHING * (rate - before)

    def _finish(self, answering: _Answering) -> None:
        job, card = answering.job, answering.card
        ids = tuple(photo.id for photo in answering.photos)
        predictions = replace(join_predictions(answering.pieces), ids=ids)
        rows = describe_rows(card, predictions)
        try:
            submission = build_submission(predictions, fill=card.commonest_label or None)
        except InputError:  # photos without an answer, and no class to fill with
            submission = None
        num_silent = sum(status != OK for status in predictions.status)
        verdicts = Counter(row["verdict"] for row in rows)
        num_filled = None if submission is None else submission.num_filled
        end = End(_now(), answering.model_id, num_silent, num_filled, dict(verdicts))
        with job.lock:
            if job.is_deleted:
                return
            write_json_atomically(job.path / _ROWS, rows)
            cells = (FOR_PEOPLE.list_cells(row) for row in rows)
            write_rows_atomically(job.path / ANSWERS, [*FOR_PEOPLE.columns], cells)
            if submission is not None:
                write_submission(job.path / SUBMISSION, submission)
        self._end(job, end)
        answering.journal.remove()
        told = {"what": "job", "end": "answered", "photos": job.num_photos}
        log.info(json.dumps(told))

    def _end(self, job: Job, end: End) -> None:
        with job.lock:
            if job.is_deleted:
                return
            write_json_atomically(job.path / _END, asdict(end))
        with self._changed:
            job.model_id, job.end, job.rows = end.model_id or None, end, []

    # --- what is too old --------------------------------------------------------------------------

    def _list_ageing(self) -> list[tuple[float, Job, bool]]:
        """When something of each job goes, and whether that is all of it."""
        found = []
        for job in self._jobs.values():
            times = self.tell_ageing(job)
            if times is not None:
                if job.has_photos and times[0] < times[1]:
                    found.append((times[0], job, False))
                else:
                    found.append((times[1], job, True))
        return found

    def _tell_next_ageing(self) -> float | None:
        times = [at_s for at_s, _, _ in self._list_ageing()]
        return min(max(0.0, min(times) - time.time()), 3600.0) if times else None

    def _is_any_old(self) -> bool:
        return any(at_s <= time.time() for at_s, _, _ in self._list_ageing())

    def _remove_old(self) -> None:
        with self._changed:
            found = self._list_ageing()
        for at_s, job, is_all in found:
            if at_s > time.time():
                continue
            if is_all:
                with suppress(Problem):
                    self.delete(job)
            else:
                shutil.rmtree(job.path / _UPLOADS, ignore_errors=True)
                job.num_bytes = 0


class _Answering:
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
                reasons[row] = str(error).replace(str(self.job.path / _UPLOADS) + os.sep, "")
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
            self.journal.add(len(self.pieces), piece)
        _end_tries(self.job.path)
        self.pieces.append(piece)
        self.job.rows = [*self.job.rows, *rows]
        return True

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
                np.full((1, len(FAMILIARITIES)), np.nan, np.float32),
            )
        if answered.served is not self._served:
            return None
        return replace(answered.predictions, ids=(str(number),))

    def _read(self, future: Future[Answered]) -> Answered:
        while True:
            try:
                return future.result(1.0)
            except TimeoutError:
                if future.done():  # it is the model's own
                    raise
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


def _list_photos(
    uploads_path: Path, names: Sequence[str], bounds: JobBounds
) -> tuple[tuple[Photo, ...], int]:
    """The photos of what was sent, and how many other files lie in its zips.

    Raises:
        Problem: a zip cannot be read, or there are too many photos.
    """
    files: list[File] = []
    num_left_out = 0
    most = bounds.form.most_photos
    reader = PhotoReader(
        max_directory_bytes=_MOST_DIRECTORY_BYTES, max_inner_bytes=bounds.form.most_body_bytes
    )
    with reader:
        for number, name in enumerate(names):
            path = uploads_path / _name_upload(number)
            if not _is_zip(path, name):
                files.append(File(name, Locator(path), is_photo=True))
                continue
            survey = Survey(reader)
            try:
                found = gather_photos(descend(open_zip(Locator(path), survey), survey), survey)
            except InputError as error:
                told = shorten(str(error).replace(str(path), name))
                raise Problem("bad_zip", reason=told) from None
            num_left_out += len(survey.listed.keys() - survey.used) - len(found)
            head = f"{name}/" if len(names) > 1 else ""
            files += [File(f"{head}{one.name}", one.locator, is_photo=True) for one in found]
            if len(files) > most:
                break
    if len(files) > most:
        raise Problem("too_many_photos", limit=f"{most:,}")
    return make_unlabelled(files), num_left_out


def _is_zip(path: Path, name: str) -> bool:
    with path.open("rb") as file:
        return name.lower().endswith(".zip") or file.read(4) in _ZIP_MARKS


def _name_upload(number: int) -> str:
    return f"{number:06}"


def _name_apart(names: Sequence[str]) -> list[str]:
    """Names for people of files that were sent, none twice and none a path."""
    used: set[str] = set()
    found = []
    for name in names:
        base = name.replace("\\", "/").rpartition("/")[2].strip()[:_MOST_NAME_LETTERS]
        base = "".join(sign for sign in base if sign.isprintable()) or "photo"
        stem, dot, ending = base.rpartition(".")
        one, number = base, 1
        while one in used:
            number += 1
            one = f"{stem} ({number}){dot}{ending}" if dot else f"{base} ({number})"
        used.add(one)
        found.append(one)
    return found


def _open_job(path: Path) -> Job | None:
    """A job as it lies on the disk; None if it is damaged."""
    try:
        about = json.loads((path / _ABOUT).read_text("utf-8"))
        num_bytes = int(about["bytes"]) if (path / _UPLOADS).is_dir() else 0
        job = Job(path, str(about["at"]), len(about["photos"]), int(about["left_out"]), num_bytes)
        datetime.fromisoformat(job.at)
        if (path / _END).is_file():
            job.end = End(**json.loads((path / _END).read_text("utf-8")))
            datetime.fromisoformat(job.end.at)
            job.model_id = job.end.model_id or None
        return job
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.error(json.dumps({"what": "job", "end": "damaged", "why": type(error).__name__}))
        return None


@lru_cache(maxsize=2)
def _read_photos(path: Path) -> tuple[Photo, ...]:
    """The photos of the job in this folder, which never change."""
    about = json.loads((path / _ABOUT).read_text("utf-8"))
    uploads_path = path / _UPLOADS
    return tuple(
        Photo(one["id"], Locator(uploads_path / one["file"], tuple(one["members"])))
        for one in about["photos"]
    )


@lru_cache(maxsize=2)
def _read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a job that has ended, which never change; none where no model answered."""
    if not path.is_file():
        return []
    rows: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))
    return rows


def _begin_try(path: Path) -> bool:
    """Note that photos are tried; False if the process has ended at these too often already."""
    tries_path = path / _TRIES
    try:
        num_tries = int(tries_path.read_text("ascii"))
    except (OSError, ValueError):
        num_tries = 0
    if num_tries >= MOST_TRIES:
        return False
    tries_path.write_text(str(num_tries + 1), "ascii")
    return True


def _end_tries(path: Path) -> None:
    (path / _TRIES).unlink(missing_ok=True)


def _tell_unwritable(error: OSError) -> Problem:
    log.error(json.dumps({"what": "job", "end": "not received", "why": explain(error)}))
    return Problem("no_space")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
