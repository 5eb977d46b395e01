"""Whether the brokers still answer: says once that they do not, and once that they are back.

In: what was heard of the brokers, and a clock. Out: sentences for a person. The Kafka clients wait an outage out
without a word; somebody who watches must be able to tell a quiet night from a dead cluster. It must not know Kafka.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping

from stream_app.runtime.ports.clock import Clock

#: Seconds without an answer after which it is said. The promise is 5, and a poll takes half a second of them.
SILENCE_S = 3.0
#: Of one poll so many seconds count at most: a machine that was suspended has not waited for an answer.
_MOST_OF_A_POLL_S = 1.0
#: How often it is looked whether what was sent is confirmed, in seconds.
_LOOK_S = 0.5

#: Is given a sentence for a person.
Tell = Callable[[str], object]


def tell_nobody(_words: str) -> None:
    """Stand for a person where nobody is to be told."""


class Answers:
    """Answers to polls. A partition is heard of when the mark of its newest answer changes."""

    def __init__(self, tell: Tell, clock: Clock) -> None:
        self._tell = tell
        self._clock = clock
        self._marks: dict[Hashable, object] = {}
        self._waited: dict[Hashable, float] = {}
        self._silent_since: float | None = None

    @property
    def is_silent(self) -> bool:
        """Whether it was said last that they do not answer."""
        return self._silent_since is not None

    def polled(self, began: float, marks: Mapping[Hashable, object]) -> None:
        """Take note of a poll, and speak where something has changed.

        Time counts only while a poll waits: who reads slowly does not take that for the brokers' silence.

        Args:
            began: the clock's reading before the poll.
            marks: partition -> something that changes with each answer about it. Others are forgotten.
        """
        now = self._clock.monotonic()
        waited = min(now - began, _MOST_OF_A_POLL_S)
        self._waited = {
            place: self._waited.get(place, 0.0) + waited if self._marks.get(place) == mark else 0.0
            for place, mark in marks.items()
        }
        self._marks = dict(marks)
        longest = max(self._waited.values(), default=0.0)
        if self._silent_since is None and longest >= SILENCE_S:
            self._silent_since = now - longest
            self._tell(_gone("answered", longest))
        elif self._silent_since is not None and longest < SILENCE_S:
            self._tell(_back(now - self._silent_since))
            self._silent_since = None


class Confirmations:
    """Confirmations of records that were sent."""

    def __init__(self, tell: Tell, clock: Clock) -> None:
        self._tell = tell
        self._clock = clock
        self._open = 0
        self._heard_at = 0.0
        self._is_silent = False

    def sent(self) -> None:
        """A record is on its way."""
        if not self._open:
            self._heard_at = self._clock.monotonic()
        self._open += 1

    def done(self, *, is_confirmed: bool) -> None:
        """A record is confirmed, or abandoned with an error that is reported elsewhere."""
        self._open -= 1
        if not is_confirmed:
            return
        now = self._clock.monotonic()
        if self._is_silent:
            self._tell(_back(now - self._heard_at))
        self._is_silent = False
        self._heard_at = now

    async def watch(self) -> None:
        """Speak where nothing was confirmed for too long, until cancelled."""
        while True:
            await self._clock.sleep(_LOOK_S)
            silent_s = self._clock.monotonic() - self._heard_at
            if self._open and silent_s >= SILENCE_S and not self._is_silent:
                self._is_silent = True
                self._tell(_gone("confirmed anything", silent_s))


def _gone(what: str, silent_s: float) -> str:
    return f"the brokers have not {what} for {silent_s:.0f} s; waiting for them"


def _back(silent_s: float) -> str:
    return f"the brokers are back, after {silent_s:.0f} s"
