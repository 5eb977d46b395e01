"""Players that go as fast as they can keep the order of their times, a step at a time, and none waits for ever."""

import asyncio
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from stream_app.adapters.feed.turns import STEP_MS, Turns


class Slow:
    """An outbox whose records take some rounds of the event loop to be confirmed."""

    def __init__(self, rounds: int, log: list[int]) -> None:
        self._rounds = rounds
        self._log = log
        self._unconfirmed: list[int] = []

    def send(self, offset_ms: int) -> None:
        self._unconfirmed.append(offset_ms)

    async def drain(self) -> None:
        """Wait until everything sent is confirmed; only then a broker has it for certain."""
        for _ in range(self._rounds):
            await asyncio.sleep(0)
        self._log += self._unconfirmed
        self._unconfirmed = []


async def _play(offsets: Sequence[int], rounds: int, turns: Turns, log: list[int]) -> None:
    outbox = Slow(rounds, log)
    for offset_ms in sorted(offsets):
        await turns.wait(outbox, offset_ms, outbox)
        outbox.send(offset_ms)
    await turns.leave(outbox, outbox)


async def _play_all(players: list[tuple[list[int], int]]) -> list[int]:
    log: list[int] = []
    turns = Turns(len(players))
    await asyncio.gather(*(_play(offsets, rounds, turns, log) for offsets, rounds in players))
    return log


@given(
    st.lists(st.tuples(st.lists(st.integers(-2_000, 20_000), max_size=12), st.integers(0, 9)), min_size=1, max_size=5)
)
def test_nothing_is_confirmed_a_step_or_more_before_what_should_have_come_first(
    players: list[tuple[list[int], int]],
) -> None:
    log = asyncio.run(asyncio.wait_for(_play_all(players), 10))
    assert sorted(log) == sorted(offset for offsets, _ in players for offset in offsets)
    steps = [offset // STEP_MS for offset in log]
    assert steps == sorted(steps)
