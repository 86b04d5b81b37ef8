"""The report of a finished run: figures, pictures and what the run folder knows, on one page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from lotlens.audit.parts import pair_sides
from lotlens.deliver.model import Model
from lotlens.deliver.own_data import OwnData, read_own_split
from lotlens.errors import MissingExtra
from lotlens.extras import import_vision
from lotlens.judge.judged import Evaluation, Judged, Subject, judge
from lotlens.records import Catalog, Finding, HeatMaps, Predictions
from lotlens.report.language import ENGLISH, Language
from lotlens.report.page import Background, write_report


def report_own(
    own: OwnData,
    predictions: Predictions,
    findings: Sequence[Finding],
    *,
    sizes: Mapping[tuple[int, int], int] | None = None,
    language: Language = ENGLISH,
) -> Evaluation:
    """Write the report of a run on the photos that it held out of training.

    Args:
        own: the run and its data.
        predictions: its answers to these photos, of which its card has the metrics.
        findings: what is odd with the photos.
        sizes: (width, height) -> photos, if that is known.
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
        own.validation,
        own.subject,
        findings,
        sizes=sizes,
        synthetic=synthetic,
        language=language,
    )
    return judged.evaluate(own.about, synthetic=synthetic)


def write_anew(own: OwnData, predictions: Predictions) -> None:
    """Write report and metrics of a run whose answers on validation are new."""
    evaluation = report_own(own, predictions, own.lot.findings)
    own.model.run.write_metrics(evaluation.to_dict())


def count_training(model: Model) -> Mapping[str, int] | None:
    """Class label -> photos trained on, if the run says so."""
    return model.source.get("photos") if model.run.source_path.is_file() else None


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
    maps: dict[str, HeatMaps] = explaining.explain_errors(network, card, catalog, errors, member_of)
    return maps


def report_on(
    model: Model,
    judged: Judged,
    catalog: Catalog,
    subject: Subject,
    findings: Sequence[Finding],
    path: Path | None = None,
    *,
    sizes: Mapping[tuple[int, int], int] | None = None,
    synthetic: bool,
    language: Language,
) -> None:
    """Write the report of a model on any photos.

    Args:
        model: that answered.
        judged: its answers and all that follows from them.
        catalog: the photos.
        subject: what they are.
        findings: what is odd with them.
        path: the file; None for the run's report.html.
        sizes: (width, height) -> photos, if that is known.
        synthetic: whether they were drawn.
        language: of the report.

    Raises:
        OutputError: the file cannot be written.
    """
    heat_maps = find_heat_maps(model, judged, catalog, subject)
    history = model.run.read_history()
    background = Background(catalog, heat_maps, history, findings, sizes, synthetic)
    write_report(path or model.run.report_path, subject, judged, background, language=language)
