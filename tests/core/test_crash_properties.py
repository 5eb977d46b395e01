"""A crash at any cut, with work in flight, then recovery, equals no crash; so does any timing of scores and commits."""

from __future__ import annotations

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from stream_app.core.checkpoint import decode_checkpoint
from tests.core.drive import Shell, Trace
from tests.core.examples import examples
from tests.core.play import LIMITS, Player
from tests.core.streams import Stream, streams


def _assert_equal(found: Trace, expected: Trace) -> None:
    assert found.scored == expected.scored
    assert found.judged == expected.judged
    assert found.alerts == expected.alerts
    assert found.dead_letters == expected.dead_letters
    assert found.notices == expected.notices
    assert found.journal == expected.journal
    assert found.state == expected.state
    assert found.steps[-1].checkpoint == expected.steps[-1].checkpoint


def _assert_once(trace: Trace) -> None:
    ids = [alert.id for alert in trace.alerts]
    assert len(ids) == len(set(ids))
    assert len(trace.scored) == len(set(trace.scored))
    letters = [(letter.ref, letter.reason) for letter in trace.dead_letters]
    assert len(letters) == len(set(letters))


def _assert_books_balance(trace: Trace) -> None:
    """Every record ends in exactly one line, and every dead letter is counted under its reason."""
    totals = trace.state.totals
    for word, lines in (
        ("texts", ("paired", "alone", "dead", "duplicate")),
        ("frames", ("scored", "thinned", "alone", "unmet", "dead", "duplicate")),
    ):
        assert totals.get(f"{word}.received", 0) == sum(totals.get(f"{word}.{line}", 0) for line in lines)
    dead = Counter(letter.reason for letter in trace.dead_letters)
    assert {name: number for name, number in totals.items() if name.startswith("dead.")} == {
        f"dead.{reason}": number for reason, number in dead.items()
    }
    scored_pairs = sum(1 for text, frame in trace.scored if text is not None and frame is not None)
    assert scored_pairs == totals.get("pairs.joined", 0) - totals.get("pairs.thinned", 0)


@given(streams(), st.integers(0, 1 << 32), st.sampled_from((0.1, 0.5)))
@examples(200)
def test_the_timing_of_scores_and_commits_changes_nothing(stream: Stream, seed: int, patience: float) -> None:
    expected = Player(stream, Random(1), patience=0.55).play()
    player = Player(stream, Random(seed), patience=patience)
    _assert_equal(player.play(), expected)
    _assert_once(expected)
    _assert_books_balance(expected)
    player.shell.pump()
    assert not player.shell.kept, "everything is released in the end"


@given(streams(), st.integers(0, 1 << 32), st.sampled_from((0.1, 0.5)))
@examples(400)
def test_a_crash_at_any_cut_with_work_in_flight_then_recovery_equals_no_crash(
    stream: Stream, seed: int, patience: float
) -> None:
    expected = Player(stream, Random(1), patience=0.55).play()
    player = Player(stream, Random(seed), crash_rate=0.06, patience=patience)
    _assert_equal(player.play(), expected)
    _assert_once(player.trace)
    player.shell.pump()
    assert not player.shell.kept, "everything is released in the end"


@given(streams(), st.integers(0, 1 << 32))
@examples(200)
def test_a_checkpoint_describes_its_cut_and_nothing_later(stream: Stream, seed: int) -> None:
    prompt = Player(stream, Random(1))
    for op in stream.ops:  # everything is scored and committed before the next: the head is the cut
        prompt.do(op)
        prompt.shell.score_all()
        prompt.shell.commit()
    states = {step.sequence: step.checkpoint for step in prompt.trace.steps}
    trace = Player(stream, Random(seed), patience=0.1).play()
    compared = [step for step in trace.steps if step.sequence in states]
    assert compared
    for step in compared:
        assert decode_checkpoint(step.checkpoint) == decode_checkpoint(states[step.sequence])


@given(streams(), st.integers(0, 1 << 32))
@examples(100)
def test_a_task_restored_from_a_checkpoint_has_that_checkpoint(stream: Stream, seed: int) -> None:
    trace = Player(stream, Random(seed), patience=0.1).play()
    for step in trace.steps:
        state = decode_checkpoint(step.checkpoint)
        shell = Shell(stream.settings, stream.scores, limits=LIMITS, checkpoint=state)
        assert shell.task.checkpoint() == state
        assert not shell.task.wants_commit
        assert shell.task.commit_due() is None
