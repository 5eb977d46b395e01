"""A task that starts from a checkpoint waits for the records that it needs of the inputs, before it admits any other.

In: records below the position, each side's in order of offset. Out: which of them are needed, with their marks. A
needed record that is missing is lost for good; the task must not go on without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream_app.core.marks import each
from stream_app.core.types import Side

if TYPE_CHECKING:
    from stream_app.core.checkpoint_state import Checkpoint, TextState


class LostError(LookupError):
    """A record that a checkpoint needs is not there any more, or is another one."""

    def __init__(self, side: Side, offset: int, detail: str) -> None:
        super().__init__(f"{side.kind} at offset {offset}: {detail}")
        self.side = side
        self.offset = offset
        self.detail = detail


class Restoring:
    """What a task still waits for."""

    __slots__ = ("_needed", "_texts", "cut")

    def __init__(self, checkpoint: Checkpoint) -> None:
        #: By side, the next that is needed at the end.
        self._needed = tuple(list(each(checkpoint.marks(side)))[::-1] for side in Side)
        self._texts = {state.offset: state for state in checkpoint.slots}
        self.cut = checkpoint.sequence

    @property
    def is_over(self) -> bool:
        """Whether all that is needed has come."""
        return not self._needed[0] and not self._needed[1]

    def awaited(self, side: Side) -> int | None:
        """Return the lowest offset of one side that is needed and has not come; None where all have."""
        needed = self._needed[side]
        return needed[-1][0] if needed else None

    def meet(self, side: Side, offset: int) -> int:
        """Return the marks of a record that comes for the first time; 0 if it is not needed, or came already.

        Raises:
            LostError: if one that is needed should have come before it.
        """
        needed = self._needed[side]
        if not needed or offset < needed[-1][0]:
            return 0
        lost, mark = needed[-1]
        if lost < offset:
            raise LostError(side, lost, f"expected it before offset {offset}, found it gone")
        needed.pop()
        return mark

    def text(self, offset: int) -> TextState:
        """Return what a held text has gathered.

        Raises:
            LostError: if the checkpoint does not say.
        """
        state = self._texts.pop(offset, None)
        if state is None:
            raise LostError(Side.TEXT, offset, "the checkpoint holds it and does not say what it has gathered")
        return state
