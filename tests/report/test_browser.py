"""The report in a real browser: it fits a phone, its cells open, and it can be used by all."""

from datetime import date
from pathlib import Path

import numpy as np
import pytest

import lotlens
from lotlens.judge.judged import Judged, Subject
from lotlens.judge.metrics import (
    find_worst_errors,
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
)
from lotlens.records import Predictions as Answers
from lotlens.report.language import load_language
from lotlens.report.page import Background, Origin, write_report

NAMES = ("Волна", "Heron 4", "Clover", "Hyundai Elantra Touring Hatchback", "Жук-2121")
LOOKS = [(code, width) for code in ("en", "ru") for width in (390, 1280)]


@pytest.fixture(scope="module")
def reports(tmp_path_factory, photo_drawer):
    """Language -> a report with everything in it: errors, heat maps, advice, curves, odd photos."""
    folder = tmp_path_factory.mktemp("reports")
    classes = tuple(CarClass(str(k), name) for k, name in enumerate(NAMES))
    rng = np.random.default_rng(0)
    targets = rng.integers(len(NAMES), size=80)
    logits = rng.normal(size=(80, len(NAMES))) + 2.2 * np.eye(len(NAMES))[targets]
    photos = []
    for number, target in enumerate(targets):
        path = folder / f"{number}.jpg"
        photo_drawer(int(target) % 3, number, (160, 120)).save(path)
        photos.append(Photo(path.name, Locator(path), str(target)))
    ids = tuple(photo.id for photo in photos)
    answers = Answers(ids, logits.astype(np.float32), None, (OK,) * 80, classes)
    errors = find_worst_errors(answers, targets)
    assert len(errors) > 4
    heat = np.linspace(0, 1, 48 * 64, dtype=np.float32).reshape(48, 64)
    counts = {car.label: 40 + 10 * number for number, car in enumerate(classes)}
    stages = [{"kind": "probe"}, {"kind": "finetune"}, {"kind": "finetune"}]
    history = [
        {"stage": stage, "epoch": epoch, "train_loss": 2 / epoch, "validation_accuracy": 0.7}
        for stage in (1, 2)
        for epoch in (1, 2, 3)
    ]
    paths = {}
    for code in ("en", "ru"):
        paths[code] = folder / f"{code}.html"
        card = ModelCard(
            1,
            "0.1",
            classes,
            ImageSpec(48, 64, "pad"),
            "lite0",
            {"stages": stages},
            "f00d",
            temperature=1.4,
            chosen="probe 0.8; " * 20,
        )
        judged = Judged(card, answers, targets, counts)
        unreadable = (("a.jpg", "truncated JPEG"), ("b.jpg", "empty file (0 bytes)"))
        vars(judged).update(errors=errors, unreadable=unreadable)
        copy = "It looks like the same picture as 2.jpg (likeness 0.93)."
        background = Background(
            Catalog(tuple(photos), classes),
            heat_maps={error.photo_id: HeatMaps(heat, heat[::-1]) for error in errors},
            history=history,
            findings=[Finding("1.jpg", "near-duplicate", 0.9, ("2.jpg",), copy)],
            origin=Origin(
                Path("runs/standard-1"),
                Path("lot"),
                date(2026, 11, 28),
                754.0,
                {(160, 120): 80, (64, 48): 2},
            ),
            synthetic=True,
        )
        subject, language = Subject("held-out", "standard-1"), load_language(code)
        write_report(paths[code], subject, judged, background, language=language)
    return paths


@pytest.fixture
def open_page(chromium, reports):
    """A function that opens a report; at the end nothing may have been fetched or complained of."""
    contexts, fetched, complaints = [], [], []

    def open_(code, width, **options):
        screen = {"width": width, "height": 800}
        context = chromium.new_context(viewport=screen, **{"color_scheme": "light"} | options)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda request: fetched.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.goto(reports[code].as_uri())
        return page

    yield open_
    for context in contexts:
        context.close()
    assert not [url for url in fetched if not url.startswith(("file:", "data:"))]
    assert complaints == []


@pytest.mark.parametrize(("code", "width"), LOOKS)
def test_the_page_fits_its_screen(open_page, code, width):
    page = open_page(code, width)
    assert page.locator("html").get_attribute("lang") == code
    # Only the table of confusions may be scrolled, within itself.
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    broken = "[...document.images].filter(i => i.checkVisibility() && !i.naturalWidth).length"
    assert page.evaluate(broken) == 0


@pytest.mark.parametrize(("code", "width"), LOOKS)
def test_a_cell_shows_its_photos_and_leads_back(open_page, code, width):
    page = open_page(code, width)
    link = page.locator(".matrix td:not(.right) a").first
    cell = page.locator(link.get_attribute("href"))
    assert not cell.is_visible()
    count = int(link.inner_text())
    link.click()
    assert cell.is_visible()
    photos = cell.locator("img")
    assert photos.count() == count
    photos.first.scroll_into_view_if_needed()
    page.wait_for_function(
        "i => i.complete && i.naturalWidth > 0", arg=photos.first.element_handle()
    )
    assert photos.first.bounding_box()["width"] > 140
    assert page.locator(".cell:visible").count() == 1
    cell.locator(".back").first.click()
    assert not cell.is_visible()
    assert page.locator(".matrix").is_visible()
    page.go_back()
    assert cell.is_visible()


def test_a_cell_opens_from_the_keyboard(open_page):
    page = open_page("en", 1280)
    link = page.locator(".matrix td.right a").first
    link.focus()
    page.keyboard.press("Enter")
    cell = page.locator(link.get_attribute("href"))
    assert cell.is_visible()
    assert cell.evaluate("cell => cell === document.activeElement")
    page.keyboard.press("Tab")
    assert cell.locator(".back").first.evaluate("link => link === document.activeElement")


@pytest.mark.parametrize(("code", "width"), [("en", 1280), ("ru", 390)])
def test_a_photo_grows_and_shrinks_where_it_is(open_page, code, width):
    page = open_page(code, width)
    photo = page.locator("#errors summary img").first
    photo.scroll_into_view_if_needed()
    small, at = photo.bounding_box()["width"], page.evaluate("scrollY")
    photo.click()
    page.locator(".zoom[open]").first.wait_for()
    assert photo.bounding_box()["width"] > small
    assert photo.bounding_box()["width"] <= width
    photo.click()
    page.locator(".zoom[open]").first.wait_for(state="detached")
    assert photo.bounding_box()["width"] == small
    assert page.evaluate("scrollY") == at
    # The same by keyboard, and within a cell of the table.
    page.locator(".matrix td:not(.right) a").first.click()
    inner = page.locator(".cell:visible summary").first
    inner.focus()
    page.keyboard.press("Enter")
    assert inner.locator("img").bounding_box()["height"] > 200
    page.keyboard.press("Enter")
    assert page.locator(".zoom[open]").count() == 0


def test_on_a_phone_a_finger_hits_a_cell_and_heat_maps_are_folded(open_page):
    page = open_page("ru", 390)
    boxes = [link.bounding_box() for link in page.locator(".matrix td a").all()]
    assert min(min(box["width"], box["height"]) for box in boxes) >= 40
    maps = page.locator(".heats img").first
    assert not maps.is_visible()
    page.locator(".heats > summary").first.click()
    maps.wait_for(state="visible")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("code", "width"), LOOKS)
def test_axe_finds_no_serious_fault(open_page, code, width, scheme):
    # The page forbids scripts, axe's too; only here it may not.
    page = open_page(code, width, bypass_csp=True, color_scheme=scheme)
    page.locator(".matrix td:not(.right) a").first.click()
    for fold in page.locator("details:not(.zoom) > summary:visible").all():
        fold.click()
    assert find_grave_faults(page) == []


def find_grave_faults(page):
    """What axe takes for serious; it must have looked at the page."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response
    assert len(found["passes"]) > 10
    return [
        (rule["id"], rule["nodes"][0]["html"][:200], rule["nodes"][0]["failureSummary"])
        for rule in found["violations"]
        if rule["impact"] in ("serious", "critical")
    ]


def read_column(page, column):
    cells = f".classes tbody tr > :nth-child({column})"
    return [text.split()[0] for text in page.locator(cells).all_inner_texts()]


@pytest.mark.parametrize("code", ["en", "ru"])
def test_a_table_is_sorted_by_its_heads_from_the_keyboard_too(open_page, code):
    page = open_page(code, 1280)
    heads = page.locator(".classes thead th")
    assert heads.locator("button").count() == 5
    before = read_column(page, 1)
    heads.nth(1).locator("button").focus()
    page.keyboard.press("Enter")
    assert heads.nth(1).get_attribute("aria-sort") == "descending"  # the most photos first
    counts = list(map(int, read_column(page, 2)))
    assert counts == sorted(counts, reverse=True)
    assert len(set(counts)) > 1
    page.keyboard.press("Space")
    assert heads.nth(1).get_attribute("aria-sort") == "ascending"
    assert list(map(int, read_column(page, 2))) == sorted(counts)
    heads.nth(0).locator("button").click()
    assert [one.get_attribute("aria-sort") for one in heads.all()] == ["ascending"] + 4 * [None]
    assert sorted(before) == sorted(read_column(page, 1))
    heads.nth(3).locator("button").click()
    shares = [float(text.strip("%\u202f").replace(",", ".")) for text in read_column(page, 4)]
    assert shares == sorted(shares)


def test_without_scripts_tables_are_plain(open_page):
    page = open_page("en", 1280, java_script_enabled=False)
    assert page.locator(".classes tbody tr").count() == len(NAMES)
    assert page.locator(".classes button").count() == 0


@pytest.fixture(scope="module")
def audits(tmp_path_factory, small_lot):
    """Language -> the page of an audit of the sample lot, with all its faults."""
    folder = tmp_path_factory.mktemp("audits")
    for code in ("en", "ru"):
        lotlens.run_audit(small_lot, out=folder / code, lang=code)
    return {code: folder / code / "findings.html" for code in ("en", "ru")}


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("code", "width"), LOOKS)
def test_an_audit_fits_its_screen_and_axe_finds_no_serious_fault(
    chromium, audits, code, width, scheme
):
    screen = {"width": width, "height": 800}
    context = chromium.new_context(viewport=screen, color_scheme=scheme, bypass_csp=True)
    page = context.new_page()
    page.goto(audits[code].as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert find_grave_faults(page) == []
    context.close()


def test_cells_are_not_printed(open_page):
    page = open_page("ru", 1280)
    page.locator(".matrix td:not(.right) a").first.click()
    assert page.locator(".cell:visible").count() == 1
    page.emulate_media(media="print")
    assert page.locator(".cell:visible").count() == 0
    assert page.locator(".error").first.is_visible()
    assert page.pdf(format="A4").startswith(b"%PDF")
