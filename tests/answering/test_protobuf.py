"""A network that leads to other files is refused, wherever in it that is said."""

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

from lotlens.answering import protobuf
from lotlens.answering.engines import open_onnx
from lotlens.answering.protobuf import check_self_contained
from lotlens.errors import BundleError


def make_tensor(path="", name="one"):
    """A tensor with its numbers in it, or in a file."""
    tensor = helper.make_tensor(
        name, TensorProto.FLOAT, [3], np.ones(3, np.float32).tobytes(), raw=True
    )
    if path:
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=path)
    return tensor


def make_sparse(path="", *, is_index=False):
    values, indices = make_tensor("" if is_index else path), make_tensor(path if is_index else "")
    return helper.make_sparse_tensor(values, indices, [5])


def make_graph(nodes=(), **parts):
    output = helper.make_tensor_value_info("out", TensorProto.FLOAT, None)
    return helper.make_graph([*nodes], "graph", [], [output], **parts)


def make_constant(**attribute):
    return helper.make_node("Constant", [], ["out"], **attribute)


def make_if(graph):
    return helper.make_node("If", ["c"], ["out"], then_branch=graph, else_branch=make_graph())


def wrap(graph, **parts):
    model = helper.make_model(graph)
    model.MergeFrom(onnx.ModelProto(**parts))
    return model


def place(where, path):
    """A model with a tensor somewhere."""
    tensor = make_tensor(path)
    deep = make_graph([make_constant(value=tensor)])
    if where == "initializer":
        return wrap(make_graph(initializer=[tensor]))
    if where in ("sparse values", "sparse indices"):
        sparse = make_sparse(path, is_index=where == "sparse indices")
        return wrap(make_graph(sparse_initializer=[sparse]))
    if where == "attribute":
        return wrap(make_graph([make_constant(value=tensor)]))
    if where == "sparse attribute":
        return wrap(make_graph([make_constant(sparse_value=make_sparse(path))]))
    if where == "list of tensors":
        node = make_constant()
        node.attribute.add(name="many", type=onnx.AttributeProto.TENSORS, tensors=[tensor])
        return wrap(make_graph([node]))
    if where == "subgraph":
        return wrap(make_graph([make_if(make_graph(initializer=[tensor]))]))
    if where == "subgraph of a subgraph":
        return wrap(make_graph([make_if(make_graph([make_if(deep)]))]))
    if where == "function":
        function = onnx.FunctionProto(name="f", node=[make_if(deep)])
        return wrap(make_graph(), functions=[function])
    if where == "default of a function":
        attribute = helper.make_attribute("a", tensor)
        return wrap(make_graph(), functions=[onnx.FunctionProto(attribute_proto=[attribute])])
    training = onnx.TrainingInfoProto(**{where: deep})
    return wrap(make_graph(), training_info=[training])


PLACES = [
    *("initializer", "sparse values", "sparse indices", "attribute", "sparse attribute"),
    *("list of tensors", "subgraph", "subgraph of a subgraph", "function"),
    *("default of a function", "initialization", "algorithm"),
]


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize(
    "path", ["weights.bin", "/etc/passwd", "../secret", "*/_ORT_MEM_ADDR_/*", "sub/weights.bin"]
)
def test_networks_with_numbers_elsewhere_are_refused(where, path):
    check_self_contained(place(where, "").SerializeToString())
    data = place(where, path).SerializeToString()
    with pytest.raises(ValueError, match="in another file"):
        check_self_contained(data)
    with pytest.raises(BundleError, match="in another file"):
        open_onnx(data)


@pytest.mark.parametrize("field", ["external_data", "data_location"])
def test_either_sign_of_it_will_do(field):
    model = place("initializer", "a.bin")
    model.graph.initializer[0].ClearField(field)
    with pytest.raises(ValueError, match="in another file"):
        check_self_contained(model.SerializeToString())


def test_numbers_that_lie_in_a_real_file_are_refused_from_wherever_they_are_asked(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.bin").write_bytes(np.ones(3, np.float32).tobytes())
    with pytest.raises(BundleError, match="in another file"):
        open_onnx(place("initializer", "weights.bin").SerializeToString())


def test_every_way_to_a_tensor_is_walked():
    """ONNX's own description of its files has no field that leads to a tensor but those known."""
    kinds = {
        "ModelProto": protobuf._MODEL,
        "GraphProto": protobuf._GRAPH,
        "NodeProto": protobuf._NODE,
        "AttributeProto": protobuf._ATTRIBUTE,
        "TensorProto": protobuf._TENSOR,
        "SparseTensorProto": protobuf._SPARSE,
        "FunctionProto": protobuf._FUNCTION,
        "TrainingInfoProto": protobuf._TRAINING,
    }
    seen, waiting = {}, [onnx.ModelProto.DESCRIPTOR]
    while waiting:
        message = waiting.pop()
        if message.name not in seen:
            seen[message.name] = [f for f in message.fields if f.message_type is not None]
            waiting += [field.message_type for field in seen[message.name]]
    leading = {"TensorProto"}
    while more := {
        name
        for name, fields in seen.items()
        if name not in leading and any(f.message_type.name in leading for f in fields)
    }:
        leading |= more
    assert leading == set(kinds)
    for name, kind in kinds.items():
        inner = {f.number: f.message_type.name for f in seen[name] if f.message_type.name in kinds}
        assert {number: kinds[of] for number, of in inner.items()} == protobuf._INNER[kind]
    tensor = onnx.TensorProto.DESCRIPTOR.fields_by_name
    assert tensor["external_data"].number == protobuf._EXTERNAL_DATA
    assert tensor["data_location"].number == protobuf._DATA_LOCATION


@pytest.mark.parametrize(
    "data",
    [
        b"\x80" * 20,
        b"\x3a\xff\xff\xff\xff\x0f",
        b"\x3a\x05\x00",
        b"\x3b",
        b"\x38\x80",
        b"\x39\x00",
        b"\xf8\x80\x80\x80\x80\x01\x01",
    ],
)
def test_what_is_no_message_is_refused(data):
    with pytest.raises(ValueError, match=r"no ONNX file|cut off"):
        check_self_contained(data)


@given(st.binary(max_size=200))
def test_any_bytes_are_taken_or_refused(data):
    try:
        check_self_contained(data)
    except ValueError:
        return
    with pytest.raises(BundleError):
        open_onnx(data)


def test_a_network_that_fails_is_an_error_of_the_bundle():
    names = ("logits", "features")
    photos = helper.make_tensor_value_info("photos", TensorProto.FLOAT, ["n", 3, "h", "w"])
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names]
    shape = helper.make_tensor("shape", TensorProto.INT64, [1], [7])
    nodes = [helper.make_node("Reshape", ["photos", "shape"], [name]) for name in names]
    graph = helper.make_graph(nodes, "graph", [photos], outputs, [shape])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    engine = open_onnx(model.SerializeToString())
    with pytest.raises(BundleError, match="cannot use the network"):
        engine(np.zeros((2, 3, 4, 4), np.float32))
