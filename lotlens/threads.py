"""Work done ahead or within a time by threads, and the memory they share; not what the work is.

The threads are daemons: a decoder that is deep in C cannot be stopped, and must keep neither the
caller nor the end of the process waiting.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, wait
from queue import SimpleQueue
from types import TracebackType
from typing import Any, TypeVar

_In = TypeVar("_In")
_Out = TypeVar("_Out")

_PATIENCE_S = 0.5
"""How long threads that were told to end are waited for."""

_TURN_S = 1.0

_left: list[threading.Thread] = []


def map_ahead(
    work: Callable[[_In], _Out],
    items: Iterable[_In],
    *,
    num_threads: int,
    num_ahead: int,
    name: str,
) -> Generator[_Out, None, None]:
    """What `work` makes of each item, in order, while the caller is busy with earlier results.

    Close the generator to end the threads early. One that is busy is waited for half a second, and
    then left to end by itself.

    Args:
        work: called in the threads.
        items: taken as there is room for them.
        num_threads: how many.
        num_ahead: the most items that are begun, or done and not yet taken.
        name: what the threads' names begin with.
    """
    waiting: deque[Future[_Out]] = deque()
    jobs: SimpleQueue[tuple[Future[_Out], _In] | None] = SimpleQueue()
    threads: list[threading.Thread] = []
    try:
        for item in items:
            if len(waiting) == num_ahead:
                yield _await_result(waiting.popleft())
            future: Future[_Out] = Future()
            waiting.append(future)
            jobs.put((future, item))
            if len(threads) < num_threads:
                label = f"{name}_{len(threads)}"
                thread = threading.Thread(target=_serve, args=(work, jobs), name=label, daemon=True)
                thread.start()
                threads.append(thread)
        while waiting:
            yield _await_result(waiting.popleft())
    finally:
        for future in waiting:
            future.cancel()
        for _ in threads:
            jobs.put(None)
        _await(threads)


def _await_result(future: Future[_Out]) -> _Out:
    """A future's result; waits in short turns.

    A signal that comes when the caller is about to wait, and does not wait yet, does not wake it:
    Ctrl-C would be heard at the end of the work only (seen on busy machines).
    """
    while not future.done():
        wait((future,), _TURN_S)
    return future.result()


def call_in_time(work: Callable[[], _Out], limit_s: float, *, name: str) -> _Out:
    """What `work` returns or raises, in a thread of its own; in the caller's if none is to be had.

    Raises:
        TimeoutError: it takes longer than `limit_s` seconds; it goes on in its thread.
    """
    future: Future[_Out] = Future()
    jobs: SimpleQueue[tuple[Future[_Out], None] | None] = SimpleQueue()
    jobs.put((future, None))
    jobs.put(None)
    thread = threading.Thread(target=_serve, args=(lambda _: work(), jobs), name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError:
        return work()
    try:
        return future.result(limit_s)
    finally:
        if not future.done():
            _left.append(thread)


def has_busy_threads() -> bool:
    """Whether threads of this module are still at work that nobody waits for any more.

    The interpreter cannot be taken down safely under them: libraries in C++ abort the process.
    """
    _left[:] = [thread for thread in _left if thread.is_alive()]
    return bool(_left)


class ByteBudget:
    """Bytes of memory that threads share: each waits, in turn, until there is room for its own.

    Who needs more than there is at all is let in alone. Held memory belongs to no thread: it may be
    given back by another. It can be pickled and survives a fork: nothing is held in the other
    process.

    Args:
        num_bytes: in all.
    """

    def __init__(self, num_bytes: int) -> None:
        self.num_bytes = num_bytes
        self._start_afresh()

    def _start_afresh(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._held = 0
        self._queue: deque[tuple[int, threading.Event]] = deque()

    def __getstate__(self) -> dict[str, Any]:
        return {"num_bytes": self.num_bytes}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.num_bytes = state["num_bytes"]
        self._start_afresh()

    @property
    def num_held(self) -> int:
        """Bytes that are held now."""
        return self._held

    def hold(self, num_bytes: int) -> Held:
        """Wait for so many bytes; to be used in a `with` block, which gives them back.

        Who holds some must not ask for more before giving them back.
        """
        if self._pid != os.getpid():
            self._start_afresh()  # the lock may be held by a thread that does not exist here
        entry: tuple[int, threading.Event] | None = None
        with self._lock:
            if self._queue or not self._fits(num_bytes):
                entry = (num_bytes, threading.Event())
                self._queue.append(entry)
            else:
                self._held += num_bytes
        if entry is not None:
            self._wait(entry)
        return Held(self, num_bytes)

    def _wait(self, entry: tuple[int, threading.Event]) -> None:
        try:
            entry[1].wait()
        except BaseException:  # Ctrl-C while waiting
            with self._lock:
                if entry[1].is_set():
                    self._held -= entry[0]
                else:
                    # By identity: others may wait for as much.
                    self._queue = deque(one for one in self._queue if one[1] is not entry[1])
                self._let_in()
            raise

    def _give_back(self, num_bytes: int, pid: int) -> None:
        if pid != os.getpid() or self._pid != pid:
            return  # held before a fork, and not here
        with self._lock:
            self._held -= num_bytes
            self._let_in()

    def _let_in(self) -> None:
        while self._queue and self._fits(self._queue[0][0]):
            num_bytes, event = self._queue.popleft()
            self._held += num_bytes
            event.set()

    def _fits(self, num_bytes: int) -> bool:
        return self._held == 0 or self._held + num_bytes <= self.num_bytes


class Held:
    """Bytes of a `ByteBudget` that are held until all who share them have given them back.

    Attributes:
        num_bytes: how many.
    """

    def __init__(self, budget: ByteBudget, num_bytes: int) -> None:
        self._budget, self.num_bytes, self._pid = budget, num_bytes, os.getpid()
        self._lock = threading.Lock()
        self._num_owners = 1

    def share(self) -> Held:
        """The same bytes with one more owner, such as a thread that may outlive the caller."""
        with self._lock:
            self._num_owners += 1
        return self

    def give_back(self) -> None:
        """To be called once by each owner."""
        with self._lock:
            self._num_owners -= 1
            is_last = self._num_owners == 0
        if is_last:
            self._budget._give_back(self.num_bytes, self._pid)

    def __enter__(self) -> Held:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.give_back()


def _serve(work: Callable[[_In], _Out], jobs: SimpleQueue[tuple[Future[_Out], _In] | None]) -> None:
    while (job := jobs.get()) is not None:
        future, item = job
        del job
        if future.set_running_or_notify_cancel():
            try:
                result = work(item)
            except BaseException as error:
                future.set_exception(error)
            else:
                future.set_result(result)
                del result
        del future, item  # not kept alive while the next is waited for


def _await(threads: list[threading.Thread]) -> None:
    deadline_s = time.monotonic() + _PATIENCE_S
    # A second Ctrl-C ends the waiting, and is no other end than the first.
    try:
        for thread in threads:
            thread.join(max(deadline_s - time.monotonic(), 0))
    finally:
        _left.extend(thread for thread in threads if thread.is_alive())
