"""How far the work is and how long it will take, on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from lotlens.cli.screen import ERR, VOICE, escape, quote, translate
from lotlens.errors import Stopped
from lotlens.watching import TerminalBars

_LONG_S = 60.0
"""Work that takes longer says in a log how long it will go on."""


@contextmanager
def show_progress(
    *,
    quiet: bool = False,
    again: str = "",
    resume_with: str = "",
) -> Iterator[Any]:
    """How far the work is and the time left, on standard error: bars, or lines where nobody looks.

    Args:
        quiet: show nothing.
        again: how to go on after Ctrl-C, whatever was done by then.
        resume_with: else, how to go on with a training; RUN stands for its run folder. Without it
            the data are those that the run began with.
    """
    teller: Any = nullcontext(_tell_nobody)
    if not quiet and not VOICE.is_quiet:
        teller = _show_bars() if sys.stderr.isatty() else nullcontext(_Log())
    try:
        with teller as watch:
            yield watch
    except Stopped as stopped:
        how = again or _tell_resume(resume_with, stopped.run_path)
        ERR.print(f"stopped; go on with  {escape(how)}", soft_wrap=True)
        raise
    except KeyboardInterrupt:
        # Typer ends with exit code 130 by itself, but without a word.
        ERR.print("stopped; files already written are whole, unfinished ones were left out")
        if again:
            ERR.print(f"go on with  {escape(again)}", soft_wrap=True)
        raise


def _tell_resume(resume_with: str, run_path: Path) -> str:
    if not resume_with:
        from lotlens.run import RunFolder

        data = quote(RunFolder(run_path).read_source()["data"])
        resume_with = f"lotlens train {data} --out RUN --resume"
    return resume_with.replace(" RUN ", f" {quote(run_path)} ")


def format_time(seconds: float) -> str:
    """A duration in the unit that suits it, with two digits or so."""
    if seconds < 90:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    if seconds < 90 * 60:
        minutes = seconds / 60
        return f"{minutes:.1f} min" if minutes < 10 else f"{minutes:.0f} min"
    return f"{seconds / 3600:.1f} h"


def _tell_nobody(what: str, done: int, total: int) -> None:
    pass


class _Log:
    """Lines for a log: one when a kind of work begins, one when it has ended, with its time.

    Work that takes long says in between how long it will take: after a minute, then ever rarer.
    """

    def __init__(self) -> None:
        self._begun: dict[str, tuple[float, int]] = {}
        self._latest: dict[str, int] = {}
        self._next_s: dict[str, float] = {}

    def __call__(self, what: str, done: int, total: int) -> None:
        now_s = time.monotonic()
        is_under_way = what in self._begun or (0 < total <= done and what in self._latest)
        # Less than before is the same work once more: of the next stage, of a sweep's next run.
        if not is_under_way or done < self._latest[what]:
            self._begin(what, done, total, now_s)
        self._latest[what] = done
        begun_s, first = self._begun.get(what, (now_s, done))
        if done >= total and what in self._begun:
            del self._begun[what]
            ERR.say(f"{what}: done in {format_time(now_s - begun_s)}")
        elif now_s - begun_s >= self._next_s[what] and done > first:
            self._next_s[what] = 2 * (now_s - begun_s)
            left_s = (now_s - begun_s) * (total - done) / (done - first)
            ERR.say(f"{what}: {done:,} of {total:,}, about {format_time(left_s)} left")

    def _begin(self, what: str, done: int, total: int, now_s: float) -> None:
        self._begun[what] = (now_s, done)
        self._next_s[what] = _LONG_S
        ERR.say(f"{what} ({total:,})" if total > 1 else what)


@contextmanager
def _show_bars() -> Iterator[Any]:
    bars = TerminalBars(ERR.console, translate)
    try:
        yield bars.watch
    finally:
        bars.stop()
