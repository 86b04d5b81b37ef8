"""Figures, confusions and pictures become one HTML file; it computes none of the figures.

The file stands alone: styles and pictures lie within it, and a content security policy forbids it
to fetch anything, or to run more than its own script, which sorts tables. What else can be clicked
are links to places within the page. Class names and
photo ids are strangers' text: always escaped, and cut where they are endless.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

from lotlens.errors import MissingExtra, tell_install
from lotlens.files import write_text_atomically
from lotlens.judge.judged import Judged, Subject
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
)
from lotlens.records import STARTED, Catalog, Finding, FloatArray, HeatMaps, Lot, Metric, ModelCard
from lotlens.refusal.curve import CurvePoint
from lotlens.report.advising import suggest_commands
from lotlens.report.charts import draw_curve, draw_other_cars, draw_refusals, draw_reliability
from lotlens.report.language import ENGLISH, Language, mark
from lotlens.report.odd import show_odd
from lotlens.report.pictures import Album
from lotlens.report.showing import Showing, lay_out_matrix
from lotlens.report.templates import make_svg_uri, render_page
from lotlens.texts import show

_MOST_CLASS_ROWS = 40
_MOST_UNREADABLE = 50
_MOST_DOUBTED = 8
MOST_PAIRS = 6
"""Confusions that a report shows."""
# As text a picture takes a third more; with all else the file stays under 15 MB.
_MOST_PICTURE_BYTES = 9_000_000

_FIGURES = {
    STRICT_ACCURACY: (
        mark("accuracy, unanswered as wrong"),
        mark("share correct if a photo without an answer counts as wrong"),
    ),
    UNANSWERED: (mark("unanswered"), mark("share of photos that could not be read")),
    TOP_2: (
        mark("top-2 accuracy"),
        mark("share whose true class is the first or the second guess"),
    ),
    BALANCED: (
        mark("balanced accuracy"),
        mark("mean share recognised, all classes counted equally"),
    ),
    BRIER: (
        mark("Brier score"),
        mark("squared distance of the probabilities from the truth; 0 is perfect, 2 the worst"),
    ),
    MACRO_F1: (
        mark("macro F1"),
        mark("precision and recall in one, all classes counted equally; 1 is perfect"),
    ),
    LOG_LOSS: (
        mark("log loss"),
        mark("the price of confident mistakes, in nats; 0 is perfect, lower is better"),
    ),
    CALIBRATION_ERROR: (
        mark("calibration error"),
        mark("how far the stated probabilities are from the share that is correct"),
    ),
}
_SHARES = {STRICT_ACCURACY, UNANSWERED, TOP_2, BALANCED, CALIBRATION_ERROR}
_TITLES = {
    "held-out": mark("%(run)s: judged on validation photos"),
    "folds": mark("%(run)s: cross-validation"),
    "locked": mark("%(run)s: judged on locked photos"),
    "other": mark("%(run)s: judged on %(data)s"),
}
_FITS = {
    "pad": mark("whole photo, padded"),
    "stretch": mark("whole photo, stretched"),
    "crop": mark("cropped"),
}
_BOX_FITS = {
    "keep": mark("the part with the car"),
    "stretch": mark("the part with the car, stretched"),
}
_VIEWS = {
    "whole": mark("whole photo"),
    "mirror": mark("mirrored photo"),
    "closer": mark("closer"),
    "further": mark("further away"),
    "left": mark("left part"),
    "right": mark("right part"),
    "brighter": mark("brighter"),
    "darker": mark("darker"),
}
_CURVES = (("accuracy", mark("Accuracy")), ("loss", mark("Loss")))


@dataclass(frozen=True)
class Origin:
    """How a model came to be, as far as its run folder tells.

    Attributes:
        run_path: the folder, as it was named.
        data_path: what it was trained on.
        ended: the day of the training.
        wall_s: how long it took; 0 if that is not known.
        sizes: (width, height) -> photos, of some of the photos.
    """

    run_path: Path
    data_path: Path | None = None
    ended: date | None = None
    wall_s: float = 0.0
    sizes: Mapping[tuple[int, int], int] = field(default_factory=dict)


@dataclass(frozen=True)
class Background:
    """What a report tells beside the figures.

    Attributes:
        catalog: where the photos lie; one that is not there, or cannot be read, is said to be so.
        heat_maps: photo id -> where the model looked, for some of the worst errors.
        features: photo id -> what the network makes of it, [F], to find photos that look alike.
        history: one row per look at validation, numbers or their text; columns whose name holds
            "loss" or "accuracy" are drawn. Empty for a model without epochs.
        findings: what is odd with the photos.
        lot: where the photos lie that findings tell of; None for those of the catalog.
        origin: how the model came to be, if that is known.
        synthetic: whether the photos judged were drawn; the report then says so at its top.
        other_cars: what refusing more costs and spares, where other cars were held out.
    """

    catalog: Catalog = field(default_factory=lambda: Catalog((), ()))
    heat_maps: Mapping[str, HeatMaps] = field(default_factory=dict)
    features: Mapping[str, FloatArray] = field(default_factory=dict)
    history: Sequence[Mapping[str, Any]] = ()
    findings: Sequence[Finding] = ()
    lot: Lot | None = None
    origin: Origin | None = None
    synthetic: bool = False
    other_cars: Sequence[CurvePoint] = ()


def write_report(
    path: Path,
    subject: Subject,
    judged: Judged,
    background: Background = Background(),
    *,
    language: Language = ENGLISH,
) -> None:
    """Write the report as one HTML file under 15 MB, whole or not at all.

    Pictures are drawn in the order of their importance while a budget of 9 MB of JPEG lasts: the
    worst errors, the commonest confusions, what else was taken for something else (the surest
    first), some of what was right. The page says how many wrong answers it does not show.

    Args:
        path: the file to write.
        subject: what was judged.
        judged: all figures.
        background: photos, history and findings.
        language: what it is written in.

    Raises:
        OutputError: the file cannot be written.
    """
    page = render_page(
        "page.html.jinja",
        "tables.js",
        language=language,
        title=language.say(_TITLES[subject.kind], run=subject.run, data=subject.data),
        subject=subject,
        card=judged.card,
        synthetic=background.synthetic or judged.card.synthetic,
        trained_on_synthetic=judged.card.synthetic,
        origin=_describe_origin(judged.card, background.origin, language),
        **_fill_figures(judged, language),
        **_fill_pictures(judged, background),
        **_fill_training(judged, background, language),
        advice=[
            (item, suggest_commands(item, subject, background.origin, language))
            for item in judged.advice
        ],
        other_cars=background.other_cars,
        other_cars_curve=_draw(partial(draw_other_cars, background.other_cars, language))
        if background.other_cars
        else None,
        findings=show_odd(background.findings, background.lot, background.catalog),
        facts=_list_facts(judged.card, language),
        details=_list_details(judged.card, language),
    )
    # Names in it could turn the direction of what follows; the page itself has no such signs.
    write_text_atomically(path, show(page))


def _fill_figures(judged: Judged, language: Language) -> dict[str, Any]:
    """What the page shows of the figures alone."""
    by_name = {metric.name: metric for metric in judged.metrics}
    ranked = _rank_scores(judged.class_scores)
    num_judged = int(judged.confusions.sum())
    picked = judged.picked_refusals
    names = Counter(score.car.name for score in judged.class_scores)
    return {
        "accuracy": by_name.get(ACCURACY),
        "num_judged": num_judged,
        "num_right": int(judged.confusions.trace()),
        "chance": judged.confusions.sum(axis=1).max() / num_judged if num_judged else None,
        "figures": [_describe(m, language) for m in judged.metrics if m.name != ACCURACY],
        "main_scores": ranked[:_MOST_CLASS_ROWS],
        "more_scores": ranked[_MOST_CLASS_ROWS:],
        "num_classes": len(judged.class_scores),
        "shared_names": {name for name, count in names.items() if count > 1},
        "most_doubted": _MOST_DOUBTED,
        "reliability": [
            (one, _draw(partial(draw_reliability, one.bins, language)))
            for one in judged.reliability
        ],
        "refusals": picked,
        "refusal_curve": _draw(partial(draw_refusals, judged.refusals, picked, language))
        if judged.refusals
        else None,
        "plots_need": tell_install("notebook"),
        "unreadable": judged.unreadable[:_MOST_UNREADABLE],
        "num_unreadable": len(judged.unreadable),
        "judged_extremes": _find_extremes(
            [(score.car.name, score.num_photos) for score in judged.class_scores]
        ),
    }


def _fill_pictures(judged: Judged, background: Background) -> dict[str, Any]:
    """What the page shows of the photos, drawn in the order of its importance."""
    with Album(background.catalog, most_bytes=_MOST_PICTURE_BYTES) as album:
        show = Showing(
            album, judged.answers, judged.card, background.heat_maps, background.features
        )
        errors = [show.show_error(error) for error in judged.errors]
        pairs = [show.show_pair(pair) for pair in judged.pairs[:MOST_PAIRS]]
        matrix = lay_out_matrix(judged.class_scores, judged.confusions)
        cells = show.fill_cells(judged.class_scores, matrix.positions, judged.confusions)
    num_wrong = int(judged.confusions.sum() - judged.confusions.trace())
    return {
        "errors": errors,
        "has_heat": any(error.said_heat for error in errors),
        "has_features": bool(background.features),
        "pairs": pairs,
        "matrix": matrix,
        "cells": cells,
        "cell_ids": {score.car.label: k + 1 for k, score in enumerate(judged.class_scores)},
        "shown_cells": {cell.id for cell in cells},
        "num_unseen": num_wrong - sum(len(cell.photos) for cell in cells if not cell.is_right),
    }


def _fill_training(judged: Judged, background: Background, language: Language) -> dict[str, Any]:
    """What the page shows of the training and its photos."""
    counts = judged.training_counts or {}
    stages = [str(stage.get("kind", "")) for stage in judged.card.recipe.get("stages", ())]
    learnt = [
        (score.car.name, counts[score.car.label])
        for score in judged.class_scores
        if score.car.label in counts
    ]
    return {
        "curves": _draw_curves(background.history, language, stages),
        "num_training": sum(counts.values()),
        "training_extremes": _find_extremes(learnt),
        "sizes": _describe_sizes(background.origin.sizes if background.origin else {}),
    }


def _describe(metric: Metric, language: Language) -> dict[str, str]:
    """A line of the table of figures, all as text."""
    value, interval = (
        (language.percent(metric.value, 1), language.interval(metric.low, metric.high, 1))
        if metric.name in _SHARES
        else (
            language.number(metric.value, 3),
            f"{language.number(metric.low, 3)}–{language.number(metric.high, 3)}",
        )
    )
    name, meaning = _FIGURES.get(metric.name, (metric.name, ""))
    return {
        "name": language.say(name) if meaning else name,
        "meaning": language.say(meaning) if meaning else "",
        "value": value,
        "interval": interval,
        "count": language.whole(metric.count),
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


def _find_extremes(counts: Sequence[tuple[str, int]]) -> list[tuple[str, int]]:
    """The largest and the smallest class, as (name, photos); none of fewer than two."""
    if len(counts) < 2:
        return []
    return [max(counts, key=lambda row: row[1]), min(counts, key=lambda row: row[1])]


def _describe_sizes(sizes: Mapping[tuple[int, int], int]) -> list[str]:
    """The smallest, the largest and the commonest size; nothing if none is known."""
    if not sizes:
        return []
    by_area = sorted(sizes, key=lambda size: (size[0] * size[1], size))
    commonest = max(by_area, key=lambda size: sizes[size])
    return [f"{width} × {height}" for width, height in (by_area[0], by_area[-1], commonest)]


def _describe_origin(card: ModelCard, origin: Origin | None, language: Language) -> list[str]:
    """What stands under the title: data, recipe, when and how long the model was trained."""
    if origin is None:
        return []
    told = [origin.data_path.name if origin.data_path else "", str(card.recipe.get("name", ""))]
    if origin.ended is not None and origin.wall_s:
        told.append(
            language.say(
                "trained on %(day)s in %(time)s",
                day=language.day(origin.ended),
                time=language.duration(origin.wall_s),
            )
        )
    return [one for one in told if one]


def _list_facts(card: ModelCard, language: Language) -> list[tuple[str, str]]:
    image, say = card.image, language.say
    is_whole = image.locate == "none"
    views = [say(_VIEWS[view]) if view in _VIEWS else view for view in card.views]
    facts = [
        (say("Backbone"), _tell_backbone(card, language)),
        (
            say("Input"),
            say(
                "%(width)s × %(height)s pixels, %(fit)s",
                width=image.width,
                height=image.height,
                fit=say(_FITS[image.fit] if is_whole else _BOX_FITS[image.box_fit]),
            ),
        ),
        (say("Finds the car first"), _tell_located(card, language)),
        (say("Models that answer together"), str(card.members) if card.members > 1 else ""),
        (say("Views averaged"), ", ".join(views) if is_whole or len(views) > 1 else ""),
        ("lotlens", card.lotlens_version),
    ]
    return [(name, value) for name, value in facts if value]


def _tell_located(card: ModelCard, language: Language) -> str:
    if card.image.locate != "none":
        return language.say("yes, and crops the photo to it")
    asked = card.recipe.get("image")
    if isinstance(asked, Mapping) and asked.get("locate") == "auto":
        return language.say("no: no gain was found")
    return ""


def _tell_backbone(card: ModelCard, language: Language) -> str:
    if not card.started_from:
        return card.backbone
    network, _, run = card.backbone.partition(STARTED)
    return language.say("%(network)s, started from the run %(run)s", network=network, run=run)


def _list_details(card: ModelCard, language: Language) -> list[tuple[str, str]]:
    """What few will ask for."""
    say = language.say
    chosen = language.reword(card.chosen) or card.chosen
    details = [
        (say("How the weights were chosen"), chosen),
        (say("Temperature"), language.number(card.temperature, 3)),
        (say("Fingerprint of training data"), card.fingerprint),
    ]
    return [(name, value) for name, value in details if value]


def _draw(draw: Callable[[], bytes | None]) -> str | None:
    """A plot as a data URI; None if there is nothing to draw, or nothing to draw it with."""
    try:
        picture = draw()
    except MissingExtra:
        return None
    return None if picture is None else make_svg_uri(picture)


def _draw_curves(
    history: Sequence[Mapping[str, Any]], language: Language, stages: Sequence[str]
) -> list[dict[str, str]]:
    """One picture each for accuracies and losses, as data URIs; none without two epochs."""
    curves = []
    for word, caption in _CURVES:
        image = _draw(partial(draw_curve, word, history, language, stages))  # type: ignore[arg-type]
        if image is not None:
            curves.append({"caption": language.say(caption), "image": image})
    return curves
