"""The join, rule by rule: a table of small streams and what each step puts out."""

from __future__ import annotations

import pytest

from stream_app.core.join import Held, Join
from stream_app.core.settings import How
from stream_app.core.types import Record, Side
from tests.core.drive_join import JoinDriver, join_settings

#: rule, (before, after, grace), how, steps, what each step puts out. f10 is a frame of event time 10, t7 a text of 7,
#: =40 a tick, t7/y a text of another zone; an output names its records by event time, a ! says the step's was late.
CASES: list[tuple[str, tuple[int, int, int], How, str, str]] = [
    ("both ends of the window are included", (2, 3, 0), "inner", "f10 t8 t13", "- f10+t8 f10+t13"),
    ("past either end there is no pair", (2, 3, 0), "inner", "f10 t7 t14", "- -! -"),
    ("a text may come first", (2, 3, 0), "inner", "t8 t13 f10", "- - f10+t8,f10+t13"),
    ("zones never meet", (5, 5, 0), "inner", "f10 t10/y", "- -"),
    ("a text closes when S is past its time + before + grace", (2, 3, 4), "right", "t10 =16 =17", "- - t10"),
    ("a frame closes when S is past its time + after + grace", (2, 3, 4), "left", "f10 =17 =18", "- - f10"),
    ("close is strict: at its close a record still pairs", (2, 3, 0), "right", "t10 =12 f12", "- - f12+t10"),
    ("right: frames alone give nothing", (2, 2, 0), "right", "f10 t50 =99", "- - t50"),
    ("left: texts alone give nothing", (2, 2, 0), "left", "t10 f50 =99", "- - f50"),
    ("inner: nobody alone gives anything", (2, 2, 0), "inner", "t10 f50 =99", "- - -"),
    ("outer: both alone give a result", (2, 2, 0), "outer", "t10 f50 =99", "- t10 f50"),
    ("closing comes in order of event time, text first", (2, 2, 9), "outer", "f11 t10/y f10/z t11/x2 =99",
     "- - - - t10,f10,t11,f11"),
    ("closing comes before pairing", (2, 2, 0), "right", "t10 t50 f50", "- t10 f50+t50"),
    ("a matched record is not put out alone", (2, 2, 0), "outer", "t10 f10 =99", "- f10+t10 -"),
    ("a record meets many, in offset order", (9, 9, 0), "inner", "f12 f10 f11 t11", "- - - f12+t11,f10+t11,f11+t11"),
    ("a late text that finds nothing is put out at once", (2, 2, 0), "right", "f50 t10", "- t10!"),
    ("a late text pairs with what is still held", (2, 2, 9), "right", "f40 f51 t39", "- - f40+t39!"),
    ("a late record is late though it pairs", (0, 20, 0), "right", "f40 f60 t59", "- - f40+t59!"),
    ("within grace nothing is late", (2, 2, 9), "right", "f50 t41 f41", "- - f41+t41"),
    ("a negative bound: only texts after the frame", (-2, 5, 0), "right", "f10 t11 t12 t15 t16",
     "- t11! f10+t12! f10+t15! t16!"),
    ("a negative bound: only texts before the frame", (5, -2, 0), "inner", "t4 t5 t8 t9 f10", "- - - - f10+t5,f10+t8!"),
    ("a record is held to S - H and no longer", (2, 3, 1), "inner", "f10 =16 t10", "- - f10+t10!"),
    ("a late record that lies at S - H is held too", (2, 3, 1), "inner", "f16/y f10 t10", "- -! f10+t10!"),
    ("one that lies past S - H is not", (2, 3, 1), "inner", "f17/y f10 t10", "- -! -!"),
    ("past S - H it is dropped", (2, 3, 1), "inner", "f10 =17 t10", "- - -!"),
    ("a tick behind S moves nothing", (2, 2, 0), "right", "t10 =11 =5 f12", "- - - f12+t10"),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "window", "how", "steps", "expected"), CASES, ids=[case[0] for case in CASES])
def test_each_step_puts_out(rule: str, window: tuple[int, int, int], how: How, steps: str, expected: str) -> None:
    driver = JoinDriver(join_settings(*window, how))
    found = []
    for number, step in enumerate(steps.split()):
        if step[0] == "=":
            driver.tick(int(step[1:]))
        else:
            time, _, zone = step[1:].partition("/")
            driver.admit(Side.FRAME if step[0] == "f" else Side.TEXT, int(time), key=zone or "x")
        found.append(_shown(driver, number))
    assert " ".join(found) == expected, rule


def test_a_record_is_matched_from_its_first_pair_on_however_many_follow() -> None:
    """The state at a cut between two pairs is asked for later."""
    join = Join(join_settings(5, 5, 0, "inner"), 0)
    frame, *texts = (
        Held(Record(side, offset, 10, 10, "x"), offset)
        for side, offset in ((Side.FRAME, 1), (Side.TEXT, 2), (Side.TEXT, 3))
    )
    for held in (frame, *texts):
        join.admit(held, 10)
    assert [held.matched for held in (frame, *texts)] == [2, 2, 3]


def _shown(driver: JoinDriver, number: int) -> str:
    late = "!" if number in driver.late else ""
    outputs = driver.outputs[number]
    words = [
        "+".join(
            f"{'f' if driver.records[record].side is Side.FRAME else 't'}{driver.records[record].event_ms}"
            for record in one
            if record is not None
        )
        for one in outputs
    ]
    return (",".join(words) or "-") + late
