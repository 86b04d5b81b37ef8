"""Curves and diagrams of a report as SVG, in its language; they know numbers and words alone.

Letters are drawn as shapes, so that a page needs no font for them. Equal figures become equal
bytes.
"""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np

from lotlens.extras import import_extra
from lotlens.judge.confidence import AnsweredShare, ReliabilityBin
from lotlens.records import Metric
from lotlens.refusal.curve import CurvePoint
from lotlens.report.language import Language, mark

INK, BLUE, ORANGE, GREY, LINE = "#1b2430", "#1d5fb4", "#c2500a", "#55606e", "#dde2e8"
_COLOURS = (ORANGE, "#6b7686", "#2e7d4f", "#7a4fa3")
_MOST_POINTS = 300
_LEAST_SHARE = 0.15
_LEAST_NAMED = 0.3
_COLUMNS = {
    "train_loss": mark("in training"),
    "validation_log_loss": mark("on validation"),
    "validation_loss": mark("on validation"),
    "validation_accuracy": mark("on validation"),
}
_STAGES = {"probe": mark("probe"), "finetune": mark("fine-tuning")}

Rows = Sequence[Mapping[str, Any]]
Lines = dict[str, list[float]]


def draw_curve(
    word: Literal["accuracy", "loss"],
    history: Rows,
    language: Language,
    stages: Sequence[str] = (),
) -> bytes | None:
    """The columns of a history whose name holds `word`, over the epochs.

    Stages stand one after another with their names, folds one over another.

    Args:
        word: "accuracy" or "loss".
        history: one row per look at validation, numbers or their text.
        language: of the words in the picture.
        stages: the kinds of the recipe's stages, by number.

    Returns:
        SVG, or None if no such column has two numbers.
    """
    names = list(dict.fromkeys(name for row in history for name in row if word in name.lower()))
    lines = {name: [_read_number(row.get(name)) for row in history] for name in names}
    lines = {name: line for name, line in lines.items() if np.isfinite(line).sum() > 1}
    if not lines:
        return None
    folds, epochs, spans = place_looks(history)
    with draw_figure(4.8, 3.1) as (figure, buffer):
        from matplotlib.ticker import MaxNLocator

        axes = figure.add_subplot()
        colours = list(_COLOURS)
        for name, line in lines.items():
            is_validation = "val" in name.lower()
            colour = BLUE if is_validation else colours.pop(0) if colours else "#999999"
            for rows in folds:
                axes.plot(
                    [epochs[row] for row in rows],
                    [line[row] for row in rows],
                    label=_name_column(name, language) if rows is folds[0] else None,
                    color=colour,
                    linewidth=2.2 if is_validation else 1.6,
                    marker="o",
                    markersize=3.5,
                    alpha=1.0 if len(folds) == 1 else 0.6,
                )
        _mark_stages(axes, spans, stages, language)
        axes.set_xlabel(language.say("epoch"))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_formatter(
            (lambda y, _: language.percent(y)) if word == "accuracy" else _ticks(language)
        )
        _dress(axes)
        axes.legend(frameon=False)
    return buffer.getvalue()


def draw_reliability(bins: Sequence[ReliabilityBin], language: Language) -> bytes:
    """How often answers of about one probability are right, and how many there are.

    Points on the dashed line keep what they promise; below it the model is too sure. The vertical
    lines are 95 % intervals.
    """
    with draw_figure(4.8, 4.3) as (figure, buffer):
        above, below = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (4, 1)})
        above.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
        stated = [b.confidence for b in bins]
        right = [b.accuracy.value for b in bins]
        gaps = [
            [b.accuracy.value - b.accuracy.low for b in bins],
            [b.accuracy.high - b.accuracy.value for b in bins],
        ]
        above.errorbar(
            stated, right, yerr=gaps, color=BLUE, fmt="o", markersize=5, linewidth=1.4, capsize=2.5
        )
        above.set_ylim(-0.02, 1.02)
        above.set_ylabel(language.say("share correct"))
        above.yaxis.set_major_formatter(lambda y, _: language.percent(y))
        _dress(above)
        below.bar(
            [(b.low + b.high) / 2 for b in bins],
            [b.accuracy.count for b in bins],
            width=[0.9 * (b.high - b.low) for b in bins],
            color="#8fb6e6",
        )
        below.set_xlim(-0.02, 1.02)
        below.set_ylabel(language.say("photos"))
        below.set_xlabel(language.say("probability stated"))
        below.xaxis.set_major_formatter(lambda x, _: language.percent(x))
        below.yaxis.set_major_formatter(_ticks(language))
        _dress(below)
    return buffer.getvalue()


def draw_refusals(
    curve: Sequence[AnsweredShare], picked: Sequence[AnsweredShare], language: Language
) -> bytes:
    """Accuracy against the share of photos answered, with its 95 % interval and points picked."""
    shown = curve
    if len(curve) > _MOST_POINTS:
        shown = [curve[n] for n in np.linspace(0, len(curve) - 1, _MOST_POINTS).round().astype(int)]
    with draw_figure(4.8, 3.4) as (figure, buffer):
        axes = figure.add_subplot()
        shares = [point.share for point in shown]
        _draw_band(axes, shares, [point.accuracy for point in shown])
        axes.plot(
            [point.share for point in picked],
            [point.accuracy.value for point in picked],
            "o",
            color=BLUE,
            markersize=5,
        )
        axes.set_xlim(0, 1.02)
        # The surest few have so wide an interval that it would flatten all the rest.
        lows = [point.accuracy.low for point in shown if point.share >= _LEAST_SHARE]
        axes.set_ylim(max(0.0, min(lows, default=0.0) - 0.02), 1.005)
        axes.set_xlabel(language.say("share of photos answered"))
        axes.set_ylabel(language.say("share correct"))
        axes.xaxis.set_major_formatter(lambda x, _: language.percent(x))
        axes.yaxis.set_major_formatter(lambda y, _: language.percent(y))
        _dress(axes)
    return buffer.getvalue()


def draw_other_cars(curve: Sequence[CurvePoint], language: Language) -> bytes:
    """Wrong names for other cars against known cars answered, with 95 % intervals."""
    with draw_figure(4.8, 3.4) as (figure, buffer):
        from matplotlib.ticker import MaxNLocator

        axes = figure.add_subplot()
        answered = [point.answered.value for point in curve]
        _draw_band(axes, answered, [point.named for point in curve])
        own = [point for point in curve if point.is_own]
        axes.plot(
            [point.answered.value for point in own],
            [point.named.value for point in own],
            "o",
            color=BLUE,
            markersize=6,
        )
        axes.set_ylim(bottom=0)
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        axes.set_xlabel(language.say("share of known cars answered"))
        axes.set_ylabel(language.say("other cars given one name"))
        axes.xaxis.set_major_formatter(lambda x, _: language.percent(x))
        axes.yaxis.set_major_formatter(lambda y, _: language.percent(y))
        _dress(axes)
    return buffer.getvalue()


def _draw_band(axes: Any, places: Sequence[float], shares: Sequence[Metric]) -> None:
    """A line of shares over their places, within the band of their intervals."""
    lows, highs = [share.low for share in shares], [share.high for share in shares]
    axes.fill_between(places, lows, highs, color="#8fb6e6", alpha=0.5, linewidth=0)
    axes.plot(places, [share.value for share in shares], color=BLUE, linewidth=2.2)


def place_looks(
    history: Rows,
) -> tuple[list[list[int]], list[float], list[tuple[str, float, float]]]:
    """Where a history's rows stand: stages one after another, folds one over another.

    Returns:
        rows of each fold; the epoch of each row, counted over all stages; the stages of the first
        fold, as (number, where it begins, where its last look is).
    """
    folds: dict[str, list[int]] = defaultdict(list)
    done: dict[str, float] = defaultdict(float)
    epochs: list[float] = []
    spans: list[tuple[str, float, float]] = []
    for number, row in enumerate(history):
        fold, stage = str(row.get("fold", "")), str(row.get("stage", ""))
        rows = folds[fold]
        is_new = not rows or stage != str(history[rows[-1]].get("stage", ""))
        if rows and is_new:
            done[fold] = epochs[rows[-1]]
        # Validation may be looked at in some epochs only: the rows then say which.
        epochs.append(done[fold] + _read_number(row.get("epoch", number + 1)))
        if len(folds) == 1:
            begin = done[fold] if is_new else spans.pop()[1]
            spans.append((stage, begin, epochs[-1]))
        rows.append(number)
    return list(folds.values()), epochs, spans


def _mark_stages(
    axes: Any, spans: Sequence[tuple[str, float, float]], kinds: Sequence[str], language: Language
) -> None:
    """A line where each further stage begins, and above it what the stages are."""
    first, last = axes.get_xlim()
    is_named = False
    for number, (stage, begin, end) in enumerate(spans):
        if number:
            axes.axvline(begin, color="#9aa5b1", linewidth=0.8, linestyle=":")
        if not (stage.isdecimal() and int(stage) < len(kinds)):
            continue
        kind = kinds[int(stage)]
        name = language.say(
            "stage %(number)s: %(kind)s",
            number=int(stage) + 1,
            kind=language.say(_STAGES[kind]) if kind in _STAGES else kind,
        )
        left, right = max(begin, first), min(end, last)
        if len(spans) > 1 and right - left < _LEAST_NAMED * (last - first):
            name = str(int(stage) + 1)
        axes.annotate(
            name,
            ((left + right) / 2, 1.0),
            xycoords=("data", "axes fraction"),
            xytext=(0, 3),
            textcoords="offset points",
            ha="center",
            color=GREY,
            fontsize=9,
        ).set_in_layout(False)
        is_named = True
    if is_named:
        # The empty title keeps the room that the names take.
        axes.set_title(" ", fontsize=9)


def _name_column(name: str, language: Language) -> str:
    return language.say(_COLUMNS[name]) if name in _COLUMNS else name.replace("_", " ")


def _ticks(language: Language) -> Any:
    return lambda value, _: language.tick(value)


def _dress(axes: Any) -> None:
    axes.grid(axis="y", color=LINE, linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


@contextmanager
def draw_figure(width: float, height: float) -> Iterator[tuple[Any, io.BytesIO]]:
    """An empty figure of so many inches, which becomes SVG in the buffer when the block ends.

    Raises:
        MissingExtra: lotlens[notebook] is not installed.
    """
    # Matplotlib takes a while to load, which pages without curves need not wait for.
    mpl = import_extra("matplotlib", "notebook")
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    buffer = io.BytesIO()
    # The salt makes equal figures equal files. A dollar sign would begin a formula.
    settings: Any = {
        "svg.hashsalt": "lotlens",
        "font.size": 11,
        "text.color": INK,
        "text.parse_math": False,
    }
    with mpl.rc_context(settings):
        # Drawing is mostly measuring letters. The constrained layout measures them twice, and
        # `savefig` draws once for nothing before it draws: both together took twice as long.
        figure = Figure(figsize=(width, height))
        figure.set_layout_engine("tight", pad=0.4, h_pad=0.0)
        yield figure, buffer
        canvas: Any = FigureCanvasSVG(figure)
        canvas.print_svg(
            buffer, metadata={"Date": None, "Creator": None, "Format": None, "Type": None}
        )


def _read_number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")
