"""Where frames and texts come from: files, folders, MJPEG over HTTP, lines with times."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest

from stream_app.adapters.feed import FeedError, Footage, TimedText, open_footage, read_texts
from stream_app.adapters.feed.camera import Shot
from stream_app.adapters.feed.mjpeg import MjpegError, MjpegSplitter
from stream_app.adapters.feed.own_thread import OwnThread


def shots_of(footage: Footage) -> list[Shot]:
    async def gather() -> list[Shot]:
        return [shot async for shot in footage.shots()]

    return asyncio.run(gather())


def jpeg(shade: int) -> bytes:
    is_there, encoded = cv2.imencode(".jpg", np.full((48, 64, 3), shade, np.uint8))
    assert is_there
    return encoded.tobytes()


PICTURES = [jpeg(shade) for shade in (20, 120, 220)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number, picture in enumerate(PICTURES):
        (tmp_path / f"{number}.jpg").write_bytes(picture)
    (tmp_path / "notes.txt").write_text("no picture", encoding="utf-8")
    return tmp_path


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "twenty-frames.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (64, 48))
    for number in range(20):
        writer.write(np.full((48, 64, 3), number * 10, np.uint8))
    writer.release()
    return path


def test_a_folder_gives_its_images_unchanged_in_the_order_of_names(folder: Path) -> None:
    footage = open_footage(str(folder), fps=2)
    assert (footage.count, footage.length_ms, footage.is_live) == (3, 1_500, False)
    assert shots_of(footage) == [Shot(picture, "image/jpeg", 500 * n) for n, picture in enumerate(PICTURES)]


def test_a_video_gives_every_frame_at_its_own_time(video: Path) -> None:
    footage = open_footage(str(video))
    shots = shots_of(footage)
    assert (len(shots), footage.count, footage.length_ms) == (20, 20, 2_000)
    assert [shot.offset_ms for shot in shots] == [100 * number for number in range(20)]
    assert all(shot.data.startswith(b"\xff\xd8") for shot in shots)


@pytest.mark.parametrize(("fps", "times"), [(5, range(0, 2_000, 200)), (1, (0, 1_000)), (50, range(0, 2_000, 100))])
def test_fps_picks_frames_evenly_and_says_how_many(video: Path, fps: float, times: object) -> None:
    footage = open_footage(str(video), fps=fps)
    found = [shot.offset_ms for shot in shots_of(footage)]
    assert found == list(times)  # type: ignore[call-overload] # a range or a tuple
    assert footage.count == len(found)


def test_what_is_no_source_is_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(FeedError, match="found nothing at"):
        open_footage(str(tmp_path / "none.mp4"))
    with pytest.raises(FeedError, match="expected images"):
        open_footage(str(tmp_path))
    (tmp_path / "words.mp4").write_text("no video at all", encoding="utf-8")
    with pytest.raises(FeedError, match="expected a video"):
        open_footage(str(tmp_path / "words.mp4"))


def multipart(*parts: bytes, has_length: bool) -> bytes:
    body = b""
    for part in parts:
        length = b"Content-Length: %d\r\n" % len(part) if has_length else b""
        body += b"--cut\r\nContent-Type: image/jpeg\r\n" + length + b"\r\n" + part + b"\r\n"
    return body + b"--cut--\r\n"


@pytest.mark.parametrize("has_length", [True, False], ids=["by length", "by boundary"])
@pytest.mark.parametrize("step", [1, 7, 1_000, 1 << 20])
def test_the_splitter_finds_the_parts_however_the_bytes_come(step: int, *, has_length: bool) -> None:
    body = multipart(*PICTURES, has_length=has_length)
    splitter = MjpegSplitter(b"cut")
    found = [part for at in range(0, len(body), step) for part in splitter.feed(body[at : at + step])]
    assert found == PICTURES


def test_a_part_that_holds_the_boundary_is_whole_where_its_length_is_said() -> None:
    part = b"\xff\xd8 --cut \xff\xd9"
    assert MjpegSplitter(b"--cut").feed(multipart(part, has_length=True)) == [part]


def test_a_part_without_end_is_given_up() -> None:
    splitter = MjpegSplitter(b"cut")
    assert splitter.feed(b"--cut\r\n\r\n" + bytes(15 << 20)) == []
    with pytest.raises(MjpegError, match="without an end"):
        splitter.feed(bytes(2 << 20))


class CameraHandler(BaseHTTPRequestHandler):
    """A camera of three pictures, as mjpg-streamer and the like send them."""

    def do_GET(self) -> None:
        if self.path == "/none":
            self.send_error(404)
            return
        is_page = self.path == "/page"
        self.send_response(200)
        kind = "text/html" if is_page else "multipart/x-mixed-replace; boundary=cut"
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(b"<html>" if is_page else multipart(*PICTURES, has_length=self.path == "/length"))

    def log_message(self, *_: object) -> None:
        """Say nothing: the test run is no web log."""


@pytest.fixture
def camera_address() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), CameraHandler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("path", ["/length", "/boundary"])
def test_mjpeg_over_http_gives_the_cameras_own_jpegs(camera_address: str, path: str) -> None:
    footage = open_footage(camera_address + path)
    assert footage.is_live
    assert [shot.data for shot in shots_of(footage)] == PICTURES


@pytest.mark.parametrize(("path", "message"), [("/none", "found 404"), ("/page", "found 'text/html'")])
def test_an_address_that_is_no_camera_is_refused_in_words(camera_address: str, path: str, message: str) -> None:
    with pytest.raises(FeedError, match=message):
        shots_of(open_footage(camera_address + path))


def test_an_address_where_nobody_listens_is_refused_in_words() -> None:
    with pytest.raises(FeedError, match="cannot be read"):
        shots_of(open_footage("http://127.0.0.1:9/"))


def test_a_password_in_an_address_is_not_shown() -> None:
    address = "http://admin:hunter2@127.0.0.1:9/"
    with pytest.raises(FeedError, match=r"http://\*\*\*@127.0.0.1:9/ cannot be read") as refused:
        shots_of(open_footage(address))
    assert "hunter2" not in str(refused.value)


def test_a_thread_runs_its_calls_in_order_and_raises_what_they_raise() -> None:
    ran: list[int] = []

    async def use() -> None:
        thread = OwnThread("test")
        await thread.call(lambda: ran.append(1))
        assert await thread.call(lambda: threading.current_thread().name) == "test"
        with pytest.raises(ZeroDivisionError):
            await thread.call(lambda: 1 // 0)
        await thread.end(lambda: ran.append(2), patience_s=60)

    asyncio.run(use())
    assert ran == [1, 2]


def test_a_call_that_never_returns_keeps_nobody() -> None:
    program = """import asyncio, threading
from stream_app.adapters.feed.own_thread import OwnThread
async def use():
    thread = OwnThread("stuck")
    try:
        async with asyncio.timeout(0.1):
            await thread.call(threading.Event().wait)
    except TimeoutError:
        await thread.end(int, patience_s=0.1)
asyncio.run(use())"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


def read(tmp_path: Path, name: str, content: str) -> tuple[TimedText, ...]:
    file = tmp_path / name
    file.write_text(content, encoding="utf-8")
    return read_texts(file)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", '{"time": 2.5, "text": "Rauch im Lager"}\n\n{"time": "1:03", "text": "两人打架"}\n'),
        ("a.csv", 'time,text\n1:03,两人打架\n2.5,"Rauch im Lager"\n'),
        ("a.txt", "# heading\n2.5 Rauch im Lager\n1:03 两人打架\n"),
        ("a.txt", "2.5\tRauch im Lager\r\n1:03  两人打架\r\n"),
    ],
)
def test_texts_are_read_in_the_order_of_their_times(tmp_path: Path, name: str, content: str) -> None:
    assert read(tmp_path, name, content) == (
        TimedText(text="Rauch im Lager", offset_ms=2_500),
        TimedText(text="两人打架", offset_ms=63_000),
    )


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.jsonl", '{"time": 1, "text": "smoke\u2028at the gate"}\r\n{"time": 2, "text": "b\x85c"}'),
        ("a.csv", 'time,text\r\n1,smoke\u2028at the gate\r\n2,"b\x85c"\r\n'),
        ("a.txt", "1 smoke\u2028at the gate\n2 b\x85c"),
    ],
)
def test_only_line_feeds_end_a_line(tmp_path: Path, name: str, content: str) -> None:
    assert [text.text for text in read(tmp_path, name, content)] == ["smoke\u2028at the gate", "b\x85c"]


def test_own_times_zone_severity_and_sensor_are_kept(tmp_path: Path) -> None:
    line = '{"time": "2026-01-01T00:00:01Z", "text": "door", "zone": "z", "severity": 4, "sensor": "s"}'
    expected = TimedText(text="door", zone="z", severity=4, sensor="s", time_ms=1_767_225_601_000)
    assert read(tmp_path, "own.jsonl", line) == (expected,)
    table = "time,text,zone,severity,sensor\n2026-01-01T00:00:01Z,door,z,4,s\n"
    assert read(tmp_path, "own.csv", table) == (expected,)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.txt", "no time here", "line 1: expected a time"),
        ("a.txt", "3 ", "line 1: expected a text"),
        ("a.jsonl", '{"time": 1, "text": "a"}\n{', "line 2: expected a JSON object"),
        ("a.jsonl", "[1]", "found list"),
        ("a.jsonl", '{"time": 1, "text": "a", "severity": 9}', "expected a severity of 1 to 5, found '9'"),
        ("a.csv", "when,what\n1,a", "expected a heading with time and text"),
        ("a.txt", "", "found none"),
    ],
)
def test_a_line_that_cannot_be_read_is_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    with pytest.raises(FeedError) as refused:
        read(tmp_path, name, content)
    assert message in str(refused.value)
