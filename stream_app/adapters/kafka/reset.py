"""Resets a task whose input is gone: an operator's decision, carried out in one transaction.

In: a task and where it is to resume. Out: a deleted checkpoint, committed offsets at that place, and an entry in the
journal. A worker whose task is halted at the gap finds that out by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from stream_app.core.journal import JournalReset
from stream_app.wire.checkpoints import render_checkpoint, state_key
from stream_app.wire.journal import SCHEMA, JournalRecord, encode_journal
from stream_app.wire.message import Message

if TYPE_CHECKING:
    from stream_app.adapters.kafka.publisher import KafkaPublisher
    from stream_app.adapters.kafka.recovery import KafkaRecovery
    from stream_app.wire.topics import Topics


class Reset(msgspec.Struct, frozen=True):
    """Where a task resumes: its next text and frame offset."""

    partition: int
    next_text: int
    next_frame: int


async def reset_task(
    *,
    publisher: KafkaPublisher,
    recovery: KafkaRecovery,
    topics: Topics,
    deployment: str,
    partition: int,
    start_from: str,
) -> Reset:
    """Discard a task's state: window, open incidents, and everything before the new start.

    Args:
        publisher: of this task, not yet started; starting it fences the worker that runs the task.
        recovery: finds the offsets.
        topics: names of the topics.
        deployment: name of the deployment.
        partition: the task.
        start_from: ``earliest``, ``latest`` or an RFC 3339 time.

    Returns:
        Where the task resumes.

    Raises:
        EpochEndedError: if the brokers cannot be reached or refuse, or another owner came in between.
        RecoveryError: if the offsets cannot be read.
    """
    await publisher.start()
    try:
        text, frame = await recovery.positions(partition, start_from)
        entry = JournalRecord(schema=SCHEMA, partition=partition, entries=(JournalReset(text, frame),))
        messages = [
            Message(topics.journal, state_key(deployment, partition), encode_journal(entry)),
            render_checkpoint(None, topics, deployment, partition),
        ]
        await publisher.publish(messages, {(topics.texts, partition): text, (topics.frames, partition): frame})
    finally:
        await publisher.stop()
    return Reset(partition, text, frame)
