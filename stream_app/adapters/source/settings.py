"""What a source needs to be told, typed. It reads no file, no environment and no flags."""

from typing import Final

import faust
import msgspec
from aiokafka import TopicPartition
from faust.types.auth import CredentialsT

from stream_app.adapters.connection import Connection
from stream_app.core.types import Side

_DEFAULT_FETCH_BYTES: Final = 2_097_152


class SourceSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One source: where, which group, which topics, and the bounds of its reading.

    Attributes:
        connection: addresses and credentials.
        group: the consumer group, and the id of the Faust app.
        fetch_bytes: at most so many bytes per partition in one fetch (a larger record still comes, alone).
        fetch_wait_ms: how long the broker may hold back the answer to a fetch while it has nothing new. It bounds how
            old `Progress.fetched_at` gets on an idle partition.
        session_ms: after so long without a heartbeat the group gives the tasks to others.
        heartbeat_ms: the interval of heartbeats; at most a third of `session_ms`.
        instance_id: static membership: a process that is back within `session_ms` gets the same tasks without a
            rebalance of the others. Must be unique in the group.
    """

    connection: Connection
    group: str
    frames_topic: str
    texts_topic: str
    fetch_bytes: int = _DEFAULT_FETCH_BYTES
    fetch_wait_ms: int = 100
    session_ms: int = 10_000
    heartbeat_ms: int = 3_000
    instance_id: str | None = None

    def __post_init__(self) -> None:
        """Refuse what cannot work, with the expected and the found value.

        Raises:
            ValueError: the two topics are one, or the heartbeat is too slow for the session.
        """
        if self.frames_topic == self.texts_topic:
            message = f"frames and texts need topics of their own: found {self.frames_topic!r} for both"
            raise ValueError(message)
        if not 0 < self.heartbeat_ms * 3 <= self.session_ms:
            message = (
                f"heartbeat_ms must be at most a third of session_ms: expected 1 to {self.session_ms // 3}, "
                f"found {self.heartbeat_ms}"
            )
            raise ValueError(message)

    def topic_of(self, side: Side) -> str:
        """Return the name of a side's topic."""
        return self.texts_topic if side is Side.TEXT else self.frames_topic

    def topic_partition(self, side: Side, partition: int) -> TopicPartition:
        """Return where one side of one task is read from."""
        return TopicPartition(self.topic_of(side), partition)

    def faust_brokers(self) -> str:
        """Return the addresses as Faust wants them."""
        return ";".join(f"kafka://{address.strip()}" for address in self.connection.bootstrap.split(","))

    def faust_credentials(self) -> CredentialsT | None:
        """Return the credentials as Faust wants them, None for plaintext."""
        arguments = self.connection.client_arguments()
        tls = arguments.get("ssl_context")
        if "sasl_mechanism" in arguments:
            return faust.SASLCredentials(
                username=arguments["sasl_plain_username"],
                password=arguments["sasl_plain_password"],
                mechanism=arguments["sasl_mechanism"],
                ssl_context=tls,
            )
        return None if tls is None else faust.SSLCredentials(tls)
