"""The source on a real Kafka: each record once and in order, whatever is opened, paused, resumed and broken off."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any, Protocol

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import RecordsToDelete

from stream_app.adapters.kafka.clients import admin_client, consumer
from stream_app.adapters.kafka.source import PositionLostError, SourceError
from stream_app.adapters.kafka.source.driver import ReadingThread
from stream_app.core.types import Side
from stream_app.runtime.ports.source import NotOurPartitionError
from tests.adapters.kafka.source_rig import Recorder, fill, make_topics, producing, running, settings_for, until

pytestmark = pytest.mark.kafka


class Broker(Protocol):
    @property
    def bootstrap(self) -> str: ...


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for data without end, where Faust looks again each second: only what wakes the wait ends it."""
    getmany = ReadingThread.getmany

    async def getmany_at_last(thread: ReadingThread, active: Any, _timeout: float) -> Mapping[Any, list[Any]]:  # noqa: ANN401
        return await getmany(thread, active, 3_600.0)

    monkeypatch.setattr(ReadingThread, "getmany", getmany_at_last)


def test_a_side_begins_at_the_offset_it_is_opened_at_and_not_before(kafka: Broker, topic_prefix: str) -> None:
    async def scenario() -> None:
        settings, recorder = settings_for(kafka.bootstrap, topic_prefix), Recorder()
        await make_topics(kafka.bootstrap, topic_prefix)
        async with producing(kafka.bootstrap) as producer:
            await fill(producer, settings.frames_topic, 1_000)
            await fill(producer, settings.texts_topic, 10)
        async with running(settings, recorder) as source:
            assert source.assignment() == {0}
            assert recorder.events == [("assigned", frozenset({0}))]
            assert not source.is_rebalancing
            await source.open(Side.TEXT, 0, 3)
            await until(lambda: recorder.offsets[Side.TEXT, 0] == list(range(3, 10)))
            assert (Side.FRAME, 0) not in recorder.offsets, "a record came before its side was opened"
            assert source.progress(Side.FRAME, 0) is None
            await source.open(Side.FRAME, 0, 400)
            await until(lambda: len(recorder.offsets[Side.FRAME, 0]) >= 600)
            assert recorder.offsets[Side.FRAME, 0] == list(range(400, 1_000))
            assert recorder.keys[Side.FRAME, 0] == [str(number).encode() for number in range(400, 1_000)]

    asyncio.run(scenario())


@pytest.mark.parametrize("codec", ["gzip", "lz4", "snappy", "zstd"])
def test_what_a_producer_compressed_is_read_whole(kafka: Broker, topic_prefix: str, codec: str) -> None:
    async def scenario() -> None:
        settings, recorder = settings_for(kafka.bootstrap, topic_prefix), Recorder()
        await make_topics(kafka.bootstrap, topic_prefix)
        async with producing(kafka.bootstrap, compression_type=codec) as producer:
            await fill(producer, settings.frames_topic, 3_000)
        async with running(settings, recorder) as source:
            await source.open(Side.FRAME, 0, 0)
            await until(lambda: len(recorder.offsets[Side.FRAME, 0]) >= 3_000)
            assert recorder.keys[Side.FRAME, 0] == [str(number).encode() for number in range(3_000)]

    asyncio.run(scenario())


def test_reopening_backwards_while_records_flow_lets_no_older_batch_through(kafka: Broker, topic_prefix: str) -> None:
    async def scenario() -> None:
        settings, recorder = settings_for(kafka.bootstrap, topic_prefix, fetch_bytes=20_000), Recorder()
        await make_topics(kafka.bootstrap, topic_prefix)
        async with producing(kafka.bootstrap) as producer, running(settings, recorder) as source:
            await source.open(Side.FRAME, 0, 0)
            feeding = asyncio.create_task(fill(producer, settings.frames_topic, 20_000))
            seen = recorder.offsets[Side.FRAME, 0]
            for back_to in (700, 5, 900, 0):
                await until(lambda: len(seen) > 1_000)
                if back_to == 900:
                    source.pause(Side.FRAME, 0)
                opening = asyncio.create_task(source.open(Side.FRAME, 0, back_to))
                await asyncio.sleep(0)  # it has begun: from here on only the new account counts
                seen.clear()
                await opening
                if back_to == 900:
                    source.resume(Side.FRAME, 0)
                await until(lambda: len(seen) > 200)
                assert seen == list(range(back_to, back_to + len(seen)))
            await feeding
            await until(lambda: len(seen) == 20_000)
            assert seen == list(range(20_000))

    asyncio.run(scenario())


@pytest.mark.usefixtures("patient")
def test_a_paused_side_loses_nothing_and_holds_up_no_other(kafka: Broker, topic_prefix: str) -> None:
    async def scenario() -> None:
        settings, recorder = settings_for(kafka.bootstrap, topic_prefix, fetch_bytes=20_000), Recorder()
        await make_topics(kafka.bootstrap, topic_prefix)
        async with producing(kafka.bootstrap) as producer, running(settings, recorder) as source:
            await source.open(Side.FRAME, 0, 0)
            await source.open(Side.TEXT, 0, 0)
            feeding = asyncio.create_task(fill(producer, settings.frames_topic, 20_000))
            await until(lambda: len(recorder.offsets[Side.FRAME, 0]) > 500)
            source.pause(Side.FRAME, 0)
            await feeding
            held_at: list[int] = []
            for texts in range(10, 60, 10):  # each time a fetch is answered that could have brought frames
                await fill(producer, settings.texts_topic, 10)
                await until(lambda texts=texts: len(recorder.offsets[Side.TEXT, 0]) == texts)  # type: ignore[misc]
                held_at.append(len(recorder.offsets[Side.FRAME, 0]))
            # The one batch that may still arrive does so before the first of them.
            assert held_at == [held_at[0]] * 5
            assert held_at[0] < 20_000
            progress = source.progress(Side.FRAME, 0)
            assert progress is not None
            assert not progress.is_at_end
            for _ in range(2):  # whoever reads waits by now, for nothing new comes
                now = time.monotonic()
                await until(lambda now=now: bool((it := source.progress(Side.TEXT, 0)) and it.fetched_at > now))  # type: ignore[misc]
            source.resume(Side.FRAME, 0)  # what has been fetched arrives without anything new
            await until(lambda: len(recorder.offsets[Side.FRAME, 0]) >= 20_000)
            assert recorder.offsets[Side.FRAME, 0] == list(range(20_000))
            assert recorder.offsets[Side.TEXT, 0] == list(range(50))

    asyncio.run(scenario())


@pytest.mark.usefixtures("patient")
def test_pause_and_resume_at_every_batch_deliver_each_offset_once_and_in_order(
    kafka: Broker, topic_prefix: str
) -> None:
    async def scenario() -> None:
        settings, recorder = settings_for(kafka.bootstrap, topic_prefix, fetch_bytes=20_000), Recorder()
        await make_topics(kafka.bootstrap, topic_prefix, partitions=2)
        async with producing(kafka.bootstrap) as producer:
            for partition in (0, 1):
                await fill(producer, settings.frames_topic, 10_000, partition=partition)
                await fill(producer, settings.texts_topic, 3_000, partition=partition)
        async with running(settings, recorder) as source:
            loop = asyncio.get_running_loop()

            def pause_a_moment(side: Side, partition: int) -> None:
                source.pause(side, partition)
                loop.call_later(0.005, source.resume, side, partition)

            recorder.on_batch = pause_a_moment
            for partition in (0, 1):
                for side in Side:
                    await source.open(side, partition, 0)
            await until(lambda: sum(map(len, recorder.offsets.values())) >= 26_000)
            for partition in (0, 1):
                assert recorder.offsets[Side.FRAME, partition] == list(range(10_000))
                assert recorder.offsets[Side.TEXT, partition] == list(range(3_000))
            assert recorder.batches > 20, "the backlog came in too few batches to pause between them"

    asyncio.run(scenario())


def test_an_exception_of_the_handler_ends_the_source_and_is_raised_by_wait(kafka: Broker, topic_prefix: str) -> None:
    async def scenario() -> None:
        settings, recorder = settings_for(kafka.bootstrap, topic_prefix), Recorder()
        await make_topics(kafka.bootstrap, topic_prefix)
        async with producing(kafka.bootstrap) as producer, running(settings, recorder) as source:
            await source.open(Side.FRAME, 0, 0)
            await fill(producer, settings.frames_topic, 5)
            await until(lambda: len(recorder.offsets[Side.FRAME, 0]) == 5)
            recorder.fail_with = RuntimeError("a bug of the shell")
            await fill(producer, settings.frames_topic, 5)
            with pytest.raises(RuntimeError, match="a bug of the shell"):
                await asyncio.wait_for(source.wait(), timeout=60)
            recorder.fail_with = None
            await fill(producer, settings.frames_topic, 5)
            async with consumer(settings.connection) as other:
                place = TopicPartition(settings.frames_topic, 0)
                other.assign([place])
                other.seek(place, 10)
                assert (await other.getone()).offset == 10, "there is more to be had"
            assert recorder.offsets[Side.FRAME, 0] == list(range(5)), "it went on behind the batch that failed"

    asyncio.run(scenario())


def test_a_position_above_the_log_end_ends_the_source_with_what_was_expected(kafka: Broker, topic_prefix: str) -> None:
    async def scenario() -> None:
        settings, recorder = settings_for(kafka.bootstrap, topic_prefix), Recorder()
        await make_topics(kafka.bootstrap, topic_prefix)
        async with producing(kafka.bootstrap) as producer:
            await fill(producer, settings.frames_topic, 10)
        async with running(settings, recorder) as source:
            await source.open(Side.FRAME, 0, 500)
            with pytest.raises(PositionLostError, match=r"offset 500: expected a position from 0 to 10"):
                await asyncio.wait_for(source.wait(), timeout=60)
            assert not recorder.offsets

    asyncio.run(scenario())


def test_a_position_that_retention_overtakes_while_it_is_read_ends_the_source_and_skips_nothing(
    kafka: Broker, topic_prefix: str
) -> None:
    async def scenario() -> None:
        settings, recorder = settings_for(kafka.bootstrap, topic_prefix, fetch_bytes=20_000), Recorder()
        await make_topics(kafka.bootstrap, topic_prefix)
        async with producing(kafka.bootstrap) as producer:
            await fill(producer, settings.frames_topic, 10_000)
        async with running(settings, recorder) as source, admin_client(settings.connection) as admin:
            recorder.on_batch = source.pause
            await source.open(Side.FRAME, 0, 0)
            await until(lambda: recorder.batches > 0)
            place = TopicPartition(settings.frames_topic, 0)
            await admin.delete_records({place: RecordsToDelete(before_offset=9_000)})
            recorder.on_batch = lambda _side, _partition: None
            source.resume(Side.FRAME, 0)
            with pytest.raises(PositionLostError, match="expected a position from 9000 to 10000"):
                await asyncio.wait_for(source.wait(), timeout=60)
            seen = recorder.offsets[Side.FRAME, 0]
            assert seen == list(range(len(seen)))
            assert len(seen) < 9_000

    asyncio.run(scenario())


def test_a_task_that_is_not_ours_is_refused_and_wait_returns_after_stop(kafka: Broker, topic_prefix: str) -> None:
    async def scenario() -> None:
        settings, recorder = settings_for(kafka.bootstrap, topic_prefix), Recorder()
        await make_topics(kafka.bootstrap, topic_prefix)
        async with running(settings, recorder) as source:
            with pytest.raises(NotOurPartitionError, match="ours are the tasks"):
                await source.open(Side.TEXT, 7, 0)
            waiting = asyncio.create_task(source.wait())
            await source.stop()
            await asyncio.wait_for(waiting, timeout=60)
            with pytest.raises(SourceError, match="create a new one"):
                await source.start()

    asyncio.run(scenario())
