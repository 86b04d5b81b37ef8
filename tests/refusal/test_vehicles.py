"""The threshold on what is a vehicle spares cars first, and a part that fills a photo is named."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lotlens.records import OK, SHOWN, CarClass, Catalog, Photo, Predictions
from lotlens.refusal import vehicles
from lotlens.refusal.vehicles import add_shown, choose_least_vehicle, name_part


def show(vehicle):
    shows = np.zeros((len(vehicle), len(SHOWN)), np.float32)
    shows[:, 0] = vehicle
    return shows


shares = st.lists(st.floats(0, 1, width=32), min_size=1, max_size=300)


@given(shares, shares)
def test_next_to_no_known_photo_lies_below_the_threshold(known, others):
    least = choose_least_vehicle(show(known), show(others))
    assert 0 < least < 1
    cars = np.clip(np.asarray(known, np.float64), 1e-4, 1 - 1e-4)  # as the threshold sees them
    assert (cars < least).sum() <= 0.005 * len(known)


def test_the_threshold_lies_nearer_to_what_is_no_car():
    least = choose_least_vehicle(show([0.5] * 100), show([0.02] * 100))
    # Odds of 1 / 49 and of 1.
    assert least / (1 - least) == pytest.approx((1 / 49) ** (2 / 3), rel=1e-4)


def test_one_odd_photo_among_many_does_not_decide():
    known, others = [0.001, *[0.6] * 299], [*[0.02] * 96, *[0.9] * 4]
    assert 0.02 < choose_least_vehicle(show(known), show(others)) < 0.6
    # Of few known photos each one counts.
    assert choose_least_vehicle(show([0.001, *[0.6] * 99]), show(others)) == pytest.approx(0.001)


def test_without_photos_of_either_kind_there_is_no_threshold():
    nothing, some = np.full((2, len(SHOWN)), np.nan, np.float32), show([0.5])
    assert choose_least_vehicle(None, some) is None
    assert choose_least_vehicle(nothing, some) is None
    assert choose_least_vehicle(some, nothing) is None


@pytest.mark.parametrize(
    ("shows", "part"),
    [
        ((0.3, 0.6, 0, 0), "wheel"),
        ((0.5, 0.45, 0, 0), None),
        ((0.0, 0.3, 0.3, 0.3), None),
        ((0.1, 0.0, 0.5, 0.4), "inside"),
        ((0.1, 0.0, 0.1, 0.4), "document"),
        ((0.9, 0.0, 0.0, 0.0), None),
    ],
)
def test_a_part_is_named_where_it_is_much_and_more_than_the_vehicle(shows, part):
    assert name_part(np.array(shows, np.float32)) == part


def test_only_the_photos_named_are_asked_about_and_others_stay(monkeypatch):
    catalog = Catalog(tuple(Photo(id_, None) for id_ in "abcd"), ())
    before = np.array([[0.1] * 4, *[[np.nan] * 4] * 3], np.float32)
    numbers = np.zeros((4, 1), np.float32)
    found = Predictions(tuple("abcd"), numbers, None, (OK,) * 4, (CarClass("0", "0"),))
    asked = []

    def ask(_, own):
        asked.extend(own.ids)
        return np.full((len(own), len(SHOWN)), 0.5, np.float32)

    monkeypatch.setattr(vehicles, "ask_shown", ask)
    assert add_shown(found, catalog, [], None).shows is None
    assert asked == []
    one = add_shown(found, catalog, [3, 1], None)
    assert asked == ["d", "b"]
    assert np.isfinite(one.shows).all(axis=1).tolist() == [False, True, False, True]
    both = add_shown(Predictions(**{**vars(found), "shows": before}), catalog, [2], None)
    np.testing.assert_allclose(both.shows[[0, 2]], [[0.1] * 4, [0.5] * 4])
