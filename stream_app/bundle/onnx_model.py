"""An ONNX graph as a message: serialized bytes in, what is looked at before ONNX Runtime sees them out.

Serving does not install ``onnx``. It reads the bytes with the protobuf library, as ONNX Runtime does, so both see the
same message however it is encoded: repeated submessages are merged, the last of two scalars counts, groups and unknown
fields are skipped. Declared are only the fields that say something here, and every field that leads to one of them
(https://github.com/onnx/onnx/blob/main/onnx/onnx.proto; a test compares them with the ``onnx`` package).
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory  # type: ignore[import-untyped]
from google.protobuf.message import DecodeError, Message  # type: ignore[import-untyped]

from stream_app.bundle.errors import BundleError

# Words are declared as bytes: the encoding is the same, and a name that is not UTF-8 must not stop the reading.
_SCALARS = {
    "int32": descriptor_pb2.FieldDescriptorProto.TYPE_INT32,
    "int64": descriptor_pb2.FieldDescriptorProto.TYPE_INT64,
    "bytes": descriptor_pb2.FieldDescriptorProto.TYPE_BYTES,
}
#: Message -> field -> (number, type); a star marks a repeated field.
FIELDS: dict[str, dict[str, tuple[int, str]]] = {
    "ModelProto": {
        "graph": (7, "GraphProto"),
        "opset_import": (8, "OperatorSetIdProto*"),
        "training_info": (20, "TrainingInfoProto*"),
        "functions": (25, "FunctionProto*"),
    },
    "OperatorSetIdProto": {"domain": (1, "bytes"), "version": (2, "int64")},
    "TrainingInfoProto": {"initialization": (1, "GraphProto"), "algorithm": (2, "GraphProto")},
    "FunctionProto": {"name": (1, "bytes"), "node": (7, "NodeProto*"), "attribute_proto": (11, "AttributeProto*")},
    "GraphProto": {
        "node": (1, "NodeProto*"),
        "name": (2, "bytes"),
        "initializer": (5, "TensorProto*"),
        "sparse_initializer": (15, "SparseTensorProto*"),
    },
    "NodeProto": {"name": (3, "bytes"), "op_type": (4, "bytes"), "attribute": (5, "AttributeProto*")},
    "AttributeProto": {
        "name": (1, "bytes"),
        "i": (3, "int64"),
        "t": (5, "TensorProto"),
        "g": (6, "GraphProto"),
        "tensors": (10, "TensorProto*"),
        "graphs": (11, "GraphProto*"),
        "sparse_tensor": (22, "SparseTensorProto"),
        "sparse_tensors": (23, "SparseTensorProto*"),
    },
    "SparseTensorProto": {"values": (1, "TensorProto"), "indices": (2, "TensorProto")},
    "TensorProto": {
        "data_type": (2, "int32"),
        "name": (8, "bytes"),
        "external_data": (13, "StringStringEntryProto*"),
        "data_location": (14, "int32"),
    },
    "StringStringEntryProto": {"key": (1, "bytes"), "value": (2, "bytes")},
}

# ONNX Runtime's own format, told by these bytes whatever the file is called. It is no protocol buffer.
_ORT_FORMAT = (slice(4, 8), b"ORTM")
_RECURRENT = frozenset({b"LSTM", b"GRU", b"RNN"})
_FLOAT16 = 10  # TensorProto.DataType; that of Cast's attribute is the type to cast to
_INSIDE = (
    "all weights inside the file, where the manifest's hash covers them; write the graph with "
    "onnx.save(model, path, save_as_external_data=False)"
)
_NAME_CHARS = 80


def read_model(data: bytes, name: str) -> Message:
    """Read a graph: a ModelProto cut down to the fields of ``FIELDS``.

    Args:
        data: a serialized ModelProto.
        name: the file's name, for the message.

    Raises:
        BundleError: if the bytes are no ModelProto, or ONNX Runtime might take them for something else as well.
    """
    place, mark = _ORT_FORMAT
    if data[place] == mark:
        raise BundleError(name, expected="an ONNX model", found="ONNX Runtime's own format (ORTM)")
    model = _model_class()()
    try:
        model.ParseFromString(data)
    except DecodeError as error:
        raise BundleError(name, expected="an ONNX model", found=f"{len(data)} bytes that are none") from error
    return model


def opset_of(model: Message, name: str) -> int:
    """Return the version of the default operator set that a model imports; ONNX Runtime does not tell it.

    Raises:
        BundleError: if it imports none.
    """
    for entry in model.opset_import:
        if entry.domain in {b"", b"ai.onnx"}:
            return int(entry.version)
    raise BundleError(name, expected="an import of the default operator set", found="none")


def is_recurrent_float16(model: Message) -> bool:
    """Whether a graph holds a recurrent operator, and may hold float16."""
    is_recurrent = has_float16 = False
    for part, _ in _parts(model):
        kind = part.DESCRIPTOR.name
        is_recurrent |= kind == "NodeProto" and part.op_type in _RECURRENT
        has_float16 |= kind == "TensorProto" and part.data_type == _FLOAT16
        has_float16 |= kind == "AttributeProto" and part.i == _FLOAT16
    return is_recurrent and has_float16


def refuse_outside_data(model: Message, name: str) -> None:
    """Refuse a graph that would have ONNX Runtime read another file, however deep in it.

    From bytes too ONNX Runtime 1.31 reads external data, relative to the working directory: in branches of an If and
    in sparse weights. A signature covers the bundle's files and nothing beside them.

    Args:
        model: what ``read_model`` gave.
        name: the file's name, for the message.

    Raises:
        BundleError: if a tensor keeps its numbers elsewhere, or a node stands for a compiled engine, which may.
    """
    for part, place in _parts(model):
        kind = part.DESCRIPTOR.name
        # Either alone is refused: ONNX Runtime goes by the first, and other tools by the second.
        if kind == "TensorProto" and (part.data_location or part.external_data):
            where = ", ".join(_words(entry.value) for entry in part.external_data if entry.key == b"location")
            raise BundleError(f"{name}: {place}", expected=_INSIDE, found=f"external data at {where or 'no place'}")
        if kind == "NodeProto" and part.op_type == b"EPContext":
            raise BundleError(f"{name}: {place}", expected="operators of ONNX", found="a compiled engine (EPContext)")


@cache
def _model_class() -> Any:  # noqa: ANN401 - a class that is made as the program runs
    file = descriptor_pb2.FileDescriptorProto(name="vigil/onnx.proto", package="vigil.onnx", syntax="proto2")
    for message, fields in FIELDS.items():
        declared = file.message_type.add(name=message)
        for field, (number, kind) in fields.items():
            entry = declared.field.add(name=field, number=number)
            entry.label = entry.LABEL_REPEATED if kind.endswith("*") else entry.LABEL_OPTIONAL
            if kind in _SCALARS:
                entry.type = _SCALARS[kind]
            else:
                entry.type, entry.type_name = entry.TYPE_MESSAGE, f".vigil.onnx.{kind.rstrip('*')}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("vigil.onnx.ModelProto"))


def _parts(message: Message, place: str = "") -> Iterator[tuple[Message, str]]:
    """Give a message and all messages within it, each with its place in words. The library bounds the depth by 100."""
    yield message, place
    for field, value in message.ListFields():
        if field.message_type is None:
            continue
        for part in (value,) if isinstance(value, Message) else value:
            yield from _parts(part, f"{place}, {_label(field.name, part)}" if place else _label(field.name, part))


def _label(field: str, part: Message) -> str:
    name = f" {_words(part.name)}" if getattr(part, "name", b"") else ""
    operator = f" ({_words(part.op_type)[1:-1]})" if part.DESCRIPTOR.name == "NodeProto" else ""
    return f"{field}{name}{operator}"


def _words(value: bytes) -> str:
    """Show bytes of a stranger: escaped, and not at any length."""
    return ascii(value[:_NAME_CHARS].decode("utf-8", "backslashreplace"))
