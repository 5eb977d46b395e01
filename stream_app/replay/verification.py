"""What verifying a recording says: per task what was compared, what could not be, and the first difference.

Values, and their words for people; nothing here compares.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from stream_app.wire.message import format_time

#: ``different``: something is not as the core makes it of the recorded inputs. ``incomplete``: no difference, but a
#: part in the middle, or all of a task, could not be verified. ``equal``: every step from a task's beginning on is.
Status = Literal["equal", "different", "incomplete"]


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """The first thing that differs in a task; with what comes after it nothing more is compared.

    ``sequence`` and ``stream_ms`` are those of the step in which it shows. ``what`` is ``inputs``, ``journal``,
    ``keyframe``, ``outputs``, ``alerts``, ``decisions`` or ``dead_letters``. ``expected`` is what the core makes of the
    recorded inputs, except for inputs: there it is what the journal says that the live task saw.
    """

    partition: int
    sequence: int
    stream_ms: int
    what: str
    expected: str
    found: str
    inputs: tuple[str, ...] = ()

    def words(self) -> str:
        """Say it in a few lines."""
        time = format_time(self.stream_ms)
        lines = [
            f"task {self.partition}, step to sequence {self.sequence} at {time}: {self.what} differ",
            f"  expected {self.expected}",
            f"  found    {self.found}",
        ]
        return "\n".join([*lines, *([f"  inputs   {', '.join(self.inputs)}"] if self.inputs else [])])


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """From this step on a task could not be verified, until the next keyframe whose inputs are there.

    ``until_ms`` is the append time of the journal record from which on it was verified again, None where it never was;
    ``unusable`` counts the keyframes before that which could not be begun from either.
    """

    sequence: int
    stream_ms: int
    why: str
    until_ms: int | None = None
    unusable: int = 0


class TaskVerification(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one task. Counts are by the names of steps, keyframes and of the topics' records.

    ``begun`` is the sequence number from which on it is verified, None where it never is; ``begun_ms`` and
    ``reached_ms`` are the stream times there and at the last step that was verified. ``before`` lies in front of that;
    ``after`` has no journal record in the recording, or one whose transaction is cut by its end.
    """

    partition: int
    begun: int | None
    begun_ms: int | None
    reached_ms: int | None
    verified: dict[str, int]
    before: dict[str, int]
    after: dict[str, int]
    without_digests: int
    versions: tuple[str, ...]
    gaps: tuple[Gap, ...]
    difference: Difference | None

    @property
    def status(self) -> Status:
        """What it comes to."""
        if self.difference is not None:
            return "different"
        # A task that began and then had nothing to do has nothing to be verified.
        unverified = (self.after,) if self.begun is not None else (self.before, self.after)
        is_unverified = not self.verified.get("steps") and any(counts.get("steps") for counts in unverified)
        return "incomplete" if self.gaps or is_unverified else "equal"


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a recording. ``torn`` says why it could not be read to its end; empty where it could.

    ``unread`` counts records that lie on an output topic and belong to none of the tasks, or cannot be read.
    """

    tasks: tuple[TaskVerification, ...]
    unread: int
    torn: str

    @property
    def status(self) -> Status:
        """What it comes to; a recording of which nothing could be verified is not equal."""
        found = {task.status for task in self.tasks}
        if "different" in found:
            return "different"
        is_verified = any(task.verified.get("steps") for task in self.tasks)
        return "incomplete" if "incomplete" in found or self.torn or not is_verified else "equal"

    @property
    def differences(self) -> tuple[Difference, ...]:
        """The first difference of each task that has one."""
        return tuple(task.difference for task in self.tasks if task.difference is not None)
