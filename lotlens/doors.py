"""Doors from the ground to rooms above it, opened only when somebody in a notebook asks.

Records know how to be passed on, and a model which run it is; drawing them, or judging a run, is
for rooms that stand on both. Which room that is stands here, as a name, and nothing is imported
until then.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from lotlens.errors import LotlensError


def draw_html(record: Any) -> str | None:
    """A record as HTML for a notebook (see `report.notebook`); None if it cannot be drawn now."""
    try:
        text: str = import_module("lotlens.report.notebook").draw_record(record)
    except LotlensError:  # its photos have gone; the notebook shows its text instead
        return None
    return text


def show_photos(*args: Any, **options: Any) -> Any:
    """Photos side by side (see `report.notebook.show_photos`)."""
    return import_module("lotlens.report.notebook").show_photos(*args, **options)


def call_verb(name: str, *args: Any, **options: Any) -> Any:
    """What `lotlens` offers under a name, called."""
    return getattr(import_module("lotlens"), name)(*args, **options)
