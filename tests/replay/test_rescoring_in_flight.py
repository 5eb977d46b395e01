"""What scoring again holds while scores are waited for: each record's features once, and as long as it is needed."""

from __future__ import annotations

import asyncio
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest

from stream_app.core.types import Model, Ref, Scored, Side
from stream_app.replay import rescoring
from stream_app.replay.rescoring import Judge, Rescoring
from stream_app.replay.verify import verifying
from stream_app.runtime.ports.scoring import Score
from tests.replay.test_rescoring import _busy

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from stream_app.core.types import Observation
    from stream_app.runtime.ports.scoring import RecordKey, ScoreItem
    from stream_app.wire.step import Payloads

Answer = tuple[int, "Observation", Scored, Model, "Payloads"]


class _Noting:
    """Notes what an onlooker is told."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []

    def answered(
        self, partition: int, observation: Observation, scored: Scored, model: Model, payloads: Payloads
    ) -> None:
        held = {ref: payloads[ref] for ref in (one.ref for one in (observation.text, observation.frame) if one)}
        self.answers.append((partition, observation, scored, model, held))

    def released(self, partition: int, ref: Ref) -> None:
        pass


@cache
def _pair() -> Answer:
    """A pair that was scored, whose records have different times."""
    noting = _Noting()
    for _ in verifying(_busy(1)[0], noting):
        pass
    for answer in noting.answers:
        _, observation, scored, _, _ = answer
        text, frame = observation.text, observation.frame
        if text is None or frame is None or observation.is_image_shed or scored.full is None:
            continue
        if text.event_ms != frame.event_ms:
            return answer
    raise AssertionError("expected a pair whose records have different times")


class _Waiting:
    """Answers when it is told to, by the recorded scores plus ``more``."""

    def __init__(self, *, more: int = 0) -> None:
        self.more = more
        self.go = asyncio.Event()
        self.known: set[RecordKey] = set()
        self.cancelled = 0

    async def score(self, item: ScoreItem) -> Score:
        self.known.update(side.key for side in (item.image, item.text) if side is not None)
        try:
            await self.go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        recorded = _pair()[2]
        full = recorded.full and tuple(one + self.more for one in recorded.full)
        return Score(full, None, None, recorded.image_failure, recorded.text_failure)

    def forget(self, key: RecordKey) -> None:
        self.known.discard(key)


def _run(test: Callable[[Rescoring, _Waiting], Coroutine[Any, Any, None]], *, more: int = 0) -> None:
    async def whole() -> None:
        scorer = _Waiting(more=more)
        labels = tuple(label.name for label in _pair()[3].labels)
        again = Rescoring(lambda _: Judge(scorer, labels), band=0.0, tolerance=0.0)
        try:
            await test(again, scorer)
        finally:
            again.close()

    asyncio.run(whole())


def _frame() -> Ref:
    frame = _pair()[1].frame
    assert frame is not None
    return (Side.FRAME, frame.offset)


async def _a_while() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def test_features_stay_until_the_record_is_let_go() -> None:
    async def test(again: Rescoring, scorer: _Waiting) -> None:
        again.answered(*_pair())
        scorer.go.set()
        await again.finish()
        assert len(scorer.known) == 2
        again.released(0, _frame())
        assert len(scorer.known) == 1

    _run(test)


def test_features_of_a_record_that_is_let_go_in_flight_go_when_its_scores_are_there() -> None:
    async def test(again: Rescoring, scorer: _Waiting) -> None:
        again.answered(*_pair())
        await _a_while()
        again.released(0, _frame())
        assert len(scorer.known) == 2
        scorer.go.set()
        await again.finish()
        assert len(scorer.known) == 1

    _run(test)


def test_features_of_a_record_that_is_needed_again_meanwhile_stay() -> None:
    async def test(again: Rescoring, scorer: _Waiting) -> None:
        again.answered(*_pair())
        await _a_while()
        again.released(0, _frame())
        # As after a crash or a reset.
        again.answered(*_pair())
        scorer.go.set()
        await again.finish()
        assert len(scorer.known) == 2

    _run(test)


def test_no_more_than_a_few_are_in_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rescoring, "_IN_FLIGHT", 3)

    async def test(again: Rescoring, scorer: _Waiting) -> None:
        for _ in range(2):
            again.answered(*_pair())
        await again.room()
        again.answered(*_pair())
        waiting = asyncio.ensure_future(again.room())
        await _a_while()
        assert not waiting.done()
        scorer.go.set()
        await waiting

    _run(test)


def test_what_is_in_flight_is_given_up_at_the_end() -> None:
    async def test(again: Rescoring, scorer: _Waiting) -> None:
        again.answered(*_pair())
        await _a_while()
        again.close()
        await _a_while()
        assert scorer.cancelled == 1
        assert scorer.known == set()

    _run(test)


def test_a_scorer_that_judged_something_else_before_does_not_take_its_records_for_these() -> None:
    async def test(again: Rescoring, scorer: _Waiting) -> None:
        other = Rescoring(
            lambda _: Judge(scorer, tuple(label.name for label in _pair()[3].labels)), band=0, tolerance=0
        )
        for one in (again, other):
            one.answered(*_pair())
        scorer.go.set()
        await again.finish()
        await other.finish()
        assert len(scorer.known) == 4
        other.close()

    _run(test)


def test_a_flip_is_told_with_the_time_of_the_newer_record() -> None:
    text, frame = _pair()[1].text, _pair()[1].frame
    assert text is not None
    assert frame is not None

    async def test(again: Rescoring, scorer: _Waiting) -> None:
        again.answered(*_pair())
        scorer.go.set()
        found = await again.finish()
        assert found.flips
        assert {flip.of.event_ms for flip in found.flips} == {max(text.event_ms, frame.event_ms)}

    # Whatever was recorded, one of the two passes a threshold.
    full = _pair()[2].full
    assert full is not None
    _run(test, more=-9_000_000 if max(full) > 0 else 9_000_000)
