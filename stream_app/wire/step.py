"""All that one step of a task publishes. In: a step of the core and its context. Out: messages, the checkpoint last.

Pure functions; the same step and context give the same bytes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from stream_app.core.digest import OutputDigest
from stream_app.wire.alerts import render_alert, render_notice
from stream_app.wire.checkpoints import render_checkpoint
from stream_app.wire.dead_letters import render_dead_letter
from stream_app.wire.decisions import render_decision
from stream_app.wire.journal import render_journal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stream_app.core.effects import Step
    from stream_app.core.types import RawRecord, Ref
    from stream_app.wire.context import Context
    from stream_app.wire.message import Message


class Payloads(Protocol):
    """Where the bytes of records are kept until the core releases them."""

    def __getitem__(self, ref: Ref, /) -> RawRecord: ...


def render_step(
    step: Step, context: Context, payloads: Payloads, *, is_first: bool = False, has_keyframe: bool = False
) -> Iterator[Message]:
    """Render everything that one step publishes, the checkpoint last.

    Args:
        step: the step.
        context: names and provider.
        payloads: the raw records of the step's dead letters.
        is_first: whether it is the first of an epoch, which the journal then describes.
        has_keyframe: whether the journal gets the checkpoint, too.
    """
    outputs = OutputDigest()
    for message in render_outputs(step, context, payloads):
        outputs.add(message.topic, message.key, message.value, message.headers)
        yield message
    yield render_journal(step, context, outputs, is_first=is_first, has_keyframe=has_keyframe)
    yield render_checkpoint(step.checkpoint, context.topics, context.deployment, context.partition)


def render_outputs(step: Step, context: Context, payloads: Payloads) -> Iterator[Message]:
    """Render what subscribers read of a step: alerts, notices, decisions and dead letters, in this order."""
    for alert in step.alerts:
        yield render_alert(alert, context)
    for notice in step.notices:
        yield render_notice(notice, context)
    for decision in step.decisions:
        yield render_decision(decision, context)
    for letter in step.dead_letters:
        yield render_dead_letter(letter, payloads[letter.ref], context)
