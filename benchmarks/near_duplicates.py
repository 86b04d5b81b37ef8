"""How well changed copies of real photos are found, as tables in Markdown.

    python benchmarks/near_duplicates.py DATA [--photos 500] [--seed 0] [--only WORD] [--phash]

Of DATA (anything that lotlens opens) some photos are drawn; each is changed in one way and put
beside the unchanged ones. For every change: the share of copies found by their pictures alone, the
share kept together where their names are of one source too (`12.jpg` and `12 (1).jpg`), and false
pairs (photos of different originals; two originals that are copies of each other by nature are
left out first). A second table tells how many different photos of one class are kept together
because they share a name (`car (1).jpg`, `car (2).jpg` and so on).

With --only the first table has the changes with that word in their names, and there is no second.
With --phash the first column is compared with imagehash.phash (pip install imagehash), which finds
two photos alike whose 64-bit hashes differ in at most so many bits, mirror images too.
"""

from __future__ import annotations

import argparse
import io
import tempfile
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter
from PIL.Image import Transpose

from lotlens.audit.checks import Link, join_links
from lotlens.audit.findings import find_kin, find_links
from lotlens.audit.signs import Signs, scan_photos
from lotlens.photos.archives import PhotoReader
from lotlens.photos.decode import decode
from lotlens.photos.sources import open_lot
from lotlens.records import Locator, Photo

Change = Callable[[Image.Image, np.random.Generator], Image.Image]
PHASH_BITS = (4, 8, 12, 16)
GROUP_SIZES = (2, 5, 20, 100)
BILINEAR = Image.Resampling.BILINEAR


def crop(image: Image.Image, shares: np.ndarray) -> Image.Image:
    left, top, right, bottom = shares
    width, height = image.size
    box = (left * width, top * height, width - right * width, height - bottom * height)
    return image.crop(tuple(round(edge) for edge in box))


def crop_to(image: Image.Image, share: float, rng: np.random.Generator) -> Image.Image:
    """So much of each side is left, anywhere."""
    left, top = rng.uniform(0, 1 - share, 2)
    return crop(image, np.array([left, top, 1 - share - left, 1 - share - top]))


def mark(image: Image.Image) -> Image.Image:
    image = image.copy()
    draw = ImageDraw.Draw(image)
    width, height = image.size
    draw.rectangle((0, 0, width // 4, height // 8), fill=(20, 60, 160))
    draw.text((4, 2), "AUTO", fill="white", font_size=max(8, height // 11))
    draw.text((width * 0.5, height * 0.87), "lot 12345", fill="white", font_size=height // 10)
    return image


def mirror(image: Image.Image) -> Image.Image:
    return image.transpose(Transpose.FLIP_LEFT_RIGHT)


def sign(rng: np.random.Generator) -> int:
    return int(rng.choice([-1, 1]))


def rotate_filled(image: Image.Image, degrees: float) -> Image.Image:
    """The corners are filled with what lies at the edges."""
    pixels = np.asarray(image)
    height, width = pixels.shape[:2]
    margins = ((height // 2,) * 2, (width // 2,) * 2, (0, 0))
    large = Image.fromarray(np.pad(pixels, margins, mode="edge")).rotate(degrees, BILINEAR)
    left, top = width // 2, height // 2
    return large.crop((left, top, left + width, top + height))


def rotate_inside(image: Image.Image, degrees: float) -> Image.Image:
    """Cut so far that hardly a black corner is left."""
    slope = np.tan(np.radians(abs(degrees)))
    width, height = image.size
    across, down = 0.45 * height * slope / width, 0.45 * width * slope / height
    return crop(image.rotate(degrees, BILINEAR), np.minimum([across, down] * 2, 0.25))


def shear(image: Image.Image, degrees: float) -> Image.Image:
    slope = float(np.tan(np.radians(degrees)))
    matrix = (1, slope, -slope * image.height / 2, 0, 1, 0)
    return image.transform(image.size, Image.Transform.AFFINE, matrix, BILINEAR)


def add_noise(image: Image.Image, levels: float, rng: np.random.Generator) -> Image.Image:
    pixels = np.asarray(image) + rng.normal(0, levels, (image.height, image.width, 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def blur(image: Image.Image, share: float) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(share * image.width))


def cut_out(image: Image.Image, num: int, share: float, rng: np.random.Generator) -> Image.Image:
    image = image.copy()
    width, height = image.size
    for left, top in rng.uniform(0, 1 - share, (num, 2)):
        box = (left * width, top * height, (left + share) * width, (top + share) * height)
        ImageDraw.Draw(image).rectangle(box, fill="black")
    return image


def resize(image: Image.Image, share: float) -> Image.Image:
    return image.resize((int(image.width * share), int(image.height * share)))


CHANGES: dict[str, Change] = {
    "recompressed (quality 25)": lambda image, _: image,
    "rescaled to 55 %": lambda image, _: resize(image, 0.55),
    "brighter by a quarter": lambda image, _: ImageEnhance.Brightness(image).enhance(1.25),
    "half as bright": lambda image, _: ImageEnhance.Brightness(image).enhance(0.5),
    "half the contrast": lambda image, _: ImageEnhance.Contrast(image).enhance(0.5),
    "grey": lambda image, _: image.convert("L").convert("RGB"),
    "watermarked": lambda image, _: mark(image),
    "noise, 10 of 255 levels": lambda image, rng: add_noise(image, 10, rng),
    "noise, 25 of 255 levels": lambda image, rng: add_noise(image, 25, rng),
    "blurred over 0.5 % of the width": lambda image, _: blur(image, 0.005),
    "blurred over 1 % of the width": lambda image, _: blur(image, 0.01),
    "3 boxes of 10 % cut out": lambda image, rng: cut_out(image, 3, 0.1, rng),
    "5 boxes of 20 % cut out": lambda image, rng: cut_out(image, 5, 0.2, rng),
    "mirrored": lambda image, _: mirror(image),
    "turned by 90 degrees": lambda image, _: image.transpose(Transpose.ROTATE_270),
    "turned by 180 degrees": lambda image, _: image.transpose(Transpose.ROTATE_180),
    "turned by 270 degrees": lambda image, _: image.transpose(Transpose.ROTATE_90),
    "mirrored, turned by 90 degrees": lambda image, _: image.transpose(Transpose.TRANSPOSE),
    "mirrored, turned by 180 degrees": lambda image, _: image.transpose(Transpose.FLIP_TOP_BOTTOM),
    "mirrored, turned by 270 degrees": lambda image, _: image.transpose(Transpose.TRANSVERSE),
    "turned by 90 degrees, marked": lambda image, _: mark(image.transpose(Transpose.ROTATE_270)),
    "turned by 90 degrees, 5 % off each side": lambda image, _: crop(
        image.transpose(Transpose.ROTATE_270), np.full(4, 0.05)
    ),
    **{
        f"rotated by {degrees} degrees, black corners": (
            lambda image, rng, degrees=degrees: image.rotate(degrees * sign(rng), BILINEAR)
        )
        for degrees in (1, 2, 3, 5, 7, 10, 15, 20, 30)
    },
    "rotated by 10 degrees, corners filled": lambda image, rng: rotate_filled(
        image, 10 * sign(rng)
    ),
    "rotated by 10 degrees, enlarged": lambda image, rng: image.rotate(
        10 * sign(rng), BILINEAR, expand=True
    ),
    "rotated by 10 degrees, cut": lambda image, rng: rotate_inside(image, 10 * sign(rng)),
    "turned by 90 degrees, rotated by 7": lambda image, rng: image.transpose(
        Transpose.ROTATE_270
    ).rotate(7 * sign(rng), BILINEAR),
    **{
        f"sheared by {degrees} degrees": (
            lambda image, rng, degrees=degrees: shear(image, degrees * sign(rng))
        )
        for degrees in (2, 5, 10, 15)
    },
    "cropped, 5 % off each side": lambda image, _: crop(image, np.full(4, 0.05)),
    "cropped, 10 % off each side": lambda image, _: crop(image, np.full(4, 0.1)),
    "cropped, 0 to 8 % off each side": lambda image, rng: crop(image, rng.uniform(0, 0.08, 4)),
    "cropped, 0 to 12 % off each side": lambda image, rng: crop(image, rng.uniform(0, 0.12, 4)),
    "a fifth of the height cut off": lambda image, _: crop(image, np.array([0, 0, 0, 0.2])),
    **{
        f"cropped to {share:.0%} of each side, anywhere".replace("%", " %"): (
            lambda image, rng, share=share: crop_to(image, share, rng)
        )
        for share in (0.9, 0.8, 0.7, 0.6, 0.5)
    },
    "cropped 0 to 8 %, mirrored, marked": lambda image, rng: mark(
        mirror(crop(image, rng.uniform(0, 0.08, 4)))
    ),
    "cropped to 85 %, rotated by 5, noise": lambda image, rng: add_noise(
        crop_to(image, 0.85, rng).rotate(5 * sign(rng), BILINEAR), 10, rng
    ),
}
QUALITIES = {"recompressed (quality 25)": 25, "cropped 0 to 8 %, mirrored, marked": 60}


def encode(image: Image.Image, quality: int) -> bytes:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def list_pairs(num_photos: int, links: Sequence[Link]) -> set[tuple[int, int]]:
    return {
        (one, other)
        for cluster in join_links(num_photos, links)
        for one in cluster
        for other in cluster
        if one < other
    }


def find_ours(
    photos: Sequence[Photo], signs: Sequence[Signs]
) -> tuple[set[tuple[int, int]], set[tuple[int, int]]]:
    """Pairs that are found by their pictures, and those that are kept together, names helping."""
    links = find_links(photos, signs)
    kin = find_kin(photos, signs, links)
    return list_pairs(len(photos), links), list_pairs(len(photos), (*links, *kin))


def hash_plainly(image: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    import imagehash

    return tuple(imagehash.phash(some).hash.ravel() for some in (image, mirror(image)))


def tell_phash(images: Sequence[Image.Image]) -> list[str]:
    """For each number of bits the share of copies found; these are the second half."""
    num = len(images) // 2
    hashes = np.array([hash_plainly(image) for image in images])
    apart = np.array([(hashes != plain).sum(axis=2).min(axis=1) for plain, _ in hashes])
    cells = []
    for bits in PHASH_BITS:
        alike = np.triu(apart <= bits, 1)
        hits = int(alike[np.arange(num), num + np.arange(num)].sum())
        cells.append(f"{hits / num:.3f} ({int(alike.sum()) - hits})")
    return cells


def measure_changes(
    drawn: Sequence[Photo],
    originals: Sequence[Image.Image],
    seed: int,
    with_phash: bool,
    word: str = "",
) -> None:
    num = len(drawn)
    right = {(number, num + number) for number in range(num)}
    signs = scan_photos(drawn)
    named = [replace(photo, id=f"{n}.jpg", label="car") for n, photo in enumerate(drawn)]
    print(f"Copies of {num} photos found: share (false pairs)\n")
    columns = ["change", "by the picture", "and names of one source"]
    columns += [f"phash, {bits} bits" for bits in PHASH_BITS] if with_phash else []
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")
    with tempfile.TemporaryDirectory() as folder:
        for name, change in ((n, change) for n, change in CHANGES.items() if word in n):
            copies, data = [], []
            for number, image in enumerate(originals):
                changed = change(image, np.random.default_rng([seed, number]))
                data.append(encode(changed, QUALITIES.get(name, 85)))
                path = Path(folder) / f"{number}.jpg"
                path.write_bytes(data[-1])
                copies.append(Photo(f"{number} (1).jpg", Locator(path), "car"))
            found = find_ours([*named, *copies], [*signs, *scan_photos(copies)])
            cells = [f"{len(pairs & right) / num:.3f} ({len(pairs - right)})" for pairs in found]
            if with_phash:
                opened = [Image.open(io.BytesIO(some)).convert("RGB") for some in data]
                cells += tell_phash([*originals, *opened])
            print(f"| {name} |" + "".join(f" {cell} |" for cell in cells), flush=True)


def measure_strangers(drawn: Sequence[Photo], seed: int) -> None:
    """How many different photos of a class are kept together if all are called alike."""
    signs = dict(zip((photo.id for photo in drawn), scan_photos(drawn), strict=True))
    classes = defaultdict(list)
    for at in np.random.default_rng(seed).permutation(len(drawn)):
        classes[drawn[at].label].append(drawn[at])
    print("\nDifferent photos of one class that share a name\n")
    print("| photos of one name | pairs | kept together |\n|---|---|---|")
    for size in GROUP_SIZES:
        photos, seen, num_pairs = [], [], 0
        for label, members in classes.items():
            for start in range(0, len(members), size):
                some = members[start : start + size]
                num_pairs += len(some) * (len(some) - 1) // 2
                photos += [
                    replace(p, id=f"car ({k}).jpg", label=f"{label} {start}")
                    for k, p in enumerate(some)
                ]
                seen += [signs[photo.id] for photo in some]
        kin = find_kin(photos, seen, ())
        num_joined = len(list_pairs(len(photos), kin))
        print(f"| {size} | {num_pairs:,} | {num_joined:,} ({num_joined / max(num_pairs, 1):.2%}) |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--photos", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="")
    parser.add_argument("--phash", action="store_true")
    options = parser.parse_args()
    lot = open_lot(options.data)
    everything = (*lot.train.photos, *lot.test.photos)
    rng = np.random.default_rng(options.seed)
    shuffled = [everything[at] for at in rng.permutation(len(everything))]
    drawn = leave_twins(shuffled[: options.photos])
    with PhotoReader() as reader:
        originals = [Image.fromarray(decode(reader.read(photo.locator))) for photo in drawn]
    measure_changes(drawn, originals, options.seed, options.phash, options.only)
    if not options.only:
        measure_strangers(leave_twins(lot.train.photos), options.seed)


def leave_twins(photos: Sequence[Photo]) -> list[Photo]:
    """Of photos that are copies of each other by nature only the first."""
    links = find_links(photos, scan_photos(photos))
    twins = {other for _, other in list_pairs(len(photos), links)}
    return [photo for at, photo in enumerate(photos) if at not in twins]


if __name__ == "__main__":
    main()
