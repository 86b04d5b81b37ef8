"""Requests wait here for the one engine of a server, in bounded room; it knows no HTTP.

A lone request never waits for others: a worker takes a photo as soon as there is one, and what has
queued while all were busy becomes the next batches. There are as many workers as threads may call
the model at the same time, each of which decodes and answers a batch of its own. Nobody is let in
who would wait for longer than a few lone answers take, by the rate that was measured of late.
"""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass, field
from types import TracebackType
from typing import Protocol

from lotlens.answering.answers import join_predictions, select_predictions, take_rows
from lotlens.answering.predict import ONE_BLAS_THREAD
from lotlens.errors import LotlensError
from lotlens.records import ModelCard, Predictions

MOST_IN_BATCH = 8
"""Photos: more at once are answered no faster, and each would wait for the others."""
MOST_BEHIND = 2
"""Photos that a worker takes at once of those that wait behind requests."""
QUIET_S = 10.0
"""Without a request for so long, all workers take such photos; else one is left free, where there
are several, so that a request does not have to wait."""
MOST_BATCH_PIXELS = 50_000_000
"""As far as headers tell: a few large photos take as long to decode as many small ones."""
LONGEST_WAIT_S = 30
"""That is ever advised to whoever is refused."""
_SMOOTHING = 0.1
_FEWEST_FOR_ONE = 2
"""Photos that are let in for each worker at least: one in work, and one to go on with."""


class Answering(Protocol):
    """What answers for photos, such as `deliver.model.OpenModel`."""

    @property
    def card(self) -> ModelCard: ...

    @property
    def num_streams(self) -> int:
        """How many threads may call it at the same time."""
        ...

    def answer_bytes(self, photos: Sequence[bytes], ids: Sequence[str]) -> Predictions: ...


@dataclass(frozen=True)
class Served:
    """A model that is served.

    Attributes:
        id: of this state of it; every answer carries it.
        model: what answers.
    """

    id: str
    model: Answering


@dataclass(frozen=True)
class Upload:
    """One photo that was sent.

    Attributes:
        data: the file's bytes.
        num_pixels: as its header claims.
    """

    data: bytes = field(repr=False)
    num_pixels: int


@dataclass(frozen=True)
class Answered:
    """The answer to one request.

    Attributes:
        predictions: one row per photo, in the order in which they were sent; ids "0", "1", ...
        served: which model answered, all of them.
    """

    predictions: Predictions
    served: Served


@dataclass(frozen=True)
class Bounds:
    """How much may be held at one time, of requests that are read, wait or are answered.

    Attributes:
        most_lone_answers: how long a request may have to wait when it is let in, in times that a
            lone photo's answer takes.
        most_photos: of all requests together.
        most_pixels: likewise, as headers claim: what decoding costs.
        most_bytes: of bodies.
    """

    most_lone_answers: float = 5.0
    most_photos: int = 32
    most_pixels: int = 1_000_000_000
    most_bytes: int = 256_000_000


@dataclass
class Pace:
    """How fast photos were answered of late, as running means.

    Attributes:
        photo_s: seconds of one worker for a photo, whatever else goes on.
        lone_s: likewise for a photo that was alone here.
    """

    photo_s: float = 0.1
    lone_s: float = 0.1
    _is_new: bool = True

    def note(self, photo_s: float, was_alone: bool) -> None:
        """Learn from a batch: the seconds for each of its photos, and whether it was a lone one."""
        weight = 1.0 if self._is_new else _SMOOTHING
        self.photo_s += weight * (photo_s - self.photo_s)
        if was_alone or self._is_new:
            self.lone_s += weight * (photo_s - self.lone_s)
        self._is_new = False

    def count_in_time(self, num_lone: float, num_workers: int) -> int:
        """How many photos are answered in the time of so many lone answers."""
        return round(num_lone * self.lone_s * num_workers / max(self.photo_s, 1e-6))


class Busy(LotlensError):
    """There is no room for a request now.

    Attributes:
        retry_after_s: when there may be some, in whole seconds.
    """

    def __init__(self, retry_after_s: int) -> None:
        self.retry_after_s = retry_after_s
        super().__init__(f"too many photos are waiting; try again in {retry_after_s} s")


class Ending(LotlensError):
    """The server takes no more requests."""

    def __init__(self) -> None:
        super().__init__("the server is being shut down")


class _Job:
    """One request's photos, answered in pieces."""

    def __init__(
        self, uploads: Sequence[Upload], served: Served, *, is_behind: bool = False
    ) -> None:
        self.uploads = uploads
        self.is_behind = is_behind
        self.served = served
        self.future: Future[Answered] = Future()
        self.pieces: list[Predictions] = []
        self.num_answered = 0


class _Line:
    """The photos that wait for one model: (job, position in it), first come first served.

    Those in `behind` have their turn while there are no others, and leave a worker free while there
    are now and then.
    """

    def __init__(self, served: Served) -> None:
        self.served = served
        self.waiting: deque[tuple[_Job, int]] = deque()
        self.behind: deque[tuple[_Job, int]] = deque()
        self.num_behind = 0  # workers that answer some of these
        self.asked_s = -math.inf
        self.threads: list[threading.Thread] = []
        self.is_retired = False

    @property
    def has_work(self) -> bool:
        """Whether there is something to take now."""
        num_threads = len(self.threads)
        is_quiet = self.is_retired or time.monotonic() - self.asked_s > QUIET_S
        most_behind = num_threads if is_quiet else max(1, num_threads - 1)
        return bool(self.waiting or (self.behind and self.num_behind < most_behind))

    def take(self) -> list[tuple[_Job, int]]:
        """The next batch, without photos whose client has gone; `give_back` it.

        Several workers share what waits: none takes all of it while another has nothing to do.
        """
        waiting, most = (
            (self.waiting, MOST_IN_BATCH) if self.waiting else (self.behind, MOST_BEHIND)
        )
        share = math.ceil(len(waiting) / max(1, len(self.threads)))
        batch: list[tuple[_Job, int]] = []
        num_pixels = 0
        while waiting and len(batch) < min(share, most):
            job, position = waiting[0]
            num_pixels += job.uploads[position].num_pixels
            if batch and num_pixels > MOST_BATCH_PIXELS:
                break
            waiting.popleft()
            if not job.future.done():
                batch.append((job, position))
        self.num_behind += _is_behind(batch)
        return batch

    def give_back(self, batch: Sequence[tuple[_Job, int]]) -> None:
        """Note that a batch is answered."""
        self.num_behind -= _is_behind(batch)


def _is_behind(batch: Sequence[tuple[_Job, int]]) -> bool:
    return bool(batch) and batch[0][0].is_behind


class Batching:
    """A model's workers, and the bounded room before them. For many threads.

    Args:
        served: the model to begin with.
        bounds: of what is held.
        told: hears of every batch: how many photos, and the seconds that it took.
    """

    def __init__(
        self,
        served: Served,
        bounds: Bounds | None = None,
        *,
        told: Callable[[int, float], None] | None = None,
    ) -> None:
        self.bounds = bounds or Bounds()
        self._told = told
        self._changed = threading.Condition()
        self._num_photos = self._num_pixels = self._num_bytes = 0
        self._pace = Pace()
        self._is_ending = False
        self._leaving: list[threading.Thread] = []
        self._line = self._open_line(served)

    @property
    def served(self) -> Served:
        """The model that answers what is asked from now on."""
        return self._line.served

    @property
    def num_held(self) -> int:
        """Photos of requests that are read, wait or are answered."""
        return self._num_photos

    @property
    def is_ending(self) -> bool:
        """Whether no more requests are let in."""
        return self._is_ending

    def admit(self, num_bytes: int) -> Ticket:
        """Room for a request whose body is still to be read; close the ticket to give it back.

        Args:
            num_bytes: the most that its body has.

        Raises:
            Busy: there is none.
            Ending: no more requests are let in.
        """
        with self._changed:
            self.check_room(num_bytes)
            ticket = Ticket(self, num_bytes)
            self._hold(1, 0, num_bytes)
            return ticket

    def check_room(self, num_bytes: int = 0) -> None:
        """Whether a request would be let in now; it costs next to nothing.

        Raises:
            Busy, Ending: as `admit`.
        """
        if self._is_ending:
            raise Ending
        is_full = (
            self._num_photos >= self._count_room()
            or self._num_pixels >= self.bounds.most_pixels
            or self._num_bytes + num_bytes > self.bounds.most_bytes
        )
        if is_full and self._num_photos:
            raise Busy(self._tell_wait())

    def _count_room(self) -> int:
        num_streams = self._line.served.model.num_streams
        in_time = self._pace.count_in_time(self.bounds.most_lone_answers, num_streams)
        return min(self.bounds.most_photos, max(_FEWEST_FOR_ONE * num_streams, in_time))

    def swap(self, served: Served) -> None:
        """Have another model, warm already, answer what is submitted from now on.

        What was submitted before is answered by the one before, all of it.
        """
        line = self._open_line(served)
        with self._changed:
            before, self._line = self._line, line
            before.is_retired = True
            # Threads alone, which forget their model once they end.
            self._leaving = [thread for thread in self._leaving if thread.is_alive()]
            self._leaving += before.threads
            self._changed.notify_all()

    def submit_behind(self, uploads: Sequence[Upload]) -> Future[Answered]:
        """Queue photos for which nobody waits: they are answered while no request is.

        They take no room of requests, so whoever calls this has few of them queued at a time.

        Args:
            uploads: one photo or more.

        Returns:
            as `Ticket.submit`.

        Raises:
            Ending: nothing is queued any more.
        """
        with self._changed:
            if self._is_ending:
                raise Ending
            job = _Job(uploads, self._line.served, is_behind=True)
            self._line.behind.extend((job, position) for position in range(len(uploads)))
            self._changed.notify_all()
            return job.future

    def end(self) -> None:
        """Let no more requests in; those that were let in are answered all the same."""
        with self._changed:
            self._is_ending = True

    def close(self, *, wait_s: float = 5.0) -> None:
        """End, and let the workers go once nothing waits any more."""
        self.end()
        with self._changed:
            self._line.is_retired = True
            threads = [*self._leaving, *self._line.threads]
            self._changed.notify_all()
        deadline_s = time.monotonic() + wait_s
        for thread in threads:
            thread.join(max(0.0, deadline_s - time.monotonic()))

    def _open_line(self, served: Served) -> _Line:
        line = _Line(served)
        for number in range(served.model.num_streams):
            # Daemons: a decoder that hangs must not keep the process from ending.
            thread = threading.Thread(
                target=self._work, args=(line,), name=f"answers_{number}", daemon=True
            )
            line.threads.append(thread)
        for thread in line.threads:
            thread.start()
        return line

    def _work(self, line: _Line) -> None:
        with ONE_BLAS_THREAD:
            while True:
                with self._changed:
                    # Without a time limit: whoever has nothing to do costs nothing.
                    self._changed.wait_for(lambda: line.has_work or line.is_retired)
                    if line.is_retired and not line.has_work:
                        return
                    batch = line.take()
                if batch:
                    self._answer(line, batch)
                    with self._changed:
                        line.give_back(batch)
                        if line.behind:  # another worker may be let at it by now
                            self._changed.notify_all()

    def _answer(self, line: _Line, batch: Sequence[tuple[_Job, int]]) -> None:
        began_s = time.perf_counter()
        was_alone = self._num_photos == 1 and not _is_behind(batch)
        photos = [job.uploads[position].data for job, position in batch]
        try:
            found = line.served.model.answer_bytes(photos, [str(at) for _, at in batch])
        except Exception as error:  # whatever a model raises: the next batch may fare better
            for job, _ in batch:
                _settle(job.future, error)
            return
        took_s = time.perf_counter() - began_s
        rows_of: dict[_Job, list[int]] = {}
        for row, (job, _) in enumerate(batch):
            rows_of.setdefault(job, []).append(row)
        done = []
        with self._changed:
            self._pace.note(took_s / len(batch), was_alone and self._num_photos == 1)
            for job, rows in rows_of.items():
                job.pieces.append(take_rows(found, rows))
                job.num_answered += len(rows)
                if job.num_answered == len(job.uploads):
                    done.append(job)
        for job in done:
            whole = join_predictions(job.pieces)
            ids = [str(position) for position in range(len(job.uploads))]
            _settle(job.future, Answered(select_predictions(whole, ids), job.served))
        if self._told is not None:
            self._told(len(batch), took_s)

    def _hold(self, num_photos: int, num_pixels: int, num_bytes: int) -> None:
        self._num_photos += num_photos
        self._num_pixels += num_pixels
        self._num_bytes += num_bytes

    def _submit(self, ticket: Ticket, uploads: Sequence[Upload]) -> Future[Answered]:
        num_pixels = sum(upload.num_pixels for upload in uploads)
        with self._changed:
            others = self._num_photos - 1
            is_full = (
                others + len(uploads) > self.bounds.most_photos
                or self._num_pixels + num_pixels > self.bounds.most_pixels
            )
            if is_full and others:
                raise Busy(self._tell_wait())
            ticket.hold(len(uploads), num_pixels)
            self._hold(len(uploads) - 1, num_pixels, 0)
            job = _Job(uploads, self._line.served)
            self._line.asked_s = time.monotonic()
            self._line.waiting.extend((job, position) for position in range(len(uploads)))
            self._changed.notify_all()
            return job.future

    def _leave(self, ticket: Ticket) -> None:
        with self._changed:
            self._hold(-ticket.num_photos, -ticket.num_pixels, -ticket.num_bytes)

    def _tell_wait(self) -> int:
        wait_s = self._num_photos * self._pace.photo_s / self._line.served.model.num_streams
        return min(LONGEST_WAIT_S, max(1, math.ceil(wait_s)))


class Ticket:
    """Room for one request, until it is closed; the block of a `with` closes it.

    Attributes:
        num_photos: that it holds, 1 until they are known.
        num_pixels: likewise, 0 until then.
        num_bytes: of its body at most.
    """

    def __init__(self, batching: Batching, num_bytes: int) -> None:
        self.num_photos, self.num_pixels, self.num_bytes = 1, 0, num_bytes
        self._batching = batching
        self._future: Future[Answered] | None = None
        self._is_open = True

    def __enter__(self) -> Ticket:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def hold(self, num_photos: int, num_pixels: int) -> None:
        """Note what the request has turned out to be."""
        self.num_photos, self.num_pixels = num_photos, num_pixels

    def submit(self, uploads: Sequence[Upload]) -> Future[Answered]:
        """Queue a request's photos: once this returns, it is accepted, and will be answered.

        Args:
            uploads: one photo or more.

        Returns:
            the answer to come; an exception of the model's if that fails.

        Raises:
            Busy: others have taken the room while the body was read.
        """
        self._future = self._batching._submit(self, uploads)
        return self._future

    def close(self) -> None:
        """Give the room back; what is not answered by now is dropped, for nobody waits for it."""
        if not self._is_open:
            return
        self._is_open = False
        if self._future is not None:
            self._future.cancel()
        self._batching._leave(self)


def _settle(future: Future[Answered], result: Answered | Exception) -> None:
    """Tell whoever waits; nobody, if the client has gone meanwhile."""
    try:
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
    except InvalidStateError:
        pass
