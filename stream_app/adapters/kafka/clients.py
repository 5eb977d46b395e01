"""Starting and closing Kafka clients within a bound, so that a missing broker is reported, not waited for.

In: an aiokafka client. Out: the same, started, or an error that names the addresses.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaConnectionError, KafkaError

from stream_app.adapters.kafka.connection import MAX_REQUEST_BYTES, Connection
from stream_app.adapters.kafka.guarding import guarded_consumer

#: Seconds that a command waits for a broker before it says that there is none.
CONNECT_TIMEOUT_S = 9.0
#: Seconds that closing a client may take; Ctrl-C has to end a command within 5.
_CLOSE_TIMEOUT_S = 3.0
#: Seconds that a start which is not wanted any more may still take.
_FINISH_S = 0.5
#: Of one request to the brokers, in milliseconds.
_REQUEST_TIMEOUT_MS = 10_000
#: Seconds until what the brokers say of a topic is known here.
METADATA_S = 10.0
#: How long one call waits for records where none are there, in milliseconds.
POLL_MS = 500


class BrokerUnreachableError(ConnectionError):
    """No broker answered at the given addresses, or none that takes the credentials. The message names them."""


@asynccontextmanager
async def admin_client(connection: Connection) -> AsyncIterator[Any]:
    """Yield a started admin client; close it at the end.

    Raises:
        BrokerUnreachableError: if no broker answers in :data:`CONNECT_TIMEOUT_S`.
    """
    client = AIOKafkaAdminClient(**_arguments(connection), request_timeout_ms=_REQUEST_TIMEOUT_MS)
    async with _running(client, connection, client.close):
        yield client


@asynccontextmanager
async def consumer(connection: Connection, **options: Any) -> AsyncIterator[Any]:  # noqa: ANN401 - aiokafka's own
    """Yield a started consumer without group, read_committed unless told otherwise; close it at the end.

    Raises:
        BrokerUnreachableError: if no broker answers in :data:`CONNECT_TIMEOUT_S`.
    """
    chosen = {
        "isolation_level": "read_committed",
        "enable_auto_commit": False,
        "group_id": None,
        # Where a position is lost to retention or a new topic, nothing that is there may be passed over.
        "auto_offset_reset": "earliest",
        "request_timeout_ms": _REQUEST_TIMEOUT_MS,
        # A fetch has room for the largest record that is ever published.
        "max_partition_fetch_bytes": MAX_REQUEST_BYTES,
        **options,
    }
    with _naming_authorities():
        client = guarded_consumer(connection, **chosen)
    async with _running(client, connection, client.stop):
        yield client


@asynccontextmanager
async def producer(connection: Connection, **options: Any) -> AsyncIterator[Any]:  # noqa: ANN401 - aiokafka's own
    """Yield a started idempotent producer with ``acks="all"``; close it at the end.

    Raises:
        BrokerUnreachableError: if no broker answers in :data:`CONNECT_TIMEOUT_S`.
    """
    client = AIOKafkaProducer(
        **_arguments(connection), enable_idempotence=True, acks="all", request_timeout_ms=_REQUEST_TIMEOUT_MS, **options
    )
    async with _running(client, connection, client.stop):
        yield client


def _arguments(connection: Connection) -> dict[str, Any]:
    with _naming_authorities():
        return connection.client_arguments()


@contextmanager
def _naming_authorities() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        message = f"the authorities to trust cannot be read: {error}"
        raise BrokerUnreachableError(message) from error


@asynccontextmanager
async def _running(
    client: Any,  # noqa: ANN401 - aiokafka has no types
    connection: Connection,
    close: Callable[[], Awaitable[None]],
) -> AsyncIterator[None]:
    try:
        with _said_by_client() as said:
            try:
                async with asyncio.timeout(CONNECT_TIMEOUT_S):
                    await start_client(client)
            except (KafkaConnectionError, TimeoutError, OSError) as error:
                raise BrokerUnreachableError(_unreachable(connection, said)) from error
        yield
    finally:
        try:
            async with asyncio.timeout(_CLOSE_TIMEOUT_S):
                await close()
        except (TimeoutError, KafkaError, OSError):
            # Nothing is lost: what had to be confirmed was awaited before.
            pass


async def start_client(client: Any) -> None:  # noqa: ANN401 - aiokafka has no types
    """Start an aiokafka client; cancelled, let the start come to its end first, for half a second at most.

    Whoever closes the client then closes all of it: aiokafka forgets the connection over which it asks its first
    questions when it is cancelled over them, and an error in the log is all that comes of it later.
    """
    starting = asyncio.ensure_future(client.start())
    try:
        await asyncio.shield(starting)
    except asyncio.CancelledError:
        await asyncio.wait({starting}, timeout=_FINISH_S)
        starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        raise


@contextmanager
def _said_by_client() -> Iterator[list[str]]:
    """Gather what aiokafka logs: the reason of a failed connection, a wrong password say, is found nowhere else."""
    said: list[str] = []
    gather = logging.Handler(logging.WARNING)
    gather.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("aiokafka")
    logger.addHandler(gather)
    try:
        yield said
    finally:
        logger.removeHandler(gather)


def _unreachable(connection: Connection, said: list[str]) -> str:
    message = f"no Kafka broker reachable at {connection.bootstrap} ({connection.security_protocol})"
    # A connection that times out is logged with an empty reason.
    reason = said[-1].rstrip() if said else ""
    return f"{message}: {reason} no answer" if reason.endswith(":") else f"{message}: {reason or 'no answer'}"
