"""Reads a range of a deployment's topics, by append time, as a read_committed consumer without group.

In: a consumer, and what is wanted. Out: a plan (where each partition begins and ends, and from when on the range can be
verified), then records. It takes nothing from running workers and leaves nothing behind.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from aiokafka import TopicPartition

from stream_app.adapters.kafka.by_time import ByTime
from stream_app.adapters.kafka.to_the_end import assign_all, read_to_the_end
from stream_app.adapters.kafka.unpacking import UnreadableRecord
from stream_app.adapters.recording.choose import OUTPUTS, SLACK_MS, Choice
from stream_app.adapters.recording.keyframes import Keyframes, in_words
from stream_app.adapters.recording.layout import KINDS, Begins, topic_of
from stream_app.core.event_time import format_event_time
from stream_app.core.types import NO_TIME_MS
from stream_app.replay.recording import About, Kind, Lost, TopicRecord

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Mapping

    from stream_app.adapters.kafka.answering import Tell

#: A worker that was killed leaves a transaction open for as long as its transaction time-out, a minute by default.
SILENCE_S: Final = 150.0
#: Of one partition so much is fetched at once: all of them wait for the slowest. A larger record comes all the same.
FETCH_BYTES: Final = 1024 * 1024
#: How far before the range its keyframe is looked for, step by step; then in all that is there.
_LOOK_BACK_MS: Final = (120_000, 1_800_000, 28_800_000)


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What is read: of each partition from where, and up to where if that is known."""

    choice: Choice
    begins: Begins
    ends: dict[TopicPartition, int]
    remarks: tuple[str, ...]


class TopicReader:
    """A deployment's topics, open for reading by a consumer."""

    def __init__(self, client: Any, about: About, tell: Tell) -> None:  # noqa: ANN401 - aiokafka has no types
        self._client = client
        self._about = about
        self._tell = tell
        self._by_time = ByTime(client, tell=tell, silence_s=SILENCE_S)
        self._kinds: dict[str, Kind] = {topic_of(kind, about.topics): kind for kind in KINDS}
        self._places: dict[Kind, list[TopicPartition]] = {}
        #: Records of the outputs that no client can read, in words; those of the inputs take their places.
        self.unreadable: list[str] = []

    async def open(self) -> None:
        """Find the partitions of all topics.

        Raises:
            TopicMissingError: if a topic does not exist.
        """
        for topic, kind in self._kinds.items():
            self._places[kind] = await assign_all(self._client, topic)

    @property
    def task_count(self) -> int:
        """How many tasks there are."""
        return len(self._places["frames"])

    async def plan(self, about: About, *, to_ms: int | None) -> Plan:
        """Find out where to begin and to end.

        Args:
            about: what is wanted.
            to_ms: the end of the range, exclusive; None: what is there now.
        """
        log_begins = await self._client.beginning_offsets(self._all())
        log_ends = await self._client.end_offsets(self._all())
        there: Begins = {(self._kind(place), place.partition): offset for place, offset in log_begins.items()}
        busy = [task for task in about.partitions if self._has_inputs(task, log_begins, log_ends)]
        keyframes = await self._keyframes(about, busy, there, log_ends, to_ms)
        found = {task: keyframes.start(task, about.from_ms, there) for task in busy}
        starts = {task: start for task, start in found.items() if start is not None}
        choice = Choice(about=about, to_ms=to_ms, starts=starts, reached=keyframes.reached)
        begins = await self._begins(choice, log_begins, log_ends)
        wanted = {place: end for place, end in log_ends.items() if self._is_wanted(place, about)}
        ends = await self._ends(choice, wanted)
        remarks = [in_words(task, start, about.from_ms) for task, start in found.items()]
        remarks += [*keyframes.unreadable, *await self._expired(choice, log_begins, begins)]
        return Plan(choice=choice, begins=begins, ends=ends, remarks=tuple(remarks))

    async def read(self, choice: Choice, ends: Mapping[TopicPartition, int]) -> AsyncIterator[tuple[Kind, TopicRecord]]:
        """Yield what is chosen, by append time, from the positions up to these ends.

        Raises:
            EndNotReachedError: if the brokers no longer answer, or a transaction stays open.
        """
        async for record in self._by_time.up_to(ends):
            kind = self._kinds[record.topic]
            if not isinstance(record, UnreadableRecord):
                found = as_topic_record(record)
            elif kind in OUTPUTS or kind == "journal":
                self.unreadable.append(f"{record.place}: {record.reason}, {record.detail}")
                continue
            else:
                found = as_lost_record(record, self._near_ms(record, choice))
            chosen = choice.of(kind, found)
            if chosen is not None:
                yield kind, chosen

    def _near_ms(self, record: UnreadableRecord, choice: Choice) -> int:
        """Return about when it was appended: where that is not known, not before what came before it."""
        return self._by_time.newest_ms(TopicPartition(record.topic, record.partition)) or choice.about.from_ms

    def seek(self, plan: Plan) -> None:
        """Go to where each partition that is wanted begins."""
        self._client.assign(list(plan.ends))
        for place in plan.ends:
            self._client.seek(place, plan.begins[self._kind(place), place.partition])

    async def ends_now(self, plan: Plan) -> dict[TopicPartition, int]:
        """Return where the partitions that are wanted end now."""
        return dict(await self._client.end_offsets(list(plan.ends)))

    def _kind(self, place: TopicPartition) -> Kind:
        return self._kinds[place.topic]

    def _all(self) -> list[TopicPartition]:
        return [place for places in self._places.values() for place in places]

    def _is_wanted(self, place: TopicPartition, about: About) -> bool:
        return self._kind(place) not in {"frames", "texts"} or place.partition in about.partitions

    def _has_inputs(self, task: int, begins: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]) -> bool:
        inputs = [place for kind in ("frames", "texts") for place in self._places[kind] if place.partition == task]
        return any(begins[place] < ends[place] for place in inputs)

    async def _keyframes(
        self, about: About, tasks: Iterable[int], there: Begins, ends: Mapping[TopicPartition, int], to_ms: int | None
    ) -> Keyframes:
        """Read as much of the journal as it takes to find a keyframe before the range for each of these tasks."""
        journal = self._places["journal"]
        behind = (
            await self._at(journal, to_ms, ends) if to_ms is not None else {place: ends[place] for place in journal}
        )
        found = Keyframes(about.deployment)
        for back_ms in (*_LOOK_BACK_MS, None):
            since_ms = 0 if back_ms is None else about.from_ms - back_ms
            found = await self._keyframes_since(since_ms, behind, about.deployment)
            starts = [found.start(task, about.from_ms, there) for task in tasks]
            if since_ms <= 0 or all(start is not None and start.append_ms <= about.from_ms for start in starts):
                break
        return found

    async def _keyframes_since(self, since_ms: int, behind: Mapping[TopicPartition, int], deployment: str) -> Keyframes:
        found = Keyframes(deployment)
        self._client.assign(list(behind))
        for place, offset in (await self._at(list(behind), since_ms, behind)).items():
            self._client.seek(place, offset)
        async for record in read_to_the_end(self._client, behind, tell=self._tell, silence_s=SILENCE_S):
            if not isinstance(record, UnreadableRecord):
                found.note(as_topic_record(record))
        return found

    async def _at(
        self, places: list[TopicPartition], time_ms: int, ends: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, int]:
        """Return the first offsets at or after a time; where there is none, the ends."""
        if not places:
            return {}
        found = await self._client.offsets_for_times(dict.fromkeys(places, max(time_ms, 0)))
        return {place: ends[place] if at is None else min(at.offset, ends[place]) for place, at in found.items()}

    async def _begins(
        self, choice: Choice, log_begins: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
    ) -> Begins:
        about = choice.about
        from_ms = dict.fromkeys(KINDS, about.from_ms) | dict.fromkeys(OUTPUTS, choice.outputs_from_ms)
        found: Begins = {}
        for kind, places in self._places.items():
            for place, offset in (await self._at(places, from_ms[kind], ends)).items():
                found[kind, place.partition] = max(offset, log_begins[place])
        for task, start in choice.starts.items():
            for place, offset in start.places(task):
                found[place] = min(found[place], offset)
        return found

    async def _ends(self, choice: Choice, log_ends: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
        to_ms = choice.to_ms
        if to_ms is None:
            return dict(log_ends)
        found: dict[TopicPartition, int] = {}
        for kind, places in self._places.items():
            wanted = [place for place in places if place in log_ends]
            found |= await self._at(wanted, to_ms + SLACK_MS if kind in OUTPUTS else to_ms, log_ends)
            if kind in {"texts", "frames"}:
                # A producer's clock that is fast ends a range by time too early.
                for place in wanted:
                    found[place] = max(found[place], min(choice.end_of(kind, place.partition), log_ends[place]))
        return found

    async def _expired(self, choice: Choice, log_begins: Mapping[TopicPartition, int], begins: Begins) -> list[str]:
        """Say where a topic no longer holds the beginning of what is wanted."""
        gone = [
            place
            for place in self._all()
            if log_begins[place] > 0 and log_begins[place] == begins[self._kind(place), place.partition]
        ]
        if not gone:
            return []
        first = await self._client.offsets_for_times(dict.fromkeys(gone, 0))
        return [
            f"{place.topic}/{place.partition} begins at {format_event_time(at.timestamp)}: what was before is gone"
            for place, at in first.items()
            if at is not None and at.timestamp > choice.about.from_ms
        ]


def as_lost_record(record: UnreadableRecord, near_ms: int) -> TopicRecord:
    """Return what no client can read as recordings hold it; ``near_ms`` is about when it was appended."""
    return TopicRecord(
        record.partition,
        record.offset,
        record.timestamp,
        NO_TIME_MS,
        record.key,
        record.value,
        record.headers,
        len(record.value or b""),
        Lost(record.first_offset, record.reason, record.detail, near_ms),
    )


def as_topic_record(record: Any) -> TopicRecord:  # noqa: ANN401 - aiokafka has no types
    """Return a consumer's record as recordings hold it."""
    return TopicRecord(
        record.partition,
        record.offset,
        record.timestamp,
        record.timestamp_type,
        record.key,
        record.value,
        tuple(record.headers),
        len(record.value or b""),
    )
