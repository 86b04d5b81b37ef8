"""Fills in the templates of this folder; it knows no report's contents."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from importlib import resources
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from lotlens.report.language import ENGLISH, THIN, Language, install

_MOST_LETTERS = 100


def render_page(
    template_name: str,
    script_name: str | None = None,
    *,
    language: Language = ENGLISH,
    **values: Any,
) -> str:
    """A template of this folder, filled in; every value is escaped.

    Args:
        template_name: such as "page.html.jinja"; it extends "frame.html.jinja".
        script_name: the one script that may run there, known by its hash, such as "tables.js";
            None for a template that has none.
        language: of the sentences that the template marks with `trans`.
        values: what the template names, all of it; the frame names `title` and `synthetic`.
    """
    environment = build_environment(language)
    script = ""
    if script_name is not None:
        script = resources.files("lotlens.report").joinpath(script_name).read_text("utf-8")
    return environment.get_template(template_name).render(
        values,
        language=language,
        script=Markup(script),  # noqa: S704 - it is this room's own
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def open_templates(room: str, language: Language) -> Environment:
    """What renders the templates of a room's folder in a language; every value is escaped.

    What it includes may lie in this folder too.

    Args:
        room: its name, such as "web".
        language: of the sentences that templates mark with `trans`.
    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader("lotlens", one) for one in (room, "report")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    install(language, environment)
    return environment


@cache  # compiling the templates takes longer than filling them in
def build_environment(language: Language) -> Environment:
    """What renders the templates of this folder in a language, with what they know of figures."""
    environment = open_templates("report", language)
    environment.filters["percent"] = language.percent
    environment.filters["interval"] = lambda metric, digits=0: language.interval(
        metric.low, metric.high, digits
    )
    environment.filters["number"] = language.number
    environment.filters["whole"] = language.whole
    environment.filters["quote"] = language.quote
    environment.filters["chance"] = lambda share: format_chance(share, language)
    environment.filters["name"] = _cut
    environment.filters["jpeg"] = lambda data: make_data_uri("image/jpeg", data)
    return environment


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_LETTERS else f"{text[: _MOST_LETTERS - 1]}…"


def format_chance(share: float, language: Language) -> str:
    """A probability in whole per cent that never claims certainty."""
    if share < 0.005:
        return f"<{THIN}{language.percent(0.01)}"
    if share > 0.995:
        return f">{THIN}{language.percent(0.99)}"
    return language.percent(share)


def make_data_uri(kind: str, data: bytes) -> str:
    """Bytes as an address that has them in it."""
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def make_svg_uri(data: bytes) -> str:
    """A drawing as a data URI."""
    return make_data_uri("image/svg+xml", data)
