"""What lies where in the file: names of channels and metadata, and the structs in which records are stored.

In: records and what a recording says of itself. Out: bytes and metadata of strings, and back. It must not know files.
Within schema 1 fields are only added, at the end.
"""

from __future__ import annotations

import hashlib
from typing import Final, TypeVar, get_args

import msgspec

from stream_app.replay.recording import About, Kind, Lost, RecordingError, TopicRecord
from stream_app.wire.topics import Topics

SCHEMA: Final = 1
#: Profile of the MCAP header: by this a recording is told from other MCAP files.
PROFILE: Final = "vigil"
SUFFIX: Final = ".mcap"
#: The first metadata record of a file, and the one that its writer adds when it comes to its end.
ABOUT: Final = "vigil.recording"
END: Final = "vigil.end"
#: The manifest of the bundle, where one was given.
MANIFEST: Final = "vigil.manifest"
ENCODING: Final = "msgpack"

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
#: Lossless channels by their MCAP topic.
CHANNELS: Final[dict[str, Kind]] = {f"/vigil/{kind}": kind for kind in KINDS}
#: Channels of pictures begin so; zone and camera follow.
PICTURES: Final = "/cameras/"

#: A partition of a topic, and the first offset that a recording could hold of it.
Place = tuple[Kind, int]
Begins = dict[Place, int]


class Stored(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A record on a lossless channel. ``picture`` is the sequence number of the picture that is its value.

    ``lost`` is there where no client could read the record.
    """

    partition: int
    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]
    size: int
    picture: int | None = None
    lost: Lost | None = None


class InForce(msgspec.Struct, frozen=True):
    """Model and settings in force where the recording of a task begins; raw JSON as the checkpoint has them."""

    partition: int
    model: msgspec.Raw
    settings: msgspec.Raw
    settings_sha256: str


class Opening(msgspec.Struct, frozen=True, kw_only=True):
    """What a file says of itself at its beginning.

    ``begins`` names the first offsets that could be in it, ``in_force`` what the first keyframes say. ``to_ms`` is None
    where the range is open. ``number`` counts the files of one recording.
    """

    schema: int = SCHEMA
    version: str
    about: About
    is_open_ended: bool = False
    number: int = 1
    begins: tuple[tuple[Kind, int, int], ...] = ()
    in_force: tuple[InForce, ...] = ()


class Ending(msgspec.Struct, frozen=True, kw_only=True):
    """What the writer says at the end: how far it came, and which records of the outputs no client could read.

    Those of the inputs take their places among the records.
    """

    to_ms: int
    unreadable: tuple[str, ...] = ()
    values_left_out: int = 0


class _Version(msgspec.Struct):
    schema: int = SCHEMA


_DIGEST: Final = "sha256"
_Content = TypeVar("_Content", Opening, Ending)


def store(record: TopicRecord, picture: int | None = None) -> bytes:
    """Encode a record; with a picture, its value lies in that message."""
    stored = Stored(
        record.partition,
        record.offset,
        record.timestamp,
        record.timestamp_type,
        record.key,
        None if picture is not None else record.value,
        record.headers,
        record.size,
        picture,
        record.lost,
    )
    return msgspec.msgpack.encode(stored)


def restore(data: bytes) -> Stored:
    """Decode a record.

    Raises:
        RecordingError: if it is damaged.
    """
    try:
        return msgspec.msgpack.decode(data, type=Stored)
    except msgspec.DecodeError as error:
        raise RecordingError(f"a record of {len(data)} bytes cannot be read: {error}") from error


def whole(stored: Stored, value: bytes | None) -> TopicRecord:
    """Return a stored record with its value."""
    return TopicRecord(
        stored.partition,
        stored.offset,
        stored.timestamp,
        stored.timestamp_type,
        stored.key,
        value,
        stored.headers,
        stored.size,
        stored.lost,
    )


def as_metadata(content: Opening | Ending) -> dict[str, str]:
    """Return metadata of a file: its fields by name, each as JSON, and a digest of them. MCAP has no CRC for these."""
    fields = {name: msgspec.json.encode(value).decode() for name, value in msgspec.structs.asdict(content).items()}
    return {**fields, _DIGEST: _digest(fields)}


def from_metadata(metadata: dict[str, str], wanted: type[_Content]) -> _Content:
    """Read what a file says of itself.

    Raises:
        RecordingError: if it is of another schema, or damaged.
    """
    fields = {name: value for name, value in metadata.items() if name != _DIGEST}
    if metadata.get(_DIGEST) != _digest(fields):
        raise RecordingError("what the recording says of itself is damaged: expected metadata that fit their digest")
    content = msgspec.json.encode({name: msgspec.Raw(value.encode()) for name, value in fields.items()})
    try:
        found = msgspec.json.decode(content, type=_Version).schema
        if found != SCHEMA:
            raise RecordingError(f"expected a recording of schema {SCHEMA}, found schema {found}")
        return msgspec.json.decode(content, type=wanted)
    except msgspec.DecodeError as error:
        raise RecordingError(f"expected what a recording says of itself, found: {error}") from error


def _digest(fields: dict[str, str]) -> str:
    return hashlib.sha256(msgspec.json.encode(fields, order="sorted")).hexdigest()


def topic_of(kind: Kind, topics: Topics) -> str:
    """Return the name of a topic."""
    names: dict[str, str] = msgspec.structs.asdict(topics)
    return names[kind]
