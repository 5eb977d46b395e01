"""The judges of join cases: what they take for a difference on purpose, and that anything else is one too many."""

from __future__ import annotations

from typing import Any

import pytest

from stream_app.core.types import Side
from tests.core.drive_join import JoinDriver, Output, join_settings
from tests.core.join_verdict import judge

#: rule, join, (before, after, grace), steps (L10/7 is a left record of time 10 and key 7, or 1 where none is said) with
#: what is expected after a ``?`` (L+R@time/key), whether that holds to the letter, and whether by the stated rule.
KAFKA: list[tuple[str, str, tuple[int, int, int], str, bool, bool]] = [
    ("what agrees holds in both ways", "left", (2, 2, 0), "L0 R1 L50 ? L0+R1@1", True, True),
    ("a pair too many", "left", (2, 2, 0), "L0 R1 ? L0+R1@1 L0+R1@1", False, False),
    ("a pair too few", "inner", (2, 2, 0), "L0 R1 ?", False, False),
    ("Kafka: partners by time", "inner", (9, 9, 9), "R5 R3 L4 ? L4+R3@4 L4+R5@5", False, True),
    ("ours: partners by offset", "inner", (9, 9, 9), "R5 R3 L4 ? L4+R5@5 L4+R3@4", True, False),
    ("Kafka: by key", "left", (2, 2, 0), "L1/10 L1/9 L50 ? L1+null@1/9 L1+null@1/10", False, True),
    ("ours: by offset", "left", (2, 2, 0), "L1/10 L1/9 L50 ? L1+null@1/10 L1+null@1/9", True, False),
    ("Kafka: alone on arrival past the window", "left", (0, 0, 9), "L9 L5 ? L5+null@5", False, True),
    ("ours: alone past the grace", "left", (0, 0, 9), "L9 L5 ?", True, False),
    ("Kafka: alone, and then paired", "left", (2, 0, 0), "L3 L4/2 R3 ? L3+null@3 L3+R3@3", False, True),
    ("ours: alone, and gone", "left", (2, 0, 0), "L3 L4/2 R3 ? L3+null@3", True, False),
    ("Kafka: that partner is not alone", "outer", (2, 0, 0), "L3 L5/2 R2 ? L3+null@3 L3+R2@3", False, True),
    ("ours: it is", "outer", (2, 0, 0), "L3 L5/2 R2 ? L3+null@3 null+R2@2", True, False),
    ("Kafka: held by its side's time", "inner", (2, 2, 0), "L0 R9 R1 ? L0+R1@1", False, True),
    ("ours: held by S", "inner", (2, 2, 0), "L0 R9 R1 ?", True, False),
    ("ours: no key, no record", "left", (2, 2, 0), "L0/null L9 ? L0+null@0/null", False, True),
]


def _key(word: str) -> int | None:
    return None if word == "null" else int(word or 1)


def _kafka(join: str, window: tuple[int, int, int], words: str) -> dict[str, Any]:
    sent, _, expected = words.partition("?")
    steps: list[dict[str, Any]] = []
    for word in sent.split():
        name, _, key = word.partition("/")
        side = "left" if name[0] == "L" else "right"
        steps.append({"side": side, "key": _key(key), "value": name, "ts": int(name[1:])})
    outputs = []
    for word in expected.split():
        value, _, rest = word.partition("@")
        time, _, key = rest.partition("/")
        outputs.append({"key": _key(key), "value": value, "ts": int(time or 0)})
    bounds = dict(zip(("before_ms", "after_ms", "grace_ms"), window, strict=True))
    return {"join": join, "window": bounds, "steps": [*steps, {"expect": outputs}]}


@pytest.mark.parametrize(("rule", "join", "window", "words", "letter", "by_rule"), KAFKA, ids=[one[0] for one in KAFKA])
def test_a_case_of_kafka_streams_holds(
    rule: str,
    join: str,
    window: tuple[int, int, int],
    words: str,
    letter: bool,  # noqa: FBT001
    by_rule: bool,  # noqa: FBT001
) -> None:
    found = judge("kafka", _kafka(join, window, words))
    assert (not found.letter, not found.rule) == (letter, by_rule), (rule, found)
    assert not found.definition


def test_a_case_of_quix_may_put_a_record_out_alone_on_arrival_and_nothing_else() -> None:
    def case(*expected: list[int]) -> dict[str, Any]:
        messages: list[dict[str, Any]] = [
            {"side": side, "ts": ts, "value": {side: ts}, "expected": [{"ts": ts, "value": {"left": 1}} for _ in alone]}
            for (side, ts), alone in zip((("left", 1), ("right", 9)), expected, strict=True)
        ]
        return {"how": "left", "backward_ms": 1, "forward_ms": 1, "grace_ms": 2, "messages": messages}

    eager, never, twice = (judge("quix", case([0] * times, [])) for times in (1, 0, 2))
    assert (bool(eager.letter), bool(eager.rule)) == (True, False)
    assert never.letter
    assert never.rule
    assert twice.letter
    assert twice.rule


def test_a_join_that_leaves_the_definition_is_found_whatever_a_case_expects() -> None:
    driver = JoinDriver(join_settings(2, 2, 0, "right"))
    driver.admit(Side.TEXT, 10)
    driver.admit(Side.FRAME, 50)
    driver.tick(99)
    assert not driver.difference_from_definition()
    driver.outputs[1].clear()
    assert driver.difference_from_definition().startswith("step 1: by definition [Output(frame=None, text=0)]")
    driver.outputs[1].append(Output(None, 0))
    driver.late.add(1)
    assert "late True" in driver.difference_from_definition()
