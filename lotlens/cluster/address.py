"""Where work is to be done, as people write it, and the connection to a Ray cluster.

Ray is imported here alone, and when it is asked for. What is done on a cluster, others know.
"""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lotlens.errors import InputError, shorten
from lotlens.extras import import_extra

HERE = "ray"
"""As people write it: worker processes on this machine."""
PORT = 6379
"""Of a cluster's head, as `ray start --head` has it."""

_ADDRESS = re.compile(r"ray://(\[[0-9a-fA-F:]+\]|[^\s:/\[\]]+)(?::(\d{1,5}))?/?")
_PATIENCE_S = 5.0
_PROBE_S = 15.0
_OBJECT_BYTES = 200_000_000
"""Of shared memory for a Ray of our own: results of a few ranges lie there for a moment."""
_PROBE = (
    "import sys; from ray.scripts.scripts import main;"
    " sys.argv = ['ray', 'health-check', '--address', sys.argv[1], '--skip-version-check']; main()"
)


def check_place(on: str) -> None:
    """Make sure that work can be done there, as far as can be told at once.

    Args:
        on: "" for this process, else "ray" or "ray://HOST:PORT".

    Raises:
        InputError: it is something else.
        MissingExtra: lotlens[cluster] is not installed.
    """
    if on:
        _parse(on)
        _import_ray(is_own=on == HERE)


@contextmanager
def open_cluster(on: str) -> Iterator[Any]:
    """Ray, connected to the cluster; left again at the end, and ended if it was begun here.

    A Ray that this process is connected to already is used as it is, and stays. `RAY_ADDRESS` is
    heeded as Ray does.

    Args:
        on: "ray" or "ray://HOST:PORT".

    Raises:
        InputError: nothing answers there, or what answers cannot be used.
        MissingExtra: lotlens[cluster] is not installed.
    """
    where = _parse(on)
    ray = _import_ray(is_own=where is None)
    if ray.is_initialized():
        yield ray
        return
    _connect(ray, where)
    try:
        yield ray
    finally:
        ray.shutdown()


@contextmanager
def keep_cluster(on: str) -> Iterator[None]:
    """Several pieces of work in this block share one connection; nothing, where `on` is ""."""
    if not on:
        yield
        return
    with open_cluster(on):
        yield


def _parse(on: str) -> str | None:
    """HOST:PORT of a cluster's head; None for this machine."""
    if on == HERE:
        given = os.environ.get("RAY_ADDRESS", "")
        if not given or given in ("local", "auto"):
            return None
        on = given if given.startswith("ray://") else f"ray://{given}"
    found = _ADDRESS.fullmatch(on)
    if found is None or not 0 < int(found[2] or PORT) < 65536:
        raise InputError(
            f"--on {shorten(on, 100)}: write ray for workers on this machine, or ray://HOST:PORT"
            f" for a cluster (the port of its head is {PORT} unless it was given another)"
        )
    return f"{found[1]}:{found[2] or PORT}"


def _import_ray(*, is_own: bool) -> Any:
    # Read when Ray is imported. Who gave photos to lotlens has not agreed to be counted; and what
    # is begun for one command on one machine is nobody else's to talk to.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # else it warns of a change
    # Ray has its workers wait behind everything else on the machine (nice 15): beside another
    # program they had a twentieth of a core (docs/LOG.md). Read by a Ray that is begun here.
    os.environ.setdefault("RAY_worker_niceness", "0")
    if is_own and "RAY_ADDRESS" not in os.environ:
        # Its name speaks of other systems; here, too, a Ray then listens on the loopback alone.
        os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
    return import_extra("ray", "cluster")


def _connect(ray: Any, where: str | None) -> None:
    """Begin a Ray of our own, or join a cluster as the program that gives work.

    Raises:
        InputError: see `open_cluster`.
    """
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    if where is None:
        from joblib import cpu_count  # as many as this process may use

        ray.init(
            address="local",
            num_cpus=cpu_count(),
            include_dashboard=False,
            object_store_memory=_OBJECT_BYTES,
            **quiet,
        )
        return
    _probe(where)
    try:
        ray.init(address=where, **quiet)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise InputError(_explain(where, str(error))) from error


def _probe(where: str) -> None:
    """Make sure that a Ray answers; to join one that does not, Ray would try for minutes.

    Raises:
        InputError: it does not.
    """
    host, _, port = where.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _PATIENCE_S).close()
    except OSError as error:
        reason = error.strerror or str(error) or "it does not answer"
        raise InputError(
            f"no Ray cluster at {where}: {reason}. Start one there with  ray start --head"
            f" --port={port}  or mend the address"
        ) from error
    words = [sys.executable, "-c", _PROBE, where]
    try:
        done = subprocess.run(  # noqa: S603  # no shell, and the address is one by its letters
            words, capture_output=True, timeout=_PROBE_S, check=False
        )
        is_well = done.returncode == 0
    except subprocess.TimeoutExpired:
        is_well = False
    if not is_well:
        raise InputError(
            f"what answers at {where} is no Ray cluster, or one that is not well: give the port of"
            f" its head ({PORT} unless it was started with another), not that of its pages or"
            " clients; on that machine  ray status  says how it is"
        )


def _explain(where: str, said: str) -> str:
    """What to do where Ray has refused to join."""
    told = shorten(" ".join(said.split()), 300)
    if "ersion mismatch" in said:
        return f"the cluster at {where} has other versions: install the same everywhere ({told})"
    return (
        f"cannot join the cluster at {where}: {told}. The command must run on one of its machines:"
        f" ray start --address={where}  makes this one part of it"
    )
