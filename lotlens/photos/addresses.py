"""Reads files in stores such as s3://bucket/photos, by fsspec; it knows no labels and no pixels.

An address is what a person has typed where photos are named, and what a store then lists below it;
never what a table or an archive says: a path made of a row's text has no "//" in it, and is looked
for on this machine.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from lotlens.errors import InputError, MissingExtra, UnreadablePhoto, shorten
from lotlens.extras import import_extra

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_AS_PATH = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")
"""The beginning of an address as a Path has it, or as it is mistyped; of more than a drive."""
_SECRET = re.compile(r"://.*:.*@")
_HERE = frozenset(["file", "local"])
_STORES = frozenset(
    [
        *("s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "hdfs", "webhdfs"),
        *("sftp", "ssh", "ftp", "smb", "memory"),
    ]
)
"""Protocols of fsspec that lead to files which somebody keeps. Others read web pages, or what lies
within other files."""
_BLOCK = 1 << 20


def is_address(place: Path | str) -> bool:
    """Whether a place is an address; a Path never is."""
    return isinstance(place, str) and _ADDRESS.match(place) is not None


def make_absolute(file: str) -> str:
    """A file's path from the root, so that other processes find it; an address is one already."""
    return file if is_address(file) else str(Path(file).absolute())


def to_source(place: Path | str) -> Path | str:
    """What a person has named: a path on this machine, which file:// leads to as well, or the text
    of an address.
    """
    found = _ADDRESS.match(place) if isinstance(place, str) else None
    if found is None:
        return Path(place)
    protocol, rest = found[1].lower(), str(place)[found.end() :]
    if protocol not in _HERE:
        return f"{protocol}://{rest}"
    plain = unquote(rest)  # as browsers and Path.as_uri() write it
    return Path(plain if os.path.exists(plain) and not os.path.exists(rest) else rest)


def tell_address(path: Path, *, is_read: bool) -> str:
    """What to say of a path that is not there, where it looks like an address; else nothing.

    Args:
        path: which has one slash, as typed or since a Path keeps but one of two.
        is_read: whether an address could be given in its place.
    """
    found = _AS_PATH.match(str(path))
    if found is None:
        return ""
    protocol, rest = found[1].lower(), str(path)[found.end() :]
    if protocol in _HERE:
        return f"{path} does not exist; name what lies on this machine by its path alone: /{rest}"
    address = f"{protocol}://{rest}"
    try:
        _check(address)
    except InputError as error:
        return str(error)
    if is_read:
        return f"{path} does not exist; an address is text with two slashes: {address}"
    return (
        f"{address} looks like an address: photos at one, written with //, are answered by"
        " predict and scan --photos alone; copy other data to this machine, or mount them"
    )


def is_folder(address: str) -> bool:
    """Whether a folder (of a bucket: the beginning of names) is there, and no file.

    To be asked first of an address that was typed: what was known of the store is forgotten.

    Raises:
        InputError: neither is there, or nobody answers, or it may not be read; an address of
            another kind, or with a password in it.
        MissingExtra: fsspec is not installed.
    """
    _check(address)
    with _told(address):
        system, path = _find(address)
        system.invalidate_cache()
        return bool(system.info(path)["type"] == "directory")


def _check(address: str) -> None:
    """Refuses an address of another kind, or with a password in it."""
    protocol = address.partition("://")[0]
    if _SECRET.search(address):
        raise InputError(
            f"an address of {protocol}:// with a password in it would be written into tables: leave"
            " it out, and give it to the program that it is for by its environment"
        )
    if protocol not in _STORES:
        raise InputError(
            f"{shorten(address, 200)} is not read: photos may lie in a store (s3, gs, az, hdfs,"
            f" sftp, ftp, smb), and {protocol}:// is none: copy them to this machine"
        )
    if "::" in address:
        raise InputError(
            f"{shorten(address, 200)} is not read: with :: it leads from one store into another"
        )


def list_files(address: str) -> list[tuple[str, str]]:
    """Name below the address ("/" between the parts) and address of each file, in order of name.

    Raises:
        InputError, MissingExtra: as `is_folder`.
    """
    with _told(address):
        system, path = _find(address)
        head = path.rstrip("/") + "/"
        found = sorted(name for name in system.find(path) if name.startswith(head))
        names = [name.removeprefix(head) for name in found]
        return [(name, f"{address.rstrip('/')}/{name}") for name in names]


def open_address(address: str) -> io.BufferedReader:
    """A file, opened for reading anywhere in it; it fetches what is read.

    What goes wrong later is an OSError, whatever the store calls it.

    Raises:
        InputError, MissingExtra: as `is_folder`.
    """
    with _told(address):
        system, path = _find(address)
        return io.BufferedReader(_Stored(system.open(path, "rb")), _BLOCK)


def read_address(address: str, most: int) -> bytes:
    """The first `most` bytes of a file, fetched at once.

    Raises:
        UnreadablePhoto: it is not there, or cannot be fetched.
    """
    try:
        with _told(address):
            system, path = _find(address)
            try:
                return bytes(system.cat_file(path, start=0, end=most))[:most]
            except Exception:
                if system.info(path)["size"] == 0:  # of which some stores have no first bytes
                    return b""
                raise
    except (InputError, MissingExtra) as error:
        raise UnreadablePhoto(str(error)) from error


def tell_change(address: str) -> tuple[int, int] | None:
    """Size of a file, and a number that is another one when it has changed; None if none is there.

    No byte of it is fetched: the store's own word is taken (a checksum of its, or a time).
    """
    try:
        with _told(address):
            system, path = _find(address)
            info = system.info(path)
            mark = str(info.get("ETag") or system.ukey(path))
            number = int.from_bytes(hashlib.sha256(mark.encode()).digest()[:8], "big")
            return int(info["size"]), number
    except (InputError, MissingExtra):
        return None


class _Stored(io.RawIOBase):
    """A file of fsspec's; a store's errors, which are of many kinds, become OSErrors.

    Attributes:
        failure: the last of them, as text; zipfile makes of some that a file is no zip.
    """

    def __init__(self, file: Any) -> None:
        self._file = file
        self.failure = ""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        if not self.closed:
            self._file.close()
        super().close()

    def tell(self) -> int:
        return int(self._file.tell())

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        with self._translated():
            return int(self._file.seek(offset, whence))

    def readinto(self, buffer: Any) -> int:
        with self._translated():
            data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        return len(data)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except MemoryError:
            raise
        except Exception as error:
            self.failure = _line(error)
            raise OSError(self.failure) from error


def _find(address: str) -> tuple[Any, str]:
    """The store, and the place in it.

    Not by fsspec's own way for any text, to which a "::" in a file's name means another store.
    """
    fsspec = import_extra("fsspec", "cluster")
    protocol = address.partition("://")[0]
    kind = fsspec.get_filesystem_class(protocol)
    system = fsspec.filesystem(protocol, **kind._get_kwargs_from_urls(address))
    return system, str(kind._strip_protocol(address))


@contextmanager
def _told(address: str) -> Iterator[None]:
    """What goes wrong, in a line; each of fsspec's many stores has errors of its own."""
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
