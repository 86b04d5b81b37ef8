"""A split is a fair draw: disjoint, covering, stratified, and never through a listing."""

from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lotlens.audit.split import draw_split, read_split, write_split
from lotlens.errors import BundleError, InputError
from lotlens.photos.sources import fingerprint
from lotlens.records import CarClass, Catalog, Photo, Split


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
    split = draw_split(catalog, validation=0.2, seed=3)
    held_out = Counter(by_id[id_] for id_ in split.parts["validation"])
    for label, total in Counter(labels).items():
        assert held_out[label] / total == pytest.approx(0.2, abs=0.05)


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


def test_classes_that_share_clusters_are_both_on_both_sides():
    # Wrong labels put a rare class's photos into the listings of a common one.
    catalog = make_catalog(["a", "b", "a", "b", "b", "b"], ["L1", "L1", "L2", "L2", "L3", "L4"])
    by_id = {photo.id: photo.label for photo in catalog.photos}
    for seed in range(10):
        for ids in draw_split(catalog, seed=seed).parts.values():
            assert {by_id[id_] for id_ in ids} == {"a", "b"}


@pytest.mark.parametrize(
    ("labels", "listings", "classes", "words"),
    [
        (["a", "a", "b"], None, None, r"class b \(Car b\) has 1 photo"),
        (["a", "a"], None, ["a", "b"], r"class b \(Car b\) has no photo"),
        (["a", "a"], ["L", "L"], None, "all 2 photos of class a .* one listing"),
        (["a", "b", "a", "c", "b", "c"], [1, 1, 2, 2, 3, 3], None, "cannot be on both sides"),
        ([None, None], None, ["a"], "no photo has a label"),
        ([], None, ["a"], "no photo has a label"),
    ],
)
def test_a_class_that_cannot_be_on_both_sides_is_named(labels, listings, classes, words):
    with pytest.raises(InputError, match=words):
        draw_split(make_catalog(labels, listings, classes), seed=0)


@pytest.mark.parametrize("share", [0, 1, -0.1, 2, float("nan")])
def test_a_share_outside_0_to_1_is_refused(share):
    with pytest.raises(InputError, match="validation share"):
        draw_split(make_catalog(["a", "a"]), validation=share, seed=0)


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
