"""Commands that make, check and part a lot of photos, and the demo."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import lotlens
from lotlens.cli.judging import print_evaluation
from lotlens.cli.options import Data, Json, Open, Overrides, Recipe
from lotlens.cli.progress import show_progress
from lotlens.cli.screen import (
    OUT,
    VOICE,
    Heard,
    build_table,
    escape,
    format_share,
    open_page,
    print_json,
    print_next,
    quote,
    translate_word,
)
from lotlens.texts import show


def demo(
    out: Annotated[
        Path, typer.Argument(help="Folder for the lot, the run and the results.")
    ] = Path("demo"),
    seed: Annotated[int, typer.Option(help="Seed of the drawing.")] = 0,
    open_: Open = False,
    as_json: Json = False,
) -> None:
    """The whole way on drawn photos with planted faults: audit, train, judge, submit. Offline."""
    resume_with = f"lotlens train {quote(out / 'lot')} --out RUN --resume"
    with show_progress(quiet=as_json, resume_with=resume_with) as watch:
        done = lotlens.demonstrate(out, seed=seed, lang=VOICE.lang or "en", watch=watch)
    if as_json:
        print_json(
            {
                **done.evaluation.to_dict(),
                "chosen": done.model.card.chosen,
                "caught": [one.to_dict() for one in done.caught],
                "run": str(done.model.run.path),
                "report": str(done.report_path),
                "audit": str(done.audit_path),
                "answers": str(done.answers_path),
                "submission": str(done.submission_path),
            }
        )
    else:
        _print_demonstration(done)
    if open_:
        open_page(done.report_path)


def sample(
    out: Annotated[Path, typer.Argument(help="Folder to write the lot into.")],
    seed: Annotated[int, typer.Option(help="The same seed gives the same bytes.")] = 0,
    num_train: Annotated[int, typer.Option("--train", help="Training photos.", min=40)] = 600,
    num_test: Annotated[int, typer.Option("--test", help="Test photos.", min=20)] = 200,
    sheet: Annotated[
        Path | None, typer.Option(help="Also write a contact sheet (PNG) to look at.")
    ] = None,
    listings: Annotated[
        bool, typer.Option("--listings", help="Also draw a market: adverts with prices, for scan.")
    ] = False,
    overwrite: Annotated[bool, typer.Option(help="Replace a sample lot already there.")] = False,
) -> None:
    """Draw the sample lot: ten invented car models in the competition's exact layout."""
    from lotlens.verbs.sample import draw_sample

    with show_progress() as watch:
        draw_sample(
            out,
            seed=seed,
            num_train=num_train,
            num_test=num_test,
            sheet=sheet,
            listings=None if not listings else "ru" if VOICE.lang == "ru" else "en",
            overwrite=overwrite,
            watch=watch,
        )
    OUT.print(
        f"{num_train} training and {num_test} test photos in {escape(out)} (synthetic)",
        soft_wrap=True,
    )
    if listings:
        OUT.print(f"adverts and their prices in {escape(out / 'market')}", soft_wrap=True)
    print_next(f"lotlens audit {quote(out)}")


def audit(
    data: Data,
    recipe: Recipe = "standard",
    overrides: Overrides = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for findings.csv and findings.html.")
    ] = Path("audit"),
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with code 1 if there are errors.")
    ] = False,
    open_: Open = False,
    as_json: Json = False,
) -> None:
    """Check photos and labels: broken files, copies, leaks, wrong labels, odd pictures."""
    heard = Heard(quiet=as_json)
    with show_progress(quiet=as_json) as watch:
        found = lotlens.run_audit(
            *(data, recipe),
            overrides=overrides or (),
            out=out,
            lang=VOICE.lang or "en",
            tell=heard,
            watch=watch,
        )
    if as_json:
        print_json({**found.to_dict(), **heard.to_dict()})
    else:
        _print_audit(found)
        OUT.print(f"\nfindings      {escape(out / 'findings.csv')}", soft_wrap=True)
        OUT.print(f"pictures      {escape(out / 'findings.html')}", soft_wrap=True)
        if sum(count > 0 for count in found.class_counts.values()) > 1:
            print_next(f"lotlens train {quote(data)} --recipe quick")
        else:
            print_next("add photos: training needs at least two classes with usable photos")
    if open_:
        open_page(out / "findings.html")
    if strict and found.num_errors:
        raise typer.Exit(1)


def split(
    data: Data,
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write.")] = Path(
        "split.csv"
    ),
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
    heard = Heard(quiet=as_json)
    with show_progress(quiet=as_json) as watch:
        drawn = lotlens.split(
            data,
            out,
            validation=validation,
            num_folds=folds,
            lock=lock,
            seed=seed,
            overrides=overrides or (),
            tell=heard,
            watch=watch,
        )
    sizes = {part: len(ids) for part, ids in drawn.parts.items()}
    if as_json:
        print_json({"out": str(out), "seed": drawn.seed, "photos": sizes, **heard.to_dict()})
        return
    for part, size in sizes.items():
        OUT.print(f"{part:<12} {size} photos")
    OUT.print(f"written to   {escape(out)}", soft_wrap=True)
    more = "" if folds is None else f" --set folds={folds}"
    more += f" --lock {lock:g}" if lock else ""
    print_next(f"lotlens train {quote(data)} --split {quote(out)}{more}")


def _print_audit(found: Any) -> None:
    from lotlens.audit.checks import CHECKS

    train, test = found.num_photos["train"], found.num_photos["test"]
    OUT.print(f"looked at {train} training and {test} test photos")
    counts = found.count()
    if not counts:
        OUT.print("nothing found")
        return
    table = build_table("check", "severity", "found", "training", "what")
    for check, count in counts.items():
        actions = {"drop": "leaves out", "group": "keeps together", "keep": "keeps"}
        table.add_row(
            check,
            translate_word(CHECKS[check].severity),
            str(count),
            translate_word(actions[found.actions[check]]),
            translate_word(CHECKS[check].meaning),
        )
    OUT.print()
    OUT.print(table)
    errors = "1 error" if found.num_errors == 1 else f"{found.num_errors} errors"
    photos = "1 photo" if found.num_left_out == 1 else f"{found.num_left_out} photos"
    OUT.print(
        f"\n{errors}; training leaves out {photos} and keeps {len(found.groups)} copies together",
        soft_wrap=True,
    )


def _print_demonstration(done: Any) -> None:
    """What the demo found, where it lies, and what to do with photos of one's own."""
    from lotlens.report.language import load_language

    language = load_language(VOICE.lang or "en")

    def reword(sentence: str) -> str:
        return language.reword(sentence) or sentence

    if VOICE.is_verbose:
        print_evaluation(done.evaluation)
        OUT.print()
    planted = sum(one.num_planted for one in done.caught)
    found = sum(one.num_found for one in done.caught)
    accuracy = done.evaluation.accuracy
    low, high = format_share(accuracy.low), format_share(accuracy.high)
    OUT.say(reword(f"{found} of {planted} planted faults were found."))
    named = f"The car is named correctly on {format_share(accuracy.value)} of {accuracy.count} test"
    OUT.say(reword(f"{named} photos (95 % interval: {low} to {high})."))
    OUT.say(reword("All photos are drawn, not real: these figures say nothing of real cars."))
    rows = [(reword(one.kind), reword(_tell_caught(one))) for one in done.caught]
    rows.append(("", ""))
    rows += [
        (reword("audit page"), str(done.audit_path)),
        (reword("report"), str(done.report_path)),
        (reword("answers page"), str(done.answers_path)),
        (reword("submission"), str(done.submission_path)),
    ]
    width = max(len(head) for head, _ in rows) + 2
    for head, told in rows:
        OUT.say(show(f"  {head:<{width}}{told}", in_one_line=True) if head else "")
    if not VOICE.is_quiet:
        OUT.say(reword("\nWith photos of your own (a zip, or a folder per class):"))
        photos = language.translate("PHOTOS")
        OUT.say(f"  lotlens audit {photos}")
        OUT.say(f"  lotlens train {photos} --recipe quick --out runs/first")
        OUT.say(f"  lotlens predict runs/first {photos} --page answers.html")


def _tell_caught(one: Any) -> str:
    told = f"{one.num_found} of {one.num_planted} found"
    if one.num_looked_at is not None:
        return f"{told} among the first {one.num_looked_at} doubts"
    return f"{told}, {one.num_false} false {'alarm' if one.num_false == 1 else 'alarms'}"
