"""Workers are hired, given pieces of work and replaced when they die, whatever the work is.

Each piece is given to one worker at a time, and its result taken once: a worker that dies costs the
pieces that it held, which others get. Ray is not asked to restart or to try again: it promises that
work is done at least once, and does not restart a worker that ended by `sys.exit`.

Nothing here can wait for a core that never comes free: workers read their photos themselves, and no
other tasks are needed. What makes no progress for too long is given up.
"""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from lotlens.cluster.worker import Introduction, Refusal, list_versions
from lotlens.errors import BundleError, InputError, LotlensError, shorten
from lotlens.photos.addresses import is_address

PATIENCE_S = 1800.0
"""How long nothing at all may be finished before the work is given up."""
START_S = 300.0
"""How long the first worker may take to start: a cluster may have to fetch a machine for it."""
MOST_TRIES = 3
"""Workers that may die over one piece of work that they had alone."""

_TURN_S = 0.5
_COUNT_AGAIN_S = 5.0
_MOST_LOST = 10  # workers in a row that die before any has finished a piece
_INTRODUCTION = -1


@dataclass
class Hand:
    """A worker.

    Attributes:
        actor: Ray's name for it.
        jobs: numbers of the pieces of work that it has, the one that it is at first.
        is_ready: whether it has said what it is.
    """

    actor: Any
    jobs: deque[int] = field(default_factory=deque)
    is_ready: bool = False


@dataclass(frozen=True)
class Bounds:
    """When work is given up.

    Attributes:
        patience_s: see PATIENCE_S.
        start_s: see START_S.
    """

    patience_s: float = PATIENCE_S
    start_s: float = START_S


class Crew:
    """Workers that share pieces of work.

    Args:
        ray: connected to a cluster.
        hire: gives a new worker; Ray starts it when a core is free.
        witnesses: files that each must see.
        bounds: when to give up.
        count: says how many the cluster has room for now; None for one a core (`count_workers`).
        in_hand: pieces that a worker has at a time: the one that it is at, and others so that it
            never waits for the next.
        versions: packages that must be the same as here, besides those of `list_versions`.
        look: called now and then while they work.
    """

    def __init__(
        self,
        ray: Any,
        hire: Callable[[], Any],
        witnesses: Sequence[Any] = (),
        bounds: Bounds | None = None,
        *,
        count: Callable[[], int] | None = None,
        in_hand: int = 2,
        versions: Sequence[str] = (),
        look: Callable[[], None] | None = None,
    ) -> None:
        self._ray, self._hire, self._witnesses = ray, hire, tuple(witnesses)
        self._count = count or partial(count_workers, ray)
        self._in_hand, self._look = in_hand, look
        self._bounds = bounds or Bounds()
        self._hands: list[Hand] = []
        self._busy: dict[Any, tuple[Hand, int]] = {}
        self._tries: Counter[int] = Counter()
        self._suspects: set[int] = set()
        self._num_lost = 0
        self._versions = list_versions(*versions)
        self._counted_s = -_COUNT_AGAIN_S

    def share_out(
        self, what: str, num_jobs: int, make: Callable[[int], Any]
    ) -> Generator[tuple[int, Any], None, None]:
        """The results of a method of the workers for all jobs: (number of the job, result).

        They come as they are finished, each once. Close the generator to send all workers home.

        Args:
            what: the method.
            num_jobs: how many there are.
            make: its argument, by the number of the job from 0; made when it is given to a worker.

        Raises:
            InputError, BundleError: what a worker says of a job, or of itself.
            LotlensError: nothing goes on, or workers die over the same job again and again.
        """
        waiting = deque(range(num_jobs))
        left = num_jobs
        progress_s = time.monotonic()
        try:
            while left:
                self._hire_more(left)
                self._give(what, make, waiting)
                ready, _ = self._ray.wait(list(self._busy), num_returns=1, timeout=_TURN_S)
                if self._look is not None:
                    self._look()
                if not ready:
                    self._check_patience(progress_s, left)
                    continue
                hand, job = self._busy.pop(ready[0])
                try:
                    result = self._ray.get(ready[0])
                except self._ray.exceptions.RayError as error:
                    waiting.extendleft(reversed(self._lose(hand, error)))
                    continue
                progress_s = time.monotonic()
                if job == _INTRODUCTION:
                    self._welcome(hand, result)
                    continue
                hand.jobs.remove(job)
                _raise_refusal(result)
                self._num_lost = 0
                left -= 1
                yield job, result
                progress_s = time.monotonic()  # the caller may have been long about it
        finally:
            self._send_home()

    def _hire_more(self, left: int) -> None:
        now_s = time.monotonic()
        if now_s - self._counted_s < _COUNT_AGAIN_S and self._hands:
            return
        self._counted_s = now_s
        wanted = min(self._count(), left)
        for _ in range(wanted - len(self._hands)):
            hand = Hand(self._hire())
            self._hands.append(hand)
            ref = hand.actor.introduce.remote(self._witnesses)
            self._busy[ref] = (hand, _INTRODUCTION)

    def _give(self, what: str, make: Callable[[int], Any], waiting: deque[int]) -> None:
        """Fill the hands, each with its first piece before any gets a second."""
        for most in range(1, self._in_hand + 1):
            for hand in self._hands:
                if not waiting:
                    return
                # What a worker may have died over is done alone, so that nothing else pays for it.
                is_alone = bool(self._suspects.intersection([*hand.jobs, waiting[0]]))
                if hand.is_ready and len(hand.jobs) < (1 if is_alone else most):
                    job = waiting.popleft()
                    hand.jobs.append(job)
                    self._busy[getattr(hand.actor, what).remote(make(job))] = (hand, job)

    def _welcome(self, hand: Hand, told: Introduction) -> None:
        """Make sure that a worker is as this program is.

        Raises:
            InputError: it is not.
        """
        for name, own in self._versions.items():
            other = told.versions.get(name, "none")
            if other != own:
                raise InputError(
                    f"{told.machine} has {name} {other}, this machine {own}, and answers might"
                    " differ: install the same on all of them"
                )
        if told.missing and is_address(told.missing[0]):
            raise InputError(
                f"{told.machine} cannot read {told.missing[0]}, or finds another file there:"
                " install the store's package on all machines, and give each the same keys"
            )
        if told.missing:
            raise InputError(
                f"{told.machine} does not see {told.missing[0]}, or sees another file there: photos"
                " and model must lie on a disk that all machines of the cluster share, under the"
                " same path"
            )
        hand.is_ready = True

    def _lose(self, hand: Hand, error: Exception) -> list[int]:
        """Let a worker go that died, or failed at a piece; the pieces that it had.

        Raises:
            LotlensError: too many have.
        """
        self._dismiss(hand)
        self._num_lost += 1
        told = shorten(_summarise(error), 300)
        if "failed to import" in str(error) or "No module named 'lotlens" in str(error):
            raise InputError(
                "a machine of the cluster has no lotlens, or another one: install the same version"
                f" on all of them ({told})"
            ) from error
        # Which of several it died over is not sure: its last result may be lost with it.
        self._suspects.update(hand.jobs)
        if len(hand.jobs) == 1:
            (job,) = hand.jobs
            self._tries[job] += 1
            if self._tries[job] >= MOST_TRIES:
                raise LotlensError(
                    f"{MOST_TRIES} workers have failed at the same piece of work, number {job + 1}"
                    f" ({told}). What is done is kept: the same command goes on"
                ) from error
        if self._num_lost >= _MOST_LOST:
            raise LotlensError(
                f"{self._num_lost} workers have ended one after another and nothing was done"
                f" ({told}). What was done before is kept: the same command goes on"
            ) from error
        self._counted_s = -_COUNT_AGAIN_S  # another one is hired at once
        return list(hand.jobs)

    def _dismiss(self, hand: Hand) -> None:
        self._hands.remove(hand)
        self._busy = {ref: one for ref, one in self._busy.items() if one[0] is not hand}
        self._ray.kill(hand.actor)

    def _send_home(self) -> None:
        for hand in list(self._hands):
            self._dismiss(hand)

    def _check_patience(self, progress_s: float, left: int) -> None:
        """Give up what does not go on.

        Raises:
            LotlensError: it has not for too long.
        """
        waited_s = time.monotonic() - progress_s
        num_ready = sum(hand.is_ready for hand in self._hands)
        limit_s = self._bounds.patience_s if num_ready else self._bounds.start_s
        if waited_s < limit_s:
            return
        if not num_ready:
            raise LotlensError(
                f"no worker has started in {waited_s:.0f} s:  ray status  says whether the cluster"
                " has free cores. What is done is kept: the same command goes on"
            )
        raise LotlensError(
            f"nothing was finished in {waited_s:.0f} s by {num_ready} workers, with {left:,} pieces"
            " of work left: look at the machines and at the disk that the photos lie on. What is"
            " done is kept: the same command goes on"
        )


def count_workers(ray: Any) -> int:
    """How many workers a cluster has room for: one a core, less one of each machine of several.

    That core is for what gives work and for Ray itself; a machine of two has none to spare.
    """
    cores = [
        int(node["Resources"].get("CPU", 0)) for node in ray.nodes() if node.get("Alive", False)
    ]
    return max(sum(count - 1 if count > 2 else count for count in cores), 1)


def _raise_refusal(result: Any) -> None:
    if isinstance(result, Refusal):
        raise BundleError(f"{result.said} (said by a worker on {result.machine})")


def _summarise(error: Exception) -> str:
    """The line of one of Ray's errors that says most: the last of a trace, else all of it."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, Exception):
        return f"{type(cause).__name__}: {cause}"
    return " ".join(str(error).split())
