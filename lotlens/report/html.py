"""Figures, confusions and pictures become one HTML file; it computes none of the figures.

The file stands alone: styles and pictures lie within it, and a content security policy forbids it
to fetch or run anything. Class names and photo ids are strangers' text and are always escaped.
"""

from __future__ import annotations

import base64
import io
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray
from PIL import Image

from lotlens.errors import UnreadablePhoto
from lotlens.files import write_text_atomically
from lotlens.judge.metrics import (
    ACCURACY,
    BALANCED,
    BRIER,
    CALIBRATION_ERROR,
    LOG_LOSS,
    MACRO_F1,
    STRICT_ACCURACY,
    TOP_2,
    UNANSWERED,
    ClassScore,
    ConfusionPair,
    WrongAnswer,
)
from lotlens.photos.archives import PhotoReader
from lotlens.photos.decode import decode
from lotlens.records import Catalog, Finding, Locator, Metric, ModelCard

_THUMBNAIL_SIZE = (320, 240)
_MOST_MATRIX_CLASSES = 30
_MOST_CLASS_ROWS = 40
_MOST_FINDINGS = 20
_MOST_UNREADABLE = 50

_MEANINGS = {
    STRICT_ACCURACY: "share right when a photo without an answer counts as wrong",
    UNANSWERED: "share of photos that could not be read",
    TOP_2: "share whose truth is the likeliest class or the second",
    BALANCED: "mean share recognised, every class weighing the same",
    BRIER: "squared distance of the probabilities from the truth; 0 is perfect, 2 the worst",
    MACRO_F1: "precision and recall in one, every class weighing the same; 1 is perfect",
    LOG_LOSS: "how little the truth was expected, in nats; 0 is perfect, lower is better",
    CALIBRATION_ERROR: "how far stated probabilities are from the share that is right",
}
_SHARES = {STRICT_ACCURACY, UNANSWERED, TOP_2, BALANCED, CALIBRATION_ERROR}

_INK, _BLUE, _ORANGE = "#1b2430", "#1d5fb4", "#c2500a"


@dataclass(frozen=True)
class WrongExample:
    """A wrong answer and its picture.

    Attributes:
        answer: what was said and what is true.
        thumbnail: a small JPEG, or None if there is no picture to show.
    """

    answer: WrongAnswer
    thumbnail: bytes | None


def illustrate(answers: Sequence[WrongAnswer], catalog: Catalog) -> tuple[WrongExample, ...]:
    """Find the picture for each answer; one that cannot be read stays without."""
    locators = {photo.id: photo.locator for photo in catalog.photos}
    examples = []
    with PhotoReader() as reader:
        for answer in answers:
            thumbnail = read_thumbnail(locators.get(answer.photo_id), reader)
            examples.append(WrongExample(answer, thumbnail))
    return tuple(examples)


def read_thumbnail(
    locator: Locator | None, reader: PhotoReader, size: tuple[int, int] = _THUMBNAIL_SIZE
) -> bytes | None:
    """A photo where it lies, as `draw_thumbnail` draws it; None if it cannot be read."""
    if locator is None:
        return None
    try:
        return draw_thumbnail(decode(reader.read(locator), min_size=size), size)
    except UnreadablePhoto:
        return None


def draw_thumbnail(photo: NDArray[np.uint8], size: tuple[int, int] = _THUMBNAIL_SIZE) -> bytes:
    """A photo [H, W, 3] as a JPEG of at most `size` (width, height) pixels, its aspect kept."""
    image = Image.fromarray(photo)
    image.thumbnail(size)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=82)
    return buffer.getvalue()


def write_report(
    path: Path,
    *,
    title: str,
    card: ModelCard,
    metrics: Sequence[Metric],
    class_scores: Sequence[ClassScore],
    confusions: NDArray[np.int64],
    pairs: Sequence[ConfusionPair],
    history: Sequence[Mapping[str, Any]] = (),
    examples: Sequence[WrongExample] = (),
    findings: Sequence[Finding] = (),
    unreadable: Sequence[tuple[str, str]] = (),
    facts: Sequence[tuple[str, str]] = (),
    synthetic: bool,
) -> None:
    """Write the report as one HTML file, whole or not at all.

    Args:
        path: the file to write.
        title: what was judged, such as "Validation of runs/standard-1".
        card: the model's.
        metrics: as `judge.metrics.evaluate` gives them.
        class_scores: one per class, in class order.
        confusions: [K, K] photos per true (rows) and predicted (columns) class.
        pairs: the commonest confusions.
        history: one row per epoch, numbers or their text; columns whose name holds "loss" or
            "accuracy" are drawn. Empty for a model without epochs.
        examples: the worst errors, the worst first.
        findings: what is odd with the photos.
        unreadable: (photo id, reason) of photos without an answer.
        facts: further (name, value) lines on the data, shown as they are.
        synthetic: whether the photos judged were drawn; the report then says so at its top.

    Raises:
        OutputError: the file cannot be written.
    """
    by_name = {metric.name: metric for metric in metrics}
    ranked = _rank_scores(class_scores)
    num_judged = int(confusions.sum())
    page = render_page(
        "page.html.jinja",
        title=title,
        card=card,
        synthetic=synthetic or card.synthetic,
        trained_on_synthetic=card.synthetic,
        accuracy=by_name.get(ACCURACY),
        num_judged=num_judged,
        chance=confusions.sum(axis=1).max() / num_judged if num_judged else None,
        figures=[_describe(metric) for metric in metrics if metric.name != ACCURACY],
        main_scores=ranked[:_MOST_CLASS_ROWS],
        more_scores=ranked[_MOST_CLASS_ROWS:],
        matrix=_lay_out_matrix(class_scores, confusions),
        num_classes=len(class_scores),
        pairs=pairs,
        curves=_draw_curves(history),
        examples=examples,
        unreadable=unreadable[:_MOST_UNREADABLE],
        num_unreadable=len(unreadable),
        findings=_group_findings(findings),
        facts=[*facts, *_list_facts(card)],
    )
    write_text_atomically(path, page)


def render_page(template_name: str, **values: Any) -> str:
    """A template of this folder, filled in; every value is escaped.

    Args:
        template_name: such as "page.html.jinja"; it extends "frame.html.jinja".
        values: what the template names, all of it; the frame names `title` and `synthetic`.
    """
    environment = Environment(
        loader=PackageLoader("lotlens", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = _format_percent
    environment.filters["jpeg"] = lambda data: _make_data_uri("image/jpeg", data)
    return environment.get_template(template_name).render(values)


def _format_percent(share: float, digits: int = 0) -> str:
    return f"{100 * share:.{digits}f}\u202f%"


def _make_data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _describe(metric: Metric) -> dict[str, str]:
    """A line of the table of figures, all as text."""

    def show(value: float) -> str:
        return _format_percent(value, 1) if metric.name in _SHARES else f"{value:.3f}"

    return {
        "name": metric.name,
        "meaning": _MEANINGS.get(metric.name, ""),
        "value": show(metric.value),
        "interval": f"{show(metric.low)} – {show(metric.high)}",
        "count": str(metric.count),
    }


def _rank_scores(scores: Sequence[ClassScore]) -> list[ClassScore]:
    """The weakest class first; classes without photos last."""
    return sorted(
        scores,
        key=lambda score: (
            score.recall is None,
            score.recall.value if score.recall else 0,
            score.f1 or 0,
        ),
    )


@dataclass(frozen=True)
class _Matrix:
    """What the page shows of the confusions: per class its number and name, per cell a colour."""

    names: list[str]
    rows: list[list[dict[str, Any]]]
    is_part: bool


def _lay_out_matrix(scores: Sequence[ClassScore], confusions: NDArray[np.int64]) -> _Matrix:
    """All classes, or of very many those that are most often taken for another."""
    shown = np.arange(len(scores))
    if len(scores) > _MOST_MATRIX_CLASSES:
        off = confusions - np.diag(np.diag(confusions))
        mistaken = off.sum(axis=0) + off.sum(axis=1)
        shown = np.sort(np.argsort(-mistaken, kind="stable")[:_MOST_MATRIX_CLASSES])
    totals = confusions.sum(axis=1)
    rows = []
    for i in shown.tolist():
        cells = []
        for j in shown.tolist():
            count = int(confusions[i, j])
            share = count / totals[i] if totals[i] else 0.0
            cells.append(
                {
                    "count": count,
                    "style": _colour_cell(share, i == j) if count else "",
                    "hint": f"{scores[i].car.name} taken for {scores[j].car.name}: {count}",
                }
            )
        rows.append(cells)
    names = [scores[i].car.name for i in shown.tolist()]
    return _Matrix(names, rows, len(shown) < len(scores))


def _colour_cell(share: float, is_right: bool) -> str:
    """From near white to full colour, with black or white text, whichever is read more easily."""
    full = (8, 58, 138) if is_right else (194, 80, 10)
    # Errors are small shares: a steeper start keeps even a single one visible.
    depth = 0.12 + 0.88 * (share if is_right else min(1.0, 2 * share))
    colour = [round(255 + (channel - 255) * depth) for channel in full]
    # Relative luminance, and where black and white contrast alike (WCAG 2.2).
    part = np.divide(colour, 255)
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    luminance = float(linear @ np.array([0.2126, 0.7152, 0.0722]))
    text = "#000" if luminance > 0.179 else "#fff"
    return f"background:rgb({','.join(map(str, colour))});color:{text}"


def _group_findings(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    by_check: dict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        by_check[finding.check].append(finding)
    return [
        {"check": check, "count": len(group), "shown": group[:_MOST_FINDINGS]}
        for check, group in sorted(by_check.items(), key=lambda item: (-len(item[1]), item[0]))
    ]


def _list_facts(card: ModelCard) -> list[tuple[str, str]]:
    image = card.image
    how = {
        "pad": "whole photo, padded",
        "stretch": "whole photo, stretched",
        "crop": "cropped",
    }
    facts = [
        ("Backbone", card.backbone),
        ("Input", f"{image.width} × {image.height} pixels, {how[image.fit]}"),
        ("Views averaged", ", ".join(card.views)),
        ("Weights", card.chosen),
        ("Temperature", f"{card.temperature:.3g}"),
        ("Fingerprint of training data", card.fingerprint),
        ("lotlens", card.lotlens_version),
    ]
    return [(name, value) for name, value in facts if value]


def _draw_curves(history: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """One picture each for losses and accuracies, as SVG data URIs; none without two epochs."""
    curves = []
    for word, caption in (("accuracy", "Accuracy"), ("loss", "Loss")):
        names = list(dict.fromkeys(name for row in history for name in row if word in name.lower()))
        lines = {name: [_read_number(row.get(name)) for row in history] for name in names}
        lines = {name: line for name, line in lines.items() if np.isfinite(line).sum() > 1}
        if lines:
            picture = _draw_lines(lines, *_place_looks(history), word)
            curves.append(
                {
                    "caption": caption,
                    "image": _make_data_uri("image/svg+xml", picture),
                    "text": f"{caption} per epoch: {', '.join(lines)}",
                }
            )
    return curves


def _place_looks(
    history: Sequence[Mapping[str, Any]],
) -> tuple[list[list[int]], list[float], list[float]]:
    """Where a history's rows stand: stages one after another, folds one over another.

    Returns:
        rows of each fold; the epoch of each row, counted over all stages; where stages begin, but
        for the first.
    """
    folds: dict[str, list[int]] = defaultdict(list)
    done: dict[str, float] = defaultdict(float)
    epochs: list[float] = []
    begins: set[float] = set()
    for number, row in enumerate(history):
        fold = str(row.get("fold", ""))
        if folds[fold] and row.get("stage") != history[folds[fold][-1]].get("stage"):
            done[fold] = epochs[folds[fold][-1]]
            begins.add(done[fold])
        # Validation may be looked at in some epochs only: the rows then say which.
        epochs.append(done[fold] + _read_number(row.get("epoch", number + 1)))
        folds[fold].append(number)
    return list(folds.values()), epochs, sorted(begins)


def _draw_lines(
    lines: Mapping[str, Sequence[float]],
    folds: Sequence[Sequence[int]],
    epochs: Sequence[float],
    begins: Sequence[float],
    word: str,
) -> bytes:
    # Matplotlib takes a while to load, which pages without curves need not wait for.
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator, PercentFormatter

    buffer = io.BytesIO()
    # The salt makes equal figures equal files.
    with mpl.rc_context({"svg.hashsalt": "lotlens", "font.size": 11, "text.color": _INK}):
        figure = Figure(figsize=(5.2, 3.0), layout="constrained")
        axes = figure.add_subplot()
        colours = [_ORANGE, "#6b7686", "#2e7d4f", "#7a4fa3"]
        for name, line in lines.items():
            is_validation = "val" in name.lower()
            colour = _BLUE if is_validation else colours.pop(0) if colours else "#999999"
            for rows in folds:
                axes.plot(
                    [epochs[row] for row in rows],
                    [line[row] for row in rows],
                    label=name.replace("_", " ") if rows is folds[0] else None,
                    color=colour,
                    linewidth=2.2 if is_validation else 1.6,
                    marker="o",
                    markersize=3.5,
                    alpha=1.0 if len(folds) == 1 else 0.6,
                )
        for begin in begins:
            axes.axvline(begin, color="#9aa5b1", linewidth=0.8, linestyle=":")
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if word == "accuracy":
            axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.grid(axis="y", color="#dde2e8", linewidth=0.8)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
        figure.savefig(
            buffer,
            format="svg",
            metadata={"Date": None, "Creator": None, "Format": None, "Type": None},
        )
    return buffer.getvalue()


def _read_number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return float("nan")
