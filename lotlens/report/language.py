"""The languages of reports and pages: sentences, and how numbers are written; it knows no page.

English sentences are the keys. Each further language is a YAML file beside this module: English
sentence -> its translation, or a list of forms for sentences that count something. A test holds
the files to what the templates and modules of this room say, and to those of `lotlens.web`.

What other rooms say in English, of findings, files and verdicts, comes with its values filled in,
some of it out of files of before. A second YAML file has the templates of such sentences: one that
fits is taken apart and put together again in the other language (see `Language.reword`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import cache
from importlib import resources
from typing import Any

import yaml
from jinja2 import Environment

from lotlens.errors import InputError

THIN, NO_BREAK = "\u202f", "\u00a0"

Texts = Mapping[str, str | Sequence[str]]
Rewordings = Sequence[tuple[re.Pattern[str], str]]

_MOST_REWORDED = 700
"""Letters of a sentence that is taken apart: a longer one holds an endless name."""
_DEEPEST = 4
_MONTHS = "Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec"


def mark(text: str) -> str:
    """The text itself; marks a sentence that is kept in a table and put into words later."""
    return text


def _bind(text: str) -> str:
    """A sentence whose lines never break before a per cent sign."""
    return text.replace(" %%", f"{THIN}%%")


def _english_form(num: int) -> int:
    return int(num != 1)


def _russian_form(num: int) -> int:
    """Which of the forms of 1, 2 and 5 (Unicode CLDR: one, few, many)."""
    tens, ones = num // 10 % 10, num % 10
    if ones == 1 and tens != 1:
        return 0
    return 1 if 2 <= ones <= 4 and tens != 1 else 2


_FORMS: Mapping[str, Callable[[int], int]] = {"en": _english_form, "ru": _russian_form}


@dataclass(frozen=True, eq=False)
class Language:
    """How a report or a page speaks; there is one object for each language (see `load_language`).

    Attributes:
        code: of ISO 639-1, for the page's lang attribute.
        decimal: the mark between whole and fraction.
        group: what stands between thousands.
        quotes: before and after a name.
        texts: English sentence -> translation or forms; empty for English.
        months: as they stand in a date.
        rewordings: of what other rooms say in English, see `reword`; those with values.
        wholes: and those without.
    """

    code: str
    decimal: str
    group: str
    quotes: tuple[str, str]
    texts: Texts = field(default_factory=dict, repr=False)
    months: Sequence[str] = ()
    rewordings: Rewordings = field(default=(), repr=False)
    wholes: Mapping[str, str] = field(default_factory=dict, repr=False)

    def say(self, text: str, **values: Any) -> str:
        """A sentence in this language, with `values` put in at %(name)s; "%%" stands for "%"."""
        return self.translate(text) % values

    def translate(self, text: str) -> str:
        """A sentence in this language as it stands in the table; English where it is missing."""
        found = self.texts.get(text, text)
        return _bind(found if isinstance(found, str) else found[0])

    def translate_many(self, one: str, many: str, num: int) -> str:
        """The form of a sentence that fits `num`: `one` and `many` are the English forms."""
        forms = self.texts.get(one, (one, many))
        return _bind(forms if isinstance(forms, str) else forms[_FORMS[self.code](num)])

    def reword(self, sentence: str, depth: int = 0) -> str | None:
        """A whole English sentence with its values in this language; None if it is not known.

        Values stay as they are, but that those whose name begins with "n_" are written as numbers
        are here, those with "say_" are sentences themselves, and those with "word_" words of pages.
        """
        if self.code == ENGLISH.code:
            return sentence
        if len(sentence) > _MOST_REWORDED or depth > _DEEPEST:
            return None
        if sentence in self.wholes:
            return _bind(self.wholes[sentence]) % {}
        for pattern, own in self.rewordings:
            found = pattern.fullmatch(sentence)
            if found is None:
                continue
            values = {}
            for name, value in found.groupdict().items():
                if name.startswith("n_"):
                    values[name] = self._rewrite_number(value)
                elif name.startswith("say_"):
                    values[name] = self.reword(value, depth + 1) or value
                elif name.startswith("word_"):
                    if value not in self.texts:  # another sentence, which only looks like this one
                        break
                    values[name] = self.translate(value)
                else:
                    values[name] = value
            else:
                return _bind(own) % values
        return None

    def _rewrite_number(self, text: str) -> str:
        if "," in text:
            return self.whole(int(text.replace(",", "")))
        return text.replace(".", self.decimal)

    def day(self, day: date) -> str:
        """A day: "28 Nov 2026"."""
        return f"{day.day} {self.months[day.month - 1]} {day.year}".replace(" ", NO_BREAK)

    def duration(self, seconds: float) -> str:
        """A time in the two units that matter: "45 s", "12 min", "2 h 5 min"."""
        if seconds < 59.5:
            return self.say("%(num)s s", num=max(1, round(seconds)))
        minutes = round(seconds / 60)
        if minutes < 60:
            return self.say("%(num)s min", num=minutes)
        hours, minutes = divmod(minutes, 60)
        return self.say("%(hours)s h %(minutes)s min", hours=self.whole(hours), minutes=minutes)

    def whole(self, num: int) -> str:
        """A count, thousands apart (from 10,000 on in languages that do so with a space)."""
        if self.group != "," and abs(num) < 10_000:
            return str(num)
        return f"{num:,}".replace(",", self.group)

    def number(self, value: float, digits: int = 2) -> str:
        """A number with so many digits after the decimal mark."""
        return f"{value:.{digits}f}".replace(".", self.decimal)

    def tick(self, value: float) -> str:
        """A number as short as it can be, for the axes of pictures."""
        return f"{value:.6g}".replace(".", self.decimal).replace("-", "\u2212")

    def percent(self, share: float, digits: int = 0) -> str:
        """A share in 0..1 as per cent."""
        return f"{self.number(100 * share, digits)}{THIN}%"

    def interval(self, low: float, high: float, digits: int = 0) -> str:
        """The two ends of an interval of shares in 0..1 as per cent: "71–94 %"."""
        return f"{self.number(100 * low, digits)}–{self.percent(high, digits)}"

    def quote(self, name: str) -> str:
        """A name in quotation marks."""
        return name.join(self.quotes)


ENGLISH = Language("en", ".", ",", ("\u201c", "\u201d"), months=_MONTHS.split())
LANGUAGES = ("en", "ru")
"""Codes of the languages that reports and pages can be written in."""


@cache
def load_language(code: str) -> Language:
    """The language of this code.

    Raises:
        InputError: it is none of `LANGUAGES`.
    """
    if code not in LANGUAGES:
        raise InputError(
            f"lotlens does not write in language {code!r}: use one of {', '.join(LANGUAGES)}"
        )
    if code == ENGLISH.code:
        return ENGLISH
    values, sentences = (_read(f"{code}{part}.yaml") for part in ("", "-sentences"))
    return Language(
        code,
        values["decimal"],
        values["group"],
        tuple(values["quotes"]),
        values["texts"],
        values["months"].split(),
        [(_compile(english), own) for english, own in sentences.items() if "%(" in english],
        {
            english.replace("%%", "%"): own
            for english, own in sentences.items()
            if "%(" not in english
        },
    )


def _read(name: str) -> dict[str, Any]:
    """A YAML file of this room."""
    text = resources.files("lotlens.report").joinpath(name).read_text("utf-8")
    values: dict[str, Any] = yaml.safe_load(text)
    return values


def _compile(english: str) -> re.Pattern[str]:
    """What fits a template: %(name)s stands for any text, %(n_name)s for a number, with < or >."""
    parts = re.split(r"%\((\w+)\)s", english)
    texts = [re.escape(part.replace("%%", "%")) for part in parts[::2]]
    fields = [
        rf"(?P<{name}>[<>]?-?\d[\d,]*(?:\.\d+)?)" if name.startswith("n_") else rf"(?P<{name}>.+?)"
        for name in parts[1::2]
    ]
    return re.compile("".join(a + b for a, b in zip(texts, [*fields, ""], strict=True)), re.DOTALL)


def install(language: Language, environment: Environment) -> None:
    """Have templates say what they mark with `trans` in a language."""
    environment.add_extension("jinja2.ext.i18n")
    environment.policies["ext.i18n.trimmed"] = True
    environment.install_gettext_callables(  # type: ignore[attr-defined]
        language.translate, language.translate_many, newstyle=True
    )
