"""Serve the page on which a run's doubts are reviewed."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lotlens.errors import InputError
from lotlens.extras import import_extra
from lotlens.improve.doubts import read_doubts
from lotlens.photos.decisions import decisions_path
from lotlens.photos.labels import LabelRules
from lotlens.photos.sources import open_lot
from lotlens.photos.synthetic import is_synthetic
from lotlens.report.language import load_language
from lotlens.run import RunFolder


@dataclass(frozen=True)
class Served:
    """A page that is served now.

    Attributes:
        address: to open in a browser on this machine; None if it listens at another address alone.
        num_doubts: that the run has.
        is_open_to_network: whether other devices can open it, by one of `links`.
        links: for one other device: addresses of this machine, the likeliest first, with the token
            that lets the first device in that comes with it. None if there is no network.
    """

    address: str | None
    num_doubts: int
    is_open_to_network: bool
    links: tuple[str, ...] = ()


@dataclass(frozen=True)
class Visited:
    """A device that was let in over the network.

    Attributes:
        device: its address there.
        links: for the next one, as `Served.links`.
    """

    device: str
    links: tuple[str, ...]


def review(
    run: Path | str,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    lang: str = "en",
    ready: Callable[[Served], None] | None = None,
    visited: Callable[[Visited], None] | None = None,
) -> Path:
    """Serve the page on which a run's doubts are reviewed, until Ctrl-C.

    Args:
        run: a run folder with doubts.csv.
        host: address to listen at; at others than loopback, devices in the network are let in, each
            by a link of one use.
        port: 0 for any that is free.
        lang: the language of the page, "en" or "ru".
        ready: told once the page can be opened.
        visited: told of each device that was let in, and the links for the next one.

    Returns:
        the file of decisions, beside the data.

    Raises:
        BundleError: the folder is missing, or holds no finished model.
        InputError: there are no doubts, the data cannot be read, the port is taken, or there is no
            such language.
        MissingExtra: lotlens[web] is not installed.
    """
    language = load_language(lang)
    folder = RunFolder.open(Path(run))
    pages = import_extra("lotlens.web.review", "web")
    server = import_extra("lotlens.web.server", "web")
    if not folder.doubts_path.is_file():
        raise InputError(f"{folder.path} has no doubts.csv: run  lotlens doubts {folder.path}")
    doubts = read_doubts(folder.doubts_path)
    data = Path(folder.read_source()["data"])
    path = decisions_path(data)
    recipe = folder.read_recipe() if folder.recipe_path.is_file() else {}
    rules = LabelRules.of(recipe.get("labels"))
    guests = None if server.is_loopback(host) else server.Guests()
    app = pages.build_review(
        doubts,
        open_lot(data, rules=rules).train,
        path,
        guests=guests,
        synthetic=is_synthetic(data),
        language=language,
    )
    listener = server.open_socket(host, port)
    addresses = () if guests is None else server.name_network_addresses(listener)

    def invite() -> tuple[str, ...]:
        return () if guests is None else tuple(map(guests.invite, addresses))

    if guests is not None and visited is not None:
        guests.told = lambda device: visited(Visited(device, invite()))
    with suppress(KeyboardInterrupt):  # which is how a server ends: no failure
        if ready is not None:
            address = server.name_address(listener)
            ready(Served(address, len(doubts), guests is not None, invite()))
        server.serve(app, listener)
    return path
