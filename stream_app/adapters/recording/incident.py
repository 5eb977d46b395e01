"""Where an incident lies: its task, and the range of append times in which everything that bears on it was appended.

In: records of the alerts topic. Out: task and range. It must not know where records come from.
"""

from __future__ import annotations

import msgspec

from stream_app.core.event_time import parse_event_time
from stream_app.core.settings import Semantic
from stream_app.replay.recording import RecordingError, TopicRecord
from stream_app.wire.alerts import Alert, decode_alert
from stream_app.wire.message import WireError


class Bearing(msgspec.Struct, frozen=True, kw_only=True):
    """The task of an incident, and the range of append times that bears on it."""

    task: int
    from_ms: int
    to_ms: int


class IncidentSearch:
    """Gathers the alerts of one incident."""

    def __init__(self, incident: str) -> None:
        """Begin with none.

        Args:
            incident: id of the incident, or of one of its alerts.
        """
        self._wanted = incident
        self._alerts: dict[str, list[tuple[Alert, int]]] = {}
        self._incident = ""

    def note(self, record: TopicRecord) -> None:
        """Take note of a record of the alerts topic."""
        try:
            alert = decode_alert(record.value, record.headers)
        except WireError:
            return
        if isinstance(alert, Alert):
            self._alerts.setdefault(alert.incident, []).append((alert, record.timestamp))
            if self._wanted in {alert.id, alert.incident}:
                self._incident = alert.incident

    def found(self, settings: Semantic) -> Bearing:
        """Return where it lies: from its start - H to its end + quiet + H, H being how far back records are held.

        Raises:
            RecordingError: if there is no such incident.
        """
        if not self._incident:
            raise RecordingError(
                f"expected an incident or alert {self._wanted}, found none: mistyped, or its retention has passed"
            )
        alerts = self._alerts[self._incident]
        held_ms = max(settings.before_ms, 0) + max(settings.after_ms, 0) + settings.grace_ms
        start_ms = min(parse_event_time(alert.start) for alert, _ in alerts)
        # Alerts are appended after what they are about, however late that came.
        end_ms = max(max(parse_event_time(alert.end), append_ms) for alert, append_ms in alerts)
        return Bearing(
            task=alerts[0][0].evidence[0].partition,
            from_ms=start_ms - held_ms,
            to_ms=end_ms + settings.quiet_ms + held_ms,
        )
