"""Places and the camera: rays and projections agree, every place can be seen in every light."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lotlens.drawn import scenery
from lotlens.drawn.scenery import aim_camera, choose_light, paint_backdrop

PLACES = ("street", "lot", "field", "wall", "garage", "showroom")


@given(
    st.floats(4, 12),
    st.floats(0.5, 3),
    st.floats(-0.2, 0.4),
    st.floats(-0.2, 0.2),
    st.tuples(st.floats(-3, 3), st.floats(-2, 20), st.floats(0, 5)),
)
def test_rays_go_where_points_are_seen(distance, height, tilt, roll, point):
    camera = aim_camera(distance, height, tilt, roll, 320, 240)
    pixel, depth = camera.project(np.array(point))
    assert depth > 0
    ray = camera.cast(pixel[..., 0], pixel[..., 1])
    assert np.allclose(camera.position + ray * depth, point, atol=1e-6)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("snow", [0.0, 0.8])
def test_every_place_can_be_painted(place, snow):
    camera = aim_camera(8.0, 1.5, 0.08, 0.02, 96, 72)
    for seed in range(3):
        light = choose_light(np.random.default_rng(seed), place, night=seed == 2)
        picture = paint_backdrop(
            np.random.default_rng(seed), camera, light, place, clearance=1.5, snow=snow
        )
        assert picture.shape == (3, 72, 96)
        assert picture.dtype == np.float32
        assert np.isfinite(picture).all()
        assert picture.min() >= 0
        assert picture.std() > 0.005


@pytest.mark.parametrize("place", PLACES)
def test_bands_show_one_place(place, monkeypatch):
    camera = replace(aim_camera(8.0, 1.5, 0.08, 0.02, 64, 48), focal=70.0)
    light = choose_light(np.random.default_rng(1), place, night=False)

    def paint(rows):
        monkeypatch.setattr(scenery, "BAND_ROWS", rows)
        return paint_backdrop(
            np.random.default_rng(4), camera, light, place, clearance=1.5, snow=0.3
        )

    # float32 may put single points into the neighbouring texel.
    assert (np.abs(paint(48) - paint(7)).max(axis=0) > 0.01).mean() < 0.02


def test_winter_is_white_and_night_is_dark():
    camera = aim_camera(8.0, 1.5, 0.08, 0.0, 64, 48)

    def measure(night, snow):
        light = choose_light(np.random.default_rng(3), "field", night=night)
        picture = paint_backdrop(
            np.random.default_rng(3), camera, light, "field", clearance=1.5, snow=snow
        )
        return picture[:, 40:].mean()

    assert measure(night=False, snow=1.0) > measure(night=False, snow=0.0) + 0.1
    assert measure(night=True, snow=0.0) < measure(night=False, snow=0.0)
