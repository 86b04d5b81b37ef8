"""decode: every kind of photo becomes upright RGB, and no bytes whatever raise another error."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import threading
import time
import warnings
import zlib
from contextlib import suppress
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageCms, ImageFile
from pillow_heif import from_pillow

from lotlens.errors import UnreadablePhoto
from lotlens.photos import decode as decoding_module
from lotlens.photos.decode import decode, decode_sized, decoding, read_size
from lotlens.threads import ByteBudget

RED, GREEN, BLUE, GREY = (230, 20, 20), (20, 200, 20), (20, 20, 220), (128, 128, 128)


def draw() -> Image.Image:
    """A 48 x 32 photo whose four corners differ, so that every turn of it shows."""
    image = Image.new("RGB", (48, 32), GREY)
    image.paste(RED, (0, 0, 16, 16))
    image.paste(GREEN, (32, 0, 48, 16))
    image.paste(BLUE, (0, 16, 16, 32))
    return image


def save(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def save_heic(image: Image.Image) -> bytes:
    stream = io.BytesIO()
    from_pillow(image).save(stream, quality=95)
    return stream.getvalue()


def refuse(data: bytes, **options: Any) -> str:
    with pytest.raises(UnreadablePhoto) as caught:
        decode(data, **options)
    return caught.value.reason


def make_png(
    width: int, height: int, bits: int, colour: int, rows: bytes, extra: bytes = b""
) -> bytes:
    """A PNG by hand, for headers that Pillow would not write."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + extra
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def is_near(photo: np.ndarray, expected: Image.Image, tolerance: int = 12) -> bool:
    # Away from the edges of the patches, where lossy formats bleed.
    spots = [(8, 8), (40, 8), (8, 24), (40, 24)]
    wanted = np.asarray(expected)
    return all(
        np.abs(photo[y, x].astype(int) - wanted[y, x].astype(int)).max() <= tolerance
        for x, y in spots
    )


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF", "MPO"])
def test_formats(kind: str) -> None:
    options = {"quality": 95} if kind in {"JPEG", "WEBP", "AVIF", "MPO"} else {}
    photo = decode(save(draw(), kind, **options))
    assert photo.shape == (32, 48, 3)
    assert photo.dtype == np.uint8
    assert photo.flags.writeable
    assert photo.flags.c_contiguous
    assert is_near(photo, draw(), 25)


def test_heic() -> None:
    assert is_near(decode(save_heic(draw())), draw(), 25)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_exif_orientation(orientation: int, kind: str) -> None:
    # What the camera stored is the upright photo turned the other way.
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = draw().transpose(undo[orientation]) if orientation > 1 else draw()
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {} if kind == "PNG" else {"quality": 95}
    photo, size = decode_sized(save(stored, kind, exif=exif, **options))
    assert photo.shape == (32, 48, 3)
    assert size == (48, 32)
    assert is_near(photo, draw(), 25)


def test_the_size_is_the_full_one_however_small_a_jpeg_is_decoded() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = save(draw().resize((480, 320)), "JPEG", exif=exif)
    photo, size = decode_sized(data, min_size=(40, 60))
    assert size == (320, 480)
    assert photo.shape == (60, 40, 3)


@pytest.mark.parametrize("value", [0, 9, 65_535])
def test_senseless_orientation_is_ignored(value: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = value
    assert decode(save(draw(), "JPEG", exif=exif)).shape == (32, 48, 3)


def test_damaged_exif_neither_warns_nor_hides_the_photo() -> None:
    exif = Image.Exif()
    exif[0x010E] = "a long description of the car" * 4
    whole = exif.tobytes()
    photo = decode(save(draw(), "JPEG", exif=whole[:40], quality=95))
    assert is_near(photo, draw(), 25)


def test_threads_do_not_let_warnings_out() -> None:
    exif = Image.Exif()
    exif[0x010E] = "a long description of the car" * 4
    data = save(draw(), "JPEG", exif=exif.tobytes()[:40])
    faults: list[Exception] = []

    def work() -> None:
        try:
            for _ in range(30):
                decode(data)
        except Exception as error:
            faults.append(error)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not faults
    assert not caught


def test_applications_keep_their_own_bomb_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decode(save(draw(), "PNG"))
        with pytest.raises(Image.DecompressionBombWarning):
            warnings.warn("as Pillow does", Image.DecompressionBombWarning, stacklevel=1)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "CMYK", "YCbCr", "RGBA"])
def test_modes_become_rgb(mode: str) -> None:
    kind = "TIFF" if mode in {"CMYK", "YCbCr"} else "PNG"
    photo = decode(save(draw().convert(mode), kind))
    wanted = draw().convert("L").convert("RGB") if mode in {"L", "LA"} else draw()
    assert photo.shape == (32, 48, 3)
    assert is_near(photo, wanted, 40)


def test_black_and_white() -> None:
    stripes = Image.fromarray(np.array([[0, 255, 0]], dtype=np.uint8)).convert("1")
    assert decode(save(stripes, "PNG")).tolist() == [[[0] * 3, [255] * 3, [0] * 3]]


def test_cmyk_jpeg_keeps_its_colours() -> None:
    # Pillow writes CMYK JPEGs inverted with Adobe's marker, as Photoshop does.
    assert is_near(decode(save(draw().convert("CMYK"), "JPEG", quality=95)), draw(), 40)


def test_16_bit_grey_is_scaled_not_clipped() -> None:
    levels = np.array([[0, 257, 128 * 257, 65_535]], dtype=np.uint16)
    photo = decode(save(Image.fromarray(levels), "PNG"))
    assert photo[0, :, 0].tolist() == [0, 1, 128, 255]
    photo = decode(save(Image.fromarray(levels), "TIFF"))
    assert photo[0, :, 0].tolist() == [0, 1, 128, 255]


def test_16_bit_colour_png() -> None:
    rows = b"\0" + struct.pack(">3H", 65_535, 32_896, 0)
    assert decode(make_png(1, 1, 16, 2, rows))[0, 0].tolist() == [255, 128, 0]


@pytest.mark.parametrize(("mode", "value"), [("I", 70_000), ("I", -5), ("F", 0.5)])
def test_pixels_without_a_known_range_are_refused(mode: str, value: float) -> None:
    assert "pixels" in refuse(save(Image.new(mode, (4, 4), value), "TIFF"))


def test_transparency_becomes_white() -> None:
    image = draw().convert("RGBA")
    image.putpixel((40, 24), (0, 0, 0, 0))
    image.putpixel((41, 24), (0, 0, 0, 128))
    photo = decode(save(image, "PNG"))
    assert photo[24, 40].tolist() == [255, 255, 255]
    assert np.abs(photo[24, 41].astype(int) - 127).max() <= 1
    assert photo[8, 8].tolist() == list(RED)


@pytest.mark.parametrize("kind", ["PNG", "GIF"])
def test_palette_transparency_becomes_white(kind: str) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *GREEN])
    image.putpixel((1, 0), 1)
    photo = decode(save(image, kind, transparency=0))
    assert photo[0].tolist() == [[255, 255, 255], list(GREEN)]
    if kind == "PNG":
        photo = decode(save(image, kind, transparency=b"\xff\x00"))
        assert photo[0].tolist() == [list(RED), [255, 255, 255]]


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_first_frame_of_an_animation(kind: str) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    frames = [Image.new("RGB", (16, 16), colour) for colour in (GREEN, BLUE)]
    photo = decode(save(frames[0], kind, save_all=True, append_images=frames[1:], **options))
    assert photo[8, 8].tolist() == list(GREEN)


def test_invalid_animation_marks_do_not_warn() -> None:
    body = struct.pack(">II", 0, 0)  # an animation of no frames
    mark = struct.pack(">I", 8) + b"acTL" + body + struct.pack(">I", zlib.crc32(b"acTL" + body))
    photo = decode(make_png(1, 1, 8, 2, b"\0" + bytes(GREEN), extra=mark))
    assert photo[0, 0].tolist() == list(GREEN)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "AVIF", "TIFF"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated_files(kind: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    data = save(Image.fromarray(noise), kind)
    assert kind in refuse(data[: int(len(data) * share)]).upper()


def test_truncated_reasons_are_short() -> None:
    data = save(draw(), "JPEG")
    assert refuse(data[: len(data) // 2]) == "truncated JPEG"
    assert "HEIC" in refuse(save_heic(draw())[:-50])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty"),
        (bytes(5000), "zero bytes"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "SVG"),
        (b"<?xml version='1.0'?>\n<svg></svg>", "SVG"),
        (b"\n<!DOCTYPE html><html>404</html>", "HTML"),
        (b"%PDF-1.7", "PDF"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "PostScript"),
        (b"PK\x03\x04rest", "zip"),
        (b"\0\0\0\x0cJXL \r\n\x87\n", "JPEG XL"),
        (b"no photo at all", "not a known photo format"),
        (b"\xff\xd8\xff", "JPEG"),
        (b"BM", "BMP"),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "HEIC"),
        (b"\0\0\0\x18ftypavif\0\0\0\0mif1avif", "AVIF"),
    ],
)
def test_what_is_no_photo_says_so(data: bytes, words: str) -> None:
    assert words in refuse(data)


def test_bombs_are_refused_by_their_header() -> None:
    assert "50000 x 50000" in refuse(make_png(50_000, 50_000, 8, 2, b"\0"))
    assert "limit is 1,000 pixels" in refuse(save(draw(), "JPEG"), max_pixels=1000)
    assert "limit" in refuse(save_heic(draw()), max_pixels=1000)
    gif = bytearray(save(draw().convert("P"), "GIF"))
    gif[6:10] = struct.pack("<HH", 65_535, 65_535)
    assert refuse(bytes(gif))
    webp = bytearray(save(draw(), "WEBP", lossless=True))
    webp[21:25] = struct.pack("<I", (16_383 - 1) | ((16_383 - 1) << 14))
    assert refuse(bytes(webp))


def test_a_very_wide_photo_is_read() -> None:
    rows = (b"\0" + bytes(50_000)) * 2
    assert decode(make_png(50_000, 2, 8, 0, rows)).shape == (2, 50_000, 3)


@pytest.mark.parametrize(
    ("wanted", "width"), [((300, 200), 300), ((299, 100), 300), ((301, 1), 600)]
)
def test_min_size_scales_jpegs_by_powers_of_two(wanted: tuple[int, int], width: int) -> None:
    data = save(draw().resize((1200, 800)), "JPEG", quality=95)
    photo = decode(data, min_size=wanted)
    assert photo.shape == (width * 2 // 3, width, 3)
    small = np.asarray(draw().resize((width, width * 2 // 3)))
    assert np.abs(photo.astype(int) - small).mean() < 3


def test_min_size_counts_after_turning() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = save(Image.new("RGB", (800, 400)), "JPEG", exif=exif)
    assert decode(data, min_size=(200, 400)).shape == (400, 200, 3)
    assert decode(data, min_size=(400, 200)).shape == (800, 400, 3)


def test_min_size_leaves_other_formats_and_small_photos_alone() -> None:
    assert decode(save(draw(), "PNG"), min_size=(1, 1)).shape == (32, 48, 3)
    assert decode(save(draw(), "JPEG"), min_size=(1000, 1000)).shape == (32, 48, 3)


def test_colour_profiles_do_not_hinder() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    assert is_near(decode(save(draw(), "JPEG", icc_profile=profile, quality=95)), draw(), 25)


def check_law(data: bytes) -> None:
    """Either an RGB array or an UnreadablePhoto with a reason that fits a table cell."""
    reason = "none"
    try:
        photo = decode(data, max_pixels=1_000_000)
    except UnreadablePhoto as error:
        reason = error.reason
    else:
        assert photo.dtype == np.uint8
        assert photo.ndim == 3
        assert photo.shape[2] == 3
        assert photo.size > 0
    assert reason.isprintable()
    assert 0 < len(reason) < 160


@given(st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_any_bytes(data: bytes) -> None:
    check_law(data)


SEEDS = [
    *(save(draw(), kind) for kind in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "AVIF")),
    save(draw().convert("RGBA"), "PNG"),
    save(draw().convert("P"), "TIFF", compression="tiff_lzw"),
    save(draw(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0"),
    save_heic(draw()),
]


@given(
    st.sampled_from(SEEDS),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=12),
    st.integers(0, 10_000),
)
@settings(max_examples=400, deadline=None)
def test_any_mutated_photo(data: bytes, changes: list[tuple[int, int]], length: int) -> None:
    mutated = bytearray(data)
    for position, value in changes:
        mutated[position % len(mutated)] = value
    check_law(bytes(mutated[: length if length else None]))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG2000", {}),
        ("JPEG2000", {"no_jp2": True}),
        ("PPM", {}),
        ("TGA", {}),
        ("TGA", {"compression": "tga_rle"}),
        ("MPO", {}),
    ],
)
def test_rarer_formats_are_read_by_their_bytes(kind: str, options: dict[str, Any]) -> None:
    assert is_near(decode(save(draw(), kind, **options)), draw())


def test_portable_greymaps_and_bitmaps() -> None:
    grey = draw().convert("L")
    assert (decode(save(grey, "PPM")) == np.asarray(grey.convert("RGB"))).all()
    lines = b"P1\n# drawn by hand\n3 2\n1 0 1\n0 1 0\n"
    assert decode(lines)[..., 0].tolist() == [[0, 255, 0], [255, 0, 255]]
    deep = b"P5\n2 1\n65535\n" + (65_535).to_bytes(2, "big") + (32_768).to_bytes(2, "big")
    assert decode(deep)[0, :, 0].tolist() == [255, 128]


@pytest.mark.parametrize("kind", ["JPEG2000", "PPM", "TGA"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
def test_rarer_formats_cut_short_are_unreadable(kind: str, kept: float) -> None:
    data = save(Image.effect_noise((64, 48), 90).convert("RGB"), kind)
    assert refuse(data[: int(kept * len(data))])


@given(st.binary(max_size=200), st.integers(0, 150))
@settings(max_examples=100, deadline=None)
def test_rarer_formats_with_damage_raise_no_other_error(noise: bytes, at: int) -> None:
    for kind in ("JPEG2000", "PPM", "TGA"):
        data = bytearray(save(draw(), kind))
        data[at : at + len(noise)] = noise
        with suppress(UnreadablePhoto):
            assert decode(bytes(data), max_pixels=1_000_000).shape[2] == 3


def test_libtiff_says_nothing_on_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    data = bytearray(save(draw(), "TIFF", compression="tiff_lzw"))
    # A tag of no known type, and a damaged strip: libtiff has a line for each.
    data[8 : 8 + 200] = bytes(200)
    refuse(bytes(data))
    whole = save(Image.effect_noise((64, 48), 90).convert("RGB"), "TIFF", compression="tiff_lzw")
    refuse(whole[:-2000])
    damaged = bytearray(whole)
    damaged[3000:5000] = b"\xff" * 2000
    with suppress(UnreadablePhoto):
        decode(bytes(damaged))
    assert capfd.readouterr() == ("", "")


# --- little memory, and no end of time ---


def draw_noise(mode: str) -> Image.Image:
    rng = np.random.default_rng(0)
    if mode == "I;16":
        return Image.fromarray(rng.integers(0, 65_536, (23, 17)).astype(np.uint16))
    noise = Image.fromarray(rng.integers(0, 256, (23, 17, 4), dtype=np.uint8))
    return noise if mode == "RGBA" else noise.convert(mode)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_strips_are_the_same_photo(
    mode: str, orientation: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"transparency": 3} if mode in {"P", "L"} else {}
    data = save(draw_noise(mode), "PNG", exif=exif, **options)
    whole, size = decode_sized(data)
    for num_pixels, inline in ((1, 1), (17 * 5, 1), (17 * 22, 10_000)):
        monkeypatch.setattr(decoding_module, "_STRIP_PIXELS", num_pixels)
        monkeypatch.setattr(decoding_module, "_INLINE_PIXELS", inline)
        strips, same_size = decode_sized(data)
        assert same_size == size
        assert strips.shape == whole.shape
        assert (strips == whole).all()
        assert strips.flags.writeable
        assert strips.flags.c_contiguous


@pytest.mark.skipif(sys.platform != "linux", reason="counts memory in Linux's units")
def test_a_transparent_photo_is_in_memory_once() -> None:
    rows = zlib.compress(bytes(4 * 5000 + 1) * 4000)
    code = """
import resource, sys
from lotlens.photos.decode import decode
data = sys.stdin.buffer.read()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
decode(data)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    head = make_png(5000, 4000, 8, 6, b"")
    data = head[: head.index(b"IDAT") - 4]
    for name, body in ((b"IDAT", rows), (b"IEND", b"")):
        checked = name + body
        data += struct.pack(">I", len(body)) + checked + struct.pack(">I", zlib.crc32(checked))
    told = subprocess.run(
        [sys.executable, "-c", code], input=data, capture_output=True, check=True
    ).stdout
    # Seven bytes a pixel: Pillow's four, and three of the array. It was over sixteen.
    assert int(told) * 1024 < 10 * 5000 * 4000


def test_time_is_limited_within_a_decoder() -> None:
    for kind in ("PNG", "JPEG", "BMP", "GIF", "TGA"):
        with pytest.raises(UnreadablePhoto) as caught, decoding(save(draw(), kind), limit_s=-1):
            pass
        assert caught.value.reason == f"too much work: a {kind} that takes over -1 s"


def test_a_decoder_that_does_not_end_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()
    load = ImageFile.ImageFile.load

    def wait(image: ImageFile.ImageFile) -> Any:
        release.wait()
        return load(image)

    monkeypatch.setattr(ImageFile.ImageFile, "load", wait)
    monkeypatch.setattr(decoding_module, "_INLINE_PIXELS", 1)
    room = ByteBudget(1)
    data = save(draw(), "PNG")
    with pytest.raises(UnreadablePhoto) as caught, decoding(data, limit_s=0.01, room=room):
        pass
    assert "too much work" in caught.value.reason
    for _ in range(1000):  # it is still at work, or has not even begun
        if room.num_held:
            break
        time.sleep(0.01)
    assert room.num_held > 0
    release.set()
    for thread in threading.enumerate():
        if thread.name == "decoder":
            thread.join()
    assert room.num_held == 0


def test_a_text_full_of_remarks_is_read_in_small_pieces() -> None:
    # Pillow copies what it has read for each remark.
    stream = decoding_module._ShortTimedBytes(b"#\n" * 500_000)
    stream.deadline_s = float("inf")
    assert len(stream.read(1 << 20)) == 1 << 16
    remarks = b"P2\n2 1\n255\n" + b"#\n" * 100_000 + b"1 255"
    assert decode(remarks)[0, :, 0].tolist() == [1, 255]


def test_room_is_held_until_the_photo_is_small_and_given_back_whatever_comes() -> None:
    room = ByteBudget(1)
    for kind in ("PNG", "WEBP"):
        with decoding(save(draw(), kind), room=room) as (pixels, size):
            assert room.num_held >= pixels.nbytes
            assert size == (48, 32)
        assert room.num_held == 0
        data = save(draw(), kind)
        with suppress(UnreadablePhoto), decoding(data[: len(data) - 30], room=room):
            pytest.fail("not truncated")
        assert room.num_held == 0
    with pytest.raises(ZeroDivisionError), decoding(save(draw(), "PNG"), room=room):
        _ = 1 // 0
    assert room.num_held == 0


def test_a_jpeg_needs_room_for_what_is_decoded_of_it() -> None:
    data = save(draw().resize((1600, 1200)), "JPEG")
    room = ByteBudget(1)
    with decoding(data, min_size=(200, 150), room=room):
        small = room.num_held
    with decoding(data, room=room):
        assert room.num_held > 60 * small


@pytest.mark.parametrize("where", ["load", "array", "block"])
def test_too_little_memory_is_a_reason(where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    if where == "load":
        monkeypatch.setattr(ImageFile.ImageFile, "load", fail)
    elif where == "array":
        monkeypatch.setattr(decoding_module.np, "array", fail)
    with pytest.raises(UnreadablePhoto) as caught, decoding(save(draw(), "PNG")):
        fail()
    assert "not enough memory" in caught.value.reason


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WebP", "GIF", "BMP", "TIFF", "AVIF", "PPM"])
def test_a_size_is_read_without_decoding(kind: str) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (60, 40), (9, 99, 199)).save(stream, kind)
    assert read_size(stream.getvalue()) == (60, 40)


@pytest.mark.parametrize("data", [b"", b"%PDF-1.4", b"\xff\xd8\xff\xe0 and no more"])
def test_what_has_no_size_is_refused_as_decoding_does(data: bytes) -> None:
    with pytest.raises(UnreadablePhoto) as caught:
        read_size(data)
    with pytest.raises(UnreadablePhoto) as decoded:
        decode(data)
    assert caught.value.reason == decoded.value.reason


def test_too_large_a_photo_is_refused_by_its_size() -> None:
    stream = io.BytesIO()
    Image.new("1", (60, 40)).save(stream, "PNG")
    with pytest.raises(UnreadablePhoto, match="too large: 60 x 40 pixels"):
        read_size(stream.getvalue(), max_pixels=2399)
