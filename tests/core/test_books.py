"""The books: every record ends in the one counter that says what became of it."""

from __future__ import annotations

import pytest

from stream_app.config import Operational
from stream_app.core.settings import How, Semantic
from stream_app.core.types import Ref, Side
from tests.core.drive import T0, Scores, Shell, raw_frame, raw_text

TEXT, FRAME = Side.TEXT, Side.FRAME
ENDS = {
    "texts": ("paired", "alone", "dead", "duplicate"),
    "frames": ("scored", "thinned", "alone", "unmet", "dead", "duplicate"),
}


@pytest.mark.parametrize(
    ("what", "how", "sides", "failing", "expected"),
    [
        ("a pair", "right", (FRAME, TEXT), (), {"texts.paired": 1, "frames.scored": 1}),
        ("a pair, the text first", "right", (TEXT, FRAME), (), {"texts.paired": 1, "frames.scored": 1}),
        ("a text that met no frame", "right", (TEXT,), (), {"texts.alone": 1}),
        ("a frame that met no text and is wanted only with one", "right", (FRAME,), (), {"frames.unmet": 1}),
        ("a frame that is judged alone", "left", (FRAME,), (), {"frames.alone": 1}),
        ("a text that failed", "right", (TEXT,), ((TEXT, 0),), {"texts.dead": 1}),
        ("a frame that failed", "right", (FRAME, TEXT), ((FRAME, 0),), {"texts.paired": 1, "frames.dead": 1}),
        ("both", "right", (FRAME, TEXT), ((TEXT, 0), (FRAME, 0)), {"texts.dead": 1, "frames.dead": 1}),
    ],
)  # fmt: skip
def test_a_record_is_counted_as_what_became_of_it(
    what: str, how: How, sides: tuple[Side, ...], failing: tuple[Ref, ...], expected: dict[str, int]
) -> None:
    shell = Shell(Semantic(how=how), Scores(failing=set(failing)), limits=Operational().limits)
    for side in sides:
        shell.live(side, raw_text(0, T0) if side is TEXT else raw_frame(0, T0))
    shell.finish(after_ms=60_000)
    ends = {f"{word}.{end}" for word, names in ENDS.items() for end in names}
    assert {name: number for name, number in shell.task.totals.items() if name in ends and number} == expected, what


def test_of_the_pairs_that_were_joined_the_rest_is_counted_as_thinned() -> None:
    shell = Shell(Semantic(sample_ms=1_000), Scores(), limits=Operational().limits)
    for offset in range(4):
        shell.live(FRAME, raw_frame(offset, T0 + 10 * offset))
    shell.live(TEXT, raw_text(0, T0 + 40))
    shell.finish(after_ms=60_000)
    totals = shell.task.totals
    assert (totals["pairs.joined"], totals["pairs.thinned"], totals["frames.scored"]) == (4, 3, 1)


@pytest.mark.parametrize("again", [1, 2, 3])
def test_a_record_that_comes_again_is_not_queued_again(again: int) -> None:
    task = Shell(Semantic(), Scores(), limits=Operational().limits).task
    task.receive(TEXT, [raw_text(offset, T0 + offset) for offset in range(4)])
    task.receive(TEXT, [raw_text(again, T0 + again)])
    assert task.queued(TEXT) == 4
