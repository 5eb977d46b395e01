"""A replay under the load of that night: ticks and thinning levels where the journal has them, all else canonical."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

import msgspec
import pytest

from stream_app.core.journal import JournalThinning, JournalTick
from stream_app.core.task import Task
from stream_app.core.types import Side
from stream_app.replay.overload import recorded_overload
from stream_app.replay.recording import RecordingError, TopicRecord
from stream_app.replay.rewriting import Rewriter
from stream_app.replay.verify import verify
from stream_app.wire.context import Context
from stream_app.wire.journal import decode_journal
from tests.core.drive import IN_FORCE, MODEL, T0, raw_frame, raw_text
from tests.replay.memory import TOPICS, Memory, MoodScorer, as_recorded
from tests.replay.rewritten import rewrite
from tests.replay.test_canonical import LIMITS, PACE, Outputs, item_of, scored_by

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from stream_app.core.types import RawRecord, Ref
    from stream_app.replay.overload import Overload
    from stream_app.replay.recording import Kind

MOODS = {(Side.TEXT, n): 3 for n in range(40)}


@dataclass
class LoadedNight:
    """A live task under load, step by step: what it put out, and its recording."""

    logs: dict[Kind, list[TopicRecord]] = field(default_factory=lambda: {"texts": [], "frames": [], "journal": []})
    found: Outputs = field(default_factory=Outputs)
    partition: int = 0

    def __post_init__(self) -> None:
        settings = IN_FORCE.settings
        self.task = Task(settings, MODEL, deployment="night", partition=self.partition, limits=LIMITS)
        context = Context(
            deployment="night", partition=0, topics=TOPICS, model=MODEL, settings_sha256=settings.sha256, provider="CPU"
        )
        self._rewriter = Rewriter(self._put, context, step_ms=0, keyframe_ms=5_000)
        self._payloads: dict[Ref, RawRecord] = {}

    def take(self, side: Side, raw: RawRecord) -> None:
        self.logs["texts" if side is Side.TEXT else "frames"].append(as_recorded(raw, self.partition))
        self._payloads[(side, raw.offset)] = raw
        self.task.take(side, [raw])
        self.settle(raw.timestamp)

    def tick(self, to_ms: int) -> None:
        self.task.tick(T0 + to_ms)
        self.settle(T0 + to_ms + 1_000)

    def settle(self, now_ms: int) -> None:
        moods = MoodScorer(MOODS)
        for observation in self.task.pump().score:
            self.task.scored(scored_by(observation, asyncio.run(moods.score(item_of(observation)))))
        step = self.task.commit_due()
        if step is not None:
            self.found.take(step)
            self._rewriter.take(self.partition, step, self._payloads, now_ms)
            self.task.committed()

    def recording(self) -> Memory:
        return Memory(self.logs)

    def _put(self, kind: Kind, record: TopicRecord) -> None:
        if kind == "journal":
            self.logs["journal"].append(record)


def night(*, partition: int = 0) -> LoadedNight:
    """Ten seconds of frames and texts, thinned from the third to the seventh; a gap with ticks; ten seconds more."""
    live = LoadedNight(partition=partition)
    for number in range(400):
        at_ms = 50 * number if number < 200 else 50 * number + 30_000
        if at_ms in {3_000, 7_000}:
            live.task.set_thinning(2 if at_ms == 3_000 else 0)
        if number == 200:
            # At other times than those of the gap, and not to its end.
            for to_ms in (11_300, 12_310, 13_330, 14_400, 15_500, 16_600, 17_700):
                live.tick(to_ms)
        live.take(Side.FRAME, raw_frame(number, T0 + at_ms))
        if number % 10 == 3:
            live.take(Side.TEXT, raw_text(number // 10, T0 + at_ms + 1))
    for to_ms in range(50_951, 75_000, 1_000):
        # As the end of a replay brings it.
        live.task.set_caught_up(Side.TEXT, is_caught_up=True)
        live.task.set_caught_up(Side.FRAME, is_caught_up=True)
        if live.task.advance(T0 + to_ms):
            live.settle(T0 + to_ms + 1_000)
    return live


def judged(recording: Memory, overload: Mapping[int, Overload] | None, seed: int = 0) -> Outputs:
    found = Outputs()
    made, _ = rewrite(
        recording, IN_FORCE, MoodScorer(MOODS, Random(seed)), pace=PACE, overload=overload, take=found.take
    )
    assert verify(made).status == "equal"
    return found


def test_the_recorded_bundle_and_settings_give_what_they_gave_under_that_load() -> None:
    live = night()
    recording = live.recording()
    found = judged(recording, recorded_overload(recording))
    assert found == live.found
    canonical = judged(recording, None)
    assert len(canonical.decisions) > len(live.found.decisions)
    assert [alert.time_ms for alert in canonical.alerts] != [alert.time_ms for alert in live.found.alerts]


def test_it_is_written_with_the_ticks_and_levels_that_it_took() -> None:
    live = night()
    recording = live.recording()
    made, _ = rewrite(recording, IN_FORCE, MoodScorer(MOODS), pace=PACE, overload=recorded_overload(recording))
    assert _told(made.of("journal")) == _told(live.logs["journal"])


@pytest.mark.parametrize(("first", "last"), [(150, 399), (0, 150), (400, 399)], ids=["late", "short", "none"])
def test_what_the_recording_lacks_of_a_side_is_not_waited_for(first: int, last: int) -> None:
    live = night()
    frames = [one for one in live.logs["frames"] if first <= one.offset <= last]
    recording = Memory({**live.logs, "frames": frames})
    made, _ = rewrite(recording, IN_FORCE, MoodScorer(MOODS), pace=PACE, overload=recorded_overload(recording))
    levels = [(one.level, one.next_text) for one in _told(live.logs["journal"]) if isinstance(one, JournalThinning)]
    found = [(one.level, one.next_text) for one in _told(made.of("journal")) if isinstance(one, JournalThinning)]
    assert found == levels
    assert len(levels) == 2
    ticks = [one.to_ms for one in _told(made.of("journal")) if isinstance(one, JournalTick)]
    assert ticks[:7] == [T0 + at_ms for at_ms in (11_300, 12_310, 13_330, 14_400, 15_500, 16_600, 17_700)]


def _told(records: Sequence[TopicRecord]) -> list[object]:
    journal = (decode_journal(record.value or b"") for record in records)
    return [entry for record in journal for entry in record.entries]


def test_a_level_from_before_the_recording_comes_from_its_first_keyframe() -> None:
    live = night()
    from_ms = T0 + 4_000
    logs = {kind: [one for one in log if one.timestamp >= from_ms] for kind, log in live.logs.items()}
    keyframes = [decode_journal(one.value or b"").keyframe is not None for one in logs["journal"]]
    # The recording begins beside a keyframe, as `vigil record` has it begin.
    logs["journal"] = logs["journal"][keyframes.index(True) :]
    first = decode_journal(logs["journal"][0].value or b"").step
    assert first is not None
    assert T0 + 5_000 <= first.stream_ms < T0 + 6_000
    recording = Memory(logs)
    assert len(_decided_on(12, judged(recording, recorded_overload(recording)))) == len(_decided_on(12, live.found))
    assert len(_decided_on(12, judged(recording, None))) > len(_decided_on(12, live.found))


def _decided_on(text: int, found: Outputs) -> list[object]:
    return [one for one in found.decisions if (said := one.observation.text) is not None and said.offset == text]


def test_without_a_journal_of_the_deployment_it_is_refused() -> None:
    live = night()
    with pytest.raises(RecordingError, match="expected a journal of the deployment night"):
        recorded_overload(Memory({**live.logs, "journal": []}))
    others = [msgspec.structs.replace(one, key=b"other/0") for one in live.logs["journal"]]
    with pytest.raises(RecordingError, match="found none"):
        recorded_overload(Memory({**live.logs, "journal": others}))
    damaged = [msgspec.structs.replace(live.logs["journal"][3], value=b"{}")]
    with pytest.raises(RecordingError, match="journal at partition 0, offset 3"):
        recorded_overload(Memory({**live.logs, "journal": damaged}))


def test_a_task_that_the_journal_says_nothing_of_is_canonical_and_named() -> None:
    one, other = night(), night(partition=1)
    logs = {kind: [*one.logs[kind], *other.logs[kind]] for kind in one.logs}
    logs["journal"] = one.logs["journal"]
    recording = Memory(logs)
    found: dict[int, Outputs] = {}
    _, done = rewrite(
        recording, IN_FORCE, MoodScorer(MOODS), pace=PACE, overload=recorded_overload(recording),
        take=lambda part: found.setdefault(part.partition, Outputs()).take(part),
    )  # fmt: skip
    assert done.unjournaled == (1,)
    assert found[0] == one.found
    assert len(found[1].decisions) == len(judged(other.recording(), None).decisions)
