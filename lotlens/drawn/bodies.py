"""The sample lot's car models as solid bodies; knows no camera, light or place.

A body is the set of points with |y| <= half_width(x, z) inside a side silhouette. Its surface is
two flanks (height fields over the side view) and one hull strip that runs from the front bumper
over the bonnet, screens and roof down to the rear bumper. What lies on the surface (panes, lamps,
grilles, seams) is painted into texture sheets of material numbers, with a normal and a height for
every texel, so that the painter can shade each pixel smoothly from a coarse mesh.

Car axes, in metres: x to the rear from the front bumper, y to the car's right, z up from the road.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from numpy.typing import NDArray

from lotlens.drawn.designs import DESIGNS, Design, WheelStyle
from lotlens.drawn.outlines import (
    STRIP_COLUMNS,
    STRIP_ROWS_PER_KEY,
    WHEEL_TEXELS,
    Flank,
    Floats,
    Profile,
    place_strip,
)
from lotlens.drawn.paintwork import paint_chips, paint_spare, paint_strip, paint_wheel


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


@cache
def build_body(index: int) -> Body:
    """The mesh and the texture sheets of class `index`.

    A body takes about a tenth of a second to build and is kept for the life of the process.
    """
    design = DESIGNS[index]
    profile = Profile(design.keys)
    flank = Flank(design, profile)
    sheets = [flank.paint(), paint_strip(design, profile, flank), paint_chips()]
    sheets.extend(paint_wheel(style) for style in design.wheels)
    if design.spare:
        sheets.append(paint_spare())
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


def _mesh_flanks(flank: Flank, sheet: tuple[int, int, int]) -> list[Part]:
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


def _mesh_strip(profile: Profile, flank: Flank, sheet: tuple[int, int, int]) -> Part:
    across = np.linspace(-1.0, 1.0, 8)
    grid = place_strip(profile, flank, profile.places, across)
    columns = np.broadcast_to((across + 1) / 2 * (STRIP_COLUMNS - 1), grid.shape[:2])
    rows = np.broadcast_to((profile.places * STRIP_ROWS_PER_KEY)[:, None], grid.shape[:2])
    return _join(grid, np.stack([columns, rows], axis=-1), sheet, flip=True)


def _mesh_wheels(flank: Flank, sheet: tuple[int, int, int]) -> list[Part]:
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


def _mesh_mirrors(flank: Flank, sheet: tuple[int, int, int]) -> list[Part]:
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
