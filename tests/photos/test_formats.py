"""formats: what a file is, by its bytes alone."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pillow_heif import from_pillow

from lotlens.photos.formats import NUM_TELLING, looks_like_tga, name_stranger, recognise


def save(kind: str, mode: str = "RGB", **options: object) -> bytes:
    stream = io.BytesIO()
    Image.new(mode, (12, 8)).save(stream, kind, **options)
    return stream.getvalue()


def save_heic() -> bytes:
    stream = io.BytesIO()
    from_pillow(Image.new("RGB", (12, 8))).save(stream)
    return stream.getvalue()


@pytest.mark.parametrize(
    ("kind", "mode", "name"),
    [
        *((kind, "RGB", kind) for kind in ("JPEG", "PNG", "GIF", "BMP", "TIFF", "AVIF")),
        ("WEBP", "RGB", "WebP"),
        ("MPO", "RGB", "JPEG"),
        ("JPEG2000", "RGB", "JPEG 2000"),
        *(("PPM", mode, "PNM") for mode in ("1", "L", "RGB")),
    ],
)
def test_photos_are_recognised(kind: str, mode: str, name: str) -> None:
    data = save(kind, mode)
    assert recognise(data[:NUM_TELLING]) == name


def test_a_codestream_and_heic_are_recognised() -> None:
    assert recognise(save("JPEG2000", no_jp2=True)) == "JPEG 2000"
    assert recognise(save_heic()) == "HEIC"


@pytest.mark.parametrize("options", [{}, {"compression": "tga_rle"}])
@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P"])
def test_tga_is_told_by_its_header(mode: str, options: dict[str, str]) -> None:
    data = save("TGA", mode, **options)
    assert looks_like_tga(data)
    assert recognise(data) is None
    assert not looks_like_tga(data[:20])
    assert not looks_like_tga(b"\xff" + data[1:2].replace(data[1:2], b"\7") + data[2:])


@pytest.mark.parametrize(
    "text", [b"P5 is a racing car", b"P6", b"P7\n1 2", b"BLAH", b"RIFF1234AVI "]
)
def test_texts_and_others_are_no_photos(text: bytes) -> None:
    assert recognise(text) is None
    assert not looks_like_tga(text)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "empty file"),
        (bytes(100), "nothing but zero bytes"),
        (b"8BPS\0\1", "Photoshop"),
        (b"DDS |\0\0", "DDS"),
        (b"\0\0\1\0\1\0", "icon"),
        (b"\0\0\0\x18ftypisom", "video"),
        (b"\0\0\0\x18ftypcrx ", "raw file"),
        (b"\x1aE\xdf\xa3", "video"),
        (b"\xff\x0a\0", "JPEG XL"),
        (b"<?xml version='1.0'?><svg>", "SVG"),
        (b"<html><body>404", "HTML"),
        (b"PK\x03\x04", "zip archive"),
        (b"hello", "not a known photo format"),
    ],
)
def test_strangers_are_named(data: bytes, words: str) -> None:
    assert words in name_stranger(data)
    assert recognise(data) is None


@given(st.binary(max_size=300))
def test_any_bytes_have_an_answer(data: bytes) -> None:
    assert recognise(data) or name_stranger(data)
    assert looks_like_tga(data) in (True, False)
