"""tables: CSV as people write it, by a rule and not by a guess."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lotlens.errors import InputError
from lotlens.files import write_rows_atomically
from lotlens.photos.labels import tidy_label
from lotlens.photos.tables import (
    ID_COLUMNS,
    LABEL_COLUMNS,
    list_some,
    read_own_table,
    read_sample,
    read_table,
    require_columns,
)


def refuse(data: bytes) -> str:
    with pytest.raises(InputError) as caught:
        read_table(data, "train.csv")
    return str(caught.value)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1251"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_encodings_separators_and_line_ends(separator: str, encoding: str, ending: str) -> None:
    lines = [["Id", "Category", "Цвет"], ["фото 1.jpg", "Жигули", "синий"]]
    data = ending.join(separator.join(line) for line in lines).encode(encoding)
    table = read_table(data)
    assert table.columns == ("Id", "Category", "Цвет")
    assert table.rows == (("фото 1.jpg", "Жигули", "синий"),)


@pytest.mark.parametrize(
    ("header", "columns"),
    [
        ('"Id","Category"', ("Id", "Category")),
        ("Id;Category;a,b,c,d", ("Id", "Category", "a,b,c,d")),
        ('Id,"x;y;z;w",Category', ("Id", "x;y;z;w", "Category")),
        (" id ,\tLABEL", ("id", "LABEL")),
        ("Id", ("Id",)),
        ("a;b;c", ("a", "b", "c")),
    ],
)
def test_separator_is_told_by_the_header(header: str, columns: tuple[str, ...]) -> None:
    row = "x" * 3
    assert read_table(f"{header}\n{row}\n".encode()).columns == columns


@given(
    st.lists(
        st.tuples(
            st.text(st.characters(codec="utf-8", exclude_characters="\0")).map("id {}".format),
            st.text(st.characters(codec="utf-8", exclude_characters="\0")),
        ),
        min_size=1,
        max_size=8,
    ),
    st.sampled_from(",;\t"),
)
@settings(max_examples=100, deadline=None)
def test_what_a_writer_wrote_is_read(rows: list[tuple[str, str]], separator: str) -> None:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, delimiter=separator, quoting=csv.QUOTE_ALL)
    writer.writerows([("Id", "Category"), *rows])
    assert read_table(stream.getvalue().encode()).rows == tuple(rows)


def test_blank_lines_and_missing_cells() -> None:
    table = read_table(b"\n  \nId,Category,Note\n\n1.jpg,0\n , ,\n2.jpg,1,x,,\n")
    assert table.rows == (("1.jpg", "0", ""), ("2.jpg", "1", "x"))


def test_quoted_cells_hold_separators_and_line_breaks() -> None:
    table = read_table(b'Id,Category\n"a,b\nc.jpg","say ""0"""\n')
    assert table.rows == (("a,b\nc.jpg", 'say "0"'),)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "train.csv is empty"),
        (b"\xef\xbb\xbf \n\n", "train.csv is empty"),
        (b"Id,Category\n", "no rows"),
        (b"Id,Category\n\n,\n", "no rows"),
        (b"Id,Category\n1.jpg,0\0\n", "NUL"),
        ("Id,Category\n1.jpg,0\n".encode("utf-16"), "UTF-16"),
        (b"Id,Category\n\x98\xff.jpg,0\n", "neither UTF-8 nor cp1251"),
        (b"Id,Category\n1.jpg,0\n2.jpg,0,1\n", "line 3: 3 cells, but the header has 2"),
        (b'Id,Category\n"1.jpg,0\n2.jpg,0\n', "line 3"),
        (b"Id,Category\n" + b"x" * 200_000 + b",0\n", "line 2"),
    ],
)
def test_what_cannot_be_read_is_named(data: bytes, words: str) -> None:
    assert words in refuse(data)


@pytest.mark.parametrize(
    "data",
    [b"x" * 200_000 + b"\n1\n", b'"' + b"x" * 200_000, b"id,label\n1," + b"x" * 200_000],
)
def test_cells_of_any_length_are_told_in_a_line(data: bytes) -> None:
    with pytest.raises(InputError, match="a cell of more than 131,072 letters") as caught:
        read_table(data, "t.csv")
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("data", [b"x" * 131_072 + b"\n1\n", b",".join([b"xx"] * 60_000) + b"\n"])
def test_a_long_header_makes_no_long_message(data: bytes) -> None:
    with pytest.raises(InputError) as caught:
        require_columns(read_table(data, "t.csv"), id=("id",))
    assert len(str(caught.value)) < 400


def test_what_lotlens_wrote_is_read_as_it_was(tmp_path: Path) -> None:
    rows = [("=1+1", "-1.5"), ("'=1", "\udcff"), ("a", "\\udcff"), ("+7 912", "@x")]
    write_rows_atomically(tmp_path / "a.csv", ("=Id", "Label"), rows)
    table = read_own_table(tmp_path / "a.csv")
    assert table.columns == ("=Id", "Label")
    assert table.rows == tuple(rows)
    assert read_table(tmp_path / "a.csv").rows[0] == ("'=1+1", "-1.5")


def test_paths_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.csv cannot be read: No such file"):
        read_table(tmp_path / "none.csv")
    (tmp_path / "empty.csv").touch()
    with pytest.raises(InputError, match=r"empty\.csv is empty"):
        read_table(tmp_path / "empty.csv")


def test_find_column_prefers_the_first_name_in_any_case() -> None:
    table = read_table(b"PATH,ID,Class\nx,y,z\n")
    assert table.find_column(ID_COLUMNS) == 1
    assert table.find_column(LABEL_COLUMNS) == 2
    assert table.find_column(("nothing",)) is None


def test_unknown_columns_are_reported_at_once() -> None:
    table = read_table(b"name,price\nx,1\n", "cars.csv")
    with pytest.raises(InputError) as caught:
        require_columns(table, id=ID_COLUMNS, label=LABEL_COLUMNS)
    words = str(caught.value)
    assert "cars.csv: no column for the id (one of id, file," in words
    assert "and no column for the label (one of category, label," in words
    assert words.endswith("it has: name, price")


def test_sample_keeps_its_order_and_column_names() -> None:
    sample = read_sample(read_table(b"ID;x;category\nb.jpg;;0\na.jpg;y;1\n"))
    assert sample.ids == ("b.jpg", "a.jpg")
    assert sample.columns == ("ID", "x", "category")
    assert sample.fill(["3", "4"]) == [("b.jpg", "", "3"), ("a.jpg", "y", "4")]
    with pytest.raises(InputError, match=r"s\.csv, row 3: Id is empty"):
        read_sample(read_table(b"Id,Category\na.jpg,0\n,0\n", "s.csv"))
    with pytest.raises(InputError, match=r"more than once: a\.jpg"):
        read_sample(read_table(b"Id,Category\na.jpg,0\na.jpg,0\n"))


@pytest.mark.parametrize(
    ("text", "label"),
    [
        (" 4", "4"),
        ("4.0", "4"),
        ("4.00 ", "4"),
        ("-1.0", "-1"),
        ("04", "04"),
        ("4.5", "4.5"),
        ("Lada 1.0", "Lada 1.0"),
        ("Нивй", "Нивй"),
    ],
)
def test_tidy_label(text: str, label: str) -> None:
    assert tidy_label(text) == label


def test_list_some() -> None:
    assert list_some(["a", "b"]) == "a, b"
    assert list_some(["a\nb"]) == r"'a\nb'"
    assert list_some([str(number) for number in range(2000)], 2) == "0, 1 and 1,998 more"


def test_a_million_rows() -> None:
    data = b"Id,Category\n" + b"".join(b"%d.jpg,%d\n" % (n, n % 10) for n in range(1_000_000))
    table = read_table(data, "train.csv")
    assert len(table.rows) == 1_000_000
    assert table.rows[-1] == ("999999.jpg", "9")
