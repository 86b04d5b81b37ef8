"""Records in a notebook: short texts, and fragments of a page with the photos."""

import dataclasses
import inspect
import pkgutil
import re
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import lotlens
from lotlens.errors import InputError
from lotlens.improve.doubts import Evidence, find_doubts
from lotlens.judge.judged import judge
from lotlens.records import CarClass, Catalog, Doubt, Finding, Lot, Metric, Photo, Predictions
from lotlens.report import notebook
from lotlens.report.notebook import MOST_BYTES, draw_record, show_photos
from lotlens.verbs.doubts import Doubted
from tests.conftest import encode

EVIL = '<script>alert("&amp;")</script><img src="http://evil.example/x">\x1b[2J\u202e'
MOST_LETTERS = 300
TAGS = {"div", "span", "b", "small", "table", "tr", "td", "th", "img"}


class Page(HTMLParser):
    """Tags, their attributes and the text of a fragment; void tags are not closed."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.text = [], [], ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag != "img":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    @property
    def pictures(self):
        return [attrs["src"] for tag, attrs in self.tags if tag == "img"]


def read(record):
    """The fragment of a record, which is safe and of bounded size, and its short text."""
    text = record._repr_html_()
    assert len(text.encode()) <= MOST_BYTES
    page = Page(text)
    assert {tag for tag, _ in page.tags} <= TAGS
    for tag, attrs in page.tags:
        assert set(attrs) <= {"style", "src", "alt", "title"}
        if tag == "img":
            assert attrs["src"].startswith("data:image/jpeg;base64,")
            assert attrs["alt"]
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e]", text)
    assert len(repr(record)) <= MOST_LETTERS or isinstance(record, lotlens_frame())
    return page


def lotlens_frame():
    import pandas as pd

    return pd.DataFrame


def test_a_lot_shows_its_classes_with_photos(small_lot):
    lot = lotlens.open_lot(small_lot)
    page = read(lot)
    assert "36 photos of 3 classes to train on, 12 to predict" in page.text
    for name in ("0 Волна", "1 Heron 4", "2 Clover"):
        assert name in page.text
    assert len(page.pictures) == 3 * 6 + 6
    assert repr(lot) == "Lot: 36 train photos of 3 classes, 12 test"
    assert repr(lot.train) == "Catalog: 36 photos of 3 classes"
    assert repr(lot.train.photos[0]).startswith("Photo 10")
    assert len(read(lot.test).pictures) == 6


def test_photos_are_shown_of_all_classes_in_turn_or_of_one(small_lot, tmp_path):
    lot = lotlens.open_lot(small_lot)
    shown = lot.show(3)
    assert len(read(shown).pictures) == 3
    assert all(name in shown.html for name in ("Волна", "Heron 4", "Clover"))
    one = lot.show(label="1")
    assert len(read(one).pictures) == 12
    assert "Clover" not in one.html
    assert len(read(lot.show(5, part="test")).pictures) == 5
    with pytest.raises(InputError, match="no class has the label '7'"):
        lot.show(label="7")
    page = one.save(tmp_path / "pages" / "one.html").read_text("utf-8")
    assert page.startswith("<!DOCTYPE html>")
    assert one.html in page


def test_photos_that_cannot_be_read_are_said_to_be_so(spoilt_lot):
    page = read(lotlens.open_lot(spoilt_lot))
    assert "no picture" in page.text


def test_photos_that_have_gone_leave_the_text(tmp_path, small_lot):
    import shutil

    gone = shutil.copytree(small_lot, tmp_path / "lot")
    lot = lotlens.open_lot(gone)
    shutil.rmtree(gone)
    assert read(lot).pictures == []


def test_an_audit_shows_what_was_found_side_by_side(copied):
    found = lotlens.audit(copied)
    page = read(found)
    assert "label-conflict" in page.text
    assert "It is the same file as" in page.text
    assert "they are left out" in page.text
    assert len(page.pictures) >= 2
    bare = dataclasses.replace(found, lot=None)
    assert bare == found
    assert "not kept with this audit" in read(bare).text
    assert repr(found).startswith("Audit of ")


@pytest.fixture
def copied(tmp_path, small_lot, photo_drawer):
    for label in range(2):
        (tmp_path / "cars" / str(label)).mkdir(parents=True)
        for number in range(4):
            photo = photo_drawer(label, number).resize((320, 240))
            (tmp_path / "cars" / str(label) / f"{label}-{number}.jpg").write_bytes(encode(photo))
    data = (tmp_path / "cars" / "0" / "0-1.jpg").read_bytes()
    (tmp_path / "cars" / "1" / "stray.jpg").write_bytes(data)
    return tmp_path / "cars"


def test_a_clean_audit_says_so(small_lot):
    assert "Nothing here makes figures wrong" in read(lotlens.audit(small_lot)).text


def make_predictions(num_classes=3, num_photos=12, name="{}"):
    rng = np.random.default_rng(0)
    classes = tuple(CarClass(str(n), name.format(f"class {n}")) for n in range(num_classes))
    ids = tuple(f"{n}.jpg" for n in range(num_photos))
    logits = rng.normal(size=(num_photos, num_classes)).astype(np.float32)
    photos = tuple(Photo(id_, None, str(n % num_classes)) for n, id_ in enumerate(ids))
    predictions = Predictions(ids, logits, None, ("ok",) * num_photos, classes)
    return predictions, Catalog(photos, classes)


def evaluate(card, **options):
    predictions, catalog = make_predictions(**options)
    card = dataclasses.replace(card, classes=catalog.classes)
    return judge(card, predictions, catalog).evaluate("photos of a test", synthetic=False)


def test_an_evaluation_shows_its_headline_and_confusions(trained):
    done = evaluate(trained.card)
    page = read(done)
    accuracy = done.accuracy
    assert f"{100 * accuracy.value:.1f}" in page.text
    assert "with 95\xa0% confidence, 12 photos" in page.text
    assert "1\u2002class 0" in page.text
    counts = done.count_confusions()
    assert counts.to_numpy().sum() == 12
    assert np.trace(counts.to_numpy()) / 12 == accuracy.value
    for count in counts.to_numpy().ravel():
        assert not count or f">{count}<" in done._repr_html_()
    with pytest.raises(ValueError, match="does not keep"):
        dataclasses.replace(done, truth=None).count_confusions()
    read(dataclasses.replace(done, truth=None))


def test_an_evaluation_of_many_classes_shows_the_commonest_confusions_alone(trained):
    page = read(evaluate(trained.card, num_classes=400, num_photos=800))
    assert "taken for" in page.text
    assert "recognised" not in page.text


def test_a_run_judged_names_its_report(trained, tmp_path):
    import shutil

    run = shutil.copytree(trained.run.path, tmp_path / "run")
    done = lotlens.load(run).evaluate(report=tmp_path / "judged.html")
    assert done.report_path == tmp_path / "judged.html"
    assert str(done.report_path)[:40] in read(done).text
    assert repr(done).startswith("Evaluation: accuracy ")


def make_doubted(catalog, names=None):
    classes = catalog.classes
    rng = np.random.default_rng(1)
    chances = rng.dirichlet(np.ones(len(classes)), len(catalog))
    evidence = Evidence(catalog.ids, catalog.targets(), chances)
    doubts = find_doubts(evidence, classes)
    names = names or {car.label: car.name for car in classes}
    return Doubted(doubts, Path("doubts.csv"), evidence, 0.5, "probes", 0, names, photos=catalog)


def test_doubts_show_their_photos(small_lot):
    doubted = make_doubted(lotlens.open_lot(small_lot).train)
    assert len(doubted.doubts) > 3
    page = read(doubted)
    assert len(page.pictures) == min(len(doubted.doubts), 24)
    assert "labelled Волна" in page.text
    assert "A doubt is a question" in page.text
    assert repr(doubted).startswith(f"Doubted {len(doubted.doubts)} of 36 photos: ")
    assert repr(doubted.doubts[0]).startswith("Doubt ")
    assert read(dataclasses.replace(doubted, photos=None)).pictures == []


def test_answers_are_a_frame_that_shows_photos(trained, spoilt_lot):
    import pandas as pd

    answers = trained.predict(spoilt_lot / "test.zip")
    assert isinstance(answers, pd.DataFrame)
    page = read(answers)
    assert len(page.pictures) == 11
    assert "Answers for 12 photos" in page.text
    plain = answers[answers["status"] == "ok"]
    assert type(plain) is type(answers.head()) is type(answers.copy()) is pd.DataFrame
    assert "<img" not in plain._repr_html_()
    assert "<img" not in answers.drop(columns="reason")._repr_html_()
    shown = trained.show(spoilt_lot / "test.zip", 5)
    assert len(read(shown).pictures) + shown.html.count("no picture<") == 5


@pytest.fixture
def evil(tmp_path):
    """A lot whose classes, ids and labels are strangers' text, and photos of noise."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "noise"
    folder.mkdir()
    photos = []
    for number in range(250):
        path = folder / f"{number}.jpg"
        noise = rng.integers(0, 256, (300, 400, 3), dtype=np.uint8)
        path.write_bytes(encode(Image.fromarray(noise), quality=95))
        photos.append((f"{EVIL}{number}", path))
    classes = tuple(CarClass(f"{n}{EVIL}", f"{n}{EVIL}" * 50) for n in range(5))
    from lotlens.records import Locator

    catalog = Catalog(
        tuple(
            Photo(id_, Locator(path), classes[n % 5].label) for n, (id_, path) in enumerate(photos)
        ),
        classes,
    )
    return Lot(Path(EVIL), catalog, catalog)


def test_strangers_text_is_escaped_and_noise_stays_within_the_budget(evil, trained):
    assert len(repr(evil.train.photos[0])) <= MOST_LETTERS
    page = read(evil)
    assert EVIL[:8] in page.text
    read(evil.train)
    shown = read(evil.show(500))
    assert 0 < len(shown.pictures) < 200
    read(make_doubted(evil.train))
    from lotlens.audit.findings import audit_lot
    from lotlens.recipes.loading import load_recipe

    found = dataclasses.replace(audit_lot(evil, load_recipe("quick").audit), lot=evil)
    findings = [
        Finding(photo.id, check, 1.0, evil.train.ids[:3], EVIL * 40)
        for check in ("unreadable", "leak", "near-duplicate", "label-conflict", "grey")
        for photo in evil.train.photos[:20]
    ]
    read(dataclasses.replace(found, findings=tuple(findings)))
    read(evaluate(trained.card, name=EVIL + "{}"))
    assert "\x1b" not in repr(findings[0]) + repr(Doubt(EVIL, EVIL, EVIL, 1, 0, 1, {EVIL: 1}))


def test_metrics_are_short_texts_in_per_cent():
    metric = Metric("accuracy", 0.8153846, 0.7403, 0.8731, 130)
    assert repr(metric) == str(metric) == "accuracy 81.5 % (74.0–87.3 %, 130 photos)"
    assert repr(Metric("log loss", 0.6, 0.5, 0.7, 1)) == "log loss 0.600 (0.500–0.700, 1 photo)"


def test_records_that_verbs_give_have_a_repr_of_their_own():
    """Those whose usual one would print all that they hold: sequences, arrays, records in them."""
    missing = []
    for module in pkgutil.walk_packages(lotlens.__path__, "lotlens."):
        if not re.match(
            r"lotlens\.(records|verbs|audit\.findings|judge|improve|sweep)", module.name
        ):
            continue
        for name, thing in inspect.getmembers(import_module(module.name), inspect.isclass):
            is_own = thing.__module__ == module.name and dataclasses.is_dataclass(thing)
            if not is_own or name.startswith("_"):
                continue
            notes = " ".join(str(field.type) for field in dataclasses.fields(thing) if field.repr)
            is_endless = re.search(
                r"tuple\[(?!str, str\])|Sequence|Array|Mapping|Catalog|Lot\b", notes
            )
            # dataclasses wraps the one that it makes.
            if is_endless and hasattr(thing.__repr__, "__wrapped__"):
                missing.append(f"{module.name}.{name}")
    # Short ones, and those that no verb gives.
    short = {"ImageSpec", "Locator", "ClassPlan", "Choice", "Variant", "Served", "Visited", "Desk"}
    inner = {"CheckLabels", "Answers"}
    assert {name.rpartition(".")[2] for name in missing} == short | inner


def test_show_photos_knows_no_photo_twice(small_lot):
    lot = lotlens.open_lot(small_lot)
    assert show_photos(lot.train, 36).html.count("<img") == 36
    assert draw_record(lot) == lot._repr_html_()
    assert notebook.MOST_BYTES == 1_500_000


def test_what_notebooks_show_is_drawn_late():
    import subprocess
    import sys

    program = "import lotlens.records, sys; print('jinja2' in sys.modules, 'PIL' in sys.modules)"
    said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)
    assert said.stdout.split() == [b"False", b"False"]
