"""One transactional producer per task: a step's outputs, checkpoint and input offsets become visible together.

In: messages and the offsets to commit. Out: one Kafka transaction. Initialising the transactional id fences the
previous owner. Whatever goes wrong with a commit ends the epoch (:class:`EpochEndedError`): the object is dropped, and
the task resumes from the newest checkpoint, since an unconfirmed commit may or may not have happened.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.errors import IllegalOperation, InvalidTimestampError, KafkaError, ProducerFenced
from aiokafka.structs import OffsetAndMetadata

from stream_app.adapters.kafka.clients import start_client
from stream_app.adapters.kafka.connection import MAX_REQUEST_BYTES
from stream_app.runtime.ports.publishing import EpochEndedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from stream_app.adapters.kafka.connection import Connection
    from stream_app.wire.message import Message

#: A producer that cannot be stopped in this time is abandoned; the next owner of the id fences it. In seconds.
_STOP_S = 2.0
#: How often, and how long after one another, an abandoned producer's sender is cancelled until it ends.
_CANCELS = 10
_CANCEL_S = 0.05
_WRONG_CLOCK = (
    "an output is stamped by this worker's clock, and the broker refuses that: set the clock right, or let the "
    "broker stamp the outputs (`vigil topics fix`)"
)


class PublisherSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of the transactions, in milliseconds."""

    group: str
    transaction_timeout_ms: int
    commit_timeout_ms: int


class KafkaPublisher:
    """The producer of one task in one epoch."""

    def __init__(self, connection: Connection, settings: PublisherSettings, transactional_id: str) -> None:
        self._settings = settings
        #: A transaction was begun and not confirmed.
        self._is_open = False
        self._producer = AIOKafkaProducer(
            **connection.client_arguments(),
            transactional_id=transactional_id,
            transaction_timeout_ms=settings.transaction_timeout_ms,
            acks="all",
            max_request_size=MAX_REQUEST_BYTES,
            linger_ms=0,
        )

    async def start(self) -> None:
        """Connect and initialise the transactional id, which fences the previous owner and ends its transaction.

        Raises:
            EpochEndedError: if the brokers cannot be reached or refuse.
        """
        try:
            async with asyncio.timeout(self._settings.commit_timeout_ms / 1_000):
                await start_client(self._producer)
        except (KafkaError, TimeoutError, AssertionError, OSError) as error:
            await self.stop()
            message = f"the producer could not be initialised: {_say(error)}"
            raise EpochEndedError(message) from error

    async def publish(self, messages: Iterable[Message], offsets: Mapping[tuple[str, int], int]) -> None:
        """Publish one step in one transaction.

        Args:
            messages: the records, in order.
            offsets: (topic, partition) to the next offset to be committed for the group.

        Raises:
            EpochEndedError: if the commit is not confirmed in time or fails in any way.
        """
        self._is_open = True
        try:
            async with asyncio.timeout(self._settings.commit_timeout_ms / 1_000):
                await self._publish(messages, offsets)
            self._is_open = False
        except ProducerFenced as error:
            message = "another worker took over this task"
            raise EpochEndedError(message, is_fenced=True) from error
        except IllegalOperation as error:
            # It failed while records were still being handed over: a right was missing, say. The reason lies elsewhere.
            message = f"the commit was not confirmed: {_say(self._failure_of_transaction() or error)}"
            raise EpochEndedError(message) from error
        except (KafkaError, TimeoutError, AssertionError, OSError) as error:
            # aiokafka asserts on the state of a transaction that has failed fatally before.
            message = f"the commit was not confirmed: {_say(error)}"
            raise EpochEndedError(message) from error
        except asyncio.CancelledError as error:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                raise
            # Not ours: a client that was cancelled within would end this job without a word.
            message = "the commit was not confirmed: the client was cancelled"
            raise EpochEndedError(message) from error

    def _failure_of_transaction(self) -> BaseException | None:
        ended: asyncio.Future[None] = self._producer._txn_manager.wait_for_transaction_end()  # noqa: SLF001
        return ended.exception() if ended.done() else None

    async def _publish(self, messages: Iterable[Message], offsets: Mapping[tuple[str, int], int]) -> None:
        producer = self._producer
        await producer.begin_transaction()
        sent = [
            await producer.send(
                message.topic,
                key=message.key,
                value=message.value,
                headers=list(message.headers),
                partition=message.partition,
            )
            for message in messages
        ]
        positions = {TopicPartition(*where): OffsetAndMetadata(offset, "") for where, offset in offsets.items()}
        await producer.send_offsets_to_transaction(positions, self._settings.group)
        await asyncio.gather(*sent)
        await producer.commit_transaction()

    async def stop(self) -> None:
        """Let go of the connection, within two seconds; an open transaction is left to the next owner."""
        try:
            async with asyncio.timeout(_STOP_S):
                if not self._is_open:
                    await self._producer.stop()
        except (KafkaError, TimeoutError, AssertionError, OSError):
            self._is_open = True
        if self._is_open:
            # Nothing depends on what it still holds: the next owner of the transactional id ends whatever is left open.
            await self._abandon()

    async def _abandon(self) -> None:
        """Close without the flush that aiokafka would try for ever, with its connections open, and after an outage too.

        Leans on `_sender` and `_closed` of the producer; a test counts what is left.
        """
        producer = self._producer
        sender = producer._sender.sender_task  # noqa: SLF001
        for _ in range(_CANCELS):
            if sender is None or sender.done():
                break
            # Cancelled, it waits for its requests in flight; cancelled again, it abandons them too.
            sender.cancel()
            await asyncio.wait({sender}, timeout=_CANCEL_S)
        producer._closed = True  # noqa: SLF001 - else it complains that nobody stopped it
        with suppress(KafkaError, TimeoutError, OSError):
            await asyncio.wait_for(producer.client.close(), _STOP_S)


def _say(error: BaseException) -> str:
    words = f"{type(error).__name__} {error}".strip()
    return f"{words}: {_WRONG_CLOCK}" if isinstance(error, InvalidTimestampError) else words
