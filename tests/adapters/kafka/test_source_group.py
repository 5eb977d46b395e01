"""The source in its group, and beside a broker that goes away."""

import asyncio
import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Protocol

import pytest

from stream_app.adapters.kafka.source import FaustSource
from stream_app.core.types import Side
from stream_app.local_kafka import LocalKafka
from tests.adapters.kafka.source_rig import (
    Recorder,
    fill,
    make_topics,
    producing,
    running,
    settings_for,
    until,
)


class Broker(Protocol):
    @property
    def bootstrap(self) -> str: ...


@pytest.fixture
def own_kafka() -> Iterator[LocalKafka]:
    """A broker that a test may kill."""
    with LocalKafka() as local:
        yield local


async def _open_all(source: FaustSource, sides: Iterable[Side] = Side) -> None:
    for partition in source.assignment():
        for side in sides:
            await source.open(side, partition, 0)


@pytest.mark.kafka
def test_both_sides_of_a_task_move_together_when_a_second_member_joins_and_leaves(
    kafka: Broker, topic_prefix: str
) -> None:
    async def scenario() -> None:
        settings = settings_for(kafka.bootstrap, topic_prefix)
        first, second = Recorder(), Recorder()
        await make_topics(kafka.bootstrap, topic_prefix, partitions=4)
        async with producing(kafka.bootstrap) as producer, running(settings, first) as one:
            for partition in range(4):
                await fill(producer, settings.frames_topic, 50, partition=partition)
                await fill(producer, settings.texts_topic, 20, partition=partition)
            assert one.assignment() == {0, 1, 2, 3}
            await _open_all(one)
            await until(lambda: sum(map(len, first.offsets.values())) == 280)
            first.offsets.clear()
            async with running(settings, second) as other:
                await until(lambda: len(one.assignment()) == 2 and len(other.assignment()) == 2)
                assert one.assignment() | other.assignment() == {0, 1, 2, 3}
                assert first.events[1] == ("revoked", frozenset({0, 1, 2, 3})), "revoked first, then assigned"
                assert first.events[2] == ("assigned", one.assignment())
                await fill(producer, settings.frames_topic, 1, partition=0)
                await asyncio.gather(_open_all(one, [Side.TEXT]), _open_all(other, [Side.TEXT]))
                await until(lambda: sum(map(len, (first.offsets | second.offsets).values())) >= 80)
                for recorder in (first, second):
                    assert {side for side, _ in recorder.offsets} == {Side.TEXT}, "frames came before their open"
                await asyncio.gather(_open_all(one, [Side.FRAME]), _open_all(other, [Side.FRAME]))
                await until(lambda: sum(map(len, (first.offsets | second.offsets).values())) == 281)
                for recorder, source in ((first, one), (second, other)):
                    assert set(recorder.offsets) == {(side, p) for p in source.assignment() for side in Side}
            first.offsets.clear()
            await until(lambda: one.assignment() == {0, 1, 2, 3})
            await _open_all(one)
            await until(lambda: sum(map(len, first.offsets.values())) == 281)
            for offsets in first.offsets.values():
                assert offsets == list(range(len(offsets)))

    asyncio.run(scenario())


@pytest.mark.kafka
def test_a_rebalance_in_a_backlog_with_sides_paused_delivers_each_offset_once_per_open(
    kafka: Broker, topic_prefix: str
) -> None:
    async def scenario() -> None:
        settings = settings_for(kafka.bootstrap, topic_prefix, fetch_bytes=20_000)
        first, second = Recorder(), Recorder()
        await make_topics(kafka.bootstrap, topic_prefix, partitions=2)
        async with producing(kafka.bootstrap) as producer:
            for partition in range(2):
                await fill(producer, settings.frames_topic, 15_000, partition=partition)
        async with running(settings, first) as one:
            await _open_all(one)
            await until(lambda: len(first.offsets[Side.FRAME, 0]) > 100)
            one.pause(Side.FRAME, 0)
            async with running(settings, second) as other:
                await until(lambda: len(one.assignment()) == 1 == len(other.assignment()))
                first.offsets.clear()
                await asyncio.gather(_open_all(one), _open_all(other))
                for source, recorder in ((one, first), (other, second)):
                    seen = recorder.offsets[Side.FRAME, min(source.assignment())]
                    await until(lambda seen=seen: len(seen) >= 15_000)  # type: ignore[misc]
                    assert seen == list(range(15_000))

    asyncio.run(scenario())


@pytest.mark.kafka
@pytest.mark.parametrize("is_killed", [False, True], ids=["stopped", "killed"])
def test_a_broker_that_comes_back_costs_no_record(own_kafka: LocalKafka, *, is_killed: bool) -> None:
    async def scenario() -> None:
        settings, recorder = settings_for(own_kafka.bootstrap, "restart"), Recorder()
        await make_topics(own_kafka.bootstrap, "restart")
        async with producing(own_kafka.bootstrap) as producer, running(settings, recorder) as source:
            await source.open(Side.FRAME, 0, 0)
            await source.open(Side.TEXT, 0, 0)
            await fill(producer, settings.frames_topic, 2_000)
            await until(lambda: len(recorder.offsets[Side.FRAME, 0]) == 2_000)
            before = source.progress(Side.TEXT, 0)
            assert before is not None
            if is_killed:
                own_kafka.kill()
            await asyncio.to_thread(own_kafka.restart)
            await fill(producer, settings.frames_topic, 2_000)
            if recorder.events[-1][0] == "revoked" or len(recorder.events) > 1:
                await until(lambda: recorder.events[-1][0] == "assigned")
                recorder.offsets.clear()
                await _open_all(source)
            await until(lambda: len(recorder.offsets[Side.FRAME, 0]) == 4_000)
            assert recorder.offsets[Side.FRAME, 0] == list(range(4_000))
            await until(lambda: bool((now := source.progress(Side.TEXT, 0)) and now.fetched_at > before.fetched_at))

    asyncio.run(scenario())


@pytest.mark.kafka
def test_a_batch_that_rotted_on_the_brokers_disk_is_one_loss_and_the_source_goes_on(own_kafka: LocalKafka) -> None:
    async def scenario() -> None:
        settings, recorder = settings_for(own_kafka.bootstrap, "rot"), Recorder()
        await make_topics(own_kafka.bootstrap, "rot")
        async with producing(own_kafka.bootstrap) as producer:
            await fill(producer, settings.frames_topic, 50)
            await fill(producer, settings.texts_topic, 50)
        _rot_a_byte(own_kafka.folder, f"{settings.frames_topic}-0")
        async with running(settings, recorder) as source:
            await source.open(Side.TEXT, 0, 0)
            await until(lambda: len(recorder.offsets[Side.TEXT, 0]) == 50)
            await source.open(Side.FRAME, 0, 0)
            await until(lambda: recorder.offsets[Side.FRAME, 0][-1:] == [49])
            (lost,) = recorder.unreadable
            assert (lost.reason, lost.first_offset, lost.timestamp) == ("batch-crc", 0, -1)
            assert recorder.offsets[Side.FRAME, 0] == list(range(lost.offset, 50))

    asyncio.run(scenario())


def _rot_a_byte(folder: Path, partition: str) -> None:
    (log,) = folder.glob(f"**/{partition}/00000000000000000000.log")
    with log.open("r+b") as file:
        # Far behind the head of the first batch, within the value of one of its records.
        file.seek(150)
        byte = file.read(1)
        file.seek(150)
        file.write(bytes((byte[0] ^ 1,)))


@pytest.mark.kafka
def test_an_unreachable_broker_is_an_error_of_start(topic_prefix: str) -> None:
    async def scenario() -> None:
        source = FaustSource(settings_for("127.0.0.1:9", topic_prefix), Recorder())
        with pytest.raises(Exception, match="Unable to bootstrap"):
            await asyncio.wait_for(source.start(), timeout=60)

    asyncio.run(scenario())


@pytest.mark.kafka
def test_a_source_makes_no_folder_that_a_kill_would_leave_behind(
    kafka: Broker, topic_prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    async def scenario() -> None:
        settings = settings_for(kafka.bootstrap, topic_prefix)
        await make_topics(kafka.bootstrap, topic_prefix)
        async with running(settings, Recorder()):
            assert await asyncio.to_thread(os.listdir, tmp_path) == []

    asyncio.run(scenario())
