"""Who may write somewhere now: one program at a time. It does not know what is written.

The lock is the operating system's (flock, by the library filelock), on a hidden file beside what is
written. It ends with the process that holds it, however that ends; a file that a kill left behind
locks nothing.
"""

from __future__ import annotations

import errno
import json
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path

from lotlens.errors import InputError, OutputError
from lotlens.files import explain, name_hidden

_UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextmanager
def hold(path: Path, what: str, *, wait_s: float = 0.0) -> Iterator[None]:
    """Be the only one who writes to a file or folder, which need not be there yet.

    Where the folder that it lies in cannot be written to, nothing is locked: what lies there is
    then as safe as whoever made it so wanted.

    Args:
        path: the file or folder.
        what: what is done to it, for others who ask meanwhile.
        wait_s: how long to wait for one who holds it.

    Raises:
        InputError: somebody else holds it.
        OutputError: the folder that it lies in cannot be made.
    """
    final_path = Path(os.path.realpath(path))
    lock_path = final_path.with_name(f"{name_hidden(final_path)}.lock")
    with ExitStack() as made:
        made.enter_context(_make_parent(lock_path, path))
        with _lock(lock_path, path, what, wait_s):
            yield


@contextmanager
def _lock(lock_path: Path, path: Path, what: str, wait_s: float) -> Iterator[None]:
    from filelock import FileLock, Timeout  # slow to import for what only reads

    lock = FileLock(lock_path, timeout=wait_s, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        raise InputError(
            f"{path} is being written by another lotlens{_read_holder(lock_path)}: wait until that"
            " is done, or name another with --out"
        ) from None
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise OutputError(f"cannot write {path}: {explain(error)}") from error
        yield
        return
    try:
        with suppress(OSError):
            lock_path.write_text(_describe_holder(what), "utf-8")
        yield
    finally:
        # Gone before it is released: whoever opened it meanwhile sees that and opens the next one.
        with suppress(OSError):
            lock_path.unlink()
        lock.release()


@contextmanager
def _make_parent(lock_path: Path, path: Path) -> Iterator[None]:
    """The folder of a lock; those that were made for it and stayed empty are removed again."""
    missing = [folder for folder in lock_path.parents if not folder.exists()]
    try:
        lock_path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {explain(error)}") from error
    try:
        yield
    finally:
        with suppress(OSError):
            for folder in missing:
                folder.rmdir()


def _describe_holder(what: str) -> str:
    now = datetime.now().astimezone().isoformat(timespec="seconds")
    return json.dumps(
        {"what": what, "process": os.getpid(), "host": socket.gethostname(), "since": now}
    )


def _read_holder(lock_path: Path) -> str:
    """Who holds it, in words; nothing where that cannot be told."""
    try:
        about = json.loads(lock_path.read_bytes()[:4096])
        process = f"process {int(about['process'])}"
        if about["host"] != socket.gethostname():
            process += f" on {about['host']}"
        return f" ({about['what']}, {process}, since {about['since']})"
    except (OSError, ValueError, KeyError, TypeError):
        return ""
