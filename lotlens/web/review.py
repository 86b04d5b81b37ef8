"""The page on which doubts are reviewed, and the application behind it; it knows no model, no run.

The application holds the truth: a decision is in the file, flushed to the disk, before the browser
hears that it is saved. It serves people on this machine, so other websites open in the same browser
must not steer it: requests under a foreign Host (DNS rebinding) or Origin (CSRF) are refused, and
the page may run, show and fetch nothing but what comes from here (both are in `server`).
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Annotated, Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import PlainTextResponse
from pydantic import AfterValidator, BaseModel, ConfigDict

from lotlens.errors import InputError, LotlensError, UnreadablePhoto
from lotlens.improve.doubts import REASONS
from lotlens.photos.archives import PhotoReader
from lotlens.photos.decisions import LEAVING, Decision, Verdict, find_staleness
from lotlens.photos.decode import decoding
from lotlens.photos.reading import NO_FILE
from lotlens.records import Catalog, Doubt, Photo
from lotlens.report.language import ENGLISH, Language
from lotlens.report.pictures import THUMBNAIL_SIZE, draw_thumbnail
from lotlens.report.templates import open_templates
from lotlens.web.decided import Decided
from lotlens.web.server import Guests, guard, make_json

PHOTO_SIZE = (1600, 1200)
"""The most pixels (width, height) of the large photo; it is never enlarged."""
NUM_EXAMPLES = 4
"""Photos shown of a class beside a doubted one."""
_STATIC = {
    "review.js": "text/javascript",
    "review.css": "text/css",
    "icon.svg": "image/svg+xml",
}
_KEPT = {"Cache-Control": "private, max-age=3600"}
_MOST_LETTERS = 4096


def _read_text(value: object) -> str:
    """Text of a request; pydantic's own refuses halves of characters, which names may hold."""
    if not isinstance(value, str) or not 1 <= len(value) <= _MOST_LETTERS:
        raise ValueError(f"must be text of 1 to {_MOST_LETTERS} letters")
    return value


_Text = Annotated[Any, AfterValidator(_read_text)]


class Unfit(LotlensError):
    """A decision that cannot be taken: of a photo or a class that is not reviewed here."""


class DecisionEntry(BaseModel):
    """What the page sends for one decision."""

    model_config = ConfigDict(extra="forbid")

    id: _Text
    verdict: Verdict
    label: _Text | None = None


class TakenBack(BaseModel):
    """What the page sends to take a decision back."""

    model_config = ConfigDict(extra="forbid")

    id: _Text


class Review:
    """Doubts of a catalog, and what may be decided of them.

    Attributes:
        doubts: those that still fit the catalog, in their order.
        num_outdated: of photos or labels that the data no longer have, which are left out.
    """

    def __init__(
        self,
        doubts: Sequence[Doubt],
        catalog: Catalog,
        decisions_path: Path,
        *,
        synthetic: bool,
        language: Language,
    ) -> None:
        self.synthetic = synthetic
        self.language = language
        self.decided = Decided(decisions_path)
        self._photos = {photo.id: photo for photo in catalog.photos if photo.label is not None}
        self._by_key = {make_key(id_): photo for id_, photo in self._photos.items()}
        self._classes = catalog.classes
        labels = set(catalog.labels)
        self.doubts = tuple(
            doubt
            for doubt in {doubt.photo_id: doubt for doubt in doubts}.values()
            if doubt.photo_id in self._photos and {doubt.label, doubt.suggested} <= labels
        )
        self.num_outdated = len(doubts) - len(self.doubts)
        self._by_id = {doubt.photo_id: doubt for doubt in self.doubts}
        self._examples = pick_examples(catalog.photos, self._by_id.keys())

    def find_photo(self, key: str) -> Photo | None:
        """The photo of this key (see `make_key`)."""
        return self._by_key.get(key)

    def decide(self, entry: DecisionEntry) -> tuple[Decision, int]:
        """Keep a decision; returns it, and how many there are.

        The label that the page shows is the one that was doubted. A model that learnt from earlier
        decisions doubts their labels, not those in the data; so to keep what is shown may mean to
        relabel, and to put the label of the data back means to keep it.

        Raises:
            Unfit: no such doubt, no such class, or a new label without need, or none.
            InputError, OutputError: as `Decided.put`.
        """
        doubt = self._by_id.get(entry.id)
        if doubt is None:
            raise Unfit(f"photo {entry.id!r} is not among the doubts: reload the page")
        was = self._photos[entry.id].label or ""
        label = doubt.label if entry.verdict == "keep" else entry.label
        if entry.verdict in LEAVING:
            label = ""
        elif label not in {car.label for car in self._classes}:
            raise Unfit(f"a photo cannot be relabelled {label!r}, which is no class")
        verdict = entry.verdict
        if verdict not in LEAVING:
            verdict = "keep" if label == was else "relabel"
        time = datetime.now(UTC).isoformat(timespec="seconds")
        decision = Decision(entry.id, verdict, label or "", was, time)
        return decision, self.decided.put(decision)

    def describe(self) -> dict[str, Any]:
        """All that the page shows, as plain values."""
        counts = Counter(car.name for car in self._classes)
        names = {
            car.label: car.name if counts[car.name] == 1 else car.shown for car in self._classes
        }
        return {
            "path": str(self.decided.path),
            "synthetic": self.synthetic,
            "outdated": self.num_outdated,
            "texts": self.language.texts,
            "reasons": {
                reason: {"name": self.language.say(reason), "meaning": self.language.say(meaning)}
                for reason, meaning in REASONS.items()
            },
            "classes": [
                {
                    "label": car.label,
                    "name": names[car.label],
                    "shown": car.shown,
                    "examples": self._examples[car.label],
                }
                for car in self._classes
            ],
            "doubts": [
                {
                    "id": doubt.photo_id,
                    "key": make_key(doubt.photo_id),
                    "label": doubt.label,
                    "suggested": None if doubt.suggested == doubt.label else doubt.suggested,
                    "probability": doubt.probability,
                    "own": doubt.own_probability,
                    "reasons": list(doubt.reasons),
                    "data": ""
                    if self._photos[doubt.photo_id].label == doubt.label
                    else names[self._photos[doubt.photo_id].label or ""],
                }
                for doubt in self.doubts
            ],
            **self.describe_decisions(),
        }

    def describe_decisions(self) -> dict[str, Any]:
        """The decisions of these doubts, the last one taken last, as plain values.

        Those that the data have left behind are not among them: their photos are to be decided on
        again.
        """
        shown = {car.label: car.shown for car in self._classes}
        return {
            "decisions": [
                self.describe_decision(decision)
                for decision in self.decided.list_all()
                if decision.photo_id in self._by_id
                and not find_staleness(self._photos[decision.photo_id], decision, shown)
            ]
        }

    def describe_decision(self, decision: Decision) -> dict[str, str]:
        """One decision as the page shows it: a label that is shown and stays is "keep"."""
        doubt = self._by_id[decision.photo_id]
        verdict: Verdict = decision.verdict
        if verdict not in LEAVING:
            verdict = "keep" if decision.label == doubt.label else "relabel"
        return {"id": decision.photo_id, "verdict": verdict, "label": decision.label}


def make_key(photo_id: str) -> str:
    """What stands for a photo in an address; ids are strangers' text, and may be paths."""
    return hashlib.sha256(photo_id.encode("utf-8", "surrogateescape")).hexdigest()[:24]


def pick_examples(
    photos: Iterable[Photo], doubted: Iterable[str], num: int = NUM_EXAMPLES
) -> Mapping[str, list[str]]:
    """Label -> keys of a few photos that have it and are not doubted, of different adverts first.

    They are spread over the class, since neighbours in a catalog are often alike.
    """
    doubted = set(doubted)
    of_label: defaultdict[str, list[Photo]] = defaultdict(list)
    for photo in photos:
        if photo.label is not None and photo.locator is not None and photo.id not in doubted:
            of_label[photo.label].append(photo)
    picked: defaultdict[str, list[str]] = defaultdict(list)
    for label, members in of_label.items():
        cars = list({photo.listing or photo.id: photo for photo in members}.values())
        cars = cars if len(cars) >= num else members
        count = min(num, len(cars))
        picked[label] = [make_key(cars[k * len(cars) // count].id) for k in range(count)]
    return picked


def build_review(
    doubts: Sequence[Doubt],
    catalog: Catalog,
    decisions_path: Path,
    *,
    guests: Guests | None = None,
    synthetic: bool = False,
    language: Language = ENGLISH,
) -> FastAPI:
    """The application: the page, its photos, and the decisions it sends.

    Args:
        doubts: the most doubtful first. Those that the catalog no longer bears out are left out.
        catalog: labelled photos, with the labels that the data give them, no decision applied.
        decisions_path: the file of decisions (see `photos.decisions`); made with the first one.
        guests: who may come by other addresses than this machine's own loopback; None for nobody.
            Names other than this machine's are refused even so.
        synthetic: whether the photos were drawn; the page then says so.
        language: of the page.

    Raises:
        InputError: the file of decisions is damaged, or there is nothing to review.
    """
    review = Review(doubts, catalog, decisions_path, synthetic=synthetic, language=language)
    if not review.doubts:
        raise InputError(
            "there is nothing to review: "
            + ("none of the doubts fits the data any more" if doubts else "there are no doubts")
        )
    reader = PhotoReader()
    template = open_templates("web", language).get_template("review.html.jinja")
    page = template.render(language=language)
    static = {name: resources.files("lotlens.web").joinpath(name).read_bytes() for name in _STATIC}
    app = FastAPI(title="lotlens review", docs_url=None, redoc_url=None, openapi_url=None)

    guard(app, guests=guests, language=language)

    @app.exception_handler(LotlensError)
    def explain(request: Request, error: Exception) -> Response:
        del request
        told = language.reword(str(error)) or str(error)
        return make_json({"detail": told}, 422 if isinstance(error, Unfit) else 500)

    @app.get("/")
    def get_page() -> Response:
        return Response(page, media_type="text/html")

    @app.get("/static/{name}")
    def get_static(name: str) -> Response:
        if name not in static:
            return PlainTextResponse("no such file", 404)
        return Response(static[name], media_type=_STATIC[name])

    @app.get("/doubts.json")
    def get_doubts() -> Response:
        return make_json(review.describe())

    @app.get("/decisions.json")
    def get_decisions() -> Response:
        return make_json(review.describe_decisions())

    @app.get("/thumb/{key}")
    def get_thumbnail(key: str) -> Response:
        return show(key, THUMBNAIL_SIZE)

    @app.get("/photo/{key}")
    def get_photo(key: str) -> Response:
        return show(key, PHOTO_SIZE)

    def show(key: str, size: tuple[int, int]) -> Response:
        """A photo as JPEG, or in plain text why there is none."""
        photo = review.find_photo(key)
        if photo is None:
            return PlainTextResponse(language.reword("no longer in the data"), 404)
        if photo.locator is None:
            return PlainTextResponse(language.reword(NO_FILE), 404)
        try:
            with decoding(reader.read(photo.locator), min_size=size) as (pixels, _):
                data = draw_thumbnail(pixels, size)
        except UnreadablePhoto as error:
            return PlainTextResponse(language.reword(error.reason) or error.reason, 422)
        return Response(data, media_type="image/jpeg", headers=_KEPT)

    @app.post("/decisions")
    def post_decision(entry: DecisionEntry) -> Response:
        decision, count = review.decide(entry)
        return make_json({"count": count, "decision": review.describe_decision(decision)})

    @app.post("/decisions/take-back")
    def post_taken_back(entry: TakenBack) -> Response:
        return make_json({"count": review.decided.take_back(entry.id)})

    return app
