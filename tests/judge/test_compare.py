"""Comparisons agree with what is computed by hand and by scipy, whatever the order of photos."""

import functools
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest, norm, permutation_test

from lotlens.errors import InputError
from lotlens.judge.compare import (
    Answers,
    adjust_holm,
    compare_all,
    compare_models,
    compare_pair,
    estimate_more_photos,
    gather_answers,
    measure_spread,
    sign_flip_p,
)
from lotlens.records import OK, CarClass, Predictions

CLASSES = (CarClass("0", "Niva"), CarClass("1", "Kalina"), CarClass("2", "Priora"))


def make(is_right, seeds=None, ids=None):
    table = np.atleast_2d(np.array(is_right, bool))
    seeds = tuple(range(len(table))) if seeds is None else seeds
    return Answers(seeds, ids or tuple(f"{n}.jpg" for n in range(table.shape[1])), table)


@functools.cache
def mcnemar_p(num_first, num_second):
    """McNemar's exact test (1947), two-sided, of the photos that only one of two answers right."""
    number = num_first + num_second
    return binomtest(num_first, number).pvalue if number else 1.0


def test_a_case_by_hand():
    first = make([[1, 1, 1, 1], [1, 1, 0, 1]])
    second = make([[0, 1, 0, 1], [0, 1, 1, 0]])
    pair = compare_pair(first, second, names=("a", "b"))
    # Per photo over both seeds: +2, 0, 0, +1. Of the four flips two are as far from 0 as 3.
    assert (pair.first, pair.second) == ("a", "b")
    assert pair.difference == pytest.approx(3 / 8)
    assert pair.p == pair.p_holm == pytest.approx(2 / 4)
    assert (pair.num_photos, pair.num_seeds, pair.verdict) == (4, 2, "cannot tell")
    assert pair.low <= pair.difference <= pair.high


@given(st.lists(st.integers(-3, 3), max_size=9))
def test_the_flips_are_counted_as_by_trying_them_all(differences):
    sums = [
        abs(sum(sign * d for sign, d in zip(signs, differences, strict=True)))
        for signs in itertools.product((-1, 1), repeat=len(differences))
    ]
    expected = np.mean([total >= abs(sum(differences)) for total in sums])
    assert sign_flip_p(np.array(differences, np.int64)) == pytest.approx(expected)


def test_the_flips_are_those_of_scipy():
    differences = np.array([2, 1, -1, 3, 1, 0, 2, -2, 1, 1])
    found = permutation_test(
        (differences,), np.sum, permutation_type="samples", n_resamples=np.inf
    ).pvalue
    assert sign_flip_p(differences) == pytest.approx(found)


@given(st.integers(0, 60), st.integers(0, 60), st.integers(0, 9))
def test_with_one_seed_it_is_mcnemars_test(num_first, num_second, num_alike):
    differences = np.array([1] * num_first + [-1] * num_second + [0] * num_alike, np.int64)
    assert sign_flip_p(differences) == pytest.approx(mcnemar_p(num_first, num_second))


def test_many_photos_are_no_trouble():
    rng = np.random.default_rng(0)
    differences = rng.integers(-3, 4, 5_000)
    # A normal of the same variance, at sums that are whole numbers.
    normal = 2 * norm.sf((abs(differences.sum()) - 1) / np.sqrt((differences**2).sum()))
    assert sign_flip_p(differences) == pytest.approx(normal, rel=0.01)


def test_holm_by_hand():
    assert adjust_holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx((0.03, 0.06, 0.06, 0.02))
    assert adjust_holm([0.9, 0.8]) == (1, 1)
    assert adjust_holm([]) == ()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 4), st.integers(1, 25), st.randoms(use_true_random=False))
def test_the_order_of_photos_and_seeds_changes_nothing(num_seeds, num_photos, random):
    def draw():
        return {
            seed: ([f"{n}.jpg" for n in range(num_photos)], [random.random() < 0.6] * num_photos)
            for seed in range(num_seeds)
        }

    def shuffle(runs):
        shuffled = list(runs.items())
        random.shuffle(shuffled)
        result = {}
        for seed, (ids, right) in shuffled:
            rows = list(zip(ids, right, strict=True))
            random.shuffle(rows)
            result[seed] = ([id_ for id_, _ in rows], np.array([r for _, r in rows]))
        return result

    first, second = (
        {
            seed: (ids, np.array([random.random() < 0.6 for _ in ids]))
            for seed, (ids, _) in r.items()
        }
        for r in (draw(), draw())
    )
    expected = compare_pair(gather_answers(first), gather_answers(second))
    found = compare_pair(gather_answers(shuffle(first)), gather_answers(shuffle(second)))
    assert found == expected
    turned = compare_pair(gather_answers(second), gather_answers(first))
    assert turned.difference == pytest.approx(-expected.difference)
    assert turned.p == pytest.approx(expected.p)


def test_only_what_both_have_is_compared():
    first = gather_answers(
        {0: (["a", "b", "c"], np.array([1, 1, 0], bool)), 1: (["c", "a"], np.array([1, 0], bool))}
    )
    assert first.ids == ("a", "c")
    assert first.is_right.tolist() == [[True, False], [False, True]]
    second = make([[1, 0]], seeds=(1,), ids=("c", "z"))
    pair = compare_pair(first, second)
    assert (pair.num_photos, pair.num_seeds, pair.difference) == (1, 1, 0)
    with pytest.raises(InputError, match="share no photo"):
        compare_pair(first, make([[1]], ids=("z",)))
    with pytest.raises(InputError, match="share no seed"):
        compare_pair(first, make([[1]], seeds=(7,), ids=("a",)))
    assert compare_all({"a": first, "b": make([[1]], seeds=(7,), ids=("a",))}) == ()


def test_answers_must_fit_their_seeds_and_photos():
    with pytest.raises(ValueError, match="shape"):
        Answers((0,), ("a", "b"), np.ones((2, 2), bool))
    with pytest.raises(ValueError, match="photo is there twice"):
        Answers((0,), ("a", "a"), np.ones((1, 2), bool))


def test_no_answers_have_no_mean():
    with pytest.raises(InputError, match="no answers"):
        measure_spread(gather_answers({}))


def test_the_interval_of_a_mean_is_that_of_many_photos():
    rng = np.random.default_rng(1)
    spread = measure_spread(make(rng.random((1, 400)) < 0.8))
    width = 2 * 1.96 * np.sqrt(spread.mean * (1 - spread.mean) / 400)
    assert spread.low < spread.mean < spread.high
    assert spread.high - spread.low == pytest.approx(width, rel=0.1)


def test_the_interval_knows_that_seeds_differ():
    # One seed in three spoils the second variant: the photos are sure, the seeds are not.
    first = make(np.ones((3, 200)))
    second = make(np.concatenate([np.ones((2, 200)), np.arange(200)[None] % 4 > 0]))
    pair = compare_pair(first, second)
    assert pair.p < 1e-6
    assert pair.low < 0 < pair.high
    assert pair.verdict == "cannot tell"


def simulate(rng, shift, num_photos=150, num_seeds=3, luck=0.0):
    """Two variants on photos of very different difficulty; the second is worse by `shift`.

    `luck` is by how much a seed moves the accuracy of all photos (standard deviation).
    """
    ease = rng.beta(2, 0.7, num_photos)
    found = []
    for less in (0.0, shift):
        chances = ease - less + rng.normal(0, luck, (num_seeds, 1))
        found.append(make(rng.random((num_seeds, num_photos)) < np.clip(chances, 0, 1)))
    return found


def test_without_a_difference_the_test_keeps_its_level_and_a_large_one_is_found():
    rng = np.random.default_rng(2)
    alike = [compare_pair(*simulate(rng, 0.0)) for _ in range(400)]
    # 5 % of 400, and three standard deviations of that count.
    assert sum(pair.p < 0.05 for pair in alike) <= 20 + 3 * np.sqrt(19)
    assert sum(pair.verdict != "cannot tell" for pair in alike) <= 20 + 3 * np.sqrt(19)
    assert np.mean([pair.low <= 0 <= pair.high for pair in alike]) > 0.93
    unlike = [compare_pair(*simulate(rng, 0.35)) for _ in range(40)]
    assert all(pair.verdict == "better" for pair in unlike)


@pytest.mark.parametrize("num_seeds", [2, 3, 5])
@pytest.mark.parametrize("num_photos", [374, 957])
def test_the_luck_of_seeds_is_not_taken_for_a_difference(num_seeds, num_photos):
    rng = np.random.default_rng(4)
    alike = [
        compare_pair(*simulate(rng, 0.0, num_photos, num_seeds, luck=0.02)) for _ in range(150)
    ]
    # The test alone does not know of seeds (see `compare_pair`); the verdict does.
    assert sum(pair.p < 0.05 for pair in alike) > 14
    assert sum(pair.verdict != "cannot tell" for pair in alike) <= 7.5 + 3 * np.sqrt(7.1)
    assert sum(pair.low <= 0 <= pair.high for pair in alike) > 150 - 7.5 - 3 * np.sqrt(7.1)


def test_seeds_that_agree_find_what_one_seed_cannot():
    rng = np.random.default_rng(5)
    found = {
        num_seeds: sum(
            compare_pair(*simulate(rng, 0.1, 374, num_seeds)).verdict == "better" for _ in range(60)
        )
        for num_seeds in (1, 5)
    }
    assert found[1] < found[5]
    assert found[5] >= 57


def test_an_interval_of_several_seeds_has_a_width_where_nothing_differs():
    same = make(np.ones((3, 130)))
    pair = compare_pair(same, same)
    assert (pair.low, pair.high) == pytest.approx((-0.0287, 0.0287), abs=1e-4)
    assert measure_spread(same).low == pytest.approx(0.9713, abs=1e-4)


def test_all_pairs_and_their_verdicts():
    rng = np.random.default_rng(3)
    best, worst = simulate(rng, 0.3)
    pairs = compare_all({"best": best, "again": best, "worst": worst})
    assert [(pair.first, pair.second, pair.verdict) for pair in pairs] == [
        ("best", "again", "cannot tell"),
        ("best", "worst", "better"),
        ("again", "worst", "better"),
    ]
    assert pairs[0].p_holm == 1
    assert pairs[1].p_holm == pytest.approx(3 * pairs[1].p)
    (turned,) = compare_all({"worst": worst, "best": best})
    assert turned.verdict == "worse"


def answer(rng, targets, skill, classes=CLASSES):
    logits = rng.normal(size=(len(targets), len(classes)))
    logits += skill * np.eye(len(classes))[targets]
    ids = tuple(f"{n}.jpg" for n in range(len(targets)))
    return Predictions(ids, logits.astype(np.float32), None, (OK,) * len(ids), classes)


def test_two_models_over_all_photos_and_by_class():
    rng = np.random.default_rng(0)
    targets = rng.integers(3, size=300)
    targets[:10] = -1
    strong, weak = answer(rng, targets, 3.0), answer(rng, targets, 1.0)
    found = compare_models(strong, weak, targets, names=("strong", "weak"))
    known = targets >= 0
    hits = [(p.logits.argmax(axis=1) == targets)[known] for p in (strong, weak)]
    assert (found.first, found.second) == pytest.approx((hits[0].mean(), hits[1].mean()))
    assert found.only_first == (hits[0] & ~hits[1]).sum()
    assert found.only_second == (hits[1] & ~hits[0]).sum()
    assert found.pair.verdict == "better"
    assert found.pair.p == pytest.approx(mcnemar_p(found.only_first, found.only_second))
    assert found.pair.num_photos == 290
    assert found.num_more is None
    for number, one in enumerate(found.classes):
        rows = targets[known] == number
        assert one.first == pytest.approx(hits[0][rows].mean())
        assert one.pair.num_photos == rows.sum()
        assert one.pair.difference == pytest.approx(one.first - one.second)
    # Three classes: the least p-value is adjusted threefold.
    least = min(found.classes, key=lambda one: one.pair.p).pair
    assert least.p_holm == pytest.approx(3 * least.p)
    turned = compare_models(weak, strong, targets)
    assert turned.pair.verdict == "worse"
    assert turned.pair.difference == pytest.approx(-found.pair.difference)


def test_a_class_without_photos_is_not_compared_and_no_answer_is_a_wrong_one():
    targets = np.array([0, 0, 1, 1])
    logits = np.eye(3, dtype=np.float32)[targets]
    broken = logits.copy()
    broken[3] = np.nan
    ids = ("a", "b", "c", "d")
    first = Predictions(ids, logits, None, (OK,) * 4, CLASSES)
    second = Predictions(ids, broken, None, (OK, OK, OK, "truncated"), CLASSES)
    found = compare_models(first, second, targets)
    assert (found.first, found.second, found.only_first, found.only_second) == (1, 0.75, 1, 0)
    assert (found.pair.verdict, found.classes[2].pair) == ("cannot tell", None)
    # (1.96 sqrt(1/4) + 0.8416 sqrt(1/4 - 1/16))**2 / (1/4)**2 = 28.9
    assert found.num_more == 29 - 4


def test_other_photos_or_no_labels_are_refused():
    rng = np.random.default_rng(0)
    targets = np.zeros(4, np.int64)
    first = answer(rng, targets, 1.0)
    other = Predictions(first.ids[::-1], first.logits, None, first.status, first.classes)
    with pytest.raises(ValueError, match="same photos"):
        compare_models(first, other, targets)
    with pytest.raises(InputError, match="share no photo"):
        compare_models(first, first, targets - 1)


def test_models_that_seem_alike_need_no_photos_that_one_could_count():
    assert estimate_more_photos(5, 5, 100) is None
    assert estimate_more_photos(0, 0, 100) is None
    assert estimate_more_photos(60, 5, 300) == 0


def test_as_many_photos_as_estimated_tell_the_models_apart_in_eight_of_ten_samples():
    rng = np.random.default_rng(0)
    num_photos = 200 + estimate_more_photos(14, 8, 200)
    draws = rng.multinomial(num_photos, [14 / 200, 8 / 200, 178 / 200], size=2000)
    found = np.mean([mcnemar_p(first, second) < 0.05 for first, second, _ in draws.tolist()])
    assert found == pytest.approx(0.8, abs=0.03)
