"""The desk's REST: photos of a car in, one answer out; it knows no page."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field
from typing import Any

from fastapi import APIRouter, Request, Response
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.requests import ClientDisconnect

from lotlens.errors import InputError
from lotlens.naming import find_class
from lotlens.photos.formats import name_stranger
from lotlens.records import OK, Box, CarClass
from lotlens.refusal.cars import decide_car, judge_claim
from lotlens.refusal.verdicts import Verdict
from lotlens.report.language import Language
from lotlens.web.batching import Answered, Batching, Busy, Ending, Ticket
from lotlens.web.problems import Problem
from lotlens.web.shapes import (
    Car,
    CarAnswer,
    CarBox,
    ClaimAnswer,
    Corrected,
    ModelAnswer,
    PhotoAnswer,
    State,
    list_errors,
)
from lotlens.web.store import NONE_OF_THESE, Store
from lotlens.web.uploads import PHOTOS, Form, FormBounds, read_form, stream_body, tell_length, weigh
from lotlens.web.wording import tell_advice, tell_car, tell_claim, tell_verdict

ANSWER_PATIENCE_S = 60.0
"""For an answer once its request is accepted."""
MOST_CANDIDATES = 5
_SECONDS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
FORM_ERRORS = (
    *("no_photo", "bad_form", "unknown_field", "field_too_long", "not_let_in", "foreign_page"),
    *("too_slow", "body_too_large", "photo_too_large", "too_many_photos", "not_a_form"),
    *("wrong_name", "too_often", "failed"),
)
_READ_ERRORS = ("not_let_in", "wrong_name", "failed")

log = logging.getLogger("lotlens.desk")


class Meters:
    """What is counted, for Prometheus; nothing in it tells of photos or people."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "lotlens_requests", "Cars asked about, by how it ended", ["end"], registry=self.registry
        )
        self.photos = Counter("lotlens_photos", "Photos answered", registry=self.registry)
        self.batches = Counter("lotlens_batches", "Batches answered", registry=self.registry)
        self.batch_s = Histogram(
            "lotlens_batch_seconds", "Time of a batch", buckets=_SECONDS, registry=self.registry
        )
        self.answer_s = Histogram(
            "lotlens_answer_seconds",
            "From the end of a request's body to its answer",
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.held = Gauge("lotlens_photos_held", "Photos that wait", registry=self.registry)

    def note_batch(self, num_photos: int, took_s: float) -> None:
        """As `Batching` tells it."""
        self.photos.inc(num_photos)
        self.batches.inc()
        self.batch_s.observe(took_s)


@dataclass
class Desk:
    """What the routes share.

    Attributes:
        batching: answers.
        store: remembers.
        choose: the language of a request.
        bounds: of each request.
        meters: what is counted.
    """

    batching: Batching
    store: Store
    choose: Callable[[Request], Language]
    bounds: FormBounds = field(default_factory=FormBounds)
    meters: Meters = field(default_factory=Meters)

    async def predict(self, request: Request) -> CarAnswer:
        """Answer for the car that a request shows.

        Raises:
            Problem: it cannot be answered.
            ClientDisconnect: nobody waits for the answer any more.
        """
        language = self.choose(request)
        with self._admit(request) as ticket:
            form = await self._read(request, {"claim", "listing", "remember"})
            uploads = await asyncio.to_thread(weigh, form.photos)
            began_s = time.perf_counter()
            try:
                future = ticket.submit(uploads)
            except Busy as reason:
                raise _tell_why(reason) from None
            answered = await _wait(request, future)
            self.meters.answer_s.observe(time.perf_counter() - began_s)
        answer, verdict = self._describe(answered, form, language)
        if form.fields.get("remember") == "1":
            # The history is read in any language, so what was decided is kept beside the words.
            said = answer.model_dump(exclude={"check_id"}) | {"said": verdict.sentence}
            answer.check_id = await asyncio.to_thread(
                self.store.remember, answered.served.id, said, form.photos
            )
        return answer

    def check_room(self) -> None:
        """Refuse photos while none can be taken, before any more is done for whoever sends them.

        Raises:
            Problem: nothing can.
        """
        try:
            self.batching.check_room()
        except (Busy, Ending) as reason:
            problem = _tell_why(reason)
            self.meters.requests.labels(problem.code).inc()
            raise problem from None

    def _admit(self, request: Request) -> Ticket:
        """Hold what a request says it will bring, before any of it is read.

        Raises:
            Problem: it is too much, or nothing is taken now.
        """
        num_bytes = tell_length(request.headers, self.bounds)
        try:
            return self.batching.admit(num_bytes)
        except (Busy, Ending) as reason:
            raise _tell_why(reason) from None

    async def _read(self, request: Request, known: set[str]) -> Form:
        kind = request.headers.get("content-type", "")
        form = await read_form(kind, stream_body(request), frozenset(known), self.bounds)
        if not form.photos:
            raise Problem("no_photo")
        if not any(form.photos):
            raise Problem("unreadable", reason=name_stranger(b""))
        return form

    def _describe(
        self, answered: Answered, form: Form, language: Language
    ) -> tuple[CarAnswer, Verdict]:
        card = answered.served.model.card
        predictions = answered.predictions
        if not predictions.answered.any():
            reason = next(status for status in predictions.status if status != OK)
            raise Problem("unreadable", reason=reason)
        car = decide_car(predictions, card.refusal, card.temperature, dependence=card.dependence)
        by_label = dict(zip(card.labels, car.chances, strict=False))
        ranked = sorted(card.classes, key=lambda one: -by_label.get(one.label, 0.0))
        text = form.fields.get("claim", "")
        claim = None
        if text:
            claimed = find_class([text], card.classes, by_label=True)
            result = judge_claim(claimed, car, card.classes)
            claim = ClaimAnswer(
                text=text,
                label=None if claimed is None else claimed.label,
                name=None if claimed is None else claimed.name,
                result=result,
                sentence=tell_claim(text, claimed, result, car.verdict, language),
            )

        def show(one: CarClass) -> Car:
            return Car(label=one.label, name=one.name, probability=by_label.get(one.label))

        answer = CarAnswer(
            model_id=answered.served.id,
            check_id=None,
            listing=form.fields.get("listing") or None,
            verdict=car.verdict.kind,
            sentence=tell_car(car.verdict, car.doubtful, language),
            advice=tell_advice(car, language),
            probability=car.verdict.probability,
            cars=[show(one) for one in car.verdict.named],
            candidates=[show(one) for one in ranked[:MOST_CANDIDATES]] if by_label else [],
            photos=[
                PhotoAnswer(
                    verdict=verdict.kind,
                    sentence=tell_verdict(verdict, language),
                    used=row in car.used,
                    odd=row in car.doubtful,
                    box=show_box(predictions.get_box(row)),
                )
                for row, verdict in enumerate(car.photos)
            ],
            claim=claim,
        )
        return answer, car.verdict

    async def correct(self, request: Request) -> Corrected:
        """Keep what a car is in fact.

        Raises:
            Problem: it cannot be kept.
            ClientDisconnect: the request was cut off.
        """
        with self._admit(request):
            form = await self._read(request, {"check_id", "label"})
            return await asyncio.to_thread(self._keep, form)

    def _keep(self, form: Form) -> Corrected:
        check = self.store.find_check(form.fields.get("check_id", ""))
        if check is None:
            raise Problem("gone")
        if "label" not in form.fields:
            raise Problem("bad_request")
        label, name = form.fields["label"], ""
        if label != NONE_OF_THESE:
            classes = {car.label: car.name for car in self.batching.served.model.card.classes}
            if label not in classes:
                raise Problem("unknown_class")
            name = classes[label]
        try:
            is_kept = self.store.correct(check, label, name, form.photos)
        except InputError:
            raise Problem("other_photos") from None
        if not is_kept:
            raise Problem("gone")
        return Corrected(check_id=check.id, label=label, name=name)


def show_box(box: Box | None) -> CarBox | None:
    """A box as an answer has it: three decimals are a pixel of a large photo."""
    return None if box is None else CarBox(**{k: round(v, 3) for k, v in asdict(box).items()})


def build_routes(desk: Desk) -> APIRouter:
    """All paths of the REST."""
    routes = APIRouter()

    @routes.post(
        "/api/v1/predict",
        tags=["cars"],
        summary="Say which model a car is, by one photo or several",
        response_model=CarAnswer,
        responses=list_errors(*FORM_ERRORS, "unreadable", "too_busy", "ending", "timed_out"),
        openapi_extra=_describe_form(
            {
                "claim": "The model that the car is said to be, by name or label.",
                "listing": "The advert's id; it comes back with the answer.",
                "remember": '"1" puts the answer into the history, so that it can be corrected.',
            },
            desk.bounds,
        ),
    )
    async def predict(request: Request) -> Any:
        """All photos must show one car. They are in no file at any time, and gone with the answer.

        The sentences are in the language of Accept-Language (en or ru).
        """
        end, began_s = "failed", time.perf_counter()
        try:
            answer = await desk.predict(request)
            end = "answered"
            return answer
        except Problem as problem:
            end = problem.code
            raise
        except ClientDisconnect:
            end = "client_gone"
            return Response(status_code=400)
        finally:
            desk.meters.requests.labels(end).inc()
            took_s = round(time.perf_counter() - began_s, 4)
            log.info(json.dumps({"what": "predict", "end": end, "seconds": took_s}))

    @routes.post(
        "/api/v1/corrections",
        tags=["cars"],
        summary="Say what a car is in fact",
        response_model=Corrected,
        responses=list_errors(
            *(*FORM_ERRORS, "bad_request", "gone", "unreadable", "unknown_class", "other_photos"),
            *("too_busy", "ending"),
        ),
        openapi_extra=_describe_form(
            {
                "check_id": "Of the answer that is corrected.",
                "label": "Of the class that it is; empty if it is none of them.",
            },
            desk.bounds,
        ),
    )
    async def correct(request: Request) -> Any:
        """The photos of the check are sent again, in the same order, and kept without their notes
        (place, time, camera). Once this answers, the correction is on the disk.
        """
        try:
            return await desk.correct(request)
        except ClientDisconnect:
            return Response(status_code=400)

    @routes.get(
        "/api/v1/corrections.csv",
        tags=["cars"],
        summary="All corrections as a table",
        response_class=Response,
        responses={
            200: {"content": {"text/csv": {"schema": {"type": "string"}}}},
            **list_errors(*_READ_ERRORS),
        },
    )
    async def export() -> Response:
        """Columns: check, at, model, said, label, name, photos."""
        text = await asyncio.to_thread(desk.store.write_csv)
        return Response(
            text.encode(),
            media_type="text/csv; charset=utf-8",
            headers={"Content-Disposition": 'attachment; filename="corrections.csv"'},
        )

    @routes.get(
        "/api/v1/model",
        tags=["model"],
        summary="The model that answers now",
        response_model=ModelAnswer,
        responses=list_errors(*_READ_ERRORS),
    )
    async def get_model() -> ModelAnswer:
        """What it knows, and how good it is."""
        served = desk.batching.served
        card = served.model.card
        return ModelAnswer(
            id=served.id,
            classes=[asdict(car) for car in card.classes],
            backbone=card.backbone,
            engine=card.engine,
            precision=card.precision,
            synthetic=card.synthetic,
            metrics=[metric.to_dict() | {"name": metric.name} for metric in card.metrics],
            coverage=None if card.refusal is None else card.refusal.coverage,
            lotlens_version=card.lotlens_version,
        )

    @routes.get("/healthz", tags=["server"], summary="Whether the server lives")
    async def get_health() -> State:
        return State(status="ok")

    @routes.get(
        "/readyz",
        tags=["server"],
        summary="Whether it takes requests",
        responses={503: {"model": State, "description": "It is being shut down."}},
    )
    async def get_readiness(response: Response) -> State:
        if desk.batching.is_ending:
            response.status_code = 503
            return State(status="ending")
        return State(status="ok")

    @routes.get(
        "/metrics",
        tags=["server"],
        summary="Counts for Prometheus",
        response_class=Response,
        responses={
            200: {"content": {"text/plain": {"schema": {"type": "string"}}}},
            **list_errors(*_READ_ERRORS),
        },
    )
    async def get_metrics() -> Response:
        desk.meters.held.set(desk.batching.num_held)
        return Response(generate_latest(desk.meters.registry), media_type="text/plain")

    return routes


async def _wait(request: Request, future: Future[Answered]) -> Answered:
    """The answer, unless the client goes first.

    Raises:
        ClientDisconnect: it has.
        Problem: it took too long.
    """

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    answer = asyncio.wrap_future(future)
    gone = asyncio.create_task(watch())
    both: set[asyncio.Future[Any]] = {answer, gone}
    try:
        done, _ = await asyncio.wait(
            both, timeout=ANSWER_PATIENCE_S, return_when=asyncio.FIRST_COMPLETED
        )
    finally:
        gone.cancel()
    if answer in done:
        return answer.result()
    answer.cancel()
    if gone in done:
        raise ClientDisconnect
    raise Problem("timed_out", retry_after_s=10)


def _tell_why(reason: Busy | Ending) -> Problem:
    if isinstance(reason, Ending):
        return Problem("ending", retry_after_s=5)
    seconds = reason.retry_after_s
    return Problem("too_busy", retry_after_s=seconds, seconds=str(seconds))


def _describe_form(fields: dict[str, str], bounds: FormBounds) -> dict[str, Any]:
    """For the OpenAPI: a form with photos and these fields."""
    properties: dict[str, Any] = {
        PHOTOS: {
            "type": "array",
            "minItems": 1,
            "maxItems": bounds.most_photos,
            "items": {"type": "string", "format": "binary"},
            "description": "JPEG, PNG, WebP, HEIC, AVIF, GIF, BMP or TIFF.",
        }
    }
    for name, told in fields.items():
        properties[name] = {"type": "string", "description": told}
    schema = {
        "type": "object",
        "required": [PHOTOS],
        "properties": properties,
        "additionalProperties": False,
    }
    return {
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
    }
