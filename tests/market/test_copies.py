import datetime
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lotlens.market.copies import FEWEST_FOR_STOCK, Shared, judge_copies, read_day
from lotlens.market.listings import Listing

CAR = Listing(
    1, "1", make="VW", model="Golf", price=500_000, year=2010, mileage=100_000,
    facts={"city": "Уфа", "seller": "Иван"},
)  # fmt: skip


def test_the_same_car_offered_again_is_a_repost():
    again = replace(CAR, id="2", price=460_000, mileage=100_500)
    assert judge_copies([CAR, again], [[1, 2], [3, 2]]) == [
        Shared("repost", (1,)),
        Shared("repost", (0,)),
    ]
    moved = replace(again, facts={"city": "Омск", "seller": "Иван"})
    assert judge_copies([CAR, moved], [[1], [1]])[0].kind == "repost"
    # To the km the same car is that, whatever its price has become.
    cheaper = replace(CAR, id="3", price=200_000)
    assert judge_copies([CAR, cheaper], [[1], [1]])[0].kind == "repost"


def test_without_city_and_seller_the_mileage_tells_a_repost():
    bare = replace(CAR, facts={}, year=2010)
    again = replace(bare, id="2", price=480_000, owners=2.0)
    assert judge_copies([bare, again], [[1], [1]])[0].kind == "repost"
    for other in (replace(again, mileage=50_000), replace(again, mileage=None)):
        assert judge_copies([bare, other], [[1], [1]])[0].kind == "stolen"
    # A city that one of them lacks says nothing; a kind of seller names nobody.
    placed = replace(again, facts={"city": "Уфа"})
    assert judge_copies([bare, placed], [[1], [1]])[0].kind == "repost"
    private = [
        replace(one, facts={"seller": "Частное лицо", "city": city})
        for one, city in ((CAR, "Уфа"), (again, "Омск"))
    ]
    assert judge_copies(private, [[1], [1]])[0].kind == "stolen"


def test_a_photo_under_another_claim_city_or_price_is_stolen():
    for thief in (
        replace(CAR, model="Passat", mileage=1),
        replace(CAR, year=2012, mileage=1),
        replace(CAR, mileage=1, facts={"city": "Омск", "seller": "Пётр"}),
        replace(CAR, mileage=1, price=350_000),
    ):
        found = judge_copies([CAR, thief], [[1], [1]])
        assert [one.kind for one in found] == ["stolen", "stolen"]


def test_who_shows_the_claimed_car_is_not_the_thief():
    thief = replace(CAR, model="Passat", mileage=1)
    pictures = [[1, 2], [1]]
    assert judge_copies([CAR, thief], pictures, [True, False]) == [None, Shared("stolen", (0,))]
    assert [one.kind for one in judge_copies([CAR, thief], pictures, [True, True])] == [
        "stolen",
        "stolen",
    ]


@pytest.mark.parametrize(
    ("mine", "theirs", "kinds"),
    [
        ({"first_seen": "2026-11-02"}, {"first_seen": "2026-11-20 10:15"}, [None, "stolen"]),
        ({"date": "20.11.2026"}, {"date": "2.11.2026"}, ["stolen", None]),
        (
            {"date": "2026-11-20", "first_seen": "2026-11-01"},
            {"date": "5.12.2026"},
            [None, "stolen"],
        ),
        ({"date": "2026-11-02"}, {"date": "2026-11-02"}, ["stolen", "stolen"]),
        ({"date": "2026-11-02"}, {}, ["stolen", "stolen"]),
        # A day of the one kind is not compared with one of the other.
        ({"first_seen": "2026-11-02"}, {"date": "2026-11-20"}, ["stolen", "stolen"]),
        ({"date": "3/4/2026"}, {"date": "5/4/2026"}, ["stolen", "stolen"]),
        ({"date": "31.02.2026"}, {"date": "01.03.2026"}, ["stolen", "stolen"]),
        ({"date": "2026-11-021"}, {"date": "2026-12-01"}, ["stolen", "stolen"]),
    ],
)
def test_who_came_first_is_not_the_thief_where_photos_do_not_tell(mine, theirs, kinds):
    rows = [replace(CAR, **mine), replace(CAR, model="Passat", mileage=1, **theirs)]
    for confirmed in (None, [False, False], [True, True]):
        found = judge_copies(rows, [[1], [1]], confirmed)
        assert [None if one is None else one.kind for one in found] == kinds
    # What the photos show says more than a date.
    found = judge_copies(rows, [[1], [1]], [False, True])
    assert found == [Shared("stolen", (1,)), None]


@given(st.dates(datetime.date(1000, 1, 1)))
def test_a_day_is_read_as_it_was_written(day):
    assert read_day(day.isoformat()) == read_day(f"{day:%d.%m.%Y}, 12:00") == day
    assert read_day(f" {day.day}.{day.month}.{day.year}") == day


@given(st.text(max_size=30))
def test_no_text_breaks_the_reading_of_days(text):
    assert read_day(text) is None or any(sign.isdigit() for sign in text)


def test_a_picture_of_many_cars_is_a_stock_picture():
    rows = [replace(CAR, id=str(n), mileage=1000.0 * n) for n in range(FEWEST_FOR_STOCK)]
    found = judge_copies(rows, [[7, n + 10] for n in range(len(rows))])
    assert {one.kind for one in found} == {"stock"}
    assert found[0].others == (1, 2, 3)
    # Reposts of one car are one car.
    assert judge_copies([CAR] * FEWEST_FOR_STOCK, [[7]] * FEWEST_FOR_STOCK)[0].kind == "repost"


def test_pictures_that_stand_nowhere_else_mean_nothing():
    assert judge_copies([CAR, CAR], [[1, 1], []]) == [None, None]
