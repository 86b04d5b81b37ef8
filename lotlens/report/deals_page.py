"""Offers become one HTML file: those worth a call first, those to look at by hand last.

The file stands alone: photos lie in it as small JPEGs, and the one script that may run there is its
own, known by its hash. All that adverts say is strangers' text, escaped by the template.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from lotlens.files import write_text_atomically
from lotlens.market.listings import Listing, is_web_address, name_key
from lotlens.market.ranking import Offer, Terms, say_claim, say_method, say_money, say_offer
from lotlens.records import Photo, Watcher
from lotlens.report.language import ENGLISH, LANGUAGES, Language, load_language
from lotlens.report.pictures import read_thumbnails
from lotlens.report.templates import make_data_uri, render_page
from lotlens.texts import fit, show

DATA_NAME = "deals.json"
"""What a page shows, for a page that is served."""
DATA_FORMAT = 1
MOST_OFFERS = 1_000
"""Offers that a page shows; the table has all."""
_SIZE, _QUALITY = (416, 312), 72
_MOST_PICTURE_BYTES = 15_000_000
_WIDTH = 460


@dataclass(frozen=True)
class Scanned:
    """What a page of offers is made of.

    Attributes:
        offers: in their order, with `rank` where they are ordered.
        rows: all adverts, by position.
        pool: those that analogues are among, by position.
        photos: row of an advert -> the photo that is shown of it.
        currency: of all prices.
        terms: what was reckoned with.
        new: rows of adverts that were not shown before; None where that was not asked.
    """

    offers: Sequence[Offer]
    rows: Sequence[Listing]
    pool: Sequence[Listing]
    photos: Mapping[int, Photo]
    currency: str
    terms: Terms
    new: Collection[int] | None = None


def draw_offers(scanned: Scanned, watch: Watcher | None = None) -> list[bytes | None]:
    """A small JPEG for each offer that a page shows and whose photo can be read."""
    photos = [scanned.photos.get(offer.row.row) for offer in scanned.offers[:MOST_OFFERS]]
    return read_thumbnails(
        [None if photo is None else photo.locator for photo in photos],
        _SIZE,
        _QUALITY,
        most_bytes=_MOST_PICTURE_BYTES,
        watch=watch,
    )


def describe_offers(scanned: Scanned, language: Language) -> dict[str, Any]:
    """What offers.html.jinja shows, but for pictures and marks: plain values for JSON."""
    offers = scanned.offers
    shown = offers[:MOST_OFFERS]
    names = [name_advert(row, language) for row in scanned.rows]
    return {
        "num_offers": len(offers),
        "num_shown": len(shown),
        "num_calls": sum(offer.is_worth_a_call for offer in offers),
        "num_ranked": sum(offer.rank is not None for offer in offers),
        "num_by_hand": sum(offer.rank is None for offer in offers),
        "num_new": None if scanned.new is None else len(scanned.new),
        "terms": _say_terms(scanned, language),
        "cars": sorted({fit(offer.row.car) for offer in shown if offer.row.car}),
        "offers": [_describe(offer, scanned, names, language) for offer in shown],
    }


def write_deals_page(
    path: Path,
    name: str,
    scanned: Scanned,
    pictures: Sequence[bytes | None],
    *,
    synthetic: bool = False,
    language: Language = ENGLISH,
) -> None:
    """Write offers as one HTML file, whole or not at all.

    Args:
        path: the file to write.
        name: of the table, for the title.
        scanned: what it shows.
        pictures: as `draw_offers` draws them.
        synthetic: whether the model was trained on drawn photos; the page then says so at its top.
        language: what it is written in.

    Raises:
        OutputError: the file cannot be written.
    """
    values = describe_offers(scanned, language)
    for offer, picture in zip(values["offers"], pictures, strict=True):
        offer["src"] = "" if picture is None else make_data_uri("image/jpeg", picture)
    page = render_page(
        "deals.html.jinja",
        "deals.js",
        language=language,
        title=show(language.say("Offers in %(table)s", table=name), in_one_line=True),
        synthetic=synthetic,
        table="deals.csv",
        has_marks=False,
        has_pictures=any(pictures),
        **values,
    )
    write_text_atomically(path, page)


def write_deals_data(
    path: Path,
    name: str,
    scanned: Scanned,
    pictures: Sequence[bytes | None],
    *,
    synthetic: bool = False,
) -> None:
    """Write what the page shows as JSON, in all languages, for a page that is served.

    Raises:
        OutputError: the file cannot be written.
    """
    values = {
        "format": DATA_FORMAT,
        "name": fit(name),
        "synthetic": synthetic,
        "pages": {code: describe_offers(scanned, load_language(code)) for code in LANGUAGES},
        "pictures": [None if one is None else base64.b64encode(one).decode() for one in pictures],
    }
    write_text_atomically(path, json.dumps(values, ensure_ascii=True, allow_nan=False))


def name_advert(row: Listing, language: Language) -> str:
    """An advert as others call it: its title and number."""
    return language.say("%(title)s, advert %(id)s", title=fit(row.title or row.car), id=fit(row.id))


def _say_terms(scanned: Scanned, language: Language) -> str:
    terms = scanned.terms
    return language.say(
        "Reckoned with: %(haggle)s haggled off, costs of %(costs)s a car.",
        haggle=language.percent(terms.haggle),
        costs=say_money(terms.costs, scanned.currency, _code(language), exact=True),
    )


def _code(language: Language) -> Literal["en", "ru"]:
    return "ru" if language.code == "ru" else "en"


def _describe(
    offer: Offer,
    scanned: Scanned,
    names: Sequence[str],
    language: Language,
) -> dict[str, Any]:
    """An offer for the template."""
    row, fair, code = offer.row, offer.fair, _code(language)
    kind = "call" if offer.is_worth_a_call else "hand" if offer.rank is None else "rest"
    has_share = row.price is not None and not math.isnan(fair.price)
    return {
        "key": name_key(row),
        "id": fit(row.id),
        "kind": kind,
        "rank": offer.rank,
        "is_new": scanned.new is not None and row.row in scanned.new,
        "car": fit(row.car),
        "title": fit(row.title or row.car or row.id),
        "sentence": say_offer(offer, scanned.currency, code, names),
        "price": language.say("no price")
        if row.price is None
        else say_money(row.price, scanned.currency, code, exact=True),
        "price_number": "" if row.price is None else f"{row.price:.0f}",
        "share": f"{(row.price or 0) / fair.price:.4f}" if has_share else "",
        "year": "" if row.year is None else str(row.year),
        "facts": _say_facts(row, language),
        "chart": _chart(offer, scanned.currency, language) if has_share else None,
        "claim": ""
        if {"contradicted", "no usable photo"}.intersection(offer.reasons)
        else say_claim(offer.claim, code),
        "url": row.url if is_web_address(row.url) else "",
        "method": language.say("Estimated %(how)s.", how=say_method(fair, code)),
        "analogues": [
            _say_analogue(scanned.pool[at], scanned.currency, language) for at in fair.analogues
        ],
        "problems": [fit(language.reword(one) or one) for one in row.problems],
    }


def _say_facts(row: Listing, language: Language) -> str:
    facts = [] if row.year is None else [str(row.year)]
    if row.mileage is not None:
        facts.append(language.say("%(km)s km", km=language.whole(round(row.mileage))))
    facts += [row.facts[role] for role in ("gearbox", "city") if row.facts.get(role)]
    return fit(" · ".join(facts))


def _say_analogue(row: Listing, currency: str, language: Language) -> str:
    price = "" if row.price is None else say_money(row.price, currency, _code(language), exact=True)
    told = [fit(row.title or row.car), _say_facts(row, language), price]
    return " · ".join(part for part in told if part)


def _chart(offer: Offer, currency: str, language: Language) -> dict[str, Any]:
    """Where the price lies against the fair one, in units of the drawing."""
    fair, price, code = offer.fair, offer.row.price or 0.0, _code(language)
    least, most = min(fair.low90, price), max(fair.high90, price)
    margin = 0.04 * (most - least) or 1.0
    scale = (_WIDTH - 16) / (most - least + 2 * margin)

    def place(value: float) -> float:
        return round(8 + (value - least + margin) * scale, 1)

    low, high = (say_money(value, currency, code) for value in (fair.low, fair.high))
    return {
        "low90": place(fair.low90),
        "width90": round(place(fair.high90) - place(fair.low90), 1),
        "low": place(fair.low),
        "width": round(place(fair.high) - place(fair.low), 1),
        "middle": round(place(fair.price) - 1, 1),
        "price": place(price),
        "left": language.say("usually %(low)s – %(high)s", low=low, high=high),
        "right": language.say("middle %(price)s", price=say_money(fair.price, currency, code)),
        "told": language.say(
            "Price %(price)s; usually from %(low)s to %(high)s.",
            price=say_money(price, currency, code, exact=True),
            low=low,
            high=high,
        ),
    }
