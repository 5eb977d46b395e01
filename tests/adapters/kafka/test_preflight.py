"""Preflight on a real Kafka: what cannot work is refused with expected, found and what to do; the rest is warned of."""

import asyncio
from collections.abc import Iterator
from typing import Any, Protocol

import msgspec
import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from stream_app.adapters.kafka.clients import BrokerUnreachableError, admin_client, consumer
from stream_app.adapters.kafka.connection import Connection
from stream_app.adapters.kafka.preflight import PreflightError, PreflightReport, PreflightSettings, preflight
from stream_app.adapters.kafka.publisher import KafkaPublisher
from stream_app.adapters.kafka.source import FaustSource
from stream_app.adapters.kafka.topic_plans import MAX_MESSAGE_BYTES
from stream_app.config import Operational
from stream_app.core.types import Side
from stream_app.local_kafka import LocalKafka
from stream_app.runtime.ports.publishing import EpochEndedError
from stream_app.wire.dead_letters import DEFAULT_LETTER_BYTES, LETTER_OVERHEAD_BYTES
from stream_app.wire.message import Message
from stream_app.wire.topics import Topics
from stream_app.wiring.clients import connection_to, publisher_settings
from stream_app.wiring.worker import source_settings
from tests.adapters.kafka.rights import GROUP, TOPIC, TRANSACTIONAL_ID, grant
from tests.adapters.kafka.source_rig import Recorder, running, until

pytestmark = pytest.mark.kafka
_OUTPUTS = ("alerts", "decisions", "journal", "state", "dead_letters")
_APPENDED = {"message.timestamp.type": "LogAppendTime"}
_STATE = {**_APPENDED, "cleanup.policy": "compact"}
_OF_ZONE = {b"dock-0": 1, b"dock-1": 1, b"dock-3": 0}  # key -> murmur2(key) % 2, as Kafka's Java client computes it


class Broker(Protocol):
    @property
    def bootstrap(self) -> str: ...


def _settings(bootstrap: str, prefix: str, **options: Any) -> PreflightSettings:  # noqa: ANN401
    names = {field: f"{prefix}.{field}" for field in Topics.__struct_fields__}
    return PreflightSettings(
        connection=connection_to(Operational(bootstrap=bootstrap)),
        group=prefix,
        transactional_id=f"{prefix}-preflight",
        topics=Topics(**names),
        **{
            "max_image_bytes": 500_000,
            "checkpoint_bytes": 5_489_247,
            "partitioner": Operational().partitioner,
            **options,
        },
    )


async def _make(
    settings: PreflightSettings,
    *,
    without: str = "",
    partitions: dict[str, int] | None = None,
    **configs: dict[str, str],
) -> None:
    """Make the seven topics as they should be, but for what the test changes."""
    fit = {"state": {**_STATE, "max.message.bytes": str(MAX_MESSAGE_BYTES)}}
    admin = AIOKafkaAdminClient(**settings.connection.client_arguments())
    await admin.start()
    try:
        response = await admin.create_topics(
            [
                NewTopic(
                    name,
                    num_partitions=(partitions or {}).get(field, 2),
                    replication_factor=1,
                    topic_configs=configs.get(field, fit.get(field, _APPENDED)),
                )
                for field, name in msgspec.structs.asdict(settings.topics).items()
                if field != without
            ]
        )
        assert not any(code for _name, code, _word in response.topic_errors), response
    finally:
        await admin.close()


async def _write(settings: PreflightSettings, topic: str, records: list[tuple[bytes | None, int]]) -> None:
    async with AIOKafkaProducer(**settings.connection.client_arguments(), acks="all") as producer:
        for key, partition in records:
            await producer.send_and_wait(topic, b"x", key=key, partition=partition)


def _look(settings: PreflightSettings, **made: Any) -> PreflightReport:  # noqa: ANN401
    async def scenario() -> PreflightReport:
        await _make(settings, **made)
        return await preflight(settings)

    return asyncio.run(scenario())


def test_a_fit_cluster_passes_without_a_word(kafka: Broker, topic_prefix: str) -> None:
    settings = _settings(kafka.bootstrap, topic_prefix)

    async def scenario() -> PreflightReport:
        await _make(settings, dead_letters={**_APPENDED, "max.message.bytes": str(MAX_MESSAGE_BYTES)})
        for topic in (settings.topics.frames, settings.topics.texts):
            await _write(settings, topic, [*_OF_ZONE.items(), (None, 0), (None, 1)])
        return await preflight(settings)

    assert asyncio.run(scenario()) == PreflightReport(
        partitions=2,
        sampled=6,
        misplaced=0,
        warnings=(),
        letter_bytes=MAX_MESSAGE_BYTES - LETTER_OVERHEAD_BYTES,
        journal_bytes=MAX_MESSAGE_BYTES - LETTER_OVERHEAD_BYTES,
    )


def test_empty_topics_are_judged_at_once(kafka: Broker, topic_prefix: str) -> None:
    assert _look(_settings(kafka.bootstrap, topic_prefix, sample_timeout_s=3_600.0)).sampled == 0


@pytest.mark.parametrize("missing", ["frames", "decisions"])
def test_a_missing_topic_is_named_with_the_command_that_makes_it(
    kafka: Broker, topic_prefix: str, missing: str
) -> None:
    settings = _settings(kafka.bootstrap, topic_prefix)
    with pytest.raises(PreflightError, match=rf"missing: {topic_prefix}\.{missing}\..*vigil topics create"):
        _look(settings, without=missing)


@pytest.mark.parametrize("field", ["texts", "state"])
def test_unequal_partition_counts_are_refused_with_all_of_them(kafka: Broker, topic_prefix: str, field: str) -> None:
    settings = _settings(kafka.bootstrap, topic_prefix)
    with pytest.raises(PreflightError, match=rf"expected equal partition counts.*{topic_prefix}\.{field}: 3"):
        _look(settings, partitions={field: 3})


@pytest.mark.parametrize(
    ("field", "policy", "word"),
    [
        ("frames", "compact", "expected cleanup.policy delete, found compact"),
        ("texts", "compact,delete", "expected cleanup.policy delete, found compact,delete"),
        ("state", "delete", "expected cleanup.policy compact, found delete"),
        ("state", "compact,delete", "expected cleanup.policy compact, found compact,delete"),
    ],
)
def test_a_clean_up_policy_that_loses_records_is_refused(
    kafka: Broker, topic_prefix: str, field: str, policy: str, word: str
) -> None:
    settings = _settings(kafka.bootstrap, topic_prefix)
    with pytest.raises(PreflightError, match=word):
        _look(settings, **{field: {"cleanup.policy": policy}})


def test_producers_clocks_and_a_small_size_limit_are_warned_of(kafka: Broker, topic_prefix: str) -> None:
    settings = _settings(kafka.bootstrap, topic_prefix)
    configs = {"message.timestamp.type": "CreateTime", "max.message.bytes": "100000"}
    warnings = _look(settings, frames=configs).warnings
    assert len(warnings) == 2
    assert "expected message.timestamp.type LogAppendTime, found CreateTime" in warnings[0]
    assert "expected max.message.bytes of at least 500000" in warnings[1]
    assert "found 100000" in warnings[1]


@pytest.mark.parametrize("field", _OUTPUTS)
def test_an_output_that_workers_clocks_stamp_is_warned_of_with_the_command_that_mends_it(
    kafka: Broker, topic_prefix: str, field: str
) -> None:
    settings = _settings(kafka.bootstrap, topic_prefix)
    config = {"max.message.bytes": str(MAX_MESSAGE_BYTES)}
    warnings = _look(
        settings, **{field: {**config, "cleanup.policy": "compact"} if field == "state" else config}
    ).warnings
    assert len(warnings) == 1
    assert warnings[0].startswith(
        f"{topic_prefix}.{field}: expected message.timestamp.type LogAppendTime, found CreateTime: "
    )
    assert "more than an hour ahead" in warnings[0]
    assert "`vigil topics fix`" in warnings[0]


def test_an_output_that_is_compacted_is_warned_of(kafka: Broker, topic_prefix: str) -> None:
    settings = _settings(kafka.bootstrap, topic_prefix)
    warnings = _look(settings, alerts={**_APPENDED, "cleanup.policy": "compact"}).warnings
    assert len(warnings) == 1
    assert f"{topic_prefix}.alerts: expected cleanup.policy delete, found compact" in warnings[0]


def test_small_dead_letters_checkpoints_and_keyframes_are_warned_of_and_letters_are_cut_to_fit(
    kafka: Broker, topic_prefix: str
) -> None:
    settings = _settings(kafka.bootstrap, topic_prefix)
    state = {**_STATE, "max.message.bytes": "1000000"}
    frames = {**_APPENDED, "max.message.bytes": "1048588"}
    letters = {**_APPENDED, "max.message.bytes": "300000"}
    journal = {**_APPENDED, "max.message.bytes": "500000"}
    report = _look(settings, frames=frames, state=state, dead_letters=letters, journal=journal)
    assert len(report.warnings) == 3
    assert "dead_letters: expected max.message.bytes of at least 1048588" in report.warnings[0]
    assert "state: expected max.message.bytes of at least 5489247 (the largest checkpoint" in report.warnings[1]
    assert "found 1000000" in report.warnings[1]
    assert "journal: expected max.message.bytes of at least 7384532 (a keyframe with the largest" in report.warnings[2]
    assert "found 500000" in report.warnings[2]
    assert 200_000 < report.letter_bytes < 300_000
    assert 400_000 < report.journal_bytes < 500_000


def test_a_foreign_partitioner_is_refused_or_warned_of_with_the_count(kafka: Broker, topic_prefix: str) -> None:
    async def scenario() -> None:
        reject = _settings(kafka.bootstrap, topic_prefix)
        await _make(reject)
        await _write(reject, reject.topics.texts, [(b"dock-3", 0), (b"dock-0", 0), (b"dock-0", 0), (None, 0)])
        word = (
            rf"{topic_prefix}\.texts: expected every record on partition murmur2\(key\) % 2, found 2 of 3 sampled "
            r"elsewhere \(key b'dock-0' expected on partition 1, found on 0 at offset 2\).*murmur2_random"
        )
        with pytest.raises(PreflightError, match=word):
            await preflight(reject)
        report = await preflight(_settings(kafka.bootstrap, topic_prefix, partitioner="warn"))
        assert (report.sampled, report.misplaced, len(report.warnings)) == (3, 2, 1)

    asyncio.run(scenario())


def test_a_broker_that_is_not_there_is_said_with_its_address() -> None:
    with pytest.raises(BrokerUnreachableError, match=r"127\.0\.0\.1:9"):
        asyncio.run(preflight(_settings("127.0.0.1:9", "nowhere")))


_USER = "worker"
_READ, _WRITE, _DESCRIBE = 3, 4, 8


@pytest.fixture(scope="module")
def guarded_kafka() -> Iterator[LocalKafka]:
    """A broker that asks for a password and lets the user `worker` do only what it was granted."""
    module = "org.apache.kafka.common.security.plain.PlainLoginModule"
    settings = {
        "listener.security.protocol.map": "PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
        "sasl.enabled.mechanisms": "PLAIN",
        "sasl.mechanism.inter.broker.protocol": "PLAIN",
        "listener.name.plaintext.plain.sasl.jaas.config": f'{module} required username="admin" password="a-secret" '
        f'user_admin="a-secret" user_{_USER}="w-secret";',
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:admin;User:ANONYMOUS",
    }
    with LocalKafka(settings=settings) as local:
        yield local


def _as(user: str, bootstrap: str) -> Connection:
    return connection_to(
        Operational(
            bootstrap=bootstrap,
            security_protocol="SASL_PLAINTEXT",
            sasl_mechanism="PLAIN",
            sasl_username=user,
            sasl_password=f"{user[0]}-secret",
        )
    )


async def _grant(admin: AIOKafkaAdminClient, prefix: str, *, kind: int, operations: tuple[int, ...]) -> None:
    for operation in operations:
        await grant(admin, kind, prefix, _USER, operation)


async def _end_of(connection: Connection, topic: str) -> int:
    async with consumer(connection, isolation_level="read_uncommitted") as client:
        return sum((await client.end_offsets([TopicPartition(topic, number) for number in range(2)])).values())


async def _publish_one_of_each(settings: PreflightSettings, *outputs: str) -> None:
    """Publish as a task does: the rights that a start needs and those that publishing needs are the same."""
    publisher = KafkaPublisher(
        settings.connection, publisher_settings(Operational(group=settings.group)), f"{settings.group}-0"
    )
    await publisher.start()
    try:
        messages = [Message(getattr(settings.topics, name), b"z", b"{}", (), 0) for name in outputs]
        await publisher.publish(messages, {(settings.topics.texts, 0): 0, (settings.topics.frames, 0): 0})
    finally:
        await publisher.stop()


def test_an_output_that_may_not_be_written_to_is_named_by_the_commit_that_fails(
    guarded_kafka: LocalKafka, topic_prefix: str
) -> None:
    async def scenario() -> None:
        root = _as("admin", guarded_kafka.bootstrap)
        settings = msgspec.structs.replace(
            _settings(guarded_kafka.bootstrap, topic_prefix), connection=_as(_USER, guarded_kafka.bootstrap)
        )
        await _make(msgspec.structs.replace(settings, connection=root), without="state")
        async with admin_client(root) as admin:
            await _grant(admin, topic_prefix, kind=TRANSACTIONAL_ID, operations=(_DESCRIBE, _WRITE))
            await _grant(admin, topic_prefix, kind=TOPIC, operations=(_DESCRIBE,))
            publishing = asyncio.create_task(_publish_one_of_each(settings, "alerts", "state"))
            # The second record waits for its topic, so the first one's refusal is there before it is handed over.
            await asyncio.wait([publishing], timeout=2)
            await admin.create_topics([NewTopic(settings.topics.state, 1, 1)])
            with pytest.raises(EpochEndedError, match=rf"TopicAuthorizationFailedError.*{topic_prefix}\.alerts"):
                await publishing

    asyncio.run(scenario())


@pytest.mark.parametrize("field", ["frames", "state"])
def test_a_topic_that_compresses_with_what_is_not_installed_is_refused(
    kafka: Broker, topic_prefix: str, field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As in an environment that was put together by hand, without the lock.
    monkeypatch.setattr(f"{preflight.__module__}.has_lz4", lambda: False)
    settings = _settings(kafka.bootstrap, topic_prefix)
    policy = {"cleanup.policy": "compact"} if field == "state" else {}
    with pytest.raises(PreflightError, match=r"compression.type that can be read here, found lz4.*cramjam"):
        _look(settings, **{field: {"compression.type": "lz4", **policy}})


def test_rights_that_are_missing_are_named_at_once_and_those_that_suffice_do(
    guarded_kafka: LocalKafka, topic_prefix: str
) -> None:
    async def scenario() -> None:
        root = _as("admin", guarded_kafka.bootstrap)
        settings = msgspec.structs.replace(
            _settings(guarded_kafka.bootstrap, topic_prefix), connection=_as(_USER, guarded_kafka.bootstrap)
        )
        await _make(msgspec.structs.replace(settings, connection=root))
        admin = AIOKafkaAdminClient(**root.client_arguments())
        await admin.start()
        try:
            with pytest.raises(PreflightError, match=rf"topics {topic_prefix}\.alerts.*expected the rights DESCRIBE"):
                await asyncio.wait_for(preflight(settings), timeout=60)
            await _grant(admin, topic_prefix, kind=TOPIC, operations=(_DESCRIBE,))
            with pytest.raises(PreflightError, match=rf"id {topic_prefix}-preflight: expected the rights WRITE and"):
                await asyncio.wait_for(preflight(settings), timeout=60)
            await _grant(admin, topic_prefix, kind=TRANSACTIONAL_ID, operations=(_DESCRIBE, _WRITE))
            outputs = sorted(f"{topic_prefix}.{name}" for name in _OUTPUTS)
            with pytest.raises(PreflightError, match=rf"topics {', '.join(outputs)}: expected the rights WRITE"):
                await asyncio.wait_for(preflight(settings), timeout=60)
            await _grant(admin, topic_prefix, kind=TOPIC, operations=(_WRITE,))
            await _grant(admin, topic_prefix, kind=GROUP, operations=(_READ,))
            with pytest.raises(PreflightError, match=rf"topic .*{topic_prefix}.*READ and DESCRIBE on both inputs"):
                await asyncio.wait_for(preflight(settings), timeout=60)
            await _grant(admin, topic_prefix, kind=TOPIC, operations=(_READ,))
            report = await preflight(settings)
            for name in outputs:
                assert await _end_of(root, name) == 0, "nothing is left on the outputs"
            await _publish_one_of_each(settings, *_OUTPUTS)
            assert len(report.warnings) == 7, "all topics: settings unread"
            assert report.letter_bytes == DEFAULT_LETTER_BYTES
            assert "grant DESCRIBE_CONFIGS" in report.warnings[0]
            other_group = msgspec.structs.replace(settings, group="somebody-else")
            with pytest.raises(PreflightError, match="group somebody-else: expected the rights READ"):
                await asyncio.wait_for(preflight(other_group), timeout=60)
            wrong = msgspec.structs.replace(settings, connection=_as("wrong", guarded_kafka.bootstrap))
            with pytest.raises(BrokerUnreachableError, match=r"(?i)password"):
                await asyncio.wait_for(preflight(wrong), timeout=60)
        finally:
            await admin.close()

    asyncio.run(scenario())


async def _run(source: FaustSource) -> None:
    await source.start()
    await source.wait()


def test_the_source_reads_with_a_password_and_says_when_its_group_is_refused(
    guarded_kafka: LocalKafka, topic_prefix: str
) -> None:
    async def scenario() -> None:
        root = _as("admin", guarded_kafka.bootstrap)
        settings = msgspec.structs.replace(_settings(guarded_kafka.bootstrap, topic_prefix), connection=root)
        await _make(settings)
        operational = Operational(
            group=topic_prefix, frames_topic=settings.topics.frames, texts_topic=settings.topics.texts
        )
        trusted = msgspec.structs.replace(source_settings(operational), connection=root)
        recorder = Recorder()
        async with running(trusted, recorder) as source:
            await _write(settings, settings.topics.frames, [(b"dock-0", 1)])
            await source.open(Side.FRAME, 1, 0)
            await until(lambda: recorder.keys[Side.FRAME, 1] == [b"dock-0"])
        refused = msgspec.structs.replace(trusted, connection=_as(_USER, guarded_kafka.bootstrap))
        for word, kind, operations in (("Group", GROUP, (_READ,)), ("Topic", None, ())):
            source = FaustSource(refused, Recorder())
            try:
                with pytest.raises(KafkaError, match=f"{word}AuthorizationFailed"):
                    await asyncio.wait_for(_run(source), timeout=60)
            finally:
                await source.stop()
            if kind is not None:
                async with admin_client(root) as admin:
                    await _grant(admin, topic_prefix, kind=kind, operations=operations)

    asyncio.run(scenario())
