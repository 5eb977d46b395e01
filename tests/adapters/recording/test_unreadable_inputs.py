"""What no client can read of the inputs takes its place in a recording, and is refused again as it was live."""

import asyncio
from pathlib import Path
from random import Random
from typing import Any

import msgspec
from aiokafka import ConsumerRecord, TopicPartition
from mcap.reader import make_reader

from stream_app.adapters.kafka.unpacking import UnreadableRecord
from stream_app.adapters.recording.choose import Choice
from stream_app.adapters.recording.kafka import TopicReader
from stream_app.adapters.recording.look import in_lines, look
from stream_app.adapters.recording.read import open_recording
from stream_app.adapters.recording.sink import Rolling, Sink
from stream_app.core.types import NO_TIME_MS, DeadLetter, Side
from stream_app.replay.canonical import Judged, Run, replay
from stream_app.replay.recording import Lost, TopicRecord, as_input
from tests.adapters.kafka.test_to_the_end import Log
from tests.adapters.recording.recordings import START_MS, TOPICS, Entry, about, jpeg, night, read, record, write
from tests.adapters.recording.test_recording_files import _opening
from tests.core.drive import IN_FORCE
from tests.manual_clock import ManualClock
from tests.replay.memory import MoodScorer
from tests.replay.test_canonical import PACE

FRAMES, JOURNAL = TopicPartition("vigil.frames", 0), TopicPartition("vigil.journal", 0)
BATCH = Lost(3, "batch-crc", "offsets 3-5: noise", START_MS + 400)
LETTER = DeadLetter(Side.FRAME, 5, "batch-crc", BATCH.detail)


def lost_frame(offset: int, timestamp: int, lost: Lost, value: bytes | None = None) -> TopicRecord:
    return record(offset, timestamp, value, timestamp_type=NO_TIME_MS, key=None, lost=lost)


def with_a_hole() -> list[Entry]:
    """A night whose frames 3 to 5 are one batch that no client can read, which nobody knows the time of."""
    frames: list[Entry] = [("frames", lost_frame(5, NO_TIME_MS, BATCH))]
    for kind, one in night(frames=12):
        if kind == "frames" and not 3 <= one.offset <= 5:
            frames.append((kind, one))
    return sorted(frames, key=lambda entry: entry[1].offset)


def test_it_comes_back_from_a_file_with_all_that_is_known_of_it(tmp_path: Path) -> None:
    broken = Lost(20, "headers", "expected a name in UTF-8", START_MS + 2_000)
    headers = (("camera", b"c1"), ("a", None))
    entries = [
        *with_a_hole(),
        ("frames", record(20, START_MS + 2_000, jpeg(3), headers=headers, lost=broken)),
        ("texts", record(1, START_MS + 2_001, b'{"text": "fire"}', lost=broken)),
    ]
    path = write(tmp_path / "a.mcap", entries)
    assert read(path) == (entries, "")
    raw = as_input(entries[-2][1])
    assert (raw.value, raw.headers) == (jpeg(3), headers)
    # Nothing of it is shown as if it were sound.
    with path.open("rb") as file:
        shown = [channel.topic for _, channel, _ in make_reader(file).iter_messages()]
    assert sum(topic.startswith("/cameras/") for topic in shown) == 9
    assert "/texts" not in shown
    with open_recording(path) as recording:
        looked = look(recording)
    assert (looked.kinds["frames"].unreadable, looked.kinds["texts"].unreadable) == (2, 1)
    assert (sum(flow.records for flow in looked.cameras.values()), looked.texts) == (9, {})
    assert looked.kinds["frames"].first_ms == START_MS
    assert any(line.endswith("2 that no client can read") for line in in_lines(looked))


def test_one_of_no_known_time_belongs_to_the_range_in_which_it_lies() -> None:
    def is_in(near_ms: int) -> bool:
        lost = msgspec.structs.replace(BATCH, near_ms=near_ms)
        return Choice(about=about(), to_ms=about().to_ms).of("frames", lost_frame(5, NO_TIME_MS, lost)) is not None

    assert [is_in(START_MS + at_ms) for at_ms in (-1, 0, 59_999, 60_000)] == [False, True, True, False]


def test_one_of_no_known_time_rolls_no_file(tmp_path: Path) -> None:
    sink = Sink(tmp_path / "r", _opening(START_MS, START_MS + 60_000), manifest=None, rolling=Rolling(10**9, 60_000))
    for kind, one in [("frames", lost_frame(0, NO_TIME_MS, BATCH)), *with_a_hole()[1:]]:
        sink.add("frames" if kind == "frames" else "texts", one)
    sink.finish()
    assert len(sink.files) == 1


def _read_from_topics(*batches: tuple[TopicPartition, list[Any], int], ends: dict[TopicPartition, int]) -> Any:  # noqa: ANN401
    client = Log(ManualClock(), list(batches))
    client.positions.update(dict.fromkeys(ends, 0))

    async def whole() -> tuple[list[Entry], list[str]]:
        reader = TopicReader(client, about(), lambda _: None)
        choice = Choice(about=about(), to_ms=None)
        return [one async for one in reader.read(choice, ends)], reader.unreadable

    return asyncio.run(whole())


def _from_client(offset: int, timestamp: int) -> Any:  # noqa: ANN401 - aiokafka has no types
    return ConsumerRecord(TOPICS.frames, 0, offset, timestamp, 1, b"yard", b"x", None, 4, 1, ())


def _unreadable(place: TopicPartition, timestamp: int = NO_TIME_MS) -> UnreadableRecord:
    return UnreadableRecord(
        topic=place.topic, partition=place.partition, offset=5, first_offset=3, timestamp=timestamp,
        reason=BATCH.reason, detail=BATCH.detail,
    )  # fmt: skip


def test_it_is_recorded_in_its_place_and_one_of_another_topic_is_said_to_be_missing() -> None:
    found, unreadable = _read_from_topics(
        (FRAMES, [_from_client(2, START_MS + 400), _unreadable(FRAMES), _from_client(6, START_MS + 500)], 7),
        (JOURNAL, [_unreadable(JOURNAL, START_MS)], 6),
        ends={FRAMES: 7, JOURNAL: 6},
    )
    assert [one.offset for _, one in found] == [2, 5, 6]
    assert found[1] == ("frames", lost_frame(5, NO_TIME_MS, BATCH))
    assert unreadable == ["vigil.journal/0/3-5: batch-crc, offsets 3-5: noise"]


def test_one_before_which_nothing_was_read_is_about_as_old_as_the_range() -> None:
    ((_, first),), _ = _read_from_topics((FRAMES, [_unreadable(FRAMES)], 6), ends={FRAMES: 6})
    assert (first.timestamp, first.append_ms) == (NO_TIME_MS, START_MS)
    ((_, timed),), _ = _read_from_topics((FRAMES, [_unreadable(FRAMES, START_MS + 7)], 6), ends={FRAMES: 6})
    assert (timed.timestamp, timed.append_ms) == (START_MS + 7, START_MS + 7)


def test_a_replay_refuses_it_as_the_live_task_did(tmp_path: Path) -> None:
    letters: list[DeadLetter] = []

    def take(part: Judged) -> None:
        letters.extend(part.dead_letters)

    with open_recording(write(tmp_path / "a.mcap", with_a_hole())) as recording:
        run = Run(IN_FORCE, MoodScorer({}, Random(0)))
        done = asyncio.run(replay(recording, [run], take=take, pace=PACE))
    assert letters == [LETTER]
    assert (done.frames, done.first_ms) == (10, START_MS)
