"""Files are whole or absent, whatever goes wrong while they are written."""

import csv
import errno
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lotlens import files
from lotlens.errors import OutputError
from lotlens.files import (
    atomic_path,
    check_writable,
    write_bytes_atomically,
    write_rows_atomically,
    write_text_atomically,
)
from lotlens.texts import restore_cell

ROOT = str(Path(files.__file__).parents[1])


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_writes_bytes_and_text_as_they_are(tmp_path):
    write_bytes_atomically(tmp_path / "a.bin", b"\x00\r\n")
    write_text_atomically(tmp_path / "б.txt", "Лада\r\nВеста\n")
    assert (tmp_path / "a.bin").read_bytes() == b"\x00\r\n"
    assert (tmp_path / "б.txt").read_bytes() == "Лада\r\nВеста\n".encode()
    assert names(tmp_path) == ["a.bin", "б.txt"]


def test_replaces_an_older_file_and_makes_parent_folders(tmp_path):
    path = tmp_path / "new" / "folder" / "a.txt"
    write_text_atomically(path, "old")
    write_text_atomically(path, "new")
    assert path.read_text() == "new"
    assert names(path.parent) == ["a.txt"]


def test_a_long_name_of_many_byte_letters_fits(tmp_path):
    path = tmp_path / ("ж" * 120 + ".csv")
    write_text_atomically(path, "x")
    assert path.read_text() == "x"


def test_the_final_name_appears_only_when_the_block_has_ended(tmp_path):
    path = tmp_path / "a.txt"
    with atomic_path(path) as part_path:
        part_path.write_text("half")
        assert part_path.parent == tmp_path
        assert part_path.suffix == ".part"
        assert not path.exists()
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failing_block_leaves_the_old_file_and_no_temporary(tmp_path, error):
    path = tmp_path / "a.txt"
    path.write_text("old")
    with pytest.raises(error), atomic_path(path) as part_path:  # noqa: PT012
        part_path.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_follows_a_symbolic_link(tmp_path):
    target = tmp_path / "real" / "a.txt"
    target.parent.mkdir()
    target.write_text("old")
    link = tmp_path / "link.txt"
    link.symlink_to(target)
    write_text_atomically(link, "new")
    assert link.is_symlink()
    assert target.read_text() == "new"


def test_the_file_has_the_permissions_of_any_new_file(tmp_path):
    write_text_atomically(tmp_path / "a.txt", "x")
    (tmp_path / "b.txt").write_text("x")
    mode_a, mode_b = (stat.S_IMODE((tmp_path / n).stat().st_mode) for n in ("a.txt", "b.txt"))
    assert mode_a == mode_b


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (errno.ENOSPC, "no space is left"),
        (errno.EACCES, "permission denied"),
        (errno.EROFS, "read-only"),
        (errno.EIO, "Input/output error"),
    ],
)
def test_a_failing_disk_is_one_clear_sentence(tmp_path, monkeypatch, code, words):
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail(self, data):
        with self.open("xb") as file:
            file.write(data[:1])
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(OutputError, match=words) as caught:
        write_text_atomically(path, "new")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert path.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_refuses_a_folder_a_device_and_a_file_for_a_parent(tmp_path):
    with pytest.raises(OutputError, match="it is a folder"):
        write_text_atomically(tmp_path, "x")
    with pytest.raises(OutputError, match="a device"):
        write_text_atomically(Path(os.devnull), "x")
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="part of the path is a file"):
        write_text_atomically(tmp_path / "file" / "a.txt", "x")


def test_a_block_that_writes_nothing_is_an_error(tmp_path):
    with pytest.raises(OutputError), atomic_path(tmp_path / "a.txt"):
        pass
    assert names(tmp_path) == []


def test_an_error_about_another_file_is_not_blamed_on_this_one(tmp_path):
    with pytest.raises(FileNotFoundError), atomic_path(tmp_path / "a.txt"):
        (tmp_path / "elsewhere" / "b.txt").read_bytes()
    assert names(tmp_path) == []


def test_a_killed_process_leaves_nothing_under_the_final_name(tmp_path):
    path = tmp_path / "a.txt"
    code = (
        "import sys, time; from pathlib import Path; from lotlens.files import atomic_path\n"
        "with atomic_path(Path(sys.argv[1])) as part:\n"
        "    part.write_text('half'); print('writing', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"writing\n"
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not path.exists()
    assert [path.suffix for path in tmp_path.iterdir()] == [".part"]


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))
tricky = st.text(
    st.sampled_from("'=+-@\t\r\n\\udcf0.1e \udcff\ud800") | st.characters(exclude_characters="\x00")
)


@given(rows=st.lists(st.tuples(texts, texts), max_size=5))
def test_any_exact_rows_come_back_as_they_went_in(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("rows") / "a.csv"
    write_rows_atomically(path, ("Id", "Имя"), rows, is_exact=True)
    with path.open(encoding="utf-8", newline="") as file:
        assert list(csv.reader(file)) == [["Id", "Имя"], *(list(row) for row in rows)]


@given(rows=st.lists(st.tuples(tricky, tricky), max_size=5))
def test_any_other_rows_are_no_formulas_and_come_back_too(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("rows") / "a.csv"
    write_rows_atomically(path, ("Id", "=Имя"), rows)
    with path.open(encoding="utf-8", newline="") as file:
        read = list(csv.reader(file))
    assert [[restore_cell(cell) for cell in row] for row in read] == [
        ["Id", "=Имя"],
        *(list(row) for row in rows),
    ]
    assert not [cell for row in read for cell in row if cell[:1] in tuple("=@\t\r")]


# --- before the work -----------------------------------------------------------------------------


def test_what_can_be_written_is_not_touched_beforehand(tmp_path):
    (tmp_path / "old.csv").write_text("old")
    for path in (tmp_path / "old.csv", tmp_path / "a.csv", tmp_path / "new" / "folder" / "a.csv"):
        check_writable(path)
    assert names(tmp_path) == ["old.csv"]
    assert (tmp_path / "old.csv").read_text() == "old"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (".", "it is a folder"),
        ("file/a.csv", "part of the path is a file"),
        ("x" * 300, "the name is too long"),
        ("new/" + "x" * 300 + "/a.csv", "the name is too long"),
        ("loop/a.csv", "part of the path is a file"),
        ("a\0b", "no name for a file"),
        (os.devnull, "a device"),
    ],
)
def test_what_cannot_be_written_is_told_beforehand(tmp_path, name, words):
    (tmp_path / "file").write_text("x")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(OutputError, match=words) as caught:
        check_writable(tmp_path / name)
    assert len(str(caught.value).splitlines()) == 1
    assert names(tmp_path) == ["file", "loop"]


def test_a_folder_that_may_not_be_written_to_is_told_beforehand(tmp_path, monkeypatch):
    def fail(**where):
        raise PermissionError(errno.EACCES, "Permission denied", str(where["dir"]))

    monkeypatch.setattr(files.tempfile, "TemporaryFile", fail)
    with pytest.raises(OutputError, match="permission denied; name a folder that you may write to"):
        check_writable(tmp_path / "new" / "a.csv")


def test_what_is_not_there_is_an_empty_cell(tmp_path):
    rows = [(None, float("nan"), np.float32("nan")), ("None", "nan", 0.0)]
    write_rows_atomically(tmp_path / "a.csv", ("a", "b", "c"), rows)
    assert (tmp_path / "a.csv").read_text() == "a,b,c\n,,\nNone,nan,0.0\n"


def test_rows_are_quoted_only_where_needed(tmp_path):
    write_rows_atomically(tmp_path / "a.csv", ("Id", "N"), [("1.jpg", 4), ("a,b", 2.5)])
    assert (tmp_path / "a.csv").read_bytes() == b'Id,N\n1.jpg,4\n"a,b",2.5\n'
