"""Covariances pooled: the square root that it says, and blind to what should not matter."""

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from lotlens.vision.pooling import CovariancePool, fit_directions


def draw(num_photos, num_channels=6, seed=0):
    """Maps whose channels go together differently in every photo."""
    rng = np.random.default_rng(seed)
    mixing = rng.standard_normal((num_photos, num_channels, num_channels))
    places = rng.standard_normal((num_photos, num_channels, 12 * 18))
    maps = (mixing @ places).reshape(num_photos, num_channels, 12, 18)
    return torch.from_numpy(maps.astype(np.float32))


@pytest.fixture
def pool():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return CovariancePool(6)


def test_it_is_the_square_root_of_the_covariance(pool):
    maps = draw(5)
    found = pool(maps).numpy()
    assert found.shape == (5, pool.num_features) == (5, 6 * 7 // 2)
    rows, columns = np.triu_indices(6)
    factor = np.where(rows == columns, 1, np.sqrt(2)) * np.sqrt(21)
    for own, features in zip(maps.flatten(2).numpy(), found, strict=True):
        covariance = np.cov(pool.directions.numpy() @ own)
        root = sqrtm(covariance / np.trace(covariance)).real
        # Five iterations bring the strong directions there; the weakest stay a little short.
        np.testing.assert_allclose(features, root[rows, columns] * factor, atol=0.2)
    np.testing.assert_allclose(np.mean(found**2, axis=1), 1, atol=0.02)


def test_more_iterations_come_nearer(pool, monkeypatch):
    maps = draw(3)
    own = pool.directions.numpy() @ maps[0].flatten(1).numpy()
    root = sqrtm(np.cov(own) / np.trace(np.cov(own))).real
    rows, columns = np.triu_indices(6)
    expected = root[rows, columns] * np.where(rows == columns, 1, np.sqrt(2)) * np.sqrt(21)
    monkeypatch.setattr("lotlens.vision.pooling._NUM_ITERATIONS", 15)
    np.testing.assert_allclose(pool(maps)[0].numpy(), expected, atol=1e-3)


@pytest.mark.parametrize(
    "change",
    [
        lambda maps: maps + torch.arange(6.0)[None, :, None, None],
        lambda maps: 7 * maps,
        lambda maps: maps.flip(3),
        lambda maps: maps.transpose(2, 3),
    ],
    ids=["brighter", "stronger", "mirrored", "turned"],
)
def test_where_things_are_and_how_strong_they_are_does_not_count(pool, change):
    maps = draw(3)
    torch.testing.assert_close(pool(change(maps)), pool(maps), atol=1e-3, rtol=1e-3)


def test_a_photo_changes_no_other_photos_row(pool):
    maps = draw(4)
    alone = torch.cat([pool(maps[row : row + 1]) for row in range(4)])
    torch.testing.assert_close(pool(maps), alone, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("value", [0.0, 3.0])
def test_maps_without_any_change_give_nothing_and_finite_slopes(pool, value):
    maps = torch.full((2, 6, 4, 6), value, requires_grad=True)
    found = pool(maps)
    assert found.detach().abs().max() <= 1e-3
    found.sum().backward()
    assert torch.isfinite(maps.grad).all()


def test_slopes_are_those_of_small_steps():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        pool = CovariancePool(4)
    maps = draw(1, 4)[..., :3, :4].clone().requires_grad_()
    weights = torch.linspace(-1, 1, pool.num_features)
    (pool(maps) * weights).sum().backward()
    step = torch.zeros_like(maps)
    step[0, 2, 1, 3] = 1e-2
    with torch.no_grad():
        moved = ((pool(maps + step) - pool(maps - step)) * weights).sum() / 2e-2
    assert moved == pytest.approx(float(maps.grad[0, 2, 1, 3]), rel=0.02, abs=1e-3)


def test_sixteen_bits_around_it_change_nothing(pool):
    maps = draw(2)
    with torch.autocast("cpu", torch.bfloat16):
        found = pool(maps)
    assert found.dtype == torch.float32
    assert torch.equal(found, pool(maps))


def test_no_more_directions_than_channels():
    assert CovariancePool(6).directions.shape == (6, 6)
    assert CovariancePool(100).directions.shape == (48, 100)
    assert not list(CovariancePool(6).parameters())


def test_directions_are_principal_components():
    rng = np.random.default_rng(0)
    basis, _ = np.linalg.qr(rng.standard_normal((5, 5)))
    places = rng.standard_normal((4000, 5)) * [5, 3, 2, 1, 0.5] @ basis.T + 10
    found = fit_directions(torch.from_numpy(places.astype(np.float32)), 3).numpy()
    assert found.shape == (3, 5)
    np.testing.assert_allclose(found @ found.T, np.eye(3), atol=1e-5)
    np.testing.assert_allclose(np.abs(found @ basis[:, :3]), np.eye(3), atol=0.1)
    assert (found[np.arange(3), np.abs(found).argmax(1)] > 0).all()
