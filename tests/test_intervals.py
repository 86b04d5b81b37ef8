"""Intervals of paired differences and of AUROC: definitions, published figures, what they cover."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.stats import binom, norm
from sklearn.metrics import roc_auc_score

from lotlens.intervals import compute_tango_interval, measure_auroc


@pytest.mark.parametrize(
    ("pairs", "low", "high"),
    # Fagerland, Lydersen & Laake 2014, "Recommended tests and confidence intervals for paired
    # binomial proportions": airway hyper-responsiveness before and after.
    [((1, 7, 21), -0.517, -0.026)],
)
def test_it_agrees_with_published_figures(pairs, low, high):
    assert compute_tango_interval(*pairs) == pytest.approx((low, high), abs=5e-4)


@given(st.integers(0, 15), st.integers(0, 15), st.integers(0, 200))
def test_at_its_ends_the_score_is_that_of_95_per_cent(first, second, alike):
    """The likeliest shares under each end are looked for, instead of solved for."""
    num_pairs = first + second + alike
    if not num_pairs:
        return
    for end in compute_tango_interval(first, second, num_pairs):
        if abs(end) == 1:
            continue

        def loss(share, end=end):
            shares = np.array([share + end, share, 1 - 2 * share - end])
            counts = np.array([first, second, alike])
            seen = counts > 0
            if (shares[seen] <= 0).any():
                return 1e9
            return -float((counts[seen] * np.log(shares[seen])).sum())

        lowest, highest = max(0.0, -end), (1 - end) / 2
        options = {"xatol": 1e-12}
        share = minimize_scalar(loss, bounds=(lowest, highest), method="bounded", options=options).x
        variance = num_pairs * (2 * share + end - end**2)
        score = (first - second - num_pairs * end) / np.sqrt(variance)
        assert abs(score) == pytest.approx(1.96, abs=0.01)


@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 300))
def test_it_holds_the_difference_and_turns_with_it(first, second, alike):
    num_pairs = first + second + alike
    if not num_pairs:
        return
    low, high = compute_tango_interval(first, second, num_pairs)
    assert -1 <= low <= (first - second) / num_pairs <= high <= 1
    assert low < high
    assert compute_tango_interval(second, first, num_pairs) == pytest.approx(
        (-high, -low), abs=1e-9
    )


def list_chances(num_pairs, only_first, only_second):
    """(first, second, chance) of all counts of a trinomial that are not next to impossible."""
    apart = only_first + only_second
    for count in range(num_pairs + 1):
        chance = binom.pmf(count, num_pairs, apart)
        if chance < 1e-7:
            continue
        shares = binom.pmf(np.arange(count + 1), count, only_first / apart)
        for first in np.flatnonzero(chance * shares > 1e-7).tolist():
            yield first, count - first, chance * shares[first]


@pytest.mark.parametrize("num_pairs", [20, 60, 130])
@pytest.mark.parametrize(
    ("only_first", "only_second"), [(0.01, 0.01), (0.005, 0.025), (0.05, 0.03), (0.1, 0.1)]
)
def test_it_covers_the_truth_as_often_as_promised(num_pairs, only_first, only_second):
    # Exact, not simulated: the chance of each pair of counts whose interval holds the truth.
    covered = 0.0
    for first, second, chance in list_chances(num_pairs, only_first, only_second):
        low, high = compute_tango_interval(first, second, num_pairs)
        covered += chance * (low <= only_first - only_second <= high)
    assert covered > 0.93


@pytest.mark.parametrize("num_pairs", [20, 60, 130, 374])
def test_what_is_two_points_worse_is_seldom_called_no_worse_than_that(num_pairs):
    """By a bootstrap, whose interval has no width where nothing differs, in up to two thirds."""
    passed = [
        chance
        for first, second, chance in list_chances(num_pairs, 0.005, 0.025)
        if compute_tango_interval(first, second, num_pairs)[0] > -0.02
    ]
    assert sum(passed) <= 0.03


def test_what_does_not_differ_may_yet():
    assert compute_tango_interval(0, 0, 130) == pytest.approx((-0.0287, 0.0287), abs=1e-4)
    assert compute_tango_interval(0, 0, 20) == pytest.approx((-0.161, 0.161), abs=1e-3)


scores = st.lists(st.integers(-5, 5), min_size=1, max_size=30).map(
    lambda values: np.array(values, np.float64)
)


@given(scores, scores)
def test_auroc_is_scikit_learns_and_lies_in_its_interval(known, strangers):
    found = measure_auroc(known, strangers)
    truth = np.repeat([1, 0], [len(known), len(strangers)])
    assert found.value == pytest.approx(roc_auc_score(truth, np.append(known, strangers)))
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.count == len(strangers)
    turned = measure_auroc(-known, -strangers)
    assert turned.value == pytest.approx(1 - found.value)
    assert turned.low == pytest.approx(1 - found.high, abs=1e-6)


@pytest.mark.parametrize("shift", [0.0, 1.0, 2.5])
def test_the_interval_of_auroc_holds_the_truth(shift):
    rng = np.random.default_rng(0)
    truth = norm.cdf(shift / 2**0.5)
    held = 0
    for _ in range(300):
        found = measure_auroc(rng.normal(shift, 1, 60), rng.normal(0, 1, 25))
        held += found.low <= truth <= found.high
    assert held / 300 > 0.92


def test_a_perfect_auroc_of_few_is_not_certain():
    assert measure_auroc(np.arange(5.0) + 10, np.arange(5.0)).low < 0.9
