"""The page of answers: what to check comes first, strangers' text stays text, it stays small."""

import base64
import html
import io
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from lotlens.errors import OutputError
from lotlens.records import OK, Catalog, Locator, Photo
from lotlens.report import answers_page
from lotlens.report.answers_page import MOST_PICTURE_BYTES, write_answers_page
from lotlens.report.language import load_language
from tests.conftest import list_cut_choices

HOSTILE = "</script><script>alert(1)</script><!--<img src=x onerror=alert(2)>&amp;\u202e\udcff\n"
NAN = float("nan")


class Tags(HTMLParser):
    """The tags of a page with their attributes."""

    def __init__(self, source):
        super().__init__()
        self.tags = []
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))


def make_row(id_, name="Нива", chance=0.9, verdict="model", reason="", status=OK):
    return {
        "id": id_,
        "status": status,
        "label": "0",
        "name": name,
        "probability": chance,
        "second_name": "Волна",
        "second_probability": (1 - chance) * 0.8,
        "verdict": verdict,
        "reason": reason,
        "candidates": "",
    }


ROWS = [
    make_row("sure.jpg", chance=0.999),
    make_row("low.jpg", chance=0.41),
    make_row(
        *("two.jpg", "Heron 4", 0.68, "unsure"),
        "Heron 4 (68 %) or Волна (26 %): it is hard to tell which.",
    ),
    make_row("less.jpg", "Heron 4", 0.45, "unsure"),
    make_row(
        *("far.jpg", "Heron 4", NAN, "unknown"),
        "It looks like none of the models that were learnt; the least unlike is Heron 4.",
    ),
    make_row("bad.jpg", None, NAN, "no answer", "There is no answer: truncated JPEG.", "truncated"),
]


@pytest.fixture(scope="module")
def photo_path(tmp_path_factory, photo_drawer):
    path = tmp_path_factory.mktemp("photo") / "a.jpg"
    photo_drawer(0, 0, (640, 480)).save(path)
    return path


def make_catalog(ids, path):
    return Catalog(tuple(Photo(id_, Locator(path)) for id_ in ids), ())


def write(tmp_path, rows, catalog, **options):
    path = tmp_path / "answers.html"
    shown = write_answers_page(path, options.pop("name", "run-1"), rows, catalog, **options)
    source = path.read_text("utf-8")
    data = re.search('<script type="application/json" id="data">(.*?)</script>', source, re.DOTALL)
    return source, json.loads(data[1]), shown


def test_what_to_check_comes_first_and_no_car_is_named_where_the_verdict_names_none(
    tmp_path, photo_path
):
    catalog = make_catalog([row["id"] for row in ROWS], photo_path)
    source, data, shown = write(tmp_path, ROWS, catalog)
    ids = [row[0] for row in data["rows"]]
    assert ids == ["less.jpg", "two.jpg", "far.jpg", "bad.jpg", "low.jpg", "sure.jpg"]
    assert [row[8] for row in data["rows"]] == [1, 1, 1, 1, 1, 0]
    by_id = {row[0]: row for row in data["rows"]}
    assert by_id["sure.jpg"][1:7] == [
        "Нива",
        "model",
        "almost certain",
        ">\u202f99\u202f%",
        0.999,
        "",
    ]
    # What is not sure has one sentence, and no other words beside it.
    sentence = "Heron 4 (68 %) or Волна (26 %): it is hard to tell which."
    assert by_id["two.jpg"][1:8] == ["Heron 4", "unsure", "", "68\u202f%", 0.68, "", sentence]
    assert by_id["low.jpg"][6] == "Волна (47\u202f%)"
    assert by_id["far.jpg"][1] == "a car not learnt"
    assert by_id["far.jpg"][3:7] == ["", "", 0, ""]
    assert by_id["bad.jpg"][7] == "There is no answer: truncated JPEG."
    assert data["names"] == ["Heron 4", "Нива"]
    picture = Image.open(io.BytesIO(base64.b64decode(by_id["sure.jpg"][9])))
    assert picture.size == (320, 240)
    assert by_id["bad.jpg"][9] == ""
    assert (shown.num_rows, shown.num_pictures) == (6, 5)
    assert "Photos without a picture" not in source


def test_a_frame_shows_where_the_car_was_found(tmp_path, photo_path):
    boxed = make_row("boxed.jpg") | {"box": "0.250 0.250 0.750 0.750"}
    tiny = make_row("tiny.jpg") | {"box": "0.500 0.500 0.500 0.500"}
    rows = [boxed, tiny, make_row("whole.jpg") | {"box": None}]
    catalog = make_catalog([row["id"] for row in rows], photo_path)
    source, data, _ = write(tmp_path, rows, catalog)
    assert "A frame shows where the car was found." in source
    drawn = {
        row[0]: np.asarray(Image.open(io.BytesIO(base64.b64decode(row[9]))), np.int64)
        for row in data["rows"]
    }
    assert np.array_equal(drawn["tiny.jpg"], drawn["whole.jpg"])
    change = np.abs(drawn["boxed.jpg"] - drawn["whole.jpg"]).max(axis=2)
    across, down = change[:, 160], change[120, :]
    assert across[58:66].max() > 60  # a quarter of 240
    assert down[77:86].max() > 60  # a quarter of 320
    assert change[90:150, 110:210].max() == 0
    assert change[:40].max() == 0
    assert "A frame shows" not in write(tmp_path, ROWS, catalog)[0]


def test_the_page_speaks_russian(tmp_path, photo_path):
    catalog = make_catalog([row["id"] for row in ROWS], photo_path)
    source, data, _ = write(tmp_path, ROWS, catalog, language=load_language("ru"), synthetic=True)
    texts = {text for row in data["rows"] for text in (row[1], row[3], row[7])}
    assert "незнакомая машина" in texts
    assert "Heron 4 (68\u202f%) или Волна (26\u202f%): какая из двух, по фото не понять." in texts
    assert "<dt>под вопросом</dt><dd>2</dd>" in source
    assert "Ответа нет: обрезанный JPEG (скачан не до конца?)." in texts
    seen = re.sub("<style>.*?</style>|<script.*?</script>", "", source, flags=re.DOTALL)
    attributes = " ".join(re.findall(r'(?:aria-label|data-\w+|placeholder)="([^"]*)"', seen))
    seen = html.unescape(re.sub("<[^>]*>", " ", seen)) + attributes + " ".join(texts)
    seen = re.sub(r"%\(\w+\)s|lotlens|run-1|Heron|JPEG|JavaScript", "", seen)
    assert re.findall("[A-Za-z]{2,}", seen) == []


def test_only_its_own_script_may_run_and_hostile_text_stays_text(tmp_path, photo_path):
    row = make_row(HOSTILE, HOSTILE + "A", 0.6, "unsure") | {"second_name": HOSTILE}
    other = make_row("x", None, NAN, "no answer", f"There is no answer: {HOSTILE}.", HOSTILE)
    source, data, _ = write(
        tmp_path, [row, other], make_catalog([HOSTILE], photo_path), name=HOSTILE
    )
    assert source.count("<script") == 2
    assert "alert(1)</script>" not in source
    (policy,) = re.findall('Content-Security-Policy" content="([^"]*)"', source)
    assert html.unescape(policy).startswith("default-src 'none'; style-src")
    assert "sha256-" in policy
    tags = Tags(source).tags
    assert [tag for tag, _ in tags if tag == "script"] == ["script"] * 2
    assert not [name for _, names in tags for name in names if name.startswith("on")]
    assert not [names["src"] for _, names in tags if "src" in names]
    first = data["rows"][0]
    assert first[0] == "</script><script>alert(1)</script><!--<img src=x onerror=alert(2)>&amp;" + (
        r"\u202e\udcff\n"
    )
    assert first[9]


def test_beyond_the_budget_photos_have_no_picture_and_the_page_says_so(
    tmp_path, photo_path, monkeypatch
):
    monkeypatch.setattr(answers_page, "MOST_PICTURE_BYTES", 20_000)
    monkeypatch.setattr(answers_page, "MOST_ROWS", 60)
    ids = [f"{number}.jpg" for number in range(80)]
    rows = [make_row(id_, chance=0.5 + number / 200) for number, id_ in enumerate(ids)]
    source, data, shown = write(tmp_path, rows, make_catalog(ids, photo_path))
    drawn = [bool(row[9]) for row in data["rows"]]
    assert 0 < sum(drawn) == shown.num_pictures < 60
    # Those to check first have theirs.
    assert drawn == sorted(drawn, reverse=True)
    assert sum(len(base64.b64decode(row[9])) for row in data["rows"]) <= 20_000
    assert f"Photos without a picture, so that this file stays small: {60 - sum(drawn)}." in source
    assert "Shown are the first 60 to check" in source


def test_a_photo_that_is_gone_or_endless_names_leave_the_page(tmp_path):
    rows = [make_row("a" * 10_000, "b" * 10_000, np.float64(0.7))]
    catalog = make_catalog([rows[0]["id"]], tmp_path / "gone.jpg")
    _, data, shown = write(tmp_path, rows, catalog)
    assert shown.num_pictures == 0
    assert max(len(text) for text in data["rows"][0][:2]) == 200
    assert write(tmp_path, [], Catalog((), ()))[1]["rows"] == []


def test_a_place_that_cannot_be_written_is_an_output_error(tmp_path):
    (tmp_path / "answers.html").mkdir()
    with pytest.raises(OutputError):
        write(tmp_path, ROWS, Catalog((), ()))


@pytest.fixture(scope="module")
def pages(tmp_path_factory, photo_path):
    """Code -> a page of many answers; "many" has ten thousand."""
    folder = tmp_path_factory.mktemp("pages")
    small_path = folder / "small.jpg"
    Image.open(photo_path).resize((160, 120)).save(small_path)
    named = {}
    for name, code, count in (("en", "en", 150), ("ru", "ru", 150), ("many", "en", 10_000)):
        ids = [f"{number}.jpg" for number in range(count)]
        rows = [
            make_row(id_, ("Нива", "Heron 4")[number % 2], 0.3 + 0.69 * number / count)
            for number, id_ in enumerate(ids[1:])
        ]
        rows.append(
            make_row(ids[0], None, NAN, "no answer", f"There is no answer: {HOSTILE}.", "?")
        )
        named[name] = folder / f"{name}.html"
        catalog = make_catalog(ids, small_path)
        language = load_language(code)
        write_answers_page(named[name], HOSTILE, rows, catalog, language=language, synthetic=True)
    return named


@pytest.fixture
def open_page(chromium, pages):
    contexts, fetched, complaints = [], [], []

    def open_(name, width=1280, **options):
        context = chromium.new_context(viewport={"width": width, "height": 844}, **options)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: fetched.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("dialog", lambda dialog: complaints.append(dialog.message))
        page.goto(pages[name].as_uri())
        return page

    yield open_
    for context in contexts:
        context.close()
    assert not [url for url in fetched if not url.startswith(("file:", "data:"))]
    assert complaints == []


def list_chances(page):
    texts = page.locator("#list .sure b").all_inner_texts()
    return [int(re.sub(r"\D", "", text)) for text in texts]


def test_a_name_that_is_not_sure_is_a_question(chromium, tmp_path):
    """For whoever reads no further than the name."""
    write(tmp_path, ROWS, Catalog((), ()))
    page = chromium.new_page()
    page.goto((tmp_path / "answers.html").as_uri())
    page.locator("#show").select_option("unsure")
    heads = page.locator("#list h3").all_inner_texts()
    assert heads
    assert all(head.endswith("?") for head in heads)
    page.locator("#show").select_option("model")
    heads = page.locator("#list h3").all_inner_texts()
    assert heads
    assert not any("?" in head for head in heads)
    page.close()


@pytest.mark.parametrize("width", [360, 390, 660, 768, 1024, 1280])
@pytest.mark.parametrize("code", ["en", "ru"])
def test_the_choices_of_its_lists_can_be_read(open_page, code, width):
    page = open_page(code, width)
    assert list_cut_choices(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("code", ["en", "ru"])
def test_answers_are_sorted_filtered_and_searched(open_page, code, width):
    from playwright.sync_api import expect

    page = open_page(code, width)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    items = page.locator("#list li")
    assert items.count() == 60
    assert "check" in items.first.get_attribute("class")
    page.locator("#more").focus()
    page.keyboard.press("Enter")
    assert items.count() == 120
    assert items.nth(60).evaluate("item => item === document.activeElement")
    page.locator("#more").click()
    assert items.count() == 150
    assert not page.locator("#more").is_visible()
    page.locator("#sort").select_option("sure")
    chances = list_chances(page)
    assert chances == sorted(chances, reverse=True)
    assert chances[0] > 90
    page.locator("#show").select_option("check")
    assert max(list_chances(page)) <= 50
    page.locator("#show").select_option("")
    page.locator("#car").select_option(label="Heron 4")
    assert set(page.locator("#list h3").all_inner_texts()) == {"Heron 4"}
    page.locator("#car").select_option("")
    page.locator("#search").fill("149.JPG")
    expect(items).to_have_count(1)
    assert page.locator("#list .id").inner_text() == "149.jpg"
    assert re.findall(r"\d+", page.locator("#count").inner_text()) == ["1", "150"]
    page.locator("#search").fill("no such photo")
    expect(items).to_have_count(0)


def test_a_photo_is_enlarged_and_closed_by_key_and_by_touch(open_page):
    page = open_page("en", 390)
    photo = page.locator(".photo:not(.none)").first
    photo.focus()
    page.keyboard.press("Enter")
    dialog = page.locator("#large")
    assert dialog.is_visible()
    assert dialog.locator("img").bounding_box()["width"] > 300
    page.keyboard.press("Escape")
    assert not dialog.is_visible()
    assert photo.evaluate("button => button === document.activeElement")
    photo.click()
    dialog.locator("button").click()
    assert not dialog.is_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("code", "width"), [("en", 1280), ("ru", 390)])
def test_axe_finds_no_serious_fault(open_page, code, width, scheme):
    from axe_playwright_python.sync_playwright import Axe

    page = open_page(code, width, bypass_csp=True, color_scheme=scheme)
    found = Axe().run(page).response
    grave = [
        (rule["id"], rule["nodes"][0]["html"][:200], rule["nodes"][0]["failureSummary"])
        for rule in found["violations"]
        if rule["impact"] in ("serious", "critical")
    ]
    assert grave == []
    assert len(found["passes"]) > 10


def test_ten_thousand_photos_stay_within_the_budget_and_do_not_stall_the_browser(open_page, pages):
    assert pages["many"].stat().st_size < 4 / 3 * MOST_PICTURE_BYTES + 6_000_000
    page = open_page("many")
    small = page.locator(".photo img").first
    assert small.evaluate("image => [image.naturalWidth, image.naturalHeight]") == [96, 72]
    assert "Photos without a picture" not in page.locator(".notes").inner_text()
    assert page.locator("#list li").count() == 60
    # All of a change of order, layout included, in the browser's own time.
    took_ms = page.evaluate(
        """() => {
            const began = performance.now(), sort = document.getElementById("sort");
            for (const order of ["name", "sure", "file"]) {
                sort.value = order;
                sort.dispatchEvent(new Event("change"));
                document.body.getBoundingClientRect();
            }
            return performance.now() - began;
        }"""
    )
    assert took_ms < 5000
