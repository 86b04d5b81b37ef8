"""Drawn photos: cars are where they should be, sisters differ in their tails alone."""

from dataclasses import replace

import numpy as np
import pytest

from lotlens.drawn.bodies import build_body
from lotlens.drawn.cars import PAINTS, Finish, Stand, draw_car_photo, outline_body, paint_car
from lotlens.drawn.designs import SISTERS
from lotlens.drawn.scenery import aim_camera, choose_light
from lotlens.drawn.scenes import NO_CAR_KINDS, add_watermark, draw_other_photo

LIGHT = choose_light(np.random.default_rng(1), "showroom", night=False)


def paint(index, degrees, **changes):
    body = build_body(index)
    finish = Finish(PAINTS[6], 0.5, body.design.wheels[0])
    camera = aim_camera(7.5, 1.2, 0.08, 0.0, 160, 120)
    camera = replace(camera, focal=240.0)
    stand = Stand(np.deg2rad(degrees))
    return paint_car(body, replace(finish, **changes), stand, camera, LIGHT)


@pytest.mark.parametrize("pair", SISTERS)
def test_sisters_are_one_from_the_front_and_two_from_elsewhere(pair):
    def differ(degrees):
        first, second = (paint(index, degrees) for index in pair)
        pixels = np.abs(first[0] - second[0]).max(axis=0) > 0.05
        return pixels.sum() / (first[1] > 0).sum()

    assert differ(0) < 0.01
    assert differ(5) < 0.02
    assert differ(90) > 0.10
    assert differ(140) > 0.25
    assert differ(180) > 0.25


def test_models_that_are_no_sisters_differ_from_the_front():
    colours = [paint(index, 0)[0] for index in (0, 2, 4, 5, 6, 7, 8, 9)]
    for number, one in enumerate(colours):
        for other in colours[number + 1 :]:
            assert (np.abs(one - other).max(axis=0) > 0.1).mean() > 0.05


def test_a_car_lies_inside_its_outline():
    body, stand = build_body(4), Stand(0.7)
    camera = replace(aim_camera(7.5, 1.2, 0.08, 0.0, 160, 120), focal=240.0)
    pixels, _ = camera.project(stand.place(body, outline_body(body)))
    colours, opacity = paint(4, np.rad2deg(0.7))
    assert colours.shape == (3, 120, 160)
    assert opacity.shape == (120, 160)
    assert opacity.min() == 0
    assert opacity.max() == 1
    rows, columns = np.nonzero(opacity > 0.5)
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    assert np.abs(columns.min() - low[0]) < 3
    assert np.abs(columns.max() - high[0]) < 3
    assert np.abs(rows.min() - low[1]) < 3
    # No holes: the body is closed from every side that shows.
    inside = [np.diff(np.flatnonzero(line)).max() for line in opacity[45:60] if line.any()]
    assert max(inside) == 1
    assert (colours[:, opacity == 0] == 0).all()


def test_placing_can_be_undone():
    body, stand = build_body(0), Stand(1.1, x=2.0, y=-0.5)
    points = outline_body(body)[:50]
    assert np.allclose(stand.unplace(body, stand.place(body, points)), points)


def test_paint_dirt_snow_and_lamps_show():
    plain, opacity = paint(0, 30)
    red = plain[0, opacity == 1].mean() - plain[2, opacity == 1].mean()
    blue, _ = paint(0, 30, paint=PAINTS[8])
    assert red > 0.05
    assert blue[2].sum() > blue[0].sum()
    dirty = np.abs(paint(0, 30, dirt=0.9)[0] - plain).max(axis=0)
    assert dirty[opacity == 1].mean() > 0.02
    assert paint(0, 30, snow=0.9)[0].sum() > plain.sum()
    assert paint(0, 30, lamps_on=True)[0].sum() > plain.sum()


@pytest.mark.parametrize("index", range(10))
def test_a_photo_follows_from_its_generator(index):
    def draw(seed):
        return np.asarray(draw_car_photo(np.random.default_rng(seed), index, 80, 60))

    assert draw(5).shape == (60, 80, 3)
    assert (draw(5) == draw(5)).all()
    assert (draw(5) != draw(6)).any()
    assert draw(5).std() > 8


def test_many_photos_at_an_odd_size():
    # Occluders, neighbours, weather, night: all of them come up among these.
    for seed in range(40):
        image = draw_car_photo(np.random.default_rng(seed), seed % 10, 71, 53)
        assert image.size == (71, 53)
        assert image.mode == "RGB"


@pytest.mark.parametrize("kind", NO_CAR_KINDS)
def test_photos_of_no_car(kind):
    image = draw_other_photo(np.random.default_rng(2), kind, 96, 72)
    assert image.size == (96, 72)
    assert np.asarray(image).std() > 5


def test_a_watermark_changes_a_little():
    image = draw_other_photo(np.random.default_rng(2), "empty place", 160, 120)
    for seed in range(6):
        marked = add_watermark(np.random.default_rng(seed), image)
        changed = (np.asarray(marked) != np.asarray(image)).any(axis=-1).mean()
        assert 0 < changed < 0.2
