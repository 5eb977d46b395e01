"""The window as it stands at the cut: it follows the changes of the head once the cut has passed them.

In: records that changed, with the sequence number of each change, and slots that were filled. Out: the marks of both
sides and the slots of the held texts, as a checkpoint says them. Following costs what changed, not what is held.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from typing import TYPE_CHECKING

from stream_app.core.join import NEVER
from stream_app.core.marks import FAILED, HELD, LATE, MATCHED, REMEMBERED, SCORED, SHED, Marks
from stream_app.core.types import Side

if TYPE_CHECKING:
    from collections.abc import Iterable

    from stream_app.core.checkpoint_state import Checkpoint
    from stream_app.core.join import Held
    from stream_app.core.seen import Seen
    from stream_app.core.types import Ref


class Slots:
    """The buckets that a held text has filled: per camera, in runs of first bucket and number, in order."""

    __slots__ = ("runs", "sample_ms")

    def __init__(self, sample_ms: int) -> None:
        self.sample_ms = sample_ms
        self.runs: dict[str, list[list[int]]] = {}

    def fill(self, camera: str, bucket: int) -> bool:
        """Fill a bucket that is not filled; return whether it is the camera's first."""
        runs = self.runs.get(camera)
        if runs is None:
            self.runs[camera] = [[bucket, 1]]
            return True
        place = bisect_right(runs, [bucket])
        before = runs[place - 1] if place and sum(runs[place - 1]) == bucket else None
        after = runs[place] if place < len(runs) and runs[place][0] == bucket + 1 else None
        if before is not None and after is not None:
            before[1] += 1 + after[1]
            del runs[place]
        elif before is not None:
            before[1] += 1
        elif after is not None:
            after[:] = [bucket, after[1] + 1]
        else:
            runs.insert(place, [bucket, 1])
        return False


class AtCut:
    """The state of one task's window at the cut."""

    __slots__ = ("_filled", "cameras", "changed", "changed_texts", "marks", "texts")

    def __init__(self, checkpoint: Checkpoint | None) -> None:
        """Begin with the window of a checkpoint."""
        runs = (checkpoint.texts, checkpoint.frames) if checkpoint is not None else ((), ())
        self.marks = (Marks(runs[Side.TEXT]), Marks(runs[Side.FRAME]))
        self.texts: dict[int, Slots] = {}
        #: How many held texts have a slot of this camera.
        self.cameras: dict[str, int] = {}
        #: Texts whose slots changed since the caller last cleared this set.
        self.changed_texts: set[int] = set()
        #: Sequence number and record of what changed at the head; the join appends to it, too.
        self.changed: deque[tuple[int, Held]] = deque()
        self._filled: deque[tuple[int, int, str, int]] = deque()
        for state in checkpoint.slots if checkpoint is not None else ():
            slots = self.texts[state.offset] = Slots(state.sample_ms)
            for camera, first, number in state.used:
                if camera not in slots.runs:
                    self.cameras[camera] = self.cameras.get(camera, 0) + 1
                slots.runs.setdefault(camera, []).append([first, number])

    def fill(self, sequence: int, text: Held, frame: Held) -> None:
        """Note a slot that a text filled at the head."""
        record = frame.record
        self._filled.append((sequence, text.record.offset, record.camera, record.event_ms // text.sample_ms))
        self.changed.append((sequence, frame))

    def leave(self, held: Held, seen: Seen) -> None:
        """Take a record out that left the window at or before the cut, or never entered it."""
        record = held.record
        side, offset = record.side, record.offset
        is_remembered = record.identity is not None and seen.remembers((side, offset))
        self.marks[side].put(offset, REMEMBERED if is_remembered else 0)
        if not side:
            slots = self.texts.pop(offset, None)
            for camera in slots.runs if slots is not None else ():
                self._drop(camera)

    def forget(self, forgotten: Iterable[Ref]) -> None:
        """Take the mark off identities that are remembered no longer."""
        for side, offset in forgotten:
            marks = self.marks[side]
            mark = marks.get(offset)
            if mark:
                marks.put(offset, mark & ~REMEMBERED)

    def follow(self, cut: int, seen: Seen, failed: Iterable[Ref]) -> None:
        """Take over what changed up to the cut, and which of its records have failed to be scored since."""
        changed, filled = self.changed, self._filled
        while changed and changed[0][0] <= cut:
            held = changed.popleft()[1]
            if held.gone == NEVER or held.gone > cut:
                self._take_over(held, cut, seen)
        while filled and filled[0][0] <= cut:
            _, offset, camera, bucket = filled.popleft()
            slots = self.texts.get(offset)
            if slots is not None:
                self.changed_texts.add(offset)
                if slots.fill(camera, bucket):
                    self.cameras[camera] = self.cameras.get(camera, 0) + 1
        for side, offset in failed:
            mark = self.marks[side].get(offset)
            if mark & HELD:
                self.marks[side].put(offset, mark | FAILED)

    def _take_over(self, held: Held, cut: int, seen: Seen) -> None:
        """Say of a record that the window holds at the cut what it is there; of one that left, :meth:`leave` did."""
        record = held.record
        marks = self.marks[record.side]
        mark = (
            HELD
            | (held.is_late and LATE)
            | (NEVER < held.matched <= cut and MATCHED)
            | (NEVER < held.scored <= cut and SCORED)
            | (NEVER < held.shed <= cut and SHED)
            | (marks.get(record.offset) & FAILED)
        )
        if record.side is Side.TEXT and record.offset not in self.texts:
            self.texts[record.offset] = Slots(held.sample_ms)
        if record.identity is not None and seen.remembers(record.ref):
            mark |= REMEMBERED
        marks.put(record.offset, mark)

    def _drop(self, camera: str) -> None:
        left = self.cameras[camera] - 1
        if left:
            self.cameras[camera] = left
        else:
            del self.cameras[camera]
