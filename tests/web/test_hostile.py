"""Hundreds of hostile files and bodies, by families and from a seed, against a server of its own.

Each must be refused with a code, unless what is left of a photo can still be read; the server must
not crash, nor hold anything afterwards, nor ever take more memory than the guide says.
"""

import json
import random
import socket
import struct
import subprocess
import sys
import time
import urllib.request
import zlib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from lotlens.web.problems import PROBLEMS
from lotlens.web.uploads import FormBounds
from tests.fuzz import draw_photos, mutate
from tests.web.conftest import draw

SEED = 23
MOST_MIB = 1700
"""Above what the server takes before: a gigabyte for pixels, bodies and their copies."""
BOUNDS = FormBounds(idle_s=5.0, patience_s=12.0)
SERVER = f"""
import sys
from pathlib import Path
from tests.web.conftest import ColourModel
from lotlens.web.batching import Batching, Served
from lotlens.web.desk import build_desk
from lotlens.web.jobs import Jobs
from lotlens.web.server import name_address, open_socket, serve
from lotlens.web.store import Store
from lotlens.web.uploads import FormBounds
model = ColourModel()
model.num_streams = 2
batching = Batching(Served("abc", model))
jobs = Jobs(Path(sys.argv[2]), batching)
app = build_desk(batching, Store(sys.argv[1]), name="run-1", jobs=jobs, bounds={BOUNDS!r})
listener = open_socket("127.0.0.1", 0)
print(name_address(listener), flush=True)
serve(app, listener)
"""
END = b"--b--\r\n"
UNREADABLE = {"unreadable"}
BAD = {"bad_form"}
MAYBE = {"ok", "unreadable"}


@dataclass(frozen=True)
class Case:
    """What is sent, and how it may end: codes of errors, or "ok".

    `pieces` are sent one after the other, `pause_s` apart; a length of None is that of all pieces.
    """

    family: str
    pieces: tuple[bytes, ...]
    ends: frozenset[str]
    head: bytes = b"Content-Type: multipart/form-data; boundary=b\r\n"
    length: int | None = None
    pause_s: float = 0.0


def part(data, name=b"photos", more=b""):
    head = b'--b\r\nContent-Disposition: form-data; name="' + name + b'"; filename="x"\r\n'
    return head + more + b"\r\n" + data + b"\r\n"


def body(family, data, ends, **options):
    pieces = tuple(data) if isinstance(data, list) else (data,)
    return Case(family, pieces, frozenset(ends), **options)


def photo(family, data, ends, kind=b"image/jpeg"):
    return body(family, part(data, more=b"Content-Type: " + kind + b"\r\n") + END, ends)


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def make_png(width, height, num_bytes=1_000_000, colour=0, extra=b""):
    head = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(bytes(num_bytes), 9))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + extra + pixels + chunk(b"IEND", b"")


def list_bombs(rng):
    jpeg = draw("blue")
    size = jpeg.index(b"\xff\xc0") + 5
    for width, height in ((40_000, 40_000), (65_500, 65_500), (65_535, 1), (60_000, 3_000)):
        made = jpeg[:size] + struct.pack(">HH", height, width) + jpeg[size + 4 :]
        # Long and thin is no bomb: what there is of it may be read.
        yield photo("bomb", made, MAYBE if width * height < 1e6 else UNREADABLE)
    for side in (20_000, 60_000, 2**31 - 1):
        for colour in (0, 2, 6):
            yield photo("bomb", make_png(side, side, colour=colour), UNREADABLE, b"image/png")
    for kind, code in ((b"zTXt", b"a\0\0"), (b"iCCP", b"a\0\0"), (b"iTXt", b"a\0\1\0\0\0")):
        extra = chunk(kind, code + zlib.compress(bytes(200_000_000), 9))
        yield photo("bomb", make_png(64, 48, 65 * 48, extra=extra), MAYBE, b"image/png")
    gif = draw("blue", "GIF")
    yield photo("bomb", gif[:6] + struct.pack("<HH", 65_000, 65_000) + gif[10:], UNREADABLE)
    bmp = draw("blue", "BMP")
    for width, height in ((60_000, 60_000), (2**31 - 1, 1), (-5, 5), (30_000, -30_000)):
        made = bmp[:18] + struct.pack("<ii", width, height) + bmp[26:]
        yield photo("bomb", made, UNREADABLE)
    tiff = bytearray(draw("blue", "TIFF"))
    for tag in (256, 257, 258, 277, 278):
        at = tiff.find(struct.pack("<H", tag), 8)
        made = bytes(tiff[: at + 8]) + struct.pack("<I", 60_000) + bytes(tiff[at + 12 :])
        yield photo("bomb", made, MAYBE)
    yield photo("bomb", b"II*\0\x08\0\0\0\x01\0" + bytes(12) + b"\x08\0\0\0", UNREADABLE)  # a ring
    webp = draw("blue", "WEBP")
    at = webp.index(b"\x9d\x01\x2a") + 3
    for side in (0, 16_383):
        made = webp[:at] + struct.pack("<HH", side, side) + webp[at + 4 :]
        yield photo("bomb", made, UNREADABLE, b"image/webp")
    for side in (9_000, 10_400):  # as large as is allowed
        whole = part(make_png(side, side, side * (side + 1)))
        yield body("as large as can be", 2 * whole + END, MAYBE)
    large = part(rng.randbytes(24_000_000))
    yield body("as large as can be", 3 * large + END, UNREADABLE)


def list_polyglots():
    jpeg, png = draw("blue"), draw("blue", "PNG")
    before = (
        *(b"<html><script>alert(1)</script>", b"<?php system('id'); ?>", b"#!/bin/sh\nid\n"),
        *(b"%PDF-1.7\n", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"\x7fELF\x02\x01\x01", b"MZ\x90\0"),
        *(b"PK\x03\x04" + bytes(26), b"\xca\xfe\xba\xbe", b"Rar!\x1a\x07\0", b"\x1f\x8b\x08\0"),
        *(b"<?xml version='1.0'?><!DOCTYPE x [<!ENTITY a 'b'>]>", b"SQLite format 3\0", b"\0asm"),
        *(b"<svg xmlns='http://www.w3.org/2000/svg'><image href='file:///etc/passwd'/></svg>",),
        *(b"\x80\x04cos\nsystem\n", b"7z\xbc\xaf\x27\x1c", b"OggS", b"\x00\x00\x01\xba"),
    )
    for head in before:
        yield photo("polyglot", head + jpeg, UNREADABLE)
        yield photo("polyglot", head, UNREADABLE, b"image/png")
    for tail in (b"PK\x05\x06" + bytes(18), b"<script>alert(1)</script>", b"<?php id ?>", png):
        yield photo("photo with a tail", jpeg + tail, {"ok"})
        yield photo("photo with a tail", png + tail, {"ok"}, b"text/html")


def list_mislabelled(shapes, rng):
    jpeg = draw("blue")
    for brand in (b"heic", b"heix", b"mif1", b"msf1", b"avif", b"avis", b"hevc", b"isom", b"qt  "):
        box = struct.pack(">I", 24) + b"ftyp" + brand + bytes(4) + b"mif1" + brand
        yield photo("mislabelled HEIC", box + jpeg, UNREADABLE, b"image/heic")
        yield photo("mislabelled HEIC", box + rng.randbytes(2000), UNREADABLE, b"image/heic")
        yield photo("mislabelled HEIC", box, UNREADABLE, b"image/heic")
    for name, data in shapes.items():  # what a part calls itself is not looked at
        if not name.endswith((".ppm", ".tga")):
            yield photo("mislabelled photo", data, MAYBE, b"image/heic")
    yield photo("mislabelled photo", jpeg, {"ok"}, b"application/x-sh")


def list_forms(rng):
    whole = part(draw("blue"))
    yield body("parts", 1000 * part(b"x") + END, {"too_many_photos"})
    yield body("parts", 1000 * part(b"x", b"claim") + END, {"unknown_field"})
    yield body("parts", 1000 * b"--b\r\n\r\n\r\n" + END, {"unknown_field"})
    yield body("parts", 13 * whole + END, {"too_many_photos"})
    yield body("parts", 12 * part(b"") + END, {"unreadable"})
    yield body("more than is taken", part(bytes(26_000_000)) + END, {"photo_too_large"})
    for name in (b"path", b"../../x", b"photos[]", b"", b"\xff", b"photos\0", b"__proto__", b"url"):
        yield body("fields", whole + part(b"x", name) + END, {"unknown_field", "bad_form"})
    for value in (b"\xff\xfe", b"a\0b", b"\xed\xa0\x80"):
        yield body("fields", whole + part(value, b"claim") + END, BAD)
    yield body("fields", whole + part(b"x" * 801, b"claim") + END, {"field_too_long"})
    for claim in ("'; DROP TABLE lotlens_checks; --", "{{7*7}}", "%s%n", "\u202e" * 200, "-" * 800):
        yield body("fields", whole + part(claim.encode(), b"claim") + END, {"ok"})
    for more in (
        b"X: " + b"y" * 9000 + b"\r\n",
        500 * b"A: b\r\n",
        b"no colon\r\n",
        b"\0\0: x\r\n",
    ):
        yield body("headers of a part", part(draw("blue"), more=more) + END, BAD)
    kind = b"Content-Type: "
    for told in (
        *(b"", b"application/json", b"text/plain", b"multipart/form-data", b"multipart/mixed"),
        *(b"multipart/form-data; boundary=", b"multipart/form-data;;;boundary", b"\xff\xfe/x"),
        *(b"multipart/form-data; charset=utf-16", b"application/x-www-form-urlencoded", b"x" * 500),
    ):
        yield body("kind of body", whole + END, {"not_a_form"}, head=kind + told + b"\r\n")
    for told in (b"c", b"bb", b"b-", b"B", b'"b b"', b"b" * 70, b"\xff"):
        head = kind + b"multipart/form-data; boundary=" + told + b"\r\n"
        yield body("boundary", whole + END, {"bad_form", "no_photo", "not_a_form"}, head=head)
    for data in (b"", END[:3], whole[:20], whole[:-1], whole, whole + b"--b", b"\r\n" * 500):
        yield body("cut off within", data, BAD)
    yield body("cut off within", whole.replace(b"\r\n", b"\n") + END, BAD)
    for _ in range(40):
        yield body("fuzzed form", mutate(whole + part(b"x", b"claim") + END, rng), set(PROBLEMS))
    for _ in range(10):
        yield body("noise", rng.randbytes(rng.randrange(1, 5000)), BAD)
    for length in (80_000_001, 10**17, 10**30):
        yield body("length", b"", {"body_too_large", "bad_request"}, length=length)


def list_slow():
    whole = part(draw("blue")) + END
    for data in (b"", whole[:10], whole[:200], whole[:-1]):
        yield body("slow", data, {"too_slow"}, length=len(whole))
    # Something comes all the time, and yet no end.
    yield body("slow", [whole[:30], *[b"a"] * 40], {"too_slow"}, length=1000, pause_s=0.4)


def list_cases():
    rng = random.Random(SEED)
    shapes = draw_photos() | {"large.jpg": draw("blue"), "large.webp": draw("blue", "WEBP")}
    for name, data in shapes.items():
        for _ in range(5):
            yield photo(f"fuzzed {name}", mutate(data, rng), MAYBE)
        for _ in range(3):
            yield photo(f"cut off {name}", data[: rng.randrange(len(data))], MAYBE)
    yield from list_bombs(rng)
    yield from list_polyglots()
    yield from list_mislabelled(shapes, rng)
    yield from list_forms(rng)
    yield from list_slow()


def send(address, case):
    """How it ended: the code, or "ok"; whoever is told to come later does."""
    length = sum(map(len, case.pieces)) if case.length is None else case.length
    head = f"POST /api/v1/predict HTTP/1.1\r\nHost: {address[0]}:{address[1]}\r\n".encode()
    head += case.head + f"Content-Length: {length}\r\n\r\n".encode()
    while True:
        with socket.create_connection(address, timeout=100) as connection:
            connection.sendall(head)
            try:
                for piece in case.pieces:
                    connection.sendall(piece)
                    time.sleep(case.pause_s)
            except OSError:
                pass  # it has heard enough; its answer may be there all the same
            try:
                with connection.makefile("rb") as stream:
                    status = int(stream.readline().split()[1])
                    while stream.readline() != b"\r\n":
                        pass
                    found = json.loads(stream.readline() or b"null")
            except (OSError, IndexError):
                return "hung up"
        if status == 429:
            time.sleep(0.1)
            continue
        if status == 200:
            return "ok"
        code = found["error"]["code"]
        assert PROBLEMS[code].status == status
        return code


def read_peak_mib(pid):
    """The most memory that a process ever took; 0 where nobody tells."""
    try:
        told = Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2]
    except OSError:
        return 0
    return int(told.split()[0]) // 1024


@pytest.mark.slow
def test_hundreds_of_hostile_bodies_are_refused_with_a_code(tmp_path):
    cases = list(list_cases())
    assert len(cases) >= 200
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", SERVER),
            *(f"sqlite:///{tmp_path / 'desk.sqlite'}", str(tmp_path / "desk.jobs")),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    with process:
        try:
            url = process.stdout.readline().strip()
            host, _, port = url.removeprefix("http://").rstrip("/").partition(":")
            address = (host, int(port))
            good = photo("sound", draw("blue"), {"ok"})
            assert send(address, good) == "ok"
            before_mib = read_peak_mib(process.pid)
            with ThreadPoolExecutor(6) as pool:
                ends = list(pool.map(lambda case: send(address, case), cases))
            peak_mib = read_peak_mib(process.pid) - before_mib
            assert send(address, good) == "ok"
            with urllib.request.urlopen(f"{url}metrics") as answer:
                assert "lotlens_photos_held 0.0" in answer.read().decode()
        finally:
            process.terminate()
            _, errors = process.communicate(timeout=60)
    print(len(cases), "cases,", peak_mib, "MiB,", Counter(ends))
    # Whoever sends on after the answer may find the line cut before it is read; and a machine may
    # be too busy to take or decode in time what is large.
    allowed = {
        "fuzzed form": {"ok"},
        "more than is taken": {"hung up", "too_slow"},
        "as large as can be": {"unreadable", "too_slow"},
    }
    wrong = [
        (case.family, end, sorted(case.ends)[:3])
        for case, end in zip(cases, ends, strict=True)
        if end == "failed" or end not in case.ends | allowed.get(case.family, set())
    ]
    assert not wrong
    assert "Traceback" not in errors
    assert peak_mib < MOST_MIB
