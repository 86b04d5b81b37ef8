"""How far the work is and how long it will take, on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

from lotlens.cli.screen import (
    ERR,
    escape,
)
from lotlens.errors import Stopped

_LOG_EVERY_S = 15
_PATIENCE_S = 0.5
"""Work that is done by then shows no bar."""


@contextmanager
def show_progress(
    *,
    quiet: bool = False,
    again: str = "",
    resume_with: str = "lotlens train DATA --out RUN --resume",
) -> Iterator[Any]:
    """How far the work is and the time left, on standard error: bars, or lines where nobody looks.

    Args:
        quiet: show nothing.
        again: how to go on after Ctrl-C, whatever was done by then.
        resume_with: else, how to go on with a training; RUN stands for its run folder.
    """
    teller: Any = nullcontext(_tell_nobody)
    if not quiet:
        teller = _show_bars() if sys.stderr.isatty() else nullcontext(_Log())
    try:
        with teller as watch:
            yield watch
    except Stopped as stopped:
        how = again or resume_with.replace(" RUN ", f" {stopped.run_path} ")
        ERR.print(f"stopped; go on with  {escape(how)}", soft_wrap=True)
        raise
    except KeyboardInterrupt:
        # Typer ends with exit code 130 by itself, but without a word.
        ERR.print("stopped; files already written are whole, unfinished ones were left out")
        if again:
            ERR.print(f"go on with  {escape(again)}", soft_wrap=True)
        raise


def _tell_nobody(what: str, done: int, total: int) -> None:
    pass


class _Log:
    """Lines for a log: at the beginning of each kind of work, and now and then.

    A bar that nobody sees would leave the log of a night's run empty.
    """

    def __init__(self) -> None:
        self._begun: dict[str, tuple[float, int]] = {}
        self._latest: dict[str, int] = {}
        self._said_s = 0.0

    def __call__(self, what: str, done: int, total: int) -> None:
        now_s = time.monotonic()
        is_new = done < self._latest.get(what, done + 1)
        if is_new:  # or the same work once more: of the next stage, of a sweep's next run
            self._begun[what] = (now_s, done)
        self._latest[what] = done
        if is_new or now_s - self._said_s > _LOG_EVERY_S:
            self._said_s = now_s
            ERR.say(f"{what}: {done} of {total}{self._tell_left(what, done, total, now_s)}")

    def _tell_left(self, what: str, done: int, total: int, now_s: float) -> str:
        begun_s, first = self._begun[what]
        if done >= total:
            return ", 0.0 min left"
        if done <= first or now_s <= begun_s:
            return ""
        left_s = (now_s - begun_s) * (total - done) / (done - first)
        return f", {left_s / 60:.1f} min left"


@contextmanager
def _show_bars() -> Iterator[Any]:
    """Bars, one per kind of work, once it has taken a moment."""
    begun_s = time.monotonic()
    latest: dict[str, tuple[int, int]] = {}
    bars: Any = None
    tasks: dict[str, Any] = {}

    def watch(what: str, done: int, total: int) -> None:
        nonlocal bars
        latest[what] = (done, total)
        if bars is None:
            if time.monotonic() - begun_s < _PATIENCE_S:
                return
            bars = _build_bars()
            bars.start()
        for name, (so_far, whole) in latest.items():
            if name not in tasks:
                tasks[name] = bars.add_task(escape(name), total=whole)
            elif so_far < bars.tasks[tasks[name]].completed:
                bars.reset(tasks[name])  # the same work of the next stage, of a sweep's next run
            bars.update(tasks[name], completed=so_far, total=whole)
        latest.clear()

    try:
        yield watch
    finally:
        if bars is not None:
            bars.stop()


def _build_bars() -> Any:
    from rich import progress

    return progress.Progress(
        progress.TextColumn("{task.description:<24}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(),
        progress.TextColumn("left"),
        progress.TimeRemainingColumn(elapsed_when_finished=False),
        console=ERR.console,
    )
