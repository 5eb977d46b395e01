"""What verification passes over, what it waits for, and what it says of records that a newer version wrote."""

from __future__ import annotations

import json
import zlib
from typing import TYPE_CHECKING

import msgspec
import pytest
from msgspec.structs import replace

from stream_app import __version__
from stream_app.replay.verification_lines import verification_lines
from stream_app.replay.verify import verify
from stream_app.wire.journal import (
    JournalKeyframe,
    JournalRecord,
    decode_journal,
    encode_journal,
    is_later_version,
)
from tests.replay.recorded import Recorded, busy_recording, journal_of, require_each_output_counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from stream_app.replay.recording import Kind, TopicRecord

NEWER = "99.0.0"


def _write(recorded: Recorded, place: int, record: JournalRecord) -> None:
    records = recorded.topics[("journal", 0)]
    records[place] = replace(records[place], value=encode_journal(record))


# -- what a newer version wrote ---------------------------------------------------------------------------------------


def _keyframes(recorded: Recorded) -> list[int]:
    return [place for place, record in enumerate(journal_of(recorded)) if record.keyframe is not None]


def _newer_keyframe(recorded: Recorded, place: int, version: str = NEWER) -> None:
    record = journal_of(recorded)[place]
    assert record.keyframe is not None
    assert record.epoch is not None
    data = bytes([3]) + record.keyframe.checkpoint[1:]
    epoch = replace(record.epoch, version=version)
    _write(recorded, place, replace(record, keyframe=JournalKeyframe(checkpoint=data), epoch=epoch))


def _one_life(seed: int = 0) -> Recorded:
    """A recording with several keyframes behind one another, and no reset behind the first of them."""
    for number in range(seed, seed + 100):
        recorded = busy_recording(number)
        journal = journal_of(recorded)
        resets = [place for place, record in enumerate(journal) if record.step is None]
        if len([place for place in _keyframes(recorded) if place > max(resets, default=0)]) >= 6:
            return recorded
    raise AssertionError("expected a recording with several keyframes in one life")


def _last_keyframes(recorded: Recorded, count: int) -> list[int]:
    return _keyframes(recorded)[-count:]


# Who builds Vigil may have a newer schema before the version changes its number.
@pytest.mark.parametrize("version", [NEWER, "0.0.1"])
def test_a_keyframe_of_a_newer_version_is_a_gap_up_to_the_next_one_and_is_said_to_be_newer(version: str) -> None:
    recorded = _one_life()
    place, following = _last_keyframes(recorded, 2)
    _newer_keyframe(recorded, place, version)
    verdict = verify(recorded)
    (task,) = verdict.tasks
    (gap,) = task.gaps
    assert (verdict.status, verdict.differences) == ("incomplete", ())
    assert gap.why == (
        f"a keyframe of version {version} cannot be read: checkpoint schema: expected 1 or 2, found 3: a newer "
        "version of Vigil wrote it"
    )
    assert (gap.unusable, gap.until_ms) == (0, recorded.of("journal")[following].timestamp)
    require_each_output_counted(recorded, verdict)


def test_keyframes_that_cannot_be_used_are_counted_in_one_gap() -> None:
    recorded = _one_life()
    first, second, third, last = _last_keyframes(recorded, 4)
    for place in (first, second, third):
        _newer_keyframe(recorded, place)
    verdict = verify(recorded)
    (gap,) = verdict.tasks[0].gaps
    journal = recorded.of("journal")
    assert (gap.unusable, gap.until_ms) == (2, journal[last].timestamp)
    step = journal_of(recorded)[first].step
    assert step is not None
    assert (gap.sequence, gap.stream_ms) == (step.sequence, step.stream_ms)
    (line,) = [line for line in verification_lines(verdict) if "GAP" in line]
    assert line.startswith(f"  GAP         from sequence {step.sequence}, 2023-11-14T22:13:2")
    assert "Z, over 2 more keyframes that cannot be used: a keyframe of version 99.0.0 cannot" in line


def test_a_gap_that_nothing_ends_reaches_to_the_end() -> None:
    recorded = _one_life()
    places = _last_keyframes(recorded, 3)
    for place in places:
        _newer_keyframe(recorded, place)
    verdict = verify(recorded)
    (gap,) = verdict.tasks[0].gaps
    assert (gap.unusable, gap.until_ms) == (2, None)
    assert any(" to its end, over 2 more keyframes" in line for line in verification_lines(verdict))


def test_a_recording_that_begins_with_newer_keyframes_has_one_gap_for_all_of_them() -> None:
    whole = _one_life()
    places = _last_keyframes(whole, 4)
    recorded = whole.copy()
    for place in places[:3]:
        _newer_keyframe(recorded, place)
    del recorded.topics[("journal", 0)][: places[0]]
    verdict = verify(recorded)
    (task,) = verdict.tasks
    (gap,) = task.gaps
    assert (verdict.status, gap.unusable) == ("incomplete", 2)
    assert task.verified["steps"] > 0


def test_a_keyframe_of_a_newer_schema_beside_the_name_of_this_version_is_a_difference() -> None:
    recorded = _one_life()
    _newer_keyframe(recorded, _last_keyframes(recorded, 2)[0], __version__)
    (difference,) = verify(recorded).differences
    assert difference.what == "keyframe"
    assert "expected 1 or 2, found 3" in difference.found


def _of_schema_2(record: TopicRecord) -> TopicRecord:
    return replace(record, value=json.dumps(json.loads(record.value or b"") | {"schema": 2}).encode())


def test_journal_records_of_a_newer_version_are_one_gap_and_no_difference() -> None:
    recorded = _one_life()
    first, last = _last_keyframes(recorded, 2)
    records = recorded.topics[("journal", 0)]
    for place in range(first, last):
        records[place] = _of_schema_2(records[place])
    verdict = verify(recorded)
    (task,) = verdict.tasks
    (gap,) = task.gaps
    assert (verdict.status, verdict.differences) == ("incomplete", ())
    assert gap.why == "journal schema: expected 1, found 2: a newer version of Vigil wrote it"
    assert (gap.unusable, gap.until_ms) == (0, records[last].timestamp)
    # From where the task had come to.
    before = decode_journal(records[first - 1].value or b"").step
    assert before is not None
    assert gap.sequence >= before.sequence


def test_a_journal_of_a_newer_version_alone_is_incomplete_from_the_beginning() -> None:
    recorded = _one_life()
    records = recorded.topics[("journal", 0)]
    records[:] = map(_of_schema_2, records)
    verdict = verify(recorded)
    assert verdict.status == "incomplete"
    assert any("from its beginning to its end: journal schema" in line for line in verification_lines(verdict))


def _with_a_later_setting(recorded: Recorded, place: int, version: str) -> None:
    """Give a record's keyframe a setting that this version does not know, and its epoch a version."""
    record = journal_of(recorded)[place]
    assert record.keyframe is not None
    assert record.epoch is not None
    state = msgspec.msgpack.decode(zlib.decompress(record.keyframe.checkpoint[1:]))
    state["settings"]["new_ms"] = 5
    data = record.keyframe.checkpoint[:1] + zlib.compress(msgspec.msgpack.encode(state))
    epoch = replace(record.epoch, version=version)
    _write(recorded, place, replace(record, keyframe=JournalKeyframe(checkpoint=data), epoch=epoch))


@pytest.mark.parametrize(("version", "status"), [(NEWER, "incomplete"), (__version__, "different")])
def test_a_setting_of_a_later_version_in_a_keyframe_is_a_gap_if_a_later_version_wrote_it(
    version: str, status: str
) -> None:
    recorded = _one_life()
    _with_a_later_setting(recorded, _last_keyframes(recorded, 2)[0], version)
    assert verify(recorded).status == status


@pytest.mark.parametrize(("version", "status"), [(NEWER, "incomplete"), (__version__, "different")])
def test_a_setting_of_a_later_version_in_the_journal_is_a_gap_if_a_later_version_wrote_it(
    version: str, status: str
) -> None:
    recorded = busy_recording(0)
    said = json.loads(recorded.of("journal")[0].value or b"")
    said["epoch"]["version"] = version
    said["entries"][0][-1]["new_ms"] = 5
    records = recorded.topics[("journal", 0)]
    records[0] = replace(records[0], value=json.dumps(said).encode())
    verdict = verify(recorded)
    assert verdict.status == status
    if status == "incomplete":
        assert f"journal record of version {NEWER}, later than {__version__}, cannot" in verdict.tasks[0].gaps[0].why


@pytest.mark.parametrize(
    ("version", "is_later"),
    [
        ("0.0.9", False),
        (__version__, False),
        ("0.1.1", True),
        ("0.10", True),
        ("1.0.0rc1", True),
        ("", False),
        ("?", False),
    ],
)
def test_versions_are_compared_by_their_numbers(version: str, *, is_later: bool) -> None:
    assert is_later_version(version) is is_later


def _as_newer_type(record: TopicRecord) -> TopicRecord:
    headers = tuple(
        (name, (content or b"").replace(b".v1", b".v2") if name == "ce_type" else content)
        for name, content in record.headers
    )
    return replace(record, headers=headers)


def _is_notice(record: TopicRecord) -> bool:
    return ("ce_type", b"vigil.notice.v1") in record.headers


@pytest.mark.parametrize(
    ("kind", "make_newer", "is_one"),
    [
        ("decisions", _of_schema_2, lambda _: True),
        ("decisions", _as_newer_type, lambda _: True),
        ("alerts", _of_schema_2, lambda one: not _is_notice(one)),
        ("alerts", _as_newer_type, lambda one: not _is_notice(one)),
        ("alerts", _of_schema_2, _is_notice),
    ],
)
def test_outputs_of_a_newer_version_are_a_gap_and_no_difference(
    kind: Kind, make_newer: Callable[[TopicRecord], TopicRecord], is_one: Callable[[TopicRecord], bool]
) -> None:
    tried = 0
    for seed in range(20):
        recorded = busy_recording(seed)
        since_ms = recorded.of("journal")[1].timestamp + 10
        for topic in [one for one in recorded.topics if one[0] == kind]:
            records = recorded.topics[topic]
            place = next((place for place, one in enumerate(records) if one.timestamp > since_ms and is_one(one)), None)
            if place is None:
                continue
            changed = recorded.copy()
            changed.topics[topic][place] = make_newer(records[place])
            verdict = verify(changed)
            tried += 1
            assert [difference.words() for difference in verdict.differences] == []
            assert verdict.status == "incomplete"
            (task,) = verdict.tasks
            assert "a newer version of Vigil wrote it" in task.gaps[0].why
            assert kind in task.gaps[0].why
            assert len(task.gaps) == 1
    assert tried > 2


@pytest.mark.parametrize("is_last", [False, True])
def test_an_output_that_only_a_newer_version_puts_out_is_a_gap_and_no_difference(*, is_last: bool) -> None:
    recorded = _one_life()
    topic = max((one for one in recorded.topics if one[0] == "alerts"), key=lambda one: len(recorded.topics[one]))
    records = recorded.topics[topic]
    alerts = [place for place, one in enumerate(records) if not _is_notice(one)]
    place = len(records) - 1 if is_last else alerts[-2]
    of = _of_schema_2(records[alerts[-2]])
    headers = tuple((name, b"another" if name == "ce_id" else content) for name, content in of.headers)
    at = records[place]
    more = replace(of, headers=headers, timestamp=at.timestamp, offset=at.offset + is_last)
    records[place + is_last :] = [more, *(replace(one, offset=one.offset + 1) for one in records[place + is_last :])]
    verdict = verify(recorded)
    assert (verdict.status, verdict.differences) == ("incomplete", ())
    (gap,) = verdict.tasks[0].gaps
    assert gap.why.startswith("alerts, another: ")
    assert "a newer version of Vigil wrote it" in gap.why


# -- producers' clocks ------------------------------------------------------------------------------------------------


class _FastClocks(Recorded):
    """Inputs lie in the files by their times: those of a producer whose clock is an hour fast come an hour late."""

    def records(self) -> Iterator[tuple[Kind, TopicRecord]]:
        late = [(kind, record) for kind, record in super().records() if kind == "frames"]
        yield from ((kind, record) for kind, record in super().records() if kind != "frames")
        yield from late


@pytest.mark.parametrize(("timestamp_type", "status"), [(0, "equal"), (1, "different")])
def test_inputs_that_producers_stamp_are_waited_for_to_the_end(timestamp_type: int, status: str) -> None:
    recorded = _one_life()
    frames = [
        replace(one, timestamp_type=timestamp_type) if one.lost is None else one
        for one in recorded.topics[("frames", 0)]
    ]
    topics = {**recorded.topics, ("frames", 0): frames}
    later = _text_long_after(recorded)
    # So that the recording is read well past what is waited for, by brokers' clocks.
    topics[("texts", 0)] = [*topics[("texts", 0)], later]
    fast = _FastClocks(topics, replace(recorded.about, to_ms=later.timestamp + 1))
    assert verify(fast).status == status


def _text_long_after(recorded: Recorded) -> TopicRecord:
    last = recorded.topics[("texts", 0)][-1]
    return replace(last, offset=last.offset + 5, timestamp=last.timestamp + 600_000, lost=None)
