"""Texts are composed of parts, and a fifth of the parts of every slot occurs in no training sentence."""

from __future__ import annotations

import numpy as np
import pytest

from stream_app.drawn_site import LABELS, LOOKALIKES, QUIET, VAGUE, sample
from stream_app.drawn_site.wording import LANGUAGES, compose, parts
from stream_app.drawn_site.wording.compose import Wording

MEANINGS = (*LABELS, *LOOKALIKES, QUIET, VAGUE)
SLOTS = ("urgency", "who", "what", "where", "how")
EVERY_SLOT = [(language, meaning, slot) for language in LANGUAGES for meaning in MEANINGS for slot in SLOTS]


def held_out(language: str) -> set[str]:
    return {part for lang, meaning, slot in EVERY_SLOT if lang == language
            for part in parts(lang, meaning, slot, wording="held-out")}  # fmt: skip


@pytest.mark.parametrize(("language", "meaning", "slot"), EVERY_SLOT)
def test_exactly_a_fifth_of_the_parts_of_every_slot_is_held_out(language: str, meaning: str, slot: str) -> None:
    every = parts(language, meaning, slot, wording="mixed")
    kept = parts(language, meaning, slot, wording="train")
    out = parts(language, meaning, slot, wording="held-out")
    assert len(set(every)) == len(every) >= 5
    assert len(out) * 5 == len(every)
    assert set(kept) | set(out) == set(every)
    assert not set(kept) & set(out)


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_held_out_part_is_contained_in_a_part_of_training(language: str) -> None:
    training = {part for lang, meaning, slot in EVERY_SLOT if lang == language
                for part in parts(lang, meaning, slot, wording="train")}  # fmt: skip
    found = [(out, part) for out in held_out(language) for part in training if out.lower() in part.lower()]
    assert found == []


def test_no_training_row_contains_a_held_out_part() -> None:
    rows = list(sample(8, 800, wording="train"))
    banned = {language: {part.lower() for part in held_out(language)} for language in LANGUAGES}
    for row in rows:
        assert not [part for part in banned[row.language] if part in row.text.lower()], row.text


def test_a_held_out_row_is_made_of_held_out_parts_only() -> None:
    for row in sample(8, 300, wording="held-out"):
        assert set(row.parts) <= held_out(row.language)


@pytest.mark.parametrize("wording", ["train", "held-out", "mixed"])
def test_a_sentence_is_made_of_its_parts_and_is_the_same_for_the_same_source_of_chance(wording: Wording) -> None:
    for meaning in MEANINGS:
        for language in LANGUAGES:
            one, again = (
                compose(np.random.default_rng(9), meaning, language=language, wording=wording) for _ in range(2)
            )
            assert one == again
            assert all(part.lower() in one.text.lower() for part in one.parts)
            assert one.meaning == meaning
            assert len(one.text) < 300


def test_an_unknown_language_is_refused() -> None:
    with pytest.raises(KeyError):
        parts("fr", "fight", "who", wording="train")
