"""All that follows from a model's answers and the truth, each figure computed once.

It knows answers and labels, not photos, run folders or pages.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from lotlens.answering.answers import take_rows
from lotlens.answering.fusing import DEPENDENCE, fit_dependence
from lotlens.answering.temperature import fit_temperature
from lotlens.doors import draw_html
from lotlens.extras import import_extra
from lotlens.judge.advice import Advice, advise
from lotlens.judge.confidence import (
    AnsweredShare,
    Reliability,
    judge_confidence,
    judge_reliability,
    pick_refusals,
    trace_refusals,
)
from lotlens.judge.metrics import (
    Answer,
    ClassScore,
    ConfusionPair,
    align_targets,
    count_confusions,
    evaluate,
    find_confusion_pairs,
    find_worst_errors,
    list_answers,
    measure_classes,
)
from lotlens.records import OK, Catalog, Metric, ModelCard, Predictions, Targets

if TYPE_CHECKING:
    import pandas as pd

_MOST_ERRORS = 8


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
        num_left_out: photos that were not judged, since the run has learnt them or copies of them.
    """

    kind: Literal["held-out", "folds", "locked", "other"]
    run: str
    data: str = ""
    num_models: int = 1
    num_left_out: int = 0


@dataclass(frozen=True)
class Evaluation:
    """How a model did on labelled photos.

    Attributes:
        about: what was judged, in words.
        metrics: with 95 % intervals.
        class_scores: one per class.
        pairs: the commonest confusions.
        predictions: the answers themselves.
        synthetic: True if the photos were drawn.
        times_opened: how often this run's locked part was judged on, this time included; 0 for
            other photos.
        left_out: why photos were not judged, as they were learnt -> how many.
        truth: [N] indices of the true classes, -1 where it is not known.
        report_path: the report that was written, if one was.
    """

    about: str
    metrics: tuple[Metric, ...]
    class_scores: tuple[ClassScore, ...]
    pairs: tuple[ConfusionPair, ...]
    predictions: Predictions
    synthetic: bool
    times_opened: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)
    truth: Targets | None = field(default=None, repr=False, compare=False)
    report_path: Path | None = None

    def __repr__(self) -> str:
        return f"Evaluation: {', '.join(map(repr, self.metrics[:1]))}"

    def _repr_html_(self) -> str | None:
        return draw_html(self)

    def count_confusions(self) -> pd.DataFrame:
        """Photos per true class (rows) and predicted class (columns), by their names.

        Raises:
            ValueError: the truth is not kept, as in records that were made elsewhere.
            MissingExtra: lotlens[notebook] is not installed.
        """
        if self.truth is None:
            raise ValueError("this evaluation does not keep the truth")
        names = [car.name for car in self.predictions.classes]
        counts = count_confusions(self.predictions, self.truth)
        pandas = import_extra("pandas", "notebook")
        true, said = (pandas.Index(names, name=name) for name in ("true", "said"))
        frame: pd.DataFrame = pandas.DataFrame(counts, true, said)
        return frame

    @property
    def accuracy(self) -> Metric:
        return self.metrics[0]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "about": self.about,
            "synthetic": self.synthetic,
            "times_opened": self.times_opened,
            "left_out": dict(self.left_out),
            "metrics": {metric.name: metric.to_dict() for metric in self.metrics},
            "classes": self.list_classes(),
            "confusions": [
                {
                    "true": pair.true.name,
                    "predicted": pair.predicted.name,
                    "count": pair.count,
                    "share": pair.share,
                }
                for pair in self.pairs
            ],
        }

    def list_classes(self) -> list[dict[str, Any]]:
        """One row per class: label, name, photos, recall, precision, f1; None for no figure."""
        return [
            {
                "label": score.car.label,
                "name": score.car.name,
                "photos": score.num_photos,
                "recall": score.recall.value if score.recall else None,
                "precision": score.precision.value if score.precision else None,
                "f1": score.f1,
            }
            for score in self.class_scores
        ]

    def to_frame(self) -> pd.DataFrame:
        """The rows of `list_classes` as a table.

        Raises:
            MissingExtra: lotlens[notebook] is not installed.
        """
        frame: pd.DataFrame = import_extra("pandas", "notebook").DataFrame(self.list_classes())
        return frame


@dataclass(frozen=True)
class Judged:
    """Answers to N photos beside the truth; each figure is computed when it is first asked for.

    Attributes:
        card: of the model that answered.
        predictions: its answers.
        targets: [N] indices of the true classes, -1 where the truth is not known.
        training_counts: class label -> photos trained on, if that is known.
    """

    card: ModelCard
    predictions: Predictions
    targets: Targets
    training_counts: Mapping[str, int] | None = None

    def __repr__(self) -> str:
        return f"Judged: {self.predictions!r}"

    @cached_property
    def metrics(self) -> tuple[Metric, ...]:
        """With 95 % intervals, accuracy first (see `metrics.evaluate`)."""
        return evaluate(self.predictions, self.targets, temperature=self.card.temperature)

    @cached_property
    def class_scores(self) -> tuple[ClassScore, ...]:
        """One per class, in class order."""
        return measure_classes(self.predictions, self.targets)

    @cached_property
    def confusions(self) -> NDArray[np.int64]:
        """[K, K] photos per true (rows) and predicted (columns) class."""
        return count_confusions(self.predictions, self.targets)

    @cached_property
    def pairs(self) -> tuple[ConfusionPair, ...]:
        """The commonest confusions."""
        return find_confusion_pairs(self.predictions, self.targets)

    @cached_property
    def answers(self) -> tuple[Answer, ...]:
        """All that were judged."""
        return list_answers(self.predictions, self.targets, temperature=self.card.temperature)

    @cached_property
    def errors(self) -> tuple[Answer, ...]:
        """The worst of the wrong ones, the worst first."""
        return find_worst_errors(
            self.predictions, self.targets, temperature=self.card.temperature, limit=_MOST_ERRORS
        )

    @cached_property
    def reliability(self) -> tuple[Reliability, ...]:
        """As the network answers, and at the temperature in use, which comes last."""
        return tuple(
            judge_reliability(self.predictions, self.targets, temperature)
            for temperature in dict.fromkeys((1.0, self.card.temperature))
        )

    @cached_property
    def refusals(self) -> tuple[AnsweredShare, ...]:
        """Accuracy against the share of photos answered, all of the curve."""
        sure = judge_confidence(self.predictions, self.targets, self.card.temperature)
        return tuple(trace_refusals(*sure))

    @cached_property
    def picked_refusals(self) -> tuple[AnsweredShare, ...]:
        """The points of that curve that a table shows."""
        return tuple(pick_refusals(self.refusals))

    @cached_property
    def unreadable(self) -> tuple[tuple[str, str], ...]:
        """(photo id, reason) of photos without an answer."""
        found = zip(self.predictions.ids, self.predictions.status, strict=True)
        return tuple((id_, status) for id_, status in found if status != OK)

    @cached_property
    def advice(self) -> tuple[Advice, ...]:
        """What to do next, the most useful first."""
        return tuple(
            advise(
                metrics=self.metrics,
                class_scores=self.class_scores,
                confusions=self.confusions,
                answers=self.answers,
                num_unreadable=len(self.unreadable),
                training_counts=self.training_counts,
            )
        )

    def evaluate(self, about: str, *, synthetic: bool) -> Evaluation:
        """The record of these figures; `about` says in words which photos were judged."""
        return Evaluation(
            about,
            self.metrics,
            self.class_scores,
            self.pairs,
            self.predictions,
            synthetic,
            truth=self.targets,
        )


def judge(
    card: ModelCard,
    predictions: Predictions,
    catalog: Catalog,
    training_counts: Mapping[str, int] | None = None,
    *,
    metrics: tuple[Metric, ...] | None = None,
) -> Judged:
    """Lay a model's answers beside the labels of a catalog that holds the photos.

    Args:
        card: of the model that answered.
        predictions: its answers.
        catalog: with the true labels.
        training_counts: class label -> photos trained on, if that is known.
        metrics: of these very answers, where they are known: they are resampled many times.
    """
    judged = Judged(card, predictions, align_targets(predictions, catalog), training_counts)
    if metrics is not None:
        vars(judged)["metrics"] = metrics
    return judged


def calibrate(card: ModelCard, predictions: Predictions, catalog: Catalog) -> ModelCard:
    """The card with all that validation's answers say of the model."""
    targets = align_targets(predictions, catalog)
    usable = (targets >= 0) & predictions.answered
    temperature = fit_temperature(predictions.logits[usable], targets[usable])
    rows = np.flatnonzero(usable).tolist()
    listings = {photo.id: photo.listing for photo in catalog.photos}
    groups = [listings[predictions.ids[row]] or f"photo {row}" for row in rows]
    found = fit_dependence(take_rows(predictions, rows), groups, targets[usable], temperature)
    dependence = DEPENDENCE if found is None else found
    card = replace(card, temperature=temperature, dependence=dependence)
    return replace(card, metrics=Judged(card, predictions, targets).metrics)
