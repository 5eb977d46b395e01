"""A model that costs nothing: the same scores always, high where the text is severe. What is left is Vigil's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.records import ALARM_WORD, SEVERE
from stream_app.core.score import MICRO
from stream_app.core.types import LabelRule, Model, Observation, Scored
from stream_app.runtime.ports.scoring import RecordKey, Score, ScoreItem

if TYPE_CHECKING:
    from stream_app.runtime.ports.scoring import MicroLogits

MODEL = Model(
    "constant",
    "1",
    "00" * 32,
    (
        LabelRule("fight", is_alerting=True, open_at=2 * MICRO, close_at=0),
        LabelRule("fire", is_alerting=True, open_at=2 * MICRO, close_at=0),
    ),
)
_CALM: MicroLogits = (-3 * MICRO, -3 * MICRO)
_ALARM: MicroLogits = (3 * MICRO, -3 * MICRO)


def scored(observation: Observation) -> Scored:
    """Score one observation of the core."""
    is_alarm = observation.text is not None and observation.text.severity == SEVERE
    full = _ALARM if is_alarm else _CALM
    has_both = observation.text is not None and observation.frame is not None
    other = full if has_both else None
    return Scored(observation.sequence, observation.index, full, other, other)


class ConstantScorer:
    """The scoring port with constant scores; implements ``stream_app.runtime.ports.scoring.Scorer``."""

    async def score(self, item: ScoreItem) -> Score:
        """Score one item at once."""
        is_alarm = item.text is not None and ALARM_WORD in item.text.text
        full = _ALARM if is_alarm else _CALM
        other = full if item.image is not None and item.text is not None else None
        return Score(full, other, other)

    def forget(self, key: RecordKey) -> None:
        """Keep nothing, so forget nothing."""
