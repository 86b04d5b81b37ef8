"""Lists of many photos in a real browser, phone and desktop, both languages."""

import pytest

from tests.web.conftest import SIZES, check_looks, draw
from tests.web.test_desk import wait_until
from tests.web.test_jobs import make_zip

WORDS = {
    "en": ("14 photos are too many for one car", "of 14 photos", "named (11)"),
    "ru": ("14 фото для одной машины слишком много", "из 14 фото", "названа (11)"),
}
KINDS = ("blue", "red", "yellow", "white", "black")


def make_files(*photos):
    return [
        {"name": name, "mimeType": "image/jpeg", "buffer": data}
        for name, data in (
            one if isinstance(one, tuple) else (f"{number}.jpg", draw(one))
            for number, one in enumerate(photos)
        )
    ]


def list_names(page):
    return page.locator("#rows tbody tr:not([hidden]) td:first-child").all_inner_texts()


@pytest.mark.parametrize("lang", ["en", "ru"])
@pytest.mark.parametrize("size", list(SIZES))
def test_too_many_photos_for_one_car_become_a_list(serve, open_page, colour_model, size, lang):
    too_many, progress, named = WORDS[lang]
    page = open_page(serve(), size, lang)
    page.set_input_files("#gallery", make_files(*KINDS, *["blue"] * 9))
    page.locator("#many-text", has_text=too_many).wait_for()
    assert page.locator("#photos li").count() == 0
    check_looks(page)
    colour_model.may_go.clear()
    page.click("#many-send")
    page.locator("#progress", has_text=progress).wait_for()
    check_looks(page)
    colour_model.may_go.set()
    page.locator("#rows tbody tr").nth(13).wait_for()
    assert page.locator("#rows", has_text="Lada Kalina").is_visible()
    page.locator("#rows img").first.scroll_into_view_if_needed()
    wait_until(lambda: page.locator("#rows img").first.evaluate("image => image.naturalWidth"))
    check_looks(page)
    page.select_option("#show", "model")
    assert named in page.locator("#show").inner_text()
    page.fill("#search", "2109")
    wait_until(lambda: list_names(page) == ["1.jpg"])
    page.fill("#search", "")
    page.select_option("#show", "")
    with page.expect_download() as download:
        page.click(".files a >> nth=0")
    lines = download.value.path().read_text("utf-8").splitlines()
    assert (download.value.suggested_filename, len(lines)) == ("answers.csv", 15)
    with page.expect_download() as download:
        page.click(".files a >> nth=1")
    assert download.value.path().read_text("utf-8").splitlines()[:2] == ["Id,Category", "0.jpg,4"]
    page.on("dialog", lambda dialog: dialog.accept())
    page.click("#delete")
    page.locator("#files").wait_for(state="attached")
    assert page.locator("#history li").count() == 0
    check_looks(page)


def test_the_table_is_sorted_by_its_heads(serve, open_page):
    page = open_page(serve(), "desktop")
    page.set_input_files("#gallery", make_files(*KINDS * 3))
    page.click("#many-send")
    page.locator("#rows tbody tr").nth(14).wait_for()
    page.click("#rows th:nth-child(4) button")
    chances = page.locator("#rows tbody td:last-child").evaluate_all(
        "cells => cells.map(cell => cell.dataset.value)"
    )
    known = [float(chance) for chance in chances if chance]
    assert known == sorted(known, reverse=True)
    assert [bool(chance) for chance in chances] == [True] * 9 + [False] * 6
    page.click("#rows th:nth-child(1) button")
    assert list_names(page) == [f"{number}.jpg" for number in range(15)]
    check_looks(page)


def test_a_zip_is_offered_as_a_list_and_a_damaged_one_is_told(serve, open_page):
    page = open_page(serve(), "desktop")
    packed = make_zip(*((f"машина {k}.jpg", "red") for k in range(3)), ("x.txt", b"no"))
    page.set_input_files("#gallery", make_files(("cars.zip", packed[:-9])))
    assert page.locator("#many-no").is_hidden()
    page.click("#many-send")
    page.locator("#many-text", has_text="The zip cannot be used").wait_for()
    page.set_input_files("#gallery", make_files(("cars.zip", packed)))
    page.click("#many-send")
    page.locator("#rows tbody tr").nth(2).wait_for()
    assert list_names(page) == [f"машина {k}.jpg" for k in range(3)]
    assert "left out: 1" in page.locator("main").inner_text()


def test_whoever_wants_no_list_has_the_photos_of_one_car(serve, open_page):
    page = open_page(serve())
    page.set_input_files("#gallery", make_files(*["blue"] * 14))
    page.click("#many-no")
    assert page.locator("#photos li").count() == 12
    assert "12 photos of one car at most" in page.locator("#status").inner_text()
    assert page.locator("#many").is_hidden()


def test_a_photo_that_was_taken_away_stays_away_and_none_comes_twice(serve, open_page):
    page = open_page(serve())
    page.set_input_files("#gallery", make_files("blue", "red"))
    page.locator("#photos li").nth(1).wait_for()
    page.set_input_files("#gallery", make_files(*["yellow"] * 11))
    page.locator("#photos li button").first.click()
    page.click("#many-no")
    page.locator("#photos li").nth(11).wait_for()
    assert page.locator("#photos li").count() == 12
    assert page.locator("#status").inner_text() == ""


def test_the_page_of_lists_takes_a_zip_and_shows_all(serve, open_page):
    page = open_page(serve())
    page.click("header nav a[href^='/jobs']")
    page.locator("#files").wait_for(state="attached")
    page.set_input_files("#files", make_files(("a.zip", make_zip(("a.jpg", "red")))))
    page.locator("#rows tbody tr").wait_for()
    page.click("header nav a[href^='/jobs']")
    page.locator("#history li", has_text="photos: 1").wait_for()
    check_looks(page)


def test_a_photo_that_is_removed_while_it_is_looked_at_ends_that(serve, open_page, colour_model):
    colour_model.may_go.clear()
    page = open_page(serve())
    page.set_input_files("#gallery", make_files("blue", "red"))
    page.click("#send")
    assert colour_model.begun.acquire(timeout=60)
    page.locator("#status", has_text="Looking").wait_for()
    page.click("#photos li >> nth=1 >> button")
    wait_until(lambda: page.locator("#status").inner_text() == "")
    colour_model.may_go.set()
    page.click("#send")
    page.locator("#sentence", has_text="Lada Kalina").wait_for()
    assert page.locator("#photos li").count() == 1
