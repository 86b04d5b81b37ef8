"""What every page served on this machine shares: address, headers, whom and what it answers."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from lotlens.errors import InputError

MOST_BODY_BYTES = 64 * 1024
"""Of what is sent with one request; a page's own requests take a few hundred."""
BODY_PATIENCE_S = 10.0
"""In which all of it must have come."""
HEAD_PATIENCE_S = 10.0
"""In which whoever has connected must have asked for something; a little longer at times."""
MOST_CONNECTIONS = 128
"""At one time; a browser opens six or so. More are told to come later (503)."""

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self';"
    " img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def open_socket(host: str, port: int) -> socket.socket:
    """A socket that listens already, so that whoever is told its address is not turned away.

    Args:
        host: an address or a name of this machine.
        port: 0 for any that is free.

    Raises:
        InputError: the port is taken, or the address is none of this machine.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise InputError(f"no address for host {host!r}: {error.strerror or error}") from error
    try:
        if os.name == "posix":  # elsewhere this would let two servers share the port
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(128)
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or error
        raise InputError(
            f"cannot serve at {host} port {port}: {reason}. Name another with --port, or 0 for any"
            " that is free"
        ) from error
    return listener


def name_address(listener: socket.socket, host: str) -> str:
    """The address to type into a browser on this machine."""
    port = listener.getsockname()[1]
    if host in ("", "0.0.0.0", "::"):  # noqa: S104  (compared, not bound)
        host = "127.0.0.1"
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def serve(app: FastAPI, listener: socket.socket) -> None:
    """Serve until Ctrl-C.

    Args:
        app: as `build_review` makes it.
        listener: as `open_socket` makes it; closed at the end.

    Raises:
        KeyboardInterrupt: once all that was being saved is saved.
    """
    config = uvicorn.Config(
        app,
        http=_Impatient,
        log_level="warning",
        access_log=False,
        use_colors=False,
        limit_concurrency=MOST_CONNECTIONS,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=5,
        server_header=False,
    )
    with listener:
        uvicorn.Server(config).run(sockets=[listener])


def is_loopback(host: str) -> bool:
    """Whether a host's name or address leads to this machine alone."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def guard(
    app: FastAPI, *, is_open_to_network: bool, most_body_bytes: int = MOST_BODY_BYTES
) -> None:
    """Let an application answer nobody but its own page, and take no more than it can bear.

    Each answer has `HEADERS`; requests that another website may have caused are refused, and so are
    bodies that are too big or come too slowly, before they are in memory. What is no valid request
    is told in a line of JSON: {"detail": "..."}.

    Args:
        app: with its routes, or before they are added.
        is_open_to_network: whether it may be reached under other addresses than loopback.
        most_body_bytes: of one request.
    """
    app.add_middleware(_BodyGuard, most_bytes=most_body_bytes)

    @app.middleware("http")
    async def check(
        request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        refused = refuse(request, is_open_to_network)
        response = await call_next(request) if refused is None else refused
        for name, value in HEADERS.items():
            response.headers[name] = value
        response.headers.setdefault("Cache-Control", "no-store")
        return response

    @app.exception_handler(RequestValidationError)
    def explain(request: Request, error: RequestValidationError) -> Response:
        del request
        # FastAPI's own answer repeats the input, which JSON may not be able to carry.
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:] if isinstance(part, str))
        return make_json({"detail": f"{where}: {first['msg']}".removeprefix(": ")}, 422)


class _Impatient(H11Protocol):
    """h11, which bounds the head of a request, and lets go of those who never end theirs.

    Uvicorn itself waits for the first request for ever, and for the next one if it has begun.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.loop.call_later(HEAD_PATIENCE_S, self._look, None)

    def _look(self, seen: object) -> None:
        """Close the connection if it waits for a request, and did so the last time."""
        if self.transport.is_closing():
            return
        is_quiet = self.cycle is None or self.cycle.response_complete
        if is_quiet and self.cycle is seen:
            self.transport.close()
        else:
            self.loop.call_later(HEAD_PATIENCE_S, self._look, self.cycle if is_quiet else self)


class _BodyGuard:
    """Reads the body of each request, within bounds, before the application sees the request."""

    def __init__(self, app: ASGIApp, most_bytes: int) -> None:
        self._app = app
        self._most_bytes = most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            body = await asyncio.wait_for(self._read(scope, receive), BODY_PATIENCE_S)
        except _TooBig:
            text = f"the request is too big: {self._most_bytes:,} bytes at most"
            await _refuse_body(text, 413)(scope, receive, send)
        except TimeoutError:
            text = f"the request did not come within {BODY_PATIENCE_S:.0f} seconds"
            await _refuse_body(text, 408)(scope, receive, send)
        else:
            if body is None:  # whoever asked has left, and hears nothing of this
                await _refuse_body("the request ended early", 400)(scope, receive, send)
            else:
                await self._app(scope, _give_back(body, receive), send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes | None:
        """All of a body; None if the connection ended before it did.

        Raises:
            _TooBig: as soon as that is known.
        """
        told = dict(scope["headers"]).get(b"content-length", b"")
        if told.isdigit() and (len(told) > 18 or int(told) > self._most_bytes):
            raise _TooBig
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return None
            body += message.get("body", b"")
            if len(body) > self._most_bytes:
                raise _TooBig
            if not message.get("more_body", False):
                return bytes(body)


class _TooBig(Exception):
    """A request has a bigger body than is taken."""


def _refuse_body(text: str, status: int) -> Response:
    response = make_json({"detail": text}, status)
    response.headers["Connection"] = "close"  # the rest of it is not read
    return response


def _give_back(body: bytes, receive: Receive) -> Receive:
    """A body that was read already, and then whatever comes after it."""
    is_given = False

    async def give() -> Message:
        nonlocal is_given
        if is_given:
            return await receive()
        is_given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return give


def refuse(request: Request, is_open_to_network: bool) -> Response | None:
    """The answer to a request that another website may have caused, or None."""
    host = request.headers.get("host", "")
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        name = ""
    if not (is_loopback(name) or (is_open_to_network and _is_own_name(name))):
        return PlainTextResponse("refused: open this page at the address that was printed", 421)
    if request.method not in ("GET", "HEAD") and request.headers.get("origin") != (
        f"{request.url.scheme}://{host}"
    ):
        return PlainTextResponse("refused: decisions are taken on this server's own page", 403)
    return None


def _is_own_name(name: str) -> bool:
    """Whether a Host is an address, which no stranger's domain can pass for, or our own name."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        own = socket.gethostname().lower()
        return name.lower() in (own, f"{own}.local", own.partition(".")[0])
    return True


def make_json(values: Mapping[str, Any], status: int = 200) -> Response:
    """An answer in JSON."""
    # Names of files may hold halves of characters, which only the escapes of ASCII can carry.
    return Response(json.dumps(values), status, media_type="application/json")
