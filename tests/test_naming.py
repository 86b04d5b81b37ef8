"""Names of cars as people write them: which are one, and which class they mean."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lotlens.naming import find_class, fold_name, is_variant, may_be_class
from lotlens.records import CarClass

CLASSES = tuple(
    CarClass(str(label), name)
    for label, name in enumerate(
        ["Lada 2114", "Lada 2109", "Niva", "Toyota Land Cruiser", "VW Golf", "VW Golf+"]
    )
)


@given(st.text(max_size=30))
def test_folding_is_stable_and_blind_to_how_letters_are_composed(text):
    folded = fold_name(text)
    assert fold_name(folded) == folded
    assert fold_name(unicodedata.normalize("NFD", text)) == folded
    assert fold_name(f"  {text} ") == folded


def test_signs_do_not_count_and_marks_of_letters_do():
    assert fold_name("  Лада_КАЛИНА-2 (1117)") == "лада калина 2 1117"
    assert fold_name("Ёлка") == fold_name("елка")
    assert fold_name("Cee'd") == fold_name("cee_d")
    assert fold_name("कि") != fold_name("की")  # a vowel's sign is no punctuation
    assert fold_name(" - ") == ""


@pytest.mark.parametrize(
    ("names", "label"),
    [
        (["Lada 2114"], "0"),
        (["LADA  2114 Samara, 2008"], "0"),
        (["лада 2114"], None),
        (["Lada 21140"], None),
        (["Lada Niva", "Niva"], "2"),
        (["Jeep Grand Niva"], None),
        (["Toyota Land Cruiser 200"], "3"),
        (["Toyota Land Cruiser IV restyling 4.5 AT"], "3"),
        (["Toyota Land Cruiser Prado"], None),
        (["Toyota Land Cruiser Prado 150"], None),
        (["Toyota Land Cruiser 150 Prado"], None),
        (["Lada 2109 VI хэтчбек"], "1"),
        (["VW Golf Plus"], None),
        (["VW Golf+"], None),  # two classes are called so, signs apart
        (["VW Golf Sportsvan"], None),
        (["", "Camry"], None),
        ([], None),
        (["0"], None),
    ],
)
def test_which_class_a_name_means(names, label):
    found = find_class(names, CLASSES)
    assert (found and found.label) == label


def test_the_longest_name_counts_and_a_tie_is_none():
    cars = (CarClass("a", "Land Cruiser"), CarClass("b", "Land Cruiser 200"))
    assert find_class(["Land Cruiser 200 VX"], cars) is None  # VX is not known to be a trim
    assert find_class(["Land Cruiser 200 2019"], cars) == cars[1]
    assert find_class(["Land Cruiser 100"], cars) == cars[0]
    twins = (CarClass("a", "Niva"), CarClass("b", "NIVA"))
    assert find_class(["niva"], twins) is None


def test_a_label_means_its_class_where_that_is_asked_for():
    cars = (CarClass("0", "1"), CarClass("1", "Niva"))
    assert find_class(["1"], cars, by_label=True) is None  # the one's name, the other's label
    assert find_class(["0"], cars, by_label=True) == cars[0]
    assert find_class(["niva"], cars, by_label=True) == cars[1]
    assert find_class(["0"], cars) is None


def test_what_is_surely_another_car_shares_no_word_with_a_class():
    assert may_be_class(["Toyota Land Cruiser Prado"], CLASSES)
    assert may_be_class(["LADA (ВАЗ) 2114"], CLASSES)
    assert may_be_class(["VW Golf Plus"], CLASSES)
    assert not may_be_class(["Toyota Camry", "Camry"], CLASSES)
    assert not may_be_class(["VW Passat"], CLASSES)
    dated = (CarClass("0", "Jeep Wrangler SUV 2012"),)
    assert may_be_class(["Wrangler"], dated)
    assert not may_be_class(["Kia Rio, 2012", "Kia Sportage SUV"], dated)


@pytest.mark.parametrize(
    ("learnt", "other"),
    [
        ("Mercedes-Benz E-Class", "Mercedes-Benz GLK"),
        ("Land Rover Discovery", "Land Rover Freelander"),
        ("Alfa Romeo 156", "Alfa Romeo Giulia"),
        ("Audi A4", "Audi Q7"),
    ],
)
def test_a_make_of_two_words_is_no_word_of_a_models_own(learnt, other):
    assert not may_be_class([other], (CarClass("0", learnt),))
    assert may_be_class([f"{learnt} 2012"], (CarClass("0", learnt),))


def test_variants():
    assert is_variant(["2008"])
    assert is_variant([])
    assert is_variant(["vii", "седан"])
    assert not is_variant(["sport"])  # a Discovery Sport is no Discovery
