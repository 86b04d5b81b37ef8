"""A submission has exactly the sample's rows, however it names photos and in whatever order."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lotlens.deliver.submission import (
    Submission,
    build_submission,
    match_own_sample,
    match_sample,
    require_photos,
    write_submission,
)
from lotlens.errors import InputError
from lotlens.records import OK, CarClass, Catalog, Locator, Photo, Predictions, Sample

CLASSES = tuple(CarClass(str(label), f"Car {label}") for label in (7, 3, 5))


def make_predictions(answers):
    """id -> class position, or a reason why there is no answer."""
    logits = np.full((len(answers), len(CLASSES)), np.nan, dtype=np.float32)
    for row, answer in enumerate(answers.values()):
        if isinstance(answer, int):
            logits[row] = np.eye(len(CLASSES))[answer]
    status = tuple(OK if isinstance(a, int) else a for a in answers.values())
    return Predictions(tuple(answers), logits, None, status, CLASSES)


def make_sample(*ids):
    return Sample(("Id", "Category"), tuple((id_, "0") for id_ in ids))


def make_catalog(*names):
    photos = tuple(Photo(name, Locator(Path("/photos", name))) for name in names)
    return Catalog(photos, CLASSES)


@given(
    positions=st.lists(st.integers(0, 2), min_size=1, max_size=20),
    shuffle=st.randoms(use_true_random=False),
)
def test_rows_are_the_samples_in_its_order_whatever_order_predictions_have(positions, shuffle):
    answers = {f"{number}.jpg": position for number, position in enumerate(positions)}
    ids = [*answers]
    shuffle.shuffle(ids)
    shuffled = list(answers.items())
    shuffle.shuffle(shuffled)
    made = build_submission(make_predictions(dict(shuffled)), make_sample(*ids))
    assert made.rows == [(id_, CLASSES[answers[id_]].label) for id_ in ids]
    assert made.num_filled == 0


def test_photos_that_the_sample_does_not_name_are_left_out():
    made = build_submission(make_predictions({"a": 0, "b": 1, "c": 2}), make_sample("c"))
    assert made.rows == [("c", "5")]


def test_without_a_sample_the_rows_are_the_predictions():
    made = build_submission(make_predictions({"b": 1, "a": 0}))
    assert (made.columns, made.rows) == (("Id", "Category"), [("b", "3"), ("a", "7")])


def test_rows_keep_the_samples_ids_and_further_columns():
    sample = Sample(
        ("Usage", "label", "image"), (("Public", "?", " 2"), ("Private", "?", "1")), 2, 1
    )
    made = build_submission(make_predictions({"1.jpg": 0, "2.jpg": 2}), sample, ("2.jpg", "1.jpg"))
    assert made.columns == ("Usage", "label", "image")
    assert made.rows == [("Public", "5", " 2"), ("Private", "7", "1")]


def test_ids_without_an_answer_are_named_with_the_reason():
    predictions = make_predictions({"a": 0, "b": "truncated JPEG"})
    with pytest.raises(InputError, match=r"2 ids .*b \(truncated JPEG\), z \(no photo\)"):
        build_submission(predictions, make_sample("b", "a", "z"))
    with pytest.raises(InputError, match=r"1 id that has no answer: b \(truncated JPEG\)"):
        build_submission(predictions)
    with pytest.raises(InputError, match=r"1 id that has no answer: 7 \(truncated JPEG\)"):
        build_submission(predictions, make_sample("7"), ("b",))


def test_ten_ids_are_named_and_the_rest_counted():
    sample = make_sample(*(f"x{number}" for number in range(23)))
    with pytest.raises(InputError, match=r"23 ids .*x9 \(no photo\) and 13 more") as caught:
        build_submission(make_predictions({"1.jpg": 0}), sample)
    assert "x10" not in str(caught.value)


def test_fill_answers_for_missing_and_unreadable_alone():
    predictions = make_predictions({"a": 0, "b": "truncated JPEG"})
    made = build_submission(predictions, make_sample("z", "b", "a"), fill="3")
    assert (made.rows, made.num_filled) == ([("z", "3"), ("b", "3"), ("a", "7")], 2)
    made = build_submission(predictions, make_sample("4", "5"), (None, "a"), fill="3")
    assert (made.rows, made.num_filled) == ([("4", "3"), ("5", "7")], 1)
    nothing = make_predictions({"b": "truncated JPEG"})
    assert build_submission(nothing, fill="3").rows == [("b", "3")]


def test_a_fill_the_model_does_not_know_is_refused():
    with pytest.raises(InputError, match="labels are 7, 3, 5"):
        build_submission(make_predictions({"a": 0}), fill="Car 7")


def test_a_samples_rows_find_their_photos_however_they_are_written():
    catalog = make_catalog("00001.jpg", "00002.jpg", "c.jpg", "00004.jpg", "more.jpg")
    found = match_sample(make_sample("1", "2.0", "C.JPG", "test/00004.png", "z"), catalog)
    assert found == ("00001.jpg", "00002.jpg", "c.jpg", "00004.jpg", None)


def test_ids_that_fit_nothing_are_shown_beside_the_photos_and_never_filled():
    catalog = make_catalog(*(f"{number}.jpg" for number in range(20)))
    sample = make_sample(*(f"x{number}" for number in range(20)))
    with pytest.raises(InputError) as caught:
        match_sample(sample, catalog)
    said = str(caught.value)
    assert "20 of the sample's 20 ids fit no photo" in said
    assert "the sample names x0, x1, x2 and 17 more" in said
    assert "the photos given are 0.jpg, 1.jpg, 2.jpg and 17 more" in said
    assert "fill" not in said
    half = make_sample("x1", "x2", "1", "2")
    assert match_sample(half, catalog) == (None, None, "1.jpg", "2.jpg")


def test_photos_without_a_file_are_none_that_an_id_could_mean():
    catalog = Catalog((*make_catalog("1.jpg").photos, Photo("2.jpg", None)), CLASSES)
    assert match_sample(make_sample("1", "2"), catalog) == ("1.jpg", None)
    assert match_own_sample(make_sample("1.jpg", "2.jpg"), catalog) == ("1.jpg", None)
    # A split column names the test photos, and the sample beside it otherwise.
    assert match_own_sample(make_sample("01", "2.jpg"), catalog) == ("1.jpg", None)
    with pytest.raises(InputError, match=r"sample's 1\.jpg and 1 both mean the photo 1\.jpg"):
        match_sample(make_sample("1.jpg", "1", "1.jpeg"), make_catalog("1.jpg", "x.jpg"))


def test_an_id_that_several_photos_fit_is_refused_with_their_names():
    with pytest.raises(InputError, match=r"sample's 1 may be any of 2 photos: a/1\.jpg, b/1\.jpg"):
        match_sample(make_sample("1"), make_catalog("a/1.jpg", "b/1.jpg"))


def test_two_ids_of_one_photo_are_refused_with_both():
    with pytest.raises(InputError, match=r"sample's 1 and 001 both mean the photo 01\.jpg"):
        match_sample(make_sample("1", "001"), make_catalog("01.jpg"))


def test_gaps_are_told_with_what_can_be_done():
    with pytest.raises(InputError, match=r"needs 1 id that no photo fits: b; .*--fill"):
        require_photos(make_sample("a", "b"), ("a.jpg", None))
    require_photos(make_sample("a"), ("a.jpg",))


def test_the_file_has_the_samples_columns_and_plain_line_ends(tmp_path):
    path = tmp_path / "submission.csv"
    rows = [("фото 1.jpg", "7"), ("b,c.jpg", "3")]
    write_submission(path, Submission(("Id", "Класс"), rows, 0))
    assert path.read_bytes() == 'Id,Класс\nфото 1.jpg,7\n"b,c.jpg",3\n'.encode()
    assert [path.name for path in tmp_path.iterdir()] == ["submission.csv"]
