"""A catalog's fingerprint: whether two catalogs hold the same; no pixel is read."""

from __future__ import annotations

import hashlib
import json

from lotlens.photos.archives import PhotoReader
from lotlens.records import Catalog, Locator


def fingerprint(catalog: Catalog) -> str:
    """The sha256 (hex) of what the catalog holds, whatever the order of its files and rows.

    Covers ids, labels, listings and each file's size; of photos in zips also the CRC from the
    directory. Pixels are not read.

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
                archive = Locator(locator.path, locator.members[:-1])
                if archive not in contents:
                    contents[archive] = {
                        member.raw: (member.size, member.crc)
                        for member in reader.list_members(archive)
                    }
                content = contents[archive].get(locator.members[-1])
            elif locator is not None and locator.path.is_file():
                content = (locator.path.stat().st_size, 0)
            lines.append(json.dumps([photo.id, photo.label, photo.listing, content]))
    return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()
