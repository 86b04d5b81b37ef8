"""The shapes of what the desk's REST answers; every one is in its OpenAPI with an example."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from lotlens.web.problems import PROBLEMS
from lotlens.web.store import Mark


class Shape(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class Car(Shape):
    """A model that a car may be."""

    label: str = Field(description="As in the data that the program learnt.", examples=["4"])
    name: str = Field(examples=["Lada Kalina"])
    probability: float | None = Field(
        description="From 0 to 1; null where the program names no car.", examples=[0.97]
    )


class CarBox(Shape):
    """Where a photo shows its car: shares of the upright photo's width and height, 0 to 1."""

    left: float = Field(examples=[0.1])
    top: float = Field(examples=[0.3])
    right: float = Field(examples=[0.9])
    bottom: float = Field(examples=[0.8])
    score: float = Field(description="How surely there is a vehicle, 0 to 1.", examples=[0.99])


class PhotoAnswer(Shape):
    """What one photo says alone."""

    verdict: str = Field(examples=["model"])
    sentence: str = Field(examples=["This is Lada Kalina."])
    used: bool = Field(description="Whether the answer rests on it.")
    odd: bool = Field(
        description="Whether it may show another car than the others and is to be looked at; the"
        " answer may rest on it all the same."
    )
    box: CarBox | None = Field(
        description="Where the car was found; null if it was not, or if the model looks at whole"
        " photos."
    )


class ClaimAnswer(Shape):
    """What the photos say of a claim."""

    text: str = Field(examples=["Lada Kalina"])
    label: str | None = Field(description="Of the class that it means; null if it means none.")
    name: str | None = Field(description="Likewise.")
    result: Literal["confirmed", "contradicted", "open"]
    sentence: str


class CarAnswer(Shape):
    """What is said of one car by all its photos."""

    model_id: str = Field(description="Which model answered.", examples=["5b0f1e2d3c4a"])
    check_id: str | None = Field(description="For a correction; null if it is not remembered.")
    listing: str | None = Field(description="As it was sent.", examples=["advert 17"])
    verdict: Literal["model", "unsure", "unknown", "not a car", "poor photo", "no answer"]
    sentence: str = Field(examples=["This is Lada Kalina."])
    advice: str = Field(description="What to do next; empty if nothing.")
    probability: float | None = Field(
        description="Of the first car that is named; null where none is."
    )
    cars: list[Car] = Field(description="Named: one, or those that it may be.")
    candidates: list[Car] = Field(
        description="The likeliest classes with their probabilities, at most five; none where no"
        " car is named."
    )
    photos: list[PhotoAnswer]
    claim: ClaimAnswer | None


class ModelAnswer(Shape):
    """The model that answers now."""

    id: str
    classes: list[dict[str, str]]
    backbone: str
    engine: str
    precision: str
    synthetic: bool = Field(description="Whether it was trained on drawn photos.")
    metrics: list[dict[str, Any]] = Field(description="On photos held out, with 95 % intervals.")
    coverage: float | None = Field(description="Share of known cars whose candidates hold them.")
    lotlens_version: str


class Corrected(Shape):
    """A correction that is on the disk."""

    check_id: str
    label: str
    name: str


class Marked(Shape):
    """A mark that is on the disk."""

    advert: str = Field(description="The advert's key, as the page has it.")
    mark: Mark


class State(Shape):
    """Whether the server lives, or takes requests."""

    status: Literal["ok", "ending"]


class Error(Shape):
    """What a program reads, and what a person does."""

    code: str = Field(examples=["too_busy"])
    message: str = Field(examples=["Too many photos are waiting. Try again in 3 s."])


class ErrorAnswer(Shape):
    """The one shape of all errors."""

    error: Error


def list_errors(*codes: str) -> dict[int | str, dict[str, Any]]:
    """For the OpenAPI: the errors that a path can answer, by status, with an example each."""
    found: dict[int | str, dict[str, Any]] = {}
    for code in codes:
        kind = PROBLEMS[code]
        entry = found.setdefault(
            kind.status,
            {
                "model": ErrorAnswer,
                "description": "",
                "content": {"application/json": {"examples": {}}},
            },
        )
        entry["description"] = f"{entry['description']} `{code}`".strip()
        message = kind.sentence % dict.fromkeys(("limit", "seconds", "reason"), "3")
        entry["content"]["application/json"]["examples"][code] = {
            "value": {"error": {"code": code, "message": message}}
        }
        if kind.status in (429, 503):
            entry["headers"] = {
                "Retry-After": {"schema": {"type": "integer"}, "description": "Seconds."}
            }
    return found
