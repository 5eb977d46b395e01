"""The way in: records are admitted by the settings in force and wait in the merge; what comes again brings its bytes.

In: raw records of each side, in offset order, or in the order that a replay gives. Out: admitted and refused records,
to the merge or one by one. A record below the position was judged before (a restart, a seek): its bytes are kept where
the window or a pin needs them, and released otherwise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream_app.core.admit import admit
from stream_app.core.types import RawRecord, Side

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from stream_app.core.front import Front
    from stream_app.core.merge import Intake, Merge
    from stream_app.core.pins import Pins


class Inlet:
    """The next offsets of one task, before the merge."""

    __slots__ = ("_expected", "_front", "_merge", "_pins")

    def __init__(self, front: Front, merge: Merge, pins: Pins) -> None:
        """Begin where the admitting half begins."""
        self._front = front
        self._merge = merge
        self._pins = pins
        self._expected = [front.next_of(side) for side in Side]

    def receive(self, side: Side, raws: Iterable[RawRecord]) -> None:
        """Hand new records on to the merge.

        Raises:
            LostError: if one that the checkpoint needs should have come before.
        """
        expected = self._expected[side]
        settings = self._front.head.in_force.settings
        fresh: list[tuple[Intake, RawRecord]] = []
        for raw in raws:
            if raw.offset < expected:
                self._meet_again(side, raw)
                continue
            self._require_restored(side, raw.offset)
            expected = raw.offset + 1
            fresh.append((admit(side, raw, settings), raw))
        self._expected[side] = expected
        self._merge.offer(side, fresh)

    def in_order(self, side: Side, raws: Iterable[RawRecord]) -> Iterator[tuple[Intake, RawRecord]]:
        """Yield new records past the merge, each with what it was admitted from.

        Raises:
            LostError: if one that the checkpoint needs should have come before.
            ValueError: if the merge still holds records, whose place would be lost.
        """
        if self._merge.queued(Side.TEXT) or self._merge.queued(Side.FRAME):
            message = "expected nothing in the merge before records are taken in a given order, found records waiting"
            raise ValueError(message)
        for raw in raws:
            if raw.offset < self._expected[side]:
                self._meet_again(side, raw)
                continue
            self._require_restored(side, raw.offset)
            if self._front.restoring is not None:
                message = f"{side.kind} {raw.offset}: expected all that the checkpoint needs before, found some missing"
                raise ValueError(message)
            self._expected[side] = raw.offset + 1
            yield admit(side, raw, self._front.head.in_force.settings), raw

    def admit_again(self) -> None:
        """Admit what waits in the merge by the settings that came into force since."""
        settings = self._front.head.in_force.settings
        self._merge.admit_again(lambda side, raw: admit(side, raw, settings))

    def _meet_again(self, side: Side, raw: RawRecord) -> None:
        # One that is queued is needed, and was read.
        if raw.offset >= self._front.next_of(side):
            return
        self._front.restore(side, raw)
        self._pins.let_go((side, raw.offset))

    def _require_restored(self, side: Side, offset: int) -> None:
        """Refuse to go past the position while a record below it is awaited: each side comes in order."""
        restoring = self._front.restoring
        if restoring is not None:
            restoring.meet(side, offset)
