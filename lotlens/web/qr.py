"""An address as a QR code of letters, for a phone's camera to read off a terminal."""

from __future__ import annotations

from collections.abc import Iterator

import segno

# Upper and lower module of one letter: whether they are dark.
_LETTERS = {(0, 0): " ", (1, 0): "▀", (0, 1): "▄", (1, 1): "█"}


def draw_code(text: str, *, is_inverted: bool = False) -> Iterator[str]:
    """The lines of a QR code, its quiet margin included, two rows of it to a line.

    Args:
        text: what it says.
        is_inverted: whether letters are light on a dark ground: they stand for what is light then.
    """
    code = segno.make(text, error="l", micro=False, boost_error=False)
    rows = [[int(module) ^ is_inverted for module in row] for row in code.matrix_iter(border=4)]
    if len(rows) % 2:
        rows.append([int(is_inverted)] * len(rows[0]))
    for upper, lower in zip(rows[::2], rows[1::2], strict=True):
        yield "".join(_LETTERS[pair] for pair in zip(upper, lower, strict=True))
