"""Reads the two input topics with Faust and hands raw batches on, task by task.

In: Kafka. Out: records to a `SourceHandler`. Start with `FaustSource(SourceSettings(...), handler)`.
"""

from stream_app.adapters.source.errors import (
    BatchLostError,
    NotOurPartitionError,
    PositionLostError,
    SourceError,
    TopicGoneError,
)
from stream_app.adapters.source.faust_source import FaustSource
from stream_app.adapters.source.port import Progress, Source, SourceHandler
from stream_app.adapters.source.settings import SourceSettings

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
