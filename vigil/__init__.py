"""What other programs may import from Vigil. Everything else (`stream_app`, the export) is private and may change.

`vigil.alerts("kafka-1:9092")` is an async iterator over the alerts of a deployment. It needs `pip install vigil-fusion`
and no extra: neither inference nor OpenCV nor Faust.
"""

from stream_app import __version__
from stream_app.adapters.kafka.clients import BrokerUnreachableError
from stream_app.adapters.kafka.to_the_end import TopicMissingError
from stream_app.wire.alerts import Alert, Notice
from stream_app.wire.references import EvidenceRef, ModelRef
from vigil._alerts import alerts

__all__ = [
    "Alert",
    "BrokerUnreachableError",
    "EvidenceRef",
    "ModelRef",
    "Notice",
    "TopicMissingError",
    "__version__",
    "alerts",
]
