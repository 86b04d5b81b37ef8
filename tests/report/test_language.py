"""A language is complete, holds nothing superfluous, and writes numbers its own way."""

import ast
import errno
import json
import os
import re
import string
import time
from dataclasses import asdict
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import lotlens
import lotlens.report
import lotlens.web
from lotlens.audit.checks import CHECKS
from lotlens.errors import BundleError, InputError
from lotlens.files import explain
from lotlens.improve.doubts import REASONS
from lotlens.market.listings import read_listings
from lotlens.photos.formats import _BEGINNINGS, _BRANDS, _WORDS, name_stranger
from lotlens.photos.quality import Quality, find_flaw
from lotlens.records import _CARD_READERS, ImageSpec
from lotlens.refusal.verdicts import OTHER_CAR, PARTS
from lotlens.report.language import ENGLISH, LANGUAGES, THIN, load_language
from lotlens.report.templates import build_environment
from lotlens.run import RunFolder

ROOMS = [Path(room.__file__).parent for room in (lotlens.report, lotlens.web)]
OTHERS = [code for code in LANGUAGES if code != "en"]
LATIN = (
    r"%\(\w+\)s|<kbd>\w+</kbd>|</?\w+>|\(top-2\)|F1|JavaScript|matplotlib"
    r"|lotlens( review)?|log loss|(findings)?\.csv"
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
                elif name == "translate_many" and isinstance(first, ast.Constant):
                    found[first.value] = node.args[1].value
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


SAYING = {
    "photos": ("headers", "archives", "decode", "rows", "joining", "opener", "decisions"),
    "audit": ("checks", "findings", "split"),
    "refusal": ("verdicts",),
}
GROWING = {"It is nearly one colour: all of it is within 7 grey levels", "Class 7 has 7,"}
COMPOSED = {  # of parts that are sentences themselves -> one with its parts
    "7 77.": "It is the same file as a.jpg, in test.",
    "The 7 7.": "The class 0 (Niva) has only one photo, so it is trained on but cannot be"
    " validated: add photos of another car or leave the class out.",
    "It is only 7.": "It is only 30 x 40 pixels.",
    "Its longer side is 7 times the shorter (7).": "Its longer side is 7.5 times the shorter (10 x"
    " 75 pixels).",
    "It looks like 7 (7), perhaps rotated or cut, and their names are of one source, 7.": "It looks"
    " like a.jpg (likeness 0.80), perhaps rotated or cut, and their names are of one source, b.",
    "It lies in 7; left out.": "It lies in a folder called 'none', which is no label; left out.",
    "Row 7 of 7 has no label7; left out.": "Row 7 of a.csv has no label: '-' is none; left out.",
}


def find_said():
    """Sentences of other rooms on findings and files, with 7 for each of their values."""
    for room, modules in SAYING.items():
        for module in modules:
            path = Path(lotlens.__file__).parent / room / f"{module}.py"
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if isinstance(node, ast.Call) and getattr(node.func, "id", "") in (
                    "UnreadablePhoto",
                    "Finding",
                ):
                    parts = node.args
                elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "sentence":
                    parts = [node.value]
                    if isinstance(node.value, ast.IfExp):
                        parts = [node.value.body, node.value.orelse]
                else:
                    continue
                for part in parts:
                    text = fill(part)
                    if " " in text:
                        yield text


def fill(node):
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        return "".join(
            part.value if isinstance(part, ast.Constant) else "7" for part in node.values
        )
    return ""


def test_what_other_rooms_say_is_said_in_russian_too():
    russian = load_language("ru")
    said = set(find_said()) - GROWING
    assert len(said) > 60
    assert {text for text in said if russian.reword(text) is None} == COMPOSED.keys()
    assert all(russian.reword(text) is not None for text in COMPOSED.values())
    for sentence in (OTHER_CAR, *PARTS.values()):
        assert russian.reword(sentence) is not None, sentence
    strangers = [reason for *_, reason in (*_BEGINNINGS, *_BRANDS, *_WORDS)]
    for reason in (*strangers, name_stranger(b""), name_stranger(bytes(9)), name_stranger(b"?")):
        assert russian.reword(reason) is not None, reason
    for size, tones, sharpness in (
        ((9, 9), (0, 9, 99), 1.0),
        ((99, 99), (0, 1, 2), 1.0),
        ((99, 99), (90, 91, 92), 1.0),
        ((99, 99), (0, 99, 255), 0.0),
    ):
        flaw = find_flaw(Quality(size, tones, sharpness))
        assert russian.reword(f"The photo is too poor to tell: {flaw}.").count(",") > 0
    assert all(ENGLISH.reword(text) == text for text in said)


IMAGE = asdict(ImageSpec(192, 288))
CARD = {
    "format_version": 1,
    "lotlens_version": "0.1.0",
    "image": IMAGE,
    "backbone": "lite0",
    "classes": [{"label": "0", "name": "a"}],
    "recipe": {},
    "fingerprint": "abc",
}


def find_refused(name, *kinds):
    """What a module raises as such errors, with 7 for each of the values."""
    path = Path(lotlens.__file__).parent / f"{name}.py"
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in kinds and node.args:
            text = fill(node.args[0])
            if text:
                yield text


UNTOLD = {  # of parts that differ -> as it is said
    "7 7 not what 7 describes (the SHA-256 differs): damaged or replaced; export the run again": (
        "a.onnx is not what card.json describes (the SHA-256 differs): damaged or replaced; export"
        " the run again"
    ),
    "must be a finite number7, not 7": "must be a finite number from 0 to 1, not 7",
    "must be a list of 7, not of 7": "x: must be a list of 1 to 9, not of 12",
    "7 7 missing": "classes, image are missing",
}


@pytest.mark.parametrize(
    ("module", "kinds", "least"),
    [
        ("run", ("BundleError", "OutputError"), 12),
        ("audit/parts", ("BundleError",), 6),
        ("vision/bundle", ("BundleError",), 2),
    ],
)
def test_errors_of_damaged_runs_are_said_in_russian(module, kinds, least):
    russian = load_language("ru")
    said = set(find_refused(module, *kinds))
    assert len(said) >= least
    assert {text for text in said if russian.reword(UNTOLD.get(text, text)) is None} == set()


@pytest.mark.parametrize(
    "card",
    [
        "{}",
        "[]",
        "{",
        '{"a": 1, "a": 2}',
        "1e999",
        "[" * 100_000,
        '{"format_version": 99}',
        '{"format_version": "1"}',
        '{"format_version": 1, "engine": "quantum"}',
        json.dumps(CARD | {"image": 5}),
        json.dumps(CARD | {"fingerprint": "x"}),
        json.dumps(CARD | {"fingerprint": "x", "image": IMAGE | {"height": 0}}),
        json.dumps(CARD | {"image": IMAGE | {"fit": "squeeze"}}),
        json.dumps(CARD | {"image": IMAGE | {"mean": 0.5}}),
        json.dumps(CARD | {"image": IMAGE | {"mean": [0.5]}}),
        json.dumps(CARD | {"image": IMAGE | {"mean": [0.5, 0.5, 9.0]}}),
        json.dumps(CARD | {"backbone": ""}),
        json.dumps(CARD | {"backbone": 5}),
        json.dumps(CARD | {"classes": []}),
        json.dumps(CARD | {"synthetic": 1}),
    ],
)
def test_what_is_wrong_with_a_card_is_said_in_russian(tmp_path, card):
    path = tmp_path / "card.json"
    path.write_text(card)
    with pytest.raises(BundleError) as caught:
        RunFolder(tmp_path).read_card()
    own = load_language("ru").reword(str(caught.value))
    assert own is not None
    words = re.sub(r"'.*?'", "", own.replace(str(path), "").replace("SHA-256", ""))
    # Names of keys, and values, stay as they are.
    known = "|".join(("lotlens|JSON|None|True|False|dict of|list of", *_CARD_READERS, *IMAGE))
    rest = re.sub(rf"\b({known}|stretch|crop|pad)\b", "", words)
    assert not set(string.ascii_letters) & set(rest), own


def test_what_the_system_says_of_files_is_said_in_russian():
    russian = load_language("ru")
    for number in (
        *(errno.ENOENT, errno.EACCES, errno.EPERM, errno.EISDIR, errno.ENOTDIR, errno.EEXIST),
        *(errno.ENAMETOOLONG, errno.EFBIG, errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO),
        *(errno.ELOOP, errno.EMFILE, errno.EBUSY, errno.ESTALE, errno.ECONNREFUSED),
        *(errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.ETIMEDOUT),
    ):
        reason = os.strerror(number)
        for sentence in ("cannot read a: %s", "cannot write a: %s", "a cannot be read: %s"):
            own = russian.reword(sentence % reason)
            assert not set(string.ascii_letters) & set(own.replace("a", "", 1)), own
        own = russian.reword(f"cannot write a: {explain(OSError(number, reason))}")
        assert not set(string.ascii_letters) & set(own.replace("a", "", 1)), own


@pytest.mark.parametrize(
    ("said", "own"),
    [
        (
            "It is labelled 0 Sonata, but is the same file as a.jpg, b.jpg and 3 more, labelled 1.",
            "Указано: 0 Sonata, но это тот же файл, что и a.jpg, b.jpg и ещё 3, а там указано: 1.",
        ),
        (
            "Class 7 Нива has 3 photos, the middle class 50.5: its figures will be uncertain.",
            "Фото модели 7 Нива: 3, у средней — 50,5: цифры по ней будут неточными.",
        ),
        (
            "fold 1: probe; validation accuracy (log loss) of each candidate: probe 0.800 (0.600"
            " nats), wise-ft 0.8 0.900 (0.500 nats)",
            "часть 1: быстрое обучение; точность на проверке (log loss) у каждого варианта: быстрое"
            " обучение 0,800 (0,600), смесь 0,8 0,900 (0,500)",
        ),
        (
            "It cannot be read: too large: 20,000 x 30,000 pixels, the limit is 1,000,000 pixels.",
            "Файл не читается: слишком большое, 20\u00a0000 × 30\u00a0000 пикселей, предел"
            " 1\u00a0000\u00a0000.",
        ),
        ("It is %(x)s 100 %, with a probability of 0.50.", "Это %(x)s 100 %, уверенность 0,50."),
    ],
)
def test_values_are_kept_numbers_rewritten_and_parts_reworded(said, own):
    assert load_language("ru").reword(said) == own


def test_what_is_not_known_or_endless_is_not_reworded():
    russian = load_language("ru")
    assert russian.reword("It has no wheels.") is None
    assert russian.reword(f"It cannot be read: {'x' * 100_000}.") is None
    # Nothing of a name takes long to look for.
    began = time.perf_counter()
    russian.reword("It is " + ", labelled looks like it and 1 photos (" * 17)
    assert time.perf_counter() - began < 1


@pytest.mark.parametrize("code", OTHERS)
def test_rewordings_keep_their_fields(code):
    language = load_language(code)
    assert all(list_fields(own) == [] for own in language.wholes.values())
    for pattern, own in language.rewordings:
        assert set(list_fields(own)) <= set(pattern.groupindex), own
    for own in (*language.wholes.values(), *(own for _, own in language.rewordings)):
        latin = re.sub(r"%\(\w+\)s|JPEG|JPEG 2000|TIFF|PNG|[A-Z]{3,}|Photoshop|Windows", "", own)
        latin = re.sub("PostScript|7-Zip|gzip|log loss|CR3|XL|p =", "", latin)
        latin = re.sub(r"\b(predict|scan|s3|gs|az|hdfs|s?ftp|smb)\b", "", latin)
        latin = re.sub(r"[Rr]ay( start| status|://)?", "", latin)
        latin = re.sub(r"lotlens( train| audit| scan)?|torch|«model»|Ctrl-C|\[/?bold\]", "", latin)
        latin = re.sub(r"\b(train|test|test_upload)/|cp1251|Id,Category|folds:|photos=", "", latin)
        latin = re.sub(r"--format table|\bzip\b|\S+\.(zip|yaml)|\.yaml", "", latin)
        latin = re.sub(r"--[a-z-]+( \w+=[\d.]*)?|\S*\.(csv|md|json|safetensors)", "", latin)
        assert not set(string.ascii_letters) & set(latin), own


def test_times_and_days():
    russian = load_language("ru")
    day = date(2026, 5, 3)
    assert ENGLISH.day(day) == "3 May 2026".replace(" ", NO_BREAK)
    assert russian.day(day) == "3 мая 2026".replace(" ", NO_BREAK)
    times = (0.2, 59, 60, 3599, 3600, 40 * 3600)
    assert [ENGLISH.duration(s) for s in times] == [
        *("1 s", "59 s", "1 min", "1 h 0 min", "1 h 0 min", "40 h 0 min")
    ]
    assert russian.duration(7500) == "2 ч 5 мин"


@pytest.mark.parametrize(
    ("cell", "begins"),
    [
        ("Ask For Price;2015;90 000", "нет цены: "),
        (";2015;90 000", "нет цены"),
        ("450 тыс. или обмен;2015;90 000", "не разобрать цену "),
        ("12 34;2015;90 000", "не разобрать число "),
        ("1.234 тыс.;2015;90 000", "это может быть два числа: "),
        ("500000;скоро;90 000", "нет года: "),
        ("500000;;90 000", "нет года"),
        ("500000;2015;много", "нет пробега: "),
        ("500000;2015;", "нет пробега"),
        ("500000;2015;12 попугаев", "не разобрать пробег "),
        ("500000;2015;999999", "не верим пробегу "),
        ("500000;1999;1", "не верим пробегу "),
        ("$5000;2015;90 000", "цена в USD, а рынок в RUB"),
    ],
)
def test_what_is_wrong_with_an_advert_is_told_in_russian(cell, begins, tmp_path):
    table = tmp_path / "adverts.csv"
    rows = "".join(f"Нива;{100 + k} 000 ₽;2015;90 {k:03}\n" for k in range(9))
    table.write_text(f"Модель;Цена;Год;Пробег\n{rows}Нива;{cell}\n", encoding="utf-8")
    read = read_listings(table, newest=2026)
    language = load_language("ru")
    problems = read.rows[-1].problems
    assert problems
    told = [language.reword(one) for one in problems]
    assert all(told), problems
    assert any(one.startswith(begins) for one in told)
    # The same as they are counted on the terminal.
    counted = [line[14:] for line in str(read).splitlines() if line.startswith("problem")]
    assert all(language.reword(line) for line in counted), counted
