"""The review's server: it saves before it answers, and answers nobody but its own page."""

import io
import json
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

import pytest
import uvicorn
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import lotlens
from lotlens.errors import InputError, OutputError
from lotlens.photos import decisions as kept
from lotlens.photos.decisions import Decision, read_decisions, write_decisions
from lotlens.records import Catalog, Locator, Photo
from lotlens.report.language import load_language
from lotlens.web import decided, server
from lotlens.web.decided import Decided
from lotlens.web.review import build_review, make_key, pick_examples
from lotlens.web.server import (
    Guests,
    find_own_addresses,
    is_loopback,
    name_address,
    name_network_addresses,
    open_socket,
)

ORIGIN = "http://127.0.0.1:8000"


def connect(app, origin=ORIGIN, peer="127.0.0.1", **headers):
    return TestClient(
        app,
        base_url=origin,
        headers={"Origin": origin, **headers},
        raise_server_exceptions=False,
        client=(peer, 50000),
    )


@pytest.fixture
def client(reviewed):
    with connect(build_review(reviewed.doubts, reviewed.catalog, reviewed.path)) as client:
        yield client


def decide(client, id_, verdict, label=None):
    body = {"id": id_, "verdict": verdict} | ({} if label is None else {"label": label})
    return client.post("/decisions", json=body)


# --- decisions -----------------------------------------------------------------------------------


def test_every_verdict_is_on_the_disk_before_the_answer(client, reviewed):
    ids = [doubt.photo_id for doubt in reviewed.doubts]
    suggested = reviewed.doubts[1].suggested
    assert decide(client, ids[0], "keep").json()["count"] == 1
    assert decide(client, ids[1], "relabel", suggested).json() == {
        "count": 2,
        "decision": {"id": ids[1], "verdict": "relabel", "label": suggested},
    }
    assert decide(client, ids[2], "drop").json()["count"] == 3
    assert decide(client, ids[3], "not a car").json()["count"] == 4
    assert reviewed.read() == {
        ids[0]: ("keep", reviewed.doubts[0].label),
        ids[1]: ("relabel", suggested),
        ids[2]: ("drop", ""),
        ids[3]: ("not a car", ""),
    }
    assert client.post("/decisions/take-back", json={"id": ids[1]}).json() == {"count": 3}
    assert ids[1] not in reviewed.read()


def test_the_file_is_flushed_before_the_answer(client, reviewed, monkeypatch):
    flushed = []
    monkeypatch.setattr(os, "fsync", flushed.append)
    assert decide(client, reviewed.doubts[0].photo_id, "keep").status_code == 200
    assert len(flushed) >= 1


def test_a_decision_is_dated_and_tells_the_label_it_was_taken_on(client, reviewed):
    decide(client, reviewed.doubts[0].photo_id, "drop")
    (decision,) = read_decisions(reviewed.path)
    assert decision.was == reviewed.doubts[0].label
    assert decision.time.endswith("+00:00")


def test_to_decide_again_replaces_and_to_take_back_nothing_is_nothing(client, reviewed):
    id_ = reviewed.doubts[0].photo_id
    decide(client, id_, "drop")
    assert decide(client, id_, "keep").json()["count"] == 1
    assert reviewed.read() == {id_: ("keep", reviewed.doubts[0].label)}
    assert client.post("/decisions/take-back", json={"id": "nobody"}).json() == {"count": 1}


@pytest.mark.parametrize(
    "body",
    [
        {"id": "nobody.jpg", "verdict": "keep"},
        {"id": "0-0.jpg", "verdict": "burn"},
        {"id": "0-0.jpg", "verdict": "relabel"},
        {"id": "0-0.jpg", "verdict": "relabel", "label": "no class"},
        {"id": "0-0.jpg", "verdict": "keep", "more": 1},
        {"id": "", "verdict": "keep"},
        {"id": "x" * 5000, "verdict": "keep"},
        {"verdict": "keep"},
        [],
    ],
)
def test_what_is_no_decision_is_refused_and_not_written(client, reviewed, body):
    assert client.post("/decisions", json=body).status_code == 422
    assert not reviewed.path.exists()


def test_tabs_and_threads_do_not_overwrite_each_other(reviewed):
    app = build_review(reviewed.doubts, reviewed.catalog, reviewed.path)
    with connect(app) as client:
        threads = [
            threading.Thread(target=decide, args=(client, doubt.photo_id, "drop"))
            for doubt in reviewed.doubts
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert set(reviewed.read()) == {doubt.photo_id for doubt in reviewed.doubts}


_DECIDING = """
import sys
from pathlib import Path
from lotlens.photos.decisions import Decision
from lotlens.web.decided import Decided
store = Decided(Path(sys.argv[1]))
for number in range(60):
    store.put(Decision(f"{sys.argv[2]}-{number}.jpg", "drop", "", "4", ""))
"""


def test_two_servers_do_not_overwrite_each_other(tmp_path):
    path = tmp_path / "lot.decisions.csv"
    environment = {**os.environ, "PYTHONPATH": str(Path(lotlens.__file__).parents[1])}
    servers = [
        subprocess.Popen([sys.executable, "-c", _DECIDING, path, name], env=environment)
        for name in "ab"
    ]
    assert [server.wait(timeout=120) for server in servers] == [0, 0]
    assert len(read_decisions(path)) == 120
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def test_a_page_shows_what_another_server_saved(reviewed):
    one, other = (
        connect(build_review(reviewed.doubts, reviewed.catalog, reviewed.path)) for _ in range(2)
    )
    ids = [doubt.photo_id for doubt in reviewed.doubts]
    decide(one, ids[0], "drop")
    assert decide(other, ids[1], "drop").json()["count"] == 2
    for client in (one, other):
        shown = client.get("/doubts.json").json()["decisions"]
        assert [decision["id"] for decision in shown] == ids[:2]


def test_what_others_wrote_meanwhile_is_kept(client, reviewed):
    decide(client, reviewed.doubts[0].photo_id, "keep")
    other = Decision("2-7.jpg", "drop", "", "Clover", "")
    write_decisions(reviewed.path, (*read_decisions(reviewed.path), other))
    decide(client, reviewed.doubts[1].photo_id, "drop")
    assert len(reviewed.read()) == 3
    shown = client.get("/decisions.json").json()["decisions"]
    assert [one["id"] for one in shown] == [doubt.photo_id for doubt in reviewed.doubts[:2]]


def test_a_file_damaged_meanwhile_is_told_and_not_overwritten(client, reviewed):
    reviewed.path.write_text("Id,Decision,Label,Was,Time\nx,kepe,,4,\n")
    answer = decide(client, reviewed.doubts[0].photo_id, "keep")
    assert answer.status_code == 500
    assert "'kepe'" in answer.json()["detail"]
    assert "kepe" in reviewed.path.read_text()


def test_a_full_disk_is_told_and_nothing_counts_as_saved(client, reviewed, monkeypatch):
    def fail(*arguments):
        raise OutputError("cannot write x: no space is left on the disk")

    monkeypatch.setattr(decided, "write_decisions", fail)
    answer = decide(client, reviewed.doubts[0].photo_id, "keep")
    assert answer.status_code == 500
    assert "no space" in answer.json()["detail"]
    assert client.get("/decisions.json").json() == {"decisions": []}
    monkeypatch.setattr(decided, "write_decisions", kept.write_decisions)
    assert decide(client, reviewed.doubts[0].photo_id, "keep").status_code == 200


def test_a_restart_finds_all(client, reviewed):
    decide(client, reviewed.doubts[0].photo_id, "drop")
    again = connect(build_review(reviewed.doubts, reviewed.catalog, reviewed.path))
    assert again.get("/doubts.json").json()["decisions"] == [
        {"id": reviewed.doubts[0].photo_id, "verdict": "drop", "label": ""}
    ]


def test_labels_that_came_of_earlier_decisions(reviewed):
    """The model doubts a label that a decision gave; the data still say another one."""
    old, new = reviewed.doubts[0].label, reviewed.doubts[0].suggested
    third = next(label for label in reviewed.catalog.labels if label not in (old, new))
    doubts = (replace(reviewed.doubts[0], label=new, suggested=third),)
    client = connect(build_review(doubts, reviewed.catalog, reviewed.path))
    assert client.get("/doubts.json").json()["doubts"][0]["data"] == old
    id_ = doubts[0].photo_id
    assert decide(client, id_, "keep").json()["decision"]["verdict"] == "keep"
    assert reviewed.read() == {id_: ("relabel", new)}
    assert decide(client, id_, "relabel", old).json()["decision"]["verdict"] == "relabel"
    assert reviewed.read() == {id_: ("keep", old)}


def test_decisions_that_the_data_left_behind_are_to_be_taken_again(reviewed):
    first, second, third = reviewed.doubts[:3]
    now = {
        first.photo_id: ("drop", "", "another label"),
        second.photo_id: ("relabel", "no class", second.label),
        third.photo_id: ("keep", third.label, third.label),
    }
    write_decisions(reviewed.path, (Decision(id_, *rest) for id_, rest in now.items()))
    client = connect(build_review(reviewed.doubts, reviewed.catalog, reviewed.path))
    shown = client.get("/decisions.json").json()["decisions"]
    assert [one["id"] for one in shown] == [third.photo_id]
    decide(client, first.photo_id, "drop")
    assert len(client.get("/decisions.json").json()["decisions"]) == 2


def test_the_counts_of_a_store(tmp_path):
    store = Decided(tmp_path / "x.decisions.csv")
    assert store.list_all() == ()
    assert store.put(Decision("a", "drop", "", "4", "")) == 1
    assert store.put(Decision("b", "drop", "", "4", "")) == 2
    assert store.put(Decision("a", "keep", "4", "4", "")) == 2
    assert [one.photo_id for one in store.list_all()] == ["b", "a"]
    assert store.take_back("b") == 1
    (tmp_path / "x.decisions.csv").unlink()
    assert store.list_all() == ()


# --- what is shown -------------------------------------------------------------------------------


def test_doubts_come_in_their_order_with_classes_and_examples(client, reviewed):
    values = client.get("/doubts.json").json()
    assert [one["id"] for one in values["doubts"]] == [d.photo_id for d in reviewed.doubts]
    assert values["doubts"][3]["suggested"] is None
    assert values["path"] == str(reviewed.path)
    assert values["outdated"] == 0
    doubted = {one["key"] for one in values["doubts"]}
    for car in values["classes"]:
        assert len(car["examples"]) == 4
        assert not doubted & set(car["examples"])


def test_doubts_that_the_data_do_not_bear_out_are_counted_and_left_out(reviewed):
    doubts = (
        *reviewed.doubts[:2],
        replace(reviewed.doubts[2], photo_id="gone.jpg"),
        replace(reviewed.doubts[3], suggested="no class"),
    )
    client = connect(build_review(doubts, reviewed.catalog, reviewed.path))
    values = client.get("/doubts.json").json()
    assert len(values["doubts"]) == 2
    assert values["outdated"] == 2
    with pytest.raises(InputError, match="none of the doubts fits"):
        build_review(doubts[2:], reviewed.catalog, reviewed.path)
    with pytest.raises(InputError, match="there are no doubts"):
        build_review((), reviewed.catalog, reviewed.path)


def test_examples_are_of_different_adverts_and_spread(tmp_path):
    photos = [Photo(f"{k}", Locator(tmp_path), "4", listing=f"car {k // 3}") for k in range(30)]
    assert pick_examples(photos, (), 2)["4"] == [make_key("2"), make_key("17")]
    assert pick_examples(photos[:3], ("0",), 4)["4"] == [make_key("1"), make_key("2")]
    assert pick_examples([replace(photos[0], locator=None)], ())["4"] == []


@pytest.mark.parametrize(("kind", "most"), [("thumb", (320, 240)), ("photo", (1600, 1200))])
def test_photos_are_decoded_and_come_as_jpeg(client, reviewed, kind, most):
    path = reviewed.data / "Волна" / "0-0.jpg"
    Image.linear_gradient("L").resize((2000, 1500)).save(path, "PNG")
    answer = client.get(f"/{kind}/{make_key('0-0.jpg')}")
    assert answer.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(answer.content)).size == most


def test_a_photo_that_cannot_be_shown_says_why(client, reviewed):
    answer = client.get(f"/photo/{make_key('2-2.jpg')}")
    assert (answer.status_code, answer.text) == (422, "not a known photo format")
    (reviewed.data / "Волна" / "0-0.jpg").unlink()
    answer = client.get(f"/thumb/{make_key('0-0.jpg')}")
    assert answer.status_code == 422
    assert "no such file" in answer.text


def test_a_row_without_a_file_says_so(reviewed):
    lost = replace(reviewed.catalog.photos[0], locator=None)
    catalog = Catalog((lost, *reviewed.catalog.photos[1:]), reviewed.catalog.classes)
    client = connect(build_review(reviewed.doubts, catalog, reviewed.path))
    assert client.get(f"/photo/{make_key(lost.id)}").text == "no file"


@pytest.mark.parametrize(
    "address",
    [
        "/photo/0-0.jpg",
        "/photo/..%2f..%2fetc%2fpasswd",
        "/photo/%2fetc%2fpasswd",
        "/static/review.py",
        "/static/..%2freview.py",
        "/docs",
        "/openapi.json",
    ],
)
def test_nothing_else_is_served(client, address):
    assert client.get(address).status_code == 404


def test_hostile_names_are_carried_as_data(tmp_path, photo_drawer, reviewed):
    name = '</script><img src=x onerror="alert(1)">\udcff.jpg'
    photo = replace(reviewed.catalog.photos[0], id=name)
    catalog = Catalog((photo, *reviewed.catalog.photos[1:]), reviewed.catalog.classes)
    doubts = (replace(reviewed.doubts[0], photo_id=name),)
    client = connect(build_review(doubts, catalog, reviewed.path))
    assert json.loads(client.get("/doubts.json").content)["doubts"][0]["id"] == name
    assert "onerror" not in client.get("/").text
    assert client.get(f"/thumb/{make_key(name)}").status_code == 200


# --- who may ask ---------------------------------------------------------------------------------


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "[::1]:8000", "127.1.2.3"])
def test_own_addresses_are_answered(client, host):
    assert client.get("/", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example:8000", "127.0.0.1.evil.example", "localhost.evil.example", "10.0.0.5", "", "["],
)
def test_a_foreign_host_is_refused(client, reviewed, host):
    assert client.get("/doubts.json", headers={"Host": host}).status_code == 421
    body = {"id": reviewed.doubts[0].photo_id, "verdict": "drop"}
    headers = {"Host": host, "Origin": f"http://{host}"}
    assert client.post("/decisions", json=body, headers=headers).status_code == 421
    assert not reviewed.path.exists()


@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "null",
        "http://127.0.0.1:9000",
        "https://127.0.0.1:8000",
        "http://localhost:8000",
        "",
    ],
)
def test_a_foreign_origin_decides_nothing(client, reviewed, origin):
    for address in ("/decisions", "/decisions/take-back"):
        body = {"id": reviewed.doubts[0].photo_id, "verdict": "drop"}
        answer = client.post(address, json=body, headers={"Origin": origin})
        assert answer.status_code == 403
    assert not reviewed.path.exists()


def test_a_form_of_another_site_decides_nothing(client, reviewed):
    body = json.dumps({"id": reviewed.doubts[0].photo_id, "verdict": "drop"})
    headers = {"Content-Type": "text/plain"}
    assert client.post("/decisions", content=body, headers=headers).status_code == 422
    assert not reviewed.path.exists()


def test_a_network_may_come_by_address_or_own_name_alone(reviewed, monkeypatch):
    monkeypatch.setattr("socket.gethostname", lambda: "Office-PC")
    client, _ = connect_phone(build_open(reviewed))
    for host in ("192.168.0.5:8000", "office-pc:8000", "office-pc.local", "localhost"):
        assert client.get("/", headers={"Host": host}).status_code == 401
    for host in ("evil.example", "office-pc.evil.example"):
        assert client.get("/", headers={"Host": host}).status_code == 421


# --- devices in the network -----------------------------------------------------------------------

LAN = "http://192.168.0.5:8000"
EVERYTHING = (
    "/",
    "/doubts.json",
    "/decisions.json",
    "/static/review.js",
    "/static/review.css",
    "/static/icon.svg",
    "/thumb/x",
    "/photo/x",
    "/nothing",
    "/?token=",
    "/?token=x",
    "/?token=%FF%ED%A0%80",
    "/?Token=x",
)


def build_open(reviewed, guests=None, **options):
    return build_review(
        reviewed.doubts, reviewed.catalog, reviewed.path, guests=guests or Guests(), **options
    )


def connect_phone(app, peer="192.168.0.7", origin=LAN):
    """A device of the network, and one that asks as browsers ask for pages."""
    return connect(app, origin, peer), connect(app, origin, peer, Accept="text/html,*/*")


@pytest.mark.parametrize("peer", ["192.168.0.7", "192.168.0.5", "fe80::1", "testclient"])
@pytest.mark.parametrize("origin", [LAN, ORIGIN, "http://localhost:8000"])
def test_a_device_without_a_link_gets_nothing(reviewed, peer, origin):
    """Its own Host may say what it likes: what counts is where the connection comes from."""
    guests = Guests()
    client, _ = connect_phone(build_open(reviewed, guests), peer, origin)
    client.cookies.set(guests.cookie_name, "x")
    for address in EVERYTHING:
        answer = client.get(address)
        assert answer.status_code == 401, address
        assert answer.text.endswith("lotlens shows in its terminal.") or "works once" in answer.text
        assert "set-cookie" not in answer.headers
        assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert decide(client, reviewed.doubts[0].photo_id, "drop").status_code == 401
    for method in ("HEAD", "POST", "PUT", "DELETE", "OPTIONS"):
        assert client.request(method, guests.invite("/")).status_code == 401
    assert not reviewed.path.exists()


def test_a_link_lets_one_device_in_and_no_other(reviewed):
    told = queue.SimpleQueue()
    guests = Guests(told.put)
    app = build_open(reviewed, guests)
    phone, _ = connect_phone(app)
    other, _ = connect_phone(app, "192.168.0.8")
    link = guests.invite("/")

    answer = phone.get(link)
    assert answer.status_code == 200
    assert "<title>Review" in answer.text
    assert answer.history == []
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Path=/" in cookie
    assert link.partition("=")[2] not in cookie
    assert told.get(timeout=30) == "192.168.0.7"

    assert decide(phone, reviewed.doubts[0].photo_id, "drop").status_code == 200
    for address in ("/", "/doubts.json", "/static/review.js", link):
        answer = phone.get(address)
        assert answer.status_code == 200
        assert "set-cookie" not in answer.headers
    assert phone.get("/nothing").status_code == 404

    refused = other.get(link)
    assert refused.status_code == 401
    assert "each works once" in refused.text
    assert other.get(guests.invite("/")).status_code == 200, "there is another for the next one"
    assert told.get(timeout=30) == "192.168.0.8"
    assert told.empty()
    assert phone.get("/").status_code == 200


def test_of_many_that_come_at_once_by_one_link_one_is_let_in(reviewed):
    guests = Guests()
    app = build_open(reviewed, guests)
    link, codes = guests.invite("/"), []
    phones = [connect_phone(app, f"192.168.0.{number}")[0] for number in range(8)]
    threads = [
        threading.Thread(target=lambda phone=phone: codes.append(phone.get(link).status_code))
        for phone in phones
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(codes) == [200, *7 * [401]]


def test_a_device_that_is_let_in_is_held_to_its_own_page_too(reviewed):
    guests = Guests()
    phone, _ = connect_phone(build_open(reviewed, guests))
    phone.get(guests.invite("/"))
    body = {"id": reviewed.doubts[0].photo_id, "verdict": "drop"}
    for origin in ("http://evil.example", "null", ORIGIN):
        answer = phone.post("/decisions", json=body, headers={"Origin": origin})
        assert answer.status_code == 403
    assert not reviewed.path.exists()


@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_this_machine_needs_no_link_by_loopback(reviewed, peer):
    app = build_open(reviewed)
    client = connect(app, peer=peer)
    assert client.get("/").status_code == 200
    assert decide(client, reviewed.doubts[0].photo_id, "drop").status_code == 200
    assert connect(app, LAN, peer).get("/").status_code == 401, "as whatever forwards would come"


def test_the_cookie_of_one_server_opens_no_other(reviewed):
    one, other = Guests(), Guests()
    assert one.cookie_name != other.cookie_name
    phone, _ = connect_phone(build_open(reviewed, one))
    phone.get(one.invite("/"))
    stranger, _ = connect_phone(build_open(reviewed, other))
    stranger.cookies.set(other.cookie_name, phone.cookies[one.cookie_name])
    assert stranger.get("/").status_code == 401


def test_a_refusal_is_a_page_for_a_browser_in_the_language_of_the_review(reviewed):
    _, phone = connect_phone(build_open(reviewed, language=load_language("ru")))
    answer = phone.get("/")
    assert answer.status_code == 401
    assert answer.headers["content-type"].startswith("text/html")
    assert '<html lang="ru">' in answer.text
    assert "Это устройство не допущено" in answer.text
    assert "больше не действует" in phone.get("/?token=<b>").text
    assert "<b>" not in phone.get("/?token=<b>").text


def test_photos_are_kept_by_the_device_alone(client, reviewed):
    answer = client.get(f"/thumb/{make_key(reviewed.doubts[0].photo_id)}")
    assert answer.headers["cache-control"].startswith("private")


@pytest.mark.parametrize("address", ["/", "/doubts.json", "/photo/x", "/static/review.js"])
def test_every_answer_forbids_what_the_page_does_not_need(client, address):
    headers = client.get(address).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"


def test_the_page_names_nothing_from_elsewhere(client):
    for address in ("/", "/static/review.js", "/static/review.css", "/static/icon.svg"):
        text = client.get(address).text.replace("http://www.w3.org/2000/svg", "")
        assert "http:" not in text
        assert "https:" not in text
        assert "style=" not in text


# --- what is no request ---------------------------------------------------------------------------

JSON = {"Content-Type": "application/json"}
ADDRESSES = ("/decisions", "/decisions/take-back")


def post(client, address, body):
    return client.post(address, content=body, headers=JSON)


@pytest.mark.parametrize("address", ADDRESSES)
@pytest.mark.parametrize(
    "body",
    [
        b"NaN",
        b'{"id": NaN, "verdict": "keep"}',
        b'{"id": "x", "verdict": Infinity}',
        b'{"id": "x", "verdict": "\\ud800"}',
        b'{"id": "\\ud800", "verdict": "\\udcff"}',
        b'{"id": "x", "\\ud800": 1}',
        b'{"id": 1e999}',
        b'{"id": {"a": []}}',
        b"{",
        b"",
        b"\xff\xfe",
        b"[" * 60_000,
        b"1" * 5_000,
    ],
)
def test_what_is_no_request_is_told_in_a_line_of_json(client, reviewed, address, body):
    answer = post(client, address, body)
    assert answer.status_code in (400, 422), answer.text
    detail = answer.json()["detail"]
    assert isinstance(detail, str)
    assert len(detail.splitlines()) == 1
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert not reviewed.path.exists()


_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_entries = st.fixed_dictionaries({}, optional=dict.fromkeys(("id", "verdict", "label"), _values))


@given(address=st.sampled_from(ADDRESSES), body=_values | _entries)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_no_body_is_an_error_of_the_server(client, address, body):
    answer = post(client, address, json.dumps(body))
    assert answer.status_code in (200, 400, 422), answer.text
    if answer.status_code == 200:  # nothing was there to be taken back
        assert answer.json() == {"count": 0}


def test_a_photo_whose_name_is_no_utf_8_can_be_decided_on(reviewed):
    name = "\udcff.jpg"
    photo = replace(reviewed.catalog.photos[0], id=name)
    catalog = Catalog((photo, *reviewed.catalog.photos[1:]), reviewed.catalog.classes)
    doubts = (replace(reviewed.doubts[0], photo_id=name),)
    client = connect(build_review(doubts, catalog, reviewed.path))
    answer = post(client, "/decisions", json.dumps({"id": name, "verdict": "drop"}))
    assert answer.status_code == 200
    assert reviewed.read() == {name: ("drop", "")}
    assert client.get("/decisions.json").json()["decisions"][0]["id"] == name


@pytest.mark.parametrize("is_chunked", [False, True])
def test_a_body_of_any_size_is_not_taken_in(client, reviewed, is_chunked):
    sent = []

    def pour():
        for _ in range(1000):
            sent.append(1)
            yield b" " * 10_000

    answer = post(client, "/decisions", pour() if is_chunked else b" " * 10_000_000)
    assert answer.status_code == 413
    assert answer.json() == {"detail": "the request is too big: 65,536 bytes at most"}
    assert answer.headers["connection"] == "close"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert not reviewed.path.exists()


@pytest.mark.parametrize("length", ["-1", "x", "9" * 5000])
def test_a_strange_length_is_no_error_of_the_server(client, length):
    headers = JSON | {"Content-Length": length}
    body = b'{"id": "x"}'
    answer = client.post("/decisions/take-back", content=body, headers=headers)
    assert answer.status_code in (200, 413)


@pytest.mark.parametrize("address", ["/decisions", "/nothing", "/static/review.js"])
@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "BREW"])
def test_other_methods_are_refused(client, address, method):
    assert client.request(method, address).status_code in (404, 405)


@pytest.fixture
def address(reviewed, monkeypatch):
    """Of a real server, which waits for a body a moment only."""
    monkeypatch.setattr(server, "BODY_PATIENCE_S", 0.3)
    monkeypatch.setattr(server, "HEAD_PATIENCE_S", 1.0)
    monkeypatch.setattr(server, "MOST_CONNECTIONS", 8)
    app = build_review(reviewed.doubts, reviewed.catalog, reviewed.path)
    servers = []
    monkeypatch.setattr(uvicorn.Server, "run", _note_run(servers, uvicorn.Server.run))
    listener = open_socket("127.0.0.1", 0)
    address = listener.getsockname()
    thread = threading.Thread(target=server.serve, args=(app, listener))
    thread.start()
    yield address
    servers[0].should_exit = True
    thread.join(20)


def _note_run(servers, real):
    def run(self, sockets):
        servers.append(self)
        real(self, sockets=sockets)

    return run


def ask(address, head, body=b""):
    """What a server answers to a request of this head, after which nothing more comes."""
    with socket.create_connection(address, timeout=20) as connection:
        own = f"Host: 127.0.0.1:{address[1]}\r\nOrigin: http://127.0.0.1:{address[1]}\r\n"
        connection.sendall(f"{head}\r\n{own}\r\n".encode() + body)
        return connection.recv(65536).decode()


def test_who_sends_slowly_or_too_much_is_let_go(address, reviewed):
    begun_s = time.monotonic()
    slow = "POST /decisions HTTP/1.1\r\nContent-Length: 50"
    assert ask(address, slow, b"{").startswith("HTTP/1.1 408")
    assert time.monotonic() - begun_s < 10
    big = "POST /decisions HTTP/1.1\r\nContent-Length: 99999999999"
    assert ask(address, big).startswith("HTTP/1.1 413")
    chunked = "POST /decisions HTTP/1.1\r\nTransfer-Encoding: chunked"
    chunk = b"4000\r\n" + b" " * 0x4000 + b"\r\n"
    assert ask(address, chunked, 5 * chunk).startswith("HTTP/1.1 413")
    assert ask(address, "GET /decisions.json HTTP/1.1").startswith("HTTP/1.1 200")
    assert ask(address, "GET / HTTP/1.1\r\nX: " + "x" * 200_000).startswith("HTTP/1.1 400")


@pytest.mark.parametrize(
    "before", [b"", b"GET /decisions.json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"]
)
def test_who_does_not_end_a_question_is_let_go(address, before):
    with socket.create_connection(address, timeout=20) as connection:
        connection.sendall(before + b"GET / HT")
        begun_s = time.monotonic()
        with suppress(ConnectionResetError):
            while connection.recv(65536):
                pass
    assert 0.5 < time.monotonic() - begun_s < 15


def test_who_asks_now_and_then_is_kept(address):
    with socket.create_connection(address, timeout=20) as connection:
        for _ in range(4):
            connection.sendall(b"GET /nothing HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            answer = b""
            while not answer.endswith(b"}"):
                piece = connection.recv(65536)
                assert piece, "closed"
                answer += piece
            assert answer.startswith(b"HTTP/1.1 404")
            time.sleep(0.6)


def wait_for_answer(address, line):
    """A busy machine may be too late for a request that has a tenth of a second."""
    deadline_s = time.monotonic() + 20
    while not ask(address, line).startswith("HTTP/1.1 200"):
        assert time.monotonic() < deadline_s


def test_who_leaves_in_the_middle_leaves_no_traceback(address, capfd):
    head = f"POST /decisions HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\nContent-Length: 9\r\n"
    with socket.create_connection(address, timeout=20) as connection:
        connection.sendall(f"{head}Origin: http://{address[0]}:{address[1]}\r\n\r\n{{".encode())
    time.sleep(0.2)
    wait_for_answer(address, "GET /decisions.json HTTP/1.1")
    assert "Traceback" not in capfd.readouterr().err


def test_more_connections_than_are_borne_are_told_to_come_later(address):
    with ExitStack() as stack:
        for _ in range(8):
            stack.enter_context(socket.create_connection(address))
        assert ask(address, "GET / HTTP/1.1").startswith("HTTP/1.1 503")
    wait_for_answer(address, "GET / HTTP/1.1")


# --- the socket ----------------------------------------------------------------------------------


def test_a_taken_port_is_told():
    with open_socket("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        assert name_address(listener) == f"http://127.0.0.1:{port}/"
        assert name_network_addresses(listener) == ()
        with pytest.raises(InputError, match="Name another with --port"):
            open_socket("127.0.0.1", port)


class Socket:
    """What a listening socket says of itself."""

    def __init__(self, *name):
        self._name = name

    def getsockname(self):
        return self._name


def test_addresses_for_this_machine_and_for_others(monkeypatch):
    monkeypatch.setattr(server, "find_own_addresses", lambda: ("192.168.0.5", "10.0.0.5"))
    for name in (("0.0.0.0", 80), ("::", 80, 0, 0)):
        assert name_address(Socket(*name)) == "http://127.0.0.1:80/"
        both = ("http://192.168.0.5:80/", "http://10.0.0.5:80/")
        assert name_network_addresses(Socket(*name)) == both
    assert name_address(Socket("::1", 80, 0, 0)) == "http://[::1]:80/"
    assert name_network_addresses(Socket("::1", 80, 0, 0)) == ()
    assert name_address(Socket("192.168.0.5", 80)) is None
    assert name_network_addresses(Socket("192.168.0.5", 80)) == ("http://192.168.0.5:80/",)
    assert name_network_addresses(Socket("fd00::5", 80, 0, 0)) == ("http://[fd00::5]:80/",)


def test_own_addresses_are_those_that_others_can_open(monkeypatch):
    names = ["127.0.1.1", "192.168.0.5", "169.254.3.3", "0.0.0.0"]
    monkeypatch.setattr("socket.gethostbyname_ex", lambda name: (name, [], names))
    found = find_own_addresses()
    assert "192.168.0.5" in found
    assert not {"127.0.1.1", "169.254.3.3", "0.0.0.0"} & set(found)


def test_an_address_of_elsewhere_is_told():
    with pytest.raises(InputError, match="no address for host"):
        open_socket("no such host.invalid", 0)
    with pytest.raises(InputError, match="cannot serve at"):
        open_socket("192.0.2.1", 0)


def test_loopback():
    ours = ("localhost", "LOCALHOST", "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1")
    assert all(map(is_loopback, ours))
    assert not any(map(is_loopback, ("0.0.0.0", "::", "192.168.0.5", "example.org", "")))
