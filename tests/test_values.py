"""What is read from files that anybody may have written is bounded and checked."""

import io
import json
import time
import zipfile
from itertools import pairwise

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lotlens.errors import shorten
from lotlens.values import (
    MOST_JSON_BYTES,
    MOST_YAML_BYTES,
    load_arrays,
    parse_json,
    parse_yaml,
    quote,
    read_hash,
    read_list,
    read_number,
    read_whole,
)

LAUGHS = (
    "a: &a [1,1,1,1,1,1,1,1,1,1]\n"
    + "".join(f"{b}: &{b} [{','.join([f'*{a}'] * 10)}]\n" for a, b in pairwise("abcdefg"))
    + "name: *g\n"
)
MERGES = "a: &a {k: 1}\n" + "".join(
    f"{b}: &{b} {{<<: [{','.join([f'*{a}'] * 10)}]}}\n" for a, b in pairwise("abcdefghi")
)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"\xff\xfe", "Expecting value"),
        (b'{"a": 1e400}', "no finite number"),
        (b'{"a": ' + b"1" * 5000 + b"}", "5,000 digits"),
        (b'{"a": 1, "b": 2, "a": 1}', "'a' is there twice"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": "\\ud800"}', "surrogates"),
        (b" " * (MOST_JSON_BYTES + 1), "16,000,000 at most"),
    ],
)
def test_json_is_read_strictly(text, told):
    with pytest.raises(ValueError, match=told):
        parse_json(text)


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(10**17), 10**17)
        | st.floats(-1e9, 1e9)
        | st.text(st.characters(exclude_categories=["Cs"])),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab"), inner),
        max_leaves=12,
    )
)
def test_json_comes_back_as_it_went(values):
    assert parse_json(json.dumps(values).encode()) == values
    assert parse_json(json.dumps(values, ensure_ascii=False).encode()) == values


def test_names_of_files_come_back_as_the_bytes_they_are():
    name = b"\xf0\xff.jpg".decode("utf-8", "surrogateescape")
    data = json.dumps({"data": name}, ensure_ascii=False).encode("utf-8", "surrogateescape")
    assert parse_json(data) == {"data": name}
    with pytest.raises(ValueError, match="utf-8"):  # half a letter, that no name of a file is
        parse_json(b'{"data": "\\ud800"}')


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (LAUGHS, "more than 5,000 values"),
        (MERGES, "more than 5,000 values"),
        ("a: &a {k: 1}\nb: {<<: [" + "*a," * 20_000 + "*a]}", "more than 5,000 values"),
        ("&a [*a]", "leads back"),
        ("&a {b: {c: *a}}", "leads back"),
        ("[" * 60 + "]" * 60, "nested deeper than 40"),
        ("[" * 50_000, "nested too deeply"),
        ("- " * 40_000, "nested too deeply"),
        ("x" * (MOST_YAML_BYTES + 1), "100,000 at most"),
        ("a: 1\na: 2", "'a' is there twice"),
        ("a: *" + "b" * 90_000, "undefined alias"),
        ("!!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("a: [", "line 1, column 5"),
        ("? [a]\n: b", "unhashable"),
    ],
)
def test_yaml_is_bounded_and_says_so_shortly(text, told):
    begin = time.perf_counter()
    with pytest.raises(ValueError, match=told) as caught:
        parse_yaml(text)
    assert len(str(caught.value)) < 1000
    assert time.perf_counter() - begin < 20


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[(word, word) for word in ("yes", "no", "on", "off", "Yes", "y", "n", "1:30", "1:30.5")],
        *[
            (word, word)
            for word in ("010", "0x10", "0b1", "1_000", "1e3", "3e-4", "2026-01-02", "=")
        ],
        *[("true", True), ("False", False), ("null", None), ("~", None), ("", None)],
        *[
            ("12", 12),
            ("-3", -3),
            ("0", 0),
            ("1.5", 1.5),
            ("2.", 2.0),
            (".5", 0.5),
            ("1.0e-05", 1e-5),
        ],
        ("1" * 5000, "1" * 5000),
        ("{a: &a {b: 1, c: 2}, d: {<<: *a, c: 3}}", {"a": {"b": 1, "c": 2}, "d": {"b": 1, "c": 3}}),
    ],
)
def test_yaml_takes_nothing_for_what_it_does_not_look_like(text, value):
    assert parse_yaml(text) == value


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(10**17), 10**17)
        | st.floats(-1e9, 1e9)
        | st.text(st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp"]), max_size=12)
        | st.sampled_from(
            ["yes", "1e5", "01", "1:30", "1_0", "null", "<<", "=", "2026-01-02", ".5"]
        ),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("ab"), inner),
        max_leaves=12,
    )
)
def test_yaml_reads_what_is_written(values):
    text = yaml.safe_dump(values, allow_unicode=True, sort_keys=False)
    assert parse_yaml(text) == values


def test_values_are_told_shortly():
    assert len(quote("x" * 10**6)) < 100
    assert quote([1] * 1000) == "list of 1,000"
    assert quote(10**5000) == "a whole number of more than 40 digits"
    assert shorten("\x1b[31mred") == "\\x1b[31mred"
    assert len(shorten("x" * 10**6)) == 500


@pytest.mark.parametrize(
    "value", [True, "1", None, float("nan"), float("inf"), 10**4000, [], 1e301]
)
def test_what_is_no_number_is_refused(value):
    with pytest.raises(ValueError, match="number"):
        read_number(value)


@pytest.mark.parametrize("value", [True, 1.0, "1", 0, 4, 10**4000])
def test_what_is_no_whole_number_within_its_bounds_is_refused(value):
    with pytest.raises(ValueError, match="from 1 to 3"):
        read_whole(value, 1, 3)


def test_lists_name_the_value_that_is_wrong():
    with pytest.raises(ValueError, match="number 1: must be a hash"):
        read_list(["ab", "xy"], read_hash, 0, 5)
    with pytest.raises(ValueError, match="list of 3, not of 1"):
        read_list([1], read_hash, 3, 3)


def write_arrays(compression=zipfile.ZIP_STORED, **members):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(f"{name}.npy", data)
    stream.seek(0)
    return stream


def write_header(descr="<f4", shape=(2, 2), data=b"\0" * 16):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        stream, {"descr": descr, "fortran_order": False, "shape": shape}
    )
    return stream.getvalue() + data


@pytest.mark.parametrize("compress", [np.savez, np.savez_compressed])
def test_arrays_come_back_as_they_went(compress):
    stream = io.BytesIO()
    arrays = {
        "one": np.arange(6, dtype=np.float16).reshape(2, 3),
        "two": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "three": np.array(["a", "Нива"]),
        "none": np.zeros((0, 3), np.float32),
        "single": np.array(2.5),
        "words": np.array([], np.str_),
    }
    compress(stream, **arrays)
    found = load_arrays(stream)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (write_header(shape=(10**12,)), "not as large"),
        (write_header(shape=(10**6, 10**6, 10**6)), "not as large"),
        (write_header(shape=(-2, -2)), "not as large"),
        (write_header("<U0", (10**12,), b""), "neither numbers nor text"),
        (write_header("|O"), "neither numbers nor text"),
        (write_header("|V4"), "neither numbers nor text"),
        (write_header("<M8[s]", (2,)), "neither numbers nor text"),
        (b"\x93NUMPY\x01\x00\x10\x27" + b"(" * 10_000, "header"),
        (b"\x93NUMPY\x09\x00", "unknown version"),
        (b"", "EOF|magic|expected"),
    ],
)
def test_arrays_that_lie_are_refused_before_memory_is_taken(data, told):
    with pytest.raises(ValueError, match=told):
        load_arrays(write_arrays(one=data))


def test_bombs_of_arrays_are_refused():
    data = write_header(shape=(50_000_000,), data=bytes(200_000_000))
    with pytest.raises(ValueError, match="200 times its size"):
        load_arrays(write_arrays(zipfile.ZIP_DEFLATED, one=data))
