"""Files written whole or not at all; it does not know what is in them.

A file is written under a temporary name in its own folder, flushed to the disk and renamed last.
A process killed half-way leaves the old file, or none, and at worst a hidden `.part` file. What is
read, changed and written again is `locked` meanwhile, so that of two processes neither undoes what
the other has written.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import itertools
import os
import secrets
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from lotlens.errors import OutputError
from lotlens.texts import dump_json, protect_cell

_REASONS = {
    errno.ENOSPC: "no space is left on the disk; free some, or name another folder",
    errno.EDQUOT: "your disk quota is used up; free some space, or name another folder",
    errno.EFBIG: "the file is too big for this disk; name a folder on another one",
    errno.EROFS: "the disk is read-only; name another folder",
    errno.EACCES: "permission denied; name a folder that you may write to",
    errno.EPERM: "permission denied; name a folder that you may write to",
    errno.EISDIR: "it is a folder; name a file",
    errno.ENOTDIR: "part of the path is a file, not a folder; name another path",
    errno.EEXIST: "part of the path is a file, not a folder; name another path",
    errno.ENAMETOOLONG: "the name is too long; name a shorter one",
}


_UNFINISHED = ".part"
_LOCK = ".lock"
_PATIENCE_S = 30.0
_PAUSE_S = 0.01
_TAKEN = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)  # which of them depends on the system
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)


def is_unfinished(path: Path) -> bool:
    """Whether a file is what a killed process left of an `atomic_path`, or of a lock."""
    return path.name.startswith(".") and path.suffix in (_UNFINISHED, _LOCK)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Lend a temporary path beside `path`; on success it becomes `path`, on failure it is removed.

    Missing parent folders are made. A symbolic link is followed: its target is replaced, not the
    link. The block should do nothing but write the file, since an OSError in it that names no
    other file is taken for a failure to write this one.

    Args:
        path: the file's final name.

    Yields:
        a path in the same folder at which the block creates the file.

    Raises:
        OutputError: the file cannot be written: no space left, no permission, `path` is a folder
            or a device, or the block left no file.
    """
    final_path = Path(os.path.realpath(path))
    # Short enough that a long name of many-byte letters still fits a file system's 255 bytes.
    name = f".{final_path.name[:32]}.{secrets.token_hex(6)}{_UNFINISHED}"
    part_path = final_path.with_name(name)
    try:
        if final_path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "is a folder", str(final_path))
        if final_path.exists() and not final_path.is_file():
            raise OutputError(f"cannot write {path}: it is a device, not a file; name a file")
        final_path.parent.mkdir(parents=True, exist_ok=True)
        yield part_path
        _flush_to_disk(part_path)
        os.replace(part_path, final_path)
        _flush_folder(final_path.parent)
    except OSError as error:
        if _is_about_another_file(error, part_path, final_path):
            raise
        raise _tell(path, error) from error
    finally:
        with suppress(OSError):
            part_path.unlink()


def check_writable(path: Path) -> None:
    """Refuse a file that could not be written, before there is work to lose; nothing is left.

    Folders above it that are missing are not made.

    Raises:
        OutputError: as `atomic_path`, of what can be told beforehand.
    """
    try:
        final_path = Path(os.path.realpath(path))
        if final_path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "is a folder")
        if final_path.exists() and not final_path.is_file():
            raise OutputError(f"cannot write {path}: it is a device, not a file; name a file")
        folder = next(one for one in final_path.parents if one.exists())
        with tempfile.TemporaryFile(dir=folder):
            pass
        missing = final_path.relative_to(folder).parts
        for name in missing:
            with suppress(FileNotFoundError):
                os.lstat(folder / name)  # which fails otherwise where the name is too long
        if len(missing) > 1 and os.path.lexists(folder / missing[0]):  # a link in a circle
            raise NotADirectoryError(errno.ENOTDIR, "no folder")
    except (OSError, ValueError) as error:
        raise _tell(path, error) from error


@contextmanager
def locked(path: Path, *, patience_s: float = _PATIENCE_S) -> Iterator[None]:
    """Keep other processes and threads from changing a file between reading it and writing it.

    All who change the file must ask for this, and read it inside. The lock is one of the operating
    system's on the hidden file .NAME.lock beside it, so it ends with the process that holds it,
    however that ends. It is not to be asked for twice by one thread. On a disk that knows no locks
    it lies in this machine's folder of temporary files, and keeps out processes of this machine.

    Args:
        path: the file; a symbolic link stands for its target. Missing parent folders are made.
        patience_s: how long to wait for whoever holds it.

    Raises:
        OutputError: it was not to be had in that time, or the folder cannot be written to.
    """
    final_path = Path(os.path.realpath(path))
    mark = hashlib.sha256(os.fsencode(final_path)).hexdigest()[:16]
    try:
        final_path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock = _take_lock(
                final_path.with_name(f".{final_path.name[:32]}.{mark}{_LOCK}"), patience_s
            )
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            folder = Path(tempfile.gettempdir())
            lock = _take_lock(folder / f"lotlens-{mark}{_LOCK}", patience_s)
    except TimeoutError as error:
        raise OutputError(
            f"cannot write {path}: another process is changing it; end that one, or try again when"
            " it is done"
        ) from error
    except OSError as error:
        raise _tell(path, error) from error
    lock_path, descriptor = lock
    try:
        yield
    finally:
        # Removed while it is held: who waits for it sees that it is no longer the one that lies
        # there. Where an open file cannot be removed it stays, and does no harm.
        with suppress(OSError):
            lock_path.unlink()
        _unlock(descriptor)  # a process forked meanwhile has it open too
        os.close(descriptor)


def write_bytes_atomically(path: Path, data: bytes) -> None:
    """Write `data` to `path`, whole or not at all.

    Raises:
        OutputError: see `atomic_path`.
    """
    with atomic_path(path) as part_path:
        part_path.write_bytes(data)


def write_text_atomically(path: Path, text: str) -> None:
    """Write `text` to `path` as UTF-8, whole or not at all; line ends are kept as they are.

    File names that were no valid UTF-8 on the disk come out as the bytes they had there.

    Raises:
        OutputError: see `atomic_path`.
    """
    write_bytes_atomically(path, text.encode("utf-8", "surrogateescape"))


def write_json_atomically(path: Path, values: object) -> None:
    """Write plain values as JSON in UTF-8, whole or not at all; any text comes back as it was.

    Raises:
        OutputError: see `atomic_path`.
    """
    write_text_atomically(path, dump_json(values) + "\n")


def write_rows_atomically(
    path: Path,
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    *,
    is_exact: bool = False,
) -> None:
    """Write a CSV file: UTF-8 without BOM, commas, bare line feeds, quotes only where needed.

    None and NaN become empty cells. Cells are protected from spreadsheets (`texts.protect_cell`),
    which who reads the file takes back (`photos.tables.read_table`, `texts.restore_cell`).

    Args:
        path: the file's final name.
        columns: the header.
        rows: as many values each as there are columns.
        is_exact: cells are written as they are, for a program that compares them; file names that
            were no valid UTF-8 on the disk come out as the bytes they had there.

    Raises:
        OutputError: see `atomic_path`.
    """
    with (
        atomic_path(path) as part_path,
        part_path.open("x", encoding="utf-8", errors="surrogateescape", newline="") as file,
    ):
        usual = csv.writer(file, lineterminator="\n")
        # Python 3.11's writer leaves a bare carriage return unquoted: readers then see a new row.
        quoting = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
        for row in itertools.chain([columns], rows):
            values = [_show(value) for value in row]
            if not is_exact:
                values = [protect_cell(value) for value in values]
            (quoting if any("\r" in value for value in values) else usual).writerow(values)


def _show(value: object) -> str:
    return "" if value is None or value != value else str(value)  # noqa: PLR0124  (NaN alone does)


def _tell(path: Path, error: OSError | ValueError) -> OutputError:
    """Why a file cannot be written, and what to do."""
    if isinstance(error, ValueError):
        return OutputError(f"cannot write {str(path)!r}: it is no name for a file; name another")
    reason = _REASONS.get(error.errno or 0, error.strerror or str(error))
    return OutputError(f"cannot write {path}: {reason}")


def _take_lock(path: Path, patience_s: float) -> tuple[Path, int]:
    """Make a file and lock it; gives its path and its open descriptor.

    Raises:
        TimeoutError: others held it all the time.
        OSError: it cannot be made, or locked.
    """
    end_s = time.monotonic() + patience_s
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(descriptor)
            if _is_still_there(path, descriptor):
                return path, descriptor
            is_taken = False  # by one who has removed it meanwhile: make another
        except OSError as error:
            os.close(descriptor)
            if error.errno not in _TAKEN:
                raise
            is_taken = True
        else:
            os.close(descriptor)
        if time.monotonic() > end_s:
            raise TimeoutError
        if is_taken:
            time.sleep(_PAUSE_S)


def _lock(descriptor: int) -> None:
    """Lock an open file, or fail at once."""
    if sys.platform == "win32":
        import msvcrt

        msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _unlock(descriptor: int) -> None:
    if sys.platform != "win32":  # where closing does it
        import fcntl

        fcntl.flock(descriptor, fcntl.LOCK_UN)


def _is_still_there(path: Path, descriptor: int) -> bool:
    """Whether an open file is the one that lies at a path."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def _is_about_another_file(error: OSError, *paths: Path) -> bool:
    """Whether the error names a file that is none of ours: that one is the caller's affair."""
    ours = {part for path in paths for part in (path, *path.parents)}
    named = error.filename
    return isinstance(named, str | bytes) and Path(os.fsdecode(named)) not in ours


def _flush_to_disk(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def _flush_folder(path: Path) -> None:
    """Make the rename itself last; not every system lets a folder be opened, and none must."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
