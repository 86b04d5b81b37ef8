"""REST and pages of lists of many photos; what becomes of them is the affair of `web.jobs`."""

from __future__ import annotations

import asyncio
import json
import logging
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, FastAPI, Path, Query, Request, Response
from fastapi.responses import FileResponse
from pydantic import Field
from starlette.requests import ClientDisconnect

from lotlens.photos.archives import PhotoReader
from lotlens.records import OK, CarClass, Locator
from lotlens.refusal.verdicts import Verdict
from lotlens.report.answers_page import KINDS_IN_WORDS
from lotlens.report.language import Language
from lotlens.report.pictures import read_thumbnail
from lotlens.report.templates import format_chance
from lotlens.texts import show
from lotlens.web.job_files import ANSWERS, SUBMISSION, Job
from lotlens.web.jobs import Jobs
from lotlens.web.problems import Problem
from lotlens.web.shapes import Shape, list_errors
from lotlens.web.uploads import PHOTOS, read_form, stream_body, tell_length
from lotlens.web.wording import tell_verdict

THUMBNAIL = (192, 144)
MOST_ROWS = 1000
"""That are given at once."""
_READ_ERRORS = ("not_let_in", "wrong_name", "failed", "no_job")
_ID = "d41d8cd98f00b204e9800998ecf8427e"

log = logging.getLogger("lotlens.desk")

Id = Annotated[str, Path(description="As the list was given it.", examples=[_ID])]


class JobAnswer(Shape):
    """A list of photos, and how far it is answered."""

    id: str = Field(examples=[_ID])
    at: str = Field(description="When it was accepted, in UTC.")
    state: Literal["waiting", "running", "done", "failed"] = Field(
        description="Failed: the program ended several times at the same photos."
    )
    done: int = Field(description="Photos that are answered.", examples=[120])
    total: int = Field(description="Photos.", examples=[400])
    left_out: int = Field(description="Files in zips that are no photos.")
    seconds_left: int | None = Field(
        description="With the lists before it; null while that is not known.", examples=[12]
    )
    model_id: str | None = Field(
        description="Which model answers, all of it; null until one does. If it changes before the"
        " end, the list is answered anew.",
        examples=["5b0f1e2d3c4a"],
    )
    unanswered: int | None = Field(description="Photos without an answer; null until the end.")
    filled: int | None = Field(
        description="Rows of the submission that have the commonest class for want of an answer;"
        " null until the end, and where there is no submission."
    )
    photos_until: str | None = Field(description="When the photos are deleted; null until the end.")
    kept_until: str | None = Field(description="Likewise, all that belongs to the list.")


class JobList(Shape):
    """All lists, the latest first."""

    jobs: list[JobAnswer]


class JobRow(Shape):
    """What is said of one photo of a list."""

    number: int = Field(description="Of the photo, from 0.")
    id: str = Field(description="The name of its file, or its path in the zip.")
    verdict: Literal["model", "unsure", "unknown", "not a car", "poor photo", "no answer"]
    sentence: str = Field(examples=["This is Lada Kalina."])
    label: str | None = Field(description="Of the likeliest class, where classes are named.")
    name: str | None = Field(description="Likewise.", examples=["Lada Kalina"])
    probability: float | None = Field(description="Likewise.", examples=[0.97])


class JobRows(Shape):
    """Rows of a list, in the order of its photos."""

    rows: list[JobRow]
    done: int = Field(description="Photos that are answered, of which these are some.")


def describe_job(jobs: Jobs, job: Job) -> JobAnswer:
    end = job.end
    left_s = jobs.tell_seconds_left(job)
    if end is not None:
        state: Literal["waiting", "running", "done", "failed"] = (
            "failed" if end.is_failure else "done"
        )
    else:
        state = "waiting" if job.model_id is None else "running"
    ageing = jobs.tell_ageing(job)
    return JobAnswer(
        id=job.id,
        at=job.at,
        state=state,
        done=job.num_done,
        total=job.num_photos,
        left_out=job.num_left_out,
        seconds_left=left_s,
        model_id=job.model_id,
        unanswered=None if end is None else end.num_silent,
        filled=None if end is None else end.num_filled,
        photos_until=None if ageing is None else _write_time(ageing[0]),
        kept_until=None if ageing is None else _write_time(ageing[1]),
    )


def _write_time(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="seconds")


def describe_row(number: int, row: Mapping[str, Any], language: Language) -> JobRow:
    is_named = bool(row["named"])
    return JobRow(
        number=number,
        id=row["id"],
        verdict=row["verdict"],
        sentence=_tell(row, language),
        label=row["label"] if is_named else None,
        name=row["name"] if is_named else None,
        probability=row["probability"] if is_named else None,
    )


def _tell(row: Mapping[str, Any], language: Language) -> str:
    cars = tuple(CarClass(*car) for car in row["named"])
    verdict = Verdict(row["verdict"], cars, row["probability"], (), row["reason"])
    return tell_verdict(verdict, language)


def build_job_routes(
    jobs: Jobs, choose: Callable[[Request], Language], form_errors: tuple[str, ...]
) -> APIRouter:
    """All paths of the REST.

    Args:
        jobs: all of them.
        choose: the language of a request.
        form_errors: codes of what can be wrong with a form.
    """
    routes = APIRouter(prefix="/api/v1/jobs", tags=["lists"])
    drawing = _Drawing(jobs.bounds.most_photo_bytes)
    jobs.let_go = drawing.close

    def find(id_: str) -> Job:
        job = jobs.find(id_)
        if job is None:
            raise Problem("no_job")
        return job

    def find_file(id_: str, name: str, missing: str) -> FileResponse:
        job = find(id_)
        if job.end is None:
            raise Problem("not_done")
        path = job.path / name
        if not path.is_file():
            raise Problem(missing)
        return FileResponse(path, media_type="text/csv; charset=utf-8", filename=name)

    @routes.post(
        "",
        status_code=202,
        summary="Have many photos answered, each by itself",
        response_model=JobAnswer,
        responses=list_errors(
            *(*form_errors, "bad_zip", "too_many_jobs", "no_space"),
        ),
        openapi_extra=_describe_form(jobs),
    )
    async def receive(request: Request) -> Any:
        """Photos, or zips of photos (zips in zips too), or both. They are on the disk once this
        answers, and lists are answered in turn, behind requests for single cars.
        """
        receiving = await asyncio.to_thread(
            jobs.admit, tell_length(request.headers, jobs.bounds.form)
        )
        try:
            kind = request.headers.get("content-type", "")
            form = jobs.bounds.form
            await read_form(kind, stream_body(request), frozenset(), form, keeper=receiving)
            job = await asyncio.to_thread(jobs.accept, receiving)
        except ClientDisconnect:
            return Response(status_code=400)
        finally:
            await asyncio.to_thread(jobs.give_back, receiving)
        log.info(json.dumps({"what": "job", "end": "accepted", "photos": job.num_photos}))
        return describe_job(jobs, job)

    @routes.get(
        "",
        summary="All lists",
        response_model=JobList,
        responses=list_errors("not_let_in", "wrong_name", "failed"),
    )
    def list_jobs() -> JobList:
        return JobList(jobs=[describe_job(jobs, job) for job in jobs.list_all()])

    @routes.get(
        "/{job}",
        summary="How far a list is answered",
        response_model=JobAnswer,
        responses=list_errors(*_READ_ERRORS),
    )
    def get_job(job: Id) -> JobAnswer:
        return describe_job(jobs, find(job))

    @routes.delete(
        "/{job}",
        status_code=204,
        summary="Delete a list with its photos, answered or not",
        responses=list_errors(*_READ_ERRORS, "foreign_page", "too_often"),
    )
    def delete_job(job: Id) -> Response:
        jobs.delete(find(job))
        return Response(status_code=204)

    @routes.get(
        "/{job}/rows",
        summary="What is said of its photos, as far as they are answered",
        response_model=JobRows,
        responses=list_errors(*_READ_ERRORS, "bad_request"),
    )
    def get_rows(
        request: Request,
        job: Id,
        start: Annotated[int, Query(ge=0, le=10**9, description="The first photo, from 0.")] = 0,
        most: Annotated[int, Query(ge=1, le=MOST_ROWS, description="Rows.")] = MOST_ROWS,
    ) -> JobRows:
        """The sentences are in the language of Accept-Language (en or ru)."""
        found, language = find(job), choose(request)
        rows = jobs.list_rows(found, start, most)
        told = [describe_row(start + at, row, language) for at, row in enumerate(rows)]
        return JobRows(rows=told, done=found.num_done)

    @routes.get(
        "/{job}/answers.csv",
        summary="Its answers as a table",
        response_class=Response,
        responses={200: _CSV, **list_errors(*_READ_ERRORS, "not_done")},
    )
    def get_answers(job: Id) -> FileResponse:
        """As `lotlens predict` writes it."""
        return find_file(job, ANSWERS, "no_job")

    @routes.get(
        "/{job}/submission.csv",
        summary="Its answers as a submission",
        response_class=Response,
        responses={200: _CSV, **list_errors(*_READ_ERRORS, "not_done", "no_submission")},
    )
    def get_submission(job: Id) -> FileResponse:
        """Id and Category of every photo. Photos without an answer have the commonest class (see
        `filled`); where the model does not know which that is, there is no submission.
        """
        return find_file(job, SUBMISSION, "no_submission")

    @routes.get(
        "/{job}/photos/{number}",
        summary="A small picture of a photo, as long as the photos are kept",
        response_class=Response,
        responses={
            200: {"content": {"image/jpeg": {"schema": {"type": "string", "format": "binary"}}}},
            **list_errors(*_READ_ERRORS, "bad_request", "not_found"),
        },
    )
    def get_photo(
        job: Id, number: Annotated[int, Path(ge=0, le=10**9, description="From 0.")]
    ) -> Response:
        locator = jobs.find_photo(find(job), number)
        picture = None if locator is None else drawing.draw(job, locator)
        if picture is None:
            raise Problem("not_found")
        headers = {"Cache-Control": "private, max-age=86400"}
        return Response(picture, media_type="image/jpeg", headers=headers)

    return routes


class _Drawing:
    """Draws small pictures, one at a time, beside the engine.

    The zips of the list that was looked at last stay open: to open one takes longer than to draw.
    """

    def __init__(self, most_photo_bytes: int) -> None:
        self._lock = threading.Lock()
        self._reader = PhotoReader(max_bytes=most_photo_bytes)
        self._job_id = ""

    def draw(self, job_id: str, locator: Locator) -> bytes | None:
        """A JPEG; None where the photo cannot be read."""
        with self._lock:
            if job_id != self._job_id:
                self._reader.close()
                self._job_id = job_id
            return read_thumbnail(locator, self._reader, THUMBNAIL)

    def close(self) -> None:
        """Let go of the zips."""
        with self._lock:
            self._reader.close()


def add_job_pages(
    app: FastAPI,
    jobs: Jobs,
    choose: Callable[[Request], Language],
    render: Callable[..., Response],
) -> None:
    """The page of all lists, and that of one.

    Args:
        app: which they are added to.
        jobs: all of them.
        choose: the language of a request.
        render: makes a page of a request, the name of its template and its values.
    """

    @app.get("/jobs", include_in_schema=False)
    def get_jobs(request: Request) -> Response:
        language = choose(request)
        shown = [
            {"answer": describe_job(jobs, job), "at": tell_time(job.at, language)}
            for job in jobs.list_all()
        ]
        return render(request, "jobs.html.jinja", jobs=shown, bounds=jobs.bounds)

    @app.get("/jobs/{job}", include_in_schema=False)
    def get_job(request: Request, job: str) -> Response:
        language, found = choose(request), jobs.find(job)
        if found is None:
            page = render(request, "job.html.jinja", job=None, rows=[], kinds=[])
            page.status_code = 404
            return page
        answer = describe_job(jobs, found)
        rows = jobs.list_rows(found) if found.end is not None else []
        counts = {} if found.end is None else found.end.verdicts
        return render(
            request,
            "job.html.jinja",
            job=answer,
            at=tell_time(found.at, language),
            photos_until=answer.photos_until and tell_time(answer.photos_until, language),
            kept_until=answer.kept_until and tell_time(answer.kept_until, language),
            rows=[_show(row, found, language) for row in rows],
            kinds=[
                (kind, language.translate(told), counts[kind])
                for kind, told in KINDS_IN_WORDS.items()
                if kind in counts
            ],
        )


def _show(row: Mapping[str, Any], job: Job, language: Language) -> Mapping[str, Any]:
    """A row as the page shows it."""
    names, chance = [name for _, name in row["named"]], row["probability"]
    return {
        "id": show(row["id"], in_one_line=True),
        "kind": row["verdict"],
        "word": language.translate(KINDS_IN_WORDS[row["verdict"]]),
        "said": names[0] if row["verdict"] == "model" else _tell(row, language),
        "name": " / ".join(names),  # by which rows are sorted, whatever is said of them
        "chance": format_chance(chance, language) if names else "",
        "number": round(chance, 6) if names else "",
        "has_photo": job.has_photos and row["status"] == OK,
    }


def tell_time(at: str, language: Language) -> str:
    here = datetime.fromisoformat(at).astimezone()
    return f"{language.day(here.date())}, {here:%H:%M}"


_CSV: dict[str, Any] = {"content": {"text/csv": {"schema": {"type": "string"}}}}


def _describe_form(jobs: Jobs) -> dict[str, Any]:
    bounds = jobs.bounds
    told = (
        f"Photos as for one car, and zips of them; {bounds.form.most_photos:,} photos and"
        f" {bounds.form.most_body_bytes:,} bytes at most. The names of files come back as ids."
    )
    photos = {
        "type": "array",
        "minItems": 1,
        "maxItems": bounds.form.most_photos,
        "items": {"type": "string", "format": "binary"},
        "description": told,
    }
    schema = {
        "type": "object",
        "required": [PHOTOS],
        "properties": {PHOTOS: photos},
        "additionalProperties": False,
    }
    return {
        "requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}
    }
