"""One epoch of a task: what it asks of the scorer, what it tells the core, and what it forgets."""

import json
from functools import partial
from typing import Any

import msgspec
import pytest

from stream_app.config import Operational
from stream_app.core.settings import Semantic
from stream_app.core.types import Side
from stream_app.wire.journal import decode_journal
from tests.runtime.fakes import Raw
from tests.runtime.stage import JPEG, NOW_MS, TOPICS, Stage, play


def decisions(stage: Stage) -> list[dict[str, Any]]:
    return [json.loads(value or b"") for value in stage.publisher.values(TOPICS.decisions)]


async def _pair(stage: Stage) -> None:
    """Send a frame and a text that meet, and wait for their decision."""
    await stage.until(lambda: stage.publisher.published)
    stage.frame()
    stage.text(at_ms=NOW_MS + 1)
    stage.quiet(NOW_MS + 2)
    await stage.until(lambda: decisions(stage))


def test_a_pair_is_scored_as_it_was_received_and_each_side_is_left_out_under_its_own_name() -> None:
    stage = play(_pair)
    (item,) = stage.scorer.items
    assert item.image is not None
    assert item.text is not None
    assert (item.image.data, item.text.text) == (JPEG, "two men fight")
    (decision,) = decisions(stage)
    assert decision["logits"] == {"fight": 5_000_000}
    assert decision["without_image"] == {"fight": 1_000_000}
    assert decision["without_text"] == {"fight": 2_000_000}


def _has_published_more(stage: Stage, than: int) -> bool:
    return len(stage.publisher.published) > than


def test_an_epoch_s_first_step_has_a_keyframe_then_those_that_are_far_enough_on_in_stream_time() -> None:
    times = (0, 59_000, 59_999, 60_000, 119_999, 121_000)

    async def body(stage: Stage) -> None:
        await stage.until(lambda: stage.publisher.published)
        for offset, time_ms in enumerate(times):
            published = len(stage.publisher.published)
            stage.frame(offset, at_ms=NOW_MS + time_ms)
            stage.quiet(NOW_MS + time_ms)
            await stage.until(partial(_has_published_more, stage, published))

    stage = play(body)
    records = [decode_journal(value or b"") for value in stage.publisher.values(TOPICS.journal)]
    states = stage.publisher.values(TOPICS.state)
    assert all(
        record.keyframe.checkpoint == state
        for record, state in zip(records, states, strict=True)
        if record.keyframe is not None
    )
    found = [record.step.stream_ms - NOW_MS for record in records if record.keyframe is not None and record.step]
    assert found[0] < 0, "the first step, before any record"
    assert found[1:] == [0, 60_000, 121_000]


def test_a_commit_lasts_as_long_as_the_clock_says() -> None:
    stage = play(_pair)
    assert stage.telemetry.committed_s
    assert set(stage.telemetry.committed_s) == {0}, "the clock stood still while it was published"


def test_an_image_that_was_shed_is_not_sent_to_the_scorer() -> None:
    async def body(stage: Stage) -> None:
        await stage.until(lambda: stage.publisher.published)
        # The window has room for one image: of two frames in one bucket the later one is let go.
        stage.frame(0)
        stage.frame(1, at_ms=NOW_MS + 1_100)
        stage.frame(2, at_ms=NOW_MS + 1_200)
        stage.text(at_ms=NOW_MS + 1_201)
        stage.quiet(NOW_MS + 1_202)
        await stage.until(lambda: len(decisions(stage)) == 2)

    stage = play(body, lambda: Stage(semantic=Semantic(window_bytes=len(JPEG))))
    shed = [decision for decision in decisions(stage) if decision["shed"]]
    assert shed, "the case needs an image that was shed"
    assert sum(item.image is None for item in stage.scorer.items) == len(shed)
    assert all(decision["masked"] for decision in shed)


def test_features_are_forgotten_when_the_core_releases_their_records() -> None:
    async def body(stage: Stage) -> None:
        await _pair(stage)
        asked = [side.key for item in stage.scorer.items for side in (item.image, item.text) if side is not None]
        stage.quiet(NOW_MS + 60_000)
        await stage.until(lambda: set(asked) <= set(stage.scorer.forgotten))

    play(body)


def test_an_epoch_that_ends_forgets_the_features_of_all_that_it_still_held() -> None:
    async def body(stage: Stage) -> None:
        await _pair(stage)
        held = [side.key for item in stage.scorer.items for side in (item.image, item.text) if side is not None]
        assert not set(held) & set(stage.scorer.forgotten)
        stage.publisher.failures = 1
        stage.frame(1, at_ms=NOW_MS + 3)
        stage.quiet(NOW_MS + 4)
        await stage.until(lambda: stage.telemetry.ended)
        await stage.until(lambda: set(held) <= set(stage.scorer.forgotten))

    play(body)


def test_a_result_that_comes_after_its_epoch_is_discarded() -> None:
    async def body(stage: Stage) -> None:
        await stage.until(lambda: stage.publisher.published)
        stage.scorer.gate.clear()
        stage.frame()
        stage.text(at_ms=NOW_MS + 1)
        stage.quiet(NOW_MS + 2)
        await stage.until(lambda: stage.scorer.items)
        stage.publisher.failures = 1
        stage.frame(1, at_ms=NOW_MS + 3)
        await stage.until(lambda: stage.telemetry.started == 2)
        stage.scorer.gate.set()
        await stage.clock.advance(5.0)

    stage = play(body)
    assert decisions(stage) == []
    assert stage.scorer.cancelled == 1, "what nobody waits for must not go on taking the model's time"


@pytest.mark.parametrize("side", list(Side))
def test_a_task_that_is_stopped_lets_go_of_everything(side: Side) -> None:
    async def body(stage: Stage) -> None:
        await _pair(stage)

    stage = play(body)
    forgotten = {key[2] for key in stage.scorer.forgotten}
    assert int(side) in forgotten


def test_no_commit_is_tried_again_and_again_while_what_wants_one_waits_behind_a_slow_score() -> None:
    limits = msgspec.structs.replace(Operational().limits, dead_letter_bytes=1_000)

    async def body(stage: Stage) -> None:
        await stage.until(lambda: stage.publisher.published)
        stage.scorer.gate.clear()
        stage.text(0)
        stage.quiet(NOW_MS + 60_000)
        await stage.until(lambda: stage.scorer.items)
        published = len(stage.publisher.published)
        # Refused, and so many bytes that they hurry a commit; but the text before it is not decided yet.
        stage.runner.receive(Side.TEXT, [Raw(1, NOW_MS + 60_001, b"dock", b"\xff" * 600)])
        await stage.until(lambda: stage.runner.task is not None and stage.runner.task.wants_commit)
        await stage.clock.settle()
        asked = stage.clock.asked
        await stage.clock.settle()
        assert stage.clock.asked == asked, "time stands still, so nobody has anything to wait for anew"
        assert len(stage.publisher.published) == published
        stage.scorer.gate.set()
        await stage.clock.settle()
        assert stage.publisher.values(TOPICS.dead_letters) == [b"\xff" * 600], "and with the score it comes at once"

    play(body, lambda: Stage(limits=limits))
