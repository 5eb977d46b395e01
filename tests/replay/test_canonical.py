"""The canonical replay: the core's own order and ticks, whatever the machine does meanwhile."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream_app.config import Operational
from stream_app.core.admit import admit
from stream_app.core.merge import Merge
from stream_app.core.settings import Semantic
from stream_app.core.task import Task
from stream_app.core.types import Alert, Decision, InForce, Scored, Side
from stream_app.replay.canonical import Done, Judged, Reached, Run, replay
from stream_app.replay.recording import Kind, RecordingError, TopicRecord
from stream_app.replay.track import TICK_EVERY_MS, Pace
from stream_app.runtime.ports.scoring import ImageInput, ScoreItem, TextInput
from tests.core.drive import IN_FORCE, MODEL, T0, Raw, raw_frame, raw_text
from tests.core.streams import semantics
from tests.replay.memory import Memory, MoodScorer, as_recorded

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from stream_app.core.effects import Step
    from stream_app.core.types import Observation
    from stream_app.runtime.ports.scoring import RecordKey, Score

LIMITS = Operational().limits
PACE = Pace(idle_ms=1_000, limits=LIMITS)
#: The streams of the core's tests last milliseconds; idle ticks are a matter of seconds.
_SCALE = 50


@dataclass
class Outputs:
    """What one run decided, per partition."""

    alerts: list[Alert] = field(default_factory=list)
    decisions: list[Decision] = field(default_factory=list)
    notices: list[object] = field(default_factory=list)
    dead_letters: list[object] = field(default_factory=list)

    def take(self, part: Judged | Step) -> None:
        self.alerts += part.alerts
        self.decisions += part.decisions
        self.notices += part.notices
        self.dead_letters += part.dead_letters


def judge(recording: Memory, *runs: Run, pace: Pace = PACE) -> tuple[Done, dict[tuple[int, int], Outputs]]:
    found: dict[tuple[int, int], Outputs] = {}

    def take(part: Judged) -> None:
        found.setdefault((part.run, part.partition), Outputs()).take(part)

    return asyncio.run(replay(recording, runs, take=take, pace=pace)), found


def recording_of(texts: Sequence[Raw], frames: Sequence[Raw], seed: int = 0) -> Memory:
    logs: dict[Kind, list[TopicRecord]] = {"texts": [*map(as_recorded, texts)], "frames": [*map(as_recorded, frames)]}
    return Memory(logs, ties=Random(seed))


@dataclass
class Night:
    """Two logs, what is in force, and moods."""

    settings: Semantic
    logs: dict[Side, list[Raw]]
    moods: dict[tuple[Side, int], int]


_RECORD = st.tuples(
    st.sampled_from(Side),
    # Sometimes back in time: of another leader's clock.
    st.sampled_from((0, 0, 0, 50, 200, 400, 1_000, 1_001, 2_400, 7_300, 15_000, -30)),
    st.sampled_from((0, 0, 0, 50, 900, 2_500, -400)),
    st.sampled_from("xxy"),
    st.sampled_from(("c1", "c2")),
    st.sampled_from((2, 1, 0, 3, -1)),
    st.sampled_from((40, 40, 40, 0)),
)


@st.composite
def nights(draw: st.DrawFn) -> Night:
    drawn = draw(semantics())
    times = {
        name: getattr(drawn, name) * _SCALE
        for name in msgspec.structs.asdict(drawn)
        if name.endswith("_ms") and name != "quiet_ms"
    }
    found = msgspec.structs.replace(drawn, **times)
    least = found.before_ms + found.after_ms + found.grace_ms
    night = Night(msgspec.structs.replace(found, quiet_ms=max(least, 1)).check(), {Side.TEXT: [], Side.FRAME: []}, {})
    now = T0
    for side, gap, back, zone, camera, mood, size in draw(st.lists(_RECORD, max_size=40)):
        now += gap
        log = night.logs[side]
        offset = 10 + 2 * len(log)
        night.moods[(side, offset)] = mood
        if not size:
            log.append(Raw(offset, now, zone.encode(), b""))
        elif side is Side.TEXT:
            log.append(raw_text(offset, now, event_ms=now - back, zone=zone))
        else:
            log.append(raw_frame(offset, now, event_ms=now - back, zone=zone, camera=camera, size=size))
    return night


def by_the_core(night: Night, idle_ms: int) -> Outputs:
    """Play a night record by record, everything scored at once: the order is what the core's merge makes of it."""
    found = Outputs()
    task = Task(night.settings, MODEL, deployment="night", partition=0, limits=LIMITS)
    moods = MoodScorer(night.moods)

    def settle() -> None:
        for observation in task.pump().score:
            task.scored(scored_by(observation, asyncio.run(moods.score(item_of(observation)))))
        step = task.commit_due()
        if step is not None:
            found.take(step)
            task.committed()

    latest: int | None = None
    ticks: Sequence[int]
    for side, raw in _order(night.logs):
        if latest is not None:
            end = raw.timestamp - idle_ms
            ticks = [end - TICK_EVERY_MS * back for back in range(100) if end - TICK_EVERY_MS * back > latest]
            _advance(task, sorted(ticks), settle)
        latest = raw.timestamp if latest is None else max(latest, raw.timestamp)
        task.take(side, [raw])
        settle()
    if latest is not None:
        _advance(task, [latest + TICK_EVERY_MS * later for later in range(1, 200)], settle)
    return found


def _advance(task: Task, ticks: Sequence[int], settle: object) -> None:
    assert callable(settle)
    for side in Side:
        task.set_caught_up(side, is_caught_up=True)
    for tick in ticks:
        if task.advance(tick):
            settle()


def _order(logs: Mapping[Side, Sequence[Raw]]) -> list[tuple[Side, Raw]]:
    """Let the core's merge put whole logs in order."""
    merge = Merge(LIMITS)
    by_ref = {(side, raw.offset): raw for side, log in logs.items() for raw in log}
    for side, log in logs.items():
        merge.offer(side, [(admit(side, raw, Semantic()), raw) for raw in log])
        merge.set_caught_up(side, is_caught_up=True)
    order = []
    while (first := merge.next()) is not None:
        intake = first[0]
        order.append((intake.side, by_ref[(intake.side, intake.offset)]))
    return order


def item_of(observation: Observation) -> ScoreItem:
    text, frame = observation.text, observation.frame
    has_image = frame is not None and not observation.is_image_shed
    return ScoreItem(
        ImageInput((0, 0, 1, frame.offset), b"") if has_image and frame is not None else None,
        None if text is None else TextInput((0, 0, 0, text.offset), text.text),
    )


def scored_by(observation: Observation, score: Score) -> Scored:
    return Scored(observation.sequence, observation.index, score.full, score.without_image, score.without_text)


@settings(max_examples=80, deadline=None)
@given(night=nights(), seed=st.integers(0, 9), in_flight=st.integers(1, 9), outputs=st.sampled_from((3, 20, 10_000)))
def test_it_decides_what_the_core_decides_record_by_record_whatever_is_in_flight(
    night: Night, seed: int, in_flight: int, outputs: int
) -> None:
    scorer = MoodScorer(night.moods, Random(seed))
    limits = msgspec.structs.replace(LIMITS, in_flight=in_flight, outputs=outputs)
    in_force = InForce(MODEL, night.settings, night.settings.sha256)
    recording = recording_of(night.logs[Side.TEXT], night.logs[Side.FRAME], seed)
    done, found = judge(recording, Run(in_force, scorer), pace=Pace(idle_ms=1_000, limits=limits))
    assert found.get((0, 0), Outputs()) == by_the_core(night, 1_000)
    assert (done.texts, done.frames) == (len(night.logs[Side.TEXT]), len(night.logs[Side.FRAME]))
    # Every record's bytes were let go: memory is flat.
    assert len(scorer.forgotten) == done.texts + done.frames


def test_every_result_out_of_order_gives_the_same_with_many_in_flight() -> None:
    texts = [raw_text(n, T0 + 500 * n) for n in range(40)]
    frames = [raw_frame(n, T0 + 100 * n) for n in range(200)]
    moods = {(Side.TEXT, n): n % 4 for n in range(40)}
    slow, quick = MoodScorer(moods, Random(1)), MoodScorer(moods)
    _, one = judge(recording_of(texts, frames), Run(IN_FORCE, slow))
    _, two = judge(recording_of(texts, frames, 5), Run(IN_FORCE, quick))
    assert one == two
    assert one[0, 0].alerts
    assert slow.most > 20


def test_a_lone_text_before_a_long_silence_opens_and_closes_in_its_own_time() -> None:
    moods = {(Side.TEXT, 1): 3, (Side.TEXT, 2): 3}
    texts = [raw_text(1, T0), raw_text(2, T0 + 600_000)]
    _, found = judge(recording_of(texts, []), Run(IN_FORCE, MoodScorer(moods)))
    phases = [(alert.phase, alert.label, alert.time_ms - T0) for alert in found[0, 0].alerts if alert.label == "fight"]
    # Live ticks come once a second: it closes within seconds, not when the next record ends the silence.
    assert [phase for phase, *_ in phases] == ["opened", "closed", "opened", "closed"]
    assert phases[0][2] < 5_000
    assert phases[1][2] < 20_000


def test_runs_are_judged_side_by_side_and_share_a_record_until_the_last_lets_go_of_it() -> None:
    # A text tells of what was 8 s before: only the wide window still has frames of that time.
    texts = [raw_text(n, T0 + 12_000 + 700 * n, event_ms=T0 + 4_000 + 700 * n) for n in range(12)]
    frames = [raw_frame(n, T0 + 200 * n) for n in range(110)]
    scorer = MoodScorer({(Side.TEXT, n): 2 for n in range(12)}, Random(3))
    settings = Semantic(before_ms=9_000, after_ms=9_000, quiet_ms=30_000)
    wide = InForce(MODEL, settings, settings.sha256)
    recording = recording_of(texts, frames)
    # The scorer fails on a record that was let go of.
    done, found = judge(recording, Run(IN_FORCE, scorer), Run(wide, scorer))
    assert recording.reads == 1
    assert len(done.totals) == 2
    assert len(found[0, 0].decisions) < len(found[1, 0].decisions)
    assert len(scorer.forgotten) == len(texts) + len(frames)
    for number, in_force in enumerate((IN_FORCE, wide)):
        _, alone = judge(recording, Run(in_force, MoodScorer(scorer.moods)))
        assert alone[0, 0] == found[number, 0]


def test_partitions_are_tasks_of_their_own() -> None:
    texts = [as_recorded(raw_text(1, T0), partition) for partition in (0, 3)]
    recording = Memory({"texts": texts, "frames": [as_recorded(raw_frame(1, T0 + 9_000), 3)]})
    done, found = judge(recording, Run(IN_FORCE, MoodScorer({(Side.TEXT, 1): 3})))
    assert set(found) == {(0, 0), (0, 3)}
    assert done.totals[0]["texts.received"] == 2


def test_outputs_of_the_recording_are_not_inputs() -> None:
    record = as_recorded(raw_text(1, T0))
    done, found = judge(Memory({"alerts": [record], "decisions": [record]}), Run(IN_FORCE, MoodScorer({})))
    assert (done.texts, done.frames, done.first_ms, found) == (0, 0, None, {})


def test_a_recording_without_pictures_is_refused() -> None:
    with pytest.raises(RecordingError, match="expected a recording with pictures"):
        judge(Memory({}, has_pictures=False), Run(IN_FORCE, MoodScorer({})))


def test_progress_is_told_by_append_time() -> None:
    told: list[Reached] = []
    texts = [raw_text(n, T0 + n) for n in range(600)]
    runs = [Run(IN_FORCE, MoodScorer({}))]
    asyncio.run(replay(recording_of(texts, []), runs, take=lambda _: None, pace=PACE, tell=told.append))
    assert [reached.records for reached in told] == [256, 512, 600]
    assert told[-1].now_ms == T0 + 599


def test_a_broken_scorer_ends_the_replay() -> None:
    class Broken(MoodScorer):
        async def score(self, item: ScoreItem) -> Score:
            raise OSError(f"no engine for {item}")

    with pytest.raises(OSError, match="no engine"):
        judge(recording_of([raw_text(1, T0)], []), Run(IN_FORCE, Broken({})))


def test_bytes_in_memory_stay_few_over_a_long_recording() -> None:
    count = 5_000
    newest = held = most = 0

    class Streamed(Memory):
        def records(self) -> Iterator[tuple[Kind, TopicRecord]]:
            nonlocal newest, held, most
            for newest in range(count):
                held += 1
                most = max(most, held)
                yield "frames", as_recorded(raw_frame(newest, T0 + 200 * newest))

    class Counting(MoodScorer):
        def forget(self, key: RecordKey) -> None:
            nonlocal held
            del key
            held -= 1

    judge(Streamed({}), Run(IN_FORCE, Counting({})))
    assert newest == count - 1
    assert held == 0
    # The window lasts 5 s, which is 25 frames; a few more wait to be let go.
    assert most < 60


def test_two_recordings_with_one_scorer_are_not_taken_for_one() -> None:
    scorer = MoodScorer({(Side.TEXT, 1): 3})
    recording = recording_of([raw_text(1, T0)], [])
    assert judge(recording, Run(IN_FORCE, scorer))[1] == judge(recording, Run(IN_FORCE, scorer))[1]
    assert len(scorer.forgotten) == 2
