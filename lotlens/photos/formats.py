"""Tells what a file is by its first bytes; it decodes nothing and never looks at a name."""

from __future__ import annotations

import re
from typing import Literal

Format = Literal[
    "JPEG", "PNG", "WebP", "GIF", "BMP", "TIFF", "HEIC", "AVIF", "JPEG 2000", "PNM", "TGA"
]

NUM_TELLING = 1024
"""So many bytes from the start are enough for all of this."""

_SIGNATURES: tuple[tuple[bytes, Format], ...] = (
    (b"\xff\xd8\xff", "JPEG"),
    (b"\x89PNG\r\n\x1a\n", "PNG"),
    (b"GIF87a", "GIF"),
    (b"GIF89a", "GIF"),
    (b"BM", "BMP"),
    (b"II*\0", "TIFF"),
    (b"MM\0*", "TIFF"),
    (b"II+\0", "TIFF"),
    (b"MM\0+", "TIFF"),
    (b"\0\0\0\x0cjP  \r\n\x87\n", "JPEG 2000"),
    (b"\xff\x4f\xff\x51", "JPEG 2000"),
)
_HEIF_BRANDS = (b"hei", b"hev", b"mif1", b"msf1")
# A size in figures follows, perhaps after a remark; a text that begins with "P5 " does not match.
_PNM = re.compile(rb"P[1-6](?:\s+|\s*#[^\n]*\n)+\d+\s")

# Files that are no photos, or of kinds that no camera and no advert has: their readers stay shut.
_BEGINNINGS: tuple[tuple[bytes, str], ...] = (
    (b"8BPS", "a Photoshop file, which is not read: save it as JPEG"),
    (b"DDS ", "a DDS texture, which is not read: save it as PNG"),
    (b"\0\0\1\0", "an icon, not a photo"),
    (b"\0\0\2\0", "a mouse pointer, not a photo"),
    (b"icns", "an icon, not a photo"),
    (b"\xff\x0a", "a JPEG XL photo, which cannot be read: save it as JPEG"),
    (b"\0\0\0\x0cJXL ", "a JPEG XL photo, which cannot be read: save it as JPEG"),
    (b"qoif", "a QOI picture, which is not read: save it as PNG"),
    (b"\x01\xda", "an SGI picture, which is not read: save it as PNG"),
    (b"SIMPLE  =", "a FITS picture, which is not read: save it as PNG"),
    (b"BLP1", "a BLP texture, which is not read: save it as PNG"),
    (b"BLP2", "a BLP texture, which is not read: save it as PNG"),
    (b"/* XPM", "an XPM drawing, not a photo"),
    (b"\xd7\xcd\xc6\x9a", "a Windows metafile, not a photo"),
    (b"\x1aE\xdf\xa3", "a video, not a photo"),
    (b"OggS", "a recording, not a photo"),
    (b"ID3", "a recording, not a photo"),
    (b"PK\x03\x04", "a zip archive, not a photo"),
    (b"Rar!", "a RAR archive, not a photo"),
    (b"7z\xbc\xaf", "a 7-Zip archive, not a photo"),
    (b"\x1f\x8b", "a gzip archive, not a photo"),
    (b"SQLite format 3", "a database, not a photo"),
)
_BRANDS: tuple[tuple[bytes, str], ...] = (
    (b"crx ", "a camera's raw file (CR3), which is not read: save it as JPEG"),
    (b"qt  ", "a video, not a photo"),
    (b"isom", "a video, not a photo"),
    (b"iso2", "a video, not a photo"),
    (b"mp4", "a video, not a photo"),
    (b"M4V", "a video, not a photo"),
    (b"avc1", "a video, not a photo"),
    (b"3gp", "a video, not a photo"),
)
# Anywhere near the start; the first that is found wins.
_WORDS: tuple[tuple[bytes, str], ...] = (
    (b"<svg", "an SVG drawing, not a photo"),
    (b"<!doctype html", "an HTML page, not a photo (a failed download?)"),
    (b"<html", "an HTML page, not a photo (a failed download?)"),
    (b"%pdf", "a PDF document, not a photo"),
    (b"%!ps", "a PostScript document, not a photo"),
    (b"jxl ", "a JPEG XL photo, which cannot be read: save it as JPEG"),
)


def recognise(data: bytes) -> Format | None:
    """The format of a photo that can be read, by its first `NUM_TELLING` bytes; None for others.

    TGA has no mark of its own: see `looks_like_tga`.
    """
    for signature, name in _SIGNATURES:
        if data.startswith(signature):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if _PNM.match(data):
        return "PNM"
    if data[4:8] == b"ftyp":
        # A generic brand (mif1) leaves it to the list of compatible brands which of the two it is.
        brands = data[8 : min(int.from_bytes(data[:4], "big"), 256)]
        if b"avif" in brands or b"avis" in brands:
            return "AVIF"
        if brands.startswith(_HEIF_BRANDS):
            return "HEIC"
    return None


def looks_like_tga(data: bytes) -> bool:
    """Whether a whole file may be a TGA: its header makes sense (Truevision TGA 2.0, 1991)."""
    if len(data) < 26:
        return False
    has_map, kind, depth = data[1], data[2], data[16]
    size = (int.from_bytes(data[12:14], "little"), int.from_bytes(data[14:16], "little"))
    is_sound = has_map == (kind in (1, 9)) and kind in (1, 2, 3, 9, 10, 11)
    if not is_sound or 0 in size or depth not in (8, 15, 16, 24, 32) or data[17] & 0xC0:
        return False
    num_bytes = size[0] * size[1] * ((depth + 7) // 8)
    return data[-18:-2] == b"TRUEVISION-XFILE" or kind > 3 or len(data) >= 18 + num_bytes


def name_stranger(data: bytes) -> str:
    """What to tell of bytes that are no photo that can be read."""
    if not data:
        return "empty file (0 bytes)"
    for beginning, reason in _BEGINNINGS:
        if data.startswith(beginning):
            return reason
    if data[4:8] == b"ftyp":
        for brand, reason in _BRANDS:
            if data[8:].startswith(brand):
                return reason
    if data[:4] == b"RIFF" and data[8:11] in (b"AVI", b"WAV"):
        return "a video or recording, not a photo"
    start = data[:NUM_TELLING].lower()
    for word, reason in _WORDS:
        if word in start:
            return reason
    if not any(data[:4096]):
        return "nothing but zero bytes (an interrupted copy?)"
    return "not a known photo format"
