"""The opset of an ONNX graph: serialized bytes in, version out, without the ``onnx`` package.

ONNX Runtime does not tell the opset of a loaded model, and serving does not install ``onnx``. Of the protocol buffer
only the outermost fields are walked (ModelProto.opset_import, field 8; OperatorSetIdProto: domain 1, version 2;
https://github.com/onnx/onnx/blob/main/onnx/onnx.proto).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream_app.bundle.errors import BundleError

if TYPE_CHECKING:
    from collections.abc import Iterator

_OPSET_IMPORT = 8
_DOMAIN = 1
_VERSION = 2
_VARINT, _FIXED_64, _BYTES, _FIXED_32 = 0, 1, 2, 5


def read_opset(model: bytes, name: str) -> int:
    """Return the version of the default operator set that a model imports.

    Args:
        model: a serialized ModelProto.
        name: the file's name, for the message.

    Raises:
        BundleError: if the bytes are no ModelProto or import no default operator set.
    """
    try:
        for field, value in fields_of(memoryview(model)):
            if field == _OPSET_IMPORT and isinstance(value, memoryview):
                entry = dict(fields_of(value))
                domain = entry.get(_DOMAIN, b"")
                if not isinstance(domain, int) and bytes(domain) in {b"", b"ai.onnx"}:
                    version = entry.get(_VERSION, 0)
                    return version if isinstance(version, int) else 0
    except (IndexError, ValueError) as error:
        raise BundleError(name, expected="an ONNX model", found=f"{len(model)} bytes that are none") from error
    raise BundleError(name, expected="an import of the default operator set", found="none")


def fields_of(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Give number and value of each field of a protocol buffer; messages and words as bytes.

    Raises:
        IndexError, ValueError: The bytes are none.
    """
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        kind = tag & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield tag >> 3, value
            continue
        size, at = _varint(data, at) if kind == _BYTES else ({_FIXED_64: 8, _FIXED_32: 4}.get(kind, -1), at)
        if size < 0 or at + size > len(data):
            message = "not a protocol buffer"
            raise ValueError(message)
        yield tag >> 3, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return value, at
        shift += 7
        if shift > 63:
            message = "varint of more than 64 bits"
            raise ValueError(message)
