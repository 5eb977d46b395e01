"""What a source needs to be told, typed. It reads no file, no environment and no flags."""

import ssl
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import faust
from aiokafka import TopicPartition
from faust.types.auth import CredentialsT

from stream_app.core.types import Side

SaslMechanism = Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]
_DEFAULT_FETCH_BYTES: Final = 1_048_576


@dataclass(frozen=True, slots=True)
class KafkaCredentials:
    """How a client proves who it is. All None: plaintext.

    Attributes:
        username: for SASL, together with `password`; the password is kept out of `repr`.
        mechanism: of SASL.
        tls: where given, the connection is encrypted and the broker's certificate checked with it.
    """

    username: str | None = None
    password: str | None = field(default=None, repr=False)
    mechanism: SaslMechanism = "SCRAM-SHA-512"
    tls: ssl.SSLContext | None = None

    def client_options(self) -> dict[str, Any]:
        """Return the keyword arguments that every aiokafka client takes for these credentials."""
        has_user = self.username is not None
        protocol = ("SASL_" if has_user else "") + ("SSL" if self.tls is not None else "PLAINTEXT")
        options: dict[str, Any] = {"security_protocol": protocol, "ssl_context": self.tls}
        if has_user:
            options |= {
                "sasl_mechanism": self.mechanism,
                "sasl_plain_username": self.username,
                "sasl_plain_password": self.password,
            }
        return options

    def faust_credentials(self) -> CredentialsT | None:
        """Return the same credentials as Faust wants them."""
        if self.username is not None:
            return faust.SASLCredentials(
                username=self.username, password=self.password, ssl_context=self.tls, mechanism=self.mechanism
            )
        return faust.SSLCredentials(self.tls) if self.tls is not None else None


@dataclass(frozen=True, slots=True)
class SourceSettings:
    """One source: where, which group, which topics, and the bounds of its reading.

    Attributes:
        bootstrap: `host:port`, several separated by commas.
        group: the consumer group, and the id of the Faust app.
        fetch_bytes: at most so many bytes per partition in one fetch (a larger record still comes, alone).
        fetch_wait_ms: how long the broker may hold back the answer to a fetch while it has nothing new. It bounds how
            old `Progress.fetched_at` gets on an idle partition.
        session_ms: after so long without a heartbeat the group gives the tasks to others.
        heartbeat_ms: the interval of heartbeats; at most a third of `session_ms`.
        instance_id: static membership: a process that is back within `session_ms` gets the same tasks without a
            rebalance of the others. Must be unique in the group.
    """

    bootstrap: str
    group: str
    frames_topic: str
    texts_topic: str
    fetch_bytes: int = _DEFAULT_FETCH_BYTES
    fetch_wait_ms: int = 100
    session_ms: int = 10_000
    heartbeat_ms: int = 3_000
    instance_id: str | None = None
    credentials: KafkaCredentials = field(default_factory=KafkaCredentials)

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
