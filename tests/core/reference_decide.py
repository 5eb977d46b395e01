"""The deciding half of the design, written down literally and slowly: incidents of texts, by lists and sums anew.

Nothing here is taken from stream_app.core but the types of records, settings and scores.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from stream_app.core.types import Record, Ref, Side
from tests.core.reference import horizon_ms

if TYPE_CHECKING:
    from stream_app.core.settings import Semantic
    from stream_app.core.types import LabelRule, Model, Observation, Scored

#: Phase, zone, label, number, time, score, cameras, severity, start, end, modalities, late, masked, reason.
Said = tuple[str, str, str, int, int, int, tuple[str, ...], int, int, int, tuple[str, ...], bool, bool, str]


@dataclass(eq=False)
class Story:
    """All results of one subject so far."""

    unmasked: list[tuple[int, ...]] = field(default_factory=list)
    masked: tuple[int, ...] | None = None
    shown: list[Record] = field(default_factory=list)
    supports: list[Case] = field(default_factory=list)
    is_late: bool = False
    is_masked: bool = False

    def score(self, label: int) -> int:
        """Mean of the unmasked results, floored; without any, the newest masked one, for they all say the same."""
        if self.unmasked:
            return sum(one[label] for one in self.unmasked) // len(self.unmasked)
        assert self.masked is not None
        return self.masked[label]


@dataclass(eq=False)
class Case:
    """An incident: everything that supported it, from which its alerts are told anew each time."""

    zone: str
    label: str
    opener: Record
    scores: list[int] = field(default_factory=list)
    shown: list[Record] = field(default_factory=list)
    severity: int = 0
    is_late: bool = False
    is_masked: bool = False
    number: int = 0
    support_ms: int = 0
    said_ms: int = 0
    told: tuple[object, ...] = ()

    @property
    def news(self) -> tuple[object, ...]:
        """What makes an update when it changes: cameras, modalities, severity."""
        cameras = tuple(sorted({one.camera for one in self.shown if one.camera}))
        present = tuple(sorted({"text" if one.side is Side.TEXT else "image" for one in self.shown}))
        return cameras, present, self.severity


@dataclass
class SlowDecide:
    """For each sequence number: first what S expires, then its observations."""

    settings: Semantic
    model: Model
    said: list[Said] = field(default_factory=list)
    letters: list[tuple[Side, int, str]] = field(default_factory=list)
    open: dict[tuple[str, str], Case] = field(default_factory=dict)
    stories: dict[int, Story] = field(default_factory=dict)
    #: Per zone and label: who reached open_at, at which S.
    reached: dict[tuple[str, str], dict[Ref, tuple[int, int]]] = field(default_factory=dict)

    def expire(self, now: int) -> None:
        """Close what S has left behind by more than quiet_ms; tell news that had to wait."""
        for key, case in sorted(self.open.items(), key=lambda one: (self._due(one[1]), one[0])):
            if now > case.support_ms + self.settings.quiet_ms:
                self._tell(case, "closed", now, "quiet")
                del self.open[key]
            elif case.news != case.told and now >= case.said_ms + self.settings.update_every_ms:
                self._tell(case, "updated", now)

    def judge(self, observation: Observation, scored: Scored, now: int) -> None:
        """Judge one observation."""
        text, frame = observation.text, observation.frame
        for record, reason in ((text, scored.text_failure), (frame, scored.image_failure)):
            if record is not None and reason is not None and (*record.ref, reason) not in self.letters:
                self.letters.append((*record.ref, reason))
        if scored.full is None:
            return
        story = self.stories.setdefault(text.offset, Story()) if text is not None else Story()
        has_image = frame is not None and scored.image_failure is None and not observation.is_image_shed
        has_text = text is not None and scored.text_failure is None
        if has_image:
            story.unmasked.append(scored.full)
        else:
            story.masked = scored.full
        story.is_late |= observation.is_late
        story.is_masked |= has_image != (frame is not None) or has_text != (text is not None)
        shown = [one for one, is_there in ((text, has_text), (frame, has_image)) if one is not None and is_there]
        story.shown += [one for one in shown if one not in story.shown]
        for index, label in enumerate(self.model.labels):
            if label.is_alerting:
                self._judge_label(story, story.score(index), label, text or frame, shown, now)  # type: ignore[arg-type]

    def _judge_label(
        self, story: Story, score: int, label: LabelRule, subject: Record, shown: list[Record], now: int
    ) -> None:
        key = (subject.zone, label.name)
        case = self.open.get(key)
        if case is None:
            has_opened = any(one.opener is subject and one.label == label.name for one in story.supports)
            if score < label.open_at or has_opened or not self._reaches(key, subject, now):
                return
            case = self.open[key] = Case(subject.zone, label.name, subject)
        elif score < label.close_at:
            return
        case.shown += [one for one in (shown if case in story.supports else story.shown) if one not in case.shown]
        if case not in story.supports:
            story.supports.append(case)
        case.scores.append(score)
        case.severity = max(case.severity, subject.severity)
        case.is_late |= story.is_late
        case.is_masked |= story.is_masked
        case.support_ms = now
        if not case.number:
            self._tell(case, "opened", now)
        elif case.news != case.told and now >= case.said_ms + self.settings.update_every_ms:
            self._tell(case, "updated", now)

    def _reaches(self, key: tuple[str, str], subject: Record, now: int) -> bool:
        reached, within_ms = self.reached.setdefault(key, {}), self.settings.open_within_ms
        reached[subject.ref] = (subject.event_ms, now)
        kept_ms = horizon_ms(self.settings) + within_ms
        times = [one[0] for one in reached.values() if max(one) + kept_ms >= now]
        firsts = [first for first in times if first <= subject.event_ms <= first + within_ms]
        is_enough = any(
            sum(first <= time <= first + within_ms for time in times) >= self.settings.open_texts for first in firsts
        )
        if is_enough:
            del self.reached[key]
        return is_enough

    def _due(self, case: Case) -> int:
        quiet_ms = case.support_ms + self.settings.quiet_ms + 1
        return quiet_ms if case.news == case.told else min(quiet_ms, case.said_ms + self.settings.update_every_ms)

    def _tell(self, case: Case, phase: str, now: int, reason: str = "") -> None:
        case.number += 1
        case.said_ms, case.told = now, case.news
        cameras, present, severity = case.news
        times = [case.opener.event_ms, *(one.event_ms for one in case.shown)]
        self.said.append((
            phase, case.zone, case.label, case.number, now, max(case.scores), cameras, severity, min(times), max(times),
            present, case.is_late, case.is_masked, reason,
        ))  # type: ignore[arg-type] # fmt: skip
