"""Looks a cluster over before the first Faust client starts, because Faust says little or nothing of what is wrong.

In: addresses, names and the policy on foreign partitioners. Out: a report with warnings, or one error that says what
was expected, what was found and what to do. It changes nothing and joins no group, so it disturbs no running worker.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal

import msgspec
from aiokafka import TopicPartition
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.codec import has_gzip, has_lz4, has_snappy, has_zstd
from aiokafka.errors import (
    GroupAuthorizationFailedError,
    KafkaError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
    UnsupportedCodecError,
    for_code,
)
from aiokafka.partitioner import murmur2

from stream_app.adapters.kafka.clients import POLL_MS, admin_client, consumer
from stream_app.adapters.kafka.connection import MAX_REQUEST_BYTES, Connection
from stream_app.adapters.kafka.rights import unwritable
from stream_app.adapters.kafka.topic_plans import MAX_MESSAGE_BYTES, TIMESTAMP_TYPE, compare_settings, plan_topics
from stream_app.wire.dead_letters import DEFAULT_LETTER_BYTES, LETTER_OVERHEAD_BYTES
from stream_app.wire.topics import Topics

_TOPIC_NOT_ALLOWED: Final = 29
#: What a journal record has beside the checkpoint, which is in base64 in a keyframe.
_KEYFRAME_OVERHEAD_BYTES: Final = 65_536
#: One fetch of so many bytes per partition is enough for a sample of keys, and bounds what a start downloads.
_SAMPLE_FETCH_BYTES: Final = 131_072
#: A topic that was made a moment ago is not known to every broker at once, in seconds.
_SETTLE_S: Final = 2.0
_SETTLE_POLL_S: Final = 0.2


class PreflightError(RuntimeError):
    """A worker must not start on this cluster. The message says what was expected, what was found and what to do."""


class PreflightSettings(msgspec.Struct, frozen=True, kw_only=True):
    """What to look at.

    Attributes:
        connection: addresses and credentials.
        group: the consumer group whose rights are tried.
        topics: names of the inputs and outputs.
        transactional_id: for trying the right to publish; with the prefix of the tasks' own, and none of them.
        max_image_bytes: the largest image that admission lets in.
        checkpoint_bytes: the largest checkpoint that the settings and the model allow.
        partitioner: what to do when records do not lie where Kafka's own partitioner puts their keys.
        sample_records: how many of the newest records of each input partition are looked at.
        sample_timeout_s: for reading all samples, in seconds; what has not come by then is not judged.
    """

    connection: Connection
    group: str
    topics: Topics
    transactional_id: str
    max_image_bytes: int
    checkpoint_bytes: int
    partitioner: Literal["reject", "warn"]
    sample_records: int = 20
    sample_timeout_s: float = 10.0


class PreflightReport(msgspec.Struct, frozen=True, kw_only=True):
    """What was found. `misplaced` of the `sampled` records with a key lie where murmur2(key) does not put them.

    `letter_bytes`: the dead-letter topic takes a record of so many bytes, with our headers added; `journal_bytes`: the
    journal topic takes one of so many.
    """

    partitions: int
    sampled: int
    misplaced: int
    warnings: tuple[str, ...]
    letter_bytes: int = DEFAULT_LETTER_BYTES
    journal_bytes: int = DEFAULT_LETTER_BYTES


class _Sample(msgspec.Struct):
    """Records of one topic that have a key, and those of them in a foreign place."""

    count: int = 0
    misplaced: int = 0
    example: str = ""


async def preflight(settings: PreflightSettings) -> PreflightReport:
    """Check broker, topics, partition counts, clean-up policies, rights, timestamps, sizes and the partitioner.

    Returns:
        The number of tasks, the sample's figures, and what works but costs something.

    Raises:
        PreflightError: a worker would not work, or would lose or mix up results.
        BrokerUnreachableError: no broker answers.
    """
    topics = settings.topics
    try:
        async with admin_client(settings.connection) as admin:
            counts = await _partition_counts(admin, topics)
            partitions = _check_counts(counts, topics)
            configs, warnings = await _configs(admin, msgspec.structs.asdict(topics).values())
        _check_policies(configs, topics)
        _check_codecs(configs, topics)
        await _check_publishing(settings)
        warnings += _costly(configs, settings)
        samples = await _read_samples(settings, partitions)
    except TopicAuthorizationFailedError as error:
        raise PreflightError(_not_allowed(f"topic {error}", "READ and DESCRIBE on both inputs")) from error
    except GroupAuthorizationFailedError as error:
        raise PreflightError(_not_allowed(f"group {settings.group}", "READ on the group")) from error
    except TransactionalIdAuthorizationFailed as error:
        what = f"transactional id {settings.transactional_id}"
        raise PreflightError(_not_allowed(what, "WRITE and DESCRIBE on transactional ids of this prefix")) from error
    except UnsupportedCodecError as error:
        raise PreflightError(f"the newest records of an input cannot be read: {error}. {_CODEC}") from error
    except KafkaError as error:
        raise PreflightError(f"the brokers at {settings.connection.bootstrap} refused: {error!r}") from error
    warnings += _judge_partitioner(samples, partitions, settings)
    return PreflightReport(
        partitions=partitions,
        sampled=sum(sample.count for sample in samples.values()),
        misplaced=sum(sample.misplaced for sample in samples.values()),
        warnings=tuple(warnings),
        letter_bytes=_record_bytes(configs.get(topics.dead_letters, {})),
        journal_bytes=_record_bytes(configs.get(topics.journal, {})),
    )


async def _partition_counts(admin: Any, topics: Topics) -> dict[str, int]:  # noqa: ANN401 - aiokafka has no types
    names = sorted(msgspec.structs.asdict(topics).values())
    deadline = asyncio.get_running_loop().time() + _SETTLE_S
    while True:
        described = await admin.describe_topics(names)
        denied = [topic["topic"] for topic in described if topic["error_code"] == _TOPIC_NOT_ALLOWED]
        if denied:
            what = "DESCRIBE, and READ (inputs) or WRITE (outputs)"
            raise PreflightError(_not_allowed(f"topics {', '.join(sorted(denied))}", what))
        counts = {topic["topic"]: len(topic["partitions"]) for topic in described if topic["partitions"]}
        if len(counts) == len(names):
            return counts
        if asyncio.get_running_loop().time() > deadline:
            missing = [name for name in names if name not in counts]
            raise PreflightError(f"expected the topics {', '.join(names)}; missing: {', '.join(missing)}. {_CREATE}")
        await asyncio.sleep(_SETTLE_POLL_S)


_CREATE: Final = "Create them with: vigil topics create (names come from the settings [topics])"


def _check_counts(counts: Mapping[str, int], topics: Topics) -> int:
    """Return the number of tasks. Faust would not say a word, and pair partitions that do not belong together."""
    frames, texts, state = counts[topics.frames], counts[topics.texts], counts[topics.state]
    if not frames == texts == state:
        raise PreflightError(
            f"expected equal partition counts of inputs and state, found {topics.frames}: {frames}, "
            f"{topics.texts}: {texts}, {topics.state}: {state}. Partition p of each is one task. A partition count is "
            "fixed for life: recreate the topics that differ, under other names if they hold records"
        )
    return frames


async def _configs(admin: Any, names: Iterable[str]) -> tuple[dict[str, dict[str, str]], list[str]]:  # noqa: ANN401
    """Return the settings of topics; without the right to read them a warning, for a worker can do without it."""
    configs: dict[str, dict[str, str]] = {}
    warnings: list[str] = []
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in names]
    for response in await admin.describe_configs(resources):
        for code, _message, _kind, name, entries in response.resources:
            if code:
                error = for_code(code).__name__
                warnings.append(
                    f"the settings of topic {name} could not be read ({error}), so its clean-up policy, timestamps "
                    "and sizes are unchecked; grant DESCRIBE_CONFIGS to have them checked"
                )
            else:
                configs[name] = {entry[0]: entry[1] or "" for entry in entries}
    return configs, warnings


def _check_policies(configs: Mapping[str, Mapping[str, str]], topics: Topics) -> None:
    for name, is_state in ((topics.frames, False), (topics.texts, False), (topics.state, True)):
        if name not in configs:
            continue
        found = {policy for policy in configs[name].get("cleanup.policy", "").split(",") if policy}
        if is_state and found != {"compact"}:
            raise PreflightError(
                f"{name}: expected cleanup.policy compact, found {','.join(sorted(found)) or 'none'}: "
                "checkpoints would be deleted by age, and with them open incidents. Set cleanup.policy=compact"
            )
        if not is_state and "compact" in found:
            raise PreflightError(
                f"{name}: expected cleanup.policy delete, found {','.join(sorted(found))}: all but the newest record "
                "of a zone would vanish, and evidence with them. Set cleanup.policy=delete"
            )


_CODEC: Final = "Install the package cramjam beside Vigil, or let producers and topics compress with gzip or not at all"


def _check_codecs(configs: Mapping[str, Mapping[str, str]], topics: Topics) -> None:
    """Refuse topics whose broker compresses with what is not installed: the first record would end every worker."""
    installed = {"gzip": has_gzip, "lz4": has_lz4, "snappy": has_snappy, "zstd": has_zstd}
    for name in (topics.frames, topics.texts, topics.state):
        codec = configs.get(name, {}).get("compression.type", "producer")
        if codec in installed and not installed[codec]():
            raise PreflightError(
                f"{name}: expected a compression.type that can be read here, found {codec}, whose library is not "
                f"installed. {_CODEC}"
            )


async def _check_publishing(settings: PreflightSettings) -> None:
    topics = settings.topics
    outputs = (topics.alerts, topics.decisions, topics.journal, topics.state, topics.dead_letters)
    denied = await unwritable(settings.connection, outputs, transactional_id=settings.transactional_id)
    if denied:
        raise PreflightError(_not_allowed(f"topics {', '.join(denied)}", "WRITE on all outputs"))


def _costly(configs: Mapping[str, Mapping[str, str]], settings: PreflightSettings) -> list[str]:
    topics = settings.topics
    warnings = _badly_set(configs, topics)
    limits = {name: int(config.get("max.message.bytes") or MAX_MESSAGE_BYTES) for name, config in configs.items()}
    names = (topics.frames, topics.dead_letters, topics.state, topics.journal)
    frames, letters, state, journal = (limits.get(name) for name in names)
    if frames is not None and frames < settings.max_image_bytes:
        warnings.append(
            f"{topics.frames}: expected max.message.bytes of at least {settings.max_image_bytes} (the largest image "
            f"that is let in), found {frames}: the broker refuses larger frames, and only their producer is told"
        )
    if frames is not None and letters is not None and letters < min(frames, MAX_MESSAGE_BYTES):
        warnings.append(
            f"{topics.dead_letters}: expected max.message.bytes of at least {min(frames, MAX_MESSAGE_BYTES)}, as the "
            f"frames have, found {letters}: of refused frames that are larger only the beginning is kept"
        )
    if state is not None and min(state, MAX_REQUEST_BYTES) < settings.checkpoint_bytes:
        warnings.append(
            f"{topics.state}: expected max.message.bytes of at least {settings.checkpoint_bytes} (the largest "
            f"checkpoint under these settings) and at most {MAX_REQUEST_BYTES}, found {state}: a task whose checkpoint "
            "grows beyond that (a flood of texts, many cameras, a wide window) is halted until it is raised, or "
            "max_held, held_texts_bytes or incidents_bytes are lowered"
        )
    keyframe_bytes = settings.checkpoint_bytes * 4 // 3 + _KEYFRAME_OVERHEAD_BYTES
    if journal is not None and min(journal, MAX_REQUEST_BYTES) < keyframe_bytes:
        warnings.append(
            f"{topics.journal}: expected max.message.bytes of at least {keyframe_bytes} (a keyframe with the largest "
            f"checkpoint under these settings) and at most {MAX_REQUEST_BYTES}, found {journal}: larger keyframes are "
            "left out, and no recording can begin while a checkpoint is as large as that"
        )
    return warnings


def _badly_set(configs: Mapping[str, Mapping[str, str]], topics: Topics) -> list[str]:
    """Say which topics are stamped by other clocks than the broker's, and which outputs lose records to compaction."""
    return [
        f"{difference.topic}: expected {difference.what} {difference.expected}, found {difference.found}: "
        f"{difference.cost}. `vigil topics fix` shows and alters it"
        for plan in plan_topics(topics, 1)
        if plan.name in configs
        for difference in compare_settings(plan, configs[plan.name])
        if difference.what in {TIMESTAMP_TYPE, "cleanup.policy"}
    ]


def _record_bytes(config: Mapping[str, str]) -> int:
    """Return how large a record the topic takes, less some room for what is put around it."""
    found = config.get("max.message.bytes", "")
    if not found.isdecimal():
        return DEFAULT_LETTER_BYTES
    return max(min(int(found), MAX_REQUEST_BYTES) - LETTER_OVERHEAD_BYTES, LETTER_OVERHEAD_BYTES)


async def _read_samples(settings: PreflightSettings, partitions: int) -> dict[str, _Sample]:
    """Read the newest records of all input partitions with the real group's rights, without joining it."""
    names = (settings.topics.frames, settings.topics.texts)
    tps = [TopicPartition(name, partition) for name in names for partition in range(partitions)]
    samples = {name: _Sample() for name in names}
    async with consumer(
        settings.connection, group_id=settings.group, max_partition_fetch_bytes=_SAMPLE_FETCH_BYTES
    ) as client:
        client.assign(tps)
        starts, ends = await client.beginning_offsets(tps), await client.end_offsets(tps)
        for tp in tps:
            await client.committed(tp)  # the right to read the group's offsets
            client.seek(tp, max(starts[tp], ends[tp] - settings.sample_records))
        # Also with nothing to sample one fetch is made: it tells whether the topics may be read.
        waiting = {tp for tp in tps if ends[tp] > starts[tp]}
        deadline = asyncio.get_running_loop().time() + settings.sample_timeout_s
        while True:
            for tp, records in (await client.getmany(timeout_ms=POLL_MS)).items():
                _count(samples[tp.topic], records[: settings.sample_records], partitions)
                waiting.discard(tp)
                client.pause(tp)
            # The newest may be nothing but aborted records and markers, which are passed in silence.
            waiting = {tp for tp in waiting if await client.position(tp) < ends[tp]}
            if not waiting or asyncio.get_running_loop().time() > deadline:
                return samples


def _count(sample: _Sample, records: Iterable[Any], partitions: int) -> None:
    for record in records:
        if record.key is None:
            continue  # a dead letter of its own; it has no place to be in
        sample.count += 1
        expected = (murmur2(record.key) & 0x7FFFFFFF) % partitions
        if record.partition != expected:
            sample.misplaced += 1
            sample.example = (
                f"key {record.key[:64]!r} expected on partition {expected}, found on {record.partition} "
                f"at offset {record.offset}"
            )


def _judge_partitioner(samples: Mapping[str, _Sample], partitions: int, settings: PreflightSettings) -> list[str]:
    misplaced = Counter({name: sample.misplaced for name, sample in samples.items() if sample.misplaced})
    words = [
        f"{name}: expected every record on partition murmur2(key) % {partitions}, found {count} of "
        f"{samples[name].count} sampled elsewhere ({samples[name].example}). Frames and texts of a zone then do not "
        "meet. Let its producers use Kafka's own partitioner (librdkafka: partitioner=murmur2_random)"
        for name, count in misplaced.items()
    ]
    if words and settings.partitioner == "reject":
        raise PreflightError("; ".join(words) + ", or set partitioner = warn where all producers agree on another one")
    return words


def _not_allowed(what: str, needed: str) -> str:
    return f"{what}: expected the rights {needed}, found none; grant them to this user, or check the name"
