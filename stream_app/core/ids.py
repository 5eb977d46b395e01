"""Names that are functions of their inputs: incidents, alerts, record identities. No clock, host or random value."""

from __future__ import annotations

import hashlib

import msgspec


def _digest(*parts: str | int) -> str:
    # JSON keeps the parts apart: no zone name can imitate a separator.
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:32]


def incident_id(deployment: str, zone: str, label: str, opener: tuple[str, int, int, int]) -> str:
    """Name an incident by what opened it.

    Args:
        deployment: name of the deployment.
        zone: the zone.
        label: the label.
        opener: kind (``text`` or ``frame``), partition, offset and event time of the opening record. The event time
            keeps ids apart when a topic was deleted and recreated, for offsets then start again.

    Returns:
        32 hexadecimal digits.
    """
    return _digest("incident", deployment, zone, label, *opener)


def alert_id(incident: str, phase: str, number: int) -> str:
    """Name an alert by its incident, phase and number within the incident. 32 hexadecimal digits."""
    return _digest("alert", incident, phase, number)


def record_identity(source: str, event_id: str) -> bytes:
    """Return an 8 byte digest of a CloudEvents source and id, by which a repeated record is known."""
    # The length keeps the two apart: no source can imitate another one's source and id.
    return hashlib.blake2b(f"{len(source)} {source}{event_id}".encode(), digest_size=8).digest()
