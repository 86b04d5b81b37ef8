"""Rounds of improvement as a picture: what each changed, and what the gate said of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from lotlens.files import write_bytes_atomically
from lotlens.report.charts import BLUE, GREY, INK, LINE, draw_figure

_LEAST_REACH = 2.0
"""% points to either side that are shown at least."""


def draw_rounds(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Draw the difference in accuracy that each round made as SVG, the first on top.

    Accepted candidates are full dots, rejected ones hollow. Each was judged on its own photos
    against the run that it began with: the differences do not add up.

    Args:
        path: the file.
        rows: one or more of rounds.csv.

    Raises:
        OutputError: the file cannot be written.
    """
    with draw_figure(7.6, 1.3 + 0.55 * len(rows)) as (figure, buffer):
        axes = figure.add_subplot()
        ends = [100 * float(row[key]) for row in rows for key in ("Low", "High")]
        # Differences of a hundredth of a point are none: the scale must not make them look so.
        reach = 1.15 * max(_LEAST_REACH, *map(abs, ends))
        for place, row in enumerate(rows):
            low, high, middle = (100 * float(row[key]) for key in ("Low", "High", "Difference"))
            is_accepted = row["Accepted"] == "yes"
            colour = BLUE if is_accepted else GREY
            axes.plot(
                [low, high],
                [place, place],
                "|-",
                color=colour,
                linewidth=2.2,
                markersize=11,
                zorder=2,
            )
            axes.annotate(
                f"{_sign(middle)} ({_sign(low)} to {_sign(high)})",
                (1.01, place),
                xycoords=("axes fraction", "data"),
                va="center",
                fontsize=10,
            )
            axes.plot(
                [middle],
                [place],
                "o",
                color=colour,
                markerfacecolor=colour if is_accepted else "white",
                markersize=8,
                markeredgewidth=1.8,
                zorder=3,
            )
        axes.axvline(0, color=INK, linewidth=1)
        axes.set_yticks(
            range(len(rows)),
            [
                f"{row['Round']}  {row['What']}\n"
                + ("accepted" if row["Accepted"] == "yes" else "rejected")
                for row in rows
            ],
        )
        axes.set_ylim(len(rows) - 0.5, -0.5)
        axes.set_xlim(-reach, reach)
        axes.xaxis.set_major_formatter(lambda x, _: _sign(x, "g"))
        axes.set_xlabel("change in accuracy, % points, with its 95 % interval")
        axes.grid(axis="x", color=LINE, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left", "bottom"]].set_visible(False)
        axes.tick_params(length=0)
    write_bytes_atomically(path, buffer.getvalue())


def _sign(points: float, form: str = ".1f") -> str:
    """A difference with its sign, and a true minus; none of nothing."""
    text = f"{points:{form}}"
    is_nothing = not text.strip("-0.")
    return text.lstrip("-") if is_nothing else f"{points:+{form}}".replace("-", "\u2212")
