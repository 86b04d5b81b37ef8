"""Each reason for doubt fires where it must and only there, on matrices of a few numbers."""

from dataclasses import replace

import numpy as np
import pytest
from cleanlab.filter import find_label_issues
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lotlens.errors import InputError
from lotlens.improve.doubts import (
    REASONS,
    Evidence,
    find_doubts,
    read_doubts,
    score_labels,
    score_listings,
    score_members,
    score_odd_ones,
    score_sure_errors,
    score_ties,
    score_views,
    score_wrong_labels,
    vote_neighbours,
    write_doubts,
)
from lotlens.records import CarClass

CLASSES = (CarClass("0", "Приора"), CarClass("1", "Focus, new"), CarClass("2", "Niva; 2121"))
NAN = [np.nan] * 3


def make(rows, targets, **more):
    ids = tuple(f"photo {number}.jpg" for number in range(len(rows)))
    return Evidence(ids, np.array(targets), np.array(rows, float), **more)


def simulate(seed, share=0.05, num_photos=900, num_classes=10):
    """Answers of a classifier that is right in about nine of ten, and flipped labels."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(num_classes, size=num_photos)
    logits = rng.normal(size=(num_photos, num_classes))
    logits[np.arange(num_photos), truth] += rng.normal(4.0, 1.5, size=num_photos)
    chances = np.exp(1.3 * logits)
    chances /= chances.sum(axis=1, keepdims=True)
    flipped = rng.permutation(num_photos)[: round(share * num_photos)]
    labels = truth.copy()
    labels[flipped] = (truth[flipped] + rng.integers(1, num_classes, len(flipped))) % num_classes
    return labels, chances, set(flipped.tolist())


def test_sure_errors_are_those_that_are_sure():
    evidence = make([[0.8, 0.1, 0.1], [0.6, 0.3, 0.1], [0.1, 0.8, 0.1], NAN], [1, 1, 1, 1])
    assert score_sure_errors(evidence).tolist() == [0.8, 0, 0, 0]


def test_ties_hold_most_of_the_probability_between_two():
    rows = [[0.5, 0.45, 0.05], [0.7, 0.2, 0.1], [0.34, 0.33, 0.33], NAN]
    assert score_ties(make(rows, [0, 0, 0, 0])).tolist() == [pytest.approx(0.9), 0, 0, 0]
    assert score_ties(Evidence(("a",), np.array([0]), np.ones((1, 1)))).tolist() == [0]


def test_an_odd_one_has_hardly_a_neighbour_of_its_label():
    votes = np.array([[0.1, 0.9, 0.0], [0.4, 0.6, 0.0], [0.9, 0.1, 0.0], [0.2, 0.4, 0.4]])
    evidence = make([[1, 0, 0]] * 4, [0, 0, 0, 0], neighbours=votes)
    assert score_odd_ones(evidence).tolist() == [0.9, 0, 0, 0]
    assert not score_odd_ones(replace(evidence, neighbours=None)).any()
    # A photo that could not be read has no features, and so no neighbours that mean anything.
    assert not score_odd_ones(make([NAN], [0], neighbours=votes[:1])).any()


@pytest.mark.parametrize(("score", "key"), [(score_members, "members"), (score_views, "views")])
def test_disagreement_is_the_share_that_answers_otherwise(score, key):
    one, other = [0.9, 0.05, 0.05], [0.05, 0.9, 0.05]
    answers = np.array([[one, one, NAN], [other, one, NAN], [other, one, NAN]])
    evidence = make([one, one, NAN], [0, 0, 0], **{key: answers})
    # Of members all three are asked, of views those besides the plain one.
    share = 2 / 3 if key == "members" else 1.0
    assert score(evidence).tolist() == [pytest.approx(share), 0, 0]
    assert not score(replace(evidence, **{key: None})).any()
    # A view or member without an answer says nothing, whatever the first class is.
    silent = np.array([[other], [NAN], [other]])
    assert score(make([other], [0], **{key: silent})).tolist() == [0]


def test_photos_of_one_advert_speak_for_each_other():
    rows = [[0.9, 0.1, 0.0], [0.9, 0.1, 0.0], [0.8, 0.2, 0.0], [0.1, 0.9, 0.0], NAN]
    evidence = make(rows, [0, 0, 1, 1, 1], listings=("a", "a", "a", "b", "a"))
    scores = score_listings(evidence)
    assert scores[2] > 0.85  # the others of its advert are sure of another model
    assert scores[:2].tolist() == [0.5, 0.5]  # one car, two labels: either may be wrong
    assert scores[3:].tolist() == [0, 0]  # alone in its advert; not answered
    assert not score_listings(replace(evidence, listings=())).any()


def test_wrong_labels_are_those_of_confident_learning():
    labels, chances, _ = simulate(0)
    evidence = Evidence(tuple(map(str, range(len(labels)))), labels, chances)
    expected = find_label_issues(labels, chances, filter_by="both", n_jobs=1)
    scores = score_wrong_labels(evidence)
    assert (scores > 0).tolist() == expected.tolist()
    own = chances[np.arange(len(labels)), labels]
    assert np.allclose(scores[expected], 1 - own[expected])


def test_wrong_labels_need_two_classes_with_photos():
    """A class without a photo, and photos without an answer, are no obstacle."""
    rows = [[0.9, 0.1, 0.0]] * 6 + [[0.1, 0.9, 0.0]] * 6 + [NAN, [0.05, 0.95, 0.0]]
    evidence = make(rows, [0] * 6 + [1] * 6 + [0, 0])
    scores = score_wrong_labels(evidence)
    assert scores[12] == 0
    assert scores[13] == pytest.approx(0.95)
    assert not scores[:12].any()
    assert not score_wrong_labels(make(rows[:3], [0, 0, 0])).any()


@pytest.mark.parametrize("seed", range(5))
def test_planted_wrong_labels_come_first(seed):
    labels, chances, flipped = simulate(seed)
    classes = [CarClass(str(k), f"car {k}") for k in range(10)]
    evidence = Evidence(tuple(map(str, range(len(labels)))), labels, chances)
    doubts = find_doubts(evidence, classes)
    first = [int(doubt.photo_id) for doubt in doubts[: len(flipped)]]
    assert sum(row in flipped for row in first) / len(flipped) >= 0.6


def test_doubts_are_ranked_by_the_improbability_of_the_label():
    rows = [[0.98, 0.01, 0.01], [0.2, 0.75, 0.05], [0.1, 0.85, 0.05], [0.5, 0.45, 0.05], NAN]
    evidence = make(rows, [0, 0, 0, 0, 0])
    doubts = find_doubts(evidence, CLASSES)
    assert [doubt.photo_id for doubt in doubts] == [f"photo {k}.jpg" for k in (2, 1, 3)]
    assert [doubt.suggested for doubt in doubts] == ["1", "1", "0"]
    assert [doubt.score for doubt in doubts] == pytest.approx([0.9, 0.8, 0.5])
    assert list(doubts[2].reasons) == ["unsure between two"]
    left = find_doubts(evidence, CLASSES, settled={"photo 2.jpg"})
    assert [doubt.photo_id for doubt in left] == ["photo 1.jpg", "photo 3.jpg"]


# Photos as doubtful as each other, of which cleanlab takes the first.
@example(
    logits=np.array(
        [[1, 0, 0], *[[0, 0, 0]] * 6, [0, 1, 0], *[[0, 0, 0]] * 2, [0, 0.25, 0], [0, 1, 0]]
    ),
    targets=[0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 1],
    order=[0, 1, 2, 3, 4, 5, 6, 7, 8, 10, 9, 11],
)
@settings(max_examples=60, deadline=None)
@given(
    logits=arrays.arrays(np.float64, (12, 3), elements=st.floats(-4, 4)),
    targets=st.lists(st.integers(0, 2), min_size=12, max_size=12),
    order=st.permutations(range(12)),
)
def test_the_order_of_photos_makes_no_difference(logits, targets, order):
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    evidence = make(chances, targets, views=np.stack([chances, chances[:, ::-1]]))
    turned = Evidence(
        tuple(evidence.ids[k] for k in order),
        evidence.targets[list(order)],
        chances[list(order)],
        views=evidence.views[:, list(order)],
    )
    one, other = (find_doubts(own, CLASSES) for own in (evidence, turned))
    assert {doubt.photo_id: doubt.score for doubt in one} == pytest.approx(
        {doubt.photo_id: doubt.score for doubt in other}
    )
    for doubt in one:
        assert 0 <= doubt.score <= 1
        assert doubt.probability >= doubt.own_probability
        assert doubt.reasons
        assert set(doubt.reasons) <= set(REASONS)
        assert all(0 < score <= 1 for score in doubt.reasons.values())
    assert np.all(np.diff([doubt.score for doubt in one]) <= 0)


def test_neighbours_vote_with_their_labels():
    cosines = np.array([[0.9, 0.8, 0.1], [0.1, 0.2, 0.9]])
    votes = vote_neighbours(cosines, np.array([1, 1, 0]), 3, num_neighbours=2)
    assert votes.tolist() == [[0, 1, 0], [0.5, 0.5, 0]]
    few = vote_neighbours(cosines, np.array([1, 1, 0]), 3)
    assert np.allclose(few.sum(axis=1), 1)


def test_improbable_labels_score_high():
    chances = np.array([[0.75, 0.25], [np.nan, np.nan]])
    scores = score_labels(np.array([1, 0]), chances)
    assert scores[0] == 0.75
    assert np.isnan(scores[1])


def test_what_is_written_is_read_again(tmp_path):
    rows = [[0.25, 0.75, 0.0], [0.0, 0.125, 0.875]]
    doubts = find_doubts(make(rows, [0, 0]), CLASSES)
    path = tmp_path / "doubts.csv"
    write_doubts(path, doubts, CLASSES)
    again = read_doubts(path)
    assert [d.photo_id for d in again] == [d.photo_id for d in doubts]
    assert [(d.label, d.suggested, d.score) for d in again] == [
        (d.label, d.suggested, d.score) for d in doubts
    ]
    assert [list(d.reasons) for d in again] == [list(d.reasons) for d in doubts]
    assert "Niva; 2121" in path.read_text("utf-8")


def test_any_id_comes_back(tmp_path):
    ids = ("a, b.jpg", 'с "кавычками".jpg', "Нива; 1/фото 3.jpg", " .jpg")
    evidence = replace(make([[0.25, 0.75, 0.0]] * 4, [0] * 4), ids=ids)
    doubts = find_doubts(evidence, CLASSES)
    write_doubts(tmp_path / "doubts.csv", doubts, CLASSES)
    again = read_doubts(tmp_path / "doubts.csv")
    assert {doubt.photo_id for doubt in again} == set(ids)
    assert [doubt.photo_id for doubt in again] == [doubt.photo_id for doubt in doubts]


def test_no_doubts_are_a_file_too(tmp_path):
    path = tmp_path / "doubts.csv"
    write_doubts(path, (), CLASSES)
    assert read_doubts(path) == ()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("0.7500", "much"),
        ("0.7500", "nan"),
        ("0.7500", "1.5"),
        ("wrong and sure 0.75", "wrong and sure"),
        ("wrong and sure 0.75", "bad luck 0.75"),
    ],
)
def test_a_damaged_file_is_one_clear_error(tmp_path, old, new):
    path = tmp_path / "doubts.csv"
    write_doubts(path, find_doubts(make([[0.25, 0.75, 0.0]], [0]), CLASSES), CLASSES)
    text = path.read_text("utf-8")
    assert old in text
    path.write_text(text.replace(old, new), "utf-8")
    with pytest.raises(InputError, match="row 2 is no doubt"):
        read_doubts(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_doubts(tmp_path / "none.csv")
