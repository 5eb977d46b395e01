"""`vigil record` beside a running worker, and `vigil recording` of what it wrote, against a real Kafka."""

import asyncio
import base64
import json
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from io import StringIO
from pathlib import Path
from typing import NamedTuple, get_args
from uuid import uuid4

import msgspec
import pytest
from aiokafka import AIOKafkaProducer

from stream_app.adapters.recording.kafka import as_topic_record
from stream_app.adapters.recording.read import open_recording
from stream_app.bundle.signature import create_key_pair
from stream_app.cli import main
from stream_app.core.checkpoint import Checkpoint, decode_checkpoint
from stream_app.core.event_time import format_event_time
from stream_app.core.journal import JournalSkipped, JournalText
from stream_app.core.types import Side
from stream_app.replay.recording import Kind, RecordingError, TopicRecord
from stream_app.wire.decisions import decode_decision
from stream_app.wire.journal import decode_journal
from tests.adapters.recording.recordings import jpeg
from tests.bundle.tiny_bundle import write_tiny_bundle
from tests.cli.deployment import VIGIL, Deployment, Kafka, alert_message
from vigil_export.cli import main as export_main

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]

Records = dict[Kind, list[TopicRecord]]
_INCIDENT = "1d" * 16
#: Both lie on this one of two partitions.
ZONES = (b"yard", b"dock")
TASK = 1
_SETTINGS = {
    "allow_unsigned": True,
    "decode_children": 1,
    "ort_threads": 1,
    "provider": "cpu",
    "health_port": 0,
    "log_format": "json",
    "before_ms": 300,
    "after_ms": 300,
    "grace_ms": 100,
    "quiet_ms": 1000,
}


class Night(NamedTuple):
    """A deployment that a worker has worked on, what is on its topics, and what was recorded meanwhile.

    ``keyframe`` is the checkpoint that the journal holds behind the first half, ``second_ms`` when the other one began,
    ``niceness`` the recorder's.
    """

    deployment: Deployment
    options: list[str]
    topics: Records
    followed: Path
    keyframe: Checkpoint
    second_ms: int
    niceness: int

    def run(self, *arguments: str) -> "Ended":
        return run(*arguments, *(self.options if arguments[0] == "record" else ()))


class Ended(NamedTuple):
    """What a command said, and its status."""

    returncode: int
    stdout: str
    stderr: str


def run(*arguments: str, program: Callable[[list[str]], object] = main) -> Ended:
    """Run a command in this process."""
    with redirect_stdout(StringIO()) as said, redirect_stderr(StringIO()) as told, pytest.raises(SystemExit) as ended:
        program(list(arguments))
    return Ended(int(ended.value.code or 0), said.getvalue(), told.getvalue())


@pytest.fixture(scope="module")
def night(kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Night:
    folder = tmp_path_factory.mktemp("night")
    name = f"night-{uuid4().hex[:8]}"
    deployment = Deployment(kafka.bootstrap, name)
    assert deployment.run("topics", "create", "--partitions", "2") == 0
    settings = {**_SETTINGS, "deployment": name, "bundle": write_tiny_bundle(folder / "bundle")}
    options = [*(part for key, value in settings.items() for part in ("--set", f"{key}={value}")), *deployment.options]
    followed = folder / "followed"
    follow = ["record", "--from", "2026-01-01T00:00:00Z", "--follow", "--out", str(followed), *options]
    with (
        _running(follow, folder / "record.log", signal.SIGINT) as recorder,
        _running(["worker", *options], folder / "worker.log", signal.SIGTERM),
    ):
        asyncio.run(_send(deployment, 3))
        _until_judged(deployment, 1 + 1)
        asyncio.run(_send(deployment, 12))
        _until_judged(deployment, 2 + 4 + 1)
        keyframe, second_ms = _write_keyframe(deployment, name)
        asyncio.run(_send(deployment, 12))
        _until_judged(deployment, 2 + 2 * (4 + 1))
        _publish_alert(deployment, name)
        _until_followed(followed)
        niceness = os.getpriority(os.PRIO_PROCESS, recorder.pid)
    topics = _on_topics(deployment)
    return Night(deployment, options, topics, followed, keyframe, second_ms, niceness)


@contextmanager
def _running(arguments: list[str], log: Path, number: signal.Signals) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command until the block ends; its ordinary end is status 0."""
    with log.open("a") as lines, subprocess.Popen([*VIGIL, *arguments], stderr=lines, stdout=lines) as process:
        try:
            yield process
            process.send_signal(number)
            assert process.wait(timeout=60) == 0, log.read_text()
        finally:
            process.kill()


async def _send(deployment: Deployment, count: int) -> None:
    """Send frames and texts of two zones that lie on one partition, and what is none; and some that is aborted."""
    frames, texts = deployment.names["frames"], deployment.names["texts"]
    async with AIOKafkaProducer(bootstrap_servers=deployment.bootstrap) as producer:
        for number in range(count):
            zone = ZONES[number % 2]
            camera = [("camera", b"c1"), ("odd", None)]
            await producer.send_and_wait(frames, jpeg(number), key=zone, headers=camera, partition=TASK)
            if number % 3 == 0:
                text = json.dumps({"text": f"smoke {number}", "severity": 4}).encode()
                await producer.send_and_wait(texts, text, key=zone, partition=TASK)
        await producer.send_and_wait(texts, None, key=b"yard", partition=TASK)
        await producer.send_and_wait(frames, b"", key=b"yard", partition=TASK)
        await producer.send_and_wait(frames, b"no picture", key=None, partition=TASK)
    async with AIOKafkaProducer(bootstrap_servers=deployment.bootstrap, transactional_id=uuid4().hex) as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(frames, b"aborted", key=b"yard", partition=TASK)
        await producer.abort_transaction()


def _until_judged(deployment: Deployment, texts: int) -> None:
    """Wait until the worker has journaled a place for so many texts."""
    found = 0
    for _ in range(200):
        read = [decode_journal(record.value) for record in deployment.records("journal")]
        found = sum(isinstance(entry, JournalText | JournalSkipped) for record in read for entry in record.entries)
        if found >= texts:
            return
    raise AssertionError(f"expected {texts} texts in the journal, found {found}")


def _write_keyframe(deployment: Deployment, name: str) -> tuple[Checkpoint, int]:
    """Write the newest checkpoint of the task as a keyframe of the journal; return it, and the time behind it."""
    newest = [record.value for record in deployment.records("state") if record.partition == TASK][-1]
    keyframe = {"checkpoint": base64.b64encode(newest).decode()}
    value = json.dumps({"schema": 1, "partition": TASK, "entries": [], "keyframe": keyframe}).encode()

    async def send() -> int:
        async with AIOKafkaProducer(bootstrap_servers=deployment.bootstrap) as producer:
            done = await producer.send_and_wait(deployment.names["journal"], value, key=f"{name}/{TASK}".encode())
            return int(done.timestamp)

    return decode_checkpoint(newest), asyncio.run(send()) + 1


def _publish_alert(deployment: Deployment, name: str) -> None:
    decided = decode_decision(deployment.records("decisions")[0].value)
    evidence = [msgspec.to_builtins(one) for one in decided.evidence]
    times = sorted(one["time"] for one in evidence)
    cameras = [one["camera"] for one in evidence if "camera" in one]
    changes = {"incident": _INCIDENT, "zone": decided.zone, "evidence": evidence, "cameras": cameras}
    message = alert_message(**changes, start=times[0], end=times[-1])
    headers = dict(message.headers) | {"ce_source": f"/vigil/{name}".encode()}
    foreign = msgspec.structs.replace(message, value=alert_message(incident="2d" * 16).value)
    deployment.publish("alerts", msgspec.structs.replace(message, headers=tuple(headers.items())), foreign)


def _on_topics(deployment: Deployment) -> Records:
    """What a read_committed consumer reads, by append time as far as one partition tells."""
    found: Records = {kind: list(map(as_topic_record, deployment.records(kind))) for kind in get_args(Kind)}
    # The alert of another deployment is none of this one's.
    found["alerts"] = [one for one in found["alerts"] if b"2d2d" not in (one.value or b"")]
    return {kind: _sorted(records) for kind, records in found.items()}


def _sorted(records: list[TopicRecord]) -> list[TopicRecord]:
    return sorted(records, key=lambda one: (one.partition, one.offset))


def _recorded(*paths: Path) -> Records:
    found: Records = {kind: [] for kind in get_args(Kind)}
    with open_recording(*paths) as recording:
        for kind, record in recording.records():
            found[kind].append(record)
    return {kind: _sorted(records) for kind, records in found.items()}


def _until_followed(folder: Path) -> None:
    """Wait until the alert, which came last, is safe in a file that is still being written."""
    until = time.monotonic() + 90
    while time.monotonic() < until:
        with open_recording(folder) as recording, suppress(RecordingError):
            if any(kind == "alerts" for kind, _ in recording.records()):
                return
        time.sleep(0.2)
    raise AssertionError(f"expected the alert in {folder}, found none")


def test_whoever_follows_lets_workers_go_first(night: Night) -> None:
    assert night.niceness == min(os.getpriority(os.PRIO_PROCESS, 0) + 10, 19)


def test_what_is_followed_beside_a_worker_is_what_a_consumer_reads(night: Night) -> None:
    assert _recorded(night.followed) == night.topics
    assert {kind: bool(records) for kind, records in night.topics.items()} == dict.fromkeys(get_args(Kind), True)
    (file,) = night.followed.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_range_recorded_afterwards_begins_with_the_keyframe_before_it(night: Night, tmp_path: Path) -> None:
    out = tmp_path / "a.mcap"
    done = night.run("record", "--from", format_event_time(night.second_ms), "--out", str(out))
    assert (done.returncode, f"task {TASK}: can be verified from the beginning" in done.stderr) == (0, True), (
        done.stderr
    )
    found = _recorded(out)
    sides: dict[Side, Kind] = {Side.TEXT: "texts", Side.FRAME: "frames"}
    for side, kind in sides.items():
        lowest = night.keyframe.lowest(side)
        assert lowest > 0
        assert found[kind] == [one for one in night.topics[kind] if one.offset >= lowest]
    assert b"keyframe" in (found["journal"][0].value or b"")
    assert found["journal"] == [one for one in night.topics["journal"] if one.offset >= found["journal"][0].offset]
    with open_recording(out) as recording:
        assert recording.about.from_ms == night.second_ms
        assert [one.partition for one in recording.opening.in_force] == [TASK]


def test_a_zone_leaves_the_bytes_of_all_others_out_and_says_what_that_costs(night: Night, tmp_path: Path) -> None:
    out = tmp_path / "a.mcap"
    done = night.run("record", "--last", "1h", "--zone", "yard", "--out", str(out))
    assert done.returncode == 0, done.stderr
    assert "values of other zones are left out: the recording cannot be verified" in done.stderr
    found = _recorded(out)
    with open_recording(out) as recording:
        (task,) = recording.about.partitions
        assert recording.about.zones == ("yard",)
    kinds: tuple[Kind, ...] = ("frames", "texts")
    for kind in kinds:
        expected = [one for one in night.topics[kind] if one.partition == task]
        assert [one.size for one in found[kind]] == [one.size for one in expected]
        assert [one.value for one in found[kind]] == [one.value if one.key == b"yard" else None for one in expected]
    assert {one.key for one in found["decisions"]} <= {b"yard"}


def test_pictures_are_left_out_with_their_sizes_kept(night: Night, tmp_path: Path) -> None:
    out = tmp_path / "a.mcap"
    done = night.run("record", "--last", "1h", "--no-pictures", "--out", str(out))
    assert "without pictures" in done.stdout
    found = _recorded(out)
    assert found["frames"] == [msgspec.structs.replace(one, value=None) for one in night.topics["frames"]]
    assert found["texts"] == night.topics["texts"]
    assert jpeg(0)[:200] not in out.read_bytes()


def test_an_incident_is_recorded_with_what_bears_on_it(night: Night, tmp_path: Path) -> None:
    out = tmp_path / "a.mcap"
    assert night.run("record", "--incident", _INCIDENT, "--out", str(out)).returncode == 0
    with open_recording(out) as recording:
        assert recording.about.partitions == (TASK,)
        assert recording.about.from_ms < night.second_ms
    named = json.loads(night.topics["alerts"][0].value or b"")["evidence"]
    found = _recorded(out)
    assert found["alerts"] == night.topics["alerts"]
    for one in named:
        kind: Kind = "texts" if one["kind"] == "text" else "frames"
        assert [record.size > 0 for record in found[kind] if record.offset == one["offset"]] == [True]
    done = night.run("record", "--incident", "f" * 32, "--out", str(tmp_path / "b.mcap"))
    assert (done.returncode, "expected an incident or alert ffff" in done.stderr) == (1, True)
    assert not (tmp_path / "b.mcap").exists()


def test_a_recording_is_signed_and_changed_bytes_are_found(night: Night, tmp_path: Path) -> None:
    private, public = (tmp_path / "key", tmp_path / "key.pub")
    for path, content in zip((private, public), create_key_pair(), strict=True):
        path.write_bytes(content)
    out = tmp_path / "a.mcap"
    assert night.run("record", "--last", "1h", "--sign", str(private), "--out", str(out)).returncode == 0
    done = night.run("recording", "info", str(out), "--key", str(public))
    assert (done.returncode, "signature: holds, by the key" in done.stdout) == (0, True), done.stderr
    with out.open("ab") as file:
        file.write(b"x")
    done = night.run("recording", "info", str(out), "--key", str(public))
    assert (done.returncode, "found one by another key, or of other bytes" in done.stderr) == (4, True)


def test_a_recording_is_cut_to_what_would_have_been_recorded(night: Night, tmp_path: Path) -> None:
    whole, part, direct = night.followed, tmp_path / "part.mcap", tmp_path / "direct.mcap"
    from_time = format_event_time(night.second_ms)
    done = night.run("recording", "cut", str(whole), "--from", from_time, "--out", str(part))
    assert (done.returncode, f"task {TASK}: can be verified from the beginning" in done.stderr) == (0, True), (
        done.stderr
    )
    assert night.run("record", "--from", from_time, "--out", str(direct)).returncode == 0
    assert _recorded(part) == _recorded(direct)
    done = night.run("recording", "cut", str(whole), "--incident", _INCIDENT, "--out", str(tmp_path / "b.mcap"))
    assert done.returncode == 0, done.stderr
    assert _recorded(tmp_path / "b.mcap")["alerts"] == night.topics["alerts"]
    done = night.run("recording", "cut", str(whole), "--to", "2020-01-01T00:00:00Z", "--out", str(tmp_path / "c.mcap"))
    assert (done.returncode, "found none of it in the recording" in done.stderr) == (1, True)


def test_what_is_in_a_recording_is_shown(night: Night) -> None:
    done = night.run("recording", "info", str(night.followed))
    assert done.returncode == 0, done.stderr
    assert "yard/c1" in done.stdout
    assert _INCIDENT in done.stdout
    assert f"task {TASK}: can be verified from " in done.stdout
    assert f"task {1 - TASK}: can be verified from " in done.stdout
    looked = json.loads(night.run("recording", "info", str(night.followed), "--json").stdout)
    counted = {kind: flow["records"] for kind, flow in looked["kinds"].items()}
    assert counted == {kind: len(records) for kind, records in night.topics.items()}
    assert looked["lost"] == ""


def test_an_export_is_what_training_rows_are_made_of(night: Night, tmp_path: Path) -> None:
    out = tmp_path / "export"
    assert night.run("recording", "export", str(night.followed), "--out", str(out)).returncode == 0
    verdicts = tmp_path / "verdicts.csv"
    verdicts.write_text(f"alert,label\n{_INCIDENT},fight\n")
    command = ["data", "from-decisions", "--verdicts", str(verdicts), "--evidence", str(out)]
    command += ["--decisions", str(out / "decisions.jsonl"), "--out", str(tmp_path / "rows")]
    made = run(*command, program=export_main)
    assert made.returncode == 0, made.stderr
    (metadata,) = (tmp_path / "rows").rglob("metadata.jsonl")
    rows = [json.loads(line) for line in metadata.read_text().splitlines()]
    assert [row["label"] for row in rows] == ["fight"]
    assert rows[0]["text"].startswith("smoke")


_IN_LITTLE_SPACE = (
    "import resource, sys; from stream_app.cli import main; "
    "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)); main(sys.argv[1:])"
)


def test_a_full_disk_is_status_1_and_nothing_is_overwritten(night: Night, tmp_path: Path) -> None:
    out = tmp_path / "a.mcap"
    command = [sys.executable, "-c", _IN_LITTLE_SPACE, "record", "--last", "1h", "--out", str(out), *night.options]
    full = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert full.returncode == 1
    assert f"{out} cannot be written: File too large; what was written before can be read" in full.stderr
    done = night.run("recording", "info", str(out))
    assert (done.returncode, "vigil: LOST: " in done.stderr) == (1, True)
    before = out.read_bytes()
    done = night.run("record", "--last", "1h", "--out", str(out))
    assert (done.returncode, "expected nothing there, found something" in done.stderr) == (1, True)
    assert out.read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected one of --last, --from, --incident, or --follow"),
        (["--last", "1h", "--from", "2026-01-01T00:00:00Z"], "expected one of --last, --from, --incident, or --follow"),
        (["--last", "8"], "--last: expected a number and s, m, h or d, such as 8h, found '8'"),
        (["--from", "today"], "--from: expected an RFC 3339 time with offset, found 'today'"),
        (["--last", "1h", "--to", "2026-01-01T00:00:00Z"], "--to goes with --from"),
        (["--from", "2026-01-02T00:00:00Z", "--to", "2026-01-01T00:00:00Z"], "--to: expected a time after --from"),
        (["--from", "2026-01-02T00:00:00Z", "--to", "2226-01-01T00:00:00Z"], "that has passed"),
        (["--incident", "x", "--follow"], "--incident does not go with --follow"),
    ],
)
def test_ranges_that_make_no_sense_are_wrong_usage(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = run("record", "--out", str(tmp_path / "a.mcap"), "--bootstrap", "127.0.0.1:9", *arguments)
    assert (done.returncode, message in " ".join(done.stderr.split())) == (2, True), done.stderr
