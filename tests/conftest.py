"""Pictures and lots drawn for the tests; nothing here comes from outside."""

import csv
import io
import os
import shutil
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from PIL import Image, ImageDraw

# Many tests import torch before lotlens, which would say this itself (see vision/compat.py).
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
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
NAMES = ("Волна", "Heron 4", "Clover")
COLOURS = ((200, 40, 40), (40, 170, 60), (50, 60, 200))


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


@pytest.fixture(scope="session")
def small_lot(tmp_path_factory):
    """Three classes, 12 training and 4 test photos each."""
    return write_lot(tmp_path_factory.mktemp("small") / "lot")


@pytest.fixture(scope="session")
def spoilt_lot(tmp_path_factory):
    """The same with one broken photo in each part."""
    return write_lot(tmp_path_factory.mktemp("spoilt") / "lot", spoil=True)


@pytest.fixture(scope="session")
def tiny_backbone(tmp_path_factory):
    """A timm network of 99,196 weights in a local file: what a recipe calls its backbone."""
    import torch
    from safetensors.torch import save_file

    from lotlens.vision.backbones import timm

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = timm.create_model("test_efficientnet", num_classes=0)
    path = tmp_path_factory.mktemp("weights") / "tiny.safetensors"
    save_file(model.state_dict(), path)
    return f"timm:test_efficientnet@{path}"


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
def tiny_run(small_lot, tiny_backbone, tmp_path_factory):
    """A finished run of the tiny recipe on the small lot, for tests that change nothing in it."""
    from lotlens import api
    from lotlens.recipe import parse_recipe

    recipe = parse_recipe(make_tiny_recipe(tiny_backbone))
    return api.train(small_lot, recipe, out=tmp_path_factory.mktemp("tiny") / "run").run


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
