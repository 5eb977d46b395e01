"""`vigil decisions` and `vigil evidence` of what it recorded, against a real Kafka."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, RecordsToDelete

from stream_app.adapters.reading.decisions import RecordingError, newest_of
from tests.cli.deployment import VIGIL, Deployment, decision_value

# In a process of its own: the limit holds for every file that is written, and Kafka's client would rather not meet it.
_IN_LITTLE_SPACE = (
    "import resource, sys; from stream_app.cli import main; "
    "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)); main(sys.argv[1:])"
)


def decision(deployment: Deployment, text: int, *frames: int, zone: str = "yard", at: str = "00:00:01") -> bytes:
    named = [("text", text, "texts"), *(("frame", frame, "frames") for frame in frames)]
    evidence = [
        {"kind": kind, "topic": deployment.names[topic], "partition": 0, "offset": at_offset, "time": _moment(at)}
        for kind, at_offset, topic in named
    ]
    return decision_value(zone=zone, evidence=evidence)


def _moment(at: str) -> str:
    return f"2026-01-01T{at}.000Z"


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def texts(path: Path) -> list[int]:
    return [line["value"]["evidence"][0]["offset"] for line in lines(path)]


@pytest.mark.kafka
def test_a_recording_holds_each_committed_decision_once_with_its_coordinates(
    deployment: Deployment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "d.jsonl"
    deployment.publish("decisions", decision(deployment, 0), b"no decision", decision(deployment, 1))

    async def abort() -> None:
        name = f"{deployment.names['decisions']}-aborted"
        async with AIOKafkaProducer(bootstrap_servers=deployment.bootstrap, transactional_id=name) as producer:
            await producer.begin_transaction()
            await producer.send_and_wait(deployment.names["decisions"], decision(deployment, 9), key=b"yard")
            await producer.abort_transaction()

    asyncio.run(abort())
    assert deployment.run("decisions", "--out", str(out)) == 0
    assert "wrote 2 decisions" in (shown := capsys.readouterr().out)
    assert "1 records were no decisions" in shown
    assert [(line["topic"], line["offset"]) for line in lines(out)] == [
        (deployment.names["decisions"], n) for n in (0, 2)
    ]
    assert [line["value"] for line in lines(out)] == [json.loads(decision(deployment, n)) for n in (0, 1)]
    assert deployment.run("decisions", "--out", str(out)) == 1
    assert "expected nothing there, found something: choose another name, or --append" in capsys.readouterr().err


@pytest.mark.kafka
def test_a_recording_goes_on_where_it_ends_and_says_what_is_gone(
    deployment: Deployment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "d.jsonl"
    append = ["decisions", "--append", "--out", str(out)]
    deployment.publish("decisions", decision(deployment, 0), decision(deployment, 1))
    assert deployment.run(*append) == 0
    deployment.publish("decisions", decision(deployment, 2))
    assert deployment.run(*append) == 0
    assert deployment.run(*append) == 0
    assert texts(out) == [0, 1, 2]
    assert "GAP" not in capsys.readouterr().err
    deployment.publish("decisions", *(decision(deployment, number) for number in (3, 4, 5)))
    place = TopicPartition(deployment.names["decisions"], lines(out)[0]["partition"])

    async def expire() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=deployment.bootstrap)
        await admin.start()
        await admin.delete_records({place: RecordsToDelete(5)})
        await admin.close()

    asyncio.run(expire())
    assert deployment.run(*append) == 0
    assert texts(out) == [0, 1, 2, 5]
    assert f"GAP: retention has passed before this was recorded: {place.topic}/{place.partition}: offsets 3 to 4" in (
        capsys.readouterr().err
    )


@pytest.mark.kafka
def test_a_recording_says_what_cannot_be_read_and_goes_on_behind_it(
    deployment: Deployment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "d.jsonl"
    deployment.publish("decisions", decision(deployment, 0))
    partition = deployment.records("decisions")[0].partition
    deployment.spoil("decisions", partition)
    deployment.publish("decisions", decision(deployment, 1))
    assert deployment.run("decisions", "--out", str(out)) == 0
    assert texts(out) == [0, 1]
    shown = capsys.readouterr()
    assert f"GAP: cannot be read: {deployment.names['decisions']}/{partition}/1: headers, " in shown.err
    assert "retention" not in shown.err
    assert "no decisions" not in shown.out


@pytest.mark.kafka
@pytest.mark.parametrize(("newest", "found"), [(1, "to be of 2020-"), (7, "found its end at 2")])
def test_a_topic_that_was_made_again_does_not_go_on_an_old_recording(
    deployment: Deployment, tmp_path: Path, newest: int, found: str, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "d.jsonl"
    deployment.publish("decisions", decision(deployment, 0), decision(deployment, 1))
    assert deployment.run("decisions", "--out", str(out)) == 0
    older = lines(out)[-1] | {"offset": newest, "time": "2020-01-01T00:00:00.000Z"}
    out.write_text(json.dumps(older) + "\n")
    assert deployment.run("decisions", "--append", "--out", str(out)) == 1
    said = capsys.readouterr().err
    assert found in said
    assert "the topic was recreated; record into a new file" in said
    assert lines(out) == [older]


@pytest.mark.kafka
def test_decisions_are_chosen_by_zone_and_by_the_time_of_the_event(deployment: Deployment, tmp_path: Path) -> None:
    deployment.publish(
        "decisions",
        *(decision(deployment, number, at=f"00:00:0{number}") for number in range(4)),
        decision(deployment, 4, zone="dock"),
    )
    for number, (options, chosen) in enumerate(
        [
            (["--from", _moment("00:00:01"), "--until", _moment("00:00:03"), "--zone", "yard"], [1, 2]),
            (["--zone", "dock", "--zone", "gate"], [4]),
        ]
    ):
        out = tmp_path / f"{number}.jsonl"
        assert deployment.run("decisions", "--out", str(out), *options) == 0
        assert texts(out) == chosen


@pytest.mark.kafka
def test_a_recording_that_cannot_be_finished_leaves_the_old_one_and_no_half(
    deployment: Deployment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "d.jsonl"
    deployment.publish("decisions", decision(deployment, 0))
    assert deployment.run("decisions", "--out", str(out)) == 0
    before = out.read_bytes()
    deployment.publish("decisions", *(decision(deployment, number) for number in range(1, 9)))
    full = [sys.executable, "-c", _IN_LITTLE_SPACE, "decisions", "--append", "--out", str(out), *deployment.options]
    ended = subprocess.run(full, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert f"vigil: {out} cannot be written: File too large; it is unchanged" in ended.stderr
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("d.jsonl", before)]

    deployment.options += ["--set", "decisions_topic=no.such.decisions"]
    assert deployment.run("decisions", "--out", str(tmp_path / "other")) == 1
    assert "expected the topic no.such.decisions, found none" in capsys.readouterr().err
    assert deployment.run("decisions", "--append", "--out", str(out)) == 1
    assert "line 1: expected a decision of no.such.decisions" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == ["d.jsonl"]


def test_no_broker_and_ctrl_c_leave_nothing_behind(tmp_path: Path) -> None:
    command = [*VIGIL, "decisions", "--out", str(tmp_path / "d.jsonl"), "--bootstrap"]
    with socket.create_server(("127.0.0.1", 0)) as silent:
        broker = f"127.0.0.1:{silent.getsockname()[1]}"
        with subprocess.Popen([*command, broker], stderr=subprocess.PIPE, text=True) as process:
            connection, _ = silent.accept()
            with connection:
                assert [file.name[:9] for file in tmp_path.iterdir()] == [".d.jsonl."]
                os.kill(process.pid, signal.SIGINT)
                _, said = process.communicate(timeout=60)
    assert (process.returncode, said.splitlines()[-1]) == (130, "vigil: interrupted")
    assert list(tmp_path.iterdir()) == []
    ended = subprocess.run([*command, "127.0.0.1:9"], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, "no Kafka broker reachable at 127.0.0.1:9" in ended.stderr) == (3, True)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b'{"zone": "z", "evidence": []}\n', "line 1: expected a line that `vigil decisions` wrote, found another"),
        (b'{"topic": "t", "partition": 0, "offset": 1, "time": "", "value": {}}', "found a truncated one"),
        (b'{"topic": "u", "partition": 0, "offset": 1, "time": "", "value": {}}\n', "found one of u"),
    ],
)
def test_only_a_whole_recording_of_the_topic_is_gone_on_with(line: bytes, message: str) -> None:
    with pytest.raises(RecordingError, match=message):
        newest_of([line], "t")


def test_a_time_without_offset_is_wrong_usage(tmp_path: Path) -> None:
    command = [*VIGIL, "decisions", "--out", str(tmp_path / "d"), "--from", "2026-01-01T00:00:00"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, "--from: expected an RFC 3339 time with offset" in ended.stderr) == (2, True)


@pytest.mark.kafka
def test_records_are_fetched_by_coordinates_and_by_what_a_recording_names(
    deployment: Deployment, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = tmp_path / "words.txt"
    words.write_text("0 zwei Männer\n1 Rauch\n", encoding="utf-8")
    start = ["--start", _moment("00:00:01"), "--speed", "0", "--fps", "1000", "--texts", str(words)]
    assert deployment.run("feed", str(folder), "--zone", "yard", *start) == 0
    partition = deployment.records("frames")[0].partition

    def place(topic: str, offset: int) -> str:
        return f"{deployment.names[topic]}/{partition}/{offset}"

    typed = tmp_path / "typed"
    assert deployment.run("evidence", "records", place("texts", 0), place("frames", 2), "--out", str(typed)) == 0
    found = json.loads((typed / "evidence.json").read_text("utf-8"))
    assert [(piece["kind"], piece["offset"]) for piece in found] == [("text", 0), ("frame", 2)]
    assert json.loads((typed / found[0]["file"]).read_text("utf-8"))["text"] == "zwei Männer"
    assert (typed / found[1]["file"]).read_bytes() == sorted(folder.iterdir())[2].read_bytes()
    assert not (typed / "alert.json").exists()
    assert deployment.run("evidence", "records", place("texts", 2), "--out", str(tmp_path / "typo")) == 1
    assert "ends at 2: mistyped, or the topic was recreated" in capsys.readouterr().out
    assert deployment.run("evidence", "records", place("texts", 1), "--out", str(typed)) == 1
    assert "expected a folder without evidence" in capsys.readouterr().err

    recording = tmp_path / "d.jsonl"
    names = [(0, 0), (0, 0), (1,)]
    deployment.publish(
        "decisions",
        *(
            decision(deployment, *named).replace(b'"partition": 0', f'"partition": {partition}'.encode())
            for named in names
        ),
    )
    assert deployment.run("decisions", "--out", str(recording)) == 0
    capsys.readouterr()
    one = tmp_path / "one"
    assert deployment.run("evidence", "decisions", str(recording), "--about", place("texts", 0), "--out", str(one)) == 0
    assert "2 of 2 pieces" in capsys.readouterr().out
    # The second text came a second later than the decision says.
    assert deployment.run("evidence", "decisions", str(recording), "--out", str(tmp_path / "all")) == 1
    shown = capsys.readouterr()
    assert "2 of 3 pieces" in shown.out
    assert "found another: the topic was recreated" in shown.out
    assert deployment.run("evidence", "decisions", str(recording), "--about", place("texts", 5), "--out", str(one)) == 1
    assert "expected a decision about one of these places, found none" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["alert"], "Missing argument 'ID'"),
        (["alert", "a1", "a2"], "unexpected extra argument(s) (a2)"),
        (["alert", "a1", "--about", "vigil.texts/0/1"], "No such option: --about"),
        (["records"], "Missing argument 'PLACE'"),
        (["records", "vigil.texts/0/1", "a1"], "expected a place, topic/partition/offset, found 'a1'"),
        (["records", "elsewhere/0/1"], "expected a place on vigil.texts or vigil.frames, found one on elsewhere"),
        (["decisions"], "Missing argument 'FILE'"),
        (["decisions", "d.jsonl", "vigil.texts/0/1"], "unexpected extra argument(s) (vigil.texts/0/1)"),
        (["decisions", "d.jsonl", "--about", "a1"], "expected a place, topic/partition/offset, found 'a1'"),
        (["vigil.texts/0/1"], "No such command 'vigil.texts/0/1'"),
    ],
)
def test_what_a_kind_of_evidence_does_not_take_is_wrong_usage(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    command = [*VIGIL, "evidence", *arguments, "--out", str(tmp_path / "e"), "--bootstrap", "127.0.0.1:9"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, message in " ".join(ended.stderr.split())) == (2, True)
