"""The manager's desk: the page, its history, and the application with the REST behind it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from importlib import resources
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from lotlens.records import CarClass
from lotlens.refusal.verdicts import Verdict
from lotlens.report.language import ENGLISH, LANGUAGES, Language, load_language
from lotlens.report.templates import format_chance, open_templates
from lotlens.version import __version__
from lotlens.web.batching import Batching
from lotlens.web.deals import Shelf, add_deals
from lotlens.web.gate import Gate, Policy
from lotlens.web.job_routes import add_job_pages, build_job_routes, tell_time
from lotlens.web.jobs import Jobs
from lotlens.web.problems import Problem
from lotlens.web.rest import FORM_ERRORS, Desk, Meters, build_routes
from lotlens.web.server import make_json
from lotlens.web.store import NONE_OF_THESE, Check, Store
from lotlens.web.uploads import FormBounds
from lotlens.web.wording import tell_car, tell_claim

_KINDS = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
_STATIC = {
    "web": ("desk.js", "lists.js", "jobs.js", "marks.js", "desk.css", "icon.svg"),
    "report": ("tables.js",),
}
"""Files that pages ask for, by their room."""
_CODES = {404: "not_found", 405: "wrong_method"}
_LANGUAGE = re.compile(r"\s*([a-z]{2})(?:-[a-z0-9-]+)?\s*(?:;\s*q=(0(?:\.\d+)?|1(?:\.0+)?))?\s*")


def build_desk(
    batching: Batching,
    store: Store,
    *,
    name: str,
    jobs: Jobs,
    policy: Policy | None = None,
    language: Language = ENGLISH,
    bounds: FormBounds | None = None,
    meters: Meters | None = None,
    shelf: Shelf | None = None,
) -> FastAPI:
    """The application.

    Args:
        batching: answers; it is closed when the application ends.
        store: keys, history and corrections; likewise.
        name: of the run, for the page.
        jobs: lists of many photos; they are taken up when the application begins, and left to go on
            another time when it ends.
        policy: who is let in; None for this machine alone.
        language: for whoever asks for none that is known.
        bounds: of each request.
        meters: what is counted, if `batching` tells of its batches there.
        shelf: has the list of a scan, if one is to be shown.
    """
    policy, bounds = policy or Policy(), bounds or FormBounds()

    def choose(request: Request) -> Language:
        return choose_language(request, language)

    def refuse(request: Request, problem: Problem) -> Response:
        response = make_json(problem.to_dict(choose(request)), problem.status)
        if problem.retry_after_s is not None:
            response.headers["Retry-After"] = str(problem.retry_after_s)
        if problem.code == "not_let_in":
            response.headers["WWW-Authenticate"] = "Bearer"
        length = request.headers.get("content-length", "")
        is_bounded = length.isdigit() and len(length) < 18 and int(length) <= bounds.most_body_bytes
        if problem.status not in (429, 503) or not is_bounded:
            # Else what still comes of a body is let go by unread: whoever hung up on a client that
            # is still sending would not be heard.
            response.headers["Connection"] = "close"
        return response

    @asynccontextmanager
    async def live(app: FastAPI) -> AsyncIterator[None]:
        del app
        await asyncio.to_thread(jobs.start)
        yield
        await asyncio.to_thread(jobs.close)
        await asyncio.to_thread(batching.close)
        store.close()

    app = FastAPI(
        title="lotlens desk",
        version=__version__,
        summary="Which model is this car?",
        description="Programs send an API key as `Authorization: Bearer KEY`; on the machine itself"
        " they need none. Every error has the shape `{error: {code, message}}`.",
        openapi_url="/api/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=live,
    )
    desk = Desk(batching, store, choose, bounds, meters or Meters())
    app.include_router(build_routes(desk))
    app.include_router(build_job_routes(jobs, choose, FORM_ERRORS))
    app.add_middleware(
        Gate,
        policy=policy,
        store=store,
        check_room=desk.check_room,
        choose=choose,
        refuse=refuse,
    )
    render = _add_page(app, desk, policy, name, shelf)
    add_job_pages(app, jobs, choose, render)

    @app.exception_handler(Problem)
    async def tell(request: Request, problem: Problem) -> Response:
        return refuse(request, problem)

    @app.exception_handler(HTTPException)
    async def tell_status(request: Request, error: HTTPException) -> Response:
        response = refuse(request, Problem(_CODES.get(error.status_code, "bad_request")))
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(RequestValidationError)
    async def tell_invalid(request: Request, error: RequestValidationError) -> Response:
        del error
        return refuse(request, Problem("bad_request"))

    return app


def choose_language(request: Request, usual: Language) -> Language:
    """What a request asks for: `?lang=`, else the best of Accept-Language, else the usual one."""
    asked = request.query_params.get("lang", "")
    if asked in LANGUAGES:
        return load_language(asked)
    accepted = request.headers.get("accept-language", "")[:500].lower()
    found = [match for part in accepted.split(",") if (match := _LANGUAGE.fullmatch(part))]
    wanted = [(float(one[2] or 1), one[1]) for one in found if one[1] in LANGUAGES]
    best = max(wanted, key=lambda pair: pair[0], default=None)
    return usual if best is None or not best[0] else load_language(best[1])


def _add_page(
    app: FastAPI, desk: Desk, policy: Policy, name: str, shelf: Shelf | None
) -> Callable[..., Response]:
    """Add the page, its history and its files; gives what renders a page (request, template)."""
    static = {
        one: resources.files(f"lotlens.{room}").joinpath(one).read_bytes()
        for room, files in _STATIC.items()
        for one in files
    }
    scripts = "".join(data.decode() for one, data in static.items() if one.endswith(".js"))
    said = set(re.findall(r'\bsay\(\s*"([^"\\]+)"', scripts))
    pages = {code: open_templates("web", load_language(code)) for code in LANGUAGES}

    def render(request: Request, template: str, **values: Any) -> Response:
        language = desk.choose(request)
        page = pages[language.code].get_template(template)
        text = page.render(
            language=language,
            name=name,
            synthetic=desk.batching.served.model.card.synthetic,
            token=policy.token,
            texts={one: language.texts[one] for one in sorted(said & language.texts.keys())},
            has_deals=shelf is not None,
            **values,
        )
        return Response(text, media_type="text/html")

    @app.get("/", include_in_schema=False)
    async def get_page(request: Request) -> Response:
        classes = sorted(desk.batching.served.model.card.classes, key=lambda car: car.name)
        return render(request, "desk.html.jinja", classes=classes, bounds=desk.bounds)

    @app.get("/history", include_in_schema=False)
    async def get_history(request: Request) -> Response:
        checks = await asyncio.to_thread(desk.store.list_checks)
        language = desk.choose(request)
        rows = [_describe(check, language) for check in checks]
        return render(request, "history.html.jinja", rows=rows)

    if shelf is not None:
        add_deals(app, shelf, desk.store, choose=desk.choose, render=render)

    @app.get("/static/{name}", include_in_schema=False)
    async def get_static(name: str) -> Response:
        if name not in static:
            raise Problem("not_found")
        return Response(static[name], media_type=_KINDS[name.rpartition(".")[2]])

    return render


def _describe(check: Check, language: Language) -> Mapping[str, Any]:
    """A check as the history shows it, in words of the reader's language."""
    corrected = None
    if check.correction is not None:
        label, name = check.correction
        corrected = language.say("none of the models") if label == NONE_OF_THESE else name
    answer = check.answer
    cars = tuple(CarClass(car["label"], car["name"]) for car in answer["cars"])
    verdict = Verdict(answer["verdict"], cars, answer["probability"], (), answer["said"])
    doubtful = [at for at, photo in enumerate(answer.get("photos") or ()) if photo["odd"]]
    claim = answer["claim"]
    if claim is not None:
        label = claim["label"]
        claimed = None if label is None else CarClass(label, claim["name"])
        claim = tell_claim(claim["text"], claimed, claim["result"], verdict, language)
    return {
        "at": tell_time(check.at, language),
        "sentence": tell_car(verdict, doubtful, language),
        "chance": format_chance(answer["probability"], language) if verdict.kind == "model" else "",
        "verdict": verdict.kind,
        "claim": claim,
        "num_photos": len(check.photos_sha256),
        "corrected": corrected,
    }
