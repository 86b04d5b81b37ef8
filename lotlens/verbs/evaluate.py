"""Judge a model on labelled photos, and write a report."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from lotlens.deliver.asked import Asked, find_asked
from lotlens.deliver.model import load
from lotlens.files import check_writable
from lotlens.judge.judged import Evaluation, judge
from lotlens.photos.synthetic import is_synthetic
from lotlens.records import Watcher
from lotlens.report.language import load_language
from lotlens.report.run_report import count_training, find_told, report_on
from lotlens.run import RunFolder

_ENDINGS = (".csv", ".tsv", ".txt", ".xlsx", ".json", ".parquet", ".zip")


def evaluate(
    run: Path | str,
    data: Path | str | None = None,
    *,
    labels: Path | str | None = None,
    photos: Path | str | None = None,
    report: Path | str | None = None,
    locked: bool = False,
    changed: bool = False,
    lang: str = "en",
    watch: Watcher | None = None,
) -> Evaluation:
    """Judge a model on labelled photos, and write a report.

    Args:
        run: the run folder.
        data: labelled photos. Without it and without labels, the run's own validation part. If
            it is the data that the model was trained on, only the validation part is judged. Of
            other photos those are left out that the model has learnt, and copies of them.
        labels: a CSV of ids and labels, with `photos` for where the photos are.
        photos: a zip or folder.
        report: where the HTML report goes; None for the run's report.html or, of photos that are
            not its own validation part, for report-NAME.html beside it. The figures go into
            metrics.json or metrics-NAME.json likewise.
        locked: judge on the locked part of the run's own data instead. Each time is written down
            in the run, since a choice made by its result would spoil it.
        changed: judge on the run's own data though they have changed since it was trained: on what
            it has not learnt of them, nor locked away.
        lang: the language of the report, "en" or "ru".
        watch: told of the work as it goes on.

    Raises:
        InputError: the photos or labels cannot be used; nothing was locked.
        BundleError: the run is missing or damaged.
        OutputError: the report cannot be written.
    """
    language = load_language(lang)
    with RunFolder.claim(Path(run), "evaluate"):
        model = load(run)
        openings = (model.run.openings_path,) if locked else ()
        for path in (model.run.report_path, *openings):
            check_writable(path)
        asked = find_asked(model, data, labels, photos, locked=locked, changed=changed, watch=watch)
        place, metrics_path = _choose_places(model.run, asked)
        place = place if report is None else Path(report)
        for path in (place, metrics_path):
            check_writable(path)
        predictions = asked.stored or model.answer(asked.catalog, watch=watch)
        judged = judge(model.card, predictions, asked.catalog, count_training(model))
        synthetic = is_synthetic(asked.lot.source)
        findings = find_told(model, asked.lot) if asked.is_own else asked.lot.findings
        report_on(
            model,
            judged,
            asked.lot,
            asked.catalog,
            asked.subject,
            findings,
            place,
            synthetic=synthetic,
            language=language,
        )
        evaluation = replace(
            judged.evaluate(asked.about, synthetic=synthetic),
            left_out=asked.left_out,
            report_path=place,
        )
        model.run.write_metrics(evaluation.to_dict(), metrics_path)
        if not locked:
            return evaluation
        accuracy = evaluation.accuracy
        times = model.run.add_opening(accuracy.value, accuracy.count)
        return replace(evaluation, times_opened=times)


def _choose_places(run: RunFolder, asked: Asked) -> tuple[Path, Path]:
    """Report and figures: the run's own, or beside them where other photos are judged."""
    subject = asked.subject
    if subject.kind in ("held-out", "folds"):
        return run.report_path, run.metrics_path
    name = subject.kind if subject.kind == "locked" else _name_photos(subject.data)
    return run.report_of(name), run.metrics_of(name)


def _name_photos(data: str) -> str:
    """The name of photos, without the ending of the file that they come from."""
    path = Path(data)
    return path.stem if path.suffix.lower() in _ENDINGS else data
