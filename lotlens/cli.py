"""The command line: parse, call one verb of `api`, print; nothing else."""

from __future__ import annotations

import atexit
import json
import logging
import math
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any

import typer

from lotlens.errors import InputError, LotlensError, Stopped
from lotlens.version import __version__

app = typer.Typer(
    name="lotlens",
    help="Learns to tell car models from photographs.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


class _Screen:
    """A console of rich, made when it is first needed: its import takes longer than an answer."""

    def __init__(self, *, stderr: bool) -> None:
        self._stderr = stderr

    @cached_property
    def console(self) -> Any:
        from rich.console import Console

        if self._stderr:
            return Console(stderr=True, highlight=False)
        # Tables that nobody's screen limits are read by programs, or later on a wider one.
        return Console(highlight=False, width=None if sys.stdout.isatty() else 160)

    def print(self, *what: Any, **options: Any) -> None:
        """With rich's markup, and wrapped at the screen's width."""
        self.console.print(*what, **options)

    def say(self, text: str) -> None:
        """As it is."""
        print(text, file=sys.stderr if self._stderr else sys.stdout, flush=self._stderr)


_out, _err = _Screen(stderr=False), _Screen(stderr=True)
_LOG_EVERY_S = 15
_PATIENCE_S = 0.5
"""Work that is done by then shows no bar."""
_MOST_PAIRS = 20

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Data = Annotated[Path, typer.Argument(help="Competition zip, folder, CSV, or class folders.")]
Recipe = Annotated[str, typer.Option(help="quick, standard, best, reference, or a YAML file.")]
OptionalRecipe = Annotated[
    str | None,
    typer.Option(help="quick, standard (the default), best, reference, or a YAML file."),
]
Overrides = Annotated[
    list[str] | None, typer.Option("--set", help="Change a key: stages.1.lr=3e-4 (repeatable).")
]
Workers = Annotated[
    int, typer.Option(help="Processes that augment photos; 0: between the steps.", min=0)
]
Lang = Annotated[str, typer.Option("--lang", help="Language of the report or page: en or ru.")]


def main() -> None:
    """Run a command; errors become one line and exit code 2, Ctrl-C exit code 130."""
    try:
        _run()
    except SystemExit as stop:
        # One that failed takes the usual way, which leaves the first process a moment to clear up.
        if "TORCHELASTIC_RUN_ID" in os.environ and stop.code in (None, 0):
            _leave_torchrun()
        raise


def _leave_torchrun() -> None:
    """End one of torchrun's processes without taking the interpreter and its libraries down.

    Threads that libraries leave behind (torch's, gloo's, onnxruntime's) may wake up while Python or
    the library is being dismantled, which aborts the process ("terminate called without an active
    exception"): rare, and seen on busy machines only. torchrun would then call a training failed
    that is done, and end the other processes. All that counts has been written: what is to happen
    at exit happens here, and the rest is the operating system's.
    """
    atexit._run_exitfuncs()
    with suppress(BrokenPipeError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(0)


def _run() -> None:
    logging.captureWarnings(True)
    logging.getLogger("py.warnings").setLevel(logging.ERROR)
    try:
        with _only_what_is_asked_for():
            app()
    except LotlensError as error:
        _err.say(f"error: {error}")
        sys.exit(2)
    except BrokenPipeError:
        # Whoever read our output (head, less) has left: not an error of ours.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)


@contextmanager
def _only_what_is_asked_for() -> Iterator[None]:
    """Have Typer build one command instead of all: a tenth of the time of a small answer."""
    commands = app.registered_commands
    asked = sys.argv[1] if len(sys.argv) > 1 else ""
    found = [one for one in commands if asked and _name_command(one) == asked]
    app.registered_commands = found or commands
    try:
        yield
    finally:
        app.registered_commands = commands


def _name_command(command: typer.models.CommandInfo) -> str:
    return str(command.name or getattr(command.callback, "__name__", ""))


def _show_version(wanted: bool) -> None:
    if wanted:
        _out.print(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    del version


@app.command()
def demo(
    out: Annotated[
        Path, typer.Argument(help="Folder for the lot, the run and the results.")
    ] = Path("demo"),
    seed: Annotated[int, typer.Option(help="Seed of the drawing.")] = 0,
    as_json: Json = False,
) -> None:
    """The whole way on the sample lot: draw, train, judge, submit. Needs no data and no network."""
    from lotlens import api

    with _progress(quiet=as_json) as watch:
        done = api.demonstrate(out, seed=seed, watch=watch)
    result = {
        **done.evaluation.to_dict(),
        "chosen": done.model.card.chosen,
        "run": str(done.model.run.path),
        "report": str(done.model.run.report_path),
        "submission": str(done.submission_path),
    }
    if as_json:
        _print_json(result)
        return
    _print_evaluation(done.evaluation)
    _out.print(f"\nchosen        {escape(done.model.card.chosen)}", soft_wrap=True)
    _out.print(f"model         {done.model.run.path}")
    _out.print(f"report        {done.model.run.report_path}")
    _out.print(f"submission    {done.submission_path}")
    _out.print("The sample lot is drawn, not photographed: these figures say nothing of real cars.")


@app.command()
def sample(
    out: Annotated[Path, typer.Argument(help="Folder to write the lot into.")],
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 0,
    num_train: Annotated[int, typer.Option("--train", help="Training photos.", min=40)] = 600,
    num_test: Annotated[int, typer.Option("--test", help="Test photos.", min=20)] = 200,
    sheet: Annotated[
        Path | None, typer.Option(help="Also write a contact sheet (PNG) to look at.")
    ] = None,
    overwrite: Annotated[bool, typer.Option(help="Replace a sample lot already there.")] = False,
) -> None:
    """Draw the sample lot: ten invented car models in the competition's exact layout."""
    from lotlens.photos.sample import draw_contact_sheet, draw_lot

    with _progress() as watch:
        draw_lot(
            out,
            seed=seed,
            num_train=num_train,
            num_test=num_test,
            overwrite=overwrite,
            progress=lambda done, total: watch("drawing", done, total),
        )
    if sheet is not None:
        draw_contact_sheet(out, sheet)
    _out.print(f"{num_train} training and {num_test} test photos in {out} (synthetic)")


@app.command()
def audit(
    data: Data,
    recipe: Recipe = "standard",
    overrides: Overrides = None,
    out: Annotated[Path, typer.Option(help="Folder for findings.csv and findings.html.")] = Path(
        "audit"
    ),
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with code 1 if there are errors.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Check photos and labels: broken files, copies, leaks, wrong labels, odd pictures."""
    from lotlens import api

    with _progress(quiet=as_json) as watch:
        found = api.run_audit(data, recipe, overrides=overrides or (), out=out, watch=watch)
    if as_json:
        _print_json(found.to_dict())
    else:
        _print_audit(found)
        _out.print(f"\nfindings  {out / 'findings.csv'}\npictures  {out / 'findings.html'}")
    if strict and found.num_errors:
        raise typer.Exit(1)


@app.command()
def split(
    data: Data,
    out: Annotated[Path, typer.Option(help="The file to write.")] = Path("split.csv"),
    validation: Annotated[float, typer.Option(help="Share of each class held out.")] = 0.15,
    folds: Annotated[
        int | None, typer.Option(help="Draw so many folds instead of one hold-out.")
    ] = None,
    lock: Annotated[
        float, typer.Option(help="Share put aside first, as a test part no choice ever sees.")
    ] = 0.0,
    seed: Annotated[int, typer.Option(help="The same seed gives the same split.")] = 0,
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Part photos for training; copies and photos of one listing stay on one side."""
    from lotlens import api

    with _progress(quiet=as_json) as watch:
        drawn = api.split(
            data,
            out,
            validation=validation,
            num_folds=folds,
            lock=lock,
            seed=seed,
            overrides=overrides or (),
            watch=watch,
        )
    sizes = {part: len(ids) for part, ids in drawn.parts.items()}
    if as_json:
        _print_json({"out": str(out), "seed": drawn.seed, "photos": sizes})
        return
    for part, size in sizes.items():
        _out.print(f"{part:<12} {size} photos")
    _out.print(f"written to   {out}")


@app.command()
def train(
    data: Data,
    recipe: OptionalRecipe = None,
    overrides: Overrides = None,
    out: Annotated[
        Path | None, typer.Option(help="Run folder; default runs/DATA-RECIPE-N.")
    ] = None,
    split_path: Annotated[
        Path | None,
        typer.Option("--split", help="Use this split.csv; if it is not there, draw and write it."),
    ] = None,
    lock: Annotated[
        float | None, typer.Option(help="Share put aside as a test part; the same as --set lock=.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the training in --out, if there is one.")
    ] = False,
    workers: Workers = 0,
    lang: Lang = "en",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show the recipe, its layer groups and times.")
    ] = False,
    plot: Annotated[
        Path | None, typer.Option(help="With --dry-run: draw the learning rate, .png or .svg.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Train a model; validation photos are held out and never augmented."""
    from lotlens import api

    overrides = [*(overrides or ()), *([] if lock is None else [f"lock={lock}"])]
    if dry_run:
        with _progress(quiet=as_json) as watch:
            planned = api.plan(
                data,
                recipe or "standard",
                overrides=overrides,
                split_path=split_path,
                plot=plot,
                watch=watch,
            )
        _print_plan(planned, as_json=as_json)
        return
    if plot is not None:
        raise InputError("--plot draws what a --dry-run plans: give both")
    is_first = api.is_first_process()
    with _progress(quiet=as_json) if is_first else nullcontext() as watch:
        model = api.train(
            data,
            recipe,
            overrides=overrides,
            out=out,
            split_path=split_path,
            resume=resume,
            num_workers=workers,
            lang=lang,
            watch=watch,
        )
    if not is_first:
        return
    card = model.card
    if as_json:
        _print_json({"run": str(model.run.path), "card": card.to_dict()})
        return
    for metric in card.metrics:
        _out.print(_metric_line(metric))
    _out.print(f"chosen        {escape(card.chosen)}", soft_wrap=True)
    _out.print(_views_line(model))
    _out.print(f"report        {model.run.report_path}")
    _out.print(f"next          lotlens predict {model.run.path} --out submission.csv")


@app.command()
def sweep(
    data: Data,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            "--vary", help="KEY=V1,V2,...: what is tried; the product of all (repeatable)."
        ),
    ] = None,
    seeds: Annotated[int, typer.Option(help="Runs of each combination.", min=1)] = 3,
    recipe: OptionalRecipe = None,
    overrides: Overrides = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder; default sweeps/DATA-RECIPE-KEYS.")
    ] = None,
    split_path: Annotated[
        Path | None, typer.Option("--split", help="Use this split.csv for every run.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Train every combination with several seeds on one split, and test which is better."""
    from lotlens import sweep as sweeps

    with _progress(quiet=as_json, again="the same command") as watch:
        done = sweeps.run_sweep(
            data,
            vary or (),
            recipe,
            overrides=overrides or (),
            num_seeds=seeds,
            out=out,
            split_path=split_path,
            watch=watch,
        )
    if as_json:
        _print_json(done.to_dict())
    else:
        _print_sweep(done)
        _out.print(f"\n{sweeps.CAUTION}", soft_wrap=True)
    if done.failed:
        raise typer.Exit(1)


@app.command("lr-find")
def lr_find(
    data: Data,
    recipe: Recipe = "standard",
    overrides: Overrides = None,
    stage: Annotated[
        int | None, typer.Option(help="Stage, from 0; default the first of fine-tuning.")
    ] = None,
    steps: Annotated[int, typer.Option(help="Optimiser steps.", min=10)] = 100,
    out: Annotated[Path, typer.Option(help="The plot, .png or .svg.")] = Path("lr-find.png"),
    as_json: Json = False,
) -> None:
    """Learning-rate range test: ever higher rates, and where the loss falls fastest."""
    from lotlens import api

    with _progress(quiet=as_json) as watch:
        curve = api.find_rate(
            data,
            recipe,
            overrides=overrides or (),
            stage=stage,
            num_steps=steps,
            out=out,
            watch=watch,
        )
    if as_json:
        values = {"suggestion": curve.suggestion, "note": curve.note, "plot": str(out)}
        _print_json({**values, "rates": curve.rates, "losses": curve.losses})
        return
    suggestion = "none" if curve.suggestion is None else f"{curve.suggestion:.1e}"
    _out.print(f"suggestion    {suggestion}  (good to a factor of two or so)")
    _out.print(f"note          {escape(curve.note)}", soft_wrap=True)
    _out.print(f"plot          {out}")


@app.command()
def evaluate(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    data: Annotated[
        Path | None, typer.Argument(help="Labelled photos; default the run's validation part.")
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="CSV of ids and labels.")] = None,
    photos: Annotated[Path | None, typer.Option(help="Zip or folder of their photos.")] = None,
    report: Annotated[Path | None, typer.Option(help="Where the HTML report goes.")] = None,
    locked: Annotated[
        bool, typer.Option("--locked", help="Judge on the locked part; each time is written down.")
    ] = False,
    lang: Lang = "en",
    as_json: Json = False,
) -> None:
    """Judge a model: accuracy with its 95 % interval, classes, confusions, a report."""
    from lotlens import api

    with _progress(quiet=as_json) as watch:
        evaluation = api.evaluate(
            run,
            data,
            labels=labels,
            photos=photos,
            report=report,
            locked=locked,
            lang=lang,
            watch=watch,
        )
    if as_json:
        _print_json(evaluation.to_dict())
        return
    _print_evaluation(evaluation)
    if evaluation.times_opened > 1:
        _out.print(
            f"\n[bold]the locked part was opened {evaluation.times_opened} times: a choice made by"
            " its results makes them too good[/bold]",
            soft_wrap=True,
        )
    _out.print(f"\nreport  {report or run / 'report.html'}")


@app.command()
def compare(
    first: Annotated[Path, typer.Argument(help="Run folder.")],
    second: Annotated[Path, typer.Argument(help="Another run folder.")],
    data: Annotated[
        Path | None,
        typer.Argument(help="Labelled photos; default those that both held out of training."),
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="CSV of ids and labels.")] = None,
    photos: Annotated[Path | None, typer.Option(help="Zip or folder of their photos.")] = None,
    locked: Annotated[
        bool, typer.Option("--locked", help="On the locked part; each time is written down.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Which of two models is better on the same photos, and how surely; by class too."""
    from lotlens import api

    with _progress(quiet=as_json) as watch:
        compared = api.compare(
            first, second, data, labels=labels, photos=photos, locked=locked, watch=watch
        )
    if as_json:
        _print_json(compared.to_dict())
    else:
        _print_compared(compared)


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    photos: Annotated[
        list[Path] | None,
        typer.Argument(help="Folders, zips, files; default the test part of the run's data."),
    ] = None,
    out: Annotated[Path, typer.Option(help="The submission file to write.")] = Path(
        "submission.csv"
    ),
    sample_path: Annotated[
        Path | None,
        typer.Option("--sample", help="sample-submission.csv: exactly its rows, in its order."),
    ] = None,
    fill: Annotated[
        bool, typer.Option("--fill", help="Give unreadable ids the commonest class.")
    ] = False,
    details: Annotated[
        Path | None, typer.Option(help="Also a CSV with probabilities and reasons.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Answer for photos and write a submission file; the same command goes on after a stop."""
    from lotlens.model import write_answers

    rows: list[dict[str, Any]] = []
    with _progress(quiet=as_json, again="the same command") as watch:
        written = write_answers(
            run,
            photos or None,
            out=out,
            sample=sample_path,
            fill=fill,
            details=details,
            keep=rows.extend if as_json else None,
            watch=watch,
        )
    if as_json:
        records = [{key: _plain(value) for key, value in row.items()} for row in rows]
        _print_json({"out": str(out), "verdicts": written.verdicts, "photos": records})
        return
    silent = written.silent
    _out.say(f"{written.num_photos - len(silent)} photos answered, written to {out}")
    told = ", ".join(f"{kind} {count}" for kind, count in written.verdicts.items())
    _out.say(f"verdicts: {told}" + ("" if details else "  (--details FILE has one for each)"))
    for id_, reason in silent[:10]:
        _out.say(f"  no answer for {id_}: {reason}")
    if len(silent) > 10:
        _out.say(f"  and {len(silent) - 10} more")


@app.command()
def export(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    engine: Annotated[
        str, typer.Option("--format", help="onnx, or openvino (needs lotlens[openvino]).")
    ] = "onnx",
    int8: Annotated[
        bool, typer.Option("--int8", help="Eight bits wherever the answers stay the same.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="The folder to write; default in the run's exports/.")
    ] = None,
    same: Annotated[
        float | None,
        typer.Option(help="Least share of same answers; default 0.9 with --int8, else 0.99."),
    ] = None,
    lost: Annotated[
        float, typer.Option(help="Most accuracy that may be lost on photos held out of training.")
    ] = 0.01,
    as_json: Json = False,
) -> None:
    """Write a bundle that answers without torch, if it answers as the run does, photo by photo."""
    from lotlens.deliver.parity import EXACT, ROUGH
    from lotlens.export import export as export_run

    usual = ROUGH if int8 else EXACT
    limits = replace(usual, same=usual.same if same is None else same, lost=lost)
    with _progress(quiet=as_json) as watch:
        done = export_run(
            run,
            engine=engine,
            precision="int8" if int8 else "fp32",
            out=out,
            limits=limits,
            watch=watch,
        )
    if as_json:
        _print_json(done.to_dict())
    else:
        _print_export(done)


@app.command()
def views(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    tried: Annotated[
        str | None,
        typer.Option(
            "--try", help="Views that may be adopted, such as mirror,closer; default all."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Choose a finished run's test-time views anew: what helps on its validation photos."""
    from lotlens import api

    names = None if tried is None else [name.strip() for name in tried.split(",")]
    with _progress(quiet=as_json) as watch:
        choice = api.adopt_views(run, names, watch=watch)
    if as_json:
        _print_json(choice.to_dict())
        return
    _print_view_trials(choice)
    _out.print(f"\n{_views_line(choice.model)}; before: {', '.join(choice.before)}")
    _out.print(f"report        {choice.model.run.report_path}")


@app.command()
def ensemble(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, two or more.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for the ensemble; default runs/DATA-ensemble-N.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Let several runs answer together if that helps; exit code 1, and nothing written, if not."""
    from lotlens.ensemble import build_ensemble

    trial = build_ensemble(runs, out)
    if as_json:
        _print_json(trial.to_dict())
    else:
        _print_ensemble_trial(trial)
    if trial.model is None:
        raise typer.Exit(1)


@app.command()
def refusal(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    negatives: Annotated[
        list[Path] | None,
        typer.Option(help="Photos of no car, or of its inside: folder, zip, file (repeatable)."),
    ] = None,
    unknown: Annotated[
        list[Path] | None,
        typer.Option(help="Photos of car models that it does not know (repeatable)."),
    ] = None,
    answered: Annotated[
        float, typer.Option(help="Share of photos of known models that are to pass.")
    ] = 0.95,
    wrong: Annotated[
        float | None,
        typer.Option(help="Instead: the share of such photos that may pass all the same."),
    ] = None,
    cost: Annotated[float, typer.Option(help="Of a wrong answer, in any unit.")] = 1.0,
    gain: Annotated[float, typer.Option(help="Of a right answer, in the same unit.")] = 1.0,
    coverage: Annotated[
        float, typer.Option(help="Share of photos whose candidates hold the truth.")
    ] = 0.95,
    as_json: Json = False,
) -> None:
    """Choose when a model refuses: compare the methods, store the thresholds in its card."""
    from lotlens import api

    with _progress(quiet=as_json) as watch:
        chosen = api.set_refusal(
            run,
            negatives=negatives or None,
            unknown=unknown or None,
            answered=answered,
            wrong=wrong,
            cost=cost,
            gain=gain,
            coverage=coverage,
            watch=watch,
        )
    if as_json:
        _print_json(chosen.to_dict())
        return
    heads = ("photos", "AUROC", "95 % interval", f"accepted at {answered:.0%}", "95 % interval")
    table = _table("photos of", "method", *heads)
    for row in chosen.comparison:
        table.add_row(
            escape(row.strangers),
            row.method,
            str(row.auroc.count),
            f"{row.auroc.value:.3f}",
            f"{row.auroc.low:.3f} to {row.auroc.high:.3f}",
            f"{row.accepted.value:.3f}",
            f"{row.accepted.low:.3f} to {row.accepted.high:.3f}",
        )
    _out.print(table)
    _out.print()
    for gate in chosen.refusal.gates:
        strangers = gate.strangers
        _out.print(
            f"{gate.refuses:<13} {gate.method} of {gate.threshold:.4g} or more passes:"
            f" {gate.known.value:.3f} of {gate.known.count} known photos"
            + (f", {strangers.value:.3f} of {strangers.count} others" if strangers else ""),
            soft_wrap=True,
        )
    _out.print(f"one model     is named with a probability above {chosen.refusal.sure:.2f}")
    _out.print(f"card          {run / 'card.json'}")


@app.command()
def doubts(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    top: Annotated[int, typer.Option(help="How many to print.", min=0)] = 10,
    as_json: Json = False,
) -> None:
    """Find labelled photos worth a second look: labels that look wrong, answers that are unsure."""
    from lotlens import evidence

    with _progress(quiet=as_json, again=f"lotlens doubts {run} once more") as watch:
        found = evidence.doubt(run, watch=watch)
    if as_json:
        _print_json(found.to_dict())
        return
    _out.print(f"answered by    {escape(found.how)}", soft_wrap=True)
    _out.print(
        f"out of fold    {found.accuracy:.3f} of {len(found.evidence.ids):,} photos are answered as"
        " they are labelled",
        soft_wrap=True,
    )
    _out.print(f"doubts         {len(found.doubts):,} photos")
    for reason, count in found.count().items():
        _out.print(f"  {reason:<22} {count:,}")
    if found.num_settled:
        _out.print(f"decided        {found.num_settled:,} photos, which are left out here")
    for doubt in found.doubts[:top]:
        _out.print(
            f"  {escape(doubt.photo_id)}: labelled {escape(found.names[doubt.label])}"
            f" ({doubt.own_probability:.2f}), rather {escape(found.names[doubt.suggested])}"
            f" ({doubt.probability:.2f}); {', '.join(doubt.reasons)}",
            soft_wrap=True,
        )
    _out.print(f"table          {found.path}", soft_wrap=True)
    _out.print(f"next           lotlens review {run}", soft_wrap=True)


@app.command()
def improve(
    run: Annotated[Path, typer.Argument(help="Run folder to begin with; it stays as it is.")],
    outside: Annotated[
        Path | None,
        typer.Option(help="Photos to vet and add: a folder per class, a CSV with photos, a zip."),
    ] = None,
    hard: Annotated[
        bool, typer.Option("--hard", help="Show the photos more often that it fails on.")
    ] = False,
    anew: Annotated[
        bool | None,
        typer.Option(
            "--anew/--continue",
            help="Train from the start of the recipe, or go on from the run's weights in a short"
            " stage of a low rate. Default: anew where photos or labels change.",
        ),
    ] = None,
    rule: Annotated[
        str,
        typer.Option(
            help="When the candidate is accepted: 'better', or 'failing': not worse on all photos"
            " and better on the failing classes."
        ),
    ] = "better",
    most: Annotated[int | None, typer.Option(help="Outside photos to add at most.", min=0)] = None,
    trust_labels: Annotated[
        bool, typer.Option("--trust-labels", help="Believe the labels of outside photos.")
    ] = False,
    out: Annotated[Path | None, typer.Option(help="Run folder of the candidate.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with a round in --out that was stopped.")
    ] = False,
    workers: Workers = 0,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Vet and plan; train and write nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Train a candidate that learns more: decisions on doubts, outside photos, hard examples.

    A gate compares it with the run on photos that neither has learnt, and says which to use.
    """
    from lotlens import rounds

    wishes: dict[str, Any] = {
        "outside": outside,
        "hard": hard,
        "anew": anew,
        "rule": rule,
        "most": most,
        "trust_labels": trust_labels,
    }
    again = f"lotlens improve {run} --out {out or 'CANDIDATE'} --resume"
    show = None if as_json else _print_round_plan
    with _progress(quiet=as_json, again=again) as watch:
        if dry_run:
            plan = rounds.plan_round(run, **wishes, watch=watch)
        else:
            done = rounds.improve(
                run,
                **wishes,
                out=out,
                resume=resume,
                num_workers=workers,
                show=show,
                watch=watch,
            )
    if dry_run:
        if as_json:
            _print_json(plan.to_dict())
        else:
            _print_round_plan(plan)
        return
    if as_json:
        _print_json(done.to_dict())
        return
    _out.print(f"gate          {escape(done.judgement.sentence)}", soft_wrap=True)
    _out.print(f"candidate     {done.model.run.path}", soft_wrap=True)
    _out.print(f"rounds        {done.model.run.rounds_path}", soft_wrap=True)
    _out.print(f"use           {done.best}", soft_wrap=True)


@app.command("rounds")
def rounds_(
    run: Annotated[Path, typer.Argument(help="Run folder.")], as_json: Json = False
) -> None:
    """Show the rounds of improvement that led to a run, and those that began with it."""
    from lotlens import rounds

    rows = rounds.list_rounds(run)
    if as_json:
        _print_json([dict(row) for row in rows])
        return
    table = _table("round", "run", "began with", "what", "before", "after", "difference", "gate")
    for row in rows:
        low, difference, high = (100 * float(row[key]) for key in ("Low", "Difference", "High"))
        table.add_row(
            row["Round"],
            escape(row["Run"]),
            escape(row["Parent"]),
            escape(row["What"]),
            row["Before"],
            row["After"],
            f"{difference:+.1f} points ({low:.1f} to {high:.1f})",
            "accepted" if row["Accepted"] == "yes" else "rejected",
        )
    _out.print(table)
    _out.print(f"picture       {run / 'rounds.svg'}", soft_wrap=True)


@app.command()
def review(
    run: Annotated[Path, typer.Argument(help="Run folder with doubts.csv.")],
    port: Annotated[
        int, typer.Option(help="Port to serve at; 0 for any that is free.", min=0, max=65535)
    ] = 8000,
    host: Annotated[
        str, typer.Option(help="Address to serve at; others than the default let the network in.")
    ] = "127.0.0.1",
    lang: Lang = "en",
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Only print the address, open nothing.")
    ] = False,
) -> None:
    """Review doubts on a local page, by keyboard; decisions lie beside the data."""
    import webbrowser

    from lotlens import api

    def tell(page: api.Served) -> None:
        if page.is_open_to_network:
            _err.print(
                f"warning: served at {escape(host)}, so whoever reaches this machine over the"
                " network sees the photos and can decide on them; there is no password",
                soft_wrap=True,
            )
        _out.print(f"doubts     {page.num_doubts}")
        _out.print(f"page       {page.address}", soft_wrap=True)
        _out.print("Ctrl-C ends it; every decision is saved as it is taken.")
        sys.stdout.flush()  # a program that waits for the address reads it through a pipe
        if not no_browser and _has_screen():
            webbrowser.open(page.address)

    path = api.review(run, host=host, port=port, lang=lang, ready=tell)
    _out.print(f"decisions  {path}", soft_wrap=True)


def _has_screen() -> bool:
    """Whether a browser can open; without a screen one of text would take over this terminal."""
    is_x = os.name == "posix" and sys.platform != "darwin"
    return not is_x or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _table(*heads: str) -> Any:
    from rich.table import Table

    return Table(*heads, box=None, pad_edge=False)


def escape(text: str) -> str:
    """What rich would take for markup, as it is."""
    from rich import markup

    return markup.escape(text)


@contextmanager
def _progress(*, quiet: bool = False, again: str = "") -> Iterator[Any]:
    """How far the work is and the time left, on standard error: bars, or lines where nobody looks.

    `again` says how to go on after Ctrl-C, if not by `train --resume`.
    """
    teller: Any = nullcontext(_tell_nobody)
    if not quiet:
        teller = _show_bars() if sys.stderr.isatty() else nullcontext(_Log())
    try:
        with teller as watch:
            yield watch
    except Stopped as stopped:
        run = escape(str(stopped.run_path))
        _err.print(
            f"stopped; go on with  {again or f'lotlens train DATA --out {run} --resume'}",
            soft_wrap=True,
        )
        raise
    except KeyboardInterrupt:
        # Typer ends with exit code 130 by itself, but without a word.
        _err.print("stopped; files already written are whole, unfinished ones were left out")
        if again:
            _err.print(f"go on with  {again}")
        raise


def _tell_nobody(what: str, done: int, total: int) -> None:
    pass


class _Log:
    """Lines for a log: at the beginning of each kind of work, and now and then.

    A bar that nobody sees would leave the log of a night's run empty.
    """

    def __init__(self) -> None:
        self._begun: dict[str, tuple[float, int]] = {}
        self._latest: dict[str, int] = {}
        self._said_s = 0.0

    def __call__(self, what: str, done: int, total: int) -> None:
        now_s = time.monotonic()
        is_new = done < self._latest.get(what, done + 1)
        if is_new:  # or the same work once more: of the next stage, of a sweep's next run
            self._begun[what] = (now_s, done)
        self._latest[what] = done
        if is_new or now_s - self._said_s > _LOG_EVERY_S:
            self._said_s = now_s
            _err.say(f"{what}: {done} of {total}{self._tell_left(what, done, total, now_s)}")

    def _tell_left(self, what: str, done: int, total: int, now_s: float) -> str:
        begun_s, first = self._begun[what]
        if done >= total:
            return ", 0.0 min left"
        if done <= first or now_s <= begun_s:
            return ""
        left_s = (now_s - begun_s) * (total - done) / (done - first)
        return f", {left_s / 60:.1f} min left"


@contextmanager
def _show_bars() -> Iterator[Any]:
    """Bars, one per kind of work, once it has taken a moment."""
    begun_s = time.monotonic()
    latest: dict[str, tuple[int, int]] = {}
    bars: Any = None
    tasks: dict[str, Any] = {}

    def watch(what: str, done: int, total: int) -> None:
        nonlocal bars
        latest[what] = (done, total)
        if bars is None:
            if time.monotonic() - begun_s < _PATIENCE_S:
                return
            bars = _build_bars()
            bars.start()
        for name, (so_far, whole) in latest.items():
            if name not in tasks:
                tasks[name] = bars.add_task(name, total=whole)
            elif so_far < bars.tasks[tasks[name]].completed:
                bars.reset(tasks[name])  # the same work of the next stage, of a sweep's next run
            bars.update(tasks[name], completed=so_far, total=whole)
        latest.clear()

    try:
        yield watch
    finally:
        if bars is not None:
            bars.stop()


def _build_bars() -> Any:
    from rich import progress

    return progress.Progress(
        progress.TextColumn("{task.description:<24}"),
        progress.BarColumn(),
        progress.MofNCompleteColumn(),
        progress.TimeElapsedColumn(),
        progress.TextColumn("left"),
        progress.TimeRemainingColumn(elapsed_when_finished=False),
        console=_err.console,
    )


def _plain(value: Any) -> Any:
    """JSON has no NaN."""
    return None if isinstance(value, float) and math.isnan(value) else value


def _print_json(values: Any) -> None:
    # Plain print: a console would wrap long lines and break them.
    sys.stdout.write(json.dumps(values, ensure_ascii=False, indent=2) + "\n")


def _metric_line(metric: Any) -> str:
    return (
        f"{metric.name:<13} {metric.value:.4f}  (95 % interval {metric.low:.4f} to"
        f" {metric.high:.4f}, {metric.count} photos)"
    )


def _views_line(model: Any) -> str:
    count = model.num_answers
    times = "once" if count == 1 else f"{count} times"
    return f"test views    {', '.join(model.card.views)}: each photo is answered {times}"


def _print_view_trials(choice: Any) -> None:
    heads = ("accuracy", "log loss", "falls by", "95 % interval", "p", "below", "adopted")
    table = _table("view", *heads)
    for trial in choice.trials[:1]:
        plain = trial.gain
        table.add_row("whole", f"{plain.accuracy_before:.3f}", f"{plain.loss_before:.4f}")
    for trial in choice.trials:
        gain = trial.gain
        table.add_row(
            f"+ {trial.view}",
            f"{gain.accuracy:.3f}",
            f"{gain.loss:.4f}",
            f"{gain.value:+.4f}",
            f"{gain.low:+.4f} to {gain.high:+.4f}",
            f"{gain.p:.2g}",
            f"{trial.limit:.2g}",
            "yes" if trial.is_adopted else "no",
        )
    _out.print(table)
    _out.print(
        f"\n{choice.num_photos} validation photos, which chose: the figures flatter a little. Each"
        " row stands beside the views adopted above it; every view is one more run of the model",
        soft_wrap=True,
    )


def _print_ensemble_trial(trial: Any) -> None:
    from lotlens.judge.gain import describe_gain

    blend = trial.blend
    heads = ("accuracy", "log loss", "together", "falls by", "95 % interval", "p", "below")
    table = _table("run", *heads, "share")
    tried = {one.number: one for one in blend.trials}
    for number in (blend.best, *tried):
        row = [
            str(number + 1),
            f"{blend.accuracies[number]:.3f}",
            f"{blend.log_losses[number]:.4f}",
        ]
        if number in tried:
            one = tried[number]
            row += [f"{one.gain.accuracy:.3f}", f"{one.gain.value:+.4f}"]
            row += [f"{one.gain.low:+.4f} to {one.gain.high:+.4f}"]
            row += [f"{one.gain.p:.2g}", f"{one.limit:.2g}"]
        else:
            row += ["-"] * 5
        share = blend.shares[number]
        table.add_row(*row, f"{share:.2f}" if share else "left out")
    for number, path in enumerate(trial.runs, start=1):
        _out.print(f"{number:>3}  {escape(str(path))}", soft_wrap=True)
    _out.print()
    _out.print(table)
    _out.print(
        f"\n{trial.num_photos} validation photos. The best run comes first, each other beside"
        " those adopted above it: accuracy together, and by how much the log loss falls",
        soft_wrap=True,
    )
    if trial.model is None:
        _out.print("not adopted: no run helps the best one beyond noise; nothing was written")
        return
    _out.print(f"against the best run alone, {describe_gain(blend.gain)}", soft_wrap=True)
    _out.print(f"adopted       each photo is answered {trial.model.num_answers} times")
    _out.print(f"run           {trial.model.run.path}")
    _out.print(f"next          lotlens predict {trial.model.run.path} --out submission.csv")


def _print_export(done: Any) -> None:
    parity = done.parity
    _out.print(
        f"compared with torch on {parity.num_photos} photos held out of training and"
        f" {parity.num_made} made to be read wrongly"
    )
    for name, share in (("same answers", parity.same), ("same verdicts", parity.verdicts)):
        _out.print(
            f"  {name:<14} {share.value:.4f}  (95 % interval {share.low:.4f} to {share.high:.4f})"
        )
    _out.print(f"  logits         differ by {parity.largest:.2g} at most")
    if parity.before is not None:
        _out.print(
            f"  accuracy       {parity.before:.4f}, exported {parity.after:.4f} (95 % interval of"
            f" the difference {100 * parity.low:+.1f} to {100 * parity.high:+.1f} points)"
        )
    if done.kept:
        _out.print(f"  in 32 bits     {len(done.kept)} layers that eight bits distort most")
    _out.print(f"written       {done.path} ({done.num_bytes / 1e6:.1f} MB)", soft_wrap=True)
    _out.print(f"photo by photo {done.path / 'parity.csv'}", soft_wrap=True)
    _out.print(f"next          lotlens predict {done.path} PHOTOS", soft_wrap=True)


def _print_plan(planned: Any, *, as_json: bool) -> None:
    import yaml

    stages = [
        {
            "kind": stage.kind,
            "trained": list(stage.trained),
            "frozen": list(stage.frozen),
            "epochs": stage.num_epochs,
            "steps": stage.num_steps,
            "seconds": round(stage.seconds, 1),
        }
        for stage in planned.stages
    ]
    values = planned.recipe.to_dict()
    if as_json:
        photos = {"train": planned.num_train, "validation": planned.num_validation}
        models = {"models": planned.num_models, "stages": stages}
        _print_json({"recipe": values, "photos": photos, **models})
        return
    _out.print(escape(yaml.safe_dump(values, allow_unicode=True, sort_keys=False)), soft_wrap=True)
    counts = f"{planned.num_train} photos to train on, {planned.num_validation} to validate"
    many = planned.num_models > 1
    _out.print(f"{planned.num_models} folds, in the first {counts}" if many else counts)
    table = _table("stage", "trained", "frozen", "epochs", "steps", "min")
    for number, stage in enumerate(stages):
        table.add_row(
            f"{number} {stage['kind']}",
            " ".join(stage["trained"]),
            " ".join(stage["frozen"]) or "-",
            str(stage["epochs"] or "-"),
            str(stage["steps"] or "-"),
            f"{stage['seconds'] / 60:.1f}",
        )
    _out.print(table)
    total_s = planned.num_models * sum(stage["seconds"] for stage in stages)
    _out.print(f"about {total_s / 60:.1f} minutes in all, from a short measurement here")


_PLAN_KEYS = ("class", "recall", "train", "offered", "admitted", "added", "weight", "why")
_JUDGED_ON = {
    "locked": "the locked part",
    "folds": "the answers out of fold",
    "validation": "the validation photos, by which the weights of both were chosen: a locked part"
    " (train with --set lock=0.15) or folds would be untouched",
}


def _print_round_plan(plan: Any) -> None:
    _out.print(f"round         {plan.number}: {plan.what}", soft_wrap=True)
    if plan.relabelled or plan.left_out:
        _out.print(
            f"decisions     {len(plan.relabelled)} relabelled, {len(plan.left_out)} left out"
        )
    if plan.vetting is not None:
        offered = plan.vetting.plan
        _out.print(
            f"outside       {offered.num_offered:,} offered, {offered.num_admitted:,} admitted,"
            f" {len(offered.additions):,} added"
        )
        reasons = Counter(one.reason for one in plan.vetting.vetted if not one.admitted)
        for reason, count in reasons.most_common():
            _out.print(f"  {reason:<22} {count:,}")
        table = _table(*("learnt now" if key == "train" else key for key in _PLAN_KEYS))
        for row in offered.to_rows():
            cells = ("" if row[key] is None else str(row[key]) for key in _PLAN_KEYS)
            table.add_row(*map(escape, cells))
        _out.print(table)
    if plan.num_hard:
        _out.print(f"hard          {plan.num_hard:,} photos are shown half again as often, or more")
    how = "anew, by recipe" if plan.is_anew else "on from the run, by recipe"
    _out.print(f"trained       {how} {escape(plan.recipe.name)}", soft_wrap=True)
    _out.print(f"judged on     {_JUDGED_ON[plan.judged_on]}; rule: {plan.rule}", soft_wrap=True)


def _print_audit(found: Any) -> None:
    from lotlens.audit.checks import CHECKS

    train, test = found.num_photos["train"], found.num_photos["test"]
    _out.print(f"looked at {train} training and {test} test photos")
    counts = found.count()
    if not counts:
        _out.print("nothing found")
        return
    table = _table("check", "severity", "found", "training", "what")
    for check, count in counts.items():
        actions = {"drop": "leaves out", "group": "keeps together", "keep": "keeps"}
        table.add_row(
            check,
            CHECKS[check].severity,
            str(count),
            actions[found.actions[check]],
            CHECKS[check].meaning,
        )
    _out.print()
    _out.print(table)
    _out.print(
        f"\n{found.num_errors} errors; training leaves out {len(found.dropped)} photos and keeps"
        f" {len(found.groups)} copies together",
        soft_wrap=True,
    )


def _print_sweep(done: Any) -> None:
    # Names may be too long for a table: it has numbers for them.
    number_of = {row.variant: str(number) for number, row in enumerate(done.summary, start=1)}
    for name, number in number_of.items():
        _out.print(f"{number:>3}  {escape(name)}", soft_wrap=True)
    _out.print()
    heads = ("accuracy", "95 % interval", "deviation", "lowest", "highest", "seeds", "min")
    table = _table("variant", *heads)
    for row in done.summary:
        table.add_row(
            f"{number_of[row.variant]:>3}",
            f"{row.accuracy:.4f}",
            f"{row.low:.3f} to {row.high:.3f}",
            "-" if row.deviation is None else f"{row.deviation:.4f}",
            f"{row.lowest:.4f}",
            f"{row.highest:.4f}",
            str(row.num_seeds),
            f"{row.minutes:.1f}",
        )
    _out.print(table)
    pair_heads = ("points", "95 % interval", "p", "p (Holm)", "verdict")
    pairs = _table("variants", *pair_heads)
    surest = sorted(done.comparisons, key=lambda pair: (pair.p_holm, pair.p))
    for pair in surest[:_MOST_PAIRS]:
        pairs.add_row(
            f"{number_of[pair.first]} less {number_of[pair.second]}",
            f"{100 * pair.difference:+.1f}",
            f"{100 * pair.low:+.1f} to {100 * pair.high:+.1f}",
            f"{pair.p:.2g}",
            f"{pair.p_holm:.2g}",
            pair.verdict,
        )
    if surest:
        _out.print()
        _out.print(pairs)
    if len(surest) > _MOST_PAIRS:
        _out.print(f"and {len(surest) - _MOST_PAIRS} more pairs in comparisons.csv")
    for run in done.failed:
        _out.print(f"\nfailed  {escape(str(run.path))}: {escape(run.reason)}", soft_wrap=True)
    _out.print()
    for sentence in done.conclusion:
        _out.print(escape(sentence), soft_wrap=True)
    _out.print(f"\nMLflow    {escape(done.tracking)}", soft_wrap=True)
    _out.print(f"tables    {done.path / 'runs.csv'}, summary.csv, comparisons.csv", soft_wrap=True)
    if done.summary:
        _out.print(f"picture   {done.path / 'sweep.svg'}", soft_wrap=True)


def _print_compared(compared: Any) -> None:
    found = compared.result
    pair = found.pair
    _out.print(f"compared on {escape(compared.about)}", soft_wrap=True)
    _out.print(f"  A  {escape(pair.first)}  accuracy {found.first:.4f}", soft_wrap=True)
    _out.print(f"  B  {escape(pair.second)}  accuracy {found.second:.4f}", soft_wrap=True)
    _out.print(
        f"A less B      {100 * pair.difference:+.1f} points (95 % interval"
        f" {100 * pair.low:+.1f} to {100 * pair.high:+.1f}), McNemar's exact p = {pair.p:.2g}"
    )
    _out.print(f"only A right  {found.only_first} photos\nonly B right  {found.only_second} photos")
    heads = ("photos", "A", "B", "points", "95 % interval", "p (Holm)", "verdict on A")
    table = _table("class", *heads)
    for one in found.classes:
        if one.pair is None:
            table.add_row(escape(one.car.name), "0", *["-"] * 6)
            continue
        table.add_row(
            escape(one.car.name),
            str(one.pair.num_photos),
            f"{one.first:.3f}",
            f"{one.second:.3f}",
            f"{100 * one.pair.difference:+.1f}",
            f"{100 * one.pair.low:+.1f} to {100 * one.pair.high:+.1f}",
            f"{one.pair.p_holm:.2g}",
            one.pair.verdict,
        )
    _out.print()
    _out.print(table)
    _out.print(f"\n{escape(compared.conclusion)}", soft_wrap=True)


def _print_evaluation(evaluation: Any) -> None:
    _out.print(f"judged on {escape(evaluation.about)}", soft_wrap=True)
    if evaluation.synthetic:
        _out.print("[bold]synthetic photos: drawn, not real cars[/bold]")
    for metric in evaluation.metrics:
        _out.print(_metric_line(metric), soft_wrap=True)
    table = _table("class", "photos", "recall", "precision", "F1")
    for row in evaluation.to_frame().itertuples():
        figures = ["-" if v is None or math.isnan(v) else f"{v:.3f}" for v in row[4:7]]
        table.add_row(escape(str(row.name)), str(row.photos), *figures)
    _out.print()
    _out.print(table)
    if evaluation.pairs:
        _out.print("\nmost confused")
    for pair in evaluation.pairs[:5]:
        true, predicted = escape(pair.true.name), escape(pair.predicted.name)
        _out.print(f"  {true} taken for {predicted}: {pair.count} ({pair.share:.0%})")


if __name__ == "__main__":
    main()
