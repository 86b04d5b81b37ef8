"""The report stands alone, shows what it was given, and lets no stranger's text act."""

import base64
import hashlib
import html
import io
import re
from datetime import date
from functools import cached_property
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lotlens.errors import OutputError
from lotlens.judge.judged import Judged, Subject
from lotlens.judge.metrics import (
    count_confusions,
    evaluate,
    find_confusion_pairs,
    find_worst_errors,
    list_answers,
    measure_classes,
)
from lotlens.records import (
    OK,
    CarClass,
    Catalog,
    Finding,
    HeatMaps,
    ImageSpec,
    Locator,
    ModelCard,
    Photo,
    Predictions,
)
from lotlens.report.language import load_language
from lotlens.report.page import Background, Origin, write_report

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
        if not {"style", "script"} & {*self.open}:
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


def make_card(classes, **changes):
    values = {
        "format_version": 1,
        "lotlens_version": "0.1",
        "classes": classes,
        "image": ImageSpec(192, 288),
        "backbone": "lite0",
        "recipe": {"stages": [{"kind": "probe"}, {"kind": "finetune"}]},
        "fingerprint": "f00d",
        "chosen": "probe",
    }
    return ModelCard(**values | changes)


SHOWN = ("catalog", "heat_maps", "features", "history", "findings", "lot", "origin", "synthetic")


def write(path, result, **changes):
    """The page of a result; `changes` stand for what would be found or computed."""
    predictions, targets = result
    subject = changes.pop("subject", Subject("held-out", "run-1"))
    card = changes.pop("card", None) or make_card(
        predictions.classes, temperature=changes.pop("temperature", 1.0)
    )
    background = Background(**{key: changes.pop(key) for key in SHOWN if key in changes})
    options = {"language": changes.pop("language")} if "language" in changes else {}
    judged = Judged(card, predictions, targets, changes.pop("training_counts", None))
    assert all(isinstance(vars(Judged).get(key), cached_property) for key in changes)
    vars(judged).update(changes)
    write_report(path, subject, judged, background, **options)
    return Page(path)


@pytest.fixture
def make_catalog(tmp_path):
    """A function that draws a photo of its own colour for each id."""

    def make(ids, size=(64, 48), grain=(1, 1)):
        photos = []
        for number, id_ in enumerate(ids):
            path = tmp_path / f"photo-{number}.jpg"
            rng = np.random.default_rng(number)
            pixels = rng.integers(0, 256, (grain[1], grain[0], 3), dtype=np.uint8)
            Image.fromarray(pixels).resize(size).save(path, quality=90)
            photos.append(Photo(id_, Locator(path)))
        return Catalog(tuple(photos), ())

    return make


SIZES = {(640, 480): 5, (64, 48): 1, (1280, 960): 2}
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
        subject=Subject("other", "Проверка 1", "test.csv"),
        history=HISTORY,
        errors=errors,
        findings=[Finding("a.jpg", "near-duplicate", 0.9, ("b.jpg",), "a.jpg is like b.jpg")],
        unreadable=[("c.jpg", "truncated JPEG")],
        training_counts={"0": 90, "1": 10, "2": 1000, "3": 500},
        origin=Origin(Path("runs/a b"), Path("/lots/Лот"), date(2026, 11, 28), 3700, SIZES),
    )
    predictions, targets = result
    accuracy = (predictions.logits.argmax(axis=1) == targets).mean()
    assert f"{100 * accuracy:.1f}\u202f%" in page.text
    for words in (
        "Проверка 1: judged on test.csv",
        "Accuracy on 60 photos of 4 classes",
        f"{round(60 * accuracy)} of 60 photos were recognised correctly",
        *(car.name for car in predictions.classes),
        *(error.photo_id for error in errors),
        *find_confusion_pairs(*result)[0].example_ids,
        "Looks like the same picture, changed 1 ",
        "a.jpg is like b.jpg",
        "Лот",
        "trained on 28 Nov 2026 in 1 h 2 min".replace("28 Nov 2026", "28\u00a0Nov\u00a02026"),
        "lotlens improve 'runs/a b' --outside FOLDER",
        "lotlens evaluate 'runs/a b' --labels LABELS.csv --photos PHOTOS",
        "Photos that could not be read: 1.",
        "c.jpg",
        "truncated JPEG",
        "1,600; the largest “Лада 2” (1,000 photos), the smallest “Лада 1” (10)",
        "from 64 × 48 to 1280 × 960, most often 640 × 480",
        "288 × 192 pixels",
        "f00d",
    ):
        assert words in page.text
    assert len({a["id"] for _, a in page.tags if "id" in a}) == sum("id" in a for _, a in page.tags)


def test_every_link_leads_to_a_place_in_the_page(tmp_path, make_catalog):
    result = make_result(5, 80)
    page = write(tmp_path / "r.html", result, catalog=make_catalog(result[0].ids))
    ids = {a["id"] for _, a in page.tags if "id" in a}
    links = [a["href"] for a in page.find("a")]
    assert len(links) > 30
    assert all(link.startswith("#") and link[1:] in ids for link in links)
    # Every number of the table leads to its cell, and every cell back.
    cells = {a["id"] for a in page.find("section", "cell")}
    body = page.source.split('<table class="matrix"')[1].split("</table>")[0]
    assert {f"#{cell}" for cell in cells} == set(re.findall(r'href="([^"]+)"', body))
    assert links.count("#matrix") > len(cells)


def read_cells(page):
    """Of each cell: its photos' ids in order, as its captions name them."""
    cells = {}
    for part in page.source.split('<section class="cell" id="')[1:]:
        body = part.split("</section>")[0]
        cells[part.split('"')[0]] = re.findall(r'<span class="id">([^<]*)</span>', body)
    return cells


def test_cells_hold_their_photos_the_surest_error_and_the_least_sure_truth_first(
    tmp_path, make_catalog
):
    predictions, targets = make_result(3, 90)
    page = write(tmp_path / "r.html", (predictions, targets), catalog=make_catalog(predictions.ids))
    cells = read_cells(page)
    confusions = count_confusions(predictions, targets)
    assert len(cells) == np.count_nonzero(confusions)
    answers = list_answers(predictions, targets)
    for cell, ids in cells.items():
        true, said = (int(number) - 1 for number in cell.split("-")[1:])
        own = [a for a in answers if (a.true.label, a.predicted.label) == (str(true), str(said))]
        own.sort(key=lambda a: a.probability if true == said else -a.probability)
        most = 6 if true == said else 60
        assert ids == [a.photo_id for a in own][:most]
    assert "Wrong answers not shown" not in page.text


def test_classes_are_shown_by_the_photos_that_look_most_alike(tmp_path, make_catalog):
    predictions, targets = result = make_result(3, 60)
    error = find_worst_errors(*result, limit=1)[0]
    said = predictions.logits.argmax(axis=1)
    rights = {
        label: [predictions.ids[n] for n in np.flatnonzero((said == targets) & (targets == label))]
        for label in range(3)
    }
    assert all(len(ids) > 3 for ids in rights.values())
    features = {id_: np.array([1.0, n]) for n, id_ in enumerate(predictions.ids, start=5)}
    # The last of each class points where the error does.
    likest = {label: ids[-1] for label, ids in rights.items()}
    features |= dict.fromkeys([error.photo_id, *likest.values()], np.array([2.0, 0.1]))
    page = write(
        tmp_path / "r.html",
        result,
        catalog=make_catalog(predictions.ids),
        errors=[error],
        features=features,
    )
    assert "look most like the confused one" in page.text
    article = page.source.split('<article class="error">')[1].split("</article>")[0]
    shown = re.findall(r'class="id">([^<]*)<', article)
    assert shown == [likest[int(error.true.label)], likest[int(error.predicted.label)]]


def test_confusions_by_a_single_photo_are_folded_and_said_to_be_chance(tmp_path, make_catalog):
    result = make_result(6, 30)
    pairs = find_confusion_pairs(*result)
    counts = [pair.count for pair in pairs[:6]]
    assert counts[0] > 1
    assert 1 in counts
    page = write(tmp_path / "r.html", result, catalog=make_catalog(result[0].ids))
    told = f"Confusions by a single photo, which may be chance: {counts.count(1)}"
    assert told in page.text
    section = page.source.split('id="pairs"')[1].split("</section>")[0]
    before, folded = section.split('<details class="single">')
    assert before.count("<article") == len(counts) - counts.count(1)
    assert folded.count("<article") == counts.count(1)


def read_pixels(source):
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(source.split(",")[1]))))


def test_an_error_stands_beside_its_heat_and_both_classes(tmp_path, make_catalog):
    predictions, targets = result = make_result(3, 60)
    errors = find_worst_errors(*result, limit=2)
    cold, hot = np.zeros((192, 288), np.float32), np.ones((192, 288), np.float32)
    page = write(
        tmp_path / "r.html",
        result,
        catalog=make_catalog(predictions.ids),
        errors=errors,
        heat_maps={errors[0].photo_id: HeatMaps(hot, cold)},
    )
    first, second = page.source.split('<article class="error">')[1:3]
    pictures = [read_pixels(s) for s in re.findall(r'src="(data:image/jpeg[^"]*)"', first)]
    assert len(pictures) == 1 + 1 + 1 + 2
    # The true class stands left, what was said right.
    assert pictures[4].mean() > pictures[3].mean() + 60
    assert f"What points to “{errors[0].predicted.name}” (said)" in first
    assert f"What points to “{errors[0].true.name}” (true)" in first
    # Without heat maps the photo and the classes stay.
    assert second.split("</article>")[0].count("data:image/jpeg") == 1 + 1 + 1
    assert "The places that point to each class" in page.text
    known = re.findall(r'class="id">([^<]*)<', first.split("</article>")[0])
    by_id = dict(zip(predictions.ids, predictions.logits.argmax(axis=1), strict=True))
    said, true = int(errors[0].predicted.label), int(errors[0].true.label)
    assert [by_id[id_] for id_ in known] == [true, said]
    assert [targets[predictions.ids.index(id_)] for id_ in known] == [true, said]


def test_photos_that_are_gone_leave_the_rest_of_the_page(tmp_path):
    result = make_result(3, 60)
    page = write(tmp_path / "r.html", result)
    assert not [a for a in page.find("img") if a["src"].startswith("data:image/jpeg")]
    assert "no picture" in page.text
    assert "The places that point" not in page.text


@pytest.mark.parametrize(("grain", "least_shown"), [((320, 240), 1), ((60, 45), 150)])
def test_thousands_of_answers_stay_under_15_megabytes(tmp_path, make_catalog, grain, least_shown):
    """6,675 photos, many of them wrong; of pure noise, which makes the largest JPEGs, and less."""
    predictions, targets = make_result(40, 6675)
    targets = np.where(np.arange(6675) % 3 == 0, (targets + 1) % 40, targets)
    few = make_catalog([f"file-{n}" for n in range(8)], (320, 240), grain)
    photos = tuple(
        Photo(id_, few.photos[number % 8].locator) for number, id_ in enumerate(predictions.ids)
    )
    path = tmp_path / "r.html"
    # Resampling so many photos takes long and is not the point.
    metrics = evaluate(*make_result())
    errors = find_worst_errors(predictions, targets)
    catalog = Catalog(photos, ())
    page = write(path, (predictions, targets), metrics=metrics, errors=errors, catalog=catalog)
    assert 8_000_000 < path.stat().st_size < 15_000_000
    cells = read_cells(page)
    num_wrong = int((predictions.logits.argmax(axis=1) != targets).sum())
    shown = sum(len(ids) for cell, ids in cells.items() if len(set(cell.split("-")[1:])) == 2)
    assert least_shown < shown < num_wrong
    left = f"{num_wrong - shown:,}"
    assert f"Wrong answers not shown as photos, so that this file stays small: {left}." in page.text
    # The worst errors have theirs all the same.
    assert page.source.split('id="errors"')[1].count("data:image/jpeg") >= 8 * 3


def test_the_report_speaks_russian(tmp_path, make_catalog):
    result = make_result(3, 60)
    predictions, targets = result
    russian = load_language("ru")
    errors = find_worst_errors(*result)
    heat = np.ones((192, 288), np.float32)
    page = write(
        tmp_path / "r.html",
        result,
        subject=Subject("folds", "Салон", num_models=5),
        catalog=make_catalog(predictions.ids),
        heat_maps={error.photo_id: HeatMaps(heat, heat) for error in errors},
        temperature=0.7,
        history=HISTORY,
        unreadable=[("c.jpg", "truncated JPEG")],
        findings=[
            Finding("a.jpg", "grey", 0.9, (), "It has no colours."),
            Finding("b.jpg", "dark", 0.9, (), "Nobody knows this one."),
        ],
        training_counts={"0": 9, "1": 400, "2": 30},
        origin=Origin(Path("runs/r"), Path("lot"), date(2026, 11, 28), 50, {(64, 48): 3}),
        synthetic=True,
        language=russian,
    )
    assert page.find("html")[0]["lang"] == "ru"
    accuracy = (predictions.logits.argmax(axis=1) == targets).mean()
    assert f"{100 * accuracy:.1f}\u202f%".replace(".", ",") in page.text
    assert "Доля верных ответов: 60 фото, 3 модели" in page.text
    assert "Салон: перекрёстная проверка" in page.text
    assert "обучение 28 ноября 2026" in page.text.replace("\u00a0", " ")
    assert "обрезанный JPEG" in page.text
    assert "Чёрно-белое." in page.text
    # A sentence that no one has translated is said to be English.
    english = re.findall(r'<(\w+) lang="en">(.*?)</\1>', page.source)
    assert english == [("p", "Nobody knows this one.")]
    # What is left in Latin letters: names, codes and commands.
    seen = page.text
    commands = re.findall(r'<code translate="no">(.*?)</code>', page.source)
    assert commands
    known = ["Nobody knows this one.", *map(html.unescape, commands)]
    for one in [*known, "lotlens", "top-2", "(log loss)", "F1", "lite0"]:
        seen = seen.replace(one, "")
    words = set(re.findall(r"[A-Za-z]{2,}", re.sub(r"\S*\.jpg|f00d|JPEG|lot", "", seen)))
    assert words == set()


def test_it_says_how_many_weights_the_photos_chose_among(tmp_path):
    result = make_result()
    classes = result[0].classes
    alone = write(tmp_path / "a.html", result)
    assert "the figures are a little too good" in alone.text
    card = make_card(classes, num_candidates=6)
    page = write(tmp_path / "b.html", result, card=card)
    assert "the best of several sets of weights (6)" in page.text
    assert "a little too good" not in page.text
    other = write(tmp_path / "c.html", result, card=card, subject=Subject("locked", "run-1"))
    assert "sets of weights (6)" not in other.text


def test_folds_say_whose_probabilities_are_stated(tmp_path):
    result = make_result()
    card = make_card(result[0].classes, num_candidates=6, members=5)
    folds = write(
        tmp_path / "a.html", result, card=card, subject=Subject("folds", "r", num_models=5)
    )
    assert "stated probabilities are those of single models" in folds.text
    assert "the best of 6" in folds.text
    assert "single models" not in write(tmp_path / "b.html", result, card=card).text


def test_an_unclassed_metric_is_shown_by_its_own_name(tmp_path):
    metrics = [*evaluate(*make_result())]
    odd = type(metrics[0])("cost, roubles", 12.5, 10, 15, 60)
    page = write(tmp_path / "r.html", make_result(), metrics=[*metrics, odd])
    assert "Cost, roubles" in page.text


def test_the_headline_has_its_interval_and_the_score_of_guessing(tmp_path):
    result = make_result()
    accuracy = evaluate(*result)[0]
    page = write(tmp_path / "r.html", result)
    assert f"between {100 * accuracy.low:.1f}\u202f%" in page.text
    assert f"and {100 * accuracy.high:.1f}\u202f%" in page.text
    share = np.bincount(result[1]).max() / len(result[1])
    assert f"guessing the commonest class: {100 * share:.0f}\u202f%" in page.text


def test_the_page_fetches_nothing_and_runs_its_own_script_alone(tmp_path, make_catalog):
    page = write(
        tmp_path / "r.html",
        make_result(),
        history=HISTORY,
        catalog=make_catalog(make_result()[0].ids),
    )
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"link", "iframe", "object", "embed", "svg", "form", "base"}
    for _, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in {"src", "href", "srcset", "action"}:
                assert value.startswith(("data:image/", "#"))
    assert "url(" not in page.source
    assert "@import" not in page.source
    (policy,) = [
        a["content"] for a in page.find("meta") if a.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy.startswith("default-src 'none'")
    (script,) = re.findall("<script>(.*?)</script>", page.source, re.DOTALL)
    known = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.endswith(f"img-src data:; script-src 'sha256-{known}'")


@pytest.mark.parametrize("code", ["en", "ru"])
def test_hostile_text_stays_text(tmp_path, make_catalog, code):
    hostile = HOSTILE + "%(x)s%"
    classes = (CarClass(hostile + "0", hostile + "A"), CarClass("1", hostile + "B"))
    result = make_result(2, classes=classes, prefix=HOSTILE)
    page = write(
        tmp_path / "r.html",
        result,
        subject=Subject("other", HOSTILE, HOSTILE),
        language=load_language(code),
        findings=[Finding(HOSTILE, HOSTILE, 1, (HOSTILE,), HOSTILE)],
        unreadable=[(HOSTILE, HOSTILE)],
        catalog=make_catalog(result[0].ids),
        training_counts={hostile + "0": 3, "1": 4},
    )
    assert page.find("script") == [{}]
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
    page = write(tmp_path / "r.html", make_result(right=True), reliability=(), refusals=())
    for words in (
        "Worst errors",
        "confusions",
        "training went",
        "without an answer",
        "Odd photos",
        "probabilities kept",
        "go to a person",
        "trained on",
        "Sizes",
    ):
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
    table = page.source.split('<table class="classes sortable">')[1]
    places = [table.index(score.car.name) for score in scores]
    assert places == sorted(places)


def matrix_cells(page):
    """(count, style) of the cells that hold something."""
    body = page.source.split('<table class="matrix"')[1].split("</table>")[0]
    cells = re.findall(r'style="(background:rgb[^"]*)"[^>]*>(?:<a [^>]*>)?(\d+)<', body)
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
    assert "The other classes: 30" in page.text
    names = page.source.split('id="classes"')[1].split('id="matrix"')[0]
    assert all(f">Лада {k}<" in names for k in range(num_classes))


def test_long_lists_are_cut_and_counted(tmp_path):
    page = write(
        tmp_path / "r.html",
        make_result(),
        findings=[Finding("a", "odd-size", 1, (), f"finding {n}.") for n in range(33)],
        unreadable=[(f"bad-{n}.jpg", "empty file") for n in range(80)],
    )
    assert "finding 7." in page.text
    assert "finding 8." not in page.text
    assert "Further photos: 25" in page.text
    assert "Photos that could not be read: 80. Listed are the first 50." in page.text
    assert "bad-50.jpg" not in page.text


def test_equal_input_gives_equal_files(tmp_path):
    for name in "ab":
        write(tmp_path / name, make_result(), history=HISTORY)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_a_place_that_cannot_be_written_is_an_output_error(tmp_path):
    with pytest.raises(OutputError):
        write(tmp_path, make_result())


def test_endless_names_are_cut(tmp_path):
    classes = tuple(CarClass(f"{k}" + "x" * 100_000, f"{k}" + "y" * 100_000) for k in range(20))
    result = make_result(20, 200, classes=classes, prefix="z" * 100_000)
    path = tmp_path / "r.html"
    page = write(path, result, unreadable=[("w" * 100_000, "v" * 100_000)])
    assert max(len(text) for text in page.texts) < 1000
    assert path.stat().st_size < 2_000_000
