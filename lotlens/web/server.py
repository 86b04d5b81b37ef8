"""What every page served on this machine shares: address, headers, whom it answers."""

from __future__ import annotations

import ipaddress
import json
import os
import socket
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import PlainTextResponse

from lotlens.errors import InputError

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
        app, log_level="warning", access_log=False, timeout_graceful_shutdown=5, server_header=False
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


def make_json(values: Mapping[str, Any]) -> Response:
    """An answer in JSON."""
    # Names of files may hold halves of characters, which only the escapes of ASCII can carry.
    return Response(json.dumps(values), media_type="application/json")
