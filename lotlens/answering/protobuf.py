"""Looks through an ONNX file for what leads out of it; it knows the file's fields, not networks.

ONNX lets a tensor's numbers lie in another file, at any path that the file says: opening such a
network would read files of whoever opens it. The fields are walked as protobuf writes them, since
the package `onnx` is no part of a plain install; their numbers are those of onnx.proto3.
"""

from __future__ import annotations

from collections.abc import Mapping

_MODEL, _GRAPH, _NODE, _ATTRIBUTE, _TENSOR, _SPARSE, _FUNCTION, _TRAINING = range(8)

# Kind of message -> number of a field -> kind of the message in it.
_INNER: Mapping[int, Mapping[int, int]] = {
    _MODEL: {7: _GRAPH, 20: _TRAINING, 25: _FUNCTION},
    _GRAPH: {1: _NODE, 5: _TENSOR, 15: _SPARSE},
    _NODE: {5: _ATTRIBUTE},
    _ATTRIBUTE: {5: _TENSOR, 6: _GRAPH, 10: _TENSOR, 11: _GRAPH, 22: _SPARSE, 23: _SPARSE},
    _TENSOR: {},
    _SPARSE: {1: _TENSOR, 2: _TENSOR},
    _FUNCTION: {7: _NODE, 11: _ATTRIBUTE},
    _TRAINING: {1: _GRAPH, 2: _GRAPH},
}
_EXTERNAL_DATA, _DATA_LOCATION = 13, 14
_VARINT, _FIXED_64, _LENGTH, _FIXED_32 = 0, 1, 2, 5
_LONGEST_VARINT = 10
_MOST_FIELDS = 2_000_000


def check_self_contained(model: bytes) -> None:
    """Make sure that an ONNX file has all of its numbers in itself.

    Raises:
        ValueError: it names other files, or is no protobuf message.
    """
    data = memoryview(model)
    waiting = [(0, len(data), _MODEL)]
    num_fields = 0
    while waiting:
        at, end, kind = waiting.pop()
        inner = _INNER[kind]
        while at < end:
            num_fields += 1
            if num_fields > _MOST_FIELDS:
                raise ValueError("it has more parts than any network")
            key, at = _read_varint(data, at, end)
            if key >= 2**32:
                raise ValueError(_NO_ONNX)  # others take no more than 32 bits of it
            number, wire = key >> 3, key & 7
            if kind == _TENSOR and number == _EXTERNAL_DATA:
                raise ValueError(_LEADS_OUT)
            if wire == _VARINT:
                value, at = _read_varint(data, at, end)
                if kind == _TENSOR and number == _DATA_LOCATION and value:
                    raise ValueError(_LEADS_OUT)
                continue
            if wire == _LENGTH:
                length, at = _read_varint(data, at, end)
            elif wire in (_FIXED_32, _FIXED_64):
                length = 4 if wire == _FIXED_32 else 8
            else:
                raise ValueError(_NO_ONNX)
            if length > end - at:
                raise ValueError("it is cut off")
            if wire == _LENGTH and number in inner:
                waiting.append((at, at + length, inner[number]))
            at += length


_NO_ONNX = "it is no ONNX file"
_LEADS_OUT = "it keeps its numbers in another file, which is never read"


def _read_varint(data: memoryview, at: int, end: int) -> tuple[int, int]:
    value = 0
    for place in range(min(_LONGEST_VARINT, end - at)):
        byte = data[at + place]
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80:
            return value, at + place + 1
    raise ValueError(_NO_ONNX)
