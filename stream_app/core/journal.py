"""What the journal says: all that a replay cannot tell from the input topics, in the order in which the task took it.

Every entry names its place among the frames, so frames need no entries of their own. Whether a text was admitted,
refused or a duplicate follows from the inputs; its place does not, and two places may give two results.
"""

from __future__ import annotations

import msgspec

from stream_app.core.settings import Semantic
from stream_app.core.types import Model


class JournalText(msgspec.Struct, frozen=True, tag="text", array_like=True, gc=False):
    """An admitted text's place in the merge order: all frames below ``next_frame`` came before it."""

    offset: int
    next_frame: int


class JournalSkipped(msgspec.Struct, frozen=True, tag="skipped", array_like=True, gc=False):
    """The place of a text that was not admitted: it was refused, a duplicate, or over the rate."""

    offset: int
    next_frame: int


class JournalTick(msgspec.Struct, frozen=True, tag="tick", array_like=True, gc=False):
    """Stream time was advanced to ``to_ms`` while both sides were idle at these positions."""

    to_ms: int
    next_text: int
    next_frame: int


class JournalThinning(msgspec.Struct, frozen=True, tag="thinning", array_like=True, gc=False):
    """Texts admitted from here on are sampled at ``sample_ms << level``."""

    level: int
    next_text: int
    next_frame: int


class JournalSwitch(msgspec.Struct, frozen=True, tag="switch", array_like=True, gc=False):
    """From here on this model and these settings are in force: their hashes, then both in full.

    In full because the checkpoints that hold them too are on a compacted topic. Older versions wrote the hashes alone.
    """

    model: str
    settings: str
    next_text: int
    next_frame: int
    full_model: Model | None = None
    full_settings: Semantic | None = None


class JournalReset(msgspec.Struct, frozen=True, tag="reset", array_like=True, gc=False):
    """An operator dropped the task's state; it starts over at these positions. No task writes this itself."""

    next_text: int
    next_frame: int


JournalEntry = JournalText | JournalSkipped | JournalTick | JournalThinning | JournalSwitch | JournalReset
