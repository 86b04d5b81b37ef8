"""A catalog's fingerprint: whether two catalogs hold the same photos, byte for byte, and labels.

No pixel is read. What a file holds is told by its size and the CRC-32 of its bytes, which a zip has
in its directory; a file of a folder is read for it once, and again when its size or time changes.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from lotlens.photos.addresses import is_address, tell_change
from lotlens.photos.archives import MAX_FILE_BYTES, PhotoReader
from lotlens.records import Catalog, Locator

_CHUNK = 1 << 20
_MOST_KEPT = 1_000_000
_SETTLED_NS = 2_000_000_000
"""A file younger than this may change again within the tick of its clock: it is read each time."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a file held when it was read.

    Attributes:
        path: of the file, absolute.
        size: in bytes.
        changed_ns: time of its last change, in nanoseconds of the system's clock.
        crc: CRC-32 of its bytes.
    """

    path: str
    size: int
    changed_ns: int
    crc: int

    @property
    def is_settled(self) -> bool:
        """Whether the file had not just been changed: it might be again within a clock's tick."""
        return _stamps.get(self.path) == self


_stamps: dict[str, Stamp] = {}


def fingerprint(catalog: Catalog, *, by_time: bool = False) -> str:
    """The sha256 (hex) of what the catalog holds, whatever the order of its files and rows.

    Covers ids, labels, listings and what each file holds; of a file at an address, what the system
    there says of its last change.

    Args:
        catalog: the photos.
        by_time: take the time of its last change for what a file holds, and read none. Only the
            very same files have the same fingerprint then, and no copies of them.

    Raises:
        InputError: an archive is gone or damaged.
    """
    contents: dict[Locator, dict[str, tuple[int, int]]] = {}
    lines = []
    with PhotoReader() as reader:
        for photo in catalog.photos:
            content: tuple[int, int] | None = None
            locator = photo.locator
            if locator is not None and locator.members:
                archive = Locator(locator.file, locator.members[:-1])
                if archive not in contents:
                    contents[archive] = {
                        member.raw: (member.size, member.crc)
                        for member in reader.list_members(archive)
                    }
                content = contents[archive].get(locator.members[-1])
            elif locator is not None and is_address(locator.file):
                content = tell_change(locator.file)
            elif locator is not None:
                content = _read_time(locator.path) if by_time else _read_content(locator.path)
            lines.append(json.dumps([photo.id, photo.label, photo.listing, content]))
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()


def _read_content(path: Path) -> tuple[int, int] | None:
    stamp = read_stamp(path)
    return None if stamp is None else (stamp.size, stamp.crc)


def _read_time(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, _tell_change(status)


def _tell_change(status: os.stat_result) -> int:
    """When a file was last changed; copying programs set back the one time, and not the other."""
    return max(status.st_mtime_ns, status.st_ctime_ns)


def read_stamp(path: Path) -> Stamp | None:
    """What a file holds now; None where there is none, or it cannot be read."""
    name = os.path.abspath(path)
    try:
        if not path.is_file():  # a pipe would keep us waiting for ever
            return None
        status = path.stat()
        known = _stamps.get(name)
        if known and (known.size, known.changed_ns) == (status.st_size, _tell_change(status)):
            return known
        crc = 0
        if status.st_size <= MAX_FILE_BYTES:  # no larger one is ever decoded
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    crc = zlib.crc32(chunk, crc)
    except OSError:
        return None
    stamp = Stamp(name, status.st_size, _tell_change(status), crc)
    if time.time_ns() - stamp.changed_ns > _SETTLED_NS:
        trust_stamps([stamp])
    return stamp


def trust_stamps(stamps: Iterable[Stamp]) -> None:
    """Files that still have this size and time are not read again by this process."""
    if len(_stamps) > _MOST_KEPT:
        _stamps.clear()
    _stamps.update((stamp.path, stamp) for stamp in stamps)
