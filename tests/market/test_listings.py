import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lotlens.errors import InputError
from lotlens.market.listings import (
    COLUMNS,
    group_reposts,
    is_web_address,
    judge_condition,
    read_listings,
    split_photos,
)
from lotlens.naming import fold_name

TABLE = """id,title,Марка,Модель,Цена,Год,Пробег,Город,Состояние,photos
7,"Toyota Camry, 2012",Toyota,Camry,1 900 000 ₽,2012,165 тыс. км,Москва,Не битый,a.jpg;b.jpg
8,"Форд Фокус",Ford,Ford Focus,Ask For Price,2011,1,Уфа,Битый,
9,,,,"4,25,000 руб.",zest,999999,,,
"""


def write(folder, text, name="adverts.csv"):
    path = folder / name
    path.write_text(text, "utf-8")
    return path


def test_every_row_comes_out_and_bad_ones_say_why(tmp_path):
    found = read_listings(write(tmp_path, TABLE))
    first, second, third = found.rows
    assert (first.id, first.car, first.price, first.year, first.mileage) == (
        "7", "Toyota Camry", 1_900_000, 2012, 165_000,
    )  # fmt: skip
    assert first.photos == ("a.jpg", "b.jpg")
    assert first.is_damaged is False
    assert first.problems == ()
    assert (second.car, second.price, second.is_damaged) == ("Ford Focus", None, True)
    assert second.problems == ("no price: 'Ask For Price'",)
    assert (third.price, third.year, third.mileage) == (425_000, None, None)
    assert third.problems == ("no year: 'zest'", "no model", "mileage 999999 km is not believed")
    said = str(found)
    assert "3, 2 photos named" in said
    assert "make = Марка" in said
    assert "2 in RUB" in said


def test_a_mileage_is_doubted_by_the_age_in_its_table(tmp_path):
    rows = "".join(
        f"Golf,500000,{year},{km}\n" for year, km in ((2015, 12), (2005, 12), (2014, 60_000))
    )
    new, old, _ = read_listings(write(tmp_path, "model,price,year,km\n" + rows)).rows
    assert new.mileage == 12
    assert old.mileage is None


def test_currencies_are_never_mixed_in_silence(tmp_path):
    text = (
        "model,price,year\n" + "Golf,500 000 ₽,2010\n" * 3 + "Golf,$9000,2011\nGolf,400000,2012\n"
    )
    found = read_listings(write(tmp_path, text))
    assert found.currency == "RUB"
    assert [row.price for row in found.rows] == [500_000] * 3 + [None, None]
    assert "USD" in found.rows[3].problems[0]
    assert "several" in found.rows[4].problems[0]
    assert "1 in USD" in str(found)
    named = read_listings(tmp_path / "adverts.csv", currency="rub")
    assert named.rows[4].price == 400_000
    in_words = read_listings(tmp_path / "adverts.csv", currency="руб.")
    assert in_words.rows[4].price == 400_000
    with pytest.raises(InputError, match="'money' is no currency"):
        read_listings(tmp_path / "adverts.csv", currency="money")
    by_column = "model,price,year,currency\nGolf,9000,2010,EUR\nGolf,9500,2010,€\n"
    found = read_listings(write(tmp_path, by_column))
    assert (found.currency, found.rows[1].price) == ("EUR", 9500)


def test_columns_are_named_where_names_do_not_tell(tmp_path):
    path = write(tmp_path, "car,ask,year\nGolf,5000,2010\n")
    with pytest.raises(
        InputError, match=r"no column for the price and none for the model.*car, ask"
    ):
        read_listings(path)
    found = read_listings(path, columns={"model": "car", "price": "ask"})
    assert found.rows[0].price == 5000
    with pytest.raises(InputError, match=r"no role 'cost'.*no column 'x'"):
        read_listings(path, columns={"cost": "ask", "price": "x"})


def test_transmission_is_what_its_cells_say(tmp_path):
    by_wheels = read_listings(write(tmp_path, "model,price,transmission\nX5,5000,полный\n"))
    assert by_wheels.columns["drive"] == "transmission"
    by_gears = read_listings(write(tmp_path, "model,price,transmission\nX5,5000,automatic\n"))
    assert by_gears.columns["gearbox"] == "transmission"


def test_titles_are_read_by_known_cars_first(tmp_path):
    text = 'title,price\n"Lada 2114 Samara, 2008",90000\nBMW 5 серии 520d V,900000\n'
    text += "Maruti Suzuki Alto 800,90000\n"
    found = read_listings(write(tmp_path, text), cars=["Lada 2114"])
    assert [row.car for row in found.rows] == ["Lada 2114", "BMW 5 серии", "Maruti Suzuki Alto"]
    known = ["Niva", "Maruti Suzuki Alto 800"]
    found = read_listings(tmp_path / "adverts.csv", cars=known).rows[2]
    assert (found.make, found.model) == ("Maruti Suzuki", "Alto 800")
    found = read_listings(write(tmp_path, "title,price\nНИВА 2010,9000\nniva,9000\n"), cars=known)
    assert [(row.make, row.model) for row in found.rows][1] == ("", "Niva")


def test_json_lines_keep_broken_lines(tmp_path):
    lines = [
        json.dumps(
            {"model": "Golf", "price": 500000.0, "year": 2010, "photos": ["a b.jpg", "c.jpg"]}
        ),
        "{broken",
        "[1]",
        json.dumps({"price": "450 тыс.", "model": "Golf", "Город": "Уфа"}),
    ]
    found = read_listings(write(tmp_path, "\n".join(lines), "adverts.jsonl"))
    assert found.form == "JSON lines"
    assert [row.price for row in found.rows] == [500_000, None, None, 450_000]
    assert found.rows[0].photos == ("a b.jpg", "c.jpg")
    assert found.rows[1].problems[0].startswith("no JSON")
    assert found.rows[2].problems[0] == "no JSON object"
    assert found.rows[3].facts["city"] == "Уфа"


def test_parquet_is_read_where_pyarrow_is(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "adverts.parquet"
    table = {
        "model": ["Golf", "Golf"],
        "price": [500_000, None],
        "photos": [["a.jpg", "b.jpg"], []],
    }
    parquet.write_table(pyarrow.table(table), path)
    found = read_listings(path)
    assert found.form == "Parquet"
    assert found.rows[0].photos == ("a.jpg", "b.jpg")
    assert found.rows[1].problems == ("no price",)
    (tmp_path / "no.parquet").write_bytes(b"no")
    with pytest.raises(InputError, match="no Parquet file"):
        read_listings(tmp_path / "no.parquet")


def test_a_row_that_is_too_long_is_kept_with_its_reason(tmp_path):
    found = read_listings(write(tmp_path, "model,price\nGolf,5000\nGolf,6000,7000\n"))
    assert found.rows[1].problems == ("more cells than the header has columns",)
    assert len(found.rows) == 2


@given(st.lists(st.from_regex(r"[\w \-]{1,12}\.jpg", fullmatch=True).map(str.strip), max_size=5))
def test_names_of_photos_come_back(names):
    assert split_photos(json.dumps(names)) == tuple(names)
    assert split_photos(";".join(names)) == tuple(names)
    assert split_photos(" | ".join(names)) == tuple(names)
    assert split_photos(", ".join(names)) == tuple(names)


CELLS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20).map(
    lambda text: " ".join(text.split())
)


@given(st.lists(st.tuples(CELLS, st.integers(2, 10**9), CELLS), min_size=1, max_size=20))
def test_tables_lose_no_row_and_no_word(rows):
    import tempfile

    written = io.StringIO()
    writer = csv.writer(written)
    writer.writerow(["id", "price", "city", "model"])
    for id_, price, city in rows:
        writer.writerow([id_, price, city, "x"])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "adverts.csv")
        path.write_text(written.getvalue(), "utf-8")
        found = read_listings(path)
    assert len(found.rows) == len(rows)
    for number, ((id_, price, city), row) in enumerate(zip(rows, found.rows, strict=True), 1):
        assert row.id == (id_ or str(number))
        assert row.price == price
        assert row.facts.get("city", "") == city


@given(
    st.lists(st.tuples(CELLS, st.integers(2, 10**9), CELLS, st.booleans()), min_size=1, max_size=9)
)
def test_json_lines_lose_no_row_and_no_word(rows):
    import tempfile

    lines = [
        json.dumps({"id": id_, "city": city, "model": "x", "price": price}, ensure_ascii=is_plain)
        for id_, price, city, is_plain in rows
    ]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "adverts.jsonl")
        path.write_text("\n".join(lines), "utf-8")
        found = read_listings(path)
    assert len(found.rows) == len(rows)
    for number, ((id_, price, city, _), row) in enumerate(zip(rows, found.rows, strict=True), 1):
        assert (row.id, row.price) == (id_ or str(number), price)
        assert row.facts.get("city", "") == city


@settings(max_examples=20)
@given(st.lists(st.tuples(CELLS, st.floats(2, 1e9), st.none() | CELLS), min_size=1, max_size=9))
def test_parquet_loses_no_row_and_no_word(rows):
    import tempfile

    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    ids, prices, cities = zip(*rows, strict=True)
    table = pyarrow.table({
        "id": list(ids), "price": list(prices), "model": ["x"] * len(rows),
        "city": pyarrow.array(cities, pyarrow.string()),
    })  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "adverts.parquet")
        parquet.write_table(table, path)
        found = read_listings(path)
    assert len(found.rows) == len(rows)
    for number, ((id_, price, city), row) in enumerate(zip(rows, found.rows, strict=True), 1):
        assert row.id == (id_ or str(number))
        assert row.price == pytest.approx(price, rel=1e-12)
        assert row.facts.get("city", "") == (city or "")


def test_reposts_are_one_car(tmp_path):
    text = "model,price,year,km,city\nGolf,500000,2010,123456,Уфа\nGolf,480000,2010,123400,Уфа\n"
    text += "golf,470000,2010,123400,Уфа\nGolf,470000,2010,,Уфа\nGolf,470000,2010,,Уфа\n"
    found = read_listings(write(tmp_path, text))
    assert group_reposts(found.rows) == [0, 1, 1, 3, 4]


def test_conditions():
    for text in ("Не битый", "не требует ремонта", "Undamaged", "хорошее"):
        assert judge_condition(text) is False
    for text in ("Битый", "Требует ремонта", "salvage"):
        assert judge_condition(text) is True
    assert judge_condition("") is None
    for text in ("no accidents", "без ДТП", "accident-free"):
        assert judge_condition(text) is False
    for text in ("salvage, runs good", "в хорошем состоянии, но битый", "не битый, но на запчасти"):
        assert judge_condition(text) is True
    for text in (
        *("Хорошее состояние, аварий не было", "Повреждений нет", "ДТП не было"),
        *("Excellent, never damaged", "good, no previous accidents", "0 accidents"),
    ):
        assert judge_condition(text) is False
    assert judge_condition("yes") is None


@pytest.mark.parametrize("head", ["damaged", "Damage", "Повреждения"])
def test_a_column_that_asks_for_damage_says_yes_or_no(tmp_path, head):
    cells = {"yes": True, "Да": True, "no": False, "нет": False, "": None, "salvage": True}
    rows = "".join(f"Golf,500000,2010,{cell}\n" for cell in cells)
    found = read_listings(write(tmp_path, f"model,price,year,{head}\n{rows}"))
    assert [row.is_damaged for row in found.rows] == list(cells.values())


def test_miles_in_the_head_are_read_as_miles(tmp_path):
    text = "model,price,year,miles\nGolf,5000,2010,50000\nGolf,5000,2010,50000 km\n"
    found = read_listings(write(tmp_path, text)).rows
    assert [round(row.mileage) for row in found] == [80467, 50000]


@pytest.mark.parametrize(
    ("url", "is_one"),
    [
        ("https://avito.ru/1", True),
        ("HTTP://пример.рф/а?b=1", True),
        ("javascript:alert(1)", False),
        ("data:text/html,x", False),
        ("//evil.example/x", False),
        ("https:evil", False),
        ("https://[bad", False),
        ("https://a.example/\x00", False),
        ("https://a.example/\u202egpj", False),
        ("", False),
    ],
)
def test_what_may_be_a_link(url, is_one):
    assert is_web_address(url) is is_one


def test_a_title_that_goes_on_is_another_model_unless_it_names_a_variant(tmp_path):
    titles = ["Toyota Land Cruiser Prado, 2012", "Toyota Land Cruiser 200", "toyota land cruiser",
              "Toyota Land Cruiser - срочно"]  # fmt: skip
    rows = "".join(f'"{title}",500000,2010\n' for title in titles)
    found = read_listings(
        write(tmp_path, f"title,price,year\n{rows}"), cars=["Toyota Land Cruiser"]
    )
    assert [row.car for row in found.rows] == [
        "Toyota Land Cruiser Prado", "Toyota Land Cruiser", "Toyota Land Cruiser",
        "Toyota Land Cruiser",
    ]  # fmt: skip


def test_no_name_of_a_column_has_two_roles_but_transmission():
    names = [name for known in COLUMNS.values() for name in known]
    assert {name for name in names if names.count(name) > 1} == {"transmission"}
    assert all(fold_name(name) == name for name in names)


# Tables as sites and scrapers write them, a few rows of each kind, invented. For each row: car,
# price, year, mileage, and what stands in its problems.
SCRAPED = """title,engine,gearbox,body,wheel,condition,creation_date,views_cnt,owners,pts,accident,\
transmission,color,mileage,year,price,dealer
BMW 5 серии 520d V (E60/E61) Рестайлинг,2.0 л / 163 л.с. / Дизель,автоматическая,седан,Левый,\
Не требует ремонта,5 ноября,143 (47 сегодня),2 владельца,Оригинал,0,задний,серый,216~100~км,2007,\
985~000~₽,0
BMW X5 50i II (E70),4.4 л / 407 л.с. / Бензин,автоматическая,внедорожник 5 дв.,Левый,\
Не требует ремонта,27 октября 2022,3901,3 или более,Дубликат,1,полный,чёрный,1~000~000~км,2012,\
1~499~000~₽,1
BMW 3 серии,1.6 л / 100~л.с. / Бензин,механическая,седан,Правый,Битый или не на ходу,1 мая,7,\
1 владелец,Оригинал,0,задний,белый,900~км,1998,45~000~₽,0
""".replace("\\\n", "").replace("~", "\u00a0")
INDIAN = """name,company,year,Price,kms_driven,fuel_type
Hyundai Santro Xing XO,Hyundai,2007,"80,000","45,000 kms",Petrol
Maruti Suzuki Alto 800 Vxi,Maruti,2018,Ask For Price,"22,000 kms",Petrol
"Mahindra Jeep CL550, MDI",Mahindra,2006,"4,25,000",40 kms,Diesel
Tara zest,Tara,150k,"1,10,000",Petrol,
9 Indigo,9,/-Rs,"12,34,567","1,25,000 kms",LPG
"I want to sell my car","I","...","50,000",,
"""
CLEAN = """Рейтинг,Цена,Год_выпуска,Пробег_км,Владельцев_по_ПТС,Объём_двигателя_л,\
Мощность_двигателя_лс,Поколение,Состояние,Коробка_передач,Привод,Бренд_авто,Модель_авто,Город
4.8,1000000,2009,203290,4,1.8,140,VIII рестайлинг,Не битый,Автомат,Передний,Honda,Civic,Томск
0.0,25000,1990,999999,4,1.5,74,I,Битый,Механика,Передний,LADA (ВАЗ),2108,Орёл
""".replace("\\\n", "")
MIXED = """id;brand;model;Цена;Год;Пробег;photos
1;Toyota;Camry;1 900 000 руб.;2012 г.;165 тыс. км;a.jpg;b.jpg
2;Honda;Accord;940 тыс.;07.2007;"336 000";"a.jpg, b.jpg"
3;Ford;Focus;"1,25 млн";2011;;
4;Ford;Focus;400-500 тыс.;11;много;
"""
FORMS = {
    "scraped": (SCRAPED, "RUB", [
        ("BMW 5 серии", 985_000, 2007, 216_100, ()),
        ("BMW X5", 1_499_000, 2012, None, ("mileage 1000000 km is not believed",)),
        ("BMW 3 серии", 45_000, 1998, None, ("mileage 900 km at 14 years is not believed",)),
    ]),
    "indian": (INDIAN, "", [
        ("Hyundai Santro", 80_000, 2007, 45_000, ()),
        ("Maruti Suzuki Alto", None, 2018, 22_000, ("no price: 'Ask For Price'",)),
        ("Mahindra Jeep", 425_000, 2006, None, ("mileage 40 km at 12 years is not believed",)),
        ("Tara zest", 110_000, None, None, ("no year: '150k'", "no mileage: 'Petrol'")),
        ("9 Indigo", 1_234_567, None, 125_000, ("no year: '/-Rs'",)),
        ("I want", 50_000, None, None, ("no year: '...'", "no mileage")),
    ]),
    "clean": (CLEAN, "", [
        ("Honda Civic", 1_000_000, 2009, 203_290, ()),
        ("LADA (ВАЗ) 2108", 25_000, 1990, None, ("mileage 999999 km is not believed",)),
    ]),
    "mixed": (MIXED, "RUB", [
        ("Toyota Camry", 1_900_000, 2012, 165_000, ("more cells than the header has columns",)),
        ("Honda Accord", 940_000, 2007, 336_000, ()),
        ("Ford Focus", 1_250_000, 2011, None, ("no mileage",)),
        ("Ford Focus", None, None, None, ("two numbers", "no year: '11'", "no mileage: 'много'")),
    ]),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1251"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_dirty_tables_are_read_row_by_row(tmp_path, name, encoding, end):
    text, currency, wanted = FORMS[name]
    if encoding == "cp1251":
        text = text.replace("₽", "руб.")  # the sign is younger than the encoding
    path = tmp_path / "adverts.csv"
    path.write_bytes(text.replace("\n", end).encode(encoding))
    found = read_listings(path)
    assert found.currency == currency
    told = [(row.car, row.price, row.year, row.mileage) for row in found.rows]
    assert told == [row[:4] for row in wanted]
    for row, (*_, problems) in zip(found.rows, wanted, strict=True):
        assert len(row.problems) == len(problems), row.problems
        for said, start in zip(row.problems, problems, strict=True):
            assert said.startswith(start)


def test_what_else_a_scraped_row_says(tmp_path):
    first, second, third = read_listings(write(tmp_path, SCRAPED)).rows
    assert (first.volume, first.power, first.owners) == (2.0, 163, 2)
    assert (second.owners, third.owners, third.power) == (3, 1, 100)
    assert [row.facts["drive"] for row in (first, second, third)] == ["задний", "полный", "задний"]
    assert [row.facts["gearbox"] for row in (first, third)] == ["автоматическая", "механическая"]
    assert [row.is_damaged for row in (first, second, third)] == [False, False, True]


# A row of empty cells alone is a blank line, which is no advert.
MARKS = st.text(st.characters(exclude_categories=["Cs"]), max_size=15).map("x{}".format)


@given(
    st.lists(
        st.tuples(
            MARKS,
            st.sampled_from(["985 000 ₽", "4,25,000", "Ask For Price", "", "$9", "1e400", "-5"]),
            st.sampled_from(["2007", "zest", "", "07.2015", "99999"]),
            st.sampled_from(["45,000 kms", "Petrol", "", "999999", "1"]),
        ),
        min_size=1,
        max_size=12,
    ),
    st.sampled_from([",", ";", "\t"]),
)
def test_whatever_stands_in_its_cells_every_row_comes_out(rows, separator):
    import tempfile

    written = io.StringIO()
    writer = csv.writer(written, delimiter=separator, quoting=csv.QUOTE_ALL)
    writer.writerow(["title", "price", "year", "kms_driven"])
    writer.writerows(rows)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "adverts.csv")
        path.write_bytes(written.getvalue().replace("\0", " ").encode("utf-8"))
        found = read_listings(path)
    assert len(found.rows) == len(rows)
    for cells, row in zip(rows, found.rows, strict=True):
        assert (row.price is None) <= any("price" in why or "number" in why or "large" in why
                                          for why in row.problems)  # fmt: skip
        assert (row.year is None) == any(why.startswith("no year") for why in row.problems)
        assert row.title == " ".join(cells[0].replace("\0", " ").split())
