"""Checkpoints as records of the state topic: topic, key and partition. What is in them is the core's business."""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream_app.wire.message import Message

if TYPE_CHECKING:
    from stream_app.wire.topics import Topics


def state_key(deployment: str, partition: int) -> bytes:
    """Return the key of a task's journal and checkpoint records; deployments may share these topics."""
    return f"{deployment}/{partition}".encode()


def render_checkpoint(checkpoint: bytes | None, topics: Topics, deployment: str, partition: int) -> Message:
    """Render a task's checkpoint, on the task's own partition; None is the tombstone of a task that was reset."""
    return Message(topics.state, state_key(deployment, partition), checkpoint, (), partition)
