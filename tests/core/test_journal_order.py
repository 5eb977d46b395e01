"""The journal and the input topics determine the order in which a live task took its records, and so all it put out."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from stream_app.config import Operational
from stream_app.core.checkpoint import Checkpoint, decode_checkpoint
from stream_app.core.journal import (
    JournalEntry,
    JournalReset,
    JournalSkipped,
    JournalSwitch,
    JournalText,
    JournalThinning,
    JournalTick,
)
from stream_app.core.settings import Semantic
from stream_app.core.task import Task
from stream_app.core.types import Side
from stream_app.wire.context import Context
from stream_app.wire.journal import (
    SCHEMA,
    Frames,
    JournalEpoch,
    JournalError,
    JournalRecord,
    JournalStep,
    Place,
    Text,
    decode_journal,
    encode_journal,
    in_order,
)
from stream_app.wire.message import Message
from stream_app.wire.step import render_step
from stream_app.wiring.clients import topics_of
from tests.core.drive import MODEL
from tests.core.examples import examples
from tests.core.live import Durable, Live
from tests.core.streams import Stream, semantics, streams

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream_app.core.types import Model, RawRecord, Ref
    from tests.core.drive import Raw, Scores

TEXT, FRAME = Side.TEXT, Side.FRAME
CONTEXT = Context(
    deployment="d", partition=0, topics=topics_of(Operational()), model=MODEL, settings_sha256="11" * 32, provider="CPU"
)


def _payloads(stream: Stream) -> dict[Ref, RawRecord]:
    return {(side, raw.offset): raw for side in Side for raw in stream.log[side]}


def _published(one: Durable, stream: Stream) -> list[Message]:
    """Render what one transaction published."""
    if one.step is None:
        assert one.reset is not None
        value = encode_journal(JournalRecord(schema=SCHEMA, partition=0, entries=(one.reset,)))
        return [Message(CONTEXT.topics.journal, CONTEXT.state_key, value)]
    return list(render_step(one.step, CONTEXT, _payloads(stream), is_first=one.is_first))


class Replay:
    """Follows a journal: gives a task its records in the order that the journal tells, scores at once, commits."""

    def __init__(self, log: dict[Side, Sequence[Raw]], scores: Scores) -> None:
        self.log = log
        self.scores = scores
        self.steps: list[Durable] = []
        self.task: Task | None = None
        self.is_first = False

    def follow(self, records: Sequence[JournalRecord], checkpoint: Checkpoint | None = None) -> list[Durable]:
        """Follow from the beginning, or from a checkpoint on."""
        start = None
        if checkpoint is not None:
            in_force = (checkpoint.model, checkpoint.settings, checkpoint.settings_sha256)
            self.task = _task(*in_force, checkpoint=checkpoint)
            start = (checkpoint.next_text, checkpoint.next_frame)
            for side in Side:
                self.task.take(side, [raw for raw in self.log[side] if raw.offset < start[side]])
        for place in in_order(records, start):
            if isinstance(place, JournalStep):
                self._commit(place)
            elif isinstance(place, JournalEpoch):
                self.is_first = True
            elif isinstance(place, JournalReset):
                self.steps.append(Durable(None, reset=place))
                self.task = None
            elif isinstance(place, JournalSwitch):
                self._switch(place)
            else:
                self._do(place)
                self._score()
        return self.steps

    def _switch(self, to: JournalSwitch) -> None:
        assert to.full_model is not None
        assert to.full_settings is not None
        if self.task is None:
            self.task = _task(to.full_model, to.full_settings, to.settings, start=(to.next_text, to.next_frame))
        else:
            assert self.task.switch(to.full_model, to.full_settings, to.settings)

    def _do(self, place: Place) -> None:
        match place:
            case Frames():
                self._take(FRAME, place.below)
            case Text():
                self._take(TEXT, place.offset + 1)
            case JournalTick():
                self._running().tick(place.to_ms)
            case JournalThinning():
                self._running().set_thinning(place.level)

    def _running(self) -> Task:
        assert self.task is not None
        return self.task

    def _take(self, side: Side, below: int) -> None:
        task = self._running()
        raws = [raw for raw in self.log[side] if task.next_admitted(side) <= raw.offset < below]
        assert side is FRAME or len(raws) == 1, "every text has a place of its own"
        task.take(side, raws)

    def _score(self) -> None:
        task = self._running()
        for observation in task.pump(0).score:
            task.scored(self.scores.of(observation))

    def _commit(self, cut: JournalStep) -> None:
        task = self._running()
        assert task.sequence == cut.sequence
        step = task.commit_due()
        assert step is not None
        task.committed()
        self.steps.append(Durable(step, self.is_first))
        self.is_first = False


def _task(
    model: Model,
    settings: Semantic,
    settings_sha256: str,
    *,
    checkpoint: Checkpoint | None = None,
    start: tuple[int, int] = (0, 0),
) -> Task:
    return Task(
        settings,
        model,
        deployment="d",
        partition=0,
        limits=Operational().limits,
        checkpoint=checkpoint,
        start=start,
        settings_sha256=settings_sha256,
    )


def _records(published: list[list[Message]]) -> list[JournalRecord]:
    journal = [message for step in published for message in step if message.topic == CONTEXT.topics.journal]
    return [decode_journal(message.value or b"") for message in journal]


@given(streams(), semantics(), st.integers(0, 1 << 32))
@examples(300)
def test_journal_and_inputs_determine_the_order_and_every_byte_put_out_whatever_the_interleaving(
    stream: Stream, other: Semantic, seed: int
) -> None:
    live = Live(stream, other, Random(seed))
    expected = [_published(one, stream) for one in live.play()]
    found = Replay(stream.log, live.scores).follow(_records(expected))
    assert [_published(one, stream) for one in found] == expected


@given(streams(), semantics(), st.integers(0, 1 << 32), st.integers(0, 1 << 32))
@examples(100)
def test_a_checkpoint_is_a_beginning_too_from_any_transaction_on(
    stream: Stream, other: Semantic, seed: int, choice: int
) -> None:
    live = Live(stream, other, Random(seed))
    durable = live.play()
    expected = [_published(one, stream) for one in durable]
    steps = [(place, one.step) for place, one in enumerate(durable) if one.step is not None]
    place, step = steps[choice % len(steps)]
    checkpoint = decode_checkpoint(step.checkpoint)
    rest = expected[place + 1 :]
    found = Replay(stream.log, live.scores).follow(_records(rest), checkpoint)
    assert [_published(one, stream) for one in found] == rest


# -- reading ----------------------------------------------------------------------------------------------------------


def _record(*entries: JournalEntry, cut: tuple[int, int] | None = None) -> JournalRecord:
    step = None if cut is None else JournalStep(sequence=9, stream_ms=0, next_text=cut[0], next_frame=cut[1])
    return JournalRecord(schema=SCHEMA, partition=0, entries=entries, step=step)


def test_a_journal_of_an_older_version_is_read_frames_behind_its_last_entry_have_no_place_yet() -> None:
    old = [
        b'{"schema":1,"partition":3,"entries":[["switch","5e","7a",17,4700],["text",17,4711]]}',
        b'{"schema":1,"partition":3,"entries":[["thinning",1,18,4730],["tick",1767232984500,18,4730]]}',
        b'{"schema":1,"partition":3,"entries":[["reset",20,5000]]}',
        b'{"schema":1,"partition":3,"entries":[["switch","5e","7a",20,5000],["text",24,5002]]}',
    ]
    assert list(in_order(map(decode_journal, old))) == [
        JournalSwitch("5e", "7a", 17, 4700),
        Frames(4711),
        Text(17),
        Frames(4730),
        JournalThinning(1, 18, 4730),
        JournalTick(1767232984500, 18, 4730),
        JournalReset(20, 5000),
        JournalSwitch("5e", "7a", 20, 5000),
        Frames(5002),
        Text(24),
    ]


def test_a_journal_that_older_and_newer_versions_wrote_in_turn_is_read() -> None:
    records = [_record(JournalText(5, 9)), _record(JournalSkipped(8, 9), cut=(9, 12)), _record(cut=(9, 14))]
    assert [place for place in in_order(records, (3, 8)) if not isinstance(place, JournalStep)] == [
        Frames(9), Text(5), Text(8), Frames(12), Frames(14),
    ]  # fmt: skip


def test_an_epoch_is_told_before_the_places_of_its_first_record_and_only_there() -> None:
    topics = structs.asdict(topics_of(Operational()))
    epoch = JournalEpoch(version="1", provider="CPU", letter_bytes=9, settings="11" * 32, topics=topics)
    records = [structs.replace(_record(JournalText(5, 9)), epoch=epoch), _record(JournalText(6, 9))]
    assert list(in_order(records, (5, 9))) == [epoch, Text(5), Text(6)]


@pytest.mark.parametrize(
    ("rule", "records", "found"),
    [
        ("a text without a place", [_record(JournalText(5, 9), cut=(7, 9))], "a cut at text 6, found one at 7"),
        ("a text twice", [_record(JournalText(5, 9), JournalSkipped(5, 9))], "text 6 or later, found 5"),
        ("frames that run back", [_record(JournalText(5, 9), JournalText(6, 8))], "frame 9 or later, found 8"),
        ("a cut that runs back", [_record(JournalText(5, 9), cut=(6, 8))], "frame 9 or later, found 8"),
        ("no beginning", [_record(JournalReset(0, 0)), _record(JournalText(5, 9))], "a switch as the first entry"),
    ],
)
def test_a_journal_that_tells_no_order_is_refused(rule: str, records: list[JournalRecord], found: str) -> None:
    del rule  # says in the test's id what it is about
    with pytest.raises(JournalError, match=found):
        list(in_order(records, (5, 9)))


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "0 bytes cannot be read"),
        (b'{"schema": 1}', "cannot be read"),
        (b'{"schema": 2}', "expected 1, found 2"),
        (b'{"schema": 0}', "expected 1, found 0"),
    ],
)
def test_a_journal_record_that_is_damaged_or_of_another_schema_is_refused(data: bytes, found: str) -> None:
    with pytest.raises(JournalError, match=found):
        decode_journal(data)
