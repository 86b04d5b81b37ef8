"""A submission has exactly the sample's rows, whatever order the predictions come in."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lotlens.deliver.submission import build_submission, write_submission
from lotlens.errors import InputError
from lotlens.records import OK, CarClass, Predictions

CLASSES = tuple(CarClass(str(label), f"Car {label}") for label in (7, 3, 5))


def make_predictions(answers):
    """id -> class position, or a reason why there is no answer."""
    logits = np.full((len(answers), len(CLASSES)), np.nan, dtype=np.float32)
    for row, answer in enumerate(answers.values()):
        if isinstance(answer, int):
            logits[row] = np.eye(len(CLASSES))[answer]
    status = tuple(OK if isinstance(a, int) else a for a in answers.values())
    return Predictions(tuple(answers), logits, None, status, CLASSES)


@given(
    positions=st.lists(st.integers(0, 2), min_size=1, max_size=20),
    shuffle=st.randoms(use_true_random=False),
)
def test_rows_are_the_samples_in_its_order_whatever_order_predictions_have(positions, shuffle):
    answers = {f"{number}.jpg": position for number, position in enumerate(positions)}
    sample = [(id_, "0") for id_ in answers]
    shuffle.shuffle(sample)
    shuffled = list(answers.items())
    shuffle.shuffle(shuffled)
    rows = build_submission(make_predictions(dict(shuffled)), sample)
    assert rows == [(id_, CLASSES[answers[id_]].label) for id_, _ in sample]


def test_photos_that_the_sample_does_not_name_are_left_out():
    rows = build_submission(make_predictions({"a": 0, "b": 1, "c": 2}), [("c", "0")])
    assert rows == [("c", "5")]


def test_without_a_sample_the_rows_are_the_predictions():
    assert build_submission(make_predictions({"b": 1, "a": 0})) == [("b", "3"), ("a", "7")]


def test_ids_without_an_answer_are_named_with_the_reason():
    predictions = make_predictions({"a": 0, "b": "truncated JPEG"})
    with pytest.raises(InputError, match=r"2 ids .*b \(truncated JPEG\), z \(no photo\)"):
        build_submission(predictions, [("b", "0"), ("a", "0"), ("z", "0")])
    with pytest.raises(InputError, match=r"1 id that has no answer: b \(truncated JPEG\)"):
        build_submission(predictions)


def test_ten_ids_are_named_and_the_rest_counted():
    sample = [(f"x{number}", "0") for number in range(23)]
    with pytest.raises(InputError, match=r"23 ids .*x9 \(no photo\) and 13 more") as caught:
        build_submission(make_predictions({"1.jpg": 0}), sample)
    assert "x10" not in str(caught.value)
    assert "ids such as '1.jpg'" in str(caught.value)


def test_fill_answers_for_missing_and_unreadable_alone():
    predictions = make_predictions({"a": 0, "b": "truncated JPEG"})
    rows = build_submission(predictions, [("z", "0"), ("b", "0"), ("a", "0")], fill="3")
    assert rows == [("z", "3"), ("b", "3"), ("a", "7")]
    nothing = make_predictions({"b": "truncated JPEG"})
    assert build_submission(nothing, fill="3") == [("b", "3")]


def test_a_fill_the_model_does_not_know_is_refused():
    with pytest.raises(InputError, match="labels are 7, 3, 5"):
        build_submission(make_predictions({"a": 0}), fill="Car 7")


def test_an_id_that_stands_twice_in_the_sample_is_refused():
    with pytest.raises(InputError, match="1 id more than once: a"):
        build_submission(make_predictions({"a": 0}), [("a", "0"), ("a", "0")], fill="3")


def test_the_file_has_the_samples_columns_and_plain_line_ends(tmp_path):
    path = tmp_path / "submission.csv"
    write_submission(path, [("фото 1.jpg", "7"), ("b,c.jpg", "3")], ("Id", "Класс"))
    assert path.read_bytes() == 'Id,Класс\nфото 1.jpg,7\n"b,c.jpg",3\n'.encode()
    assert [path.name for path in tmp_path.iterdir()] == ["submission.csv"]
