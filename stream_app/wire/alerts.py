"""Alerts and notices as they are read from the alerts topic, checked against version 1 of their schemas.

In: the value and the headers of a record. Out: an :class:`Alert`, a :class:`Notice`, or a :class:`WireError` that says
what is wrong. Properties that later versions add are ignored.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterable

_Name = Annotated[str, msgspec.Meta(min_length=1)]
_Id = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{32}$")]
_Sha256 = Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
_Probability = Annotated[float, msgspec.Meta(ge=0, le=1)]
_Time = Annotated[str, msgspec.Meta(pattern=r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$")]
_Count = Annotated[int, msgspec.Meta(ge=0)]
_Difference = Annotated[float, msgspec.Meta(ge=-1, le=1)]
Side = Literal["image", "text"]
Phase = Literal["opened", "updated", "closed"]

_ALERT_TYPES = frozenset(f"vigil.alert.{phase}.v1" for phase in ("opened", "updated", "closed"))
_NOTICE_TYPE = "vigil.notice.v1"


class WireError(ValueError):
    """A record is not what its type says. The message gives the expected and the found."""


class EvidenceRef(msgspec.Struct, frozen=True, kw_only=True):
    """A frame or text behind an alert, and where it lies. ``time`` is its event time, RFC 3339 in UTC."""

    kind: Literal["text", "frame"]
    topic: _Name
    partition: _Count
    offset: _Count
    time: _Time
    camera: str = ""


class ModelRef(msgspec.Struct, frozen=True, kw_only=True):
    """The bundle that scored; ``sha256`` is of its manifest, which holds the hash of every other file."""

    name: _Name
    version: _Name
    sha256: _Sha256


class Alert(msgspec.Struct, frozen=True, kw_only=True):
    """An alert, by the published schema ``alert.v1``; see docs/wire.md for what each property means.

    ``score`` and ``threshold`` are calibrated probabilities. ``start`` and ``end`` span the event times of the evidence
    (RFC 3339 in UTC; ``datetime.fromisoformat`` reads them). ``contribution`` says by how much the score would fall
    without a side. ``reason`` says why an incident closed, and is empty before.
    """

    id: _Id
    incident: _Id
    phase: Phase
    number: Annotated[int, msgspec.Meta(ge=1)]
    label: _Name
    score: _Probability
    threshold: _Probability
    zone: _Name
    cameras: tuple[_Name, ...]
    severity: Annotated[int, msgspec.Meta(ge=1, le=5)] | None
    start: _Time
    end: _Time
    present: tuple[Side, ...]
    contribution: dict[Side, _Difference]
    late: bool
    masked: bool
    evidence: tuple[EvidenceRef, ...]
    evidence_left_out: _Count
    model: ModelRef
    settings: _Name
    provider: _Name
    schema: Literal[1]
    reason: str = ""


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """A word to subscribers that is no incident: ``rate`` says that a zone sends more texts than its bound."""

    notice: _Name
    zone: _Name
    detail: str
    schema: Literal[1]


def decode_alert(value: bytes | None, headers: Iterable[tuple[str, bytes]]) -> Alert | Notice | None:
    """Read a record of the alerts topic.

    Args:
        value: its value.
        headers: its headers, which name its type.

    Returns:
        The alert or notice; None for a record of another type, which a later version or another program may write.

    Raises:
        WireError: if it says that it is an alert or a notice and does not fit the schema.
    """
    kind = next((content.decode("ascii", "replace") for name, content in headers if name == "ce_type"), "")
    if kind not in _ALERT_TYPES and kind != _NOTICE_TYPE:
        return None
    wanted: type[Alert | Notice] = Notice if kind == _NOTICE_TYPE else Alert
    try:
        return msgspec.json.decode(value or b"", type=wanted)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise WireError(f"expected a {kind} by its schema, found: {error}") from error
