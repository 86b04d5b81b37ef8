"""Rounds of improvement as a picture: what each changed, and what the gate said of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from lotlens.files import write_bytes_atomically
from lotlens.report.charts import BLUE, GREY, INK, LINE, draw_figure


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
        for place, row in enumerate(rows):
            low, high, middle = (100 * float(row[key]) for key in ("Low", "High", "Difference"))
            is_accepted = row["Accepted"] == "yes"
            colour = BLUE if is_accepted else GREY
            axes.plot([low, high], [place, place], color=colour, linewidth=2.2, zorder=2)
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
        axes.set_xlabel("accuracy, candidate less the run before it, in points (95 % interval)")
        axes.grid(axis="x", color=LINE, linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
    write_bytes_atomically(path, buffer.getvalue())
