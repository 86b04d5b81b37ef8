"""The commands that find offers worth a call, and say what cars are usually offered for."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import typer

from lotlens.cli.options import Json, On, Open, Run
from lotlens.cli.progress import show_progress
from lotlens.cli.screen import OUT, VOICE, escape, open_page, print_json, print_next, quote
from lotlens.errors import InputError
from lotlens.texts import show

Columns = Annotated[
    list[str] | None,
    typer.Option("--column", help="Which column is what: price=COLUMN (repeatable)."),
]
Currency = Annotated[str, typer.Option(help="Of prices without one, such as RUB.")]


def scan(
    run: Run,
    listings: Annotated[Path, typer.Argument(help="Adverts: CSV, JSON lines or Parquet.")],
    photos: Annotated[
        list[str] | None, typer.Option(help="Zip or folder of their photos (repeatable).")
    ] = None,
    history: Annotated[
        Path | None, typer.Option(help="Other adverts to learn prices from as well.")
    ] = None,
    prices: Annotated[
        Path | None, typer.Option(help="Prices that a scan has saved, instead of learning them.")
    ] = None,
    save_prices: Annotated[
        Path | None, typer.Option(help="Keep the learnt prices in this file, for `price`.")
    ] = None,
    columns: Columns = None,
    currency: Currency = "",
    haggle: Annotated[
        float, typer.Option(help="Share of the usual price that a buyer haggles off.")
    ] = 0.05,
    costs: Annotated[float, typer.Option(help="Of each car, in the adverts' currency.")] = 0.0,
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write.")] = Path("deals"),
    new_since: Annotated[
        Path | None, typer.Option(help="deals.csv of an earlier scan: mark what is new since.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the price model.")] = 0,
    on: On = "",
    as_json: Json = False,
    open_it: Open = False,
) -> None:
    """Find offers worth a call: photos joined with prices; the same command goes on."""
    from lotlens.market.ranking import Terms
    from lotlens.verbs.scan import scan as scan_adverts

    try:
        terms = Terms(haggle=haggle, costs=costs)
    except ValueError as error:
        raise InputError(f"--{error}") from error  # it begins with the option's name
    mapping = _read_columns(columns)
    with show_progress(quiet=as_json, again="the same command") as watch:
        found = scan_adverts(
            run,
            listings,
            photos or None,
            history=history,
            prices=prices,
            save_prices=save_prices,
            columns=mapping,
            currency=currency,
            terms=terms,
            out=out,
            new_since=new_since,
            lang=VOICE.lang or "en",
            seed=seed,
            on=on,
            tell=None if as_json or VOICE.is_quiet else _tell,
            watch=watch,
        )
    if as_json:
        print_json(_to_dict(found))
        return
    _print_found(run, found, VOICE.lang or "en")
    if save_prices is not None:
        OUT.print(f"written       {escape(save_prices)}", soft_wrap=True)
    if open_it:
        open_page(found.folder / "deals.html")


def price(
    prices: Annotated[Path, typer.Argument(help="Prices that `scan --save-prices` has written.")],
    listings: Annotated[Path, typer.Argument(help="Adverts: CSV, JSON lines or Parquet.")],
    columns: Columns = None,
    currency: Currency = "",
    out: Annotated[Path, typer.Option("--out", "-o", help="The table to write.")] = Path(
        "prices.csv"
    ),
    as_json: Json = False,
) -> None:
    """Say what cars are usually offered for, by prices that a scan has learnt and saved."""
    from lotlens.verbs.price import price as price_adverts

    priced = price_adverts(
        prices,
        listings,
        columns=_read_columns(columns),
        currency=currency,
        out=out,
        tell=None if as_json or VOICE.is_quiet else _tell,
    )
    if as_json:
        print_json(
            {
                "out": str(priced.path),
                "adverts": len(priced.fair),
                "priced": priced.num_priced,
                "currency": priced.listings.currency,
            }
        )
        return
    OUT.say(f"{priced.num_priced:,} of {len(priced.fair):,} adverts have a usual price.")
    OUT.print(f"written       {escape(priced.path)}", soft_wrap=True)


def _read_columns(columns: list[str] | None) -> dict[str, str]:
    """Role -> column."""
    mapping = {}
    for one in columns or []:
        role, sign, name = one.partition("=")
        if not sign:
            raise InputError(f"--column {one}: write it as role=COLUMN, such as price=Цена")
        mapping[role.strip()] = name.strip()
    return mapping


def _tell(read: Any) -> None:
    OUT.say(str(read))


def _print_found(run: Path, found: Any, lang: str) -> None:
    from lotlens.market.ranking import say_offer
    from lotlens.training.others import FEWEST

    num = len(found.offers)
    by_hand = sum(offer.rank is None for offer in found.offers)
    OUT.say(
        f"{found.num_calls:,} of {num:,} adverts are worth a call; {by_hand:,} to look at by hand."
    )
    for offer in found.offers[:3]:
        if offer.is_worth_a_call:
            told = say_offer(offer, found.listings.currency, "ru" if lang == "ru" else "en")
            OUT.say(f"{offer.rank}. {show(offer.row.title, in_one_line=True)}: {told}")
    if found.num_missing:
        OUT.say(f"note          {found.num_missing:,} photos that adverts name were not found")
    if found.num_new is not None:
        OUT.say(f"new           {found.num_new:,} since the earlier scan")
    if found.num_others:
        num, command = found.num_others, f"lotlens improve {quote(run)} --others"
        shown = "1 photo of a car" if num == 1 else f"{num:,} photos of cars"
        OUT.say(f"others        {shown} that the model was not taught; so that it learns that:")
        OUT.print(escape(f"{'':<14}{command} {quote(found.others)}"), soft_wrap=True)
        if num < FEWEST:
            OUT.say(f"              a run that knows no other cars yet needs {FEWEST} of them")
    OUT.print(f"written       {escape(found.folder)}", soft_wrap=True)
    if not found.has_parquet:
        OUT.say("note          deals.parquet needs the package pyarrow; deals.csv has the same")
    print_next(f"open {found.folder / 'deals.html'}")


def _to_dict(found: Any) -> dict[str, Any]:
    return {
        "out": str(found.folder),
        "adverts": len(found.offers),
        "worth_a_call": found.num_calls,
        "photos": found.num_photos,
        "photos_missing": found.num_missing,
        "others": found.num_others,
        "new": found.num_new,
        "currency": found.listings.currency,
        "offers": [
            {
                "rank": offer.rank,
                "id": offer.row.id,
                "price": offer.row.price,
                "fair_price": None if math.isnan(offer.fair.price) else round(offer.fair.price),
                "sure_gain": None if math.isnan(offer.sure_gain) else round(offer.sure_gain),
                "reasons": list(offer.reasons),
            }
            for offer in found.offers
        ],
    }
