"""Commands that run on say that the brokers have gone, and that they are back; on a real Kafka that goes and comes."""

import json
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import msgspec
import pytest

from stream_app.adapters.recording.layout import Opening
from stream_app.local_kafka import LocalKafka
from tests.adapters.recording.recordings import START_MS, TOPICS, about, record, write
from tests.cli.deployment import VIGIL, Deployment, alert_message

ZONE = "dock\x9b-3\u2028"
ALERTS = [alert_message(id=name * 32, zone=ZONE) for name in "ab"]


@pytest.fixture(scope="module")
def own_kafka() -> Iterator[LocalKafka]:
    with LocalKafka() as kafka:
        yield kafka


@pytest.fixture
def own(own_kafka: LocalKafka, capsys: pytest.CaptureFixture[str]) -> Deployment:
    made = Deployment(own_kafka.bootstrap, f"outage-{uuid4().hex[:8]}")
    assert made.run("topics", "create", "--partitions", "2") == 0
    capsys.readouterr()
    return made


@contextmanager
def running(deployment: Deployment, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [*VIGIL, *arguments, *deployment.options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8") as process:
        try:
            yield process
        finally:
            process.kill()


def line_with(process: subprocess.Popen[str], words: str) -> str:
    """Return the next line of standard error that has these words; the test's time limit ends the wait."""
    assert process.stderr is not None
    return next(line for line in process.stderr if words in line)


@pytest.mark.kafka
@pytest.mark.parametrize("is_paused", [True, False], ids=["paused", "killed"])
def test_watch_says_that_the_brokers_have_gone_and_that_they_are_back(
    own_kafka: LocalKafka, own: Deployment, *, is_paused: bool
) -> None:
    with running(own, "watch", "--json", "--from-beginning") as watch:
        assert watch.stdout is not None
        own.publish("alerts", ALERTS[0])
        before = watch.stdout.readline()
        (own_kafka.pause if is_paused else own_kafka.kill)(1)
        try:
            gone = line_with(watch, "the brokers")
        finally:
            (own_kafka.resume if is_paused else own_kafka.restart)(1)
        back = line_with(watch, "the brokers")
        own.publish("alerts", ALERTS[1])
        after = watch.stdout.readline()
    # After 3 s, and a poll that takes longer on a busy machine counts as one second at most.
    assert re.fullmatch("vigil: the brokers have not answered for [34] s; waiting for them\n", gone)
    assert back.startswith("vigil: the brokers are back, after ")
    assert [json.loads(line) for line in (before, after)] == [json.loads(alert.value or b"") for alert in ALERTS]
    assert (before + after).replace("\n", "").isprintable()


@pytest.mark.kafka
def test_feed_says_that_the_brokers_have_gone_and_that_they_are_back(
    own_kafka: LocalKafka, own: Deployment, folder: Path
) -> None:
    with running(own, "feed", str(folder), "--fps", "5", "--loop") as feed:
        while not own.records("frames"):
            pass
        own_kafka.pause(1)
        try:
            line_with(feed, "vigil: the brokers have not confirmed anything for ")
        finally:
            own_kafka.resume(1)
        line_with(feed, "vigil: the brokers are back, after ")


@pytest.mark.kafka
def test_a_play_says_that_the_brokers_have_gone_and_that_they_are_back(
    own_kafka: LocalKafka, own: Deployment, tmp_path: Path
) -> None:
    opening = Opening(version="1", about=about(topics=msgspec.structs.replace(TOPICS, frames="f", texts="t")))
    night = write(tmp_path / "night.mcap", [("texts", record(n, START_MS + 100 * n, b"x")) for n in range(600)],
                  opening=opening)  # fmt: skip
    with running(own, "replay", str(night), "--to-kafka") as play:
        while not own.records("texts"):
            pass
        own_kafka.pause(1)
        try:
            line_with(play, "vigil: the brokers have not confirmed anything for ")
        finally:
            own_kafka.resume(1)
        line_with(play, "vigil: the brokers are back, after ")
