"""A producer that says when the brokers no longer confirm, and when they do again. In and out: records to be sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from stream_app.adapters.kafka.answering import Confirmations


class _Confirming:
    """What feeding needs of a producer."""

    def __init__(self, client: Any, confirmations: Confirmations) -> None:  # noqa: ANN401 - aiokafka has no types
        self._client = client
        self._confirmations = confirmations

    @property
    def client(self) -> Any:  # noqa: ANN401 - likewise
        """The client that knows the cluster."""
        return self._client.client

    async def send(self, topic: str, value: bytes, **options: Any) -> asyncio.Future[Any]:  # noqa: ANN401 - likewise
        """Send a record; the future is done when it is confirmed."""
        # Before it is handed over: that waits too, where the brokers take nothing.
        self._confirmations.sent()
        try:
            future: asyncio.Future[Any] = await self._client.send(topic, value, **options)
        except BaseException:
            self._confirmations.done(is_confirmed=False)
            raise
        future.add_done_callback(self._done)
        return future

    def _done(self, future: asyncio.Future[Any]) -> None:
        self._confirmations.done(is_confirmed=not future.cancelled() and future.exception() is None)


@asynccontextmanager
async def confirming(client: Any, confirmations: Confirmations) -> AsyncIterator[Any]:  # noqa: ANN401 - likewise
    """Yield a producer that sends by another one, whose confirmations are watched as long as the block runs."""
    watching = asyncio.create_task(confirmations.watch())
    try:
        yield _Confirming(client, confirmations)
    finally:
        watching.cancel()
