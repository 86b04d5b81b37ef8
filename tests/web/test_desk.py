"""The desk's REST and page: right answers, one shape of errors, and nobody in who should not be."""

import csv
import io
import json
import re
import socket
import sqlite3
import time
import zlib
from dataclasses import replace
from pathlib import Path
from urllib.error import HTTPError

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from lotlens.audit.offered import match_classes
from lotlens.errors import InputError
from lotlens.market.claims import judge_listing
from lotlens.market.listings import Listing
from lotlens.photos.sources import open_lot
from lotlens.records import Box
from lotlens.refusal.cars import decide_car
from lotlens.web.batching import Bounds
from lotlens.web.gate import TOKEN_HEADER, Policy, Rate
from lotlens.web.problems import PROBLEMS
from lotlens.web.server import Guests, _Impatient
from lotlens.web.store import Store, save_corrections, strip
from lotlens.web.uploads import FormBounds
from tests.web.conftest import CLASSES, COLOURS, draw, serving

ORIGIN = "http://127.0.0.1:8000"


def connect(app, peer="127.0.0.1", origin=ORIGIN, **headers):
    return TestClient(
        app,
        base_url=origin,
        headers=headers,
        raise_server_exceptions=False,
        client=(peer, 50000),
    )


@pytest.fixture
def client(build):
    with connect(build()) as client:
        yield client


def send(client, *colours, path="/api/v1/predict", headers=None, **fields):
    photos = [colour if isinstance(colour, bytes) else draw(colour) for colour in colours]
    files = [("photos", ("../../etc/passwd", photo, "image/jpeg")) for photo in photos]
    return check_described(client, client.post(path, files=files, data=fields, headers=headers))


def check_described(client, response):
    """Its description knows each answer of a path: the status, and of an error the code."""
    path = client.app.openapi()["paths"][response.url.path]
    told = path[response.request.method.lower()]["responses"].get(str(response.status_code))
    assert told is not None, response.text
    if response.status_code >= 400:
        code = response.json()["error"]["code"]
        assert code in told["content"]["application/json"]["examples"]
    return response


def read_code(response):
    body = response.json()
    assert body.keys() == {"error"}
    assert body["error"].keys() == {"code", "message"}
    code = body["error"]["code"]
    assert response.status_code == PROBLEMS[code].status
    assert body["error"]["message"]
    return code


# --- answers -------------------------------------------------------------------------------------


def test_the_box_of_the_car_comes_with_each_photo(client, colour_model):
    found = send(client, "blue").json()
    assert [photo["box"] for photo in found["photos"]] == [None]
    colour_model.box = Box(0.1234, 0.25, 0.9, 1.0, 0.5)
    found = send(client, "blue", b"no photo", "red").json()
    box = {"left": 0.123, "top": 0.25, "right": 0.9, "bottom": 1.0, "score": 0.5}
    assert [photo["box"] for photo in found["photos"]] == [box, None, box]


def test_one_photo_has_a_sentence_and_a_number(client):
    found = send(client, "blue", listing="advert 17").json()
    assert found["sentence"] == "This is Lada Kalina."
    assert found["probability"] == pytest.approx(0.9998, abs=1e-3)
    assert found["cars"][0] | {"probability": 0} == {
        "label": "4",
        "name": "Lada Kalina",
        "probability": 0,
    }
    assert (found["verdict"], found["advice"], found["claim"]) == ("model", "", None)
    assert (found["listing"], found["model_id"], found["check_id"]) == ("advert 17", "abc", None)


@pytest.mark.parametrize(
    ("colours", "verdict", "sentence"),
    [
        (["yellow"], "unsure", "ВАЗ 2109 (52 %) or ВАЗ 21099 (47 %): it is hard to tell which."),
        (["white"], "unknown", "It looks like none of the models that were learnt"),
        (["black"], "not a car", "It does not look like the cars that were learnt"),
        (["yellow", "red"], "model", "This is ВАЗ 2109."),
        (["black", "green"], "model", "This is ВАЗ 21099."),
        (["red", "blue"], "unsure", "ВАЗ 2109 (50 %) or Lada Kalina (50 %): it is hard"),
    ],
)
def test_each_verdict_has_its_sentence_and_what_to_do(
    build, colour_model, colours, verdict, sentence
):
    colour_model.card = replace(colour_model.card, dependence=0.5)
    with connect(build()) as client:
        found = send(client, *colours).json()
    assert found["verdict"] == verdict
    assert found["sentence"].startswith(sentence)
    assert bool(found["advice"]) == (verdict != "model")
    if verdict in ("unknown", "not a car"):
        assert found["cars"] == found["candidates"] == []
        assert found["probability"] is None


def test_the_odd_photo_is_pointed_out(client):
    found = send(client, "blue", "red", "blue", "black").json()
    assert [photo["odd"] for photo in found["photos"]] == [False, True, False, False]
    assert [photo["used"] for photo in found["photos"]] == [True, False, True, False]
    assert found["advice"].startswith("Are all photos of one car?")
    looked = "This is Lada Kalina. Look at photo 2: it may show another car."
    assert found["sentence"] == looked
    send(client, "blue", "red", "blue", "black", remember="1")
    assert looked in client.get("/history").text
    told = "Проверьте фото 1, 2: там может быть другая машина."
    russian = send(client, "red", "blue", headers={"Accept-Language": "ru"}).json()
    assert russian["sentence"].endswith(told)


def test_a_photo_that_is_sure_of_nothing_is_pointed_out_and_counts(
    build, colour_model, monkeypatch
):
    """One car of the classes and one of none, whose photo gives the first one nothing."""
    refusal = replace(colour_model.card.refusal, candidate=0.1)
    colour_model.card = replace(colour_model.card, refusal=refusal)
    monkeypatch.setitem(COLOURS, "purple", ((2.0, 1.5, -0.9), 1.0))
    with connect(build()) as client:
        found = send(client, "blue", "purple").json()
        plain = send(client, "blue", "blue").json()
    assert [photo["odd"] for photo in found["photos"]] == [False, True]
    assert [photo["used"] for photo in found["photos"]] == [True, True]
    assert found["sentence"].endswith(" Look at photo 2: it may show another car.")
    assert found["cars"][0]["name"] == "Lada Kalina"
    assert found["advice"].startswith("Are all photos of one car?")
    assert [photo["odd"] for photo in plain["photos"]] == [False, False]
    assert (plain["sentence"], plain["advice"]) == ("This is Lada Kalina.", "")


@pytest.mark.parametrize(
    ("claim", "result", "label"),
    [("lada kalina", "confirmed", "4"), ("0", "contradicted", "0"), ("Granta", "open", None)],
)
def test_a_claim_is_confirmed_contradicted_or_open(client, claim, result, label):
    found = send(client, "blue", claim=claim).json()["claim"]
    assert (found["result"], found["label"], found["text"]) == (result, label, claim)
    assert found["sentence"]


@pytest.mark.parametrize("car", ["Lada Kalina", "ВАЗ 2109", "ВАЗ 21099 2004", "Granta"])
@pytest.mark.parametrize(
    "colours",
    [
        ["blue"], ["red", "blue"], ["blue", "red", "blue"], ["yellow"], ["yellow", "red"],
        ["white"], ["white", "blue"], ["white", "blue", "blue"], ["black", "blue"], ["black"],
    ],
)  # fmt: skip
def test_the_desk_and_a_scan_say_the_same_of_the_same_photos(client, colour_model, colours, car):
    found = send(client, *colours, claim=car).json()
    photos = colour_model.answer_bytes([draw(colour) for colour in colours], colours)
    card = colour_model.card
    verdict = decide_car(photos, card.refusal, card.temperature, dependence=card.dependence)
    scanned = judge_listing(Listing(1, "1", model=car), card.classes, verdict, range(len(colours)))
    assert found["claim"]["result"] == scanned.verdict
    assert found["claim"]["name"] == (scanned.claimed and scanned.claimed.name)
    assert (found["verdict"] == "model") == scanned.is_named
    best = found["candidates"][0] if found["candidates"] else None
    assert (best and best["probability"]) == (scanned.seen and pytest.approx(scanned.probability))


def test_a_claim_that_fits_is_not_called_sure_where_the_answer_is_not(client, colour_model):
    colour_model.card = replace(
        colour_model.card, refusal=replace(colour_model.card.refusal, sure=0.9999999)
    )
    found = send(client, "blue", claim="Lada Kalina").json()
    assert found["verdict"] == "unsure"
    assert found["claim"]["sentence"] == "The photos fit what is claimed: Lada Kalina."


def test_sentences_are_in_the_language_that_is_asked_for(build):
    with connect(build()) as client:
        for accepted, sentence in (
            ("ru-RU,ru;q=0.9,en;q=0.8", "Это Lada Kalina."),
            ("de,en;q=0.3,ru;q=0.2", "This is Lada Kalina."),
            ("de", "This is Lada Kalina."),
            ("ru;q=x, \x7f", "This is Lada Kalina."),
        ):
            found = send(client, "blue", headers={"Accept-Language": accepted})
            assert found.json()["sentence"] == sentence
        refused = send(client, b"no photo", headers={"Accept-Language": "ru"}).json()
        assert refused["error"]["message"] == (
            "Ни одно фото не читается: неизвестный формат, это не фото."
        )


def test_a_photo_that_cannot_be_read_is_told_beside_others_and_refused_alone(client):
    found = send(client, "blue", b"nothing").json()
    assert found["verdict"] == "model"
    assert found["photos"][1]["verdict"] == "no answer"
    assert read_code(send(client, b"nothing", b"x")) == "unreadable"


def test_the_model_and_the_servers_state(client):
    card = client.get("/api/v1/model").json()
    assert card["id"] == "abc"
    assert [one["name"] for one in card["classes"]] == [car.name for car in CLASSES]
    assert card["metrics"][0]["value"] == 0.9
    assert client.get("/healthz").json() == client.get("/readyz").json() == {"status": "ok"}
    client.app.state.batching.end()
    assert client.get("/readyz").status_code == 503
    response = send(client, "blue")
    assert read_code(response) == "ending"
    assert int(response.headers["retry-after"]) > 0


def test_metrics_count_how_requests_ended(client):
    send(client, "blue", "red")
    send(client, b"x")
    text = client.get("/metrics").text
    assert 'lotlens_requests_total{end="answered"} 1.0' in text
    assert 'lotlens_requests_total{end="unreadable"} 1.0' in text
    assert "lotlens_photos_held 0.0" in text


def test_a_model_that_fails_is_500_and_the_next_request_is_answered(client, colour_model):
    colour_model.fails = True
    answer = send(client, "blue")
    assert read_code(answer) == "failed"
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert answer.headers["cache-control"] == "no-store"
    colour_model.fails = False
    assert send(client, "blue").status_code == 200
    assert client.app.state.batching.num_held == 0


# --- corrections and history ---------------------------------------------------------------------


def test_a_correction_is_on_the_disk_with_photos_that_tell_nothing_of_place_and_time(client):
    exif = Image.Exif()
    exif[0x0110], exif[0x0112] = "SecretPhone", 6
    exif.get_ifd(0x8825)[1] = "N"
    photo = draw("blue", exif=exif)
    assert b"SecretPhone" in photo
    checked = send(client, photo, "red", remember="1", claim="Granta").json()
    answer = send(
        client, photo, "red", path="/api/v1/corrections", check_id=checked["check_id"], label="1"
    )
    assert answer.json() == {
        "check_id": checked["check_id"],
        "label": "1",
        "name": "ВАЗ 21099",
    }
    store = client.app.state.store
    kept = store.read_photos(checked["check_id"])
    assert len(kept) == 2
    assert b"SecretPhone" not in kept[0]
    assert b"Exif" not in kept[0]
    assert Image.open(io.BytesIO(kept[0])).size == (48, 64)  # upright
    path = store._engine.url.database
    assert b"SecretPhone" not in Path(path).read_bytes() + Path(f"{path}-wal").read_bytes()
    page = client.get("/history").text
    assert "Corrected: ВАЗ 21099" in page
    rows = list(csv.DictReader(io.StringIO(client.get("/api/v1/corrections.csv").text)))
    assert [(row["label"], row["name"], row["photos"]) for row in rows] == [("1", "ВАЗ 21099", "2")]


def test_a_correction_can_be_none_of_these_and_be_changed(client):
    id_ = send(client, "blue", remember="1").json()["check_id"]
    for label, name in (("1", "ВАЗ 21099"), ("", "")):
        done = send(client, "blue", path="/api/v1/corrections", check_id=id_, label=label)
        assert done.json()["name"] == name
    assert "Corrected: none of the models" in client.get("/history").text
    assert len(client.app.state.store.list_corrected()) == 1


@pytest.mark.parametrize(
    ("colours", "fields", "code"),
    [
        (["blue"], {"check_id": "nobody", "label": "1"}, "gone"),
        (["blue"], {"label": "7"}, "unknown_class"),
        (["blue"], {}, "bad_request"),
        (["red"], {"label": "1"}, "other_photos"),
        (["blue", "blue"], {"label": "1"}, "other_photos"),
        ([b""], {"label": "1"}, "unreadable"),
    ],
)
def test_what_cannot_be_corrected_says_why(client, colours, fields, code):
    id_ = send(client, "blue", remember="1").json()["check_id"]
    sent = {"check_id": id_} | fields
    assert read_code(send(client, *colours, path="/api/v1/corrections", **sent)) == code
    assert client.app.state.store.list_corrected() == []


def test_a_check_that_is_not_to_be_remembered_leaves_nothing(client):
    send(client, "blue", claim="Granta")
    assert client.app.state.store.list_checks() == []
    assert "Nothing was checked yet." in client.get("/history").text


def test_every_page_says_whose_name_stands_at_its_end(client):
    for path in ("/", "/history", "/jobs", "/jobs/none"):
        for code, word in (("en", "Model"), ("ru", "Программа")):
            page = client.get(f"{path}?lang={code}").text
            assert re.search(rf"<footer[^>]*>{word}: \S", page), path


def test_the_history_is_in_the_readers_language(client):
    send(client, "blue", remember="1", claim="0", headers={"Accept-Language": "ru"})
    send(client, "yellow", remember="1", headers={"Accept-Language": "ru"})
    send(client, "white", remember="1", claim="Granta")
    english, russian = (client.get(f"/history?lang={code}").text for code in ("en", "ru"))
    for text in (
        "This is Lada Kalina.</b> &gt;",
        "Claimed: ВАЗ 2109. The photos show another car, Lada Kalina.",
        "ВАЗ 2109 (52 %) or ВАЗ 21099 (47 %): it is hard to tell which.",
        "It looks like none of the models",
    ):
        assert text in english
    pair = "ВАЗ 2109 (52\u202f%) или ВАЗ 21099 (47\u202f%): какая из двух, по фото не понять."
    for text in (pair, "Это Lada Kalina.", "На фото другая машина", "Не похоже ни на одну из"):
        assert text in russian


def test_what_is_written_is_flushed_and_survives_a_kill(tmp_path):
    path = tmp_path / "a.sqlite"
    store = Store(f"sqlite:///{path}")
    with store._engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
    id_ = store.remember("m", {"sentence": "x"}, [b"1"])
    # Another process sees it while this one has closed nothing.
    other = sqlite3.connect(path)
    assert other.execute("SELECT id FROM lotlens_checks").fetchall() == [(id_,)]
    other.close()
    store.close()


def test_a_database_that_cannot_be_is_one_error(tmp_path):
    for url in (f"sqlite:///{tmp_path}/no/such/folder.sqlite", "nonsense", "nosuch://x"):
        with pytest.raises(InputError, match="the database cannot be used"):
            Store(url)


def test_corrections_become_labelled_photos(client, tmp_path):
    store, out = client.app.state.store, tmp_path / "new" / "corrected"
    with pytest.raises(InputError, match="no correction"):
        save_corrections(store, CLASSES, out)
    assert not out.exists()
    for colours, label in ((["blue", "red"], "1"), (["green"], ""), (["red"], "4")):
        id_ = send(client, *colours, remember="1").json()["check_id"]
        send(client, *colours, path="/api/v1/corrections", check_id=id_, label=label)
    assert save_corrections(store, CLASSES, out) == (3, 1)
    lot = open_lot(out)
    assert sorted(photo.label for photo in lot.train.photos) == ["1", "1", "4"]
    assert len(lot.test) == 0  # what lies in others/ is offered by another option
    assert len({photo.listing for photo in lot.train.photos}) == 2
    assert {car.label: car.name for car in lot.train.classes}["4"] == "Lada Kalina"
    with pytest.raises(InputError, match="exists already"):
        save_corrections(store, CLASSES, out)
    assert [path.name for path in out.parent.iterdir()] == ["corrected"]


def test_corrections_of_other_cars_become_others_without_photos_of_no_car(client, tmp_path):
    store, out = client.app.state.store, tmp_path / "corrected"
    for colours, claim in ((["blue", "black"], "Granta"), (["red"], ""), (["green"], "ВАЗ 2109")):
        id_ = send(client, *colours, claim=claim, remember="1").json()["check_id"]
        send(client, *colours, path="/api/v1/corrections", check_id=id_, label="")
    assert save_corrections(store, CLASSES, out) == (0, 3)
    lot = open_lot(out / "others")
    labels = {photo.label for photo in lot.train.photos}
    assert labels == {"Granta", "another car"}
    assert len(lot.train) == 3
    assert len({photo.listing for photo in lot.train.photos}) == 3
    matches = match_classes(lot.train.classes, CLASSES)
    assert set(matches.values()) == {None}


def test_what_is_no_photo_is_not_kept():
    assert strip(b"nothing") is None


# --- who is let in -------------------------------------------------------------------------------


def test_a_key_is_shown_once_and_kept_as_a_hash(build, tmp_path):
    app = build(policy=Policy(guests=Guests()))
    store = app.state.store
    key = store.make_key("shop")
    with pytest.raises(InputError, match="'shop' already"):
        store.make_key("shop")
    for file in tmp_path.glob("desk.sqlite*"):
        assert key.encode() not in file.read_bytes()
    with connect(app, peer="192.168.0.7", origin="http://192.168.0.5:8000") as client:
        assert read_code(client.get("/api/v1/model")) == "not_let_in"
        assert read_code(send(client, "blue")) == "not_let_in"
        assert read_code(client.get("/metrics")) == "not_let_in"
        assert client.get("/").status_code == 401
        assert client.get("/static/desk.js").status_code == 401
        assert client.get("/healthz").status_code == 200
        headers = {"Authorization": f"Bearer {key}"}
        assert client.get("/api/v1/model", headers=headers).status_code == 200
        assert send(client, "blue", headers=headers).status_code == 200
        for wrong in (f"{key}x".encode(), b"", b"\x80"):
            answer = client.get("/api/v1/model", headers={"Authorization": b"Bearer " + wrong})
            assert read_code(answer) == "not_let_in"
        assert store.remove_key("shop")
        assert not store.remove_key("shop")
        assert read_code(send(client, "blue", headers=headers)) == "not_let_in"


def test_a_device_comes_by_a_link_and_stays_by_its_cookie(build):
    guests = Guests()
    app = build(policy=Policy(guests=guests))
    with connect(app, peer="192.168.0.7", origin="http://192.168.0.5:8000") as client:
        link = guests.invite("http://192.168.0.5:8000/")
        assert client.get(link).status_code == 200
        assert client.get("/history").status_code == 200
        assert send(client, "blue").status_code == 200
    with connect(app, peer="192.168.0.8", origin="http://192.168.0.5:8000") as other:
        assert other.get(link).status_code == 401


def test_behind_a_proxy_nobody_is_let_in_for_coming_from_this_machine(build):
    guests = Guests()
    app = build(policy=Policy(guests=guests, public_name="desk.example.ru"))
    with connect(app, origin="https://desk.example.ru") as client:
        assert client.get("/").status_code == 401
        assert read_code(send(client, "blue")) == "not_let_in"
        page = client.get(guests.invite("https://desk.example.ru/"))
        assert "Secure" in page.headers["set-cookie"]
        headers = {"Origin": "https://desk.example.ru", TOKEN_HEADER: read_token(page.text)}
        assert send(client, "blue", headers=headers).status_code == 200
    with connect(app) as client:  # a proxy that does not pass the name on
        assert read_code(client.get("/")) == "wrong_name"


def read_token(page):
    return re.search('data-token="([^"]+)"', page)[1]


def test_other_websites_cannot_steer_the_desk(client):
    token = read_token(client.get("/").text)
    own = {"Origin": ORIGIN, TOKEN_HEADER: token}
    assert send(client, "blue", headers=own).status_code == 200
    for headers in (
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://evil.example", TOKEN_HEADER: token},
        {"Origin": ORIGIN},
        {"Origin": ORIGIN, TOKEN_HEADER: "wrong"},
        {"Sec-Fetch-Site": "cross-site"},
    ):
        for path in ("/api/v1/predict", "/api/v1/corrections"):
            assert read_code(send(client, "blue", path=path, headers=headers)) == "foreign_page"
    assert read_code(client.get("/", headers={"Host": "evil.example"})) == "wrong_name"


def test_every_answer_has_a_strict_policy_and_the_pages_keep_to_it(client):
    for path in ("/", "/history", "/static/desk.js", "/nowhere", "/api/v1/model", "/healthz"):
        headers = client.get(path).headers
        policy = headers["content-security-policy"]
        assert "unsafe" not in policy
        assert policy.startswith("default-src 'none'; script-src 'self'")
        assert headers["x-content-type-options"] == "nosniff"
    for path in ("/", "/history"):
        page = client.get(path).text
        assert not re.search(r"<script(?![^>]*src=)|\son\w+=|style=|<style|https?://", page)


def test_a_key_that_asks_too_often_waits_and_this_machine_does_not(build):
    with connect(build(policy=Policy(rate=Rate(per_minute=60, burst=3)))) as client:
        key = {"Authorization": f"Bearer {client.app.state.store.make_key('shop')}"}
        answers = [send(client, "blue", headers=key) for _ in range(5)]
        assert [answer.status_code for answer in answers[:3]] == [200] * 3
        assert read_code(answers[-1]) == "too_often"
        assert answers[-1].headers["retry-after"] == "1"
        assert client.get("/api/v1/model", headers=key).status_code == 200
        assert send(client, "blue").status_code == 200


def test_a_bucket_fills_again():
    rate = Rate(per_minute=60, burst=2)
    assert [rate.take("a", 0.0) for _ in range(3)] == [0, 0, 1]
    assert rate.take("b", 0.0) == 0
    assert rate.take("a", 1.0) == 0
    assert rate.take("a", 1.0) == 1


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        ("GET", "/nowhere", "not_found"),
        ("GET", "/static/..%2Fserver.py", "not_found"),
        ("GET", "/static/server.py", "not_found"),
        ("GET", "/api/v1/predict", "wrong_method"),
        ("DELETE", "/api/v1/model", "wrong_method"),
        ("TRACE", "/", "wrong_method"),
    ],
)
def test_errors_have_one_shape(client, method, path, code):
    assert read_code(client.request(method, path)) == code


FORM = {"Content-Type": "multipart/form-data; boundary=b"}


def write_part(name, data, more=b""):
    head = f'--b\r\nContent-Disposition: form-data; name="{name}"; filename="x"\r\n'.encode()
    return head + more + b"\r\n" + data + b"\r\n"


PHOTO = write_part("photos", draw("blue"))
END = b"--b--\r\n"


@pytest.mark.parametrize(
    ("body", "headers", "code"),
    [
        (b"", {}, "not_a_form"),
        (b"{}", {"Content-Type": "application/json"}, "not_a_form"),
        (PHOTO + END, {"Content-Type": "multipart/form-data"}, "not_a_form"),
        (PHOTO + END, {"Content-Type": "multipart/mixed; boundary=b"}, "not_a_form"),
        (b"", FORM, "bad_form"),
        (END, FORM, "no_photo"),
        (b"--b\r\n" + bytes(100), FORM, "bad_form"),
        (PHOTO, FORM, "bad_form"),
        (PHOTO[:-100], FORM, "bad_form"),
        (PHOTO + write_part("photos", b"x", b"X-Long: " + b"y" * 9000 + b"\r\n"), FORM, "bad_form"),
        (PHOTO + write_part("claim", b"\xff") + END, FORM, "bad_form"),
        (PHOTO + write_part("claim", b"a\0b") + END, FORM, "bad_form"),
        (PHOTO + write_part("claim", b"x" * 801) + END, FORM, "field_too_long"),
        (PHOTO + write_part("path", b"/etc/passwd") + END, FORM, "unknown_field"),
        (PHOTO + 2 * write_part("claim", b"x") + END, FORM, "unknown_field"),
        (write_part("claim", b"x") + END, FORM, "no_photo"),
        (write_part("photos", b"") + END, FORM, "unreadable"),
        (13 * PHOTO + END, FORM, "too_many_photos"),
        (1000 * write_part("photos", b"x") + END, FORM, "too_many_photos"),
        (1000 * write_part("claim", b"x") + END, FORM, "unknown_field"),
        (write_part("photos", bytes(6000)) + END, FORM, "photo_too_large"),
        (PHOTO + END, FORM | {"Content-Length": "99999999999999999999999"}, "body_too_large"),
        (write_part("photos", bytes(20_000)) + END, FORM, "body_too_large"),
    ],
)
def test_hostile_bodies_are_refused_with_a_code(build, body, headers, code):
    bounds = FormBounds(most_photo_bytes=5000, most_body_bytes=19_000)
    if code in ("too_many_photos", "unknown_field") or "X-Long" in str(body[-9500:-9000]):
        bounds = FormBounds()
    with connect(build(bounds=bounds)) as client:
        answer = client.post("/api/v1/predict", content=body, headers=headers)
        assert read_code(check_described(client, answer)) == code
        assert client.app.state.batching.num_held == 0
        assert send(client, "blue").status_code == 200


def test_a_body_without_a_length_is_bounded_while_it_is_read(build, colour_model):
    num_sent = 0

    def stream():
        nonlocal num_sent
        yield b'--b\r\nContent-Disposition: form-data; name="photos"\r\n\r\n'
        for _ in range(1000):
            num_sent += 1
            yield bytes(1000)

    with connect(build(bounds=FormBounds(most_photo_bytes=10_000))) as client:
        assert read_code(client.post("/api/v1/predict", content=stream(), headers=FORM)) == (
            "photo_too_large"
        )
    assert colour_model.num_asked == 0


def make_png(width, height):
    def chunk(kind, data):
        crc = zlib.crc32(kind + data).to_bytes(4, "big")
        return len(data).to_bytes(4, "big") + kind + data + crc

    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + b"\x08\x00\x00\x00\x00"
    pixels = zlib.compress(bytes(1_000_000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
    )


def list_hostile_photos():
    jpeg, png, webp = draw("blue"), draw("blue", "PNG"), draw("blue", "WEBP")
    size = jpeg.index(b"\xff\xc0") + 5
    yield "bomb", make_png(60_000, 60_000)
    yield "JPEG of 40,000 pixels a side", jpeg[:size] + b"\x9c\x40\x9c\x40" + jpeg[size + 4 :]
    yield "empty", b" "
    yield "text named as HEIC", b"\0\0\0\x18ftypheic" + bytes(20)
    yield "HTML before a JPEG", b"<html><script>alert(1)</script>" + jpeg
    yield "zip", b"PK\x03\x04" + bytes(100)
    yield "SVG", b'<svg xmlns="http://www.w3.org/2000/svg"><image href="file:///etc/passwd"/></svg>'
    yield "PostScript", b"%!PS-Adobe-3.0 EPSF-3.0\n"
    for name, data in (("JPEG", jpeg), ("PNG", png), ("WebP", webp)):
        for k in range(1, 6):
            yield f"{name} cut to {k}/10", data[: len(data) * k // 10]
            yield f"{name} with noise from {k}/10", data[: len(data) * k // 12] + bytes(200)


@pytest.mark.parametrize(("name", "photo"), [*list_hostile_photos()])
def test_hostile_photos_are_answered_or_refused_with_a_code(client, name, photo):
    answer = send(client, photo)
    if answer.status_code != 200:  # a photo that lost its last rows may still be read
        assert read_code(answer) == "unreadable", name
    else:
        assert " cut to " in name or " with noise " in name, name
    assert client.app.state.batching.num_held == 0


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.one_of(
            st.sampled_from(
                [PHOTO, END, b"--b", b"\r\n", b"--b\r\n\r\n", write_part("claim", b"x")]
            ),
            st.binary(max_size=40),
        ),
        max_size=8,
    ),
    st.sampled_from(["b", "", "b\x00", '"', "x" * 200]),
)
def test_any_body_is_answered_or_refused_with_a_code(client, parts, boundary):
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}".encode("latin-1")}
    answer = client.post("/api/v1/predict", content=b"".join(parts), headers=headers)
    check_described(client, answer)
    if answer.status_code != 200:
        assert 400 <= answer.status_code < 500
        read_code(answer)
    assert client.app.state.batching.num_held == 0


# --- the description -----------------------------------------------------------------------------


JOB_PATHS = ("answers.csv", "photos/{number}", "rows", "submission.csv")


def test_the_openapi_names_every_error_with_an_example(client):
    told = client.get("/api/v1/openapi.json").json()
    assert sorted(told["paths"]) == [
        *("/api/v1/corrections", "/api/v1/corrections.csv", "/api/v1/jobs", "/api/v1/jobs/{job}"),
        *(f"/api/v1/jobs/{{job}}/{one}" for one in JOB_PATHS),
        *("/api/v1/model", "/api/v1/predict"),
        *("/healthz", "/metrics", "/readyz"),
    ]
    # Of no path in particular, and of the list of a scan, which this desk has not.
    named = {"not_found", "wrong_method", "bad_request", "unknown_advert"}
    for path in told["paths"].values():
        for operation in path.values():
            assert operation["summary"]
            for status, answer in operation["responses"].items():
                examples = answer.get("content", {}).get("application/json", {}).get("examples", {})
                for code, example in examples.items():
                    assert PROBLEMS[code].status == int(status)
                    assert example["value"]["error"]["code"] == code
                    named.add(code)
    assert named == PROBLEMS.keys()
    form = told["paths"]["/api/v1/predict"]["post"]["requestBody"]["content"]
    assert form["multipart/form-data"]["schema"]["required"] == ["photos"]


def test_whoever_comes_while_all_is_taken_is_refused_at_the_door_and_counted(build, colour_model):
    """Before keys are looked up: what is refused must cost next to nothing."""
    colour_model.may_go.clear()
    app = build(limits=Bounds(most_photos=1))
    held = app.state.batching.admit(1)
    with connect(app) as client:
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            answer = send(client, "blue", headers=headers)
            assert read_code(answer) == "too_busy"
            assert answer.headers["content-security-policy"].startswith("default-src 'none'")
        assert client.get("/api/v1/model").status_code == 200
        assert 'lotlens_requests_total{end="too_busy"} 2.0' in client.get("/metrics").text
        held.close()
        colour_model.may_go.set()
        assert send(client, "blue").status_code == 200


def test_a_store_that_fails_at_the_door_is_500_with_the_policy(build, monkeypatch):
    app = build()
    with connect(app) as client:

        def fail(key):
            raise OSError("no disk")

        monkeypatch.setattr(app.state.store, "find_key", fail)
        answer = client.get("/api/v1/model", headers={"Authorization": "Bearer x"})
        assert read_code(answer) == "failed"
        assert "unsafe" not in answer.headers["content-security-policy"]


# --- over a real connection ----------------------------------------------------------------------


def ask(address, *, length, body=b""):
    connection = socket.create_connection(address, timeout=30)
    head = (
        f"POST /api/v1/predict HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\n"
        f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {length}\r\n\r\n"
    )
    connection.sendall(head.encode() + body)
    return connection


def hear(connection):
    with connection, connection.makefile("rb") as stream:
        return read_answer(stream)


def read_answer(stream):
    status = int(stream.readline().split()[1])
    headers = dict(
        line.decode().strip().lower().split(": ", 1) for line in iter(stream.readline, b"\r\n")
    )
    return status, headers, json.loads(stream.read(int(headers["content-length"])))


BODY = PHOTO + END


def test_what_does_not_fit_is_refused_before_its_body_is_read(build, colour_model):
    colour_model.may_go.clear()
    app = build(limits=Bounds(most_photos=2))
    with serving(app) as (address, _):
        asked = [ask(address, length=len(BODY), body=BODY) for _ in range(2)]
        wait_until(lambda: app.state.batching.num_held == 2)
        status, headers, body = hear(ask(address, length=50_000_000))  # none of it is sent
        assert (status, body["error"]["code"]) == (429, "too_busy")
        assert int(headers["retry-after"]) >= 1
        # Whoever sends all the same hears it too, and may ask again by the same connection.
        sent = ask(address, length=2_000_000, body=bytes(2_000_000))
        asked_again = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        sent.sendall(asked_again)
        stream = sent.makefile("rb")
        assert read_answer(stream)[0] == 429
        assert read_answer(stream)[0] == 200
        stream.close()
        sent.close()
        colour_model.may_go.set()
        assert [hear(one)[0] for one in asked] == [200, 200]


def test_whoever_hangs_up_is_not_answered(build, colour_model):
    colour_model.may_go.clear()
    app = build()
    with serving(app) as (address, _):
        first = ask(address, length=len(BODY), body=BODY)
        assert colour_model.begun.acquire(timeout=30)
        gone = ask(address, length=len(BODY), body=BODY)
        wait_until(lambda: app.state.batching.num_held == 2)
        cut_off = ask(address, length=len(BODY), body=BODY[:50])
        wait_until(lambda: app.state.batching.num_held == 3)
        gone.close()
        cut_off.close()
        wait_until(lambda: app.state.batching.num_held == 1)
        colour_model.may_go.set()
        assert hear(first)[0] == 200
    assert colour_model.num_asked == 1


def test_whoever_is_too_slow_is_sent_away(build):
    app = build(bounds=FormBounds(idle_s=0.2))
    with serving(app) as (address, _):
        status, _, body = hear(ask(address, length=len(BODY), body=BODY[:50]))
        assert (status, body["error"]["code"]) == (408, "too_slow")
        assert "within 0.2 seconds" in body["error"]["message"]
        assert app.state.batching.num_held == 0


def test_an_end_answers_what_was_accepted(build, colour_model):
    colour_model.may_go.clear()
    app = build()
    with serving(app) as (address, server):
        asked = [ask(address, length=len(BODY), body=BODY) for _ in range(5)]
        wait_until(lambda: app.state.batching.num_held == 5)
        server.should_exit = True
        time.sleep(0.3)  # it has begun to end by then, and must wait
        colour_model.may_go.set()
        assert [hear(one)[0] for one in asked] == [200] * 5


@pytest.mark.parametrize("sent", [b"nonsense\r\n\r\n", b"GET / HTTP/1.1\r\nA\x00: b\r\n\r\n"])
def test_what_is_no_http_is_refused_in_the_same_shape(build, sent):
    with serving(build(), http=_Impatient) as (address, _):
        connection = socket.create_connection(address, timeout=30)
        connection.sendall(sent)
        status, headers, body = hear(connection)
    assert (status, body["error"]["code"]) == (400, "bad_request")
    assert "default-src 'none'" in headers["content-security-policy"]


def test_the_guides_client_asks_and_is_typed(build, tmp_path):
    guide = Path(__file__).parents[2] / "docs" / "guide" / "serve.md"
    (code,) = re.findall(r"```python\n(.*?)```", guide.read_text("utf-8"), re.DOTALL)
    names = {}
    exec(compile(code, guide.name, "exec"), names)
    assert names["ask"].__annotations__.keys() == {"address", "paths", "claim", "key", "return"}
    paths = [tmp_path / "a.jpg", tmp_path / "b.jpg"]
    for path in paths:
        path.write_bytes(draw("blue"))
    app = build()
    with serving(app) as ((host, port), _):
        address = f"http://{host}:{port}/"
        found = names["ask"](address, paths, claim="Lada Kalina")
        assert (found["sentence"], found["claim"]["result"]) == (
            *("This is Lada Kalina.", "confirmed"),
        )
        key = app.state.store.make_key("shop")
        assert names["ask"](address, paths[:1], key=key)["verdict"] == "model"
        with pytest.raises(HTTPError) as caught:
            names["ask"](address, paths[:1], key="wrong")
        with caught.value as answer:
            assert json.load(answer)["error"]["code"] == "not_let_in"


def wait_until(is_so):
    deadline_s = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)
