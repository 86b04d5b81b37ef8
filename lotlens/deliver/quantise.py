"""A network with eight-bit layers for ONNX Runtime; it knows ONNX files and batches, not photos.

Static post-training quantisation with a scale for each channel (Krishnamoorthi 2018, "Quantizing
deep convolutional networks for efficient inference"; onnxruntime.quantization), in the form that
both ONNX Runtime and OpenVINO take (QuantizeLinear and DequantizeLinear between the layers). What
rounding the weights adds to each channel's mean is taken off its bias before (Nagel et al. 2019,
"Data-free quantization through weight equalization and bias correction", section 4.2, with means
measured on photos): that alone halves the error (measured, docs/LOG.md).
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from lotlens.answering.engines import INPUT, OUTPUTS, open_onnx, silence_onnxruntime
from lotlens.errors import BundleError
from lotlens.extras import import_extra
from lotlens.records import FloatArray

_DEEPEST = 6
_LARGEST = 127  # of the eight-bit weights, whose zero is zero
_PULL = 0.05
_MOST_FOR_MEANS = 8
_POOLS = "/pools."
"""In the names that torch's exporter gives to the nodes of `Classifier.pools`."""
_WORTH_HALVING = 1024
"""Numbers in a tensor; smaller ones take no room, and may be no weights."""


def quantise(model: bytes, batches: Sequence[FloatArray], *, kept: Sequence[str] = ()) -> bytes:
    """The network with eight-bit weights and activations, a scale for each channel of weights.

    The layers that give the logits are never quantised: they are small, and what they give is
    what is asked for.

    Args:
        model: an ONNX file's bytes, as `vision.engine` exports it.
        batches: prepared photos [N, 3, H, W] of training, which show how large activations become.
        kept: names of further nodes that keep 32 bits, as `rank_groups` gives them.

    Raises:
        BundleError: the network cannot be quantised.
        MissingExtra: onnx is not installed.
    """
    with _workplace(model) as folder:
        _quantise_file(folder, batches, kept)
        return (folder / "quantised.onnx").read_bytes()


def halve(model: bytes) -> bytes:
    """The network with weights of 16 bits, which become 32 when it is loaded: half the file.

    Answers differ by what the weights are rounded by, a few ten-thousandths.

    Args:
        model: an ONNX file's bytes.

    Raises:
        MissingExtra: onnx is not installed.
    """
    onnx = import_extra("onnx", "train")
    network = onnx.load_model_from_string(model)
    nodes, weights = network.graph.node, network.graph.initializer
    kinds = onnx.TensorProto
    for tensor in weights:
        wide = onnx.numpy_helper.to_array(tensor)
        if tensor.data_type != kinds.FLOAT or wide.size < _WORTH_HALVING:
            continue
        name = tensor.name
        cast = onnx.helper.make_node("Cast", [f"{name}.half"], [name], to=kinds.FLOAT)
        tensor.CopyFrom(onnx.numpy_helper.from_array(wide.astype(np.float16), f"{name}.half"))
        nodes.insert(0, cast)
    written: bytes = network.SerializeToString()
    return written


def rank_groups(model: bytes, batches: Sequence[FloatArray]) -> list[tuple[str, ...]]:
    """Groups of neighbouring nodes, those first that are worth most in 32 bits.

    Each group in turn keeps 32 bits, and what that gains is measured by the logits. Single nodes
    cannot be judged alone: one that keeps 32 bits between others that do not, keeps these from
    being joined with the activations behind them, which distorts more than it mends (measured).

    Arguments and errors are those of `quantise`.

    Returns:
        names of nodes, by group; groups that gain nothing are left out.
    """
    expected = _answer(model, batches)

    def measure(kept: Sequence[str]) -> float:
        found = _answer(quantise(model, batches, kept=kept), batches)
        return float(np.abs(found - expected).mean())

    network: Any = import_extra("onnx", "train").load_model_from_string(model)
    plain = measure(())
    gains = [
        (plain - measure(names), names)
        for names in _list_groups([n.name for n in network.graph.node])
    ]
    return [names for gain, names in sorted(gains, key=lambda one: -one[0]) if gain > 0]


def write_metadata(model: bytes, values: dict[str, str]) -> bytes:
    """An ONNX file with these entries among its metadata.

    Raises:
        MissingExtra: onnx is not installed.
    """
    onnx = import_extra("onnx", "train")
    network = onnx.load_model_from_string(model)
    onnx.helper.set_model_props(network, values)
    written: bytes = network.SerializeToString()
    return written


def _answer(model: bytes, batches: Sequence[FloatArray]) -> FloatArray:
    return np.concatenate([logits for logits, _ in open_onnx(model).map(batches)])


def _list_groups(names: Sequence[str]) -> list[tuple[str, ...]]:
    """Names such as "/blocks.1/blocks.1.0/conv/Conv" by their beginnings, in the network's order.

    By as many parts of the name as it takes for no group to hold more than half of all; a name is
    what torch's exporter makes of the module's place in the network.
    """
    groups: dict[str, list[str]] = {}
    for depth in range(1, _DEEPEST):
        groups = {}
        for name in names:
            groups.setdefault("/".join(name.split("/")[: depth + 1]), []).append(name)
        if max(map(len, groups.values())) <= len(names) / 2:
            break
    return [tuple(group) for group in groups.values()]


class _Reader:
    """Batches as onnxruntime's calibration asks for them."""

    def __init__(self, batches: Sequence[FloatArray]) -> None:
        self._left: Iterator[FloatArray] = iter(batches)

    def get_next(self) -> dict[str, FloatArray] | None:
        batch = next(self._left, None)
        return None if batch is None else {INPUT: np.ascontiguousarray(batch)}


@contextmanager
def _workplace(model: bytes) -> Iterator[Path]:
    """A folder with the network, its BatchNorms folded into convolutions, as prepared.onnx."""
    silence_onnxruntime()
    quantization = import_extra("onnxruntime.quantization.shape_inference", "train")
    with tempfile.TemporaryDirectory(prefix="lotlens-") as name, _quiet():
        folder = Path(name)
        (folder / "model.onnx").write_bytes(model)
        try:
            quantization.quant_pre_process(
                folder / "model.onnx", folder / "prepared.onnx", skip_symbolic_shape=True
            )
            yield folder
        except (RuntimeError, ValueError, AssertionError, TypeError) as error:
            raise BundleError(f"the network cannot be quantised: {error}") from error


def _quantise_file(folder: Path, batches: Sequence[FloatArray], kept: Sequence[str]) -> None:
    quantization = import_extra("onnxruntime.quantization", "train")
    plain = folder / "prepared.onnx"
    whole = {*_find_heads(plain), *kept}
    _correct_biases(plain, batches[:_MOST_FOR_MEANS], whole)
    quantization.quantize_static(
        plain,
        folder / "quantised.onnx",
        _Reader(batches),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        activation_type=quantization.QuantType.QUInt8,
        weight_type=quantization.QuantType.QInt8,
        nodes_to_exclude=sorted(whole),
        # A single photo's outlier must not cost all others a part of the 256 levels.
        extra_options={"CalibMovingAverage": True, "CalibMovingAverageConstant": _PULL},
    )


def _correct_biases(path: Path, batches: Sequence[FloatArray], whole: Collection[str]) -> None:
    """Take off each convolution's bias what rounding its weights will add to its channels.

    Those in `whole` are not going to be rounded.
    """
    onnx = import_extra("onnx", "train")
    network = onnx.load(path)
    stored = {one.name: one for one in network.graph.initializer}
    nodes = [
        node
        for node in network.graph.node
        if node.op_type == "Conv"
        and node.name not in whole
        and len(node.input) == 3
        and stored.keys() >= {*node.input[1:]}
    ]
    means = _measure_means(network, sorted({node.input[0] for node in nodes}), batches)
    for node in nodes:
        weights = onnx.numpy_helper.to_array(stored[node.input[1]])
        bias = onnx.numpy_helper.to_array(stored[node.input[2]])
        num_groups = next((int(a.i) for a in node.attribute if a.name == "group"), 1)
        scale = np.abs(weights).max(axis=(1, 2, 3), keepdims=True) / _LARGEST
        steps = np.where(scale > 0, scale, 1)
        away = (np.rint(weights / steps) * steps - weights).sum(axis=(2, 3))  # [out, in a group]
        by_group = means[node.input[0]].reshape(num_groups, -1)
        seen = np.repeat(by_group, len(weights) // num_groups, axis=0)
        corrected = (bias - (away * seen).sum(axis=1)).astype(bias.dtype)
        stored[node.input[2]].CopyFrom(onnx.numpy_helper.from_array(corrected, node.input[2]))
    onnx.save(network, path)


def _measure_means(
    network: Any, names: Sequence[str], batches: Sequence[FloatArray]
) -> dict[str, FloatArray]:
    """The mean of each channel of these tensors [N, C, H, W] over photos and places, [C]."""
    import onnxruntime

    if not names:
        return {}
    onnx = import_extra("onnx", "train")
    shown = onnx.ModelProto()
    shown.CopyFrom(network)
    inner = [name for name in names if name != INPUT]
    for name in inner:
        shown.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    session = onnxruntime.InferenceSession(
        shown.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    means: dict[str, list[FloatArray]] = {name: [] for name in (INPUT, *inner)}
    for batch in batches:
        values = [batch, *(session.run(inner, {INPUT: batch}) if inner else ())]
        for name, value in zip(means, values, strict=True):
            means[name].extend(value.mean(axis=(2, 3)))
    return {name: np.mean(own, axis=0) for name, own in means.items()}


def _find_heads(path: Path) -> list[str]:
    """Names of the nodes from the features to the logits, and of those that pool covariances.

    What takes these is named too. The square root of a covariance lives on small differences.
    """
    network: Any = import_extra("onnx", "train").load(path)
    maker = {output: node for node in network.graph.node for output in node.output}
    heads = [
        node.name
        for node in network.graph.node
        if any(_POOLS in name for name in (node.name, *node.input))
    ]
    left = [OUTPUTS[0]]
    while left:
        node = maker.get(left.pop())
        if node is None or node.op_type in ("Conv", "GlobalAveragePool", "ReduceMean", "Concat"):
            continue
        heads.append(node.name)
        if OUTPUTS[1] not in node.input:
            left.extend(node.input)
    return heads


@contextmanager
def _quiet() -> Iterator[None]:
    """Without onnxruntime's remarks on how a network could be prepared, which it has been."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
