"""Answers to photos become one HTML file to look through: what to check by hand comes first.

The file stands alone: photos lie in it as small JPEGs, and the one script that may run there is its
own, known by its hash. The answers stand in it as JSON, which the script shows some at a time:
a browser has to lay out a few dozen of ten thousand. Ids and class names are strangers' text; in
the JSON nothing can end the element that it stands in, and the script sets all of it as text.
"""

from __future__ import annotations

import base64
import json
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from lotlens.answering.answers import BOX
from lotlens.files import write_text_atomically
from lotlens.records import OK, Box, Catalog, Watcher
from lotlens.report.language import ENGLISH, Language, mark
from lotlens.report.pictures import read_thumbnails
from lotlens.report.templates import format_chance, render_page
from lotlens.texts import fit, show

MOST_ROWS = 20_000
"""Answers that a page shows; of more the first to check."""
MOST_PICTURE_BYTES = 18_000_000
"""Of all JPEGs of a page; as text they take a third more."""
_SIZES = (
    (320, 240, 80, 15_000),
    (208, 156, 75, 6_000),
    (128, 96, 70, 3_000),
    (96, 72, 60, 1_800),
)
"""Width, height and quality of thumbnails, and the bytes that one takes about."""
_LEAST_RUNNER = 0.005
_SURE = 0.5
"""An answer of less is to be checked, whatever its verdict."""

KINDS_IN_WORDS = {
    "unsure": mark("not sure"),
    "unknown": mark("a car not learnt"),
    "poor photo": mark("poor photo"),
    "no answer": mark("no answer"),
    "not a car": mark("not a car"),
    "model": mark("named"),
}
"""Verdict -> in words; those that ask for an eye come first, in this order."""
_WORDS = (
    (0.95, mark("almost certain")),
    (0.8, mark("likely")),
    (0.5, mark("perhaps")),
    (0.0, mark("a guess")),
)


@dataclass(frozen=True)
class ShownAnswers:
    """What a page shows of all answers.

    Attributes:
        num_rows: answers.
        num_pictures: photos that are shown with a picture.
    """

    num_rows: int
    num_pictures: int


def write_answers_page(
    path: Path,
    name: str,
    rows: Iterable[Mapping[str, Any]],
    catalog: Catalog,
    *,
    synthetic: bool = False,
    language: Language = ENGLISH,
    watch: Watcher | None = None,
) -> ShownAnswers:
    """Write answers as one HTML file, whole or not at all.

    The more photos, the smaller their pictures (see `_SIZES`); they are drawn in the order of the
    page, those to check first, until a budget is spent.

    Args:
        path: the file to write.
        name: of the model, for the title.
        rows: one per photo, with `ANSWER_COLUMNS`.
        catalog: where the photos lie.
        synthetic: whether the model was trained on drawn photos; the page then says so at its top.
        language: what it is written in.
        watch: told of the work as it goes on.

    Raises:
        OutputError: the file cannot be written.
    """
    answers = sorted(map(dict, rows), key=_rank)
    shown = answers[:MOST_ROWS]
    pictures = _draw(shown, catalog, watch)
    counts = Counter(row["verdict"] for row in answers)
    names = sorted({row["name"] for row in shown if _is_named(row)})
    data = {
        "rows": [
            _describe(row, picture, language) for row, picture in zip(shown, pictures, strict=True)
        ],
        "names": [fit(one) for one in names],
    }
    num_pictures = sum(picture is not None for picture in pictures)
    page = render_page(
        "answers.html.jinja",
        "answers.js",
        language=language,
        title=show(language.say("Answers of %(run)s", run=name), in_one_line=True),
        synthetic=synthetic,
        num_answers=len(answers),
        num_rows=len(shown),
        num_pictures=num_pictures,
        num_readable=sum(row["status"] == OK for row in shown),
        has_boxes=any(row.get(BOX) for row in shown),
        num_to_check=sum(map(_is_doubtful, answers)),
        kinds=[(kind, language.say(told), counts[kind]) for kind, told in KINDS_IN_WORDS.items()],
        data=Markup(_dump(data)),  # noqa: S704 - no sign in it means anything in HTML
    )
    write_text_atomically(path, page)
    return ShownAnswers(len(shown), num_pictures)


def _rank(row: Mapping[str, Any]) -> tuple[bool, int, float]:
    """What to check by hand first, the kinds in their order, then the least sure first."""
    kinds = list(KINDS_IN_WORDS)
    verdict = row["verdict"]
    place = kinds.index(verdict) if verdict in kinds else 0
    return not _is_doubtful(row), place, _read_chance(row)


def _is_doubtful(row: Mapping[str, Any]) -> bool:
    return row["verdict"] != "model" or _read_chance(row) < _SURE


def _is_named(row: Mapping[str, Any]) -> bool:
    """Whether the verdict names a car; the network's guess is none for others."""
    return row["verdict"] in ("model", "unsure") and bool(row["name"])


def _read_chance(row: Mapping[str, Any]) -> float:
    value = row["probability"]
    return float(value) if isinstance(value, float) and math.isfinite(value) else 0.0


def _describe(row: Mapping[str, Any], picture: bytes | None, language: Language) -> list[Any]:
    """A row for the script: id, head, kind, word, chance in words and as a number, runner-up,
    what is said of it, whether to check it, and its picture.

    Of an answer that is not sure its own sentence says how likely the two are: no other words must
    say it beside that, in another way.
    """
    kind, chance = row["verdict"], _read_chance(row)
    is_named = _is_named(row)
    head = row["name"] if is_named else language.say(KINDS_IN_WORDS.get(kind, kind))
    word = next(told for least, told in _WORDS if chance >= least)
    runner, reason = "", ""
    if kind != "model":
        reason = language.reword(row["reason"]) or row["reason"]
    elif row["second_name"] and row["second_probability"] >= _LEAST_RUNNER:
        second = format_chance(row["second_probability"], language)
        runner = f"{row['second_name']} ({second})"
    return [
        fit(row["id"]),
        fit(head),
        kind,
        language.say(word) if kind == "model" else "",
        format_chance(chance, language) if is_named else "",
        round(chance, 4) if is_named else 0,
        fit(runner),
        fit(reason),
        int(_is_doubtful(row)),
        "" if picture is None else base64.b64encode(picture).decode(),
    ]


def _dump(values: Any) -> str:
    """JSON in which no sign means anything in HTML."""
    text = json.dumps(values, ensure_ascii=False, separators=(",", ":"))
    for sign in "<>&":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _draw(
    rows: Sequence[Mapping[str, Any]], catalog: Catalog, watch: Watcher | None
) -> list[bytes | None]:
    """A small JPEG of each photo that can be read, while the budget lasts."""
    photos = {photo.id: photo.locator for photo in catalog.photos}
    asked = [photos.get(row["id"]) if row["status"] == OK else None for row in rows]
    num_asked = sum(locator is not None for locator in asked)
    size = next((one for one in _SIZES if num_asked * one[3] <= MOST_PICTURE_BYTES), _SIZES[-1])
    return read_thumbnails(
        asked,
        size[:2],
        size[2],
        most_bytes=MOST_PICTURE_BYTES,
        boxes=map(_read_box, rows),
        watch=watch,
    )


def _read_box(row: Mapping[str, Any]) -> Box | None:
    """Where the car was found, as the table of answers has it; too small a box is none there."""
    told = row.get(BOX)
    if not told:
        return None
    with suppress(ValueError):
        return Box(*map(float, told.split()))
    return None
