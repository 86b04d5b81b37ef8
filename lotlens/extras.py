"""Modules that need an optional part of lotlens, imported when they are needed."""

from __future__ import annotations

import importlib
from typing import Any

from lotlens.errors import MissingExtra


def import_extra(module: str, extra: str) -> Any:
    """A module that needs an optional part of lotlens.

    Raises:
        MissingExtra: that part is not installed.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("lotlens"):
            raise
        raise MissingExtra(extra, error.name) from error


def import_vision(module: str) -> Any:
    """A module of vision/, which needs packages that a plain install lacks."""
    return import_extra(f"lotlens.vision.{module}", "train")
