"""`lotlens review`: what it says before it serves, and when it cannot."""

import importlib
import webbrowser

import pytest
from typer.testing import CliRunner

from lotlens.cli.app import build_app
from lotlens.cli.screen import ERR
from lotlens.errors import BundleError, InputError, MissingExtra
from lotlens.verbs.review import review
from lotlens.web import server


@pytest.fixture
def served(monkeypatch):
    """Applications that would have been served, and addresses that a browser would have opened."""
    apps, opened = [], []

    def serve(app, listener):
        listener.close()
        apps.append(app)
        raise KeyboardInterrupt

    monkeypatch.setattr(server, "serve", serve)
    monkeypatch.setattr(webbrowser, "open", lambda address: opened.append(address))  # noqa: PLW0108
    monkeypatch.setenv("DISPLAY", ":0")
    return apps, opened


def invoke(reviewed, *options):
    arguments = ["review", str(reviewed.run.path), "--port", "0", *options]
    return CliRunner().invoke(build_app(), arguments, catch_exceptions=False)


def test_it_prints_the_address_opens_it_and_says_where_decisions_lie(reviewed, served, capfd):
    apps, opened = served
    path = review(reviewed.run.path, port=0)
    assert path == reviewed.path
    result = invoke(reviewed)
    assert result.exit_code == 0
    assert len(apps) == 2
    (address,) = opened
    assert address.startswith("http://127.0.0.1:")


def test_it_opens_nothing_if_told_so_or_without_a_screen(reviewed, served, monkeypatch):
    invoke(reviewed, "--no-browser")
    monkeypatch.delenv("DISPLAY")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr("sys.platform", "linux")
    invoke(reviewed)
    assert len(served[0]) == 2
    assert served[1] == []


def test_it_tells_whether_the_network_is_let_in(reviewed, served):
    told = []
    for host in ("127.0.0.1", "0.0.0.0"):
        review(reviewed.run.path, host=host, port=0, ready=told.append)
    assert [page.is_open_to_network for page in told] == [False, True]
    assert [page.num_doubts for page in told] == [10, 10]


def test_a_warning_stands_on_standard_error_if_the_network_is_let_in(reviewed, served, monkeypatch):
    said = []
    monkeypatch.setattr(ERR, "print", lambda text, **options: said.append(text))
    invoke(reviewed, "--no-browser")
    assert said == []
    invoke(reviewed, "--no-browser", "--host", "0.0.0.0")
    assert len(said) == 1
    assert "there is no password" in said[0]


def test_without_doubts_it_says_how_to_come_by_them(reviewed):
    reviewed.run.doubts_path.unlink()
    with pytest.raises(InputError, match=r"run  lotlens doubts .*run$"):
        review(reviewed.run.path)


def test_without_a_run_it_says_so(tmp_path):
    with pytest.raises(BundleError, match="no run folder"):
        review(tmp_path / "nowhere")


def test_without_the_extra_it_says_which(reviewed, monkeypatch):
    def fail(name):
        raise ModuleNotFoundError("No module named 'fastapi'", name="fastapi")

    monkeypatch.setattr(importlib, "import_module", fail)
    with pytest.raises(MissingExtra, match=r"pip install .*\[web\]"):
        review(reviewed.run.path)


def test_a_damaged_file_of_decisions_is_told_before_anything_is_served(reviewed, served):
    reviewed.path.write_text("Id,Decision,Label,Was,Time\nx,kepe,,4,\n")
    with pytest.raises(InputError, match="kepe"):
        review(reviewed.run.path, port=0)
    assert served[0] == []
