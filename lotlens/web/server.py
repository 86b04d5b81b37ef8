"""What every page served on this machine shares: address, headers, whom and what it answers."""

from __future__ import annotations

import asyncio
import hmac
import html
import ipaddress
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

import h11
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from lotlens.errors import InputError
from lotlens.report.language import ENGLISH, Language, mark
from lotlens.web.problems import Problem

MOST_BODY_BYTES = 64 * 1024
"""Of what is sent with one request; a page's own requests take a few hundred."""
BODY_PATIENCE_S = 10.0
"""In which all of it must have come."""
HEAD_PATIENCE_S = 10.0
"""In which whoever has connected must have asked for something; a little longer at times."""
MOST_CONNECTIONS = 128
"""At one time; a browser opens six or so. More are told to come later (503)."""
TOKEN_BYTES = 24
"""Of chance in a link and a cookie: nobody guesses 192 bits, and a QR code of them stays small."""
NOT_INVITED = mark(
    "This device is not let in: open the link or scan the code that lotlens shows in its terminal."
)
NOT_VALID = mark(
    "This link lets nobody in any more: each works once. lotlens shows a new one in its terminal."
)

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
    if address[0] == "::":  # so that addresses of both kinds reach it, on every system
        with suppress(OSError, AttributeError):
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
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


def name_address(listener: socket.socket) -> str | None:
    """What to open in a browser on this machine; None if loopback does not lead to the socket."""
    host, port = listener.getsockname()[:2]
    if ipaddress.ip_address(host).is_unspecified:
        host = "127.0.0.1"
    return _write_address(host, port) if is_loopback(host) else None


def name_network_addresses(listener: socket.socket) -> tuple[str, ...]:
    """What other devices open, the likeliest first; none if the machine is on no network."""
    host, port = listener.getsockname()[:2]
    is_any = ipaddress.ip_address(host).is_unspecified
    hosts: tuple[str, ...] = find_own_addresses() if is_any else (str(host),)
    return tuple(_write_address(one, port) for one in hosts if not is_loopback(one))


def find_own_addresses() -> tuple[str, ...]:
    """The machine's addresses (IPv4) in the networks it is in, that of the default route first."""
    found = []
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("203.0.113.1", 9))  # chooses a route; nothing is sent
        found.append(str(probe.getsockname()[0]))
    with suppress(OSError):
        found += socket.gethostbyname_ex(socket.gethostname())[2]
    addresses = {one: ipaddress.ip_address(one) for one in found}
    return tuple(
        one
        for one, address in addresses.items()
        if not (address.is_loopback or address.is_link_local or address.is_unspecified)
    )


def _write_address(host: str, port: int) -> str:
    return f"http://[{host}]:{port}/" if ":" in host else f"http://{host}:{port}/"


def serve(
    app: FastAPI,
    listener: socket.socket,
    *,
    most_connections: int | None = None,
    grace_s: int = 5,
    end: Callable[[], bool] | None = None,
) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Args:
        app: as `build_review` makes it.
        listener: as `open_socket` makes it; closed at the end.
        most_connections: at one time; None for `MOST_CONNECTIONS`.
        grace_s: how long requests that were begun may take to be answered at the end.
        end: asked again and again at the end, before connections are closed: it lets no more
            requests in, and says whether some are still to be answered. Until they are, whoever
            comes is still told so.

    Raises:
        KeyboardInterrupt: once all that was being saved is saved.
    """
    config = uvicorn.Config(
        app,
        http=_Impatient,
        ws="none",
        proxy_headers=False,  # whoever asks must not say himself where from
        log_level="warning",
        access_log=False,
        use_colors=False,
        limit_concurrency=most_connections or MOST_CONNECTIONS,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=grace_s,
        server_header=False,
    )
    with listener:
        _Server(config, end).run(sockets=[listener])


def is_loopback(host: str) -> bool:
    """Whether a host's name or address leads to this machine alone."""
    if host.lower() == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    return (getattr(address, "ipv4_mapped", None) or address).is_loopback


class Guests:
    """Devices that may come over the network: each by a link of one use, and by its cookie then.

    The link is for the person at this machine to show. Once it has let a device in, it lets in no
    other, and there is a new one.

    Attributes:
        told: hears the network address of each device that is let in, in a thread of its own; the
            link is new by then.
        cookie_name: of this server alone, since the pages of one machine share their cookies.
    """

    def __init__(self, told: Callable[[str], None] | None = None) -> None:
        self.told = told
        self.cookie_name = f"lotlens_{secrets.token_hex(4)}"
        self._token = secrets.token_urlsafe(TOKEN_BYTES)
        self._cookies: list[str] = []
        self._lock = threading.Lock()

    def invite(self, address: str) -> str:
        """The link for the next device: an address with the token that is valid now."""
        return f"{address}?token={self._token}"

    def know(self, request: Request) -> bool:
        """Whether it comes from a device that was let in."""
        cookie = request.cookies.get(self.cookie_name, "")
        return any(is_same(cookie, one) for one in self._cookies)

    def admit(self, token: str, device: str) -> str | None:
        """The cookie of a device that comes with the token that is valid now, or None."""
        with self._lock:
            if not is_same(token, self._token):
                return None
            self._token = secrets.token_urlsafe(TOKEN_BYTES)
            cookie = secrets.token_urlsafe(TOKEN_BYTES)
            self._cookies.append(cookie)
        if self.told is not None:
            # A terminal may take nothing for as long as it is held up (Ctrl-S); the server goes on.
            threading.Thread(target=self.told, args=(device,), name="told", daemon=True).start()
        return cookie


def is_same(one: str, other: str) -> bool:
    """Whether two secrets are equal, in a time that tells nothing of where they differ."""
    return hmac.compare_digest(one.encode("utf-8", "replace"), other.encode())


def guard(
    app: FastAPI,
    *,
    guests: Guests | None = None,
    language: Language = ENGLISH,
    most_body_bytes: int = MOST_BODY_BYTES,
) -> None:
    """Let an application answer nobody but its own page, and take no more than it can bear.

    Each answer has `HEADERS`; requests that another website may have caused are refused, and so are
    bodies that are too big or come too slowly, before they are in memory. What is no valid request
    is told in a line of JSON: {"detail": "..."}. Whoever comes over the network is answered nothing
    at all, files of the page included, until a link has let his device in (`Guests`).

    Args:
        app: with its routes, or before they are added. Its page, at "/", should take the token out
            of the address bar.
        guests: who may come by other addresses than loopback; None for nobody.
        language: in which a device is told that it is not let in.
        most_body_bytes: of one request.
    """
    app.add_middleware(_BodyGuard, most_bytes=most_body_bytes, language=language)

    @app.middleware("http")
    async def check(
        request: Request, call_next: Callable[[Request], Awaitable[Response]]
    ) -> Response:
        cookie = None
        refused = refuse_name(request, guests is not None)
        is_known = is_local(request) or (guests is not None and guests.know(request))
        if refused is None and guests is not None and not is_known:
            cookie = let_in(request, guests)
            if cookie is None:
                refused = turn_away(request, language)
        if refused is None:
            refused = refuse_origin(request)
        response = await call_next(request) if refused is None else refused
        if guests is not None and cookie is not None:
            # Not a redirect: the request after it would lack the cookie where another site's page,
            # a messenger's say, held the link.
            response.set_cookie(guests.cookie_name, cookie, httponly=True, samesite="strict")
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


class _Server(uvicorn.Server):
    """Uvicorn's, which stays reachable while what it has accepted is answered at its end."""

    def __init__(self, config: uvicorn.Config, end: Callable[[], bool] | None) -> None:
        super().__init__(config)
        self._end = end

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        deadline_s = time.monotonic() + (self.config.timeout_graceful_shutdown or 0)
        while self._end is not None and self._end():
            if self.force_exit or time.monotonic() > deadline_s:
                break
            await asyncio.sleep(0.05)
        await super().shutdown(sockets)


class _Impatient(H11Protocol):
    """h11, which bounds the head of a request, and lets go of those who never end theirs.

    Uvicorn itself waits for the first request for ever, and for the next one if it has begun.
    """

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.loop.call_later(HEAD_PATIENCE_S, self._look, None)

    def send_400_response(self, msg: str) -> None:
        """Tell that this is no HTTP, in the shape of the desk's other errors."""
        del msg  # always the same
        response = make_json(Problem("bad_request").to_dict(ENGLISH), 400)
        response.headers.update(HEADERS | {"Connection": "close"})
        head = h11.Response(status_code=400, headers=response.raw_headers, reason=b"Bad Request")
        for event in (head, h11.Data(data=bytes(response.body)), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

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

    def __init__(self, app: ASGIApp, most_bytes: int, language: Language) -> None:
        self._app = app
        self._most_bytes = most_bytes
        self._language = language

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        try:
            body = await asyncio.wait_for(self._read(scope, receive), BODY_PATIENCE_S)
        except _TooBig:
            text = f"the request is too big: {self._most_bytes:,} bytes at most"
            await self._refuse(text, 413)(scope, receive, send)
        except TimeoutError:
            text = f"the request did not come within {BODY_PATIENCE_S:.0f} seconds"
            await self._refuse(text, 408)(scope, receive, send)
        else:
            if body is None:  # whoever asked has left, and hears nothing of this
                await self._refuse("the request ended early", 400)(scope, receive, send)
            else:
                await self._app(scope, _give_back(body, receive), send)

    def _refuse(self, text: str, status: int) -> Response:
        response = make_json({"detail": self._language.reword(text) or text}, status)
        response.headers["Connection"] = "close"  # the rest of it is not read
        return response

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


def refuse_name(request: Request, is_open_to_network: bool) -> Response | None:
    """The answer to a request under a name that is not ours, or None."""
    name = read_name(request)
    if is_loopback(name) or (is_open_to_network and _is_own_name(name)):
        return None
    return PlainTextResponse("refused: open this page at the address that was printed", 421)


def refuse_origin(request: Request) -> Response | None:
    """The answer to what another website's page may have sent, or None."""
    is_own = request.headers.get("origin") == name_origin(request)
    if request.method in ("GET", "HEAD") or is_own:
        return None
    return PlainTextResponse("refused: decisions are taken on this server's own page", 403)


def is_local(request: Request) -> bool:
    """Whether it comes from this machine.

    A Host is what whoever asks has written; where the connection comes from is not.
    """
    peer = request.client.host if request.client is not None else ""
    return is_loopback(peer) and is_loopback(read_name(request))


def name_origin(request: Request) -> str:
    """The origin that a page has which was opened under the request's name."""
    return f"{request.url.scheme}://{request.headers.get('host', '')}"


def let_in(request: Request, guests: Guests) -> str | None:
    """The cookie for a device that opens the page by the link of the hour, or None."""
    if request.method != "GET" or request.url.path != "/":
        return None
    device = request.client.host if request.client is not None else "?"
    return guests.admit(request.query_params.get("token", ""), device)


def turn_away(request: Request, language: Language) -> Response:
    """What a device hears that is not let in: a page if it asked for one, else a line of text."""
    text = language.say(NOT_VALID if "token" in request.query_params else NOT_INVITED)
    headers = {"WWW-Authenticate": 'Link realm="lotlens"'}  # which no browser asks a password for
    if "text/html" not in request.headers.get("accept", ""):
        return PlainTextResponse(text, 401, headers)
    page = (
        f'<!DOCTYPE html><html lang="{language.code}"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>lotlens</title><h1>lotlens</h1><p>{html.escape(text)}</p></html>"
    )
    return Response(page, 401, headers, media_type="text/html")


def read_name(request: Request) -> str:
    """The name of its Host, without the port."""
    try:
        return urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    except ValueError:
        return ""


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
