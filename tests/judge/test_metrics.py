"""The figures agree with scikit-learn and scipy, and the intervals hold what they promise."""

import warnings
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom, binomtest
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    brier_score_loss,
    confusion_matrix,
    f1_score,
    log_loss,
    precision_recall_fscore_support,
    top_k_accuracy_score,
)

from lotlens.answering.answers import probabilities
from lotlens.errors import InputError
from lotlens.intervals import compute_wilson_interval
from lotlens.judge.metrics import (
    align_targets,
    compute_balanced_accuracy,
    compute_calibration_error,
    compute_macro_f1,
    count_confusions,
    evaluate,
    find_chance_error,
    find_confusion_pairs,
    find_worst_errors,
    list_answers,
    measure_classes,
)
from lotlens.records import OK, CarClass, Catalog, Photo, Predictions


def make_classes(num_classes):
    return tuple(CarClass(str(k), f"Car {k}") for k in range(num_classes))


def draw_predictions(seed, num_photos=120, num_classes=4, unanswered=0.0, skill=1.5):
    rng = np.random.default_rng(seed)
    targets = rng.integers(num_classes, size=num_photos)
    logits = rng.normal(size=(num_photos, num_classes)) + skill * np.eye(num_classes)[targets]
    lost = rng.random(num_photos) < unanswered
    logits[lost] = np.nan
    status = tuple("truncated JPEG" if is_lost else OK for is_lost in lost)
    ids = tuple(f"{n}.jpg" for n in range(num_photos))
    predictions = Predictions(
        ids, logits.astype(np.float32), None, status, make_classes(num_classes)
    )
    return predictions, targets


def certain(answers, num_classes, ids=None):
    """Predictions that answer with these classes; -1 for none."""
    logits = np.array(
        [np.full(num_classes, np.nan) if a < 0 else 4.0 * np.eye(num_classes)[a] for a in answers],
        dtype=np.float32,
    ).reshape(-1, num_classes)
    status = tuple(OK if a >= 0 else "no file" for a in answers)
    ids = ids or tuple(f"{n}.jpg" for n in range(len(answers)))
    return Predictions(tuple(ids), logits, None, status, make_classes(num_classes))


def by_name(metrics):
    assert len({metric.name for metric in metrics}) == len(metrics)
    return {metric.name: metric for metric in metrics}


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10_000), num_classes=st.integers(2, 6))
def test_figures_agree_with_scikit_learn(seed, num_classes):
    predictions, targets = draw_predictions(seed, num_classes=num_classes, unanswered=0.1)
    temperature = 1.7
    figures = by_name(evaluate(predictions, targets, temperature=temperature))
    keep = predictions.answered
    truth, answers = targets[keep], predictions.logits[keep].argmax(axis=1)
    assert figures["accuracy"].value == pytest.approx(accuracy_score(truth, answers))
    assert figures["macro F1"].value == pytest.approx(
        f1_score(truth, answers, average="macro", labels=np.unique(truth), zero_division=0)
    )
    assert figures["log loss"].value == pytest.approx(
        log_loss(truth, probabilities(predictions, temperature)[keep], labels=range(num_classes))
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn dislikes answers that no truth has
        balanced = balanced_accuracy_score(truth, answers)
    assert figures["balanced accuracy"].value == pytest.approx(balanced)
    chances = probabilities(predictions, temperature)[keep]
    each = sum(brier_score_loss(truth == k, chances[:, k]) for k in range(num_classes))
    assert figures["Brier score"].value == pytest.approx(each)
    if num_classes > 2:
        near = top_k_accuracy_score(truth, chances, k=2, labels=range(num_classes))
        assert figures["top-2 accuracy"].value == pytest.approx(near)
    for metric in figures.values():
        assert metric.low <= metric.value <= metric.high

    np.testing.assert_array_equal(
        count_confusions(predictions, targets),
        confusion_matrix(truth, answers, labels=range(num_classes)),
    )
    precision, recall, f1, support = precision_recall_fscore_support(
        truth, answers, labels=range(num_classes), zero_division=0
    )
    for k, score in enumerate(measure_classes(predictions, targets)):
        assert score.car == predictions.classes[k]
        assert score.num_photos == support[k]
        assert score.recall.value == pytest.approx(recall[k])
        assert score.f1 == pytest.approx(f1[k])
        if score.num_predicted:
            assert score.precision.value == pytest.approx(precision[k])
            assert score.precision.count == score.num_predicted
        else:
            assert score.precision is None


@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_order_of_photos_changes_no_figure_that_is_not_resampled(seed):
    predictions, targets = draw_predictions(seed, num_photos=40, unanswered=0.2)
    order = np.random.default_rng(seed).permutation(len(targets))
    shuffled = Predictions(
        tuple(predictions.ids[k] for k in order),
        predictions.logits[order],
        None,
        tuple(predictions.status[k] for k in order),
        predictions.classes,
    )
    assert measure_classes(shuffled, targets[order]) == measure_classes(predictions, targets)
    assert find_worst_errors(shuffled, targets[order]) == find_worst_errors(predictions, targets)
    for one, other in zip(
        evaluate(predictions, targets), evaluate(shuffled, targets[order]), strict=True
    ):
        assert (one.name, one.count) == (other.name, other.count)
        assert one.value == pytest.approx(other.value)


def test_photos_without_label_count_nowhere():
    predictions, targets = draw_predictions(0, unanswered=0.1)
    unknown = np.where(np.arange(len(targets)) % 3 == 0, -1, targets)
    kept = np.flatnonzero(unknown >= 0)
    subset = Predictions(
        tuple(predictions.ids[k] for k in kept),
        predictions.logits[kept],
        None,
        tuple(predictions.status[k] for k in kept),
        predictions.classes,
    )
    assert evaluate(predictions, unknown) == evaluate(subset, targets[kept])
    assert measure_classes(predictions, unknown) == measure_classes(subset, targets[kept])
    assert find_confusion_pairs(predictions, unknown) == find_confusion_pairs(subset, targets[kept])


def test_unanswered_photos_are_counted_and_then_count_as_wrong():
    answers, targets = [0, 1, -1, 1, -1], np.array([0, 1, 1, 0, -1])
    figures = by_name(evaluate(certain(answers, 2), targets))
    assert (figures["accuracy"].value, figures["accuracy"].count) == (2 / 3, 3)
    strict = figures["accuracy, unanswered as wrong"]
    assert (strict.value, strict.count) == (2 / 4, 4)
    assert (figures["unanswered"].value, figures["unanswered"].count) == (1 / 4, 4)


def test_without_unanswered_photos_there_is_one_accuracy():
    figures = evaluate(certain([0, 1, 1], 2), np.array([0, 1, 0]))
    assert [metric.name for metric in figures] == [
        "accuracy",
        "macro F1",
        "balanced accuracy",
        "log loss",
        "Brier score",
        "calibration error",
    ]
    three = evaluate(certain([0, 1, 1], 3), np.array([0, 1, 0]))
    assert [metric.name for metric in three][:3] == ["accuracy", "top-2 accuracy", "macro F1"]


@pytest.mark.parametrize(("answers", "targets"), [([], []), ([-1, 0], [0, -1])])
def test_nothing_to_judge_is_refused(answers, targets):
    with pytest.raises(InputError, match=f"of {len(answers)} photos"):
        evaluate(certain(answers, 2), np.array(targets, dtype=np.int64))


def test_seeds_draw_other_resamples_and_one_seed_the_same():
    predictions, targets = draw_predictions(0)
    first = evaluate(predictions, targets, seed=1)
    assert first == evaluate(predictions, targets, seed=1)
    other = evaluate(predictions, targets, seed=2)
    assert [metric.value for metric in first] == [metric.value for metric in other]
    assert [metric.low for metric in first[1:]] != [metric.low for metric in other[1:]]


@pytest.mark.parametrize("num_trials", [10, 40, 374])
def test_wilson_covers_the_truth_about_as_often_as_promised(num_trials):
    # Exact, not simulated: the chance of each count, summed over those whose interval holds p.
    hits = np.arange(num_trials + 1)
    intervals = np.array([compute_wilson_interval(k, num_trials) for k in hits.tolist()])
    covered = [
        binom.pmf(hits, num_trials, p)[(intervals[:, 0] <= p) & (p <= intervals[:, 1])].sum()
        for p in np.linspace(0.02, 0.98, 97)
    ]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.01)
    assert min(covered) > 0.82  # Brown, Cai and DasGupta 2001: it dips near the ends


@pytest.mark.parametrize(
    ("num_hits", "num_trials", "low", "high"),
    # Newcombe 1998, table I, method 3 (without continuity correction).
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_agrees_with_the_published_figures(num_hits, num_trials, low, high):
    assert compute_wilson_interval(num_hits, num_trials) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize("num_trials", [1, 2, 7, 36, 374])
def test_wilson_agrees_with_scipy(num_trials):
    for num_hits in range(0, num_trials + 1, 1 + num_trials // 50):
        expected = binomtest(num_hits, num_trials).proportion_ci(0.95, method="wilson")
        assert compute_wilson_interval(num_hits, num_trials) == pytest.approx(expected, abs=1e-12)


def test_wilson_of_nothing_says_nothing():
    assert compute_wilson_interval(0, 0) == (0, 1)


def count_covered(draw, num_photos, num_rounds):
    """How often each figure's interval holds what very many photos say."""
    reference, truth = draw(999, 60_000)
    rows, num_classes = np.arange(len(truth)), len(reference.classes)
    chances, answers = probabilities(reference), reference.logits.argmax(axis=1)
    population = {
        "accuracy": (answers == truth).mean(),
        "log loss": -np.log(chances[rows, truth]).mean(),
        "Brier score": np.square(chances - np.eye(num_classes)[truth]).sum(axis=1).mean(),
        "macro F1": compute_macro_f1(answers, truth, num_classes),
        "balanced accuracy": compute_balanced_accuracy(answers, truth, num_classes),
        "calibration error": compute_calibration_error(chances.max(axis=1), answers == truth),
    }
    covered = Counter(dict.fromkeys(population, 0))
    for seed in range(num_rounds):
        figures = by_name(evaluate(*draw(seed, num_photos), seed=seed))
        for name, value in population.items():
            covered[name] += bool(figures[name].low <= value <= figures[name].high)
    return population["accuracy"], covered


@pytest.mark.parametrize(("num_classes", "num_photos"), [(4, 150), (40, 300)])
def test_intervals_cover_the_truth_about_as_often_as_promised(num_classes, num_photos):
    def draw(seed, num_photos):
        return draw_predictions(seed, num_photos, num_classes, skill=np.log(num_classes) + 0.3)

    _, covered = count_covered(draw, num_photos, 24)
    # 22.8 expected of 24; the percentile interval of macro F1 holds 40 classes in 18 of them.
    assert min(covered.values()) > 19, covered


@pytest.mark.parametrize("sharpness", [1.0, 2.0])
@pytest.mark.parametrize(("accuracy", "skill"), [(0.97, 3.69), (0.99, 4.24)])
@pytest.mark.parametrize("num_photos", [20, 130])
def test_intervals_cover_the_truth_where_errors_are_few(num_photos, accuracy, skill, sharpness):
    """Resamples of photos without an error held log loss in half of the lots of 20, at 0.99."""

    def draw(seed, num_photos):
        predictions, targets = draw_predictions(seed, num_photos, 10, skill=skill)
        # The log odds of logits that are normal around 0 and `skill`: true probabilities.
        return replace(predictions, logits=predictions.logits * skill * sharpness), targets

    true, covered = count_covered(draw, num_photos, 60)
    assert true == pytest.approx(accuracy, abs=0.003)
    # 57 expected of 60; fewer than 52 have a chance of 1 % then.
    assert min(covered.values()) >= 52, covered


def test_classes_of_unequal_size_have_wider_intervals_that_hold_the_truth():
    shares = np.array([0.5, 0.3, 0.1, 0.05, 0.05])

    def draw(seed, num_photos):
        rng = np.random.default_rng(seed)
        targets = rng.choice(5, size=num_photos, p=shares)
        logits = rng.normal(size=(num_photos, 5)) + 3.6 * np.eye(5)[targets]
        ids = tuple(map(str, range(num_photos)))
        status = (OK,) * num_photos
        return Predictions(ids, logits.astype(np.float32), None, status, make_classes(5)), targets

    _, covered = count_covered(draw, 100, 60)
    assert min(covered["balanced accuracy"], covered["macro F1"]) >= 52, covered
    # Of 100 photos rightly answered, the 5 of a rare class say least.
    truth = np.repeat(np.arange(5), (100 * shares).astype(int))
    figures = by_name(evaluate(certain(truth, 5), truth))
    low, high = compute_wilson_interval(100, 100)
    assert (figures["accuracy"].low, figures["accuracy"].high) == (low, high)
    assert figures["balanced accuracy"].low < low
    assert figures["macro F1"].low < low


def test_macro_f1_of_two_photos_a_class_is_known_to_be_too_low():
    def draw(seed, num_photos):
        return draw_predictions(seed, num_photos, 60, skill=2.3)

    true, covered = count_covered(draw, 130, 100)
    assert true == pytest.approx(0.5, abs=0.02)
    assert covered["macro F1"] >= 95, covered  # without the bias 92
    values = [by_name(evaluate(*draw(seed, 130)))["macro F1"].value for seed in range(100)]
    # Of as many photos a class as there are in the reference the accuracy itself would be found.
    assert np.mean(values) < true - 0.02


@pytest.mark.parametrize("name", ["macro F1", "balanced accuracy"])
def test_without_an_error_means_over_equal_classes_are_as_unsure_as_the_accuracy(name):
    truth = np.arange(60) % 4
    figures = by_name(evaluate(certain(truth, 4), truth))
    assert (figures[name].value, figures[name].high) == (1, 1)
    assert figures[name].low == pytest.approx(figures["accuracy"].low)


@pytest.mark.parametrize("shift", [0.0, 0.08])
def test_the_calibration_errors_interval_covers_the_truth(shift):
    def draw(seed, num_photos):
        rng = np.random.default_rng(seed)
        confidence = np.clip(rng.beta(8, 1.2, num_photos), 0.5, 1)
        is_right = rng.random(num_photos) < confidence - shift
        logits = np.log(np.stack([confidence, 1 - confidence], axis=1))
        ids = tuple(f"{n}.jpg" for n in range(num_photos))
        status = (OK,) * num_photos
        predictions = Predictions(ids, logits.astype(np.float32), None, status, make_classes(2))
        return predictions, np.where(is_right, 0, 1)

    # The errors of chance alone are about 0.03 with so many photos.
    covered = 0
    for seed in range(40):
        error = by_name(evaluate(*draw(seed, 374), seed=seed))["calibration error"]
        covered += error.low <= shift <= error.high
    # 38 expected of 40; without the draws by chance about 28 without a shift.
    assert covered > 33


def test_chance_alone_makes_a_calibration_error():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.5, 1, 400)
    usual, high = (find_chance_error(confidence, share=share) for share in (0.5, 0.95))
    errors = [
        compute_calibration_error(confidence, rng.random(400) < confidence) for _ in range(300)
    ]
    assert usual == pytest.approx(np.median(errors), rel=0.05)
    assert np.mean(np.array(errors) < high) == pytest.approx(0.95, abs=0.03)
    # Four times as many photos halve it.
    more = find_chance_error(np.tile(confidence, 4), share=0.5)
    assert more == pytest.approx(usual / 2, rel=0.1)


def test_a_class_nobody_sees_or_names_has_no_figures():
    scores = measure_classes(certain([0, 1, 1], 4), np.array([0, 1, 2]))
    assert scores[0].recall.value == scores[0].precision.value == scores[0].f1 == 1
    assert (scores[1].precision.value, scores[1].num_predicted) == (0.5, 2)
    assert (scores[2].recall.value, scores[2].precision, scores[2].f1) == (0, None, 0)
    assert (scores[3].recall, scores[3].precision, scores[3].f1) == (None, None, None)


def test_confusion_pairs_are_ordered_and_carry_their_surest_examples():
    answers, targets = [1, 1, 1, 0, 2, 0, -1], np.array([0, 0, 0, 1, 1, 0, 0])
    predictions = certain(answers, 3, ids=tuple("abcdefg"))
    predictions.logits[1, 1] = 9  # "b" is the surest error
    pairs = find_confusion_pairs(predictions, targets, num_examples=2)
    assert [(p.true.label, p.predicted.label, p.count) for p in pairs] == [
        ("0", "1", 3),
        ("1", "0", 1),
        ("1", "2", 1),
    ]
    assert [pair.share for pair in pairs] == [3 / 4, 1 / 2, 1 / 2]
    assert pairs[0].example_ids == ("b", "a")
    assert (
        find_confusion_pairs(predictions, targets, limit=1)
        == (find_confusion_pairs(predictions, targets)[:1])
    )


def test_worst_errors_gave_the_truth_the_least_chance():
    predictions, targets = draw_predictions(0, unanswered=0.1)
    errors = find_worst_errors(predictions, targets, temperature=2.0, limit=1000)
    chances = dict(zip(predictions.ids, probabilities(predictions, 2.0), strict=True))
    truth = dict(zip(predictions.ids, targets, strict=True))
    assert [e.true_probability for e in errors] == sorted(e.true_probability for e in errors)
    for error in errors:
        assert int(error.true.label) == truth[error.photo_id]
        assert (
            int(error.predicted.label) == chances[error.photo_id].argmax() != truth[error.photo_id]
        )
        assert error.probability == chances[error.photo_id].max()
    wrong = predictions.answered & (predictions.logits.argmax(axis=1) != targets)
    assert len(errors) == wrong.sum()
    assert find_worst_errors(predictions, targets, temperature=2.0, limit=3) == errors[:3]


@pytest.mark.parametrize("find", [find_confusion_pairs, find_worst_errors])
def test_no_errors_are_no_errors(find):
    assert find(certain([0, 1], 2), np.array([0, 1])) == ()
    assert find(certain([-1], 2), np.array([0])) == ()


def test_calibration_error_by_hand():
    confidence = np.array([0.95, 0.95, 0.95, 0.95, 0.55, 0.55])
    is_right = np.array([True, True, True, False, True, False])
    expected = (4 * 0.2 + 2 * 0.05) / 6
    assert compute_calibration_error(confidence, is_right, num_bins=10) == pytest.approx(expected)
    edges = np.array([0.0, 0.1, 1.0])  # 0.1 belongs to the bin below, as 0.0 does
    assert compute_calibration_error(edges, np.array([0, 0, 1], bool), 10) == pytest.approx(0.1 / 3)


def test_calibration_error_of_an_honest_model_is_about_zero_and_its_interval_says_so():
    rng = np.random.default_rng(0)
    logits = (1.5 * rng.normal(size=(2000, 3))).astype(np.float32)
    predictions = Predictions(
        tuple(map(str, range(2000))), logits, None, (OK,) * 2000, make_classes(3)
    )
    chances = probabilities(predictions)
    targets = (rng.random((2000, 1)) > chances.cumsum(axis=1)).sum(axis=1).clip(max=2)
    honest = by_name(evaluate(predictions, targets))["calibration error"]
    boastful = by_name(evaluate(predictions, targets, temperature=0.2))["calibration error"]
    assert honest.value < 0.04
    assert honest.low < 0.02
    assert boastful.low > 0.1


def test_targets_are_aligned_by_id_and_label_not_by_place():
    classes = make_classes(3)
    catalog = Catalog(
        (Photo("b", None, "2"), Photo("a", None, "0"), Photo("c", None)), classes[::-1]
    )
    predictions = certain([0, 1, 2, 0], 3, ids=("a", "b", "c", "not in the catalog"))
    assert align_targets(predictions, catalog).tolist() == [0, 2, -1, -1]


def test_a_label_the_model_does_not_know_is_named():
    catalog = Catalog((Photo("0.jpg", None, "9"),), (CarClass("9", "Nine"),))
    with pytest.raises(InputError, match=r"label 9: its labels are 0, 1"):
        align_targets(certain([0], 2), catalog)


def test_answers_are_those_of_every_photo_judged_and_agree_with_the_errors():
    predictions, targets = draw_predictions(0, unanswered=0.1)
    targets = np.where(np.arange(len(targets)) % 7 == 0, -1, targets)
    answers = list_answers(predictions, targets, temperature=2.0)
    judged = (targets >= 0) & predictions.answered
    assert [a.photo_id for a in answers] == [
        id_ for id_, known in zip(predictions.ids, judged, strict=True) if known
    ]
    wrong = [answer for answer in answers if not answer.is_right]
    errors = find_worst_errors(predictions, targets, temperature=2.0, limit=1000)
    assert sorted(wrong, key=lambda a: a.photo_id) == sorted(errors, key=lambda a: a.photo_id)
    assert (
        sum(answer.is_right for answer in answers) == count_confusions(predictions, targets).trace()
    )
