"""What the core puts out of a task's recorded inputs, compared with what was recorded of it.

In: steps of the core, the journal's records of them, recorded outputs. Out: counts, or the first difference. Outputs
are compared byte by byte, and have to lie on their partitions in the order in which the core puts them out.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import msgspec

from stream_app import __version__
from stream_app.core.checkpoint import CheckpointError, NewerCheckpointError, decode_checkpoint, encode_checkpoint
from stream_app.core.digest import OutputDigest
from stream_app.replay.differing import DiffersError, LostError, require_equal, unlike_checkpoints, unlike_messages
from stream_app.replay.outputs import Outputs, name_of, side_of
from stream_app.wire.journal import is_later_version, unsealed
from stream_app.wire.step import render_outputs

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from stream_app.core.checkpoint import Checkpoint
    from stream_app.core.effects import Step
    from stream_app.replay.outputs import Output
    from stream_app.replay.recording import About, Kind, TopicRecord
    from stream_app.wire.context import Context
    from stream_app.wire.journal import JournalRecord, JournalStep
    from stream_app.wire.message import Message
    from stream_app.wire.step import Payloads

    Wait = Callable[..., Generator[None, None, bool]]


class Comparing:
    """The recorded outputs of one task, and how far the core has met them."""

    def __init__(self, about: About, wait: Wait) -> None:
        """Begin with nothing; ``wait`` waits until something was read."""
        self._about = about
        self._wait = wait
        self.outputs = Outputs()
        #: How many resets lie behind.
        self.life = 0
        #: The keyframe that was taken up, and the last step that was compared since.
        self.start: Checkpoint | None = None
        self.last: Step | None = None
        self.verified: Counter[str] = Counter()
        self.before: Counter[str] = Counter()
        self.after: Counter[str] = Counter()
        self.without_digests = 0
        #: The last output before the beginning that was put out again.
        self._repeated: Output | None = None
        #: Stream time of the last step that was as recorded.
        self.reached_ms: int | None = None

    def take_up(self, since_ms: int) -> None:
        """Compare from here on; what was put out before ``since_ms`` is of the time before.

        Raises:
            DiffersError: if something was put out twice since then.
        """
        self.outputs.since_ms = since_ms
        twice = self._repeated
        if twice is not None and twice.record.timestamp >= since_ms:
            raise DiffersError(twice.kind, "each output once", f"{twice.name} twice")

    def take_in(self, output: Output) -> bool:
        """Take the next recorded output of a partition; return whether it may lie there.

        A task puts out each name once. After a reset it may repeat one; where the journal does not reach, before the
        beginning and behind the end, nobody knows of the reset.
        """
        outputs = self.outputs
        if outputs.knows(output):
            if output.record.timestamp >= self._about.to_ms:
                self.after[output.kind] += 1
                return True
            older = outputs.find(output.life, output.kind, output.name, is_last_chance=True)
            if older is None or older.record.timestamp >= outputs.since_ms:
                return False
            outputs.drop(older)
            self.before[older.kind] += 1
            self._repeated = older
        outputs.add(output)
        return True

    def compare(
        self, step: Step, at: TopicRecord, record: JournalRecord, cut: JournalStep, context: Context,
        payloads: Payloads, inputs: tuple[str, ...],
    ) -> Iterator[None]:  # fmt: skip
        """Compare a step with all that was recorded of it; ``inputs`` are the words for what it took in.

        Raises:
            DiffersError: at the first difference.
        """
        require_equal("journal", _cut(step), _cut(cut), inputs)
        if cut.inputs is msgspec.UNSET:
            self.without_digests += 1
        elif cut.inputs != step.inputs:
            raise DiffersError("inputs", f"digest {cut.inputs}", f"digest {step.inputs}", inputs)
        for expected, found in zip(step.journal, record.entries, strict=False):
            require_equal("journal", expected, found, inputs)
        require_equal("journal", f"{len(step.journal)} entries", f"{len(record.entries)} entries", inputs)
        digest = OutputDigest()
        topics = context.topics
        kinds: dict[str, Kind] = {topics.alerts: "alerts", topics.decisions: "decisions"}
        for message in render_outputs(step, context, payloads):
            digest.add(message.topic, message.key, message.value, message.headers)
            yield from self._meet(message, kinds.get(message.topic, "dead_letters"), inputs)
        if record.keyframe is not None:
            self._compare_keyframes(step.checkpoint, record, record.keyframe.checkpoint, inputs)
        if cut.outputs is not msgspec.UNSET:
            digest.add(topics.journal, at.key, unsealed(at.value or b"", cut.outputs), at.headers)
            require_equal(
                "outputs",
                f"digest {cut.outputs} of the outputs and this journal record",
                f"digest {digest.hex} of the outputs and this journal record",
                inputs,
            )
        self.last = step
        self.reached_ms = step.stream_ms
        self.verified["steps"] += 1

    def look_at_leftovers(self, end_ms: int | None, *, is_following: bool) -> None:
        """Judge what was recorded and never met: of the time before the beginning, behind the end, or a difference.

        Args:
            end_ms: up to which append time an output's step may lie behind the recording's end; None in the middle of
                it, where a task was reset.
            is_following: whether the task is being followed at all.

        Raises:
            DiffersError: if an output has no step that it could be of.
            LostError: if, of all that was met at the end, one is left that only a newer version reads.
        """
        lost = ""
        for output in list(self.outputs.left()):
            if end_ms is None and output.life > self.life:
                continue
            is_begun = (output.kind, output.record.partition) in self.outputs.begun
            is_of_end = end_ms is not None and output.record.timestamp >= end_ms and not self._is_covered(output)
            is_behind = is_of_end or output.record.timestamp >= self._about.to_ms
            if not is_begun and self._is_before_start(output):
                self.before[output.kind] += 1
            elif is_behind or not is_following or output.newer:
                self.after[output.kind] += 1
                lost = lost or output.newer
            else:
                raise DiffersError(output.kind, "no more outputs of the steps up to here", output.name)
            self.outputs.take(output)
        if lost and end_ms is not None:
            raise LostError(lost)

    def lose(self) -> None:
        """Compare nothing up to the next beginning: what was put out until then lies before it."""
        self.start = self.last = None
        self.outputs.lose()

    def end_life(self, *, is_followed: bool) -> None:
        """Say that the task was reset: everything that was put out before has been met, if the task was followed.

        Raises:
            DiffersError: if it was, and something is left.
        """
        if is_followed:
            self.look_at_leftovers(None, is_following=True)
        for output in [one for one in self.outputs.left() if one.life <= self.life]:
            self.before[output.kind] += 1
            self.outputs.take(output)
        self.life += 1
        self.start = None

    def _meet(self, message: Message, kind: Kind, inputs: tuple[str, ...]) -> Iterator[None]:
        """Compare a message with its recorded counterpart, which has to be the next one on its partition."""
        name = name_of(kind, message.headers)
        output = self.outputs.find(self.life, kind, name)
        if output is None:
            is_there = yield from self._wait(lambda: self.outputs.find(self.life, kind, name) is not None)
            output = self.outputs.find(self.life, kind, name, is_last_chance=not is_there)
        if output is None:
            raise DiffersError(kind, name, "none in the recording", inputs)
        if output.newer:
            raise LostError(output.newer)
        place = (kind, output.record.partition)
        before = self.outputs.take(output)
        if before:
            self._pass_over(before, place, name, inputs)
        self.outputs.begun.add(place)
        unlike = unlike_messages(message, output.record)
        if unlike is not None:
            raise DiffersError(kind, f"{name}: {unlike[0]}", f"{name}: {unlike[1]}", inputs)
        self.verified[kind] += 1

    def _pass_over(self, before: list[Output], place: tuple[Kind, int], name: str, inputs: tuple[str, ...]) -> None:
        """Let go of outputs that lie before one that was met: they have to be of the time before the beginning."""
        strange = next((one for one in before if place in self.outputs.begun or not self._is_before_start(one)), None)
        if strange is not None and strange.newer:
            raise LostError(strange.newer)
        if strange is not None:
            expected = f"{name} next on partition {place[1]}"
            found = f"{strange.name} at offset {strange.record.offset} before it"
            raise DiffersError(place[0], expected, found, inputs)
        self.before[place[0]] += len(before)

    def _compare_keyframes(
        self, expected: bytes, record: JournalRecord, recorded: bytes, inputs: tuple[str, ...]
    ) -> None:
        if expected != recorded:
            mine, found = decode_checkpoint(expected), read_keyframe(record)
            # Other versions of a compression library may write other bytes for the same state.
            if encode_checkpoint(mine) != encode_checkpoint(found):
                raise DiffersError("keyframe", *unlike_checkpoints(mine, found), inputs)
        self.verified["keyframes"] += 1

    def _is_before_start(self, output: Output) -> bool:
        """Return whether an output may belong to a step in front of where the task was taken up."""
        start = self.start
        if output.life < self.life or output.record.timestamp < self.outputs.since_ms:
            # Of a life that was followed to its end nothing is left.
            return True
        if start is None or output.life != self.life:
            return False
        if output.decision is not None:
            sequence = output.decision.sequence
            return sequence is msgspec.UNSET or sequence <= start.sequence
        if output.letter is not None:
            return output.letter.offset < (start.next_text, start.next_frame)[side_of(output.letter, self._about)]
        return output.time_ms is not None and output.time_ms <= start.stream_ms

    def _is_covered(self, output: Output) -> bool:
        """Return whether an output would have to be in a step that was compared, and is not."""
        last = self.last
        if last is None or output.life != self.life:
            return False
        if output.decision is not None:
            sequence = output.decision.sequence
            return sequence is msgspec.UNSET or sequence <= last.sequence
        if output.letter is not None:
            return output.letter.offset < (last.commit_text, last.commit_frame)[side_of(output.letter, self._about)]
        return output.time_ms is None or output.time_ms < last.stream_ms


def read_keyframe(record: JournalRecord) -> Checkpoint:
    """Decode the keyframe of a journal record that has one.

    Raises:
        LostError: if a newer version wrote it.
        DiffersError: if it is none.
    """
    try:
        return decode_checkpoint(b"" if record.keyframe is None else record.keyframe.checkpoint)
    except CheckpointError as error:
        version = "" if record.epoch is None else record.epoch.version
        # One of this very version has no newer schema: it was changed.
        is_newer = isinstance(error, NewerCheckpointError) and version != __version__
        if is_newer or is_later_version(version):
            raise LostError(f"a keyframe of version {version or 'unknown'} cannot be read: {error}") from error
        raise DiffersError("keyframe", "a checkpoint", error) from error


def require_own_cut(checkpoint: Checkpoint, cut: JournalStep) -> None:
    """Make sure that a keyframe is of the step that it lies beside.

    Raises:
        DiffersError: if it is of another.
    """
    require_equal("keyframe", f"one of {_cut(cut)}", f"one of {_cut(checkpoint)}", ())


def _cut(of: Step | JournalStep | Checkpoint) -> str:
    return f"sequence {of.sequence}, stream time {of.stream_ms}, text {of.next_text}, frame {of.next_frame}"
