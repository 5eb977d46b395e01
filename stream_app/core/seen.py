"""Duplicate records: the same CloudEvents source and id, remembered until stream time passes first sight + H.

In: a record's identity. Out: whether it was seen. A duplicate changes nothing. The memory is part of the checkpoint.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from stream_app.core.types import Side

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Identity = tuple[Side, bytes]


class Seen:
    """The identities that one task remembers."""

    __slots__ = ("_entries", "_expires")

    def __init__(self) -> None:
        self._expires: dict[Identity, int] = {}
        self._entries: deque[tuple[int, int, Identity]] = deque()

    def is_duplicate(self, identity: Identity, stream_ms: int) -> bool:
        """Return whether the identity is remembered at this stream time."""
        return self._expires.get(identity, stream_ms - 1) >= stream_ms

    def add(self, identity: Identity, sequence: int, expires_ms: int) -> None:
        """Remember an identity until stream time passes ``expires_ms``."""
        self._expires[identity] = expires_ms
        self._entries.append((sequence, expires_ms, identity))

    def remembered_at(self, cut: int, stream_ms: int) -> Iterator[tuple[Identity, int]]:
        """Yield what was remembered at ``cut``, when stream time was ``stream_ms``, by and with each expiry."""
        # They lie here in order of admission, which is that of expiry unless a switch has shortened H.
        for sequence, expires_ms, identity in sorted(self._entries, key=_by_expiry):
            if sequence <= cut and expires_ms >= stream_ms:
                yield identity, expires_ms

    def forget(self, stream_ms: int) -> None:
        """Drop what had expired at the cut's stream time."""
        while self._entries and self._entries[0][1] < stream_ms:
            _, expires_ms, identity = self._entries.popleft()
            if self._expires.get(identity) == expires_ms:
                del self._expires[identity]

    def restore(self, remembered: Iterable[tuple[Identity, int]]) -> None:
        """Take up the state of a checkpoint."""
        for identity, expires_ms in sorted(remembered, key=lambda entry: entry[1]):
            self.add(identity, 0, expires_ms)


def _by_expiry(entry: tuple[int, int, Identity]) -> int:
    return entry[1]
