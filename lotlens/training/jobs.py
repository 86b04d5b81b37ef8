"""Trainings side by side, in processes of this machine; it does not know what they train.

What a training ends in lies in its folder: nothing but a small record comes back from a process.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from lotlens.errors import BundleError, InputError, LotlensError, OutputError

_TURN_S = 0.5
_PATIENCE_S = 60.0
"""How long trainings that were told to stop are waited for: they write down how far they are."""
_ERRORS = {kind.__name__: kind for kind in (BundleError, InputError, OutputError)}

_Result = TypeVar("_Result")


class Helpers(Protocol):
    """Those who do several pieces of work at the same time."""

    def share_out(
        self, tasks: Sequence[Callable[[], _Result]], look: Callable[[], None] | None = None
    ) -> Generator[tuple[int, _Result], None, None]:
        """What the tasks give back: (number of the task, result), as they are finished.

        Args:
            tasks: to do.
            look: called now and then meanwhile, by this process.

        Raises:
            LotlensError: a task has, or whoever did it has ended.
            KeyboardInterrupt: a task was stopped.
        """
        ...


@dataclass(frozen=True)
class Ended:
    """How a task ended in another process; errors need not survive the way back.

    Attributes:
        result: what it gave back.
        error: the kind of error that it raised, "" if none.
        said: its line.
    """

    result: Any = None
    error: str = ""
    said: str = ""

    def take(self) -> Any:
        """The result.

        Raises:
            LotlensError, KeyboardInterrupt: as the task did.
        """
        if self.error == KeyboardInterrupt.__name__:
            raise KeyboardInterrupt
        if self.error:
            raise _ERRORS.get(self.error, LotlensError)(self.said)
        return self.result


def call(task: Callable[[], Any]) -> Ended:
    """Do a task, in whatever process this is."""
    try:
        return Ended(task())
    except KeyboardInterrupt:
        return Ended(error=KeyboardInterrupt.__name__)
    except LotlensError as error:
        return Ended(error=type(error).__name__, said=str(error))


class Processes:
    """Helpers of this machine: so many processes, each with as many threads as this one has.

    The number of threads decides the last bits of weights, so it stays as it is; who wants fewer
    sets LOKY_MAX_CPU_COUNT, with and without helpers.

    Args:
        num_jobs: tasks at the same time.
    """

    def __init__(self, num_jobs: int) -> None:
        self._num_jobs = num_jobs

    def share_out(
        self, tasks: Sequence[Callable[[], _Result]], look: Callable[[], None] | None = None
    ) -> Generator[tuple[int, _Result], None, None]:
        """See `Helpers`."""
        from joblib.externals.loky import ProcessPoolExecutor
        from joblib.externals.loky.process_executor import BrokenProcessPool

        pool = ProcessPoolExecutor(max(min(self._num_jobs, len(tasks)), 1))
        number_of = {pool.submit(call, task): number for number, task in enumerate(tasks)}
        waiting: set[Future[Ended]] = set(number_of)
        try:
            while waiting:
                done, waiting = wait(waiting, _TURN_S, FIRST_COMPLETED)
                if look is not None:
                    look()
                for future in done:
                    yield number_of[future], future.result().take()
        except BrokenProcessPool as error:
            raise LotlensError(
                "a process that was training has ended, perhaps because memory ran out. What the"
                " trainings have kept stays: go on with the same command, for folds with --resume,"
                " and fewer --jobs"
            ) from error
        except KeyboardInterrupt:
            # The terminal has told them too; they end by themselves.
            wait([future for future in waiting if future.running()], _PATIENCE_S)
            raise
        finally:
            pool.shutdown(wait=True, kill_workers=True)
