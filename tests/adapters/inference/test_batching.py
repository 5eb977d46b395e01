"""Lanes and the watchdog: nothing lost, nothing reordered, nothing waited for; what hangs or breaks is said."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stream_app.adapters.inference.batching import ItemFailedError, Lane, LaneBrokenError
from stream_app.adapters.inference.watchdog import Watchdog
from stream_app.bundle.graphs import GraphError


class _ManualExecutor(Executor):
    """Runs a submitted function when the test says that the thread is free."""

    def __init__(self) -> None:
        self.turns: list[Callable[[], object]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:  # noqa: ANN401 - as inherited
        self.turns.append(lambda: fn(*args, **kwargs))
        return Future()

    def take_turn(self) -> None:
        self.turns.pop(0)()


class _Doubler:
    """Doubles numbers; fails for any batch with one of ``poison``; a probe fails when ``is_broken``."""

    def __init__(self, *poison: int, is_broken: bool = False) -> None:
        self.batches: list[list[int]] = []
        self.poison = set(poison)
        self.is_broken = is_broken

    def run(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        if self.poison & set(items):
            raise GraphError("poison")
        return [2 * item for item in items]

    def probe(self) -> None:
        if self.is_broken:
            raise GraphError("broken")


def _lane(doubler: _Doubler, executor: Executor, max_batch: int = 4) -> Lane[int, int]:
    return Lane("doubles", doubler.run, max_batch=max_batch, executor=executor, probe=doubler.probe)


async def _settle() -> None:
    for _ in range(3):
        await asyncio.sleep(0)


async def _all(lane: Lane[int, int], executor: _ManualExecutor, items: Sequence[int]) -> list[int | BaseException]:
    work = asyncio.gather(*map(lane.submit, items), return_exceptions=True)
    await _settle()
    while executor.turns:
        executor.take_turn()
        await _settle()
    return await work


def test_a_batch_is_what_is_there_when_the_thread_becomes_free() -> None:
    async def run() -> None:
        doubler, executor = _Doubler(), _ManualExecutor()
        lane = _lane(doubler, executor)
        first = asyncio.create_task(lane.submit(1))
        await _settle()
        executor.take_turn()
        rest = [asyncio.create_task(lane.submit(item)) for item in range(2, 9)]
        await _settle()
        while executor.turns:
            executor.take_turn()
        assert await asyncio.gather(first, *rest) == [2, 4, 6, 8, 10, 12, 14, 16]
        assert doubler.batches == [[1], [2, 3, 4, 5], [6, 7, 8]]
        stats = lane.stats()
        assert (stats.batches, stats.items, stats.waiting) == (3, 8, 0)

    asyncio.run(run())


@given(st.lists(st.integers(0, 1000), max_size=40), st.integers(1, 7))
def test_every_item_is_computed_once_and_gets_its_own_result(items: list[int], max_batch: int) -> None:
    async def run() -> None:
        doubler, executor = _Doubler(), _ManualExecutor()
        lane = _lane(doubler, executor, max_batch)
        results = await _all(lane, executor, items)
        assert results == [2 * item for item in items]
        assert [item for batch in doubler.batches for item in batch] == items
        assert all(len(batch) <= max_batch for batch in doubler.batches)

    asyncio.run(run())


def test_an_item_whose_batch_fails_is_tried_alone_and_only_the_bad_one_fails() -> None:
    async def run() -> None:
        doubler, executor = _Doubler(3), _ManualExecutor()
        results = await _all(_lane(doubler, executor), executor, [1, 2, 3, 4, 5])
        assert isinstance(results.pop(2), ItemFailedError)
        assert results == [2, 4, 8, 10]
        assert doubler.batches == [[1, 2, 3, 4], [1], [2], [3], [3], [4], [5]]

    asyncio.run(run())


def test_a_single_item_is_tried_twice() -> None:
    async def run() -> None:
        doubler, executor = _Doubler(3), _ManualExecutor()
        results = await _all(_lane(doubler, executor), executor, [3])
        assert isinstance(results[0], ItemFailedError)
        assert doubler.batches == [[3], [3]]

    asyncio.run(run())


@pytest.mark.parametrize("error", [GraphError("gone"), ZeroDivisionError("a bug")])
def test_a_broken_engine_raises_for_everybody_and_is_never_an_empty_result(error: Exception) -> None:
    async def run() -> None:
        def fail(_items: Sequence[int]) -> list[int]:
            raise error

        doubler, executor = _Doubler(is_broken=True), _ManualExecutor()
        lane = Lane("doubles", fail, max_batch=2, executor=executor, probe=doubler.probe)
        results = await _all(lane, executor, [1, 2, 3, 4, 5])
        assert all(isinstance(result, LaneBrokenError) for result in results)
        with pytest.raises(LaneBrokenError, match="the engine is broken"):
            await lane.submit(6)

    asyncio.run(run())


@pytest.mark.parametrize("alone", [ZeroDivisionError("a bug"), None])
def test_an_engine_that_breaks_while_items_are_tried_alone_leaves_nobody_waiting(alone: Exception | None) -> None:
    async def run() -> None:
        def fail(items: Sequence[int]) -> list[int]:
            if len(items) > 1:
                raise GraphError("bad batch")
            if alone is not None:
                raise alone
            return []

        executor = _ManualExecutor()
        lane = Lane("doubles", fail, max_batch=4, executor=executor, probe=lambda: None)
        results = await _all(lane, executor, [1, 2, 3])
        assert all(isinstance(result, LaneBrokenError) for result in results)
        assert lane.batch_in_work is None

    asyncio.run(run())


def test_a_run_with_too_few_results_breaks_the_lane() -> None:
    async def run() -> None:
        executor = _ManualExecutor()
        lane: Lane[int, int] = Lane(
            "doubles", lambda items: items[1:], max_batch=4, executor=executor, probe=lambda: None
        )
        results = await _all(lane, executor, [1, 2, 3])
        assert all(isinstance(result, LaneBrokenError) for result in results)

    asyncio.run(run())


def test_the_watchdog_is_shown_each_run_of_a_batch_that_fails() -> None:
    async def run() -> None:
        shown: list[int | None] = []

        def double(items: Sequence[int]) -> list[int]:
            shown.append(lane.batch_in_work)
            if 3 in items:
                raise GraphError("poison")
            return [2 * item for item in items]

        executor = _ManualExecutor()
        lane: Lane[int, int] = Lane(
            "doubles", double, max_batch=4, executor=executor, probe=lambda: shown.append(lane.batch_in_work)
        )
        await _all(lane, executor, [1, 2, 3])
        assert len(shown) == len(set(shown)) == 6
        assert None not in shown

    asyncio.run(run())


def test_a_cancelled_item_harms_no_other() -> None:
    async def run() -> None:
        doubler, executor = _Doubler(), _ManualExecutor()
        lane = _lane(doubler, executor)
        tasks = [asyncio.create_task(lane.submit(item)) for item in (1, 2, 3)]
        await _settle()
        tasks[1].cancel()
        executor.take_turn()
        assert await tasks[0] == 2
        assert await tasks[2] == 6
        assert tasks[1].cancelled()

    asyncio.run(run())


def test_close_fails_what_waits() -> None:
    async def run() -> None:
        doubler, executor = _Doubler(), _ManualExecutor()
        lane = _lane(doubler, executor)
        task = asyncio.create_task(lane.submit(1))
        await _settle()
        lane.close()
        executor.take_turn()
        with pytest.raises(LaneBrokenError, match="closed"):
            await task
        assert doubler.batches == []

    asyncio.run(run())


class _Stage:
    def __init__(self) -> None:
        self.batch: int | None = None
        self.words: list[str] = []
        self.watchdog = Watchdog({"stage": lambda: self.batch}, limit_s=10, on_hang=self.words.append)

    def look_every_half_second(self, start_s: float, end_s: float) -> None:
        now_s = start_s
        while now_s <= end_s:
            self.watchdog.look(now_s)
            now_s += 0.5


def test_a_batch_in_work_for_ten_seconds_is_called_out_once() -> None:
    stage = _Stage()
    stage.batch = 7
    stage.look_every_half_second(100, 109.5)
    assert stage.words == []
    stage.look_every_half_second(110, 130)
    assert stage.words == ["stage: batch 7 has been running for 10.0 s, allowed 10 s"]


def test_batches_that_change_or_end_are_no_hang() -> None:
    stage = _Stage()
    for number in range(10):
        stage.batch = number
        stage.look_every_half_second(100 + 9 * number, 108.5 + 9 * number)
    stage.batch = None
    stage.look_every_half_second(190, 250)
    assert stage.words == []


@pytest.mark.parametrize("stops", [1, 3])
def test_a_machine_that_was_suspended_is_no_hang_and_a_stop_counts_as_one_second_at_most(stops: int) -> None:
    stage = _Stage()
    stage.batch = 1
    for hour in range(stops + 1):
        stage.watchdog.look(3_600 * hour)
    assert stage.words == []
    assert stage.watchdog.oldest_s == stops
    resumed_s = 3_600 * stops
    stage.look_every_half_second(resumed_s + 0.5, resumed_s + 9.5 - stops)
    assert stage.words == []
    stage.look_every_half_second(resumed_s + 10 - stops, resumed_s + 20)
    assert stage.words == ["stage: batch 1 has been running for 10.0 s, allowed 10 s"]


def test_a_batch_that_began_while_another_hung_is_young() -> None:
    stage = _Stage()
    stage.batch = 1
    stage.look_every_half_second(100, 115)
    stage.batch = 2
    stage.look_every_half_second(115.5, 125)
    assert len(stage.words) == 1
    assert stage.watchdog.oldest_s == 9.5
