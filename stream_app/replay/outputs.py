"""What a recording holds of a task's outputs, found by name, and in the order in which each partition holds them.

In: records of the output topics. Out: which task put one out and by what name; the recorded counterpart of what the
core puts out, and what lies before it on its partition that the core did not.
"""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING, Annotated

import msgspec

from stream_app.core.event_time import parse_event_time
from stream_app.core.types import Side
from stream_app.replay.differing import LostError
from stream_app.wire.alerts import Alert, decode_alert
from stream_app.wire.dead_letters import DeadLetter, decode_dead_letter
from stream_app.wire.decisions import DecisionScores, decode_scores
from stream_app.wire.message import SCHEMA, NewerError, WireError, decode_value, event_type

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from stream_app.replay.recording import About, Kind, TopicRecord

#: Later than any time.
NEVER_MS = 1 << 62
#: How many names of outputs that were met are remembered, to tell one that was recorded twice.
_REMEMBERED = 10_000
#: Of alerts, notices and decisions, with the version of their schema.
_TYPE = re.compile(r"vigil\.(?:alert\.[a-z]+|notice|decision)\.v([0-9]{1,9})")


class _EvidenceRef(msgspec.Struct):
    partition: int


class _Newer(msgspec.Struct):
    """What an output of a newer version is expected to say of its task all the same."""

    evidence: Annotated[tuple[_EvidenceRef, ...], msgspec.Meta(min_length=1)]
    sequence: int | None = None
    index: int | None = None


class Output(msgspec.Struct, eq=False):
    """One recorded output of a task. ``life`` counts the resets before it; ``name`` is unique within one.

    ``place`` is a decision's in the task's order. ``newer`` says that a newer version wrote it, which this one cannot
    read; empty otherwise.
    """

    partition: int
    kind: Kind
    name: str
    record: TopicRecord
    decision: DecisionScores | None = None
    letter: DeadLetter | None = None
    life: int = 0
    place: tuple[object, object] | None = None
    newer: str = ""

    @property
    def time_ms(self) -> int | None:
        """The stream time at which it was put out, in ms, where it says one."""
        found = dict(self.record.headers).get("ce_time")
        try:
            return None if found is None else parse_event_time(found.decode("utf-8", "replace"))
        except ValueError:
            return None


def name_of(kind: Kind, headers: Sequence[tuple[str, bytes | None]]) -> str:
    """Return what an output is called: its id, or where the record lies that a dead letter is about."""
    if kind == "dead_letters":
        letter = decode_dead_letter(headers)
        return f"{letter.topic}/{letter.partition} offset {letter.offset}"
    for name, content in headers:
        if name == "ce_id":
            return (content or b"").decode("utf-8", "replace")
    return ""


def read_output(kind: Kind, record: TopicRecord, about: About) -> Output | None:
    """Read whose output a record is; None where it is another deployment's.

    One that a newer version wrote is an output, too, as far as it says of which task.

    Raises:
        WireError: if it cannot be read.
    """
    name = name_of(kind, record.headers)
    if kind == "dead_letters":
        letter = decode_dead_letter(record.headers)
        is_ours = letter.deployment == about.deployment and letter.topic in {about.topics.frames, about.topics.texts}
        return Output(letter.partition, kind, name, record, letter=letter) if is_ours else None
    if ("ce_source", f"/vigil/{about.deployment}".encode()) not in record.headers:
        return None
    try:
        return _read_event(kind, name, record, about)
    except NewerError as newer:
        return _newer_output(kind, name, record, about, newer)


def _read_event(kind: Kind, name: str, record: TopicRecord, about: About) -> Output | None:
    event = event_type(record.headers)
    version = _TYPE.fullmatch(event)
    if version is not None and int(version[1]) > SCHEMA:
        raise NewerError(f"expected an event of version {SCHEMA}, found {event}: a newer version of Vigil wrote it")
    if kind == "decisions":
        decision = decode_scores(record.value)
        place = (decision.sequence, decision.index)
        return Output(decision.partition, kind, name, record, decision=decision, place=place)
    alert = decode_alert(record.value, record.headers)
    if alert is None:
        return None
    if isinstance(alert, Alert):
        return Output(alert.evidence[0].partition, kind, name, record)
    found = re.match(rf"{re.escape(alert.notice)}-{re.escape(about.deployment)}-(\d+)-", name)
    if found is None:
        raise WireError(f"notice: expected an id with deployment and partition, found {name}")
    return Output(int(found[1]), kind, name, record)


def _newer_output(kind: Kind, name: str, record: TopicRecord, about: About, newer: NewerError) -> Output:
    words = f"{kind}, {name or f'offset {record.offset}'}: {newer}"
    # By its id, as notices of this version; they name no records.
    notice = re.match(rf"[a-z-]+-{re.escape(about.deployment)}-([0-9]+)-", name)
    if notice is not None and kind == "alerts":
        return Output(int(notice[1]), kind, name, record, newer=words)
    said = decode_value(record.value, _Newer, kind)
    place = None if kind != "decisions" else (said.sequence, said.index)
    return Output(said.evidence[0].partition, kind, name, record, place=place, newer=words)


def side_of(letter: DeadLetter, about: About) -> Side:
    """Return the side of the record that a dead letter is about."""
    return Side.TEXT if letter.topic == about.topics.texts else Side.FRAME


class Outputs:
    """The recorded outputs of one task that the core has not put out yet."""

    def __init__(self) -> None:
        self._by_name: dict[tuple[int, Kind, str], Output] = {}
        self._by_place: dict[tuple[Kind, int], deque[Output]] = {}
        self._scores: dict[tuple[int, object, object], Output] = {}
        self._met: dict[tuple[int, Kind, str], None] = {}
        #: Topics' partitions from which one was taken: nothing on them lies before the beginning any more.
        self.begun: set[tuple[Kind, int]] = set()
        #: When the task was taken up, in append time; before that, never. What was appended earlier may be of a life
        #: of which the recording holds no reset, and have the name and the place of one that is still to come.
        self.since_ms = NEVER_MS

    def knows(self, output: Output) -> bool:
        """Whether one of this name was there before."""
        key = (output.life, output.kind, output.name)
        return key in self._by_name or key in self._met

    def add(self, output: Output) -> None:
        """Take the next record of a partition."""
        self._by_name[(output.life, output.kind, output.name)] = output
        self._by_place.setdefault((output.kind, output.record.partition), deque()).append(output)
        if output.place is not None:
            self._scores[(output.life, *output.place)] = output

    def find(self, life: int, kind: Kind, name: str, *, is_last_chance: bool = False) -> Output | None:
        """Return the recorded output of a name; one that may be of an earlier life only as a last chance."""
        return self._unless_early(self._by_name.get((life, kind, name)), is_last_chance=is_last_chance)

    def decision_at(
        self, life: int, sequence: int, index: int, *, is_last_chance: bool = False
    ) -> DecisionScores | None:
        """Return the decision at a place in the task's order, as in :meth:`find`.

        Raises:
            LostError: if a newer version wrote it.
        """
        output = self._unless_early(self._scores.get((life, sequence, index)), is_last_chance=is_last_chance)
        if output is not None and output.newer:
            raise LostError(output.newer)
        return output.decision if output is not None else None

    def drop(self, output: Output) -> None:
        """Let go of one that was not met, wherever it lies."""
        self._by_place[output.kind, output.record.partition].remove(output)
        self._forget(output)

    def take(self, output: Output) -> list[Output]:
        """Let go of an output that was met; return those before it on its partition, which are let go of, too."""
        place = (output.kind, output.record.partition)
        queue = self._by_place[place]
        before: list[Output] = []
        while queue[0] is not output:
            before.append(queue.popleft())
            self._forget(before[-1])
        queue.popleft()
        self._forget(output)
        self._met[(output.life, output.kind, output.name)] = None
        if len(self._met) > _REMEMBERED:
            del self._met[next(iter(self._met))]
        return before

    def left(self) -> Iterator[Output]:
        """Yield what is left, partition by partition in order of offset."""
        for queue in self._by_place.values():
            yield from queue

    def lose(self) -> None:
        """Forget what was met: in a gap there may be a reset, and behind it the same names again."""
        self._met.clear()
        self.begun.clear()
        self.since_ms = NEVER_MS

    def clear(self) -> None:
        """Let go of everything."""
        for index in (self._by_name, self._by_place, self._scores):
            index.clear()

    def _forget(self, output: Output) -> None:
        key = (output.life, output.kind, output.name)
        if self._by_name.get(key) is output:
            del self._by_name[key]
        if output.place is not None:
            place = (output.life, *output.place)
            if self._scores.get(place) is output:
                del self._scores[place]

    def _unless_early(self, output: Output | None, *, is_last_chance: bool) -> Output | None:
        # Brokers' clocks differ: one that is early may be the right one all the same, if no other comes.
        return output if output is None or is_last_chance or output.record.timestamp >= self.since_ms else None
