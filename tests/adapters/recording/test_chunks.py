"""Messages of a chunk are read as the library reads them, and where a chunk without a CRC is damaged, that is said."""

import struct
from pathlib import Path

import pytest
from mcap.opcode import Opcode
from mcap.records import Channel, Chunk, Message
from mcap.stream_reader import StreamReader, breakup_chunk
from mcap.writer import CompressionType

from stream_app.adapters.recording.chunks import ChunkedFile, Logged
from stream_app.replay.recording import RecordingError
from tests.adapters.recording import recordings
from tests.adapters.recording.foreign_files import write

PICTURES = [("/front/image", 100 * n, 100 * n, recordings.jpeg(n)) for n in range(6)]


def _by_library(path: Path) -> list[Logged]:
    with path.open("rb") as file:
        chunks = [one for one in StreamReader(file, emit_chunks=True).records if isinstance(one, Chunk)]
    records = [record for chunk in chunks for record in breakup_chunk(chunk, validate_crc=True)]
    channels = {one.id: one for one in records if isinstance(one, Channel)}
    messages = [one for one in records if isinstance(one, Message)]
    return [Logged(channels[one.channel_id], one.sequence, one.log_time, one.data) for one in messages]


@pytest.mark.parametrize("compression", [CompressionType.NONE, CompressionType.ZSTD, CompressionType.LZ4])
def test_messages_are_those_that_the_library_finds(tmp_path: Path, compression: CompressionType) -> None:
    path = write(tmp_path / "drive.mcap", "ros2", PICTURES, compression=compression)
    with ChunkedFile(path) as file:
        found = [message for place in file.chunks for message in file.messages(place)]
        assert len(file.chunks) > 1
    assert found == _by_library(path)
    assert len(found) == 2 * len(PICTURES)


@pytest.mark.parametrize(
    ("length", "channel"),
    [(1 << 40, None), (5, None), (None, 999)],
    ids=["behind the chunk", "within its head", "of no channel"],
)
def test_a_message_that_cannot_be_one_is_damage_though_no_crc_tells(
    tmp_path: Path, length: int | None, channel: int | None
) -> None:
    plain = {"compression": CompressionType.NONE, "enable_crcs": False, "chunk_size": 1 << 20}
    path = write(tmp_path / "drive.mcap", "ros2", PICTURES, **plain)
    with ChunkedFile(path) as file:
        (place,) = file.chunks
        picture = next(one for one in file.messages(place) if one.channel.topic == "/front/image")
    data = bytearray(path.read_bytes())
    head = struct.pack("<BQ", int(Opcode.MESSAGE), 22 + len(picture.data))
    at = data.index(head + struct.pack("<HI", picture.channel.id, picture.sequence), place.begin)
    if length is not None:
        data[at + 1 : at + 9] = struct.pack("<Q", length)
        # What is left of it looks like a record of a kind that nobody knows.
        rest = 22 + len(picture.data) - 5 - 9
        data[at + 9 + 5 : at + 9 + 5 + 9] = struct.pack("<BQ", 0x80, rest)
    if channel is not None:
        data[at + 9 : at + 11] = struct.pack("<H", channel)
    path.write_bytes(data)
    with ChunkedFile(path) as file, pytest.raises(RecordingError, match="is damaged"):
        file.messages(place)
