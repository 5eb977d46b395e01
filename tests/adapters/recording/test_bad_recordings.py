"""Whatever became of a recording, every command that reads one says in a line what is wrong, and uses what is good."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from mcap.writer import Writer

from stream_app.adapters.recording.layout import ABOUT, PROFILE, Ending, Opening, as_metadata
from stream_app.adapters.recording.mcap_file import McapFile
from stream_app.adapters.recording.write import RecordingWriter
from stream_app.bundle.demo import demo_bundle_path
from stream_app.cli import main
from stream_app.core.event_time import format_event_time
from stream_app.replay.recording import RecordingError
from tests.adapters.recording.recordings import (
    START_MS,
    TOPICS,
    Entry,
    about,
    jpeg,
    night,
    read,
    record,
    write,
)
from tests.cli.deployment import alert_message, decision_value

Shown = tuple[int, str, str]
HERE = ("--set", "provider=cpu", "--set", f"bundle={demo_bundle_path()}")
NOWHERE = ("--to-kafka", "--bootstrap", "127.0.0.1:9", "--set", "frames_topic=f", "--set", "texts_topic=t")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Shown]:
    """Run a command in this process, where an exception that is no exit fails the test."""

    def run_one(*arguments: object) -> Shown:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(list(map(str, arguments)))
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return run_one


def with_outputs(entries: list[Entry]) -> list[Entry]:
    """Add an alert, and a decision about a text and a frame that are there."""
    named = [{"kind": "text", "topic": TOPICS.texts, "partition": 0, "offset": 0, "time": "2026-01-01T02:00:00.000Z"}]
    frame = {"kind": "frame", "camera": "c0", "topic": TOPICS.frames, "partition": 0, "offset": 0}
    named.append(frame | {"time": "2026-01-01T02:00:00.000Z"})
    message = alert_message(evidence=named, cameras=["c0"], start=named[0]["time"], end=named[0]["time"])
    alert = record(0, START_MS + 1_000, message.value, headers=tuple(message.headers))
    decision = record(0, START_MS + 1_000, decision_value(evidence=named))
    return [*entries, ("alerts", alert), ("decisions", decision)]


# --- bytes


def test_a_file_cut_at_any_byte_gives_the_beginning_of_what_was_in_it(tmp_path: Path) -> None:
    small = jpeg(0)[:300]
    entries: list[Entry] = []
    for number in range(4):
        entries.append(("frames", record(number, START_MS + number, small, headers=(("camera", b"c"),))))
        entries.append(("texts", record(number, START_MS + number, b"smoke %d" % number)))
    path = tmp_path / "a.mcap"
    opening = Opening(version="1", about=about())
    writer = RecordingWriter(path, opening, chunk_bytes=700)
    for kind, one in entries:
        writer.add(kind, one)
    writer.finish(Ending(to_ms=opening.about.to_ms))
    content, part = path.read_bytes(), tmp_path / "part.mcap"
    assert len(McapFile(path).chunks) >= 3
    most, refused = 0, list[str]()
    for end in range(len(content)):
        part.write_bytes(content[:end])
        try:
            found, lost = read(part, is_past_damage=True)
        except RecordingError as error:
            # It does not say what it is before its first metadata are whole.
            refused.append(str(error))
            continue
        assert found == entries[: len(found)]
        assert len(found) >= most, f"less than of one byte less, at {end}"
        assert str(part) in lost
        most = len(found)
    assert most == len(entries)
    assert 0 < len(refused) < len(content) // 2
    assert all(words.startswith(str(part)) for words in refused)


def test_commands_say_what_is_wrong_with_a_file_of_which_some_bytes_are_flipped_or_gone(
    run: Callable[..., Shown], tmp_path: Path
) -> None:
    entries = with_outputs(night(frames=12))
    content = write(tmp_path / "a.mcap", entries).read_bytes()
    damaged, chance = tmp_path / "b.mcap", random.Random(11)
    statuses = set()
    for number in range(40):
        changed = bytearray(content)
        if number % 4 == 0:
            del changed[chance.randrange(len(changed)) :]
        else:
            for _ in range(1 + number % 3):
                changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        damaged.write_bytes(changed)
        out = tmp_path / f"out-{number}"
        status, shown, said = run("recording", "info", damaged, "--json")
        is_opened = bool(shown)
        assert (status, bool(is_opened and json.loads(shown)["lost"])) == (1, is_opened)
        # Where it can be opened, what can be read is exported, and the loss is said.
        status, shown, said = run("recording", "export", damaged, "--out", out)
        assert (status, "LOST: " in said, out.is_dir()) == (1, is_opened, is_opened)
        # What is cut of it lies before the damage, and says where it ends.
        status, shown, said = run("recording", "cut", damaged, "--out", f"{out}.mcap")
        assert (status, "LOST" in said or str(damaged) in said or "found none of it" in said) == (1, True)
        if shown:
            found, lost = read(Path(f"{out}.mcap"))
            to_ms = McapFile(Path(f"{out}.mcap")).opening.about.to_ms
            assert lost == ""
            assert found == [entry for entry in entries if entry[1].timestamp < to_ms or entry in found]
        statuses.add((is_opened, bool(shown)))
    assert statuses == {(True, True), (True, False), (False, False)}


def test_what_is_good_of_a_truncated_recording_is_exported_and_cut(run: Callable[..., Shown], tmp_path: Path) -> None:
    entries = with_outputs(night())
    path = write(tmp_path / "a.mcap", sorted(entries, key=lambda entry: entry[1].timestamp))
    chunks = McapFile(path).chunks
    path.write_bytes(path.read_bytes()[: chunks[-1].begin + 9])
    good, lost = read(path)
    assert "cut off or damaged behind byte" in lost
    status, shown, said = run("recording", "export", path, "--out", tmp_path / "export")
    assert (status, "wrote 1 decisions, 1 incidents, 2 frames and texts" in shown) == (1, True)
    assert "vigil: LOST: " in said
    status, _, said = run("recording", "cut", path, "--out", tmp_path / "part.mcap")
    assert (status, "LOST, so the part ends early: " in said) == (1, True), said
    newest_ms = max(one.timestamp for _, one in good)
    found, lost = read(tmp_path / "part.mcap")
    inputs = [[entry for entry in part if entry[0] in {"frames", "texts"}] for part in (good, found)]
    assert (inputs[1], lost) == ([entry for entry in inputs[0] if entry[1].timestamp < newest_ms], "")
    # It says where it ends: nobody takes it for the whole.
    assert McapFile(tmp_path / "part.mcap").opening.about.to_ms == newest_ms
    assert run("recording", "info", tmp_path / "part.mcap")[0] == 0


def test_a_part_before_the_damage_is_whole_one_across_it_ends_there_and_one_behind_it_is_refused(
    run: Callable[..., Shown], tmp_path: Path
) -> None:
    entries = night()
    path = write(tmp_path / "a.mcap", entries)
    hole = McapFile(path).chunks[3]
    content = bytearray(path.read_bytes())
    content[hole.begin + hole.length // 2] ^= 0x41
    path.write_bytes(content)
    before = format_event_time(hole.start_ns // 1_000_000 - 100)
    status, _, said = run("recording", "cut", path, "--to", before, "--out", tmp_path / "b.mcap")
    assert (status, "LOST, behind what is cut" in said, f"byte {hole.begin} is damaged" in said) == (0, True, True)
    kept = [entry for entry in entries if entry[1].timestamp < hole.start_ns // 1_000_000 - 100]
    assert read(tmp_path / "b.mcap") == (kept, "")
    status, _, said = run("recording", "cut", path, "--out", tmp_path / "c.mcap")
    assert (status, "LOST, so the part ends early: " in said) == (1, True)
    assert len(kept) <= len(read(tmp_path / "c.mcap")[0]) < len(entries)
    behind = format_event_time(hole.end_ns // 1_000_000 + 100)
    status, _, said = run("recording", "cut", path, "--from", behind, "--out", tmp_path / "d.mcap")
    assert (status, f"the chunk at byte {hole.begin} is damaged" in said) == (1, True)
    assert not (tmp_path / "d.mcap").exists()


# --- what is in it


@pytest.mark.parametrize("command", ["info", "replay", "compare"])
def test_a_recording_without_a_message_is_an_empty_one(run: Callable[..., Shown], tmp_path: Path, command: str) -> None:
    path = write(tmp_path / "a.mcap", [])
    if command == "info":
        status, shown, _ = run("recording", "info", path)
        assert (status, "frames         0 records" in shown) == (0, True)
        assert "task 0: cannot be verified" in shown
        assert run("recording", "cut", path, "--out", tmp_path / "b.mcap")[0] == 0
        assert run("recording", "export", path, "--out", tmp_path / "b")[0] == 0
    else:
        candidate = ("--with", "--set", "open_texts=2") if command == "compare" else ()
        status, shown, _ = run(command, path, *HERE, *candidate)
        assert (status, "no inputs" in shown) == (0, True), shown
        status, _, said = run("replay", path, *NOWHERE)
        assert (status, "expected frames or texts in the recordings, found none" in said) == (1, True)


def test_a_recording_without_journal_or_keyframe_is_judged_and_not_verified(
    run: Callable[..., Shown], tmp_path: Path
) -> None:
    path = write(tmp_path / "a.mcap", night(frames=5))
    status, shown, _ = run("recording", "info", path)
    assert (status, "task 0: cannot be verified: no keyframe of it" in shown) == (0, True)
    status, _, said = run("recording", "cut", path, "--out", tmp_path / "b.mcap")
    assert (status, "task 0: cannot be verified: no keyframe of it" in said) == (0, True)
    status, shown, _ = run("replay", path, *HERE)
    assert (status, "does not say what was in force" in " ".join(shown.split())) == (0, True)
    status, _, said = run("replay", path, "--set", "provider=cpu", "--set", f"bundle={tmp_path}/none")
    assert (status, f"{tmp_path}/none" in said) == (4, True), said


def test_a_journal_that_is_none_is_said(run: Callable[..., Shown], tmp_path: Path) -> None:
    for number, value in enumerate((b"no journal", b"", b"{}", None)):
        entries = [*night(frames=3), ("journal", record(0, START_MS, value, key=b"vigil/0"))]
        path = write(tmp_path / f"{number}.mcap", entries)
        assert run("recording", "info", path)[0] == 0
        status, shown, said = run("replay", path, *HERE)
        assert (status, "journal at partition 0, offset 0" in shown + said) == (1, True)


@pytest.mark.parametrize("start_ms", [-1_000, -86_400_000, -62_000_000_000_000])
def test_times_before_1970_are_read_cut_and_judged(run: Callable[..., Shown], tmp_path: Path, start_ms: int) -> None:
    # With -1 s half of it lies before 1970 and half behind.
    entries = with_outputs(night(frames=20, start_ms=start_ms))
    said_of_it = about(from_ms=start_ms, to_ms=start_ms + 60_000)
    path = write(tmp_path / "a.mcap", entries, opening=Opening(version="1", about=said_of_it))
    assert sorted(read(path)[0], key=repr) == sorted(entries, key=repr)
    status, shown, _ = run("recording", "info", path)
    assert (status, f"vigil, {format_event_time(start_ms)} to" in shown) == (0, True)
    middle = format_event_time(start_ms + 1_000)
    assert run("recording", "cut", path, "--from", middle, "--out", tmp_path / "b.mcap")[0] == 0
    frames = [one for kind, one in read(tmp_path / "b.mcap")[0] if kind == "frames"]
    assert [one.timestamp - start_ms for one in frames] == list(range(1_000, 2_000, 100))
    assert run("recording", "export", path, "--out", tmp_path / "b")[0] == 0
    status, shown, _ = run("replay", path, *HERE, "--json")
    assert (status, json.loads(shown)["recordings"][0]["frames"]) == (0, 20)


def test_a_time_that_no_calendar_has_is_kept_and_ends_no_command(run: Callable[..., Shown], tmp_path: Path) -> None:
    odd: list[Entry] = [("texts", record(50 + n, at, b"x")) for n, at in enumerate((2**62, -(2**62), 2**45))]
    path = write(tmp_path / "a.mcap", [*night(frames=3), *odd])
    found, lost = read(path)
    assert (lost, [one.timestamp for kind, one in found if kind == "texts"][1:]) == ("", [2**62, -(2**62), 2**45])
    assert run("recording", "info", path)[0] == 0
    assert run("recording", "cut", path, "--out", tmp_path / "b.mcap")[0] == 0
    assert run("recording", "export", path, "--out", tmp_path / "b")[0] == 0


def test_another_schema_and_no_recording_at_all_are_said_by_every_command(
    run: Callable[..., Shown], tmp_path: Path
) -> None:
    newer, words, empty = (tmp_path / f"{name}.mcap" for name in ("newer", "words", "empty"))
    with newer.open("wb") as file:
        writer = Writer(file)
        writer.start(profile=PROFILE)
        writer.add_metadata(ABOUT, as_metadata(Opening(schema=2, version="9", about=about())))
        writer.finish()  # type: ignore[no-untyped-call, unused-ignore]
    words.write_text("no recording")
    empty.write_bytes(b"")
    folder = tmp_path / "folder"
    folder.mkdir()
    for path, message in (
        (newer, "expected a recording of schema 1, found schema 2"),
        (words, "expected an MCAP file, found 12 bytes of another"),
        (empty, "expected an MCAP file, found 0 bytes of another"),
        (folder, "expected a recording (.mcap) in"),
        (tmp_path / "none.mcap", "No such file or directory"),
    ):
        for command in (
            ("recording", "info", path),
            ("recording", "cut", path, "--out", tmp_path / "x.mcap"),
            ("recording", "export", path, "--out", tmp_path / "x"),
            ("replay", path),
            ("compare", path, "--with", "--set", "open_texts=2"),
            ("compare", path, "--recorded", path),
            ("replay", path, *NOWHERE),
        ):
            status, _, said = run(*command)
            assert (status, message in said) == (1, True), (command, said)
    assert not (tmp_path / "x.mcap").exists()
    assert not (tmp_path / "x").exists()


# --- several files


def _row(tmp_path: Path, *parts: tuple[list[Entry], dict[str, object]]) -> list[Path]:
    paths = []
    for number, (entries, said) in enumerate(parts, 1):
        begins = said.pop("begins", ())
        opening = Opening(version="1", about=about(**said), number=number, begins=begins)  # type: ignore[arg-type]
        paths.append(write(tmp_path / f"part-{number}.mcap", entries, opening=opening))
    return paths


def test_a_gap_between_files_is_refused_by_every_command_with_its_times(
    run: Callable[..., Shown], tmp_path: Path
) -> None:
    folder = tmp_path / "night"
    folder.mkdir()
    _row(
        folder,
        (night(frames=3), {"to_ms": START_MS + 1_000}),
        (night(frames=3, start_ms=START_MS + 9_000), {"from_ms": START_MS + 9_000}),
    )
    for command in (("recording", "info", folder), ("replay", folder), ("recording", "cut", folder, "--out", "x.mcap")):
        status, _, said = run(*command)
        assert (status, "found a gap: 2026-01-01T02:00:01.000Z to 2026-01-01T02:00:09.000Z" in said) == (1, True)


def test_files_that_overlap_are_read_once_and_recordings_that_do_are_refused(
    run: Callable[..., Shown], tmp_path: Path
) -> None:
    entries = night(frames=30)
    first, second = entries[:24], entries[12:]
    paths = _row(tmp_path, (first, {}), (second, {"from_ms": second[0][1].timestamp}))
    assert read(*paths) == (entries, "")
    status, _, said = run("replay", *paths, *HERE)
    assert (status, "expected recordings that follow one another" in said) == (1, True)


def test_two_files_with_different_records_of_one_place_are_an_error(tmp_path: Path) -> None:
    entries = night(frames=10)
    kind, other = entries[7]
    changed = [*entries[:7], (kind, msgspec.structs.replace(other, value=jpeg(99))), *entries[8:]]
    paths = _row(tmp_path, (entries, {}), (changed, {}))
    found, lost = read(*paths)
    assert f"record 0/{other.offset} of {format_event_time(other.timestamp)} is another one in {paths[0]}" in lost
    assert found == entries[: len(found)]
    assert read(*paths, is_past_damage=True)[0] == entries
    # A value that one of them has left out is no other one.
    bare: list[Entry] = [
        ("frames", msgspec.structs.replace(one, value=None)) for kind, one in entries if kind == "frames"
    ]
    (tmp_path / "b").mkdir()
    paths = _row(tmp_path / "b", (entries, {}), (bare, {}))
    assert read(*paths) == (entries, "")


def test_a_topic_that_was_recreated_between_two_files_is_an_error_and_no_silence(
    run: Callable[..., Shown], tmp_path: Path
) -> None:
    first = night(frames=10)
    # The offsets begin anew; so does the file, which can hold them.
    second = night(frames=5, start_ms=START_MS + 5_000)
    folder = tmp_path / "night"
    folder.mkdir()
    paths = _row(folder, (first, {"to_ms": START_MS + 5_000}), (second, {"from_ms": START_MS + 5_000}))
    found, lost = read(*paths)
    assert (found, "record 0/0 of 2026-01-01T02:00:05.000Z follows 0/9, and no file had it before" in lost) == (
        first, True
    )  # fmt: skip
    status, _, said = run("recording", "info", folder)
    assert (status, "the topic was recreated meanwhile" in said) == (1, True)
    assert said.count("follows") == 2, "once for each of the two topics"
    status, shown, _ = run("replay", folder, *HERE, "--json")
    assert (status, json.loads(shown)["recordings"][0]["frames"]) == (1, 10)


@pytest.mark.parametrize("last_ms", [400, 40])
def test_a_clock_that_ran_back_at_the_border_of_two_files_loses_nothing_silently(tmp_path: Path, last_ms: int) -> None:
    first: list[Entry] = [
        ("texts", record(offset, START_MS + at_ms, b"x")) for offset, at_ms in enumerate((0, 100, 200, 300, last_ms))
    ]
    second: list[Entry] = [("texts", record(5, START_MS + 50, b"y"))]
    paths = _row(tmp_path, (first, {}), (second, {"begins": (("texts", 0, 5),)}))
    found, lost = read(*paths, is_past_damage=True)
    assert len(found) < 6
    assert "or a broker's clock ran back between two files" in lost


def test_what_lies_behind_a_hole_is_exported(run: Callable[..., Shown], tmp_path: Path) -> None:
    path = write(tmp_path / "a.mcap", with_outputs(night()))
    hole = McapFile(path).chunks[0]
    content = bytearray(path.read_bytes())
    content[hole.begin + hole.length // 2] ^= 0x41
    path.write_bytes(content)
    status, shown, said = run("recording", "export", path, "--out", tmp_path / "out")
    assert (status, "wrote 1 decisions, 1 incidents" in shown) == (1, True)
    assert f"LOST: {path}: the chunk at byte {hole.begin} is damaged" in said


# --- the disk


_IN_LITTLE_SPACE = (
    "import resource, sys; from stream_app.cli import main; "
    "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000)); main(sys.argv[1:])"
)


@pytest.mark.parametrize("command", ["cut", "export", "replay"])
def test_a_full_disk_is_said_in_a_line_and_leaves_no_half_of_anything(tmp_path: Path, command: str) -> None:
    path, out = write(tmp_path / "a.mcap", with_outputs(night())), tmp_path / "out.mcap"
    big = tmp_path / "big.mcap"
    shutil.copy(path, big)
    arguments: list[object] = ["recording", command, path, "--out", out]
    if command == "replay":
        out = tmp_path / "page.html"
        arguments = ["replay", path, *HERE, "--html", out]
    if command == "export":
        entries = with_outputs(night(frames=5))
        huge = [(kind, msgspec.structs.replace(one, value=(one.value or b"") + b"\0" * 40_000))
                if kind == "frames" else (kind, one) for kind, one in entries]  # fmt: skip
        path = write(tmp_path / "b.mcap", huge)
        arguments = ["recording", "export", path, "--out", tmp_path / "out"]
        out = tmp_path / "out"
    full = subprocess.run(
        [sys.executable, "-c", _IN_LITTLE_SPACE, *map(str, arguments)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert full.returncode == 1, full.stderr
    assert re.search(rf"{out}\S* cannot be written: File too large", full.stderr), full.stderr
    assert "Traceback" not in full.stderr
    if command == "cut":
        # What was written can be read, and says that it has no end.
        found, lost = read(out)
        assert (bool(lost), [entry for entry in night() if entry in found]) == (True, found)
    else:
        assert not out.exists()
