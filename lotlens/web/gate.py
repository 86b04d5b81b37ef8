"""Who may ask the desk what: names, keys, devices, origins, and how often; it answers nothing.

On this machine's loopback everybody is let in. Over a network, and behind a proxy, a program needs
an API key, and a person the link that lets a device in (`server.Guests`).
"""

from __future__ import annotations

import asyncio
import math
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from fastapi import Request, Response
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lotlens.report.language import Language
from lotlens.web.problems import Problem
from lotlens.web.server import (
    HEADERS,
    TOKEN_BYTES,
    Guests,
    is_local,
    is_same,
    let_in,
    name_origin,
    read_name,
    refuse_name,
    turn_away,
)
from lotlens.web.store import Store

TOKEN_HEADER = "X-Lotlens-Token"  # noqa: S105 - a name
"""With which the page shows that it is our own; no other website can read the token."""
OPEN_PATHS = ("/healthz", "/readyz")
PREDICT = ("POST", "/api/v1/predict")
"""What many may ask at the same time."""
_MOST_CALLERS = 10_000
_CSP = "Content-Security-Policy"
# Photos that were chosen are shown by the page before they are sent.
_OWN_HEADERS = HEADERS | {_CSP: HEADERS[_CSP].replace("img-src 'self'", "img-src 'self' blob:")}
_HEADERS = [(name.lower().encode(), value.encode()) for name, value in _OWN_HEADERS.items()]


@dataclass
class Rate:
    """A bucket of tokens for each caller.

    Attributes:
        per_minute: requests that each may send on average.
        burst: that it may send at once.
    """

    per_minute: float = 1200.0
    burst: float = 200.0
    _left: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, caller: str, now_s: float) -> int:
        """0 if a caller may ask now; else the whole seconds until it may."""
        with self._lock:
            left, before_s = self._left.pop(caller, (self.burst, now_s))
            left = min(self.burst, left + (now_s - before_s) * self.per_minute / 60)
            wait_s = 0 if left >= 1 else math.ceil((1 - left) * 60 / self.per_minute)
            self._left[caller] = (left if wait_s else left - 1, now_s)
            while len(self._left) > _MOST_CALLERS:
                self._left.popitem(last=False)
            return wait_s


@dataclass
class Policy:
    """Who is let in.

    Attributes:
        guests: devices that may come over the network; None for this machine alone.
        public_name: under which a proxy is asked, over TLS; then nobody is let in for coming from
            this machine, for all come from there.
        rate: of requests that send something, but for this machine's own.
        token: of the page that is served now.
    """

    guests: Guests | None = None
    public_name: str | None = None
    rate: Rate = field(default_factory=Rate)
    token: str = field(default_factory=lambda: secrets.token_urlsafe(TOKEN_BYTES))

    def name_origin(self, request: Request) -> str:
        """The origin that our own page has."""
        if self.public_name is not None:
            return f"https://{self.public_name}"
        return name_origin(request)

    def has_own_name(self, request: Request) -> bool:
        """Whether a request is sent to a name of ours: others may lead here too (DNS rebinding)."""
        if self.public_name is not None:
            return read_name(request) == self.public_name.lower()
        return refuse_name(request, self.guests is not None) is None

    def is_local(self, request: Request) -> bool:
        """Whether it comes from this machine, as far as that says anything."""
        return self.public_name is None and is_local(request)

    def check_page(self, request: Request) -> None:
        """Refuse what another website's page may have sent; programs send no origin.

        Raises:
            Problem: it is not our own page's.
        """
        if request.method in ("GET", "HEAD"):
            return
        origin = request.headers.get("origin")
        site = request.headers.get("sec-fetch-site")
        if origin is None and site is None:
            return  # no browser
        token = request.headers.get(TOKEN_HEADER, "")
        if origin != self.name_origin(request) or not is_same(token, self.token):
            raise Problem("foreign_page")


class Gate:
    """The application's outermost layer: lets requests in or not, and sets headers.

    Args:
        app: what is behind it.
        policy: who is let in.
        store: knows the keys.
        check_room: raises a Problem if no photo can be taken now.
        choose: the language of a request.
        refuse: makes the answer of a problem.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        policy: Policy,
        store: Store,
        check_room: Callable[[], None],
        choose: Callable[[Request], Language],
        refuse: Callable[[Request, Problem], Response],
    ) -> None:
        self._app, self._policy, self._store = app, policy, store
        self._check_room, self._choose, self._refuse = check_room, choose, refuse

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        cookie: list[str] = []
        is_begun = False

        async def send_guarded(message: Message) -> None:
            nonlocal is_begun
            if message["type"] == "http.response.start":
                is_begun = True
                headers = MutableHeaders(scope=message)
                headers.raw.extend(_HEADERS)
                headers.setdefault("Cache-Control", "no-store")
                for one in cookie:
                    headers.append("Set-Cookie", one)
            await send(message)

        try:
            try:
                refused = await self._check(request, cookie)
            except Problem as problem:
                refused = self._refuse(request, problem)
            await (self._app if refused is None else refused)(scope, receive, send_guarded)
        except Exception:
            if not is_begun:
                await self._refuse(request, Problem("failed"))(scope, receive, send_guarded)
            raise  # the server logs it

    async def _check(self, request: Request, cookie: list[str]) -> Response | None:
        """The answer to a request that is not let in, or None.

        Raises:
            Problem: likewise, of one that a program may have sent.
        """
        policy, path = self._policy, request.url.path
        if path in OPEN_PATHS:
            return None
        if (request.method, path) == PREDICT:
            self._check_room()  # first: what is refused while much is to do must cost little
        if not policy.has_own_name(request):
            raise Problem("wrong_name")
        caller = await self._find_caller(request)
        if caller is None:
            if policy.guests is not None and policy.guests.know(request):
                # Not by its address: behind a proxy all devices have the proxy's.
                caller = f"device {request.cookies[policy.guests.cookie_name]}"
            elif not policy.is_local(request):
                secret = None if policy.guests is None else let_in(request, policy.guests)
                if secret is None or policy.guests is None:
                    if path.startswith("/api/") or path == "/metrics":
                        raise Problem("not_let_in")
                    return turn_away(request, self._choose(request))
                secure = "; Secure" if policy.public_name is not None else ""
                cookie.append(
                    f"{policy.guests.cookie_name}={secret}; HttpOnly; SameSite=strict; Path=/"
                    + secure
                )
                caller = f"device {secret}"
            policy.check_page(request)
        if caller is not None and request.method not in ("GET", "HEAD"):
            wait_s = policy.rate.take(caller, time.monotonic())
            if wait_s:
                raise Problem("too_often", retry_after_s=wait_s, seconds=str(wait_s))
        return None

    async def _find_caller(self, request: Request) -> str | None:
        """Whose key a request has; None without a key.

        Raises:
            Problem: it has one that opens nothing.
        """
        kind, _, key = request.headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer":
            return None
        name = await asyncio.to_thread(self._store.find_key, key.strip())
        if name is None:
            raise Problem("not_let_in")
        return f"key {name}"
