"""What a broker answered for one partition, read out record by record for a reader of committed records, or for any.

In: the bytes of the answer and the transactions that were aborted. Out: records, an `UnreadableRecord` for what is
lost, and the offset to be fetched next, which always moves on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from stream_app.adapters.kafka.batches import split
from stream_app.adapters.kafka.unpacking import CRC, FORMAT, RECORD_BYTES, UnreadableRecord, lost, unpack

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from aiokafka import ConsumerRecord, TopicPartition

    from stream_app.adapters.kafka.batches import Batch

#: The key of a transaction's marker that ends it in vain: two bytes of version, two of type.
_ABORT: Final = b"\x00\x00\x00\x00"


class Fetched(msgspec.Struct, frozen=True):
    """What a broker answered for one partition.

    Attributes:
        records: whole batches, in the order of their offsets; empty where there is nothing new.
        end: the end of the log then.
        condemned: the base offsets of batches that do not fit their CRC.
        stable_end: the last stable offset then.
        sent_at: `time.monotonic()` just before the request was sent.
        received_at: `time.monotonic()` when the answer was there.
    """

    records: bytes
    end: int
    condemned: frozenset[int] = frozenset()
    stable_end: int = -1
    sent_at: float = 0.0
    received_at: float = 0.0


class Readout:
    """What a `FetchResult` needs of aiokafka's `PartitionRecords`: an iterator that knows the next offset to fetch.

    It is in no reference cycle: an answer may have megabytes, is dropped unread where its partition is paused, and goes
    then and there instead of waiting for the collector, which comes seldom.
    """

    def __init__(
        self,
        tp: TopicPartition,
        fetched: Fetched,
        *,
        offset: int,
        aborted: Sequence[tuple[int, int]] | None,
        batch_bytes: int,
    ) -> None:
        """Begin to read.

        Args:
            tp: where the records come from.
            fetched: whole batches, in the order of their offsets.
            offset: the first one that is wanted.
            aborted: producer and first offset of each aborted transaction, by offset; None to read what is not
                committed too.
            batch_bytes: the memory that a batch may take unpacked.
        """
        self._reading = _Reading(tp, fetched, offset, aborted, batch_bytes)
        self._left = self._reading.records()

    @property
    def next_fetch_offset(self) -> int:
        """The offset behind the newest record that was returned, and behind what was passed over."""
        return self._reading.next_fetch_offset

    def __iter__(self) -> Iterator[ConsumerRecord[bytes, bytes] | UnreadableRecord]:
        """Return itself."""
        return self

    def __next__(self) -> ConsumerRecord[bytes, bytes] | UnreadableRecord:
        """Return the next record; the offset to be fetched next is the one behind it."""
        return next(self._left)


class _Reading:
    """Where the read-out stands. It must not know its own generator, which knows it."""

    def __init__(
        self,
        tp: TopicPartition,
        fetched: Fetched,
        offset: int,
        aborted: Sequence[tuple[int, int]] | None,
        batch_bytes: int,
    ) -> None:
        self.next_fetch_offset = offset
        self._tp = tp
        self._fetched = fetched
        self._aborted = None if aborted is None else list(aborted)
        self._aborting: set[int] = set()
        self._batch_bytes = batch_bytes

    def records(self) -> Iterator[ConsumerRecord[bytes, bytes] | UnreadableRecord]:
        begin, spent = self.next_fetch_offset, 0
        batch: Batch | None = None
        for batch in split(self._fetched.records):
            if batch.base_offset in self._fetched.condemned:
                yield self._passing(self._condemn(batch))
                # It may have been a transaction's marker; a new fetch says anew what was aborted.
                return
            if batch.last_offset < self.next_fetch_offset:
                continue
            if not batch.flaw and self._is_aborted_or_marker(batch):
                self.next_fetch_offset = max(self.next_fetch_offset, batch.last_offset + 1)
                continue
            for record in unpack(self._fetched.records, batch, self._tp, self._batch_bytes):
                spent += RECORD_BYTES + len(record.key or b"") + len(record.value or b"")
                if record.offset >= self.next_fetch_offset:
                    yield self._passing(record)
            self.next_fetch_offset = max(self.next_fetch_offset, batch.last_offset + 1)
            if spent >= self._batch_bytes:
                return
        if batch is not None and self.next_fetch_offset == begin:
            # It would be fetched for ever.
            head = msgspec.structs.replace(batch, last_offset=begin)
            yield self._passing(lost(head, self._tp, FORMAT, "claims to lie further back", first_offset=begin))

    def _condemn(self, batch: Batch) -> UnreadableRecord:
        """Return what stands for a batch whose own head cannot be believed: it ends where the next one begins."""
        first = max(batch.base_offset, self.next_fetch_offset)
        behind = next((other for other in split(self._fetched.records) if other.begin >= batch.end), None)
        last = min(batch.last_offset, self._fetched.end - 1) if behind is None else behind.base_offset - 1
        head = msgspec.structs.replace(batch, last_offset=max(first, last))
        return lost(head, self._tp, CRC, "does not fit its CRC", first_offset=first)

    def _passing(
        self, record: ConsumerRecord[bytes, bytes] | UnreadableRecord
    ) -> ConsumerRecord[bytes, bytes] | UnreadableRecord:
        self.next_fetch_offset = max(self.next_fetch_offset, record.offset + 1)
        return record

    def _is_aborted_or_marker(self, batch: Batch) -> bool:
        """Whether a batch has nothing for readers, by Kafka's rules: KIP-98, "Discarding aborted transactions"."""
        aborted = self._aborted
        if aborted is not None:
            while aborted and aborted[0][1] <= batch.base_offset:
                self._aborting.add(aborted.pop(0)[0])
            if batch.is_control:
                self._end_transaction(batch)
            elif batch.is_transactional and batch.producer_id in self._aborting:
                return True
        return batch.is_control

    def _end_transaction(self, marker: Batch) -> None:
        for record in unpack(self._fetched.records, marker, self._tp, self._batch_bytes):
            if (record.key or b"")[:4] == _ABORT:
                self._aborting.discard(marker.producer_id)
