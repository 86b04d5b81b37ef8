"""Lists of many photos: answered in turn, behind requests, until all are; it knows no HTTP.

A kill costs the answers to a few photos, for each few are on the disk before the next are begun.
All answers of a job are those of one model: if that changes, the job begins anew.
"""

from __future__ import annotations

import json
import logging
import math
import secrets
import shutil
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from lotlens.files import explain, name_unfinished, remove_unfinished, write_json_atomically
from lotlens.photos.archives import PhotoReader
from lotlens.records import Locator
from lotlens.web.batching import Batching, Ending
from lotlens.web.job_answers import Answering
from lotlens.web.job_files import (
    END,
    ROWS,
    UPLOADS,
    End,
    Job,
    JobBounds,
    Receiving,
    begin_try,
    end_tries,
    open_job,
    read_photos,
    read_rows,
    save_job,
    tell_now,
    tell_unwritable,
)
from lotlens.web.problems import Problem

_REST_S = 30.0
"""After a failure of the disk."""
_SMOOTHING = 0.2
log = logging.getLogger("lotlens.desk")


class Jobs:
    """All jobs of a desk, and the thread that has them answered in turn. For many threads.

    Nobody else may use the folder (see `locks.hold`).

    Args:
        path: the folder that jobs lie in.
        batching: answers.
        bounds: of jobs.

    Attributes:
        let_go: called before photos are removed: what holds them open keeps their room on the disk.
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
        self.let_go: Callable[[], None] = lambda: None

    def start(self) -> None:
        """Take up what lies in the folder, and go on with what is not answered."""
        if self.path.is_dir():
            remove_unfinished(self.path)
            found = [open_job(path) for path in sorted(self.path.iterdir()) if path.is_dir()]
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
                raise tell_unwritable(error) from error
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
        job = save_job(receiving, self.path / secrets.token_hex(16), self.bounds)
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
        return read_rows(job.path / ROWS)[start:stop]

    def find_photo(self, job: Job, number: int) -> Locator | None:
        """Where a photo lies, by its number from 0; None if there is none, or none any more."""
        if not job.has_photos or not 0 <= number < job.num_photos:
            return None
        return read_photos(job.path)[number].locator

    def delete(self, job: Job) -> None:
        """Remove a job with all that belongs to it, answered or not.

        Raises:
            Problem: the disk does not let it go; it stays as it is.
        """
        with job.lock:  # what writes an answer into its folder would make that anew
            if job.is_deleted:
                return
            gone = name_unfinished(job.path)
            try:
                job.path.rename(gone)
            except OSError as error:
                raise Problem("failed") from error
            job.is_deleted = True
        with self._changed:
            self._jobs.pop(job.id, None)
            self._changed.notify_all()
        self.let_go()
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
            is_removed = self._remove_old()
            if job is None:
                if not is_removed:
                    self._rest(lambda: self._find_next() is not None)
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
                self._rest()

    def _rest(self, is_enough: Callable[[], bool] = lambda: False) -> None:
        """Give a disk that fails time to get well."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or is_enough(), timeout=_REST_S)

    def _find_next(self) -> Job | None:
        return next((job for job in self._jobs.values() if job.end is None), None)

    def _answer(self, job: Job) -> None:
        """Answer a job until it is done, deleted, or the desk ends.

        Raises:
            Ending: nothing is answered any more.
            OSError, LotlensError: the disk does not take the answers.
        """
        if not begin_try(job.path):
            self._end(job, End(tell_now(), "", job.num_photos, None, {}))
            return
        try:
            answering = Answering(job, read_photos(job.path), self._batching)
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
            end_tries(job.path)

    def _note_rate(self, num_photos: int, took_s: float) -> None:
        rate = num_photos / max(took_s, 1e-6)
        before = self._rate or rate
        self._rate = before + _SMOOTHING * (rate - before)

    def _finish(self, answering: Answering) -> None:
        end = answering.finish()
        if end is None:
            return
        self._end(answering.job, end)
        answering.journal.remove()
        told = {"what": "job", "end": "answered", "photos": answering.job.num_photos}
        log.info(json.dumps(told))

    def _end(self, job: Job, end: End) -> None:
        with job.lock:
            if job.is_deleted:
                return
            write_json_atomically(job.path / END, asdict(end))
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

    def _remove_old(self) -> bool:
        """Whether all that is too old could be removed."""
        is_removed = True
        with self._changed:
            found = self._list_ageing()
        for at_s, job, is_all in found:
            if at_s > time.time():
                continue
            if is_all:
                try:
                    self.delete(job)
                except Problem:
                    is_removed = False
            else:
                self.let_go()
                shutil.rmtree(job.path / UPLOADS, ignore_errors=True)
                job.num_bytes = 0
        return is_removed
