"""A text's running outcome: the mean of its results so far, per label. Several frames judge better than one.

All sums are integers (micro-logits). All results of a text whose image side is masked are one and the same judgement
of the text alone: they count as one, and only while the text has no unmasked result.
"""

from __future__ import annotations

import msgspec

from stream_app.core.score import mean
from stream_app.core.types import Contribution, Evidence, Scored

#: Incidents that a subject is remembered to support, the newest: two or three a label is what comes.
MAX_SUPPORTS = 32
#: An alert names at most this many records; it counts the rest.
MAX_EVIDENCE = 32


class Outcome(msgspec.Struct, array_like=True):
    """Mutable state of one subject (a text, or a frame that is judged alone).

    ``totals`` sums the unmasked results per label, ``count`` of them; ``both_*`` sum those with both sides present.
    ``supports`` are the ids of the incidents that the subject supports.
    """

    is_late: bool = False
    count: int = 0
    totals: list[int] = []
    both_count: int = 0
    both_without_image: list[int] = []
    both_without_text: list[int] = []
    masked: tuple[int, ...] | None = None
    frames: list[Evidence] = []
    supports: list[str] = []
    has_text: bool = False
    is_masked: bool = False

    def add(self, full: tuple[int, ...], scored: Scored, *, is_image_masked: bool) -> None:
        """Take one result in."""
        if is_image_masked:
            self.masked = full
            return
        self.totals = _add(self.totals, full)
        self.count += 1
        if scored.without_image is not None and scored.without_text is not None:
            self.both_without_image = _add(self.both_without_image, scored.without_image)
            self.both_without_text = _add(self.both_without_text, scored.without_text)
            self.both_count += 1

    def show(self, frame: Evidence) -> None:
        """Note a frame that was scored with this subject; of many, the newest are kept."""
        self.frames = [*self.frames[-(MAX_EVIDENCE - 1) :], frame]

    def supports_also(self, incident: str) -> None:
        """Note an incident that this subject supports; of many, the newest are kept."""
        self.supports = [*self.supports[-(MAX_SUPPORTS - 1) :], incident]

    def score(self, label: int) -> int | None:
        """Return the mean micro-logit of a label by index, or None while nothing was scored."""
        if self.count:
            return mean(self.totals[label], self.count)
        return self.masked[label] if self.masked is not None else None

    def contribution(self, label: int) -> Contribution | None:
        """Return what leaving a side out would have meant, where every result had both sides."""
        if not self.count or self.both_count != self.count:
            return None
        return Contribution(
            mean(self.totals[label], self.count),
            mean(self.both_without_image[label], self.count),
            mean(self.both_without_text[label], self.count),
        )


def _add(totals: list[int], logits: tuple[int, ...]) -> list[int]:
    return [total + logit for total, logit in zip(totals, logits, strict=True)] if totals else list(logits)
