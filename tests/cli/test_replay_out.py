"""`vigil replay --out` and `--recorded-overload`: a replay as a recording, which verifies, replays and compares."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from stream_app.adapters.recording.layout import Ending, Opening
from stream_app.adapters.recording.read import open_recording
from stream_app.adapters.recording.write import RecordingWriter
from stream_app.bundle.demo import demo_bundle_path
from stream_app.replay.in_force import recorded_in_force
from stream_app.replay.recording import RecordingError
from stream_app.replay.verify import verify
from stream_app.terminal.outcome import FAILED, USAGE
from stream_app.wire.journal import decode_journal
from tests.cli.test_site_record import records, run
from tests.recordings.shipped import SITE
from tests.replay.site import in_force

if TYPE_CHECKING:
    from pathlib import Path

    from stream_app.replay.recording import Kind

CPU = ("--set", "provider=cpu", "--set", "keyframe_ms=10000")
# In a process of its own: the limit holds for every file that is written.
_IN_LITTLE_SPACE = (
    "import resource, sys; from stream_app.cli import main; "
    "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); main(sys.argv[1:])"
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("replay") / "new.mcap"
    assert run("replay", SITE, *CPU, "--out", path) == 0
    return path


def incidents(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:  # noqa: ANN401 - JSON
    capsys.readouterr()
    assert run("replay", *arguments, *CPU, "--json") == 0
    return json.loads(capsys.readouterr().out)["base"]["incidents"]


def test_a_replay_is_a_recording_that_verifies_as_equal(made: Path) -> None:
    with open_recording(made) as recording:
        verdict = verify(recording)
        assert [difference.words() for difference in verdict.differences] == []
        assert verdict.status == "equal"
        assert {task.partition: task.before for task in verdict.tasks} == {0: {}, 3: {}}
        assert recorded_in_force(recording) == in_force()
        assert recording.files[0].manifest == (demo_bundle_path() / "manifest.json").read_bytes()
    assert made.stat().st_mode & 0o077 == 0, "recordings are private"


def test_it_has_the_inputs_of_the_old_one_and_replays_to_the_same(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs: tuple[Kind, ...] = ("frames", "texts")
    assert [one for one in records(made) if one[0] in inputs] == [one for one in records(SITE) if one[0] in inputs]
    again = tmp_path / "again.mcap"
    found = incidents(capsys, made, "--out", again)
    assert found == incidents(capsys, SITE)
    assert len(found) == 3
    assert records(again) == records(made)
    assert run("compare", SITE, "--recorded", again, "--json") == 0
    (candidate,) = json.loads(capsys.readouterr().out)["candidates"]
    assert [one["kind"] for one in candidate["differences"] if one["kind"] != "rescored"] == []


def test_another_setting_and_bundle_are_in_what_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new.mcap"
    changes = ("--bundle", demo_bundle_path(), "--set", "thresholds.fight.open_at=0.9", "--set", "sample_ms=1500")
    assert run("replay", SITE, *CPU, *changes, "--out", out) == 0
    assert "wrote " in capsys.readouterr().err
    with open_recording(out) as recording:
        found = recorded_in_force(recording)
        assert found is not None
        assert found.settings == msgspec.structs.replace(in_force().settings, sample_ms=1_500)
        assert found.settings_sha256 != in_force().settings_sha256
        journal = [record.value or b"" for kind, record in recording.records() if kind == "journal"]
        epoch = decode_journal(journal[0]).epoch
        assert epoch is not None
        assert (epoch.settings, epoch.provider) == (found.settings_sha256, "CPUExecutionProvider")
        assert verify(recording).status == "equal"
    # What judged is asked for no more.
    judged = [(one["label"], one["zone"]) for one in incidents(capsys, out)]
    assert judged == [("fire", "zone-1"), ("intrusion", "zone-2")]


def test_it_overwrites_nothing(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = made.read_bytes()
    assert run("replay", SITE, *CPU, "--out", made) == FAILED
    assert f"{made}: expected nothing there, found something" in capsys.readouterr().err
    assert made.read_bytes() == before


def test_one_recording_goes_into_one_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("replay", SITE, SITE, "--out", tmp_path / "new.mcap") == USAGE
    assert "--out: expected one REC with it" in capsys.readouterr().err
    assert run("replay", SITE, "--out", tmp_path) == USAGE
    assert "expected a name that ends in .mcap" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_status_1_and_leaves_a_file_that_says_what_it_lacks(tmp_path: Path) -> None:
    out = tmp_path / "new.mcap"
    command = [sys.executable, "-c", _IN_LITTLE_SPACE, "replay", str(SITE), *CPU, "--out", str(out)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    assert ended.returncode == FAILED
    assert f"vigil: {out} cannot be written further: " in ended.stderr
    assert "what was written before can be read" in ended.stderr
    assert "Traceback" not in ended.stderr
    with open_recording(out) as recording:
        assert recording.about.deployment == "drawn-site"
        with pytest.raises(RecordingError, match="cut off"):
            list(recording.records())


def test_of_a_damaged_recording_what_can_be_read_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cut, out = tmp_path / "cut.mcap", tmp_path / "new.mcap"
    with open_recording(SITE) as recording:
        writer = RecordingWriter(cut, Opening(version="1", about=recording.about), chunk_bytes=60_000)
        for kind, record in recording.records():
            writer.add(kind, record)
        writer.abandon()
    assert run("replay", cut, *CPU, "--out", out) == FAILED
    assert "not all of the recordings could be read" in capsys.readouterr().err
    with open_recording(out) as recording:
        assert verify(recording).status == "equal"
    assert 10 < sum(kind == "frames" for kind, _ in records(out)) < 30


def test_the_overload_of_that_time_is_in_the_journal_or_that_is_said(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Nobody was overloaded, and the journal's ticks are those that a replay makes.
    assert incidents(capsys, made, "--recorded-overload") == incidents(capsys, made)
    bare = tmp_path / "bare.mcap"
    with open_recording(SITE) as recording:
        writer = RecordingWriter(bare, Opening(version="1", about=recording.about))
        for kind, record in recording.records():
            if kind != "journal":
                writer.add(kind, record)
        writer.finish(Ending(to_ms=recording.about.to_ms))
    assert run("replay", bare, *CPU, "--recorded-overload") == FAILED
    said = capsys.readouterr().err
    assert f"vigil: {bare}: expected a journal of the deployment drawn-site" in said
    assert "found none" in said
