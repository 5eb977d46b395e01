"""Site, schedule: plants events, look-alikes and reports in time. In: a seed and a duration. Out: the truth.

Each zone's time is cut into slots; a slot holds an incident, a false alarm, a look-alike or nothing, so that no two
things overlap in a zone. It must not know how anything is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from stream_app.drawn_site.camera import Camera, Zone, build_camera, build_zone
from stream_app.drawn_site.story import LABELS, LOOKALIKES, QUIET, VAGUE, Act
from stream_app.drawn_site.wording import LANGUAGES, Sentence, compose
from stream_app.drawn_site.wording.compose import Wording

Kind = Literal["truthful", "vague", "wrong"]

LATEST_SENT_MS = 2500
"""A report is sent at most so long after the moment it speaks of, ms."""

CLOCK_ERROR_MS = 900
"""The moment that a report gives is at most so far from the moment that was meant, ms, early or late."""


@dataclass(frozen=True, slots=True)
class Incident:
    """An event that really happens.

    Attributes:
        number: Its place in the schedule, from 0.
        zone: Where.
        label: Which event.
        start_ms: First moment at which it is visible, ms.
        end_ms: First moment at which it is over, ms.
        cameras: Names of the cameras that look at it.
    """

    number: int
    zone: str
    label: str
    start_ms: int
    end_ms: int
    cameras: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Report:
    """An alarm text.

    Attributes:
        number: Its place in the schedule, from 0, in the order of sending.
        zone: Where.
        event_time_ms: The moment that the report gives for what it tells, ms; early or late by `offset_ms`.
        offset_ms: By how much that moment is wrong; negative is early.
        sent_ms: When it is sent, ms.
        text: The text.
        language: `en` or `zh`.
        kind: Truthful, vague, or wrong.
        claims: What the text says: a label, a look-alike, `quiet` or `vague`.
        parts: The parts of the sentence.
        severity: 1-5.
        incident: Number of the incident that is visible at the moment that was meant; None where there is none.
    """

    number: int
    zone: str
    event_time_ms: int
    offset_ms: int
    sent_ms: int
    text: str
    language: str
    kind: Kind
    claims: str
    parts: tuple[str, ...]
    severity: int
    incident: int | None


@dataclass(frozen=True, slots=True)
class Schedule:
    """Everything that happens on the site for a while.

    Attributes:
        duration_ms: Length, ms.
        incidents: The events, in the order of their start.
        reports: The texts, in the order of sending.
        cameras: All cameras; `Camera.zone.name` says where each one stands.
        lookalikes: The ordinary life that resembles an event, with its zone.
    """

    duration_ms: int
    incidents: tuple[Incident, ...]
    reports: tuple[Report, ...]
    cameras: tuple[Camera, ...]
    lookalikes: tuple[tuple[str, Act], ...]

    def truth(self, zone: str, t_ms: int) -> tuple[str, ...]:
        """Return the labels that are true in a zone at a moment, in the order of `LABELS`."""
        now = {i.label for i in self.incidents if i.zone == zone and i.start_ms <= t_ms < i.end_ms}
        return tuple(label for label in LABELS if label in now)


@dataclass(frozen=True, slots=True)
class Site:
    """A drawn site: zones with cameras, fixed by its seed.

    Attributes:
        seed: Decides everything; equal arguments give equal bytes.
        zones: How many zones.
        cameras_per_zone: How many cameras each zone has, 1 or more.
    """

    seed: int
    zones: int = 4
    cameras_per_zone: int = 2

    def schedule(
        self, duration_ms: int, *, slot_ms: int = 15_000, wording: Wording = "mixed", foul_share: float = 0.08
    ) -> Schedule:
        """Plant events and reports.

        Args:
            duration_ms: Length, ms; at least one slot.
            slot_ms: Each zone sees one thing or nothing per slot, ms, at least 8,000. An incident keeps 2,500 ms
                clear of both ends of its slot.
            wording: Which parts the texts may use.
            foul_share: Share of the time in which something spoils a camera's pictures, 0-1.

        Returns:
            The schedule. With three zones or more the last one stays quiet: no report, no event. Every incident has
            at least one truthful report whose moment lies inside it.

        Raises:
            ValueError: Too short a duration or slot, or no zone or camera.
        """
        if duration_ms < slot_ms or slot_ms < 8000 or self.zones < 1 or self.cameras_per_zone < 1:
            raise ValueError(
                f"expected duration_ms >= slot_ms >= 8000 and at least one zone and camera, found {duration_ms}, "
                f"{slot_ms}, {self.zones} zones, {self.cameras_per_zone} cameras"
            )
        plan = _Plan(np.random.default_rng([self.seed, 51]), wording)
        busy = self.zones - 1 if self.zones >= 3 else self.zones
        acts: list[list[Act]] = [[] for _ in range(self.zones)]
        names = [f"zone-{number + 1}" for number in range(self.zones)]
        watchers = tuple(f"c{number + 1}" for number in range(self.cameras_per_zone))
        turn = 0
        for start_ms in range(0, duration_ms - slot_ms + 1, slot_ms):
            for zone in range(busy):
                # One deck for the whole site deals every kind of thing before any comes twice.
                acts[zone] += plan.fill(turn, names[zone], watchers, start_ms=start_ms, slot_ms=slot_ms)
                turn += 1
        cameras = tuple(
            build_camera(
                watcher,
                self._zone(number, name),
                self._camera_seed(number, place),
                acts=tuple(acts[number]),
                foul_share=foul_share,
            )
            for number, name in enumerate(names)
            for place, watcher in enumerate(watchers)
        )
        return plan.finish(duration_ms, cameras)

    def _zone(self, number: int, name: str) -> Zone:
        return build_zone(name, self.seed * 1009 + number * 31 + 7)

    def _camera_seed(self, zone: int, place: int) -> int:
        return self.seed * 7919 + zone * 101 + place


_DECK = ("incident", "false-alarm", "look-alike", "incident", "nothing", "false-alarm", "incident")


class _Plan:
    """Collects the acts and reports of one schedule."""

    def __init__(self, rng: np.random.Generator, wording: Wording) -> None:
        self._rng = rng
        self._wording = wording
        self._incidents: list[Incident] = []
        self._reports: list[Report] = []
        self._lookalikes: list[tuple[str, Act]] = []
        self._decks: dict[str, list[str]] = {}
        self._dealt: dict[str, int] = {}

    def fill(self, turn: int, zone: str, cameras: tuple[str, ...], *, start_ms: int, slot_ms: int) -> list[Act]:
        kind = _DECK[turn % len(_DECK)]
        begin = start_ms + 2500 + int(self._rng.integers(0, 500))
        end = start_ms + slot_ms - 2500
        if kind == "incident":
            return [self._incident(zone, cameras, begin, end)]
        if kind == "look-alike":
            names = tuple(LOOKALIKES)
            act = self._act(names[int(self._rng.integers(0, len(names)))], begin, end)
            self._lookalikes.append((zone, act))
            self._tell(zone, act.name, "truthful", begin, end, None)
            return [act]
        if kind == "false-alarm" and self._rng.random() < 0.5:
            label = self._deal(zone)
            names = tuple(name for name, taken_for in LOOKALIKES.items() if taken_for == label)
            act = self._act(names[int(self._rng.integers(0, len(names)))], begin, end)
            self._lookalikes.append((zone, act))
            self._tell(zone, label, "wrong", begin, end, None)
            return [act]
        if kind == "false-alarm":
            self._tell(zone, self._deal(zone), "wrong", begin, end, None)
        elif self._rng.random() < 0.5:
            self._tell(zone, QUIET, "truthful", begin, end, None)
        return []

    def _deal(self, zone: str) -> str:
        """Deal a label: none twice in a zone before all have come, and on the site the rarest first."""
        deck = self._decks.setdefault(zone, [])
        if not deck:
            deck += [LABELS[int(place)] for place in self._rng.permutation(len(LABELS))]
        label = min(deck, key=lambda name: self._dealt.get(name, 0))
        deck.remove(label)
        self._dealt[label] = self._dealt.get(label, 0) + 1
        return label

    def _act(self, name: str, begin: int, end: int) -> Act:
        x_m, z_m = float(self._rng.uniform(-2, 2)), float(self._rng.uniform(5.8, 8))
        return Act(name, begin, end, x_m, z_m, int(self._rng.integers(0, 1 << 31)))

    def _incident(self, zone: str, cameras: tuple[str, ...], begin: int, end: int) -> Act:
        act = self._act(self._deal(zone), begin, end)
        number = len(self._incidents)
        self._incidents.append(Incident(number, zone, act.name, begin, end, cameras))
        self._tell(zone, act.name, "truthful", begin, end, number)
        extra = self._rng.random()
        if extra < 0.35:
            self._tell(zone, VAGUE, "vague", begin, end, number)
        elif extra < 0.55:
            self._tell(zone, act.name, "truthful", begin, end, number)
        return act

    def _tell(self, zone: str, claims: str, kind: Kind, begin: int, end: int, incident: int | None) -> None:
        """Report on a moment in the middle of a slot, with a wrong clock, some time later."""
        meant = int(self._rng.integers(begin + 1500, max(begin + 1501, end - 1500)))
        offset = int(self._rng.integers(-CLOCK_ERROR_MS, CLOCK_ERROR_MS + 1))
        sent = max(meant + int(self._rng.integers(100, LATEST_SENT_MS)), meant + offset)
        sentence: Sentence = compose(
            self._rng, claims, language=LANGUAGES[int(self._rng.integers(0, 2))], wording=self._wording
        )
        severity = int(self._rng.integers(3, 6) if claims in LABELS else self._rng.integers(1, 4))
        self._reports.append(
            Report(
                0,
                zone,
                meant + offset,
                offset,
                sent,
                sentence.text,
                sentence.language,
                kind,
                claims,
                sentence.parts,
                severity,
                incident,
            )
        )

    def finish(self, duration_ms: int, cameras: tuple[Camera, ...]) -> Schedule:
        first = sorted(self._incidents, key=lambda incident: (incident.start_ms, incident.zone))
        numbers = {incident.number: place for place, incident in enumerate(first)}
        incidents = tuple(replace(incident, number=place) for place, incident in enumerate(first))
        order = sorted(self._reports, key=lambda report: (report.sent_ms, report.zone, report.text))
        reports = tuple(
            replace(r, number=place, incident=None if r.incident is None else numbers[r.incident])
            for place, r in enumerate(order)
        )
        return Schedule(duration_ms, incidents, reports, cameras, tuple(self._lookalikes))
