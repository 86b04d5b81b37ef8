"""The ten invented car models of the sample lot in numbers; knows not how a body is built or drawn.

Two pairs of sisters share everything but the tail, so that nobody can tell them apart from the
front. Lengths are metres: x to the rear from the front bumper, y to the right, z up from the road.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

Points = Sequence[tuple[float, float]]
Key = tuple[float, float, float]
Grille = Literal["bars", "slats", "slots", "mesh", "slit", "shield"]
WheelStyle = Literal["five", "ten", "cover", "steel", "star", "blade"]


@dataclass(frozen=True)
class Design:
    """One car model in numbers.

    Attributes:
        name: shown to people.
        keys: twelve corners (x, z, rounding radius) of the side silhouette: front low, front
            middle, nose, bonnet, screen foot, screen head, roof, rear glass head, rear glass foot,
            tail top, tail middle, rear low. Two models that share keys 0-6, and everything named
            here but the tail, look the same from the front.
        axles: x of the front and rear wheel centres.
        wheel_radius: of the tyre.
        half_width: at the shoulder.
        belt: z of the shoulder at the screen's foot, and its rise in metres per metre.
        tumblehome: how far the cabin leans inwards, metres per metre.
        edge_radius: rounding between the flanks and the strip.
        taper: narrowing in plan of the front and of the rear, as parts of the half width.
        pane_end: x of the last side pane's rear edge at the belt and at the roof.
        pillars: x of the pillars between side panes.
        doors: x of door seams.
        lamp: outline of the right headlamp in (y / half width, z).
        bulbs: (y / half width, z, radius in metres) of the right headlamp's lights.
        grille, grille_box: style, and (y / half width, z low, z high).
        intake: lower opening: (y / half width, z low, z high).
        tail_lamp: outline of the right tail lamp in (y / half width, z).
        tail_bar: z low and high of a lamp bar between the tail lamps.
        lid: z of the seam under the boot lid or hatch.
        rear_plate, front_plate: z of the plates' centres.
        wheels: wheel styles it is sold with.
        cladding: bare plastic round the arches and along the sill.
        bright_trim: chrome round the side panes.
        rails: roof rails.
        spare: a spare wheel on the tailgate.
        crease: z of the flank's crease above (or below) the belt line, and its depth.
    """

    name: str
    keys: tuple[Key, ...]
    axles: tuple[float, float]
    wheel_radius: float
    half_width: float
    belt: tuple[float, float]
    tumblehome: float
    edge_radius: float
    taper: tuple[float, float]
    pane_end: tuple[float, float]
    pillars: tuple[float, ...]
    doors: tuple[float, ...]
    lamp: Points
    bulbs: tuple[tuple[float, float, float], ...]
    grille: Grille
    grille_box: tuple[float, float, float]
    intake: tuple[float, float, float]
    tail_lamp: Points
    tail_bar: tuple[float, float] | None
    lid: float
    rear_plate: float
    front_plate: float
    wheels: tuple[WheelStyle, ...]
    cladding: bool = False
    bright_trim: bool = False
    rails: bool = False
    spare: bool = False
    crease: tuple[float, float] = (-0.12, 0.012)

    @property
    def length(self) -> float:
        return float(max(x for x, _, _ in self.keys))

    @property
    def middle(self) -> float:
        """The x midway between the axles: where the camera looks."""
        return (self.axles[0] + self.axles[1]) / 2


_WAVE = Design(
    name="Волна",
    keys=(
        (0.12, 0.20, 0.0),
        (0.00, 0.47, 0.16),
        (0.12, 0.75, 0.12),
        (0.62, 0.92, 0.40),
        (1.20, 1.00, 0.12),
        (1.98, 1.43, 0.34),
        (2.55, 1.47, 0.25),
        (3.15, 1.40, 0.26),
        (3.86, 1.08, 0.22),
        (4.50, 1.04, 0.09),
        (4.60, 0.62, 0.14),
        (4.46, 0.24, 0.0),
    ),
    axles=(0.90, 3.54),
    wheel_radius=0.325,
    half_width=0.89,
    belt=(0.93, 0.025),
    tumblehome=0.36,
    edge_radius=0.10,
    taper=(0.13, 0.11),
    pane_end=(3.62, 3.10),
    pillars=(2.42, 3.22),
    doors=(1.36, 2.42, 3.30),
    lamp=((0.50, 0.62), (0.98, 0.68), (1.0, 0.80), (0.80, 0.80), (0.52, 0.70)),
    bulbs=((0.64, 0.675, 0.055), (0.83, 0.725, 0.065)),
    grille="bars",
    grille_box=(0.40, 0.57, 0.71),
    intake=(0.62, 0.25, 0.37),
    tail_lamp=((0.50, 0.80), (1.0, 0.76), (1.0, 0.98), (0.58, 0.97)),
    tail_bar=None,
    lid=0.66,
    rear_plate=0.78,
    front_plate=0.46,
    wheels=("five", "cover"),
    bright_trim=True,
)

_MERULA = Design(
    name="Merula",
    keys=(
        (0.06, 0.22, 0.0),
        (0.00, 0.50, 0.07),
        (0.05, 0.81, 0.05),
        (0.62, 0.90, 0.25),
        (1.32, 0.96, 0.05),
        (1.98, 1.40, 0.14),
        (2.60, 1.44, 0.20),
        (3.20, 1.41, 0.12),
        (3.70, 1.03, 0.08),
        (4.45, 1.00, 0.05),
        (4.52, 0.60, 0.06),
        (4.44, 0.25, 0.0),
    ),
    axles=(0.84, 3.46),
    wheel_radius=0.31,
    half_width=0.86,
    belt=(0.91, 0.012),
    tumblehome=0.30,
    edge_radius=0.055,
    taper=(0.07, 0.06),
    pane_end=(3.42, 3.12),
    pillars=(2.40, 3.14),
    doors=(1.42, 2.40, 3.22),
    lamp=((0.56, 0.62), (1.0, 0.62), (1.0, 0.77), (0.56, 0.77)),
    bulbs=((0.67, 0.695, 0.058), (0.84, 0.695, 0.058)),
    grille="slats",
    grille_box=(0.50, 0.60, 0.79),
    intake=(0.72, 0.27, 0.36),
    tail_lamp=((0.42, 0.76), (1.0, 0.76), (1.0, 0.93), (0.42, 0.93)),
    tail_bar=None,
    lid=0.64,
    rear_plate=0.55,
    front_plate=0.47,
    wheels=("steel", "ten"),
    crease=(-0.28, 0.014),
)

DESIGNS: tuple[Design, ...] = (
    _WAVE,
    replace(
        _WAVE,
        name="Волна Лифт",
        keys=(
            *_WAVE.keys[:7],
            (3.56, 1.352, 0.20),
            (4.02, 1.05, 0.12),
            (4.13, 0.93, 0.08),
            (4.18, 0.58, 0.12),
            (4.06, 0.24, 0.0),
        ),
        pane_end=(3.86, 3.52),
        pillars=(2.42, 3.22),
        tail_lamp=((0.70, 0.62), (1.0, 0.60), (1.0, 1.02), (0.82, 1.05)),
        lid=0.50,
        rear_plate=0.72,
    ),
    _MERULA,
    replace(
        _MERULA,
        name="Merula Corta",
        keys=(
            *_MERULA.keys[:7],
            (3.62, 1.389, 0.09),
            (4.00, 1.00, 0.07),
            (4.07, 0.90, 0.04),
            (4.12, 0.56, 0.06),
            (4.04, 0.25, 0.0),
        ),
        pane_end=(3.78, 3.55),
        pillars=(2.40, 3.14),
        tail_lamp=((0.76, 0.56), (1.0, 0.56), (1.0, 0.94), (0.76, 0.94)),
        lid=0.52,
        rear_plate=0.70,
    ),
    Design(
        name="Искра 5",
        keys=(
            (0.10, 0.20, 0.0),
            (0.00, 0.45, 0.13),
            (0.10, 0.78, 0.14),
            (0.38, 0.95, 0.22),
            (0.74, 1.03, 0.12),
            (1.42, 1.47, 0.30),
            (1.95, 1.54, 0.40),
            (2.95, 1.46, 0.20),
            (3.36, 1.05, 0.14),
            (3.46, 0.88, 0.08),
            (3.52, 0.50, 0.12),
            (3.40, 0.22, 0.0),
        ),
        axles=(0.64, 2.94),
        wheel_radius=0.295,
        half_width=0.80,
        belt=(0.93, 0.045),
        tumblehome=0.28,
        edge_radius=0.13,
        taper=(0.16, 0.12),
        pane_end=(3.06, 2.86),
        pillars=(2.08,),
        doors=(0.98, 2.08),
        lamp=tuple(
            (0.74 + 0.17 * float(np.cos(a)), 0.72 + 0.135 * float(np.sin(a)))
            for a in np.linspace(0.0, 2 * np.pi, 17)[:-1]
        ),
        bulbs=((0.74, 0.72, 0.085),),
        grille="slit",
        grille_box=(0.42, 0.60, 0.65),
        intake=(0.55, 0.26, 0.42),
        tail_lamp=tuple(
            (0.84 + 0.13 * float(np.cos(a)), 0.86 + 0.12 * float(np.sin(a)))
            for a in np.linspace(0.0, 2 * np.pi, 17)[:-1]
        ),
        tail_bar=None,
        lid=0.48,
        rear_plate=0.66,
        front_plate=0.49,
        wheels=("cover", "five"),
        crease=(-0.20, 0.008),
    ),
    Design(
        name="Буран",
        keys=(
            (0.06, 0.42, 0.0),
            (0.00, 0.60, 0.04),
            (0.03, 1.04, 0.05),
            (0.50, 1.08, 0.20),
            (1.28, 1.12, 0.04),
            (1.64, 1.78, 0.10),
            (2.20, 1.84, 0.25),
            (3.72, 1.82, 0.10),
            (3.86, 1.18, 0.05),
            (3.88, 1.05, 0.03),
            (3.90, 0.62, 0.05),
            (3.84, 0.42, 0.0),
        ),
        axles=(0.74, 3.06),
        wheel_radius=0.385,
        half_width=0.86,
        belt=(1.06, 0.0),
        tumblehome=0.12,
        edge_radius=0.05,
        taper=(0.03, 0.02),
        pane_end=(3.62, 3.58),
        pillars=(2.28, 3.02),
        doors=(1.34, 2.28, 3.02),
        lamp=tuple(
            (0.70 + 0.155 * float(np.cos(a)), 0.86 + 0.125 * float(np.sin(a)))
            for a in np.linspace(0.0, 2 * np.pi, 17)[:-1]
        ),
        bulbs=((0.70, 0.86, 0.095),),
        grille="slots",
        grille_box=(0.46, 0.72, 0.99),
        intake=(0.80, 0.44, 0.52),
        tail_lamp=((0.84, 0.66), (0.97, 0.66), (0.97, 0.96), (0.84, 0.96)),
        tail_bar=None,
        lid=0.62,
        rear_plate=0.56,
        front_plate=0.57,
        wheels=("steel", "star"),
        cladding=True,
        spare=True,
        crease=(-0.10, 0.02),
    ),
    Design(
        name="Kestrel",
        keys=(
            (0.14, 0.15, 0.0),
            (0.00, 0.34, 0.12),
            (0.14, 0.62, 0.12),
            (0.72, 0.80, 0.45),
            (1.46, 0.90, 0.16),
            (2.26, 1.24, 0.36),
            (2.62, 1.28, 0.28),
            (3.06, 1.23, 0.36),
            (3.98, 0.95, 0.20),
            (4.28, 0.97, 0.04),
            (4.36, 0.56, 0.14),
            (4.20, 0.22, 0.0),
        ),
        axles=(0.92, 3.42),
        wheel_radius=0.345,
        half_width=0.92,
        belt=(0.86, 0.03),
        tumblehome=0.52,
        edge_radius=0.12,
        taper=(0.17, 0.10),
        pane_end=(3.30, 2.92),
        pillars=(2.72,),
        doors=(1.50, 2.80),
        lamp=((0.56, 0.58), (1.0, 0.62), (1.0, 0.69), (0.58, 0.62)),
        bulbs=((0.72, 0.615, 0.028), (0.86, 0.635, 0.028)),
        grille="mesh",
        grille_box=(0.46, 0.26, 0.54),
        intake=(0.90, 0.17, 0.23),
        tail_lamp=((0.48, 0.82), (1.0, 0.80), (1.0, 0.90), (0.48, 0.88)),
        tail_bar=(0.83, 0.875),
        lid=0.74,
        rear_plate=0.48,
        front_plate=0.42,
        wheels=("star", "blade"),
        crease=(-0.16, 0.022),
    ),
    Design(
        name="Пилигрим",
        keys=(
            (0.10, 0.21, 0.0),
            (0.00, 0.50, 0.12),
            (0.08, 0.80, 0.09),
            (0.66, 0.94, 0.40),
            (1.30, 1.01, 0.10),
            (2.04, 1.45, 0.28),
            (2.70, 1.50, 0.30),
            (4.28, 1.43, 0.16),
            (4.68, 1.06, 0.10),
            (4.74, 0.92, 0.06),
            (4.80, 0.55, 0.12),
            (4.68, 0.24, 0.0),
        ),
        axles=(0.94, 3.76),
        wheel_radius=0.335,
        half_width=0.90,
        belt=(0.95, 0.022),
        tumblehome=0.32,
        edge_radius=0.08,
        taper=(0.11, 0.07),
        pane_end=(4.46, 4.20),
        pillars=(2.52, 3.42),
        doors=(1.44, 2.52, 3.50),
        lamp=((0.54, 0.68), (1.0, 0.66), (1.0, 0.80), (0.54, 0.77)),
        bulbs=((0.68, 0.72, 0.048), (0.84, 0.725, 0.048)),
        grille="shield",
        grille_box=(0.46, 0.44, 0.79),
        intake=(0.86, 0.25, 0.36),
        tail_lamp=((0.78, 0.66), (1.0, 0.66), (1.0, 1.16), (0.88, 1.20), (0.88, 0.96)),
        tail_bar=None,
        lid=0.52,
        rear_plate=0.78,
        front_plate=0.40,
        wheels=("ten", "blade"),
        bright_trim=True,
        rails=True,
    ),
    Design(
        name="Marmot",
        keys=(
            (0.06, 0.24, 0.0),
            (0.00, 0.50, 0.10),
            (0.06, 0.92, 0.12),
            (0.32, 1.06, 0.20),
            (0.66, 1.14, 0.08),
            (1.32, 1.80, 0.22),
            (2.00, 1.94, 0.40),
            (4.36, 1.93, 0.13),
            (4.50, 1.15, 0.06),
            (4.53, 1.00, 0.05),
            (4.56, 0.55, 0.07),
            (4.50, 0.25, 0.0),
        ),
        axles=(0.86, 3.74),
        wheel_radius=0.325,
        half_width=0.94,
        belt=(1.08, 0.0),
        tumblehome=0.13,
        edge_radius=0.09,
        taper=(0.12, 0.03),
        pane_end=(4.30, 4.26),
        pillars=(1.98, 3.16),
        doors=(1.06, 1.98, 3.16),
        lamp=((0.66, 0.66), (0.98, 0.70), (1.0, 1.0), (0.84, 0.98), (0.68, 0.80)),
        bulbs=((0.80, 0.75, 0.060), (0.90, 0.88, 0.055)),
        grille="bars",
        grille_box=(0.56, 0.70, 0.84),
        intake=(0.66, 0.28, 0.46),
        tail_lamp=((0.86, 0.62), (1.0, 0.62), (1.0, 1.34), (0.88, 1.34)),
        tail_bar=None,
        lid=0.42,
        rear_plate=0.84,
        front_plate=0.54,
        wheels=("cover", "steel"),
        crease=(-0.34, 0.012),
    ),
    Design(
        name="Тайга",
        keys=(
            (0.09, 0.30, 0.0),
            (0.00, 0.58, 0.11),
            (0.07, 0.94, 0.10),
            (0.56, 1.05, 0.40),
            (1.18, 1.13, 0.12),
            (1.94, 1.60, 0.28),
            (2.50, 1.66, 0.35),
            (3.74, 1.58, 0.18),
            (4.22, 1.22, 0.10),
            (4.32, 1.10, 0.06),
            (4.42, 0.62, 0.12),
            (4.30, 0.32, 0.0),
        ),
        axles=(0.88, 3.52),
        wheel_radius=0.37,
        half_width=0.92,
        belt=(1.06, 0.045),
        tumblehome=0.30,
        edge_radius=0.09,
        taper=(0.11, 0.08),
        pane_end=(3.90, 3.70),
        pillars=(2.44, 3.22),
        doors=(1.36, 2.44, 3.30),
        lamp=((0.54, 0.85), (1.0, 0.87), (1.0, 0.93), (0.54, 0.90)),
        bulbs=((0.80, 0.70, 0.060), (0.74, 0.885, 0.02), (0.88, 0.89, 0.02)),
        grille="mesh",
        grille_box=(0.52, 0.62, 0.84),
        intake=(0.74, 0.36, 0.50),
        tail_lamp=((0.56, 0.98), (1.0, 0.98), (1.0, 1.07), (0.56, 1.05)),
        tail_bar=(1.0, 1.04),
        lid=0.60,
        rear_plate=0.84,
        front_plate=0.56,
        wheels=("blade", "five"),
        cladding=True,
        rails=True,
        crease=(-0.18, 0.018),
    ),
)
"""Class k of the sample lot is DESIGNS[k]."""

SISTERS: tuple[tuple[int, int], ...] = ((0, 1), (2, 3))
"""Pairs of classes with one front and two tails: a saloon and a hatchback."""
