"""From settings to a Kafka connection and the names of topics; light enough for every command to import."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

from stream_app.adapters.kafka.connection import Connection
from stream_app.adapters.kafka.publisher import PublisherSettings
from stream_app.adapters.kafka.recovery import RecoverySettings
from stream_app.wire.topics import Topics

if TYPE_CHECKING:
    from stream_app.config import Operational


def worker_name(operational: Operational) -> str:
    """Return the name of this process in logs, on health pages and to the brokers: the setting, else host and pid."""
    return operational.worker_name or f"{socket.gethostname()}-{os.getpid()}"


def connection_to(operational: Operational) -> Connection:
    """Return the Kafka connection that the settings describe."""
    return Connection(
        bootstrap=operational.bootstrap,
        client_id=worker_name(operational),
        security_protocol=operational.security_protocol,
        sasl_mechanism=operational.sasl_mechanism,
        sasl_username=operational.sasl_username or None,
        sasl_password=operational.sasl_password or None,
        ssl_cafile=operational.ssl_cafile or None,
        batch_bytes=operational.batch_bytes,
    )


def topics_of(operational: Operational) -> Topics:
    """Return the names of the seven topics."""
    return Topics(
        frames=operational.frames_topic,
        texts=operational.texts_topic,
        alerts=operational.alerts_topic,
        decisions=operational.decisions_topic,
        journal=operational.journal_topic,
        state=operational.state_topic,
        dead_letters=operational.dead_letters_topic,
    )


def publisher_settings(operational: Operational) -> PublisherSettings:
    """Return what the tasks' producers are told."""
    return PublisherSettings(
        group=operational.group_id,
        transaction_timeout_ms=operational.transaction_timeout_ms,
        commit_timeout_ms=operational.commit_timeout_ms,
    )


def recovery_settings(operational: Operational) -> RecoverySettings:
    """Return what the search for a task's starting point is told."""
    return RecoverySettings(
        deployment=operational.deployment, group=operational.group_id, start_from=operational.start_from
    )
