import numpy as np
import pytest

from lotlens.market.claims import find_class, fuse_listing, judge_claim
from lotlens.market.listings import Listing
from lotlens.records import OK, CarClass, Predictions

CLASSES = (CarClass("0", "Lada 2114"), CarClass("1", "Lada 2109"), CarClass("2", "Niva"))


def answer(*chances):
    """Predictions of which softmax gives these probabilities."""
    logits = np.log(np.array(chances, np.float32))
    ids = tuple(str(n) for n in range(len(chances)))
    return Predictions(ids, logits, None, (OK,) * len(ids), CLASSES)


def claim(*chances, kinds=None, car="Lada 2114"):
    make, _, model = car.partition(" ")
    row = Listing(1, "1", make=make, model=model)
    photos = range(len(chances))
    return judge_claim(row, answer(*chances), photos, kinds or ["model"] * len(chances))


LIKE_2114, LIKE_2109, UNSURE = (0.97, 0.02, 0.01), (0.01, 0.98, 0.01), (0.5, 0.49, 0.01)


def test_photos_confirm_contradict_or_leave_open():
    assert claim(LIKE_2114).verdict == "confirmed"
    wrong = claim(LIKE_2109)
    assert (wrong.verdict, wrong.seen.name, wrong.claimed.name) == (
        "contradicted", "Lada 2109", "Lada 2114",
    )  # fmt: skip
    assert wrong.probability == pytest.approx(0.98, abs=1e-3)
    pair = claim(UNSURE)
    assert (pair.verdict, pair.why) == ("open", "not sure")
    assert claim(LIKE_2114, LIKE_2109).verdict == "open"
    strange = claim(LIKE_2114, car="Toyota Camry")
    assert (strange.verdict, strange.why, strange.seen.name) == ("open", "not learnt", "Lada 2114")


def test_photos_that_say_nothing_are_set_aside_and_named():
    found = claim(LIKE_2109, LIKE_2114, kinds=["not a car", "model"])
    assert (found.verdict, found.set_aside) == ("confirmed", {0: "shows no car"})
    none = claim(LIKE_2109, kinds=["poor photo"])
    assert (none.verdict, none.why, none.set_aside) == (
        "open", "no usable photo", {0: "too poor"},
    )  # fmt: skip
    assert judge_claim(Listing(1, "1"), answer(UNSURE), [], ["model"]).why == "no photos"


def test_one_photo_of_another_car_among_three_is_set_aside():
    found = claim(LIKE_2114, LIKE_2109, LIKE_2114)
    assert (found.verdict, found.set_aside) == ("confirmed", {1: "shows another car"})


def test_fusing_agrees_with_one_photo_and_gains_from_more():
    one = np.exp(fuse_listing(answer(UNSURE), [0]))
    assert one == pytest.approx(UNSURE, abs=1e-6)
    likely = (0.7, 0.2, 0.1)
    many = np.exp(fuse_listing(answer(likely, likely, likely, likely), range(4)))
    assert many.sum() == pytest.approx(1)
    assert 0.7 < many[0] < 0.99  # four photos of one car are worth two of four cars
    expected = np.square(likely) / np.square(likely).sum()
    assert many == pytest.approx(expected, abs=1e-6)
    hot = np.exp(fuse_listing(answer(likely), [0], temperature=2.0))
    assert hot[0] < 0.7


@pytest.mark.parametrize(
    ("make", "model", "title", "found"),
    [
        ("Lada", "2114", "", 0),
        ("LADA", "2114 Samara", "", 0),
        ("", "lada 2109", "", 1),
        ("Lada", "Niva", "", 2),
        ("", "", "Lada 2114, 2008", 0),
        ("Lada", "21140", "", None),
        ("Toyota", "Camry", "Toyota Camry", None),
        ("", "", "", None),
    ],
)
def test_which_class_an_advert_claims(make, model, title, found):
    assert find_class(Listing(1, "1", title=title, make=make, model=model), CLASSES) == found


def test_a_car_that_may_be_another_confirms_nothing():
    row = Listing(1, "1", make="Lada", model="2114")
    predictions, kinds = answer(LIKE_2114, LIKE_2114), ["model"] * 2
    sure, doubted = (
        judge_claim(row, predictions, [0, 1], kinds, known=known)
        for known in ([1.0, 1.0], [0.7, 0.7])
    )
    assert (sure.verdict, doubted.verdict, doubted.why) == ("confirmed", "open", "not sure")
    assert doubted.probability == pytest.approx(0.7 * sure.probability)
    wrong = judge_claim(row, answer(LIKE_2109), [0], ["model"], known=[0.5])
    assert wrong.verdict == "open"


def test_more_photos_of_cars_not_learnt_than_of_learnt_ones_leave_it_open():
    kinds = ["unknown", "unknown", "model"]
    found = claim(LIKE_2109, LIKE_2109, LIKE_2109, kinds=kinds)
    assert (found.verdict, found.why) == ("open", "no usable photo")
    fewer = claim(LIKE_2109, LIKE_2114, LIKE_2114, kinds=["unknown", "model", "model"])
    assert fewer.verdict == "confirmed"
