"""Turns the bytes of one photo into an upright RGB array; it knows nothing of files and sizes.

The content decides what a file is, never its name. Only raster formats that cameras and web pages
use are opened; everything Pillow could run beyond them (EPS, WMF, ...) stays shut.
"""

from __future__ import annotations

import ctypes
import io
import logging
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, _imaging

from lotlens.errors import UnreadablePhoto
from lotlens.photos.formats import Format, looks_like_tga, name_stranger, recognise
from lotlens.photos.headers import MAX_PIXELS, check_opened, check_unopened, estimate_bytes
from lotlens.threads import ByteBudget, Held, call_in_time

TIME_LIMIT_S = 30.0
"""For one photo. What is read takes a few seconds at most: this is for kinds of files that nobody
has thought of."""

_ROOM = ByteBudget(1_000_000_000)
"""Memory for the pixels that all threads are decoding. A photo that needs more is let in alone."""

_INLINE_PIXELS = 8_000_000
"""Photos with more are decoded in a thread of their own, which can be left behind."""

_MUCH_BYTES = 50_000_000
"""After photos that take more, free memory goes back to the operating system."""

_SHORT_BYTES = 1_000_000
"""A JPEG's header in so many is read within a second, whatever it says."""

_STRIP_PIXELS = 2_000_000
"""Photos with more become RGB strip by strip, so that they are in memory once, not four times."""

# EXIF orientation -> what makes it upright (EXIF 2.32, tag 0x0112). 5 to 8 swap the sides.
_ORIENTATION_TAG = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_FROM_THE_END = {_UPRIGHT[orientation] for orientation in (3, 4, 6, 7)}
"""Those that put the first row last, or into the last column."""
_SIDEWAYS = {_UPRIGHT[orientation] for orientation in (5, 6, 7, 8)}


def decode(
    data: bytes,
    *,
    max_pixels: int = MAX_PIXELS,
    min_size: tuple[int, int] | None = None,
) -> NDArray[np.uint8]:
    """The photo as an upright RGB array, shape [H, W, 3], uint8, writable.

    EXIF rotation is applied. Grey, palette and CMYK become RGB; 16-bit grey is scaled to 8 bits;
    what is transparent becomes white, as on the web pages adverts come from; of an animation the
    first frame is taken. Colour profiles are not applied.

    Args:
        data: the file's bytes, in one of the formats of `formats.Format`.
        max_pixels: a photo whose header claims more pixels is refused before it is decoded.
        min_size: (width, height) of the upright photo that is needed at least. A larger JPEG is
            then decoded at 1/2, 1/4 or 1/8 of its size (libjpeg's scaled DCT), which is several
            times faster; other formats come in full.

    Raises:
        UnreadablePhoto: whatever is wrong with the bytes, or too much to ask; no other error comes
            out.
    """
    return decode_sized(data, max_pixels=max_pixels, min_size=min_size)[0]


def decode_sized(
    data: bytes,
    *,
    max_pixels: int = MAX_PIXELS,
    min_size: tuple[int, int] | None = None,
) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """As `decode`, and the (width, height) of the upright photo in full, whatever was decoded."""
    with decoding(data, max_pixels=max_pixels, min_size=min_size) as found:
        return found


def read_size(data: bytes, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """The (width, height) that a photo's header claims, as it lies in the file; cheap.

    Raises:
        UnreadablePhoto: `decode` would refuse it before it decoded anything.
    """
    name = _recognise(data)
    try:
        num_opening = check_unopened(name, data, max_pixels)
        _hush_pillow()
        with (
            _ROOM.hold(num_opening) if num_opening else nullcontext(),
            _open(name, io.BytesIO(data)) as image,
        ):
            check_opened(name, data, image, max_pixels)
            return image.size
    except UnreadablePhoto:
        raise
    except MemoryError:
        raise UnreadablePhoto(f"not enough memory to decode this {name}") from None
    except Exception as error:
        raise UnreadablePhoto(_explain(error, name)) from error


@contextmanager
def decoding(
    data: bytes,
    *,
    max_pixels: int = MAX_PIXELS,
    min_size: tuple[int, int] | None = None,
    limit_s: float = TIME_LIMIT_S,
    room: ByteBudget = _ROOM,
) -> Iterator[tuple[NDArray[np.uint8], tuple[int, int]]]:
    """As `decode_sized`, with room for the pixels in memory until the block ends.

    Make the photo small within the block: all threads share that room, and wait for it. One must
    not wait for a second photo in it.

    Args:
        data: as for `decode`.
        max_pixels: likewise.
        min_size: likewise.
        limit_s: how long decoding may take.
        room: what is shared.

    Raises:
        UnreadablePhoto: as `decode`; or the block ran out of memory.
    """
    holding: list[Held] = []
    try:
        yield _decode(data, max_pixels, min_size, limit_s, room, holding)
    except MemoryError:
        raise UnreadablePhoto("not enough memory for this photo") from None
    finally:
        for held in holding:
            if held.num_bytes > _MUCH_BYTES:
                _return_memory()
            held.give_back()


def _decode(
    data: bytes,
    max_pixels: int,
    min_size: tuple[int, int] | None,
    limit_s: float,
    room: ByteBudget,
    holding: list[Held],
) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """Decodes; what is then in `holding` is to be given back."""
    name = _recognise(data)
    stream = (_ShortTimedBytes if name == "PNM" else _TimedBytes)(data)
    stream.deadline_s = time.monotonic() + limit_s
    try:
        num_opening = check_unopened(name, data, max_pixels)
        # What takes much memory as soon as it is opened has a header that was read before.
        if num_opening:
            holding.append(room.hold(num_opening))
            stream.deadline_s = time.monotonic() + limit_s
        _hush_pillow()
        # Looking at the clock for each field of a header would take longer than reading it.
        is_short = name == "JPEG" and len(data) <= _SHORT_BYTES
        with _open(name, io.BytesIO(data) if is_short else stream) as image:
            check_opened(name, data, image, max_pixels)
            if is_short:
                image.fp = stream
            num_coded = image.width * image.height
            width, height = image.size
            if min_size is not None and name == "JPEG":
                swapped = _read_orientation(image) >= 5
                image.draft(None, min_size[::-1] if swapped else min_size)
            if not holding:
                holding.append(room.hold(estimate_bytes(name, image, num_coded)))
                stream.deadline_s = time.monotonic() + limit_s
            if num_coded <= _INLINE_PIXELS:
                pixels, is_swapped = _load(image, name)
            else:
                owner = holding[0].share()

                def load() -> tuple[NDArray[np.uint8], bool]:
                    try:
                        return _load(image, name)
                    finally:
                        owner.give_back()

                pixels, is_swapped = call_in_time(load, limit_s, name="decoder")
    except UnreadablePhoto:
        raise
    except MemoryError:
        raise UnreadablePhoto(f"not enough memory to decode this {name}") from None
    except Exception as error:
        if time.monotonic() > stream.deadline_s:
            raise UnreadablePhoto(
                f"too much work: a {name} that takes over {limit_s:g} s"
            ) from None
        # Decoders meet hostile bytes with every kind of exception; all mean the same to a caller.
        raise UnreadablePhoto(_explain(error, name)) from error
    return pixels, (height, width) if is_swapped else (width, height)


class _TimedBytes(io.BytesIO):
    """A file that cannot be read any more once the time is up, which ends most decoders."""

    deadline_s = 0.0

    def read(self, size: int | None = -1, /) -> bytes:
        if time.monotonic() > self.deadline_s:
            raise TimeoutError
        return super().read(size)


class _ShortTimedBytes(_TimedBytes):
    """Given out in small pieces: Pillow's reader of texts takes time by the square of a piece."""

    def read(self, size: int | None = -1, /) -> bytes:
        return super().read(min(size, 1 << 16) if size is not None and size > 0 else size)


def _load(image: ImageFile.ImageFile, name: Format) -> tuple[NDArray[np.uint8], bool]:
    """The upright pixels [H, W, 3] of an opened image, and whether turning swapped its sides."""
    image.load()
    if name in ("WebP", "AVIF"):
        # Each keeps the pixels twice more.
        image._decoder = None  # type: ignore[attr-defined]
        image.fp = None
    # PNG may carry its EXIF behind the pixels, so it is read after loading.
    turn = _UPRIGHT.get(_read_orientation(image))
    width, height = image.size
    num_rows = max(_STRIP_PIXELS // width, 1)
    is_swapped = turn in _SIDEWAYS
    if num_rows >= height:
        rgb = _to_rgb(image, name)
        pixels = np.array(rgb if turn is None else rgb.transpose(turn))
        return pixels, is_swapped
    shape = (width, height, 3) if is_swapped else (height, width, 3)
    pixels = np.empty(shape, np.uint8)
    for top in range(0, height, num_rows):
        bottom = min(top + num_rows, height)
        strip = _to_rgb(_crop_rows(image, top, bottom), name)
        if turn is not None:
            strip = strip.transpose(turn)
        rows = slice(top, bottom)
        if turn in _FROM_THE_END:
            rows = slice(height - bottom, height - top)
        place = pixels[:, rows] if is_swapped else pixels[rows]
        place[:] = np.asarray(strip)
    image.close()  # gives Pillow's pixels back now, not once a thread has come to its end
    return pixels, is_swapped


def _crop_rows(image: Image.Image, top: int, bottom: int) -> Image.Image:
    """A strip of an image, with its palette and what it says of transparency."""
    return image.crop((0, top, image.width, bottom))


def _recognise(data: bytes) -> Format:
    name = recognise(data)
    if name is None and looks_like_tga(data):
        return "TGA"
    if name is None:
        raise UnreadablePhoto(name_stranger(data))
    return name


def _open(name: Format, stream: io.BytesIO) -> ImageFile.ImageFile:
    """The format's own opener: `Image.open` would warn of sizes that `decode` itself checks."""
    if name == "JPEG":
        from PIL.JpegImagePlugin import JpegImageFile

        return JpegImageFile(stream)
    if name == "PNG":
        from PIL.PngImagePlugin import PngImageFile

        return PngImageFile(stream)
    if name == "WebP":
        from PIL.WebPImagePlugin import WebPImageFile

        return WebPImageFile(stream)
    if name == "GIF":
        from PIL.GifImagePlugin import GifImageFile

        return GifImageFile(stream)
    if name == "BMP":
        from PIL.BmpImagePlugin import BmpImageFile

        return BmpImageFile(stream)
    if name == "TIFF":
        from PIL.TiffImagePlugin import TiffImageFile

        _hush_libtiff()
        return TiffImageFile(stream)
    if name == "AVIF":
        from PIL.AvifImagePlugin import AvifImageFile

        return AvifImageFile(stream)
    if name == "JPEG 2000":
        from PIL.Jpeg2KImagePlugin import Jpeg2KImageFile

        return Jpeg2KImageFile(stream)
    if name == "PNM":
        from PIL.PpmImagePlugin import PpmImageFile

        return PpmImageFile(stream)
    if name == "TGA":
        from PIL.TgaImagePlugin import TgaImageFile

        return TgaImageFile(stream)
    # Loaded late: it is slow to import and most lots have no HEIC.
    from pillow_heif import HeifImageFile

    heif: ImageFile.ImageFile = HeifImageFile(stream)
    return heif


def _read_orientation(image: Image.Image) -> int:
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:
        return 1  # damaged EXIF beside sound pixels: the photo is worth more than its notes
    return orientation if isinstance(orientation, int) else 1


def _to_rgb(image: Image.Image, name: Format) -> Image.Image:
    if image.mode.startswith("I"):
        grey = np.asarray(image)
        if grey.min() < 0 or grey.max() > 65_535:
            raise UnreadablePhoto(f"{name} with 32-bit pixels: save it with 8 or 16 bits")
        return Image.fromarray(((grey.astype(np.uint32) + 128) // 257).astype(np.uint8)).convert(
            "RGB"
        )
    if image.mode == "F":
        raise UnreadablePhoto(f"{name} with floating-point pixels: save it with 8 or 16 bits")
    if image.has_transparency_data:
        seen = image.convert("RGBA")
        white = Image.new("RGBA", seen.size, "white")
        return Image.alpha_composite(white, seen).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _explain(error: Exception, name: Format) -> str:
    """One short sentence for a table cell, without the object addresses Pillow puts in."""
    text = " ".join(str(error).split())
    if isinstance(error, EOFError) or "truncated" in text.lower():
        return f"truncated {name}"
    if isinstance(error, ImportError):
        return f"this installation cannot read {name}: {text}"
    return f"damaged {name}" + (f" ({text[:80]})" if text and " at 0x" not in text else "")


def _return_memory() -> None:
    """Has glibc return what is free to the operating system.

    It keeps the blocks of a large photo otherwise, for each thread that has decoded one. Other
    systems have no such function, and no need.
    """
    with suppress(AttributeError, OSError, TypeError):  # Windows cannot name the process itself
        ctypes.CDLL(None).malloc_trim(0)


@cache
def _hush_libtiff() -> None:
    """Keeps libtiff's own lines ("TIFFFetchNormalTag: ...") off the terminal, which name no file.

    Pillow sees by the pixels whether a photo could be read and does not need them. Where libtiff
    is part of Pillow's binary and out of reach (Windows), the lines stay.
    """
    with suppress(AttributeError, OSError):
        libtiff = ctypes.CDLL(_imaging.__file__)
        for handler in (libtiff.TIFFSetErrorHandler, libtiff.TIFFSetWarningHandler):
            handler.argtypes = [ctypes.c_void_p]
            handler.restype = ctypes.c_void_p
            handler(None)


def _hush_pillow() -> None:
    """Keeps Pillow's remarks on odd metadata ("Corrupt EXIF data") off the user's screen.

    `warnings.catch_warnings` swaps the filters of the whole process and is not safe in threads. One
    lasting filter is. It covers only Pillow's readers of metadata, so that an application's own
    setting for decompression bombs (raised in PIL.Image) stays in force. It is put back if somebody
    has cleared the filters, as test runners do.
    """
    # It also logs an error before it raises one, which Python writes where nobody has set up logs.
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    for module in ("PIL.TiffImagePlugin", "PIL.PngImagePlugin"):
        if not any(
            action == "ignore" and getattr(where, "pattern", None) == module
            for action, _, _, where, _ in warnings.filters
        ):
            warnings.filterwarnings("ignore", category=UserWarning, module=module)
