"""What viewers of MCAP files are shown: pictures per camera, and texts and alerts as lines of a log.

In: records. Out: messages by Foxglove's protobuf schemas (https://docs.foxglove.dev/docs/sdk/schemas), which MCAP
viewers know. A picture's message is the only place where its bytes are. It must not know files.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from foxglove_schemas_protobuf.CompressedImage_pb2 import CompressedImage
from foxglove_schemas_protobuf.Log_pb2 import Log
from google.protobuf.descriptor import FileDescriptor  # type: ignore[import-untyped]
from google.protobuf.descriptor_pb2 import FileDescriptorSet  # type: ignore[import-untyped]
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from google.protobuf.timestamp_pb2 import Timestamp  # type: ignore[import-untyped]

from stream_app.adapters.recording.layout import PICTURES
from stream_app.core.admit import read_text
from stream_app.core.image_header import ImageHeaderError, read_image_header
from stream_app.replay.recording import RecordingError
from stream_app.wire.alerts import Alert, decode_alert
from stream_app.wire.message import WireError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.message import Message

    from stream_app.replay.recording import Kind, TopicRecord

ENCODING: Final = "protobuf"
IMAGE: Final = CompressedImage
LOG: Final = Log
#: Where lines of the log are shown.
LINES: Final[dict[Kind, str]] = {"texts": "/texts", "alerts": "/alerts"}
_MAX_NAME_BYTES: Final = 256


class Camera(NamedTuple):
    """Whose picture a frame is, and in which format."""

    zone: str
    name: str
    format: str

    @property
    def channel(self) -> str:
        """The MCAP topic; a slash within a name cannot make one camera's look like another's."""
        zone, name = (part.replace("%", "%25").replace("/", "%2F") for part in (self.zone, self.name or "-"))
        return f"{PICTURES}{zone}/{name}"


def schema_of(message: type[Message]) -> bytes:
    """Return a message's schema as MCAP files hold it: a FileDescriptorSet with all that it refers to."""
    files: dict[str, FileDescriptor] = {}
    waiting = [message.DESCRIPTOR.file]
    while waiting:
        file = waiting.pop()
        if file.name not in files:
            files[file.name] = file
            waiting += file.dependencies
    found = FileDescriptorSet()
    for file in files.values():
        file.CopyToProto(found.file.add())
    return bytes(found.SerializeToString())


def camera_of(frame: TopicRecord) -> Camera | None:
    """Return whose picture a frame is; None where it is no picture, or nobody's that has a name."""
    if not frame.key or len(frame.key) > _MAX_NAME_BYTES or not frame.value:
        return None
    camera = next((content or b"" for name, content in frame.headers if name.lower() == "camera"), b"")
    if len(camera) > _MAX_NAME_BYTES:
        return None
    try:
        return Camera(frame.key.decode(), camera.decode(), read_image_header(frame.value).format)
    except (UnicodeDecodeError, ImageHeaderError):
        return None


def picture(frame: TopicRecord, camera: Camera) -> bytes:
    """Encode a frame's picture for viewers."""
    name = f"{camera.zone}/{camera.name}"
    shown = CompressedImage(
        timestamp=_time(frame.timestamp), data=frame.value or b"", format=camera.format, frame_id=name
    )
    return bytes(shown.SerializeToString())


def picture_bytes(message: bytes) -> bytes:
    """Return the bytes of a picture.

    Raises:
        RecordingError: if the message is damaged.
    """
    try:
        return bytes(CompressedImage.FromString(message).data)
    except DecodeError as error:
        raise RecordingError(f"a picture of {len(message)} bytes cannot be read: {error}") from error


def line(kind: Kind, record: TopicRecord) -> bytes | None:
    """Encode what a text or an alert says, for viewers; None where it says nothing that can be read."""
    said = next(_said(kind, record), None)
    if said is None:
        return None
    level, words = said
    zone = (record.key or b"").decode("utf-8", "replace")
    shown = Log(timestamp=_time(record.timestamp), level=level, message=words, name=zone)
    return bytes(shown.SerializeToString())


def _said(kind: Kind, record: TopicRecord) -> Iterator[tuple[Log.Level.ValueType, str]]:
    if kind == "texts":
        try:
            body = read_text(record)
        except ValueError:
            return
        yield (Log.Level.WARNING if body.severity >= _SEVERE else Log.Level.INFO), body.text
    elif kind == "alerts":
        try:
            alert = decode_alert(record.value, record.headers)
        except WireError:
            return
        if isinstance(alert, Alert):
            yield Log.Level.ERROR, f"{alert.label} {alert.phase} ({alert.score:.2f}), incident {alert.incident}"
        elif alert is not None:
            yield Log.Level.WARNING, f"{alert.notice}: {alert.detail}"


#: From this severity of 1-5 on a text is shown as a warning.
_SEVERE: Final = 4


def _time(time_ms: int) -> Timestamp:
    seconds, ms = divmod(time_ms, 1000)
    return Timestamp(seconds=seconds, nanos=ms * 1_000_000)
