"""What the core asks to be scored, in the words of the scoring port, and back.

In: observations and the bytes that are held, answers of a scorer. Out: items for it, and scores for the core. Live
tasks and replays share it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stream_app.core.types import Scored
from stream_app.runtime.ports.scoring import ImageInput, ScoreItem, TextInput

if TYPE_CHECKING:
    from collections.abc import Callable

    from stream_app.core.types import Observation, Ref
    from stream_app.runtime.ports.scoring import RecordKey, Score
    from stream_app.wire.step import Payloads


def item_of(observation: Observation, payloads: Payloads, key: Callable[[Ref], RecordKey]) -> ScoreItem:
    """Return what is to be scored; ``key`` names a record to the scorer."""
    text, frame = observation.text, observation.frame
    image = None
    if frame is not None and not observation.is_image_shed:
        image = ImageInput(key(frame.ref), payloads[frame.ref].value or b"")
    return ScoreItem(image, None if text is None else TextInput(key(text.ref), text.text))


def scored_as(observation: Observation, score: Score) -> Scored:
    """Return a scorer's answer as the core takes it."""
    return Scored(
        observation.sequence,
        observation.index,
        score.full,
        score.without_image,
        score.without_text,
        score.image_failure,
        score.text_failure,
    )
