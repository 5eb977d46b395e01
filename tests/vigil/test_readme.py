"""The first screen of the README is true: its subscriber, run as written, prints the alert that stands above it."""

import asyncio
import re
import sys
from pathlib import Path

import msgspec
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.conftest import Broker

REPOSITORY = Path(__file__).resolve().parents[2]
README = (REPOSITORY / "README.md").read_text("utf-8")
_ADDRESS = '"kafka-1:9092"'
_PATIENCE_S = 60


def _block(language: str, word: str) -> str:
    found = re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    (block,) = [block for block in found if word in block]
    assert isinstance(block, str)
    return block


@pytest.mark.kafka
def test_the_subscriber_of_the_readme_prints_the_alert_of_the_readme(kafka: Broker, topic_prefix: str) -> None:
    code = _block("python", "vigil.alerts")
    assert code.count(_ADDRESS) == 1
    code = code.replace(_ADDRESS, f'"{kafka.bootstrap}", topic="{topic_prefix}"')
    alert = msgspec.json.decode(_block("json", '"incident"'))

    printed = asyncio.run(_printed(code, kafka, topic_prefix, alert)).decode()

    assert printed.split()[:4] == ["opened", "fight", "dock-3", "0.93"]


async def _printed(code: str, kafka: Broker, topic: str, alert: dict[str, object]) -> bytes:
    """Return the first line that the code prints while alerts with ids of their own keep coming."""
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, 1, 1)])
    finally:
        await admin.close()
    subscriber = await asyncio.create_subprocess_exec(
        sys.executable, "-u", "-c", code, cwd=REPOSITORY, stdout=asyncio.subprocess.PIPE
    )
    assert subscriber.stdout is not None
    line = asyncio.create_task(subscriber.stdout.readline())
    try:
        async with asyncio.timeout(_PATIENCE_S), AIOKafkaProducer(bootstrap_servers=kafka.bootstrap) as producer:
            number = 0
            while not line.done():
                # It reads what comes after its start, and does not say when that is.
                number += 1
                value = msgspec.json.encode(alert | {"id": f"{number:032x}"})
                headers = [("ce_type", b"vigil.alert.opened.v1")]
                await producer.send_and_wait(topic, value, key=b"dock-3", headers=headers)
            return await line
    finally:
        subscriber.kill()
        await subscriber.wait()
