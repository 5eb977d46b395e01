"""What the source says of its progress: never at the end too early, at the end soon, whatever ends the partition."""

import asyncio
import itertools
import time
from typing import Protocol

import pytest
from aiokafka import TopicPartition

from stream_app.adapters.kafka.source import FaustSource
from stream_app.adapters.kafka.source.gate import Gate
from stream_app.adapters.kafka.source.reading import Reading
from stream_app.core.types import Side
from stream_app.runtime.ports.source import Progress
from tests.adapters.kafka.source_rig import Recorder, fill, make_topics, producing, running, settings_for, until

_TP = TopicPartition("vigil.frames", 3)
#: The race is run for so many bursts at least, and until it was looked at so often at the end and before it.
_BURSTS, _CHECKS = 42, 20


class Broker(Protocol):
    @property
    def bootstrap(self) -> str: ...


class Raw:
    """The parts of a Kafka record that the account looks at."""

    def __init__(self, offset: int, timestamp: int) -> None:
        self.offset = offset
        self.timestamp = timestamp
        self.key: bytes | None = None
        self.value: bytes | None = None
        self.headers: tuple[tuple[str, bytes], ...] = ()


def test_a_snapshot_is_at_its_end_only_behind_the_last_stable_offset() -> None:
    reading = Reading()
    reading.note_seek(_TP, 1)
    assert _TP not in reading.snapshots, "nothing is known before the first answer"
    reading.note_response(_TP, position=10, end=12, sent_at=5.0, received_at=5.1)
    assert not reading.snapshots[_TP].is_at_end
    batch = reading.note_drained(_TP, [Raw(10, 1_000)], position=11)
    assert (batch.seek_number, batch.ordinal) == (1, 1)
    assert not reading.snapshots[_TP].is_at_end
    reading.note_position(_TP, 12)  # an aborted record, or a control record
    assert reading.snapshots[_TP].is_at_end
    assert reading.snapshots[_TP].batches == 1


def test_a_seek_forgets_what_was_known_and_numbers_batches_anew() -> None:
    reading = Reading()
    reading.note_seek(_TP, 1)
    reading.note_response(_TP, position=0, end=1, sent_at=5.0, received_at=5.1)
    reading.note_drained(_TP, [Raw(0, 1_000)], position=1)
    reading.note_seek(_TP, 2)
    assert _TP not in reading.snapshots
    assert not reading.has_read_since_seek(_TP)
    batch = reading.note_drained(_TP, [Raw(0, 1_000)], position=1)
    assert (batch.seek_number, batch.ordinal) == (2, 1)


def test_broker_time_is_anchored_at_the_newest_append_timestamp_of_any_partition() -> None:
    reading = Reading()
    other = TopicPartition("vigil.texts", 0)
    for tp in (_TP, other):
        reading.note_seek(tp, 1)
    reading.note_response(_TP, position=0, end=9, sent_at=5.0, received_at=5.1)
    reading.note_response(other, position=0, end=9, sent_at=7.0, received_at=7.1)
    reading.note_drained(_TP, [Raw(0, 900), Raw(1, 1_000)], position=2)
    assert reading.append_anchor == (1_000, 5.1)
    reading.note_drained(other, [Raw(0, 400)], position=1)
    assert reading.append_anchor == (1_000, 5.1), "an older record says nothing of the time now"
    reading.note_drained(other, [Raw(1, 2_000)], position=2)
    assert reading.append_anchor == (2_000, 7.1)


def test_the_gate_lets_through_what_is_open_and_not_paused_and_tells_what_is_stale() -> None:
    gate, wakes = Gate(), itertools.count()
    gate.on_wider(lambda: (next(wakes), None)[1])
    gate.expect(_TP, 4)
    assert gate.wanted({_TP}).partitions == frozenset(), "fetched before its seek"
    gate.open(_TP)
    assert gate.wanted({_TP}).partitions == {_TP}
    assert gate.wanted(set()).partitions == frozenset(), "the client paused it"
    gate.pause(_TP)
    gate.pause(_TP)
    assert gate.wanted({_TP}).partitions == frozenset()
    before = gate.width
    gate.resume(_TP)
    gate.resume(_TP)
    assert gate.wanted({_TP}).partitions == {_TP}
    assert gate.width == before + 1, "only a resume that changes something wakes the fetch"
    gate.pause(_TP)
    epoch = gate.epoch
    gate.revoke_all()
    assert (gate.seek_number(_TP), gate.epoch) == (None, epoch + 1)
    gate.expect(_TP, 5)
    gate.open(_TP)
    assert gate.wanted({_TP}).partitions == {_TP}, "a pause outlived the assignment"
    assert next(wakes) == 3


@pytest.mark.kafka
def test_at_the_end_means_that_everything_acknowledged_before_the_fetch_is_delivered(
    kafka: Broker, topic_prefix: str
) -> None:
    async def scenario() -> None:
        settings, recorder = settings_for(kafka.bootstrap, topic_prefix, fetch_bytes=20_000), Recorder()
        await make_topics(kafka.bootstrap, topic_prefix)
        acknowledged: list[float] = []  # monotonic time of the acknowledgement of each offset
        checks = {"at end": 0, "not": 0}

        async def feed() -> None:
            for number, burst in enumerate(itertools.cycle((1, 1, 400, 3, 2_000, 1, 60))):
                if number >= _BURSTS and min(checks.values()) > _CHECKS:
                    return
                pending = [await producer.send(settings.frames_topic, b"x" * 100, partition=0) for _ in range(burst)]
                await asyncio.gather(*pending)
                acknowledged.extend([time.monotonic()] * burst)
                await asyncio.sleep(0.01 * (burst % 7))

        def check(_side: Side, _partition: int) -> None:
            progress = source.progress(Side.FRAME, 0)
            if progress is None or not progress.is_at_end:
                checks["not"] += 1
                return
            checks["at end"] += 1
            delivered = len(recorder.offsets[Side.FRAME, 0])
            covered = sum(at < progress.fetched_at for at in acknowledged)
            assert delivered >= covered, f"at the end, but {covered - delivered} records are undelivered"

        async with producing(kafka.bootstrap) as producer, running(settings, recorder) as source:
            recorder.on_batch = check
            await source.open(Side.FRAME, 0, 0)
            feeding = asyncio.create_task(feed())
            while not feeding.done():
                check(Side.FRAME, 0)
                await asyncio.sleep(0.001)
            await feeding
            await until(lambda: len(recorder.offsets[Side.FRAME, 0]) == len(acknowledged))
            read = time.monotonic()
            await until(lambda: (now := source.progress(Side.FRAME, 0)) is not None and now.fetched_at > read)
            progress = source.progress(Side.FRAME, 0)
            assert progress is not None
            assert progress.is_at_end, "the first answer that brings nothing says so"
            assert progress.position == progress.end == len(acknowledged)
            assert recorder.offsets[Side.FRAME, 0] == list(range(len(acknowledged)))

    asyncio.run(scenario())


@pytest.mark.kafka
def test_an_aborted_transaction_at_the_end_is_passed_and_an_open_one_is_waited_for(
    kafka: Broker, topic_prefix: str
) -> None:
    async def scenario() -> None:
        settings, recorder = settings_for(kafka.bootstrap, topic_prefix), Recorder()
        await make_topics(kafka.bootstrap, topic_prefix)

        def is_at_end() -> bool:
            progress = source.progress(Side.FRAME, 0)
            return progress is not None and progress.is_at_end

        def fetched_after(moment: float) -> bool:
            progress = source.progress(Side.FRAME, 0)
            return progress is not None and progress.fetched_at > moment

        seen = recorder.offsets[Side.FRAME, 0]
        async with (
            producing(kafka.bootstrap) as plain,
            producing(kafka.bootstrap, transactional_id=f"{topic_prefix}-t") as producer,
            running(settings, recorder) as source,
        ):
            await fill(plain, settings.frames_topic, 3)
            await source.open(Side.FRAME, 0, 0)
            await until(is_at_end)
            assert seen == [0, 1, 2]
            await producer.begin_transaction()
            await fill(producer, settings.frames_topic, 4)
            now = time.monotonic()
            await until(lambda: fetched_after(now))
            assert is_at_end(), "an open transaction has nothing for a reader of committed records"
            await producer.abort_transaction()
            # The broker confirms before it has written the marker: 3 records, 4 aborted, 1 control record.
            await until(lambda: bool((progress := source.progress(Side.FRAME, 0)) and progress.position == 8))
            await until(is_at_end)
            assert seen == [0, 1, 2], "an aborted record was delivered"
            await source.open(Side.FRAME, 0, 3)  # nothing but aborted records from here on
            await until(is_at_end)
            await source.open(Side.FRAME, 0, 8)  # exactly the end
            await until(is_at_end)
            async with producer.transaction():
                await fill(producer, settings.frames_topic, 2)
            await until(lambda: seen == [0, 1, 2, 8, 9])
            await until(is_at_end)

    asyncio.run(scenario())


@pytest.mark.kafka
def test_progress_stays_fresh_on_an_idle_partition_and_tells_the_brokers_time(kafka: Broker, topic_prefix: str) -> None:
    async def scenario() -> None:
        settings, recorder = settings_for(kafka.bootstrap, topic_prefix), Recorder()
        await make_topics(kafka.bootstrap, topic_prefix)
        async with producing(kafka.bootstrap) as producer, running(settings, recorder) as source:
            await source.open(Side.TEXT, 0, 0)
            await source.open(Side.FRAME, 0, 0)
            await until(lambda: source.progress(Side.TEXT, 0) is not None)
            first = source.progress(Side.TEXT, 0)
            assert first is not None
            assert (first.is_at_end, first.append_ms) == (True, None)
            sent_at = time.monotonic()
            await fill(producer, settings.frames_topic, 1)
            await until(lambda: len(recorder.offsets[Side.FRAME, 0]) == 1)
            on_its_way_ms = (time.monotonic() - sent_at) * 1_000
            for side in (*Side, *Side):
                now = time.monotonic()
                progress = await _fetched_after(source, side, now)
                assert progress.append_ms is not None
                # This machine runs the broker too, so its wall clock is the broker's; the other clock is read before
                # and behind it. The broker stamped the record before it came, and at most so long before.
                before, wall, behind = time.monotonic(), time.time(), time.monotonic()
                earliest_ms, latest_ms = ((wall - (at - progress.fetched_at)) * 1_000 for at in (behind, before))
                assert earliest_ms - on_its_way_ms - 2 <= progress.append_ms <= latest_ms + 2

    asyncio.run(scenario())


async def _fetched_after(source: FaustSource, side: Side, moment: float) -> Progress:
    """Wait for an answer to a request that was sent after a moment; the topics are idle meanwhile."""
    await until(lambda: bool((now := source.progress(side, 0)) and now.fetched_at > moment))
    progress = source.progress(side, 0)
    assert progress is not None
    return progress
