"""Eight bits where they are asked for, nowhere else, and what they cost is measured."""

import numpy as np
import onnx
import pytest

from lotlens.answering.engines import open_onnx
from lotlens.deliver import quantise as quantise_module
from lotlens.deliver.quantise import quantise, rank_groups, write_metadata


@pytest.fixture(scope="module")
def network(tiny_backbone):
    import torch

    from lotlens.vision.classifier import build_classifier
    from lotlens.vision.engine import export_onnx

    with torch.random.fork_rng():
        torch.manual_seed(3)
        classifier = build_classifier(tiny_backbone, 3, num_levels=2)
    rng = np.random.default_rng(0)
    classifier.set_head(rng.standard_normal((3, classifier.head.in_features)), np.zeros(3))
    with torch.no_grad():
        # One channel far above the others leaves them few of the 256 levels: here eight bits hurt.
        norms = [m for n, m in classifier.named_modules() if n.startswith("backbone.blocks.2")]
        next(m for m in norms if isinstance(m, torch.nn.BatchNorm2d)).bias[0] = 300
    return export_onnx(classifier, 48, 64)


@pytest.fixture(scope="module")
def batches():
    rng = np.random.default_rng(0)
    return [rng.standard_normal((4, 3, 48, 64), dtype=np.float32) for _ in range(3)]


def answer(model, batches):
    engine = open_onnx(model)
    logits, features = zip(*map(engine, batches), strict=True)
    return np.concatenate(logits), np.concatenate(features)


def list_quantised(model):
    """Names of the convolutions and products whose weights have eight bits."""
    graph = onnx.load_model_from_string(model).graph
    made_by = {output: node for node in graph.node for output in node.output}
    layers = [node for node in graph.node if node.op_type in ("Conv", "Gemm", "MatMul")]
    names = {node.name: made_by.get(node.input[1]) for node in layers}
    return {
        name for name, maker in names.items() if maker and maker.op_type == "DequantizeLinear"
    }, set(names)


def test_all_layers_but_the_head_have_eight_bits(network, batches):
    found, layers = list_quantised(quantise(network, batches))
    assert layers - found == {"/head/Gemm"}
    assert len(found) > 10


def test_what_pools_covariances_keeps_its_bits(tiny_backbone, batches):
    from lotlens.vision.classifier import build_classifier
    from lotlens.vision.engine import export_onnx

    classifier = build_classifier(tiny_backbone, 3, num_levels=3, pooling="covariance")
    rng = np.random.default_rng(0)
    classifier.set_head(rng.standard_normal(classifier.head.weight.shape), np.zeros(3))
    plain = export_onnx(classifier, 48, 64)
    eight = quantise(plain, batches)
    found, layers = list_quantised(eight)
    pooling = {name for name in layers if "/pools." in name}
    assert len(pooling) > 2 * 5
    assert layers - found == pooling | {"/head/Gemm"}
    made = [
        node for node in onnx.load_model_from_string(eight).graph.node if "/pools." in node.name
    ]
    assert "QuantizeLinear" not in {node.op_type for node in made}
    logits, wide = answer(eight, batches)[0], answer(plain, batches)[0]
    assert np.abs(logits - wide).mean() < 0.1 * wide.std()


def test_weights_have_a_scale_for_each_channel(network, batches):
    graph = onnx.load_model_from_string(quantise(network, batches)).graph
    shapes = {one.name: tuple(one.dims) for one in graph.initializer}
    scales = [
        shapes[node.input[1]]
        for node in graph.node
        if node.op_type == "DequantizeLinear" and len(shapes.get(node.input[0], ())) == 4
    ]
    assert scales
    assert all(len(shape) == 1 and shape[0] > 1 for shape in scales)


def test_answers_are_near_and_nearer_with_more_bits(network, batches):
    expected, expected_features = answer(network, batches)
    logits, features = answer(quantise(network, batches), batches)
    assert logits.shape == expected.shape
    assert features.shape == expected_features.shape
    error = np.abs(logits - expected).mean()
    assert 0 < error < np.abs(expected).mean()
    nodes = [node.name for node in onnx.load_model_from_string(network).graph.node]
    whole = answer(quantise(network, batches, kept=nodes), batches)[0]
    assert np.abs(whole - expected).mean() < 0.01 * error


def test_rounded_weights_shift_no_channels_mean(network, batches, monkeypatch):
    expected = answer(network, batches)[1]

    def measure():
        found = answer(quantise(network, batches), batches)[1]
        return np.abs(found.mean(axis=0) - expected.mean(axis=0)).mean()

    corrected = measure()
    monkeypatch.setattr(quantise_module, "_correct_biases", lambda *_: None)
    assert corrected < 0.8 * measure()


def test_kept_nodes_keep_their_bits(network, batches):
    _, layers = list_quantised(network)
    kept = sorted(layers)[:3]
    found, _ = list_quantised(quantise(network, batches, kept=kept))
    assert found.isdisjoint(kept)
    assert len(found) > 5


def test_groups_are_ranked_by_what_they_gain(network, batches):
    expected = answer(network, batches)[0]
    plain = np.abs(answer(quantise(network, batches), batches)[0] - expected).mean()
    ranked = rank_groups(network, batches)
    assert ranked
    names = [name for group in ranked for name in group]
    assert len(names) == len(set(names))
    errors = [
        np.abs(answer(quantise(network, batches, kept=group), batches)[0] - expected).mean()
        for group in ranked
    ]
    assert errors == sorted(errors)
    assert max(errors) < plain
    assert errors[0] < 0.9 * plain


def test_metadata_change_no_answer(network, batches):
    written = write_metadata(network, {"lotlens": '{"имя": "Нива"}'})
    entries = onnx.load_model_from_string(written).metadata_props
    assert {entry.key: entry.value for entry in entries} == {"lotlens": '{"имя": "Нива"}'}
    for one, other in zip(answer(network, batches), answer(written, batches), strict=True):
        np.testing.assert_array_equal(one, other)
