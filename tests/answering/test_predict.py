"""Every photo is answered once, under its own id, whatever is wrong with its neighbours."""

import io
import math
import threading
import time
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.special import log_softmax
from threadpoolctl import threadpool_info, threadpool_limits

import lotlens.photos.reading as reading_module
from lotlens.answering.answers import (
    BOX,
    COLUMNS,
    join_predictions,
    load_predictions,
    order_classes,
    probabilities,
    save_predictions,
    select_predictions,
    to_rows,
)
from lotlens.answering.predict import (
    NO_NUMBER,
    ONE_BLAS_THREAD,
    answer_pieces,
    predict,
    predict_views,
)
from lotlens.errors import BundleError, InputError, OutputError
from lotlens.photos.reading import NO_FILE
from lotlens.records import OK, CarClass, Catalog, ImageSpec, Locator, ModelCard, Photo, Predictions

CLASSES = (CarClass("0", "red car"), CarClass("1", "green car"), CarClass("2", "blue car"))
COLOURS = np.array([[220, 20, 20], [20, 220, 20], [20, 20, 220]], dtype=np.uint8)


def make_card(**changes):
    values = {
        "format_version": 1,
        "lotlens_version": "0",
        "classes": CLASSES,
        "image": ImageSpec(6, 8),
        "backbone": "none",
        "recipe": {},
        "fingerprint": "",
    }
    return ModelCard(**values | changes)


class ColourPredictor:
    """Says which of red, green and blue fills a part of the photo; its features are the means."""

    num_streams = 1
    batch_size = 8

    def __init__(self, columns=slice(None), **changes):
        self.card = make_card(**changes)
        self.columns = columns
        self.batch_sizes = []

    def __call__(self, batch):
        assert batch.dtype == np.float32
        self.batch_sizes.append(len(batch))
        means = batch[..., self.columns].mean(axis=(2, 3))
        return 3 * means, means


def save_photo(path, pixels):
    Image.fromarray(np.asarray(pixels, dtype=np.uint8)).save(path)
    return Locator(path)


@pytest.fixture(scope="module")
def locators(tmp_path_factory):
    """Three plain photos, one of two colours, and three that nobody can read."""
    folder = tmp_path_factory.mktemp("photos")
    found = {
        str(k): save_photo(folder / f"{k}.png", np.full((6, 8, 3), colour))
        for k, colour in enumerate(COLOURS)
    }
    halves = np.repeat(COLOURS[[0, 2]], 4, axis=0)
    found["halves"] = save_photo(folder / "halves.png", np.tile(halves, (6, 1, 1)))
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("this is no photo")
    found["empty"] = Locator(folder / "empty.jpg")
    found["text"] = Locator(folder / "text.jpg")
    found["gone"] = Locator(folder / "gone.jpg")
    found["none"] = None
    return found


def make_catalog(locators, kinds):
    return Catalog(
        tuple(Photo(f"{n}-{kind}", locators[kind]) for n, kind in enumerate(kinds)), CLASSES
    )


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(
    kinds=st.lists(st.sampled_from(["0", "1", "2", "empty", "text", "gone", "none"]), max_size=12),
    batch_size=st.integers(1, 5),
    num_workers=st.integers(0, 3),
    num_streams=st.integers(1, 3),
)
def test_unreadable_photos_get_a_reason_and_shift_no_other_row(
    locators, kinds, batch_size, num_workers, num_streams
):
    catalog = make_catalog(locators, kinds)
    predictor = ColourPredictor()
    predictor.num_streams = num_streams
    progress = []
    found = predict(
        predictor,
        catalog,
        batch_size=batch_size,
        num_workers=num_workers,
        progress=lambda done, total: progress.append((done, total)),
    )
    assert found.ids == catalog.ids
    assert found.classes == CLASSES
    assert found.features is None
    assert found.logits.shape == (len(kinds), 3)
    assert found.logits.dtype == np.float32
    for kind, logits, status in zip(kinds, found.logits, found.status, strict=True):
        if kind in "012":
            assert status == OK
            assert logits.argmax() == int(kind)
        else:
            assert status == NO_FILE if kind == "none" else status not in {OK, NO_FILE, ""}
            assert np.isnan(logits).all()
    assert progress == sorted(set(progress))
    assert progress[-1:] == [(len(kinds), len(kinds))] * bool(kinds)
    batches = [kinds[at : at + batch_size] for at in range(0, len(kinds), batch_size)]
    num_readable = [sum(kind in "012" for kind in batch) for batch in batches]
    assert sorted(predictor.batch_sizes) == sorted(filter(None, num_readable))


def test_order_batches_and_threads_do_not_change_an_answer(locators):
    kinds = ["0", "halves", "text", "2", "1", "none", "halves", "0", "1"]
    catalog = make_catalog(locators, kinds)
    views = ("whole", "mirror")
    plain = predict(ColourPredictor(), catalog, views=views, keep_features=True, num_workers=0)
    order = np.random.default_rng(0).permutation(len(kinds))
    shuffled = Catalog(tuple(catalog.photos[k] for k in order), CLASSES)
    again = predict(
        ColourPredictor(), shuffled, views=views, keep_features=True, num_workers=3, batch_size=2
    )
    threaded = ColourPredictor()
    threaded.num_streams = 3
    for found in (again, predict(threaded, shuffled, views=views, keep_features=True)):
        assert found.ids == tuple(plain.ids[k] for k in order)
        assert found.status == tuple(plain.status[k] for k in order)
        np.testing.assert_allclose(found.logits, plain.logits[order], rtol=1e-6)
        np.testing.assert_allclose(found.features, plain.features[order], rtol=1e-6)


def test_every_stream_answers_and_none_runs_ahead(locators):
    busy, most, threads = 0, 0, set()
    lock = threading.Lock()

    class Streams(ColourPredictor):
        num_streams = 3

        def __call__(self, batch):
            nonlocal busy, most
            with lock:
                busy += 1
                most = max(most, busy)
                threads.add(threading.get_ident())
            time.sleep(0.01)
            with lock:
                busy -= 1
            return super().__call__(batch)

    predictor = Streams()
    photos = make_catalog(locators, ["0"] * 60).photos
    pieces = answer_pieces(predictor, photos, views=("whole",), batch_size=2)
    first = next(pieces)
    assert (first.start, len(first.status)) == (0, 2)
    time.sleep(0.5)
    assert len(predictor.batch_sizes) <= 6  # twice as many as streams, whoever takes them
    assert [piece.start for piece in pieces] == list(range(2, 60, 2))
    assert most == len(threads) == 3
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("answers")]


def test_views_are_averaged_in_log_space_and_features_are_of_the_first(locators):
    catalog = make_catalog(locators, ["halves", "empty"])
    left = ColourPredictor(slice(0, 4))
    by_view = predict_views(left, catalog, views=("whole", "mirror"), keep_features=True)
    whole, mirror = by_view["whole"], by_view["mirror"]
    assert whole.logits[0].argmax() == 0
    assert mirror.logits[0].argmax() == 2
    assert mirror.features is None
    both = predict(left, catalog, views=("whole", "mirror"), keep_features=True)
    expected = (log_softmax(whole.logits[:1], axis=1) + log_softmax(mirror.logits[:1], axis=1)) / 2
    np.testing.assert_allclose(both.logits[:1], expected, rtol=1e-5)
    np.testing.assert_array_equal(both.features, whole.features)
    assert np.isnan(both.features[1]).all()


def test_views_default_to_the_cards(locators):
    catalog = make_catalog(locators, ["halves"])
    for views in (("whole",), ("mirror",), ("whole", "mirror")):
        by_card = predict(ColourPredictor(slice(0, 4), views=views), catalog)
        asked = predict(ColourPredictor(slice(0, 4)), catalog, views=views)
        np.testing.assert_array_equal(by_card.logits, asked.logits)


def test_one_view_leaves_logits_raw_and_no_temperature_is_applied(locators):
    catalog = make_catalog(locators, ["1"])
    found = predict(ColourPredictor(temperature=7.0), catalog, keep_features=True)
    np.testing.assert_array_equal(found.logits, 3 * found.features)


@pytest.mark.parametrize("views", [(), ("whole", "upside-down"), ("whole", "whole")])
def test_unknown_views_are_refused(locators, views):
    with pytest.raises(InputError, match="whole, mirror"):
        predict(ColourPredictor(), make_catalog(locators, ["1"]), views=views)


def test_photos_do_not_pile_up_before_a_slow_model(locators, monkeypatch):
    num_loaded = 0
    lock = threading.Lock()
    real = reading_module.decoding

    def count(*args, **options):
        nonlocal num_loaded
        with lock:
            num_loaded += 1
        return real(*args, **options)

    monkeypatch.setattr(reading_module, "decoding", count)
    ahead = []

    class Slow(ColourPredictor):
        def __call__(self, batch):
            ahead.append(num_loaded - sum(self.batch_sizes))
            return super().__call__(batch)

    predict(Slow(), make_catalog(locators, ["0"] * 60), batch_size=4, num_workers=3)
    # One batch in the model's hands and two that wait.
    assert max(ahead) <= 3 * 4
    assert len(ahead) == 15


def count_blas_threads():
    return {one["num_threads"] for one in threadpool_info() if one["user_api"] == "blas"}


@pytest.mark.parametrize("num_streams", [1, 2])
def test_photos_are_asked_about_together_however_many_are_left(locators, num_streams):
    """An answering that goes on has fewer; other batches may give other bits."""
    asked = {}
    for num_photos in (12, 1212):
        predictor = ColourPredictor()
        predictor.batch_size, predictor.num_streams = 6, num_streams
        predict(predictor, make_catalog(locators, ["0"] * num_photos))
        asked[num_photos] = predictor.batch_sizes
    assert asked == {12: [6] * 2, 1212: [6] * 202}


def test_a_thread_that_answers_has_one_whoever_set_a_limit_before():
    """The first thread to set a limit is the only one that threadpoolctl lets, and says nothing."""
    seen = []

    def answer():
        with ONE_BLAS_THREAD:
            entered.set()
            seen.append(count_blas_threads())
            may_leave.wait(10)

    with ONE_BLAS_THREAD:
        pass  # as a model is warmed up by the main thread
    with threadpool_limits(2, user_api="blas"):
        entered, may_leave = threading.Event(), threading.Event()
        thread = threading.Thread(target=answer)
        thread.start()
        entered.wait(10)
        with ONE_BLAS_THREAD:  # comes later and leaves later than the other
            may_leave.set()
            thread.join()
            seen.append(count_blas_threads())
        seen.append(count_blas_threads())
    assert seen == [{1}, {1}, {2}]


def test_products_have_one_thread_while_several_answer(locators):
    with threadpool_limits(2, user_api="blas"):
        seen = []

        class Streams(ColourPredictor):
            num_streams = 2

            def __call__(self, batch):
                seen.append(count_blas_threads())
                return super().__call__(batch)

        photos = make_catalog(locators, ["0"] * 12).photos
        one, other = (
            answer_pieces(Streams(), photos, views=("whole",), batch_size=2) for _ in range(2)
        )
        next(one)
        next(other)
        one.close()
        assert count_blas_threads() == {1}  # the other still answers
        list(other)
        assert count_blas_threads() == {2}
    assert set(map(frozenset, seen)) == {frozenset({1})}


def test_a_failing_model_ends_the_threads(locators):
    class Failing(ColourPredictor):
        def __call__(self, batch):
            raise RuntimeError("out of order")

    for num_streams in (1, 3):
        failing = Failing()
        failing.num_streams = num_streams
        with pytest.raises(RuntimeError, match="out of order"):
            predict(failing, make_catalog(locators, ["0"] * 50), batch_size=2, num_workers=3)
        left = [thread.name for thread in threading.enumerate()]
        assert not [name for name in left if name.startswith(("photos", "answers"))]


def test_outputs_that_do_not_match_the_card_are_refused(locators):
    predictor = ColourPredictor(classes=CLASSES[:2])
    with pytest.raises(BundleError, match="2 classes on its card"):
        predict(predictor, make_catalog(locators, ["0"]))


def test_an_answer_that_is_no_number_becomes_a_status(locators):
    class Overflowing(ColourPredictor):
        def __call__(self, batch):
            logits, features = super().__call__(batch)
            logits[logits.argmax(axis=1) == 1] = np.inf
            return logits, features

    found = predict(Overflowing(), make_catalog(locators, ["0", "1", "text"]), keep_features=True)
    assert found.status[:2] == (OK, NO_NUMBER)
    assert found.status[2] not in {OK, NO_NUMBER}
    assert np.isnan(found.logits).all(axis=1).tolist() == [False, True, True]
    assert np.isnan(found.features).all(axis=1).tolist() == [False, True, True]


@pytest.mark.parametrize("kinds", [[], ["none"]])
def test_nothing_to_answer_is_no_error(locators, kinds):
    found = predict(ColourPredictor(), make_catalog(locators, kinds), keep_features=True)
    assert found.logits.shape == (len(kinds), 3)
    assert found.features.shape == (len(kinds), 0)
    assert probabilities(found).shape == (len(kinds), 3)
    assert len(to_rows(found)) == len(kinds)


def make_predictions(logits, status=None, features=None, classes=CLASSES):
    logits = np.array(logits, dtype=np.float32)
    ids = tuple(f"фото {n}.jpg" for n in range(len(logits)))
    return Predictions(ids, logits, features, tuple(status or [OK] * len(ids)), classes)


def test_probabilities_sum_to_one_and_cool_with_the_temperature():
    found = make_predictions([[2, 1, 0], [1000, 0, -1000], [np.nan] * 3], [OK, OK, "no file"])
    for temperature in (0.5, 1.0, 3.0):
        chances = probabilities(found, temperature)
        assert chances.dtype == np.float64
        expected = np.exp(np.array([2, 1, 0]) / temperature)
        np.testing.assert_allclose(chances[0], expected / expected.sum())
        np.testing.assert_allclose(chances[:2].sum(axis=1), 1)
        assert np.isnan(chances[2]).all()


def test_rows_name_the_two_likeliest_classes():
    found = make_predictions([[0, np.log(2), np.log(5)], [np.nan] * 3], [OK, "truncated JPEG"])
    first, second = to_rows(found)
    assert tuple(second) == (*COLUMNS, BOX)
    assert first == {
        "id": "фото 0.jpg",
        "status": OK,
        "label": "2",
        "name": "blue car",
        "probability": pytest.approx(5 / 8),
        "second_name": "green car",
        "second_probability": pytest.approx(2 / 8),
        "box": None,
    }
    assert second["status"] == "truncated JPEG"
    assert [second[key] for key in ("label", "name", "second_name")] == [None] * 3
    assert math.isnan(second["probability"])


def test_the_row_of_a_single_class_has_no_second():
    (row,) = to_rows(make_predictions([[1.0]], classes=CLASSES[:1]))
    assert row["probability"] == 1
    assert row["second_name"] is None
    assert math.isnan(row["second_probability"])


@pytest.mark.parametrize("features", [None, np.array([[1, 2], [np.nan, np.nan]], dtype=np.float32)])
def test_predictions_come_back_from_a_file_as_they_were(tmp_path, features):
    found = make_predictions([[1, 2, 3], [np.nan] * 3], [OK, "обрезан"], features)
    path = tmp_path / "predictions.npz"
    save_predictions(path, found)
    again = load_predictions(path)
    assert (again.ids, again.status, again.classes) == (found.ids, found.status, found.classes)
    np.testing.assert_array_equal(again.logits, found.logits)
    assert again.logits.dtype == np.float32
    if features is None:
        assert again.features is None
    else:
        np.testing.assert_array_equal(again.features, features)
    assert [file.name for file in tmp_path.iterdir()] == ["predictions.npz"]


def test_no_predictions_at_all_can_be_kept(tmp_path):
    empty = Predictions((), np.zeros((0, 3), np.float32), None, (), CLASSES)
    save_predictions(tmp_path / "p.npz", empty)
    assert load_predictions(tmp_path / "p.npz").ids == ()


def test_flaws_and_familiarity_are_kept_with_predictions(tmp_path):
    scores = np.array([[1, 2, 3, 4], [np.nan] * 4], np.float32)
    shows = np.array([[0.9, 0.1, 0, 0], [np.nan] * 4], np.float32)
    found = replace(
        make_predictions([[1, 2, 3], [np.nan] * 3], [OK, "torn"]),
        flaws=("too small: 9 x 9 pixels", ""),
        familiarity=scores,
        shows=shows,
    )
    save_predictions(tmp_path / "p.npz", found)
    again = load_predictions(tmp_path / "p.npz")
    assert again.flaws == found.flaws
    np.testing.assert_array_equal(again.familiarity, scores)
    np.testing.assert_array_equal(again.shows, shows)
    other = replace(found, ids=("a", "b"))
    joined = join_predictions([found, other])
    assert joined.flaws == found.flaws * 2
    np.testing.assert_array_equal(joined.familiarity, np.concatenate([scores, scores]))
    bare = join_predictions([found, replace(other, flaws=None, familiarity=None, shows=None)])
    assert bare.flaws is bare.familiarity is None
    # Of photos that nobody needed to look at nothing is known.
    np.testing.assert_array_equal(bare.shows, np.concatenate([shows, np.full((2, 4), np.nan)]))


@pytest.mark.parametrize(
    "changes", [{"flaws": ("",)}, {"familiarity": np.zeros((2, 2))}, {"shows": np.ones((1, 4))}]
)
def test_flaws_and_familiarity_belong_to_the_photos(changes):
    with pytest.raises(ValueError, match="for 2 photos"):
        replace(make_predictions([[1, 2, 3], [3, 2, 1]]), **changes)


def test_poor_photos_are_answered_and_their_flaw_is_told(locators):
    found = predict(ColourPredictor(), make_catalog(locators, ["0", "text"]))
    assert found.status[0] == OK
    assert found.flaws == ("too small: 8 x 6 pixels", "")


def make_damaged(kind):
    buffer = io.BytesIO()
    if kind == "pickled":
        np.savez(buffer, ids=np.array([{"not": "text"}], dtype=object), labels=[], names=[])
    elif kind == "other arrays":
        np.savez(buffer, logits=np.zeros((1, 3)))
    elif kind == "one array":
        np.save(buffer, np.zeros(3))
    elif kind == "uneven":
        np.savez(
            buffer,
            ids=["a", "b"],
            status=["ok"],
            labels=["0"],
            names=["x"],
            logits=np.zeros((1, 1)),
        )
    elif kind == "truncated":
        np.savez(buffer, ids=["a"], logits=np.zeros((500, 3)))
        return buffer.getvalue()[:300]
    elif kind == "other zip":
        with zipfile.ZipFile(buffer, "w") as archive:
            archive.writestr("readme.txt", "hello")
    return buffer.getvalue()


@pytest.mark.parametrize(
    "kind",
    ["empty", "pickled", "other arrays", "one array", "uneven", "truncated", "other zip", None],
)
def test_a_damaged_file_is_refused(tmp_path, kind):
    path = tmp_path / "predictions.npz"
    if kind is not None:
        path.write_bytes(make_damaged(kind))
    with pytest.raises(BundleError, match=r"predictions\.npz cannot be read"):
        load_predictions(path)


def test_a_place_that_cannot_be_written_is_an_output_error(tmp_path):
    with pytest.raises(OutputError):
        save_predictions(tmp_path, make_predictions([[1, 2, 3]]))


def make_part(*ids, classes=CLASSES):
    logits = np.array([[hash(id_) % 7, 1, 2] for id_ in ids], dtype=np.float32)
    features = np.ones((len(ids), 4), np.float32)
    return Predictions(ids, logits, features, (OK,) * (len(ids) - 1) + ("torn",), classes)


def test_joined_predictions_keep_every_row_with_its_id():
    first, second = make_part("b", "a"), make_part("d", "c", "e")
    joined = join_predictions([first, second])
    assert joined.ids == ("b", "a", "d", "c", "e")
    assert joined.status == (OK, "torn", OK, OK, "torn")
    np.testing.assert_array_equal(joined.logits, np.concatenate([first.logits, second.logits]))
    assert joined.features is None
    assert join_predictions([first]) is first


@pytest.mark.parametrize("other", [make_part("c", "a"), make_part("c", classes=CLASSES[::-1])])
def test_predictions_that_do_not_belong_together_are_not_joined(other):
    with pytest.raises(ValueError, match="must share their classes"):
        join_predictions([make_part("a", "b"), other])


def test_some_answers_are_taken_in_the_order_asked_for_with_all_that_belongs_to_them():
    classes = (CarClass("0", "Niva"), CarClass("1", "Kalina"))
    numbers = np.arange(6, dtype=np.float32).reshape(3, 2)
    scores = np.arange(12, dtype=np.float32).reshape(3, 4)
    status, flaws = (OK, OK, "torn"), ("", "blurred", "")
    shows = np.arange(12, dtype=np.float32).reshape(3, 4)
    given_ = Predictions(
        ("a", "b", "c"), numbers, numbers + 1, status, classes, flaws, scores, shows
    )
    taken = select_predictions(given_, ["c", "b"])
    assert (taken.ids, taken.status, taken.flaws) == (("c", "b"), ("torn", OK), ("", "blurred"))
    np.testing.assert_array_equal(taken.logits, numbers[[2, 1]])
    np.testing.assert_array_equal(taken.features, numbers[[2, 1]] + 1)
    np.testing.assert_array_equal(taken.familiarity, scores[[2, 1]])
    np.testing.assert_array_equal(taken.shows, shows[[2, 1]])
    with pytest.raises(ValueError, match="no answer to 1 photos, such as 'd'"):
        select_predictions(given_, ["a", "d"])
    turned = order_classes(given_, classes[::-1])
    np.testing.assert_array_equal(turned.logits, numbers[:, ::-1])
    assert turned.classes == classes[::-1]
    assert turned.familiarity is scores
