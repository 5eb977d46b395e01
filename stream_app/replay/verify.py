"""Verifies a recording: the core makes of the recorded inputs, to the byte, what was recorded of its outputs, or not.

In: a recording. Out: for each of its tasks what was compared, and the first difference. The order of admission comes
from the journal, scores from the recorded decisions, so no model is needed, and the answer is the same on any machine.
The recording is read as it comes; held is what has not taken its place yet, what the window needs, and no more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream_app.core.types import Side
from stream_app.replay.canonical import Reached
from stream_app.replay.following import Follower
from stream_app.replay.inputs import APPEND_TIME
from stream_app.replay.outputs import read_output
from stream_app.replay.reading import readable
from stream_app.replay.recording import RecordingError
from stream_app.replay.verification import Verification
from stream_app.wire.checkpoints import state_key
from stream_app.wire.message import WireError

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from stream_app.replay.onlooking import Onlooker
    from stream_app.replay.recording import About, Kind, Recording, TopicRecord

_SIDES: dict[Kind, Side] = {"texts": Side.TEXT, "frames": Side.FRAME}
#: So often whoever waits for it gets a turn, and hears how far it has come.
_RECORDS_A_TURN = 256


def verify(recording: Recording) -> Verification:
    """Verify every task of a recording, from its first step or the first keyframe on whose inputs are there.

    Args:
        recording: it is read once, and once more for each reset that went back behind what was taken.

    Returns:
        What was compared, what could not be, and the first difference of each task.

    Raises:
        RecordingError: if values were left out of it: without them no digest can be compared, no refusal repeated.
    """
    work = verifying(recording)
    while True:
        try:
            next(work)
        except StopIteration as done:
            verification: Verification = done.value
            return verification


def verifying(recording: Recording, onlooker: Onlooker | None = None) -> Generator[Reached, None, Verification]:
    """Verify in small parts, for others that have to get their turn: yields how far it has come.

    Args:
        recording: as for :func:`verify`.
        onlooker: is told of each score.

    Returns:
        As :func:`verify`.

    Raises:
        RecordingError: as :func:`verify`.
    """
    require_values(recording.about)
    return _Verifying(recording, onlooker).run()


def require_values(about: About) -> None:
    """Refuse a recording of which values were left out.

    Raises:
        RecordingError: if they were.
    """
    if not about.has_pictures:
        raise RecordingError(
            "expected a recording with its pictures, found one that left them out: without them nothing can be "
            "verified; record without --no-pictures"
        )
    if about.zones:
        raise RecordingError(
            f"expected a recording with the values of all zones, found one of {', '.join(about.zones)} alone: the "
            "journal orders records whose bytes are not there, so nothing can be verified; record without --zone"
        )


class _Verifying:
    def __init__(self, recording: Recording, onlooker: Onlooker | None) -> None:
        self._recording = recording
        self._about = recording.about
        self._followers = {
            partition: Follower(recording.about, partition, self._reader(partition), onlooker)
            for partition in recording.about.partitions
        }
        self._by_key = {state_key(self._about.deployment, one): one for one in self._followers}
        self._first_ms: int | None = None
        self._newest_ms = -(1 << 62)
        self._unread = 0
        self._torn = ""

    def run(self) -> Generator[Reached, None, Verification]:
        for count, (kind, record) in enumerate(self._until_torn(), 1):
            partition = self._give(kind, record)
            # Producers' clocks say nothing of how far the recording was read.
            if record.timestamp_type == APPEND_TIME and record.timestamp > self._newest_ms:
                self._newest_ms = record.timestamp
                self._first_ms = record.timestamp if self._first_ms is None else self._first_ms
            if partition is not None:
                self._followers[partition].go(self._newest_ms)
            if count % _RECORDS_A_TURN == 0 and self._first_ms is not None:
                yield Reached(self._first_ms, self._newest_ms, count)
        # Of one that is torn nobody knows how far it should have reached.
        end_ms = self._newest_ms if self._torn else self._about.to_ms
        return Verification(
            tasks=tuple(follower.end(end_ms) for follower in self._followers.values()),
            unread=self._unread,
            torn=self._torn,
        )

    def _until_torn(self) -> Iterator[tuple[Kind, TopicRecord]]:
        try:
            yield from self._recording.records()
        except RecordingError as error:
            self._torn = str(error)

    def _give(self, kind: Kind, record: TopicRecord) -> int | None:
        """Give a record to the task that it is of; return which, None where it is of none here."""
        side = _SIDES.get(kind)
        if side is not None:
            if record.partition in self._followers:
                self._followers[record.partition].give_input(side, record)
                return record.partition
        elif kind == "journal":
            partition = self._by_key.get(record.key or b"")
            if partition is not None:
                self._followers[partition].give_journal(record)
                return partition
        else:
            return self._give_output(kind, record)
        self._unread += 1
        return None

    def _give_output(self, kind: Kind, record: TopicRecord) -> int | None:
        try:
            output = read_output(kind, record, self._about)
        except WireError:
            output = None
        if output is None or output.partition not in self._followers:
            self._unread += 1
            return None
        self._followers[output.partition].give_output(output)
        return output.partition

    def _reader(self, partition: int) -> Callable[[Side], Iterator[TopicRecord]]:
        def read_again(side: Side) -> Iterator[TopicRecord]:
            # What is torn was read up to there, and has been said.
            for kind, record in readable(self._recording):
                if _SIDES.get(kind) is side and record.partition == partition:
                    yield record

        return read_again
