"""`vigil.alerts` on a real Kafka: committed, checked, each alert once, and on from where a group left off."""

import asyncio
import logging
import subprocess
import sys
from collections.abc import AsyncGenerator
from typing import Any

import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

import vigil
from stream_app.core.types import Notice as CoreNotice
from stream_app.wire.alerts import render_alert, render_notice
from stream_app.wire.message import Message
from tests.conftest import Broker
from tests.wire.test_events import ALERTS, CONTEXT, START_MS, opened

pytestmark = pytest.mark.kafka
_PATIENCE_S = 60


def alert(number: int, **changes: Any) -> Message:  # noqa: ANN401 - the fields of an alert
    """An alert with an id of its own."""
    return render_alert(msgspec.structs.replace(opened(), id=f"{number:032x}", **changes), CONTEXT)


async def made_topic(kafka: Broker, topic: str, partitions: int = 1) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, partitions, 1)])
    finally:
        await admin.close()


async def send(kafka: Broker, topic: str, *messages: Message) -> None:
    async with AIOKafkaProducer(bootstrap_servers=kafka.bootstrap) as producer:
        for message in messages:
            await producer.send_and_wait(topic, message.value, key=message.key, headers=list(message.headers))


async def taken(subscription: AsyncGenerator[vigil.Alert, None], count: int) -> list[str]:
    """Take so many alerts, handle each, and close the subscription while it waits for the next."""
    found: list[str] = []
    async with asyncio.timeout(_PATIENCE_S):
        async for one in subscription:
            found.append(one.id.lstrip("0"))
            if len(found) == count:
                break
    await subscription.aclose()
    return found


def test_each_committed_alert_comes_once_and_what_is_no_alert_is_passed_over_by_name(
    kafka: Broker, topic_prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    async def whole() -> tuple[list[str], list[vigil.Notice]]:
        await made_topic(kafka, topic_prefix)
        aborted = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap, transactional_id=topic_prefix)
        await aborted.start()
        await aborted.begin_transaction()
        await aborted.send_and_wait(topic_prefix, alert(9).value, headers=list(alert(9).headers))
        await aborted.abort_transaction()
        await aborted.stop()
        broken = replace_value(alert(8), b'{"id": "x"}')
        foreign = Message("", b"yard", b"{}", (("ce_type", b"com.example.door.v1"),))
        notice = render_notice(CoreNotice("rate", "dock-3", START_MS, "more than 50/s"), CONTEXT)
        await send(kafka, topic_prefix, alert(1), broken, foreign, notice, alert(1), alert(2))
        notices: list[vigil.Notice] = []
        subscription = vigil.alerts(kafka.bootstrap, topic=topic_prefix, from_beginning=True, on_notice=notices.append)
        return await taken(subscription, 2), notices

    with caplog.at_level(logging.WARNING, logger="vigil"):
        found, notices = asyncio.run(whole())
    assert found == ["1", "2"]
    assert [notice.detail for notice in notices] == ["more than 50/s"]
    (warning,) = [record.getMessage() for record in caplog.records if record.name == "vigil"]
    assert warning.startswith(f"skipped {topic_prefix}/0/")


def test_a_group_goes_on_behind_the_last_alert_that_was_handled(kafka: Broker, topic_prefix: str) -> None:
    async def whole() -> tuple[list[str], list[str]]:
        await made_topic(kafka, topic_prefix)
        await send(kafka, topic_prefix, *(alert(number) for number in (1, 2, 3)))
        wanted: dict[str, Any] = {"topic": topic_prefix, "group": topic_prefix, "from_beginning": True}
        # Two are handled; the third was handed out, and nobody asked for a fourth.
        first = await taken(vigil.alerts(kafka.bootstrap, **wanted), 3)
        await send(kafka, topic_prefix, alert(4))
        return first, await taken(vigil.alerts(kafka.bootstrap, **wanted), 2)

    assert asyncio.run(whole()) == (["1", "2", "3"], ["3", "4"])


def test_a_group_that_has_handled_nothing_yet_misses_nothing_of_what_comes_while_it_is_away(
    kafka: Broker, topic_prefix: str
) -> None:
    async def whole() -> list[str]:
        await made_topic(kafka, topic_prefix)
        await send(kafka, topic_prefix, alert(1))
        wanted: dict[str, Any] = {"topic": topic_prefix, "group": topic_prefix}
        first = vigil.alerts(kafka.bootstrap, **wanted)
        waiting = asyncio.create_task(anext(first))
        await until_begun(kafka, topic_prefix)
        waiting.cancel()
        await asyncio.wait([waiting])
        await first.aclose()
        await send(kafka, topic_prefix, alert(2))
        return await taken(vigil.alerts(kafka.bootstrap, **wanted), 1)

    assert asyncio.run(whole()) == ["2"]


async def until_begun(kafka: Broker, group: str) -> None:
    """Wait until a group has said where it begins."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    try:
        async with asyncio.timeout(_PATIENCE_S):
            while not await admin.list_consumer_group_offsets(group):  # noqa: ASYNC110 - the broker tells nobody
                await asyncio.sleep(0.1)
    finally:
        await admin.close()


def test_a_subscriber_without_a_group_gets_what_comes_from_now_on(kafka: Broker, topic_prefix: str) -> None:
    async def whole() -> list[str]:
        await made_topic(kafka, topic_prefix)
        await send(kafka, topic_prefix, alert(1))
        job = asyncio.create_task(taken(vigil.alerts(kafka.bootstrap, topic=topic_prefix), 1))
        number = 2
        while not job.done():
            # When it begins to read nobody says; the first that it sees is one that was sent after it began.
            await send(kafka, topic_prefix, alert(number))
            number += 1
        return await job

    assert asyncio.run(whole()) != ["1"]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        pytest.param({"zones": ["yard"]}, ["2"], id="zone"),
        pytest.param({"labels": ["fire"]}, ["3"], id="label"),
        pytest.param({"phases": ["closed"]}, ["4"], id="phase"),
    ],
)
def test_only_what_is_wanted_comes(
    kafka: Broker, topic_prefix: str, wanted: dict[str, Any], expected: list[str]
) -> None:
    async def whole() -> list[str]:
        await made_topic(kafka, topic_prefix)
        end = render_alert(msgspec.structs.replace(ALERTS["closed, for it was quiet"], id=f"{4:032x}"), CONTEXT)
        await send(kafka, topic_prefix, alert(1), alert(2, zone="yard"), alert(3, label="fire"), end)
        return await taken(vigil.alerts(kafka.bootstrap, topic=topic_prefix, from_beginning=True, **wanted), 1)

    assert asyncio.run(whole()) == expected


@pytest.mark.parametrize("group", [None, "pagers"])
def test_a_topic_that_is_not_there_is_said(kafka: Broker, topic_prefix: str, group: str | None) -> None:
    with pytest.raises(vigil.TopicMissingError, match=topic_prefix):
        asyncio.run(taken(vigil.alerts(kafka.bootstrap, topic=topic_prefix, group=group), 1))


def test_brokers_that_are_not_there_are_said() -> None:
    with pytest.raises(vigil.BrokerUnreachableError, match=r"no Kafka broker reachable at 127\.0\.0\.1:9"):
        asyncio.run(taken(vigil.alerts("127.0.0.1:9"), 1))


def test_a_subscriber_needs_nothing_of_what_a_worker_needs() -> None:
    look = (
        "import sys; import vigil; "
        "heavy = {'aiohttp', 'cv2', 'faust', 'google.protobuf', 'numpy', 'onnxruntime', 'structlog'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("wrong", "error", "words"),
    [
        pytest.param({"sasl_user": "x"}, TypeError, "expected one of sasl_mechanism, .*found 'sasl_user'", id="name"),
        pytest.param(
            {"zones": "yard"}, TypeError, "expected a collection of zones, found the string 'yard'", id="zones"
        ),
        pytest.param({"phases": ["open"]}, ValueError, r"expected phases among opened, .*\['open'\]", id="phase"),
        pytest.param({"security_protocol": "TLS"}, ValueError, "Invalid enum value 'TLS'", id="value"),
    ],
)
def test_a_wrong_way_to_connect_is_refused_at_the_call(
    wrong: dict[str, Any], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        vigil.alerts("127.0.0.1:9", **wrong)


def replace_value(message: Message, value: bytes) -> Message:
    return msgspec.structs.replace(message, value=value)
