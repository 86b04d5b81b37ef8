"""Whatever engine answers, it answers as torch does."""

import logging

import numpy as np
import pytest
import torch
from joblib import cpu_count

from lotlens.answering.engines import Engine
from lotlens.vision import engine as engine_module
from lotlens.vision.classifier import build_classifier
from lotlens.vision.engine import build_engine, tune_process


@pytest.fixture
def classifier(tiny_backbone):
    model = build_classifier(tiny_backbone, 3)
    rng = np.random.default_rng(1)
    model.set_head(rng.standard_normal((3, model.head.in_features)), rng.standard_normal(3))
    return model


@pytest.mark.parametrize("num_photos", [1, 100_000])
@pytest.mark.parametrize("batch", [1, 2, 7])
def test_answers_are_those_of_the_classifier(classifier, num_photos, batch):
    engine = build_engine(classifier, 48, 64, num_photos=num_photos)
    photos = np.random.default_rng(2).standard_normal((batch, 3, 48, 64), dtype=np.float32)
    logits, features = engine(photos)
    with torch.inference_mode():
        expected_logits, expected_features = classifier(torch.from_numpy(photos))
    np.testing.assert_allclose(logits, expected_logits, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(features, expected_features, rtol=1e-3, atol=1e-4)
    assert logits.dtype == features.dtype == np.float32


@pytest.mark.usefixtures("all_cores")
def test_many_photos_are_worth_an_export(classifier, monkeypatch, caplog):
    made = []
    real = engine_module.open_onnx

    def note(model, *, num_streams):
        made.append(real(model, num_streams=num_streams))
        return made[-1]

    monkeypatch.setattr(engine_module, "open_onnx", note)
    build_engine(classifier, 48, 64, num_photos=10)
    assert not made
    with caplog.at_level(logging.INFO, logger="lotlens.vision.engine"):
        engine = build_engine(classifier, 48, 64, num_photos=10_000)
    # The fallback answers alike, only slower: nobody would notice that the export fails.
    assert made == [engine]
    assert engine.num_streams == cpu_count()
    assert not caplog.text


def test_an_export_that_answers_otherwise_is_not_used(classifier, monkeypatch, caplog):
    real = engine_module.open_onnx

    def lie(model, *, num_streams):
        engine = real(model, num_streams=num_streams)
        return Engine(lambda batch: tuple(values + 0.1 for values in engine(batch)))

    monkeypatch.setattr(engine_module, "open_onnx", lie)
    with caplog.at_level(logging.INFO, logger="lotlens.vision.engine"):
        engine = build_engine(classifier, 48, 64, num_photos=10_000)
    assert "answering with torch" in caplog.text
    photos = np.zeros((1, 3, 48, 64), np.float32)
    with torch.inference_mode():
        np.testing.assert_allclose(engine(photos)[0], classifier(torch.from_numpy(photos))[0])


def test_dropout_and_training_mode_do_not_reach_the_answers(classifier):
    classifier.dropout.p = 0.9
    classifier.train()
    engine = build_engine(classifier, 48, 64, num_photos=1)
    photos = np.ones((3, 3, 48, 64), np.float32)
    np.testing.assert_array_equal(engine(photos)[0], engine(photos)[0])


@pytest.mark.usefixtures("all_cores")
def test_threads_are_the_cores_there_are():
    tune_process()
    assert torch.get_num_threads() == cpu_count()
