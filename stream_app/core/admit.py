"""Stage one: a raw record becomes an admitted record or a refusal with a reason. Nothing is decoded.

In: a record as Kafka delivered it, and its side. Out: :class:`Record` or :class:`Refused`. A pure function of the
record and the semantic settings; what was admitted before plays no part (that is for the task: duplicates, rates).
"""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING, Any

import msgspec

from stream_app.core.event_time import parse_event_time
from stream_app.core.ids import record_identity
from stream_app.core.image_header import ImageHeaderError, read_image_header
from stream_app.core.types import RawRecord, Record, Refused, Side, Unreadable

if TYPE_CHECKING:
    from stream_app.core.settings import Semantic

#: Zone and camera names end up in metrics, ids and tables; longer ones are mistakes.
MAX_NAME_BYTES = 256
#: Headers of one record in all, names included. They lie in memory with it, where the bounds count the value only.
MAX_HEADERS_BYTES = 16 * 1024
_STRUCTURED = "application/cloudevents+json"
_BATCHED = "application/cloudevents-batch"
MAX_SEVERITY = 5
_MAX_DETAIL_CHARS = 200


class _RefusedError(Exception):
    """Carries the reason out of the nested checks; never leaves this module."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail[:_MAX_DETAIL_CHARS]


class TextBody(msgspec.Struct, frozen=True, gc=False):
    """What a text record says: the text itself, and its severity 1-5 or 0. Nothing depends on the sensor's name."""

    text: str
    severity: int = 0


def admit(side: Side, raw: RawRecord, settings: Semantic) -> Record | Refused:
    """Check one record and read its event time, zone and camera.

    Args:
        side: which input topic it came from.
        raw: the record; its timestamp is the append time in ms.
        settings: bounds on sizes, dimensions and on how far an event time may lie ahead of its append time.

    Returns:
        The admitted record, or a refusal whose reason is one of ``empty``, ``no-key``, ``key``, ``headers``,
        ``specversion``, ``structured``, ``time``, ``ahead``, ``too-large``, ``not-an-image``, ``dimensions``,
        ``encoding``; for an :class:`Unreadable` its own.
    """
    if isinstance(raw, Unreadable):
        return Refused(side, raw.offset, raw.timestamp, raw.reason, raw.detail[:_MAX_DETAIL_CHARS], record_bytes(raw))
    try:
        return _admit(side, raw, settings)
    except _RefusedError as refusal:
        return Refused(side, raw.offset, raw.timestamp, refusal.reason, refusal.detail, record_bytes(raw))


def describe(side: Side, raw: RawRecord) -> Record:
    """Read again the metadata of a record that was admitted once, by no bound of any settings.

    A frame's bytes are not looked at, and may be missing where the record tells its ``size``.

    Raises:
        ValueError: if the record can never have been admitted.
    """
    try:
        zone = _zone(raw.key)
        attributes = _attributes(raw) if raw.headers else _NONE
        camera, severity, text = "", 0, ""
        if side is Side.FRAME:
            camera = attributes.get("camera", "")
        else:
            body, attributes = _text_body(raw, attributes)
            text, severity = body.text, body.severity
        event_ms = _event_ms(attributes.get("ce_time"), raw.timestamp, None)
    except _RefusedError as refusal:
        message = f"{side.kind} at offset {raw.offset} is not admissible: {refusal.reason} {refusal.detail}"
        raise ValueError(message) from refusal
    size = getattr(raw, "size", 0) if raw.value is None else len(raw.value)
    identity = _identity(attributes)
    return Record(side, raw.offset, raw.timestamp, event_ms, zone, camera, severity, size, identity, text)


def record_bytes(raw: RawRecord) -> int:
    """Return the bytes of key, value and headers."""
    return len(raw.key or b"") + len(raw.value or b"") + headers_bytes(raw)


def headers_bytes(raw: RawRecord) -> int:
    """Return the bytes of all headers, names included."""
    return sum(len(name) + len(content or b"") for name, content in raw.headers)


def read_text(raw: RawRecord) -> TextBody:
    """Read what an admitted text record says: the JSON of the contract, structured CloudEvents, or plain text.

    Raises:
        ValueError: if the record would not have been admitted.
    """
    try:
        return _text_body(raw, _attributes(raw))[0]
    except _RefusedError as refusal:
        message = f"text record at offset {raw.offset} is not admissible: {refusal.reason} {refusal.detail}"
        raise ValueError(message) from refusal


def _admit(side: Side, raw: RawRecord, settings: Semantic) -> Record:
    value = raw.value
    if not value:
        raise _RefusedError("empty")
    zone = _zone(raw.key)
    attributes = _attributes(raw) if raw.headers else _NONE
    camera, severity, text = "", 0, ""
    if side is Side.FRAME:
        camera = attributes.get("camera", "")
        _check_frame(value, attributes, settings)
    else:
        if len(value) > settings.max_text_bytes:
            raise _RefusedError("too-large", f"expected <= {settings.max_text_bytes} bytes, found {len(value)}")
        body, attributes = _text_body(raw, attributes)
        text, severity = body.text, body.severity
    append_ms = raw.timestamp
    event_ms = _event_ms(attributes.get("ce_time"), append_ms, settings.max_ahead_ms)
    identity = _identity(attributes)
    return Record(side, raw.offset, append_ms, event_ms, zone, camera, severity, len(value), identity, text)


_NONE: dict[str, str] = {}
_MEANT = frozenset(
    ("ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time", "ce_subject", "camera", "content-type")
)
#: Each name as itself, so that one look-up tells the usual spelling from all others.
_USUAL = {name: name for name in _MEANT}


def _zone(key: bytes | None) -> str:
    if not key:
        raise _RefusedError("no-key")
    if len(key) > MAX_NAME_BYTES:
        raise _RefusedError("key", f"expected <= {MAX_NAME_BYTES} bytes, found {len(key)}")
    try:
        return key.decode()
    except UnicodeDecodeError as error:
        raise _RefusedError("key", "expected UTF-8") from error


def _attributes(raw: RawRecord) -> dict[str, str]:
    """Read the headers that mean something here; others (tracing, say) may hold what they like."""
    found: dict[str, str] = {}
    size = 0
    for name, content in raw.headers:
        size += len(name) + (len(content) if content else 0)
        # The usual names are looked up: lower() and startswith() cost as much as all the rest of this loop.
        known = _USUAL.get(name) or name.lower()
        if known not in _MEANT and not known.startswith("ce_"):
            continue
        if known in found:
            raise _RefusedError("headers", f"{known} is there twice")
        try:
            found[known] = content.decode() if content is not None else ""
        except UnicodeDecodeError as error:
            raise _RefusedError("headers", f"{known} is not UTF-8") from error
    if size > MAX_HEADERS_BYTES:
        raise _RefusedError("headers", f"expected <= {MAX_HEADERS_BYTES} bytes in all, found {size}")
    version = found.get("ce_specversion")
    if version is not None and not version.startswith("1."):
        raise _RefusedError("specversion", f"expected 1.x, found {version}")
    camera = found.get("camera", "")
    if len(camera) * 4 > MAX_NAME_BYTES and len(camera.encode()) > MAX_NAME_BYTES:
        raise _RefusedError("headers", f"camera: expected <= {MAX_NAME_BYTES} bytes")
    return found


def _check_frame(value: bytes, attributes: dict[str, str], settings: Semantic) -> None:
    if attributes.get("content-type", "").startswith("application/cloudevents"):
        raise _RefusedError("structured", "frames are raw image bytes")
    if len(value) > settings.max_image_bytes:
        raise _RefusedError("too-large", f"expected <= {settings.max_image_bytes} bytes, found {len(value)}")
    try:
        header = read_image_header(value)
    except ImageHeaderError as error:
        raise _RefusedError("not-an-image", str(error)) from error
    width, height = header.width, header.height
    if not (0 < width <= settings.max_image_side and 0 < height <= settings.max_image_side):
        raise _RefusedError("dimensions", f"expected sides of 1-{settings.max_image_side}, found {width}x{height}")
    if width * height > settings.max_image_pixels:
        raise _RefusedError("dimensions", f"expected <= {settings.max_image_pixels} pixels, found {width}x{height}")


def _event_ms(ce_time: str | None, append_ms: int, max_ahead_ms: int | None) -> int:
    if ce_time is None:
        return append_ms
    try:
        event_ms = parse_event_time(ce_time)
    except ValueError as error:
        raise _RefusedError("time", str(error)) from error
    if max_ahead_ms is not None and event_ms > append_ms + max_ahead_ms:
        raise _RefusedError("ahead", f"{event_ms - append_ms} ms ahead, allowed {max_ahead_ms}")
    return event_ms


def _identity(attributes: dict[str, str]) -> bytes | None:
    source, event_id = attributes.get("ce_source"), attributes.get("ce_id")
    return record_identity(source, event_id) if source and event_id else None


def _text_body(raw: RawRecord, attributes: dict[str, str]) -> tuple[TextBody, dict[str, str]]:
    """Return what a text says, and the attributes that hold for it."""
    try:
        content = (raw.value or b"").decode()
    except UnicodeDecodeError as error:
        raise _RefusedError("encoding", "expected UTF-8") from error
    content_type = attributes.get("content-type", "")
    if content_type.startswith(_BATCHED):
        raise _RefusedError("structured", "batches of CloudEvents are not understood: send one record each")
    if content_type.startswith(_STRUCTURED):
        envelope = _json_object(content)
        if envelope is not None:
            return _structured(envelope, attributes)
    return _body_of(_json_object(content), content), attributes


def _structured(envelope: dict[str, Any], attributes: dict[str, str]) -> tuple[TextBody, dict[str, str]]:
    version = envelope.get("specversion")
    if version is not None and not (isinstance(version, str) and version.startswith("1.")):
        raise _RefusedError("specversion", f"expected 1.x, found {version}")
    merged = dict(attributes)
    for name in ("time", "id", "source"):
        attribute = envelope.get(name)
        if isinstance(attribute, str):
            merged[f"ce_{name}"] = attribute
    data = envelope.get("data")
    if data is None and isinstance(envelope.get("data_base64"), str):
        try:
            data = base64.b64decode(envelope["data_base64"], validate=True).decode()
        except (binascii.Error, UnicodeDecodeError) as error:
            raise _RefusedError("encoding", "data_base64 is no base64 of UTF-8") from error
    if isinstance(data, dict):
        return _body_of(data, msgspec.json.encode(data).decode()), merged
    content = data if isinstance(data, str) else msgspec.json.encode(data).decode() if data is not None else ""
    return _body_of(_json_object(content), content), merged


def _body_of(data: dict[str, Any] | None, content: str) -> TextBody:
    """Take the contract's JSON where it is that, else the content as it stands: an alarm is never refused for form."""
    if data is not None and isinstance(data.get("text"), str) and data["text"].strip():
        return TextBody(data["text"], _severity(data.get("severity")))
    if not content.strip():
        raise _RefusedError("empty", "nothing but white space")
    return TextBody(content)


def _severity(found: object) -> int:
    is_number = isinstance(found, int) and not isinstance(found, bool)
    return found if isinstance(found, int) and is_number and 1 <= found <= MAX_SEVERITY else 0


def _json_object(content: str) -> dict[str, Any] | None:
    if not content.lstrip().startswith("{"):
        return None
    try:
        found = msgspec.json.decode(content)
    except (msgspec.DecodeError, RecursionError):
        return None
    return found if isinstance(found, dict) else None
