"""How well changed copies of real photos are found: lotlens against imagehash.phash.

    python benchmarks/near_duplicates.py DATA [--photos 500] [--seed 0]

Of DATA (anything that lotlens opens) some photos are drawn; each is changed in one way and put
beside the unchanged ones. For every change: the share of copies found, and false pairs (photos of
different originals; two originals that are copies of each other by nature are left out first).
phash finds two photos alike whose 64-bit hashes differ in at most so many bits, mirror images too
(pip install imagehash).
"""

from __future__ import annotations

import argparse
import io
import tempfile
from collections.abc import Callable
from pathlib import Path

import imagehash
import numpy as np
from PIL import Image, ImageDraw

from lotlens.audit.checks import join_links
from lotlens.audit.findings import find_links
from lotlens.audit.signs import scan_photos
from lotlens.photos.archives import PhotoReader
from lotlens.photos.decode import decode
from lotlens.photos.sources import open_lot
from lotlens.records import Locator, Photo

Change = Callable[[Image.Image, np.random.Generator], Image.Image]
PHASH_BITS = (4, 8, 12, 16)


def crop(image: Image.Image, shares: np.ndarray) -> Image.Image:
    left, top, right, bottom = shares
    width, height = image.size
    box = (left * width, top * height, width - right * width, height - bottom * height)
    return image.crop(tuple(round(edge) for edge in box))


def mark(image: Image.Image) -> Image.Image:
    image = image.copy()
    draw = ImageDraw.Draw(image)
    width, height = image.size
    draw.rectangle((0, 0, width // 4, height // 8), fill=(20, 60, 160))
    draw.text((4, 2), "AUTO", fill="white", font_size=max(8, height // 11))
    draw.text((width * 0.5, height * 0.87), "lot 12345", fill="white", font_size=height // 10)
    return image


def mirror(image: Image.Image) -> Image.Image:
    return image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)


CHANGES: dict[str, tuple[Change, int]] = {
    "recompressed (quality 25)": (lambda image, _: image, 25),
    "rescaled to 55 %": (
        lambda image, _: image.resize((int(image.width * 0.55), int(image.height * 0.55))),
        85,
    ),
    "brighter by a quarter": (lambda image, _: image.point(lambda v: min(255, 5 * v // 4)), 85),
    "watermarked": (lambda image, _: mark(image), 85),
    "mirrored": (lambda image, _: mirror(image), 85),
    "cropped, 5 % off each side": (lambda image, _: crop(image, np.full(4, 0.05)), 85),
    "cropped, 10 % off each side": (lambda image, _: crop(image, np.full(4, 0.1)), 85),
    "cropped, 0 to 8 % off each side": (
        lambda image, rng: crop(image, rng.uniform(0, 0.08, 4)),
        85,
    ),
    "cropped, 0 to 12 % off each side": (
        lambda image, rng: crop(image, rng.uniform(0, 0.12, 4)),
        85,
    ),
    "a fifth of the height cut off": (
        lambda image, _: crop(image, np.array([0, 0, 0, 0.2])),
        85,
    ),
    "cropped 0 to 8 %, mirrored, marked": (
        lambda image, rng: mark(mirror(crop(image, rng.uniform(0, 0.08, 4)))),
        60,
    ),
}


def encode(image: Image.Image, quality: int) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def find_ours(photos: list[Photo]) -> set[tuple[int, int]]:
    links = find_links(photos, scan_photos(photos))
    return {
        (one, other)
        for cluster in join_links(len(photos), links)
        for one in cluster
        for other in cluster
        if one < other
    }


def hash_plainly(image: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    return tuple(imagehash.phash(some).hash.ravel() for some in (image, mirror(image)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--photos", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    lot = open_lot(options.data)
    everything = (*lot.train.photos, *lot.test.photos)
    rng = np.random.default_rng(options.seed)
    drawn = [everything[at] for at in rng.permutation(len(everything))[: options.photos]]
    twins = {other for _, other in find_ours(drawn)}
    drawn = [photo for at, photo in enumerate(drawn) if at not in twins]
    num = len(drawn)
    print(f"{num} photos; share of copies found (false pairs)")
    print("| change | lotlens |" + "".join(f" phash, {bits} bits |" for bits in PHASH_BITS))
    with PhotoReader() as reader, tempfile.TemporaryDirectory() as folder:
        originals = [Image.fromarray(decode(reader.read(photo.locator))) for photo in drawn]
        for name, (change, quality) in CHANGES.items():
            copies, paths = [], []
            for number, image in enumerate(originals):
                changed = change(image, np.random.default_rng([options.seed, number]))
                data = encode(changed, quality)
                path = Path(folder) / f"{number}.jpg"
                path.write_bytes(data)
                paths.append(path)
                copies.append(Image.open(io.BytesIO(data)).convert("RGB"))
            photos = [*drawn, *(Photo(path.name, Locator(path)) for path in paths)]
            pairs = find_ours(photos)
            right = {(number, num + number) for number in range(num)}
            cells = [f"{len(pairs & right) / num:.3f} ({len(pairs - right)})"]
            hashes = np.array([hash_plainly(image) for image in (*originals, *copies)])
            apart = np.full((2 * num, 2 * num), 64)
            for at, (plain, _) in enumerate(hashes):
                apart[at] = (hashes != plain).sum(axis=2).min(axis=1)
            for bits in PHASH_BITS:
                alike = np.triu(apart <= bits, 1)
                hits = int(alike[np.arange(num), num + np.arange(num)].sum())
                cells.append(f"{hits / num:.3f} ({int(alike.sum()) - hits})")
            print(f"| {name} |" + "".join(f" {cell} |" for cell in cells), flush=True)


if __name__ == "__main__":
    main()
