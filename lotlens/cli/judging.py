"""Commands that judge finished runs, and settle how they answer."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import lotlens
from lotlens.cli.options import Json, Labels, Open, Photos, Run
from lotlens.cli.progress import show_progress
from lotlens.cli.screen import (
    OUT,
    VOICE,
    build_table,
    escape,
    format_metrics,
    format_share,
    format_views,
    open_page,
    print_json,
    print_next,
    print_predict,
    quote,
    spell,
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
    open_: Open = False,
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
            lang=VOICE.lang or "en",
            watch=watch,
        )
    page = evaluation.report_path
    if as_json:
        print_json(evaluation.to_dict())
    else:
        print_evaluation(evaluation)
        if evaluation.times_opened > 1:
            OUT.print(
                f"\n[bold]the locked part was opened {evaluation.times_opened} times: a choice made"
                " by its results makes them too good[/bold]",
                soft_wrap=True,
            )
        OUT.print(f"\nreport        {escape(page)}", soft_wrap=True)
        print_next(f"lotlens doubts {quote(run)}", note="labels that look wrong")
    if open_:
        open_page(page)


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
        return
    OUT.say(_tell_verdict(compared.result))
    if VOICE.is_verbose:
        _print_compared(compared)
    pair = compared.result.pair
    better = {"better": first, "worse": second}.get(pair.verdict)
    if better is not None:
        print_next(f"lotlens predict {quote(better)} PHOTOS")
    elif compared.result.num_more:
        runs = f"{quote(first)} {quote(second)}"
        print_next(f"lotlens compare {runs} MORE_LABELLED_PHOTOS")


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
        choice = lotlens.adopt_views(run, names, lang=VOICE.lang, watch=watch)
    if as_json:
        print_json(choice.to_dict())
        return
    _print_views(choice)
    print_next(f"lotlens predict {quote(run)} PHOTOS")


def ensemble(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, two or more.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Folder for the ensemble; default runs/DATA-ensemble-N."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Let several runs answer together if that helps; exit code 1, and nothing written, if not."""
    trial = lotlens.build_ensemble(runs, out, lang=VOICE.lang)
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
        float | None,
        typer.Option(help="Share of photos of known cars that are to pass; default 0.95."),
    ] = None,
    wrong: Annotated[
        float | None,
        typer.Option(help="Instead: the share of such photos that may pass all the same."),
    ] = None,
    cost: Annotated[
        float | None,
        typer.Option(help="Of a wrong name, in any unit; default 2, or 12 without other cars."),
    ] = None,
    gain: Annotated[
        float | None, typer.Option(help="Of a right answer, in the same unit; default 1.")
    ] = None,
    coverage: Annotated[
        float | None,
        typer.Option(help="Share of photos whose candidates hold the truth; default 0.95."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show when a model gives no name; with photos or numbers, choose that anew and store it."""
    from lotlens.verbs.refusal import show_refusal

    given: dict[str, Any] = {"negatives": negatives or None, "unknown": unknown or None}
    numbers = (answered, wrong, cost, gain, coverage)
    given |= dict(zip(("answered", "wrong", "cost", "gain", "coverage"), numbers, strict=True))
    wishes = {name: value for name, value in given.items() if value is not None}
    if wishes:
        with show_progress(quiet=as_json) as watch:
            chosen = lotlens.set_refusal(run, **wishes, watch=watch)
    else:
        chosen = show_refusal(run)
    if as_json:
        print_json(chosen.to_dict())
        return
    _print_refusal(chosen)
    if wishes:
        OUT.print(f"stored in     {escape(run / 'card.json')}", soft_wrap=True)
        print_next(f"lotlens predict {quote(run)} PHOTOS")
    else:
        print_next("lotlens help refusal", note="nothing was changed; photos of your own set it")


_KEPT_OUT = {
    "not a car": ("no car", "photos of no car, or of a part of one"),
    "unknown": ("other cars", "photos of cars that were not learnt"),
}


def _print_refusal(chosen: Any) -> None:
    OUT.say("It gives no name to what looks like no car, or like a car that was not learnt.")
    for gate in chosen.refusal.gates:
        title, kept_out = _KEPT_OUT[gate.refuses]
        told = f"{_tell_passed(gate.known)} photos of known cars pass"
        if gate.strangers is None:
            told += f"; never tried on {kept_out}"
        else:
            told += f", and {_tell_passed(gate.strangers)} {kept_out}"
        OUT.say(f"{title:<14}{told}")
        if VOICE.is_verbose:
            OUT.say(f"              by {gate.method}: {gate.threshold:.4g} or more passes")
    vehicle = chosen.refusal.vehicle
    if vehicle is not None:
        OUT.say("car or not    what is kept out as no car, but shows one, is told as another car")
        if chosen.refusal.looked is not None:
            OUT.say("only just     what passes by little, but shows no car, is told as no car")
        if VOICE.is_verbose:
            OUT.say(
                f"              by ImageNet's vehicles: a share of {vehicle:.2g} or more is one"
            )
    if words := [word.name for word in chosen.refusal.words]:
        OUT.say(f"in words      what is no car may show: {escape(', '.join(words))}")
    _print_coverage(chosen.refusal)
    sure = chosen.refusal.sure
    OUT.say(f"one name      where no other car is likely, with a probability above {sure:.2f}")
    if chosen.refusal.odds is None:
        OUT.say("careful       no other cars are known to it: train with --others PHOTOS")
    if VOICE.is_verbose and chosen.comparison:
        _print_separations(chosen.comparison)


def _print_coverage(refusal: Any) -> None:
    from lotlens.refusal.conformal import find_reach  # imports numpy

    low, high = find_reach(refusal.num_photos, refusal.coverage)
    told = f"all cars that it knows: {refusal.num_photos:,} photos are too few to leave any out"
    if low < 1:
        told = (
            f"the right car is among them for {100 * refusal.coverage:g} % of photos of known"
            f" cars; set by {refusal.num_photos:,}, it may be {100 * low:.0f} to {100 * high:.0f} %"
        )
    OUT.say(f"candidates    {told}")


def _tell_passed(share: Any) -> str:
    return f"{round(share.value * share.count):,} of {share.count:,}"


def _print_separations(comparison: Any) -> None:
    accepted = f"accepted at {comparison[0].answered:.0%}"
    heads = ("photos", "AUROC", "95 % interval", accepted, "95 % interval")
    table = build_table("photos of", "method", *heads)
    for row in comparison:
        table.add_row(
            escape(row.strangers),
            row.method,
            str(row.auroc.count),
            f"{row.auroc.value:.3f}",
            f"{row.auroc.low:.3f} to {row.auroc.high:.3f}",
            f"{row.accepted.value:.3f}",
            f"{row.accepted.low:.3f} to {row.accepted.high:.3f}",
        )
    OUT.print()
    OUT.print(table)


def _print_views(choice: Any) -> None:
    adopted = [trial for trial in choice.trials if trial.is_adopted]
    photos = f"{choice.num_photos:,} validation photos"
    count = choice.model.num_answers
    times = "once" if count == 1 else f"{count} times"
    if adopted:
        before, after = adopted[0].gain.accuracy_before, adopted[-1].gain.accuracy
        names = ", ".join(trial.view for trial in adopted)
        OUT.say(
            f"Adopted: {names}; each photo is answered {times}. Right on {format_share(after)} of"
            f" {photos}, without on {format_share(before)}."
        )
    else:
        OUT.say(f"Not adopted: no view helps on {photos}; each photo is answered {times}.")
    if VOICE.is_verbose:
        if choice.trials:
            _print_view_trials(choice)
        OUT.say(f"\n{format_views(choice.model)}; before: {', '.join(choice.before)}")
    OUT.print(f"report        {escape(choice.model.run.report_path)}", soft_wrap=True)


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
    blend, photos = trial.blend, f"{trial.num_photos:,} validation photos"
    alone = format_share(blend.accuracies[blend.best])
    if trial.model is None:
        OUT.say(
            f"Not adopted: no run helps the best one ({alone} of {photos}) beyond chance; nothing"
            " was written."
        )
    else:
        OUT.say(
            f"Adopted: together they are right on {format_share(blend.gain.accuracy)} of {photos},"
            f" the best alone on {alone}; each photo is answered {trial.model.num_answers} times."
        )
    if VOICE.is_verbose:
        _print_blend(trial)
    if trial.model is not None:
        OUT.print(f"run           {escape(trial.model.run.path)}", soft_wrap=True)
        print_predict(trial.model)
    else:
        best = trial.runs[blend.best]
        print_next(f"lotlens predict {quote(best)}", note="the best one alone")


def _print_blend(trial: Any) -> None:
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
    OUT.print()
    for number, path in enumerate(trial.runs, start=1):
        OUT.print(f"{number:>3}  {escape(str(path))}", soft_wrap=True)
    OUT.print()
    OUT.print(table)
    OUT.print(
        f"\n{trial.num_photos} validation photos. The best run comes first, each other beside"
        " those adopted above it: accuracy together, and by how much the log loss falls",
        soft_wrap=True,
    )
    if trial.model is not None:
        OUT.print(f"against the best run alone, {describe_gain(blend.gain)}", soft_wrap=True)


def _tell_verdict(found: Any) -> str:
    pair = found.pair
    (better, share), (worse, other) = sorted(
        [(pair.first, found.first), (pair.second, found.second)], key=lambda one: -one[1]
    )
    photos = f"{pair.num_photos:,} {'photo' if pair.num_photos == 1 else 'photos'}"
    if pair.verdict != "cannot tell":
        return (
            f"{better} is better than {worse}: right on {format_share(share)} of {photos}, against"
            f" {format_share(other)}; that is more than chance."
        )
    if share == other:
        return f"Cannot tell which is better: both are right on {format_share(share)} of {photos}."
    more = f" About {found.num_more:,} more photos would tell." if found.num_more else ""
    return (
        f"Cannot tell which is better: {better} is right on {format_share(share)} of {photos},"
        f" {worse} on {format_share(other)}; that may be chance.{more}"
    )


def _print_compared(compared: Any) -> None:
    found = compared.result
    pair = found.pair
    OUT.print(f"\ncompared on {escape(compared.about)}", soft_wrap=True)
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
    for line in format_metrics(evaluation.metrics):
        OUT.say(line)
    table = build_table("class", "photos", "recall", "precision", "F1")
    for row in evaluation.list_classes():
        cells = [
            "-" if share is None else format_share(share, 0)
            for share in (row["recall"], row["precision"])
        ]
        cells.append("-" if row["f1"] is None else spell(f"{row['f1']:.2f}"))
        table.add_row(escape(row["name"]), str(row["photos"]), *cells)
    OUT.print()
    OUT.print(table)
    if evaluation.pairs:
        OUT.print("\nmost confused")
    for pair in evaluation.pairs[:5]:
        true, predicted = escape(pair.true.name), escape(pair.predicted.name)
        OUT.print(
            f"  {true} taken for {predicted}: {pair.count} ({format_share(pair.share, 0)})",
            soft_wrap=True,
        )
