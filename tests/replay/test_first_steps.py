"""A task is verified from its very first step on, where all of that is in the recording."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest
from msgspec.structs import replace

from stream_app.core.journal import JournalSwitch, JournalText
from stream_app.core.types import Side
from stream_app.replay.verify import verify
from stream_app.wire.journal import beginning_of
from tests.core.drive import T0, Raw, raw_frame, raw_text
from tests.core.live import Live
from tests.core.streams import Stream
from tests.replay.recorded import Recorded, busy_recording, busy_stream, journal_of, record_live

if TYPE_CHECKING:
    from stream_app.replay.recording import Kind


def _contiguous(seed: int) -> Recorded:
    """A short recording whose topics have a record at every offset, as producers without transactions leave them."""
    random = Random(seed)
    stream = Stream(busy_stream(random).settings)
    logs: dict[Side, list[Raw]] = {Side.TEXT: [], Side.FRAME: []}
    for number in range(40):
        side = Side.TEXT if number % 3 == 2 else Side.FRAME
        make = raw_text if side is Side.TEXT else raw_frame
        logs[side].append(make(len(logs[side]), T0 + number * 5, event_ms=T0 + number * 5))
    stream.log = {side: list(raws) for side, raws in logs.items()}
    live = Live(stream, stream.settings, random)
    # Neither crashes nor resets: one life, in one piece.
    live.done.update(("crash", "reset"))
    return record_live(live.play(), stream.log, random).copy()


def _frames_of_first(recorded: Recorded) -> int:
    beginning = beginning_of(journal_of(recorded)[0])
    assert beginning is not None
    return beginning[1]


def _with_frames_first() -> Recorded:
    found = (_contiguous(seed) for seed in range(200))
    return next(one for one in found if _frames_of_first(one) > 1)


def test_a_recording_that_lacks_a_frame_of_the_first_step_says_so_and_begins_at_the_keyframe_beside_it() -> None:
    recorded = _with_frames_first()
    count = _frames_of_first(recorded)
    whole = verify(recorded)
    assert (whole.status, whole.tasks[0].gaps) == ("equal", ())
    del recorded.topics[("frames", 0)][1]
    verdict = verify(recorded)
    (task,) = verdict.tasks
    assert f"first step took in {count} frames, {count - 1} of which are in the recording" in task.gaps[0].why
    assert verdict.status != "equal"
    assert task.before["steps"] == 1


def test_a_recording_that_begins_within_the_first_step_is_not_different_and_has_no_gap_there() -> None:
    recorded = _with_frames_first()
    held = recorded.topics[("frames", 0)]
    recorded.topics[("frames", 0)] = held[_frames_of_first(recorded) :]
    (task,) = verify(recorded).tasks
    assert task.difference is None
    assert not any("first step" in gap.why for gap in task.gaps)
    assert task.before["steps"] >= 1


def test_a_recording_whose_texts_begin_within_the_first_step_is_not_different() -> None:
    found = (_contiguous(seed) for seed in range(200))
    recorded = next(one for one in found if sum(isinstance(e, JournalText) for e in journal_of(one)[0].entries) > 1)
    del recorded.topics[("texts", 0)][0]
    (task,) = verify(recorded).tasks
    assert task.difference is None
    assert task.before["steps"] >= 1


@pytest.mark.parametrize("seed", range(6))
def test_a_switch_in_the_middle_of_a_life_is_not_taken_for_its_beginning(seed: int) -> None:
    whole = busy_recording(seed)
    journal = journal_of(whole)
    switches = [
        place
        for place, record in enumerate(journal)
        if place > 0 and record.step and record.entries and isinstance(record.entries[0], JournalSwitch)
        if journal[place - 1].step is not None
    ]
    assert switches
    for place in switches:
        later = whole.copy()
        del later.topics[("journal", 0)][:place]
        task = verify(later).tasks[0]
        assert task.difference is None
        assert task.before["steps"] >= 1


# Of these three the task puts something out in its first step.
@pytest.mark.parametrize("seed", [1, 4, 8])
def test_what_was_put_out_twice_in_a_task_s_first_step_is_found(seed: int) -> None:
    whole = busy_recording(seed)
    until_ms = whole.of("journal")[0].timestamp
    kinds: tuple[Kind, ...] = ("alerts", "decisions", "dead_letters")
    outputs = [(place, records) for place, records in whole.topics.items() if place[0] in kinds]
    places = [place for place, records in outputs if records[0].timestamp <= until_ms]
    assert places
    for place in places:
        twice = whole.copy()
        first = twice.topics[place][0]
        later = [replace(one, offset=one.offset + 1) for one in twice.topics[place]]
        twice.topics[place] = [first, *later]
        (difference,) = verify(twice).differences
        assert (difference.what, difference.expected) == (place[0], "each output once")


def test_a_beginning_has_as_many_places_as_it_has_numbers() -> None:
    record = journal_of(_with_frames_first())[0]
    assert record.step is not None
    assert beginning_of(record) is not None
    for step in (
        None,
        replace(record.step, sequence=len(record.entries) - 1 or 10**6),
        replace(record.step, sequence=record.step.sequence + 1),
    ):
        assert beginning_of(replace(record, step=step)) is None
    assert beginning_of(replace(record, entries=record.entries[1:])) is None
