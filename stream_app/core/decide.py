"""Stage six: scored observations become incidents, and incidents become alerts, in sequence order.

In: sequence number by sequence number, the stream time of each and its scored observations. Out: alerts, decisions,
and dead letters for sides that could not be scored. For each sequence number, first what its stream time expires,
then its observations. It never learns in which order the scores came back, nor what computed them.

- An incident of (zone, label) opens when a text reaches ``open_at`` (``open_texts`` texts within ``open_within_ms``).
- It is supported by every text of its zone that scores at least ``close_at``; a low score closes nothing.
- It closes once stream time is past its last support by more than ``quiet_ms``, as a record does that is past its
  close; nothing else closes it, except that its label vanishes, or that the open ones pass ``incidents_bytes``.
- ``updated`` comes on a new camera, a new modality or a higher severity, at most every ``update_every_ms``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from stream_app.core.ids import incident_id
from stream_app.core.incident import Incident, Support
from stream_app.core.outcome import Outcome
from stream_app.core.types import Alert, DeadLetter, Decision, Evidence, Observation, Record, Ref, Scored, Side

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stream_app.core.types import InForce

#: Why an incident closed that was not quiet yet: others needed its room.
CROWDED_OUT = "crowded-out"
#: Subjects remembered that reached ``open_at`` while fewer than ``open_texts`` had; beyond it the oldest is forgotten.
MAX_REACHED = 1_024
#: Later than any stream time.
_NEVER_MS = 1 << 62


class Judged(msgspec.Struct):
    """What one sequence number puts out."""

    alerts: list[Alert] = []
    decisions: list[Decision] = []
    dead_letters: list[DeadLetter] = []


class Reached(msgspec.Struct, frozen=True, array_like=True):
    """A subject that reached ``open_at`` while fewer than ``open_texts`` had; ``noted_ms`` is the S of that result."""

    side: Side
    offset: int
    event_ms: int
    noted_ms: int = 0


class DecideState(msgspec.Struct, frozen=True):
    """What a checkpoint keeps of this stage."""

    outcomes: list[tuple[int, Outcome]] = []
    incidents: list[Incident] = []
    reached: list[tuple[str, str, list[Reached]]] = []


class Decide:
    """The incidents of one task."""

    __slots__ = (
        "_deployment",
        "_due_ms",
        "_failed",
        "_in_force",
        "_incidents",
        "_outcomes",
        "_partition",
        "_reached",
        "_settings",
        "_size",
        "_sizes",
        "changed_texts",
        "newly_failed",
    )

    def __init__(self, in_force: InForce, *, deployment: str, partition: int) -> None:
        self._in_force = in_force
        self._settings = in_force.settings
        self._deployment = deployment
        self._partition = partition
        self._outcomes: dict[int, Outcome] = {}
        self._incidents: dict[tuple[str, str], Incident] = {}
        #: What each open incident takes in a checkpoint, and all of them, in bytes.
        self._sizes: dict[tuple[str, str], int] = {}
        self._size = 0
        self._reached: dict[tuple[str, str], list[Reached]] = {}
        self._failed: dict[Ref, None] = {}
        #: Texts whose outcome changed, and records that failed to be scored, since the caller last cleared these.
        self.changed_texts: set[int] = set()
        self.newly_failed: list[Ref] = []
        self._due_ms = _NEVER_MS

    @property
    def has_open(self) -> bool:
        """Whether an incident is open, so that stream time still has something to do."""
        return bool(self._incidents)

    def expire(self, stream_ms: int, into: list[Alert]) -> None:
        """Close what has been quiet for long enough, and put out news that waited for ``update_every_ms``."""
        if stream_ms < self._due_ms:
            return
        for key, incident in sorted(self._incidents.items(), key=self._by_due):
            if stream_ms > incident.last_support_ms + self._settings.quiet_ms:
                into.append(self._remove(key).alert("closed", stream_ms, self._in_force, "quiet"))
            elif incident.has_news and stream_ms >= incident.last_alert_ms + self._settings.update_every_ms:
                into.append(incident.alert("updated", stream_ms, self._in_force))
        self._due_ms = self._next_due()

    def judge(self, stream_ms: int, observations: Iterable[tuple[Observation, Scored]]) -> Judged:
        """Judge the observations of one sequence number, after :meth:`expire` with its stream time."""
        judged = Judged()
        self.expire(stream_ms, judged.alerts)
        for observation, scored in observations:
            judged.decisions.append(Decision(observation, scored, stream_ms, self._in_force))
            self._note_failures(observation, scored, judged.dead_letters)
            if scored.full is not None:
                self._judge_one(observation, scored, scored.full, stream_ms, judged.alerts)
        return judged

    def forget(self, record: Record) -> bool:
        """Forget a record that left the window at or before the cut; return whether it had failed to be scored."""
        if record.side is Side.TEXT:
            self._outcomes.pop(record.offset, None)
        if not self._failed or record.ref not in self._failed:
            return False
        del self._failed[record.ref]
        return True

    def prune(self, stream_ms: int) -> None:
        """Let go of what can count no more, so that zones of long ago are in no checkpoint; once per step."""
        for key in list(self._reached):
            left = [one for one in self._reached[key] if not self._is_past(one, stream_ms)]
            if left:
                self._reached[key] = left
            else:
                del self._reached[key]

    def state(self) -> DecideState:
        """Return the state for a checkpoint."""
        return DecideState(
            outcomes=sorted(self._outcomes.items()),
            incidents=[incident for _, incident in sorted(self._incidents.items())],
            reached=[(*key, entries) for key, entries in sorted(self._reached.items())],
        )

    def restore(self, state: DecideState, failed: Iterable[Ref]) -> None:
        """Take up a checkpoint's state, made by the model and settings in force, and which records had failed."""
        self._incidents = {(incident.zone, incident.label): incident for incident in state.incidents}
        self._sizes = {key: incident.size for key, incident in self._incidents.items()}
        self._size = sum(self._sizes.values())
        self._failed = dict.fromkeys(failed)
        self._outcomes = dict(state.outcomes)
        self._reached = {(zone, label): list(entries) for zone, label, entries in state.reached}
        self._due_ms = self._next_due()

    def switch(self, in_force: InForce, stream_ms: int) -> list[Alert]:
        """Go by another model or other settings from this sequence number on.

        Results of another model are not mixed with this one's: running outcomes start over, and incidents whose label
        no longer alerts close with reason ``model-changed``.

        Returns:
            The alerts of those closings.
        """
        is_same_model = in_force.model == self._in_force.model
        self._in_force, self._settings = in_force, in_force.settings
        alerts: list[Alert] = []
        if not is_same_model:
            # Which incidents a text supported is no result: it keeps the text from opening its own again.
            before = self._outcomes.items()
            self.changed_texts.update(self._outcomes)
            self._outcomes = {offset: Outcome(supports=old.supports) for offset, old in before if old.supports}
            self._reached.clear()
            alerting = {label.name for label in in_force.model.labels if label.is_alerting}
            vanished = [key for key in sorted(self._incidents) if key[1] not in alerting]
            alerts = [self._remove(key).alert("closed", stream_ms, in_force, "model-changed") for key in vanished]
        self._due_ms = self._next_due()
        return alerts

    def _judge_one(
        self, observation: Observation, scored: Scored, full: tuple[int, ...], stream_ms: int, into: list[Alert]
    ) -> None:
        outcome = self._outcome(observation)
        has_image = observation.frame is not None and not observation.is_image_shed and scored.image_failure is None
        has_text = observation.text is not None and scored.text_failure is None
        is_image_masked = observation.frame is not None and not has_image
        outcome.add(full, scored, is_image_masked=is_image_masked or (observation.frame is None))
        outcome.is_late = outcome.is_late or observation.is_late
        outcome.is_masked = outcome.is_masked or is_image_masked or (observation.text is not None and not has_text)
        outcome.has_text = outcome.has_text or has_text
        if has_image and observation.frame is not None:
            frame = observation.frame
            outcome.show(Evidence(Side.FRAME, frame.offset, frame.event_ms, frame.camera))
        for index, label in enumerate(self._in_force.model.labels):
            score = outcome.score(index)
            if label.is_alerting and score is not None:
                self._judge_label(index, score, observation, outcome, stream_ms, into)

    def _judge_label(
        self, index: int, score: int, observation: Observation, outcome: Outcome, stream_ms: int, into: list[Alert]
    ) -> None:
        label = self._in_force.model.labels[index]
        subject = observation.text or observation.frame
        assert subject is not None  # noqa: S101 - the join makes no observation of nothing
        key = (subject.zone, label.name)
        incident = self._incidents.get(key)
        if incident is None:
            if score < label.open_at or self._opened_before(key, subject, outcome):
                return
            if not self._reaches(key, subject, stream_ms):
                return
            incident = self._open(key, label.open_at, subject, score, stream_ms)
        elif score < label.close_at:
            return
        is_opening = incident.number == 0
        is_first = incident.id not in outcome.supports
        if is_first:
            outcome.supports_also(incident.id)
        incident.support(_support(index, score, observation, outcome, is_first=is_first), stream_ms)
        if is_opening:
            into.append(incident.alert("opened", stream_ms, self._in_force))
        elif incident.has_news and stream_ms >= incident.last_alert_ms + self._settings.update_every_ms:
            into.append(incident.alert("updated", stream_ms, self._in_force))
        self._due_ms = min(self._due_ms, self._due(incident))
        self._bound_incidents(key, stream_ms, into)

    def _bound_incidents(self, supported: tuple[str, str], stream_ms: int, into: list[Alert]) -> None:
        """Close those whose last support is oldest until the rest fits; the one just supported stays."""
        sizes = self._sizes
        self._size -= sizes.get(supported, 0)
        sizes[supported] = self._incidents[supported].size
        self._size += sizes[supported]
        while self._size > self._settings.incidents_bytes and len(self._incidents) > 1:
            others = [key for key in self._incidents if key != supported]
            oldest = min(others, key=lambda key: (self._incidents[key].last_support_ms, key))
            into.append(self._remove(oldest).alert("closed", stream_ms, self._in_force, CROWDED_OUT))

    def _remove(self, key: tuple[str, str]) -> Incident:
        self._size -= self._sizes.pop(key, 0)
        return self._incidents.pop(key)

    def _outcome(self, observation: Observation) -> Outcome:
        text = observation.text
        if text is None:
            return Outcome()
        self.changed_texts.add(text.offset)
        return self._outcomes.setdefault(text.offset, Outcome())

    def _reaches(self, key: tuple[str, str], subject: Record, stream_ms: int) -> bool:
        """Note that a subject reached ``open_at``; return whether enough did within ``open_within_ms`` of one another.

        Results come in another order than events: a text may reach ``open_at`` after one that is much younger.
        """
        needed, within_ms = self._settings.open_texts, self._settings.open_within_ms
        if needed == 1:
            return True
        entry = Reached(subject.side, subject.offset, subject.event_ms, stream_ms)
        entries = [
            other
            for other in self._reached.get(key, ())
            if (other.side, other.offset) != (entry.side, entry.offset) and not self._is_past(other, stream_ms)
        ]
        entries.append(entry)
        times = sorted(one.event_ms for one in entries if abs(one.event_ms - entry.event_ms) <= within_ms)
        if any(last - first <= within_ms for first, last in zip(times, times[needed - 1 :], strict=False)):
            self._reached.pop(key, None)
            return True
        self._reached[key] = entries
        if sum(map(len, self._reached.values())) > MAX_REACHED:
            self._forget_reached()
        return False

    def _forget_reached(self) -> None:
        """Forget what would count no more first: what is past before all else, so that pruning makes no difference."""
        key, oldest = min(
            ((key, one) for key, entries in self._reached.items() for one in entries),
            key=lambda item: (max(item[1].event_ms, item[1].noted_ms), item[0], item[1].side, item[1].offset),
        )
        self._reached[key] = [one for one in self._reached[key] if one is not oldest]
        if not self._reached[key]:
            del self._reached[key]

    def _is_past(self, reached: Reached, stream_ms: int) -> bool:
        """Return whether no text can count together with this one any more, unless it is late by more than H."""
        newest_ms = max(reached.event_ms, reached.noted_ms)
        return newest_ms + self._settings.horizon_ms + self._settings.open_within_ms < stream_ms

    def _opened_before(self, key: tuple[str, str], subject: Record, outcome: Outcome) -> bool:
        """Return whether this subject's own incident was open already and closed since.

        A text of a fast clock, or of a window with a negative bound, can be held for longer than ``quiet_ms``; opening
        its incident again would repeat the ids of alerts that are out.
        """
        return bool(outcome.supports) and self._id_of(key, subject) in outcome.supports

    def _id_of(self, key: tuple[str, str], subject: Record) -> str:
        opener = (subject.side.kind, self._partition, subject.offset, subject.event_ms)
        return incident_id(self._deployment, *key, opener)

    def _open(self, key: tuple[str, str], threshold: int, subject: Record, score: int, stream_ms: int) -> Incident:
        incident = Incident(
            id=self._id_of(key, subject),
            zone=key[0],
            label=key[1],
            threshold=threshold,
            score=score,
            last_support_ms=stream_ms,
            last_alert_ms=stream_ms,
            start_ms=subject.event_ms,
            end_ms=subject.event_ms,
        )
        self._incidents[key] = incident
        return incident

    def _note_failures(self, observation: Observation, scored: Scored, into: list[DeadLetter]) -> None:
        for record, reason in ((observation.text, scored.text_failure), (observation.frame, scored.image_failure)):
            if record is not None and reason is not None and record.ref not in self._failed:
                self._failed[record.ref] = None
                self.newly_failed.append(record.ref)
                into.append(DeadLetter(record.side, record.offset, reason, "", record.size))

    def _due(self, incident: Incident) -> int:
        quiet = incident.last_support_ms + self._settings.quiet_ms + 1
        return min(quiet, incident.last_alert_ms + self._settings.update_every_ms) if incident.has_news else quiet

    def _next_due(self) -> int:
        return min((self._due(incident) for incident in self._incidents.values()), default=_NEVER_MS)

    def _by_due(self, item: tuple[tuple[str, str], Incident]) -> tuple[int, tuple[str, str]]:
        return (self._due(item[1]), item[0])


def _support(index: int, score: int, observation: Observation, outcome: Outcome, *, is_first: bool) -> Support:
    """Gather what a subject shows: all of it at its first support of an incident, later only this result's frame."""
    text, frame = observation.text, observation.frame
    # A masked result shows no frame: the newest of the subject is an earlier result's, and was counted then.
    newest = [one for one in outcome.frames[-1:] if frame is not None and one.offset == frame.offset]
    evidence = list(outcome.frames) if is_first else newest
    if is_first and text is not None and outcome.has_text:
        evidence.insert(0, Evidence(text.side, text.offset, text.event_ms))
    return Support(
        score=score,
        evidence=tuple(evidence),
        contribution=outcome.contribution(index),
        severity=text.severity if text is not None else 0,
        is_late=outcome.is_late,
        is_masked=outcome.is_masked,
    )
