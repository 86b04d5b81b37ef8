"""Files written whole or not at all; it does not know what is in them.

A file is written under a temporary name in its own folder, flushed to the disk and renamed last.
A process killed half-way leaves the old file, or none, and at worst a hidden `.part` file. Who
writes is the affair of `locks`.
"""

from __future__ import annotations

import csv
import errno
import hashlib
import itertools
import os
import re
import secrets
import shutil
import tempfile
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


_UNFINISHED = re.compile(r"(\..{1,60}-[0-9a-f]{8})\.[0-9a-f]{12}\.part", re.DOTALL)


def name_hidden(path: Path) -> str:
    """What names of hidden files beside a path that belong to it begin with.

    They are of no other path, and short enough for what follows, however long its own name is.
    """
    mark = hashlib.sha256(os.fsencode(path.name)).hexdigest()[:8]
    return f".{path.name[:32]}-{mark}"


def name_unfinished(path: Path) -> Path:
    """A new path beside this one for what is being written and will be renamed to it."""
    return path.with_name(f"{name_hidden(path)}.{secrets.token_hex(6)}.part")


def is_unfinished(path: Path) -> bool:
    """Whether a file or folder is one that is being written now, or that a kill left behind."""
    return _UNFINISHED.fullmatch(path.name) is not None


def remove_unfinished(folder: Path) -> None:
    """Remove what kills have left in a folder and those in it; nobody may be writing there now."""
    for inside, folders, names in os.walk(folder):
        for name in [*folders, *names]:
            path = Path(inside, name)
            if is_unfinished(path):
                _remove(path)
        folders[:] = [name for name in folders if not is_unfinished(Path(name))]


def remove_unfinished_of(path: Path) -> None:
    """Remove what kills have left of this file or folder; nobody may be writing it now."""
    own = name_hidden(path)
    with suppress(OSError):
        for beside in path.parent.iterdir():
            found = _UNFINISHED.fullmatch(beside.name)
            if found is not None and found.group(1) == own:
                _remove(beside)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink()


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
    part_path = name_unfinished(final_path)
    try:
        if final_path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "is a folder", str(final_path))
        if final_path.exists() and not final_path.is_file():
            raise OutputError(f"cannot write {path}: it is a device, not a file; name a file")
        final_path.parent.mkdir(parents=True, exist_ok=True)
        yield part_path
        flush_file(part_path)
        os.replace(part_path, final_path)
        flush_folder(final_path.parent)
    except OSError as error:
        if _is_about_another_file(error, part_path, final_path):
            raise
        raise _tell(path, error) from error
    finally:
        with suppress(OSError):
            part_path.unlink()


def explain(error: OSError) -> str:
    """Why something could not be written, and what to do."""
    return _REASONS.get(error.errno or 0, error.strerror or str(error))


def check_apart(path: Path, inputs: Iterable[Path]) -> None:
    """Refuse to write over what is read.

    Raises:
        OutputError: the file is one of these.
    """
    for one in inputs:
        if path.exists() and one.exists() and path.samefile(one):
            raise OutputError(f"{path} would replace {one}, which is read: name another")


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
    return OutputError(f"cannot write {path}: {explain(error)}")


def _is_about_another_file(error: OSError, *paths: Path) -> bool:
    """Whether the error names a file that is none of ours: that one is the caller's affair."""
    ours = {part for path in paths for part in (path, *path.parents)}
    named = error.filename
    return isinstance(named, str | bytes) and Path(os.fsdecode(named)) not in ours


def flush_file(path: Path) -> None:
    """Have what was written to a file on the disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def flush_folder(path: Path) -> None:
    """Make renames in a folder last; not every system lets a folder be opened, and none must."""
    with suppress(OSError):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
