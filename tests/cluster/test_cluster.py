"""Work on a real Ray of two nodes, on the loopback: the same rows, whatever dies meanwhile."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

import lotlens
from lotlens.cluster import crew as crews
from lotlens.cluster import photos as ranges
from lotlens.cluster import worker as workers
from lotlens.cluster.address import open_cluster
from lotlens.cluster.crew import Bounds, Crew, Hand
from lotlens.cluster.worker import bear_witness, introduce
from lotlens.deliver.model import load
from lotlens.errors import InputError, LotlensError
from lotlens.photos import addresses
from lotlens.recipes.loading import parse_recipe
from lotlens.verbs import predict as predicting
from lotlens.verbs.export import export
from lotlens.verbs.predict import write_answers
from lotlens.verbs.scan import scan
from tests.conftest import draw_photo, encode, make_tiny_recipe

os.environ.update(
    RAY_USAGE_STATS_ENABLED="0",
    RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO="0",
    RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER="0",  # the loopback
    RAY_worker_niceness="0",
)
pytest.importorskip("ray", reason="Ray is not installed: see lotlens[cluster]")

pytestmark = [
    # Ray leaves pipes and sockets of the processes that it starts to the garbage collector.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.usefixtures("plain_training"),
]


@pytest.fixture(scope="module")
def nodes():
    """Two nodes of one core each, as processes of their own; this one is connected to the first."""
    import ray
    from ray.cluster_utils import Cluster

    options = {"num_cpus": 1, "object_store_memory": 80_000_000}
    nodes = Cluster(initialize_head=True, connect=False, head_node_args=options)
    nodes.add_node(**options)
    nodes.wait_for_nodes()
    ray.init(address=nodes.address, log_to_driver=False, logging_level="ERROR")
    # Workers need not import this module with all that it stands on.
    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])
    yield nodes
    ray.shutdown()
    nodes.shutdown()


@pytest.fixture
def ray(nodes):
    with open_cluster("ray") as ray:
        yield ray


class Dier:
    """A worker that does to itself what a job says, once."""

    def introduce(self, witnesses):
        return introduce(witnesses)

    def do(self, job):
        number, way, mark = job
        if way and not Path(mark).exists():
            Path(mark).touch()
            if way == "sys.exit":
                sys.exit(3)
            if way == "raise":
                raise ValueError("a mistake of the program")
            if way == "always":
                Path(mark).unlink()
            if way == "hang":
                time.sleep(600)
            os.kill(os.getpid(), signal.SIGKILL)
        return number, os.getpid()


def hiring(ray, kind):
    kind = ray.remote(kind).options(num_cpus=1, max_restarts=0, max_task_retries=0)
    return kind.remote


def test_workers_that_die_cost_nothing_but_time(ray, tmp_path):
    ways = {3: "SIGKILL", 6: "sys.exit", 9: "raise"}
    jobs = [(number, ways.get(number, ""), tmp_path / f"mark-{number}") for number in range(12)]
    crew = Crew(ray, hiring(ray, Dier))
    found = list(crew.share_out("do", len(jobs), jobs.__getitem__))
    assert sorted(number for number, _ in found) == list(range(12))
    assert all(number == told for number, (told, _) in found)
    assert len(list(tmp_path.iterdir())) == 3
    assert len({process for _, (_, process) in found}) >= 2


def test_a_job_that_kills_whoever_takes_it_is_given_up(ray, tmp_path, monkeypatch):
    monkeypatch.setattr(crews, "MOST_TRIES", 2)
    jobs = [(number, "always" if number == 1 else "", tmp_path / "mark") for number in range(4)]
    crew = Crew(ray, hiring(ray, Dier), count=lambda: 1)
    with pytest.raises(LotlensError, match=r"2 workers have failed at .* number 2 .*goes on"):
        list(crew.share_out("do", len(jobs), jobs.__getitem__))


def test_what_hangs_is_given_up_in_time_and_leaves_its_core(ray, tmp_path):
    crew = Crew(ray, hiring(ray, Dier), bounds=Bounds(patience_s=3.0), count=lambda: 1)
    with pytest.raises(LotlensError, match=r"nothing was finished in \d+ s by 1 workers, with 1 "):
        list(crew.share_out("do", 1, lambda number: (number, "hang", tmp_path / "mark")))
    deadline = time.monotonic() + 30
    while ray.available_resources().get("CPU", 0) < 2:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_a_cluster_without_a_free_core_does_not_hang(ray):
    wanted = ray.remote(Dier).options(num_cpus=3)  # no node has as many
    crew = Crew(ray, wanted.remote, bounds=Bounds(start_s=1.0))
    with pytest.raises(LotlensError, match="no worker has started in 1 s:  ray status "):
        list(crew.share_out("do", 1, lambda number: (number, "", "")))


def test_a_worker_that_is_otherwise_is_refused(tmp_path):
    crew = Crew(None, lambda: None)
    hand = Hand(None)
    crew._welcome(hand, introduce(()))
    assert hand.is_ready
    told = introduce(())
    other = replace(told, machine="far", versions={**told.versions, "onnxruntime": "1.0"})
    with pytest.raises(InputError, match=r"far has onnxruntime 1\.0, this machine .*the same on"):
        crew._welcome(Hand(None), other)
    (tmp_path / "card.json").write_text("{}")
    seen = bear_witness(str(tmp_path / "card.json"), whole=True)
    assert introduce([seen]).missing == ()
    (tmp_path / "card.json").write_text("[]")  # as many bytes, others
    with pytest.raises(InputError, match=r"does not see .*card\.json, or sees another file there"):
        crew._welcome(Hand(None), introduce([seen]))


def test_a_machine_with_another_lotlens_is_told():
    crew = Crew(Ray(), lambda: None)
    crew._hands.append(hand := Hand(None))
    error = RuntimeError("The actor failed to import on the worker: No module named 'lotlens'")
    with pytest.raises(InputError, match="has no lotlens, or another one: install the same"):
        crew._lose(hand, error)


class Ray:
    """As much of it as is asked when a worker is let go."""

    def kill(self, actor):
        pass


@pytest.mark.parametrize(
    ("cores", "most"), [([2], 2), ([1, 1], 2), ([4], 3), ([8, 8, 1], 15), ([], 1), ([0], 1)]
)
def test_cores_are_left(cores, most):
    nodes = [{"Alive": True, "Resources": {"CPU": float(count)}} for count in cores]
    nodes.append({"Alive": False, "Resources": {"CPU": 64.0}})
    ray = Ray()
    ray.nodes = lambda: nodes
    assert crews.count_workers(ray) == most


@pytest.fixture(scope="module")
def bundle(tiny_run, tmp_path_factory):
    return export(tiny_run.path, out=tmp_path_factory.mktemp("cluster") / "bundle").path


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Sixty, of which one is broken and one empty."""
    folder = tmp_path_factory.mktemp("cluster") / "photos"
    folder.mkdir()
    for number in range(60):
        data = encode(draw_photo(number % 3, number))
        data = {7: data[:60], 33: b""}.get(number, data)
        (folder / f"{number:02}.jpg").write_bytes(data)
    return folder


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(predicting, "_PIECE", 8)  # as many as a batch


def read_tables(folder):
    return [(folder / name).read_bytes() for name in ("answers.csv", "details.csv")]


def answer(bundle, photos, folder, **options):
    folder.mkdir(exist_ok=True)
    return write_answers(
        bundle, photos, out=folder / "answers.csv", details=folder / "details.csv", **options
    )


@pytest.fixture
def local(bundle, photos, small_pieces, monkeypatch, tmp_path):
    """The tables of the local engine, with as many streams as a machine of several cores has."""
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "2")
    answer(bundle, photos, tmp_path / "local")
    return read_tables(tmp_path / "local")


_DRIVER = """
import sys
from lotlens.verbs import predict
predict._PIECE = 8
def wait(what, done, total):
    print(done, flush=True)
    if done >= 24:
        sys.stdin.read()  # until it is killed
out = sys.argv[3] + "/answers.csv"
predict.write_answers(sys.argv[1], sys.argv[2], out=out, on=sys.argv[4], watch=wait)
"""


def test_a_driver_that_is_killed_goes_on_where_it_was(
    nodes, ray, bundle, photos, local, tmp_path, monkeypatch
):
    folder = tmp_path / "killed"
    folder.mkdir()

    def stop(what, done, total):
        if done > 8:
            raise InterruptedError

    with pytest.raises(InterruptedError):  # what one engine has begun the other ends
        answer(bundle, photos, folder, watch=stop)
    words = [sys.executable, "-c", _DRIVER, *map(str, (bundle, photos, folder))]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [*words, f"ray://{nodes.address}"], stdin=pipe, stdout=pipe, text=True
    ) as driver:
        for line in driver.stdout:
            if int(line) >= 24:
                break
        driver.kill()
    pieces = {path.name: path.stat().st_mtime_ns for path in folder.glob(".*pieces/*.npz")}
    assert len(pieces) >= 3
    asked = []
    answer_ranges = ranges.answer_ranges

    def note(on, model, catalog, missing, *others):
        asked.extend(missing)
        kept = {path.name: path.stat().st_mtime_ns for path in folder.glob(".*pieces/*.npz")}
        assert kept == pieces  # nothing that was done is done again
        return answer_ranges(on, model, catalog, missing, *others)

    monkeypatch.setattr(ranges, "answer_ranges", note)
    answer(bundle, photos, folder, on="ray")
    assert read_tables(folder) == local
    rows = sorted(row for rows in asked for row in rows)
    assert len(rows) == 60 - 8 * len(pieces)
    assert len(set(rows)) == len(rows)


def test_a_disk_that_goes_away_is_no_photo_that_cannot_be_read(bundle, tmp_path):
    for number in range(4):
        (tmp_path / f"{number}.jpg").write_bytes(encode(draw_photo(0, number)))
    catalog = predicting._open(load(bundle), tmp_path, None).catalog
    worker = workers.Worker(str(bundle), 4)
    assert worker.answer(catalog).answered.all()
    for path in tmp_path.glob("*.jpg"):
        path.unlink()
    refused = worker.answer(catalog)
    assert isinstance(refused, workers.Refusal)
    assert "0.jpg and all beside it cannot be seen" in refused.said


@pytest.fixture
def store(monkeypatch):
    """Files of this machine as a store's, which all processes see."""
    monkeypatch.setattr(addresses, "_HERE", frozenset())
    monkeypatch.setattr(addresses, "_STORES", frozenset(["file"]))


def test_photos_at_an_address_are_fetched_by_the_workers(
    ray, bundle, photos, local, store, tmp_path
):
    answer(bundle, photos.as_uri(), tmp_path / "there", on="ray")
    assert read_tables(tmp_path / "there") == local


def test_an_address_that_is_gone_is_told(bundle, store, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "1.jpg").write_bytes(encode(draw_photo(0, 1)))
    catalog = predicting._open(load(bundle), (tmp_path / "photos").as_uri(), None).catalog
    file = catalog.photos[0].locator.file
    assert introduce([bear_witness(file)]).missing == ()
    seen = bear_witness(file)
    (tmp_path / "photos" / "1.jpg").unlink()
    assert introduce([seen]).missing == (file,)
    crew = Crew(None, lambda: None)
    with pytest.raises(InputError, match=r"cannot read file://.*the same keys"):
        crew._welcome(Hand(None), introduce([seen]))
    refused = workers.Worker(str(bundle), 1).answer(catalog)
    assert isinstance(refused, workers.Refusal)
    assert "cannot be seen" in refused.said


def test_a_scan_says_the_same_wherever_photos_are_looked_at(
    ray, bundle, photos, small_pieces, tmp_path, monkeypatch
):
    monkeypatch.setenv("LOKY_MAX_CPU_COUNT", "2")
    monkeypatch.setattr(ranges, "_LOOKED", 7)
    names = [car.name for car in load(bundle).card.classes]
    rows = [
        f"{at},{names[at % 3]},{200_000 + 7_000 * at},{2001 + at % 17},{9_000 * at},"
        f"{at:02}.jpg;{at + 30:02}.jpg"
        for at in range(30)
    ]
    head = "id,title,price,year,mileage,photos"
    (tmp_path / "adverts.csv").write_text("\n".join([head, *rows]), "utf-8")
    told = []
    for on in ("", "ray"):
        found = scan(bundle, tmp_path / "adverts.csv", photos, out=tmp_path / f"deals{on}", on=on)
        assert found.num_photos == 60
        told.append([(found.folder / name).read_bytes() for name in ("deals.csv", "deals.json")])
    assert told[0] == told[1]
    assert "cannot be read" in told[0][0].decode()  # the broken ones have their reason


def test_folds_on_ray_are_bit_for_bit_those_of_this_process(
    ray, small_lot, tiny_backbone, tmp_path
):
    recipe = make_tiny_recipe(tiny_backbone)
    del recipe["validation"]
    recipe = parse_recipe({**recipe, "folds": 2, "stages": recipe["stages"][:1]})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOKY_MAX_CPU_COUNT", "1")
        patch.setenv("OMP_NUM_THREADS", "1")
        alone = lotlens.train(small_lot, recipe, out=tmp_path / "alone")
        both = lotlens.train(small_lot, recipe, out=tmp_path / "both", on="ray")
    for path in ("weights_path", "validation_path"):
        assert getattr(both.run, path).read_bytes() == getattr(alone.run, path).read_bytes(), path


def test_the_rows_are_those_of_the_local_engine_though_a_worker_and_a_node_die(
    nodes, ray, bundle, photos, local, tmp_path, monkeypatch
):
    """The last test on two nodes: one is left after it."""
    monkeypatch.chdir(photos.parent)  # workers begin elsewhere, and places must do there too
    processes, killed, done = [], [], []
    welcome = Crew._welcome

    def note(self, hand, told):
        processes.append(told.process)
        welcome(self, hand, told)

    def kill(what, num_done, total):
        done.append(num_done)
        if num_done >= 16 and not killed:
            killed.append(processes[0])
            os.kill(processes[0], signal.SIGKILL)
        elif num_done >= 32 and len(killed) == 1:
            killed.extend(nodes.worker_nodes)
            nodes.remove_node(killed[-1], allow_graceful=False)

    monkeypatch.setattr(Crew, "_welcome", note)
    written = answer(bundle, photos.name, tmp_path / "ray", on="ray", watch=kill)
    assert read_tables(tmp_path / "ray") == local
    assert len(killed) == 2
    assert (written.num_photos, len(written.silent)) == (60, 2)
    assert {id_ for id_, _ in written.silent} == {"07.jpg", "33.jpg"}
    assert done[-1] == 60  # each once
    assert done == sorted(set(done))
    assert not list((tmp_path / "ray").glob(".*pieces"))
