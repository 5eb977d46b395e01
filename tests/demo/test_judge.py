"""The judge and the books against a small world: silent when all is right, and not silent for any kind of tampering."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from stream_app.demo.books import balance
from stream_app.demo.judge import judge
from stream_app.demo.truth import Outputs, Published, PublishedRecord, Window

if TYPE_CHECKING:
    from collections.abc import Callable

WINDOW = Window(before_ms=500, after_ms=500, grace_ms=100, sample_ms=100)
_START_MS = 1_700_000_000_000


def _record(offset: int, event_ms: int, camera: str = "", zone: str = "dock") -> PublishedRecord:
    moment = _START_MS + event_ms
    return PublishedRecord(partition=0, offset=offset, append_ms=moment, event_ms=moment, zone=zone, camera=camera)


def _published() -> Published:
    """Text 0 meets four frames, two of which share a sampling slot; text 1 meets none; text 2 is not admissible."""
    return Published(
        frames=[
            _record(0, 900, "c1"),
            _record(1, 1_010, "c1"),
            _record(2, 1_090, "c1"),
            _record(3, 1_010, "c2"),
            _record(4, 5_000, "c1"),
            _record(5, 1_000, "c1", zone="gate"),
        ],
        texts=[_record(0, 1_000), _record(1, 9_000), _record(2, 9_500)],
    )


def _evidence(kind: str, offset: int) -> dict[str, Any]:
    return {"kind": kind, "partition": 0, "offset": offset}


def _decision(text: int, frame: int | None) -> dict[str, Any]:
    evidence = [_evidence("text", text)]
    if frame is not None:
        evidence.append(_evidence("frame", frame))
    return {"evidence": evidence, "late": False}


def _alert(phase: str, number: int, *, incident: str = "i1") -> dict[str, Any]:
    return {"id": f"{incident}-{phase}-{number}", "incident": incident, "phase": phase, "number": number}


_TOTALS = {
    "frames.scored": 3,
    "frames.thinned": 1,
    "frames.unmet": 2,
    "texts.paired": 1,
    "texts.alone": 1,
    "texts.dead": 1,
    "pairs.joined": 4,
    "pairs.thinned": 1,
}


def _outputs() -> Outputs:
    """Everything that the world above is owed."""
    return Outputs(
        alerts=[
            _alert("opened", 1),
            {"notice": "rate", "id": "n1"},
            _alert("updated", 2),
            _alert("closed", 3),
            _alert("opened", 1, incident="i2"),
        ],
        decisions=[_decision(0, 0), _decision(0, 1), _decision(0, 3), _decision(1, None)],
        dead_letters=[{"side": "text", "partition": "0", "offset": "2", "reason": "encoding"}],
        checkpoints={0: {"totals": dict(_TOTALS)}},
    )


def _faults(outputs: Outputs, published: Published | None = None) -> str:
    return " | ".join(judge(published or _published(), outputs, WINDOW))


def test_a_right_world_has_no_faults() -> None:
    assert judge(_published(), _outputs(), WINDOW) == []


def _delayed(published: Published, offset: int, by_ms: int) -> Published:
    frames = [
        msgspec.structs.replace(frame, append_ms=frame.append_ms + by_ms) if frame.offset == offset else frame
        for frame in published.frames
    ]
    return Published(frames=frames, texts=published.texts)


@pytest.mark.parametrize(
    ("by_ms", "is_met", "is_right"),
    [
        pytest.param(600, False, False, id="in time: it had to be met"),
        pytest.param(601, False, True, id="late: what was still held nobody knows"),
        pytest.param(601, True, True, id="late, and met all the same"),
    ],
)
def test_a_frame_that_came_late_may_be_met_and_need_not(by_ms: int, *, is_met: bool, is_right: bool) -> None:
    outputs = _outputs()
    if not is_met:
        outputs.decisions.remove(_decision(0, 3))
    faults = _faults(outputs, _delayed(_published(), 3, by_ms))
    assert ("other pairs than were due" not in faults) == is_right, faults


def test_where_the_first_of_a_bucket_came_late_the_next_may_be_met_but_not_both() -> None:
    published, outputs = _delayed(_published(), 1, 700), _outputs()
    outputs.decisions.remove(_decision(0, 1))
    assert "due" in _faults(outputs, published)
    outputs.decisions.append(_decision(0, 2))
    assert _faults(outputs, published) == ""
    outputs.decisions.append(_decision(0, 1))
    assert "due" in _faults(outputs, published)


def _lose_a_text(outputs: Outputs) -> None:
    outputs.decisions = [one for one in outputs.decisions if one != _decision(1, None)]


def _lose_a_dead_letter(outputs: Outputs) -> None:
    outputs.dead_letters.clear()


def _decide_twice(outputs: Outputs) -> None:
    outputs.decisions.append(_decision(0, 1))


def _decide_alone_twice(outputs: Outputs) -> None:
    outputs.decisions.append(_decision(1, None))


def _pair_with_another_zone(outputs: Outputs) -> None:
    outputs.decisions.append(_decision(0, 5))


def _pair_out_of_the_window(outputs: Outputs) -> None:
    outputs.decisions.append(_decision(0, 4))


def _pair_with_a_frame_that_was_never_published(outputs: Outputs) -> None:
    outputs.decisions.append(_decision(0, 77))


def _miss_a_pair(outputs: Outputs) -> None:
    outputs.decisions.remove(_decision(0, 3))


def _score_a_thinned_frame(outputs: Outputs) -> None:
    outputs.decisions.append(_decision(0, 2))


def _score_a_paired_text_alone_too(outputs: Outputs) -> None:
    outputs.decisions.append(_decision(0, None))


def _take_the_later_frame_of_a_slot(outputs: Outputs) -> None:
    outputs.decisions[1] = _decision(0, 2)


def _decide_a_text_that_was_never_published(outputs: Outputs) -> None:
    outputs.decisions.append(_decision(77, None))


def _alert_twice(outputs: Outputs) -> None:
    outputs.alerts.append(_alert("opened", 1, incident="i2"))


def _leave_a_number_out(outputs: Outputs) -> None:
    outputs.alerts = [one for one in outputs.alerts if one.get("phase") != "updated"]


def _open_twice(outputs: Outputs) -> None:
    outputs.alerts[2] = _alert("opened", 2)


def _never_open(outputs: Outputs) -> None:
    outputs.alerts[0] = _alert("updated", 1)


def _go_on_after_the_end(outputs: Outputs) -> None:
    outputs.alerts.append(_alert("updated", 4))


def _swap_the_order(outputs: Outputs) -> None:
    outputs.alerts[2], outputs.alerts[3] = outputs.alerts[3], outputs.alerts[2]


@pytest.mark.parametrize(
    ("tamper", "word"),
    [
        (_lose_a_text, "texts lost"),
        (_lose_a_dead_letter, "texts lost"),
        (_decide_twice, "decisions more than once"),
        (_decide_alone_twice, "decisions more than once"),
        (_pair_with_another_zone, "wrong pairs"),
        (_pair_out_of_the_window, "wrong pairs"),
        (_pair_with_a_frame_that_was_never_published, "wrong pairs"),
        (_decide_a_text_that_was_never_published, "that nobody published"),
        (_miss_a_pair, "other pairs than were due"),
        (_score_a_thinned_frame, "other pairs than were due"),
        (_score_a_paired_text_alone_too, "other pairs than were due"),
        (_take_the_later_frame_of_a_slot, "other pairs than were due"),
        (_alert_twice, "alerts more than once"),
        (_leave_a_number_out, "do not follow each other"),
        (_open_twice, "do not follow each other"),
        (_never_open, "do not follow each other"),
        (_go_on_after_the_end, "do not follow each other"),
        (_swap_the_order, "do not follow each other"),
    ],
)
def test_every_kind_of_tampering_is_found(tamper: Callable[[Outputs], None], word: str) -> None:
    outputs = deepcopy(_outputs())
    tamper(outputs)
    assert word in _faults(outputs)


def test_both_ends_of_the_window_belong_to_it() -> None:
    published = Published(
        frames=[_record(0, 500, "c1"), _record(1, 1_500, "c1"), _record(2, 499, "c1"), _record(3, 1_501, "c1")],
        texts=[_record(0, 1_000)],
    )
    right = Outputs(decisions=[_decision(0, 0), _decision(0, 1)])
    assert judge(published, right, WINDOW) == []
    for beyond in (2, 3):
        assert "wrong pairs" in _faults(Outputs(decisions=[*right.decisions, _decision(0, beyond)]), published)


def test_a_late_text_is_owed_no_particular_pairs_but_a_decision() -> None:
    outputs = _outputs()
    for decision in outputs.decisions:
        decision["late"] = True
    outputs.decisions.remove(_decision(0, 3) | {"late": True})
    assert judge(_published(), outputs, WINDOW) == []
    outputs.decisions = [_decision(1, None) | {"late": True}]
    assert "texts lost" in _faults(outputs)


def test_a_frame_that_is_a_dead_letter_is_due_to_nobody() -> None:
    outputs = _outputs()
    outputs.decisions.remove(_decision(0, 3))
    outputs.dead_letters.append({"side": "frame", "partition": "0", "offset": "3", "reason": "ahead"})
    assert judge(_published(), outputs, WINDOW) == []


def test_a_frame_that_was_decided_masked_stays_due_to_every_text() -> None:
    """A picture that nobody can decode is a dead letter too, but its pairs were made."""
    outputs = _outputs()
    outputs.dead_letters.append({"side": "frame", "partition": "0", "offset": "3", "reason": "undecodable"})
    assert judge(_published(), outputs, WINDOW) == []


def test_right_books_balance() -> None:
    books = balance(_published(), _outputs())
    assert books.is_balanced
    assert str(books.frames).startswith("6 frames published = 3 in a scored pair")
    assert (books.pairs_joined, books.pairs_scored, books.distinct_frames_scored) == (4, 3, 3)


@pytest.mark.parametrize("line", [name for name in _TOTALS if not name.startswith("pairs")])
@pytest.mark.parametrize("change", [-1, 1])
def test_books_with_one_line_wrong_do_not_balance(line: str, change: int) -> None:
    outputs = _outputs()
    outputs.checkpoints[0] = {"totals": {**_TOTALS, line: _TOTALS[line] + change}}
    books = balance(_published(), outputs)
    assert not books.is_balanced
    assert "≠" in f"{books.frames}{books.texts}"


def test_books_do_not_balance_when_a_frame_stands_in_another_line_than_the_decisions_say() -> None:
    outputs = _outputs()
    outputs.checkpoints[0] = {"totals": {**_TOTALS, "frames.scored": 2, "frames.thinned": 2}}
    assert not balance(_published(), outputs).is_balanced


def test_books_of_several_tasks_are_added_up() -> None:
    outputs = _outputs()
    half = {"frames.scored": 1, "texts.paired": 1}
    rest = {name: number - half.get(name, 0) for name, number in _TOTALS.items()}
    outputs.checkpoints = {0: {"totals": half}, 1: {"totals": rest}}
    assert balance(_published(), outputs).is_balanced
