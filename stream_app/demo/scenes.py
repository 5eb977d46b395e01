"""What the demo plays: the drawn site with its planted incidents, or video files with reports beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import msgspec

from stream_app.demo.player import Play, PlayedCamera, PlayedReport
from stream_app.demo.truth import PlantedIncident
from stream_app.drawn_site import Site

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from stream_app.drawn_site import Camera

_JPEG_QUALITY = 85
_VIDEO_WIDTH = 640


class SceneError(ValueError):
    """Something that was to be played cannot be read; the message says what and where."""


class DrawnCamera:
    """A camera of the drawn site."""

    def __init__(self, camera: Camera) -> None:
        self._camera = camera
        self.name = camera.name
        self.zone = camera.zone.name

    def jpeg(self, t_ms: int) -> bytes | None:
        """Draw the picture of this moment."""
        return self._camera.jpeg(t_ms)


class VideoCamera:
    """A video file as a camera: at each moment the frame that the video shows then; from its end on, nothing."""

    def __init__(self, path: Path, zone: str) -> None:
        self._capture = cv2.VideoCapture(str(path))
        if not self._capture.isOpened():
            message = f"{path}: expected a video file that OpenCV can read"
            raise SceneError(message)
        self.name = path.stem
        self.zone = zone
        self._rate = self._capture.get(cv2.CAP_PROP_FPS) or 25.0
        self._next = 0
        frames = self._capture.get(cv2.CAP_PROP_FRAME_COUNT)
        self.duration_ms = int(frames / self._rate * 1_000)

    def jpeg(self, t_ms: int) -> bytes | None:
        """Encode the frame of this moment as JPEG, at most 640 pixels wide."""
        wanted = int(t_ms / 1_000 * self._rate)
        while self._next < wanted:
            if not self._capture.grab():
                return None
            self._next += 1
        is_read, frame = self._capture.read()
        self._next += 1
        if not is_read:
            return None
        height, width = frame.shape[:2]
        if width > _VIDEO_WIDTH:
            frame = cv2.resize(frame, (_VIDEO_WIDTH, height * _VIDEO_WIDTH // width), interpolation=cv2.INTER_AREA)
        is_encoded, data = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
        return data.tobytes() if is_encoded else None


class Scene(msgspec.Struct, frozen=True, kw_only=True):
    """A play and, where something was planted, the truth in schedule time (ms)."""

    play: Play
    incidents: tuple[PlantedIncident, ...]
    has_truth: bool
    kinds: dict[str, int]


def drawn_scene(*, seed: int, duration_ms: int, zones: int, cameras: int, fps: float, topics: tuple[str, str]) -> Scene:
    """Plan the drawn site: planted incidents, false alarms, look-alikes, quiet zones."""
    schedule = Site(seed, zones, cameras).schedule(duration_ms)
    kinds: dict[str, int] = {}
    for report in schedule.reports:
        kinds[report.kind] = kinds.get(report.kind, 0) + 1
    play = Play(
        cameras=tuple(DrawnCamera(camera) for camera in schedule.cameras),
        reports=tuple(
            PlayedReport(
                zone=report.zone,
                text=report.text,
                severity=report.severity,
                sent_ms=report.sent_ms,
                event_ms=report.event_time_ms,
            )
            for report in schedule.reports
        ),
        duration_ms=duration_ms,
        fps=fps,
        frames_topic=topics[0],
        texts_topic=topics[1],
    )
    incidents = tuple(
        PlantedIncident(zone=planted.zone, label=planted.label, start_ms=planted.start_ms, end_ms=planted.end_ms)
        for planted in schedule.incidents
    )
    return Scene(play=play, incidents=incidents, has_truth=True, kinds=kinds)


def video_scene(
    videos: Sequence[Path], sentences: Sequence[str], *, fps: float, limit_ms: int, topics: tuple[str, str]
) -> Scene:
    """Plan videos, each a camera in a zone of its own, with the sentences as reports spread evenly over them.

    Raises:
        SceneError: if a video cannot be read.
    """
    cameras: list[PlayedCamera] = []
    durations: list[int] = []
    for number, path in enumerate(videos):
        camera = VideoCamera(path, f"video-{number + 1}")
        cameras.append(camera)
        durations.append(min(camera.duration_ms, limit_ms))
    reports: list[PlayedReport] = []
    for number, sentence in enumerate(sentences):
        place = number % len(cameras)
        turn, turns = number // len(cameras), -(-len(sentences) // len(cameras))
        moment = int(durations[place] * (turn + 0.5) / turns)
        reports.append(
            PlayedReport(zone=cameras[place].zone, text=sentence, severity=3, sent_ms=moment + 400, event_ms=moment)
        )
    play = Play(
        cameras=tuple(cameras),
        reports=tuple(reports),
        duration_ms=max(*durations, *(report.sent_ms + 1 for report in reports), 1),
        fps=fps,
        frames_topic=topics[0],
        texts_topic=topics[1],
    )
    return Scene(play=play, incidents=(), has_truth=False, kinds={})
