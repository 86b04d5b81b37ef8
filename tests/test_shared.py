"""What tests share is made once and whole, and a test that changes it is told."""

import os
import shutil

import pytest

from tests.conftest import find_changed, find_shared, make_once


class Factory:
    def __init__(self, path):
        self.path = path

    def getbasetemp(self):
        return self.path


@pytest.fixture
def factory(tmp_path):
    path = tmp_path / "process"
    path.mkdir()
    return Factory(path)


def write(path):
    path.mkdir()
    (path / "a.txt").write_text("a")
    (path / "b.txt").write_text("b")


def test_it_is_made_once_and_anew_where_it_was_left_half_made(factory):
    calls = []

    def make(path):
        write(path)
        calls.append(path)
        if len(calls) == 1:
            raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        make_once(factory, "lot", make)
    for _ in range(2):
        assert (make_once(factory, "lot", make) / "b.txt").read_text() == "b"
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda lot: None, []),
        (lambda lot: (lot / "b.txt").read_text(), []),
        (lambda lot: (lot / "b.txt").write_text("bb"), ["lot/b.txt"]),
        (lambda lot: os.utime(lot / "b.txt", (1, 1)), ["lot/b.txt"]),
        (lambda lot: (lot / "c.txt").touch(), ["lot/c.txt"]),
        (lambda lot: (lot / "a.txt").unlink(), ["lot/a.txt"]),
        (shutil.rmtree, ["lot/a.txt", "lot/b.txt"]),
        (lambda lot: lot.with_name("lot.decisions.csv").touch(), ["lot.decisions.csv"]),
    ],
)
def test_a_change_is_told_by_its_file(factory, change, told):
    change(make_once(factory, "lot", write))
    assert find_changed(find_shared(factory)) == told
