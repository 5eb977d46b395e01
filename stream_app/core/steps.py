"""Steps: what is decided is put together for one transaction after the other, each with the state at its cut.

In: the two halves of a task. Out: one :class:`Step` at a time, until it is confirmed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream_app.core.checkpoint import decode_checkpoint
from stream_app.core.checkpoint_2 import TextCache, encode_state
from stream_app.core.digest import digest_of_all
from stream_app.core.effects import Step
from stream_app.core.types import Side

if TYPE_CHECKING:
    from stream_app.core.checkpoint_state import Checkpoint
    from stream_app.core.decide import Decide
    from stream_app.core.front import Front
    from stream_app.core.pins import Pins
    from stream_app.core.settle import Settle


class Steps:
    """The open step of one task, and where the last one stood."""

    __slots__ = ("_cache", "_decide", "_front", "_last_sequence", "_name", "_open", "_pins", "_settle")

    def __init__(self, front: Front, decide: Decide, settle: Settle, pins: Pins, name: tuple[str, int]) -> None:
        """Begin without an open step; ``name`` is deployment and partition."""
        self._front = front
        self._decide = decide
        self._settle = settle
        self._pins = pins
        self._name = name
        self._cache = TextCache()
        self._open: Step | None = None
        self._last_sequence = front.head.sequence

    @property
    def has_news(self) -> bool:
        """Whether something was decided that no confirmed step holds yet."""
        return self._settle.at.sequence != self._last_sequence

    def next(self) -> Step | None:
        """Return the next step, or None when nothing changed or the last step is not yet confirmed.

        None, too, while records that the checkpoint needs have not all come: until then it is the newest.
        """
        if self._open is not None or not self.has_news or self._front.restoring is not None:
            return None
        at = self._settle.at
        outputs = self._settle.take_outputs()
        self._front.prune(at)
        self._decide.prune(at.stream_ms)
        checkpoint = self._encoded()
        marks = self._front.at_cut.marks
        self._open = Step(
            sequence=at.sequence,
            stream_ms=at.stream_ms,
            next_text=at.next_text,
            next_frame=at.next_frame,
            inputs=digest_of_all(outputs.digests),
            alerts=tuple(outputs.alerts),
            notices=tuple(outputs.notices),
            decisions=tuple(outputs.decisions),
            dead_letters=tuple(outputs.dead_letters),
            journal=tuple(outputs.journal),
            checkpoint=checkpoint,
            commit_text=marks[Side.TEXT].lowest(at.next_text),
            commit_frame=marks[Side.FRAME].lowest(at.next_frame),
        )
        return self._open

    def confirm(self) -> None:
        """Say that the open step is confirmed; its dead letters need their bytes no longer.

        Raises:
            ValueError: if no step is open.
        """
        step, self._open = self._open, None
        if step is None:
            message = "no step is open"
            raise ValueError(message)
        self._last_sequence = step.sequence
        for letter in step.dead_letters:
            self._pins.unpin(letter.ref)

    def checkpoint(self) -> Checkpoint:
        """Return the state at the cut."""
        return decode_checkpoint(self._encoded())

    def _encoded(self) -> bytes:
        deployment, partition = self._name
        decide, at_cut = self._decide, self._front.at_cut
        state = self._front.state_at(self._settle.at, decide.newly_failed)
        decide.newly_failed.clear()
        self._cache.drop(at_cut.changed_texts, decide.changed_texts)
        at_cut.changed_texts.clear()
        decide.changed_texts.clear()
        return encode_state(
            self._cache,
            at_cut.texts,
            at_cut.cameras,
            decide.state(),
            deployment=deployment,
            partition=partition,
            totals=self._settle.totals,
            **state,
        )
