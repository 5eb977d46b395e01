"""The Faust app, which does nothing but read: one "record" of its event path is all that a poll brought of a partition.

In: a group and its brokers. Out: an app without producer, tables, web server and folder, by Faust's public names only.
What concerns the client itself is said where it is made, in the driver.
"""

# Faust's schemas are untyped at this seam:
# ruff: noqa: ANN401, ARG002

from collections.abc import Iterator, Mapping
from typing import Any

import faust
from aiokafka import ConsumerRecord
from faust.app import BootStrategy
from faust.transport.utils import DefaultSchedulingStrategy
from faust.types import TP


class WholeBatches(DefaultSchedulingStrategy):
    """Hands each partition's records of a poll on as one."""

    def iterate(self, records: Mapping[TP, list[Any]]) -> Iterator[tuple[TP, Any]]:
        """Yield each partition once, with a record that carries all of its records.

        All have the same offset: Faust drops what lies before the newest that it saw, and a seek backwards is none of
        its business.
        """
        for tp, batch in records.items():
            yield tp, ConsumerRecord(*tp, 0, batch[0].timestamp, 1, None, batch, None, -1, -1, ())


class Undecoded(faust.Schema[Any, Any]):
    """Leaves the batch alone: Faust's raw codec would take it for bytes."""

    def loads_key(self, app: Any, message: Any, **_options: Any) -> Any:
        """Return no key: a batch has none."""
        return None

    def loads_value(self, app: Any, message: Any, **_options: Any) -> Any:
        """Return the batch as it is."""
        return message.value


class _OnlyConsumer(BootStrategy):
    """Starts no producer: it would be a connection that nobody uses."""

    enable_kafka_producer = False


class ReadingApp(faust.App):
    """Reads, and leaves everything else alone."""

    BootStrategy = _OnlyConsumer

    def __init__(self, group: str, bootstrap: str) -> None:
        """Describe an app; nothing is connected yet."""
        super().__init__(
            group,
            env={},  # Faust lets the environment overrule these arguments otherwise
            broker=[f"kafka://{address.strip()}" for address in bootstrap.split(",")],
            ConsumerScheduler=WholeBatches,
            processing_guarantee="at_least_once",
            stream_buffer_maxsize=64,
            stream_wait_empty=False,
            topic_allow_declare=False,
            topic_disable_leader=True,
            web_enabled=False,
            autodiscover=False,
        )

    async def on_first_start(self) -> None:
        """Make no folder for tables, in the current directory or elsewhere: there are none."""
