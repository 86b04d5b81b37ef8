"""The sample lot's car models as solid bodies; knows no camera, light or place.

A body is the set of points with |y| <= half_width(x, z) inside a side silhouette. Its surface is
two flanks (height fields over the side view) and one hull strip that runs from the front bumper
over the bonnet, screens and roof down to the rear bumper. What lies on the surface (panes, lamps,
grilles, seams) is painted into texture sheets of material numbers, with a normal and a height for
every texel, so that the painter can shade each pixel smoothly from a coarse mesh.

Car axes, in metres: x to the rear from the front bumper, y to the car's right, z up from the road.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage, spatial

from lotlens.photos.designs import DESIGNS, Design, Key, WheelStyle

Floats = NDArray[np.float64]

TEXELS_PER_METRE = 130
"""Resolution of the flank's sheet; a car that fills a 320-pixel photo shows about 140 a metre."""
STRIP_ROWS_PER_KEY = 72
STRIP_COLUMNS = 210
WHEEL_TEXELS = 128
SKIRT = 0.06
"""Metres of margin round the silhouette on the flank's sheet."""


class Material(IntEnum):
    """What a texel is made of; the painter's palette has one entry for each."""

    PAINT = 0
    GLASS = 1
    CABIN = 2  # a seat or headrest seen through glass
    PLASTIC = 3
    CHROME = 4
    LAMP = 5
    LAMP_BOWL = 6
    TAIL_LAMP = 7
    INDICATOR = 8
    REVERSE_LAMP = 9
    PLATE = 10
    INK = 11
    TYRE = 12
    RIM = 13
    GAP = 14  # arches, grille openings, the underside
    SEAM = 15
    FOG_LAMP = 16


@dataclass(frozen=True)
class Part:
    """Quads that are drawn together.

    Attributes:
        corners: [Q, 4, 3] metres.
        normals: [Q, 3] outward, for culling.
        texels: [Q, 4, 2] column and row on its sheet.
        sheet: the sheet's offset in the body's texel arrays, its columns and rows.
        mirrored: the sheet's normals have their y turned round.
        over_from: (axis, bound): drawn over the body when the camera's coordinate on that axis is
            beyond the bound (above a positive one, below a negative one), under it otherwise;
            None: it is the body.
    """

    corners: Floats
    normals: Floats
    texels: Floats
    sheet: tuple[int, int, int]
    mirrored: bool = False
    over_from: tuple[int, float] | None = None


@dataclass(frozen=True)
class Body:
    """A car ready to be drawn.

    Attributes:
        index: its class.
        design: what it was made from.
        parts: the mesh without its wheels.
        wheels: the wheels' mesh for each wheel style.
        material: [T] material number of every texel of all sheets.
        normal: [3, T] float32 outward unit normal.
        height: [T] float32 metres above the road.
    """

    index: int
    design: Design
    parts: tuple[Part, ...]
    wheels: Mapping[WheelStyle, tuple[Part, ...]]
    material: NDArray[np.uint8]
    normal: NDArray[np.float32]
    height: NDArray[np.float32]


class _Profile:
    """The side silhouette as a polyline that remembers which key each point belongs to."""

    def __init__(self, keys: Sequence[Key]) -> None:
        corners = np.array([(x, z) for x, z, _ in keys])
        points: list[Floats] = []
        places: list[float] = []
        last = len(keys) - 1
        for k in range(last + 1):
            if k in (0, last):
                points.append(corners[k])
                places.append(float(k))
            else:
                # A quadratic Bezier over each corner, with a fixed number of points, so that two
                # models with the same first keys have the same first points.
                before, after = corners[k - 1] - corners[k], corners[k + 1] - corners[k]
                reach_before = self._reach(keys[k], before)
                reach_after = self._reach(keys[k], after)
                start, end = corners[k] + before * reach_before, corners[k] + after * reach_after
                for s in np.linspace(0.0, 1.0, 4):
                    points.append((1 - s) ** 2 * start + 2 * s * (1 - s) * corners[k] + s**2 * end)
                    places.append(k - reach_before * (1 - s) + reach_after * s)
            if k < last:
                span = corners[k + 1] - corners[k]
                leave = self._reach(keys[k], span) if k else 0.0
                arrive = self._reach(keys[k + 1], span) if k + 1 < last else 0.0
                part = (leave + 1 - arrive) / 2
                points.append(corners[k] + span * part)
                places.append(k + part)
        self.points = np.array(points)
        self.places = np.array(places)

    @staticmethod
    def _reach(key: Key, span: Floats) -> float:
        """The part of a straight that the rounding of a corner takes at most."""
        return min(key[2] / float(np.linalg.norm(span)), 0.45)

    def locate(self, place: Floats) -> Floats:
        """(x, z) at the places (key numbers with fractions), shape [..., 2]."""
        x = np.interp(place, self.places, self.points[:, 0])
        z = np.interp(place, self.places, self.points[:, 1])
        return np.stack([x, z], axis=-1)

    def find(self, z: float, low_key: float, high_key: float) -> float:
        """The place between two keys with height `z`."""
        inside = (self.places >= low_key) & (self.places <= high_key)
        heights, places = self.points[inside, 1], self.places[inside]
        order = np.argsort(heights)
        return float(np.interp(z, heights[order], places[order]))

    def span(self, x: Floats) -> tuple[Floats, Floats]:
        """Lowest and highest z of the silhouette at each x."""
        nose, tail = int(np.argmin(self.points[:, 0])), int(np.argmax(self.points[:, 0]))
        top = np.interp(x, self.points[nose : tail + 1, 0], self.points[nose : tail + 1, 1])
        front, rear = self.points[: nose + 1][::-1], self.points[tail:][::-1]
        bottom_x = np.concatenate([front[:, 0], rear[:, 0]])
        bottom_z = np.concatenate([front[:, 1], rear[:, 1]])
        return np.interp(x, bottom_x, bottom_z), top


Sheet = tuple[NDArray[np.uint8], Floats, Floats]
"""Material [rows, columns], normal [rows, columns, 3], height [rows, columns]."""

_At = Callable[[float, float], tuple[float, float]]


@cache
def build_body(index: int) -> Body:
    """The mesh and the texture sheets of class `index`.

    A body takes about a tenth of a second to build and is kept for the life of the process.
    """
    design = DESIGNS[index]
    profile = _Profile(design.keys)
    flank = _Flank(design, profile)
    sheets = [flank.paint(), _paint_strip(design, profile, flank), _paint_chips()]
    sheets.extend(_paint_wheel(style) for style in design.wheels)
    if design.spare:
        sheets.append(_paint_spare())
    offsets = np.cumsum([0, *(sheet[0].size for sheet in sheets)])
    layout = [
        (int(offset), sheet[0].shape[1], sheet[0].shape[0])
        for offset, sheet in zip(offsets, sheets, strict=False)
    ]
    parts = [
        *_mesh_flanks(flank, layout[0]),
        _mesh_strip(profile, flank, layout[1]),
        *_mesh_mirrors(flank, layout[2]),
    ]
    if design.spare:
        parts.extend(_mesh_spare(design, layout[-1]))
    return Body(
        index=index,
        design=design,
        parts=tuple(parts),
        wheels={
            style: tuple(_mesh_wheels(flank, layout[3 + number]))
            for number, style in enumerate(design.wheels)
        },
        material=np.concatenate([sheet[0].ravel() for sheet in sheets]),
        normal=np.ascontiguousarray(
            np.concatenate([sheet[1].reshape(-1, 3) for sheet in sheets]).T.astype(np.float32)
        ),
        height=np.concatenate([sheet[2].ravel() for sheet in sheets]).astype(np.float32),
    )


class _Flank:
    """One side of the body: half width over (x, z), and what is painted there."""

    def __init__(self, design: Design, profile: _Profile) -> None:
        self.design, self.profile = design, profile
        columns = int((design.length + 2 * SKIRT) * TEXELS_PER_METRE) + 1
        rows = int((max(float(z) for _, z, _ in design.keys) + 2 * SKIRT) * TEXELS_PER_METRE) + 1
        # Texel centres. Columns start at the nose, so sisters share the front half's texels.
        self.x = np.arange(columns) / TEXELS_PER_METRE - SKIRT
        self.z = np.arange(rows) / TEXELS_PER_METRE
        low, high = profile.span(self.x)
        self.inside: NDArray[np.bool_] = (
            (self.z[:, None] >= low)
            & (self.z[:, None] <= high)
            & (self.x >= 0)
            & (self.x <= design.length)
        )
        self.depth: Floats = ndimage.distance_transform_edt(self.inside) / TEXELS_PER_METRE
        self._edge = spatial.cKDTree(self._trace_edge())
        edge_depth = np.ones_like(self.depth)
        ends = (self.x < 0.4) | (self.x > design.length - 0.4)
        near = (self.depth < design.edge_radius + 0.03) | ((self.z[:, None] < 0.5) & ends)
        near_rows, near_columns = np.nonzero(near & self.inside)
        edge_depth[near] = 0.0
        edge_depth[near_rows, near_columns] = self._measure_depth(
            self.x[near_columns], self.z[near_rows]
        )
        self.width = self._shape(self.x[None, :], self.z[:, None], edge_depth)

    def _trace_edge(self) -> Floats:
        """The silhouette as dense points [N, 2], without its bottom: the sill simply ends there."""
        line = self.profile.points
        run = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
        # Measured from the front, so that sisters have the same points on the front half.
        dense = np.arange(0.0, run[-1], 0.004)
        return np.stack(
            [np.interp(dense, run, line[:, 0]), np.interp(dense, run, line[:, 1])], axis=-1
        )

    def _measure_depth(self, x: Floats, z: Floats) -> Floats:
        """Distance of points to the edge."""
        distance, _ = self._edge.query(np.stack([x, z], axis=-1))
        depth: Floats = np.sqrt(np.maximum(distance**2 - 0.002**2, 0.0))
        return depth

    def belt(self, x: Floats) -> Floats:
        height, rise = self.design.belt
        line: Floats = height + rise * (x - self.design.keys[4][0])
        return line

    def _shape(self, x: Floats, z: Floats, depth: Floats) -> Floats:
        design = self.design
        belt = self.belt(x)
        full = design.half_width
        below = full * (1 - 0.07 * np.clip((belt - z) / (belt - 0.2), 0, 1) ** 2)
        over = np.clip(z - belt, 0, None)
        step = np.clip(over / 0.05, 0, 1)
        width = below - 0.035 * step * step * (3 - 2 * step) - design.tumblehome * over
        front = np.clip((1.2 - x) / 1.2, 0, 1)
        rear = np.clip((x - design.length + 1.1) / 1.1, 0, 1)
        width = width - full * (design.taper[0] * front**2.4 + design.taper[1] * rear**2.4)
        offset, dent = design.crease
        width = width + dent * np.tanh((z - belt - offset) / 0.03) * (over < 0.02)
        for axle in design.axles:
            reach = np.hypot(x - axle, z - design.wheel_radius)
            ring = np.exp(-(((reach - design.wheel_radius - 0.07) / 0.05) ** 2))
            width = width + 0.025 * ring * (z < belt)
        edge = np.clip(1 - depth / design.edge_radius, 0, 1)
        width = width - design.edge_radius * (1 - np.sqrt(1 - 0.98 * edge**2))
        rounded: Floats = np.clip(width, 0.05, None)
        return rounded

    def measure(self, x: Floats, z: Floats) -> Floats:
        """Half width at points inside the silhouette."""
        return self._shape(x, z, self._measure_depth(x, z))

    def measure_edge(self, x: Floats, z: Floats) -> Floats:
        """Half width at points on the silhouette."""
        return self._shape(x, z, np.zeros_like(x))

    def texel(self, x: Floats, z: Floats) -> tuple[Floats, Floats]:
        """Row and column of points."""
        return z * TEXELS_PER_METRE, (x + SKIRT) * TEXELS_PER_METRE

    def paint(self) -> Sheet:
        design = self.design
        x, z = self.x[None, :], self.z[:, None]
        material = np.full(self.inside.shape, Material.PAINT, dtype=np.uint8)
        belt = self.belt(x)

        rear_limit = np.interp(z - belt, [0.0, 0.45], [design.pane_end[0], design.pane_end[1]])
        front_limit = design.keys[4][0] + 0.10
        frame = (self.depth > 0.055) & (z > belt + 0.015) & (x < rear_limit + 0.03)
        frame = frame & (x > front_limit - 0.05)
        pane = (self.depth > 0.08) & (z > belt + 0.04) & (x < rear_limit) & (x > front_limit)
        material[frame] = Material.CHROME if design.bright_trim else Material.PLASTIC
        material[pane] = Material.GLASS
        for seat in (design.pillars[0] - 0.28, design.pillars[0] + 0.62):
            rest = (np.abs(x - seat) < 0.12) & (z < belt + 0.22) & (z > belt)
            back = (np.abs(x - seat - 0.05) < 0.20) & (z < belt + 0.10)
            material[pane & (rest | back)] = Material.CABIN
        for pillar in design.pillars:
            material[frame & (np.abs(x - pillar + 0.25 * (z - belt - 0.2)) < 0.045)] = (
                Material.PLASTIC
            )

        low = np.interp(
            x, [0.0, design.length], [design.keys[0][1] + 0.035, design.keys[-1][1] + 0.035]
        )
        material[z < low] = Material.PLASTIC

        image = Image.fromarray(material)
        draw = ImageDraw.Draw(image)

        def at(px: float, pz: float) -> tuple[float, float]:
            return (px + SKIRT) * TEXELS_PER_METRE, pz * TEXELS_PER_METRE

        sill = design.keys[0][1] + 0.05
        tops = self.belt(np.array(design.doors))
        for door, top in zip(design.doors, tops, strict=True):
            draw.line(
                [at(door - 0.02, top), at(door, top - 0.3), at(door, sill + 0.05)],
                fill=Material.SEAM,
                width=2,
            )
        draw.line(
            [at(design.doors[0], sill + 0.05), at(design.doors[-1], sill + 0.05)],
            fill=Material.SEAM,
            width=2,
        )
        for door, top in zip(design.doors[1:], tops[1:], strict=True):
            draw.rectangle(
                [*at(door - 0.26, top - 0.10), *at(door - 0.10, top - 0.065)],
                fill=Material.CHROME if design.bright_trim else Material.PLASTIC,
            )
        filler = self.belt(np.array([design.axles[1]]))[0] - 0.12
        filler_x = design.axles[1] + 0.14
        draw.ellipse(
            [*at(filler_x - 0.07, filler - 0.07), *at(filler_x + 0.07, filler + 0.07)],
            outline=Material.SEAM,
        )
        # The bonnet's shut line, the bumpers' seams.
        nose_z = design.keys[2][1]
        draw.line([at(0.12, nose_z - 0.14), at(0.36, nose_z - 0.16)], fill=Material.SEAM, width=2)
        tail = design.length
        draw.line(
            [at(tail - 0.42, design.lid - 0.03), at(tail, design.lid)], fill=Material.SEAM, width=2
        )
        self._wrap_lamps(draw, at)
        reach = 0.115 if design.cladding else 0.05
        for axle in design.axles:
            for radius, fill in (
                (design.wheel_radius + reach, Material.PLASTIC),
                (design.wheel_radius + 0.045, Material.GAP),
            ):
                if fill == Material.PLASTIC and not design.cladding:
                    continue
                centre = at(axle, design.wheel_radius)
                size = radius * TEXELS_PER_METRE
                draw.ellipse(
                    [centre[0] - size, centre[1] - size, centre[0] + size, centre[1] + size],
                    fill=fill,
                )
        if design.cladding:
            draw.rectangle(
                [*at(design.axles[0] + 0.4, 0), *at(design.axles[1] - 0.4, sill + 0.10)],
                fill=Material.PLASTIC,
            )
        painted = np.array(image)
        slope_z, slope_x = np.gradient(self.width, 1 / TEXELS_PER_METRE)
        normal = np.stack([-slope_x, np.ones_like(slope_x), -slope_z], axis=-1)
        normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
        return painted, normal, np.broadcast_to(z, painted.shape).astype(np.float64)

    def _wrap_lamps(self, draw: ImageDraw.ImageDraw, at: _At) -> None:
        """Carries lamps that reach the front's or the tail's edge round the corner."""
        for outline, fill, tail in (
            (self.design.lamp, Material.LAMP_BOWL, False),
            (self.design.tail_lamp, Material.TAIL_LAMP, True),
        ):
            edge = [z for part, z in outline if part >= 0.97]
            if len(edge) < 2:
                continue
            low, high = min(edge), max(edge)
            reach = 0.24 if not tail else 0.20
            middle = (low + high) / 2 + 0.01
            if tail:
                end = self.design.length + SKIRT
                corners = [
                    at(end, low),
                    at(end, high),
                    at(self.design.length - reach, middle + (high - low) * 0.30),
                    at(self.design.length - reach, middle - (high - low) * 0.15),
                ]
            else:
                corners = [
                    at(-SKIRT, low),
                    at(-SKIRT, high),
                    at(reach + 0.12, middle + (high - low) * 0.42),
                    at(reach, low + 0.01),
                ]
            draw.polygon(corners, fill=fill)
            if not tail:
                corner = at(reach - 0.02, middle)
                draw.ellipse(
                    [corner[0] - 5, corner[1] - 5, corner[0] + 5, corner[1] + 5],
                    fill=Material.INDICATOR,
                )


def _paint_strip(design: Design, profile: _Profile, flank: _Flank) -> Sheet:
    """The sheet from the front bumper over the roof to the rear bumper."""
    rows = (len(design.keys) - 1) * STRIP_ROWS_PER_KEY + 1
    place = np.arange(rows) / STRIP_ROWS_PER_KEY
    across = np.linspace(-1.0, 1.0, STRIP_COLUMNS)
    surface = _place_strip(profile, flank, place, across)
    along = np.gradient(surface, axis=0)
    over = np.gradient(surface, axis=1)
    normal = np.cross(along, over)
    normal /= np.maximum(np.linalg.norm(normal, axis=-1, keepdims=True), 1e-9)

    image = Image.new("L", (STRIP_COLUMNS, rows), Material.PAINT)
    draw = ImageDraw.Draw(image)

    def front(part: float, z: float) -> tuple[float, float]:
        return (part + 1) / 2 * (STRIP_COLUMNS - 1), profile.find(z, 0, 3) * STRIP_ROWS_PER_KEY

    def rear(part: float, z: float) -> tuple[float, float]:
        keys = (7, 9) if z > design.keys[9][1] else (9, 11)
        row = profile.find(z, *keys) * STRIP_ROWS_PER_KEY
        return (part + 1) / 2 * (STRIP_COLUMNS - 1), row

    def over_top(part: float, key: float) -> tuple[float, float]:
        return (part + 1) / 2 * (STRIP_COLUMNS - 1), key * STRIP_ROWS_PER_KEY

    _paint_top(draw, design, over_top)
    _paint_front(draw, design, front)
    _paint_rear(draw, design, rear)
    return np.array(image), normal, surface[..., 2]


def _place_strip(profile: _Profile, flank: _Flank, place: Floats, across: Floats) -> Floats:
    """Points [places, across, 3] of the strip."""
    spine = profile.locate(place)
    ahead, behind = profile.locate(place + 0.02), profile.locate(place - 0.02)
    run = ahead - behind
    run /= np.maximum(np.linalg.norm(run, axis=-1, keepdims=True), 1e-9)
    outward = np.stack([-run[:, 1], run[:, 0]], axis=-1)
    half = flank.measure_edge(spine[:, 0], spine[:, 1])
    crown = 0.035 + 0.085 * np.abs(outward[:, 0])
    lift = crown[:, None] * (1 - across**2)
    x = spine[:, 0, None] + lift * outward[:, 0, None]
    z = spine[:, 1, None] + lift * outward[:, 1, None]
    y = half[:, None] * across
    return np.stack([x, y, z], axis=-1)


def _paint_top(draw: ImageDraw.ImageDraw, design: Design, at: _At) -> None:
    for side in (-1, 1):
        draw.line([at(side * 0.88, 2.15), at(side * 0.84, 3.9)], fill=Material.SEAM, width=1)
        draw.line([at(side * 0.30, 2.4), at(side * 0.42, 3.9)], fill=Material.SEAM, width=1)
        draw.line([at(side * 0.90, 5.1), at(side * 0.90, 6.9)], fill=Material.SEAM, width=1)
        if design.rails:
            draw.line([at(side * 0.95, 5.3), at(side * 0.95, 6.85)], fill=Material.CHROME, width=6)
            draw.line([at(side * 0.90, 5.3), at(side * 0.90, 6.85)], fill=Material.GAP, width=4)
    draw.line([at(-0.9, 3.95), at(0.9, 3.95)], fill=Material.GAP, width=5)
    for low, high, margin in ((4.06, 4.94, 0.05), (7.08, 7.92, 0.09)):
        inset = 0.09 if margin > 0.06 else 0.0
        draw.polygon(
            [
                at(-0.95 + inset, low),
                at(0.95 - inset, low),
                at(0.95 - inset, high),
                at(-0.95 + inset, high),
            ],
            fill=Material.PLASTIC,
        )
        draw.polygon(
            [
                at(-0.91 + inset, low + 0.06),
                at(0.91 - inset, low + 0.06),
                at(0.91 - inset, high - margin),
                at(-0.91 + inset, high - margin),
            ],
            fill=Material.GLASS,
        )
        for side in (-1, 1):  # a headrest and the seat's back, right way up through either pane
            upright = 1 if low > 6 else -1
            foot, shoulder, head = (
                (low + high) / 2 - upright * reach for reach in (-0.36, 0.02, 0.26)
            )
            for half, ends in ((0.25, (foot, shoulder)), (0.12, (shoulder, head))):
                draw.rectangle(
                    [*at(side * 0.45 - half, min(ends)), *at(side * 0.45 + half, max(ends))],
                    fill=Material.CABIN,
                )
    draw.rectangle([*at(-0.9, 4.70 - 0.58), *at(0.9, 4.22)], fill=Material.CABIN)
    for foot, head in ((-0.62, -0.05), (0.05, 0.72)):
        draw.line([at(foot, 4.09), at(head, 4.19)], fill=Material.GAP, width=2)
    draw.ellipse([*at(-0.09, 4.80), *at(0.09, 4.87)], fill=Material.GAP)
    draw.line([at(0.0, 7.86), at(0.42, 7.74)], fill=Material.GAP, width=2)


def _paint_front(draw: ImageDraw.ImageDraw, design: Design, at: _At) -> None:
    low_z = design.keys[0][1]
    nose = design.keys[2][1]
    draw.rectangle([*at(-1, low_z), *at(1, low_z + 0.035)], fill=Material.PLASTIC)
    if design.cladding:
        draw.rectangle([*at(-1, low_z), *at(1, low_z + 0.14)], fill=Material.PLASTIC)
    half, low, high = design.intake
    draw.polygon(
        [at(-half, low), at(half, low), at(half * 0.9, high), at(-half * 0.9, high)],
        fill=Material.GAP,
    )
    draw.line(
        [at(-half, (low + high) / 2), at(half, (low + high) / 2)], fill=Material.PLASTIC, width=2
    )
    for side in (-1, 1):
        centre = (low + high) / 2 + 0.01
        left, top = at(side * 0.80 - 0.05, centre + 0.035)
        right, bottom = at(side * 0.80 + 0.05, centre - 0.035)
        if half < 0.75:
            draw.ellipse([left, min(top, bottom), right, max(top, bottom)], fill=Material.FOG_LAMP)
    draw.line([at(-0.92, nose - 0.01), at(0.92, nose - 0.01)], fill=Material.SEAM, width=1)
    _paint_grille(draw, design, at)
    for side in (-1, 1):
        outline = [at(side * part, z) for part, z in design.lamp]
        draw.polygon(outline, fill=Material.LAMP_BOWL, outline=Material.GAP)
        for part, z, radius in design.bulbs:
            reach = radius / design.half_width * 1.1
            left, top = at(side * part - reach, z + radius)
            right, bottom = at(side * part + reach, z - radius)
            box = [left, min(top, bottom), right, max(top, bottom)]
            draw.ellipse(box, fill=Material.LAMP, outline=Material.GAP)
    _paint_plate(draw, design.front_plate, at)


def _paint_grille(draw: ImageDraw.ImageDraw, design: Design, at: _At) -> None:
    half, low, high = design.grille_box
    box = [at(-half, low), at(half, low), at(half, high), at(-half, high)]
    if design.grille == "bars":
        draw.polygon(box, fill=Material.GAP, outline=Material.CHROME, width=2)
        for z in np.linspace(low, high, 5)[1:-1]:
            draw.line([at(-half, z), at(half, z)], fill=Material.CHROME, width=2)
    elif design.grille == "slats":
        draw.polygon(box, fill=Material.GAP, outline=Material.CHROME, width=4)
        for part in np.linspace(-half, half, 15)[1:-1]:
            draw.line([at(part, low), at(part, high)], fill=Material.CHROME, width=2)
    elif design.grille == "slots":
        for part in np.linspace(-half, half, 8)[:-1] + half / 7:
            width = half / 7 * 0.55
            draw.polygon(
                [
                    at(part - width, low),
                    at(part + width, low),
                    at(part + width, high),
                    at(part - width, high),
                ],
                fill=Material.GAP,
            )
    elif design.grille == "mesh":
        hexagon = [
            at(-half * 0.75, low),
            at(half * 0.75, low),
            at(half, (low + high) / 2),
            at(half * 0.8, high),
            at(-half * 0.8, high),
            at(-half, (low + high) / 2),
        ]
        draw.polygon(hexagon, fill=Material.GAP, outline=Material.PLASTIC, width=4)
        for z in np.linspace(low, high, 6)[1:-1]:
            draw.line([at(-half * 0.8, z), at(half * 0.8, z)], fill=Material.PLASTIC, width=1)
        for part in np.linspace(-half, half, 13)[2:-2]:
            draw.line([at(part, low), at(part, high)], fill=Material.PLASTIC, width=1)
    elif design.grille == "shield":
        shield = [
            at(-half * 0.7, low),
            at(half * 0.7, low),
            at(half, high - 0.06),
            at(half * 0.96, high),
            at(-half * 0.96, high),
            at(-half, high - 0.06),
        ]
        draw.polygon(shield, fill=Material.GAP, outline=Material.CHROME, width=4)
        for part in np.linspace(-half, half, 9)[1:-1]:
            draw.line([at(part * 0.8, low), at(part, high)], fill=Material.PLASTIC, width=3)
        for side in (-1, 1):  # a bright bar from the shield to the lamps
            draw.line(
                [at(side * half, high - 0.05), at(side * 0.6, high - 0.05)],
                fill=Material.CHROME,
                width=3,
            )
    else:
        draw.polygon(box, fill=Material.CHROME)
    # The badge: a small bright spot that tells nothing.
    column, row = at(0.0, high - 0.03 if design.grille != "slit" else high + 0.03)
    draw.ellipse([column - 6, row - 5, column + 6, row + 5], fill=Material.CHROME)


def _paint_rear(draw: ImageDraw.ImageDraw, design: Design, at: _At) -> None:
    low_z = design.keys[-1][1]
    draw.rectangle(
        [*at(-1, low_z + (0.20 if design.cladding else 0.09)), *at(1, low_z)],
        fill=Material.PLASTIC,
    )
    draw.line([at(-0.97, design.lid), at(0.97, design.lid)], fill=Material.SEAM, width=2)
    top = design.keys[9][1] - 0.015
    for side in (-1, 1):
        draw.line([at(side * 0.80, top), at(side * 0.78, design.lid)], fill=Material.SEAM, width=2)
    if design.tail_bar is not None:
        low, high = design.tail_bar
        draw.polygon(
            [at(-0.6, low), at(0.6, low), at(0.6, high), at(-0.6, high)], fill=Material.TAIL_LAMP
        )
    heights = [z for _, z in design.tail_lamp]
    low, high = min(heights), max(heights)
    parts = [part for part, _ in design.tail_lamp]
    inner, outer = min(parts), max(parts)
    for side in (-1, 1):
        outline = [at(side * part, z) for part, z in design.tail_lamp]
        draw.polygon(outline, fill=Material.TAIL_LAMP, outline=Material.GAP)
        # The white and the amber lamp lie in the middle of the red one.
        centre = (inner + outer) / 2
        spread = min(0.07, (outer - inner) / 3)
        middle = (low + high) / 2
        reach = min(0.04, (high - low) / 5)
        for fill, z in (
            (Material.REVERSE_LAMP, middle - reach),
            (Material.INDICATOR, middle + reach),
        ):
            draw.polygon(
                [
                    at(side * (centre - spread), z - reach * 0.7),
                    at(side * (centre + spread), z - reach * 0.7),
                    at(side * (centre + spread), z + reach * 0.7),
                    at(side * (centre - spread), z + reach * 0.7),
                ],
                fill=fill,
            )
    draw.line(
        [at(-0.30, design.rear_plate + 0.095), at(0.30, design.rear_plate + 0.095)],
        fill=Material.CHROME,
        width=3,
    )
    _paint_plate(draw, design.rear_plate, at)
    column, row = at(0.0, min(design.rear_plate + 0.16, top - 0.03))
    draw.ellipse([column - 5, row - 5, column + 5, row + 5], fill=Material.CHROME)


def _paint_plate(draw: ImageDraw.ImageDraw, z: float, at: _At) -> None:
    corners = [at(-0.31, z - 0.058), at(0.31, z - 0.058), at(0.31, z + 0.058), at(-0.31, z + 0.058)]
    draw.polygon(corners, fill=Material.PLATE, outline=Material.GAP)
    for left, right in ((-0.26, -0.22), (-0.18, -0.06), (-0.02, 0.10), (0.14, 0.18), (0.21, 0.28)):
        draw.polygon(
            [at(left, z - 0.03), at(right, z - 0.03), at(right, z + 0.03), at(left, z + 0.03)],
            fill=Material.INK,
        )


def _paint_wheel(style: WheelStyle) -> Sheet:
    """A wheel seen from its side; the sheet's rows run upwards."""
    grid = (np.arange(WHEEL_TEXELS) + 0.5) / WHEEL_TEXELS * 2 - 1
    x, z = grid[None, :], grid[:, None]
    radius, angle = np.hypot(x, z), np.arctan2(z, x)
    material = np.full(radius.shape, Material.TYRE, dtype=np.uint8)
    rim = 0.70
    material[radius < rim] = Material.GAP
    counts = {"five": 5, "ten": 10, "star": 6, "blade": 9, "steel": 12, "cover": 7}
    count = counts[style]
    twist = 1.1 * radius if style == "blade" else 0.0
    turn = np.abs(np.mod((angle + twist) * count / (2 * np.pi), 1.0) - 0.5)
    share = {"five": 0.24, "ten": 0.22, "star": 0.17, "blade": 0.25}
    if style in share:
        spread = share[style] * (1.0 if style != "star" else 1.6 - radius)
        spokes = turn < spread
        material[(radius < rim) & spokes] = Material.RIM
        material[(radius < rim) & (radius > rim - 0.06)] = Material.RIM
        material[radius < 0.16] = Material.RIM
    elif style == "steel":
        material[radius < rim] = Material.PLASTIC
        material[(radius > 0.42) & (radius < 0.58) & (turn < 0.22)] = Material.GAP
        material[(radius < rim) & (radius > rim - 0.05)] = Material.RIM
        material[radius < 0.22] = Material.RIM
    else:
        material[radius < rim] = Material.RIM
        material[(radius > 0.30) & (radius < 0.60) & (turn < 0.13)] = Material.GAP
    material[radius < 0.07] = Material.PLASTIC
    bulge = np.where(radius < rim, 0.35, -0.5) * np.where(radius < rim, radius, 1 - radius)
    normal = np.stack([bulge * x, np.ones_like(radius), bulge * z], axis=-1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    height = np.broadcast_to(0.33 * (z + 1), radius.shape).astype(np.float64)
    return material, normal, height


def _paint_spare() -> Sheet:
    """The cover of a spare wheel, facing rearwards."""
    material, normal, height = _paint_wheel("cover")
    grid = (np.arange(WHEEL_TEXELS) + 0.5) / WHEEL_TEXELS * 2 - 1
    radius = np.hypot(grid[None, :], grid[:, None])
    material = np.full_like(material, Material.PLASTIC)
    material[radius < 0.86] = Material.PAINT
    material[(radius < 0.52) & (radius > 0.46)] = Material.SEAM
    return material, normal[..., [1, 0, 2]], height + 0.6


_CHIPS: tuple[tuple[Material, tuple[float, float, float]], ...] = (
    (Material.PAINT, (-1.0, 0.0, 0.15)),
    (Material.CHROME, (1.0, 0.0, 0.1)),
    (Material.PAINT, (0.0, -1.0, 0.1)),
    (Material.PAINT, (0.0, 1.0, 0.1)),
    (Material.GAP, (0.0, 0.0, -1.0)),
    (Material.PAINT, (0.0, 0.0, 1.0)),
    (Material.TYRE, (0.0, 0.0, 1.0)),
)
"""One texel for each face of a box: front, rear, left, right, bottom, top; then rubber."""


def _paint_chips() -> Sheet:
    material = np.array([[chip for chip, _ in _CHIPS]], dtype=np.uint8)
    normal = np.array([[axis for _, axis in _CHIPS]])
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    return material, normal, np.full(material.shape, 1.0)


def _join(
    grid: Floats, texel: Floats, sheet: tuple[int, int, int], *, flip: bool, mirrored: bool = False
) -> Part:
    """Quads between the neighbours of a grid of points [rows, columns, 3].

    Normals are rows x columns by the right hand, or the opposite with `flip`.
    """

    def gather(values: Floats) -> Floats:
        corners = [values[:-1, :-1], values[:-1, 1:], values[1:, 1:], values[1:, :-1]]
        return np.stack(corners, axis=2).reshape(-1, 4, values.shape[-1])

    corners = gather(grid)
    normals = np.cross(corners[:, 2] - corners[:, 0], corners[:, 3] - corners[:, 1])
    if flip:
        normals = -normals
    length = np.linalg.norm(normals, axis=-1)
    keep = length > 1e-7
    normals = normals[keep] / length[keep, None]
    return Part(corners[keep], normals, gather(texel)[keep], sheet, mirrored)


def _mesh_flanks(flank: _Flank, sheet: tuple[int, int, int]) -> list[Part]:
    design = flank.design
    # A column at every corner of the silhouette, so that flank and strip share their edge.
    corners = flank.profile.points[:, 0]
    x = np.unique(np.round(np.concatenate([corners, np.arange(0.15, design.middle, 0.3)]), 6))
    low, high = flank.profile.span(x)
    share = np.array([0.0, 0.18, 0.42, 0.60, 0.76, 0.90, 0.97, 1.0])
    z = low + (high - low) * share[:, None]
    x_grid = np.broadcast_to(x, z.shape)
    half = flank.measure(x_grid, z)
    half[-1] = flank.measure_edge(x, z[-1])
    half[:, [0, -1]] = flank.measure_edge(x_grid[:, [0, -1]], z[:, [0, -1]])
    rows, columns = flank.texel(x_grid, z)
    texel = np.stack([columns, rows], axis=-1)
    right = np.stack([x_grid, half, z], axis=-1)
    left = right * np.array([1.0, -1.0, 1.0])
    return [
        _join(right, texel, sheet, flip=True),
        _join(left, texel, sheet, flip=False, mirrored=True),
    ]


def _mesh_strip(profile: _Profile, flank: _Flank, sheet: tuple[int, int, int]) -> Part:
    across = np.linspace(-1.0, 1.0, 8)
    grid = _place_strip(profile, flank, profile.places, across)
    columns = np.broadcast_to((across + 1) / 2 * (STRIP_COLUMNS - 1), grid.shape[:2])
    rows = np.broadcast_to((profile.places * STRIP_ROWS_PER_KEY)[:, None], grid.shape[:2])
    return _join(grid, np.stack([columns, rows], axis=-1), sheet, flip=True)


def _mesh_wheels(flank: _Flank, sheet: tuple[int, int, int]) -> list[Part]:
    design = flank.design
    radius = design.wheel_radius
    turns = np.linspace(0, 2 * np.pi, 25)
    parts: list[Part] = []
    for axle in design.axles:
        half = float(flank.measure(np.array([axle]), np.array([radius]))[0])
        for side in (-1.0, 1.0):
            outer, inner = side * (half - 0.012), side * (half - 0.22)
            ring_x, ring_z = axle + radius * np.cos(turns), radius + radius * np.sin(turns)
            # The face: quads of two sectors and the hub.
            rim = np.stack([ring_x, np.full_like(turns, outer), ring_z], axis=-1)
            hub = np.array([axle, outer, radius])
            start, middle, end = rim[:-1:2], rim[1::2], rim[2::2]
            corners = np.stack([np.broadcast_to(hub, start.shape), start, middle, end], axis=1)
            spots = (corners[..., [0, 2]] - [axle, radius]) / radius
            texels = (spots + 1) / 2 * (WHEEL_TEXELS - 1)
            normals = np.broadcast_to([0.0, side, 0.0], (len(corners), 3))
            parts.append(
                Part(corners, normals, texels, sheet, side < 0, over_from=(1, side * half))
            )
            # The tread, always under the body: what shows of it shows below the bumpers.
            far = np.stack([ring_x, np.full_like(turns, inner), ring_z], axis=-1)
            tread = np.stack([rim[:-1], rim[1:], far[1:], far[:-1]], axis=1)
            out = tread.mean(axis=1) - [axle, 0.0, radius]
            out[:, 1] = 0.0
            out /= np.linalg.norm(out, axis=-1, keepdims=True)
            spot = np.full((len(tread), 4, 2), 3.0)
            parts.append(Part(tread, out, spot, sheet, False, over_from=(2, 1e9)))
            closing = np.stack([rim[:-1:2], rim[1::2], rim[2::2]], axis=1)
            closing = np.concatenate([closing, np.broadcast_to(hub, (len(start), 1, 3))], axis=1)
            closing[..., 1] = inner
            parts.append(
                Part(
                    closing,
                    np.broadcast_to([0.0, -side, 0.0], (len(closing), 3)),
                    np.full((len(closing), 4, 2), 3.0),
                    sheet,
                    False,
                    over_from=(2, 1e9),
                )
            )
    return parts


def _mesh_box(low: Floats, high: Floats, sheet: tuple[int, int, int]) -> Part:
    """A box with one chip a face."""
    faces: list[Floats] = []
    normals: list[Floats] = []
    texels: list[Floats] = []
    for axis in range(3):
        others = [other for other in range(3) if other != axis]
        for end, bound in enumerate((low, high)):
            corners = np.empty((4, 3))
            corners[:, axis] = bound[axis]
            corners[:, others[0]] = [
                low[others[0]],
                high[others[0]],
                high[others[0]],
                low[others[0]],
            ]
            corners[:, others[1]] = [
                low[others[1]],
                low[others[1]],
                high[others[1]],
                high[others[1]],
            ]
            faces.append(corners)
            normal = np.zeros(3)
            normal[axis] = 1.0 if end else -1.0
            normals.append(normal)
            texels.append(np.tile([2.0 * axis + end, 0.0], (4, 1)))
    return Part(np.stack(faces), np.stack(normals), np.stack(texels), sheet)


def _mesh_mirrors(flank: _Flank, sheet: tuple[int, int, int]) -> list[Part]:
    design = flank.design
    foot_x, head_x = design.keys[4][0], design.keys[5][0]
    z = float(flank.belt(np.array([foot_x]))[0]) + 0.03
    x = max(foot_x + (head_x - foot_x) * 0.18, foot_x + 0.12) + 0.12
    half = float(flank.measure(np.array([x]), np.array([z]))[0])
    parts = []
    for side in (-1.0, 1.0):
        ends = sorted((side * (half + 0.015), side * (half + 0.20)))
        box = _mesh_box(
            np.array([x - 0.07, ends[0], z]), np.array([x + 0.05, ends[1], z + 0.14]), sheet
        )
        parts.append(replace(box, over_from=(1, side * half * 0.6)))
    return parts


def _mesh_spare(design: Design, sheet: tuple[int, int, int]) -> list[Part]:
    radius, depth = 0.36, 0.22
    x, z = design.length - 0.02, 0.98
    turns = np.linspace(0, 2 * np.pi, 25)
    ring = np.stack(
        [np.full_like(turns, x + depth), radius * np.cos(turns) + 0.06, z + radius * np.sin(turns)],
        axis=-1,
    )
    hub = np.array([x + depth, 0.06, z])
    start, middle, end = ring[:-1:2], ring[1::2], ring[2::2]
    face = np.stack([np.broadcast_to(hub, start.shape), start, middle, end], axis=1)
    spots = (face[..., [1, 2]] - [0.06, z]) / radius
    foot = ring - [depth, 0.0, 0.0]
    tread = np.stack([ring[:-1], ring[1:], foot[1:], foot[:-1]], axis=1)
    out = tread.mean(axis=1) - [0.0, 0.06, z]
    out[:, 0] = 0.0
    out /= np.linalg.norm(out, axis=-1, keepdims=True)
    over = (0, design.length)
    return [
        Part(tread, out, np.full((len(tread), 4, 2), 3.0), sheet, over_from=over),
        Part(
            face,
            np.broadcast_to([1.0, 0.0, 0.0], (len(face), 3)),
            (spots + 1) / 2 * (WHEEL_TEXELS - 1),
            sheet,
            over_from=over,
        ),
    ]
