"""Whether the input topics are still there: the group's answer to a deleted topic is an assignment without it.

In: the consumer, in its own thread. Out: new metadata asked for, and an error when a topic stays away. It knows nothing
of tasks: those find out at their checkpoints that a topic was recreated.
"""

import asyncio
import time
from typing import Final

from aiokafka import AIOKafkaConsumer

from stream_app.adapters.kafka.source.errors import TopicGoneError

#: A topic that is deleted to be recreated comes back within this time.
_GONE_AFTER_S: Final = 5.0
#: For the brokers to answer; without an answer it is they that are away, not the topic.
_ANSWER_S: Final = 1.0


class MissingTopics:
    """Notices that a subscribed topic is not there. Expects that it was there when the worker started."""

    def __init__(self) -> None:
        #: Monotonic seconds of the first look that found one missing.
        self._since: float | None = None

    async def look(self, consumer: AIOKafkaConsumer) -> None:
        """Look at the client's metadata; ask for new ones at each look while a topic is missing.

        Raises:
            TopicGoneError: the broker has said again after some seconds that it does not know the topic.
        """
        if not _missing(consumer):
            self._since = None
            return
        self._since = self._since or time.monotonic()
        is_late = time.monotonic() - self._since >= _GONE_AFTER_S
        # The client would ask again in minutes only, and nobody would read the topic that was recreated.
        asked = consumer._client.force_metadata_update()  # noqa: SLF001 - it has no public twin
        answered, _ = await asyncio.wait({asked}, timeout=_ANSWER_S)
        missing = _missing(consumer)
        if is_late and missing and answered and asked.result():
            message = (
                f"the input topic {', '.join(missing)} was deleted while it was read: expected it for as long as the "
                "deployment runs. This process ends; recreate the topic and then see `vigil task reset`"
            )
            raise TopicGoneError(message)


def _missing(consumer: AIOKafkaConsumer) -> list[str]:
    return sorted(topic for topic in consumer.subscription() if consumer.partitions_for_topic(topic) is None)
