"""A switch of model or settings at a sequence number: what was made before it, what after, and what a crash leaves."""

from __future__ import annotations

import pytest
from msgspec import structs

from stream_app.core.checkpoint import Checkpoint
from stream_app.core.journal import JournalSwitch
from stream_app.core.settings import Semantic, SettingsError
from stream_app.core.types import Side
from tests.core.drive import MODEL, T0, Raw, Scores, Shell, raw_frame, raw_text
from tests.core.live import OTHER, ScoresOfTwo

TEXT, FRAME = Side.TEXT, Side.FRAME
SETTINGS = Semantic(sample_ms=1)
LOG = {FRAME: [raw_frame(0, T0), raw_frame(1, T0 + 100)], TEXT: [raw_text(0, T0)]}


def shell_of(checkpoint: Checkpoint | None = None, **given: object) -> Shell:
    scores = ScoresOfTwo({(TEXT, 0): 3, (TEXT, 1): 3})
    return Shell(SETTINGS, scores, checkpoint=checkpoint, **given)  # type: ignore[arg-type]


def with_a_pair_in_flight() -> Shell:
    shell = shell_of()
    shell.live(FRAME, LOG[FRAME][0])
    shell.live(TEXT, LOG[TEXT][0])
    assert [one.model for one in shell.flight.values()] == [MODEL.sha256]
    return shell


def test_what_was_in_flight_is_decided_by_the_model_that_made_it_and_what_comes_after_by_the_new() -> None:
    shell = with_a_pair_in_flight()
    wider = structs.replace(SETTINGS, grace_ms=1_001)
    assert shell.task.switch(OTHER, wider, "55" * 32)
    shell.live(FRAME, LOG[FRAME][1])
    assert [one.model for one in shell.flight.values()] == [MODEL.sha256, OTHER.sha256]
    shell.score(max(shell.flight))
    shell.commit()
    assert not shell.trace.decisions, "the cut stands before the pair that is still in flight"
    assert (shell.trace.state.model, shell.trace.state.settings) == (MODEL, SETTINGS)
    shell.score_all()
    shell.commit()
    assert [one.in_force.model for one in shell.trace.decisions] == [MODEL, OTHER]
    said = [(one.label, one.phase, one.reason, one.in_force.model.version) for one in shell.trace.alerts]
    assert said == [
        ("fight", "opened", "", "1"), ("fire", "opened", "", "1"), ("fight", "closed", "model-changed", "2"),
    ]  # fmt: skip
    assert {one.in_force.settings_sha256 for one in shell.trace.decisions} == {SETTINGS.sha256, "55" * 32}
    assert shell.trace.journal[-1] == JournalSwitch(OTHER.sha256, "55" * 32, 1, 1, OTHER, wider)
    state = shell.trace.state
    assert (state.model, state.settings, state.settings_sha256) == (OTHER, wider, "55" * 32)


def test_a_text_starts_anew_under_another_model() -> None:
    shell = with_a_pair_in_flight()
    shell.scores.moods[TEXT, 0] = -20
    shell.score_all()
    shell.task.switch(OTHER, SETTINGS)
    shell.scores.moods[TEXT, 0] = 3
    shell.live(FRAME, LOG[FRAME][1])
    shell.score_all()
    shell.commit()
    assert [(one.label, one.phase) for one in shell.trace.alerts] == [("fire", "opened")]


@pytest.mark.parametrize("is_committed", [True, False])
def test_after_a_crash_a_switch_holds_if_it_was_committed_and_a_successor_makes_it_again_if_not(
    is_committed: bool,  # noqa: FBT001 - the two cases
) -> None:
    shell = with_a_pair_in_flight()
    shell.score_all()
    shell.commit()
    shell.task.switch(OTHER, SETTINGS)
    if is_committed:
        shell.commit()
    successor = shell_of(shell.trace.state, model=OTHER)
    successor.read_again(LOG)
    successor.settle()
    made_again = [] if is_committed else [JournalSwitch(OTHER.sha256, SETTINGS.sha256, 1, 1, OTHER, SETTINGS)]
    assert successor.trace.journal == made_again
    assert [one.reason for one in (*shell.trace.alerts, *successor.trace.alerts)].count("model-changed") == 1


def test_a_successor_with_the_old_model_switches_back() -> None:
    shell = shell_of()
    shell.task.switch(OTHER, SETTINGS)
    shell.commit()
    successor = shell_of(shell.trace.state)
    successor.commit()
    assert successor.trace.journal == [JournalSwitch(MODEL.sha256, SETTINGS.sha256, 0, 0, MODEL, SETTINGS)]


def test_a_restart_with_others_is_a_switch_of_the_task_that_goes_on() -> None:
    other = structs.replace(SETTINGS, before_ms=50, how="outer", unmatched_every_ms=3, rate_burst=1)
    shell = with_a_pair_in_flight()
    shell.score_all()
    shell.commit()
    successor = Shell(other, shell.scores, checkpoint=shell.trace.state, model=OTHER)
    successor.read_again(LOG)
    shell.task.switch(OTHER, other)
    for one in (shell, successor):
        one.live(FRAME, LOG[FRAME][1])
        one.live(TEXT, raw_text(1, T0 + 120))
        one.live(TEXT, raw_text(2, T0 + 130))
        one.finish(after_ms=60_000)
    assert successor.trace.steps[-1].checkpoint == shell.trace.steps[-1].checkpoint
    assert successor.trace.judged == shell.trace.judged[1:]


def test_held_records_meet_further_partners_and_leave_by_the_settings_in_force() -> None:
    shell = shell_of()
    shell.live(FRAME, raw_frame(0, T0))
    narrow = structs.replace(SETTINGS, before_ms=10, after_ms=10, grace_ms=0)
    shell.task.switch(MODEL, narrow)
    shell.live(TEXT, raw_text(0, T0 + 11))
    shell.live(TEXT, raw_text(1, T0 + 11, event_ms=T0 + 10))
    assert [(one.text and one.text.offset, one.frame and one.frame.offset) for one in shell.flight.values()] == [(1, 0)]
    shell.live(FRAME, raw_frame(1, T0 + 21))
    assert (FRAME, 0) not in shell.task._front.join.held


def test_frames_that_were_held_without_a_result_get_one_once_frames_alone_are_wanted() -> None:
    shell = shell_of()
    shell.live(FRAME, raw_frame(0, T0))
    shell.task.switch(MODEL, structs.replace(SETTINGS, how="left"))
    shell.finish(after_ms=60_000)
    assert shell.trace.scored == [(None, 0)]


def test_what_is_queued_is_admitted_by_the_settings_in_force_when_its_turn_comes() -> None:
    shell = shell_of()
    shell.give(TEXT, Raw(0, T0, b"x", b"y" * 20))  # frames are waited for
    shell.task.switch(MODEL, structs.replace(SETTINGS, max_text_bytes=10))
    shell.finish(after_ms=60_000)
    assert [letter.reason for letter in shell.trace.dead_letters] == ["too-large"]


def test_a_lower_bound_on_the_window_holds_from_the_next_frame_on() -> None:
    shell = shell_of()
    for offset in range(2):
        shell.live(FRAME, raw_frame(offset, T0, size=100))
    shell.task.switch(MODEL, structs.replace(SETTINGS, window_bytes=100))
    shell.live(FRAME, raw_frame(2, T0, size=40))
    assert shell.task.window_bytes <= 100


def test_a_zone_whose_bucket_is_full_has_all_of_a_larger_one_at_once() -> None:
    shell = Shell(structs.replace(SETTINGS, rate_per_s=1_000, rate_burst=3), Scores())
    shell.live(TEXT, raw_text(0, T0))
    shell.live(FRAME, raw_frame(0, T0 + 10, zone="y"))
    shell.task.switch(MODEL, structs.replace(SETTINGS, rate_per_s=1, rate_burst=9))
    for offset in range(1, 11):
        shell.live(TEXT, raw_text(offset, T0 + 10))
    shell.finish(after_ms=60_000)
    assert [letter.offset for letter in shell.trace.dead_letters] == [10]


def test_a_camera_does_not_fall_silent_when_its_frames_alone_are_wanted_more_seldom() -> None:
    often = structs.replace(SETTINGS, how="left", unmatched_every_ms=1_000)
    shell = Shell(often, Scores())
    shell.live(FRAME, raw_frame(0, T0))
    shell.live(FRAME, raw_frame(1, T0 + 6_000))
    shell.task.switch(MODEL, structs.replace(often, unmatched_every_ms=10_000))
    shell.live(FRAME, raw_frame(2, T0 + 9_000))
    shell.live(FRAME, raw_frame(3, T0 + 20_000))
    shell.finish(after_ms=60_000)
    assert shell.trace.scored == [(None, 0), (None, 3)]


def test_a_switch_to_what_is_in_force_is_none() -> None:
    shell = shell_of()
    shell.commit()
    assert not shell.task.switch(MODEL, SETTINGS)
    assert not shell.task.switch(MODEL, SETTINGS, SETTINGS.sha256)
    assert shell.task.commit_due() is None
    assert shell.task.switch(MODEL, SETTINGS, "55" * 32), "alerts name the settings by it"


def test_settings_that_break_a_guarantee_are_refused_and_change_nothing() -> None:
    shell = shell_of()
    shell.commit()
    with pytest.raises(SettingsError, match="quiet_ms"):
        shell.task.switch(MODEL, Semantic(quiet_ms=1))
    assert shell.task.commit_due() is None


def test_a_checkpoint_of_an_older_version_which_names_no_settings_causes_no_switch() -> None:
    shell = shell_of(settings_sha256="55" * 32)
    shell.commit()
    assert shell.trace.state.settings_sha256 == "55" * 32
    older = structs.replace(shell.trace.state, settings_sha256="")
    assert shell_of(older, settings_sha256="66" * 32).task.commit_due() is None
    successor = shell_of(shell.trace.state, settings_sha256="66" * 32)
    successor.commit()
    assert [one.settings for one in successor.trace.journal if isinstance(one, JournalSwitch)] == ["66" * 32]


def test_a_switch_that_shortens_h_forgets_no_identity_sooner_than_those_before_it() -> None:
    shell = Shell(SETTINGS, Scores())
    horizon_ms = SETTINGS.horizon_ms
    shell.live(TEXT, raw_text(0, T0, identity="a"))
    shell.task.switch(MODEL, structs.replace(SETTINGS, before_ms=0, after_ms=0))
    shell.live(TEXT, raw_text(1, T0 + 1, identity="b"))
    shell.live(FRAME, raw_frame(0, T0 + horizon_ms))
    shell.score_all()
    shell.commit()
    assert shell.trace.state.lowest(TEXT) == 0
    shell.live(TEXT, raw_text(2, T0 + horizon_ms, identity="a"))
    shell.live(TEXT, raw_text(3, T0 + horizon_ms, identity="b"))
    shell.live(FRAME, raw_frame(1, T0 + 2 * horizon_ms))
    shell.live(TEXT, raw_text(4, T0 + 2 * horizon_ms, identity="b"))
    shell.finish(after_ms=60_000)
    assert [text for text, _ in shell.trace.scored] == [0, 1, 4]


# -- the order given by a replay --------------------------------------------------------------------------------------


def test_records_are_taken_in_a_given_order_whatever_the_merge_would_wait_for() -> None:
    shell = shell_of()
    shell.kept = {(side, raw.offset): raw for side in Side for raw in LOG[side]}
    shell.task.take(FRAME, LOG[FRAME])
    shell.task.take(TEXT, LOG[TEXT])
    shell.task.take(TEXT, LOG[TEXT])
    assert shell.task.sequence == 4
    shell.finish(after_ms=60_000)
    assert shell.trace.scored == [(0, 0), (0, 1)]


def test_no_order_is_given_while_records_wait_in_the_merge() -> None:
    shell = shell_of()
    shell.give(TEXT, LOG[TEXT][0])
    with pytest.raises(ValueError, match="expected nothing in the merge"):
        shell.task.take(FRAME, LOG[FRAME])


def test_a_tick_that_a_journal_tells_asks_no_conditions_but_never_moves_time_back() -> None:
    shell = shell_of()
    assert not shell.task.advance(T0)
    shell.task.tick(T0)
    shell.task.tick(T0)
    assert shell.task.stream_ms == T0
    with pytest.raises(ValueError, match=f"expected a time from {T0} on, found {T0 - 1}"):
        shell.task.tick(T0 - 1)
