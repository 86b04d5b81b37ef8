"""Figures, confusions and pictures become one HTML file; it computes none of the figures.

The file stands alone: styles and pictures lie within it, and a content security policy forbids it
to fetch or run anything. What can be clicked are links to places within the page. Class names and
photo ids are strangers' text: always escaped, and cut where they are endless.
"""

from __future__ import annotations

import base64
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray

from lotlens.files import write_text_atomically
from lotlens.judge.advice import Advice
from lotlens.judge.confidence import AnsweredShare, Reliability
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
    Answer,
    ClassScore,
    ConfusionPair,
)
from lotlens.records import Catalog, Finding, Metric, ModelCard
from lotlens.report.charts import draw_curve, draw_refusals, draw_reliability
from lotlens.report.language import ENGLISH, THIN, Language, install, mark
from lotlens.report.pictures import Album, HeatMaps

_LARGE_SIZE = (480, 360)
_MOST_MATRIX_CLASSES = 30
_MOST_CLASS_ROWS = 40
_MOST_FINDINGS = 20
_MOST_UNREADABLE = 50
_MOST_OF_WRONG_CELL, _MOST_OF_RIGHT_CELL = 60, 6
_MOST_OF_PAIR, _MOST_OF_CLASS = 4, 2
_MOST_DOUBTED = 8
_MOST_PAIRS = 6
_MOST_LETTERS = 100
# As text a picture takes a third more; with all else the file stays under 15 MB.
_MOST_PICTURE_BYTES = 9_000_000

_FIGURES = {
    STRICT_ACCURACY: (
        mark("accuracy, unanswered as wrong"),
        mark("share right when a photo without an answer counts as wrong"),
    ),
    UNANSWERED: (mark("unanswered"), mark("share of photos that could not be read")),
    TOP_2: (
        mark("top-2 accuracy"),
        mark("share whose truth is the likeliest class or the second"),
    ),
    BALANCED: (
        mark("balanced accuracy"),
        mark("mean share recognised, every class weighing the same"),
    ),
    BRIER: (
        mark("Brier score"),
        mark("squared distance of the probabilities from the truth; 0 is perfect, 2 the worst"),
    ),
    MACRO_F1: (
        mark("macro F1"),
        mark("precision and recall in one, every class weighing the same; 1 is perfect"),
    ),
    LOG_LOSS: (
        mark("log loss"),
        mark("how little the truth was expected, in nats; 0 is perfect, lower is better"),
    ),
    CALIBRATION_ERROR: (
        mark("calibration error"),
        mark("how far stated probabilities are from the share that is right"),
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
class Subject:
    """What a report judges.

    Attributes:
        kind: "held-out": the run's own validation part; "folds": all its labelled photos, each
            answered by the model that had not seen it; "locked": its locked part; "other": photos
            that it knows nothing of.
        run: the run's name.
        data: the name of other photos.
        num_models: that were trained, one per fold.
    """

    kind: Literal["held-out", "folds", "locked", "other"]
    run: str
    data: str = ""
    num_models: int = 1


def write_report(
    path: Path,
    *,
    subject: Subject,
    card: ModelCard,
    metrics: Sequence[Metric],
    class_scores: Sequence[ClassScore],
    confusions: NDArray[np.int64],
    pairs: Sequence[ConfusionPair],
    answers: Sequence[Answer] = (),
    errors: Sequence[Answer] = (),
    catalog: Catalog = Catalog((), ()),
    heat_maps: Mapping[str, HeatMaps] | None = None,
    reliability: Sequence[Reliability] = (),
    refusals: Sequence[AnsweredShare] = (),
    picked_refusals: Sequence[AnsweredShare] = (),
    advice: Sequence[Advice] = (),
    history: Sequence[Mapping[str, Any]] = (),
    findings: Sequence[Finding] = (),
    unreadable: Sequence[tuple[str, str]] = (),
    training_counts: Mapping[str, int] | None = None,
    sizes: Mapping[tuple[int, int], int] | None = None,
    synthetic: bool,
    language: Language = ENGLISH,
) -> None:
    """Write the report as one HTML file under 15 MB, whole or not at all.

    Pictures are drawn in the order of their importance while a budget of 9 MB of JPEG lasts: the
    worst errors, the commonest confusions, what else was taken for something else (the surest
    first), some of what was right. The page says how many wrong answers it does not show.

    Args:
        path: the file to write.
        subject: what was judged.
        card: the model's.
        metrics: as `judge.metrics.evaluate` gives them.
        class_scores: one per class, in class order.
        confusions: [K, K] photos per true (rows) and predicted (columns) class.
        pairs: the commonest confusions.
        answers: all that were judged; the photos behind each cell of the table of confusions.
        errors: the worst of them, the worst first.
        catalog: where the photos lie; one that is not there, or cannot be read, is said to be so.
        heat_maps: photo id -> where the model looked, for some of `errors`.
        reliability: at one temperature or more, the one in use last.
        refusals: accuracy against the share answered, all of the curve.
        picked_refusals: the points of it that a table shows.
        advice: what to do next, the most useful first.
        history: one row per look at validation, numbers or their text; columns whose name holds
            "loss" or "accuracy" are drawn. Empty for a model without epochs.
        findings: what is odd with the photos.
        unreadable: (photo id, reason) of photos without an answer.
        training_counts: class label -> photos trained on, if that is known.
        sizes: (width, height) -> photos, if that is known.
        synthetic: whether the photos judged were drawn; the report then says so at its top.
        language: what it is written in. Reasons and findings stay in English.

    Raises:
        OutputError: the file cannot be written.
    """
    by_name = {metric.name: metric for metric in metrics}
    ranked = _rank_scores(class_scores)
    num_judged = int(confusions.sum())
    stages = [str(stage.get("kind", "")) for stage in card.recipe.get("stages", ())]
    with Album(catalog, most_bytes=_MOST_PICTURE_BYTES) as album:
        show = _Showing(album, answers, card, heat_maps or {})
        shown_errors = [show.show_error(error) for error in errors]
        shown_pairs = [show.show_pair(pair) for pair in pairs[:_MOST_PAIRS]]
        matrix = _lay_out_matrix(class_scores, confusions)
        cells = show.fill_cells(class_scores, matrix.positions, confusions)
    num_wrong = int(num_judged - confusions.trace())
    page = render_page(
        "page.html.jinja",
        language=language,
        title=language.say(_TITLES[subject.kind], run=subject.run, data=subject.data),
        subject=subject,
        card=card,
        synthetic=synthetic or card.synthetic,
        trained_on_synthetic=card.synthetic,
        accuracy=by_name.get(ACCURACY),
        num_judged=num_judged,
        num_right=num_judged - num_wrong,
        chance=confusions.sum(axis=1).max() / num_judged if num_judged else None,
        figures=[_describe(metric, language) for metric in metrics if metric.name != ACCURACY],
        main_scores=ranked[:_MOST_CLASS_ROWS],
        more_scores=ranked[_MOST_CLASS_ROWS:],
        matrix=matrix,
        cells=cells,
        cell_ids={(score.car.label): k + 1 for k, score in enumerate(class_scores)},
        shown_cells={cell.id for cell in cells},
        num_unseen=num_wrong - sum(len(cell.photos) for cell in cells if not cell.is_right),
        num_classes=len(class_scores),
        pairs=shown_pairs,
        errors=shown_errors,
        has_heat=any(error.said_heat for error in shown_errors),
        advice=advice,
        most_doubted=_MOST_DOUBTED,
        reliability=[
            (one, _make_svg_uri(draw_reliability(one.bins, language))) for one in reliability
        ],
        refusals=picked_refusals,
        refusal_curve=_make_svg_uri(draw_refusals(refusals, picked_refusals, language))
        if refusals
        else None,
        curves=_draw_curves(history, language, stages),
        unreadable=unreadable[:_MOST_UNREADABLE],
        num_unreadable=len(unreadable),
        findings=_group_findings(findings),
        judged_extremes=_find_extremes(
            [(score.car.name, score.num_photos) for score in class_scores]
        ),
        num_training=sum((training_counts or {}).values()),
        training_extremes=_find_extremes(
            [
                (score.car.name, training_counts[score.car.label])
                for score in class_scores
                if score.car.label in training_counts
            ]
            if training_counts
            else []
        ),
        sizes=_describe_sizes(sizes or {}),
        facts=_list_facts(card, language),
    )
    write_text_atomically(path, page)


def render_page(template_name: str, *, language: Language = ENGLISH, **values: Any) -> str:
    """A template of this folder, filled in; every value is escaped.

    Args:
        template_name: such as "page.html.jinja"; it extends "frame.html.jinja".
        language: of the sentences that the template marks with `trans`.
        values: what the template names, all of it; the frame names `title` and `synthetic`.
    """
    environment = build_environment(language)
    return environment.get_template(template_name).render(values, language=language)


@cache  # compiling the templates takes longer than filling them in
def build_environment(language: Language) -> Environment:
    """What renders the templates of this folder in a language."""
    environment = Environment(
        loader=PackageLoader("lotlens", "report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    install(language, environment)
    environment.filters["percent"] = language.percent
    environment.filters["interval"] = lambda metric, digits=0: language.interval(
        metric.low, metric.high, digits
    )
    environment.filters["number"] = language.number
    environment.filters["whole"] = language.whole
    environment.filters["quote"] = language.quote
    environment.filters["chance"] = lambda share: _format_chance(share, language)
    environment.filters["name"] = _cut
    environment.filters["jpeg"] = lambda data: _make_data_uri("image/jpeg", data)
    return environment


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_LETTERS else f"{text[: _MOST_LETTERS - 1]}…"


def _format_chance(share: float, language: Language) -> str:
    """A probability in whole per cent that never claims certainty."""
    if share < 0.005:
        return f"<{THIN}{language.percent(0.01)}"
    if share > 0.995:
        return f">{THIN}{language.percent(0.99)}"
    return language.percent(share)


def _make_data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _make_svg_uri(data: bytes) -> str:
    return _make_data_uri("image/svg+xml", data)


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


@dataclass(frozen=True)
class _Photo:
    """A photo as the page shows it: what was said of it, and its picture if there is one."""

    answer: Answer
    thumbnail: bytes | None


@dataclass(frozen=True)
class _Error:
    """A wrong answer, where the model looked, and rightly recognised photos of both classes."""

    answer: Answer
    picture: bytes | None
    said_heat: bytes | None
    truth_heat: bytes | None
    of_true: Sequence[_Photo]
    of_predicted: Sequence[_Photo]


@dataclass(frozen=True)
class _Pair:
    """A common confusion: its photos, and rightly recognised ones of both classes."""

    pair: ConfusionPair
    photos: Sequence[_Photo]
    of_true: Sequence[_Photo]
    of_predicted: Sequence[_Photo]


@dataclass(frozen=True)
class _Cell:
    """What stands behind one number of the table of confusions."""

    id: str
    true: str
    predicted: str
    is_right: bool
    count: int
    photos: list[_Photo]


class _Showing:
    """Takes pictures out of an album for each part of the page."""

    def __init__(
        self,
        album: Album,
        answers: Sequence[Answer],
        card: ModelCard,
        heat_maps: Mapping[str, HeatMaps],
    ) -> None:
        self._album = album
        self._card = card
        self._heat_maps = heat_maps
        self._by_id = {answer.photo_id: answer for answer in answers}
        self._by_cell: dict[tuple[str, str], list[Answer]] = defaultdict(list)
        for answer in answers:
            self._by_cell[answer.true.label, answer.predicted.label].append(answer)
        for group in self._by_cell.values():
            group.sort(key=lambda answer: -answer.probability)

    def show_error(self, answer: Answer) -> _Error:
        maps = self._heat_maps.get(answer.photo_id)

        def show_heat(which: str) -> bytes | None:
            if maps is None:
                return None
            heat = maps.said if which == "said" else maps.truth
            return self._album.show_heat(answer.photo_id, heat, self._card.image, _LARGE_SIZE)

        return _Error(
            answer,
            self._album.show(answer.photo_id, _LARGE_SIZE),
            show_heat("said"),
            show_heat("truth"),
            self._show_class(answer.true.label),
            self._show_class(answer.predicted.label),
        )

    def show_pair(self, pair: ConfusionPair) -> _Pair:
        known = [self._by_id[id_] for id_ in pair.example_ids if id_ in self._by_id]
        photos = [_Photo(a, self._album.show(a.photo_id)) for a in known[:_MOST_OF_PAIR]]
        num_rows = (len(photos) + 1) // 2
        return _Pair(
            pair,
            photos,
            self._show_class(pair.true.label, num_rows),
            self._show_class(pair.predicted.label, num_rows),
        )

    def fill_cells(
        self,
        scores: Sequence[ClassScore],
        positions: Sequence[int],
        confusions: NDArray[np.int64],
    ) -> list[_Cell]:
        """The cells that have photos; the photos go round the wrong ones first."""
        cells = []
        for i in positions:
            for j in positions:
                count = int(confusions[i, j])
                true, predicted = scores[i].car, scores[j].car
                group = self._by_cell.get((true.label, predicted.label), [])
                if not count or not group:
                    continue
                # Of what is right, the least sure is nearest to an error.
                ranked = group[::-1] if i == j else group
                cell = _Cell(_name_cell(i, j), true.name, predicted.name, i == j, count, [])
                cells.append((cell, ranked))
        for is_right, most in ((False, _MOST_OF_WRONG_CELL), (True, _MOST_OF_RIGHT_CELL)):
            turns = [row for row in cells if row[0].is_right == is_right]
            for rank in range(most):
                for cell, ranked in turns:
                    if rank < len(ranked) and not self._album.is_full:
                        answer = ranked[rank]
                        cell.photos.append(_Photo(answer, self._album.show(answer.photo_id)))
        return [cell for cell, _ in cells if cell.photos]

    def _show_class(self, label: str, most: int = _MOST_OF_CLASS) -> list[_Photo]:
        """Photos of a class that were recognised most surely; those that cannot be read are not."""
        shown: list[_Photo] = []
        for answer in self._by_cell.get((label, label), ())[: 3 * most]:
            if len(shown) == most:
                break
            thumbnail = self._album.show(answer.photo_id)
            if thumbnail is not None:
                shown.append(_Photo(answer, thumbnail))
        return shown


def _name_cell(true: int, predicted: int) -> str:
    """The place of a cell in the page; classes are counted from 1."""
    return f"cell-{true + 1}-{predicted + 1}"


@dataclass(frozen=True)
class _Matrix:
    """What the page shows of the confusions: per class its number and name, per cell a colour."""

    positions: list[int]
    names: list[str]
    rows: list[list[dict[str, Any]]]
    is_part: bool

    @property
    def cell_px(self) -> int:
        """How wide a cell is on a large screen: few classes need not huddle in a corner."""
        return min(54, max(34, 700 // max(1, len(self.names))))


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
                    "id": _name_cell(i, j),
                    "count": count,
                    "style": _colour_cell(share, i == j) if count else "",
                }
            )
        rows.append(cells)
    names = [scores[i].car.name for i in shown.tolist()]
    return _Matrix(shown.tolist(), names, rows, len(shown) < len(scores))


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


def _list_facts(card: ModelCard, language: Language) -> list[tuple[str, str]]:
    image, say = card.image, language.say
    views = [say(_VIEWS[view]) if view in _VIEWS else view for view in card.views]
    facts = [
        (say("Backbone"), card.backbone),
        (
            say("Input"),
            say(
                "%(width)s × %(height)s pixels, %(fit)s",
                width=image.width,
                height=image.height,
                fit=say(_FITS[image.fit]),
            ),
        ),
        (say("Models that answer together"), str(card.members) if card.members > 1 else ""),
        (say("Views averaged"), ", ".join(views)),
        (say("Temperature"), language.number(card.temperature, 3)),
        (say("Fingerprint of training data"), card.fingerprint),
        ("lotlens", card.lotlens_version),
    ]
    return [(name, value) for name, value in facts if value]


def _draw_curves(
    history: Sequence[Mapping[str, Any]], language: Language, stages: Sequence[str]
) -> list[dict[str, str]]:
    """One picture each for accuracies and losses, as data URIs; none without two epochs."""
    curves = []
    for word, caption in _CURVES:
        picture = draw_curve(word, history, language, stages)  # type: ignore[arg-type]
        if picture is not None:
            curves.append({"caption": language.say(caption), "image": _make_svg_uri(picture)})
    return curves
