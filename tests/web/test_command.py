"""`lotlens review`: what it says before it serves, and when it cannot."""

import importlib
import io
import re
import sys
import webbrowser

import pytest
from fastapi.testclient import TestClient
from rich.console import Console
from typer.testing import CliRunner

from lotlens.cli import improving
from lotlens.cli.app import build_app
from lotlens.cli.screen import ERR, OUT
from lotlens.errors import BundleError, InputError, MissingExtra
from lotlens.verbs.review import review
from lotlens.web import server
from lotlens.web.qr import draw_code


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
    assert all(page.address.startswith("http://127.0.0.1:") for page in told)
    assert told[0].links == ()


def test_links_for_devices_carry_a_token_and_are_new_after_each_visit(
    reviewed, served, monkeypatch
):
    monkeypatch.setattr(server, "find_own_addresses", lambda: ("192.168.0.5", "10.0.0.5"))
    told, visited = [], []

    def serve(app, listener):
        listener.close()
        path = told[0].links[0].removeprefix("http://192.168.0.5:")
        phone = TestClient(
            app, base_url=f"http://192.168.0.5:{path[: path.index('/')]}", client=("10.1.1.1", 1)
        )
        assert phone.get("/").status_code == 401
        assert phone.get(told[0].links[0]).status_code == 200
        assert phone.get("/").status_code == 200

    monkeypatch.setattr(server, "serve", serve)
    review(reviewed.run.path, host="0.0.0.0", port=0, ready=told.append, visited=visited.append)
    (page,), (visit,) = told, visited
    assert len(page.links) == len(visit.links) == 2
    tokens = {link.partition("?token=")[2] for link in (*page.links, *visit.links)}
    assert len(tokens) == 2
    assert min(map(len, tokens)) >= 32
    assert visit.device == "10.1.1.1"


def test_links_are_printed_and_a_code_in_a_terminal_alone(reviewed, served, monkeypatch):
    monkeypatch.setattr(server, "find_own_addresses", lambda: ("192.168.0.5",))
    result = invoke(reviewed, "--no-browser", "--host", "0.0.0.0")
    assert re.search(
        r"phone +http://192\.168\.0\.5:\d+/\?token=\S{32} +\(works once\)", result.stdout
    )
    assert "▀" not in result.stdout
    monkeypatch.setattr(server, "find_own_addresses", tuple)
    result = invoke(reviewed, "--no-browser", "--host", "0.0.0.0")
    assert "in no network" in result.stdout


class Terminal(io.StringIO):
    encoding = "utf-8"

    def isatty(self):
        return True


def draw_on_terminal(monkeypatch, **options):
    """What `lotlens review` shows of a link on a terminal."""
    options = {"force_terminal": True, "width": 80, "color_system": None, **options}
    terminal = options.setdefault("file", Terminal())
    monkeypatch.setitem(OUT.__dict__, "console", Console(highlight=False, **options))
    improving.print_links(("http://192.168.0.5:8000/?token=" + 32 * "x",))
    return terminal.getvalue().splitlines()


def test_in_a_terminal_a_code_stands_below_the_link_in_black_on_white(monkeypatch):
    plain = draw_on_terminal(monkeypatch)
    assert len(plain) == 22
    assert plain[1] == 41 * "█", "light letters on a dark ground, where there are no colours"
    coloured = draw_on_terminal(monkeypatch, color_system="truecolor")
    assert coloured[1] == f"\x1b[38;2;0;0;0;48;2;255;255;255m{41 * ' '}\x1b[0m"


def test_no_code_is_drawn_where_it_could_not_be_read(monkeypatch):
    assert len(draw_on_terminal(monkeypatch, width=40)) == 1
    assert len(draw_on_terminal(monkeypatch, file=io.StringIO())) == 1
    terminal = Terminal()
    terminal.encoding = "latin-1"
    assert len(draw_on_terminal(monkeypatch, file=terminal)) == 1


def test_without_what_draws_codes_the_link_is_there(monkeypatch):
    monkeypatch.setitem(sys.modules, "segno", None)
    monkeypatch.delitem(sys.modules, "lotlens.web.qr")
    shown = draw_on_terminal(monkeypatch)
    assert shown[0].startswith("phone ")
    assert shown[1].startswith("code          none: this needs the module 'segno'")


def test_a_code_is_square_has_its_margin_and_can_be_drawn_in_light():
    dark = list(draw_code("http://192.168.100.100:65535/?token=" + 32 * "x"))
    assert {len(line) for line in dark} == {41}
    assert len(dark) == 21
    assert dark[0] == dark[1] == 41 * " "
    assert dark[2].startswith("    █▀▀▀▀▀█ ")
    light = list(draw_code("http://192.168.100.100:65535/?token=" + 32 * "x", is_inverted=True))
    other = str.maketrans(" █▀▄", "█ ▄▀")
    assert [line.translate(other) for line in light] == dark


def test_a_warning_stands_on_standard_error_if_the_network_is_let_in(reviewed, served, monkeypatch):
    said = []
    monkeypatch.setattr(ERR, "print", lambda text, **options: said.append(text))
    invoke(reviewed, "--no-browser")
    assert said == []
    invoke(reviewed, "--no-browser", "--host", "0.0.0.0")
    assert len(said) == 1
    assert "by a link shown here" in said[0]
    assert "not encrypted" in said[0]


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
