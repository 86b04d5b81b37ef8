"""What is added adds up, the failing classes come first, and nothing damaged is read."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lotlens.errors import InputError
from lotlens.files import write_rows_atomically
from lotlens.improve.additions import (
    MOST_WEIGHT,
    Addition,
    plan_additions,
    read_additions,
    weigh_vetted,
    write_additions,
)
from lotlens.improve.outside import ADMITTED, Vetted
from lotlens.intervals import measure_share
from lotlens.judge.metrics import ClassScore
from lotlens.records import CarClass, Locator, Photo

CLASSES = tuple(CarClass(str(k), name) for k, name in enumerate(("Niva", "Йота", "Volga")))
COLUMNS = ("Id", "Path", "Members", "Label", "Weight")


def score(*figures):
    """Class scores of (right, photos)."""
    return [
        ClassScore(car, num, num, measure_share("recall", right, num) if num else None, None, None)
        for car, (right, num) in zip(CLASSES, figures, strict=True)
    ]


def vet(number, label, reason=ADMITTED):
    photo = Photo(f"web/{number}.jpg", Locator(f"/photos/{number}.jpg"), label)
    is_in = reason == ADMITTED
    return Vetted(photo, f"{number}.jpg", "web", "", is_in, reason, ".", (), None, None, 1.0)


def offer(*labels):
    return [vet(number, label) for number, label in enumerate(labels)]


def test_a_class_fails_if_its_interval_lies_below_the_others():
    plan = plan_additions(offer("0", "2", "2"), score((27, 30), (28, 30), (12, 30)), {"2": 40})
    first, second, third = plan.classes
    assert (first.car.label, first.is_failing, first.weight) == ("2", True, 2.0)
    assert (second.car.label, third.car.label) == ("0", "1")
    assert not second.is_failing
    assert second.weight == third.weight == 1.0
    assert first.others_recall.value == pytest.approx(55 / 60)
    assert first.num_train == 40
    assert first.sentence == (
        "Its recall, 0.40 (0.25 to 0.58, 30 photos), is clearly below that of the others, 0.92:"
        " all of its admitted photos are added, before those of other classes, and count 2 times"
        " each."
    )
    assert third.sentence.endswith("; none was offered.")
    assert [one.photo.label for one in plan.additions] == ["2", "2", "0"]
    assert [one.weight for one in plan.additions] == [2.0, 2.0, 1.0]


def test_chance_makes_no_class_fail_and_an_unseen_one_is_not_judged():
    plan = plan_additions(offer("0"), score((3, 5), (5, 5), (0, 0)), {})
    assert not any(one.is_failing for one in plan.classes)
    assert plan.classes[2].recall is None
    assert plan.classes[2].sentence.startswith("No validation photo shows it")


def test_a_weight_grows_with_what_is_lacking():
    plan = plan_additions(offer("2"), score((95, 100), (95, 100), (70, 100)), {})
    assert plan.classes[0].is_failing
    assert plan.classes[0].weight == pytest.approx(0.95 / 0.7, abs=0.01)


def test_where_few_are_wanted_failing_classes_come_first_and_share_in_turn():
    vetted = offer(*"0000111122")
    scores = score((90, 100), (30, 100), (25, 100))
    shares = {
        most: [one.num_added for one in plan_additions(vetted, scores, {}, most=most).classes]
        for most in (0, 1, 3, 5, 7, 99, None)
    }
    # The worst class, 2, then 1, then 0.
    assert shares == {
        0: [0, 0, 0],
        1: [1, 0, 0],
        3: [2, 1, 0],
        5: [2, 3, 0],
        7: [2, 4, 1],
        99: [2, 4, 4],
        None: [2, 4, 4],
    }
    with pytest.raises(InputError, match="-1"):
        plan_additions(vetted, scores, {}, most=-1)


def test_reasons_are_counted_by_class_and_those_of_no_class_apart():
    vetted = [
        *offer("0", "0"),
        vet(7, "1", "copy of test"),
        vet(8, "1", "label contradicted"),
        vet(9, "1", "label contradicted"),
        vet(10, None, "unknown class"),
    ]
    plan = plan_additions(vetted, score((5, 5), (5, 5), (5, 5)), {})
    by_label = {one.car.label: one for one in plan.classes}
    assert list(by_label["1"].reasons.items()) == [("label contradicted", 2), ("copy of test", 1)]
    assert by_label["1"].sentence.endswith("none of the 3 offered can be used.")
    assert plan.unmatched == {"unknown class": 1}
    assert (plan.num_offered, plan.num_admitted) == (6, 2)
    rows = plan.to_rows()
    assert [row["class"] for row in rows] == ["0 Niva", "1 Йота", "2 Volga"]
    assert json.loads(json.dumps(plan.to_dict()))["added"] == 2


@given(
    labels=st.lists(st.sampled_from(["0", "1", "2", None]), max_size=40),
    reasons=st.lists(st.sampled_from([ADMITTED, ADMITTED, "poor photo"]), min_size=40, max_size=40),
    figures=st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), min_size=3, max_size=3),
    most=st.none() | st.integers(0, 50),
)
def test_a_plan_adds_up(labels, reasons, figures, most):
    vetted = [
        vet(n, label, reason if label else "no label")
        for n, (label, reason) in enumerate(zip(labels, reasons, strict=False))
    ]
    plan = plan_additions(vetted, score(*((min(f), max(f)) for f in figures)), {}, most=most)
    assert plan.num_offered == len(vetted)
    assert plan.num_admitted == sum(one.admitted for one in vetted)
    wanted = plan.num_admitted if most is None else min(most, plan.num_admitted)
    assert len(plan.additions) == wanted == sum(one.num_added for one in plan.classes)
    failing = [one.is_failing for one in plan.classes]
    assert failing == sorted(failing, reverse=True)
    for one in plan.classes:
        assert one.num_offered == one.num_admitted + sum(one.reasons.values())
        assert 0 <= one.num_added <= one.num_admitted
        assert 1 <= one.weight <= MOST_WEIGHT
        assert one.is_failing or one.weight == 1
    hungry = any(one.is_failing and one.num_added < one.num_admitted for one in plan.classes)
    assert not hungry or not any(one.num_added for one in plan.classes if not one.is_failing)
    weighed = weigh_vetted(vetted, plan)
    assert sum(one.weight > 0 for one in weighed) == wanted
    assert all(one.admitted for one in weighed if one.weight)


def test_additions_are_read_as_they_were_written(tmp_path):
    path = tmp_path / "additions.csv"
    odd = ("a, b.zip", 'x"y\nz.jpg')
    additions = (
        Addition(Photo("web/1.jpg", Locator(tmp_path / "фото.zip", odd), "1"), 1.36),
        Addition(Photo("web/2.jpg", Locator(tmp_path / "2.jpg"), "0"), 1.0),
    )
    write_additions(path, additions)
    assert read_additions(path, CLASSES) == additions
    write_additions(path, ())
    assert read_additions(path, CLASSES) == ()
    with pytest.raises(ValueError, match="no label"):
        write_additions(path, [Addition(Photo("1", Locator(tmp_path)), 1.0)])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (("", "/a", "[]", "1", "1"), "empty"),
        (("a", "/a", "[]", "7", "1"), "'7'"),
        (("a", "", "[]", "1", "1"), "no path"),
        (("a", "/a", "{}", "1", "1"), "JSON list"),
        (("a", "/a", '["", 3]', "1", "1"), "JSON list"),
        (("a", "/a", "[" * 100_000, "1", "1"), "no addition"),
        (("a", "/a", "nonsense", "1", "1"), "no addition"),
        (("a", "/a", "[]", "1", "nan"), "weight"),
        (("a", "/a", "[]", "1", "1e9"), "weight"),
        (("a", "/a", "[]", "1", "0"), "weight"),
        (("a", "/a", "[]", "1", "much"), "much"),
    ],
)
def test_damaged_additions_are_refused_by_row(tmp_path, row, message):
    path = tmp_path / "additions.csv"
    write_rows_atomically(path, COLUMNS, [("ok", "/ok", "[]", "0", "1"), row])
    with pytest.raises(InputError, match=r"row 3 is no addition|csv") as caught:
        read_additions(path, CLASSES)
    assert message in str(caught.value)


def test_other_files_are_no_additions(tmp_path):
    path = tmp_path / "additions.csv"
    with pytest.raises(InputError, match="cannot be read"):
        read_additions(path, CLASSES)
    for text in (b"", b"a,b\n1,2\n", b"\0\1\2", b"Id,Path\n1,2\n"):
        path.write_bytes(text)
        with pytest.raises(InputError, match="additions"):
            read_additions(path, CLASSES)
    write_rows_atomically(path, COLUMNS, [("a", "/a", "[]", "0", "1")] * 2)
    with pytest.raises(InputError, match="twice"):
        read_additions(path, CLASSES)
