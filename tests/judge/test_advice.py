"""Advice follows from the figures, names the right class, and says nothing where nothing is."""

import numpy as np
import pytest

from lotlens.judge.advice import advise
from lotlens.judge.metrics import count_confusions, evaluate, list_answers, measure_classes
from lotlens.records import OK, CarClass, Predictions

CLASSES = tuple(CarClass(str(k), name) for k, name in enumerate(("Niva", "Kalina", "Granta")))


def make(confusions, confidence=0.8, sure=()):
    """Predictions with these confusions; `confidence` of all answers, 0.99 of those in `sure`."""
    rows = [
        (true, said)
        for true, row in enumerate(confusions)
        for said, count in enumerate(row)
        for _ in range(count)
    ]
    chances = np.full((len(rows), 3), 0.0)
    for number, (_, said) in enumerate(rows):
        own = 0.99 if number in sure else confidence
        chances[number] = (1 - own) / 2
        chances[number, said] = own
    ids = tuple(f"{number}.jpg" for number in range(len(rows)))
    predictions = Predictions(
        ids, np.log(chances).astype(np.float32), None, (OK,) * len(ids), CLASSES
    )
    return predictions, np.array([true for true, _ in rows])


def advise_on(result, **changes):
    values = {
        "metrics": evaluate(*result),
        "class_scores": measure_classes(*result),
        "confusions": count_confusions(*result),
        "answers": list_answers(*result),
    }
    return advise(**values | changes)


def pick(advice, kind):
    return [item for item in advice if item.kind == kind]


def test_a_weak_class_needs_photos_and_is_named_with_its_rival():
    result = make([[60, 2, 38], [1, 99, 0], [2, 1, 97]])
    (weak,) = pick(advise_on(result, training_counts={"0": 20, "1": 80, "2": 80}), "photos")
    assert (weak.car.name, weak.taken_for.name, weak.num_taken) == ("Niva", "Granta", 38)
    assert weak.recall.value == pytest.approx(0.6)
    assert weak.is_sure
    assert (weak.num_training, weak.usual_training) == (20, 60)
    assert weak.has_few
    (many,) = pick(advise_on(result, training_counts={"0": 200, "1": 80, "2": 80}), "photos")
    assert not many.has_few
    (unknown,) = pick(advise_on(result), "photos")
    assert (unknown.num_training, unknown.usual_training, unknown.has_few) == (None, None, False)


def test_the_surest_and_costliest_weakness_comes_first():
    result = make([[50, 50, 0], [1, 4, 0], [0, 0, 300]])
    assert [item.car.name for item in pick(advise_on(result), "photos")] == ["Niva", "Kalina"]
    assert [item.is_sure for item in pick(advise_on(result), "photos")] == [True, False]


def test_only_sure_contradictions_are_labels_to_check():
    result = make([[8, 2, 0], [0, 10, 0], [1, 0, 9]], sure={0, 9, 20})
    (labels,) = pick(advise_on(result), "labels")
    assert [answer.photo_id for answer in labels.answers] == ["9.jpg", "20.jpg"]
    assert all(answer.probability == pytest.approx(0.99) for answer in labels.answers)
    assert not pick(advise_on(make([[8, 2, 0], [0, 10, 0], [0, 0, 9]])), "labels")


@pytest.mark.parametrize(
    ("confidence", "verdict"), [(0.8, "kept"), (0.98, "too-sure"), (0.5, "too-unsure")]
)
def test_calibration_is_judged_by_the_interval(confidence, verdict):
    result = make([[80, 20, 0], [20, 80, 0], [0, 20, 80]], confidence)
    (found,) = pick(advise_on(result), "calibration")
    assert found.verdict == verdict
    assert found.stated == pytest.approx(confidence)
    assert found.accuracy.value == pytest.approx(0.8)


def test_few_photos_are_said_to_be_few():
    (few,) = pick(advise_on(make([[8, 2, 0], [0, 10, 0], [0, 0, 10]])), "judge-more")
    assert few.accuracy.count == 30
    assert few.margin == pytest.approx((few.accuracy.high - few.accuracy.low) / 2)
    # 1.96 ** 2 * 0.933 * 0.067 / 0.02 ** 2
    assert few.num_needed == 600
    assert not pick(advise_on(make([[300, 20, 0], [0, 300, 0], [0, 0, 300]])), "judge-more")


def test_a_perfect_model_needs_no_photos_and_no_labels():
    kinds = {item.kind for item in advise_on(make([[400, 0, 0], [0, 400, 0], [0, 0, 400]], 0.999))}
    assert kinds == {"calibration"}


def test_files_to_mend_are_counted_and_nothing_judged_is_no_advice():
    result = make([[5, 1, 0], [0, 5, 0], [0, 0, 5]])
    assert [item.count for item in pick(advise_on(result, num_unreadable=7), "files")] == [7]
    assert not pick(advise_on(result), "files")
    assert advise(metrics=(), class_scores=(), confusions=np.zeros((0, 0), int), answers=()) == ()


def test_a_class_without_photos_is_passed_over():
    advice = advise_on(make([[8, 2, 0], [1, 9, 0], [0, 0, 0]]))
    assert "Granta" not in {item.car.name for item in pick(advice, "photos")}
