"""Recorded inputs are sent in the order of their append times, over both topics, however slowly brokers confirm."""

import asyncio
from types import SimpleNamespace
from typing import Any

from stream_app.adapters.feed.recorded import Progress, feed_recorded
from stream_app.adapters.feed.turns import STEP_MS
from stream_app.replay.played import Played
from stream_app.replay.recording import Kind


class SlowProducer:
    """Confirms a record when it is told to."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, bytes]] = []
        self.open: list[asyncio.Future[Any]] = []
        self.client = self

    async def fetch_all_metadata(self) -> Any:  # noqa: ANN401 - aiokafka has no types
        return SimpleNamespace(topics=lambda: {"f", "t"}, partitions_for_topic=lambda _: {0, 1})

    async def send(self, topic: str, value: bytes, **_: Any) -> asyncio.Future[Any]:  # noqa: ANN401 - likewise
        self.sent.append((topic, value))
        self.open.append(asyncio.get_running_loop().create_future())
        return self.open[-1]

    def confirm(self) -> None:
        self.open.pop(0).set_result(SimpleNamespace(partition=0, offset=0))


def played(kind: Kind, step: int, value: bytes) -> Played:
    return Played(kind, 0, b"yard", value, (), step * STEP_MS)


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


def test_a_text_waits_for_the_frames_of_the_half_seconds_before_it_and_they_for_it() -> None:
    records = [played("frames", 1, b"1"), played("frames", 2, b"2"), played("texts", 2, b"a"), played("texts", 3, b"b")]
    records.append(played("frames", 4, b"3"))

    async def play() -> None:
        producer, progress = SlowProducer(), Progress()
        job = asyncio.create_task(feed_recorded(producer, records, progress, frames="f", texts="t", speed=0))
        await settle()
        # Frames do not wait for frames; a text of the same half second for none.
        assert [value for _, value in producer.sent] == [b"1", b"2", b"a"]
        producer.confirm()
        await settle()
        assert len(producer.sent) == 3
        producer.confirm()
        await settle()
        assert [value for _, value in producer.sent][3:] == [b"b"]
        producer.confirm()
        await settle()
        assert len(producer.sent) == 4
        producer.confirm()
        await settle()
        assert producer.sent[-1] == ("f", b"3")
        producer.confirm()
        await job
        assert (progress.frames.sent, progress.texts.sent, progress.moment_ms) == (3, 2, 4 * STEP_MS)

    asyncio.run(play())
