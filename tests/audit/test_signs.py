"""scan: every photo's signs in order for any number of workers; damage is named, never raised."""

import hashlib
import io
import os
import struct
import threading
import zipfile
import zlib

import numpy as np
import pytest
from PIL import Image, ImageFilter
from PIL.PngImagePlugin import PngImageFile

from lotlens.audit import signs as scan
from lotlens.audit.hashes import hash_frame
from lotlens.audit.likeness import SAME, measure_likeness
from lotlens.audit.signs import NO_HASH, Pair, Signs, compare_photos, scan_photos
from lotlens.photos.quality import frame_photo
from lotlens.photos.reading import NO_FILE
from lotlens.records import Locator, Photo

WHOLE = (0.0, 1.0, 0.0, 1.0)


def encode(image, kind="PNG", **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def lay(folder, **files):
    """Photos with these bytes: name -> bytes."""
    folder.mkdir(exist_ok=True)
    photos = []
    for name, data in files.items():
        (folder / name).write_bytes(data)
        photos.append(Photo(name, Locator(folder / name)))
    return photos


def look_at(folder, image, **options):
    """The signs of one picture."""
    data = image if isinstance(image, bytes) else encode(image, **options)
    (signs,) = scan_photos(lay(folder, photo=data))
    return signs


def list_values(signs):
    """Signs as values that can be compared."""
    return [
        (*(getattr(sign, name) for name in Signs.__slots__ if name != "hash"), sign.hash.tobytes())
        for sign in signs
    ]


def test_results_and_order_are_the_same_for_any_number_of_workers(tmp_path, texture_drawer):
    files = {}
    for number in range(110):
        size = (64 + number, 60)
        picture = Image.fromarray(texture_drawer(number, *size))
        files[f"{number}.png"] = b"" if number % 9 == 0 else encode(picture)
    photos = lay(tmp_path, **files)
    told = {1: [], 2: []}
    signs = {
        num: scan_photos(
            photos, num_workers=num, progress=lambda *done, num=num: told[num].append(done)
        )
        for num in told
    }
    assert [sign.size[0] for sign in signs[1]] == [
        0 if number % 9 == 0 else 64 + number for number in range(110)
    ]
    assert list_values(signs[1]) == list_values(signs[2])
    for steps in told.values():
        assert steps == sorted(steps)
        assert steps[-1] == (110, 110)
        assert {total for _, total in steps} == {110}
        assert len(steps) > 1
    pairs = [Pair(photos[at], photos[at + 1], 0, WHOLE, 60) for at in range(1, 100, 20)]
    pairs += [Pair(photos[at], photos[at], 0, WHOLE, 60) for at in (1, 2)]
    likeness = compare_photos(pairs, num_workers=1)
    assert likeness == compare_photos(pairs, num_workers=2)
    assert min(likeness[-2:]) > SAME > max(likeness[:-2])


def test_nothing_to_look_at():
    told = []
    assert scan_photos([], progress=lambda *done: told.append(done)) == ()
    assert compare_photos([]) == ()
    assert told == []


def test_damage_is_a_status_and_never_an_error(tmp_path, texture_drawer):
    whole = encode(Image.fromarray(texture_drawer(0)), "JPEG")
    photos = lay(
        tmp_path,
        **{
            "whole.jpg": whole,
            "empty.jpg": b"",
            "cut.jpg": whole[: len(whole) // 2],
            "page.jpg": b"<!DOCTYPE html><html>404</html>",
            "drawing.jpg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
            "noise.jpg": np.random.default_rng(0).bytes(5000),
        },
    )
    (tmp_path / "folder.jpg").mkdir()
    os.mkfifo(tmp_path / "pipe.jpg")
    photos += [Photo(name, Locator(tmp_path / name)) for name in ("folder.jpg", "pipe.jpg", "gone")]
    photos.append(Photo("never there", None))
    signs = dict(zip([photo.id for photo in photos], scan_photos(photos), strict=True))
    words = {
        "whole.jpg": "ok",
        "empty.jpg": "empty file",
        "cut.jpg": "truncated JPEG",
        "page.jpg": "HTML page",
        "drawing.jpg": "SVG drawing",
        "noise.jpg": "not a known photo format",
        "folder.jpg": "a folder, not a file",
        "pipe.jpg": "not a plain file",
        "gone": "no such file",
        "never there": NO_FILE,
    }
    assert signs.keys() == words.keys()
    for name, word in words.items():
        assert word in signs[name].status
    for name, sign in signs.items():
        data = (tmp_path / name).read_bytes() if (tmp_path / name).is_file() else None
        assert sign.digest == (b"" if data is None else hashlib.sha256(data).digest())
        if name != "whole.jpg":
            assert (sign.size, sign.tones, sign.colour) == ((0, 0), (0, 0, 0), 0)
            assert np.array_equal(sign.hash, NO_HASH)


def test_a_bomb_is_not_unpacked(tmp_path, monkeypatch):
    """Pillow looks for EXIF behind the pixels of a PNG, too, and unpacks them for that."""

    def chunk(name, body):
        size, check = struct.pack(">I", len(body)), struct.pack(">I", zlib.crc32(name + body))
        return size + name + body + check

    header = struct.pack(">IIBBBBB", 50_000, 4000, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(bytes(1000)))
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")
    unpacked = []
    monkeypatch.setattr(PngImageFile, "load", lambda image: unpacked.append(image.size))
    assert look_at(tmp_path, bomb).status.startswith("too large: 50000 x 4000 pixels")
    assert unpacked == []


def test_equal_files_have_equal_digests_and_changed_ones_do_not(tmp_path, texture_drawer):
    data = encode(Image.fromarray(texture_drawer(0)))
    one, other, changed = scan_photos(lay(tmp_path, a=data, b=data, c=data + b"\0"))
    assert one.digest == other.digest != changed.digest
    assert np.array_equal(one.hash, changed.hash)


@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_photos_are_seen_upright(tmp_path, texture_drawer, orientation):
    upright = Image.fromarray(texture_drawer(0, 400, 200))
    turns = {3: Image.Transpose.ROTATE_180, 6: Image.Transpose.ROTATE_90}
    turns[8] = Image.Transpose.ROTATE_270
    stored = upright.transpose(turns[orientation]) if orientation in turns else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    sign = look_at(tmp_path, stored, kind="JPEG", quality=95, exif=exif)
    assert sign.size == (400, 200)
    expected = hash_frame(frame_photo(np.asarray(upright))).astype(float)
    assert sign.hash.astype(float) == pytest.approx(expected, abs=0.5)


def test_a_large_jpeg_tells_its_true_size(tmp_path, texture_drawer):
    """It is decoded at a fraction of its size."""
    sign = look_at(tmp_path, Image.fromarray(texture_drawer(0, 1600, 1200)), kind="JPEG")
    assert sign.size == (1600, 1200)


def test_grey_photos_have_no_colour(tmp_path, texture_drawer):
    picture = Image.fromarray(texture_drawer(0))
    grey = picture.convert("L")
    assert look_at(tmp_path, grey).colour == 0
    assert look_at(tmp_path, grey.convert("RGB"), kind="JPEG").colour <= 3
    assert look_at(tmp_path, picture).colour > 20
    # A few coloured pixels, such as a logo's, do not make a photo coloured; a car does.
    pixels = np.array(grey.convert("RGB"))
    pixels[:6, :6] = (255, 0, 0)
    assert look_at(tmp_path, Image.fromarray(pixels)).colour == 0
    pixels[:30, :30] = (255, 0, 0)
    assert look_at(tmp_path, Image.fromarray(pixels)).colour == 255


def test_tones_are_percentiles(tmp_path):
    assert look_at(tmp_path, Image.new("RGB", (50, 40))).tones == (0, 0, 0)
    assert look_at(tmp_path, Image.new("RGB", (50, 40), "white")).tones == (255, 255, 255)
    pixels = np.full((128, 128), 100, np.uint8)
    pixels[:, :4], pixels[:, -4:] = 10, 240
    assert look_at(tmp_path, Image.fromarray(pixels)).tones == (10, 100, 240)
    pixels[:, :4], pixels[:, -4:] = 100, 100
    pixels[0, :64] = 255
    assert look_at(tmp_path, Image.fromarray(pixels)).tones == (100, 100, 100)


def test_sharpness_falls_with_blur_and_knows_no_contrast(tmp_path, texture_drawer):
    picture = Image.fromarray(texture_drawer(0, 256, 192))
    values = [
        look_at(tmp_path, picture.filter(ImageFilter.GaussianBlur(radius))).sharpness
        for radius in (0, 1, 2, 4)
    ]
    assert values == sorted(values, reverse=True)
    assert values[0] > 0.8
    assert values[3] < 0.5
    pale = picture.point(lambda level: level // 2 + 60)
    assert look_at(tmp_path, pale).sharpness == pytest.approx(values[0], rel=0.1)
    assert look_at(tmp_path, Image.new("L", (64, 64), 90)).sharpness == 0


def test_pairs_are_compared_as_told(tmp_path, texture_drawer):
    picture = texture_drawer(0, 320, 240)
    large = Image.fromarray(picture)
    files = {
        "large": large,
        "mirrored": large.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
        "crop": large.crop((80, 0, 320, 192)),
        "small": large.resize((50, 40), Image.Resampling.LANCZOS),
    }
    photos = lay(tmp_path, **{name: encode(image) for name, image in files.items()})
    outer, mirrored, crop, small = photos
    broken = lay(tmp_path, broken=b"")[0]
    likeness = compare_photos(
        [
            Pair(outer, mirrored, 1, WHOLE, 240),
            Pair(outer, mirrored, 0, WHOLE, 240),
            Pair(outer, crop, 0, (0.25, 1.0, 0.0, 0.8), 192),
            Pair(outer, small, 0, WHOLE, 40),
            Pair(outer, broken, 0, WHOLE, 240),
            Pair(Photo("never there", None), outer, 0, WHOLE, 240),
        ]
    )
    assert [value > SAME for value in likeness] == [True, False, True, True, False, False]
    assert likeness[-2:] == (0.0, 0.0)
    # The few pixels of a small photo are compared at its own size.
    (wrong,) = compare_photos([Pair(outer, small, 0, WHOLE, 240)])
    assert wrong < likeness[3]


def test_equal_pixels_are_measured_once_and_changed_ones_anew(
    tmp_path, texture_drawer, monkeypatch
):
    measured = []

    def measure(*arguments, **options):
        measured.append(options)
        return measure_likeness(*arguments, **options)

    monkeypatch.setattr(scan, "measure_likeness", measure)
    first, second = (Image.fromarray(texture_drawer(seed, 320, 240)) for seed in (0, 1))
    photos = lay(tmp_path, one=encode(first), same=encode(first, "BMP"))
    pairs = [
        Pair(*photos, 0, WHOLE, 240),
        Pair(*photos, 1, WHOLE, 240),
        Pair(*photos, 0, (0.0, 0.5, 0.0, 1.0), 240),
        Pair(*photos, 0, WHOLE, 40),
        Pair(*photos[::-1], 0, WHOLE, 240),
    ]
    likeness = compare_photos(pairs)
    assert likeness[0] == likeness[4] > SAME > likeness[1]
    assert len(measured) == 4  # turned round, equal pixels are the same pair
    assert compare_photos(pairs) == likeness
    assert len(measured) == 4
    lay(tmp_path, same=encode(second))
    assert compare_photos(pairs[:1])[0] < SAME
    assert len(measured) == 5
    # What is kept is bounded.
    monkeypatch.setattr(scan, "_MOST_KEPT", 3)
    compare_photos([Pair(*photos, 0, (0.0, 1.0, 0.0, 0.5), 240)])
    assert len(scan._likenesses) == 1


@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_zip_that_was_replaced_is_read_anew(tmp_path, texture_drawer, num_workers):
    """The workers live on between two scans."""
    path = tmp_path / "photos.zip"
    photos = [Photo("a", Locator(path, ("a.png",)))] * 60

    def pack(size, *before):
        with zipfile.ZipFile(path, "w") as archive:
            for name in before:
                archive.writestr(name, b"something that moves all places behind it")
            archive.writestr("a.png", encode(Image.fromarray(texture_drawer(0, *size))))

    pack((90, 60))
    assert {sign.size for sign in scan_photos(photos, num_workers=num_workers)} == {(90, 60)}
    pack((70, 50), "0", "1")
    signs = scan_photos(photos, num_workers=num_workers)
    assert {sign.status for sign in signs} == {"ok"}
    assert {sign.size for sign in signs} == {(70, 50)}


def test_no_file_stays_open(tmp_path, texture_drawer, monkeypatch):
    readers = []

    class Watched(scan.PhotoReader):
        def __init__(self):
            super().__init__()
            readers.append(self)

    monkeypatch.setattr(scan, "PhotoReader", Watched)
    path = tmp_path / "photos.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.png", encode(Image.fromarray(texture_drawer(0))))
    photo = Photo("a", Locator(path, ("a.png",)))
    assert [sign.status for sign in scan_photos([photo] * 100, num_workers=1)] == ["ok"] * 100
    assert len(readers) == 1, "a reader for every chunk would open the zip again and again"
    assert not readers[0]._open


def test_photos_are_not_looked_at_in_the_callers_thread(tmp_path, monkeypatch):
    # Ctrl-C would wait there for a decoder that is deep in C.
    threads = set()
    monkeypatch.setattr(scan, "_look", lambda *_: threads.add(threading.get_ident()) or Signs("x"))
    assert len(scan_photos([Photo("a", None)] * 100)) == 100
    assert threads
    assert threading.get_ident() not in threads


def test_too_little_memory_is_a_status(tmp_path, texture_drawer, monkeypatch):
    Image.fromarray(texture_drawer(60, 90)).save(tmp_path / "a.png")

    def fail(_):
        raise MemoryError

    monkeypatch.setattr(scan, "frame_photo", fail)
    (sign,) = scan_photos([Photo("a", Locator(tmp_path / "a.png"))])
    assert sign.status == "not enough memory for this photo"
