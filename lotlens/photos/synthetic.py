"""Whether photos are of a sample lot, which is drawn."""

from __future__ import annotations

from pathlib import Path

MARK = "lotlens sample lot"
"""With which the README of a sample lot begins."""


def is_sample_lot(path: Path) -> bool:
    """True for a folder that `draw_lot` made: whatever is measured on it is synthetic."""
    try:
        with (path / "README.txt").open(encoding="utf-8") as file:
            return file.readline().startswith(MARK) and (path / "faults.csv").is_file()
    except (OSError, UnicodeDecodeError):
        return False


def is_synthetic(source: Path) -> bool:
    """True for a sample lot, or a file in one."""
    return is_sample_lot(source) or is_sample_lot(source.parent)
