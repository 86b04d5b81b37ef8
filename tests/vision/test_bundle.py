"""A bundle gives back the same answers, or says why it does not."""

import hashlib
import json
import pickle
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lotlens.errors import BundleError
from lotlens.recipes.schema import Head
from lotlens.records import CarClass, ImageSpec, ModelCard, Predictor
from lotlens.run import FORMAT_VERSION, RunFolder
from lotlens.vision.bundle import load_bundle, save_bundle
from lotlens.vision.classifier import Ensemble, build_classifier
from lotlens.vision.predictor import ClassifierPredictor
from tests.forks import fork


def make_card(backbone):
    return ModelCard(
        format_version=FORMAT_VERSION,
        lotlens_version="0",
        classes=tuple(CarClass(str(k), f"model {k}") for k in range(3)),
        image=ImageSpec(48, 64),
        backbone=backbone,
        recipe={},
        fingerprint="",
    )


@pytest.fixture
def saved(tmp_path, tiny_backbone):
    classifier = build_classifier(tiny_backbone, 3)
    rng = np.random.default_rng(0)
    classifier.set_head(rng.standard_normal((3, 256)), rng.standard_normal(3))
    run = RunFolder.create(tmp_path / "run")
    save_bundle(run, classifier.eval(), make_card(tiny_backbone))
    return run, classifier


def test_the_same_answers_come_back(saved):
    run, classifier = saved
    loaded, card = load_bundle(run)
    photos = torch.rand(4, 3, 48, 64)
    with torch.inference_mode():
        for got, expected in zip(loaded(photos), classifier(photos), strict=True):
            torch.testing.assert_close(got, expected)
    assert card.weights_sha256 == hashlib.sha256(run.weights_path.read_bytes()).hexdigest()
    assert not loaded.training


@pytest.mark.parametrize("kind", ["linear", "dense", "cosine"])
def test_every_head_comes_back(tmp_path, tiny_backbone, kind):
    head = Head(kind=kind, units=20, dropout=0.4, scale=9)
    classifier = build_classifier(tiny_backbone, 3, num_levels=2, head=head, seed=4)
    classifier(torch.rand(8, 3, 48, 64))  # moves the BatchNorms' statistics
    run = RunFolder.create(tmp_path / "run")
    card = replace(make_card(tiny_backbone), feature_levels=2)
    returned = save_bundle(run, classifier.eval(), card)
    loaded, card = load_bundle(run)
    assert card == returned
    assert card.head == head.model_dump()
    assert loaded.head_shape == head
    photos = torch.rand(4, 3, 48, 64)
    with torch.inference_mode():
        for got, expected in zip(loaded(photos), classifier(photos), strict=True):
            torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("num_members", [1, 2])
def test_pooled_covariances_come_back(tmp_path, tiny_backbone, num_members):
    members = [
        build_classifier(tiny_backbone, 3, num_levels=2, pooling="covariance", seed=seed)
        for seed in range(num_members)
    ]
    rng = np.random.default_rng(0)
    for one in members:
        one.fit_pooling(iter([rng.standard_normal((4, 3, 48, 64), dtype=np.float32)]))
        one.set_head(rng.standard_normal(one.head.weight.shape), rng.standard_normal(3))
    network = Ensemble(members) if num_members > 1 else members[0]
    run = RunFolder.create(tmp_path / "run")
    card = replace(make_card(tiny_backbone), feature_levels=2, pooling="covariance")
    save_bundle(run, network.eval(), card)
    loaded, card = load_bundle(run)
    assert card.pooling == "covariance"
    photos = torch.rand(4, 3, 48, 64)
    with torch.inference_mode():
        for got, expected in zip(loaded(photos), network(photos), strict=True):
            assert torch.equal(got, expected)
    # The same weights under a card that says otherwise.
    values = json.loads(run.card_path.read_text("utf-8"))
    run.card_path.write_text(json.dumps(values | {"pooling": "mean"}), "utf-8")
    with pytest.raises(BundleError, match="does not fit"):
        load_bundle(run)
    run.card_path.write_text(json.dumps(values | {"pooling": "best"}), "utf-8")
    with pytest.raises(BundleError, match="damaged: pooling"):
        load_bundle(run)


def test_bundles_from_before_there_were_other_heads_still_load(saved):
    run, classifier = saved
    values = json.loads(run.card_path.read_text("utf-8"))
    del values["head"]
    run.card_path.write_text(json.dumps(values), "utf-8")
    loaded, card = load_bundle(run)
    assert card.head == {"kind": "linear"}
    assert torch.equal(loaded.head.weight, classifier.head.weight)


@pytest.mark.parametrize("head", [None, 5, []])
def test_heads_that_are_none_are_refused(saved, head):
    run, _ = saved
    values = json.loads(run.card_path.read_text("utf-8"))
    run.card_path.write_text(json.dumps(values | {"head": head}), "utf-8")
    with pytest.raises(BundleError, match="damaged: head"):
        load_bundle(run)


@pytest.mark.parametrize("head", [{"kind": "quantum"}, {"units": 10**9}, {"new": 1}])
def test_heads_that_are_not_known_are_refused(saved, head):
    run, _ = saved
    values = json.loads(run.card_path.read_text("utf-8"))
    run.card_path.write_text(json.dumps(values | {"head": head}), "utf-8")
    with pytest.raises(BundleError, match="describes a head"):
        load_bundle(run)


def test_own_weights_files_are_not_needed_again(tiny_backbone, tmp_path):
    name, _, shared = tiny_backbone.partition("@")
    own = Path(shutil.copy(shared, tmp_path / "own.safetensors"))
    backbone = f"{name}@{own}"
    run = RunFolder.create(tmp_path / "run")
    save_bundle(run, build_classifier(backbone, 3).eval(), make_card(backbone))
    own.unlink()
    _, card = load_bundle(run)
    assert card.backbone == backbone


@pytest.mark.parametrize("damage", [b"", b"junk", pickle.dumps({"a": 1})])
def test_other_weights_are_refused_before_they_are_read(saved, damage):
    run, _ = saved
    run.weights_path.write_bytes(damage)
    with pytest.raises(BundleError, match="SHA-256"):
        load_bundle(run)


def test_weights_of_another_shape_are_refused(saved, tmp_path, tiny_backbone):
    run, _ = saved
    other = RunFolder.create(tmp_path / "other")
    card = save_bundle(other, build_classifier(tiny_backbone, 5), make_card(tiny_backbone))
    run.weights_path.write_bytes(other.weights_path.read_bytes())
    run.write_card(card)
    with pytest.raises(BundleError, match=r"does not fit backbone .* linear head"):
        load_bundle(run)


def test_missing_weights(saved):
    run, _ = saved
    run.weights_path.unlink()
    with pytest.raises(BundleError, match="cannot read"):
        load_bundle(run)


def test_the_predictor_is_a_predictor_and_agrees(saved):
    run, classifier = saved
    loaded, card = load_bundle(run)
    photos = np.random.default_rng(3).standard_normal((5, 3, 48, 64), dtype=np.float32)
    with torch.inference_mode():
        expected = classifier(torch.from_numpy(photos))[0].numpy()
    for num_photos in (1, 5000):
        predictor: Predictor = ClassifierPredictor(loaded, card, num_photos=num_photos)
        assert predictor.card is card
        np.testing.assert_allclose(predictor(photos)[0], expected, rtol=1e-3, atol=1e-4)


KILLED = """
import sys
from pathlib import Path
import torch
from lotlens.records import ModelCard
from lotlens.run import RunFolder
from lotlens.vision.bundle import load_bundle, save_bundle

run = RunFolder(Path(sys.argv[1]))
classifier, card = load_bundle(run)
print("ready", flush=True)
while True:
    with torch.no_grad():
        classifier.head.bias.add_(1)
    save_bundle(run, classifier, card)
"""


@pytest.mark.parametrize("wait_s", [0.05, 0.21, 0.4])
def test_a_kill_while_saving_leaves_whole_files(saved, tmp_path, wait_s):
    run, _ = saved
    process = fork(KILLED, run.path, said_path=tmp_path / "said")
    while "ready" not in process.said and process.poll() is None:
        time.sleep(0.005)
    time.sleep(wait_s)
    assert process.kill() == -signal.SIGKILL, process.said
    # Each file is whole: the weights parse, and the card reads.
    assert "head.bias" in load_file(run.weights_path)
    card = run.read_card()
    # Killed between the two renames, the card vouches for other weights, and that is found out.
    if hashlib.sha256(run.weights_path.read_bytes()).hexdigest() == card.weights_sha256:
        load_bundle(run)
    else:
        with pytest.raises(BundleError, match="SHA-256"):
            load_bundle(run)


@pytest.fixture
def saved_ensemble(tmp_path, tiny_backbone):
    members = []
    for seed in range(3):
        member = build_classifier(tiny_backbone, 3)
        rng = np.random.default_rng(seed)
        member.set_head(rng.standard_normal((3, 256)), rng.standard_normal(3))
        members.append(member.eval())
    run = RunFolder.create(tmp_path / "ensemble")
    save_bundle(run, Ensemble(members), make_card(tiny_backbone))
    return run, members


def test_an_ensemble_comes_back_with_all_its_members(saved_ensemble):
    run, members = saved_ensemble
    loaded, card = load_bundle(run)
    assert card.members == 3
    photos = torch.rand(4, 3, 48, 64)
    with torch.inference_mode():
        logits, features = loaded(photos)
        own = [member(photos) for member in members]
    expected = torch.stack([each.log_softmax(1) for each, _ in own]).mean(0)
    torch.testing.assert_close(logits, expected)
    torch.testing.assert_close(features, torch.cat([each for _, each in own], 1))


def test_an_ensemble_answers_alike_through_the_fast_engine(saved_ensemble, caplog):
    run, _ = saved_ensemble
    loaded, card = load_bundle(run)
    batch = np.random.default_rng(0).standard_normal((4, 3, 48, 64), dtype=np.float32)
    with caplog.at_level("INFO"):
        fast = ClassifierPredictor(loaded, card, num_photos=1000)(batch)
    assert not caplog.records  # the export failed, if there is one
    for got, expected in zip(fast, ClassifierPredictor(loaded, card)(batch), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("members", [0, -1, 51, 10**9, "2", 2.5, None])
def test_impossible_numbers_of_members_are_refused_before_they_are_built(saved, members):
    run, _ = saved
    values = json.loads(run.card_path.read_text())
    run.card_path.write_text(json.dumps({**values, "members": members}))
    with pytest.raises(BundleError, match="members"):
        load_bundle(run)


def test_another_number_of_members_than_the_weights_hold_is_refused(saved_ensemble):
    run, _ = saved_ensemble
    values = json.loads(run.card_path.read_text())
    run.card_path.write_text(json.dumps({**values, "members": 2}))
    with pytest.raises(BundleError, match="does not fit"):
        load_bundle(run)
