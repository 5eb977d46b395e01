"""The shell of one task: what it publishes, when an epoch ends, what it does with gaps and broken scorers."""

import asyncio
import json
from functools import partial
from itertools import pairwise
from typing import Any

import pytest

from stream_app.config import Operational
from stream_app.core.checkpoint import Checkpoint, TextState, decode_checkpoint
from stream_app.core.settings import Semantic
from stream_app.core.types import Side, Unreadable
from stream_app.runtime.ports.recovery import StartingPoint
from stream_app.wire.journal import decode_journal
from tests.runtime.stage import MODEL, NOW_MS, TOPICS, Stage, play


async def _alarm(stage: Stage) -> None:
    await stage.until(lambda: len(stage.source.opened) == 2 and stage.runner.task is not None)
    stage.text()
    stage.quiet(NOW_MS + 60_000)
    await stage.until(lambda: stage.publisher.values(TOPICS.alerts))


def test_an_alarm_is_published_with_its_decision_checkpoint_and_offsets() -> None:
    stage = play(_alarm)
    alert = json.loads(stage.publisher.values(TOPICS.alerts)[0] or b"")
    assert (alert["phase"], alert["zone"], alert["label"], alert["severity"]) == ("opened", "dock", "fight", 4)
    assert alert["evidence"] == [
        {"kind": "text", "topic": "vigil.texts", "partition": 3, "offset": 0, "time": "2023-11-14T22:13:20.000Z"}
    ]
    assert alert["provider"] == "CPUExecutionProvider"
    messages, offsets = next(
        step for step in stage.publisher.published if any(message.topic == TOPICS.alerts for message in step[0])
    )
    assert {message.topic for message in messages} >= {TOPICS.alerts, TOPICS.decisions, TOPICS.state}
    assert offsets == {("vigil.texts", 3): 1, ("vigil.frames", 3): 0}


def test_a_failed_commit_starts_a_new_epoch_and_its_results_are_dropped() -> None:
    async def body(stage: Stage) -> None:
        stage.publisher.failures = 1
        # Open too: a source delivers nothing before.
        await stage.until(lambda: stage.telemetry.started == 2 and len(stage.source.opened) == 4)
        stage.text()
        stage.quiet(NOW_MS + 60_000)
        await stage.until(lambda: stage.publisher.values(TOPICS.alerts))

    stage = play(body)
    assert "as the test ordered" in stage.telemetry.ended[0]
    # One that is left would make the next timeout end the runner, on Python 3.11.2.
    assert stage.telemetry.cancellations_left == [0]
    assert len(stage.publisher.values(TOPICS.alerts)) == 1
    assert stage.publisher.starts == stage.publisher.stops == 2


def test_offsets_that_go_back_are_a_gap_and_the_task_stands() -> None:
    async def body(stage: Stage) -> None:
        await stage.until(lambda: stage.publisher.published)
        stage.text(offset=5)
        await asyncio.sleep(0)
        stage.text(offset=2)
        await stage.until(lambda: stage.telemetry.gaps)

    stage = play(body)
    assert "expected offset 6 or later, found 2" in stage.telemetry.gaps[0]
    assert (Side.TEXT, 3) in stage.source.paused


def test_a_jump_that_retention_made_is_a_gap_but_a_transaction_marker_is_not() -> None:
    async def marker(stage: Stage) -> None:
        await stage.until(lambda: stage.publisher.published)
        stage.text(offset=7)
        stage.quiet(NOW_MS + 60_000)
        await stage.until(lambda: stage.publisher.values(TOPICS.alerts))

    assert play(marker).telemetry.gaps == []

    async def many_markers(stage: Stage) -> None:
        await marker(stage)
        for offset in (9, 11):
            published = len(stage.publisher.published)
            stage.text(offset, NOW_MS + offset)
            await stage.until(partial(_has_more_than, stage.publisher.published, published))

    assert play(many_markers).recovery.asked == [Side.TEXT], "an input written in transactions costs one question"

    async def retention(stage: Stage) -> None:
        stage.recovery.log_starts[Side.TEXT] = 7
        await stage.until(lambda: stage.publisher.published)
        stage.text(offset=7)
        stage.quiet(NOW_MS + 60_000)
        await stage.until(lambda: stage.telemetry.gaps)

    assert "retention has passed" in play(retention).telemetry.gaps[0]


def _lost(first: int, last: int) -> Unreadable:
    return Unreadable(offset=last, first_offset=first, timestamp=NOW_MS, reason="batch-codec", detail="zstd: noise")


def test_what_cannot_be_read_is_a_dead_letter_once_and_the_task_goes_on_behind_it() -> None:
    async def body(stage: Stage) -> None:
        await stage.until(lambda: stage.publisher.published)
        stage.runner.receive(Side.TEXT, [_lost(0, 6)])
        stage.text(offset=7, at_ms=NOW_MS + 1)
        stage.quiet(NOW_MS + 60_000)
        await stage.until(lambda: stage.publisher.values(TOPICS.alerts))

    stage = play(body)
    assert stage.telemetry.gaps == []
    assert stage.publisher.values(TOPICS.dead_letters) == [b""]
    assert decode_checkpoint(stage.publisher.values(TOPICS.state)[-1] or b"").next_text == 8


@pytest.mark.parametrize(
    ("side", "lost", "is_gap"),
    [
        pytest.param(Side.TEXT, _lost(0, 5), True, id="around it"),
        pytest.param(Side.TEXT, _lost(3, 4), True, id="up to it"),
        pytest.param(Side.TEXT, _lost(5, 5), False, id="behind it"),
        pytest.param(Side.FRAME, _lost(4, 4), False, id="on the other side"),
    ],
)
def test_a_held_record_that_can_no_longer_be_read_is_a_gap_and_another_that_was_judged_is_none(
    side: Side, lost: Unreadable, *, is_gap: bool
) -> None:
    point = _holding_text_4()

    async def body(stage: Stage) -> None:
        await stage.until(lambda: len(stage.source.opened) == 2)
        if not is_gap:
            stage.text(offset=4)
        stage.runner.receive(side, [lost])
        if is_gap:
            await stage.until(lambda: stage.telemetry.gaps)
        else:
            await stage.clock.advance(5.0)

    gaps = play(body, lambda: Stage([point])).telemetry.gaps
    said = f"offset {lost.offset} is still needed and can no longer be read: batch-codec, zstd: noise"
    assert [said in gap for gap in gaps] == [True] * is_gap


@pytest.mark.parametrize(("offset", "expected"), [(5, "before offset 5"), (6, "before offset 6")])
def test_a_held_record_that_does_not_come_is_a_gap(offset: int, expected: str) -> None:
    """The topic was compacted, or records were deleted in its middle."""

    async def body(stage: Stage) -> None:
        await stage.until(lambda: len(stage.source.opened) == 2)
        stage.text(offset=offset)
        await stage.until(lambda: stage.telemetry.gaps)

    stage = play(body, lambda: Stage([_holding_text_4()]))
    (gap,) = stage.telemetry.gaps
    assert f"{TOPICS.texts}/3: offset 4 is still needed: expected it {expected}, found it gone" in gap
    assert not stage.publisher.published


def test_a_held_record_that_does_not_come_is_a_gap_though_nothing_comes_behind_it() -> None:
    """Retention passed all of the topic after the task was found a place to begin: no record tells, only the end."""

    async def body(stage: Stage) -> None:
        await stage.until(lambda: len(stage.source.opened) == 2)
        stage.quiet(NOW_MS + 60_000)
        # Up to the record that is needed: it may still come.
        stage.source.positions = {Side.TEXT: 4}
        await stage.clock.advance(30)
        assert stage.telemetry.gaps == []
        stage.source.positions = {Side.TEXT: 6}
        await stage.until(lambda: stage.telemetry.gaps)

    stage = play(body, lambda: Stage([_holding_text_4()]))
    (gap,) = stage.telemetry.gaps
    said = "offset 4 is still needed: expected it before the log's end at 6, found it gone. To skip what is missing:"
    assert f"{TOPICS.texts}/3: {said} vigil task reset" in gap
    assert not stage.publisher.published


def test_a_task_whose_held_records_all_come_and_nothing_after_them_is_judged_to_its_end() -> None:
    async def body(stage: Stage) -> None:
        await stage.until(lambda: len(stage.source.opened) == 2)
        stage.text(offset=4)
        stage.source.positions = {Side.TEXT: 6}
        stage.quiet(NOW_MS + 60_000)
        await stage.until(lambda: stage.publisher.values(TOPICS.decisions))

    stage = play(body, lambda: Stage([_holding_text_4()]))
    assert stage.telemetry.gaps == []


def test_nothing_is_admitted_or_published_before_all_that_is_held_has_come() -> None:
    async def body(stage: Stage) -> None:
        await stage.until(lambda: len(stage.source.opened) == 2)
        stage.frame(offset=0, at_ms=NOW_MS + 1)
        stage.quiet(NOW_MS + 60_000)
        await stage.clock.advance(30)
        assert not stage.publisher.published
        stage.text(offset=4)
        await stage.until(lambda: stage.publisher.published)

    stage = play(body, lambda: Stage([_holding_text_4()]))
    last = decode_checkpoint(stage.publisher.values(TOPICS.state)[-1] or b"")
    assert (last.next_text, last.next_frame) == (6, 1)


def _holding_text_4() -> StartingPoint:
    checkpoint = Checkpoint(
        deployment="d",
        partition=3,
        sequence=9,
        stream_ms=NOW_MS,
        append_ms=NOW_MS,
        next_text=6,
        next_frame=0,
        texts=[(4, b"\x01")],
        slots=[TextState(4, 1_000, [])],
        model=MODEL,
        settings=Semantic(),
    )
    return StartingPoint(checkpoint=checkpoint, start=(6, 0), open_at=(4, 0))


def _has_more_than(found: list[Any], number: int) -> bool:
    return len(found) > number


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (RuntimeError("device lost"), "device lost"),
        (asyncio.CancelledError(), "the scorer was cancelled from within"),
    ],
    ids=["raises", "is cancelled from within"],
)
def test_a_scorer_that_gives_no_result_breaks_the_runner(error: BaseException, said: str) -> None:
    """Else a result would be missing without a word, and nothing behind it would ever be published."""

    async def body(stage: Stage) -> None:
        stage.scorer.error = error
        await stage.until(lambda: stage.publisher.published)
        stage.text()
        stage.quiet(NOW_MS + 60_000)
        await stage.until(lambda: stage.scorer.items)
        await stage.clock.settle()

    with pytest.raises(RuntimeError, match=said):
        play(body)


def test_a_full_queue_pauses_its_own_side_only_until_it_drains() -> None:
    async def body(stage: Stage) -> None:
        await stage.until(lambda: stage.publisher.published)
        for offset in range(4):
            stage.text(offset)
        assert stage.source.paused == {(Side.TEXT, 3)}
        stage.quiet(NOW_MS)
        await stage.until(lambda: not stage.source.paused)

    play(body, lambda: Stage(limits=Operational(queue_records=3).limits))


def test_a_graceful_stop_publishes_what_is_decided_and_nothing_is_kept() -> None:
    async def body(stage: Stage) -> None:
        await _alarm(stage)
        stage.text(offset=1, at_ms=NOW_MS + 61_000)

    stage = play(body)
    state = [value for value in stage.publisher.values(TOPICS.state) if value]
    last = decode_checkpoint(state[-1])
    assert last.next_text in {1, 2}
    assert stage.runner.task is None


def test_a_stop_does_not_wait_for_brokers_that_do_not_answer() -> None:
    async def whole() -> Stage:
        stage = Stage()
        stage.recovery.is_silent = True
        job = asyncio.create_task(stage.runner.run())
        await stage.until(lambda: stage.publisher.starts)
        stage.runner.stop()
        await stage.until(job.done)
        await job
        return stage

    stage = asyncio.run(whole())
    assert (stage.publisher.stops, stage.telemetry.started, stage.telemetry.ended) == (1, 0, [])


def test_the_scorer_gets_what_a_text_says_and_the_journal_describes_the_epoch_in_its_first_record() -> None:
    stage = play(_alarm)
    assert [item.text.text for item in stage.scorer.items if item.text is not None] == ["two men fight"]
    first, *others = [decode_journal(value or b"") for value in stage.publisher.values(TOPICS.journal)]
    assert first.epoch is not None
    assert (first.epoch.provider, first.epoch.settings) == ("CPUExecutionProvider", "ab" * 32)
    assert others
    assert all(record.epoch is None and record.step is not None for record in others)


def test_a_task_that_cannot_start_is_tried_again_after_waits_that_double_up_to_five_seconds() -> None:
    async def body(stage: Stage) -> None:
        begun = stage.clock.monotonic()
        await stage.until(lambda: len(stage.publisher.started_at) == 7)
        times = [at - begun for at in stage.publisher.started_at]
        waits = [round(later - earlier, 1) for earlier, later in pairwise(times)]
        assert waits == [0.4, 0.8, 1.6, 3.2, 5.0, 5.0]

    play(body, lambda: Stage(failing_starts=100))


def test_a_task_that_ran_for_long_is_tried_again_soon() -> None:
    async def body(stage: Stage) -> None:
        await stage.until(lambda: stage.telemetry.started == 1)
        await stage.clock.advance(6.0)
        stage.publisher.failures = 1
        stage.text()
        stage.quiet(NOW_MS + 60_000)
        await stage.until(lambda: len(stage.telemetry.ended) == 4)
        ended = stage.clock.monotonic()
        await stage.until(lambda: len(stage.publisher.started_at) == 5)
        assert round(stage.publisher.started_at[4] - ended, 1) <= 0.3

    # Three failures first, so that the wait has grown.
    play(body, lambda: Stage(failing_starts=3))


def test_a_task_at_a_gap_pauses_both_sides_says_it_once_and_looks_again_every_ten_seconds() -> None:
    async def body(stage: Stage) -> None:
        await stage.until(lambda: stage.telemetry.gaps)
        looks = stage.recovery.looks
        await stage.clock.advance(30.0)
        assert stage.recovery.looks == looks + 3
        assert stage.source.paused == {(Side.TEXT, 3), (Side.FRAME, 3)}
        stage.recovery.gap = None
        await stage.until(lambda: stage.telemetry.started)

    stage = play(body, lambda: Stage(gap="retention has passed"))
    assert stage.telemetry.gaps == ["retention has passed"]


def test_a_last_commit_that_is_not_answered_is_given_up_after_a_second_and_a_half() -> None:
    async def whole() -> float:
        stage = Stage()
        job = asyncio.create_task(stage.runner.run())
        await stage.until(lambda: stage.publisher.published)
        stage.publisher.is_silent = True
        stage.text()
        stage.quiet(NOW_MS + 60_000)
        await stage.until(lambda: stage.scorer.items)
        stopped = stage.clock.monotonic()
        stage.runner.stop()
        await stage.until(job.done)
        await job
        return stage.clock.monotonic() - stopped

    assert 1.5 <= asyncio.run(whole()) <= 1.7
