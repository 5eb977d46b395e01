"""The books: every published frame and text ends in exactly one line, and the lines add up.

In: what was published, and the totals that each task's last checkpoint carries (they are committed with the results,
so neither a crash nor a take-over counts anything twice). Out: lines, and whether they balance.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from stream_app.demo.truth import Outputs, Published

_FRAME_LINES = (
    ("in a scored pair", "frames.scored"),
    ("scored alone", "frames.alone"),
    ("thinned", "frames.thinned"),
    ("met no text", "frames.unmet"),
    ("dead letters", "frames.dead"),
    ("duplicates", "frames.duplicate"),
)
_TEXT_LINES = (
    ("paired", "texts.paired"),
    ("scored alone", "texts.alone"),
    ("dead letters", "texts.dead"),
    ("duplicates", "texts.duplicate"),
)


class Account(msgspec.Struct, frozen=True):
    """One kind of record: how many were published, and in which lines they ended."""

    kind: str
    published: int
    lines: tuple[tuple[str, int], ...]

    @property
    def is_balanced(self) -> bool:
        """The lines add up to what was published."""
        return self.published == sum(number for _, number in self.lines)

    def __str__(self) -> str:
        terms = " + ".join(f"{number} {name}" for name, number in self.lines)
        return f"{self.published} {self.kind} published {'=' if self.is_balanced else '≠'} {terms}"


class Books(msgspec.Struct, frozen=True):
    """Both accounts, the pairs, and the images that had to be decoded: the distinct frames of scored pairs."""

    frames: Account
    texts: Account
    pairs_joined: int
    pairs_scored: int
    distinct_frames_scored: int

    @property
    def is_balanced(self) -> bool:
        """Both accounts balance, and the frames of scored pairs are those that the decisions name."""
        counted = dict(self.frames.lines)
        return self.frames.is_balanced and self.texts.is_balanced and self._scored_frames(counted) >= 0

    def _scored_frames(self, counted: dict[str, int]) -> int:
        dead = counted["dead letters"]
        difference = self.distinct_frames_scored - counted["in a scored pair"] - counted["scored alone"]
        # A frame that could not be decoded is named by its decision and counted among the dead letters.
        return 0 if 0 <= difference <= dead else -1


def balance(published: Published, outputs: Outputs) -> Books:
    """Draw up the books from the last checkpoints."""
    totals: Counter[str] = Counter()
    for checkpoint in outputs.checkpoints.values():
        counted: Any = checkpoint["totals"]
        totals.update(counted)
    scored = {
        (evidence["partition"], evidence["offset"])
        for decision in outputs.decisions
        for evidence in _evidence(decision)
        if evidence["kind"] == "frame"
    }
    joined = totals["pairs.joined"]
    return Books(
        frames=Account("frames", len(published.frames), _lines(_FRAME_LINES, totals)),
        texts=Account("texts", len(published.texts), _lines(_TEXT_LINES, totals)),
        pairs_joined=joined,
        pairs_scored=joined - totals["pairs.thinned"],
        distinct_frames_scored=len(scored),
    )


def _evidence(decision: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = decision["evidence"]
    return found


def _lines(names: tuple[tuple[str, str], ...], totals: Counter[str]) -> tuple[tuple[str, int], ...]:
    return tuple((word, totals[name]) for word, name in names)
