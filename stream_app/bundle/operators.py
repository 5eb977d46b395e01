"""What a graph is made of: serialized bytes in, a claim out, without the ``onnx`` package.

Walked are the nodes and weights of a ModelProto and of the graphs and functions within it
(https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream_app.bundle.opset import fields_of

if TYPE_CHECKING:
    from collections.abc import Iterator

_RECURRENT = frozenset({b"LSTM", b"GRU", b"RNN"})
_FLOAT16 = 10  # TensorProto.DataType
# Of each message the fields that lead on: number -> the message behind it.
_WAYS = {
    "model": {7: "graph", 25: "function"},
    "graph": {1: "node", 5: "tensor"},
    "function": {7: "node"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph"},
}
_OPERATOR = ("node", 4)
# The type of a tensor, and the number of an attribute: that of Cast is the type to cast to.
_TYPES = {("tensor", 2), ("attribute", 3)}


def is_recurrent_float16(model: bytes) -> bool:
    """Whether a graph holds a recurrent operator, and may hold float16.

    Args:
        model: a serialized ModelProto; of bytes that are none, nothing is held.
    """
    is_recurrent = has_float16 = False
    try:
        for field, value in _walk(memoryview(model)):
            is_recurrent |= field == _OPERATOR and value in _RECURRENT
            has_float16 |= field in _TYPES and value == _FLOAT16
            if is_recurrent and has_float16:
                return True
    except (IndexError, ValueError):
        pass  # ONNX Runtime says what is wrong with it
    return False


def _walk(model: memoryview) -> Iterator[tuple[tuple[str, int], int | bytes]]:
    """Give the fields of the messages, as (message, number) with their values, that say an operator or a type."""
    left = [("model", model)]
    while left:
        message, data = left.pop()
        for number, value in fields_of(data):
            field = (message, number)
            if isinstance(value, memoryview):
                if number in (ways := _WAYS.get(message, {})):
                    left.append((ways[number], value))
                elif field == _OPERATOR:
                    yield field, bytes(value)
            elif field in _TYPES:
                yield field, value
