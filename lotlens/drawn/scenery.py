"""Places, light and the camera of the sample lot's photos; knows nothing of cars.

World axes, in metres: X to the camera's right, Y away from it, Z up from the road; the camera
stands at X = 0. Colours are floats with 1.0 for white.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Pixels = NDArray[np.float32]
Place = Literal["street", "lot", "field", "wall", "garage", "showroom"]

OUTDOOR_PLACES: tuple[Place, ...] = ("street", "lot", "field", "wall")
TILE = 256


@dataclass(frozen=True)
class Camera:
    """A pinhole camera.

    Attributes:
        position: (X, Y, Z).
        axes: [3, 3] rows right, down, forward.
        focal: focal length in pixels.
        centre: the principal point in pixels.
        width, height: of the photo in pixels.
    """

    position: Floats
    axes: Floats
    focal: float
    centre: tuple[float, float]
    width: int
    height: int

    def project(self, points: Floats) -> tuple[Floats, Floats]:
        """Pixel positions [..., 2] and depths [...] of world points [..., 3]."""
        seen = (points - self.position) @ self.axes.T
        depth = np.maximum(seen[..., 2], 0.05)
        pixels = seen[..., :2] / depth[..., None] * self.focal + np.array(self.centre)
        return pixels, seen[..., 2]

    def cast(self, columns: Floats, rows: Floats) -> Floats:
        """World directions [..., 3], not of unit length, through pixel positions."""
        across = (columns - self.centre[0]) / self.focal
        down = (rows - self.centre[1]) / self.focal
        direction: Floats = (
            across[..., None] * self.axes[0] + down[..., None] * self.axes[1] + self.axes[2]
        )
        return direction


def aim_camera(
    distance: float, height: float, tilt: float, roll: float, width: int, photo_height: int
) -> Camera:
    """A camera `distance` metres before the world's origin; angles in radians, tilt downwards."""
    forward = np.array([0.0, np.cos(tilt), -np.sin(tilt)])
    right, down = np.array([1.0, 0.0, 0.0]), np.array([0.0, -np.sin(tilt), -np.cos(tilt)])
    axes = np.stack(
        [
            np.cos(roll) * right + np.sin(roll) * down,
            -np.sin(roll) * right + np.cos(roll) * down,
            forward,
        ]
    )
    return Camera(
        position=np.array([0.0, -distance, height]),
        axes=axes,
        focal=float(width),
        centre=(width / 2, photo_height / 2),
        width=width,
        height=photo_height,
    )


@dataclass(frozen=True)
class Light:
    """The light of one photo.

    Attributes:
        ambient: colour and strength of the light from everywhere.
        sun: direction to the sun (or the brightest lamp), of unit length.
        sun_colour: colour and strength; zeros under clouds.
        zenith, horizon: colours of the sky, also what bodywork mirrors.
        road: colour that bodywork mirrors from below.
        flash: strength of the camera's flash.
        dark: night: lamps shine.
    """

    ambient: Floats
    sun: Floats
    sun_colour: Floats
    zenith: Floats
    horizon: Floats
    road: Floats
    flash: float
    dark: bool


def choose_light(rng: np.random.Generator, place: Place, night: bool) -> Light:
    """Sunny, clouded, low sun, night, or lamps on a ceiling."""
    azimuth = rng.uniform(0, 2 * np.pi)
    elevation = np.deg2rad(rng.uniform(28, 65))
    sun = np.array(
        [
            np.cos(elevation) * np.cos(azimuth),
            np.cos(elevation) * np.sin(azimuth),
            np.sin(elevation),
        ]
    )
    if place in ("garage", "showroom"):
        bright = 0.95 if place == "showroom" else rng.uniform(0.45, 0.75)
        warm = np.array([1.0, 0.97, 0.90]) if place == "showroom" else np.array([1.0, 0.95, 0.82])
        return Light(
            ambient=0.75 * bright * warm,
            sun=np.array([0.15, -0.35, 0.92]),
            sun_colour=0.35 * bright * warm,
            zenith=bright * warm * 1.05,
            horizon=bright * warm * 0.5,
            road=bright * warm * 0.35,
            flash=0.0,
            dark=False,
        )
    if night:
        lamp = np.array([1.0, 0.80, 0.52])
        flash = rng.uniform(0.35, 0.75) if rng.random() < 0.5 else 0.0
        glow = rng.uniform(0.16, 0.30)
        return Light(
            ambient=glow * np.array([0.85, 0.9, 1.15]),
            sun=sun,
            sun_colour=rng.uniform(0.25, 0.5) * lamp,
            zenith=np.array([0.03, 0.04, 0.08]),
            horizon=np.array([0.16, 0.14, 0.16]),
            road=np.array([0.08, 0.07, 0.06]),
            flash=flash,
            dark=True,
        )
    kind = rng.choice(["sun", "cloud", "evening"], p=[0.45, 0.40, 0.15])
    if kind == "sun":
        return Light(
            ambient=np.array([0.50, 0.55, 0.63]),
            sun=sun,
            sun_colour=np.array([0.66, 0.62, 0.54]),
            zenith=np.array([0.33, 0.52, 0.82]),
            horizon=np.array([0.80, 0.87, 0.93]),
            road=np.array([0.36, 0.36, 0.36]),
            flash=0.0,
            dark=False,
        )
    if kind == "cloud":
        grey = rng.uniform(0.72, 0.92)
        return Light(
            ambient=grey * np.array([0.88, 0.90, 0.93]),
            sun=np.array([0.0, 0.0, 1.0]),
            sun_colour=grey * np.array([0.12, 0.12, 0.12]),
            zenith=grey * np.array([0.80, 0.83, 0.88]),
            horizon=grey * np.array([0.98, 0.98, 1.0]),
            road=grey * np.array([0.34, 0.34, 0.35]),
            flash=0.0,
            dark=False,
        )
    low = np.deg2rad(rng.uniform(24, 32))
    return Light(
        ambient=np.array([0.40, 0.38, 0.44]),
        sun=np.array([np.cos(low) * np.cos(azimuth), np.cos(low) * np.sin(azimuth), np.sin(low)]),
        sun_colour=np.array([0.78, 0.52, 0.28]),
        zenith=np.array([0.36, 0.42, 0.62]),
        horizon=np.array([0.98, 0.74, 0.50]),
        road=np.array([0.30, 0.27, 0.25]),
        flash=0.0,
        dark=False,
    )


@cache
def _grow_tiles() -> tuple[Pixels, Pixels]:
    """Two tiles of noise [TILE, TILE] that wrap round, mean 0 and deviation 1: fine and cloudy."""
    rng = np.random.default_rng(7)
    frequency = np.hypot(np.fft.fftfreq(TILE)[:, None], np.fft.rfftfreq(TILE)[None, :])
    tiles = []
    for power in (0.7, 1.7):
        spectrum = np.fft.rfft2(rng.standard_normal((TILE, TILE)))
        spectrum = spectrum / np.maximum(frequency, 1 / TILE) ** power
        spectrum[0, 0] = 0
        tile = np.fft.irfft2(spectrum, s=(TILE, TILE))
        tiles.append((tile / tile.std()).astype(np.float32))
    return tiles[0], tiles[1]


def sample_noise(x: NDArray[Any], y: NDArray[Any], scale: float, *, cloudy: bool = False) -> Pixels:
    """Noise of deviation 1 at points; `scale` in texels a metre."""
    tile = _grow_tiles()[1 if cloudy else 0]
    # Far from zero, so that cutting off the fraction always rounds downwards.
    column = (x * np.float32(scale) + np.float32(64 * TILE)).astype(np.int32) & (TILE - 1)
    row = (y * np.float32(scale) + np.float32(64 * TILE)).astype(np.int32) & (TILE - 1)
    found: Pixels = tile.ravel().take(row * TILE + column)
    return found


@dataclass(frozen=True)
class _View:
    """What the rays of one photo meet: the ground, one upright plane, or the sky."""

    x: Pixels
    y: Pixels
    z: Pixels
    distance: Pixels
    on_ground: NDArray[np.bool_]
    on_wall: NDArray[np.bool_]
    ray: tuple[Pixels, Pixels, Pixels]
    spread: Pixels  # metres a pixel, for fading patterns too fine to show


def _look(camera: Camera, wall_y: float, wall_top: float, skew: float) -> _View:
    turned, origin = camera.axes, camera.position
    across = np.arange(camera.width, dtype=np.float32) + np.float32(0.5 - camera.centre[0])
    down = np.arange(camera.height, dtype=np.float32) + np.float32(0.5 - camera.centre[1])
    across, down = across / np.float32(camera.focal), down[:, None] / np.float32(camera.focal)
    ray_x, ray_y, ray_z = (
        turned[0, i] * across + turned[1, i] * down + turned[2, i] for i in range(3)
    )
    far = np.float32(1e3)
    ground_t = np.minimum(-origin[2] / np.minimum(ray_z, np.float32(-1e-4)), far)
    slope = np.maximum(ray_y - np.float32(skew) * ray_x, np.float32(1e-4))
    wall_t = np.minimum(np.float32(wall_y - camera.position[1]) / slope, far)
    wall_z = origin[2] + wall_t * ray_z
    on_wall = (wall_t < ground_t) & (wall_z < wall_top) & (wall_t < 900)
    reach = np.where(on_wall, wall_t, ground_t)
    on_ground = ~on_wall & (ground_t < 900)
    length = np.sqrt(ray_x**2 + ray_y**2 + ray_z**2)
    return _View(
        x=origin[0] + reach * ray_x,
        y=origin[1] + reach * ray_y,
        z=origin[2] + reach * ray_z,
        distance=reach * length,
        on_ground=on_ground,
        on_wall=on_wall,
        ray=(ray_x, ray_y, ray_z),
        spread=reach / np.float32(camera.focal),
    )


BAND_ROWS = 40
"""Pictures are computed in bands that stay in the processor's cache: twice as fast."""


def paint_backdrop(
    rng: np.random.Generator,
    camera: Camera,
    light: Light,
    place: Place,
    *,
    clearance: float,
    snow: float,
) -> Pixels:
    """The place as the camera sees it: lit colours [3, height, width], float32.

    Args:
        rng: draws what the place is like.
        camera: the camera.
        light: the light.
        place: what kind of place.
        clearance: Y in metres behind which walls may stand.
        snow: part of the ground under snow, 0 to 1.
    """
    picture = np.empty((3, camera.height, camera.width), dtype=np.float32)
    seed = int(rng.integers(2**62))
    for top in range(0, camera.height, BAND_ROWS):
        band = replace(
            camera,
            centre=(camera.centre[0], camera.centre[1] - top),
            height=min(BAND_ROWS, camera.height - top),
        )
        # Every band starts from the same seed and draws its numbers in the same order, so that
        # all show one place; a band that sees only ground may stop early.
        picture[:, top : top + band.height] = _paint_band(
            np.random.default_rng(seed), band, light, place, clearance, snow
        )
    return picture


def _paint_band(
    rng: np.random.Generator,
    camera: Camera,
    light: Light,
    place: Place,
    clearance: float,
    snow: float,
) -> Pixels:
    outdoors = place in OUTDOOR_PLACES
    cloud_shift = float(rng.uniform(0, 50))
    albedo, view = _PAINTERS[place](rng, camera, clearance)
    if snow > 0 and outdoors and view.on_ground.any():
        cover = sample_noise(view.x, view.y, 12.0, cloudy=True)
        lying = np.clip((cover + 3.2 * snow - 0.9) * 1.5, 0, 1) * view.on_ground
        white = 0.90 + 0.03 * sample_noise(view.x, view.y, 60.0)
        albedo = albedo * (1 - lying) + _colour(0.97, 0.98, 1.0) * (white * lying)

    ambient, sunlight = _colour(*light.ambient), _colour(*light.sun_colour)
    level = ambient + sunlight * float(np.clip(light.sun[2], 0.25, 1))
    upright = ambient + sunlight * float(np.clip(-light.sun[1], 0.0, 1)) * 0.9
    strength = np.where(view.on_wall, upright, level)
    if light.dark:
        # Street lamps make pools of light.
        pools = 0.55 + 0.45 * sample_noise(view.x, view.y, 3.0, cloudy=True)
        strength = strength * np.clip(pools, 0.3, 1.4)
    if light.flash > 0:
        # A flash falls off with the square of the distance.
        strength = strength + np.clip(
            light.flash * (4.5 / np.maximum(view.distance, 2.5)) ** 2, 0, 1
        )
    lit = albedo * strength
    horizon, zenith = _colour(*light.horizon), _colour(*light.zenith)
    if outdoors:
        haze = np.clip(view.distance / 160.0, 0, 0.5)
        lit = lit * (1 - haze) + horizon * haze
    sky = ~(view.on_ground | view.on_wall)
    if sky.any():
        across, ahead, up = view.ray
        elevation = up / np.sqrt(across**2 + ahead**2 + up**2)
        height = np.clip(elevation * 1.8, 0, 1)
        heaven = horizon * (1 - height) + zenith * height
        if outdoors and not light.dark:
            azimuth = np.arctan2(across, ahead)
            cloud = sample_noise(
                azimuth * 20 + cloud_shift, elevation * 60 + cloud_shift, 3.0, cloudy=True
            )
            heaven = heaven + np.clip(cloud * 0.07, -0.04, 0.16)
        lit = np.where(sky, heaven, lit)
    seen: Pixels = np.clip(lit, 0, 1.3)
    return seen


def _colour(*channels: float) -> Pixels:
    """A colour [3, 1, 1], to be spread over a picture [3, height, width]."""
    return np.array(channels, dtype=np.float32)[:, None, None]


def _fade(view: _View, period: float) -> Pixels:
    """1 where a pattern of this period in metres can be seen, 0 where it is finer than pixels."""
    faded: Pixels = np.asarray(np.clip(period / (view.spread * 2.5) - 0.6, 0, 1), dtype=np.float32)
    return faded


def _grain(view: _View, scale: float, amount: float) -> Pixels:
    fine = sample_noise(view.x, view.y, scale) * _fade(view, 4.0 / scale)
    broad = sample_noise(view.x, view.y, scale / 12, cloudy=True)
    grained: Pixels = np.float32(1) + np.float32(0.7 * amount) * (fine + broad)
    return grained


def _asphalt(rng: np.random.Generator, view: _View) -> Pixels:
    tone = rng.uniform(0.26, 0.46)
    hue = _colour(tone, tone, tone * rng.uniform(0.97, 1.06))
    if not view.on_ground.any():
        return np.broadcast_to(hue, (3, *view.x.shape))
    base = hue * _grain(view, 45.0, 0.12)
    cracks = np.abs(sample_noise(view.x, view.y, 9.0, cloudy=True)) < 0.035
    cracked: Pixels = base * (1 - 0.25 * (cracks * _fade(view, 0.15)))
    return cracked


def _leaves(view: _View, scale: float = 14.0) -> Pixels:
    clump = sample_noise(view.x + view.y, view.z, scale) * 0.6
    clump = clump + sample_noise(view.x, view.z * 1.3, scale / 3, cloudy=True)
    shade = np.clip(0.62 + 0.22 * clump, 0.15, 1.2)
    leaves: Pixels = _colour(0.24, 0.36, 0.15) * shade
    return leaves


def _windows(
    view: _View,
    base: Pixels,
    period: tuple[float, float],
    size: tuple[float, float],
    offset: tuple[float, float],
    glass: Pixels,
) -> Pixels:
    """Rows of windows on the wall."""
    column = np.mod(view.x + offset[0], period[0]) - period[0] / 2
    row = np.mod(view.z - offset[1], period[1]) - period[1] / 2
    pane = (np.abs(column) < size[0] / 2) & (np.abs(row) < size[1] / 2) & (view.z > offset[1])
    frame = (np.abs(column) < size[0] / 2 + 0.10) & (np.abs(row) < size[1] / 2 + 0.10)
    frame = frame & (view.z > offset[1]) & ~pane
    cross = pane & (np.abs(column) < 0.04)
    painted = np.where(frame, _colour(0.85, 0.85, 0.83), base)
    painted = np.where(pane, glass, painted)
    crossed: Pixels = np.where(cross, _colour(0.85, 0.85, 0.83), painted)
    return crossed


_WALL_COLOURS = (
    (0.74, 0.66, 0.52),
    (0.80, 0.76, 0.66),
    (0.62, 0.44, 0.36),
    (0.66, 0.70, 0.72),
    (0.82, 0.78, 0.74),
    (0.56, 0.58, 0.52),
    (0.78, 0.60, 0.44),
)


def _paint_street(
    rng: np.random.Generator, camera: Camera, clearance: float
) -> tuple[Pixels, _View]:
    kerb = clearance + rng.uniform(0.3, 1.6)
    wall = kerb + rng.uniform(2.0, 4.5)
    view = _look(camera, wall, rng.uniform(6.5, 14.0), rng.uniform(-0.12, 0.12))
    albedo = _asphalt(rng, view)
    dash = (np.abs(view.y + rng.uniform(2.2, 3.4)) < 0.08) & (np.mod(view.x, 3.0) < 1.7)
    albedo = np.where(dash & view.on_ground, _colour(0.80), albedo)
    pavement = view.on_ground & (view.y > kerb)
    slabs = _colour(0.58, 0.57, 0.55) * _grain(view, 30.0, 0.06)
    joints = (np.mod(view.x, 0.8) < 0.04) | (np.mod(view.y, 0.8) < 0.04)
    slabs = slabs * (1 - 0.25 * (joints * _fade(view, 0.5)))
    albedo = np.where(pavement, slabs, albedo)
    stone = view.on_ground & (np.abs(view.y - kerb) < 0.14)
    albedo = np.where(stone, _colour(0.72, 0.72, 0.70), albedo)
    if not view.on_wall.any():
        return albedo, view
    base = _colour(*_WALL_COLOURS[rng.integers(len(_WALL_COLOURS))])
    facade = base * _grain(view, 9.0, 0.05)
    plinth = view.z < 0.7
    facade = np.where(plinth, facade * 0.62, facade)
    panes = 0.16 + 0.10 * sample_noise(view.x, view.z, 1.2, cloudy=True)
    facade = _windows(
        view,
        facade,
        (rng.uniform(2.2, 3.2), 2.9),
        (rng.uniform(1.0, 1.5), 1.5),
        (rng.uniform(0, 3), 0.7),
        panes * _colour(0.9, 1.0, 1.15),
    )
    if rng.random() < 0.5:
        shop = (view.z < 2.9) & (view.z > 0.5) & (np.mod(view.x + rng.uniform(0, 5), 5.0) < 4.2)
        facade = np.where(shop, panes * _colour(1.2, 1.2, 1.3) + 0.12, facade)
        sign = (view.z > 2.9) & (view.z < 3.5)
        facade = np.where(sign, _colour(*rng.uniform(0.2, 0.8, 3)), facade)
    albedo = np.where(view.on_wall, facade, albedo)
    return albedo, view


def _paint_lot(rng: np.random.Generator, camera: Camera, clearance: float) -> tuple[Pixels, _View]:
    fence = clearance + rng.uniform(1.2, 5.0)
    style = rng.choice(["boards", "sheet", "hedge", "flats"])
    top = {"boards": 1.9, "sheet": 2.3, "hedge": 1.7, "flats": 16.0}[str(style)]
    if style == "flats":
        fence = clearance + rng.uniform(22.0, 38.0)
    view = _look(camera, fence, top, rng.uniform(-0.10, 0.10))
    albedo = _asphalt(rng, view)
    bay = rng.uniform(2.5, 2.9)
    lines = (np.abs(np.mod(view.x + rng.uniform(0, bay), bay) - 0.1) < 0.05) & (view.y > -1.0)
    lines = lines & (view.y < clearance + 1.0) & view.on_ground
    albedo = np.where(lines, albedo * 0.35 + 0.52, albedo)
    if style == "flats":
        verge = view.on_ground & (view.y > clearance + 4)
        grass = _colour(0.30, 0.38, 0.18) * _grain(view, 20.0, 0.15)
        albedo = np.where(verge, grass, albedo)
    if not view.on_wall.any():
        return albedo, view
    if style == "boards":
        hue = _colour(*rng.uniform(0.25, 0.55, 3))
        board = np.mod(view.x, 0.16)
        shade = 0.85 + 0.15 * sample_noise(np.floor(view.x / 0.16), view.y * 0, 1.0)
        wall = hue * shade * (1 - 0.5 * ((board < 0.02) * _fade(view, 0.1)))
    elif style == "sheet":
        hue = _colour(
            *((0.25, 0.40, 0.28), (0.30, 0.36, 0.52), (0.48, 0.24, 0.20))[rng.integers(3)]
        )
        wave = 1 + 0.22 * np.sin(view.x * 2 * np.pi / 0.22) * _fade(view, 0.22)
        wall = hue * wave
    elif style == "hedge":
        wall = _leaves(view)
    else:
        base = _colour(0.78, 0.77, 0.74) * _grain(view, 4.0, 0.03)
        seam = (np.mod(view.z, 2.8) < 0.12) | (np.mod(view.x, 3.4) < 0.12)
        base = base * (1 - 0.2 * seam)
        wall = _windows(
            view,
            base,
            (3.4, 2.8),
            (1.5, 1.4),
            (0.0, 0.6),
            _colour(0.22, 0.26, 0.30),
        )
        trees = view.z < 3.0 + 1.4 * sample_noise(view.x, view.y * 0, 5.0, cloudy=True)
        wall = np.where(trees, _leaves(view, 5.0), wall)
    albedo = np.where(view.on_wall, wall, albedo)
    return albedo, view


def _paint_field(
    rng: np.random.Generator, camera: Camera, clearance: float
) -> tuple[Pixels, _View]:
    view = _look(camera, clearance + rng.uniform(14.0, 55.0), 30.0, 0.0)
    tree_height = rng.uniform(3.0, 6.0)
    crowns = tree_height + 1.2 * sample_noise(view.x, view.y * 0, 7.0, cloudy=True)
    crowns = crowns + 0.35 * sample_noise(view.x, view.z, 10.0)
    # What is above the crowns is sky again.
    trees = view.on_wall & (view.z < crowns)
    view = replace(view, on_wall=trees)
    autumn = rng.random()
    green = _colour(0.34 + 0.24 * autumn, 0.44 - 0.04 * autumn, 0.20)
    blades = sample_noise(view.x * 3, view.y, 30.0) * _fade(view, 0.15)
    grass = green * (1 + 0.20 * blades) * _grain(view, 20.0, 0.12)
    albedo = grass
    track = sample_noise(view.y, view.x * 0, 6.0, cloudy=True) * 0.15
    width = rng.uniform(1.4, 3.2)
    middle = rng.uniform(-0.6, 0.6)
    path = np.clip((width - np.abs(view.y - middle) + track) * 3, 0, 1)
    soil = _colour(0.50, 0.43, 0.34) * _grain(view, 35.0, 0.14)
    albedo = albedo * (1 - path) + soil * path
    if not view.on_wall.any():
        return albedo, view
    forest = _leaves(view, 3.0) * (0.75 + 0.2 * autumn)
    albedo = np.where(trees, forest, albedo)
    return albedo, view


def _paint_wall(rng: np.random.Generator, camera: Camera, clearance: float) -> tuple[Pixels, _View]:
    view = _look(
        camera, clearance + rng.uniform(0.2, 1.6), rng.uniform(2.6, 7.0), rng.uniform(-0.2, 0.2)
    )
    albedo = _asphalt(rng, view)
    if not view.on_wall.any():
        return albedo, view
    if rng.random() < 0.5:
        course = np.floor(view.z / 0.085)
        along = view.x + 0.13 * np.mod(course, 2)
        brick = np.floor(along / 0.26)
        joint = (np.mod(view.z, 0.085) < 0.014) | (np.mod(along, 0.26) < 0.014)
        tone = 1 + 0.13 * sample_noise(brick, course, 1.0) * _fade(view, 0.12)
        base = _colour(
            *((0.56, 0.30, 0.22), (0.64, 0.50, 0.38), (0.70, 0.68, 0.62))[rng.integers(3)]
        )
        wall = base * tone
        mortar = joint * _fade(view, 0.06) * 0.7
        wall = wall * (1 - mortar) + 0.66 * mortar
    else:
        base = _colour(*_WALL_COLOURS[rng.integers(len(_WALL_COLOURS))])
        stain = sample_noise(view.x, view.z * 0.4, 8.0, cloudy=True)
        wall = base * (1 + 0.06 * stain) * _grain(view, 25.0, 0.03)
        slab = (np.mod(view.x, 3.0) < 0.03) | (np.mod(view.z, 2.4) < 0.03)
        wall = wall * (1 - 0.3 * slab)
    wall = np.where((view.z < 0.35), wall * 0.72, wall)
    albedo = np.where(view.on_wall, wall, albedo)
    return albedo, view


def _paint_garage(
    rng: np.random.Generator, camera: Camera, clearance: float
) -> tuple[Pixels, _View]:
    view = _look(camera, clearance + rng.uniform(0.2, 1.2), 50.0, rng.uniform(-0.1, 0.1))
    floor = _colour(0.52, 0.52, 0.50) * _grain(view, 20.0, 0.08)
    albedo = floor
    if not view.on_wall.any():
        return albedo, view
    wall = _colour(*((0.62, 0.62, 0.58), (0.50, 0.54, 0.52))[rng.integers(2)]) * _grain(
        view, 15.0, 0.04
    )
    if rng.random() < 0.6:
        half, middle = rng.uniform(1.5, 2.2), rng.uniform(-1.2, 1.2)
        door = (np.abs(view.x - middle) < half) & (view.z < 2.3)
        ribs = 1 - 0.25 * ((np.mod(view.z, 0.22) < 0.03) * _fade(view, 0.15))
        wall = np.where(door, _colour(0.72, 0.74, 0.76) * ribs, wall)
    else:
        band = (view.z > 0.9) & (view.z < 1.15)
        wall = np.where(band, _colour(*rng.uniform(0.2, 0.75, 3)), wall)
    ceiling = view.z > rng.uniform(2.7, 3.3)
    beams = np.mod(view.x, 1.2) < 0.14
    wall = np.where(ceiling, _colour(0.30) - 0.08 * beams, wall)
    tube = ceiling & (np.abs(np.mod(view.x, 2.6) - 1.3) < 0.5) & (np.mod(view.z, 1.4) < 0.16)
    wall = np.where(tube, _colour(1.6), wall)
    corner = 1 - 0.35 * np.exp(-view.z / 0.25)
    wall = wall * corner
    albedo = np.where(view.on_wall, wall, albedo)
    return albedo, view


def _paint_showroom(
    rng: np.random.Generator, camera: Camera, clearance: float
) -> tuple[Pixels, _View]:
    view = _look(camera, clearance + rng.uniform(1.0, 3.5), 60.0, rng.uniform(-0.15, 0.15))
    tile = (np.mod(view.x, 0.9) < 0.02) | (np.mod(view.y, 0.9) < 0.02)
    floor = _colour(0.74, 0.74, 0.75) * (1 - 0.18 * (tile * _fade(view, 0.4)))
    shine = np.clip(sample_noise(view.x, view.y, 2.0, cloudy=True) * 0.05, -0.05, 0.1)
    albedo = floor + shine
    if not view.on_wall.any():
        return albedo, view
    wall = _colour(0.88, 0.88, 0.87)
    hue = _colour(*rng.uniform(0.15, 0.7, 3))
    panel = np.mod(view.x + rng.uniform(0, 4), 4.2) < rng.uniform(0.8, 2.4)
    wall = np.where(panel & (view.z < 3.2), hue, wall)
    if rng.random() < 0.5:
        stripe = (view.z > 2.3) & (view.z < 2.6)
        wall = np.where(stripe, hue * 0.6 + 0.3, wall)
    ceiling = view.z > 3.6
    wall = np.where(ceiling, _colour(0.62), wall)
    spot = ceiling & (np.hypot(np.mod(view.x, 1.5) - 0.75, np.mod(view.z, 0.9) - 0.45) < 0.2)
    wall = np.where(spot, _colour(1.5), wall)
    albedo = np.where(view.on_wall, wall, albedo)
    return albedo, view


_Painter = Callable[[np.random.Generator, Camera, float], tuple[Pixels, _View]]
_PAINTERS: dict[Place, _Painter] = {
    "street": _paint_street,
    "lot": _paint_lot,
    "field": _paint_field,
    "wall": _paint_wall,
    "garage": _paint_garage,
    "showroom": _paint_showroom,
}
