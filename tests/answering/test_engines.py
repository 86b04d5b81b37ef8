"""Both engines answer alike, from one thread or many; what is no network of ours is refused."""

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest

from lotlens.answering.engines import Engine, convert_to_openvino, open_onnx, open_openvino
from lotlens.errors import BundleError, MissingExtra


@pytest.fixture(scope="module")
def network(tiny_backbone):
    from lotlens.vision.classifier import build_classifier
    from lotlens.vision.engine import export_onnx

    return export_onnx(build_classifier(tiny_backbone, 3), 48, 64)


def open_with(name, network, **options):
    if name == "onnx":
        return open_onnx(network, **options)
    pytest.importorskip("openvino")
    return open_openvino(*convert_to_openvino(network, {"lotlens": "{}"}), **options)


@pytest.mark.parametrize("name", ["onnx", "openvino"])
@pytest.mark.parametrize("num_streams", [1, 3])
def test_many_threads_get_the_answers_of_one(network, name, num_streams):
    engine = open_with(name, network, num_streams=num_streams)
    assert engine.num_streams == num_streams
    rng = np.random.default_rng(0)
    batches = [rng.standard_normal((n % 4 + 1, 3, 48, 64), dtype=np.float32) for n in range(24)]
    expected = [open_onnx(network)(batch) for batch in batches]
    with ThreadPoolExecutor(num_streams) as pool:
        found = list(pool.map(engine, batches))
    for one, other in zip(found, expected, strict=True):
        for values, others in zip(one, other, strict=True):
            assert values.dtype == np.float32
            np.testing.assert_allclose(values, others, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("num_streams", [1, 3])
def test_many_batches_come_back_in_order_and_none_runs_ahead(num_streams):
    taken, threads = [], set()

    def answer(batch):
        threads.add(threading.get_ident())
        time.sleep(0.02 if batch[0] % 3 == 0 else 0.001)
        return batch, 2 * batch

    def give():
        for number in range(60):
            taken.append(number)
            yield np.array([number], np.float32)

    found = Engine(answer, num_streams).map(give())
    assert next(found)[0] == 0
    assert len(taken) < 40
    assert [int(two[0]) for _, two in found] == [2 * number for number in range(1, 60)]
    assert len(threads) == num_streams


@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_batches_need_not_lie_in_order(network, name):
    engine = open_with(name, network)
    batch = np.random.default_rng(1).standard_normal((2, 48, 64, 3)).astype(np.float32)
    turned = batch.transpose(0, 3, 1, 2)
    for one, other in zip(engine(turned), engine(turned.copy(order="C")), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("opened", [open_onnx, lambda data: open_openvino(data, b"")])
def test_what_is_no_network_is_refused(opened):
    pytest.importorskip("openvino")
    with pytest.raises(BundleError, match="cannot use the network"):
        opened(b"no network")


def test_a_network_of_others_is_refused(network):
    other = onnx.load_model_from_string(network)
    other.graph.input[0].name = "image"
    for node in other.graph.node:
        node.input[:] = ["image" if name == "photos" else name for name in node.input]
    with pytest.raises(BundleError, match="not exported by lotlens"):
        open_onnx(other.SerializeToString())


@pytest.mark.parametrize(
    "head", [b"<!DOCTYPE a [", b'<!doctype a SYSTEM "/etc/passwd">', b"<! ENTITY"]
)
def test_xml_that_may_lead_to_other_files_is_refused(network, head):
    pytest.importorskip("openvino")
    model, weights = convert_to_openvino(network, {})
    first, _, rest = model.partition(b"?>")
    with pytest.raises(BundleError, match="entities"):
        open_openvino(first + b"?>" + head + rest, weights)


def test_networks_in_another_form_are_not_taken_for_xml(network):
    pytest.importorskip("openvino")
    for data in (network, b"\xff\xfe<\0?\0", b"", b"<html>"):
        with pytest.raises(BundleError, match="no XML file"):
            open_openvino(data, b"")


def test_openvino_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(MissingExtra, match=r"pip install .*\[openvino\]"):
        open_openvino(b"", b"")


def test_onnxruntime_is_told_to_report_to_nobody():
    code = "import os; from lotlens.answering.engines import open_onnx\n"
    code += "try: open_onnx(b'')\nexcept Exception: print(os.environ['ORT_DISABLE_TELEMETRY'])"
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "1"
