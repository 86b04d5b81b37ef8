"""What a photo would cost, by its header: refused before it is decoded if that is too much.

A file of a few hundred bytes may ask for gigabytes and hours. What the decoders would do is bounded
here by what can be read without them: pixels, sides, passes over them, tiles. It knows no pixels.
"""

from __future__ import annotations

import re
import struct
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from PIL import Image

from lotlens.errors import UnreadablePhoto
from lotlens.photos.formats import Format

MAX_PIXELS = 110_000_000
"""Photos whose header claims more pixels are refused unread: a bomb, or a poster scan. Phones take
photos of up to 108 million."""

MAX_SIDE = 65_535
"""Pixels of the longer side, which no JPEG can exceed; drawing and resizing fail on more."""

MAX_SCANS = 100
"""Passes over a JPEG; progressive photos have about ten."""

MAX_SCANNED = 2_000_000_000
"""Passes over a JPEG times its pixels: 18 passes over the largest photo, some five seconds."""

MAX_SLOW_VALUES = 12_000_000
"""Values (pixels times channels) in the kinds that Pillow decodes in Python, 0.2 to 0.4 us each."""

MAX_JPEG_2000_PIXELS = 16_000_000
"""Its decoder stops every other thread, for a third of a second per million pixels."""

MAX_JPEG_2000_PARTS = 1_000_000
"""Precincts and code-blocks of a JPEG 2000; photos have one for each thousand pixels."""

MAX_TILES = 4096
"""Tiles of a JPEG 2000, or pictures that a HEIC or AVIF is put together from."""

_SOS = b"\xff\xda"
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
_JPEG_IN_TIFF = ("jpeg", "tiff_jpeg")
_BMP_RLE = (1, 2)


def check_size(width: int, height: int, max_pixels: int = MAX_PIXELS) -> None:
    """Refuse a photo that is too large.

    Raises:
        UnreadablePhoto: it has too many pixels, or is too long.
    """
    if width * height > max_pixels:
        raise UnreadablePhoto(
            f"too large: {width} x {height} pixels, the limit is {max_pixels:,} pixels"
        )
    if max(width, height) > MAX_SIDE:
        raise UnreadablePhoto(
            f"too long: {width} x {height} pixels, the limit is {MAX_SIDE:,} a side"
        )


def check_unopened(name: Format, data: bytes, max_pixels: int = MAX_PIXELS) -> int:
    """Refuse what would cost too much as soon as Pillow opens it.

    Returns:
        Bytes of memory that opening takes beside the file's own; 0 where that is little.

    Raises:
        UnreadablePhoto: it is too large, or made of too many parts.
    """
    if name == "WebP":
        size = _read_webp_size(data)
        if size is not None:
            check_size(*size, max_pixels)
            return _BYTES_OPENED["WebP"] * size[0] * size[1]
    if name == "JPEG 2000":
        _check_jpeg_2000(data, max_pixels)
    if name in ("HEIC", "AVIF"):
        _check_pictures(name, data, max_pixels)
    return 0


def check_opened(
    name: Format, data: bytes, image: Image.Image, max_pixels: int = MAX_PIXELS
) -> None:
    """Refuse what would cost too much to decode.

    Args:
        name: the format.
        data: the file's bytes.
        image: opened, not loaded, and not set to a smaller scale.
        max_pixels: the most that are decoded.

    Raises:
        UnreadablePhoto: it is too large, or too much work for its size.
    """
    width, height = image.size
    check_size(width, height, max_pixels)
    if name == "JPEG":
        if image.info.get("progressive") or _has_single_scans(data, image):
            _check_scans(data, width * height)
    elif name == "TIFF":
        _check_tiff(data, image, max_pixels)
    elif _is_decoded_in_python(name, image):
        num_values = width * height * len(image.getbands())
        if num_values > MAX_SLOW_VALUES:
            raise UnreadablePhoto(
                f"too large for this kind of {name}: {width} x {height} pixels are"
                f" {num_values:,} values, the limit is {MAX_SLOW_VALUES:,}; save it as PNG"
            )


def estimate_bytes(name: Format, image: Image.Image, num_coded: int) -> int:
    """About how much memory it takes to decode an opened photo to an array, at its peak.

    Args:
        name: the format.
        image: opened, not loaded; a JPEG that is decoded smaller has its smaller size.
        num_coded: pixels that are coded in the file.
    """
    width, height = image.size
    kept = _BYTES_KEPT.get(image.mode, 4) + 3  # Pillow's pixels, and the array
    num_bytes = width * height * kept + num_coded * _BYTES_OPENED.get(name, 0)
    if name == "JPEG" and image.info.get("progressive"):
        num_bytes += 2 * len(image.getbands()) * num_coded  # all coefficients, 16 bits each
    return num_bytes


# Measured as the peak of a process over that of an idle one: see docs/guide/limits.md.
_BYTES_KEPT = {"1": 1, "L": 1, "P": 1, "I;16": 4, "I;16B": 4, "I;16L": 4, "I": 8}
_BYTES_OPENED: dict[Format, int] = {"WebP": 16, "AVIF": 8, "HEIC": 8, "JPEG 2000": 12, "TIFF": 4}


# --- JPEG ---


def _has_single_scans(data: bytes, image: Image.Image) -> bool:
    """Whether the first scan of a JPEG that is not progressive has some of its channels only.

    The decoder then goes through all scans before it puts out a pixel; else it ends with the first.
    """
    at = image.fp.tell() if image.fp is not None else 0  # type: ignore[attr-defined]
    bands = len(image.getbands())
    return data[at - 6 - 2 * bands : at - 3 - 2 * bands] != bytes((0, 6 + 2 * bands, bands))


def _check_scans(data: bytes, num_pixels: int) -> None:
    most = min(MAX_SCANS, MAX_SCANNED // max(num_pixels, 1))
    # Counting all finds at least as many: thumbnails and what hangs behind a photo count too.
    if data.count(_SOS) <= most:
        return
    num_scans = _count_scans(data, most + 1)
    if num_scans > most:
        raise UnreadablePhoto(
            f"too much work: a JPEG of {num_pixels:,} pixels in more than {most} passes; photos"
            " have about ten"
        )


def _count_scans(data: bytes, most: int) -> int:
    """The scans of a JPEG up to its end, or `most` if it has as many."""
    at, count = 2, 0
    while count < most:
        found = _MARKER.search(data, at)
        if found is None or found[0] == b"\xff\xd9":
            break
        count += found[0] == _SOS
        at = found.end() + int.from_bytes(data[found.end() : found.end() + 2], "big")
    return count


# --- TIFF, and what Pillow decodes in Python ---


def _check_tiff(data: bytes, image: Any, max_pixels: int) -> None:
    tags = image.tag_v2
    width, height = tags[256], tags[257]
    area = sum((right - left) * (bottom - top) for _, (left, top, right, bottom), *_ in image.tile)
    if area > 8 * width * height:
        raise UnreadablePhoto("damaged TIFF (its strips overlap)")
    tile = tags.get(322), tags.get(323)
    if None not in tile:
        if not all(isinstance(side, int) and side > 0 for side in tile):
            raise UnreadablePhoto("damaged TIFF (tiles without a size)")
        # Whole tiles are decoded, however little of them lies within the photo.
        if -(-width // tile[0]) * tile[0] * -(-height // tile[1]) * tile[1] > max_pixels:
            raise UnreadablePhoto(
                f"too large: tiles of {tile[0]} x {tile[1]} pixels for a TIFF of {width} x {height}"
            )
    if image.info.get("compression") in _JPEG_IN_TIFF:
        places = tags.get(273) or tags.get(324) or (0,)
        num_passes = -(-data.count(_SOS) // len(set(places)))
        if num_passes * width * height > MAX_SCANNED:
            raise UnreadablePhoto(
                f"too much work: a TIFF of {width * height:,} pixels in JPEGs of {num_passes}"
                " passes"
            )


def _is_decoded_in_python(name: Format, image: Any) -> bool:
    if name == "BMP":
        return image.info.get("compression") in _BMP_RLE
    return name == "PNM" and any(tile[0] != "raw" for tile in image.tile)


# --- WebP ---


def _read_webp_size(data: bytes) -> tuple[int, int] | None:
    """The canvas, which is given memory when the file is opened (RFC 9649)."""
    kind = data[12:16]
    if kind == b"VP8X" and len(data) >= 30:
        return 1 + int.from_bytes(data[24:27], "little"), 1 + int.from_bytes(data[27:30], "little")
    if kind == b"VP8L" and len(data) >= 25:
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8 " and len(data) >= 30:
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    return None


# --- JPEG 2000 ---


@dataclass(frozen=True, slots=True)
class _Boxed:
    """A box of a file of boxes (ISO/IEC 14496-12, 15444-1): its kind and where its content lies."""

    kind: bytes
    start: int
    end: int


def _list_boxes(data: bytes, start: int, end: int) -> Iterator[_Boxed]:
    while start + 8 <= end:
        length, kind = struct.unpack_from(">I4s", data, start)
        head = 8
        if length == 1 and start + 16 <= end:
            length, head = struct.unpack_from(">Q", data, start + 8)[0], 16
        if length == 0:
            length = end - start
        if length < head:
            return
        yield _Boxed(kind, start + head, min(start + length, end))
        start += length


def _check_jpeg_2000(data: bytes, max_pixels: int) -> None:
    """Bound what OpenJPEG sets up for tiles, channels, precincts and code-blocks (ISO 15444-1)."""
    at, end = 0, len(data)
    if not data.startswith(b"\xff\x4f"):
        boxes = (box for box in _list_boxes(data, 0, end) if box.kind == b"jp2c")
        stream = next(boxes, None)
        if stream is None:
            raise UnreadablePhoto("truncated JPEG 2000")
        at, end = stream.start, stream.end
    if data[at : at + 4] != b"\xff\x4f\xff\x51":
        raise UnreadablePhoto("damaged JPEG 2000 (no header)")
    try:
        x1, y1, x0, y0, tile_x, tile_y, grid_x, grid_y, num_channels = struct.unpack_from(
            ">8IH", data, at + 8
        )
        width, height = x1 - x0, y1 - y0
        if width <= 0 or height <= 0 or not tile_x or not tile_y:
            raise UnreadablePhoto("damaged JPEG 2000 (no size)")
        check_size(width, height, min(max_pixels, MAX_JPEG_2000_PIXELS))
        num_tiles = -(-(x1 - grid_x) // tile_x) * -(-(y1 - grid_y) // tile_y)
        if num_channels > 4:
            raise UnreadablePhoto(f"a JPEG 2000 with {num_channels} channels: save it with three")
        if num_tiles > MAX_TILES:
            raise UnreadablePhoto(f"too much work: a JPEG 2000 of {num_tiles:,} tiles")
        tile = min(tile_x, width), min(tile_y, height)
        for coding in _list_codings(data, at + 2, end):
            num_parts = num_tiles * num_channels * _count_parts(coding, tile)
            if num_parts > MAX_JPEG_2000_PARTS:
                raise UnreadablePhoto(
                    f"too much work: a JPEG 2000 of {width} x {height} pixels in"
                    f" {num_parts:,} parts"
                )
    except (struct.error, IndexError):
        raise UnreadablePhoto("truncated JPEG 2000") from None


@dataclass(frozen=True, slots=True)
class _Coding:
    """How a JPEG 2000 is cut up: layers, levels, logarithms of the sides of its parts."""

    num_layers: int
    num_levels: int
    block: tuple[int, int]
    precincts: bytes


def _list_codings(data: bytes, at: int, end: int) -> Iterator[_Coding]:
    """Those of the whole and, where they differ, of channels and tiles (COD and COC)."""
    layers, tile_end, num_markers = 1, 0, 0
    while at + 4 <= end:
        num_markers += 1
        if num_markers > 10 * MAX_TILES:
            raise UnreadablePhoto("too much work: a JPEG 2000 with too many headers")
        marker, length = struct.unpack_from(">HH", data, at)
        body = data[at + 4 : at + 2 + length]
        if marker == 0xFF90:  # a part of a tile
            part_length = int.from_bytes(body[2:6], "big")
            tile_end = at + part_length if part_length else end
        elif marker == 0xFF93:  # its data
            if tile_end <= at:
                return
            at = tile_end
            continue
        elif marker == 0xFFD9:
            return
        elif marker == 0xFF52:
            layers = int.from_bytes(body[2:4], "big")
            yield _Coding(layers, body[5], (body[6] + 2, body[7] + 2), _cut(body, 10, body[0]))
        elif marker == 0xFF53:
            yield _Coding(layers, body[2], (body[3] + 2, body[4] + 2), _cut(body, 7, body[1]))
        at += 2 + length


def _cut(body: bytes, at: int, style: int) -> bytes:
    return body[at:] if style & 1 else b""


def _count_parts(coding: _Coding, tile: tuple[int, int]) -> int:
    """Precincts, once for each layer over a hundred, and code-blocks of one tile and channel."""
    num = 0
    for level in range(min(coding.num_levels, 32) + 1):
        shift = coding.num_levels - level
        sides = [-(-side >> shift) if shift else side for side in tile]
        logs = coding.precincts[level] if level < len(coding.precincts) else 0xFF
        precinct = (logs & 15, logs >> 4)
        band = [log if level == 0 else max(log - 1, 0) for log in precinct]
        block = [min(own, most) for own, most in zip(coding.block, band, strict=True)]
        num_precincts, num_blocks = 1, 1
        for side, log, block_log in zip(sides, precinct, block, strict=True):
            num_precincts *= (side >> log) + 1
            num_blocks *= (side >> block_log) + 1
        num += num_precincts * (1 + coding.num_layers // 100) + num_blocks
    return num


# --- HEIC and AVIF ---


def _check_pictures(name: Format, data: bytes, max_pixels: int) -> None:
    """Bound the pictures that one is put together from (ISO/IEC 23008-12).

    A grid may name one of them thousands of times.
    """
    areas: dict[int, int] = {}
    parts: dict[int, list[int]] = {}
    with suppress(struct.error, IndexError, KeyError):  # the decoder will say what is damaged
        areas, parts = _read_pictures(data)
    num_parts = sum(map(len, parts.values()))
    if num_parts > MAX_TILES:
        raise UnreadablePhoto(f"too much work: a {name} put together from {num_parts:,} pictures")
    known: dict[int, int] = {}

    def add_up(item: int, depth: int) -> int:
        if depth > 4:
            raise UnreadablePhoto(f"damaged {name} (pictures within pictures)")
        if item not in known:
            inner = sum(add_up(part, depth + 1) for part in parts.get(item, ()))
            known[item] = inner or areas.get(item, 0)
        return known[item]

    most = max((add_up(item, 0) for item in parts), default=0)
    if most > 2 * max_pixels:
        raise UnreadablePhoto(
            f"too much work: a {name} put together from pictures of {most:,} pixels"
        )


def _read_pictures(data: bytes) -> tuple[dict[int, int], dict[int, list[int]]]:
    """Of each picture its pixels, and the pictures that it is put together from."""
    areas: dict[int, int] = {}
    parts: defaultdict[int, list[int]] = defaultdict(list)
    sizes: list[int] = []
    for meta in _list_boxes(data, 0, len(data)):
        if meta.kind != b"meta":
            continue
        for box in _list_boxes(data, meta.start + 4, meta.end):
            if box.kind == b"iref":
                wide = "I" if data[box.start] else "H"
                for ref in _list_boxes(data, box.start + 4, box.end):
                    if ref.kind == b"dimg":
                        item, count = struct.unpack_from(f">{wide}H", data, ref.start)
                        at = ref.start + struct.calcsize(f">{wide}H")
                        parts[item] += struct.unpack_from(f">{count}{wide}", data, at)
            elif box.kind == b"iprp":
                for inner in _list_boxes(data, box.start, box.end):
                    if inner.kind == b"ipco":
                        sizes = [_read_area(data, one) for one in _list_boxes_of(data, inner)]
                    elif inner.kind == b"ipma":
                        _read_associations(data, inner, sizes, areas)
    return areas, parts


def _list_boxes_of(data: bytes, box: _Boxed) -> Iterator[_Boxed]:
    return _list_boxes(data, box.start, box.end)


def _read_area(data: bytes, box: _Boxed) -> int:
    if box.kind != b"ispe":
        return 0
    width, height = struct.unpack_from(">II", data, box.start + 4)
    return int(width * height)


def _read_associations(data: bytes, box: _Boxed, sizes: list[int], areas: dict[int, int]) -> None:
    version, is_wide = data[box.start], data[box.start + 3] & 1
    (count,) = struct.unpack_from(">I", data, box.start + 4)
    at = box.start + 8
    for _ in range(count):
        if at >= box.end:
            return
        (item,) = struct.unpack_from(">I" if version else ">H", data, at)
        at += 4 if version else 2
        num, at = data[at], at + 1
        for _ in range(num):
            number = struct.unpack_from(">H", data, at)[0] & 0x7FFF if is_wide else data[at] & 0x7F
            at += 2 if is_wide else 1
            if 0 < number <= len(sizes) and sizes[number - 1]:
                areas[item] = sizes[number - 1]
