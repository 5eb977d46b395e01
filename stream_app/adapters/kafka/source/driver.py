"""Faust's Kafka driver, bent for whole batches: who fetches when, from where, and what is known about it.

In: Faust's own membership and assignment, and the `Gate` of the shell. Out: per poll one `FetchedBatch` per partition,
and a `Reading` that is written in the consumer thread. It knows neither tasks nor the handler.

What it changes, and why (the private names of Faust and aiokafka that this leans on are pinned by a test):
- one "record" of a poll is a whole batch, so that Faust's event path costs once per batch, not once per record;
- Faust never seeks: after every assignment it would go back to the group's committed offsets, over the shell's seeks;
- Faust remembers no read offset: it would drop everything that a backward seek brings again;
- Faust's own back pressure is off: its resuming would undo the shell's pause. Its queues stay bounded: a full one
  blocks the drain loop;
- resume and open end the wait of a fetch in flight, where Faust would notice them up to a second later;
- what cannot be read becomes a record of its own (`guarding`), where aiokafka would raise;
- the group is left at once, also in the middle of a join;
- errors of the group's coordination and of the fetcher's routine are looked for, and deleted topics; Faust idles for
  ever over them.
"""

# The whole point of this file is to reach into Faust and aiokafka, which type little:
# ruff: noqa: SLF001, ANN401

import asyncio
import dataclasses
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import ConsumerStoppedError, KafkaError, OffsetOutOfRangeError, TopicAuthorizationFailedError
from faust.transport.drivers import aiokafka as driver
from faust.types import TP
from mode import Service
from mode.threads import WorkerThread

from stream_app.adapters.kafka.guarding import guard
from stream_app.adapters.kafka.source.errors import PositionLostError, TopicGoneError
from stream_app.adapters.kafka.source.gate import Gate, Wanted
from stream_app.adapters.kafka.source.leaving import Membership
from stream_app.adapters.kafka.source.missing import MissingTopics
from stream_app.adapters.kafka.source.reading import FetchedBatch, Reading
from stream_app.runtime.ports.source import NotOurPartitionError

_HEALTH_INTERVAL_S: Final = 1.0

Records = Mapping[TP, list[Any]]


@dataclasses.dataclass(frozen=True, slots=True)
class Wiring:
    """What the driver shares with the source that owns it."""

    gate: Gate
    reading: Reading
    fetch_wait_ms: int
    batch_bytes: int
    on_broken: Callable[[BaseException], None]


class _NoReadOffsets(defaultdict[TP, int | None]):
    """Faust's memory of read offsets, without memory: a batch of before a seek must not outlaw those behind it."""

    def __init__(self) -> None:
        super().__init__(lambda: None)

    def __getitem__(self, _tp: TP) -> int | None:
        return None

    def __setitem__(self, _tp: TP, _offset: int | None) -> None:
        return


class _EndsWithProcess(WorkerThread):
    """A thread that keeps no process alive that ends without stopping its source."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.daemon = True


class ReadingThread(driver.AIOKafkaConsumerThread):
    """Faust's consumer thread: fetches what is wanted, at once, and keeps the account."""

    Worker = _EndsWithProcess
    _membership: Membership | None = None

    @property
    def wiring(self) -> Wiring:
        """What the transport was given."""
        return cast("GatedTransport", self.transport).wiring

    def _create_worker_consumer(self, transport: driver.Transport) -> AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        # Faust fixes both: 1,500 ms would hold up a resumed partition while others are idle, and it reads
        # uncommitted unless it does the transactions itself.
        consumer._fetch_max_wait_ms = self.wiring.fetch_wait_ms
        consumer._isolation_level = "read_committed"
        guard(consumer, self.wiring.batch_bytes)
        return consumer

    def _break(self, error: BaseException) -> None:
        self.parent_loop.call_soon_threadsafe(self.wiring.on_broken, error)

    async def on_start(self) -> None:
        """Start the client and look over the fetcher's shoulder."""
        await super().on_start()
        self._membership = Membership(self._ensure_consumer()._coordinator)
        fetcher = self._ensure_consumer()._fetcher
        fetch = fetcher._proc_fetch_request

        async def fetch_and_note(assignment: Any, node_id: int, request: Any) -> bool:
            sent_at = time.monotonic()
            states = {
                TopicPartition(topic, partition): assignment.state_value(TopicPartition(topic, partition))
                for topic, partitions in request.topics
                for partition, _offset, _bytes in partitions
            }
            # The fetcher sets it anew when it accepts an answer, and does not when it discards one.
            for state in states.values():
                state.lso = None
            try:
                has_data: bool = await fetch(assignment, node_id, request)
            except asyncio.CancelledError:
                # It comes out where a broker is gone: the fetcher closes by awaiting what it cancelled, and it would
                # take the thread down with it, whose end Faust then awaits for ever.
                return False
            received_at = time.monotonic()
            for tp, state in states.items():
                if state.lso is not None and state.has_valid_position:
                    self.wiring.reading.note_response(
                        tp, position=state.position, end=state.lso, sent_at=sent_at, received_at=received_at
                    )
            return has_data

        fetcher._proc_fetch_request = fetch_and_note
        self.wiring.gate.on_wider(self._wake)

    async def leave(self) -> None:
        """Leave the group, see `Membership.leave`. Runs in the consumer thread."""
        if self._membership is not None:
            await self._membership.leave()

    @property
    def may_be_member(self) -> bool:
        """Whether the broker may take us for a member of the group."""
        return self._membership is not None and self._membership.may_be_member

    async def drain(self, wanted: Wanted, timeout_s: float) -> dict[TP, FetchedBatch]:
        """Read out what is fetched of the wanted partitions; wait for data while there is none.

        Runs in the consumer thread.

        Args:
            wanted: what may be read out; nothing is, once its epoch is over.
            timeout_s: how long to wait at most.

        Returns:
            Numbered batches; none when the wait ended without data or more may be fetched than `wanted` says.

        Raises:
            PositionLostError: the broker no longer has, or never had, what is to be read next.
            KafkaError: what the group's coordination or the fetcher could not get over.
        """
        batches = await self._drain_fetched(wanted)
        if batches or wanted.epoch != self.wiring.gate.epoch:
            return batches
        if wanted.width == self.wiring.gate.width:
            waiter = self._ensure_consumer()._fetcher._create_fetch_waiter()
            await asyncio.wait([waiter], timeout=timeout_s)
            if waiter.done():
                waiter.result()
            else:
                waiter.cancel()
        return await self._drain_fetched(wanted)

    async def seek_for(self, tp: TopicPartition, offset: int, *, seek_number: int, epoch: int) -> None:
        """Seek in the consumer thread, unless the assignment that this was meant for is over.

        Raises:
            NotOurPartitionError: the partition is not ours (any more).
        """
        consumer = self._ensure_consumer()
        if epoch != self.wiring.gate.epoch or tp not in consumer.assignment():
            message = f"cannot read {tp.topic}-{tp.partition} from {offset}: it is not ours any more"
            raise NotOurPartitionError(message)
        self.wiring.reading.note_seek(tp, seek_number)
        consumer.seek(tp, offset)

    async def _drain_fetched(self, wanted: Wanted) -> dict[TP, FetchedBatch]:
        consumer = self._ensure_consumer()
        fetcher = consumer._fetcher
        if consumer._closed or fetcher._closed:
            raise ConsumerStoppedError
        with fetcher._subscriptions.fetch_context():  # also with nothing wanted: else the group takes us for stuck
            if fetcher._subscriptions.reassignment_in_progress:
                await fetcher._subscriptions.wait_for_assignment()
            if not wanted.partitions or wanted.epoch != self.wiring.gate.epoch:
                return {}
            try:
                records = await fetcher.fetched_records(wanted.partitions, timeout=0, max_records=None)
            except OffsetOutOfRangeError as error:
                await self._go_to_log_start(consumer, cast("dict[TopicPartition, int]", error.args[0]))
                return {}
        return self._account(consumer, wanted, records)

    def _account(
        self, consumer: AIOKafkaConsumer, wanted: Wanted, records: Mapping[TopicPartition, list[Any]]
    ) -> dict[TP, FetchedBatch]:
        reading = self.wiring.reading
        assignment = consumer._subscription.subscription.assignment
        batches: dict[TP, FetchedBatch] = {}
        for tp in wanted.partitions:
            state = assignment.state_value(tp)
            if state is None or not state.has_valid_position:
                continue
            if records.get(tp):
                batches[TP(*tp)] = reading.note_drained(tp, records[tp], position=state.position)
            else:
                reading.note_position(tp, state.position)
        return batches

    async def _go_to_log_start(self, consumer: AIOKafkaConsumer, positions: dict[TopicPartition, int]) -> None:
        """Go on at the log start where a side was opened below it; a position lost while reading is an error."""
        for tp, position in positions.items():
            start = (await consumer.beginning_offsets([tp]))[tp]
            state = consumer._subscription.subscription.assignment.state_value(tp)
            if state is None or not state.has_valid_position or state.position != position:
                continue  # a seek or a rebalance came in between
            if position < start and not self.wiring.reading.has_read_since_seek(tp):
                consumer.seek(tp, start)
                continue
            end = (await consumer.end_offsets([tp]))[tp]
            message = (
                f"{tp.topic}-{tp.partition} has no record at offset {position}: expected a position from {start} to "
                f"{end} (log start to end). Retention overtook the reader, or the topic was deleted and made anew; "
                "this process ends and the task is judged again at its next start"
            )
            raise PositionLostError(message)

    def _wake(self) -> None:
        """End the wait of a drain in flight. Called on the event loop."""
        if not self.thread_loop.is_closed():
            self.thread_loop.call_soon_threadsafe(self._wake_here)

    def _wake_here(self) -> None:
        if self._consumer is not None:
            fetcher = self._consumer._fetcher
            for waiter in list(fetcher._fetch_waiters):
                fetcher._notify(waiter)

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
                missing.look(consumer)
            except (KafkaError, TopicGoneError) as error:
                self._break(error)
                return


class GatedConsumer(driver.Consumer):
    """Faust's consumer: fetches what the gate lets through and leaves all positions to the shell."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._read_offset = _NoReadOffsets()

    def _new_consumer_thread(self) -> ReadingThread:
        return ReadingThread(self, loop=self.loop, beacon=self.beacon)

    async def perform_seek(self) -> None:
        """Do nothing: every side is sought by the shell after every assignment."""

    async def leave(self) -> None:
        """Leave the group; returns when the broker has answered. Harmless before there is anything to leave."""
        thread = cast("ReadingThread", self._thread)
        if thread.thread_loop.is_running():
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(thread.leave(), thread.thread_loop))

    @property
    def may_be_member(self) -> bool:
        """Whether the broker may take us for a member of the group."""
        return cast("ReadingThread", self._thread).may_be_member

    async def seek_for(self, tp: TopicPartition, offset: int, *, seek_number: int, epoch: int) -> None:
        """Seek in the consumer thread and return when it is done. See `ReadingThread.seek_for`."""
        thread = cast("ReadingThread", self._thread)
        await thread.call_thread(thread.seek_for, tp, offset, seek_number=seek_number, epoch=epoch)

    def on_buffer_full(self, tp: TP) -> None:
        """Do nothing: only the shell pauses."""

    def on_buffer_drop(self, tp: TP) -> None:
        """Do nothing: only the shell resumes."""

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Do nothing: Faust's live-lock detector waits for commits that Faust never makes here."""

    async def _wait_next_records(  # Faust names it so
        self,
        timeout: float,  # noqa: ASYNC109
    ) -> tuple[Records | None, set[TP] | None]:
        if not self.flow_active:
            await self.wait(self.can_resume_flow)  # type: ignore[arg-type]  # mode's annotation lacks asyncio.Event
        thread = cast("ReadingThread", self._thread)
        active = cast("set[TopicPartition]", self._get_active_partitions())  # both types are (topic, partition)
        wanted = cast("GatedTransport", self.transport).wiring.gate.wanted(active)
        batches: Records = await thread.call_thread(thread.drain, wanted, timeout)
        return batches, {TP(*tp) for tp in wanted.partitions}


class GatedTransport(driver.Transport):
    """Faust's transport with the consumer above."""

    Consumer = GatedConsumer
    wiring: Wiring
