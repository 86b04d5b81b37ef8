"""What a worker process does: it says what it is, answers for photos and looks at them.

It lives on any machine of a cluster, is told places of photos and never pixels, and raises nothing
for a photo: what is wrong with one stands in its row.
"""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TypeVar

from lotlens.answering.answers import join_predictions
from lotlens.answering.engines import silence_onnxruntime
from lotlens.audit.signs import Signs, scan_photos
from lotlens.deliver.model import Model, OpenModel, load
from lotlens.errors import LotlensError
from lotlens.photos.addresses import is_address, tell_change
from lotlens.records import Catalog, Photo, Predictions
from lotlens.version import __version__

_Result = TypeVar("_Result")

NUM_STREAMS = 2
"""Threads that read and answer in a worker, which has one core: the one reads from a disk, or over
a network, while the other answers. And they take batches of the size that a whole machine takes."""

_SAME = ("numpy", "onnxruntime", "pillow")
"""Packages whose other versions may answer otherwise."""


@dataclass(frozen=True)
class Introduction:
    """What a worker says of itself.

    Attributes:
        machine: its name.
        process: its number there.
        versions: of what answers depend on.
        missing: places that it does not see, or sees another file at.
    """

    machine: str
    process: int
    versions: dict[str, str]
    missing: tuple[str, ...]


@dataclass(frozen=True)
class Refusal:
    """An error that a person can mend, of a worker.

    Attributes:
        said: its line.
        machine: where it happened.
    """

    said: str
    machine: str


@dataclass(frozen=True)
class Witness:
    """A file that all workers must see as the driver does.

    Attributes:
        place: an absolute path, or an address.
        size: in bytes.
        sha256: of its bytes; "" where that is not compared.
    """

    place: str
    size: int
    sha256: str = ""


def list_versions(*more: str) -> dict[str, str]:
    """Versions of what answers, or weights, depend on; "none" of what is not installed."""
    found = {"lotlens": __version__, "Python": platform.python_version()}
    for name in (*_SAME, *more):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "none"
    return found


def bear_witness(place: str, *, whole: bool = False) -> Witness:
    """A file as this machine sees it; what lies at an address is never read whole.

    Raises:
        OSError: it does not.
    """
    if is_address(place):
        seen = tell_change(place)
        if seen is None:
            raise FileNotFoundError(place)
        return Witness(place, seen[0])
    path = Path(place)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest() if whole else ""
    return Witness(place, path.stat().st_size, sha256)


def find_unseen(witnesses: Sequence[Witness]) -> tuple[str, ...]:
    """Paths of files that are not here, or are others."""
    unseen = []
    for one in witnesses:
        try:
            same = bear_witness(one.place, whole=bool(one.sha256)) == one
        except OSError:
            same = False
        if not same:
            unseen.append(one.place)
    return tuple(unseen)


def introduce(witnesses: Sequence[Witness], *packages: str) -> Introduction:
    """What this process is, and which files it does not see as the driver does.

    Args:
        witnesses: the files.
        packages: whose versions are told besides.
    """
    missing = find_unseen(witnesses)
    return Introduction(platform.node(), os.getpid(), list_versions(*packages), missing)


class Worker:
    """Answers for photos and looks at them, in a process of its own.

    Args:
        run_path: of the model; "" for one that only looks.
        num_photos: of all of the work, by which the engine is chosen as for a single machine.
    """

    def __init__(self, run_path: str, num_photos: int) -> None:
        silence_onnxruntime()
        # What joblib takes for the number of cores, and the library for that of streams.
        os.environ["LOKY_MAX_CPU_COUNT"] = str(NUM_STREAMS)
        self._run_path, self._num_photos = run_path, num_photos

    def introduce(self, witnesses: Sequence[Witness]) -> Introduction:
        """What this worker is, and which files it does not see as the driver does."""
        return introduce(witnesses)

    def answer(self, catalog: Catalog) -> Predictions | Refusal:
        """Answers to photos that follow one another."""

        def work() -> Predictions:
            parts = list(self._open.answer_in_turn(catalog, len(catalog)))
            _check_seen(catalog.photos, parts)
            return join_predictions(parts)

        return _tell_refusal(work)

    def look(self, photos: Sequence[Photo]) -> tuple[Signs, ...] | Refusal:
        """What there is to see of photos."""
        return _tell_refusal(lambda: scan_photos(photos, num_workers=1))

    @cached_property
    def _model(self) -> Model:
        return load(self._run_path)

    @cached_property
    def _open(self) -> OpenModel:
        return self._model.open(self._num_photos)


def _check_seen(photos: Sequence[Photo], parts: Sequence[Predictions]) -> None:
    """A disk that has gone meanwhile is no fault of the photos.

    Raises:
        LotlensError: none of the files is there.
    """
    files = {photo.locator.file for photo in photos if photo.locator is not None}
    is_blank = files and not any(part.answered.any() for part in parts)
    if is_blank and not any(map(_is_there, files)):
        raise LotlensError(f"{min(files)} and all beside it cannot be seen")


def _is_there(file: str) -> bool:
    return tell_change(file) is not None if is_address(file) else os.path.exists(file)


def _tell_refusal(work: Callable[[], _Result]) -> _Result | Refusal:
    """What is done, or the line of the error: an error is not sure to survive the way back."""
    try:
        return work()
    except LotlensError as error:
        return Refusal(str(error), platform.node())
