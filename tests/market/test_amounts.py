import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lotlens.market.amounts import (
    KM_PER_MILE,
    Price,
    doubt_mileage,
    find_currency,
    names_miles,
    parse_measure,
    parse_mileage,
    parse_price,
    parse_year,
)

BLANKS = (" ", "\u00a0", "\u202f", "\u2009", "")
SIGNS = {
    "": "", " ₽": "RUB", "₽": "RUB", " руб.": "RUB", " р.": "RUB", "\u00a0руб": "RUB",
    " RUB": "RUB",
    " $": "USD", " €": "EUR", " USD": "USD", " ₸": "KZT", " тенге": "KZT", " грн.": "UAH",
}  # fmt: skip


def group_indian(amount):
    """4,25,000: the last three digits, then pairs."""
    digits = str(amount)
    head, tail = digits[:-3], digits[-3:]
    pairs = re.findall(r"\d{1,2}", head[::-1])
    return ",".join([pair[::-1] for pair in pairs[::-1]] + [tail])


@st.composite
def written_prices(draw):
    """A price and one of the ways in which people write it."""
    amount = draw(st.integers(1_000, 99_999_999))
    sign = draw(st.sampled_from(sorted(SIGNS)))
    way = draw(st.sampled_from(["blanks", "commas", "dots", "indian", "thousands", "millions"]))
    if way == "blanks":
        text = f"{amount:,}".replace(",", draw(st.sampled_from(BLANKS)))
    elif way == "commas":
        text = f"{amount:,}" + draw(st.sampled_from(["", ".00"]))
    elif way == "dots":
        text = f"{amount:,}".replace(",", ".") + draw(st.sampled_from(["", ",00"]))
    elif way == "indian":
        text = group_indian(amount)
    elif way == "thousands":
        amount = amount // 1000 * 1000
        text = f"{amount // 1000}" + draw(
            st.sampled_from([" тыс.", " тыс", "тыс.", " т.", "k", "К"])
        )
    else:
        amount = amount // 10_000 * 10_000 + 10_000
        dot = draw(st.sampled_from([".", ","]))
        text = f"{amount / 1e6:.2f}".replace(".", dot) + draw(
            st.sampled_from([" млн", " млн.", "m"])
        )
    prefix = draw(st.sampled_from(["", " ", "цена: "]))
    return prefix + text + sign, amount, SIGNS[sign]


@given(written_prices())
def test_what_was_written_comes_back(written):
    text, amount, currency = written
    price = parse_price(text)
    assert price.amount == pytest.approx(amount, rel=1e-12)
    assert price.currency == currency


@pytest.mark.parametrize(
    ("text", "amount", "currency"),
    [
        ("1 250 000 ₽", 1_250_000, "RUB"),
        ("450 тыс.", 450_000, ""),
        ("450 т.р.", 450_000, "RUB"),
        ("4,25,000", 425_000, ""),
        ("985\u00a0000\u00a0₽", 985_000, "RUB"),
        ("$12,500", 12_500, "USD"),
        ("US$ 12,500.50", 12_500.5, "USD"),
        ("12.500,-", 12_500, ""),
        ("1 млн 250 тыс. руб", 1_250_000, "RUB"),
        ("4.25 lakh", 425_000, ""),
        ("985000.0", 985_000, ""),
        ("1.25e+06", 1_250_000, ""),
        ("١٢", 12, ""),
        ("１２ ５００ ₽", 12_500, "RUB"),
    ],
)
def test_prices_seen_in_adverts(text, amount, currency):
    assert parse_price(text) == Price(amount, currency)


@pytest.mark.parametrize(
    "text",
    [
        "", "   ", "Ask For Price", "договорная", "0", "1", "1 ₽", "-500", "400-500 тыс.",
        "1,250 тыс.", "12,34,56", "1.2.3", "25 000 ₽/мес", "от 985 000", "$100 €",
        "8 999 123-45-67",
        "1e9999", "9" * 150,
    ],
)  # fmt: skip
def test_what_is_no_price_says_so_in_a_line(text):
    with pytest.raises(ValueError, match=r"price|number|large") as caught:
        parse_price(text)
    assert len(str(caught.value)) < 100
    assert "\n" not in str(caught.value)


@given(st.text(max_size=300))
def test_any_text_is_a_price_or_a_reason(text):
    for parse in (parse_price, parse_mileage, lambda one: parse_year(one, 2026)):
        try:
            said = str(parse(text))
        except ValueError as error:
            said = str(error)
        assert 0 < len(said) < 400


@given(
    st.integers(0, 989_999),
    st.sampled_from(BLANKS[:4]),
    st.sampled_from(["", " км", " kms", " km"]),
)
def test_mileages_come_back(km, blank, unit):
    assert parse_mileage(f"{km:,}".replace(",", blank) + unit) == km
    if km % 1000 == 0 and km:
        assert parse_mileage(f"{km // 1000} тыс.{unit}") == km
    assert parse_mileage(f"{km} miles") == pytest.approx(km * KM_PER_MILE)


@given(st.integers(1, 400_000), st.sampled_from(["", " ", " km", " км", " miles", " mi"]))
def test_what_the_head_says_holds_where_the_cell_says_nothing(number, unit):
    found = parse_mileage(f"{number}{unit}", in_miles=True)
    factor = 1 if unit.strip() in ("km", "км") else KM_PER_MILE
    assert found == pytest.approx(number * factor)


def test_heads_that_name_miles():
    for head in ("miles", "Mileage (miles)", "odometer, mi"):
        assert names_miles(head)
    for head in ("mileage", "km", "пробег, км", "Smiles"):
        assert not names_miles(head)


@pytest.mark.parametrize("text", ["", "Petrol", "45,000 litres", "10-20 тыс. км"])
def test_what_is_no_mileage(text):
    with pytest.raises(ValueError, match=r"mileage|number"):
        parse_mileage(text)


@pytest.mark.parametrize(
    ("km", "age", "is_doubted"),
    [
        (1, 12, True), (999_999, None, True), (999_000, 20, True), (123_456, None, True),
        (111_111, None, True), (99_999, 8, True), (40, 10, True), (9, 0, False), (150, 1, False),
        (165_000, 12, False), (700_000, 20, False), (0, 15, True), (0, None, False),
    ],
)  # fmt: skip
def test_which_mileages_nobody_believes(km, age, is_doubted):
    assert bool(doubt_mileage(km, age)) == is_doubted


@given(
    st.integers(1900, 2027), st.sampled_from(["{}", "{}.0", "{} г.", "07.{}", "{}-03-01", "{} год"])
)
def test_years_come_back(year, form):
    assert parse_year(form.format(year), 2027) == year


@pytest.mark.parametrize("text", ["", "zest", "2 cab", "1899", "2028", "20155", "/-Rs", "15"])
def test_what_is_no_year(text):
    with pytest.raises(ValueError, match="no year"):
        parse_year(text, 2027)


@given(st.integers(10, 2500), st.sampled_from(["{}", "{} л.с.", "{}\u00a0hp", "{},0", "около {}"]))
def test_measures_come_back(number, form):
    assert parse_measure(form.format(number), 10, 2500) == number
    with pytest.raises(ValueError, match="no number"):
        parse_measure(form.format(number), number + 1, 5000)


@given(
    st.integers(2, 10**7), st.sampled_from(sorted(SIGNS)), st.sampled_from(["", "Цена, ", "от "])
)
def test_the_currency_of_a_cell_or_a_head_comes_back(amount, sign, before):
    assert find_currency(f"{before}{amount}{sign}") == SIGNS[sign]
    assert find_currency(f"{before}{sign}") == SIGNS[sign]


def test_measures_and_currencies():
    assert parse_measure("2,0 л", 0.3, 10) == 2.0
    assert parse_measure("3 или более", 0, 50) == 3
    with pytest.raises(ValueError, match="no number"):
        parse_measure("много", 0, 50)
    assert find_currency("Цена, руб.") == "RUB"
    assert find_currency("price_usd") == "USD"
    assert find_currency("руб / $") == ""
