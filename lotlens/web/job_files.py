"""One list of photos as a folder: what was sent for it and what is known; it answers nothing.

What was uploaded lies there as it came, under names of our own; zips are read where they lie, and
nothing is unpacked. It is a job once it has its own name, which is when all of it is on the disk.
"""

from __future__ import annotations

import errno
import json
import logging
import shutil
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

from lotlens.errors import InputError, OutputError, shorten
from lotlens.files import explain, flush_file, flush_folder, write_json_atomically
from lotlens.photos.archives import PhotoReader
from lotlens.photos.joining import make_unlabelled
from lotlens.photos.places import File, Survey, descend, gather_photos, open_zip
from lotlens.records import Locator, Photo
from lotlens.threads import map_ahead
from lotlens.web.problems import Problem
from lotlens.web.uploads import FormBounds

MOST_TRIES = 3
"""Ends of the process at the same photos, after which it is they that end it."""
UPLOADS, ROWS, END = "uploads", "rows.json", "end.json"
ANSWERS, SUBMISSION = "answers.csv", "submission.csv"
_ABOUT, _TRIES = "about.json", "tries"
_ZIP_MARKS = (b"PK\x03\x04", b"PK\x05\x06")
_MOST_DIRECTORY_BYTES = 4_000_000
_MOST_NAME_LETTERS = 200
log = logging.getLogger("lotlens.desk")


@dataclass(frozen=True)
class JobBounds:
    """Of jobs.

    Attributes:
        form: of what is sent for one: photos, in zips too, bytes, and the time for it; files that
            are kept as they come have no bound of their own.
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
        if self.end is None:
            return num_rows
        return 0 if self.end.is_failure else self.num_photos

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
            if not self.names:
                self.uploads_path.mkdir(parents=True)
            self._file = (self.uploads_path / _name_upload(len(self.names))).open("xb")
        except OSError as error:
            raise tell_unwritable(error) from error
        self.names.append(name)

    def add(self, data: memoryview) -> None:
        if self._file is None:
            raise ValueError("no photo was begun")
        try:
            self._file.write(data)
        except OSError as error:
            raise tell_unwritable(error) from error

    def end(self) -> None:
        if self._file is None:
            raise ValueError("no photo was begun")
        try:
            self._file.close()  # which writes what is left
        except OSError as error:
            raise tell_unwritable(error) from error

    @property
    def uploads_path(self) -> Path:
        return self.path / UPLOADS

    def discard(self) -> None:
        """Remove what came of it, unless it has become a job."""
        if self._file is not None:
            with suppress(OSError):  # a full disk does not take what is left, which nobody wants
                self._file.close()
        shutil.rmtree(self.path, ignore_errors=True)


def save_job(receiving: Receiving, path: Path, bounds: JobBounds) -> Job:
    """Make a job of what was received: once this returns, it is on the disk.

    Raises:
        Problem: there is no photo, too many, a zip that cannot be read, or no room on the disk.
    """
    names = _name_apart(receiving.names)
    photos, num_left_out = _list_photos(receiving.uploads_path, names, bounds)
    if not photos:
        raise Problem("no_photo")
    listed = [
        {"id": photo.id, "file": photo.locator.path.name, "members": photo.locator.members}
        for photo in photos
        if photo.locator is not None
    ]
    at = tell_now()
    uploads = list(receiving.uploads_path.iterdir())
    num_bytes = max(1, sum(one.stat().st_size for one in uploads))
    about = {"at": at, "left_out": num_left_out, "bytes": num_bytes, "photos": listed}
    try:
        write_json_atomically(receiving.path / _ABOUT, about)
        # Side by side: of thousands of small files each would wait for the disk by itself.
        for _ in map_ahead(flush_file, uploads, num_threads=16, num_ahead=64, name="flush"):
            pass
        flush_folder(receiving.uploads_path)
        flush_folder(receiving.path)
        receiving.path.rename(path)
        flush_folder(path.parent)
    except (OSError, OutputError) as error:
        raise tell_unwritable(error) from error
    return Job(path, at, len(photos), num_left_out, num_bytes)


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


def open_job(path: Path) -> Job | None:
    """A job as it lies on the disk; None if it is damaged."""
    try:
        about = json.loads((path / _ABOUT).read_text("utf-8"))
        num_bytes = int(about["bytes"]) if (path / UPLOADS).is_dir() else 0
        job = Job(path, str(about["at"]), len(about["photos"]), int(about["left_out"]), num_bytes)
        datetime.fromisoformat(job.at)
        if (path / END).is_file():
            job.end = End(**json.loads((path / END).read_text("utf-8")))
            datetime.fromisoformat(job.end.at)
            job.model_id = job.end.model_id or None
        return job
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.error(json.dumps({"what": "job", "end": "damaged", "why": type(error).__name__}))
        return None


@lru_cache(maxsize=2)
def read_photos(path: Path) -> tuple[Photo, ...]:
    """The photos of the job in this folder, which never change."""
    about = json.loads((path / _ABOUT).read_text("utf-8"))
    uploads_path = path / UPLOADS
    return tuple(
        Photo(one["id"], Locator(uploads_path / one["file"], tuple(one["members"])))
        for one in about["photos"]
    )


@lru_cache(maxsize=2)
def read_rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a job that has ended, which never change; none where no model answered."""
    if not path.is_file():
        return []
    rows: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))
    return rows


def begin_try(path: Path) -> bool:
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


def end_tries(path: Path) -> None:
    (path / _TRIES).unlink(missing_ok=True)


def tell_unwritable(error: OSError | OutputError) -> Problem:
    cause = error.__cause__ if isinstance(error, OutputError) else error
    why = explain(cause) if isinstance(cause, OSError) else str(error)
    log.error(json.dumps({"what": "job", "end": "not received", "why": why}))
    is_full = isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT)
    return Problem("no_space" if is_full else "failed")


def tell_now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
