"""Drives the decide stage alone, one observation per sequence number, and keeps the alerts."""

from __future__ import annotations

from typing import Any

from stream_app.core.decide import Decide
from stream_app.core.settings import Semantic
from stream_app.core.types import Alert, InForce, LabelRule, Model, Observation, Record, Scored, Side

MICRO = 1_000_000
MODEL = Model("m", "1", "00", (LabelRule("fight", is_alerting=True, open_at=2 * MICRO, close_at=MICRO),))
SETTINGS = Semantic(quiet_ms=10_000, update_every_ms=2_000)


def text(offset: int, event_ms: int = 0, *, zone: str = "x", severity: int = 0) -> Record:
    return Record(Side.TEXT, offset, event_ms, event_ms, zone, severity=severity)


def frame(offset: int, event_ms: int = 0, *, zone: str = "x", camera: str = "c1") -> Record:
    return Record(Side.FRAME, offset, event_ms, event_ms, zone, camera)


class Bench:
    """Judges one observation per sequence number and keeps the alerts."""

    def __init__(self, model: Model = MODEL, **changes: Any) -> None:  # noqa: ANN401 - settings by name
        settings = self.settings = Semantic(**{"quiet_ms": 10_000, "update_every_ms": 2_000, **changes})
        self.decide = Decide(InForce(model, settings, settings.sha256), deployment="d", partition=0)
        self.sequence = 0
        self.letters: list[tuple[Side, int, str]] = []

    def judge(  # noqa: PLR0913 - what an observation may be, all by name
        self,
        stream_ms: int,
        text: Record | None,
        frame: Record | None,
        logit: float | None,
        *,
        image_failure: str | None = None,
        is_late: bool = False,
        is_shed: bool = False,
        without_image: float = 0,
        without_text: float = 0,
    ) -> list[Alert]:
        """Judge one observation whose full score is ``logit`` for every label."""
        self.sequence += 1
        zone = (text or frame).zone  # type: ignore[union-attr]
        observation = Observation(self.sequence, 0, zone, text, frame, is_late, is_shed)
        is_both = text is not None and frame is not None and image_failure is None and not is_shed
        scored = Scored(
            self.sequence,
            0,
            None if logit is None else (int(logit * MICRO),),
            (int(without_image * MICRO),) if is_both else None,
            (int(without_text * MICRO),) if is_both else None,
            image_failure,
        )
        judged = self.decide.judge(stream_ms, [(observation, scored)])
        assert [one.observation for one in judged.decisions] == [observation]
        self.letters += [(one.side, one.offset, one.reason) for one in judged.dead_letters]
        return judged.alerts

    def switch(self, stream_ms: int, model: Model = MODEL) -> list[Alert]:
        """Put another model in force."""
        return self.decide.switch(InForce(model, SETTINGS, SETTINGS.sha256), stream_ms)

    def expire(self, stream_ms: int) -> list[Alert]:
        """Let stream time pass."""
        alerts: list[Alert] = []
        self.decide.expire(stream_ms, alerts)
        return alerts


def phases(alerts: list[Alert]) -> list[str]:
    return [alert.phase for alert in alerts]
