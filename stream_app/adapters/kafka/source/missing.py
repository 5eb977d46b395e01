"""Whether the input topics are still there: the group's answer to a deleted topic is an assignment without it.

In: looks at the client's metadata, in the consumer thread. Out: new metadata asked for, and an error when a topic stays
away. It knows nothing of tasks: those find out at their checkpoints that a topic was made again.
"""

# The client keeps what it knows of topics to itself:
# ruff: noqa: SLF001

import time
from typing import Final

from aiokafka import AIOKafkaConsumer

from stream_app.adapters.kafka.source.errors import TopicGoneError

#: A topic that is deleted to be made again comes back within this time.
_GONE_AFTER_S: Final = 5.0


class MissingTopics:
    """Notices that a subscribed topic is not there. Expects that it was there when the worker started."""

    def __init__(self) -> None:
        #: Monotonic seconds of the first look that found one missing, and the age of the metadata then.
        self._since: tuple[float, float] | None = None

    def look(self, consumer: AIOKafkaConsumer) -> None:
        """Look at the client's metadata; ask for new ones at each look while a topic is missing.

        Raises:
            TopicGoneError: the broker has said again after some seconds that it does not know the topic.
        """
        cluster = consumer._client.cluster
        missing = sorted(set(consumer.subscription()) - set(cluster.topics()))
        if not missing:
            self._since = None
            return
        now, refreshed = time.monotonic(), cluster._last_successful_refresh_ms
        self._since = self._since or (now, refreshed)
        # Without new metadata since then it is the broker that is away, not the topic.
        if now - self._since[0] >= _GONE_AFTER_S and refreshed != self._since[1]:
            message = (
                f"the input topic {', '.join(missing)} was deleted while it was read: expected it for as long as the "
                "deployment runs. This process ends; make the topic again and then see `vigil task reset`"
            )
            raise TopicGoneError(message)
        # The client would ask again in minutes only, and nobody would read the topic that was made again.
        consumer._client.force_metadata_update()
