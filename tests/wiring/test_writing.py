"""A replay that is written ends its file however it ends: cancelled, or on a disk that takes no more."""

from __future__ import annotations

import asyncio
import resource
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from stream_app.adapters.recording.read import open_recording
from stream_app.demo.recorded import PlayedRecording
from stream_app.demo.scenes import drawn_scene
from stream_app.replay.recording import RecordingError
from stream_app.replay.session import Asked, Named
from stream_app.replay.verify import verify
from stream_app.wiring.clients import topics_of
from stream_app.wiring.replaying import Choice, Plan, run_plan
from stream_app.wiring.writing import OutError, Written
from tests.replay.site import settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from stream_app.replay.canonical import Reached


@contextmanager
def full_disk(most: int) -> Iterator[None]:
    """Let no file grow beyond so many bytes: to whoever writes, that is a disk that is full."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def site(*, seconds: int) -> Named:
    topics = topics_of(settings().operational)
    names = (topics.frames, topics.texts)
    scene = drawn_scene(seed=1, duration_ms=seconds * 1_000, zones=2, cameras=2, fps=8, topics=names)
    return Named("site", PlayedRecording(scene.play, topics, deployment="drawn-site"), None)


def write(out: Path, drawn: Named, tell: Callable[[str, Reached], None] = lambda _, __: None) -> list[Written]:
    told: list[Written] = []
    plan = Plan(paths=(), choices=(Choice(),), asked=Asked(), out=out)

    async def work() -> None:
        await run_plan(plan, settings(), drawn=drawn, tell=tell, tell_written=told.append)

    try:
        asyncio.run(work())
    except asyncio.CancelledError:
        told.append(told[-1])
    return told


def test_one_that_is_cancelled_ends_properly_at_its_newest_record(tmp_path: Path) -> None:
    def cancel(_: str, reached: Reached) -> None:
        if reached.records == 256:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()

    drawn = site(seconds=30)
    told = write(tmp_path / "new.mcap", drawn, cancel)
    assert len(told) == 2, "cancelled, and what was written is told once"
    with open_recording(tmp_path / "new.mcap") as recording:
        found = list(recording.records())
        verdict = verify(recording)
    inputs = [one for one in found if one[0] in {"frames", "texts"}]
    assert 256 <= len(inputs) < 512
    assert told[0].records == len(found)
    assert inputs == list(islice(drawn.recording.records(), len(inputs)))
    assert recording.about.to_ms == max(record.timestamp for _, record in found) + 1
    assert verdict.status == "equal"
    # What had no step yet is there, without a journal of it.
    assert all(task.verified["frames"] > 100 for task in verdict.tasks)
    assert all(0 < task.after["frames"] < 20 for task in verdict.tasks)


def test_a_disk_that_takes_no_more_leaves_what_was_written_before(tmp_path: Path) -> None:
    out = tmp_path / "new.mcap"
    with full_disk(6_000_000), pytest.raises(OutError, match=r"cannot be written further: .*; what was written"):
        write(out, site(seconds=60))
    found: list[str] = []

    def read() -> None:
        with open_recording(out) as recording:
            found.extend(kind for kind, _ in recording.records())

    with pytest.raises(RecordingError, match="cut off"):
        read()
    assert found.count("frames") > 300
    assert found.count("journal") > 5
    with open_recording(out) as recording:
        assert verify(recording).differences == ()


def test_a_folder_that_does_not_take_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(OutError, match=r"file/new\.mcap cannot be written: (Not a directory|File exists)"):
        write(tmp_path / "file" / "new.mcap", site(seconds=15))
    (tmp_path / "new.mcap").write_text("mine")
    with pytest.raises(OutError, match="expected nothing there, found something"):
        write(tmp_path / "new.mcap", site(seconds=15))
