"""What is written is read as it was written; the reader refuses what the published schema refuses, and nothing else."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from stream_app.core.score import LIMIT
from stream_app.core.types import (
    Alert,
    Contribution,
    DeadLetter,
    Decision,
    Evidence,
    Notice,
    Observation,
    Scored,
    Side,
    Unreadable,
)
from stream_app.wire.alerts import decode_alert, render_alert, render_notice
from stream_app.wire.dead_letters import DeadLetter as Letter
from stream_app.wire.dead_letters import decode_dead_letter, render_dead_letter
from stream_app.wire.decisions import decode_decision, decode_scores, render_decision, scored_of
from stream_app.wire.journal import decode_journal
from stream_app.wire.message import Message, WireError
from tests.runtime.fakes import Raw
from tests.wire.test_events import ALERTS as EXAMPLES
from tests.wire.test_events import CONTEXT, FRAME, IN_FORCE, START_MS, TEXT, body, decision, example, schema, strict

NAMES = st.text(min_size=1, max_size=12).filter(lambda name: name.encode("utf-8", "ignore").decode() == name)
LOGITS = st.integers(-LIMIT, LIMIT)
TIMES = st.integers(-62_135_596_800_000, 253_402_300_799_999)
OFFSETS = st.integers(0, 2**63 - 1)
BOTH = st.tuples(LOGITS, LOGITS)
REASONS = st.none() | st.sampled_from(["undecodable", "inference"])
EVIDENCE = st.builds(Evidence, st.sampled_from(Side), OFFSETS, TIMES, st.just("") | NAMES)
ALERTS = st.builds(
    Alert,
    id=st.just("a" * 32),
    incident=st.just("b" * 32),
    phase=st.sampled_from(["opened", "updated", "closed"]),
    number=st.integers(1, 10**6),
    label=NAMES,
    zone=NAMES,
    score=LOGITS,
    threshold=LOGITS,
    cameras=st.lists(NAMES, unique=True, max_size=3).map(tuple),
    severity=st.integers(0, 5),
    start_ms=TIMES,
    end_ms=TIMES,
    present=st.sampled_from([("image",), ("text",), ("image", "text")]),
    contribution=st.none() | st.builds(Contribution, LOGITS, LOGITS, LOGITS),
    is_late=st.booleans(),
    is_masked=st.booleans(),
    evidence=st.lists(EVIDENCE, min_size=1, max_size=4).map(tuple),
    evidence_left_out=st.integers(0, 10**6),
    time_ms=TIMES,
    in_force=st.just(IN_FORCE),
    reason=st.just("quiet"),
)
DECISIONS = st.builds(
    lambda observation, scored, time_ms: Decision(observation, scored, time_ms, IN_FORCE),
    st.builds(
        lambda records, zone, is_late, is_shed: Observation(
            40, 0, zone, records[0], records[1], is_late=is_late, is_image_shed=is_shed
        ),
        st.sampled_from([(TEXT, FRAME), (TEXT, None), (None, FRAME)]),
        NAMES,
        st.booleans(),
        st.booleans(),
    ),
    st.builds(Scored, st.just(40), st.just(0), st.none() | BOTH, st.none() | BOTH, st.none() | BOTH, REASONS, REASONS),
    TIMES,
)
#: What stands in the place of a property: for each there is one where it is right.
VALUES: list[Any] = [
    None,
    True,
    False,
    -1,
    0,
    1,
    3,
    6,
    40,
    0.5,
    1.5,
    -1.5,
    -2.5,
    2**31,
    2**63,
    "",
    "x",
    "é",
    "a b",
    "a" * 250,
    "a" * 32,
    "A" * 32,
    "a" * 64,
    "sha256:" + "a" * 64,
    "text",
    "frame",
    "image",
    "sound",
    "opened",
    "closed",
    "2026-01-01T02:03:04.500Z",
    "2026-01-01T02:03:04Z",
    [],
    ["image"],
    ["image", "image"],
    ["c1", "c2"],
    [""],
    [1],
    {},
    {"image": 0.5},
    {"image": 0.5, "text": 0.25},
    {"image": "x"},
    {"fight": 5},
    {"fight": 0.5},
    {"fight": 2**40},
]
ALERT = render_alert(EXAMPLES["closed, for it was quiet"], CONTEXT)
NOTICE = render_notice(Notice("rate", "dock-3", START_MS, "more than 50/s"), CONTEXT)
KINDS: dict[str, tuple[Message, Callable[[bytes], object]]] = {
    "alert": (ALERT, lambda value: decode_alert(value, ALERT.headers)),
    "notice": (NOTICE, lambda value: decode_alert(value, NOTICE.headers)),
    "decision": (render_decision(decision(), CONTEXT), decode_decision),
}


STRICT = {kind: Draft202012Validator(strict(schema(kind))) for kind in KINDS}


def changed(part: Any) -> Iterator[Any]:  # noqa: ANN401 - any JSON
    """Yield copies of some JSON with one thing in it missing, added, twice, or of another value."""
    yield from VALUES
    if isinstance(part, dict):
        yield {**part, "of a later version": 1}
        for name, value in part.items():
            yield {other: content for other, content in part.items() if other != name}
            for other in changed(value):
                yield {**part, name: other}
    elif isinstance(part, list) and part:
        yield part[1:]
        yield [*part, part[0]]
        yield part * 20
        for other in changed(part[0]):
            yield [other, *part[1:]]


def is_read(read: Callable[[bytes], object], value: Any) -> bool:  # noqa: ANN401 - any JSON
    try:
        read(json.dumps(value).encode())
    except WireError:
        return False
    return True


@pytest.mark.parametrize("kind", KINDS)
def test_the_reader_takes_what_the_schema_takes_and_refuses_what_it_refuses(kind: str) -> None:
    message, read = KINDS[kind]
    published = Draft202012Validator(schema(kind))
    verdicts = [(value, published.is_valid(value), is_read(read, value)) for value in changed(body(message))]
    assert [value for value, is_valid, is_taken in verdicts if is_valid != is_taken] == []
    assert {is_valid for _, is_valid, _ in verdicts} == {True, False}
    named = set(schema(kind)["properties"])
    assert named == {name for name in named if any(name in value for value, *_ in verdicts if isinstance(value, dict))}


def test_the_journal_is_read_by_its_schema_but_that_null_stands_for_what_is_not_there() -> None:
    published, shown = Draft202012Validator(schema("journal")), example("journal")
    # What is in an entry is checked by the core's own types.
    others = [value for value in changed(shown) if isinstance(value, dict) and value.get("entries") == shown["entries"]]
    wrong = [value for value in others if published.is_valid(value) != is_read(decode_journal, value)]
    assert wrong == [{**shown, "epoch": None}, {**shown, "step": None}, {**shown, "keyframe": None}]
    assert {published.is_valid(value) for value in others} == {True, False}


@pytest.mark.parametrize(("kind", "type_of"), [("alert", "Alert"), ("notice", "Notice"), ("decision", "Decision")])
def test_the_reader_has_the_properties_of_the_schema(kind: str, type_of: str) -> None:
    found: Any = KINDS[kind][1](KINDS[kind][0].value or b"")
    assert type(found).__name__ == type_of
    fields = {field.name: field.required for field in msgspec.structs.fields(found)}
    assert set(fields) == set(schema(kind)["properties"])
    assert {name for name, is_required in fields.items() if is_required} == set(schema(kind)["required"])


@pytest.mark.parametrize("time", ["2026-02-31T00:00:00.000Z", "2026-01-01T25:00:00.000Z", "0000-01-01T00:00:00.000Z"])
@pytest.mark.parametrize("kind", ["alert", "decision"])
def test_a_time_that_cannot_be_is_refused_though_a_pattern_takes_it(kind: str, time: str) -> None:
    message, read = KINDS[kind]
    found = body(message)
    found["evidence"][0]["time"] = time
    assert not is_read(read, found)


@pytest.mark.parametrize("name", ["id", "settings", "zone"])
def test_a_line_feed_at_the_end_of_a_name_is_no_part_of_a_hash(name: str) -> None:
    message, read = KINDS["alert"]
    found = body(message)
    assert is_read(read, found | {name: found[name] + "\n"}) == (name == "zone")


def test_an_older_decision_without_its_place_in_the_order_is_read() -> None:
    found = body(KINDS["decision"][0])
    del found["sequence"], found["index"]
    read = decode_decision(json.dumps(found).encode())
    assert (read.sequence, read.index) == (msgspec.UNSET, msgspec.UNSET)
    assert msgspec.json.encode(read) == json.dumps(found, separators=(",", ":")).encode()


@given(alert=ALERTS)
def test_every_alert_is_read_as_it_was_written(alert: Alert) -> None:
    message = render_alert(alert, CONTEXT)
    STRICT["alert"].validate(body(message))
    found = decode_alert(message.value, message.headers)
    assert msgspec.json.encode(found) == message.value
    assert dict(message.headers)["ce_id"].decode() == alert.id


@given(given_one=DECISIONS)
def test_every_decision_is_read_as_it_was_written(given_one: Decision) -> None:
    message = render_decision(given_one, CONTEXT)
    STRICT["decision"].validate(body(message))
    found = decode_decision(message.value)
    assert msgspec.json.encode(found) == message.value
    text, frame = given_one.observation.text, given_one.observation.frame
    for ref, record in ((found.named("text"), text), (found.named("frame"), frame)):
        assert (ref and ref.offset) == (record and record.offset)


@given(given_one=DECISIONS, is_reversed=st.booleans())
def test_a_decision_tells_the_very_scores_that_it_was_rendered_from(given_one: Decision, *, is_reversed: bool) -> None:
    found = decode_scores(render_decision(given_one, CONTEXT).value)
    assert found.partition == CONTEXT.partition
    if is_reversed and found.logits is not None:
        # Names say what is whose, not the order in which a JSON object happens to have them.
        found = msgspec.structs.replace(found, logits=dict(reversed(found.logits.items())))
    observation, scored = given_one.observation, given_one.scored
    expected = msgspec.structs.replace(scored, sequence=observation.sequence, index=observation.index)
    assert scored_of(found, [label.name for label in IN_FORCE.model.labels]) == expected


@pytest.mark.parametrize(
    ("change", "found"),
    [({"sequence": msgspec.UNSET}, "sequence and index, found none"), ({"logits": {"fight": 1}}, "found fight$")],
)
def test_a_decision_without_its_place_or_of_other_labels_tells_no_scores(change: dict[str, Any], found: str) -> None:
    read = decode_scores(KINDS["decision"][0].value)
    with pytest.raises(WireError, match=found):
        scored_of(msgspec.structs.replace(read, **change), ["fight", "fire"])


_OWN = st.lists(
    st.tuples(NAMES | st.sampled_from(["vigil_reason", "vigil_size", "vigil_offset"]), st.none() | st.binary()),
    max_size=5,
)


@given(
    letter=st.builds(DeadLetter, st.sampled_from(Side), OFFSETS, NAMES, NAMES | st.just("")),
    key=st.none() | st.binary(max_size=3_000),
    value=st.none() | st.binary(max_size=3_000),
    own=_OWN,
    lost=st.booleans(),
)
def test_every_dead_letter_is_read_as_it_was_written_whatever_headers_it_had_before(
    letter: DeadLetter, key: bytes | None, value: bytes | None, own: list[tuple[str, bytes | None]], *, lost: bool
) -> None:
    context = msgspec.structs.replace(CONTEXT, letter_bytes=4_096)
    headers: Any = tuple(own)
    raw: Any = Raw(letter.offset, START_MS, key, value, headers)
    if lost:
        raw = Unreadable(offset=letter.offset, first_offset=0, timestamp=5, reason="batch-crc", detail="")
    message = render_dead_letter(letter, raw, context)
    found = decode_dead_letter(message.headers)
    expected = Letter(
        reason=letter.reason,
        topic=context.topics.of(letter.side),
        partition=3,
        offset=letter.offset,
        detail=letter.detail,
        deployment="vigil",
        first_offset=0 if lost and letter.offset else None,
        size=found.size,
        key_size=found.key_size,
        headers_left_out=found.headers_left_out,
    )
    assert found == expected
    cut = [(part, size) for part, size in ((raw.value, found.size), (raw.key, found.key_size)) if size is not None]
    assert all(part is not None and len(part) == size > 1_024 for part, size in cut)


@pytest.mark.parametrize("name", ["reason", "topic", "partition", "offset", "detail", "deployment"])
def test_a_record_without_one_of_our_headers_is_no_dead_letter(name: str) -> None:
    message = render_dead_letter(DeadLetter(Side.TEXT, 9, "empty"), Raw(9, START_MS, b"z", None), CONTEXT)
    headers = [(other, value) for other, value in message.headers if other != f"vigil_{name}"]
    with pytest.raises(WireError, match="expected the headers of a dead letter"):
        decode_dead_letter(headers)
    with pytest.raises(WireError, match="offset"):
        decode_dead_letter([*headers, ("vigil_reason", b"x"), ("vigil_offset", b"nine")])
