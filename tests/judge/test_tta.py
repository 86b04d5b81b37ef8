"""A view is adopted when validation shows that it helps, and only then."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import log_softmax, softmax

from lotlens.errors import InputError
from lotlens.judge.tta import VIEWS, average_views, check_views, choose_views


def draw_views(seed, num_photos=300, num_classes=5, help_=1.0, noise=1.5, scale=1.0):
    """Logits of two views with noise of their own; `help_` is how much the second one knows."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(num_classes, size=num_photos)
    truth = 2.5 * np.eye(num_classes)[targets]
    whole = truth + noise * rng.normal(size=truth.shape)
    mirror = help_ * truth + noise * rng.normal(size=truth.shape)
    return {
        "whole": (scale * whole).astype(np.float32),
        "mirror": (scale * mirror).astype(np.float32),
    }, targets


def test_views_are_functions_of_a_batch():
    batch = np.arange(2 * 3 * 2 * 4, dtype=np.float32).reshape(2, 3, 2, 4)
    np.testing.assert_array_equal(VIEWS["whole"](batch), batch)
    mirrored = VIEWS["mirror"](batch)
    np.testing.assert_array_equal(mirrored[..., 0], batch[..., 3])
    np.testing.assert_array_equal(VIEWS["mirror"](mirrored), batch)
    assert mirrored.flags.c_contiguous
    assert mirrored.dtype == np.float32


def test_known_views_pass_the_check():
    assert check_views(["mirror", "whole"]) == ("mirror", "whole")


def test_average_is_the_geometric_mean_of_probabilities():
    by_view, _ = draw_views(0)
    average = softmax(average_views(list(by_view.values())).astype(np.float64), axis=1)
    product = np.sqrt(softmax(by_view["whole"], axis=1) * softmax(by_view["mirror"], axis=1))
    np.testing.assert_allclose(average, product / product.sum(axis=1, keepdims=True), rtol=1e-4)


@given(shift=st.floats(-50, 50), seed=st.integers(0, 99))
def test_a_constant_added_to_one_views_logits_changes_no_average(shift, seed):
    by_view, _ = draw_views(seed, num_photos=8)
    shifted = by_view["mirror"] + np.float32(shift)
    np.testing.assert_allclose(
        average_views([by_view["whole"], shifted]),
        average_views(list(by_view.values())),
        rtol=1e-3,
        atol=1e-3,
    )


def test_average_keeps_rows_without_an_answer():
    logits = np.array([[1, 2], [np.nan, np.nan]], dtype=np.float32)
    assert np.isnan(average_views([logits, logits])).all(axis=1).tolist() == [False, True]


@settings(max_examples=20)
@given(seed=st.integers(0, 10_000))
def test_order_of_photos_matters_to_neither_average_nor_choice(seed):
    by_view, targets = draw_views(seed, num_photos=60, help_=0.8)
    order = np.random.default_rng(seed).permutation(len(targets))
    shuffled = {view: logits[order] for view, logits in by_view.items()}
    np.testing.assert_array_equal(
        average_views(list(shuffled.values())), average_views(list(by_view.values()))[order]
    )
    assert choose_views(shuffled, targets[order]) == choose_views(by_view, targets)


@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
def test_a_view_that_knows_more_is_adopted(scale):
    for seed in range(20):
        by_view, targets = draw_views(seed, scale=scale)
        assert choose_views(by_view, targets) == ("whole", "mirror")


@pytest.mark.parametrize("noise", [0.0, 1.5])
def test_a_view_that_knows_nothing_is_rejected_even_for_an_overconfident_model(noise):
    # Blended with it, an overconfident model's log loss falls, as a temperature would make it.
    for seed in range(20):
        by_view, targets = draw_views(seed, scale=4.0)
        rng = np.random.default_rng(seed)
        blank = noise * rng.normal(size=by_view["whole"].shape).astype(np.float32)
        average = average_views([by_view["whole"], blank])
        rows = np.arange(len(targets))
        before = -log_softmax(by_view["whole"], axis=1)[rows, targets].mean()
        assert -log_softmax(average, axis=1)[rows, targets].mean() < before
        assert choose_views({"whole": by_view["whole"], "mirror": blank}, targets) == ("whole",)


def test_a_view_that_is_no_better_is_adopted_about_as_often_as_chance_allows():
    # The mirror repeats the whole photo's answer with errors as likely to help as to harm.
    adopted = 0
    for seed in range(200):
        rng = np.random.default_rng(seed)
        logits, targets = draw_views(seed, num_photos=120)
        other = logits["whole"] + 1e-3 * rng.normal(size=(120, 5)).astype(np.float32)
        adopted += len(choose_views({"whole": logits["whole"], "mirror": other}, targets)) - 1
    assert adopted <= 36  # 20 expected at the 10 % level, standard deviation 4.2


def test_a_view_that_lowers_accuracy_is_rejected():
    targets = np.zeros(100, dtype=np.int64)
    whole = np.tile(np.array([[0.1, 0.0]], dtype=np.float32), (100, 1))
    mirror = np.tile(np.array([[3.0, 0.0]], dtype=np.float32), (100, 1))
    assert choose_views({"whole": whole, "mirror": mirror.copy()}, targets) == ("whole",)
    mirror[:8] = [-1.0, 0.0]
    whole[50:] = [0.0, 0.1]
    targets[50:] = 1
    mirror[50:] = [0.0, 3.0]
    assert choose_views({"whole": whole, "mirror": mirror}, targets) == ("whole",)


def test_photos_without_label_or_answer_do_not_matter():
    by_view, targets = draw_views(0)
    chosen = choose_views(by_view, targets)
    wild = np.full((10, 5), 50.0, dtype=np.float32)
    more = {view: np.concatenate([logits, wild]) for view, logits in by_view.items()}
    more["mirror"][-5:] = np.nan
    unknown = np.concatenate([targets, np.full(5, -1), np.zeros(5, dtype=np.int64)])
    assert choose_views(more, unknown) == chosen == ("whole", "mirror")


@pytest.mark.parametrize("num_photos", [0, 1])
def test_too_few_photos_choose_the_whole_photo(num_photos):
    by_view, targets = draw_views(0, num_photos=num_photos)
    assert choose_views(by_view, targets) == ("whole",)


def test_the_whole_photo_must_be_there():
    by_view, targets = draw_views(0)
    with pytest.raises(InputError, match="whole"):
        choose_views({"mirror": by_view["mirror"]}, targets)
