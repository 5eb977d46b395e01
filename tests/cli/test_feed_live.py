"""`vigil feed` from sources that break off, say nothing, or end too early, against a real Kafka."""

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.cli.deployment import VIGIL, Deployment

pytestmark = pytest.mark.kafka


class BreakingCamera(BaseHTTPRequestHandler):
    """A camera that breaks off after one picture."""

    def do_GET(self) -> None:
        if self.path == "/none":
            self.send_error(404)
            return
        _, picture = cv2.imencode(".jpg", np.zeros((48, 64, 3), np.uint8))
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=cut")
        self.end_headers()
        head = f"--cut\r\nContent-Length: {picture.nbytes}\r\n\r\n"
        self.wfile.write(head.encode() + picture.tobytes() + b"\r\n--cut\r\n")

    def log_message(self, *_: object) -> None:
        """Say nothing: the test run is no web log."""


@pytest.fixture
def breaking_camera() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), BreakingCamera)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(("path", "word"), [("/", "ended its stream"), ("/none", "found 404")])
def test_a_live_source_that_ends_is_a_failure_said_in_one_line(
    deployment: Deployment, breaking_camera: str, path: str, word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deployment.run("feed", breaking_camera + path) == 1
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("vigil: ")
    assert word in last


def test_a_looping_feed_tries_a_live_source_again_and_says_so(deployment: Deployment, breaking_camera: str) -> None:
    command = [*VIGIL, "feed", breaking_camera, "--loop", *deployment.options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while len(deployment.records("frames")) < 2:
            time.sleep(0.1)
        os.kill(process.pid, signal.SIGINT)
        shown, said = process.communicate(timeout=60)
    assert (process.returncode, shown.startswith(b"sent ")) == (0, True)
    assert b"camera-1 (zone-1): the stream ended; trying again" in said


def test_ctrl_c_does_not_wait_for_a_camera_that_sends_nothing(deployment: Deployment) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"rtsp://127.0.0.1:{silent.getsockname()[1]}/"
        command = [*VIGIL, "feed", address, *deployment.options]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            connection, _ = silent.accept()
            with connection:
                os.kill(process.pid, signal.SIGINT)
                shown, _ = process.communicate(timeout=60)
    assert (process.returncode, shown.startswith(b"sent 0 records")) == (0, True)


def test_a_video_that_ends_before_its_time_is_said(
    deployment: Deployment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    video = tmp_path / "cut.avi"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (64, 48))
    for number in range(20):
        writer.write(np.full((48, 64, 3), number * 10, np.uint8))
    writer.release()
    video.write_bytes(video.read_bytes()[: video.stat().st_size * 2 // 3])
    assert deployment.run("feed", str(video), "--speed", "0") == 0
    said = capsys.readouterr().err
    assert "cut (zone-1): ended after" in said
    assert "although the file declares 20" in said
