"""Lists of many photos: on the disk before they are accepted, each photo answered once."""

import asyncio
import csv
import io
import os
import struct
import threading
import time
import zipfile
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from lotlens.photos import archives
from lotlens.web import job_answers
from lotlens.web import jobs as lists
from lotlens.web.batching import Bounds, Served
from lotlens.web.gate import TOKEN_HEADER
from lotlens.web.job_answers import FAILED, PIECE
from lotlens.web.job_files import MOST_TRIES, JobBounds
from lotlens.web.problems import Problem
from lotlens.web.uploads import FormBounds, read_form
from tests.web.conftest import draw
from tests.web.test_desk import FORM, ORIGIN, connect, read_code, read_token, send, wait_until

KINDS = ("blue", "red", "yellow", "white", "black")


@pytest.fixture
def client(build):
    with connect(build()) as client:
        yield client


def send_job(client, *files, headers=None, **options):
    """Files are colours, bytes, or (name, bytes)."""
    parts = []
    for number, one in enumerate(files):
        name, data = one if isinstance(one, tuple) else (f"{number}.jpg", one)
        parts.append(("photos", (name, data if isinstance(data, bytes) else draw(data))))
    return check_told(client, client.post("/api/v1/jobs", files=parts, headers=headers, **options))


def check_told(client, response, path="/api/v1/jobs"):
    """The description knows the status, and of an error the code."""
    told = client.app.openapi()["paths"][path]
    told = told[response.request.method.lower()]["responses"][str(response.status_code)]
    if response.status_code >= 400:
        assert read_code(response) in told["content"]["application/json"]["examples"]
    return response


def ask(client, id_, more="", **options):
    path = f"/api/v1/jobs/{{job}}{more.partition('?')[0]}"
    path = path[: path.rindex("/")] + "/{number}" if "/photos/" in path else path
    return check_told(client, client.get(f"/api/v1/jobs/{id_}{more}", **options), path)


def wait_for(client, id_):
    wait_until(lambda: ask(client, id_).json()["state"] in ("done", "failed"))
    return ask(client, id_).json()


def make_zip(*members, **options):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", **options) as packed:
        for name, data in members:
            packed.writestr(name, data if isinstance(data, bytes) else draw(data))
    return stream.getvalue()


def read_csv(response):
    assert response.headers["content-type"].startswith("text/csv")
    return list(csv.reader(io.StringIO(response.text)))


# --- answers -------------------------------------------------------------------------------------


def test_many_files_become_rows_a_table_and_a_submission(client, colour_model):
    colour_model.card = replace(colour_model.card, commonest_label="1")
    sent = send_job(client, *KINDS, ("=1+1.jpg", "green"), ("x/../../b.jpg", b"no photo"))
    assert sent.status_code == 202
    job = sent.json()
    assert (job["total"], job["left_out"], job["unanswered"]) == (7, 0, None)
    job = wait_for(client, job["id"])
    assert (job["state"], job["done"], job["seconds_left"], job["model_id"]) == (
        *("done", 7, 0, "abc"),
    )
    assert (job["unanswered"], job["filled"]) == (1, 1)
    assert job["photos_until"] < job["kept_until"]
    rows = ask(client, job["id"], "/rows").json()["rows"]
    assert [row["verdict"] for row in rows] == [
        *("model", "model", "unsure", "unknown", "not a car", "model", "no answer"),
    ]
    assert [row["name"] for row in rows[:4]] == ["Lada Kalina", "ВАЗ 2109", "ВАЗ 2109", None]
    assert rows[0]["sentence"] == "This is Lada Kalina."
    assert rows[6]["sentence"] == "There is no answer: not a known photo format."
    russian = ask(client, job["id"], "/rows?start=1&most=1", headers={"Accept-Language": "ru"})
    assert [row["sentence"] for row in russian.json()["rows"]] == ["Это ВАЗ 2109."]
    table = read_csv(ask(client, job["id"], "/answers.csv"))
    assert table[0][:4] == ["id", "class", "name", "probability"]
    assert [row[0] for row in table[1:]] == [
        *("0.jpg", "1.jpg", "2.jpg", "3.jpg", "4.jpg", "'=1+1.jpg", "b.jpg"),
    ]
    assert table[4][1] == ""  # the network's guess is no name
    submission = read_csv(ask(client, job["id"], "/submission.csv"))
    assert submission[:2] == [["Id", "Category"], ["0.jpg", "4"]]
    assert submission[6:] == [["=1+1.jpg", "1"], ["b.jpg", "1"]]
    picture = ask(client, job["id"], "/photos/0")
    assert Image.open(io.BytesIO(picture.content)).size == (64, 48)
    assert read_code(ask(client, job["id"], "/photos/6")) == "not_found"
    assert read_code(ask(client, job["id"], "/photos/7")) == "not_found"
    assert [one["id"] for one in client.get("/api/v1/jobs").json()["jobs"]] == [job["id"]]


def test_a_zip_is_read_where_it_lies_with_zips_and_folders_in_it(client, colour_model):
    inner = make_zip(("blue.jpg", "blue"), ("red.jpg", "red"))
    packed = make_zip(
        *(("Машины/a.jpg", "blue"), ("Машины/b/a.jpg", "red"), ("Машины/read me.txt", b"no")),
        *(("__MACOSX/._a.jpg", b"x"), ("Машины/more.zip", inner)),
    )
    job = wait_for(client, send_job(client, ("cars.zip", packed)).json()["id"])
    assert (job["total"], job["left_out"]) == (2, 2)
    rows = ask(client, job["id"], "/rows").json()["rows"]
    assert [(row["id"], row["name"]) for row in rows] == [
        ("a.jpg", "Lada Kalina"),
        ("b/a.jpg", "ВАЗ 2109"),
    ]
    nested = make_zip(("one.zip", inner), ("two.zip", make_zip(("red.jpg", "green"))))
    both = send_job(client, ("n.zip", nested), ("no ending", inner), ("red.jpg", "red"))
    rows = ask(client, wait_for(client, both.json()["id"])["id"], "/rows").json()["rows"]
    assert [row["id"] for row in rows] == [
        *("n.zip/one.zip/blue.jpg", "n.zip/one.zip/red.jpg", "n.zip/two.zip/red.jpg"),
        *("no ending/blue.jpg", "no ending/red.jpg", "red.jpg"),
    ]
    names = [row["name"] for row in rows]
    assert names == ["Lada Kalina", "ВАЗ 2109", "ВАЗ 21099", "Lada Kalina", "ВАЗ 2109", "ВАЗ 2109"]
    # No photo was unpacked, and there is no name of a stranger's on the disk.
    written = [path.name for path in client.app.state.jobs.path.rglob("*") if path.is_file()]
    assert not [name for name in written if "blue" in name or "cars" in name]


def test_files_of_one_name_are_told_apart(client):
    sent = send_job(
        client, ("a.jpg", "red"), ("a.jpg", "blue"), ("C:\\x\\a.jpg", "red"), ("", "red")
    )
    rows = ask(client, wait_for(client, sent.json()["id"])["id"], "/rows").json()["rows"]
    assert [row["id"] for row in rows[:3]] == ["a.jpg", "a (2).jpg", "a (3).jpg"]
    assert len(rows) == 4


def test_a_member_that_is_damaged_or_too_large_is_a_row_with_its_reason(build):
    packed = bytearray(make_zip(("a.jpg", "red"), ("b.jpg", "blue"), ("c.jpg", bytes(5000))))
    at = packed.index(b"b.jpg") + 40
    packed[at] ^= 255
    with connect(build(job_bounds=JobBounds(most_photo_bytes=4000))) as client:
        job = wait_for(client, send_job(client, ("a.zip", bytes(packed))).json()["id"])
        rows = ask(client, job["id"], "/rows").json()["rows"]
        assert [row["verdict"] for row in rows] == ["model", "no answer", "no answer"]
        assert "damaged in its archive" in rows[1]["sentence"]
        assert "too large: 5,000 bytes" in rows[2]["sentence"]
        # Gaps cannot be filled, for this model does not know its commonest class.
        assert (job["unanswered"], job["filled"]) == (2, None)
        assert read_code(ask(client, job["id"], "/submission.csv")) == "no_submission"
        assert len(read_csv(ask(client, job["id"], "/answers.csv"))) == 4


def test_a_photo_at_which_the_model_fails_is_a_row_and_the_others_are_answered(
    client, colour_model
):
    answer = colour_model.answer_bytes

    def fail(photos, ids):
        if any(photo.endswith(b"bad") for photo in photos):
            raise RuntimeError("out of order")
        return answer(photos, ids)

    colour_model.answer_bytes = fail
    sent = send_job(client, "red", draw("blue") + b"bad", "blue")
    rows = ask(client, wait_for(client, sent.json()["id"])["id"], "/rows").json()["rows"]
    assert [row["verdict"] for row in rows] == ["model", "no answer", "model"]
    assert FAILED in rows[1]["sentence"]


def test_a_request_is_answered_before_the_rest_of_a_list(client, colour_model):
    colour_model.may_go.clear()
    id_ = send_job(client, *(["red"] * 3 * PIECE)).json()["id"]
    assert colour_model.begun.acquire(timeout=30)
    answers = []
    asking = threading.Thread(target=lambda: answers.append(send(client, "blue")))
    asking.start()
    wait_until(lambda: client.app.state.batching.num_held == 1)
    before = colour_model.num_asked
    batches = []
    answer = colour_model.answer_bytes
    colour_model.answer_bytes = lambda photos, ids: (
        batches.append(len(photos)),
        answer(photos, ids),
    )[1]
    assert ask(client, id_).json()["state"] == "running"
    assert read_code(ask(client, id_, "/answers.csv")) == "not_done"
    colour_model.may_go.set()
    asking.join(30)
    assert answers[0].json()["sentence"] == "This is Lada Kalina."
    assert batches[0] == 1, "the request came next"
    assert wait_for(client, id_)["done"] == 3 * PIECE
    assert colour_model.num_asked == 3 * PIECE + 1
    assert before == 0


def test_lists_take_no_room_of_requests(build, colour_model):
    with connect(build(limits=Bounds(most_photos=1))) as client:
        id_ = send_job(client, *(["red"] * (PIECE + 1))).json()["id"]
        assert send(client, "blue").status_code == 200
        assert wait_for(client, id_)["done"] == PIECE + 1


# --- what lasts ----------------------------------------------------------------------------------


def test_a_list_goes_on_at_the_next_start_without_asking_again(build, colour_model):
    names = [f"{number}.jpg" for number in range(3 * PIECE)]
    photos = [(name, KINDS[number % 5]) for number, name in enumerate(names)]
    with connect(build()) as client:
        gate = threading.Semaphore(PIECE)
        answer = colour_model.answer_bytes

        def answer_some(photos, ids):
            for _ in photos:
                gate.acquire()
            return answer(photos, ids)

        colour_model.answer_bytes = answer_some
        id_ = send_job(client, *photos).json()["id"]
        wait_until(lambda: ask(client, id_).json()["done"] == PIECE)
        closing = threading.Thread(target=client.app.state.jobs.close)
        closing.start()
        wait_until(lambda: client.app.state.jobs._is_closed)
        gate.release(PIECE)  # the piece that is under way is ended, and no other begun
        closing.join(30)
        assert ask(client, id_).json()["done"] == 2 * PIECE
    colour_model.answer_bytes = answer
    with connect(build()) as client:
        job = wait_for(client, id_)
        rows = ask(client, id_, "/rows").json()["rows"]
    assert job["state"] == "done"
    assert [row["id"] for row in rows] == names
    assert colour_model.num_asked == 3 * PIECE
    with connect(build()) as client:
        assert ask(client, id_).json() == job
        assert ask(client, id_, "/rows").json()["rows"] == rows
        assert [path.name for path in sorted((client.app.state.jobs.path / id_).iterdir())] == [
            *("about.json", "answers.csv", "end.json", "rows.json", "submission.csv", "uploads"),
        ]


def test_a_list_is_answered_by_one_model_alone(client, colour_model):
    gate = threading.Semaphore(PIECE)
    answer = colour_model.answer_bytes

    def answer_some(photos, ids):
        for _ in photos:
            gate.acquire()
        return answer(photos, ids)

    colour_model.answer_bytes = answer_some
    id_ = send_job(client, *(["red"] * 2 * PIECE)).json()["id"]
    wait_until(lambda: ask(client, id_).json()["done"] == PIECE)
    other = type(colour_model)()
    other.card = replace(colour_model.card, synthetic=True)
    client.app.state.batching.swap(Served("new", other))
    gate.release(PIECE)  # what the model of before had begun, which counts no more
    job = wait_for(client, id_)
    assert (job["model_id"], job["done"]) == ("new", 2 * PIECE)
    assert other.num_asked == 2 * PIECE
    assert "synthetic" in client.get("/").text


def test_photos_that_end_the_program_again_and_again_are_left_alone(build, tmp_path, monkeypatch):
    with connect(build()) as client:
        client.app.state.jobs.close()
        id_ = send_job(client, "red").json()["id"]
    tries = tmp_path / "desk.jobs" / id_ / "tries"
    tries.write_text(str(MOST_TRIES - 1))
    with connect(build()) as client:
        assert wait_for(client, id_)["state"] == "done"
    assert not tries.exists()
    with connect(build()) as client:
        client.app.state.jobs.close()
        id_ = send_job(client, "red").json()["id"]
    (tmp_path / "desk.jobs" / id_ / "tries").write_text(str(MOST_TRIES))
    with connect(build()) as client:
        job = wait_for(client, id_)
        assert (job["state"], job["model_id"], job["unanswered"]) == ("failed", None, 1)
        assert job["done"] == 0
        assert ask(client, id_, "/rows").json()["rows"] == []
        assert read_code(ask(client, id_, "/answers.csv")) == "no_job"
        assert "left alone" in client.get(f"/jobs/{id_}").text


def test_photos_go_after_a_time_and_the_list_later(build, tmp_path):
    with connect(build()) as client:
        id_ = wait_for(client, send_job(client, "red").json()["id"])["id"]
        assert ask(client, id_, "/photos/0").status_code == 200
    with connect(build(job_bounds=JobBounds(photos_stay_s=0.0))) as client:
        wait_until(lambda: not client.app.state.jobs.find(id_).has_photos)
        assert read_code(ask(client, id_, "/photos/0")) == "not_found"
        assert not (tmp_path / "desk.jobs" / id_ / "uploads").exists()
        assert len(ask(client, id_, "/rows").json()["rows"]) == 1
        assert client.get(f"/jobs/{id_}").status_code == 200
    with connect(build(job_bounds=JobBounds(rows_stay_s=0.0))) as client:
        wait_until(lambda: client.app.state.jobs.find(id_) is None)
        assert read_code(ask(client, id_)) == "no_job"
        wait_until(lambda: list((tmp_path / "desk.jobs").iterdir()) == [])


def test_a_zip_that_was_looked_into_is_let_go_with_its_photos(client):
    jobs = client.app.state.jobs
    packed, bounds = make_zip(("a.jpg", "red")), jobs.bounds
    for remove in (
        lambda id_: client.delete(f"/api/v1/jobs/{id_}"),
        lambda id_: jobs._remove_old(),
    ):
        jobs.bounds = bounds
        id_ = wait_for(client, send_job(client, ("a.zip", packed)).json()["id"])["id"]
        assert ask(client, id_, "/photos/0").status_code == 200
        assert len(list_open(jobs.path / id_)) == 1
        jobs.bounds = replace(bounds, photos_stay_s=0.0)
        remove(id_)
        assert list_open(jobs.path) == []


def list_open(folder):
    """Files below a folder that this process has open; those that are gone lie nowhere."""
    found = []
    for one in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            found.append(os.readlink(one))
    return [path for path in found if path.startswith(str(folder))]


@pytest.mark.parametrize("is_running", [False, True])
def test_a_list_is_deleted_with_all_that_belongs_to_it(client, colour_model, is_running):
    if is_running:
        colour_model.may_go.clear()
    id_ = send_job(client, *(["red"] * 2 * PIECE)).json()["id"]
    if is_running:
        assert colour_model.begun.acquire(timeout=30)
    else:
        wait_for(client, id_)
    gone = check_told(client, client.delete(f"/api/v1/jobs/{id_}"), "/api/v1/jobs/{job}")
    assert gone.status_code == 204
    assert list(client.app.state.jobs.path.iterdir()) == []
    colour_model.may_go.set()
    assert read_code(ask(client, id_)) == "no_job"
    assert client.get(f"/jobs/{id_}").status_code == 404
    # The next one is answered, and nothing of the first comes back.
    other = wait_for(client, send_job(client, "blue").json()["id"])
    assert [path.name for path in client.app.state.jobs.path.iterdir()] == [other["id"]]


def test_what_was_not_received_to_its_end_is_no_list_and_gone_at_the_next_start(build, tmp_path):
    left = tmp_path / "desk.jobs"
    app = build()
    receiving = app.state.jobs.admit(100)
    receiving.begin("a.jpg")
    receiving.add(memoryview(b"x"))
    assert len(list(left.iterdir())) == 1
    (left / "strange").mkdir()
    (left / "damaged").mkdir()
    (left / "damaged" / "about.json").write_text('{"at": "x"}')
    with connect(build()) as client:
        assert client.get("/api/v1/jobs").json() == {"jobs": []}
        assert sorted(path.name for path in left.iterdir()) == ["damaged", "strange"]
    receiving.discard()


# --- what is refused -----------------------------------------------------------------------------


def name_member(name):
    """A zip whose one member is called so, whatever zipfile thinks of it."""
    packed = make_zip(("x" * len(name), "red"))
    return packed.replace(b"x" * len(name), name.encode())


def encrypt(packed):
    data = bytearray(packed)
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + offset] |= 1
    return bytes(data)


def make_bomb(num_bytes, kind=zipfile.ZIP_DEFLATED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", kind) as packed, packed.open("a.jpg", "w") as file:
        for _ in range(num_bytes // 1_000_000):
            file.write(bytes(1_000_000))
    return stream.getvalue()


def claim_directory(num_bytes):
    """An empty zip that says how long its list of members is."""
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 9, 9, num_bytes, 0, 0)
    return bytes(num_bytes) + end


def list_hostile_zips():
    good = make_zip(("a.jpg", "red"))
    third = make_zip(("c.zip", make_zip(("b.zip", make_zip(("a.zip", good))))))
    yield "cut off", good[:-10]
    yield "only its beginning", b"PK\x03\x04" + bytes(200)
    yield "empty", make_zip()
    yield "no photo in it", make_zip(("a.txt", b"words"))
    yield "nothing but hidden", make_zip(("__MACOSX/._a.jpg", b"x"))
    yield "leads out", name_member("../../etc/a.jpg")
    yield "leads to a root", name_member("/etc/a.jpg")
    yield "leads to a drive", name_member("C:/a.jpg")
    yield "encrypted", encrypt(good)
    yield "encrypted inner", make_zip(("b.zip", encrypt(good)))
    yield "bomb", make_bomb(200_000_000)
    yield "bomb in a zip", make_zip(("b.zip", make_bomb(200_000_000)), compression=8)
    yield "too deep", third
    yield "inner damaged", make_zip(("b.zip", good[:40]))
    yield "too many members", claim_directory(5_000_000)
    yield "bzip2", make_zip(("a.jpg", "red"), compression=zipfile.ZIP_BZIP2)
    yield "not a zip", b"words"


# A zip holds the time at which it was made, so its bytes are no name that all processes agree on.
@pytest.mark.parametrize(
    ("name", "data"), [*list_hostile_zips()], ids=lambda one: one if isinstance(one, str) else ""
)
def test_hostile_zips_are_refused_with_a_code_and_leave_nothing(client, name, data, tmp_path):
    refused = send_job(client, ("evil.zip", data), "red")
    assert read_code(refused) == "bad_zip", name
    message = refused.json()["error"]["message"]
    assert message.startswith("The zip cannot be used: ")
    told = send_job(client, ("evil.zip", data), headers={"Accept-Language": "ru"}).json()
    assert told["error"]["message"].startswith("Архив не подходит: ")
    reason = message.removeprefix("The zip cannot be used: ")
    # Only what a zip is packed with is told in English alone.
    assert (reason not in told["error"]["message"]) or name == "bzip2"
    assert str(tmp_path) not in message
    assert ".part" not in message
    assert list(client.app.state.jobs.path.iterdir()) == []
    assert client.get("/api/v1/jobs").json() == {"jobs": []}


def test_a_large_zip_in_a_zip_is_not_inflated(build):
    inner = make_zip(("a.jpg", "red"), ("b.txt", bytes(300_000)))
    packed = make_zip(("b.zip", inner), compression=zipfile.ZIP_DEFLATED)
    form = FormBounds(most_photos=10, most_body_bytes=100_000)
    with connect(build(job_bounds=JobBounds(form=form))) as client:
        refused = send_job(client, ("a.zip", packed))
        assert read_code(refused) == "bad_zip"
        assert "too large for a zip within a zip" in refused.json()["error"]["message"]


def test_names_in_zips_are_text_and_nothing_else(client):
    names = [
        "<script>alert(1)</script>.jpg",
        "a\u202egpj.exe.jpg",
        "=cmd|'/c calc'!A0.jpg",
        "'.jpg",
    ]
    packed = make_zip(*((name, "red") for name in names))
    id_ = wait_for(client, send_job(client, ("a.zip", packed)).json()["id"])["id"]
    page = client.get(f"/jobs/{id_}").text
    assert "<script>alert" not in page
    assert "\u202e" not in page
    table = read_csv(ask(client, id_, "/answers.csv"))
    assert not [row for row in table if row[0].startswith("=")]
    for name in ("..%2F..%2Fetc%2Fpasswd", "%2e%2e", f"{id_}%2F..%2F{id_}", f".{id_}"):
        assert client.get(f"/api/v1/jobs/{name}").status_code == 404
        assert client.get(f"/api/v1/jobs/{name}/answers.csv").status_code == 404


@pytest.mark.parametrize(
    ("bounds", "files", "code"),
    [
        (JobBounds(form=FormBounds(most_photos=2)), ["red"] * 3, "too_many_photos"),
        (
            JobBounds(form=FormBounds(most_photos=2)),
            [("a.zip", make_zip(*((f"{k}.jpg", "red") for k in range(3))))],
            "too_many_photos",
        ),
        (JobBounds(form=FormBounds(most_body_bytes=1000)), [bytes(2000)], "body_too_large"),
        (JobBounds(most_waiting=0), ["red"], "too_many_jobs"),
        (JobBounds(most_kept_bytes=100), ["red"], "no_space"),
        (JobBounds(spare_bytes=10**18), ["red"], "no_space"),
    ],
)
def test_what_is_too_much_is_refused(build, bounds, files, code):
    with connect(build(job_bounds=bounds)) as client:
        refused = send_job(client, *files)
        assert read_code(refused) == code
        if code == "too_many_jobs":
            assert refused.headers["retry-after"] == "60"
        assert not any(client.app.state.jobs.path.glob("*"))


@pytest.mark.parametrize(
    ("body", "headers", "code"),
    [
        (b"", {}, "not_a_form"),
        (b"--b--\r\n", FORM, "no_photo"),
        (
            b'--b\r\nContent-Disposition: form-data; name="x"\r\n\r\nx\r\n--b--\r\n',
            FORM,
            "unknown_field",
        ),
        (b'--b\r\nContent-Disposition: form-data; name="photos"\r\n\r\nx', FORM, "bad_form"),
        (b"--b\r\n\r\nx\r\n--b--\r\n", FORM, "unknown_field"),
    ],
)
def test_bodies_that_are_no_such_form_are_refused_and_leave_nothing(client, body, headers, code):
    refused = client.post("/api/v1/jobs", content=body, headers=headers)
    assert read_code(check_told(client, refused)) == code
    assert list(client.app.state.jobs.path.iterdir()) == []
    assert client.app.state.jobs._receiving == []


def test_a_body_without_a_length_is_bounded_while_it_is_read(build):
    num_sent = 0

    def stream():
        nonlocal num_sent
        yield b'--b\r\nContent-Disposition: form-data; name="photos"\r\n\r\n'
        for _ in range(1000):
            num_sent += 1
            yield bytes(1000)

    form = FormBounds(most_body_bytes=20_000)
    with connect(build(job_bounds=JobBounds(form=form))) as client:
        refused = client.post("/api/v1/jobs", content=stream(), headers=FORM)
        assert read_code(refused) == "body_too_large"
        assert list(client.app.state.jobs.path.iterdir()) == []


def test_a_disk_that_is_full_is_told_and_a_later_list_is_taken(client, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lotlens.files.os.fsync", fail)
    assert read_code(send_job(client, "red")) == "no_space"
    monkeypatch.undo()
    assert wait_for(client, send_job(client, "red").json()["id"])["state"] == "done"
    assert len(list(client.app.state.jobs.path.iterdir())) == 1


def test_a_disk_that_is_not_full_but_fails_is_not_called_full(client, monkeypatch):
    def fail(*_):
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("lotlens.files.os.fsync", fail)
    assert read_code(send_job(client, "red")) == "failed"


def test_a_list_that_cannot_be_deleted_stays(client, monkeypatch):
    jobs = client.app.state.jobs
    id_ = wait_for(client, send_job(client, "red").json()["id"])["id"]
    rename = Path.rename

    def fail(self, target):
        if self.name == id_:
            raise OSError(13, "Permission denied")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    assert read_code(client.delete(f"/api/v1/jobs/{id_}")) == "failed"
    assert ask(client, id_).json()["state"] == "done"
    assert not jobs.find(id_).is_deleted
    monkeypatch.undo()
    assert client.delete(f"/api/v1/jobs/{id_}").status_code == 204
    assert client.get(f"/api/v1/jobs/{id_}").status_code == 404


def test_pictures_of_one_list_open_its_zip_once(client, monkeypatch):
    opened = []
    open_file = archives._open_file
    packed = make_zip(*((f"{k}.jpg", "red") for k in range(3)))
    first, second = (
        wait_for(client, send_job(client, ("a.zip", packed)).json()["id"])["id"] for _ in range(2)
    )
    monkeypatch.setattr(archives, "_open_file", lambda path: opened.append(path) or open_file(path))
    for id_ in (first, first, second, first):
        for number in range(3):
            assert ask(client, id_, f"/photos/{number}").status_code == 200
    assert len(opened) == 3


def test_nothing_is_written_any_more_once_a_body_is_given_up():
    """However slow the disk is: what is given up is removed next."""

    class Slow:
        is_writing = False

        def begin(self, name):
            self.is_writing = True
            threading.Event().wait(0.3)
            self.is_writing = False

        def add(self, data):
            pass

        def end(self):
            pass

    async def send():
        yield b'--b\r\nContent-Disposition: form-data; name="photos"\r\n\r\n'
        yield b"x"

    keeper, bounds = Slow(), FormBounds(patience_s=0.1)
    reading = read_form("multipart/form-data; boundary=b", send(), frozenset(), bounds, keeper)
    with pytest.raises(Problem) as refused:
        asyncio.run(reading)
    assert refused.value.code in ("too_slow", "bad_form")
    assert not keeper.is_writing


def test_an_answer_that_comes_as_the_wait_ends_counts():
    class Late(Future):
        """Is done right after it was said not to be."""

        def result(self, timeout=None):
            if timeout is not None:
                self.set_result("answered")
                raise TimeoutError
            return super().result()

    assert job_answers.Answering._read(SimpleNamespace(), Late()) == "answered"


def test_answers_that_the_disk_does_not_take_are_tried_again(client, monkeypatch):
    monkeypatch.setattr(lists, "_REST_S", 0.05)
    add, failed = job_answers.Journal.add, []

    def fail(self, number, piece):
        if len(failed) < 3:
            failed.append(number)
            raise OSError(28, "No space left on device")
        add(self, number, piece)

    monkeypatch.setattr(job_answers.Journal, "add", fail)
    job = wait_for(client, send_job(client, *(["red"] * (PIECE + 2))).json()["id"])
    assert (job["state"], job["done"], failed) == ("done", PIECE + 2, [0, 0, 0])


def test_other_websites_can_neither_send_nor_delete_lists(client):
    token = read_token(client.get("/jobs").text)
    id_ = wait_for(client, send_job(client, "red").json()["id"])["id"]
    evil = {"Origin": "http://evil.example", TOKEN_HEADER: token}
    assert read_code(send_job(client, "red", headers=evil)) == "foreign_page"
    assert read_code(client.delete(f"/api/v1/jobs/{id_}", headers=evil)) == "foreign_page"
    own = {"Origin": ORIGIN, TOKEN_HEADER: token}
    assert client.delete(f"/api/v1/jobs/{id_}", headers=own).status_code == 204


def test_the_pages_keep_to_the_policy_and_say_so_in_both_languages(client):
    id_ = wait_for(client, send_job(client, *KINDS).json()["id"])["id"]
    for path in ("/jobs", f"/jobs/{id_}"):
        for code in ("en", "ru"):
            answer = client.get(f"{path}?lang={code}")
            assert "unsafe" not in answer.headers["content-security-policy"]
            page = answer.text
            assert f'lang="{code}"' in page
            for sign in (" onclick", " style=", "<style", "http://", "https://", "<script>"):
                assert sign not in page
    assert "Много фото" in client.get("/?lang=ru").text
    assert client.get("/static/tables.js").status_code == 200


def test_time_left_counts_the_lists_before(client, colour_model):
    jobs = client.app.state.jobs
    wait_for(client, send_job(client, *(["red"] * PIECE)).json()["id"])
    jobs._rate = 8.0
    colour_model.may_go.clear()
    first, second = (send_job(client, *(["red"] * PIECE)).json() for _ in range(2))
    assert ask(client, first["id"]).json()["seconds_left"] == PIECE // 8
    assert ask(client, second["id"]).json()["seconds_left"] == 2 * PIECE // 8
    assert ask(client, second["id"]).json()["state"] == "waiting"
    colour_model.may_go.set()
    wait_for(client, second["id"])


def test_idle_jobs_do_not_wake(client, monkeypatch):
    jobs = client.app.state.jobs
    wait_for(client, send_job(client, "red").json()["id"])
    looked = []
    find = jobs._find_next
    monkeypatch.setattr(jobs, "_find_next", lambda: (looked.append(time.monotonic()), find())[1])
    time.sleep(0.5)
    assert len(looked) <= 1
