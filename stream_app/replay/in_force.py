"""What was in force when a recording was made: the model and the settings, with which a replay begins.

In: a recording. Out: the first model and settings that its journal tells in full, or None.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream_app.core.journal import JournalSwitch
from stream_app.core.types import InForce
from stream_app.replay.recording import RecordingError
from stream_app.wire.journal import JournalError, JournalRecord, decode_journal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from stream_app.replay.recording import Recording, TopicRecord


def recorded_in_force(recording: Recording) -> InForce | None:
    """Return what the journal says first to be in force; None where it never says so in full.

    Raises:
        RecordingError: if the recording or a record of its journal cannot be read.
    """
    for kind, record in recording.records():
        if kind == "journal":
            for found in told_by(read_journal(record)):
                return found
    return None


def told_by(journal: JournalRecord) -> Iterator[InForce]:
    """Yield what a record of the journal says to be in force, in its order."""
    for entry in journal.entries:
        if isinstance(entry, JournalSwitch) and entry.full_model is not None and entry.full_settings is not None:
            yield InForce(entry.full_model, entry.full_settings, entry.settings)


def read_journal(record: TopicRecord) -> JournalRecord:
    """Read a record of the journal.

    Raises:
        RecordingError: if it is none.
    """
    try:
        return decode_journal(record.value or b"")
    except JournalError as error:
        raise RecordingError(f"journal of task {record.partition}, offset {record.offset}: {error}") from error
