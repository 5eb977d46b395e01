"""Reads the two input topics with Faust and hands raw batches on, task by task.

In: Kafka. Out: records to a `SourceHandler`. Start with `FaustSource(SourceSettings(...), handler)`.
"""

from stream_app.adapters.kafka.source.errors import (
    BatchLostError,
    NotOurPartitionError,
    PositionLostError,
    SourceError,
    TopicGoneError,
)
from stream_app.adapters.kafka.source.faust_source import FaustSource
from stream_app.adapters.kafka.source.settings import SourceSettings
from stream_app.runtime.ports.source import Progress, Source, SourceHandler

__all__ = [
    "BatchLostError",
    "FaustSource",
    "NotOurPartitionError",
    "PositionLostError",
    "Progress",
    "Source",
    "SourceError",
    "SourceHandler",
    "SourceSettings",
    "TopicGoneError",
]
