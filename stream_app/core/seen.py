"""Duplicate records: the same CloudEvents source and id, remembered until stream time has passed first sight + H.

In: a record's identity. Out: whether it was seen. A duplicate changes nothing. A checkpoint says which offsets have an
identity that is remembered, and until when; the inputs tell the identity again. So that "until when" costs next to
nothing, it is rounded up to a sixteenth of H, and never runs back: remembered for at least H.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from stream_app.core.types import Ref, Side

if TYPE_CHECKING:
    from collections.abc import Iterable

Identity = tuple[Side, bytes]
#: From this offset on, until the next one's, an identity is remembered until this stream time.
Expiry = tuple[int, int]

#: Expiries are told in steps of H / this.
_STEPS = 16


class Seen:
    """The identities that one task remembers."""

    __slots__ = ("_dropped", "_entries", "_expires", "_expiries", "_floor", "_last_ms", "_old", "size")

    def __init__(self) -> None:
        self._expires: dict[Identity, int] = {}
        self._entries: tuple[deque[tuple[int, int, bytes]], ...] = (deque(), deque())
        self._expiries: tuple[deque[Expiry], ...] = (deque(), deque())
        self._last_ms: int | None = None
        #: How many are remembered, or have expired and are not yet forgotten.
        self.size = 0
        #: What the head has dropped at the bound, by the sequence number, for as long as the cut lies before it.
        self._dropped: tuple[deque[tuple[int, int, int]], ...] = (deque(), deque())
        #: By side, all identities at offsets from here on are remembered at the cut.
        self._floor = [0, 0]
        #: Identities of a checkpoint that does not say at which offsets they were.
        self._old: list[tuple[Side, bytes, int]] = []

    def is_duplicate(self, identity: Identity, stream_ms: int) -> bool:
        """Return whether the identity is remembered at this stream time."""
        return self._expires.get(identity, stream_ms - 1) >= stream_ms

    def add(self, ref: Ref, digest: bytes, stream_ms: int, horizon_ms: int) -> None:
        """Remember an identity, first seen at this stream time; see :meth:`bound`."""
        side, offset = ref
        last_ms = self._last_ms
        # Most are within the step that the last one was rounded up to.
        if last_ms is None or last_ms < stream_ms + horizon_ms:
            step = horizon_ms // _STEPS or 1
            last_ms = self._last_ms = -(-(stream_ms + horizon_ms) // step) * step
        expires_ms = last_ms
        self._enter(side, offset, digest, expires_ms)
        expiries = self._expiries[side]
        if not expiries or expiries[-1][1] != expires_ms:
            expiries.append((offset, expires_ms))

    def remembers(self, ref: Ref) -> bool:
        """Return whether the identity of this record, which was added once, is remembered at the cut."""
        return ref[1] >= self._floor[ref[0]]

    def bound(self, most: int, sequence: int, stream_ms: int) -> int:
        """Drop, from this sequence number on, what expires first until so many are left; return how many had not.

        What has expired is dropped first, so that it does not matter when :meth:`forget` was called.
        """
        dropped = 0
        while self.size > most:
            side = min((side for side in Side if self._entries[side]), key=lambda side: self._entries[side][0][1])
            offset, expires_ms, digest = self._entries[side].popleft()
            self.size -= 1
            if self._expires.get((side, digest)) == expires_ms:
                del self._expires[(side, digest)]
            self._dropped[side].append((sequence, expires_ms, offset))
            dropped += expires_ms >= stream_ms
        return dropped

    def forget(self, stream_ms: int, cut: int) -> list[Ref]:
        """Forget, and return, what had expired at the cut's stream time, or was dropped before it."""
        forgotten: list[Ref] = []
        for side, entries, dropped, expiries in zip(Side, self._entries, self._dropped, self._expiries, strict=True):
            while dropped and (dropped[0][0] <= cut or dropped[0][1] < stream_ms):
                forgotten.append((side, dropped.popleft()[2]))
            while entries and entries[0][1] < stream_ms:
                offset, expires_ms, digest = entries.popleft()
                self.size -= 1
                forgotten.append((side, offset))
                if self._expires.get((side, digest)) == expires_ms:
                    del self._expires[(side, digest)]
            if forgotten and forgotten[-1][0] is side:
                self._floor[side] = forgotten[-1][1] + 1
            while expiries and expiries[0][1] < stream_ms:
                expiries.popleft()
        return forgotten

    def expiries_at(self, side: Side, next_offset: int) -> list[Expiry]:
        """Return until when the identities of one side are remembered, of the offsets below the position."""
        return [expiry for expiry in self._expiries[side] if expiry[0] < next_offset]

    def old_at(self, stream_ms: int) -> list[tuple[Side, bytes, int]]:
        """Return those without an offset that were still remembered at this stream time; forget the others."""
        for side, digest, expires_ms in self._old:
            if expires_ms < stream_ms and self._expires.get((side, digest)) == expires_ms:
                del self._expires[(side, digest)]
        self._old = [one for one in self._old if one[2] >= stream_ms]
        return list(self._old)

    def restore(
        self,
        expiries: tuple[list[Expiry], list[Expiry]],
        old: Iterable[tuple[Side, bytes, int]],
        lowest: tuple[int, int],
    ) -> None:
        """Take up the state of a checkpoint, but for the identities: the inputs tell them, see :meth:`restore_one`.

        Args:
            expiries: by side.
            old: identities of a checkpoint that does not say at which offsets they were.
            lowest: by side, the lowest offset whose identity is remembered; the position where there is none. A record
                before it may be held for longer than its identity is remembered.
        """
        self._floor = list(lowest)
        for known, told in zip(self._expiries, expiries, strict=True):
            known.extend(told)
        self._last_ms = max((last[1] for one in expiries for last in one[-1:]), default=None)
        self._old = [(Side(side), digest, expires_ms) for side, digest, expires_ms in old]
        for side, digest, expires_ms in self._old:
            self._expires[(side, digest)] = max(expires_ms, self._expires.get((side, digest), expires_ms))

    def restore_one(self, ref: Ref, digest: bytes | None) -> None:
        """Take up the identity of a record of a checkpoint, each side's in order of offset.

        Raises:
            ValueError: if the record has none, or the checkpoint does not say until when it is remembered.
        """
        side, offset = ref
        expires_ms = next((expires for first, expires in reversed(self._expiries[side]) if first <= offset), None)
        if digest is None or expires_ms is None:
            message = f"expected an identity and until when it is remembered, found {digest!r} and {expires_ms}"
            raise ValueError(message)
        self._enter(side, offset, digest, expires_ms)

    def _enter(self, side: Side, offset: int, digest: bytes, expires_ms: int) -> None:
        self._expires[(side, digest)] = expires_ms
        self._entries[side].append((offset, expires_ms, digest))
        self.size += 1
