"""MCAP files with pictures as other tools write them, small."""

import base64
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
from foxglove_schemas_protobuf.CompressedImage_pb2 import CompressedImage
from google.protobuf.timestamp_pb2 import Timestamp  # type: ignore[import-untyped]
from mcap.writer import CompressionType, Writer

START_MS = 1_767_232_800_000
#: Each form by its schema's name, the schema's encoding and that of its messages.
FORMS = {
    "foxglove-protobuf": ("foxglove.CompressedImage", "protobuf", "protobuf"),
    "foxglove-json": ("foxglove.CompressedImage", "jsonschema", "json"),
    "foxglove-cdr": ("foxglove_msgs/msg/CompressedImage", "ros2msg", "cdr"),
    "ros1": ("sensor_msgs/CompressedImage", "ros1msg", "ros1"),
    "ros2": ("sensor_msgs/msg/CompressedImage", "ros2msg", "cdr"),
    "ros2-old": ("sensor_msgs/CompressedImage", "ros2msg", "cdr"),
    "ros2-big-endian": ("sensor_msgs/msg/CompressedImage", "ros2msg", "cdr"),
}


def message(form: str, data: bytes, time_ms: int, *, frame: str = "camera") -> bytes:
    """A message as its tool writes it; the frame's name decides what is aligned how."""
    seconds, ms = divmod(time_ms, 1_000)
    nanoseconds = ms * 1_000_000
    if form == "foxglove-protobuf":
        made = CompressedImage(
            timestamp=Timestamp(seconds=seconds, nanos=nanoseconds), frame_id=frame, data=data, format="jpeg"
        )
        return bytes(made.SerializeToString())
    if form == "foxglove-json":
        timestamp = {"sec": seconds, "nsec": nanoseconds}
        fields = {"timestamp": timestamp, "frame_id": frame, "data": base64.b64encode(data).decode(), "format": "jpeg"}
        return msgspec.json.encode(fields)
    if form == "ros1":
        blocks = b"".join(struct.pack("<I", len(one)) + one for one in (frame.encode(), b"jpeg", data))
        return struct.pack("<III", 7, seconds, nanoseconds) + blocks
    return _cdr(form, data, seconds, nanoseconds, frame)


def _cdr(form: str, data: bytes, seconds: int, nanoseconds: int, frame: str) -> bytes:
    order = ">" if form == "ros2-big-endian" else "<"
    blocks = (
        [frame.encode() + b"\0", data, b"jpeg\0"]
        if form == "foxglove-cdr"
        else [frame.encode() + b"\0", b"jpeg\0", data]
    )
    body = struct.pack(order + "iI", seconds, nanoseconds)
    for one in blocks:
        body += b"\0" * (-len(body) % 4) + struct.pack(order + "I", len(one)) + one
    return (b"\0\0\0\0" if order == ">" else b"\0\1\0\0") + body


def write(
    path: Path,
    form: str,
    pictures: Sequence[tuple[str, int, int, bytes]],
    *,
    frame: str = "camera",
    **options: Any,  # noqa: ANN401 - those of mcap's writer
) -> Path:
    """Write pictures as (topic, log time, own time, bytes), times in ms since the beginning; options are mcap's."""
    with path.open("wb") as file:
        writer = Writer(file, **{"chunk_size": 2_000, "compression": CompressionType.ZSTD, **options})
        writer.start(profile="ros2")
        name, encoding, messages = FORMS[form]
        schema = writer.register_schema(name, encoding, b"")
        other = writer.register_schema("std_msgs/msg/String", "ros2msg", b"string data")
        chatter = writer.register_channel("/chatter", "cdr", other)
        channels = {topic: writer.register_channel(topic, messages, schema) for topic, *_ in pictures}
        for topic, log_ms, own_ms, data in pictures:
            log_ns = (START_MS + log_ms) * 1_000_000
            writer.add_message(chatter, log_ns, b"\0\1\0\0\3\0\0\0hi\0", log_ns)
            content = message(form, data, START_MS + own_ms, frame=frame)
            writer.add_message(channels[topic], log_ns, content, log_ns)
        writer.finish()  # type: ignore[no-untyped-call, unused-ignore]
    return path
