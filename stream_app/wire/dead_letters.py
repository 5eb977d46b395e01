"""Dead letters as they are on their topic: the record as it came, and headers of ours after its own.

In: a refused record and why; or the headers of a dead letter. Out: a message; or a :class:`DeadLetter` that says what
was refused, or a :class:`WireError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from stream_app.core.admit import headers_bytes, record_bytes
from stream_app.core.types import Unreadable
from stream_app.wire.message import Message, WireError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream_app.core import types as core
    from stream_app.wire.context import Context

#: Of a record that was too large, this much goes to the dead letters.
DEAD_LETTER_HEAD_BYTES = 64 * 1024
#: What Kafka takes by default (max.message.bytes), less room for a letter's own headers and the framing.
LETTER_OVERHEAD_BYTES = 4 * 1024
DEFAULT_LETTER_BYTES = 1_048_588 - LETTER_OVERHEAD_BYTES

_PREFIX: Final = "vigil_"
#: The first of our headers: a record that comes from the dead letters itself has others like it before.
_FIRST: Final = "vigil_reason"


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """What was refused, where it lies, and why; see docs/wire.md.

    ``first_offset`` is there where more than one record is lost, ``size``, ``key_size`` and ``headers_left_out`` where
    value, key or headers were cut.
    """

    reason: str
    topic: str
    partition: int
    offset: int
    detail: str
    deployment: str
    first_offset: int | None = None
    size: int | None = None
    key_size: int | None = None
    headers_left_out: int | None = None


def render_dead_letter(letter: core.DeadLetter, raw: core.RawRecord, context: Context) -> Message:
    """Render a dead letter: the original bytes and headers, with reason and coordinates as headers of ours.

    Of a record that was too large, or that the topic would not take, only the beginning goes along.
    """
    said = DeadLetter(
        reason=letter.reason,
        topic=context.topics.of(letter.side),
        partition=context.partition,
        offset=letter.offset,
        detail=letter.detail,
        deployment=context.deployment,
        first_offset=raw.first_offset if isinstance(raw, Unreadable) and raw.first_offset < raw.offset else None,
    )
    key, value, headers = raw.key, raw.value, raw.headers
    if letter.reason == "too-large" or record_bytes(raw) > context.letter_bytes:
        head = min(DEAD_LETTER_HEAD_BYTES, context.letter_bytes // 4)
        is_long = headers_bytes(raw) > head
        said = msgspec.structs.replace(
            said,
            size=len(value) if value is not None and len(value) > head else None,
            key_size=len(key) if key is not None and len(key) > head else None,
            headers_left_out=len(headers) if is_long else None,
        )
        key, value, headers = key and key[:head], value and value[:head], () if is_long else headers
    if key is None and value is None:
        # The client refuses a record that has neither, and would refuse the step for ever.
        value = b""
    kept = tuple((name, content or b"") for name, content in headers)
    return Message(context.topics.dead_letters, key, value, (*kept, *_encode(said)))


def _encode(letter: DeadLetter) -> tuple[tuple[str, bytes], ...]:
    return tuple(
        (_PREFIX + name, str(value).encode("utf-8", "replace"))
        for name, value in msgspec.structs.asdict(letter).items()
        if value is not None
    )


def decode_dead_letter(headers: Sequence[tuple[str, bytes | None]]) -> DeadLetter:
    """Read what the headers of a dead letter say of it.

    Raises:
        WireError: if they are not those of a dead letter.
    """
    begin = max((number for number, (name, _) in enumerate(headers) if name == _FIRST), default=len(headers))
    found = {
        name.removeprefix(_PREFIX): (content or b"").decode("utf-8", "replace")
        for name, content in headers[begin:]
        if name.startswith(_PREFIX)
    }
    try:
        # Headers are text; `strict=False` reads the numbers in it.
        return msgspec.convert(found, DeadLetter, strict=False)
    except msgspec.ValidationError as error:
        raise WireError(f"expected the headers of a dead letter (docs/wire.md), found: {error}") from error
