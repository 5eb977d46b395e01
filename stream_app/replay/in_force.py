"""What was in force when a recording was made: the model and the settings, with which a replay begins.

In: a recording. Out: the first model and settings that its journal tells in full, in a switch or a keyframe, or None.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream_app.core.checkpoint import CheckpointError, decode_checkpoint
from stream_app.core.journal import JournalSwitch
from stream_app.core.types import InForce
from stream_app.replay.reading import readable
from stream_app.replay.recording import RecordingError
from stream_app.wire.checkpoints import state_key
from stream_app.wire.journal import JournalError, JournalRecord, decode_journal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stream_app.replay.recording import Recording, TopicRecord


def recorded_in_force(recording: Recording) -> InForce | None:
    """Return what the journal says first to be in force; None where it never says so in full.

    Raises:
        RecordingError: if a record of its journal is none.
    """
    deployment = recording.about.deployment
    for kind, record in readable(recording):
        if kind == "journal":
            for found in told_by(record, deployment):
                return found
    return None


def told_by(record: TopicRecord, deployment: str) -> Iterator[InForce]:
    """Yield what a record of the journal says to be in force; nothing for one of another deployment.

    Raises:
        RecordingError: if it is no record of a journal.
    """
    journal = _read(record)
    if record.key != state_key(deployment, journal.partition):
        return
    if journal.keyframe is not None:
        try:
            checkpoint = decode_checkpoint(journal.keyframe.checkpoint)
        except CheckpointError as error:
            raise RecordingError(f"keyframe of task {journal.partition}, offset {record.offset}: {error}") from error
        yield InForce(checkpoint.model, checkpoint.settings, checkpoint.settings_sha256)
    for entry in journal.entries:
        if isinstance(entry, JournalSwitch) and entry.full_model is not None and entry.full_settings is not None:
            yield InForce(entry.full_model, entry.full_settings, entry.settings)


def _read(record: TopicRecord) -> JournalRecord:
    try:
        return decode_journal(record.value or b"")
    except JournalError as error:
        raise RecordingError(f"journal at partition {record.partition}, offset {record.offset}: {error}") from error
