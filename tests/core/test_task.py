"""The task, rule by rule: what its shell can rely on."""

from __future__ import annotations

import msgspec
import pytest
from msgspec import structs

from stream_app.config import Operational
from stream_app.core.journal import JournalSkipped, JournalSwitch, JournalText, JournalThinning, JournalTick
from stream_app.core.settings import Semantic, SettingsError
from stream_app.core.types import LabelRule, Scored, Side
from stream_app.core.view import view_of
from tests.core.drive import MICRO, MODEL, T0, Raw, Scores, Shell, raw_frame, raw_text

TEXT, FRAME = Side.TEXT, Side.FRAME
SETTINGS = Semantic(rate_burst=3)


def shell_of(settings: Semantic = SETTINGS, **limits: int) -> Shell:
    return Shell(settings, Scores(), limits=msgspec.structs.replace(Operational().limits, **limits))


def test_a_task_that_never_ran_journals_model_and_settings_first() -> None:
    shell = shell_of()
    step = shell.begin_commit()
    assert step is not None
    assert step.journal == (JournalSwitch(MODEL.sha256, SETTINGS.sha256, 0, 0, MODEL, SETTINGS),)
    assert (step.sequence, step.commit_text, step.commit_frame) == (1, 0, 0)


def test_there_is_no_step_when_nothing_changed_nor_while_one_is_unconfirmed() -> None:
    shell = shell_of()
    assert shell.begin_commit() is not None
    shell.live(TEXT, raw_text(0, T0))
    assert shell.task.commit_due() is None
    shell.confirm()
    assert shell.begin_commit() is not None
    shell.confirm()
    assert shell.task.commit_due() is None
    with pytest.raises(ValueError, match="no step is open"):
        shell.task.committed()


def test_settings_that_break_a_guarantee_are_refused() -> None:
    with pytest.raises(SettingsError, match=r"quiet_ms: expected >= .* = 5000, found 4999"):
        shell_of(Semantic(quiet_ms=4_999))
    with pytest.raises(SettingsError, match=r"before_ms \+ after_ms: expected >= 0, found -1"):
        shell_of(Semantic(before_ms=-2_001))
    with pytest.raises(SettingsError, match=r"how: expected right \| inner \| left \| outer, found latest"):
        shell_of(Semantic(how="latest"))  # type: ignore[arg-type]


def test_the_journal_says_of_each_text_which_frames_came_before_it() -> None:
    shell = shell_of()
    for side, offset in ((FRAME, 0), (TEXT, 0), (FRAME, 5), (FRAME, 6), (TEXT, 4)):
        shell.live(side, raw_text(offset, T0) if side is TEXT else raw_frame(offset, T0))
    shell.settle()
    lines = [line for line in shell.trace.journal if isinstance(line, JournalText)]
    assert lines == [JournalText(0, 1), JournalText(4, 7)]


def test_the_journal_names_the_place_of_a_text_that_is_refused_a_duplicate_or_over_the_rate_too() -> None:
    shell = shell_of(structs.replace(SETTINGS, rate_burst=2))
    shell.live(TEXT, raw_text(0, T0, identity="a"))
    shell.live(FRAME, raw_frame(3, T0))
    shell.live(TEXT, Raw(1, T0, None, b"x"))
    shell.live(TEXT, raw_text(2, T0, identity="a"))
    shell.live(TEXT, raw_text(4, T0))
    shell.live(FRAME, Raw(7, T0, None, b"x"))
    shell.live(TEXT, raw_text(5, T0))
    shell.settle()
    assert shell.trace.journal[1:] == [
        JournalText(0, 0), JournalSkipped(1, 4), JournalSkipped(2, 4), JournalText(4, 4), JournalSkipped(5, 8),
    ]  # fmt: skip


def test_a_tick_comes_only_when_both_sides_are_idle_and_moves_stream_time_and_something_is_held_or_open() -> None:
    shell = shell_of()
    shell.caught_up(TEXT, FRAME)
    assert not shell.task.advance(T0), "nothing is held"
    shell.live(TEXT, raw_text(0, T0))
    assert not shell.task.advance(T0), "it moves nothing"
    shell.caught_up(TEXT)
    assert not shell.task.advance(T0 + 9_000), "frames are not caught up"
    shell.caught_up(TEXT, FRAME)
    shell.give(FRAME, raw_frame(0, T0))
    assert not shell.task.advance(T0 + 9_000), "a record is queued"
    shell.pump()
    assert shell.task.advance(T0 + 9_000)
    shell.settle()
    assert shell.trace.journal[-1] == JournalTick(T0 + 9_000, 1, 1)
    assert shell.task.stream_ms == T0 + 9_000


def test_stream_time_is_bounded_by_append_time_so_a_fast_clock_moves_it_no_further() -> None:
    shell = shell_of()
    shell.live(FRAME, raw_frame(0, T0, event_ms=T0 + 1_900))
    assert shell.task.stream_ms == T0
    shell.live(FRAME, raw_frame(1, T0 + 10, event_ms=T0 - 5_000))
    assert shell.task.stream_ms == T0
    shell.live(FRAME, raw_frame(2, T0 + 20))
    assert shell.task.stream_ms == T0 + 20


@pytest.mark.parametrize("at_most", [1, 2, 3])
def test_a_pump_admits_no_more_records_than_it_was_asked_for(at_most: int) -> None:
    shell = shell_of()
    shell.caught_up(TEXT, FRAME)
    shell.give(TEXT, *(raw_text(offset, T0) for offset in range(3)))
    assert shell.task.pump(at_most).has_more, "the shell is to ask again"
    assert view_of(shell.task).queued[TEXT] == 3 - at_most


def test_a_thinning_level_is_journaled_once_and_must_be_0_to_3() -> None:
    shell = shell_of()
    for level in (3, 3, 0):
        shell.task.set_thinning(level)
    shell.settle()
    assert shell.trace.journal[1:] == [JournalThinning(3, 0, 0), JournalThinning(0, 0, 0)]
    for level in (-1, 4):
        with pytest.raises(ValueError, match=f"thinning level: expected 0-3, found {level}"):
            shell.task.set_thinning(level)


def test_the_same_offset_again_changes_nothing_and_its_bytes_are_kept_while_they_are_needed() -> None:
    shell = shell_of()
    shell.live(FRAME, raw_frame(0, T0))
    before = shell.task.checkpoint()
    shell.give(FRAME, raw_frame(0, T0))
    shell.pump()
    assert shell.task.checkpoint() == before
    assert (FRAME, 0) in shell.kept
    shell.finish(after_ms=60_000)
    shell.give(FRAME, raw_frame(0, T0))
    shell.pump()
    assert not shell.kept


def test_a_record_that_comes_again_while_it_is_queued_keeps_its_bytes_and_is_judged_once() -> None:
    shell = shell_of()
    for _ in range(2):
        shell.give(FRAME, raw_frame(0, T0))  # texts are waited for
        shell.pump()
        assert (shell.task.queued(FRAME), (FRAME, 0) in shell.kept) == (1, True)
    shell.finish(after_ms=60_000)
    assert shell.task.totals["frames.received"] == 1


def test_a_step_lets_go_of_the_marks_that_no_later_state_needs() -> None:
    shell = shell_of(Semantic(how="left", unmatched_every_ms=1))
    for number in range(20):
        shell.task.set_thinning(number % 2)
        shell.live(TEXT, raw_text(number, T0 + 10_000 * number))
        shell.live(FRAME, raw_frame(number, T0 + 10_000 * number + 5_000))
        shell.score_all()
        shell.commit()
    front = shell.task._front
    assert all(len(marks) == 1 for marks in front._rate._levels.values())
    assert [len(marks) for marks in front._thin._sampled.values()] == [1]
    assert len(front._thin._levels) == 1


def test_the_same_cloudevents_id_again_changes_nothing_but_counts_until_s_has_passed_first_sight_plus_h() -> None:
    shell = shell_of(structs.replace(SETTINGS, rate_burst=1_000))
    horizon_ms = SETTINGS.horizon_ms
    shell.live(TEXT, raw_text(0, T0, identity="a"))
    shell.live(TEXT, raw_text(1, T0 + 50, identity="a"))
    assert shell.task.stream_ms == T0, "a duplicate moves no time"
    shell.live(FRAME, raw_frame(0, T0 + horizon_ms, identity="a"))
    shell.live(TEXT, raw_text(2, T0 + horizon_ms, identity="a"))
    rounded_ms = horizon_ms // 16
    shell.live(FRAME, raw_frame(1, T0 + horizon_ms + rounded_ms + 1))
    shell.live(TEXT, raw_text(3, T0 + horizon_ms + rounded_ms + 1, identity="a"))
    shell.finish(after_ms=60_000)
    assert {text for text, _ in shell.trace.scored} == {0, 3}
    assert shell.task.totals["texts.duplicate"] == 2


def test_a_text_flood_goes_to_the_dead_letters_with_one_notice_and_other_zones_pass() -> None:
    shell = shell_of()
    for offset in range(50):
        shell.live(TEXT, raw_text(offset, T0))
    shell.live(TEXT, raw_text(50, T0, zone="y"))
    shell.finish(after_ms=60_000)
    assert [letter.offset for letter in shell.trace.dead_letters] == list(range(3, 50))
    assert {letter.reason for letter in shell.trace.dead_letters} == {"rate"}
    assert [(notice.kind, notice.zone) for notice in shell.trace.notices] == [("rate", "x")]
    assert [text for text, _ in shell.trace.scored] == [0, 1, 2, 50]


def test_a_dead_letters_bytes_are_kept_until_the_step_is_confirmed() -> None:
    shell = shell_of()
    shell.live(FRAME, Raw(0, T0, b"x", b"no image"))
    shell.begin_commit()
    shell.pump()
    assert (FRAME, 0) in shell.kept
    shell.confirm()
    shell.pump()
    assert (FRAME, 0) not in shell.kept


def test_alerts_are_said_at_once_and_carry_the_stream_time_of_their_sequence_number() -> None:
    shell = shell_of()
    shell.scores.moods = {(TEXT, 0): 1, (FRAME, 0): 1}
    shell.live(FRAME, raw_frame(0, T0))
    shell.live(TEXT, raw_text(0, T0 + 5))
    shell.live(FRAME, raw_frame(1, T0 + 900))
    said = [shell.task.wants_commit]
    shell.score_all()
    assert [*said, shell.task.wants_commit] == [False, True]
    shell.commit()
    assert [(alert.label, alert.phase, alert.time_ms) for alert in shell.trace.alerts] == [("fight", "opened", T0 + 5)]


def test_scores_of_an_observation_that_is_not_in_flight_are_an_error() -> None:
    with pytest.raises(ValueError, match="is not in flight"):
        shell_of().task.scored(Scored(1, 0, None))


def test_another_model_is_journaled_as_a_switch_and_closes_what_no_longer_alerts() -> None:
    shell = shell_of()
    shell.scores.moods = {(TEXT, 0): 3}
    shell.live(FRAME, raw_frame(0, T0))
    shell.live(TEXT, raw_text(0, T0, event_ms=T0 - 60_000))
    shell.score_all()
    shell.commit()
    assert {alert.label for alert in shell.trace.alerts} == {"fight", "fire"}
    other = structs.replace(
        MODEL, version="2", sha256="cd" * 32, labels=(LabelRule("fight", is_alerting=True, open_at=MICRO, close_at=0),)
    )
    successor = Shell(SETTINGS, shell.scores, checkpoint=shell.trace.state, model=other)
    successor.read_again({TEXT: [], FRAME: [raw_frame(0, T0)]})
    successor.caught_up(TEXT, FRAME)
    assert successor.task.wants_commit
    successor.commit()
    assert [(alert.label, alert.reason) for alert in successor.trace.alerts] == [("fire", "model-changed")]
    assert successor.trace.journal == [JournalSwitch(other.sha256, SETTINGS.sha256, 1, 1, other, SETTINGS)]
    successor.finish(after_ms=60_000)
    assert [(alert.label, alert.reason) for alert in successor.trace.alerts[1:]] == [("fight", "quiet")]


def test_a_checkpoint_forgets_which_texts_reached_open_at_long_ago() -> None:
    shell = shell_of(Semantic(open_texts=2))
    shell.scores.moods = {(TEXT, 0): 3}
    shell.live(FRAME, raw_frame(0, T0))
    shell.live(TEXT, raw_text(0, T0))
    shell.score_all()
    shell.commit()
    assert [label for _, label, _ in shell.trace.state.decide.reached] == ["fight", "fire"]
    shell.finish(after_ms=60_000)
    assert not shell.trace.state.decide.reached


def test_an_incident_is_open_as_long_as_its_opening_text_gathers_frames_in_time_though_quiet_ms_is_no_longer() -> None:
    settings = Semantic(before_ms=2_000, after_ms=0, grace_ms=1_000, quiet_ms=3_000, sample_ms=1)
    shell = shell_of(settings)
    shell.scores.moods = {(TEXT, 0): 3}
    shell.live(FRAME, raw_frame(0, T0))
    shell.live(TEXT, raw_text(0, T0))
    shell.live(FRAME, raw_frame(1, T0 + 3_000, zone="y"))
    shell.live(FRAME, raw_frame(2, T0 + 3_000, event_ms=T0 + 2_000, camera="c2"))  # behind S by grace, no more
    shell.score_all()
    shell.finish(after_ms=60_000)
    assert shell.trace.scored == [(0, 0), (0, 2)]
    assert [(alert.phase, alert.cameras) for alert in shell.trace.alerts if alert.label == "fight"] == [
        ("opened", ("c1",)),
        ("updated", ("c1", "c2")),
        ("closed", ("c1", "c2")),
    ]


def test_ids_do_not_repeat_though_a_text_of_a_fast_clock_outlives_its_incident() -> None:
    # before + after + grace is quiet_ms; the text's clock is 1.9 s fast, so it is still held when the incident closes.
    settings = Semantic(before_ms=2_000, after_ms=0, grace_ms=1_000, quiet_ms=3_000, sample_ms=1)
    shell = shell_of(settings)
    shell.scores.moods = {(TEXT, 0): 3}
    shell.live(FRAME, raw_frame(0, T0, event_ms=T0 + 1_900))
    shell.live(TEXT, raw_text(0, T0, event_ms=T0 + 1_900))
    shell.live(FRAME, raw_frame(1, T0 + 3_500))
    shell.score_all()
    shell.finish(after_ms=60_000)
    assert shell.trace.scored == [(0, 0), (0, 1)]
    ids = [alert.id for alert in shell.trace.alerts]
    assert len(ids) == len(set(ids)) == 4


@pytest.mark.parametrize("is_committed", [True, False])
def test_what_the_rate_bound_lets_pass_does_not_depend_on_commits_though_append_times_run_back(
    is_committed: bool,  # noqa: FBT001 - the two cases
) -> None:
    # A frame appended later is admitted before texts of the other topic, as a live task may see them.
    shell = shell_of(structs.replace(SETTINGS, rate_per_s=1, rate_burst=2))
    for offset in range(2):
        shell.live(TEXT, raw_text(offset, T0))
    shell.live(FRAME, raw_frame(0, T0 + 2_000))
    if is_committed:
        shell.settle()
    for offset in range(2, 6):
        shell.live(TEXT, raw_text(offset, T0 + 10))
    shell.finish(after_ms=60_000)
    assert [letter.offset for letter in shell.trace.dead_letters] == [4, 5]


def test_a_record_that_comes_again_while_it_is_being_scored_keeps_its_bytes() -> None:
    shell = shell_of()
    shell.live(FRAME, raw_frame(0, T0))
    late = raw_text(0, T0 + 1, event_ms=T0 - 60_000)  # scored alone at once, never held
    shell.live(TEXT, late)
    assert [one.text and one.text.offset for one in shell.flight.values()] == [0]
    shell.give(TEXT, late)
    shell.pump()
    assert (TEXT, 0) in shell.kept
    shell.finish(after_ms=60_000)


def test_dead_letters_are_counted_by_reason_whether_admission_or_scoring_found_them() -> None:
    shell = shell_of()
    shell.scores.failing = {(FRAME, 2), (FRAME, 3)}
    shell.live(FRAME, Raw(0, T0, b"x", b"no image"))
    shell.live(FRAME, Raw(1, T0, b"x", b"no image"))
    shell.live(FRAME, raw_frame(2, T0, camera="c1"))
    shell.live(FRAME, raw_frame(3, T0, camera="c2"))
    shell.live(TEXT, raw_text(0, T0))
    shell.finish(after_ms=60_000)
    totals = {name: number for name, number in shell.task.totals.items() if name.startswith("dead.")}
    assert totals == {"dead.not-an-image": 2, "dead.undecodable": 2}


def test_a_text_that_a_checkpoint_brought_back_says_what_it_said_once_its_bytes_have_come_again() -> None:
    shell = shell_of()
    shell.live(TEXT, raw_text(0, T0))
    shell.commit()
    successor = Shell(SETTINGS, shell.scores, checkpoint=shell.trace.state)
    successor.give(TEXT, raw_text(0, T0))
    successor.live(FRAME, raw_frame(0, T0))
    assert [one.text and one.text.text for one in successor.flight.values()] == ["alarm 0"]
