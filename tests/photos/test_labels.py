"""labels: what is none, what is folded, and what a person must be asked about."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lotlens.photos.labels import (
    PLAIN_RULES,
    LabelRules,
    count_spellings,
    find_alike,
    find_no_labels,
    tidy_label,
)


@pytest.mark.parametrize(
    ("text", "label"),
    [
        (" 4 ", "4"),
        ("4.0", "4"),
        ("-1.00", "-1"),
        ("4.5", "4.5"),
        ("Lada  Niva", "Lada Niva"),
        ("Lada\u00a0Niva\u2009", "Lada Niva"),
        ("Ла\u200bда", "Лада"),
        (unicodedata.normalize("NFD", "Ёлка й"), "Ёлка й"),
        ("\ufeffNiva", "Niva"),
    ],
)
def test_blanks_and_composition_are_folded(text: str, label: str) -> None:
    assert tidy_label(text) == label


@given(st.text())
def test_a_tidy_label_stays_as_it_is(text: str) -> None:
    label = tidy_label(text)
    assert tidy_label(label) == label


@pytest.mark.parametrize(
    "word",
    ["", "nan", "NaN", "None", "null", "NA", "N/A", "#N/A", "-", "?", "unknown", "Неизвестно"],
)
def test_words_for_no_label_are_none(word: str) -> None:
    assert find_no_labels({word, "Niva", "Kalina"}) == {word}
    assert find_no_labels({word, "1", "2"}) == {word}


@pytest.mark.parametrize("word", ["Nano", "Nanette", "0", "Unknown Pleasures", "--x", "N"])
def test_other_words_are_labels(word: str) -> None:
    assert not find_no_labels({word, "Niva", "Kalina"})


@pytest.mark.parametrize(
    ("others", "is_none"),
    [
        (["Niva", "Kalina"], True),
        (["0", "1", "2", "3"], True),
        (["1"], False),
        (["0", "1"], False),
        (["-2", "1", "2"], False),
    ],
)
def test_minus_one_is_none_beside_names_and_counted_classes(
    others: list[str], is_none: bool
) -> None:
    assert find_no_labels({"-1", "nan", *others}) == ({"-1", "nan"} if is_none else {"nan"})


def test_a_class_of_such_a_name_can_be_asked_for() -> None:
    rules = LabelRules.of({"fold": None, "keep": ["Unknown", "-1"]})
    assert find_no_labels({"unknown", "nan", "-1", "Niva"}, rules) == {"nan"}
    for odd in (None, "x", {"fold": "yes", "keep": None}, {}):
        assert LabelRules.of(odd) == PLAIN_RULES


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Niva", "niva"),
        ("НИВА", "нива"),
        ("01", "1"),
        ("Vesta 007", "Vesta 7"),
        ("ВАЗ", "BAЗ"),  # the second one begins with two Latin letters
        ("Priora", "Рriora"),  # the second one begins with a Cyrillic letter
        ("Ford Focus", "Ford_Focus"),
        ("ВАЗ-2110", "ВАЗ 2110"),
        ("ВАЗ-2110", "ВАЗ–2110"),
        ("Ёлка", "Елка"),
    ],
)
def test_one_name_spelt_twice_is_asked_about(one: str, other: str) -> None:
    assert find_alike({one: 3, other: 5}) == [[other, one]]
    assert find_alike({one: 5, other: 5}) == [sorted([one, other])]
    assert find_alike({one: 3, other: 5}, known=[one]) == [[one, other]]
    assert find_alike({one: 3, other: 5}, known=[one, other]) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        *(("2109", "21099"), ("1", "10"), ("100", "1"), ("-1", "1"), ("1.05", "1.5")),
        *(("Golf", "Gol"), ("Focus 2", "Focus 3"), ("Focus", "Focus 2"), ("VAZ 21 09", "VAZ 2109")),
    ],
)
def test_two_names_are_two(one: str, other: str) -> None:
    assert find_alike({one: 3, other: 5}) == []


@given(st.text(alphabet="абвАБВ xyzXYZ01-_", min_size=1, max_size=6))
def test_a_spelling_is_alike_to_its_own_variants(text: str) -> None:
    label = tidy_label(text)
    variants = {tidy_label(one) for one in (text, text.lower(), text.upper())}
    if label and len(variants) > 1:
        assert find_alike(dict.fromkeys(variants, 1)) == [sorted(variants)]


def test_ways_of_writing_one_label_are_counted() -> None:
    texts = ["Lada Niva", "Lada  Niva", "Lada\u00a0Niva", "Kalina", "Kalina", "4", "4.0"]
    assert count_spellings(texts) == {"Lada Niva": 3}
