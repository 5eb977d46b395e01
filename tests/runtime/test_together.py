"""Jobs that belong together: all end, results keep their order, and the first failure comes out as itself."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable

import pytest

from stream_app.runtime.together import run_together


def _in_a_loop(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    @functools.wraps(test)
    def run() -> None:
        async def bounded() -> None:
            await asyncio.wait_for(test(), 30)

        asyncio.run(bounded())

    return run


class _Job:
    """Sleeps until it is cancelled, and says so."""

    def __init__(self) -> None:
        self.was_cancelled = False

    async def run(self) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.was_cancelled = True
            raise


@_in_a_loop
async def test_results_come_in_the_order_of_the_jobs() -> None:
    turn = asyncio.Event()

    async def first() -> int:
        await turn.wait()
        return 1

    async def second() -> int:
        turn.set()
        return 2

    assert await run_together([first(), second()]) == [1, 2]
    assert await run_together([]) == []


@_in_a_loop
async def test_the_first_failure_ends_the_others_and_comes_out_as_itself() -> None:
    other, late = _Job(), _Job()

    async def fail() -> None:
        raise ValueError("why")

    async def fail_on_the_way_out() -> None:
        try:
            await late.run()
        finally:
            raise OSError("a consequence")

    with pytest.raises(ValueError, match="why"):
        await run_together([fail_on_the_way_out(), other.run(), fail()])
    assert other.was_cancelled
    assert late.was_cancelled


@_in_a_loop
async def test_a_failure_leaves_the_caller_as_it_was() -> None:
    """With a TaskGroup on Python 3.11.2, the timeout below would end the caller."""

    async def fail() -> None:
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 - the one above
        await run_together([fail()])
    caller = asyncio.current_task()
    assert caller is not None
    assert caller.cancelling() == 0
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await asyncio.Event().wait()


@_in_a_loop
async def test_a_caller_that_is_cancelled_leaves_no_job_behind() -> None:
    job = _Job()
    caller = asyncio.create_task(run_together([job.run()]))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert job.was_cancelled


@_in_a_loop
async def test_a_job_that_another_one_cancels_has_no_result() -> None:
    job = _Job()
    running = asyncio.ensure_future(job.run())

    async def stop() -> str:
        await asyncio.sleep(0)
        running.cancel()
        return "stopped"

    jobs: list[asyncio.Future[None] | asyncio.Future[str]] = [running, asyncio.ensure_future(stop())]
    assert await run_together(jobs) == ["stopped"]
    assert job.was_cancelled


@_in_a_loop
async def test_a_job_that_is_cancelled_from_within_is_a_failure_and_the_others_end() -> None:
    other = _Job()
    answer: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def ask() -> None:
        await answer

    asyncio.get_running_loop().call_soon(answer.cancel)
    with pytest.raises(RuntimeError, match="cancelled from within"):
        await run_together([other.run(), ask()])
    assert other.was_cancelled
