"""Files that anybody may have made, mutated at random: what lotlens makes of them.

Each case must end in answers, in rows with reasons, or in one clear line; never in a traceback, and
within its memory and time. `python -m tests.fuzz KIND SEED CASES SECONDS` prints what came of it.
"""

import contextlib
import io
import json
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
from PIL import Image

from lotlens.errors import LotlensError

MOST_MIB = 2048
MOST_S = 60
MAGIC = (
    *(b"\x00", b"\xff", b"\xff\xd8", b"\xff\xda", b"PK\x03\x04", b"PK\x05\x06", b"GIF89a"),
    *(b"\x89PNG\r\n\x1a\n", b"II*\x00", b"MM\x00*", b"BM", b"RIFF", b"WEBP", b"ftypheic"),
    *(b"ftypavif", b"\xff\xff\xff\xff", b"\x7f\xff\xff\xff", b"\x00\x00\x00\x00"),
    *(b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xe2\x80\xae", b"NaN", b"Infinity", b"1e999", b"-1"),
    *(b"0", b"9" * 40, b'"', b"'", b",", b";", b"\n", b"\r", b"\t", b"[", b"]", b"{", b"}"),
    *(b"[[[[[[", b"&a", b"*a", b"<<:", b"!!python/object", b"../", b"\x1b[2J", b"=1+1", b"null"),
    *(b"true", b": ", b"- "),
)


def mutate(data, rng):
    """The bytes with a few changes; now and then with many, or cut."""
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 3, 8, 40))):
        kind = rng.randrange(7)
        at = rng.randrange(len(data) + 1)
        if kind == 0 and data:
            data[at % len(data)] = rng.randrange(256)
        elif kind == 1:
            data[at:at] = rng.choice(MAGIC) * rng.choice((1, 1, 1, 5, 200))
        elif kind == 2:
            magic = rng.choice(MAGIC)
            data[at : at + len(magic)] = magic
        elif kind == 3:
            del data[at : at + rng.choice((1, 2, 4, 30, 400))]
        elif kind == 4 and data:
            data[at % len(data)] ^= 1 << rng.randrange(8)
        elif kind == 5 and data:
            other = rng.randrange(len(data))
            data[at:at] = data[other : other + rng.choice((4, 30, 400))]
        elif kind == 6 and rng.random() < 0.2:
            del data[at:]
    return bytes(data)


def draw_photos():
    """One small photo of each format that can be written here."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (36, 48, 3), np.uint8)
    image = Image.fromarray(pixels)
    see_through = image.convert("RGBA")
    see_through.putalpha(120)
    shapes = {
        "a.jpg": (image, "JPEG", {}),
        "progressive.jpg": (image, "JPEG", {"progressive": True}),
        "grey.jpg": (image.convert("L"), "JPEG", {}),
        "cmyk.jpg": (image.convert("CMYK"), "JPEG", {}),
        "a.png": (see_through, "PNG", {}),
        "palette.png": (image.convert("P"), "PNG", {"transparency": 0}),
        "deep.png": (Image.fromarray(rng.integers(0, 65536, (9, 9), np.uint16)), "PNG", {}),
        "a.gif": (image.convert("P"), "GIF", {}),
        "a.bmp": (image, "BMP", {}),
        "a.tif": (image, "TIFF", {}),
        "packed.tif": (image, "TIFF", {"compression": "tiff_lzw"}),
        "a.webp": (see_through, "WEBP", {}),
        "a.jp2": (image, "JPEG2000", {}),
        "a.ppm": (image, "PPM", {}),
        "a.tga": (image, "TGA", {"compression": "tga_rle"}),
        "a.avif": (image, "AVIF", {}),
    }
    found = {}
    for name, (picture, kind, options) in shapes.items():
        with contextlib.suppress(KeyError, OSError):  # a format that this Pillow cannot write
            stream = io.BytesIO()
            picture.save(stream, kind, **options)
            found[name] = stream.getvalue()
    import pillow_heif

    stream = io.BytesIO()
    with contextlib.suppress(Exception):
        pillow_heif.from_pillow(image).save(stream)
        found["a.heic"] = stream.getvalue()
    return found


class Cases:
    """Makes one case after the other in a folder."""

    def __init__(self, folder, lot=None, run=None):
        self.folder, self.lot, self.run = folder, lot, run
        self.shapes = draw_photos()

    def photos(self, rng):
        from lotlens.photos.archives import PhotoReader
        from lotlens.photos.reading import OK, read_photo
        from lotlens.records import ImageSpec, Locator, Photo

        name = rng.choice([*self.shapes])
        path = self.folder / name
        path.write_bytes(mutate(self.shapes[name], rng))
        with PhotoReader() as reader:
            photo = Photo("a", Locator(path))
            loaded = read_photo(reader, photo, ImageSpec(48, 64), find_flaws=True)
        assert (loaded.status == OK) == (loaded.pixels is not None)
        return "read" if loaded.status == OK else "a reason"

    def zips(self, rng):
        from lotlens.audit.findings import audit_lot
        from lotlens.photos.sources import open_lot

        path = self.folder / "lot.zip"
        with zipfile.ZipFile(path, "w", rng.choice((0, 8))) as archive:
            rows = ["Id,Category"]
            for number in range(6):
                id_ = f"{number}.jpg"
                archive.writestr(f"train/{number % 2}/{id_}", self.shapes["a.jpg"])
                rows.append(f"{id_},{number % 2}")
            if rng.random() < 0.5:
                archive.writestr("train.csv", "\n".join(rows))
        path.write_bytes(mutate(path.read_bytes(), rng))
        lot = open_lot(path)
        audit_lot(lot, num_workers=1)
        return "opened"

    def tables(self, rng):
        from lotlens.photos.sources import open_lot
        from lotlens.photos.tables import read_sample, read_table

        folder = self.folder / "lot"
        if not folder.exists():
            (folder / "train").mkdir(parents=True)
            for number in range(6):
                (folder / "train" / f"{number}.jpg").write_bytes(self.shapes["a.jpg"])
        table = "Id,Category,Name\n" + "".join(f"{n}.jpg,{n % 2},Нива {n % 2}\n" for n in range(6))
        table = table.replace(",", rng.choice((",", ";", "\t")))
        table = table.encode(rng.choice(("utf-8", "utf-8-sig", "cp1251", "utf-16")))
        (folder / "train.csv").write_bytes(mutate(table, rng))
        (folder / "classes.csv").write_bytes(
            mutate("Category,Name\n0,Волга\n1,Нива\n".encode(), rng)
        )
        lot = open_lot(folder)
        with contextlib.suppress(LotlensError):
            read_sample(read_table(folder / "train.csv"))
        return f"{len(lot.train.classes)} classes" if len(lot.train) else "nothing"

    def recipes(self, rng):
        from lotlens.recipes.loading import resolve_recipe

        names = sorted((Path(__file__).parent.parent / "lotlens" / "recipes").glob("*.yaml"))
        path = self.folder / "recipe.yaml"
        path.write_bytes(mutate(rng.choice(names).read_bytes(), rng))
        overrides = []
        if rng.random() < 0.5:
            value = mutate(b"3e-4", rng).decode("utf-8", "surrogateescape")
            overrides = [f"{rng.choice(('stages.1.lr', 'image', 'audit.leak', 'seed'))}={value}"]
        resolve_recipe(path, overrides)
        return "resolved"

    def runs(self, rng):
        import lotlens
        from lotlens.audit.known import read_known
        from lotlens.deliver.own_data import open_own_data
        from lotlens.improve.history import read_rounds

        run = self.folder / "run"
        shutil.rmtree(run, ignore_errors=True)
        shutil.copytree(self.run, run, ignore=shutil.ignore_patterns("tensorboard", "report.html"))
        files = sorted(path for path in run.iterdir() if path.is_file())
        path = rng.choice(files)
        path.write_bytes(mutate(path.read_bytes(), rng))
        model = lotlens.load(run)
        frame = model.predict(self.photo_path)
        assert len(frame) == 1
        own = open_own_data(model)
        assert len(own.answers.ids) == len(own.validation)
        model.run.read_timing()
        model.run.read_history()
        read_known(model.run.photos_path)
        read_rounds(model.run)
        return "answered"

    @property
    def photo_path(self):
        path = self.folder / "photo.jpg"
        path.write_bytes(self.shapes["a.jpg"])
        return path


def fuzz(kind, seed, num_cases, most_s, run=None):
    """What came of so many cases, or of as many as fit into so many seconds, if that is more."""
    counts = Counter()
    longest_s = 0.0
    end_s = time.monotonic() + most_s
    number = 0
    with tempfile.TemporaryDirectory() as folder:
        make = getattr(Cases(Path(folder), run=run), kind)
        while number < num_cases or time.monotonic() < end_s:
            rng = random.Random(f"{kind} {seed} {number}")
            begun_s = time.monotonic()
            signal.alarm(MOST_S)
            try:
                what = make(rng)
            except LotlensError as error:
                what = type(error).__name__ if len(str(error)) < 15_000 else "too long an error"
            except BaseException:
                print(f"case {number} of {kind}, seed {seed}:\n{traceback.format_exc()}")
                raise
            finally:
                signal.alarm(0)
            counts[what] += 1
            longest_s = max(longest_s, time.monotonic() - begun_s)
            number += 1
    most_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"kind": kind, "cases": number, **counts}))
    assert "too long an error" not in counts
    print(f"at most {longest_s:.1f} s a case, {most_mib:.0f} MiB in all")
    assert most_mib < MOST_MIB, most_mib


def main():
    kind, seed, num_cases, most_s, *run = sys.argv[1:]
    fuzz(kind, seed, int(num_cases), float(most_s), Path(run[0]) if run else None)


if __name__ == "__main__":
    main()
