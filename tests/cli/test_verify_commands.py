"""`vigil verify`, on recordings in files: of a simulated task, and of the drawn site with the demo bundle."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from msgspec.structs import replace

from stream_app.adapters.recording.layout import Ending, Opening
from stream_app.adapters.recording.write import RecordingWriter
from stream_app.bundle.demo import demo_bundle_path
from stream_app.cli import main
from stream_app.replay.verification_document import verification_schema
from stream_app.terminal.outcome import FAILED, INCOMPLETE, INTERRUPTED, REFUSED, USAGE
from tests.conftest import REPOSITORY
from tests.replay.changes import CHANGES
from tests.replay.recorded import BusyLive, Recorded, busy_stream, record_live

if TYPE_CHECKING:
    from stream_app.replay.recording import Recording

CPU = ("--set", "provider=cpu")
SCHEMA = REPOSITORY / "stream_app/schemas/verification.v1.schema.json"


@cache
def busy(seed: int = 1) -> Recorded:
    random = Random(seed)
    stream = busy_stream(random)
    live = BusyLive(stream, replace(stream.settings, sample_ms=5), random)
    return record_live(live.play(), stream.log, random)


def write(path: Path, recording: Recording, *, from_ms: int | None = None, to_ms: int | None = None) -> Path:
    about = recording.about
    about = replace(about, from_ms=about.from_ms if from_ms is None else from_ms, to_ms=to_ms or about.to_ms)
    writer = RecordingWriter(path, Opening(version="1", about=about), chunk_bytes=20_000)
    for kind, record in recording.records():
        if about.from_ms <= record.append_ms < about.to_ms:
            writer.add(kind, record)
    writer.finish(Ending(to_ms=about.to_ms))
    return path


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["verify", *map(str, arguments)])
    return int(ended.value.code or 0)


def shown(capsys: pytest.CaptureFixture[str]) -> Any:  # noqa: ANN401 - JSON
    document = json.loads(capsys.readouterr().out)
    jsonschema.validate(document, json.loads(SCHEMA.read_text("utf-8")))
    return document


def test_the_published_schema_is_that_of_the_document() -> None:
    assert json.loads(SCHEMA.read_text("utf-8")) == json.loads(json.dumps(verification_schema()))


def test_a_recording_that_holds_what_happened_is_equal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "night.mcap", busy())
    assert run(path) == 0
    said = capsys.readouterr()
    lines = said.out.splitlines()
    assert lines[0] == "task 0: equal"
    assert "steps, " in lines[1]
    assert re.search(r"; from sequence 1, its first record to 2023-11-14T22:13:2\d", lines[1])
    assert not any(line.startswith("  in front") for line in lines)
    assert lines[-1] == "equal: the core makes of the inputs what was recorded, to the byte"
    assert said.err == ""
    assert run(path, "--json") == 0
    document = shown(capsys)
    (task,) = document["tasks"]
    assert (document["status"], document["torn"], document["unread"], document["rescored"]) == ("equal", "", 0, None)
    assert (task["status"], task["difference"], task["gaps"]) == ("equal", None, [])
    assert (task["verified"]["alerts"], task["before"]) == (len(busy().of("alerts")), {})


@pytest.mark.parametrize(
    "what",
    [
        "two entries exchanged",
        "two journal records exchanged",
        "a bit of a text",
        "a bit of a picture",
        "a score",
        "a frame left out",
        "a frame twice",
        "another threshold",
        "a keyframe elsewhere",
        "what nobody can read as if it could be read",
    ],
)
def test_a_change_to_a_file_is_status_1_and_named_with_its_inputs(
    what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change, shown_as = CHANGES[what]
    recorded = next(one for one in (busy(seed).copy() for seed in range(1, 9)) if change(one, Random(3)))
    path = write(tmp_path / "changed.mcap", recorded)
    assert run(path) == FAILED
    said = capsys.readouterr()
    assert said.out.startswith("task 0: different\n")
    assert "differ\n    expected " in said.out
    assert said.err.splitlines() == ["vigil: different: see above"]
    assert run(path, "--json") == FAILED
    document = shown(capsys)
    assert document["status"] == "different"
    found = document["tasks"][0]["difference"]
    assert found["what"] in shown_as
    assert f"{found['what']} differ" in said.out
    assert all(name in said.out for name in found["inputs"])


def test_what_a_newer_version_wrote_is_status_5_and_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded = busy().copy()
    journal = recorded.topics[("journal", 0)]
    journal[1:] = [replace(one, value=(one.value or b"").replace(b'"schema":1', b'"schema":2')) for one in journal[1:]]
    path = write(tmp_path / "newer.mcap", recorded)
    assert run(path) == INCOMPLETE
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "GAP" in line]
    assert line.endswith(" to its end: journal schema: expected 1, found 2: a newer version of Vigil wrote it")
    assert run(path, "--json") == INCOMPLETE
    (gap,) = shown(capsys)["tasks"][0]["gaps"]
    assert (gap["until"], gap["unusable"]) == (None, 0)


def test_files_in_a_row_and_their_folder_are_one_recording(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    times = sorted(one.append_ms for one in busy().of("frames"))
    middle_ms = times[len(times) // 2]
    first = write(tmp_path / "first.mcap", busy(), to_ms=middle_ms)
    second = write(tmp_path / "second.mcap", busy(), from_ms=middle_ms)
    assert run(second, first, "--json") == 0
    whole = shown(capsys)["tasks"][0]["verified"]
    assert run(tmp_path, "--json") == 0
    assert shown(capsys)["tasks"][0]["verified"] == whole
    # The second alone: its first step's inputs lie in the first.
    assert run(second, "--json") in {0, INCOMPLETE}
    assert shown(capsys)["tasks"][0]["verified"].get("steps", 0) < whole["steps"]


def test_what_is_cut_off_is_incomplete_and_verified_as_far_as_it_goes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "cut.mcap", busy())
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size * 2 // 3)
    assert run(path) == INCOMPLETE
    said = capsys.readouterr()
    assert f"NOT read to its end: {path}: " in said.out
    assert said.err.splitlines()[-1].startswith("vigil: incomplete: no difference was found")
    assert run(path, "--json") == INCOMPLETE
    document = shown(capsys)
    assert document["torn"]
    assert document["tasks"][0]["verified"]["steps"] > 0


def test_files_that_leave_a_gap_are_refused_with_the_gap(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    times = sorted(one.append_ms for one in busy().of("frames"))
    first = write(tmp_path / "first.mcap", busy(), to_ms=times[20])
    second = write(tmp_path / "second.mcap", busy(), from_ms=times[-20])
    assert run(first, second) == INCOMPLETE
    assert "expected the recording to go on, found a gap: 2023-11-14T22:13:2" in capsys.readouterr().err


@pytest.mark.parametrize("left_out", [{"zones": ("x",)}, {"has_pictures": False}])
def test_a_recording_with_values_left_out_is_said_not_to_be_verifiable(
    left_out: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorded = busy().copy()
    recorded.about = replace(recorded.about, **left_out)
    for extra in ((), ("--rescore",)):
        path = write(tmp_path / f"less{len(extra)}.mcap", recorded)
        assert run(path, *extra) == INCOMPLETE
        assert "nothing can be verified" in capsys.readouterr().err


def test_nothing_verifiable_and_no_recording_are_never_equal_nor_different(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = busy().copy()
    bare.topics[("journal", 0)] = []
    assert run(write(tmp_path / "bare.mcap", bare)) == INCOMPLETE
    said = capsys.readouterr().out
    assert "task 0: not verified\n  verified    nothing" in said
    assert "equal" not in said
    assert run(write(tmp_path / "empty.mcap", Recorded({}))) == INCOMPLETE
    assert run(tmp_path / "none.mcap") == INCOMPLETE
    assert "cannot be opened: No such file" in capsys.readouterr().err
    (tmp_path / "text.mcap").write_text("no recording")
    assert run(tmp_path / "text.mcap") == INCOMPLETE
    assert "Traceback" not in capsys.readouterr().err


def test_names_from_a_recording_do_not_steer_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recorded = busy().copy()
    place, records = next((place, list(one)) for place, one in recorded.topics.items() if place[0] == "alerts" and one)
    records[-1] = replace(records[-1], key=b"\x1b[2Jdock")
    recorded.topics[place] = records
    assert run(write(tmp_path / "evil.mcap", recorded)) == FAILED
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize("option", ["--bundle", "--tolerance", "--band"])
def test_options_of_scoring_again_want_it(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("night.mcap", option, "0.5") == USAGE
    assert "expected --rescore with them" in capsys.readouterr().err


# -- scored again -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of the drawn site, judged by the demo bundle."""
    path = tmp_path_factory.mktemp("site") / "site.mcap"
    with pytest.raises(SystemExit) as ended:
        main(["site", "record", "--minutes", "0.5", "--out", str(path)])
    assert not ended.value.code
    return path


def other_bundle(folder: Path, *, labels: dict[str, str] | None = None) -> Path:
    """The demo bundle, as another one: a calibration that moves every score, or labels by other names."""
    shutil.copytree(demo_bundle_path(), folder)
    manifest = folder / "manifest.json"
    said = json.loads(manifest.read_text("utf-8"))
    for label in said["labels"]:
        label["name"] = (labels or {}).get(label["name"], label["name"])
    said["version"] = "2"
    manifest.write_text(json.dumps(said), "utf-8")
    return folder


def test_scores_of_the_same_bundle_on_the_same_machine_are_the_same(
    site: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(site, "--rescore", *CPU, "--tolerance", "0", "--json") == 0
    document = shown(capsys)
    again = document["rescored"]
    assert (document["status"], again["within"], again["complete"]) == ("equal", True, True)
    assert again["decisions"] == sum(task["verified"].get("decisions", 0) for task in document["tasks"]) > 0
    assert {one["greatest"] for one in again["labels"]} == {0}
    assert run(site, "--rescore", *CPU, "--tolerance", "0") == 0
    said = capsys.readouterr().out
    assert f"scored again: {again['decisions']} decisions, tolerance 0, band 0" in said
    assert "greatest |dp| 0.000000, typical 0.000000" in said


def test_a_bundle_that_is_not_at_hand_is_said_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path / "night.mcap", busy())
    assert run(path, "--rescore", *CPU) == REFUSED
    said = capsys.readouterr()
    assert said.out == ""
    assert "the bundle that judged when this was recorded: expected site/" in said.err
    assert "--bundle says where the right one is" in said.err
    assert run(path, "--rescore", *CPU, "--bundle", tmp_path / "none") == REFUSED


def test_another_bundle_scores_in_place_of_the_recorded_one_if_it_is_given_alone(
    site: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = other_bundle(tmp_path / "other", labels={"fire": "smoke"})
    unsigned = (*CPU, "--set", "allow_unsigned=true")
    assert run(site, "--rescore", *unsigned, "--bundle", other, "--json") == 0
    again = shown(capsys)["rescored"]
    assert "in place of site/1" in again["notes"][0]
    assert again["notes"][1] == "labels that it does not have are not compared: fire"
    assert "fire" not in {one["label"] for one in again["labels"]}
    # Of several the recorded one has to be among them.
    third = other_bundle(tmp_path / "third", labels={"fight": "scuffle"})
    assert run(site, "--rescore", *unsigned, "--bundle", other, "--bundle", third) == REFUSED
    assert run(site, "--rescore", *unsigned, "--bundle", other, "--bundle", demo_bundle_path(), "--json") == 0
    assert shown(capsys)["rescored"]["notes"] == []
    names = ("fight", "fire", "intrusion", "left_bag", "vehicle")
    stranger = other_bundle(tmp_path / "stranger", labels={name: f"{name} too" for name in names})
    assert run(site, "--rescore", *unsigned, "--bundle", stranger) == REFUSED


_ENDLESS = """
import itertools, sys
from msgspec.structs import replace
from stream_app.replay.recording import TopicRecord
from stream_app.terminal.outcome import INTERRUPTED, run_command
from stream_app.wiring.verifying import run_verification
from tests.replay.recorded import Recorded

class Endless(Recorded):
    def records(self):
        for number in itertools.count():
            yield "frames", TopicRecord(0, number, number, 1, b"x", b"y" * 4096, (), 4096)

try:
    tell = lambda reached: print(reached.now_ms, flush=True)
    run_command(run_verification((), open_files=lambda _: Endless({}), tell=tell))
except KeyboardInterrupt:
    sys.exit(INTERRUPTED)
"""


def test_ctrl_c_ends_it_while_it_reads() -> None:
    command = [sys.executable, "-c", _ENDLESS]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=REPOSITORY) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"255\n"
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        assert process.wait() == INTERRUPTED
