"""A car is found by a map; each photo's box is its own, and one function crops to it everywhere."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from lotlens.answering.answers import (
    join_predictions,
    load_predictions,
    save_predictions,
    take_rows,
    to_rows,
)
from lotlens.answering.engines import Engine
from lotlens.answering.locating import (
    LEAST_PEAK,
    LEAST_SCORE,
    MapLocator,
    choose_box,
    find_largest,
    open_locator,
)
from lotlens.answering.predict import answer_bytes, predict
from lotlens.drawn.cars import draw_car_photo
from lotlens.drawn.negatives import DRAWN
from lotlens.errors import BundleError
from lotlens.photos.decode import decode
from lotlens.photos.prepare import fit_photo, prepare_bytes
from lotlens.photos.sources import open_photos
from lotlens.records import OK, Box, CarClass, ImageSpec, ModelCard
from lotlens.training.locating import make_network
from lotlens.vision.batches import decode_photos
from tests.conftest import encode

SPEC = ImageSpec(24, 32, "stretch", locate="map")
CLASSES = (CarClass("0", "dark"), CarClass("1", "light"))


@pytest.fixture(scope="module")
def locate():
    return open_locator(make_network())


def measure_overlap(one, other):
    """Intersection over union of two boxes."""
    across = min(one.right, other.right) - max(one.left, other.left)
    down = min(one.bottom, other.bottom) - max(one.top, other.top)
    both = max(across, 0) * max(down, 0)
    areas = [(box.right - box.left) * (box.bottom - box.top) for box in (one, other)]
    return both / (sum(areas) - both)


def draw(number, size=(200, 150)):
    return draw_car_photo(np.random.default_rng([3, number]), number % 8, *size, easy=True)


def draw_far(number):
    """A car on a wide field, which a crop to it leaves out."""
    field = Image.new("RGB", (480, 360), (120, 125, 118))
    field.paste(draw(number), (20 + 60 * number, 90))
    return field


def test_the_largest_part_is_boxed_and_the_smaller_left_out():
    shares = np.zeros((10, 10), np.float32)
    shares[2:6, 3:9] = 0.9
    shares[8:, :2] = 1.0
    box = find_largest(shares)
    assert measure_overlap(box, Box(0.3, 0.2, 0.9, 0.6)) > 0.75
    assert box.bottom < 0.75  # what is smaller, though surer, begins there
    assert box.score == pytest.approx(1.0)


def test_parts_that_meet_at_a_corner_alone_are_two():
    shares = np.zeros((10, 10), np.float32)
    shares[:4, :4] = 1.0
    shares[6:, 6:] = 0.9
    shares[5, 5] = 0.0
    assert find_largest(shares).right < 0.6


@pytest.mark.parametrize("peak", [0.0, 0.3, LEAST_PEAK - 0.01])
def test_a_map_without_a_peak_has_no_box(peak):
    shares = np.zeros((10, 10), np.float32)
    shares[3:6, 3:6] = peak
    assert find_largest(shares) is None


@settings(max_examples=60)
@given(arrays.arrays(np.float32, (10, 10), elements=st.floats(0, 1, width=16)))
def test_mirrored_maps_have_mirrored_boxes(shares):
    shares[4, 4] = 1.0  # so that there is a box
    # Of two parts that are equally good the first is taken, which a mirror cannot know.
    shares += np.linspace(0, 1e-3, 100, dtype=np.float32).reshape(10, 10)
    shares = shares.clip(0, 1)
    box, other = find_largest(shares), find_largest(shares[:, ::-1])
    mirrored = other.mirrored
    for one, two in zip(box.values, mirrored.values, strict=True):
        assert one == pytest.approx(two)


@pytest.mark.parametrize(
    "cells", [np.zeros((1, 99)), np.zeros((2, 100)), np.full((1, 100), np.nan)]
)
def test_a_network_that_gives_no_map_is_named(cells):
    engine = Engine(lambda _: (np.zeros((1, 5)), cells.astype(np.float32)))
    with pytest.raises(BundleError, match="gives no map of 10 by 10 cells"):
        MapLocator(engine)(np.zeros((20, 30, 3), np.uint8))


@pytest.mark.parametrize("values", [(0.5, 0, 0.4, 1), (0, 0, 1.1, 1), (0, 0.2, 1, 0.2)])
def test_what_is_no_box_is_refused(values):
    with pytest.raises(ValueError, match="no box"):
        Box(*values)


def test_drawn_cars_are_found_and_mirrored_photos_have_mirrored_boxes(locate):
    """To a cell or so: the network's own padding has a side."""
    overlaps = []
    for number in range(8):
        photo = np.asarray(draw(number))
        box, other = locate(photo), locate(np.ascontiguousarray(photo[:, ::-1]))
        assert box.score > 0.9
        overlaps.append(measure_overlap(box, other.mirrored))
    assert min(overlaps) > 0.7
    assert np.mean(overlaps) > 0.85


def test_a_small_car_is_found_where_it_stands(locate):
    """Pasted into a grey field, at the left and at the right."""
    car = np.asarray(draw(2))
    for left in (20, 380):
        photo = np.full((450, 600, 3), 120, np.uint8)
        photo[180:330, left : left + 200] = car
        box = locate(photo)
        true = Box(left / 600, 180 / 450, (left + 200) / 600, 330 / 450)
        assert measure_overlap(box, true) > 0.3
        assert (box.left + box.right) / 2 == pytest.approx((true.left + true.right) / 2, abs=0.12)


@pytest.mark.parametrize("kind", ["document", "noise", "plain"])
def test_photos_without_a_car_keep_the_whole_frame(locate, kind):
    for number in range(4):
        data = encode(DRAWN[kind](np.random.default_rng(number), (320, 240)), "PNG")
        photo = decode(data)
        assert locate(photo) is None
        whole = fit_photo(photo, replace(SPEC, locate="none"))
        (loaded,) = decode_one(data, locate)
        assert np.array_equal(loaded, whole)


def decode_one(data, locate):
    from lotlens.photos.reading import load_photo

    loaded = load_photo(data, SPEC, locate=locate)
    assert loaded.box is None
    return (loaded.pixels,)


class Brightness:
    """Says whether a photo's crop is light; counts streams as it is told."""

    batch_size = 8

    def __init__(self, locate, num_streams=1):
        self.card = ModelCard(1, "0", CLASSES, SPEC, "none", {}, "")
        self.locate, self.num_streams = locate, num_streams

    def __call__(self, batch):
        means = batch.mean(axis=(1, 2, 3))
        return np.stack([-means, means], axis=1), batch.reshape(len(batch), -1)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory):
    """Cars, what is none, and a file that nobody can read, in turns."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(4):
        draw_far(number).save(folder / f"{number}-car.png")
    for kind in ("plain", "noise"):
        DRAWN[kind](np.random.default_rng(0), (160, 120)).save(folder / f"1-{kind}.png")
    (folder / "2-broken.jpg").write_bytes(b"no photo")
    return open_photos([folder])


@pytest.mark.parametrize("num_streams", [1, 3])
def test_a_box_never_changes_another_photos_row(catalog, locate, num_streams):
    predictor = Brightness(locate, num_streams)
    together = predict(predictor, catalog, keep_features=True)
    for row, photo in enumerate(catalog.photos):
        alone = predict(predictor, replace(catalog, photos=(photo,)), keep_features=True)
        assert alone.status[0] == together.status[row]
        assert alone.get_box(0) == together.get_box(row)
        names = ("logits", "features", "boxes") if alone.status[0] == OK else ("logits", "boxes")
        for name in names:
            np.testing.assert_array_equal(getattr(alone, name)[0], getattr(together, name)[row])
    turned = predict(predictor, replace(catalog, photos=catalog.photos[::-1]))
    np.testing.assert_array_equal(turned.boxes[::-1], together.boxes)
    found = {id_: together.get_box(row) is not None for row, id_ in enumerate(together.ids)}
    assert found == {id_: "car" in id_ for id_ in catalog.ids}


def test_a_photo_is_cropped_alike_wherever_it_is_prepared(catalog, locate):
    predictor = Brightness(locate)
    answered = predict(predictor, catalog, keep_features=True)
    learnt = decode_photos(
        replace(catalog, photos=label(catalog), classes=CLASSES), SPEC, locate=locate
    )
    (batch,) = learnt.batches(100)
    files = [photo.locator.path.read_bytes() for photo in catalog.photos]
    served = answer_bytes(predictor, files, catalog.ids, keep_features=True)
    np.testing.assert_array_equal(served.features, answered.features)
    np.testing.assert_array_equal(served.boxes, answered.boxes)
    rows = np.flatnonzero(answered.answered).tolist()
    np.testing.assert_array_equal(batch.reshape(len(rows), -1), answered.features[rows])
    for row in rows:
        prepared = prepare_bytes(files[row], SPEC, locate=locate)
        np.testing.assert_array_equal(prepared.ravel(), answered.features[row])
    whole = replace(SPEC, locate="none")
    changed = [
        row
        for row in rows
        if not np.array_equal(prepare_bytes(files[row], whole).ravel(), answered.features[row])
    ]
    assert changed == [row for row in rows if answered.get_box(row)]


def label(catalog):
    return tuple(replace(photo, label="0") for photo in catalog.photos)


def test_who_forgets_to_look_for_the_car_is_told(catalog):
    with pytest.raises(ValueError, match="by nothing"):
        prepare_bytes(encode(draw(0), "PNG"), SPEC)
    with pytest.raises(ValueError, match="by nothing"):
        predict(Brightness(None), catalog)


def test_boxes_stay_with_their_photos(catalog, locate, tmp_path):
    found = predict(Brightness(locate), catalog)
    rows = [5, 0, 2]
    np.testing.assert_array_equal(take_rows(found, rows).boxes, found.boxes[rows])
    halves = [take_rows(found, range(3)), take_rows(found, range(3, len(found.ids)))]
    np.testing.assert_array_equal(join_predictions(halves).boxes, found.boxes)
    halves[0] = replace(halves[0], boxes=None)  # a model of before answered those
    joined = join_predictions(halves)
    assert np.isnan(joined.boxes[:3]).all()
    np.testing.assert_array_equal(joined.boxes[3:], found.boxes[3:])
    save_predictions(tmp_path / "own.npz", found)
    np.testing.assert_array_equal(load_predictions(tmp_path / "own.npz").boxes, found.boxes)
    told = [row["box"] for row in to_rows(found)]
    assert [bool(one) for one in told] == [found.get_box(r) is not None for r in range(len(told))]
    assert told[0] == str(found.get_box(0))
    assert len(told[0].split()) == 4


@pytest.mark.parametrize("edges", [(0.2, 0.2, 0.1, 0.9, 1.0), (0, 0, 2, 1, 1)])
def test_a_stored_box_outside_its_photo_is_refused(catalog, locate, tmp_path, edges):
    found = predict(Brightness(locate), catalog)
    boxes = found.boxes.copy()
    boxes[0] = edges
    save_predictions(tmp_path / "own.npz", replace(found, boxes=boxes))
    with pytest.raises(BundleError, match="no box"):
        load_predictions(tmp_path / "own.npz")


def choose(*rows):
    """The box that is chosen among (left, top, right, bottom, score)."""
    table = np.array(rows, np.float32).reshape(-1, 5)
    return choose_box(table[:, :4], table[:, 4])


def test_the_largest_of_the_sure_boxes_is_the_car():
    large, small = (0.1, 0.1, 0.7, 0.8), (0.8, 0.1, 0.95, 0.25)
    assert str(choose((*small, 0.9), (*large, 0.6))) == "0.100 0.100 0.700 0.800"
    # One of less than half the surest's score may be anything.
    assert str(choose((*small, 0.9), (*large, 0.4))) == "0.800 0.100 0.950 0.250"
    # A looser box around the same car does not take the place of a surer one.
    loose = (0.0, 0.05, 0.75, 0.9)
    found = choose((*loose, 0.7), (*large, 0.8))
    assert (str(found), round(found.score, 3)) == ("0.100 0.100 0.700 0.800", 0.8)
    # Part of it lies beyond the edge.
    assert str(choose((-0.2, 0.3, 1.3, 0.9, 0.8))) == "0.000 0.300 1.000 0.900"


@pytest.mark.parametrize(
    "rows",
    [
        (),
        ((0.1, 0.1, 0.5, 0.5, LEAST_SCORE - 0.01),),
        ((0.5, 0.1, 0.5, 0.9, 0.9),),
        ((0.5, 0.9, 0.6, 0.1, 0.9),),
        ((1.1, 0.2, 1.4, 0.5, 0.9),),
        ((np.nan, 0.1, 0.5, 0.5, 0.9),),
        ((0.1, 0.1, np.inf, 0.5, 0.9),),
        ((0.1, 0.1, 0.5, 0.5, np.nan),),
        ((0.1, 0.1, 0.5, 0.5, 7.0),),
    ],
)
def test_no_box_is_made_of_what_is_none(rows):
    assert choose(*rows) is None


@given(arrays.arrays(np.float32, (7, 5), elements=st.floats(-1, 2, width=32)))
def test_whatever_boxes_there_are_one_of_them_or_none_is_chosen(table):
    found = choose_box(table[:, :4], table[:, 4])
    if found is not None:
        edges = np.clip(table[:, :4], 0, 1)
        assert any(np.allclose(found.values[:4], row) for row in edges)
