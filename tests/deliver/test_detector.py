"""A detector of others becomes an ONNX file that says the same; what is none is refused."""

import hashlib
import io
import tarfile

import flatbuffers
import numpy as np
import pytest
import tflite
import torch
from onnx import TensorProto, checker, helper
from onnxruntime import InferenceSession
from torch.nn import functional

from lotlens.answering.locating import open_locator
from lotlens.deliver import detector
from lotlens.errors import InputError
from tests.conftest import write_detector

RNG = np.random.default_rng(0)
SIDE = 9


def make_numbers(*shape):
    return RNG.normal(0, 0.4, shape).astype(np.float16)


WEIGHTS = {
    "first": make_numbers(6, 3, 3, 3),  # out, rows, columns, in
    "deep": make_numbers(1, 3, 3, 6),
    "boxes": make_numbers(8, 1, 1, 6),
    "small": make_numbers(8, 3, 3, 6),
}


class LiteWriter:
    """A TensorFlow Lite file, written as the converter of TensorFlow writes the detector's."""

    def __init__(self):
        self.builder = flatbuffers.Builder(0)
        self.buffers, self.tensors, self.operators = [b""], [], []
        self.codes = []

    def tensor(self, shape, data=None):
        if data is not None:
            self.buffers.append(data.tobytes())
        is_half = data is not None and data.dtype == np.float16
        kind = tflite.TensorType.FLOAT16 if is_half else tflite.TensorType.FLOAT32
        self.tensors.append((shape, kind, len(self.buffers) - 1 if data is not None else 0))
        return len(self.tensors) - 1

    def wide(self, data):
        """A constant of 16 bits that is widened by a layer of its own."""
        return self.layer("DEQUANTIZE", [self.tensor(data.shape, data)], data.shape)

    def layer(self, name, inputs, shape, options=None):
        code = getattr(tflite.BuiltinOperator, name)
        if code not in self.codes:
            self.codes.append(code)
        out = self.tensor(shape)
        self.operators.append((self.codes.index(code), inputs, out, options))
        return out

    def convolve(self, source, weight, shape, *, stride=1, is_limited=True):
        is_deep = weight.shape[0] == 1
        bias = np.linspace(-1, 1, shape[-1]).astype(np.float16)
        inputs = [source, self.wide(weight), self.wide(bias)]
        name = "DEPTHWISE_CONV_2D" if is_deep else "CONV_2D"
        return self.layer(name, inputs, shape, (is_deep, stride, is_limited))

    def numbers(self, values):
        self.builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            self.builder.PrependInt32(int(value))
        return self.builder.EndVector()

    def offsets(self, values):
        self.builder.StartVector(4, len(values), 4)
        for value in reversed(values):
            self.builder.PrependUOffsetTRelative(value)
        return self.builder.EndVector()

    def options(self, is_deep, stride, is_limited):
        kind = "DepthwiseConv2DOptions" if is_deep else "Conv2DOptions"
        call = {name: getattr(tflite, f"{kind}{name}") for name in ("Start", "End")}
        call["Start"](self.builder)
        for name, value in (
            ("AddPadding", tflite.Padding.SAME),
            ("AddStrideW", stride),
            ("AddStrideH", stride),
            ("AddFusedActivationFunction", 3 * is_limited),
        ):
            getattr(tflite, f"{kind}{name}")(self.builder, value)
        return getattr(tflite.BuiltinOptions, kind), call["End"](self.builder)

    def write(self, source, outputs):
        make = self.builder
        buffers = []
        for data in self.buffers:
            inner = make.CreateByteVector(data) if data else None
            tflite.BufferStart(make)
            if inner is not None:
                tflite.BufferAddData(make, inner)
            buffers.append(tflite.BufferEnd(make))
        tensors = []
        for shape, kind, buffer in self.tensors:
            sides = self.numbers(shape)
            tflite.TensorStart(make)
            tflite.TensorAddShape(make, sides)
            tflite.TensorAddType(make, kind)
            tflite.TensorAddBuffer(make, buffer)
            tensors.append(tflite.TensorEnd(make))
        operators = []
        for code, inputs, out, options in self.operators:
            given, made = self.numbers(inputs), self.numbers([out])
            kind, table = self.options(*options) if options else (None, None)
            tflite.OperatorStart(make)
            tflite.OperatorAddOpcodeIndex(make, code)
            tflite.OperatorAddInputs(make, given)
            tflite.OperatorAddOutputs(make, made)
            if options:
                tflite.OperatorAddBuiltinOptionsType(make, kind)
                tflite.OperatorAddBuiltinOptions(make, table)
            operators.append(tflite.OperatorEnd(make))
        codes = []
        for code in self.codes:
            tflite.OperatorCodeStart(make)
            tflite.OperatorCodeAddDeprecatedBuiltinCode(make, code)
            codes.append(tflite.OperatorCodeEnd(make))
        parts = [self.offsets(tensors), self.numbers([source]), self.numbers(outputs)]
        parts.append(self.offsets(operators))
        tflite.SubGraphStart(make)
        tflite.SubGraphAddTensors(make, parts[0])
        tflite.SubGraphAddInputs(make, parts[1])
        tflite.SubGraphAddOutputs(make, parts[2])
        tflite.SubGraphAddOperators(make, parts[3])
        graph = tflite.SubGraphEnd(make)
        listed = [self.offsets(codes), self.offsets([graph]), self.offsets(buffers)]
        tflite.ModelStart(make)
        tflite.ModelAddVersion(make, 3)
        tflite.ModelAddOperatorCodes(make, listed[0])
        tflite.ModelAddSubgraphs(make, listed[1])
        tflite.ModelAddBuffers(make, listed[2])
        make.Finish(tflite.ModelEnd(make), b"TFL3")
        return bytes(make.Output())


@pytest.fixture(scope="module")
def lite():
    """All kinds of layers that the detector has, in a network of two maps."""
    net = LiteWriter()
    source = net.tensor((1, SIDE, SIDE, 3))
    half, small = (SIDE + 1) // 2, (SIDE + 3) // 4
    first = net.convolve(source, WEIGHTS["first"], (1, half, half, 6), stride=2)
    deep = net.convolve(first, WEIGHTS["deep"], (1, half, half, 6))
    both = net.layer("ADD", [first, deep], (1, half, half, 6))
    outputs = []
    for middle in ((1, 1), (1,)):  # boxes have an axis of length one between, scores have not
        rows = []
        for side, weight, stride in ((half, WEIGHTS["boxes"], 1), (small, WEIGHTS["small"], 2)):
            shape = (1, side, side, 8)
            made = net.convolve(both, weight, shape, stride=stride, is_limited=False)
            count = 2 * side * side
            flat = (1, count, 1, 4) if len(middle) == 2 else (1, count, 4)
            rows.append(net.layer("RESHAPE", [made], flat))
        total = 2 * (half * half + small * small)
        joined = net.layer("CONCATENATION", rows, (1, total, 1, 4)[: len(middle) + 2])
        outputs.append(net.layer("RESHAPE", [joined], (1, total, 4)))
    return net.write(source, outputs)


def answer_by_torch(photos):
    """What the network gives, rows in TensorFlow's order."""

    def convolve(maps, weight, stride, *, is_limited=True):
        is_deep = weight.shape[0] == 1
        numbers = torch.tensor(weight.astype(np.float32))
        numbers = numbers.permute(3, 0, 1, 2) if is_deep else numbers.permute(0, 3, 1, 2)
        size, window = maps.shape[-1], weight.shape[1]
        total = max((-(-size // stride) - 1) * stride + window - size, 0)
        near, far = total // 2, total - total // 2  # TensorFlow's "same": more on the far side
        bias = torch.tensor(np.linspace(-1, 1, numbers.shape[0]).astype(np.float16)).float()
        groups = numbers.shape[0] if is_deep else 1
        padded = functional.pad(maps, (near, far, near, far))
        made = functional.conv2d(padded, numbers, bias, stride=stride, groups=groups)
        return made.clamp(0, 6) if is_limited else made

    first = convolve(torch.tensor(photos), WEIGHTS["first"], 2)
    both = first + convolve(first, WEIGHTS["deep"], 1)
    rows = []
    for weight, stride in ((WEIGHTS["boxes"], 1), (WEIGHTS["small"], 2)):
        made = convolve(both, weight, stride, is_limited=False)
        rows.append(made.permute(0, 2, 3, 1).reshape(1, -1, 4))
    return torch.cat(rows, dim=1).numpy()


def test_every_kind_of_layer_answers_as_it_did(lite, monkeypatch):
    monkeypatch.setattr(detector, "_SIDE", SIDE)
    conversion = detector._Conversion(lite)

    def pass_on(codes, logits):
        for name, own in zip(detector.DETECTED, (codes, logits), strict=True):
            conversion.add("Identity", [own], name)

    monkeypatch.setattr(conversion, "decode", pass_on)
    monkeypatch.setattr(checker, "check_model", lambda _: None)  # these outputs have an axis more
    session = InferenceSession(conversion.run(), providers=["CPUExecutionProvider"])
    photos = RNG.uniform(-1, 1, (1, 3, SIDE, SIDE)).astype(np.float32)
    for found in session.run(None, {"photos": photos}):
        np.testing.assert_allclose(found, answer_by_torch(photos), rtol=1e-4, atol=1e-4)


def test_codes_and_logits_become_boxes_and_scores():
    conversion = detector._Conversion.__new__(detector._Conversion)
    import onnx

    conversion.onnx, conversion.nodes, conversion.weights = onnx, [], []
    conversion.decode("codes in", "logits in")
    kind = TensorProto.FLOAT
    given = [
        helper.make_tensor_value_info("codes in", kind, [1, 1917, 4]),
        helper.make_tensor_value_info("logits in", kind, [1, 1917, 24]),
    ]
    made = [helper.make_tensor_value_info(name, kind, None) for name in detector.DETECTED]
    graph = helper.make_graph(conversion.nodes, "decode", given, made, conversion.weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    codes, logits = np.zeros((1, 1917, 4), np.float32), np.full((1, 1917, 24), -9, np.float32)
    codes[0, 0] = (10, 0, 0, 5 * np.log(2))  # a height down, and twice as wide
    logits[0, 0, 23], logits[0, 1, 18], logits[0, 2, 1] = 2, 0, 9  # a car, a vehicle, another thing
    boxes, scores = session.run([*detector.DETECTED], {"codes in": codes, "logits in": logits})
    anchors = detector.list_anchors()
    y, x, height, width = anchors[0]
    moved = (x - width, y + height / 2, x + width, y + 3 * height / 2)
    np.testing.assert_allclose(boxes[0], moved, atol=1e-6)
    y, x, height, width = anchors[1]
    plain = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    np.testing.assert_allclose(boxes[1], plain, atol=1e-6)
    np.testing.assert_allclose(scores[:2], [1 / (1 + np.exp(-2)), 0.5], atol=1e-6)
    assert (scores[2:] < 0.001).all()


def test_anchors_cover_the_photo():
    anchors = detector.list_anchors()
    assert anchors.shape == (1917, 4)
    assert ((anchors[:, :2] > 0) & (anchors[:, :2] < 1)).all()
    np.testing.assert_allclose(anchors[-1], [0.5, 0.5, 0.9747, 0.9747], atol=1e-3)


def pack(name, data):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as package:
        member = tarfile.TarInfo(name)
        member.size = len(data)
        package.addfile(member, io.BytesIO(data))
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"no detector", "is no detector"),
        (b"", "is no detector: it is empty"),
        (b"\x1f\x8bbroken", "is not the package"),
        (pack(detector._ASSETS, b"x" * 1000), "is not the package"),
    ],
)
def test_what_is_no_detector_is_refused_in_a_line(tmp_path, data, told):
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(InputError, match=told) as caught:
        detector.add_detector(path)
    assert "\n" not in str(caught.value)
    assert not detector.has_added()


def test_no_archive_but_the_registrys_is_opened(tmp_path, monkeypatch):
    path = tmp_path / "file.tgz"
    path.write_bytes(pack(detector._ASSETS, b"x" * 1000))
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(detector, "PACKAGE_SHA256", sha256)
    with pytest.raises(InputError, match="holds another detector"):
        detector.add_detector(path)
    monkeypatch.undo()
    monkeypatch.setattr(detector.tarfile, "open", None)
    with pytest.raises(InputError, match="is not the package"):
        detector.add_detector(path)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"scale": 300.0}, "no shares of the photo; are they pixels"),
        ({"most": 2.0}, "scores are not all from 0 to 1"),
        ({"sides": (0, 0)}, "photos of 0 by 0 pixels: each side must be 32 to 2048"),
        ({"sides": (200_000, 200_000)}, "each side must be 32 to 2048"),
    ],
)
def test_a_network_that_would_find_no_car_is_no_detector(tmp_path, options, told):
    path = write_detector(tmp_path / "own.onnx", **options)
    with pytest.raises(InputError, match=told):
        detector.add_detector(path)
    assert not detector.has_added()


def test_words_for_boxes_are_no_boxes(tmp_path):
    shapes = {"boxes": (TensorProto.STRING, [None, 4]), "scores": (TensorProto.FLOAT, [None])}
    words = helper.make_tensor("words", TensorProto.STRING, [1, 4], [b"a"] * 4)
    ones = helper.make_tensor("ones", TensorProto.FLOAT, [1], [1.0])
    photos = helper.make_tensor_value_info("photos", TensorProto.FLOAT, [1, 3, 48, 64])
    nodes = [
        helper.make_node("Identity", [one], [two])
        for one, two in (("words", "boxes"), ("ones", "scores"))
    ]
    made = [helper.make_tensor_value_info(name, *told) for name, told in shapes.items()]
    graph = helper.make_graph(nodes, "words", [photos], made, [words, ones])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path / "words.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(InputError, match=r"something else than numbers of 32 bits: \['tensor"):
        detector.add_detector(path)


def test_a_classifier_and_a_missing_file_are_refused(tmp_path):
    from lotlens.training.locating import make_network

    path = tmp_path / "network.onnx"
    path.write_bytes(make_network())
    with pytest.raises(InputError, match=r"is no detector: the network takes \['photos'\]"):
        detector.add_detector(path)
    with pytest.raises(InputError, match="cannot be read: No such file"):
        detector.add_detector(tmp_path / "none")
    with pytest.raises(InputError, match="cannot be read"):
        detector.add_detector(tmp_path)


def test_a_detector_of_ones_own_is_kept(tmp_path):
    path = write_detector(tmp_path / "own.onnx")
    with pytest.raises(InputError, match="none was added: `npm pack"):
        detector.read_added()
    own = detector.add_detector(path)
    assert own == detector.added_path()
    assert own.read_bytes() == path.read_bytes() == detector.read_added()
    photo = np.zeros((60, 80, 3), np.uint8)
    locate = open_locator(detector.read_added(), "detector")
    assert locate(photo) is None
    photo[20:40, 30:50] = 255
    assert str(locate(photo)) == "0.100 0.200 0.800 0.900"
