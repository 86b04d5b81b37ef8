"""A photo of no car bears the word of the folder whose photos it is like, and a car bears none."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lotlens.errors import BundleError
from lotlens.records import MOST_WORDS, Refusal, Word
from lotlens.refusal.words import FEWEST, find_word, learn_words, measure_words

NUM_FEATURES = 32
RNG = np.random.default_rng(5)
CENTRES = {name: RNG.normal(size=NUM_FEATURES) * 2 for name in ("engine", "inside", "trunk")}
MEANS = [RNG.normal(size=(4, NUM_FEATURES)).astype(np.float32) * 2]


def draw(centre, num_photos, seed=0, spread=0.5):
    noise = np.random.default_rng(seed).normal(size=(num_photos, NUM_FEATURES)) * spread
    return (centre + noise).astype(np.float32)


FOLDERS = {name: draw(centre, 60, at) for at, (name, centre) in enumerate(CENTRES.items())}
WORDS = learn_words(FOLDERS, MEANS)


def name_all(features, means=MEANS, words=WORDS):
    found = [find_word(row, words) for row in measure_words(features, means, words)]
    return [None if word is None else word.name for word in found]


def test_new_photos_bear_the_word_of_their_folder():
    assert {word.name for word in WORDS} == set(CENTRES)
    for name, centre in CENTRES.items():
        named = name_all(draw(centre, 100, seed=70))
        assert set(named) <= {name, None}
        assert named.count(name) > 75  # about nine in ten of its own do


def test_cars_and_what_is_like_nothing_bear_none():
    for mean in MEANS[0]:
        assert set(name_all(draw(mean, 50, seed=71))) == {None}
    strange = np.random.default_rng(72).normal(size=(200, NUM_FEATURES)).astype(np.float32)
    assert set(name_all(strange)) == {None}


def test_a_photo_that_is_likelier_a_class_bears_no_word():
    between = (CENTRES["engine"] + 3 * MEANS[0][1]).astype(np.float32)[None]
    lenient = [replace(word, least=-0.5) for word in WORDS]
    assert measure_words(between, MEANS, lenient)[0, 0] == -1
    assert name_all(between, words=lenient) == [None]


def test_members_are_heard_alike():
    """A word of one member's features alone is not enough."""
    means = [*MEANS, MEANS[0] * 3]
    both = {name: np.hstack([rows, rows * 2]) for name, rows in FOLDERS.items()}
    words = learn_words(both, means)
    new = draw(CENTRES["inside"], 40, seed=73)
    assert name_all(np.hstack([new, new]), means, words).count("inside") > 30
    car = draw(MEANS[0][0], 40, seed=74)
    assert set(name_all(np.hstack([new, car]), means, words)) == {None}


def test_folders_that_tell_nothing_give_no_word():
    few = {"few": FOLDERS["engine"][: FEWEST - 1]}
    broken = {"broken": np.full((9, NUM_FEATURES), np.nan, np.float32)}
    cars = {"cars": draw(MEANS[0][2], 30)}
    assert learn_words({**few, **broken, **cars}, MEANS) == ()
    many = {f"{n}": draw(CENTRES["engine"], 6 + n % 3, n) for n in range(MOST_WORDS + 5)}
    assert len(learn_words(many, MEANS)) == MOST_WORDS
    assert measure_words(FOLDERS["engine"], MEANS, ()).shape == (60, 0)


@given(st.text(max_size=40) | st.sampled_from(["AAAA", "AHwAfAB8AHw="]))
def test_a_damaged_word_is_a_bundle_error(direction):
    with pytest.raises(BundleError, match="do not belong together"):
        measure_words(FOLDERS["engine"], MEANS, [Word("engine", direction, 0.5)])


def test_words_survive_a_card():
    import json
    from dataclasses import asdict

    refusal = Refusal(words=WORDS)
    again = Refusal.from_dict(json.loads(json.dumps(asdict(refusal))))
    assert again == refusal
    assert name_all(FOLDERS["trunk"][:5], words=again.words) == name_all(FOLDERS["trunk"][:5])
