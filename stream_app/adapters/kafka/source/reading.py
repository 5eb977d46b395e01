"""The consumer thread's account of what it fetched: positions, ends, fetch times, and batches that are counted.

In: seeks, fetch responses and drained records, all in the consumer's thread. Out: numbered batches and immutable
snapshots that another thread may read at any time. It knows neither Faust nor the shell.

Every seek gets a number of its own, and every batch carries the number of the seek it was read under and its ordinal
since then. So a batch that was fetched before a seek is recognised wherever it turns up later, and a batch that got
lost on its way is noticed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from aiokafka import TopicPartition

from stream_app.core.types import NO_TIME_MS, RawRecord


class FetchedBatch(list[RawRecord]):
    """The records of one partition in one fetch, in offset order, with the seek they belong to."""

    __slots__ = ("ordinal", "seek_number", "tp")

    def __init__(self, records: list[RawRecord], *, tp: TopicPartition, seek_number: int, ordinal: int) -> None:
        super().__init__(records)
        self.tp = tp
        self.seek_number = seek_number
        self.ordinal = ordinal


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One consistent view of a partition, taken in the consumer thread.

    Attributes:
        seek_number: the seek this was read under.
        position: the next offset to be read, past control records and aborted records.
        end: the last stable offset in the last fetch response.
        sent_at: `time.monotonic()` before the request of that response was sent.
        batches: how many batches were read out since the seek.
    """

    seek_number: int
    position: int
    end: int
    sent_at: float
    batches: int

    @property
    def is_at_end(self) -> bool:
        """Nothing that the last response knew of is left to be read out."""
        return self.position >= self.end


@dataclass(slots=True)
class _Track:
    """The thread's mutable notes on one partition since its last seek."""

    seek_number: int
    batches: int = 0
    end: int | None = None
    sent_at: float = 0.0
    received_at: float = 0.0


@dataclass(slots=True)
class Reading:
    """All partitions' notes. Only the consumer thread writes; `snapshots` and `append_anchor` may be read anywhere."""

    _tracks: dict[TopicPartition, _Track] = field(default_factory=dict)
    _snapshots: dict[TopicPartition, Snapshot] = field(default_factory=dict)
    _append_anchor: tuple[int, float] | None = None

    def note_seek(self, tp: TopicPartition, seek_number: int) -> None:
        """Begin a new account for a partition: what was read before no longer counts."""
        self._snapshots.pop(tp, None)
        self._tracks[tp] = _Track(seek_number)

    def note_response(self, tp: TopicPartition, *, position: int, end: int, sent_at: float, received_at: float) -> None:
        """Note an accepted fetch response for the partition's present position.

        Args:
            tp: the partition; ignored where it was never sought.
            position: of the partition, in records.
            end: the last stable offset.
            sent_at: monotonic seconds before the request went out.
            received_at: monotonic seconds when the response was there.
        """
        track = self._tracks.get(tp)
        if track is not None:
            track.end, track.sent_at, track.received_at = end, sent_at, received_at
            self._publish(tp, track, position)

    def note_drained(self, tp: TopicPartition, records: list[RawRecord], *, position: int) -> FetchedBatch:
        """Number a batch that was just read out and publish the position behind it."""
        track = self._tracks.setdefault(tp, _Track(seek_number=0))
        track.batches += 1
        newest = records[-1].timestamp
        # Of a record that cannot be read the time may be unknown.
        if newest != NO_TIME_MS and (self._append_anchor is None or newest > self._append_anchor[0]):
            self._append_anchor = (newest, track.received_at)
        self._publish(tp, track, position)
        return FetchedBatch(records, tp=tp, seek_number=track.seek_number, ordinal=track.batches)

    def note_position(self, tp: TopicPartition, position: int) -> None:
        """Note a position that moved without records: aborted ones and control records were passed."""
        track = self._tracks.get(tp)
        if track is not None:
            self._publish(tp, track, position)

    def has_read_since_seek(self, tp: TopicPartition) -> bool:
        """Return whether a batch was read out since the last seek."""
        track = self._tracks.get(tp)
        return track is not None and track.batches > 0

    @property
    def snapshots(self) -> Mapping[TopicPartition, Snapshot]:
        """The newest snapshot of each partition."""
        return self._snapshots

    @property
    def append_anchor(self) -> tuple[int, float] | None:
        """The newest append timestamp in ms that the broker gave us, and the monotonic seconds when it did."""
        return self._append_anchor

    def _publish(self, tp: TopicPartition, track: _Track, position: int) -> None:
        # One assignment of an immutable value: a reader in another thread sees the old or the new one, never a mix.
        if track.end is not None:
            self._snapshots[tp] = Snapshot(track.seek_number, position, track.end, track.sent_at, track.batches)
