"""The seven topics: how they should be, how they are, and what each difference costs.

In: a connection, names, partition count. Out: topics created, or a list of differences with expected and found. An
existing topic is never changed: its partitions are fixed for life, and its other settings are somebody's decision.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from aiokafka.admin import NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, for_code

from stream_app.adapters.connection import Connection
from stream_app.adapters.events import Topics
from stream_app.adapters.reach import admin_client

MAX_MESSAGE_BYTES = 8 * 1024 * 1024
_HOUR_MS = 3_600_000
_ALREADY_EXISTS = 36
#: Until a new topic's leaders are known, in seconds.
_READY_S = 15.0
_POLL_S = 0.1
_COSTS = {
    "cleanup.policy": "compaction would drop records with the same key",
    "message.timestamp.type": "producers' clocks order the merge: one wrong clock makes other cameras' records late",
    "retention.ms": "evidence and unread input are gone sooner",
    "max.message.bytes": "larger records are refused by the broker",
}


class TopicsError(Exception):
    """The brokers refused to create or to describe topics; the message says which and why."""


class Retention(msgspec.Struct, frozen=True, kw_only=True):
    """How long records stay, in hours; -1 for ever. An alert's evidence can be fetched as long as the inputs stay."""

    frames_hours: int = 24
    texts_hours: int = 7 * 24
    outputs_hours: int = 30 * 24


class TopicPlan(msgspec.Struct, frozen=True, kw_only=True):
    """How one topic should be."""

    name: str
    partitions: int
    configs: Mapping[str, str]


class Difference(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is not as planned. ``is_fatal``: a worker would not start, or would lose or mix up results."""

    topic: str
    what: str
    expected: str
    found: str
    cost: str
    is_fatal: bool


class TopicsReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was created, what was there before, and what differs from the plan."""

    created: tuple[str, ...]
    existing: tuple[str, ...]
    differences: tuple[Difference, ...]

    @property
    def is_fit(self) -> bool:
        """Whether nothing fatal was found."""
        return not any(difference.is_fatal for difference in self.differences)


def plan_topics(topics: Topics, partitions: int, *, retention: Retention | None = None) -> tuple[TopicPlan, ...]:
    """Return how the seven topics of a deployment should be.

    Args:
        topics: their names.
        partitions: of each; frames, texts and state must have equally many, and the number is fixed for life.
        retention: how long records stay.
    """
    keep = retention or Retention()

    def plan(name: str, hours: int, **configs: str) -> TopicPlan:
        kept = {"cleanup.policy": "delete", "retention.ms": str(-1 if hours < 0 else hours * _HOUR_MS)}
        dotted = {key.replace("_", "."): value for key, value in configs.items()}
        return TopicPlan(name=name, partitions=partitions, configs={**kept, **dotted})

    large = str(MAX_MESSAGE_BYTES)
    appended = "LogAppendTime"
    compacted = {
        "cleanup.policy": "compact",
        # A checkpoint a second and task: small segments and an eager cleaner, else recovery reads through old ones.
        "min.cleanable.dirty.ratio": "0.1",
        "segment.bytes": str(16 * 1024 * 1024),
        "segment.ms": str(_HOUR_MS // 6),
        # A flood of texts, many cameras or a wide window make a checkpoint larger than the 1 MB of the default.
        "max.message.bytes": str(MAX_MESSAGE_BYTES),
    }
    return (
        plan(topics.frames, keep.frames_hours, message_timestamp_type=appended, max_message_bytes=large),
        plan(topics.texts, keep.texts_hours, message_timestamp_type=appended),
        plan(topics.alerts, keep.outputs_hours),
        plan(topics.decisions, keep.outputs_hours),
        plan(topics.journal, keep.outputs_hours),
        TopicPlan(name=topics.state, partitions=partitions, configs=compacted),
        plan(topics.dead_letters, keep.outputs_hours, max_message_bytes=large),
    )


async def create_topics(
    connection: Connection, plans: Sequence[TopicPlan], *, replication: int | None = None
) -> TopicsReport:
    """Create the topics that are missing, wait until they can be used, and compare those that were there.

    Args:
        connection: the cluster.
        plans: how the topics should be.
        replication: copies of each partition; None for three, or as many as there are brokers.

    Returns:
        What was done and found. Doing it again changes nothing.

    Raises:
        BrokerUnreachableError: if no broker answers.
        TopicsError: if the brokers refuse.
    """
    async with admin_client(connection) as admin:
        try:
            before = await _describe(admin, [plan.name for plan in plans])
            missing = [plan for plan in plans if plan.name not in before]
            created = await _create(admin, missing, replication)
            await _until_ready(admin, created)
            existing = [plan for plan in plans if plan.name not in created]
            found = await _describe(admin, [plan.name for plan in existing])
            configs = await _configs(admin, [plan.name for plan in existing])
        except KafkaError as error:
            raise TopicsError(f"the brokers refused: {error}") from error
    names = tuple(plan.name for plan in plans if plan.name in created)
    return TopicsReport(
        created=names,
        existing=tuple(plan.name for plan in existing),
        differences=_differences(existing, found, configs),
    )


async def check_topics(connection: Connection, topics: Topics, *, partitions: int | None = None) -> TopicsReport:
    """Compare the topics with what they should be; change nothing.

    Args:
        connection: the cluster.
        topics: their names.
        partitions: how many each should have; None takes the number of the frames topic.

    Returns:
        What is there and what differs.

    Raises:
        BrokerUnreachableError: if no broker answers.
        TopicsError: if the brokers refuse.
    """
    async with admin_client(connection) as admin:
        try:
            found = await _describe(admin, [plan.name for plan in plan_topics(topics, 1)])
            plans = plan_topics(topics, partitions or found.get(topics.frames, 1))
            configs = await _configs(admin, list(found))
        except KafkaError as error:
            raise TopicsError(f"the brokers refused: {error}") from error
    return TopicsReport(
        created=(),
        existing=tuple(plan.name for plan in plans if plan.name in found),
        differences=_differences(plans, found, configs),
    )


async def partition_counts(connection: Connection, names: Sequence[str]) -> dict[str, int]:
    """Return the partition counts of those topics that exist.

    Args:
        connection: the cluster.
        names: of the topics.

    Raises:
        BrokerUnreachableError: if no broker answers.
        KafkaError: if the brokers refuse.
    """
    async with admin_client(connection) as admin:
        return await _describe(admin, names)


async def _describe(admin: Any, wanted: Sequence[str]) -> dict[str, int]:  # noqa: ANN401 - aiokafka has no types
    """Return the partition counts of those topics that exist."""
    if not wanted:
        return {}
    # First among all topics: asking for one by name makes it, where brokers create topics on demand.
    known = set(await admin.list_topics())
    names = [name for name in wanted if name in known]
    counts: dict[str, int] = {}
    for topic in await admin.describe_topics(names) if names else ():
        if topic["error_code"]:
            raise for_code(topic["error_code"])(topic["topic"])
        counts[topic["topic"]] = len(topic["partitions"])
    return counts


async def _create(admin: Any, plans: Sequence[TopicPlan], replication: int | None) -> set[str]:  # noqa: ANN401
    if not plans:
        return set()
    if replication is None:
        cluster = await admin.describe_cluster()
        replication = min(3, len(cluster["brokers"]))
    wanted = [NewTopic(plan.name, plan.partitions, replication, topic_configs=dict(plan.configs)) for plan in plans]
    response = await admin.create_topics(wanted)
    created, refused = set(), []
    for name, code, *words in response.topic_errors:
        if code == 0:
            created.add(name)
        elif code != _ALREADY_EXISTS:
            detail = words[0] if words and words[0] else for_code(code).__name__
            refused.append(f"{name}: {detail}")
    if refused:
        raise TopicsError("the brokers refused to create " + "; ".join(refused))
    return created


async def _until_ready(admin: Any, names: set[str]) -> None:  # noqa: ANN401
    """Wait for the leaders of new topics: a producer that comes before them logs errors that frighten."""
    if not names:
        return
    try:
        async with asyncio.timeout(_READY_S):
            while True:
                described = await admin.describe_topics(sorted(names))
                if all(_is_led(topic) for topic in described):
                    return
                await asyncio.sleep(_POLL_S)
    except TimeoutError as error:
        raise TopicsError(f"created, but without leaders after {_READY_S:g} s: {', '.join(sorted(names))}") from error


def _is_led(topic: Mapping[str, Any]) -> bool:
    return topic["error_code"] == 0 and all(partition["leader"] >= 0 for partition in topic["partitions"])


async def _configs(admin: Any, names: Sequence[str]) -> dict[str, dict[str, str]]:  # noqa: ANN401
    if not names:
        return {}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    configs: dict[str, dict[str, str]] = {}
    for response in await admin.describe_configs(resources):
        for code, message, _, name, entries in response.resources:
            if code:
                raise TopicsError(f"the settings of {name} cannot be read: {message or for_code(code).__name__}")
            configs[name] = {entry[0]: entry[1] or "" for entry in entries}
    return configs


def _differences(
    plans: Sequence[TopicPlan], found: Mapping[str, int], configs: Mapping[str, Mapping[str, str]]
) -> tuple[Difference, ...]:
    differences: list[Difference] = []
    for plan in plans:
        if plan.name not in found:
            differences.append(
                _different(plan, "topic", "exists", "missing", "no worker starts without it", fatal=True)
            )
            continue
        if found[plan.name] != plan.partitions:
            differences.append(_partitions_differ(plan, found[plan.name]))
        for name, expected in plan.configs.items():
            difference = _config_differs(plan, name, expected, configs.get(plan.name, {}).get(name, ""))
            if difference is not None:
                differences.append(difference)
    return tuple(differences)


def _partitions_differ(plan: TopicPlan, found: int) -> Difference:
    # Outputs are published by key; only inputs and state have to agree, and those differ in their policies.
    must_agree = plan.configs.get("message.timestamp.type") is not None or plan.configs["cleanup.policy"] == "compact"
    cost = "partition p of frames, texts and state is one task" if must_agree else "none: it is published by key"
    return _different(plan, "partitions", str(plan.partitions), str(found), cost, fatal=must_agree)


def _config_differs(plan: TopicPlan, name: str, expected: str, found: str) -> Difference | None:
    # How eagerly state is compacted costs disk, nothing else; somebody may well prefer other numbers.
    if name not in _COSTS:
        return None
    is_bound = name in {"retention.ms", "max.message.bytes"}
    is_same = _at_least(found, expected) if is_bound else set(found.split(",")) == {expected}
    if is_same:
        return None
    wanted = f">= {expected}" if is_bound and expected != "-1" else expected
    cost = _COSTS[name] if expected != "compact" else "checkpoints would be deleted by age"
    return _different(plan, name, wanted, found, cost, fatal=name == "cleanup.policy")


def _at_least(found: str, expected: str) -> bool:
    if found == "-1":
        return True
    return expected != "-1" and found.isdecimal() and int(found) >= int(expected)


def _different(plan: TopicPlan, what: str, expected: str, found: str, cost: str, *, fatal: bool) -> Difference:
    return Difference(topic=plan.name, what=what, expected=expected, found=found, cost=cost, is_fatal=fatal)
