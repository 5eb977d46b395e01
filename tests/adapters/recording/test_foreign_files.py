"""MCAP files of other tools are cameras: every form of compressed image is read, what cannot be read is said."""

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest
from mcap.writer import CompressionType, IndexType, Writer

from stream_app.adapters.feed import FeedError, Shot
from stream_app.adapters.recording.chunks import ChunkedFile
from stream_app.adapters.recording.foreign import ForeignFile, Picture, is_foreign
from stream_app.adapters.recording.foreign_images import ForeignImage, ForeignImageError, decoder_of
from stream_app.core.admit import admit
from stream_app.core.settings import Semantic
from stream_app.core.types import Record, Side
from stream_app.replay.reading import readable
from stream_app.replay.recording import RecordingError
from stream_app.wiring.footage import open_source
from stream_app.wiring.recordings import Beside, open_recording
from tests.adapters.recording import recordings
from tests.adapters.recording.foreign_files import FORMS, START_MS, message, write

PICTURES = [recordings.jpeg(seed) for seed in range(6)]
#: Two cameras; each picture is taken 40 ms before it is logged.
TWO = [("/front/image", 100 * n, 100 * n - 40, PICTURES[n]) for n in range(0, 6, 2)]
TWO += [("/rear/image", 100 * n, 100 * n - 40, PICTURES[n]) for n in range(1, 6, 2)]
TWO.sort(key=lambda picture: picture[1])


def pictures_of(path: Path, topic: str | None = None) -> tuple[list[Picture], str]:
    found: list[Picture] = []
    with ForeignFile(path) as file:
        try:
            found.extend(file.pictures(topic))
        except RecordingError as error:
            return found, str(error)
    return found, ""


def shots_of(source: str, **options: Any) -> list[Shot]:  # noqa: ANN401 - those of open_source
    async def gather() -> list[Shot]:
        return [shot async for shot in open_source(source, **options).shots()]

    return asyncio.run(gather())


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_bytes_of_the_pictures_and_their_own_times(tmp_path: Path, form: str) -> None:
    # Names of other lengths put the fields behind them elsewhere.
    for frame in ("", "c", "ca", "cam", "came"):
        path = write(tmp_path / f"{frame}.mcap", form, TWO, frame=frame)
        found, lost = pictures_of(path)
        assert lost == ""
        expected = [Picture(topic, START_MS + at, START_MS + own, data, "jpeg") for topic, at, own, data in TWO]
        assert found == expected


@pytest.mark.parametrize("form", FORMS)
def test_a_message_cut_anywhere_is_refused_or_gives_a_part_of_the_picture(form: str) -> None:
    whole = message(form, PICTURES[0][:64], START_MS)
    decoder = decoder_of(FORMS[form][0], FORMS[form][2])
    assert decoder is not None
    assert decoder(whole) == ForeignImage(PICTURES[0][:64], START_MS)
    refused = 0
    for end in range(len(whole)):
        try:
            assert PICTURES[0][:64].startswith(decoder(whole[:end]).data)
        except ForeignImageError:
            refused += 1
    assert refused > len(whole) // 2


@pytest.mark.parametrize("head", [b"", b"\0", b"\0\2\0\0", b"\1\1\0\0"])
def test_cdr_of_another_kind_is_refused(head: bytes) -> None:
    decoder = decoder_of("sensor_msgs/msg/CompressedImage", "cdr")
    assert decoder is not None
    with pytest.raises(ForeignImageError, match="expected plain CDR, found the head"):
        decoder(head + message("ros2", PICTURES[0], 0)[4:] if len(head) == 4 else head)


def test_a_time_that_is_not_set_or_of_another_clock_gives_way_to_that_of_the_log(tmp_path: Path) -> None:
    for own in (-START_MS, 5_000 - START_MS, 61_000, -61_000):
        (found,), lost = pictures_of(write(tmp_path / "a.mcap", "ros2", [("/a", 300, own, PICTURES[0])]))
        assert (found.event_ms, lost) == (START_MS + 300, "")
    (found,), _ = pictures_of(write(tmp_path / "a.mcap", "ros2", [("/a", 300, -59_000, PICTURES[0])]))
    assert found.event_ms == START_MS - 59_000


@pytest.mark.parametrize(
    "options",
    [
        {"use_chunking": False},
        {"use_chunking": False, "index_types": IndexType.NONE},
        {"index_types": IndexType.NONE},
        {"repeat_channels": False},
        {"repeat_schemas": False},
        {"use_statistics": False},
        {"use_summary_offsets": False},
        {"enable_crcs": False},
        {"compression": CompressionType.LZ4},
        {"compression": CompressionType.NONE},
    ],
    ids=str,
)
def test_a_file_is_read_whatever_parts_its_writer_left_out(tmp_path: Path, options: dict[str, Any]) -> None:
    path = write(tmp_path / "a.mcap", "ros2", TWO, **options)
    found, lost = pictures_of(path)
    assert ([picture.data for picture in found], lost) == ([data for *_, data in TWO], "")
    with ForeignFile(path) as file:
        assert [file.count(topic) for topic in file.topics] == [3, 3]


def test_a_file_cut_anywhere_is_read_as_far_as_it_goes_and_the_loss_is_said(tmp_path: Path) -> None:
    for options in ({}, {"use_chunking": False}, {"compression": CompressionType.LZ4}):
        content = write(tmp_path / "a.mcap", "ros1", TWO, **options).read_bytes()
        part = tmp_path / "part.mcap"
        most = 0
        for end in [*range(0, len(content), 997), *range(len(content) - 600, len(content), 41)]:
            part.write_bytes(content[:end])
            try:
                found, lost = pictures_of(part)
            except RecordingError:
                assert most == 0
                continue
            assert [picture.data for picture in found] == PICTURES[: len(found)]
            assert "cut off or damaged behind byte" in lost
            assert len(found) >= most
            most = len(found)
        assert most == len(TWO)


def test_damage_that_only_the_codec_can_see_is_said(tmp_path: Path) -> None:
    options = {"compression": CompressionType.LZ4, "enable_crcs": False}
    content = write(tmp_path / "a.mcap", "ros2", TWO, **options).read_bytes()
    with ChunkedFile(tmp_path / "a.mcap") as file:
        place = file.chunks[0]
    damaged = tmp_path / "b.mcap"
    seen = 0
    for at in range(place.begin + 50, place.begin + 90):
        damaged.write_bytes(content[:at] + bytes([content[at] ^ 0x80]) + content[at + 1 :])
        _, lost = pictures_of(damaged)
        seen += "is damaged: RuntimeError" in lost
    assert seen


def test_flipped_bytes_never_give_another_picture_where_the_writer_made_crcs(tmp_path: Path) -> None:
    # Without an index a flipped byte may hide a record's kind; nothing else of the file vouches for it.
    content = write(tmp_path / "a.mcap", "foxglove-protobuf", TWO).read_bytes()
    damaged, chance = tmp_path / "b.mcap", random.Random(11)
    lost_some = 0
    for at in chance.sample(range(len(content)), 250):
        damaged.write_bytes(content[:at] + bytes([content[at] ^ (1 << chance.randrange(8))]) + content[at + 1 :])
        try:
            found, lost = pictures_of(damaged)
        except RecordingError:
            continue
        assert [data for data in PICTURES if data in {one.data for one in found}] == [one.data for one in found]
        assert lost or len(found) == len(PICTURES)
        lost_some += bool(lost)
    assert lost_some > 20


def test_what_is_no_picture_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    depth = ("/depth", 250, 250, b"\0" * 12 + b"\x89PNG")
    path = write(tmp_path / "a.mcap", "ros2", sorted([*TWO, depth], key=lambda one: one[1]))
    found, lost = pictures_of(path)
    assert [one.data for one in found] == PICTURES
    assert f"{path}, /depth at 2026-01-01T02:00:00.250Z: expected a JPEG, PNG or WebP picture" in lost
    many = [("/depth", number, number, b"x") for number in range(9)]
    _, lost = pictures_of(write(tmp_path / "b.mcap", "ros2", many))
    assert lost.count("expected a JPEG") == 5
    assert lost.endswith("and 4 more")


def test_a_topic_of_a_file_is_footage(tmp_path: Path) -> None:
    path = write(tmp_path / "drive.mcap", "ros2", TWO)
    assert shots_of(f"{path}#/rear/image") == [
        Shot(PICTURES[n], "image/jpeg", 100 * n - 40) for n in (1, 3, 5)
    ]  # fmt: skip
    footage = open_source(f"{path}#/front/image")
    assert (footage.is_live, footage.count, footage.length_ms) == (False, 3, 500 + 250)
    # Taken before the file begins: at its beginning.
    assert shots_of(f"{path}#/front/image")[0].offset_ms == 0
    assert [shot.offset_ms for shot in shots_of(f"{path}#/front/image", fps=4)] == [0, 360]
    one = write(tmp_path / "one.mcap", "ros2", TWO[:1])
    assert shots_of(str(one)) == [Shot(PICTURES[0], "image/jpeg", 0)]


def split(folder: Path) -> Path:
    """Write what is in TWO as split bags are, the names in another order than the times."""
    folder.mkdir()
    (folder / "metadata.yaml").write_text("rosbag2_bagfile_information:\n", "utf-8")
    for number, pictures in ((1, TWO[:2]), (0, TWO[2:5]), (2, TWO[5:])):
        write(folder / f"drive_{number}.mcap", "ros2", pictures)
    return folder


def test_a_folder_of_files_in_a_row_is_as_one_file(tmp_path: Path) -> None:
    path = write(tmp_path / "whole.mcap", "ros2", TWO)
    folder = split(tmp_path / "drive")
    assert is_foreign(folder)
    assert pictures_of(folder) == pictures_of(path)
    with ForeignFile(path) as whole, ForeignFile(folder) as row:
        for name in ("topics", "start_ms", "length_ms", "is_recording"):
            assert getattr(row, name) == getattr(whole, name)
        assert [row.count(topic) for topic in row.topics] == [whole.count(topic) for topic in whole.topics] == [3, 3]
    assert shots_of(f"{folder}#/rear/image") == shots_of(f"{path}#/rear/image")
    assert open_source(f"{folder}#/rear/image").length_ms == open_source(f"{path}#/rear/image").length_ms
    with pytest.raises(FeedError, match=f"expected the topic of its pictures, as in {folder}#/front/image"):
        open_source(str(folder))
    recordings_of = [open_recording(one, Beside(zone="yard")) for one in (folder, path)]
    assert list(recordings_of[0].records()) == list(recordings_of[1].records())
    assert (recordings_of[0].about.from_ms, recordings_of[0].about.to_ms) == (START_MS, START_MS + 501)


def test_of_a_folder_what_can_be_read_is_and_the_file_with_the_loss_is_named(tmp_path: Path) -> None:
    folder = split(tmp_path / "drive")
    damaged = folder / "drive_1.mcap"
    damaged.write_bytes(damaged.read_bytes()[:-3_000])
    found, lost = pictures_of(folder)
    assert [picture.data for picture in found][-4:] == PICTURES[2:]
    assert str(damaged) in lost


def test_a_folder_with_other_files_too_is_not_taken_for_files_of_another_tool(tmp_path: Path) -> None:
    folder = split(tmp_path / "drive")
    (folder / "words.mcap").write_bytes(b"words")
    assert not is_foreign(folder)
    assert not is_foreign(tmp_path)
    with pytest.raises(RecordingError, match="expected MCAP files, found none"):
        ForeignFile(tmp_path)
    with pytest.raises(RecordingError, match=r"words.mcap: expected an MCAP file"):
        ForeignFile(folder)


def test_a_file_that_is_no_camera_is_refused_with_what_it_has(tmp_path: Path) -> None:
    path = write(tmp_path / "drive.mcap", "ros2", TWO)
    with pytest.raises(FeedError, match=f"expected the topic of its pictures, as in {path}#/front/image, found pict"):
        open_source(str(path))
    with pytest.raises(FeedError, match="expected pictures of /chatter"):
        open_source(f"{path}#/chatter")
    (tmp_path / "other.mcap").write_bytes(b"words")
    with pytest.raises(FeedError, match="expected an MCAP file"):
        open_source(str(tmp_path / "other.mcap"))
    with pytest.raises(FeedError, match="found nothing at"):
        open_source(f"{tmp_path}/none.mcap#/a")
    with (tmp_path / "text.mcap").open("wb") as file:
        writer = Writer(file)
        writer.start()
        schema = writer.register_schema("std_msgs/msg/String", "ros2msg", b"string data")
        writer.add_message(writer.register_channel("/chatter", "cdr", schema), 1, b"", 1)
        writer.finish()  # type: ignore[no-untyped-call, unused-ignore]
    with pytest.raises(FeedError, match=r"found /chatter \(std_msgs/msg/String, cdr\)"):
        open_source(str(tmp_path / "text.mcap"))
    with pytest.raises(FeedError, match="expected messages with the time at which they were logged"):
        open_source(str(write(tmp_path / "zero.mcap", "ros2", [("/a", -START_MS, 0, PICTURES[0])])))


def test_a_feed_ends_with_what_is_lost_of_a_file(tmp_path: Path) -> None:
    path = write(tmp_path / "drive.mcap", "ros2", TWO)
    path.write_bytes(path.read_bytes()[:-2_000])

    played: list[Shot] = []

    async def play() -> None:
        async for shot in open_source(f"{path}#/rear/image").shots():
            played.append(shot)  # noqa: PERF401 - what comes before the error is wanted

    with pytest.raises(FeedError, match="cut off or damaged behind byte"):
        asyncio.run(play())
    assert played


def test_a_file_with_texts_beside_it_is_a_recording(tmp_path: Path) -> None:
    path = write(tmp_path / "drive.mcap", "ros2", TWO)
    texts = tmp_path / "drive.jsonl"
    lines = ['{"time": "2026-01-01T02:00:00.250Z", "text": "smoke", "severity": 4}']
    lines += ['{"time": 0.7, "text": "fire", "zone": "dock"}']
    texts.write_text("\n".join(lines), "utf-8")
    recording = open_recording(path, Beside("yard", texts))
    entries = list(recording.records())
    assert [record.timestamp - START_MS for _, record in entries] == [0, 100, 200, 250, 300, 400, 500, 700]
    admitted = [
        admit(Side.FRAME if kind == "frames" else Side.TEXT, record, Semantic()) for kind, record in entries
    ]  # fmt: skip
    found = [one for one in admitted if isinstance(one, Record)]
    assert [(one.zone, one.camera or one.text, one.event_ms - START_MS) for one in found[:4]] == [
        ("yard", "front/image", -40),
        ("yard", "rear/image", 60),
        ("yard", "front/image", 160),
        ("yard", "smoke", 250),
    ]
    assert (found[-1].zone, found[-1].text, found[3].severity) == ("dock", "fire", 4)
    assert [one.offset for one in found if one.side is Side.FRAME] == list(range(6))
    about = recording.about
    assert (about.deployment, about.partitions, about.from_ms, about.to_ms) == (
        "drive", (0,), START_MS, START_MS + 701
    )  # fmt: skip
    recording.close()  # type: ignore[attr-defined]


def test_a_files_name_is_fit_to_be_a_topics(tmp_path: Path) -> None:
    path = write(tmp_path / "my drive (2).mcap", "ros2", TWO)
    with open_recording(path, Beside()) as recording:  # type: ignore[attr-defined]
        about = recording.about
    assert (about.deployment, about.topics.frames) == ("my_drive__2_", "my_drive__2_.mcap")
    assert about.topics.texts == "my_drive__2_.mcap.texts"


def test_texts_behind_a_loss_are_read_all_the_same(tmp_path: Path) -> None:
    path = write(tmp_path / "drive.mcap", "ros2", [*TWO, ("/front/image", 600, 600, b"no picture")])
    texts = tmp_path / "drive.jsonl"
    texts.write_text('{"time": 9, "text": "fire"}', "utf-8")
    lost: list[str] = []
    kinds = [kind for kind, _ in readable(open_recording(path, Beside(texts=texts)), lost)]
    assert kinds == ["frames"] * 6 + ["texts"]
    assert "expected a JPEG" in lost[0]


def test_texts_that_cannot_belong_to_a_file_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "drive.mcap", "ros2", TWO)
    texts = tmp_path / "drive.jsonl"
    texts.write_text('{"time": "2025-01-01T02:00:00Z", "text": "smoke"}', "utf-8")
    with pytest.raises(RecordingError, match=f"expected texts of the time of {path}, 2026-01-01T02:00:00.000Z to"):
        open_recording(path, Beside(texts=texts))
    for zone in ("", "\udcff"):
        with pytest.raises(RecordingError, match="expected a zone in UTF-8"):
            open_recording(path, Beside(zone))
    texts.write_text("nonsense", "utf-8")
    with pytest.raises(RecordingError, match="line 1: expected a JSON object"):
        open_recording(path, Beside(texts=texts))
    own = recordings.write(tmp_path / "own.mcap", recordings.night(frames=2))
    with pytest.raises(RecordingError, match="found a recording, which has its own"):
        open_recording(own, Beside(texts=texts))


def test_a_recording_whose_header_is_damaged_is_not_taken_for_a_file_of_another_tool(tmp_path: Path) -> None:
    own = recordings.write(tmp_path / "own.mcap", recordings.night(frames=2))
    own.write_bytes(own.read_bytes().replace(b"vigil", b"vugil", 1))
    with pytest.raises(RecordingError, match="found one whose header is damaged"):
        open_recording(own, Beside())


def test_pictures_of_a_file_by_lichtblick_are_read(shared_data: Path) -> None:
    path = shared_data / "mcap/lichtblick/e2e/fixtures/assets/custom-camera-model.mcap"
    if not path.is_file():
        pytest.skip(f"no {path}")
    footage = open_source(str(path))
    shots = shots_of(str(path))
    assert (footage.count, [shot.offset_ms for shot in shots]) == (10, list(range(0, 1_000, 100)))
    assert {shot.content_type for shot in shots} == {"image/jpeg"}
    with open_recording(path, Beside()) as recording:  # type: ignore[attr-defined]
        assert len(list(recording.records())) == len(shots)


def test_files_of_rosbag2_without_pictures_are_refused_with_their_topics(shared_data: Path) -> None:
    files = sorted((shared_data / "mcap/rosbag2").rglob("*.mcap"))
    if not files:
        pytest.skip(f"no files of rosbag2 in {shared_data}")
    for path in files:
        with pytest.raises(FeedError, match=r"expected topics of foxglove\.CompressedImage or sensor_msgs"):
            open_source(str(path))
