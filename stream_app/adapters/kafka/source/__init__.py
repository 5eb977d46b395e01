"""Reads the two input topics with Faust and hands raw batches on, task by task.

In: Kafka. Out: records to a `SourceHandler` (the port is `stream_app.runtime.ports.source`). Start with
`FaustSource(SourceSettings(...), handler)`.
"""

from stream_app.adapters.kafka.source.errors import (
    BatchLostError,
    PositionLostError,
    SourceError,
    TopicGoneError,
)
from stream_app.adapters.kafka.source.faust_source import FaustSource
from stream_app.adapters.kafka.source.settings import SourceSettings

__all__ = [
    "BatchLostError",
    "FaustSource",
    "PositionLostError",
    "SourceError",
    "SourceSettings",
    "TopicGoneError",
]
