"""Incidents, made by hand."""

from __future__ import annotations

from stream_app.replay.incidents import Incident, Piece, Place
from tests.core.drive import T0

TEXTS, FRAMES = "vigil.texts", "vigil.frames"


def text(offset: int, at_ms: int, partition: int = 0) -> Piece:
    return Piece("text", Place(TEXTS, partition, offset), T0 + at_ms)


def frame(offset: int, at_ms: int, camera: str = "c1") -> Piece:
    return Piece("frame", Place(FRAMES, 0, offset), T0 + at_ms, camera)


def incident(
    opener: int,
    start_ms: int,
    end_ms: int,
    *,
    zone: str = "dock",
    label: str = "smoke",
    score: float = 0.9,
    more: tuple[Piece, ...] = (),
) -> Incident:
    """Make an incident that a text of this offset opened at its start; times from T0 on."""
    opening = text(opener, start_ms)
    name = f"{label}/{zone}/{opener}/{start_ms}"
    return Incident(
        id=name,
        zone=zone,
        label=label,
        start_ms=T0 + start_ms,
        end_ms=T0 + end_ms,
        score=score,
        threshold=0.8,
        severity=None,
        cameras=(),
        evidence=(opening, *more),
        evidence_left_out=0,
        opening=opening,
        alerts=(f"{name}#1",),
        is_closed=True,
    )
