"""What is painted on a body: lights, grilles, windows, plates, wheels."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from lotlens.drawn.designs import Design, WheelStyle
from lotlens.drawn.outlines import (
    STRIP_COLUMNS,
    STRIP_ROWS_PER_KEY,
    WHEEL_TEXELS,
    At,
    Flank,
    Material,
    Profile,
    Sheet,
    place_strip,
)


def paint_strip(design: Design, profile: Profile, flank: Flank) -> Sheet:
    """The sheet from the front bumper over the roof to the rear bumper."""
    rows = (len(design.keys) - 1) * STRIP_ROWS_PER_KEY + 1
    place = np.arange(rows) / STRIP_ROWS_PER_KEY
    across = np.linspace(-1.0, 1.0, STRIP_COLUMNS)
    surface = place_strip(profile, flank, place, across)
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


def _paint_top(draw: ImageDraw.ImageDraw, design: Design, at: At) -> None:
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


def _paint_front(draw: ImageDraw.ImageDraw, design: Design, at: At) -> None:
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


def _paint_grille(draw: ImageDraw.ImageDraw, design: Design, at: At) -> None:
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


def _paint_rear(draw: ImageDraw.ImageDraw, design: Design, at: At) -> None:
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


def _paint_plate(draw: ImageDraw.ImageDraw, z: float, at: At) -> None:
    corners = [at(-0.31, z - 0.058), at(0.31, z - 0.058), at(0.31, z + 0.058), at(-0.31, z + 0.058)]
    draw.polygon(corners, fill=Material.PLATE, outline=Material.GAP)
    for left, right in ((-0.26, -0.22), (-0.18, -0.06), (-0.02, 0.10), (0.14, 0.18), (0.21, 0.28)):
        draw.polygon(
            [at(left, z - 0.03), at(right, z - 0.03), at(right, z + 0.03), at(left, z + 0.03)],
            fill=Material.INK,
        )


def paint_wheel(style: WheelStyle) -> Sheet:
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


def paint_spare() -> Sheet:
    """The cover of a spare wheel, facing rearwards."""
    material, normal, height = paint_wheel("cover")
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


def paint_chips() -> Sheet:
    """Patches of one material each, for parts that have one colour."""
    material = np.array([[chip for chip, _ in _CHIPS]], dtype=np.uint8)
    normal = np.array([[axis for _, axis in _CHIPS]])
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    return material, normal, np.full(material.shape, 1.0)
