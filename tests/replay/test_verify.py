"""A recording of a live task verifies as equal to itself, wherever it begins and ends, and to nothing else."""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import islice
from random import Random
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET
from msgspec.structs import replace

import tests.core.conftest  # noqa: F401 - the profile of the core's properties
from stream_app.core.checkpoint import decode_checkpoint, encode_checkpoint
from stream_app.core.types import Side
from stream_app.replay.following import Follower
from stream_app.replay.outputs import Outputs, read_output
from stream_app.replay.recording import RecordingError
from stream_app.replay.verify import verify, verifying
from stream_app.wire.journal import JournalKeyframe, decode_journal, encode_journal
from tests.core.examples import examples
from tests.core.live import Live
from tests.core.streams import Stream, semantics, streams
from tests.replay.changes import CHANGES
from tests.replay.recorded import Recorded, busy_recording, record_live, require_each_output_counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stream_app.core.settings import Semantic
    from stream_app.replay.recording import About, Kind, TopicRecord
    from stream_app.replay.verification import Gap
    from stream_app.wire.journal import JournalRecord, JournalStep

SEEDS = st.integers(0, 1 << 32)


def _read(record: TopicRecord) -> JournalRecord:
    return decode_journal(record.value or b"")


def _recorded(stream: Stream, other: Semantic, seed: int) -> Recorded:
    live = Live(stream, other, Random(seed))
    return record_live(live.play(), stream.log, Random(seed))


@given(streams(), semantics(), SEEDS)
@examples(300)
def test_a_recording_of_a_live_task_is_equal_to_what_the_core_makes_of_it(
    stream: Stream, other: Semantic, seed: int
) -> None:
    recorded = _recorded(stream, other, seed)
    verdict = verify(recorded)
    assert [difference.words() for difference in verdict.differences] == []
    (task,) = verdict.tasks
    assert (verdict.unread, verdict.torn, task.gaps) == (0, "", ())
    assert verdict.status == ("equal" if task.verified.get("steps") else "incomplete")
    # From the very first step on.
    assert "steps" not in task.before
    assert task.verified.get("steps", 0) == sum(
        record.step is not None for record in map(_read, recorded.of("journal"))
    )
    for kind in ("alerts", "decisions", "dead_letters"):
        counted = sum(counts.get(kind, 0) for counts in (task.verified, task.before, task.after))
        assert counted == len(recorded.of(kind)), kind
    assert not set(task.after) - {"texts", "frames"}


@given(streams(), semantics(), SEEDS, st.integers(0, 1 << 32), st.sampled_from((0, 10, 50)))
@examples(150)
def test_a_recording_that_begins_and_ends_in_the_middle_is_equal_too_and_what_lies_outside_is_counted(
    stream: Stream, other: Semantic, seed: int, choice: int, slack_ms: int
) -> None:
    whole = _recorded(stream, other, seed)
    times = sorted(one.timestamp for one in whole.of("journal"))
    random = Random(choice)
    from_ms, to_ms = sorted(random.choice(times) + random.randint(-3, 9) for _ in range(2))
    recorded = whole.between(from_ms, to_ms + 1, slack_ms=slack_ms)
    verdict = verify(recorded)
    assert [difference.words() for difference in verdict.differences] == []
    (task,) = verdict.tasks
    assert verdict.unread == 0
    for kind in ("alerts", "decisions", "dead_letters"):
        counted = sum(counts.get(kind, 0) for counts in (task.verified, task.before, task.after))
        assert counted == len(recorded.of(kind)), kind


@pytest.mark.parametrize("seed", range(12))
def test_outputs_of_another_life_around_a_recording_s_ends_are_no_difference(seed: int) -> None:
    """A reset repeats names and places in the order; its journal record may lie where the recording does not reach."""
    whole = busy_recording(seed)
    for reset in [one for one in whole.of("journal") if decode_journal(one.value or b"").step is None]:
        for from_ms, to_ms in ((0, reset.timestamp), (reset.timestamp + 1, whole.about.to_ms)):
            recorded = whole.between(from_ms, to_ms, slack_ms=60)
            verdict = verify(recorded)
            assert [difference.words() for difference in verdict.differences] == []
            require_each_output_counted(recorded, verdict)


def test_letting_go_of_an_output_of_an_earlier_life_leaves_the_one_at_its_place_in_the_order() -> None:
    recorded = busy_recording(1)
    record = recorded.of("decisions")[0]
    older, newer = (read_output("decisions", record, recorded.about) for _ in range(2))
    assert older is not None
    assert newer is not None
    assert newer.decision is not None
    outputs = Outputs()
    outputs.since_ms = record.timestamp
    for output in (older, newer):
        outputs.add(output)
    outputs.drop(older)
    sequence, index = newer.decision.sequence, newer.decision.index
    assert isinstance(sequence, int)
    assert isinstance(index, int)
    assert outputs.decision_at(0, sequence, index) is newer.decision
    assert outputs.find(0, "decisions", newer.name) is newer


def test_a_busy_recording_has_in_it_what_the_changes_change() -> None:
    tasks = [verify(busy_recording(seed)).tasks[0] for seed in range(10)]
    assert {task.status for task in tasks} == {"equal"}
    verified = [task.verified for task in tasks]
    kinds = ("steps", "keyframes", "texts", "frames", "alerts", "decisions", "dead_letters")
    assert all(sum(one.get(kind, 0) for one in verified) > 20 for kind in kinds), verified


@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.parametrize("seed", [1, 2])
def test_each_change_to_a_recording_is_found_and_named(what: str, seed: int) -> None:
    change, shown_as = CHANGES[what]
    found = []
    for number in range(seed * 10, seed * 10 + 6):
        recorded = busy_recording(number).copy()
        if change(recorded, Random(number)):
            verdict = verify(recorded)
            assert verdict.status == "different", (what, number)
            (difference,) = verdict.differences
            assert difference.what in shown_as, difference.words()
            assert difference.expected != difference.found
            found.append(difference)
        if found:
            return
    raise AssertionError(f"no recording has what is needed to change {what}")


def test_every_kind_of_change_that_a_recording_could_suffer_is_among_them() -> None:
    assert len(CHANGES) >= 50
    for what in (
        "two journal records exchanged",
        "two entries exchanged",
        "a bit of a text",
        "a bit of a picture",
        "a score",
        "a frame left out",
        "a frame twice",
        "another threshold",
        "a keyframe elsewhere",
    ):
        assert what in CHANGES


# -- what cannot be verified is said ----------------------------------------------------------------------------------


@dataclass
class _Torn:
    """A recording whose rest cannot be read."""

    whole: Recorded
    records_read: int

    @property
    def about(self) -> About:
        return self.whole.about

    def records(self) -> Iterator[tuple[Kind, TopicRecord]]:
        yield from islice(self.whole.records(), self.records_read)
        raise RecordingError("chunk 7: expected CRC 1, found 2")


def test_of_a_torn_recording_what_was_read_is_verified_and_the_rest_is_said_to_be_missing() -> None:
    whole = busy_recording(1)
    number = len(list(whole.records()))
    verdict = verify(_Torn(whole, number * 2 // 3))
    assert (verdict.status, verdict.torn) == ("incomplete", "chunk 7: expected CRC 1, found 2")
    assert 0 < verdict.tasks[0].verified["steps"] < verify(whole).tasks[0].verified["steps"]


def test_a_torn_recording_is_read_again_after_a_reset_that_went_back_as_far_as_it_goes() -> None:
    whole = busy_recording(5)
    resets = [one.timestamp for one in whole.of("journal") if decode_journal(one.value or b"").step is None]
    until = sum(record.timestamp <= resets[-1] + 200 for _, record in whole.records())
    verdict = verify(_Torn(whole, until))
    assert (verdict.status, verdict.torn) == ("incomplete", "chunk 7: expected CRC 1, found 2")


def test_a_recording_without_a_journal_is_not_different_though_names_come_twice() -> None:
    recorded = busy_recording(1).copy()
    letters = [read_output("dead_letters", one, recorded.about) for one in recorded.of("dead_letters")]
    assert len({letter.name for letter in letters if letter is not None}) < len(letters)
    recorded.topics[("journal", 0)] = []
    verdict = verify(recorded)
    assert (verdict.status, verdict.differences) == ("incomplete", ())


@pytest.mark.parametrize(("seed", "is_partial"), [(8, False), (5, True), (16, True)])
def test_a_reset_back_to_what_lies_before_the_recording_is_a_gap_and_no_difference(
    seed: int, *, is_partial: bool
) -> None:
    """All that its first step took in may be missing, or a part of it; later keyframes can be begun from."""
    whole = busy_recording(seed)
    journal = [(one.timestamp, decode_journal(one.value or b"")) for one in whole.of("journal")]
    last_reset_ms = max(time_ms for time_ms, record in journal if record.step is None)
    gaps: list[Gap] = []
    for from_ms in [time_ms for time_ms, record in journal if record.keyframe is not None and time_ms < last_reset_ms]:
        recorded = whole.between(from_ms, whole.about.to_ms)
        verdict = verify(recorded)
        assert [difference.words() for difference in verdict.differences] == []
        require_each_output_counted(recorded, verdict)
        gaps += verdict.tasks[0].gaps
    assert any("a reset went back to" in gap.why for gap in gaps) == is_partial
    assert gaps


def test_a_task_that_began_and_then_had_nothing_to_do_does_not_make_a_recording_incomplete() -> None:
    recorded = busy_recording(0).copy()
    recorded.about = replace(recorded.about, partitions=(0, 1))
    beginning = _read(recorded.of("journal")[0])
    assert beginning.step is not None
    assert beginning.keyframe is not None
    # One number later it is no task's first step.
    later = beginning.step.sequence + 1
    state = replace(decode_checkpoint(beginning.keyframe.checkpoint), sequence=later)
    value = encode_journal(
        replace(
            beginning,
            partition=1,
            step=replace(beginning.step, sequence=later),
            keyframe=JournalKeyframe(checkpoint=encode_checkpoint(state)),
        )
    )
    recorded.topics["journal", 1] = [replace(recorded.of("journal")[0], partition=1, key=b"d/1", value=value)]
    verdict = verify(recorded)
    assert verdict.tasks[1].before == {"steps": 1}
    assert verdict.tasks[1].verified == {}
    assert verdict.status == "equal"


def _without(recorded: Recorded, **parts: Any) -> Recorded:  # noqa: ANN401 - of a journal record
    """Leave parts of the journal out that older versions did not write."""
    journal = recorded.topics[("journal", 0)]
    for place, one in enumerate(journal):
        record = decode_journal(one.value or b"")
        kept = {name: make(getattr(record, name)) for name, make in parts.items()}
        journal[place] = replace(one, value=encode_journal(replace(record, **kept)))
    return recorded


def test_a_journal_without_digests_is_verified_without_and_that_is_said() -> None:
    def older(step: JournalStep | None) -> JournalStep | None:
        return step and replace(step, inputs=UNSET, outputs=UNSET)

    verdict = verify(_without(busy_recording(1).copy(), step=older))
    task = verdict.tasks[0]
    assert verdict.status == "equal"
    assert task.without_digests == task.verified["steps"] > 0


def test_without_a_keyframe_nothing_is_verified_and_the_verdict_is_not_equal() -> None:
    whole = busy_recording(1)
    reset_ms = next(one.timestamp for one in whole.of("journal") if decode_journal(one.value or b"").step is None)
    later = whole.between(0, reset_ms)
    # Without the task's first step.
    del later.topics[("journal", 0)][0]
    verdict = verify(_without(later, keyframe=lambda _: None))
    assert verdict.status == "incomplete"
    assert verdict.tasks[0].verified == {}
    assert verdict.tasks[0].before["steps"] > 0


@pytest.mark.parametrize("seed", [1, 2, 3, 11, 36, 38])
def test_a_journal_of_a_version_without_cuts_is_a_gap_until_the_next_keyframe(seed: int) -> None:
    recorded = busy_recording(seed).copy()
    journal = recorded.topics[("journal", 0)]
    records = [decode_journal(one.value or b"") for one in journal]
    # Not the first, for then nothing lies before the gap; nor a reset, which has no cut.
    places = [place for place, record in enumerate(records) if place > 1 and record.step and not record.keyframe]
    place = Random(seed).choice(places)
    old = replace(records[place], step=None, epoch=None)
    journal[place] = replace(journal[place], value=encode_journal(old))
    verdict = verify(recorded)
    assert [difference.words() for difference in verdict.differences] == []
    (task,) = verdict.tasks
    (gap,) = task.gaps
    assert "did not write each transaction's cut" in gap.why
    assert verdict.status == "incomplete"
    for kind in ("alerts", "decisions", "dead_letters"):
        counted = sum(counts.get(kind, 0) for counts in (task.verified, task.before, task.after))
        assert counted == len(recorded.of(kind)), kind


@pytest.mark.parametrize("seed", [1, 2, 4, 11, 38, 39])
def test_what_lies_before_a_reset_and_has_no_keyframe_is_of_the_time_before(seed: int) -> None:
    recorded = busy_recording(seed).copy()
    journal = recorded.topics[("journal", 0)]
    # Without the task's first step.
    del journal[0]
    for place, one in enumerate(journal):
        record = decode_journal(one.value or b"")
        if record.step is None:
            break
        journal[place] = replace(one, value=encode_journal(replace(record, keyframe=None)))
    verdict = verify(recorded)
    assert [difference.words() for difference in verdict.differences] == []
    assert verdict.status == "equal"
    assert verdict.tasks[0].before["steps"] > 0


@pytest.mark.parametrize(
    ("left_out", "words"),
    [
        ({"has_pictures": False}, "expected a recording with its pictures, .* record without --no-pictures"),
        ({"zones": ("x",)}, "expected .* the values of all zones, found one of x alone: .* record without --zone"),
    ],
)
def test_a_recording_with_values_left_out_is_refused_before_it_is_read(left_out: dict[str, Any], words: str) -> None:
    recorded = busy_recording(1).copy()
    recorded.about = replace(recorded.about, **left_out)
    with pytest.raises(RecordingError, match=words):
        verifying(recorded)


def test_other_deployments_on_the_same_topics_change_nothing_and_are_counted() -> None:
    recorded = busy_recording(2).copy()
    other = 0
    for topic in [one for one in recorded.topics if one[0] in {"alerts", "decisions", "dead_letters"}]:
        records = recorded.topics[topic]
        foreign = [
            replace(
                one,
                headers=tuple(
                    (name, b"/vigil/e" if name == "ce_source" else b"e" if name == "vigil_deployment" else content)
                    for name, content in one.headers
                ),
            )
            for one in records
        ]
        other += len(foreign)
        both = [one for pair in zip(records, foreign, strict=True) for one in pair]
        recorded.topics[topic] = [replace(one, offset=offset) for offset, one in enumerate(both)]
    verdict = verify(recorded)
    assert (verdict.status, verdict.unread) == ("equal", other)


def test_a_difference_says_task_step_time_what_and_the_inputs_concerned() -> None:
    recorded = busy_recording(1).copy()
    assert CHANGES["a bit of a picture"][0](recorded, Random(1))
    (difference,) = verify(recorded).differences
    words = difference.words()
    assert words.startswith(f"task 0, step to sequence {difference.sequence} at 2023-11-14T22:13:2")
    assert "inputs differ\n  expected digest " in words
    assert re.search(r"\n  inputs   .*frames? \d+", words)


def _held(follower: Follower) -> int:
    driver = follower._driver
    return len(driver._payloads) + sum(map(len, driver.inputs)) + len(driver._taken)


def test_memory_holds_what_has_not_taken_its_place_and_not_the_recording() -> None:
    recorded = busy_recording(4)
    (count,) = {len(recorded.of("frames")) + len(recorded.of("texts"))}
    follower = Follower(recorded.about, 0, lambda _: iter(()))
    most = 0
    for kind, record in recorded.records():
        if kind in {"texts", "frames"}:
            follower.give_input(Side.TEXT if kind == "texts" else Side.FRAME, record)
        elif kind == "journal":
            follower.give_journal(record)
        else:
            output = read_output(kind, record, recorded.about)
            assert output is not None
            follower.give_output(output)
        follower.go(record.timestamp)
        most = max(most, _held(follower))
    assert most < count
