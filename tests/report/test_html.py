"""The report stands alone, shows what it was given, and lets no stranger's text act."""

import base64
import io
import re
from html.parser import HTMLParser
from types import SimpleNamespace
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image

from lotlens.errors import OutputError
from lotlens.judge.metrics import (
    count_confusions,
    evaluate,
    find_confusion_pairs,
    find_worst_errors,
    measure_classes,
)
from lotlens.records import (
    OK,
    CarClass,
    Catalog,
    Finding,
    ImageSpec,
    Locator,
    ModelCard,
    Photo,
    Predictions,
)
from lotlens.report.html import (
    WrongExample,
    _place_looks,
    draw_thumbnail,
    illustrate,
    write_report,
)

HOSTILE = "\"><script>alert('x')</script><img src=//example.com/x onerror=alert(1)>&amp;{{7*7}}"
VOID = {"meta", "img", "br", "link", "input"}


class Page(HTMLParser):
    """A page taken apart: balanced tags, their attributes, and the text a reader sees."""

    def __init__(self, path):
        super().__init__()
        self.source = path.read_text("utf-8")
        self.tags, self.open, self.texts = [], [], []
        self.feed(self.source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.texts.append(data)

    @property
    def text(self):
        return re.sub(r"[ \n]+", " ", " ".join(self.texts))

    def find(self, tag, name=None):
        return [a for t, a in self.tags if t == tag and name in (None, a.get("class"))]


def make_classes(num_classes):
    return tuple(CarClass(str(k), f"Лада {k}") for k in range(num_classes))


def make_result(num_classes=4, num_photos=60, classes=None, prefix="photo", right=False):
    rng = np.random.default_rng(0)
    targets = rng.integers(num_classes, size=num_photos)
    skill = 50.0 if right else 1.5
    logits = rng.normal(size=(num_photos, num_classes)) + skill * np.eye(num_classes)[targets]
    predictions = Predictions(
        tuple(f"{prefix}-{n}.jpg" for n in range(num_photos)),
        logits.astype(np.float32),
        None,
        (OK,) * num_photos,
        classes or make_classes(num_classes),
    )
    return predictions, targets


def write(path, result, **changes):
    predictions, targets = result
    card = ModelCard(
        format_version=1,
        lotlens_version="0.1",
        classes=predictions.classes,
        image=ImageSpec(192, 288),
        backbone="lite0",
        recipe={},
        fingerprint="f00d",
        chosen="probe",
    )
    values = {
        "title": "Validation",
        "card": card,
        "metrics": evaluate(predictions, targets),
        "class_scores": measure_classes(predictions, targets),
        "confusions": count_confusions(predictions, targets),
        "pairs": find_confusion_pairs(predictions, targets),
        "synthetic": False,
    }
    write_report(path, **values | changes)
    return Page(path)


HISTORY = [
    {"epoch": str(e), "train_loss": str(2 / e), "validation_loss": 1 / e, "validation_accuracy": ""}
    for e in range(1, 5)
]


def test_all_that_was_given_is_shown(tmp_path):
    result = make_result()
    errors = find_worst_errors(*result, limit=3)
    page = write(
        tmp_path / "r.html",
        result,
        title="Проверка 1",
        history=HISTORY,
        examples=[WrongExample(error, None) for error in errors],
        findings=[Finding("a.jpg", "near-duplicate", 0.9, ("b.jpg",), "a.jpg is like b.jpg")],
        unreadable=[("c.jpg", "truncated JPEG")],
        facts=[("Photos judged", "61, from test.zip")],
    )
    predictions, targets = result
    accuracy = (predictions.logits.argmax(axis=1) == targets).mean()
    assert f"{100 * accuracy:.1f}\u202f%" in page.text
    for words in (
        "Проверка 1",
        "Accuracy on 60 photos of 4 classes",
        *(car.name for car in predictions.classes),
        *(error.photo_id for error in errors),
        *find_confusion_pairs(*result)[0].example_ids,
        "near-duplicate",
        "a.jpg is like b.jpg",
        "1 photo could not be read",
        "c.jpg",
        "truncated JPEG",
        "61, from test.zip",
        "288 × 192 pixels",
        "f00d",
    ):
        assert words in page.text


def test_the_headline_has_its_interval_and_the_score_of_guessing(tmp_path):
    result = make_result()
    accuracy = evaluate(*result)[0]
    page = write(tmp_path / "r.html", result)
    assert f"between {100 * accuracy.low:.1f}\u202f%" in page.text
    assert f"and {100 * accuracy.high:.1f}\u202f%" in page.text
    share = np.bincount(result[1]).max() / len(result[1])
    assert f"always the commonest class: {100 * share:.0f}\u202f%" in page.text


def test_the_page_fetches_and_runs_nothing(tmp_path):
    page = write(
        tmp_path / "r.html",
        make_result(),
        history=HISTORY,
        examples=[WrongExample(find_worst_errors(*make_result())[0], b"\xff\xd8")],
    )
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"script", "link", "iframe", "object", "embed", "svg", "form", "base"}
    for _, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in {"src", "href", "srcset", "action"}:
                assert value.startswith("data:image/")
    assert "url(" not in page.source
    assert "@import" not in page.source
    (policy,) = [
        a["content"] for a in page.find("meta") if a.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy.startswith("default-src 'none'")
    assert "script" not in policy


def test_hostile_text_stays_text(tmp_path):
    classes = (CarClass(HOSTILE + "0", HOSTILE + "A"), CarClass("1", HOSTILE + "B"))
    result = make_result(2, classes=classes, prefix=HOSTILE)
    page = write(
        tmp_path / "r.html",
        result,
        title=HOSTILE,
        examples=[WrongExample(error, b"") for error in find_worst_errors(*result)],
        findings=[Finding(HOSTILE, HOSTILE, 1, (HOSTILE,), HOSTILE)],
        unreadable=[(HOSTILE, HOSTILE)],
        facts=[(HOSTILE, HOSTILE)],
    )
    assert not page.find("script")
    assert all("onerror" not in attributes for _, attributes in page.tags)
    assert all(a["src"].startswith("data:") for a in page.find("img"))
    assert page.text.count(HOSTILE) > 10
    assert "49" not in page.text.split(HOSTILE)[0]


@pytest.mark.parametrize(("photos", "model"), [(False, False), (True, False), (False, True)])
def test_synthetic_data_are_said_to_be_so(tmp_path, photos, model):
    result = make_result()
    card = ModelCard(1, "0", result[0].classes, ImageSpec(8, 8), "b", {}, "", synthetic=model)
    page = write(tmp_path / "r.html", result, card=card, synthetic=photos)
    assert ("not real cars" in page.text) == (photos or model)
    assert len(page.find("div", "banner")) == int(photos or model)


def test_what_is_empty_has_no_heading(tmp_path):
    page = write(tmp_path / "r.html", make_result(right=True))
    for words in ("Worst errors", "confusions", "training went", "without an answer", "Odd photos"):
        assert words not in page.text
    assert "100.0\u202f%" in page.text
    assert not page.find("img")


def test_a_class_without_photos_shows_a_dash(tmp_path):
    predictions, targets = make_result(3)
    targets = np.where(targets == 2, -1, targets)
    assert "–" in write(tmp_path / "r.html", (predictions, targets)).texts


def test_classes_stand_weakest_first(tmp_path):
    result = make_result(6, 200)
    page = write(tmp_path / "r.html", result)
    scores = sorted(measure_classes(*result), key=lambda score: score.recall.value)
    places = [page.text.index(score.car.name) for score in scores]
    assert places == sorted(places)


def matrix_cells(page):
    """(count, style) of the cells that hold something."""
    body = page.source.split('<table class="matrix">')[1].split("</table>")[0]
    cells = re.findall(r'style="(background:rgb[^"]*)".*?>(\d+)<', body)
    return [(int(count), style) for style, count in cells]


def test_the_matrix_holds_every_photo(tmp_path):
    page = write(tmp_path / "r.html", make_result(5, 80))
    assert sum(count for count, _ in matrix_cells(page)) == 80


def luminance(rgb):
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in rgb]
    return float(np.dot(linear, (0.2126, 0.7152, 0.0722)))


def test_every_number_in_the_matrix_is_legible(tmp_path):
    # Rows of 40 photos with every share of right answers, so that all colours occur.
    num_classes = 30
    confusions = np.zeros((num_classes, num_classes), dtype=np.int64)
    for k in range(num_classes):
        confusions[k, k] = k
        confusions[k, (k + 1) % num_classes] = num_classes - k
    result = make_result(num_classes, 300)
    page = write(tmp_path / "r.html", result, confusions=confusions)
    cells = matrix_cells(page)
    assert len(cells) == 2 * num_classes - 1
    assert len({style for _, style in cells}) > 40
    for _, style in cells:
        back = [int(c) / 255 for c in re.search(r"rgb\((\d+),(\d+),(\d+)\)", style).groups()]
        text = {"#000": 0.0, "#fff": 1.0}[style.rpartition(":")[2]]
        dark, light = sorted([luminance(back), text])
        assert (light + 0.05) / (dark + 0.05) >= 4.5


def test_very_many_classes_are_cut_to_those_with_mistakes(tmp_path):
    num_classes = 70
    confusions = np.diag(np.full(num_classes, 9))
    confusions[66, 67] = 7
    page = write(tmp_path / "r.html", make_result(num_classes, 400), confusions=confusions)
    assert "Of 70 classes the 30 with the most mistakes are shown" in page.text
    assert (7,) in {(count,) for count, _ in matrix_cells(page)}
    assert len(matrix_cells(page)) == 30 + 1
    assert "The other 30 classes" in page.text
    names = page.text.split("Class by class")[1].split("What is taken for what")[0]
    assert all(f"Лада {k} " in names for k in range(num_classes))


def test_long_lists_are_cut_and_counted(tmp_path):
    page = write(
        tmp_path / "r.html",
        make_result(),
        findings=[Finding("a", "odd-size", 1, (), f"finding {n}.") for n in range(33)],
        unreadable=[(f"bad-{n}.jpg", "empty file") for n in range(80)],
    )
    assert "finding 19." in page.text
    assert "finding 20." not in page.text
    assert "and 13 more" in page.text
    assert "80 photos could not be read; the first 50 are listed" in page.text
    assert "bad-50.jpg" not in page.text


def read_curves(page):
    marker = "data:image/svg+xml;base64,"
    sources = [a["src"] for a in page.find("img") if a["src"].startswith(marker)]
    return [ET.fromstring(base64.b64decode(source[len(marker) :])) for source in sources]


def test_curves_are_drawn_of_losses_and_accuracies(tmp_path):
    history = [dict(row, validation_accuracy=str(0.5 + n / 10)) for n, row in enumerate(HISTORY)]
    page = write(tmp_path / "r.html", make_result(), history=history)
    curves = read_curves(page)
    assert len(curves) == 2
    for curve in curves:
        assert curve.tag.endswith("svg")
        links = [v for node in curve.iter() for k, v in node.attrib.items() if k.endswith("href")]
        assert all(link.startswith("#") for link in links)
    alts = [a["alt"] for a in page.find("img")]
    assert alts == [
        "Accuracy per epoch: validation_accuracy",
        "Loss per epoch: train_loss, validation_loss",
    ]


def test_curves_stand_over_the_epochs_they_tell_of(tmp_path):
    pages = []
    for name, epochs in (("a", (1, 2, 3)), ("b", (10, 20, 30)), ("c", (1, 2, 3))):
        losses = (2.0, 1.0, 0.5)
        history = [
            {"epoch": epoch, "train_loss": loss} for epoch, loss in zip(epochs, losses, strict=True)
        ]
        write(tmp_path / name, make_result(), history=history)
        pages.append((tmp_path / name).read_text("utf-8"))
    assert pages[0] != pages[1]
    assert pages[0] == pages[2]


@pytest.mark.parametrize(
    ("history", "num_curves"),
    [
        ([], 0),
        (HISTORY[:1], 0),
        (HISTORY, 1),
        ([{"epoch": 1, "lr": 0.1}, {"epoch": 2, "lr": 0.2}], 0),
        ([{"loss": "nan"}, {"loss": None}, {}, {"loss": "1"}, {"loss": "2"}], 1),
    ],
)
def test_curves_need_two_numbers(tmp_path, history, num_curves):
    page = write(tmp_path / "r.html", make_result(), history=history)
    assert len(read_curves(page)) == num_curves


def test_equal_input_gives_equal_files(tmp_path):
    for name in "ab":
        write(tmp_path / name, make_result(), history=HISTORY)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


@pytest.mark.parametrize("size", [(640, 480), (200, 900), (1000, 50), (40, 30)])
def test_thumbnails_are_small_and_keep_their_aspect(size):
    width, height = size
    thumbnail = Image.open(io.BytesIO(draw_thumbnail(np.zeros((height, width, 3), np.uint8))))
    assert thumbnail.format == "JPEG"
    assert thumbnail.width <= min(320, width)
    assert thumbnail.height <= min(240, height)
    assert thumbnail.width == pytest.approx(thumbnail.height * width / height, rel=0.1)


def test_pictures_are_found_by_id_and_the_unreadable_stay_without(tmp_path):
    for name, colour in (("red", (255, 0, 0)), ("blue", (0, 0, 255))):
        Image.new("RGB", (400, 300), colour).save(tmp_path / f"{name}.png")
    (tmp_path / "bad.png").write_bytes(b"no photo")
    catalog = Catalog(
        (
            Photo("r", Locator(tmp_path / "red.png")),
            Photo("b", Locator(tmp_path / "blue.png")),
            Photo("bad", Locator(tmp_path / "bad.png")),
            Photo("none", None),
        ),
        (),
    )
    answers = [SimpleNamespace(photo_id=id_) for id_ in ("bad", "b", "none", "r", "elsewhere")]
    examples = illustrate(answers, catalog)
    assert [example.answer for example in examples] == answers
    assert [example.thumbnail is None for example in examples] == [True, False, True, False, True]
    colours = [
        np.asarray(Image.open(io.BytesIO(e.thumbnail))).mean(axis=(0, 1)).argmax()
        for e in examples
        if e.thumbnail
    ]
    assert colours == [2, 0]


def test_a_place_that_cannot_be_written_is_an_output_error(tmp_path):
    with pytest.raises(OutputError):
        write(tmp_path, make_result())


def test_stages_stand_one_after_another_and_folds_one_over_another():
    stages = [("0", "2"), ("0", "4"), ("1", "1"), ("1", "2"), ("2", "3")]
    history = [{"stage": stage, "epoch": epoch} for stage, epoch in stages]
    rows, epochs, begins = _place_looks(history)
    assert (rows, epochs, begins) == ([[0, 1, 2, 3, 4]], [2, 4, 5, 6, 9], [4, 6])
    # The second fold's first stage stopped earlier.
    folded = [{**row, "fold": "1"} for row in history] + [
        {**row, "fold": "2"} for row in [history[0], *history[2:]]
    ]
    rows, epochs, begins = _place_looks(folded)
    assert rows == [[0, 1, 2, 3, 4], [5, 6, 7, 8]]
    assert epochs == [2, 4, 5, 6, 9, 2, 3, 4, 7]
    assert begins == [2, 4, 6]
    assert _place_looks([{"loss": "1"}, {"loss": "2"}]) == ([[0, 1]], [1, 2], [])
