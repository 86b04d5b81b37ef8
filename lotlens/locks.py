"""Who may write somewhere now: one program at a time. It does not know what is written.

The lock is the operating system's (flock, by the library filelock), on a hidden file beside what is
written. It ends with the process that holds it, however that ends; a file that a kill left behind
locks nothing.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import datetime
from pathlib import Path

from lotlens.errors import InputError, OutputError
from lotlens.files import explain, name_hidden

_UNWRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)
_FOR_ALL = 0o666  # any user may lock it
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)


@contextmanager
def hold(path: Path, what: str, *, wait_s: float = 0.0) -> Iterator[None]:
    """Be the only one who writes to a file or folder, which need not be there yet.

    On a disk that knows no locks, or where the folder that it lies in cannot be written to, the
    lock lies in this machine's folder of temporary files, and keeps out programs of this machine.

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
    with _make_parent(lock_path, path), ExitStack() as held:
        try:
            lock_path = _lock(lock_path, wait_s, held)
        except TimeoutError:
            raise InputError(
                f"{path} is being written by another lotlens{_read_holder(lock_path)}: wait until"
                " that is done, or name another with --out"
            ) from None
        except OSError as error:
            if error.errno in _UNWRITABLE and lock_path.exists():  # another user's
                raise InputError(f"{path} is being written by another user's lotlens") from None
            if error.errno not in _UNWRITABLE:
                raise OutputError(f"cannot write {path}: {explain(error)}") from error
        else:
            with suppress(OSError):
                lock_path.write_text(_describe_holder(what), "utf-8")
        yield


def _lock(lock_path: Path, wait_s: float, held: ExitStack) -> Path:
    """Lock a file until the stack is left; gives the file that it was.

    Raises:
        TimeoutError: somebody else holds it.
        OSError: it cannot be made.
    """
    from filelock import FileLock  # slow to import for what only reads

    lock = FileLock(lock_path, timeout=wait_s, mode=_FOR_ALL, thread_local=False)
    try:
        lock.acquire()
    except OSError as error:
        if error.errno not in (*_NO_LOCKS, *_UNWRITABLE) or lock_path.exists():
            raise
        mark = hashlib.sha256(os.fsencode(lock_path)).hexdigest()[:16]
        lock_path = Path(tempfile.gettempdir()) / f"lotlens-{mark}.lock"
        lock = FileLock(lock_path, timeout=wait_s, mode=_FOR_ALL, thread_local=False)
        lock.acquire()
    held.callback(lock.release)
    # Gone before it is released: whoever opened it meanwhile sees that and opens the next one.
    held.callback(_remove, lock_path)
    return lock_path


def _remove(path: Path) -> None:
    with suppress(OSError):
        path.unlink()


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
