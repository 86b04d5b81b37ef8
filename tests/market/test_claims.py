"""What photos say of an advert's claim, in the advert's own terms."""

from dataclasses import replace

import numpy as np
import pytest

from lotlens.market.claims import find_others, judge_listing, name_car
from lotlens.market.copies import Shared
from lotlens.market.listings import Listing
from lotlens.naming import find_class
from lotlens.records import (
    FAMILIARITIES,
    OK,
    CarClass,
    Gate,
    KnownOdds,
    Metric,
    Predictions,
    Refusal,
)
from lotlens.refusal.cars import decide_car

CLASSES = (CarClass("0", "Lada 2114"), CarClass("1", "Lada 2109"), CarClass("2", "Niva"))
GATES = tuple(
    Gate(refuses, "neighbours", threshold, Metric("known", 0.95, 0.9, 1.0, 100))
    for refuses, threshold in (("not a car", 0.1), ("unknown", 0.2))
)
FAMILIAR = {"": 1.0, "unknown": 0.15, "not a car": 0.0}
LIKE_2114, LIKE_2109, UNSURE = (0.97, 0.02, 0.01), (0.01, 0.98, 0.01), (0.5, 0.49, 0.01)


def decide(*chances, refused=None, flaws=None, odds=None):
    """Of photos of which softmax gives these probabilities."""
    count = len(chances)
    familiarity = np.ones((count, len(FAMILIARITIES)), np.float32)
    for at, kind in enumerate(refused or [""] * count):
        familiarity[at] = FAMILIAR[kind]
    predictions = Predictions(
        tuple(map(str, range(count))),
        np.log(np.array(chances, np.float32)),
        None,
        (OK,) * count,
        CLASSES,
        tuple(flaws or [""] * count),
        familiarity,
    )
    refusal = Refusal(GATES, sure=0.8, candidate=0.05, num_photos=100, odds=odds)
    return decide_car(predictions, refusal, 1.0, dependence=0.5)


def claim(*chances, car="Lada 2114", numbers=None, **given):
    make, _, model = car.partition(" ")
    row = Listing(1, "1", make=make, model=model)
    return judge_listing(row, CLASSES, decide(*chances, **given), numbers or range(len(chances)))


def test_photos_confirm_contradict_or_leave_open():
    assert claim(LIKE_2114).verdict == "confirmed"
    wrong = claim(LIKE_2109)
    assert (wrong.verdict, wrong.seen.name, wrong.claimed.name) == (
        "contradicted", "Lada 2109", "Lada 2114",
    )  # fmt: skip
    assert wrong.probability == pytest.approx(0.98, abs=1e-3)
    assert wrong.is_named
    pair = claim(UNSURE)
    assert (pair.verdict, pair.why, pair.is_named) == ("open", "not sure", False)
    assert claim(LIKE_2114, LIKE_2109).verdict == "open"
    strange = claim(LIKE_2114, car="Toyota Camry")
    assert (strange.verdict, strange.why, strange.seen.name) == ("open", "not learnt", "Lada 2114")


def test_photos_that_say_nothing_are_set_aside_under_the_adverts_own_numbers():
    found = claim(LIKE_2109, LIKE_2114, refused=["not a car", ""], numbers=[3, 7])
    assert (found.verdict, found.set_aside) == ("confirmed", {3: "shows no car"})
    none = claim(LIKE_2109, flaws=["too dark: x"])
    assert (none.verdict, none.why, none.set_aside) == (
        "open", "no usable photo", {0: "too poor"},
    )  # fmt: skip
    assert judge_listing(Listing(1, "1"), CLASSES, None).why == "no photos"


def test_one_photo_of_another_car_among_three_is_set_aside():
    found = claim(LIKE_2114, LIKE_2109, LIKE_2114)
    assert (found.verdict, found.set_aside) == ("confirmed", {1: "shows another car"})


@pytest.mark.parametrize(
    ("make", "model", "title", "found"),
    [
        ("Lada", "2114", "", 0),
        ("LADA", "2114 Samara", "", 0),
        ("", "lada 2109", "", 1),
        ("Lada", "Niva", "", 2),
        ("Lada", "Niva Travel", "", None),
        ("", "", "Lada 2114, 2008", 0),
        ("", "", "Lada 2114 (Samara), торг", 0),
        ("Lada", "21140", "", None),
        ("Toyota", "Camry", "Toyota Camry", None),
        ("", "", "", None),
    ],
)
def test_which_class_an_advert_claims(make, model, title, found):
    row = Listing(1, "1", title=title, make=make, model=model)
    assert find_class(name_car(row), CLASSES) == (None if found is None else CLASSES[found])


def test_a_car_that_may_be_another_confirms_nothing():
    # At a score of 1: 73 %.
    odds = KnownOdds("neighbours", 2.0, -1.0)
    sure, doubted = claim(LIKE_2114, LIKE_2114), claim(LIKE_2114, LIKE_2114, odds=odds)
    assert (sure.verdict, doubted.verdict, doubted.why) == ("confirmed", "open", "not sure")
    assert doubted.probability == pytest.approx(0.7311 * sure.probability, rel=1e-3)
    assert claim(LIKE_2109, odds=replace(odds, offset=-2.0)).verdict == "open"


def test_more_photos_of_cars_not_learnt_than_of_learnt_ones_leave_it_open():
    found = claim(LIKE_2109, LIKE_2109, LIKE_2109, refused=["unknown", "unknown", ""])
    assert (found.verdict, found.why) == ("open", "no usable photo")
    as_many = claim(LIKE_2109, LIKE_2109, refused=["unknown", ""])
    assert (as_many.verdict, as_many.why) == ("open", "not sure")
    fewer = claim(LIKE_2109, LIKE_2114, LIKE_2114, refused=["unknown", "", ""])
    assert fewer.verdict == "confirmed"


def test_photos_of_models_that_were_not_learnt_are_others():
    photos = [(UNSURE, "unknown"), (UNSURE, ""), (UNSURE, "not a car")]

    def find(car, photos=photos, shared=None):
        verdict = decide(*(chances for chances, _ in photos), refused=[kind for _, kind in photos])
        make, _, model = car.partition(" ")
        row = Listing(1, "1", make=make, model=model)
        numbers = range(len(photos))
        claim = judge_listing(row, CLASSES, verdict, numbers)
        return find_others(row, CLASSES, verdict, claim, shared, numbers)

    assert find("Kia Rio") == [0, 1]
    assert find("Kia Rio", shared=Shared("repost", (1,))) == [0, 1]
    assert find("Kia Rio", shared=Shared("stolen", (1,))) == []
    # The photos name a class, or the name may be one's in other words.
    assert find("Kia Rio", [(LIKE_2109, ""), (LIKE_2109, "")]) == []
    for car in ("Lada 2114", "ВАЗ 2114", "Chevrolet Niva", ""):
        assert find(car) == []
