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
    return Predictions(ids, logits, None, (OK,) * count, CLASSES, flaws, logits[:, [0, 0, 1, 1]])


def is_same(one, other):
    return (one.ids, one.status, one.flaws) == (other.ids, other.status, other.flaws) and all(
        np.array_equal(getattr(one, name), getattr(other, name))
        for name in ("logits", "familiarity")
    )


PIECES = [make_piece(number, number + 1) for number in range(12)]
IDS = [id_ for piece in PIECES for id_ in piece.ids]
STARTS = [sum(len(piece.ids) for piece in PIECES[:number]) for number in range(len(PIECES))]


@pytest.fixture
def journal(tmp_path):
    return Journal(tmp_path / "submission.csv", "model and photos", IDS)


def test_pieces_come_back_as_they_were(journal, tmp_path):
    assert list(journal.read()) == []
    pieces = PIECES
    for start, piece in zip(STARTS, pieces, strict=True):
        journal.add(start, piece)
    assert journal.find_gaps() == []
    again = list(Journal(tmp_path / "submission.csv", "model and photos", IDS).read())
    assert len(again) == 12
    assert all(map(is_same, again, pieces))
    journal.remove()
    assert list(tmp_path.iterdir()) == []


def test_pieces_of_another_task_are_removed(journal, tmp_path):
    journal.add(0, PIECES[0])
    other = Journal(tmp_path / "submission.csv", "another model", IDS)
    assert other.find_gaps() == [range(len(IDS))]
    assert list(other.read()) == []
    assert not journal.path.exists()


def test_pieces_of_another_task_never_lie_among_ones_own(journal, tmp_path):
    """Two that write one file at a time: whoever is last takes up only what is its own."""
    other = Journal(tmp_path / "submission.csv", "another set", IDS)
    assert [one.find_gaps() for one in (journal, other)] == 2 * [[range(len(IDS))]]
    journal.add(0, PIECES[0])
    other.add(0, make_piece(77, 1))
    journal.add(1, PIECES[1])
    other.add(1, make_piece(78, 2))
    again = Journal(tmp_path / "submission.csv", "model and photos", IDS).read()
    assert all(is_same(*both) for both in zip(again, PIECES[:2], strict=True))


def test_a_piece_of_other_photos_is_thrown_away(journal):
    journal.add(0, PIECES[0])
    journal.add(1, make_piece(5, 2))
    journal.add(3, PIECES[2])
    assert journal.find_gaps() == [range(1, 3), range(6, len(IDS))]
    assert [piece.ids for piece in journal.read()] == [PIECES[0].ids]
    assert len(list(journal.path.iterdir())) == 2


def test_each_file_has_its_own(journal, tmp_path):
    journal.add(0, PIECES[0])
    assert list(Journal(tmp_path / "other.csv", "model and photos", IDS).read()) == []
    assert len(list(journal.read())) == 1


def test_a_name_as_long_as_names_can_be_has_one_too(tmp_path):
    journal = Journal(tmp_path / ("ф" * 125 + ".csv"), "x" * 10_000, IDS)
    journal.add(0, PIECES[0])
    assert len(list(journal.read())) == 1


@pytest.mark.parametrize("damage", ["cut", "gone", "text"])
def test_a_damaged_piece_alone_is_answered_anew(journal, damage):
    for number in range(4):
        journal.add(STARTS[number], PIECES[number])
    path = sorted(journal.path.glob("*.npz"))[2]
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:50] if damage == "cut" else b"no archive")
    assert [piece.ids for piece in journal.read()] == [piece.ids for piece in PIECES[:2]]
    assert journal.find_gaps() == [range(3, 6), range(10, len(IDS))]
    journal.add(STARTS[2], PIECES[2])
    assert [piece.ids for piece in journal.read()] == [piece.ids for piece in PIECES[:4]]


def test_pieces_may_come_in_any_order(journal):
    for number in (5, 0, 11, 3, 1, 2, 10, 4, 7, 6, 9):
        journal.add(STARTS[number], PIECES[number])
    assert journal.find_gaps() == [range(STARTS[8], STARTS[9])]
    journal.add(STARTS[8], PIECES[8])
    assert journal.find_gaps() == []
    assert all(map(is_same, journal.read(), PIECES))


def test_of_two_pieces_that_overlap_one_goes(journal):
    """Both are right; a row must not be there twice."""
    for number in range(3):
        journal.add(STARTS[number], PIECES[number])
    whole = [id_ for piece in PIECES[:2] for id_ in piece.ids]
    both = Predictions(tuple(whole), np.zeros((3, 2), np.float32), None, (OK,) * 3, CLASSES)
    journal.add(0, both)
    assert journal.find_gaps() == [range(6, len(IDS))]
    assert [id_ for piece in journal.read() for id_ in piece.ids] == IDS[:6]


def test_what_lies_in_the_way_is_an_error(tmp_path):
    journal = Journal(tmp_path / "submission.csv", "x", IDS)
    journal.path.write_text("a file")
    assert list(journal.read()) == []
    with pytest.raises(OutputError):
        journal.add(0, make_piece(0))
