"""The list of a scan on the desk: offers with their pictures, and marks that people set on them."""

from __future__ import annotations

import asyncio
import base64
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Request, Response
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import ClientDisconnect

from lotlens.errors import InputError, shorten
from lotlens.market.listings import is_web_address
from lotlens.report.deals_page import DATA_NAME, MOST_OFFERS
from lotlens.report.language import LANGUAGES, Language
from lotlens.web.problems import Problem
from lotlens.web.shapes import Marked, list_errors
from lotlens.web.store import Mark, Store

_MOST_BYTES = 100_000_000
_MOST_BODY_BYTES = 4096
_BODY_PATIENCE_S = 10.0
_JPEG = b"\xff\xd8\xff"
DEALS_STATIC = {"deals.js": "text/javascript", "offers.css": "text/css"}
"""Files of the report's folder that the page needs."""

log = logging.getLogger("lotlens.desk")
Text = Annotated[str, Field(max_length=4000)]
Count = Annotated[int, Field(ge=0)]
Place = Annotated[float, Field(allow_inf_nan=False)]


class _Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Chart(_Shape):
    low90: Place
    width90: Place
    low: Place
    width: Place
    middle: Place
    price: Place
    left: Text
    right: Text
    told: Text


class _Offer(_Shape):
    """As `report.deals_page.describe_offers` describes one."""

    key: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    id: Text
    kind: Literal["call", "hand", "rest"]
    rank: Count | None
    is_new: bool
    car: Text
    title: Text
    sentence: Text
    price: Text
    price_number: Text
    share: Text
    year: Text
    facts: Text
    chart: _Chart | None
    claim: Text
    url: Text
    method: Text
    analogues: Annotated[list[Text], Field(max_length=20)]
    problems: Annotated[list[Text], Field(max_length=100)]


class _Page(_Shape):
    num_offers: Count
    num_shown: Count
    num_calls: Count
    num_ranked: Count
    num_by_hand: Count
    num_new: Count | None
    terms: Text
    cars: Annotated[list[Text], Field(max_length=MOST_OFFERS)]
    offers: Annotated[list[_Offer], Field(max_length=MOST_OFFERS)]


class _Data(_Shape):
    format: Literal[1]
    name: Text
    synthetic: bool
    pages: dict[Literal["en", "ru"], _Page]
    pictures: Annotated[list[str | None], Field(max_length=MOST_OFFERS)]


@dataclass(frozen=True)
class Deals:
    """A finished scan as the desk shows it.

    Attributes:
        name: of the table of adverts.
        synthetic: whether the model was trained on drawn photos.
        pages: language -> values for offers.html.jinja.
        pictures: a JPEG for each offer, or None.
        offers: an advert's key -> its offer in the first language.
    """

    name: str
    synthetic: bool
    pages: Mapping[str, Mapping[str, Any]]
    pictures: tuple[bytes | None, ...]
    offers: Mapping[str, Mapping[str, Any]]


def read_deals(folder: Path) -> Deals:
    """The list that a scan has written.

    Raises:
        InputError: there is none, or it is damaged.
    """
    path = folder / DATA_NAME
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise InputError(f"{path} is too large: {_MOST_BYTES:,} bytes at most")
        data = _Data.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}): name the folder that lotlens scan wrote"
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        told = shorten(f"{where}: {first['msg']}", 200)
        raise InputError(f"{path} was written by no scan of this version ({told})") from error
    pages: dict[str, dict[str, Any]] = {
        code: page.model_dump() for code, page in data.pages.items()
    }
    counts = {len(page["offers"]) for page in pages.values()} | {len(data.pictures)}
    if set(pages) != set(LANGUAGES) or len(counts) != 1:
        raise InputError(f"{path} is damaged: its pages and pictures do not fit together")
    for page in pages.values():
        for offer in page["offers"]:
            if offer["url"] and not is_web_address(offer["url"]):
                raise InputError(f"{path} is damaged: an address in it is none of the web")
    try:
        pictures = tuple(
            None if one is None else base64.b64decode(one, validate=True) for one in data.pictures
        )
    except ValueError as error:
        raise InputError(f"{path} is damaged: a picture in it is no base64") from error
    if any(one is not None and not one.startswith(_JPEG) for one in pictures):
        raise InputError(f"{path} is damaged: a picture in it is no JPEG")
    offers = {offer["key"]: offer for offer in pages[LANGUAGES[0]]["offers"]}
    return Deals(data.name, data.synthetic, pages, pictures, offers)


class Shelf:
    """The list of a folder, read anew when a scan has written it anew. For many threads.

    Raises:
        InputError: as `read_deals`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._stamp = self._look()
        self._deals = read_deals(folder)

    def _look(self) -> tuple[int, int] | None:
        try:
            found = (self._folder / DATA_NAME).stat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_size

    def get(self) -> Deals:
        """The present list; what cannot be read leaves the one before."""
        with self._lock:
            stamp = self._look()
            if stamp is not None and stamp != self._stamp:
                self._stamp = stamp
                try:
                    self._deals = read_deals(self._folder)
                except InputError as error:
                    log.warning("%s", shorten(str(error)))
            return self._deals


class _Wanted(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    advert: Annotated[str, Field(max_length=64)]
    mark: Mark


def add_deals(
    app: FastAPI,
    shelf: Shelf,
    store: Store,
    *,
    choose: Callable[[Request], Language],
    render: Callable[..., Response],
) -> None:
    """Add the page of a scan, its pictures, and the marks.

    Args:
        app: of the desk, behind its gate.
        shelf: has the list.
        store: keeps the marks.
        choose: the language of a request.
        render: fills in a template of this room for a request.
    """
    folder = resources.files("lotlens.report")
    static = {name: folder.joinpath(name).read_bytes() for name in DEALS_STATIC}

    @app.get("/deals", include_in_schema=False)
    async def get_page(request: Request) -> Response:
        deals, marks = await asyncio.to_thread(lambda: (shelf.get(), store.list_marks()))
        page = dict(deals.pages[choose(request).code])
        page["offers"] = [
            {
                **offer,
                "src": "" if picture is None else f"/deals/pictures/{offer['key']}",
                "mark": marks.get(offer["key"], ""),
            }
            for offer, picture in zip(page["offers"], deals.pictures, strict=True)
        ]
        return render(
            request,
            "deals.html.jinja",
            table=f"{deals.name}, deals.csv",
            title=deals.name,
            is_drawn=deals.synthetic,
            has_marks=True,
            has_pictures=any(deals.pictures),
            **page,
        )

    @app.get("/deals/pictures/{key}", include_in_schema=False)
    async def get_picture(key: str) -> Response:
        deals = await asyncio.to_thread(shelf.get)
        for offer, picture in zip(deals.pages["en"]["offers"], deals.pictures, strict=True):
            if offer["key"] == key and picture is not None:
                return Response(picture, media_type="image/jpeg")
        raise Problem("not_found")

    @app.get("/static/deals/{name}", include_in_schema=False)
    async def get_static(name: str) -> Response:
        if name not in static:
            raise Problem("not_found")
        return Response(static[name], media_type=DEALS_STATIC[name])

    @app.post(
        "/api/v1/marks",
        tags=["deals"],
        summary="Mark an advert of the scan",
        response_model=Marked,
        responses=list_errors(
            *("bad_request", "not_let_in", "foreign_page", "too_slow", "body_too_large"),
            *("wrong_name", "unknown_advert", "too_often", "failed"),
        ),
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": _Wanted.model_json_schema()}},
            }
        },
    )
    async def mark(request: Request) -> Any:
        """One of "called", "bought" and "rubbish"; an empty one takes it away. Once this answers,
        it is on the disk, and an advert that is in the next scan too has it there.
        """
        try:
            wanted = await _read(request)
        except ClientDisconnect:
            return Response(status_code=400)
        deals = await asyncio.to_thread(shelf.get)
        offer = deals.offers.get(wanted.advert)
        if offer is None:
            raise Problem("unknown_advert")
        told = {"number": offer["id"], "title": offer["title"], "url": offer["url"]}
        await asyncio.to_thread(store.mark, wanted.advert, wanted.mark, told)
        return Marked(advert=wanted.advert, mark=wanted.mark)

    @app.get(
        "/api/v1/marks.csv",
        tags=["deals"],
        summary="All marks as a table",
        response_class=Response,
        responses={
            200: {"content": {"text/csv": {"schema": {"type": "string"}}}},
            **list_errors("not_let_in", "wrong_name", "failed"),
        },
    )
    async def export() -> Response:
        """Columns: at, mark, number, title, url, advert."""
        text = await asyncio.to_thread(store.write_marks_csv)
        return Response(
            text.encode(),
            media_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": 'attachment; filename="marks.csv"'},
        )


async def _read(request: Request) -> _Wanted:
    """The body of a request to mark an advert.

    Raises:
        Problem: it is none, too large, or comes too slowly.
    """

    async def gather() -> bytes:
        body = bytearray()
        async for chunk in request.stream():
            body += chunk
            if len(body) > _MOST_BODY_BYTES:
                raise Problem("body_too_large", limit=str(_MOST_BODY_BYTES))
        return bytes(body)

    try:
        body = await asyncio.wait_for(gather(), _BODY_PATIENCE_S)
    except TimeoutError:
        raise Problem("too_slow", seconds=f"{_BODY_PATIENCE_S:.0f}") from None
    try:
        return _Wanted.model_validate_json(body)
    except ValidationError:
        raise Problem("bad_request") from None
