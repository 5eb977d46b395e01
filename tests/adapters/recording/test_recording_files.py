"""What is written is read again to the byte; whatever becomes of a file, what is read of it is true."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path
from typing import get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcap.writer import Writer

from stream_app.adapters.recording.layout import ABOUT, PROFILE, Ending, Opening, as_metadata
from stream_app.adapters.recording.mcap_file import McapFile
from stream_app.adapters.recording.read import open_recording
from stream_app.adapters.recording.sink import Rolling, Sink
from stream_app.adapters.recording.write import RecordingWriter
from stream_app.replay.recording import Kind, RecordingError, TopicRecord
from tests.adapters.recording.recordings import START_MS, Entry, about, jpeg, night, read, record, shuffled, write

_MAYBE = st.none() | st.binary(max_size=40)
_PICTURES = st.sampled_from([jpeg(0), jpeg(1)])
_HEADERS = st.lists(st.tuples(st.sampled_from(["camera", "", "ce_id"]) | st.text(), _MAYBE), max_size=4)


def _one(
    offset: int, fields: tuple[bytes | None, bytes | None, list[tuple[str, bytes | None]], int, int]
) -> TopicRecord:
    key, value, headers, timestamp, kind = fields
    return TopicRecord(0, offset, timestamp, kind, key, value, tuple(headers), len(value or b""))


_TIMES = st.integers(-(2**62), 2**43) | st.sampled_from([-1, 0, START_MS])
_FIELDS = st.tuples(_MAYBE | st.just(b"yard"), _MAYBE | _PICTURES, _HEADERS, _TIMES, st.sampled_from([0, 1]))


@settings(max_examples=40, deadline=None)
@given(fields=st.lists(st.tuples(st.sampled_from(get_args(Kind)), _FIELDS), max_size=12))
def test_every_record_comes_back_to_the_byte_and_in_its_order(
    tmp_path_factory: pytest.TempPathFactory, fields: list[tuple[Kind, tuple[object, ...]]]
) -> None:
    entries = [(kind, _one(offset, one)) for offset, (kind, one) in enumerate(fields)]  # type: ignore[arg-type]
    found, lost = read(write(tmp_path_factory.mktemp("r") / "a.mcap", entries))
    assert lost == ""
    for kind in get_args(Kind):
        assert [one for other, one in found if other == kind] == [one for other, one in entries if other == kind]


def test_records_come_by_append_time_however_they_were_written(tmp_path: Path) -> None:
    entries = night()
    found, lost = read(write(tmp_path / "a.mcap", shuffled(entries, 1)))
    assert lost == ""
    assert sorted(found, key=lambda entry: (entry[1].timestamp, entry[0])) == sorted(
        entries, key=lambda entry: (entry[1].timestamp, entry[0])
    )
    assert [one.timestamp for _, one in found] == [one.timestamp for _, one in entries]


def test_a_clock_that_ran_back_does_not_change_the_order_of_offsets(tmp_path: Path) -> None:
    entries: list[Entry] = [("texts", record(number, START_MS - 50 * number, b"x")) for number in range(5)]
    assert read(write(tmp_path / "a.mcap", entries)) == (entries, "")


def test_a_picture_is_in_the_file_once(tmp_path: Path) -> None:
    entries = night()
    pictures = sum(one.size for kind, one in entries if kind == "frames")
    assert 0.8 * pictures < write(tmp_path / "a.mcap", entries).stat().st_size < 1.1 * pictures


def test_a_recording_is_private_and_nothing_is_overwritten(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mcap", night(frames=1))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    before = path.read_bytes()
    with pytest.raises(FileExistsError):
        RecordingWriter(path, Opening(version="1", about=about()))
    assert path.read_bytes() == before


def test_a_recording_without_records_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mcap", [])
    assert read(path) == ([], "")
    with open_recording(path) as recording:
        assert recording.about == about()


def test_a_file_cut_off_anywhere_is_read_up_to_its_last_whole_chunk(tmp_path: Path) -> None:
    entries = night()
    whole = write(tmp_path / "a.mcap", entries)
    content, chunks = whole.read_bytes(), McapFile(whole).chunks
    assert len(chunks) >= 5
    cuts = [at for chunk in chunks for at in (chunk.begin, chunk.begin + 9, chunk.begin + chunk.length - 1)]
    cuts += [chunk.begin + chunk.length for chunk in chunks]
    for at in [*cuts, len(content) - 1, len(content) - 30]:
        part = tmp_path / f"{at}.mcap"
        part.write_bytes(content[:at])
        found, lost = read(part)
        assert found == entries[: len(found)]
        newest_ns = max((chunk.end_ns for chunk in chunks if chunk.begin + chunk.length <= at), default=-1)
        assert len(found) >= sum(one.timestamp * 1_000_000 < newest_ns for _, one in entries)
        assert str(part) in lost
        # Only an index and an end that are broken leave nothing out.
        assert len(found) < len(entries) or at >= chunks[-1].begin + chunks[-1].length


def test_a_whole_file_is_found_by_its_index_and_no_chunk_is_read_before_its_turn(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mcap", night())
    content, last = bytearray(path.read_bytes()), McapFile(path).chunks[-1]
    content[last.begin + last.length // 2] ^= 0x41
    path.write_bytes(content)
    assert McapFile(path).damage == []
    found, lost = read(path)
    assert f"the chunk at byte {last.begin} is damaged" in lost
    assert found[-1][1].timestamp * 1_000_000 < last.start_ns


def test_what_a_file_says_of_itself_is_never_another_for_a_flipped_byte(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mcap", night(frames=1))
    content, opening = path.read_bytes(), McapFile(path).opening
    refused = 0
    for at in range(8, McapFile(path).chunks[0].begin):
        path.write_bytes(content[:at] + bytes([content[at] ^ 0x01]) + content[at + 1 :])
        try:
            assert McapFile(path).opening == opening
        except RecordingError:
            refused += 1
    assert refused > 300


def test_a_flipped_byte_anywhere_never_gives_another_record(tmp_path: Path) -> None:
    entries = night(frames=12)
    content = write(tmp_path / "a.mcap", entries).read_bytes()
    damaged = tmp_path / "b.mcap"
    lost_some = 0
    # Most of them at the beginning, where the file speaks of itself, and in the index at its end.
    places = [
        *range(0, 1500, 13),
        *range(1500, len(content) - 3000, 307),
        *range(len(content) - 3000, len(content), 31),
    ]
    for at in places:
        damaged.write_bytes(content[:at] + bytes([content[at] ^ 0x41]) + content[at + 1 :])
        try:
            found, lost = read(damaged)
        except RecordingError:
            continue
        assert found == entries[: len(found)]
        assert lost or found == entries
        behind, lost_behind = read(damaged, is_past_damage=True)
        assert bool(lost_behind) == bool(lost)
        assert [entry for entry in entries if entry in behind] == behind
        assert len(behind) >= len(found)
        lost_some += len(behind) > len(found)
    assert lost_some > 10


_WRITE_FOR_EVER = """
import itertools, sys
from pathlib import Path
from stream_app.adapters.recording.layout import Opening
from stream_app.adapters.recording.write import RecordingWriter
from tests.adapters.recording.recordings import about, record, START_MS
writer = RecordingWriter(Path(sys.argv[1]), Opening(version="1", about=about()), chunk_bytes=20_000)
for number in itertools.count():
    writer.add("texts", record(number, START_MS + number, b"%d" % number * 100))
    if number == 3000:
        print("going", flush=True)
"""


def test_a_killed_writer_leaves_all_but_its_last_chunk(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    with subprocess.Popen([sys.executable, "-c", _WRITE_FOR_EVER, str(path)], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
    found, lost = read(path)
    assert len(found) > 2_500
    assert [one.offset for _, one in found] == list(range(len(found)))
    assert all(one.value == b"%d" % one.offset * 100 for _, one in found)
    assert "cut off or damaged" in lost


_IN_LITTLE_SPACE = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000));"
_UNTIL_FULL = (
    _IN_LITTLE_SPACE
    + _WRITE_FOR_EVER.replace("for number", "try:\n  for number")
    .replace("\n    writer", "\n    writer")
    .replace('    if number == 3000:\n        print("going", flush=True)\n', "")
    + "except OSError as error:\n  print(error.filename, error.strerror)\n  writer.abandon()\n"
)


def test_a_full_disk_is_said_and_what_was_written_stays_readable(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    ended = subprocess.run(
        [sys.executable, "-c", _UNTIL_FULL, str(path)], capture_output=True, text=True, timeout=60, check=True
    )
    assert ended.stdout == f"{path} File too large\n"
    found, lost = read(path)
    assert len(found) > 50
    assert [one.offset for _, one in found] == list(range(len(found)))
    assert "cut off or damaged" in lost


def test_other_files_are_refused_with_what_was_expected(tmp_path: Path) -> None:
    (empty := tmp_path / "empty").mkdir()
    other = tmp_path / "other.mcap"
    other.write_bytes(b"no mcap at all")
    with pytest.raises(RecordingError, match="expected an MCAP file"):
        open_recording(other)
    other.write_bytes(b"")
    with pytest.raises(RecordingError, match="expected an MCAP file"):
        open_recording(other)
    for profile, metadata, expected in [
        ("ros2", {}, "expected an MCAP file of the profile vigil, found the profile 'ros2'"),
        (PROFILE, {}, "expected the metadata vigil.recording of a recording, found none"),
        (
            PROFILE,
            as_metadata(Opening(schema=2, version="9", about=about())),
            "expected a recording of schema 1, found schema 2",
        ),
    ]:
        with other.open("wb") as file:
            writer = Writer(file)
            writer.start(profile=profile)
            if metadata:
                writer.add_metadata(ABOUT, metadata)
            writer.finish()  # type: ignore[no-untyped-call, unused-ignore]
        with pytest.raises(RecordingError, match=expected):
            open_recording(other)
    with pytest.raises(RecordingError, match="expected a recording"):
        open_recording(empty)


def _sink(out: Path, **options: object) -> Sink:
    opening = Opening(version="1", about=about(), is_open_ended=True, begins=(("frames", 0, 0), ("texts", 0, 0)))
    return Sink(out, opening, **{"manifest": None, **options})  # type: ignore[arg-type]


def test_files_in_a_row_are_one_recording(tmp_path: Path) -> None:
    entries = night(frames=100)
    sink = _sink(tmp_path, rolling=Rolling(1 << 40, 3_000))
    for kind, one in entries:
        sink.add(kind, one)
    sink.finish()
    assert len(sink.files) == 4
    assert read(tmp_path) == (entries, "")
    assert read(*reversed(sink.files)) == (entries, "")
    with open_recording(tmp_path) as recording:
        assert (recording.about.from_ms, recording.about.to_ms) == (START_MS, entries[-1][1].timestamp + 1)
        assert recording.begins == {("frames", 0): 0, ("texts", 0): 0}
    with open_recording(sink.files[1]) as second:
        assert second.begins == {("frames", 0): 30, ("texts", 0): 6}
    with pytest.raises(RecordingError, match=r"found a gap: 2026-01-01T02:00:03.000Z to 2026-01-01T02:00:06.000Z"):
        open_recording(sink.files[0], sink.files[2])


def test_a_file_rolls_by_the_time_of_its_records_not_by_when_its_range_began(tmp_path: Path) -> None:
    sink = _sink(tmp_path, rolling=Rolling(1 << 40, 3_000))
    for number in range(4):
        sink.add("texts", record(number, START_MS + 3_600_000 + 1_000 * number, b"x"))
    sink.finish()
    assert len(sink.files) == 2


def test_files_roll_by_size(tmp_path: Path) -> None:
    sink = _sink(tmp_path, rolling=Rolling(1_000_000, 1 << 40))
    entries: list[Entry] = [
        ("dead_letters", record(number, START_MS + number, os.urandom(100_000))) for number in range(100)
    ]
    for kind, one in entries:
        sink.add(kind, one)
    sink.finish()
    assert len(sink.files) == 3
    assert sink.size == sum(path.stat().st_size for path in sink.files)
    assert read(tmp_path) == (entries, "")


def test_what_two_recordings_have_is_read_once(tmp_path: Path) -> None:
    entries = night()
    first = write(tmp_path / "1.mcap", entries[:30], opening=_opening(0, 3_000))
    second = write(tmp_path / "2.mcap", entries[20:], opening=_opening(2_000, 60_000))
    assert read(first, second) == (entries, "")
    with open_recording(first, second) as recording:
        assert len(list(recording.records())) + recording.repeated == len(entries) + 10


def test_a_file_that_was_cut_off_is_made_good_by_the_next_one(tmp_path: Path) -> None:
    entries = night()
    first = write(tmp_path / "1.mcap", entries, opening=_opening(0, 60_000), is_ended=False)
    lost = entries[len(read(first)[0]) :]
    assert lost
    second = write(tmp_path / "2.mcap", lost, opening=_opening(lost[0][1].timestamp - START_MS, 60_000))
    assert read(first, second) == (entries, "")


def test_recordings_of_two_deployments_are_not_one(tmp_path: Path) -> None:
    first = write(tmp_path / "1.mcap", [])
    second = write(tmp_path / "2.mcap", [], opening=Opening(version="1", about=about(deployment="trial")))
    with pytest.raises(RecordingError, match=r"expected deployment vigil as in .*, found trial"):
        open_recording(first, second)


def _opening(from_ms: int, to_ms: int) -> Opening:
    return Opening(version="1", about=about(from_ms=START_MS + from_ms, to_ms=START_MS + to_ms))


def test_what_a_file_says_of_itself_is_kept(tmp_path: Path) -> None:
    opening = Opening(version="7", about=about(zones=("yard",), has_pictures=False), begins=(("frames", 3, 9),))
    writer = RecordingWriter(tmp_path / "a.mcap", opening, manifest=b'{"name": "site"}')
    ending = Ending(to_ms=START_MS + 5, unreadable=("vigil.frames/0/7: batch-crc, torn",), values_left_out=3)
    writer.finish(ending)
    file = McapFile(tmp_path / "a.mcap")
    assert (file.opening, file.ending, file.manifest) == (opening, ending, b'{"name": "site"}')
    with open_recording(tmp_path / "a.mcap") as recording:
        assert recording.unreadable == ending.unreadable
        assert recording.about == msgspec.structs.replace(opening.about, to_ms=ending.to_ms)
