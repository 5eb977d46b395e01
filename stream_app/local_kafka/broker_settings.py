"""The settings of a local Kafka node: small, fast to start, loopback only. Not for production.

In: numbers and ports of all nodes. Out: one node's `server.properties` as a mapping.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from stream_app.local_kafka.ports import LOOPBACK

# A frame is at most this large on the wire; aiokafka's `max_request_size` has to follow.
MAX_MESSAGE_BYTES = 8_388_608


@dataclass(frozen=True, slots=True)
class NodePorts:
    """The two listeners of a node: for clients and brokers, and for the KRaft controllers."""

    client: int
    controller: int


def node_settings(
    number: int, *, ports: Mapping[int, NodePorts], overrides: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the settings of node `number`, broker and KRaft controller in one process.

    Args:
        number: `node.id` of this node.
        ports: the ports of every node of the cluster, by `node.id`.
        overrides: settings that go before ours.
    """
    replicas = min(3, len(ports))
    # With three nodes one may be down: writes need two. With one node there is nothing to wait for.
    in_sync = 2 if replicas > 1 else 1
    own = ports[number]
    voters = ",".join(f"{node}@{LOOPBACK}:{each.controller}" for node, each in ports.items())
    settings = {
        "process.roles": "broker,controller",
        "node.id": str(number),
        "controller.quorum.voters": voters,
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://{LOOPBACK}:{own.client},CONTROLLER://{LOOPBACK}:{own.controller}",
        "inter.broker.listener.name": "PLAINTEXT",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        # A misspelt topic has to fail, not to appear with one partition and wrong settings.
        "auto.create.topics.enable": "false",
        "default.replication.factor": str(replicas),
        "min.insync.replicas": str(in_sync),
        "group.initial.rebalance.delay.ms": "0",
        # A killed broker comes back only after its old registration has expired: 5 s instead of 15 s.
        "broker.session.timeout.ms": "2000" if replicas == 1 else "3000",
        "broker.heartbeat.interval.ms": "500",
        "message.max.bytes": str(MAX_MESSAGE_BYTES),
        "replica.fetch.max.bytes": str(MAX_MESSAGE_BYTES),
        "log.cleaner.dedupe.buffer.size": "2097152",
        "num.network.threads": "2",
        "num.io.threads": "4",
    }
    settings |= _internal_topics(replicas, in_sync=in_sync)
    return settings | dict(overrides or {})


def _internal_topics(replicas: int, *, in_sync: int) -> dict[str, str]:
    """One partition each: a group or transaction finds its coordinator without 50 partitions being made first."""
    return {
        "offsets.topic.num.partitions": "1",
        "offsets.topic.replication.factor": str(replicas),
        "transaction.state.log.num.partitions": "1",
        "transaction.state.log.replication.factor": str(replicas),
        "transaction.state.log.min.isr": str(in_sync),
        "share.coordinator.state.topic.num.partitions": "1",
        "share.coordinator.state.topic.replication.factor": str(replicas),
        "share.coordinator.state.topic.min.isr": str(in_sync),
    }
