"""What the core asks of its shell: score these, release these bytes, commit this step."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from stream_app.core.journal import JournalEntry
from stream_app.core.types import Alert, DeadLetter, Decision, Notice, Observation, Ref

if TYPE_CHECKING:
    from stream_app.core.cut import Entry


class Effects(msgspec.Struct, frozen=True):
    """What one call of :meth:`Task.pump` asks for.

    ``score``: observations to be scored, in order, to be answered one by one in any order. ``release``: records whose
    bytes and features nobody needs any more; naming one twice is harmless. ``has_more``: admission stopped at the
    caller's bound, not for want of records.
    """

    score: tuple[Observation, ...]
    release: tuple[Ref, ...]
    has_more: bool


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One transaction: everything decided since the last one, the state that goes with it, and the input offsets.

    ``checkpoint`` is encoded already, for the state it describes moves on. ``commit_text`` and ``commit_frame`` are
    the offsets to be committed for the group: the lowest that the window holds or that lies beyond the cut.
    ``next_text`` and ``next_frame`` are the positions at the cut, which is ``sequence``. ``inputs`` is the digest of
    all records that took their place since the cut before, in order of sequence number.
    """

    sequence: int
    stream_ms: int
    next_text: int
    next_frame: int
    inputs: str
    alerts: tuple[Alert, ...]
    notices: tuple[Notice, ...]
    decisions: tuple[Decision, ...]
    dead_letters: tuple[DeadLetter, ...]
    journal: tuple[JournalEntry, ...]
    checkpoint: bytes
    commit_text: int
    commit_frame: int


class Outputs:
    """What was decided and not yet put into a step."""

    __slots__ = ("alerts", "dead_letters", "decisions", "digests", "journal", "notices")

    def __init__(self) -> None:
        self.alerts: list[Alert] = []
        self.notices: list[Notice] = []
        self.decisions: list[Decision] = []
        self.dead_letters: list[DeadLetter] = []
        self.journal: list[JournalEntry] = []
        #: Digests of the records behind all this, one behind the other.
        self.digests = bytearray()

    def take(self, entry: Entry) -> None:
        """Add what an entry puts out beside its judgement."""
        self.digests += entry.digest
        if entry.dead_letters:
            self.dead_letters.extend(entry.dead_letters)
        if entry.notices:
            self.notices.extend(entry.notices)
        if entry.journal:
            self.journal.extend(entry.journal)

    def __len__(self) -> int:
        return len(self.alerts) + len(self.notices) + len(self.decisions) + len(self.dead_letters) + len(self.journal)
