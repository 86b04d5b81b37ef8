"""A sweep as a picture: a row per variant, a point per run; it knows names and numbers alone."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence
from pathlib import Path

from lotlens.files import write_bytes_atomically

_INK = "#1c2733"
_BLUE = "#1f5fa8"
_GREY = "#8a94a3"
_NAME_WIDTH = 38
_LINE_INCHES = 0.19
_MOST_ROWS = 60
_BELOW = 0.11

Row = tuple[str, Sequence[float], float, float, float]


def draw_sweep(path: Path, rows: Sequence[Row], *, num_photos: int) -> None:
    """Draw the accuracy of every variant as SVG, the best on top; equal sweeps become equal files.

    Args:
        path: the file.
        rows: one or more: name, accuracy of every run, their mean, and the ends of its 95 %
            interval. Of more than 60 the best are drawn.
        num_photos: on which they were judged.

    Raises:
        OutputError: the file cannot be written.
    """
    # Matplotlib takes a while to load, which commands without plots need not wait for.
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    best = sorted(rows, key=lambda row: -row[2])[:_MOST_ROWS]
    # A dollar sign would begin a formula.
    names = [
        textwrap.fill(row[0].replace("$", r"\$"), _NAME_WIDTH, break_on_hyphens=False)
        for row in best
    ]
    heights = [(name.count("\n") + 2) * _LINE_INCHES for name in names]
    buffer = io.BytesIO()
    # The salt makes equal figures equal files.
    with mpl.rc_context({"svg.hashsalt": "lotlens", "font.size": 10, "text.color": _INK}):
        figure = Figure(figsize=(8.4, 1.2 + sum(heights)), layout="constrained")
        axes = figure.add_subplot()
        places, below = [], 0.0
        for height in heights:
            places.append(below + height / 2)
            below += height
        for place, (_, accuracies, mean, low, high) in zip(places, best, strict=True):
            axes.plot([low, high], [place, place], color=_BLUE, linewidth=2, zorder=2)
            axes.plot([mean], [place], "D", color=_BLUE, markersize=6.5, zorder=4)
            axes.plot(
                accuracies,
                [place + _BELOW] * len(accuracies),
                "o",
                markerfacecolor="white",
                markeredgecolor=_INK,
                markeredgewidth=1,
                markersize=5,
                zorder=3,
            )
        axes.set_yticks(places, names)
        axes.set_ylim(below, 0)
        axes.tick_params(axis="y", length=0)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 2, 2.5, 5, 10]))
        axes.xaxis.set_major_formatter(PercentFormatter(1.0))
        axes.set_xlabel(f"accuracy on {num_photos} validation photos")
        axes.set_title(
            "diamond and line: mean of the runs and its 95 % interval; circles: runs",
            fontsize=9,
            color=_GREY,
            loc="left",
        )
        axes.grid(axis="x", color="#dde2e8", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        figure.savefig(
            buffer,
            format="svg",
            metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
        )
    write_bytes_atomically(path, buffer.getvalue())
