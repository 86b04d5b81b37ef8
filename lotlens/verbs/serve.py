"""Serve a model to people and programs: the manager's desk."""

from __future__ import annotations

import hashlib
import io
import json
import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import quote

import numpy as np
from PIL import Image

from lotlens.deliver.model import Model, load
from lotlens.errors import InputError, LotlensError
from lotlens.extras import import_extra
from lotlens.locks import hold
from lotlens.report.language import load_language
from lotlens.run import RunFolder

_MANY_PHOTOS = 10_000
"""As many as it takes for a model to be made fast before it answers."""
_GRACE_S = 90
"""Longer than an answer may take: what was accepted is answered before the server ends."""
_MOST_CONNECTIONS = 512
log = logging.getLogger("lotlens.desk")


@dataclass(frozen=True)
class Desk:
    """A desk that is served now.

    Attributes:
        address: to open in a browser on this machine; None if it listens at another address alone,
            or behind a proxy.
        model_id: which model answers.
        database: where history and corrections are kept.
        links: for one other device, with the token that lets it in.
        num_keys: API keys that open it.
    """

    address: str | None
    model_id: str
    database: str
    links: tuple[str, ...]
    num_keys: int


def serve(
    run: Path | str,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    behind: str | None = None,
    database: str | None = None,
    deals: Path | str | None = None,
    lang: str = "en",
    ready: Callable[[Desk], None] | None = None,
    visited: Callable[[str, tuple[str, ...]], None] | None = None,
) -> None:
    """Serve the desk until Ctrl-C or SIGTERM; SIGHUP takes the model anew from its folder.

    Args:
        run: a run folder, or an exported bundle: with one no torch is loaded.
        host: address to listen at. At others than loopback people come by a link of one use, and
            programs by an API key (`make_key`).
        port: 0 for any that is free.
        behind: the name under which a proxy with TLS is asked, which passes requests on to here.
        database: URL of SQLAlchemy; None for desk.sqlite in the run's own folder. Lists of many
            photos lie in a folder beside it.
        deals: the folder that a scan wrote, to show its list with marks; one that a later scan
            writes there is taken too.
        lang: the language of whoever asks for none that is known, "en" or "ru".
        ready: told once the desk can be opened.
        visited: told of each device that was let in, and the links for the next one.

    Raises:
        BundleError: the folder is missing, or holds no finished model.
        InputError: the port is taken, the database or the list of a scan cannot be used, another
            desk has it, or there is no such language.
        MissingExtra: lotlens[web] is not installed.
    """
    language = load_language(lang)
    pages = import_extra("lotlens.web.desk", "web")
    batches = import_extra("lotlens.web.batching", "web")
    gates = import_extra("lotlens.web.gate", "web")
    lists = import_extra("lotlens.web.jobs", "web")
    rest = import_extra("lotlens.web.rest", "web")
    server = import_extra("lotlens.web.server", "web")
    model = load(run)
    shelf = None
    if deals is not None:
        shelf = import_extra("lotlens.web.deals", "web").Shelf(Path(deals))
    url = database or default_database(model.run)
    jobs_path = find_jobs(model.run, url)
    with _alone(jobs_path):
        store = open_store(url)
        is_open = not server.is_loopback(host) or behind is not None
        guests = server.Guests() if is_open else None
        listener = server.open_socket(host, port)
        meters = rest.Meters()
        batching = batches.Batching(open_served(model), told=meters.note_batch)
        app = pages.build_desk(
            batching,
            store,
            name=model.run.path.name,
            jobs=lists.Jobs(jobs_path, batching),
            policy=gates.Policy(guests=guests, public_name=behind),
            language=language,
            meters=meters,
            shelf=shelf,
        )
        addresses: tuple[str, ...] = ()
        if behind is not None:
            addresses = (f"https://{behind}/",)
        elif guests is not None:
            addresses = server.name_network_addresses(listener)

        def invite() -> tuple[str, ...]:
            return () if guests is None else tuple(map(guests.invite, addresses))

        def end() -> bool:
            batching.end()
            return bool(batching.num_held)

        if guests is not None and visited is not None:
            guests.told = lambda device: visited(device, invite())
        with (
            _listening_for_signals(lambda: _swap(batching, run)),
            suppress(KeyboardInterrupt),
        ):
            if ready is not None:
                address = None if behind is not None else server.name_address(listener)
                keys = store.list_keys()
                ready(Desk(address, batching.served.id, url, invite(), len(keys)))
            server.serve(
                app, listener, most_connections=_MOST_CONNECTIONS, grace_s=_GRACE_S, end=end
            )


def default_database(run: RunFolder) -> str:
    """The URL of the database in a run's own folder."""
    return f"sqlite:///{quote(str((run.path / 'desk.sqlite').resolve()))}"


def find_jobs(run: RunFolder, url: str) -> Path:
    """The folder of lists of many photos, beside the database.

    Args:
        run: that is served; they lie in its folder if the database is a server's.
        url: of the database.
    """
    path = import_extra("lotlens.web.store", "web").find_file(url)
    return (run.path / "desk.sqlite" if path is None else path).with_suffix(".jobs").resolve()


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other desks from a folder.

    Raises:
        InputError: another one has it.
    """
    with ExitStack() as held:
        try:
            held.enter_context(hold(path, "serve"))
        except InputError:
            raise InputError(
                f"another desk is served with the lists in {path}: end that one, or give this one"
                " a database of its own (--database)"
            ) from None
        yield


def open_store(url: str) -> Any:
    """The desk's memory.

    Raises:
        InputError: the database cannot be used.
        MissingExtra: lotlens[web] is not installed.
    """
    return import_extra("lotlens.web.store", "web").Store(url)


def make_key(run: Path | str, name: str, *, database: str | None = None) -> str:
    """An API key for the desk of a run; it is kept as a hash, and cannot be shown again.

    Raises:
        BundleError: as `serve`.
        InputError: there is a key of this name, or the name is empty or too long.
    """
    if not 1 <= len(name) <= 100:
        raise InputError("a key's name has 1 to 100 letters")
    store = open_store(database or default_database(RunFolder.open(Path(run))))
    try:
        key: str = store.make_key(name)
        return key
    finally:
        store.close()


def remove_key(run: Path | str, name: str, *, database: str | None = None) -> None:
    """Let an API key open nothing any more.

    Raises:
        BundleError: as `serve`.
        InputError: there is no key of this name.
    """
    store = open_store(database or default_database(RunFolder.open(Path(run))))
    try:
        if not store.remove_key(name):
            raise InputError(f"there is no key called {name!r}")
    finally:
        store.close()


def save_corrections(
    run: Path | str, out: Path | str, *, database: str | None = None
) -> tuple[int, int]:
    """Write the desk's corrections as labelled photos, for `lotlens improve RUN --outside OUT`.

    Those that are none of the classes lie in OUT/others, for `--others`.

    Returns:
        how many photos of classes, and of other cars.

    Raises:
        BundleError: as `serve`.
        InputError: the folder exists, or there is no correction.
        OutputError: it cannot be written.
    """
    stores = import_extra("lotlens.web.store", "web")
    model = load(run)
    store = open_store(database or default_database(model.run))
    try:
        saved: tuple[int, int] = stores.save_corrections(store, model.card.classes, Path(out))
        return saved
    finally:
        store.close()


def open_served(model: Model) -> Any:
    """A model with all that it answers by loaded, which has answered once.

    Its id is of its card, which vouches for its files.

    Raises:
        BundleError, MissingExtra: as `Model.open`.
    """
    batches = import_extra("lotlens.web.batching", "web")
    opened = model.open(_MANY_PHOTOS)
    stream = io.BytesIO()
    grey = np.full((model.card.image.height, model.card.image.width, 3), 127, np.uint8)
    Image.fromarray(grey).save(stream, "JPEG")
    opened.answer_bytes([stream.getvalue()], ["warm"])
    opened.warm_up()
    digest = hashlib.sha256(model.run.card_path.read_bytes()).hexdigest()
    return batches.Served(digest[:12], opened)


def _swap(batching: Any, run: Path | str) -> None:
    """Take the model anew from its folder; the present one goes on if that fails."""
    try:
        served = open_served(load(run))
    except (LotlensError, OSError) as error:
        log.error(json.dumps({"what": "swap", "end": "failed", "why": str(error)}))
        return
    batching.swap(served)
    log.warning(json.dumps({"what": "swap", "end": "done", "model": served.id}))


class _listening_for_signals:  # noqa: N801 - a context manager
    """While anybody is in it, SIGHUP swaps the model, and a server that SIGTERM ended ends well."""

    def __init__(self, swap: Callable[[], None]) -> None:
        self._swap = swap
        self._swapping = threading.Lock()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        if hasattr(signal, "SIGHUP"):
            self._before[signal.SIGHUP] = signal.signal(signal.SIGHUP, self._begin)
        # The server has a handler of its own while it serves, and passes the signal on at its end.
        self._before[signal.SIGTERM] = signal.signal(signal.SIGTERM, _stop)

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _begin(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        threading.Thread(target=self._take_turn, name="swap", daemon=True).start()

    def _take_turn(self) -> None:
        # One after the other: a folder that was read earlier must not be served later.
        with self._swapping:
            self._swap()


def _stop(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise KeyboardInterrupt
