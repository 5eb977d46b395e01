"""A replay put down as a recording of its own: the inputs as they were, and what it made of them.

In: the inputs that are judged, and the steps of a replay. Out: records of a recording, outputs as the brokers would
have appended them. All of it follows from the inputs, the bundle and the settings, so two replays write equal records.

Outputs of task p lie on partition p of each topic, from offset 0 on. Their append time is that of the newest input
behind their step; behind a tick, the time at which a worker would have made it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from stream_app.replay.recording import Kind, TopicRecord
from stream_app.runtime.keyframes import Keyframes
from stream_app.wire.step import render_step

if TYPE_CHECKING:
    from collections.abc import Callable

    from stream_app.core.effects import Step
    from stream_app.wire.context import Context
    from stream_app.wire.step import Payloads

#: The broker gave the time.
_APPEND_TIME = 1


class Rewriter:
    """Takes one run of a replay, and puts the records of its recording out in about the order of their append times."""

    def __init__(
        self, add: Callable[[Kind, TopicRecord], None], context: Context, *, step_ms: int, keyframe_ms: int
    ) -> None:
        """Begin with nothing.

        Args:
            add: takes the records.
            context: names, provider and what is in force; its partition says nothing.
            step_ms: how far the steps of a task lie apart, as commits do.
            keyframe_ms: at what distance in stream time the journal gets keyframes.
        """
        self.add = add
        self.step_ms = step_ms
        self._context = context
        self._keyframe_ms = keyframe_ms
        self._keyframes: dict[int, Keyframes] = {}
        self._next: dict[tuple[Kind, int], int] = {}
        topics = context.topics
        # Checkpoints are not recorded: keyframes are.
        self._kinds: dict[str, Kind] = {
            topics.alerts: "alerts",
            topics.decisions: "decisions",
            topics.journal: "journal",
            topics.dead_letters: "dead_letters",
        }

    def take(self, partition: int, step: Step, payloads: Payloads, append_ms: int) -> None:
        """Put a step's outputs out, as one transaction appended at this time."""
        keyframes = self._keyframes.setdefault(partition, Keyframes(self._keyframe_ms))
        context = msgspec.structs.replace(self._context, partition=partition)
        # A task's first step has a keyframe, and what every epoch says comes with it.
        has_keyframe = keyframes.is_due(step)
        for message in render_step(step, context, payloads, has_keyframe=has_keyframe):
            kind = self._kinds.get(message.topic)
            if kind is None:
                continue
            offset = self._next.get((kind, partition), 0)
            self._next[kind, partition] = offset + 1
            value = message.value
            size = len(value or b"")
            self.add(
                kind,
                TopicRecord(partition, offset, append_ms, _APPEND_TIME, message.key, value, message.headers, size),
            )
