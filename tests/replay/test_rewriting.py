"""A replay that writes a recording of its inputs and outputs: it verifies to the byte, however fast the replay was."""

from __future__ import annotations

from itertools import pairwise
from random import Random
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_app.core.types import InForce, Side
from stream_app.replay.in_force import recorded_in_force
from stream_app.replay.verify import verify
from stream_app.wire.journal import decode_journal
from tests.core.drive import IN_FORCE, MODEL, T0, Raw, raw_frame, raw_text
from tests.replay.memory import Memory, MoodScorer, as_recorded
from tests.replay.rewritten import Rewritten, rewrite
from tests.replay.test_canonical import LIMITS, PACE, Night, Outputs, by_the_core, nights, recording_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stream_app.replay.recording import Kind, TopicRecord
    from stream_app.runtime.ports.scoring import RecordKey, Score, ScoreItem

KINDS: tuple[Kind, ...] = ("texts", "frames", "alerts", "decisions", "dead_letters")


def _written(night: Night, seed: int, scorer: MoodScorer, *, in_flight: int, outputs: int) -> tuple[Rewritten, Outputs]:
    # A reading of a recording in memory uses chance up: a new one for each.
    recording = recording_of(night.logs[Side.TEXT], night.logs[Side.FRAME], seed)
    limits = msgspec.structs.replace(LIMITS, in_flight=in_flight, outputs=outputs)
    found = Outputs()
    in_force = InForce(MODEL, night.settings, night.settings.sha256)
    pace = msgspec.structs.replace(PACE, limits=limits)
    return rewrite(recording, in_force, scorer, pace=pace, take=found.take)[0], found


@settings(max_examples=60, deadline=None)
@given(night=nights(), seed=st.integers(0, 9), in_flight=st.integers(1, 9), outputs=st.sampled_from((3, 20, 10_000)))
def test_any_recording_is_written_to_the_byte_alike_however_fast_it_is_scored_and_verifies_as_equal(
    night: Night, seed: int, in_flight: int, outputs: int
) -> None:
    slow = MoodScorer(night.moods, Random(seed))
    made, found = _written(night, seed, slow, in_flight=in_flight, outputs=outputs)
    at_once, _ = _written(night, seed, MoodScorer(night.moods), in_flight=1_000, outputs=10_000)
    assert made.written == at_once.written
    assert found == by_the_core(night, PACE.idle_ms)
    verdict = verify(made)
    assert [difference.words() for difference in verdict.differences] == []
    for task in verdict.tasks:
        assert (verdict.status, task.before, task.after, task.gaps) == ("equal", {}, {}, ())
        assert [task.verified.get(kind, 0) for kind in KINDS] == [len(made.of(kind)) for kind in KINDS]


def test_its_inputs_are_those_of_the_old_one_and_a_replay_of_it_writes_the_same() -> None:
    texts = [raw_text(10 + n, T0 + 700 * n) for n in range(60)]
    frames = [raw_frame(n, T0 + 210 * n) if n != 5 else Raw(n, T0 + 210 * n, b"x", b"") for n in range(200)]
    recording = recording_of(texts, frames)
    scorer = MoodScorer({(Side.TEXT, 10 + n): n % 4 for n in range(60)}, Random(1))
    made, _ = rewrite(recording, IN_FORCE, scorer, pace=PACE)
    assert made.of("texts") == [as_recorded(raw) for raw in texts]
    assert made.of("frames") == [as_recorded(raw) for raw in frames]
    assert len(made.of("dead_letters")) == 1
    assert recorded_in_force(made) == IN_FORCE
    again, _ = rewrite(made, IN_FORCE, scorer, pace=PACE)
    assert again.written == made.written


def test_outputs_lie_on_the_tasks_partition_by_the_append_time_of_what_they_follow_from() -> None:
    texts = [as_recorded(raw_text(n, T0 + 400 * n), 3) for n in range(20)]
    recording = Memory({"texts": [*texts, as_recorded(raw_text(99, T0 + 40_000), 3)]})
    scorer = MoodScorer({(Side.TEXT, n): 3 for n in (*range(20), 99)})
    made, _ = rewrite(recording, IN_FORCE, scorer, pace=PACE)
    for kind in ("alerts", "decisions", "journal"):
        found = made.of(kind)
        assert [record.offset for record in found] == list(range(len(found)))
        assert {(record.partition, record.timestamp_type) for record in found} == {(3, 1)}
        assert all(one.timestamp <= other.timestamp for one, other in pairwise(found))
    times = [record.timestamp - T0 for record in made.of("journal")]
    # What is in force; what came before each second was over; the ticks of the gap, a second after their time.
    assert times[:4] == [0, 800, 2_000, 3_200]
    assert [time for time in times if 7_600 < time < 40_000][:2] == [9_000, 10_000]
    # A step holds all that came up to its own time, and its alerts lie beside it.
    assert {record.timestamp for record in made.of("alerts")} <= {record.timestamp for record in made.of("journal")}
    # All incidents close, behind the last input.
    assert times[-1] > 40_000


def test_keyframes_lie_a_stretch_of_stream_time_apart() -> None:
    recording = recording_of([], [raw_frame(n, T0 + 500 * n) for n in range(200)])
    made, _ = rewrite(recording, IN_FORCE, MoodScorer({}), pace=PACE)
    records = [decode_journal(record.value or b"") for record in made.of("journal")]
    times = [record.step.stream_ms for record in records if record.keyframe is not None and record.step is not None]
    assert records[0].epoch is not None
    assert len(times) == 7
    assert all(20_000 <= later - time < 21_500 for time, later in pairwise(times[1:]))


def test_what_the_old_one_has_without_its_value_is_left_out() -> None:
    frames = [as_recorded(raw_frame(n, T0 + 100 * n)) for n in range(30)]
    bare = [msgspec.structs.replace(frame, value=None) if frame.offset % 3 == 0 else frame for frame in frames]
    recording = Memory({"frames": bare, "texts": [as_recorded(raw_text(1, T0 + 1_000))]})
    made, done = rewrite(recording, IN_FORCE, MoodScorer({(Side.TEXT, 1): 3}), pace=PACE)
    assert done.left_out == 10
    assert [frame.offset % 3 for frame in made.of("frames")] == [1, 2] * 10
    assert verify(made).status == "equal"


def test_many_records_of_one_moment_make_a_step_of_their_own() -> None:
    texts = [raw_text(n, T0 + 1) for n in range(2_500)]
    limits = msgspec.structs.replace(LIMITS, queue_records=700, outputs=10)
    pace = msgspec.structs.replace(PACE, limits=limits)
    # Each text is scored with the frame as soon as it is admitted.
    made, _ = rewrite(recording_of(texts, [raw_frame(0, T0)]), IN_FORCE, MoodScorer({}), pace=pace)
    slow, _ = rewrite(recording_of(texts, [raw_frame(0, T0)]), IN_FORCE, MoodScorer({}, Random(1)), pace=pace)
    assert slow.written == made.written
    steps = [decode_journal(record.value or b"").step for record in made.of("journal")]
    admitted = [step.next_text for step in steps if step is not None]
    # Two queues full, and two again; the rest with the first tick.
    assert admitted[:4] == [0, 1_400, 2_500, 2_500]
    assert verify(made).status == "equal"


def test_bytes_in_memory_stay_few_over_a_long_recording() -> None:
    held = most = 0

    class Streamed(Memory):
        def records(self) -> Iterator[tuple[Kind, TopicRecord]]:
            nonlocal held, most
            for number in range(3_000):
                held += 1
                most = max(most, held)
                yield "frames", as_recorded(raw_frame(number, T0 + 200 * number))

    class Counting(MoodScorer):
        def forget(self, key: RecordKey) -> None:
            nonlocal held
            del key
            held -= 1

    rewrite(Streamed({}), IN_FORCE, Counting({}), pace=PACE)
    assert held == 0
    # The window lasts 5 s, which is 25 frames; a few more wait for their step.
    assert most < 60


def test_a_broken_scorer_leaves_what_was_written_before() -> None:
    class Broken(MoodScorer):
        async def score(self, item: ScoreItem) -> Score:
            raise OSError(f"no engine for {item}")

    made: list[str] = []
    recording = recording_of([raw_text(1, T0 + 9_000)], [raw_frame(n, T0 + 100 * n) for n in range(200)])
    with pytest.raises(OSError, match="no engine"):
        rewrite(recording, IN_FORCE, Broken({}), pace=PACE, add=lambda kind, _: made.append(kind))
    assert made.count("frames") > 50
    assert made.count("journal") > 5
