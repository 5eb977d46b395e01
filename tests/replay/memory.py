"""Recordings in memory, and a scorer that answers in any order."""

from __future__ import annotations

import asyncio
import heapq
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from stream_app.core.types import Side
from stream_app.replay.recording import About, Kind, TopicRecord
from stream_app.runtime.ports.scoring import Score
from stream_app.wire.topics import Topics
from tests.core.drive import MICRO

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from stream_app.core.types import RawRecord
    from stream_app.runtime.ports.scoring import RecordKey, ScoreItem

TOPICS = Topics(
    frames="vigil.frames",
    texts="vigil.texts",
    alerts="vigil.alerts",
    decisions="vigil.decisions",
    journal="vigil.journal",
    state="vigil.state",
    dead_letters="vigil.dead-letters",
)


def as_recorded(raw: RawRecord, partition: int = 0) -> TopicRecord:
    """Make the record of a topic of what a client delivers."""
    return TopicRecord(
        partition=partition,
        offset=raw.offset,
        timestamp=raw.timestamp,
        timestamp_type=1,
        key=raw.key,
        value=raw.value,
        headers=tuple(raw.headers),
        size=len(raw.value or b""),
    )


@dataclass
class Memory:
    """A recording in memory. ``logs`` are the records of each topic and partition, in order of their offsets."""

    logs: Mapping[Kind, Sequence[TopicRecord]]
    has_pictures: bool = True
    breaks_after: int | None = None
    reads: int = 0
    #: Decides which of two equally old records comes first: a file promises nothing there.
    ties: Random = field(default_factory=lambda: Random(0))

    @property
    def about(self) -> About:
        records = [record for log in self.logs.values() for record in log]
        times = [record.timestamp for record in records] or [0]
        partitions = tuple(sorted({record.partition for record in records}))
        return About(
            deployment="night",
            topics=TOPICS,
            partitions=partitions,
            from_ms=min(times),
            to_ms=max(times) + 1,
            has_pictures=self.has_pictures,
        )

    def records(self) -> Iterator[tuple[Kind, TopicRecord]]:
        self.reads += 1
        queues: dict[tuple[Kind, int], list[TopicRecord]] = {}
        for kind, log in self.logs.items():
            for record in log:
                queues.setdefault((kind, record.partition), []).append(record)
        heads = [(queue[0].timestamp, self.ties.random(), key, 0) for key, queue in queues.items()]
        heapq.heapify(heads)
        while heads:
            _, _, key, at = heapq.heappop(heads)
            yield key[0], queues[key][at]
            if at + 1 < len(queues[key]):
                heapq.heappush(heads, (queues[key][at + 1].timestamp, self.ties.random(), key, at + 1))


@dataclass
class MoodScorer:
    """A model that is a sum, by side and offset; as :class:`tests.core.drive.Scores`. It answers when chance has it."""

    moods: Mapping[tuple[Side, int], int]
    random: Random | None = None
    asked: Counter[RecordKey] = field(default_factory=Counter)
    forgotten: set[RecordKey] = field(default_factory=set)
    most: int = 0
    _now: int = 0

    async def score(self, item: ScoreItem) -> Score:
        for side in (item.image, item.text):
            if side is not None:
                assert side.key not in self.forgotten, "scored after its bytes were let go"
                self.asked[side.key] += 1
        self._now += 1
        self.most = max(self.most, self._now)
        if self.random is not None:
            for _ in range(self.random.choice((0, 0, 1, 2, 5, 20))):
                await asyncio.sleep(0)
        self._now -= 1
        image = None if item.image is None else self._mood(item.image.key)
        text = None if item.text is None else self._mood(item.text.key)
        if image is None or text is None:
            return Score(_logits(text, image))
        return Score(_logits(text, image), _logits(text, None), _logits(None, image))

    def forget(self, key: RecordKey) -> None:
        self.forgotten.add(key)

    def _mood(self, key: RecordKey) -> int:
        return self.moods.get((Side(key[2]), key[3]), 0) * MICRO


def _logits(text: int | None, image: int | None) -> tuple[int, ...]:
    return ((text or 0) + (image or 0), (text or 0) - (image or 0), 0)
