"""Plain values from JSON, YAML and arrays that anybody may have written: bounded, and checked.

It does not know what the values are for. All of it raises ValueError, which the callers make an
error for people of; nothing that is read here is ever executed, and none of it can take more memory
or time than its limits allow.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from math import inf, isfinite, prod
from typing import IO, TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from lotlens.errors import shorten

if TYPE_CHECKING:
    import yaml

MOST_JSON_BYTES = 16_000_000
"""The largest JSON file of a run; that of a model of a thousand classes has a hundredth of this."""

MOST_YAML_BYTES = 100_000
"""The largest recipe; the built-in ones have a hundredth of this. YAML takes long to read."""

MOST_NODES = 5_000
"""Values in a recipe, what aliases and merge keys repeat counted each time."""

MOST_DEPTH = 40
"""Lists and mappings within one another in a recipe."""

MOST_ARRAYS_RATIO = 200
"""Arrays that unpack to more times their file's size are a bomb."""

MIN_BOMB_BYTES = 100_000_000
"""Below this nothing is called a bomb."""

_LONGEST_WHOLE = 18
"""Digits of a whole number: no count and no seed has more, and all such fit 64 bits."""
_LONGEST_SHOWN = 80
_PIECE = 1 << 18
"""Bytes of an array that are read at once: one that is copied whole takes twice as long."""

T = TypeVar("T")


# --- text ----------------------------------------------------------------------------------------


def parse_json(data: bytes) -> Any:
    """What JSON text says, strictly: UTF-8, finite numbers, no key twice.

    Names of files in it may be no UTF-8 (see `os.fsdecode`).

    Raises:
        ValueError: it is no such text, is longer than `MOST_JSON_BYTES`, or is nested too deeply.
    """
    if len(data) > MOST_JSON_BYTES:
        raise ValueError(f"it has {len(data):,} bytes, and {MOST_JSON_BYTES:,} at most are read")
    text = data.decode("utf-8", "surrogateescape")
    try:
        values = json.loads(
            text,
            object_pairs_hook=_build_mapping,
            parse_int=_parse_whole,
            parse_float=_parse_float,
        )
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if re.search(r"\\u[dD][89a-fA-F]", text):
        # Halves of letters, which no file and no page could be written with.
        json.dumps(values, ensure_ascii=False).encode("utf-8", "surrogateescape")
    return values


def _build_mapping(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {quote(twice)} is there twice")
    return mapping


def _parse_whole(text: str) -> int:
    if len(text.lstrip("-")) > _LONGEST_WHOLE:
        raise ValueError(f"a number has {len(text):,} digits")
    return int(text)


def _parse_float(text: str) -> float:
    number = float(text)
    if not isfinite(number):
        raise ValueError(f"{quote(text)} is no finite number")
    return number


def parse_yaml(text: str) -> Any:
    """What YAML text says, of which true and false, null and plain numbers are no text.

    YAML 1.1 takes far more for something else: yes, no, on and off for true and false, 1:30 for 90,
    010 for 8 and 0x10 for 16. What is written so here stays the text that it looks like.

    Raises:
        ValueError: it is no YAML, longer than `MOST_YAML_BYTES`, has more than `MOST_NODES` values
            or is nested deeper than `MOST_DEPTH`.
    """
    import yaml  # slow to import, and answering does without

    if len(text) > MOST_YAML_BYTES:
        raise ValueError(
            f"it has {len(text):,} characters, and {MOST_YAML_BYTES:,} at most are read"
        )
    try:
        loader = _build_yaml_loader()(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _check_nodes(node)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "cannot be read"
        raise ValueError(f"not valid YAML{where}: {shorten(problem)}") from error
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _check_nodes(root: yaml.Node) -> None:
    """Count what a document unpacks to, without unpacking it.

    Raises:
        ValueError: it is too much, or an alias leads back to what it is in.
    """
    import yaml

    sizes: dict[int, int] = {}
    inside: set[int] = set()

    def count(node: yaml.Node, depth: int) -> int:
        known = sizes.get(id(node))
        if known is not None:
            return known
        if id(node) in inside:
            raise ValueError("an alias leads back to what it is in")
        if depth > MOST_DEPTH:
            raise ValueError(f"it is nested deeper than {MOST_DEPTH} levels")
        inside.add(id(node))
        total = 1
        if isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key, value in node.value:
                name = key.value if isinstance(key, yaml.ScalarNode) else None
                if name in seen and name != "<<":
                    raise ValueError(f"the key {quote(name)} is there twice")
                if name is not None:
                    seen.add(name)
                total += count(key, depth + 1) + count(value, depth + 1)
        elif isinstance(node, yaml.SequenceNode):
            total += sum(count(one, depth + 1) for one in node.value)
        if total > MOST_NODES:
            raise ValueError(f"it holds more than {MOST_NODES:,} values")
        inside.discard(id(node))
        sizes[id(node)] = total
        return total

    count(root, 0)


@cache
def _build_yaml_loader() -> type[yaml.SafeLoader]:
    import yaml

    class Loader(yaml.SafeLoader):
        """Reads what pyyaml's SafeDumper writes, and takes less for something else than text."""

        yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    for tag, pattern, first in (
        ("bool", r"true|True|TRUE|false|False|FALSE", "tTfF"),
        ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
        ("int", rf"[-+]?(?:0|[1-9][0-9]{{0,{_LONGEST_WHOLE - 1}}})", "-+0123456789"),
        (
            "float",
            r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][-+][0-9]+)?"
            r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
            "-+0123456789.",
        ),
        ("merge", r"<<", "<"),
    ):
        Loader.add_implicit_resolver(
            f"tag:yaml.org,2002:{tag}", re.compile(rf"(?:{pattern})\Z"), list(first)
        )
    return Loader


def quote(value: object) -> str:
    """A value for a message, however large it is."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**40:
        return "a whole number of more than 40 digits"  # more than 4,300 cannot even be written
    if isinstance(value, (Mapping, list, tuple)):
        return f"{type(value).__name__} of {len(value):,}"
    if isinstance(value, str):
        value = value[: _LONGEST_SHOWN + 1]
    text = repr(value)
    return text if len(text) <= _LONGEST_SHOWN else f"{text[: _LONGEST_SHOWN - 1]}…"


# --- values --------------------------------------------------------------------------------------


def read_number(value: Any, least: float = -inf, most: float = inf) -> float:
    """A finite number from `least` to `most`."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"must be a number, not {quote(value)}")
    # Compared as it is: a whole number may be larger than any float.
    if not -1e300 < value < 1e300 or not least <= value <= most:
        bounds = f" from {least:g} to {most:g}" if isfinite(least) or isfinite(most) else ""
        raise ValueError(f"must be a finite number{bounds}, not {quote(value)}")
    return float(value)


def read_whole(value: Any, least: int, most: int) -> int:
    """A whole number from `least` to `most`."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise ValueError(f"must be a whole number from {least} to {most}, not {quote(value)}")
    return value


def read_count(value: Any) -> int:
    """A whole number that is not negative."""
    return read_whole(value, 0, 10**_LONGEST_WHOLE)


def read_flag(value: Any) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ValueError(f"must be true or false, not {quote(value)}")
    return value


def read_text(value: Any) -> str:
    """Text without NUL, which no path and no table could hold."""
    if not isinstance(value, str) or "\0" in value:
        raise ValueError(f"must be text, not {quote(value)}")
    return value


def read_name(value: Any) -> str:
    """Text that is not empty."""
    if not read_text(value):
        raise ValueError("must not be empty")
    return str(value)


def read_hash(value: Any) -> str:
    """The hexadecimal figures of a hash; may be empty."""
    if not isinstance(value, str) or not re.fullmatch(r"[0-9a-f]{0,64}", value):
        raise ValueError(f"must be a hash in hexadecimal figures, not {quote(value)}")
    return value


def read_word(value: Any, words: Iterable[T]) -> T:
    """One of these words."""
    known = {str(word): word for word in words}
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"must be one of {', '.join(known)}, not {quote(value)}")
    return known[value]


def read_mapping(value: Any) -> dict[str, Any]:
    """A mapping whose keys are text."""
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ValueError(f"must be a mapping, not {quote(value)}")
    return dict(value)


def read_list(value: Any, read: Callable[[Any], T], least: int, most: int) -> tuple[T, ...]:
    """A list of so many values, each read by `read`."""
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"must be a list, not {quote(value)}")
    if not least <= len(value) <= most:
        wanted = f"{least}" if least == most else f"{least:,} to {most:,}"
        raise ValueError(f"must be a list of {wanted}, not of {len(value):,}")
    return tuple(read_named(f"number {n}", read, one) for n, one in enumerate(value))


def read_named(name: str, read: Callable[[Any], T], value: Any) -> T:
    """A value, with its name before what is wrong with it."""
    try:
        return read(value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def read_fields(value: Any, readers: Mapping[str, Callable[[Any], Any]]) -> dict[str, Any]:
    """Of a mapping the keys that there are readers for, read by them; others are ignored."""
    values = read_mapping(value)
    return {
        key: read_named(key, read, values[key]) for key, read in readers.items() if key in values
    }


def require_fields(values: Mapping[str, Any], names: Iterable[str]) -> None:
    """Make sure that a mapping has these keys."""
    missing = [name for name in names if name not in values]
    if missing:
        raise ValueError(f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing")


# --- arrays --------------------------------------------------------------------------------------


def load_arrays(file: IO[bytes]) -> dict[str, NDArray[Any]]:
    """The arrays of an .npz file, of numbers and text alone; nothing in it is ever executed.

    What the file says of sizes is checked before memory is taken for them.

    Raises:
        ValueError: it is no such file, is damaged, or unpacks to more than `MOST_ARRAYS_RATIO`
            times its size.
        OSError, EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError, RuntimeError: it is
            damaged.
    """
    length = file.seek(0, 2)
    file.seek(0)
    arrays: dict[str, NDArray[Any]] = {}
    with zipfile.ZipFile(file) as archive:
        infos = archive.infolist()
        if sum(info.file_size for info in infos) > max(MIN_BOMB_BYTES, MOST_ARRAYS_RATIO * length):
            raise ValueError(f"it unpacks to more than {MOST_ARRAYS_RATIO} times its size")
        for info in infos:
            name = info.filename.removesuffix(".npy")
            if name in arrays:
                raise ValueError(f"the array {quote(name)} is there twice")
            with archive.open(info) as member:
                arrays[name] = _read_array(member, info.file_size, name)
    return arrays


def _read_array(member: IO[bytes], size: int, name: str) -> NDArray[Any]:
    versions = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    read_header = versions.get(np.lib.format.read_magic(member))
    if read_header is None:
        raise ValueError(f"the array {quote(name)} is of an unknown version")
    try:
        shape, is_fortran, dtype = read_header(member)
    except Exception as error:  # a dozen kinds: numpy parses it as Python, with Python's own tools
        raise ValueError(f"the header of the array {quote(name)} is damaged") from error
    if dtype.kind not in "biufU" or not dtype.itemsize:
        raise ValueError(f"the array {quote(name)} holds neither numbers nor text")
    if min(shape, default=0) < 0 or member.tell() + prod(shape) * dtype.itemsize != size:
        raise ValueError(f"the array {quote(name)} is not as large as it says")
    array = np.empty(shape, dtype, order="F" if is_fortran else "C")
    room = array.reshape(-1, order="A").view(np.uint8)
    at = 0
    while at < len(room):
        piece = member.read(min(_PIECE, len(room) - at))
        if not piece:
            raise ValueError(f"the array {quote(name)} is cut off")
        room[at : at + len(piece)] = np.frombuffer(piece, np.uint8)
        at += len(piece)
    member.read()  # the end, where the sum of all bytes is checked
    return array
