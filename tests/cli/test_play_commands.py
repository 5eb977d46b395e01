"""`vigil replay --to-kafka` against a real Kafka: what was recorded comes again, now, where it belongs."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiokafka.partitioner import murmur2

from stream_app.adapters.recording.layout import Opening
from stream_app.cli import main
from stream_app.core.event_time import parse_event_time
from stream_app.replay.recording import TopicRecord
from tests.adapters.recording import foreign_files
from tests.adapters.recording.recordings import START_MS, TOPICS, Entry, about, jpeg, record, write
from tests.cli.deployment import VIGIL, Deployment, alert_message

LIVE = msgspec.structs.replace(TOPICS, frames="live.frames", texts="live.texts")
ZONES = ("yard", "dock", "gate", "hall")


def night(seconds: int = 4) -> list[Entry]:
    """Frames and texts of four zones, of a deployment with five partitions; one record has no key, one no time."""
    found: list[Entry] = []
    at_ms = START_MS
    for number in range(seconds * 5):
        zone, at_ms = ZONES[number % 4].encode(), START_MS + 200 * number
        headers: tuple[tuple[str, bytes | None], ...] = (
            ("ce_id", b"%d" % number),
            ("ce_source", b"c"),
            ("camera", b"c1"),
        )
        frame = record(number, at_ms, jpeg(number % 3), key=zone, headers=headers, partition=number % 4)
        found.append(("frames", frame))
        if number % 5 == 0:
            found.append(("texts", record(number, at_ms + 20, b"smoke %d" % number, key=zone, partition=number % 4)))
    odd: tuple[tuple[str, bytes | None], ...] = (("trace", None), ("ce_id", b""))
    found.append(("texts", record(900, at_ms + 20, b"no key", key=None, partition=4, headers=odd)))
    found.append(("alerts", record(0, at_ms + 20, b"{}")))
    return found


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    opening = Opening(version="1", about=about(topics=LIVE, to_ms=START_MS + 10_000))
    return write(tmp_path / "night.mcap", night(), opening=opening)


def origins(records: list[Any]) -> list[tuple[str, bytes | None, bytes | None]]:
    return sorted((dict(one.headers)["vigil_recorded"].decode(), one.key, one.value) for one in records)


def event_ms(one: Any) -> int:  # noqa: ANN401 - aiokafka has no types
    return parse_event_time(dict(one.headers)["ce_time"].decode())


def came_from(one: Any) -> int:  # noqa: ANN401 - likewise
    """When it was recorded, by its place."""
    topic, _, offset = dict(one.headers)["vigil_recorded"].decode().split("/")
    return START_MS + (200 * (19 if offset == "900" else int(offset)) + (20 if topic == "live.texts" else 0))


@pytest.mark.kafka
def test_a_recording_comes_again_to_the_byte_with_one_shift_and_each_zone_in_its_task(
    deployment: Deployment, recorded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    began_ms = time.time_ns() // 1_000_000
    assert deployment.run("replay", str(recorded), "--to-kafka") == 0
    took_ms = time.time_ns() // 1_000_000 - began_ms
    said = capsys.readouterr()
    names = deployment.names
    assert f"played 20 frames into {names['frames']} and 5 texts into {names['texts']} until" in said.out
    frames, texts = deployment.records("frames"), deployment.records("texts")
    expected: dict[str, list[tuple[str, bytes | None, bytes | None]]] = {"frames": [], "texts": []}
    for kind, one in night():
        if kind in expected:
            expected[kind].append((f"live.{kind}/{one.partition}/{one.offset}", one.key, one.value))
    assert (origins(frames), origins(texts)) == (sorted(expected["frames"]), sorted(expected["texts"]))
    shifts = {event_ms(one) - came_from(one) for one in [*frames, *texts]}
    assert len(shifts) == 1
    # In real time: 3.82 s lie between the first and the last.
    assert began_ms <= shifts.pop() + START_MS <= began_ms + took_ms - 3_820
    for one in [*frames, *texts]:
        task = one.partition if one.key is None else (murmur2(one.key) & 0x7FFFFFFF) % 2
        assert one.partition == task
    (without_key,) = [one for one in texts if one.key is None]
    assert without_key.partition == 4 % 2
    assert ("trace", None) in without_key.headers
    assert [len(deployment.records(topic)) for topic in ("alerts", "decisions", "journal")] == [0, 0, 0]


@pytest.mark.kafka
def test_a_second_play_is_no_duplicate_and_faster_than_real_time_ends_now(
    deployment: Deployment, recorded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for speed in ("max", "500"):
        assert deployment.run("replay", str(recorded), "--to-kafka", "--speed", speed) == 0
        now_ms = time.time_ns() // 1_000_000
        said = capsys.readouterr()
        assert "and end now: a task whose time is past that takes them for late" in said.err
        assert max(event_ms(one) for one in deployment.records("frames")) <= now_ms
    frames = deployment.records("frames")
    runs = re.compile(r"(\d+)-([0-9a-f]{8})")
    ids = [runs.fullmatch(dict(one.headers)["ce_id"].decode()) for one in frames]
    assert len({one.group() for one in ids if one}) == 40
    assert len({one.group(2) for one in ids if one}) == 2


@pytest.mark.kafka
def test_outputs_of_a_deployment_are_refused_whoever_named_them(
    deployment: Deployment, recorded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    play = ["replay", str(recorded), "--to-kafka", "--speed", "max"]

    def into(**topics: str) -> str:
        options = [word for name, topic in topics.items() for word in ("--set", f"{name}_topic={topic}")]
        with pytest.raises(SystemExit) as ended:
            main([*play, *deployment.options, *options])
        return f"{ended.value.code} {capsys.readouterr().err}"

    # Of the deployment that was recorded.
    assert "refused: expected input topics, found outputs of a deployment: vigil.alerts" in into(frames="vigil.alerts")
    # Those of another one, known by what is in them.
    deployment.publish("alerts", alert_message())
    said = into(texts=deployment.names["alerts"], alerts="other.alerts")
    assert said.startswith("1 ")
    assert f"found alerts, decisions or dead letters on {deployment.names['alerts']}" in said
    assert len(deployment.records("alerts")) == 1
    assert deployment.records("frames") == []
    # What was recorded itself: only by a flag.
    said = into(frames="live.frames")
    assert said.startswith("4 ")
    assert "the recording came from live.frames, and who reads these topics would take it for live" in said
    play.append("--same-topics")
    assert "expected the topic live.frames, found none" in into(frames="live.frames")


@pytest.mark.kafka
def test_ctrl_c_ends_a_play_and_says_how_far_it_came(deployment: Deployment, recorded: Path) -> None:
    command = [*VIGIL, "replay", str(recorded), "--to-kafka", "--speed", "0.01", *deployment.options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not deployment.records("frames"):
            time.sleep(0.1)
        os.kill(process.pid, signal.SIGINT)
        shown, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert re.match(r"played 1 frames into \S+ and [01] texts into \S+ until 2026-01-01T02:00:00", shown)
    assert said.splitlines()[-1] == "vigil: interrupted"


@pytest.mark.kafka
def test_what_cannot_be_read_is_said_after_the_rest_was_played(
    deployment: Deployment, recorded: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded.write_bytes(recorded.read_bytes()[:-20_000])
    assert deployment.run("replay", str(recorded), "--to-kafka", "--speed", "max") == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert "not all of the recordings could be read" in said
    assert "cut off or damaged behind byte" in said
    assert deployment.records("frames")


@pytest.mark.kafka
def test_a_file_of_another_tool_is_played_with_its_texts(
    deployment: Deployment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = [("/front", 100 * n, 100 * n, jpeg(n)) for n in range(3)]
    path = foreign_files.write(tmp_path / "drive.mcap", "ros2", pictures)
    texts = tmp_path / "drive.jsonl"
    texts.write_text('{"time": 0.1, "text": "smoke"}', "utf-8")
    options = ("--speed", "max", "--zone", "yard", "--texts", str(texts))
    assert deployment.run("replay", str(path), "--to-kafka", *options) == 0
    frames = deployment.records("frames")
    assert [(one.key, dict(one.headers)["vigil_recorded"]) for one in frames] == [
        (b"yard", b"drive.mcap/0/%d" % number) for number in range(3)
    ]
    (text,) = deployment.records("texts")
    assert event_ms(text) - event_ms(frames[0]) == 100
    assert "played 3 frames" in capsys.readouterr().out


@pytest.mark.kafka
def test_frames_and_texts_have_to_have_the_same_partitions(
    deployment: Deployment, recorded: Path, topic_prefix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    other = Deployment(deployment.bootstrap, f"{topic_prefix}-b")
    assert other.run("topics", "create", "--partitions", "3") == 0
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(["replay", str(recorded), "--to-kafka", *deployment.options, "--set",
              f"texts_topic={other.names['texts']}"])  # fmt: skip
    assert ended.value.code == 1
    assert "expected as many partitions of texts as of frames, found 2 of" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["--speed", "2"], 2, "--speed, --same-topics and --bootstrap go with --to-kafka"),
        (["--to-kafka", "--speed", "fast"], 2, "--speed: expected a number above 0, or max, found 'fast'"),
        (["--to-kafka", "--speed", "0"], 2, "--speed: expected a number above 0, or max, found '0'"),
        (["--to-kafka", "--speed", "nan"], 2, "--speed: expected a number above 0, or max, found 'nan'"),
        (["--to-kafka", "--json", "--bundle", "b"], 2, "--bundle, --json: does not go with --to-kafka"),
        (["--to-kafka", "--bootstrap", "127.0.0.1:9"], 3, "127.0.0.1:9"),
    ],
)
def test_what_makes_no_sense_is_said_before_anything_is_sent(
    recorded: Path, arguments: list[str], status: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["replay", str(recorded), *arguments])
    assert (ended.value.code, message in capsys.readouterr().err) == (status, True)


def test_recordings_without_inputs_or_pictures_are_not_played(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    empty: list[tuple[str, list[Entry], bool]] = [("expected frames or texts", [], True)]
    bare = TopicRecord(0, 0, START_MS, 1, b"yard", None, (), 70)
    empty.append(("expected a recording with pictures", [("frames", bare)], False))
    for number, (message, entries, has_pictures) in enumerate(empty):
        opening = Opening(version="1", about=about(topics=LIVE, has_pictures=has_pictures))
        path = write(tmp_path / f"{number}.mcap", entries, opening=opening)
        with pytest.raises(SystemExit) as ended:
            main(["replay", str(path), "--to-kafka", "--bootstrap", "127.0.0.1:9"])
        assert (ended.value.code, message in capsys.readouterr().err) == (1, True)
