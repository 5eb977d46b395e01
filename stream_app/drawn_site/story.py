"""Site, vocabulary: what can happen on the drawn site. In: nothing. Out: labels, acts, places in time.

It must not know how anything is drawn or worded.
"""

from __future__ import annotations

from dataclasses import dataclass

LABELS: tuple[str, ...] = ("fight", "fire", "intrusion", "left_bag", "vehicle")
"""The five kinds of event, in the order of every label vector."""

LOOKALIKES: dict[str, str] = {
    "greeting": "fight",
    "lamp": "fire",
    "steam": "fire",
    "staff": "intrusion",
    "owner": "left_bag",
    "parked": "vehicle",
}
"""Ordinary life that resembles an event: its name -> the label for which it may be taken."""

QUIET = "quiet"
"""The meaning of a text, and the state of a zone, in which nothing worth a word goes on."""

VAGUE = "vague"
"""The meaning of a text that asks for a look but names nothing."""


@dataclass(frozen=True, slots=True)
class Act:
    """Something that goes on at a place of the yard for a while.

    Attributes:
        name: One of `LABELS` or of `LOOKALIKES`.
        start_ms: First moment at which it is visible, ms since the start of the schedule.
        end_ms: First moment at which it is over, ms.
        x_m: Metres to the right of the middle of the yard.
        z_m: Metres of ground between the wall of the camera and the act.
        seed: Decides clothes, colours, variants and the phase of every movement.
    """

    name: str
    start_ms: int
    end_ms: int
    x_m: float
    z_m: float
    seed: int

    @property
    def label(self) -> str | None:
        """The label that this act makes true; None for a look-alike."""
        return self.name if self.name in LABELS else None


def label_vector(acts: tuple[Act, ...]) -> tuple[int, ...]:
    """Return 0 or 1 per label of `LABELS`: is one of these acts that event?"""
    names = {act.name for act in acts}
    return tuple(int(label in names) for label in LABELS)
