"""Draws the pictures of docs/ru/desk.md: the desk on a phone, in Russian.

    python docs/desk.py runs/cars-quick-1 docs/ru

The run must be one of a sample lot: a picture in the documents shows drawn cars alone.
"""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from picture import save
from PIL import Image
from playwright.sync_api import Page, sync_playwright

import lotlens
from lotlens.photos.archives import PhotoReader
from lotlens.photos.sources import open_lot

SIZE = {"width": 390, "height": 760}
MOST_LOOKED_AT = 60


@contextmanager
def serving(run_path: Path) -> Iterator[str]:
    """The address of the desk, with a database of its own."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "lotlens.cli", "serve", str(run_path), "--port", "0"]
        command += ["--no-browser", "-q", "--database", f"sqlite:///{folder}/desk.sqlite"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            try:
                yield server.stdout.readline().split()[-1]
            finally:
                server.terminate()


def choose_photos(page: Page, photos: Sequence[bytes]) -> None:
    page.set_input_files(
        "#gallery",
        [{"name": "a.jpg", "mimeType": "image/jpeg", "buffer": photo} for photo in photos],
    )


def ask(page: Page, photos: Sequence[bytes], claim: str = "") -> dict[str, Any]:
    """Have a car's photos recognised on the page, and what was answered."""
    if page.locator("#clear").is_visible():
        page.click("#clear")
    choose_photos(page, photos)
    page.locator("#more").wait_for()
    page.fill("#claim", claim)
    with page.expect_response("**/api/v1/predict") as heard:
        page.click("#send")
    page.locator("#answer, #trouble").locator("visible=true").wait_for()
    found: dict[str, Any] = json.loads(heard.value.text())
    return found


def measure_paint(photo: bytes) -> NDArray[np.float64]:
    """The mean colour [3] of a photo's middle."""
    middle = Image.open(io.BytesIO(photo)).convert("RGB").resize((5, 5))
    return np.asarray(middle, np.float64)[2, 2]


def draw(run_path: Path, folder: Path) -> None:
    model = lotlens.load(run_path)
    if not model.card.synthetic:
        raise SystemExit(f"{run_path} has learnt photos of somebody: name a run of a sample lot")
    test = open_lot(model.data_path).test
    assert test is not None, "the sample lot has photos for testing"
    with PhotoReader() as reader:
        photos = [reader.read(photo.locator) for photo in test.photos[:MOST_LOOKED_AT]]
    photos = [photo for photo in photos if photo]  # some of the lot's faults are empty files
    with serving(run_path) as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        page = browser.new_page(
            locale="ru", viewport=SIZE, has_touch=True, is_mobile=True, device_scale_factor=1.5
        )
        page.goto(address)
        answers = [ask(page, [photo]) for photo in photos]
        sure = max(
            (one for one in range(len(photos)) if answers[one].get("verdict") == "model"),
            key=lambda one: answers[one]["probability"],
        )
        name = answers[sure]["cars"][0]["name"]
        said = [one.get("sentence") for one in answers]
        same = [n for n, one in enumerate(said) if one == said[sure] and n != sure]
        # Those of nearly the same paint, as if they were of one car: an advert has several photos.
        paint = {n: measure_paint(photos[n]) for n in (sure, *same)}
        same.sort(key=lambda n: float(np.abs(paint[n] - paint[sure]).sum()))
        alike = [photos[n] for n in same[:2]]
        unsure = next(n for n, one in enumerate(answers) if one.get("verdict") == "unsure")
        strange = ("not a car", "unknown")
        other = next(n for n, one in enumerate(answers) if one.get("verdict") in strange)
        page.click("#clear")
        choose_photos(page, [photos[sure], *alike])
        page.fill("#claim", name)
        save(page.screenshot(), folder / "desk-photos.png")
        ask(page, [photos[sure], *alike], name)
        page.evaluate("scrollTo(0, document.body.scrollHeight)")
        save(page.screenshot(), folder / "desk-sure.png")
        ask(page, [photos[unsure]])
        page.click("summary")
        page.evaluate("scrollTo(0, document.body.scrollHeight)")
        save(page.screenshot(), folder / "desk-unsure.png")
        page.select_option("#label", answers[unsure]["cars"][1]["label"])
        page.click("#save")
        page.locator("#saved", has_text="Сохранено").wait_for()
        ask(page, [photos[other]])
        page.evaluate("scrollTo(0, document.body.scrollHeight)")
        save(page.screenshot(), folder / "desk-other.png")
        page.goto(f"{address}history?lang=ru")
        save(page.screenshot(), folder / "desk-history.png")
        browser.close()


if __name__ == "__main__":
    draw(Path(sys.argv[1]), Path(sys.argv[2]))
