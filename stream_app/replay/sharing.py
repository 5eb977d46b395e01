"""Runs that score with the same scorer share its features: a record is forgotten once all of them have let it go."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from stream_app.runtime.ports.scoring import RecordKey, Score, ScoreItem, Scorer


def shared(scorers: Sequence[Scorer]) -> list[Scorer]:
    """Return one scorer for each that was given; those that are one object share its features."""
    pools = {id(scorer): _Pool(scorer, sum(other is scorer for other in scorers)) for scorer in scorers}
    return [_Share(pools[id(scorer)], number) for number, scorer in enumerate(scorers)]


class _Pool:
    """A scorer and how many use it; per record those who need it no more. Never more than the windows hold."""

    def __init__(self, scorer: Scorer, users: int) -> None:
        self.scorer = scorer
        self._users = users
        self._done: dict[RecordKey, set[int]] = {}

    def forget(self, key: RecordKey, user: int) -> None:
        done = self._done.setdefault(key, set())
        done.add(user)
        if len(done) == self._users:
            del self._done[key]
            self.scorer.forget(key)


class _Share:
    """One user's scorer."""

    def __init__(self, pool: _Pool, number: int) -> None:
        self._pool = pool
        self._number = number

    async def score(self, item: ScoreItem) -> Score:
        return await self._pool.scorer.score(item)

    def forget(self, key: RecordKey) -> None:
        self._pool.forget(key, self._number)
