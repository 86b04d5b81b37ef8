"""Sets of candidates hold the truth as often as is stated, and never more rarely by design."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

from lotlens.errors import InputError
from lotlens.refusal.conformal import calibrate_sets, count_allowed, find_reach, list_candidates


def draw(rng, num_photos, num_classes=5, strength=1.5):
    """Probabilities of a mediocre, badly calibrated model, and the truth."""
    targets = rng.integers(num_classes, size=num_photos)
    logits = rng.normal(size=(num_photos, num_classes))
    logits[np.arange(num_photos), targets] += strength
    return softmax(2.5 * logits, axis=1), targets


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
@pytest.mark.parametrize("num_photos", [39, 100])
def test_new_photos_are_covered_as_stated(coverage, num_photos):
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(400):
        threshold = calibrate_sets(*draw(rng, num_photos), coverage)
        chances, targets = draw(rng, 200)
        held = list_candidates(chances, threshold)[np.arange(200), targets]
        covered.append(held.mean())
    # Mean over 400 draws; the promise is coverage to coverage + 1 / (n + 1).
    error = 4 * np.std(covered) / 20
    assert coverage - error <= np.mean(covered) <= coverage + 1 / (num_photos + 1) + error


@pytest.mark.parametrize(("num_photos", "coverage"), [(39, 0.9), (99, 0.95)])
def test_single_calibrations_cover_as_far_as_is_said(num_photos, coverage):
    rng = np.random.default_rng(1)
    new, truth = draw(rng, 20_000)
    reached = [
        list_candidates(new, calibrate_sets(*draw(rng, num_photos), coverage))[
            np.arange(20_000), truth
        ].mean()
        for _ in range(1_000)
    ]
    low, high = find_reach(num_photos, coverage)
    # 2.5 % lie beyond each end; four standard errors of a share of 1,000.
    for outside in (np.mean(np.array(reached) < low), np.mean(np.array(reached) > high)):
        assert abs(outside - 0.025) < 0.02
    assert low < coverage < high


def test_too_few_photos_promise_nothing_and_exclude_nothing():
    chances, targets = draw(np.random.default_rng(0), 18)
    assert calibrate_sets(chances, targets, 0.95) == 0.0
    assert list_candidates(chances, 0.0).all()
    assert calibrate_sets(np.zeros((0, 3)), np.zeros(0, np.int64), 0.95) == 0.0
    assert find_reach(18, 0.95) == find_reach(0, 0.95) == (1.0, 1.0)


def test_photos_without_label_or_answer_do_not_count():
    chances, targets = draw(np.random.default_rng(1), 60)
    more = np.concatenate([chances, [[0.2] * 5], [[np.nan] * 5]])
    threshold = calibrate_sets(more, np.append(targets, [-1, 2]), 0.9)
    assert threshold == calibrate_sets(chances, targets, 0.9)
    assert not list_candidates(more, threshold)[-1].any()


@given(st.integers(0, 60), st.floats(0.5, 0.99), st.integers(0, 100))
def test_of_the_photos_themselves_at_most_the_allowed_are_left_out(num_photos, coverage, seed):
    chances, targets = draw(np.random.default_rng(seed), num_photos)
    held = list_candidates(chances, calibrate_sets(chances, targets, coverage))
    num_missed = int((~held[np.arange(num_photos), targets]).sum())
    assert num_missed <= max(count_allowed(1 - coverage, num_photos) - 1, 0)


def test_counts_do_not_lose_one_to_rounding():
    assert count_allowed(1 - 0.95, 19) == 1
    assert count_allowed(0.05, 18) == 0
    assert count_allowed(1 - 0.9, 99) == 10


@pytest.mark.parametrize("coverage", [0.0, 1.0, -0.1, 95, float("nan")])
def test_a_coverage_that_is_none_is_refused(coverage):
    with pytest.raises(InputError, match="coverage must be between 0 and 1"):
        calibrate_sets(*draw(np.random.default_rng(0), 30), coverage)
