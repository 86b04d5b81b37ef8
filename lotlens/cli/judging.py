"""Commands that judge finished runs, and settle how they answer."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import typer

import lotlens
from lotlens.cli.options import Json, Labels, Lang, Photos, Run
from lotlens.cli.progress import show_progress
from lotlens.cli.screen import (
    OUT,
    build_table,
    escape,
    format_metric,
    format_next,
    format_views,
    print_json,
)

Changed = Annotated[
    bool,
    typer.Option("--changed", help="The run's data have changed: judge what it has not learnt."),
]


def evaluate(
    run: Run,
    data: Annotated[
        Path | None, typer.Argument(help="Labelled photos; default the run's validation part.")
    ] = None,
    labels: Labels = None,
    photos: Photos = None,
    report: Annotated[Path | None, typer.Option(help="Where the HTML report goes.")] = None,
    locked: Annotated[
        bool, typer.Option("--locked", help="Judge on the locked part; each time is written down.")
    ] = False,
    changed: Changed = False,
    lang: Lang = "en",
    as_json: Json = False,
) -> None:
    """Judge a model: accuracy with its 95 % interval, classes, confusions, a report."""
    with show_progress(quiet=as_json) as watch:
        evaluation = lotlens.evaluate(
            run,
            data,
            labels=labels,
            photos=photos,
            report=report,
            locked=locked,
            changed=changed,
            lang=lang,
            watch=watch,
        )
    if as_json:
        print_json(evaluation.to_dict())
        return
    print_evaluation(evaluation)
    if evaluation.times_opened > 1:
        OUT.print(
            f"\n[bold]the locked part was opened {evaluation.times_opened} times: a choice made by"
            " its results makes them too good[/bold]",
            soft_wrap=True,
        )
    OUT.print(f"\nreport  {escape(evaluation.report_path)}")


def compare(
    first: Annotated[Path, typer.Argument(help="Run folder.")],
    second: Annotated[Path, typer.Argument(help="Another run folder.")],
    data: Annotated[
        Path | None,
        typer.Argument(help="Labelled photos; default those that both held out of training."),
    ] = None,
    labels: Labels = None,
    photos: Photos = None,
    locked: Annotated[
        bool, typer.Option("--locked", help="On the locked part; each time is written down.")
    ] = False,
    changed: Changed = False,
    as_json: Json = False,
) -> None:
    """Which of two models is better on the same photos, and how surely; by class too."""
    with show_progress(quiet=as_json) as watch:
        compared = lotlens.compare(
            *(first, second, data),
            labels=labels,
            photos=photos,
            locked=locked,
            changed=changed,
            watch=watch,
        )
    if as_json:
        print_json(compared.to_dict())
    else:
        _print_compared(compared)


def views(
    run: Run,
    tried: Annotated[
        str | None,
        typer.Option(
            "--try", help="Views that may be adopted, such as mirror,closer; default all."
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Choose a finished run's test-time views anew: what helps on its validation photos."""
    names = None if tried is None else [name.strip() for name in tried.split(",")]
    with show_progress(quiet=as_json) as watch:
        choice = lotlens.adopt_views(run, names, watch=watch)
    if as_json:
        print_json(choice.to_dict())
        return
    _print_view_trials(choice)
    OUT.print(f"\n{format_views(choice.model)}; before: {', '.join(choice.before)}")
    OUT.print(f"report        {escape(choice.model.run.report_path)}")


def ensemble(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, two or more.")],
    out: Annotated[
        Path | None, typer.Option(help="Folder for the ensemble; default runs/DATA-ensemble-N.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Let several runs answer together if that helps; exit code 1, and nothing written, if not."""
    trial = lotlens.build_ensemble(runs, out)
    if as_json:
        print_json(trial.to_dict())
    else:
        _print_ensemble_trial(trial)
    if trial.model is None:
        raise typer.Exit(1)


def refusal(
    run: Run,
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
    with show_progress(quiet=as_json) as watch:
        chosen = lotlens.set_refusal(
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
        print_json(chosen.to_dict())
    else:
        _print_refusal(chosen, answered, run)


def _print_refusal(chosen: Any, answered: float, run: Path) -> None:
    heads = ("photos", "AUROC", "95 % interval", f"accepted at {answered:.0%}", "95 % interval")
    table = build_table("photos of", "method", *heads)
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
    OUT.print(table)
    OUT.print()
    for gate in chosen.refusal.gates:
        strangers = gate.strangers
        OUT.print(
            f"{gate.refuses:<13} {gate.method} of {gate.threshold:.4g} or more passes:"
            f" {gate.known.value:.3f} of {gate.known.count} known photos"
            + (f", {strangers.value:.3f} of {strangers.count} others" if strangers else ""),
            soft_wrap=True,
        )
    OUT.print(f"one model     is named with a probability above {chosen.refusal.sure:.2f}")
    OUT.print(f"card          {escape(run / 'card.json')}")


def _print_view_trials(choice: Any) -> None:
    heads = ("accuracy", "log loss", "falls by", "95 % interval", "p", "below", "adopted")
    table = build_table("view", *heads)
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
    OUT.print(table)
    OUT.print(
        f"\n{choice.num_photos} validation photos, which chose: the figures flatter a little. Each"
        " row stands beside the views adopted above it; every view is one more run of the model",
        soft_wrap=True,
    )


def _print_ensemble_trial(trial: Any) -> None:
    from lotlens.judge.gain import describe_gain

    blend = trial.blend
    heads = ("accuracy", "log loss", "together", "falls by", "95 % interval", "p", "below")
    table = build_table("run", *heads, "share")
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
        OUT.print(f"{number:>3}  {escape(str(path))}", soft_wrap=True)
    OUT.print()
    OUT.print(table)
    OUT.print(
        f"\n{trial.num_photos} validation photos. The best run comes first, each other beside"
        " those adopted above it: accuracy together, and by how much the log loss falls",
        soft_wrap=True,
    )
    if trial.model is None:
        OUT.print("not adopted: no run helps the best one beyond noise; nothing was written")
        return
    OUT.print(f"against the best run alone, {describe_gain(blend.gain)}", soft_wrap=True)
    OUT.print(f"adopted       each photo is answered {trial.model.num_answers} times")
    OUT.print(f"run           {escape(trial.model.run.path)}")
    OUT.print(escape(format_next(trial.model)), soft_wrap=True)


def _print_compared(compared: Any) -> None:
    found = compared.result
    pair = found.pair
    OUT.print(f"compared on {escape(compared.about)}", soft_wrap=True)
    OUT.print(f"  A  {escape(pair.first)}  accuracy {found.first:.4f}", soft_wrap=True)
    OUT.print(f"  B  {escape(pair.second)}  accuracy {found.second:.4f}", soft_wrap=True)
    OUT.print(
        f"A less B      {100 * pair.difference:+.1f} points (95 % interval"
        f" {100 * pair.low:+.1f} to {100 * pair.high:+.1f}), McNemar's exact p = {pair.p:.2g}"
    )
    OUT.print(f"only A right  {found.only_first} photos\nonly B right  {found.only_second} photos")
    heads = ("photos", "A", "B", "points", "95 % interval", "p (Holm)", "verdict on A")
    table = build_table("class", *heads)
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
    OUT.print()
    OUT.print(table)
    OUT.print(f"\n{escape(compared.conclusion)}", soft_wrap=True)


def print_evaluation(evaluation: Any) -> None:
    """What `evaluate` and the demo say of a model."""
    OUT.print(f"judged on {escape(evaluation.about)}", soft_wrap=True)
    if evaluation.synthetic:
        OUT.print("[bold]synthetic photos: drawn, not real cars[/bold]")
    for metric in evaluation.metrics:
        OUT.print(format_metric(metric), soft_wrap=True)
    table = build_table("class", "photos", "recall", "precision", "F1")
    for row in evaluation.to_frame().itertuples():
        figures = ["-" if v is None or math.isnan(v) else f"{v:.3f}" for v in row[4:7]]
        table.add_row(escape(str(row.name)), str(row.photos), *figures)
    OUT.print()
    OUT.print(table)
    if evaluation.pairs:
        OUT.print("\nmost confused")
    for pair in evaluation.pairs[:5]:
        true, predicted = escape(pair.true.name), escape(pair.predicted.name)
        OUT.print(f"  {true} taken for {predicted}: {pair.count} ({pair.share:.0%})")
