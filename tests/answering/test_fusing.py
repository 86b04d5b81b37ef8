"""Several photos of one car: calibrated by advert, never surer than their dependence allows."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lotlens.answering.answers import probabilities
from lotlens.answering.fusing import (
    FEWEST_ADVERTS,
    fit_dependence,
    fuse,
    list_strays,
    part_photos,
)
from lotlens.answering.logits import log_softmax
from lotlens.answering.temperature import fit_temperature, measure_losses
from lotlens.records import FAMILIARITIES, SHOWN, CarClass, Predictions

CLASSES = tuple(CarClass(str(k), f"car {k}") for k in range(4))


def predict(logits, status=None):
    logits = np.asarray(logits, np.float32)
    status = status or ("ok",) * len(logits)
    return Predictions(
        tuple(f"{n}.jpg" for n in range(len(logits))), logits, None, tuple(status), CLASSES
    )


logits_of_car = st.lists(
    st.lists(st.floats(-8, 8, width=32), min_size=4, max_size=4), min_size=1, max_size=6
)


@given(logits_of_car, st.floats(0.2, 5), st.floats(0, 1))
def test_laws_of_fusing(logits, temperature, dependence):
    found = predict(logits)
    n = len(logits)
    fused = fuse(found, ["car"] * n, temperature, dependence=dependence)
    got = probabilities(fused, temperature)[0]
    chances = log_softmax(np.asarray(logits, np.float64) / temperature)
    worth = n / (1 + (n - 1) * dependence)
    expected = np.exp(worth * chances.mean(axis=0))
    np.testing.assert_allclose(got, expected / expected.sum(), atol=1e-4)
    if n == 1:  # a photo alone keeps its answer
        np.testing.assert_allclose(got, probabilities(found, temperature)[0], atol=1e-4)
    # The order of photos does not count.
    turned = fuse(predict(logits[::-1]), ["car"] * n, temperature, dependence=dependence)
    np.testing.assert_allclose(probabilities(turned, temperature)[0], got, atol=1e-4)
    # Saying the same twice makes nobody surer where photos are wholly dependent.
    twice = fuse(predict(logits + logits), ["car"] * 2 * n, temperature, dependence=1.0)
    once = fuse(found, ["car"] * n, temperature, dependence=1.0)
    np.testing.assert_allclose(twice.logits, once.logits, atol=1e-3)


def test_groups_keep_their_order_and_silent_photos_do_not_count():
    nan = [np.nan] * 4
    found = predict(
        [[3, 0, 0, 0], nan, [0, 5, 0, 0], nan, nan],
        status=("ok", "truncated JPEG", "ok", "empty file", "no file"),
    )
    fused = fuse(found, ["b", "b", "a", "c", "c"], 1.0, dependence=0.0)
    assert fused.ids == ("b", "a", "c")
    assert fused.status == ("ok", "ok", "empty file")
    np.testing.assert_allclose(probabilities(fused)[:2], probabilities(found)[[0, 2]], atol=1e-6)
    assert np.isnan(fused.logits[2]).all()


def test_nonsense_is_refused():
    with pytest.raises(ValueError, match="1 groups of 2 photos"):
        fuse(predict([[0] * 4] * 2), ["a"], 1.0)
    with pytest.raises(ValueError, match=r"dependence 1\.5"):
        fuse(predict([[0] * 4]), ["a"], 1.0, dependence=1.5)


def draw_adverts(rng, num_adverts, num_photos, shared):
    """Logits whose error is partly shared by an advert's photos: 0 none of it, 1 all of it."""
    targets = rng.integers(0, 4, num_adverts)
    common = rng.normal(size=(num_adverts, 1, 4))
    own = rng.normal(size=(num_adverts, num_photos, 4))
    noise = np.sqrt(shared) * common + np.sqrt(1 - shared) * own
    logits = 1.5 * np.eye(4)[targets][:, None, :] + noise
    groups = [f"advert {k}" for k in range(num_adverts) for _ in range(num_photos)]
    return predict(logits.reshape(-1, 4)), groups, np.repeat(targets, num_photos)


@pytest.mark.parametrize(("shared", "least", "most"), [(0, 0, 0.1), (0.5, 0.35, 0.65), (1, 0.9, 1)])
def test_the_dependence_is_found_and_calibrates_the_fused_answer(shared, least, most):
    rng = np.random.default_rng(7)
    found, groups, targets = draw_adverts(rng, 2000, 4, shared)
    temperature = fit_temperature(found.logits, targets)
    dependence = fit_dependence(found, groups, targets, temperature)
    assert least <= dependence <= most
    new, groups, targets = draw_adverts(rng, 2000, 4, shared)
    losses = {
        d: measure_losses(
            fuse(new, groups, temperature, dependence=d).logits, targets[::4], temperature
        ).mean()
        for d in (dependence, 0.0, 1.0)
    }
    assert losses[dependence] <= min(losses.values()) + 1e-3
    # Of answers that are calibrated the mean stated probability is the share that is right.
    chances = probabilities(fuse(new, groups, temperature, dependence=dependence), temperature)
    right = (chances.argmax(axis=1) == targets[::4]).mean()
    assert abs(chances.max(axis=1).mean() - right) < 0.03


def test_too_few_adverts_say_nothing():
    rng = np.random.default_rng(0)
    found, groups, targets = draw_adverts(rng, FEWEST_ADVERTS - 1, 2, 0.5)
    assert fit_dependence(found, groups, targets, 1.0) is None
    found, groups, targets = draw_adverts(rng, 500, 1, 0.5)
    assert fit_dependence(found, groups, targets, 1.0) is None


def test_the_odd_photo_is_found_and_no_other():
    sure, other, open_ = [9, 0, 0, 0], [0, 9, 0, 0], [1, 0, 0, 0.5]
    assert part_photos(predict([sure, sure, other, sure]), 1.0) == ((0, 1, 3), (2,))
    assert part_photos(predict([sure, [0, 90, 0, 0], sure]), 1.0) == ((0, 2), (1,))
    assert part_photos(predict([sure, other]), 1.0) == ((0, 1), (0, 1))
    assert part_photos(predict([sure, sure, other, other]), 1.0)[1] == (0, 1, 2, 3)
    assert part_photos(predict([sure, sure, open_]), 1.0) == ((0, 1, 2), ())
    assert part_photos(predict([sure]), 1.0) == ((0,), ())
    broken = predict([sure, sure, [np.nan] * 4], ("ok", "ok", "no file"))
    assert part_photos(broken, 1.0) == ((0, 1), ())
    likely = [2, 0, 0, 0]  # is sure of nothing, so it may be any car
    assert part_photos(predict([likely, other, other]), 1.0) == ((0, 1, 2), ())


def test_a_photo_that_gives_the_car_almost_nothing_is_a_stray_whether_it_is_sure_or_not():
    chances = np.array(
        [
            [0.97, 0.01, 0.01, 0.01],
            [0.051, 0.57, 0.2, 0.179],  # under a tenth of what it gives its own likeliest
            [0.058, 0.57, 0.2, 0.172],
            [0.6, 0.2, 0.1, 0.1],
        ]
    )
    found = predict(np.log(chances))
    assert list_strays(found, [0], 1.0) == (1,)
    assert list_strays(found, [0, 2], 1.0) == ()  # it is one of these, as far as that photo tells
    assert list_strays(found, [1], 1.0) == (0,)
    assert list_strays(predict(np.log(chances[1:2])), [0], 1.0) == ()  # nothing beside it
    unread = predict([chances[0], chances[1], [np.nan] * 4], ("ok", "ok", "no file"))
    assert 2 not in list_strays(unread, [0], 1.0)


def test_how_familiar_a_car_looks_is_the_mean_of_its_photos():
    """So that several photos of a car that was never taught are not surer of a name than one."""
    found = predict([[4.0, 0, 0, 0], [3.0, 0, 0, 0], [0, 5.0, 0, 0]])
    scores = np.arange(3 * len(FAMILIARITIES), dtype=np.float32).reshape(3, -1)
    shows = np.ones((3, len(SHOWN)), np.float32)
    boxes = np.full((3, 5), np.nan, np.float32)
    fused = fuse(replace(found, familiarity=scores, shows=shows, boxes=boxes), ["a", "a", "b"], 1.0)
    np.testing.assert_allclose(fused.familiarity, [scores[:2].mean(axis=0), scores[2]])
    assert fused.shows is None
    assert fused.boxes is None  # each photo has its own
