"""The desk in a real browser, phone and desktop, both languages: from photos to the history."""

import io

import pytest
from PIL import Image

from lotlens.records import Box
from lotlens.web.batching import Bounds
from tests.web.conftest import SIZES, check_looks, draw


def choose(page, *colours):
    photos = [colour if isinstance(colour, bytes) else draw(colour) for colour in colours]
    files = [
        {"name": f"{number}.jpg", "mimeType": "image/jpeg", "buffer": photo}
        for number, photo in enumerate(photos)
    ]
    page.set_input_files("#gallery", files)


WORDS = {
    "en": ("This is Lada Kalina.", "Saved.", "It is what is claimed", "Corrected: ВАЗ 2109"),
    "ru": ("Это Lada Kalina.", "Сохранено", "Модель указана верно", "Исправлено: ВАЗ 2109"),
}


@pytest.mark.parametrize("lang", ["en", "ru"])
@pytest.mark.parametrize("size", list(SIZES))
def test_photos_answer_correction_and_history(serve, open_page, size, lang):
    sentence, saved, claimed, corrected = WORDS[lang]
    page = open_page(serve(), size, lang)
    assert page.locator(".phone").is_visible() == (size == "phone")
    check_looks(page)
    choose(page, "blue", "blue", "red", "blue")
    assert page.locator("#photos li").count() == 4
    page.fill("#claim", "lada kalina")
    page.click("#send")
    page.locator("#sentence", has_text=sentence).wait_for()
    assert "%" in page.locator("#chance").inner_text()
    assert claimed in page.locator("#claimed").inner_text()
    assert page.locator("#photos li.odd").count() == 1
    check_looks(page)
    page.click("summary")
    page.select_option("#label", "0")
    check_looks(page)
    page.click("#save")
    page.locator("#saved", has_text=saved).wait_for()
    page.click("header nav a[href^='/history']")
    page.locator("#history li", has_text=corrected).wait_for()
    assert sentence in page.locator("#history").inner_text()
    check_looks(page)


@pytest.mark.parametrize("size", list(SIZES))
@pytest.mark.parametrize("side", [(200, 100), (100, 200)])
def test_the_cars_box_is_drawn_on_its_photo(serve, open_page, colour_model, size, side):
    colour_model.box = Box(0.25, 0.3, 0.75, 0.6, 0.9)
    page = open_page(serve(), size)
    stream = io.BytesIO()
    Image.new("RGB", side, "blue").save(stream, "JPEG")
    choose(page, stream.getvalue(), "blue")
    assert page.locator("#photos svg").count() == 0
    page.click("#send")
    page.locator("#photos li >> nth=0 >> rect").wait_for()
    assert page.locator("#photos rect").count() == 2
    assert "a frame around the car" in page.locator("#photos img >> nth=0").get_attribute("alt")
    photo = page.locator("#photos img >> nth=0").bounding_box()
    frame = page.locator("#photos rect >> nth=0").bounding_box()
    # As `object-fit: cover` shows the photo: its middle, as large as fills the place.
    scale = max(photo["width"] / side[0], photo["height"] / side[1])
    middle = photo["x"] + photo["width"] / 2, photo["y"] + photo["height"] / 2
    expected = {
        "x": middle[0] + (0.25 - 0.5) * side[0] * scale,
        "y": middle[1] + (0.3 - 0.5) * side[1] * scale,
        "width": 0.5 * side[0] * scale,
        "height": 0.3 * side[1] * scale,
    }
    for name, value in expected.items():  # the line of the frame has a width of its own
        assert frame[name] == pytest.approx(value, abs=4), name
    check_looks(page)
    page.click("#photos li >> nth=0 >> button")  # the frame is in nobody's way
    assert page.locator("#photos li").count() == 1
    assert page.locator("#photos svg").count() == 0


def test_a_model_that_looks_at_whole_photos_draws_no_box(serve, open_page):
    page = open_page(serve())
    choose(page, "blue")
    page.click("#send")
    page.locator("#sentence", has_text="Lada Kalina").wait_for()
    assert page.locator("#photos svg").count() == 0


@pytest.mark.parametrize(
    ("colours", "kind"),
    [(["yellow"], "unsure"), (["white"], "unknown"), (["black"], "not-a-car")],
)
def test_other_verdicts_say_what_to_do(serve, open_page, colours, kind):
    page = open_page(serve())
    choose(page, *colours)
    page.click("#send")
    page.locator(f"#answer.{kind}").wait_for()
    assert page.locator("#advice").inner_text()
    assert page.locator("#chance").inner_text() == ""
    assert page.locator("#candidates li").count() == (3 if kind == "unsure" else 0)
    check_looks(page)


def test_what_is_no_photo_is_refused_in_words_without_a_retry(serve, open_page):
    page = open_page(serve(), lang="ru")
    choose(page, b"no photo")
    page.click("#send")
    page.locator("#trouble-text", has_text="Ни одно фото не читается").wait_for()
    assert page.locator("#retry").is_hidden()
    check_looks(page)


def test_a_busy_desk_says_so_and_the_photos_stay(serve, open_page, colour_model):
    colour_model.may_go.clear()
    address = serve(limits=Bounds(most_photos=1))
    first, second = open_page(address), open_page(address)
    choose(first, "blue")
    first.click("#send")
    assert colour_model.begun.acquire(timeout=60)
    # Never a refusal while it is still working.
    assert first.locator("#status").inner_text() == "Looking…"
    assert first.locator("#answer").is_hidden()
    choose(second, "red")
    second.click("#send")
    second.locator("#trouble-text", has_text="Too many photos are waiting").wait_for()
    assert second.locator("#photos li").count() == 1
    colour_model.may_go.set()
    first.locator("#sentence", has_text="Lada Kalina").wait_for()
    second.click("#retry")
    second.locator("#sentence", has_text="ВАЗ 2109").wait_for()


def test_a_desk_that_is_busy_for_a_moment_is_asked_again_by_the_page(
    serve, open_page, colour_model
):
    colour_model.may_go.clear()
    address = serve(limits=Bounds(most_photos=1))
    first, second = open_page(address), open_page(address)
    choose(first, "blue")
    first.click("#send")
    assert colour_model.begun.acquire(timeout=60)
    choose(second, "red")
    with second.expect_response(lambda response: response.status == 429):
        second.click("#send")
    colour_model.may_go.set()
    second.locator("#sentence", has_text="ВАЗ 2109").wait_for()
    assert second.locator("#trouble").is_hidden()


def test_a_photo_that_is_removed_takes_its_answer_with_it(serve, open_page):
    page = open_page(serve(), "desktop")
    choose(page, "blue", "red")
    page.click("#send")
    page.locator("#answer").wait_for()
    page.click("#photos li >> nth=1 >> button")
    assert page.locator("#answer").is_hidden()
    page.click("#send")
    page.locator("#sentence", has_text="Lada Kalina").wait_for()
    page.click("#clear")
    assert page.locator("#more").is_hidden()


def test_photos_are_dropped_and_pasted_on_a_desktop(serve, open_page):
    page = open_page(serve(), "desktop")
    data = list(draw("blue"))
    for event in ("drop", "paste"):
        page.evaluate_handle(
            """([kind, bytes]) => {
              const transfer = new DataTransfer();
              const file = new File([new Uint8Array(bytes)], "a.jpg", { type: "image/jpeg" });
              transfer.items.add(file);
              document.dispatchEvent(kind === "drop"
                ? new DragEvent("drop", { dataTransfer: transfer })
                : new ClipboardEvent("paste", { clipboardData: transfer }));
            }""",
            [event, data],
        )
    assert page.locator("#photos li").count() == 2
    page.click("#send")
    page.locator("#sentence", has_text="Lada Kalina").wait_for()
