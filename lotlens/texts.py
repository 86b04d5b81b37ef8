"""Text made fit for where it goes: a screen, a cell of a table, JSON; it knows no file.

Names of photos, classes, columns and members of zips are strangers' text. On a screen their control
signs would be obeyed, and in a spreadsheet a name that begins with "=" would be reckoned.
"""

from __future__ import annotations

import json
import re
from typing import Any

# C0 and C1 controls but for tab and line feed, separators of lines, overrides of the direction of
# writing, and halves of characters, which stand for bytes of names that are no UTF-8.
_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_LONGEST_REPR = 200
_HALVES = re.compile(r"(\\*)(?:(ud[89a-f][0-9a-f]{2})|([\ud800-\udfff]))")
_ESCAPED_HALVES = re.compile(r"(\\+)(ud[89a-f][0-9a-f]{2})")
_RECKONED = re.compile(r"'*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?|[+-]inf", re.ASCII)


def show(text: str, *, in_one_line: bool = False) -> str:
    r"""Text for a screen: what a terminal would obey or hide becomes an escape such as \x1b.

    Args:
        text: any.
        in_one_line: line feeds too become \n, so that a name cannot pass for a line of ours.
    """
    text = text.replace("\n", "\\n") if in_one_line else text
    return _UNSEEN.sub(lambda found: _escape(found[0]), text)


def fit(text: str, most: int = 200) -> str:
    """A stranger's text for a page: in one line, cut, and with nothing that turns or hides it."""
    cut = text if len(text) <= most else f"{text[: most - 1]}…"
    return show(cut, in_one_line=True)


def describe(what: str, more: str = "") -> str:
    """A record as its `repr`: one line of bounded length, whatever strangers' text is in it."""
    text = show(f"{what}: {more}" if more else what, in_one_line=True)
    return text if len(text) <= _LONGEST_REPR else f"{text[: _LONGEST_REPR - 1]}…"


def protect_cell(text: str) -> str:
    r"""A cell of a table that a spreadsheet shows as text, and that any program can decode.

    What it would take for a formula has an apostrophe before it, and so has what begins with an
    apostrophe and would look the same then; numbers stay as they are. Halves of characters become
    escapes such as \udcff.
    """
    if "ud" in text or not text.isascii():
        text = _HALVES.sub(_escape_half, text)
    if _RECKONED.match(text) and not _NUMBER.fullmatch(text):
        return f"'{text}"
    return text


def restore_cell(cell: str) -> str:
    """The inverse of `protect_cell`."""
    if cell.startswith("'") and _RECKONED.match(cell):
        cell = cell[1:]
    return _ESCAPED_HALVES.sub(_restore_half, cell) if "\\ud" in cell else cell


def dump_json(values: Any, *, encoding: str = "utf-8") -> str:
    """JSON over several lines that a screen can show and any program can read.

    What `show` would escape is escaped as JSON does it, and so it comes back as it was.

    Args:
        values: plain ones.
        encoding: in which it will be written; where it lacks a letter, all is ASCII.
    """
    text = json.dumps(values, ensure_ascii=False, indent=2)
    text = _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return json.dumps(values, indent=2)
    return text


def _escape(sign: str) -> str:
    return f"\\x{ord(sign):02x}" if ord(sign) < 256 else f"\\u{ord(sign):04x}"


def _escape_half(found: re.Match[str]) -> str:
    """Backslashes are doubled, so that an escape of ours, alone, stands behind an odd number."""
    slashes, written, half = found.groups()
    return 2 * slashes + (written or _escape(half))


def _restore_half(found: re.Match[str]) -> str:
    slashes, written = found.groups()
    half = chr(int(written[1:], 16)) if len(slashes) % 2 else written
    return slashes[: len(slashes) // 2] + half
