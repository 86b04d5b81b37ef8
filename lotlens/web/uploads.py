"""Forms with photos, read from the network within bounds; it knows no model and writes no file.

What a form library would spool to the disk stays in memory here, which is bounded: by each request
(`FormBounds`), and by all of them together (`batching.Bounds`); or whoever reads a form takes the
photos as they come (`Keeper`). Names of files are not looked at but by a keeper.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from lotlens.errors import UnreadablePhoto
from lotlens.photos.decode import read_size
from lotlens.web.batching import Upload
from lotlens.web.problems import Problem

PHOTOS = "photos"
"""The field that holds photos, as often as there are photos."""
_MOST_HEADER_BYTES = 4096


@dataclass(frozen=True)
class FormBounds:
    """Of one request.

    Attributes:
        most_photos: in it.
        most_photo_bytes: of one photo.
        most_body_bytes: of all of it.
        most_field_bytes: of a field that is no photo.
        patience_s: in which all of it must have come.
        idle_s: in which something more must come.
    """

    most_photos: int = 12
    most_photo_bytes: int = 25_000_000
    most_body_bytes: int = 80_000_000
    most_field_bytes: int = 800
    patience_s: float = 120.0
    idle_s: float = 15.0


@dataclass
class Form:
    """What was sent.

    Attributes:
        photos: the bytes of each, in their order.
        fields: name -> text.
    """

    photos: list[bytes] = field(default_factory=list)
    fields: dict[str, str] = field(default_factory=dict)


class Keeper(Protocol):
    """Takes photos as they come instead of memory; one call at a time, in any thread."""

    def begin(self, name: str) -> None:
        """A photo begins, whose file had this name."""

    def add(self, data: memoryview) -> None:
        """More of it."""

    def end(self) -> None:
        """It is all there."""


def tell_length(headers: Mapping[str, str], bounds: FormBounds) -> int:
    """The most bytes that a body can have: as it says itself, or as many as are taken.

    Raises:
        Problem: it says more than are taken.
    """
    told = headers.get("content-length", "")
    if not told:
        return bounds.most_body_bytes
    if not told.isdigit() or len(told) > 18 or int(told) > bounds.most_body_bytes:
        raise Problem("body_too_large", limit=f"{bounds.most_body_bytes:,}")
    return int(told)


async def stream_body(request: Request) -> AsyncIterator[bytes]:
    """The body as it comes, without pieces of nothing.

    Raises:
        ClientDisconnect: the client has gone.
    """
    async for chunk in request.stream():
        if chunk:
            yield chunk


async def read_form(
    content_type: str,
    chunks: AsyncIterator[bytes],
    known: frozenset[str],
    bounds: FormBounds,
    keeper: Keeper | None = None,
) -> Form:
    """A multipart form, no more of it than is allowed at any time.

    Args:
        content_type: the header of that name.
        chunks: the body, as it comes.
        known: names of fields that may be there, beside `PHOTOS`.
        bounds: of it.
        keeper: takes the photos; the form then has none. It may be slow, as a disk is.

    Raises:
        Problem: it is no such form, too large, or came too slowly.
        ClientGone: whatever `chunks` and the keeper raise comes through.
    """
    kind, options = parse_options_header(content_type)
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not boundary:
        raise Problem("not_a_form")
    reading = _Reading(known, bounds, keeper)
    loop = asyncio.get_running_loop()
    end_s = loop.time() + bounds.patience_s
    try:
        parser = MultipartParser(boundary, reading.callbacks)  # type: ignore[arg-type]
        while True:
            idle_s = loop.time() + bounds.idle_s
            try:
                # Of the network alone: a write that was given up would go on in its thread.
                async with asyncio.timeout_at(min(idle_s, end_s)):
                    chunk = await anext(chunks, None)
            except TimeoutError:
                limit_s = bounds.idle_s if idle_s < end_s else bounds.patience_s
                raise Problem("too_slow", seconds=f"{limit_s:g}") from None
            if chunk is None:
                break
            reading.count(len(chunk))
            if keeper is None:
                parser.write(chunk)
            else:
                await asyncio.to_thread(parser.write, chunk)
        parser.finalize()
    except FormParserError:
        raise Problem("bad_form") from None
    if not reading.is_ended:
        raise Problem("bad_form")
    return reading.form


class _Reading:
    """Callbacks of the parser, which collect a form and stop it where it goes too far."""

    def __init__(
        self, known: frozenset[str], bounds: FormBounds, keeper: Keeper | None = None
    ) -> None:
        self.form = Form()
        self.is_ended = False
        self._known, self._bounds, self._keeper = known, bounds, keeper
        self._num_bytes = self._num_header_bytes = self._num_photos = 0
        self._header, self._value = bytearray(), bytearray()
        self._name: str | None = None
        self._file_name = ""
        self._part = bytearray()
        self.callbacks = {
            "on_part_begin": self._begin,
            "on_part_data": self._add,
            "on_part_end": self._end,
            "on_header_field": lambda data, start, end: self._head(self._header, data[start:end]),
            "on_header_value": lambda data, start, end: self._head(self._value, data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._check_name,
            "on_end": self._finish,
        }

    def count(self, num_bytes: int) -> None:
        self._num_bytes += num_bytes
        if self._num_bytes > self._bounds.most_body_bytes:
            raise Problem("body_too_large", limit=f"{self._bounds.most_body_bytes:,}")

    def _begin(self) -> None:
        self._name, self._file_name, self._num_header_bytes = None, "", 0
        self._header, self._value, self._part = bytearray(), bytearray(), bytearray()

    def _head(self, part: bytearray, data: bytes) -> None:
        self._num_header_bytes += len(data)
        if self._num_header_bytes > _MOST_HEADER_BYTES:
            raise Problem("bad_form")
        part += data

    def _end_header(self) -> None:
        if bytes(self._header).lower() == b"content-disposition":
            _, options = parse_options_header(bytes(self._value))
            self._name = options.get(b"name", b"").decode("utf-8", "replace")
            self._file_name = options.get(b"filename", b"").decode("utf-8", "replace")
        self._header, self._value = bytearray(), bytearray()

    def _check_name(self) -> None:
        if self._name == PHOTOS:
            self._num_photos += 1
            if self._num_photos > self._bounds.most_photos:
                raise Problem("too_many_photos", limit=f"{self._bounds.most_photos:,}")
            if self._keeper is not None:
                self._keeper.begin(self._file_name)
        elif self._name not in self._known or self._name in self.form.fields:
            raise Problem("unknown_field")

    def _add(self, data: bytes, start: int, end: int) -> None:
        if self._keeper is not None and self._name == PHOTOS:
            self._keeper.add(memoryview(data)[start:end])
            return
        self._part += memoryview(data)[start:end]
        if self._name == PHOTOS:
            if len(self._part) > self._bounds.most_photo_bytes:
                raise Problem("photo_too_large", limit=f"{self._bounds.most_photo_bytes:,}")
        elif len(self._part) > self._bounds.most_field_bytes:
            raise Problem("field_too_long")

    def _end(self) -> None:
        if self._keeper is not None and self._name == PHOTOS:
            self._keeper.end()
        elif self._name == PHOTOS:
            self.form.photos.append(bytes(self._part))
        elif self._name is not None:
            try:
                text = self._part.decode("utf-8")
            except UnicodeDecodeError:
                raise Problem("bad_form") from None
            if "\0" in text:  # which PostgreSQL cannot keep
                raise Problem("bad_form")
            self.form.fields[self._name] = text.strip()
        self._part = bytearray()

    def _finish(self) -> None:
        self.is_ended = True


def weigh(photos: list[bytes]) -> list[Upload]:
    """Photos with what decoding them costs, as their headers tell; 0 where they cannot be read."""
    uploads = []
    for data in photos:
        try:
            width, height = read_size(data)
            uploads.append(Upload(data, width * height))
        except UnreadablePhoto:  # whoever decodes it says why
            uploads.append(Upload(data, 0))
    return uploads
