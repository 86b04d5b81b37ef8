"""The list of a scan on the desk: what is damaged is refused, marks last, nobody else sets them."""

import csv
import io
import json

import pytest

from lotlens.errors import InputError
from lotlens.market.listings import Listing, name_key
from lotlens.report.deals_page import DATA_NAME, draw_offers, write_deals_data
from lotlens.web.deals import Shelf, read_deals
from lotlens.web.gate import TOKEN_HEADER, Policy
from lotlens.web.server import Guests
from lotlens.web.store import Store
from tests.market.offers import build_scanned, list_rows
from tests.web.conftest import SIZES, check_looks
from tests.web.test_desk import ORIGIN, check_described, connect, read_code

KEYS = [name_key(row) for row in list_rows()]


@pytest.fixture
def folder(tmp_path, photo_drawer):
    path = tmp_path / "deals"
    path.mkdir()
    scanned = build_scanned(tmp_path, photo_drawer)
    write_deals_data(path / DATA_NAME, "adverts.csv", scanned, draw_offers(scanned))
    return path


@pytest.fixture
def client(build, folder):
    with connect(build(shelf=Shelf(folder))) as client:
        yield client


def set_mark(client, advert, mark, **headers):
    answer = client.post("/api/v1/marks", json={"advert": advert, "mark": mark}, headers=headers)
    return check_described(client, answer)


# --- the list ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("lang", "word"), [("en", "Worth a call"), ("ru", "Стоит позвонить")])
def test_the_page_has_all_offers_with_pictures_and_escapes_strangers_text(client, lang, word):
    page = client.get(f"/deals?lang={lang}")
    assert page.status_code == 200
    assert word in page.text
    assert page.text.count("data-key=") == 6
    assert "<script>alert" not in page.text
    assert "javascript:" not in page.text
    assert "style=" not in page.text
    assert page.text.count("/deals/pictures/") == 4
    picture = client.get(f"/deals/pictures/{KEYS[0]}")
    assert picture.headers["content-type"] == "image/jpeg"
    assert picture.content.startswith(b"\xff\xd8\xff")
    assert client.get(f"/deals/pictures/{KEYS[5]}").status_code == 404
    assert client.get("/deals/pictures/..%2fdeals.json").status_code == 404
    assert client.get("/static/deals/ru.yaml").status_code == 404
    assert client.get("/static/deals/offers.css").status_code == 200
    assert 'href="/deals?lang=' in client.get("/").text
    assert 'href="/deals?lang=' in client.get("/history").text


def test_without_a_list_there_is_no_page_and_no_link(build):
    with connect(build()) as client:
        assert client.get("/deals").status_code == 404
        assert "/deals" not in client.get("/").text


def spoil(folder, change):
    path = folder / DATA_NAME
    values = json.loads(path.read_text("utf-8"))
    change(values, values["pages"]["en"]["offers"][0])
    path.write_text(json.dumps(values), "utf-8")


@pytest.mark.parametrize(
    "change",
    [
        lambda values, offer: values.update(format=2),
        lambda values, offer: values.update(more=1),
        lambda values, offer: values["pages"].pop("ru"),
        lambda values, offer: values["pictures"].pop(),
        lambda values, offer: values["pictures"].__setitem__(0, "%"),
        lambda values, offer: values["pictures"].__setitem__(0, "PHN2Zz4="),
        lambda values, offer: offer.update(url="javascript:alert(1)"),
        lambda values, offer: offer.update(key="../../etc/passwd"),
        lambda values, offer: offer.update(kind="x onclick"),
        lambda values, offer: offer["chart"].update(low="9"),
        lambda values, offer: offer.update(title="x" * 10_000),
        lambda values, offer: offer.pop("price"),
    ],
)
def test_a_damaged_list_is_one_clear_line(folder, change):
    spoil(folder, change)
    with pytest.raises(InputError, match=r"deals\.json") as refused:
        read_deals(folder)
    assert len(str(refused.value)) < 600


def test_a_folder_of_no_scan_is_refused(tmp_path):
    with pytest.raises(InputError, match="name the folder that lotlens scan wrote"):
        Shelf(tmp_path)
    (tmp_path / DATA_NAME).write_bytes(b"\xff\x00")
    with pytest.raises(InputError, match="no scan of this version"):
        Shelf(tmp_path)


# --- marks ---------------------------------------------------------------------------------------


def test_a_mark_is_kept_replaced_taken_away_and_exported(client):
    assert set_mark(client, KEYS[0], "called").json() == {"advert": KEYS[0], "mark": "called"}
    set_mark(client, KEYS[0], "bought")
    set_mark(client, KEYS[4], "rubbish")
    page = client.get("/deals").text
    assert f'data-key="{KEYS[0]}" data-mark="bought"' in page
    assert f'data-key="{KEYS[1]}" data-mark=""' in page
    rows = list(csv.DictReader(io.StringIO(client.get("/api/v1/marks.csv").text)))
    assert {(row["advert"], row["mark"], row["number"], row["url"]) for row in rows} == {
        (KEYS[0], "bought", "a1", "https://example.com/a1"),
        (KEYS[4], "rubbish", "a5", ""),
    }
    set_mark(client, KEYS[0], "")
    assert f'data-key="{KEYS[0]}" data-mark=""' in client.get("/deals").text


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "bad_request"),
        (b"[]", "bad_request"),
        (json.dumps({"advert": KEYS[0], "mark": "sold"}).encode(), "bad_request"),
        (json.dumps({"advert": KEYS[0], "mark": "called", "x": 1}).encode(), "bad_request"),
        (json.dumps({"advert": ["a"], "mark": "called"}).encode(), "bad_request"),
        (json.dumps({"advert": "0" * 32, "mark": "called"}).encode(), "unknown_advert"),
        (b"[" * 5000, "body_too_large"),
        (b"[" * 4000, "bad_request"),
    ],
)
def test_what_is_no_mark_is_refused(client, body, code):
    found = client.post("/api/v1/marks", content=body)
    assert read_code(check_described(client, found)) == code
    assert client.app.state.store.list_marks() == {}


def test_marks_are_behind_the_gate(build, folder):
    policy = Policy(guests=Guests())
    app = build(shelf=Shelf(folder), policy=policy)
    with connect(app, peer="192.168.1.9", origin="http://192.168.1.5:8000") as stranger:
        assert read_code(set_mark(stranger, KEYS[0], "called")) == "not_let_in"
        assert stranger.get("/deals").status_code == 401
        assert stranger.get(f"/deals/pictures/{KEYS[0]}").status_code == 401
        assert stranger.get("/api/v1/marks.csv").status_code == 401
        key = app.state.store.make_key("shop")
        with_key = {"Authorization": f"Bearer {key}"}
        assert set_mark(stranger, KEYS[0], "called", **with_key).status_code == 200
    with connect(app) as own:
        for origin in ("https://evil.example", ORIGIN):  # our own page's has the token
            assert read_code(set_mark(own, KEYS[0], "bought", Origin=origin)) == "foreign_page"
        token = {"Origin": ORIGIN, TOKEN_HEADER: policy.token}
        assert set_mark(own, KEYS[0], "bought", **token).status_code == 200


def test_marks_survive_a_new_scan_at_another_price(client, folder, tmp_path, photo_drawer):
    set_mark(client, KEYS[1], "called")
    scanned = build_scanned(tmp_path, photo_drawer, photos=False)
    write_deals_data(folder / DATA_NAME, "later.csv", scanned, draw_offers(scanned))
    page = client.get("/deals").text
    assert "later.csv" in page
    assert "/deals/pictures/" not in page
    assert f'data-key="{KEYS[1]}" data-mark="called"' in page
    (folder / DATA_NAME).write_text("{}", "utf-8")  # then the one before stays
    assert "later.csv" in client.get("/deals").text
    (folder / DATA_NAME).unlink()
    assert "later.csv" in client.get("/deals").text


def test_an_advert_is_known_again_by_number_address_or_what_it_says():
    one = Listing(3, "17", title="VW Golf", year=2012, price=1.0, url="https://example.com/x")
    later = Listing(9, "17", title="Golf!", year=2012, price=2.0, url="https://example.com/y")
    assert name_key(one) == name_key(later)
    other_site = Listing(3, "17", url="https://example.org/x")
    assert name_key(one) != name_key(other_site)
    bare, moved = (Listing(n, str(n), url="https://example.com/x", price=n) for n in (1, 5))
    assert name_key(bare) == name_key(moved)
    told = [Listing(n, str(n), title="VW Golf", year=2012, mileage=1000.0, price=n) for n in (1, 5)]
    assert name_key(told[0]) == name_key(told[1])
    assert name_key(told[0]) != name_key(Listing(1, "1", title="VW Golf", year=2013))


def test_marks_are_alike_in_both_databases(database):
    store = Store(database)
    told = {"number": "=1+1", "title": "Волга", "url": ""}
    for mark in ("called", "rubbish"):
        store.mark("a", mark, told)
    store.mark("b", "bought", told)
    store.close()
    store = Store(database)
    assert store.list_marks() == {"a": "rubbish", "b": "bought"}
    assert "'=1+1" in store.write_marks_csv()
    store.mark("b", "", told)
    assert store.list_marks() == {"a": "rubbish"}
    store.close()


# --- in a browser --------------------------------------------------------------------------------

WORDS = {"en": ("called", "Mark of VW Golf, 2012"), "ru": ("позвонили", "Отметка: VW Golf, 2012")}


@pytest.mark.parametrize("lang", ["en", "ru"])
@pytest.mark.parametrize("size", list(SIZES))
def test_offers_are_marked_and_filtered_by_marks(serve, open_page, folder, size, lang):
    word, group = WORDS[lang]
    address = serve(shelf=Shelf(folder))
    page = open_page(address, size, lang)
    page.click("header nav a[href^='/deals']")
    page.wait_for_url("**/deals*")  # by when there is a document to measure
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    first = page.locator("#list > li").first
    assert first.get_by_role("group", name=group).is_visible()
    button = first.get_by_role("button", name=word)
    assert button.bounding_box()["height"] >= 44
    button.click()
    page.locator("[data-mark=called]").wait_for()
    assert button.get_attribute("aria-pressed") == "true"
    page.locator("#list > li").nth(1).locator("[data-set=rubbish]").click()
    page.locator("[data-mark=rubbish]").wait_for()
    check_looks(page)
    page.reload()
    for mark, num in (("called", 1), ("rubbish", 1), ("bought", 0), ("none", 4), ("", 6)):
        page.select_option("#mark", mark)
        assert page.locator("#list > li:visible").count() == num
    first = page.locator("#list > li").first
    first.locator("[data-set=called]").click()
    first.locator("[aria-pressed=true]").wait_for(state="detached")
    image = first.locator("img")
    assert image.evaluate("one => one.decode().then(() => one.naturalWidth > 0)")
    page.click("header nav a[href^='/?']")
    page.locator("#choose").wait_for()


def test_a_mark_that_is_not_saved_is_not_shown(serve, open_page, folder):
    address = serve(shelf=Shelf(folder))
    page = open_page(address)
    page.goto(f"{address}deals")
    page.evaluate("document.body.dataset.token = 'wrong'")
    page.click("[data-set=called] >> nth=0")
    page.locator("#trouble-text", has_text="Another website has sent this.").wait_for()
    assert page.locator("[aria-pressed=true]").count() == 0
