"""Commands about the errors of a run: doubts, review, rounds of improvement."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from lotlens.cli.options import Json, Run, Workers
from lotlens.cli.progress import show_progress
from lotlens.cli.screen import (
    ERR,
    OUT,
    VOICE,
    Heard,
    build_table,
    escape,
    format_share,
    has_screen,
    print_json,
    print_next,
    quote,
    translate_word,
)
from lotlens.errors import MissingExtra
from lotlens.extras import import_extra
from lotlens.texts import show

_LABEL_WRONG = "label probably wrong"
_RIGHT_ALL_THE_SAME = {False: "a third", True: "a sixth"}
"""Whether a run's own folds answered, else probes -> how many of the first doubts were right
labels, where 5 % had been made wrong (benchmarks/RESULTS.md, planted wrong labels)."""
_PROBES_WERE_RIGHT = 0.72
"""The share of photos that the probes of that measurement answered as labelled."""
_PLAN_KEYS = ("class", "recall", "train", "offered", "admitted", "added", "weight", "why")
_JUDGED_ON = {
    "locked": "the locked part, which neither has seen",
    "folds": "all training photos, each answered by a model that has not learnt it",
    "validation": "the validation photos, by which both were chosen; fairer: a locked part"
    " (train with --set lock=0.15)",
}
_FEW_PHOTOS = 300
_FEWEST_RIGHT = 6
"""More photos answered rightly, and none wrongly: with fewer McNemar's test shows nothing."""

_Anew = Annotated[
    bool | None,
    typer.Option(
        "--anew/--continue",
        help="Train from the start of the recipe, or go on from the run's weights in a short"
        " stage of a low rate. Default: anew where photos or labels change.",
    ),
]
_Rule = Annotated[
    str | None,
    typer.Option(
        help="When the candidate is accepted: 'better' (default); 'failing': not worse on all"
        " photos and better on the classes with the most errors; 'others' (default with --others"
        " alone): not worse, and fewer other cars get a name."
    ),
]
_Outside = Annotated[
    Path | None,
    typer.Option(help="Photos to vet and add: a folder per class, a CSV with photos, a zip."),
]
_Others = Annotated[
    Path | None,
    typer.Option(help="Photos of other cars, to be learnt as none of these: folder, zip, CSV."),
]
_Hard = Annotated[bool, typer.Option("--hard", help="Show the photos more often that it fails on.")]
_Most = Annotated[int | None, typer.Option(help="Outside photos to add at most.", min=0)]
_TrustLabels = Annotated[
    bool, typer.Option("--trust-labels", help="Believe the labels of outside photos.")
]
_Resume = Annotated[
    bool, typer.Option("--resume", help="Go on with a round in --out that was stopped.")
]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Vet and plan; train and write nothing.")]


def doubts(
    run: Run,
    top: Annotated[int, typer.Option(help="How many to print.", min=0)] = 10,
    as_json: Json = False,
) -> None:
    """Find labelled photos worth a second look: labels that look wrong, answers that are unsure."""
    from lotlens.verbs.doubts import doubt as find_doubts

    heard = Heard(quiet=as_json)
    with show_progress(quiet=as_json, again=f"lotlens doubts {quote(run)}") as watch:
        found = find_doubts(run, tell=heard, watch=watch)
    if as_json:
        print_json({**found.to_dict(), **heard.to_dict()})
        return
    _print_doubts(found, top)
    if found.doubts:
        print_next(f"lotlens review {quote(run)}")
    else:
        print_next(f"lotlens improve {quote(run)} --hard")


def _print_doubts(found: Any, top: int) -> None:
    wrong = [doubt for doubt in found.doubts if _LABEL_WRONG in doubt.reasons]
    rest = len(found.doubts) - len(wrong)
    OUT.say(_tell_doubts(len(wrong), rest))
    if wrong:
        OUT.print(_tell_expected(found), markup=False)
    for doubt in (wrong or found.doubts)[:top]:
        label, rather = found.names[doubt.label], found.names[doubt.suggested]
        told = f"labelled {label}, looks like {rather} ({format_share(doubt.probability, 0)})"
        why = (
            f"; {', '.join(map(translate_word, doubt.reasons))}"
            if VOICE.is_verbose or not wrong
            else ""
        )
        OUT.say(show(f"  {doubt.photo_id}: {told}{why}", in_one_line=True))
    if found.num_settled:
        OUT.say(f"decided       {found.num_settled:,} photos, which are left out here")
    if VOICE.is_verbose:
        for reason, count in found.count().items():
            OUT.say(f"  {translate_word(reason):<22} {count:,}")
        OUT.print(f"answered by   {escape(found.how)}", soft_wrap=True)
        OUT.say(
            f"out of fold   {found.accuracy:.3f} of {len(found.evidence.ids):,} photos are answered"
            " as they are labelled"
        )
    OUT.print(f"table         {escape(found.path)}", soft_wrap=True)


def _tell_doubts(num_wrong: int, num_others: int) -> str:
    labels = "1 label looks" if num_wrong == 1 else f"{num_wrong:,} labels look"
    others = "1 other photo is" if num_others == 1 else f"{num_others:,} other photos are"
    if not num_wrong:
        if not num_others:
            return "No label looks wrong, and no photo is doubted."
        return f"No label looks wrong; {others} doubted for other reasons."
    first = f"{labels} wrong; look at {'it' if num_wrong == 1 else 'these'} first."
    return f"{first} {others.capitalize()} less doubtful." if num_others else first


def _tell_expected(found: Any) -> str:
    """How many of the first doubts are right labels all the same, and where that was measured."""
    share = _RIGHT_ALL_THE_SAME[found.is_by_own_models]
    said = (
        f"Expect some to be right: where 5 % of labels were wrong on purpose, {share} of the first"
        " doubts were right labels; where fewer are wrong, more (docs/guide/doubts.md)."
    )
    if not found.is_by_own_models and found.accuracy < _PROBES_WERE_RIGHT - 0.1:
        said += (
            f" Here still more: the models asked are right on {format_share(found.accuracy, 0)} of"
            f" the photos, in that test on {format_share(_PROBES_WERE_RIGHT, 0)}."
        )
    return said


def improve(
    run: Annotated[Path, typer.Argument(help="Run folder to begin with; it stays as it is.")],
    outside: _Outside = None,
    others: _Others = None,
    hard: _Hard = False,
    anew: _Anew = None,
    rule: _Rule = None,
    most: _Most = None,
    trust_labels: _TrustLabels = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Run folder of the candidate.")
    ] = None,
    resume: _Resume = False,
    workers: Workers = 0,
    dry_run: _DryRun = False,
    as_json: Json = False,
) -> None:
    """Train a candidate that learns more: decisions on doubts, outside photos, hard examples.

    A gate compares it with the run on photos that neither has learnt, and says which to use.
    """
    from lotlens.records import Begun
    from lotlens.verbs import improve as improving

    wishes: dict[str, Any] = {
        "outside": outside,
        "others": others,
        "hard": hard,
        "anew": anew,
        "rule": rule,
        "most": most,
        "trust_labels": trust_labels,
    }
    heard = Heard(quiet=as_json)
    wishes["tell"] = heard
    show = None if as_json else _print_round_plan
    resume_with = f"lotlens improve {quote(run)} --out RUN --resume"
    with show_progress(quiet=as_json, resume_with=resume_with) as watch:
        if dry_run:
            plan = improving.plan_round(run, **wishes, watch=watch)
        else:
            more: dict[str, Any] = {
                "out": out,
                "resume": resume,
                "num_workers": workers,
                "lang": VOICE.lang,
                "show": show,
            }
            done = improving.improve(run, **wishes, **more, watch=watch)
    if as_json:
        # Of the run's data, and of the offer.
        readings = [one.to_dict() for one in heard.records if not isinstance(one, Begun)]
        print_json({**(plan if dry_run else done).to_dict(), "readings": readings})
    elif dry_run:
        _print_round_plan(plan)
    else:
        _print_round(done)


def _print_round(done: Any) -> None:
    judgement = done.judgement
    OUT.say(_tell_gate(done))
    if VOICE.is_verbose:
        OUT.print(f"gate          {escape(judgement.sentence)}", soft_wrap=True)
    OUT.print(f"candidate     {escape(done.model.run.path)}", soft_wrap=True)
    OUT.print(f"rounds        {escape(done.model.run.rounds_path)}", soft_wrap=True)
    if judgement.accepted:
        print_next(f"lotlens predict {quote(done.best)}{_ask_photos(done.model)}")
    else:
        print_next(f"lotlens doubts {quote(done.parent)}", note="wrong labels cost most")


def _ask_photos(model: Any) -> str:
    return "" if model.has_test_photos else " PHOTOS"


def _tell_gate(done: Any) -> str:
    """What the gate says, in a line."""
    judgement, found = done.judgement, done.judgement.comparison
    after, before = format_share(found.first), format_share(found.second)
    photos = f"{found.pair.num_photos:,} photos"
    figures = f"right on {after} of {photos}, {done.parent} on {before}"
    if judgement.accepted:
        if judgement.rule == "others":
            why = f"fewer other cars get a wrong name, {_tell_others(judgement.other_cars)}"
        elif judgement.rule == "failing":
            why = "the failing classes are answered better, the others not worse"
        else:
            why = "better" if found.pair.verdict == "better" else "as often right, and surer of it"
        return f"Adopted: {why} ({figures})."
    if judgement.rule == "others":
        why = f"other cars do not get fewer names, {_tell_others(judgement.other_cars)}"
        if judgement.other_cars is not None and judgement.other_cars.is_better:
            why = "known cars are answered worse"
    elif judgement.rule == "failing":
        why = "no better on the failing classes, or perhaps worse on all"
    else:
        why = "worse" if found.pair.verdict == "worse" else "no better, as far as can be told"
    return f"Not adopted: {why} ({figures}); {done.parent} stays."


def _tell_others(found: Any) -> str:
    if found is None:
        return "for none were asked about"
    return (
        f"{format_share(found.after.value)} of {found.after.count:,}, before"
        f" {format_share(found.before.value)}"
    )


def rounds(run: Run, as_json: Json = False) -> None:
    """Show the rounds of improvement that led to a run, and those that began with it."""
    from lotlens.improve.gate import count_chance
    from lotlens.verbs.rounds import list_rounds

    rows = list_rounds(run)
    if as_json:
        print_json([dict(row) for row in rows])
        return
    if not rows:
        begin = f"lotlens improve {quote(run)} --hard"
        OUT.print(f"no round of improvement yet: begin one with  {escape(begin)}", soft_wrap=True)
        return
    table = build_table(
        "round", "run", "began with", "what", "before", "after", "difference", "gate"
    )
    for row in rows:
        low, difference, high = (100 * float(row[key]) for key in ("Low", "Difference", "High"))
        table.add_row(
            row["Round"],
            escape(row["Run"]),
            escape(row["Parent"]),
            escape(row["What"]),
            format_share(float(row["Before"])),
            format_share(float(row["After"])),
            f"{difference:+.1f} points ({low:.1f} to {high:.1f})",
            "accepted" if row["Accepted"] == "yes" else "rejected",
        )
    OUT.print(table)
    for part, rows_on in Counter(row["Judged"] for row in rows).items():
        if rows_on > 1:
            OUT.print(
                f"{rows_on} candidates were judged on the same photos ({part}): of so many that are"
                f" no better, one passes with a chance of up to {count_chance(rows_on):.0%}",
                soft_wrap=True,
            )
    OUT.print(f"picture       {escape(run / 'rounds.svg')}", soft_wrap=True)
    print_next(f"lotlens doubts {quote(run)}")


def review(
    run: Annotated[Path, typer.Argument(help="Run folder with doubts.csv.")],
    port: Annotated[
        int, typer.Option(help="Port to serve at; 0 for any that is free.", min=0, max=65535)
    ] = 8000,
    host: Annotated[
        str,
        typer.Option(
            help="Address to serve at. 0.0.0.0 is for a phone on the same Wi-Fi: it prints links"
            " that let one device in each."
        ),
    ] = "127.0.0.1",
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Only print the address, open nothing.")
    ] = False,
) -> None:
    """Review doubts on a local page, by keyboard; decisions lie beside the data."""
    import webbrowser

    from lotlens.verbs.review import Served, Visited
    from lotlens.verbs.review import review as serve_review

    def tell(page: Served) -> None:
        if page.is_open_to_network:
            ERR.print(
                f"warning: served at {escape(host)}, to devices in the network that come by a link"
                " shown here. They see the photos and decide on them; what passes between is not"
                " encrypted, so do it in networks you trust",
                soft_wrap=True,
            )
        OUT.print(f"doubts        {page.num_doubts}")
        if page.address is not None:
            OUT.print(f"page          {escape(page.address)}", soft_wrap=True)
        if page.is_open_to_network:
            print_links(page.links)
        OUT.print("Ctrl-C ends it; every decision is saved as it is taken.")
        sys.stdout.flush()  # a program that waits for the address reads it through a pipe
        if page.address is not None and not no_browser and has_screen():
            webbrowser.open(page.address)

    def tell_visit(visit: Visited) -> None:
        OUT.print(f"let in        {escape(visit.device)}; for another device there is a new link:")
        print_links(visit.links)
        sys.stdout.flush()

    path = serve_review(
        run, host=host, port=port, lang=VOICE.lang or "en", ready=tell, visited=tell_visit
    )
    OUT.print(f"decisions     {escape(path)}", soft_wrap=True)
    print_next(f"lotlens improve {quote(run)}")


def print_links(links: tuple[str, ...]) -> None:
    """Links for one other device, and a code for its camera where that can be drawn."""
    if not links:
        OUT.print("phone         this machine is in no network that a phone could be in")
        return
    for number, link in enumerate(links):
        note = "works once" if number == 0 else "or, in its other network"
        OUT.print(f"phone         {escape(link)}  ({note})", soft_wrap=True)
    console = OUT.console
    if not (console.file.isatty() and console.encoding.startswith("utf")):
        return
    try:
        draw_code = import_extra("lotlens.web.qr", "web").draw_code
    except MissingExtra as error:
        OUT.print(f"code          none: {escape(error)}", soft_wrap=True)
        return
    is_coloured = console.color_system is not None and not console.no_color
    for line in draw_code(links[0], is_inverted=not is_coloured):
        if len(line) > console.width:
            return
        OUT.print(f"[#000000 on #ffffff]{line}[/]" if is_coloured else line, soft_wrap=True)


def _print_round_plan(plan: Any) -> None:
    OUT.print(f"round         {plan.number}: {plan.what}", soft_wrap=True)
    if plan.relabelled or plan.left_out:
        OUT.print(f"decisions     {len(plan.relabelled)} relabelled, {len(plan.left_out)} left out")
    if plan.vetting is not None:
        offered = plan.vetting.plan
        OUT.print(
            f"outside       {offered.num_offered:,} offered, {offered.num_admitted:,} admitted,"
            f" {len(offered.additions):,} added"
        )
        reasons = Counter(one.reason for one in plan.vetting.vetted if not one.admitted)
        for reason, count in reasons.most_common():
            OUT.print(f"  {reason:<22} {count:,}")
        if not offered.num_admitted:
            OUT.say("  None is admitted, so no class gets more photos.")
        if offered.num_admitted or VOICE.is_verbose:
            _print_offer(offered)
    if plan.num_hard:
        OUT.print(f"hard          {plan.num_hard:,} photos are shown half again as often, or more")
    how = "anew, by recipe" if plan.is_anew else "on from the run, by recipe"
    OUT.print(f"trained       {how} {escape(plan.recipe.name)}", soft_wrap=True)
    OUT.print(f"judged on     {_JUDGED_ON[plan.judged_on]}; rule: {plan.rule}", soft_wrap=True)
    if plan.num_judged and plan.rule == "better" and plan.num_judged < _FEW_PHOTOS:
        points = 100 * _FEWEST_RIGHT / plan.num_judged
        OUT.say(
            f"few photos    {plan.num_judged:,}: to be adopted it must be right on {_FEWEST_RIGHT}"
            f" more at least ({points:.1f} points), or surer on the whole"
        )


def _print_offer(offered: Any) -> None:
    table = build_table(*("learnt now" if key == "train" else key for key in _PLAN_KEYS))
    for row in offered.to_rows():
        cells = ("" if row[key] is None else str(row[key]) for key in _PLAN_KEYS)
        table.add_row(*map(escape, cells))
    OUT.print(table)
