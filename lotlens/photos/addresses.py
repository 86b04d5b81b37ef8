"""Reads files at addresses, such as s3://bucket/photos, by fsspec; it knows no labels, no pixels.

An address is what a person has typed where photos are named, never what a table or an archive
says: a path made of a row's text has no "//" in it, and is looked for on this machine.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lotlens.errors import InputError, MissingExtra, UnreadablePhoto, shorten
from lotlens.extras import import_extra

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_SECRET = re.compile(r"//[^/@]*:[^/@]*@")


def is_address(place: Path | str) -> bool:
    """Whether a place is an address; a Path never is."""
    return isinstance(place, str) and _ADDRESS.match(place) is not None


def is_folder(address: str) -> bool:
    """Whether a folder (of a bucket: the beginning of names) or a file is there.

    Raises:
        InputError: neither is, or nobody answers there, or it may not be read.
        MissingExtra: fsspec is not installed.
    """
    with _told(address):
        system, path = _find(address)
        return bool(system.info(path)["type"] == "directory")


def list_files(address: str) -> list[tuple[str, str]]:
    """Name below the address ("/" between the parts) and address of each file, in order of name.

    Raises:
        InputError, MissingExtra: as `is_folder`.
    """
    with _told(address):
        system, path = _find(address)
        head = path.rstrip("/") + "/"
        found = sorted(name for name in system.find(path) if name.startswith(head))
        return [(name.removeprefix(head), system.unstrip_protocol(name)) for name in found]


def open_address(address: str) -> Any:
    """A file, opened for reading anywhere in it; it fetches what is read.

    Raises:
        InputError, MissingExtra: as `is_folder`.
    """
    with _told(address):
        system, path = _find(address)
        return system.open(path, "rb")


def read_address(address: str, most: int) -> bytes:
    """The first `most` bytes of a file, fetched at once.

    Raises:
        UnreadablePhoto: it is not there, or cannot be fetched.
    """
    try:
        with _told(address):
            system, path = _find(address)
            return bytes(system.cat_file(path, start=0, end=most))
    except (InputError, MissingExtra) as error:
        raise UnreadablePhoto(str(error)) from error


def tell_change(address: str) -> tuple[int, int] | None:
    """Size of a file, and a number that is another one when it has changed; None if none is there.

    No byte of it is fetched: the system's own word is taken (a time, or a checksum of its).
    """
    try:
        with _told(address):
            system, path = _find(address)
            size = system.info(path)["size"]
            mark = hashlib.sha256(str(system.ukey(path)).encode()).digest()
            return int(size), int.from_bytes(mark[:8], "big")
    except (InputError, MissingExtra):
        return None


def _find(address: str) -> tuple[Any, str]:
    if _SECRET.search(address):
        raise InputError(
            f"an address with a password in it ({_hide(address)}) would be written into tables:"
            " leave it out, and give it to the program that it is for by its environment"
        )
    fsspec = import_extra("fsspec", "cluster")
    system, path = fsspec.core.url_to_fs(address)
    return system, path


@contextmanager
def _told(address: str) -> Iterator[None]:
    """What goes wrong, in a line; each of fsspec's many systems has errors of its own."""
    try:
        yield
    except (InputError, MissingExtra, MemoryError):
        raise
    except FileNotFoundError:
        raise InputError(f"{address} does not exist") from None
    except ImportError as error:
        raise InputError(f"{address} needs one more package: {_line(error)}") from error
    except Exception as error:
        raise InputError(f"{address} cannot be read: {_line(error)}") from error


def _line(error: Exception) -> str:
    return shorten(" ".join(str(error).split()) or type(error).__name__, 300)


def _hide(address: str) -> str:
    return _SECRET.sub("//…@", address)
