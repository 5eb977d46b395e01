"""The commands against a real Kafka: topics, feed, watch, evidence."""

import asyncio
import io
import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic, RecordsToDelete

from stream_app.cli import main
from stream_app.config import Operational
from stream_app.wire.message import Message
from stream_app.wiring.clients import connection_to
from tests.cli.deployment import VIGIL, Deployment, Kafka, alert_message, until_known

pytestmark = pytest.mark.kafka


def test_topics_made_by_create_pass_check_and_creating_again_changes_nothing(
    deployment: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deployment.run("topics", "check", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["fit"], report["differences"], len(report["existing"])) == (True, [], 7)
    assert deployment.run("topics", "create", "--partitions", "2", "--json") == 0
    assert json.loads(capsys.readouterr().out)["created"] == []


def test_topics_that_do_not_fit_are_refused_with_expected_and_found(
    kafka: Kafka, topic_prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    deployment = Deployment(kafka.bootstrap, topic_prefix)

    async def make_wrong() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=kafka.bootstrap)
        await admin.start()
        names = deployment.names
        await admin.create_topics(
            [
                NewTopic(names["frames"], 2, 1, topic_configs={"cleanup.policy": "compact"}),
                NewTopic(names["texts"], 3, 1),
                NewTopic(names["state"], 2, 1),
            ]
        )
        await admin.close()
        made = [names[topic] for topic in ("frames", "texts", "state")]
        await until_known(connection_to(Operational(bootstrap=kafka.bootstrap)), made)

    asyncio.run(make_wrong())
    assert deployment.run("topics", "check", "--json") == 4
    found = {
        (entry["topic"].rpartition(".")[2], entry["what"]): (entry["expected"], entry["found"], entry["is_fatal"])
        for entry in json.loads(capsys.readouterr().out)["differences"]
    }
    assert found["frames", "cleanup.policy"] == ("delete", "compact", True)
    assert found["texts", "partitions"] == ("2", "3", True)
    assert found["state", "cleanup.policy"] == ("compact", "delete", True)
    assert found["texts", "message.timestamp.type"] == ("LogAppendTime", "CreateTime", False)
    assert found["alerts", "topic"] == ("exists", "missing", True)


def test_feed_sends_cloudevents_keyed_by_zone_and_the_same_ids_for_the_same_start(
    deployment: Deployment, folder: Path, tmp_path: Path
) -> None:
    texts = tmp_path / "alarms.txt"
    texts.write_text("0.5 zwei Männer\n", encoding="utf-8")
    feed = ["feed", str(folder), "--zone", "yard", "--speed", "0", "--fps", "2", "--start", "2026-01-01T00:00:00Z"]
    assert deployment.run(*feed, "--texts", str(texts)) == 0
    frames = sorted(deployment.records("frames"), key=lambda record: record.offset)
    assert [frame.value for frame in frames] == [file.read_bytes() for file in sorted(folder.iterdir())]
    headers = [dict(frame.headers) for frame in frames]
    assert [header["ce_time"] for header in headers] == [
        b"2026-01-01T00:00:00.000Z",
        b"2026-01-01T00:00:00.500Z",
        b"2026-01-01T00:00:01.000Z",
    ]
    assert {(frame.key, frame.partition) for frame in frames} == {(b"yard", frames[0].partition)}
    assert {(h["ce_specversion"], h["camera"], h["ce_source"]) for h in headers} == {
        (b"1.0", b"gate", b"/vigil/feed/yard/gate")
    }
    assert len({header["ce_id"] for header in headers}) == 3
    (text,) = deployment.records("texts")
    assert (text.key, json.loads(text.value), text.partition) == (b"yard", {"text": "zwei Männer"}, frames[0].partition)
    assert deployment.run(*feed) == 0
    again = [dict(frame.headers)["ce_id"] for frame in deployment.records("frames")]
    assert sorted(again) == sorted(2 * [header["ce_id"] for header in headers])


def test_several_cameras_play_at_once(deployment: Deployment, folder: Path) -> None:
    cameras = [f"--camera=c{number}=zone-{number}:{folder}" for number in range(3)]
    assert deployment.run("feed", *cameras, "--speed", "0") == 0
    found = sorted((frame.key, dict(frame.headers)["camera"]) for frame in deployment.records("frames"))
    assert found == sorted(3 * [(f"zone-{number}".encode(), f"c{number}".encode()) for number in range(3)])


def test_what_is_fed_faster_than_real_time_is_appended_in_the_order_of_its_times(
    deployment: Deployment, folder: Path, tmp_path: Path
) -> None:
    picture = next(folder.iterdir()).read_bytes()
    for number in range(40):
        (folder / f"more-{number:02d}.jpg").write_bytes(picture)
    texts = tmp_path / "alarms.txt"
    texts.write_text("".join(f"{second} somebody waits\n" for second in range(40)), encoding="utf-8")
    assert deployment.run("feed", str(folder), "--speed", "0", "--texts", str(texts)) == 0
    records = [*deployment.records("frames"), *deployment.records("texts")]
    appended = [(record.timestamp, dict(record.headers)["ce_time"]) for record in records]
    assert len(appended) == 83
    assert [time for _, time in sorted(appended)] == sorted(time for _, time in appended)


@pytest.mark.parametrize(("loop", "status"), [([], 130), (["--loop"], 0)], ids=["unfinished", "looping"])
def test_ctrl_c_ends_a_feed_in_time_with_a_last_line(
    deployment: Deployment, folder: Path, loop: list[str], status: int
) -> None:
    command = [*VIGIL, "feed", str(folder), "--fps", "0.001", *loop, *deployment.options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while not deployment.records("frames"):
            time.sleep(0.1)
        os.kill(process.pid, signal.SIGINT)
        shown, said = process.communicate(timeout=60)
        assert process.returncode == status
        assert b"Traceback" not in said
        last = (shown if loop else said).decode().splitlines()[-1]
        assert last.startswith("sent 1 records" if loop else "vigil: interrupted")


def test_a_task_that_is_not_there_is_not_reset(deployment: Deployment, capsys: pytest.CaptureFixture[str]) -> None:
    reset = ["task", "reset", "--to", "earliest", "--yes", "--partition"]
    assert deployment.run(*reset, "2") == 2
    assert "expected 0 to 1, found 2" in capsys.readouterr().err
    deployment.options += ["--set", "texts_topic=no.such.texts"]
    assert deployment.run(*reset, "0") == 1
    assert "expected the topics no.such.texts" in capsys.readouterr().err


@pytest.mark.parametrize("answer", ["\n", "n\n", ""])
def test_a_task_is_not_reset_without_a_yes(
    deployment: Deployment, answer: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    assert deployment.run("task", "reset", "--to", "earliest", "--partition", "0") == 1
    assert "task 0 was not reset: expected y" in capsys.readouterr().err.splitlines()[-1]


def test_a_missing_topic_and_a_missing_broker_are_said(
    deployment: Deployment, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deployment.options += ["--set", "alerts_topic=no.such.alerts", "--set", "frames_topic=no.such.frames"]
    for command in (("watch",), ("evidence", "alert", name(1), "--out", str(folder)), ("feed", str(folder))):
        assert deployment.run(*command) == 1
        assert "expected the topic no.such." in capsys.readouterr().err
    with pytest.raises(SystemExit) as ended:
        main(["feed", str(folder), "--bootstrap", "127.0.0.1:9"])
    assert ended.value.code == 3
    assert "no Kafka broker reachable at 127.0.0.1:9" in capsys.readouterr().err


def name(number: int) -> str:
    return f"{number:032x}"


def alert(number: int, **changes: Any) -> Message:  # noqa: ANN401 - the properties of an alert
    return alert_message(**{"id": name(number), "incident": name(0), "zone": "yard", "number": number, **changes})


def test_watch_writes_one_json_line_per_wanted_alert(
    deployment: Deployment, capsys: pytest.CaptureFixture[str]
) -> None:
    unfit = alert(4, score=1.5)
    deployment.publish("alerts", alert(1), alert(2, zone="dock"), b"no alert", unfit, alert(3))
    assert deployment.run("watch", "--json", "--from-beginning", "--zone", "yard", "--max", "2") == 0
    shown = capsys.readouterr()
    assert [json.loads(line)["id"] for line in shown.out.splitlines()] == [name(1), name(3)]
    assert "2 shown, 1 records were neither alerts nor notices, 1 cannot be read" in shown.err
    assert f"cannot be read: {deployment.names['alerts']}/" in shown.err
    assert "/3: expected a vigil.alert.opened.v1 by its schema, found: Expected `float` <= 1.0" in shown.err


def test_watch_ends_with_status_0_on_ctrl_c_and_when_its_reader_goes(deployment: Deployment) -> None:
    deployment.publish("alerts", alert(1))
    command = [*VIGIL, "watch", "--json", "--from-beginning", *deployment.options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["id"] == name(1)
        os.kill(process.pid, signal.SIGINT)
        _, said = process.communicate(timeout=60)
        assert (process.returncode, said.decode().splitlines()[-1]) == (0, "vigil: 1 shown")
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
        deployment.publish("alerts", alert(2), alert(3))
        assert process.wait(timeout=60) == 0
        assert process.stderr is not None
        assert b"Traceback" not in process.stderr.read()


def test_watch_status_names_silent_cameras_and_zones_without_frames(
    deployment: Deployment, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deployment.run("feed", str(folder), "--zone", "dock", "--speed", "0") == 0
    deployment.publish("texts", b"Rauch")
    capsys.readouterr()
    assert deployment.run("status", "--json") == 0
    status = json.loads(capsys.readouterr().out)
    assert [(camera["zone"], camera["camera"]) for camera in status["cameras"]] == [("dock", "gate")]
    assert (status["blind_zones"], status["looked_at"]) == (["yard"], 4)
    assert deployment.run("status", "--silent-after", "-1") == 0
    assert "1 cameras, 1 silent" in capsys.readouterr().out


def test_evidence_is_fetched_by_its_coordinates_and_checked(
    deployment: Deployment, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start = ["--start", "2026-01-01T00:00:00Z", "--zone", "yard"]
    assert deployment.run("feed", str(folder), "--speed", "0", *start) == 0
    frame = deployment.records("frames")[0]
    named = {
        "kind": "frame",
        "camera": "../gate",
        "topic": deployment.names["frames"],
        "partition": frame.partition,
        "offset": 1,
        "time": "2026-01-01T00:00:01.000Z",
    }
    deployment.publish(
        "alerts",
        alert(1, evidence=[named]),
        alert(2, evidence=[{**named, "offset": 2}]),
        alert(3, evidence=[{**named, "offset": 99}]),
        alert(4, evidence=[{**named, "offset": -1}]),
    )
    out = tmp_path / "out"
    out.mkdir()
    killed = out / ".below.abcdefgh.draft"  # what kill -9 leaves of a file
    killed.write_bytes(b"half")
    assert deployment.run("evidence", "alert", name(1), "--out", str(out)) == 0
    assert not killed.exists()
    (written,) = out.glob("frame-*.jpg")
    assert written.read_bytes() == sorted(folder.iterdir())[1].read_bytes()
    assert json.loads((out / "alert.json").read_text("utf-8"))["id"] == name(1)
    assert deployment.run("evidence", "alert", name(2), "--out", str(out)) == 1
    assert "found another: the topic was recreated" in capsys.readouterr().out
    assert deployment.run("evidence", "alert", name(0), "--out", str(out)) == 1
    shown = capsys.readouterr()
    assert "1 of 3 pieces" in shown.out
    assert "EVIDENCE MISSING: 2 of 3" in shown.err
    assert deployment.run("evidence", "alert", "nobody", "--out", str(out)) == 1
    said = capsys.readouterr().err
    assert "expected an alert or incident nobody" in said
    assert "records that cannot be read: 1, the first of them" in said


def test_evidence_whose_retention_has_passed_is_said_loudly(
    deployment: Deployment, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deployment.run("feed", str(folder), "--speed", "0", "--zone", "yard") == 0
    place = deployment.records("frames")[0].partition
    named = {"kind": "frame", "topic": deployment.names["frames"], "partition": place, "offset": 0}
    named["time"] = "2026-01-01T00:00:00.000Z"
    deployment.publish("alerts", alert(1, evidence=[named]))

    async def expire() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=deployment.bootstrap)
        await admin.start()
        await admin.delete_records({TopicPartition(deployment.names["frames"], place): RecordsToDelete(2)})
        await admin.close()

    asyncio.run(expire())
    assert deployment.run("evidence", "alert", name(1), "--out", str(tmp_path / "out")) == 1
    shown = capsys.readouterr()
    assert "retention has passed" in shown.out
    assert "EVIDENCE MISSING" in shown.err
