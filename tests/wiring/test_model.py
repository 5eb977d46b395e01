"""Wiring of the model: the operational settings reach what they bound."""

import asyncio

from stream_app.config import load_settings
from stream_app.runtime.ports.scoring import ScoreItem, TextInput
from stream_app.wiring.model import inference

_SMALL = ("provider=cpu", "decode_children=1", "scorer_in_flight=2", "feature_bytes=1")


def test_the_scorers_bounds_are_those_of_the_settings() -> None:
    async def run() -> None:
        async with inference(load_settings(environ={}, assignments=_SMALL)) as model:
            items = [ScoreItem(None, TextInput((1, 0, 0, offset), f"alarm {offset}")) for offset in range(5)]
            jobs = [asyncio.create_task(model.scorer.score(item)) for item in items]
            await asyncio.sleep(0)
            assert model.scorer.stats().in_flight == 2
            await asyncio.gather(*jobs)
            assert model.scorer.stats().cached == 1
            assert model.scorer.stats().texts_encoded == 5

    asyncio.run(run())
