"""Settings that change results, and limits that do not. Both come in from outside; the core only reads them.

Semantic settings are part of every alert (as a hash): change one and the same recording may give other alerts.
Limits bound memory and work; whatever they are, the results are the same.
"""

from __future__ import annotations

import hashlib
from typing import Final, Literal, get_args

import msgspec

How = Literal["right", "inner", "left", "outer"]

#: Memory that one batch of records may take once it is unpacked, in bytes: twice what a task reads ahead of a topic
#: (`Limits.queue_bytes`), and room for 100,000 short texts in one batch.
BATCH_BYTES: Final = 64 * 1024 * 1024


class SettingsError(ValueError):
    """A setting has a value that the system cannot keep its promises with."""


class Semantic(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Settings that are part of the settings hash. All times in milliseconds.

    A pair is a frame and a text of one zone with ``frame - before_ms <= text <= frame + after_ms``.
    """

    before_ms: int = 2_000
    after_ms: int = 2_000
    grace_ms: int = 1_000
    how: How = "right"
    sample_ms: int = 1_000
    unmatched_every_ms: int = 10_000
    quiet_ms: int = 10_000
    update_every_ms: int = 2_000
    open_texts: int = 1
    open_within_ms: int = 10_000
    max_ahead_ms: int = 2_000
    rate_per_s: int = 50
    rate_burst: int = 1_000
    window_bytes: int = 256 * 1024 * 1024
    max_image_bytes: int = 4 * 1024 * 1024
    max_image_pixels: int = 33_177_600
    max_image_side: int = 8_192
    max_text_bytes: int = 64 * 1024

    @property
    def horizon_ms(self) -> int:
        """H: how far behind stream time a record may lie and still be held for partners."""
        return max(self.before_ms, 0) + max(self.after_ms, 0) + self.grace_ms

    @property
    def sha256(self) -> str:
        """The settings hash: SHA-256 over the canonical JSON of all semantic settings, hexadecimal."""
        return hashlib.sha256(msgspec.json.encode(self, order="sorted")).hexdigest()

    def check(self) -> Semantic:
        """Return the settings unchanged.

        Raises:
            SettingsError: if a value breaks a guarantee; the message names the setting, the expected and the found.
        """
        # Else an unknown word would mean `inner`, and a text that meets nobody would give no result.
        self._require(self.how in get_args(How), "how", f"one of {', '.join(get_args(How))}", self.how)
        self._require(
            self.before_ms + self.after_ms >= 0, "before_ms + after_ms", ">= 0", self.before_ms + self.after_ms
        )
        for name in _AT_LEAST_ZERO:
            self._require(getattr(self, name) >= 0, name, ">= 0", getattr(self, name))
        for name in _AT_LEAST_ONE:
            self._require(getattr(self, name) >= 1, name, ">= 1", getattr(self, name))
        # Else an incident could close while its opening text still gathers frames.
        needed = self.before_ms + self.after_ms + self.grace_ms
        self._require(
            self.quiet_ms >= needed, "quiet_ms", f">= before_ms + after_ms + grace_ms = {needed}", self.quiet_ms
        )
        return self

    @staticmethod
    def _require(holds: bool, name: str, expected: str, found: object) -> None:  # noqa: FBT001 - a private assertion
        if not holds:
            message = f"setting {name}: expected {expected}, found {found}"
            raise SettingsError(message)


_AT_LEAST_ZERO = ("grace_ms", "update_every_ms", "open_within_ms", "max_ahead_ms")
_AT_LEAST_ONE = (
    "sample_ms",
    "unmatched_every_ms",
    "quiet_ms",
    "open_texts",
    "rate_per_s",
    "rate_burst",
    "window_bytes",
    "max_image_bytes",
    "max_image_pixels",
    "max_image_side",
    "max_text_bytes",
)


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds on memory and work per task; they change when results come, never which.

    ``queue_bytes`` bounds each side's merge queue (a fuller queue presses back on its own partition only);
    ``in_flight`` bounds the observations that wait for their scores; ``outputs`` bounds what was decided and waits to
    be committed, ``dead_letter_bytes`` what of it are bytes of refused records: a step must fit into one transaction.
    At any bound admission stops until there is room.
    """

    queue_bytes: int = 32 * 1024 * 1024
    queue_records: int = 20_000
    in_flight: int = 128
    outputs: int = 10_000
    dead_letter_bytes: int = 16 * 1024 * 1024
