"""The publishing port: one step of a task becomes visible whole, or the task's epoch ends.

In: messages and the offsets to commit. Out: nothing, or :class:`EpochEndedError`. It knows no client library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from stream_app.wire.message import Message


class EpochEndedError(Exception):
    """The task's epoch is over; ``is_fenced`` says that another owner took over."""

    def __init__(self, reason: str, *, is_fenced: bool = False) -> None:
        super().__init__(reason)
        self.is_fenced = is_fenced


class Publisher(Protocol):
    """Publishes the steps of one task in one epoch."""

    async def start(self) -> None:
        """Take the task over, which fences its previous owner.

        Raises:
            EpochEndedError: if the brokers cannot be reached or refuse.
        """
        ...

    async def publish(self, messages: Iterable[Message], offsets: Mapping[tuple[str, int], int]) -> None:
        """Publish one step in one transaction.

        Args:
            messages: the records, in order.
            offsets: (topic, partition) to the next offset to be committed for the group.

        Raises:
            EpochEndedError: if the commit is not confirmed in time or fails in any way.
        """
        ...

    async def stop(self) -> None:
        """Let go of the connection; an open transaction is left to the next owner."""
        ...


class PublisherFactory(Protocol):
    """Makes the publisher of a task's next epoch; not yet started."""

    def __call__(self, partition: int) -> Publisher:
        """Make it."""
        ...
