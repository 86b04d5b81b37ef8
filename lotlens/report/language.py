"""The languages of reports and pages: sentences, and how numbers are written; it knows no page.

English sentences are the keys. Each further language is a YAML file beside this module: English
sentence -> its translation, or a list of forms for sentences that count something. A test holds
the files to what the templates and modules of this room say, and to those of `lotlens.web`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

import yaml
from jinja2 import Environment

from lotlens.errors import InputError

THIN, NO_BREAK = "\u202f", "\u00a0"

Texts = Mapping[str, str | Sequence[str]]


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
    """

    code: str
    decimal: str
    group: str
    quotes: tuple[str, str]
    texts: Texts = field(default_factory=dict, repr=False)

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


ENGLISH = Language("en", ".", ",", ("\u201c", "\u201d"))
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
    file = resources.files("lotlens.report").joinpath(f"{code}.yaml")
    values = yaml.safe_load(file.read_text("utf-8"))
    before, after = values["quotes"]
    return Language(code, values["decimal"], values["group"], (before, after), values["texts"])


def install(language: Language, environment: Environment) -> None:
    """Have templates say what they mark with `trans` in a language."""
    environment.add_extension("jinja2.ext.i18n")
    environment.policies["ext.i18n.trimmed"] = True
    environment.install_gettext_callables(  # type: ignore[attr-defined]
        language.translate, language.translate_many, newstyle=True
    )
