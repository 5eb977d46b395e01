"""The source at a broker that asks who it is: with its credentials it reads, and without rights it says so."""

import asyncio
from collections.abc import Iterator

import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

from stream_app.adapters.kafka.source import FaustSource, SourceSettings
from stream_app.core.types import Side
from stream_app.local_kafka import LocalKafka
from tests.adapters.kafka.source_rig import Recorder, fill, running, settings_for, until

pytestmark = pytest.mark.kafka

_MODULE = "org.apache.kafka.common.security.plain.PlainLoginModule"


@pytest.fixture(scope="module")
def secured() -> Iterator[LocalKafka]:
    """A broker that knows the users `admin`, who may do everything, and `guest`, who may do nothing."""
    settings = {
        "listener.security.protocol.map": "PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
        "sasl.enabled.mechanisms": "PLAIN",
        "sasl.mechanism.inter.broker.protocol": "PLAIN",
        "listener.name.plaintext.plain.sasl.jaas.config": f'{_MODULE} required username="admin" password="a-secret" '
        'user_admin="a-secret" user_guest="g-secret";',
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:admin;User:ANONYMOUS",
    }
    with LocalKafka(settings=settings) as local:
        yield local


def _settings(kafka: LocalKafka, prefix: str, user: str) -> SourceSettings:
    settings = settings_for(kafka.bootstrap, prefix)
    connection = msgspec.structs.replace(
        settings.connection,
        security_protocol="SASL_PLAINTEXT",
        sasl_mechanism="PLAIN",
        sasl_username=user,
        sasl_password=f"{user[0]}-secret",
    )
    return msgspec.structs.replace(settings, connection=connection)


async def _make_topics(settings: SourceSettings) -> None:
    admin = AIOKafkaAdminClient(**settings.connection.client_arguments())
    await admin.start()
    try:
        await admin.create_topics([NewTopic(settings.topic_of(side), 1, 1) for side in Side])
    finally:
        await admin.close()


def test_with_its_credentials_it_reads(secured: LocalKafka) -> None:
    async def scenario() -> None:
        settings, recorder = _settings(secured, "known", "admin"), Recorder()
        await _make_topics(settings)
        async with AIOKafkaProducer(**settings.connection.client_arguments()) as producer:
            await fill(producer, settings.frames_topic, 10)
        async with running(settings, recorder) as source:
            await source.open(Side.FRAME, 0, 0)
            await until(lambda: recorder.offsets[Side.FRAME, 0] == list(range(10)))

    asyncio.run(scenario())


def test_without_rights_it_ends_and_says_so(secured: LocalKafka) -> None:
    async def scenario() -> None:
        await _make_topics(_settings(secured, "refused", "admin"))
        source = FaustSource(_settings(secured, "refused", "guest"), Recorder())
        with pytest.raises(KafkaError, match="Authorization"):
            await asyncio.wait_for(source.start(), timeout=60)

    asyncio.run(scenario())
