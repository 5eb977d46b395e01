"""The seven topics on the brokers: created, compared with their plans, and altered where somebody asks for that.

In: a connection, names, plans. Out: topics created, differences with expected and found, settings altered. Partition
counts and replication are never altered, and settings only by :func:`fix_topics`: they are somebody's decision.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec
from aiokafka.admin import NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, for_code

from stream_app.adapters.kafka.clients import admin_client
from stream_app.adapters.kafka.connection import Connection
from stream_app.adapters.kafka.topic_altering import NO_RIGHT, NOT_ALLOWED, alter_settings
from stream_app.adapters.kafka.topic_plans import RETENTION, Difference, Retention, TopicPlan, compare, plan_topics
from stream_app.wire.topics import Topics

_ALREADY_EXISTS = 36
#: Until a new topic's leaders are known, or all brokers know what was altered, in seconds.
_READY_S = 15.0
_POLL_S = 0.1


class TopicsError(Exception):
    """The brokers refused to create or to describe topics; the message says which and why."""


class TopicsReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was created, what was there before, and what differs from the plan."""

    created: tuple[str, ...]
    existing: tuple[str, ...]
    differences: tuple[Difference, ...]

    @property
    def is_fit(self) -> bool:
        """Whether nothing fatal was found."""
        return not any(difference.is_fatal for difference in self.differences)


class FixReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was, or would be, altered, and which differences stay as they are. ``is_applied``: it was altered."""

    altered: tuple[Difference, ...]
    left: tuple[Difference, ...]
    is_applied: bool

    @property
    def is_fit(self) -> bool:
        """Whether nothing is left to alter, and nothing fatal."""
        return (self.is_applied or not self.altered) and not any(difference.is_fatal for difference in self.left)


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
        differences=compare(existing, found, configs),
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
        differences=compare(plans, found, configs),
    )


async def fix_topics(
    connection: Connection,
    topics: Topics,
    *,
    retention: Mapping[str, int],
    only: Collection[str] = (),
    is_applied: bool = False,
) -> FixReport:
    """Alter those settings of existing topics that differ from the plan; nothing else of them is touched.

    A bound is only ever raised. Retention is altered where it is given alone: a shorter one than that of new topics is
    somebody's choice, and costs disk where it is wrong.

    Args:
        connection: the cluster.
        topics: their names.
        retention: hours to keep records for at least, by the names of :class:`Retention`; -1 for ever.
        only: names of the topics to look at; empty: all seven.
        is_applied: alter them; else only say what would be altered.

    Returns:
        What was (or would be) altered and then read back, and which differences stay.

    Raises:
        BrokerUnreachableError: if no broker answers.
        TopicsError: if the brokers refuse; the message says which settings were altered all the same.
    """
    keep = Retention(**retention)
    async with admin_client(connection) as admin:
        try:
            found = await _describe(admin, [plan.name for plan in plan_topics(topics, 1)])
            all_plans = plan_topics(topics, found.get(topics.frames, 1), retention=keep)
            plans = [plan for plan in all_plans if not only or plan.name in only]
            differences = compare(
                plans, found, await _configs(admin, [plan.name for plan in plans if plan.name in found])
            )
            chosen = _with_chosen_retention(topics, retention)
            wanted = [d for d in differences if d.value and (d.what != RETENTION or d.topic in chosen)]
            if is_applied and wanted:
                await _alter(admin, wanted)
        except KafkaError as error:
            raise TopicsError(f"the brokers refused: {error!r}") from error
    left = tuple(difference for difference in differences if difference not in wanted)
    return FixReport(altered=tuple(wanted), left=left, is_applied=is_applied)


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


def _with_chosen_retention(topics: Topics, retention: Collection[str]) -> set[str]:
    outputs = {topics.alerts, topics.decisions, topics.journal, topics.dead_letters}
    by_hours = {"frames_hours": {topics.frames}, "texts_hours": {topics.texts}, "outputs_hours": outputs}
    return {name for hours in retention for name in by_hours[hours]}


async def _alter(admin: Any, wanted: Sequence[Difference]) -> None:  # noqa: ANN401 - aiokafka has no types
    """Alter settings, and wait until they are read back."""
    changes: dict[str, dict[str, str]] = {}
    for difference in wanted:
        changes.setdefault(difference.topic, {})[difference.what] = difference.value
    refused = await alter_settings(admin, changes)
    sent = [difference for difference in wanted if difference.topic not in refused]
    await _until_read_back(admin, sent)
    if refused:
        altered = ", ".join(sorted({difference.topic for difference in sent})) or "none"
        words = "; ".join(f"{topic}: {why}" for topic, why in sorted(refused.items()))
        raise TopicsError(f"the brokers refused to alter {words}. Topics that were altered: {altered}")


async def _until_read_back(admin: Any, sent: Sequence[Difference]) -> None:  # noqa: ANN401 - aiokafka has no types
    """Wait until the broker that answers knows what the controller has altered."""
    waiting = list(sent)
    deadline = asyncio.get_running_loop().time() + _READY_S
    while waiting:
        configs = await _configs(admin, sorted({difference.topic for difference in waiting}))
        waiting = [one for one in waiting if configs[one.topic].get(one.what) != one.value]
        if waiting and asyncio.get_running_loop().time() > deadline:
            words = "; ".join(
                f"{one.topic}: expected {one.what} {one.value}, found {configs[one.topic].get(one.what)}"
                for one in waiting
            )
            raise TopicsError(f"altered, but read back otherwise after {_READY_S:g} s: {words}")
        if waiting:
            await asyncio.sleep(_POLL_S)


async def _configs(admin: Any, names: Sequence[str]) -> dict[str, dict[str, str]]:  # noqa: ANN401
    if not names:
        return {}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    configs: dict[str, dict[str, str]] = {}
    for response in await admin.describe_configs(resources):
        for code, message, _, name, entries in response.resources:
            if code:
                detail = NO_RIGHT.format("DESCRIBE_CONFIGS") if code == NOT_ALLOWED else message
                raise TopicsError(f"the settings of {name} cannot be read: {detail or for_code(code).__name__}")
            configs[name] = {entry[0]: entry[1] or "" for entry in entries}
    return configs
