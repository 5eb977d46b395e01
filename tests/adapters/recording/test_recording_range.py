"""Which records belong to a range, and where its verification begins."""

import base64
import json

import msgspec
import pytest

from stream_app.adapters.recording.choose import SLACK_MS, Choice, owner_of
from stream_app.adapters.recording.incident import IncidentSearch
from stream_app.adapters.recording.keyframes import Keyframes, in_words
from stream_app.core.checkpoint import Checkpoint, encode_checkpoint
from stream_app.core.settings import Semantic
from stream_app.core.types import DeadLetter, Notice, Side
from stream_app.replay.recording import Kind, RecordingError, TopicRecord
from stream_app.wire.alerts import render_alert, render_notice
from stream_app.wire.dead_letters import render_dead_letter
from stream_app.wire.decisions import render_decision
from stream_app.wire.message import Message
from tests.adapters.recording.recordings import START_MS, about, record
from tests.runtime.fakes import Raw
from tests.wire.test_events import CONTEXT, MODEL, decision, opened

TASK = CONTEXT.partition
_FRAME = Raw(offset=7, timestamp=START_MS, key=b"dock-3", value=b"no picture", headers=())


def keyframe(at_ms: int, *, text: int, frame: int, offset: int, **changes: object) -> TopicRecord:
    checkpoint = Checkpoint(
        deployment="vigil",
        partition=TASK,
        sequence=1,
        stream_ms=0,
        append_ms=0,
        next_text=text,
        next_frame=frame,
        model=MODEL,
        settings=Semantic(),
    )
    content = {"checkpoint": base64.b64encode(encode_checkpoint(checkpoint)).decode()}
    value = json.dumps({"schema": 1, "partition": TASK, "entries": [], "keyframe": content}).encode()
    return record(offset, at_ms, value, key=f"vigil/{TASK}".encode(), **changes)


def _keyframes(*records: TopicRecord) -> Keyframes:
    found = Keyframes("vigil")
    for one in records:
        found.note(one)
    return found


_THREE = (
    keyframe(START_MS - 90_000, text=1, frame=10, offset=4),
    keyframe(START_MS - 30_000, text=2, frame=20, offset=5),
    keyframe(START_MS + 30_000, text=3, frame=30, offset=6),
)


@pytest.mark.parametrize(
    ("begins", "offset", "words"),
    [
        ({}, 5, "can be verified from the beginning"),
        ({("texts", TASK): 2, ("frames", TASK): 20}, 5, "can be verified from the beginning"),
        ({("frames", TASK): 21}, 6, "can be verified from 2026-01-01T02:00:30.000Z on, not before"),
        ({("texts", TASK): 3}, 6, "can be verified from 2026-01-01T02:00:30.000Z on, not before"),
        ({("texts", TASK): 4}, None, "cannot be verified: no keyframe of it in the journal has its inputs still there"),
    ],
)
def test_a_range_begins_with_the_newest_keyframe_before_it_whose_inputs_are_there(
    begins: dict[tuple[Kind, int], int], offset: int | None, words: str
) -> None:
    start = _keyframes(*_THREE).start(TASK, START_MS, begins)
    assert (None if start is None else start.journal_offset) == offset
    assert in_words(TASK, start, START_MS) == f"task {TASK}: {words}"


@pytest.mark.parametrize(
    ("reset", "begins", "expected"),
    [
        ((0, 25, START_MS), {}, (0, 20)),
        ((0, 15, START_MS), {("texts", TASK): 1, ("frames", TASK): 12}, (1, 15)),
        ((0, 5, START_MS), {("texts", TASK): 1, ("frames", TASK): 12}, (1, 12)),
        ((9, 99, START_MS), {}, (2, 20)),
        ((0, 0, START_MS - 60_000), {}, (2, 20)),
        ((0, 0, START_MS + 10_000), {}, (2, 20)),
    ],
)
def test_a_range_holds_the_inputs_that_a_reset_in_it_goes_back_to(
    reset: tuple[int, int, int], begins: dict[tuple[Kind, int], int], expected: tuple[int, int]
) -> None:
    text, frame, at_ms = reset
    value = json.dumps({"schema": 1, "partition": TASK, "entries": [["reset", text, frame]]}).encode()
    found = _keyframes(*_THREE[:2], record(9, at_ms, value, key=f"vigil/{TASK}".encode()))
    start = found.start(TASK, START_MS, begins, to_ms=START_MS + 10_000)
    assert start is not None
    assert (start.text, start.frame) == expected


def _first_step(at_ms: int, *, sequence: int) -> TopicRecord:
    """A record with a keyframe that needs no input, of a step that began at text 3 and frame 30."""
    whole = json.loads(keyframe(at_ms, text=4, frame=40, offset=6).value or b"")
    step = {"sequence": sequence, "stream_ms": 0, "next_text": 4, "next_frame": 40}
    entries = [["switch", "5e" * 32, "7a" * 32, 3, 30], ["text", 3, 35]]
    value = json.dumps(whole | {"entries": entries, "step": step}).encode()
    return record(6, at_ms, value, key=f"vigil/{TASK}".encode())


@pytest.mark.parametrize(("sequence", "expected"), [(12, (3, 30)), (13, (4, 40))])
def test_a_range_holds_all_inputs_of_a_task_s_first_step(sequence: int, expected: tuple[int, int]) -> None:
    """2 entries and 10 frames have 12 numbers; a step of a task that began earlier has higher ones."""
    start = _keyframes(_first_step(START_MS + 5, sequence=sequence)).start(TASK, START_MS, {})
    assert start is not None
    assert (start.text, start.frame) == expected


def test_what_a_newer_version_wrote_in_the_journal_is_said_once_a_task() -> None:
    newer = [record(n, START_MS, b'{"schema": 2}', key=key) for n, key in enumerate((b"vigil/3", b"vigil/3", b"e/3"))]
    found = _keyframes(*newer, *_THREE)
    (words,) = found.unreadable
    assert words.startswith("record 0/0 of the journal, and maybe more: journal schema: expected 1, found 2: a newer")
    assert found.start(TASK, START_MS, {}) is not None


def test_what_is_no_keyframe_of_the_deployment_starts_nothing() -> None:
    broken = json.dumps({"schema": 1, "partition": TASK, "entries": [], "keyframe": {"checkpoint": "AAAA"}}).encode()
    found = _keyframes(
        msgspec.structs.replace(_THREE[0], key=b"trial/3"),
        record(1, START_MS, b'{"schema": 1, "partition": 3, "entries": []}', key=b"vigil/3"),
        record(2, START_MS, b"no json", key=b"vigil/3"),
        record(3, START_MS, None, key=b"vigil/3"),
        record(4, START_MS, broken, key=b"vigil/3"),
    )
    assert found.tasks == {}
    assert [words.partition(": ")[0] for words in found.unreadable] == ["keyframe at 0/4 of the journal"]


def _choice(*starts: TopicRecord, **changes: object) -> Choice:
    wanted = about(**{"partitions": (TASK,), **changes})
    start = _keyframes(*starts).start(TASK, START_MS, {})
    return Choice(about=wanted, to_ms=wanted.to_ms, starts={} if start is None else {TASK: start})


def _published(message: Message, at_ms: int = START_MS) -> TopicRecord:
    value = message.value or b""
    return TopicRecord(0, 9, at_ms, 1, message.key, value, message.headers, len(value))


def _letter() -> TopicRecord:
    letter = DeadLetter(Side.FRAME, 7, "not-an-image", "found text")
    return _published(render_dead_letter(letter, _FRAME, CONTEXT))


_OUTPUTS: list[tuple[Kind, TopicRecord]] = [
    ("alerts", _published(render_alert(opened(), CONTEXT))),
    ("alerts", _published(render_notice(Notice("rate", "dock-3", START_MS, "more than 50/s"), CONTEXT))),
    ("decisions", _published(render_decision(decision(), CONTEXT))),
    ("dead_letters", _letter()),
]


@pytest.mark.parametrize(("kind", "output"), _OUTPUTS)
def test_an_output_belongs_to_its_task_and_deployment_and_to_a_range_a_little_wider(
    kind: Kind, output: TopicRecord
) -> None:
    assert owner_of(kind, output) == ("vigil", TASK)
    assert _choice().of(kind, output) == output
    assert _choice(partitions=(TASK + 1,)).of(kind, output) is None
    assert _choice(deployment="trial").of(kind, output) is None
    assert _choice(zones=("dock-3",)).of(kind, output) == output
    assert _choice(zones=("yard",)).of(kind, output) is None
    first_ms, last_ms = START_MS - 30_000 - SLACK_MS, START_MS + 60_000 + SLACK_MS - 1
    for at_ms, is_in in [(first_ms - 1, False), (first_ms, True), (last_ms, True), (last_ms + 1, False)]:
        there = _choice(*_THREE).of(kind, msgspec.structs.replace(output, timestamp=at_ms))
        assert (there is not None) is is_in


def test_a_record_that_is_no_output_is_nobodys() -> None:
    assert _choice().of("decisions", record(0, START_MS, b"no decision")) is None
    assert _choice().of("dead_letters", record(0, START_MS, b"no letter")) is None


@pytest.mark.parametrize("kind", ["frames", "texts"])
def test_inputs_begin_with_what_the_keyframe_needs_and_end_with_the_range(kind: Kind) -> None:
    lowest = 2 if kind == "texts" else 20

    def is_in(offset: int, at_ms: int, *starts: TopicRecord, partition: int = TASK) -> bool:
        return _choice(*starts).of(kind, record(offset, at_ms, b"x", partition=partition)) is not None

    assert [is_in(offset, START_MS - 40_000, *_THREE) for offset in (lowest - 1, lowest)] == [False, True]
    assert [is_in(0, START_MS + at_ms) for at_ms in (-1, 0, 59_999, 60_000)] == [False, True, True, False]
    # A keyframe behind the beginning takes nothing of the range away.
    assert is_in(0, START_MS, _THREE[2])
    assert not is_in(lowest, START_MS, *_THREE, partition=0)


@pytest.mark.parametrize("kind", ["frames", "texts"])
def test_inputs_of_the_range_s_steps_belong_to_it_whatever_their_time(kind: Kind) -> None:
    """As where a producer stamps them, and its clock is an hour slow or fast."""
    lowest = 2 if kind == "texts" else 20
    whole = json.loads(_THREE[1].value or b"")
    step = {"sequence": 1, "stream_ms": 0, "next_text": lowest + 5, "next_frame": lowest + 5}
    value = json.dumps(whole | {"step": step}).encode()
    found = _keyframes(msgspec.structs.replace(_THREE[1], value=value), *_THREE[2:])
    start = found.start(TASK, START_MS, {})
    assert start is not None
    assert found.reached == {TASK: (lowest + 5, lowest + 5)}
    wanted = about(partitions=(TASK,))
    choice = Choice(about=wanted, to_ms=wanted.to_ms, starts={TASK: start}, reached=found.reached)
    for hours, expected in ((-1, [False, True, True, True]), (1, [False, True, True, False])):
        at_ms = START_MS + hours * 3_600_000
        offsets = (lowest - 1, lowest, lowest + 4, lowest + 5)
        records = [record(offset, at_ms, b"x", partition=TASK) for offset in offsets]
        assert [choice.of(kind, one) is not None for one in records] == expected


def test_the_journal_begins_with_the_keyframe_and_is_the_tasks_own() -> None:
    choice = _choice(*_THREE)
    assert [choice.of("journal", one) is not None for one in _THREE] == [False, True, True]
    assert choice.of("journal", msgspec.structs.replace(_THREE[1], key=b"vigil/4")) is None
    assert choice.of("journal", msgspec.structs.replace(_THREE[1], key=b"trial/3")) is None
    assert _choice().of("journal", record(0, START_MS - 1, b"x", key=b"vigil/3")) is None


def test_pictures_are_left_out_of_frames_and_of_their_dead_letters() -> None:
    choice = _choice(has_pictures=False)
    frame = record(0, START_MS, b"picture", partition=TASK)
    assert choice.of("frames", frame) == msgspec.structs.replace(frame, value=None)
    assert choice.of("texts", frame) == frame
    letter = _letter()
    assert choice.of("dead_letters", letter) == msgspec.structs.replace(letter, value=None)


def test_an_incident_bears_on_the_time_around_it_in_its_task() -> None:
    settings = Semantic(before_ms=-100, after_ms=700, grace_ms=50, quiet_ms=4_000)
    search = IncidentSearch(opened().incident)
    alert = _published(render_alert(opened(), CONTEXT), START_MS + 9_000_000)
    search.note(alert)
    search.note(record(0, START_MS, b"no alert"))
    found = search.found(settings)
    assert (found.task, found.from_ms) == (TASK, opened().start_ms - 750)
    assert found.to_ms == alert.timestamp + 4_000 + 750
    with pytest.raises(RecordingError, match="expected an incident or alert ffff, found none"):
        IncidentSearch("ffff").found(settings)
