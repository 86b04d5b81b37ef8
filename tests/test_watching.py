"""Progress shows itself where somebody looks, and nowhere else."""

import inspect
import sys
from types import SimpleNamespace

import pytest

from lotlens import watching
from lotlens.watching import quiet, show_progress, with_progress


@with_progress
def work(steps=3, *, watch=None):
    """Do some work."""
    for step in range(steps):
        if watch is not None:
            watch("<b>working</b>\x1b[2J", step + 1, steps)
    return watch


class Notebook:
    """What a notebook's IPython does, as far as it is asked."""

    def __init__(self):
        self.shown = []
        self.display_module = SimpleNamespace(HTML=str, display=self.display)

    def display(self, text, display_id):
        assert display_id is True
        self.shown.append(text)
        return SimpleNamespace(update=self.shown.append)


@pytest.fixture
def notebook(monkeypatch):
    found = Notebook()
    monkeypatch.setattr(watching, "find_notebook", lambda: found.display_module)
    monkeypatch.setattr(watching, "_PATIENCE_S", 0)
    monkeypatch.setattr(watching, "_EVERY_S", 0)
    return found


@pytest.fixture
def terminal(monkeypatch):
    monkeypatch.setattr(watching, "_is_terminal", lambda: True)
    monkeypatch.setattr(watching, "_PATIENCE_S", 0)


def test_nothing_is_shown_where_nobody_looks(capsys):
    assert work() is None
    assert capsys.readouterr() == ("", "")


def test_a_notebook_has_bars_and_one_line_when_they_end(notebook):
    assert work() is not None
    assert "&lt;b&gt;working&lt;/b&gt;\\x1b[2J" in notebook.shown[0]
    assert 'value="3" max="3"' in notebook.shown[-2]
    assert notebook.shown[-1] == "<small>done in 0 s</small>"


def test_work_that_is_done_at_once_shows_nothing(notebook, monkeypatch):
    monkeypatch.setattr(watching, "_PATIENCE_S", 60)
    work()
    assert notebook.shown == []


def test_a_terminal_has_bars(terminal, capsys):
    work()
    out, err = capsys.readouterr()
    assert out == ""
    assert "<b>working</b>\\x1b[2J" in err
    assert "3 of 3" in err


def test_a_watcher_wins(notebook):
    told = []
    work(watch=lambda *news: told.append(news))
    assert len(told) == 3
    assert notebook.shown == []


def test_quiet_switches_it_off_for_a_block_or_for_good(notebook):
    with quiet():
        assert work() is None
    assert work() is not None
    quiet()
    try:
        assert work() is None
    finally:
        quiet(False)
    assert work() is not None


def test_work_within_work_has_no_bars_of_its_own(notebook):
    with show_progress() as outer, show_progress() as inner:
        assert outer is not None
        assert inner is None


def test_bars_end_with_the_work_however_that_ends(notebook):
    @with_progress
    def fail(*, watch=None):
        watch("failing", 0, 1)
        raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            fail()
    assert notebook.shown[-1].startswith("<small>done")


def test_functions_without_a_watcher_stay_as_they_are():
    def plain(data):
        return data

    assert with_progress(plain) is plain
    assert with_progress(work.__wrapped__) is with_progress(work.__wrapped__)
    assert "watch" in inspect.signature(work).parameters
    assert work.__doc__ == "Do some work."


def test_a_notebook_is_known_by_its_kernel(monkeypatch):
    display = SimpleNamespace()
    shell = SimpleNamespace(kernel=None)
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    monkeypatch.setitem(sys.modules, "IPython.display", display)
    assert watching.find_notebook() is None
    shell.kernel = object()
    assert watching.find_notebook() is display
    monkeypatch.delitem(sys.modules, "IPython")
    assert watching.find_notebook() is None
