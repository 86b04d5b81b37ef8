"""A language is complete, holds nothing superfluous, and writes numbers its own way."""

import ast
import re
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lotlens.report
import lotlens.web
from lotlens.audit.checks import CHECKS
from lotlens.errors import InputError
from lotlens.improve.doubts import REASONS
from lotlens.report.language import ENGLISH, LANGUAGES, THIN, load_language
from lotlens.report.templates import build_environment

ROOMS = [Path(room.__file__).parent for room in (lotlens.report, lotlens.web)]
OTHERS = [code for code in LANGUAGES if code != "en"]
LATIN = (
    r"%\(\w+\)s|<kbd>\w+</kbd>|</?\w+>|\(top-2\)|Grad-CAM|F1|JavaScript|lotlens( review)?|log loss"
    r"|\.csv"
)
NO_BREAK = "\u00a0"


def find_sentences():
    """English sentence -> its plural or None, of all templates, modules and scripts."""
    # What the review page and the findings name.
    found = dict.fromkeys([*REASONS, *REASONS.values(), *(c.meaning for c in CHECKS.values())])
    environment = build_environment(ENGLISH)
    for path in list_files("*.jinja"):
        for _, function, message in environment.extract_translations(path.read_text("utf-8")):
            parts = (message,) if isinstance(message, str) else message
            found[parts[0]] = parts[1] if function == "ngettext" else None
    for path in list_files("*.js"):
        script = path.read_text("utf-8")
        texts = re.findall(r'\b(?:say|lay|mark)\(\s*"([^"\\]+)"', script)
        assert len(texts) == len(re.findall(r'\b(?:say|lay|mark)\(\s*["\'`]', script)), path
        found |= dict.fromkeys(texts)
    for path in list_files("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call) and node.args:
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                first = node.args[0]
                if name in ("say", "mark") and isinstance(first, ast.Constant):
                    found[first.value] = None
    return found


def list_files(pattern):
    return [path for room in ROOMS for path in sorted(room.glob(pattern))]


def list_fields(text):
    return sorted(re.findall(r"%\((\w+)\)s", text))


@pytest.mark.parametrize("code", OTHERS)
def test_every_sentence_is_translated_and_no_other(code):
    texts = load_language(code).texts
    sentences = find_sentences()
    assert len(sentences) > 100
    assert sorted(sentences.keys() - texts.keys()) == []
    assert sorted(texts.keys() - sentences.keys()) == []


@pytest.mark.parametrize("code", OTHERS)
def test_translations_keep_fields_and_tags(code):
    for english, own in load_language(code).texts.items():
        for form in [own] if isinstance(own, str) else own:
            assert list_fields(form) == list_fields(english), english
            assert re.findall(r"</?\w+>", form) == re.findall(r"</?\w+>", english)
            assert not re.search(r"(?<!%)%(?![%(])", form.replace("%%", "")), form
            assert form.strip() == form != ""


def test_only_counting_sentences_have_forms():
    sentences = find_sentences()
    for english, own in load_language("ru").texts.items():
        if not isinstance(own, str):
            assert sentences[english] is not None, english
            assert len(own) == 3
            assert len(set(own)) == 3


def test_russian_is_in_cyrillic():
    latin = set(string.ascii_letters)
    for english, own in load_language("ru").texts.items():
        for form in [own] if isinstance(own, str) else own:
            words = re.sub(LATIN, "", form)
            assert not latin & set(words), (english, form)


@pytest.mark.parametrize(
    ("num", "form"),
    [
        (0, "моделей"),
        (1, "модель"),
        (2, "модели"),
        (4, "модели"),
        (5, "моделей"),
        (11, "моделей"),
        (12, "моделей"),
        (21, "модель"),
        (22, "модели"),
        (111, "моделей"),
        (1001, "модель"),
    ],
)
def test_russian_counts_in_three_forms(num, form):
    one = "Accuracy on %(photos)s photos of %(classes)s class"
    said = load_language("ru").translate_many(one, one + "es", num)
    assert said.split()[-1] == form
    assert ENGLISH.translate_many(one, one + "es", num) == (one if num == 1 else one + "es")


def test_numbers_are_written_as_the_language_does():
    russian = load_language("ru")
    assert ENGLISH.number(1234.5, 1) == "1234.5"
    assert russian.number(0.125, 3) == "0,125"
    assert ENGLISH.percent(0.9412, 1) == f"94.1{THIN}%"
    assert russian.percent(0.9412, 1) == f"94,1{THIN}%"
    assert [ENGLISH.whole(n) for n in (7, 1234, 1234567)] == ["7", "1,234", "1,234,567"]
    assert [russian.whole(n) for n in (7, 1234, 12345)] == ["7", "1234", f"12{NO_BREAK}345"]
    assert russian.interval(0.7149, 0.94) == f"71–94{THIN}%"
    assert russian.interval(0.7149, 0.94, 1) == f"71,5–94,0{THIN}%"
    assert russian.tick(-0.25) == "\u22120,25"
    assert (ENGLISH.quote("Niva"), russian.quote("Нива")) == ("“Niva”", "«Нива»")


@given(st.floats(0, 1))
def test_shares_differ_in_the_mark_alone(share):
    assert load_language("ru").percent(share, 1) == ENGLISH.percent(share, 1).replace(".", ",")


def test_a_sentence_takes_its_values():
    russian = load_language("ru")
    assert russian.say("%(what)s over the epochs", what="Точность") == "Точность по эпохам"
    # A line never breaks before the sign.
    assert russian.say("95 %% interval") == f"95{THIN}% интервал"
    assert ENGLISH.say("95 %% interval") == f"95{THIN}% interval"
    assert russian.say("never heard of %(x)s", x=1) == "never heard of 1"


def test_an_unknown_language_is_one_error_that_lists_those_known():
    with pytest.raises(InputError, match="'de': use one of en, ru"):
        load_language("de")
