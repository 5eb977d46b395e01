"""What a source needs to be told, typed. It reads no file, no environment and no flags."""

import msgspec
from aiokafka import TopicPartition

from stream_app.adapters.kafka.connection import Connection
from stream_app.core.types import Side


class SourceSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One source: where, which group, which topics, and the bounds of its reading.

    Attributes:
        connection: addresses and credentials.
        group: the consumer group.
        fetch_bytes: at most so many bytes per partition in one fetch (a larger record still comes, alone).
        fetch_wait_ms: how long the broker may hold back the answer to a fetch while it has nothing new. It bounds how
            old `Progress.fetched_at` gets on an idle partition.
        session_ms: after so long without a heartbeat the group gives the tasks to others.
        heartbeat_ms: the interval of heartbeats; at most a third of `session_ms`.
    """

    connection: Connection
    group: str
    frames_topic: str
    texts_topic: str
    fetch_bytes: int
    fetch_wait_ms: int = 100
    session_ms: int
    heartbeat_ms: int

    def topic_of(self, side: Side) -> str:
        """Return the name of a side's topic."""
        return self.texts_topic if side is Side.TEXT else self.frames_topic

    def topic_partition(self, side: Side, partition: int) -> TopicPartition:
        """Return where one side of one task is read from."""
        return TopicPartition(self.topic_of(side), partition)
