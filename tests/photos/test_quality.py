"""A poor photo is named with what is poor in it, a sound one is not."""

import numpy as np
import pytest
from PIL import Image, ImageFilter

from lotlens.photos.quality import (
    FLAWS,
    FRAME,
    Quality,
    find_flaw,
    find_levels,
    frame_photo,
    measure_quality,
)

NOISE = np.random.default_rng(0).integers(0, 256, (240, 320, 3), dtype=np.uint8)


def judge(pixels, size=None):
    pixels = np.asarray(pixels, np.uint8)
    return find_flaw(measure_quality(frame_photo(pixels), size or pixels.shape[1::-1]))


def sharp():
    """Grey squares with sharp edges."""
    squares = np.random.default_rng(1).integers(40, 220, (12, 16, 1), dtype=np.uint8)
    return np.repeat(np.repeat(np.repeat(squares, 20, 0), 20, 1), 3, 2)


def test_a_sound_photo_has_no_flaw():
    assert judge(sharp()) == ""
    assert judge(NOISE) == ""


def test_each_flaw_is_found_and_measured():
    blurred = np.asarray(Image.fromarray(sharp()).filter(ImageFilter.GaussianBlur(6)))
    found = {
        "too small": judge(sharp(), size=(400, 60)),
        "too dark": judge(sharp() // 10),
        "one colour": judge(np.full((90, 90, 3), 200)),
        "blurred": judge(blurred),
    }
    assert tuple(found) == FLAWS
    for flaw, sentence in found.items():
        assert sentence.startswith(f"{flaw}: ")
    assert found["too small"] == "too small: 400 x 60 pixels"
    assert "within 0 grey levels around 200" in found["one colour"]


def test_of_several_flaws_the_first_is_told():
    assert judge(np.zeros((20, 20, 3))).startswith("too small")
    assert judge(np.zeros((200, 200, 3))).startswith("too dark")


def test_the_limits_are_sound():
    assert find_flaw(Quality((64, 64), (0, 20, 40), 0.5)) == ""
    assert find_flaw(Quality((63, 640), (0, 20, 40), 0.5)) != ""


def test_the_frame_is_a_grey_square_whatever_the_aspect():
    assert frame_photo(NOISE).shape == (FRAME, FRAME)
    assert frame_photo(NOISE[:5]).shape == (FRAME, FRAME)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_levels_are_quantiles(share):
    values = NOISE[..., 0]
    (level,) = find_levels(values, share)
    assert (values <= level).mean() >= share > (values < level).mean()
