"""Places, weather, people, papers and watermarks: all of a drawn photo but the car."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from lotlens.drawn.scenery import (
    BAND_ROWS,
    OUTDOOR_PLACES,
    Camera,
    Light,
    Place,
    aim_camera,
    choose_light,
    paint_backdrop,
)
from lotlens.extras import import_extra

Floats = NDArray[np.float64]
Pixels = NDArray[np.float32]

SUPERSAMPLING = 2
"""Cars are painted at this many times the photo's size and averaged: smooth edges."""


def halve(large: NDArray[Any]) -> Pixels:
    """Averages [C, 2 H, 2 W] over squares of SUPERSAMPLING pixels, to [C, H, W]."""
    step = SUPERSAMPLING
    total = large[:, ::step, ::step].copy()
    for row in range(step):
        for column in range(step):
            if row or column:
                total += large[:, row::step, column::step]
    averaged: Pixels = np.asarray(total, dtype=np.float32) / np.float32(step * step)
    return averaged


def dot(a: NDArray[Any], b: NDArray[Any]) -> NDArray[Any]:
    """Scalar products of vectors [3, ...]."""
    product: NDArray[Any] = a[0] * b[0] + a[1] * b[1] + a[2] * b[2]
    return product


def column(colour: Floats) -> Pixels:
    """A colour [3] as a column [3, 1], in float32."""
    return colour.astype(np.float32)[:, None]


def rgb(red: float, green: float, blue: float) -> Pixels:
    """A colour as a column [3, 1]."""
    return np.array([[red], [green], [blue]], dtype=np.float32)


CAMERAS: tuple[tuple[str, float, float, float], ...] = (
    # Name, share, least and greatest turn from the front in degrees.
    ("front", 0.13, 0.0, 8.0),
    ("front-quarter", 0.36, 15.0, 62.0),
    ("side", 0.14, 70.0, 112.0),
    ("rear-quarter", 0.25, 118.0, 165.0),
    ("rear", 0.12, 170.0, 180.0),
)
EASY_CAMERAS: tuple[tuple[str, float, float, float], ...] = (
    ("front-quarter", 0.45, 15.0, 62.0),
    ("side", 0.20, 75.0, 105.0),
    ("rear-quarter", 0.35, 118.0, 160.0),
)


def choose_place(rng: np.random.Generator) -> tuple[Place, Light, float]:
    """A place, its light, and how much snow lies there."""
    places: tuple[Place, ...] = ("street", "lot", "field", "wall", "garage", "showroom")
    place = places[rng.choice(len(places), p=[0.26, 0.28, 0.14, 0.16, 0.08, 0.08])]
    night = bool(rng.random() < 0.14)
    light = choose_light(rng, place, night)
    winter = place in OUTDOOR_PLACES and rng.random() < 0.2
    return place, light, float(rng.uniform(0.25, 1.0)) if winter else 0.0


def choose_easy_place(rng: np.random.Generator) -> tuple[Place, Light, float]:
    """A place outdoors by day, its light, and no snow."""
    places: tuple[Place, ...] = ("street", "lot", "field")
    place = places[rng.choice(len(places), p=[0.35, 0.40, 0.25])]
    return place, choose_light(rng, place, night=False), 0.0


def lay_over(picture: Pixels, colours: Pixels, opacity: Pixels) -> None:
    """Puts colours (times opacity) over the picture [3, height, width], in place."""
    picture *= 1 - opacity
    picture += colours


def draw_person(
    rng: np.random.Generator,
    camera: Camera,
    foot: tuple[float, float],
    unit: float,
    lit: Floats,
) -> tuple[Pixels, Pixels]:
    """Somebody standing with the feet at a pixel, `unit` pixels a metre: colours and opacity."""
    scale = SUPERSAMPLING
    canvas = Image.new("RGBA", (camera.width * scale, camera.height * scale), (0, 0, 0, 0))
    draw = ImageDraw.Draw(canvas)
    tall = float(rng.uniform(1.58, 1.88))
    lean = float(rng.normal(0, 0.03))

    def tone(colour: Floats, shade: float = 1.0) -> tuple[int, int, int, int]:
        red, green, blue = (np.clip(colour * lit * shade, 0, 1) * 255).astype(int).tolist()
        return red, green, blue, 255

    def at(x: float, z: float) -> tuple[float, float]:
        return (
            (foot[0] + (x + lean * z) * unit * tall / 1.75) * scale,
            (foot[1] - z * unit * tall / 1.75) * scale,
        )

    def limb(points: Sequence[tuple[float, float]], thick: float, fill: Floats) -> None:
        width = max(int(thick * unit * scale), 1)
        for shade, share, shift in ((0.72, 1.0, 0.0), (1.0, 0.62, -0.16)):
            line = [at(x + shift * thick, z) for x, z in points]
            size = max(int(width * share), 1)
            draw.line(line, fill=tone(fill, shade), width=size, joint="curve")
            for x, y in line:
                half = size / 2
                draw.ellipse([x - half, y - half, x + half, y + half], fill=tone(fill, shade))

    # Clothes are mostly muted: greys with a little of one colour.
    coat = np.clip(rng.uniform(0.10, 0.55) + rng.uniform(-0.12, 0.16, 3), 0.05, 0.8)
    trousers = rng.uniform(0.08, 0.26) + rng.uniform(-0.03, 0.05, 3)
    skin = np.array([0.86, 0.66, 0.54]) * rng.uniform(0.6, 1.05)
    hair = np.array([0.22, 0.16, 0.11]) * rng.uniform(0.4, 2.2)
    stride = float(rng.uniform(0.03, 0.16))
    for side in (-1, 1):
        limb(
            [
                (side * 0.08, 0.88),
                (side * (0.09 + stride / 2), 0.48),
                (side * (0.08 + stride), 0.06),
            ],
            0.15,
            trousers,
        )
        limb([(side * (0.08 + stride), 0.04), (side * (0.12 + stride), 0.03)], 0.09, trousers * 0.5)
    limb([(-0.20, 1.36), (-0.27, 1.08), (-0.22, 0.86)], 0.11, coat * 0.85)
    limb([(0.20, 1.36), (0.30, 1.12), (0.16 + float(rng.uniform(-0.1, 0.2)), 0.94)], 0.11, coat)
    for half, shade, shift in ((0.21, 0.72, 0.0), (0.15, 1.0, -0.03)):
        draw.polygon(
            [
                at(shift - half, 1.42),
                at(shift + half, 1.42),
                at(shift + half * 0.9, 0.80),
                at(shift - half * 0.9, 0.80),
            ],
            fill=tone(coat, shade),
        )
    limb([(-0.13, 1.42), (0.13, 1.42)], 0.13, coat)
    limb([(0.0, 1.46), (0.0, 1.54)], 0.10, skin * 0.85)
    for half_x, half_z, middle, colour in (
        (0.105, 0.135, 1.66, hair),
        (0.085, 0.115, 1.625, skin),
        (0.105, 0.05, 1.745, hair),
    ):
        left, top = at(-half_x, middle + half_z)
        right, bottom = at(half_x, middle - half_z)
        draw.ellipse([left, top, right, bottom], fill=tone(colour))
    return _split_overlay(canvas)


def expose(rng: np.random.Generator, picture: Pixels, light: Light) -> Image.Image:
    """The lens and the sensor: exposure, white balance, vignette, blur, noise, sharpening."""
    height, width = picture.shape[1:]
    # Automatic exposure goes most of the way to a middling brightness, like any camera.
    bright = float(np.clip(picture, 0, 1).mean())
    aim = 0.36 if light.dark else 0.51
    gain = float(np.clip((aim / max(bright, 0.02)) ** 0.7, 0.6, 3.0) * np.exp(rng.normal(0, 0.12)))
    balance = gain * np.exp(rng.normal(0, 0.035, 3))
    columns = np.linspace(-1, 1, width, dtype=np.float32)
    rows = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    vignette = 1 - rng.uniform(0.0, 0.22) * (columns**2 + rows**2) / 2
    gains = balance.astype(np.float32)[:, None, None]
    contrast = np.float32(rng.uniform(0.92, 1.15) * 255)
    exposed = np.empty((height, width, 3), dtype=np.uint8)
    for top in range(0, height, BAND_ROWS):
        rows_in = slice(top, top + BAND_ROWS)
        band = picture[:, rows_in] * (vignette[rows_in] * gains)
        # A soft shoulder for highlights instead of a hard clip.
        high = np.flatnonzero(band > 0.8)
        band.ravel()[high] = 0.8 + 0.2 * np.tanh((band.ravel()[high] - 0.8) / 0.2)
        _store(exposed[rows_in], (band - np.float32(0.45)) * contrast + np.float32(0.45 * 255))
    image = Image.fromarray(exposed)
    blur = rng.random()
    if blur < 0.12:
        image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.7, 1.9)) * width / 320))
    elif blur < 0.18:
        image = _smear(image, int(rng.integers(3, 8)), vertical=bool(rng.random() < 0.3))
    elif blur < 0.5:
        image = image.filter(ImageFilter.UnsharpMask(1.0, int(rng.integers(30, 110)), 2))
    grainy = float(rng.uniform(2, 5) if not light.dark else rng.uniform(5, 13))
    developed = np.empty((height, width, 3), dtype=np.uint8)
    pixels = np.asarray(image)
    for top in range(0, height, BAND_ROWS):
        rows_in = slice(top, top + BAND_ROWS)
        band = np.moveaxis(pixels[rows_in], -1, 0).astype(np.float32)
        band += rng.standard_normal(band.shape[1:], dtype=np.float32) * grainy
        # Colours are noisy in coarser grains than brightness.
        coarse = (3, (band.shape[1] + 1) // 2, (width + 1) // 2)
        speckle = rng.standard_normal(coarse, dtype=np.float32) * np.float32(grainy * 0.4)
        speckle = speckle.repeat(2, axis=1).repeat(2, axis=2)
        band += speckle[:, : band.shape[1], :width]
        _store(developed[rows_in], band)
    return Image.fromarray(developed)


def _store(target: NDArray[np.uint8], band: NDArray[Any]) -> None:
    """Rounds [3, rows, width] values up to 255 into [rows, width, 3]."""
    target[:] = np.moveaxis(np.clip(band + np.float32(0.5), 0, 255).astype(np.uint8), 0, -1)


def _smear(image: Image.Image, length: int, *, vertical: bool) -> Image.Image:
    """Motion blur: the mean of shifted copies."""
    pixels = np.asarray(image, dtype=np.float32)
    axis = 0 if vertical else 1
    total = np.zeros_like(pixels)
    for step in range(length):
        total += np.roll(pixels, step - length // 2, axis=axis)
    return Image.fromarray((total / length).astype(np.uint8))


NO_CAR_KINDS = ("empty place", "person", "cabin", "document")
"""What the photos without a car show."""


def draw_other_photo(rng: np.random.Generator, kind: str, width: int, height: int) -> Image.Image:
    """A photo of no car; `kind` is one of NO_CAR_KINDS; RGB, `width` x `height`."""
    if kind == "document":
        return _draw_document(rng, width, height)
    place, light, snow = choose_place(rng)
    camera = aim_camera(
        distance=float(rng.uniform(6.0, 9.0)),
        height=float(rng.uniform(1.2, 1.8)),
        tilt=float(rng.uniform(0.02, 0.12)),
        roll=float(np.deg2rad(rng.normal(0, 1.5))),
        width=width,
        photo_height=height,
    )
    backdrop = paint_backdrop(rng, camera, light, place, clearance=1.5, snow=snow)
    picture = backdrop.copy()
    if kind == "person":
        lit = light.ambient + 0.4 * light.sun_colour + 0.6 * light.flash
        foot = (float(rng.uniform(0.3, 0.7)) * width, float(rng.uniform(0.98, 1.5)) * height)
        unit = float(rng.uniform(0.46, 0.62)) * height
        lay_over(picture, *draw_person(rng, camera, foot, unit, lit))
    elif kind == "cabin":
        lay_over(picture, *_draw_cabin(rng, camera))
    return expose(rng, picture, light)


def _draw_cabin(rng: np.random.Generator, camera: Camera) -> tuple[Pixels, Pixels]:
    """The view from the back seat: dashboard, wheel and pillars round the windscreen."""
    scale = SUPERSAMPLING
    width, height = camera.width * scale, camera.height * scale
    canvas = Image.new("RGBA", (width, height), (0, 0, 0, 0))
    draw = ImageDraw.Draw(canvas)
    tone = rng.uniform(24, 90) * np.array([1.0, rng.uniform(0.9, 1.0), rng.uniform(0.8, 1.05)])

    def fill(shade: float) -> tuple[int, int, int, int]:
        red, green, blue = np.clip(tone * shade, 0, 255).astype(int).tolist()
        return red, green, blue, 255

    def at(x: float, y: float) -> tuple[float, float]:
        return x * width, y * height

    def shape(points: Sequence[tuple[float, float]], shade: float) -> None:
        draw.polygon([at(x, y) for x, y in points], fill=fill(shade))

    sill = float(rng.uniform(0.44, 0.56))
    shape([(0, 0), (1, 0), (1, 0.12), (0.5, 0.07), (0, 0.12)], 1.7)
    shape([(0, 0), (0.10, 0.0), (0.17, 0.10), (0.02, sill + 0.06), (0, sill + 0.06)], 1.3)
    shape([(1, 0), (0.90, 0.0), (0.83, 0.10), (0.98, sill + 0.06), (1, sill + 0.06)], 1.2)
    shape([(0.42, 0.05), (0.60, 0.05), (0.585, 0.14), (0.435, 0.14)], 0.5)
    shape(
        [
            (0, sill + 0.02),
            (0.25, sill - 0.03),
            (0.75, sill - 0.03),
            (1, sill + 0.02),
            (1, 1),
            (0, 1),
        ],
        1.0,
    )
    shape([(0, sill + 0.14), (1, sill + 0.14), (1, 1), (0, 1)], 0.72)
    shape([(0.40, sill + 0.05), (0.60, sill + 0.05), (0.63, 1), (0.37, 1)], 1.25)
    shape(
        [(0.43, sill + 0.09), (0.57, sill + 0.09), (0.575, sill + 0.22), (0.425, sill + 0.22)], 0.3
    )
    for vent in (0.10, 0.72, 0.88):
        shape(
            [
                (vent, sill + 0.06),
                (vent + 0.09, sill + 0.06),
                (vent + 0.09, sill + 0.11),
                (vent, sill + 0.11),
            ],
            0.35,
        )
    column = float(rng.uniform(0.22, 0.28))
    middle, radius = sill + 0.18, 0.15
    for share, shade in ((1.0, 0.25), (0.98, 0.45)):
        x, y = at(column, middle)
        reach = radius * share * width
        draw.ellipse(
            [x - reach, y - reach * 0.92, x + reach, y + reach * 0.92],
            outline=fill(shade),
            width=max(int(0.028 * width * share), 1),
        )
    shape(
        [
            (column - 0.14, middle - 0.015),
            (column + 0.14, middle - 0.015),
            (column + 0.05, middle + 0.07),
            (column - 0.05, middle + 0.07),
        ],
        0.4,
    )
    for side in (0.24, 0.76):  # the front seats from behind
        shape([(side - 0.17, 1), (side - 0.15, 0.80), (side + 0.15, 0.80), (side + 0.17, 1)], 0.9)
        shape(
            [(side - 0.08, 0.79), (side - 0.07, 0.66), (side + 0.07, 0.66), (side + 0.08, 0.79)],
            1.05,
        )
    return _split_overlay(canvas)


def _split_overlay(canvas: Image.Image) -> tuple[Pixels, Pixels]:
    """Colours times opacity [3, height, width] and opacity [height, width] of a large RGBA."""
    pixels = np.moveaxis(np.asarray(canvas, dtype=np.float32) / 255, -1, 0)
    averaged = halve(np.concatenate([pixels[:3] * pixels[3], pixels[3:]]))
    return averaged[:3], averaged[3]


_WORDS = (
    "договор",
    "купли",
    "продажи",
    "транспортного",
    "средства",
    "покупатель",
    "продавец",
    "цвет",
    "год",
    "выпуска",
    "двигатель",
    "пробег",
    "подпись",
    "дата",
    "vehicle",
    "owner",
    "number",
    "issued",
    "date",
    "mileage",
)


def _draw_document(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """A sheet of paper with lines of text and a stamp on a table."""
    scale = SUPERSAMPLING
    table = rng.uniform(40, 150, 3).astype(int).tolist()
    canvas = Image.new("RGB", (width * scale, height * scale), tuple(table))
    paper = Image.new(
        "RGB", (int(height * scale * 1.1), int(height * scale * 1.3)), (238, 236, 228)
    )
    draw = ImageDraw.Draw(paper)
    size = max(int(height * scale / 26), 6)
    font, line = load_font(size), size
    while line < paper.height - 2 * size:
        words = rng.choice(_WORDS, size=int(rng.integers(1, 7)))
        draw.text((size, line), " ".join(words), fill=(40, 40, 52), font=font)
        line += int(size * rng.choice([1.5, 1.5, 2.6]))
    x, y, reach = paper.width * 0.68, paper.height * 0.62, paper.width * 0.13
    for share in (1.0, 0.8):
        box = [x - reach * share, y - reach * share, x + reach * share, y + reach * share]
        draw.ellipse(box, outline=(70, 80, 170), width=max(size // 5, 1))
    paper.putalpha(255)
    turned = paper.rotate(float(rng.normal(0, 9)), expand=True, resample=Image.Resampling.BILINEAR)
    corner = (int(canvas.width * rng.uniform(0.02, 0.25)), -int(size * rng.uniform(0, 5)))
    canvas.paste(turned, corner, turned)
    picture = np.moveaxis(np.asarray(canvas, dtype=np.float32) / np.float32(255), -1, 0)
    falloff = np.linspace(rng.uniform(0.55, 1.0), rng.uniform(0.55, 1.0), canvas.width)
    lamp = choose_light(rng, "garage", night=False)
    return expose(rng, halve(picture * falloff.astype(np.float32)), lamp)


@cache
def load_font(size: int) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib and writes Cyrillic.

    Raises:
        MissingExtra: lotlens[notebook] is not installed.
    """
    mpl = import_extra("matplotlib", "notebook")  # here: few photos carry letters, it is slow
    path = f"{mpl.get_data_path()}/fonts/ttf/DejaVuSans.ttf"
    return ImageFont.truetype(path, size, layout_engine=ImageFont.Layout.BASIC)


_WATERMARKS = ("АВТОДВОР", "lot-market", "Продам · торг", "CAR YARD 24", "автосалон «Причал»")


def add_watermark(rng: np.random.Generator, image: Image.Image) -> Image.Image:
    """A seller's mark over the photo: in a corner, or large across the middle."""
    text = str(rng.choice(_WATERMARKS))
    large = rng.random() < 0.35
    size = max(int(image.width * (0.115 if large else 0.06)), 7)
    layer = Image.new("L", image.size, 0)
    draw = ImageDraw.Draw(layer)
    if large:
        where = (image.width // 2, int(image.height * rng.uniform(0.35, 0.7)))
        draw.text(where, text, fill=int(rng.integers(70, 120)), font=load_font(size), anchor="mm")
    else:
        corner = int(rng.integers(3))
        margin = image.width // 40
        spots = (
            (margin, image.height - margin, "ls"),
            (image.width - margin, image.height - margin, "rs"),
            (image.width - margin, margin, "rt"),
        )
        x, y, anchor = spots[corner]
        draw.text((x, y), text, fill=210, font=load_font(size), anchor=anchor)
    ink = Image.new("RGB", image.size, (250, 250, 250) if rng.random() < 0.8 else (230, 60, 30))
    return Image.composite(ink, image, layer)
