"""Draws README's picture: the upper part of a run's report, as a browser shows it.

    python docs/picture.py runs/cars-quick-1 docs/report.png

The run must be one of a sample lot: a picture in the documents shows drawn cars alone.
"""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

import lotlens

SIZE = {"width": 900, "height": 1000}


def draw(run_path: Path, picture_path: Path) -> None:
    model = lotlens.load(run_path)
    if not model.card.synthetic:
        raise SystemExit(f"{run_path} has learnt photos of somebody: name a run of a sample lot")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"))
        page = browser.new_page(viewport=SIZE)
        page.goto(model.run.report_path.resolve().as_uri())
        shot = page.screenshot()
        browser.close()
    save(shot, picture_path)


def save(shot: bytes, picture_path: Path) -> None:
    """Keep a screenshot: 128 colours are enough for text and drawings, a quarter of the bytes."""
    Image.open(io.BytesIO(shot)).convert("RGB").quantize(128).save(picture_path, optimize=True)


if __name__ == "__main__":
    draw(Path(sys.argv[1]), Path(sys.argv[2]))
