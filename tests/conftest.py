"""Pictures and lots drawn for the tests; nothing here comes from outside."""

import csv
import hashlib
import io
import json
import os
import shutil
import zipfile
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings
from PIL import Image, ImageDraw

# Many tests import torch before lotlens, which would say this itself (see vision/compat.py).
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
if "PYTEST_XDIST_WORKER" in os.environ:
    # Each of several test processes counts one core as its own. Threads of all of them for each
    # core wait for one another by spinning: a training took four times the CPU seconds (measured).
    os.environ.setdefault("LOKY_MAX_CPU_COUNT", "1")
# How long an example takes says nothing on a busy machine.
settings.register_profile("lotlens", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("lotlens")

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
BROWSER_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
# Files that take longest. They go first, or one of them is at work when all others are done.
LONGEST = (
    "test_first_minutes.py",
    "vision/test_distributed.py",
    "test_resume.py",
    "verbs/test_improve.py",
    "verbs/test_export.py",
    "verbs/test_refusal.py",
    "web/test_browser.py",
    "report/test_browser.py",
    "report/test_page.py",
    "cli/test_training.py",
    "verbs/test_ensemble.py",
    "verbs/test_train.py",
    "vision/test_finetune.py",
    "test_docs.py",
    "test_kill.py",
)
NAMES = ("Волна", "Heron 4", "Clover")
COLOURS = ((200, 40, 40), (40, 170, 60), (50, 60, 200))


@pytest.fixture(autouse=True)
def no_detector_of_the_users(tmp_path_factory, monkeypatch, request):
    """Programs' data of whoever runs the tests are not theirs."""
    folder = tmp_path_factory.getbasetemp() / f"data-{request.node.name[:40]}"
    monkeypatch.setenv("XDG_DATA_HOME", str(folder))


def pytest_configure(config):
    # pytest-xdist would begin with files of many tests; it has this option where it is there.
    config.option.loadscopereorder = False


def pytest_collection_modifyitems(items):
    rank = {name: number for number, name in enumerate(LONGEST)}
    tests = Path(__file__).parent
    items.sort(key=lambda item: rank.get(item.path.relative_to(tests).as_posix(), len(rank)))


def write_detector(path: Path, *, sides=(48, 64), scale=1.0, most=1.0) -> Path:
    """An ONNX file that finds one car in each photo that is not all of one colour.

    Photos have these sides, edges this scale, and scores are at most so high.
    """
    from onnx import TensorProto, helper, numpy_helper

    def constant(name, values):
        return numpy_helper.from_array(np.array(values, np.float32), name)

    graph = helper.make_graph(
        [
            helper.make_node("ReduceMax", ["photos"], ["most"], axes=[0, 1, 2, 3], keepdims=0),
            helper.make_node("ReduceMin", ["photos"], ["least"], axes=[0, 1, 2, 3], keepdims=0),
            helper.make_node("Sub", ["most", "least"], ["range"]),
            helper.make_node("Mul", ["range", "shares"], ["raw"]),
            helper.make_node("Clip", ["raw", "none", "one"], ["scores"]),
            helper.make_node("Identity", ["places"], ["boxes"]),
        ],
        "detector",
        [helper.make_tensor_value_info("photos", TensorProto.FLOAT, [1, 3, *sides])],
        [
            helper.make_tensor_value_info("boxes", TensorProto.FLOAT, [None, 4]),
            helper.make_tensor_value_info("scores", TensorProto.FLOAT, [None]),
        ],
        [
            constant("shares", [0.9, 0.8, 0.1]),
            constant("none", 0.0),
            constant("one", most),
            constant("places", scale * np.array([[1, 2, 8, 9], [0, 0, 3, 3], [0, 0, 9, 9]]) / 10),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def draw_photo(label: int, number: int, size: tuple[int, int] = (64, 48)) -> Image.Image:
    """A coloured box on a noisy ground: the class is in colour and shape, the rest is chance."""
    rng = np.random.default_rng([label, number])
    ground = rng.integers(90, 160, (size[1], size[0], 3), dtype=np.uint8)
    image = Image.fromarray(ground)
    left, top = (int(v) for v in rng.integers(2, 16, 2))
    box = (left, top, left + 34 + 4 * label, top + 24 - 4 * label)
    colour = tuple(
        int(c) for c in np.clip(np.array(COLOURS[label]) + rng.integers(-20, 20), 0, 255)
    )
    ImageDraw.Draw(image).rounded_rectangle(box, radius=2 + 3 * label, fill=colour)
    return image


def encode(image: Image.Image, kind: str = "JPEG", **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def write_lot(folder, num_per_class: int = 12, num_test_per_class: int = 4, spoil: bool = False):
    """A lot in the competition's layout; with `spoil`, one broken photo in each part."""
    folder.mkdir(parents=True, exist_ok=True)
    train_rows, test_rows = [], []
    with zipfile.ZipFile(folder / "train.zip", "w") as train:
        for label in range(len(NAMES)):
            for number in range(num_per_class):
                id_ = f"{1000 * (label + 1) + number}.jpg"
                data = encode(draw_photo(label, number))
                if spoil and (label, number) == (0, 3):
                    data = data[: len(data) // 3]
                train.writestr(f"train/{label}/{id_}", data)
                train_rows.append((id_, str(label)))
    with zipfile.ZipFile(folder / "test.zip", "w") as test:
        for label in range(len(NAMES)):
            for number in range(num_test_per_class):
                id_ = f"{10_000 * (label + 1) + number}.jpg"
                data = encode(draw_photo(label, 500 + number))
                if spoil and (label, number) == (1, 0):
                    data = b"no photo at all"
                test.writestr(f"test_upload/{id_}", data)
                test_rows.append((id_, str(label)))
    # Neither table lists its photos by class: order must never matter.
    train_rows.sort(key=lambda row: row[0][::-1])
    test_rows.sort(key=lambda row: row[0][::-1])
    _write(folder / "train.csv", ("Id", "Category"), train_rows)
    _write(folder / "sample-submission.csv", ("Id", "Category"), [(i, "0") for i, _ in test_rows])
    _write(folder / "classes.csv", ("Category", "Name"), list(enumerate(NAMES)))
    _write(folder / "answers.csv", ("Id", "Category"), test_rows)
    return folder


def _write(path, header, rows):
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])


def find_shared(factory):
    """The folder for what all processes of this test run share."""
    folder = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    return folder / "shared"


def make_once(factory, name, make):
    """What lies under a name in this test run: made by one of its processes, read by all of them.

    `make` is called with the path to make, which is the same for all. Nothing in it may be changed:
    tests that do copy it. `unchanged` finds those that do not.
    """
    path = find_shared(factory) / name
    path.parent.mkdir(exist_ok=True)
    done = path.with_name(f"{name}.done")
    with FileLock(path.with_name(f"{name}.lock")):
        if not done.exists():
            # What another process left half made.
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
            make(path)
            traits = path.with_name(f"{name}.new")
            traits.write_text(json.dumps(list_traits(path)))
            traits.replace(done)
    return path


def list_traits(path):
    """Of each file at a path: its name, size and time of change."""
    files = sorted(file for file in (path, *path.rglob("*")) if file.is_file())
    return [
        [str(file.relative_to(path.parent)), file.stat().st_size, file.stat().st_mtime_ns]
        for file in files
    ]


def find_changed(shared):
    """Names of files that are not as `make_once` made them, or lie beside what it made."""
    changed = set()
    for done in shared.glob("*.done"):
        made, found = json.loads(done.read_text()), list_traits(done.with_suffix(""))
        changed |= {one[0] for one in (*made, *found) if one not in made or one not in found}
    names = {path.stem for path in shared.glob("*.lock")}
    own = {f"{name}{end}" for name in names for end in ("", ".lock", ".new", ".done")}
    return sorted(changed | {path.name for path in shared.glob("[!.]*")} - own)


@pytest.fixture(scope="session", autouse=True)
def unchanged(tmp_path_factory):
    """Fails when the tests are over if one has changed what the others share."""
    yield
    changed = find_changed(find_shared(tmp_path_factory))
    assert not changed, f"a test has changed, and must copy first: {', '.join(changed)}"


@pytest.fixture(scope="session")
def small_lot(tmp_path_factory):
    """Three classes, 12 training and 4 test photos each."""
    return make_once(tmp_path_factory, "small-lot", write_lot)


@pytest.fixture(scope="session")
def spoilt_lot(tmp_path_factory):
    """The same with one broken photo in each part."""
    return make_once(tmp_path_factory, "spoilt-lot", partial(write_lot, spoil=True))


@pytest.fixture(scope="session")
def tiny_backbone(tmp_path_factory):
    """A timm network of 99,196 weights in a local file: what a recipe calls its backbone."""

    def make(path):
        import torch
        from safetensors.torch import save_file

        from lotlens.vision.backbones import timm

        with torch.random.fork_rng():
            torch.manual_seed(0)
            model = timm.create_model("test_efficientnet", num_classes=0)
        save_file(model.state_dict(), path)

    return f"timm:test_efficientnet@{make_once(tmp_path_factory, 'tiny.safetensors', make)}"


@pytest.fixture
def tiny_recipe(tiny_backbone):
    """Both stages in seconds, as plain values."""
    return make_tiny_recipe(tiny_backbone)


@pytest.fixture
def own_threads():
    """A test may set torch's threads; the others have theirs again after it."""
    import torch

    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def all_cores(own_threads, monkeypatch):
    """As many threads as a user has, where tests otherwise have one: what asks for all cores."""
    monkeypatch.delenv("LOKY_MAX_CPU_COUNT", raising=False)


def make_tiny_recipe(backbone):
    """Both stages in seconds, as plain values.

    The precision is stated: measuring which is faster takes a second, and comes out otherwise on
    a busy machine, and so would the weights.
    """
    return {
        "name": "tiny",
        "precision": "32",
        "backbone": backbone,
        "image": {"height": 48, "width": 64},
        "validation": 0.25,
        "stages": [
            {"kind": "probe", "penalties": [0.1, 1.0]},
            {
                "kind": "finetune",
                "lr": 0.002,
                "batch_size": 8,
                "unfreeze": 0.8,
                "ema": 0.5,
                "sizes": [
                    {"height": 32, "width": 48, "epochs": 1},
                    {"height": 48, "width": 64, "epochs": 1},
                ],
            },
        ],
    }


@pytest.fixture(scope="session")
def train_once(tmp_path_factory):
    """A function that trains a recipe on a lot once in a test run, and gives the run's folder."""

    def train_once(name, lot, recipe, **options):
        import lotlens
        from lotlens.recipes.loading import parse_recipe
        from lotlens.run import RunFolder

        def make(path):
            with without_charts():
                lotlens.train(lot, parse_recipe(recipe), out=path, **options)

        # Another recipe or lot under the same name is another run.
        asked = json.dumps([str(lot), recipe, options], sort_keys=True)
        own_name = f"{name}-{hashlib.sha256(asked.encode()).hexdigest()[:8]}"
        run = make_once(tmp_path_factory, own_name, make)
        # A copy for this process: judging writes into a run, and others copy theirs meanwhile.
        return RunFolder(shutil.copytree(run, tmp_path_factory.mktemp("copy") / name))

    return train_once


@pytest.fixture(scope="session")
def tiny_run(small_lot, tiny_backbone, train_once):
    """A finished run of the tiny recipe on the small lot."""
    return train_once("tiny-run", small_lot, make_tiny_recipe(tiny_backbone))


@pytest.fixture(scope="session")
def locked_run(small_lot, tiny_backbone, train_once):
    """A finished run of a probe on the small lot, a quarter of which is locked away."""
    recipe = make_tiny_recipe(tiny_backbone)
    return train_once(
        "locked-run", small_lot, {**recipe, "stages": recipe["stages"][:1], "lock": 0.25}
    )


@pytest.fixture(scope="session")
def trained(spoilt_lot, tiny_backbone, train_once):
    """A model of both stages on the lot with one broken photo in each part."""
    import lotlens

    recipe = make_tiny_recipe(tiny_backbone)
    recipe["stages"] = [
        {"kind": "probe", "penalties": [0.3, 1.0]},
        {
            "kind": "finetune",
            "batch_size": 8,
            "sizes": [{"height": 48, "width": 64, "epochs": 1}],
        },
    ]
    return lotlens.load(train_once("spoilt-run", spoilt_lot, recipe).path)


@pytest.fixture(scope="session")
def folded(spoilt_lot, tiny_backbone, train_once):
    """A model of three folds of a probe and a short fine-tuning, on the same lot."""
    import lotlens

    recipe = make_tiny_recipe(tiny_backbone)
    del recipe["validation"]
    tuning = {
        "kind": "finetune",
        "batch_size": 8,
        "lr": 1e-4,
        "sizes": [{"height": 48, "width": 64, "epochs": 1}],
        "keep_best": False,
    }
    recipe |= {"folds": 3, "stages": [{"kind": "probe", "penalties": [0.3]}, tuning]}
    return lotlens.load(train_once("folded-run", spoilt_lot, recipe).path)


@contextmanager
def without_charts():
    """Reports without their charts, which take a third of a tiny training.

    For tests that train and do not look at the report; those of reports draw them.
    """
    from lotlens.report import page

    with pytest.MonkeyPatch.context() as patch:
        for name in ("draw_reliability", "draw_refusals"):
            patch.setattr(page, name, lambda *_: b"<svg/>")
        patch.setattr(page, "draw_curve", lambda *_: None)
        yield


@contextmanager
def without_lookalikes():
    """Audits that look for equal files alone.

    For lots of boxes that look much alike, each pair of which would be laid over the other: the
    search is the audit's own subject.
    """
    from lotlens.audit import findings

    real = findings.find_lookalikes
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(findings, "find_lookalikes", lambda hashes: real(hashes[:1]))
        yield


@pytest.fixture
def plain_charts():
    with without_charts():
        yield


@pytest.fixture
def plain_training():
    with without_charts(), without_lookalikes():
        yield


def list_cut_choices(page):
    """Choices of a page's lists that are cut; not names of cars, which may be of any length."""
    return page.evaluate(
        """() => [...document.querySelectorAll("select:not(#car, #label)")].flatMap((list) => {
            const style = getComputedStyle(list);
            const pen = document.createElement("canvas").getContext("2d");
            pen.font = `${style.fontWeight} ${style.fontSize} ${style.fontFamily}`;
            const edges = parseFloat(style.paddingLeft) + parseFloat(style.paddingRight);
            const room = list.clientWidth - edges - 24;  // of the arrow
            const texts = [...list.options].map((one) => one.text);
            return texts.filter((text) => pen.measureText(text).width > room);
        })"""
    )


@pytest.fixture(scope="session")
def photo_drawer():
    """The function that draws one photo of a class, for tests that need photos of their own."""
    return draw_photo


@pytest.fixture(scope="module")
def chromium():
    """Debian's Chromium, which Playwright drives; tests skip without one, and fail in CI."""
    if BROWSER is None and os.environ.get("CI") != "true":
        pytest.skip("no Chromium here: see  make browser")
    assert BROWSER, "CI must test pages in a browser: `make browser` installs Chromium"
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=BROWSER_FLAGS)
        yield browser
        browser.close()
