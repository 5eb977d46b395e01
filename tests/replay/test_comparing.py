"""Of which time a recorded output is that was never met: before the beginning, behind the end, or a difference."""

from __future__ import annotations

from functools import cache
from random import Random
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from stream_app.core.checkpoint import decode_checkpoint
from stream_app.replay.comparing import Comparing
from stream_app.replay.differing import DiffersError
from stream_app.replay.outputs import Output, read_output
from stream_app.wire.message import Message
from tests.replay.recorded import BusyLive, Recorded, busy_stream, record_live

if TYPE_CHECKING:
    from collections.abc import Generator

    from stream_app.core.effects import Step
    from stream_app.replay.recording import Kind

AT_MS = 1_000_000


@cache
def _live() -> tuple[Recorded, Step]:
    random = Random(1)
    stream = busy_stream(random)
    durable = BusyLive(stream, replace(stream.settings, sample_ms=5), random).play()
    step = next(one.step for one in durable if one.step is not None)
    return record_live(durable, stream.log, random), step


def _wait(*_: object) -> Generator[None, None, bool]:
    yield from ()
    return True


def _comparing(*, to_ms: int = 2 * AT_MS) -> Comparing:
    made = Comparing(replace(_live()[0].about, to_ms=to_ms), _wait)
    made.outputs.since_ms = 0
    return made


def _output(kind: Kind, *, at_ms: int = AT_MS, life: int = 0) -> Output:
    """An output, of a frame if it is a dead letter, put at a time and into a life."""
    recorded = _live()[0]
    for record in recorded.of(kind):
        found = read_output(kind, record, recorded.about)
        assert found is not None
        if found.letter is None or found.letter.topic == recorded.about.topics.frames:
            found.record, found.life = replace(record, timestamp=at_ms), life
            return found
    raise AssertionError(f"expected one of {kind}, found none")


def _at(output: Output, sequence: int) -> Output:
    assert output.decision is not None
    output.decision = replace(output.decision, sequence=sequence)
    return output


def _of_frame(output: Output, offset: int) -> Output:
    assert output.letter is not None
    output.letter = replace(output.letter, offset=offset)
    return output


def _judged(comparing: Comparing, output: Output, end_ms: int | None = 0, *, is_following: bool = True) -> str:
    """Return what becomes of the only output that is left."""
    assert comparing.take_in(output)
    try:
        comparing.look_at_leftovers(end_ms, is_following=is_following)
    except DiffersError:
        return "different"
    return "before" if comparing.before[output.kind] else "after" if comparing.after[output.kind] else "left"


def test_behind_the_range_a_name_may_come_again() -> None:
    for at_ms, may in ((2 * AT_MS - 1, False), (2 * AT_MS, True)):
        comparing = _comparing()
        assert comparing.take_in(_output("alerts"))
        assert comparing.take_in(_output("alerts", at_ms=at_ms)) is may
        assert comparing.after["alerts"] == may


def test_what_was_met_is_known_again_though_others_were_met_since() -> None:
    comparing = _comparing()
    first, second = _output("alerts"), _output("alerts")
    second.name = "another"
    for output in (first, second):
        assert comparing.take_in(output)
        comparing.outputs.take(output)
    assert not comparing.take_in(_output("alerts"))
    assert comparing.take_in(_output("alerts", life=1))


def test_at_a_reset_what_is_of_the_next_life_is_left_for_it() -> None:
    assert _judged(_comparing(), _output("alerts", life=1), None) == "left"
    assert _judged(_comparing(), _output("alerts"), None) == "different"


def test_where_one_was_met_on_a_partition_nothing_lies_before_the_beginning() -> None:
    output = _output("alerts")
    for is_begun, expected in ((False, "before"), (True, "different")):
        comparing = _comparing()
        comparing.outputs.since_ms = AT_MS + 1
        if is_begun:
            comparing.outputs.begun.add(("alerts", output.record.partition))
        assert _judged(comparing, output, 2 * AT_MS) == expected


def test_one_that_was_met_begins_its_partition() -> None:
    comparing, output = _comparing(), _output("alerts")
    assert comparing.take_in(output)
    record = output.record
    headers = tuple((name, content or b"") for name, content in record.headers)
    list(comparing._meet(Message("", record.key, record.value, headers), "alerts", ()))
    assert comparing.verified == {"alerts": 1}
    assert comparing.outputs.begun == {("alerts", record.partition)}


@pytest.mark.parametrize(("by", "expected"), [(-1, "before"), (0, "different")])
def test_a_dead_letter_of_a_frame_that_the_keyframe_had_passed_lies_before_it(by: int, expected: str) -> None:
    comparing = _comparing()
    comparing.start = decode_checkpoint(_live()[1].checkpoint)
    assert (
        _judged(comparing, _of_frame(_output("dead_letters"), comparing.start.next_frame + by), 2 * AT_MS) == expected
    )


@pytest.mark.parametrize(("by", "expected"), [(0, "before"), (1, "different")])
def test_a_decision_up_to_the_keyframe_lies_before_it(by: int, expected: str) -> None:
    comparing = _comparing()
    comparing.start = decode_checkpoint(_live()[1].checkpoint)
    assert _judged(comparing, _at(_output("decisions"), comparing.start.sequence + by), 2 * AT_MS) == expected


@pytest.mark.parametrize(("by", "expected"), [(0, "different"), (1, "after")])
def test_at_the_end_a_decision_of_a_step_that_was_compared_has_to_have_been_met(by: int, expected: str) -> None:
    comparing = _comparing()
    comparing.last = _live()[1]
    assert _judged(comparing, _at(_output("decisions"), comparing.last.sequence + by)) == expected


@pytest.mark.parametrize(("by", "expected"), [(-1, "different"), (0, "after")])
def test_at_the_end_a_dead_letter_of_a_frame_that_is_over_has_to_have_been_met(by: int, expected: str) -> None:
    comparing = _comparing()
    comparing.last = replace(_live()[1], commit_frame=50)
    assert _judged(comparing, _of_frame(_output("dead_letters"), 50 + by)) == expected


@pytest.mark.parametrize(("by", "expected"), [(1, "different"), (0, "after")])
def test_at_the_end_an_alert_of_a_time_that_is_over_has_to_have_been_met(by: int, expected: str) -> None:
    comparing, output = _comparing(), _output("alerts")
    assert output.time_ms is not None
    comparing.last = replace(_live()[1], stream_ms=output.time_ms + by)
    assert _judged(comparing, output) == expected
