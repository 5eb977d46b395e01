"""The cache of features: a record is encoded once, and nobody is given an encoding that was lost or let go."""

import asyncio
from collections.abc import Callable

import numpy as np
import pytest

from stream_app.adapters.decoding.pool import DecodePoolError
from stream_app.adapters.inference.batching import LaneBrokenError
from stream_app.adapters.inference.features import Encoded, FeatureCache
from stream_app.runtime.ports.scoring import RecordKey

_KEY: RecordKey = (1, 0, 1, 5)
_OTHER: RecordKey = (2, 0, 1, 5)


class _Encoder:
    """Gives a feature that says which attempt made it, when the test says so."""

    def __init__(self) -> None:
        self.attempts: list[asyncio.Future[Encoded]] = []

    async def encode(self) -> Encoded:
        self.attempts.append(asyncio.get_running_loop().create_future())
        return await self.attempts[-1]

    def finish(self, attempt: int) -> None:
        self.attempts[attempt].set_result(_features(attempt))


def _features(attempt: int) -> Encoded:
    return np.full(3, attempt, dtype=np.float32)


async def _begin(cache: FeatureCache, encoder: _Encoder, key: RecordKey = _KEY) -> asyncio.Task[Encoded]:
    task = cache.request(key, encoder.encode)
    await asyncio.sleep(0)
    return task


async def _fail(encoder: _Encoder, task: asyncio.Task[Encoded], error: Exception) -> None:
    encoder.attempts[0].set_exception(error)
    with pytest.raises(type(error)):
        await task


async def _cancel(task: asyncio.Task[Encoded]) -> None:
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


def _run(scenario: Callable[[FeatureCache, _Encoder], object], *, most: int = 10) -> None:
    async def run() -> None:
        await scenario(FeatureCache(most=most), _Encoder())  # type: ignore[misc]

    asyncio.run(run())


@pytest.mark.parametrize("error", [LaneBrokenError("image: closed"), DecodePoolError("no child starts"), None])
def test_an_encoding_that_was_lost_is_made_anew_for_the_next_who_asks(error: Exception | None) -> None:
    async def scenario(cache: FeatureCache, encoder: _Encoder) -> None:
        lost = await _begin(cache, encoder)
        await (_cancel(lost) if error is None else _fail(encoder, lost, error))
        again = await _begin(cache, encoder)
        encoder.finish(1)
        np.testing.assert_array_equal(await again, _features(1))
        assert await _begin(cache, encoder) is again
        assert len(encoder.attempts) == 2

    _run(scenario)


def test_a_reason_why_there_are_no_features_is_remembered_and_not_tried_again() -> None:
    async def scenario(cache: FeatureCache, encoder: _Encoder) -> None:
        task = await _begin(cache, encoder)
        encoder.attempts[0].set_result("undecodable")
        assert await task == "undecodable"
        assert await (await _begin(cache, encoder)) == "undecodable"
        assert len(encoder.attempts) == 1

    _run(scenario)


def test_an_encoding_that_was_forgotten_while_it_ran_is_for_those_alone_who_waited() -> None:
    async def scenario(cache: FeatureCache, encoder: _Encoder) -> None:
        waiting, other = await _begin(cache, encoder), await _begin(cache, encoder, _OTHER)
        cache.forget(_KEY)
        anew = await _begin(cache, encoder)
        for attempt in (0, 1, 2):
            encoder.finish(attempt)
        np.testing.assert_array_equal(await waiting, _features(0))
        np.testing.assert_array_equal(await anew, _features(2))
        assert await _begin(cache, encoder) is anew
        assert await _begin(cache, encoder, _OTHER) is other
        assert len(encoder.attempts) == 3

    _run(scenario)


def test_the_record_that_nobody_asked_for_longest_is_the_one_to_go() -> None:
    async def scenario(cache: FeatureCache, encoder: _Encoder) -> None:
        first, second = await _begin(cache, encoder), await _begin(cache, encoder, _OTHER)
        assert await _begin(cache, encoder) is first
        await _begin(cache, encoder, (3, 0, 1, 5))
        assert len(cache) == 2
        assert await _begin(cache, encoder) is first
        assert await _begin(cache, encoder, _OTHER) is not second
        await cache.close()

    _run(scenario, most=2)


def test_closing_ends_what_runs_also_what_was_forgotten() -> None:
    async def scenario(cache: FeatureCache, encoder: _Encoder) -> None:
        forgotten = await _begin(cache, encoder)
        cache.forget(_KEY)
        running = await _begin(cache, encoder, _OTHER)
        await cache.close()
        assert forgotten.cancelled()
        assert running.cancelled()
        assert len(cache) == 0

    _run(scenario)
