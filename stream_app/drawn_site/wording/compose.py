"""Site, wording: puts sentences together. In: a language, a meaning, which parts may be used. Out: a text.

Every fifth part of every list (places 3, 8, 13, ...) is held out: no training sentence contains it.
It must not know what the picture shows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from stream_app.drawn_site.wording import chinese, english

Wording = Literal["train", "held-out", "mixed"]
"""Which parts a sentence may use: those of training, only held-out ones, or any."""

LANGUAGES: tuple[str, ...] = ("en", "zh")
_HELD_OUT_EVERY = 5
_HELD_OUT_AT = 2
_TABLES = {"en": english, "zh": chinese}
_SLOTS = ("urgency", "who", "what", "where", "how")


@dataclass(frozen=True, slots=True)
class Sentence:
    """A composed text.

    Attributes:
        text: The text as it is sent.
        language: One of `LANGUAGES`.
        meaning: What it claims: a label, a look-alike, `quiet` or `vague`.
        parts: The parts that it is made of, as written in the tables.
    """

    text: str
    language: str
    meaning: str
    parts: tuple[str, ...]


def parts(language: str, meaning: str, slot: str, *, wording: Wording) -> tuple[str, ...]:
    """Return the parts that may fill a slot.

    Args:
        language: One of `LANGUAGES`.
        meaning: A label, a look-alike, `quiet` or `vague`.
        slot: `urgency`, `who`, `what`, `where` or `how`.
        wording: Which of them: `train` 80 %, `held-out` the other 20 %, `mixed` all.

    Raises:
        KeyError: No such language, meaning or slot.
    """
    table = _TABLES[language]
    lists = {"urgency": table.URGENCY, "where": table.WHERE}
    lists.update(zip(("who", "what", "how"), table.SLOTS[meaning], strict=True))
    every: tuple[str, ...] = lists[slot]
    if wording == "mixed":
        return every
    wanted = wording == "held-out"
    return tuple(part for place, part in enumerate(every) if (place % _HELD_OUT_EVERY == _HELD_OUT_AT) == wanted)


def compose(rng: np.random.Generator, meaning: str, *, language: str, wording: Wording) -> Sentence:
    """Compose one text.

    Args:
        rng: Source of all choices.
        meaning: A label, a look-alike, `quiet` or `vague`.
        language: One of `LANGUAGES`.
        wording: Which parts may be used; `held-out` uses held-out parts in every slot.

    Returns:
        A sentence whose parts are exactly those that occur in its text, but for upper and lower case.
    """
    shapes = _TABLES[language].SHAPES
    shape = shapes[int(rng.integers(0, len(shapes)))]
    used: dict[str, str] = {}
    for slot in _SLOTS:
        choice = parts(language, meaning, slot, wording=wording)
        part = choice[int(rng.integers(0, len(choice)))]
        if f"{{{slot}}}" in shape:
            used[slot] = part
    text = shape.format(**used)
    manner = rng.random()
    if language == "en":
        text = text.upper() if manner < 0.06 else text if manner < 0.3 else text[0].upper() + text[1:] + "."
    elif manner > 0.4:
        text += "。"
    return Sentence(text, language, meaning, tuple(used.values()))
