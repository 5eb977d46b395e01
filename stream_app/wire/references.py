"""What alerts and decisions refer to alike: the records behind them, and what made them. By version 1 of the schemas.

In: the core's evidence, model and settings. Out: typed references, which alerts and decisions are written with and read
by; what no schema can say is checked where they are read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec

from stream_app.core.event_time import parse_event_time
from stream_app.core.types import Side
from stream_app.wire.message import WireError, format_time

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stream_app.core import types as core
    from stream_app.wire.context import Context

Name = Annotated[str, msgspec.Meta(min_length=1)]
Count = Annotated[int, msgspec.Meta(ge=0)]
Probability = Annotated[float, msgspec.Meta(ge=0, le=1)]
Time = Annotated[str, msgspec.Meta(pattern=r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z\Z")]
Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]
Digest = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{32}\Z")]
SettingsRef = Annotated[str, msgspec.Meta(pattern=r"^sha256:[0-9a-f]{64}\Z")]
Modality = Literal["image", "text"]


class EvidenceRef(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A frame or text behind an alert, and where it lies. ``time`` is its event time, RFC 3339 in UTC.

    Topic, partition and offset are such as Kafka has them.
    """

    kind: Literal["text", "frame"]
    camera: Name = ""
    topic: Annotated[str, msgspec.Meta(pattern=r"^[a-zA-Z0-9._-]{1,249}\Z")]
    partition: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)]
    offset: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
    time: Time


class ModelRef(msgspec.Struct, frozen=True, kw_only=True):
    """The bundle that scored; ``sha256`` is of its manifest, which holds the hash of every other file."""

    name: Name
    version: Name
    sha256: Sha256


def evidence_ref(evidence: core.Evidence | core.Record, context: Context) -> EvidenceRef:
    """Say where a record of this task lies."""
    return EvidenceRef(
        kind="text" if evidence.side is Side.TEXT else "frame",
        camera=evidence.camera,
        topic=context.topics.of(evidence.side),
        partition=context.partition,
        offset=evidence.offset,
        time=format_time(evidence.event_ms),
    )


def model_ref(in_force: core.InForce) -> ModelRef:
    """Name the model in force."""
    model = in_force.model
    return ModelRef(name=model.name, version=model.version, sha256=model.sha256)


def settings_ref(in_force: core.InForce) -> str:
    """Name the settings in force."""
    return f"sha256:{in_force.settings_sha256}"


def require_times(times: Iterable[str]) -> None:
    """Make sure that times are some: the pattern takes the 31st of February.

    Raises:
        WireError: if one is none.
    """
    for time in times:
        try:
            parse_event_time(time)
        except ValueError as error:
            raise WireError(f"expected a time, found {time}: {error}") from error


def require_distinct(what: str, values: tuple[str, ...]) -> None:
    """Make sure that no value is there twice.

    Raises:
        WireError: if one is.
    """
    if len(set(values)) != len(values):
        raise WireError(f"{what}: expected each value once, found {', '.join(values)}")
