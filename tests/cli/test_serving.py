"""`lotlens serve`: what it says before it serves, its keys, and a process that ends well."""

import io
import json
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import zipfile
from pathlib import Path
from urllib.error import HTTPError

import pytest
from typer.testing import CliRunner

import lotlens
from lotlens.cli.app import build_app
from lotlens.errors import BundleError, InputError
from lotlens.photos.sources import open_lot
from lotlens.run import RunFolder
from lotlens.verbs import serve as verb
from lotlens.web import server
from lotlens.web.job_answers import PIECE
from tests.conftest import draw_photo, encode


@pytest.fixture
def served(monkeypatch):
    """Applications that would have been served; their logs go nowhere."""
    monkeypatch.setattr("logging.basicConfig", lambda **_: None)
    apps = []

    def serve(app, listener, **options):
        assert options["grace_s"] > 60
        listener.close()
        apps.append(app)
        raise KeyboardInterrupt

    monkeypatch.setattr(server, "serve", serve)
    return apps


def invoke(*options):
    arguments = ["serve", *map(str, options), "--port", "0", "--no-browser"]
    return CliRunner().invoke(build_app(), arguments, catch_exceptions=False)


def test_it_tells_the_address_the_model_and_who_is_let_in(trained, served, monkeypatch, capfd):
    monkeypatch.setattr(server, "find_own_addresses", lambda: ("192.168.0.5",))
    told = []
    for options in ({}, {"host": "0.0.0.0"}, {"behind": "desk.example.ru"}):
        verb.serve(trained.run.path, port=0, ready=told.append, **options)
    own, network, behind = told
    assert own.address.startswith("http://127.0.0.1:")
    assert (own.links, own.num_keys) == ((), 0)
    assert re.fullmatch("[0-9a-f]{12}", own.model_id)
    assert own.database.endswith("/desk.sqlite")
    assert network.links[0].startswith("http://192.168.0.5:")
    assert behind.address is None
    assert behind.links[0].startswith("https://desk.example.ru/?token=")
    assert len(served) == 3
    assert invoke(trained.run.path).exit_code == 0


def test_keys_are_made_once_and_removed(trained, tmp_path):
    url = f"sqlite:///{tmp_path / 'keys.sqlite'}"
    made = invoke(trained.run.path, "--database", url, "--new-key", "shop")
    assert made.exit_code == 0
    key = verb.make_key(trained.run.path, "other", database=url)
    assert key.startswith("lot_")
    with pytest.raises(InputError, match="'other' already"):
        verb.make_key(trained.run.path, "other", database=url)
    with pytest.raises(InputError, match="1 to 100"):
        verb.make_key(trained.run.path, "", database=url)
    store = verb.open_store(url)
    assert [name for name, _ in store.list_keys()] == ["shop", "other"]
    store.close()
    assert invoke(trained.run.path, "--database", url, "--remove-key", "shop").exit_code == 0
    with pytest.raises(InputError, match="no key called 'shop'"):
        verb.remove_key(trained.run.path, "shop", database=url)


def test_corrections_are_written_as_labelled_photos(trained, tmp_path):
    url = f"sqlite:///{tmp_path / 'own.sqlite'}"
    store = verb.open_store(url)
    photo = encode(draw_photo(1, 700))
    check = store.find_check(store.remember("m", {}, [photo]))
    store.correct(check, "1", "Heron 4", [photo])
    other = encode(draw_photo(2, 701))
    check = store.find_check(store.remember("m", {}, [other]))
    store.correct(check, "", "", [other])
    store.close()
    done = invoke(trained.run.path, "--database", url, "--corrections", tmp_path / "out")
    assert done.exit_code == 0
    assert len(list((tmp_path / "out" / "photos").iterdir())) == 1
    assert "1 photo of another car written" in done.output
    assert f"--others {tmp_path / 'out' / 'others'}" in done.output.replace("\n", "")
    assert [one.label for one in open_lot(tmp_path / "out" / "others").train.photos] == [
        "another car"
    ]
    # The way that the guide tells: the round learns from it, though the model says otherwise.
    vetting = lotlens.vet_outside(trained.run.path, tmp_path / "out", trust_labels=True)
    assert [one.reason for one in vetting.vetted] != ["label contradicted"]


def test_a_folder_of_no_scan_is_one_clear_line(trained, tmp_path):
    with pytest.raises(InputError, match="name the folder that lotlens scan wrote"):
        invoke(trained.run.path, "--deals", tmp_path, "--port", "0")


def test_nonsense_is_one_error(trained, tmp_path):
    with pytest.raises(BundleError):
        verb.serve(tmp_path)
    with pytest.raises(InputError, match="'de'"):
        verb.serve(trained.run.path, lang="de")
    with pytest.raises(InputError, match="one of them"):
        invoke(trained.run.path, "--new-key", "a", "--remove-key", "b")


@pytest.mark.slow
def test_a_bundle_is_served_without_torch_swapped_and_ended(trained, tmp_path):
    """As people start it: no torch in the process, a new model by SIGHUP, a good end by SIGTERM."""
    bundle = tmp_path / "bundle"
    lotlens.export(trained.run.path, out=bundle)
    code = (
        "import sys\n"
        "from lotlens.cli.app import main\n"
        f"sys.argv = ['lotlens', 'serve', {str(bundle)!r}, '--port', '0', '--no-browser']\n"
        "try:\n"
        "    main()\n"
        "finally:\n"
        "    print('torch' in sys.modules, flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with process:
        lines = [process.stdout.readline() for _ in range(3)]
        address, first = (line.split()[-1] for line in lines[:2])
        assert ask(address)["model_id"] == first
        card = bundle / "card.json"
        changed = json.loads(card.read_text("utf-8")) | {"commonest_label": "1"}
        card.write_text(json.dumps(changed), "utf-8")
        process.send_signal(signal.SIGHUP)
        log = [json.loads(process.stderr.readline())["log"] for _ in range(2)]
        assert [line["end"] for line in log] == ["answered", "done"]
        assert ask(address)["model_id"] != first
        begun = begin(address)
        while "lotlens_photos_held 1.0" not in get(f"{address}metrics")[1]:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        # While what was let in is still to be answered, others are told, and that one is answered.
        while get(f"{address}readyz") != (503, '{"status":"ending"}'):
            time.sleep(0.05)
        with pytest.raises(HTTPError) as refused:
            ask(address)
        with refused.value as answer:
            assert answer.code == 503
            assert json.load(answer)["error"]["code"] == "ending"
        assert finish(begun).startswith(b"HTTP/1.1 200 OK")
        rest, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert rest.split() == ["False"]


PHOTO = encode(draw_photo(0, 600))
BODY = b'--b\r\nContent-Disposition: form-data; name="photos"\r\n\r\n' + PHOTO + b"\r\n--b--\r\n"
KIND = "multipart/form-data; boundary=b"


SLOW = """
import sys, threading
from pathlib import Path
from lotlens.cli.app import main
from lotlens.deliver.model import OpenModel
answer, count_path = OpenModel.answer_bytes, Path(sys.argv[1])
def answer_slowly(self, photos, ids):
    if ids != ["warm"]:
        while count_path.stat().st_size >= int(count_path.with_name("most").read_text()):
            threading.Event().wait(0.01)
        with count_path.open("a") as file:
            file.write("x" * len(photos))
    return answer(self, photos, ids)
OpenModel.answer_bytes = answer_slowly
sys.argv = ["lotlens", "serve", *sys.argv[2:], "--port", "0", "--no-browser"]
main()
"""


@pytest.mark.slow
def test_a_list_survives_kills_and_goes_on_where_it_was(trained, tmp_path):
    url, count_path = f"sqlite:///{tmp_path / 'desk.sqlite'}", tmp_path / "asked"
    stream, num_photos = io.BytesIO(), 6 * PIECE
    with zipfile.ZipFile(stream, "w") as packed:
        for number in range(num_photos):
            data = b"no photo" if number == 3 else encode(draw_photo(number % 3, number))
            packed.writestr(f"{number:03}.jpg", data)

    def start():
        command = [sys.executable, "-c", SLOW, str(count_path), str(trained.run.path)]
        process = subprocess.Popen(
            [*command, "--database", url],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        return process, process.stdout.readline().split()[-1]

    def end(process, how):
        process.send_signal(how)
        process.communicate(timeout=60)

    def let_go_on(num_photos):
        """So many photos may be asked about, those included that were before."""
        (tmp_path / "most").write_text(str(num_photos))

    count_path.touch()
    let_go_on(0)
    process, address = start()
    id_ = post(f"{address}api/v1/jobs", stream.getvalue())["id"]
    end(process, signal.SIGKILL)  # the moment it was accepted
    num_done, num_kills = 0, 1
    for how in (signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
        let_go_on(count_path.stat().st_size + PIECE + 4)  # and some of the next few
        process, address = start()
        while (job := read(f"{address}api/v1/jobs/{id_}"))["done"] < num_done + PIECE:
            time.sleep(0.01)
        assert num_done < job["done"] < num_photos
        num_done, num_kills = job["done"], num_kills + 1
        end(process, how)
    let_go_on(10 * num_photos)
    process, address = start()
    while (job := read(f"{address}api/v1/jobs/{id_}"))["state"] != "done":
        time.sleep(0.01)
    rows = read(f"{address}api/v1/jobs/{id_}/rows")["rows"]
    end(process, signal.SIGTERM)
    assert [row["id"] for row in rows] == [f"{number:03}.jpg" for number in range(num_photos)]
    assert [row["number"] for row in rows if row["verdict"] == "no answer"] == [3]
    # A kill costs no more than what was being answered then.
    assert num_photos <= len(count_path.read_text()) <= num_photos + num_kills * PIECE
    expected = {}
    for number in (0, 50, 95):
        process_answer = lotlens.load(trained.run.path).predict(
            write(tmp_path / f"{number}.jpg", encode(draw_photo(number % 3, number)))
        )
        expected[number] = process_answer.verdict[0]
    assert {number: rows[number]["verdict"] for number in expected} == expected


def write(path, data):
    path.write_bytes(data)
    return path


def read(address):
    with urllib.request.urlopen(address, timeout=60) as answer:
        return json.load(answer)


def post(address, photo):
    head = b'--b\r\nContent-Disposition: form-data; name="photos"; filename="a.zip"\r\n\r\n'
    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    request = urllib.request.Request(address, head + photo + b"\r\n--b--\r\n", headers)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def test_a_second_desk_with_the_same_lists_is_refused(trained, served, tmp_path):
    url = f"sqlite:///{tmp_path / 'desk.sqlite'}"

    def serve_again(_):
        with pytest.raises(InputError, match=r"another desk is served .*desk\.jobs"):
            verb.serve(trained.run.path, port=0, database=url)
        other = f"sqlite:///{tmp_path / 'other.sqlite'}"
        verb.serve(trained.run.path, port=0, database=other)

    verb.serve(trained.run.path, port=0, database=url, ready=serve_again)
    assert len(served) == 2
    verb.serve(trained.run.path, port=0, database=url)


def test_lists_lie_beside_the_database_or_in_the_run(tmp_path):
    run = RunFolder(tmp_path / "run")
    own = verb.find_jobs(run, verb.default_database(run))
    assert own == tmp_path / "run" / "desk.jobs"
    assert verb.find_jobs(run, f"sqlite:///{tmp_path / 'x' / 'a.db'}") == tmp_path / "x" / "a.jobs"
    for url in ("postgresql+psycopg://me@host/desk", "sqlite://"):
        assert verb.find_jobs(run, url) == own
    with pytest.raises(InputError, match="the database cannot be used"):
        verb.find_jobs(run, "nonsense")


def test_two_signals_at_once_are_heeded_in_turn():
    inside, log = threading.Lock(), []
    done = threading.Semaphore(0)

    def swap():
        assert inside.acquire(blocking=False), "two at once"
        log.append(len(log))
        time.sleep(0.05)
        inside.release()
        done.release()

    with verb._listening_for_signals(swap):
        for _ in range(3):
            signal.raise_signal(signal.SIGHUP)
        for _ in range(3):
            assert done.acquire(timeout=30)
    assert log == [0, 1, 2]


def ask(address):
    request = urllib.request.Request(f"{address}api/v1/predict", BODY, {"Content-Type": KIND})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def get(url):
    """Status and text."""
    try:
        with urllib.request.urlopen(url, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.read().decode()


def begin(address):
    """A request whose body has not come to its end."""
    host = address.removeprefix("http://").rstrip("/")
    name, _, port = host.partition(":")
    connection = socket.create_connection((name, int(port)), timeout=60)
    head = f"POST /api/v1/predict HTTP/1.1\r\nHost: {host}\r\nContent-Type: {KIND}\r\n"
    connection.sendall(f"{head}Content-Length: {len(BODY)}\r\n\r\n".encode() + BODY[:100])
    return connection


def finish(connection):
    with connection:
        connection.sendall(BODY[100:])
        return connection.recv(1000)


def test_the_database_lies_in_the_runs_own_folder(trained):
    url = verb.default_database(trained.run)
    assert Path(url.removeprefix("sqlite:///")).parent == trained.run.path.resolve()


def test_a_run_in_a_folder_with_signs_has_its_database_there(tmp_path):
    folder = tmp_path / "50% off? #1 данные"
    folder.mkdir()
    store = verb.open_store(verb.default_database(RunFolder(folder)))
    store.make_key("shop")
    store.close()
    assert (folder / "desk.sqlite").is_file()
