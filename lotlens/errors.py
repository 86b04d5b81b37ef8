"""The errors lotlens raises on purpose; it knows nothing of how they are shown.

The tree::

    LotlensError              anything a user can mend; str() is one clear line
    ├── InputError            what was given cannot be used: data, CSV, archive, sample, option
    │   └── RecipeError       mistakes in a recipe; `mistakes` lists every one of them
    ├── UnreadablePhoto       one photo cannot be decoded; `reason` says why (never stops a run)
    ├── BundleError           a run folder or model bundle is missing, damaged or of another version
    ├── MissingExtra          the command needs an optional part, and which one to install
    └── OutputError           a result could not be written (no space left, no permission)

The library raises these. `cli/app.py` turns them into a line and an exit code, and the
application of `web/review.py` into an answer with that line.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

MOST_SHOWN = 20
"""Mistakes of a recipe that a message shows."""

_LONGEST = 500
_LONGEST_WHOLE = 12_000


def shorten(text: str, most: int = _LONGEST) -> str:
    """Text for a message: cut where it is long, and signs that a screen might obey made visible."""
    cut = text if len(text) <= most else f"{text[: most - 1]}…"
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in cut)


class LotlensError(Exception):
    """Base of every error a user can mend. The message says what, where, the value, what to do.

    However much a file holds that is quoted in it, it is cut before it fills a screen.
    """

    def __init__(self, message: str = "") -> None:
        is_long = len(message) > _LONGEST_WHOLE
        super().__init__(f"{message[:_LONGEST_WHOLE]}…" if is_long else message)


class InputError(LotlensError):
    """What the user gave cannot be used."""


class RecipeError(InputError):
    """A recipe holds mistakes.

    Attributes:
        mistakes: one sentence per mistake, in the order of the recipe; the message shows the first
            few.
    """

    def __init__(self, source: str, mistakes: Sequence[str]) -> None:
        self.mistakes: tuple[str, ...] = tuple(map(shorten, mistakes))
        head = f"recipe {shorten(source)}: "
        if len(self.mistakes) == 1:
            super().__init__(head + self.mistakes[0])
        else:
            lines = "".join(f"\n  - {mistake}" for mistake in self.mistakes[:MOST_SHOWN])
            more = len(self.mistakes) - MOST_SHOWN
            lines += f"\n  and {more:,} more" if more > 0 else ""
            super().__init__(f"{head}{len(self.mistakes):,} mistakes{lines}")


class UnreadablePhoto(LotlensError):
    """One photo cannot be decoded.

    Attributes:
        reason: a short sentence fit for a table cell, such as "truncated JPEG".
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class BundleError(LotlensError):
    """A run folder or model bundle is missing, damaged or of another version."""


def tell_install(extra: str) -> str:
    """The line that installs an optional part of this lotlens, which no package index has."""
    import shlex

    path, is_editable = _find_checkout()
    if path is None:
        return f"pip install '.[{extra}]'  in the checkout of lotlens"
    pins_path = path / "constraints.txt"
    pins = f"-c {shlex.quote(str(pins_path))} " if pins_path.is_file() else ""
    return f"pip install {pins}{'-e ' if is_editable else ''}{shlex.quote(f'{path}[{extra}]')}"


def _find_checkout() -> tuple[Path | None, bool]:
    """Where the checkout lies that this lotlens was installed from, and whether it runs from it."""
    import json
    from importlib.metadata import PackageNotFoundError, distribution
    from urllib.parse import unquote, urlparse

    own = Path(__file__).resolve().parent.parent
    if (own / "pyproject.toml").is_file():
        return own, True
    try:
        told = json.loads(distribution("lotlens").read_text("direct_url.json") or "{}")
        path = Path(unquote(urlparse(str(told.get("url", ""))).path))
    except (PackageNotFoundError, ValueError, AttributeError):
        return None, False
    return (path if (path / "pyproject.toml").is_file() else None), False


class MissingExtra(LotlensError):
    """A command needs an optional part of lotlens that is not installed."""

    def __init__(self, extra: str, module: str) -> None:
        self.extra = extra
        super().__init__(
            f"this needs the module {module!r}, which is not installed: run  {tell_install(extra)}"
        )


class OutputError(LotlensError):
    """A result could not be written."""


class Stopped(KeyboardInterrupt):
    """The user stopped a training that can go on; no error, and no child of LotlensError.

    Attributes:
        run_path: its run folder.
    """

    def __init__(self, run_path: Path) -> None:
        super().__init__(f"stopped; it can go on from {run_path}")
        self.run_path = run_path
