"""What is written to the screen, and how: text, tables, JSON; it knows no command."""

from __future__ import annotations

import json
import math
import sys
from functools import cached_property
from typing import Any


class Screen:
    """A console of rich, made when it is first needed: its import takes longer than an answer."""

    def __init__(self, *, stderr: bool) -> None:
        self._stderr = stderr

    @cached_property
    def console(self) -> Any:
        from rich.console import Console

        if self._stderr:
            return Console(stderr=True, highlight=False)
        # Tables that nobody's screen limits are read by programs, or later on a wider one.
        return Console(highlight=False, width=None if sys.stdout.isatty() else 160)

    def print(self, *what: Any, **options: Any) -> None:
        """With rich's markup, and wrapped at the screen's width."""
        self.console.print(*what, **options)

    def say(self, text: str) -> None:
        """As it is."""
        print(text, file=sys.stderr if self._stderr else sys.stdout, flush=self._stderr)


OUT, ERR = Screen(stderr=False), Screen(stderr=True)


class Heard:
    """Told of records before work begins, it prints them for people, or keeps them for JSON.

    Args:
        quiet: print nothing.

    Attributes:
        records: all that it was told.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self.records: list[Any] = []

    def __call__(self, record: Any) -> None:
        """Hear of one."""
        self.records.append(record)
        if not self._quiet:
            OUT.say(str(record))  # a console would have to be imported first

    def to_dict(self) -> dict[str, Any]:
        """Each record's plain values under the name of its kind, ready for JSON."""
        return {type(record).__name__.lower(): record.to_dict() for record in self.records}


def build_table(*heads: str) -> Any:
    """A plain table with these heads."""
    from rich.table import Table

    return Table(*heads, box=None, pad_edge=False)


def escape(text: str) -> str:
    """What rich would take for markup, as it is."""
    from rich import markup

    return markup.escape(text)


def replace_nan(value: Any) -> Any:
    """JSON has no NaN."""
    return None if isinstance(value, float) and math.isnan(value) else value


def print_json(values: Any) -> None:
    """Write values as JSON."""
    # Plain print: a console would wrap long lines and break them.
    sys.stdout.write(json.dumps(values, ensure_ascii=False, indent=2) + "\n")


def format_metric(metric: Any) -> str:
    """A metric with its interval, in a line."""
    return (
        f"{metric.name:<13} {metric.value:.4f}  (95 % interval {metric.low:.4f} to"
        f" {metric.high:.4f}, {metric.count} photos)"
    )


def format_next(model: Any) -> str:
    """What to do with a model that is new: answer for its test photos, if its data had any."""
    photos = "" if model.has_test_photos else " PHOTOS"
    return f"next          lotlens predict {model.run.path}{photos}"


def format_views(model: Any) -> str:
    """The views of a model and what they cost, in a line."""
    count = model.num_answers
    times = "once" if count == 1 else f"{count} times"
    return f"test views    {', '.join(model.card.views)}: each photo is answered {times}"
