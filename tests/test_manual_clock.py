"""The clock that the runtime's tests move by hand."""

import asyncio

from tests.manual_clock import ManualClock


def test_who_sleeps_wakes_in_the_order_of_the_ends_and_at_that_time() -> None:
    async def whole() -> list[tuple[str, float]]:
        clock = ManualClock(monotonic=10.0)
        woken: list[tuple[str, float]] = []

        async def sleeper(name: str, seconds: float) -> None:
            await clock.sleep(seconds)
            woken.append((name, clock.monotonic()))

        jobs = [asyncio.create_task(sleeper(name, seconds)) for name, seconds in (("late", 3.0), ("soon", 1.0))]
        await clock.advance(0.5)
        assert woken == []
        await clock.advance(5.0)
        await asyncio.gather(*jobs)
        assert clock.monotonic() == 15.5
        return woken

    assert asyncio.run(whole()) == [("soon", 11.0), ("late", 13.0)]
