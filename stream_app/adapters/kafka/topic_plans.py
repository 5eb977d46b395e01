"""How the seven topics should be, and what each difference from that costs.

In: names, partition count, retention; what the brokers say of the topics. Out: plans, and differences with expected and
found. It must not know how brokers are asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import msgspec

from stream_app.wire.topics import Topics

MAX_MESSAGE_BYTES = 8 * 1024 * 1024
TIMESTAMP_TYPE = "message.timestamp.type"
APPEND_TIME = "LogAppendTime"
RETENTION = "retention.ms"
_HOUR_MS = 3_600_000
#: Larger is as good: what is kept for longer, and what takes larger records, loses nothing.
_BOUNDS = frozenset({RETENTION, "max.message.bytes"})

Role = Literal["input", "output", "state"]

_PRODUCERS_CLOCKS: Mapping[Role, str] = {
    "input": "producers' clocks order the merge: one wrong clock makes other cameras' records late",
    "output": "workers' clocks stamp the records: the broker refuses every commit of a worker more than an hour ahead",
    "state": "workers' clocks stamp the records: the broker refuses every commit of a worker more than an hour ahead",
}
_COMPACTED: Mapping[Role, str] = {
    "input": "compaction would drop records with the same key",
    "output": "compaction would drop records with the same key",
    "state": "checkpoints would be deleted by age",
}
_COSTS: Mapping[str, Mapping[Role, str]] = {
    "cleanup.policy": _COMPACTED,
    TIMESTAMP_TYPE: _PRODUCERS_CLOCKS,
    RETENTION: dict.fromkeys(("input", "output", "state"), "evidence and unread input are gone sooner"),
    "max.message.bytes": dict.fromkeys(("input", "output", "state"), "larger records are refused by the broker"),
}


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """How long records stay, in hours; -1 for ever. An alert's evidence can be fetched as long as the inputs stay."""

    frames_hours: int = 24
    texts_hours: int = 7 * 24
    outputs_hours: int = 30 * 24


class TopicPlan(msgspec.Struct, frozen=True, kw_only=True):
    """How one topic should be. Partition p of the inputs and of the state is one task; outputs go by key."""

    name: str
    role: Role
    partitions: int
    configs: Mapping[str, str]


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is not as planned. ``is_fatal``: a worker would not start, or would lose or mix up results.

    ``value`` is what the setting ``what`` would have to become; empty where the difference is not one of settings.
    """

    topic: str
    what: str
    expected: str
    found: str
    cost: str
    is_fatal: bool
    value: str = ""


def plan_topics(topics: Topics, partitions: int, *, retention: Retention | None = None) -> tuple[TopicPlan, ...]:
    """Return how the seven topics of a deployment should be.

    Args:
        topics: their names.
        partitions: of each; frames, texts and state must have equally many, and the number is fixed for life.
        retention: how long records stay.
    """
    keep = retention or Retention()

    def plan(name: str, role: Role, hours: int, **configs: str) -> TopicPlan:
        kept = {
            "cleanup.policy": "delete",
            RETENTION: str(-1 if hours < 0 else hours * _HOUR_MS),
            # The broker's clock stamps what is appended: it refuses what a producer's wrong clock stamps.
            TIMESTAMP_TYPE: APPEND_TIME,
        }
        dotted = {key.replace("_", "."): value for key, value in configs.items()}
        return TopicPlan(name=name, role=role, partitions=partitions, configs={**kept, **dotted})

    large = str(MAX_MESSAGE_BYTES)
    compacted = {
        "cleanup.policy": "compact",
        TIMESTAMP_TYPE: APPEND_TIME,
        # A checkpoint a second and task: small segments and an eager cleaner, else recovery reads through old ones.
        "min.cleanable.dirty.ratio": "0.1",
        "segment.bytes": str(16 * 1024 * 1024),
        "segment.ms": str(_HOUR_MS // 6),
        # A flood of texts, many cameras or a wide window make a checkpoint larger than the 1 MB of the default.
        "max.message.bytes": large,
    }
    return (
        plan(topics.frames, "input", keep.frames_hours, max_message_bytes=large),
        plan(topics.texts, "input", keep.texts_hours),
        plan(topics.alerts, "output", keep.outputs_hours),
        plan(topics.decisions, "output", keep.outputs_hours),
        # A keyframe is a checkpoint in the journal.
        plan(topics.journal, "output", keep.outputs_hours, max_message_bytes=large),
        TopicPlan(name=topics.state, role="state", partitions=partitions, configs=compacted),
        plan(topics.dead_letters, "output", keep.outputs_hours, max_message_bytes=large),
    )


def compare(
    plans: Sequence[TopicPlan], found: Mapping[str, int], configs: Mapping[str, Mapping[str, str]]
) -> tuple[Difference, ...]:
    """Return what is not as planned.

    Args:
        plans: how the topics should be.
        found: partition counts of those that exist.
        configs: their settings.
    """
    differences: list[Difference] = []
    for plan in plans:
        if plan.name not in found:
            differences.append(_missing(plan))
            continue
        if found[plan.name] != plan.partitions:
            differences.append(_partitions_differ(plan, found[plan.name]))
        differences += compare_settings(plan, configs.get(plan.name, {}))
    return tuple(differences)


def compare_settings(plan: TopicPlan, config: Mapping[str, str]) -> list[Difference]:
    """Return in which settings a topic that exists differs from its plan.

    What only costs disk, as how eagerly state is compacted, is no difference: somebody may well prefer other numbers.

    Args:
        plan: how it should be.
        config: its settings, by name.
    """
    differences = []
    for name, expected in plan.configs.items():
        found = config.get(name, "")
        if name not in _COSTS or _is_as_good(name, found, expected):
            continue
        wanted = f">= {expected}" if name in _BOUNDS and expected != "-1" else expected
        differences.append(
            Difference(
                topic=plan.name,
                what=name,
                expected=wanted,
                found=found,
                cost=_COSTS[name][plan.role],
                is_fatal=name == "cleanup.policy" and plan.role != "output",
                value=expected,
            )
        )
    return differences


def _missing(plan: TopicPlan) -> Difference:
    return Difference(
        topic=plan.name,
        what="topic",
        expected="exists",
        found="missing",
        cost="no worker starts without it",
        is_fatal=True,
    )


def _partitions_differ(plan: TopicPlan, found: int) -> Difference:
    # Outputs are published by key; only inputs and state have to agree.
    must_agree = plan.role != "output"
    return Difference(
        topic=plan.name,
        what="partitions",
        expected=str(plan.partitions),
        found=str(found),
        cost="partition p of frames, texts and state is one task" if must_agree else "none: it is published by key",
        is_fatal=must_agree,
    )


def _is_as_good(name: str, found: str, expected: str) -> bool:
    if name not in _BOUNDS:
        return set(found.split(",")) == {expected}
    if found == "-1":
        return True
    return expected != "-1" and found.isdecimal() and int(found) >= int(expected)
