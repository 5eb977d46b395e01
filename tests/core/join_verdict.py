"""What a join case of another project says of our join: one judge per format, and one rule per difference on purpose.

In: the data of a case. Out: a :class:`Verdict`. A rule on which we differ is applied to the expectation, never to the
join: where none comes into play, by the stated rule is the same as to the letter.
"""

from __future__ import annotations

import re
from operator import add, mul, sub
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import pytest

from stream_app.core.checkpoint import NO_RECORD_MS
from stream_app.core.settings import SettingsError
from stream_app.core.types import Side
from tests.core.drive_join import END_MS, JoinDriver, Output, join_settings
from tests.core.join_cases import UnknownFormatError
from tests.core.reference import is_pair

if TYPE_CHECKING:
    from collections.abc import Callable

    from stream_app.core.settings import How

_SIDES = {"left": Side.FRAME, "right": Side.TEXT}


class Verdict(NamedTuple):
    """How a case does not hold, in each of the three ways; '' where it does."""

    definition: str
    letter: str
    rule: str


def judge(kind: str, data: dict[str, Any]) -> Verdict:
    """Run the records of one case through the join and compare."""
    return _JUDGES[kind](data)


# -- Kafka Streams ---------------------------------------------------------------------------------------------------


def _judge_kafka(data: dict[str, Any]) -> Verdict:
    """Records in arrival order; each ``expect`` is exact and ordered, "L+R" with null for a side that is missing.

    By the stated rule:

    - Kafka fetches partners in order of time, ours come in order of offset; at equal times Kafka puts out unmatched
      records in order of key.
    - It puts a record out alone at once when its window without grace has passed (ours waits for the grace too); the
      deprecated API without grace does so for every record that meets nobody.
    - What it has put out alone may still meet a late partner; ours is gone then, and the partner is alone.
    - It drops a record by the newest time of the record's own side, ours goes by S.
    - It may put out a record without a key alone; ours refuses it at admission.
    """
    window = data["window"]
    api = window.get("api", "")
    is_old = api.startswith("of") and not api.startswith("ofTimeDifference")
    grace_ms = window.get("grace_ms", 86_400_000 if is_old else 0)
    settings = join_settings(window["before_ms"], window["after_ms"], grace_ms, cast("How", data["join"]))
    driver = JoinDriver(settings)
    steps: list[dict[str, Any]] = []
    letter: list[tuple[list[Any], list[Any]]] = []
    since = 0
    for step in data["steps"]:
        if "expect" in step:
            expected = [(one["key"], one["value"], one["ts"]) for one in step["expect"]]
            letter.append((expected, [since, len(steps)]))
            since = len(steps)
        elif step["key"] is not None and step["value"] is not None:  # admission refuses the others
            steps.append(step)
            driver.admit(_SIDES[step["side"]], step["ts"], key=step["key"])
    again = _kafka_again(driver)
    early = _kafka_early(driver, again, is_eager=is_old)

    def show(one: Output) -> tuple[Any, str, int]:
        sides = [steps[number] for number in one if number is not None]
        left, right = ("null" if number is None else steps[number]["value"] for number in one)
        return sides[0]["key"], f"{left}+{right}", max(side["ts"] for side in sides)

    def differences(outputs: Callable[[int], list[Output]], *, is_keyed: bool) -> str:
        for every, (first, end) in letter:
            expected = [one for one in every if one[0] is not None] if is_keyed else every
            found = [show(one) for number in range(first, end) for one in outputs(number)]
            if found != expected:
                return f"after step {end}: expected {expected}, found {found}"
        return ""

    def in_kafka_order(number: int) -> list[Output]:
        alone = [one for one in driver.outputs[number] if None in one and one not in early.values()]
        alone = [one for one in alone if _only(driver, one).offset not in again]
        alone.sort(key=lambda one: (_only(driver, one).event_ms, _only(driver, one).side, _key_order(steps, one)))
        pairs = [one for one in driver.outputs[number] if None not in one] + again.get(number, [])
        pairs.sort(key=lambda one: (driver.records[min(one)].event_ms, min(one)))  # type: ignore[type-var,index]
        return alone + pairs + ([early[number]] if number in early else [])

    return Verdict(
        driver.difference_from_definition(),
        differences(lambda number: driver.outputs[number], is_keyed=False),
        differences(in_kafka_order, is_keyed=True),
    )


def _key_order(steps: list[dict[str, Any]], one: Output) -> tuple[bool, int, str]:
    """Order keys as Kafka does, by their bytes: numbers by value."""
    key = steps[one.frame if one.frame is not None else cast("int", one.text)]["key"]
    return (True, key, "") if isinstance(key, int) else (False, 0, str(key))


def _kafka_again(driver: JoinDriver) -> dict[int, list[Output]]:
    """Return, by step, the pairs that Kafka makes beyond ours: with what its own side's time has not let go of."""
    settings, again = driver.settings, {}
    newest = dict.fromkeys(Side, NO_RECORD_MS)
    for number, record in driver.records.items():
        newest[record.side] = max(newest[record.side], record.event_ms)
        pairs = []
        for other in (driver.records[earlier] for earlier in driver.records if earlier < number):
            frame, text = (record, other) if record.side is Side.FRAME else (other, record)
            is_held = other.event_ms >= newest[other.side] - settings.horizon_ms
            if record.side is not other.side and is_held and is_pair(frame, text, settings):
                pairs.append(Output(frame.offset, text.offset))
        beyond = [one for one in pairs if one not in driver.outputs[number]]
        if beyond:
            again[number] = beyond
    return again


def _kafka_early(driver: JoinDriver, again: dict[int, list[Output]], *, is_eager: bool) -> dict[int, Output]:
    """Return, by step, the records that Kafka puts out alone on arrival: their window without grace has passed."""
    settings, early = driver.settings, {}
    for number, record in driver.records.items():
        is_frame = record.side is Side.FRAME
        emits = settings.how in {"outer", "left" if is_frame else "right"}
        has_met = number in again or any(None not in one for one in driver.outputs[number])
        end_ms = record.event_ms + (settings.after_ms if is_frame else settings.before_ms)
        if emits and not has_met and (is_eager or end_ms < driver.stream_ms[number]):
            early[number] = Output(number, None) if is_frame else Output(None, number)
    return early


def _only(driver: JoinDriver, one: Output) -> Any:  # noqa: ANN401 - a Record
    return driver.records[one.frame if one.frame is not None else cast("int", one.text)]


# -- Quix Streams ----------------------------------------------------------------------------------------------------


def _judge_quix(data: dict[str, Any]) -> Verdict:
    """``expected`` is what is put out when that message is processed.

    By the stated rule: pairs message by message, exactly, in order of the partner's time. A record alone: Quix puts
    one out for every record of an emitting side that meets nobody on arrival; ours are those of them that meet nobody
    until they close, and then only.
    """
    settings = join_settings(data["backward_ms"], data["forward_ms"], data.get("grace_ms", 0), cast("How", data["how"]))
    driver = JoinDriver(settings)
    messages = data["messages"]
    for message in messages:
        driver.admit(_SIDES[message["side"]], message["ts"], key=message.get("key", "key"))
    during = [list(outputs) for outputs in driver.outputs]
    driver.tick(END_MS)
    merge = _quix_merge(data.get("on_merge", "raise"))

    def show(one: Output, now: int) -> tuple[Any, Any]:
        left, right = (None if number is None else messages[number]["value"] for number in one)
        if right is None or left is None:
            return messages[now]["ts"], left if right is None else right
        return messages[now]["ts"], merge(left, right)

    met: set[int] = set()
    letter = rule = ""
    alone_there: set[int] = set()
    for number, message in enumerate(messages):
        expected = [(one["ts"], one["value"]) for one in message["expected"]]
        found = [show(one, number) for one in during[number]]
        pairs = sorted(
            (one for one in during[number] if None not in one),
            key=lambda one: messages[min(cast("tuple[int, int]", one))]["ts"],
        )
        met.update(cast("int", side) for one in pairs for side in one)
        there = [show(one, number) for one in pairs]
        if not pairs and _emits(settings.how, message["side"]):
            alone_there.add(number)
            there = [(message["ts"], message["value"])]
        # Quix's result bears the time of the message in hand; where that is the older one, the later time is as good.
        times = [max(messages[side]["ts"] for side in one) for one in pairs] or [message["ts"]] * len(there)
        late_there = [(time, value) for time, (_, value) in zip(times, there, strict=True)]
        if found != expected:
            letter = letter or f"message {number}: expected {expected}, found {found}"
        if expected not in (there, late_there):
            rule = rule or f"message {number}: expected {expected}, found {there}"
    if set(driver.unmatched) != alone_there - met or len(driver.unmatched) != len(set(driver.unmatched)):
        rule = rule or f"alone at the end: expected {sorted(alone_there - met)}, found {driver.unmatched}"
    return Verdict(driver.difference_from_definition(), letter, rule)


def _emits(how: str, side: str) -> bool:
    return how in {"outer", side}


def _quix_merge(on_merge: str) -> Callable[[Any, Any], Any]:
    """Return Quix's merge of two values: dictionaries by the word, or a lambda of one operator."""
    operator = re.fullmatch(r"lambda (\w+), ?(\w+): ?\1 ?([-+*]) ?\2", on_merge)
    if operator is not None:
        return {"+": add, "-": sub, "*": mul}[operator.group(3)]
    if on_merge == "keep-left":
        return lambda left, right: {**right, **left}
    if on_merge in {"keep-right", "raise"}:
        return lambda left, right: {**left, **right}
    message = f"on_merge: expected raise, keep-left, keep-right or a lambda of one operator, found {on_merge!r}"
    raise UnknownFormatError(message)


# -- Flink -----------------------------------------------------------------------------------------------------------


def _bounds(data: dict[str, Any]) -> tuple[int, int]:
    """Return (before, after): times are whole milliseconds, so an exclusive bound is the next one."""
    lower = data["lower"] + (0 if data.get("lower_inclusive", True) else 1)
    upper = data["upper"] - (0 if data.get("upper_inclusive", True) else 1)
    return -lower, upper


def _judge_flink_pairs(data: dict[str, Any]) -> Verdict:
    """No watermark, so nothing is late: the pairs are the expected ones in every order of arrival, each once."""
    before_ms, after_ms = _bounds(data)
    expected = sorted(tuple(pair) for pair in data["expected"])
    if before_ms + after_ms < 0:
        with pytest.raises(SettingsError):
            join_settings(before_ms, after_ms, 0, "inner")
        found = f"no such window, yet expected {expected}" if expected else ""
        return Verdict("", found, found)
    left = [(Side.FRAME, time) for time in data["left"]]
    right = [(Side.TEXT, time) for time in data["right"]]
    turns = [one for both in zip(left, right, strict=False) for one in both]
    turns += left[len(right) :] + right[len(left) :]
    for order in (left + right, right + left, turns, turns[::-1]):
        driver = JoinDriver(join_settings(before_ms, after_ms, 0, "inner"))
        for side, time in order:
            driver.admit(side, time, to_ms=NO_RECORD_MS)
        pairs = sorted(_times(driver, one) for one in driver.pairs)
        definition = driver.difference_from_definition()
        found = f"in order {order}: expected {expected}, found {pairs}" if pairs != expected else ""
        if definition or found:
            return Verdict(definition, found, found)
    return Verdict("", "", "")


def _judge_flink_late(data: dict[str, Any]) -> Verdict:
    """Records and watermarks; a record below the watermark is late, and Flink drops it.

    In Flink only the watermark moves time: here a record is appended at the watermark, which moves S no further.
    By the stated rule: pairs of records that are not late for Flink are the expected ones, each once; a record that is
    late for Flink pairs with every partner in bounds that is still held (time >= S - H) when the later of the two
    arrives; it is flagged late when its close lies below S.
    """
    before_ms, after_ms = _bounds(data)
    settings = join_settings(before_ms, after_ms, 0, "inner")
    driver = JoinDriver(settings)
    watermark = NO_RECORD_MS
    late_there: list[tuple[str, int]] = []
    late_here: set[int] = set()
    steps = data["steps"].split() if isinstance(data["steps"], str) else data["steps"]
    for step in steps:
        word, time = step[0], int(step[1:])
        if word == "W":
            watermark = max(watermark, time)
            driver.tick(watermark)
            continue
        number = len(driver.outputs)
        reach = after_ms if word == "L" else before_ms
        if time < watermark:
            late_there.append((word, time))
        if time + reach < watermark:
            late_here.add(number)
        driver.admit(Side.FRAME if word == "L" else Side.TEXT, time, to_ms=watermark)
    expected = sorted(tuple(pair) for pair in data["expected"])
    found = sorted(_times(driver, one) for one in driver.pairs)
    letter = "" if found == expected else f"expected {expected}, found {found}"
    flink, extra = _split_by_lateness(driver, settings.horizon_ms)
    rule = "" if flink == expected else f"pairs of records in time: expected {expected}, found {flink}"
    if sorted(late_there) != sorted((word, time) for word, time in data.get("late", late_there)):
        rule = rule or f"below the watermark: expected {data['late']}, found {late_there}"
    if extra is not None:
        rule = rule or extra
    if driver.late != late_here:
        rule = rule or f"flagged late: expected {sorted(late_here)}, found {sorted(driver.late)}"
    return Verdict(driver.difference_from_definition(), letter, rule)


def _split_by_lateness(driver: JoinDriver, horizon_ms: int) -> tuple[list[tuple[int, int]], str | None]:
    """Return the pairs of records that Flink keeps, and what is wrong with the pairs of the others, if anything."""
    settings, records, now = driver.settings, driver.records, driver.stream_ms
    dropped = {number for number, record in records.items() if record.event_ms < now[number]}
    kept, others, due = [], set(), set()
    for one in driver.pairs:
        if dropped.isdisjoint(cast("tuple[int, int]", one)):
            kept.append(_times(driver, one))
        else:
            others.add(one)
    for first, second in ((a, b) for b in records for a in records if a < b):
        frame, text = (first, second) if records[first].side is Side.FRAME else (second, first)
        is_pair = records[first].side is not records[second].side and (
            -settings.before_ms <= records[text].event_ms - records[frame].event_ms <= settings.after_ms
        )
        if is_pair and {first, second} & dropped and records[first].event_ms >= now[second] - horizon_ms:
            due.add(Output(frame, text))
    return sorted(kept), None if others == due else f"pairs of late records: expected {due}, found {others}"


def _times(driver: JoinDriver, one: Output) -> tuple[int, int]:
    frame, text = cast("tuple[int, int]", one)
    return driver.records[frame].event_ms, driver.records[text].event_ms


_JUDGES: dict[str, Callable[[dict[str, Any]], Verdict]] = {
    "kafka": _judge_kafka,
    "quix": _judge_quix,
    "flink-pairs": _judge_flink_pairs,
    "flink-late": _judge_flink_late,
}
