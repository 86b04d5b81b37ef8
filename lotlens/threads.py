"""Work done ahead by threads, in order; it does not know what work."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_In = TypeVar("_In")
_Out = TypeVar("_Out")


def map_ahead(
    work: Callable[[_In], _Out],
    items: Iterable[_In],
    *,
    num_threads: int,
    num_ahead: int,
    name: str,
) -> Generator[_Out, None, None]:
    """What `work` makes of each item, in order, while the caller is busy with earlier results.

    Close the generator to end the threads early.

    Args:
        work: called in the threads.
        items: taken as there is room for them.
        num_threads: how many.
        num_ahead: the most items that are begun, or done and not yet taken.
        name: what the threads' names begin with.
    """
    waiting: deque[Future[_Out]] = deque()
    pool = ThreadPoolExecutor(num_threads, thread_name_prefix=name)
    try:
        for item in items:
            if len(waiting) == num_ahead:
                yield waiting.popleft().result()
            waiting.append(pool.submit(work, item))
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
