"""Commands that answer for photos, and that make a run answer without torch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from lotlens.cli.options import Json, On, Run
from lotlens.cli.progress import show_progress
from lotlens.cli.screen import (
    OUT,
    VOICE,
    Heard,
    escape,
    format_share,
    print_json,
    print_next,
    quote,
    replace_nan,
    translate_word,
)
from lotlens.texts import show


def predict(
    run: Run,
    photos: Annotated[
        list[str] | None,
        typer.Argument(
            help="Folders, zips, files, addresses; default the test part of the run's data."
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="The file to write; default answers.csv or submission.csv."
        ),
    ] = None,
    sample_path: Annotated[
        Path | None,
        typer.Option("--sample", help="sample-submission.csv: exactly its rows, in its order."),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format", help="table, or submission; default submission where there is a sample."
        ),
    ] = None,
    fill: Annotated[
        bool, typer.Option("--fill", help="In a submission, the commonest class without an answer.")
    ] = False,
    details: Annotated[
        Path | None, typer.Option(help="Also a CSV with all that is known of each answer.")
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option(help="Also an HTML page with the photos, those to check by hand first."),
    ] = None,
    on: On = "",
    as_json: Json = False,
) -> None:
    """Answer for photos: a table for people, or a submission; the same command goes on."""
    from lotlens.verbs.predict import write_answers

    heard = Heard(quiet=as_json)
    rows: list[dict[str, Any]] = []
    with show_progress(quiet=as_json, again="the same command") as watch:
        written = write_answers(
            run,
            photos or None,
            out=out,
            sample=sample_path,
            form=form,  # type: ignore[arg-type]  # the verb says which there are
            fill=fill,
            details=details,
            page=page,
            lang=VOICE.lang or "en",
            on=on,
            keep=rows.extend if as_json else None,
            tell=heard,
            watch=watch,
        )
    if as_json:
        records = [{key: replace_nan(value) for key, value in row.items()} for row in rows]
        filler = written.filler
        print_json(
            {
                "out": str(written.path),
                "format": written.form,
                "rows": written.num_rows,
                "filled": written.num_filled,
                "filled_with": None if filler is None else filler.label,
                **heard.to_dict(),
                "verdicts": written.verdicts,
                "photos": records,
            }
        )
    else:
        _print_written(written, has_details=details is not None)
        if page is not None:
            OUT.say(f"page          {page}")
    if len(written.silent) == written.num_photos:
        raise typer.Exit(1)


_TOLD = {
    "model": "named",
    "unsure": "not sure",
    "unknown": "a car not learnt",
    "not a car": "not a car",
    "poor photo": "poor photo",
    "no answer": "no answer",
}
"""Verdict, as files have it -> what it means, for people."""


def _print_written(written: Any, *, has_details: bool) -> None:
    silent, total = written.silent, written.num_photos
    answered = f"{total - len(silent)} of {total}" if silent else f"{total}"
    noun = "photo" if total == 1 else "photos"
    OUT.say(f"{answered} {noun} answered, written to {written.path}")
    told = ", ".join(
        f"{translate_word(told)} {written.verdicts[kind]:,}"
        for kind, told in _TOLD.items()
        if written.verdicts.get(kind)
    )
    is_told = has_details or written.form == "table"
    OUT.say(f"verdicts: {told}" + ("" if is_told else "  (--details FILE has one for each)"))
    for id_, reason in silent[:10]:
        OUT.say(show(f"  no answer for {id_}: {reason}", in_one_line=True))
    if len(silent) > 10:
        OUT.say(f"  and {len(silent) - 10} more")
    if written.num_filled:
        OUT.say(
            f"{written.num_filled} of {written.num_rows} rows filled with {written.filler.shown},"
            " where the model has no answer"
        )
    num_open = total - written.verdicts.get("model", 0)
    if len(silent) == total:
        print_next("see the reasons above: no photo has an answer")
    elif written.form == "table" and num_open:
        alone = "look by hand at the one photo that has no single name"
        print_next(
            alone if num_open == 1 else f"look by hand at the {num_open:,} that have no single name"
        )
    elif written.form == "submission":
        print_next("hand the file in")


def export(
    run: Run,
    engine: Annotated[
        str, typer.Option("--format", help="onnx, or openvino (needs the extra openvino).")
    ] = "onnx",
    int8: Annotated[
        bool, typer.Option("--int8", help="Eight bits wherever the answers stay the same.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The folder to write; default in the run's exports/."),
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
    from lotlens.verbs.export import export as export_run

    usual = ROUGH if int8 else EXACT
    limits = replace(usual, same=usual.same if same is None else same, lost=lost)
    with show_progress(quiet=as_json) as watch:
        done = export_run(
            run,
            engine=engine,
            precision="int8" if int8 else "fp32",
            out=out,
            limits=limits,
            watch=watch,
        )
    if as_json:
        print_json(done.to_dict())
    else:
        _print_export(done)


def _print_export(done: Any) -> None:
    parity = done.parity
    same, photos = parity.same.value, f"{parity.num_photos:,} photos held out of training"
    if same == 1:
        OUT.say(f"It answers as the run does, on all {photos}.")
    else:
        OUT.say(f"It answers as the run does on {format_share(same)} of {photos}; that is allowed.")
    if VOICE.is_verbose:
        _print_parity(done)
    OUT.print(f"written       {escape(done.path)} ({done.num_bytes / 1e6:.1f} MB)", soft_wrap=True)
    if VOICE.is_verbose:
        OUT.print(f"by photo      {escape(done.path / 'parity.csv')}", soft_wrap=True)
    print_next(f"lotlens predict {quote(done.path)} PHOTOS")


def _print_parity(done: Any) -> None:
    parity = done.parity
    OUT.print(
        f"compared with torch on {parity.num_photos} photos held out of training and"
        f" {parity.num_made} made to be read wrongly",
        soft_wrap=True,
    )
    for name, share in (("same answers", parity.same), ("same verdicts", parity.verdicts)):
        OUT.print(
            f"  {name:<14} {share.value:.4f}  (95 % interval {share.low:.4f} to {share.high:.4f})"
        )
    OUT.print(f"  logits         differ by {parity.largest:.2g} at most")
    if parity.before is not None:
        OUT.print(
            f"  accuracy       {parity.before:.4f}, exported {parity.after:.4f} (95 % interval of"
            f" the difference {100 * parity.low:+.1f} to {100 * parity.high:+.1f} points)",
            soft_wrap=True,
        )
    if done.kept:
        OUT.print(f"  in 32 bits     {len(done.kept)} layers that eight bits distort most")
