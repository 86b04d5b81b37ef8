"""Pieces come back in order, of the same task alone, and a damaged one takes none with it."""

import numpy as np
import pytest

from lotlens.deliver.journal import Journal
from lotlens.errors import OutputError
from lotlens.records import OK, CarClass, Predictions

CLASSES = (CarClass("0", "Волга"), CarClass("1", "Нива"))


def make_piece(number, count=3):
    ids = tuple(f"фото {number}-{k}.jpg" for k in range(count))
    logits = np.arange(2 * count, dtype=np.float32).reshape(count, 2) + number
    flaws = ("blurred: sharpness 0.10",) + ("",) * (count - 1)
    return Predictions(ids, logits, None, (OK,) * count, CLASSES, flaws, logits[:, [0, 0, 1]])


def is_same(one, other):
    return (one.ids, one.status, one.flaws) == (other.ids, other.status, other.flaws) and all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("logits", "familiarity")
    )


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "submission.csv", "model and photos")


def test_pieces_come_back_as_they_were(journal, tmp_path):
    assert list(journal.read()) == []
    pieces = [make_piece(number, number + 1) for number in range(12)]
    for number, piece in enumerate(pieces):
        journal.add(number, piece)
    again = list(Journal(tmp_path / "submission.csv", "model and photos").read())
    assert len(again) == 12
    assert all(map(is_same, again, pieces))
    journal.remove()
    assert list(tmp_path.iterdir()) == []


def test_pieces_of_another_task_are_removed(journal, tmp_path):
    journal.add(0, make_piece(0))
    other = Journal(tmp_path / "submission.csv", "another model")
    assert list(other.read()) == []
    assert not journal.path.exists()


def test_each_file_has_its_own(journal, tmp_path):
    journal.add(0, make_piece(0))
    assert list(Journal(tmp_path / "other.csv", "model and photos").read()) == []
    assert len(list(journal.read())) == 1


@pytest.mark.parametrize("damage", ["cut", "gone", "text"])
def test_a_damaged_piece_is_answered_anew_and_so_is_what_follows(journal, damage):
    for number in range(4):
        journal.add(number, make_piece(number))
    path = sorted(journal.path.glob("*.npz"))[2]
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:50] if damage == "cut" else b"no archive")
    assert [piece.ids for piece in journal.read()] == [make_piece(n).ids for n in range(2)]


def test_what_lies_in_the_way_is_an_error(tmp_path):
    (tmp_path / ".submission.csv.pieces").write_text("a file")
    journal = Journal(tmp_path / "submission.csv", "x")
    assert list(journal.read()) == []
    with pytest.raises(OutputError):
        journal.add(0, make_piece(0))
