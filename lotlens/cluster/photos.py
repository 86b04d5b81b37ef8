"""Ranges of photos, answered or looked at on a cluster; who keeps the answers is not known here."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from typing import Any

from lotlens.audit.signs import Signs
from lotlens.cluster.address import open_cluster
from lotlens.cluster.crew import Bounds, Crew
from lotlens.cluster.worker import Witness, Worker, bear_witness
from lotlens.deliver.model import Model
from lotlens.photos.addresses import make_absolute
from lotlens.records import Catalog, Locator, Photo, Predictions, Watcher

_LOOKED = 512
"""Photos that are looked at together."""
_MOST_FILES = 8
"""Files of photos by which a worker shows that it sees the disk that they lie on."""


def answer_ranges(
    on: str,
    model: Model,
    catalog: Catalog,
    missing: Sequence[range],
    done: int,
    watch: Watcher | None,
    bounds: Bounds | None = None,
) -> Generator[tuple[range, Predictions], None, None]:
    """Answers to the photos of each range, in the order in which they are finished.

    Args:
        on: see `open_cluster`.
        model: that workers open, each for itself, at its path.
        catalog: all photos.
        missing: rows to answer; each range is answered by one worker as one.
        done: photos that have answers already, for `watch`.
        watch: told of the work.
        bounds: when it is given up.

    Raises:
        InputError: the cluster, a worker, or what it sees, is not as it must be.
        LotlensError: nothing goes on; what was given until then is done.
    """
    card = bear_witness(make_absolute(str(model.run.card_path)), whole=True)
    run_path, total = str(model.run.path.absolute()), len(catalog)
    files = [*choose_witnesses(catalog.photos), card]

    def make(number: int) -> Catalog:
        rows = missing[number]
        return replace(catalog, photos=_place(catalog.photos[rows.start : rows.stop]))

    with open_cluster(on) as ray:
        crew = Crew(ray, _hiring(ray, run_path, total), files, bounds)
        _tell(watch, "predicting", done, total)
        with closing(crew.share_out("answer", len(missing), make)) as results:
            for number, found in results:
                yield missing[number], found
                done += len(found.ids)
                _tell(watch, "predicting", done, total)


def look_at_ranges(
    on: str,
    catalog: Catalog,
    what: str,
    watch: Watcher | None,
    bounds: Bounds | None = None,
) -> list[Signs]:
    """As `audit.signs.scan_photos`, on a cluster; `what` names the work for `watch`."""
    photos = catalog.photos
    num_jobs = -(-len(photos) // _LOOKED)

    def make(number: int) -> tuple[Photo, ...]:
        return _place(photos[number * _LOOKED : (number + 1) * _LOOKED])

    found: dict[int, tuple[Signs, ...]] = {}
    done = 0
    with open_cluster(on) as ray:
        crew = Crew(ray, _hiring(ray, "", len(photos)), choose_witnesses(photos), bounds)
        _tell(watch, what, 0, len(photos))
        with closing(crew.share_out("look", num_jobs, make)) as results:
            for number, signs in results:
                found[number] = signs
                done += len(signs)
                _tell(watch, what, done, len(photos))
    return [one for number in range(num_jobs) for one in found[number]]


def choose_witnesses(photos: Sequence[Photo]) -> list[Witness]:
    """Some files that photos lie in, from all over them, as this machine sees them.

    One that is not here either is no witness.
    """
    files = list(dict.fromkeys(photo.locator.file for photo in photos if photo.locator is not None))
    step = max(len(files) / _MOST_FILES, 1)
    chosen = [files[int(at * step)] for at in range(min(len(files), _MOST_FILES))]
    found = []
    for name in chosen:
        with suppress(OSError):
            found.append(bear_witness(make_absolute(name)))
    return found


def _place(photos: Sequence[Photo]) -> tuple[Photo, ...]:
    """Photos with places that are the same on every machine: workers have folders of their own."""
    placed = []
    for photo in photos:
        locator = photo.locator
        if locator is not None:
            locator = Locator(make_absolute(locator.file), locator.members)
        placed.append(Photo(photo.id, locator))
    return tuple(placed)


def _hiring(ray: Any, run_path: str, num_photos: int) -> Callable[[], Any]:
    """A function that hires a worker with a core of its own."""
    # Neither restarted nor tried again by Ray: see `crew`.
    kind = ray.remote(Worker).options(num_cpus=1, max_restarts=0, max_task_retries=0)
    return lambda: kind.remote(run_path, num_photos)


def _tell(watch: Watcher | None, what: str, done: int, total: int) -> None:
    if watch is not None:
        watch(what, done, total)
