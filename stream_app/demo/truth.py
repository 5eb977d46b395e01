"""What was really published and really happened: the plain facts that a judge compares the outputs with.

No type of the core is used here, on purpose: who judges a program must not share its mistakes.
"""

from __future__ import annotations

from typing import Any

import msgspec


class PublishedRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A record as the broker confirmed it. Times in ms since the epoch; ``camera`` is empty for texts."""

    partition: int
    offset: int
    append_ms: int
    event_ms: int
    zone: str
    camera: str = ""


class PlantedIncident(msgspec.Struct, frozen=True, kw_only=True):
    """An incident that really happened, in event time (ms)."""

    zone: str
    label: str
    start_ms: int
    end_ms: int


class Published(msgspec.Struct, kw_only=True):
    """Everything that a player put on the input topics, and what is true of it.

    ``has_truth``: the incidents are known; ``kinds`` counts the reports: truthful, vague, wrong.
    """

    frames: list[PublishedRecord] = []
    texts: list[PublishedRecord] = []
    incidents: list[PlantedIncident] = []
    has_truth: bool = False
    kinds: dict[str, int] = {}


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """The settings that the judge needs: which pairs are due. All in ms."""

    before_ms: int
    after_ms: int
    grace_ms: int
    sample_ms: int


class Outputs(msgspec.Struct, kw_only=True):
    """What a read_committed consumer found on the output topics, as plain JSON objects, in topic order."""

    alerts: list[dict[str, Any]] = []
    decisions: list[dict[str, Any]] = []
    dead_letters: list[dict[str, str]] = []
    checkpoints: dict[int, dict[str, Any]] = {}
