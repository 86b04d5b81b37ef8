"""The findings page shows what was found side by side, and no lot can break or swell it."""

import base64
import hashlib
import io
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from lotlens.audit.checks import CHECKS
from lotlens.audit.findings import Audit
from lotlens.errors import OutputError
from lotlens.records import CarClass, Catalog, Finding, Locator, Lot, Photo
from lotlens.report.findings_page import write_findings_page
from lotlens.report.language import ENGLISH, load_language

HOSTILE = "\"><script>alert('x')</script><img src=//example.com/x onerror=alert(1)>&amp;{{7*7}}"
VOID = {"meta", "img", "br"}
CLASSES = (CarClass("0", "Волна"), CarClass("1", "Heron 4"))
RED, GREEN, BLUE = (220, 20, 20), (20, 200, 20), (20, 20, 220)


class Page(HTMLParser):
    """A page taken apart: tags with attributes, the text that is seen, pictures with captions."""

    def __init__(self, path):
        super().__init__()
        self.source = path.read_text("utf-8")
        self.tags, self.open, self.texts, self._figures = [], [], [], []
        self.feed(self.source)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "figure":
            self._figures.append([None, ""])
        if tag == "img":
            self._figures[-1][0] = dict(attrs)["src"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & {*self.open}:
            self.texts.append(data)
        if "figure" in self.open:
            self._figures[-1][1] += data + " "

    @property
    def text(self):
        return re.sub(r"[ \n]+", " ", " ".join(self.texts))

    @property
    def figures(self):
        """(source or None, caption) of each picture, or of the box in its place."""
        return [(source, " ".join(caption.split())) for source, caption in self._figures]

    def find(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def read_colour(source):
    """The nearest of red, green and blue to the middle of a picture in a data URI."""
    kind, data = source.split(",")
    assert kind == "data:image/jpeg;base64"
    image = Image.open(io.BytesIO(base64.b64decode(data)))
    assert image.format == "JPEG"
    assert image.width <= 200
    assert image.height <= 150
    return (RED, GREEN, BLUE)[np.asarray(image).mean(axis=(0, 1)).argmax()]


@pytest.fixture
def make_photo(tmp_path):
    """A function that draws a photo of one colour and catalogs it."""

    def make(id_, colour=RED, label=None, size=(400, 300)):
        path = tmp_path / f"{len(list(tmp_path.iterdir()))}.png"
        Image.new("RGB", size, colour).save(path)
        return Photo(id_, Locator(path), label)

    return make


def make_lot(tmp_path, train=(), test=(), classes=CLASSES):
    catalogs = (Catalog(tuple(photos), classes) for photos in (train, test))
    return Lot(tmp_path / "Автосалон", *catalogs)


def write(tmp_path, lot, findings=(), *, synthetic=False, language=ENGLISH, **changes):
    values = {
        "findings": tuple(findings),
        "actions": {name: check.actions[0] for name, check in CHECKS.items()},
        "groups": {},
        "dropped": frozenset(),
        "num_photos": {"train": len(lot.train), "test": len(lot.test)},
        "class_counts": {},
        "sizes": {},
    }
    path = tmp_path / "findings.html"
    audit = Audit(**values | changes)
    write_findings_page(path, audit, lot, synthetic=synthetic, language=language)
    return Page(path)


def test_a_clean_lot_is_said_to_be_clean(tmp_path):
    page = write(tmp_path, make_lot(tmp_path))
    assert "Audit of Автосалон" in page.text
    assert "Nothing here makes figures wrong." in page.text
    assert "No check found anything." in page.text
    assert "Sizes of photos" not in page.text
    assert not page.find("img")
    nothing = write(tmp_path, make_lot(tmp_path, classes=()))
    assert "Photos per class" not in nothing.text


def test_a_lot_in_the_present_folder_is_named_by_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    nothing = Catalog((), ())
    page = write(tmp_path, Lot(tmp_path.relative_to(tmp_path), nothing, nothing))
    assert f"Audit of {tmp_path.name}" in page.text


def test_the_verdict_and_the_table_count_by_kind(tmp_path):
    findings = [
        *(Finding(f"{n}.jpg", "unreadable", 1, (), "It is empty.") for n in range(3)),
        Finding("4.jpg", "leak", 0.97, ("5.jpg",), "It is in test too."),
        *(Finding(f"{n}.jpg", "near-duplicate", 0.95, (), "A copy.") for n in range(1200)),
    ]
    page = write(tmp_path, make_lot(tmp_path), findings)
    assert "4 errors: unreadable (3), leak (1)." in page.text
    table = page.source.split('<table class="checks sortable">')[1].split("</table>")[0]
    rows = [re.sub(r"<[^>]*>|\s+", " ", row).split("  ") for row in table.split("<tr>")[2:]]
    for row, name, count, action in zip(
        rows,
        ("unreadable", "leak", "near-duplicate"),
        ("3", "1", "1,200"),
        ("are left out", "are kept", "are kept on one side of every split"),
        strict=True,
    ):
        cells = [cell.strip() for cell in row if cell.strip()]
        check = CHECKS[name]
        assert cells == [name, check.meaning, check.severity, count, action]
        assert {"href": f"#{name}"} in page.find("a")
        assert {"id": name} in page.find("section")
    one = write(tmp_path, make_lot(tmp_path), findings[:1])
    assert "1 error: unreadable (1)." in one.text


def test_what_training_does_is_what_was_chosen(tmp_path):
    findings = [Finding("a.jpg", "grey", 1, (), "It has no colours.")]
    page = write(tmp_path, make_lot(tmp_path), findings, actions={"grey": "drop"})
    assert "Found: 1; training photos are left out." in page.text


def test_photos_stand_beside_their_copies(tmp_path, make_photo):
    train = [make_photo("a.jpg", RED, "0"), make_photo("b.jpg", BLUE, "1")]
    finding = Finding("a.jpg", "label-conflict", 0.964, ("b.jpg",), "Two labels for one picture.")
    page = write(tmp_path, make_lot(tmp_path, train), [finding])
    assert [(read_colour(source), caption) for source, caption in page.figures] == [
        (RED, "Волна a.jpg train"),
        (BLUE, "Heron 4 b.jpg train"),
    ]
    assert [image["alt"] for image in page.find("img")] == [
        "Photo a.jpg",
        "Photo b.jpg",
    ]
    assert "Two labels for one picture." in page.text


def test_a_leak_shows_the_photo_of_test_though_train_has_one_of_that_name(tmp_path, make_photo):
    train = [make_photo("a.jpg", RED, "0"), make_photo("b.jpg", GREEN, "1")]
    lot = make_lot(tmp_path, train, [make_photo("b.jpg", BLUE), make_photo("a.jpg", GREEN)])
    page = write(tmp_path, lot, [Finding("a.jpg", "leak", 1, ("b.jpg",), "In test too.")])
    assert [(read_colour(source), caption) for source, caption in page.figures] == [
        (RED, "Волна a.jpg train"),
        (BLUE, "b.jpg test"),
    ]
    twins = Finding("a.jpg", "near-duplicate", 1, ("b.jpg",), "A copy.", "test")
    page = write(tmp_path, lot, [twins])
    assert [(read_colour(source), caption) for source, caption in page.figures] == [
        (GREEN, "a.jpg test"),
        (BLUE, "b.jpg test"),
    ]


def test_a_label_without_a_class_or_none_at_all_is_shown_as_it_is(tmp_path, make_photo):
    train = [make_photo("a.jpg", label="77"), make_photo("b.jpg")]
    page = write(
        tmp_path, make_lot(tmp_path, train), [Finding("a.jpg", "duplicate", 1, ("b.jpg",), "")]
    )
    assert [caption for _, caption in page.figures] == ["77 a.jpg train", "no label b.jpg train"]


def test_photos_that_cannot_be_read_leave_a_box(tmp_path, make_photo):
    hostile = {
        "text.jpg": b"no photo at all",
        "empty.jpg": b"",
        "cut.png": (tmp_path / make_photo("x").locator.path).read_bytes()[:60],
        "bomb.bmp": b"BM" + b"\xff" * 200,
    }
    photos = [make_photo("good.jpg", GREEN, "0")]
    for name, data in hostile.items():
        (tmp_path / name).write_bytes(data)
        photos.append(Photo(name, Locator(tmp_path / name), "0"))
    photos.append(Photo("gone.jpg", Locator(tmp_path / "gone.jpg"), "0"))
    photos.append(Photo("nowhere.jpg", None, "0"))
    findings = [Finding(p.id, "unreadable", 1, ("good.jpg",), "Odd.") for p in photos[1:]]
    page = write(tmp_path, make_lot(tmp_path, photos), findings)
    assert len(page.figures) == 2 * len(findings)
    for finding, (source, caption) in zip(findings, page.figures[::2], strict=True):
        assert source is None
        assert caption == f"no picture Волна {finding.photo_id} train"
    assert all(read_colour(source) == GREEN for source, _ in page.figures[1::2])


def test_a_photo_that_no_longer_decodes_does_not_break_the_page(tmp_path, make_photo):
    photos = [make_photo("a.jpg", RED, "0"), make_photo("b.jpg", BLUE, "0")]
    lot = make_lot(tmp_path, photos)
    findings = [Finding("a.jpg", "near-duplicate", 0.9, ("b.jpg",), "A copy.")]
    assert read_colour(write(tmp_path, lot, findings).figures[1][0]) == BLUE
    data = photos[1].locator.path.read_bytes()
    photos[1].locator.path.write_bytes(data[:40] + b"\0" * len(data))
    (red, _), (source, caption) = write(tmp_path, lot, findings).figures
    assert read_colour(red) == RED
    assert source is None
    assert caption.startswith("no picture")


@pytest.mark.parametrize("size", [(1, 3000), (3000, 1), (1, 1)])
def test_photos_of_any_shape_are_shown(tmp_path, make_photo, size):
    lot = make_lot(tmp_path, [make_photo("a.jpg", BLUE, size=size)])
    page = write(tmp_path, lot, [Finding("a.jpg", "tiny", 1, (), "It is small.")])
    assert read_colour(page.figures[0][0]) == BLUE


def test_a_photo_that_the_catalog_does_not_know_is_only_named(tmp_path, make_photo):
    lot = make_lot(tmp_path, [make_photo("a.jpg", RED)])
    page = write(tmp_path, lot, [Finding("x/9.jpg", "no-row", 1, (), "The table has no such row.")])
    assert "x/9.jpg The table has no such row." in page.text
    assert page.figures == []
    page = write(tmp_path, lot, [Finding("a.jpg", "ambiguous-file", 1, ("b.jpg",), "Two files.")])
    assert page.figures[1] == (None, "b.jpg train")


def test_a_finding_about_a_class_is_only_its_sentence(tmp_path, make_photo):
    lot = make_lot(tmp_path, [make_photo("", RED)])
    page = write(tmp_path, lot, [Finding("", "imbalance", 0.9, ("a", "b"), "Волна has 2 photos.")])
    assert "Волна has 2 photos." in page.text
    assert page.figures == []
    assert "more" not in page.text


def test_many_copies_are_cut_and_counted(tmp_path, make_photo):
    photos = [make_photo(f"{n}.jpg") for n in range(8)]
    related = tuple(photo.id for photo in photos[1:])
    lot = make_lot(tmp_path, photos)
    page = write(tmp_path, lot, [Finding("0.jpg", "duplicate", 1, related, "The same file.")])
    assert [caption.split()[-2] for _, caption in page.figures] == [f"{n}.jpg" for n in range(5)]
    assert "and 3 more" in page.text
    page = write(tmp_path, lot, [Finding("0.jpg", "duplicate", 1, related[:4], "The same file.")])
    assert len(page.figures) == 5
    assert "more" not in page.text.split("The same file.")[1]


def test_many_findings_are_cut_and_counted(tmp_path, make_photo):
    lot = make_lot(tmp_path, [make_photo("a.jpg")])
    findings = [Finding("a.jpg", "dark", 1, (), f"dark {n}.") for n in range(43)]
    findings += [Finding("a.jpg", "grey", 1, (), f"grey {n}.") for n in range(40)]
    page = write(tmp_path, lot, findings)
    assert "dark 39." in page.text
    assert "dark 40." not in page.text
    assert "and 3 more: see findings.csv" in page.text
    assert "grey 39." in page.text
    assert page.text.count("more: see findings.csv") == 1


def test_no_check_uses_up_the_pictures_of_another(tmp_path, make_photo):
    photos = [make_photo(f"{n}.jpg", size=(8, 6)) for n in range(5)]
    related = tuple(photo.id for photo in photos[1:])
    checks = ("label-conflict", "leak", "duplicate", "near-duplicate", "grey")
    findings = [
        Finding("0.jpg", check, 1, related, f"{check} {n}.") for check in checks for n in range(40)
    ]
    page = write(tmp_path, make_lot(tmp_path, photos, photos), findings)
    assert len(page.find("img")) == 600
    counts = [page.text.count(f"0.jpg {check} ") for check in checks]
    assert counts == [24] * 5
    assert page.text.count("and 16 more: see findings.csv") == 5


def test_the_page_stays_small_however_large_the_lot(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (150, 200, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    long = "<" * 100_000
    photos = [Photo(f"{n}{long}", Locator(tmp_path / "noise.png"), "0") for n in range(40)]
    classes = tuple(CarClass(str(n), f"{n} {long}") for n in range(300))
    lot = make_lot(tmp_path, photos, classes=classes)
    ids = lot.train.ids
    findings = [
        Finding(id_, check, 1, ids[:20], long)
        for check in ("label-conflict", "duplicate", "near-duplicate", "grey")
        for id_ in ids
    ]
    page = write(
        tmp_path,
        lot,
        findings,
        class_counts={car.label: n for n, car in enumerate(classes)},
        sizes={(width, 100): 1 for width in range(5000)},
    )
    assert 200 < len(page.find("img")) < 600
    assert (tmp_path / "findings.html").stat().st_size < 10_000_000
    assert "and 200 larger classes" in page.text
    assert "Of 5,000 sizes these are the commonest." in page.text


def test_classes_and_sizes_are_counted(tmp_path):
    page = write(
        tmp_path,
        make_lot(tmp_path, classes=(*CLASSES, CarClass("Лада", "Лада"))),
        num_photos={"train": 1234, "test": 200},
        class_counts={"0": 40, "1": 10},
        sizes={(640, 480): 30, (100, 900): 1, (30, 40): 19},
        dropped=frozenset({"a", "b", "c"}),
        groups={"a": "copies of a", "b": "copies of a", "d": "copies of d", "e": "copies of d"},
    )
    for words in (
        "1,234",
        "200",
        "training photos with copies, in 2 groups",
        "The smallest is 30 × 40, the largest 640 × 480.",
    ):
        assert words in page.text
    tables = page.source.split('<table class="balance sortable">')[1:]
    rows = [
        [
            (name.split(" <")[0], count, width)
            for name, count, width in re.findall(
                r'scope="row"[^>]*>(.*?)</th>.*?class="num">(.*?)<.*?width:(.*?)%',
                table.split("</table>")[0],
                re.DOTALL,
            )
        ]
        for table in tables
    ]
    assert rows == [
        [("Лада", "0", "0.0"), ("Heron 4", "10", "25.0"), ("Волна", "40", "100.0")],
        [("640 × 480", "30", "100.0"), ("30 × 40", "19", "63.3"), ("100 × 900", "1", "3.3")],
    ]


def test_hostile_text_stays_text(tmp_path, make_photo):
    classes = (CarClass(HOSTILE + "0", HOSTILE + "A"), CarClass("1", HOSTILE + "B"))
    photos = [make_photo(HOSTILE, RED, HOSTILE + "0"), make_photo("b" + HOSTILE, BLUE, "1")]
    lot = make_lot(tmp_path, photos, classes=classes)
    page = write(
        tmp_path,
        Lot(tmp_path / HOSTILE.replace("/", ""), lot.train, lot.test),
        [
            Finding(HOSTILE, "duplicate", 1, ("b" + HOSTILE, "unknown" + HOSTILE), HOSTILE),
            Finding("unknown" + HOSTILE, "no-row", 1, (), HOSTILE),
        ],
        class_counts={HOSTILE + "0": 3},
    )
    assert page.find("script") == [{}]
    assert all("onerror" not in attributes for _, attributes in page.tags)
    assert [read_colour(source) for source, _ in page.figures if source] == [RED, BLUE]
    assert page.text.count(HOSTILE) > 10
    assert "49" not in page.text.split(HOSTILE)[0]


def test_the_page_fetches_nothing_and_runs_its_own_script_alone(tmp_path, make_photo):
    lot = make_lot(tmp_path, [make_photo("a.jpg")])
    findings = [Finding("a.jpg", "grey", 1, (), "It has no colours.")]
    page = write(tmp_path, lot, findings, sizes={(4, 3): 1})
    tags = {tag for tag, _ in page.tags}
    assert not tags & {"link", "iframe", "object", "embed", "svg", "form", "base"}
    for _, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in {"src", "href", "srcset", "action"}:
                assert value.startswith(("data:image/jpeg;base64,", "#"))
    assert "url(" not in page.source
    assert "@import" not in page.source
    (policy,) = [
        a["content"] for a in page.find("meta") if a.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy.startswith("default-src 'none'")
    (script,) = re.findall("<script>(.*?)</script>", page.source, re.DOTALL)
    known = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy.endswith(f"img-src data:; script-src 'sha256-{known}'")


@pytest.mark.parametrize("synthetic", [False, True])
def test_synthetic_photos_are_said_to_be_so(tmp_path, synthetic):
    page = write(tmp_path, make_lot(tmp_path), synthetic=synthetic)
    assert ("not real cars" in page.text) == synthetic


def test_a_place_that_cannot_be_written_is_an_output_error(tmp_path):
    (tmp_path / "findings.html").mkdir()
    with pytest.raises(OutputError):
        write(tmp_path, make_lot(tmp_path))


def test_the_page_speaks_russian(tmp_path, make_photo):
    lot = make_lot(tmp_path, [make_photo("1.jpg"), make_photo("2.jpg", BLUE)])
    findings = [
        Finding("1.jpg", "unreadable", 1, (), "It cannot be read: truncated JPEG."),
        Finding("2.jpg", "grey", 1, (), "It has no colours."),
        Finding(
            "2.jpg",
            "label-conflict",
            1,
            ("1.jpg",),
            "It is labelled 1 Волна, but looks like the same picture as 1.jpg (likeness 0.91),"
            " labelled not at all.",
        ),
    ]
    page = write(tmp_path, lot, findings, sizes={(4, 3): 2}, language=load_language("ru"))
    assert page.find("html")[0]["lang"] == "ru"
    for words in (
        "2 ошибки: не читается: пустой, обрезанный файл или не фото (1)",
        "Файл не читается: обрезанный JPEG (скачан не до конца?).",
        "(сходство 0,91), а там указано: ничего.",
        "Чёрно-белое.",
    ):
        assert words in page.text
    assert 'lang="en"' not in page.source
    seen = re.sub(r"lotlens|JPEG|Heron|\S+\.jpg|findings\.csv", "", page.text)
    assert re.findall("[A-Za-z]{2,}", seen) == []
