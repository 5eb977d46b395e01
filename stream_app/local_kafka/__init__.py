"""A real Apache Kafka on this machine, for tests, the demo and play: started and stopped by the project itself.

In: the number of nodes. Out: bootstrap addresses on loopback. Needs the extra `kafka` (Java and the resolver of the
jars as Python packages), no system Java and no container. It knows nothing of Vigil's topics and records.
"""

from stream_app.local_kafka.cluster import LocalKafka
from stream_app.local_kafka.detached import (
    BrokerStatus,
    default_state_dir,
    detached_down,
    detached_status,
    detached_up,
)
from stream_app.local_kafka.errors import LocalKafkaError

__all__ = [
    "BrokerStatus",
    "LocalKafka",
    "LocalKafkaError",
    "default_state_dir",
    "detached_down",
    "detached_status",
    "detached_up",
]
