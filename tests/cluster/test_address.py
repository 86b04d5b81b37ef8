"""Where work is to be done is understood, or refused in one line and soon."""

import socket
import sys
import threading

import pytest

from lotlens.cluster import address
from lotlens.cluster.address import check_place, open_cluster
from lotlens.errors import InputError, MissingExtra


@pytest.mark.parametrize(
    ("on", "where"),
    [
        ("ray", None),
        ("ray://head", "head:6379"),
        ("ray://10.0.0.1:1234", "10.0.0.1:1234"),
        ("ray://[::1]:6379/", "[::1]:6379"),
    ],
)
def test_an_address_is_understood(on, where, monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert address._parse(on) == where


def test_rays_own_variable_is_heeded(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert address._parse("ray") == "10.0.0.1:6379"
    monkeypatch.setenv("RAY_ADDRESS", "local")
    assert address._parse("ray") is None


@pytest.mark.parametrize(
    "on", ["dask", "ray:", "ray://", "ray://a b", "ray://head:0", "ray://head:70000", "http://head"]
)
def test_anything_else_is_refused(on):
    with pytest.raises(InputError, match=r"write ray for workers on this machine"):
        check_place(on)


def test_without_ray_the_install_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"pip install .*\[cluster\]"):
        check_place("ray")
    check_place("")


@pytest.fixture
def listener():
    """Something that takes connections and says nothing."""
    server = socket.create_server(("127.0.0.1", 0))
    held = []

    def take():
        while True:
            try:
                held.append(server.accept()[0])
            except OSError:
                return

    threading.Thread(target=take, daemon=True).start()
    yield server.getsockname()[1]
    for one in (server, *held):
        one.close()


@pytest.fixture
def apart(monkeypatch):
    """As if this process were connected to no Ray."""
    ray = pytest.importorskip("ray", reason="Ray is not installed")
    monkeypatch.setattr(ray, "is_initialized", lambda: False)


def test_an_address_that_nothing_answers_at_is_refused_at_once(apart):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with (
        pytest.raises(InputError, match=rf"no Ray cluster at 127\.0\.0\.1:{port}: .*ray start"),
        open_cluster(f"ray://127.0.0.1:{port}"),
    ):
        pass


def test_what_is_no_ray_is_refused_too(apart, listener, monkeypatch):
    monkeypatch.setattr(address, "_PROBE_S", 3.0)
    with (
        pytest.raises(InputError, match="is no Ray cluster, or one that is not well"),
        open_cluster(f"ray://127.0.0.1:{listener}"),
    ):
        pass


def test_other_versions_are_told(monkeypatch, apart):
    import ray

    def refuse(**_):
        raise RuntimeError("Version mismatch: The cluster was started with:\n  Ray: 2.50.0")

    monkeypatch.setattr(address, "_probe", lambda where: None)
    monkeypatch.setattr(ray, "init", refuse)
    with (
        pytest.raises(InputError, match=r"other versions: install the same everywhere \(Version"),
        open_cluster("ray://head"),
    ):
        pass
