"""Outputs on the wire: by the published schemas, as docs/wire.md shows them, and the same bytes for the same inputs."""

import copy
import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator, ValidationError

from stream_app import __version__
from stream_app.config import Operational
from stream_app.core.digest import OutputDigest
from stream_app.core.effects import Step
from stream_app.core.ids import alert_id, incident_id
from stream_app.core.journal import (
    JournalEntry,
    JournalSkipped,
    JournalSwitch,
    JournalText,
    JournalThinning,
    JournalTick,
)
from stream_app.core.score import LIMIT, micro_logit
from stream_app.core.settings import Semantic
from stream_app.core.types import (
    Alert,
    Contribution,
    DeadLetter,
    Decision,
    Evidence,
    InForce,
    LabelRule,
    Model,
    Notice,
    Observation,
    Record,
    Scored,
    Side,
    Unreadable,
)
from stream_app.wire.alerts import render_alert, render_notice
from stream_app.wire.context import Context
from stream_app.wire.dead_letters import DEAD_LETTER_HEAD_BYTES, render_dead_letter
from stream_app.wire.decisions import render_decision
from stream_app.wire.journal import JournalKeyframe, JournalStep, decode_journal, encode_journal, render_journal
from stream_app.wire.message import Message
from stream_app.wire.step import render_step
from stream_app.wiring.clients import topics_of
from tests.runtime.fakes import Raw

WIRE = Path(__file__).resolve().parents[2] / "docs" / "wire.md"
#: 2026-01-01T02:03:04.500Z.
START_MS = 1_767_232_984_500

MODEL = Model(
    "site",
    "1",
    "5e" * 32,
    (
        LabelRule("fight", is_alerting=True, open_at=micro_logit(0.8), close_at=micro_logit(0.5)),
        LabelRule("fire", is_alerting=True, open_at=micro_logit(0.8), close_at=micro_logit(0.5)),
    ),
)
IN_FORCE = InForce(MODEL, Semantic(), "7a" * 32)
CONTEXT = Context(
    deployment="vigil",
    partition=3,
    topics=topics_of(Operational()),
    model=MODEL,
    settings_sha256="7a" * 32,
    provider="CPUExecutionProvider",
)
TEXT = Record(Side.TEXT, 17, START_MS + 900, START_MS + 250, "dock-3", severity=4, size=40)
FRAME = Record(Side.FRAME, 4711, START_MS + 30, START_MS, "dock-3", camera="c1", size=75_000)
_INCIDENT = incident_id("vigil", "dock-3", "fight", ("text", 3, 17, TEXT.event_ms))


def opened() -> Alert:
    """The alert that docs/wire.md shows."""
    return Alert(
        id=alert_id(_INCIDENT, "opened", 1),
        incident=_INCIDENT,
        phase="opened",
        number=1,
        label="fight",
        zone="dock-3",
        score=micro_logit(0.9312),
        threshold=micro_logit(0.8),
        cameras=("c1",),
        severity=4,
        start_ms=FRAME.event_ms,
        end_ms=TEXT.event_ms,
        present=("image", "text"),
        contribution=Contribution(micro_logit(0.9312), micro_logit(0.5212), micro_logit(0.7112)),
        is_late=False,
        is_masked=False,
        evidence=(
            Evidence(Side.TEXT, TEXT.offset, TEXT.event_ms),
            Evidence(Side.FRAME, FRAME.offset, FRAME.event_ms, FRAME.camera),
        ),
        evidence_left_out=0,
        time_ms=TEXT.event_ms,
        in_force=IN_FORCE,
    )


def decision() -> Decision:
    """The decision that docs/wire.md shows."""
    scored = Scored(40, 0, (2_605_000, -3_100_000), (85_000, -2_900_000), (901_000, -3_000_000))
    return Decision(Observation(40, 0, "dock-3", TEXT, FRAME), scored, TEXT.event_ms, IN_FORCE)


_MANY = tuple(Evidence(Side.FRAME, number, START_MS + number) for number in range(32))
ALERTS = {
    "opened by a pair": opened(),
    "a text alone, late and masked": msgspec.structs.replace(
        opened(), cameras=(), severity=0, present=("text",), contribution=None, is_late=True, is_masked=True
    ),
    "updated, of many frames": msgspec.structs.replace(
        opened(), phase="updated", number=7, evidence=_MANY, evidence_left_out=210
    ),
    "closed, for it was quiet": msgspec.structs.replace(opened(), phase="closed", number=8, reason="quiet"),
    "closed, for its label vanished": msgspec.structs.replace(opened(), phase="closed", reason="model-changed"),
    "scores at both ends": msgspec.structs.replace(
        opened(), score=LIMIT, threshold=-LIMIT, contribution=Contribution(LIMIT, -LIMIT, LIMIT)
    ),
    "a zone in Chinese": msgspec.structs.replace(opened(), zone="三号码头", cameras=("镜头一",)),
}
_ALONE = Scored(41, 0, (1_000_000, 0))
_BOTH_FAILED = Scored(42, 0, None, image_failure="undecodable", text_failure="inference")
DECISIONS = {
    "a pair": decision(),
    "a late text alone": Decision(Observation(41, 0, "dock-3", TEXT, None, is_late=True), _ALONE, START_MS, IN_FORCE),
    "a frame alone": Decision(Observation(41, 0, "dock-3", None, FRAME), _ALONE, START_MS, IN_FORCE),
    "a frame that was shed": Decision(
        Observation(41, 0, "dock-3", TEXT, FRAME, is_image_shed=True), _ALONE, START_MS, IN_FORCE
    ),
    "a frame that cannot be decoded": Decision(
        Observation(41, 0, "dock-3", TEXT, FRAME),
        msgspec.structs.replace(_ALONE, image_failure="decode-timeout"),
        START_MS,
        IN_FORCE,
    ),
    "nothing that can be scored": Decision(Observation(42, 0, "dock-3", TEXT, FRAME), _BOTH_FAILED, START_MS, IN_FORCE),
}


def schema(kind: str) -> dict[str, Any]:
    """Return a schema as it ships with the package."""
    text = resources.files("stream_app").joinpath("schemas", f"{kind}.v1.schema.json").read_text("utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded


def strict(part: Any) -> Any:  # noqa: ANN401 - any part of a JSON Schema
    """Return a copy in which an object may have no property that is not declared."""
    if isinstance(part, list):
        return [strict(item) for item in part]
    if not isinstance(part, dict):
        return part
    closed = {name: strict(value) for name, value in part.items()}
    if part.get("type") == "object" and "properties" in part:
        closed["additionalProperties"] = False
    return closed


def body(message: Message) -> dict[str, Any]:
    """Return a message's value, read as JSON."""
    assert message.value is not None
    found: dict[str, Any] = json.loads(message.value)
    return found


def headers(message: Message) -> dict[str, str]:
    """Return a message's headers; none is there twice."""
    named = dict(message.headers)
    assert len(named) == len(message.headers)
    return {name: content.decode() for name, content in named.items()}


def example(name: str) -> dict[str, Any]:
    """Return a JSON block of docs/wire.md by the marker before it."""
    found = re.search(rf"<!-- example: {name} -->\n```json\n(.*?)```", WIRE.read_text("utf-8"), re.DOTALL)
    assert found is not None, f"docs/wire.md has no example {name}"
    shown: dict[str, Any] = json.loads(found.group(1))
    return shown


@pytest.mark.parametrize("kind", ["alert", "decision", "journal", "notice"])
def test_a_schema_is_itself_valid(kind: str) -> None:
    Draft202012Validator.check_schema(schema(kind))


@pytest.mark.parametrize("alert", ALERTS.values(), ids=ALERTS.keys())
def test_every_alert_keeps_to_the_schema_and_has_nothing_undeclared(alert: Alert) -> None:
    Draft202012Validator(strict(schema("alert"))).validate(body(render_alert(alert, CONTEXT)))


@pytest.mark.parametrize("given", DECISIONS.values(), ids=DECISIONS.keys())
def test_every_decision_keeps_to_the_schema_and_has_nothing_undeclared(given: Decision) -> None:
    Draft202012Validator(strict(schema("decision"))).validate(body(render_decision(given, CONTEXT)))


def test_a_notice_keeps_to_the_schema_and_is_told_from_alerts_by_its_type() -> None:
    message = render_notice(Notice("rate", "dock-3", START_MS, "more than 50/s with a burst of 1000"), CONTEXT)
    Draft202012Validator(strict(schema("notice"))).validate(body(message))
    assert message.topic == "vigil.alerts"
    assert headers(message)["ce_type"] == "vigil.notice.v1"


@pytest.mark.parametrize(
    "change",
    [
        {"phase": "closed"},  # without a reason
        {"score": 1.2},
        {"severity": 6},
        {"start": "2026-01-01 02:03:04"},
        {"contribution": {"image": 0.4}},
        {"settings": "7a7a"},
        {"evidence": []},
        {"schema": 2},
    ],
    ids=str,
)
def test_the_schema_refuses_what_is_no_alert_of_version_1(change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Draft202012Validator(schema("alert")).validate({**body(render_alert(opened(), CONTEXT)), **change})


def test_a_reader_with_the_schema_takes_a_property_that_a_later_version_adds() -> None:
    later = copy.deepcopy(body(render_alert(opened(), CONTEXT)))
    later["later"] = later["model"]["later"] = later["evidence"][0]["later"] = 1
    Draft202012Validator(schema("alert")).validate(later)


def test_a_side_contributes_the_difference_that_leaving_it_out_makes_below_zero_too() -> None:
    found = Contribution(micro_logit(0.9), micro_logit(0.25), micro_logit(0.95))
    alert = body(render_alert(msgspec.structs.replace(opened(), contribution=found), CONTEXT))
    assert alert["contribution"] == {"image": pytest.approx(0.65, abs=1e-3), "text": pytest.approx(-0.05, abs=1e-3)}


def test_the_documents_show_an_alert_and_its_headers_as_they_are() -> None:
    message = render_alert(opened(), CONTEXT)
    assert body(message) == example("alert")
    assert list(body(message)) == list(example("alert"))
    assert headers(message) == example("alert headers")
    assert message.key == b"dock-3"


def test_the_documents_show_a_decision_and_a_journal_record_as_they_are() -> None:
    assert body(render_decision(decision(), CONTEXT)) == example("decision")
    entries = (
        JournalSwitch(MODEL.sha256, "7a" * 32, 17, 4700, MODEL, Semantic()),
        JournalText(17, 4711),
        JournalSkipped(18, 4712),
        JournalThinning(1, 19, 4730),
        JournalTick(START_MS, 19, 4730),
    )
    found = body(render_journal(_step(journal=entries), CONTEXT, OutputDigest(), is_first=True, has_keyframe=True))
    shown = example("journal")
    assert found["epoch"].pop("version") == __version__
    assert shown["epoch"].pop("version") == "VERSION"
    # The digest covers the version, too.
    assert len(found["step"].pop("outputs")) == len(shown["step"].pop("outputs")) == 32
    assert found == shown
    assert list(found) == list(shown)


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize(
    "entries",
    [
        (),
        (JournalSwitch(MODEL.sha256, "7a" * 32, 17, 4700, MODEL, Semantic()),),
        (JournalText(17, 4711), JournalSkipped(18, 4712), JournalThinning(1, 19, 4730), JournalTick(-5, 19, 4730)),
    ],
    ids=["a step without entries", "a switch", "everything else"],
)
def test_every_journal_record_keeps_to_the_schema_has_nothing_undeclared_and_is_read_as_it_was_written(
    entries: tuple[JournalEntry, ...],
    is_first: bool,  # noqa: FBT001 - the two cases
) -> None:
    message = render_journal(_step(journal=entries), CONTEXT, OutputDigest(), is_first=is_first, has_keyframe=is_first)
    Draft202012Validator(strict(schema("journal"))).validate(body(message))
    assert message.value is not None
    record = decode_journal(message.value)
    assert (record.entries, record.epoch is not None) == (entries, is_first)
    assert record.keyframe == (JournalKeyframe(checkpoint=b"{}") if is_first else None)
    assert record.step is not None
    digest = OutputDigest()
    digest.add(message.topic, message.key, message.value.replace(str(record.step.outputs).encode(), b"0" * 32), ())
    digests = {"inputs": "1c" * 16, "outputs": digest.hex}
    assert record.step == JournalStep(sequence=40, stream_ms=START_MS, next_text=19, next_frame=4731, **digests)
    assert encode_journal(record) == message.value


def test_a_decision_and_an_alert_say_the_model_and_settings_that_they_were_made_under_not_those_of_the_worker() -> None:
    labels = (LabelRule("flood", is_alerting=True, open_at=0, close_at=0), MODEL.labels[0])
    before = InForce(Model("old", "0", "11" * 32, labels), Semantic(), "22" * 32)
    alert = body(render_alert(msgspec.structs.replace(opened(), in_force=before), CONTEXT))
    scored = body(render_decision(msgspec.structs.replace(decision(), in_force=before), CONTEXT))
    for found in (alert, scored):
        assert found["model"] == {"name": "old", "version": "0", "sha256": "11" * 32}
        assert found["settings"] == "sha256:" + "22" * 32
    assert scored["logits"] == {"flood": 2_605_000, "fight": -3_100_000}


def test_equal_inputs_give_equal_bytes() -> None:
    for alert in ALERTS.values():
        again = copy.deepcopy(alert)
        assert again is not alert
        assert render_alert(again, CONTEXT) == render_alert(alert, CONTEXT)
    assert render_decision(decision(), CONTEXT) == render_decision(decision(), CONTEXT)


def test_an_alert_holds_no_time_but_those_of_its_records_and_its_stream_time() -> None:
    message = render_alert(opened(), CONTEXT)
    found = set(re.findall(r"\d{4}-\d\d-\d\dT[\d:.]+Z", (message.value or b"").decode() + headers(message)["ce_time"]))
    assert found == {"2026-01-01T02:03:04.500Z", "2026-01-01T02:03:04.750Z"}


def test_a_dead_letter_is_the_record_as_it_came_with_reason_and_place_beside_it() -> None:
    raw = Raw(17, START_MS, None, b"\xff\xfe", (("traceparent", b"\x00\xff"),))
    message = render_dead_letter(DeadLetter(Side.TEXT, 17, "no-key", "detail"), raw, CONTEXT)
    assert (message.key, message.value, message.headers[0]) == (None, b"\xff\xfe", ("traceparent", b"\x00\xff"))
    assert {name: content.decode() for name, content in message.headers[1:]} == {
        "vigil_reason": "no-key",
        "vigil_topic": "vigil.texts",
        "vigil_partition": "3",
        "vigil_offset": "17",
        "vigil_detail": "detail",
        "vigil_deployment": "vigil",
    }


@pytest.mark.parametrize(("reason", "kept"), [("too-large", DEAD_LETTER_HEAD_BYTES), ("undecodable", 100_000)])
def test_only_a_dead_letter_that_was_too_large_is_cut(reason: str, kept: int) -> None:
    raw = Raw(5, START_MS, b"dock-3", bytes(100_000))
    message = render_dead_letter(DeadLetter(Side.FRAME, 5, reason), raw, CONTEXT)
    assert message.value is not None
    assert len(message.value) == kept
    assert headers(message).get("vigil_size") == ("100000" if reason == "too-large" else None)


@pytest.mark.parametrize("more", [0, 1])
def test_what_fits_exactly_into_a_cut_dead_letter_is_not_said_to_be_cut(more: int) -> None:
    full = bytes(DEAD_LETTER_HEAD_BYTES)
    raw = Raw(5, START_MS, full + bytes(more), full + bytes(more))
    message = render_dead_letter(DeadLetter(Side.FRAME, 5, "too-large"), raw, CONTEXT)
    assert (message.key, message.value) == (full, full)
    assert ({"vigil_key_size", "vigil_size"} <= headers(message).keys()) == bool(more)
    assert ({"vigil_key_size", "vigil_size"} & headers(message).keys() != set()) == bool(more)


@pytest.mark.parametrize("part", ["key", "value", "headers"])
def test_a_dead_letter_is_cut_where_its_topic_would_not_take_it_whole(part: str) -> None:
    context = msgspec.structs.replace(CONTEXT, letter_bytes=200_000)
    parts: dict[str, Any] = {"key": b"dock-3", "value": b"x", "headers": ()}
    long = bytes(250_000)
    raw = Raw(5, START_MS, **{**parts, part: (("baggage", long),) if part == "headers" else long})
    message = render_dead_letter(DeadLetter(Side.FRAME, 5, "headers"), raw, context)
    kept = len(message.key or b"") + len(message.value or b"") + sum(len(content) for _, content in message.headers)
    assert kept < 60_000
    said = {"key": ("vigil_key_size", "250000"), "value": ("vigil_size", "250000")}
    name, content = said.get(part, ("vigil_headers_left_out", "1"))
    assert headers(message)[name] == content
    sizes = {"vigil_key_size", "vigil_size", "vigil_headers_left_out"}
    assert sizes & headers(message).keys() == {name}, "what went along whole is not said to be cut"


def test_a_step_ends_with_its_checkpoint_on_the_task_s_own_partition() -> None:
    *others, last = _rendered(_step(alerts=(opened(),), decisions=(decision(),), journal=(JournalText(17, 4711),)))
    assert [message.topic for message in others] == ["vigil.alerts", "vigil.decisions", "vigil.journal"]
    assert (last.topic, last.partition, last.key, last.value) == ("vigil.state", 3, b"vigil/3", b"{}")


def _rendered(step: Step) -> list[Message]:
    return list(render_step(step, CONTEXT, {}))


def _step(**parts: Any) -> Step:  # noqa: ANN401 - whatever a step may have
    nothing: dict[str, Any] = dict.fromkeys(("alerts", "notices", "decisions", "dead_letters", "journal"), ())
    numbers = {"sequence": 40, "stream_ms": START_MS, "next_text": 19, "next_frame": 4731, "inputs": "1c" * 16}
    return Step(**{**nothing, **numbers, "commit_text": 17, "commit_frame": 4700, "checkpoint": b"{}", **parts})


def test_a_keyframe_that_the_journal_s_topic_would_not_take_is_left_out_and_the_step_is_not() -> None:
    step = _step(journal=(JournalText(17, 4711),), checkpoint=b"x" * 3_000)
    sizes = {}
    for journal_bytes in (5_000, 4_000):
        context = msgspec.structs.replace(CONTEXT, journal_bytes=journal_bytes)
        value = render_journal(step, context, OutputDigest(), is_first=False, has_keyframe=True).value or b""
        record = decode_journal(value)
        assert record.entries == step.journal
        assert len(value) <= journal_bytes
        has_keyframe = record.keyframe is not None
        assert (record.epoch is not None) == has_keyframe, "who begins there has to know what outputs depend on"
        sizes[journal_bytes] = len(record.keyframe.checkpoint) if record.keyframe is not None else None
    assert sizes == {5_000: 3_000, 4_000: None}


@pytest.mark.parametrize(("first", "told"), [(3, b"3"), (9, None)])
def test_a_dead_letter_says_what_a_lost_batch_held(first: int, told: bytes | None) -> None:
    lost = Unreadable(offset=9, first_offset=first, timestamp=5, reason="batch-size", detail="offsets 3-9: bomb")
    message = render_dead_letter(DeadLetter(Side.TEXT, 9, "batch-size", lost.detail), lost, CONTEXT)
    headers = dict(message.headers)
    assert (message.key, message.value) == (None, b""), "the client publishes nothing that has neither"
    assert (headers["vigil_offset"], headers.get("vigil_first_offset")) == (b"9", told)
