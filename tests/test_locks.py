"""One program writes to a place at a time; a lock never outlives the one who held it."""

import errno
import os
import threading

import pytest

from lotlens import locks
from lotlens.errors import InputError, OutputError
from lotlens.files import name_hidden, name_unfinished, remove_unfinished_of, write_text_atomically
from lotlens.locks import hold
from lotlens.run import RunFolder
from tests.forks import fork

HOLDS_FOR_EVER = """
import signal, sys
from pathlib import Path
from lotlens.locks import hold
with hold(Path(sys.argv[1]), "train"):
    print("held", flush=True)
    signal.pause()
"""


def test_a_second_one_is_told_who_writes(tmp_path):
    with hold(tmp_path / "run", "train"):
        words = rf"run is being written by another lotlens \(train, process {os.getpid()}, since 2"
        with pytest.raises(InputError, match=words), hold(tmp_path / "run", "improve"):
            pass
        with hold(tmp_path / "other", "train"):
            pass
    with hold(tmp_path / "run", "improve"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_link_to_a_folder_is_the_folder(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "run")
    with (
        hold(tmp_path / "run", "train"),
        pytest.raises(InputError, match="link is being written"),
        hold(tmp_path / "link", "train"),
    ):
        pass


def test_one_who_waits_gets_it(tmp_path):
    done = []

    def wait():
        with hold(tmp_path / "run", "improve", wait_s=60):
            done.append("waited")

    with hold(tmp_path / "run", "train"):
        thread = threading.Thread(target=wait)
        thread.start()
        assert not done
    thread.join(60)
    assert done == ["waited"]


def test_what_a_kill_left_locks_nothing(tmp_path):
    said_path = tmp_path / "said"
    process = fork(HOLDS_FOR_EVER, tmp_path / "run", said_path=said_path)
    while not said_path.exists() or "held" not in said_path.read_text():
        assert process.poll() is None
    with (
        pytest.raises(InputError, match=r"\(train, process \d+, since"),
        hold(tmp_path / "run", "x"),
    ):
        pass
    process.kill()
    assert len(list(tmp_path.glob(".run-*.lock"))) == 1
    with hold(tmp_path / "run", "train"):
        pass
    assert not list(tmp_path.glob(".run-*.lock"))


def test_many_at_once_count_right(tmp_path):
    """Whoever opened a lock file that is gone by now does not hold anything."""
    path = tmp_path / "count"
    path.write_text("0")

    def count():
        for _ in range(25):
            with hold(path, "count", wait_s=60):
                write_text_atomically(path, str(int(path.read_text()) + 1))

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert path.read_text() == "100"


def test_folders_that_were_made_for_it_are_not_left(tmp_path):
    with hold(tmp_path / "a" / "b" / "run", "train"):
        assert (tmp_path / "a" / "b").is_dir()
    assert list(tmp_path.iterdir()) == []
    with hold(tmp_path / "a" / "b" / "run", "train"):
        (tmp_path / "a" / "b" / "run").mkdir()
    assert (tmp_path / "a" / "b" / "run").is_dir()
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="part of the path is a file"):
        hold(tmp_path / "file" / "b" / "run", "train").__enter__()


@pytest.mark.parametrize("name", ["я" * 127, "a" * 255, "run\nforged", "x"])
def test_any_name_can_be_held(tmp_path, name):
    with hold(tmp_path / name, "train"), pytest.raises(InputError), hold(tmp_path / name, "train"):
        pass


@pytest.mark.parametrize(
    ("number", "is_held"), [(errno.EACCES, True), (errno.EROFS, True), (errno.ENOSPC, False)]
)
def test_where_nothing_can_be_written_nothing_is_locked(tmp_path, monkeypatch, number, is_held):
    import filelock

    def refuse(self):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    if is_held:
        with hold(tmp_path / "run", "train"):
            return
    with pytest.raises(OutputError, match="no space is left"), hold(tmp_path / "run", "train"):
        pass


@pytest.mark.parametrize("text", ["", "{}", "[1]", '{"process": "x", "host": ""}'])
def test_a_lock_file_that_tells_nothing_is_one_all_the_same(tmp_path, monkeypatch, text):
    monkeypatch.setattr(locks, "_describe_holder", lambda what: text)
    with (
        hold(tmp_path / "run", "train"),
        pytest.raises(InputError, match="is being written by another lotlens: wait"),
        hold(tmp_path / "run", "train"),
    ):
        pass


def test_claiming_a_run_removes_what_kills_left_in_it(tmp_path):
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    stray = name_unfinished(run.path / "model.safetensors")
    stray.write_text("half")
    with RunFolder.claim(run.path, "train"):
        assert stray.exists()  # no run's folder: it may be anybody's
    run.write_recipe({"name": "quick"})
    folder = name_unfinished(run.exports_path / "onnx-fp32")
    folder.mkdir(parents=True)
    (folder / "model.onnx").write_text("half")
    (run.path / ".mine.part").write_text("of another program")
    with RunFolder.claim(run.path, "train"):
        assert not stray.exists()
        assert not folder.exists()
    assert (run.path / ".mine.part").exists()


def test_what_is_left_of_a_file_is_its_own(tmp_path):
    own, other = tmp_path / "answers.csv", tmp_path / "answers.csv.csv"
    left = [name_unfinished(path) for path in (own, own, other)]
    for path in left:
        path.write_text("half")
    remove_unfinished_of(own)
    assert [path.exists() for path in left] == [False, False, True]


def test_a_lock_of_another_user_is_one_too(tmp_path, monkeypatch):
    import filelock

    def refuse(self):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    lock_path = tmp_path / f"{name_hidden(tmp_path / 'run')}.lock"
    lock_path.touch()
    monkeypatch.setattr(filelock.FileLock, "acquire", refuse)
    with pytest.raises(InputError, match="by another user"), hold(tmp_path / "run", "train"):
        pass
