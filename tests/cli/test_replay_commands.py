"""`vigil replay` and `vigil compare`, on a recording of the drawn site, with the demo bundle."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import jsonschema
import msgspec
import pytest

from stream_app.adapters.recording.layout import Ending, Opening
from stream_app.adapters.recording.write import RecordingWriter
from stream_app.bundle.demo import demo_bundle_path
from stream_app.cli import main
from stream_app.cli.compare import Side, sides_in
from stream_app.terminal.outcome import FAILED, REFUSED, USAGE, CommandError
from tests.conftest import REPOSITORY
from tests.core.drive import IN_FORCE
from tests.replay.site import site_recording

if TYPE_CHECKING:
    from tests.replay.memory import Memory

CPU = ("--set", "provider=cpu")
SCHEMA = json.loads((REPOSITORY / "stream_app/schemas/comparison.v1.schema.json").read_text("utf-8"))


def write(path: Path, recording: Memory) -> Path:
    writer = RecordingWriter(path, Opening(version="1", about=recording.about))
    for kind, record in recording.records():
        writer.add(kind, record)
    writer.finish(Ending(to_ms=recording.about.to_ms))
    return path


@pytest.fixture(scope="module")
def night(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("night") / "night.mcap", site_recording(seconds=45))


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main(list(map(str, arguments)))
    return int(ended.value.code or 0)


def shown(capsys: pytest.CaptureFixture[str]) -> Any:  # noqa: ANN401 - JSON
    document = json.loads(capsys.readouterr().out)
    jsonschema.validate(document, SCHEMA)
    return document


def test_a_replay_gives_the_incidents_of_what_was_in_force(night: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("replay", night, *CPU, "--json") == 0
    document = shown(capsys)
    base = document["base"]
    assert base["judge"]["words"] == "as recorded"
    assert base["judge"]["model"] == "site/1"
    assert len(base["incidents"]) > 1
    assert document["recordings"][0]["first"] == "2023-11-14T22:13:20.000Z"
    assert base["totals"]["frames.received"] == document["recordings"][0]["frames"] == 90
    assert run("replay", night, *CPU) == 0
    said = capsys.readouterr()
    assert f"{len(base['incidents'])} incidents" in said.out


def test_a_comparison_names_what_each_candidate_changes(
    night: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "what.html"
    twice = ("--with", "--set", "open_texts=2")
    same = ("--with", "--bundle", demo_bundle_path())
    assert run("compare", night, *CPU, *twice, *same, "--json", "--html", page) == 0
    first, second = shown(capsys)["candidates"]
    assert {one["kind"] for one in first["differences"]} >= {"vanished"}
    assert second["differences"] == []
    assert "data:image/jpeg;base64," in page.read_text("utf-8")
    assert page.stat().st_mode & 0o077 == 0, "it holds pictures"


def test_two_recordings_alerts_are_compared_without_judging_them(
    night: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("compare", night, "--recorded", night, "--json") == 0
    assert [one["side"]["incidents"] for one in shown(capsys)["candidates"]] == [[]]


def test_expectations_that_fail_are_status_1_words_and_junit(
    night: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    expected, junit = tmp_path / "expected.toml", tmp_path / "junit.xml"
    expected.write_text('uncovered = "ignore"\n[[expect]]\nname = "none at all"\nexactly = 0\n', "utf-8")
    assert run("replay", night, *CPU, "--expect", expected, "--junit", junit) == FAILED
    said = capsys.readouterr()
    assert "FAILED  none at all: expected exactly 0, found" in said.out
    assert said.err.splitlines()[-1] == "vigil: not as expected"
    assert ET.parse(junit).getroot()[0].get("failures") == "1"  # noqa: S314 - our own output
    expected.write_text("[[expect]]\nat_least = 1\n", "utf-8")
    assert run("replay", night, *CPU, "--expect", expected) == 0


def test_verdicts_are_held_against_both_sides(night: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verdicts = tmp_path / "verdicts.csv"
    verdicts.write_text("text,label\nvigil.texts/0/0,nothing\n", "utf-8")
    command = ("compare", night, *CPU, "--verdicts", verdicts, "--with", "--set", "open_texts=2")
    assert run(*command, "--json") == 0
    (candidate,) = shown(capsys)["candidates"]
    assert candidate["verdicts"]["before"]["unjudged"] + candidate["verdicts"]["before"]["false"] > 0
    verdicts.write_text("nonsense\n", "utf-8")
    assert run(*command) == USAGE
    assert f"{verdicts}: expected the columns" in capsys.readouterr().err


def test_a_recording_by_another_bundle_is_refused_until_one_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "other.mcap", site_recording(seconds=15, judged_by=IN_FORCE))
    assert run("replay", path, *CPU) == REFUSED
    said = capsys.readouterr().err
    assert f"expected site/1, sha256 {IN_FORCE.model.sha256}" in said
    assert "--bundle" in said
    assert run("replay", path, *CPU, "--bundle", demo_bundle_path(), "--json") == 0
    assert shown(capsys)["base"]["judge"]["model_sha256"] != IN_FORCE.model.sha256


def test_a_recording_without_a_journal_is_judged_by_the_settings_here(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recording = site_recording(seconds=15)
    recording.logs = {**recording.logs, "journal": []}
    path = write(tmp_path / "bare.mcap", recording)
    assert run("replay", path, *CPU, "--json") == 0
    assert any("does not say what was in force" in note for note in shown(capsys)["notes"])


def test_damage_is_status_1_and_what_was_good_is_shown(
    night: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cut.mcap"
    shutil.copy(night, path)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size * 2 // 3)
    status = run("replay", path, *CPU, "--json")
    said = capsys.readouterr()
    assert status == FAILED
    assert "not all of the recordings could be read" in said.err
    assert json.loads(said.out)["notes"]


def test_no_pictures_and_no_recording_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recording = site_recording(seconds=15)
    recording.has_pictures = False
    frames = [msgspec.structs.replace(frame, value=None) for frame in recording.logs["frames"]]
    recording.logs = {**recording.logs, "frames": frames}
    assert run("replay", write(tmp_path / "bare.mcap", recording), *CPU) == FAILED
    assert "expected a recording with pictures" in capsys.readouterr().err
    assert run("replay", tmp_path / "none.mcap") == FAILED
    (tmp_path / "text.mcap").write_text("no recording")
    assert run("replay", tmp_path / "text.mcap") == FAILED
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        ((), "expected --with [--bundle DIR] [--set NAME=VALUE], or --recorded REC"),
        (("--with",), "--with: expected --bundle or --set behind it, found neither"),
        (("--with", "--set"), "--with --set: expected a value, found none"),
        (("--with", "--set", "provider=cpu"), "expected a setting that changes results, found provider=cpu"),
        (("--with", "--bundle", "a", "--bundle", "b"), "--with: expected one --bundle, found two"),
        (("--against", "--set", "open_texts=2"), "expected --with"),
        (("--recorded", "x", "--with", "--set", "open_texts=2"), "--recorded: expected one REC"),
        (("--with", "--set", "open_texts=2", "--junit", "x"), "--junit: expected --expect FILE with it"),
    ],
)
def test_wrong_usage_of_compare_is_said(
    arguments: tuple[str, ...], found: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("compare", "night.mcap", *arguments) == USAGE
    assert found in capsys.readouterr().err


def test_a_setting_that_does_not_fit_the_recorded_ones_is_refused(
    night: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("compare", night, *CPU, "--with", "--set", "quiet_ms=1") == REFUSED
    assert "setting quiet_ms: expected >= before_ms + after_ms + grace_ms" in capsys.readouterr().err
    assert run("compare", night, *CPU, "--with", "--set", "thresholds.nobody.open_at=0.5") == REFUSED
    assert "thresholds.nobody: expected a label of the bundle" in capsys.readouterr().err


def test_what_stands_behind_an_opener_is_its_own_and_the_rest_is_everybodys() -> None:
    line = "a.mcap --set x=1 --against --set=y=2 b.mcap --json --with --bundle B --set z=3 --with --set z=4 -- --with"
    sides, rest = sides_in(line.split())
    assert sides == [
        Side("--against", None, ("y=2",)),
        Side("--with", Path("B"), ("z=3",)),
        Side("--with", None, ("z=4",)),
    ]
    assert rest == ["a.mcap", "--set", "x=1", "b.mcap", "--json", "--", "--with"]
    with pytest.raises(CommandError, match="expected a value"):
        sides_in(["--with", "--bundle"])
