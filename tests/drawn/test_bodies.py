"""Car bodies: closed, lifelike in size, with unit normals."""

import numpy as np
import pytest

from lotlens.drawn.bodies import build_body
from lotlens.drawn.designs import DESIGNS, SISTERS
from lotlens.drawn.outlines import Material


@pytest.mark.parametrize("index", range(len(DESIGNS)))
def test_bodies_have_a_cars_size_and_stand_on_the_road(index):
    body = build_body(index)
    points = np.concatenate([part.corners.reshape(-1, 3) for part in body.parts])
    size = points.max(axis=0) - points.min(axis=0)
    assert 3.3 < size[0] < 5.1
    assert 1.5 < size[1] < 2.4
    assert points[:, 2].min() > 0.05
    for style in body.design.wheels:
        wheels = np.concatenate([part.corners.reshape(-1, 3) for part in body.wheels[style]])
        assert wheels[:, 2].min() == pytest.approx(0.0, abs=0.01)


@pytest.mark.parametrize("index", range(len(DESIGNS)))
def test_sheets_are_whole(index):
    body = build_body(index)
    assert body.material.shape == body.height.shape == body.normal.shape[1:]
    assert np.linalg.norm(body.normal, axis=0) == pytest.approx(1.0, abs=1e-3)
    assert set(np.unique(body.material)) <= {int(material) for material in Material}
    needed = {Material.PAINT, Material.GLASS, Material.LAMP, Material.TAIL_LAMP, Material.PLATE}
    assert needed <= set(np.unique(body.material))
    for part in (*body.parts, *(part for parts in body.wheels.values() for part in parts)):
        offset, columns, rows = part.sheet
        assert offset + columns * rows <= body.material.size
        assert part.texels[..., 0].max() < columns
        assert part.texels[..., 1].max() < rows
        assert part.texels.min() > -1e-6
        assert np.linalg.norm(part.normals, axis=-1) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("index", range(len(DESIGNS)))
def test_both_sides_are_alike(index):
    right, left = build_body(index).parts[:2]
    mirrored = left.corners * [1.0, -1.0, 1.0]
    assert np.allclose(mirrored, right.corners)
    assert (right.normals[:, 1] >= 0).mean() > 0.99
    assert (left.normals[:, 1] <= 0).mean() > 0.99


@pytest.mark.parametrize("pair", SISTERS)
def test_sisters_share_all_but_the_tail(pair):
    one, other = (DESIGNS[index] for index in pair)
    assert one.keys[:7] == other.keys[:7]
    assert one.keys[7:] != other.keys[7:]
    tail = {"name", "keys", "pane_end", "pillars", "tail_lamp", "lid", "rear_plate"}
    for field in vars(one):
        if field not in tail:
            assert getattr(one, field) == getattr(other, field), field
