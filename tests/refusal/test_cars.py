"""One verdict on a car by several photos, and whether it is what it is said to be."""

from dataclasses import replace

import numpy as np
import pytest

from lotlens.records import FAMILIARITIES, CarClass, Gate, KnownOdds, Metric, Predictions, Refusal
from lotlens.refusal.cars import decide_car, judge_claim
from lotlens.refusal.verdicts import decide

CLASSES = (CarClass("0", "ВАЗ 2109"), CarClass("1", "ВАЗ 21099"), CarClass("4", "Lada Kalina"))
KALINA, OTHER, PAIR = (0, 0, 6), (6, 0, 0), (2, 1.9, -3)


@pytest.fixture
def refusal():
    gates = tuple(
        Gate(refuses, "neighbours", threshold, Metric("known", 0.95, 0.9, 1.0, 100))
        for refuses, threshold in (("not a car", 0.1), ("unknown", 0.2))
    )
    return Refusal(gates, sure=0.6, candidate=0.1, num_photos=100)


def predict(*photos):
    """(logits, flaw, "not a car" | "unknown" | "") of each photo."""
    count = len(photos)
    familiarity = np.ones((count, len(FAMILIARITIES)), np.float32)
    for row, (_, _, refused) in enumerate(photos):
        if refused == "not a car":
            familiarity[row] = 0
        elif refused == "unknown":
            familiarity[row] = 0.15
    return Predictions(
        tuple(map(str, range(count))),
        np.array([logits for logits, _, _ in photos], np.float32),
        None,
        ("ok",) * count,
        CLASSES,
        tuple(flaw for _, flaw, _ in photos),
        familiarity,
    )


def ask(refusal, *photos, dependence=0.5):
    full = [photo if isinstance(photo[0], tuple) else (photo, "", "") for photo in photos]
    return decide_car(predict(*full), refusal, 1.0, dependence=dependence)


def test_one_photo_is_told_as_it_is_alone(refusal):
    for photo in ((KALINA, "", ""), (PAIR, "", ""), (OTHER, "", "unknown"), (OTHER, "dark: x", "")):
        found = predict(photo)
        car = decide_car(found, refusal, 1.0)
        assert (car.verdict,) == decide(found, refusal, 1.0) == car.photos
        assert (car.used, car.odd) == ((0,), ())
        assert len(car.chances) == (3 if car.verdict.named else 0)


def test_photos_that_agree_make_it_surer_and_a_pair_is_resolved(refusal):
    assert ask(refusal, PAIR).verdict.kind == "unsure"
    both = ask(refusal, PAIR, (3, 0, 0), (3, 0, 0))
    assert both.verdict.kind == "model"
    assert both.verdict.named == (CLASSES[0],)
    assert both.used == (0, 1, 2)
    assert sum(both.chances) == pytest.approx(1)


def test_chances_leave_room_for_other_cars(refusal):
    plain = ask(refusal, KALINA, KALINA)
    assert sum(plain.chances) == pytest.approx(1)
    odds = KnownOdds("neighbours", 2.0, -1.0)  # at a score of 1: 73%
    doubted = ask(replace(refusal, odds=odds), KALINA, KALINA)
    assert doubted.chances == pytest.approx(0.7311 * np.array(plain.chances), rel=1e-3)


def test_seats_and_blurred_photos_say_nothing_against_the_others(refusal):
    car = ask(refusal, (OTHER, "", "not a car"), (OTHER, "too dark: x", ""), KALINA)
    assert car.verdict.named == (CLASSES[2],)
    assert car.used == (2,)
    assert [photo.kind for photo in car.photos] == ["not a car", "poor photo", "model"]


def test_an_unknown_car_is_unknown_if_more_photos_say_so(refusal):
    unknown = (OTHER, "", "unknown")
    assert ask(refusal, unknown, unknown, KALINA).verdict.kind == "unknown"
    assert ask(refusal, unknown, KALINA, KALINA).verdict.kind == "model"


def test_as_many_photos_of_an_unknown_car_leave_it_open(refusal):
    unknown = (OTHER, "", "unknown")
    car = ask(refusal, unknown, KALINA)
    assert (car.verdict.kind, car.verdict.named) == ("unsure", (CLASSES[2],))
    assert car.verdict.probability == pytest.approx(0.5, abs=0.01)
    assert sum(car.chances) == pytest.approx(0.5)
    assert "or a car that was not learnt" in car.verdict.sentence
    # Two that are unsure already stay so.
    pair = ask(refusal, unknown, PAIR)
    assert (pair.verdict.kind, len(pair.verdict.named)) == ("unsure", 2)


def test_where_no_photo_passes_it_is_what_most_are(refusal):
    poor, seat = (OTHER, "too dark: x", ""), (OTHER, "", "not a car")
    car = ask(refusal, seat, poor, poor)
    assert (car.verdict.kind, car.used, car.chances) == ("poor photo", (1, 2), ())
    assert ask(refusal, seat, poor).verdict.kind == "not a car"


def test_the_odd_photo_is_pointed_out_at_its_place(refusal):
    seat = (OTHER, "", "not a car")
    car = ask(refusal, seat, (0, 0, 9), (9, 0, 0), (0, 0, 9), (0, 0, 9))
    assert (car.used, car.odd) == ((1, 3, 4), (2,))


def test_the_odd_photo_of_three_does_not_count_and_of_two_both_do(refusal):
    surer = (60, 0, 0)  # one photo that is far too sure must not outvote the others
    car = ask(refusal, KALINA, surer, KALINA)
    assert (car.verdict.named, car.used, car.odd) == ((CLASSES[2],), (0, 2), (1,))
    both = ask(refusal, KALINA, OTHER)
    assert (both.used, both.odd) == ((0, 1), (0, 1))
    assert both.verdict.kind == "unsure"


def test_a_photo_that_is_sure_of_nothing_but_not_of_this_car_is_to_be_looked_at(refusal):
    seat = (OTHER, "", "not a car")
    stray = (1.5, 1.4, -3)  # gives the Kalina nothing, and is sure of no other car
    car = ask(replace(refusal, candidate=0.01), seat, (0, 0, 12), stray)
    assert car.verdict.named == (CLASSES[2],)
    assert (car.used, car.odd, car.strays, car.doubtful) == ((1, 2), (), (2,), (2,))
    # Two that are named may be what a photo of each speaks for.
    pair = ask(refusal, (2, 0, -2), (-0.5, 2.5, -2))
    assert (pair.verdict.kind, pair.doubtful) == ("unsure", ())
    assert ask(refusal, KALINA, (0, 0.5, 2.5)).doubtful == ()
    many = ask(refusal, KALINA, (60, 0, 0), *[KALINA] * 4, (0.5, 0.4, -5))
    assert (many.odd, many.strays, many.doubtful) == ((1,), (6,), (1, 6))


def test_a_claim_is_contradicted_by_a_sure_answer_alone(refusal):
    kalina, other = CLASSES[2], CLASSES[0]

    def judge(car, *photos):
        return judge_claim(car, ask(refusal, *photos), CLASSES)

    assert judge(kalina, KALINA) == "confirmed"
    assert judge(other, KALINA) == "contradicted"
    assert judge(None, KALINA) == "open"
    assert judge(kalina, PAIR) == judge(other, PAIR) == "open"
    likely = (0, 0, 3.5)  # named, but another car is not excluded
    assert ask(refusal, likely).verdict.kind == "model"
    assert judge(other, likely) == "open"
    unknown = (OTHER, "", "unknown")
    assert judge(other, unknown) == "open"
    assert judge(other, KALINA, unknown) == judge(kalina, KALINA, unknown) == "open"
    assert judge(kalina, KALINA, KALINA, unknown) == "confirmed"
