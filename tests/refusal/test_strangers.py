"""Photos of none of a model's classes are met as any others are, and told apart by kind."""

import numpy as np
import pytest
from PIL import Image

from lotlens.answering.predict import predict
from lotlens.drawn.negatives import KINDS
from lotlens.errors import InputError
from lotlens.records import FAMILIARITIES, CarClass, Catalog, ImageSpec, Locator, ModelCard, Photo
from lotlens.refusal.familiarity import measure_familiarity, predict_familiar
from lotlens.refusal.gates import compare_methods, learn_refusal
from lotlens.refusal.strangers import meet_given, meet_known, meet_made, remember_photos
from lotlens.refusal.verdicts import decide

CLASSES = tuple(CarClass(str(k), name) for k, name in enumerate(("Волна", "Heron", "Clover")))


class Grid:
    """Logits from the mean colour; features are the colours of 4 x 4 fields."""

    card = ModelCard(1, "0", CLASSES, ImageSpec(24, 32), "none", {}, "")
    num_streams = 1
    batch_size = 8

    def __call__(self, batch):
        fields = batch.reshape(len(batch), 3, 4, 6, 4, 8).mean(axis=(3, 5))
        features = fields.reshape(len(batch), -1) + 2
        return 3 * batch.mean(axis=(2, 3)), features.astype(np.float32)


@pytest.fixture(scope="module")
def catalog(tmp_path_factory, photo_drawer):
    folder = tmp_path_factory.mktemp("cars")
    photos = []
    for label in range(3):
        for number in range(40):
            path = folder / f"{label}-{number}.png"
            photo_drawer(label, number, (96, 72)).save(path)
            photos.append(Photo(path.name, Locator(path), str(label)))
    return Catalog(tuple(photos), CLASSES)


@pytest.fixture(scope="module")
def halves(catalog):
    return tuple(Catalog(catalog.photos[start::2], CLASSES) for start in (0, 1))


@pytest.fixture(scope="module")
def reference(halves):
    return remember_photos(Grid(), halves[0])


def test_familiarity_is_the_same_by_either_way(halves, reference):
    whole = predict(Grid(), halves[1], keep_features=True)
    expected = measure_familiarity(
        whole.logits, whole.features, (reference,), whole.logits.shape[1]
    )
    direct = predict_familiar(Grid(), (reference,), halves[1])
    known = meet_known(Grid(), reference, halves[1], is_member=False)
    for found in (direct, known):
        np.testing.assert_allclose(found.familiarity, expected, rtol=1e-5)
        np.testing.assert_array_equal(found.logits, whole.logits)
        assert found.features is None
    member = meet_known(Grid(), reference, halves[1], is_member=True)
    assert np.isnan(member.familiarity[:, 0]).all()
    np.testing.assert_allclose(member.familiarity[:, 1:], expected[:, 1:], rtol=1e-5)


def test_energy_is_of_the_plain_view_whatever_views_answer(halves, reference):
    both = predict_familiar(Grid(), (reference,), halves[1], views=("whole", "mirror"))
    plain = predict_familiar(Grid(), (reference,), halves[1])
    np.testing.assert_array_equal(both.familiarity, plain.familiarity)
    assert not np.array_equal(both.logits, plain.logits)


@pytest.mark.parametrize("names", [[], ["gone"]])
def test_no_photo_that_can_be_read_is_no_error(reference, names):
    nothing = Catalog(tuple(Photo(name, None) for name in names), CLASSES)
    found = predict_familiar(Grid(), (reference,), nothing)
    assert found.familiarity.shape == (len(names), len(FAMILIARITIES))
    assert remember_photos(Grid(), nothing) is None


def test_made_pictures_are_sets_by_kind_and_refused(halves, reference):
    known = predict_familiar(Grid(), (reference,), halves[1])
    made = meet_made(Grid(), (reference,), halves[0].photos, seed=0, num_per_kind=8)
    assert [one.name for one in made] == [f"{kind} (made)" for kind in KINDS]
    assert all(len(one.predictions.ids) == 8 and not one.is_given for one in made)
    refusal = learn_refusal(known, halves[1].targets(), 1.0, made)
    assert refusal.gates[0].strangers.count == 8 * len(KINDS)
    place = next(one for one in made if one.name == "empty place (made)")
    kinds = {verdict.kind for verdict in decide(place.predictions, refusal, 1.0)}
    assert kinds <= {"not a car", "unknown", "poor photo"}
    assert len(compare_methods(known, made, 1.0)) == 4 * len(KINDS)


def test_given_photos_must_be_readable(tmp_path, reference):
    Image.new("RGB", (80, 80), "green").save(tmp_path / "a.png")
    own = Catalog((Photo("a", Locator(tmp_path / "a.png")),), ())
    found = meet_given(Grid(), (reference,), own, "unknown")
    assert (found.name, found.is_given, len(found.predictions.ids)) == ("unknown (given)", True, 1)
    with pytest.raises(InputError, match="none of the 1 photos given as 'not a car' can be read"):
        meet_given(Grid(), (reference,), Catalog((Photo("a", None),), ()), "not a car")
