"""What may look on while a recording is verified: it sees each recorded score where it enters the core.

Only a type. It changes nothing of what is verified.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from stream_app.core.types import Model, Observation, Ref, Scored
    from stream_app.wire.step import Payloads


class Onlooker(Protocol):
    """Looks on while recorded scores are given to the core."""

    def answered(
        self, partition: int, observation: Observation, scored: Scored, model: Model, payloads: Payloads
    ) -> None:
        """See what was recorded for an observation; the bytes of its records are among the payloads."""
        ...

    def released(self, partition: int, ref: Ref) -> None:
        """Hear that no later observation is of this record, unless it is read again."""
        ...
