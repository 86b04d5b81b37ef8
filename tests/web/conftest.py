"""A small lot with doubts, and a run folder that knows both; no model is needed to review."""

import io
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy
import uvicorn
from PIL import Image, ImageColor

from lotlens.errors import UnreadablePhoto
from lotlens.improve.doubts import write_doubts
from lotlens.photos.decisions import decisions_path, read_decisions
from lotlens.photos.decode import decode
from lotlens.photos.sources import open_lot
from lotlens.records import (
    FAMILIARITIES,
    CarClass,
    Catalog,
    Doubt,
    Gate,
    ImageSpec,
    Metric,
    ModelCard,
    Predictions,
    Refusal,
)
from lotlens.run import RunFolder
from tests.conftest import list_cut_choices

NUM_DOUBTS = 10


@dataclass
class Reviewed:
    """What a review works on."""

    run: RunFolder
    data: Path
    catalog: Catalog
    doubts: tuple[Doubt, ...]

    @property
    def path(self):
        return decisions_path(self.data)

    def read(self):
        """Photo id -> (verdict, label) of what is on the disk."""
        return {one.photo_id: (one.verdict, one.label) for one in read_decisions(self.path)}


def doubt(photo, suggested, rank, reasons=None):
    return Doubt(
        photo.id,
        photo.label,
        suggested,
        0.93,
        0.04,
        1 - rank / 10_000,
        reasons or {"label probably wrong": 0.9, "odd one out": 0.5},
    )


@pytest.fixture
def reviewed(tmp_path, photo_drawer):
    """Three classes of eight photos in folders, one of them broken, and ten doubts."""
    data = tmp_path / "lot"
    for label, name in enumerate(("Волна", "Heron 4", "Clover")):
        (data / name).mkdir(parents=True)
        for number in range(8):
            path = data / name / f"{label}-{number}.jpg"
            photo_drawer(label, number, (160, 120)).save(path)
    (data / "Clover" / "2-2.jpg").write_bytes(b"no photo at all")
    catalog = open_lot(data).train
    photos = [photo for photo in catalog.photos if int(photo.id[2]) < 4]
    labels = catalog.labels
    doubts = [
        doubt(photo, labels[(labels.index(photo.label) + 1) % 3], rank)
        for rank, photo in enumerate(photos[:NUM_DOUBTS])
    ]
    doubts[3] = doubt(photos[3], photos[3].label, 3, {"unsure between two": 0.8})
    run = RunFolder(tmp_path / "run")
    run.path.mkdir()
    run.card_path.write_text("{}")
    run.weights_path.write_bytes(b"")
    run.source_path.write_text(json.dumps({"data": str(data)}))
    write_doubts(run.doubts_path, doubts, catalog.classes)
    return Reviewed(run, data, catalog, tuple(doubts))


CLASSES = (CarClass("0", "ВАЗ 2109"), CarClass("1", "ВАЗ 21099"), CarClass("4", "Lada Kalina"))
COLOURS = {  # of a photo -> what the model of these tests says of it: logits, and how familiar
    "red": ((9, 0, 0), 1.0),
    "green": ((0, 9, 0), 1.0),
    "blue": ((0, 0, 9), 1.0),
    "yellow": ((4, 3.9, -4), 1.0),  # one of a pair
    "white": ((9, 0, 0), 0.15),  # no model that it knows
    "black": ((9, 0, 0), 0.0),  # no car
}


class ColourModel:
    """Answers by the colour of a photo's middle; can be held up."""

    num_streams = 1

    def __init__(self):
        gates = tuple(
            Gate(refuses, "neighbours", threshold, Metric("known", 0.95, 0.9, 1.0, 100))
            for refuses, threshold in (("not a car", 0.1), ("unknown", 0.2))
        )
        self.card = ModelCard(
            1,
            "0.1.0",
            CLASSES,
            ImageSpec(48, 64),
            "tiny",
            {},
            "0" * 64,
            metrics=(Metric("accuracy", 0.9, 0.85, 0.94, 200),),
            refusal=Refusal(gates, sure=0.6, candidate=0.1, num_photos=100),
        )
        self.may_go = threading.Event()
        self.may_go.set()
        self.begun = threading.Semaphore(0)
        self.num_asked = 0
        self.fails = False
        self.box = None  # where it finds every car

    def answer_bytes(self, photos, ids):
        self.begun.release()
        assert self.may_go.wait(60)
        if self.fails:
            raise RuntimeError("out of order")
        self.num_asked += len(photos)
        logits = np.full((len(photos), 3), np.nan, np.float32)
        familiarity = np.full((len(photos), len(FAMILIARITIES)), np.nan, np.float32)
        status = []
        for row, photo in enumerate(photos):
            try:
                pixels = decode(photo)
            except UnreadablePhoto as error:
                status.append(error.reason)
                continue
            middle = pixels[pixels.shape[0] // 2, pixels.shape[1] // 2].astype(int)
            logits[row], familiarity[row] = min(
                COLOURS.items(),
                key=lambda one: np.abs(middle - ImageColor.getrgb(one[0])).sum(),
            )[1]
            status.append("ok")
        flaws = ("",) * len(photos)
        boxes = None
        if self.box is not None:
            boxes = np.full((len(photos), 5), np.nan, np.float32)
            boxes[np.isfinite(logits[:, 0])] = self.box.values
        return Predictions(
            *(tuple(ids), logits, None, tuple(status), CLASSES, flaws, familiarity), boxes=boxes
        )


@pytest.fixture
def colour_model():
    return ColourModel()


@pytest.fixture(scope="session")
def postgres_url():
    """The URL of a server that tests may empty: one that is named, else one of their own."""
    if url := os.environ.get("LOTLENS_TEST_POSTGRES_URL"):
        yield url
        return
    programs = max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)
    if programs is None or not hasattr(os, "geteuid"):
        if os.environ.get("CI") == "true" and is_debian_root():
            pytest.fail("no PostgreSQL, which `make postgres` installs here")
        pytest.skip("no PostgreSQL here, and LOTLENS_TEST_POSTGRES_URL names none")
    with run_postgres(programs) as url:
        yield url


def is_debian_root():
    try:
        told = Path("/etc/os-release").read_text()
    except OSError:
        return False
    return os.geteuid() == 0 and "ID=debian" in told.splitlines()


@contextmanager
def run_postgres(programs):
    """A server of PostgreSQL for these tests alone, in a folder and at a port that nobody has."""
    # It refuses to run as root; Debian's package brings a user for it.
    user = {"user": "postgres", "group": "postgres", "extra_groups": []}
    user = user if os.geteuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="lotlens-postgres-"))
    if user:
        shutil.chown(folder, user["user"], user["group"])
    try:
        begin = [
            programs / "initdb",
            "--auth=trust",
            "--username=lotlens",
            "--no-sync",
            folder / "db",
        ]
        subprocess.run(begin, check=True, capture_output=True, cwd=folder, **user)
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": port,
            "unix_socket_directories": folder,
            "fsync": "off",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        log = (folder / "log").open("w")
        server = subprocess.Popen(
            [programs / "postgres", "-D", folder / "db", *options],
            stderr=log,
            stdout=log,
            cwd=folder,
            **user,
        )
        with log, server:
            try:
                url = f"postgresql+psycopg://lotlens@127.0.0.1:{port}/postgres"
                wait_for_postgres(url, server, folder / "log")
                yield url
            finally:
                server.send_signal(signal.SIGINT)  # an end that waits for no client
    finally:
        shutil.rmtree(folder)


def wait_for_postgres(url, server, log):
    engine = sqlalchemy.create_engine(url)
    deadline_s = time.monotonic() + 60
    while True:
        try:
            engine.connect().close()
        except sqlalchemy.exc.OperationalError:
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline_s, log.read_text()
            time.sleep(0.1)
        else:
            engine.dispose()
            return


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, tmp_path):
    """The URL of an empty database of each kind."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'own.sqlite'}"
        return
    from lotlens.web.store import _metadata

    url = request.getfixturevalue("postgres_url")
    engine = sqlalchemy.create_engine(url)
    _metadata.drop_all(engine)
    yield url
    _metadata.drop_all(engine)
    engine.dispose()


@pytest.fixture
def build(tmp_path, colour_model):
    """Builds the desk of that model, with a database of its own."""
    from lotlens.web.batching import Batching, Bounds, Served
    from lotlens.web.desk import build_desk
    from lotlens.web.jobs import Jobs
    from lotlens.web.store import Store

    opened = []

    def build(*, limits=None, job_bounds=None, **options):
        store = Store(f"sqlite:///{tmp_path / 'desk.sqlite'}")
        # How long a held-up model takes says nothing of how many it should be asked.
        limits = limits or Bounds(most_lone_answers=1e6)
        batching = Batching(Served("abc", colour_model), limits)
        jobs = Jobs(tmp_path / "desk.jobs", batching, job_bounds)
        opened.append((batching, store, jobs))
        app = build_desk(batching, store, name="run-1", jobs=jobs, **options)
        app.state.batching, app.state.store, app.state.jobs = batching, store, jobs
        return app

    yield build
    colour_model.may_go.set()
    for batching, store, jobs in opened:
        jobs.close()
        batching.close()
        store.close()


@contextmanager
def serving(app, **options):
    """Serves an application over a real connection: (address, server)."""
    from lotlens.web.server import open_socket

    listener = open_socket("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(app, log_level="critical", **options))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        yield listener.getsockname()[:2], server
    finally:
        server.should_exit = True
        thread.join(60)
        listener.close()


SIZES = {"phone": (390, 844), "desktop": (1280, 800)}


@pytest.fixture
def serve(build):
    """Serves the desk of a model that answers by colour, and gives its address."""
    with ExitStack() as running:

        def serve(**options):
            (host, port), _ = running.enter_context(serving(build(**options)))
            return f"http://{host}:{port}/"

        yield serve


@pytest.fixture
def open_page(chromium):
    """Opens pages as a phone or a desktop in a language; fails if the console said anything."""
    said = []
    contexts = []

    def open_page(address, size="phone", lang="en"):
        width, height = SIZES[size]
        context = chromium.new_context(
            locale=lang,
            viewport={"width": width, "height": height},
            has_touch=size == "phone",
            is_mobile=size == "phone",
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(60_000)
        page.on("console", lambda message: said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: _check_own(request, address, said))
        page.goto(address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert [text for text in said if "status of 4" not in text] == []


def _check_own(request, address, said):
    if not request.url.startswith((address, "blob:", "data:")):
        said.append(f"asked elsewhere: {request.url}")


def check_looks(page):
    """Nothing is wider than the screen or cut, and axe finds nothing serious."""
    from axe_playwright_python.sync_playwright import Axe

    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert list_cut_choices(page) == []
    found = Axe().run(page).response["violations"]
    assert [one["id"] for one in found if one["impact"] in ("serious", "critical")] == []


def draw(colour, kind="JPEG", **options):
    stream = io.BytesIO()
    Image.new("RGB", (64, 48), colour).save(stream, kind, **options)
    return stream.getvalue()
