"""hashes: laws of the transform, planted copies among strangers, endless series."""

import io
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.cluster.hierarchy import DisjointSet

from lotlens.audit import hashes
from lotlens.audit.hashes import HASH_SIDE, find_lookalikes, hash_frame
from lotlens.audit.turns import INVERSES, MIRROR, NUM_TURNS, turn_frame, turn_hashes
from lotlens.drawn.scenes import add_watermark
from lotlens.photos.quality import frame_photo

SIGNS = np.where(np.arange(HASH_SIDE) % 2, -1, 1)
NUM_PICTURES, NUM_COPIES = 150, 100
CHANGES = ("rescaled", "recompressed", "mirrored", "watermarked", "cropped", "faded")
WHOLE = (0.0, 1.0, 0.0, 1.0)


def hash_photo(picture):
    return hash_frame(frame_photo(picture))


def compare(one, other):
    """Cosine of the angle between two hashes."""
    one, other = one.astype(float).ravel(), other.astype(float).ravel()
    return one @ other / np.linalg.norm(one) / np.linalg.norm(other)


def change(pixels, kind, rng):
    """A changed copy, and where it lies in the original."""
    image, box = Image.fromarray(pixels), WHOLE
    width, height = image.size
    if kind == "rescaled":
        image = image.resize((round(0.6 * width), round(0.7 * height)), Image.Resampling.LANCZOS)
    elif kind == "recompressed":
        stream = io.BytesIO()
        image.save(stream, "JPEG", quality=25)
        image = Image.open(stream)
    elif kind == "mirrored":
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    elif kind == "watermarked":
        image = add_watermark(rng, image)
    elif kind == "cropped":
        left, right, top, bottom = rng.uniform(0.05, 0.12, 4)
        edges = np.round([left * width, (1 - right) * width, top * height, (1 - bottom) * height])
        box = tuple(edges / (width, width, height, height))
        image = image.crop(tuple(edges[[0, 2, 1, 3]].astype(int)))
    else:
        image = Image.fromarray((np.asarray(image) * 0.6 + 50).astype(np.uint8))
    return np.asarray(image), box


@pytest.fixture(scope="module")
def planted(texture_drawer):
    """Hashes of 150 pictures and of copies of the first 100; the copies' changes and boxes."""
    pictures = [texture_drawer(number) for number in range(NUM_PICTURES)]
    kinds = [CHANGES[number % len(CHANGES)] for number in range(NUM_COPIES)]
    rng = np.random.default_rng(5)
    copies = [change(pictures[number], kind, rng) for number, kind in enumerate(kinds)]
    found = np.stack(
        [hash_photo(picture) for picture in [*pictures, *(copy for copy, _ in copies)]]
    )
    return found, kinds, [box for _, box in copies]


def draw_series(num, jitter, seed=0):
    """Hashes of `num` pictures that hardly differ."""
    rng = np.random.default_rng(seed)
    first = rng.normal(0, 20, (1, HASH_SIDE, HASH_SIDE))
    return (first + jitter * rng.normal(size=(num, HASH_SIDE, HASH_SIDE))).astype(np.float16)


def test_a_hash_knows_neither_colour_nor_size_nor_brightness_nor_contrast(texture_drawer):
    picture = texture_drawer(1)
    first = hash_photo(picture)
    assert first.shape == (HASH_SIDE, HASH_SIDE)
    assert first[0, 0] == 0
    assert np.array_equal(first, hash_photo(picture.copy()))
    grey = np.asarray(Image.fromarray(picture).convert("L"))
    assert np.array_equal(first, hash_photo(grey))
    assert compare(first, hash_photo((picture * 0.5 + 70).astype(np.uint8))) > 0.999
    half = Image.fromarray(picture).reduce(2)
    assert compare(first, hash_photo(np.asarray(half))) > 0.99
    assert abs(compare(first, hash_photo(texture_drawer(2)))) < 0.7


@given(seed=st.integers(0, 1000), width=st.integers(40, 120), height=st.integers(40, 120))
@settings(max_examples=25, deadline=None)
def test_in_a_mirror_odd_horizontal_frequencies_change_their_sign(
    texture_drawer, seed, width, height
):
    picture = texture_drawer(seed, width, height)
    mirrored = hash_photo(picture[:, ::-1]).astype(float)
    assert mirrored == pytest.approx(hash_photo(picture) * SIGNS, abs=0.2)
    assert compare(mirrored, hash_photo(picture)) < 0.99


def draw_waves(seed, x, y):
    """A picture of the lowest frequencies alone, between shares x and y of its sides."""
    heights = np.random.default_rng(seed).normal(size=(6, 6)) * 12
    along = [
        np.cos(np.pi * np.arange(6) * (low + (high - low) * (np.arange(192) + 0.5) / 192)[:, None])
        for low, high in (y, x)
    ]
    return np.clip(128 + along[0] @ heights @ along[1].T, 0, 255).astype(np.uint8)


cuts = st.floats(0, 0.15)


@given(seed=st.integers(0, 1000), edges=st.tuples(cuts, cuts, cuts, cuts))
@settings(max_examples=40, deadline=None)
def test_the_hash_of_a_crop_follows_from_that_of_the_whole(seed, edges):
    across, down = (edges[0], 1 - edges[1]), (edges[2], 1 - edges[3])
    whole = hash_photo(draw_waves(seed, (0, 1), (0, 1))).astype(np.float32)
    cropped = hash_photo(draw_waves(seed, across, down)).astype(float)
    predicted = hashes._cut(down, 8) @ whole @ hashes._cut(across, 8).T
    predicted[0, 0] = 0
    assert predicted == pytest.approx(cropped[:8, :8], abs=1.0)


def test_planted_copies_are_found_and_strangers_are_not(planted):
    found, kinds, boxes = planted
    alike = find_lookalikes(found)
    assert len(alike) == len(alike.pairs) == len(alike.scores)
    assert list(alike.scores) == sorted(alike.scores, reverse=True)
    assert (alike.scores > hashes.MATCH_THRESHOLD).all()
    assert (alike.scores < 1.001).all()
    missed = Counter(kinds)
    for pair, turn, box in zip(alike.pairs, alike.turns, alike.boxes, strict=True):
        number = min(pair)
        assert max(pair) == number + NUM_PICTURES, "a pair of strangers"
        assert turn == (MIRROR if kinds[number] == "mirrored" else 0)
        missed[kinds[number]] -= 1
        # Of a crop it is known which of the two shows more.
        if kinds[number] == "cropped":
            assert pair[0] < pair[1]
            assert box == pytest.approx(boxes[number], abs=0.06)
        else:
            assert box == pytest.approx(WHOLE, abs=0.07)
    assert not +missed
    assert min(missed.values()) == 0, "a pair is told of twice"


def test_the_nearer_the_likelier_and_what_is_too_far_is_left_out(texture_drawer):
    one, other = texture_drawer(1), texture_drawer(2)
    blends = [one * (1 - share) + other * share for share in np.linspace(0, 0.9, 25)]
    alike = find_lookalikes(np.stack([hash_photo(blend.astype(np.uint8)) for blend in blends]))
    assert hashes.MATCH_THRESHOLD < min(alike.scores) < hashes.MATCH_THRESHOLD + 0.01
    of_first = sorted(
        (max(pair), -score)
        for pair, score in zip(alike.pairs, alike.scores, strict=True)
        if 0 in pair
    )
    assert [number for number, _ in of_first] == list(range(1, len(of_first) + 1))
    assert [score for _, score in of_first] == sorted(score for _, score in of_first)
    assert len(of_first) < 20


def test_the_box_of_a_mirrored_crop_lies_in_the_mirrored_picture(texture_drawer):
    picture = texture_drawer(3)
    height, width = picture.shape[:2]
    crop = picture[:, ::-1][: round(0.94 * height), round(0.12 * width) :]
    alike = find_lookalikes(np.stack([hash_photo(crop), hash_photo(picture)]))
    assert alike.pairs.tolist() == [[1, 0]]
    assert alike.turns.tolist() == [MIRROR]
    assert alike.boxes[0] == pytest.approx([0.12, 1.0, 0.0, 0.94], abs=0.02)


def name_pairs(alike, names):
    return {
        (frozenset(names[pair].tolist()), int(turn))
        for pair, turn in zip(alike.pairs, alike.turns, strict=True)
    }


def test_the_order_of_the_photos_does_not_matter(planted):
    found, _, _ = planted
    order = np.random.default_rng(0).permutation(len(found))
    straight = name_pairs(find_lookalikes(found), np.arange(len(found)))
    assert len(straight) == NUM_COPIES
    assert name_pairs(find_lookalikes(found[order]), order) == straight


def test_cells_lose_hardly_a_pair(monkeypatch):
    """Hashes of 1,500 pictures, and of crops of 100 of them, a little noisy."""
    rng = np.random.default_rng(0)
    frequency = np.hypot(*np.meshgrid(np.arange(HASH_SIDE), np.arange(HASH_SIDE)))
    pictures = rng.normal(size=(1500, HASH_SIDE, HASH_SIDE)) * 30 / np.maximum(frequency, 1)
    pictures[:, 0, 0] = 0
    edges = rng.uniform(0, 0.12, (100, 2, 2))
    cuts = [[hashes._cut((low, 1 - high), HASH_SIDE) for low, high in pair] for pair in edges]
    crops = np.stack([down @ pictures[n] @ across.T for n, (down, across) in enumerate(cuts)])
    crops += rng.normal(size=crops.shape) * 0.3
    crops[:, 0, 0] = 0
    found = np.concatenate([pictures, crops]).astype(np.float16)
    whole = name_pairs(find_lookalikes(found), np.arange(len(found)))
    planted = {(frozenset([number, 1500 + number]), 0) for number in range(100)}
    assert len(whole & planted) >= 95

    monkeypatch.setattr(hashes, "_FEW", 50)
    centres = hashes._find_centres(hashes._describe(found.astype(np.float32))[1], 3)
    assert len(centres) == 80
    assert np.linalg.norm(centres, axis=1) == pytest.approx(1, abs=1e-5)
    alike = find_lookalikes(found, seed=3)
    celled = name_pairs(alike, np.arange(len(found)))
    assert celled <= whole
    assert len(celled & planted) >= 0.98 * len(whole & planted)
    assert np.array_equal(find_lookalikes(found, seed=3).pairs, alike.pairs)


def test_every_vector_is_in_its_nearest_cells():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(2500, 5)).astype(np.float32)
    centres = rng.normal(size=(7, 5)).astype(np.float32)
    cells = hashes._sort_into_cells(vectors, centres, 2)
    assert len(cells) == len(centres)
    nearest = np.argsort(-(vectors @ centres.T), axis=1)[:, :2]
    for number, cell in enumerate(cells):
        assert cell.tolist() == np.flatnonzero((nearest == number).any(axis=1)).tolist()


@pytest.mark.parametrize("jitter", [0, 0.01])
def test_a_long_series_stays_joined_without_every_pair_of_it(jitter):
    num = 200
    alike = find_lookalikes(draw_series(num, jitter))
    # All pairs would be 19,900.
    assert len(alike) < 0.7 * num * (num - 1) / 2
    joined = DisjointSet(range(num))
    for first, second in alike.pairs.tolist():
        joined.merge(first, second)
    assert joined.n_subsets == 1


def test_one_cell_and_crop_gives_no_photo_more_pairs_than_the_cap():
    series = draw_series(300, 0)
    whole, _ = hashes._describe(series.astype(np.float32))
    rows = np.arange(300)
    keys = hashes._compare(whole, rows, whole, rows)
    assert 0 < len(keys) <= 300 * hashes._MOST_PER_PHOTO


# --- quarter turns -------------------------------------------------------------------------------

TURNED = range(2, NUM_TURNS)


@pytest.fixture(scope="module")
def turned(planted, texture_drawer):
    """The planted hashes, and those of six of the pictures that have no copies, once more, turned.

    Other than the planted copies these come first.
    """
    found, _, _ = planted
    copies = [hash_frame(turn_frame(frame_photo(texture_drawer(110 + t)), t)) for t in TURNED]
    return np.concatenate([copies, found])


def list_turned(alike, num_copies=len(TURNED)):
    """The pairs of a picture and its turned copy, with how the picture must be turned for that."""
    return {
        (max(pair) - num_copies, int(turn if pair[0] > pair[1] else INVERSES[turn]))
        for pair, turn in zip(alike.pairs.tolist(), alike.turns, strict=True)
        if min(pair) < num_copies
    }


def test_copies_that_are_turned_by_quarters_are_found(turned):
    assert list_turned(find_lookalikes(turned)) == {(110 + turn, turn) for turn in TURNED}
    # The other way round: the copies come last.
    order = np.roll(np.arange(len(turned)), -len(TURNED))
    alike = find_lookalikes(turned[order])
    pairs = {pair for pair, turn in name_pairs(alike, order) if turn in TURNED}
    assert pairs == {frozenset([turn - 2, 110 + turn + 6]) for turn in TURNED}


def test_turns_change_nothing_of_what_is_found_without(turned, monkeypatch):
    alike = find_lookalikes(turned)
    monkeypatch.setattr(hashes, "_VIEWS", [v for v in hashes._VIEWS if v[1] <= MIRROR])
    straight = find_lookalikes(turned)
    assert len(straight) == NUM_COPIES
    kept = alike.turns <= MIRROR
    for name in ("pairs", "turns", "boxes", "scores"):
        assert np.array_equal(getattr(alike, name)[kept], getattr(straight, name))


def test_a_crop_of_a_turned_picture_lies_in_the_turned_picture(texture_drawer):
    """The second look tries crops of turned pictures, too."""
    picture = texture_drawer(3)
    turned = turn_frame(frame_photo(picture), 5)
    height, width = turned.shape
    crop = turned[round(0.06 * height) :, : round(0.94 * width)]
    found = np.stack([hash_photo(np.stack([crop] * 3, 2)), hash_photo(picture)])
    # The photo of the crop is the first, so that it is turned back to be like the picture.
    pairs, turns = np.array([[0, 1]]), np.array([INVERSES[5]])
    scores, boxes, swapped = hashes._match(found.astype(np.float32), pairs, turns)
    assert scores[0] > 0.98
    assert swapped.tolist() == [True]
    assert boxes[0] == pytest.approx([0, 0.94, 0.06, 1.0], abs=0.02)


def test_cells_lose_hardly_a_turned_copy(monkeypatch):
    rng = np.random.default_rng(1)
    frequency = np.hypot(*np.meshgrid(np.arange(HASH_SIDE), np.arange(HASH_SIDE)))
    pictures = rng.normal(size=(900, HASH_SIDE, HASH_SIDE)) * 30 / np.maximum(frequency, 1)
    pictures[:, 0, 0] = 0
    pictures = pictures.astype(np.float32)
    turns = np.arange(90) % len(TURNED) + 2
    copies = np.concatenate([turn_hashes(pictures[n : n + 1], t) for n, t in enumerate(turns)])
    copies += rng.normal(size=copies.shape) * 0.3
    copies[:, 0, 0] = 0
    monkeypatch.setattr(hashes, "_FEW", 50)
    alike = find_lookalikes(np.concatenate([pictures, copies]).astype(np.float16), seed=3)
    found = {
        (min(pair), int(turn if pair[0] < pair[1] else INVERSES[turn]))
        for pair, turn in zip(alike.pairs.tolist(), alike.turns, strict=True)
        if max(pair) - 900 == min(pair)
    }
    assert len(found & set(enumerate(turns.tolist()))) >= 88


def test_flat_pictures_are_like_nothing(texture_drawer):
    greys = [np.full((48, 64, 3), level, np.uint8) for level in (0, 128, 255, 128)]
    # Nor is one whose noise happens to be that of another.
    pale = [(128 + texture_drawer(2) * 0.02).astype(np.uint8)] * 2
    pictures = [*greys, texture_drawer(1), greys[1], texture_drawer(1), *pale]
    alike = find_lookalikes(np.stack([hash_photo(picture) for picture in pictures]))
    assert alike.pairs.tolist() == [[4, 6]]


@pytest.mark.parametrize(
    "found",
    [
        np.zeros((0, HASH_SIDE, HASH_SIDE), np.float16),
        np.zeros((3, HASH_SIDE, HASH_SIDE), np.float16),
        draw_series(1, 0),
    ],
    ids=["none", "flat ones", "one"],
)
def test_too_few_to_compare(found):
    alike = find_lookalikes(found)
    assert len(alike) == 0
    assert alike.pairs.shape == (0, 2)
    assert alike.boxes.shape == (0, 4)
