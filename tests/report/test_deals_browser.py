"""The page of a scan in a real browser, phone and desktop, both languages."""

from dataclasses import replace

import pytest
from axe_playwright_python.sync_playwright import Axe

from lotlens.report.deals_page import draw_offers, write_deals_page
from lotlens.report.language import load_language
from tests.conftest import list_cut_choices
from tests.market.offers import build_scanned

LOOKS = [(code, width) for code in ("en", "ru") for width in (390, 1280)]


def write(folder, scanned, code="en", **options):
    path = folder / f"{code}.html"
    write_deals_page(path, "adverts.csv", scanned, draw_offers(scanned),
                     language=load_language(code), **options)  # fmt: skip
    return path


@pytest.fixture(scope="module")
def pages(tmp_path_factory, photo_drawer):
    folder = tmp_path_factory.mktemp("deals")
    scanned = build_scanned(folder, photo_drawer, new={1, 3})
    return {code: write(folder, scanned, code) for code in ("en", "ru")}


@pytest.fixture
def open_page(chromium):
    """Opens files; fails if the console said anything, or anything else was asked for."""
    said, contexts = [], []

    def open_page(path, width=1280, **options):
        context = chromium.new_context(viewport={"width": width, "height": 844}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda one: said.append(one.url) if is_foreign(one.url) else None)
        page.goto(path.as_uri())
        return page

    def is_foreign(url):
        return not url.startswith(("file:", "data:"))

    yield open_page
    for context in contexts:
        context.close()
    assert said == []


def list_titles(page):
    return page.locator("#list > li:visible h2").all_inner_texts()


@pytest.mark.parametrize(("code", "width"), LOOKS)
def test_it_fits_and_all_can_use_it(pages, open_page, code, width):
    page = open_page(pages[code], width)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for details in page.locator("details").all():
        details.locator("summary").click()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    found = Axe().run(page).response["violations"]
    assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []
    assert list_cut_choices(page) == []
    if width < 640:
        for control in page.locator("#tools select, #tools input, summary, .call-link").all():
            assert control.bounding_box()["height"] >= 44


def test_offers_are_filtered_sorted_and_found(pages, open_page):
    page = open_page(pages["en"])
    assert len(list_titles(page)) == 6
    assert page.locator("#count").inner_text() == "6 of 6 adverts"
    page.select_option("#show", "call")
    assert list_titles(page) == ["1. VW Golf, 2012 new"]
    page.select_option("#show", "hand")
    assert len(list_titles(page)) == 3
    assert (
        "The advert says VW Golf, the photos say Toyota Camry"
        in page.locator("#list > li:visible").first.inner_text()
    )
    page.select_option("#show", "new")
    assert len(list_titles(page)) == 2
    page.select_option("#show", "")
    page.select_option("#car", "Toyota Camry")
    assert [title.partition(". ")[2] for title in list_titles(page)] == ["Toyota Camry, 2014 new"]
    page.select_option("#car", "")
    page.select_option("#sort", "price")
    shown = page.locator("#list > li:visible")
    prices = shown.evaluate_all("all => all.map(one => one.dataset.price)")
    told = [int(price) for price in prices if price]
    assert told == sorted(told)
    assert prices[-1] == ""
    page.select_option("#sort", "year")
    assert "2015" in list_titles(page)[0]
    page.fill("#search", "camry")
    # By its own name, and by what the photos of another one show.
    assert len(list_titles(page)) == 2
    page.fill("#search", "nothing is called so")
    assert list_titles(page) == []
    assert page.locator("#count").inner_text() == "0 of 6 adverts"


@pytest.mark.parametrize(
    ("code", "told"),
    [
        ("en", "Price 600,000 ₽; usually from 720,000 ₽ to 890,000 ₽."),
        ("ru", "Цена 600 000 ₽; обычно от 720 000 ₽ до 890 000 ₽."),
    ],
)
def test_the_price_is_drawn_against_the_usual_one_and_told(pages, open_page, code, told):
    page = open_page(pages[code], 390)
    first = page.locator("#list > li").first
    label = first.locator("svg").get_attribute("aria-label").replace("\u00a0", " ")
    assert label == told
    price, usual, nine = (
        first.locator(f"svg {one}").bounding_box() for one in (".price", ".usual", ".nine")
    )
    assert nine["width"] > usual["width"] > 0
    assert 0 < price["x"] + price["width"] / 2 < usual["x"]  # below the usual range is left of it
    assert first.locator(".photo img").evaluate("one => one.complete && one.naturalWidth > 0")


def test_links_lead_to_the_web_alone_and_take_nothing_with_them(pages, open_page):
    page = open_page(pages["en"])
    links = page.locator("#list a")
    assert links.count() == 4
    for link in links.all():
        assert link.get_attribute("href").startswith("https://example.com/a")
        assert link.get_attribute("rel") == "noopener noreferrer"
        assert link.get_attribute("target") == "_blank"
    text = pages["en"].read_text("utf-8")
    assert "javascript:" not in text
    assert "<script>alert" not in text
    assert "\u202e" not in text
    hostile = page.locator("#list > li", has_text="<script>alert(1)</script>")
    assert "damaged" in hostile.inner_text()
    hostile.locator("summary").click()
    assert "no year" in hostile.inner_text()


def test_why_a_price_and_its_analogues_unfold(pages, open_page):
    page = open_page(pages["ru"], 390)
    first = page.locator("#list > li").first
    assert first.locator("details li").first.is_hidden()
    first.locator("summary").press("Enter")
    assert first.locator("details li").count() == 3
    assert "Оценка по 40 объявлениям этой модели" in first.inner_text()
    assert "На фото VW Golf" in first.inner_text()


def test_nothing_and_no_photos_are_no_trouble(open_page, tmp_path, photo_drawer):
    scanned = build_scanned(tmp_path, photo_drawer, photos=False)
    page = open_page(write(tmp_path, scanned), 390)
    assert page.locator("#list img").count() == 0
    assert page.locator(".photo").count() == 0
    assert "No photos were checked." in page.locator("#list").inner_text()
    nothing = replace(scanned, offers=(), rows=(), pool=(), new=set())
    page = open_page(write(tmp_path, nothing, "ru"), 390)
    assert "В таблице нет объявлений." in page.locator("main").inner_text()
    found = Axe().run(page).response["violations"]
    assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []


def test_without_a_script_all_of_it_can_be_read(pages, open_page):
    page = open_page(pages["en"], java_script_enabled=False)
    assert page.locator("#list > li").count() == 6
    assert page.locator("#tools").is_hidden()
