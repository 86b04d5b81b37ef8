"""Reads photos where they lie, in folders, zips and zips within zips; it knows no labels or pixels.

Nothing is ever unpacked to disk, so a member's name can never decide where something is written.
Archives come from strangers: sizes, names and nesting are checked before a byte is inflated.
"""

from __future__ import annotations

import errno
import io
import os
import re
import stat
import struct
import threading
import unicodedata
import zipfile
import zlib
from bisect import bisect_right
from collections import OrderedDict
from dataclasses import dataclass
from operator import itemgetter
from types import TracebackType
from typing import Any

from lotlens.errors import InputError, UnreadablePhoto
from lotlens.photos.addresses import is_address, open_address, read_address
from lotlens.records import Locator

MAX_FILE_BYTES = 200_000_000
"""The largest single file that is read; a photo of a car has a hundredth of this."""

MAX_RATIO = 200
"""An archive that unpacks to more times its own size is a bomb: photos hardly shrink at all."""

MIN_BOMB_BYTES = 100_000_000
"""Below this total nothing is called a bomb: a small table of zeros shrinks well and harms none."""

MAX_DEPTH = 2
"""Zips within zips: the competition's one big zip holds train.zip, and that is deep enough."""

MAX_OPEN_ARCHIVES = 16

MAX_DIRECTORY_BYTES = 100_000_000
"""A zip's list of members of more is not read: a million photos need less."""

_DIRECTORY_SIZE, _DIRECTORY_OFFSET = 5, 6  # in what zipfile finds at an archive's end

_BEGINNING = re.compile(rb"(?:PK(?:\x07\x08|00))?PK\x03\x04")  # of a zip, with a split one's mark

_READABLE_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
_METHOD_NAMES = {9: "Deflate64", 12: "bzip2", 14: "LZMA", 93: "Zstandard", 95: "XZ", 98: "PPMd"}
_HIDDEN = re.compile(
    r"(?:^|/)(?:\.[^/]|__MACOSX/|(?i:@eadir|#recycle|\$recycle\.bin|lost\+found)/"
    r"|(?i:system volume information)/|(?i:thumbs\.db|ehthumbs\.db|desktop\.ini)\Z)"
)
_ENCRYPTED = 0x1
_UTF8_NAME = 0x800

# What reading a damaged zip was seen to raise; fuzzed in the tests.
_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    ValueError,
    OverflowError,
    IndexError,
    NotImplementedError,
    RuntimeError,
)


@dataclass(frozen=True, slots=True)
class Member:
    """A file in a zip.

    Attributes:
        raw: the name as zipfile knows it; this is what a Locator holds.
        name: the name as its author saw it: Cyrillic restored, composed (NFC), "/" between parts,
            none of which is empty or ".".
        size: bytes when unpacked.
        crc: CRC-32 of the content, from the directory.
    """

    raw: str
    name: str
    size: int
    crc: int


def read_bytes(locator: Locator, *, max_bytes: int = MAX_FILE_BYTES) -> bytes:
    """The bytes of one file. For many files keep a `PhotoReader`, which keeps archives open.

    Raises:
        UnreadablePhoto, InputError: as `PhotoReader.read`.
    """
    with PhotoReader(max_bytes=max_bytes) as reader:
        return reader.read(locator)


class PhotoReader:
    """Reads files by locator and keeps the archives it meets open.

    One reader may be used from many threads. It can be pickled and survives a fork: it carries no
    open handles to another process and opens its own there.

    Args:
        max_bytes: of a file that is read.
        max_directory_bytes: of a zip's list of members, which takes ten times as much memory.
        max_inner_bytes: of a zip within a zip, unpacked: a deflated one is inflated to look into
            it, and takes a twenty-fifth of that in memory.
    """

    def __init__(
        self,
        *,
        max_bytes: int = MAX_FILE_BYTES,
        max_directory_bytes: int = MAX_DIRECTORY_BYTES,
        max_inner_bytes: int | None = None,
    ) -> None:
        self.max_bytes = max_bytes
        self.max_directory_bytes, self.max_inner_bytes = max_directory_bytes, max_inner_bytes
        self._start_afresh()

    def _start_afresh(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.RLock()
        self._open: OrderedDict[Locator, _Archive] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        names = ("max_bytes", "max_directory_bytes", "max_inner_bytes")
        return {name: getattr(self, name) for name in names}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._start_afresh()

    def __enter__(self) -> PhotoReader:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes all archives; the reader may be used again and opens them anew."""
        self._leave_parent()
        with self._lock:
            while self._open:
                self._open.popitem()[1].close()

    def read(self, locator: Locator) -> bytes:
        """The bytes of one file.

        Raises:
            UnreadablePhoto: it is missing, damaged, encrypted, no plain file, or larger than
                `max_bytes`; or its archive is missing or damaged.
            InputError: zips nested deeper than `MAX_DEPTH`.
        """
        try:
            return self._read(locator)
        except MemoryError:
            raise UnreadablePhoto("not enough memory to read this file") from None

    def _read(self, locator: Locator) -> bytes:
        if not locator.members:
            return self._read_file(locator)
        where = Locator(locator.file, locator.members[:-1])
        _check_depth(where)
        self._leave_parent()
        with self._lock:
            try:
                archive = self._archive(where)
            except InputError as error:
                raise UnreadablePhoto(str(error)) from error
            return archive.read(locator.members[-1], self.max_bytes)

    def list_members(self, archive: Locator) -> tuple[Member, ...]:
        """The files in a zip, one for each name, in the order of its directory.

        Of several members of one name the last counts, as for every program that unpacks them.
        Folders, symbolic links and what systems add (`__MACOSX`, hidden files, Thumbs.db) are left
        out. A link is never followed: its target would lie outside the archive.

        Args:
            archive: a zip on disk, or with `members` a zip within it.

        Raises:
            InputError: it is missing, damaged, encrypted, a bomb, packed with a method other than
                deflate, nested too deeply, or has a member whose name leads out of it.
        """
        _check_depth(archive)
        self._leave_parent()
        with self._lock:
            return self._archive(archive).list_members()

    def list_hidden(self, archive: Locator) -> tuple[str, ...]:
        """Names of a zip's files that `list_members` leaves out as hidden, or as links.

        Raises:
            InputError: as `list_members`.
        """
        self.list_members(archive)
        with self._lock:
            return tuple(self._archive(archive).hidden)

    def list_repeated(self, archive: Locator) -> tuple[tuple[str, bool], ...]:
        """Members that `list_members` leaves out since a later one has their name.

        Returns:
            the name, and whether the two hold the same, for each.

        Raises:
            InputError: as `list_members`.
        """
        self.list_members(archive)
        with self._lock:
            return tuple(self._archive(archive).repeated)

    def peek(self, locator: Locator, count: int) -> bytes:
        """The first bytes of a file, by which its format is told; none where it cannot be read."""
        try:
            if not locator.members:
                if is_address(locator.file):
                    return read_address(locator.file, count)
                # A pipe would keep us waiting for ever.
                if not locator.path.is_file():
                    return b""
                with locator.path.open("rb") as file:
                    return file.read(count)
            self._leave_parent()
            with self._lock:
                where = Locator(locator.file, locator.members[:-1])
                return self._archive(where).peek(locator.members[-1], count)
        except (*_DAMAGE, KeyError, InputError, UnreadablePhoto):
            return b""

    def _leave_parent(self) -> None:
        # After a fork the handles share their position with the parent, and the lock may be held
        # by a thread that does not exist here.
        if self._pid != os.getpid():
            self._start_afresh()

    def _read_file(self, locator: Locator) -> bytes:
        if is_address(locator.file):
            data = read_address(locator.file, self.max_bytes + 1)
            _check_size(len(data), self.max_bytes)
            return data
        path = locator.path
        try:
            status = path.stat()
            if stat.S_ISDIR(status.st_mode):
                raise UnreadablePhoto("a folder, not a file")
            if not stat.S_ISREG(status.st_mode):
                raise UnreadablePhoto("not a plain file")  # reading a pipe would wait for ever
            _check_size(status.st_size, self.max_bytes)
            with path.open("rb") as file:
                data = file.read(self.max_bytes + 1)
        except FileNotFoundError:
            raise UnreadablePhoto(f"no such file: {path}") from None
        except (OSError, ValueError) as error:
            raise UnreadablePhoto(f"cannot be read: {_reason(error)}") from error
        _check_size(len(data), self.max_bytes)
        return data

    def _archive(self, locator: Locator) -> _Archive:
        found = self._open.get(locator)
        if found is not None:
            self._open.move_to_end(locator)
            return found
        if locator.members:
            outer = self._archive(Locator(locator.file, locator.members[:-1]))
            archive = outer.open_inner(locator, self.max_directory_bytes, self.max_inner_bytes)
        else:
            archive = _Archive(_open_file(locator), locator, self.max_directory_bytes)
        self._open[locator] = archive
        while len(self._open) > MAX_OPEN_ARCHIVES:
            self._open.popitem(last=False)[1].close()
        return archive


class _Archive:
    """An open zip. Not for several threads at once; the reader's lock sees to that."""

    def __init__(
        self,
        stream: io.RawIOBase | io.BufferedReader,
        locator: Locator,
        max_directory_bytes: int,
    ) -> None:
        self._stream = stream
        self._locator = locator
        self.hidden: list[str] = []
        self.repeated: list[tuple[str, bool]] = []
        try:
            # As zipfile itself finds it, so that it reads no more than was looked at.
            found = zipfile._EndRecData(stream)  # type: ignore[attr-defined]
            if found is not None and found[_DIRECTORY_SIZE] > max_directory_bytes:
                stream.close()
                raise InputError(
                    f"{locator} lists far too many files ({found[_DIRECTORY_SIZE]:,} bytes of"
                    " names): it was not read"
                )
            self._zip = zipfile.ZipFile(stream)
            self._check_whole(0 if found is None else found[_DIRECTORY_OFFSET])
        except _DAMAGE as error:
            stream.close()
            reason = getattr(getattr(stream, "raw", None), "failure", "") or _reason(error)
            raise InputError(
                f"{locator} is damaged or not a zip (a broken download?): {reason}"
            ) from error

    def close(self) -> None:
        self._zip.close()
        self._stream.close()

    def list_members(self) -> tuple[Member, ...]:
        infos = self._zip.infolist()
        self._check_bomb(infos)
        members = []
        self.hidden, self.repeated = [], []
        latest: dict[str, zipfile.ZipInfo] = {}
        for info in infos:
            name = _restore_name(info)
            self._check_name(name)
            # "a//b" and "a/./b" are one place with "a/b", where only one file can lie.
            place = "/".join(part for part in name.split("/") if part not in ("", "."))
            if not place or name.endswith("/"):
                continue
            earlier = latest.pop(place, None)
            if earlier is not None:
                is_same = (earlier.file_size, earlier.CRC) == (info.file_size, info.CRC)
                self.repeated.append((place, is_same))
            latest[place] = info
        for name, info in latest.items():
            if stat.S_ISLNK(info.external_attr >> 16) or is_hidden(name):
                self.hidden.append(name)
                continue
            if info.flag_bits & _ENCRYPTED:
                raise InputError(
                    f"{self._locator} is encrypted (member {name!r}): unpack it with its password"
                )
            if info.compress_type not in _READABLE_METHODS:
                method = _METHOD_NAMES.get(info.compress_type, f"method {info.compress_type}")
                raise InputError(
                    f"{self._locator}: member {name!r} is packed with {method}, which is not read:"
                    " pack the zip with deflate or without compression"
                )
            members.append(Member(info.filename, name, info.file_size, info.CRC))
        return tuple(members)

    def read(self, name: str, max_bytes: int) -> bytes:
        """The content of one member, checked against its CRC.

        Raises:
            UnreadablePhoto: as `PhotoReader.read`.
        """
        try:
            info = self._zip.getinfo(name)
        except KeyError:
            raise UnreadablePhoto(f"no member {name!r} in {self._locator}") from None
        if info.filename.endswith("/"):  # is_dir() fails on an empty name
            raise UnreadablePhoto("a folder, not a file")
        if stat.S_ISLNK(info.external_attr >> 16):
            raise UnreadablePhoto("a symbolic link, which is not followed")
        if info.flag_bits & _ENCRYPTED:
            raise UnreadablePhoto("encrypted in its archive")
        if info.compress_type not in _READABLE_METHODS:
            raise UnreadablePhoto("packed with a method other than deflate")
        _check_size(info.file_size, max_bytes)
        try:
            # zipfile stops at the declared size, so a member that lies about it fails its CRC
            # without filling the memory.
            with self._zip.open(info) as file:
                return file.read()
        except _DAMAGE as error:
            raise UnreadablePhoto(f"damaged in its archive: {_reason(error)}") from error

    def peek(self, name: str, count: int) -> bytes:
        """The first bytes of one member, unchecked.

        Raises:
            KeyError: there is no such member.
        """
        with self._zip.open(self._zip.getinfo(name)) as file:
            return file.read(count)

    def open_inner(
        self, locator: Locator, max_directory_bytes: int, max_inner_bytes: int | None
    ) -> _Archive:
        """The zip that is a member of this one, read in place.

        Raises:
            InputError: it is missing, encrypted or damaged, too large, or a bomb.
        """
        try:
            info = self._zip.getinfo(locator.members[-1])
        except KeyError:
            raise InputError(f"no {locator.members[-1]!r} in {self._locator}") from None
        if info.flag_bits & _ENCRYPTED:
            raise InputError(f"{locator} is encrypted: unpack it with its password")
        if info.compress_type not in _READABLE_METHODS:
            raise InputError(f"{locator} is packed with a method other than deflate: unpack it")
        self._check_bomb([info])
        if max_inner_bytes is not None and info.file_size > max_inner_bytes:
            raise InputError(
                f"{locator} is too large for a zip within a zip: {info.file_size:,} bytes, the"
                f" limit is {max_inner_bytes:,}"
            )
        try:
            start = self._find_content(info)
        except _DAMAGE as error:
            raise InputError(f"{locator} is damaged: {_reason(error)}") from error
        file = _open_file(self._locator)
        if info.compress_type == zipfile.ZIP_STORED:
            stored = _Slice(file, start, info.compress_size)
            return _Archive(stored, locator, max_directory_bytes)
        inflated = _Inflated(file, start, info.compress_size, info.file_size)
        return _Archive(inflated, locator, max_directory_bytes)

    def _find_content(self, info: zipfile.ZipInfo) -> int:
        """Where a member's bytes begin: behind its local header (APPNOTE.TXT 4.3.7)."""
        self._stream.seek(info.header_offset)
        header = self._stream.read(30)
        if header is None or len(header) != 30 or header[:4] != b"PK\x03\x04":
            raise zipfile.BadZipFile("bad local header")
        name_length, extra_length = struct.unpack("<HH", header[26:30])
        return int(info.header_offset + 30 + name_length + extra_length)

    def _check_whole(self, said: int) -> None:
        """Refuse a zip that ends with another's end: cut off just behind a zip within it.

        zipfile takes what lies before an archive for another program's, as self-unpacking ones
        have it.

        Args:
            said: where its list of members begins, by its end.
        """
        if self._zip.start_dir == said:
            return
        self._stream.seek(0)
        if _BEGINNING.match(self._stream.read(8) or b""):
            raise zipfile.BadZipFile("cut off, or two zips in one: its end is that of another zip")

    def _check_bomb(self, infos: list[zipfile.ZipInfo]) -> None:
        # Against the archive's real length, not the declared sizes: members may overlap.
        length = self._stream.seek(0, os.SEEK_END)
        total = sum(info.file_size for info in infos)
        if total > MIN_BOMB_BYTES and total > MAX_RATIO * length:
            raise InputError(
                f"{self._locator} would unpack from {length:,} to {total:,} bytes, more than"
                f" {MAX_RATIO} times its size: it looks like a zip bomb and was not read"
            )

    def _check_name(self, name: str) -> None:
        if name.startswith("/") or re.match(r"[A-Za-z]:/", name) or ".." in name.split("/"):
            raise InputError(
                f"{self._locator}: member {name!r} leads out of the archive: it was not read."
                " Pack the photos again with plain relative names"
            )


class _Slice(io.RawIOBase):
    """A part of a file as a file of its own: a zip stored uncompressed within another."""

    def __init__(self, file: io.BufferedReader, start: int, length: int) -> None:
        self._file = file
        self._start = start
        self._length = length
        self._position = 0

    def close(self) -> None:
        self._file.close()
        super().close()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._length}[whence]
        if base + offset < 0:
            raise OSError(errno.EINVAL, "seek before the start")  # zipfile counts on OSError
        self._position = base + offset
        return self._position

    def readinto(self, buffer: Any) -> int:
        count = max(min(len(buffer), self._length - self._position), 0)
        data = self._fetch(self._position, count)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def _fetch(self, position: int, count: int) -> bytes:
        self._file.seek(self._start + position)
        return self._file.read(count)


class _Inflated(_Slice):
    """A deflated member as a seekable file: a zip that was compressed once more within another.

    Inflating can only run forwards. A copy of the decompressor's state (some 40 kB) is kept every
    `_STRIDE` bytes of output, so that reading anywhere inflates at most that much again, and the
    gigabytes of a train.zip never need to be in memory. The idea is zran.c of zlib's examples.
    """

    _STRIDE = 1 << 20
    _CHUNK = 1 << 14

    def __init__(self, file: io.BufferedReader, start: int, packed: int, length: int) -> None:
        super().__init__(file, start, length)
        self._packed = packed
        # A state: bytes put out, bytes taken in, the decompressor at that point.
        self._stops = [(0, 0, zlib.decompressobj(-zlib.MAX_WBITS))]
        self._rewind(0)

    def _rewind(self, index: int) -> None:
        self._out, self._taken, inflater = self._stops[index]
        self._inflater = inflater.copy()
        self._block = b""  # the latest output; it ends at self._out

    def _fetch(self, position: int, count: int) -> bytes:
        pieces = []
        while count > 0:
            self._reach(position)
            piece = self._block[position - self._out + len(self._block) :][:count]
            if not piece:
                break  # the packed data ends before its declared length
            pieces.append(piece)
            position += len(piece)
            count -= len(piece)
        return b"".join(pieces)

    def _reach(self, position: int) -> None:
        """Inflates until the latest block holds `position`, or the packed data ends."""
        nearest = bisect_right(self._stops, position, key=itemgetter(0)) - 1
        if position < self._out - len(self._block) or self._out < self._stops[nearest][0]:
            self._rewind(nearest)
        while self._out <= position and self._taken < self._packed:
            self._file.seek(self._start + self._taken)
            packed = self._file.read(min(self._CHUNK, self._packed - self._taken))
            if not packed:
                break
            self._block = self._inflater.decompress(packed)
            self._taken += len(packed)
            self._out += len(self._block)
            if self._out >= self._stops[-1][0] + self._STRIDE:
                self._stops.append((self._out, self._taken, self._inflater.copy()))


def is_hidden(name: str) -> bool:
    """Whether a relative name is a system's own: `.git/x`, `__MACOSX/._1.jpg`, `Thumbs.db`."""
    return _HIDDEN.search(name) is not None


def _restore_name(info: zipfile.ZipInfo) -> str:
    """The member's name as its author saw it.

    Without the UTF-8 flag zipfile reads names as cp437. What wrote them was macOS (UTF-8 all the
    same) or a Russian Windows (cp866); UTF-8 is recognised by being valid.
    """
    name = info.filename
    if not name.isascii() and not info.flag_bits & _UTF8_NAME:
        raw = name.encode("cp437")
        try:
            name = raw.decode("utf-8")
        except UnicodeDecodeError:
            name = raw.decode("cp866")
    return unicodedata.normalize("NFC", name.replace("\\", "/"))


def _open_file(locator: Locator) -> io.BufferedReader:
    if is_address(locator.file):
        opened: io.BufferedReader = open_address(locator.file)
        return opened
    path = locator.path
    try:
        if not path.is_file():
            what = "is not a file" if path.exists() else "does not exist"
            raise InputError(f"archive {path} {what}")
        return path.open("rb")
    except (OSError, ValueError) as error:
        raise InputError(f"archive {path} cannot be read: {_reason(error)}") from error


def _check_depth(archive: Locator) -> None:
    if len(archive.members) >= MAX_DEPTH:
        raise InputError(
            f"{archive} is a zip within a zip within a zip; two levels are read:"
            " unpack the outer one"
        )


def _check_size(size: int, max_bytes: int) -> None:
    if size > max_bytes:
        raise UnreadablePhoto(f"too large: {size:,} bytes, the limit is {max_bytes:,}")


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__
