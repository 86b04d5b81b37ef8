"""Find offers worth a call among adverts: photos joined with prices."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from lotlens.answering.answers import take_rows
from lotlens.audit.checks import name_clusters
from lotlens.audit.findings import find_links
from lotlens.audit.signs import Signs, scan_photos
from lotlens.cluster.address import check_place, keep_cluster
from lotlens.deliver.journal import Journal
from lotlens.deliver.model import Model, list_paths, load
from lotlens.errors import InputError, OutputError, UnreadablePhoto
from lotlens.extras import import_extra
from lotlens.files import (
    atomic_path,
    check_apart,
    check_writable,
    remove_unfinished_of,
    write_rows_atomically,
)
from lotlens.locks import hold
from lotlens.market.claims import Claim, find_others, judge_listing
from lotlens.market.copies import Shared, judge_copies
from lotlens.market.fitted import (
    check_enough,
    estimate_by_file,
    keep_prices,
    read_prices,
    write_prices,
)
from lotlens.market.listings import Listing, Listings, name_key, read_listings, settle_currency
from lotlens.market.prices import Fair, learn_prices
from lotlens.market.ranking import Offer, Terms, rank_offers, say_offer
from lotlens.photos.archives import PhotoReader
from lotlens.photos.labelled import add_labelled
from lotlens.photos.matching import Wanted, match_files, tidy_path
from lotlens.photos.places import File, name_below
from lotlens.photos.sources import open_unlabelled
from lotlens.photos.tables import read_own_table
from lotlens.records import CarClass, Catalog, Photo, Watcher, watch_part, watch_whole
from lotlens.refusal.cars import decide_car
from lotlens.report.deals_page import (
    DATA_NAME,
    Scanned,
    draw_offers,
    name_advert,
    write_deals_data,
    write_deals_page,
)
from lotlens.report.language import Language, load_language
from lotlens.texts import describe, fit
from lotlens.verbs.predict import answer_all, describe_task

COLUMNS = (
    "rank", "worth_a_call", "new", "id", "title", "make", "model", "year", "mileage_km", "price",
    "currency", "fair_price", "fair_low", "fair_high", "fair_low90", "fair_high90", "gain",
    "sure_gain", "fair_by", "num_like", "analogues", "claim", "claim_open_because", "photos_say",
    "photos_say_probability", "claimed_probability", "photos_set_aside", "photos_missing",
    "same_picture", "same_picture_in", "by_hand_because", "sentence", "problems", "url", "key",
)  # fmt: skip
"""Of deals.csv; by the key an advert is known again in the next table."""
MOST_OTHERS = 2_000
"""Photos of other cars that are copied; more help little."""


@dataclass(frozen=True)
class Scan:
    """What a scan found.

    Attributes:
        folder: where deals.csv, deals.html and deals.json lie, and deals.parquet where pyarrow is
            installed.
        offers: all adverts, those in order first.
        listings: how the adverts were read.
        num_photos: that were looked at.
        num_missing: that adverts name and no file matches.
        num_new: adverts not shown before; None where that was not asked.
        has_parquet: whether deals.parquet was written.
        num_others: photos in `others`, those of earlier scans too; 0 where this one found none.
    """

    folder: Path
    offers: tuple[Offer, ...]
    listings: Listings
    num_photos: int = 0
    num_missing: int = 0
    num_new: int | None = None
    has_parquet: bool = False
    num_others: int = 0

    @property
    def others(self) -> Path:
        """Where photos of cars lie that are none of the classes, for `lotlens improve --others`."""
        return self.folder / "others"

    @property
    def num_calls(self) -> int:
        """Offers worth a call."""
        return sum(offer.is_worth_a_call for offer in self.offers)

    def __repr__(self) -> str:
        return describe("Scan", f"{self.num_calls:,} of {len(self.offers):,} worth a call")


def scan(
    run: Path | str,
    listings: Path | str,
    photos: Path | str | Sequence[Path | str] | None = None,
    *,
    history: Path | str | None = None,
    prices: Path | str | None = None,
    save_prices: Path | str | None = None,
    columns: Mapping[str, str] | None = None,
    currency: str = "",
    terms: Terms | None = None,
    out: Path | str = "deals",
    new_since: Path | str | None = None,
    lang: str = "en",
    seed: int = 0,
    on: str = "",
    tell: Any = None,
    watch: Watcher | None = None,
) -> Scan:
    """Judge every advert of a table, and write those worth a call first.

    Answers to photos are kept until the files are written: the same call after a kill goes on.

    Args:
        run: the run folder, or that of an exported model.
        listings: the table of adverts (see `market.listings`).
        photos: folders, zips or files that the adverts' photos lie in; None to look at none.
        history: a table of other adverts to learn prices from as well.
        prices: fitted prices that a scan has saved, by which adverts are judged instead of by one
            another and a history.
        save_prices: a file to keep the fitted prices in, for other adverts (see `verbs.price`).
        columns: role -> column, where names do not tell; in the history too, where it has them.
        currency: of prices without one.
        terms: what is haggled off, costs, and what is not believed.
        out: the folder to write.
        new_since: deals.csv of an earlier scan, or its folder: adverts that stand there at the same
            price are not new.
        lang: the language of the page and of sentences, "en" or "ru".
        seed: of the price model.
        on: where photos are looked at: "" in this process, "ray" by worker processes on this
            machine, "ray://HOST:PORT" by those of a Ray cluster that this machine is part of. The
            rows are the same.
        tell: told how the adverts were read, before work begins.
        watch: told of the work as it goes on.

    Raises:
        InputError: a table cannot be read, or nothing can be learnt from it.
        BundleError: the run is missing or damaged.
        OutputError: a file cannot be written.
        MissingExtra: lotlens[cluster] is not installed, for `on`.
    """
    check_place(on)
    if prices is not None and (history is not None or save_prices is not None):
        raise InputError("fitted prices need no history, and are saved already: leave that out")
    fitted = None if prices is None else read_prices(prices)
    if fitted is None:
        import_extra("sklearn", "market")  # said before photos are answered
    language = load_language(lang)
    folder = Path(out)
    table_path, page_path = folder / "deals.csv", folder / "deals.html"
    inputs = [Path(one) for one in (listings, history, prices) if one is not None]
    inputs += [] if photos is None else [Path(one) for one in list_paths(photos)]
    written = [table_path, page_path, folder / DATA_NAME, folder / "deals.parquet"]
    kept = [] if save_prices is None else [Path(save_prices)]
    if {one.resolve() for one in kept} & {one.resolve() for one in written}:
        raise OutputError(f"{save_prices} is a file of the scan's own: name another for the prices")
    for path in [*written, *kept]:
        check_apart(path, inputs)
        check_writable(path)
    model = load(run)
    past = None if new_since is None else _read_past(Path(new_since))
    cars = [car.name for car in model.card.classes]
    read, learnt = _read_tables(listings, history, columns or {}, currency, cars)
    if fitted is not None:
        read = fitted.introduce(read, str(prices))
    past_rows = () if learnt is None else learnt.rows
    if save_prices is not None:
        check_enough([*past_rows, *read.rows])
    if tell is not None:
        tell(read)
        if learnt is not None:
            tell(learnt)
    rows = read.rows
    with ExitStack() as held:
        held.enter_context(hold(table_path, "scan"))
        for path in written:
            remove_unfinished_of(path)
        looked = _look(model, rows, photos, table_path, watch, on)
        if fitted is not None:
            fair: list[Fair] = estimate_by_file(fitted, rows)
        else:
            with watch_whole(watch, "learning prices"):
                found = learn_prices(rows, past_rows, seed=seed)
            fair = found.fair
        offers = rank_offers(rows, fair, looked.claims, looked.shared, terms)
        new = None if past is None else {row.row for row in rows if _key(row) not in past}
        pool = (*past_rows, *rows)
        scanned = Scanned(offers, rows, pool, looked.shown, read.currency, terms or Terms(), new)
        name, synthetic = Path(listings).name, model.card.synthetic
        pictures = draw_offers(scanned, watch)
        write_deals_page(page_path, name, scanned, pictures, synthetic=synthetic, language=language)
        write_deals_data(folder / DATA_NAME, name, scanned, pictures, synthetic=synthetic)
        has_parquet = _write_parquet(
            folder / "deals.parquet", _list_rows(scanned, looked, language)
        )
        num_others = _save_others(folder / "others", looked.others)
        # Twice over: the cells of many adverts at once would fill the memory.
        write_rows_atomically(table_path, COLUMNS, _list_rows(scanned, looked, language))
        for path in kept:  # last: a list without them is better than none
            sources = [Path(one.source).name for one in (read, learnt) if one is not None]
            write_prices(path, keep_prices(found, sources, read.currency))
        if looked.journal is not None:
            looked.journal.remove()
    return Scan(
        folder,
        tuple(offers),
        read,
        len(looked.catalog),
        sum(map(len, looked.missing)),
        None if new is None else len(new),
        has_parquet,
        num_others,
    )


def _read_tables(
    listings: Path | str,
    history: Path | str | None,
    columns: Mapping[str, str],
    currency: str,
    cars: Sequence[str],
) -> tuple[Listings, Listings | None]:
    """The adverts and the history, in one currency."""
    read = read_listings(listings, columns=columns, currency=currency, cars=cars)
    if history is None:
        return read, None
    learnt = read_listings(
        history, columns=columns, may_lack_columns=True, currency=currency, cars=cars
    )
    read = settle_currency(read, learnt.currency, learnt.source)
    return read, settle_currency(learnt, read.currency, read.source)


@dataclass(frozen=True)
class _Looked:
    """What the adverts' photos say.

    Attributes:
        claims, shared: of each advert.
        shown: row of an advert -> the photo to show of it.
        missing: of each advert the names that no file matches.
        catalog: the photos.
        others: photos of cars that are none of the classes, with label and advert.
        journal: where answers are kept until all is written.
    """

    claims: Sequence[Claim | None]
    shared: Sequence[Shared | None]
    shown: Mapping[int, Any]
    missing: Sequence[Sequence[str]]
    catalog: Catalog
    others: Sequence[tuple[Photo, str, str]] = ()
    journal: Journal | None = None


def _look(
    model: Model,
    rows: Sequence[Listing],
    photos: Path | str | Sequence[Path | str] | None,
    table_path: Path,
    watch: Watcher | None,
    on: str,
) -> _Looked:
    if photos is None:
        nothing: list[None] = [None] * len(rows)
        return _Looked(nothing, nothing, {}, [()] * len(rows), Catalog((), ()))
    if not any(row.photos for row in rows):
        raise InputError("no advert names a photo: name their column, such as photos=COLUMN")
    catalog, places, missing = _find_photos(rows, photos)
    journal = Journal(table_path, describe_task(model, catalog), catalog.ids)
    with keep_cluster(on):  # for answers and copies
        predictions = answer_all(model, catalog, journal, watch, on)
        signs = _look_for_copies(catalog, watch, on)
    card = model.card
    cars = [
        decide_car(
            take_rows(predictions, list(own.values())),
            card.refusal,
            card.temperature,
            dependence=card.dependence,
        )
        if own
        else None
        for own in places
    ]
    claims = [
        judge_listing(row, card.classes, car, list(own))
        for row, car, own in zip(rows, cars, places, strict=True)
    ]
    numbers = name_clusters(len(signs), find_links(catalog.photos, signs, watch=watch))
    confirmed = [claim.verdict == "confirmed" for claim in claims]
    pictures = [[numbers[at] for at in own.values()] for own in places]
    shared = judge_copies(rows, pictures, confirmed)
    shown = {}
    for row, own, claim in zip(rows, places, claims, strict=True):
        counted = [at for number, at in own.items() if number not in claim.set_aside]
        best = next(iter(counted or own.values()), None)
        if best is not None:
            shown[row.row] = catalog.photos[best]
    found = [
        (turn, catalog.photos[own[number]], fit(row.car, 100), name_key(row))
        for row, car, claim, share, own in zip(rows, cars, claims, shared, places, strict=True)
        for turn, number in enumerate(find_others(row, card.classes, car, claim, share, list(own)))
    ]
    # One of each advert, then the next: many cars say more than many photos of one.
    found.sort(key=lambda one: one[0])
    others = [(photo, label, advert) for _, photo, label, advert in found]
    return _Looked(claims, shared, shown, missing, catalog, others, journal)


def _look_for_copies(catalog: Catalog, watch: Watcher | None, on: str) -> list[Signs]:
    """What there is to see of every photo, by which copies are found."""
    what = "looking for copies"
    if not on:
        return list(scan_photos(catalog.photos, progress=watch_part(watch, what)))
    from lotlens.cluster.photos import look_at_ranges

    return look_at_ranges(on, catalog, what, watch)


def _save_others(folder: Path, others: Sequence[tuple[Photo, str, str]]) -> int:
    """Put photos of other cars where `lotlens improve --others` finds them; how many lie there."""
    if not others:
        return 0

    def read() -> Iterator[tuple[bytes, str, str]]:
        for photo, label, advert in others[:MOST_OTHERS]:
            if photo.locator is not None:
                with suppress(UnreadablePhoto):
                    yield reader.read(photo.locator), label, advert

    with PhotoReader() as reader:
        return add_labelled(folder, read())


def _find_photos(
    rows: Sequence[Listing], photos: Path | str | Sequence[Path | str]
) -> tuple[Catalog, list[dict[int, int]], list[list[str]]]:
    """The photos that adverts name, where each advert's are among them, and which are missing.

    Where they are is told by the photo's number among the advert's, from 0; each photo counts once.
    """
    sources = list_paths(photos)
    lot = open_unlabelled(sources)
    ids = {one.locator: one.id for one in lot.test.photos if one.locator is not None}
    files = [File(name_below(locator, sources), locator, True) for locator in ids]
    asked = list(dict.fromkeys(tidy_path(name) for row in rows for name in row.photos))
    wanted = [Wanted(name) for name in asked]
    found = {
        name: ids[matches[0].locator] if len(matches) == 1 else ""
        for name, matches in zip(asked, match_files(wanted, files), strict=True)
    }
    used = dict.fromkeys(id_ for id_ in found.values() if id_)
    catalog = lot.test.select(list(used))
    number = {id_: at for at, id_ in enumerate(used)}
    places: list[dict[int, int]] = []
    for row in rows:
        ids_of = [found[tidy_path(name)] for name in row.photos]
        firsts = {id_: n for n, id_ in reversed(list(enumerate(ids_of))) if id_}
        places.append({n: number[id_] for id_, n in sorted(firsts.items(), key=lambda one: one[1])})
    missing = [[name for name in row.photos if not found[tidy_path(name)]] for row in rows]
    if not used:
        some = ", ".join(asked[:3])
        raise InputError(f"none of the adverts' photos ({some}) lies in {lot.reading.source}")
    return catalog, places, missing


def _key(row: Listing) -> tuple[str, str]:
    """By what an advert is known again at the same price."""
    return name_key(row), "" if row.price is None else f"{row.price:.0f}"


def _read_past(path: Path) -> set[tuple[str, str]]:
    """The adverts of an earlier scan."""
    table = read_own_table(path / "deals.csv" if path.is_dir() else path, may_lack_rows=True)
    if table.columns != COLUMNS:
        raise InputError(f"{table.name} was written by no scan, or by one of another version")
    key_at, price_at = COLUMNS.index("key"), COLUMNS.index("price")
    return {(cells[key_at], cells[price_at]) for cells in table.rows}


def _list_rows(scanned: Scanned, looked: _Looked, language: Language) -> Iterator[list[object]]:
    """The rows of deals.csv."""
    names = [name_advert(row, language) for row in scanned.rows]
    code = "ru" if language.code == "ru" else "en"
    return (_list_cells(offer, scanned, looked, names, code) for offer in scanned.offers)


def _list_cells(
    offer: Offer, scanned: Scanned, looked: _Looked, names: Sequence[str], code: Any
) -> list[object]:
    """A row of deals.csv."""
    row, fair, claim, shared = offer.row, offer.fair, offer.claim, offer.shared
    at = row.row - 1
    aside = {} if claim is None else claim.set_aside
    said = {} if claim is None else {"verdict": claim.verdict, "why": claim.why}
    seen: CarClass | None = None if claim is None else claim.seen
    values: dict[str, object] = {
        "rank": offer.rank,
        "worth_a_call": int(offer.is_worth_a_call),
        "new": None if scanned.new is None else int(row.row in scanned.new),
        "id": row.id,
        "title": row.title,
        "make": row.make,
        "model": row.model,
        "year": row.year,
        "mileage_km": _round(row.mileage),
        "price": _round(row.price),
        "currency": scanned.currency,
        "fair_price": _round(fair.price),
        "fair_low": _round(fair.low),
        "fair_high": _round(fair.high),
        "fair_low90": _round(fair.low90),
        "fair_high90": _round(fair.high90),
        "gain": _round(offer.gain),
        "sure_gain": _round(offer.sure_gain),
        "fair_by": fair.method,
        "num_like": fair.num_like,
        "analogues": "; ".join(scanned.pool[one].id for one in fair.analogues),
        "claim": said.get("verdict"),
        "claim_open_because": said.get("why"),
        "photos_say": None if seen is None else seen.name,
        "photos_say_probability": None
        if claim is None or seen is None
        else round(claim.probability, 4),
        "claimed_probability": None
        if claim is None or claim.chance is None
        else round(claim.chance, 4),
        "photos_set_aside": "; ".join(f"photo {n + 1} {why}" for n, why in sorted(aside.items())),
        "photos_missing": "; ".join(looked.missing[at]),
        "same_picture": None if shared is None else shared.kind,
        "same_picture_in": ""
        if shared is None
        else "; ".join(scanned.rows[other].id for other in shared.others),
        "by_hand_because": "; ".join(offer.reasons),
        "sentence": say_offer(offer, scanned.currency, code, names),
        "problems": "; ".join(row.problems),
        "url": row.url,
        "key": name_key(row),
    }
    return [values[column] for column in COLUMNS]


def _round(value: float | None) -> int | None:
    return None if value is None or math.isnan(value) else round(value)


_WHOLES = frozenset({
    "rank", "worth_a_call", "new", "year", "mileage_km", "price", "fair_price", "fair_low",
    "fair_high", "fair_low90", "fair_high90", "gain", "sure_gain", "num_like",
})  # fmt: skip
_SHARES = frozenset({"photos_say_probability", "claimed_probability"})
_PIECE = 5_000
"""Adverts that are turned into a part of deals.parquet at once."""


def _write_parquet(path: Path, rows: Iterable[Sequence[object]]) -> bool:
    """The same as Parquet, where pyarrow is installed; whether it is."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ModuleNotFoundError:
        return False
    kinds = {**dict.fromkeys(_WHOLES, pyarrow.int64()), **dict.fromkeys(_SHARES, pyarrow.float64())}
    schema = pyarrow.schema([(name, kinds.get(name, pyarrow.string())) for name in COLUMNS])
    left = iter(rows)
    with atomic_path(path) as part_path, parquet.ParquetWriter(part_path, schema) as writer:
        while piece := list(islice(left, _PIECE)):
            columns = dict(zip(COLUMNS, map(list, zip(*piece, strict=True)), strict=True))
            writer.write_table(pyarrow.table(columns, schema))
    return True
