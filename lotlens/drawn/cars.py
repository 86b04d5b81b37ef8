"""Draws one photo of a car for the sample lot; knows no files, labels or faults.

The car is painted in two steps: its quads are drawn far to near into a picture of quad numbers, and
then every pixel looks up its material and normal on the body's texture sheets and is shaded at
once in numpy. Everything random comes from the generator that is handed in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from scipy import spatial

from lotlens.drawn.bodies import Body, Part, build_body
from lotlens.drawn.designs import DESIGNS, WheelStyle
from lotlens.drawn.outlines import Material
from lotlens.drawn.scenery import (
    OUTDOOR_PLACES,
    Camera,
    Light,
    aim_camera,
    paint_backdrop,
    sample_noise,
)
from lotlens.drawn.scenes import (
    CAMERAS,
    EASY_CAMERAS,
    SUPERSAMPLING,
    Floats,
    Pixels,
    choose_easy_place,
    choose_place,
    column,
    dot,
    draw_person,
    expose,
    halve,
    lay_over,
    rgb,
)

_CHUNK = 8192

PAINTS: tuple[tuple[float, float, float], ...] = (
    (0.86, 0.86, 0.85),
    (0.90, 0.88, 0.83),
    (0.60, 0.62, 0.64),
    (0.42, 0.44, 0.47),
    (0.10, 0.10, 0.11),
    (0.06, 0.07, 0.09),
    (0.55, 0.07, 0.07),
    (0.38, 0.05, 0.09),
    (0.10, 0.19, 0.46),
    (0.06, 0.12, 0.28),
    (0.32, 0.52, 0.66),
    (0.08, 0.30, 0.20),
    (0.40, 0.46, 0.30),
    (0.66, 0.58, 0.42),
    (0.46, 0.34, 0.24),
    (0.82, 0.62, 0.12),
    (0.80, 0.34, 0.10),
    (0.34, 0.20, 0.36),
)
"""White, silver, greys, blacks, reds, blues, greens, sand, brown, yellow, orange, plum."""
_PAINT_WEIGHTS = np.array([12, 5, 12, 9, 8, 6, 7, 4, 7, 5, 4, 4, 2, 4, 3, 2, 2, 2], dtype=float)

# For each material: red, green, blue; mirror strength head-on; its growth at grazing angles;
# strength and sharpness of the sun's glint.
_PALETTE: dict[Material, tuple[float, float, float, float, float, float, float]] = {
    Material.PAINT: (0.0, 0.0, 0.0, 0.06, 0.55, 0.5, 120.0),
    Material.GLASS: (0.10, 0.11, 0.12, 0.12, 0.85, 0.9, 300.0),
    Material.CABIN: (0.035, 0.035, 0.035, 0.11, 0.85, 0.9, 300.0),
    Material.PLASTIC: (0.12, 0.12, 0.125, 0.02, 0.12, 0.08, 20.0),
    Material.CHROME: (0.52, 0.53, 0.55, 0.50, 0.40, 0.8, 60.0),
    Material.LAMP: (0.88, 0.89, 0.90, 0.14, 0.5, 0.9, 80.0),
    Material.LAMP_BOWL: (0.50, 0.52, 0.55, 0.14, 0.6, 0.9, 80.0),
    Material.TAIL_LAMP: (0.62, 0.04, 0.05, 0.07, 0.4, 0.5, 80.0),
    Material.INDICATOR: (0.85, 0.42, 0.08, 0.07, 0.4, 0.5, 80.0),
    Material.REVERSE_LAMP: (0.82, 0.80, 0.80, 0.08, 0.4, 0.5, 80.0),
    Material.PLATE: (0.88, 0.88, 0.86, 0.02, 0.1, 0.1, 20.0),
    Material.INK: (0.12, 0.12, 0.14, 0.02, 0.1, 0.1, 20.0),
    Material.TYRE: (0.085, 0.085, 0.09, 0.0, 0.06, 0.03, 10.0),
    Material.RIM: (0.58, 0.59, 0.61, 0.10, 0.3, 0.6, 40.0),
    Material.GAP: (0.03, 0.03, 0.035, 0.0, 0.03, 0.0, 10.0),
    Material.SEAM: (0.0, 0.0, 0.0, 0.01, 0.1, 0.0, 10.0),
    Material.FOG_LAMP: (0.75, 0.77, 0.80, 0.12, 0.5, 0.8, 80.0),
}
_TABLE = np.array([_PALETTE[material] for material in Material], dtype=np.float32)


@dataclass(frozen=True)
class Finish:
    """How one car looks beside its shape.

    Attributes:
        paint: colour of the bodywork.
        metallic: 0 for plain paint, 1 for metallic.
        wheels: one of its design's wheel styles.
        dirt, snow: 0 to 1.
        lamps_on: headlamps and tail lamps shine.
        tint: 0 to 1, darkness of the panes.
        grain: shifts the noise of dirt and snow.
    """

    paint: tuple[float, float, float]
    metallic: float
    wheels: WheelStyle
    dirt: float = 0.0
    snow: float = 0.0
    lamps_on: bool = False
    tint: float = 0.0
    grain: float = 0.0


@dataclass(frozen=True)
class Stand:
    """Where a car stands: its turn in radians (0: its front to the camera) and (X, Y) in metres."""

    turn: float
    x: float = 0.0
    y: float = 0.0

    @property
    def rotation(self) -> Floats:
        """[3, 3]: world = rotation @ (car point - the point midway between its axles)."""
        c, s = float(np.cos(self.turn)), float(np.sin(self.turn))
        facing = np.array([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]])
        turned: Floats = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]]) @ facing
        return turned

    def place(self, body: Body, points: Floats) -> Floats:
        """World points [..., 3] of car points."""
        anchor = np.array([body.design.middle, 0.0, 0.0])
        placed: Floats = (points - anchor) @ self.rotation.T + np.array([self.x, self.y, 0.0])
        return placed

    def unplace(self, body: Body, points: Floats) -> Floats:
        """Car points [..., 3] of world points."""
        anchor = np.array([body.design.middle, 0.0, 0.0])
        found: Floats = (points - np.array([self.x, self.y, 0.0])) @ self.rotation + anchor
        return found


def outline_body(body: Body) -> Floats:
    """Corner points [N, 3] of a body in car axes."""
    return np.concatenate([part.corners.reshape(-1, 3) for part in body.parts])


def paint_car(
    body: Body, finish: Finish, stand: Stand, camera: Camera, light: Light
) -> tuple[Pixels, Pixels]:
    """One car as the camera sees it.

    Returns:
        Colours [3, height, width] times opacity, and opacity [height, width].
    """
    scale = SUPERSAMPLING
    large = replace(
        camera,
        focal=camera.focal * scale,
        centre=(camera.centre[0] * scale, camera.centre[1] * scale),
        width=camera.width * scale,
        height=camera.height * scale,
    )
    eye = stand.unplace(body, camera.position)
    canvas = Image.new("I", (large.width, large.height), 0)
    mesh = _join_mesh(body.index, finish.wheels)
    quads = _draw_quads(canvas, body, mesh, stand, large, eye)
    number = np.array(canvas)
    colours = np.zeros((3, camera.height * camera.width), dtype=np.float32)
    known = np.zeros(camera.height * camera.width, dtype=np.float32)
    # The small pixels on each large one's diagonal are shaded, all of them count for opacity:
    # edges as smooth as if all were shaded, at half the work.
    for corner in range(scale):
        layer = number[corner::scale, corner::scale].ravel()
        covered = np.flatnonzero(layer)
        known[covered] += 1
        # In chunks that stay in the processor's cache: three times as fast as all at once.
        for start in range(0, len(covered), _CHUNK):
            spot = covered[start : start + _CHUNK]
            rows, columns = np.divmod(spot.astype(np.int32), np.int32(camera.width))
            x = (columns * scale + corner).astype(np.float32) + np.float32(0.5)
            y = (rows * scale + corner).astype(np.float32) + np.float32(0.5)
            texel, place, flip = quads.find_texels(layer[spot] - 1, x, y)
            normal = body.normal.take(texel, axis=1)
            normal[1] *= flip
            colours[:, spot] += _shade(
                body.material.take(texel),
                normal,
                body.height.take(texel),
                place,
                _cast(large, stand, x, y),
                finish,
                light,
                stand,
            )
    opacity = halve((number > 0)[None].astype(np.float32)).ravel() * (known > 0)
    colours *= opacity / np.maximum(known, 1)
    shape = (camera.height, camera.width)
    return colours.reshape(3, *shape), opacity.reshape(shape).astype(np.float32, copy=False)


def _cast(camera: Camera, stand: Stand, x: Pixels, y: Pixels) -> Pixels:
    """Unit rays [3, N] in car axes through pixel positions."""
    turned = (camera.axes @ stand.rotation).astype(np.float32)
    across = (x - np.float32(camera.centre[0])) / np.float32(camera.focal)
    down = (y - np.float32(camera.centre[1])) / np.float32(camera.focal)
    ray = turned[0][:, None] * across + turned[1][:, None] * down + turned[2][:, None]
    unit: Pixels = np.asarray(ray / np.sqrt(dot(ray, ray)), dtype=np.float32)
    return unit


@dataclass(frozen=True)
class _Quads:
    """The drawn quads: where on the sheets each of their pixels lies.

    Attributes:
        table: [10, Q] the column and the row of the sheet a pixel to the right, then a pixel
            down, then at pixel (0, 0); the sheet's offset, columns and rows; -1 where its normals
            have their y turned round, else 1. All of it is exact in float32 (offsets < 2**24).
    """

    table: Pixels

    def find_texels(
        self, quad: NDArray[np.int32], x: Pixels, y: Pixels
    ) -> tuple[NDArray[np.int32], tuple[Pixels, Pixels], Pixels]:
        """Where pixels (x, y) lie on their quads.

        Returns:
            Texel numbers [N], their (column, row) on the sheet, the sign of their normals' y.
        """
        right, right_row, down, down_row, base, base_row, offset, columns, rows, flip = (
            self.table.take(quad, axis=1)
        )
        column = np.rint(base + right * x + down * y)
        row = np.rint(base_row + right_row * x + down_row * y)
        column, row = np.clip(column, 0, columns - 1), np.clip(row, 0, rows - 1)
        texel = offset + row * columns + column
        return texel.astype(np.int32), (column, row), flip


@dataclass(frozen=True)
class _Mesh:
    """All quads of a body on one style of wheels, each array one row a quad."""

    parts: tuple[Part, ...]
    part_of: NDArray[np.int64]
    corners: Floats
    middles: Floats
    normals: Floats
    texels: Floats
    sheets: Floats


@cache
def _join_mesh(index: int, wheels: WheelStyle) -> _Mesh:
    body = build_body(index)
    parts = (*body.parts, *body.wheels[wheels])
    counts = [len(part.corners) for part in parts]
    corners = np.concatenate([part.corners for part in parts])
    # Offset, columns and rows of the sheet; the sign of its normals' y.
    sheets = np.array([(*part.sheet, -1.0 if part.mirrored else 1.0) for part in parts])
    return _Mesh(
        parts=parts,
        part_of=np.repeat(np.arange(len(parts)), counts),
        corners=corners,
        middles=corners.mean(axis=1),
        normals=np.concatenate([part.normals for part in parts]),
        texels=np.concatenate([part.texels for part in parts]),
        sheets=np.repeat(sheets, counts, axis=0),
    )


def _draw_quads(
    canvas: Image.Image, body: Body, mesh: _Mesh, stand: Stand, camera: Camera, eye: Floats
) -> _Quads:
    """Draws quad numbers (from 1) far to near; quads turned away are left out."""
    layers = np.ones(len(mesh.parts))
    for number, part in enumerate(mesh.parts):
        if part.over_from is not None:
            axis, bound = part.over_from
            beyond = eye[axis] > bound if bound > 0 else eye[axis] < bound
            layers[number] = 2 if beyond else 0
    seen = np.flatnonzero(dot((eye - mesh.middles).T, mesh.normals.T) > 0)
    distance = np.linalg.norm(mesh.middles[seen] - eye, axis=-1)
    seen = seen[np.lexsort((-distance, layers[mesh.part_of[seen]]))]
    pixels, depths = camera.project(stand.place(body, mesh.corners[seen]))
    in_front = (depths > 0.3).all(axis=1)
    pixels, seen = pixels[in_front], seen[in_front]
    texel = mesh.texels[seen]

    draw = ImageDraw.Draw(canvas)
    for number, polygon in enumerate(pixels.reshape(-1, 8).tolist(), start=1):
        draw.polygon(polygon, fill=number)

    # Least squares for the map from pixels to texels; the ridge keeps slivers from running away.
    middle, texel_middle = pixels.mean(axis=1), texel.mean(axis=1)
    spread = pixels - middle[:, None]
    gram = np.einsum("qci,qcj->qij", spread, spread)
    cross = np.einsum("qci,qcj->qij", spread, texel - texel_middle[:, None])
    xx, yy, xy = gram[:, 0, 0] + 0.4, gram[:, 1, 1] + 0.4, gram[:, 0, 1]
    scale = (1 / (xx * yy - xy * xy))[:, None]
    right = (yy[:, None] * cross[:, 0] - xy[:, None] * cross[:, 1]) * scale
    down = (xx[:, None] * cross[:, 1] - xy[:, None] * cross[:, 0]) * scale
    base = texel_middle - middle[:, :1] * right - middle[:, 1:] * down
    table = np.concatenate([right, down, base, mesh.sheets[seen]], axis=1)
    return _Quads(np.ascontiguousarray(table.T, dtype=np.float32))


@cache
def _draw_skyline() -> Pixels:
    """Heights (sine of elevation) of what stands round the car, for mirrors, by azimuth [512]."""
    rng = np.random.default_rng(11)
    blocks = np.repeat(rng.uniform(0.05, 0.22, 32), 16)
    smooth = np.convolve(np.tile(blocks, 3), np.ones(9) / 9, mode="same")[512:1024]
    return smooth.astype(np.float32)


def _shade(
    material: NDArray[np.uint8],
    normal: Pixels,
    height: Pixels,
    place: tuple[Pixels, Pixels],
    ray: Pixels,
    finish: Finish,
    light: Light,
    stand: Stand,
) -> Pixels:
    """Colours [3, N] of pixels, from their materials, normals and unit rays [3, N] in car axes.

    `place` is their column and row on the sheet, for the noise of dirt and snow.
    """
    table = _TABLE.copy()
    paint = np.array(finish.paint, dtype=np.float32)
    table[Material.PAINT, :3] = paint
    table[Material.PAINT, 3] += 0.05 * finish.metallic
    table[Material.SEAM, :3] = paint * 0.30
    table[Material.GLASS, :3] *= 1.0 - 0.75 * finish.tint
    entry = np.ascontiguousarray(table.T).take(material, axis=1)
    albedo, up = entry[:3], normal[2]

    facing = np.clip(-dot(ray, normal), 0.02, 1.0)
    if finish.metallic > 0:
        flop = 1 + np.float32(finish.metallic) * (0.35 * facing - 0.22)
        albedo = albedo * np.where(material == Material.PAINT, flop, np.float32(1))

    clean = np.ones_like(up)
    if finish.dirt > 0 or finish.snow > 0:
        tile = sample_noise(place[0] + finish.grain, place[1], 0.35, cloudy=True)
        if finish.dirt > 0:
            low = np.clip(1.15 - height / 0.85, 0, 1)
            grime = np.clip(np.float32(finish.dirt) * (low + 0.18) * (1 + 0.35 * tile), 0, 0.85)
            albedo = albedo * (1 - grime) + grime * rgb(0.40, 0.34, 0.27)
            clean = 1 - grime
        if finish.snow > 0:
            lying = np.clip((up - 0.45) * 4, 0, 1)
            lying = lying * np.clip((tile + np.float32(4 * finish.snow - 1.6)) * 1.6, 0, 1)
            albedo = albedo * (1 - lying) + lying * rgb(0.92, 0.94, 0.97)
            clean = np.minimum(clean, 1 - lying)

    sun = (light.sun @ stand.rotation).astype(np.float32)[:, None]
    ambient, sunlight = column(light.ambient), column(light.sun_colour)
    low_shade = np.where(up > 0.5, np.float32(1), np.clip(0.55 + height * 0.65, 0, 1))
    lit = (0.62 + 0.38 * up) * low_shade * ambient + np.clip(dot(sun, normal), 0, 1) * sunlight
    if light.flash > 0:
        lit = lit + np.float32(light.flash) * facing

    mirror = ray + 2 * facing * normal
    strength = (entry[3] + entry[4] * (1 - facing) ** 4) * clean
    world = stand.rotation.astype(np.float32) @ mirror
    colour = albedo * lit * (1 - strength) + _reflect(world, light) * strength
    if sunlight.any():
        shine = np.clip(dot(sun, mirror), 0, 1)
        bright = np.flatnonzero(shine > 0.8)  # elsewhere the powers vanish
        glint = shine[bright] ** entry[6, bright] * entry[5, bright] * clean[bright]
        colour[:, bright] += glint * sunlight * np.float32(1.3)
    if finish.lamps_on:
        colour = np.where(material == Material.LAMP, rgb(1.25, 1.2, 1.0), colour)
        bowl = np.maximum(colour, rgb(0.75, 0.72, 0.62))
        colour = np.where(material == Material.LAMP_BOWL, bowl, colour)
        tail = np.maximum(colour, rgb(0.95, 0.10, 0.08))
        colour = np.where(material == Material.TAIL_LAMP, tail, colour)
    shaded: Pixels = np.clip(colour, 0, 1.4)
    return shaded


def _reflect(direction: Pixels, light: Light) -> Pixels:
    """What a mirror shows in world directions [3, N]: sky, a skyline of houses, the road."""
    up = direction[2]
    azimuth = np.arctan2(direction[0], direction[1])
    place = ((azimuth * np.float32(0.5 / np.pi) + 0.5) * 511).astype(np.int32)
    skyline = _draw_skyline().take(place)
    rise = np.clip(up, 0, 1)
    horizon, zenith, road = column(light.horizon), column(light.zenith), column(light.road)
    over = np.clip((up - skyline) * 14 + 0.5, 0, 1)
    under = np.clip(-up * 14 + 0.3, 0, 1)
    # Sky over houses over road, as shares of the three colours.
    share_sky = over * (1 - under)
    near_horizon = share_sky * (1 - rise) + 0.38 * (1 - over) * (1 - under)
    mixed: Pixels = horizon * near_horizon + zenith * (share_sky * rise) + road * under
    return mixed


def draw_car_photo(
    rng: np.random.Generator, index: int, width: int, height: int, *, easy: bool = False
) -> Image.Image:
    """A photo of class `index` as a dealer might take it; RGB, `width` x `height`.

    An easy one is taken by day, from a corner or the side, with no other car and nothing in front.
    """
    body = build_body(index)
    place, light, snow = choose_easy_place(rng) if easy else choose_place(rng)
    stand = Stand(_choose_turn(rng, EASY_CAMERAS if easy else CAMERAS))
    finish = _choose_finish(rng, body, light, snow)
    camera = _frame_car(rng, body, stand, width, height)
    corners = stand.place(body, outline_body(body))
    backdrop = paint_backdrop(
        rng, camera, light, place, clearance=float(corners[:, 1].max()) + 0.25, snow=snow
    )
    picture = backdrop.copy()
    if not easy and rng.random() < 0.14 and place in ("street", "lot", "field"):
        _add_neighbour(rng, picture, camera, light, float(corners[:, 1].max()) + 1.6, snow)
    _cast_shadow(picture, body, stand, camera, light)
    colours, opacity = paint_car(body, finish, stand, camera, light)
    lay_over(picture, colours, opacity)
    if finish.lamps_on:
        _glow(picture, body, stand, camera, light)
    if not easy:
        _add_occluder(rng, picture, camera, light, corners)
    if place in OUTDOOR_PLACES:
        _add_weather(rng, picture, snow)
    return expose(rng, picture, light)


def _choose_turn(
    rng: np.random.Generator, cameras: Sequence[tuple[str, float, float, float]]
) -> float:
    """A turn of the car in radians: quarter views are commonest, and either side is as likely."""
    view = cameras[rng.choice(len(cameras), p=[share for _, share, _, _ in cameras])]
    turn = rng.uniform(view[2], view[3])
    return float(np.deg2rad(turn if rng.random() < 0.5 else -turn))


def _choose_finish(rng: np.random.Generator, body: Body, light: Light, snow: float) -> Finish:
    paint = np.array(PAINTS[rng.choice(len(PAINTS), p=_PAINT_WEIGHTS / _PAINT_WEIGHTS.sum())])
    paint = np.clip(paint * rng.uniform(0.85, 1.12) + rng.normal(0, 0.015, 3), 0.02, 0.95)
    styles = body.design.wheels
    dirty = rng.random() < 0.28
    return Finish(
        paint=(float(paint[0]), float(paint[1]), float(paint[2])),
        metallic=float(rng.random() < 0.6),
        wheels=styles[int(rng.integers(len(styles)))],
        dirt=float(rng.uniform(0.25, 0.95)) if dirty else 0.0,
        snow=snow * float(rng.uniform(0.3, 0.9)) if snow > 0 and rng.random() < 0.7 else 0.0,
        lamps_on=bool(rng.random() < (0.5 if light.dark else 0.06)),
        tint=float(rng.random() < 0.4) * float(rng.uniform(0.3, 1.0)),
        grain=float(rng.integers(0, 200)),
    )


def _frame_car(
    rng: np.random.Generator, body: Body, stand: Stand, width: int, height: int
) -> Camera:
    """A camera that has the car in its frame, mostly whole, nearly in the middle."""
    camera = aim_camera(
        distance=float(rng.uniform(5.6, 10.5)),
        height=float(rng.uniform(0.8, 2.1)),
        tilt=float(rng.uniform(0.02, 0.16)),
        roll=float(np.deg2rad(rng.normal(0, 1.3))),
        width=width,
        photo_height=height,
    )
    pixels, _ = camera.project(stand.place(body, outline_body(body)))
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    fill = rng.uniform(1.0, 1.25) if rng.random() < 0.08 else rng.uniform(0.62, 0.93)
    scale = fill * min(width / (high[0] - low[0]), 0.92 * height / (high[1] - low[1]))
    centre = ((low + high) / 2 - np.array(camera.centre)) * scale
    room = np.maximum(np.array([width, height]) - (high - low) * scale, 0.06 * width) / 2
    shift = rng.uniform(-0.7, 0.7, 2) * room
    return replace(
        camera,
        focal=camera.focal * scale,
        centre=(
            float(width / 2 - centre[0] + shift[0]),
            float(height / 2 - centre[1] + shift[1] + 0.02 * height),
        ),
    )


def _cast_shadow(picture: Pixels, body: Body, stand: Stand, camera: Camera, light: Light) -> None:
    """Darkens the ground under the car and, in the sun, beside it."""
    corners = stand.place(body, outline_body(body)[::3])
    shape = (camera.width, camera.height)
    low = corners[corners[:, 2] < 0.75]
    _darken(picture, camera, low * [1.0, 1.0, 0.0], 0.70, shape[0] / 110)
    strength = float(light.sun_colour.mean() / (light.sun_colour + light.ambient).mean())
    if strength > 0.25 and light.sun[2] > 0:
        thrown = corners - corners[:, 2:] / light.sun[2] * light.sun
        _darken(picture, camera, thrown, 0.9 * strength, shape[0] / 220)


def _darken(picture: Pixels, camera: Camera, ground: Floats, strength: float, blur: float) -> None:
    hull = spatial.ConvexHull(ground[:, :2])
    pixels, depths = camera.project(ground[hull.vertices])
    if (depths < 0.3).any():
        return
    # At half size: a shadow is soft anyway.
    size = (camera.width, camera.height)
    mask = Image.new("L", ((size[0] + 1) // 2, (size[1] + 1) // 2), 0)
    ImageDraw.Draw(mask).polygon((pixels / 2).ravel().tolist(), fill=255)
    mask = mask.filter(ImageFilter.GaussianBlur(blur / 2)).resize(size, Image.Resampling.BILINEAR)
    shade = np.asarray(mask, dtype=np.float32) / np.float32(255)
    picture *= 1 - np.float32(strength) * shade


def _add_neighbour(
    rng: np.random.Generator,
    picture: Pixels,
    camera: Camera,
    light: Light,
    nearest: float,
    snow: float,
) -> None:
    """Another car some way behind, cut by the one in front."""
    body = build_body(int(rng.integers(len(DESIGNS))))
    turn = float(np.deg2rad(rng.choice([90.0, -90.0, 0.0, 180.0]) + rng.normal(0, 6)))
    across = float(rng.uniform(-4.5, 4.5))
    stand = Stand(turn, across, nearest + 2.2)
    finish = _choose_finish(rng, body, light, snow)
    _cast_shadow(picture, body, stand, camera, light)
    lay_over(picture, *paint_car(body, finish, stand, camera, light))


def _glow(picture: Pixels, body: Body, stand: Stand, camera: Camera, light: Light) -> None:
    """Halos round lamps that shine towards the camera."""
    eye = stand.unplace(body, camera.position)
    design = body.design
    spots, colour = [], np.array([1.0, 0.95, 0.8])
    if eye[0] < 0:
        part, z, _ = design.bulbs[0]
        spots = [(0.05, side * part * design.half_width, z) for side in (-1, 1)]
        reach = 0.20
    elif eye[0] > design.length:
        z = float(np.mean([z for _, z in design.tail_lamp]))
        spots = [(design.length, side * 0.8 * design.half_width, z) for side in (-1, 1)]
        colour, reach = np.array([0.9, 0.1, 0.08]), 0.15
    if not spots:
        return
    pixels, depths = camera.project(stand.place(body, np.array(spots)))
    columns, rows = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    for (x, y), depth in zip(pixels, depths, strict=True):
        radius = reach * camera.focal / depth
        halo = np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * radius**2))
        amount = 0.5 if light.dark else 0.2
        picture += (halo * colour[:, None, None] * amount).astype(np.float32)


def _add_occluder(
    rng: np.random.Generator,
    picture: Pixels,
    camera: Camera,
    light: Light,
    corners: Floats,
) -> None:
    """In one photo of five something stands before the car: a post, a person, another car."""
    kind = rng.choice(["none", "post", "person", "car"], p=[0.80, 0.07, 0.07, 0.06])
    front = float(corners[:, 1].min())
    if kind == "none":
        return
    if kind == "car":
        other = build_body(int(rng.integers(len(DESIGNS))))
        side = float(rng.choice([-1.0, 1.0]))
        # Near the camera and mostly outside the frame: its roof or wing cuts into a corner.
        depth = front - 1.2
        edge = (camera.width / 2) / camera.focal * (depth - camera.position[1])
        place = Stand(float(np.deg2rad(rng.uniform(60, 120) * side)), 0.0, depth)
        half = float(np.abs(place.place(other, outline_body(other))[:, 0]).max())
        place = replace(place, x=side * (edge + half - float(rng.uniform(0.15, 0.5)) * edge))
        finish = _choose_finish(rng, other, light, 0.0)
        if camera.position[1] < depth - 1.6:
            lay_over(picture, *paint_car(other, finish, place, camera, light))
        return
    lit = light.ambient + 0.4 * light.sun_colour + 0.6 * light.flash
    across = float(rng.uniform(corners[:, 0].min(), corners[:, 0].max())) * 0.9
    at = np.array([across, max(front - 0.35, camera.position[1] + 2.2), 0.0])
    if kind == "post":
        tall, radius = float(rng.uniform(0.8, 5.0)), float(rng.uniform(0.04, 0.13))
        ends, depths = camera.project(np.array([at, at + np.array([0.0, 0.0, tall])]))
        half = radius * camera.focal / float(depths[0])
        colour = np.array([(0.55, 0.55, 0.52), (0.24, 0.26, 0.26), (0.62, 0.58, 0.40)])[
            rng.integers(3)
        ]
        columns, rows = np.meshgrid(np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5)
        offset = (columns - np.interp(rows, ends[::-1, 1], ends[::-1, 0])) / half
        cover = np.clip((1 - np.abs(offset)) * half + 0.5, 0, 1)
        cover = cover * (rows < ends[0, 1]) * (rows > ends[1, 1])
        round_shade = np.clip(1.0 - 0.55 * (offset * 0.8 + 0.2) ** 2, 0.2, 1.0)
        post = (colour * lit)[:, None, None] * (round_shade * cover)
        lay_over(picture, post.astype(np.float32), cover.astype(np.float32))
        return
    foot, depth_of = camera.project(at[None])
    unit = camera.focal / float(depth_of[0])
    lay_over(picture, *draw_person(rng, camera, (foot[0, 0], foot[0, 1]), unit, lit))


def _add_weather(rng: np.random.Generator, picture: Pixels, snow: float) -> None:
    """Falling flakes in some of the winter's photos."""
    if snow == 0 or rng.random() > 0.45:
        return
    height, width = picture.shape[1:]
    flakes = Image.new("L", (width, height), 0)
    draw = ImageDraw.Draw(flakes)
    slant = rng.normal(0, 0.5)
    for x, y, size in rng.uniform(0, 1, (int(rng.integers(60, 260)), 3)):
        radius = (0.4 + 2.0 * size**4) * width / 320
        left, top = x * width, y * height
        draw.line(
            [left, top, left + slant * radius * 2, top + radius * 2],
            fill=int(150 + 90 * size),
            width=max(int(radius * 1.6), 1),
        )
    flakes = flakes.filter(ImageFilter.GaussianBlur(0.5 * width / 320))
    cover = np.asarray(flakes, dtype=np.float32) / np.float32(255)
    lay_over(picture, np.float32(0.95) * cover[None], cover)
