"""The report of a finished run: figures, pictures and what the run folder knows, on one page."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lotlens.answering.answers import load_predictions
from lotlens.answering.predict import predict
from lotlens.answering.views import WHOLE
from lotlens.audit.findings import restore_findings
from lotlens.audit.parts import pair_sides
from lotlens.deliver.model import Model
from lotlens.deliver.own_data import OwnData, read_own_answers, read_own_split
from lotlens.errors import MissingExtra
from lotlens.extras import import_vision
from lotlens.judge.judged import Evaluation, Judged, Subject, judge
from lotlens.records import OK, Catalog, Finding, FloatArray, HeatMaps, Lot, Predictions
from lotlens.refusal.curve import CurvePoint, measure_curve
from lotlens.report.language import ENGLISH, LANGUAGES, Language, load_language
from lotlens.report.page import MOST_PAIRS, Background, Origin, write_report
from lotlens.run import RunFolder

_HEAD_BYTES = 300
"""Of a report, within which its language is named."""
_MOST_COMPARED = 200
"""Photos whose features are computed, to find those that look most like a confused one."""


def report_own(
    own: OwnData,
    predictions: Predictions,
    findings: Sequence[Finding],
    *,
    language: Language = ENGLISH,
) -> Evaluation:
    """Write the report of a run on the photos that it held out of training.

    Args:
        own: the run and its data.
        predictions: its answers to these photos, of which its card has the metrics.
        findings: what is odd with the photos.
        language: of the report.

    Raises:
        OutputError: the file cannot be written.
    """
    model = own.model
    counts, card = count_training(model), model.card
    judged = judge(card, predictions, own.validation, counts, metrics=card.metrics)
    synthetic = card.synthetic
    report_on(
        model,
        judged,
        own.lot,
        own.validation,
        own.subject,
        findings,
        synthetic=synthetic,
        language=language,
    )
    return judged.evaluate(own.about, synthetic=synthetic)


def write_anew(own: OwnData, predictions: Predictions, *, language: Language) -> None:
    """Write report and metrics of a run whose answers on validation are new."""
    told = find_told(own.model, own.lot)
    evaluation = report_own(own, predictions, told, language=language)
    own.model.run.write_metrics(evaluation.to_dict())


def choose_language(lang: str | None, run: RunFolder) -> Language:
    """The language that was asked for; without one that of a run's report, or English.

    Raises:
        InputError: lotlens does not write in it.
    """
    if lang is not None:
        return load_language(lang)
    head = ""
    if run.report_path.is_file():
        with run.report_path.open("rb") as file:
            head = file.read(_HEAD_BYTES).decode("utf-8", "replace")
    found = re.search('<html lang="([a-z]+)">', head)
    is_known = found is not None and found[1] in LANGUAGES
    return load_language(found[1]) if found and is_known else ENGLISH


def find_told(model: Model, lot: Lot) -> tuple[Finding, ...]:
    """What training found in a run's own data; of a run without such notes, what the lot tells.

    Raises:
        BundleError: the run's findings are damaged.
    """
    run = model.run
    return restore_findings(run.read_findings()) if run.findings_path.is_file() else lot.findings


def count_training(model: Model) -> Mapping[str, int] | None:
    """Class label -> photos trained on, if the run says so."""
    return model.source.get("photos") if model.run.source_path.is_file() else None


def trace_origin(model: Model) -> Origin:
    """What a run folder tells of how its model came to be.

    Raises:
        BundleError: a file of the run is damaged.
    """
    run = model.run
    source = model.source if run.source_path.is_file() else {}
    sizes = {}
    for told, count in source.get("sizes", {}).items():
        width, _, height = told.partition("x")
        if width.isdecimal() and height.isdecimal() and len(told) < 20:
            sizes[int(width), int(height)] = count
    return Origin(
        run.path,
        Path(source["data"]) if "data" in source else None,
        run.read_end(),
        run.read_timing()["wall_s"],
        sizes,
    )


def find_features(model: Model, judged: Judged, catalog: Catalog) -> dict[str, FloatArray]:
    """Features [F] of the confused photos that a report shows, and of those to compare them with.

    Of the recognised photos of the classes in question as many as a report has the time for, those
    that are answered most like the confused ones. None for an ensemble of runs, whose features are
    not comparable, and without torch; `Showing` then compares the answers themselves.
    """
    pairs = judged.pairs[:MOST_PAIRS]
    asked = {error.photo_id for error in judged.errors}
    asked |= {id_ for pair in pairs for id_ in pair.example_ids}
    known = {photo.id for photo in catalog.photos}
    if model.members or not asked & known:
        return {}
    labels = {car.label for error in judged.errors for car in (error.true, error.predicted)}
    labels |= {car.label for pair in pairs for car in (pair.true, pair.predicted)}
    right = [a.photo_id for a in judged.answers if a.is_right and a.true.label in labels]
    if len(right) > _MOST_COMPARED:
        row = {id_: at for at, id_ in enumerate(judged.predictions.ids)}
        logits = judged.predictions.logits
        confused = logits[[row[id_] for id_ in asked if id_ in row]]
        gaps = [np.square(confused - logits[row[id_]]).sum(axis=1).min() for id_ in right]
        right = [right[at] for at in np.argsort(gaps, kind="stable")[:_MOST_COMPARED]]
    some = catalog.select([id_ for id_ in (*sorted(asked), *right) if id_ in known])
    try:
        predictor = model.build_predictor(len(some))
    except MissingExtra:
        return {}
    found = predict(predictor, some, views=[WHOLE], keep_features=True)
    if found.features is None:
        return {}
    rows = zip(found.ids, found.status, found.features, strict=True)
    return {id_: features for id_, status, features in rows if status == OK}


def find_heat_maps(
    model: Model, judged: Judged, catalog: Catalog, subject: Subject
) -> dict[str, HeatMaps]:
    """Where a model looked in the photos of its worst errors.

    None for an ensemble of runs, for an exported network, which has no gradients, and without torch
    or a convolutional network.
    """
    if model.members or model.card.engine != "torch" or not judged.errors:
        return {}
    try:
        bundle, explaining = import_vision("bundle"), import_vision("explain")
    except MissingExtra:
        return {}
    member_of: dict[str, int] = {}
    if subject.kind == "folds":
        sides = pair_sides(read_own_split(model))
        member_of = {id_: number for number, (_, ids) in enumerate(sides) for id_ in ids}
    errors = [(e.photo_id, e.predicted.label, e.true.label) for e in judged.errors]
    network, card = bundle.load_bundle(model.run, model.card)
    locate = model.open_locator(len(errors))
    maps: dict[str, HeatMaps] = explaining.explain_errors(
        network, card, catalog, errors, member_of, locate
    )
    return maps


def find_other_cars(model: Model) -> tuple[CurvePoint, ...]:
    """What refusing more costs and spares, on the run's own held-out photos and other cars.

    Nothing where no other cars were held out.

    Raises:
        BundleError: the stored answers are damaged.
    """
    run, refusal = model.run, model.card.refusal
    if refusal is None or not run.others_answers_path.is_file():
        return ()
    others = load_predictions(run.others_answers_path)
    return measure_curve(read_own_answers(model), others, refusal, model.card.temperature)


def report_on(
    model: Model,
    judged: Judged,
    lot: Lot,
    catalog: Catalog,
    subject: Subject,
    findings: Sequence[Finding],
    path: Path | None = None,
    *,
    synthetic: bool,
    language: Language,
) -> None:
    """Write the report of a model on any photos.

    Args:
        model: that answered.
        judged: its answers and all that follows from them.
        lot: that the photos are from, with those that findings tell of.
        catalog: the photos.
        subject: what they are.
        findings: what is odd with the lot.
        path: the file; None for the run's report.html.
        synthetic: whether they were drawn.
        language: of the report.

    Raises:
        OutputError: the file cannot be written.
    """
    background = Background(
        catalog,
        heat_maps=find_heat_maps(model, judged, catalog, subject),
        features=find_features(model, judged, catalog),
        history=model.run.read_history(),
        findings=findings,
        lot=lot,
        origin=trace_origin(model),
        synthetic=synthetic,
        other_cars=find_other_cars(model),
    )
    write_report(path or model.run.report_path, subject, judged, background, language=language)
