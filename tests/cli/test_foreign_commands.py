"""MCAP files of other tools, judged by `vigil replay` and `vigil compare`."""

import json
from pathlib import Path

import pytest

from stream_app.bundle.demo import demo_bundle_path
from tests.adapters.recording.foreign_files import write
from tests.adapters.recording.recordings import jpeg
from tests.cli.test_replay_commands import CPU, run

HERE = (*CPU, "--set", f"bundle={demo_bundle_path()}")


@pytest.fixture
def drive(tmp_path: Path) -> Path:
    path = write(tmp_path / "drive.mcap", "ros2", [("/front", 100 * n, 100 * n, jpeg(n)) for n in range(6)])
    (tmp_path / "drive.jsonl").write_text('{"time": 0.25, "text": "smoke in the yard"}', "utf-8")
    return path


def test_a_file_of_another_tool_is_judged_with_the_texts_beside_it(
    drive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--zone", "yard", "--texts", drive.with_suffix(".jsonl"), "--json")
    assert run("replay", drive, *HERE, *options) == 0
    document = json.loads(capsys.readouterr().out)
    (recorded,) = document["recordings"]
    assert (recorded["deployment"], recorded["frames"], recorded["texts"]) == ("drive", 6, 1)
    assert (document["base"]["totals"]["pairs.joined"], document["base"]["totals"]["texts.paired"]) == (6, 1)
    assert run("compare", drive, *HERE, "--with", "--set", "quiet_ms=70000", *options) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["candidates"][0]["side"]["totals"]["pairs.joined"] == 6


def test_what_cannot_be_read_of_it_is_status_1_and_a_note(drive: Path, capsys: pytest.CaptureFixture[str]) -> None:
    drive.write_bytes(drive.read_bytes()[:-3_000])
    assert run("replay", drive, *HERE, "--json") == 1
    said = capsys.readouterr()
    assert "not all of the recordings could be read" in said.err
    assert any("cut off or damaged behind byte" in note for note in json.loads(said.out)["notes"])
    drive.write_bytes(b"words")
    assert run("replay", drive, *HERE) == 1
    assert "drive.mcap: expected an MCAP file, found 5 bytes of another" in capsys.readouterr().err
