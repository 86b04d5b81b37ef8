"""What asks for too much is refused by its header: nothing of it is decoded."""

import io
import lzma
import struct
import zlib
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from PIL import Image, ImageFile
from pillow_heif import from_pillow

from lotlens.errors import UnreadablePhoto
from lotlens.photos import decode as decoding_module
from lotlens.photos import headers
from lotlens.photos.decode import decode, decode_sized


def save(image, kind, **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def refuse(data, **options):
    """The reason, after making sure that no pixel was asked for."""
    with (
        patch.object(ImageFile.ImageFile, "load", side_effect=AssertionError("was decoded")),
        pytest.raises(UnreadablePhoto) as caught,
    ):
        decode(data, **options)
    assert caught.value.__cause__ is None
    return caught.value.reason


def make_png(width, height):
    def chunk(name, body):
        checked = name + body
        return struct.pack(">I", len(body)) + checked + struct.pack(">I", zlib.crc32(checked))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def make_tiff(tags, body=b""):
    """A TIFF by hand: tag -> values, all of 32 bits; the body lies at 8."""
    entries, extra = b"", b""
    start = 8 + len(body)
    extra_start = start + 2 + 12 * len(tags) + 4
    for tag, values in sorted(tags.items()):
        packed = struct.pack(f"<{len(values)}I", *values)
        if len(values) > 1:
            where = struct.pack("<I", extra_start + len(extra))
            extra += packed
            packed = where
        entries += struct.pack("<HHI", tag, 4, len(values)) + packed
    head = b"II*\0" + struct.pack("<I", start) + body
    return head + struct.pack("<H", len(tags)) + entries + bytes(4) + extra


def make_bmp(width, height, data, compression=1):
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, compression, len(data), 0, 0, 0, 0)
    palette = bytes((1, 2, 3, 0)) * 256
    start = 14 + len(head) + len(palette)
    return b"BM" + struct.pack("<IHHI", start + len(data), 0, 0, start) + head + palette + data


LONG = 99_000_000
GREY = {258: [8], 262: [1], 277: [1]}


@pytest.mark.parametrize(
    "data",
    [
        make_png(LONG, 1),
        make_png(1, LONG),
        make_tiff({**GREY, 256: [LONG], 257: [1], 259: [8], 278: [1], 273: [8], 279: [9]}),
        make_bmp(LONG, 1, b"\0\1"),
        make_bmp(LONG, 1, b"", compression=0),
        b"P5\n99000000 1\n255\n",
    ],
)
def test_sides_are_bounded(data):
    assert "the limit is 65,535 a side" in refuse(data)


def test_every_size_that_is_let_in_can_be_resized():
    # What comes after decoding (frames, thumbnails) is made of arrays of these shapes.
    for size in ((headers.MAX_SIDE, 1), (1, headers.MAX_SIDE)):
        photo, full = decode_sized(save(Image.new("L", size), "PNG"))
        assert full == size
        image = Image.fromarray(photo)
        assert image.resize((128, 128), Image.Resampling.BILINEAR).size == (128, 128)
        image.thumbnail((320, 240))


# --- JPEG ---


def add_scans(data, num_scans):
    """A progressive JPEG with its last scan again and again."""
    last = data[data.rindex(b"\xff\xda") : -2]
    return data[:-2] + last * num_scans + b"\xff\xd9"


def make_progressive(side=64):
    return save(Image.new("L", (side, side), 128), "JPEG", progressive=True)


def test_scans_are_counted_before_decoding():
    data = make_progressive()
    assert "more than 100 passes" in refuse(add_scans(data, 3000))
    few = add_scans(data, 20)
    assert decode(few).shape == (64, 64, 3)
    with patch.object(headers, "MAX_SCANNED", 64 * 64 * 18):
        assert "more than 18 passes" in refuse(few)


def test_scans_of_a_jpeg_that_is_not_progressive_are_counted_too():
    data = save(Image.new("RGB", (64, 64)), "JPEG", subsampling=0)
    grey = save(Image.new("L", (64, 64)), "JPEG")
    coded = grey[grey.index(b"\xff\xda") + 10 : -2]
    one_channel = [b"\xff\xda\0\x08\x01" + bytes((at, 0, 0, 63, 0)) + coded for at in (1, 2, 3)]
    head = data[: data.index(b"\xff\xda")]
    assert decode(head + b"".join(one_channel) + b"\xff\xd9").shape == (64, 64, 3)
    assert "passes" in refuse(head + b"".join(one_channel) * 50 + b"\xff\xd9")


def test_what_only_looks_like_scans_is_not_counted():
    mark = b"\xff\xda\0\x08\x01\x01\0\0\x3f\0"
    data = make_progressive()
    in_a_comment = data[:2] + b"\xff\xfe\xff\xff" + (mark * 6600)[:65533] + data[2:]
    assert decode(in_a_comment).shape == (64, 64, 3)
    assert decode(data + mark * 500).shape == (64, 64, 3)  # a film behind a photo
    plain = save(Image.new("RGB", (64, 64)), "JPEG")
    assert decode(plain + mark * 500).shape == (64, 64, 3)


# --- TIFF ---


def tile_tiff(size, tile, body, num=1):
    sides = {256: [size[0]], 257: [size[1]], 322: [tile[0]], 323: [tile[1]]}
    return make_tiff({**GREY, **sides, 259: [8], 324: [8] * num, 325: [len(body)] * num}, body)


def test_tiles_beyond_a_tiff_count():
    assert "tiles of 40000 x 40000" in refuse(tile_tiff((1, 1), (40_000, 40_000), b"x"))
    assert "tiles of 16 x 60000" in refuse(tile_tiff((60_000, 16), (16, 60_000), b"x", num=3750))
    body = zlib.compress(bytes(64 * 64))
    assert decode(tile_tiff((50, 60), (64, 64), body)).shape == (60, 50, 3)


def test_strips_that_overlap_are_refused():
    tags = {**GREY, 256: [20], 257: [21], 259: [1], 278: [20], 279: [420] * 500}
    assert "overlap" in refuse(make_tiff({**tags, 273: [8] * 500}, bytes(420)))
    assert decode(make_tiff({**tags, 273: [8, 408], 279: [400, 20]}, bytes(428))).shape[0] == 21


def test_passes_over_jpegs_in_a_tiff_are_bounded():
    data = add_scans(make_progressive(), 90)
    tags = {**GREY, 256: [64], 257: [64], 259: [7], 278: [64], 273: [8], 279: [len(data)]}
    with patch.object(headers, "MAX_SCANNED", 64 * 64 * 30):
        assert "passes" in refuse(make_tiff(tags, data))


# --- what Pillow decodes in Python ---


def test_run_lengths_in_a_bmp_are_bounded():
    line = b"\x01\x01\0\0"
    assert "too large for this kind of BMP" in refuse(make_bmp(65_000, 1500, line * 1500))
    assert decode(make_bmp(3, 2, b"\x03\x01\0\0" * 2)).shape == (2, 3, 3)


@pytest.mark.parametrize("head", [b"P3\n3000 3000\n255\n", b"P6\n3000 3000\n254\n"])
def test_pixels_that_python_decodes_are_bounded(head):
    assert "too large for this kind of PNM" in refuse(head)


# --- WebP, JPEG 2000 ---


def test_a_webp_is_refused_before_it_is_given_a_canvas():
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    animated = bytearray(save(frames[0], "WEBP", save_all=True, append_images=frames[1:]))
    assert animated[12:16] == b"VP8X"
    animated[24:30] = b"\xff\xff\0" * 2
    with patch("PIL.WebPImagePlugin.WebPImageFile", side_effect=AssertionError("opened")):
        assert "65536 x 65536" in refuse(bytes(animated))
        for lossless in (True, False):
            data = save(frames[0].resize((40, 30)), "WEBP", lossless=lossless)
            assert "too large: 40 x 30" in refuse(data, max_pixels=1000)


def code(image, **options):
    return save(image, "JPEG2000", no_jp2=True, **options)


def grow(data, width, height, tile_width, tile_height):
    """Another size in the header of a JPEG 2000 codestream."""
    sides = struct.pack(">8I", width, height, 0, 0, tile_width, tile_height, 0, 0)
    return data[:8] + sides + data[40:]


def test_jpeg_2000_is_bounded():
    data = code(Image.new("RGB", (64, 64)))
    assert "the limit is 16,000,000 pixels" in refuse(grow(data, 5000, 4000, 5000, 4000))
    assert "62,500 tiles" in refuse(grow(data, 2000, 2000, 8, 8))
    boxed = save(Image.new("RGB", (64, 64)), "JPEG2000")
    at = boxed.index(b"\xff\x4f\xff\x51")
    hostile = boxed[:at] + grow(boxed[at:], 2000, 2000, 8, 8)
    assert "62,500 tiles" in refuse(hostile)
    many = bytearray(data)
    struct.pack_into(">H", many, 40, 16_384)
    assert "16384 channels" in refuse(bytes(many))


def test_the_parts_of_a_jpeg_2000_are_bounded():
    small = {"precinct_size": (2, 2), "codeblock_size": (4, 4), "num_resolutions": 2}
    data = code(Image.new("L", (64, 64)), **small)
    assert decode(data).shape == (64, 64, 3)
    assert "parts" in refuse(grow(data, 4000, 4000, 4000, 4000))
    usual = code(Image.new("L", (64, 64)), codeblock_size=(16, 16))
    noise = np.random.default_rng(0).integers(0, 256, (300, 400), dtype=np.uint8)
    for options in ({"tile_size": (64, 64)}, {"precinct_size": (64, 64)}, {}):
        assert decode(code(Image.fromarray(noise), **options)).shape == (300, 400, 3)
    headers.check_unopened("JPEG 2000", grow(usual, 4000, 4000, 4000, 4000))


# --- HEIC ---


def make_grid():
    stream = io.BytesIO()
    from_pillow(Image.new("RGB", (256, 256))).save(stream, quality=20, tile_size=64)
    return stream.getvalue()


def test_pictures_that_a_heic_is_put_together_from_are_added_up():
    data = make_grid()
    assert decode(data).shape == (256, 256, 3)
    areas, parts = headers._read_pictures(data)
    assert [len(one) for one in parts.values()] == [16]
    assert sorted(set(areas.values())) == [64 * 64, 256 * 256]
    huge = data.replace(struct.pack(">II", 64, 64), struct.pack(">II", 8192, 8192))
    assert "pictures of 1,073,741,824 pixels" in refuse(huge)
    with patch.object(headers, "MAX_TILES", 15):
        assert "16 pictures" in refuse(data)


def test_pictures_within_themselves_are_refused():
    data = make_grid()
    at = data.index(b"dimg")
    item = data[at + 4 : at + 6]
    assert "within" in refuse(data[: at + 8] + item + data[at + 10 :])


def test_small_files_of_long_pixels_are_still_read():
    tags = {**GREY, 256: [2000], 257: [1000], 259: [34925], 278: [1000], 273: [8]}
    body = lzma.compress(bytes(2_000_000), format=lzma.FORMAT_XZ)
    photo = decode(make_tiff({**tags, 279: [len(body)]}, body))
    assert photo.shape == (1000, 2000, 3)
    assert not photo.any()


def test_the_guide_names_the_limits():
    guide = (Path(__file__).parents[2] / "docs/guide/limits.md").read_text("utf-8")
    numbers = [
        value
        for name, value in vars(headers).items()
        if name.startswith("MAX_") and name != "MAX_SCANS"
    ]
    assert len(numbers) == 7
    for number in (*numbers, 2 * headers.MAX_PIXELS):
        assert f"{number:,}" in guide
    assert f"| {headers.MAX_SCANS}, and" in guide
    assert f"{decoding_module.TIME_LIMIT_S:g} seconds" in guide
    assert decoding_module._ROOM.num_bytes == 1_000_000_000
