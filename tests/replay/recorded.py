"""A recording in memory, made of what a simulated live task left behind, to be read, cut and changed."""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from functools import cache
from random import Random
from typing import TYPE_CHECKING, cast

from aiokafka.partitioner import murmur2
from msgspec.structs import replace

from stream_app.config import Operational
from stream_app.core.checkpoint import decode_checkpoint
from stream_app.core.settings import Semantic
from stream_app.core.types import NO_TIME_MS, Side, Unreadable
from stream_app.replay.recording import About, Kind, Lost, TopicRecord
from stream_app.wire.context import Context
from stream_app.wire.journal import SCHEMA, JournalRecord, decode_journal, encode_journal
from stream_app.wire.message import Message
from stream_app.wire.step import render_step
from stream_app.wiring.clients import topics_of
from tests.core.drive import MODEL, T0, Raw, raw_frame, raw_text
from tests.core.live import Live
from tests.core.streams import Stream

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from stream_app.core.types import RawRecord, Ref
    from stream_app.replay.verification import Verification
    from tests.core.live import Durable

TOPICS = topics_of(Operational())
CONTEXT = Context(deployment="d", partition=0, topics=TOPICS, model=MODEL, settings_sha256="11" * 32, provider="CPU")
#: Far enough behind the last record that nothing can be cut off by the end.
_BEHIND_MS = 600_000
_PARTITIONS = 2


@dataclass
class Recorded:
    """A recording: per topic and partition its records, in order of offset."""

    topics: dict[tuple[Kind, int], list[TopicRecord]]
    about: About = field(default_factory=lambda: About(
        deployment="d", topics=TOPICS, partitions=(0,), from_ms=0, to_ms=T0 + _BEHIND_MS
    ))  # fmt: skip

    def records(self) -> Iterator[tuple[Kind, TopicRecord]]:
        """Yield all records by append time, those of one topic and partition in order of their offsets."""
        sides = [[(kind, record) for record in records] for (kind, _), records in self.topics.items()]
        yield from heapq.merge(*sides, key=lambda one: one[1].append_ms)

    def of(self, kind: Kind) -> list[TopicRecord]:
        """Return the records of a topic, partition by partition."""
        return [record for (found, _), records in self.topics.items() if found == kind for record in records]

    def copy(self) -> Recorded:
        """Return a copy whose records can be exchanged."""
        return Recorded({place: list(records) for place, records in self.topics.items()}, self.about)

    def between(self, from_ms: int, to_ms: int, *, slack_ms: int = 0) -> Recorded:
        """Return what was appended in a range of time, as `vigil record` does.

        Inputs from where the first keyframe in it needs them, outputs from so long before to so long behind it.
        """
        slacks: dict[Kind, int] = {"alerts": slack_ms, "decisions": slack_ms, "dead_letters": slack_ms}
        kept = {
            place: [one for one in records if from_ms <= one.timestamp + slack and one.timestamp - slack < to_ms]
            for place, records in self.topics.items()
            for slack in [slacks.get(place[0], 0)]
        }
        lowest = (1 << 62, 1 << 62)
        for record in kept.get(("journal", 0), []):
            keyframe = decode_journal(record.value or b"").keyframe
            if keyframe is not None:
                checkpoint = decode_checkpoint(keyframe.checkpoint)
                lowest = (checkpoint.lowest(Side.TEXT), checkpoint.lowest(Side.FRAME))
                break
        for side, kind in ((Side.TEXT, "texts"), (Side.FRAME, "frames")):
            place: tuple[Kind, int] = (kind, 0)  # type: ignore[assignment]
            kept[place] = [
                one
                for one in self.topics.get(place, [])
                if one.append_ms < to_ms and (one.offset >= lowest[side] or one.append_ms >= from_ms)
            ]
        return Recorded(kept, About(
            deployment="d", topics=TOPICS, partitions=(0,), from_ms=from_ms, to_ms=to_ms
        ))  # fmt: skip


def _input_topic(raws: Iterable[RawRecord]) -> list[TopicRecord]:
    """Return inputs as they were on their topic."""
    made: list[TopicRecord] = []
    near_ms = T0
    for raw in raws:
        near_ms = max(near_ms, raw.timestamp)
        lost = None
        if isinstance(raw, Unreadable):
            lost = Lost(raw.first_offset, raw.reason, raw.detail, near_ms)
        size = len(raw.value or b"")
        made.append(TopicRecord(0, raw.offset, raw.timestamp, 1, raw.key, raw.value, tuple(raw.headers), size, lost))
    return made


def record_live(
    durable: Sequence[Durable], log: Mapping[Side, Sequence[Raw]], random: Random, *, keyframe_rate: float = 0.2
) -> Recorded:
    """Record what transactions left behind; a record of one may be appended a little later than the next of its own.

    Args:
        durable: what a live task published, transaction by transaction.
        log: what was on the input topics.
        random: chooses keyframes, and how far the records of a transaction lie apart.
        keyframe_rate: how many of the steps carry a keyframe; the first of an epoch always does.
    """
    made: dict[tuple[Kind, int], list[TopicRecord]] = {
        ("texts", 0): _input_topic(log[Side.TEXT]),
        ("frames", 0): _input_topic(log[Side.FRAME]),
    }
    payloads: dict[Ref, RawRecord] = {(side, raw.offset): raw for side in Side for raw in log[side]}
    now_ms = T0
    for one in durable:
        # A reset waits until nobody runs the task, so it lies well behind all that was published before.
        now_ms += 3 if one.reset is None else 20
        if one.step is not None:
            now_ms = max(now_ms, decode_checkpoint(one.step.checkpoint).append_ms)
        for message in _published(one, payloads, has_keyframe=one.is_first or random.random() < keyframe_rate):
            kind = _kind_of(message.topic)
            if kind is not None:
                _append(made, kind, message, now_ms + random.randint(0, 5), random)
    return Recorded(made)


def _published(one: Durable, payloads: Mapping[Ref, RawRecord], *, has_keyframe: bool) -> list[Message]:
    if one.step is None:
        assert one.reset is not None
        value = encode_journal(JournalRecord(schema=SCHEMA, partition=0, entries=(one.reset,)))
        return [Message(TOPICS.journal, CONTEXT.state_key, value)]
    return list(render_step(one.step, CONTEXT, payloads, is_first=one.is_first, has_keyframe=has_keyframe))


def _kind_of(topic: str) -> Kind | None:
    kinds: dict[str, Kind] = {
        TOPICS.alerts: "alerts", TOPICS.decisions: "decisions", TOPICS.journal: "journal",
        TOPICS.dead_letters: "dead_letters",
    }  # fmt: skip
    return kinds.get(topic)


def _append(
    made: dict[tuple[Kind, int], list[TopicRecord]], kind: Kind, message: Message, time_ms: int, random: Random
) -> None:
    key = message.key
    partition = random.randrange(_PARTITIONS) if key is None else (murmur2(key) & 0x7FFFFFFF) % _PARTITIONS
    records = made.setdefault((kind, 0 if kind == "journal" else partition), [])
    offset = records[-1].offset + random.randint(1, 2) if records else random.randint(0, 9)
    # Later than the one before on its partition; other partitions have brokers and clocks of their own.
    time_ms = max(time_ms, records[-1].timestamp) if records else time_ms
    place = 0 if kind == "journal" else partition
    value = message.value
    records.append(TopicRecord(place, offset, time_ms, 1, key, value, message.headers, len(value or b"")))


class BusyLive(Live):
    """Plays a longer log: with few crashes and resets, or it would not come to its end."""

    def _score(self) -> None:
        for _ in range(4):
            super()._score()

    def _crash(self) -> None:
        if self._may("crash", 4):
            super()._crash()

    def _reset(self) -> None:
        if self._may("reset", 2):
            super()._reset()

    def _may(self, what: str, often: int) -> bool:
        names = [f"{what} {number}" for number in range(often)]
        left = [name for name in names if name not in self.done]
        self.done.update(left[:1])
        return bool(left)


def _unreadable(raw: Raw, random: Random) -> Unreadable:
    """Return what stands for a record, or for a batch that ends with it, where no client can read it."""
    if random.random() < 0.4:
        return Unreadable(
            offset=raw.offset, first_offset=raw.offset, timestamp=raw.timestamp, reason="headers",
            detail="expected a name in UTF-8, found b'\\xff'", key=raw.key, value=raw.value, headers=(("a", None),),
        )  # fmt: skip
    time_ms = random.choice((NO_TIME_MS, raw.timestamp))
    return Unreadable(
        offset=raw.offset, first_offset=raw.offset - 1, timestamp=time_ms, reason="batch-crc", detail="noise"
    )


def busy_stream(random: Random) -> Stream:
    """Make a stream with everything in it: pairs, incidents, late ones, duplicates, refusals, failures, a flood."""
    settings = Semantic(
        before_ms=20, after_ms=20, grace_ms=10, sample_ms=10, quiet_ms=60, update_every_ms=15, max_ahead_ms=20,
        rate_per_s=20, rate_burst=12, window_bytes=400,
    ).check()  # fmt: skip
    stream = Stream(settings)
    logs: dict[Side, list[Raw]] = {Side.TEXT: [], Side.FRAME: []}
    now_ms = T0
    for _ in range(160):
        now_ms += random.choice((0, 1, 3, 5, 10, 25))
        side = random.choice((Side.TEXT, Side.FRAME, Side.FRAME))
        offset = len(logs[side]) * 2 + 3
        event_ms = now_ms - random.choice((0, 0, 1, 5, 9, 20, 90, -25))
        zone, identity = random.choice("xxxy"), random.choice((None, None, None, "a", "b", "c"))
        if side is Side.TEXT:
            severity = random.randint(0, 5)
            raw = raw_text(offset, now_ms, event_ms=event_ms, zone=zone, severity=severity, identity=identity)
        else:
            camera, size = random.choice(("c1", "c2")), random.choice((40, 60))
            raw = raw_frame(offset, now_ms, event_ms=event_ms, zone=zone, camera=camera, size=size, identity=identity)
        if random.random() < 0.05:
            raw = Raw(offset, now_ms, raw.key, b"")
        if random.random() < 0.05:
            raw = cast("Raw", _unreadable(raw, random))
        logs[side].append(raw)
        stream.scores.moods[(side, offset)] = random.choice((3, 2, 2, 1, -1))
        if random.random() < 0.08:
            stream.scores.failing.add((side, offset))
    stream.log = {side: list(raws) for side, raws in logs.items()}
    return stream


@cache
def _busy_recording(seed: int) -> Recorded:
    random = Random(seed)
    stream = busy_stream(random)
    live = BusyLive(stream, replace(stream.settings, sample_ms=5), random)
    return record_live(live.play(), stream.log, random)


def busy_recording(seed: int) -> Recorded:
    """A recording of a busy stream, whose task crashes, is reset and switches; one's own, to be changed."""
    return _busy_recording(seed).copy()


def journal_of(recorded: Recorded) -> list[JournalRecord]:
    """The records of its journal, read."""
    return [decode_journal(one.value or b"") for one in recorded.of("journal")]


def require_each_output_counted(recorded: Recorded, verdict: Verification) -> None:
    """Make sure that the verification of its one task says of each recorded output what became of it."""
    (task,) = verdict.tasks
    for kind in ("alerts", "decisions", "dead_letters"):
        counted = sum(counts.get(kind, 0) for counts in (task.verified, task.before, task.after))
        assert counted + verdict.unread == len(recorded.of(kind)), kind
