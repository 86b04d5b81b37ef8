"""The verbs of lotlens in Python: each does what the command of the same name does.

It joins the rooms and knows run folders; it prints nothing.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from lotlens.audit.findings import Audit, audit_lot, write_findings
from lotlens.audit.split import (
    LOCKED,
    TRAIN,
    VALIDATION,
    check_split,
    cluster_photos,
    count_folds,
    draw_folds,
    draw_split,
    list_held_out,
    pair_sides,
    read_split,
    write_split,
)
from lotlens.deliver.submission import find_commonest_label
from lotlens.errors import BundleError, InputError, LotlensError, MissingExtra, Stopped
from lotlens.extras import import_extra, import_vision
from lotlens.improve.additions import AdditionPlan, plan_additions, read_additions, weigh_vetted
from lotlens.improve.doubts import read_doubts
from lotlens.improve.outside import Vetted, list_own, name_additions, vet_photos
from lotlens.judge.advice import advise
from lotlens.judge.compare import ModelComparison, compare_models, conclude
from lotlens.judge.confidence import (
    judge_confidence,
    judge_reliability,
    pick_refusals,
    trace_refusals,
)
from lotlens.judge.familiarity import Reference, encode_references
from lotlens.judge.metrics import (
    Answer,
    ClassScore,
    ConfusionPair,
    align_targets,
    count_confusions,
    find_confusion_pairs,
    find_worst_errors,
    list_answers,
    measure_classes,
)
from lotlens.judge.metrics import (
    evaluate as evaluate_predictions,
)
from lotlens.judge.predict import (
    join_predictions,
    load_predictions,
    order_classes,
    predict_views,
    save_predictions,
    select_predictions,
)
from lotlens.judge.refuse import (
    ANSWERED,
    COVERAGE,
    Group,
    Separation,
    compare_methods,
    learn_refusal,
)
from lotlens.judge.strangers import meet_given, meet_known, meet_made, remember_photos
from lotlens.judge.tta import Choice, Trial, choose_views
from lotlens.judge.views import VIEWS, WHOLE, average_views, check_views
from lotlens.model import Model, list_paths, load, predict
from lotlens.photos.decisions import (
    apply_decisions,
    decisions_path,
    read_decisions,
    write_decisions,
)
from lotlens.photos.prepare import normalise
from lotlens.photos.reading import read_ahead
from lotlens.photos.sample import draw_lot, is_sample_lot
from lotlens.photos.sources import check_trainable, fingerprint, open_lot, open_photos
from lotlens.recipe import Audit as AuditSettings
from lotlens.recipe import Recipe, load_recipe, parse_recipe
from lotlens.records import (
    OK,
    Catalog,
    Finding,
    Lot,
    Metric,
    ModelCard,
    Photo,
    Predictions,
    Refusal,
    Split,
    Watcher,
    watch_part,
)
from lotlens.report.findings import write_findings_page
from lotlens.report.html import Subject, write_report
from lotlens.report.language import ENGLISH, Language, load_language
from lotlens.report.pictures import HeatMaps
from lotlens.run import FORMAT_VERSION, RunFolder
from lotlens.temperature import fit_temperature
from lotlens.version import __version__

if TYPE_CHECKING:
    from lotlens.vision.classifier import Network
    from lotlens.vision.planning import StagePlan
    from lotlens.vision.rate_finder import RateCurve
    from lotlens.vision.stages import Trained


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
    """

    about: str
    metrics: tuple[Metric, ...]
    class_scores: tuple[ClassScore, ...]
    pairs: tuple[ConfusionPair, ...]
    predictions: Predictions
    synthetic: bool
    times_opened: int = 0

    @property
    def accuracy(self) -> Metric:
        return self.metrics[0]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "about": self.about,
            "synthetic": self.synthetic,
            "times_opened": self.times_opened,
            "metrics": {metric.name: metric.to_dict() for metric in self.metrics},
            "classes": self.to_frame().to_dict("records"),
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

    def to_frame(self) -> pd.DataFrame:
        """One row per class: label, name, photos, recall, precision, f1."""
        return pd.DataFrame(
            [
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
        )


def run_audit(
    data: Path | str,
    recipe: str | Path | Recipe = "standard",
    *,
    overrides: Sequence[str] = (),
    out: Path | str | None = None,
    watch: Watcher | None = None,
) -> Audit:
    """Check photos, labels and tables; write findings.csv and findings.html.

    The name is not that of the command, since `lotlens.audit` is the room with the checks.

    Args:
        data: in any form that `open_lot` knows.
        recipe: says what training would do with each finding (see `recipe.Audit`).
        overrides: "audit.leak=drop" and the like.
        out: the folder for the two files; None writes none.
        watch: told of the work as it goes on.

    Raises:
        InputError, RecipeError: what was given cannot be used.
        OutputError: a file cannot be written.
    """
    recipe = _resolve_recipe(recipe, overrides)
    lot = open_data(Path(data))
    found = audit_lot(lot, recipe.audit, lock=recipe.lock, watch=watch)
    if out is not None:
        out = Path(out)
        write_findings(out / "findings.csv", found)
        write_findings_page(out / "findings.html", found, lot, synthetic=_is_synthetic(lot.source))
    return found


def split(
    data: Path | str,
    out: Path | str,
    *,
    validation: float = 0.15,
    num_folds: int | None = None,
    lock: float = 0.0,
    seed: int = 0,
    overrides: Sequence[str] = (),
    watch: Watcher | None = None,
) -> Split:
    """Part labelled photos, copies of a picture and photos of a listing on one side; write a CSV.

    Args:
        data: labelled photos, in any form that `open_lot` knows.
        out: the file; columns Id, Part, Seed, Fingerprint.
        validation: share held out.
        num_folds: draw so many folds instead of one hold-out.
        lock: share put aside before, the same photos for every seed.
        seed: of the drawing.
        overrides: "audit.near_duplicate=drop" and the like.
        watch: told of the work as it goes on.

    Raises:
        InputError, RecipeError: what was given cannot be used.
        OutputError: the file cannot be written.
    """
    settings = _resolve_recipe("standard", overrides).audit
    lot, usable = _open_labelled(Path(data))
    found = audit_labelled(lot, usable, settings, lock, watch)
    draw = (
        partial(draw_split, validation=validation)
        if num_folds is None
        else partial(draw_folds, num_folds=num_folds)
    )
    drawn = draw(usable, seed=seed, groups=found.groups, lock=lock, dropped=found.dropped)
    write_split(Path(out), drawn)
    return drawn


@dataclass(frozen=True)
class Plan:
    """What a training would do.

    Attributes:
        recipe: resolved.
        num_train: photos it would be trained on; with folds, in the first of them.
        num_validation: photos held out, likewise.
        stages: one plan each, of one model.
        num_models: 1, or the number of folds.
    """

    recipe: Recipe
    num_train: int
    num_validation: int
    stages: tuple[StagePlan, ...]
    num_models: int = 1


def plan(
    data: Path | str,
    recipe: str | Path | Recipe = "standard",
    *,
    overrides: Sequence[str] = (),
    split_path: Path | str | None = None,
    plot: Path | str | None = None,
    watch: Watcher | None = None,
) -> Plan:
    """What `train` would do with these photos, and about how long it would take on this machine.

    Nothing is trained. Arguments and errors are those of `train`, but for `plot`: a file (.png or
    .svg) to draw the learning rate of the stages of fine-tuning into.
    """
    planning = import_vision("planning")
    recipe = _resolve_recipe(recipe, overrides)
    lot, usable = _open_labelled(Path(data))
    found = audit_labelled(lot, usable, recipe.audit, recipe.lock, watch)
    stored = Path(split_path) if split_path is not None and Path(split_path).exists() else None
    split = _find_split(stored, usable, recipe, found)
    sides = pair_sides(split)
    num_train, num_validation = (len(ids) for ids in sides[0])
    stages: tuple[StagePlan, ...] = planning.plan_stages(
        recipe, len(lot.train.classes), num_train, num_validation
    )
    if plot is not None:
        planning.plot_rates(Path(plot), recipe, stages)
    return Plan(recipe, num_train, num_validation, stages, len(sides))


def find_rate(
    data: Path | str,
    recipe: str | Path | Recipe = "standard",
    *,
    overrides: Sequence[str] = (),
    stage: int | None = None,
    num_steps: int = 100,
    out: Path | str | None = None,
    watch: Watcher | None = None,
) -> RateCurve:
    """A learning-rate range test (Smith 2017) of a stage of fine-tuning.

    Args:
        data: labelled photos, in any form that `open_lot` knows; only the training part is used.
        recipe: a built-in recipe's name, a YAML file, or a Recipe.
        overrides: "stages.1.lr=3e-4" and the like.
        stage: its number, from 0; None for the first one of fine-tuning.
        num_steps: optimiser steps.
        out: the plot to write, .png or .svg.
        watch: told of the work as it goes on.

    Returns:
        rates, smoothed losses and a suggestion, good to a factor of two or so.

    Raises:
        InputError, RecipeError: what was given cannot be used.
        OutputError: the plot cannot be written.
        MissingExtra: lotlens[train] is not installed.
    """
    stages, rate_finder = import_vision("stages"), import_vision("rate_finder")
    recipe = _resolve_recipe(recipe, overrides)
    lot, usable = _open_labelled(Path(data))
    found = audit_labelled(lot, usable, recipe.audit, recipe.lock, watch)
    split = _find_split(None, usable, recipe, found)
    kinds = [one.kind for one in recipe.stages]
    number = stage if stage is not None else kinds.index("finetune") if "finetune" in kinds else 0
    curve: RateCurve = stages.find_stage_rate(
        recipe,
        usable.select(pair_sides(split)[0][0]),
        number=number,
        num_steps=num_steps,
        clusters=cluster_photos(usable, found.groups),
        watch=watch,
    )
    if out is not None:
        rate_finder.plot_rates(Path(out), curve)
    return curve


def train(
    data: Path | str,
    recipe: str | Path | Recipe | None = None,
    *,
    overrides: Sequence[str] = (),
    out: Path | str | None = None,
    split_path: Path | str | None = None,
    schedules: Mapping[str, Callable[[float], float]] | None = None,
    resume: bool = False,
    num_workers: int = 0,
    lang: str = "en",
    watch: Watcher | None = None,
) -> Model:
    """Train a model and write its run folder.

    Under torchrun, which starts the same program several times, the processes train one model
    together; the first one reports to `watch` and writes, the others wait for it where they must.

    While it trains, its state is kept in the run folder; a training that was stopped or killed goes
    on from there with `resume`, and with the recipe's `deterministic` ends in the same bits as one
    that was not (on one machine).

    Args:
        data: labelled photos, in any form that `open_lot` knows.
        recipe: a built-in recipe's name, a YAML file, or a Recipe; "standard" if None. When a
            training goes on it is the run's own, and another one is refused.
        overrides: "stages.1.lr=3e-4" and the like.
        out: the run folder; None for the next free one in runs/.
        split_path: a split of `lotlens split` or of an earlier run, used as it is; if there is no
            such file, the split is drawn and written there too.
        schedules: learning-rate schedules of one's own: name -> function of the epochs done, which
            gives what the rate is multiplied by.
        resume: go on with the training in `out`, if there is one; else begin.
        num_workers: processes that augment photos while fine-tuning; 0 does that between the
            steps. It never changes the result.
        lang: the language of the report, "en" or "ru".
        watch: told of the work as it goes on.

    Returns:
        the model; its card holds the metrics on validation.

    Raises:
        InputError, RecipeError: what was given cannot be used; nothing was written then.
        OutputError: the run folder cannot be written.
        MissingExtra: lotlens[train] is not installed.
        Stopped: Ctrl-C (a KeyboardInterrupt that knows the run folder).
    """
    language = load_language(lang)
    processes = import_vision("distributed")
    old = RunFolder(Path(out)) if resume and out is not None else None
    if resume and out is None:
        raise InputError("to go on with a training, name its run folder with --out")
    if processes.is_launched() and out is None:
        raise InputError("several processes need one run folder: name it with --out")
    processes.join()
    is_first, on_first = processes.is_first(), processes.on_first
    watch = watch if is_first else None
    if old is not None and on_first(lambda: old.is_unfinished):
        own: Recipe = on_first(partial(_resume_recipe, old, recipe, overrides))
        run, recipe = old, own
        split_path = run.split_path if run.split_path.is_file() else split_path
    else:
        run, recipe = None, _resolve_recipe(recipe or "standard", overrides)
    data = Path(data)
    # What was decided since a training began is for the next one.
    lot, usable = _open_labelled(data, None if run is None else run.decisions_path)
    found = on_first(partial(audit_labelled, lot, usable, recipe.audit, recipe.lock, watch))
    stored = None if split_path is None else Path(split_path)
    split = on_first(partial(_find_split, stored, usable, recipe, found))
    if run is None:
        run = on_first(partial(begin_run, out, data, recipe, split, usable))
    return complete_training(
        run,
        recipe,
        lot,
        split,
        found,
        schedules=schedules,
        num_workers=num_workers,
        language=language,
        watch=watch,
    )


@dataclass(frozen=True)
class Extras:
    """What a training begins with beside its data, in a round of improvement.

    Attributes:
        additions: outside photos to learn, with labels of the data's classes and ids of their own.
        photo_weights: photo id -> how much it counts, 1 if it is not named.
        starts: weights to begin with, of each model; none for the pretrained ones.
    """

    additions: tuple[Photo, ...] = ()
    photo_weights: Mapping[str, float] | None = None
    starts: tuple[Mapping[str, Any], ...] = ()


def complete_training(
    run: RunFolder,
    recipe: Recipe,
    lot: Lot,
    split: Split,
    found: Audit,
    *,
    extras: Extras = Extras(),
    schedules: Mapping[str, Callable[[float], float]] | None = None,
    num_workers: int = 0,
    language: Language = ENGLISH,
    watch: Watcher | None = None,
) -> Model:
    """Train, judge and report in a run folder that holds recipe, source and split.

    Args:
        run: the folder; a training in it that was stopped goes on.
        recipe: the stages.
        lot: the data.
        split: of its photos.
        found: the audit of them.
        extras: what is learnt beside them.
        schedules: as for `train`.
        num_workers: as for `train`.
        language: of the report.
        watch: told of the work as it goes on.

    Raises:
        As `train`.
    """
    processes = import_vision("distributed")
    is_first, on_first = processes.is_first(), processes.on_first
    usable = lot.train.with_files()
    validation = usable.select(list_held_out(split))
    with run.keep_time() if is_first else nullcontext():
        try:
            trained = _train_models(
                run, recipe, usable, split, found, extras, schedules, num_workers, watch
            )
        except KeyboardInterrupt as stop:
            raise Stopped(run.path) from stop
        except BundleError:
            raise
        except LotlensError:
            if is_first:
                run.remove()
            raise
        finish = partial(_finish, run, recipe, trained, split, lot, validation, watch)
        model: Model = on_first(finish)
    status = {id_: why for one in trained for id_, why in one.status.items()}
    on_first(partial(_tell_all, model, validation, split, found, status, language))
    return model


def evaluate(
    run: Path | str,
    data: Path | str | None = None,
    *,
    labels: Path | str | None = None,
    photos: Path | str | None = None,
    report: Path | str | None = None,
    locked: bool = False,
    lang: str = "en",
    watch: Watcher | None = None,
) -> Evaluation:
    """Judge a model on labelled photos, and write a report.

    Args:
        run: the run folder.
        data: labelled photos. Without it and without labels, the run's own validation part. If
            it is the data that the model was trained on, only the validation part is judged.
        labels: a CSV of ids and labels, with `photos` for where the photos are.
        photos: a zip or folder.
        report: where the HTML report goes; None for the run's report.html.
        locked: judge on the locked part of the run's own data instead. Each time is written down
            in the run, since a choice made by its result would spoil it.
        lang: the language of the report, "en" or "ru".
        watch: told of the work as it goes on.

    Raises:
        InputError: the photos or labels cannot be used; nothing was locked.
        BundleError: the run is missing or damaged.
        OutputError: the report cannot be written.
    """
    language = load_language(lang)
    model = load(run)
    asked = _find_photos(model, data, labels, photos, locked=locked)
    predictions = asked.stored or model.answer(asked.catalog, watch=watch)
    evaluation = _judge(
        model.card,
        predictions,
        asked.catalog,
        asked.about,
        synthetic=_is_synthetic(asked.lot.source),
    )
    report_path = model.run.report_path if report is None else Path(report)
    _report(
        model,
        evaluation,
        asked.catalog,
        report_path,
        subject=asked.subject,
        findings=asked.lot.findings,
        language=language,
    )
    model.run.write_metrics(evaluation.to_dict())
    if locked:
        accuracy = evaluation.accuracy
        times = add_opening(model.run, accuracy.value, accuracy.count)
        evaluation = replace(evaluation, times_opened=times)
    return evaluation


@dataclass(frozen=True)
class Compared:
    """Two runs on the same photos.

    Attributes:
        about: on which photos, in words.
        result: which is better, over all and by class.
        conclusion: the answer in one sentence.
    """

    about: str
    result: ModelComparison
    conclusion: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        found = self.result
        return {
            "about": self.about,
            "conclusion": self.conclusion,
            **asdict(found.pair),
            "accuracy": {"first": found.first, "second": found.second},
            "only_first": found.only_first,
            "only_second": found.only_second,
            "num_more": found.num_more,
            "classes": [
                {
                    "label": one.car.label,
                    "name": one.car.name,
                    **(
                        {"photos": 0}
                        if one.pair is None
                        else {
                            "photos": one.pair.num_photos,
                            "first": one.first,
                            "second": one.second,
                            "difference": one.pair.difference,
                            "low": one.pair.low,
                            "high": one.pair.high,
                            "p_holm": one.pair.p_holm,
                            "verdict": one.pair.verdict,
                        }
                    ),
                }
                for one in found.classes
            ],
        }


def compare(
    first: Path | str,
    second: Path | str,
    data: Path | str | None = None,
    *,
    labels: Path | str | None = None,
    photos: Path | str | None = None,
    locked: bool = False,
    watch: Watcher | None = None,
) -> Compared:
    """Which of two runs is right more often on the same photos, and how surely.

    Args:
        first: a run folder.
        second: another one, with the same classes.
        data: labelled photos that neither was trained on. Without it and without labels, the
            stored answers to the photos that both held out of training are compared.
        labels: a CSV of ids and labels, with `photos` for where the photos are.
        photos: a zip or folder.
        locked: compare on the locked part, which must be the same; written down in both runs.
        watch: told of the work as it goes on.

    Raises:
        InputError: classes differ, the photos cannot be used or none is held out by both.
        BundleError: a run is missing or damaged, or its data have changed.
    """
    one, other = load(first), load(second)
    if {car.label for car in one.card.classes} != {car.label for car in other.card.classes}:
        raise InputError(f"{first} and {second} have different classes: nothing to compare")
    if data is None and labels is None and photos is None and not locked:
        return _compare_stored(one, other)
    asked = [_find_photos(model, data, labels, photos, locked=locked) for model in (one, other)]
    if data is not None and any(photos.is_own for photos in asked):
        raise InputError(
            f"{data} is what a model was trained on: leave it out to compare on the photos that"
            " both held out"
        )
    if asked[0].catalog.ids != asked[1].catalog.ids:
        raise InputError(f"{first} and {second} have locked different photos away")
    catalog = asked[0].catalog
    answers = (one.answer(catalog, watch=watch), other.answer(catalog, watch=watch))
    compared = _compare_answers((one, other), answers, catalog, asked[0].about)
    if locked:
        for model, share in ((one, compared.result.first), (other, compared.result.second)):
            add_opening(model.run, share, compared.result.pair.num_photos)
    return compared


@dataclass(frozen=True)
class ViewChoice:
    """What came of trying views.

    Attributes:
        model: the run with the views that were adopted.
        before: its views until now.
        trials: each view that was tried; the adopted ones first.
        num_photos: validation photos that it rests on.
    """

    model: Model
    before: tuple[str, ...]
    trials: tuple[Trial, ...]
    num_photos: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return {
            "run": str(self.model.run.path),
            "views": list(self.model.card.views),
            "before": list(self.before),
            "answers_per_photo": self.model.num_answers,
            "photos": self.num_photos,
            "trials": [asdict(trial) for trial in self.trials],
        }


def adopt_views(
    run: Path | str, views: Sequence[str] | None = None, *, watch: Watcher | None = None
) -> ViewChoice:
    """Let validation choose the test-time views of a finished run anew (see `choose_views`).

    The run's validation photos are answered in all views, with folds each by the member that has
    not seen it. What was chosen before is forgotten, and refusal (see `set_refusal`) learnt as in
    training. Written anew are validation.npz, the report and, last of those that a model needs,
    the card with views, temperature, metrics and gates; after a kill between them, do it again.

    Args:
        run: the run folder.
        views: names in `tta.VIEWS` that may be adopted beside "whole"; None for all. The more are
            tried, the more each must show.
        watch: told of the work as it goes on.

    Raises:
        InputError: an unknown view; an ensemble of runs; the run's data cannot be read.
        BundleError: the run is missing or damaged, or its data have changed.
        OutputError: a file cannot be written.
        MissingExtra: lotlens[train] is not installed.
    """
    model = load(run)
    if model.members:
        raise InputError(
            f"{run} is an ensemble of runs: choose the views of each run, then make it anew"
        )
    tried = list(VIEWS) if views is None else list(views)
    names = check_views([WHOLE, *(name for name in tried if name != WHOLE)])
    lot, split = open_own_data(model)
    sides, validation = pair_sides(split), lot.train.select(list_held_out(split))
    network, card = import_vision("bundle").load_bundle(model.run)
    members = list(network.members) if card.members > 1 else [network]
    if len(members) != len(sides):
        raise BundleError(
            f"{model.run.split_path} has {len(sides)} folds and the model {len(members)} members:"
            " one of the two is not this run's"
        )
    by_view = _answer_views(members, card, sides, validation, names, watch)
    card, predictions, choice = _settle(card, by_view, validation)
    card, predictions = _teach_refusal(
        model.run, card, network, members, sides, predictions, lot.train, watch
    )
    save_predictions(model.run.validation_path, predictions)
    model.run.write_card(card)
    done = Model(model.run)
    tell_again(done, predictions, lot, validation, split)
    targets = align_targets(predictions, validation)
    num_photos = int(((targets >= 0) & predictions.answered).sum())
    return ViewChoice(done, model.card.views, choice.trials, num_photos)


@dataclass(frozen=True)
class RefusalChoice:
    """What was chosen, and how the methods did.

    Attributes:
        refusal: as it stands in the model card now.
        comparison: every method on every set of strangers.
    """

    refusal: Refusal
    comparison: tuple[Separation, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return asdict(self)


def set_refusal(
    run: Path | str,
    *,
    negatives: Path | str | Sequence[Path | str] | None = None,
    unknown: Path | str | Sequence[Path | str] | None = None,
    answered: float = ANSWERED,
    wrong: float | None = None,
    cost: float = 1.0,
    gain: float = 1.0,
    coverage: float = COVERAGE,
    watch: Watcher | None = None,
) -> RefusalChoice:
    """Choose anew when a model does not name one of its classes, and store it in its card.

    The run's own validation photos say what known photos look like, so its data must still be where
    they were. Pictures that lotlens makes are tried too.

    Args:
        run: the run folder.
        negatives: photos without a car, or of its inside: folders, zips or files.
        unknown: photos of car models that the model does not know.
        answered: share of known photos that are to pass both gates.
        wrong: instead, the share of strangers that may pass a gate, where there are strangers.
        cost: of a wrong answer, in any unit.
        gain: of a right one. One model is named only if p * gain > (1 - p) * cost.
        coverage: with which the candidates of a photo hold its model.
        watch: told of the work as it goes on.

    Raises:
        InputError: a path or a number cannot be used, or there are too few photos for `wrong`.
        BundleError: the run is damaged, of an older lotlens, or its data have changed.
        OutputError: the card cannot be written.
    """
    model = load(run)
    if model.members:
        raise InputError(f"{run} is an ensemble of runs: set this for its runs, then make it anew")
    references = model.read_references()
    if not references:
        raise BundleError(f"{run} remembers nothing of its training photos: train it again")
    lot, split = open_own_data(model)
    catalog = lot.train
    known = load_predictions(model.run.validation_path)
    photos_of: dict[Group, Any] = {"not a car": negatives, "unknown": unknown}
    given = [(group, open_photos(list_paths(p))) for group, p in photos_of.items() if p is not None]
    predictor = model.build_predictor(sum(len(own) for _, own in given))
    strangers = [
        meet_given(predictor, references, own, group, progress=watch_part(watch, group))
        for group, own in given
    ]
    learnt = list_learnt(split)
    strangers += meet_made(
        predictor,
        references,
        catalog.select(learnt).photos,
        progress=watch_part(watch, "made pictures"),
    )
    refusal = learn_refusal(
        known,
        align_targets(known, catalog),
        model.card.temperature,
        strangers,
        answered=answered,
        wrong=wrong,
        cost=cost,
        gain=gain,
        coverage=coverage,
        references_sha256=model.card.refusal.references_sha256 if model.card.refusal else "",
    )
    comparison = compare_methods(known, strangers, model.card.temperature, answered=answered)
    model.run.write_card(replace(model.card, refusal=refusal))
    return RefusalChoice(refusal, comparison)


@dataclass(frozen=True)
class Vetting:
    """What became of an offer of outside photos, and what would be added.

    Attributes:
        vetted: one per offered photo, in their order; with the weights of the plan.
        plan: what is added to which class, and why.
        compared: part of the run's own photos -> how many copies were looked for among.
        has_gates: whether the model can tell strangers; without gates they are turned away only by
            the probability of their label.
        findings: rows and files of the offer that do not match, which are no photos of it.
    """

    vetted: tuple[Vetted, ...]
    plan: AdditionPlan
    compared: Mapping[str, int]
    has_gates: bool
    findings: tuple[Finding, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        photos = [
            {
                "id": one.photo.id,
                "offered_id": one.offered_id,
                "claimed": one.claimed,
                "admitted": one.admitted,
                "reason": one.reason,
                "sentence": one.sentence,
                "related": list(one.related_ids),
                "answer": None if one.answer is None else one.answer.label,
                "probability": one.probability,
                "weight": one.weight,
            }
            for one in self.vetted
        ]
        return {
            "plan": self.plan.to_dict(),
            "compared": dict(self.compared),
            "has_gates": self.has_gates,
            "photos": photos,
            "findings": [asdict(finding) for finding in self.findings],
        }


def vet_outside(
    run: Path | str,
    outside: Path | str,
    *,
    most: int | None = None,
    trust_labels: bool = False,
    watch: Watcher | None = None,
) -> Vetting:
    """Vet outside photos one by one, and plan which to add to a run's training; nothing is trained.

    Photos are compared with all of the run's own: training, validation, locked, test, and those
    that were added before (`RunFolder.additions_path`).

    Args:
        run: the run folder.
        outside: photos in any form that `open_lot` knows; those without a label are turned away.
        most: photos to add at most; the failing classes get theirs first.
        trust_labels: believe every label; copies, strangers and poor photos are turned away still.
        watch: told of the work as it goes on.

    Raises:
        InputError: the photos cannot be used, or `most` is negative.
        BundleError: the run is missing or damaged, or its data have changed.
        MissingExtra: lotlens[train] is not installed.
    """
    model = load(run)
    card = model.card
    lot, split = open_own_data(model)
    earlier = model.run.additions_path
    additions = read_additions(earlier, card.classes) if earlier.is_file() else ()
    outside = Path(outside)
    offer = open_lot(outside)
    offered = _join_offer(offer)
    if not len(offered):
        raise InputError(f"{outside} holds no photos")
    own = list_own(lot, split, [one.photo for one in additions])
    known = load_predictions(model.run.validation_path)
    targets = align_targets(known, lot.train)
    vetted = vet_photos(
        offered,
        model.answer(offered, watch=watch),
        source=str(outside),
        target=card.classes,
        own=own,
        temperature=card.temperature,
        refusal=card.refusal,
        trust_labels=trust_labels,
        watch=watch,
    )
    learnt = list_learnt(split)
    counts = Counter(photo.label for photo in lot.train.select(learnt).photos if photo.label)
    counts.update(one.photo.label for one in additions if one.photo.label)
    made = plan_additions(vetted, measure_classes(known, targets), counts, most=most)
    return Vetting(
        weigh_vetted(vetted, made),
        made,
        Counter(part for part, _ in own),
        bool(card.refusal and card.refusal.gates),
        offer.findings,
    )


def _join_offer(offer: Lot) -> Catalog:
    """Labelled and unlabelled photos of an offer together; ids are told apart by the part."""
    labelled = {photo.id for photo in offer.train.photos}
    others = offer.test.photos
    if labelled.intersection(offer.test.ids):
        ids = name_additions(offer.test.ids, "test", labelled)
        others = tuple(replace(p, id=id_) for p, id_ in zip(others, ids, strict=True))
    return Catalog((*offer.train.photos, *others), offer.train.classes or offer.test.classes)


@dataclass(frozen=True)
class Demonstration:
    """What the demo leaves behind.

    Attributes:
        lot_path: the sample lot that was drawn.
        model: trained on it.
        evaluation: on its test photos, against the answers that the drawing knows.
        submission_path: the submission file.
    """

    lot_path: Path
    model: Model
    evaluation: Evaluation
    submission_path: Path


@dataclass(frozen=True)
class Served:
    """A page that is served now.

    Attributes:
        address: to open in a browser.
        num_doubts: that the run has.
        is_open_to_network: whether others than this machine can open it.
    """

    address: str
    num_doubts: int
    is_open_to_network: bool


def review(
    run: Path | str,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    lang: str = "en",
    ready: Callable[[Served], None] | None = None,
) -> Path:
    """Serve the page on which a run's doubts are reviewed, until Ctrl-C.

    Args:
        run: a run folder with doubts.csv.
        host: address to listen at; others than loopback let the network in.
        port: 0 for any that is free.
        lang: the language of the page, "en" or "ru".
        ready: told once the page can be opened.

    Returns:
        the file of decisions, beside the data.

    Raises:
        BundleError: the folder is missing, or holds no finished model.
        InputError: there are no doubts, the data cannot be read, the port is taken, or there is no
            such language.
        MissingExtra: lotlens[web] is not installed.
    """
    language = load_language(lang)
    folder = RunFolder.open(Path(run))
    pages = import_extra("lotlens.web.review", "web")
    if not folder.doubts_path.is_file():
        raise InputError(f"{folder.path} has no doubts.csv: run  lotlens doubts {folder.path}")
    doubts = read_doubts(folder.doubts_path)
    data = Path(folder.read_source()["data"])
    path = decisions_path(data)
    is_open = not pages.is_loopback(host)
    app = pages.build_review(
        doubts,
        open_lot(data).train,
        path,
        is_open_to_network=is_open,
        synthetic=_is_synthetic(data),
        language=language,
    )
    listener = pages.open_socket(host, port)
    with suppress(KeyboardInterrupt):  # which is how a server ends: no failure
        if ready is not None:
            ready(Served(pages.name_address(listener, host), len(doubts), is_open))
        pages.serve(app, listener)
    return path


def demonstrate(
    out: Path | str = "demo",
    *,
    seed: int = 0,
    num_train: int = 400,
    num_test: int = 160,
    recipe: str | Path | Recipe = "demo",
    watch: Watcher | None = None,
) -> Demonstration:
    """The whole way on the sample lot: draw, train both stages, judge, submit.

    Args:
        out: a folder; an earlier demo in it is replaced.
        seed: of the drawing.
        num_train: photos to draw for training.
        num_test: photos to draw for testing.
        recipe: what to train.
        watch: told of the work as it goes on.

    Raises:
        InputError: the folder holds something else.
        OutputError: it cannot be written.
    """
    import_vision("stages")
    out = Path(out)
    lot_path = draw_lot(
        out / "lot",
        seed=seed,
        num_train=num_train,
        num_test=num_test,
        overwrite=True,
        progress=watch_part(watch, "drawing the sample lot"),
    )
    run_path = out / "run"
    if run_path.exists():
        RunFolder(run_path).remove()
    model = train(lot_path, recipe, out=run_path, watch=watch)
    evaluation = evaluate(
        run_path, labels=lot_path / "answers.csv", photos=lot_path / "test.zip", watch=watch
    )
    submission_path = out / "submission.csv"
    # The lot has unreadable test photos on purpose; a submission needs a row for them too.
    predict(run_path, out=submission_path, fill=True, details=out / "details.csv", watch=watch)
    return Demonstration(lot_path, model, evaluation, submission_path)


def _train_models(
    run: RunFolder,
    recipe: Recipe,
    usable: Catalog,
    split: Split,
    found: Audit,
    extras: Extras,
    schedules: Mapping[str, Callable[[float], float]] | None,
    num_workers: int,
    watch: Watcher | None,
) -> list[Trained]:
    """Run the recipe's stages once, or once per fold; additions are learnt by every model."""
    stages = import_vision("stages")
    sides = pair_sides(split)
    clusters = cluster_photos(usable, found.groups)
    trained: list[Trained] = []
    for number, (kept, held_out) in enumerate(sides, start=1):
        place, log_path, told = run.checkpoint_path, run.tensorboard_path, watch
        if len(sides) > 1:
            place, log_path = place / f"fold-{number}", log_path / f"fold-{number}"
            told = watch_fold(watch, number, len(sides))
        learnt = usable.select(kept)
        one: Trained = stages.run_stages(
            recipe,
            replace(learnt, photos=(*learnt.photos, *extras.additions)),
            usable.select(held_out),
            clusters=clusters,
            functions=schedules,
            start=extras.starts[number - 1] if extras.starts else None,
            photo_weights=extras.photo_weights,
            checkpoint_path=place,
            scratch_path=run.path,
            log_path=log_path,
            num_workers=num_workers,
            watch=told,
        )
        trained.append(one)
    return trained


def watch_fold(watch: Watcher | None, number: int, num_folds: int) -> Watcher | None:
    """Told of the work on one of several models, it passes that on with the model's number."""
    if watch is None:
        return None
    return lambda what, done, total: watch(f"fold {number} of {num_folds}: {what}", done, total)


def begin_run(
    out: Path | str | None, data: Path, recipe: Recipe, split: Split, usable: Catalog
) -> RunFolder:
    """A new run folder that holds what the training begins with."""
    run = (
        RunFolder.create(Path(out))
        if out is not None
        else RunFolder.create_next(Path("runs"), f"{data.resolve().stem}-{recipe.name}")
    )
    run.write_recipe(recipe.to_dict())
    learnt = {id_ for kept, _ in pair_sides(split) for id_ in kept}
    counts = Counter(photo.label for photo in usable.photos if photo.id in learnt)
    run.write_source(
        {"data": str(data.resolve()), "lotlens_version": __version__, "photos": counts}
    )
    write_split(run.split_path, split)
    decided = decisions_path(data)
    if decided.is_file():
        write_decisions(run.decisions_path, read_decisions(decided))
    return run


def _tell_all(
    model: Model,
    validation: Catalog,
    split: Split,
    found: Audit,
    status: Mapping[str, str],
    language: Language,
) -> None:
    """Write the findings and the report of a training that is done."""
    run = model.run
    run.remove_checkpoint()
    findings = (*found.findings, *_unreadable_findings(status))
    write_findings(run.findings_path, replace(found, findings=findings))
    predictions = load_predictions(run.validation_path)
    about, is_synthetic = _about(run, split), model.card.synthetic
    evaluation = _judge(model.card, predictions, validation, about, synthetic=is_synthetic)
    _report(
        model,
        evaluation,
        validation,
        run.report_path,
        subject=_name_subject(run, split),
        findings=findings,
        sizes=found.sizes,
        language=language,
    )


def is_first_process() -> bool:
    """Whether this process writes and speaks: one that is alone, or the first of torchrun's.

    Raises:
        MissingExtra: lotlens[train] is not installed.
    """
    is_first: bool = import_vision("distributed").is_first()
    return is_first


def _finish(
    run: RunFolder,
    recipe: Recipe,
    trained: Sequence[Trained],
    split: Split,
    lot: Lot,
    validation: Catalog,
    watch: Watcher | None,
) -> Model:
    """Write the history, let validation choose views and temperature, judge, save the bundle.

    With folds, each model answers for the fold that it has not seen.
    """
    bundle, classifier = import_vision("bundle"), import_vision("classifier")
    sides = pair_sides(split)
    run.write_history(
        [
            {**({"fold": number} if len(sides) > 1 else {}), **row}
            for number, one in enumerate(trained, start=1)
            for row in one.history
        ]
    )
    learnt = list_learnt(split)
    card = ModelCard(
        format_version=FORMAT_VERSION,
        lotlens_version=__version__,
        classes=lot.train.classes,
        image=trained[0].spec,
        backbone=recipe.backbone,
        feature_levels=recipe.feature_levels,
        recipe=recipe.to_dict(),
        fingerprint=split.fingerprint,
        chosen="; ".join(_describe_choice(one, n, len(sides)) for n, one in enumerate(trained, 1)),
        commonest_label=find_commonest_label(lot.train.select(learnt)),
        synthetic=_is_synthetic(lot.source),
    )
    members = [one.classifier for one in trained]
    by_view = _answer_views(members, card, sides, validation, (WHOLE, *recipe.views), watch)
    card, predictions, _ = _settle(card, by_view, validation)
    network = classifier.Ensemble(members) if len(members) > 1 else members[0]
    card, predictions = _teach_refusal(
        run, card, network, members, sides, predictions, lot.train, watch
    )
    save_predictions(run.validation_path, predictions)
    bundle.save_bundle(run, network, card)
    return Model(run)


def _answer_views(
    members: Sequence[Network],
    card: ModelCard,
    sides: Sequence[tuple[Sequence[str], Sequence[str]]],
    catalog: Catalog,
    names: Sequence[str],
    watch: Watcher | None,
) -> dict[str, Predictions]:
    """View -> answers to the photos held out, each by the member that has not seen it."""
    predictor = import_vision("predictor")
    by_view: dict[str, list[Predictions]] = {name: [] for name in names}
    for member, (_, held_out) in zip(members, sides, strict=True):
        found = predict_views(
            predictor.ClassifierPredictor(member, card, num_photos=len(names) * len(held_out)),
            catalog.select(held_out),
            views=names,
            keep_features=True,
            progress=watch_part(watch, "choosing views"),
        )
        for name in names:
            by_view[name].append(found[name])
    return {name: join_predictions(parts) for name, parts in by_view.items()}


def _settle(
    card: ModelCard, by_view: Mapping[str, Predictions], catalog: Catalog
) -> tuple[ModelCard, Predictions, Choice]:
    """Let validation choose views, then all that depends on the answers that they give."""
    plain = by_view[WHOLE]
    logits = {name: found.logits for name, found in by_view.items()}
    choice = choose_views(logits, align_targets(plain, catalog))
    answers = average_views([logits[name] for name in choice.views])
    predictions = replace(plain, logits=answers)
    return calibrate(replace(card, views=choice.views), predictions, catalog), predictions, choice


def calibrate(card: ModelCard, predictions: Predictions, catalog: Catalog) -> ModelCard:
    """The card with all that validation's answers say of the model."""
    targets = align_targets(predictions, catalog)
    usable = (targets >= 0) & predictions.answered
    temperature = fit_temperature(predictions.logits[usable], targets[usable])
    metrics = evaluate_predictions(predictions, targets, temperature=temperature)
    return replace(card, temperature=temperature, metrics=metrics)


def tell_again(
    model: Model, predictions: Predictions, lot: Lot, validation: Catalog, split: Split
) -> None:
    """Write report and metrics of a run whose answers on validation are new."""
    about, is_synthetic = _about(model.run, split), model.card.synthetic
    evaluation = _judge(model.card, predictions, validation, about, synthetic=is_synthetic)
    _report(
        model,
        evaluation,
        validation,
        model.run.report_path,
        subject=_name_subject(model.run, split),
        findings=lot.findings,
    )
    model.run.write_metrics(evaluation.to_dict())


def open_own_data(model: Model) -> tuple[Lot, Split]:
    """The data that a run was trained on, its training photos those that have files, and its split.

    Raises:
        InputError: the data cannot be read.
        BundleError: they have changed.
    """
    lot = open_data(Path(model.run.read_source()["data"]), model.run.decisions_path)
    lot = replace(lot, train=lot.train.with_files())
    if fingerprint(lot.train) != model.card.fingerprint:
        raise BundleError(
            f"the data of {model.run.path}, {lot.source}, have changed since it was trained: its"
            " validation photos are no longer known; put them back, or train anew"
        )
    return lot, read_split(model.run.split_path)


@dataclass(frozen=True)
class _Judged:
    """Photos that a run is to be judged on.

    Attributes:
        lot: that they are from.
        catalog: the photos.
        about: what they are, in words.
        subject: the same for the report, which words it in its language.
        is_own: whether the run held them out of its own training.
        stored: answers that are there already and must be taken, since each photo was learnt by
            all members but one.
    """

    lot: Lot
    catalog: Catalog
    about: str
    subject: Subject
    is_own: bool = False
    stored: Predictions | None = None


def _find_photos(
    model: Model,
    data: Path | str | None,
    labels: Path | str | None,
    photos: Path | str | None,
    *,
    locked: bool,
) -> _Judged:
    """What `evaluate` is asked to judge on; never photos that the model was trained on.

    Raises:
        InputError: the photos or labels cannot be used; nothing was locked.
        BundleError: the run's own data have changed.
    """
    if locked and (data is not None or labels is not None or photos is not None):
        raise InputError("the locked part is one of the run's own data: give no other photos")
    if labels is not None:
        if data is not None:
            raise InputError("give either DATA or --labels with --photos, not both")
        lot = open_lot(Path(labels), photos=None if photos is None else Path(photos))
        about = f"{labels}"
    elif photos is not None:
        raise InputError("--photos needs --labels, the CSV with their labels")
    else:
        source = Path(data) if data is not None else Path(model.run.read_source()["data"])
        is_own = data is None or _is_own(model.run, source)
        lot = open_data(source, model.run.decisions_path if is_own else None)
        about = f"{source}"
    subject = Subject("other", model.run.path.absolute().name, Path(about).absolute().name)
    catalog = lot.train.with_files()
    if not len(catalog):
        raise InputError(f"{lot.source} holds no labelled photos to judge on")
    if labels is not None or fingerprint(catalog) != model.card.fingerprint:
        if data is None and labels is None:
            raise BundleError(
                f"the data of this run, {lot.source}, have changed since it was trained: name the"
                " labelled photos to judge on"
            )
        return _Judged(lot, catalog, about, subject)
    # Judging on photos that the model has learnt by heart would be a lie.
    split = read_split(model.run.split_path)
    if not locked:
        is_joint = model.card.members > 1
        if is_joint and model.card.engine != "torch":
            raise InputError(
                f"{model.run.path} has learnt all of its photos, each by all members but one:"
                " judge the run that it was exported from, or name other photos"
            )
        stored = load_predictions(model.run.validation_path) if is_joint else None
        own = catalog.select(list_held_out(split))
        about, subject = _about(model.run, split), _name_subject(model.run, split)
        return _Judged(lot, own, about, subject, is_own=True, stored=stored)
    if LOCKED not in split.parts:
        raise InputError(
            f"{model.run.path} has no locked part: train with  --set lock=0.15  to put one aside"
        )
    catalog = catalog.select(split.parts[LOCKED])
    about = f"{model.run.path.name}: its own locked part, {len(catalog)} photos"
    return _Judged(lot, catalog, about, replace(subject, kind="locked"), is_own=True)


def _is_own(run: RunFolder, data: Path) -> bool:
    """Whether a run was trained on what lies at this path."""
    return run.source_path.is_file() and data.resolve() == Path(run.read_source()["data"])


def _compare_stored(one: Model, other: Model) -> Compared:
    """By the stored answers to the photos that both runs held out of training."""
    if one.card.fingerprint != other.card.fingerprint:
        raise InputError(
            f"{one.run.path} and {other.run.path} were trained on different data: name labelled"
            " photos that neither has seen (DATA, or --labels with --photos)"
        )
    asked = _find_photos(one, None, None, None, locked=False)
    first, second = (load_predictions(model.run.validation_path) for model in (one, other))
    held_out = set(second.ids)
    shared = [id_ for id_ in first.ids if id_ in held_out]
    if not shared:
        raise InputError(
            f"{one.run.path} and {other.run.path} held out no photo in common: train them on one"
            " split, or name labelled photos that neither has seen"
        )
    about = f"{asked.lot.source}: {len(shared)} photos that both held out of training"
    answers = (select_predictions(first, shared), select_predictions(second, shared))
    return _compare_answers((one, other), answers, asked.lot.train.select(shared), about)


def _compare_answers(
    models: tuple[Model, Model],
    answers: tuple[Predictions, Predictions],
    catalog: Catalog,
    about: str,
) -> Compared:
    first, second = answers
    names = (str(models[0].run.path), str(models[1].run.path))
    targets = align_targets(first, catalog)
    result = compare_models(first, order_classes(second, first.classes), targets, names=names)
    return Compared(about, result, conclude(result))


def add_opening(run: RunFolder, accuracy: float, num_photos: int) -> int:
    """Write down that the locked part was judged on; returns how often it was so far."""
    time = datetime.now(UTC).isoformat(timespec="seconds")
    return run.add_opening({"time": time, "accuracy": f"{accuracy:.4f}", "photos": num_photos})


def _teach_refusal(
    run: RunFolder,
    card: ModelCard,
    network: Network,
    members: Sequence[Network],
    sides: Sequence[tuple[Sequence[str], Sequence[str]]],
    predictions: Predictions,
    catalog: Catalog,
    watch: Watcher | None,
) -> tuple[ModelCard, Predictions]:
    """The card with gates, and validation's answers with what they rest on.

    Args:
        run: where what is remembered of training photos goes.
        card: with views and temperature.
        network: what answers: the one member, or the ensemble of all.
        members: single models, each with its side of the split.
        sides: ids learnt and ids held out of each.
        predictions: answers to the photos held out, side after side.
        catalog: holds all these photos.
        watch: told of the work as it goes on.
    """
    predictor = import_vision("predictor")
    references: list[Reference] = []
    known: list[Predictions] = []
    for member, (kept, held_out) in zip(members, sides, strict=True):
        answering = predictor.ClassifierPredictor(member, card, num_photos=len(kept))
        told = watch_part(watch, "remembering photos")
        remembered = remember_photos(answering, catalog.select(kept), progress=told)
        if remembered is None:
            return card, predictions
        references.append(remembered)
        own = catalog.select(held_out)
        known.append(meet_known(answering, remembered, own, is_member=len(members) > 1))
    predictions = replace(predictions, familiarity=join_predictions(known).familiarity)
    sha256 = run.write_references(encode_references(references))
    learnt = dict.fromkeys(id_ for kept, _ in sides for id_ in kept)
    strangers = meet_made(
        predictor.ClassifierPredictor(network, card),
        references,
        catalog.select(list(learnt)).photos,
        progress=watch_part(watch, "made pictures"),
    )
    targets = align_targets(predictions, catalog)
    refusal = learn_refusal(
        predictions, targets, card.temperature, strangers, references_sha256=sha256
    )
    return replace(card, refusal=refusal), predictions


def list_learnt(split: Split) -> list[str]:
    """Ids of the photos that a model, or any of its members, was trained on."""
    return list(dict.fromkeys(id_ for kept, _ in pair_sides(split) for id_ in kept))


def _describe_choice(trained: Trained, number: int, num_models: int) -> str:
    reasons = ", ".join(
        f"{c.name} {c.accuracy:.3f} ({c.log_loss:.3f} nats)" for c in trained.candidates
    )
    fold = f"fold {number}: " if num_models > 1 else ""
    return f"{fold}{trained.chosen}; validation accuracy (log loss) of each candidate: {reasons}"


def _judge(
    card: ModelCard, predictions: Predictions, catalog: Catalog, about: str, synthetic: bool
) -> Evaluation:
    targets = align_targets(predictions, catalog)
    return Evaluation(
        about,
        evaluate_predictions(predictions, targets, temperature=card.temperature),
        measure_classes(predictions, targets),
        find_confusion_pairs(predictions, targets),
        predictions,
        synthetic,
    )


def _report(
    model: Model,
    evaluation: Evaluation,
    catalog: Catalog,
    path: Path,
    *,
    subject: Subject,
    findings: Sequence[Finding] = (),
    sizes: Mapping[tuple[int, int], int] | None = None,
    language: Language = ENGLISH,
) -> None:
    predictions, card = evaluation.predictions, model.card
    targets = align_targets(predictions, catalog)
    answers = list_answers(predictions, targets, temperature=card.temperature)
    errors = find_worst_errors(predictions, targets, temperature=card.temperature, limit=8)
    confusions = count_confusions(predictions, targets)
    curve = trace_refusals(*judge_confidence(predictions, targets, card.temperature))
    unreadable = [
        (id_, status)
        for id_, status in zip(predictions.ids, predictions.status, strict=True)
        if status != OK
    ]
    counts = model.run.read_source().get("photos") if model.run.source_path.is_file() else None
    write_report(
        path,
        subject=subject,
        card=card,
        metrics=evaluation.metrics,
        class_scores=evaluation.class_scores,
        confusions=confusions,
        pairs=evaluation.pairs,
        answers=answers,
        errors=errors,
        catalog=catalog,
        heat_maps=_explain(model, catalog, errors, subject),
        reliability=[
            judge_reliability(predictions, targets, temperature)
            for temperature in dict.fromkeys((1.0, card.temperature))
        ],
        refusals=curve,
        picked_refusals=pick_refusals(curve),
        advice=advise(
            metrics=evaluation.metrics,
            class_scores=evaluation.class_scores,
            confusions=confusions,
            answers=answers,
            num_unreadable=len(unreadable),
            training_counts=counts,
        ),
        history=model.run.read_history(),
        findings=findings,
        unreadable=unreadable,
        training_counts=counts,
        sizes=sizes,
        synthetic=evaluation.synthetic,
        language=language,
    )


def _explain(
    model: Model, catalog: Catalog, errors: Sequence[Answer], subject: Subject
) -> dict[str, HeatMaps]:
    """Where the model looked at each photo; nothing without torch or one convolutional network."""
    if model.members:
        return {}
    if model.card.engine != "torch":
        return {}  # an exported network has no gradients
    try:
        bundle, explaining = import_vision("bundle"), import_vision("explain")
    except MissingExtra:
        return {}
    members: dict[str, int] = {}
    if subject.kind == "folds":
        sides = pair_sides(read_split(model.run.split_path))
        members = {id_: number for number, (_, ids) in enumerate(sides) for id_ in ids}
    groups: dict[int | None, list[Answer]] = defaultdict(list)
    for error in errors:
        groups[members.get(error.photo_id)].append(error)
    if not groups:
        return {}
    network, card = bundle.load_bundle(model.run)
    position = {car.label: number for number, car in enumerate(card.classes)}
    maps = {}
    for member, group in groups.items():
        photos = catalog.select([error.photo_id for error in group]).photos
        read = zip(group, read_ahead(photos, card.image), strict=True)
        seen = [(error, one.pixels) for error, one in read if one.pixels is not None]
        if not seen:
            continue
        batch = normalise(np.stack([pixels for _, pixels in seen]), card.image)
        said = np.array([position[error.predicted.label] for error, _ in seen])
        truth = np.array([position[error.true.label] for error, _ in seen])
        # Out of fold, the one member that answered is asked.
        asked = network if member is None else network.members[member]
        try:
            mirrored = "mirror" in card.views
            both = [explaining.explain(asked, batch, k, mirrored=mirrored) for k in (said, truth)]
        except InputError:
            return {}
        for (error, _), *own in zip(seen, *both, strict=True):
            maps[error.photo_id] = HeatMaps(*own)
    return maps


def _unreadable_findings(status: Mapping[str, str]) -> tuple[Finding, ...]:
    return tuple(
        Finding(id_, "unreadable", 1.0, (), f"This photo was left out of training: {reason}.")
        for id_, reason in status.items()
        if reason != OK
    )


def _resolve_recipe(recipe: str | Path | Recipe, overrides: Sequence[str]) -> Recipe:
    if not isinstance(recipe, Recipe):
        return load_recipe(recipe, overrides)
    if overrides:
        raise InputError("overrides apply to a recipe's name or file, not to a Recipe")
    return recipe


def _resume_recipe(
    run: RunFolder, recipe: str | Path | Recipe | None, overrides: Sequence[str]
) -> Recipe:
    """The recipe a training began with.

    Raises:
        InputError: another one is asked for now.
    """
    stored = parse_recipe(run.read_recipe(), source=str(run.recipe_path))
    if recipe is not None or overrides:
        asked = _resolve_recipe(recipe or "standard", overrides)
        if asked != stored:
            raise InputError(
                f"{run.path} began with another recipe ({run.recipe_path}): leave out --recipe and"
                " --set to go on with it, or train anew in another folder"
            )
    return stored


def open_data(data: Path, decisions: Path | None = None) -> Lot:
    """Photos with the labels that people decided on.

    Args:
        data: in any form that `open_lot` knows.
        decisions: a file of decisions; None for the one beside the data, if there is one.

    Raises:
        InputError: the data or the decisions cannot be read.
    """
    decided = read_decisions(decisions_path(data) if decisions is None else decisions)
    lot = open_lot(data)
    return apply_decisions(lot, decided) if decided else lot


def list_settled(model: Model) -> frozenset[str]:
    """Ids of the photos of a run's data that people have decided on by now.

    Raises:
        InputError: the decisions cannot be read.
        BundleError: the run does not say where its data are.
    """
    data = Path(model.run.read_source()["data"])
    return frozenset(decision.photo_id for decision in read_decisions(decisions_path(data)))


def _open_labelled(data: Path, decisions: Path | None = None) -> tuple[Lot, Catalog]:
    """A lot that can be trained on, and its labelled photos that have files."""
    lot = open_data(data, decisions)
    check_trainable(lot)
    return lot, lot.train.with_files()


def audit_labelled(
    lot: Lot, usable: Catalog, settings: AuditSettings, lock: float, watch: Watcher | None
) -> Audit:
    """The audit of what is trained on; the test part is looked at only if leaks matter."""
    test = lot.test if settings.leak == "drop" else Catalog((), lot.test.classes)
    return audit_lot(replace(lot, train=usable, test=test), settings, lock=lock, watch=watch)


def _find_split(path: Path | None, usable: Catalog, recipe: Recipe, found: Audit) -> Split:
    """The stored split, without photos that are left out now, or a new one."""
    if path is not None and path.exists():
        stored = read_split(path)
        check_split(stored, usable, found.groups)
        _check_parts(path, stored, recipe)
        parts = {
            part: tuple(id_ for id_ in ids if id_ not in found.dropped)
            for part, ids in stored.parts.items()
        }
        return replace(stored, parts=parts)
    draw = (
        partial(draw_folds, num_folds=recipe.folds)
        if recipe.folds
        else partial(draw_split, validation=recipe.validation)
    )
    drawn = draw(
        usable, seed=recipe.seed, groups=found.groups, lock=recipe.lock, dropped=found.dropped
    )
    if path is not None:
        write_split(path, drawn)
    return drawn


def _check_parts(path: Path, stored: Split, recipe: Recipe) -> None:
    """Refuse a split that has not the parts that the recipe trains with."""
    num_folds = count_folds(stored)
    wanted = f"--folds {recipe.folds} " if recipe.folds else ""
    if recipe.folds != num_folds or not (
        recipe.folds or {TRAIN, VALIDATION} <= stored.parts.keys()
    ):
        needed = f"{recipe.folds} folds" if recipe.folds else f"parts {TRAIN} and {VALIDATION}"
        raise InputError(
            f"the split {path} has the parts {', '.join(stored.parts)}, but recipe {recipe.name}"
            f" needs {needed}: draw it with  lotlens split DATA {wanted}--out {path}"
        )


def _about(run: RunFolder, split: Split) -> str:
    num_photos, num_folds = len(list_held_out(split)), count_folds(split)
    if num_folds:
        return (
            f"{run.path.name}: out of fold, {num_photos} photos, each answered by the one of"
            f" {num_folds} models that had not seen it"
        )
    return f"{run.path.name}: its own validation part, {num_photos} photos"


def _name_subject(run: RunFolder, split: Split) -> Subject:
    name, num_folds = run.path.absolute().name, count_folds(split)
    return Subject("folds" if num_folds else "held-out", name, num_models=num_folds or 1)


def _is_synthetic(source: Path) -> bool:
    """True for a sample lot, or a file in one."""
    return is_sample_lot(source) or is_sample_lot(source.parent)
