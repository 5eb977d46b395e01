"""A source that is stopped while it joins leaves no member behind, wherever the join stands."""

import asyncio
import logging
import threading
from typing import Protocol

import msgspec
import pytest

from stream_app.adapters.kafka.source import FaustSource, SourceSettings
from tests.adapters.kafka.group_rig import LONG_SESSION_MS, group_of, hand_made_member, others_in
from tests.adapters.kafka.log_cues import at_line
from tests.adapters.kafka.source_rig import Recorder, make_topics, settings_for

pytestmark = pytest.mark.kafka

_COORDINATION = "aiokafka.consumer.group_coordinator"
#: What the client says at each step of joining, in order. Two of the first: before and after it is given a member id.
_STEPS = {
    "coordinator-found": ("Discovered coordinator", 1),
    "join-without-id": ("Sending JoinGroup", 1),
    "join-with-id": ("Sending JoinGroup", 2),
    "joined": ("Joined group", 1),
    "syncing": ("Sending leader SyncGroup", 1),
    "synced": ("Successfully synced", 1),
    "assigned": ("Setting newly assigned partitions", 1),
}


class Broker(Protocol):
    @property
    def bootstrap(self) -> str: ...


class _Stopped(FaustSource):
    """Says when its stop has begun."""

    def __init__(self, settings: SourceSettings) -> None:
        super().__init__(settings, Recorder())
        self.stop_begun = threading.Event()

    async def stop(self) -> None:
        # After the first step of the stop, which is taken without giving the loop away.
        asyncio.get_running_loop().call_soon(self.stop_begun.set)
        await super().stop()


def _settings(kafka: Broker, prefix: str) -> SourceSettings:
    return msgspec.structs.replace(settings_for(kafka.bootstrap, prefix), session_ms=LONG_SESSION_MS - 20_000)


@pytest.mark.parametrize("step", _STEPS)
def test_a_stop_at_any_step_of_the_first_join_leaves_no_member(
    kafka: Broker, topic_prefix: str, step: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        await make_topics(kafka.bootstrap, topic_prefix)
        source = _Stopped(_settings(kafka, topic_prefix))
        loop = asyncio.get_running_loop()
        reached = asyncio.Event()

        def reach() -> None:
            loop.call_soon_threadsafe(reached.set)
            source.stop_begun.wait(20)

        with at_line(_COORDINATION, *_STEPS[step], reach):
            starting = asyncio.create_task(source.start())
            await asyncio.wait_for(reached.wait(), 40)
            starting.cancel()
            await asyncio.wait([starting])
            await source.stop()
        assert source.stop_begun.is_set()
        assert await asyncio.wait_for(others_in(kafka.bootstrap, topic_prefix), 30) == set()

    asyncio.run(scenario())
    assert _said(caplog) == []


def test_a_stop_does_not_wait_for_a_first_join_that_another_member_holds_up(
    kafka: Broker, topic_prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        await make_topics(kafka.bootstrap, topic_prefix)
        source = _Stopped(_settings(kafka, topic_prefix))
        async with hand_made_member(kafka.bootstrap, topic_prefix) as absent:
            assert await absent.join() == [absent.member_id]
            starting = asyncio.create_task(source.start())
            await _until_group(kafka, topic_prefix, members=2)
            starting.cancel()
            await asyncio.wait([starting])
            await source.stop()
            _, members = await group_of(kafka.bootstrap, topic_prefix)
            assert members == {absent.member_id}

    asyncio.run(scenario())
    assert _said(caplog) == []


def test_a_stop_does_not_wait_for_a_later_rebalance_that_another_member_holds_up(
    kafka: Broker, topic_prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        await make_topics(kafka.bootstrap, topic_prefix)
        source = _Stopped(_settings(kafka, topic_prefix))
        loop = asyncio.get_running_loop()
        rejoins = asyncio.Event()
        async with (
            hand_made_member(kafka.bootstrap, topic_prefix) as absent,
            hand_made_member(kafka.bootstrap, topic_prefix) as newcomer,
        ):
            await asyncio.wait_for(source.start(), 40)
            with at_line(_COORDINATION, "Sending JoinGroup", 1, lambda: loop.call_soon_threadsafe(rejoins.set)):
                await absent.announce()
                joining = asyncio.create_task(newcomer.join())
                await asyncio.wait_for(rejoins.wait(), 40)
                await _until_group(kafka, topic_prefix, members=2)
                await source.stop()
            assert not joining.done(), "the one that is absent should have held the rebalance up"
            _, members = await group_of(kafka.bootstrap, topic_prefix)
            assert members == {newcomer.member_id}
            await absent.leave()
            assert await asyncio.wait_for(joining, 30) == [newcomer.member_id]

    asyncio.run(scenario())
    assert _said(caplog) == []


async def _until_group(kafka: Broker, group: str, *, members: int) -> None:
    async with asyncio.timeout(40):
        while len((await group_of(kafka.bootstrap, group))[1]) != members:
            pass


def _said(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What our own code warned of."""
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    return [record.getMessage() for record in warnings if record.name.startswith("stream_app")]
