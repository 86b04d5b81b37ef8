"""How far the work is, shown by itself to whoever sits at a notebook or a terminal.

It knows the work by names and numbers alone. Where nobody looks (a log, a pipe, a test), where a
watcher is given, and after `quiet()` it shows nothing.
"""

from __future__ import annotations

import html
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, wraps
from inspect import signature
from types import TracebackType
from typing import Any, TypeVar, cast

from lotlens.records import Watcher
from lotlens.texts import show

Function = TypeVar("Function", bound=Callable[..., Any])

_PATIENCE_S = 0.5
"""Work that is done by then shows no bar."""
_EVERY_S = 0.2
_MOST_BARS = 5
_one_at_a_time = threading.Lock()
_wishes = {"quiet": False}


class quiet:  # noqa: N801 - it reads as the verb that it is
    """Show no progress from now on, or in a `with` block; `quiet(False)` shows it again.

    It is for Python: the command line has --quiet. A verb that is given `watch=` tells that alone.
    """

    def __init__(self, on: bool = True) -> None:
        self._before = _wishes["quiet"]
        _wishes["quiet"] = on

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _wishes["quiet"] = self._before


@cache  # the same function is the same verb, however often it is looked up
def with_progress(function: Function) -> Function:
    """A function that shows how far it is where somebody looks, if it has a `watch` to tell."""
    if "watch" not in signature(function).parameters:
        return function

    @wraps(function)
    def watched(*args: Any, **kwargs: Any) -> Any:
        if kwargs.get("watch") is not None:
            return function(*args, **kwargs)
        with show_progress() as watch:
            return function(*args, **{**kwargs, "watch": watch})

    return cast("Function", watched)


@contextmanager
def show_progress() -> Iterator[Watcher | None]:
    """A watcher that draws bars in a notebook or a terminal; None where nobody looks."""
    notebook = find_notebook()
    is_wanted = not _wishes["quiet"] and (notebook is not None or _is_terminal())
    # Work within other work, or beside it, has no bars of its own.
    if not is_wanted or not _one_at_a_time.acquire(blocking=False):
        yield None
        return
    bars = TerminalBars() if notebook is None else _NotebookBars(notebook)
    try:
        yield bars.watch
    finally:
        bars.stop()
        _one_at_a_time.release()


def find_notebook() -> Any:
    """IPython's module `display`, in a notebook; None elsewhere."""
    shell: Any = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    if getattr(shell, "kernel", None) is None:
        return None
    from importlib import import_module

    return import_module("IPython.display")


def _is_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()


class _Bars:
    """What was told last of each kind of work, drawn now and then."""

    def __init__(self) -> None:
        self._begun_s = self._drawn_s = time.monotonic()
        self._lock = threading.Lock()
        self._is_drawn = False
        self.latest: dict[str, tuple[int, int]] = {}

    def watch(self, what: str, done: int, total: int) -> None:
        with self._lock:
            self.latest[what] = (done, total)
            now_s = time.monotonic()
            wait_s = _EVERY_S if self._is_drawn else _PATIENCE_S
            if now_s - self._drawn_s >= wait_s:
                self._drawn_s, self._is_drawn = now_s, True
                self.draw(now_s - self._begun_s)

    def stop(self) -> None:
        with self._lock:
            if self._is_drawn:
                self.close(time.monotonic() - self._begun_s)

    def draw(self, spent_s: float) -> None:
        raise NotImplementedError

    def close(self, spent_s: float) -> None:
        raise NotImplementedError


class _NotebookBars(_Bars):
    """Bars below a cell, of plain HTML: no widgets are needed. One line stays when it has ended."""

    def __init__(self, notebook: Any) -> None:
        super().__init__()
        self._notebook = notebook
        self._place: Any = None

    def draw(self, spent_s: float) -> None:
        rows = "".join(
            f'<tr><td style="text-align:left">{html.escape(show(what, in_one_line=True))}</td>'
            f'<td><progress value="{done}" max="{max(total, 1)}"></progress></td>'
            f"<td>{_tell_count(done, total)}</td></tr>"
            for what, (done, total) in [*self.latest.items()][-_MOST_BARS:]
        )
        self._put(f"<table>{rows}</table><small>{spent_s:.0f} s</small>")

    def close(self, spent_s: float) -> None:
        self._put(f"<small>done in {spent_s:.0f} s</small>")

    def _put(self, text: str) -> None:
        shown = self._notebook.HTML(text)
        if self._place is None:
            self._place = self._notebook.display(shown, display_id=True)
        else:
            self._place.update(shown)


class TerminalBars(_Bars):
    """Bars on standard error, one for each kind of work, once it has taken a moment.

    Args:
        console: of rich, to draw on; None for one of standard error.
        name: puts what the work is called into other words.
    """

    def __init__(self, console: Any = None, name: Callable[[str], str] = str) -> None:
        super().__init__()
        self._console, self._name = console, name
        self._bars: Any = None
        self._tasks: dict[str, Any] = {}

    def draw(self, spent_s: float) -> None:
        del spent_s
        if self._bars is None:
            self._bars = _build_bars(self._console, self._name("left"))
            self._bars.start()
        for what, (done, total) in self.latest.items():
            if what not in self._tasks:
                name = show(self._name(what), in_one_line=True)
                self._tasks[what] = self._bars.add_task(name, total=total, count="")
            elif done < self._bars.tasks[self._tasks[what]].completed:
                self._bars.reset(self._tasks[what])  # the same work of the next stage
            count = self._name(_tell_count(done, total))
            # A single piece of work cannot be counted: its bar moves until it is done.
            seen = None if total == 1 and not done else total
            self._bars.update(self._tasks[what], completed=done, total=seen, count=count)

    def close(self, spent_s: float) -> None:
        self.draw(spent_s)
        self._bars.stop()


def _tell_count(done: int, total: int) -> str:
    return f"{done:,} of {total:,}" if total > 1 else ""


def _build_bars(console: Any, left: str) -> Any:
    from rich import progress
    from rich.console import Console

    return progress.Progress(
        progress.TextColumn("{task.description:<24}", markup=False),
        progress.BarColumn(),
        progress.TextColumn("{task.fields[count]}", markup=False),
        progress.TimeElapsedColumn(),
        progress.TextColumn(left, markup=False),
        progress.TimeRemainingColumn(elapsed_when_finished=False),
        console=console or Console(stderr=True),
    )
