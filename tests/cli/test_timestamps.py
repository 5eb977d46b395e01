"""What reads the outputs is right whoever stamped them: workers' clocks, the broker's, or first these and then that."""

import asyncio
import json
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewTopic

from stream_app.adapters.kafka.clients import admin_client
from stream_app.config import Operational
from stream_app.wire.message import Message
from stream_app.wiring.clients import connection_to
from tests.cli.deployment import Deployment, Kafka, alert_message, decision_value

pytestmark = pytest.mark.kafka

_TYPES = ("CreateTime", "LogAppendTime")
_NOW_MS = 1_767_225_600_000


def _stamped_by(kafka: Kafka, prefix: str, kind: str) -> Deployment:
    """Make the outputs that are read here, one partition each."""
    deployment = Deployment(kafka.bootstrap, prefix)

    async def make() -> None:
        async with admin_client(connection_to(Operational(bootstrap=kafka.bootstrap))) as admin:
            configs = {"message.timestamp.type": kind, "retention.ms": "-1"}
            names = (deployment.names["alerts"], deployment.names["decisions"])
            await admin.create_topics([NewTopic(name, 1, 1, topic_configs=configs) for name in names])

    asyncio.run(make())
    return deployment


def _publish(deployment: Deployment, topic: str, *stamped: tuple[int, Message]) -> None:
    """Publish values in this order, each with the time that a worker's clock gives it."""

    async def send() -> None:
        async with AIOKafkaProducer(bootstrap_servers=deployment.bootstrap, linger_ms=200) as producer:
            sent = [
                await producer.send(
                    deployment.names[topic], one.value, key=b"yard", timestamp_ms=at_ms, headers=list(one.headers)
                )
                for at_ms, one in stamped
            ]
            await asyncio.gather(*sent)

    asyncio.run(send())


def _name(number: int) -> str:
    return f"{number:032x}"


def _alert(number: int) -> Message:
    return alert_message(id=_name(number))


def _decision(number: int) -> Message:
    named = {"kind": "text", "topic": "t", "partition": 0, "offset": number, "time": "2026-01-01T00:00:00.000Z"}
    return Message("", None, decision_value(evidence=[named]))


def _recorded(path: Path) -> list[tuple[int, str]]:
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return [(line["value"]["evidence"][0]["offset"], line["time"]) for line in lines]


@pytest.mark.parametrize("kind", _TYPES)
def test_watch_keeps_a_partitions_order_where_a_worker_with_a_slower_clock_took_over(
    kafka: Kafka, topic_prefix: str, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    deployment = _stamped_by(kafka, topic_prefix, kind)
    _publish(deployment, "alerts", (_NOW_MS, _alert(1)), (_NOW_MS - 60_000, _alert(2)), (_NOW_MS - 30_000, _alert(3)))
    assert deployment.run("watch", "--json", "--from-beginning", "--max", "3") == 0
    assert [json.loads(line)["id"] for line in capsys.readouterr().out.splitlines()] == [
        _name(number) for number in (1, 2, 3)
    ]


@pytest.mark.parametrize("kind", _TYPES)
def test_a_recording_goes_on_where_the_topics_timestamps_were_fixed_in_between(
    kafka: Kafka, topic_prefix: str, kind: str, tmp_path: Path
) -> None:
    deployment = _stamped_by(kafka, topic_prefix, kind)
    out = tmp_path / "decisions.jsonl"
    _publish(deployment, "decisions", (_NOW_MS, _decision(0)), (_NOW_MS - 60_000, _decision(1)))
    assert deployment.run("decisions", "--out", str(out)) == 0
    before = _recorded(out)
    assert (dict(before)[0] == "2026-01-01T00:00:00.000Z") == (kind == "CreateTime")
    assert deployment.run("topics", "fix", "--apply", "--topic", deployment.names["decisions"]) == 0
    _publish(deployment, "decisions", (_NOW_MS, _decision(2)))
    assert deployment.run("decisions", "--out", str(out), "--append") == 0
    after = _recorded(out)
    assert after[:2] == before
    assert after[2][0] == 2
    assert after[2][1] > "2026-01-01T00:00:00.000Z"
