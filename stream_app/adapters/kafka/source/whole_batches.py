"""One "record" of Faust's event path is all that a poll brought of one partition. Faust's public settings only.

In: the records of a poll by partition. Out: one message per partition, whose value is the batch as it is.
"""

# Faust's schemas are untyped at this seam:
# ruff: noqa: ANN401, ARG002

from collections.abc import Iterator, Mapping
from typing import Any

import faust
from aiokafka import ConsumerRecord
from faust.transport.utils import DefaultSchedulingStrategy
from faust.types import TP


class WholeBatches(DefaultSchedulingStrategy):
    """Hands each partition's records of a poll on as one."""

    def iterate(self, records: Mapping[TP, list[Any]]) -> Iterator[tuple[TP, Any]]:
        """Yield each partition once, with a record that stands where its first one does and carries all of them."""
        for tp, batch in records.items():
            first = batch[0]
            yield tp, ConsumerRecord(*tp, first.offset, first.timestamp, 1, None, batch, None, -1, -1, ())


class Undecoded(faust.Schema[Any, Any]):
    """Leaves the batch alone: Faust's raw codec would take it for bytes."""

    def loads_key(self, app: Any, message: Any, **_options: Any) -> Any:
        """Return no key: a batch has none."""
        return None

    def loads_value(self, app: Any, message: Any, **_options: Any) -> Any:
        """Return the batch as it is."""
        return message.value
