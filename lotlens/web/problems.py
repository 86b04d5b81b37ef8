"""What can go wrong with a request: a status, a code for programs, and a sentence for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from lotlens.report.language import ENGLISH, Language, mark


class Kind(NamedTuple):
    """One kind of problem.

    Attributes:
        status: of HTTP.
        sentence: in English, with the names of its values.
    """

    status: int
    sentence: str


PROBLEMS: Mapping[str, Kind] = {
    "no_photo": Kind(400, mark("No photo was sent.")),
    "bad_form": Kind(400, mark("The form is damaged, or was cut off.")),
    "bad_request": Kind(400, mark("The request cannot be understood.")),
    "unknown_field": Kind(400, mark("The form has a field that is not known, or has it twice.")),
    "field_too_long": Kind(400, mark("A field of the form is too long.")),
    "not_let_in": Kind(401, mark("This needs an API key, or a link that lets a device in.")),
    "foreign_page": Kind(403, mark("Another website has sent this.")),
    "not_found": Kind(404, mark("There is nothing here.")),
    "no_job": Kind(404, mark("There is no such list, or none any more.")),
    "wrong_method": Kind(405, mark("This cannot be asked in this way.")),
    "too_slow": Kind(408, mark("The request did not come within %(seconds)s seconds.")),
    "gone": Kind(409, mark("This check is not known any more: check the photos again.")),
    "not_done": Kind(409, mark("Not all photos of the list are answered yet.")),
    "no_submission": Kind(
        409, mark("There is no submission: photos without an answer would leave gaps in it.")
    ),
    "body_too_large": Kind(413, mark("The request is too large: %(limit)s bytes at most.")),
    "photo_too_large": Kind(413, mark("A photo is too large: %(limit)s bytes at most.")),
    "too_many_photos": Kind(413, mark("Too many photos at once: %(limit)s at most.")),
    "not_a_form": Kind(415, mark("Photos must be sent as multipart/form-data.")),
    "wrong_name": Kind(421, mark("Open this page at the address that was printed.")),
    "unreadable": Kind(422, mark("None of the photos can be read: %(reason)s.")),
    "unknown_class": Kind(422, mark("The model is none of those that the program knows.")),
    "unknown_advert": Kind(422, mark("The list has this advert no more: open it anew.")),
    "other_photos": Kind(422, mark("These are not the photos that were checked.")),
    "bad_zip": Kind(422, mark("The zip cannot be used: %(reason)s.")),
    "too_busy": Kind(429, mark("Too many photos are waiting. Try again in %(seconds)s s.")),
    "too_often": Kind(429, mark("Too many requests. Try again in %(seconds)s s.")),
    "too_many_jobs": Kind(429, mark("Too many lists wait. Try again in %(seconds)s s.")),
    "failed": Kind(500, mark("Something failed here. The request can be sent again.")),
    "ending": Kind(503, mark("The server is being shut down or restarted. Try again shortly.")),
    "timed_out": Kind(504, mark("The answer took too long. Try again later.")),
    "no_space": Kind(507, mark("The disk has no room for these photos: delete lists.")),
}
"""Code -> what it means. A code never changes its meaning."""


class Problem(Exception):
    """A request cannot be answered.

    Attributes:
        code: one of PROBLEMS.
        values: of its sentence.
        retry_after_s: when it may be tried again, if that is known.
    """

    def __init__(self, code: str, *, retry_after_s: int | None = None, **values: str) -> None:
        self.code, self.values, self.retry_after_s = code, values, retry_after_s
        super().__init__(self.tell(ENGLISH))

    @property
    def status(self) -> int:
        """Of HTTP."""
        return PROBLEMS[self.code].status

    def tell(self, language: Language) -> str:
        """The sentence in a language; values that are sentences themselves are put into it too."""
        values = {name: language.reword(text) or text for name, text in self.values.items()}
        return language.translate(PROBLEMS[self.code].sentence) % values

    def to_dict(self, language: Language) -> dict[str, Any]:
        """As it is sent."""
        return {"error": {"code": self.code, "message": self.tell(language)}}
