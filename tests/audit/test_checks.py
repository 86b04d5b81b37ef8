"""checks: each rule on two or three plain values; links become clusters."""

import typing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lotlens.audit.checks import (
    CHECKS,
    Action,
    Link,
    check_balance,
    check_colours,
    check_copies,
    check_readable,
    check_sharpness,
    check_sizes,
    check_sources,
    check_tones,
    join_links,
    link_equal,
    show_likeness,
)
from lotlens.recipes import schema
from lotlens.records import CarClass, Finding


def near(first, second, likeness=0.95):
    return Link(first, second, likeness, exact=False)


def same(first, second):
    return Link(first, second, 1.0, exact=True)


def check_train(labels, *links, names=None):
    """The copies among training photos "a", "b", "c" and so on."""
    return check_copies(
        "abcdefgh"[: len(labels)], ["train"] * len(labels), labels, links, names or {}
    )


def show(findings):
    return [(finding.photo_id, finding.check, finding.related_ids) for finding in findings]


# --- the table of checks -------------------------------------------------------------------------


def test_every_check_says_what_becomes_of_its_photos_the_default_first():
    assert list(CHECKS) == [check.name for check in CHECKS.values()]
    for check in CHECKS.values():
        assert check.actions
        assert set(check.actions) <= set(typing.get_args(Action))
        assert len(set(check.actions)) == len(check.actions)
        assert check.meaning
    severities = [check.severity for check in CHECKS.values()]
    assert severities == sorted(severities), "errors come before warnings"


def test_the_recipe_offers_a_choice_for_every_check_that_has_one():
    offered = {
        name.replace("_", "-"): (typing.get_args(field.annotation), field.default)
        for name, field in schema.Audit.model_fields.items()
    }
    chosen = {
        check.name: (check.actions, check.actions[0])
        for check in CHECKS.values()
        if len(check.actions) > 1
    }
    assert offered == chosen


# --- links ---------------------------------------------------------------------------------------


def test_equal_files_are_linked_to_the_first():
    links = link_equal([b"x", b"y", b"x", b"", b"x", b"", b"y"])
    assert links == (same(0, 2), same(0, 4), same(1, 6))
    assert link_equal([]) == ()


def test_links_join_by_way_of_others():
    assert join_links(7, [near(5, 3), near(1, 4), near(4, 5)]) == ((1, 3, 4, 5),)
    assert join_links(6, [near(4, 2), near(0, 1)]) == ((0, 1), (2, 4))
    assert join_links(3, []) == join_links(0, []) == ()


@given(st.data(), st.integers(1, 12))
def test_clusters_are_disjoint_and_hold_exactly_what_is_linked(data, num):
    place = st.integers(0, num - 1)
    ends = data.draw(st.lists(st.tuples(place, place).filter(lambda pair: pair[0] != pair[1])))
    clusters = join_links(num, [near(*pair) for pair in ends])
    members = [place for cluster in clusters for place in cluster]
    assert sorted(members) == sorted({place for pair in ends for place in pair})
    assert all(len(cluster) > 1 and list(cluster) == sorted(cluster) for cluster in clusters)
    cluster_of = {place: number for number, cluster in enumerate(clusters) for place in cluster}
    assert all(cluster_of[one] == cluster_of[other] for one, other in ends)
    # No cluster joins more than the links do: painting each link's two sides alike gives as many.
    colour = list(range(num))
    for one, other in ends:
        old, new = colour[one], colour[other]
        colour = [new if value == old else value for value in colour]
    assert len(clusters) == len({colour[place] for place in members})


# --- copies --------------------------------------------------------------------------------------


def test_the_same_file_twice_is_a_duplicate_of_the_first_by_id():
    findings = check_copies(["b", "a"], ["train"] * 2, ["1", "1"], [same(0, 1)], {})
    assert findings == [
        Finding("b", "duplicate", 1.0, ("a",), "It is the same file as a."),
    ]


def test_the_same_picture_twice_is_a_near_duplicate_of_the_first_by_id():
    (finding,) = check_train(["1", "1"], near(0, 1, 0.97))
    assert finding == Finding(
        "b", "near-duplicate", 0.97, ("a",), "It looks like the same picture as a (likeness 0.97)."
    )


def test_a_chain_is_one_picture():
    findings = check_train(["1", "1", "1"], near(1, 0, 0.99), near(2, 1, 0.94))
    assert show(findings) == [
        ("b", "near-duplicate", ("a",)),
        ("c", "near-duplicate", ("a", "b")),
    ]
    assert [finding.score for finding in findings] == [0.99, 0.94]
    assert findings[1].sentence == "It looks like the same picture as a, b (likeness 0.94)."


def test_of_two_equal_files_that_are_like_a_third_one_is_each():
    """Dropping duplicates keeps one of each file; dropping both kinds keeps one of all."""
    findings = check_train(["1"] * 4, same(2, 1), near(0, 1), same(1, 3))
    assert show(findings) == [
        ("b", "near-duplicate", ("a",)),
        ("c", "duplicate", ("b",)),
        ("d", "duplicate", ("b", "c")),
    ]
    assert [finding.score for finding in findings] == [0.95, 1.0, 1.0]


def test_equal_files_that_are_tied_by_a_test_photo_alone_are_still_equal():
    links = link_equal([b"x", b"x", b"x"])
    findings = check_copies("tab", ["test", "train", "train"], [None, "1", "1"], links, {})
    assert show(findings) == [
        ("b", "duplicate", ("a",)),
        ("a", "leak", ("t",)),
        ("b", "leak", ("t",)),
    ]


def test_a_picture_in_train_and_test_is_a_leak_and_nothing_else():
    findings = check_copies(["a", "z"], ["train", "test"], ["1", None], [near(0, 1)], {})
    assert findings == [
        Finding(
            "a",
            "leak",
            0.95,
            ("z",),
            "It looks like the same picture as z (likeness 0.95), in test.",
        ),
    ]
    (finding,) = check_copies(["a", "z"], ["train", "test"], ["1", None], [same(0, 1)], {})
    assert (finding.score, finding.sentence) == (1.0, "It is the same file as z, in test.")


def test_only_of_equal_files_it_is_said_that_they_are_the_same():
    """Of many that look alike the equal ones come first, and alone in the sentence."""
    links = [near(0, 1, 0.96), near(1, 2, 0.94), same(0, 3)]
    parts = ["train", "test", "test", "test"]
    findings = check_copies("axyz", parts, ["1", None, None, None], links, {})
    (leak,) = [finding for finding in findings if finding.check == "leak"]
    assert leak.sentence == "It is the same file as z, in test."
    assert (leak.score, leak.related_ids) == (1.0, ("z", "x", "y"))
    findings = check_train(["1", "2", "1", "3"], near(0, 1, 0.999), near(1, 2, 0.94), same(0, 3))
    told = {f.photo_id: f.sentence for f in findings if f.check == "label-conflict"}
    assert told == {
        "a": "It is labelled 1, but is the same file as d, labelled 3.",
        "b": "It is labelled 2, but looks like the same picture as a, c, d (likeness 0.99),"
        " labelled 1, 3.",
        "c": "It is labelled 1, but looks like the same picture as b, d (likeness 0.94),"
        " labelled 2, 3.",
        "d": "It is labelled 3, but is the same file as a, labelled 1.",
    }


@given(st.floats(0, 1))
def test_no_likeness_is_shown_as_1(likeness):
    shown = show_likeness(likeness)
    assert float(shown.removeprefix("likeness ")) <= 0.99


def test_copies_within_test_are_told_as_of_test():
    findings = check_copies("ab", ["test"] * 2, [None] * 2, [same(0, 1)], {})
    assert findings == [
        Finding("b", "duplicate", 1.0, ("a",), "It is the same file as a.", "test"),
    ]


def test_one_id_in_train_and_test_is_two_photos():
    ids, parts = ["1", "2", "1", "2"], ["train", "train", "test", "test"]
    findings = check_copies(ids, parts, ["A", "A", None, None], [same(0, 3), near(1, 2)], {})
    assert show(findings) == [("1", "leak", ("2",)), ("2", "leak", ("1",))]
    (finding,) = check_copies(ids, parts, ["A", "A", None, None], [same(1, 3)], {})
    assert (finding.photo_id, finding.part, finding.related_ids) == ("2", "train", ("2",))


def test_one_picture_under_different_labels_is_told_of_every_copy():
    findings = check_train(["1", "2", "1"], near(0, 1), near(1, 2), names={"1": "Волна", "2": "2"})
    conflicts = [finding for finding in findings if finding.check == "label-conflict"]
    assert show(conflicts) == [
        ("a", "label-conflict", ("b",)),
        ("c", "label-conflict", ("b",)),
        ("b", "label-conflict", ("a", "c")),
    ]
    assert conflicts[0].sentence == (
        "It is labelled 1 Волна, but looks like the same picture as b (likeness 0.95), labelled 2."
    )
    assert conflicts[2].sentence == (
        "It is labelled 2, but looks like the same picture as a, c (likeness 0.95), labelled 1"
        " Волна."
    )


def test_one_label_is_no_conflict():
    assert "label-conflict" not in [f.check for f in check_train(["1", "1"], near(0, 1))]


def test_photos_of_one_source_are_told_but_the_first_by_id():
    ids = ["Car_rot9.jpg", "b.jpg", "b (1).jpg", "car.jpg", "car_jpg.rf.0123ab.jpg"]
    findings = check_sources(ids, [near(4, 3, 0.9), near(0, 3, 0.8), near(2, 1, 0.77)])
    assert show(findings) == [
        ("car.jpg", "same-source", ("Car_rot9.jpg",)),
        ("car_jpg.rf.0123ab.jpg", "same-source", ("Car_rot9.jpg", "car.jpg")),
        ("b.jpg", "same-source", ("b (1).jpg",)),
    ]
    assert [finding.score for finding in findings] == [0.9, 0.9, 0.77]
    assert findings[1].sentence == (
        "It looks like Car_rot9.jpg, car.jpg (likeness 0.90), perhaps rotated or cut, and their"
        " names are of one source, car."
    )
    assert check_sources(ids, []) == []


def test_labels_of_test_photos_are_of_no_matter():
    findings = check_copies("az", ["train", "test"], ["1", "2"], [near(0, 1)], {})
    assert [finding.check for finding in findings] == ["leak"]


def test_no_links_no_findings():
    assert check_train(["1", "2"]) == check_train([]) == []


def test_a_thousand_copies_are_told_shortly():
    ids = [f"{number:04}" for number in range(1000)]
    for links in ([same(0, at) for at in range(1, 1000)], [near(0, at) for at in range(1, 1000)]):
        findings = check_copies(ids, ["train"] * 1000, ["1", "2"] * 500, links, {})
        assert len(findings) == 999 + 1000
        assert max(len(finding.related_ids) for finding in findings) == 20
        assert max(len(finding.sentence) for finding in findings) < 150
        last = next(finding for finding in findings if finding.photo_id == "0999")
        assert "0000, 0001, 0002 and 996 more" in last.sentence


# --- single photos -------------------------------------------------------------------------------


def test_what_cannot_be_read_says_why():
    findings = check_readable(["a", "b", "c"], ["ok", "no file", "truncated JPEG"], "test")
    assert findings == [
        Finding("c", "unreadable", 1.0, (), "It cannot be read: truncated JPEG.", "test")
    ]


def list_checks(findings):
    return [(finding.photo_id, finding.check) for finding in findings]


def test_sizes():
    ids = ["ok", "tiny", "just not tiny", "long", "tall", "just not long", "both"]
    sizes = [(640, 480), (63, 200), (64, 200), (400, 100), (100, 500), (399, 100), (50_000, 20)]
    findings = list(check_sizes(ids, sizes, "train"))
    assert list_checks(findings) == [
        ("tiny", "tiny"),
        ("long", "extreme-aspect"),
        ("tall", "extreme-aspect"),
        ("both", "tiny"),
        ("both", "extreme-aspect"),
    ]
    assert findings[0].sentence == "It is only 63 x 200 pixels."
    assert findings[2].sentence == ("Its longer side is 5.0 times the shorter (100 x 500 pixels).")
    assert findings[3].score > findings[0].score
    assert all(0 <= finding.score <= 1 for finding in findings)


def test_tones():
    ids = ["ok", "dark", "just not dark", "flat", "just not flat", "black", "white"]
    tones = [
        *[(10, 120, 240), (0, 20, 39), (0, 20, 40), (100, 105, 111)],
        *[(100, 105, 112), (0, 0, 0), (255, 255, 255)],
    ]
    findings = list(check_tones(ids, tones, "test"))
    assert list_checks(findings) == [
        ("dark", "dark"),
        ("flat", "flat"),
        ("black", "dark"),
        ("white", "flat"),
    ]
    assert {finding.part for finding in findings} == {"test"}
    assert findings[0].sentence == (
        "It is nearly black: almost nothing in it is brighter than 39 of 255."
    )
    assert findings[1].sentence == (
        "It is nearly one colour: all of it is within 11 grey levels of 255, around 105."
    )
    assert [finding.score for finding in findings[2:]] == [1, 1]


def test_sharpness_is_judged_where_there_is_anything_to_see():
    ids = ["sharp", "blurred", "just not blurred", "flat"]
    tones = [(0, 100, 200)] * 3 + [(100, 105, 110)]
    findings = list(check_sharpness(ids, [1.1, 0.3, 0.5, 0.1], tones, "train"))
    assert findings == [
        Finding(
            "blurred",
            "blurred",
            pytest.approx(0.4),
            (),
            "Nothing in it is sharp (0.30; sharp photos have about 1).",
        )
    ]


def test_colours():
    findings = list(check_colours(["grey", "nearly", "pale", "red"], [0, 8, 9, 200], "test"))
    assert list_checks(findings) == [("grey", "grey"), ("nearly", "grey")]
    assert findings[0] == Finding("grey", "grey", 1.0, (), "It has no colours.", "test")


# --- classes -------------------------------------------------------------------------------------

CARS = [CarClass("0", "Волна"), CarClass("1", "1"), CarClass("2", "Heron")]


def test_a_class_far_smaller_than_the_middle_one_is_told():
    findings = list(check_balance(CARS, {"0": 1, "1": 100, "2": 20}))
    assert findings == [
        Finding(
            "",
            "imbalance",
            0.95,
            (),
            "Class 0 Волна has 1 photo, the middle class 20: its figures will be uncertain.",
        )
    ]
    (finding,) = check_balance(CARS, {"0": 30, "2": 50})
    assert finding.sentence.startswith("Class 1 has 0 photos, the middle class 30")


@pytest.mark.parametrize("counts", [{"0": 2, "1": 20, "2": 20}, {"0": 10, "1": 9, "2": 11}, {}])
def test_classes_of_like_size_are_in_balance(counts):
    assert list(check_balance(CARS, counts)) == []


def test_no_classes_are_in_balance():
    assert list(check_balance([], {})) == []


# --- all of them ---------------------------------------------------------------------------------


def test_every_finding_is_one_plain_sentence_of_a_known_check():
    findings = [
        *check_train(["1", None, "2"], near(0, 1), same(1, 2)),
        *check_copies("az", ["train", "test"], ["1", None], [near(0, 1)], {}),
        *check_sources(["a", "a (1)"], [near(0, 1)]),
        *check_readable(["a"], ["empty file (0 bytes)"], "train"),
        *check_sizes(["a"], [(10, 300)], "train"),
        *check_tones(["a", "b"], [(0, 0, 0), (9, 9, 99)], "train"),
        *check_tones(["b"], [(90, 92, 99)], "train"),
        *check_sharpness(["a"], [0.1], [(0, 9, 200)], "train"),
        *check_colours(["a"], [0], "train"),
        *check_balance(CARS, {"0": 1, "1": 100, "2": 100}),
    ]
    found = {finding.check for finding in findings}
    told_elsewhere = {"no-file", "ambiguous-file", "no-row", "no-label", "duplicate-row"}
    told_elsewhere |= {"stale-decision", "relabelled", "left-out", "learnt-before"}
    told_elsewhere |= {"similar-labels", "unknown-class"}
    assert found == set(CHECKS) - told_elsewhere - {"rare-class"}
    for finding in findings:
        assert finding.sentence[0].isupper()
        assert finding.sentence.endswith(".")
        assert "\n" not in finding.sentence
        assert "None" not in finding.sentence
        assert 0 <= finding.score <= 1


def test_hostile_ids_do_not_break_a_sentence():
    (finding,) = check_copies(["a\nb", "z"], ["train"] * 2, ["1"] * 2, [same(0, 1)], {})
    assert "\n" not in finding.sentence
    assert finding.related_ids == ("a\nb",)
    assert finding.sentence == "It is the same file as 'a\\nb'."
