"""Side outlines of the sample lot's invented cars, and the half width over them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage, spatial

from lotlens.drawn.designs import Design, Key

Floats = NDArray[np.float64]

TEXELS_PER_METRE = 130
"""Resolution of the flank's sheet; a car that fills a 320-pixel photo shows about 140 a metre."""
STRIP_ROWS_PER_KEY = 72
STRIP_COLUMNS = 210
WHEEL_TEXELS = 128
SKIRT = 0.06
"""Metres of margin round the silhouette on the flank's sheet."""


At = Callable[[float, float], tuple[float, float]]


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


class Profile:
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


class Flank:
    """One side of the body: half width over (x, z), and what is painted there."""

    def __init__(self, design: Design, profile: Profile) -> None:
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

    def _wrap_lamps(self, draw: ImageDraw.ImageDraw, at: At) -> None:
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


def place_strip(profile: Profile, flank: Flank, place: Floats, across: Floats) -> Floats:
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
