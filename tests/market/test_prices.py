import math
from dataclasses import replace

import numpy as np
import pytest

from lotlens.errors import InputError
from lotlens.market.listings import Listing
from lotlens.market.prices import (
    FEWEST_TO_ADJUST,
    LEVELS,
    conformal_quantile,
    estimate_prices,
    make_folds,
)

MODELS = {"Golf": 13.4, "Polo": 13.0, "Passat": 13.8, "Focus": 13.2, "Fiesta": 12.8}
NOISE = 0.1


def draw_market(num_rows, seed=0, noise=NOISE):
    """Adverts whose true log price is known."""
    rng = np.random.default_rng(seed)
    rows, truths = [], []
    names = list(MODELS)
    for at in range(num_rows):
        name = names[rng.integers(len(names))]
        year, km = int(rng.integers(2000, 2024)), float(rng.integers(1_000, 300_000))
        power = float(rng.integers(80, 200))
        truth = MODELS[name] - 0.09 * (2023 - year) - km / 1e6 + 0.4 * math.log(power / 120)
        price = math.exp(truth + noise * rng.standard_normal())
        make = "Ford" if name in ("Focus", "Fiesta") else "VW"
        rows.append(Listing(at + 1, str(at), make=make, model=name, price=price, year=year,
                            mileage=km, power=power))  # fmt: skip
        truths.append(math.exp(truth))
    return rows, np.array(truths)


@pytest.fixture(scope="module")
def market():
    rows, truths = draw_market(700)
    return rows, truths, estimate_prices(rows)


def test_fair_prices_are_near_the_truth_and_intervals_hold_what_they_say(market):
    rows, truths, fair = market
    asked = np.array([row.price for row in rows])
    middles = np.array([one.price for one in fair])
    assert {one.method for one in fair} == {"model"}
    assert np.abs(np.log(middles / truths)).mean() < 0.6 * NOISE
    for low, high, level in (("low", "high", LEVELS[0]), ("low90", "high90", LEVELS[1])):
        lows, highs = (np.array([getattr(one, end) for one in fair]) for end in (low, high))
        held = ((lows <= asked) & (asked <= highs)).mean()
        assert abs(held - level) < 0.05, (level, held)
        # Wide enough by being wide everywhere would be no art: +-1.28 and +-1.64 are right here.
        ideal = 2 * NOISE * {0.8: 1.2816, 0.9: 1.6449}[level]
        assert np.median(np.log(highs / lows)) < 1.35 * ideal
    assert all(one.low90 <= one.low <= one.price <= one.high <= one.high90 for one in fair)


def test_an_adverts_own_price_and_its_reposts_have_no_say(market):
    rows, _, before = market
    cheap = replace(rows[7], price=rows[7].price / 3)
    after = estimate_prices([*rows[:7], cheap, *rows[8:]])
    assert after[7].price == before[7].price
    assert 7 not in after[7].analogues
    repost = replace(rows[7], id="repost", price=rows[7].price * 5)
    with_repost = estimate_prices([*rows, repost])
    without = estimate_prices([*rows, replace(repost, price=rows[7].price)])
    assert with_repost[7].price == without[7].price
    assert len(rows) not in with_repost[7].analogues


def test_damaged_cars_are_priced_as_sound_ones_and_teach_nothing(market):
    rows, _, _ = market
    wrecks = [replace(row, id=f"w{row.id}", price=row.price / 10, mileage=row.mileage + 1,
                      is_damaged=True) for row in rows[:200]]  # fmt: skip
    fair = estimate_prices([*rows, *wrecks])
    ratio = np.median([fair[len(rows) + at].price / fair[at].price for at in range(200)])
    assert 0.9 < ratio < 1.1


def test_prices_from_a_history(market):
    rows, _, _ = market
    new, truths = draw_market(100, seed=5)
    fair = estimate_prices(new, rows)
    middles = np.array([one.price for one in fair])
    assert np.abs(np.log(middles / truths)).mean() < 0.6 * NOISE
    held = np.mean([one.low <= row.price <= one.high for one, row in zip(fair, new, strict=True)])
    assert 0.68 < held < 0.92
    nearest = [*rows, *new][fair[0].analogues[0]]
    assert nearest.model == new[0].model
    assert abs(nearest.year - new[0].year) <= 2


def test_makes_are_told_apart_by_other_adverts(market):
    rows, _, before = market
    joined = replace(rows[3], make="", model=f"{rows[3].make} {rows[3].model}")
    after = estimate_prices([*rows[:3], joined, *rows[4:]])
    assert after[3] == before[3]


def test_where_adverts_are_few_the_method_says_so():
    rows, truths = draw_market(60, seed=3)
    fair = estimate_prices(rows)
    assert {one.method for one in fair} <= {"analogues", "line", "median"}
    assert np.abs(np.log(np.array([one.price for one in fair]) / truths)).mean() < 0.25

    def price(count, **given):
        like = [replace(rows[0], row=n, id=str(n), mileage=101e3 + 1000 * n, **given)
                for n in range(count)]  # fmt: skip
        new = replace(rows[0], id="new", price=None, mileage=1e5, year=2015)
        return estimate_prices([*like, new])[-1]

    assert price(5, year=2015).method == "analogues"
    assert price(6, year=2003).method == "line"
    assert price(6, year=2003).price > rows[0].price  # twelve years younger
    assert price(3, year=2003).method == "median"
    assert price(3, year=2003).price == pytest.approx(rows[0].price)
    alone = price(2, year=2015)
    assert alone.method == "none"
    assert math.isnan(alone.price)
    assert alone.num_like == 2


def test_a_car_seen_once_is_priced_by_its_make_and_said_so(market):
    rows, _, _ = market
    rare = replace(rows[0], id="rare", model="Scirocco", price=None)
    stranger = replace(rare, make="Zastava")
    yearless = replace(rows[0], id="x", year=None)
    *_, by_make, by_nothing, without_year = estimate_prices([*rows, rare, stranger, yearless])
    assert (by_make.method, by_make.num_like) == ("make", 0)
    assert by_make.price > 0
    assert by_nothing.method == "none"
    assert without_year.method == "none"


def test_nothing_to_learn_from_is_one_clear_line():
    with pytest.raises(InputError, match="no advert to learn prices from"):
        estimate_prices([Listing(1, "1", model="Golf")])


def test_folds_keep_groups_whole_and_are_about_equal():
    groups = np.repeat(np.arange(100), 3)
    folds = make_folds(groups, 5, 0)
    assert all(len(set(folds[groups == one])) == 1 for one in range(100))
    assert set(np.bincount(folds)) == {60}
    assert (make_folds(groups, 5, 1) != folds).any()


def test_the_conformal_quantile_is_the_textbooks():
    scores = np.arange(1.0, 100.0)
    assert conformal_quantile(scores, 0.8) == 80
    assert conformal_quantile(scores, 0.9) == 90
    assert conformal_quantile(np.array([1.0, 2.0]), 0.9) == 2
    assert 1 / (1 - LEVELS[1]) <= FEWEST_TO_ADJUST  # its own quantile is within its scores
