"""Faust's Kafka driver, bent for whole batches: who fetches when, from where, and what is known about it.

In: Faust's own membership and assignment, and the `Gate` of the shell. Out: per poll one `FetchedBatch` per partition,
and a `Reading` that is written in the consumer thread. It knows neither tasks nor the handler.

What it changes, and why (the names of Faust and aiokafka that this leans on stand in `adapters/kafka/stands_on.py`):
- the client is ours: Faust's waits 1,500 ms for data, reads what is not committed, and falls over what it cannot read;
- Faust never seeks: after every assignment it would go back to the group's committed offsets, over the shell's seeks;
- Faust's own back pressure is off: its resuming would undo the shell's pause. Its queues stay bounded: a full one
  blocks the drain loop;
- resume and open end the wait for data, where Faust would notice them up to a second later;
- the group is left at once, also in the middle of a join;
- errors of the group's coordination and of the fetcher's routine are looked for, and deleted topics; Faust idles for
  ever over them.
"""

# The whole point of this file is to reach into Faust and aiokafka, which type little:
# ruff: noqa: SLF001, ANN401

import asyncio
import contextlib
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError, OffsetOutOfRangeError, TopicAuthorizationFailedError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode import Service
from mode.threads import WorkerThread

from stream_app.adapters.kafka.guarding import guarded_consumer
from stream_app.adapters.kafka.readout import Fetched
from stream_app.adapters.kafka.source.errors import PositionLostError, TopicGoneError
from stream_app.adapters.kafka.source.gate import Gate, Wanted
from stream_app.adapters.kafka.source.leaving import Membership
from stream_app.adapters.kafka.source.missing import MissingTopics
from stream_app.adapters.kafka.source.reading import FetchedBatch, Reading
from stream_app.adapters.kafka.source.settings import SourceSettings
from stream_app.runtime.ports.source import NotOurPartitionError

_HEALTH_INTERVAL_S: Final = 1.0
#: aiokafka leaves the group when nobody has polled for so long. Here that says nothing: a worker may rightly hold all
#: its partitions, or have none, for as long as it likes. In milliseconds; some 30 years.
_MAX_POLL_INTERVAL_MS: Final = 10**12
#: How long the group waits in a rebalance for its members, and a request for its answer, in milliseconds.
_REBALANCE_MS: Final = 60_000
_REQUEST_MS: Final = 90_000


@dataclasses.dataclass(frozen=True, slots=True)
class Wiring:
    """What the driver shares with the source that owns it."""

    settings: SourceSettings
    gate: Gate
    reading: Reading
    on_broken: Callable[[BaseException], None]


class _EndsWithProcess(WorkerThread):
    """A thread that keeps no process alive that ends without stopping its source."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.daemon = True

    def run(self) -> None:
        """Run; brokers that cannot be reached end it, and the app has that for its reason to crash already."""
        with contextlib.suppress(KafkaError, OSError):
            super().run()


class ReadingThread(driver.AIOKafkaConsumerThread):
    """Faust's consumer thread: fetches what is wanted, at once, and keeps the account."""

    Worker = _EndsWithProcess
    _membership: Membership | None = None
    _news: asyncio.Event

    @property
    def wiring(self) -> Wiring:
        """What the transport was given."""
        return cast("GatedTransport", self.transport).wiring

    def _create_worker_consumer(self, _transport: driver.Transport) -> AIOKafkaConsumer:
        settings = self.wiring.settings
        return guarded_consumer(
            settings.connection,
            self._note_fetched,
            group_id=settings.group,
            partition_assignment_strategy=[self.app.assignor],
            session_timeout_ms=settings.session_ms,
            heartbeat_interval_ms=settings.heartbeat_ms,
            rebalance_timeout_ms=_REBALANCE_MS,
            request_timeout_ms=_REQUEST_MS,
            max_poll_interval_ms=_MAX_POLL_INTERVAL_MS,
            max_partition_fetch_bytes=settings.fetch_bytes,
            fetch_max_wait_ms=settings.fetch_wait_ms,
            isolation_level="read_committed",
            enable_auto_commit=False,
            # No jump to another offset behind our back: what a lost position means is decided below.
            auto_offset_reset="none",
        )

    def _break(self, error: BaseException) -> None:
        self.parent_loop.call_soon_threadsafe(self.wiring.on_broken, error)

    async def on_start(self) -> None:
        """Start the client; from here on the shell may open partitions."""
        self._news = asyncio.Event()
        await super().on_start()
        self._membership = Membership(self._ensure_consumer()._coordinator)
        self.wiring.gate.on_wider(self._wake)

    async def leave(self) -> None:
        """Leave the group; returns when the broker has answered. Harmless before there is anything to leave."""
        membership = self._membership
        if membership is not None and self.thread_loop.is_running():
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(membership.leave(), self.thread_loop))

    @property
    def may_be_member(self) -> bool:
        """Whether the broker may take us for a member of the group."""
        return self._membership is not None and self._membership.may_be_member

    async def getmany(self, active_partitions: set[TP] | None, timeout: float) -> Mapping[TP, list[Any]]:  # noqa: ASYNC109 - Faust's signature
        """Read out what the shell wants of the active partitions; Faust calls it on the event loop, again and again."""
        wanted = self.wiring.gate.wanted(cast("set[TopicPartition]", active_partitions or set()))
        batches: Mapping[TP, list[Any]] = await self.call_thread(self._drain, wanted, timeout)
        return batches

    async def seek_for(self, tp: TopicPartition, offset: int, *, seek_number: int, epoch: int) -> None:
        """Seek, and return when it is done, unless the assignment that this was meant for is over.

        Raises:
            NotOurPartitionError: the partition is not ours (any more).
        """
        await self.call_thread(self._seek, tp, offset, seek_number, epoch)

    # Everything below runs in the consumer thread.

    def _note_fetched(self, accepted: Mapping[TopicPartition, Fetched], has_news: bool) -> None:  # noqa: FBT001
        for tp, fetched in accepted.items():
            self.wiring.reading.note_response(
                tp,
                position=cast("int", self._position(tp)),
                end=fetched.stable_end,
                sent_at=fetched.sent_at,
                received_at=fetched.received_at,
            )
        if has_news:
            self._news.set()

    async def _seek(self, tp: TopicPartition, offset: int, seek_number: int, epoch: int) -> None:
        consumer = self._ensure_consumer()
        if epoch != self.wiring.gate.epoch or tp not in consumer.assignment():
            message = f"cannot read {tp.topic}-{tp.partition} from {offset}: it is no longer ours"
            raise NotOurPartitionError(message)
        self.wiring.reading.note_seek(tp, seek_number)
        consumer.seek(tp, offset)

    async def _drain(self, wanted: Wanted, timeout_s: float) -> dict[TP, FetchedBatch]:
        """Read out what is fetched of the wanted partitions; wait for data while there is none.

        Args:
            wanted: what may be read out; nothing is, once its epoch is over.
            timeout_s: how long to wait at most.

        Returns:
            Numbered batches; none when the wait ended without data or more may be fetched than `wanted` says.

        Raises:
            PositionLostError: the broker no longer has, or never had, what is to be read next.
            KafkaError: what the group's coordination or the fetcher could not get over.
        """
        self._news.clear()
        batches = await self._drain_fetched(wanted)
        if batches or wanted.epoch != self.wiring.gate.epoch or wanted.width != self.wiring.gate.width:
            return batches
        try:
            await asyncio.wait_for(self._news.wait(), timeout_s)
        except TimeoutError:
            return {}
        return await self._drain_fetched(wanted)

    async def _drain_fetched(self, wanted: Wanted) -> dict[TP, FetchedBatch]:
        if not wanted.partitions or wanted.epoch != self.wiring.gate.epoch:
            return {}
        consumer = self._ensure_consumer()
        try:
            # During a rebalance it waits for the assignment, whose partitions have nothing before they are sought.
            records = await consumer.getmany(*wanted.partitions)
        except OffsetOutOfRangeError as error:
            await self._go_to_log_start(consumer, cast("dict[TopicPartition, int]", error.args[0]))
            return {}
        reading = self.wiring.reading
        batches: dict[TP, FetchedBatch] = {}
        for tp in wanted.partitions:
            position = self._position(tp)
            if position is None:
                continue
            if records.get(tp):
                batches[TP(*tp)] = reading.note_drained(tp, records[tp], position=position)
            else:
                reading.note_position(tp, position)
        return batches

    async def _go_to_log_start(self, consumer: AIOKafkaConsumer, positions: dict[TopicPartition, int]) -> None:
        """Continue at the log start where a side was opened below it; a position lost while reading is an error."""
        for tp, position in positions.items():
            start = (await consumer.beginning_offsets([tp]))[tp]
            if self._position(tp) != position:
                continue  # a seek or a rebalance came in between
            if position < start and not self.wiring.reading.has_read_since_seek(tp):
                consumer.seek(tp, start)
                continue
            end = (await consumer.end_offsets([tp]))[tp]
            message = (
                f"{tp.topic}-{tp.partition} has no record at offset {position}: expected a position from {start} to "
                f"{end} (log start to end). Retention overtook the reader, or the topic was deleted and recreated; "
                "this process ends and the task is judged again at its next start"
            )
            raise PositionLostError(message)

    def _position(self, tp: TopicPartition) -> int | None:
        """Return the next offset to be read, None for a partition that is not ours or not sought."""
        state = self._ensure_consumer()._subscription.subscription.assignment.state_value(tp)
        return state.position if state is not None and state.has_valid_position else None

    def _wake(self) -> None:
        """End the wait of a drain in flight. Called on the event loop."""
        if not self.thread_loop.is_closed():
            self.thread_loop.call_soon_threadsafe(self._news.set)

    @Service.task
    async def _look_for_errors(self) -> None:
        # They go silent when they fail: without rights on the group, say, no partition ever comes and nobody is told.
        missing = MissingTopics()
        while not self.should_stop:
            await self.sleep(_HEALTH_INTERVAL_S)
            consumer = self._consumer
            if consumer is None or consumer._closed:
                continue
            try:
                consumer._coordinator.check_errors()
                denied = consumer._client.cluster.unauthorized_topics & consumer.subscription()
                if denied:
                    raise TopicAuthorizationFailedError(*sorted(denied))
                if consumer._fetcher.error_future.done():
                    consumer._fetcher.error_future.result()
                await missing.look(consumer)
            except (KafkaError, TopicGoneError) as error:
                self._break(error)
                return


class GatedConsumer(driver.Consumer):
    """Faust's consumer: leaves all positions and all pausing to the shell."""

    reading_thread: ReadingThread

    def _new_consumer_thread(self) -> ReadingThread:
        self.reading_thread = ReadingThread(self, loop=self.loop, beacon=self.beacon)
        return self.reading_thread

    async def perform_seek(self) -> None:
        """Do nothing: every side is sought by the shell after every assignment."""

    def on_buffer_full(self, tp: TP) -> None:
        """Do nothing: only the shell pauses."""

    def on_buffer_drop(self, tp: TP) -> None:
        """Do nothing: only the shell resumes."""

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Do nothing: Faust's live-lock detector waits for commits that Faust never makes here."""


class GatedTransport(driver.Transport):
    """Faust's transport with the consumer above."""

    Consumer = GatedConsumer
    wiring: Wiring
