"""Text for screens, cells and JSON: nothing in it is obeyed, and what is read back is the same."""

import json
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lotlens.texts import dump_json, protect_cell, restore_cell, show

tricky = st.text(st.sampled_from("'=+-@\t\r\n\\udcf0.1e \udcff\ud800") | st.characters())


@given(text=st.text())
def test_nothing_that_a_screen_obeys_is_left(text):
    shown = show(text)
    assert not [
        sign
        for sign in shown
        if unicodedata.category(sign) in ("Cc", "Cs", "Zl", "Zp") and sign not in "\n\t"
    ]
    assert not set(shown) & set("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
    assert "\n" not in show(text, in_one_line=True)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Лада Нива 🚗\t1\n2", "Лада Нива 🚗\t1\n2"),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("\x9b2J\x7f\r", "\\x9b2J\\x7f\\x0d"),
        ("gpj.\u202eexe", "gpj.\\u202eexe"),
        ("\udcff\ud800", "\\udcff\\ud800"),
    ],
)
def test_what_is_shown(text, shown):
    assert show(text) == shown


@given(text=tricky)
def test_any_cell_comes_back(text):
    cell = protect_cell(text)
    assert restore_cell(cell) == text
    cell.encode()


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+7 912 000", "'+7 912 000"),
        ("-x", "'-x"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("'=1", "''=1"),
        ("＝1", "'＝1"),
        ("-", "'-"),
        ("-1.5", "-1.5"),
        ("+3e-4", "+3e-4"),
        ("'a", "'a"),
        ("a=1", "a=1"),
        ("", ""),
        ("C:\\udcab", "C:\\\\udcab"),
        ("\udcab", "\\udcab"),
        ("\\\udcab", "\\\\\\udcab"),
    ],
)
def test_cells(text, cell):
    assert protect_cell(text) == cell
    assert restore_cell(cell) == text


@given(
    text=st.text(
        st.characters(exclude_categories=["Cs"]) | st.sampled_from("\x1b\x9b\u202e\udcff\udc80")
    ),
    encoding=st.sampled_from(["utf-8", "ascii", "cp1251"]),
)
def test_json_comes_back_and_holds_nothing_that_a_screen_obeys(text, encoding):
    dumped = dump_json({text: [text]}, encoding=encoding)
    assert show(dumped) == dumped
    assert json.loads(dumped.encode(encoding).decode(encoding)) == {text: [text]}
