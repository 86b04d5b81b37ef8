"""A split is a fair draw: disjoint, covering, stratified, and never through a listing."""

from collections import Counter
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lotlens.audit.parts import count_folds, pair_sides, read_split, write_split
from lotlens.audit.split import check_split, draw_folds, draw_split, list_rare_classes
from lotlens.errors import BundleError, InputError
from lotlens.photos.fingerprint import fingerprint
from lotlens.records import CarClass, Catalog, Finding, Photo, Split
from lotlens.report.language import load_language


def make_catalog(labels, listings=None, classes=None):
    listings = listings or [None] * len(labels)
    classes = classes or sorted({label for label in labels if label is not None})
    return Catalog(
        tuple(
            Photo(f"{number}.jpg", None, label, listing)
            for number, (label, listing) in enumerate(zip(labels, listings, strict=True))
        ),
        tuple(CarClass(label, f"Car {label}") for label in classes),
    )


@st.composite
def catalogs(draw):
    """Catalogs whose classes each have photos in two listings of their own, and more besides."""
    labels, listings = [], []
    for label in "abc"[: draw(st.integers(1, 3))]:
        labels += [label, label]
        listings += [f"{label}-first", f"{label}-second"]
        more = draw(st.lists(st.sampled_from([None, *range(6)]), max_size=25))
        labels += [label] * len(more)
        listings += [None if name is None else f"{label}-{name}" for name in more]
    labels += [None] * draw(st.integers(0, 3))
    listings += [None] * (len(labels) - len(listings))
    return make_catalog(labels, listings)


@given(catalog=catalogs(), seed=st.integers(0, 9), validation=st.floats(0.05, 0.6))
def test_parts_are_disjoint_cover_the_labelled_and_keep_listings_whole(catalog, seed, validation):
    split = draw_split(catalog, validation=validation, seed=seed)
    train, held_out = (set(split.parts[part]) for part in ("train", "validation"))
    photos = {photo.id: photo for photo in catalog.photos}
    assert not train & held_out
    assert train | held_out == {id_ for id_, photo in photos.items() if photo.label is not None}
    for part in (train, held_out):
        assert {photos[id_].label for id_ in part} == set(catalog.labels)
    listings = [{photos[id_].listing for id_ in part} - {None} for part in (train, held_out)]
    assert not listings[0] & listings[1]


@given(
    catalog=catalogs(),
    seed=st.integers(0, 9),
    shuffle=st.randoms(use_true_random=False),
    num_groups=st.integers(2, 30),
)
def test_groups_never_straddle_and_file_order_does_not_matter(catalog, seed, shuffle, num_groups):
    groups = {id_: f"g{shuffle.randrange(num_groups)}" for id_ in catalog.ids}
    photos, classes = list(catalog.photos), list(catalog.classes)
    shuffle.shuffle(photos)
    shuffle.shuffle(classes)
    shuffled = Catalog(tuple(photos), tuple(classes))
    try:
        split = draw_split(catalog, seed=seed, groups=groups)
    except InputError:
        with pytest.raises(InputError):
            draw_split(shuffled, seed=seed, groups=groups)
        return
    train, held_out = ({groups[i] for i in split.parts[p]} for p in ("train", "validation"))
    assert not train & held_out
    assert draw_split(shuffled, seed=seed, groups=groups).parts == split.parts


def test_each_class_gives_its_share():
    labels = ["a"] * 200 + ["b"] * 60 + ["c"] * 20 + ["d"] * 3 + ["e"] * 2
    catalog = make_catalog(labels)
    split = draw_split(catalog, validation=0.15, seed=0)
    by_id = {photo.id: photo.label for photo in catalog.photos}
    counts = Counter(by_id[id_] for id_ in split.parts["validation"])
    assert counts == {"a": 30, "b": 9, "c": 3, "d": 1, "e": 1}


def test_listings_of_many_photos_still_give_about_the_share():
    random = Random(0)
    listings = [f"L{number}" for number in range(120) for _ in range(random.randint(1, 12))]
    labels = [str(int(listing[1:]) % 4) for listing in listings]
    catalog = make_catalog(labels, listings)
    by_id = {photo.id: photo.label for photo in catalog.photos}
    shares = []
    for seed in range(20):
        split = draw_split(catalog, validation=0.2, seed=seed)
        held_out = Counter(by_id[id_] for id_ in split.parts["validation"])
        for label, total in Counter(labels).items():
            # Whole listings hold the share to within the largest of them.
            assert abs(held_out[label] - 0.2 * total) <= 12
        shares.append(held_out.total() / len(labels))
    assert np.mean(shares) == pytest.approx(0.2, abs=0.01)


def draw_sizes(sizes, ids_with):
    """A catalog of one class with a listing of each size."""
    listings = [f"L{number}" for number, size in enumerate(sizes) for _ in range(size)]
    photos = tuple(
        Photo(f"{ids_with}-{number}.jpg", None, "a", listing)
        for number, listing in enumerate(listings)
    )
    return Catalog(photos, (CarClass("a", "Car a"),))


@pytest.mark.parametrize("part", ["validation", "locked"])
@pytest.mark.parametrize("sizes", [[1] * 60 + [5] * 6, [1] * 8 + [5], [*range(1, 7)] * 4])
def test_photos_are_held_out_as_often_whatever_their_listings_size(part, sizes):
    """By the least hash of a listing's photos, those of five were at 0.15 2.4 times as often."""
    held, photos = Counter(), Counter()
    num_draws = 1500
    for seed in range(num_draws):
        # The locked part does not hang on the seed.
        catalog = draw_sizes(sizes, seed if part == "locked" else "x")
        lock = 0.15 if part == "locked" else 0.0
        ids = set(draw_split(catalog, validation=0.15, lock=lock, seed=seed).parts[part])
        for size in {*sizes}:
            photos[size] += size * sizes.count(size)
        sizes_of = (sizes[int(photo.listing[1:])] for photo in catalog.photos if photo.id in ids)
        held.update(sizes_of)
    usual = held.total() / photos.total()
    for size in {*sizes}:
        num_listings = num_draws * sizes.count(size)
        noise = 3 * (usual * (1 - usual) / num_listings) ** 0.5
        assert held[size] / photos[size] == pytest.approx(usual, abs=0.02 * usual + noise)


def test_every_photo_is_held_out_as_often_as_any_other():
    catalog = make_catalog(["a"] * 20)
    times = Counter(
        id_
        for seed in range(400)
        for id_ in draw_split(catalog, validation=0.25, seed=seed).parts["validation"]
    )
    # 100 expected of 400, standard deviation 8.7: 35 is four of them.
    assert all(abs(times[id_] - 100) < 35 for id_ in catalog.ids)


def test_a_photo_that_joins_two_listings_keeps_both_on_one_side():
    listings = ["L1", "L1", "L2", "L2", *[f"other{n}" for n in range(16)]]
    catalog = make_catalog(["a"] * 20, listings)
    groups = {"1.jpg": "twins", "2.jpg": "twins", "not in the catalog": "twins"}
    sides = set()
    for seed in range(60):
        split = draw_split(catalog, validation=0.3, seed=seed, groups=groups)
        side = [
            part for part, ids in split.parts.items() if {f"{n}.jpg" for n in range(4)} & {*ids}
        ]
        assert len(side) == 1
        sides.update(side)
    assert sides == {"train", "validation"}


def test_a_listing_and_a_group_of_the_same_name_are_not_one():
    catalog = make_catalog(["a", "a"], ["same", None])
    split = draw_split(catalog, seed=0, groups={"1.jpg": "same"})
    assert [len(ids) for ids in split.parts.values()] == [1, 1]


def test_a_listing_that_outweighs_its_class_stays_in_training():
    catalog = make_catalog(["a"] * 20, ["big"] * 18 + ["x", "y"])
    for seed in range(10):
        assert len(draw_split(catalog, seed=seed).parts["validation"]) in {1, 2}


def test_a_listing_of_half_of_its_class_is_held_out_now_and_then():
    catalog = make_catalog(["a"] * 20, ["big"] * 10 + [f"L{n}" for n in range(10)])
    num_held = [len(draw_split(catalog, seed=seed).parts["validation"]) for seed in range(60)]
    assert max(num_held) >= 10
    assert min(num_held) <= 3


def test_a_class_of_large_listings_gives_one_of_them_nevertheless():
    catalog = make_catalog(["a"] * 20, ["x"] * 11 + ["y"] * 9)
    for seed in range(10):
        assert len(draw_split(catalog, seed=seed).parts["validation"]) == 9


@pytest.mark.parametrize("labels", ["ab", "ba"])
def test_a_common_class_takes_nothing_that_a_rare_one_left_for_training(labels):
    # All listings of the rare class also hold a photo of the common one.
    rare, common = labels
    listings = [f"L{number}" for number in range(4)]
    catalog = make_catalog([rare] * 4 + [common] * 12, [*listings, *listings, *[None] * 8])
    by_id = {photo.id: photo.label for photo in catalog.photos}
    for seed in range(10):
        held_out = draw_split(catalog, seed=seed, validation=0.25).parts["validation"]
        assert Counter(by_id[id_] for id_ in held_out) == {rare: 1, common: 3}


def test_classes_that_share_clusters_are_both_on_both_sides():
    # Wrong labels put a rare class's photos into the listings of a common one.
    catalog = make_catalog(["a", "b", "a", "b", "b", "b"], ["L1", "L1", "L2", "L2", "L3", "L4"])
    by_id = {photo.id: photo.label for photo in catalog.photos}
    for seed in range(10):
        for ids in draw_split(catalog, seed=seed).parts.values():
            assert {by_id[id_] for id_ in ids} == {"a", "b"}


@pytest.mark.parametrize("share", [0, 1, -0.1, 2, float("nan")])
def test_a_share_outside_0_to_1_is_refused(share):
    with pytest.raises(InputError, match="validation share"):
        draw_split(make_catalog(["a", "a"]), validation=share, seed=0)


# --- any catalog: rare classes, listings of several classes, groups, dropped photos --------------


@st.composite
def lots(draw):
    """A catalog, its groups and what is dropped of it; every class has a photo that is not."""
    num_classes = draw(st.integers(1, 4))
    rows = draw(
        st.lists(
            st.tuples(
                st.sampled_from([None, *"abcd"[:num_classes]]),
                st.sampled_from([None, *range(12)]),
                st.sampled_from([None, None, *range(8)]),
                st.sampled_from([False, False, False, True]),
            ),
            min_size=1,
            max_size=40,
        )
    )
    rows += [(label, None, None, False) for label in "abcd"[:num_classes]]
    catalog = make_catalog(
        [row[0] for row in rows],
        [None if row[1] is None else f"L{row[1]}" for row in rows],
    )
    groups = {f"{n}.jpg": f"L{row[2]}" for n, row in enumerate(rows) if row[2] is not None}
    return catalog, groups, tuple(f"{n}.jpg" for n, row in enumerate(rows) if row[3])


def gather_clusters(catalog, groups):
    """Sets of ids that belong together, by painting: each photo takes its neighbour's colour."""
    colour = {id_: id_ for id_ in catalog.ids}
    for key in (lambda photo: photo.listing, lambda photo: groups.get(photo.id)):
        first = {}
        for photo in catalog.photos:
            if key(photo) is not None:
                old, new = colour[photo.id], colour[first.setdefault(key(photo), photo.id)]
                colour = {id_: new if hue == old else hue for id_, hue in colour.items()}
    return [{id_ for id_ in colour if colour[id_] == hue} for hue in set(colour.values())]


def count_clusters(catalog, groups, dropped):
    """Label -> clusters with a photo of it that is not dropped."""
    labels = {photo.id: photo.label for photo in catalog.photos if photo.id not in dropped}
    return Counter(
        label
        for cluster in gather_clusters(catalog, groups)
        for label in {labels.get(id_) for id_ in cluster} - {None}
    )


def shuffle_catalog(catalog, random):
    photos, classes = list(catalog.photos), list(catalog.classes)
    random.shuffle(photos)
    random.shuffle(classes)
    return Catalog(tuple(photos), tuple(classes))


DRAWS = (
    {"validation": 0.3},
    {"validation": 0.3, "lock": 0.2},
    {"num_folds": 2},
    {"num_folds": 3},
    {"num_folds": 3, "lock": 0.2},
)


def draw_any(catalog, **options):
    """The split, or None where there are too few clusters for it."""
    try:
        return (draw_folds if "num_folds" in options else draw_split)(catalog, **options)
    except InputError:
        return None


@given(
    lot=lots(),
    options=st.sampled_from(DRAWS),
    seed=st.integers(0, 9),
    shuffle=st.randoms(use_true_random=False),
)
def test_every_draw_keeps_the_laws(lot, options, seed, shuffle):
    catalog, groups, dropped = lot
    options = {**options, "seed": seed, "groups": groups, "dropped": dropped}
    split = draw_any(catalog, **options)
    num_clusters = count_clusters(catalog, groups, dropped)
    if split is None:
        # Two photos of a class that nothing ties to others are always enough for two parts.
        alone = make_catalog(["z", "z"]).photos
        alone = tuple(replace(photo, id=f"z{photo.id}") for photo in alone)
        assert draw_any(
            Catalog((*catalog.photos, *alone), (*catalog.classes, CarClass("z", "Z"))),
            **{**options, "lock": 0.0, **({"num_folds": 2} if "num_folds" in options else {})},
        )
        return
    assert draw_any(shuffle_catalog(catalog, shuffle), **options) == split
    labels = {photo.id: photo.label for photo in catalog.photos}
    ids = [id_ for part in split.parts.values() for id_ in part]
    assert sorted(ids) == sorted(
        id_ for id_, label in labels.items() if label is not None and id_ not in dropped
    )
    assert all(split.parts.values())
    for cluster in gather_clusters(catalog, groups):
        assert len([part for part, ids in split.parts.items() if cluster & {*ids}]) <= 1
    if "validation" in options:
        assert {labels[id_] for id_ in split.parts["train"]} == set(num_clusters)
        rest = {labels[id_] for part in ("train", "validation") for id_ in split.parts[part]}
        assert rest == set(num_clusters)
    if "lock" in options:
        locked = {labels[id_] for id_ in split.parts["locked"]}
        assert all(num_clusters[label] > 2 for label in locked)


@given(lot=lots(), seeds=st.tuples(st.integers(0, 9), st.integers(10, 19)))
def test_the_locked_photos_depend_on_nothing_but_the_catalog(lot, seeds):
    catalog, groups, dropped = lot
    options = {"groups": groups, "dropped": dropped, "lock": 0.25}
    splits = [
        draw_any(catalog, seed=seed, **options, **more)
        for seed in seeds
        for more in ({"validation": 0.2}, {"validation": 0.6}, {"num_folds": 2}, {"num_folds": 3})
    ]
    assert len({split.parts["locked"] for split in splits if split}) <= 1


def test_seeds_and_shares_change_all_but_the_locked_photos():
    catalog = make_catalog(["a"] * 60 + ["b"] * 40)
    splits = [
        *(draw_split(catalog, seed=seed, lock=0.2) for seed in range(4)),
        draw_split(catalog, seed=0, validation=0.3, lock=0.2),
        *(draw_folds(catalog, seed=seed, num_folds=k, lock=0.2) for seed in (0, 1) for k in (2, 5)),
    ]
    assert len({split.parts["locked"] for split in splits}) == 1
    assert len({tuple(split.parts.values()) for split in splits}) == len(splits)
    assert draw_split(catalog, seed=0, lock=0.3).parts["locked"] != splits[0].parts["locked"]


def test_shares_are_of_what_is_left_after_the_lock():
    catalog = make_catalog(["a"] * 200 + ["b"] * 100 + ["c"] * 3 + ["d"] * 2 + ["e"])
    by_id = {photo.id: photo.label for photo in catalog.photos}
    split = draw_split(catalog, seed=0, lock=0.2, validation=0.25)
    counts = {part: Counter(by_id[id_] for id_ in ids) for part, ids in split.parts.items()}
    assert counts == {
        "train": {"a": 120, "b": 60, "c": 1, "d": 1, "e": 1},
        "validation": {"a": 40, "b": 20, "c": 1, "d": 1},
        "locked": {"a": 40, "b": 20, "c": 1},
    }


@pytest.mark.parametrize("share", [-0.1, 1, 2, float("nan")])
def test_a_locked_share_out_of_range_is_refused(share):
    catalog = make_catalog(["a"] * 9)
    for draw in (
        lambda: draw_split(catalog, seed=0, lock=share),
        lambda: draw_folds(catalog, num_folds=2, seed=0, lock=share),
        lambda: list_rare_classes(catalog, lock=share),
    ):
        with pytest.raises(InputError, match="locked share"):
            draw()


def test_a_lock_that_can_hold_nothing_is_refused():
    with pytest.raises(InputError, match="three cars"):
        draw_split(make_catalog(["a", "a", "b", "b"]), seed=0, lock=0.2)


def test_a_dropped_photo_still_ties_its_listing_to_its_copy():
    # 1.jpg is a copy of 2.jpg: both adverts show one car, though 1.jpg itself is left out.
    catalog = make_catalog(["a"] * 8, ["L1", "L1", "L2", "L2", None, None, None, None])
    groups = {"1.jpg": "copies", "2.jpg": "copies"}
    for seed in range(20):
        parts = draw_split(catalog, seed=seed, groups=groups, dropped=["1.jpg", "not here"]).parts
        assert len([ids for ids in parts.values() if {"0.jpg", "2.jpg", "3.jpg"} & {*ids}]) == 1
        assert "1.jpg" not in {*parts["train"], *parts["validation"]}


# --- folds ---------------------------------------------------------------------------------------


@given(catalog=catalogs(), num_folds=st.integers(2, 5), seed=st.integers(0, 9))
def test_every_training_side_holds_every_class_of_two_cars(catalog, num_folds, seed):
    num_clusters = count_clusters(catalog, {}, ())
    if sum(num_clusters.values()) < num_folds:
        with pytest.raises(InputError, match="fewer folds"):
            draw_folds(catalog, num_folds=num_folds, seed=seed)
        return
    by_id = {photo.id: photo.label for photo in catalog.photos}
    folds = draw_folds(catalog, num_folds=num_folds, seed=seed).parts
    assert list(folds) == [f"fold-{number}" for number in range(1, num_folds + 1)]
    for left_out in folds:
        train = {by_id[id_] for fold, ids in folds.items() if fold != left_out for id_ in ids}
        assert train == set(catalog.labels)
    for label, num in num_clusters.items():
        holding = [fold for fold, ids in folds.items() if label in {by_id[id_] for id_ in ids}]
        assert len(holding) == min(num, num_folds)


def test_folds_of_single_photos_are_as_even_as_can_be():
    catalog = make_catalog(["a"] * 103 + ["b"] * 51 + ["c"] * 7 + ["d"] * 5)
    by_id = {photo.id: photo.label for photo in catalog.photos}
    folds = draw_folds(catalog, num_folds=5, seed=1).parts.values()
    for label in "abcd":
        counts = [sum(by_id[id_] == label for id_ in ids) for ids in folds]
        assert max(counts) - min(counts) <= 1
    sizes = [len(ids) for ids in folds]
    assert max(sizes) - min(sizes) <= 3


def test_folds_of_listings_are_even():
    random = Random(0)
    listings = [f"L{number}" for number in range(120) for _ in range(random.randint(1, 12))]
    labels = [str(int(listing[1:]) % 4) for listing in listings]
    catalog = make_catalog(labels, listings)
    by_id = {photo.id: photo.label for photo in catalog.photos}
    for ids in draw_folds(catalog, num_folds=4, seed=3).parts.values():
        held = Counter(by_id[id_] for id_ in ids)
        for label, total in Counter(labels).items():
            assert held[label] / total == pytest.approx(0.25, abs=0.02)


def test_contradicting_labels_do_not_shut_a_class_into_one_fold():
    # Each of a, b and c has one photo in an advert of its own and one in another class's.
    catalog = make_catalog(list("abbcca"), ["L1", "L1", "L2", "L2", "L3", "L3"])
    by_id = {photo.id: photo.label for photo in catalog.photos}
    for seed in range(10):
        folds = draw_folds(catalog, num_folds=3, seed=seed).parts
        for label in "abc":
            assert sum(label in {by_id[id_] for id_ in ids} for ids in folds.values()) == 2


def test_a_large_listing_is_weighed_up_by_many_small_ones():
    catalog = make_catalog(["a"] * 20, ["big"] * 10 + [None] * 10)
    for seed in range(10):
        folds = draw_folds(catalog, num_folds=2, seed=seed).parts
        assert [len(ids) for ids in folds.values()] == [10, 10]


def test_file_order_does_not_matter_where_shares_are_equal_but_for_rounding():
    random = Random(319)
    labels = [random.choice("abcdefg") for _ in range(60)]
    catalog = make_catalog(labels, [f"L{random.randrange(15)}" for _ in labels])
    photos = list(catalog.photos)
    random.shuffle(photos)
    folds, others = (
        draw_folds(Catalog(tuple(some), catalog.classes), num_folds=4, seed=0).parts
        for some in (catalog.photos, photos)
    )
    assert folds == others


def test_other_seeds_draw_other_folds():
    catalog = make_catalog(["a"] * 30)
    drawn = {tuple(draw_folds(catalog, num_folds=3, seed=seed).parts.values()) for seed in range(5)}
    assert len(drawn) == 5


@pytest.mark.parametrize(
    ("labels", "num_folds", "words"),
    [
        ("aab", 1, "2 or more, not 1"),
        ("aab", 0, "2 or more, not 0"),
        ("aab", 4, "4 folds need as many cars, and the photos show 3"),
        ("abc", 3, "each class has only one photo"),
    ],
)
def test_folds_that_cannot_be_filled_are_refused(labels, num_folds, words):
    with pytest.raises(InputError, match=words):
        draw_folds(make_catalog(list(labels)), num_folds=num_folds, seed=0)


# --- rare classes --------------------------------------------------------------------------------


def test_a_class_of_one_car_is_trained_on_and_named():
    labels = ["a"] * 6 + ["b"] + ["c"] * 25
    catalog = make_catalog(labels, [None] * 7 + ["L"] * 24 + ["M"])
    groups = {"30.jpg": "copies", "31.jpg": "copies"}
    split = draw_split(catalog, seed=0, groups=groups)
    assert {f"{n}.jpg" for n in range(6, 32)} < {*split.parts["train"]}
    single, bound = list_rare_classes(catalog, groups)
    assert single == Finding(
        "6.jpg",
        "rare-class",
        1.0,
        (),
        "The class b (Car b) has only one photo, so it is trained on but cannot be validated: add"
        " photos of another car or leave the class out.",
    )
    assert bound.photo_id == "10.jpg"
    assert bound.related_ids == tuple(f"{n}.jpg" for n in range(11, 31))
    assert "25 photos that are all of one listing or copies, so it is trained on" in bound.sentence


@given(lot=lots(), num_needed=st.integers(1, 5))
def test_classes_of_too_few_cars_are_named(lot, num_needed):
    catalog, groups, dropped = lot
    num_clusters = count_clusters(catalog, groups, dropped)
    findings = list_rare_classes(catalog, groups, dropped, num_needed=num_needed)
    by_id = {photo.id: photo.label for photo in catalog.photos}
    assert [by_id[finding.photo_id] for finding in findings] == [
        label for label in catalog.labels if num_clusters[label] < num_needed
    ]
    for finding in findings:
        label = by_id[finding.photo_id]
        ids = sorted(id_ for id_ in by_id if by_id[id_] == label and id_ not in dropped)
        assert [finding.photo_id, *finding.related_ids] == ids[:21]
        single = num_clusters[label] == 1
        assert ("cannot be validated" in finding.sentence) == single
        assert ("missing from the validation side of some folds" in finding.sentence) != single


def test_what_is_locked_counts_no_more():
    catalog = make_catalog(["a"] * 20 + ["b"] * 5)
    assert list_rare_classes(catalog, num_needed=5) == ()
    (finding,) = list_rare_classes(catalog, num_needed=5, lock=0.2)
    assert "class b (Car b) has photos of only 4 cars for 5 folds" in finding.sentence


def test_classes_tied_together_leave_what_must_be_trained_on():
    # The one listing of a also holds a photo of b: it stays in training, whatever the seed.
    catalog = make_catalog(["a", "a", "b", "b", "b"], ["L", "L", "L", None, None])
    for seed in range(10):
        assert {"0.jpg", "1.jpg", "2.jpg"} < {*draw_split(catalog, seed=seed).parts["train"]}


def test_a_class_tied_to_others_that_must_be_trained_on_cannot_be_validated():
    catalog = make_catalog(["a", "b", "a", "c"], ["L", "L", "M", "M"])
    with pytest.raises(InputError, match=r"^2 of 3 classes have .* no class can be both"):
        draw_split(catalog, seed=0)
    assert [len(ids) for ids in draw_folds(catalog, num_folds=2, seed=0).parts.values()] == [2, 2]


@pytest.mark.parametrize(
    ("labels", "listings", "classes", "words"),
    [
        (["a", "a"], None, ["a", "b"], r"no photo can be used of class b \(Car b\): .* the class"),
        (["a", "a", "c"], None, ["a", "b", "c"], r"of classes b \(Car b\), c .* the classes"),
        (["a", "b", "c"], None, ["a", "b"], "^each class has only one photo that can be used, and"),
        (["a", "b", "c", "a"], None, ["a", "b"], "^each class has only one photo that can be used"),
        (["a", "b"], ["L", "M"], None, "^each class has only one photo that can be used"),
        (
            *(["a", "a", "b"], ["L", "L", "M"], None),
            "^1 of 2 classes has only one photo that can be used, and no class can be both",
        ),
        (
            *(["a", "a", "b", "d"], ["L", "L", "M", "N"], None),
            "^2 of 3 classes have only one photo that can be used, and no class can be both",
        ),
        (
            *(["a", "a", "b", "b"], ["L", "L", "M", "M"], None),
            "^no class can be both trained on and validated",
        ),
        ([None, None], None, ["a"], "no photo has a label"),
        ([], None, ["a"], "no photo has a label"),
    ],
)
@pytest.mark.parametrize("options", [{"validation": 0.15}, {"num_folds": 2}])
def test_what_nothing_can_be_made_of_is_refused(labels, listings, classes, words, options):
    catalog = make_catalog(labels, listings, classes)
    draw = draw_folds if "num_folds" in options else draw_split
    with pytest.raises(InputError, match=words):
        draw(catalog, seed=0, dropped=["2.jpg", "3.jpg"] if "c" in labels else (), **options)


def test_why_nothing_can_be_validated_is_said_in_russian():
    for labels, listings, words in (
        ("ab", "LM", "у каждой модели только одно"),
        ("aab", "LLM", "только одно годное фото у 1 из 2 моделей, и "),
        ("aabc", "LLMN", "только одно годное фото у 2 из 3 моделей, и "),
        ("aabb", "LLMM", "ни одной модели"),
    ):
        with pytest.raises(InputError) as caught:
            draw_split(make_catalog(list(labels), list(listings)), seed=0)
        assert (load_language("ru").reword(str(caught.value)) or "").startswith(words)


# --- the stored split ----------------------------------------------------------------------------


def test_a_split_fits_its_own_catalog_in_any_order():
    catalog = make_catalog(["a", "a", "b", "b", None])
    split = draw_split(catalog, seed=0, dropped=["3.jpg"])
    check_split(split, shuffle_catalog(catalog, Random(1)))


def test_a_split_of_other_photos_is_refused_with_counts_and_examples():
    catalog = make_catalog(["a"] * 6)
    split = draw_split(catalog, seed=0)
    with pytest.raises(InputError, match=r"2 of its 6 photos are not in .* of 4 \(4.jpg, 5.jpg\);"):
        check_split(split, make_catalog(["a"] * 4))
    with pytest.raises(InputError, match=f"{split.fingerprint[:12]}, and these have") as caught:
        check_split(split, make_catalog(["a"] * 5 + ["b"]))
    assert "are not in the catalog" not in str(caught.value)
    tampered = replace(split, parts={**split.parts, "train": ("other.jpg",)})
    with pytest.raises(InputError, match=r"1 of its 2 photos .* \(other.jpg\)\. Give"):
        check_split(tampered, catalog)


def test_a_split_carries_its_seed_and_the_fingerprint_of_its_catalog():
    catalog = make_catalog(["a", "a", "b", "b", None])
    split = draw_split(catalog, seed=5)
    assert (split.seed, split.fingerprint) == (5, fingerprint(catalog))


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1)


@given(
    ids=st.lists(texts, unique=True, min_size=1, max_size=6),
    seed=st.integers(-5, 5),
    cut=st.floats(0, 1),
)
def test_a_split_comes_back_as_it_was_written(tmp_path_factory, ids, seed, cut):
    at = round(cut * len(ids))
    parts = {"train": tuple(ids[:at]), "validation": tuple(ids[at:])}
    split = Split({part: ids for part, ids in parts.items() if ids}, seed, "f00")
    path = tmp_path_factory.mktemp("split") / "split.csv"
    write_split(path, split)
    assert read_split(path) == split


def test_the_file_is_a_plain_table(tmp_path):
    write_split(tmp_path / "s.csv", Split({"train": ("1.jpg",), "validation": ("2.jpg",)}, 7, "ab"))
    assert (tmp_path / "s.csv").read_text() == (
        "Id,Part,Seed,Fingerprint\n1.jpg,train,7,ab\n2.jpg,validation,7,ab\n"
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read"),
        (b"", "header"),
        (b"Id,Part,Seed,Fingerprint\n", "a row or more"),
        (b"Id,Part\n1.jpg,train\n", "header"),
        (b"Id,Part,Seed,Fingerprint\n1.jpg,train,0\n", "row 2"),
        (b"Id,Part,Seed,Fingerprint\n1.jpg,train,x,f\n", "row 2"),
        (b"Id,Part,Seed,Fingerprint\n1.jpg,train,0,f\n2.jpg,train,1,f\n", "row 3"),
        (b"Id,Part,Seed,Fingerprint\n1.jpg,train,0,f\n1.jpg,validation,0,f\n", "1.jpg twice"),
        (b'Id,Part,Seed,Fingerprint\n"1.jpg,train,0,f\n', "cannot be read"),
    ],
)
def test_a_damaged_split_is_refused(tmp_path, content, words):
    path = tmp_path / "split.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BundleError, match=words):
        read_split(path)


def test_a_hold_out_is_one_pair_of_sides_and_folds_are_one_each():
    catalog = make_catalog(["a", "b"] * 10)
    held_out = draw_split(catalog, validation=0.2, seed=0, lock=0.2)
    assert count_folds(held_out) == 0
    assert pair_sides(held_out) == ((held_out.parts["train"], held_out.parts["validation"]),)
    folds = draw_folds(catalog, num_folds=3, seed=0, lock=0.2)
    assert count_folds(folds) == 3
    sides = pair_sides(folds)
    rest = set(catalog.ids) - set(folds.parts["locked"])
    assert [held for _, held in sides] == [folds.parts[f"fold-{n}"] for n in (1, 2, 3)]
    assert all(set(kept) == rest - set(held) for kept, held in sides)
    assert all(len(set(kept)) == len(kept) for kept, _ in sides)
