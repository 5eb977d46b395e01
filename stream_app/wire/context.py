"""What the deployment adds to the core's outputs before they are published."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from stream_app.wire.checkpoints import state_key
from stream_app.wire.dead_letters import DEFAULT_LETTER_BYTES

if TYPE_CHECKING:
    from stream_app.core.types import Model
    from stream_app.wire.topics import Topics


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """What the deployment adds to the core's outputs, and the model and the settings that its tasks start with.

    ``letter_bytes``: a refused record goes whole to the dead letters up to so many bytes of key, value and headers. The
    topic must take that: a step that the brokers refuse would be tried again for ever. ``journal_bytes``: a keyframe
    goes into a journal record of at most so many bytes, for the same reason.
    """

    deployment: str
    partition: int
    topics: Topics
    model: Model
    settings_sha256: str
    provider: str
    letter_bytes: int = DEFAULT_LETTER_BYTES
    journal_bytes: int = DEFAULT_LETTER_BYTES

    @property
    def state_key(self) -> bytes:
        """Key of this task's journal and checkpoint records."""
        return state_key(self.deployment, self.partition)
