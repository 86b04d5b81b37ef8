"""turns: the laws of the square's eight turns, the same for frames, hashes and boxes."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lotlens.audit.hashes import hash_frame
from lotlens.audit.turns import INVERSES, NUM_TURNS, turn_boxes, turn_frame, turn_hashes
from lotlens.photos.quality import FRAME, frame_photo

TURNS = range(NUM_TURNS)
SMALL = np.arange(9, dtype=np.uint8).reshape(3, 3)


def test_there_are_eight_turns_and_each_is_undone_by_its_inverse():
    seen = {turn_frame(SMALL, turn).tobytes() for turn in TURNS}
    assert len(seen) == NUM_TURNS
    for turn in TURNS:
        assert np.array_equal(turn_frame(turn_frame(SMALL, turn), INVERSES[turn]), SMALL)
        assert INVERSES[INVERSES[turn]] == turn


def test_two_turns_are_one():
    seen = {turn_frame(SMALL, turn).tobytes() for turn in TURNS}
    for one, other in product(TURNS, TURNS):
        assert turn_frame(turn_frame(SMALL, one), other).tobytes() in seen


def test_turns_are_called_by_what_they_do():
    assert np.array_equal(turn_frame(SMALL, 1), SMALL[:, ::-1])
    for turn, quarters in ((3, 2), (5, -1), (6, 1)):
        assert np.array_equal(turn_frame(SMALL, turn), np.rot90(SMALL, quarters))
    for turn, plain in ((2, 3), (4, 5), (7, 6)):
        mirrored = {turn_frame(turn_frame(SMALL, plain), flip).tobytes() for flip in (1, 2)}
        assert turn_frame(SMALL, turn).tobytes() in mirrored


@given(seed=st.integers(0, 1000), turn=st.sampled_from(TURNS))
@settings(max_examples=25, deadline=None)
def test_the_hash_of_a_turned_frame_is_the_turned_hash(texture_drawer, seed, turn):
    frame = frame_photo(texture_drawer(seed))
    whole = hash_frame(frame).astype(np.float32)
    (turned,) = turn_hashes(whole[None], turn)
    assert turned == pytest.approx(hash_frame(turn_frame(frame, turn)).astype(float), abs=0.1)
    (back,) = turn_hashes(turned[None], INVERSES[turn])
    assert np.array_equal(back, whole)


places = st.integers(0, FRAME)


@given(
    across=st.lists(places, min_size=2, max_size=2, unique=True).map(sorted),
    down=st.lists(places, min_size=2, max_size=2, unique=True).map(sorted),
    turn=st.sampled_from(TURNS),
)
def test_a_box_turns_with_what_it_holds(across, down, turn):
    frame = np.zeros((FRAME, FRAME), np.uint8)
    frame[slice(*down), slice(*across)] = 1
    box = np.array([[*across, *down]], np.float32) / FRAME
    (left, right), (top, bottom) = np.round(turn_boxes(box, turn) * FRAME).reshape(2, 2).astype(int)
    expected = np.zeros_like(frame)
    expected[top:bottom, left:right] = 1
    assert np.array_equal(turn_frame(frame, turn), expected)
