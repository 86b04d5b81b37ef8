"""Models answer together when validation shows that it helps; rows keep their photos throughout."""

import dataclasses

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from scipy.special import log_softmax, softmax

from lotlens.answering.predict import predict
from lotlens.answering.views import VIEWS
from lotlens.errors import InputError
from lotlens.judge.blend import blend_logits, blend_predictions, fit_shares, try_blend
from lotlens.records import OK, CarClass, Catalog, ImageSpec, Locator, ModelCard, Photo, Predictions

CLASSES = (CarClass("0", "red car"), CarClass("1", "green car"), CarClass("2", "blue car"))


def draw_models(seed, knows=(1.0, 1.0), num_photos=130, num_classes=5, shared=0.7, own=0.7):
    """Logits of models that err in part together, truth and ids; `knows` is how much each does."""
    rng = np.random.default_rng(seed)
    targets = rng.integers(num_classes, size=num_photos)
    shape = (num_photos, num_classes)
    common = 2.5 * np.eye(num_classes)[targets] + shared * rng.normal(size=shape)
    logits = [(share * common + own * rng.normal(size=shape)).astype(np.float32) for share in knows]
    return logits, targets, [f"photo {n}.jpg" for n in range(num_photos)]


def measure_loss(weights, logits, targets):
    pooled = sum(w * log_softmax(own, axis=1) for w, own in zip(weights, logits, strict=True))
    return -log_softmax(pooled, axis=1)[np.arange(len(targets)), targets].mean()


def test_blending_is_a_weighted_geometric_mean():
    logits, *_ = draw_models(0)
    blended = softmax(blend_logits(logits, (0.3, 0.7)).astype(np.float64), axis=1)
    product = softmax(logits[0], axis=1) ** 0.3 * softmax(logits[1], axis=1) ** 0.7
    np.testing.assert_allclose(blended, product / product.sum(axis=1, keepdims=True), rtol=1e-4)


def test_shares_of_many_photos_are_where_the_log_loss_is_least():
    for seed in range(3):
        logits, targets, _ = draw_models(seed, knows=(1.0, 0.7), num_photos=2000)
        shares = fit_shares(logits, targets)
        grid = [(a, b) for a in np.linspace(0, 2, 21) for b in np.linspace(0, 2, 21)]
        best = min(grid[1:], key=lambda weights: measure_loss(weights, logits, targets))
        assert shares[0] == pytest.approx(best[0] / sum(best), abs=0.06)
        assert shares.sum() == pytest.approx(1)


def test_shares_of_few_photos_are_pulled_towards_equal_ones():
    few, many = [], []
    for seed in range(10):
        few.append(fit_shares(*draw_models(seed, num_photos=40)[:2])[0])
        many.append(fit_shares(*draw_models(seed, num_photos=1000)[:2])[0])
    assert np.std(few) < 0.15
    assert np.std(many) < 0.1


def test_shares_do_not_depend_on_a_models_confidence_or_on_the_order():
    logits, targets, _ = draw_models(3, knows=(1.0, 0.8, 0.9))
    shares = fit_shares(logits, targets)
    order = np.random.default_rng(0).permutation(len(targets))
    again = fit_shares([own[order] for own in logits], targets[order])
    np.testing.assert_allclose(again, shares, atol=1e-4)
    np.testing.assert_allclose(fit_shares(logits[::-1], targets), shares[::-1], atol=1e-4)
    # Logits ten times as large need a tenth of the weight, and give the same answers then.
    louder = [logits[0], 10 * logits[1], logits[2]]
    weights = fit_shares(louder, targets) * np.array([1, 10, 1])
    np.testing.assert_allclose(weights / weights.sum(), shares, atol=1e-4)


def test_equal_shares_where_there_is_nothing_to_learn_from():
    none = np.zeros((0, 3), np.float32)
    np.testing.assert_allclose(fit_shares([none] * 4, np.zeros(0, np.int64)), 0.25)
    same = np.zeros((50, 3), np.float32)
    np.testing.assert_allclose(fit_shares([same] * 2, np.zeros(50, np.int64)), 0.5)


def test_models_that_err_apart_are_adopted_together():
    adopted = 0
    for seed in range(15):
        trial = try_blend(*draw_models(seed, knows=(1.0, 1.0, 1.0)))
        adopted += trial.is_adopted
        assert sum(trial.shares) == pytest.approx(1)
        assert {one.number for one in trial.trials} == {0, 1, 2} - {trial.best}
        kept = {trial.best, *(one.number for one in trial.trials if one.is_adopted)}
        assert kept == {number for number, share in enumerate(trial.shares) if share}
    assert adopted >= 13


@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
def test_a_model_that_knows_nothing_is_rejected(scale):
    adopted = 0
    for seed in range(25):
        logits, targets, ids = draw_models(seed, knows=(1.0, 0.0))
        trial = try_blend([scale * logits[0], logits[1]], targets, ids)
        assert trial.best == 0
        adopted += trial.is_adopted
    assert adopted <= 5  # 2.5 allowed on average, standard deviation 1.5


@pytest.mark.parametrize("num_useless", [1, 4])
def test_poor_copies_are_adopted_in_a_tenth_of_cases_at_most_however_many(num_useless):
    adopted = 0
    for seed in range(30):
        logits, targets, ids = draw_models(seed, knows=(1.0,))
        rng = np.random.default_rng(1000 + seed)
        shape = (num_useless, *logits[0].shape)
        copies = logits[0] + (0.5 * rng.normal(size=shape)).astype(np.float32)
        adopted += try_blend([logits[0], *copies], targets, ids).is_adopted
    assert adopted <= 7  # 3 allowed on average, standard deviation 1.6


def test_a_model_that_knows_nothing_is_left_out_of_an_ensemble_that_helps():
    left_out = adopted = 0
    for seed in range(20):
        logits, targets, ids = draw_models(seed, knows=(1.0, 1.0, 0.0))
        trial = try_blend(logits, targets, ids)
        left_out += trial.shares[2] == 0
        adopted += trial.is_adopted
    assert left_out >= 17
    assert adopted >= 17


def test_a_model_twice_adds_nothing():
    logits, targets, ids = draw_models(0, knows=(1.0,))
    trial = try_blend([logits[0], logits[0]], targets, ids)
    assert not trial.is_adopted
    assert abs(trial.gain.value) < 1e-3


@settings(max_examples=8)
@given(seed=st.integers(0, 9999))
def test_the_order_of_photos_does_not_matter_to_a_trial(seed):
    logits, targets, ids = draw_models(seed, num_photos=60)
    order = np.random.default_rng(seed).permutation(60)
    trial = try_blend(logits, targets, ids)
    again = try_blend([own[order] for own in logits], targets[order], [ids[row] for row in order])
    np.testing.assert_allclose(again.logits, trial.logits[order], rtol=1e-3, atol=1e-3)
    assert again.gain.value == pytest.approx(trial.gain.value, abs=1e-5)
    assert again.shares == pytest.approx(trial.shares, abs=1e-3)


def test_each_photo_is_judged_by_shares_that_have_not_seen_it():
    logits, targets, ids = draw_models(1)
    trial = try_blend(logits, targets, ids)
    for row in range(4):
        spoilt = targets.copy()
        spoilt[row] = (spoilt[row] + 1) % 5
        again = try_blend(logits, spoilt, ids)
        np.testing.assert_array_equal(again.logits[row], trial.logits[row])
    assert not np.array_equal(again.logits, trial.logits)


def test_photos_without_label_or_answer_do_not_matter():
    logits, targets, ids = draw_models(2)
    trial = try_blend(logits, targets, ids)
    wild = np.full((6, 5), 50, np.float32)
    more = [np.concatenate([own, wild]) for own in logits]
    more[1][-3:] = np.nan
    unknown = np.concatenate([targets, [-1] * 3, [0] * 3])
    again = try_blend(more, unknown, [*ids, *"abcdef"])
    assert dataclasses.replace(again, logits=trial.logits) == trial
    np.testing.assert_array_equal(again.logits[:-6], trial.logits)
    assert np.isnan(again.logits[-6:]).all()


def test_too_few_photos_are_refused():
    with pytest.raises(InputError, match="only 19 validation photos"):
        try_blend(*draw_models(0, num_photos=19))


class PartPredictor:
    num_streams = 1
    batch_size = 8

    """Says how red, green and blue a part of the photo is, by a card of its own."""

    def __init__(self, spec, columns, views):
        self.card = ModelCard(1, "0", CLASSES, spec, "none", {}, "", views=views)
        self.columns = columns

    def __call__(self, batch):
        means = batch[..., self.columns].mean(axis=(2, 3))
        return 3 * means, means


@pytest.fixture(scope="module")
def locators(tmp_path_factory):
    """Readable photos of many colours, and others that nobody can read."""
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    found = {}
    for number in range(8):
        path = folder / f"{number}.png"
        Image.fromarray(rng.integers(0, 256, (9, 11, 3), dtype=np.uint8)).save(path)
        found[f"good {number}"] = Locator(path)
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.jpg").write_text("this is no photo")
    found["bad empty"] = Locator(folder / "empty.jpg")
    found["bad text"] = Locator(folder / "text.jpg")
    found["bad none"] = None
    return found


KINDS = [f"good {n}" for n in range(8)] + ["bad empty", "bad text", "bad none"]
VIEW_SETS = st.lists(st.sampled_from(list(VIEWS)), min_size=1, max_size=4, unique=True)


def answer(models, shares, photos, batch_size=1, num_workers=0):
    parts = [
        predict(model, Catalog(photos, CLASSES), batch_size=batch_size, num_workers=num_workers)
        for model in models
    ]
    return blend_predictions(parts, shares)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(
    kinds=st.lists(st.sampled_from(KINDS), max_size=10),
    batch_size=st.integers(1, 5),
    num_workers=st.integers(0, 3),
    views=st.lists(VIEW_SETS, min_size=1, max_size=3),
    seed=st.integers(0, 999),
)
def test_every_photo_gets_the_answer_it_gets_alone_in_any_order_and_company(
    locators, kinds, batch_size, num_workers, views, seed
):
    rng = np.random.default_rng(seed)
    photos = tuple(Photo(f"{n}-{kind}", locators[kind]) for n, kind in enumerate(kinds))
    models = [
        PartPredictor(ImageSpec(6 + 2 * n, 9 - n), slice(n, n + 5), tuple(own))
        for n, own in enumerate(views)
    ]
    shares = rng.dirichlet(np.ones(len(models))).tolist()
    alone = {photo.id: answer(models, shares, (photo,)) for photo in photos}
    order = rng.permutation(len(photos)).tolist()
    shuffled = tuple(photos[row] for row in order)
    found = answer(models, shares, shuffled, batch_size, num_workers)
    assert found.ids == tuple(photo.id for photo in shuffled)
    assert len(set(found.ids)) == len(kinds)
    for id_, logits, status in zip(found.ids, found.logits, found.status, strict=True):
        assert alone[id_].ids == (id_,)
        assert status == alone[id_].status[0]
        assert (status == OK) == ("good" in id_)
        np.testing.assert_allclose(logits, alone[id_].logits[0], rtol=1e-5, atol=1e-6)
        assert np.isnan(logits).all() == (status != OK)


def make_predictions(ids, logits, status=None, classes=CLASSES):
    return Predictions(
        tuple(ids), np.array(logits, np.float32), None, tuple(status or [OK] * len(ids)), classes
    )


@given(seed=st.integers(0, 999), num_photos=st.integers(0, 8), num_models=st.integers(1, 4))
def test_photos_are_matched_by_id_and_not_by_row(seed, num_photos, num_models):
    rng = np.random.default_rng(seed)
    ids = [f"{n}.jpg" for n in range(num_photos)]
    table = rng.normal(size=(num_models, num_photos, 3)).astype(np.float32)
    shares = rng.dirichlet(np.ones(num_models)).tolist()
    parts = []
    for own in table:
        order = rng.permutation(num_photos)
        parts.append(make_predictions([ids[row] for row in order], own[order].reshape(-1, 3)))
    found = blend_predictions(parts, shares)
    assert found.ids == parts[0].ids
    expected = blend_logits(list(table), shares)
    rows = [ids.index(id_) for id_ in found.ids]
    np.testing.assert_allclose(found.logits, expected[rows], rtol=1e-6)


def test_a_photo_without_an_answer_of_any_model_has_none():
    nan = [np.nan] * 3
    one = make_predictions("abc", [[1, 2, 3], nan, [3, 2, 1]], [OK, "torn", OK])
    other = make_predictions("cab", [nan, [1, 1, 1], [1, 1, 2]], ["no number", OK, OK])
    found = blend_predictions([one, other], (0.5, 0.5))
    assert found.status == (OK, "torn", "no number")
    assert np.isnan(found.logits).all(axis=1).tolist() == [False, True, True]


@pytest.mark.parametrize(
    "other",
    [
        make_predictions("ab", np.ones((2, 3)), classes=CLASSES[::-1]),
        make_predictions("abc", np.ones((3, 3))),
        make_predictions("ac", np.ones((2, 3))),
    ],
)
def test_answers_that_do_not_belong_together_are_not_blended(other):
    with pytest.raises(ValueError, match=r"same photos and classes|no answer to 1 photos"):
        blend_predictions([make_predictions("ab", np.ones((2, 3))), other], (0.5, 0.5))
