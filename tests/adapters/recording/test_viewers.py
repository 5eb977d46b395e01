"""Viewers of MCAP files see the pictures of each camera, and texts and alerts as lines."""

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import msgspec
import pytest
from foxglove_schemas_protobuf.CompressedImage_pb2 import CompressedImage
from foxglove_schemas_protobuf.Log_pb2 import Log
from mcap.reader import make_reader

from stream_app.adapters.recording.viewers import camera_of
from stream_app.core.types import Notice
from stream_app.replay.recording import TopicRecord
from stream_app.wire.alerts import render_alert, render_notice
from stream_app.wire.message import Message
from tests.adapters.recording.recordings import START_MS, jpeg, night, record, write
from tests.wire.test_events import CONTEXT, opened

_FLOOD = Notice("rate", "yard", START_MS, "more than 50/s")


def _published(message: Message, offset: int) -> TopicRecord:
    assert message.value is not None
    return record(offset, START_MS + 10_000, message.value, key=message.key, headers=message.headers)


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    alerts = [_published(render_alert(opened(), CONTEXT), 0), _published(render_notice(_FLOOD, CONTEXT), 1)]
    return write(tmp_path / "a.mcap", [*night(), *(("alerts", one) for one in alerts)])


@pytest.mark.skipif(find_spec("rerun_cli") is None, reason="rerun-sdk, a development dependency, is not installed")
def test_a_viewer_sees_pictures_and_lines(recording: Path, tmp_path: Path) -> None:
    shown = tmp_path / "a.rrd"
    rerun = [sys.executable, "-m", "rerun_cli"]
    subprocess.run([*rerun, "mcap", "convert", recording, "-o", shown], check=True, timeout=60, capture_output=True)
    printed = subprocess.run([*rerun, "rrd", "print", shown], check=True, timeout=60, capture_output=True, text=True)
    lines = printed.stdout.splitlines()
    for camera in ("c0", "c1"):
        assert any(f"/cameras/yard/{camera} " in line and "EncodedImage:blob" in line for line in lines)
    for name in ("/texts", "/alerts"):
        assert any(f" {name} " in line and "TextLog:text" in line for line in lines)


def test_what_viewers_are_shown_is_what_was_sent(recording: Path) -> None:
    with recording.open("rb") as file:
        shown = [(channel.topic, message.data) for _, channel, message in make_reader(file).iter_messages()]
    pictures = [CompressedImage.FromString(data) for topic, data in shown if topic == "/cameras/yard/c1"]
    assert [bytes(one.data) for one in pictures] == [jpeg(number) for number in range(1, 40, 2)]
    assert {(one.format, one.frame_id) for one in pictures} == {("jpeg", "yard/c1")}
    assert pictures[0].timestamp.ToMilliseconds() == START_MS + 100
    texts = [Log.FromString(data) for topic, data in shown if topic == "/texts"]
    assert [one.message for one in texts] == [f"smoke {number}" for number in range(0, 40, 5)]
    alerts = [Log.FromString(data).message for topic, data in shown if topic == "/alerts"]
    assert alerts[0].startswith("fight opened (")
    assert alerts[1].startswith("rate: ")


@pytest.mark.parametrize(
    ("changes", "channel"),
    [
        ({"headers": (("camera", b"c1"),)}, "/cameras/yard/c1"),
        ({"headers": ()}, "/cameras/yard/-"),
        ({"key": "hof/süd".encode(), "headers": (("Camera", b"a%/b"),)}, "/cameras/hof%2Fsüd/a%25%2Fb"),
        ({"key": b"\xff"}, None),
        ({"key": None}, None),
        ({"key": b"k" * 257}, None),
        ({"headers": (("camera", b"\xff"),)}, None),
        ({"value": b"no picture"}, None),
        ({"value": None}, None),
    ],
)
def test_a_picture_has_the_channel_of_its_camera_if_it_is_one(changes: dict[str, object], channel: str | None) -> None:
    camera = camera_of(msgspec.structs.replace(record(0, START_MS, jpeg(0)), **changes))
    assert (None if camera is None else camera.channel) == channel
