"""Pictures with structure everywhere, for tests that compare pictures."""

import numpy as np
import pytest

from lotlens.audit import signs as scan


def draw_texture(seed, width=160, height=120):
    """Clouds [height, width, 3] whose amplitudes fall as 1/frequency, like those of photos."""
    noise = np.random.default_rng(seed).normal(size=(height, width))
    down, across = np.fft.fftfreq(height) * height, np.fft.rfftfreq(width) * width
    frequency = np.maximum(np.hypot(down[:, None], across), 1)
    clouds = np.fft.irfft2(np.fft.rfft2(noise) / frequency, (height, width))
    clouds = (clouds - clouds.mean()) / clouds.std()
    tint = np.array([1.0, 0.9, 0.7]) * 45
    return np.clip(128 + clouds[:, :, None] * tint, 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def texture_drawer():
    """The function that draws one picture by its seed; other seeds draw quite other pictures."""
    return draw_texture


@pytest.fixture(autouse=True)
def no_memory(monkeypatch):
    """Each test measures for itself."""
    monkeypatch.setattr(scan, "_likenesses", {})
