"""How smoothly the review's sheet scrolls with many doubts, in Chromium.

    python benchmarks/review_scroll.py [--doubts 5000] [--seconds 6] [--rounds 3]

Lays out a lot of drawn photos (of 640 x 480 pixels, as adverts have them; links to a few hundred
files), doubts all of them, serves the review and scrolls its sheet by an equal step in each frame,
there and back: at 3,000 pixels a second, as a wheel or a finger does ("flicked"), and over all of
it in half the time given, as who drags the scroll bar ("dragged"). It prints the intervals between
frames as requestAnimationFrame sees them: their median, the share over 50 ms, the longest; and how
many pictures were in the page at most. "still" is the page with nothing going on: what the machine
allows at best. A smooth screen draws a frame every 16.7 ms.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import threading
from pathlib import Path

import numpy as np
import uvicorn
from PIL import Image, ImageDraw
from playwright.sync_api import Page, sync_playwright

from lotlens.photos.sources import open_lot
from lotlens.records import Doubt
from lotlens.web.review import build_review
from lotlens.web.server import name_address, open_socket

NUM_FILES, NUM_CLASSES = 300, 10
SCROLL = """async ([seconds, speed]) => {
  const sheet = document.getElementById("sheet");
  const far = Math.min(sheet.scrollHeight - sheet.clientHeight, speed * seconds / 2);
  const frames = Math.round(seconds * 60), times = [];
  let most = 0;
  for (let frame = 0; frame <= frames; frame++) {
    times.push(await new Promise(requestAnimationFrame));
    const way = 1 - Math.abs(1 - 2 * frame / frames);
    sheet.scrollTop = far * way;
    most = Math.max(most, document.images.length);
  }
  return [times.slice(1).map((time, number) => time - times[number]), most];
}"""


def lay_out(folder: Path, num_doubts: int) -> None:
    for number in range(NUM_FILES):
        rng = np.random.default_rng(number)
        ground = rng.integers(60, 200, (24, 32, 3), dtype=np.uint8)
        image = Image.fromarray(ground).resize((640, 480), Image.Resampling.BICUBIC)
        box = (120, 180, 520, 380)
        colour = tuple(int(value) for value in rng.integers(0, 255, 3))
        ImageDraw.Draw(image).rounded_rectangle(box, radius=60, fill=colour)
        path = folder / f"class {number % NUM_CLASSES}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        image.save(path, quality=85)
    for number in range(NUM_FILES, num_doubts):
        same = number % NUM_FILES
        folder_of = folder / f"class {same % NUM_CLASSES}"
        os.link(folder_of / f"{same}.jpg", folder_of / f"{number}.jpg")


def describe(intervals: list[float]) -> str:
    slow = sum(interval > 50 for interval in intervals) / len(intervals)
    return (
        f"{len(intervals)} frames, median {statistics.median(intervals):.1f} ms,"
        f" over 50 ms {slow:.1%}, longest {max(intervals):.0f} ms"
    )


def measure(page: Page, address: str, seconds: float) -> None:
    page.goto(address)
    page.wait_for_selector(".cell img")
    page.wait_for_timeout(2000)
    for name, speed in (("still", 0), ("flicked", 3000), ("dragged", 1e9)):
        intervals, most = page.evaluate(SCROLL, [seconds, speed])
        print(f"  {name:<8} {describe(intervals)}; at most {most} pictures", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--doubts", type=int, default=5000)
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    browser_path = shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "lot"
        lay_out(folder, arguments.doubts)
        catalog = open_lot(folder).train
        labels = catalog.labels
        doubts = [
            Doubt(
                photo.id,
                photo.label or "",
                labels[(labels.index(photo.label or "") + 1) % NUM_CLASSES],
                0.9,
                0.05,
                1.0,
                {"label probably wrong": 0.9},
            )
            for photo in catalog.photos[: arguments.doubts]
        ]
        app = build_review(doubts, catalog, Path(name) / "lot.decisions.csv")
        listener = open_socket("127.0.0.1", 0)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(
                    executable_path=browser_path, args=["--no-sandbox", "--disable-gpu"]
                )
                for width, height in ((1280, 800), (390, 844)):
                    print(
                        f"{len(doubts)} doubts, {width} x {height}, {os.getloadavg()[0]:.1f} load"
                    )
                    page = browser.new_page(viewport={"width": width, "height": height})
                    page.add_init_script(
                        "addEventListener('DOMContentLoaded', () =>"
                        " document.body.classList.add('sheet-open'))"
                    )
                    for _ in range(arguments.rounds):
                        measure(page, name_address(listener) or "", arguments.seconds)
                    page.close()
                browser.close()
        finally:
            server.should_exit = True
            thread.join()


if __name__ == "__main__":
    main()
