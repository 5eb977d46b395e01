"""How driving and comparing say that they cannot go on, and the words for records and for what is unlike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from stream_app.core.types import Side

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stream_app.core.checkpoint import Checkpoint
    from stream_app.core.types import Observation, RawRecord
    from stream_app.replay.recording import TopicRecord
    from stream_app.wire.message import Message

_MAX_CHARS = 200


class DiffersError(Exception):
    """Something is not as it should be; the verdict says so."""

    def __init__(self, what: str, expected: object, found: object, inputs: tuple[str, ...] = ()) -> None:
        super().__init__(what)
        self.what, self.inputs = what, inputs
        self.expected, self.found = str(expected)[:_MAX_CHARS], str(found)[:_MAX_CHARS]


class CutOffError(Exception):
    """What is missing may lie behind the recording's end."""


class LostError(Exception):
    """The task cannot be followed further, though nothing differs; the message says why."""


def ref(side: Side, offset: int) -> str:
    """Name an input record."""
    return f"{side.kind} {offset}"


def refs_of(observation: Observation) -> tuple[str, ...]:
    """Name the records of an observation."""
    records = (observation.text, observation.frame)
    return tuple(ref(record.side, record.offset) for record in records if record is not None)


def ranges_of(taken: Iterable[tuple[Side, RawRecord]]) -> tuple[str, ...]:
    """Name the records that a step took in, by side."""
    offsets: dict[Side, list[int]] = {side: [] for side in Side}
    for side, raw in taken:
        offsets[side].append(raw.offset)
    return tuple(
        ref(side, found[0]) if len(found) == 1 else f"{side.kind}s {min(found)} to {max(found)}"
        for side, found in offsets.items()
        if found
    )


def require_equal(what: str, expected: object, found: object, inputs: tuple[str, ...]) -> None:
    """Make sure that two values are equal.

    Raises:
        DiffersError: if they are not.
    """
    if expected != found:
        raise DiffersError(what, expected, found, inputs)


def unlike_messages(expected: Message, found: TopicRecord) -> tuple[str, str] | None:
    """Say in what a recorded output differs from the one that is expected; None where it is equal to the byte."""
    if expected.key != found.key:
        return f"key {expected.key!r}", f"key {found.key!r}"
    if expected.headers != found.headers:
        mine = [header for header in expected.headers if header not in found.headers]
        others = [header for header in found.headers if header not in expected.headers]
        return f"headers {mine or expected.headers}", f"headers {others or found.headers}"
    if expected.value == found.value:
        return None
    return _unlike_values(_decoded(expected.value), _decoded(found.value), "value")


def unlike_checkpoints(expected: Checkpoint, found: Checkpoint) -> tuple[str, str]:
    """Say in what two checkpoints differ."""
    return _unlike_values(msgspec.to_builtins(expected), msgspec.to_builtins(found), "")


def _decoded(value: bytes | None) -> Any:  # noqa: ANN401 - whatever JSON holds
    try:
        return msgspec.json.decode(value or b"")
    except (msgspec.DecodeError, UnicodeDecodeError):
        return value


def _unlike_values(expected: Any, found: Any, name: str) -> tuple[str, str]:  # noqa: ANN401 - whatever JSON holds
    """Descend to the first property or element that differs."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in [*expected, *found]:
            if expected.get(key) != found.get(key):
                return _unlike_values(expected.get(key), found.get(key), f"{name}.{key}".strip("."))
    if isinstance(expected, list) and isinstance(found, list):
        for place, (mine, other) in enumerate(zip(expected, found, strict=False)):
            if mine != other:
                return _unlike_values(mine, other, f"{name}[{place}]")
        return f"{name}: {len(expected)} elements", f"{name}: {len(found)} elements"
    if isinstance(expected, bytes) and isinstance(found, bytes):
        at = next((at for at, both in enumerate(zip(expected, found, strict=False)) if both[0] != both[1]), None)
        at = min(len(expected), len(found)) if at is None else at
        return (
            f"{name} of {len(expected)} bytes, at {at}: {expected[at : at + 16]!r}",
            f"{name} of {len(found)} bytes, at {at}: {found[at : at + 16]!r}",
        )
    if expected == found:
        return f"{name}, otherwise encoded", name
    return f"{name} {expected!r}", f"{name} {found!r}"
