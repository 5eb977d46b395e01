"""The task at its bounds: work in flight, outputs, bytes; it stands there, loses nothing, and goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from msgspec import structs

from stream_app.config import Operational
from stream_app.core.settings import Semantic
from stream_app.core.types import Side
from tests.core.drive import T0, Raw, Scores, Shell, raw_frame, raw_text

if TYPE_CHECKING:
    from collections.abc import Callable

TEXT, FRAME = Side.TEXT, Side.FRAME
SETTINGS = Semantic(rate_burst=3)


def shell_of(settings: Semantic = SETTINGS, **limits: int) -> Shell:
    return Shell(settings, Scores(), limits=msgspec.structs.replace(Operational().limits, **limits))


def test_admission_stands_at_the_bound_of_work_in_flight_and_goes_on_when_scores_come() -> None:
    shell = shell_of(structs.replace(SETTINGS, rate_burst=1_000), in_flight=2)
    shell.caught_up(TEXT, FRAME)
    shell.give(FRAME, raw_frame(0, T0))
    shell.give(TEXT, *(raw_text(n, T0 + 1) for n in range(5)))
    shell.pump()
    assert (len(shell.flight), shell.task.queued(TEXT), shell.task.is_held_up) == (2, 3, True)
    shell.score_all()
    shell.pump()
    assert (len(shell.flight), shell.task.queued(TEXT)) == (2, 1)
    shell.score_all()
    shell.pump()
    assert (len(shell.flight), shell.task.queued(TEXT), shell.task.is_held_up) == (1, 0, False)


def test_a_task_whose_queues_are_empty_is_not_held_up_however_much_is_in_flight() -> None:
    shell = shell_of(structs.replace(SETTINGS, rate_burst=1_000), in_flight=2)
    shell.caught_up(TEXT, FRAME)
    shell.give(FRAME, raw_frame(0, T0))
    shell.give(TEXT, *(raw_text(n, T0 + 1) for n in range(2)))
    shell.pump()
    assert (len(shell.flight), shell.task.queued(TEXT), shell.task.is_held_up) == (2, 0, False)


def test_what_waits_behind_one_slow_score_is_bounded() -> None:
    shell = shell_of(outputs=10)
    shell.live(FRAME, raw_frame(0, T0))
    shell.live(TEXT, raw_text(0, T0))
    assert len(shell.flight) == 1
    shell.give(FRAME, *(Raw(n, T0, b"x", b"no image") for n in range(1, 100)))
    for _ in range(5):
        shell.pump()
    assert shell.task.queued(FRAME) > 80
    shell.finish(after_ms=60_000)
    assert len(shell.trace.dead_letters) == 99


def test_admission_stands_at_the_bound_of_uncommitted_outputs_and_goes_on_after_a_commit() -> None:
    shell = shell_of(outputs=10)
    shell.caught_up(TEXT, FRAME)
    shell.give(FRAME, *(Raw(n, T0, b"x", b"") for n in range(100)))
    shell.pump()
    assert shell.task.queued(FRAME) > 80
    shell.settle()
    assert (shell.task.queued(FRAME), len(shell.trace.dead_letters)) == (0, 100)


def test_admission_stands_at_the_bound_of_bytes_of_dead_letters_those_behind_a_slow_score_too() -> None:
    shell = shell_of(dead_letter_bytes=1_000)
    shell.commit()
    shell.live(FRAME, raw_frame(0, T0))
    shell.live(TEXT, raw_text(0, T0))
    refused = [Raw(n, T0, b"x", b"no image".ljust(100)) for n in range(1, 100)]
    shell.give(FRAME, *refused[:4])
    shell.pump()
    said = [shell.task.wants_commit]
    shell.give(FRAME, *refused[4:])
    shell.pump()
    assert (len(shell.flight), shell.task.queued(FRAME)) == (1, 99 - 10)
    assert [*said, shell.task.wants_commit] == [False, True], "half of what a step may hold is there"
    shell.score_all()
    shell.pump()
    assert shell.task.queued(FRAME) == 99 - 10, "they are not yet in a step"
    shell.commit()
    shell.pump()
    assert shell.task.queued(FRAME) == 99 - 20
    shell.finish(after_ms=60_000)
    assert len(shell.trace.dead_letters) == 99


@pytest.mark.parametrize("window_bytes", [1, 100, 1_000])
def test_a_byte_bound_that_is_reached_while_time_stands_still_still_makes_progress(window_bytes: int) -> None:
    shell = shell_of(Semantic(window_bytes=window_bytes, rate_burst=1_000, sample_ms=1), queue_bytes=1)
    for offset in range(200):
        shell.live(FRAME, raw_frame(offset, T0, event_ms=T0 - offset % 7, camera=f"c{offset % 3}"))
        assert shell.task.window_bytes <= window_bytes
    for offset in range(20):
        shell.live(TEXT, raw_text(offset, T0))
        shell.score_all()
    assert shell.task.stream_ms == T0
    shell.finish(after_ms=60_000)
    assert {text for text, _ in shell.trace.scored} == set(range(20))
    # At 1,000 bytes the lowest frame of every bucket keeps its bytes, and those are the ones that are scored.
    assert any(one.observation.is_image_shed for one in shell.trace.decisions) == (window_bytes < 1_000)
    assert shell.task.totals["frames.received"] == 200


def test_an_alarm_whose_frames_were_all_shed_still_opens_and_says_masked() -> None:
    shell = shell_of(Semantic(window_bytes=1))
    shell.scores.moods = {(TEXT, 0): 2}
    shell.live(FRAME, raw_frame(0, T0))
    shell.live(TEXT, raw_text(0, T0))
    shell.score_all()
    shell.finish(after_ms=60_000)
    assert shell.trace.alerts[0].is_masked
    assert shell.trace.alerts[0].present == ("text",)
    assert shell.task.totals["frames.shed"] == 1


@pytest.mark.parametrize("bounds", [{"queue_records": 10}, {"queue_bytes": 1}, {"queue_records": 10, "outputs": 7}])
def test_a_text_flood_first_and_then_frames_makes_progress(bounds: dict[str, int]) -> None:
    shell = shell_of(structs.replace(SETTINGS, rate_burst=100), in_flight=3, **bounds)
    texts = [raw_text(n, T0 + n) for n in range(500)]
    frames = [raw_frame(n, T0 + 3 * n) for n in range(100)]
    for _ in range(2_000):
        # The broker serves texts as long as nothing is paused, and frames only then.
        if texts and not shell.task.is_full(TEXT):
            shell.give(TEXT, texts.pop(0))
        elif frames and not shell.task.is_full(FRAME):
            shell.give(FRAME, frames.pop(0))
        for side, left in ((TEXT, texts), (FRAME, frames)):
            shell.task.set_caught_up(side, not left)
        shell.pump()
        shell.score_all()
        shell.commit()
        if not texts and not frames:
            break
    assert not texts
    assert not frames
    shell.finish(after_ms=60_000)
    assert shell.task.totals["texts.received"] == 500
    assert shell.task.totals["frames.scored"] > 0


def test_bytes_of_records_that_turn_out_dead_when_they_are_scored_count_towards_the_bound_too() -> None:
    shell = shell_of(structs.replace(SETTINGS, rate_burst=1_000, sample_ms=1), dead_letter_bytes=1_000)
    shell.commit()
    shell.caught_up(TEXT, FRAME)
    shell.scores.failing = {(FRAME, offset) for offset in range(3)}
    shell.live(TEXT, raw_text(0, T0))
    for offset in range(3):
        shell.live(FRAME, raw_frame(offset, T0 + offset, size=400))
    said = [shell.task.wants_commit]
    for name in sorted(shell.flight):
        shell.score(name)
        said.append(shell.task.wants_commit)
    assert said == [False, False, True, True], "half of what a step may hold is there after the second"
    shell.give(FRAME, raw_frame(3, T0 + 3))
    shell.pump()
    assert shell.task.queued(FRAME) == 1, "all of it is there after the third"
    shell.commit()
    shell.pump()
    assert (shell.task.queued(FRAME), shell.task.wants_commit) == (0, False)
    assert [letter.reason for letter in shell.trace.dead_letters] == ["undecodable"] * 3
    shell.finish(after_ms=60_000)


def _alert(shell: Shell) -> None:
    shell.scores.moods = {(TEXT, 0): 3}
    shell.live(TEXT, raw_text(0, T0))
    shell.live(FRAME, raw_frame(0, T0))
    shell.score_all()


def _notice(shell: Shell) -> None:
    for offset in range(4):
        shell.live(TEXT, raw_text(offset, T0))


def _decisions(shell: Shell) -> None:
    shell.live(TEXT, raw_text(0, T0))
    shell.commit()
    for offset in range(4):
        shell.live(FRAME, raw_frame(offset, T0 + offset))
        shell.score_all()


def _letters(shell: Shell) -> None:
    for offset in range(4):
        shell.live(FRAME, Raw(offset, T0, b"x", b"no image"))


def _journal(shell: Shell) -> None:
    for offset in range(4):
        shell.task.set_thinning(1 + offset % 2)


def _frames(shell: Shell) -> None:
    for offset in range(9):
        shell.live(FRAME, raw_frame(offset, T0))


@pytest.mark.parametrize(
    ("given", "outputs", "hurries"),
    [
        (_alert, 1_000, True),
        (_notice, 1_000, True),
        (_decisions, 1_000, False),
        (_decisions, 8, True),
        (_letters, 1_000, False),
        (_letters, 8, True),
        (_journal, 1_000, False),
        (_journal, 8, True),
        (_frames, 8, False),
    ],
)
def test_an_alert_a_notice_or_half_of_what_a_step_may_hold_hurries_a_commit_and_nothing_else(
    given: Callable[[Shell], None],
    outputs: int,
    hurries: bool,  # noqa: FBT001 - expected
) -> None:
    shell = shell_of(structs.replace(SETTINGS, sample_ms=1), outputs=outputs)
    shell.commit()
    given(shell)
    assert shell.task.has_uncommitted
    assert shell.task.wants_commit == hurries
    shell.commit()
    assert not shell.task.wants_commit
