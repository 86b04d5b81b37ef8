"""What is written to the screen, and how: text, tables, JSON; it knows no command.

All of it passes one filter (`texts.show`), since names of photos, classes and members of zips are
strangers' text: a terminal obeys none of it. rich's own colours alone go past it.
"""

from __future__ import annotations

import io
import math
import os
import shlex
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lotlens.texts import dump_json, show


class SafeStream:
    """A text stream that writes nothing a terminal would obey, and never fails for a letter.

    Args:
        stream: where it writes to. What it cannot encode becomes an escape, if it can be told so.

    Attributes:
        rich_proxied_file: the stream itself, to which rich writes under this name.
    """

    encoding = "utf-8"  # it takes any text; so click does not look for a stream behind it

    def __init__(self, stream: Any) -> None:
        self.rich_proxied_file = stream
        with suppress(AttributeError, ValueError, OSError):
            stream.reconfigure(errors="backslashreplace")

    def write(self, text: str) -> int:
        self.rich_proxied_file.write(show(text))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rich_proxied_file, name)


class _Innermost:
    """The stream behind all that proxy one of `sys` at the time; nothing's where there is none."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        stream = getattr(sys, self._name)
        while hasattr(stream, "rich_proxied_file"):
            stream = stream.rich_proxied_file
        return getattr(io.StringIO() if stream is None else stream, name)


@contextmanager
def safe_streams() -> Iterator[None]:
    """Whatever is printed inside, by whomever, passes the filter; warnings and tracebacks too."""
    before = sys.stdout, sys.stderr
    # A program without a terminal may have neither.
    sys.stdout, sys.stderr = (None if one is None else SafeStream(one) for one in before)
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before


class Screen:
    """A console of rich, made when it is first needed: its import takes longer than an answer."""

    def __init__(self, *, stderr: bool) -> None:
        self._stderr = stderr

    @cached_property
    def console(self) -> Any:
        from rich.console import Console

        # rich writes its colours and bars past the filter, even while it proxies a stream itself.
        file: Any = _Innermost("stderr" if self._stderr else "stdout")
        # Tables that nobody's screen limits are read by programs, or later on a wider one.
        width = None if self._stderr or file.isatty() else 160
        return Console(file=file, highlight=False, width=width)

    def print(self, *what: Any, **options: Any) -> None:
        """With rich's markup, and wrapped at the screen's width; in the command's language."""
        self.console.print(*(_translate_any(one) for one in what), **options)

    def say(self, text: str) -> None:
        """As it is, in the command's language."""
        self.write(translate(text))

    def write(self, text: str) -> None:
        """As it is, whatever the language: what programs read, and what is translated already."""
        print(show(text), file=sys.stderr if self._stderr else sys.stdout, flush=self._stderr)


@dataclass
class Voice:
    """How much a command says; each command that begins sets it anew.

    Attributes:
        is_quiet: the result alone.
        is_verbose: the numbers behind it too.
        lang: the language that was asked for, a code; None if none was, which is English.
    """

    is_quiet: bool = False
    is_verbose: bool = False
    lang: str | None = None


VOICE = Voice()
LABEL_WIDTH = 14
"""Columns of what stands at the beginning of a line, such as "report"."""
_NO_SHARES = {"log loss", "Brier score", "macro F1"}
"""Metrics that are no share of the photos."""
OUT, ERR = Screen(stderr=False), Screen(stderr=True)


class Heard:
    """Told of records before work begins, it prints them for people, or keeps them for JSON.

    Args:
        quiet: print nothing.

    Attributes:
        records: all that it was told.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet or VOICE.is_quiet
        self.records: list[Any] = []

    def __call__(self, record: Any) -> None:
        """Hear of one."""
        self.records.append(record)
        if not self._quiet:
            OUT.say(str(record))  # a console would have to be imported first

    def to_dict(self) -> dict[str, Any]:
        """Each record's plain values under the name of its kind, ready for JSON."""
        told = {type(record).__name__.lower(): record.to_dict() for record in self.records}
        told.pop("begun", None)  # results name their run themselves
        return told


def build_table(*heads: str) -> Any:
    """A plain table with these heads."""
    from rich.table import Table

    class SafeTable(Table):
        def add_row(self, *cells: Any, **options: Any) -> None:
            super().add_row(*(_show(cell, in_one_line=True) for cell in cells), **options)

    names = (show(translate_word(head), in_one_line=True) for head in heads)
    return SafeTable(*names, box=None, pad_edge=False)


def escape(text: object, *, in_one_line: bool = True) -> str:
    """What rich would take for markup, as it is; a line feed in it makes no line of its own.

    Args:
        text: a name, a path, a sentence.
        in_one_line: False for text of several lines, such as a recipe.
    """
    from rich import markup

    return markup.escape(show(str(text), in_one_line=in_one_line))


def quote(path: object) -> str:
    """A path as a shell takes it, for a command that people copy."""
    return shlex.quote(str(path))


def translate(text: str) -> str:
    """Text in the command's language, line by line; what is not known there stays English.

    A line that begins with a label ("report        runs/a/report.html") is taken apart; of what
    follows sentences alone are translated, since a path may be any word.
    """
    if VOICE.lang in (None, "en"):
        return text
    from lotlens.report.language import load_language  # its file takes a while to read

    language = load_language(VOICE.lang)

    def translate_line(line: str) -> str:
        label, rest = line[:LABEL_WIDTH].rstrip(), line[LABEL_WIDTH:]
        if line[LABEL_WIDTH - 1 : LABEL_WIDTH] == " " and rest[:1].strip():
            own = translate_word(label)
            if not label or own != label:
                told = translate_line(rest) if " " in rest else rest
                return f"{own:<{LABEL_WIDTH}}{told}"
        return language.reword(line) or line

    return "\n".join(map(translate_line, text.split("\n")))


def translate_word(word: str) -> str:
    """What begins a line or heads a column, in the command's language; else as it is."""
    if VOICE.lang in (None, "en") or not word:
        return word
    from lotlens.report.language import load_language

    language = load_language(VOICE.lang)
    kind, _, number = word.rpartition(" ")
    if kind and number.isdecimal():  # "stage 2"
        return f"{translate_word(kind)} {number}"
    own = language.wholes.get(f"{word}:")
    return language.translate(word) if own is None else own.removesuffix(":")


def spell(number: str) -> str:
    """A number as the command's language writes it: "0.88", "0,88"."""
    if VOICE.lang in (None, "en"):
        return number
    from lotlens.report.language import load_language

    return number.replace(".", load_language(VOICE.lang).decimal)


def _translate_any(one: Any) -> Any:
    return show(translate(one)) if isinstance(one, str) else one


def _show(one: Any, *, in_one_line: bool = False) -> Any:
    return show(one, in_one_line=in_one_line) if isinstance(one, str) else one


def replace_nan(value: Any) -> Any:
    """JSON has no NaN."""
    return None if isinstance(value, float) and math.isnan(value) else value


def print_json(values: Any) -> None:
    """Write values as JSON."""
    encoding = getattr(_Innermost("stdout"), "encoding", None) or "utf-8"
    # A console would wrap long lines and break them.
    OUT.write(dump_json(values, encoding=encoding))


def format_share(share: float, digits: int = 1) -> str:
    """A share in 0..1 as per cent."""
    return f"{100 * share:.{digits}f} %"


def format_metrics(metrics: Sequence[Any]) -> list[str]:
    """Metrics with their intervals, a line each, below each other: "81.5 %  (74.0–87.3)".

    Of how many photos stands once above them, and again where it is another number.
    """
    if not metrics:
        return []
    common = metrics[0].count
    names = [translate_word(metric.name) for metric in metrics]
    width = max(map(len, names)) + 2
    dash = "\u2013" if _can_print("\u2013") else " to "
    head = f"{common:,} {'photo' if common == 1 else 'photos'}; in brackets 95 % intervals"
    lines = [translate(head)]
    for name, metric in zip(names, metrics, strict=True):
        if metric.name in _NO_SHARES:
            value = f"{metric.value:.3f}  "
            interval = f"{metric.low:.3f}{dash}{metric.high:.3f}"
        else:
            value = format_share(metric.value)
            interval = f"{100 * metric.low:.1f}{dash}{100 * metric.high:.1f}"
        count = "" if metric.count == common else ", " + translate(f"{metric.count:,} photos")
        lines.append(f"  {name:<{width}}{spell(value):>7}  ({spell(interval)}{count})")
    return lines


def format_views(model: Any) -> str:
    """The views of a model and what they cost, in a line."""
    count = model.num_answers
    times = "once" if count == 1 else f"{count} times"
    return f"test views    {', '.join(model.card.views)}: each photo is answered {times}"


def print_next(command: str, *, label: str = "next", note: str = "") -> None:
    """A command to go on with, in a line that can be copied; nothing where results alone count."""
    if not VOICE.is_quiet:
        why = f"   ({translate(note)})" if note else ""
        told = show(translate(command), in_one_line=True)
        OUT.write(f"{translate_word(label):<{LABEL_WIDTH}}{told}{why}")


def print_predict(model: Any) -> None:
    """What to do with a model that is new: answer for its test photos, if its data had any."""
    command = f"lotlens predict {quote(model.run.path)}"
    if model.has_test_photos:
        print_next(command, label="submit")
    else:
        print_next(f"{command} PHOTOS", label="answer")


def open_page(path: object) -> None:
    """Show a page in the browser, where there is a screen; else say that there is none."""
    if has_screen():
        import webbrowser

        webbrowser.open(Path(str(path)).resolve().as_uri())
    else:
        ERR.say(f"no browser can open here; the page is {show(str(path), in_one_line=True)}")


def has_screen() -> bool:
    """Whether a browser can open; without a screen one of text would take over this terminal."""
    is_x = os.name == "posix" and sys.platform != "darwin"
    return not is_x or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _can_print(sign: str) -> bool:
    """Whether the screen has this letter."""
    encoding = getattr(_Innermost("stdout"), "encoding", None) or "utf-8"
    try:
        sign.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True
