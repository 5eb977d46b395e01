"""`vigil topics fix` on a real Kafka: it alters what a worker needs and nothing else, and only when it is told to."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from aiokafka.admin import NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType

from stream_app.adapters.kafka.clients import admin_client
from stream_app.adapters.kafka.connection import Connection
from stream_app.adapters.kafka.topic_plans import MAX_MESSAGE_BYTES
from stream_app.config import Operational
from stream_app.local_kafka import LocalKafka
from stream_app.wiring.clients import connection_to
from tests.adapters.kafka.rights import LITERAL, PREFIXED, TOPIC, grant
from tests.cli.deployment import TOPICS, Deployment, Kafka, until_known

pytestmark = pytest.mark.kafka

_TYPE = "message.timestamp.type"
_DAY_MS = 24 * 3_600_000
#: Seven topics as a version before made them, or a person: what a worker needs differs, and so does what it need not.
_MADE: dict[str, dict[str, str]] = {
    "frames": {
        "cleanup.policy": "compact",
        "retention.ms": "3600000",
        "segment.bytes": "20000000",
        "max.message.bytes": "1048588",
    },
    "texts": {_TYPE: "LogAppendTime", "retention.ms": "-1"},
    "alerts": {"retention.ms": str(30 * _DAY_MS), "compression.type": "gzip", "retention.bytes": "123456789"},
    "decisions": {"cleanup.policy": "compact", "retention.ms": str(400 * _DAY_MS), "max.message.bytes": "9000000"},
    "journal": {_TYPE: "LogAppendTime", "retention.ms": str(30 * _DAY_MS), "max.message.bytes": "1048588"},
    "state": {"cleanup.policy": "delete", "segment.ms": "60000", "max.message.bytes": "1048588"},
    "dead_letters": {_TYPE: "LogAppendTime", "retention.ms": str(30 * _DAY_MS), "max.message.bytes": "300000"},
}
#: What `fix` has to make of them; every other setting stays.
_ALTERED: dict[tuple[str, str], str] = {
    ("frames", "cleanup.policy"): "delete",
    ("frames", _TYPE): "LogAppendTime",
    ("frames", "max.message.bytes"): str(MAX_MESSAGE_BYTES),
    ("alerts", _TYPE): "LogAppendTime",
    ("decisions", "cleanup.policy"): "delete",
    ("decisions", _TYPE): "LogAppendTime",
    ("journal", "max.message.bytes"): str(MAX_MESSAGE_BYTES),
    ("state", "cleanup.policy"): "compact",
    ("state", _TYPE): "LogAppendTime",
    ("state", "max.message.bytes"): str(MAX_MESSAGE_BYTES),
    ("dead_letters", "max.message.bytes"): str(MAX_MESSAGE_BYTES),
}


def _ask(connection: Connection, call: Callable[[Any], Awaitable[Any]]) -> Any:  # noqa: ANN401 - the client's answer
    async def asked() -> Any:  # noqa: ANN401
        async with admin_client(connection) as admin:
            return await call(admin)

    return asyncio.run(asked())


def _make(connection: Connection, names: dict[str, str], made: dict[str, dict[str, str]], **partitions: int) -> None:
    wanted = [NewTopic(names[topic], partitions.get(topic, 2), 1, topic_configs=made[topic]) for topic in made]
    response = _ask(connection, lambda admin: admin.create_topics(wanted))
    assert not any(code for _name, code, _words in response.topic_errors), response
    asyncio.run(until_known(connection, [names[topic] for topic in made]))


def _settings(connection: Connection, names: dict[str, str]) -> dict[tuple[str, str], str]:
    """Return all settings of the topics that exist, by topic and name."""
    short = {name: topic for topic, name in names.items()}
    resources = [ConfigResource(ConfigResourceType.TOPIC, name) for name in short]
    (response,) = _ask(connection, lambda admin: admin.describe_configs(resources))
    return {
        (short[name], entry[0]): entry[1]
        for _code, _words, _kind, name, entries in response.resources
        for entry in entries
    }


@pytest.fixture
def old(kafka: Kafka, topic_prefix: str) -> Deployment:
    made = Deployment(kafka.bootstrap, topic_prefix)
    _make(connection_to(Operational(bootstrap=kafka.bootstrap)), made.names, _MADE)
    return made


def _reported(shown: str, part: str) -> dict[tuple[str, str], tuple[str, str]]:
    return {
        (entry["topic"].rpartition(".")[2], entry["what"]): (entry["value"], entry["found"])
        for entry in json.loads(shown)[part]
    }


def test_the_broker_stamps_what_is_appended_to_every_topic_that_create_makes(deployment: Deployment) -> None:
    found = _settings(connection_to(Operational(bootstrap=deployment.bootstrap)), deployment.names)
    assert {topic: found[topic, _TYPE] for topic in TOPICS} == dict.fromkeys(TOPICS, "LogAppendTime")


def test_without_apply_it_shows_what_it_would_alter_and_changes_nothing(
    old: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    connection = connection_to(Operational(bootstrap=old.bootstrap))
    before = _settings(connection, old.names)
    assert old.run("topics", "fix", "--json") == 4
    shown = capsys.readouterr()
    found = _reported(shown.out, "altered")
    assert {place: value for place, (value, _found) in found.items()} == _ALTERED
    assert {place: now for place, (_value, now) in found.items()} == {place: before[place] for place in _ALTERED}
    assert list(_reported(shown.out, "left")) == [("frames", "retention.ms")]
    fatal = {entry["topic"] for entry in json.loads(shown.out)["altered"] if entry["is_fatal"]}
    assert fatal == {old.names["frames"], old.names["state"]}
    assert "settings to alter: 11; `--apply` alters them" in shown.err
    assert _settings(connection, old.names) == before


def test_apply_alters_what_a_worker_needs_and_keeps_every_other_setting(
    old: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    connection = connection_to(Operational(bootstrap=old.bootstrap))
    before = _settings(connection, old.names)
    assert old.run("topics", "fix", "--apply") == 0
    shown = capsys.readouterr()
    assert "settings altered: 11, differences left: 1" in shown.err
    assert "--frames-hours" in shown.err
    assert _settings(connection, old.names) == {**before, **_ALTERED}
    assert old.run("topics", "fix", "--apply", "--json") == 0
    assert _reported(capsys.readouterr().out, "altered") == {}
    assert old.run("topics", "check") == 0


def test_retention_is_raised_where_it_is_given_and_never_shortened(old: Deployment) -> None:
    connection = connection_to(Operational(bootstrap=old.bootstrap))
    before = _settings(connection, old.names)
    given = ["--frames-hours", "48", "--texts-hours", "1", "--outputs-hours", str(60 * 24)]
    assert old.run("topics", "fix", "--apply", *given) == 0
    raised = {
        ("frames", "retention.ms"): str(2 * _DAY_MS),
        **{(topic, "retention.ms"): str(60 * _DAY_MS) for topic in ("alerts", "journal", "dead_letters")},
    }
    assert _settings(connection, old.names) == {**before, **_ALTERED, **raised}


def test_only_the_topics_that_are_named_are_altered(old: Deployment, capsys: pytest.CaptureFixture[str]) -> None:
    connection = connection_to(Operational(bootstrap=old.bootstrap))
    before = _settings(connection, old.names)
    assert old.run("topics", "fix", "--apply", "--topic", old.names["alerts"]) == 0
    assert _settings(connection, old.names) == {**before, ("alerts", _TYPE): "LogAppendTime"}
    assert old.run("topics", "fix", "--topic", "somebody-elses") == 2
    assert "--topic: expected one of" in capsys.readouterr().err


def test_what_settings_cannot_mend_is_named_and_stays_a_refusal(
    kafka: Kafka, topic_prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    deployment = Deployment(kafka.bootstrap, topic_prefix)
    connection = connection_to(Operational(bootstrap=kafka.bootstrap))
    made = {topic: configs for topic, configs in _MADE.items() if topic != "journal"}
    _make(connection, deployment.names, made, texts=3, alerts=5)
    assert deployment.run("topics", "fix", "--apply", "--json") == 4
    shown = capsys.readouterr()
    left = json.loads(shown.out)["left"]
    assert {(entry["topic"].rpartition(".")[2], entry["what"], entry["is_fatal"]) for entry in left} == {
        ("frames", "retention.ms", False),
        ("texts", "partitions", True),
        ("alerts", "partitions", False),
        ("journal", "topic", True),
    }
    assert "2 differences would keep a worker from starting" in shown.err
    assert "vigil topics create" in shown.err
    after = _settings(connection, {topic: name for topic, name in deployment.names.items() if topic in made})
    altered = {place: value for place, value in _ALTERED.items() if place[0] in made}
    assert {place: after[place] for place in altered} == altered


def test_a_broker_that_is_not_there_is_said_with_status_3(
    topic_prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert Deployment("127.0.0.1:9", topic_prefix).run("topics", "fix", "--apply") == 3
    assert "no Kafka broker reachable at 127.0.0.1:9" in capsys.readouterr().err


@pytest.fixture(scope="module")
def guarded_kafka() -> Iterator[LocalKafka]:
    """A broker that lets whoever comes without a password do only what everybody was granted."""
    settings = {
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "listener.security.protocol.map": "PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
        "sasl.enabled.mechanisms": "PLAIN",
        "sasl.mechanism.inter.broker.protocol": "PLAIN",
        "listener.name.plaintext.plain.sasl.jaas.config": "org.apache.kafka.common.security.plain.PlainLoginModule "
        'required username="admin" password="a-secret" user_admin="a-secret" user_operator="o-secret";',
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


_DESCRIBE, _DESCRIBE_CONFIGS, _ALTER_CONFIGS = 8, 10, 11


def _grant(connection: Connection, name: str, pattern: int, operation: int) -> None:
    _ask(connection, lambda admin: grant(admin, TOPIC, name, "operator", operation, pattern=pattern))


def test_a_right_that_is_missing_is_named_and_what_could_be_altered_is_said(
    guarded_kafka: LocalKafka, topic_prefix: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment = Deployment(guarded_kafka.bootstrap, topic_prefix)
    root, operator = (_as(user, guarded_kafka.bootstrap) for user in ("admin", "operator"))
    for name in ("security_protocol", "sasl_mechanism", "sasl_username"):
        deployment.options += ["--set", f"{name}={getattr(operator, name)}"]
    monkeypatch.setenv("VIGIL_SASL_PASSWORD", "o-secret")
    _make(root, deployment.names, _MADE)
    before = _settings(root, deployment.names)
    assert deployment.run("topics", "fix") == 4
    assert "or the right DESCRIBE on them is missing" in capsys.readouterr().err
    _grant(root, topic_prefix, PREFIXED, _DESCRIBE)
    assert deployment.run("topics", "fix") == 1
    assert "cannot be read: expected the right DESCRIBE_CONFIGS on it, found none" in capsys.readouterr().err
    _grant(root, topic_prefix, PREFIXED, _DESCRIBE_CONFIGS)
    for topic in ("frames", "decisions", "journal", "state", "dead_letters"):
        _grant(root, deployment.names[topic], LITERAL, _ALTER_CONFIGS)
    assert deployment.run("topics", "fix", "--apply") == 1
    said = capsys.readouterr().err
    assert f"{deployment.names['alerts']}: expected the right ALTER_CONFIGS on it, found none" in said
    granted = sorted(deployment.names[topic] for topic in ("frames", "decisions", "journal", "state", "dead_letters"))
    assert f"Topics that were altered: {', '.join(granted)}" in said
    expected = {place: value for place, value in _ALTERED.items() if place[0] != "alerts"}
    assert _settings(root, deployment.names) == {**before, **expected}
