"""Fitted prices as a file: what comes back, and what nobody can do with it."""

import copy
import json
import os
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lotlens.drawn.market import draw_adverts
from lotlens.errors import InputError
from lotlens.market import fitted as fitting
from lotlens.market.fitted import (
    check_enough,
    estimate_by_file,
    keep_prices,
    read_prices,
    write_prices,
)
from lotlens.market.listings import Listing, Listings
from lotlens.market.prices import FEWEST_OF_CAR, LEVELS, learn_prices
from lotlens.market.trees import Trees

CARS = ("Ford Focus", "Ford Fiesta", "VW Golf", "VW Polo", "Нива Легенд")
ENDS = ("price", "low", "high", "low90", "high90")


def list_rows(num, first_id=1):
    rows = []
    for at, one in enumerate(draw_adverts(num, CARS, first_id=first_id), start=1):
        make, _, model = one.car.partition(" ")
        facts = {"city": one.city, "gearbox": one.gearbox, "seller": one.seller}
        # Some have no make apart, no power, no mileage: as in any table.
        rows.append(Listing(
            at, one.id, make=make if at % 7 else "", model=model if at % 7 else one.car,
            price=float(one.price), year=one.year, mileage=None if at % 11 == 0 else 1.0 * one.km,
            power=None if at % 5 == 0 else float(one.power), facts=facts if at % 3 else {},
        ))  # fmt: skip
    return rows


@pytest.fixture(scope="module")
def rows():
    return list_rows(500)


@pytest.fixture(scope="module")
def learnt(rows):
    return learn_prices(rows)


@pytest.fixture(scope="module")
def fitted(learnt):
    return keep_prices(learnt, ["adverts.csv"], "RUB")


@pytest.fixture(scope="module")
def path(fitted, tmp_path_factory):
    path = tmp_path_factory.mktemp("prices") / "prices.json"
    write_prices(path, fitted)
    return path


@pytest.fixture(scope="module")
def small(path):
    """The values of the file with three trees of each kind, so that reading them is quick."""
    values = json.loads(path.read_text("utf-8"))
    for trees in (*values["boosters"].values(), *values["ends"]):
        size = trees["starts"][3]
        trees["starts"] = trees["starts"][:3]
        for name in ("column", "threshold", "left", "right", "value", "missing_left", "choice"):
            trees[name] = trees[name][:size]
        trees["choices"] = trees["choices"][: max(1, 1 + max(trees["choice"]))]
    return values


def to_array(fair):
    return np.array([[getattr(one, end) for end in ENDS] for one in fair])


def test_prices_of_the_file_are_those_of_the_fit_in_memory(fitted, path):
    new = list_rows(200, first_id=10_001)
    new += [
        replace(new[0], model="Scirocco"), replace(new[0], make="Zastava", model="Koral"),
        replace(new[0], year=None), replace(new[0], facts={"city": "Рим"}, mileage=None),
        replace(new[0], year=1950), replace(new[0], model=""),
    ]  # fmt: skip
    in_memory, read = fitted.estimate(new), read_prices(path).estimate(new)
    assert [one.method for one in read] == [one.method for one in in_memory]
    assert [one.num_like for one in read] == [one.num_like for one in in_memory]
    np.testing.assert_allclose(to_array(read), to_array(in_memory), rtol=1e-9)
    assert [one.method for one in read[-6:]] == ["make", "none", "none", "model", "model", "none"]
    assert read[-6].num_like == 0 < FEWEST_OF_CAR
    assert np.isnan(read[-5].price)


def test_prices_of_new_adverts_are_near_the_truth_and_intervals_hold(path):
    new = list_rows(600, first_id=20_001)
    usual = np.array([one.usual for one in draw_adverts(600, CARS, first_id=20_001)])
    asked = np.array([row.price for row in new])
    fair = read_prices(path).estimate(new)
    middle, low, high, low90, high90 = to_array(fair).T
    assert np.abs(np.log(middle / usual)).mean() < 0.13
    for lows, highs, level in ((low, high, LEVELS[0]), (low90, high90, LEVELS[1])):
        assert abs(((lows <= asked) & (asked <= highs)).mean() - level) < 0.06


def test_what_the_file_says_of_itself(path, rows):
    read = read_prices(path)
    assert (read.sources, read.currency, read.num_adverts) == (("adverts.csv",), "RUB", 500)
    assert "500 adverts of adverts.csv, RUB" in str(read)
    assert read.count_learnt(rows) == 500
    new = list_rows(40, first_id=30_001)
    assert read.count_learnt(new) == 0
    strangers = [replace(new[0], make="Zastava", model="Koral"), replace(new[1], model="Scirocco")]
    told = read.introduce(Listings("new.csv", "CSV", {}, (), (*rows[:3], *strangers)), "p.json")
    assert told.currency == "RUB"
    notes = " ".join(told.notes)
    assert "no price names its currency: they are taken for RUB, as in p.json" in notes
    assert "p.json has seen no advert of 2 models: Zastava Koral" in notes
    assert "3 of these adverts were learnt from" in notes
    dollars = Listings("new.csv", "CSV", {}, (), (), "USD")
    with pytest.raises(InputError, match=r"new.csv is in USD and p.json in RUB"):
        read.introduce(dollars, "p.json")


def test_what_the_file_does_not_know_the_other_adverts_tell(path):
    like = [Listing(n, str(n), make="Zastava", model="Koral", price=1000.0 * n, year=2010,
                    mileage=1000.0 * n) for n in range(1, 9)]  # fmt: skip
    fair = estimate_by_file(read_prices(path), [*list_rows(20, first_id=40_001), *like])
    assert {one.method for one in fair[:20]} == {"model"}
    assert {one.method for one in fair[20:]} == {"analogues"}
    assert all(at >= 20 for one in fair[20:] for at in one.analogues)


def test_what_is_written_can_be_read_whatever_adverts_say(rows, tmp_path, monkeypatch):
    """Long cells, and the name of a table that is no UTF-8."""
    long = [replace(row, facts={"trim": "климат, " * 80 + row.id}) for row in rows]
    odd = keep_prices(learn_prices(long), [os.fsdecode(b"adv\xff.csv")], "RUB")
    write_prices(tmp_path / "odd.json", odd)
    again = read_prices(tmp_path / "odd.json")
    assert again.sources == odd.sources
    np.testing.assert_array_equal(to_array(again.estimate(long)), to_array(odd.estimate(long)))
    monkeypatch.setattr(fitting, "_MOST_WORDS", 100)
    with pytest.raises(InputError, match="could not be read again"):
        write_prices(tmp_path / "many.json", odd)
    assert not (tmp_path / "many.json").exists()


def test_hostile_errors_stay_within_bounds(small, rows):
    values = copy.deepcopy(small)
    values["adjustment"] = {"by_car": {}, "by_make": {}, "over_all": [100.0, 100.0]}
    values["level"] = 100.0
    for one in fitting._from_values(values).estimate(rows):
        assert one.method == "none" or max(one.high, one.high90) < 2**63


def test_too_few_adverts_are_one_clear_line(rows):
    check_enough(rows)
    with pytest.raises(InputError, match=r"50 adverts have a price, .* kept from 300 on"):
        check_enough(rows[:50])
    with pytest.raises(InputError, match="too few"):
        keep_prices(learn_prices(rows[:50]), [], "RUB")


def test_trees_that_answer_otherwise_are_not_kept(fitted, tmp_path, monkeypatch):
    honest = Trees.of.__func__

    def lie(cls, model, told):
        trees = honest(cls, model, told)
        return replace(trees, value=trees.value + 1e-6)

    monkeypatch.setattr(Trees, "of", classmethod(lie))
    with pytest.raises(InputError, match="in a way that is not known here"):
        write_prices(tmp_path / "prices.json", fitted)
    assert not (tmp_path / "prices.json").exists()


def test_what_is_no_such_file_is_one_clear_line(path, small, tmp_path):
    bad = tmp_path / "bad.json"
    with pytest.raises(InputError, match="cannot be read"):
        read_prices(tmp_path / "nothing.json")
    whole = path.read_bytes()
    for data in (b"", b"{}", b"[1]", b"\x80\x04cos\nsystem\n", b"[" * 100_000, whole[:-100],
                 whole.replace(b'"level":', b'"level":1e999,"x":'),
                 whole.replace(b"lotlens prices 1", b"lotlens prices 2")):  # fmt: skip
        bad.write_bytes(data)
        with pytest.raises(InputError, match="holds no fitted prices"):
            read_prices(bad)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda trees: trees["left"].__setitem__(1, 0), "before its parent"),
        (lambda trees: trees["right"].__setitem__(0, trees["starts"][1]), "another tree"),
        (lambda trees: trees["starts"].__setitem__(1, 0), "do not follow"),
        (lambda trees: trees["starts"].append(10_000), "no nodes"),
        (lambda trees: trees["column"].__setitem__(0, 99), "whole numbers from 0"),
        (lambda trees: trees["value"].__setitem__(0, True), "numbers of at most"),
        (lambda trees: trees["value"].pop(), "another length"),
        (lambda trees: trees["choice"].__setitem__(0, 100_000), "not so many choices"),
        (lambda trees: (trees["choice"].__setitem__(0, 0), trees.update(known={})), "has none"),
        (lambda trees: trees.update(known={"3": [256]}), "whole numbers from 0 to 255"),
        (lambda trees: trees.pop("known"), "missing"),
        (lambda trees: trees.update(num_inputs=10**9), "num_inputs"),
    ],
)
def test_trees_that_lead_nowhere_are_refused(small, spoil, said):
    values = copy.deepcopy(small)
    spoil(values["boosters"]["whole"])
    with pytest.raises(ValueError, match=said):
        fitting._from_values(values)


def test_trees_in_one_long_chain_are_refused(small):
    size = 100_000
    chain = {
        **small["ends"][0], "starts": [0], "column": [0] * size, "threshold": [0] * size,
        "left": [*range(1, size), size - 1], "right": [*range(1, size), size - 1],
        "value": [0] * size, "missing_left": [0] * size, "choice": [-1] * size,
    }  # fmt: skip
    with pytest.raises(ValueError, match="more than 128 nodes"):
        Trees.from_values(chain, chain["num_inputs"])


def list_places(values, path=()):
    """Where something stands in plain values, of a list the first few alone."""
    yield path
    if isinstance(values, dict):
        for key in values:
            yield from list_places(values[key], (*path, key))
    elif isinstance(values, list):
        for at in range(min(3, len(values))):
            yield from list_places(values[at], (*path, at))


JUNK = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 300), st.integers(-(2**70), 2**70),
    st.floats(allow_nan=True, width=32), st.sampled_from([1e14, -1e14, 99.0, -99.0]),
    st.text(max_size=5), st.lists(st.integers(-1, 3), max_size=3), st.just({}),
)  # fmt: skip


@settings(max_examples=150)
@given(st.data())
def test_whatever_stands_in_the_file_ends_in_prices_or_an_error(small, data):
    values = copy.deepcopy(small)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.sampled_from(list(list_places(values))[1:]))
        inner = values
        for key in place[:-1]:
            inner = inner[key]
        inner[place[-1]] = data.draw(JUNK)
    try:
        read = fitting._from_values(values)
    except ValueError:
        return
    fair = read.estimate(HOSTILE)
    assert len(fair) == len(HOSTILE)
    for one in fair:
        assert one.method == "none" or 0 < one.low90 <= one.low <= one.price <= one.high


HOSTILE = list_rows(6, first_id=50_001)


@settings(max_examples=25)
@given(st.integers(0, 2**32 - 1))
def test_trees_answer_as_scikit_learn_does(seed):
    from sklearn.ensemble import HistGradientBoostingRegressor

    rng = np.random.default_rng(seed)
    inputs = np.column_stack([
        rng.normal(size=300), rng.integers(0, 12, 300), rng.normal(size=300).round(1),
        rng.integers(0, 3, 300),
    ])  # fmt: skip
    inputs[rng.random(inputs.shape) < 0.1] = np.nan
    target = np.nan_to_num(inputs) @ rng.normal(size=4) + (np.nan_to_num(inputs[:, 1]) % 3)
    told = np.array([True, True, False, True])
    model = HistGradientBoostingRegressor(
        categorical_features=[False, True, True], max_iter=8, min_samples_leaf=5, random_state=0
    ).fit(inputs[:, told], target)
    trees = Trees.of(model, told)
    new = np.column_stack([
        rng.normal(size=200), rng.integers(-2, 20, 200), rng.normal(size=200),
        rng.integers(0, 6, 200),
    ])  # fmt: skip
    new[rng.random(new.shape) < 0.2] = np.nan
    new[:3, 1] = (-1e9, 1e9, 255)
    expected = model.predict(new[:, told])
    np.testing.assert_allclose(trees.predict(new), expected, rtol=0, atol=1e-12)
    back = Trees.from_values(json.loads(json.dumps(trees.to_values())), 4)
    np.testing.assert_array_equal(back.predict(new), trees.predict(new))
