"""The source: a Faust app whose agents only hand raw batches on. First stage of a record's way through the house.

In: two Kafka topics, read with read_committed by one consumer group. Out: per side and task the records in offset
order, each once per `open`, to the handler. It must not know what a record means, and it commits nothing: offsets are
committed by the tasks' own transactions.
"""

# Faust hands its app, streams and signals over untyped:
# ruff: noqa: ANN401

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, cast

import faust
from aiokafka import TopicPartition

from stream_app.adapters.kafka.source.app import ReadingApp, Undecoded
from stream_app.adapters.kafka.source.driver import GatedConsumer, GatedTransport, ReadingThread, Wiring
from stream_app.adapters.kafka.source.errors import BatchLostError, SourceError
from stream_app.adapters.kafka.source.gate import Gate
from stream_app.adapters.kafka.source.reading import FetchedBatch, Reading
from stream_app.adapters.kafka.source.settings import SourceSettings
from stream_app.core.types import Side
from stream_app.runtime.ports.source import NotOurPartitionError, Progress, SourceHandler

_log = logging.getLogger(__name__)

#: A crash in the consumer thread sets an event without waking this loop, so the wait looks for itself.
_LOOK_INTERVAL_S: Final = 0.5
#: Leaving the group takes milliseconds; brokers that do not answer are not waited for longer than this, in seconds.
_LEAVE_S: Final = 1.5
#: For Faust to end its services, which loses nothing once the group is left, in seconds.
_CLOSE_S: Final = 1.0


class FaustSource:
    """Implements `Source` with Faust, inside an event loop that runs already.

    Guarantees, per side of a task: nothing is delivered before `open`; after `open(offset)` come the records from the
    first available offset >= `offset` on, each once, in order; no batch that was fetched before the seek comes after
    it. A batch that gets lost on its way through Faust, or an exception of the handler, ends the source: it is raised
    by `wait`, and nothing is delivered any more.
    """

    def __init__(self, settings: SourceSettings, handler: SourceHandler) -> None:
        """Describe a source; nothing is connected yet."""
        self._settings = settings
        self._handler = handler
        self._sides = {settings.topic_of(side): side for side in Side}
        self._gate = Gate()
        self._reading = Reading()
        self._app: faust.App | None = None
        self._ours: frozenset[int] = frozenset()
        self._is_settled = False
        self._is_stopping = False
        self._failure: BaseException | None = None
        self._ended = asyncio.Event()
        self._last_seek = 0
        self._handed_over: dict[TopicPartition, int] = {}

    async def start(self) -> None:
        """Join the group. Returns after the first assignment, which the handler hears of before that.

        Raises:
            SourceError: it was started before.
            KafkaError: the broker cannot be reached, or refuses us.
        """
        if self._app is not None:
            message = "this source was started before; create a new one"
            raise SourceError(message)
        self._app = self._build()
        starting = asyncio.create_task(self._app.start())
        try:
            # Faust's start waits for the first assignment for ever, also when the group has refused us.
            while not starting.done():
                await asyncio.wait({starting}, timeout=_LOOK_INTERVAL_S)
                self._raise_failure()
            await starting
            self._raise_failure()
        except BaseException:
            starting.cancel()
            await asyncio.wait({starting}, timeout=_CLOSE_S)
            await self.stop()
            raise

    async def stop(self) -> None:
        """Leave the group and close all connections. From the call on the handler is not called. Harmless twice.

        The group is left whatever it is doing, a join of ours that is not over included. Brokers that do not answer
        are given up on after 1.5 s; the group then finds out by its session time-out, and a warning says so.
        """
        self._is_stopping = True
        self._revoke_all()
        app = self._app
        if app is not None and app.started:
            # First: once Faust stops, a rebalance makes it close the client, before the group is left.
            await self._leave_group()
            await self._stop_app(app)
        self._ended.set()

    async def _leave_group(self) -> None:
        thread = self._thread()
        leaving = asyncio.ensure_future(thread.leave())
        await asyncio.wait({leaving}, timeout=_LEAVE_S)
        if not leaving.done():
            leaving.cancel()
        if thread.may_be_member:
            _log.warning(
                "the brokers did not confirm within %.1f s that we left the group %s; it finds out after %d ms",
                _LEAVE_S,
                self._settings.group,
                self._settings.session_ms,
            )

    async def _stop_app(self, app: faust.App) -> None:
        stopping = asyncio.ensure_future(app.stop())
        await asyncio.wait({stopping}, timeout=_CLOSE_S)
        if stopping.done():
            stopping.result()
        else:
            stopping.cancel()

    async def wait(self) -> None:
        """Return when the source was stopped.

        Raises:
            BaseException: what broke the source, the handler's own exception included.
        """
        while not self._ended.is_set():
            self._raise_failure()
            try:
                await asyncio.wait_for(self._ended.wait(), timeout=_LOOK_INTERVAL_S)
            except TimeoutError:
                continue
        self._raise_failure()

    async def open(self, side: Side, partition: int, offset: int) -> None:
        """Deliver this side from `offset` on; a second call seeks, forwards or backwards. Pressure stays as it is.

        The first records may arrive before this returns. An offset below the log start begins at the log start; one
        above the log end breaks the source (`PositionLostError` from `wait`): check for gaps first.

        Raises:
            NotOurPartitionError: the task is not ours, or was taken away meanwhile.
        """
        tp = self._settings.topic_partition(side, partition)
        if partition not in self._ours:
            message = f"cannot open {tp.topic}-{tp.partition} at {offset}: ours are the tasks {sorted(self._ours)}"
            raise NotOurPartitionError(message)
        self._last_seek += 1
        seek_number, epoch = self._last_seek, self._gate.epoch
        self._gate.expect(tp, seek_number)
        self._handed_over[tp] = 0
        try:
            await self._thread().seek_for(tp, offset, seek_number=seek_number, epoch=epoch)
        except BaseException:
            if self._gate.seek_number(tp) == seek_number:
                self._gate.close(tp)
            raise
        if epoch != self._gate.epoch:
            message = f"{tp.topic}-{tp.partition} was revoked while it was being opened at {offset}"
            raise NotOurPartitionError(message)
        if self._gate.seek_number(tp) == seek_number:
            self._gate.open(tp)

    def pause(self, side: Side, partition: int) -> None:
        """Stop fetching this side. Loses nothing; one batch may still arrive. No effect on a task that is not ours."""
        if partition in self._ours:
            self._gate.pause(self._settings.topic_partition(side, partition))

    def resume(self, side: Side, partition: int) -> None:
        """Fetch this side again, at once."""
        self._gate.resume(self._settings.topic_partition(side, partition))

    def progress(self, side: Side, partition: int) -> Progress | None:
        """Return how far this side is read, or None before the first answer after `open`."""
        tp = self._settings.topic_partition(side, partition)
        snapshot = self._reading.snapshots.get(tp)
        if snapshot is None or snapshot.seek_number != self._gate.seek_number(tp):
            return None
        anchor = self._reading.append_anchor
        return Progress(
            is_at_end=snapshot.is_at_end and self._handed_over[tp] == snapshot.batches,
            fetched_at=snapshot.sent_at,
            append_ms=None if anchor is None else anchor[0] + int((snapshot.sent_at - anchor[1]) * 1000.0),
            position=snapshot.position,
            end=snapshot.end,
        )

    def assignment(self) -> frozenset[int]:
        """Return the tasks that are ours now."""
        return self._ours

    @property
    def is_rebalancing(self) -> bool:
        """Whether the group is deciding who gets what, the first join included, or gave us one side of a task only."""
        return not self._is_settled or (self._app is not None and self._app.rebalancing)

    def _build(self) -> faust.App:
        settings = self._settings
        app = ReadingApp(settings.group, settings.connection.bootstrap)
        transport = GatedTransport(app.conf.broker_consumer, app)
        transport.wiring = Wiring(settings, self._gate, self._reading, on_broken=self._fail)
        app.transport = transport
        for signal, handle in (
            (app.on_partitions_assigned, self._on_assigned),
            (app.on_partitions_revoked, self._on_revoked),
        ):
            cast("Any", signal).connect(handle)
        for side in Side:
            topic = app.topic(settings.topic_of(side), schema=Undecoded(), acks=False)
            app.agent(topic, name=f"hand-on-{side.kind}s")(self._agent(app))
        return app

    def _agent(self, app: faust.App) -> Callable[[Any], Awaitable[None]]:
        async def hand_on(stream: Any) -> None:
            async for event in stream.noack().events():
                try:
                    self._deliver(event.value)
                except Exception as error:
                    # Faust would restart the agent and continue after the batch that failed.
                    self._fail(error)
                    await app.crash(error)
                    raise

        return hand_on

    def _deliver(self, batch: FetchedBatch) -> None:
        tp = batch.tp
        if self._is_stopping or self._failure is not None or batch.seek_number != self._gate.seek_number(tp):
            return  # it was fetched before a seek or a revocation
        expected = self._handed_over[tp] + 1
        if batch.ordinal != expected:
            message = (
                f"a batch of {tp.topic}-{tp.partition} was lost between fetch and delivery: expected number {expected} "
                f"since the last seek, found {batch.ordinal}, from offset {batch[0].offset} on"
            )
            raise BatchLostError(message)
        self._handed_over[tp] = batch.ordinal
        self._handler.on_records(self._sides[tp.topic], tp.partition, batch)

    async def _on_assigned(self, _app: Any, assigned: Any, **_options: Any) -> None:
        if self._is_stopping:
            return
        by_side = {side: {tp.partition for tp in assigned if self._sides.get(tp.topic) is side} for side in Side}
        both = frozenset(by_side[Side.TEXT] & by_side[Side.FRAME])
        halves = (by_side[Side.TEXT] | by_side[Side.FRAME]) - both
        for partition in halves:
            _log.error(
                "partition %d was assigned for one input topic only (texts: %s, frames: %s); the task is not run. "
                "Expected equal partition counts and the same assignor in every member of group %s",
                partition,
                partition in by_side[Side.TEXT],
                partition in by_side[Side.FRAME],
                self._settings.group,
            )
        self._ours = both
        # With half a task the group is not what it has to be, and nobody may take this worker for ready.
        self._is_settled = not halves
        if both:
            self._handler.on_assigned(both)

    async def _on_revoked(self, _app: Any, _revoked: Any, **_options: Any) -> None:
        self._is_settled = False
        ours = self._revoke_all()
        if ours and not self._is_stopping:
            self._handler.on_revoked(ours)

    def _revoke_all(self) -> frozenset[int]:
        ours, self._ours = self._ours, frozenset()
        self._gate.revoke_all()
        self._handed_over.clear()
        return ours

    def _fail(self, error: BaseException) -> None:
        if self._failure is None and not self._is_stopping:
            self._failure = error
            self._gate.revoke_all()
            self._ended.set()

    def _raise_failure(self) -> None:
        if self._failure is None and self._app is not None and self._app.crashed and not self._is_stopping:
            self._failure = self._app.crash_reason or SourceError("Faust's app crashed and gave no reason")
        if self._failure is not None:
            raise self._failure

    def _thread(self) -> ReadingThread:
        if self._app is None or not isinstance(self._app.consumer, GatedConsumer):
            message = "this source is not started"
            raise SourceError(message)
        return self._app.consumer.reading_thread
