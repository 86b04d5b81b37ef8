"""The stages end in whatever validation says is best, and say which."""

import copy

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from lotlens.answering.temperature import calibrated_losses
from lotlens.errors import InputError
from lotlens.photos.sources import open_lot
from lotlens.recipes.loading import parse_recipe
from lotlens.recipes.schema import Probe
from lotlens.records import OK, ImageSpec
from lotlens.vision import finetune
from lotlens.vision.batches import decode_photos
from lotlens.vision.classifier import build_classifier
from lotlens.vision.probe import compute_features, fit_probe
from lotlens.vision.stages import interpolate, run_stages


def halves(lot):
    catalog = open_lot(lot).train
    ids = sorted(catalog.ids)
    return catalog.select(ids[::2]), catalog.select(ids[1::2])


def log_loss_of(classifier, validation, spec):
    photos = decode_photos(validation, spec)
    with torch.inference_mode():
        logits = [classifier(torch.from_numpy(batch))[0].numpy() for batch in photos.batches(8)]
    return calibrated_losses(np.concatenate(logits), photos.targets).mean()


@pytest.fixture
def spoiling(monkeypatch):
    """Fine-tuning that ends with the head of each class given to the next one.

    A rate too high spoils as well, but what becomes of such weights hangs on a CPU's rounding.
    """
    real = finetune.fine_tune

    def spoil(classifier, *args, **options):
        tuned = real(classifier, *args, **options)
        with torch.no_grad():
            for value in classifier.head.parameters():
                value.copy_(value.roll(1, dims=0))
        return tuned

    monkeypatch.setattr(finetune, "fine_tune", spoil)


def test_the_best_candidate_is_the_result(small_lot, tiny_recipe):
    train, validation = halves(small_lot)
    seen = []
    trained = run_stages(
        parse_recipe(tiny_recipe), train, validation, watch=lambda *step: seen.append(step)
    )
    names = [candidate.name for candidate in trained.candidates]
    between = names[2:]
    assert names[:2] == ["probe", "fine-tuned"]
    assert between == [f"wise-ft {s}" for s in (0.8, 0.6, 0.4, 0.2)][: len(between)]
    # Each further point is tried only because the one before it was better than its neighbour.
    losses = [candidate.log_loss for candidate in trained.candidates[1:]]
    assert losses[:-1] == sorted(losses[:-1], reverse=True)
    assert len(between) == 4 or losses[-1] >= losses[-2]
    best = min(trained.candidates, key=lambda candidate: candidate.log_loss)
    assert trained.chosen == best.name
    # The weights given back are truly those that were judged.
    assert log_loss_of(trained.classifier, validation, trained.spec) == pytest.approx(
        best.log_loss, rel=1e-3, abs=1e-6
    )
    assert [row["epoch"] for row in trained.history] == [1, 2]
    assert set(trained.status.values()) == {OK}
    assert all(p.requires_grad for p in trained.classifier.parameters())
    for what in ("reading training photos", "computing features", "fine-tuning"):
        assert [done for w, done, total in seen if w == what][-1] == [
            total for w, _, total in seen if w == what
        ][-1]


@pytest.mark.parametrize("pooling", ["mean", "covariance"])
def test_other_cars_change_nothing_of_what_tells_the_classes_apart(small_lot, tiny_recipe, pooling):
    train, validation = halves(small_lot)
    recipe = parse_recipe(
        tiny_recipe | {"stages": tiny_recipe["stages"][:1], "pooling": pooling, "feature_levels": 2}
    )
    plain = run_stages(recipe, train, validation).classifier.state_dict()
    others = validation.photos[::2]
    taught = run_stages(recipe, train, validation, others=others).classifier.state_dict()
    num_classes = len(train.classes)
    assert len(taught["head.weight"]) == num_classes + 1
    for key, value in plain.items():
        if key.startswith("head."):
            # Photos stand in other batches, which moves features by a rounding.
            torch.testing.assert_close(taught[key][:num_classes], value, atol=1e-3, rtol=1e-3)
        else:
            assert torch.equal(taught[key], value), key


def test_directions_of_covariances_are_those_of_photos_without_a_probe_too(small_lot, tiny_recipe):
    train, validation = halves(small_lot)
    pooled = tiny_recipe | {"pooling": "covariance", "feature_levels": 2}
    found = [
        run_stages(
            parse_recipe(pooled | {"stages": pooled["stages"][stages]}), train, validation
        ).classifier.pools
        for stages in (slice(0, 1), slice(1, 2))
    ]
    for probed, tuned in zip(*found, strict=True):
        assert torch.equal(probed.directions, tuned.directions)


@pytest.mark.usefixtures("spoiling")
def test_given_weights_are_the_start_and_the_first_candidate(small_lot, tiny_recipe):
    train, validation = halves(small_lot)
    probed = parse_recipe(tiny_recipe | {"stages": tiny_recipe["stages"][:1]})
    start = run_stages(probed, train, validation)
    tuning = parse_recipe(tiny_recipe | {"stages": tiny_recipe["stages"][1:]})
    weights = start.classifier.state_dict()
    trained = run_stages(tuning, train, validation, start=weights)
    first, tuned, *between = trained.candidates
    assert first.name == "start"
    assert first.log_loss == pytest.approx(start.candidates[0].log_loss, rel=1e-3, abs=1e-6)
    assert tuned.name == "fine-tuned"
    assert between[0].name == "wise-ft 0.8"
    # What it ends with is worse by far, so that what was known is not forgotten.
    assert tuned.log_loss > first.log_loss + 0.1
    assert (
        log_loss_of(trained.classifier, validation, trained.spec) <= first.log_loss * 1.001 + 1e-6
    )


@pytest.mark.parametrize("number", [0, 1])
def test_a_photo_counts_as_much_as_its_weight(small_lot, tiny_recipe, number):
    """Photos of one class count next to nothing: it is hardly ever the answer."""
    train, validation = halves(small_lot)
    stage = tiny_recipe["stages"][number]
    if number:
        stage = stage | {"lr": 0.05, "keep_best": False, "ema": 0.0}
    recipe = parse_recipe(tiny_recipe | {"stages": [stage]})
    weights = {photo.id: 1e-6 for photo in train.photos if photo.label == "2"}
    plain = run_stages(recipe, train, validation)
    light = run_stages(recipe, train, validation, photo_weights=weights)
    photos = decode_photos(validation, plain.spec)

    def share(trained):
        with torch.inference_mode():
            logits = [trained.classifier(torch.from_numpy(b))[0] for b in photos.batches(8)]
        return torch.cat(logits).softmax(1)[:, 2].mean()

    assert share(light) < share(plain) - 0.05


def test_weights_of_one_change_nothing(small_lot, tiny_recipe):
    train, validation = halves(small_lot)
    recipe = parse_recipe(tiny_recipe | {"stages": tiny_recipe["stages"][:1]})
    one, other = (
        run_stages(recipe, train, validation, photo_weights=weights).classifier.state_dict()
        for weights in (None, {})
    )
    assert all(torch.allclose(one[key], other[key], atol=1e-5) for key in one)


@pytest.mark.usefixtures("spoiling")
def test_a_fine_tuning_that_spoils_the_model_loses_to_its_probe(small_lot, tiny_recipe):
    train, validation = halves(small_lot)
    trained = run_stages(parse_recipe(tiny_recipe), train, validation)
    by_name = {candidate.name: candidate for candidate in trained.candidates}
    assert by_name["fine-tuned"].log_loss > by_name["probe"].log_loss + 0.1
    assert trained.chosen != "fine-tuned"
    assert by_name[trained.chosen].log_loss <= by_name["probe"].log_loss


@pytest.mark.usefixtures("spoiling")
def test_keep_best_can_be_turned_off(small_lot, tiny_recipe):
    train, validation = halves(small_lot)
    tiny_recipe["stages"][1] |= {"keep_best": False}
    trained = run_stages(parse_recipe(tiny_recipe), train, validation)
    assert trained.chosen == "fine-tuned"
    assert len(trained.candidates) == 1


def test_fine_tuning_without_a_probe(small_lot, tiny_recipe):
    train, validation = halves(small_lot)
    del tiny_recipe["stages"][0]
    trained = run_stages(parse_recipe(tiny_recipe), train, validation)
    assert [candidate.name for candidate in trained.candidates] == ["fine-tuned"]


@pytest.mark.usefixtures("all_cores")
def test_the_same_seed_gives_the_same_weights_whatever_the_file_order(small_lot, tiny_recipe):
    train, validation = halves(small_lot)
    recipe = parse_recipe(tiny_recipe)
    one = run_stages(recipe, train, validation).classifier.state_dict()
    other = run_stages(recipe, train, validation).classifier.state_dict()
    assert all(torch.equal(one[key], other[key]) for key in one)


def test_broken_photos_are_named_and_left_out(spoilt_lot, tiny_recipe):
    train, validation = halves(spoilt_lot)
    del tiny_recipe["stages"][1]
    trained = run_stages(parse_recipe(tiny_recipe), train, validation)
    broken = {id_: status for id_, status in trained.status.items() if status != OK}
    assert list(broken) == ["1003.jpg"]
    assert set(trained.status) == set(train.ids) | set(validation.ids)


def test_a_class_without_a_readable_photo_is_refused(spoilt_lot, tiny_recipe):
    train, validation = halves(spoilt_lot)
    few = [id_ for id_ in validation.ids if not id_.startswith("1") or id_ == "1003.jpg"]
    with pytest.raises(InputError, match=r"no readable training photo of Волна"):
        run_stages(parse_recipe(tiny_recipe), validation.select(few), train)


def test_the_probe_is_scikit_learns_logistic_regression(small_lot, tiny_backbone):
    photos = decode_photos(open_lot(small_lot).train, ImageSpec(48, 64))
    classifier = build_classifier(tiny_backbone, 3)
    fit_probe(classifier, Probe(kind="probe", penalties=(0.3,)), photos, seed=0)
    features, targets = compute_features(classifier, photos, mirror=True)
    assert features.shape == (2 * len(photos.ids), classifier.head.in_features)
    scale = np.sqrt(features.std(0) ** 2 + (0.5 * features.std(0).mean()) ** 2)
    model = LogisticRegression(C=0.3, max_iter=5000, tol=1e-6).fit(features / scale, targets)
    with torch.inference_mode():
        chances = classifier.head(torch.from_numpy(features).float()).softmax(1).numpy()
    np.testing.assert_allclose(chances, model.predict_proba(features / scale), atol=5e-3)


def test_two_classes_get_two_logits(small_lot, tiny_backbone):
    catalog = open_lot(small_lot).train
    two = [photo.id for photo in catalog.photos if photo.label != "2"]
    catalog = catalog.select(two)
    photos = decode_photos(catalog, ImageSpec(48, 64))
    classifier = build_classifier(tiny_backbone, 2)
    fit_probe(classifier, Probe(kind="probe", penalties=(0.3,)), photos, seed=0)
    features, targets = compute_features(classifier, photos, mirror=False)
    with torch.inference_mode():
        logits = classifier.head(torch.from_numpy(features).float())
    assert float((logits.argmax(1).numpy() == targets).mean()) > 0.9
    torch.testing.assert_close(logits.sum(1), torch.zeros(len(targets)), atol=1e-3, rtol=0)


def test_mirrored_features_come_after_the_plain_ones(small_lot, tiny_backbone):
    photos = decode_photos(open_lot(small_lot).train, ImageSpec(48, 64))
    classifier = build_classifier(tiny_backbone, 3)
    both, targets = compute_features(classifier, photos, mirror=True)
    plain, _ = compute_features(classifier, photos, mirror=False)
    half = len(photos.ids)
    np.testing.assert_allclose(both[:half], plain)
    assert not np.allclose(both[half:], plain)
    np.testing.assert_array_equal(targets[:half], targets[half:])


def test_interpolation_meets_both_ends(tiny_backbone):
    start = build_classifier(tiny_backbone, 3).state_dict()
    end = copy.deepcopy(start)
    for value in end.values():
        value.add_(1)
    for share, expected in ((0.0, start), (1.0, end)):
        between = interpolate(start, end, share)
        for key, value in expected.items():
            if value.is_floating_point():
                torch.testing.assert_close(between[key], value)
    half = interpolate(start, end, 0.5)
    torch.testing.assert_close(half["head.bias"], start["head.bias"] + 0.5)
